"""Rows with more copies than neighbours."""

from __future__ import annotations

import numpy as np

from tsne_ooc.fit.copies import spread_copies


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
