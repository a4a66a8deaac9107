"""How much an approximate search finds, measured on some rows that are searched exactly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tsne_ooc._options import number
from tsne_ooc._typing import Int64
from tsne_ooc.neighbors.base import Distances

# An exact search of so many costs 1.7 % of one among 15,000, and nothing among a million. The share of their neighbours
# is known to some .006; with 100 rows efforts that found .938 were taken for .95.
SAMPLE = 256
# What `recall=` is by default.
WANTED = 0.95


def check_wanted(recall: float | None) -> float | None:
    """`recall`, if it is a share that a search may have to find, or None."""
    if recall is None:
        return None
    found = number("recall", recall, above=0)
    if found > 1:
        raise ValueError(f"recall={recall!r} must be at most 1, or None to leave the effort as it is")
    return found


def rows_to_measure(n: int) -> Int64:
    """Row numbers from first to last; no chance, so that a saved index comes to the same effort."""
    return np.unique(np.linspace(0, n - 1, min(n, SAMPLE)).astype(np.int64))


def share_found(found: Distances, true: Distances) -> float:
    """Which share of the k nearest others was found, where both searches were for k + 1 rows: the row itself is one."""
    k = found.shape[1] - 1
    if k < 1:
        return 1.0
    hits = (found <= true[:, -1:].astype(np.float64) * (1 + 1e-6)).sum(axis=1) - 1
    return float(np.maximum(hits, 0).mean() / k)


def effort_for(
    wanted: float | None, first: int, most: int, measure: Callable[[int], float], *, growth: float = 1.5
) -> tuple[int, float]:
    """The least effort of a few, from `first` on, that finds the wanted share, or `most`; and the share it finds.

    Parameters
    ----------
    wanted : float or None
        None: `first`, whatever it finds.
    first, most : int
    measure : callable
        The share that an effort finds.
    growth : float
        From one effort to the next.
    """
    effort = min(first, most)
    found = measure(effort)
    while wanted is not None and found < wanted and effort < most:
        effort = min(most, int(np.ceil(effort * growth)))
        found = measure(effort)
    return effort, found
