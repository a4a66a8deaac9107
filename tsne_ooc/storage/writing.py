"""Writing a folder: at any moment it holds what was there before, or all that is new."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tsne_ooc._typing import Array, DType, Json, Named, StrPath
from tsne_ooc.storage.atomic import whole_file, whole_folder
from tsne_ooc.storage.disk import check_room, sync_folder
from tsne_ooc.storage.lock import Lock
from tsne_ooc.storage.manifest import (
    FILE,
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    MOST_AXES,
    MOST_BYTES,
    NAME,
    TYPES,
    canonical,
    checked_manifest,
    sum_of,
    versions,
)
from tsne_ooc.storage.mapped import forget
from tsne_ooc.storage.reading import header

_PIECE = 1 << 20


def write_folder(
    path: StrPath,
    kind: str,
    content: Named,
    arrays: Mapping[str, Array],
    *,
    files: Mapping[str, bytes] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a folder, whole or not at all.

    A new folder is made under a temporary name beside `path` and renamed when all is on the disk. An existing one
    keeps its place: new files are written beside the old ones, the manifest is replaced in one step, and then the old
    files go. Killed at any moment, either leaves what was there before or what is there after.

    Parameters
    ----------
    path : path
        It must not exist, or be an empty folder, or with `overwrite` a folder of this kind.
    kind : str
        What the folder is, such as "model"; readers name it.
    content : mapping
        Anything that JSON can hold; numbers must be finite.
    arrays : mapping of str to ndarray
        Booleans, whole numbers or floats. Names of letters, digits, ``_``, ``-`` and ``.``; array x becomes the file
        ``x.npy``.
    files : mapping of str to bytes, optional
        Further files, whose names are from `named_by_content`; the content names them.
    overwrite : bool, default False

    Raises
    ------
    FileExistsError
        Where something is in the way.
    OSError
        Where the disk is full or may not be written.
    TypeError, ValueError
        For content or arrays that the format does not take.
    """
    target = Path(path)
    plain = {name: _plain(name, array) for name, array in arrays.items()}
    canonical(content)
    old = check_target(target, kind, overwrite=overwrite)
    files = files or {}
    needed = sum(array.nbytes + 128 for array in plain.values()) + sum(map(len, files.values())) + (1 << 16)
    check_room(target, needed)
    if old is None:
        _write_new(target, kind, content, plain, files)
    else:
        with Lock(target / ".lock", str(target)):
            # The check is made once more: somebody may have saved between that look and this lock.
            _write_over(target, kind, content, plain, files, check_target(target, kind, overwrite=overwrite) or old)


def seal(folder: StrPath, kind: str, content: Named, files: Mapping[str, str], generation: int = 1) -> None:
    """Write the manifest of a folder whose arrays lie there already, as a run that streams its map leaves them.

    Parameters
    ----------
    folder : path
    kind : str
    content : mapping
    files : mapping of str to str
        The ``.npy`` file of each array, by its name within the folder. Each is read once, for its sum.
    """
    folder = Path(folder)
    entries = {name: _describe(folder / file) for name, file in files.items()}
    _write_manifest(folder, kind, content, entries, generation)


def _plain(name: str, array: Array) -> Array:
    """The array as its file will hold it."""
    if not NAME.fullmatch(name):
        raise ValueError(f"array name {name!r} has other characters than letters, digits, '_', '-' and '.'")
    array = np.asarray(array)
    if array.ndim > MOST_AXES:
        raise ValueError(f"array {name!r} has {array.ndim} axes; {MOST_AXES} are the most")
    plain = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    if plain.dtype.str not in TYPES:
        raise TypeError(
            f"array {name!r} has type {array.dtype}; booleans, whole numbers, float32 and float64 can be written"
        )
    return plain


def check_target(path: StrPath, kind: str, *, overwrite: bool = False) -> Json | None:
    """The manifest of the folder that `write_folder` would write over, or None; raises what it would raise."""
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {target.parent} to write {target.name} in")
    if not os.path.lexists(target):
        return None
    if not target.is_dir() or target.is_symlink():
        raise FileExistsError(f"{target} exists and is not a folder; name another one")
    if not any(target.iterdir()):
        return None
    try:
        manifest = checked_manifest(folder=target)
    except (OSError, ValueError):
        manifest = {}
    if manifest.get("kind") != kind:
        raise FileExistsError(
            f"{target} holds other files than those of {_one(kind)}; name another folder, or remove it"
        )
    if not overwrite:
        raise FileExistsError(f"{target} holds {_one(kind)} already; pass overwrite=True to replace it")
    return manifest


