"""Columns by name: chosen with patterns, put together as one table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from tsne_ooc._options import unknown
from tsne_ooc._typing import Array, DType

# Rows put together at a time: a piece of 50 float32 columns stays in the cache while they are filled one by one.
_PIECE = 2048

#: Names and patterns, as `choose` takes them.
Columns = str | Iterable[str]


def choose(names: Sequence[str], wanted: str | Iterable[str], where: str, *, hidden: Collection[str] = ()) -> list[str]:
    """Those of `names` that `wanted` lists, in its order, each once.

    Parameters
    ----------
    names : sequence of str
        All columns.
    wanted : str or iterable of str
        Names; a ``*`` in them stands for any characters, and then they choose columns in the order of `names`. A name
        that was cut at its own commas, as a command line cuts its list, is put together again.
    where : str
        What error messages call the table.
    hidden : collection of str
        Names that a ``*`` does not stand for.

    Raises
    ------
    ValueError
        For a name that no column has, or a pattern that fits none; for names that several columns share.
    """
    chosen: dict[str, None] = {}
    # Each name is looked up, not searched for: a table of genes has tens of thousands.
    times = Counter(names)
    for word in [wanted] if isinstance(wanted, str) else _joined(list(wanted), times):
        if word in times:
            chosen[word] = None
            continue
        if "*" not in word:
            raise ValueError(f"{where} has no such column: {unknown('columns', word, names)}")
        pattern = re.compile(".*".join(map(re.escape, word.split("*"))), re.DOTALL)
        found = [name for name in names if pattern.fullmatch(name) and name not in hidden]
        if not found:
            raise ValueError(f"{where} has no column that fits columns={word!r}; it has {listed(names)}")
        chosen.update(dict.fromkeys(found))
    if not chosen:
        raise ValueError(f"columns=[] chooses no column of {where}")
    shared = [name for name in chosen if times[name] > 1]
    if shared:
        raise ValueError(f"{where} has several columns {shared[0]!r}; rename them")
    return list(chosen)


def _joined(words: list[str], names: Collection[str]) -> list[str]:
    joined: list[str] = []
    at = 0
    while at < len(words):
        end = at + 1
        if words[at] not in names and "*" not in words[at]:
            whole = (stop for stop in range(at + 2, len(words) + 1) if ",".join(words[at:stop]) in names)
            end = next(whole, end)
        joined.append(",".join(words[at:end]))
        at = end
    return joined


def listed(names: Sequence[str]) -> str:
    """The first of the names, for a message; of a long name its beginning."""
    told = [name if len(name) <= 60 else f"{name[:57]}..." for name in names[:10]]
    return ", ".join(told) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def common_type(types: Iterable[DType | None]) -> DType:
    """The type that holds all columns; object where one does not hold plain numbers (None)."""
    found = list(types)
    if not found or any(kind is None for kind in found):
        return np.dtype(object)
    return np.dtype(np.result_type(*(kind for kind in found if kind is not None)))


def fill(table: Array, columns: Sequence[Array]) -> None:
    """Set the columns of a table in C order."""
    for start in range(0, len(table), _PIECE):
        stop = start + _PIECE
        for j, column in enumerate(columns):
            table[start:stop, j] = column[start:stop]
