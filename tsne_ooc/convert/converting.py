"""`convert`: files of text in, tables that can be read by rows out, and a manifest that says what was read and lost."""

from __future__ import annotations

import csv
import json
import os
import re
import time
import warnings
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from tsne_ooc import __version__
from tsne_ooc._options import counted, pick, unknown, whole
from tsne_ooc._typing import Array, Bool, Json, Progress, StrPath, TableLike
from tsne_ooc.convert.frames import frames_too
from tsne_ooc.convert.pieces import Piece, Rows, delimiter_of, kind_of, pieces_of, rows_of, types_of
from tsne_ooc.convert.writing import GrowingTable
from tsne_ooc.io.columns import choose, listed
from tsne_ooc.io.files import files_of
from tsne_ooc.io.parts import natural
from tsne_ooc.io.urls import Url
from tsne_ooc.storage.atomic import whole_folder
from tsne_ooc.storage.disk import check_regular

#: The most files that one table may be split into; all of them are open at once.
MOST_FILES = 500
# The limit of one-hot columns of a map, too.
MOST_CATEGORIES = 1000
# How many characters of a time stamp such as ``2020-01-31 12:00`` name it up to each part.
PARTS = {"year": 4, "month": 7, "day": 10, "hour": 13}
_WAITING = 3
_STAMP = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d.*)?")


