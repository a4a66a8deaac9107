"""`convert`: files of text in, tables that can be read by rows out, and a manifest that says what was read and lost."""

from __future__ import annotations

import csv
import json
import os
import re
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from tsne_ooc import __version__
from tsne_ooc._options import counted, pick, whole
from tsne_ooc._typing import Json, Progress, StrPath, TableLike
from tsne_ooc.convert.frames import frames_too
from tsne_ooc.convert.pieces import Dialect, Piece, is_tabbed, kind_of, pieces_of
from tsne_ooc.convert.plan import Known, Plan
from tsne_ooc.convert.recipe import FORMAT, recipe_of
from tsne_ooc.convert.rows import Rows, rows_of
from tsne_ooc.convert.writing import GrowingTable
from tsne_ooc.io.columns import listed
from tsne_ooc.io.files import files_of
from tsne_ooc.io.parts import natural
from tsne_ooc.io.urls import Url
from tsne_ooc.preprocess.statistics import MomentsWithGaps, Statistics
from tsne_ooc.storage.atomic import whole_folder
from tsne_ooc.storage.disk import check_regular
from tsne_ooc.storage.manifest import MANIFEST

#: The most files that one table may be split into; all of them are open at once.
MOST_FILES = 500
# The limit of one-hot columns of a map, too.
MOST_CATEGORIES = 1000
_WAITING = 3
# How a manifest of ours begins, which may be long.
_OURS = re.compile(rb'\{\s*"format": "tsne_ooc( table)?"')
# What to do with other files that hold tables.
_OTHERS = {
    (".xlsx", ".xls", ".ods"): ": save its sheet as CSV",
    (".zip", ".tar", ".7z"): ": unpack it first",
    (".h5", ".h5ad", ".zarr", ".npy"): ": this one is read as it is, such as by tsne-ooc embed",
}
# What tables are called, and folders of tables are not.
_TABLES = (".h5", ".hdf5", ".h5ad", ".zarr", ".npy", ".parquet")


