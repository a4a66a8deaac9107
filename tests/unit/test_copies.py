"""Rows with more copies than neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from tsne_ooc.fit.copies import Spread, reunite, spread_copies
from tsne_ooc.joint import Joint


def ties_by_number(groups, k):
    """Neighbours as a search orders them: the first k copies by row number, without the row itself."""
    n = len(groups)
    indices, distances = np.empty((n, k), np.uint32), np.zeros((n, k), np.float32)
    for i in range(n):
        copies = [j for j in np.flatnonzero(groups == groups[i]) if j != i][:k]
        others = list(np.flatnonzero(groups != groups[i]))[: k - len(copies)]
        indices[i] = copies + others
        distances[i, len(copies) :] = 1
    return indices, distances


def test_copies_name_other_copies_and_none_is_a_hub():
    rng = np.random.default_rng(0)
    groups = np.concatenate([np.zeros(80, int), np.ones(200, int), np.full(5, 2), np.full(11, 3), np.full(10, 4)])
    groups = rng.permutation(groups)
    indices, distances = ties_by_number(groups, 10)
    before = indices.copy()
    spread_copies(indices, distances, np.random.default_rng(1))
    large = np.isin(groups, (0, 1))
    np.testing.assert_array_equal(indices[~large], before[~large])
    for i in np.flatnonzero(large):
        assert (groups[indices[i]] == groups[i]).all()
        assert i not in indices[i]
        assert (np.diff(indices[i].astype(int)) > 0).all()
    counts = np.bincount(indices[large].ravel(), minlength=len(groups))
    assert (counts[large] == 10).all()
    assert np.bincount(before[large].ravel()).max() > 100


def test_the_seed_decides():
    groups = np.zeros(50, int)
    results = []
    for seed in (3, 3, 4):
        indices, distances = ties_by_number(groups, 5)
        spread_copies(indices, distances, np.random.default_rng(seed))
        results.append(indices.tobytes())
    assert results[0] == results[1] != results[2]


class Late:
    """Affinities of which a part has its own rows alone, and begins with the entries of some rows before."""

    def __init__(self, P):
        self.P, self.n, self.indptr = P, P.n, P.indptr

    def part(self, start, stop):
        first, last = int(self.indptr[max(0, start - 1)]), int(self.indptr[stop])
        return first, self.P.indices[first:last], self.P.values[first:last]


def reunited(Y, P, equal, dof):
    """By the words: a group's seat is that of the copy, among the 16 nearest to the median, that is pulled least."""
    Y, n = Y.copy(), len(Y)
    near, moved = max(0.05, 1 / np.sqrt(n)) * np.ptp(Y, axis=0).max(), 0
    for number in np.unique(equal):
        members = np.flatnonzero(equal == number)
        if len(members) == 1:
            continue
        middle = np.linalg.norm(Y[members] - np.median(Y[members], axis=0), axis=1)
        candidates = members[np.argsort(middle, kind="stable")[:16]]
        places = Y.astype(float)
        pulls = [P[i] @ np.log1p(((places - places[i]) ** 2).sum(1) / dof) for i in candidates]
        seat = candidates[np.argmin(pulls)]
        away = np.linalg.norm(Y[members] - Y[seat], axis=1)
        lost = members[away > max(near, 5 * np.sort(away)[(len(away) - 1) // 2])]
        Y[lost] = Y[seat]
        moved += len(lost)
    return Y, moved


@pytest.mark.parametrize(
    ("n", "groups", "d"),
    [(2, 1, 2), (9, 3, 1), (9, 3, 3), (60, 6, 1), (60, 6, 2), (60, 6, 3), (300, 8, 2), (500, 15, 3)],
)
def test_lost_copies_take_the_seat_that_the_words_give_them(n, groups, d):
    total, ties = 0, 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        # Whole numbers, so that many copies are as far from the middle, or from the seat, as others.
        Y = np.round(rng.normal(0, 20 if seed % 2 else 4, (n, d))).astype(np.float32)
        equal = np.where(rng.random(n) < 0.3, n, rng.integers(0, groups, n))
        own = equal == n
        equal[own] = 10 + np.flatnonzero(own) + groups
        for number in range(groups):
            copies = np.flatnonzero(equal == number)
            Y[copies] = Y[copies[:1]] + np.round(rng.normal(0, 1, (len(copies), d)))
            lost = copies[rng.random(len(copies)) < 0.3]
            Y[lost] += np.round(rng.normal(0, 0.1 * np.ptp(Y) + 4, (len(lost), d)))
        dense = rng.random((n, n)) * (rng.random((n, n)) < min(1, 12 / n)) + 1e-3 * np.eye(n)[::-1]
        P = Joint.from_matrix(dense + dense.T)
        wanted, moved = reunited(Y, P.tocsr().toarray(), equal, 0.5 + seed)
        before = equal.copy()
        for affinities in (P, Late(P)):
            found = Y.copy()
            assert reunite(found, affinities, equal, 0.5 + seed) == moved
            np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(equal, before)
        total += moved
        ties += n - len(np.unique(Y, axis=0))
    assert total > 0 or n == 2
    assert ties > 0 or n < 60


@pytest.mark.parametrize(("n", "limit"), [(25, 0.2), (100, 0.1), (400, 0.05), (2500, 0.05)])
def test_how_far_copies_may_be_from_each_other(n, limit):
    """A twentieth of the map, or on small ones the width of the room that each row has."""
    for factor, moved in ((0.99, 0), (1.01, 1)):
        Y = np.zeros((n, 2), np.float32)
        Y[:, 0] = np.linspace(0, 100, n)
        Y[n // 2, 0] = Y[n // 3, 0] + 100 * limit * factor
        equal = np.arange(n)
        equal[n // 2] = n // 3
        # Both are pulled by the same row, which is the twin of neither.
        P = csr_array((np.ones(2), ([n // 2, n // 3], [0, 0])), shape=(n, n))
        assert reunite(Y, Joint.from_matrix(P + P.T), equal, 1.0) == moved


@pytest.mark.parametrize("size", [5, 6, 9])
@pytest.mark.parametrize("seed", range(6))
def test_no_copy_names_itself_or_another_one_twice(size, seed):
    """Of all but one of the others each names all, so that a wrong offset could not hide."""
    rows, k = np.arange(3, 3 + size), size - 2
    nearest = np.where(rows == 3, 4, 3)
    named = np.full((size, k), 10**6, np.uint32)
    Spread(rows, nearest, k, np.random.default_rng(seed)).put(named, rows)
    for row, others in zip(rows, named.astype(int), strict=True):
        assert len(set(others)) == k and set(others) <= set(rows) - {row}
    # Each is named as often as it names.
    assert (np.bincount(named.ravel())[3:] == k).all()
