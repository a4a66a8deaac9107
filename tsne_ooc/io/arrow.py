"""Tables in memory in the layout of Apache Arrow: of pyarrow, Polars, DuckDB, whatever gives Arrow's stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from tsne_ooc._typing import Array, Bool, DType, Float64, TableLike
from tsne_ooc.io.base import Closing
from tsne_ooc.io.columns import choose, common_type, fill
from tsne_ooc.io.masks import stacked
from tsne_ooc.io.optional import load


class ArrowColumn(NamedTuple):
    """A column as NumPy has it; of numbers also which are missing, where any are."""

    values: Array
    missing: Bool | None


def column_of(column: Any) -> ArrowColumn:
    """Values of an Arrow column, and of numbers where they are missing, if any are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(column.type, pa.DictionaryType):
        column = column.cast(column.type.value_type)
    if number_type(column.type) is None or column.null_count == 0:
        return ArrowColumn(column.to_numpy(), None)
    filled = pc.fill_null(column, False if pa.types.is_boolean(column.type) else 0)
    return ArrowColumn(filled.to_numpy(), column.is_null().to_numpy())


def masked(column: ArrowColumn, first: int, last: int) -> Array:
    """Some rows of a column, masked where a number is missing."""
    values = column.values[first:last]
    if column.missing is None or not column.missing[first:last].any():
        return values
    return np.ma.array(values, mask=column.missing[first:last])


def number_type(kind: Any) -> DType | None:
    """NumPy's type for a type of Arrow; None where it is not one of numbers."""
    import pyarrow as pa

    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return None
    found: DType = np.dtype(kind.to_pandas_dtype())
    return found


def no_value(name: str, row: int) -> ValueError:
    """The error for a cell without a number."""
    return ValueError(
        f"column {name!r} has no value (null) in row {row}; fill in or leave out such rows, or use "
        "prepare=Preparation([Missing('median')]) (--missing median)"
    )


def is_arrow(data: TableLike) -> bool:
    """Whether an object gives its table as a stream of Arrow. A frame of pandas does, too, and has better ways."""
    return hasattr(data, "__arrow_c_stream__") and not hasattr(data, "iloc")


def is_read_once(data: TableLike) -> bool:
    """Whether such a stream may be another one the next time, as of a query that runs again, or of a reader.

    Tables of pyarrow and Polars lie in memory; of others nothing is known.
    """
    package = type(data).__module__.partition(".")[0]
    return is_arrow(data) and not (package in ("pyarrow", "polars") and hasattr(data, "shape"))


class ArrowSource(Closing):
    """Rows of a table in memory that Arrow can show without a copy; a query is run, and its answer kept.

    Attributes
    ----------
    column_names : list of str
        All columns, or those chosen.
    """

    chunks: tuple[int, int] | None = None

    def __init__(self, data: TableLike, columns: str | Iterable[str] | None = None) -> None:
        self.kind = type(data).__name__
        pyarrow = load("pyarrow", "parquet", f"a {self.kind}")
        try:
            table = data if isinstance(data, pyarrow.Table) else pyarrow.table(data)
        except (ValueError, TypeError, NotImplementedError) as error:
            raise TypeError(f"a {self.kind} cannot be read as a table of Arrow: {str(error).splitlines()[0]}") from None
        if columns is not None:
            table = table.select(choose(table.column_names, columns, f"the {self.kind}"))
        self._table = table
        self.column_names: list[str] = list(table.column_names)
        self.shape = (int(table.num_rows), int(table.num_columns))
        types = [number_type(kind) for kind in table.schema.types]
        self.dtype: DType = common_type(types)
        self._other = next((j for j, kind in enumerate(types) if kind is None), None)

    def read(self, start: int, stop: int) -> Array:
        found = self._columns(start, stop)
        for name, column in zip(self.column_names, found, strict=True):
            if column.missing is not None:
                raise no_value(name, start + int(column.missing.argmax()))
        table = np.empty((stop - start, self.shape[1]), self.dtype)
        fill(table, [column.values for column in found])
        return table

    def read_with_gaps(self, start: int, stop: int) -> Float64:
        """Do as `read` does, with NaN for what is missing instead of an error."""
        table = np.empty((stop - start, self.shape[1]))
        for j, column in enumerate(self._columns(start, stop)):
            table[:, j] = column.values if column.missing is None else np.where(column.missing, np.nan, column.values)
        return table

    def read_columns(self, start: int, stop: int) -> dict[str, Array]:
        """Rows `start` up to `stop` of each column, numbers or not; missing numbers are masked, missing words None."""
        if doubled := [name for name, count in Counter(self.column_names).items() if count > 1]:
            raise ValueError(f"the {self.kind} has several columns {doubled[0]!r}; rename them")
        rows = self._table.slice(start, stop - start)
        return {
            name: stacked([masked(column_of(rows.column(j)), 0, stop - start)])
            for j, name in enumerate(self.column_names)
        }

    def _columns(self, start: int, stop: int) -> list[ArrowColumn]:
        if self._other is not None:
            name, kind = self.column_names[self._other], self._table.schema.types[self._other]
            raise TypeError(
                f"column {name!r} of type {kind} does not hold numbers; leave it out, make it numbers, or make "
                "columns of its words with OneHot (--onehot)"
            )
        rows = self._table.slice(start, stop - start)
        return [column_of(column) for column in rows.columns]

    def reopen(self) -> ArrowSource:
        return self

    def __repr__(self) -> str:
        return f"{self.kind} of shape {self.shape}"
