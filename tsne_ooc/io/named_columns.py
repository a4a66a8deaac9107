"""Tables whose columns have names and types of their own: which columns are read, which are not, and why."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

import numpy as np

from tsne_ooc._typing import Array, DType
from tsne_ooc.io.columns import choose, common_type, fill, listed

#: NumPy's type of a column (None where it does not hold plain numbers), and its type in words.
Types = Mapping[str, tuple[DType | None, str]]


class NamedColumns:
    """Columns of a stored table, chosen by name.

    Parameters
    ----------
    types : dict of str to (numpy dtype or None, str)
        All columns.
    fetch : callable
        ``fetch(names, start, stop)`` reads rows of some columns, as a dict of arrays.
    columns : str or iterable of str, optional
        Columns to read; without it, all that hold numbers.
    where : str
        What error messages call the table.
    index : collection of str
        Columns that label the rows: read only where they are named in full.
    word : str
        What error messages call a column.
    """

    def __init__(
        self,
        types: Types,
        fetch: Callable[[list[str], int, int], dict[str, Array]],
        columns: str | Iterable[str] | None,
        where: str,
        index: Collection[str] = (),
        word: str = "column",
    ) -> None:
        numeric = [name for name, (kind, _) in types.items() if kind is not None and name not in index]
        if columns is None and not numeric:
            raise ValueError(f"{where} has no {word} of numbers; it has {listed(list(types))}")
        self.names = choose(list(types), numeric if columns is None else columns, where, hidden=index)
        self.unread = unread(types, self.names, index, chosen=columns is not None)
        self.left_out = list(self.unread) if columns is None else []
        self.dtype = common_type(types[name][0] for name in self.names)
        self._other = [name for name in self.names if types[name][0] is None]
        self._fetch = fetch

    def columns(self, start: int, stop: int) -> dict[str, Array]:
        """Rows `start` up to `stop` of each column, numbers or not."""
        return self._fetch(self.names, start, stop)

    def rows(self, start: int, stop: int) -> Array:
        """Rows `start` up to `stop` as one table; a masked cell is NaN in it."""
        if self._other:
            raise TypeError(
                f"column {self._other[0]!r} does not hold numbers; make columns of its words with "
                "OneHot (--onehot), or choose others"
            )
        columns = list(self.columns(start, stop).values())
        table: Array = np.empty((stop - start, len(columns)), self.dtype)
        fill(table, [_filled(column) for column in columns])
        return table


def _filled(column: Array) -> Array:
    if not isinstance(column, np.ma.MaskedArray):
        return column
    return np.where(np.ma.getmaskarray(column), np.nan, np.ma.getdata(column))


def unread(types: Types, names: Collection[str], index: Collection[str], *, chosen: bool) -> dict[str, str]:
    """Why columns are not among the `names` that are read; of columns that a choice left out, only of an index."""
    read = set(names)
    return {
        name: "an index" if name in index else f"of type {kind}"
        for name, (_, kind) in types.items()
        if name not in read and (name in index or not chosen)
    }
