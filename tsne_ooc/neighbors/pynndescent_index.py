"""Nearest neighbour descent, by pynndescent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tsne_ooc._blas import openmp_kept
from tsne_ooc._context import warn
from tsne_ooc._options import keep, number, whole
from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Float32, Matrix, Named
from tsne_ooc.neighbors._forks import numba_lost
from tsne_ooc.neighbors._found import Completer
from tsne_ooc.neighbors._recall import rows_to_measure
from tsne_ooc.neighbors.base import Answer, Distances, Index, Metric, Neighbors, check_k, check_width
from tsne_ooc.neighbors.distinct import GRAPH_COPIES, DistinctIndex, find_copies
from tsne_ooc.neighbors.exact import exact_index
from tsne_ooc.neighbors.metrics import canonical_name, check_names, check_rows
from tsne_ooc.neighbors.pairwise import Pairwise, canonical
from tsne_ooc.neighbors.saved import restore_rows, rows_state
from tsne_ooc.storage.codec import stored
from tsne_ooc.storage.state import Saved, State

# The library's names for metrics, where they are not SciPy's.
NAMES = {"cityblock": "manhattan", "jensenshannon": "jensen_shannon"}
# Metrics that it lacks, or for which it takes rows in another form.
UNKNOWN = {"bit_jaccard", "bit_hamming", "nan_euclidean"}
UNKNOWN_SPARSE = {"yule"}


@stored
@dataclass(frozen=True)
class PyNNDescent(Neighbors):
    """Approximate neighbours by nearest neighbour descent, in many metrics and those that Numba compiles, also of
    sparse rows.

    The distances are measured again in double precision, so they are those of `Exact`. **Not held**: answers to queries
    depend on the batch, and the graph may depend on the number of threads, since both are the library's; the same seed,
    batch and threads give the same answer. To import the library takes half a minute of compilation, so it is imported
    only where it is used.

    Parameters
    ----------
    graph_neighbors : int
        Neighbours in the graph that answers queries; `query_self` builds a graph of k + 1 where that is more.
    epsilon : float
        How much farther than the k-th best row a query may look, as a share.

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

    @property
    def fewest(self) -> int:
        """The number of rows that a graph and its trees need; fewer are searched exactly."""
        return 4 * self.graph_neighbors

    def check(self, metric: Metric, params: Named | None, *, sparse: bool) -> None:
        check_names(metric, params, sparse=sparse)
        # A function need not be compiled where there are few rows, which are searched exactly.
        if not callable(metric) and not takes(metric, params, sparse=sparse):
            with_params = f" with metric_params {sorted(params)}" if params else ""
            raise ValueError(f"PyNNDescent does not know metric {metric!r}{with_params}; use neighbors='exact'")

    def build(
        self,
        X: Matrix,
        *,
        metric: Metric = "euclidean",
        metric_params: Named | None = None,
        rng: np.random.Generator,
        threads: Threads,
    ) -> Index:
        # Names and parameters are checked before the library is imported, so that a mistake shows at once.
        self.check(metric, metric_params, sparse=not isinstance(X, np.ndarray))
        X = canonical(X)
        pairwise = Pairwise(metric, metric_params, X)
        seed = int(rng.integers(2**31 - 1))

        def prepared(rows: Any) -> PyNNDescentIndex:
            if callable(metric) and rows.shape[0] >= self.fewest:
                _try(metric, pairwise.params, rows)
            return PyNNDescentIndex(rows, pairwise, self, seed, metric, threads)

        copies = find_copies(X, threads, GRAPH_COPIES)
        return prepared(X) if copies is None else DistinctIndex.build(X, copies, prepared, threads)


def takes(metric: Metric, params: Named | None, *, sparse: bool) -> bool:
    """Whether the library can search in this metric, which we know."""
    if callable(metric):
        return hasattr(metric, "py_func")
    name = str(canonical_name(metric, sparse=sparse))
    # The library does not have weights, and the base of a logarithm does not change the order.
    known = {"minkowski": {"p"}, "seuclidean": {"V"}, "mahalanobis": {"V", "VI"}, "jensenshannon": {"base"}}
    unknown = UNKNOWN_SPARSE if sparse else UNKNOWN
    return name not in unknown and set(params or ()) <= known.get(name, set())


def _try(metric: Any, params: Named, X: Matrix) -> None:
    """Compile a metric for two rows, as the library will do, since its own error message is pages long."""
    name = getattr(metric, "__name__", repr(metric))
    if not takes(metric, params, sparse=False):
        raise ValueError(
            f"PyNNDescent needs a metric that Numba has compiled: numba.njit({name}); "
            "neighbors='exact' takes any function"
        )
    try:
        float(metric(X[0], X[0], *params.values()))
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        told = next((line for line in lines if "Error" in line or "Unknown" in line), lines[0] if lines else "")
        raise ValueError(
            f"metric {name!r} does not compile for two float32 rows ({type(error).__name__}: {told}); "
            "neighbors='exact' takes any function"
        ) from None


