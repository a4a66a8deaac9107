"""Searches that find fewer rows than they are asked for: none of the answer is memory that nobody has written."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import _found
from tsne_ooc.neighbors._found import Completer

K = 6


def rows(n, seed):
    return np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)


def truth(Q, X, itself):
    D = cdist(Q, X)
    if itself is not None:
        D[np.arange(len(Q)), itself] = np.inf
    order = np.argsort(D, axis=1, kind="stable")[:, :K]
    return order, np.take_along_axis(D, order, axis=1)


def found_by(kind, near):
    """What a library says: all, too few columns, missing ones at the end or anywhere, nothing at all."""
    found = near.astype(np.int64).copy()
    if kind == "narrow":
        return found[:, : K - 2]
    if kind == "one":
        return found[:, :1]
    if kind == "nothing":
        return np.full_like(found, -1)
    if kind == "ends":
        found[::2, 3:] = -1
    if kind == "holes":
        found[::3, [0, 2]] = -1
    if kind == "wide":
        return np.concatenate([found, found[:, ::-1] * 0 - 1], axis=1)
    return found


@pytest.mark.parametrize("kind", ["full", "wide", "narrow", "one", "ends", "holes", "nothing"])
@pytest.mark.parametrize("itself", [False, True], ids=["queries", "themselves"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine", "cityblock"])
def test_answers_are_completed(monkeypatch, kind, itself, metric):
    monkeypatch.setattr(_found, "GROUP", 5)
    X = rows(40, 0)
    Q, me = (X, np.arange(40, dtype=np.uint32)) if itself else (rows(23, 1), None)
    D = cdist(Q, X, metric)
    if itself:
        D[np.arange(40), np.arange(40)] = np.inf
    near = np.argsort(D, axis=1, kind="stable")[:, :K]
    # Kernels that are not on the disk yet are compiled before: Numba knows the real `empty` alone.
    Completer(X, metric, None, Threads(2)).answer(Q, found_by(kind, near), K, me)
    # What NumPy's memory may hold: keys that look like the nearest row of all.
    monkeypatch.setattr(_found.np, "empty", lambda shape, dtype=float: np.zeros(shape, dtype))
    indices, distances = Completer(X, metric, None, Threads(2)).answer(Q, found_by(kind, near), K, me)
    monkeypatch.undo()
    np.testing.assert_array_equal(indices, near)
    np.testing.assert_allclose(distances, np.take_along_axis(D, near, axis=1), rtol=1e-5, atol=1e-7)