@frames_too
def convert(
    inputs: StrPath | Sequence[StrPath] | TableLike,
    out: StrPath,
    *,
    columns: str | Iterable[str] | None = None,
    onehot: Sequence[str] = (),
    coded: Sequence[str] = (),
    labels: Sequence[str] = (),
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
        The manifest: what was read, written, left out and rejected, and why.

    Raises
    ------
    OSError
        Where a file cannot be read, or `out` cannot be written or exists. Nothing that is half written stays.
    ValueError, TypeError
        For files whose columns are not those of the first, where the message names both, and for unusable options.
    """
    pick("format", format, {"h5": 0, "zarr": 0})
    onehot, coded, labels = _names("onehot", onehot), _names("coded", coded), _names("labels", labels)
    if both := sorted({*onehot} & {*coded}):
        raise ValueError(f"column {both[0]!r} is named in onehot and in coded; name it in one of them")
    if split_rows is not None:
        split_rows = whole("split_rows", split_rows, least=1)
    out = Path(out)
    if os.path.lexists(out):
        raise FileExistsError(f"{out} exists already; name a new folder")
    if not out.absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {out.absolute().parent} to write {out.name} in")
    files = _files(inputs)
    plan = _Plan(files, columns, onehot, coded, labels, split_by)
    began = time.perf_counter()
    if plan.words_to_find:
        plan.find(files)
    with whole_folder(out) as folder:
        manifest = _write(files, plan, folder, split_rows, format, progress)
        manifest["seconds"] = round(time.perf_counter() - began, 3)
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
    return manifest


class _Plan:
    """What is read from each file, and the columns that this becomes."""

    def __init__(
        self,
        files: list[Path],
        columns: str | Iterable[str] | None,
        onehot: list[str],
        coded: list[str],
        labels: list[str],
        split_by: str | None,
    ) -> None:
        first = next(pieces_of(files[0], 0), None)
        if first is None:
            raise ValueError(f"{files[0]} holds no rows, so that its columns are not known; leave it out")
        kind = str(kind_of(files[0]))
        types = types_of(first, kind, delimiter_of(files[0]))
        name, _, part = (split_by or "").rpartition(":") if split_by not in types else (split_by or "", "", "")
        if split_by is not None and not name:
            name, part = split_by, ""
        if part:
            pick("part of a time stamp", part, PARTS)
        self.key, self.part = name or None, part
        by = [name] if name else []
        for option, names in (("onehot", onehot), ("coded", coded), ("labels", labels), ("split_by", by)):
            for one in names:
                if one not in types:
                    raise ValueError(f"{files[0]} has no such column: {unknown(option, one, types)}")
        used = {*onehot, *coded}
        numeric = [one for one, type in types.items() if _is_number(type) and one not in used]
        self.numbers = numeric if columns is None else choose(list(types), columns, str(files[0]))
        if wrong := [one for one in self.numbers if one not in numeric and one not in used]:
            raise ValueError(
                f"column {wrong[0]!r} of {files[0]} is of type {types[wrong[0]]}, not numbers; name it in onehot "
                "(--onehot) or coded (--coded), in labels (--labels) to colour by it, or leave it out"
            )
        # The column that a table is split by is in the names of the files, and labels are not what the map is made of.
        self.numbers = [one for one in self.numbers if one not in {*used, *labels} and one != self.key]
        self.onehot, self.coded = onehot, coded
        self.words_to_find = [*onehot, *coded]
        if not self.numbers and not self.words_to_find:
            raise ValueError(f"{files[0]} has no column of numbers; it has {listed(list(types))}")
        self.labels = labels
        self.words = list(dict.fromkeys([*self.words_to_find, *labels, *([self.key] if self.key else [])]))
        self.left_out = {
            one: f"of type {type}" for one, type in types.items() if one not in self.numbers and one not in self.words
        }
        if self.key is not None and self.key not in {*self.words_to_find, *labels}:
            self.left_out[self.key] = "what the files are split by"
        self.categories: dict[str, list[str]] = {}
        self._warn(rows_of(first, kind, delimiter_of(files[0]), self.numbers, []))

    def _warn(self, rows: Rows) -> None:
        """Warn of columns whose numbers float32 does not keep apart."""
        for j, name in enumerate(self.numbers):
            values = np.unique(rows.numbers[:, j])
            kept = len(np.unique(values.astype(np.float32)))
            if kept < 0.9 * len(values):
                warnings.warn(
                    f"float32 keeps {kept:,} of {len(values):,} values of column {name!r} apart; subtract what they "
                    "have in common, or leave the column out",
                    UserWarning,
                    stacklevel=4,
                )

    def find(self, files: list[Path]) -> None:
        """Find the words of the columns of categories by a pass over all files."""
        found: dict[str, set[str]] = {name: set() for name in self.words_to_find}
        for _, rows in _read(files, [], self.words_to_find):
            for name, seen in found.items():
                seen.update(word for word in rows.words[name].tolist() if word is not None)
                if len(seen) > MOST_CATEGORIES:
                    raise ValueError(f"column {name!r} has more than {MOST_CATEGORIES} different words; leave it out")
        self.categories = {name: sorted(seen) for name, seen in found.items()}

    @property
    def names(self) -> list[str]:
        """The names of the columns that are written."""
        return [
            *self.numbers, *self.coded,
            *(f"{name}={word}" for name in self.onehot for word in self.categories[name]),
        ]  # fmt: skip

    def table(self, rows: Rows) -> Array:
        """The columns that are written, for some rows."""
        out = np.zeros((len(rows.lines), len(self.names)), np.float32)
        out[:, : len(self.numbers)] = rows.numbers
        at = len(self.numbers)
        for name in [*self.coded, *self.onehot]:
            known = {word: number for number, word in enumerate(self.categories[name])}
            # A word that was not there in the first pass is taken as a missing one.
            codes = np.array([known.get(word, -1) for word in rows.words[name].tolist()], np.int64)
            if name in self.coded:
                out[:, at] = np.where(codes < 0, np.nan, codes)
                at += 1
            else:
                there = np.flatnonzero(codes >= 0)
                out[there, at + codes[there]] = 1
                at += len(known)
        return out

    def labels_of(self, rows: Rows, which: Array) -> list[Array]:
        """The labels of some rows; a missing label is empty."""
        return [np.array([word or "" for word in rows.words[name][which].tolist()], object) for name in self.labels]

    def keys(self, rows: Rows) -> Array:
        """The value that each row is split by; rows without one are rejected."""
        if self.key is None:
            return np.empty(0, object)
        words = rows.words[self.key].tolist()
        length = PARTS.get(self.part)
        keys = [_part(word, length) for word in words]
        bad: Bool = np.array([key is None for key in keys], bool)
        if bad.any():
            name = self.key
            what = "no value" if not self.part else "no time stamp such as 2020-01-31 12:00"
            rows.reject(bad, lambda i: f"column {name!r} has {what}", lambda i: str(words[i]))
        return np.array([key for key in keys if key is not None], object)


def _part(word: str | None, length: int | None) -> str | None:
    if word is None or length is None:
        return word
    return word[:length].replace("T", " ") if _STAMP.fullmatch(word) and len(word) >= length else None


def _write(
    files: list[Path], plan: _Plan, folder: Path, most: int | None, format: str, progress: Progress | None
) -> Json:
    tables: dict[str, GrowingTable] = {}
    finished: Counter[str] = Counter()
    outputs: list[Json] = []
    sizes = [path.stat().st_size for path in files]
    read = [0] * len(files)
    written = [0] * len(files)
    reasons: Counter[str] = Counter()
    rejected = [0] * len(files)
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
            keys = plan.keys(rows)
            X = plan.table(rows)
            read[piece.file] += len(rows.lines) + len(rows.rejected)
            written[piece.file] += len(rows.lines)
            rejected[piece.file] += len(rows.rejected)
            for one in sorted(rows.rejected):
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
                        tables[key] = GrowingTable(folder / name, plan.names, plan.labels)
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
        raise ValueError(f"none of {counted(sum(read), 'rows')} could be read: {', '.join(reasons)[:200]}")
    return {
        "format": "tsne_ooc table",
        "tsne_ooc": __version__,
        "columns": plan.names,
        "left_out": plan.left_out,
        "categories": plan.categories,
        "inputs": [
            {"path": str(path.resolve()), "size": size, "read": a, "written": b, "rejected": c}
            for path, size, a, b, c in zip(files, sizes, read, written, rejected, strict=True)
        ],
        "outputs": sorted(outputs, key=lambda one: natural(one["file"])),
        "read": sum(read),
        "written": sum(written),
        "rejected": dict(sorted(reasons.items())),
    }


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
                kind, delimiter = str(kind_of(path)), delimiter_of(path)
                checked = False
                for piece in pieces_of(path, number):
                    if not checked:
                        _check_columns(path, files[0], piece, kind, [*numbers, *words])
                        checked = True
                    waiting.append((piece, threads.submit(rows_of, piece, kind, delimiter, numbers, words)))
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
            inside = sorted((one for one in path.iterdir() if kind_of(one)), key=lambda one: natural(one.name))
            if not inside:
                raise FileNotFoundError(f"{path} holds no files of CSV, JSON lines or Parquet")
            found += inside
            continue
        if not path.exists():
            raise FileNotFoundError(f"there is no file {path}")
        if kind_of(path) is None:
            raise OSError(f"{path} is not called .csv, .tsv, .jsonl or .parquet; these are read")
        found.append(path)
    for path in found:
        check_regular(path)
    return found


def _names(option: str, names: Sequence[str]) -> list[str]:
    found = [names] if isinstance(names, str) else list(names)
    if len(set(found)) < len(found):
        raise ValueError(f"{option} names a column twice: {', '.join(found)}")
    return found


def _is_number(type: Any) -> bool:
    import pyarrow as pa

    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    return any(kind(type) for kind in kinds)