class PyNNDescentIndex(Index, kind="pynndescent"):
    """The index of `PyNNDescent`. Graphs are built when they are first used, all from the same seed."""

    def __init__(
        self, X: Matrix, pairwise: Pairwise, options: PyNNDescent, seed: int, metric: Metric, threads: Threads
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
        self._asked: set[int] = set()
        self._recalls: dict[int, float] = {}
        self._completer = Completer(X, metric, pairwise.params or None, threads)

    def state(self) -> State:
        content, arrays = self._pairwise.state()
        options = {"graph_neighbors": self._options.graph_neighbors, "epsilon": self._options.epsilon}
        return {**content, **options, "seed": self._seed}, {**arrays, **rows_state(self._X)}

    @classmethod
    def restore(cls, saved: Saved, threads: Threads) -> PyNNDescentIndex:
        X = restore_rows(saved)
        epsilon = saved.number("epsilon", above=-1)
        if epsilon < 0:
            raise saved.fail(f"has an epsilon below 0: {epsilon:g}")
        options = PyNNDescent(saved.whole("graph_neighbors", 2, 2**31 - 1), epsilon)
        pairwise = Pairwise.restore(saved, X)
        if not takes(pairwise.metric, pairwise.params, sparse=pairwise.sparse):
            raise saved.fail(f"has the metric {pairwise.metric!r}, which pynndescent does not know")
        return cls(X, pairwise, options, saved.whole("seed", 0, 2**31 - 1), pairwise.metric, threads)

    def __getstate__(self) -> dict[str, Any]:
        # Graphs hold compiled objects of the library, so they are left out, and made again from the seed.
        return {**self.__dict__, "_graphs": {}, "_asked": set()}

    @property
    def rows(self) -> Float32:
        if not isinstance(self._X, np.ndarray):
            raise NotImplementedError
        return self._X

    def from_themselves(self) -> Distances | None:
        return self._pairwise.from_themselves(self._X)

    def query(self, Q: Matrix, k: int) -> Answer:
        check_width(Q, self._X.shape[1])
        k = check_k(k, self.n, itself=False)
        Q = canonical(Q)
        neighbors = self._options.graph_neighbors
        # A graph that was queried before the process was forked answers without threads.
        if self._small() or not Q.shape[0] or (neighbors not in self._asked and self._lost()):
            return self._completer.exact().query(Q, k)
        check_rows(self._pairwise.name, Q)
        # The library sorts the indices of sparse queries in place.
        rows = Q if isinstance(Q, np.ndarray) else Q.copy()
        found = self._graph(neighbors).query(rows, k, epsilon=self._options.epsilon)[0]
        self._asked.add(neighbors)
        return self._completer.answer(Q, np.asarray(found, np.int64), k)

    def query_self(self, k: int) -> Answer:
        k = check_k(k, self.n, itself=True)
        neighbors = max(self._options.graph_neighbors, k + 1)
        if self._small() or k + 1 > self.n // 2 or (neighbors not in self._graphs and self._lost()):
            return self._completer.exact().query_self(k)
        found = np.asarray(self._graph(neighbors).neighbor_graph[0], np.int64)
        return self._completer.answer(self._X, found, k, np.arange(self.n, dtype=np.uint32))

    def recall(self, k: int) -> float:
        k = min(k, self.n - 1)
        if k < 1 or self._small() or k + 1 > self.n // 2 or numba_lost():
            return 1.0
        if k not in self._recalls:
            numbers = rows_to_measure(self.n)
            rows, me = self._X[numbers], numbers.astype(np.uint32)
            graph = self._graph(max(self._options.graph_neighbors, k + 1)).neighbor_graph[0]
            found = self._completer.answer(rows, np.asarray(graph[numbers], np.int64), k, me)[1]
            exact = exact_index(self._X, self.metric, self._pairwise.params or None, self._threads)
            true = exact.rows_of(rows, np.arange(len(numbers)), k, me)[1]
            self._recalls[k] = float((found <= true[:, -1:].astype(np.float64) * (1 + 1e-6)).mean())
        return self._recalls[k]

    def _lost(self) -> bool:
        """Whether a graph cannot be built in this process; warns if so."""
        lost = numba_lost()
        if lost:
            warn(
                "pynndescent cannot build a graph in a process that was forked after it, or other parallel Numba code, "
                "had run; the search is exact instead, and slower. Call transform() once before the fork, or start "
                "processes with 'spawn'",
                RuntimeWarning,
            )
        return lost

    def _small(self) -> bool:
        return self.n < self._options.fewest

    def _graph(self, neighbors: int) -> Any:
        if neighbors not in self._graphs:
            import numba

            # The library changes sparse rows, and for read-only rows it is compiled once more, which takes a minute.
            changeable = isinstance(self._X, np.ndarray) and self._X.flags.writeable
            rows = self._X if changeable else self._X.copy()
            with openmp_kept():
                self._graphs[neighbors] = _library().NNDescent(
                    rows,
                    metric=NAMES.get(str(self._pairwise.name), self._pairwise.name),
                    metric_kwds={} if self._pairwise.name == "jensenshannon" else dict(self._pairwise.params),
                    n_neighbors=neighbors,
                    random_state=self._seed,
                    n_jobs=min(self._threads.n, numba.get_num_threads()),
                )
        return self._graphs[neighbors]


def _library() -> Any:
    """Import pynndescent, also where Numba does not find a place for its machine code."""
    try:
        import pynndescent
    except RuntimeError:
        from tsne_ooc._kernels._kept import lent

        with lent():
            import pynndescent
    return pynndescent
