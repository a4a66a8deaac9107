"""Rows of any number of columns, and any number of rows: what is done in fours, in words or in chunks has an end."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import nan_euclidean_distances

from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import HNSW, IVF, Exact, named_state, restore_index
from tsne_ooc.storage.state import Saved

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


FEW = {
    "exact": (Exact(), "euclidean", {"exact.GROUP": 4, "_blocks.PIECE": 7}),
    "exact, cosine": (Exact(), "cosine", {"exact.GROUP": 3, "_blocks.PIECE": 5, "_blocks.ALL": 11}),
    "gaps": (Exact(), "nan_euclidean", {"gaps.GROUP": 4, "gaps.PIECE": 7}),
    "pairs": (Exact(), "cityblock", {"exact.ENTRIES": 41 * 3, "pairwise.STRIP": 9}),
    "bits": (Exact(), "jaccard", {"bits.GROUP": 4, "bits.BLOCK": 3, "bits.PIECE": 7}),
    "lists": (IVF(lists=8, probes=8), "euclidean", {"ivf.EVERYWHERE": 4, "kmeans.GROUP": 3, "_blocks.PIECE": 7}),
    "all lists in the end": (IVF(lists=40, probes=1), "euclidean", {"ivf.SLAB": 6, "ivf.TOGETHER": 9, "ivf.GROUP": 4}),
    "lists of gaps": (IVF(lists=8, probes=8), "nan_euclidean", {"ivf.EVERYWHERE": 4, "ivf.SLAB": 6, "gaps.PIECE": 7}),
}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", FEW)
def test_rows_and_queries_are_taken_some_at_a_time(name, threads, monkeypatch):
    """Pieces that do not divide them, each put where it belongs: as all distances have it."""
    search, metric, sizes = FEW[name]
    for where, size in sizes.items():
        module, constant = where.split(".")
        monkeypatch.setattr(sys.modules[f"tsne_ooc.neighbors.{module}"], constant, size)
    monkeypatch.setattr("tsne_ooc.neighbors.ivf.PIECE", 7)
    X, Q = table(41, 5, metric, 0), table(11, 5, metric, 1)
    index = search.build(X, metric=metric, rng=np.random.default_rng(0), threads=Threads(threads))
    for k in (1, 3, 40) if name != "all lists in the end" else (40,):
        check(index, Q, X, metric, k)
    if index.order is not None:
        whole = index.query_self(40)
        for start, stop in ((0, 41), (5, 9), (40, 41)):
            for one, other in zip(index.query_part(start, stop, 40), whole, strict=True):
                np.testing.assert_array_equal(one, other[index.order[start:stop]])


@pytest.mark.parametrize("k", [1, 4, 25, 59])
@pytest.mark.parametrize("probes", [1, 2, 5])
def test_lists_are_looked_into_by_hand(k, probes, monkeypatch):
    """The nearest lists, and twice as many until they have k rows besides the query; of all a query asks alone."""
    for constant, size in (("SLAB", 7), ("PROBES", 11), ("TOGETHER", 9), ("GROUP", 4), ("EVERYWHERE", 3)):
        monkeypatch.setattr(f"tsne_ooc.neighbors.ivf.{constant}", size)
    rng = np.random.default_rng(5)
    X = (rng.normal(size=(60, 3)) + 4 * rng.normal(size=(6, 3))[rng.integers(0, 6, 60)]).astype(np.float32)
    index = IVF(lists=9, probes=probes).build(X, rng=np.random.default_rng(0), threads=Threads(2))
    frame, centres = index._blocks.frame, index._coarse.rows
    edges, order = index._blocks.edges, index.order
    for itself in (False, True):
        Q = X if itself else rng.normal(size=(25, 3)).astype(np.float32) * 5
        near = np.argsort(cdist(frame.points(Q, np.arange(len(Q))), centres), axis=1)
        wanted = []
        for query in range(len(Q)):
            looked = probes
            rows = np.concatenate([order[edges[one] : edges[one + 1]] for one in near[query, :looked]])
            while len(rows) < k + itself and looked < 9:
                looked = 2 * looked
                rows = np.concatenate([order[edges[one] : edges[one + 1]] for one in near[query, :looked]])
            rows = np.sort(rows[rows != query] if itself else rows).astype(int)
            apart = cdist(Q[query : query + 1].astype(float), X[rows].astype(float))[0]
            wanted.append(rows[np.argsort(apart, kind="stable")[:k]])
        found = index.query_self(k) if itself else index.query(Q, k)
        np.testing.assert_array_equal(found[0], wanted)
        apart = np.linalg.norm(Q[:, None].astype(float) - X[np.array(wanted)], axis=2)
        np.testing.assert_allclose(found[1], apart, rtol=1e-6)
        if itself:
            for start, stop in ((0, 60), (13, 14), (50, 60)):
                np.testing.assert_array_equal(index.query_part(start, stop, k)[0], found[0][order[start:stop]])


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "nan_euclidean"])
def test_the_sample_of_lists_is_put_together_from_its_pieces(metric, monkeypatch):
    from tsne_ooc.neighbors import kmeans

    monkeypatch.setattr("tsne_ooc.neighbors.ivf.PIECE", 7)
    monkeypatch.setattr("tsne_ooc.neighbors.ivf.SAMPLE", 9)
    given, train = [], kmeans.train
    monkeypatch.setattr(
        kmeans, "train", lambda sample, *rest, **more: given.append(sample) or train(sample, *rest, **more)
    )
    X = table(41, 4, metric, 0)
    for threads in (1, 3):
        index = IVF(lists=3).build(X, metric=metric, rng=np.random.default_rng(2), threads=Threads(threads))
    drawn = np.sort(np.random.default_rng(2).choice(41, 27, replace=False))
    for sample in given:
        np.testing.assert_array_equal(sample, index._blocks.frame.points(X, drawn))
        assert sample.dtype == np.float32


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_walks_are_built_asked_and_read_back_some_rows_at_a_time(metric, monkeypatch):
    X, Q = table(60, 4, metric, 0), table(23, 4, metric, 1)

    def made():
        index = HNSW(links=4, recall=None).build(X, metric=metric, rng=np.random.default_rng(1), threads=Threads(2))
        again = restore_index(Saved(*named_state(index)), ONE)
        return [part for one in (index, again) for part in (*one.query(Q, 5), *one.query_self(5), *one.query(Q, 60))]

    wanted = made()
    np.testing.assert_allclose(wanted[5], np.sort(distances(Q, X, metric), axis=1), rtol=2e-6, atol=2e-6)
    monkeypatch.setattr("tsne_ooc.neighbors.hnsw.PIECE", 7)
    monkeypatch.setattr("tsne_ooc.neighbors._found.GROUP", 3)
    for one, other in zip(made(), wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("at_once", [1, 4, 60, 61])
def test_rows_over_files_are_measured_with_some_at_a_time(at_once, monkeypatch):
    X = np.random.default_rng(0).normal(size=(61, 6)).astype(np.float32)

    def made():
        index = IVF(lists=20, recall=0.8).build(X, rng=np.random.default_rng(0), threads=ONE)
        return [(index.probes(k), index.recall(k)) for k in (1, 5, 30, 60)]

    wanted = made()
    assert len({share for _, share in wanted}) > 1
    monkeypatch.setattr("tsne_ooc.neighbors.ivf.spared", lambda: True)
    monkeypatch.setattr("tsne_ooc.neighbors.ivf.SPARING", at_once)
    assert made() == wanted
