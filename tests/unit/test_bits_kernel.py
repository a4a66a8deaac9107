"""The kernel for rows of yes and no meets four queries at a time: groups of every size, and queries that stop early."""

import numpy as np
import pytest

from tsne_ooc import neighbors
from tsne_ooc._parallel import Threads


def obvious(Q, X):
    """Jaccard distances, pair by pair."""
    found = np.empty((len(Q), len(X)), np.float32)
    for i, query in enumerate(Q):
        for j, row in enumerate(X):
            either = int((query | row).sum())
            found[i, j] = 1 - int((query & row).sum()) / either if either else 0
    return found


def drawn(n, seed, columns=200):
    """Rows of very different counts, some of nothing, and some that are equal."""
    rng = np.random.default_rng(seed)
    X = rng.random((n, columns)) < rng.choice([0, 0.01, 0.05, 0.2, 0.7], size=(n, 1))
    X[n // 2 :: 3] = X[: len(X[n // 2 :: 3])]
    return X


def nearest(distances, k):
    """By distance, then by number."""
    order = np.lexsort((np.broadcast_to(np.arange(distances.shape[1]), distances.shape), distances))[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


@pytest.mark.parametrize("queries", [1, 2, 3, 4, 5, 7, 8, 63, 64, 65, 130])
@pytest.mark.parametrize("k", [1, 6])
def test_new_rows(queries, k):
    X, Q = drawn(150, 0), drawn(queries, queries)
    index = neighbors.Exact().build(X.astype(np.float32), metric="jaccard", threads=Threads(1))
    indices, distances = index.query(Q.astype(np.float32), k)
    expected, away = nearest(obvious(Q, X), k)
    np.testing.assert_array_equal(distances, away)
    np.testing.assert_array_equal(indices, expected)


@pytest.mark.parametrize("n", [2, 5, 66, 200])
def test_among_themselves(n):
    X = drawn(n, 1)
    k = min(9, n - 1)
    index = neighbors.Exact().build(X.astype(np.float32), metric="jaccard", threads=Threads(1))
    indices, distances = index.query_self(k)
    all_pairs = obvious(X, X)
    np.fill_diagonal(all_pairs, np.inf)
    expected, away = nearest(all_pairs, k)
    np.testing.assert_array_equal(distances, away)
    np.testing.assert_array_equal(indices, expected)
