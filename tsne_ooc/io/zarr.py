"""Tables in Zarr, formats 2 and 3: folders, zip files, open arrays; also as AnnData writes them."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_ooc._disk import check_regular
from tsne_ooc.io.bands import BandedRows
from tsne_ooc.io.closing import Closing
from tsne_ooc.io.contents import Contents, is_array, locate
from tsne_ooc.io.missing import check_whole, of_zarr_array
from tsne_ooc.io.optional import load
from tsne_ooc.io.shape import check_table
from tsne_ooc.io.sparse import stored_csr

METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")


def open_zarr(
    path: str | os.PathLike[str], dataset: str | None = None, allow_missing_chunks: bool = False
) -> ZarrSource:
    """Open a table in a folder or zip file of Zarr for reading.

    Parameters
    ----------
    path : path
        The folder or zip file.
    dataset : str, optional
        Name of the array within a group, or of a group that holds a CSR matrix as AnnData writes it. Without it there
        must be exactly one table, or AnnData's layout: then it is ``X``.
    allow_missing_chunks : bool, default False
        Read chunks that are missing as their fill value, instead of refusing the table.

    Returns
    -------
    ZarrSource
        Use it in a ``with`` statement, or call its ``close``. It pickles by path.

    Raises
    ------
    OSError
        Where there is nothing, it is damaged, or chunks are missing, with their number.
    ValueError
        Where the array is missing (those that are there are listed), is a group, or is no two-dimensional table of
        real numbers, and for a sparse matrix that is stored by columns.
    ModuleNotFoundError
        Where zarr is not installed.
    """
    zarr = load("zarr", "zarr", f"reading {path}")
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    store, within = None, ""
    try:
        if path.is_dir():
            _check_metadata(path)
            root = zarr.open(path, mode="r")
        else:
            store = zarr.storage.ZipStore(path, mode="r")
            within = _within(path)
            root = zarr.open(store, mode="r", path=within)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        if store is not None:
            with contextlib.suppress(Exception):
                store.close()
        raise OSError(f"{path} is not a whole Zarr table: {str(error).splitlines()[0] or error!r}") from None
    try:
        return ZarrSource(_find(root, str(path), dataset), store, allow_missing_chunks, opened_here=True, within=within)
    except BaseException:
        if store is not None:
            store.close()
        raise


def of_zarr(item: Any, dataset: str | None = None, allow_missing_chunks: bool = False) -> ZarrSource:
    """The source of an open ``zarr.Array``, or of one in an open group."""
    return ZarrSource(_find(item, str(_path(item) or "this group"), dataset), None, allow_missing_chunks)


class ZarrSource(Closing):
    """Rows of a two-dimensional Zarr array, or of a CSR matrix that AnnData wrote (see `open_zarr`)."""

    def __init__(
        self,
        item: Any,
        store: Any = None,
        allow_missing_chunks: bool = False,
        *,
        opened_here: bool = False,
        within: str = "",
    ) -> None:
        self._allow, self._process = allow_missing_chunks, os.getpid()
        self._item, self._store, self.opened_here = item, store, opened_here
        self.path = _path(item)
        #: The files that it is read from; other arrays of the same group are no part of it.
        self.stored = [self.path / item.path] if self.path is not None and self.path.is_dir() else None
        self.name: str | None = str(item.path).removeprefix(within).strip("/") or None
        where = f"array {self.name!r} of {self.path}"
        if is_array(item):
            check_table(item, where)
        table = item if is_array(item) else stored_csr(item, where)
        for part in [item] if is_array(item) else [item[name] for name in ("data", "indices", "indptr")]:
            missing, total = of_zarr_array(part)
            name = f"array {part.path!r} of {self.path}" if part.path else str(self.path)
            check_whole(name, missing, total, part.fill_value, allowed=allow_missing_chunks)
        self.shape = (int(table.shape[0]), int(table.shape[1]))
        self.dtype: np.dtype[Any] = np.dtype(table.dtype)
        self.chunks: tuple[int, int] | None = None
        self._rows: Callable[[int, int], NDArray[Any]] = lambda start, stop: np.asarray(table[start:stop])
        if is_array(item):
            self.chunks = (int(item.chunks[0]), int(item.chunks[1]))
            edges = np.append(np.arange(0, self.shape[0], self.chunks[0], dtype=np.int64), self.shape[0])
            # Zarr keeps no chunk that it has unpacked.
            self._rows = BandedRows(edges, self._rows, self.shape[1] * self.dtype.itemsize).read

    def read(self, start: int, stop: int) -> NDArray[Any]:
        if self._store is not None and os.getpid() != self._process:
            # A zip file does not survive a fork: parent and child would move each other's position in it.
            self.__dict__.update(self.reopen().__dict__)
        return self._rows(start, stop)

    def reopen(self) -> ZarrSource:
        if self.path is None:
            return ZarrSource(self._item, None, self._allow)
        return open_zarr(self.path, self.name, self._allow)

    def close(self) -> None:
        """Close the zip file, if this source opened one."""
        if self._store is not None and os.getpid() == self._process:
            self._store.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if self.path is None:
            return ZarrSource, (self._item, None, self._allow)
        return open_zarr, (self.path, self.name, self._allow)

    def __repr__(self) -> str:
        return f"Zarr array {self.name or '/'!r} of {self.path or 'memory'}, shape {self.shape}"


def _within(path: Path) -> str:
    """The folder in a zip file that holds the table, where the folder was zipped and not what is in it; else ""."""
    with zipfile.ZipFile(path) as archive:
        homes = {name.rpartition("/")[0] for name in archive.namelist() if name.rpartition("/")[2] in METADATA}
    first = {home.partition("/")[0] for home in homes if not home.startswith("__MACOSX")}
    return first.pop() if "" not in homes and len(first) == 1 and first <= homes else ""


def _check_metadata(path: Path) -> None:
    """Raise where a pipe goes by the name of a description, in any folder but those of chunks: Zarr would wait."""
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.isdigit() and name != "c"]
        for name in names:
            if name in METADATA:
                check_regular(Path(folder, name))


def _path(item: Any) -> Path | None:
    """Where the folder or zip file of an array lies; None for stores elsewhere."""
    store = item.store
    place = getattr(store, "root", None) or getattr(store, "path", None)
    return Path(place).resolve() if isinstance(place, str | Path) and Path(place).exists() else None


def _find(root: Any, where: str, dataset: str | None) -> Any:
    if dataset is not None and is_array(root):
        raise ValueError(f"{where} holds a single array, so dataset={dataset!r} cannot choose one")
    return locate(
        root,
        None if dataset is None else dataset.strip("/"),
        lambda: Contents.of(where, sorted(root.members(max_depth=None), key=lambda pair: pair[0])),
    )
