"""How many rows are read and mixed together, where the user does not say."""

from __future__ import annotations

from tsne_ooc._options import whole
from tsne_ooc.io.bands import LARGEST
from tsne_ooc.io.cuts import block_rows
from tsne_ooc.io.source import Source

#: Size of a buffer in memory, in float32. An epoch of 2 million rows of 50 columns took 0.3 s of processor time with 32
#: or 64 MiB, and 1 s with 128 MiB, when other programs filled the machine.
BUFFER_BYTES = 64 << 20

# Size of a block that is a piece of its own. One epoch of a contiguous HDF5 file, rows of 50 columns: 15 million rows a
# second with 4 or 8 MiB, 9 with 32 MiB, for which the C library takes memory from the system anew each time.
_BLOCK_BYTES = 8 << 20

# 64 blocks of 1 MiB fill the buffer: the mean of a batch of 256 rows then varies at most five times as much as with
# random rows, and blocks are large enough to be read at the rate of a whole file.
_BLOCKS_OF_A_BUFFER = 64


# Blocks of a sorted table are smaller: a class that fills a few large ones is in some buffers and missing from others.
# KDD Cup 1999 in the order of its file, 494,021 rows of 118 columns, 1,000 batches: an encoder ends .077 widths from
# its teacher with 1,024 blocks in a buffer, .152 with 64 (one seed; all rows mixed: .116 and .143). An epoch takes .23
# s to read instead of .13, of 15 s.
_BLOCKS_OF_A_SORTED_BUFFER = 1024


def mixed_rows_for(source: Source) -> int:
    """Rows of a block where a sorted table is mixed in a buffer: a 1024th of it, but no less than a chunk."""
    row = source.shape[1] * max(4, source.dtype.itemsize)
    wanted = buffer_rows_for(source, None) // _BLOCKS_OF_A_SORTED_BUFFER * row
    chunk = 0 if source.chunks is None else min(source.chunks[0], source.shape[0]) * row
    return block_rows(source, max(wanted, min(chunk, LARGEST)))


def buffer_rows_for(source: Source, given: int | None) -> int:
    """Rows of a buffer: as many as asked for, else 64 MiB of float32, and at least one chunk."""
    if given is not None:
        return whole("buffer_rows", given, least=1)
    rows = max(1, BUFFER_BYTES // (4 * source.shape[1]))
    return max(rows, block_rows_for(source, None, rows, check=False))


def block_rows_for(source: Source, given: int | None, buffer_rows: int | None, *, check: bool = True) -> int:
    """Rows of a block, as `Batches` documents them.

    Raises
    ------
    ValueError
        Where a buffer of `buffer_rows` does not hold a block.
    """
    n, columns = source.shape
    row = columns * max(4, source.dtype.itemsize)
    if given is not None:
        rows = min(whole("block_rows", given, least=1), n)
    else:
        wanted = _BLOCK_BYTES if buffer_rows is None else buffer_rows // _BLOCKS_OF_A_BUFFER * row
        chunk = 0 if source.chunks is None else min(source.chunks[0], n) * row
        rows = block_rows(source, max(wanted, min(chunk, LARGEST)))
    if check and buffer_rows is not None and rows > buffer_rows:
        stored = "" if source.chunks is None else f" (the table is stored in chunks of {source.chunks[0]})"
        raise ValueError(f"buffer_rows={buffer_rows} holds no block of {rows} rows{stored}; use at least {rows}")
    return rows


def reads_of_a_chunk(source: Source, group_rows: int) -> float:
    """How often a chunk is read in an epoch of which `group_rows` random rows at a time are read together."""
    n = source.shape[0]
    if source.chunks is None or group_rows >= n:
        return 1.0
    groups = n / group_rows
    # A group misses a chunk where all of the chunk's rows are in other groups.
    return groups * (1 - (1 - 1 / groups) ** min(source.chunks[0], n))
