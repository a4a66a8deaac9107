"""P on disk: symmetrised piece by piece, and read by ranges of rows."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Array, Float32, Int64, UInt32, UInt64
from tsne_ooc.joint import Part, check_count
from tsne_ooc.scratch.files import ScratchFile
from tsne_ooc.scratch.neighbors import NeighborRows
from tsne_ooc.storage.disk import check_room

# Edges, own and incoming, of the rows that are merged at a time: 36 MB. The number of pieces is limited, since each
# piece writes to each other one: with more pieces a single write would be only a few kB.
EDGES = 1 << 20
MOST_PIECES = 512
# Pieces that are merged at once, on as many threads.
AT_ONCE = 4
# Entries that the system is told to read ahead: 8 MB.
AHEAD = 1 << 20


class JointOnDisk:
    """Joint probabilities of which the first entries are in memory, and all others on disk.

    `symmetrize_on_disk` makes it with no entries in memory; `hold` reads as many as there is room for.

    Parameters
    ----------
    indptr : ndarray of uint64, shape (n + 1,)
    indices : ScratchFile of uint32
    values : ScratchFile of float32, or None
        None means that all values are equal.
    """

    def __init__(self, indptr: UInt64, indices: ScratchFile, values: ScratchFile | None) -> None:
        self.indptr = indptr
        self._indices, self._values = indices, values
        self._held = Part(0, np.empty(0, np.uint32), self._equal(0))
        # A buffer for each thread.
        self._own = threading.local()

    @property
    def n(self) -> int:
        return len(self.indptr) - 1

    @property
    def entries(self) -> int:
        return int(self.indptr[-1])

    @property
    def folder(self) -> Path:
        return self._indices.folder

    @property
    def held(self) -> int:
        """How many entries are in memory."""
        return len(self._held.indices)

    def close(self) -> None:
        self._indices.close()
        if self._values is not None:
            self._values.close()

    def hold(self, entries: int) -> None:
        """Keep so many of the first entries in memory, or all."""
        entries = max(0, min(entries, self.entries))
        self._held = self._read(0, entries, np.empty(entries, np.uint32), self._room(entries))

    def part(self, start: int, stop: int) -> Part:
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        if last <= self.held:
            return self._held
        count = last - first
        if len(getattr(self._own, "indices", ())) < count:
            self._own.indices, self._own.values = np.empty(count, np.uint32), self._room(count)
        for file in self._files:
            file.soon(last, AHEAD)
        return self._read(first, count, self._own.indices, self._own.values)

    @property
    def _files(self) -> list[ScratchFile]:
        return [self._indices] if self._values is None else [self._indices, self._values]

    def _room(self, count: int) -> Float32:
        return self._equal(count) if self._values is None else np.empty(count, np.float32)

    def _equal(self, count: int) -> Float32:
        return np.broadcast_to(np.float32(1 / max(1, self.entries)), (count,))

    def _read(self, first: int, count: int, indices: UInt32, values: Float32) -> Part:
        indices, values = indices[:count], values[:count]
        self._indices.read(first, indices)
        if self._values is not None:
            self._values.read(first, values)
        return Part(first, indices, values)


class _Piece(NamedTuple):
    """Rows of P that are merged together; `edges` is the number of incoming edges of all rows before them."""

    first: int
    last: int
    edges: int


def symmetrize_on_disk(
    graph: NeighborRows,
    conditional: Callable[[Float32], Float32 | None],
    counts: Int64,
    folder: Path,
    threads: Threads,
    order: UInt32 | None = None,
) -> JointOnDisk:
    """Make the joint probabilities that `tsne_ooc.joint.symmetrize` makes, to the bit, from a graph read by blocks.

    Edges are written to the piece of rows that they lead to, in the order of the rows that they come from; then each
    piece is merged by itself.

    Parameters
    ----------
    graph : NeighborRows
    conditional : callable
        ``conditional(distances)`` gives the conditional probabilities of some rows, or None where all are equal.
    counts : ndarray of int64, shape (n,)
        How many rows have each row as a neighbour.
    folder : Path
        Where scratch files are made.
    threads : Threads
    order : ndarray of uint32, shape (n,), optional
        Row r of P is row number ``order[r]``; by default it is row r.

    Raises
    ------
    OSError
        Where the disk does not have enough room, before anything is written; or where it is full, or refuses, later.
    """
    from tsne_ooc._kernels import symmetrize as kernels

    n, k = graph.shape
    check_count(n)
    has_values = conditional(graph.read(0, 1).distances) is not None
    check_room(folder / "scratch", scratch_bytes(n, k, has_values), "the scratch of affinities")
    incoming = counts if order is None else counts[order]
    pieces = _cut(incoming, k)
    block_of = np.repeat(np.arange(len(pieces), dtype=np.uint16), [piece.last - piece.first for piece in pieces])
    with _Own(k, folder) as own, _Edges(folder) as edges:
        _arrange(graph, conditional, order, pieces, block_of, own)
        cursors = np.array([piece.edges for piece in pieces])
        for piece in pieces:
            neighbors, p = own.read(piece, has_values)
            edges.scatter(neighbors, p, piece.first, block_of, cursors)
        indices = ScratchFile(folder, np.uint32, "affinities")
        values = ScratchFile(folder, np.float32, "affinities") if has_values else None
        indptr = np.zeros(n + 1, np.uint64)
        scale = np.float32(1 / (2 * max(1, n)))

        def merged(number: int) -> tuple[UInt64, UInt32, Float32]:
            piece = pieces[number]
            neighbors, p = own.read(piece, has_values)
            targets, froms, of_edges = edges.read(piece, int(cursors[number]), has_values)
            offsets = np.zeros(piece.last - piece.first + 1, np.uint64)
            np.cumsum(incoming[piece.first : piece.last], out=offsets[1:], dtype=np.uint64)
            sources, into = np.empty_like(froms), np.empty_like(of_edges)
            kernels.sort_edges(targets, froms, of_edges, piece.first, offsets[:-1].copy(), sources, into)
            del targets, froms, of_edges
            ends, place = np.zeros(len(offsets), np.uint64), np.zeros(n, np.uint32)
            nothing = np.empty(0, np.uint32), np.empty(0, np.float32)
            kernels.merge(neighbors, p, offsets, sources, into, scale, place, ends, *nothing)
            np.cumsum(ends, out=ends)
            found = np.empty(int(ends[-1]), np.uint32), np.empty(int(ends[-1]) if has_values else 0, np.float32)
            kernels.merge(neighbors, p, offsets, sources, into, scale, place, ends, *found)
            return ends, *found

        at, at_once = 0, min(AT_ONCE, threads.n)
        for some in range(0, len(pieces), at_once):
            numbers = range(some, min(some + at_once, len(pieces)))
            for number, (ends, found, p) in zip(numbers, threads.map(merged, [(i,) for i in numbers]), strict=True):
                piece = pieces[number]
                indptr[piece.first + 1 : piece.last + 1] = ends[1:] + np.uint64(at)
                indices.write(at, found)
                if values is not None:
                    values.write(at, p)
                at += len(found)
    return JointOnDisk(indptr, indices, values)


def scratch_bytes(n: int, k: int, has_values: bool) -> int:
    """The most bytes that symmetrising takes on disk: neighbours, edges, and P where no two rows name each other."""
    return 4 * n + (36 if has_values else 20) * n * k


def _cut(incoming: Int64, k: int) -> list[_Piece]:
    """Pieces of rows with about as many edges each."""
    sums = np.concatenate([[0], np.cumsum(incoming)])
    work = sums + k * np.arange(len(sums))
    count = max(1, -(-int(work[-1]) // max(EDGES, int(work[-1]) // MOST_PIECES)))
    edges = np.unique(np.searchsorted(work, np.linspace(0, int(work[-1]), count + 1)[1:-1]))
    bounds = [0, *(int(edge) for edge in edges if 0 < edge < len(incoming)), len(incoming)]
    return [_Piece(a, b, int(sums[a])) for a, b in itertools.pairwise(bounds)]


class _Own:
    """The neighbours of all rows, piece by piece; within one in the order they came, beside the rows' places in P."""

    def __init__(self, k: int, folder: Path) -> None:
        self.k = k
        self.places = ScratchFile(folder, np.uint32, "neighbours")
        self.neighbors = ScratchFile(folder, np.uint32, "neighbours")
        self.p = ScratchFile(folder, np.float32, "affinities")

    def __enter__(self) -> _Own:
        return self

    def __exit__(self, *error: object) -> None:
        for file in (self.places, self.neighbors, self.p):
            file.close()

    def write(self, at: int, places: UInt32, neighbors: UInt32, p: Float32 | None) -> None:
        self.places.write(at, places)
        self.neighbors.write(at * self.k, neighbors)
        if p is not None:
            self.p.write(at * self.k, p)

    def read(self, piece: _Piece, has_values: bool) -> tuple[UInt32, Float32]:
        """The neighbours of a piece, in the order of P."""
        m = piece.last - piece.first
        places, neighbors = np.empty(m, np.uint32), np.empty((m, self.k), np.uint32)
        self.places.read(piece.first, places)
        self.neighbors.read(piece.first * self.k, neighbors)
        p = np.empty((m, self.k) if has_values else (0, 0), np.float32)
        if has_values:
            self.p.read(piece.first * self.k, p)
        order = np.argsort(places)
        if (order[1:] > order[:-1]).all():
            return neighbors, p
        return neighbors[order], p[order] if has_values else p