@frames_too
def convert(
    inputs: StrPath | Sequence[StrPath] | TableLike,
    out: StrPath,
    *,
    columns: str | Iterable[str] | None = None,
    onehot: Sequence[str] = (),
    coded: Sequence[str] = (),
    labels: Sequence[str] = (),
    standardize: bool = False,
    like: StrPath | None = None,
    unseen: str = "missing",
    split_by: str | None = None,
    split_rows: int | None = None,
    format: str = "h5",
    progress: Progress | None = None,
) -> Json:
    """Write CSV, JSON lines or Parquet as tables of float32 that are read by rows.

    Parameters
    ----------
    inputs : path or list of paths, dask.dataframe.DataFrame
        Files ``.csv``, ``.tsv`` (also ``.gz``), ``.jsonl``, ``.parquet``; folders of them; patterns. They are one
        table, and have columns of the same names. The partitions of a data frame are written as Parquet meanwhile,
        in ``OUT.partitions``, and are the files of the manifest.
    out : path
        Folder to write, which must not exist. It will hold ``table.h5``, or files named after what they are split by,
        ``manifest.json`` and ``rejected.csv``.
    columns : str or list of str, optional
        Columns of numbers to write; a ``*`` stands for anything. By default all that hold numbers in the first lines.
    onehot, coded : sequence of str
        Columns of words that become a column of zeros and ones for each word, or one column of numbers, which count the
        sorted words. A pass of its own finds the words.
    labels : sequence of str, optional
        Columns that are kept beside the table as words, to colour by and to draw samples by, as ``obs/NAME``.
    standardize : bool
        Subtract the mean of each column of numbers, and divide by its standard deviation, in float64; a column that
        does not vary is divided by 1, and columns of words stay as they are. A pass of its own finds both. To embed the
        table there is ``embed --standardize``, which the map keeps: this is for programs that take tables as they are.
    like : path, optional
        What an earlier call wrote, its folder or its table, or a map that was made from it (a run, an encoder): these
        files become the same columns in the same order, with the same words and the same scaling; the labels that they
        have are kept, too. Columns that they lack are an error, and others are left out. It takes the place of
        `columns`, `onehot`, `coded` and `standardize`.
    unseen : {"missing", "reject"}
        With `like`, what becomes of a row with a word that its column did not have there: "missing", zeros in columns
        of zeros and ones, and a missing value in one of numbers; "reject", it goes to ``rejected.csv``. Both are
        counted.
    split_by : str, optional
        Write a file for each value of this column, or with ``COLUMN:year``, ``:month``, ``:day`` and ``:hour`` for each
        year, month, day and hour of its time stamps (``2020-01-31 12:00``).
    split_rows : int, optional
        The most rows of a file.
    format : {"h5", "zarr"}
    progress : callable, optional
        Called as ``progress("convert", bytes, bytes in all)``.

    Returns
    -------
    dict
        The manifest: what was read, written, left out and rejected, and why; which cells have no value; and what became
        of each column, for `like`.

    Raises
    ------
    OSError
        Where a file cannot be read, or `out` cannot be written or exists. Nothing that is half written stays.
    ValueError, TypeError
        For files whose columns are not those of the first, where the message names both, and for unusable options.
    """
    pick("format", format, {"h5": 0, "zarr": 0})
    pick("unseen", unseen, {"missing": 0, "reject": 0})
    onehot, coded, labels = _names("onehot", onehot), _names("coded", coded), _names("labels", labels)
    if not isinstance(standardize, bool):
        raise TypeError(f"standardize={standardize!r} is neither True nor False")
    if like is not None and (columns is not None or onehot or coded or standardize):
        raise ValueError(
            f"like={like!s} says what becomes of each column; leave columns, onehot, coded and standardize out"
        )
    if like is None and unseen != "missing":
        raise ValueError(f"unseen={unseen!r} is about words that a table does not have; say which with like=")
    if both := sorted({*onehot} & {*coded}):
        raise ValueError(f"column {both[0]!r} is named in onehot and in coded; name it in one of them")
    if split_rows is not None:
        split_rows = whole("split_rows", split_rows, least=1)
    out = Path(out)
    if os.path.lexists(out):
        raise FileExistsError(f"{out} exists already; name a new folder")
    if out.suffix.lower() in _TABLES:
        raise ValueError(
            f"{out} is the name of a table, and what is written is a folder with a table and what is told of it; "
            f"name it {out.with_suffix('')}"
        )
    if not out.absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {out.absolute().parent} to write {out.name} in")
    files = _files(inputs)
    known = None if like is None else Known(os.fspath(like), recipe_of(like), reject=unseen == "reject")
    plan = Plan(files, columns, onehot, coded, labels, split_by, known, standardize)
    began = time.perf_counter()
    if known is None and (plan.words_to_find or standardize):
        plan.categories, moments = _found(files, plan.numbers if standardize else [], plan.words_to_find)
        if standardize:
            plan.scaling = moments.mean, np.where(moments.constant, 1.0, np.sqrt(moments.variance))
    with whole_folder(out) as folder:
        manifest = _write(files, plan, folder, split_rows, format, progress)
        manifest["seconds"] = round(time.perf_counter() - began, 3)
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
    return manifest


