"""Neighbours by definition: all distances in double precision, sorted, ties by row number."""

from __future__ import annotations

from typing import Any

import numpy as np

from tsne_ooc._typing import Array, Float32, Float64, Matrix, TableLike, UInt32


def distances(Q: Matrix, X: TableLike, metric: str = "euclidean", **params: Any) -> Float64:
    """All distances between Q, shape (q, p), and X, shape (n, p), dense or sparse.

    Parameters
    ----------
    metric : str
        Name of the metric in SciPy's `cdist`. "cosine" is half the squared distance of rows of length 1; rows of zeros
        are at 1 from all.
    """
    from scipy.spatial.distance import cdist

    Q, X = (np.asarray(rows.todense()) if hasattr(rows, "todense") else rows for rows in (Q, X))
    Q, X = Q.astype(np.float64), X.astype(np.float64)
    if metric == "cosine":
        result = np.ones((len(Q), len(X)))
        some = X.any(axis=1)
        units = X[some] / np.sqrt(np.square(X[some]).sum(axis=1, keepdims=True))
        for i in np.flatnonzero(Q.any(axis=1)):
            result[i, some] = np.square(Q[i] / np.sqrt(Q[i] @ Q[i]) - units).sum(axis=1) / 2
        return result
    found: Float64 = cdist(Q, X, {"manhattan": "cityblock", "l2": "euclidean"}.get(metric, metric), **params)
    return found


def smallest(D: Array, k: int, *, itself: bool = False) -> tuple[UInt32, Float32]:
    """The k smallest of each row of D, rounded and ordered as in the library; `itself` leaves out the diagonal."""
    D = D.astype(np.float32)
    indices, values = np.empty((len(D), k), np.uint32), np.empty((len(D), k), np.float32)
    for i, row in enumerate(D):
        ranked = [j for j in np.lexsort((np.arange(len(row)), row)) if not (itself and i == j)][:k]
        indices[i], values[i] = ranked, row[ranked]
    return indices, values
