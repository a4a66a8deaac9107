"""Folders of ``.npy`` files and one ``manifest.json``: written whole or not at all, believed only when checked.

A folder is what its manifest says. The manifest names every array's file, type, shape, length and SHA-256 sum, and
holds a sum of itself. It is written last, so a folder that has one is whole; whatever lies beside it and is not named
in it, is not read. Nothing in a folder is ever run: arrays are plain numbers (``allow_pickle=False``), the rest is
JSON.

Three writers share the format: saved models, steps that become parts of them, and the folders of runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

FORMAT = "tsne_ooc"
#: Raised when readers of the version before would misread a folder.
FORMAT_VERSION = 1
MANIFEST = "manifest.json"

# A manifest of a model has some 3 KB. What is a thousand times as long is none, and is not taken into memory.
_MOST_BYTES = 1 << 24
_PIECE = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*")
_FILE = re.compile(r"[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*\.npy")
_TYPES = {"|b1", "|i1", "|u1", *(f"<{kind}" for kind in ("i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"))}
_TOP = {
    "format": str, "format_version": int, "kind": str, "generation": int, "content": dict, "arrays": dict,
    "versions": dict, "sha256": str,
}  # fmt: skip
_ENTRY = {"file": str, "dtype": str, "shape": list, "bytes": int, "sha256": str}
# The folders that tests cut off in the middle of a write need steps that they can find.
_rename, _replace, _fsync = os.rename, os.replace, os.fsync


class Folder(NamedTuple):
    """What a folder holds.

    Parameters
    ----------
    content : dict
        As it was given to `write_folder`.
    arrays : dict of str to ndarray
        Read-only and memory-mapped: pages are read when they are touched.
    files : dict of str to Path
        The file of each array, for messages.
    """

    content: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    files: dict[str, Path]


def write_folder(
    path: str | os.PathLike[str],
    kind: str,
    content: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    *,
    overwrite: bool = False,
) -> None:
    """Write a folder, whole or not at all.

    A new folder is made under a temporary name beside `path` and renamed when all is on the disk. An existing one
    keeps its place: new files are written beside the old ones, the manifest is replaced in one step, and then the old
    files go. Killed at any moment, either leaves what was there before or what is there after.

    Parameters
    ----------
    path : path
        Must not exist, be an empty folder, or with `overwrite` a folder of this kind.
    kind : str
        What the folder is, such as "model"; readers ask for it.
    content : mapping
        Anything JSON can hold; numbers must be finite.
    arrays : mapping of str to ndarray
        Booleans, whole numbers or floats. Names of letters, digits, ``_``, ``-`` and ``.``; array x becomes the file
        ``x.npy``.
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
    _encode(content)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {target.parent} to write {target.name} in")
    old = _in_the_way(target, kind, overwrite)
    needed = sum(array.nbytes + 128 for array in plain.values()) + (1 << 16)
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise OSError(f"{target} needs {needed / 1e9:.2f} GB, and {target.parent} has {free / 1e9:.2f} GB left")
    if old is None:
        _write_new(target, kind, content, plain)
    else:
        _write_over(target, kind, content, plain, old)


def seal(
    folder: str | os.PathLike[str], kind: str, content: Mapping[str, Any], files: Mapping[str, str], generation: int = 1
) -> None:
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


