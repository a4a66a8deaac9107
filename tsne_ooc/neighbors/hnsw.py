"""Hierarchical navigable small worlds, by faiss."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tsne_ooc._options import keep, whole
from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Float32, Int32, Int64, Named
from tsne_ooc.neighbors._blocks import Frame
from tsne_ooc.neighbors._forks import forked
from tsne_ooc.neighbors._found import FoundIndex
from tsne_ooc.neighbors._recall import WANTED, Wanted, check_wanted
from tsne_ooc.neighbors.base import Answer, Index, Indices, Metric, Neighbors, blocked_only
from tsne_ooc.neighbors.distinct import GRAPH_COPIES
from tsne_ooc.neighbors.saved import blocked_metric, recall_state, saved_recall, saved_rows
from tsne_ooc.neighbors.wrapped import searched
from tsne_ooc.storage.codec import stored
from tsne_ooc.storage.state import Saved, State

PIECE = 1 << 16
# faiss counts in 32 bits, and recall stops growing at some tens of links.
MOST_LINKS = 1 << 12
# A million threads, which a mistake in n_jobs or in a file may ask for, would end the process.
MOST_THREADS = 512


@stored
@dataclass(frozen=True)
class HNSW(Neighbors):
    """Approximate neighbours, euclidean or cosine, by walks over a layered graph (``faiss.IndexHNSWFlat``).

    Queries are as fast as those of `IVF`, and faster for small k. To build the graph takes far longer, since one thread
    builds it: with more threads it would depend on which of them came first. Answers do not depend on the batch.

    Parameters
    ----------
    links : int
        Links of each row; memory and recall grow with them.
    ef_build, ef : int
        Candidates that are kept while building, and while searching (2 k where that is more).
    recall : float or None
        Share of the k nearest rows to be found, and of more than 15 as for `IVF`: 256 of the rows are searched exactly,
        and `ef` is doubled, five times at most, until it is reached. None leaves `ef` as it is.

    References
    ----------
    Malkov, Yashunin, Efficient and robust approximate nearest neighbor search using hierarchical navigable
    small world graphs, IEEE TPAMI 42, 2020.
    """

    links: int = 16
    ef_build: int = 60
    ef: int = 32
    recall: float | None = WANTED

    def __post_init__(self) -> None:
        keep(
            self,
            links=whole("links", self.links, least=2),
            ef_build=whole("ef_build", self.ef_build, least=1, most=2**31 - 1),
            ef=whole("ef", self.ef, least=1, most=2**31 - 1),
        )
        if self.links > MOST_LINKS:
            raise ValueError(f"links={self.links} must be at most {MOST_LINKS}")
        keep(self, recall=check_wanted(self.recall))

    def check(self, metric: Metric, params: Named | None, *, sparse: bool) -> None:
        blocked_only("HNSW", metric, params, sparse=sparse)

    def build(
        self,
        X: Float32,
        *,
        metric: Metric = "euclidean",
        metric_params: Named | None = None,
        rng: np.random.Generator,
        threads: Threads,
    ) -> Index:
        name = blocked_only("HNSW", metric, metric_params, sparse=not isinstance(X, np.ndarray))
        return searched(X, name, lambda rows: self._build(rows, name, rng, threads), threads, GRAPH_COPIES)

    def _build(self, X: Float32, metric: str, rng: np.random.Generator, threads: Threads) -> HNSWIndex:
        faiss: Any = importlib.import_module("faiss")
        frame = Frame.of(X, cosine=metric == "cosine", threads=threads)
        graph = faiss.IndexHNSWFlat(X.shape[1], self.links)
        # There are no more candidates than rows, and faiss would allocate as many as it is told.
        graph.hnsw.efConstruction = min(self.ef_build, len(X))
        graph.hnsw.rng = faiss.RandomGenerator(int(rng.integers(2**31)))
        with _openmp(1):
            for a, b in ranges(len(X), PIECE):
                graph.add(frame.points(X, np.arange(a, b)))
        return HNSWIndex(X, frame, graph, self.ef, metric, threads, Wanted.of(self.recall))


class HNSWIndex(FoundIndex, kind="hnsw"):
    """The index of `HNSW`."""

    def __init__(
        self, X: Float32, frame: Frame, graph: Any, ef: int, metric: str, threads: Threads, wanted: Wanted | None = None
    ) -> None:
        super().__init__(X, metric, threads, wanted)
        self._frame = frame
        self._graph = graph
        self._ef = ef

    def state(self) -> State:
        # faiss's own file would hold the rows a second time, and one that was tampered with would crash the
        # interpreter. To build the graph again takes 18 s for MNIST, and another processor rounds in another way.
        faiss: Any = importlib.import_module("faiss")
        hnsw = self._graph.hnsw
        arrays = {
            "rows": self._X,
            "levels": faiss.vector_to_array(hnsw.levels).astype(np.uint8),
            "links": faiss.vector_to_array(hnsw.neighbors),
        }
        if not self._frame.cosine:
            arrays["centre"] = self._frame.centre
        content = {"metric": self.metric, "links": hnsw.nb_neighbors(1), "ef": self._ef, "entry": hnsw.entry_point}
        return {**content, **recall_state(self._wanted)}, arrays

    @classmethod
    def restore(cls, saved: Saved, threads: Threads) -> HNSWIndex:
        X, metric = saved_rows(saved), blocked_metric(saved)
        n, p = X.shape
        frame = Frame.restore(X, saved, threads)
        entry, width = saved.whole("entry", 0, n - 1), saved.whole("links", 2, MOST_LINKS)
        levels = saved.array("levels", np.uint8, (n,)).astype(np.int32)
        links = saved.array("links", np.int32, (None,))
        # A row has twice `width` places at the bottom and `width` on each level above it.
        edges = np.concatenate([[0], np.cumsum(width * (levels + 1), dtype=np.int64)])
        if edges[-1] != len(links):
            raise saved.fail("do not fit the links in number", "levels")
        _check_graph(saved, links, levels, edges, width, entry)
        faiss: Any = importlib.import_module("faiss")
        graph = faiss.IndexHNSWFlat(p, width)
        hnsw = graph.hnsw
        if levels.max() >= hnsw.cum_nneighbor_per_level.size():
            raise saved.fail("names a level that graphs of so many links do not have", "levels")
        for a, b in ranges(n, PIECE):
            graph.storage.add(frame.points(X, np.arange(a, b)))
        graph.ntotal = n
        faiss.copy_array_to_vector(levels, hnsw.levels)
        faiss.copy_array_to_vector(edges.astype(np.uint64), hnsw.offsets)
        faiss.copy_array_to_vector(np.ascontiguousarray(links), hnsw.neighbors)
        hnsw.entry_point, hnsw.max_level = entry, int(levels[entry]) - 1
        return cls(X, frame, graph, saved.whole("ef", 1, 2**26), metric, threads, saved_recall(saved))

    def _first(self, k: int) -> int:
        return max(self._ef, 2 * k)

    def _answer(self, Q: Float32, k: int, effort: int, *, itself: bool) -> Answer:
        faiss: Any = importlib.import_module("faiss")
        answer = np.empty((len(Q), k), np.uint32), np.empty((len(Q), k), np.float32)
        for a, b in ranges(len(Q), PIECE):
            more = k + itself
            options = faiss.SearchParametersHNSW(efSearch=min(max(effort, 2 * more), self.n))
            with _openmp(self._threads.n):
                found = self._graph.search(self._frame.points(Q, np.arange(a, b)), more, params=options)[1]
            me: Indices | None = np.arange(a, b, dtype=np.uint32) if itself else None
            answer[0][a:b], answer[1][a:b] = self._completer.answer(Q[a:b], _cast(found), k, me)
        return answer


def _check_graph(saved: Saved, links: Int32, levels: Int32, edges: Int64, width: int, entry: int) -> None:
    """Raise unless each link ends at a row that exists, on a level that this row has, since faiss does not check it."""
    n = len(levels)
    if levels.min() < 1 or levels[entry] != levels.max():
        raise saved.fail("has a row on no level, or an entry below the highest", "levels")
    if links.min() < -1 or links.max() >= n:
        raise saved.fail(f"names a row that is not one of {n}", "links")
    for level in range(1, int(levels.max())):
        here = np.flatnonzero(levels > level)
        ends = links[(edges[here] + width * (level + 1))[:, None] + np.arange(width)]
        if (levels[ends[ends >= 0]] <= level).any():
            raise saved.fail(f"leads to a row that is not on level {level}", "links")


def _cast(found: Any) -> Int64:
    return np.asarray(found, np.int64)


@contextmanager
def _openmp(threads: int) -> Iterator[None]:
    """Let faiss use so many OpenMP threads for a while; only one in a forked process, where others never come."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1 if forked() else min(threads, MOST_THREADS))
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
