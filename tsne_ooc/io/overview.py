"""A look at a table before a run: what its file holds, what would be read, its first rows, a guess at options."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tsne_ooc._options import counted
from tsne_ooc._typing import Array, Float64, Json, TableLike
from tsne_ooc._validate import as_rows
from tsne_ooc.io import Source, names_of, open_source
from tsne_ooc.io.columns import listed
from tsne_ooc.io.failures import opening, reading
from tsne_ooc.io.holdings import Holding, holdings_of
from tsne_ooc.io.told import account_of, in_words
from tsne_ooc.io.urls import path_of

# Rows are looked at in so many places, from the first row to the last; in fewer where a place costs much to read.
_PLACES, _FEW_PLACES, _LARGE = 10, 3, 64 << 20
# Cells looked at in all: 32 MB as float64, read in a moment.
_CELLS = 4_000_000
_MOST_ROWS = 100
# How many of the first rows and columns are shown.
ROWS, COLUMNS = 5, 8
# The most lines that list what a file holds.
_LINES = 30

# The rest are bounds for guesses. A column whose float32 numbers are so far apart, in deviations, has few digits left.
_FEW_DIGITS = 0.01
# Where columns differ so much in spread, the widest ones alone would make the map.
_SPREADS = 10
# Beyond it the digits of a ratio say nothing.
_PLAIN = 1e9
# Of more columns than this, principal components leave fewer, and neighbours are found faster.
_WIDE, _COMPONENTS = 100, 50
# Counts are mostly zeros, and their logarithms are small.
_COUNTS, _LOGARITHMS = 0.5, 20


@dataclass(frozen=True)
class Overview:
    """What `look` found.

    Attributes
    ----------
    path : str or None
    asked : list of str
        The choice of dataset and columns, as options of the command line.
    holds : list of Holding
        All arrays and columns of the file: ``name``, ``shape``, ``type``.
    problem : str or None
        Why nothing would be read as it was asked for, such as several tables of which none is named.
    dataset : str or None
        Name of what would be read.
    shape : tuple of int or None
    dtype : str or None
    chunks : tuple of int or None
        (rows, columns) that can only be read together.
    columns : list of str or None
        Names of the columns that would be read, where they have names.
    left_out : dict of str to str
        Columns and files that would not be read, with the reason.
    remarks : list of str
        How the rest would be read, where there is a choice.
    first : ndarray of shape (<= 5, <= 8), float64
        First rows and columns; NaN where a value is missing.
    rows_looked_at : int
    zeros, missing, infinite : float
        Shares of the cells in the rows looked at.
    smallest, largest : float or None
        Bounds of their finite numbers.
    whole : bool
        Whether all of these are whole numbers.
    missing_columns : dict of str to float
        Columns with missing values, and the share of them.
    prepare : dict
        A guess of what to do first: options of `tsne_ooc.preprocess.preparation_from_options`.
    advice : list of str
        The reasons for the guess, and what else to think of.
    """

    path: str | None
    asked: list[str]
    holds: list[Holding]
    problem: str | None = None
    dataset: str | None = None
    shape: tuple[int, int] | None = None
    dtype: str | None = None
    chunks: tuple[int, int] | None = None
    columns: list[str] | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    first: Float64 = field(default_factory=lambda: np.empty((0, 0)))
    rows_looked_at: int = 0
    zeros: float = 0.0
    missing: float = 0.0
    infinite: float = 0.0
    smallest: float | None = None
    largest: float | None = None
    whole: bool = False
    missing_columns: dict[str, float] = field(default_factory=dict)
    prepare: Json = field(default_factory=dict)
    advice: list[str] = field(default_factory=list)

    @property
    def options(self) -> list[str]:
        """`prepare` as options of the command line."""
        words = []
        for name, value in self.prepare.items():
            words.append(f"--{name}")
            if value is not True and value != "standard":
                words.append(value if isinstance(value, str) else f"{value:g}")
        return words

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Show the same text in notebooks, as the value of a cell."""
        printer.text(str(self))


