"""What a file or folder holds, told by its first bytes; the name helps only where these say nothing."""

from __future__ import annotations

import os
import re
import shlex
import zipfile
from pathlib import Path

from tsne_ooc.io.parts import METADATA, SUFFIXES, parts_of
from tsne_ooc.io.urls import AnyPath, Url
from tsne_ooc.storage.disk import check_regular

READ = "HDF5 (also .h5ad), .npy, Zarr and Parquet are read"

_SUFFIXES = {
    ".npy": "npy",
    **dict.fromkeys((".h5", ".hdf5", ".hdf", ".he5", ".h5ad", ".loom"), "hdf5"),
    ".zarr": "zarr",
    **dict.fromkeys(SUFFIXES, "parquet"),
}
# What to do with tables that cannot be read in place.
_OTHERS = {
    **dict.fromkeys(
        (".csv", ".tsv", ".txt", ".gz"),
        "rows of text cannot be found without reading all of it; write it as a table first: "
        "tsne-ooc prepare PATH --out FOLDER",
    ),
    **dict.fromkeys((".jsonl", ".ndjson"), "write it as a table first: tsne-ooc prepare PATH --out FOLDER"),
    ".npz": "an archive cannot be read in place; write its table as .npy first: "
    "numpy.save('table.npy', numpy.load(path)[name])",
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), "a pickle may run any program; load it and pass the table"),
    **dict.fromkeys((".feather", ".arrow"), "write it as Parquet first, such as with pyarrow"),
    ".mat": "save it from MATLAB in its newer format: save('table.mat', 'X', '-v7.3')",
    ".nc": "it is netCDF of a version before 4; write it anew, such as with nccopy -k nc4 old.nc new.nc",
    ".mtx": "write it as .h5ad first, such as with anndata",
}


def format_of(path: AnyPath) -> str:
    """One of "hdf5", "npy", "zarr" and "parquet".

    Raises
    ------
    OSError
        Where there is no file, it may not be read, or it is none of these; the message says what to do, where that is
        known.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if path.is_dir():
        return _kind_of_folder(path)
    if isinstance(path, Path):
        check_regular(path)
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except PermissionError:
        raise PermissionError(f"{path} may not be read (permission denied)") from None
    if start == b"\x89HDF\r\n\x1a\n":
        return "hdf5"
    if start[:6] == b"\x93NUMPY":
        return "npy"
    if start[:4] == b"PAR1":
        return "parquet"
    if start[:4] == b"PK\x03\x04":
        if isinstance(path, Url):
            raise OSError(f"{path} is a zip archive, which is read from a disk alone; download it, or unpack it there")
        if _zip_of_zarr(path):
            return "zarr"
    suffix = path.suffix.lower()
    if start[:4] == b"PK\x03\x04" and suffix not in _OTHERS:
        raise OSError(f"{path} is a zip archive that holds no Zarr table; {READ}")
    if suffix in _SUFFIXES:
        # It is damaged, or its signature comes later; whoever opens it says what is wrong.
        return _SUFFIXES[suffix]
    if _late_hdf5(path):
        return "hdf5"
    if suffix in _OTHERS:
        names = {"PATH": str(path), "FOLDER": f"{path.name.partition('.')[0]}-table"}
        told = re.sub("PATH|FOLDER", lambda word: shlex.quote(names[word[0]]), _OTHERS[suffix])
        raise OSError(f"{path} is not a table that can be read by rows: {told}")
    raise OSError(f"{path} is not a table that can be read; {READ}")


def _kind_of_folder(path: AnyPath) -> str:
    if any((path / name).exists() if isinstance(path, Url) else (path / name).is_file() for name in METADATA):
        return "zarr"
    if parts_of(path).files:
        return "parquet"
    if path.suffix.lower() == ".zarr":
        return "zarr"
    names = sorted(entry.name for entry in path.iterdir())
    have = f"it has {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else "it is empty"
    tables = [name for name in names if Path(name).suffix.lower() in _SUFFIXES]
    name = f"; name them as '{path}/*{Path(tables[0]).suffix}'" if tables else ""
    raise IsADirectoryError(f"{path} is a folder that is neither a Zarr table nor holds .parquet files; {have}{name}")


def _zip_of_zarr(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.rsplit("/", 1)[-1] in METADATA for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _late_hdf5(path: AnyPath) -> bool:
    """Whether the signature of HDF5 comes behind a user block, at 512, 1024, 2048 bytes and so on."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        at = 512
        while at < size and at <= 1 << 20:
            file.seek(at)
            if file.read(8) == b"\x89HDF\r\n\x1a\n":
                return True
            at *= 2
    return False
