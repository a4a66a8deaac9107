"""HDF5 files: opened, looked through, and checked for what HDF5 here cannot unpack."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from tsne_ooc._typing import Stored
from tsne_ooc.io.contents import Contents, locate
from tsne_ooc.io.failures import Unreached
from tsne_ooc.io.url_files import closed_at_exit
from tsne_ooc.io.urls import AnyPath, Url, handle


def open_file(path: AnyPath, **cache: int) -> Any:
    """A file opened for reading; OSError says in one line what is wrong with one that cannot be."""
    import h5py

    given = handle(path)
    if isinstance(path, Url):
        signature = given.read(8)
    else:
        try:
            with path.open("rb") as raw:
                signature = raw.read(8)
        except PermissionError:
            raise PermissionError(f"{path} may not be read (permission denied)") from None
    try:
        file = h5py.File(given, "r", **cache)
        return closed_at_exit(file) if isinstance(path, Url) else file
    except Unreached:
        raise
    except OSError as error:
        text = str(error)
        if "truncated" in text or "eof" in text.lower():
            raise OSError(f"{path} is cut short: its copy or download did not end") from None
        if signature == b"\x89HDF\r\n\x1a\n":
            raise OSError(f"{path} cannot be opened as HDF5 (damaged or cut short, or being written): {text}") from None
        raise OSError(f"{path} is not an HDF5 file") from None


@contextmanager
def contents_of(path: AnyPath) -> Iterator[tuple[Stored, Contents]]:
    """The open file, and what is in it."""
    with open_file(path) as file:
        yield file, Contents.of(str(path), _everything(file))


def find(root: Stored, dataset: str | None) -> Stored:
    """The table of that name in a file or group, or the only one."""
    return locate(root, dataset, lambda: Contents.of(_where(root), _everything(root)))


def _where(root: Stored) -> str:
    return str(root.file.filename) + ("" if root.name == "/" else f", group {root.name!r}")


def _everything(root: Stored) -> list[tuple[str, Stored]]:
    found: list[tuple[str, Stored]] = []
    root.visititems(lambda name, item: found.append((name, item)))
    return found


def check_filters(item: Stored) -> None:
    """Raise one line where chunks are packed by a filter that HDF5 does not have here."""
    import h5py

    arrays = list(item.values()) if hasattr(item, "keys") else [item]
    for array in (array for array in arrays if isinstance(array, h5py.Dataset)):
        packing = array.id.get_create_plist()
        for code, _, _, word in (packing.get_filter(i) for i in range(packing.get_nfilters())):
            if h5py.h5z.filter_avail(code) or (find_spec("hdf5plugin") and _with_plugins(code)):
                continue
            called = f" ({word.decode(errors='replace')})" if word else ""
            raise OSError(
                f"dataset {array.name!r} of {array.file.filename} is packed by filter {code}{called}, which is not "
                "installed: pip install hdf5plugin, which has most of them; or write it again with gzip"
            )


def _with_plugins(code: int) -> bool:
    # Importing the package registers its filters.
    importlib.import_module("hdf5plugin")
    import h5py

    return bool(h5py.h5z.filter_avail(code))
