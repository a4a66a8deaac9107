"""Rows of CSV that go on in the next line, as cells in quotes may, and where a piece of a file may be cut."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tsne_ooc._cells import cells_of

# Bytes of a row over several lines. Where quotes do not end within so many, they are a slip in one line.
LONGEST = 1 << 24


class Span(NamedTuple):
    """The lines of one row: the number of the first in its piece, counted from 0, and how many they are."""

    first: int
    lines: int


class Spans(NamedTuple):
    """Rows over several lines.

    Parameters
    ----------
    found : tuple of Span
        In order; each other line is a row of its own.
    torn : bool
        Whether quotes begin in some line and do not end, so that other readers may take any lines below for its cells.
    """

    found: tuple[Span, ...] = ()
    torn: bool = False


def spans_of(data: bytes, delimiter: str, columns: int, *, last: bool) -> tuple[Spans, int]:
    """The rows over several lines in some lines of a file, and the bytes before a row whose end is not among them.

    A line with an odd number of quotes begins such a row, and the next line with an odd number ends it, where these
    lines together are the cells of one row. Where they are not, the line stays alone, and what is below it is read as
    if it were not there: a quote too many costs one line, and not the rest of the file.

    Parameters
    ----------
    data : bytes
        Whole lines; they begin with a row.
    delimiter : str
    columns : int
        Cells of a row.
    last : bool
        Whether the file ends with these lines, so that no row goes on behind them.
    """
    if b'"' not in data:
        return Spans(), len(data)
    signs = np.frombuffer(data, np.uint8)
    edges = np.concatenate([[0], np.flatnonzero(signs == ord("\n")) + 1, [len(data)]])
    quotes = np.diff(np.searchsorted(np.flatnonzero(signs == ord('"')), edges))
    odd = np.flatnonzero(quotes % 2).tolist()
    found: list[Span] = []
    torn, at = False, 0
    while at < len(odd):
        first = odd[at]
        start = int(edges[first])
        at += 1
        if _is_row(data[start : edges[first + 1]], delimiter, columns):
            # A quote within a cell that has none around it, as in 3.5" disks.
            continue
        if at == len(odd) and not last and len(data) - start <= LONGEST:
            return Spans(tuple(found), torn), start
        if at < len(odd):
            stop = int(edges[odd[at] + 1])
            if stop - start <= LONGEST and _is_row(data[start:stop], delimiter, columns):
                found.append(Span(first, odd[at] + 1 - first))
                at += 1
                continue
        torn = True
    return Spans(tuple(found), torn), len(data)


def _is_row(raw: bytes, delimiter: str, columns: int) -> bool:
    try:
        return len(cells_of(raw.decode().rstrip("\r\n"), delimiter, strict=True)) == columns
    except ValueError:
        return False