def look(
    source: TableLike,
    *,
    dataset: str | None = None,
    columns: str | Iterable[str] | None = None,
    allow_missing_chunks: bool = False,
) -> Overview:
    """Look at a table before a run: some hundred rows from all over it are read, and nothing is written.

    Parameters
    ----------
    source : path, or what else `tsne_ooc.io.open_source` accepts
    dataset, columns, allow_missing_chunks
        What to read of a file, as for `tsne_ooc.io.open_source`.

    Returns
    -------
    Overview
        Its text (``print(look(path))``) is what ``tsne-ooc look`` says.

    Raises
    ------
    OSError
        Where there is no such file, or it is damaged or of a kind that is not read.
    ValueError
        For a dataset or columns that the file does not have.

    Examples
    --------
    >>> print(look("cells.h5ad"))  # doctest: +SKIP
    """
    path = str(source) if isinstance(source, str | os.PathLike) else None
    columns = columns if columns is None or isinstance(columns, str) else list(columns)
    asked = [] if dataset is None else ["--dataset", dataset]
    if columns is not None:
        asked += ["--columns", columns if isinstance(columns, str) else ",".join(columns)]
    if allow_missing_chunks:
        asked.append("--allow-missing-chunks")
    holds: list[Holding] = []
    if path is not None:
        with opening(path):
            holds = holdings_of(path_of(path))
    try:
        table = open_source(source, dataset=dataset, columns=columns, allow_missing_chunks=allow_missing_chunks)
    except (OSError, ValueError) as error:
        if dataset is not None or columns is not None or path is None:
            raise
        # A look is there to show that it holds several tables, or none, or not all of one.
        return Overview(path, asked, holds, problem=" ".join(str(error).split()))
    try:
        return _overview(path, asked, holds, table)
    finally:
        if path is not None and hasattr(table, "close"):
            table.close()


def _overview(path: str | None, asked: list[str], holds: list[Holding], table: Source) -> Overview:
    account = account_of(table)
    names = names_of(table)
    known: Json = {
        "dataset": getattr(table, "name", None),
        "shape": table.shape,
        "dtype": str(np.dtype(table.dtype)),
        "chunks": table.chunks,
        "columns": names,
        "left_out": account["left_out"],
        "remarks": account["remarks"],
    }
    try:
        first = _numbers(table, 0, min(ROWS, table.shape[0]))
        places = _places(table)
        parts = [_numbers(table, start, stop) for start, stop in places]
    except (TypeError, ValueError) as error:
        # There may be words among the columns that were asked for.
        return Overview(path, asked, holds, problem=str(error).splitlines()[0], **known)
    cells = np.concatenate(parts) if parts else np.empty((0, table.shape[1]))
    rows = np.concatenate([np.arange(start, stop) for start, stop in places]) if places else np.empty(0)
    facts = _facts(cells, known["columns"])
    prepare, advice = _guess(table, cells, rows, facts, known["columns"], account["left_out"])
    return Overview(path, asked, holds, first=first[:, :COLUMNS], prepare=prepare, advice=advice, **facts, **known)


