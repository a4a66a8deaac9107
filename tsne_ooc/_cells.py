"""Cells of text whose columns are parted by a sign, however long a cell is."""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tsne_ooc._forking import held_at_forks

# Cells of as many letters are read by any setting of the standard library's reader; its own limit is twice as many.
_SHORT = 1 << 16

_limit = threading.Lock()
held_at_forks(lambda: _limit)


def cells_of(line: str, delimiter: str = ",", *, strict: bool = False) -> list[str]:
    """The cells of one line; none of an empty one.

    Raises
    ------
    ValueError
        For what is not a line of CSV: with a line break within, or where `strict`, with quotes that do not end.
    """
    with _as_long_as(len(line)):
        try:
            return next(csv.reader([line], delimiter=delimiter, strict=strict), [])
        except csv.Error as error:
            told = str(error)
            if told == "unexpected end of data":
                told = "quotes begin in it and do not end, or not as a row of these columns"
            raise ValueError(f"not a line of CSV: {told}") from None


def cells_of_lines(lines: Iterable[str], delimiter: str = ",") -> list[list[str]]:
    """The cells of each line that is not empty; a cell in quotes may go on in the next one."""
    with _as_long_as(2**31 - 1):
        return [cells for cells in csv.reader(lines, delimiter=delimiter) if cells]


@contextmanager
def _as_long_as(length: int) -> Iterator[None]:
    """Let the standard library read cells of so many letters, and leave its limit, which is one of the process, as it
    was."""
    if length <= _SHORT:
        yield
        return
    with _limit:
        before = csv.field_size_limit()
        csv.field_size_limit(max(before, length))
        try:
            yield
        finally:
            csv.field_size_limit(before)
