"""The nearest neighbours of each row, some rows at a time."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from tsne_ooc._parallel import ranges
from tsne_ooc._typing import Float32, Int64, UInt32
from tsne_ooc.neighbors import Index
from tsne_ooc.scratch.files import ScratchFile
from tsne_ooc.storage.mapped import forget

# Neighbours that are searched, or read, together: 32 MB.
BLOCK = 1 << 22


class NeighborBlock(NamedTuple):
    """The neighbours of some rows.

    Parameters
    ----------
    rows : ndarray of shape (m,)
        The numbers of these rows.
    indices : ndarray of uint32, shape (m, k)
        Row numbers, nearest first.
    distances : ndarray of float32, shape (m, k)
    """

    rows: Int64 | UInt32
    indices: UInt32
    distances: Float32


class NeighborRows(Protocol):
    """Neighbours of n rows among themselves, wherever and in whatever order they are kept."""

    @property
    def shape(self) -> tuple[int, int]:
        """How many rows there are, and how many neighbours each has."""

    def read(self, start: int, stop: int) -> NeighborBlock:
        """The neighbours of the rows at `start` to `stop` of the order, in arrays that the caller may change."""


class NeighborsInMemory(NamedTuple):
    """Neighbours that a search has found, in memory or mapped from a file, in the order of the rows.

    Parameters
    ----------
    indices : ndarray of uint32, shape (n, k)
    distances : ndarray of float32, shape (n, k)
    """

    indices: UInt32
    distances: Float32

    @property
    def shape(self) -> tuple[int, int]:
        n, k = self.indices.shape
        return n, k

    def read(self, start: int, stop: int) -> NeighborBlock:
        found = self.indices[start:stop].copy(), self.distances[start:stop].copy()
        forget(self.indices, self.distances)
        return NeighborBlock(np.arange(start, stop), *found)


class NeighborsOnDisk:
    """Neighbours in scratch files.

    Parameters
    ----------
    shape : tuple of int
        The number of rows, and of the neighbours of each.
    folder : Path
    order : ndarray of uint32, shape (n,), optional
        The numbers of the rows in the order that they are kept in; by default they ascend.
    """

    def __init__(self, shape: tuple[int, int], folder: Path, order: UInt32 | None = None) -> None:
        self.shape, self._order = shape, order
        self._files = ScratchFile(folder, np.uint32, "neighbours"), ScratchFile(folder, np.float32, "distances")

    @classmethod
    def among(cls, index: Index, k: int, folder: Path) -> NeighborsOnDisk:
        """Search the `k` nearest others of all rows of an index, part by part where the index can, else at once."""
        n, order = index.n, index.order
        pieces = ranges(n, max(1, BLOCK // k))
        found = None if order is None else index.query_part(*pieces[0], k)
        if found is None:
            kept = cls((n, k), folder)
            kept.put(0, *index.query_self(k))
            return kept
        kept = cls((n, k), folder, order)
        for start, stop in pieces:
            found = found if start == 0 else index.query_part(start, stop, k)
            assert found is not None
            kept.put(start, *found)
        return kept

    def put(self, start: int, indices: UInt32, distances: Float32) -> None:
        """Write the neighbours of some rows, the first of them at `start` of the order."""
        for file, values in zip(self._files, (indices, distances), strict=True):
            file.write(start * self.shape[1], values)

    def read(self, start: int, stop: int) -> NeighborBlock:
        k = self.shape[1]
        indices, distances = np.empty((stop - start, k), np.uint32), np.empty((stop - start, k), np.float32)
        for file, out in zip(self._files, (indices, distances), strict=True):
            file.read(start * k, out)
        rows = np.arange(start, stop) if self._order is None else self._order[start:stop]
        return NeighborBlock(rows, indices, distances)

    def close(self) -> None:
        for file in self._files:
            file.close()
