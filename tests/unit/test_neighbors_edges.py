"""Neighbours at each limit: rows far out, copies, scales, the last row and the last column, and k-means."""

from __future__ import annotations

import warnings
from itertools import pairwise
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from edges_of_searches import ONE
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

from tsne_ooc.neighbors import HNSW, IVF, Exact, Graph, kmeans
from tsne_ooc.neighbors.distinct import Copies, DistinctIndex, find_copies
from tsne_ooc.neighbors.precomputed import distances_of
from tsne_ooc.neighbors.reach import ReachIndex, split, within_reach
from tsne_ooc.neighbors.scaled import ScaledIndex, exponent_for, scaled
from tsne_ooc.neighbors.scaled import build as build_scaled
from tsne_ooc.storage.state import Saved

# ----------------------------------------------------------------------------------------- rows far out, copies, scales


def around(n, far, times):
    """Rows whose largest difference from the middle is 1, or so many times that."""
    X = np.zeros((n, 3), np.float32)
    X[::2, 0], X[1::2, 0] = 1, -1
    if far:
        X[:far, 1] = times
    return X


@pytest.mark.parametrize(
    ("n", "far", "times", "apart"),
    [
        (100, 1, 1025, True), (100, 1, 1024, False), (100, 1, 1023, False), (100, 2, 1025, True), (100, 3, 1025, False),
        (148, 2, 1025, True), (150, 3, 1025, True), (10, 1, 1025, True), (10, 2, 1025, False), (100, 0, 0, False),
        (100, 1, -1025, True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("piece", [7, 1 << 14])
def test_which_rows_are_out_of_reach(n, far, times, apart, piece, monkeypatch):
    """Those a thousand times as far out as a typical one, where they are at most one in fifty, or a single one."""
    monkeypatch.setattr("tsne_ooc.neighbors.reach.PIECE", piece)
    X = np.roll(around(n, far, times), 4, axis=0)
    before = X.copy()
    index = within_reach(X, lambda rows: Exact().build(rows, threads=ONE), ONE)
    assert isinstance(index, ReachIndex) == apart == (split(X, ONE) is not None)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(index.rows, X)
    if apart:
        assert index._numbers.tolist() == list(range(4, 4 + far)) and index._inner.n == n - far
        middle, radius = split(X, ONE)
        np.testing.assert_array_equal(middle, np.median(X, axis=0))
        assert radius == 1024
    D = cdist(X.astype(float), X.astype(float))
    np.testing.assert_allclose(index.query(X, 3)[1], np.sort(D, axis=1)[:, :3], rtol=1e-6)


def test_the_nearest_of_the_rows_beyond_tells_which_queries_meet_them():
    """One that is still within reach may be nearer to a row beyond than to any other, however far out others are."""
    X = around(100, 2, 1100.0)
    X[1, 1] = -1e7
    index = within_reach(X, lambda rows: Exact().build(rows, threads=ONE), ONE)
    assert isinstance(index, ReachIndex) and index._numbers.tolist() == [0, 1]
    Q = np.float32([[0, 900, 0], [0, 700, 0], [0, -900, 0], [0, 1, 0]])
    indices, distances = index.query(Q, 3)
    np.testing.assert_allclose(distances, np.sort(cdist(Q, X), axis=1)[:, :3], rtol=1e-6)
    assert indices[:2, 0].tolist() == [0, 0] and (indices[2:] > 1).all()


def test_rows_that_are_all_in_the_middle_have_no_reach():
    X = np.ones((50, 2), np.float32)
    X[0] = 1e9
    assert split(X, ONE) is None


@pytest.mark.parametrize(
    ("search", "copies", "distinct"),
    [
        (Exact(), 32, False),
        (Exact(), 33, True),
        (IVF(), 32, False),
        (IVF(), 33, True),
        (HNSW(), 4, False),
        (HNSW(), 5, True),
    ],
)
def test_from_how_many_copies_on_the_distinct_rows_are_searched(search, copies, distinct):
    X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    X[10 : 10 + copies] = X[10]
    index = search.build(X, rng=np.random.default_rng(0), threads=ONE)
    assert isinstance(index, DistinctIndex) == distinct
    if distinct:
        assert index._inner.n == 61 - copies
    D = cdist(X, X)
    np.testing.assert_allclose(index.query(X, 5)[1], np.sort(D, axis=1)[:, :5], atol=1e-5)


@pytest.mark.parametrize("form", [np.asarray, csr_array])
@pytest.mark.parametrize("few", [1, 2, 3, 7])
def test_copies_are_numbered_as_they_first_appear(form, few):
    rng = np.random.default_rng(few)
    kinds = rng.integers(0, 12, 40)
    X = np.round(rng.normal(size=(12, 4)), 1).astype(np.float32)[kinds]
    most = np.bincount(kinds).max()
    found = find_copies(form(X), ONE, few)
    assert (found is None) == (most <= few)
    if found is not None:
        seen = {}
        wanted = [seen.setdefault(tuple(row), len(seen)) for row in X.tolist()]
        assert found.of.tolist() == wanted
        for number in range(len(seen)):
            mine = found.members[found.starts[number] : found.starts[number + 1]]
            assert mine.tolist() == [row for row in range(40) if wanted[row] == number]
        assert found.first.tolist() == [wanted.index(number) for number in range(len(seen))]
    assert find_copies(form(X), ONE, int(most)) is None and find_copies(form(X), ONE, int(most) - 1) is not None


def test_among_distinct_rows_a_search_is_asked_for_no_more_than_there_are():
    """The share that is found of more is that of all; a single row has nothing to miss."""
    asked = []
    inner = SimpleNamespace(n=4, metric="euclidean", sparse=False, recall=lambda k: asked.append(k) or 0.5)
    index = DistinctIndex(Copies.from_numbers(np.array([0, 1, 1, 2, 3, 3, 3])), inner, ONE)
    assert [index.recall(k) for k in (1, 3, 4, 6)] == [0.5] * 4 and asked == [1, 3, 3, 3]
    inner.n = 1
    assert DistinctIndex(Copies.from_numbers(np.zeros(5, np.int64)), inner, ONE).recall(2) == 1.0 and len(asked) == 4


@pytest.mark.parametrize(
    ("largest", "exponent"),
    [
        (0.0, 0), (1.0, 0), (2.0**-31, 0), (np.nextafter(np.float32(2.0**-31), np.float32(0)), 1), (2.0**-32, 1),
        (2.0**-100, 69), (np.nextafter(np.float32(2.0**50), np.float32(0)), 0), (2.0**50, -1), (2.0**127, -78),
    ],
)  # fmt: skip
def test_which_scales_are_extreme(largest, exponent):
    """Those of numbers below 2^-31, and from 2^50 up; they are brought just within these."""
    for sign in (1, -1):
        X = np.float32([[0, 0], [0, sign * largest], [0, 0]])
        for rows in (X, csr_array(X)):
            assert exponent_for(rows) == exponent
            before = rows.copy()
            made = scaled(rows, exponent)
            assert abs(made - before * np.float64(2.0) ** exponent).max() == 0
            assert abs(rows - before).max() == 0
            if exponent == 0:
                values = made if isinstance(made, np.ndarray) else made.data
                values[...] = 9
                assert abs(rows - before).max() == 0


def test_what_grows_too_large_is_the_largest_number():
    most = np.finfo(np.float32).max
    made = scaled(np.float32([[1e38, -1e38, 3, np.inf]]), 10)
    np.testing.assert_array_equal(made, np.float32([[most, -most, 3 * 1024, most]]))


# -------------------------------------------------------------------------------------------------------------- k-means


@pytest.mark.parametrize("gaps", [False, True])
def test_each_round_moves_centres_to_the_mean_of_their_rows(gaps):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(90, 3)) + 9 * rng.normal(size=(5, 3))[rng.integers(0, 5, 90)]).astype(np.float32)
    if gaps:
        X[::9, 1] = np.nan
    from tsne_ooc.neighbors.gaps import gap_blocks

    ready = gap_blocks if gaps else kmeans.centre_blocks
    made = [kmeans.train(X, 6, rounds, rng=np.random.default_rng(3), threads=ONE, ready=ready) for rounds in range(4)]
    filled = np.nan_to_num(X)
    # They start from rows, no row twice.
    assert len({tuple(row) for row in made[0].tolist()}) == 6
    assert all((filled == row).all(axis=1).any() for row in made[0])
    for before, after in pairwise(made):
        there = ~np.isnan(X)[:, None]
        squares = np.where(there, (X[:, None] - before) ** 2, 0).sum(2) / there.sum(2)
        label = squares.argmin(1)
        for number in range(6):
            mine = X[label == number]
            assert len(mine)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                np.testing.assert_allclose(after[number], np.nan_to_num(np.nanmean(mine, axis=0)), rtol=1e-5, atol=1e-5)


def test_a_centre_without_rows_is_moved_to_a_row():
    """Of ten places most centres start on the same one: all but one of these have no rows."""
    X = np.repeat(np.random.default_rng(0).normal(size=(10, 2)), 30, axis=0).astype(np.float32)
    places = {tuple(row) for row in X.tolist()}
    for rounds in (1, 3):
        centres = kmeans.train(X, 40, rounds, rng=np.random.default_rng(1), threads=ONE)
        near = cdist(centres, np.array(list(places))).min(1)
        assert near.max() < 1e-6
    assert len(np.unique(np.round(centres, 5), axis=0)) >= 8


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 16, 33])
def test_centres_in_a_row_are_in_the_order_of_a_line(n):
    along = np.random.default_rng(n).permutation(n).astype(np.float32)
    centres = along[:, None] * np.float32([[3, 1]]) + 100
    order = kmeans.seriate(centres)
    assert sorted(order.tolist()) == list(range(n))
    found = along[order]
    if n > 2:
        # Each half is on one side of the middle, and so is each half of a half.
        first, second = found[: n // 2], found[n // 2 :]
        assert max(first) < min(second) or min(first) > max(second)
    assert kmeans.seriate(np.ones((n, 2), np.float32)).tolist() == list(range(n))


@pytest.mark.parametrize("rows", [1, 6, 7, 8, 20])
def test_rows_are_scaled_in_pieces(rows, monkeypatch):
    monkeypatch.setattr("tsne_ooc.neighbors.scaled.PIECE", 7)
    X = np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)
    np.testing.assert_array_equal(scaled(X, 5), X * 32)
    np.testing.assert_array_equal(scaled(X, -5), X / 32)


