"""A few rows far out ruin neither what a search finds nor how long it takes."""

import json
import pickle
import time

import numpy as np
import pytest
import reference_neighbors as reference

from tsne_ooc import TSNE, load
from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import HNSW, IVF, Exact, named_state, restore_index
from tsne_ooc.neighbors.reach import ReachIndex, split
from tsne_ooc.storage.state import Saved, StateError

pytestmark = pytest.mark.filterwarnings("ignore:builtin type .* has no __module__ attribute:DeprecationWarning")
N, P, K = 1200, 8, 15
SEARCHES = {"exact": Exact(), "ivf": IVF(lists=40), "hnsw": HNSW()}


def build(search, X, metric="euclidean", threads=2):
    return search.build(X, metric=metric, rng=np.random.default_rng(0), threads=Threads(threads))


def rows(n=N, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, P)) + 6 * np.random.default_rng(9).normal(size=(12, P))[rng.integers(12, size=n)] + 3


def one_row(X, size):
    X[7] = size


def one_cell(X, size):
    X[7, 2] = -size


def a_column(X, size):
    X[:, 3] = size


def a_percent(X, size):
    X[::100] *= size


def far_and_farther(X, size):
    X[5], X[6], X[7] = size, -np.sqrt(size), size
    X[7, 0] *= 1.5


def copies_far_out(X, size):
    X[10:20] = size


FORMS = [one_row, one_cell, a_column, a_percent, far_and_farther, copies_far_out]
SIZES = [1e3, 1e5, 1e7, 1e12, 1e20, 1e30, 1e37]


def table(form, size):
    X = rows()
    form(X, size)
    # 1 % of rows times 1e37 would be beyond single precision.
    return np.clip(X, -3e38, 3e38).astype(np.float32)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("size", SIZES)
def test_rows_far_out_change_no_neighbours(search, form, size):
    X = table(form, size)
    Q = np.concatenate([rows(40, 1).astype(np.float32), X[:30]])
    Q[0], Q[1, 2], Q[2] = size, size, 3e38
    index = build(SEARCHES[search], X)
    largest = np.finfo(np.float32).max
    for answer, D, itself in (
        (index.query(Q, K), np.minimum(reference.distances(Q, X), largest), False),
        (index.query_self(K), np.minimum(reference.distances(X, X), largest), True),
    ):
        indices, distances = reference.nearest(D, K, itself=itself)
        if search == "exact":
            np.testing.assert_array_equal(answer[0], indices)
            np.testing.assert_allclose(answer[1], distances, rtol=2e-7, atol=1e-12)
        true = np.take_along_axis(D, answer[0].astype(np.int64), axis=1)
        np.testing.assert_allclose(answer[1], true, rtol=2e-7, atol=1e-12)
        assert (answer[1] <= distances[:, -1:].astype(float) * (1 + 1e-6)).mean() > 0.93
        assert all(len(set(row)) == K for row in answer[0].tolist())
        if itself:
            assert not (answer[0] == np.arange(len(X))[:, None]).any()


@pytest.mark.parametrize("search", ["exact", "ivf"])
@pytest.mark.parametrize("size", [1e7, 1e20])
def test_it_takes_no_longer(search, size):
    """One row took 40 times as long, and more with the square of the rows."""
    X = rows(6000).astype(np.float32)
    took = [np.inf, np.inf]
    # Once more than measured, for kernels are loaded, and the better of two, for other work is about.
    for far in (False, True) * 3:
        X[7] = size if far else X[8] + 1
        before = time.process_time()
        build(SEARCHES[search], X).query_self(K)
        took[far] = min(took[far], time.process_time() - before)
    assert took[1] < 3 * took[0] + 0.3


