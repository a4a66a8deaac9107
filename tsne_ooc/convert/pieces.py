"""Files of CSV, JSON lines and Parquet, piece by piece: where they are cut, and how a file of CSV is written."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tsne_ooc._cells import cells_of
from tsne_ooc.convert.spans import Spans, spans_of
from tsne_ooc.io.optional import load

# Bytes of text, and rows of Parquet, that are one piece. Three pieces are worked on at a time.
BYTES = 1 << 24
ROWS = 1 << 17
# Signs between cells; a comma comes before all that make as many of a line.
_DELIMITERS = ",;\t|"

KINDS = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".jsonl": "json", ".ndjson": "json", ".json": "json",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip


class Dialect(NamedTuple):
    """How a file of CSV is written: the sign between cells, and the sign before decimals."""

    delimiter: str = ","
    decimal: str = "."


class Piece(NamedTuple):
    """Lines of text, or rows of Parquet, as they are in a file.

    Parameters
    ----------
    file : int
        Number of the file.
    first : int
        Number of the first line, counted from 1, or of the first row, counted from 0.
    data : bytes or table of Arrow
    names : list of str
        Columns of the file; empty for all formats but CSV.
    dialect : Dialect
        Of CSV.
    spans : Spans
        Rows of CSV over several lines.
    """

    file: int
    first: int
    data: Any
    names: list[str]
    dialect: Dialect = Dialect()
    spans: Spans = Spans()


def kind_of(path: Path) -> str | None:
    """The kind of a file, by its name; None for a name that says nothing."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return KINDS.get(suffixes[-1]) if suffixes else None


def is_tabbed(path: Path) -> bool:
    """Whether a file says by its name that its cells are between tabs."""
    return ".tsv" in [suffix.lower() for suffix in path.suffixes]


def delimiter_of(path: Path, head: str, row: str = "") -> str:
    """The sign between the cells of a file, by its first line of names and by the row behind it.

    It is a comma, unless another sign makes as many cells, two or more, of both lines, and a comma does not; where no
    sign does, one that makes several names.
    """
    if is_tabbed(path):
        return "\t"
    sizes = {sign: (len(_cells_of(head, sign)), len(_cells_of(row, sign))) for sign in _DELIMITERS}
    alike = [sign for sign, (names, cells) in sizes.items() if names == cells > 1]
    return next(iter([*alike, *(sign for sign, (names, _) in sizes.items() if names > 1)]), ",")


def _cells_of(text: str, delimiter: str) -> list[str]:
    try:
        return cells_of(text, delimiter)
    except ValueError:
        return []


def _decimal(data: bytes, delimiter: str) -> str:
    """The sign before decimals: a point, unless cells have commas where numbers have points, and no points."""
    if delimiter == ",":
        return "."
    cells = rb"(?:^|[%b])\"?[-+]?\d*[%b]\d+(?:[eE][-+]?\d+)?\"?(?=[%b\r\n]|$)"
    sign = re.escape(delimiter.encode())
    found = [re.search(cells % (sign, point, sign), data, re.MULTILINE) is not None for point in (rb"\.", b",")]
    return "," if found == [False, True] else "."


def pieces_of(path: Path, number: int) -> Iterator[Piece]:
    """The pieces of a file, in order."""
    if kind_of(path) == "parquet":
        parquet = load("pyarrow.parquet", "parquet", f"reading {path}")
        at = 0
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS):
                yield Piece(number, at, batch, [])
                at += batch.num_rows
        return
    arrow = load("pyarrow", "parquet", f"reading {path}")
    lines = _Lines(path, number)
    held = b""
    with arrow.input_stream(str(path), compression="detect") as file:
        while more := file.read(BYTES):
            end = more.rfind(b"\n") + 1
            if not end:
                held += more
            else:
                # One copy of each byte: with `held + more` and two slices it is four times as slow.
                piece, begun = lines.piece(b"".join((held, memoryview(more)[:end])), last=False)
                held = begun + more[end:]
                if piece is not None:
                    yield piece
        piece, _ = lines.piece(held, last=True)
        if piece is not None:
            yield piece
    if lines.csv and not lines.names:
        raise ValueError(f"{path} is empty; a table begins with a line of names")


class _Lines:
    """The lines of a file of text, cut into pieces; of CSV, the names in its first line, and how it is written."""

    def __init__(self, path: Path, number: int) -> None:
        self.path, self.number = path, number
        self.csv = kind_of(path) == "csv"
        self.delimiter = ","
        self.line = 1
        self.names: list[str] = []
        self.dialect: Dialect | None = None

    def piece(self, data: bytes, *, last: bool) -> tuple[Piece | None, bytes]:
        """The piece of the lines that come next, if there is one, and those of a row that goes on behind them."""
        if self.csv and not self.names and data:
            head, _, data = data.partition(b"\n")
            self.line += 1
            self._read(head, data.partition(b"\n")[0])
        if self.dialect is None and data:
            self.dialect = Dialect(self.delimiter, _decimal(data, self.delimiter))
        spans, end = Spans(), len(data)
        if self.csv:
            spans, end = spans_of(data, self.delimiter, len(self.names), last=last)
        data, begun = (data, b"") if end == len(data) else (data[:end], data[end:])
        if not data or self.dialect is None:
            return None, begun
        piece = Piece(self.number, self.line, data, list(self.names), self.dialect, spans)
        self.line += data.count(b"\n")
        return piece, begun

    def _read(self, head: bytes, row: bytes) -> None:
        try:
            text = head.decode("utf-8-sig").rstrip("\r")
        except UnicodeDecodeError:
            raise ValueError(f"{self.path} is not text in UTF-8; save it as CSV in UTF-8") from None
        if "\r" in text:
            raise ValueError(
                f"{self.path} has carriage returns in its line of names; lines end with a newline, so save it with "
                f"these, or: tr '\\r' '\\n' < {self.path.name} > {self.path.stem}-lines{self.path.suffix}"
            )
        self.delimiter = delimiter_of(self.path, text, row.decode("utf-8", "replace").rstrip("\r"))
        self.names = [name.strip() for name in _cells_of(text, self.delimiter)]
        if not self.names:
            raise ValueError(f"{self.path} has no line of names; a table begins with one")
        if doubled := [name for name, times in Counter(self.names).items() if times > 1]:
            called = f"several columns {doubled[0]!r}" if doubled[0] else "several columns without a name"
            raise ValueError(f"{self.path} has {called}; give each a name of its own in the first line")
        if all(map(_is_float, self.names)) and not all(name.strip().isdecimal() for name in self.names):
            # Whole numbers may be names: those of pandas count the columns.
            raise ValueError(
                f"{self.path} begins with a line of numbers, and a table with a line of names; put one there"
            )


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
