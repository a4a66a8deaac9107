"""Some rows of a map that stand for all of them: they are drawn evenly over the map, and over its labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tsne_ooc._typing import Array, Float64, Int64
from tsne_ooc.plot.frame import Frame
from tsne_ooc.plot.rows import MapRows

# The most cells across the map, and the rows that are drawn for each of them where all have equally many.
_CELLS = 64
_ROWS_EACH = 64
# Rows that are drawn, on average, from a small cell or label: one in 3,000 of those that have somewhat more loses all.
_LEAST = 8


def stratified(rows: MapRows, frame: Frame, codes: Array | None, most: int) -> Int64:
    """The numbers, ascending, of at most `most` rows: all have the same chance, and a larger one where there are few.

    So small islands and rare labels keep rows, where a uniform sample may lose them. Whether a row is drawn depends on
    its number, its cell of the map and its label; no more than some blocks are in memory. Rows without a place are not
    drawn.

    Parameters
    ----------
    rows : MapRows
    frame : Frame
    codes : int array of shape (n,), optional
        Labels as numbers.
    most : int
    """
    labels = 1 if codes is None else int(codes.max(initial=0)) + 1
    across = int(np.clip(np.sqrt(most / _ROWS_EACH), 1, _CELLS))
    cells, kinds = np.zeros(across**2, np.int64), np.zeros(labels, np.int64)
    for _, there, cell, kind in _strata(rows, frame, codes, across):
        cells += np.bincount(cell[there], minlength=len(cells))
        kinds += np.bincount(kind[there], minlength=len(kinds))
    by_cell, by_kind = (_least(sizes, most) for sizes in (cells, kinds))
    share = _share(((cells, by_cell), (kinds, by_kind)), int(cells.sum()), most)
    drawn, order = [], []
    for start, there, cell, kind in _strata(rows, frame, codes, across):
        chance = np.maximum(np.maximum(by_cell[cell], by_kind[kind]), share)
        ticket = _tickets(start, start + len(there)) / chance
        taken = np.flatnonzero(there & (ticket < 1))
        drawn.append(start + taken)
        order.append(ticket[taken])
    found = np.concatenate(drawn)
    if len(found) > most:
        found = np.sort(found[np.argsort(np.concatenate(order), kind="stable")[:most]])
    return found


def _least(sizes: Int64, most: int) -> Float64:
    """The least chance of rows, by the size of their cell or label; an eighth of all that are drawn is for it."""
    each = min(float(_LEAST), most / 8 / max(1, int(np.count_nonzero(sizes))))
    return np.minimum(1.0, each / np.maximum(sizes, 1))


def _share(tables: tuple[tuple[Int64, Float64], ...], n: int, most: int) -> float:
    """The chance that all rows have, so that, with those of small cells and labels, at most `most` are drawn."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        more = [float((np.maximum(least - middle, 0) * sizes).sum()) for sizes, least in tables]
        low, high = (low, middle) if middle * n + sum(more) > most else (middle, high)
    return low


def _strata(rows: MapRows, frame: Frame, codes: Array | None, across: int) -> Iterator[tuple[int, Array, Int64, Int64]]:
    """Block by block: its first row, which of its rows have a place, and the cell and the label of each."""
    low, high = frame.square()
    for start, stop, block in rows.blocks():
        there = np.asarray(np.isfinite(block).all(axis=1))
        with np.errstate(invalid="ignore"):
            places = np.clip((block - low) * (across / (high - low)), 0, across - 1)
        places = np.where(there[:, None], places, 0)
        kinds = np.zeros(len(block), np.int64) if codes is None else codes[start:stop].astype(np.int64)
        column, row = places.T.astype(np.int64)
        yield start, there, row * across + column, kinds


def _tickets(start: int, stop: int) -> Float64:
    """A number from 0 to 1 for each row, which looks random and depends on the row's number only (SplitMix64)."""
    state = np.arange(start + 1, stop + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53
