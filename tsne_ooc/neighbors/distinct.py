"""Data with many copies: the distinct rows are searched, and every copy counts.

Hundreds of copies of a row are ties that no bound can separate, and each copy has all the others as candidates. 100,000
rows of KDD Cup 99, of which 38,517 are equal, took 250 s of processor time, and take 1.6 s in this way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Float32, Int64, Matrix, UInt64
from tsne_ooc.equal_rows import hashes_of
from tsne_ooc.neighbors._blocks import PIECE, unpack
from tsne_ooc.neighbors.base import Answer, Index, Indices, check_k
from tsne_ooc.neighbors.saved import named_state, restore_index
from tsne_ooc.storage.mapped import picked
from tsne_ooc.storage.state import Saved, State, within

# Up to so many copies are left among the candidates of a usual search.
COPIES = 32
# A walk over a graph gets caught among copies, whose links lead to each other. Of 3,000 rows in 5 columns, where each
# row is there five times, HNSW found .994 of 15 neighbours of new rows, and pynndescent .867; where each is there ten
# times, .973 and .793; 32 times, .609 and .770; and among the distinct rows .998 and more.
GRAPH_COPIES = 4
GROUP = 4096


@dataclass(frozen=True)
class Copies:
    """Which rows are equal: distinct row d stands for the rows ``members[starts[d]:starts[d + 1]]``, ascending.

    Distinct rows are numbered in the order in which they first appear, so that ties are in the order of row numbers.
    """

    of: Int64
    starts: Int64
    members: Int64

    @classmethod
    def from_numbers(cls, of: Int64) -> Copies:
        """Make copies from the number of each row's distinct row."""
        edges = np.concatenate([[0], np.cumsum(np.bincount(of))])
        return cls(of, edges, np.argsort(of, kind="stable"))

    @property
    def first(self) -> Int64:
        first: Int64 = self.members[self.starts[:-1]]
        return first


def find_copies(X: Matrix, threads: Threads, few: int = COPIES) -> Copies | None:
    """Find the equal rows of X; None where no row is there more than `few` times.

    Parameters
    ----------
    X : float32 array of shape (n, p), C-contiguous, or CSR matrix without repeated entries
    threads : Threads
    few : int
    """
    n = X.shape[0]
    hashes = hashes_of(X, threads)[:, 0]
    by_hash = np.argsort(hashes, kind="stable")
    starts = np.flatnonzero(np.diff(hashes[by_hash], prepend=hashes[by_hash[0]] ^ np.uint64(1)))
    if np.diff(starts, append=n).max() <= few:
        return None
    # After a stable sort, each group begins with its first appearance; the groups are put in the order of these.
    heads = by_hash[starts]
    rank = np.empty(len(starts), np.int64)
    rank[np.argsort(heads)] = np.arange(len(starts))
    of = np.empty(n, np.int64)
    of[by_hash] = np.repeat(rank, np.diff(starts, append=n))
    copies = Copies.from_numbers(of)

    def same(a: int, b: int) -> bool:
        rows, firsts = X[a:b], X[copies.first[of[a:b]]]
        return bool((rows == firsts).all() if isinstance(rows, np.ndarray) else (rows - firsts).count_nonzero() == 0)

    equal = threads.map(same, ranges(n, PIECE))
    # Different rows have one hash in one of 10^7 data sets of a million rows, and are then searched as they are.
    return copies if all(equal) else None


