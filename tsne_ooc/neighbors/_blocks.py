"""Euclidean and cosine search among rows that are kept in lists: products of blocks propose, exact distances decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tsne_ooc._memory import relieve
from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Array, Float32, Float64, Int64
from tsne_ooc.neighbors.base import Answer, Indices, Keys
from tsne_ooc.storage.mapped import empty, forget
from tsne_ooc.storage.state import Saved

# Reference rows per product: 256 to 1024 took the same time on MNIST, and the scores stay in the cache.
WIDTH = 512
# Rows that one call reads.
PIECE = 1 << 14
# Rows that are searched by one call where all are: those of 50 columns are 52 MB, which may be over a file.
ALL = 1 << 18
NOBODY = 0xFFFFFFFF
LARGEST = np.finfo(np.float32).max


@dataclass(frozen=True)
class Frame:
    """The centre and the scale of the rows, with which single precision suffices to compare them.

    Euclidean rows are centred, and scaled by a power of two, so that squares neither overflow nor vanish, and rounding
    stays as it is. Cosine rows are brought to unit length. `slack` bounds the error of a score; see `_kernels.knn`.
    """

    centre: Float64
    scale: float
    cosine: bool

    @property
    def slack(self) -> float:
        return (len(self.centre) + 16) * 2.0**-24

    @classmethod
    def of(cls, X: Float32, *, cosine: bool, threads: Threads) -> Frame:
        n, p = X.shape
        if cosine:
            return cls(np.zeros(p), 1.0, True)
        sums = threads.map(lambda a, b: X[a:b].sum(axis=0, dtype=np.float64), ranges(n, PIECE))
        return cls.around(X, sum(sums, np.zeros(p)) / n, threads)

    @classmethod
    def around(cls, X: Float32, centre: Float64, threads: Threads) -> Frame:
        """The euclidean frame of rows around their centre."""
        # The largest number counts after centring, or a column around 1e30 would leave nothing of the others.
        reach = max(threads.map(lambda a, b: float(np.abs(X[a:b] - centre).max(initial=0)), ranges(len(X), PIECE)))
        return cls(centre, 2.0 ** -float(np.frexp(reach * max(1, len(centre)) ** 0.5)[1]), False)

    @classmethod
    def restore(cls, X: Float32, saved: Saved, threads: Threads) -> Frame:
        """The frame of the rows X, whose state holds the "centre" of euclidean ones."""
        if saved.text("metric") == "cosine":
            return cls(np.zeros(X.shape[1]), 1.0, True)
        # This is a copy, since kernels are compiled for arrays that can be written.
        centre = np.array(saved.array("centre", np.float64, (X.shape[1],)))
        # The scale follows from the rows, so no number in a file can make scores overflow.
        largest = largest_of(X)
        if float(np.abs(centre).max(initial=0.0)) > largest * (1 + 1e-9):
            raise saved.fail("lies outside the rows", "centre")
        return cls.around(X, centre, threads)

    def lift(self, rows: Float32, numbers: Array, *, query: bool = True) -> tuple[Float32, Float64]:
        """The rows ``rows[numbers]`` in this frame with a column for scores, (m, p + 1), and squared norms, (m,)."""
        from tsne_ooc._kernels import knn

        lifted = np.empty((len(numbers), len(self.centre) + 1), np.float32)
        norms = np.empty(len(numbers))
        numbers = numbers.astype(np.uint32, copy=False)
        knn.lift(
            read_only(rows),
            read_only(numbers),
            self.centre,
            self.scale,
            self.cosine,
            self.slack,
            query,
            lifted,
            norms,
        )
        return lifted, norms

    def points(self, rows: Float32, numbers: Array) -> Float32:
        """The rows ``rows[numbers]`` in this frame, shape (m, p)."""
        return np.ascontiguousarray(self.lift(rows, numbers)[0][:, :-1])

    def blocks(self, X: Float32, threads: Threads, order: Indices | None = None, edges: Any = None) -> Blocks:
        """All rows of X in the given order and lists, or in one list, ready to be searched."""
        return Blocks.of(X, self, threads, order, edges)


@dataclass(frozen=True)
class Probes:
    """Which queries of a group look into which lists: ``members[starts[i]:starts[i + 1]]`` look into ``lists[i]``."""

    lists: Int64
    starts: Int64
    members: Int64


@dataclass(frozen=True)
class Blocks:
    """Reference rows in lists.

    Attributes
    ----------
    rows : float32 (n, p)
        The rows as the caller gave them.
    lifted : float32 (n, p + 1)
        The rows in the frame, list by list, with their last column.
    order : uint32 (n,)
        The row number at each place.
    edges : int64 (lists + 1,)
        Places of the lists.
    """

    rows: Float32
    frame: Frame
    lifted: Float32
    order: Indices
    edges: Int64

    @classmethod
    def of(cls, X: Float32, frame: Frame, threads: Threads, order: Indices | None = None, edges: Any = None) -> Blocks:
        """Make blocks of all rows of X, in the given order and lists, or in one list."""
        X, (n, p) = np.ascontiguousarray(X), X.shape
        places = np.arange(n, dtype=np.uint32) if order is None else order
        lifted = empty((n, p + 1), np.float32)

        def fill(a: int, b: int) -> None:
            lifted[a:b] = frame.lift(X, places[a:b], query=False)[0]
            forget(lifted[a:b])

        threads.map(fill, ranges(n, PIECE))
        return cls(read_only(X), frame, lifted, places, np.array([0, n]) if edges is None else edges)

    def search(
        self,
        Q: Float32,
        numbers: Array,
        k: int,
        probes: Probes | None = None,
        itself: Indices | None = None,
    ) -> Answer:
        """The k rows that are exactly nearest to each of ``Q[numbers]`` in the lists of `probes`, or in all lists.

        The caller makes sure that those lists hold k rows besides the query itself, whose row number is in `itself`.
        """
        if probes is not None:
            return unpack(self._nearest(Q, numbers, k, probes, self.edges, itself))
        n, g = len(self.rows), len(numbers)
        everybody = Probes(np.zeros(1, np.int64), np.array([0, g]), np.arange(g))
        # Each part has to hold k rows.
        parts = max(1, min(-(-n // ALL), n // (2 * k + 2)))
        best = None
        for part in range(parts):
            edges = np.array([part * n // parts, (part + 1) * n // parts])
            keys = self._nearest(Q, numbers, k, everybody, edges, itself)
            best = keys if best is None else np.sort(np.concatenate([best, keys], axis=1), axis=1)[:, :k]
            relieve()
        assert best is not None
        return unpack(best)

    def _nearest(
        self, Q: Float32, numbers: Array, k: int, probes: Probes, edges: Int64, itself: Indices | None
    ) -> Keys:
        from tsne_ooc._kernels import knn

        g = len(numbers)
        if itself is None:
            itself = np.full(g, NOBODY, np.uint32)
        lifted, norms = self.frame.lift(Q, numbers)
        # There is room for the k best twice, so that each sort removes enough to be worth its time.
        capacity = 2 * k + 128
        keys = knn.search(
            lifted, np.ascontiguousarray(Q[numbers]), norms, itself, probes.lists, probes.starts, probes.members, edges,
            self.lifted, self.rows, self.order, k, WIDTH, self.frame.slack, self.frame.cosine,
            np.empty((g, capacity), np.float32), np.empty((g, capacity), np.uint32), np.empty(g, np.uint32),
            np.empty(g, np.float32),
        )  # fmt: skip
        return np.sort(keys, axis=1)[:, :k]


class Searched(Protocol):
    """Rows in lists that find the nearest of themselves."""

    def search(
        self, Q: Float32, numbers: Array, k: int, probes: Probes | None = None, itself: Indices | None = None
    ) -> Answer: ...


def answers(
    blocks: Searched, Q: Float32, numbers: Array, k: int, itself: Indices | None, threads: Threads, group: int
) -> Answer:
    """Answers of all lists for ``Q[numbers]``, `group` of them together, each without the row that `itself` names."""
    indices = np.empty((len(numbers), k), np.uint32)
    distances = np.empty((len(numbers), k), np.float32)

    def search(a: int, b: int) -> None:
        me = None if itself is None else itself[a:b]
        indices[a:b], distances[a:b] = blocks.search(Q, numbers[a:b], k, None, me)

    with threads.one_blas_thread():
        threads.map(search, ranges(len(numbers), group))
    return indices, distances


def pack(distances: Array, numbers: Array) -> Keys:
    """Whole numbers that sort by distance and then by row number: bits of a float32 of at least 0 keep its order."""
    bits = np.ascontiguousarray(np.minimum(distances, LARGEST), np.float32).view(np.uint32).astype(np.uint64)
    return (bits << np.uint64(32)) | numbers.astype(np.uint64)


def unpack(keys: Keys) -> Answer:
    """The row numbers and distances that `pack` put together."""
    return keys.astype(np.uint32), (keys >> np.uint64(32)).astype(np.uint32).view(np.float32)


def read_only(array: Array) -> Array:
    """A read-only view, so that Numba does not compile a function for writable arguments and for read-only ones."""
    view = array.view()
    view.flags.writeable = False
    return view


def largest_of(X: Float32) -> float:
    """The largest absolute value in X, of which some may be missing."""
    high, low = X.max(initial=0), X.min(initial=0)
    if np.isnan(high):
        high, low = np.fmax.reduce(X, axis=None, initial=0), np.fmin.reduce(X, axis=None, initial=0)
    return max(float(high), -float(low))
