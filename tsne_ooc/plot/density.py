"""A picture of how many rows lie where: for as many of them as there are, in one pass and little memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tsne_ooc._kernels.cells import count_kinds, count_values
from tsne_ooc._options import pick
from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Array, Float32, Float64
from tsne_ooc.plot.colors import linear, matplotlib, screen
from tsne_ooc.plot.labels import Kinds, Scale
from tsne_ooc.plot.rows import MapRows

#: Cells of the picture, across and up.
CELLS = 800
#: Coarse cells, in which it is judged where most rows of a label are.
COARSE = 100
# Steps of light, and of a scale, that are added up as whole numbers: the threads that share the rows change no bit.
_STEPS = 1 << 20
# What a cell with one row is drawn with, next to 1 for the fullest.
_FAINTEST = 0.22


@dataclass(frozen=True)
class Counts:
    """The cells of a picture.

    Attributes
    ----------
    rows : uint64 (CELLS, CELLS)
        How many rows lie in each cell; the first row of cells is the lowest.
    light : float64 (CELLS, CELLS, 3), or None
        The mean light of the colours of these rows.
    values : float64 (CELLS, CELLS), or None
        The mean of their numbers; NaN where none has one.
    kinds : uint32 (labels, COARSE, COARSE)
        How many rows of each label lie in each coarse cell.
    """

    rows: Array
    light: Float64 | None
    values: Float64 | None
    kinds: Array


def count(
    rows: MapRows, shown: Kinds | Scale | None, colors: Float64, bounds: tuple[Float64, Float64], threads: Threads
) -> Counts:
    """Count the rows of a map in the cells of a picture.

    Parameters
    ----------
    rows : MapRows
    shown : Kinds, Scale or None
        What the rows are coloured by.
    colors : float64 (labels, 3)
        Colours of kinds on the screen; a single one without labels.
    bounds : corners of what is shown
    threads : Threads
    """
    low, high = bounds
    per_unit = CELLS / (high - low)
    frame = np.concatenate([low, per_unit])
    values = shown if isinstance(shown, Scale) else None
    light = np.rint(linear(colors) * _STEPS).astype(np.uint64)
    # One for each thread: sums of whole numbers are the same in any order.
    picture = np.zeros((threads.n, CELLS * CELLS, 4), np.uint64)
    kinds = np.zeros((threads.n, len(light), COARSE, COARSE), np.uint32)
    for start, stop, block in rows.blocks():
        if values is not None:
            labels: Array = values.values(start, stop)
        elif shown is not None:
            labels = shown.codes(start, stop)  # type: ignore[union-attr]
        else:
            labels = np.zeros(stop - start, np.int32)
        pieces = [(at, *edges) for at, edges in enumerate(ranges(len(block), -(-len(block) // threads.n)))]

        def add(at: int, first: int, last: int, block: Array = block, labels: Array = labels) -> None:
            part = block[first:last], labels[first:last]
            if values is not None:
                width = (values.high - values.low) or 1.0
                count_values(*part, values.low, width, float(_STEPS), frame, CELLS, picture[at])
            else:
                count_kinds(*part, light, frame, CELLS, COARSE, picture[at], kinds[at])

        threads.map(add, pieces)
    found = picture.sum(axis=0)
    total = found[:, 0].reshape(CELLS, CELLS)
    if values is not None:
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = found[:, 2] / found[:, 1] / _STEPS * (values.high - values.low) + values.low
        return Counts(total, None, mean.reshape(CELLS, CELLS), kinds.sum(axis=0, dtype=np.uint32))
    with np.errstate(invalid="ignore", divide="ignore"):
        mixed = found[:, 1:] / found[:, :1] / _STEPS
    return Counts(total, mixed.reshape(CELLS, CELLS, 3), None, kinds.sum(axis=0, dtype=np.uint32))


def depth_of(rows: Array, shading: str) -> Float64:
    """How strongly each cell is drawn, from 0 (no row) to 1 (most of them)."""
    depth = np.zeros(rows.shape)
    filled = rows > 0
    if filled.any():
        share = pick("shading", shading, {"equalized": _equalized, "log": _logarithm})(rows[filled])
        depth[filled] = _FAINTEST + (1 - _FAINTEST) * share
    return depth


def _equalized(rows: Array) -> Float64:
    """The share of cells that hold fewer rows: each shade is then used as often as any other."""
    numbers, place, times = np.unique(rows, return_inverse=True, return_counts=True)
    fewer = np.cumsum(times) - times
    return (fewer / max(1, fewer[-1]))[place] if len(numbers) > 1 else np.ones(len(rows))


def _logarithm(rows: Array) -> Float64:
    """The logarithm, up to that of a cell than which 0.1 % of them hold more."""
    most = np.log(np.percentile(rows, 99.9))
    return np.clip(np.log(rows.astype(float)) / most, 0, 1) if most > 0 else np.ones(len(rows))


def image_of(counts: Counts, shown: Kinds | Scale | None, plain: str, shading: str) -> Float32:
    """The picture as red, green, blue and opacity, shape (CELLS, CELLS, 4); the first row is the lowest."""
    # In 32 bits, matplotlib brings it to the size of the axes in half the time.
    image = np.zeros((CELLS, CELLS, 4), np.float32)
    filled = counts.rows > 0
    if counts.values is not None and isinstance(shown, Scale):
        colors = shown.mappable().to_rgba(np.ma.masked_invalid(counts.values[filled]))
        image[filled] = colors
    elif shown is not None and counts.light is not None:
        image[filled, :3] = np.clip(screen(counts.light[filled]), 0, 1)
    else:
        image[:, :, :3] = matplotlib().colors.to_rgb(plain)
    image[:, :, 3] = depth_of(counts.rows, shading)
    return image


def draw_density(ax: Any, image: Float32) -> None:
    """Put the picture on the axes, which it fills."""
    (left, right), (bottom, top) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    limits = ax.get_xlim(), ax.get_ylim()
    ax.imshow(image, extent=(left, right, bottom, top), origin="lower", interpolation="antialiased", aspect="equal")
    ax.set_xlim(limits[0])
    ax.set_ylim(limits[1])
    ax.set_aspect("equal", adjustable="box")
