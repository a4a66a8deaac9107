"""Kernels of searches as Python itself runs them, line by line, held against the words of their heads."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import test_kernels_by_hand as by_hand
from line_by_line import plain, smaller


@pytest.fixture(autouse=True)
def wrapped():
    """Whole numbers without a sign go round, as they do in compiled code."""
    with np.errstate(all="ignore"):
        yield


# ------------------------------------------------------------------------------------------------------------- searches


NO_KEY = 2**64 - 1


# Queries 0 to 3 look at the first list, and two of them at the last one.
LISTS, STARTS, MEMBERS, EDGES = np.array([0, 2]), np.array([0, 4, 6]), np.array([0, 1, 2, 3, 1, 3]), [0, 20, 45, 70]


ORDER = np.random.default_rng(9).permutation(70).astype(np.uint32)


# Query 1 stands at place 49, behind four others of its block, query 2 at place 7; place 30 is in no list that query 3
# looks at.
ITSELF = np.array([0xFFFFFFFF, 49, 7, 30], np.uint32)


def rows_and_queries(p, seed=0):
    """Rows of which many are alike, more of them than a buffer holds, and queries of which some are rows."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(70, p)).astype(np.float32)
    rows[ORDER[:14]] = rows[ORDER[0]]
    queries = rng.normal(size=(4, p)).astype(np.float32)
    queries[1:] = rows[ORDER[[49, 7, 30]]]
    return rows, queries


def check_keys(keys, D, k, seen=(range(20), [*range(20), *range(45, 70)])):
    """The k least keys of each query are those of the nearest of the rows that it looks at, by distance and number."""
    for query in range(4):
        places = [at for at in seen[query % 2] if at != ITSELF[query]]
        wanted = sorted((np.float32(D[query, ORDER[at]]), int(ORDER[at])) for at in places)[:k]
        found = np.sort(keys[query])[:k]
        assert [int(key) & 0xFFFFFFFF for key in found] == [number for _, number in wanted]
        told = (found >> np.uint64(32)).astype(np.uint32).view(np.float32)
        np.testing.assert_allclose(told, [far for far, _ in wanted], rtol=2e-7)


@pytest.mark.parametrize("chunk", [4, 32])
@pytest.mark.parametrize("k", [1, 3, 7])
@pytest.mark.parametrize("is_cosine", [False, True])
def test_the_blocked_search_finds_the_nearest_of_the_lists_it_looks_at(is_cosine, k, chunk):
    """In blocks of eight, with buffers that are full again and again, and with ties that fill them."""
    p = 5
    rows, queries = rows_and_queries(p)
    if is_cosine:
        rows[ORDER[3]] = 0
    kernels = smaller("knn", CHUNK=chunk)
    centre = rows.mean(axis=0).astype(np.float64)
    scale = 1 / np.sqrt(np.square(rows - centre).sum(axis=1).max())
    slack = (p + 16) * 2.0**-24
    reference, lifted = np.zeros((70, p + 1), np.float32), np.zeros((4, p + 1), np.float32)
    norms, query_norms = np.zeros(70), np.zeros(4)
    kernels["lift"](rows, ORDER, centre, scale, is_cosine, slack, False, reference, norms)
    kernels["lift"](queries, np.arange(4), centre, scale, is_cosine, slack, True, lifted, query_norms)
    assert (lifted[:, p] == 1).all() and (norms <= 1 + 1e-6).all()
    capacity = 2 * k + chunk + 2
    scores, places = np.zeros((4, capacity), np.float32), np.zeros((4, capacity), np.uint32)
    counts, bars = np.zeros(4, np.uint32), np.zeros(4, np.float32)
    keys = kernels["search"](
        lifted, queries, query_norms, ITSELF, LISTS, STARTS, MEMBERS, EDGES, reference, rows, ORDER, k, 8, slack,
        is_cosine, scores, places, counts, bars,
    )  # fmt: skip
    Q, X = queries.astype(float), rows.astype(float)
    if is_cosine:
        Q, X = (one / np.maximum(np.linalg.norm(one, axis=1, keepdims=True), 1e-30) for one in (Q, X))
    D = np.square(Q[:, None] - X).sum(axis=2)
    D = np.where(X.any(axis=1), D / 2, 1.0) if is_cosine else np.sqrt(D)
    check_keys(keys, D, k)
    # Few candidates are left to be measured.
    assert keys.shape[1] <= 14 + k + 8


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 9, 12])
def test_pairs_have_the_distances_of_their_definitions(n):
    kernels, rng = plain("knn"), np.random.default_rng(n)
    for scale in (1e-3, 1.0, 1e20):
        x, y = (scale * rng.normal(size=(2, n))).astype(np.float32)
        half = (0.5 * x / np.linalg.norm(x.astype(float))).astype(np.float32)
        a, b = x.astype(float), y.astype(float)
        assert kernels["euclidean_pair"](x, y) == pytest.approx(np.linalg.norm(a - b), rel=1e-12)
        long = np.r_[rng.normal(size=3), b, rng.normal(size=2)]
        assert kernels["euclidean_from"](a, long, np.uint64(3)) == pytest.approx(np.linalg.norm(a - b), rel=1e-12)
        wanted = 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        for one, other in ((x, y), (y, x), (half, y), (y, half)):
            assert kernels["cosine_pair"](one, other) == pytest.approx(wanted, abs=1e-7)
        nothing = np.zeros(n, np.float32)
        for one, other in ((x, nothing), (nothing, y), (nothing, nothing)):
            assert kernels["cosine_pair"](one, other) == 1.0
    # Rows of length one half, exactly: no number but zero is that of nothing.
    exact, other = np.eye(1, n, dtype=np.float32)[0] / 2, np.eye(1, n, n - 1, dtype=np.float32)[0]
    assert kernels["cosine_pair"](exact, exact) == 0 and kernels["cosine_pair"](other, exact) == (n > 1)