METRICS = [
    "euclidean",
    "l2",
    "manhattan",
    "l1",
    "cityblock",
    "chebyshev",
    "linf",
    "minkowski",
    "nan_euclidean",
    "sqeuclidean",
]


@pytest.mark.parametrize("exponent", [-90, 70])
@pytest.mark.parametrize("metric", METRICS)
def test_distances_of_an_extreme_scale_are_told_with_their_unit(metric, exponent):
    """Rows are brought to another scale by a power of two, and distances by that or, of squares, by its square."""
    X = (np.random.default_rng(0).normal(size=(30, 4)) * 2.0**exponent).astype(np.float32)
    for params in (
        None,
        {"w": np.arange(1.0, 5)} if metric in ("cityblock", "minkowski", "euclidean", "sqeuclidean") else None,
    ):
        options = {"metric": metric, "metric_params": params, "rng": np.random.default_rng(0), "threads": ONE}
        index = build_scaled(Exact(), X, **options)
        assert isinstance(index, ScaledIndex)
        name = {
            "l2": "euclidean",
            "nan_euclidean": "euclidean",
            "manhattan": "cityblock",
            "l1": "cityblock",
            "linf": "chebyshev",
        }
        D = cdist(X.astype(float), X.astype(float), name.get(metric, metric), **(params or {}))
        for k, (_, found) in ((30, index.query(X, 30)), (29, index.query_self(29))):
            wanted = np.sort(D, axis=1)[:, 30 - k :]
            np.testing.assert_allclose(found * np.float64(index.unit), wanted, rtol=1e-5)
        assert 2.0**-62 < found.max() < 2.0**110
        np.testing.assert_array_equal(index.rows, X)


