"""Data frames of Dask, which are written as Parquet for a while, and then read as any other files."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

from tsne_ooc._typing import Json
from tsne_ooc.io.optional import load

Options = ParamSpec("Options")

# Rows that options are tried on before all others are computed.
FIRST = 100


def frames_too(convert: Callable[Options, Json]) -> Callable[Options, Json]:
    """Let a function of files take a data frame of Dask: its partitions are the files."""

    @wraps(convert)
    def either(*given: Options.args, **options: Options.kwargs) -> Json:
        found: Json = {**dict(zip(("inputs", "out"), given, strict=False)), **options}
        frame: Any = found.get("inputs")
        if not _is_frame(frame) or "out" not in found:
            return convert(*given, **options)
        of_files: Callable[..., Json] = convert
        load("pyarrow", "parquet", "writing a data frame of Dask")
        with _folder_beside(Path(found["out"])) as folder:
            _try(of_files, frame, folder, found)
            # In one graph: partitions may share what they are computed from.
            frame.to_parquet(folder / "frame", write_index=False)
            return of_files(**{**found, "inputs": folder / "frame"})

    return either


@contextmanager
def _folder_beside(out: Path) -> Iterator[Path]:
    """A folder for files that are not kept; its name, which those of lost rows begin with, is the same each time."""
    parent = out.absolute().parent
    if os.path.lexists(out):
        raise FileExistsError(f"{out} exists already; name a new folder")
    if not parent.is_dir():
        raise FileNotFoundError(f"there is no folder {parent} to write {out.name} in")
    folder = parent / f"{out.name}.partitions"
    try:
        folder.mkdir()
    except FileExistsError:
        raise FileExistsError(f"{folder} is where partitions are kept meanwhile, and exists; remove it") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _try(convert: Callable[..., Json], frame: Any, folder: Path, options: Json) -> None:
    """Raise for options that do not fit the first rows, before all are computed."""
    first = frame.partitions[0].compute()[:FIRST]
    if len(first):
        first.to_parquet(folder / "first.parquet", index=False)
        with warnings.catch_warnings():
            # They come again, about all rows.
            warnings.simplefilter("ignore")
            tried = {"inputs": folder / "first.parquet", "out": folder / "tried", "progress": None}
            convert(**{**options, **tried})


def _is_frame(inputs: Any) -> bool:
    return hasattr(inputs, "to_parquet") and hasattr(inputs, "npartitions") and hasattr(inputs, "columns")
