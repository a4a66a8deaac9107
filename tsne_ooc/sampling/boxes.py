"""Boxes: they keep rows of a stream evenly over the space that these fill, in bounded memory."""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

import numpy as np

from tsne_ooc._typing import Array, Float32, Float64, Int64, UInt64

# Coordinates have 62 bits. The extent that was seen is 2 ** 32 of the smallest sides, because an outlier may set it.
# The origin is at 2 ** 48, which leaves room for rows 2 ** 16 extents below it; rows beyond share the outermost boxes.
_BITS, _FINE, _ORIGIN = 62, 32, 1 << 48


class Grid(NamedTuple):
    """How space is cut into boxes.

    Parameters
    ----------
    axes : ndarray of float64, shape (p, q)
        Directions along which boxes are cut, a column each.
    origin : ndarray of float64, shape (q,)
        A corner of boxes of all sizes.
    side : float
        Side of the smallest box.
    seed : int
        Seed of the numbers drawn for boxes and rows.
    middle : ndarray of float32, shape (p,)
        Where a row is in a column that it lacks: it has to be in some box.
    """

    axes: Float64
    origin: Float64
    side: float
    seed: int
    middle: Float32

    @classmethod
    def over(cls, X: Float32, directions: int, rng: np.random.Generator) -> Grid:
        """A grid for rows like those of X, along their columns, or fewer random `directions`."""
        p = X.shape[1]
        if p <= directions:
            axes = np.eye(p)
        else:
            axes = rng.normal(size=(p, directions)) / np.sqrt(directions)
        there = ~np.isnan(X)
        sums = np.where(there, X, 0).sum(axis=0, dtype=np.float64)
        middle = (sums / np.maximum(there.sum(axis=0), 1)).astype(np.float32)
        seen = _project(_whole(X, middle), axes)
        low = seen.min(axis=0)
        extent = float((seen.max(axis=0) - low).max()) or max(1.0, float(np.abs(low).max()))
        return cls(
            axes, low - extent * rng.uniform(size=len(low)), extent * 2.0**-_FINE, int(rng.integers(2**63)), middle
        )

    def coordinates(self, X: Float32) -> Int64:
        """The smallest box that each row is in: whole numbers of shape (m, q)."""
        steps = np.floor((_project(_whole(X, self.middle), self.axes) - self.origin) / self.side) + _ORIGIN
        inside: Int64 = np.clip(steps, 0, 2.0**_BITS - 2.0**_FINE).astype(np.int64)
        return inside


def _whole(X: Float32, middle: Float32) -> Float32:
    # A sum of all is NaN where a cell is, and takes a fraction of what directions take.
    with np.errstate(over="ignore", invalid="ignore"):
        whole = not np.isnan(X.sum())
    return X if whole else np.where(np.isnan(X), middle, X)


def _project(X: Float32, axes: Float64) -> Float64:
    from tsne_ooc._kernels.project import project

    out = np.empty((len(X), axes.shape[1]))
    project(X, np.zeros(len(axes)), axes, out)
    return out


class Boxes:
    """Rows of a stream, evenly over the boxes of a grid.

    A number is drawn for each row, and each box keeps the `per_box` rows with the lowest numbers. The boxes are the
    finest that keep at most `capacity` rows in all: where more remain, sides are doubled along one axis after the
    other, and boxes that are merged keep their lowest rows. The result is the same for any order and any blocks of the
    stream: coarser boxes never keep more rows, so the boxes end as fine as all rows together allow; and the lowest rows
    of a box are among the lowest of its parts. Doubling one axis keeps at least half the rows: more than half of
    `capacity` remain, unless there are fewer distinct rows.

    Parameters
    ----------
    grid : Grid
    capacity : int
        The most rows that are kept; up to twice as many are in memory.
    per_box : int
        The most rows that a box keeps.
    """

    def __init__(self, grid: Grid, capacity: int, per_box: int) -> None:
        self.grid, self.capacity, self.per_box = grid, capacity, min(per_box, capacity)
        # Doublings of sides so far, of all axes together.
        self.level = 0
        # Row numbers, priorities, coordinates, and what else came with the rows.
        self._table: list[Array] = []

    @property
    def held(self) -> int:
        """Rows in memory, at most twice the capacity."""
        return len(self._table[0]) if self._table else 0

    def add(self, rows: Int64, X: Float32, *more: Array) -> None:
        """Let rows pass by: their numbers, their values, and arrays that are kept with the rows that are kept."""
        from tsne_ooc._kernels.boxes import draw_priorities

        for start in range(0, len(rows), self.capacity):
            part = slice(start, start + self.capacity)
            priorities = np.empty(len(rows[part]), np.uint64)
            draw_priorities(rows[part], self.grid.seed, priorities)
            new = [rows[part], priorities, self.grid.coordinates(X[part]), *(array[part] for array in more)]
            both = zip(self._table, new, strict=True) if self._table else ((array,) for array in new)
            self._table = [np.concatenate(arrays) for arrays in both]
            # This is not done each time, because sorting costs most.
            if self.held > self.capacity:
                self._settle()

    def _settle(self) -> None:
        self._keep(self._lowest(self.level)[0])
        if self.held > self.capacity:
            self.level = self._finest(self.capacity)
            self._keep(self._lowest(self.level)[0])

    def _finest(self, most: int) -> int:
        """The first level from this one on that keeps at most so many rows, else the last; levels keep ever fewer."""
        last = len(self.grid.origin) * _BITS
        fits = range(self.level, last)
        return self.level + bisect_left(fits, True, key=lambda level: len(self._lowest(level)[0]) <= most)

    def _keep(self, kept: Int64) -> None:
        self._table = [array[kept] for array in self._table]

    def _lowest(self, level: int) -> tuple[Int64, Int64, UInt64]:
        """At a level: positions of the rows to keep, the rank of each in its box, and the hash of its box."""
        from tsne_ooc._kernels.boxes import hash_boxes

        priorities, coordinates = self._table[1:3]
        q = coordinates.shape[1]
        hashes = np.empty(len(priorities), np.uint64)
        hash_boxes(coordinates, (level + np.arange(q)) // q, self.grid.seed, hashes)
        order = np.lexsort((priorities, hashes))
        hashes = hashes[order]
        first = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]]))
        rank = np.arange(len(order)) - np.repeat(first, np.diff(first, append=len(order)))
        kept = rank < self.per_box
        return order[kept], rank[kept], hashes[kept]

    def draw(self, size: int) -> list[Array]:
        """At most `size` of the rows.

        First come the rows of the finest boxes that keep no more than `size` in all: each of these gives its `per_box`
        rows, or all that it has. The rest is filled up from the boxes that were kept, with equal numbers from each as
        far as they have rows.

        Returns
        -------
        list of ndarray
            Row numbers, ascending, and the arrays that came with the rows.
        """
        if not self.held:
            return [np.empty(0, np.int64)]
        self._settle()
        first = np.zeros(self.held, bool)
        first[self._lowest(self._finest(size))[0]] = True
        kept, rank, hashes = self._lowest(self.level)
        return self._rows(kept[np.lexsort((hashes, rank, ~first[kept]))[:size]])

    def _rows(self, chosen: Int64) -> list[Array]:
        chosen = chosen[np.argsort(self._table[0][chosen])]
        return [array[chosen] for array in (self._table[0], *self._table[3:])]
