"""Where a table is cut into blocks: into whole chunks, within a bound on memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tsne_ooc.io.source import Source

#: Size of a block in memory. Three are alive at the worst (in use, read, being turned into float32).
BLOCK_BYTES = 32 << 20


def block_rows(source: Source, bytes: int = BLOCK_BYTES) -> int:
    """Rows of a block of at most `bytes`: a multiple of the rows of a storage chunk, where one fits.

    Where a row of chunks is larger than `bytes`, it is cut into equal pieces, so that blocks still begin
    where chunks do; where a single row is larger, blocks have one row.
    """
    n_samples, n_features = source.shape
    row = max(1, n_features * max(4, source.dtype.itemsize))
    most = max(1, bytes // row)
    if source.chunks is not None and source.chunks[0] <= n_samples:
        chunk = source.chunks[0]
        most = most // chunk * chunk if chunk <= most else -(-chunk // -(-chunk // most))
    return max(1, min(most, n_samples))


def edges(source: Source, rows: int, start: int, stop: int) -> list[tuple[int, int]]:
    """Ranges of at most `rows` rows between `start` and `stop`, cut where chunks of storage begin."""
    chunk = source.chunks[0] if source.chunks is not None else 1
    # Blocks smaller than a chunk start anew with every chunk; larger ones are cut at multiples of their own
    # size.
    period = chunk if rows < chunk else rows
    found = []
    at = start
    while at < stop:
        within = at % period
        end = at - within + min((within // rows + 1) * rows, period)
        found.append((at, min(end, stop)))
        at = end
    return found
