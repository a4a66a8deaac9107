"""Neighbours from distances or neighbours that the user has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._parallel import Threads, ranges
from .._state import Saved, State
from ._blocks import pack, unpack
from .base import Answer, Index, Indices, Metric, Neighbors, check_k, check_width
from .exact import ENTRIES, nearest, stack


@dataclass(frozen=True)
class Precomputed(Neighbors):
    """Neighbours from one of

    - all distances, an array of shape (n, n);
    - a sparse graph of shape (n, n) whose stored entries are distances, zeros included, as scikit-learn's
      ``kneighbors_graph(mode="distance")`` returns;
    - a pair ``(indices, distances)`` of arrays of shape (n, m), the row itself among them or not.

    Queries take distances to the n rows, an array or sparse matrix of shape (q, n). Numbers come back as
    given, in single precision, sorted with ties by row number.
    """

    def build(
        self,
        X: Any,
        *,
        metric: Metric = "precomputed",
        metric_params: Mapping[str, Any] | None = None,
        rng: np.random.Generator | None = None,
        threads: Threads,
    ) -> PrecomputedIndex:
        if metric != "precomputed":
            raise ValueError(f"neighbors=Precomputed() needs metric='precomputed', not {metric!r}")
        if isinstance(X, tuple):
            X = _graph_of(*X)
        if X.ndim != 2 or X.shape[0] != X.shape[1]:
            raise ValueError(f"precomputed distances of shape {X.shape} are not square")
        if not isinstance(X, np.ndarray):
            X = X.tocsr()
        return PrecomputedIndex(X, threads)


class PrecomputedIndex(Index, kind="precomputed"):
    """See `Precomputed`."""

    def __init__(self, X: Any, threads: Threads) -> None:
        self.n = X.shape[0]
        self.metric = "precomputed"
        self._X = X
        self._threads = threads

    def state(self) -> State:
        # Queries bring their distances along; those among the rows themselves are needed for a fit only.
        return {"n": self.n}, {}

    @classmethod
    def restore(cls, saved: Saved, threads: Threads) -> PrecomputedIndex:
        from scipy.sparse import csr_array

        n = saved.whole("n", 1, 2**32 - 2)
        return cls(csr_array((n, n), dtype=np.float32), threads)

    def query(self, Q: Any, k: int) -> Answer:
        check_width(Q, self.n)
        return self._answer(Q, check_k(k, self.n, itself=False), None)

    def query_self(self, k: int) -> Answer:
        numbers = np.arange(self.n, dtype=np.uint32)
        return self._answer(self._X, check_k(k, self.n, itself=True), numbers)

    def _answer(self, D: Any, k: int, itself: Indices | None) -> Answer:
        if not isinstance(D, np.ndarray):
            return _stored(D.tocsr(), k, itself)

        def select(a: int, b: int) -> Answer:
            block = D[a:b]
            if not (block >= 0).all():
                i, j = np.argwhere(~(block >= 0))[0]
                # The first words are scikit-learn's own, which its checks look for.
                what = "Negative values in data: " if block[i, j] < 0 else ""
                raise ValueError(
                    f"{what}precomputed distance {block[i, j]} at row {a + i}, column {j} is not at least 0"
                )
            return nearest(block, k, None if itself is None else itself[a:b])

        answer = stack(self._threads.map(select, ranges(len(D), max(1, ENTRIES // self.n))), k)
        if not np.isfinite(answer[1]).all():
            row = int(np.flatnonzero(~np.isfinite(answer[1]).all(axis=1))[0])
            raise ValueError(f"row {row} has fewer than k={k} finite precomputed distances; use a smaller k")
        return answer


def _graph_of(indices: Any, distances: Any) -> Any:
    """The CSR graph of a pair of arrays."""
    from scipy.sparse import csr_array

    indices, distances = np.asarray(indices), np.asarray(distances)
    if indices.ndim != 2 or indices.shape != distances.shape:
        raise ValueError(f"indices of shape {indices.shape} and distances of shape {distances.shape} are no pair")
    n, m = indices.shape
    if indices.size and (indices.min() < 0 or indices.max() >= n):
        raise ValueError(f"precomputed indices must be row numbers from 0 to {n - 1}")
    return csr_array((distances.ravel(), indices.ravel(), np.arange(0, n * m + 1, max(m, 1))), shape=(n, n))


def _stored(graph: Any, k: int, itself: Indices | None) -> Answer:
    """The k smallest stored entries of each row."""
    if not (graph.data >= 0).all() or not np.isfinite(graph.data).all():
        raise ValueError("precomputed distances must be finite and at least 0")
    row = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))
    keep = np.ones(len(row), bool) if itself is None else graph.indices != row
    row, keys = row[keep], pack(graph.data[keep], graph.indices[keep])
    count = np.bincount(row, minlength=graph.shape[0])
    if (count < k).any():
        worst = int(np.argmin(count))
        raise ValueError(
            f"row {worst} of the precomputed graph has {count[worst]} neighbours, fewer than k={k}; store more of them"
        )
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    keys = keys[np.lexsort((keys, row))]
    return unpack(keys[first[:, None] + np.arange(k)])
