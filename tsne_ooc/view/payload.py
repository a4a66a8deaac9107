"""The parts of a page that hold the map: places in 16 bits, labels in bytes, all of them as text within the page."""

from __future__ import annotations

import base64
import gzip
import json
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tsne_ooc._labels import categories_of, column, is_missing, ordered
from tsne_ooc._typing import Array, Float32, Float64, Int64, Json
from tsne_ooc.plot.frame import Frame
from tsne_ooc.plot.labels import MOST_LABELS

# Columns of words with fewer different ones are kinds, since two bytes can number them; others are texts.
MOST_KINDS = 1 << 16
# The most letters of a name that a page keeps.
_LETTERS = 200


def places(Y: Float32, frame: Frame) -> bytes:
    """Places as bytes: all x, then all y, each from 0 to 65,535 across the square that is shown, little-endian."""
    low, high = frame.square()
    share = np.clip((Y.astype(np.float64) - low) / (high - low), 0, 1)
    return np.rint(share * 65_535).astype("<u2").T.tobytes()


def column_for(name: str, labels: ArrayLike, rows: Int64) -> tuple[Json, bytes]:
    """A column for the rows that are shown: what the page is told of it, and its cells as bytes.

    Kinds are numbered from 0 on, and a missing one has the number behind the last; they take one byte where that is
    enough, else two. Numbers are float32, and a missing one is NaN.
    """
    taken: Any = column(labels, name)[rows]
    categories = categories_of(labels)
    if categories is not None:
        from tsne_ooc._labels import Categorical

        names, codes = ordered(Categorical.of(np.asarray(taken), categories), name)
    elif taken.dtype.kind in "fiub" and _on_a_scale(taken):
        return numbers_of(name, taken)
    else:
        names, codes = ordered(taken, name)
        if taken.dtype.kind == "O" and names.dtype.kind in "fiu":
            # Objects may be numbers, too, such as some with None among them, or what a mask leaves.
            numbers = np.append(names.astype(float), np.nan)[codes]
            if _on_a_scale(numbers):
                return numbers_of(name, numbers)
    if len(names) >= MOST_KINDS:
        return texts_of(name, taken)
    missing = int((codes < 0).sum())
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    kind = np.uint8 if len(names) < 255 else np.dtype("<u2")
    told = {
        "name": name, "kind": "kinds", "names": [short(one) for one in names.tolist()], "counts": counts.tolist(),
        "missing": missing, "bytes": np.dtype(kind).itemsize,
    }  # fmt: skip
    return told, np.where(codes < 0, len(names), codes).astype(kind).tobytes()


def _on_a_scale(numbers: Array) -> bool:
    """Whether numbers are no kinds: there are fractions among them, or too many different ones."""
    there = np.unique(numbers[numbers == numbers])
    whole = numbers.dtype.kind == "b" or bool((there == np.floor(there)).all())
    return not whole or len(there) > MOST_LABELS


def numbers_of(name: str, part: Array) -> tuple[Json, bytes]:
    """A column of numbers: what the page is told of it, and its cells as bytes."""
    numbers = part.astype(np.float32)
    finite = numbers[np.isfinite(numbers)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    return {"name": name, "kind": "numbers", "low": low, "high": high}, numbers.astype("<f4").tobytes()


def texts_of(name: str, part: Array) -> tuple[Json, bytes]:
    """A column of words that nearly all differ, such as names of cells, as lines of text."""
    words = ["" if is_missing(cell) else short(cell) for cell in part]
    return {"name": name, "kind": "texts"}, "\n".join(words).encode()


def gaps(rows: Int64) -> bytes:
    """Row numbers as the steps between them, in 32 bits."""
    return np.diff(rows, prepend=0).astype("<u4").tobytes()


def short(name: Any) -> str:
    """A name as a text of one line, shortened where it is long."""
    text = " ".join((name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)).split())
    # Lone surrogates, halves of letters beyond 65,535, are not text, and cannot be written.
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= _LETTERS else text[: _LETTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"


def packed(data: bytes) -> str:
    """Bytes as text, compressed."""
    # Without a time, the result is always the same. The quickest level takes 20 ms for labels of a million rows.
    return base64.b64encode(gzip.compress(data, 1, mtime=0)).decode("ascii")


def plain(data: bytes) -> str:
    """Bytes as text, as they are."""
    return base64.b64encode(data).decode("ascii")


def json_in_html(value: Any) -> str:
    """JSON that cannot end the script element it is put in, whatever words it holds."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def png(image: Float64) -> bytes:
    """An image of red, green, blue and opacity as a PNG; its first row is the lowest one."""
    pixels = np.rint(np.clip(image[::-1], 0, 1) * 255).astype(np.uint8)
    height, width = pixels.shape[:2]
    # Each line begins with a 0, which says that it is stored as it is.
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines.tobytes(), 6)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
