"""`export`: the format that a name asks for, and whether it may be written."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from tsne_ooc._options import unknown
from tsne_ooc._typing import Json, StrPath
from tsne_ooc.export.content import Content
from tsne_ooc.export.h5ad import to_h5ad
from tsne_ooc.export.tables import to_csv, to_hdf5, to_parquet, to_zarr
from tsne_ooc.io.optional import load
from tsne_ooc.pipeline import open_run
from tsne_ooc.storage.disk import check_regular, check_room
from tsne_ooc.storage.lock import Lock

_TABLES: dict[str, Callable[[Content, Path], None]] = {
    ".h5": to_hdf5,
    ".hdf5": to_hdf5,
    ".zarr": to_zarr,
    ".parquet": to_parquet,
    ".csv": to_csv,
}
#: Endings of file names, which choose the format.
FORMATS = (*_TABLES, ".h5ad")
# Package and extra, for formats that need one.
_NEEDS = {".zarr": ("zarr", "zarr"), ".parquet": ("pyarrow", "parquet")}
_SLACK = 1 << 20
# A number of nine digits, with sign, point, exponent and comma.
_CSV_NUMBER = 16


def export(
    folder: StrPath,
    to: StrPath,
    *,
    like: StrPath | None = None,
    dataset: str = "X_tsne",
    overwrite: bool = False,
) -> Path:
    """Write the map of a finished run in the format of another tool.

    Row i of the map is row i of the table that it was made from. Blocks of rows are copied, so memory does not grow
    with the map. A file that is there is replaced in one step once the new one is whole, and stays as it was after any
    error.

    Parameters
    ----------
    folder : path
        The folder that `tsne_ooc.embed` wrote.
    to : path
        Its ending chooses the format:

        - ``.h5``, ``.hdf5``: datasets ``embedding`` (n, d), ``sampled`` (n,) and, where the run has them, ``novelty``
          and the scores ``recall``, ``singularity`` and ``perturbation`` (n,)
        - ``.zarr``: a group of arrays of these names
        - ``.parquet``, ``.csv``: columns tsne1, tsne2, ..., novelty, recall, ..., sampled
        - ``.h5ad``: an existing AnnData file gets ``obsm["X_tsne"]``, ``obs["tsne_novelty"]`` and, where there are
          scores, ``obs["tsne_recall"]`` and so on; everything else in it stays. It must have as many rows as the map
    like : path, optional
        With ``.h5ad``: the AnnData file of which `to` becomes a copy, with the map.
    dataset : str
        With ``.h5ad``: name within ``obsm``; the columns of ``obs`` are named after it.
    overwrite : bool
        Replace `to`, or the map within an ``.h5ad`` file.

    Returns
    -------
    Path
        `to`.

    Raises
    ------
    ValueError
        For an ending that is not known, and for an AnnData file that does not fit the map.
    OSError
        Where there is no finished run, where `to` exists (without `overwrite`) or cannot be written, where the disk
        has too little room.
    ModuleNotFoundError
        Where a package for the format is missing, with the command that installs it.

    Warns
    -----
    UserWarning
        Where the map was not made from the AnnData file.

    Examples
    --------
    >>> export("map", "cells.h5ad")  # doctest: +SKIP
    """
    return _written(lambda: Content.of(open_run(folder)), to, like, dataset, overwrite)


def export_per_file(folder: StrPath, to: StrPath, *, overwrite: bool = False) -> list[Path]:
    """Write the map of a table of many files as one file for each of them.

    Parameters
    ----------
    folder : path
        What `tsne_ooc.embed` or `place` wrote of many files.
    to : path
        Its ending chooses the format, as for `export`; the name of each file comes before it: ``maps/map.parquet``
        makes ``maps/map-plate1.parquet`` of ``plate1.h5``, and ``maps/map-1-x.parquet`` of the second file where two
        are called ``x``. ``.h5ad`` makes copies of the AnnData files with the map in them.
    overwrite : bool

    Returns
    -------
    list of Path
        In the order of the files.

    Raises
    ------
    ValueError
        For a run of a single table, and as `export` does.
    OSError
        As `export` does; what was written before stays.
    """
    run = open_run(folder)
    files, to = run.manifest.get("files"), Path(to)
    if not files:
        raise ValueError(f"{folder} was made from a single table, not from many files; leave --per-file out")
    if run.manifest.get("job", {}).get("request", {}).get("rows") is not None:
        raise ValueError(f"{folder} is a part of a table; merge all parts first (tsne-ooc merge)")
    names = [Path(file["path"]).stem for file in files]
    called = [name if names.count(name) == 1 else f"{number}-{name}" for number, name in enumerate(names)]
    whole = Content.of(run)
    wrote = []
    for file, name in zip(files, called, strict=True):
        like = file["path"] if to.suffix.lower() == ".h5ad" else None
        part = to.with_name(f"{to.stem}-{name}{to.suffix}")
        content = partial(whole.part, file["start"], file["stop"])
        wrote.append(_written(content, part, like, "X_tsne", overwrite))
    return wrote


def _written(made: Callable[[], Content], to: StrPath, like: StrPath | None, dataset: str, overwrite: bool) -> Path:
    to = Path(to)
    suffix = to.suffix.lower()
    if suffix not in FORMATS:
        raise unknown("to", to.name, (f"*{ending}" for ending in FORMATS))
    if suffix != ".h5ad" and (like is not None or dataset != "X_tsne"):
        raise TypeError(f"like and dataset are for .h5ad files; {to.name} takes neither")
    if suffix in _NEEDS:
        load(*_NEEDS[suffix], to.name)
    content = made()
    # A link stays a link, and its target is replaced.
    target = to.resolve()
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {target.parent} to write {target.name} in")
    # The lock holds from the first look at what is there to the last step: of two exports at a time one would be lost.
    with Lock(target.with_name(f".{target.name}.lock"), str(to)):
        if suffix == ".h5ad":
            base = _base(to, None if like is None else Path(like), dataset, overwrite)
            to_h5ad(content, target, base, dataset, overwrite=overwrite)
            return to
        if to.exists():
            if not overwrite:
                raise FileExistsError(f"{to} exists already; pass overwrite=True (--overwrite) to replace it")
            _check_replaceable(to, suffix)
            _check_no_table(target, content.manifest)
        width = _CSV_NUMBER * (content.axes + len(content.numbers) + 1) if suffix == ".csv" else content.row_bytes
        check_room(target, content.n * width + _SLACK)
        _TABLES[suffix](content, target)
    return to


def _base(to: Path, like: Path | None, dataset: str, overwrite: bool) -> Path:
    """The AnnData file that the map goes into."""
    if not dataset or "/" in dataset:
        raise ValueError(f"dataset={dataset!r} is not a name within obsm, such as 'X_tsne'")
    if like is not None:
        if not like.is_file():
            raise FileNotFoundError(f"there is no file {like} to copy")
        if to.exists() and not overwrite and like.resolve() != to.resolve():
            raise FileExistsError(f"{to} exists already; leave out like, or pass overwrite=True (--overwrite)")
        return like.resolve()
    check_regular(to)
    if to.is_dir():
        raise IsADirectoryError(f"{to} is a folder, not an AnnData file")
    if not to.exists():
        raise FileNotFoundError(
            f"there is no file {to} to add the map to; give like=, the AnnData file that it should be a copy of"
        )
    return to.resolve()


def _check_no_table(target: Path, manifest: Json) -> None:
    """Raise where a map would replace the table that it was made from, or a folder that holds the table."""
    whole = manifest.get("job", {}).get("source", {}).get("path")
    for told in [file["path"] for file in manifest.get("files", [])] or ([] if whole is None else [whole]):
        if target not in (table := Path(told).resolve(), *table.parents):
            continue
        raise FileExistsError(f"{target} is the table that the map was made from, or holds it; name another file")


def _check_replaceable(to: Path, suffix: str) -> None:
    """Raise for what must not be replaced: a mistaken name must not cost a folder of other things."""
    if suffix == ".zarr":
        if not to.is_dir() or not any((to / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray")):
            raise FileExistsError(f"{to} exists and is not a Zarr group; name another")
    elif to.is_dir():
        raise IsADirectoryError(f"{to} is a folder; name a file")
