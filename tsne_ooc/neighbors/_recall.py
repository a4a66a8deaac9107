"""The share of neighbours that an approximate search finds, measured on some rows that are searched exactly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tsne_ooc._options import number
from tsne_ooc._typing import Int64
from tsne_ooc.neighbors.base import Distances

# Rows that are searched exactly: that takes 1.7 % of the time of all rows where there are 15,000, and next to nothing
# of that of a million. It tells the share to some .006; with 100 rows, efforts that found .938 were taken for .95.
SAMPLE = 256
# The default of `recall=`.
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
    """Row numbers at equal distances; they are not drawn at random, so that a saved index finds the same effort."""
    return np.unique(np.linspace(0, n - 1, min(n, SAMPLE)).astype(np.int64))


def share_found(found: Distances, true: Distances) -> float:
    """The share of the k nearest others that was found; both searches were for k + 1 rows, with the row itself."""
    k = found.shape[1] - 1
    if k < 1:
        return 1.0
    hits = (found <= true[:, -1:].astype(np.float64) * (1 + 1e-6)).sum(axis=1) - 1
    return float(np.maximum(hits, 0).mean() / k)


def effort_for(
    wanted: float | None, first: int, most: int, measure: Callable[[int], float], *, growth: float = 1.5
) -> tuple[int, float]:
    """The least effort that finds the wanted share, of some from `first` to `most`, or `most`; and the share it finds.

    Parameters
    ----------
    wanted : float or None
        None takes `first`, whatever share that finds.
    first, most : int
    measure : callable
        ``measure(effort)`` gives the share that an effort finds.
    growth : float
        The factor from one effort to the next.
    """
    effort = min(first, most)
    found = measure(effort)
    while wanted is not None and found < wanted and effort < most:
        effort = min(most, int(np.ceil(effort * growth)))
        found = measure(effort)
    return effort, found