def read_folder(path: str | os.PathLike[str], kind: str, *, verify: bool = True) -> Folder:
    """Read what `write_folder` wrote.

    Parameters
    ----------
    path : path
    kind : str
        What the folder must be.
    verify : bool, default True
        Compare the sums of the arrays' files too, which reads each once. Everything else is always checked.

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
    manifest = _read_manifest(folder)
    if manifest["kind"] != kind:
        raise ValueError(f"{folder / MANIFEST} is that of a {_short(manifest['kind'])}, not of a {kind!r}")
    arrays, files = {}, {}
    for name, entry in manifest["arrays"].items():
        files[name] = folder / entry["file"]
        arrays[name] = _map(folder, entry, verify)
    return Folder(manifest["content"], arrays, files)


def versions() -> dict[str, str]:
    """Of Python and the libraries that results depend on."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from . import __version__

    found = {"tsne_ooc": __version__, "python": platform.python_version()}
    for package in ("numpy", "scipy", "numba", "scikit-learn", "faiss-cpu", "pynndescent"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


# ------------------------------------------------------------------------------------------------------- writing


def _plain(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """The array as its file will hold it."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"array name {name!r} has other characters than letters, digits, '_', '-' and '.'")
    array = np.asarray(array)
    plain = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    if plain.dtype.str not in _TYPES:
        raise TypeError(f"array {name!r} has type {array.dtype}; booleans, whole numbers and floats can be written")
    return plain


def _in_the_way(target: Path, kind: str, overwrite: bool) -> dict[str, Any] | None:
    """The manifest of the folder to write over, None where there is room, or an error."""
    if not os.path.lexists(target):
        return None
    if not target.is_dir() or target.is_symlink():
        raise FileExistsError(f"{target} exists and is no folder; name another one")
    if not any(target.iterdir()):
        return None
    try:
        manifest = _checked_manifest(folder=target)
    except (OSError, ValueError):
        manifest = {}
    if manifest.get("kind") != kind:
        raise FileExistsError(f"{target} holds other files than those of a {kind}; name another folder, or remove it")
    if not overwrite:
        raise FileExistsError(f"{target} holds a {kind} already; pass overwrite=True to replace it")
    return manifest


def _write_new(target: Path, kind: str, content: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    with _told(target):
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
        try:
            entries = {name: _write_array(temporary / f"{name}.npy", array) for name, array in arrays.items()}
            _write_manifest(temporary, kind, content, entries, 1)
            # A temporary folder is its owner's alone; the finished one gets the rights that `mkdir` would give it.
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, 0o777 & ~mask)
            _rename(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync_folder(target.parent)


def _write_over(
    target: Path, kind: str, content: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], old: dict[str, Any]
) -> None:
    # Folders cannot be exchanged in one step on every system; a manifest can.
    generation = old["generation"] + 1
    files = {name: target / f"{name}.{generation}.npy" for name in arrays}
    with _told(target):
        try:
            entries = {name: _write_array(files[name], array) for name, array in arrays.items()}
            _write_manifest(target, kind, content, entries, generation)
        except BaseException:
            # An interrupt may come when the new manifest is in place already, and then these are its files.
            if _checked_manifest(target)["generation"] != generation:
                for file in files.values():
                    file.unlink(missing_ok=True)
            raise
        _sweep(target, {*old["arrays"], *arrays}, {file.name for file in files.values()})


def _sweep(target: Path, names: Iterable[str], keep: set[str]) -> None:
    """Remove files of older generations, those of saves that were killed too."""
    ours = re.compile(rf"({'|'.join(map(re.escape, names))})(\.[0-9]+)?\.npy")
    for file in target.iterdir():
        if file.name not in keep and ours.fullmatch(file.name):
            # Where an open file cannot be removed it stays; nothing refers to it.
            with contextlib.suppress(OSError):
                file.unlink()


def _write_array(path: Path, array: NDArray[Any]) -> dict[str, Any]:
    """Write a file and describe it: its sum is taken on the way."""
    path.unlink(missing_ok=True)
    with open(path, "xb") as file:
        summed = _Summed(file)
        header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
        np.lib.format.write_array_header_1_0(summed, header)
        flat = array.reshape(-1).view(np.uint8)
        for start in range(0, len(flat), _PIECE):
            summed.write(flat[start : start + _PIECE].data)
        file.flush()
        _fsync(file.fileno())
    return _entry(path, array.dtype, array.shape, summed.bytes, summed.sum.hexdigest())


class _Summed:
    """A file to write to, with the sum and number of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sum = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self.sum.update(data)
        self.bytes += len(data)


def _entry(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], size: int, digest: str) -> dict[str, Any]:
    return {"file": path.name, "dtype": dtype.str, "shape": list(shape), "bytes": size, "sha256": digest}


def _describe(path: Path) -> dict[str, Any]:
    if not _FILE.fullmatch(path.name):
        raise ValueError(f"{path} is no plain name of a .npy file")
    with open(path, "rb") as file:
        dtype, shape, _ = _header(file, path)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        _fsync(file.fileno())
        return _entry(path, dtype, shape, os.fstat(file.fileno()).st_size, digest)


def _write_manifest(
    folder: Path, kind: str, content: Mapping[str, Any], entries: Mapping[str, Any], generation: int
) -> None:
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "generation": generation,
        "content": content,
        "arrays": entries,
        "versions": versions(),
    }
    text = json.dumps({**manifest, "sha256": _sum(manifest)}, indent=2, allow_nan=False)
    if len(text) >= _MOST_BYTES:
        raise ValueError(f"the content of {folder.name} takes {len(text)} bytes as JSON; {_MOST_BYTES} are the most")
    # Files first: a manifest on the disk whose files are still on their way would promise too much.
    _sync_folder(folder)
    temporary = folder / f".{MANIFEST}.part"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        _fsync(file.fileno())
    _replace(temporary, folder / MANIFEST)
    _sync_folder(folder)


