"""`Graph`: neighbours that were searched before, for another fit of the same rows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tsne_ooc._options import whole
from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Array, Float32, Int64, StrPath
from tsne_ooc.equal_rows import hashes_of
from tsne_ooc.neighbors._recall import rows_to_measure, share_found
from tsne_ooc.neighbors.base import BLOCKED, Answer, Distances, Index, Indices, Metric, Neighbors, by_state, check_k
from tsne_ooc.neighbors.exact import Exact
from tsne_ooc.neighbors.folder import (
    TOLD,
    GraphFacts,
    arrays_of,
    fingerprint_of,
    in_rows_order,
    read_graph,
    write_graph,
)
from tsne_ooc.neighbors.gaps import GapIndex
from tsne_ooc.neighbors.given_graphs import nearest_of, of_scanpy
from tsne_ooc.neighbors.resolve import resolve
from tsne_ooc.neighbors.saved import named_state, restore_index
from tsne_ooc.storage.state import Saved, State, within

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# The farthest neighbour of so many rows is measured again, to tell whether the graph is of these rows, and how far off
# it may be: programs that search in single precision, or by another formula, are off by some 1e-4.
LOOKED_AT = 64
CLOSE = 1e-2
# Metrics whose parameters come from all rows where none are given, so that a few rows cannot be measured.
OF_ALL_ROWS = {"seuclidean", "mahalanobis"}


class Graph(Neighbors):
    """The nearest neighbours of each row, as an earlier search found them: that of a fit, or of another program.

    A fit takes these neighbours, and does not search among its rows; new rows are placed by a search of their own. The
    rows' fingerprint, where the graph has one, and some distances that are measured again, tell whether the graph is of
    the rows of the fit, and of its metric.

    Parameters
    ----------
    distances : sparse matrix of shape (n, n), pair (indices, distances) of shape (n, k), AnnData, or a ``.h5ad`` path
        Distances, as for ``metric="precomputed"``. From an AnnData, or its file, they are those of scanpy,
        ``adata.obsp["distances"]``. All rows keep as many neighbours as the one that has the fewest.
    search : str or Neighbors, default "auto"
        The search that finds the neighbours of new rows.

    Attributes
    ----------
    indices : ndarray of uint32, shape (n, k)
        Row numbers, nearest first, without the row itself; read-only.
    distances : ndarray of float32, shape (n, k)
    order : ndarray of uint32, shape (n,), or None
        The order in which `read` has the rows, so that near ones are near each other; None is the order they came in.

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
        if isinstance(distances, str | os.PathLike) or hasattr(distances, "obsp"):
            distances = of_scanpy(distances)
        self._hold(*nearest_of(distances), None, GraphFacts(), search)

    @classmethod
    def of(cls, index: Index, k: int, search: Any = "auto") -> Graph:
        """Make the graph of the `k` nearest others of the rows of an index."""
        k = whole("k", k, least=1)
        metric = index.metric if isinstance(index.metric, str) else None
        facts = GraphFacts(metric, index.unit, float(index.recall(k)))
        return cls._made(*index.query_self(k), None, facts, search)

    @classmethod
    def open(cls, path: StrPath, search: Any = "auto", *, verify: bool = True) -> Graph:
        """Open the graph in a folder that `save` or ``tsne-ooc neighbors`` wrote; it is memory-mapped.

        Parameters
        ----------
        path : path
        search : str or Neighbors, default "auto"
        verify : bool, default True
            Compare the sums of its files, which reads each once. All else is always checked.

        Raises
        ------
        FileNotFoundError, ValueError
            For a folder that is missing, not whole, damaged or of another kind; the message names the file.
        """
        return cls._made(*read_graph(path, verify=verify), search, str(path))

    def save(self, path: StrPath, *, overwrite: bool = False) -> None:
        """Write the graph to a folder that `open` reads, and that appears whole or not at all.

        Raises
        ------
        OSError
            Where something is in the way, or the disk is full.
        """
        write_graph(path, self._near, self._apart, self.order, self.facts, overwrite=overwrite)

    @classmethod
    def _made(cls, *parts: Any) -> Graph:
        made = cls.__new__(cls)
        made._hold(*parts)
        return made

    def _hold(
        self, near: Indices, apart: Distances, order: Indices | None, facts: GraphFacts, search: Any, path: str = ""
    ) -> None:
        self._near, self._apart, self.order, self.facts, self.search = near, apart, order, facts, search
        self._path = path
        for part in (near, apart, order):
            if part is not None:
                part.setflags(write=False)

    @property
    def n(self) -> int:
        return len(self._near)

    @property
    def k(self) -> int:
        return int(self._near.shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """How many rows there are, and how many neighbours each has."""
        return self.n, self.k

    @property
    def indices(self) -> Indices:
        return _kept(self._near) if self.order is None else _kept(in_rows_order(self._near, self.order, named=True))

    @property
    def distances(self) -> Distances:
        return _kept(self._apart) if self.order is None else _kept(in_rows_order(self._apart, self.order))

    def read(self, start: int, stop: int) -> Answer:
        """The neighbours of the rows ``order[start:stop]``, as places in `order`, and how far away they are.

        The arrays are the caller's own; of a graph in a folder, only these rows come into memory.
        """
        return np.array(self._near[start:stop]), np.array(self._apart[start:stop])

    def __repr__(self) -> str:
        return f"<Graph of {self.n:,} rows, {self.k} neighbours each>"

    def __deepcopy__(self, memo: Any) -> Graph:
        # A graph never changes, and may take gigabytes; scikit-learn copies the parameters of an estimator it clones.
        return self

    def matrix(self) -> csr_array:
        """The distances as a sparse matrix of shape (n, n), which scanpy and scikit-learn take."""
        from scipy.sparse import csr_array

        starts = np.arange(self.n + 1, dtype=np.int64) * self.k
        # These are copies, since SciPy sorts entries in place.
        distances, indices = self.distances.flatten(), self.indices.ravel().astype(np.int64)
        return csr_array((distances, indices, starts), shape=(self.n, self.n))

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
        self.check_fit(n, 0)
        self._compare(X, metric, threads)
        if metric not in OF_ALL_ROWS or metric_params:
            self._look(X, metric, metric_params, threads)
        search = resolve(
            self.search, metric=metric, n=n, p=p, sparse=hasattr(X, "tocsr"), metric_params=metric_params
        )  # fmt: skip
        inner = search.build(X, metric=metric, metric_params=metric_params, rng=rng, threads=threads)
        return GraphIndex(inner, self._near, self._apart, self.order, self._recall(X, inner), threads)

    def check_fit(self, n: int, k: int) -> None:
        """Raise ValueError where the graph does not have `n` rows, or has fewer than `k` neighbours of each."""
        if n != self.n:
            raise ValueError(f"the graph is of {self.n:,} rows, and there are {n:,}; pass the one of these rows")
        _check_known(k, self.k)

    def _recall(self, X: Any, inner: Index) -> float:
        """The share of the nearest rows that the graph has: as it says, or as the search for new rows tells."""
        if self.facts.recall is not None:
            return self.facts.recall
        at = rows_to_measure(self.n)
        true = inner.query(X[at], self.k + 1)[1]
        return share_found(np.insert(self._apart[self._places(at)], 0, 0, axis=1), true)

    def _places(self, rows: Int64) -> Array:
        """The places of rows in `order`."""
        return rows if self.order is None else np.argsort(self.order, kind="stable")[rows]

    def _compare(self, X: Any, metric: Metric, threads: Threads) -> None:
        """Raise ValueError where the graph says that it is of other rows, or of another metric."""
        of = f"the graph {self._path}" if self._path else "the graph"
        name = metric if isinstance(metric, str) else None
        known = self.facts.metric
        if known is not None and name is not None and BLOCKED.get(known, known) != BLOCKED.get(name, name):
            raise ValueError(f"{of} is one of metric={known!r}, and the fit has metric={metric!r}; search another")
        if not self.facts.rows:
            return
        found = fingerprint_of(hashes_of(X, threads)[:, 0])
        other = [i for i, pair in enumerate(zip(found, self.facts.rows, strict=False)) if pair[0] != pair[1]]
        if other:
            first, last = other[0] * TOLD, min(self.n, (other[0] + 1) * TOLD) - 1
            made = self._source()
            raise ValueError(
                f"{of} is of other rows{made}: among rows {first} to {last} there are others here; search the "
                "neighbours of this table, prepared as it is for the fit"
            )

    def _source(self) -> str:
        source = self.facts.source or {}
        parts = [str(source[name]) for name in ("path", "dataset") if source.get(name)]
        return f", those of {' '.join(parts)}" if parts else ""

    def _look(self, X: Any, metric: Metric, params: Mapping[str, Any] | None, threads: Threads) -> None:
        """Raise ValueError where some rows are not as far from their last neighbours as the graph says."""
        at = np.unique(np.linspace(0, self.n - 1, min(self.n, LOOKED_AT)).astype(np.int64))
        places = self._places(at)
        last = self._near[places, -1]
        last = last if self.order is None else self.order[last]
        some = np.unique(last)
        # The search has a generator of its own, so that it finds the same with and without this.
        rng = np.random.default_rng(0)
        exact = Exact().build(X[some], metric=metric, metric_params=params, rng=rng, threads=threads)
        if isinstance(exact, GapIndex):
            # Rows without a column in common have no distance, and nobody asks for one here.
            found, measured = exact.rows_of(X[at], np.arange(len(at)), len(some), None)
        else:
            found, measured = exact.query(X[at], len(some))
        asked, where = np.nonzero(found == np.searchsorted(some, last)[:, None])
        true = np.full(len(at), np.nan, np.float32)
        true[asked] = measured[asked, where]
        told = self._apart[places, -1]
        wrong = ~(np.abs(told - true) <= CLOSE * np.maximum(told, true) + CLOSE**2 * np.nanmedian(true))
        if wrong.any():
            i = int(np.argmax(wrong))
            raise ValueError(
                f"the graph is not of these rows, or of another metric or preparation: row {last[i]} is at "
                f"{true[i]:.4g} from row {at[i]}, and the graph has {told[i]:.4g}"
            )


class GraphIndex(Index, kind="graph"):
    """A search for new rows, and the known neighbours of the rows themselves."""

    def __init__(
        self, inner: Index, near: Indices, apart: Distances, order: Indices | None, recall: float, threads: Threads
    ) -> None:
        self._inner, self._near, self._apart, self._order, self._threads = inner, near, apart, order, threads
        self._recall = recall
        self.n, self.metric, self.sparse, self.unit = inner.n, inner.metric, inner.sparse, inner.unit

    def state(self) -> State:
        content, arrays = within("inner", named_state(self._inner))
        own = {"neighbors": self._near, "distances": self._apart}
        if self._order is not None:
            own["order"] = self._order
        return {"recall": self._recall, **content}, {**own, **arrays}

    @classmethod
    def restore(cls, saved: Saved, threads: Threads) -> GraphIndex:
        inner = restore_index(saved.part("inner"), threads, within="graph")
        near, apart, order = arrays_of(saved, "neighbors")
        if len(near) != inner.n:
            raise saved.fail(f"has {len(near)} rows, the search {inner.n}", "neighbors")
        return cls(inner, near, apart, order, min(1.0, saved.number("recall", above=-1)), threads)

    __reduce__ = by_state

    @property
    def rows(self) -> Float32:
        return self._inner.rows

    @property
    def order(self) -> Indices | None:
        return self._inner.order if self._order is None else self._order

    def from_themselves(self) -> Distances | None:
        return self._inner.from_themselves()

    def query(self, Q: Any, k: int) -> Answer:
        return self._inner.query(Q, k)

    def query_self(self, k: int) -> Answer:
        k = self._known(k)
        # These are copies, since callers may write to them.
        if self._order is None:
            return np.array(self._near[:, :k]), np.array(self._apart[:, :k])
        return in_rows_order(self._near[:, :k], self._order, named=True), in_rows_order(self._apart[:, :k], self._order)

    def query_part(self, start: int, stop: int, k: int) -> Answer | None:
        k = self._known(k)
        if self._order is not None:
            return self._order[self._near[start:stop, :k]], np.array(self._apart[start:stop, :k])
        if self.order is None:
            return None
        rows = self.order[start:stop]
        return self._near[rows, :k], self._apart[rows, :k]

    def _known(self, k: int) -> int:
        """`k`, if so many neighbours are known."""
        k = check_k(k, self.n, itself=True)
        _check_known(k, self._near.shape[1])
        return k

    def recall(self, k: int) -> float:
        return self._recall


def _check_known(k: int, known: int) -> None:
    if k > known:
        remedy = f"use affinity=Uniform({known}), or a perplexity of {known / 3:.3g} at most, or a larger graph"
        raise ValueError(f"the graph has {known} neighbours of each row, and {k} are needed; {remedy}")


def _kept(values: Array) -> Array:
    values.setflags(write=False)
    return values
