"""Approximate searches among many equal rows."""

import pickle

import numpy as np
import pytest
import reference_neighbors as reference
from scipy import sparse

from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import HNSW, IVF, Annoy, Exact, PyNNDescent, named_state, restore_index
from tsne_ooc.neighbors.distinct import DistinctIndex, find_copies
from tsne_ooc.storage.state import Saved

ONE, THREADS = Threads(1), Threads(2)
SEARCHES = {
    "ivf": IVF(lists=20, probes=8),
    "hnsw": HNSW(),
    "annoy": Annoy(),
    "pynndescent": pytest.param(PyNNDescent(), marks=pytest.mark.slow),
}
pytestmark = [
    pytest.mark.filterwarnings("ignore:builtin type .* has no __module__ attribute:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::numba.NumbaPendingDeprecationWarning"),
]


def build(search, X, metric="euclidean"):
    return search.build(X, metric=metric, rng=np.random.default_rng(0), threads=THREADS)


def tables():
    rng = np.random.default_rng(0)
    return {
        "half are one row": np.vstack([rng.normal(size=(1000, 5)), np.zeros((700, 5))]),
        "each six times": np.repeat(rng.normal(size=(300, 5)), 6, axis=0),
        "each thirty times": np.repeat(rng.normal(size=(60, 5)), 30, axis=0),
    }


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("name", tables())
def test_copies_hide_no_other_rows(search, metric, name):
    """Walks over graphs stay among copies: HNSW found .51 to .85 of these neighbours."""
    if isinstance(search, Annoy):
        pytest.importorskip("annoy")
    X = tables()[name].astype(np.float32)
    Q = np.random.default_rng(1).normal(size=(200, 5)).astype(np.float32)
    index = build(search, X, metric)
    for answer, D, itself in (
        (index.query(Q, 15), reference.distances(Q, X, metric), False),
        (index.query_self(15), reference.distances(X, X, metric), True),
    ):
        true = np.take_along_axis(D, answer[0].astype(np.int64), axis=1)
        np.testing.assert_allclose(answer[1], true, rtol=2e-7, atol=1e-12)
        kth = reference.nearest(D, 15, itself=itself)[1][:, -1:]
        assert np.mean(answer[1] <= kth * (1 + 1e-6)) > 0.95
    # Each row finds itself or a copy, but for rows without a direction.
    found = index.query(X, 1)[1][:, 0]
    assert not found[X.any(axis=1) | (metric == "euclidean")].any()


@pytest.mark.parametrize("search", [HNSW(), Annoy(), PyNNDescent()], ids=["hnsw", "annoy", "pynndescent"])
def test_saved_and_pickled_with_copies(search):
    if isinstance(search, Annoy):
        pytest.importorskip("annoy")
    # So few distinct rows that pynndescent is not asked.
    X = np.repeat(np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32), 40, axis=0)
    index = build(search, X)
    content, arrays = named_state(index)
    assert content["kind"] == "distinct" and sum(array.size for array in arrays.values()) < 3 * len(X)
    answers = [index, restore_index(Saved(content, arrays), Threads(1)), pickle.loads(pickle.dumps(index))]
    bits = [[part.tobytes() for part in (*each.query_self(9), *each.query(X[:50], 60))] for each in answers]
    assert bits[0] == bits[1] == bits[2]


def apart(a, b):
    return np.abs(a - b).sum() + 0.5


def test_a_row_that_is_not_at_zero_from_itself():
    """Copies are as far from each other as the metric says, a function's too; such an index can be pickled."""
    X = np.repeat(np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32), 10, axis=0)
    X = X[np.random.default_rng(1).permutation(len(X))]
    index = build(PyNNDescent(), X, apart)
    D = np.abs(X[:, None].astype(np.float64) - X).sum(axis=2) + 0.5
    for each in (index, pickle.loads(pickle.dumps(index))):
        for got, want in zip(each.query_self(25), reference.nearest(D, 25, itself=True), strict=True):
            np.testing.assert_allclose(got, want, rtol=2e-7)
        for got, want in zip(each.query(X[:9], 25), reference.nearest(D[:9], 25), strict=True):
            np.testing.assert_allclose(got, want, rtol=2e-7)