def _write(
    files: list[Path], plan: Plan, folder: Path, most: int | None, format: str, progress: Progress | None
) -> Json:
    tables: dict[str, GrowingTable] = {}
    finished: Counter[str] = Counter()
    outputs: list[Json] = []
    sizes = [path.stat().st_size for path in files]
    read = [0] * len(files)
    written = [0] * len(files)
    reasons: Counter[str] = Counter()
    rejected = [0] * len(files)
    first: str | None = None
    dialects: dict[int, Dialect] = {}
    gaps = np.zeros(len(plan.names), np.int64)
    told = plan.recipe.text()
    with ExitStack() as open_files:
        log = open_files.enter_context(open(folder / "rejected.csv", "w", newline="", encoding="utf-8"))
        lines = csv.writer(log)
        lines.writerow(["file", "line", "reason", "text"])

        def end(key: str) -> None:
            table = tables.pop(key)
            table.close()
            outputs.append({"file": table.path.name, "rows": table.n, **({"key": key} if plan.key else {})})

        def close() -> None:
            for table in tables.values():
                table.close()

        open_files.callback(close)
        for piece, rows in _read(files, plan.numbers, plan.words):
            dialects[piece.file] = piece.dialect
            plan.check_words(rows)
            keys = plan.keys(rows)
            X = plan.table(rows)
            gaps += np.isnan(X).sum(axis=0)
            read[piece.file] += len(rows.lines) + len(rows.rejected)
            written[piece.file] += len(rows.lines)
            rejected[piece.file] += len(rows.rejected)
            for one in sorted(rows.rejected):
                first = first or f"line {one.line} of {files[piece.file]}: {one.reason}"
                reasons[re.sub(r"'.*'|\d+", "...", one.reason)] += 1
                lines.writerow([str(files[piece.file]), one.line, one.reason, one.text])
            for key in [""] if plan.key is None else dict.fromkeys(keys.tolist()):
                those = np.flatnonzero(keys == key) if plan.key is not None else np.arange(len(X))
                while len(those):
                    if key not in tables:
                        if len(tables) >= MOST_FILES:
                            raise ValueError(
                                f"column {plan.key!r} has more than {MOST_FILES} values to split by; take a coarser one"
                            )
                        name = _name(key, finished[key] if most else None, {out["file"] for out in outputs} | {
                            table.path.name for table in tables.values()}, format)  # fmt: skip
                        tables[key] = GrowingTable(folder / name, plan.names, plan.labels, told)
                        finished[key] += 1
                    table = tables[key]
                    room = len(those) if most is None else most - table.n - table._held
                    now, those = those[:room], those[room:]
                    table.add(
                        X if len(now) == len(X) else X[now], piece.file, rows.lines[now], *plan.labels_of(rows, now)
                    )
                    if most is not None and table.n + table._held == most:
                        end(key)
            if progress is not None:
                progress("convert", sum(sizes[: piece.file]), sum(sizes))
        for key in list(tables):
            end(key)
        if progress is not None:
            progress("convert", sum(sizes), sum(sizes))
    if not outputs:
        raise ValueError(f"none of {counted(sum(read), 'rows')} could be read; {first}")
    return {
        "format": FORMAT,
        "tsne_ooc": __version__,
        "columns": plan.names,
        "left_out": plan.left_out,
        "categories": plan.categories,
        "recipe": json.loads(told),
        "missing": {name: int(count) for name, count in zip(plan.names, gaps, strict=True) if count},
        **({} if plan.known is None else {"like": plan.known.where, "unseen": dict(plan.unseen)}),
        "inputs": [
            {
                "path": str(path.resolve()),
                "size": size,
                "read": a,
                "written": b,
                "rejected": c,
                **_told(path, dialects.get(number)),
            }
            for number, (path, size, a, b, c) in enumerate(zip(files, sizes, read, written, rejected, strict=True))
        ],
        "outputs": sorted(outputs, key=lambda one: natural(one["file"])),
        "read": sum(read),
        "written": sum(written),
        "rejected": dict(sorted(reasons.items())),
    }


def _found(files: list[Path], numbers: list[str], words: list[str]) -> tuple[dict[str, list[str]], Statistics]:
    """What a pass over all files finds: the sorted words of some columns, and the moments of others."""
    found: dict[str, set[str]] = {name: set() for name in words}
    moments = MomentsWithGaps(len(numbers))
    for _, rows in _read(files, numbers, words):
        moments.add(rows.numbers)
        for name, seen in found.items():
            seen.update(word for word in rows.words[name].tolist() if word is not None)
            if len(seen) > MOST_CATEGORIES:
                raise ValueError(f"column {name!r} has more than {MOST_CATEGORIES} different words; leave it out")
    return {name: sorted(seen) for name, seen in found.items()}, moments.finish()


