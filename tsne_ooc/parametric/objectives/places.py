"""The latest place of each row, and the field of all rows."""

from __future__ import annotations

import numpy as np

from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Arrays, Float32, Int64
from tsne_ooc.gradients.field import FieldPlanner
from tsne_ooc.gradients.grid import Shape
from tsne_ooc.gradients.repulsion import EXACT_BELOW, ExactRepulsion

# Map units around the places in which the field can be read before it is planned anew.
MARGIN = 10.0


class Places:
    """Places that are renewed a batch at a time, and a field of all rows that is planned now and then.

    Parameters
    ----------
    n : int
        Rows.
    dof : float
        Degrees of freedom of the kernel.
    threads : Threads

    Attributes
    ----------
    latest : ndarray of float32, shape (n, d)
        Where the rows are.
    planned : ndarray of float32, shape (n, d)
        Where they were when the field was planned.
    extent : float
        Width of `planned` along its wider axis, in map units.
    Z : float
        The sum of the kernel over all pairs of `planned`.
    """

    latest: Float32
    planned: Float32
    extent: float
    Z: float

    def __init__(self, n: int, dof: float, threads: Threads) -> None:
        self.dof, self.threads = dof, threads
        self._planner = FieldPlanner(dof, threads, margin=MARGIN)
        self._exact = n < EXACT_BELOW

    @property
    def grid(self) -> Shape | None:
        """The grid of the field, which the next plan keeps where it still fits."""
        return self._planner.shape

    def put(self, latest: Float32) -> None:
        """Take these places, and plan their field."""
        self.latest = np.ascontiguousarray(latest)
        self.plan()

    def plan(self, at: Int64 | slice = slice(0), there: Float32 | None = None) -> None:
        """Plan the field of the latest places; it has the rows `at` at `there` instead, where it has to reach them."""
        self.planned = self.latest.copy()
        if there is not None:
            self.planned[at] = there
        self.extent = float(np.ptp(self.planned, axis=0).max())
        slope = np.empty_like(self.planned)
        if self._exact:
            self.Z = ExactRepulsion(self.dof, self.threads)(self.planned, slope)
        else:
            self._field = self._planner.plan(self.planned)
            self.Z = self._field.at_sources(self.planned, slope, self.threads)

    def slope(self, at: Int64, Y: Float32) -> Float32:
        """The gradient of the field of all other rows, at the places Y of the rows `at`; shape (m, d)."""
        if self._exact:
            from tsne_ooc._kernels.pairs import PAIRS

            found = np.empty_like(Y)
            PAIRS[Y.shape[1]](Y, self.planned, float(self.dof), False, 0, len(Y), np.empty(len(Y)), found)
        else:
            outside = ((self._field.low > Y) | (self._field.high < Y)).any(axis=1)
            if outside.any():
                self.plan(at[outside], Y[outside])
            _, found = self._field.at(Y, self.threads)
        # A row that has moved since the field was planned would be pushed by its own former place.
        moved = Y - self.planned[at]
        base = 1 + np.square(moved).sum(axis=1, keepdims=True) / self.dof
        return np.asarray(found + 2 * moved * base ** np.float32(-self.dof - 1), np.float32)

    def state(self) -> Arrays:
        found = {"table": self.latest.copy(), "planned": self.planned.copy()}
        if self.grid is not None:
            found["grid"] = np.array([self.grid.spacing, *self.grid.lengths])
        return found

    def restore(self, arrays: Arrays) -> None:
        """Go on from a `state`, with the same bits."""
        if "grid" in arrays:
            spacing, *lengths = arrays["grid"].tolist()
            self._planner.go_on(Shape(spacing, tuple(int(length) for length in lengths)))
        self.put(np.array(arrays["planned"]))
        self.latest = np.array(arrays["table"])
