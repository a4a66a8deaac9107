"""Neighbours that were searched before, for another fit of the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tsne_ooc._options import whole
from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors._recall import rows_to_measure, share_found
from tsne_ooc.neighbors.base import Answer, Distances, Index, Indices, Metric, Neighbors, by_state, check_k
from tsne_ooc.neighbors.exact import Exact
from tsne_ooc.neighbors.precomputed import PrecomputedIndex, distances_of
from tsne_ooc.neighbors.resolve import resolve
from tsne_ooc.neighbors.saved import named_state, restore_index
from tsne_ooc.storage.state import Saved, State, within

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# Of so many rows the farthest neighbour is measured again, to tell whether the graph is of these rows: programs that
# search in single precision, or by another formula, are off by some 1e-4.
LOOKED_AT = 64
CLOSE = 1e-2
# Metrics whose own numbers, where none are given, come from all rows, so that a few rows tell nothing.
OF_ALL_ROWS = {"seuclidean", "mahalanobis"}


class Graph(Neighbors):
    """The nearest neighbours of each row, as a search found them before: of a fit, or of another program.

    A fit takes what is there, and searches nothing among its rows; new rows are placed by a search of their own.
    Whether the graph is of the rows that come with it, and of their metric, is told by some distances that are measured
    again.

    Parameters
    ----------
    distances : sparse matrix of shape (n, n), or pair (indices, distances) of shape (n, k)
        As for ``metric="precomputed"``: what is stored are distances, such as those of scanpy's
        ``adata.obsp["distances"]``. All rows keep as many neighbours as the one that has fewest.
    search : str or Neighbors, default "auto"
        Finds the neighbours of new rows.

    Attributes
    ----------
    indices : ndarray of uint32, shape (n, k)
        Row numbers, nearest first, the row itself not among them; read-only.
    distances : ndarray of float32, shape (n, k)

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from tsne_ooc import TSNE, Uniform
    >>> X = load_digits().data
    >>> model = TSNE(sample=500, random_state=0).fit(X).refine(X)
    >>> graph = model.graph(15)
    >>> TSNE(neighbors=graph, affinity=Uniform(15), random_state=0).fit(X).n_neighbors_
    15
    """

    def __init__(self, distances: Any, search: Any = "auto") -> None:
        graph = distances_of(distances)
        n = graph.shape[0]
        if isinstance(graph, np.ndarray):
            raise TypeError(
                f"a graph is a sparse matrix or a pair (indices, distances), not all {n} x {n} distances; use "
                "metric='precomputed' for these"
            )
        row = np.repeat(np.arange(n), np.diff(graph.indptr))
        least = np.bincount(row[graph.indices != row], minlength=n)
        if not least.min(initial=n):
            raise ValueError(f"row {int(np.argmin(least))} has no neighbour in the graph; each row needs one at least")
        self._hold(*PrecomputedIndex(graph, n, Threads(1)).query_self(int(least.min())), search)

    @classmethod
    def of(cls, index: Index, k: int, search: Any = "auto") -> Graph:
        """The `k` nearest others of the rows of an index."""
        made = cls.__new__(cls)
        made._hold(*index.query_self(whole("k", k, least=1)), search)
        return made

    def _hold(self, indices: Indices, distances: Distances, search: Any) -> None:
        self.indices, self.distances, self.search = indices, distances, search
        for part in (indices, distances):
            part.setflags(write=False)

    @property
    def n(self) -> int:
        return len(self.indices)

    @property
    def k(self) -> int:
        return int(self.indices.shape[1])

    def __repr__(self) -> str:
        return f"<Graph of {self.n:,} rows, {self.k} neighbours each>"

    def __deepcopy__(self, memo: Any) -> Graph:
        # It never changes, and may be of gigabytes; scikit-learn copies the parameters of what it clones.
        return self

    def matrix(self) -> csr_array:
        """The distances as a sparse matrix of shape (n, n), which scanpy and scikit-learn take."""
        from scipy.sparse import csr_array

        starts = np.arange(self.n + 1, dtype=np.int64) * self.k
        return csr_array(
            (self.distances.ravel(), self.indices.ravel().astype(np.int64), starts), shape=(self.n, self.n)
        )

    def check(self, metric: Metric, params: Mapping[str, Any] | None, *, sparse: bool) -> None:
        resolve(self.search, metric=metric, n=self.n, p=1, sparse=sparse, metric_params=params)

    def build(
        self,
        X: Any,
        *,
        metric: Metric = "euclidean",
        metric_params: Mapping[str, Any] | None = None,
        rng: np.random.Generator,
        threads: Threads,
    ) -> GraphIndex:
        n, p = X.shape
        if n != self.n:
            raise ValueError(f"the graph is of {self.n:,} rows, and there are {n:,}; pass the one of these rows")
        if metric not in OF_ALL_ROWS or metric_params:
            self._look(X, metric, metric_params, threads)
        search = resolve(
            self.search, metric=metric, n=n, p=p, sparse=hasattr(X, "tocsr"), metric_params=metric_params
        )  # fmt: skip
        inner = search.build(X, metric=metric, metric_params=metric_params, rng=rng, threads=threads)
        return GraphIndex(inner, self.indices, self.distances, self._recall(X, inner), threads)

    def _recall(self, X: Any, inner: Index) -> float:
        """Which share of the nearest rows the graph has, as far as the search for new rows tells."""
        at = rows_to_measure(self.n)
        true = inner.query(X[at], self.k + 1)[1]
        return share_found(np.insert(self.distances[at], 0, 0, axis=1), true)

    def _look(self, X: Any, metric: Metric, params: Mapping[str, Any] | None, threads: Threads) -> None:
        """Raise ValueError where some rows are not as far from their last neighbours as the graph says."""
        at = np.unique(np.linspace(0, self.n - 1, min(self.n, LOOKED_AT)).astype(np.int64))
        last = self.indices[at, -1]
        some = np.unique(last)
        # Not the generator of the search, which is to find what it finds without this.
        rng = np.random.default_rng(0)
        exact = Exact().build(X[some], metric=metric, metric_params=params, rng=rng, threads=threads)
        found, measured = exact.query(X[at], len(some))
        true = measured[found == np.searchsorted(some, last)[:, None]]
        told = self.distances[at, -1]
        wrong = np.abs(told - true) > CLOSE * np.maximum(told, true) + CLOSE**2 * np.median(true)
        if wrong.any():
            i = int(np.argmax(wrong))
            raise ValueError(
                f"the graph is not of these rows, or of another metric or preparation: row {last[i]} is at "
                f"{true[i]:.4g} from row {at[i]}, and the graph has {told[i]:.4g}"
            )


class GraphIndex(Index, kind="graph"):
    """A search for new rows, and the neighbours that the rows themselves are known to have."""

    def __init__(
        self, inner: Index, indices: Indices, distances: Distances, recall: float, threads: Threads
    ) -> None:  # fmt: skip
        self._inner, self._indices, self._distances, self._threads = inner, indices, distances, threads
        self._recall = recall
        self.n, self.metric, self.sparse, self.unit = inner.n, inner.metric, inner.sparse, inner.unit

    def state(self) -> State:
        content, arrays = within("inner", named_state(self._inner))
        return {"recall": self._recall, **content}, {"neighbors": self._indices, "distances": self._distances, **arrays}

    @classmethod
    def restore(cls, saved: Saved, threads: Threads) -> GraphIndex:
        inner = restore_index(saved.part("inner"), threads, within="graph")
        indices = saved.array("neighbors", np.uint32, (inner.n, None))
        distances = saved.array("distances", np.float32, indices.shape)
        if not indices.shape[1] or indices.max() >= inner.n:
            raise saved.fail(f"names a row that is not one of {inner.n}", "neighbors")
        if distances.min() < 0 or (np.diff(distances, axis=1) < 0).any():
            raise saved.fail("does not ascend from 0 within a row", "distances")
        return cls(inner, indices, distances, min(1.0, saved.number("recall", above=-1)), threads)

    __reduce__ = by_state

    @property
    def order(self) -> Indices | None:
        return self._inner.order

    def from_themselves(self) -> Distances | None:
        return self._inner.from_themselves()

    def query(self, Q: Any, k: int) -> Answer:
        return self._inner.query(Q, k)

    def query_self(self, k: int) -> Answer:
        k, known = check_k(k, self.n, itself=True), self._indices.shape[1]
        if k > known:
            remedy = f"use affinity=Uniform({known}), or a perplexity of {known / 3:.3g} at most, or a larger graph"
            raise ValueError(f"the graph has {known} neighbours of each row, and {k} are needed; {remedy}")
        # Others write to what they are given.
        return self._indices[:, :k].copy(), self._distances[:, :k].copy()

    def recall(self, k: int) -> float:
        return self._recall
