"""Columns of categories as columns of zeros and ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from .._options import unknown
from ..io.blocks import BLOCK_BYTES, block_rows, edges
from ..io.failures import reading
from .rows import Progress
from .statistics import Float64

#: A column with more categories is a name or a number, and would be wider than all else.
MOST_CATEGORIES = 1000
# Text takes this many times the memory of the pointers that its columns are made of.
_TEXT = 8

Columns = Mapping[str, NDArray[Any]]


class ColumnSource(Protocol):
    """A source whose columns have names and types of their own."""

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def column_names(self) -> Sequence[str]: ...
    def read_columns(self, start: int, stop: int) -> Columns:
        """Rows `start` up to `stop` of each column, by name."""
        ...


@dataclass(frozen=True)
class OneHot:
    """Put a column of zeros and ones for each category in place of each named column.

    Categories are sorted. A category that the fit has not seen, and a missing value, give zeros alone; the fitted
    `Preparation` counts the former. It can only be the first step: later ones see numbers.

    Parameters
    ----------
    columns : sequence of str
        Names of columns of a source that has names: Parquet, or compound HDF5.
    """

    columns: tuple[str, ...]
    kind: ClassVar[str] = "onehot"

    def __init__(self, columns: Sequence[str]) -> None:
        names = (columns,) if isinstance(columns, str) else tuple(columns)
        if not names or not all(isinstance(name, str) for name in names):
            raise TypeError(f"onehot={columns!r} must name at least one column")
        if len(set(names)) < len(names):
            raise ValueError(f"onehot names a column twice: {', '.join(names)}")
        object.__setattr__(self, "columns", names)

    def fit(self, source: Any, progress: Progress) -> Encoding:
        """Find the categories, by one pass.

        Raises
        ------
        TypeError
            Where the columns of `source` have no names.
        ValueError
            Where a column is missing, or has more than 1,000 categories.
        """
        check_named(source)
        names = tuple(str(name) for name in source.column_names)
        for name in self.columns:
            if name not in names:
                raise ValueError(f"{unknown('onehot', name, names)}; text is read from a table opened with columns='*'")
        n = source.shape[0]
        found: dict[str, set[Any]] = {name: set() for name in self.columns}
        for start, stop in edges(source, block_rows(source, BLOCK_BYTES // _TEXT), 0, n):
            with reading(source, start, stop):
                block = source.read_columns(start, stop)
            for name, seen in found.items():
                values, present = _values(block[name])
                seen.update(np.unique(values[present]).tolist())
                if len(seen) > MOST_CATEGORIES:
                    raise ValueError(
                        f"column {name!r} has more than {MOST_CATEGORIES} categories in its first {stop} rows; "
                        "leave it out, or keep it as numbers"
                    )
            progress("prepare", stop, n)
        return Encoding(self, names, {name: _sorted(seen, name) for name, seen in found.items()})


@dataclass(frozen=True)
class Encoding:
    """All columns of the table by name, and the sorted categories of some.

    Attributes
    ----------
    step : OneHot
    names : tuple of str
        Columns of the table, in its order.
    categories : dict of str to ndarray
    """

    step: OneHot
    names: tuple[str, ...]
    categories: dict[str, NDArray[Any]]

    @property
    def width_in(self) -> int:
        return len(self.names)

    @property
    def width_out(self) -> int:
        return sum(len(self.categories[name]) if name in self.categories else 1 for name in self.names)

    @property
    def feature_names(self) -> list[str]:
        """Names of the columns that come out: ``column=category`` for those of categories."""
        return [
            feature
            for name in self.names
            for feature in (
                [f"{name}={category}" for category in self.categories[name]] if name in self.categories else [name]
            )
        ]

    def encode(self, columns: Columns, first_row: int, unseen: Callable[[str, int], None]) -> Float64:
        """Rows of numbers, shape (m, width_out); `unseen` is told of each column with categories unseen in the fit.

        Raises
        ------
        ValueError
            For a missing column, and for text, NaN or infinity in a column of numbers, naming column and row.
        """
        missing = [name for name in self.names if name not in columns]
        if missing:
            raise ValueError(f"X lacks the column {missing[0]!r}, which the preparation was fitted with")
        out = np.zeros((len(columns[self.names[0]]), self.width_out))
        at = 0
        for name in self.names:
            if name not in self.categories:
                out[:, at] = _numbers(columns[name], name, first_row)
                at += 1
                continue
            categories = self.categories[name]
            values, present = _values(columns[name])
            rows = np.flatnonzero(present)
            values = values[present]
            if len(categories) and (values.dtype.kind in "US") == (categories.dtype.kind in "US"):
                places = np.minimum(np.searchsorted(categories, values), len(categories) - 1)
                known = categories[places] == values
            else:
                places = known = np.zeros(len(values), bool)
            out[rows[known], at + places[known]] = 1.0
            if not known.all():
                unseen(name, int((~known).sum()))
            at += len(categories)
        return out

    def state(self) -> dict[str, Any]:
        return {
            "columns": list(self.step.columns),
            "names": list(self.names),
            "categories": {name: values.tolist() for name, values in self.categories.items()},
        }

    @classmethod
    def from_state(cls, json: dict[str, Any]) -> Encoding:
        step = OneHot(json["columns"])
        names = tuple(str(name) for name in json["names"])
        categories = {str(name): _sorted(set(values), name) for name, values in json["categories"].items()}
        if set(categories) != set(step.columns) or not set(categories) <= set(names):
            raise ValueError("the state of a preparation names other columns in 'columns' than in 'categories'")
        return cls(step, names, categories)


class EncodedSource:
    """The rows of a source with named columns, as numbers."""

    chunks: tuple[int, int] | None
    dtype: np.dtype[Any] = np.dtype(np.float64)

    def __init__(self, source: Any, encoding: Encoding, unseen: Callable[[str, int], None]) -> None:
        self._source, self._encoding, self._unseen = source, encoding, unseen
        self.shape = (int(source.shape[0]), encoding.width_out)
        chunks = getattr(source, "chunks", None)
        self.chunks = None if chunks is None else (int(chunks[0]), self.shape[1])

    def read(self, start: int, stop: int) -> Float64:
        return self._encoding.encode(self._source.read_columns(start, stop), start, self._unseen)

    def reopen(self) -> EncodedSource:
        return EncodedSource(self._source.reopen(), self._encoding, self._unseen)

    def __repr__(self) -> str:
        return repr(self._source)


def check_named(source: Any) -> None:
    """Raise TypeError where the columns of a source have no names."""
    if not hasattr(source, "read_columns"):
        raise TypeError(f"onehot needs columns with names, as Parquet and compound HDF5 have; {source!r} has none")


def _values(column: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """A column of categories as text or numbers, and which of its cells hold one."""
    values = np.asarray(column)
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8"), np.ones(len(values), bool)
    if values.dtype.kind == "f":
        return values, ~np.isnan(values)
    if values.dtype.kind != "O":
        return values, np.ones(len(values), bool)
    # Text as Parquet and HDF5 hand it out; None and NaN are missing.
    present = np.array([cell is not None and cell == cell for cell in values], bool)
    if all(isinstance(cell, bool | int | float) for cell in values[present]):
        numbers = np.zeros(len(values))
        numbers[present] = values[present].astype(np.float64)
        return numbers, present
    text = [cell.decode("utf-8") if isinstance(cell, bytes) else str(cell) for cell in np.where(present, values, "")]
    return np.asarray(text, dtype=np.str_), present


def _sorted(values: set[Any], name: str) -> NDArray[Any]:
    if len({isinstance(value, str) for value in values}) > 1:
        raise ValueError(f"column {name!r} holds both text and numbers; make it one of them")
    return np.array(sorted(values))


def _numbers(column: Any, name: str, first_row: int) -> Float64:
    values = np.asarray(column)
    try:
        if values.dtype.kind in "mM":
            # NumPy makes them numbers of its own units.
            raise TypeError
        numbers = values.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"column {name!r} holds no numbers (type {values.dtype}); name it in onehot, or leave it out"
        ) from None
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        raise ValueError(
            f"column {name!r} holds {numbers[bad[0]]} in row {first_row + int(bad[0])}; fill in or leave out such rows"
        )
    return numbers
