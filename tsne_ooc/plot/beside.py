"""Two maps of the same rows, side by side, and how far rows moved from one to the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tsne_ooc._options import counted
from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Float32
from tsne_ooc.plot.colors import matplotlib
from tsne_ooc.plot.frame import Frame, fit_axes
from tsne_ooc.plot.labels import Kinds, Scale, coloring
from tsne_ooc.plot.legend import add_bar, add_legend, add_note, plain, widen
from tsne_ooc.plot.rows import MapRows
from tsne_ooc.plot.scatter import draw_rows, new_figure, paper_of

#: A row counts as moved where it is farther than this from where it was, in widths of the map.
MOVED = 0.1
# The most rows by which one map is laid on the other.
_LAID_BY = 1 << 20


def beside(
    first: ArrayLike,
    second: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    titles: tuple[str, str] = ("first", "second"),
    colors: Sequence[Any] | Mapping[Any, Any] | str | None = None,
    legend: bool = True,
    shading: str = "equalized",
    dark: bool = False,
    caption: str | None = None,
    dpi: int = 200,
    n_jobs: int | None = None,
) -> Any:
    """Draw two maps of the same rows side by side, and how far each row moved from one to the other.

    A map that is turned, mirrored, or made larger or smaller is the same map. So the first map is laid on the second as
    well as possible, as by `tsne_ooc.metrics.displacement`. The distance that is left is how far a row moved, in widths
    of the second map; where it is more than a tenth the row counts as moved, and a note counts such rows. Islands at
    another place need not mean anything: t-SNE says little about how far islands are from each other.

    Parameters
    ----------
    first, second : array_like of shape (n_samples, 2)
    labels : array_like of shape (n_samples,), optional
        What both maps are coloured by; a third picture then shows the second map, coloured by how far rows moved.
        Without labels both maps are coloured by that.
    titles : tuple of str
        The titles of the two maps.
    colors, legend, shading, dark, caption, dpi, n_jobs
        As in `scatter`.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ImportError, ValueError
        As `scatter` raises them; also for maps of different lengths.

    Examples
    --------
    >>> beside(one.embedding_, other.embedding_, y).savefig("moved.png")  # doctest: +SKIP
    """
    matplotlib()
    maps = MapRows(first), MapRows(second)
    if maps[0].n != maps[1].n:
        raise ValueError(
            f"the first map has {counted(maps[0].n, 'rows')}, and the second {maps[1].n:,}; give maps of one table"
        )
    threads, paper, n = Threads(n_jobs), paper_of(dark), maps[0].n
    laid = MapRows(laid_on(*maps))
    frames = [Frame.around(rows, threads) for rows in (laid, maps[1])]
    width = float((frames[1].high - frames[1].low).max()) or 1.0
    distance = np.empty(n, np.float32)
    for start, stop, block in laid.blocks():
        with np.errstate(invalid="ignore"):
            distance[start:stop] = np.linalg.norm(block - maps[1].block(start, stop), axis=1) / width
    known = matplotlib()
    # The ends of the colour map are left out, since they are too near to the colour of the paper.
    shades = known.colormaps["magma" if dark else "magma_r"](np.linspace(0.18, 0.95, 256))
    cmap = known.colors.ListedColormap(shades).with_extremes(bad=paper.missing)
    moved = Scale(0.0, max(float(np.nanmax(distance)), MOVED), cmap, distance)
    shown = moved if labels is None else coloring(labels, n, colors, paper)
    pictures = [(laid, frames[0], shown, titles[0]), (maps[1], frames[1], shown, titles[1])]
    if labels is not None:
        pictures.append((maps[1], frames[1], moved, "how far rows moved, in widths of the map"))
    figure = new_figure(5.2 * len(pictures) + 0.8, 5.6, dpi, paper)
    grid = figure.subplots(1, len(pictures), squeeze=False).ravel().tolist()
    for ax, (rows, frame, own, title) in zip(grid, pictures, strict=True):
        ax.set_facecolor(paper.ground)
        fit_axes(ax, frame)
        _, scale = draw_rows(ax, rows, own, paper, threads, shading=shading, far=frame.far, width=5.2)
        plain(ax.set_title(" ", loc="left", fontsize=10, color=paper.ink), title)
        if isinstance(own, Scale) and legend and ax is grid[-1]:
            add_bar(ax, scale, paper)
    far = int((distance > MOVED).sum())
    told = f"{counted(far, 'rows')} ({far / n:.1%}) moved by more than a tenth of the map's width"
    add_note(grid[0], [caption or "", told, frames[0].note()], paper)
    if legend and isinstance(shown, Kinds):
        there = np.flatnonzero(shown.counts)
        box = add_legend(grid[1], shown.names[there], shown.colors(paper.missing)[there], paper)
        widen(figure, box)
    return figure


def laid_on(first: MapRows, second: MapRows) -> Float32:
    """The first map, turned, mirrored, scaled and moved onto the second by least squares over their rows."""
    one, other = (rows.some(_LAID_BY).astype(np.float64) for rows in (first, second))
    there = np.isfinite(one).all(axis=1) & np.isfinite(other).all(axis=1)
    if not there.any():
        raise ValueError("no row has a place on both maps")
    one, other = one[there], other[there]
    middle, goal = one.mean(axis=0), other.mean(axis=0)
    left, sizes, right = np.linalg.svd((one - middle).T @ (other - goal))
    extent = float(np.square(one - middle).sum())
    turn = (float(sizes.sum()) / extent if extent > 0 else 0.0) * (left @ right)
    found = np.empty((first.n, 2), np.float32)
    for start, stop, block in first.blocks():
        # A row whose place is infinite has none afterwards either.
        with np.errstate(invalid="ignore"):
            found[start:stop] = (block - middle) @ turn + goal
    return found
