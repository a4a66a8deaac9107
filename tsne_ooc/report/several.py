"""Several maps of the same rows: which neighbours stay together, which rows change, and what chance would do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tsne_ooc._options import counted
from tsne_ooc._parallel import Threads
from tsne_ooc._random import generator
from tsne_ooc._typing import Array, Float64, Int64
from tsne_ooc.metrics import displacement
from tsne_ooc.metrics._space import Space
from tsne_ooc.report.estimates import Estimate, mean_of
from tsne_ooc.report.faithfulness import NEAR
from tsne_ooc.report.subject import Subject
from tsne_ooc.sampling import take
from tsne_ooc.storage.asked import unequal

#: Rows that are looked at.
DRAWN = 2000
#: Rows that are named as those that change most.
NAMED = 15
# What decides a map and may differ between several.
_DECIDES = ("sample", "prepare", "rounds", "random_state", "refine", "model")


class Pair(NamedTuple):
    """Two of the maps.

    Parameters
    ----------
    first, second : int
        Their numbers.
    kept : Estimate
        Share of a row's nearest rows on the first that are among its nearest on the second.
    moved : float
        The median distance of a row from where the first map has it, laid on the second, in widths of the second.
    differ : list of str
        What was asked for otherwise.
    """

    first: int
    second: int
    kept: Estimate
    moved: float
    differ: list[str]


class Agreement(NamedTuple):
    """What several maps have in common.

    Parameters
    ----------
    k : int
        Neighbours that are compared.
    rows : ndarray of int64
        Rows that were looked at, and have a place on all maps.
    n : int
        Rows that have one.
    kept : ndarray of float64
        Of each of them, which share of its neighbours stays, in the mean over all pairs of maps.
    moved : ndarray of float64
        How far it moved from the first map, in widths, in the mean over the others.
    pairs : list of Pair
    chance : float
        What share two maps at random would keep.
    """

    k: int
    rows: Int64
    n: int
    kept: Float64
    moved: Float64
    pairs: list[Pair]
    chance: float

    def changed(self) -> Int64:
        """Places in `rows` of those that keep the least, the most moved first among equals."""
        return np.lexsort((-self.moved, self.kept))[:NAMED]


def agreement(subjects: Sequence[Subject], threads: Threads, seed: int = 0) -> Agreement:
    """Compare maps of the same rows.

    Raises
    ------
    ValueError
        For maps of different lengths, and where no rows have a place on all of them.
    """
    first = subjects[0]
    for other in subjects[1:]:
        if len(other.Y) != len(first.Y):
            raise ValueError(
                f"{first.name} has {counted(len(first.Y), 'rows')}, and {other.name} {len(other.Y):,}; several maps "
                "are compared row by row, so they must be maps of one table"
            )
    there = np.logical_and.reduce([one.there for one in subjects])
    n = int(there.sum())
    if n < 5:
        raise ValueError(f"{counted(n, 'rows')} have a place on all of the maps, which is too few to compare them")
    k = max(1, min(NEAR, (n - 1) // 2))
    places = [one.Y if n == len(there) else one.Y[there] for one in subjects]
    rows = np.sort(generator(seed, "agreement").choice(n, min(n, DRAWN), replace=False))
    near = [Space(Y, threads).nearest(rows, k)[0] for Y in places]
    some = [take(Y, rows) for Y in places]
    pairs, shares = [], []
    for i in range(len(subjects)):
        for j in range(i + 1, len(subjects)):
            kept = np.array([np.isin(a, b, assume_unique=True).mean() for a, b in zip(near[i], near[j], strict=True)])
            shares.append(kept)
            pairs.append(Pair(
                i, j, mean_of(kept, n), float(np.median(_moved(some[i], some[j]))), _differ(subjects[i], subjects[j])
            ))  # fmt: skip
    moved = np.mean([_moved(some[0], other) for other in some[1:]], axis=0)
    numbers = rows if n == len(there) else np.flatnonzero(there)[rows]
    return Agreement(k, numbers, n, np.mean(shares, axis=0), moved, pairs, k / (n - 1))


def _moved(before: Array, after: Array) -> Float64:
    """How far rows moved, in widths of the second map; on axes that only one map has, they are at 0 in the other."""
    d = max(before.shape[1], after.shape[1])
    one, other = (np.pad(np.asarray(Y, np.float64), ((0, 0), (0, d - Y.shape[1]))) for Y in (before, after))
    width = float(np.ptp(other, axis=0).max())
    found = displacement(one, other)
    return found / width if width > 0 else found


def _differ(first: Subject, second: Subject) -> list[str]:
    """What was asked for otherwise in two runs, one line each."""
    one, other = (subject.content.get("job", {}).get("request") for subject in (first, second))
    if one is None or other is None:
        return []
    lines = []
    sources = [subject.content["job"]["source"].get("probes") for subject in (first, second)]
    if sources[0] != sources[1]:
        lines.append("they are of other tables")
    for name in ("parameters", *_DECIDES):
        lines += unequal(name, one.get(name), other.get(name))
    # Said twice where the seed of a run is that of its fit.
    return list(dict.fromkeys(lines))
