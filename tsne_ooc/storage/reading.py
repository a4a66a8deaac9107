"""Reading a folder: nothing in it is trusted before it is checked."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from tsne_ooc._options import shown
from tsne_ooc._typing import Array, DType, Json, Named, StrPath
from tsne_ooc.storage.manifest import MANIFEST, TYPES, one_line, open_file, read_manifest


class FolderContent(NamedTuple):
    """What a folder holds.

    Parameters
    ----------
    content : dict
        The content as it was given to `write_folder`.
    arrays : dict of str to ndarray
        Arrays that are read-only and memory-mapped: pages are read when they are touched.
    files : dict of str to Path
        The file of each array, for messages.
    """

    content: Json
    arrays: dict[str, Array]
    files: dict[str, Path]


def read_folder(path: StrPath, kind: str, *, verify: bool = True) -> FolderContent:
    """Read what `write_folder` wrote.

    Parameters
    ----------
    path : path
    kind : str
        What the folder must be.
    verify : bool, default True
        Compare the sums of the arrays' files, too, which reads each once. Everything else is always checked.

    Raises
    ------
    FileNotFoundError
        Where there is no such folder, or a file of it is missing.
    ValueError
        For anything damaged, of another kind, or of a later format: one line that names the file.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    while True:
        manifest = read_manifest(folder)
        try:
            return _read(folder, manifest, kind, verify)
        except (FileNotFoundError, ValueError):
            # A save may have put a new generation in place meanwhile, and removed the files of this one.
            if read_manifest(folder)["generation"] == manifest["generation"]:
                raise


def _read(folder: Path, manifest: Named, kind: str, verify: bool) -> FolderContent:
    if manifest["kind"] != kind:
        raise ValueError(f"{folder / MANIFEST} is that of a {shown(manifest['kind'])}, not of a {kind!r}")
    arrays, files = {}, {}
    for name, entry in manifest["arrays"].items():
        files[name] = folder / entry["file"]
        arrays[name] = _map(folder, entry, verify)
    return FolderContent(manifest["content"], arrays, files)


def _map(folder: Path, entry: Named, verify: bool) -> Array:
    path = folder / entry["file"]
    with open_file(folder, entry["file"]) as file:
        size = os.fstat(file.fileno()).st_size
        if size != entry["bytes"]:
            raise ValueError(f"{path} is damaged: it has {size} bytes, not {entry['bytes']}")
        dtype, shape, start = header(file, path)
        if dtype.str != entry["dtype"] or list(shape) != entry["shape"]:
            raise ValueError(f"{path} is damaged: it holds {dtype.str} {shape}, the manifest says otherwise")
        if start + dtype.itemsize * int(np.prod(shape, dtype=object)) != size:
            raise ValueError(f"{path} is damaged: its length is not that of its shape {shape}")
        if verify:
            file.seek(0)
            if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                raise ValueError(f"{path} is damaged: its sum is not the one that the manifest names")
        if 0 in shape:
            return np.empty(shape, dtype)
        # It is a plain array over the map: Numba does not know memory maps, and copies and pickles are then plain, too.
        return np.asarray(np.memmap(file, dtype, "r", start, shape))


def header(file: BinaryIO, path: Path) -> tuple[DType, tuple[int, ...], int]:
    """Type, shape and place of the first number."""
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("not version 1.0 of the format")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:
        # The reader evaluates a literal, which fails in many ways (SyntaxError, TypeError, MemoryError).
        raise ValueError(f"{path} is damaged: its .npy header is not valid ({one_line(str(error), 80)})") from None
    if fortran or dtype.str not in TYPES:
        raise ValueError(f"{path} holds {'columns' if fortran else dtype.str}, which are not read here")
    return dtype, shape, file.tell()
