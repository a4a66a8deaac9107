"""Nearest neighbour descent, by pynndescent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._options import keep, number, whole
from .._parallel import Threads
from .._state import Saved, State
from ._found import Completer
from .base import Answer, Index, Metric, Neighbors, check_k, check_width
from .pairwise import Pairwise, canonical
from .saved import restore_rows, rows_state


@dataclass(frozen=True)
class PyNNDescent(Neighbors):
    """Approximate neighbours in many metrics, sparse rows and Numba-compiled callables, by nearest neighbour
    descent.

    The distances are measured again in double precision, so they are those of `Exact`. **Not held**: answers
    to queries depend on the batch and the graph may depend on the number of threads, for both are the
    library's; the same seed, batch and threads give the same answer. Importing it costs half a minute of
    compilation, which is why nothing else does.

    Parameters
    ----------
    graph_neighbors : int
        Neighbours in the graph that answers queries; `query_self` builds one of k + 1 where that is more.
    epsilon : float
        How much farther than the k-th best a query may wander.

    References
    ----------
    Dong, Moses, Li, Efficient k-nearest neighbor graph construction for generic similarity measures, WWW
    2011.
    """

    graph_neighbors: int = 30
    epsilon: float = 0.12

    def __post_init__(self) -> None:
        keep(
            self,
            graph_neighbors=whole("graph_neighbors", self.graph_neighbors, least=2),
            epsilon=number("epsilon", self.epsilon, least=0),
        )

    def build(
        self,
        X: Any,
        *,
        metric: Metric = "euclidean",
        metric_params: Mapping[str, Any] | None = None,
        rng: np.random.Generator,
        threads: Threads,
    ) -> PyNNDescentIndex:
        # Names and parameters are settled before the library is imported, so a slip shows at once.
        pairwise = Pairwise(metric, metric_params, X)
        return PyNNDescentIndex(canonical(X), pairwise, self, int(rng.integers(2**31 - 1)), metric, threads)


class PyNNDescentIndex(Index, kind="pynndescent"):
    """See `PyNNDescent`. Graphs are built when first used, each from the same seed."""

    def __init__(
        self, X: Any, pairwise: Pairwise, options: PyNNDescent, seed: int, metric: Metric, threads: Threads
    ) -> None:
        self.n = X.shape[0]
        self.metric = metric
        self._X = X
        self._pairwise = pairwise
        self.sparse = bool(pairwise.sparse)
        self._options = options
        self._seed = seed
        self._threads = threads
        self._graphs: dict[int, Any] = {}
        self._completer = Completer(X, metric, pairwise.params or None, threads)

    def state(self) -> State:
        content, arrays = self._pairwise.state()
        options = {"graph_neighbors": self._options.graph_neighbors, "epsilon": self._options.epsilon}
        return {**content, **options, "seed": self._seed}, {**arrays, **rows_state(self._X)}

    @classmethod
    def restore(cls, saved: Saved, threads: Threads) -> PyNNDescentIndex:
        X = restore_rows(saved)
        options = PyNNDescent(saved.whole("graph_neighbors", 2, 2**31 - 1), saved.number("epsilon", above=-1))
        pairwise = Pairwise.restore(saved, X)
        return cls(X, pairwise, options, saved.whole("seed", 0, 2**31 - 1), pairwise.metric, threads)

    def __getstate__(self) -> dict[str, Any]:
        # Graphs are made of the library's compiled objects, and made again from the seed.
        return {**self.__dict__, "_graphs": {}}

    def query(self, Q: Any, k: int) -> Answer:
        check_width(Q, self._X.shape[1])
        k = check_k(k, self.n, itself=False)
        Q = canonical(Q)
        if self._small() or not Q.shape[0]:
            return self._completer.exact().query(Q, k)
        # The library sorts the indices of sparse queries in place.
        rows = Q if isinstance(Q, np.ndarray) else Q.copy()
        found = self._graph(self._options.graph_neighbors).query(rows, k, epsilon=self._options.epsilon)[0]
        return self._completer.answer(Q, np.asarray(found, np.int64), k)

    def query_self(self, k: int) -> Answer:
        k = check_k(k, self.n, itself=True)
        if self._small() or k + 1 > self.n // 2:
            return self._completer.exact().query_self(k)
        graph = self._graph(max(self._options.graph_neighbors, k + 1))
        found = np.asarray(graph.neighbor_graph[0], np.int64)
        return self._completer.answer(self._X, found, k, np.arange(self.n, dtype=np.uint32))

    def _small(self) -> bool:
        """Fewer rows than a graph and its trees need."""
        return self.n < 4 * self._options.graph_neighbors

    def _graph(self, neighbors: int) -> Any:
        if neighbors not in self._graphs:
            import numba
            import pynndescent

            # The library changes sparse rows, and is compiled once more, for a minute, for rows that are read-only.
            changeable = isinstance(self._X, np.ndarray) and self._X.flags.writeable
            rows = self._X if changeable else self._X.copy()
            self._graphs[neighbors] = pynndescent.NNDescent(
                rows,
                metric="manhattan" if self._pairwise.name == "cityblock" else self.metric,
                metric_kwds=dict(self._pairwise.params),
                n_neighbors=neighbors,
                random_state=self._seed,
                n_jobs=min(self._threads.n, numba.get_num_threads()),
            )
        return self._graphs[neighbors]
