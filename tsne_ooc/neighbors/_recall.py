"""The share of neighbours that an approximate search finds, measured on some rows that are searched exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tsne_ooc._options import number
from tsne_ooc._typing import Int64
from tsne_ooc.neighbors.base import Distances

# Rows that are searched exactly: that takes 1.7 % of the time of all rows where there are 15,000, and next to nothing
# of that of a million. It tells the share to some .006; with 100 rows, efforts that found .938 were taken for .95.
SAMPLE = 256
# The default of `recall=`.
WANTED = 0.95
# The nearest rows of which this share is to be found. Those beyond are many and weigh little, and may be missed twice
# as often: .96 of the 15 and .91 of the 90 nearest of 1.3 million rows of MOSES take 50 of 13,000 lists, .955 of the 90
# nearest 86.
NEAREST = 15


class Share(NamedTuple):
    """The share that is found of the `nearest` rows, and of all k."""

    nearest: float
    all: float


EVERYTHING = Share(1.0, 1.0)


class Wanted(NamedTuple):
    """The share of the `nearest` rows to be found; of all k, twice as many may be missed. None: of all k alike."""

    share: float
    nearest: int | None = NEAREST

    def reached(self, found: Share) -> bool:
        """Whether enough is found."""
        return found.nearest >= self.share and found.all >= 2 * self.share - 1

    @classmethod
    def of(cls, share: float | None) -> Wanted | None:
        """What `recall=` asks for."""
        return None if share is None else cls(share)


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
    """The share of the k nearest others that was found: k + 1 rows are `true`, with the row itself, and more found."""
    k = true.shape[1] - 1
    if k < 1:
        return 1.0
    hits = (found <= true[:, -1:].astype(np.float64) * (1 + 1e-6)).sum(axis=1) - 1
    return float(np.clip(hits, 0, k).mean() / k)


def shares_found(found: Distances, true: Distances, wanted: Wanted | None) -> Share:
    """What was found of the nearest rows that are wanted, and of all; see `share_found`."""
    share = share_found(found, true)
    k = true.shape[1] - 1
    nearest = k if wanted is None or wanted.nearest is None else min(k, wanted.nearest)
    return Share(share if nearest == k else share_found(found, true[:, : nearest + 1]), share)


def effort_for(
    wanted: Wanted | None, first: int, most: int, measure: Callable[[int], Share], *, growth: float = 1.5
) -> tuple[int, Share]:
    """The least effort that finds what is wanted, of some from `first` to `most`, or `most`; and the share it finds.

    Parameters
    ----------
    wanted : Wanted or None
        None takes `first`, whatever share that finds.
    first, most : int
    measure : callable
        ``measure(effort)`` gives the share that an effort finds.
    growth : float
        The factor from one effort to the next.
    """
    effort = min(first, most)
    found = measure(effort)
    while wanted is not None and not wanted.reached(found) and effort < most:
        effort = min(most, int(np.ceil(effort * growth)))
        found = measure(effort)
    return effort, found
