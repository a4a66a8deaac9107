"""Data frames in files of AnnData, such as in ``obsm``: a group that holds one array for each column."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_ooc.io.columns import common_type, fill, listed
from tsne_ooc.io.shape import type_of


def is_frame(group: Any) -> bool:
    """Whether a group of HDF5 or Zarr holds a data frame as AnnData writes it."""
    return group.attrs.get("encoding-type") in ("dataframe", b"dataframe")


class FrameTable:
    """The columns of numbers of such a group; behaves like a dataset.

    Attributes
    ----------
    column_names : list of str
        Columns that hold numbers. A missing value (pandas' Int64, boolean) is NaN.
    left_out : list of str
        All others: words, categories, dates.
    """

    #: Every column has chunks of its own.
    chunks: tuple[int, int] | None = None

    def __init__(self, group: Any, name: str) -> None:
        words = group.attrs.get("column-order", ())
        order = [word.decode() if isinstance(word, bytes) else str(word) for word in words]
        missing = [column for column in order if column not in group]
        if missing:
            raise ValueError(f"{name} is a damaged data frame: it has no column {missing[0]!r}")
        self._columns = {column: found for column in order if (found := _numbers(group[column])) is not None}
        if not self._columns:
            raise ValueError(f"{name} is a data frame without a column of numbers; it has {listed(order) or 'none'}")
        lengths = {column: int(values.shape[0]) for column, (values, _) in self._columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"{name} is a damaged data frame: its columns have {lengths} rows")
        self.column_names = list(self._columns)
        self.left_out = [column for column in order if column not in self._columns]
        self.shape = (next(iter(lengths.values())), len(self._columns))
        self.dtype = common_type(
            values.dtype if mask is None else np.dtype(np.float64) for values, mask in self._columns.values()
        )

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        columns = []
        for values, mask in self._columns.values():
            column = np.asarray(values[rows])
            columns.append(column if mask is None else np.where(np.asarray(mask[rows]), np.nan, column))
        table = np.empty((len(columns[0]), len(columns)), self.dtype)
        fill(table, columns)
        return table


def _numbers(item: Any) -> tuple[Any, Any] | None:
    """Values of a column of numbers, and where they are missing, if the column can say so; else None."""
    values, mask = (item["values"], item["mask"]) if hasattr(item, "keys") and "mask" in item else (item, None)
    kind = None if hasattr(values, "keys") else type_of(values)
    plain = kind is not None and kind.kind in "fiub" and len(values.shape) == 1
    return (values, mask) if plain else None
