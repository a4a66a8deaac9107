"""The nearest neighbours of each row, some rows at a time."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from tsne_ooc._typing import Float32, UInt32
from tsne_ooc.scratch.files import ScratchFile


class NeighborRows(Protocol):
    """Neighbours of n rows among themselves, wherever they are kept."""

    @property
    def shape(self) -> tuple[int, int]:
        """How many rows there are, and how many neighbours each has."""

    def read(self, start: int, stop: int) -> tuple[UInt32, Float32]:
        """Those of rows `start` to `stop`, nearest first, and how far they are; arrays of the caller's own."""


class NeighborsInMemory(NamedTuple):
    """What a search has just found.

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

    def read(self, start: int, stop: int) -> tuple[UInt32, Float32]:
        return self.indices[start:stop].copy(), self.distances[start:stop].copy()


class NeighborsOnDisk:
    """The same in scratch files.

    Parameters
    ----------
    indices, distances : ndarray of shape (n, k)
        Written, and not held.
    folder : Path
    """

    def __init__(self, indices: UInt32, distances: Float32, folder: Path) -> None:
        n, k = indices.shape
        self.shape = (n, k)
        self._files = ScratchFile(folder, np.uint32, "neighbours"), ScratchFile(folder, np.float32, "distances")
        for file, values in zip(self._files, (indices, distances), strict=True):
            file.write(0, values)

    def read(self, start: int, stop: int) -> tuple[UInt32, Float32]:
        k = self.shape[1]
        indices, distances = np.empty((stop - start, k), np.uint32), np.empty((stop - start, k), np.float32)
        for file, out in zip(self._files, (indices, distances), strict=True):
            file.read(start * k, out)
        return indices, distances

    def close(self) -> None:
        for file in self._files:
            file.close()