def test_metrics_without_a_scale_are_searched_as_they_are():
    X = (np.random.default_rng(0).random((30, 4)) * 2.0**-90).astype(np.float32)
    for metric, params in (
        ("cosine", None),
        ("correlation", None),
        ("canberra", None),
        ("seuclidean", {"V": np.ones(4)}),
    ):
        index = build_scaled(
            Exact(), X, metric=metric, metric_params=params, rng=np.random.default_rng(0), threads=ONE
        )  # fmt: skip
        assert not isinstance(index, ScaledIndex) and index.unit == 1


# ------------------------------------------------------------------------------------- the last row and the last column


def test_what_the_last_row_or_column_does_not_hold_is_no_smaller_table(tmp_path):
    """The largest number that is named somewhere is not how many there are."""
    from tsne_ooc.neighbors.given_graphs import nearest_of, of_scanpy
    from tsne_ooc.neighbors.precomputed import Precomputed
    from tsne_ooc.neighbors.saved import named_state, restore_index

    n, k = 9, 2
    near = np.array([[(row + 1) % 7, (row + 2) % 7] for row in range(n)])
    apart = np.tile(np.float64([0.5, 1.5]), (n, 1))
    for graph in (Graph((near, apart)), Graph(Graph((near, apart)).matrix())):
        assert (graph.n, graph.k, graph.matrix().shape) == (n, k, (n, n))
    # As anndata writes it.
    with h5py.File(tmp_path / "cells.h5ad", "w") as file:
        group = file.create_group("obsp/distances")
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": (n, n)})
        group["data"], group["indices"], group["indptr"] = apart.ravel(), near.ravel(), np.arange(n + 1) * k
    assert of_scanpy(tmp_path / "cells.h5ad").shape == (n, n) and Graph(tmp_path / "cells.h5ad").n == n
    # A last row without a neighbour is one that has none.
    short = csr_array((apart.ravel()[:-k], near.ravel()[:-k], [*range(0, n * k, k), (n - 1) * k]), shape=(n, n))
    with pytest.raises(ValueError, match=f"^row {n - 1} has no neighbour in the graph; each row needs one$"):
        nearest_of(short)
    made = distances_of(short)
    assert made.shape == (n, n) and np.diff(made.indptr).tolist() == [k] * (n - 1) + [0]
    with pytest.raises(ValueError, match=f"^row {n - 1} has 0 precomputed neighbours at a finite distance"):
        Precomputed().build(short, threads=ONE).query_self(1)
    found = Precomputed().build(Graph((near, apart)).matrix(), threads=ONE)
    np.testing.assert_array_equal(found.query(short[: n - 1], k)[0], found.query_self(k)[0][: n - 1])
    # Sparse rows of which none has the last column come back with it.
    X = np.random.default_rng(0).random((n, 5)).astype(np.float32)
    X[:, 4] = 0
    index = Exact().build(csr_array(X), metric="euclidean", threads=ONE)
    again = restore_index(Saved(*named_state(index)), ONE)
    np.testing.assert_array_equal(again.query(csr_array(X), 3)[1], index.query(csr_array(X), 3)[1])


