"""The one class that users see: its options, and the loop over an epoch."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import Any

import numpy as np

from tsne_ooc._context import warn
from tsne_ooc._options import pick, whole
from tsne_ooc._random import generator
from tsne_ooc._typing import TableLike
from tsne_ooc.batches import draws
from tsne_ooc.batches.evenness import between
from tsne_ooc.batches.plans import Batch, BlockPlan, Listed, Piece, Plan
from tsne_ooc.batches.sizes import block_rows_for, buffer_rows_for, reads_of_a_chunk
from tsne_ooc.io.ahead import ahead
from tsne_ooc.io.base import Closing
from tsne_ooc.io.cuts import edges
from tsne_ooc.io.files import are_files
from tsne_ooc.io.source import as_source

# The sizes that each way of shuffling has.
_SIZES: dict[str | None, tuple[str, ...]] = {
    "full": ("buffer_rows",),
    "buffer": ("block_rows", "buffer_rows"),
    "batch": ("block_rows",),
    None: ("block_rows",),
}
# Where chunks are read ten times, an epoch takes some ten times as long as reading the table; a small table is read in
# a moment all the same.
_MANY_READS = 10
_WORTH_A_WARNING = 64 << 20


class Batches(Closing):
    """Mini-batches of a table that is larger than memory, in an order that the seed and the epoch decide.

    An epoch has every row exactly once (with `balanced` or `weights`: as many rows as the table, drawn). All batches
    have `batch_size` rows, but for the last one. The order does not depend on `prefetch` or on timing; `shuffle` says
    where it depends on how the table is stored.

    Parameters
    ----------
    source : Source or what `tsne_ooc.io.as_source` accepts
        Table of shape (n_samples, n_features).
    batch_size : int
        Rows of a batch.
    shuffle : {"full", "buffer", "batch", None}, default "full"
        - "full": all orders are equally likely. The order depends on nothing but the seed, the epoch and the number of
          rows. `buffer_rows` rows are read together, in file order; a chunk of the file is read once for each of these
          groups that has one of its rows. Memory also holds 8 bytes for each row of the table.
        - "buffer": blocks of `block_rows` rows come in random order and fill one buffer after the other, of at most
          ``buffer_rows // block_rows`` blocks each and all alike to within one block. The rows of a buffer come in
          random order, before those of the next. All orders of the blocks are equally likely, and so are all orders of
          the rows of a buffer. So a batch of b rows out of a buffer of m blocks is a uniform sample of m blocks chosen
          at random: for a column of variance v, the variance of the batch's mean is at most ``v / b + v / m`` (blocks
          being of one size), however the table is sorted; with "full" it is at most ``v / b``.
        - "batch": the same with one block in a buffer (m = 1).
        - None: rows come in the order of the table.
    block_rows : int, optional
        Rows of a block for "buffer", "batch" and None. Default: as many whole chunks as hold 8 MiB ("buffer": a 64th of
        the buffer), but at least one, and at most 256 MiB: larger chunks are cut into equal parts. It follows from the
        table's shape, type and chunks, and from `buffer_rows`; to get the same order from two files that are stored
        differently, pass it. Where it is more than a chunk and not a multiple of one, some chunks are read twice.
    buffer_rows : int, optional
        Rows that are read together ("full") or mixed ("buffer"). Default: 64 MiB of float32.
    drop_last : bool
        Leave out the last batch where it is smaller than the others. Which rows these are differs from epoch to epoch,
        but not with ``shuffle=None``.
    balanced : array-like of shape (n_samples,), optional
        A label for each row, of any type, or several (as for `tsne_ooc.sampling.Stratified`); missing labels are a
        class of their own. Classes come in rounds, each class once in a round, in random order: in an epoch they are
        equally often to within 1, and in a batch to within 2 (exactly, where `batch_size` is a multiple of their
        number). Rows of one class are equally often to within 1: those of rare classes are repeated, and some of
        frequent ones are left out. It needs ``shuffle="full"``, and is read like it.
    weights : array-like of shape (n_samples,), optional
        Rows are drawn with replacement, in proportion. It needs ``shuffle="full"``, and is read like it.
    prefetch : int
        Pieces (a buffer, a block) that a thread reads ahead; memory holds ``prefetch + 1`` of them. With 0 there is no
        thread.
    seed : int

    Attributes
    ----------
    source : Source
    block_rows, buffer_rows : int or None
        The sizes in use; None where `shuffle` does not use one.

    Raises
    ------
    ValueError, TypeError
        For options that do not fit each other or the table. While rows are read: for NaN and infinity, with the row
        in the table and the column.
    OSError
        Where rows cannot be read, with their range.

    Warns
    -----
    UserWarning
        Where "full" reads each chunk of the file more than ten times in an epoch.

    Examples
    --------
    >>> batches = Batches(np.eye(6, dtype=np.float32), batch_size=4, shuffle=None)
    >>> [rows.tolist() for rows, X in batches.epoch(0)]
    [[0, 1, 2, 3], [4, 5]]

    A run that was killed goes on where it was:

    >>> [rows.tolist() for rows, X in batches.epoch(0, start_batch=1)]
    [[4, 5]]
    """

    def __init__(
        self,
        source: TableLike,
        *,
        batch_size: int = 256,
        shuffle: str | None = "full",
        block_rows: int | None = None,
        buffer_rows: int | None = None,
        drop_last: bool = False,
        balanced: Any = None,
        weights: Any = None,
        prefetch: int = 2,
        seed: int = 0,
    ) -> None:
        self.batch_size = whole("batch_size", batch_size, least=1)
        self.prefetch = whole("prefetch", prefetch, least=0)
        self.seed = whole("seed", seed, least=0, most=math.inf)
        self.drop_last = drop_last
        self.shuffle = shuffle
        self.next_epoch = 0
        _check_options(shuffle, block_rows, buffer_rows, balanced, weights)
        self._opened = isinstance(source, str | os.PathLike) or are_files(source)
        self.source = as_source(source)
        if not self.source.shape[1]:
            raise ValueError(f"{self.source!r} has no columns")
        try:
            self._prepare(block_rows, buffer_rows, balanced, weights)
        except BaseException:
            self.close()
            raise

    def _prepare(self, block_rows: int | None, buffer_rows: int | None, balanced: Any, weights: Any) -> None:
        n = self.source.shape[0]
        self._stop = n // self.batch_size * self.batch_size if self.drop_last else n
        if not self._stop:
            more = f", and drop_last leaves out a batch of less than batch_size={self.batch_size}" if n else ""
            raise ValueError(f"{self.source!r} has {n} rows{more}: there is no batch")
        sizes = _SIZES[self.shuffle]
        self.buffer_rows = buffer_rows_for(self.source, buffer_rows) if "buffer_rows" in sizes else None
        self.block_rows = block_rows_for(self.source, block_rows, self.buffer_rows) if "block_rows" in sizes else None
        self._draw = draws.permuted(n)
        if balanced is not None:
            self._draw = draws.balanced(n, balanced)
        if weights is not None:
            self._draw = draws.weighted(n, weights)
        if self.buffer_rows is not None and self.block_rows is None:
            _warn_of_many_reads(self.source, self.buffer_rows)

    def __len__(self) -> int:
        """Batches of an epoch."""
        return -(-self._stop // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """The next epoch: 0 the first time, then 1, and so on (`next_epoch`)."""
        self.next_epoch += 1
        return self.epoch(self.next_epoch - 1)

    def epoch(self, epoch: int, *, start_batch: int = 0) -> Generator[Batch, None, None]:
        """Iterate over the batches of an epoch.

        Leaving the loop ends the thread that reads; to be sure of when, use ``contextlib.closing``.

        Parameters
        ----------
        epoch : int
            Number of the epoch, which decides the order together with the seed.
        start_batch : int
            Batches to leave out at the beginning. Pieces that lie before the first one are not read.

        Yields
        ------
        rows : ndarray of shape (batch_size,), int64
            Numbers of the rows in the table.
        X : ndarray of shape (batch_size, n_features), float32, C-contiguous
            The rows, in memory of their own, which the caller may change.
        """
        epoch = whole("epoch", epoch, least=0)
        start = whole("start_batch", start_batch, least=0)
        if start > len(self):
            raise ValueError(f"start_batch={start} is beyond the {len(self)} batches of an epoch")
        return self._batches(epoch, min(start * self.batch_size, self._stop))

    def _batches(self, epoch: int, start: int) -> Generator[Batch, None, None]:
        plan = self._plan(generator(self.seed, f"batches, epoch {epoch}"))
        with closing(ahead(plan.read, plan.pieces(start, self._stop), self.prefetch)) as pieces:
            yield from cut(pieces, self.batch_size, plan.done)

    def _plan(self, rng: np.random.Generator) -> Plan:
        if self.block_rows is None:
            assert self.buffer_rows is not None
            # Whole batches: a batch in two pieces would have to be put together from both.
            piece = max(1, self.buffer_rows // self.batch_size) * self.batch_size
            return Listed(self.source, self._draw(rng), piece)
        blocks = np.array(edges(self.source, self.block_rows, 0, self.source.shape[0]), np.int64)
        together = 1 if self.buffer_rows is None else self.buffer_rows // self.block_rows
        return BlockPlan(self.source, blocks, together, None if self.shuffle is None else rng)

    def uneven(self, rows: Any, X: TableLike) -> float:
        """How unlike each other the blocks of "buffer" or "batch" are, as some rows show it.

        Where it is more than a hundredth, batches of one block each teach one thing after the other; take "buffer"
        instead of "batch".

        Parameters
        ----------
        rows : ndarray of shape (m,), int64
            Numbers of rows drawn uniformly from the table, ascending.
        X : ndarray of shape (m, n_features)
            These rows.

        Returns
        -------
        float
            The share of the rows' variance that lies between blocks, beyond what it would be in random order; 0 where
            there are no blocks.
        """
        if self.block_rows is None:
            return 0.0
        return between(rows, X, np.array(edges(self.source, self.block_rows, 0, self.source.shape[0]), np.int64))

    def close(self) -> None:
        """Close the file, where the source was given as a path."""
        if self._opened and hasattr(self.source, "close"):
            self.source.close()

    def __repr__(self) -> str:
        return f"{len(self)} batches of {self.batch_size} rows, shuffle={self.shuffle!r}, of {self.source!r}"


def cut(pieces: Iterable[Piece], size: int, done: Callable[[Piece], None]) -> Iterator[Batch]:
    """Batches of `size` consecutive rows of the epoch, the last maybe of fewer. `done` takes each piece at its end."""
    parts: list[Batch] = []
    held = 0
    for piece in pieces:
        at = 0
        while at < len(piece.order):
            end = min(at + size - held, len(piece.order))
            parts.append(piece.part(at, end))
            held += end - at
            at = end
            if held == size:
                yield _joined(parts)
                parts, held = [], 0
        done(piece)
        # Its memory is let go before the next one comes.
        del piece
    if parts:
        yield _joined(parts)


def _joined(parts: list[Batch]) -> Batch:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([rows for rows, _ in parts]), np.concatenate([X for _, X in parts])


def check_shuffle(shuffle: str | None) -> None:
    """Raise ValueError for a word that `Batches` does not know, naming the nearest one."""
    if shuffle is not None:
        pick("shuffle", shuffle, {word: sizes for word, sizes in _SIZES.items() if word is not None})


def _check_options(shuffle: str | None, block_rows: Any, buffer_rows: Any, balanced: Any, weights: Any) -> None:
    check_shuffle(shuffle)
    for name, given in (("block_rows", block_rows), ("buffer_rows", buffer_rows)):
        if given is not None and name not in _SIZES[shuffle]:
            raise ValueError(f"{name}={given!r} has no meaning with shuffle={shuffle!r}; leave it out")
    if balanced is not None and weights is not None:
        raise ValueError("balanced and weights both say how rows are drawn; pass one of them")
    for name, given in (("balanced", balanced), ("weights", weights)):
        if given is not None and shuffle != "full":
            raise ValueError(f"{name} draws rows from the whole table, so it needs shuffle='full', not {shuffle!r}")


def _warn_of_many_reads(source: TableLike, buffer_rows: int) -> None:
    times = reads_of_a_chunk(source, buffer_rows)
    n, columns = source.shape
    if times > _MANY_READS and n * columns * source.dtype.itemsize > _WORTH_A_WARNING:
        warn(
            f"shuffle='full' reads each chunk of {source!r} some {times:.0f} times in an epoch; use shuffle='buffer', "
            f"or a larger buffer_rows than {buffer_rows}",
        )
