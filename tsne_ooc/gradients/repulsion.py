"""Repulsion between all rows: from the exact sum for few of them, from the field for many."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from tsne_ooc._kernels.pairs import PAIRS
from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Float32
from tsne_ooc.gradients.field import FieldPlanner
from tsne_ooc.gradients.grid import Shape

# Rows below which the exact sums are quicker at the end of a fit, by the axes of the map. Exact sums and the field on
# one core: in two axes 0.14 and 1.6 ms at 500 rows (a map 72 wide), 0.46 and 2.3 at 1,000, 1.6 and 4.1 at 2,000, 6.4
# and 4.0 at 4,000; in three, where a map 60 wide has 5 million nodes, 0.16 and 730 ms at 500, 2.4 ms and 6.8 s at
# 2,000, 0.04 and 13 s at 8,000, which is the most that the field takes; at 30,000 exact sums take 0.6 s.
EXACT = {1: 500, 2: 2_000, 3: 30_000}
# Other degrees of freedom than 1 need a logarithm and an exponential for each pair: 1.6 and 2.3 ms at 500 rows in two
# axes, 5.3 and 6.4 at 1,000, 22 and 4.8 at 2,000.
EXACT_BELOW = 500


# Rows of a map of three axes below which new ones are placed by sums over them, up to a dof of 2 and beyond it.
# Planning the grid takes some 8 s, and then a new row 5 us; sums over 5,000 rows take 30 us at dof = 1. From a dof of 3
# on, the field beside rows that lie apart is just the rounding of its transform: 297 digits were placed 7 to 19 units
# off (median), on maps 170 to 330 wide. Up to a dof of 2 it was .004 to .02, and .001 in one axis and in two.
SUMMED, SUMMED_STEEP, STEEP = 5_000, 30_000, 2.0


class Repulsion(Protocol):
    """The repulsive half of the gradient."""

    def __call__(self, Y: Float32, slope: Float32) -> float:
        """Write the gradient of the field of all other rows to `slope`, shape (n, d); return its sum Z."""

    @property
    def grid(self) -> Shape | None:
        """The shape of the last call's grid; the next one has it too where it still fits."""

    def go_on(self, grid: Shape | None) -> None:
        """Take the grid of an earlier run, so that the next call has the same bits."""


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
        """Do nothing: exact sums keep no grid."""

    def __call__(self, Y: Float32, slope: Float32) -> float:
        kernel = PAIRS[Y.shape[1]]
        value = np.empty(len(Y), np.float64)
        self.threads.map(
            lambda start, stop: kernel(Y, Y, self.dof, True, start, stop, value, slope), ranges(len(Y), self.ROWS)
        )
        return float(value.sum())


class FieldRepulsion:
    """The field, which is planned anew for every map.

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


def exact_below(d: int, dof: float) -> int:
    """The number of rows from which a map of `d` axes does not use exact sums."""
    return EXACT[d] if dof == 1 or d == 3 else EXACT_BELOW


def summed_below(d: int, dof: float) -> int:
    """The number of fitted rows from which the field for new rows is not summed over them."""
    if d < 3:
        return 0
    return SUMMED if dof <= STEEP else SUMMED_STEEP


def repulsion_for(n: int, d: int, dof: float, threads: Threads) -> Repulsion:
    """The quicker of the two for `n` rows in `d` axes."""
    return ExactRepulsion(dof, threads) if n < exact_below(d, dof) else FieldRepulsion(dof, threads)
