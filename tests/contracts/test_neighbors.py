"""Every neighbour search keeps one contract, whatever it is made of."""

from types import SimpleNamespace

import numba
import numpy as np
import pytest
import reference_neighbors as reference
from scipy import sparse

from tsne_ooc.neighbors import HNSW, IVF, Annoy, Exact, PyNNDescent, named_state
from tsne_ooc.testing import IndexContract
from tsne_ooc.testing.neighbors import N, P, build, check_answer
from tsne_ooc.testing.neighbors import clumps as data

pytestmark = pytest.mark.filterwarnings(
    # SWIG's types inside faiss, on import; nothing a caller could change.
    "ignore:builtin type .* has no __module__ attribute:DeprecationWarning",
    # pynndescent compiles objects that NumPy 2.4 and Numba mean to drop.
    "ignore::numba.NumbaPendingDeprecationWarning",
)

#: Each search, and the share of neighbours that it finds at least.
SEARCHES = {
    "exact": (Exact(), 1.0),
    "ivf": (IVF(lists=20, probes=6), 0.9),
    "ivf-all-lists": (IVF(lists=20, probes=20), 1.0),
    "ivf-one-probe": (IVF(lists=60, probes=1), 0.1),
    "hnsw": (HNSW(), 0.95),
    "annoy": (Annoy(), 0.9),
}


class TestSearches(IndexContract):
    @pytest.fixture(params=SEARCHES)
    def case(self, request):
        if request.param == "annoy":
            pytest.importorskip("annoy")
        search, recall = SEARCHES[request.param]
        return SimpleNamespace(search=search, recall=recall, metrics=self.metrics)

    def test_errors_say_what_may_be_asked(self, case):
        index = build(case.search, data(40))
        with pytest.raises(ValueError, match="from 1 to 40"):
            index.query(data(3), 41)
        with pytest.raises(ValueError, match="from 1 to 39"):
            index.query_self(40)
        with pytest.raises(ValueError, match="k=0"):
            index.query(data(3), 0)
        with pytest.raises(ValueError, match="do not fit a reference of 11 columns"):
            index.query(data(3, 5), 1)

    def test_rows_are_saved_once_and_as_they_are(self, case, metric):
        X = np.unique(data(), axis=0)
        _, arrays = named_state(build(case.search, X, metric=metric))
        assert np.shares_memory(arrays.pop("rows"), X)
        # No other array has as many numbers of the rows' kind: links and lists name rows.
        assert all(array.dtype.kind != "f" or array.size < X.size / 4 for array in arrays.values())


class TestPyNNDescent:
    """What the library lets us hold: true distances in order, valid rows, the same for the same seed."""

    @pytest.mark.slow  # half a minute of compilation inside the library
    def test_dense_manhattan(self):
        # One cloud, for in clumps that lie apart its queries reach recalls of a half only.
        X = np.random.default_rng(0).normal(size=(N, P)).astype(np.float32)
        X[::7] = X[3]
        Q = X[:40] + np.float32(0.1)
        index = build(PyNNDescent(), X, metric="manhattan")
        check_answer(index.query(Q, 15), reference.distances(Q, X, "manhattan"), 0.9)
        check_answer(index.query_self(15), reference.distances(X, X, "manhattan"), 0.9, itself=True)
        again = build(PyNNDescent(), X, metric="manhattan").query_self(15)
        for one, two in zip(index.query_self(15), again, strict=True):
            np.testing.assert_array_equal(one, two)

    def test_few_rows_are_searched_exactly(self):
        X = data(50)
        check_answer(build(PyNNDescent(), X).query_self(49), reference.distances(X, X), 1.0, itself=True)

    @pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
    def test_few_sparse_rows_are_searched_exactly(self, metric):
        X = sparse_rows(70)
        index = build(PyNNDescent(), X, metric=metric)
        D = reference.distances(X, X, metric)
        check_answer(index.query_self(20), D, 1.0, itself=True)
        check_answer(index.query(X[:9], 70), D[:9], 1.0)

    def test_few_rows_by_a_callable_are_searched_exactly(self):
        X = data(60)
        D = weighted_distances(X, X)
        index = build(PyNNDescent(), X, metric=weighted)
        check_answer(index.query_self(20), D, 1.0, itself=True)
        check_answer(index.query(X[:9], 60), D[:9], 1.0)

    def test_slips_show_before_the_library_is_loaded(self):
        with pytest.raises(ValueError, match="a callable metric takes no sparse rows"):
            build(PyNNDescent(), sparse_rows(400), metric=weighted)
        with pytest.raises(ValueError, match="metric='manhatan' is not known; did you mean 'manhattan'"):
            build(PyNNDescent(), sparse_rows(400), metric="manhatan")
        with pytest.raises(ValueError, match="do not fit a reference of 40 columns"):
            build(PyNNDescent(), sparse_rows(400)).query(sparse_rows(3)[:, :7], 2)

    @pytest.mark.slow  # 20 s: the library compiles its sparse half
    def test_sparse_cosine(self):
        X = sparse_rows(330)
        before = X.copy()
        index = build(PyNNDescent(), X, metric="cosine")
        D = reference.distances(X, X, "cosine")
        check_answer(index.query_self(10), D, 0.9, itself=True)
        check_answer(index.query(X[:60], 10), D[:60], 0.9)
        assert all(
            getattr(X, part).tobytes() == getattr(before, part).tobytes() for part in ("data", "indices", "indptr")
        )

    @pytest.mark.slow  # 50 s: it compiles itself anew for each callable
    def test_a_compiled_callable(self):
        X = np.random.default_rng(1).normal(size=(330, 6)).astype(np.float32)
        X[300:] = X[:30]
        index = build(PyNNDescent(), X, metric=numba.njit(weighted))
        D = weighted_distances(X, X)
        check_answer(index.query_self(10), D, 0.9, itself=True)
        check_answer(index.query(X[:60], 10), D[:60], 0.9)


def sparse_rows(n):
    """Rows of some eight entries in 40 columns, a tenth of them copies, the last two empty."""
    rng = np.random.default_rng(0)
    X = sparse.lil_array(rng.random((n, 40), np.float32) * (rng.random((n, 40)) < 0.2))
    X[: n // 10] = X[n // 2 : n // 2 + n // 10]
    X[n - 2 :] = 0
    return X.tocsr()


def weighted(a, b):
    total = 0.0
    for i in range(len(a)):
        total += (i + 1) * abs(a[i] - b[i])
    return total


def weighted_distances(Q, X):
    return (np.abs(Q[:, None].astype(np.float64) - X) * np.arange(1, X.shape[1] + 1)).sum(axis=2)


@pytest.mark.parametrize("k", [True, 2.5, "3", None])
@pytest.mark.parametrize("search", [Exact(), IVF(lists=4)], ids=["exact", "ivf"])
def test_a_number_of_neighbours_is_a_whole_number(search, k):
    index = build(search, data(40))
    for ask in (lambda: index.query(data(3), k), lambda: index.query_self(k)):
        with pytest.raises(TypeError) as caught:
            ask()
        assert str(caught.value) == f"k={k!r} is not a whole number"
    # Those of NumPy are.
    assert index.query(data(3), np.int64(3))[0].shape == (3, 3)