class DistinctIndex(Index, kind="distinct"):
    """An index of the distinct rows, which answers for all rows.

    Parameters
    ----------
    copies : Copies
    inner : Index
        The index of the distinct rows.
    """

    def __init__(self, copies: Copies, inner: Index, threads: Threads) -> None:
        self.n = len(copies.of)
        self._copies = copies
        self._inner = inner
        self.metric = inner.metric
        self.sparse = inner.sparse
        self._threads = threads

    @classmethod
    def build(cls, X: Matrix, copies: Copies, build: Callable[[Any], Index], threads: Threads) -> DistinctIndex:
        """Make the index of the rows X; `build` makes that of the distinct ones."""
        first = copies.first
        return cls(copies, build(picked(X, first) if isinstance(X, np.ndarray) else X[first]), threads)

    def state(self) -> State:
        content, arrays = within("inner", named_state(self._inner))
        return content, {**arrays, "of": self._copies.of.astype(np.uint32)}

    @classmethod
    def restore(cls, saved: Saved, threads: Threads) -> DistinctIndex:
        inner = restore_index(saved.part("inner"), threads, within="distinct")
        of = saved.array("of", np.uint32, (None,)).astype(np.int64)
        u = inner.n
        if len(of) < u or of.max() >= u or not np.bincount(of, minlength=u).all():
            raise saved.fail(f"does not name each of {u} distinct rows", "of")
        copies = Copies.from_numbers(of)
        if (np.diff(copies.first) <= 0).any():
            raise saved.fail("numbers distinct rows in another order than that of their first appearance", "of")
        return cls(copies, inner, threads)

    def __reduce__(self) -> Any:
        # The inner index pickles itself in its own way, since it may hold a function, which a state cannot hold.
        return _with_copies, (self._copies.of.astype(np.uint32), self._inner, self._threads)

    @property
    def rows(self) -> Float32:
        return np.asarray(self._inner.rows[self._copies.of])

    @property
    def order(self) -> Indices | None:
        inner = self._inner.order
        if inner is None:
            return None
        rank = np.empty(len(inner), np.int64)
        rank[inner] = np.arange(len(inner))
        return np.argsort(rank[self._copies.of], kind="stable").astype(np.uint32)

    def recall(self, k: int) -> float:
        return self._inner.recall(min(k, self._inner.n - 1)) if self._inner.n > 1 else 1.0

    def query(self, Q: Matrix, k: int) -> Answer:
        k = check_k(k, self.n, itself=False)
        found = self._inner.query(Q, min(k, self._inner.n))
        return unpack(self._spread(found, np.full((len(found[0]), 2), -1), k))

    def query_self(self, k: int) -> Answer:
        k = check_k(k, self.n, itself=True)
        u = self._inner.n
        found: Answer = (np.empty((u, 0), np.uint32), np.empty((u, 0), np.float32))
        if u > 1:
            found = self._inner.query_self(min(k, u - 1))
        keys = self._shared(found, np.arange(u), k)
        return self._answers(keys, self._copies.of, np.arange(self.n, dtype=np.uint32), k)

    def query_part(self, start: int, stop: int, k: int) -> Answer | None:
        """Do as `Index.query_part` does; in the order, copies follow each other, as their distinct rows do."""
        k, u, inner = check_k(k, self.n, itself=True), self._inner.n, self._inner.order
        if inner is None or u < 2:
            return None
        edges = np.concatenate([[0], np.cumsum(np.diff(self._copies.starts)[inner])])
        first, last = np.searchsorted(edges, start, "right") - 1, np.searchsorted(edges, stop, "left")
        found = self._inner.query_part(int(first), int(last), min(k, u - 1))
        if found is None:
            return None
        numbers = np.concatenate([self._copies.members[a:b] for a, b in self._members(inner[first:last])])
        at = np.repeat(np.arange(last - first), np.diff(edges[first : last + 1]))
        mine = slice(start - edges[first], stop - edges[first])
        keys = self._shared(found, inner[first:last].astype(np.int64), k)
        return self._answers(keys, at[mine], numbers[mine].astype(np.uint32), k)

    def _members(self, distinct: Indices) -> list[tuple[int, int]]:
        starts = self._copies.starts
        return list(zip(starts[distinct].tolist(), starts[distinct.astype(np.int64) + 1].tolist(), strict=True))

    def _shared(self, found: Answer, distinct: Int64, k: int) -> UInt64:
        """The keys of the nearest rows of these distinct rows, copies included: one more than k, since each row leaves
        itself out later."""
        own = np.zeros((len(distinct), 2), np.int64)
        own[:, 0] = distinct
        apart = self._inner.from_themselves()
        if apart is not None:
            own[:, 1] = apart.view(np.uint32)[distinct]
        return self._spread(found, own, k + 1)

    def _answers(self, keys: UInt64, of: Int64, numbers: Indices, k: int) -> Answer:
        """Answers for the rows `numbers`, where line `of` of `keys` is for the distinct row of each."""
        answer = np.empty((len(numbers), k), np.uint32), np.empty((len(numbers), k), np.float32)

        def share(a: int, b: int) -> None:
            mine = keys[of[a:b]]
            keep = mine.astype(np.uint32) != numbers[a:b, None]
            # Where the row itself is not among them, the last one is left out.
            keep[keep.all(axis=1), -1] = False
            answer[0][a:b], answer[1][a:b] = unpack(mine[keep].reshape(b - a, k))

        self._threads.map(share, ranges(len(numbers), GROUP))
        return answer

    def _spread(self, found: Answer, own: Int64, k: int) -> UInt64:
        from tsne_ooc._kernels.knn_distinct import spread

        keys = np.empty((len(own), k), np.uint64)

        def run(a: int, b: int) -> None:
            spread(
                found[0][a:b],
                found[1][a:b],
                own[a:b],
                self._copies.starts,
                self._copies.members,
                k,
                keys[a:b],
            )

        self._threads.map(run, ranges(len(own), GROUP))
        return keys


def _with_copies(of: Indices, inner: Index, threads: Threads) -> DistinctIndex:
    return DistinctIndex(Copies.from_numbers(of.astype(np.int64)), inner, threads)
