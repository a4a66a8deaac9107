"""What a file or folder holds, table or not: names, shapes and types, without reading any rows."""

from __future__ import annotations

from typing import NamedTuple

from tsne_ooc._typing import Stored
from tsne_ooc.io.base import type_of
from tsne_ooc.io.contents import Contents, is_array, is_compound
from tsne_ooc.io.failures import opening
from tsne_ooc.io.frames import is_stored_frame
from tsne_ooc.io.kinds import format_of
from tsne_ooc.io.sparse import sparse_format
from tsne_ooc.io.urls import AnyPath


class Holding(NamedTuple):
    """One array, group or column.

    Attributes
    ----------
    name : str
    shape : tuple of int
        The shape in which it would be read.
    type : str
        The type in words.
    """

    name: str
    shape: tuple[int, ...]
    type: str


def holdings_of(path: AnyPath) -> list[Holding]:
    """All arrays of an HDF5 or Zarr file, all columns of Parquet, the one array of ``.npy``.

    Raises
    ------
    OSError
        Where there is no file, or it is damaged or of another kind.
    """
    with opening(path):
        return _holdings(path, format_of(path))


def _holdings(path: AnyPath, kind: str) -> list[Holding]:
    if kind == "hdf5":
        from tsne_ooc.io.hdf5_files import contents_of

        with contents_of(path) as (root, contents):
            return _arrays(root, contents)
    if kind == "zarr":
        from tsne_ooc.io.zarr import contents_of as contents_of_zarr

        with contents_of_zarr(path) as (root, contents):
            return _arrays(root, contents)
    if kind == "parquet":
        from tsne_ooc.io.parquet import columns_in

        rows, types = columns_in(path)
        return [Holding(name, (rows,), words) for name, words in types.items()]
    from tsne_ooc.io.memory import MemmapSource

    with MemmapSource.of_npy(path) as array:
        return [Holding("", array.shape, str(array.dtype))]


def _arrays(root: Stored, contents: Contents) -> list[Holding]:
    if is_array(root):
        return [Holding("", tuple(root.shape or ()), str(type_of(root)))]
    return [
        Holding(name, tuple(int(size) for size in shape or ()), _words(root, name))
        for name, shape in contents.shapes.items()
    ]


def _words(root: Stored, name: str) -> str:
    item = root.get(name)
    if item is None:
        # It is a field within records.
        return "field"
    if sparse_format(item) is not None:
        data = item.get("data")
        way = "rows" if sparse_format(item) == "csr" else "columns"
        return f"sparse by {way}" if data is None else f"{type_of(data)}, sparse by {way}"
    if is_stored_frame(item):
        return "data frame"
    if is_compound(item):
        return f"records of {', '.join(item.dtype.names[:5])}{', ...' if len(item.dtype.names) > 5 else ''}"
    kind = type_of(item)
    return "text" if kind is not None and kind.kind in "OSUT" else str(kind or "unknown")
