"""The contract of neighbour searches, compared with brute force in double precision."""

from __future__ import annotations

import json
import pickle
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Float32, Float64, TableLike
from tsne_ooc.neighbors import Index, Neighbors, named_state, restore_index
from tsne_ooc.storage.state import Saved
from tsne_ooc.testing import brute_force
from tsne_ooc.testing.bits import assert_same_bits

N, P = 600, 11


def clumps(n: int = N, p: int = P, seed: int = 0) -> Float32:
    """Rows in clumps away from the origin; a third of the rows are copies of others, and one column is constant."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) + 5 * rng.normal(size=(8, p))[rng.integers(8, size=n)] + 30
    X[rng.integers(n, size=n // 3)] = X[rng.integers(n, size=n // 3)]
    X[:, -1] = 1
    return X.astype(np.float32)


def build(
    search: Neighbors, X: TableLike, *, metric: Any = "euclidean", threads: int = 2, seed: int = 0, **options: Any
) -> Index:
    """The index that a fit would ask for."""
    return search.build(X, metric=metric, rng=np.random.default_rng(seed), threads=Threads(threads), **options)


def check_form(answer: Any, q: int, k: int, n: int) -> None:
    """Check types, shapes and order of an answer for q queries among n rows."""
    indices, distances = answer
    assert indices.shape == distances.shape == (q, k)
    assert indices.dtype == np.uint32 and distances.dtype == np.float32
    assert indices.max() < n and np.isfinite(distances).all() and (distances >= 0).all()
    assert all(len(set(row)) == k for row in indices.tolist())
    gaps = np.diff(distances, axis=1)
    assert (gaps >= 0).all()
    assert (np.diff(indices.astype(np.int64), axis=1)[gaps == 0] > 0).all(), "ties must be ordered by row number"


def check_answer(answer: Any, D: Float64, recall: float, *, itself: bool = False) -> None:
    """Check an answer against all distances D: its own are true, and its share of the nearest is large enough."""
    k = answer[0].shape[1]
    check_form(answer, len(D), k, D.shape[1])
    true = np.take_along_axis(D, answer[0].astype(np.int64), axis=1)
    np.testing.assert_allclose(answer[1], true, rtol=2e-7, atol=1e-12)
    indices, distances = brute_force.smallest(D, k, itself=itself)
    if recall == 1.0:
        np.testing.assert_array_equal(answer[0], indices)
        np.testing.assert_allclose(answer[1], distances, rtol=2e-7, atol=1e-12)
    # They are compared by distance, because among copies one is as good as another.
    assert np.mean(answer[1] <= distances[:, -1:] * (1 + 1e-6)) >= recall
    if itself:
        assert not (answer[0] == np.arange(len(D))[:, None]).any()


class IndexContract:
    """What each `Neighbors` and the `Index` that it builds promise.

    Attributes
    ----------
    search : Neighbors
        The search, with its options.
    recall : float, default 1
        The least share of the nearest rows that it finds; 1 where it is exact.
    metrics : sequence of str
        The ones of euclidean and cosine that it takes. Override the fixture `metric` for others that SciPy has.
    """

    search: Neighbors
    recall: float = 1.0
    metrics: tuple[str, ...] = ("euclidean", "cosine")

    @pytest.fixture
    def case(self) -> Any:
        """The object with the attributes of this class: itself, unless a subclass has several searches."""
        return self

    @pytest.fixture(params=["euclidean", "cosine"])
    def metric(self, request: pytest.FixtureRequest, case: Any) -> str:
        if request.param not in case.metrics:
            pytest.skip(f"the search does not take the metric {request.param}")
        return str(request.param)

    @pytest.fixture
    def plain(self, case: Any) -> str:
        """The metric for tests that need only one."""
        return str(case.metrics[0])

    @pytest.mark.parametrize("k", [1, 15, 90])
    def test_answers_those_of_brute_force(self, case: Any, metric: str, k: int) -> None:
        X = clumps()
        Q = np.concatenate([X[:20], clumps(40, seed=1)])
        index = build(case.search, X, metric=metric)
        assert index.n == N and index.metric == metric
        check_answer(index.query(Q, k), brute_force.distances(Q, X, metric), case.recall)
        check_answer(index.query_self(k), brute_force.distances(X, X, metric), case.recall, itself=True)

    def test_as_many_neighbours_as_there_are_rows(self, case: Any, plain: str) -> None:
        X = clumps(40)
        index = build(case.search, X, metric=plain)
        D = brute_force.distances(X, X, plain)
        check_answer(index.query(X, 40), D, 1.0)
        check_answer(index.query_self(39), D, 1.0, itself=True)

    def test_what_cannot_be_answered_is_an_error(self, case: Any, plain: str) -> None:
        index = build(case.search, clumps(40), metric=plain)
        for k in (0, 41):
            with pytest.raises(ValueError):
                index.query(clumps(3), k)
        with pytest.raises(ValueError):
            index.query_self(40)
        with pytest.raises(ValueError):
            index.query(clumps(3, 5), 1)

    def test_copies_of_one_row_have_each_other(self, case: Any, metric: str) -> None:
        X = np.repeat(clumps(4), 100, axis=0)
        index = build(case.search, X, metric=metric)
        D = brute_force.distances(X[::100], X, metric)[np.repeat(np.arange(4), 100)]
        check_answer(index.query_self(50), D, 1.0 if case.recall == 1.0 else 0.5, itself=True)

    @pytest.mark.parametrize("k", [1, 40, 300])
    def test_copies_among_others(self, case: Any, metric: str, k: int) -> None:
        X = clumps(400)
        X[np.random.default_rng(1).permutation(400)[:200]] = X[np.repeat([3, 5, 8, 9], 50)]
        X[20:60] = 0
        X[60:90] = X[3] * 2
        index = build(case.search, X, metric=metric)
        recall = case.recall * (1.0 if case.recall == 1.0 else 0.6)
        check_answer(index.query_self(k), brute_force.distances(X, X, metric), recall, itself=True)
        check_answer(index.query(X[:90], k), brute_force.distances(X[:90], X, metric), recall)

    def test_rows_all_the_same(self, case: Any, plain: str) -> None:
        X = np.full((300, P), 3, np.float32)
        answer = build(case.search, X, metric=plain).query_self(20)
        check_form(answer, 300, 20, 300)
        assert not answer[1].any() and not (answer[0] == np.arange(300)[:, None]).any()

    def test_batches_do_not_matter(self, case: Any, metric: str) -> None:
        index = build(case.search, clumps(), metric=metric)
        Q = clumps(200, seed=2)
        whole = index.query(Q, 30)
        rng = np.random.default_rng(0)
        for cuts in (1, 2, 3, 5, 6, 6, 6, 6):
            edges = [0, *np.sort(rng.integers(1, 200, cuts)).tolist(), 200]
            parts = [index.query(Q[a:b], 30) for a, b in pairwise(edges) if b > a]
            for one, many in zip(whole, zip(*parts, strict=True), strict=True):
                assert_same_bits(np.concatenate(many), one)

    def test_single_rows_find_what_the_batch_finds(self, case: Any, plain: str) -> None:
        index = build(case.search, clumps(), metric=plain)
        Q = clumps(200, seed=2)
        whole = index.query(Q, 7)
        for i in range(0, 200, 7):
            one = index.query(Q[i : i + 1], 7)
            for of_one, of_all in zip(one, whole, strict=True):
                assert_same_bits(of_one[0], of_all[i])

    def test_threads_and_repetition_do_not_matter(self, case: Any, plain: str) -> None:
        X, Q = clumps(2500, 21), clumps(2100, 21, seed=2)
        answers = []
        for threads in (1, 2, 3, 2):
            index = build(case.search, X, metric=plain, threads=threads)
            answers.append([*index.query(Q, 20), *index.query_self(20)])
        for answer in answers[1:]:
            for found, wanted in zip(answer, answers[0], strict=True):
                assert_same_bits(found, wanted)

    def test_more_threads_than_any_machine_has_are_no_end(self, case: Any, plain: str) -> None:
        answers = [
            build(case.search, clumps(60), metric=plain, threads=n).query(clumps(5, seed=1), 3) for n in (1, 4096)
        ]
        assert_same_bits(answers[1][0], answers[0][0])

    def test_inputs_may_be_read_only_and_stay_as_they_are(self, case: Any, plain: str) -> None:
        X, Q = clumps(), clumps(30, seed=1)
        before = X.copy(), Q.copy()
        X.flags.writeable = Q.flags.writeable = False
        index = build(case.search, X, metric=plain)
        index.query(Q, 5), index.query_self(5)
        np.testing.assert_array_equal(X, before[0])
        np.testing.assert_array_equal(Q, before[1])

    @pytest.mark.parametrize("same", [0, 300], ids=["few copies", "many copies"])
    def test_saved_and_restored_it_answers_the_same_bits(self, case: Any, metric: str, same: int) -> None:
        X, Q = clumps(), clumps(150, seed=2)
        X[:same] = X[0]
        index = build(case.search, X, metric=metric)
        if type(index).state is Index.state:
            pytest.skip("the index has no state(), so models with it are not saved")
        content, arrays = named_state(index)
        content = json.loads(json.dumps(content, allow_nan=False))
        arrays = {name: array.copy() for name, array in arrays.items()}
        for array in arrays.values():
            # Arrays of a memory map are read-only, too.
            array.flags.writeable = False
        answers: list[list[Any]] = []
        for one in (index, *(restore_index(Saved(content, arrays), Threads(n)) for n in (1, 3))):
            for each in (one, pickle.loads(pickle.dumps(one))):
                assert each.n == N and each.metric == metric
                order = () if each.order is None else (each.order,)
                answers.append([*each.query(Q, 20), *each.query(X, 1), *each.query_self(7), *order])
        for answer in answers[1:]:
            for found, wanted in zip(answer, answers[0], strict=True):
                assert_same_bits(found, wanted)

    def test_order_is_a_permutation(self, case: Any, plain: str) -> None:
        X = clumps()
        order = build(case.search, X, metric=plain).order
        if order is not None:
            np.testing.assert_array_equal(np.sort(order), np.arange(N))
            steps = np.linalg.norm(np.diff(X[order], axis=0), axis=1).mean()
            assert steps < 0.7 * np.linalg.norm(np.diff(X, axis=0), axis=1).mean()

    def test_no_queries_no_answers(self, case: Any, plain: str) -> None:
        answer = build(case.search, clumps(), metric=plain).query(np.empty((0, P), np.float32), 4)
        assert answer[0].shape == answer[1].shape == (0, 4)
