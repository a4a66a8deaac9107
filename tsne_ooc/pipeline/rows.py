"""The range of rows of a table that a run places, where it does not place all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tsne_ooc._options import counted


def rows_of(rows: Any, n: int, name: str) -> tuple[int, int]:
    """`rows` as the first row and the one behind the last, of a table of `n` rows.

    Parameters
    ----------
    rows : str, tuple, range or slice
        ``"1000:2000"``, ``":1000"``, ``(1000, 2000)`` and so on, as slices of Python have it, but within the table.
    n : int
    name : str
        What messages call the table.

    Raises
    ------
    ValueError, TypeError
        For what is not such a range, is empty, or goes beyond the end of the table.
    """
    if isinstance(rows, str):
        first, colon, last = rows.partition(":")
        if not colon or not all(word.strip().isdecimal() or not word.strip() for word in (first, last)):
            raise ValueError(f"rows={rows} is not a range of rows such as 1000:2000, :1000 or 1000:")
        rows = slice(*(int(word) if word.strip() else None for word in (first, last)))
    if isinstance(rows, range | slice):
        if rows.step not in (None, 1):
            raise ValueError(f"rows={rows!r} leaves out rows between; give a range of rows one after the other")
        rows = (rows.start, rows.stop)
    pair = tuple(rows) if isinstance(rows, tuple | list) else ()
    numbers = int | np.integer | None
    if len(pair) != 2 or not all(isinstance(bound, numbers) and not isinstance(bound, bool) for bound in pair):
        raise TypeError(f"rows={rows!r} is not a first row and the one behind the last, such as (1000, 2000)")
    start, stop = (int(default if bound is None else bound) for bound, default in zip(pair, (0, n), strict=True))
    if not 0 <= start < stop <= n:
        why = f"{name} has {counted(n, 'rows')}, numbered from 0"
        raise ValueError(f"rows={start}:{stop} is not a range of its rows: {why}, so 0:{n} is all of them")
    return start, stop