def _places(table: Source) -> list[tuple[int, int]]:
    n, p = table.shape
    if not n or not p:
        return []
    chunk = 0 if table.chunks is None else table.chunks[0] * p * np.dtype(table.dtype).itemsize
    places = _FEW_PLACES if chunk > _LARGE else _PLACES
    rows = max(1, min(_MOST_ROWS, _CELLS // (places * p)))
    if n <= places * rows:
        return [(0, n)]
    starts = np.linspace(0, n - rows, places).astype(int).tolist()
    return [(start, start + rows) for start in starts]


def _numbers(table: Source, start: int, stop: int) -> Float64:
    """Rows as float64, NaN where a value is missing."""
    with reading(table, start, stop):
        found: Any = getattr(table, "read_with_gaps", table.read)(start, stop)
    if hasattr(found, "iloc"):
        # `as_rows` knows columns of dates by their types, and says which column holds words.
        as_rows(found.iloc[:0], minimum_rows=0)
        try:
            found = found.to_numpy(dtype=np.float64, na_value=np.nan)
        except (TypeError, ValueError):
            found = as_rows(found, dtype=np.float64)
    if isinstance(found, np.ma.MaskedArray):
        return np.where(np.ma.getmaskarray(found), np.nan, np.ma.getdata(found).astype(np.float64))
    return np.asarray(found, np.float64)


def _facts(cells: Float64, names: list[str] | None) -> Json:
    finite = np.isfinite(cells)
    missing = np.isnan(cells)
    numbers = cells[finite]
    gaps = missing.mean(axis=0) if len(cells) else np.zeros(cells.shape[1])
    size = max(1, cells.size)
    return {
        "rows_looked_at": len(cells),
        "zeros": float((cells == 0).sum() / size),
        "missing": float(missing.sum() / size),
        "infinite": float(np.isinf(cells).sum() / size),
        "smallest": float(numbers.min()) if len(numbers) else None,
        "largest": float(numbers.max()) if len(numbers) else None,
        "whole": bool(len(numbers) and (numbers == np.rint(numbers)).all()),
        "missing_columns": {_name(names, j): float(gaps[j]) for j in np.flatnonzero(gaps).tolist()},
    }


def _name(names: list[str] | None, column: int) -> str:
    return f"column {column}" if names is None else names[column]


def _guess(
    table: Source,
    cells: Float64,
    rows: Array,
    facts: Json,
    names: list[str] | None,
    left_out: dict[str, str],
) -> tuple[Json, list[str]]:
    """What to prepare, and why."""
    prepare: Json = {}
    advice = []
    p = cells.shape[1]
    if facts["missing"] or facts["infinite"]:
        shown = [f"{name} ({_share(share)})" for name, share in facts["missing_columns"].items()]
        where = f" in {listed(shown)}" if shown else ""
        advice.append(
            f"cells without a finite number are refused{where}: fill them in (--missing), or leave out rows or columns"
        )
    if facts["missing"] and facts["smallest"] is not None:
        prepare["missing"] = "neighbors"
    words = [name for name, reason in left_out.items() if any(word in reason for word in ("string", "text", "dict"))]
    if words:
        advice.append(
            f"columns of words are left out: {listed(words)}; where one has few of them, name it in --columns and "
            "--onehot"
        )
    if len(cells) < 2 or facts["smallest"] is None:
        return prepare, advice
    finite = np.where(np.isfinite(cells), cells, np.nan)
    seen = np.isfinite(finite).sum(axis=0) > 1
    finite = finite[:, seen]
    at = np.flatnonzero(seen)
    if not len(at):
        return prepare, advice
    largest = np.nanmax(np.abs(finite), axis=0)
    # In units of the largest number, whose square may be beyond float64.
    unit = np.where(largest > 0, largest, 1.0)
    spread = np.nanstd(finite / unit, axis=0) * unit
    counting = [
        _name(names, int(j))
        for j, column in zip(at, finite.T, strict=True)
        if len(cells) > 2 and np.array_equal(column - rows, np.full(len(rows), column[0] - rows[0]))
    ]
    if counting:
        advice.append(
            f"{listed(counting)} counts the rows: an index rather than a feature? name the others in --columns"
        )
    with np.errstate(over="ignore"):
        step = np.spacing(np.minimum(largest, np.finfo(np.float32).max).astype(np.float32)).astype(np.float64)
    blunt = (spread > 0) & (step > _FEW_DIGITS * spread)
    if blunt.any():
        advice.append(
            f"float32 keeps few digits of {listed([_name(names, int(j)) for j in at[blunt]])}: numbers so far from 0 "
            "are best standardised, which is done in float64"
        )
        prepare["standardize"] = "standard"
    looks_sparse = facts["zeros"] > _COUNTS and facts["smallest"] >= 0 and p >= COLUMNS
    if table.dtype == np.uint8:
        advice.append("numbers of one byte, such as pixels: they need no scaling")
    elif looks_sparse and facts["whole"] and facts["largest"] > 1:
        advice.append("whole numbers, most of them 0: counts, which are compared after sums of rows and a logarithm")
        prepare |= {"normalize": 10_000, "log1p": True}
    elif looks_sparse and facts["largest"] < _LOGARITHMS:
        advice.append("small numbers from 0 on, most of them 0: logarithms already, or parts of a whole")
    else:
        wide = spread[spread > 0]
        if len(wide) > 1 and (ratio := float(np.percentile(wide, 95) / np.percentile(wide, 5))) > _SPREADS:
            times = f"{ratio:,.0f}" if ratio < _PLAIN else f"{ratio:.0e}"
            advice.append(f"columns differ {times}-fold in spread: without scaling the widest ones make the map")
            prepare["standardize"] = "standard"
    if p > _WIDE:
        advice.append(f"{p:,} columns: principal components make the search for neighbours faster")
        prepare["pca"] = _COMPONENTS
    return prepare, advice


def _share(share: float) -> str:
    return "none" if not share else f"{share:.1%}" if share >= 0.001 else "fewer than 0.1%"


def _lines(found: Overview) -> list[str]:
    lines = []
    if found.path is not None:
        lines.append(f"{found.path} holds")
        width = max((len(held.name) for held in found.holds[:_LINES]), default=0)
        for held in found.holds[:_LINES]:
            size = " x ".join(f"{size:,}" for size in held.shape) or "one"
            lines.append(f"  {held.name or '(no name)':<{width}}  {size}, {held.type}")
        if len(found.holds) > _LINES:
            lines.append(f"  and {len(found.holds) - _LINES:,} more")
    if found.shape is not None:
        what = f"{found.dataset}: " if found.dataset else ""
        size = f"{counted(found.shape[0], 'rows')} of {counted(found.shape[1], 'columns')}"
        lines.append(f"would be read: {what}{size}, {found.dtype}")
        if found.columns is not None:
            lines.append(f"columns: {listed(found.columns)}")
        lines += in_words({"left_out": found.left_out, "remarks": found.remarks})
    if found.problem is not None:
        lines.append(f"cannot be read as it was asked for: {found.problem}")
        return lines
    if len(found.first):
        lines.append("first rows:")
        lines += _table(found)
    if found.rows_looked_at:
        lines.append(
            f"of {counted(found.rows_looked_at, 'rows')} looked at: zeros {_share(found.zeros)}, missing "
            f"{_share(found.missing)}, infinite {_share(found.infinite)}"
        )
        if found.smallest is not None:
            kind = "whole numbers" if found.whole else "numbers"
            lines.append(f"{kind} from {found.smallest:.6g} to {found.largest:.6g}")
    lines += found.advice
    if found.path is not None:
        guess = shlex.join(["tsne-ooc", "embed", found.path, *found.asked, *found.options, "--out", "map"])
        lines.append(f"a guess: {guess}")
    return lines


def _table(found: Overview) -> list[str]:
    cells = [["missing" if np.isnan(cell) else f"{cell:.6g}" for cell in row] for row in found.first.tolist()]
    if found.columns is not None:
        cells.insert(0, [name if len(name) <= 12 else f"{name[:9]}..." for name in found.columns[:COLUMNS]])
    assert found.shape is not None
    if found.shape[1] > COLUMNS:
        cells = [[*row, "..."] for row in cells]
    widths = [max(len(row[j]) for row in cells) for j in range(len(cells[0]))]
    return ["  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in cells]
