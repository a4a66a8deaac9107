"""Repulsion between all rows: by the exact sum for few of them, by the field for many."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .._kernels.pairs import PAIRS
from .._parallel import Threads, ranges
from .field import FieldPlanner
from .grid import Shape

Float32 = NDArray[np.float32]

# The two take the same time at some 500 rows: 0.4 ms at 450, and 2.1 against 1.1 ms at 1,000, on maps 50 wide.
EXACT_BELOW = 500


class Repulsion(Protocol):
    """The repulsive half of the gradient."""

    def __call__(self, Y: Float32, slope: Float32) -> float:
        """Write the gradient of the field of all other rows to `slope`, shape (n, d); return its sum Z."""

    @property
    def grid(self) -> Shape | None:
        """Of the last call; the next one has it too where it still fits."""

    def go_on(self, grid: Shape | None) -> None:
        """Take the grid of an earlier run: the next call gets the same bits then."""


class ExactRepulsion:
    """The sum over all pairs.

    Parameters
    ----------
    dof : float
    threads : Threads
    """

    ROWS = 64
    grid: Shape | None = None

    def __init__(self, dof: float, threads: Threads) -> None:
        self.dof, self.threads = float(dof), threads

    def go_on(self, grid: Shape | None) -> None:
        """Nothing is kept."""

    def __call__(self, Y: Float32, slope: Float32) -> float:
        kernel = PAIRS[Y.shape[1]]
        value = np.empty(len(Y), np.float64)
        self.threads.map(
            lambda start, stop: kernel(Y, Y, self.dof, True, start, stop, value, slope), ranges(len(Y), self.ROWS)
        )
        return float(value.sum())


class FieldRepulsion:
    """The field, planned anew for every map.

    Parameters
    ----------
    dof : float
    threads : Threads
    """

    def __init__(self, dof: float, threads: Threads) -> None:
        self.threads = threads
        self.planner = FieldPlanner(dof, threads)

    def __call__(self, Y: Float32, slope: Float32) -> float:
        return self.planner.plan(Y).at_sources(Y, slope, self.threads)

    @property
    def grid(self) -> Shape | None:
        return self.planner.shape

    def go_on(self, grid: Shape | None) -> None:
        if grid is not None:
            self.planner.go_on(grid)


def repulsion_for(n: int, dof: float, threads: Threads) -> Repulsion:
    """The quicker of the two for `n` rows."""
    return ExactRepulsion(dof, threads) if n < EXACT_BELOW else FieldRepulsion(dof, threads)
