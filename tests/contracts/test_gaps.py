"""Neighbours by the columns that both rows have: scikit-learn's `nan_euclidean_distances`, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics.pairwise import nan_euclidean_distances

from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import HNSW, IVF, Annoy, Exact, PyNNDescent, named_state, resolve, restore_index
from tsne_ooc.neighbors import build as built
from tsne_ooc.neighbors.gaps import GapFrame
from tsne_ooc.storage.state import Saved, StateError

EVERYWHERE = IVF(lists=20, probes=20)
SEARCHES = {"exact": Exact(), "all lists": EVERYWHERE, "some lists": IVF(lists=20, probes=5), "one list": IVF(60, 1)}


def table(n=400, p=11, share=0.2, seed=0, whole=False):
    """Clumps of rows, or whole numbers with many ties; a column is there in every row."""
    rng = np.random.default_rng(seed)
    X = rng.normal(0, 4, (6, p))[rng.integers(0, 6, n)] + rng.normal(size=(n, p))
    X = np.rint(X / 3) if whole else X + np.arange(p)
    X[rng.random(X.shape) < share] = np.nan
    X[:, 0] = np.nan_to_num(X[:, 0], nan=1.0)
    return X.astype(np.float32)


def build(search, X, seed=0, threads=2):
    return built(
        search, X, metric="nan_euclidean", metric_params=None, rng=np.random.default_rng(seed), threads=Threads(threads)
    )


def slow(Q, X):
    """Distances as they are defined, a pair at a time; NaN where nothing is shared."""
    Q, X = Q.astype(np.float64), X.astype(np.float64)
    out = np.full((len(Q), len(X)), np.nan)
    for i, a in enumerate(Q):
        for j, b in enumerate(X):
            both = ~np.isnan(a) & ~np.isnan(b)
            if both.any():
                out[i, j] = np.sqrt(np.square(a[both] - b[both]).sum() * (len(a) / both.sum()))
    return out


def check(answer, D, *, itself=False):
    """The nearest of each row of D, with ties by number where D is exact."""
    indices, distances = answer
    D = D.copy()
    if itself:
        np.fill_diagonal(D, np.nan)
    k = indices.shape[1]
    np.testing.assert_allclose(distances, np.sort(D, axis=1)[:, :k], rtol=2e-6, atol=1e-7 * np.nanmax(D))
    named = np.take_along_axis(D, indices.astype(np.int64), axis=1)
    np.testing.assert_allclose(distances, named, rtol=2e-6, atol=1e-7 * np.nanmax(D))
    assert all(len(set(row)) == k for row in indices.tolist())
    same = np.diff(distances, axis=1) == 0
    assert (np.diff(distances, axis=1) >= 0).all() and (np.diff(indices.astype(np.int64), axis=1)[same] > 0).all()


@pytest.mark.parametrize("whole", [False, True], ids=["clumps", "ties"])
@pytest.mark.parametrize("share", [0.2, 0.6])
@pytest.mark.parametrize("p", [1, 3, 65])
@pytest.mark.parametrize("search", [Exact(), EVERYWHERE], ids=["exact", "all-lists"])
def test_as_scikit_learn_defines_it(search, p, share, whole):
    X, Q = table(300, p, share, whole=whole), table(70, p, share, seed=1, whole=whole)
    theirs, among = nan_euclidean_distances(Q.astype(float), X.astype(float)), nan_euclidean_distances(X.astype(float))
    index = build(search, X)
    for k in (1, 15, 299):
        check(index.query(Q, k), theirs)
        check(index.query_self(k), among, itself=True)
    defined = slow(Q, X)
    check(index.query(Q, 300), defined)
    # scikit-learn takes them from products, and loses some digits where rows are near.
    np.testing.assert_allclose(defined, theirs, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("p", [2, 12, 67])
def test_without_gaps_it_is_euclidean_to_the_bit(p):
    X, Q = table(600, p, 0), table(90, p, 0, seed=3)
    plain = built(Exact(), X, metric="euclidean", metric_params=None, rng=np.random.default_rng(0), threads=Threads(2))
    for one, other in ((plain.query(Q, 20), build(Exact(), X).query(Q, 20)),
                       (plain.query_self(20), build(Exact(), X).query_self(20))):  # fmt: skip
        assert all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_batches_threads_and_pieces_change_nothing(search, monkeypatch):
    X, Q = table(700), table(90, seed=1)
    whole = build(search, X).query(Q, 9), build(search, X).query_self(9)
    with monkeypatch.context() as patch:
        patch.setattr("tsne_ooc.neighbors.gaps.WIDTH", 7)
        patch.setattr("tsne_ooc.neighbors.gaps.GROUP", 7)
        patch.setattr("tsne_ooc.neighbors.gaps.SPARE", 32)
        patch.setattr("tsne_ooc.neighbors.ivf.GROUP", 7)
        index = build(search, X, threads=1)
        parts = [index.query(Q[i : i + 7], 9) for i in range(0, 90, 7)]
        for one, many in zip(whole[0], zip(*parts, strict=True), strict=True):
            assert one.tobytes() == np.concatenate(many).tobytes()
        assert all(a.tobytes() == b.tobytes() for a, b in zip(whole[1], index.query_self(9), strict=True))
        if index.order is not None:
            for name, part in enumerate(index.query_part(100, 230, 9)):
                np.testing.assert_array_equal(part, whole[1][name][index.order[100:230]])


def test_rows_and_columns_in_another_order():
    """Distances are those of the rows, and ties go by number."""
    X, rng = table(500, whole=True), np.random.default_rng(4)
    indices, distances = build(Exact(), X).query_self(499)
    columns = rng.permutation(X.shape[1])
    again = build(Exact(), X[:, columns]).query_self(499)
    # Whole numbers are added up exactly in any order.
    np.testing.assert_array_equal(again[1], distances)
    np.testing.assert_array_equal(again[0], indices)
    rows = rng.permutation(len(X))
    turned = build(Exact(), X[rows]).query_self(499)
    np.testing.assert_array_equal(turned[1], distances[rows])
    np.testing.assert_array_equal(np.sort(rows[turned[0]], axis=1), np.sort(indices[rows], axis=1))


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_saved_and_restored_it_answers_the_same_bits(search):
    X, Q = table(500), table(40, seed=2)
    index = build(search, X)
    content, arrays = named_state(index)
    assert np.shares_memory(arrays["rows"], X)
    again = restore_index(Saved(content, arrays), Threads(1))
    assert again.metric == "nan_euclidean" and again.n == 500
    for one, other in ((index.query(Q, 8), again.query(Q, 8)), (index.query_self(8), again.query_self(8))):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))
    broken = arrays["rows"].copy()
    broken[3, 0] = np.inf
    with pytest.raises(StateError, match="holds infinity"):
        restore_index(Saved(content, {**arrays, "rows": broken}), Threads(1))


def test_lists_find_what_they_promise():
    """A fifth of the cells is missing; clumps in 20 columns, which is hard enough."""
    X = table(6000, 20, 0.2)
    true = build(Exact(), X).query_self(15)[1]
    for wanted, least in ((0.95, 0.94), (0.97, 0.95)):
        index = build(IVF(recall=wanted), X)
        assert index.probes(15) < len(index._sizes) and index.recall(15) >= wanted
        # It is measured on 256 rows.
        assert (index.query_self(15)[1] <= true[:, -1:] * (1 + 1e-6)).mean() >= least


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_rows_with_nothing_in_common_are_not_neighbours(search):
    """Two kinds of rows, of 100 and 300, that share no column: nobody has one of the other kind."""
    X = table(400, 12, 0)
    kind = np.arange(400) % 4 == 0
    X[kind, 6:], X[~kind, :6] = np.nan, np.nan
    index = build(search, X)
    indices, _ = index.query_self(40)
    assert (kind[indices] == kind[:, None]).all()
    with pytest.raises(
        ValueError, match=r"^row 0 has a column in common with 99 of 400 other rows, and 120 neighbours"
    ) as told:
        index.query_self(120)
    assert "\n" not in str(told.value) and "--missing median" in str(told.value)
    Q = X[~kind][:8].copy()
    Q[5] = X[0]
    with pytest.raises(ValueError, match=r"^row 5 has a column in common with 100 of 400 rows, and 101"):
        index.query(Q, 101)
    Q[3] = np.nan
    with pytest.raises(ValueError, match=r"^row 3 has no value in any column"):
        index.query(Q, 1)
    X[7] = np.nan
    with pytest.raises(ValueError, match=r"^row 7 has no value in any column"):
        build(search, X)


def test_a_row_has_all_the_others_at_most():
    index = build(Exact(), table(30))
    assert index.query_self(29)[0].shape == (30, 29) and index.query(table(4), 30)[0].shape == (4, 30)
    with pytest.raises(ValueError, match="k=30 neighbours cannot be found among 29 other rows; use k from 1 to 29"):
        index.query_self(30)
    with pytest.raises(ValueError, match="k=31 neighbours cannot be found among 30 rows; use k from 1 to 30"):
        index.query(table(4), 31)


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1.0, 1e20, 1e37])
def test_any_scale(scale):
    X = (table(200, 5, 0.2, whole=True) * np.float32(scale)).astype(np.float32)
    index = build(Exact(), X)
    indices, distances = index.query_self(10)
    wanted = slow(X, X)
    np.fill_diagonal(wanted, np.inf)
    np.testing.assert_allclose(distances.astype(float) * index.unit, np.sort(wanted, axis=1)[:, :10], rtol=1e-5)
    np.testing.assert_allclose(
        np.take_along_axis(wanted, indices.astype(int), 1), np.sort(wanted, 1)[:, :10], rtol=1e-5
    )


def test_a_value_far_beyond_all_others():
    """The products then tell nothing, and pairs decide."""
    X, Q = table(300, 6), table(40, 6, seed=1)
    X[17, 3], Q[5, 2] = 1e20, -1e25
    index = build(Exact(), X)
    check(index.query(np.delete(Q, 5, axis=0), 12), slow(np.delete(Q, 5, axis=0), X))
    check(index.query(Q[5:6], 12), slow(Q[5:6], X))


def test_searches_that_do_not_know_it_say_so():
    for search in (HNSW(), Annoy(), PyNNDescent()):
        with pytest.raises(ValueError, match="nan_euclidean") as told:
            search.check("nan_euclidean", None, sparse=False)
        assert "\n" not in str(told.value)
    with pytest.raises(ValueError, match="'nan_euclidean' takes no sparse rows"):
        resolve("auto", metric="nan_euclidean", n=9, p=2, sparse=True)
    with pytest.raises(ValueError, match="'nan_euclidean' takes no metric_params"):
        resolve("auto", metric="nan_euclidean", n=9, p=2, metric_params={"w": [1, 2]})
    assert isinstance(resolve("auto", metric="nan_euclidean", n=9, p=2), Exact)
    assert isinstance(resolve("auto", metric="nan_euclidean", n=10**6, p=2), IVF)


def test_what_is_given_is_not_changed():
    X, Q = table(100), table(20, seed=1)
    X.setflags(write=False), Q.setflags(write=False)
    before = X.tobytes(), Q.tobytes()
    for search in SEARCHES.values():
        build(search, X).query(Q, 3)
    assert (X.tobytes(), Q.tobytes()) == before


@pytest.mark.parametrize("p", [1, 2, 12, 65, 400])
def test_the_bound_of_a_products_error_holds_and_is_near(p):
    """It is of float32, whose halves of a last digit add up column by column; a wide one would look at every row."""
    slack = GapFrame(np.zeros(p), 1.0).slack
    a, b = np.random.default_rng(p).normal(size=(2, 200, p)).astype(np.float32)
    # The longest of all orders to add in: one after the other.
    sums = np.zeros(200, np.float32)
    for column in (a * a - 2 * a * b + b * b).T:
        sums += column
    exact = ((a.astype(float) - b) ** 2).sum(axis=1)
    of_squares = (a.astype(float) ** 2 + b.astype(float) ** 2).sum(axis=1)
    assert np.abs(sums - exact).max() / of_squares.max() < slack < 100 * (p + 1) * 2.0**-24
