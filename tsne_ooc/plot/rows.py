"""The rows of a map, block by block, wherever they are."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tsne_ooc._parallel import ranges
from tsne_ooc._typing import Array, Float32, Int64
from tsne_ooc._validate import as_array, as_rows, check_shape, is_frame, is_sparse

#: Rows that are counted at a time: 16 MB of coordinates.
SHADED = 1 << 21
# Rows from all over a map are taken in runs of so many, each of which is one read where the file is on a disk.
_RUN = 64


class MapRows:
    """A map of one or two dimensions, as blocks of float32 in two columns.

    Rows whose coordinates are NaN or infinite, such as those of rows that were dropped, stay among the others; they are
    not drawn, and a note counts them.

    Parameters
    ----------
    Y : array_like of shape (n, 1) or (n, 2)
        An array that is memory-mapped is read block by block, and its pages are given back.
    name : str
        What messages call it.
    """

    def __init__(self, Y: ArrayLike, name: str = "Y") -> None:
        self._Y = _checked(Y, name)
        self.n, self.dimensions = self._Y.shape
        if self.dimensions > 2:
            raise ValueError(f"{name} has {self.dimensions} columns; choose one or two to draw, such as {name}[:, :2]")
        if self.dimensions == 1:
            there = self._Y[np.isfinite(self._Y)]
            width = 0.05 * float(np.ptp(there)) if len(there) else 0.0
            self._across = np.random.default_rng(0).normal(scale=width or 1.0, size=(self.n, 1)).astype(np.float32)

    def block(self, start: int, stop: int) -> Float32:
        """Rows `start` up to `stop`."""
        # A place beyond float32 is not on any picture.
        with np.errstate(over="ignore"):
            # This is a copy, since a view would bring the pages of the file back when it is read.
            rows = np.array(self._Y[start:stop], np.float32, order="C")
        if self.dimensions == 1:
            rows = np.hstack([rows, self._across[start:stop]])
        give_back(self._Y)
        return rows

    def blocks(self) -> Iterator[tuple[int, int, Float32]]:
        """All rows in blocks, with the numbers at which each block starts and stops."""
        for start, stop in cuts(self.n):
            yield start, stop, self.block(start, stop)

    def all(self) -> Float32:
        """All rows at once."""
        return np.concatenate([rows for _, _, rows in self.blocks()])

    def of(self, rows: Int64) -> Float32:
        """Some rows, by their numbers in ascending order."""
        found = [np.empty((0, 2), np.float32)]
        for start, stop in cuts(self.n):
            first, last = np.searchsorted(rows, (start, stop))
            if last > first:
                found.append(self.block(start, stop)[rows[first:last] - start])
        return np.concatenate(found)

    def some(self, most: int) -> Float32:
        """At most so many rows, from places all over the map."""
        if self.n <= most:
            return self.all()
        firsts = np.linspace(0, self.n - _RUN, max(1, most // _RUN)).astype(np.int64)
        return np.concatenate([self.block(at, at + _RUN) for at in firsts.tolist()])


class Together:
    """Several maps as one, for what looks at the rows of all of them.

    Parameters
    ----------
    *maps : MapRows
    """

    def __init__(self, *maps: MapRows) -> None:
        self._maps = maps
        self.n = sum(rows.n for rows in maps)

    def blocks(self) -> Iterator[tuple[int, int, Float32]]:
        """All rows in blocks, as those of `MapRows`."""
        first = 0
        for rows in self._maps:
            yield from ((first + start, first + stop, block) for start, stop, block in rows.blocks())
            first += rows.n

    def some(self, most: int) -> Float32:
        """At most so many rows (or a few more), from places all over the maps."""
        return np.concatenate([rows.some(max(_RUN, most * rows.n // self.n)) for rows in self._maps])


def cuts(n: int) -> list[tuple[int, int]]:
    """The numbers of the rows at which blocks start and stop."""
    return ranges(n, SHADED)


def _checked(Y: ArrayLike, name: str) -> Array:
    values: Any = Y
    if is_frame(values) and not is_sparse(values):
        values = values.to_numpy()
    if not is_sparse(values) and not isinstance(values, np.ma.MaskedArray):
        array = as_array(values, name)
        check_shape(array.shape, name)
        if array.dtype.kind == "f":
            return array
    rows: Float32 = as_rows(Y, name=name)
    return rows


def give_back(array: Array) -> None:
    """Let go of the pages of a file that an array is over; else a map of 0.8 GB would stay in memory once read."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            # The pages may be private copies, and what was written to them would be lost.
            return
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
