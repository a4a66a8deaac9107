"""The grid of the field: where it lies, how fine it is, how many nodes it has."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tsne_ooc._options import number
from tsne_ooc._typing import Float64

# Relative RMS error of the force of 1,000 rows on a plane, 10 and 40 units wide, with the field: 3e-3 and 1e-2 at a dof
# of .01, .1 and .1 at .001, .7 at 1e-4, 1e3 at 1e-8 (the kernel is then a spike on a plateau whose slope float32 does
# not hold), and 4e-3 from 1 up. With exact sums in float32: 4e-4 at 10,000, 3e-2 at 1e6, nothing but rounding at 1e8.
# At 10,000 the kernel is the Gaussian to 1e-4 already.
LEAST_DOF, MOST_DOF = 0.01, 1e4
# The spectrum of the kernel falls like exp(-k), so the spacing sets the error, not the window: with the self-term
# removed, relative RMS error of the force 7e-3 at 0.35, 1.1e-2 at 0.4, 2.9e-2 at 0.5 (a window of six nodes reaches
# the same at 0.44, but spreading and reading cost 2.3 times as much: slower in all from 70,000 rows up). On a line,
# where neighbours' forces cancel more, 0.375 leaves 1.2e-2 and nodes cost nothing.
SPACING = {1: 0.25, 2: 0.35, 3: 0.35}
# A map narrower than this many cells gets a finer grid.
LEAST_CELLS = 40
WINDOW = 4
# With finer cells, squares of distances would vanish in single precision. A map so narrow is in effect a point.
LEAST_SPACING = 1e-14
# Squares of wider maps overflow single precision. No real map is a ten-millionth as wide.
WIDEST = 1e15
# Maps wider than this many nodes can hold at the usual spacing (2,000 units on a plane, 110 in space) get coarser
# cells, never a shorter reach: forces are then less exact, but a row that strayed costs no more than 2 GB.
MOST_NODES = 1 << 25


@dataclass(frozen=True)
class Shape:
    """What the transform of the kernel depends on.

    Parameters
    ----------
    spacing : float
        Map units per cell.
    lengths : tuple of int
        Points of the transform along each axis, even: twice the number of nodes, because the kernel is long-ranged and
        the far half stays zero.
    """

    spacing: float
    lengths: tuple[int, ...]

    @property
    def nodes(self) -> tuple[int, ...]:
        return tuple(length // 2 for length in self.lengths)

    @property
    def reach(self) -> float:
        """The longest distance between two nodes, in map units."""
        return self.spacing * math.hypot(*self.nodes)

    @property
    def strides(self) -> tuple[int, int]:
        """Nodes from one row to the next, and from one plane to the next."""
        nodes = self.nodes
        stride = nodes[-1]
        return stride, stride * (nodes[-2] if len(nodes) > 1 else 1)


def _fast_even(length: float) -> int:
    """The least even length from `length` up whose transform is quick."""
    from scipy.fft import next_fast_len

    half = int(np.ceil(length / 2))
    while (fast := int(next_fast_len(2 * half, real=True))) % 2:
        half += 1
    return fast


def check_dof(dof: object, what: str = "dof") -> float:
    """`dof` as a float, or an error that says which degrees of freedom the field can represent."""
    try:
        return number(what, dof, above=0, least=LEAST_DOF, most=MOST_DOF)
    except ValueError as error:
        if isinstance(dof, float) and dof == math.inf:
            raise ValueError(f"{error}; at {MOST_DOF:g} the kernel is all but a Gaussian") from None
        raise


def spacing_for(d: int, dof: float) -> float:
    """Map units per cell for a map of `d` axes; the kernel's core narrows with sqrt(dof), the cells with it."""
    return float(SPACING[d] * min(1.0, dof) ** 0.5)


def shape_for(extent: Float64, dof: float, last: Shape | None = None, finer: float = 1.0) -> Shape:
    """The shape of a grid for a map of this extent along each axis, in cells that are so many times as fine as usual.

    It is `last` again where that still fits: sizes grow in steps of some 3 %, so that the kernel is transformed some
    tens of times in a run, not at every iteration.
    """
    widest = float(extent.max())
    spacing = spacing_for(len(extent), dof) / finer
    if 0 < widest < spacing * LEAST_CELLS:
        # Spacings fall in steps of sqrt 2: the map is LEAST_CELLS to 1.4 times as many cells wide.
        spacing *= 2.0 ** (np.floor(2 * np.log2(widest / (spacing * LEAST_CELLS))) / 2)
    elif widest == 0:
        # All rows are in one place: cells are so small that the kernel does not change between them.
        spacing *= 1e-3
    spacing = max(spacing, LEAST_SPACING)
    nodes = np.maximum(extent / spacing, 2 * WINDOW)
    if (excess := float(np.prod(nodes)) / MOST_NODES) > 1:
        # These are steps of sqrt 2, too. Thin axes do not shrink with the cells, so this ends a little coarser than it
        # must.
        along = int((nodes > 2 * WINDOW).sum())
        spacing *= float(2.0 ** (np.ceil(2 * np.log2(excess ** (1 / along))) / 2))
    needed = np.ceil(extent / spacing) + WINDOW
    if last is not None and last.spacing == spacing and len(last.lengths) == len(extent):
        nodes = np.array(last.nodes)
        if (needed <= nodes).all() and (needed >= 0.85 * nodes - 8).all():
            return last
    return Shape(spacing, tuple(_fast_even(2 * (n * 1.03 + 1)) for n in needed))
