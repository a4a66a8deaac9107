"""Columns of categories as columns of zeros and ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np

from tsne_ooc._options import unknown
from tsne_ooc._typing import Array, DType, Float64, Json, Progress, TableLike
from tsne_ooc._validate import is_frame
from tsne_ooc.io.arrow import is_arrow
from tsne_ooc.io.cuts import BLOCK_BYTES, block_rows, edges
from tsne_ooc.io.failures import reading
from tsne_ooc.io.masks import with_mask
from tsne_ooc.io.named import by_name
from tsne_ooc.io.source import Source, as_source
from tsne_ooc.preprocess.categories import Category, as_column, coded, in_order, numbers_of

#: A column with more categories holds names or numbers, and would become wider than all others.
MOST_CATEGORIES = 1000
# Text takes this many times the memory of the pointers of which its columns are made.
_TEXT = 8

ByName = Mapping[str, Array]


class ColumnSource(Protocol):
    """A source whose columns have names and types of their own."""

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def column_names(self) -> Sequence[str]: ...
    def read_columns(self, start: int, stop: int) -> ByName:
        """Rows `start` up to `stop` of each column, by name."""
        ...


@dataclass(frozen=True)
class OneHot:
    """Put a column of zeros and ones for each category in place of each named column.

    Categories are text, numbers, booleans or dates, and are sorted. A category that the fit has not seen, and a missing
    value, give zeros alone; the fitted `Preparation` counts the former. It can only be the first step: later ones see
    numbers.

    Parameters
    ----------
    columns : sequence of str
        Names of columns of a table that has names: a data frame, in memory or within AnnData, Parquet, or compound
        HDF5.
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

    def fit(self, source: TableLike, progress: Progress, missing: bool = False) -> Encoding:
        """Find the categories in one pass; numbers may be `missing` where a later step takes such rows.

        Raises
        ------
        TypeError
            Where the columns of `source` have no names.
        ValueError
            Where a column is missing, has more than 1,000 categories or cells that are not categories, or where another
            column does not hold numbers.
        """
        source = checked_by_name(source)
        names = tuple(str(name) for name in source.column_names)
        for name in self.columns:
            if name not in names:
                raise ValueError(f"{unknown('onehot', name, names)}; text is read from a table opened with columns='*'")
        refuse_doubled(names, repr(source))
        n = source.shape[0]
        found: dict[str, set[Category]] = {name: set() for name in self.columns}
        for start, stop in edges(source, block_rows(source, BLOCK_BYTES // _TEXT), 0, n):
            with reading(source, start, stop):
                block = source.read_columns(start, stop)
            for name, seen in found.items():
                seen.update(coded(block[name], name, start).categories)
                if len(seen) > MOST_CATEGORIES:
                    raise ValueError(
                        f"column {name!r} has more than {MOST_CATEGORIES} categories in its first {stop} rows; "
                        "leave it out, or keep it as numbers"
                    )
            if not start:
                # An error that can be told at once must not wait for a whole pass.
                for name in names:
                    if name not in found:
                        numbers_of(block[name], name, start, missing)
            progress("prepare", stop, n)
        return Encoding(self, names, {name: as_column(in_order(seen, name)) for name, seen in found.items()})


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
    categories: dict[str, Array]

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

    def encode(
        self, columns: ByName, first_row: int, unseen: Callable[[str, int], None], missing: bool = False
    ) -> Float64:
        """Rows of numbers, shape (m, width_out); `unseen` is told of each column with categories unseen in the fit.

        Numbers may be `missing` where a later step takes such rows.

        Raises
        ------
        ValueError
            For a missing column or one of another length, and for text, NaN or infinity in a column of numbers,
            naming column and row.
        """
        lost = [name for name in self.names if name not in columns]
        if lost:
            raise ValueError(f"X lacks the column {lost[0]!r}, which the preparation was fitted with")
        first = self.names[0]
        for name in self.names:
            if np.ndim(columns[name]) != 1:
                raise ValueError(f"column {name!r} has shape {np.shape(columns[name])}; a cell for each row is needed")
            if len(columns[name]) != len(columns[first]):
                raise ValueError(
                    f"column {name!r} has {len(columns[name])} rows, and column {first!r} has {len(columns[first])}"
                )
        out = np.zeros((len(columns[first]), self.width_out))
        at = 0
        for name in self.names:
            if name not in self.categories:
                out[:, at] = numbers_of(columns[name], name, first_row, missing)
                at += 1
                continue
            found = coded(columns[name], name, first_row)
            known = self._places[name]
            # The last of these, -1, is for missing cells.
            places = np.array([*(known.get(category, -2) for category in found.categories), -1], np.intp)[found.codes]
            rows = np.flatnonzero(places >= 0)
            out[rows, at + places[rows]] = 1.0
            if surplus := int((places == -2).sum()):
                unseen(name, surplus)
            at += len(known)
        return out

    @cached_property
    def _places(self) -> dict[str, dict[Category, int]]:
        return {
            name: {category: at for at, category in enumerate(values.tolist())}
            for name, values in self.categories.items()
        }

    def state(self) -> Json:
        return {
            "columns": list(self.step.columns),
            "names": list(self.names),
            "categories": {name: values.tolist() for name, values in self.categories.items()},
        }

    @classmethod
    def from_state(cls, json: Json) -> Encoding:
        step = OneHot(json["columns"])
        names = tuple(str(name) for name in json["names"])
        categories = {str(name): as_column(_read(values, name)) for name, values in json["categories"].items()}
        if set(categories) != set(step.columns) or not set(categories) <= set(names):
            raise ValueError("the state of a preparation names other columns in 'columns' than in 'categories'")
        return cls(step, names, categories)


class EncodedSource:
    """The rows of a source with named columns, as numbers."""

    chunks: tuple[int, int] | None
    dtype: DType = np.dtype(np.float64)

    def __init__(
        self,
        source: TableLike,
        encoding: Encoding,
        unseen: Callable[[str, int], None],
        *,
        lacks_values: bool = False,
    ) -> None:
        self._source, self._encoding, self._unseen = source, encoding, unseen
        self.lacks_values = lacks_values
        self.shape = (int(source.shape[0]), encoding.width_out)
        chunks = getattr(source, "chunks", None)
        self.chunks = None if chunks is None else (int(chunks[0]), self.shape[1])

    def read(self, start: int, stop: int) -> Float64:
        return self._encoding.encode(self._source.read_columns(start, stop), start, self._unseen, self.lacks_values)

    def reopen(self) -> EncodedSource:
        return EncodedSource(
            self._source.reopen(), self._encoding, self._unseen, lacks_values=self.lacks_values
        )  # fmt: skip

    def __repr__(self) -> str:
        return repr(self._source)


def checked_by_name(source: TableLike) -> Any:
    """A source that gives its columns by name; raises TypeError where they have no names."""
    table = by_name(source)
    if not hasattr(table, "read_columns"):
        raise TypeError(f"onehot needs columns with names, as Parquet and compound HDF5 have; {source!r} has none")
    return table


def columns_of(block: Any) -> ByName:
    """The columns of a table with names or of a mapping; raises TypeError for anything else."""
    block = by_name(block) if isinstance(block, Source) else block
    if hasattr(block, "read_columns") or is_arrow(block) or (is_frame(block) and hasattr(block, "iloc")):
        return as_source(block).read_columns(0, block.shape[0])  # type: ignore[attr-defined, no-any-return]
    if not isinstance(block, Mapping) and not is_frame(block):
        raise TypeError(f"onehot needs columns with names: a data frame or a mapping, not a {type(block).__name__}")
    names = list(block) if isinstance(block, Mapping) else list(block.columns)
    refuse_doubled([str(name) for name in names], "X")
    return {str(name): with_mask(block[name]) for name in names}


def refuse_doubled(names: Sequence[str], where: str) -> None:
    """Raise ValueError where several columns have one name."""
    if len(set(names)) < len(names):
        raise ValueError(f"{where} has several columns {Counter(names).most_common(1)[0][0]!r}; rename them")


def _read(values: Any, name: str) -> list[Category]:
    """Categories from a file, which may hold anything."""
    if not isinstance(values, list) or not all(isinstance(value, str | int | float) for value in values):
        raise ValueError(f"the state of a preparation has categories of column {name!r} that are not words or numbers")
    if any(isinstance(value, float) and not math.isfinite(value) for value in values):
        raise ValueError(f"the state of a preparation has NaN or infinity among the categories of column {name!r}")
    if len(set(values)) < len(values) or values != in_order(values, name):
        raise ValueError(f"the state of a preparation has categories of column {name!r} that are not in order")
    return values
