"""What is read for an epoch, in which pieces, and where each row of a piece goes."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from tsne_ooc._typing import Float32, Int64
from tsne_ooc.io.blocks import read_checked
from tsne_ooc.io.source import Source
from tsne_ooc.sampling.take import take

Batch = tuple[Int64, Float32]


class Piece(NamedTuple):
    """Consecutive rows of an epoch, held in file order.

    The thread that trains puts rows into the order of the epoch batch by batch: 10 to 15 us for 256 rows of 50 columns.
    If the reading thread did it, a whole piece at a time, it would read 7 million of these rows a second instead of 17,
    and spend most of the time on new pages of memory.
    """

    rows: Int64
    X: Float32
    #: Where each row of the epoch is in file order.
    order: Int64
    #: Whether `X` is memory of the plan, which it uses again. It may have more rows than the piece.
    buffer: bool = False

    def part(self, first: int, last: int) -> Batch:
        """Numbers and values of rows in the order of the epoch, as arrays of their own."""
        where = self.order[first:last]
        # Indices are known to be right; with "clip" NumPy does not check them, which saves a third.
        return self.rows[where], self.X.take(where, axis=0, mode="clip")


class Plan(Protocol):
    """The order of all rows of an epoch, and how it is read piece by piece.

    Pieces do not depend on each other: an epoch can begin at any row, and the rows before are not read.
    """

    def pieces(self, start: int, stop: int) -> list[tuple[int, int, int]]:
        """Pieces that hold places `start` to `stop` of the epoch: number, first and last place within the piece."""
        ...

    def read(self, piece: tuple[int, int, int]) -> Piece:
        """Read what a piece asks for."""
        ...

    def done(self, piece: Piece) -> None:
        """Take back the memory of a piece that was used."""
        ...


class Listed:
    """Rows that are listed in advance, from anywhere; those of a piece are read in file order, each chunk once."""

    def __init__(self, table: Source, order: Int64, piece_rows: int) -> None:
        self._table, self._order, self._size = table, order, piece_rows

    def pieces(self, start: int, stop: int) -> list[tuple[int, int, int]]:
        size = self._size
        return [
            (number, max(start - number * size, 0), min(stop - number * size, size))
            for number in range(start // size, -(-stop // size))
        ]

    def read(self, piece: tuple[int, int, int]) -> Piece:
        number, first, last = piece
        rows = self._order[number * self._size :][first:last]
        ascending = np.argsort(rows, kind="stable")
        order = np.empty_like(ascending)
        order[ascending] = np.arange(len(rows))
        rows = rows[ascending]
        return Piece(rows, take(self._table, rows), order)

    def done(self, piece: Piece) -> None:
        pass


class BlockPlan:
    """Whole blocks of consecutive rows, some of them to a piece.

    Parameters
    ----------
    table : Source
    blocks : ndarray of shape (number of blocks, 2), int64
        First row of each block, and the row after its last.
    together : int
        Blocks of a piece, at most; all pieces have the same number or one less.
    rng : numpy.random.Generator, optional
        Puts blocks, and the rows of each piece, in random order. Without it, all stay in the order of the table.
    """

    def __init__(self, table: Source, blocks: Int64, together: int, rng: np.random.Generator | None = None) -> None:
        self._table = table
        count = -(-len(blocks) // together)
        order = np.arange(len(blocks)) if rng is None else rng.permutation(len(blocks))
        # Pieces are cut evenly: a last piece of a single block would not be mixed with others.
        self._pieces: list[Any] = [blocks[np.sort(group)] for group in np.array_split(order, count)]
        sizes = [int((group[:, 1] - group[:, 0]).sum()) for group in self._pieces]
        self._edges = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        # A seed for each piece, so that none waits for those before it.
        self._seeds = None if rng is None else rng.integers(2**63, size=count)
        # A large array comes from the system in empty pages, and the first touch of these costs as much as reading: 8
        # million rows of 50 columns are read a second where buffers are used again, and 5 without.
        self._spare: list[Float32] = []
        self._shape = max(sizes), table.shape[1]

    def pieces(self, start: int, stop: int) -> list[tuple[int, int, int]]:
        if start == stop:
            return []
        first = int(np.searchsorted(self._edges, start, side="right")) - 1
        last = int(np.searchsorted(self._edges, stop))
        return [
            (number, max(start - low, 0), min(stop, high) - low)
            for number, low, high in zip(
                range(first, last), self._edges[first:last].tolist(), self._edges[first + 1 : last + 1].tolist(),
                strict=True,
            )
        ]  # fmt: skip

    def read(self, piece: tuple[int, int, int]) -> Piece:
        number, first, last = piece
        blocks = self._pieces[number].tolist()
        rows = np.concatenate([np.arange(start, stop) for start, stop in blocks])
        order = np.arange(len(rows))
        if self._seeds is not None:
            order = np.random.default_rng(self._seeds[number]).permutation(len(rows))
        if len(blocks) == 1:
            return Piece(rows, read_checked(self._table, *blocks[0]), order[first:last])
        X = self._spare.pop() if self._spare else np.empty(self._shape, np.float32)
        at = 0
        # Each block goes straight to its place: if a list were concatenated, the piece would be in memory twice.
        for start, stop in blocks:
            X[at : at + stop - start] = read_checked(self._table, start, stop)
            at += stop - start
        return Piece(rows, X, order[first:last], buffer=True)

    def done(self, piece: Piece) -> None:
        if piece.buffer:
            self._spare.append(piece.X)
