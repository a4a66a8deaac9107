"""Rows of any number of columns, and any number of rows: what is done in fours, in words or in chunks has an end."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import nan_euclidean_distances

from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import IVF, Exact

ONE = Threads(1)
COLUMNS = [1, 2, 3, 4, 5, 7, 8, 9, 33, 63, 64, 65, 129]
ROWS = [1, 2, 31, 32, 33, 65]


def distances(Q, X, metric):
    if metric == "nan_euclidean":
        return nan_euclidean_distances(Q.astype(float), X.astype(float))
    yes = metric in ("jaccard", "dice", "rogerstanimoto", "sokalsneath", "russellrao", "yule")
    Q, X = (rows != 0 if yes else rows.astype(float) for rows in (Q, X))
    with np.errstate(invalid="ignore"):
        D = cdist(Q, X, metric)
    if metric == "cosine":
        D[np.isnan(D)] = 1
    return np.nan_to_num(D)


def table(n, p, metric, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(1, 2, (n, p)).astype(np.float32)
    if metric == "nan_euclidean":
        # Each row has its first column, or its last one: any two have something in common but for some of one column.
        X[rng.random((n, p)) < 0.4] = np.nan
        X[:, -1] = rng.normal(size=n)
    elif metric not in ("euclidean", "cosine", "cityblock", "chebyshev"):
        X = (rng.random((n, p)) < 0.4).astype(np.float32)
    return X


def check(index, Q, X, metric, k):
    D = distances(Q, X, metric)
    indices, found = index.query(Q, k)
    np.testing.assert_allclose(found, np.sort(D, axis=1)[:, :k], rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(found, np.take_along_axis(D, indices.astype(int), axis=1), rtol=2e-6, atol=2e-6)
    same = found[:, 1:] == found[:, :-1]
    assert (indices[:, 1:].astype(int) > indices[:, :-1])[same].all()
    assert all(len(set(row)) == k for row in indices.tolist())
    D = distances(X, X, metric)
    np.fill_diagonal(D, np.inf)
    if k < len(X):
        indices, found = index.query_self(k)
        np.testing.assert_allclose(found, np.sort(D, axis=1)[:, :k], rtol=2e-6, atol=2e-6)
        np.testing.assert_allclose(found, np.take_along_axis(D, indices.astype(int), axis=1), rtol=2e-6, atol=2e-6)


METRICS = [
    "euclidean", "cosine", "nan_euclidean", "jaccard", "dice", "rogerstanimoto", "sokalsneath", "russellrao", "yule",
    "hamming",
]  # fmt: skip


@pytest.mark.parametrize("metric", METRICS)
def test_rows_of_any_width(metric):
    for p in COLUMNS:
        X, Q = table(40, p, metric, p), table(7, p, metric, p + 1)
        index = Exact().build(X, metric=metric, threads=ONE)
        for k in (1, 9, 40):
            check(index, Q, X, metric, k)


@pytest.mark.parametrize("metric", METRICS)
def test_any_number_of_rows(metric):
    for n in ROWS:
        X, Q = table(n, 5, metric, n), table(3, 5, metric, n + 1)
        index = Exact().build(X, metric=metric, threads=ONE)
        for k in {1, min(n, 4), max(1, n - 1), n}:
            check(index, Q, X, metric, k)


@pytest.mark.parametrize("n", [33, 65, 130])
@pytest.mark.parametrize("metric", ["euclidean", "cosine", "nan_euclidean"])
def test_lists_of_any_length(metric, n):
    """Where all lists are looked into the answer is that of all rows; some lists have one row, and some many."""
    X, Q = table(n, 6, metric, n), table(5, 6, metric, n + 1)
    X[: n // 2] = X[: n // 2] * np.float32(0.05) + 3
    for lists in (1, 2, 7, n // 2):
        index = IVF(lists=lists, probes=max(1, lists - 1), recall=None).build(
            X, metric=metric, rng=np.random.default_rng(0), threads=ONE
        )
        # All lists but one are looked into, and of a single one all.
        D = distances(Q, X, metric)
        indices, found = index.query(Q, 5)
        np.testing.assert_allclose(found, np.take_along_axis(D, indices.astype(int), axis=1), rtol=2e-6, atol=2e-6)
        assert (found >= np.sort(D, axis=1)[:, :5] - 2e-6).all()
        everywhere = IVF(lists=lists, probes=lists).build(X, metric=metric, rng=np.random.default_rng(0), threads=ONE)
        check(everywhere, Q, X, metric, 5)
        check(everywhere, Q, X, metric, n)


@pytest.mark.parametrize("p", [1, 2, 5, 8, 40])
@pytest.mark.parametrize(
    "metric", ["euclidean", "cosine", "cityblock", "chebyshev", "hamming", "jaccard", "yule", "dice"]
)
def test_sparse_rows_of_any_width(metric, p):
    """Rows without an entry, entries that are zeros, and columns that no row has."""
    rng = np.random.default_rng(p)
    X = np.where(rng.random((30, p)) < 0.4, rng.normal(1, 2, (30, p)), 0).astype(np.float32)
    X[:, p // 2 + 1 :][:, :1] = 0
    rows = csr_array(X)
    rows.data[::7] = 0
    X = rows.toarray()
    before = rows.copy()
    index = Exact().build(rows, metric=metric, threads=ONE)
    for k in (1, 6, 30):
        D = distances(X[:9], X, metric)
        indices, found = index.query(rows[:9], k)
        np.testing.assert_allclose(found, np.sort(D, axis=1)[:, :k], rtol=2e-6, atol=2e-6)
        np.testing.assert_allclose(found, np.take_along_axis(D, indices.astype(int), axis=1), rtol=2e-6, atol=2e-6)
    D = distances(X, X, metric)
    np.fill_diagonal(D, np.inf)
    np.testing.assert_allclose(index.query_self(29)[1], np.sort(D, axis=1)[:, :29], rtol=2e-6, atol=2e-6)
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(rows, part), getattr(before, part))
