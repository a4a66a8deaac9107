"""Rows and queries in any layout of memory: the same neighbours, to the bit, and nothing changed."""

from __future__ import annotations

import numpy as np
import pytest

from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import HNSW, IVF, Annoy, Exact, PyNNDescent

SEARCHES = {
    "exact": (Exact(), "euclidean"), "exact cosine": (Exact(), "cosine"), "ivf": (IVF(), "euclidean"),
    "ivf cosine": (IVF(), "cosine"), "groups": (IVF(lists=1100), "euclidean"), "hnsw": (HNSW(), "euclidean"),
    "annoy": (Annoy(), "euclidean"), "pynndescent": (PyNNDescent(), "euclidean"), "pairs": (Exact(), "manhattan"),
}  # fmt: skip


def table(n, seed, far):
    X = np.random.default_rng(seed).normal(size=(n, 7)).astype(np.float32)
    if far:
        # Rows beyond reach are searched pair by pair.
        X[:2] *= np.float32(1e9)
    return X


def laid_out(X):
    """The same numbers in other layouts."""
    every = np.zeros((2 * len(X), 2 * X.shape[1]), np.float32)
    every[::2, ::2] = X
    back = np.ascontiguousarray(X[::-1])
    return {"by columns": np.asfortranarray(X), "strided": every[::2, ::2], "backwards": back[::-1]}


@pytest.mark.parametrize("far", [False, True], ids=["near", "far"])
@pytest.mark.parametrize("name", SEARCHES)
def test_any_layout(name, far):
    search, metric = SEARCHES[name]
    X, Q = table(1300, 0, far), table(40, 1, False)

    def found(rows, queries):
        index = search.build(rows, metric=metric, rng=np.random.default_rng(0), threads=Threads(2))
        return [*index.query_self(6), *index.query(queries, 6)]

    expected = found(X, Q)
    for (layout, rows), queries in zip(laid_out(X).items(), laid_out(Q).values(), strict=True):
        before = rows.copy()
        for a, b in zip(found(rows, queries), expected, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=layout)
        np.testing.assert_array_equal(rows, before)
