"""The repulsive field S(y) = sum_j w(|y - y_j|), planned once from the rows' places and then read anywhere.

One scalar field holds everything repulsive: the normalisation Z of a fit is the sum of S over its rows, and
``sum_j w_ij^((dof+1)/dof) (y_i - y_j) = -1/2 grad S(y_i)`` for every dof. So one density is spread to a grid, convolved
with the kernel and read back with its analytic gradient. This is smooth particle-mesh Ewald (Essmann et al., J. Chem.
Phys. 103, 8577, 1995) with the kernel of t-SNE; FIt-SNE (Linderman et al., Nature Methods 16, 243, 2019) interpolates
the kernel and its products with the coordinates instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tsne_ooc._kernels import spread as spreading
from tsne_ooc._kernels.interpolate import GATHER
from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Float32
from tsne_ooc.gradients.convolve import Convolution
from tsne_ooc.gradients.grid import WIDEST, WINDOW, Shape, shape_for
from tsne_ooc.gradients.kernel import kernel_for

ROWS = 8192
BAND_POINTS = 1024


@dataclass(frozen=True)
class Field:
    """The field of a set of rows. It is immutable.

    Parameters
    ----------
    potential : ndarray of float32
        The field's spline coefficients at the nodes.
    origin : ndarray of float32, shape (d,)
        Where node 1 of each axis lies.
    shape : Shape
    own : ndarray of float32, shape (5,)
        The self-term that `at_sources` takes away.
    offset : float
        What the potential lacks where the kernel was shifted: the number of rows.
    n : int
        Number of rows that make the field.
    """

    potential: Float32
    origin: Float32
    shape: Shape
    own: Float32
    offset: float
    n: int

    #: It says which kernels read the field.
    summed = False

    def __str__(self) -> str:
        return f"has {' x '.join(map(str, self.shape.nodes))} nodes"

    @property
    def nodes(self) -> tuple[Any, ...]:
        """What kernels that place rows read."""
        return self.potential.reshape(-1), *self.shape.strides, self.origin, float(self.per_cell), self.offset

    @property
    def per_cell(self) -> np.float32:
        return np.float32(1 / self.shape.spacing)

    @property
    def low(self) -> Float32:
        """Lowest coordinates at which the field can be read."""
        return self.origin

    @property
    def high(self) -> Float32:
        """Highest coordinates at which the field can be read."""
        cells = np.array(self.shape.nodes) - WINDOW
        high: Float32 = (self.origin + cells * self.shape.spacing).astype(np.float32)
        # Cells are computed as in the kernels: by rounding, the corner itself may lie in the cell after the last one.
        while (beyond := (high - self.origin) * self.per_cell > cells).any():
            high[beyond] = np.nextafter(high[beyond], np.float32(-np.inf))
        return high

    def at(self, Y: Float32, threads: Threads) -> tuple[Float32, Float32]:
        """Value (m,) and gradient (m, d) of the field at any places within `low` and `high`.

        Raises
        ------
        ValueError
            If a place lies outside, naming its row.
        """
        inside = ((self.low <= Y) & (self.high >= Y)).all(axis=1)
        if not inside.all():
            row = int(np.argmin(inside))
            raise ValueError(f"row {row} at {Y[row].tolist()} lies outside the field, {self.low} to {self.high}")
        value, gradient = np.empty(len(Y), np.float32), np.empty(Y.shape, np.float32)
        kernel, _ = GATHER[Y.shape[1]]
        flat, strides = self.potential.reshape(-1), self.shape.strides

        def read(start: int, stop: int) -> None:
            kernel(flat, *strides, self.origin, self.per_cell, Y, start, stop, value, gradient)

        threads.map(read, ranges(len(Y), ROWS))
        value += np.float32(self.offset)
        return value, gradient

    def at_sources(self, Y: Float32, gradient: Float32, threads: Threads) -> float:
        """Write the gradient of the field of all *other* rows at the rows `Y` that it was planned from.

        Returns
        -------
        float
            The sum of that field over the rows: t-SNE's normalisation Z.
        """
        _, kernel = GATHER[Y.shape[1]]
        flat, strides = self.potential.reshape(-1), self.shape.strides

        def read(start: int, stop: int) -> float:
            return float(kernel(flat, *strides, self.origin, self.per_cell, self.own, Y, start, stop, gradient))

        total = sum(threads.map(read, ranges(len(Y), ROWS)))
        return total + (self.n * (self.n - 1.0) if self.offset else 0.0)


class FieldPlanner:
    """Plans fields, and keeps what one iteration can hand to the next: the kernel's transform and work space.

    Parameters
    ----------
    dof : float
        Degrees of freedom of the kernel, > 0.
    threads : Threads
    margin : float
        Map units around the rows in which the field can be read, too.
    finer : float
        How many times as fine as usual cells are.
    """

    def __init__(self, dof: float, threads: Threads, margin: float = 0.0, finer: float = 1.0) -> None:
        self.dof = dof
        self.threads = threads
        self.margin = margin
        self.finer = finer
        self._convolution: Convolution | None = None

    @property
    def shape(self) -> Shape | None:
        """The shape of the grid that was planned last; the next one has it too where it still fits."""
        return self._convolution.kernel.shape if self._convolution else None

    def go_on(self, shape: Shape) -> Convolution:
        """Take a grid of this shape, as each plan does; whoever resumes a plan does so for the next one's bits."""
        if self._convolution is None or shape != self.shape:
            self._convolution = Convolution(kernel_for(shape, self.dof, self.threads), self.threads)
        return self._convolution

    def plan(self, Y: Float32) -> Field:
        """The field of the rows `Y`, float32, shape (n, d), d = 1, 2 or 3.

        Raises
        ------
        FloatingPointError
            If a coordinate is not finite, or the map is wider than its field can be.
        """
        n = len(Y)
        pieces = ranges(n, ROWS)
        boxes = self.threads.map(lambda start, stop: spreading.bounds(Y, start, stop), pieces)
        lowest, highest = np.min([box[0] for box in boxes], axis=0), np.max([box[1] for box in boxes], axis=0)
        # A coordinate that is not finite makes NaN of both bounds of its axis.
        if not np.isfinite(lowest).all():
            raise FloatingPointError("the map holds a coordinate that is not finite")
        if not (width := float((highest.astype(np.float64) - lowest).max())) <= WIDEST:
            raise FloatingPointError(f"the map is {width:g} units wide, and no field reaches farther than {WIDEST:g}")
        low, high = lowest.astype(np.float64) - self.margin, highest.astype(np.float64) + self.margin
        convolution = self.go_on(shape_for(high - low, self.dof, self.shape, self.finer))
        kernel = convolution.kernel
        shape = kernel.shape
        spare = (np.array(shape.nodes) - WINDOW) * shape.spacing - (high - low)
        origin = (low - spare / 2).astype(np.float32)
        # Rounding must not put the lowest row before the first node.
        origin = np.minimum(origin, lowest)
        # Kernels check no bounds. Cells grow with coordinates, so what holds for the highest row holds for all.
        last = (highest - origin) * np.float32(1 / shape.spacing)
        if not (last < np.array(shape.nodes) - WINDOW + 1).all():
            raise FloatingPointError(f"the map from {lowest} to {highest} has no grid")
        potential = convolution(self._spread(Y, pieces, origin, shape))
        return Field(potential, origin, shape, kernel.own, float(n) if kernel.shifted else 0.0, n)

    def _spread(self, Y: Float32, pieces: list[tuple[int, int]], origin: Float32, shape: Shape) -> Float32:
        """The density at the nodes."""
        n, d = Y.shape
        per_cell = np.float32(1 / shape.spacing)
        # There are up to 32 bands, but none with so few points that handing it to a thread takes longer than its work.
        rows = max(WINDOW, shape.nodes[0] // 32, -(-shape.nodes[0] // max(1, n // BAND_POINTS)))
        bands = -(-shape.nodes[0] // rows)
        counts = np.zeros((len(pieces), bands), np.int64)
        numbered = [(index, start, stop) for index, (start, stop) in enumerate(pieces)]

        def count(index: int, start: int, stop: int) -> None:
            spreading.count_bands(Y, start, stop, origin, per_cell, rows, counts[index])

        self.threads.map(count, numbered)
        # Bands follow one another; within a band, the ranges are in order.
        cursors = (np.cumsum(counts.T.reshape(-1)) - counts.T.reshape(-1)).reshape(bands, -1).T.copy()
        edges = [*cursors[0].tolist(), n]
        U = np.empty_like(Y)

        def sort(index: int, start: int, stop: int) -> None:
            spreading.sort_into_bands(Y, start, stop, origin, per_cell, rows, cursors[index], U)

        self.threads.map(sort, numbered)
        density = np.zeros(shape.nodes, np.float32)
        flat, strides = density.reshape(-1), shape.strides
        kernel = spreading.SPREAD[d]

        def spread(start: int, stop: int) -> None:
            kernel(U, start, stop, *strides, flat)

        for first in (0, 1):
            self.threads.map(spread, [(edges[band], edges[band + 1]) for band in range(first, bands, 2)])
        return density
