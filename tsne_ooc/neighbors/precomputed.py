"""Neighbours from distances, or from neighbours, that the user has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Array, Matrix, Named, TableLike
from tsne_ooc._validate import RowsError, as_array, as_rows, check_shape, is_sparse
from tsne_ooc.neighbors._blocks import pack, unpack
from tsne_ooc.neighbors.base import Answer, Index, Indices, Metric, Neighbors, check_k, check_width
from tsne_ooc.neighbors.exact import ENTRIES, nearest, stack
from tsne_ooc.storage.codec import stored
from tsne_ooc.storage.state import Saved, State

INFINITE = np.float32(np.inf)


@stored
@dataclass(frozen=True)
class Precomputed(Neighbors):
    """Neighbours that are known already:

    - all distances, an array of shape (n, n), infinite where rows are not connected;
    - a sparse graph of shape (n, n) whose stored entries are distances, zeros included, as those of scikit-learn's
      ``kneighbors_graph(mode="distance")`` and scanpy's ``adata.obsp["distances"]`` are: rows without a stored entry
      are not connected;
    - a pair ``(indices, distances)`` of arrays of shape (n, m), with or without the row itself; an index of -1 or an
      infinite distance is not a neighbour.

    Queries are distances from q rows to the n rows, in the same forms. Distances come back as they were given, in
    single precision, sorted, with ties by row number.
    """

    def build(
        self,
        X: TableLike,
        *,
        metric: Metric = "precomputed",
        metric_params: Named | None = None,
        rng: np.random.Generator | None = None,
        threads: Threads,
    ) -> PrecomputedIndex:
        if metric != "precomputed":
            raise ValueError(f"neighbors=Precomputed() needs metric='precomputed', not {metric!r}")
        X = distances_of(X)
        return PrecomputedIndex(X, X.shape[0], threads)


class PrecomputedIndex(Index, kind="precomputed"):
    """See `Precomputed`."""

    def __init__(self, X: TableLike, n: int, threads: Threads) -> None:
        self.n = n
        self.metric = "precomputed"
        self._X = X
        self._threads = threads

    def state(self) -> State:
        # Queries bring their distances along; those among the rows themselves are needed only for a fit.
        return {"n": self.n}, {}

    @classmethod
    def restore(cls, saved: Saved, threads: Threads) -> PrecomputedIndex:
        return cls(None, saved.whole("n", 1, 2**32 - 2), threads)

    def query(self, Q: Matrix, k: int) -> Answer:
        if not isinstance(Q, np.ndarray):
            Q = distances_of(Q, self.n)
        check_width(Q, self.n)
        return self._answer(Q, check_k(k, self.n, itself=False), None)

    def query_self(self, k: int) -> Answer:
        if self._X is None:
            raise ValueError(
                "a saved model of precomputed distances does not hold those among the rows of the fit, which this "
                "needs; ask the model that was fitted, before it is saved"
            )
        numbers = np.arange(self.n, dtype=np.uint32)
        return self._answer(self._X, check_k(k, self.n, itself=True), numbers)

    def _answer(self, D: Any, k: int, itself: Indices | None) -> Answer:
        if not isinstance(D, np.ndarray):
            return stored_nearest(D, k, itself)

        def select(a: int, b: int) -> Answer:
            block, me = D[a:b], None if itself is None else itself[a:b]
            connected = np.isfinite(block)
            if me is not None:
                connected[np.arange(len(block)), me] = False
            counts = connected.sum(axis=1)
            if (short := np.flatnonzero(counts < k)).size:
                raise _too_few(a + int(short[0]), int(counts[short[0]]), k)
            return nearest(block, k, me)

        _check_sign(D, lambda at: divmod(at, D.shape[1]))
        return stack(self._threads.map(select, ranges(len(D), max(1, ENTRIES // self.n))), k)


def distances_of(X: TableLike, n: int | None = None, first: int = 0) -> Any:
    """Check distances in one of the forms of `Precomputed`, and give them as float32, an array or a CSR matrix.

    Parameters
    ----------
    X : array-like, DataFrame, sparse matrix or pair of arrays
        The distances, which are neither changed nor shared.
    n : int or None
        The number of rows that the distances lead to; None for distances among the rows themselves.
    first : int
        The number of the first row of X, for errors of a graph that comes in pieces.

    Raises
    ------
    ValueError, TypeError
        For another shape, NaN, numbers below 0 or beyond float32, and neighbours that are named twice; the message has
        the row and column.
    """
    if isinstance(X, tuple | list) and len(X) == 2 and all(np.ndim(part) == 2 for part in X):
        graph = _graph_of(X[0], X[1], n, first)
    elif is_sparse(X):
        check_shape(X.shape)
        graph = _graph(X, first)
    else:
        graph = _dense(X)
    if n is None and graph.shape[0] != graph.shape[1]:
        raise ValueError(
            f"precomputed distances of shape {graph.shape} are not square; there is one for each two rows, infinite "
            "where they are not connected"
        )
    if n is not None and graph.shape[1] != n:
        # The first words are scikit-learn's own, which its checks look for.
        raise ValueError(
            f"X has {graph.shape[1]} features, but TSNE is expecting {n} features as input: distances to each row of "
            "the fit, infinite where there is none"
        )
    return graph


def _dense(X: TableLike) -> Any:
    if not hasattr(X, "to_numpy"):
        values = as_array(X)
        far = np.isposinf(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
        rows = as_rows(np.where(far, 0, values) if far.any() else values, own=True)
    else:
        far = np.asarray(X.isin([np.inf]), bool)
        rows = as_rows(X.mask(far, 0) if far.any() else X, own=True)
    # Without infinite distances the array may be the caller's own, which is not written to.
    if far.any():
        rows[far] = INFINITE
    _check_sign(rows, lambda at: divmod(at, rows.shape[1]))
    return rows


def _graph_of(indices: Any, distances: Any, n: int | None, first: int = 0) -> Any:
    """The CSR graph of a pair of arrays."""
    from scipy.sparse import csr_array

    indices, distances = np.asarray(indices), np.asarray(distances)
    if indices.dtype.kind not in "iu" or distances.dtype.kind not in "fiu":
        raise TypeError(
            f"precomputed neighbours are a pair (indices, distances) of whole numbers and numbers, not of "
            f"{indices.dtype} and {distances.dtype}"
        )
    if indices.shape != distances.shape:
        raise ValueError(f"indices of shape {indices.shape} and distances of shape {distances.shape} are not a pair")
    q = len(indices)
    n = q if n is None else n
    wrong = (indices < -1) | (indices >= n) if indices.dtype.kind == "i" else indices >= n
    if wrong.any():
        i, j = (int(at) for at in np.argwhere(wrong)[0])
        raise ValueError(
            f"precomputed indices must be row numbers from 0 to {n - 1}, or -1 for none; row {first + i}, column {j} "
            f"is {indices[i, j]}"
        )
    kept = indices >= 0
    starts = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    return _graph(csr_array((distances[kept], indices[kept].astype(np.int64), starts), shape=(q, n)), first)


def _graph(X: TableLike, first: int = 0) -> Any:
    """A sparse matrix as CSR in float32, with rows in order and without infinite entries."""
    from scipy.sparse import csr_array

    if X.dtype.kind not in "fiub":
        raise ValueError(f"precomputed distances have type {X.dtype}, which does not hold plain numbers")
    if X.format not in ("csr", "csc", "coo", "bsr"):
        what = f"a sparse {X.format} matrix, which may not keep its zeros"
        raise TypeError(f"precomputed distances are {what}; pass CSR or COO")
    # SciPy's conversion would add up two distances of one pair, which are a mistake.
    entries = X.tocoo()
    row, column, data = entries.row, entries.col, np.asarray(entries.data)
    order = np.lexsort((column, row))
    row, column, data = row[order], column[order], data[order]
    twice = np.flatnonzero((np.diff(row) == 0) & (np.diff(column) == 0))
    if len(twice):
        raise ValueError(
            f"precomputed distances have row {first + row[twice[0]]}, column {column[twice[0]]} more than once"
        )
    with np.errstate(over="ignore"):
        short = data.astype(np.float32)
    bad = np.flatnonzero(np.isnan(short) | (np.isinf(short) & ~np.isposinf(data)))
    if len(bad):
        at = bad[0]
        raise ValueError(
            f"precomputed distance {data[at]} at row {first + row[at]}, column {column[at]} is not a distance"
        )
    _check_sign(short, lambda at: (first + int(row[at]), int(column[at])))
    near = np.isfinite(short)
    starts = np.concatenate([[0], np.cumsum(np.bincount(row[near], minlength=X.shape[0]))])
    return csr_array((short[near], column[near], starts), shape=X.shape)


def _check_sign(values: Array, place: Callable[[int], tuple[int, int]]) -> None:
    good = values >= 0
    if not good.all():
        row, column = place(int(np.argmin(good)))
        value = values.ravel()[int(np.argmin(good))]
        # The first words are scikit-learn's own, which its checks look for.
        what = "Negative values in data: " if value < 0 else ""
        raise RowsError(f"{what}precomputed distance {value} at row {{row}}, column {column} is not at least 0", row)


def _too_few(row: int, count: int, k: int) -> RowsError:
    remedy = f"or lower the perplexity to {count // 3} (k is three times as many)" if count >= 3 else "or ask for fewer"
    return RowsError(
        f"row {{row}} has {count} precomputed neighbours at a finite distance, fewer than k={k}; give more of them, "
        f"{remedy}",
        row,
    )


def stored_nearest(graph: Any, k: int, itself: Indices | None) -> Answer:
    """The k smallest stored entries of each row, without the row that `itself` names."""
    row = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))
    keep = np.ones(len(row), bool) if itself is None else graph.indices != itself[row]
    row, keys = row[keep], pack(graph.data[keep], graph.indices[keep])
    count = np.bincount(row, minlength=graph.shape[0])
    if (count < k).any():
        worst = int(np.argmin(count))
        raise _too_few(worst, int(count[worst]), k)
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    keys = keys[np.lexsort((keys, row))]
    return unpack(keys[first[:, None] + np.arange(k)])
