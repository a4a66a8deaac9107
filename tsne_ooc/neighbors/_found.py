"""Neighbours that other libraries found are measured again, sorted and completed, so that they keep the contract."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Array, Float32, Matrix, UInt64
from tsne_ooc._validate import counted_from
from tsne_ooc.neighbors._blocks import pack, read_only, unpack
from tsne_ooc.neighbors._recall import Share, Wanted, effort_for, rows_to_measure, shares_found
from tsne_ooc.neighbors.base import (
    BLOCKED,
    Answer,
    Distances,
    Index,
    Indices,
    Metric,
    by_state,
    check_k,
    check_width,
    of_zero_rows,
)
from tsne_ooc.neighbors.exact import Exactly, exact_index, nobody
from tsne_ooc.neighbors.pairwise import Pairwise

GROUP = 4096
NO_KEY = np.uint64(0xFFFFFFFFFFFFFFFF)
# The effort is raised to at most so many times the first: more is as slow as an exact search, and has not helped.
MOST_EFFORT = 32


class Completer:
    """Makes answers of the row numbers that were found for queries: with true distances, in order, and by an exact
    search where some are missing.

    Parameters
    ----------
    X, metric, params
        As for `Exact.build`; the exact index is built when the first row needs it.
    """

    def __init__(self, X: Matrix, metric: Any, params: Any, threads: Threads) -> None:
        # Kernels read rows without gaps.
        self._X = np.ascontiguousarray(X) if isinstance(X, np.ndarray) else X
        self._metric, self._params, self._threads = metric, params, threads
        self._blocked = isinstance(X, np.ndarray) and metric in BLOCKED and not params
        self._exact: Exactly | None = None
        self._pairwise: Pairwise | None = None

    def exact(self) -> Exactly:
        if self._exact is None:
            self._exact = exact_index(self._X, self._metric, self._params, self._threads)
        return self._exact

    def answer(self, Q: Matrix, found: Array, k: int, itself: Indices | None = None) -> Answer:
        """The k nearest among the rows `found` for each query, where -1 is not a row; indices and distances (q, k)."""
        keys = np.empty((len(found), k), np.uint64)
        me = nobody(len(found)) if itself is None else itself

        def measure(a: int, b: int) -> None:
            with counted_from(a):
                measured = self._measure(Q[a:b], found[a:b], me[a:b])
            measured.sort(axis=1)
            width = min(k, measured.shape[1])
            keys[a:b, :width] = measured[:, :width]
            keys[a:b, width:] = NO_KEY

        run = Threads(1) if callable(self._metric) else self._threads
        run.map(measure, ranges(len(found), GROUP))
        short = np.flatnonzero(keys[:, -1] == NO_KEY)
        indices, distances = unpack(keys)
        if len(short):
            mine = None if itself is None else itself[short]
            indices[short], distances[short] = self.exact().rows_of(Q, short, k, mine)
        return indices, distances

    def _measure(self, Q: Matrix, found: Array, itself: Indices) -> UInt64:
        if self._blocked:
            from tsne_ooc._kernels import knn

            keys = np.empty(found.shape, np.uint64)
            cosine = BLOCKED[self._metric] == "cosine"
            found = np.ascontiguousarray(found, np.int64)
            knn.rerank(read_only(np.ascontiguousarray(Q)), read_only(self._X), found, read_only(itself), cosine, keys)
            return keys
        if self._pairwise is None:
            self._pairwise = Pairwise(self._metric, self._params, self._X)
        keys = np.full(found.shape, NO_KEY)
        for i, row in enumerate(found):
            valid = np.flatnonzero((row >= 0) & (row != itself[i]))
            with counted_from(i):
                distances = self._pairwise.block(Q[i : i + 1], self._X[row[valid]], row[valid])
            keys[i, valid] = pack(distances, row[valid])[0]
        return keys


class FoundIndex(Index):
    """Neighbours among dense rows that another library finds, and a `Completer` completes.

    Parameters
    ----------
    X, metric, threads
    wanted : Wanted or None
        The share of neighbours to be found, for which the effort is raised.
    """

    def __init__(self, X: Float32, metric: Metric, threads: Threads, wanted: Wanted | None) -> None:
        self.n = len(X)
        self.metric = metric
        self._X = X
        self._threads = threads
        self._completer = Completer(X, metric, None, threads)
        self._wanted = wanted
        # By k: the effort of a search for k neighbours, and the share that it finds.
        self._efforts: dict[int, tuple[int, Share]] = {}

    __reduce__ = by_state

    @property
    def rows(self) -> Float32:
        return self._X

    def from_themselves(self) -> Distances | None:
        return of_zero_rows(self._X, self.metric)

    def recall(self, k: int) -> float:
        return self._effort(min(k, self.n - 1))[1].all if self.n > 1 else 1.0

    def query(self, Q: Float32, k: int) -> Answer:
        check_width(Q, self._X.shape[1])
        k = check_k(k, self.n, itself=False)
        return self._answer(Q, k, self._raised(k), itself=False)

    def query_self(self, k: int) -> Answer:
        k = check_k(k, self.n, itself=True)
        return self._answer(self._X, k, self._raised(k), itself=True)

    def _raised(self, k: int) -> int:
        return self._first(k) if self._wanted is None else self._effort(k)[0]

    def _effort(self, k: int) -> tuple[int, Share]:
        if k not in self._efforts:
            numbers = rows_to_measure(self.n)
            rows, more = self._X[numbers], min(k + 1, self.n)
            # This index is not kept, since it holds the rows a second time.
            exact = exact_index(self._X, self.metric, None, self._threads)
            true = exact.rows_of(rows, np.arange(len(rows)), more, None)[1]

            def measure(effort: int) -> Share:
                return shares_found(self._answer(rows, more, effort, itself=False)[1], true, self._wanted)

            first = self._first(k)
            self._efforts[k] = effort_for(self._wanted, first, first * MOST_EFFORT, measure, growth=2)
        return self._efforts[k]

    @abstractmethod
    def _first(self, k: int) -> int:
        """The effort of the library for k neighbours, before it is raised."""

    @abstractmethod
    def _answer(self, Q: Float32, k: int, effort: int, *, itself: bool) -> Answer:
        """The k rows nearest to each of Q; with `itself` these are the reference rows, and each leaves itself out."""