def _encode(content: Any) -> bytes:
    """The one text of a piece of JSON: sorted keys, no spaces, ASCII."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def _sum(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(_encode({key: value for key, value in manifest.items() if key != "sha256"})).hexdigest()


def _sync_folder(folder: Path) -> None:
    # Windows opens no folders, and writes their entries through.
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        _fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _told(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise type(error)(f"{target} could not be written: {error.strerror or error}") from error


# ------------------------------------------------------------------------------------------------------- reading


def _read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, its sum compared."""
    manifest = _checked_manifest(folder)
    if _sum(manifest) != manifest["sha256"]:
        raise ValueError(f"{folder / MANIFEST} is damaged: its sum is not the one it names")
    return manifest


def _checked_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, of the expected form."""
    path = folder / MANIFEST
    with _opened(folder, MANIFEST) as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ValueError(f"{path} is damaged: it is longer than {_MOST_BYTES} bytes")
    try:
        manifest: Any = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: it is no JSON ({_short(str(error), 120)})") from None
    _check_types(manifest, _TOP, f"{path}", later=True)
    for key in ("format_version", "generation"):
        if manifest[key] < 1:
            raise ValueError(f"{path} is damaged: {key!r} must be at least 1")
    for name, entry in manifest["arrays"].items():
        where = f"{path} is damaged: array {_short(name)}"
        if not _NAME.fullmatch(name):
            raise ValueError(f"{where} has no plain name")
        _check_types(entry, _ENTRY, where)
        if not _FILE.fullmatch(entry["file"]):
            raise ValueError(f"{where} is in {_short(entry['file'])}; a path in a manifest cannot point elsewhere")
        if entry["dtype"] not in _TYPES:
            raise ValueError(f"{where} has the unknown type {_short(entry['dtype'])}")
        if not all(type(length) is int and 0 <= length < 2**48 for length in entry["shape"]) or len(entry["shape"]) > 4:
            raise ValueError(f"{where} has no shape")
    found: dict[str, Any] = manifest
    return found


def _check_types(found: Any, types: Mapping[str, type], where: str, *, later: bool = False) -> None:
    """An error unless `found` is an object with exactly these keys and types."""
    if not isinstance(found, dict):
        raise ValueError(f"{where} is damaged: it is no object")
    if later:
        if found.get("format") != FORMAT:
            raise ValueError(f"{where} is not that of a folder of {FORMAT}")
        version = found.get("format_version")
        if type(version) is int and version > FORMAT_VERSION:
            raise ValueError(
                f"{where} has format {version}; this version reads up to {FORMAT_VERSION}, upgrade tsne_ooc"
            )
    for key, kind in types.items():
        if type(found.get(key)) is not kind:
            raise ValueError(f"{where} is damaged: {key!r} is missing or no {kind.__name__}")
    if len(found) > len(types):
        unknown = next(key for key in found if key not in types)
        raise ValueError(f"{where} is damaged: it has the unknown key {_short(unknown)}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no number")


@contextlib.contextmanager
def _opened(folder: Path, name: str) -> Iterator[BufferedReader]:
    """A file right in the folder; links may not lead out of it."""
    path = folder / name
    try:
        if path.is_symlink() and path.resolve().parent != folder.resolve():
            raise ValueError(f"{path} is a link that leads out of the folder")
        # A pipe or device in a file's place would be waited for.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError(f"{path} is no file")
        file = open(path, "rb")  # noqa: SIM115
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "is missing; the folder is not whole" if missing else f"cannot be read: {error.strerror or error}"
        raise type(error)(f"{path} {reason}") from None
    with file:
        yield file


def _map(folder: Path, entry: Mapping[str, Any], verify: bool) -> NDArray[Any]:
    path = folder / entry["file"]
    with _opened(folder, entry["file"]) as file:
        size = os.fstat(file.fileno()).st_size
        if size != entry["bytes"]:
            raise ValueError(f"{path} is damaged: it has {size} bytes, not {entry['bytes']}")
        dtype, shape, start = _header(file, path)
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
        # As a plain array over the map: Numba knows no other, and copies and pickles are then plain, too.
        return np.asarray(np.memmap(file, dtype, "r", start, shape))


def _header(file: BinaryIO, path: Path) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Type, shape and place of the first number."""
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("not version 1.0 of the format")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:
        # The reader evaluates a literal, which fails in many ways (SyntaxError, TypeError, MemoryError).
        raise ValueError(f"{path} is damaged: no header of a .npy file ({_short(str(error), 80)})") from None
    if fortran or dtype.str not in _TYPES:
        raise ValueError(f"{path} holds {'columns' if fortran else dtype.str}, which are not read here")
    return dtype, shape, file.tell()


def _short(text: Any, most: int = 60) -> str:
    """Text of unknown origin for a message of one line."""
    shown = repr(text) if most == 60 else " ".join(str(text).split())
    return shown if len(shown) <= most else shown[: most - 3] + "..."
