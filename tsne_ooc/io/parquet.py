"""Tables in Parquet: a file or a folder of them, columns by name, a row group at a time."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from tsne_ooc._typing import Array, DType, Float64, StrPath
from tsne_ooc.io.arrow import ArrowColumn, column_of, masked, no_value, number_type
from tsne_ooc.io.bands import LastBand
from tsne_ooc.io.base import Closing
from tsne_ooc.io.columns import choose, common_type, fill, listed
from tsne_ooc.io.failures import Unreached
from tsne_ooc.io.masks import stacked
from tsne_ooc.io.optional import load
from tsne_ooc.io.parts import Parts, parts_of
from tsne_ooc.io.urls import AnyPath, handle, path_of


def open_parquet(path: StrPath, columns: str | Iterable[str] | None = None) -> ParquetSource:
    """Open a table in a Parquet file, or in a folder of them, for reading.

    Row groups are the pieces that are read whole; the last one stays in memory. Files with row groups of some
    100,000 rows are read best (``row_group_size`` of ``pyarrow.parquet.write_table``, a million by default).

    Parameters
    ----------
    path : path
        The file, or a folder of files ``*.parquet`` that follow each other in the order of their names, in which
        numbers count as numbers: ``part.10`` comes after ``part.2``.
    columns : str or list of str, optional
        Columns in the order in which they are wanted; a ``*`` in a name stands for any characters. Without it, all
        that hold numbers. Columns that pandas wrote as its index are read where they are named in full.

    Returns
    -------
    ParquetSource
        It pickles by path.

    Raises
    ------
    OSError
        Where there is no file, a file is damaged or is not Parquet, or a folder is cut into partitions.
    ValueError
        Where files of a folder differ in a column that is read, naming both; for unknown columns, with the nearest
        name; where no column holds numbers.
    ModuleNotFoundError
        Where pyarrow is not installed.
    """
    return ParquetSource(path_of(path), columns)


def columns_in(path: AnyPath) -> tuple[int, dict[str, str]]:
    """Rows of a file or folder, and all columns of its first file with their types in words."""
    files, _ = _files(path)
    rows = 0
    for part in files:
        with _opened(part) as file:
            rows += int(file.metadata.num_rows)
    with _opened(files[0]) as file:
        return rows, {name: words for name, (_, words) in _types(file).items()}


class ParquetSource(Closing):
    """Rows of Parquet files (see `open_parquet`).

    Attributes
    ----------
    column_names : list of str
        The columns chosen; without a choice, all that hold numbers.
    left_out : list of str
        Columns left out because they do not hold numbers or are an index, where none were chosen.
    unread : dict of str to str
        Columns that were left out, and files of a folder, with the reason.
    remarks : list of str
        What else there is to say about how the table is read.
    """

    opened_here = True

    def __init__(self, path: AnyPath, columns: str | Iterable[str] | None = None) -> None:
        self.path = path.resolve()
        self._columns = columns if columns is None or isinstance(columns, str) else list(columns)
        self._files, other_files = _files(path)
        self.stored = [part.resolve() for part in self._files]
        self._file: tuple[AnyPath, Any] | None = None
        with _opened(self._files[0]) as first:
            types, index = _types(first), _index(first)
            names = [field.name for field in first.schema_arrow]
        numeric = [name for name, (kind, _) in types.items() if kind is not None and name not in index]
        if columns is None and not numeric:
            hint = next(filter(None, (_to_numbers(path, name, words) for name, (_, words) in types.items())), "")
            raise ValueError(f"{path} has no column of numbers; it has {listed(list(types))}{hint}")
        wanted = numeric if self._columns is None else self._columns
        self.column_names = choose(names, wanted, str(path), hidden=index)
        why = {name: "an index of pandas" if name in index else f"of type {kind}" for name, (_, kind) in types.items()}
        chosen = set(self.column_names)
        out = {name: reason for name, reason in why.items() if name not in chosen}
        self.left_out = list(out) if columns is None else []
        self.unread = {name: reason for name, reason in out.items() if columns is None or name in index} | other_files
        self.remarks = _order(self._files)
        self._groups: list[tuple[AnyPath, int]] = []
        sizes = [0]
        # They are read where they are now, whatever folder the program goes to.
        for part, place in zip(self._files, self.stored, strict=True):
            with _opened(part) as file:
                _compare(
                    self._files[0], types, part, _types(file), self.column_names, more=columns is not None,
                    index=_index(file),
                )  # fmt: skip
                rows = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            self._groups += [(place, i) for i, size in enumerate(rows) if size]
            sizes += [size for size in rows if size]
        self._other = [name for name in self.column_names if types[name][0] is None]
        self._hint = _to_numbers(path, self._other[0], types[self._other[0]][1]) if self._other else ""
        self.shape = (sum(sizes), len(self.column_names))
        self.dtype = common_type(types[name][0] for name in self.column_names)
        self.chunks: tuple[int, int] | None = (max(sizes), self.shape[1]) if len(sizes) > 1 else None
        self._bands = LastBand(np.cumsum(sizes).astype(np.int64), self._load)

    def read(self, start: int, stop: int) -> Array:
        self._check_numbers()
        table = np.empty((stop - start, len(self.column_names)), self.dtype)
        at = 0
        for columns in self._pieces(start, stop):
            rows = len(columns[0])
            fill(table[at : at + rows], columns)
            at += rows
        return table

    def read_with_gaps(self, start: int, stop: int) -> Float64:
        """Do as `read` does, with NaN for missing values instead of an error."""
        self._check_numbers()
        parts = [np.empty((0, len(self.column_names)))]
        for number, first, last in self._bands.pieces(start, stop):
            part = np.empty((last - first, len(self.column_names)))
            for j, column in enumerate(self._bands[number]):
                part[:, j] = column.values[first:last]
                if column.missing is not None:
                    part[column.missing[first:last], j] = np.nan
            parts.append(part)
        return np.concatenate(parts)

    def _check_numbers(self) -> None:
        if self._other:
            hint = self._hint or "; make columns of its words with OneHot (--onehot), or choose others"
            raise TypeError(f"column {self._other[0]!r} does not hold numbers{hint}")

    def read_columns(self, start: int, stop: int) -> dict[str, Array]:
        """Rows `start` up to `stop` of each column.

        Numbers come as they are stored, strings and whatever else is not a number as arrays of Python objects (dates as
        NumPy's); dictionary columns are decoded. Missing values are None among these, and masked among numbers.
        """
        pieces = [
            [masked(column, first, last) for column in self._bands[number]]
            for number, first, last in self._bands.pieces(start, stop)
        ] or [[_empty(self._bands, j) for j in range(self.shape[1])]]
        return {name: stacked([piece[j] for piece in pieces]) for j, name in enumerate(self.column_names)}

    def _pieces(self, start: int, stop: int) -> Iterable[list[Array]]:
        for number, first, last in self._bands.pieces(start, stop):
            columns = self._bands[number]
            for name, column in zip(self.column_names, columns, strict=True):
                if column.missing is not None and column.missing[first:last].any():
                    row = int(self._bands.edges[number]) + first + int(column.missing[first:last].argmax())
                    raise no_value(name, row)
            yield [column.values[first:last] for column in columns]

    def _load(self, number: int) -> list[ArrowColumn]:
        part, group = self._groups[number]
        if self._file is None or self._file[0] != part:
            self.close()
            self._file = part, _opened(part)
        table = self._file[1].read_row_group(group, columns=self.column_names)
        return [column_of(table.column(name)) for name in self.column_names]

    def reopen(self) -> ParquetSource:
        return ParquetSource(self.path, self._columns)

    def close(self) -> None:
        """Close the file that is open."""
        if self._file is not None:
            self._file[1].close()
            self._file = None

    def __reduce__(self) -> tuple[Any, ...]:
        return ParquetSource, (self.path, self._columns)

    def __repr__(self) -> str:
        return f"{self.path} of shape {self.shape}"


def _to_numbers(path: AnyPath, name: str, words: str) -> str:
    """What to do with columns of numbers that are not plain ones: lists, as vectors of texts are kept, and decimals."""
    if "list<" in words:
        return (
            f"; where the lists of {name!r} are rows of numbers, write them as an array first: numpy.save('rows.npy', "
            f"numpy.stack(pyarrow.parquet.read_table({str(path)!r})[{name!r}].to_numpy()))"
        )
    if words.startswith("decimal"):
        return f"; tsne-ooc prepare {shlex.quote(str(path))} --out FOLDER makes numbers of the decimals in {name!r}"
    return ""


def _files(path: AnyPath) -> Parts:
    if not path.is_dir():
        return Parts([path], {})
    parts = parts_of(path)
    if not parts.files:
        raise FileNotFoundError(f"{path} holds no .parquet files")
    return parts


def _order(files: list[AnyPath]) -> list[str]:
    if len(files) == 1:
        return []
    names = listed([part.name for part in files])
    return [f"rows come from {len(files):,} files, in the order of their names: {names}"]


def _index(file: Any) -> set[str]:
    """Columns that pandas wrote for the labels of its rows, as it says in the file's own notes."""
    text = (file.schema_arrow.metadata or {}).get(b"pandas")
    try:
        found = json.loads(text)["index_columns"] if text else []
    except (ValueError, KeyError, TypeError):
        return set()
    # An index that only counts is described there, and has no column.
    return {name for name in found if isinstance(name, str)} if isinstance(found, list) else set()


def _opened(path: AnyPath) -> Any:
    parquet = load("pyarrow.parquet", "parquet", f"reading {path}")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    given = handle(path)
    try:
        return parquet.ParquetFile(given)
    except Unreached:
        raise
    except (OSError, ValueError) as error:
        raise OSError(f"{path} is not a whole Parquet file: {str(error).splitlines()[0]}") from None


def _types(file: Any) -> dict[str, tuple[DType | None, str]]:
    """The type of each column: NumPy's (None where it does not hold numbers), and Arrow's in words."""
    return {field.name: (number_type(field.type), str(field.type)) for field in file.schema_arrow}


def _compare(
    first: AnyPath,
    types: dict[str, tuple[Any, str]],
    part: AnyPath,
    others: dict[str, tuple[Any, str]],
    names: list[str],
    *,
    more: bool,
    index: Collection[str] = (),
) -> None:
    """Raise where a file differs from the first one in the columns `names`, or has more numbers and must not.

    Columns that are not read may differ: one of strings that are all missing is stored without a type. Columns of its
    `index` do not belong to the table.
    """
    for name in names:
        if name not in others:
            raise ValueError(f"{part} has no column {name!r}, which {first.name} has")
        if others[name][1] != types[name][1]:
            raise ValueError(
                f"column {name!r} is of type {others[name][1]} in {part}, and of type {types[name][1]} in {first.name}"
            )
    known = {*names, *index}
    added = [name for name, (kind, _) in others.items() if kind is not None and name not in known]
    if added and not more:
        raise ValueError(
            f"{part} has a column of numbers {added[0]!r}, which {first.name} does not have; name those to read"
        )


def _empty(bands: LastBand[list[ArrowColumn]], column: int) -> Array:
    return bands[0][column].values[:0] if len(bands.edges) > 1 else np.empty(0)
