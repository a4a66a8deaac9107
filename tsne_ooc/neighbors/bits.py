"""Exact search among rows of yes and no, 64 columns at a time."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Float32, Int64, UInt64
from tsne_ooc.neighbors._blocks import NOBODY, unpack
from tsne_ooc.neighbors.base import Answer, Index, Indices, check_k, check_width
from tsne_ooc.neighbors.metrics import BOOLEAN, DENSE, PACKED, check_rows
from tsne_ooc.storage.state import Saved, State

# Queries that are compared with a block of rows together, and the most rows of a block: 16 to 64 and 256 to 1024 took
# the same time.
GROUP = 64
BLOCK = 512
# Rows that are turned into bits at a time.
PIECE = 1 << 12

Words = UInt64


class BitsIndex(Index, kind="bits"):
    """Neighbours among rows of yes and no, which are kept in the order of their counts, the numbers of yes.

    With 2,048 columns a pair takes 5 ns, and 4,200 ns in SciPy's `cdist` (docs/neighbors.md). The count of a row says
    how near it can be at best (Swamidass and Baldi, J. Chem. Inf. Model. 47, 2007): where counts differ much, most rows
    are left out.

    Parameters
    ----------
    words : uint64 array of shape (n, w)
        The bits of the rows, in their order.
    columns : int
        Columns of yes and no; the last word may have more bits than are left of these.
    metric : str
        The metric as the user named it.
    threads : Threads
    """

    def __init__(self, words: Words, columns: int, metric: str, threads: Threads) -> None:
        from tsne_ooc._kernels import bits

        self.n = len(words)
        self.metric = metric
        self._name = DENSE[metric]
        self._kind = bits.KINDS[PACKED.get(self._name, self._name)]
        self._given = words
        self._columns = columns
        self._threads = threads
        counts = _counts(words)
        self._order = np.argsort(counts, kind="stable").astype(np.uint32)
        self._words = words[self._order]
        sorted_counts = counts[self._order]
        runs = pairwise([0, *(np.flatnonzero(np.diff(sorted_counts)) + 1).tolist(), self.n])
        self._edges = np.array([0, *(first + end for first, last in runs for _, end in ranges(last - first, BLOCK))])
        self._counts = sorted_counts[self._edges[:-1]]

    @classmethod
    def of(cls, X: Float32, metric: str, threads: Threads) -> BitsIndex:
        """The index of dense rows."""
        packed = DENSE[metric] in PACKED
        check_rows(DENSE[metric], X)
        return cls(_words(X, packed, threads), X.shape[1] * (8 if packed else 1), metric, threads)

    def state(self) -> State:
        return {"metric": self.metric, "columns": self._columns}, {"words": self._given}

    @classmethod
    def restore(cls, saved: Saved, threads: Threads) -> BitsIndex:
        metric, columns = saved.text("metric"), saved.whole("columns", 1, 2**40)
        if DENSE.get(metric) not in (*BOOLEAN, *PACKED):
            raise saved.fail(f"has the unknown metric {metric[:40]!r}")
        words = saved.array("words", np.uint64, (None, -(-columns // 64)))
        if not 0 < len(words) <= NOBODY - 1:
            raise saved.fail(f"has the shape {words.shape}", "words")
        # This is a copy, since kernels are compiled for arrays that can be written.
        return cls(np.array(words), columns, metric, threads)

    def __reduce__(self) -> Any:
        return BitsIndex, (self._given, self._columns, self.metric, self._threads)

    @property
    def _width(self) -> int:
        return self._columns // 8 if self._name in PACKED else self._columns

    def query(self, Q: Float32, k: int) -> Answer:
        check_width(Q, self._width)
        return self.rows_of(Q, np.arange(len(Q)), check_k(k, self.n, itself=False), None)

    def query_self(self, k: int) -> Answer:
        k = check_k(k, self.n, itself=True)
        return self._search(self._given, k, np.arange(self.n, dtype=np.uint32))

    def rows_of(self, Q: Float32, numbers: Any, k: int, itself: Indices | None) -> Answer:
        """Answers for ``Q[numbers]`` only, each without the row that `itself` names."""
        rows = Q[numbers]
        check_rows(self._name, rows)
        me = np.full(len(rows), NOBODY, np.uint32) if itself is None else itself
        return self._search(_words(rows, self._name in PACKED, self._threads), k, me)

    def _search(self, queries: Words, k: int, itself: Indices) -> Answer:
        from tsne_ooc._kernels import bits

        counts = _counts(queries)
        by_count = np.argsort(counts, kind="stable")
        keys = np.empty((len(queries), k), np.uint64)

        def search(a: int, b: int) -> None:
            mine = by_count[a:b]
            first = min(int(np.searchsorted(self._counts, counts[mine[len(mine) // 2]])), len(self._counts) - 1)
            found = np.empty((len(mine), k), np.uint64)
            bits.search(
                self._kind, queries[mine], counts[mine], itself[mine], self._words, self._order, self._edges,
                self._counts, first, float(self._columns), found,
            )  # fmt: skip
            keys[mine] = np.sort(found, axis=1)

        self._threads.map(search, ranges(len(queries), GROUP))
        return unpack(keys)


def _words(X: Float32, packed: bool, threads: Threads) -> Words:
    """Rows as words of 64 columns; the last word is filled up with zeros."""
    size = -(-X.shape[1] // (8 if packed else 64)) * 8
    bytes = np.zeros((len(X), size), np.uint8)

    def fill(a: int, b: int) -> None:
        rows = X[a:b].astype(np.uint8) if packed else np.packbits(X[a:b] != 0, axis=1)
        bytes[a:b, : rows.shape[1]] = rows

    threads.map(fill, ranges(len(X), PIECE))
    return bytes.view(np.uint64)


def _counts(words: Words) -> Int64:
    from tsne_ooc._kernels import bits

    counts = np.empty(len(words), np.int64)
    bits.count(words, counts)
    return counts
