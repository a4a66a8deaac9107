"""Tables that lack values, and whose reader knows what to do about it: the gate lets NaN through where they say so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tsne_ooc._typing import Array, Bool, DType, Float32, Int64, TableLike
from tsne_ooc._validate import numbered, unmasked
from tsne_ooc.io.base import Closing
from tsne_ooc.io.source import Source, as_source


def lacks(table: TableLike) -> bool:
    """Whether cells of a table may be NaN, as its `lacks_values` says; of other tables the gate refuses them."""
    return bool(getattr(table, "lacks_values", False))


def whole_rows(rows: Array) -> Bool:
    """Which rows lack nothing, shape (m,)."""
    # The sum of a row is NaN where a cell is, and takes half the time of a look at each. It may be NaN without
    # one, too, where huge numbers of both signs meet.
    with np.errstate(over="ignore", invalid="ignore"):
        whole = ~np.isnan(rows.sum(axis=1))
    at = np.flatnonzero(~whole)
    if len(at):
        whole[at] = ~np.isnan(rows[at]).any(axis=1)
    return np.asarray(whole)


def rows_with_values(rows: Array) -> Bool:
    """Which rows have a value in any column, shape (m,); of prepared ones, those that are not dropped."""
    found = whole_rows(rows)
    at = np.flatnonzero(~found)
    found[at] = ~np.isnan(rows[at]).all(axis=1)
    return found


def for_kept(
    rows: Array, work: Callable[[Array, Any], Sequence[Array | None]], beside: Array | None = None
) -> list[Any]:
    """What `work` gives of prepared rows, a number or several for each: NaN for those that were dropped, or 0.

    It is called with the rows that have values, and the lines of `beside` that belong to them.
    """
    kept = np.flatnonzero(rows_with_values(rows))
    if len(kept) == len(rows):
        return list(work(rows, beside))
    with numbered(kept):
        found = work(rows[kept], None if beside is None else beside[kept])
    out: list[Any] = []
    for part in found:
        spread = None
        if part is not None:
            spread = np.full((len(rows), *part.shape[1:]), np.nan if part.dtype.kind == "f" else 0, part.dtype)
            spread[kept] = part
        out.append(spread)
    return out


class Lacking(Closing):
    """A table whose cells may be missing: NaN, or masked, which becomes NaN."""

    lacks_values = True

    def __init__(self, source: TableLike) -> None:
        self.source = as_source(source)
        self.shape = self.source.shape
        self.chunks = self.source.chunks
        # Whole numbers have no NaN.
        self.dtype: DType = np.dtype(np.result_type(self.source.dtype, np.float32))

    def read(self, start: int, stop: int) -> Any:
        # Some have an error of their own for what is missing.
        read = getattr(self.source, "read_with_gaps", self.source.read)
        return unmasked(read(start, stop))

    def reopen(self) -> Lacking:
        return Lacking(self.source.reopen())

    def close(self) -> None:
        """Close the table."""
        if hasattr(self.source, "close"):
            self.source.close()

    def __repr__(self) -> str:
        return repr(self.source)


class KeptRows(Closing):
    """The rows of a table but for some, numbered anew.

    Parameters
    ----------
    source : Source
    dropped : ndarray of int64
        Numbers of those that are not there, ascending.
    lacks_values : bool
        Whether cells of the others may be NaN.
    """

    def __init__(self, source: Source, dropped: Int64, lacks_values: bool) -> None:
        self.source, self.dropped, self.lacks_values = source, dropped, lacks_values
        # How many rows that are there come before each of them.
        self._before = dropped - np.arange(len(dropped))
        self.shape = (source.shape[0] - len(dropped), source.shape[1])
        self.dtype: DType = np.dtype(source.dtype)
        self.chunks: tuple[int, int] | None = None
        self.row_bytes = int(getattr(source, "row_bytes", self.shape[1] * self.dtype.itemsize))

    def numbers(self, rows: Any) -> Int64:
        """The numbers of these rows in the whole table."""
        rows = np.asarray(rows, np.int64)
        return np.asarray(rows + np.searchsorted(self._before, rows, side="right"))

    def read(self, start: int, stop: int) -> Float32:
        if stop <= start:
            return np.empty((0, self.shape[1]), self.dtype)
        numbers = self.numbers(np.arange(start, stop))
        out = np.empty((stop - start, self.shape[1]), self.dtype)
        at = 0
        while at < len(numbers):
            # As many as are asked for, and not all from the first to the last: any number may lie between two rows.
            first = int(numbers[at])
            end = int(np.searchsorted(numbers, first + len(numbers)))
            block = self.source.read(first, int(numbers[end - 1]) + 1)
            out[at:end] = block[numbers[at:end] - first]
            at = end
        return out

    def reopen(self) -> KeptRows:
        return KeptRows(self.source.reopen(), self.dropped, self.lacks_values)

    def close(self) -> None:
        """Close the table."""
        if hasattr(self.source, "close"):
            self.source.close()

    def __repr__(self) -> str:
        return repr(self.source)
