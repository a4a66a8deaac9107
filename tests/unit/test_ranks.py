"""Nearest rows and ranks of rows that are drawn: the same as all distances say, for any metric, block and thread."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import reference
from scipy.spatial.distance import cdist

from tsne_ooc._kernels.ranks import count_below
from tsne_ooc._parallel import Threads
from tsne_ooc.io import iterate
from tsne_ooc.metrics._space import Space
from tsne_ooc.neighbors.pairwise import Pairwise

N, P = 230, 7


def table(metric):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, P)).astype(np.float32)
    if metric == "jaccard":
        X = (X > 0.3).astype(np.float32)
    X[17] = X[40]
    X[18] = X[40]
    return X


def by_pairs(metric, params, X):
    D = Pairwise(metric, params, X).block(X, X)
    np.fill_diagonal(D, np.inf)
    return D


METRICS = [("euclidean", None), ("l2", None), ("cosine", None), ("cityblock", None), ("minkowski", {"p": 3.0}),
           ("euclidean", {"w": np.arange(P) / 2}), ("jaccard", None),
           ("seuclidean", {"V": np.arange(1.0, P + 1)})]  # fmt: skip


@pytest.mark.parametrize("metric, params", METRICS, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("rows", [None, 31], ids=["one block", "blocks"])
def test_nearest_and_nearer(metric, params, rows, monkeypatch):
    if rows:
        for module in ("_common", "_space"):
            again = partial(iterate, rows=rows)
            monkeypatch.setattr(f"tsne_ooc.metrics.{module}.iterate", lambda table, again=again, **given: again(table))
            monkeypatch.setattr(f"tsne_ooc.metrics.{module}.GROUP", 4)
        monkeypatch.setattr("tsne_ooc.metrics._space.TILE", 10)
    X = table(metric)
    D = by_pairs(metric, params, X)
    drawn = np.array([0, 17, 40, 41, 99, 229])
    found = []
    for jobs in (1, 3):
        space = Space(X, Threads(jobs), metric, params)
        near, apart = space.nearest(drawn, 12)
        np.testing.assert_allclose(apart, np.sort(D[drawn], axis=1)[:, :12], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(np.take_along_axis(D[drawn], near, axis=1), apart, rtol=1e-5, atol=1e-6)
        assert all(len(set(one)) == 12 and own not in one for one, own in zip(near.tolist(), drawn, strict=True))
        targets = np.random.default_rng(1).integers(0, N, (len(drawn), 9))
        targets[targets == drawn[:, None]] += 1
        targets %= N
        nearer = space.nearer(drawn, targets)
        reach = np.take_along_axis(D[drawn], targets, axis=1)
        # Rows that are as far, to the last digits, may be counted or not; of copies none is nearer.
        least = (D[drawn][:, None, :] < reach[:, :, None] * (1 - 1e-6)).sum(axis=2)
        most = (D[drawn][:, None, :] < reach[:, :, None] * (1 + 1e-6)).sum(axis=2)
        if metric == "jaccard":
            # Of bits many are as far as each other, to the last digit, and none of these is nearer.
            most = least
        assert ((least <= nearer) & (nearer <= most)).all() and (most - least).max() <= 2
        found.append(nearer)
    np.testing.assert_array_equal(*found)


def test_distances_between_rows():
    X = table("euclidean")
    np.testing.assert_allclose(Space(X, Threads(1)).between(X[:9], X[9:30]), cdist(X[:9], X[9:30]), rtol=1e-6)


def test_the_kernel():
    """Its slow twin is a loop over distances."""
    rng = np.random.default_rng(0)
    D, reach = rng.random((5, 40)).round(2), rng.random((5, 4)).round(2)
    counts = np.full((5, 4), 7)
    count_below(D, reach, counts)
    for i in range(5):
        for j in range(4):
            assert counts[i, j] == 7 + reference.nearer(D[i], reach[i, j], -1)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_far_out_and_near_each_other(metric):
    """A thousand widths from 0, and rows whose distances differ in the sixth digit; copies are as far as each other."""
    rng = np.random.default_rng(0)
    X = (1000 + rng.normal(size=(90, 4))).astype(np.float32)
    X[50:70] = X[10] + np.float32(0.25) * np.arange(20)[:, None]
    X[3] = 0
    X[71] = X[72]
    drawn, targets = np.array([3, 10, 71]), np.array([[10, 4], [50, 69], [72, 5]])
    D = by_pairs(metric, None, X)
    nearer = Space(X, Threads(1), metric).nearer(drawn, targets)
    for i, row in enumerate(drawn):
        for j, target in enumerate(targets[i]):
            wanted = reference.nearer(D[row], D[row, target] * (1 - 1e-9) - 1e-14, row)
            assert nearer[i, j] == wanted, (row, target)


def test_a_zero_in_a_row_is_no_row_of_zeros():
    """Small whole numbers: many rows have a zero somewhere, some have nothing else, and many are as far as others."""
    X = np.random.default_rng(0).integers(-1, 2, (80, 3)).astype(np.float32)
    D = by_pairs("cosine", None, X)
    drawn = np.arange(0, 80, 7)
    targets = np.random.default_rng(1).integers(0, 80, (len(drawn), 6))
    targets[targets == drawn[:, None]] += 1
    targets %= 80
    assert (X[drawn] == 0).any() and not X[drawn].any(axis=1).all()
    nearer = Space(X, Threads(1), "cosine").nearer(drawn, targets)
    for i, row in enumerate(drawn):
        for j, target in enumerate(targets[i]):
            assert nearer[i, j] == reference.nearer(D[row], D[row, target] * (1 - 1e-9) - 1e-14, row), (row, target)
