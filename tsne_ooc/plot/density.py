"""A picture of how many rows each place has, for any number of rows, in one pass and with little memory."""

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
from tsne_ooc.plot.rows import MapRows, Together

#: Cells of the picture, across and up.
CELLS = 800
#: Coarse cells, across and up, which tell where most rows of a label are.
COARSE = 100
# Steps of light, and of a scale, which are added up as whole numbers, so that the number of threads does not matter.
_STEPS = 1 << 20
# How strongly a cell with one row is drawn, where the fullest one has 1.
_FAINTEST = 0.22
# Rows are alone where few cells have any, among those so many across and up. With so many others they are not alone: of
# 8, 16 and 24 others 16 had neither a pale ring around islands nor dots within them (300,000 rows, and 1.3 million).
_NEAR, _CROWD = 7, 16


@dataclass(frozen=True)
class Counts:
    """The cells of a picture.

    Attributes
    ----------
    rows : uint64 (CELLS, CELLS)
        How many rows are in each cell; the first row of cells is the lowest.
    light : float64 (CELLS, CELLS, 3), or None
        The mean light of the colours of these rows.
    values : float64 (CELLS, CELLS), or None
        The mean of their numbers; NaN where no row has one.
    kinds : uint32 (labels, COARSE, COARSE)
        How many rows of each label are in each coarse cell.
    """

    rows: Array
    light: Float64 | None
    values: Float64 | None
    kinds: Array


def count(
    rows: MapRows | Together,
    shown: Kinds | Scale | None,
    colors: Float64,
    bounds: tuple[Float64, Float64],
    threads: Threads,
) -> Counts:
    """Count the rows of a map in the cells of a picture.

    Parameters
    ----------
    rows : MapRows or Together
    shown : Kinds, Scale or None
        What the rows are coloured by.
    colors : float64 (labels, 3)
        Colours of kinds on the screen; only one where there are no labels.
    bounds : pair of float64 (2,)
        The corners of what is shown.
    threads : Threads
    """
    low, high = bounds
    per_unit = CELLS / (high - low)
    frame = np.concatenate([low, per_unit])
    values = shown if isinstance(shown, Scale) else None
    light = np.rint(linear(colors) * _STEPS).astype(np.uint64)
    # Each thread has its own sums, and sums of whole numbers are the same in any order.
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
    """How strongly each cell is drawn, from 0 (it has no row) to 1 (it has the most)."""
    depth = np.zeros(rows.shape)
    filled = rows > 0
    if filled.any():
        share = pick("shading", shading, {"equalized": _equalized, "log": _logarithm})(rows[filled])
        depth[filled] = _FAINTEST + (1 - _FAINTEST) * share
    return depth


def _equalized(rows: Array) -> Float64:
    """The share of cells that have fewer rows, so that each shade is used as often as any other."""
    numbers, place, times = np.unique(rows, return_inverse=True, return_counts=True)
    fewer = np.cumsum(times) - times
    return (fewer / max(1, fewer[-1]))[place] if len(numbers) > 1 else np.ones(len(rows))


def _logarithm(rows: Array) -> Float64:
    """The logarithm as a share of the largest, where the fullest 0.1 % of cells are cut off."""
    most = np.log(np.percentile(rows, 99.9))
    return np.clip(np.log(rows.astype(float)) / most, 0, 1) if most > 0 else np.ones(len(rows))


def image_of(counts: Counts, shown: Kinds | Scale | None, plain: str, shading: str) -> Float32:
    """The picture as red, green, blue and opacity, shape (CELLS, CELLS, 4); its first row is the lowest."""
    # In 32 bits matplotlib scales it to the size of the axes in half the time.
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


def lone(counts: Counts) -> Float64:
    """How alone the rows of each cell are, from 0 (a dense place, or no row) to 1 (no other cell nearby has any)."""
    from scipy.ndimage import uniform_filter

    filled = counts.rows > 0
    # The cell itself is among those that are counted.
    others = uniform_filter(filled.astype(np.float64), _NEAR, mode="constant") * _NEAR**2 - 1
    return np.where(filled, np.clip(1 - others / _CROWD, 0, 1), 0.0)


def in_grey(counts: Counts, grey: str, shading: str) -> Float32:
    """The picture of a map that others are drawn over: what matters is where there are any rows at all."""
    image = image_of(counts, None, grey, shading)
    image[:, :, 3] **= 0.4
    return image


def draw_density(ax: Any, image: Float32, zorder: float = 0) -> None:
    """Draw the picture on axes, which it fills."""
    (left, right), (bottom, top) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    limits = ax.get_xlim(), ax.get_ylim()
    ax.imshow(
        image, extent=(left, right, bottom, top), origin="lower", interpolation="antialiased", aspect="equal",
        zorder=zorder,
    )  # fmt: skip
    ax.set_xlim(limits[0])
    ax.set_ylim(limits[1])
    ax.set_aspect("equal", adjustable="box")
