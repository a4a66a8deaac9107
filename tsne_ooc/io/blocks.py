"""A table, block by block: bounded memory, whole chunks, the next block read while this one is used."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from numpy.typing import DTypeLike

from tsne_ooc._options import whole
from tsne_ooc._typing import Float32, Int64, TableLike
from tsne_ooc._validate import as_rows
from tsne_ooc.io.ahead import ahead
from tsne_ooc.io.cuts import BLOCK_BYTES, block_rows, edges
from tsne_ooc.io.failures import reading
from tsne_ooc.io.lacking import lacks
from tsne_ooc.io.masks import with_mask
from tsne_ooc.io.source import Source, as_source

Block = tuple[int, int, Float32]


def iterate(
    source: TableLike,
    *,
    bytes: int = BLOCK_BYTES,
    rows: int | None = None,
    start: int = 0,
    stop: int | None = None,
    columns: int | None = None,
    name: str = "X",
    dtype: DTypeLike = np.float32,
) -> Generator[Block]:
    """Yield a table in blocks of checked float32 rows, in order.

    One thread reads and checks the next block while the caller works on this one; it ends with the iteration,
    also where the caller leaves it early.

    Parameters
    ----------
    source : Source or what `as_source` accepts
        The table.
    bytes : int
        Bound on the size of a block in memory.
    rows : int, optional
        Rows of a block, instead of what `bytes` and the chunks of the storage give.
    start, stop : int
        First row, and the row after the last.
    columns : int, optional
        Number of columns the table must have.
    name : str
        What error messages call the table.
    dtype : numpy floating-point type
        Type of the rows, where float32 is too narrow.

    Yields
    ------
    start, stop : int
        The block holds rows `start` up to `stop`.
    block : ndarray of shape (stop - start, n_features), float32 unless `dtype` says otherwise, C-contiguous

    Raises
    ------
    ValueError, TypeError
        What `as_rows` finds wrong, with the number of the row in the whole table.
    OSError
        Where rows cannot be read, with their range.
    """
    table = as_source(source)
    n_samples, n_features = table.shape
    stop = n_samples if stop is None else stop
    if not 0 <= start <= stop <= n_samples:
        raise ValueError(f"rows {start} to {stop} are not within the {n_samples} rows of {table!r}")
    if columns is not None and n_features != columns:
        # This is said before anything is read, in the words of `as_rows`.
        raise ValueError(f"{name} has {n_features} features, but TSNE is expecting {columns} features as input")
    size = block_rows(table, bytes) if rows is None else whole("rows", rows, least=1)

    def load(piece: tuple[int, int]) -> Block:
        return *piece, read_checked(table, *piece, name=name, dtype=dtype)

    # The thread is one block ahead, so at most two are finished at any time.
    return ahead(load, edges(table, size, start, stop))


def read_checked(
    table: Source,
    start: int,
    stop: int,
    *,
    name: str = "X",
    rows: Int64 | None = None,
    dtype: DTypeLike = np.float32,
) -> Float32:
    """Rows `start` up to `stop` (or only those numbered `rows`) as checked floats; errors name the rows."""
    with reading(table, start, stop):
        raw = table.read(start, stop)
    if len(raw) != stop - start:
        raise ValueError(f"rows {start} to {stop - 1} of {table!r} came back as {len(raw)} rows; did it change?")
    if rows is not None:
        raw = raw.iloc[rows - start] if hasattr(raw, "iloc") else with_mask(raw)[rows - start]
    block: Float32 = as_rows(
        raw, name=name, dtype=dtype, first_row=start, row_numbers=rows, columns=table.shape[1], missing=lacks(table)
    )
    return block
