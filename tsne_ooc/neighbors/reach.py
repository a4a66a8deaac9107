"""A few rows that are a thousand times as far out as the others are searched pair by pair, apart from the rest.

A fill value of 1e20 in one row of 15,000 moved the centre of all, so that single precision did not keep any digit of
the others: an exact search took 25 s of processor time instead of .6, and HNSW found .001 of the neighbours, not .988.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Array, Float32, Float64, Int64, UInt64
from tsne_ooc.neighbors._blocks import PIECE, pack, read_only, unpack
from tsne_ooc.neighbors.base import Answer, Index, Indices, by_state, check_k, check_width
from tsne_ooc.neighbors.saved import named_state, restore_index
from tsne_ooc.storage.mapped import picked
from tsne_ooc.storage.state import Saved, State, within

# Rows that tell where the middle is, and how far a typical row is from it.
SAMPLE = 1000
# A row that is so many times as far out as a typical one is out of reach; nearer ones do not harm the others.
FAR = 1024.0
# Where more rows than this share are out of reach, they are not the exception.
MOST_SHARE = 0.02


def split(X: Float32, threads: Threads) -> tuple[Float64, float] | None:
    """The middle of the rows and the radius of reach; None where all rows are within reach, or too many are not."""
    n = len(X)
    some = X[np.unique(np.linspace(0, n - 1, min(n, SAMPLE)).astype(np.int64))].astype(np.float64)
    middle = np.median(some, axis=0)
    radius = FAR * float(np.median(np.abs(some - middle).max(axis=1, initial=0)))
    if not radius > 0:
        return None
    beyond = sum(threads.map(lambda a, b: int((_offsets(X[a:b], middle) > radius).sum()), ranges(n, PIECE)))
    return (middle, radius) if 0 < beyond <= max(1, MOST_SHARE * n) else None


def _offsets(rows: Float32, middle: Float64) -> Float64:
    """The largest difference of each row from the middle, which the distance from there is never less than."""
    offsets: Float64 = np.abs(rows - middle).max(axis=1, initial=0)
    return offsets


def within_reach(X: Float32, build: Callable[[Float32], Index], threads: Threads) -> Index:
    """Make the euclidean index of rows by `build`; rows that are far out are kept apart, where there are any."""
    found = split(X, threads)
    if found is None:
        return build(X)
    far = np.concatenate(threads.map(lambda a, b: _offsets(X[a:b], found[0]) > found[1], ranges(len(X), PIECE)))
    numbers = np.flatnonzero(far).astype(np.uint32)
    return ReachIndex(build(picked(X, ~far)), X[far], numbers, *found, threads)


class ReachIndex(Index, kind="reach"):
    """An index of the rows within reach, and a few rows beyond.

    Parameters
    ----------
    inner : Index
        The index of the rows within reach, in their order; it has them as `rows`.
    far, numbers : float32 array of shape (f, p), uint32 array of shape (f,)
        The rows beyond, and their numbers, ascending.
    middle, radius
        A query whose difference from the middle is more than the radius is searched pair by pair.
    """

    def __init__(
        self, inner: Index, far: Float32, numbers: Indices, middle: Float64, radius: float, threads: Threads
    ) -> None:
        self.n = inner.n + len(far)
        self.metric = inner.metric
        self._inner, self._far, self._numbers = inner, far, numbers
        self._middle, self._radius = middle, radius
        self._threads = threads
        self._near = np.setdiff1d(np.arange(self.n, dtype=np.uint32), numbers, assume_unique=True)
        self._nearest_far = float(_offsets(far, middle).min())

    def state(self) -> State:
        content, arrays = within("inner", named_state(self._inner))
        own: dict[str, Array] = {"far": self._far, "numbers": self._numbers, "middle": self._middle}
        return {**content, "radius": self._radius}, {**arrays, **own}

    @classmethod
    def restore(cls, saved: Saved, threads: Threads) -> ReachIndex:
        inner = restore_index(saved.part("inner"), threads, within="reach")
        p = inner.rows.shape[1]
        far, middle = saved.array("far", np.float32, (None, p)), saved.array("middle", np.float64, (p,))
        numbers = np.array(saved.array("numbers", np.uint32, (len(far),)))
        if not len(far) or numbers[-1] >= inner.n + len(far) or (np.diff(numbers.astype(np.int64)) <= 0).any():
            raise saved.fail("does not name rows in their order", "numbers")
        return cls(inner, far, numbers, np.array(middle), saved.number("radius", above=0), threads)

    __reduce__ = by_state

    @property
    def rows(self) -> Float32:
        rows = np.empty((self.n, self._far.shape[1]), np.float32)
        rows[self._near], rows[self._numbers] = self._inner.rows, self._far
        return rows

    @property
    def order(self) -> Indices | None:
        inner = self._inner.order
        return None if inner is None else np.concatenate([self._near[inner], self._numbers])

    def recall(self, k: int) -> float:
        return self._inner.recall(k)

    def query(self, Q: Float32, k: int) -> Answer:
        check_width(Q, self._far.shape[1])
        k = check_k(k, self.n, itself=False)
        beyond = _offsets(Q, self._middle) > self._radius
        answer = np.empty((len(Q), k), np.uint32), np.empty((len(Q), k), np.float32)
        near = np.ascontiguousarray(Q[~beyond])
        found = self._inner.query(near, min(k, self._inner.n))
        self._put(answer, np.flatnonzero(~beyond), self._joined(near, found, k))
        self._put(answer, np.flatnonzero(beyond), self._pairs(np.ascontiguousarray(Q[beyond]), k, None))
        return answer

    def query_self(self, k: int) -> Answer:
        k = check_k(k, self.n, itself=True)
        answer = np.empty((self.n, k), np.uint32), np.empty((self.n, k), np.float32)
        found: Answer = (np.empty((self._inner.n, 0), np.uint32), np.empty((self._inner.n, 0), np.float32))
        if self._inner.n > 1:
            found = self._inner.query_self(min(k, self._inner.n - 1))
        self._put(answer, self._near, self._joined(self._inner.rows, found, k))
        self._put(answer, self._numbers, self._pairs(self._far, k, self._numbers))
        return answer

    def query_part(self, start: int, stop: int, k: int) -> Answer | None:
        """Do as `Index.query_part` does; the rows beyond are the last ones of the order."""
        k, inner = check_k(k, self.n, itself=True), self._inner
        if inner.order is None or inner.n < 2:
            return None
        mid = min(max(start, inner.n), stop)
        parts = []
        if start < mid:
            found = inner.query_part(start, mid, min(k, inner.n - 1))
            if found is None:
                return None
            parts.append(self._joined(np.ascontiguousarray(inner.rows[inner.order[start:mid]]), found, k))
        if mid < stop:
            beyond = slice(mid - inner.n, stop - inner.n)
            parts.append(self._pairs(np.ascontiguousarray(self._far[beyond]), k, self._numbers[beyond]))
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    @staticmethod
    def _put(answer: Answer, at: Int64 | Indices, found: Answer) -> None:
        answer[0][at], answer[1][at] = found

    def _joined(self, Q: Float32, found: Answer, k: int) -> Answer:
        """Answers from the rows within reach, and also from those beyond where these may be as near."""
        keys = pack(found[1], self._near[found[0]])
        # A distance in single precision may have been rounded up.
        least = self._nearest_far - _offsets(Q, self._middle)
        short = np.arange(len(Q)) if keys.shape[1] < k else np.flatnonzero(least * (1 - 1e-6) <= found[1][:, -1])
        if keys.shape[1] < k:
            keys = np.pad(keys, ((0, 0), (0, k - keys.shape[1])), constant_values=np.iinfo(np.uint64).max)
        if len(short):
            beyond = self._keys(Q[short], self._far, self._numbers, None)
            keys[short] = np.sort(np.concatenate([keys[short], beyond], axis=1), axis=1)[:, :k]
        return unpack(keys)

    def _pairs(self, Q: Float32, k: int, itself: Indices | None) -> Answer:
        """Answers by all pairs, for the few queries that need it."""
        keys = np.empty((len(Q), k), np.uint64)

        def search(a: int, b: int) -> None:
            for i in range(a, b):
                me = None if itself is None else itself[i : i + 1]
                near = self._keys(Q[i : i + 1], self._inner.rows, self._near, None)
                both = np.concatenate([near, self._keys(Q[i : i + 1], self._far, self._numbers, me)], axis=1)
                keys[i] = np.sort(np.partition(both, k - 1, axis=1)[:, :k], axis=1)

        self._threads.map(search, ranges(len(Q), 1))
        return unpack(keys)

    @staticmethod
    def _keys(Q: Float32, rows: Float32, numbers: Indices, itself: Indices | None) -> UInt64:
        from tsne_ooc._kernels import knn

        keys = np.empty((len(Q), len(rows)), np.uint64)
        found = np.broadcast_to(np.arange(len(rows)), keys.shape)
        nobody = np.full(len(Q), 0xFFFFFFFF, np.uint32)
        knn.rerank(
            read_only(np.ascontiguousarray(Q)),
            read_only(np.ascontiguousarray(rows)),
            np.ascontiguousarray(found),
            nobody,
            False,
            keys,
        )
        # Places among these rows become the rows' own numbers, which are in the same order.
        keys = (keys & ~np.uint64(0xFFFFFFFF)) | numbers
        if itself is not None:
            keys[numbers[None, :] == itself[:, None]] = np.iinfo(np.uint64).max
        return keys
