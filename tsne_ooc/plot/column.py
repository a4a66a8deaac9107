"""The column that a map is coloured by, found by its name in the run, in the table of the map, or in a file."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tsne_ooc._cells import cells_of_lines
from tsne_ooc._context import warn
from tsne_ooc._options import counted
from tsne_ooc._typing import Array, StrPath
from tsne_ooc.convert.pieces import delimiter_of
from tsne_ooc.io import names_of, open_source
from tsne_ooc.io.columns import listed
from tsne_ooc.io.files import are_files
from tsne_ooc.io.urls import AnyPath, path_of
from tsne_ooc.pipeline import Run
from tsne_ooc.pipeline.trusting import SCORES
from tsne_ooc.plot.npy import reading_npy
from tsne_ooc.sampling import labels_of

#: Columns that a run itself has.
OF_THE_RUN = ("novelty", "sampled")
# Beyond this quantile all have one colour: the largest may be a million times the median, or infinite.
_UPPER = 0.99
# Files of one column, or of several with names in the first line; and what separates their cells.
_TEXTS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
#: Files that may be a column themselves, so that no name is needed.
ALONE = (".npy", *_TEXTS)


def column_of(name: str, n: int, run: Run | None = None, data: StrPath | None = None) -> Array:
    """Find one label or number for each row of a map.

    Parameters
    ----------
    name : str
        ``"novelty"`` or ``"sampled"``, which a run has itself; ``"recall"``, ``"singularity"`` (up to its quantile of
        .99) or ``"perturbation"`` of a run whose rows are scored (`tsne_ooc.pipeline.trust`); a ``.npy``, ``.csv``,
        ``.tsv`` or ``.txt`` file with one column; or a column of `data`: a dataset of HDF5, a column of ``obs``, a
        gene, a column of Parquet.
    n : int
        The number of rows of the map.
    run : Run, optional
        The run whose table is read where `data` is not given.
    data : path, optional
        Another file, with the same rows.

    Raises
    ------
    OSError
        Where a file does not exist or cannot be read.
    ValueError
        Where there is no such column (the message has the nearest names), or it has another length.
    """
    if run is not None and name in OF_THE_RUN and data is None:
        return _of_the_run(name, run)
    if run is not None and name in SCORES and data is None:
        return _scored(name, n, run)
    return _elsewhere(name, n, run, data)


def _elsewhere(name: str, n: int, run: Run | None, data: StrPath | None) -> Array:
    """A column that the run does not have itself."""
    if data is None and Path(name).suffix.lower() not in ALONE:
        if run is None:
            raise ValueError(f"the map has no table to find {name!r} in; say in which file it is with data= (--data)")
        data = run.manifest.get("job", {}).get("source", {}).get("path")
        if data is None:
            raise ValueError(
                f"{run.folder} was not made from a file, where {name!r} could be; say in which with data= (--data)"
            )
        if not path_of(data).exists():
            raise FileNotFoundError(
                f"the table {data}, which the map was made from and which may have {name!r}, is not there any more; "
                "say where it is with data= (--data)"
            )
    return given_for(name, n, data)


def given_for(name: str, n: int, data: StrPath | Sequence[StrPath] | None) -> Array:
    """Do as `column_of` does, where `name` is a file of one column, or else a column of the file `data`."""
    if data is None or (Path(name).suffix.lower() in ALONE and Path(name).is_file()):
        return _as_long(column_of_file(Path(name), n), n, name)
    return _as_long(column_in(data, name), n, f"{name!r} of {data}")


def column_in(data: StrPath | Sequence[StrPath], name: str) -> Array:
    """A column of a file: of its labels, or else of the numbers of its table; for many files only of labels.

    Raises
    ------
    OSError, ValueError
        As `column_of` raises them.
    """
    if not isinstance(data, str | os.PathLike) or are_files(data):
        return labels_of(data, name)
    path = path_of(data)
    if path.suffix.lower() in _TEXTS and isinstance(path, Path):
        return _of_text(path, name)
    try:
        return labels_of(path, None if path.suffix.lower() == ".npy" else name)
    except ValueError as error:
        # The name may be a gene, or another column of numbers, which is not among the labels.
        found = _of_a_table(path, name, error)
        if found is None:
            raise
        return found


def _of_the_run(name: str, run: Run) -> Array:
    if name == "novelty":
        if run.novelty is None:
            raise ValueError(f"{run.folder} has no novelty; an encoder's rows have it with tsne-ooc place --novelty")
        return run.novelty
    if run.sample_rows is None:
        raise ValueError(f"{run.folder} did not fit any rows: all were placed on a saved map")
    found = np.full(len(run.embedding), "placed", object)
    found[run.sample_rows] = "fitted"
    return found


def _scored(name: str, n: int, run: Run) -> Array:
    """A score; where there are none, a column of the table may have this name."""
    if (found := run.trust) is None:
        try:
            return _elsewhere(name, n, run, None)
        except (ValueError, OSError) as error:
            raise type(error)(f"{error}; the rows of a run have a {name} after tsne-ooc trust {run.folder}") from None
    if name not in found:
        raise ValueError(
            f"{run.folder} has no {name}: its rows are sparse, lack values or are distances, and cannot be moved"
        )
    if name != "singularity":
        return found[name]
    some = np.asarray(found[name][:: max(1, n >> 19)], np.float64)
    some = some[~np.isnan(some)]
    upper = np.quantile(some, _UPPER, method="lower") if len(some) else np.inf
    return np.minimum(found[name], np.float32(upper))


def _as_long(column: Array, n: int, what: str) -> Array:
    if len(column) != n:
        raise ValueError(f"{what} has {counted(len(column), 'rows')}, and the map {n:,}")
    return column


def column_of_file(path: Path, n: int | None = None) -> Array:
    """The only column of a file, for `n` rows: in text the first line may be its name."""
    if path.suffix.lower() != ".npy":
        return _alone(path, n)
    with reading_npy(path):
        found: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    if found.ndim != 1:
        raise ValueError(f"{path} has shape {found.shape}; labels are one for each row")
    return found


def _lines_of(path: Path, *, several: bool) -> list[list[str]]:
    """The cells of a file of text, of one column or `several`, line by line, without empty lines."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    delimiter = _TEXTS[path.suffix.lower()]
    with open(path, encoding="utf-8-sig", newline="", errors="replace") as file:
        if several and delimiter == ",":
            delimiter = delimiter_of(path, file.readline())
            file.seek(0)
        lines = cells_of_lines(file, delimiter)
    if not lines:
        raise ValueError(f"{path} is empty")
    return lines