@pytest.mark.parametrize("search", SEARCHES)
def test_saved_pickled_batched_and_threaded_the_bits_are_the_same(search):
    X = table(a_percent, 1e20)
    Q = np.concatenate([rows(30, 1).astype(np.float32), X[95:105]])
    index = build(SEARCHES[search], X)
    assert isinstance(index, ReachIndex)
    content, arrays = named_state(index)
    content = json.loads(json.dumps(content, allow_nan=False))
    others = [restore_index(Saved(content, arrays), Threads(1)), pickle.loads(pickle.dumps(index))]
    others.append(build(SEARCHES[search], X, threads=3))
    whole = index.query(Q, K)
    for other in others:
        for one, two in zip([*whole, *index.query_self(K)], [*other.query(Q, K), *other.query_self(K)], strict=True):
            assert one.tobytes() == two.tobytes()
        assert (index.order is None) == (other.order is None)
    parts = [index.query(Q[i : i + 1], K) for i in range(len(Q))]
    for one, many in zip(whole, zip(*parts, strict=True), strict=True):
        assert one.tobytes() == np.concatenate(many).tobytes()
    if index.order is not None:
        np.testing.assert_array_equal(np.sort(index.order), np.arange(N))


@pytest.mark.parametrize("search", SEARCHES)
def test_queries_of_another_width_are_refused(search):
    index, X = build(SEARCHES[search], table(a_percent, 1e20)), rows(9, 1).astype(np.float32)
    for Q in (X[:, 1:], np.concatenate([X, X], axis=1)):
        with pytest.raises(ValueError, match=rf"{Q.shape[1]}\) do not fit .* {X.shape[1]} columns"):
            index.query(Q, K)
    assert index.query(X, K)[0].shape == (9, K)


def test_more_neighbours_than_there_are_rows_within_reach():
    X = table(a_percent, 1e20)
    D = reference.distances(X, X)
    for got, want in zip(build(Exact(), X).query_self(N - 1), reference.nearest(D, N - 1, itself=True), strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-7)


