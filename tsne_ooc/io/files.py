"""Many files that are one table: their rows follow each other, and their columns are the same by name."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsne_ooc._options import counted
from tsne_ooc._typing import Array, DType, Json, StrPath, TableLike
from tsne_ooc.io.base import Closing
from tsne_ooc.io.collection import datasets_of
from tsne_ooc.io.columns import listed
from tsne_ooc.io.masks import stacked
from tsne_ooc.io.named import LinedUp, names_of, order_of
from tsne_ooc.io.parts import natural
from tsne_ooc.io.urls import AnyPath, Url, is_url, path_of

if TYPE_CHECKING:
    from tsne_ooc.io.source import Source

#: Files that are open at the same time.
MOST_OPEN = 16


def are_files(data: TableLike) -> bool:
    """Whether a table is many files: a list of paths, a pattern that no file is called by, a collection of annbatch."""
    if isinstance(data, str | os.PathLike):
        return _is_pattern(data) or datasets_of(path_of(data)) is not None
    return isinstance(data, list | tuple) and bool(data) and all(isinstance(one, str | os.PathLike) for one in data)


def _is_pattern(path: StrPath) -> bool:
    if is_url(path):
        # A question mark begins what is asked of a server.
        return "*" in os.fspath(path)
    return glob.has_magic(os.fspath(path)) and not os.path.lexists(path)


def files_of(data: StrPath | Sequence[StrPath]) -> list[AnyPath]:
    """The files of a list of paths, in its order, or of a pattern, by name; numbers within names count as numbers.

    A collection of annbatch stands for its datasets.

    Raises
    ------
    FileNotFoundError
        Where no file fits a pattern.
    ValueError
        Where a file is named twice.
    """
    found: list[AnyPath] = []
    for one in [data] if isinstance(data, str | os.PathLike) else data:
        pattern = path_of(one)
        if not _is_pattern(one):
            found += datasets_of(pattern) or [pattern]
            continue
        names = pattern.glob() if isinstance(pattern, Url) else glob.glob(os.fspath(one), recursive=True)
        fitting = sorted(names, key=natural)
        if not fitting:
            raise FileNotFoundError(f"no file fits the pattern {os.fspath(one)}")
        found += map(path_of, fitting)
    known: set[AnyPath] = set()
    for path in found:
        if path.resolve() in known:
            raise ValueError(f"{path} is named twice among the files of one table; name it once")
        known.add(path.resolve())
    return found


class FilesSource(Closing):
    """Rows of many files.

    The columns are those of the first file. Others may have them in another order; where columns have names, it goes by
    these. All files are looked at when it is opened, and at most 16 are open at a time.

    Parameters
    ----------
    files : sequence of path
        In the order of their rows.
    opener : callable
        What opens each of them: `open_source`.
    dataset, columns, allow_missing_chunks
        As for it.

    Attributes
    ----------
    files : list of Path
    edges : ndarray of int64, shape (files + 1,)
        The number of the first row of each file, and that of all rows.
    column_names : list of str or None

    Raises
    ------
    OSError
        Where a file cannot be read, naming it.
    ValueError
        For files with other columns than the first, naming file and columns.
    """

    opened_here = True
    kind = "files"

    def __init__(
        self,
        files: Sequence[StrPath],
        opener: Callable[..., Source],
        dataset: str | None = None,
        columns: str | Iterable[str] | None = None,
        allow_missing_chunks: bool = False,
    ) -> None:
        self.files = [path_of(file) for file in files]
        # Where they are opened again: the program may have gone to another folder by then, and workers begin in others.
        self._places = [file if isinstance(file, Url) else file.absolute() for file in self.files]
        names = columns if columns is None or isinstance(columns, str) else list(columns)
        self._how: Json = {"dataset": dataset, "columns": names, "allow_missing_chunks": allow_missing_chunks}
        self._opener = opener
        self._open: dict[int, Source] = {}
        self.column_names: list[str] | None = None
        self._sizes: list[int] = []
        self.unread: dict[str, str] = {}
        width, kinds, chunks = 0, [], []
        for number, path in enumerate(self.files):
            table = self._opener(path, **self._how)
            try:
                if not number:
                    self.column_names, width = names_of(table), table.shape[1]
                    self.name = getattr(table, "name", None)
                    self.unread = dict(getattr(table, "unread", None) or {})
                    self._by_columns = hasattr(table, "read_columns")
                self._check(table, path, width)
                self._sizes.append(int(table.shape[0]))
                kinds.append(table.dtype)
                chunks.append(table.chunks)
            finally:
                if hasattr(table, "close"):
                    table.close()
        self.edges = np.concatenate([[0], np.cumsum(self._sizes)]).astype(np.int64)
        self.shape = (int(self.edges[-1]), width)
        self.dtype: DType = np.dtype(np.result_type(*kinds)) if object not in kinds else np.dtype(object)
        # Blocks are cut at multiples of these, which are edges of chunks in the first file alone: those that two blocks
        # share are read twice.
        heights = [chunk[0] for chunk in chunks if chunk is not None]
        self.chunks: tuple[int, int] | None = (max(heights), width) if heights else None
        self.stored = [path.resolve() for path in self.files]
        self.path = _home(self.stored)
        self.remarks = [
            f"rows come from {counted(len(self.files), 'files')}, in this order: "
            f"{listed([path.name for path in self.files])}"
        ]

    def _check(self, table: Source, path: AnyPath, width: int) -> None:
        """Raise where a file is another table than the first."""
        first, own = self.files[0].name, names_of(table)
        if (own is None) != (self.column_names is None):
            which = "has names for its columns, and" if own is not None else "has no names for its columns, as"
            raise ValueError(f"{path} {which} {first} has{' none' if own is not None else ''}; name the columns alike")
        if own is None or self.column_names is None:
            if table.shape[1] != width:
                raise ValueError(f"{path} has {counted(table.shape[1], 'columns')}, and {first} has {width}")
            return
        if own == self.column_names:
            return
        known = set(self.column_names)
        if more := [name for name in own if name not in known]:
            lacking = [name for name in self.column_names if name not in set(own)]
            lacks = f", and lacks {listed(lacking)}" if lacking else ""
            raise ValueError(
                f"{path} has columns that {first} has not: {listed(more)}{lacks}; name those to read (columns, "
                "--columns), or leave the file out"
            )
        if lacking := [name for name in self.column_names if name not in set(own)]:
            raise ValueError(
                f"{path} lacks columns that {first} has: {listed(lacking)}; name those to read (columns, --columns), "
                "or leave the file out"
            )
        order_of(own, self.column_names, str(path))

    def _table(self, number: int) -> Source:
        """A file, open, with its columns in the order of the first."""
        if number in self._open:
            return self._open[number]
        while len(self._open) >= MOST_OPEN:
            self._close(next(iter(self._open)))
        path = self.files[number]
        table = self._opener(self._places[number], **self._how)
        if tuple(table.shape) != (self._sizes[number], self.shape[1]):
            raise OSError(
                f"{path} has shape {tuple(table.shape)} now, and had {(self._sizes[number], self.shape[1])} when it "
                "was opened first; put it back as it was, or begin again"
            )
        # Asked again: a file may have been replaced meanwhile.
        self._check(table, path, self.shape[1])
        own, names = names_of(table), self.column_names
        if own is not None and names is not None and own != names:
            table = LinedUp(table, order_of(own, names, str(path)), names)
        self._open[number] = table
        return table

    def _pieces(self, start: int, stop: int) -> Iterable[tuple[Source, int, int]]:
        number = int(np.searchsorted(self.edges, start, side="right")) - 1
        while start < stop:
            first, last = (int(edge) for edge in self.edges[number : number + 2])
            end = min(stop, last)
            if end > start:
                yield self._table(number), start - first, end - first
            start, number = max(start, end), number + 1

    def read(self, start: int, stop: int) -> Array:
        return self._rows(start, stop, "read")

    def read_with_gaps(self, start: int, stop: int) -> Array:
        """Do as `read` does, with NaN for what is missing where a file has an error of its own for it."""
        return self._rows(start, stop, "read_with_gaps")

    def _rows(self, start: int, stop: int, how: str) -> Array:
        parts = [getattr(table, how, table.read)(first, last) for table, first, last in self._pieces(start, stop)]
        if not parts:
            return np.empty((0, self.shape[1]), self.dtype)
        return parts[0] if len(parts) == 1 else stacked(parts)

    def __getattr__(self, attribute: str) -> Any:
        # Only where the files have columns of their own.
        if attribute == "read_columns" and self.__dict__.get("_by_columns"):
            return self._columns
        raise AttributeError(attribute)

    def _columns(self, start: int, stop: int) -> dict[str, Array]:
        parts = [table.read_columns(a, b) for table, a, b in self._pieces(start, stop)]  # type: ignore[attr-defined]
        parts = parts or [self._table(0).read_columns(0, 0)]  # type: ignore[attr-defined]
        return {name: stacked([part[name] for part in parts]) for name in self.column_names or ()}

    def first_file(self) -> Source:
        """The first file, open."""
        return self._table(0)

    def rows_of_files(self) -> list[Json]:
        """Which rows came from which file: its path, the number of its first row, and that behind its last."""
        return [
            {"path": str(path), "start": int(a), "stop": int(b)}
            for path, a, b in zip(self.stored, self.edges, self.edges[1:], strict=False)
        ]

    def reopen(self) -> FilesSource:
        return FilesSource(self._places, self._opener, **self._how)

    def _close(self, number: int) -> None:
        table = self._open.pop(number)
        if hasattr(table, "close"):
            table.close()

    def close(self) -> None:
        """Close the files that are open."""
        for number in list(self._open):
            self._close(number)

    def __reduce__(self) -> Any:
        how = self._how
        return FilesSource, (self._places, self._opener, how["dataset"], how["columns"], how["allow_missing_chunks"])

    def __repr__(self) -> str:
        last = f" to {self.files[-1].name}" if len(self.files) > 1 else ""
        return f"{counted(len(self.files), 'files')} {self.files[0]}{last} of shape {self.shape}"


def _home(files: list[AnyPath]) -> AnyPath:
    """The folder that all files are in or below."""
    if not any(isinstance(file, Url) for file in files):
        return Path(os.path.commonpath([file.parent for file in files]))
    if other := [file for file in files if not isinstance(file, Url)]:
        raise ValueError(f"{other[0]} is a path, and others of the files are URLs; name all in one way")
    parts = zip(*(str(file.parent).split("/") for file in files), strict=False)
    return Url("/".join(names[0] for names in takewhile(lambda names: len(set(names)) == 1, parts)))
