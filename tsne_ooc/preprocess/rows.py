"""The rows that come to a step: they are streamed in tiles that are the same however the table is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext

import numpy as np

from tsne_ooc._parallel import Threads
from tsne_ooc._random import generator
from tsne_ooc._typing import Array, DType, Float64, Int64, Progress
from tsne_ooc._validate import RowsError
from tsne_ooc.io import Source, iterate
from tsne_ooc.preprocess.base import Fitted
from tsne_ooc.preprocess.missing import FittedMissing
from tsne_ooc.preprocess.statistics import Moments, MomentsWithGaps, Statistics
from tsne_ooc.preprocess.transformer import FittedTransformer, height_of
from tsne_ooc.sampling import draw

# Numbers in a tile, 32 MiB in float64: products of so many rows run at full speed up to 10,000 columns and more.
_TILE = 1 << 22
_MOST_ROWS = 1 << 16
# Numbers in a sample, 256 MiB in float64, and the rows that suffice: quartiles of 100,000 rows are off by a rank of
# 0.14 %, one standard deviation.
_SAMPLE = 1 << 25
_SAMPLE_ROWS = 100_000
# Numbers in a piece that one thread takes through all steps: they stay in the cache.
_PIECE = 1 << 16


def working_type(dtype: DType) -> DType:
    """The type as which rows of this type are read: float32 where it holds them exactly, else float64.

    A time in seconds or a value of 1e300 is then centred and scaled before anything is rounded to float32.
    """
    try:
        wanted = np.result_type(dtype, np.float32)
    except TypeError:
        return np.dtype(np.float64)
    return np.dtype(np.float32) if wanted == np.float32 else np.dtype(np.float64)


def dropping(steps: tuple[Fitted, ...]) -> FittedMissing | None:
    """The step that leaves out rows that lack a value, or every value; None where there is none."""
    return steps[0] if steps and isinstance(steps[0], FittedMissing) and steps[0].drops else None


def _of_kept(steps: tuple[Fitted, ...]) -> tuple[Fitted, ...]:
    """What is done to rows that are not dropped."""
    first = dropping(steps)
    return steps if first is None or first.leaves_gaps else steps[1:]


def apply(
    steps: tuple[Fitted, ...],
    rows: Array,
    first_row: int,
    threads: Threads,
    out: Array,
    numbers: Int64 | None = None,
) -> None:
    """Take rows through all steps in float64, into `out`; errors count rows from `first_row`, or as `numbers` has them.

    Rows that are dropped become NaN throughout.
    """
    if (first := dropping(steps)) is not None:
        steps, kept = _of_kept(steps), np.flatnonzero(first.kept(rows))
        if len(kept) < len(rows):
            numbers = first_row + kept if numbers is None else numbers[kept]
            found = np.empty((len(kept), out.shape[1]), out.dtype)
            apply(steps, rows[kept], 0, threads, found, numbers)
            out[:] = np.nan
            out[kept] = found
            return
    widest = max([rows.shape[1], *(step.width_out for step in steps)])

    def piece(a: int, b: int) -> None:
        values = rows[a:b].astype(np.float64)
        try:
            for step in steps:
                values = step.apply(values, first_row + a)
        except RowsError as error:
            row = error.row if numbers is None else int(numbers[error.row])
            raise ValueError(error.message.replace("{row}", str(row))) from None
        with np.errstate(over="ignore"):
            out[a:b] = values

    # Pieces are whole calls of a `Transformer`, which are filled up.
    calls = [height_of(step.width_in) for step in steps if isinstance(step, FittedTransformer)]
    call = max([64, *calls])
    height = max(call, _PIECE // widest // call * call)
    # The limit is set once for all pieces: looking for BLAS takes some 10 ms, as long as 10,000 rows of a scaler.
    with threads.one_blas_thread() if calls else nullcontext():
        threads.map(piece, [(a, min(a + height, len(rows))) for a in range(0, len(rows), height)])


class Passes:
    """A table behind the steps that are fitted so far; each look at its rows is one pass over the table."""

    def __init__(
        self, source: Source, steps: tuple[Fitted, ...], seed: int, threads: Threads, begin: Callable[[], Progress]
    ) -> None:
        self.source = source
        self.steps = steps
        self.seed = seed
        self.threads = threads
        self._begin = begin
        self.n = source.shape[0]
        if (first := dropping(steps)) is not None:
            assert first.dropped is not None
            self.n -= len(first.dropped)
        self.width = steps[-1].width_out if steps else source.shape[1]

    def then(self, step: Fitted) -> Passes:
        return Passes(self.source, (*self.steps, step), self.seed, self.threads, self._begin)

    def tiles(self) -> Iterator[tuple[int, Float64]]:
        """Yield tiles, each with the number of its first row; the number of columns alone says where they are cut.

        The array is used again for the next tile, and the caller may overwrite it.
        """
        progress = self._begin()
        height = max(16, min(_MOST_ROWS, _TILE // max(self.width, self.source.shape[1])))
        tile = np.empty((min(height, self.n), self.width))
        filled = at = 0
        for stop, block, numbers in self._blocks():
            start = at
            while at < start + len(block):
                end = min(start + len(block), at + height - filled)
                a, b = at - start, end - start
                those = None if numbers is None else numbers[a:b]
                first_row = at if numbers is None else 0
                apply(self._kept, block[a:b], first_row, self.threads, tile[filled : filled + b - a], those)
                filled += end - at
                at = end
                if filled == height or at == self.n:
                    yield at - filled, tile[:filled]
                    filled = 0
            progress("prepare", stop, self.source.shape[0])

    def first(self, count: int) -> Float64:
        """The first rows, repeated from the start where there are not so many."""
        found = np.empty((min(count, self.n), self.width))
        at = 0
        for _, block, numbers in self._blocks(count if dropping(self.steps) is None else None):
            end = min(len(found), at + len(block))
            apply(self._kept, block[: end - at], at if numbers is None else 0, self.threads, found[at:end], numbers)
            at = end
            if at == len(found):
                break
        return np.resize(found, (count, self.width))

    @property
    def _kept(self) -> tuple[Fitted, ...]:
        return _of_kept(self.steps)

    def _blocks(self, stop: int | None = None) -> Iterator[tuple[int, Array, Int64 | None]]:
        """The row behind each block, its rows that are not dropped, and their numbers where some are."""
        stop = None if stop is None else min(stop, self.source.shape[0])
        for start, end, block in iterate(self.source, stop=stop, dtype=working_type(self.source.dtype)):
            numbers = None
            if (first := dropping(self.steps)) is not None:
                kept = np.flatnonzero(first.kept(block))
                block, numbers = block[kept], start + kept
            yield end, block, numbers

    def sample_rows(self) -> Int64:
        """Row numbers of the uniform sample of these rows that memory has room for, ascending."""
        size = min(_SAMPLE_ROWS, max(1000, _SAMPLE // self.width))
        return draw(self.n, size, generator(self.seed, "prepare"))

    def sample(self) -> Float64:
        """The rows that `sample_rows` numbers."""
        numbers = self.sample_rows()
        found = np.empty((len(numbers), self.width))
        for first, tile in self.tiles():
            _pick(numbers, first, tile, found)
        return found

    def statistics(self, needs: frozenset[str]) -> Statistics:
        """Statistics of all rows, in one pass."""
        moments: Moments | MomentsWithGaps
        if (drop := dropping(self.steps)) is not None and drop.leaves_gaps:
            moments = MomentsWithGaps(self.width)
        else:
            moments = Moments(self.width, covariance="covariance" in needs, threads=self.threads)
        numbers = self.sample_rows() if "sample" in needs else None
        found = None if numbers is None else np.empty((len(numbers), self.width))
        with self.threads.one_blas_thread():
            for first, tile in self.tiles():
                if numbers is not None and found is not None:
                    _pick(numbers, first, tile, found)
                moments.add(tile)
        return moments.finish(found)


def _pick(numbers: Int64, first: int, tile: Float64, found: Float64) -> None:
    a, b = np.searchsorted(numbers, [first, first + len(tile)])
    found[a:b] = tile[numbers[a:b] - first]