def test_most_tables_are_left_as_they_are():
    threads = Threads(2)
    rng = np.random.default_rng(0)
    for X in (
        rows(), rng.normal(size=(N, 1)), rng.lognormal(0, 2, size=(N, P)), rng.random((N, P)) < 0.1, np.ones((N, P)),
        rows(1), rows(2), rng.normal(size=(N, P)) * 1e30, rng.standard_cauchy(size=(N, P)), table(a_column, 1e20),
        np.concatenate([rows(N // 2), rows(N // 2) * 1e9]),
    ):  # fmt: skip
        assert split(np.ascontiguousarray(X, np.float32), threads) is None
    assert not isinstance(build(Exact(), table(one_row, 1e20), "cosine"), ReachIndex)


def test_a_state_that_cannot_be_is_refused():
    content, arrays = named_state(build(Exact(), table(one_row, 1e20)))
    for change in (
        {"numbers": np.array([N], np.uint32)}, {"far": arrays["far"][:0], "numbers": arrays["numbers"][:0]},
        {"middle": arrays["middle"][:-1]}, {"far": arrays["far"][:, :-1]},
    ):  # fmt: skip
        with pytest.raises(StateError):
            restore_index(Saved(content, arrays | change), Threads(1))
    nested = {"kind": "reach", "radius": 1.0, "inner": content}
    inner = {f"inner.{name}": array for name, array in arrays.items()}
    with pytest.raises(StateError, match="unknown kind"):
        restore_index(Saved(nested, {**arrays, **inner}), Threads(1))


def test_a_map_with_one_row_far_out(tmp_path):
    X = table(one_row, 1e20)
    options = {"perplexity": 5, "random_state": 0, "n_iter": 5, "early_exaggeration_iter": 5, "neighbors": "ivf"}
    model = TSNE(**options).fit(X)
    model.save(tmp_path / "model")
    places = model.transform(X)
    assert places.tobytes() == load(tmp_path / "model").transform(X).tobytes() and np.isfinite(places).all()
    np.testing.assert_array_equal(places, model.embedding_)


@pytest.mark.parametrize("scale", [1, 1e-3, 1e-10, 1e-30])
def test_queries_however_far_out_have_neighbours(scale):
    """Products with them were infinite, and the numbers of rows that came back were none."""
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(N, P)) * scale).astype(np.float32)
    Q = np.zeros((7, P), np.float32)
    Q[0], Q[1, 2], Q[2], Q[3], Q[4], Q[5, 0], Q[6] = 3e38, 1e30, -1e20, 1e10, 1e5 * scale, 1e13 * scale, -2e38
    indices, distances = reference.nearest(np.minimum(reference.distances(Q, X), np.finfo(np.float32).max), K)
    for name, search in SEARCHES.items():
        found = build(search, X).query(Q, K)
        np.testing.assert_allclose(found[1], distances, rtol=1e-5)
        assert found[0].max() < N
        if name == "exact":
            np.testing.assert_array_equal(found[0], indices)


def slow_split(X, sample):
    """Middle and reach from `sample` rows at equal distances, in double precision, and who is beyond."""
    n = len(X)
    m = min(n, sample)
    at = [0] if m == 1 else [int(i * (n - 1) / (m - 1)) for i in range(m)]
    some = X[at].astype(float)
    middle = np.median(some, axis=0)
    reach = 1024 * np.median([np.abs(row - middle).max() for row in some])
    beyond = [row for row in range(n) if np.abs(X[row] - middle).max() > reach]
    return middle, reach, beyond


@pytest.mark.parametrize("sample", [1, 2, 5, 6, 1000])
@pytest.mark.parametrize("scale", [1e-6, 3.0])
def test_the_middle_and_the_reach_are_told_by_rows_from_all_over(sample, scale, monkeypatch):
    monkeypatch.setattr("tsne_ooc.neighbors.reach.SAMPLE", sample)
    found = 0
    for n in (*range(1, 14), 60):
        X = (np.random.default_rng(n).normal(size=(n, 3)) * scale + 0.1).astype(np.float32)
        X[n // 3, 1] = -1e9 * scale
        middle, reach, beyond = slow_split(X, sample)
        told = split(X, Threads(1))
        assert (told is not None) == (reach > 0 and 0 < len(beyond) <= max(1, 0.02 * n))
        if told is not None:
            np.testing.assert_array_equal(told[0], middle)
            assert told[0].dtype == np.float64 and told[1] == reach
            assert build(Exact(), X)._numbers.tolist() == beyond
            found += 1
    assert found or sample == 1


@pytest.mark.parametrize("name", ["exact", "ivf"])
@pytest.mark.parametrize("scale", [1.0, 1e-6])
@pytest.mark.parametrize(("n", "far"), [(2, 1), (3, 1), (4, 1), (9, 1), (101, 2)])
def test_any_number_of_neighbours_of_few_rows(name, scale, n, far):
    """Up to all of them, from any side of the reach, in whole and in part; and once more from a file."""
    rng = np.random.default_rng(n)
    X = rng.normal(size=(n, 3)).astype(np.float32) * np.float32(scale)
    numbers = [n // 2, n - 1][:far]
    X[numbers] = np.float32([[3e6, 0, 1], [3e6, 2, 1]])[:far] * np.float32(scale)
    middle = np.median(np.delete(X, numbers, axis=0), axis=0).astype(np.float64)
    inner = (Exact() if name == "exact" else IVF(lists=2, probes=2)).build(
        np.delete(X, numbers, axis=0), rng=np.random.default_rng(0), threads=Threads(1)
    )
    index = ReachIndex(inner, X[numbers], np.uint32(numbers), middle, 1024.0 * scale, Threads(1))
    content, arrays = named_state(index)
    again = restore_index(Saved(json.loads(json.dumps(content)), arrays), Threads(2))
    Q = np.concatenate([X[:2], np.float32([[2e6, 0, 0], [1.4e6, 0, 0], [900, 5, 0], [-900, 0, 0]]) * np.float32(scale)])
    D, own = reference.distances(Q, X), reference.distances(X, X)
    for k in sorted({1, 2, max(1, n - 2), n - 1, n} if n < 20 else {1, 98, 99, 100, 101}):
        if not 0 < k <= n:
            continue
        for one in (index, again):
            for got, want in zip(one.query(Q, k), reference.nearest(D, k), strict=True):
                np.testing.assert_allclose(got, want, rtol=2e-7)
            if k == n:
                continue
            whole = reference.nearest(own, k, itself=True)
            for got, want in zip(one.query_self(k), whole, strict=True):
                np.testing.assert_allclose(got, want, rtol=2e-7)
            if name == "exact" or inner.n < 2:
                assert one.query_part(0, n, k) is None
                continue
            order = one.order
            assert order.dtype == np.uint32 and order[-far:].tolist() == numbers
            for start, stop in ((0, n), (n - far, n), (0, n - far), (n - far - 1, n - far + 1), (n - 1, n)):
                for got, want in zip(one.query_part(start, stop, k), whole, strict=True):
                    np.testing.assert_allclose(got, want[order[start:stop]], rtol=2e-7)