class _Edges:
    """All edges, grouped by the piece that they lead to, in the order of the rows that they come from."""

    def __init__(self, folder: Path) -> None:
        self.targets = ScratchFile(folder, np.uint32, "edges")
        self.sources = ScratchFile(folder, np.uint32, "edges")
        self.p = ScratchFile(folder, np.float32, "edges")

    def __enter__(self) -> _Edges:
        return self

    def __exit__(self, *error: object) -> None:
        for file in (self.targets, self.sources, self.p):
            file.close()

    def scatter(self, neighbors: UInt32, p: Float32, first: int, block_of: Array, cursors: Int64) -> None:
        """Write the edges of rows from `first` on to the pieces that they lead to, at `cursors`, and move these on."""
        from tsne_ooc._kernels import symmetrize as kernels

        counts = np.zeros(len(cursors), np.int64)
        kernels.count_edges(neighbors, block_of, counts)
        starts = np.concatenate([[0], np.cumsum(counts)])
        targets, sources = np.empty(neighbors.size, np.uint32), np.empty(neighbors.size, np.uint32)
        values = np.empty(p.size, np.float32)
        kernels.scatter_edges(neighbors, p, first, block_of, starts[:-1].copy(), targets, sources, values)
        for block in np.flatnonzero(counts):
            some = slice(starts[block], starts[block + 1])
            at = int(cursors[block])
            self.targets.write(at, targets[some])
            self.sources.write(at, sources[some])
            if p.size:
                self.p.write(at, values[some])
        cursors += counts

    def read(self, piece: _Piece, end: int, has_values: bool) -> tuple[UInt32, UInt32, Float32]:
        count = end - piece.edges
        targets, sources = np.empty(count, np.uint32), np.empty(count, np.uint32)
        values = np.empty(count if has_values else 0, np.float32)
        for file, part in ((self.targets, targets), (self.sources, sources), (self.p, values)):
            file.read(piece.edges, part)
        return targets, sources, values


def _arrange(
    graph: NeighborRows,
    conditional: Callable[[Float32], Float32 | None],
    order: UInt32 | None,
    pieces: list[_Piece],
    block_of: Array,
    own: _Own,
) -> None:
    """Write the neighbours of each row, as places in P, to the piece of the row."""
    n, k = graph.shape
    place_of = np.arange(n, dtype=np.uint32)
    if order is not None:
        place_of[order] = np.arange(n, dtype=np.uint32)
    cursors = np.array([piece.first for piece in pieces])
    for start, stop in ranges(n, max(1, EDGES // (2 * k))):
        rows, neighbors, distances = graph.read(start, stop)
        p = conditional(distances)
        places = place_of[rows]
        blocks = block_of[places]
        by_block = np.argsort(blocks, kind="stable")
        edges = np.searchsorted(blocks[by_block], np.arange(len(pieces) + 1))
        places, neighbors = places[by_block], place_of[neighbors[by_block]]
        p = None if p is None else p[by_block]
        for block in np.flatnonzero(np.diff(edges)):
            a, b = edges[block], edges[block + 1]
            own.write(int(cursors[block]), places[a:b], neighbors[a:b], None if p is None else p[a:b])
            cursors[block] += b - a
