"""Tables in memory or behind slices: arrays, memory maps, data frames, a reader of your own."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from tsne_ooc._typing import Array, DType, TableLike
from tsne_ooc.io.base import Closing, table_shape
from tsne_ooc.io.columns import choose
from tsne_ooc.io.failures import first_line
from tsne_ooc.io.masks import with_mask
from tsne_ooc.io.urls import AnyPath, Url


class ArraySource(Closing):
    """Rows of an array in memory."""

    chunks: tuple[int, int] | None = None

    def __init__(self, data: Array) -> None:
        self._data = data
        self.shape = table_shape(data.shape, "X")
        self.dtype: DType = data.dtype

    def read(self, start: int, stop: int) -> Array:
        return self._data[start:stop]

    def reopen(self) -> ArraySource:
        return self

    def __repr__(self) -> str:
        return f"array of shape {self.shape}"


class MemmapSource(Closing):
    """Rows of a memory-mapped file; a pickle holds the file's name, not its contents."""

    chunks: tuple[int, int] | None = None

    def __init__(self, data: np.memmap[Any, Any]) -> None:
        self.shape = table_shape(data.shape, str(data.filename))
        self.dtype: DType = data.dtype
        self._data: Array = data
        self._order: Any = "C" if data.flags.c_contiguous else "F"
        # A slice of a memory map keeps the offset of the whole map; the addresses tell where the slice starts.
        base = data
        while isinstance(base.base, np.memmap):
            base = base.base
        self._offset = int(data.offset) + int(data.ctypes.data - base.ctypes.data)
        self.path: AnyPath = Path(str(data.filename)).resolve()

    @staticmethod
    def takes(data: TableLike) -> TypeGuard[np.memmap[Any, Any]]:
        """Whether the file holds just these numbers, one after the other."""
        return (
            isinstance(data, np.memmap)
            and data.filename is not None
            and data.mode != "c"
            and (data.flags.c_contiguous or data.flags.f_contiguous)
        )

    @classmethod
    def of_npy(cls, path: AnyPath) -> MemmapSource | ArraySource:
        """The array of a ``.npy`` file."""
        if not path.exists():
            raise FileNotFoundError(f"there is no file {path}")
        if isinstance(path, Url):
            return NpyUrlSource(path)
        try:
            data = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise ValueError(f"{path} is not a whole .npy file of numbers: {error}") from None
        return NpySource(data) if cls.takes(data) else ArraySource(data)

    def read(self, start: int, stop: int) -> Array:
        # Touching bytes that a file no longer has ends the process (SIGBUS). The map is the caller's, so a look at the
        # size has to do; a file that was removed since lives on behind its map.
        with suppress(FileNotFoundError):
            if os.stat(self.path).st_size < self._offset + self._data.nbytes:
                raise OSError(f"{self.path} was cut short since it was mapped")
        return np.asarray(self._data[start:stop])

    def reopen(self) -> MemmapSource:
        return _map(self.path, self.dtype, self._offset, self.shape, self._order)

    def __reduce__(self) -> tuple[Any, ...]:
        return _map, (self.path, self.dtype, self._offset, self.shape, self._order)

    def __repr__(self) -> str:
        return f"{self.path} of shape {self.shape}"


class NpySource(MemmapSource):
    """Rows of a ``.npy`` file, read and not mapped: a file that is cut short meanwhile is an error, not a crash.

    400 MB of float32 in blocks take .30 s instead of .13 where the system has them in memory, and 25,000 scattered rows
    .04 instead of .003; placing these rows takes ten seconds. In column order it is .75 instead of .41.
    """

    opened_here = True

    def __init__(self, data: np.memmap[Any, Any]) -> None:
        super().__init__(data)
        del self._data

    def read(self, start: int, stop: int) -> Array:
        n, p = self.shape
        rows = np.empty((stop - start, p), self.dtype, order=self._order)
        with self._opened() as file:
            if self._order == "C":
                self._fill(file, start * p, rows.reshape(-1))
            else:
                for j in range(p):
                    self._fill(file, j * n + start, rows[:, j])
        return rows

    def _opened(self) -> AbstractContextManager[Any]:
        return open(self.path, "rb", buffering=0)

    def _fill(self, file: Any, first: int, numbers: Array) -> None:
        """Read numbers, beginning with number `first` of the file."""
        file.seek(self._offset + first * self.dtype.itemsize)
        # The view is of bytes, because a memory view cannot hold numbers in the other byte order. One read gives at
        # most 2 GB.
        left = memoryview(numbers.view(np.uint8).data)
        while len(left):
            got = file.readinto(left)
            if not got:
                raise OSError("the file is shorter than when it was opened")
            left = left[got:]

    def reopen(self) -> Any:
        return MemmapSource.of_npy(self.path)

    def __reduce__(self) -> tuple[Any, ...]:
        return MemmapSource.of_npy, (self.path,)


