"""Inverted file: rows in lists around k-means centres, of which a query looks into the nearest few."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from tsne_ooc._options import keep, whole
from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Array, Float32, Int64, Named
from tsne_ooc.neighbors import kmeans
from tsne_ooc.neighbors._blocks import NOBODY, PIECE, Blocks, Frame
from tsne_ooc.neighbors._recall import (
    EVERYTHING,
    WANTED,
    Share,
    Wanted,
    check_wanted,
    effort_for,
    rows_to_measure,
    shares_found,
)
from tsne_ooc.neighbors.base import (
    BLOCKED,
    GAPS,
    Answer,
    Distances,
    Index,
    Indices,
    Metric,
    Neighbors,
    blocked_only,
    by_state,
    check_k,
    check_width,
    of_zero_rows,
)
from tsne_ooc.neighbors.centres import GroupedCentres, by_list, restored_centres, saved_edges, train_groups
from tsne_ooc.neighbors.gaps import GapBlocks, GapFrame, all_found, check_values, gap_blocks, rows_with_gaps
from tsne_ooc.neighbors.saved import blocked_metric, recall_state, saved_recall, saved_rows
from tsne_ooc.neighbors.wrapped import searched
from tsne_ooc.storage.codec import stored
from tsne_ooc.storage.mapped import spared
from tsne_ooc.storage.state import Saved, State

# Metrics that it knows, under all their names.
KNOWN = {**BLOCKED, GAPS: GAPS}
AnyBlocks: TypeAlias = Blocks | GapBlocks
Centres: TypeAlias = AnyBlocks | GroupedCentres
# Queries searched together: many enough that a list meets dozens of them in one product.
GROUP = 2048
# Queries whose lists are held at once, the lists held of them, and the lists that are sorted together: where queries
# look into very many lists, fewer queries take the same memory.
SLAB, PROBES, TOGETHER = 1 << 17, 1 << 23, 1 << 19
# Queries that meet all rows together, as in the exact search.
EVERYWHERE = 512
# Rows to measure with that are searched together where rows are over files.
SPARING = 4
# Share of the lists from which on their bookkeeping costs more than it saves: of 16,000 and 60,000 normal rows an exact
# search took as long as one of a quarter of the lists, and half as long as one of half of them.
WORTH_IT = 0.3
# From one effort to the next that is measured: by half, 1.3 million rows of MOSES in 3,420 lists were searched in 50 of
# them (.965 of 90 neighbours, 60 s), where 40 find .953 in 54 s. Each measurement takes .1 s there.
GROWTH = 1.2
# Lists that are probed first are this power of their number; fewer where they have so few rows that there are more
# than 3 sqrt(n) of them: of 13,000, the first power is 59, and 50 find enough of 1.3 million rows of MOSES.
FIRST, FEWER = 0.43, 0.35
# A list has so many rows from 90,000 rows on, which makes more lists than 3 sqrt(n), up to MOST_LISTS. To find .95 of
# the 90 nearest of 1.3 million rows of MOSES takes 44 of 3,420 lists, 19,100 pairs a row; or 84 of 13,000, 9,400 pairs.
ROWS, MOST_LISTS = 100, 1 << 16
# More centres than these are in groups, and each row meets the centres of some groups instead of all.
GROUPED = 1000
# k-means: rows per list in the sample, rows at most unless there are more lists, and rounds. Twice as much of the first
# or the last gains less than 0.003 of recall.
SAMPLE, MOST_SAMPLED = 32, 1 << 19
ROUNDS = 5


def lists_of(n: int) -> int:
    """Lists of n rows where nobody says how many."""
    lists: int = max(round(3 * n**0.5), min(n // ROWS, MOST_LISTS))
    return min(n, lists)


def sampled_of(n: int, lists: int) -> int:
    """Rows of n that k-means is given to make so many lists."""
    return min(n, max(lists, min(lists * SAMPLE, MOST_SAMPLED)))


@stored
@dataclass(frozen=True)
class IVF(Neighbors):
    """Approximate neighbours, euclidean, cosine or "nan_euclidean", by the inverted file that faiss made known.

    A query meets the rows of the `probes` lists whose centres are nearest, and among them the answer is
    exact. Rows, lists and queries meet in matrix products, which took half of the time of
    ``faiss.IndexIVFFlat`` for the same recall (docs/neighbors.md); a single query finds what it finds in any
    batch, for any number of threads. Where the lists hold fewer than k rows, twice as many are probed until
    they do.

    Parameters
    ----------
    lists : int or None
        Number of lists, cut to n. None: ``3 sqrt(n)``, or n / 100 where that is more, but not more than 65,536. More
        than 1,000 are in groups: a query meets the centres of the groups, and then those of the lists of the nearest
        groups. Where rows may lack values there are ``3 sqrt(n)``, and no groups.
    probes : int or None
        Lists a query looks into, cut to `lists` (and then the search is exact). Recall and time grow with it.
        None: ``lists ** 0.43``, or more where that is fewer than 12 k rows on average, or finds too little.
    recall : float or None
        Share of the k nearest rows to be found where `probes` is None: 256 of the rows are searched exactly, and
        more lists are probed until it is reached. Of more than 15, this is the share of the 15 nearest, and of all
        twice as many may be missed: .95 of 15 and .90 of 90. Digits need no more; of normal numbers in 20 columns
        the lists that are probed without hold a half (docs/neighbors.md). None leaves it at that.

    References
    ----------
    Jégou, Douze, Schmid, Product quantization for nearest neighbor search, IEEE TPAMI 33, 2011.
    """

    lists: int | None = None
    probes: int | None = None
    recall: float | None = WANTED

    def __post_init__(self) -> None:
        for name in ("lists", "probes"):
            if getattr(self, name) is not None:
                keep(self, **{name: whole(name, getattr(self, name), least=1)})
        keep(self, recall=check_wanted(self.recall))

    def check(self, metric: Metric, params: Named | None, *, sparse: bool) -> None:
        blocked_only("IVF", metric, params, sparse=sparse, known=KNOWN)

    def build(
        self,
        X: Float32,
        *,
        metric: Metric = "euclidean",
        metric_params: Named | None = None,
        rng: np.random.Generator,
        threads: Threads,
    ) -> Index:
        name = blocked_only("IVF", metric, metric_params, sparse=not isinstance(X, np.ndarray), known=KNOWN)
        if name == GAPS:
            check_values(X)
            return self._build(X, name, rng, threads)
        return searched(X, name, lambda rows: self._build(rows, name, rng, threads), threads)

    def _build(self, X: Float32, metric: str, rng: np.random.Generator, threads: Threads) -> IVFIndex:
        n = len(X)
        kind: type[IVFIndex] = GapIVFIndex if metric == GAPS else IVFIndex
        frame: Any = (
            GapFrame.of(X, threads) if metric == GAPS else Frame.of(X, cosine=metric == "cosine", threads=threads)
        )
        coarse = self._centres(X, frame, rng, threads)
        with threads.one_blas_thread():
            labels = threads.map(
                lambda a, b: _probe(frame, coarse, X, np.arange(a, b), 1)[:, 0], ranges(n, kmeans.GROUP)
            )
        label = np.concatenate(labels)
        order = np.argsort(label, kind="stable").astype(np.uint32)
        edges = np.concatenate([[0], np.cumsum(np.bincount(label, minlength=len(coarse.rows)))])
        wanted = Wanted.of(self.recall)
        return kind(frame.blocks(X, threads, order, edges), coarse, self.probes, metric, threads, wanted)

    def _centres(self, X: Float32, frame: Any, rng: np.random.Generator, threads: Threads) -> Centres:
        """The centres of the lists, by k-means of some rows; neighbouring lists are near each other."""
        n, gaps = len(X), isinstance(frame, GapFrame)
        # Centres of rows that lack values are not grouped: a row meets all of them, which is slow with very many.
        lists = min(n, self.lists or (round(3 * n**0.5) if gaps else lists_of(n)))
        drawn = np.sort(rng.choice(n, sampled_of(n, lists), replace=False))
        sample = np.empty((len(drawn), X.shape[1]), np.float32)

        def draw(a: int, b: int) -> None:
            sample[a:b] = frame.points(X, drawn[a:b])

        threads.map(draw, ranges(len(drawn), PIECE))
        if lists > GROUPED and not gaps:
            return GroupedCentres.of(*train_groups(sample, lists, ROUNDS, rng=rng, threads=threads), threads)
        ready: Callable[[Float32, Threads], AnyBlocks] = gap_blocks if gaps else kmeans.centre_blocks
        centres = kmeans.train(sample, lists, ROUNDS, rng=rng, threads=threads, ready=ready)
        return ready(np.ascontiguousarray(centres[kmeans.seriate(centres)]), threads)


class IVFIndex(Index, kind="ivf"):
    """See `IVF`."""

    def __init__(
        self,
        blocks: AnyBlocks,
        coarse: Centres,
        probes: int | None,
        metric: Metric,
        threads: Threads,
        wanted: Wanted | None = None,
    ) -> None:
        self.n = len(blocks.rows)
        self.metric = metric
        self._blocks = blocks
        self._coarse = coarse
        self._probes = probes
        self._threads = threads
        self._sizes = np.diff(blocks.edges)
        self._wanted = wanted
        # Lists to probe for k neighbours, and what that finds.
        self._efforts: dict[int, tuple[int, Share]] = {}

    @property
    def order(self) -> Indices:
        return self._blocks.order

    def state(self) -> State:
        blocks = self._blocks
        arrays: dict[str, Any] = {"rows": blocks.rows, "centres": self._coarse.rows}
        arrays.update(order=blocks.order, edges=blocks.edges)
        if isinstance(self._coarse, GroupedCentres):
            arrays.update(self._coarse.arrays)
        if self.metric != "cosine":
            arrays["centre"] = blocks.frame.centre
        return {"metric": self.metric, "probes": self._probes, **recall_state(self._wanted)}, arrays

    @classmethod
    def restore(cls, saved: Saved, threads: Threads) -> IVFIndex:
        X, metric, frame, ready = cls._read(saved, threads)
        n, p = X.shape
        # A copy, for kernels are compiled for arrays that can be written.
        order = np.array(saved.array("order", np.uint32, (n,)))
        if not np.bincount(np.minimum(order, n), minlength=n)[:n].all():
            raise saved.fail(f"is not a permutation of {n} rows", "order")
        edges = saved_edges(saved, "edges", n, "rows into lists")
        centres = saved.array("centres", np.float32, (len(edges) - 1, p))
        blocks = frame.blocks(X, threads, order, edges)
        wanted = saved_recall(saved)
        return cls(blocks, ready(centres, threads), saved.whole_or_none("probes", 1), metric, threads, wanted)

    @classmethod
    def _read(cls, saved: Saved, threads: Threads) -> tuple[Float32, str, Any, Callable[[Float32, Threads], Centres]]:
        """Rows, metric and frame of a state, and what makes centres ready to be searched."""
        X = saved_rows(saved)
        return X, blocked_metric(saved), Frame.restore(X, saved, threads), partial(restored_centres, saved)

    __reduce__ = by_state

    @property
    def rows(self) -> Float32:
        return self._blocks.rows

    def from_themselves(self) -> Distances | None:
        return of_zero_rows(self._blocks.rows, self.metric)

    def query(self, Q: Float32, k: int) -> Answer:
        check_width(Q, self._blocks.rows.shape[1])
        k = check_k(k, self.n, itself=False)
        return self._answer(Q, np.arange(len(Q), dtype=np.uint32), k, self.probes(k))

    def query_self(self, k: int) -> Answer:
        k = check_k(k, self.n, itself=True)
        answer = np.empty((self.n, k), np.uint32), np.empty((self.n, k), np.float32)
        for a, b in ranges(self.n, SLAB):
            at = self.order[a:b]
            answer[0][at], answer[1][at] = self._answer(self._blocks.rows, at, k, self.probes(k), a)
        return answer

    def query_part(self, start: int, stop: int, k: int) -> Answer:
        k = check_k(k, self.n, itself=True)
        return self._answer(self._blocks.rows, self.order[start:stop], k, self.probes(k), start)

    def probes(self, k: int) -> int:
        """Lists that a query for k neighbours looks into."""
        if self._probes is not None:
            return min(self._probes, len(self._sizes))
        if self._wanted is None:
            return self._first(k)
        return self._effort(k)[0]

    def recall(self, k: int) -> float:
        return self._effort(min(k, self.n - 1))[1].all if self.n > 1 else 1.0

    def _first(self, k: int) -> int:
        lists = len(self._sizes)
        # Models that are read back, and who asks for no share, have the first power at any size.
        measured = self._wanted is not None and self._wanted.nearest is not None
        power = FEWER if measured and lists > round(3 * self.n**0.5) else FIRST
        probes: int = min(lists, max(round(lists**power), -(-12 * k * lists // self.n)))
        return probes

    def _effort(self, k: int) -> tuple[int, Share]:
        if k not in self._efforts:
            numbers = rows_to_measure(self.n)
            rows, more = self._blocks.rows[numbers], min(k + 1, self.n)
            with self._threads.one_blas_thread():
                true = self._blocks.search(rows, np.arange(len(rows)), more)[1]

            # They lie far apart, and together they meet all lists: of rows over files these would all be in memory.
            at_once = SPARING if spared() else len(rows)

            def measure(probes: int) -> Share:
                if probes >= len(self._sizes):
                    return EVERYTHING
                found = [
                    self._answer(rows[a:b], np.arange(b - a, dtype=np.uint32), more, probes)[1]
                    for a, b in ranges(len(rows), at_once)
                ]
                return shares_found(np.concatenate(found), true, self._wanted)

            wanted, first = (None, self._probes) if self._probes is not None else (self._wanted, self._first(k))
            probes, found = effort_for(wanted, first, len(self._sizes), measure, growth=GROWTH)
            if wanted is not None and probes > first and probes > WORTH_IT * len(self._sizes):
                probes, found = len(self._sizes), EVERYTHING
            self._efforts[k] = probes, found
        return self._efforts[k]

    def _answer(self, Q: Float32, numbers: Indices, k: int, probes: int, itself: int | None = None) -> Answer:
        """Answers for ``Q[numbers]``; query i is the row at the place ``itself + i``, unless that is None."""
        answer = np.empty((len(numbers), k), np.uint32), np.empty((len(numbers), k), np.float32)
        left, lists = np.arange(len(numbers)), len(self._sizes)
        with self._threads.one_blas_thread():
            while len(left) and probes < lists:
                slabs = ranges(len(left), max(1, min(SLAB, PROBES // probes)))
                left = np.concatenate([self._fill(Q, numbers, left[a:b], k, itself, probes, answer) for a, b in slabs])
                probes *= 2

            def everywhere(a: int, b: int) -> None:
                at = left[a:b]
                me = None if itself is None else (itself + at).astype(np.uint32)
                answer[0][at], answer[1][at] = self._blocks.search(Q, numbers[at], k, None, me)

            self._threads.map(everywhere, ranges(len(left), EVERYWHERE))
        return answer

    def _fill(
        self,
        Q: Float32,
        numbers: Indices,
        places: Int64,
        k: int,
        itself: int | None,
        probes: int,
        answer: tuple[Indices, Distances],
    ) -> Int64:
        """Answer those queries whose lists hold enough rows; the others are returned."""
        few = max(1, TOGETHER // probes)
        pieces = self._threads.map(
            lambda a, b: _probe(self._blocks.frame, self._coarse, Q, numbers[places[a:b]], probes),
            ranges(len(places), min(kmeans.GROUP, few)),
        )
        probed = np.concatenate(pieces)
        enough = self._sizes[probed].sum(axis=1) >= k + (itself is not None)
        # Queries of one list look into much the same lists.
        mine = np.flatnonzero(enough)
        mine = mine[np.argsort(probed[mine, 0], kind="stable")]

        def search(a: int, b: int) -> None:
            group = mine[a:b]
            at = places[group]
            me = None if itself is None else (itself + at).astype(np.uint32)
            met = by_list(probed[group], len(self._sizes))
            answer[0][at], answer[1][at] = self._blocks.search(Q, numbers[at], k, met, me)

        self._threads.map(search, ranges(len(mine), min(GROUP, few)))
        # Where rows lack values, those of the lists may have nothing in common with a query.
        enough[enough] = answer[0][places[enough], -1] != NOBODY
        short: Int64 = places[~enough]
        return short


class GapIVFIndex(IVFIndex, kind="gaps-ivf"):
    """See `IVF`; of rows that may lack values."""

    @classmethod
    def _read(cls, saved: Saved, threads: Threads) -> tuple[Float32, str, Any, Callable[[Float32, Threads], Centres]]:
        X = rows_with_gaps(saved)
        return X, GAPS, GapFrame.restore(X, saved, threads), gap_blocks

    def query(self, Q: Float32, k: int) -> Answer:
        check_values(Q)
        return all_found(super().query(Q, k), self.n, itself=False)

    def query_self(self, k: int) -> Answer:
        return all_found(super().query_self(k), self.n, itself=True)

    def query_part(self, start: int, stop: int, k: int) -> Answer:
        return all_found(super().query_part(start, stop, k), self.n, itself=True, numbers=self.order[start:stop])


def _probe(frame: Any, coarse: Centres, Q: Float32, numbers: Array, probes: int) -> Indices:
    """The lists with the nearest centres, nearest first, of shape (len(numbers), probes)."""
    points = frame.points(Q, numbers)
    return coarse.search(points, np.arange(len(points)), probes)[0]