@pytest.mark.parametrize("is_cosine", [False, True])
def test_distances_beyond_single_precision_are_its_largest_number(is_cosine):
    rows = np.full((2, 3), 3e38, np.float32)
    rows[1] *= -1
    keys, out = np.zeros((1, 2), np.uint64), np.zeros(2, np.uint64)
    plain("knn")["rerank"](rows[:1], rows, np.array([[1, 0]]), np.array([9], np.uint32), is_cosine, keys)
    plain("knn")["exact_keys"](rows[0], rows, np.arange(2), is_cosine, np.array([1, 0]), 2, out)
    for found in (keys[0], out):
        told = (found >> np.uint64(32)).astype(np.uint32).view(np.float32)
        np.testing.assert_array_equal(told, [2.0 if is_cosine else np.finfo(np.float32).max, 0])


@pytest.mark.parametrize("is_query", [False, True])
@pytest.mark.parametrize("is_cosine", [False, True])
def test_rows_are_lifted_as_the_head_of_the_module_says(is_cosine, is_query):
    rng, p, scale, slack = np.random.default_rng(0), 5, 0.25, 0.01
    rows, numbers, centre = rng.normal(size=(6, p)).astype(np.float32), np.array([4, 0, 5, 2]), rng.normal(size=p)
    rows[0, :2], rows[5], rows[2] = [1e30, -1e30], 0, [0.25, 0.25, 0.25, 0.25, 0]
    lifted, norms = np.full((4, p + 1), 9.0), np.full(4, 9.0)
    plain("knn")["lift"](rows, numbers, centre, scale, is_cosine, slack, is_query, lifted, norms)
    some = rows[numbers].astype(float)
    if is_cosine:
        # All have the norm of one, those of zeros, too: they are as far from everything.
        wanted, squares = some / np.maximum(np.linalg.norm(some, axis=1, keepdims=True), 1e-30), np.ones(4)
    else:
        wanted = np.clip((some - centre) * scale, -(2.0**40), 2.0**40)
        squares = np.square(wanted).sum(axis=1)
    np.testing.assert_allclose(lifted[:, :p], wanted, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(norms, squares, rtol=1e-6)
    np.testing.assert_allclose(lifted[:, p], np.ones(4) if is_query else -squares / 2 * (1 - 2 * slack), rtol=1e-6)


def test_no_row_of_a_score_is_longer_than_what_its_score_allows():
    """Within the root of |q|^2 - 2 low of the query, and never beyond 1."""
    largest, rng = plain("knn")["largest_norm"], np.random.default_rng(0)
    for size in (0.0, 0.01, 0.1, 0.4, 1.5):
        for _ in range(20):
            q, x = (one / np.linalg.norm(one) for one in rng.normal(size=(2, 3)))
            q, x = size * q, rng.uniform(0, 1) * x
            low = np.float32(q @ x - x @ x / 2)
            found = largest(low, q @ q, 1e-7)
            away = np.sqrt(max(size**2 - 2 * float(low), 0)) + size
            assert x @ x <= found * (1 + 1e-6) and found == pytest.approx(min(1.0, away**2), rel=1e-3, abs=1e-6)
        # A score that no row can have, but by rounding, is that of the query itself.
        assert largest(np.float32(size**2), size**2, 1e-9) == pytest.approx(min(1.0, size**2), rel=1e-3)


@pytest.mark.parametrize("before", [-np.inf, 0.2, 0.6])
@pytest.mark.parametrize(("count", "k", "spare"), [(2, 3, 0), (3, 3, 0), (4, 3, 0), (30, 3, 0), (30, 1, 0), (30, 8, 4)])
def test_a_bar_is_between_the_candidates_that_are_enough_and_those_that_are_too_many(before, count, k, spare):
    rng, slack = np.random.default_rng(count), 1e-9
    scores, places = np.zeros((2, 40), np.float32), np.zeros((2, 40), np.uint32)
    values = rng.permutation(np.linspace(0.1, 0.9, count)).astype(np.float32)
    values = values[values >= before]
    m = len(values)
    scores[1, :m], places[1, :m] = values, rng.permutation(90)[:m]
    labels, counts, bars = places[1, :m].copy(), np.array([7, m], np.uint32), np.array([-1, before], np.float32)
    plain("knn")["tighten"](1, k, spare, slack, 2.0, scores, places, counts, bars)
    assert (counts[0], bars[0]) == (7, -1)
    if m < k:
        assert (counts[1], bars[1]) == (m, np.float32(before))
        return
    ranked = np.sort(values)[::-1]
    # No higher than the k-th best, and at least as high as what leaves no more than the spare ones with it.
    assert before <= bars[1] <= ranked[k - 1]
    assert m <= k + spare or bars[1] >= ranked[k + spare] - 1e-5 or bars[1] == np.float32(before)
    kept = values >= bars[1]
    assert counts[1] == kept.sum() >= k
    np.testing.assert_array_equal(scores[1, : counts[1]], values[kept])
    np.testing.assert_array_equal(places[1, : counts[1]], labels[kept])


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_one_candidate_is_taken_out_wherever_it_is(count):
    """The last of its name; those behind it move up, and room behind them stays as it is."""
    for at in range(count):
        values, labels = np.arange(10, 20, dtype=np.float32), np.array([5, 7, 9, 11, 13, 15, 7, 5, 5, 5], np.uint32)
        kept = [[*array[:at], *array[at + 1 : count]] for array in (values, labels)]
        behind = [array[count:].tolist() for array in (values, labels)]
        assert plain("knn")["without"](labels[at], values, labels, np.uint64(count)) == count - 1
        for array, wanted, rest in zip((values, labels), kept, behind, strict=True):
            assert array[: count - 1].tolist() == wanted and array[count:].tolist() == rest


@pytest.mark.parametrize("is_cosine", [False, True])
@pytest.mark.parametrize("k", [1, 3, 9])
def test_ties_that_fill_a_buffer_are_settled_by_distance_and_number(k, is_cosine):
    rng = np.random.default_rng(k)
    rows, order = rng.integers(1, 4, (20, 2)).astype(np.float32), rng.permutation(20).astype(np.uint32)
    query = np.float32([1, 2])
    scores, places = np.zeros((2, 15), np.float32), np.zeros((2, 15), np.uint32)
    scores[1], places[1] = rng.normal(size=15), rng.permutation(20)[:15]
    before, counts = (scores[1].copy(), places[1].copy()), np.array([4, 12], np.uint32)
    plain("knn")["settle"](1, k, query, rows, order, is_cosine, scores, places, counts)
    pair = plain("knn")["pair"]
    near = sorted(range(12), key=lambda i: (pair(query, rows[order[before[1][i]]], is_cosine), order[before[1][i]]))[:k]
    assert counts.tolist() == [4, k]
    np.testing.assert_array_equal(scores[1, :k], before[0][near])
    np.testing.assert_array_equal(places[1, :k], before[1][near])


def searched_by_gaps(rows, queries, k, chunk):
    """Keys of the nearest by what both rows have."""
    p, kernels = rows.shape[1], smaller("knn_gaps", CHUNK=chunk)
    centre = np.nanmean(rows, axis=0).astype(np.float64)
    scale = 1 / np.sqrt(np.nansum(np.square(rows - centre), axis=1).max())
    slack, words = 6 * p * 2.0**-24, -(-p // 64)
    reference, lifted = np.zeros((70, p), np.float32), np.zeros((4, p), np.float32)
    norms, query_norms = np.zeros(70, np.float32), np.zeros(4, np.float32)
    bits, query_bits = np.ones((70, words), np.uint64), np.ones((4, words), np.uint64)
    kernels["lift"](rows, ORDER, centre, scale, reference, norms, bits)
    kernels["lift"](queries, np.arange(4), centre, scale, lifted, query_norms, query_bits)
    np.testing.assert_allclose(norms, np.square(reference.astype(float)).sum(axis=1), rtol=1e-6)
    capacity = k + chunk + 2
    lows, places = np.zeros((4, capacity), np.float32), np.zeros((4, capacity), np.uint32)
    counts, bars, keys = np.zeros(4, np.uint32), np.zeros(4, np.float32), np.zeros((4, k), np.uint64)
    kernels["search"](
        lifted, queries, query_norms, query_bits, ITSELF, LISTS, STARTS, MEMBERS, EDGES, reference, norms,
        np.ascontiguousarray(bits.T), rows, ORDER, k, 8, slack, scale / math.sqrt(p), lows, places, counts, bars, keys,
    )  # fmt: skip
    return keys


def gap_distances(queries, rows):
    """Root of the mean square over the columns that both have, times all columns; infinite where there is none."""
    squares = np.square(queries[:, None].astype(float) - rows)
    shared = np.isfinite(squares).sum(axis=2)
    return np.sqrt(np.where(shared > 0, np.nansum(squares, axis=2) * rows.shape[1] / np.maximum(shared, 1), np.inf))


@pytest.mark.parametrize("chunk", [4, 32])
@pytest.mark.parametrize(("p", "k"), [(5, 1), (5, 3), (70, 7)])
def test_the_search_by_what_both_have_finds_the_nearest_of_the_lists_it_looks_at(p, k, chunk):
    rows, queries = rows_and_queries(p)
    rng = np.random.default_rng(1)
    for table in (rows, queries):
        table[rng.random(table.shape) < 0.3] = np.nan
    rows[ORDER[5:14]] = rows[ORDER[0]]
    D = gap_distances(queries, rows)
    # Rows without a column in common are no neighbours.
    assert p == 70 or np.isinf(D).any()
    check_keys(searched_by_gaps(rows, queries, k, chunk), D, k)


@pytest.mark.parametrize("chunk", [4, 32])
def test_who_has_nothing_in_common_is_nobodys_neighbour_though_fewer_are_left(chunk):
    rows, queries = rows_and_queries(6, 3)
    rows[:, 2], queries[0, [0, 1, 3, 4, 5]], queries[0, 2] = np.nan, np.nan, 1.0
    few = ORDER[[3, 11, 19]]
    rows[few, 2] = [4, -1, 2]
    keys = np.sort(searched_by_gaps(rows, queries, 7, chunk)[0])
    assert (keys[3:] == NO_KEY).all()
    assert [int(key) & 0xFFFFFFFF for key in keys[:3]] == [few[2], few[1], few[0]]


def test_a_pair_of_rows_is_compared_by_the_columns_that_both_have():
    pair, rng = plain("knn_gaps")["pair"], np.random.default_rng(0)
    for n in range(1, 14):
        for share in (0, 0.3, 0.7, 1):
            x, y = (np.where(rng.random(n) < share, np.nan, rng.normal(size=n)).astype(np.float32) for _ in range(2))
            assert pair(x, y) == pytest.approx(gap_distances(x[None], y[None])[0, 0], rel=1e-12)
        assert pair(x * np.nan, y) == np.inf


def test_what_products_are_made_of_is_what_the_head_of_the_module_says():
    kernels, rng, p = plain("knn_gaps"), np.random.default_rng(0), 70
    rows, numbers = rng.normal(size=(6, p)), np.array([4, 0, 5])
    rows[rng.random(rows.shape) < 0.4] = np.nan
    rows[0, :2], rows[5, 69] = [1e300, -1e300], 7.0
    centre, scale = rng.normal(size=p), 0.25
    lifted, norms, bits = np.full((3, p), 9, np.float32), np.full(3, 9, np.float32), np.full((3, 2), 9, np.uint64)
    kernels["lift"](rows, numbers, centre, scale, lifted, norms, bits)
    there = np.isfinite(rows[numbers])
    wanted = np.where(there, np.clip((rows[numbers] - centre) * scale, -(2.0**40), 2.0**40), 0)
    np.testing.assert_allclose(lifted, wanted, rtol=1e-6)
    np.testing.assert_allclose(norms, np.square(wanted).sum(axis=1), rtol=1e-6)
    held = (bits[:, np.arange(p) // 64] >> (np.arange(p) % 64).astype(np.uint64)) & np.uint64(1)
    np.testing.assert_array_equal(held, there)
    asked, answers = np.zeros(3 * p, np.float32), np.full((2, 3 * p), 9, np.float32)
    kernels["as_query"](lifted[2], bits[2], asked)
    np.testing.assert_array_equal(asked, np.concatenate([lifted[2] ** 2, there[2], -2 * lifted[2]]))
    kernels["as_reference"](lifted, np.ascontiguousarray(bits.T), 1, 1, answers)
    np.testing.assert_array_equal(answers[0], np.concatenate([there[1], lifted[1] ** 2, lifted[1]]))
    assert (answers[1] == 9).all()


@pytest.mark.parametrize("found", [0, 1, 2, 9])
@pytest.mark.parametrize("before", [0, 2, 3])
def test_candidates_that_are_settled_leave_the_nearest_and_a_bar_at_the_last_of_them(before, found):
    kernels, rng, k, unit = plain("knn_gaps"), np.random.default_rng(before), 3, 0.125
    rows, query, order = rng.normal(size=(20, 4)).astype(np.float32), np.zeros(4, np.float32), rng.permutation(20)
    far = np.linalg.norm(rows.astype(float), axis=1).astype(np.float32)
    key = lambda number: (np.uint64(far[number].view(np.uint32)) << np.uint64(32)) | np.uint64(number)  # noqa: E731
    old, new = order[:before], order[5 : 5 + found]
    keys = np.full((2, k), NO_KEY, np.uint64)
    keys[1, :before] = sorted(key(number) for number in old)
    places, counts, bars = np.zeros((2, 12), np.uint32), np.array([5, found], np.uint32), np.full(2, np.inf, np.float32)
    places[1, :found] = np.arange(5, 5 + found)
    kernels["settle"](1, k, unit, query, rows, order, places, counts, bars, keys)
    wanted = sorted(key(number) for number in (*old, *new))[:k]
    assert keys[1].tolist() == [*wanted, *[NO_KEY] * (k - len(wanted))]
    assert counts.tolist() == [5, 0] and (keys[0] == NO_KEY).all() and bars[0] == np.inf
    if len(wanted) < k or not found:
        assert bars[1] == np.inf
    else:
        square = (float(sorted(far[[*old, *new]])[k - 1]) * unit) ** 2
        assert square <= float(bars[1]) <= square * (1 + 2e-6)


BITS = ["jaccard", "dice", "hamming", "rogerstanimoto", "sokalsneath", "russellrao", "yule"]


@pytest.mark.parametrize("k", [1, 30])
@pytest.mark.parametrize("metric", BITS)
def test_rows_of_bits_have_the_nearest_by_scipys_distances(metric, k):
    """Rows with few and with many bits, in words that are not full; more are asked for than there are of one count."""
    from scipy.spatial.distance import cdist

    rng = np.random.default_rng(k)
    p, kernels = 70, plain("bits")
    X = rng.random((40, p)) < rng.uniform(0.05, 0.95, (40, 1))
    X[::9] = X[0]
    Q = np.concatenate([X[[4, 11]], rng.random((3, p)) < 0.5])

    def packed(table):
        wide = np.zeros((len(table), 128), np.uint8)
        wide[:, :p] = table
        return np.packbits(wide, axis=1, bitorder="little").view(np.uint64)

    found = np.zeros(40, np.int64)
    kernels["count"](packed(X), found)
    np.testing.assert_array_equal(found, X.sum(axis=1))
    by_count = np.argsort(found, kind="stable")
    counts, sizes = np.unique(found, return_counts=True)
    itself = np.array([4, 11] + [0xFFFFFFFF] * 3, np.uint32)
    wanted = cdist(Q, X, metric)
    wanted[np.isnan(wanted)] = 0
    every = np.zeros((5, 40))
    kernels["of_counts"](
        kernels["KINDS"][metric], (Q.astype(int) @ X.T.astype(int)).astype(float), Q.sum(axis=1).astype(float),
        X.sum(axis=1).astype(float), float(p), every,
    )  # fmt: skip
    np.testing.assert_allclose(every, wanted, atol=1e-12)
    for first in (0, len(counts) // 2):
        keys = np.zeros((5, k), np.uint64)
        kernels["search"](
            kernels["KINDS"][metric], packed(Q), Q.sum(axis=1), itself, packed(X)[by_count], by_count.astype(np.uint32),
            np.r_[0, np.cumsum(sizes)], counts, first, float(p), keys,
        )  # fmt: skip
        for query in range(5):
            ranked = sorted((np.float32(wanted[query, row]), row) for row in range(40) if row != itself[query])[:k]
            assert [int(key) & 0xFFFFFFFF for key in np.sort(keys[query])] == [row for _, row in ranked]


@pytest.mark.parametrize("metric", BITS)
def test_the_fewest_shared_columns_are_found_by_trying_all(metric):
    kernels, kind, columns = plain("bits"), plain("bits")["KINDS"][metric], 9.0
    rng = np.random.default_rng(0)
    for left, right in ((0, 0), (0, 4), (9, 9), (3, 5), (7, 8), (1, 1), (9, 2)):
        able = range(max(0, left + right - 9), min(left, right) + 1)
        apart = [
            np.float32(kernels["distance"](kind, float(both), float(left), float(right), columns)) for both in able
        ]
        for limit in [*apart, *rng.random(4).astype(np.float32)]:
            wanted = next((both for both, far in zip(able, apart, strict=True) if far <= limit), min(left, right) + 1)
            assert kernels["least"](kind, left, right, columns, limit) == wanted


# -------------------------------------------------------------------------------------------- what other tests ask, too


@pytest.mark.parametrize(
    ("test", "given"),
    [
        ("test_what_was_found_is_measured_and_what_is_none_is_last", (False,)),
        ("test_what_was_found_is_measured_and_what_is_none_is_last", (True,)),
        ("test_neighbours_of_distinct_rows_are_spread_over_their_copies", (2,)),
        ("test_neighbours_of_distinct_rows_are_spread_over_their_copies", (9,)),
        ("test_where_there_are_fewer_rows_than_are_asked_for_the_last_are_none", ()),
        ("test_a_row_is_not_among_its_own_neighbours", (3,)),
        ("test_how_many_neighbours_are_as_near_on_the_map", (2,)),
        ("test_neighbours_after_a_move_on_a_line", (14, 4, 1.0, 0.25)),
        ("test_neighbours_after_a_move_on_a_line", (9, 9, -1.0, 1.0)),
        ("test_missing_values_are_means_of_the_nearest_donors_that_have_them", (2,)),
        ("test_missing_values_are_means_of_the_nearest_donors_that_have_them", (30,)),
    ],
)
def test_kernels_that_are_asked_by_hand(test, given, monkeypatch):
    """The same questions, line by line."""
    for module in ("knn", "trust"):
        monkeypatch.setattr(by_hand, module, SimpleNamespace(**plain(module)))
    monkeypatch.setattr(by_hand, "spread", plain("knn_distinct")["spread"])
    monkeypatch.setattr(by_hand, "fill_from_nearest", plain("fill")["fill_from_nearest"])
    getattr(by_hand, test)(*given)
