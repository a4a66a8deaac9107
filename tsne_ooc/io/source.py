"""Sources: whatever has a shape and gives rows, in memory or on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tsne_ooc.io.shape import table_shape


@runtime_checkable
class Source(Protocol):
    """A table on disk or in memory that is read some rows at a time.

    Attributes
    ----------
    shape : tuple of int
        (n_samples, n_features).
    dtype : numpy dtype
        Type of the stored numbers.
    chunks : tuple of int, or None
        (rows, columns) of one piece of storage that can only be read whole, or None where any rows may be.
    """

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def chunks(self) -> tuple[int, int] | None: ...

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows `start` up to `stop`, as an array of shape (stop - start, n_features)."""
        ...

    def reopen(self) -> Source:
        """The same rows through a handle of its own, for another thread or process."""
        ...


def as_source(data: Any) -> Source:
    """Turn a table into a `Source`; a source comes back as it is.

    Parameters
    ----------
    data : Source, ndarray, memmap, h5py.Dataset, DataFrame, path, or anything with ``.shape`` and row slicing
        A path leads to a ``.npy`` file or to an HDF5 file with one table (see `tsne_ooc.io.open_hdf5`). Lists
        are turned into an array. Anything else (Zarr, Dask, a reader of your own) needs ``shape`` and
        ``data[a:b]``.

    Returns
    -------
    Source

    Raises
    ------
    TypeError
        For a sparse array, and for what has no shape or no rows to slice.
    ValueError
        For a table that is not two-dimensional.
    OSError
        For a path that cannot be read.
    """
    if isinstance(data, str | os.PathLike):
        return _from_path(Path(data))
    if isinstance(data, np.memmap) and data.filename is not None and data.flags.c_contiguous:
        return MemmapSource(data)
    if isinstance(data, np.ndarray):
        return ArraySource(data)
    if isinstance(data, list | tuple):
        from tsne_ooc._validate import as_rows

        return ArraySource(as_rows(data))
    if hasattr(data, "tocsr"):
        raise TypeError(
            f"X is a sparse {type(data).__name__}, which cannot be streamed; pass X[a:b].toarray() in pieces"
        )
    if _is_h5py(data):
        from tsne_ooc.io.hdf5 import Hdf5Source

        return Hdf5Source.of(data)
    if isinstance(data, Source):
        return data
    if hasattr(data, "iloc") and hasattr(data, "to_numpy"):
        return FrameSource(data)
    if hasattr(data, "shape") and hasattr(data, "__getitem__"):
        return SlicedSource(data)
    raise TypeError(
        f"a {type(data).__name__} is not a table: it needs .shape and row slicing, as arrays and h5py datasets have"
    )


def _is_h5py(data: Any) -> bool:
    # By name, so that a look at any other table does not import h5py (0.2 s).
    return any(kind.__module__.startswith("h5py.") and kind.__name__ == "Dataset" for kind in type(data).__mro__)


def _from_path(path: Path) -> Source:
    if path.suffix.lower() != ".npy":
        from tsne_ooc.io.hdf5 import open_hdf5

        return open_hdf5(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        data = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{path} is not a whole .npy file of numbers: {error}") from None
    return as_source(data)


class ArraySource:
    """Rows of an array in memory."""

    chunks: tuple[int, int] | None = None

    def __init__(self, data: NDArray[Any]) -> None:
        self._data = data
        self.shape = table_shape(data.shape, "X")
        self.dtype: np.dtype[Any] = data.dtype

    def read(self, start: int, stop: int) -> NDArray[Any]:
        return self._data[start:stop]

    def reopen(self) -> ArraySource:
        return self

    def __repr__(self) -> str:
        return f"array of shape {self.shape}"


class MemmapSource:
    """Rows of a memory-mapped file; a pickle holds the file's name, not its contents."""

    chunks: tuple[int, int] | None = None

    def __init__(self, data: np.memmap[Any, Any]) -> None:
        self.shape = table_shape(data.shape, str(data.filename))
        self.dtype: np.dtype[Any] = data.dtype
        self._data: NDArray[Any] = data
        # A slice of a memory map keeps the offset of the whole one; its own start is told by the addresses.
        base = data
        while isinstance(base.base, np.memmap):
            base = base.base
        self._offset = int(data.offset) + int(data.ctypes.data - base.ctypes.data)
        self._path = Path(str(data.filename)).resolve()

    def read(self, start: int, stop: int) -> NDArray[Any]:
        return np.asarray(self._data[start:stop])

    def reopen(self) -> MemmapSource:
        return MemmapSource(np.memmap(self._path, self.dtype, "r", self._offset, self.shape))

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen_memmap, (self._path, self.dtype, self._offset, self.shape)

    def __repr__(self) -> str:
        return f"{self._path} of shape {self.shape}"


def _reopen_memmap(path: Path, dtype: Any, offset: int, shape: tuple[int, int]) -> MemmapSource:
    return MemmapSource(np.memmap(path, dtype, "r", offset, shape))


class FrameSource:
    """Rows of a DataFrame; they come out as DataFrames, whose columns have names for error messages."""

    chunks: tuple[int, int] | None = None

    def __init__(self, data: Any) -> None:
        self._data = data
        self.shape = table_shape(data.shape, "X")
        kinds = [kind for kind in data.dtypes if isinstance(kind, np.dtype)]
        self.dtype: np.dtype[Any] = np.result_type(*kinds) if len(kinds) == self.shape[1] > 0 else np.dtype("f8")

    def read(self, start: int, stop: int) -> Any:
        return self._data.iloc[start:stop]

    def reopen(self) -> FrameSource:
        return self

    def __repr__(self) -> str:
        return f"DataFrame of shape {self.shape}"


class SlicedSource:
    """Rows of anything that has a shape and can be sliced: Zarr and Dask arrays, a reader of your own."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self.shape = table_shape(data.shape, f"the {type(data).__name__}")
        self.dtype: np.dtype[Any] = np.dtype(getattr(data, "dtype", np.float64))
        self.chunks = _regular_chunks(getattr(data, "chunks", None))

    def read(self, start: int, stop: int) -> NDArray[Any]:
        return np.asarray(self._data[start:stop])

    def reopen(self) -> SlicedSource:
        return self

    def __repr__(self) -> str:
        return f"{type(self._data).__name__} of shape {self.shape}"


def _regular_chunks(chunks: Any) -> tuple[int, int] | None:
    if chunks is None:
        return None
    try:
        # Dask lists the size of every chunk; the largest is the one that memory must hold.
        rows, columns = (max(size) if isinstance(size, tuple) else int(size) for size in chunks)
    except (TypeError, ValueError):
        return None
    return (int(rows), int(columns)) if rows > 0 and columns > 0 else None
