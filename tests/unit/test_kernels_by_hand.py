"""Kernels that search, trust and filling in stand on, by themselves: what each writes, row by row, by its own words."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

from tsne_ooc._kernels import knn, trust
from tsne_ooc._kernels.fill import fill_from_nearest
from tsne_ooc._kernels.knn_distinct import spread
from tsne_ooc.neighbors._blocks import read_only
from tsne_ooc.neighbors._sparse import Counts, Factors, all_distances, pair_distances

# ------------------------------------------------------------------------------------------------------- sparse rows


def hellinger(Q, X):
    """Of rows as shares of their sums; one of zeros is at 1 from others, and at 0 from another one of zeros."""
    sums = [rows.sum(axis=1, keepdims=True) for rows in (Q, X)]
    roots = [np.sqrt(rows / np.where(total > 0, total, 1)) for rows, total in zip((Q, X), sums, strict=True)]
    return np.where((sums[0] == 0) != (sums[1] == 0).T, 1.0, cdist(*roots) / np.sqrt(2))


def cosine(Q, X):
    lengths = [np.linalg.norm(rows, axis=1, keepdims=True) for rows in (Q, X)]
    units = [rows / np.where(length > 0, length, 1) for rows, length in zip((Q, X), lengths, strict=True)]
    return np.where((lengths[0] == 0) | (lengths[1] == 0).T, 1.0, cdist(*units, "sqeuclidean") / 2)


LAWS = {"hellinger": hellinger, "cosine": cosine} | {
    name: lambda Q, X, name=name: cdist(Q, X, name) for name in ("euclidean", "cityblock", "chebyshev", "hamming")
}


def few_entries(n, p, seed, metric):
    """Rows with and without entries, of both signs where the metric takes them; some entries are zeros."""
    rng = np.random.default_rng(seed)
    dense = np.where(rng.random((n, p)) < 0.3, rng.normal(size=(n, p)), 0).astype(np.float32)
    dense[::5] = 0
    # Some rows have a number in common, which is no difference.
    dense[1::4, 2] = 1.5
    rows = csr_array(np.abs(dense) if metric == "hellinger" else dense)
    rows.data[::6] = 0
    return rows


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
@pytest.mark.parametrize("metric", LAWS)
def test_pairs_of_sparse_rows_are_measured_by_the_law_of_their_metric(metric, scale):
    """Any rows for each query, in any order, and none for some; the scale of the rows is no hindrance."""
    Q, X = few_entries(9, 12, 0, metric), few_entries(20, 12, 1, metric)
    Q.data *= np.float32(scale)
    X.data *= np.float32(scale)
    wanted = LAWS[metric](Q.toarray().astype(float), X.toarray().astype(float))
    rng = np.random.default_rng(2)
    counts = [0, 1, 20, 3, 7, 0, 2, 5, 4]
    numbers = np.concatenate([rng.permutation(20)[:count] for count in counts]).astype(np.uint32)
    starts = np.concatenate([[0], np.cumsum(counts)])
    query = np.repeat(np.arange(9), counts)
    before = [(rows.data.copy(), rows.indices.copy()) for rows in (Q, X)]
    least = 1e-15 * (scale if metric in ("euclidean", "cityblock", "chebyshev") else 1)
    for factors in (None, Factors(X, metric)):
        found = pair_distances(Q, X, metric, starts, numbers, factors)
        np.testing.assert_allclose(found, wanted[query, numbers], rtol=1e-12, atol=least)
    np.testing.assert_allclose(all_distances(Q, X, metric), wanted, rtol=1e-12, atol=least)
    for rows, (data, indices) in zip((Q, X), before, strict=True):
        np.testing.assert_array_equal(rows.data, data)
        np.testing.assert_array_equal(rows.indices, indices)


@pytest.mark.parametrize("metric", ["jaccard", "yule"])
def test_rows_that_are_counted_stay_as_they_were(metric):
    """Stored zeros, too, and numbers that are not 1."""
    Q, X = (few_entries(n, 12, n, "euclidean") for n in (9, 20))
    before = [rows.copy() for rows in (Q, X)]
    Counts(X, metric).distances(Q)
    for rows, was in zip((Q, X), before, strict=True):
        for part in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(rows, part), getattr(was, part))


# ------------------------------------------------------------------------------------------- what another search found


@pytest.mark.parametrize("is_cosine", [False, True])
def test_what_was_found_is_measured_and_what_is_none_is_last(is_cosine):
    rng = np.random.default_rng(0)
    Q, X = (rng.normal(size=(n, 7)).astype(np.float32) for n in (5, 30))
    X[3] = 0
    found = np.array([rng.permutation(30)[:8] for _ in range(5)])
    found[1, 2] = found[4, 0] = -1
    found[:, 7], found[2, 3], found[0, 5], found[4, 2] = 3, 0, 0, 0
    itself = np.array([found[0, 1], 0xFFFFFFFF, 0, found[3, 6], 0xFFFFFFFF], np.uint32)
    keys = np.zeros(found.shape, np.uint64)
    knn.rerank(read_only(Q), read_only(X), found, read_only(itself), is_cosine, keys)
    D = cosine(Q.astype(float), X.astype(float)) if is_cosine else cdist(Q.astype(float), X.astype(float))
    for row, column in np.ndindex(found.shape):
        number = found[row, column]
        if number < 0 or number == itself[row]:
            assert keys[row, column] == 2**64 - 1
            continue
        assert int(keys[row, column]) & 0xFFFFFFFF == number
        told = np.array([int(keys[row, column]) >> 32], np.uint32).view(np.float32)[0]
        assert told == pytest.approx(D[row, number], rel=2e-7)


# -------------------------------------------------------------------------------------------------------------- copies


@pytest.mark.parametrize("k", [1, 2, 5, 9])
def test_neighbours_of_distinct_rows_are_spread_over_their_copies(k):
    """By distance, then by row number; of each group k rows at most, its own group among them or not."""
    rng = np.random.default_rng(k)
    of = rng.permutation(np.concatenate([np.arange(12), rng.integers(0, 12, 28), np.full(20, 4)]))
    starts = np.concatenate([[0], np.cumsum(np.bincount(of))])
    members = np.argsort(of, kind="stable")
    found, distances, own, wanted = [], [], [], []
    for query in range(25):
        itself = (query + 4) % 12 if query % 3 else -1
        others = rng.permutation([d for d in range(12) if d != itself])[: min(k, 11)]
        # Few different numbers: whole groups are as far away as others.
        apart = np.sort(rng.integers(1, 4, len(others))).astype(np.float32)
        away = np.float32(rng.integers(0, 3) if query % 2 else 0)
        found.append(np.resize(others, min(k, 11)))
        distances.append(apart)
        own.append([itself, away.view(np.uint32)])
        groups = [*zip(apart, others, strict=True), *([(away, itself)] if itself >= 0 else [])]
        pairs = sorted((float(far), int(row)) for far, group in groups for row in np.flatnonzero(of == group))
        wanted.append(pairs[:k])
    keys = np.zeros((25, k), np.uint64)
    spread(
        np.array(found, np.uint32), np.array(distances, np.float32), np.array(own, np.int64), starts, members, k, keys
    )
    for line, pairs in zip(keys, wanted, strict=True):
        some = line[: len(pairs)].copy()
        apart = (some >> np.uint64(32)).astype(np.uint32).view(np.float32)
        assert list(zip(apart.tolist(), (some & np.uint64(0xFFFFFFFF)).tolist(), strict=True)) == pairs
        assert (line[len(pairs) :] == 2**64 - 1).all()


def test_where_there_are_fewer_rows_than_are_asked_for_the_last_are_none():
    """Two groups, of three rows; and a query that is none of them, whose own group is nobody."""
    starts, members = np.array([0, 2, 3]), np.array([0, 2, 1])
    found, apart = np.array([[1], [0]], np.uint32), np.array([[1.0], [2.0]], np.float32)
    own, keys = np.array([[0, 0], [-1, 0]]), np.zeros((2, 5), np.uint64)
    spread(found, apart, own, starts, members, 5, keys)
    numbers = [[int(key) & 0xFFFFFFFF for key in line if key != 2**64 - 1] for line in keys]
    assert numbers == [[0, 2, 1], [0, 2]] and (keys[0, 3:] == 2**64 - 1).all() and (keys[1, 2:] == 2**64 - 1).all()


# --------------------------------------------------------------------------------------------------------------- trust


def without(row, own):
    """A list without one number, or without its last one where that is not in it."""
    kept = row.tolist()
    kept.remove(own) if own in kept else kept.pop()
    return kept


def some_lists(m, width, n, seed):
    rng = np.random.default_rng(seed)
    lists = np.array([rng.permutation(n)[:width] for _ in range(m)])
    own = np.array([lists[i, rng.integers(width)] if i % 3 else -1 for i in range(m)])
    own[0], own[1], own[2] = lists[0, 0], lists[1, -1], lists[2, -2]
    return lists, own


@pytest.mark.parametrize("width", [2, 3, 8])
def test_a_row_is_not_among_its_own_neighbours(width):
    lists, own = some_lists(20, width, 30, width)
    indices, values = lists.astype(np.uint32), np.sort(np.random.default_rng(0).random(lists.shape)).astype(np.float32)
    near, kept = np.zeros((20, width - 1), np.uint32), np.zeros((20, width - 1), np.float32)
    for start, stop in ((0, 7), (7, 7), (7, 20)):
        trust.others(indices, values, own, near, kept, start, stop)
    for i in range(20):
        assert near[i].tolist() == without(lists[i], own[i])
        at = lists[i].tolist().index(own[i]) if own[i] in lists[i] else width - 1
        assert kept[i].tolist() == np.delete(values[i], at).tolist()


@pytest.mark.parametrize("k", [1, 2, 7])
def test_how_many_neighbours_are_as_near_on_the_map(k):
    found, own = some_lists(40, k + 1, 12, k)
    near = np.array([np.random.default_rng(i).permutation(12)[:k] for i in range(40)])
    hits = np.full(40, -1)
    trust.shared(near.astype(np.uint32), found, own, hits)
    assert hits.tolist() == [len(set(near[i]) & set(without(found[i], own[i]))) for i in range(40)]
    assert len(set(hits.tolist())) > 1


@pytest.mark.parametrize("unit", [1.0, 0.25])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("seen", "k"), [(1, 1), (9, 1), (9, 4), (9, 9), (14, 4), (14, 14)])
def test_neighbours_after_a_move_on_a_line(seen, k, sign, unit):
    """Whole numbers: many are as far as others, on both sides, and some rows land on one another."""
    rng = np.random.default_rng(0)
    z, x, move = rng.integers(-9, 10, 14).astype(float), rng.integers(-9, 10, 30).astype(float), 3.0
    apart = np.abs(x[:, None] - z)
    near = np.argsort(apart, axis=1, kind="stable")
    far = (np.take_along_axis(apart, near, axis=1) / unit).astype(np.float32)
    out, distances = np.zeros((30, k), np.uint32), np.zeros((30, k), np.float32)
    for start, stop in ((0, 11), (11, 30)):
        trust.moved(
            near.astype(np.uint32), far, seen, move * x, move * z, sign, move**2, unit, out, distances, start, stop
        )
    for i in range(30):
        after = np.abs(x[i] + sign * move - z[near[i, :seen]])
        kept = np.argsort(after, kind="stable")[:k]
        assert out[i].tolist() == near[i, kept].tolist()
        assert distances[i].tolist() == (after[kept] / unit).tolist()


# ------------------------------------------------------------------------------------------------------- missing values


@pytest.mark.parametrize("k", [1, 2, 5, 30])
def test_missing_values_are_means_of_the_nearest_donors_that_have_them(k):
    """Whole numbers: of donors as far away as others the first count. Who shares no column is no donor."""
    rng = np.random.default_rng(k)
    rows, donors = rng.integers(0, 3, (25, 5)).astype(float), rng.integers(0, 3, (20, 5)).astype(float)
    rows[rng.random(rows.shape) < 0.4], donors[rng.random(donors.shape) < 0.4] = np.nan, np.nan
    rows[3], donors[:, 4] = [np.nan] * 4 + [1.0], np.nan
    rows[0], rows[1] = [0, 1, 2, 0, 1], [np.nan] * 5
    scale, means = np.array([1.0, 2.0, 0.5, 1.0, 4.0]), np.array([7.0, 8.0, 9.0, 10.0, 11.0])
    wanted, before = rows.copy(), donors.copy()
    for i, row in enumerate(rows):
        apart = ((row - donors) / scale) ** 2
        there = ~np.isnan(apart)
        far = np.where(there.any(axis=1), np.nansum(apart, axis=1) / np.maximum(there.sum(axis=1), 1), np.inf)
        ranked = [d for d in np.argsort(far, kind="stable") if np.isfinite(far[d])]
        for j in np.flatnonzero(np.isnan(row)):
            given = [donors[d, j] for d in ranked if not np.isnan(donors[d, j])][:k]
            wanted[i, j] = np.mean(given) if given else means[j]
    found = rows.copy()
    fill_from_nearest(found, donors, scale, k, means)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    np.testing.assert_array_equal(donors, before)
