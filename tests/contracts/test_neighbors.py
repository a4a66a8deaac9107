"""Every neighbour search keeps one contract, whatever it is made of."""

import json
import pickle
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import pytest
import reference_neighbors as reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from tsne_ooc._parallel import Threads
from tsne_ooc._state import Saved
from tsne_ooc.neighbors import HNSW, IVF, Annoy, Exact, PyNNDescent, named_state, restore_index
from tsne_ooc.neighbors._blocks import frozen

pytestmark = pytest.mark.filterwarnings(
    # SWIG's types inside faiss, on import; nothing a caller could change.
    "ignore:builtin type .* has no __module__ attribute:DeprecationWarning",
    # pynndescent compiles objects that NumPy 2.4 and Numba mean to drop.
    "ignore::numba.NumbaPendingDeprecationWarning",
)


@dataclass(frozen=True)
class Backend:
    search: Any
    recall: float  # 1: exact
    batches: bool = True  # answers do not depend on the batch
    threads: bool = True


BACKENDS = {
    "exact": Backend(Exact(), 1.0),
    "ivf": Backend(IVF(lists=20, probes=6), 0.9),
    "ivf-all-lists": Backend(IVF(lists=20, probes=20), 1.0),
    "ivf-one-probe": Backend(IVF(lists=60, probes=1), 0.1),
    "hnsw": Backend(HNSW(), 0.95),
    "annoy": Backend(Annoy(), 0.9),
}
N, P = 600, 11


