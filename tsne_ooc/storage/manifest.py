"""The manifest of a folder: its form, its sum, and how to read one that cannot be trusted."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import stat
from collections.abc import Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

from tsne_ooc._options import shown
from tsne_ooc._typing import Json, Named, StrPath

FORMAT = "tsne_ooc"
#: It is raised when readers of the version before would misread a folder.
FORMAT_VERSION = 1
MANIFEST = "manifest.json"

# A manifest of a model has some 3 KB. A file thousands of times as long is not one, and is not taken into memory.
MOST_BYTES = 1 << 24
MOST_AXES = 4
NAME = re.compile(r"[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*")
FILE = re.compile(r"[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*\.npy")
TYPES = {"|b1", "|i1", "|u1", *(f"<{kind}" for kind in ("i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"))}
TOP = {
    "format": str, "format_version": int, "kind": str, "generation": int, "content": dict, "arrays": dict,
    "versions": dict, "sha256": str,
}  # fmt: skip
ENTRY = {"file": str, "dtype": str, "shape": list, "bytes": int, "sha256": str}


def canonical(content: Any) -> bytes:
    """The one text of a piece of JSON: sorted keys, no spaces, ASCII."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def sum_of(manifest: Named) -> str:
    return hashlib.sha256(canonical({key: value for key, value in manifest.items() if key != "sha256"})).hexdigest()


def digest_of(folder: Path) -> str:
    """What tells a folder from another: the sum of its manifest, which holds those of its files."""
    return str(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["sha256"])


def read_manifest(folder: Path) -> Json:
    """The manifest, after a comparison of its sum."""
    manifest = checked_manifest(folder)
    if sum_of(manifest) != manifest["sha256"]:
        raise ValueError(f"{folder / MANIFEST} is damaged: its sum is not the one it names")
    return manifest


def kind_of(folder: StrPath) -> str:
    """What a folder is, such as "model".

    Raises
    ------
    FileNotFoundError
        Where there is no such folder, or no manifest in it.
    ValueError
        Where the manifest is damaged.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    return str(read_manifest(Path(folder))["kind"])


def checked_manifest(folder: Path) -> Json:
    """The manifest, after a check of its form."""
    path = folder / MANIFEST
    with open_file(folder, MANIFEST) as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"{path} is damaged: it is longer than {MOST_BYTES} bytes")
    try:
        manifest: Any = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: it is not JSON ({one_line(str(error), 120)})") from None
    _check_types(manifest, TOP, f"{path}", later=True)
    for key in ("format_version", "generation"):
        if manifest[key] < 1:
            raise ValueError(f"{path} is damaged: {key!r} must be at least 1")
    for name, entry in manifest["arrays"].items():
        where = f"{path} is damaged: array {shown(name)}"
        if not NAME.fullmatch(name):
            raise ValueError(f"{where} has no plain name")
        _check_types(entry, ENTRY, where)
        if not FILE.fullmatch(entry["file"]):
            raise ValueError(f"{where} is in {shown(entry['file'])}; a path in a manifest cannot point elsewhere")
        if entry["dtype"] not in TYPES:
            raise ValueError(f"{where} has the unknown type {shown(entry['dtype'])}")
        if (
            not all(type(length) is int and 0 <= length < 2**48 for length in entry["shape"])
            or len(entry["shape"]) > MOST_AXES
        ):
            raise ValueError(f"{where} has no shape")
    found: Json = manifest
    return found


def _check_types(found: Any, types: Mapping[str, type], where: str, *, later: bool = False) -> None:
    """Raise ValueError unless `found` is an object with exactly these keys and types."""
    if not isinstance(found, dict):
        raise ValueError(f"{where} is damaged: it is not an object")
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
            raise ValueError(f"{where} is damaged: {key!r} is missing or not of type {kind.__name__}")
    if len(found) > len(types):
        unknown = next(key for key in found if key not in types)
        raise ValueError(f"{where} is damaged: it has the unknown key {shown(unknown)}")


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not a number")


@contextlib.contextmanager
def open_file(folder: Path, name: str) -> Iterator[BufferedReader]:
    """A file right in the folder; links may not lead out of it."""
    path = folder / name
    try:
        if path.is_symlink() and path.resolve().parent != folder.resolve():
            raise ValueError(f"{path} is a link that leads out of the folder")
        # Opening a pipe or device in a file's place would wait.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError(f"{path} is not a file")
        file = open(path, "rb")  # noqa: SIM115
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "is missing; the folder is not whole" if missing else f"cannot be read: {error.strerror or error}"
        raise type(error)(f"{path} {reason}") from None
    with file:
        yield file


def one_line(text: str, most: int) -> str:
    """Text of unknown origin for a message of one line."""
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 3] + "..."


def versions() -> dict[str, str]:
    """The versions of Python and of the libraries that results depend on."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from tsne_ooc import __version__

    found = {"tsne_ooc": __version__, "python": platform.python_version()}
    for package in ("numpy", "scipy", "numba", "scikit-learn", "faiss-cpu", "pynndescent"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
