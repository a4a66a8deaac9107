"""Sparse rows: distances pair by pair, and sparse products that tell which pairs need them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tsne_ooc._typing import Float64, Int64, Sparse
from tsne_ooc.neighbors.base import Indices


class Factors:
    """Factors of sparse rows before they are compared: for cosine one over their lengths, for hellinger one over the
    roots of their sums, else 1."""

    def __init__(self, rows: Sparse, metric: str) -> None:
        self.values = np.ones(rows.shape[0])
        if metric in ("cosine", "hellinger"):
            data = rows.data.astype(np.float64)
            lengths = np.sqrt(_by_row(rows, data if metric == "hellinger" else data**2))
            self.values = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)


def pair_distances(
    Q: Sparse, X: Sparse, metric: str, starts: Int64, numbers: Indices, factors: Factors | None = None
) -> Float64:
    """Distances from each query i to the rows ``X[numbers[starts[i]:starts[i + 1]]]``, in double precision.

    Parameters
    ----------
    Q, X : CSR matrices without repeated entries
    metric : {"euclidean", "cosine", "cityblock", "chebyshev", "hamming", "hellinger"}
    factors : Factors, optional
        The factors of X, where they are known already.
    """
    from tsne_ooc._kernels import knn_sparse as kernels

    left, right = Factors(Q, metric).values, (factors or Factors(X, metric)).values
    result = np.empty(len(numbers))
    kinds = {"cityblock": kernels.SIZES, "chebyshev": kernels.LARGEST, "hamming": kernels.COUNT}
    # Square roots are in double precision, as for dense rows.
    values = [np.sqrt(rows.data, dtype=np.float64) if metric == "hellinger" else rows.data for rows in (Q, X)]
    kernels.sparse_distances(
        values[0], Q.indices, Q.indptr, left, values[1], X.indices, X.indptr, right, X.shape[1],
        kinds.get(metric, kernels.SQUARES), starts, numbers, result,
    )  # fmt: skip
    if metric == "cosine":
        result *= 0.5
        result[np.repeat(left == 0, np.diff(starts)) | (right == 0)[numbers]] = 1.0
    elif metric == "hellinger":
        np.sqrt(0.5 * result, out=result)
        result[np.repeat(left == 0, np.diff(starts)) != (right == 0)[numbers]] = 1.0
    elif metric == "euclidean":
        np.sqrt(result, out=result)
    elif metric == "hamming":
        result /= X.shape[1]
    return result


def all_distances(Q: Sparse, X: Sparse, metric: str) -> Float64:
    """Distances of shape (q, n)."""
    from tsne_ooc._kernels.bits import KINDS

    if metric in KINDS and metric != "hamming":
        return Counts(X, metric).distances(Q)
    q, n = Q.shape[0], X.shape[0]
    numbers = np.tile(np.arange(n, dtype=np.uint32), q)
    return pair_distances(Q, X, metric, np.arange(q + 1) * n, numbers).reshape(q, n)


class Counts:
    """Distances of sparse rows of yes (what is not 0) and no, from the number of columns that two rows have in common.

    These numbers are a product of sparse matrices. They are whole, so the distances are those of the plain loop.

    Parameters
    ----------
    X : CSR matrix
    metric : str
        One of `_kernels.bits.KINDS`.
    """

    def __init__(self, X: Sparse, metric: str) -> None:
        from tsne_ooc._kernels.bits import KINDS

        self._kind = KINDS[metric]
        rows = _yes(X)
        self._columns = rows.T.tocsr()
        self._counts = np.diff(rows.indptr).astype(np.float64)

    def distances(self, Q: Sparse) -> Float64:
        """Distances of shape (q, n)."""
        from tsne_ooc._kernels.bits import of_counts

        rows = _yes(Q)
        result = (rows @ self._columns).toarray()
        counts = np.diff(rows.indptr).astype(np.float64)
        of_counts(self._kind, result, counts, self._counts, float(Q.shape[1]), result)
        return np.asarray(result, np.float64)


class Proposals:
    """Rows that may be among the nearest in euclidean or cosine distance, by ``|q|^2 + |x|^2 - 2 q.x``.

    The products come from SciPy's sparse multiplication, in double precision. Their rounding is bounded, so the rows
    that are left out are certainly farther away, and `pair_distances` of the others decides. To find 90 neighbours of
    500 rows among 10,000, of 60 entries in 20,000 columns, takes 0.25 s, and 2.2 s by all pairs.

    Parameters
    ----------
    X : CSR matrix
    metric : {"euclidean", "cosine"}
    """

    def __init__(self, X: Sparse, metric: str) -> None:
        self._metric = metric
        self.factors = Factors(X, metric)
        self._empty = self.factors.values == 0
        self._columns = X.T.tocsr().astype(np.float64)
        self._columns.data *= self.factors.values[self._columns.indices]
        self._squares = np.bincount(self._columns.indices, self._columns.data**2, X.shape[0])
        self._longest = int(np.diff(X.indptr).max(initial=0))

    def near(self, Q: Sparse, k: int, itself: Indices | None) -> tuple[Int64, Indices]:
        """Where the row numbers of each query begin, and these, ascending: at least the k nearest, and all that are as
        near in single precision.
        """
        factors = Factors(Q, self._metric).values
        rows = Q.astype(np.float64)
        rows.data *= np.repeat(factors, np.diff(Q.indptr))
        squares = _by_row(rows, rows.data**2)
        # The sums of the products and of the pairs are each off by at most a unit of rounding for each addition,
        # relative to |q|^2 + |x|^2; four times as much covers all of them.
        slack = 4 * (self._longest + np.diff(Q.indptr).max(initial=0) + 16) * 2.0**-53
        both = squares[:, None] + self._squares
        most = (rows @ self._columns).toarray()
        most *= -2
        most += both
        most += (both := both * slack)
        if self._metric == "cosine":
            most[factors == 0] = 2.0
            most[:, self._empty] = 2.0
        if itself is not None:
            most[np.arange(len(most)), itself] = np.inf
        limit = np.sqrt(np.maximum(np.partition(most, k - 1, axis=1)[:, k - 1], 0))
        # Distances are ranked in single precision, in which slightly farther rows may become equally near.
        limit = (limit * (1 + 2.0**-22) + 2.0**-140) ** 2
        most -= 2 * both
        query, numbers = np.nonzero(most <= limit[:, None])
        starts = np.concatenate([[0], np.cumsum(np.bincount(query, minlength=len(most)))])
        return starts, numbers.astype(np.uint32)


def _yes(rows: Sparse) -> Any:
    """Rows with a 1 for each entry that is not 0, in double precision."""
    ones = rows.astype(np.float64)
    ones.eliminate_zeros()
    ones.data[:] = 1
    return ones


def _by_row(rows: Sparse, values: Float64) -> Float64:
    """The sum over each row of `values`, of which each belongs to an entry."""
    numbers = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    sums: Any = np.bincount(numbers, values, rows.shape[0])
    return np.asarray(sums, np.float64)
