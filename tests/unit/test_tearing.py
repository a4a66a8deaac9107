"""Copies, and rows with large affinities, stay beside each other on small tables."""

from __future__ import annotations

import numpy as np
import pytest

from tsne_ooc import TSNE
from tsne_ooc.fit.copies import reunite
from tsne_ooc.joint import Joint


def farthest_copy(Y, pairs):
    """The longest way from a copy to its twin, as a share of the map."""
    a, b = np.transpose(pairs)
    return np.linalg.norm(Y[a] - Y[b], axis=1).max() / np.ptp(Y, axis=0).max()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("perplexity", [2, 5])
def test_copies_of_seventy_rows_stay_together(seed, perplexity):
    U = np.random.default_rng(seed).normal(size=(60, 3))
    model = TSNE(perplexity=perplexity, random_state=4).fit(np.vstack([U, U[:10]]))
    assert farthest_copy(model.embedding_, [(i, 60 + i) for i in range(10)]) < 0.05


@pytest.mark.parametrize("seed", range(2))
def test_copies_of_digits_stay_together(digits, seed):
    X = digits[0][np.random.default_rng(seed).permutation(1797)[:1000]]
    model = TSNE(perplexity=3, random_state=seed).fit(np.vstack([X, X[:200]]))
    assert farthest_copy(model.embedding_, [(i, 1000 + i) for i in range(200)]) < 0.05


@pytest.mark.parametrize(("name", "perplexity"), [("iris", 3), ("wine", 3), ("wine", 10)])
def test_small_tables_end_as_low_as_by_the_classic_schedule(name, perplexity):
    from sklearn import datasets

    X = getattr(datasets, f"load_{name}")().data
    X = (X - X.mean(0)) / X.std(0)
    default, classic = (
        TSNE(perplexity=perplexity, schedule=schedule, random_state=0).fit(X) for schedule in (None, "classic")
    )
    assert default.kl_divergence_ < 1.05 * classic.kl_divergence_


def chain(n):
    """Affinities of a chain of rows."""
    P = np.zeros((n, n))
    P[np.arange(n - 1), np.arange(1, n)] = 1
    return Joint.from_matrix(P + P.T)


def test_a_lost_copy_takes_the_seat_of_the_happier_twin():
    n = 100
    Y = np.stack([np.arange(n), np.zeros(n)], axis=1).astype(np.float32)
    P, equal = chain(n), np.arange(n)
    equal[30] = equal[80] = 30
    # Row 80 lies between its neighbours, row 30 far from its own.
    Y[30] = (30, 60)
    before = Y.copy()
    assert reunite(Y, P, equal, 1.0) == 1
    np.testing.assert_array_equal(Y[30], before[80])
    np.testing.assert_array_equal(np.delete(Y, 30, 0), np.delete(before, 30, 0))


def test_a_clump_is_left_as_wide_as_it_is():
    """A hundred copies need room: none is lost while all are within a few radii."""
    rng = np.random.default_rng(0)
    Y = rng.normal(0, 30, (1000, 2)).astype(np.float32)
    angle, radius = rng.uniform(0, 2 * np.pi, 100), 10 * np.sqrt(rng.uniform(size=100))
    Y[:100] = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    equal = np.arange(1000)
    equal[:100] = 0
    before, P = Y.copy(), chain(1000)
    assert reunite(Y, P, equal, 1.0) == 0
    Y[7], Y[55] = (90, 0), (-90, 30)
    assert reunite(Y, P, equal, 1.0) == 2
    assert len({tuple(Y[7]), tuple(Y[55])}) == 1
    assert np.linalg.norm(Y[7]) < 10
    rest = np.delete(np.arange(1000), [7, 55])
    np.testing.assert_array_equal(Y[rest], before[rest])


def test_all_that_are_moved_are_counted():
    """Of several groups, one after the other."""
    n = 200
    Y = np.stack([np.arange(n), np.zeros(n)], axis=1).astype(np.float32)
    equal = np.arange(n)
    equal[30] = equal[80] = 30
    equal[110] = equal[140] = 110
    equal[150] = equal[190] = 150
    Y[30], Y[140], Y[190] = (30, 90), (140, -90), (190, 90)
    before = Y.copy()
    assert reunite(Y, chain(n), equal, 1.0) == 3 == (before != Y).any(axis=1).sum()
