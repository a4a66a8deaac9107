"""Rows far out do not keep those in the middle from being told apart: how many candidates a search measures again."""

from __future__ import annotations

import numpy as np
import pytest
import reference_neighbors as reference

from tsne_ooc._kernels import knn
from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import IVF, Exact
from tsne_ooc.neighbors._blocks import Blocks, Frame

TWO = Threads(2)
N, K = 3000, 30


def tables():
    rng = np.random.default_rng(0)
    some = rng.normal(size=(N, 20))
    far = some.copy()
    # They are too many to be kept apart, and not far enough out.
    far[::30] *= 300
    return {
        "normal": some,
        "one row in thirty far out": far,
        "lognormal": np.exp(3 * rng.normal(size=(N, 20))),
        "cauchy": rng.standard_cauchy(size=(N, 10)),
        "one column": rng.standard_cauchy(size=(N, 1)),
    }


TABLES = {name: X.astype(np.float32) for name, X in tables().items()}


def blocks(X, cosine=False):
    return Blocks.of(X, Frame.of(X, cosine=cosine, threads=TWO), TWO)


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("name", TABLES)
def test_the_bound_of_a_norm_holds(name, cosine):
    """Every row whose score, as it is computed, is some row's or more."""
    X = TABLES[name]
    found = blocks(X, cosine)
    queries = np.concatenate([X[:60], X[:20] * np.float32(3), np.zeros((1, X.shape[1]), np.float32)])
    lifted, squares = found.frame.lift(queries, np.arange(len(queries)))
    norms = (found.lifted[:, :-1].astype(np.float64) ** 2).sum(axis=1)
    for query, scores in enumerate(lifted @ found.lifted.T):
        ranked = np.argsort(-scores, kind="stable")
        largest = np.maximum.accumulate(norms[ranked])
        for at in (0, 1, 7, 90, 600, N - 1):
            bound = knn.largest_norm(scores[ranked[at]], squares[query], found.frame.slack)
            # Rows of unit length are so but for the last bits of their numbers.
            assert bound * (1 + 1e-6) >= largest[at]


def test_the_bound_is_near_where_the_query_and_its_neighbours_are():
    frame = blocks(TABLES["normal"]).frame
    for square in (1e-3, 1e-6, 1e-8):
        # Its neighbours are as far from it as the middle.
        assert knn.largest_norm(np.float32(0), square, frame.slack) < 6 * square


@pytest.mark.parametrize("search", [Exact(), IVF(lists=20, probes=8), IVF(lists=20, probes=20)], ids=repr)
@pytest.mark.parametrize("name", TABLES)
def test_few_more_are_measured_than_are_found(name, search, monkeypatch):
    measured, plain = [], knn.search

    def counted(*arguments):
        keys = plain(*arguments)
        # Lists are searched for, too.
        if arguments[11] == K:
            measured.append((keys != np.uint64(knn.NO_KEY)).sum(axis=1))
        return keys

    X = TABLES[name]
    index = search.build(X, metric="euclidean", rng=np.random.default_rng(0), threads=Threads(1))
    monkeypatch.setattr(knn, "search", counted)
    found = index.query(X[:500], K)
    counts = np.concatenate(measured)
    assert len(counts) == 500 and counts.min() >= K
    # By the norm of the farthest row they are 66 to 91 on average in lognormal and Cauchy rows.
    assert counts.mean() < 1.1 * K
    if search != IVF(lists=20, probes=8):
        indices, distances = reference.nearest(reference.distances(X[:500], X), K)
        np.testing.assert_array_equal(found[0], indices)
        np.testing.assert_allclose(found[1], distances, rtol=2e-7)