def data(n=N, p=P, seed=0):
    """Clumps away from the origin, a third of the rows copies of others, some columns constant."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) + 5 * rng.normal(size=(8, p))[rng.integers(8, size=n)] + 30
    X[rng.integers(n, size=n // 3)] = X[rng.integers(n, size=n // 3)]
    X[:, -1] = 1
    return X.astype(np.float32)


def build(search, X, *, metric="euclidean", threads=2, seed=0, **options):
    return search.build(X, metric=metric, rng=np.random.default_rng(seed), threads=Threads(threads), **options)


def check_form(answer, q, k, n):
    indices, distances = answer
    assert indices.shape == distances.shape == (q, k)
    assert indices.dtype == np.uint32 and distances.dtype == np.float32
    assert indices.max() < n and np.isfinite(distances).all() and (distances >= 0).all()
    assert all(len(set(row)) == k for row in indices.tolist())
    gaps = np.diff(distances, axis=1)
    assert (gaps >= 0).all()
    assert (np.diff(indices.astype(np.int64), axis=1)[gaps == 0] > 0).all(), "ties must be ordered by row number"


def check_against_twin(answer, D, recall, *, itself=False):
    k = answer[0].shape[1]
    check_form(answer, len(D), k, D.shape[1])
    true = np.take_along_axis(D, answer[0].astype(np.int64), axis=1)
    np.testing.assert_allclose(answer[1], true, rtol=2e-7, atol=1e-12)
    indices, distances = reference.nearest(D, k, itself=itself)
    if recall == 1.0:
        np.testing.assert_array_equal(answer[0], indices)
        np.testing.assert_allclose(answer[1], distances, rtol=2e-7, atol=1e-12)
    # By distance: among copies one is as good as the other.
    assert np.mean(answer[1] <= distances[:, -1:] * (1 + 1e-6)) >= recall
    if itself:
        assert not (answer[0] == np.arange(len(D))[:, None]).any()


@pytest.fixture(params=BACKENDS)
def backend(request):
    if request.param == "annoy":
        pytest.importorskip("annoy")
    return BACKENDS[request.param]


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("k", [1, 15, 90])
def test_answers_those_of_the_twin(backend, metric, k):
    X = data()
    Q = np.concatenate([X[:20], data(40, seed=1)])
    index = build(backend.search, X, metric=metric)
    assert index.n == N and index.metric == metric
    check_against_twin(index.query(Q, k), reference.distances(Q, X, metric), backend.recall)
    check_against_twin(index.query_self(k), reference.distances(X, X, metric), backend.recall, itself=True)


def test_as_many_neighbours_as_there_are_rows(backend):
    X = data(40)
    index = build(backend.search, X)
    D = reference.distances(X, X)
    check_against_twin(index.query(X, 40), D, 1.0)
    check_against_twin(index.query_self(39), D, 1.0, itself=True)


def test_too_many_neighbours_is_an_error(backend):
    index = build(backend.search, data(40))
    with pytest.raises(ValueError, match="from 1 to 40"):
        index.query(data(3), 41)
    with pytest.raises(ValueError, match="from 1 to 39"):
        index.query_self(40)
    with pytest.raises(ValueError, match="k=0"):
        index.query(data(3), 0)
    with pytest.raises(ValueError, match="do not fit a reference of 11 columns"):
        index.query(data(3, 5), 1)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_copies_of_one_row_have_each_other(backend, metric):
    X = np.repeat(data(4), 100, axis=0)
    index = build(backend.search, X, metric=metric)
    D = reference.distances(X[::100], X, metric)[np.repeat(np.arange(4), 100)]
    check_against_twin(index.query_self(50), D, 1.0 if backend.recall == 1.0 else 0.5, itself=True)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("k", [1, 40, 300])
def test_copies_among_others(backend, metric, k):
    X = data(400)
    X[np.random.default_rng(1).permutation(400)[:200]] = X[np.repeat([3, 5, 8, 9], 50)]
    X[20:60] = 0
    X[60:90] = X[3] * 2
    index = build(backend.search, X, metric=metric)
    recall = backend.recall * (1.0 if backend.recall == 1.0 else 0.6)
    check_against_twin(index.query_self(k), reference.distances(X, X, metric), recall, itself=True)
    check_against_twin(index.query(X[:90], k), reference.distances(X[:90], X, metric), recall)


def test_rows_all_the_same(backend):
    X = np.full((300, P), 3, np.float32)
    answer = build(backend.search, X).query_self(20)
    check_form(answer, 300, 20, 300)
    assert not answer[1].any() and not (answer[0] == np.arange(300)[:, None]).any()


@pytest.mark.parametrize("name", BACKENDS)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 199), max_size=6))
def test_batches_do_not_matter(name, built, cuts):
    index = built(name)
    Q = data(200, seed=2)
    whole = index.query(Q, 30)
    edges = [0, *sorted(cuts), 200]
    parts = [index.query(Q[a:b], 30) for a, b in pairwise(edges) if b > a]
    for one, many in zip(whole, zip(*parts, strict=True), strict=True):
        assert one.tobytes() == np.concatenate(many).tobytes()


@pytest.fixture(scope="module")
def built():
    indices = {}

    def get(name):
        if name == "annoy":
            pytest.importorskip("annoy")
        if name not in indices:
            indices[name] = build(BACKENDS[name].search, data(), metric="cosine")
        return indices[name]

    return get


def test_single_rows_find_what_the_batch_finds(backend):
    index = build(backend.search, data())
    Q = data(200, seed=2)
    whole = index.query(Q, 7)
    for i in range(0, 200, 7):
        one = index.query(Q[i : i + 1], 7)
        assert one[0].tobytes() == whole[0][i].tobytes() and one[1].tobytes() == whole[1][i].tobytes()


def test_threads_and_repetition_do_not_matter(backend):
    X, Q = data(2500, 21), data(2100, 21, seed=2)
    answers = []
    for threads in (1, 2, 3, 2):
        index = build(backend.search, X, threads=threads)
        answers.append([a.tobytes() for a in (*index.query(Q, 20), *index.query_self(20))])
    assert answers[0] == answers[1] == answers[2] == answers[3]


def test_more_threads_than_any_machine_has_are_no_end(backend):
    answers = [build(backend.search, data(60), threads=n).query(data(5, seed=1), 3) for n in (1, 4096)]
    assert answers[0][0].tobytes() == answers[1][0].tobytes()


def test_inputs_may_be_read_only_and_stay_as_they_are(backend):
    X, Q = data(), data(30, seed=1)
    before = X.copy(), Q.copy()
    X.flags.writeable = Q.flags.writeable = False
    index = build(backend.search, X)
    index.query(Q, 5), index.query_self(5)
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(Q, before[1])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("same", [0, 300], ids=["few copies", "many copies"])
def test_saved_and_restored_it_answers_the_same_bits(backend, metric, same):
    X, Q = data(), data(150, seed=2)
    X[:same] = X[0]
    index = build(backend.search, X, metric=metric)
    content, arrays = named_state(index)
    content = json.loads(json.dumps(content, allow_nan=False))
    # Read-only, as those of a memory map are.
    arrays = {name: frozen(array) for name, array in arrays.items()}
    answers = []
    for one in (index, *(restore_index(Saved(content, arrays), Threads(n)) for n in (1, 3))):
        for each in (one, pickle.loads(pickle.dumps(one))):
            assert each.n == N and each.metric == metric
            answers.append([a.tobytes() for a in (*each.query(Q, 20), *each.query(X, 1), *each.query_self(7))])
            answers[-1].append(None if each.order is None else each.order.tobytes())
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_rows_are_saved_once_and_as_they_are(backend, metric):
    X = np.unique(data(), axis=0)
    _, arrays = named_state(build(backend.search, X, metric=metric))
    assert np.shares_memory(arrays.pop("rows"), X)
    # No other array has as many numbers of the rows' kind: links and lists name rows.
    assert all(array.dtype.kind != "f" or array.size < X.size / 4 for array in arrays.values())


def test_order_is_a_permutation(backend):
    order = build(backend.search, data()).order
    if order is not None:
        np.testing.assert_array_equal(np.sort(order), np.arange(N))
        X = data()
        steps = np.linalg.norm(np.diff(X[order], axis=0), axis=1).mean()
        assert steps < 0.7 * np.linalg.norm(np.diff(X, axis=0), axis=1).mean()


def test_no_queries_no_answers(backend):
    answer = build(backend.search, data()).query(np.empty((0, P), np.float32), 4)
    assert answer[0].shape == answer[1].shape == (0, 4)


class TestPyNNDescent:
    """What the library lets us hold: true distances in order, valid rows, the same for the same seed."""

    @pytest.mark.slow  # half a minute of compilation inside the library
    def test_dense_manhattan(self):
        # One cloud, for in clumps that lie apart its queries reach recalls of a half only.
        X = np.random.default_rng(0).normal(size=(N, P)).astype(np.float32)
        X[::7] = X[3]
        Q = X[:40] + np.float32(0.1)
        index = build(PyNNDescent(), X, metric="manhattan")
        check_against_twin(index.query(Q, 15), reference.distances(Q, X, "manhattan"), 0.9)
        check_against_twin(index.query_self(15), reference.distances(X, X, "manhattan"), 0.9, itself=True)
        again = build(PyNNDescent(), X, metric="manhattan").query_self(15)
        for one, two in zip(index.query_self(15), again, strict=True):
            np.testing.assert_array_equal(one, two)

    def test_few_rows_are_searched_exactly(self):
        X = data(50)
        check_against_twin(build(PyNNDescent(), X).query_self(49), reference.distances(X, X), 1.0, itself=True)

    @pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
    def test_few_sparse_rows_are_searched_exactly(self, metric):
        X = sparse_rows(70)
        index = build(PyNNDescent(), X, metric=metric)
        D = reference.distances(X, X, metric)
        check_against_twin(index.query_self(20), D, 1.0, itself=True)
        check_against_twin(index.query(X[:9], 70), D[:9], 1.0)

    def test_few_rows_by_a_callable_are_searched_exactly(self):
        X = data(60)
        D = weighted_distances(X, X)
        index = build(PyNNDescent(), X, metric=weighted)
        check_against_twin(index.query_self(20), D, 1.0, itself=True)
        check_against_twin(index.query(X[:9], 60), D[:9], 1.0)

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
        check_against_twin(index.query_self(10), D, 0.9, itself=True)
        check_against_twin(index.query(X[:60], 10), D[:60], 0.9)
        assert all(
            getattr(X, part).tobytes() == getattr(before, part).tobytes() for part in ("data", "indices", "indptr")
        )

    @pytest.mark.slow  # 50 s: it compiles itself anew for each callable
    def test_a_compiled_callable(self):
        X = np.random.default_rng(1).normal(size=(330, 6)).astype(np.float32)
        X[300:] = X[:30]
        index = build(PyNNDescent(), X, metric=numba.njit(weighted))
        D = weighted_distances(X, X)
        check_against_twin(index.query_self(10), D, 0.9, itself=True)
        check_against_twin(index.query(X[:60], 10), D[:60], 0.9)


def sparse_rows(n):
    """Rows of some eight entries in 40 columns, a tenth of them copies, the last two empty."""
    rng = np.random.default_rng(0)
    X = sparse.random_array((n, 40), density=0.2, rng=rng, dtype=np.float32, format="lil")
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
