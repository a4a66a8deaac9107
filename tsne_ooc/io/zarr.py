"""Tables in Zarr, formats 2 and 3: folders, zip files, open arrays; also as AnnData writes them."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np

from tsne_ooc._typing import Array, DType, Int64, Stored, StrPath
from tsne_ooc.io.bands import BandedRows, BandedVector
from tsne_ooc.io.base import Closing, check_table
from tsne_ooc.io.columns import Columns
from tsne_ooc.io.contents import Contents, is_array, locate
from tsne_ooc.io.conventions import decoded
from tsne_ooc.io.failures import Unreached, first_line
from tsne_ooc.io.frames import StoredFrame, is_stored_frame
from tsne_ooc.io.masks import with_mask
from tsne_ooc.io.missing import check_whole, of_zarr_array
from tsne_ooc.io.named import LinedUp, chosen
from tsne_ooc.io.named_columns import NamedColumns
from tsne_ooc.io.optional import load
from tsne_ooc.io.parts import METADATA
from tsne_ooc.io.sparse import CsrTable, remarks_on, stored_csr
from tsne_ooc.io.url_stores import store_of
from tsne_ooc.io.urls import AnyPath, Url, path_of
from tsne_ooc.storage.disk import check_regular


def open_zarr(
    path: StrPath,
    dataset: str | None = None,
    columns: Columns | None = None,
    allow_missing_chunks: bool = False,
) -> ZarrSource | ZarrTable | LinedUp:
    """Open a table in a folder or zip file of Zarr for reading.

    Parameters
    ----------
    path : path
        The folder or zip file.
    dataset : str, optional
        Name of the array within a group, or of a group that holds a CSR matrix or a data frame as AnnData writes them.
        Without it there must be exactly one table, or AnnData's layout: then it is ``X``.
    columns : str or list of str, optional
        Columns of a data frame, or those of an array whose names the store holds, as in `tsne_ooc.io.open_source`.
    allow_missing_chunks : bool, default False
        Read chunks that are missing as their fill value, instead of refusing the table.

    Returns
    -------
    ZarrSource or ZarrTable
        The latter where columns have names and types of their own. Where columns of an array were chosen, it is a
        source of these. Use it in a ``with`` statement, or call its ``close``. It pickles by path.

    Raises
    ------
    OSError
        Where there is no file, it is damaged, or chunks are missing, with their number.
    ValueError
        Where the array is missing (those that are there are listed), is a group, or is not a two-dimensional table of
        real numbers, and for a sparse matrix that is stored by columns.
    ModuleNotFoundError
        Where zarr is not installed.
    """
    root, store, within = _root(path_of(path))
    try:
        found = _find(root, str(path), dataset)
        return _source(found, columns, allow_missing_chunks, store, opened_here=True, within=within)
    except BaseException:
        if store is not None:
            store.close()
        raise


@contextlib.contextmanager
def root_of(path: AnyPath) -> Iterator[Stored]:
    """The array or group of a folder or zip file."""
    root, store, _ = _root(path)
    try:
        yield root
    finally:
        if store is not None:
            store.close()


@contextlib.contextmanager
def contents_of(path: AnyPath) -> Iterator[tuple[Stored, Contents]]:
    """The same, and what is in it."""
    with root_of(path) as root:
        yield root, Contents(str(path), {}, [], []) if is_array(root) else _contents(root, str(path))


def _root(path: AnyPath) -> tuple[Stored, Stored, str]:
    """The array or group, the zip file to close, where it is one, and the folder within it that holds the table."""
    zarr = load("zarr", "zarr", f"reading {path}")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    store = None
    try:
        if isinstance(path, Url):
            return zarr.open(store_of(path), mode="r"), None, ""
        # Zarr looks for each chunk when it is read: from another folder it would find none, and read zeros.
        place = path.absolute()
        if path.is_dir():
            _check_metadata(path)
            return zarr.open(place, mode="r"), None, ""
        store = zarr.storage.ZipStore(place, mode="r")
        within = _within(path)
        return zarr.open(store, mode="r", path=within), store, within
    except Unreached:
        raise
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        if store is not None:
            with contextlib.suppress(Exception):
                store.close()
        raise _unreadable(path, error) from None


def _within(path: Path) -> str:
    """The folder in a zip file that holds the table, where the folder itself was zipped, not its contents; else ""."""
    with zipfile.ZipFile(path) as archive:
        homes = {name.rpartition("/")[0] for name in archive.namelist() if name.rpartition("/")[2] in METADATA}
    first = {home.partition("/")[0] for home in homes if not home.startswith("__MACOSX")}
    return first.pop() if "" not in homes and len(first) == 1 and first <= homes else ""


def _check_metadata(path: Path) -> None:
    """Raise where a pipe has the name of a metadata file, in any folder but those of chunks: Zarr would hang."""
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.isdigit() and name != "c"]
        for name in names:
            if name in METADATA:
                check_regular(Path(folder, name))


def _unreadable(path: AnyPath, error: Exception) -> OSError:
    text = first_line(error)
    if "codec" in text.lower() and ("unknown" in text.lower() or "not available" in text):
        return OSError(
            f"{path} is packed by a codec that is not installed ({text}): pip install the package that has it, such as "
            "imagecodecs; or write it again with zstd"
        )
    return OSError(f"{path} is not a whole Zarr table: {text}")


def of_zarr(
    item: Stored, dataset: str | None = None, columns: Columns | None = None, allow_missing_chunks: bool = False
) -> ZarrSource | ZarrTable | LinedUp:
    """The source of an open ``zarr.Array``, or of one in an open group."""
    return _source(_find(item, str(_path(item) or "this group"), dataset), columns, allow_missing_chunks)


def _source(
    item: Stored,
    columns: Columns | None,
    allow_missing_chunks: bool,
    store: Any = None,
    *,
    opened_here: bool = False,
    within: str = "",
) -> ZarrSource | ZarrTable | LinedUp:
    if is_stored_frame(item):
        return ZarrTable(item, columns, store, allow_missing_chunks, opened_here=opened_here, within=within)
    found = ZarrSource(item, store, allow_missing_chunks, opened_here=opened_here, within=within)
    if columns is None:
        return found
    names = columns if isinstance(columns, str) else list(columns)
    return chosen(found, names, f"array {item.path!r} of {_path(item)}")


def _check_chunks(arrays: Iterable[Any], path: AnyPath | None, allowed: bool) -> None:
    for array in arrays:
        if isinstance(path, Url):
            # Few servers list what they have, so a chunk is missed when it is read.
            array.store.needed += [] if allowed else [array.path]
            continue
        missing, total = of_zarr_array(array)
        name = f"array {array.path!r} of {path}" if array.path else str(path)
        check_whole(name, missing, total, array.fill_value, allowed=allowed)


class _Stored(Closing):
    """What both sources do with a zip file that they opened, and how they are opened again: as from a pickle."""

    _store: Any
    _process: int

    def _after_fork(self) -> None:
        # A zip file does not survive a fork: parent and child would move each other's position in it.
        if self._store is not None and os.getpid() != self._process:
            self.__dict__.update(self.reopen().__dict__)

    def reopen(self) -> Self:
        again: Any = self.__reduce__()
        return again[0](*again[1])  # type: ignore[no-any-return]

    def close(self) -> None:
        """Close the zip file, if this source opened one."""
        if self._store is not None and os.getpid() == self._process:
            self._store.close()


class ZarrSource(_Stored):
    """Rows of a two-dimensional Zarr array, or of a CSR matrix that AnnData wrote (see `open_zarr`)."""

    def __init__(
        self,
        item: Stored,
        store: Any = None,
        allow_missing_chunks: bool = False,
        *,
        opened_here: bool = False,
        within: str = "",
    ) -> None:
        self._allow, self._process = allow_missing_chunks, os.getpid()
        self._item, self._store, self.opened_here = item, store, opened_here
        self.path = _path(item)
        #: The files that it is read from. Other arrays of the same group are not part of it.
        self.stored = [self.path / item.path] if isinstance(self.path, Path) and self.path.is_dir() else None
        self.name: str | None = str(item.path).removeprefix(within).strip("/") or None
        where = f"array {self.name!r} of {self.path}"
        if is_array(item):
            check_table(item, where)
        table: Any = item if is_array(item) else stored_csr(item, where, _keeping)
        parts = [item] if is_array(item) else [item[name] for name in ("data", "indices", "indptr")]
        _check_chunks(parts, self.path, allow_missing_chunks)
        self.unread: dict[str, str] = {}
        self.remarks = [] if is_array(item) else remarks_on(item)
        meant = _as_meant(item) if is_array(item) else None
        if meant is not None:
            table, self.remarks = meant, meant.remarks
        self._table = table
        self.shape = (int(table.shape[0]), int(table.shape[1]))
        self.dtype: DType = np.dtype(table.dtype)
        self.chunks: tuple[int, int] | None = None
        self._rows: Callable[[int, int], Array] = lambda start, stop: with_mask(table[start:stop])
        if is_array(item):
            self.chunks = (int(item.chunks[0]), int(item.chunks[1]))
            edges = np.append(np.arange(0, self.shape[0], self.chunks[0], dtype=np.int64), self.shape[0])
            # Zarr keeps no chunk that it has unpacked.
            size = self.dtype.itemsize
            self._rows = BandedRows(edges, self._rows, self.shape[1] * size, int(np.prod(self.chunks)) * size).read

    def read(self, start: int, stop: int) -> Array:
        self._after_fork()
        return self._rows(start, stop)

    def read_some(self, start: int, stop: int, columns: Int64) -> Array:
        """Some columns of rows `start` up to `stop`; of sparse rows no others become dense."""
        if not isinstance(self._table, CsrTable):
            return self.read(start, stop)[:, columns]
        self._after_fork()
        return self._table.some(start, stop, columns)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.path is None:
            return ZarrSource, (self._item, None, self._allow)
        return open_zarr, (self.path, self.name, None, self._allow)

    def __repr__(self) -> str:
        return f"Zarr array {self.name or '/'!r} of {self.path or 'memory'}, shape {self.shape}"


class ZarrTable(_Stored):
    """Columns of a data frame in a Zarr group (see `open_zarr`).

    Attributes
    ----------
    column_names : list of str
        The columns chosen; without a choice, all that hold numbers.
    left_out : list of str
        Columns left out because they do not hold numbers, where none were chosen.
    unread : dict of str to str
        Columns that were left out, with the reason.
    """

    #: Each column has chunks of its own.
    chunks: tuple[int, int] | None = None

    def __init__(
        self,
        item: Stored,
        columns: Columns | None = None,
        store: Any = None,
        allow_missing_chunks: bool = False,
        *,
        opened_here: bool = False,
        within: str = "",
    ) -> None:
        self._allow, self._process = allow_missing_chunks, os.getpid()
        self._item, self._store, self.opened_here = item, store, opened_here
        self._columns = columns if columns is None or isinstance(columns, str) else list(columns)
        self.path = _path(item)
        self.name: str | None = str(item.path).removeprefix(within).strip("/") or None
        self.stored = [self.path / item.path] if isinstance(self.path, Path) and self.path.is_dir() else None
        where = f"data frame {self.name!r} of {self.path}"
        # A mask that hides nothing, and codes of a single category, are all zeros, which Zarr does not write.
        numbers = (part for name, part in item.members(max_depth=2) if name.partition("/")[2] in ("", "values"))
        _check_chunks(filter(is_array, numbers), self.path, allow_missing_chunks)
        frame = StoredFrame(item, where)
        self._named = NamedColumns(frame.types, frame.fetch, self._columns, where)
        self.column_names, self.left_out = self._named.names, self._named.left_out
        self.unread, self.remarks = self._named.unread, list[str]()
        self.shape, self.dtype = (frame.n_rows, len(self.column_names)), self._named.dtype

    def read(self, start: int, stop: int) -> Array:
        self._after_fork()
        return self._named.rows(start, stop)

    def read_columns(self, start: int, stop: int) -> dict[str, Array]:
        """Rows `start` up to `stop` of each column, numbers or not."""
        self._after_fork()
        return self._named.columns(start, stop)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.path is None:
            return ZarrTable, (self._item, self._columns, None, self._allow)
        return open_zarr, (self.path, self.name, self._columns, self._allow)

    def __repr__(self) -> str:
        return f"data frame {self.name or '/'!r} of {self.path or 'memory'}, shape {self.shape}"


def _keeping(part: Stored) -> Any:
    """An array of a CSR matrix, of which the last chunk is kept.

    Rows of a sample share chunks: 25,000 of 2,000,000 rows with 150 entries each took 238 s without, and take 25 s.
    """
    return BandedVector(part) if part.ndim == 1 else part


def _as_meant(item: Stored) -> Any:
    """The array as xarray means its numbers, where xarray wrote it; None where they stand for themselves."""
    xarray = "_ARRAY_DIMENSIONS" in item.attrs or getattr(item.metadata, "dimension_names", None) is not None
    return decoded(item, netcdf=xarray)


def _path(item: Stored) -> AnyPath | None:
    """Where the folder or zip file of an array lies; None for stores elsewhere."""
    store = item.store
    if isinstance(found := getattr(store, "url", None), Url):
        return found
    place = getattr(store, "root", None) or getattr(store, "path", None)
    return Path(place).resolve() if isinstance(place, str | Path) and Path(place).exists() else None


def _find(root: Stored, where: str, dataset: str | None) -> Stored:
    if dataset is not None and is_array(root):
        raise ValueError(f"{where} holds a single array, so dataset={dataset!r} cannot choose one")
    return locate(
        root,
        None if dataset is None else dataset.strip("/"),
        lambda: _listed(root, where),
    )


def _listed(root: Stored, where: str) -> Contents:
    """What is in a group, where that is asked because a name is missing or is not there."""
    found = _contents(root, where)
    if not found.shapes and isinstance(_path(root), Url):
        raise ValueError(f"the server of {where} does not list what it holds; name a table that it has (--dataset)")
    return found


def _contents(root: Stored, where: str) -> Contents:
    return Contents.of(where, sorted(root.members(max_depth=None), key=lambda pair: pair[0]))
