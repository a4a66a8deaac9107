"""Distances and row numbers as keys that sort, and rows in the frame in which single precision tells them apart."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from tsne_ooc._parallel import Threads
from tsne_ooc._validate import RowsError
from tsne_ooc.neighbors._blocks import Frame, largest_of, pack, read_only, unpack
from tsne_ooc.neighbors._found import Completer, FoundIndex
from tsne_ooc.neighbors._recall import (
    Share,
    Wanted,
    check_wanted,
    effort_for,
    rows_to_measure,
    share_found,
    shares_found,
)
from tsne_ooc.neighbors.base import blocked_only, check_k, check_width, of_zero_rows
from tsne_ooc.neighbors.exact import exact_index, nearest, nobody, stack
from tsne_ooc.neighbors.gaps import GapFrame, all_found, check_values
from tsne_ooc.neighbors.pairwise import Pairwise, canonical
from tsne_ooc.storage.state import Saved, StateError

ONE = Threads(1)
LARGEST = np.finfo(np.float32).max


def test_keys_sort_by_distance_and_then_by_number():
    rng = np.random.default_rng(0)
    distances = np.concatenate([[0, 0, LARGEST, LARGEST, 1e-45, 1e-38], rng.random(200).round(1)]).astype(np.float32)
    numbers = rng.permutation(2**32 - 1 - np.arange(206)).astype(np.uint32)
    keys = pack(distances, numbers)
    assert keys.dtype == np.uint64
    order = np.lexsort((numbers, distances))
    np.testing.assert_array_equal(np.argsort(keys), order)
    found = unpack(np.sort(keys))
    assert (found[0].dtype, found[1].dtype) == (np.uint32, np.float32)
    np.testing.assert_array_equal(found[0], numbers[order])
    np.testing.assert_array_equal(found[1], distances[order])
    # In single precision there are no larger ones; infinity is the largest.
    np.testing.assert_array_equal(
        unpack(pack(np.array([1e39, np.inf, 3e38]), np.arange(3)))[1], np.float32([LARGEST, LARGEST, 3e38])
    )


@pytest.mark.parametrize("k", [1, 2, 7, 8])
@pytest.mark.parametrize("itself", [False, True])
def test_the_nearest_of_a_block_of_distances(k, itself):
    D = np.random.default_rng(0).integers(0, 4, (5, 9)).astype(float)
    before, me = D.copy(), np.array([8, 0, 3, 3, 7], np.uint32)
    indices, distances = nearest(D, k, me if itself else None)
    for row in range(5):
        others = [at for at in range(9) if not itself or at != me[row]]
        wanted = sorted(others, key=lambda at, row=row: (D[row, at], at))[:k]
        assert indices[row].tolist() == wanted and distances[row].tolist() == D[row, wanted].tolist()
    np.testing.assert_array_equal(D, before)
    if not itself:
        assert (np.sort(nearest(D, 9)[0], axis=1) == np.arange(9)).all()
    together = stack([nearest(D[:2], k), nearest(D[2:2], k), nearest(D[2:], k)], k)
    for one, other in zip(together, nearest(D, k), strict=True):
        np.testing.assert_array_equal(one, other)
    nothing = stack([], k)
    assert [part.shape for part in nothing] == [(0, k)] * 2 and [part.dtype for part in nothing] == [
        np.uint32,
        np.float32,
    ]
    assert nobody(3).tolist() == [2**32 - 1] * 3 and nobody(3).dtype == np.uint32


@pytest.mark.parametrize(
    ("X", "largest"),
    [([[1, -3], [2, 0]], 3), ([[1, 3], [2, 0]], 3), ([[-1, -3]], 3), ([[0.0]], 0), ([[np.nan, -3], [2, np.nan]], 3),
     ([[np.nan, np.nan]], 0), ([[5, np.nan], [np.nan, 4]], 5), ([[1, np.inf]], np.inf),
     ([[1, -np.inf], [np.nan, 2]], np.inf)],
)  # fmt: skip
def test_the_largest_number_in_a_table(X, largest):
    assert largest_of(np.array(X, np.float32)) == largest and type(largest_of(np.array(X, np.float32))) is float
    assert largest_of(np.empty((0, 2), np.float32)) == 0


def test_a_view_that_is_read_only_leaves_the_array_as_it_is():
    array = np.zeros(3)
    view = read_only(array)
    assert not view.flags.writeable and array.flags.writeable and np.shares_memory(view, array)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (3.7, 1e4), (1e-20, 0), (1e15, 0), (0.5, -3)])
@pytest.mark.parametrize("kind", [Frame, GapFrame])
def test_a_frame_has_all_rows_within_one_of_its_middle(kind, scale, offset, threads, monkeypatch):
    """By a power of two, so that nothing is rounded, and no smaller than by half."""
    monkeypatch.setattr("tsne_ooc.neighbors._blocks.PIECE", 7)
    monkeypatch.setattr("tsne_ooc.neighbors.gaps.PIECE", 7)
    X = (np.random.default_rng(0).normal(size=(60, 5)) * scale + offset).astype(np.float32)
    if kind is GapFrame:
        X[::4, 1] = np.nan
    frame = kind.of(X, cosine=False, threads=Threads(threads)) if kind is Frame else kind.of(X, Threads(threads))
    np.testing.assert_allclose(frame.centre, np.nanmean(X.astype(float), axis=0), rtol=1e-12)
    assert np.log2(frame.scale) % 1 == 0
    points = frame.points(X, np.arange(60))
    np.testing.assert_allclose(points, (X.astype(float) - frame.centre) * frame.scale, rtol=1e-6, atol=1e-12)
    reach = np.nanmax(np.abs(points)) * 5**0.5
    assert 0.5 <= reach < 1 + 1e-6
    assert points.dtype == np.float32 and points.shape == (60, 5) and points.flags.c_contiguous


def test_a_frame_for_directions_has_rows_of_length_one():
    X = np.random.default_rng(0).normal(3, 1, (20, 4)).astype(np.float32)
    X[7] = 0
    frame = Frame.of(X, cosine=True, threads=ONE)
    assert frame.cosine and frame.scale == 1 and not frame.centre.any() and len(frame.centre) == 4
    points = frame.points(X, np.arange(20)[::-1])[::-1]
    lengths = np.linalg.norm(X.astype(float), axis=1, keepdims=True)
    np.testing.assert_allclose(points, X / np.where(lengths > 0, lengths, 1), rtol=1e-6)


# ----------------------------------------------------------------------------------------------- what may be asked for


@pytest.mark.parametrize(("k", "n", "itself", "says"), [
    (1, 1, False, None), (5, 5, False, None), (np.int32(5), 5, False, None), (4, 5, True, None),
    (0, 5, False, "k=0 neighbours cannot be found among 5 rows; use k from 1 to 5"),
    (6, 5, False, "k=6 neighbours cannot be found among 5 rows; use k from 1 to 5"),
    (5, 5, True, "k=5 neighbours cannot be found among 4 other rows; use k from 1 to 4"),
    (True, 5, False, "k=True is not a whole number"), (2.0, 5, False, "k=2.0 is not a whole number"),
])  # fmt: skip
def test_how_many_neighbours_there_may_be(k, n, itself, says):
    if says is None:
        assert check_k(k, n, itself=itself) == k and type(check_k(k, n, itself=itself)) is int
        return
    with pytest.raises(TypeError if "whole" in says else ValueError) as caught:
        check_k(k, n, itself=itself)
    assert str(caught.value) == says


@pytest.mark.parametrize("shape", [(3,), (3, 3), (2, 4, 1), ()])
def test_queries_have_the_columns_of_the_rows(shape):
    check_width(np.zeros((0, 4)), 4)
    with pytest.raises(ValueError) as caught:
        check_width(np.zeros(shape), 4)
    assert str(caught.value) == f"queries of shape {shape} do not fit a reference of 4 columns"


def test_what_a_search_by_products_takes():
    assert (
        blocked_only("IVF", "l2", None, sparse=False)
        == blocked_only("IVF", "euclidean", {}, sparse=False)
        == "euclidean"
    )
    for metric, params, sparse, says in (
        ("jaccard", None, False, "metric of IVF='jaccard'"),
        (np.dot, None, False, "IVF cannot use a callable metric; use neighbors='exact' or 'pynndescent'"),
        ("cosine", {"w": 1, "a": 2}, False, "IVF takes no metric_params, got ['a', 'w']; use neighbors='exact'"),
        ("cosine", None, True, "IVF takes no sparse rows; use neighbors='exact' or 'pynndescent', or a dense array"),
    ):
        with pytest.raises(ValueError) as caught:
            blocked_only("IVF", metric, params, sparse=sparse)
        assert str(caught.value).startswith(says)


def test_rows_of_zeros_have_no_direction():
    X = np.float32([[0, 0], [0, 1], [-0.0, 0], [1e-45, 0]])
    found = of_zero_rows(X, "cosine")
    assert found.tolist() == [1, 0, 1, 0] and found.dtype == np.float32
    for metric in ("euclidean", "l2", "jaccard", np.dot):
        assert of_zero_rows(X, metric) is None


@pytest.mark.parametrize(("recall", "says"), [
    (None, None), (1, None), (0.5, None), (np.float32(0.25), None),
    (0, "recall=0 must be a finite number greater than 0"), (1.0001, "recall=1.0001 must be at most 1, or None"),
    (-1, "recall=-1 must be a finite number greater than 0"),
])  # fmt: skip
def test_which_share_a_search_may_have_to_find(recall, says):
    if says is None:
        assert check_wanted(recall) == recall
        assert Wanted.of(recall) == (None if recall is None else Wanted(recall, 15))
        return
    with pytest.raises(ValueError) as caught:
        check_wanted(recall)
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize(("share", "found", "enough"), [
    (0.9, (0.9, 0.8), True), (0.9, (0.8999, 0.99), False), (0.9, (1.0, 0.7999), False), (0.4, (0.4, 0.0), True),
    (1.0, (1.0, 1.0), True), (1.0, (1.0, 0.999), False),
])  # fmt: skip
def test_when_enough_is_found(share, found, enough):
    """The share of the nearest; of all twice as many may be missed."""
    assert Wanted(share).reached(Share(*found)) is enough


def test_what_is_found_is_counted_by_distances():
    true = np.float32([[0, 1, 2, 3], [0, 1, 1, 1], [5, 6, 7, 8]])
    assert share_found(true, true) == 1
    # Of three others, one, none and two; more than there are count as all, and less than none as none.
    found = np.float32([[0, 1, 4, 4], [0, 2, 2, 2], [5, 6, 7, 9]])
    assert share_found(found, true) == pytest.approx((1 + 0 + 2) / 9)
    assert share_found(np.zeros((3, 9), np.float32), true) == 1 and share_found(true + 10, true) == 0
    # To a millionth.
    assert share_found(true * np.float32(1 + 5e-7), true) == 1 and share_found(true * np.float32(1 + 3e-6), true) < 0.5
    assert share_found(true[:, :1], true[:, :1]) == 1
    wanted = Wanted(0.9, 1)
    assert shares_found(found, true, wanted) == Share(pytest.approx(2 / 3), pytest.approx(1 / 3))
    for every in (None, Wanted(0.9, None), Wanted(0.9, 3), Wanted(0.9, 15)):
        assert shares_found(found, true, every) == Share(pytest.approx(1 / 3), pytest.approx(1 / 3))


@pytest.mark.parametrize("n", [1, 2, 255, 256, 257, 10_000])
def test_rows_that_are_measured_are_from_all_over(n):
    rows = rows_to_measure(n)
    assert len(rows) == min(n, 256) and rows[0] == 0 and rows[-1] == n - 1
    assert np.ptp(np.diff(rows)) <= 1 if n > 2 else True


def test_no_more_effort_than_the_most():
    asked = []

    def measure(effort):
        asked.append(effort)
        return Share(0.1, 0.1)

    assert effort_for(Wanted(0.9), 3, 20, measure, growth=2)[0] == 20 and asked == [3, 6, 12, 20]
    asked.clear()
    assert effort_for(Wanted(0.9), 20, 20, measure)[0] == 20 and asked == [20]
    asked.clear()
    assert effort_for(Wanted(0.9), 1, 3, measure, growth=1.2)[0] == 3 and asked == [1, 2, 3]


class Walk(FoundIndex):
    """A search that finds nothing near below some effort, and from there on all that there is."""

    def __init__(self, X, wanted, enough):
        super().__init__(X, "euclidean", ONE, wanted)
        self.enough, self.asked, self.whole = enough, [], exact_index(X, "euclidean", None, ONE)

    def _first(self, k):
        return 3

    def _answer(self, Q, k, effort, *, itself):
        self.asked.append((len(Q), k, effort, itself))
        if effort < self.enough:
            return np.zeros((len(Q), k), np.uint32), np.full((len(Q), k), 1e9, np.float32)
        return self.whole.query_self(k) if itself else self.whole.query(Q, k)


@pytest.mark.parametrize(("enough", "efforts"), [
    (0, [3]), (4, [3, 6]), (6, [3, 6]), (24, [3, 6, 12, 24]), (96, [3, 6, 12, 24, 48, 96]),
    (97, [3, 6, 12, 24, 48, 96]),
])  # fmt: skip
def test_the_effort_of_others_is_doubled_five_times_at_most(enough, efforts):
    """It is measured once for each number of neighbours, by one more than these, for each row finds itself."""
    X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    index = Walk(X, Wanted(0.9), enough)
    for _ in range(2):
        assert index.recall(5) == (enough <= 96)
    assert index.asked == [(20, 6, effort, False) for effort in efforts]
    index.asked.clear()
    index.query(X[:4], 5)
    index.query_self(5)
    assert index.asked == [(4, 5, efforts[-1], False), (20, 5, efforts[-1], True)]
    # Of all others there are no more than there are rows.
    index.asked.clear()
    assert index.recall(50) == index.recall(19) == (enough <= 96)
    assert index.asked == [(20, 20, effort, False) for effort in efforts]
    plain = Walk(X, None, enough)
    plain.query(X[:4], 5)
    assert plain.asked == [(4, 5, 3, False)] and plain.recall(5) == (enough <= 3)
    assert Walk(X[:1], Wanted(0.9), enough).recall(1) == 1.0


# --------------------------------------------------------------------------------------------------- what others found


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "cityblock"])
@pytest.mark.parametrize("itself", [False, True])
def test_what_others_found_is_measured_sorted_and_completed(metric, itself, monkeypatch):
    """Of twelve queries four at a time; row 0 is a row, -1 is none, and neither is the query itself."""
    from scipy.spatial.distance import cdist

    monkeypatch.setattr("tsne_ooc.neighbors._found.GROUP", 4)
    X = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    D = cdist(X.astype(float), X.astype(float), metric)
    if itself:
        np.fill_diagonal(D, np.inf)
    # All rows in any order for even queries; for the others too few, and then all are looked at.
    found = np.array([np.random.default_rng(i).permutation(12) for i in range(12)])
    found[1::2, 2:] = -1
    found[4, :6] = [0, 1, 2, 3, 4, 5]
    found[4, 6:] = -1
    me = np.arange(12, dtype=np.uint32) if itself else None
    before = found.copy()
    indices, distances = Completer(X, metric, None, ONE).answer(X, found, 5, me)
    np.testing.assert_array_equal(found, before)
    for row in range(12):
        among = [at for at in range(12 if row != 4 else 6) if not itself or at != row]
        wanted = sorted(among, key=lambda at, row=row: D[row, at])[:5]
        assert indices[row].tolist() == wanted
        np.testing.assert_allclose(distances[row], D[row, wanted], rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------------------------ rows with gaps


def test_rows_without_any_value_are_named():
    X = np.float32([[1, np.nan], [np.nan, np.nan], [2, 3]])
    check_values(X[[0, 2]])
    with pytest.raises(RowsError) as caught:
        check_values(X)
    assert str(caught.value) == "row 1 has no value in any column, and no distance to any other row"


def test_rows_that_share_columns_with_too_few_are_named():
    none = 2**32 - 1
    answer = np.array([[1, 2, 3], [4, none, none], [5, 6, none]], np.uint32), np.zeros((3, 3), np.float32)
    full = answer[0][:1], answer[1][:1]
    assert all_found(full, 9, itself=False) is full
    for itself, numbers, row, others in ((False, None, 1, "rows"), (True, np.array([7, 8, 2]), 8, "other rows")):
        with pytest.raises(RowsError) as caught:
            all_found(answer, 9, itself=itself, numbers=numbers)
        assert str(caught.value).startswith(
            f"row {row} has a column in common with 1 of 9 {others}, and 3 neighbours are wanted: by metric='nan_euc"
        )


def test_sparse_rows_are_put_into_their_plain_form_and_left_as_they_were():
    X = csr_array((np.float32([1, 2, 3]), [2, 0, 2], [0, 3]), shape=(1, 4))
    made = canonical(X)
    assert made.toarray().tolist() == [[2, 0, 4, 0]] and made.has_canonical_format
    assert X.data.tolist() == [1, 2, 3] and X.indices.tolist() == [2, 0, 2]
    assert canonical(made) is made and canonical(X.tocoo()).format == "csr"
    dense = np.zeros((2, 2), np.float32)
    assert canonical(dense) is dense


# ---------------------------------------------------------------------------------------------- distances of functions


@pytest.mark.parametrize(
    ("value", "found"),
    [(0.25, 0.25), (0.0, 0.0), (-0.9e-6, 0.0), (1e39, LARGEST), (-1.1e-6, "-1.1e-06"), (-3.0, "-3"), (np.nan, "NaN"),
     (np.inf, "inf"), (-np.inf, "-inf")],
)  # fmt: skip
def test_what_a_function_may_say_is_a_distance(value, found):
    """Rounding may leave a little less than nothing; what single precision cannot hold is its largest number."""

    def mine(x, y):
        return value if x[0] == 2 and y[0] == 3 else abs(x - y).sum()

    X = np.arange(5, dtype=np.float32)[:, None]
    pairs = Pairwise(mine, None, X)
    if not isinstance(found, str):
        wanted = np.abs(X - X.T)
        wanted[2, 3] = found
        np.testing.assert_allclose(pairs.block(X, X), wanted)
        return
    for numbers, number in ((None, 3), (np.array([9, 8, 7, 6, 5]), 6)):
        with pytest.raises(RowsError) as caught:
            pairs.block(X, X, numbers)
        assert str(caught.value) == (
            f"metric 'mine' gives {found} for row 2 and row {number} of the fit; it must be finite and at least 0"
        )


@pytest.mark.parametrize("strip", [1, 4, 4096])
@pytest.mark.parametrize(
    ("metric", "params", "kept"),
    [
        ("cityblock", {}, False), ("cosine", {}, True), ("correlation", {}, True), ("russellrao", {}, True),
        ("minkowski", {"p": 3.0}, False), (lambda x, y: abs(x - y).sum() + 1.0, {}, True),
    ],
)  # fmt: skip
def test_how_far_rows_are_from_themselves(metric, params, kept, strip, monkeypatch):
    """None where that is nothing for all; rows are taken in strips, and are not changed."""
    monkeypatch.setattr("tsne_ooc.neighbors.pairwise.STRIP", strip)
    X = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    X[3] = 0
    X[5] = 2
    before = X.copy()
    pairs = Pairwise(metric, params, X)
    D, found = pairs.block(X, X), pairs.from_themselves(X)
    assert (found is not None) == kept
    if kept:
        np.testing.assert_allclose(found, D.diagonal(), atol=1e-7)
        assert found.dtype == np.float32
    else:
        assert not D.diagonal().any()
    np.testing.assert_array_equal(pairs.block(X[:4], X), D[:4])
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("p", [1, 10, 300, 5000])
def test_what_a_product_of_rows_with_gaps_may_be_off_grows_with_their_columns(p):
    """It is no less than the standard bound of a sum of p products in float32: p roundings of rows of length one."""
    assert GapFrame(np.zeros(p), 1.0).slack >= p * 2.0**-24


@pytest.mark.parametrize("itself", [False, True])
def test_a_distance_that_cannot_be_is_told_by_its_rows_in_any_group(itself, monkeypatch):
    """Of queries that are measured four at a time, and of rows that were found, by their own numbers."""
    monkeypatch.setattr("tsne_ooc.neighbors._found.GROUP", 4)
    X = np.arange(12, dtype=np.float32)[:, None]
    found = np.array([[-1, row, (row + 7) % 12, 3, (row + 1) % 12] for row in range(12)])
    me = np.arange(12, dtype=np.uint32) if itself else None
    for query in (0, 4, 9, 11):

        def odd(one, other, query=query):
            return np.nan if (one[0], other[0]) == (query, 3) else abs(one - other).sum()

        completer = Completer(X, odd, None, ONE)
        with pytest.raises(RowsError) as caught:
            completer.answer(X, found, 2, me)
        assert caught.value.row == query
        assert str(caught.value) == (
            f"metric 'odd' gives NaN for row {query} and row 3 of the fit; it must be finite and at least 0"
        )


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_answers_that_are_too_short_are_completed_each_by_itself(k):
    """Some are full, of some a row is missing, of some all; what is far is in no answer."""
    X = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    near = np.argsort(((X[:, None].astype(float) - X) ** 2).sum(2), axis=1)
    found = near[:, : k + 1].copy()
    found[1::3, -1] = found[1::3, 1] = -1
    found[2::3] = -1
    for itself in (False, True):
        me = np.arange(9, dtype=np.uint32) if itself else None
        indices, distances = Completer(X, "euclidean", None, ONE).answer(X, found, k, me)
        wanted = near[:, itself : k + itself]
        np.testing.assert_array_equal(indices, wanted)
        apart = np.linalg.norm(X[:, None].astype(float) - X[wanted], axis=2)
        np.testing.assert_allclose(distances, apart, rtol=1e-6, atol=1e-7)
        # Fewer columns than are asked for; and the same rows stored sparsely.
        few = Completer(X, "euclidean", None, ONE).answer(X, found[:, :1], k, me)
        sparse = Completer(csr_array(X), "euclidean", None, ONE).answer(csr_array(X), found, k, me)
        for other in (few, sparse):
            np.testing.assert_array_equal(other[0], wanted)
            np.testing.assert_allclose(other[1], apart, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("p", [1, 10, 300, 5000])
def test_what_a_product_of_rows_may_be_off_grows_with_their_columns(p):
    """No less than the standard bound of a sum of p + 1 products in float32, and no more than some of these."""
    for cosine in (False, True):
        slack = Frame(np.zeros(p), 1.0, cosine).slack
        assert (p + 1) * 2.0**-24 <= slack <= (p + 1 + 20) * 2.0**-24


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
@pytest.mark.parametrize("kind", [Frame, GapFrame])
def test_a_frame_comes_back_from_its_middle_which_is_among_the_rows(kind, scale):
    """As far out as the largest number, to the last digits, and no farther, on either side."""
    X = (np.random.default_rng(0).normal(size=(30, 3)) * scale).astype(np.float32)
    if kind is GapFrame:
        X[::4, 1] = np.nan
    of = kind.of(X, cosine=False, threads=ONE) if kind is Frame else kind.of(X, ONE)

    def restored(centre, metric="euclidean"):
        centre = np.array(centre, np.float64)
        return kind.restore(X, Saved({"metric": metric}, {"centre": centre}), ONE)

    again = restored(of.centre)
    assert again.centre.tolist() == of.centre.tolist() and (again.scale, again.slack) == (of.scale, of.slack)
    largest = float(np.nanmax(np.abs(X)))
    for side in (1, -1):
        for column in range(3):
            edge = np.zeros(3)
            edge[column] = side * largest
            assert restored(edge).centre.tolist() == edge.tolist()
            restored(edge * (1 + 5e-10))
            for beyond in (1 + 1e-6, 1.5, 1e9):
                with pytest.raises(StateError, match=r"^lies outside the rows$") as caught:
                    restored(edge * beyond)
                assert caught.value.array == "centre"
    if kind is Frame:
        cosine = Frame.restore(X, Saved({"metric": "cosine"}, {}), ONE)
        wanted = Frame.of(X, cosine=True, threads=ONE)
        assert cosine.centre.tolist() == wanted.centre.tolist() == [0, 0, 0]
        assert (cosine.scale, cosine.cosine) == (wanted.scale, wanted.cosine) == (1.0, True)


def test_two_rows_have_something_to_miss():
    X = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    assert Walk(X, Wanted(0.9), 1e9).recall(1) == 0 and Walk(X, Wanted(0.9), 0).recall(1) == 1
