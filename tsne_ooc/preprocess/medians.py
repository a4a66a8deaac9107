"""Medians of columns of any length, in one pass and bounded memory, each of a uniform sample of the column's values."""

from __future__ import annotations

import itertools

import numpy as np

from tsne_ooc._random import generator
from tsne_ooc._typing import Array, Bool, Float64

# Values that are kept of all columns together, at 20 bytes; a quarter more of them, and an order, for a moment: 250 MB.
_NUMBERS = 1 << 22
# Values that are kept of each column: of 100,000 the median is off by a rank of 0.16 %, of 256 by 3 %, one standard
# deviation.
_MOST, _LEAST = 100_000, 256


class Medians:
    """A sample of each column's values, those of the rows with the least random numbers, as in a race of all rows.

    Parameters
    ----------
    p : int
        Columns.
    seed : int
    """

    def __init__(self, p: int, seed: int) -> None:
        self.k = int(min(_MOST, max(_LEAST, _NUMBERS // p)))
        self._rng = generator(seed, "medians")
        # From which number on a value is not among the k least of its column.
        self._limit = np.ones(p)
        self._count = np.zeros(p, np.int64)
        self._column: list[Array] = [np.empty(0, np.int32)]
        self._number: list[Array] = [np.empty(0)]
        self._value: list[Array] = [np.empty(0)]
        self._held, self._most = 0, self.k * p + max(self.k * p // 4, 1 << 20)

    def add(self, tile: Float64, gaps: Bool) -> None:
        """Take the values of rows; which of the tiles they come in must not depend on how they are read."""
        number = self._rng.random(len(tile))
        self._count += len(tile) - gaps.sum(axis=0)
        i, j = np.nonzero(~gaps & (number[:, None] < self._limit))
        self._column.append(j.astype(np.int32))
        self._number.append(number[i])
        self._value.append(tile[i, j])
        self._held += len(i)
        if self._held > self._most:
            self._sift()

    def _sift(self) -> None:
        column, number, value = (np.concatenate(parts) for parts in (self._column, self._number, self._value))
        order = np.lexsort((number, column))
        column, number, value = column[order], number[order], value[order]
        rank = np.arange(len(column)) - np.searchsorted(column, column)
        last = rank == self.k - 1
        self._limit[column[last]] = number[last]
        kept = rank < self.k
        self._column, self._number, self._value = [column[kept]], [number[kept]], [value[kept]]
        self._held = int(kept.sum())

    def finish(self) -> tuple[Float64, float]:
        """The medians; and one standard deviation of the share of a column's values below its own, 0 where exact."""
        self._sift()
        edges = np.searchsorted(self._column[0], np.arange(len(self._limit) + 1))
        values = self._value[0]
        found = np.array([np.median(values[a:b]) for a, b in itertools.pairwise(edges)])
        return found, 0.5 / float(np.sqrt(self.k)) if (self._count > self.k).any() else 0.0
