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

from tsne_ooc.io.bands import BandedRows
from tsne_ooc.io.closing import Closing
from tsne_ooc.io.contents import Contents, is_array, locate
from tsne_ooc.io.optional import load
from tsne_ooc.io.shape import check_table
from tsne_ooc.io.sparse import stored_csr


def open_zarr(path: str | os.PathLike[str], dataset: str | None = None) -> ZarrSource:
    """Open a table in a folder or zip file of Zarr for reading.

    Parameters
    ----------
    path : path
        The folder or zip file.
    dataset : str, optional
        Name of the array within a group, or of a group that holds a CSR matrix as AnnData writes it. Without it there
        must be exactly one table, or AnnData's layout: then it is ``X``.

    Returns
    -------
    ZarrSource
        Use it in a ``with`` statement, or call its ``close``. It pickles by path.

    Raises
    ------
    OSError
        Where there is nothing, or it is damaged.
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
    store = None
    try:
        if path.is_dir():
            root = zarr.open(path, mode="r")
        else:
            store = zarr.storage.ZipStore(path, mode="r")
            root = zarr.open(store, mode="r")
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        if store is not None:
            with contextlib.suppress(Exception):
                store.close()
        raise OSError(f"{path} is not a whole Zarr table: {str(error).splitlines()[0] or error!r}") from None
    try:
        return ZarrSource(_find(root, str(path), dataset), store)
    except BaseException:
        if store is not None:
            store.close()
        raise


def of_zarr(item: Any, dataset: str | None = None) -> ZarrSource:
    """The source of an open ``zarr.Array``, or of one in an open group."""
    return ZarrSource(_find(item, str(_path(item) or "this group"), dataset))


class ZarrSource(Closing):
    """Rows of a two-dimensional Zarr array, or of a CSR matrix that AnnData wrote (see `open_zarr`)."""

    def __init__(self, item: Any, store: Any = None) -> None:
        self._item, self._store = item, store
        self.path = _path(item)
        self.name: str | None = str(item.path) or None
        where = f"array {self.name!r} of {self.path}"
        if is_array(item):
            check_table(item, where)
        table = self._table = item if is_array(item) else stored_csr(item, where)
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
        return self._rows(start, stop)

    def reopen(self) -> ZarrSource:
        return ZarrSource(self._item) if self.path is None else open_zarr(self.path, self.name)

    def close(self) -> None:
        """Close the zip file, if this source opened one."""
        if self._store is not None:
            self._store.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return (ZarrSource, (self._item,)) if self.path is None else (open_zarr, (self.path, self.name))

    def __repr__(self) -> str:
        return f"Zarr array {self.name or '/'!r} of {self.path or 'memory'}, shape {self.shape}"


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
