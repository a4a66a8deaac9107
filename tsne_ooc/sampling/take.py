"""Reading the rows with given numbers: every piece of storage that holds one of them is read once."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from tsne_ooc._typing import Array, Int64, Progress, TableLike
from tsne_ooc.io.ahead import ahead
from tsne_ooc.io.blocks import read_checked
from tsne_ooc.io.cuts import BLOCK_BYTES
from tsne_ooc.io.source import Source, as_source
from tsne_ooc.storage.mapped import empty, forget

# Where any rows can be read alone, a gap this long is read along with its neighbours: a call to HDF5 takes 40
# us, in which a warm disk cache delivers some 200 kB.
_GAP_BYTES = 200_000


def take(
    source: TableLike,
    rows: Int64,
    *,
    name: str = "X",
    progress: Progress | None = None,
    dtype: DTypeLike = np.float32,
) -> Array:
    """Rows with the given numbers (ascending) as checked floats; each touched chunk is read once.

    `progress` is called as ``progress("sample", rows read, rows wanted)``.
    """
    table = as_source(source)
    result = empty((len(rows), table.shape[1]), dtype)
    reads = _reads(table, rows)

    def load(read: tuple[int, int, int, int]) -> Array:
        first, last, start, stop = read
        return read_checked(table, start, stop, name=name, rows=rows[first:last], dtype=dtype)

    # A thread reads them, as it reads blocks: Ctrl-C need not wait for a read that hangs.
    for (first, last, _, _), block in zip(reads, ahead(load, reads), strict=True):
        result[first:last] = block
        forget(result[first:last])
        if progress is not None:
            progress("sample", last, len(rows))
    return result


def _reads(table: Source, rows: Int64) -> list[tuple[int, int, int, int]]:
    """Reads (first, last, start, stop): ``rows[first:last]`` lie in rows start to stop of the table.

    Rows in the same row of chunks share a read, so that the chunks are unpacked once. Without chunks, rows
    whose gap is cheaper to read than to jump share one.
    """
    if not len(rows):
        return []
    row_bytes = max(1, getattr(table, "row_bytes", table.shape[1] * table.dtype.itemsize))
    if table.chunks is None:
        new = np.diff(rows) * row_bytes > _GAP_BYTES
    else:
        band = rows // table.chunks[0]
        new = band[1:] != band[:-1]
    most = max(1, BLOCK_BYTES // row_bytes)
    reads = []
    firsts = np.concatenate([[0], np.flatnonzero(new) + 1, [len(rows)]])
    for first, last in zip(firsts[:-1].tolist(), firsts[1:].tolist(), strict=True):
        # A group may still be too long for memory between its first and its last wanted row.
        while first < last:
            start = int(rows[first])
            end = int(np.searchsorted(rows[first:last], start + most)) + first
            reads.append((first, end, start, int(rows[end - 1]) + 1))
            first = end
    return reads