def test_copies_of_sparse_rows_are_found():
    rng = np.random.default_rng(0)
    dense = (rng.random((200, 300)) < 0.05) * rng.integers(1, 4, size=(200, 300))
    dense = dense[rng.integers(200, size=1500)].astype(np.float32)
    dense[7:60] = 0
    X = sparse.csr_array(dense)
    # Zeros that are stored are zeros.
    X.data[::7] = 0
    dense = X.toarray()
    copies = find_copies(X, THREADS, 4)
    _, first, of = np.unique(dense, axis=0, return_index=True, return_inverse=True)
    np.testing.assert_array_equal(copies.first[copies.of], first[of.ravel()])
    assert find_copies(sparse.csr_array(np.eye(50, dtype=np.float32)), THREADS, 4) is None


@pytest.mark.slow  # half a minute: the library compiles its sparse half
def test_sparse_copies_hide_no_other_rows_from_pynndescent():
    rng = np.random.default_rng(0)
    X = sparse.random_array((150, 60), density=0.15, rng=rng, dtype=np.float32, format="csr")
    X = sparse.csr_array(sparse.vstack([X[rng.integers(150, size=1200)], sparse.csr_array((300, 60), dtype="f4")]))
    index = build(PyNNDescent(), X, "cosine")
    D = reference.distances(X, X, "cosine")
    answer = index.query_self(15)
    assert np.mean(answer[1] <= reference.nearest(D, 15, itself=True)[1][:, -1:] * (1 + 1e-6)) > 0.95


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize(
    "kinds", [[0, 0, 0, 0, 0], [0, 0, 1, 0, 1], [2, 0, 1, 0, 2, 2, 1], [1, 0, 0, 0, 0, 2, 3, 0, 4], [0, 1, 2, 3, 0]]
)
def test_any_number_of_neighbours_among_copies(kinds, metric, monkeypatch):
    """Up to all rows, with one distinct row and more, in whole and in part: as all pairs have it."""
    monkeypatch.setattr("tsne_ooc.neighbors.distinct.GROUP", 2)
    distinct = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    if metric == "cosine":
        # By direction a row of zeros is as far from its copies as from all others.
        distinct[0] = 0
    X, n = distinct[kinds], len(kinds)
    D = reference.distances(X, X, metric)
    Q = np.concatenate([X, np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32)])
    to = reference.distances(Q, X, metric)
    for search in (Exact(), IVF(lists=2, probes=2)):
        index = DistinctIndex.build(
            X,
            find_copies(X, ONE, 1),
            lambda rows, search=search: search.build(rows, metric=metric, rng=np.random.default_rng(0), threads=ONE),
            ONE,
        )
        assert index.n == n and index._inner.n == len(set(kinds)) and index.metric == metric
        np.testing.assert_array_equal(index.rows, X)
        for k in range(1, n + 1):
            indices, distances = index.query(Q, k)
            np.testing.assert_allclose(distances, reference.nearest(to, k)[1], rtol=2e-7, atol=1e-7)
            np.testing.assert_allclose(np.take_along_axis(to, indices.astype(int), 1), distances, rtol=2e-7, atol=1e-7)
            assert all(len(set(row)) == k for row in indices.tolist())
            if k == n:
                continue
            indices, distances = index.query_self(k)
            assert (indices.dtype, distances.dtype) == (np.uint32, np.float32)
            np.testing.assert_allclose(distances, reference.nearest(D, k, itself=True)[1], rtol=2e-7, atol=1e-7)
            np.testing.assert_allclose(np.take_along_axis(D, indices.astype(int), 1), distances, rtol=2e-7, atol=1e-7)
            assert not (indices == np.arange(n)[:, None]).any() and all(len(set(row)) == k for row in indices.tolist())
            order = index.order
            if order is None or index._inner.n < 2:
                assert index.query_part(0, n, k) is None
                continue
            assert sorted(order.tolist()) == list(range(n)) and order.dtype == np.uint32
            for start in range(n):
                for stop in {start + 1, min(start + 3, n), n}:
                    for part, whole in zip(index.query_part(start, stop, k), (indices, distances), strict=True):
                        np.testing.assert_array_equal(part, whole[order[start:stop]])
