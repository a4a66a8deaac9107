"""Neighbours by definition: all distances in double precision, sorted, ties by row number."""

import numpy as np
from scipy.spatial.distance import cdist


def distances(Q, X, metric="euclidean", **params):
    Q, X = (np.asarray(rows.todense()) if hasattr(rows, "todense") else rows for rows in (Q, X))
    Q, X = Q.astype(np.float64), X.astype(np.float64)
    if metric == "cosine":
        result = np.ones((len(Q), len(X)))
        some = X.any(axis=1)
        units = X[some] / np.sqrt(np.square(X[some]).sum(axis=1, keepdims=True))
        for i in np.flatnonzero(Q.any(axis=1)):
            result[i, some] = np.square(Q[i] / np.sqrt(Q[i] @ Q[i]) - units).sum(axis=1) / 2
        return result
    return cdist(Q, X, {"manhattan": "cityblock", "l2": "euclidean"}.get(metric, metric), **params)


def nearest(D, k, *, itself=False):
    """The k smallest of each row of D as the library rounds and orders them."""
    D = D.astype(np.float32)
    indices, values = np.empty((len(D), k), np.uint32), np.empty((len(D), k), np.float32)
    for i, row in enumerate(D):
        ranked = [j for j in np.lexsort((np.arange(len(row)), row)) if not (itself and i == j)][:k]
        indices[i], values[i] = ranked, row[ranked]
    return indices, values