@pytest.mark.parametrize("known", [0, 1, 2, 5])
def test_a_column_that_few_rows_of_a_list_have_is_at_their_mean(known):
    """Of two lists far from each other; what no row of a list has stands for 0, the middle."""
    from tsne_ooc.neighbors.gaps import gap_blocks

    X = np.zeros((20, 3), np.float32)
    X[:10, 0], X[10:, 0] = -50, 50
    X[:, 1] = np.random.default_rng(known).normal(4, 1, 20)
    X[known:10, 1] = np.nan
    centres = kmeans.train(X, 2, 3, rng=np.random.default_rng(0), threads=ONE, ready=gap_blocks)
    first, second = centres[np.argsort(centres[:, 0])]
    wanted = X[:known, 1].astype(float).mean() if known else 0
    np.testing.assert_allclose(first, [-50, wanted, 0], rtol=1e-6)
    np.testing.assert_allclose(second, [50, X[10:, 1].astype(float).mean(), 0], rtol=1e-6)


def test_a_mean_of_many_rows_has_all_its_digits():
    """The sum of forty thousand single numbers, one after the other, would have lost three of them."""
    X = np.full((40_001, 2), 0.1, np.float32)
    X[-1] = -9
    centres = kmeans.train(X, 2, 2, rng=np.random.default_rng(7), threads=ONE)
    assert abs(centres.max() - np.float32(0.1)) <= 1e-8


def test_a_row_is_as_likely_to_get_a_centre_as_its_list_is_long():
    X = np.repeat(np.float32([[0, 0], [9, 9], [30, 0]]), [2, 10, 28], axis=0)
    asked, plain = [], np.random.default_rng(0)

    def choice(n, size, **more):
        asked.append((n, size, more))
        # All start on the first rows, so that one has none of the rows.
        return np.array([0, 2, 12, 1]) if "p" not in more else plain.choice(n, size, **more)

    kmeans.train(X, 4, 1, rng=SimpleNamespace(choice=choice), threads=ONE)
    (_, first, told), (n, size, more) = asked
    assert first == 4 and told == {"replace": False} and (n, size) == (40, 1)
    wanted = np.repeat([2, 10, 28], [2, 10, 28]).astype(float)
    np.testing.assert_allclose(more["p"], wanted / wanted.sum(), rtol=1e-12)
