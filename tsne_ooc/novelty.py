"""Novelty: how far a row is from the sample, by the sample's own measure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from tsne_ooc._typing import Float32, Int64
from tsne_ooc.neighbors.base import Distances, Index, Indices
from tsne_ooc.storage.state import Saved, State

# New rows are placed beside as many by default, so that one search serves both.
NEIGHBORS = 15
# Among copies distances are 0, and the slightest other distance would be infinitely novel. With this share of the
# median as the least own distance, more rows of the rare kinds of KDD Cup 99 (23 of 5,000 in the sample) were beyond
# the threshold than with a tenth of it, and as many as with all of it, which also dulls the densest regions.
FLOOR = 0.3
# Of rows like the sample's, 0.11 % (KDD Cup 99, sample of 25,000), 0.05 % (5,000), 0.13 % (shuttle, 5,000) and 0.04 %
# (MNIST, 10,000) were beyond the threshold; without the margin 0.14, 0.05, 0.15 and 0.09 %.
QUANTILE, MARGIN = 0.999, 1.1


@dataclass(frozen=True, eq=False)
class Reference:
    """What the sampled rows say about distances among themselves.

    The novelty of a row is the mean distance to its `k` nearest sampled rows, divided by the mean of these rows' own
    distances; a sampled row's own distance is the mean distance to its `k` nearest others. 1 is like the sample, 3 is
    three times as far off as the sample's rows are from each other there, 0 is a copy. It has no unit, and follows the
    density: far out, where the sample is thin, a row may lie farther off. (The simplified local outlier factor of
    Schubert, Zimek and Kriegel, Data Mining and Knowledge Discovery 28, 2014, with mean distances.)

    Attributes
    ----------
    own : ndarray of float32, shape (n,)
        Own distances, > 0: those of copies are lifted to 0.3 of the median of those that are not 0.
    novelty : ndarray of float32, shape (n,)
        That of the sampled rows, each seen from the others.
    k : int
        Neighbours that count: 15, or as many as there are.
    """

    own: Float32
    novelty: Float32
    k: int

    def __post_init__(self) -> None:
        self.own.setflags(write=False)
        self.novelty.setflags(write=False)

    @classmethod
    def of(cls, index: Index) -> Self:
        """The reference that the rows of an index make."""
        k = min(NEIGHBORS, index.n - 1)
        if k < 1:
            return cls.of_neighbors(np.empty((index.n, 0), np.uint32), np.empty((index.n, 0), np.float32))
        return cls.of_neighbors(*index.query_self(k))

    @classmethod
    def of_neighbors(cls, indices: Indices, distances: Distances) -> Self:
        """The reference from the nearest others of each row, ascending, shape (n, k or more)."""
        return cls.of_blocks(lambda: [(np.arange(len(indices)), indices, distances)], indices.shape)

    @classmethod
    def of_blocks(
        cls, blocks: Callable[[], Iterable[tuple[Int64 | Indices, Indices, Distances]]], shape: tuple[int, ...]
    ) -> Self:
        """The same from what gives them block by block, with the numbers of its rows, in any order.

        Parameters
        ----------
        blocks : callable
            Called twice.
        shape : tuple
            Rows and neighbours of each.
        """
        from tsne_ooc._kernels.novelty import mean_distances

        n, k = shape[0], min(NEIGHBORS, shape[1])
        if not k:
            return cls(np.ones(n, np.float32), np.ones(n, np.float32), 0)
        own, score = np.empty(n, np.float32), np.empty(n, np.float32)
        for rows, _, distances in blocks():
            mean = np.empty(len(rows), np.float32)
            mean_distances(distances, k, mean)
            own[rows] = mean
        apart = own[own > 0]
        floor = np.float32(FLOOR * np.median(apart)) if len(apart) else np.float32(1)
        own = np.maximum(own, max(floor, np.finfo(np.float32).tiny))
        for rows, indices, distances in blocks():
            score[rows] = novelty(indices, distances, own, k)
        return cls(own, score, k)

    @property
    def threshold(self) -> float:
        """A row beyond it is novel: the .999 quantile of the sample's own novelty (at least 1), and a tenth more.

        At most 0.2 % of rows that are drawn as the sample is are beyond it.
        """
        return MARGIN * max(1.0, float(np.quantile(self.novelty, QUANTILE)))

    def score(self, indices: Indices, distances: Distances) -> Float32:
        """The novelty of rows from their nearest reference rows, ascending, shape (m, k or more)."""
        return novelty(indices, distances, self.own, min(max(1, self.k), indices.shape[1]))

    def state(self) -> State:
        """JSON and arrays for `restore`."""
        return {"k": self.k}, {"own": self.own, "novelty": self.novelty}

    @classmethod
    def restore(cls, saved: Saved, n: int) -> Reference:
        """The reference of a `state`, of n rows.

        Raises
        ------
        StateError
            For a state that is not valid.
        """
        own, scores = saved.array("own", np.float32, (n,)), saved.array("novelty", np.float32, (n,))
        if not own.min() > 0:
            raise saved.fail("holds distances that are not greater than 0", "own")
        if not scores.min() >= 0:
            raise saved.fail("holds what is less than 0", "novelty")
        return cls(own, scores, saved.whole("k", least=0, most=NEIGHBORS))


def novelty(indices: Indices, distances: Distances, own: Float32, k: int | None = None) -> Float32:
    """The novelty of rows: the mean of their distances to reference rows over the mean of these rows' own distances.

    Each row is scored by itself: the result is the same to the bit for any chunks.

    Parameters
    ----------
    indices, distances : ndarray of shape (m, c)
        Nearest reference rows, ascending, as a neighbour index answers.
    own : ndarray of float32, shape (n,)
        Of the reference rows, > 0; see `Reference`.
    k : int, optional
        Only so many columns count; all by default.

    Returns
    -------
    ndarray of float32, shape (m,)
        At least 0, finite.
    """
    from tsne_ooc._kernels import novelty as kernels

    out = np.empty(len(indices), np.float32)
    kernels.novelty(indices, distances, own, indices.shape[1] if k is None else k, out)
    return out


class NoveltyHistogram:
    """The distribution of novelty over a stream, in 64 kB: 32 bins to every doubling, so quantiles are right to 2 %.

    Parameters
    ----------
    threshold : float
        Rows beyond it are counted exactly.
    """

    # The bits of a positive float32, read as a whole number, grow with it: the first ones are the exponent and 32
    # parts.
    _SHIFT = 18

    def __init__(self, threshold: float) -> None:
        self.threshold = float(threshold)
        self.counts: Int64 = np.zeros((0x7F800000 >> self._SHIFT) + 1, np.int64)
        self.beyond = 0
        self.largest = 0.0

    def add(self, novelty: Float32) -> None:
        """Count rows by their novelty, float32 and at least 0."""
        values = np.ascontiguousarray(novelty, np.float32) + np.float32(0)
        # Rows that were dropped have none.
        values = values[~np.isnan(values)]
        if not len(values):
            return
        if not (values.min() >= 0):
            raise ValueError(f"novelty is {values.min()}; it cannot be less than 0")
        self.counts += np.bincount(values.view(np.uint32) >> self._SHIFT, minlength=len(self.counts))
        self.beyond += int((values > self.threshold).sum())
        self.largest = max(self.largest, float(values.max()))

    def merge(self, other: NoveltyHistogram) -> None:
        """Count what another has counted, against the same threshold."""
        if other.threshold != self.threshold:
            raise ValueError(f"histograms have different thresholds, {self.threshold:g} and {other.threshold:g}")
        self.counts += other.counts
        self.beyond += other.beyond
        self.largest = max(self.largest, other.largest)

    @property
    def rows(self) -> int:
        return int(self.counts.sum())

    def quantile(self, q: float) -> float:
        """The novelty that a share of `q` of the rows does not exceed, to within 2 %; 0 where there are no rows."""
        rank = max(1, int(np.ceil(q * self.rows)))
        at = int(np.searchsorted(np.cumsum(self.counts), rank))
        if not self.rows or not at:
            return 0.0
        edges = (np.array([at, at + 1], np.uint32) << self._SHIFT).view(np.float32)
        return min(float(np.sqrt(np.prod(edges, dtype=np.float64))), self.largest)

    def summary(self) -> dict[str, Any]:
        """Numbers for a manifest: rows, threshold, rows beyond it and their share, quantiles, and the largest."""
        quantiles = (0.01, 0.25, 0.5, 0.75, 0.99, 0.999)
        return {
            "rows": self.rows,
            "threshold": self.threshold,
            "beyond": self.beyond,
            "beyond_share": self.beyond / max(1, self.rows),
            "quantiles": {f"{q:g}": round(self.quantile(q), 4) for q in quantiles},
            "largest": self.largest,
        }


def summary(novelty: Float32, threshold: float) -> dict[str, Any]:
    """`NoveltyHistogram.summary` of one array."""
    histogram = NoveltyHistogram(threshold)
    histogram.add(novelty)
    return histogram.summary()


# Quantiles are taken of so many rows, from all over the table: half a million give them to a thousandth.
_LOOKED_AT = 1 << 19
_BLOCK = 1 << 20
# How far beyond the median a row is unlike most others, in distances from the median to the upper quartile, taken of
# logarithms: such a distance is .6745 of a standard deviation, so this is 5 of those. With a tenth of junk in table and
# sample, 5 finds 91 % of junk among digits of MNIST and all of it among 200 clusters; where there is none, 1.0, 0.0 and
# (heavy tails) 0.2 % of the rows are beyond. With 4 these are 99 and 100 %, and 1.6, 0.0 and 0.5 %. The threshold of
# the sample, a quantile near its end, finds 0.3 % and none, because it is set by the junk that was sampled.
DEVIATIONS = 5 / 0.6745


def limit_of(novelty: Float32) -> float:
    """A limit beyond which rows are unlike most: from median and upper quartile, which a tenth of junk hardly moves.

    Parameters
    ----------
    novelty : ndarray of shape (n,)
        That of all rows of a table, in memory or mapped; NaN of rows that were dropped, which do not count.
    """
    some = np.asarray(novelty[:: max(1, -(-len(novelty) // _LOOKED_AT))], np.float64)
    some = some[~np.isnan(some)]
    if not len(some):
        return float("inf")
    middle, upper = np.quantile(some, [0.5, 0.75])
    if not middle > 0:
        return float(upper)
    return float(middle * (upper / middle) ** DEVIATIONS)


def strangest(novelty: Float32, n: int) -> Int64:
    """The numbers of the n rows of the highest novelty, this first; of equal ones the first of the table first."""
    rows, values = np.empty(0, np.int64), np.empty(0, np.float32)
    for start in range(0, len(novelty), _BLOCK):
        block = np.asarray(novelty[start : start + _BLOCK])
        known = np.flatnonzero(~np.isnan(block))
        rows = np.concatenate([rows, start + known])
        values = np.concatenate([values, block[known]])
        kept = np.lexsort((rows, -values))[:n]
        rows, values = rows[kept], values[kept]
    return rows
