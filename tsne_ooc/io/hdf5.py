"""Tables in HDF5 files, opened with errors that say what to do next."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

import numpy as np

from tsne_ooc._context import warn
from tsne_ooc._typing import Array, DType, Int64, Stored, StrPath
from tsne_ooc.io.bands import BandedRows
from tsne_ooc.io.base import Closing, check_table
from tsne_ooc.io.columns import Columns
from tsne_ooc.io.contents import is_array, is_compound
from tsne_ooc.io.conventions import decoded
from tsne_ooc.io.frames import StoredFrame, is_stored_frame
from tsne_ooc.io.hdf5_files import check_filters, find, open_file
from tsne_ooc.io.masks import with_mask
from tsne_ooc.io.meant import Turned, turned_because
from tsne_ooc.io.missing import check_whole, of_hdf5_dataset
from tsne_ooc.io.named import LinedUp, chosen
from tsne_ooc.io.named_columns import NamedColumns, Types
from tsne_ooc.io.pandas_table import PandasTable
from tsne_ooc.io.sparse import CsrTable, remarks_on, sparse_format, stored_csr
from tsne_ooc.io.urls import AnyPath, Url, is_url, path_of

# Streaming 400,000 x 64 float32 on one core takes 0.02 s where chunks are as wide as the table, 0.05 s with 4
# side by side, 0.08 with 8, 0.12 with 32, 0.19 with 64; single rows take 5 to 60 times as long.
_CHUNKS_ACROSS = 8
# A table that is read in a moment, whatever its chunks, needs no warning.
_WORTH_A_WARNING = 64 << 20
# HDF5 keeps so many bytes of the chunks that it has unpacked; a larger row of chunks would break the bound on memory.
_LARGEST_CACHE = 64 << 20


def open_hdf5(
    path: StrPath,
    dataset: str | None = None,
    columns: Columns | None = None,
    allow_missing_chunks: bool = False,
) -> Hdf5Source | Hdf5Table | LinedUp:
    """Open a table in an HDF5 file for reading.

    Parameters
    ----------
    path : path
        The file.
    dataset : str, optional
        Name of the dataset within the file, such as ``"X"`` or ``"obsm/X_pca"``, or of a group that holds a CSR
        matrix as AnnData or 10x Genomics write it, or a data frame as AnnData does. Without it the file must hold
        exactly one table, or have the layout of AnnData (``.h5ad``) or Loom: then it is ``X`` or ``matrix``. Arrays of
        Loom and of MATLAB 7.3 are stored transposed: the columns of the dataset are the rows of the table.
    columns : str or list of str, optional
        Fields of a compound dataset, columns of a data frame, or those of an array whose names the file holds, as in
        `tsne_ooc.io.open_source`.
    allow_missing_chunks : bool, default False
        Read chunks, or sources of a virtual dataset, that are missing as their fill value, instead of refusing the
        table.

    Returns
    -------
    Hdf5Source or Hdf5Table
        The latter where columns have names and types of their own. Where columns of an array were chosen, it is a
        source of these. Use it in a ``with`` statement, or call its ``close``. It pickles by path and reopens after a
        fork.

    Raises
    ------
    OSError
        Where the file does not exist, is a folder, is not HDF5 or is cut short, or parts of the table are missing,
        with their number.
    ValueError
        Where the dataset is missing (those that are there are listed), is a group, or is not a two-dimensional
        table of real numbers, where `dataset` is left out although there is more than one table, and for a sparse
        matrix that is stored by columns.

    Warns
    -----
    UserWarning
        Where chunks are so narrow that reading rows is slow.

    Examples
    --------
    >>> with open_hdf5("cells.h5", "X") as X:  # doctest: +SKIP
    ...     coordinates = model.transform(X)
    """
    return _open_table(path, dataset, columns, allow_missing_chunks, turn=True)


def _open_table(
    path: StrPath, dataset: str | None, columns: Columns | None, allow_missing_chunks: bool, turn: bool
) -> Hdf5Source | Hdf5Table | LinedUp:
    """Do as `open_hdf5` does; without `turn` the rows of a dataset are its rows, whatever the file means by them."""
    path = path_of(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not an HDF5 file")
    file = open_file(path)
    try:
        found = find(file, dataset)
        needed = _cache_bytes(found, turn)
        if needed > _default_cache(found):
            # Where a block of rows ends within a chunk, the chunks it cuts must still be unpacked next time.
            name = found.name
            file.close()
            file = open_file(path, rdcc_nbytes=min(needed, _LARGEST_CACHE), rdcc_nslots=10007)
            found = find(file, name)
        return _source(file, found, columns, allow_missing_chunks, turn)
    except BaseException:
        file.close()
        raise


def of_hdf5(
    item: Stored, dataset: str | None = None, columns: Columns | None = None, allow_missing_chunks: bool = False
) -> Hdf5Source | Hdf5Table | LinedUp:
    """The source of an open ``h5py.Dataset``, or of one in an open group or file, which stays with its owner.

    The rows of a dataset are its rows, as its owner sees them.
    """
    if not item:
        raise ValueError("the HDF5 file of this dataset is closed; open it again, or pass it while it is open")
    return _source(None, find(item, dataset), columns, allow_missing_chunks, turn=not is_array(item))


class _Stored(Closing):
    """What all tables in HDF5 files share: a handle that is opened again by path and name."""

    shape: tuple[int, int]
    unread: dict[str, str]
    remarks: list[str]

    def __init__(self, file: Stored, item: Stored, *again: Any) -> None:
        self._file = file
        self._item = item
        self.opened_here = file is not None
        self._process = os.getpid()
        self._again = again
        self.name = str(item.name)
        name = item.file.filename
        #: None for a file that is not on the disk, but in memory or behind an object of Python; those behind a URL that
        #: were opened here have it as their name.
        self.path: AnyPath | None = None
        if item.file.driver == "fileobj" and self.opened_here and is_url(name):
            self.path = Url(name)
        elif item.file.driver not in ("core", "fileobj"):
            self.path = Path(name).resolve()
        self._where = str(self.path or name)

    def _checked(self) -> None:
        """Raise where the file is closed; open it again in a process that was forked."""
        if os.getpid() != self._process:
            # A handle does not survive a fork: parent and child would move each other's position in the file.
            self.__dict__.update(self.reopen().__dict__)
        if not self._item:
            raise ValueError(f"{self._where} is closed; read from it within its `with` statement")

    def reopen(self) -> Self:
        if self.path is None:
            # There is no other way to it than this handle; HDF5 lets one thread use it at a time.
            return self
        again: Any = _open_table(self.path, self.name, *self._again)
        return again  # type: ignore[no-any-return]

    def close(self) -> None:
        """Close the file, if this source opened it."""
        if self._file is not None and os.getpid() == self._process:
            self._file.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if self.path is None:
            raise TypeError(f"{self!r} is not on the disk, and another process cannot open it; write it to a file")
        return _open_table, (self.path, self.name, *self._again)

    def __repr__(self) -> str:
        return f"dataset {self.name!r} of {self._where}, shape {self.shape}"


class Hdf5Source(_Stored):
    """Rows of a two-dimensional HDF5 dataset, or of a CSR matrix in a group (see `open_hdf5`)."""

    def __init__(self, file: Stored, item: Stored, allow_missing_chunks: bool = False, turn: bool = True) -> None:
        super().__init__(file, item, None, allow_missing_chunks, turn)
        name = f"dataset {self.name!r} of {self._where}"
        self._table: Any = item
        self.unread = {}
        if sparse_format(item) is not None:
            self._table, self.remarks = stored_csr(item, name), remarks_on(item)
        else:
            check_table(item, name)
            self._table, self.remarks = _as_meant(item, turn)
        self.shape = (int(self._table.shape[0]), int(self._table.shape[1]))
        self.dtype: DType = self._table.dtype
        self.chunks: tuple[int, int] | None = self._table.chunks
        self._banded: BandedRows | None = None
        if self.chunks is not None and _cache_bytes(item, turn) > _default_cache(item):
            # HDF5 unpacks a chunk that does not fit its cache for every read.
            size = self.dtype.itemsize
            edges = np.append(np.arange(0, self.shape[0], self.chunks[0], dtype=np.int64), self.shape[0])
            self._banded = BandedRows(edges, self._read, self.shape[1] * size, int(np.prod(self.chunks)) * size)
        self._warn_if_narrow()

    def read(self, start: int, stop: int) -> Array:
        self._checked()
        return self._read(start, stop) if self._banded is None else self._banded.read(start, stop)

    def _read(self, start: int, stop: int) -> Array:
        return with_mask(self._table[start:stop])

    def read_some(self, start: int, stop: int, columns: Int64) -> Array:
        """Some columns of rows `start` up to `stop`; of sparse rows no others become dense."""
        if not isinstance(self._table, CsrTable):
            return self.read(start, stop)[:, columns]
        self._checked()
        return self._table.some(start, stop, columns)

    def _warn_if_narrow(self) -> None:
        rows, columns = self.shape
        if self.chunks is None or rows * columns * self.dtype.itemsize < _WORTH_A_WARNING:
            return
        across = -(-columns // self.chunks[1])
        if across > _CHUNKS_ACROSS:
            good = max(1, (1 << 20) // max(1, columns * self.dtype.itemsize))
            warn(
                f"{self.name!r} of {Path(self._where).name} is stored in chunks of {self.chunks}: {across} side by "
                f"side make up a row, so reading rows is slow; write it again with chunks=({min(good, rows)}, "
                f"{columns})",
            )


class Hdf5Table(_Stored):
    """Fields of a compound HDF5 dataset, or columns of a data frame, as columns (see `open_hdf5`).

    Attributes
    ----------
    column_names : list of str
        The columns chosen; without a choice, all that hold numbers.
    left_out : list of str
        Columns left out because they do not hold numbers or are an index, where none were chosen.
    unread : dict of str to str
        Columns that were left out, with the reason.
    """

    def __init__(
        self, file: Stored, item: Stored, columns: Columns | None = None, allow_missing_chunks: bool = False
    ) -> None:
        # They may come one by one, and are asked for again where the table is opened again.
        columns = None if columns is None else _names(columns)
        super().__init__(file, item, columns, allow_missing_chunks, True)
        where = f"dataset {self.name!r} of {self._where}"
        self.remarks = []
        index: set[str] = set()
        found: Any
        if not is_array(item):
            found = StoredFrame(item, where)
            types, fetch, n = found.types, found.fetch, found.n_rows
        else:
            n = int(item.shape[0])
            if PandasTable.takes(item):
                found = PandasTable(item)
                types, fetch, index = found.types, found.fetch, found.index
                self.remarks.append("columns are those of a data frame that pandas wrote")
            else:
                types, fetch = _fields(item), self._records
        self._named = NamedColumns(types, fetch, columns, where, index, "field" if fetch == self._records else "column")
        self.column_names, self.left_out = self._named.names, self._named.left_out
        self.unread = self._named.unread
        self.shape, self.dtype = (n, len(self.column_names)), self._named.dtype
        chunks = getattr(item, "chunks", None)
        self.chunks: tuple[int, int] | None = None if chunks is None else (int(chunks[0]), self.shape[1])

    def read(self, start: int, stop: int) -> Array:
        self._checked()
        return self._named.rows(start, stop)

    def read_columns(self, start: int, stop: int) -> dict[str, Array]:
        """Rows `start` up to `stop` of each column; strings as arrays of Python strings."""
        self._checked()
        return {name: _text(column) for name, column in self._named.columns(start, stop).items()}

    def _records(self, names: list[str], start: int, stop: int) -> dict[str, Array]:
        rows = self._item.fields(names)[start:stop]
        return {name: rows[name] for name in names}


def _fields(item: Stored) -> Types:
    fields: dict[str, DType] = {name: kind for name, (kind, *_) in item.dtype.fields.items()}
    return {
        name: (kind, str(kind)) if kind.kind in "fiub" else (None, "text" if kind.kind in "SUO" else str(kind))
        for name, kind in fields.items()
    }


def _as_meant(item: Stored, turn: bool) -> tuple[Any, list[str]]:
    """The rows of a dataset as its file means them, and remarks on that."""
    why = turned_because(item)
    if why is not None:
        if turn:
            return Turned(item), [why]
        return item, ["rows are those of the dataset itself; opened by its path, the file would be turned round"]
    table = decoded(item, netcdf=_is_netcdf(item), unwritten=item.fillvalue if _is_netcdf(item) else None)
    return (item, []) if table is None else (table, table.remarks)


def _is_netcdf(item: Stored) -> bool:
    return "_NCProperties" in item.file.attrs or "_Netcdf4Dimid" in item.attrs


def _names(columns: Columns) -> Columns:
    return columns if isinstance(columns, str) else list(columns)


def _text(column: Array) -> Array:
    if column.dtype.kind not in "OS":
        return column
    found = np.empty(column.shape, object)
    # Bytes that are not UTF-8 are shown as escapes, so that two such words stay two.
    cells = column.tolist()
    found[...] = [cell.decode("utf-8", "backslashreplace") if isinstance(cell, bytes) else cell for cell in cells]
    return found


def _source(
    file: Stored, item: Stored, columns: Columns | None, allow_missing_chunks: bool, turn: bool
) -> Hdf5Source | Hdf5Table | LinedUp:
    check_filters(item)
    for part in [found for found in item.values() if is_array(found)] if hasattr(item, "keys") else [item]:
        # A `FieldTable`, one field of records, is a view of ours and cannot be asked.
        if hasattr(part, "is_virtual"):
            missing, total, what = of_hdf5_dataset(part)
            name = f"dataset {part.name!r} of {part.file.filename}"
            check_whole(name, missing, total, part.fillvalue, what=what, allowed=allow_missing_chunks)
    if is_stored_frame(item) or (is_array(item) and is_compound(item)):
        return Hdf5Table(file, item, columns, allow_missing_chunks)
    found = Hdf5Source(file, item, allow_missing_chunks, turn)
    if columns is None:
        return found
    return chosen(found, _names(columns), f"dataset {item.name!r} of {item.file.filename}")


def _cache_bytes(item: Stored, turn: bool) -> int:
    """Bytes of unpacked chunks that reading rows from top to bottom comes back to."""
    if is_stored_frame(item):
        return 0
    if sparse_format(item) is not None:
        # The last chunk read of each of the three arrays; every dataset has a cache of its own.
        parts = [item[part] for part in ("data", "indices", "indptr") if part in item]
        return max((int(np.prod(part.chunks)) * part.dtype.itemsize for part in parts if part.chunks), default=0)
    if getattr(item, "chunks", None) is None:
        return 0
    columns = 0 if turn and turned_because(item) is not None else 1
    across = -(-item.shape[columns] // item.chunks[columns]) if len(item.shape) == 2 else 1
    return int(np.prod(item.chunks)) * across * int(item.dtype.itemsize)


def _default_cache(item: Stored) -> int:
    dataset = item["data"] if sparse_format(item) is not None and "data" in item else item
    if not hasattr(dataset, "chunks"):
        return 0
    return int(dataset.id.get_access_plist().get_chunk_cache()[1])