class NpyUrlSource(NpySource):
    """Rows of a ``.npy`` file behind a URL, which stays open."""

    #: To a run that goes on it is the same as the file on the disk.
    kind = "NpySource"

    def __init__(self, path: Url) -> None:
        self.path, self._file = path, path.open()
        try:
            version = np.lib.format.read_magic(self._file)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, fortran, self.dtype = read(self._file)
        except (ValueError, KeyError) as error:
            raise ValueError(f"{path} is not a whole .npy file of numbers: {first_line(error)}") from None
        if self.dtype.hasobject:
            raise ValueError(f"{path} is not a whole .npy file of numbers: it holds objects of Python")
        self.shape = table_shape(shape, str(path))
        self._order, self._offset = "F" if fortran else "C", self._file.tell()
        whole = self._offset + self.shape[0] * self.shape[1] * self.dtype.itemsize
        if self._file.seek(0, os.SEEK_END) < whole:
            raise ValueError(f"{path} is not a whole .npy file of numbers: it ends before byte {whole:,}")

    def _opened(self) -> AbstractContextManager[Any]:
        return nullcontext(self._file)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _map(path: AnyPath, dtype: Any, offset: int, shape: tuple[int, int], order: Any) -> MemmapSource:
    return MemmapSource(np.memmap(path, dtype, "r", offset, shape, order))


class FrameSource(Closing):
    """Rows of a DataFrame; they come out as DataFrames, whose columns have names for error messages."""

    chunks: tuple[int, int] | None = None

    def __init__(self, data: TableLike, columns: str | Iterable[str] | None = None) -> None:
        if columns is not None:
            names = [str(name) for name in data.columns]
            # With `list.index`, choosing 8,000 columns takes .6 s.
            at = {name: i for i, name in enumerate(names)}
            data = data.iloc[:, [at[name] for name in choose(names, columns, "the DataFrame")]]
        self._data = data
        self.shape = table_shape(self._data.shape, "X")
        self.column_names = [str(name) for name in self._data.columns]
        # Dates have no type in common with numbers; `as_rows` says which column holds them.
        kinds = [kind for kind in self._data.dtypes if isinstance(kind, np.dtype) and kind.kind not in "mM"]
        self.dtype: DType = np.result_type(*kinds) if len(kinds) == self.shape[1] > 0 else np.dtype("f8")

    def read(self, start: int, stop: int) -> Any:
        return self._data.iloc[start:stop]

    def read_columns(self, start: int, stop: int) -> dict[str, Array]:
        """Rows `start` up to `stop` of each column, numbers or not; missing ones of pandas' own types are masked."""
        if doubled := [name for name, count in Counter(self.column_names).items() if count > 1]:
            raise ValueError(f"the DataFrame has several columns {doubled[0]!r}; rename them")
        rows = self._data.iloc[start:stop]
        return {name: _cells(rows.iloc[:, j]) for j, name in enumerate(self.column_names)}

    def reopen(self) -> FrameSource:
        return self

    def __repr__(self) -> str:
        return f"DataFrame of shape {self.shape}"


def _cells(column: Any) -> Array:
    """A column of a data frame; whole numbers stay whole beside missing cells."""
    kind = column.dtype
    if hasattr(column, "cat"):
        # The last one, None, stands for the code -1.
        categories: Array = np.empty(len(column.cat.categories) + 1, object)
        categories[:-1] = column.cat.categories.tolist()
        found: Array = categories[column.cat.codes.to_numpy()]
        return found
    plain = None if isinstance(kind, np.dtype) else getattr(kind, "numpy_dtype", None)
    if isinstance(plain, np.dtype) and plain.kind in "biuf":
        gaps = column.isna().to_numpy()
        numbers = column.to_numpy(dtype=plain, na_value=plain.type(0))
        return np.ma.array(numbers, mask=gaps) if gaps.any() else np.asarray(numbers)
    return np.asarray(column.to_numpy())


class SlicedSource(Closing):
    """Rows of anything that has a shape and can be sliced, such as a reader of your own."""

    def __init__(self, data: TableLike) -> None:
        self._data = data
        self.shape = table_shape(data.shape, f"the {type(data).__name__}")
        self.dtype: DType = np.dtype(getattr(data, "dtype", np.float64))
        self.chunks = _regular_chunks(getattr(data, "chunks", None))
        self.kind = type(data).__name__

    def identity(self) -> Any:
        """What the reader says about itself, where it has a method of that name (see `tsne_ooc.io.identity_of`)."""
        own = getattr(self._data, "identity", None)
        return own() if callable(own) else None

    def read(self, start: int, stop: int) -> Array:
        return with_mask(self._data[start:stop])

    def reopen(self) -> SlicedSource:
        return self

    def __repr__(self) -> str:
        return f"{type(self._data).__name__} of shape {self.shape}"


class OwnSource(Closing):
    """A user's own source, whose shape is made of Python's whole numbers."""

    def __init__(self, data: TableLike) -> None:
        self._data = data
        self.shape = table_shape(data.shape, f"the {type(data).__name__}")
        self.dtype: DType = np.dtype(data.dtype)
        self.chunks = _regular_chunks(data.chunks)
        self.kind = str(getattr(data, "kind", type(data).__name__))

    def read(self, start: int, stop: int) -> Any:
        return self._data.read(start, stop)

    def reopen(self) -> OwnSource:
        return OwnSource(self._data.reopen())

    def close(self) -> None:
        """Close it, where it can be closed."""
        if hasattr(self._data, "close"):
            self._data.close()

    def __getattr__(self, attribute: str) -> Any:
        # A source may have more: names, columns of other types, an identity.
        if attribute.startswith("_"):
            raise AttributeError(attribute)
        return getattr(self._data, attribute)

    def __repr__(self) -> str:
        return repr(self._data)


def _regular_chunks(chunks: Any) -> tuple[int, int] | None:
    if chunks is None:
        return None
    try:
        # Some readers list the size of every chunk; memory must hold the largest.
        rows, columns = (max(size) if isinstance(size, tuple) else int(size) for size in chunks)
    except (TypeError, ValueError):
        return None
    return (int(rows), int(columns)) if rows > 0 and columns > 0 else None
