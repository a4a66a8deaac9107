"""Rows of a piece of CSV, JSON lines or Parquet as numbers, with the line of each, and the lines that are not rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tsne_ooc._cells import cells_of
from tsne_ooc._typing import Array, Float64, Int64
from tsne_ooc.convert import pieces
from tsne_ooc.convert.pieces import Piece

# Cells of a column that tell whether it is one of numbers, with some words.
_FIRST = 1000


class Rejected(NamedTuple):
    """A line that is not a row of the table, and why."""

    line: int
    reason: str
    text: str


@dataclass
class Rows:
    """Rows of the table.

    Parameters
    ----------
    numbers : ndarray of float64, shape (m, columns of numbers)
    words : dict of str to ndarray of object
        Columns of words; a missing word is None.
    lines : ndarray of int64, shape (m,)
        The line, or the row of a file, that each row is from.
    rejected : list of Rejected
    """

    numbers: Float64
    words: dict[str, Array]
    lines: Int64
    rejected: list[Rejected] = field(default_factory=list)

    def reject(self, bad: Array, reason: Callable[[int], str], text: Callable[[int], str]) -> None:
        """Move the rows of a mask to `rejected`; `reason` and `text` are called with the number of each."""
        self.rejected += [Rejected(int(self.lines[i]), reason(i), text(i)) for i in np.flatnonzero(bad).tolist()]
        self.numbers, self.lines = self.numbers[~bad], self.lines[~bad]
        self.words = {name: column[~bad] for name, column in self.words.items()}


def types_of(piece: Piece, kind: str) -> dict[str, Any]:
    """The names of the columns of a piece, and their types in Arrow."""
    if kind == "parquet":
        return dict(zip(piece.data.schema.names, piece.data.schema.types, strict=True))
    import pyarrow as pa

    if kind == "json":
        from pyarrow import json as reader

        try:
            table = reader.read_json(pa.BufferReader(piece.data))
        except pa.ArrowInvalid:
            return _types_of_lines(piece)
    else:
        try:
            table = _read_csv(piece, {}, piece.names)[0]
        except pa.ArrowInvalid:
            # Rows of another number of cells are passed over only in text.
            plain = piece.data.decode("utf-8", "replace").encode()
            if plain == piece.data:
                raise
            table = _read_csv(piece._replace(data=plain), {}, piece.names)[0]
    return dict(zip(table.schema.names, table.schema.types, strict=True))


def _types_of_lines(piece: Piece) -> dict[str, Any]:
    """The types of columns that are not of one type, or of lines that are not all JSON."""
    import pyarrow as pa

    kinds: dict[str, set[bool]] = {}
    for raw in piece.data.split(b"\n"):
        try:
            found = _cells(_text_of(raw), "json", "", [])
        except ValueError:
            continue
        for name, cell in found.items():
            if cell is not None:
                kinds.setdefault(name, set()).add(isinstance(cell, int | float))
    if not kinds:
        raise ValueError(
            "the first lines are not objects of JSON, one in each line; with pandas: "
            "table.to_json('table.jsonl', orient='records', lines=True)"
        )
    return {name: pa.float64() if kind == {True} else pa.string() for name, kind in kinds.items()}


def mixed(piece: Piece, kind: str, texts: list[str]) -> dict[str, str]:
    """Which columns of text in a piece of text hold numbers in most of their first cells; of each, one that is not."""
    found = {}
    words = rows_of(piece, kind, [], texts).words if texts else {}
    for name, column in words.items():
        cells = [cell for cell in column.tolist() if cell is not None]
        others = (cell for cell in cells if not _holds_number(cell, piece.dialect.decimal))
        if sum(_holds_number(cell, piece.dialect.decimal) for cell in cells[:_FIRST]) * 2 > len(cells[:_FIRST]):
            found[name] = str(next(others, ""))
    return found


def _holds_number(cell: str, decimal: str) -> bool:
    try:
        _number(cell, "", decimal)
    except ValueError:
        return False
    return True


def rows_of(piece: Piece, kind: str, numbers: list[str], words: list[str]) -> Rows:
    """The rows of a piece as numbers and words."""
    if kind == "parquet":
        lines = np.arange(piece.first, piece.first + piece.data.num_rows)
        return _finite(_of_table(piece.data, numbers, words, lines), numbers, lambda i: "")
    import pyarrow as pa

    try:
        if piece.spans.torn:
            raise pa.ArrowInvalid("quotes that do not end")
        if kind == "csv":
            kinds = {name: pa.float64() for name in numbers} | {name: pa.string() for name in words}
            table, lost = _read_csv(piece, kinds, [*numbers, *words])
        else:
            from pyarrow import json as reader

            fields = [(name, pa.float64()) for name in numbers] + [(name, pa.string()) for name in words]
            options = reader.ParseOptions(explicit_schema=pa.schema(fields), unexpected_field_behavior="ignore")
            table, lost = reader.read_json(pa.BufferReader(piece.data), parse_options=options), []
        lines = _lines(piece, table.num_rows + len(lost) if kind == "csv" else None)
        if len(lines) != table.num_rows + len(lost):
            raise pa.ArrowInvalid("rows over several lines")
        kept = np.ones(len(lines), bool)
        kept[[row.number - 1 for row in lost]] = False
        found = _of_table(table, numbers, words, lines[kept])
        for row in lost:
            reason = f"{row.actual_columns} cells, and {row.expected_columns} columns"
            found.rejected.append(Rejected(int(lines[row.number - 1]), reason, row.text))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        # One cell that cannot be read fails the whole piece, which is then read line by line.
        found = _line_by_line(piece, kind, numbers, words)
    given = found.lines

    raws: dict[int, bytes] = {}

    def text(i: int) -> str:
        # All at once: where a column is beyond range each row is asked for.
        if not raws:
            raws.update(_rows_as_they_are(piece))
        return raws[int(given[i])].decode("utf-8", "replace").rstrip("\r")

    return _finite(found, numbers, text)


def _lines(piece: Piece, rows: int | None = None) -> Int64:
    """The numbers of the lines that rows begin with, of a piece of CSV in which so many rows were found."""
    if piece.spans.found:
        return np.array([line for line, raw in _rows_as_they_are(piece) if raw.rstrip(b"\r")], np.int64)
    data = piece.data
    n = data.count(b"\n") + (not data.endswith(b"\n"))
    # A row of CSV ends with its line, where no other sign ends one. A search for empty lines takes .15 s of 100 MB.
    if n == rows and b"\r" not in data:
        return np.arange(piece.first, piece.first + n)
    # Bytes that only an empty line has are searched: to look at each line would take as long as reading its numbers.
    if b"\n\n" not in data and b"\n\r\n" not in data and not data.startswith((b"\n", b"\r\n")):
        return np.arange(piece.first, piece.first + n)
    filled = [number for number, text in enumerate(data.split(b"\n")) if text.rstrip(b"\r")]
    return piece.first + np.array(filled, np.int64)


def _rows_as_they_are(piece: Piece) -> Iterator[tuple[int, bytes]]:
    """The number of the first line of each row of text, and its lines; an empty line is one, too."""
    lines = piece.data.split(b"\n")
    at = 0
    for first, more in piece.spans.found:
        yield from enumerate(lines[at:first], start=piece.first + at)
        at = first + more
        yield piece.first + first, b"\n".join(lines[first:at])
    yield from enumerate(lines[at:], start=piece.first + at)


def _read_csv(piece: Piece, kinds: dict[str, Any], names: list[str]) -> tuple[Any, list[Any]]:
    import pyarrow as pa
    from pyarrow import csv as reader

    lost: list[Any] = []

    def skip(row: Any) -> str:
        lost.append(row)
        return "skip"

    table = reader.read_csv(
        pa.BufferReader(piece.data),
        # Rows that are skipped have a number only where one thread reads them.
        read_options=reader.ReadOptions(
            column_names=piece.names, use_threads=False, block_size=max(2 * pieces.BYTES, len(piece.data))
        ),
        parse_options=reader.ParseOptions(
            # It is handed text: for a row that is none, pyarrow writes a traceback, and ends all the same.
            delimiter=piece.dialect.delimiter,
            invalid_row_handler=skip if _is_text(piece.data) else None,
        ),
        convert_options=reader.ConvertOptions(
            column_types=kinds, include_columns=names, strings_can_be_null=True, decimal_point=piece.dialect.decimal
        ),
    )
    return table, lost


def _is_text(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _of_table(table: Any, numbers: list[str], words: list[str], lines: Int64) -> Rows:
    import pyarrow as pa
    import pyarrow.compute as pc

    # Column by column: 100 MB of text take .1 s here and where it is rounded, and .3 where rows lie together.
    out = np.empty((table.num_rows, len(numbers)), order="F")
    for j, name in enumerate(numbers):
        column = table.column(name)
        column = pc.cast(column, pa.float64(), safe=False) if column.type != pa.float64() else column
        out[:, j] = column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy()
    texts = {}
    for name in words:
        column = pc.cast(table.column(name), pa.string())
        texts[name] = np.array(column.to_pylist(), object)
    return Rows(out, texts, lines)


def _line_by_line(piece: Piece, kind: str, numbers: list[str], words: list[str]) -> Rows:
    """Do as `rows_of` does, a thousand times slower, and say what is wrong with each line that is not a row."""
    rows: list[list[float]] = []
    texts: list[list[str | None]] = []
    lines: list[int] = []
    rejected = []
    for line, raw in _rows_as_they_are(piece):
        if not raw.rstrip(b"\r"):
            continue
        try:
            cells = _cells(_text_of(raw).rstrip("\r"), kind, piece.dialect.delimiter, piece.names)
            rows.append([_number(cells.get(name), name, piece.dialect.decimal) for name in numbers])
            texts.append([_word(cells.get(name)) for name in words])
            lines.append(line)
        except ValueError as error:
            rejected.append(Rejected(line, str(error).split("\n")[0], raw.decode("utf-8", "replace").rstrip("\r")))
    columns = np.array(texts, object).reshape(len(texts), len(words))
    return Rows(
        np.array(rows, np.float64).reshape(len(rows), len(numbers)),
        {name: columns[:, j] for j, name in enumerate(words)},
        np.array(lines, np.int64),
        rejected,
    )


def _text_of(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("not text in UTF-8; save the file in it, such as by: iconv -f latin1 -t utf-8") from None


def _cells(text: str, kind: str, delimiter: str, names: list[str]) -> dict[str, Any]:
    if kind == "json":
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("not an object of JSON")
        return found
    cells = cells_of(text, delimiter, strict=True)
    if len(cells) != len(names):
        raise ValueError(f"{len(cells)} cells, and {len(names)} columns")
    return dict(zip(names, cells, strict=True))


# What pyarrow reads as a missing value.
_NULLS = frozenset(
    ("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "N/A", "NA", "NULL",
     "NaN", "n/a", "nan", "null")
)  # fmt: skip
_TRUTHS = {"true": 1.0, "false": 0.0}


def _number(cell: Any, name: str, decimal: str) -> float:
    if cell is None or (isinstance(cell, str) and cell in _NULLS):
        return float("nan")
    try:
        if isinstance(cell, str) and decimal != "." and "." not in cell:
            return _TRUTHS[cell.lower()] if cell.lower() in _TRUTHS else float(cell.replace(decimal, "."))
        if isinstance(cell, str) and decimal == ".":
            return _TRUTHS[cell.lower()] if cell.lower() in _TRUTHS else float(cell)
        if isinstance(cell, int | float):
            return float(cell)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"column {name!r} holds {str(cell)[:40]!r}, which is not a number")


def _word(cell: Any) -> str | None:
    if cell is None or (isinstance(cell, str) and cell in _NULLS):
        return None
    return cell if isinstance(cell, str) else json.dumps(cell)


def _finite(rows: Rows, numbers: list[str], text: Callable[[int], str]) -> Rows:
    """Reject rows whose numbers are too large for float32."""
    with np.errstate(over="ignore"):
        infinite = np.isinf(rows.numbers.astype(np.float32))
    bad = np.asarray(infinite.any(axis=1))
    if bad.any():
        values = rows.numbers

        def reason(i: int) -> str:
            j = int(infinite[i].argmax())
            return f"column {numbers[j]!r} holds {values[i, j]:g}, beyond the range of float32"

        rows.reject(bad, reason, text)
    return rows
