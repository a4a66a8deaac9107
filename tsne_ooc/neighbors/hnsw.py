"""Hierarchical navigable small worlds, by faiss."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._options import whole
from .._parallel import Threads, ranges
from ._blocks import Frame
from ._found import Completer
from .base import Answer, Float32, Index, Indices, Metric, Neighbors, check_k, check_width, no_params

PIECE = 1 << 16


@dataclass(frozen=True)
class HNSW(Neighbors):
    """Approximate neighbours, euclidean or cosine, by walks over a layered graph (``faiss.IndexHNSWFlat``).

    Queries are as fast as those of `IVF`, and faster for small k; the graph costs far more to build, since it
    is built by one thread: with more of them it would depend on which came first. Answers do not depend on
    the batch.

    Parameters
    ----------
    links : int
        Links of each row; memory and recall grow with it.
    ef_build, ef : int
        Candidates kept while building and while searching (2 k where that is more).

    References
    ----------
    Malkov, Yashunin, Efficient and robust approximate nearest neighbor search using hierarchical navigable
    small world graphs, IEEE TPAMI 42, 2020.
    """

    links: int = 16
    ef_build: int = 60
    ef: int = 32

    def __post_init__(self) -> None:
        whole("links", self.links, least=2)
        whole("ef_build", self.ef_build, least=1)
        whole("ef", self.ef, least=1)

    def build(
        self,
        X: Float32,
        *,
        metric: Metric = "euclidean",
        metric_params: Mapping[str, Any] | None = None,
        rng: np.random.Generator,
        threads: Threads,
    ) -> HNSWIndex:
        metric = no_params("HNSW", X, metric, metric_params)
        faiss: Any = importlib.import_module("faiss")
        frame = Frame.of(X, cosine=metric == "cosine", threads=threads)
        graph = faiss.IndexHNSWFlat(X.shape[1], self.links)
        graph.hnsw.efConstruction = self.ef_build
        graph.hnsw.rng = faiss.RandomGenerator(int(rng.integers(2**31)))
        with _openmp(1):
            for a, b in ranges(len(X), PIECE):
                graph.add(frame.points(X, np.arange(a, b)))
        return HNSWIndex(X, frame, graph, self.ef, metric, threads)


class HNSWIndex(Index):
    """See `HNSW`."""

    def __init__(self, X: Float32, frame: Frame, graph: Any, ef: int, metric: str, threads: Threads) -> None:
        self.n = len(X)
        self.metric = metric
        self._X = X
        self._frame = frame
        self._graph = graph
        self._ef = ef
        self._threads = threads
        self._completer = Completer(X, metric, None, threads)

    def query(self, Q: Float32, k: int) -> Answer:
        check_width(Q, self._X.shape[1])
        return self._answer(Q, check_k(k, self.n, itself=False), itself=False)

    def query_self(self, k: int) -> Answer:
        return self._answer(self._X, check_k(k, self.n, itself=True), itself=True)

    def _answer(self, Q: Float32, k: int, *, itself: bool) -> Answer:
        faiss: Any = importlib.import_module("faiss")
        answer = np.empty((len(Q), k), np.uint32), np.empty((len(Q), k), np.float32)
        for a, b in ranges(len(Q), PIECE):
            more = k + itself
            options = faiss.SearchParametersHNSW(efSearch=max(self._ef, 2 * more))
            with _openmp(self._threads.n):
                found = self._graph.search(self._frame.points(Q, np.arange(a, b)), more, params=options)[1]
            me: Indices | None = np.arange(a, b, dtype=np.uint32) if itself else None
            answer[0][a:b], answer[1][a:b] = self._completer.answer(Q[a:b], _cast(found), k, me)
        return answer


def _cast(found: Any) -> NDArray[np.int64]:
    return np.asarray(found, np.int64)


@contextmanager
def _openmp(threads: int) -> Iterator[None]:
    """Let faiss use so many OpenMP threads for a while."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
