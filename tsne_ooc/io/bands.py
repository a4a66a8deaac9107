"""Pieces of storage that can only be read whole, of which the last one stays in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np

from tsne_ooc._typing import Array, Int64
from tsne_ooc.io.masks import stacked

T = TypeVar("T")

# A larger band is not kept, but read again where two blocks share it: it would break the bound on memory. Where it
# is a single piece of storage, or nearly so, unpacking has broken that bound already.
LARGEST = 256 << 20


class LastBand(Generic[T]):
    """Pieces by number; each is read once, as long as the numbers that are asked for do not decrease.

    Parameters
    ----------
    edges : ndarray of shape (number of pieces + 1,), int64
        First row of each piece, and the number of rows of the table.
    load : callable
        Reads the piece of a given number.
    """

    def __init__(self, edges: Int64, load: Callable[[int], T]) -> None:
        self.edges = edges
        self._load = load
        self._held: tuple[int, T] | None = None
        self._lock = threading.Lock()

    def __getitem__(self, number: int) -> T:
        # Two readers of one source, such as two loops with a thread each, must not get each other's piece.
        with self._lock:
            if self._held is None or self._held[0] != number:
                # Let go of the last one first: two are never held.
                self._held = None
                self._held = number, self._load(number)
            return self._held[1]

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Yield (number, start, stop): each piece with some of rows `start` to `stop`, and where these lie in it."""
        number = int(np.searchsorted(self.edges, start, side="right")) - 1
        while start < stop:
            first, last = int(self.edges[number]), int(self.edges[number + 1])
            if start < last:
                yield number, start - first, min(stop, last) - first
                start = min(stop, last)
            number += 1


class BandedRows:
    """Rows of an array whose storage comes in bands of rows.

    Whole bands are fetched in one go, for the library to read as it likes; a band in which a block begins or ends is
    kept for the next block.

    Parameters
    ----------
    edges : ndarray of int64
        As for `LastBand`.
    fetch : callable
        ``fetch(start, stop)`` reads rows.
    row_bytes : int
        Size of a row in memory.
    piece_bytes : int
        Size in memory of what must be unpacked whole: a chunk, which may be narrower than the table.
    """

    def __init__(
        self,
        edges: Int64,
        fetch: Callable[[int, int], Array],
        row_bytes: int,
        piece_bytes: int = 0,
    ) -> None:
        self._fetch = fetch
        self._bands = LastBand(edges, lambda number: fetch(int(edges[number]), int(edges[number + 1])))
        self._keeps = int(np.diff(edges).max(initial=0)) * row_bytes <= max(LARGEST, 2 * piece_bytes)

    def read(self, start: int, stop: int) -> Array:
        edges = self._bands.edges
        # They are looked up, because a table of small chunks has millions of edges.
        within = edges[np.searchsorted(edges, start) : np.searchsorted(edges, stop, side="right")]
        if not self._keeps or start == stop:
            return self._fetch(start, stop)
        first, last = (int(within[0]), int(within[-1])) if len(within) else (stop, stop)
        parts = [*self._kept(start, first)]
        if first < last:
            parts.append(self._fetch(first, last))
        parts += self._kept(last, stop)
        # The result is never a view of what is kept, because the caller may change it.
        return stacked(parts) if len(parts) > 1 or not first < last else parts[0]

    def _kept(self, start: int, stop: int) -> Iterator[Array]:
        for number, first, last in self._bands.pieces(start, stop):
            yield self._bands[number][first:last]


class BandedVector:
    """An array of one axis on the disk, of which the chunk that a read ends in is kept for the next read.

    Parameters
    ----------
    stored : h5py.Dataset or zarr.Array
        One that has chunks.
    """

    def __init__(self, stored: Any) -> None:
        self.shape, self.dtype = stored.shape, stored.dtype
        n, chunk, size = int(stored.shape[0]), int(stored.chunks[0]), int(np.dtype(stored.dtype).itemsize)
        edges = np.append(np.arange(0, n, chunk, dtype=np.int64), n)
        self._entries = BandedRows(edges, lambda start, stop: np.asarray(stored[start:stop]), size, chunk * size)

    def __getitem__(self, entries: slice) -> Array:
        start, stop, _ = entries.indices(self.shape[0])
        return self._entries.read(start, max(start, stop))