def _told(path: Path, dialect: Dialect | None) -> Json:
    """How a file is written, where that is not the usual way for its name."""
    usual = Dialect("\t" if is_tabbed(path) else ",")
    return {} if dialect is None or dialect in (usual, Dialect()) else dialect._asdict()


def _name(key: str, number: int | None, taken: set[str], format: str) -> str:
    stem = re.sub(r"[^\w.-]+", "_", key).strip("._")[:100] or "table"
    stem = stem if number is None else f"{stem}-{number:05}"
    name, again = f"{stem}.{format}", 1
    while name in taken:
        again += 1
        name = f"{stem}~{again}.{format}"
    return name


def _read(files: list[Path], numbers: list[str], words: list[str]) -> Iterator[tuple[Piece, Rows]]:
    """The rows of all files, piece by piece and in order; two threads make numbers of the text meanwhile."""
    waiting: deque[tuple[Piece, Future[Rows]]] = deque()
    with ThreadPoolExecutor(2) as threads:
        try:
            for number, path in enumerate(files):
                kind = str(kind_of(path))
                checked = False
                for piece in pieces_of(path, number):
                    if not checked:
                        _check_columns(path, files[0], piece, kind, [*numbers, *words])
                        checked = True
                    waiting.append((piece, threads.submit(rows_of, piece, kind, numbers, words)))
                    if len(waiting) >= _WAITING:
                        piece, found = waiting.popleft()
                        yield piece, found.result()
            while waiting:
                piece, found = waiting.popleft()
                yield piece, found.result()
        finally:
            for _, found in waiting:
                found.cancel()


def _check_columns(path: Path, first: Path, piece: Piece, kind: str, names: list[str]) -> None:
    """Raise where a file lacks columns; an object of JSON may lack some, whose values are then missing."""
    if kind == "json":
        return
    own = set(piece.names if kind == "csv" else piece.data.schema.names)
    if lacking := [name for name in names if name not in own]:
        raise ValueError(f"{path} lacks columns that {first.name} has: {listed(lacking)}; leave it out, or name others")


def _files(inputs: StrPath | Sequence[StrPath]) -> list[Path]:
    found: list[Path] = []
    for path in files_of(inputs):
        if isinstance(path, Url):
            raise OSError(f"{path} is a URL, and text is read from a disk; download it first")
        if path.is_dir():
            _check_not_ours(path)
            inside = sorted((one for one in path.iterdir() if kind_of(one)), key=lambda one: natural(one.name))
            if not inside:
                raise FileNotFoundError(f"{path} holds no files of CSV, JSON lines or Parquet")
            found += inside
            continue
        if not path.exists():
            raise FileNotFoundError(f"there is no file {path}")
        if kind_of(path) is None:
            hint = next((hint for ends, hint in _OTHERS.items() if path.suffix.lower() in ends), "")
            raise OSError(f"{path} is not called .csv, .tsv, .jsonl or .parquet; these are read{hint}")
        found.append(path)
    for path in found:
        check_regular(path)
    return found


def _check_not_ours(folder: Path) -> None:
    """Raise for a folder of tables, of a run or of a model, whose manifest would be read as text."""
    try:
        with open(folder / MANIFEST, "rb") as file:
            found = _OURS.match(file.read(100))
    except OSError:
        return
    if found is not None:
        what = "is what tsne-ooc prepare wrote" if found[1] else "is a run, a model or a graph of tsne-ooc"
        raise OSError(f"{folder} {what}, and holds no text; tables of HDF5 and Zarr are read as they are")


def _names(option: str, names: Sequence[str]) -> list[str]:
    found = [names] if isinstance(names, str) else list(names)
    if len(set(found)) < len(found):
        raise ValueError(f"{option} names a column twice: {', '.join(found)}")
    return found