def _alone(path: Path, n: int | None) -> Array:
    """The only column of a file of text, whose first line may be a name."""
    lines = _lines_of(path, several=False)
    if len(lines[0]) > 1:
        raise ValueError(
            f"{path} has {len(lines[0])} columns; say which with its name, and data= (plot, view and report: --data) "
            f"{path}"
        )
    cells = [line[0] for line in lines]
    first, others = cells[0], cells[1:]
    numbers = _numbers(others)
    if numbers is not None and _numbers([first, "0"]) is None:
        # A word above numbers is a name, but not one for a missing number; a word above words may be one of them.
        return numbers
    if n is None or len(others) != n:
        return _typed(cells)
    if numbers is None and first not in others:
        warn(
            f"the first line of {path}, {first!r}, is taken for the name of the column: the others are a label for "
            f"each of {counted(n, 'rows')}",
        )
        return _typed(others)
    raise ValueError(
        f"{path} has {counted(len(cells), 'lines')}, one more than there are rows; if the first, {first!r}, is a name, "
        "remove it"
    )


def _of_text(path: Path, name: str) -> Array:
    """A column of a file of text, by its name in the first line."""
    lines = _lines_of(path, several=True)
    first = lines[0]
    if name not in first:
        near = difflib.get_close_matches(name, first, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"{path} has no column {name!r}; {hint}it has {listed(first)}")
    at = first.index(name)
    for row, line in enumerate(lines[1:]):
        if len(line) <= at:
            there = counted(len(line), "cells")
            raise ValueError(f"{path} has {there} in row {row}, and column {name!r} is number {at + 1}")
    return _typed([line[at] for line in lines[1:]])


def _typed(cells: list[str]) -> Array:
    """Cells as numbers where all are numbers, else as words; an empty cell is a missing one."""
    numbers = _numbers(cells)
    if numbers is not None:
        return numbers
    words = np.empty(len(cells), object)
    words[:] = [cell or None for cell in cells]
    return words


def _numbers(cells: list[str]) -> Array | None:
    try:
        found = np.array([float(cell) if cell.strip() else np.nan for cell in cells])
    except ValueError:
        return None
    return None if np.isnan(found).all() else found


def _of_a_table(path: AnyPath, name: str, error: ValueError) -> Array | None:
    """A column of a table with names, such as a gene of ``X``, read block by block; None where there is none."""
    for dataset in ("X", None):
        try:
            names = _names_of(path, dataset)
        except (ValueError, TypeError, OSError, ImportError):
            continue
        if names is None:
            continue
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
            if near:
                raise ValueError(f"{error}; of the columns of its table {near[0]!r} is nearest") from None
            continue
        table: Any = open_source(path, dataset=dataset)
        try:
            at = names.index(name)
            found = np.empty(table.shape[0], np.float32)
            rows = max(1, (1 << 25) // max(1, 4 * table.shape[1]))
            for start in range(0, len(found), rows):
                stop = min(start + rows, len(found))
                block = table.read(start, stop)
                part = block[:, [at]]
                found[start:stop] = (part.toarray() if hasattr(part, "toarray") else np.asarray(part)).ravel()
            return found
        finally:
            if hasattr(table, "close"):
                table.close()
    return None


def _names_of(path: AnyPath, dataset: str | None) -> list[str] | None:
    table = open_source(path, dataset=dataset)
    try:
        return names_of(table)
    finally:
        if hasattr(table, "close"):
            table.close()
