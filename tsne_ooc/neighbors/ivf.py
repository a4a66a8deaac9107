"""Inverted file: rows in lists around k-means centres, of which a query looks into the nearest few."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._options import keep, whole
from .._parallel import Threads, ranges
from .._state import Saved, State
from . import kmeans
from ._blocks import Blocks, Frame, Probes
from .base import (
    Answer,
    Distances,
    Float32,
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
from .distinct import DistinctIndex, find_copies
from .saved import blocked_metric, saved_rows

# Queries searched together: many enough that a list meets dozens of them in one product.
GROUP = 2048
# Queries whose probes are held at once.
SLAB = 1 << 17
# k-means: rows per list in the sample, and rounds. Twice as much of either gains less than 0.003 of recall.
SAMPLE = 32
ROUNDS = 5


@dataclass(frozen=True)
class IVF(Neighbors):
    """Approximate neighbours, euclidean or cosine, by the inverted file that faiss made known.

    A query meets the rows of the `probes` lists whose centres are nearest, and among them the answer is
    exact. Rows, lists and queries meet in matrix products, which took half of the time of
    ``faiss.IndexIVFFlat`` for the same recall (docs/neighbors.md); a single query finds what it finds in any
    batch, for any number of threads. Where the lists hold fewer than k rows, twice as many are probed until
    they do.

    Parameters
    ----------
    lists : int or None
        Number of lists, cut to n; None: ``3 sqrt(n)``.
    probes : int or None
        Lists a query looks into, cut to `lists` (and then the search is exact). Recall and time grow with it.
        None: ``lists ** 0.43``, or more where that is fewer than 12 k rows on average: recall@90 of .96 to
        .97 on 20,000 and 70,000 digits, .93 on 1.3 million molecules (docs/neighbors.md).

    References
    ----------
    Jégou, Douze, Schmid, Product quantization for nearest neighbor search, IEEE TPAMI 33, 2011.
    """

    lists: int | None = None
    probes: int | None = None

    def __post_init__(self) -> None:
        for name in ("lists", "probes"):
            if getattr(self, name) is not None:
                keep(self, **{name: whole(name, getattr(self, name), least=1)})

    def check(self, metric: Metric, params: Mapping[str, Any] | None, *, sparse: bool) -> None:
        blocked_only("IVF", metric, params, sparse=sparse)

    def build(
        self,
        X: Float32,
        *,
        metric: Metric = "euclidean",
        metric_params: Mapping[str, Any] | None = None,
        rng: np.random.Generator,
        threads: Threads,
    ) -> Index:
        name = blocked_only("IVF", metric, metric_params, sparse=not isinstance(X, np.ndarray))
        copies = find_copies(X, threads)
        if copies is not None:
            return DistinctIndex.build(X, copies, lambda rows: self._build(rows, name, rng, threads), threads)
        return self._build(X, name, rng, threads)

    def _build(self, X: Float32, metric: str, rng: np.random.Generator, threads: Threads) -> IVFIndex:
        n = len(X)
        lists = min(self.lists or round(3 * n**0.5), n)
        frame = Frame.of(X, cosine=metric == "cosine", threads=threads)
        sample = frame.points(X, np.sort(rng.choice(n, min(n, lists * SAMPLE), replace=False)))
        centres = kmeans.train(sample, lists, ROUNDS, rng=rng, threads=threads)
        centres = np.ascontiguousarray(centres[kmeans.seriate(centres)])
        coarse = kmeans.centre_blocks(centres, threads)
        with threads.one_blas_thread():
            labels = threads.map(
                lambda a, b: _probe(frame, coarse, X, np.arange(a, b), 1)[:, 0], ranges(n, kmeans.GROUP)
            )
        label = np.concatenate(labels)
        order = np.argsort(label, kind="stable").astype(np.uint32)
        edges = np.concatenate([[0], np.cumsum(np.bincount(label, minlength=lists))])
        return IVFIndex(Blocks.of(X, frame, threads, order, edges), coarse, self.probes, metric, threads)


class IVFIndex(Index, kind="ivf"):
    """See `IVF`."""

    def __init__(self, blocks: Blocks, coarse: Blocks, probes: int | None, metric: Metric, threads: Threads) -> None:
        self.n = len(blocks.rows)
        self.metric = metric
        self._blocks = blocks
        self._coarse = coarse
        self._probes = probes
        self._threads = threads
        self._sizes = np.diff(blocks.edges)

    @property
    def order(self) -> Indices:
        return self._blocks.order

    def state(self) -> State:
        blocks = self._blocks
        arrays: dict[str, Any] = {"rows": blocks.rows, "centres": self._coarse.rows}
        arrays.update(order=blocks.order, edges=blocks.edges)
        if not blocks.frame.cosine:
            arrays["centre"] = blocks.frame.centre
        return {"metric": self.metric, "probes": self._probes}, arrays

    @classmethod
    def restore(cls, saved: Saved, threads: Threads) -> IVFIndex:
        X, metric = saved_rows(saved), blocked_metric(saved)
        n, p = X.shape
        # Copies, for kernels are compiled for arrays that can be written.
        order = np.array(saved.array("order", np.uint32, (n,)))
        edges = np.array(saved.array("edges", np.int64, (None,)))
        if not np.bincount(np.minimum(order, n), minlength=n)[:n].all():
            raise saved.fail(f"is no permutation of {n} rows", "order")
        if len(edges) < 2 or edges[0] != 0 or edges[-1] != n or (np.diff(edges) < 0).any():
            raise saved.fail(f"does not cut {n} rows into lists", "edges")
        centres = saved.array("centres", np.float32, (len(edges) - 1, p))
        frame = Frame.restore(X, saved)
        blocks = Blocks.of(X, frame, threads, order, edges)
        return cls(blocks, kmeans.centre_blocks(centres, threads), saved.whole_or_none("probes", 1), metric, threads)

    __reduce__ = by_state

    def from_themselves(self) -> Distances | None:
        return of_zero_rows(self._blocks.rows, self.metric)

    def query(self, Q: Float32, k: int) -> Answer:
        check_width(Q, self._blocks.rows.shape[1])
        return self._answer(Q, np.arange(len(Q), dtype=np.uint32), check_k(k, self.n, itself=False), itself=False)

    def query_self(self, k: int) -> Answer:
        return self._answer(self._blocks.rows, self.order, check_k(k, self.n, itself=True), itself=True)

    def probes(self, k: int) -> int:
        """Lists that a query for k neighbours looks into."""
        lists = len(self._sizes)
        return self._probes or max(round(lists**0.43), min(-(-12 * k * lists // self.n), lists))

    def _answer(self, Q: Float32, numbers: Indices, k: int, *, itself: bool) -> Answer:
        """Answers for ``Q[numbers]``, at the rows `numbers`; `itself`: query i is the row at place i."""
        answer = np.empty((len(numbers), k), np.uint32), np.empty((len(numbers), k), np.float32)
        with self._threads.one_blas_thread():
            for a, b in ranges(len(numbers), SLAB):
                places, probes = np.arange(a, b), self.probes(k)
                while len(places):
                    places = self._fill(Q, numbers, places, k, itself, min(probes, self._coarse.rows.shape[0]), answer)
                    probes *= 2
        return answer

    def _fill(
        self,
        Q: Float32,
        numbers: Indices,
        places: NDArray[np.int64],
        k: int,
        itself: bool,
        probes: int,
        answer: tuple[Indices, Distances],
    ) -> NDArray[np.int64]:
        """Answer those queries whose lists hold enough rows; the others are returned."""
        pieces = self._threads.map(
            lambda a, b: _probe(self._blocks.frame, self._coarse, Q, numbers[places[a:b]], probes),
            ranges(len(places), kmeans.GROUP),
        )
        probed = np.concatenate(pieces)
        enough = self._sizes[probed].sum(axis=1) >= k + itself
        # Queries of one list look into much the same lists.
        mine = np.flatnonzero(enough)
        mine = mine[np.argsort(probed[mine, 0], kind="stable")]

        def search(a: int, b: int) -> None:
            group = mine[a:b]
            at = numbers[places[group]]
            me = places[group].astype(np.uint32) if itself else None
            met = _by_list(probed[group], len(self._sizes))
            answer[0][at], answer[1][at] = self._blocks.search(Q, at, k, met, me)

        self._threads.map(search, ranges(len(mine), GROUP))
        short: NDArray[np.int64] = places[~enough]
        return short


def _probe(frame: Frame, coarse: Blocks, Q: Float32, numbers: NDArray[Any], probes: int) -> Indices:
    """The lists with the nearest centres, nearest first, of shape (len(numbers), probes)."""
    points = frame.points(Q, numbers)
    return coarse.search(points, np.arange(len(points)), probes)[0]


def _by_list(probed: Indices, lists: int) -> Probes:
    """Queries by the lists they probe, nearest lists of any query first: they set high bars for the rest."""
    later = np.full(lists, lists)
    later[probed[:, 0]] = 0
    flat = probed.ravel().astype(np.int64)
    key = flat + later[flat]
    by_key = np.argsort(key, kind="stable")
    key = key[by_key]
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1], [True]]))
    return Probes(key[starts[:-1]] % lists, starts, by_key // probed.shape[1])