def _one(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def named_by_content(name: str, data: bytes) -> tuple[str, str]:
    """The name of a further file ``stem.suffix`` with the beginning of its sum in it, and the sum (SHA-256)."""
    digest, (stem, suffix) = hashlib.sha256(data).hexdigest(), name.split(".")
    return f"{stem}.{digest[:16]}.{suffix}", digest


def _write_new(
    target: Path, kind: str, content: Named, arrays: Mapping[str, Array], files: Mapping[str, bytes]
) -> None:
    with _told(target), whole_folder(target) as temporary:
        entries = {name: _write_array(temporary / f"{name}.npy", array) for name, array in arrays.items()}
        for name, data in files.items():
            (temporary / name).write_bytes(data)
        _write_manifest(temporary, kind, content, entries, 1)


def _write_over(
    target: Path, kind: str, content: Named, arrays: Mapping[str, Array],
    further: Mapping[str, bytes], old: Json,
) -> None:  # fmt: skip
    # Folders cannot be exchanged in one step on every system; a manifest can.
    # An array "a" of generation 2 must not take the file of an array "a.2" that is read from until the end.
    taken = {entry["file"] for entry in old["arrays"].values()}
    generation = old["generation"] + 1
    while any(f"{name}.{generation}.npy" in taken for name in arrays):
        generation += 1
    files = {name: target / f"{name}.{generation}.npy" for name in arrays}
    # Further files that are there already have the same content, and the manifest that may stay names them.
    fresh = [*files.values(), *(target / name for name in further if not (target / name).exists())]
    with _told(target):
        try:
            entries = {name: _write_array(files[name], array) for name, array in arrays.items()}
            for name, data in further.items():
                with whole_file(target / name, part=target / f"{name}.part") as part:
                    part.write_bytes(data)
            _write_manifest(target, kind, content, entries, generation)
        except BaseException:
            # An interrupt may come when the new manifest is in place already; then these are its files.
            if checked_manifest(target)["generation"] != generation:
                for file in fresh:
                    file.unlink(missing_ok=True)
            raise
        _sweep(target, {*old["arrays"], *arrays}, further, {file.name for file in files.values()})


def _sweep(target: Path, names: Iterable[str], further: Iterable[str], keep: set[str]) -> None:
    """Remove files of older generations, also those of saves that were killed."""
    ours = [rf"({'|'.join(map(re.escape, names))})(\.[0-9]+)?\.npy"]
    for name in further:
        stem, _, suffix = name.split(".")
        ours.append(rf"{re.escape(stem)}\.[0-9a-f]{{16}}\.{re.escape(suffix)}(\.part)?")
    for file in target.iterdir():
        if file.name not in {*keep, *further} and any(re.fullmatch(pattern, file.name) for pattern in ours):
            # Where an open file cannot be removed it stays; nothing refers to it.
            with contextlib.suppress(OSError):
                file.unlink()


def _write_array(path: Path, array: Array) -> Json:
    """Write a file and describe it; its sum is taken on the way."""
    path.unlink(missing_ok=True)
    with open(path, "xb") as file:
        summed = _Summed(file)
        described = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
        np.lib.format.write_array_header_1_0(summed, described)
        flat = array.reshape(-1).view(np.uint8)
        for start in range(0, len(flat), _PIECE):
            summed.write((some := flat[start : start + _PIECE]).data)
            forget(some)
        file.flush()
        os.fsync(file.fileno())
    return _entry(path, array.dtype, array.shape, summed.bytes, summed.sum.hexdigest())


class _Summed:
    """A file to write to, with the sum and number of the bytes that were written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sum = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self.sum.update(data)
        self.bytes += len(data)


def _entry(path: Path, dtype: DType, shape: tuple[int, ...], size: int, digest: str) -> Json:
    return {"file": path.name, "dtype": dtype.str, "shape": list(shape), "bytes": size, "sha256": digest}


def _describe(path: Path) -> Json:
    if not FILE.fullmatch(path.name):
        raise ValueError(f"{path} is not a plain name of a .npy file")
    with open(path, "rb") as file:
        dtype, shape, _ = header(file, path)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
        return _entry(path, dtype, shape, os.fstat(file.fileno()).st_size, digest)


def _write_manifest(folder: Path, kind: str, content: Named, entries: Named, generation: int) -> None:
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "generation": generation,
        "content": content,
        "arrays": entries,
        "versions": versions(),
    }
    text = json.dumps({**manifest, "sha256": sum_of(manifest)}, indent=2, allow_nan=False)
    if len(text) >= MOST_BYTES:
        raise ValueError(f"the content of {folder.name} takes {len(text)} bytes as JSON; {MOST_BYTES} are the most")
    # Files come first: a manifest on the disk whose files are still on their way would promise too much.
    sync_folder(folder)
    with whole_file(folder / MANIFEST, part=folder / f".{MANIFEST}.part") as part:
        part.write_text(text + "\n", encoding="utf-8")


@contextlib.contextmanager
def _told(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise type(error)(f"{target} could not be written: {error.strerror or error}") from error
