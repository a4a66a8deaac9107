"""Rows of a file that are done, as disjoint ranges with their checksums, in whatever order they were written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Range(NamedTuple):
    """Rows ``start`` up to ``stop`` of a file, and their CRC-32."""

    start: int
    stop: int
    crc: int


def joined(done: Iterable[Range], more: Range, row_bytes: int) -> tuple[Range, ...]:
    """Ranges in order, with one more; ranges that adjoin become one, so that few are left.

    Raises
    ------
    ValueError
        Where rows are there already.
    """
    found: list[Range] = []
    for part in sorted([*done, more]):
        if not found or found[-1].stop < part.start:
            found.append(part)
            continue
        before = found[-1]
        if part.start < before.stop:
            raise ValueError(f"rows {part.start} to {min(part.stop, before.stop) - 1} are done already")
        crc = combined(before.crc, part.crc, (part.stop - part.start) * row_bytes)
        found[-1] = Range(before.start, part.stop, crc)
    return tuple(found)


def missing(done: Iterable[tuple[int, int]], n: int) -> list[tuple[int, int]]:
    """Ranges of the rows of ``range(n)`` that are not done; the ranges that are done ascend."""
    found, at = [], 0
    for start, stop in [*done, (n, n)]:
        if at < start:
            found.append((at, start))
        at = stop
    return found


def combined(first: int, second: int, length: int) -> int:
    """CRC-32 of two pieces of bytes one after the other, from those of the two and the length of the second.

    The CRC of a piece is a polynomial over the field of two elements, modulo that of CRC-32, and the bytes behind it
    multiply it by x to the power of their bits (``crc32_combine`` of zlib, which Python does not have).
    """
    return _times(_power(8 * length), first) ^ second


# The polynomial of CRC-32. The highest bit is the coefficient of x^0.
_MODULUS = 0xEDB88320
_ONE = 1 << 31


def _times(a: int, b: int) -> int:
    product = 0
    for at in range(31, -1, -1):
        if a >> at & 1:
            product ^= b
        b = b >> 1 ^ (_MODULUS if b & 1 else 0)
    return product


def _power(n: int) -> int:
    """x^n."""
    found, square = _ONE, _ONE >> 1
    while n:
        if n & 1:
            found = _times(square, found)
        square = _times(square, square)
        n >>= 1
    return found
