"""The picture of a map: points where they can be told apart, else how many rows there are in each place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tsne_ooc._options import counted, number, truth, whole
from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Array, Float32, Float64, Int64
from tsne_ooc.plot.colors import DARK, LIGHT, Paper, matplotlib
from tsne_ooc.plot.density import Counts, count, draw_density, image_of, in_grey, lone
from tsne_ooc.plot.frame import Frame, at_the_rim, fit_axes
from tsne_ooc.plot.labels import Kinds, Scale, coloring
from tsne_ooc.plot.legend import add_bar, add_legend, add_note, widen
from tsne_ooc.plot.rows import MapRows, Together
from tsne_ooc.plot.text import add_names

# More points than this hide each other: of a quarter of a million, half are over others at 7 inches and 200 dpi.
MOST_POINTS = 250_000
# Of more rows, those that are alone are drawn as all are where there are a quarter of a million.
_LONE_SIZE, _LONE_OPACITY = 0.5, 0.61


def scatter(
    Y: ArrayLike,
    labels: ArrayLike | None = None,
    ax: Any = None,
    *,
    title: str | None = None,
    size: float | None = None,
    alpha: float | None = None,
    colors: Sequence[Any] | Mapping[Any, Any] | str | None = None,
    legend: bool = True,
    density: bool | None = None,
    dpi: int = 200,
    text: bool = False,
    highlight: ArrayLike | None = None,
    ring: ArrayLike | None = None,
    behind: ArrayLike | None = None,
    shading: str = "equalized",
    dark: bool = False,
    caption: str | None = None,
    n_jobs: int | None = None,
) -> Any:
    """Draw a map of one or two dimensions, of any number of rows.

    Up to 250,000 rows are points. More rows are counted in cells, block by block, so that a map in a file that is
    larger than memory takes one pass and little memory. A cell has the mixed colour of its rows, and the more rows it
    has, the stronger it is drawn.

    Parameters
    ----------
    Y : array_like of shape (n_samples, 1) or (n_samples, 2)
        The map, such as ``numpy.load("map/embedding.npy", mmap_mode="r")``. A map of one dimension is drawn as points
        along a line, spread at random across it. Rows with NaN are left out, and a note counts them. A few rows that
        are far away from all others (a fifth of a percent at most, beyond three times the width of the map) are drawn
        as rings at the rim, and a note counts them.
    labels : array_like of shape (n_samples,), optional
        Labels of any type: words, numbers, dates, bytes. Up to 100 different words get a colour each and a legend, in
        the order of their categories where they have one (pandas, AnnData, Arrow), else sorted, "2" before "10". Whole
        numbers of up to 40 kinds are such labels; others are drawn on a continuous scale. Rows whose label is missing
        (None, NaN) are light grey.
    ax : matplotlib Axes, optional
        Where to draw, beside what is there. By default a new figure is made, without pyplot and its backend.
    title : str, optional
        Title of the axes.
    size, alpha : float, optional
        Area of a point in square points, also of those behind, and its opacity; both follow the number of rows by
        default.
    colors : sequence of colours, mapping, or str, optional
        One colour for each label, in the order of the legend; with categories one for each of them, also for those that
        no row has, as in ``adata.uns["louvain_colors"]``. Or a mapping from labels to colours. Or the name of a colour
        map of matplotlib; with one for scales, such as "viridis", numbers are drawn on a scale. By default a palette of
        a hundred colours, which people with the common forms of colour blindness can tell apart.
    legend : bool
        Draw a legend outside of the axes.
    density : bool, optional
        Shade by density instead of drawing points, as is done by default above 250,000 rows. On a scale, the colour of
        a cell is that of the mean of its numbers.
    dpi : int
        Resolution of a new figure, and of the points within a vector graphic.
    text : bool
        Write the name of each label on the map, where most of its rows are; names that would lie over others are left
        to the legend.
    highlight : array_like of int or bool, optional
        Numbers of rows, or a mask of all, that are drawn large on top of the others, which turn grey.
    ring : array_like of int or bool, optional
        Numbers of rows, or a mask of all, that get a ring.
    behind : array_like of shape (n_others, 1) or (n_others, 2), optional
        Other rows on the same map, which are grey and behind these: the map that these were placed on.
    shading : {"equalized", "log"}
        How density becomes depth of colour: so that each shade is used equally often, or by the logarithm.
    dark : bool
        A dark background.
    caption : str, optional
        Small words below the map, such as how it was made.
    n_jobs : int, optional
        Threads that count; all cores by default. The picture does not depend on it.

    Returns
    -------
    matplotlib Axes
        Save it with ``ax.figure.savefig("map.png")``.

    Raises
    ------
    ImportError
        Where matplotlib is not installed.
    ValueError
        For maps of three or more dimensions, maps without a row that has a place, and labels or colours that do not
        fit.

    Examples
    --------
    >>> scatter(model.embedding_, labels).figure.savefig("map.png")  # doctest: +SKIP
    """
    matplotlib()
    rows, threads = MapRows(Y), Threads(n_jobs)
    paper = paper_of(dark)
    shown = None if labels is None else coloring(labels, rows.n, colors, paper)
    marked = None if highlight is None else chosen(highlight, rows.n)
    ringed = None if ring is None else chosen(ring, rows.n, "ring")
    below = below_of(behind, rows)
    frame = Frame.around(rows if below is None else Together(below, rows), threads)
    own = ax is None
    if own:
        from tsne_ooc.plot.figure import Map

        ax = new_figure(7, 7, dpi, paper).add_subplot(axes_class=Map, facecolor=paper.ground)
    elif dark:
        ax.set_facecolor(paper.ground)
    fit_axes(ax, frame)
    if below is not None:
        _behind(ax, below, paper, threads, size, shading)
    counts, scale = draw_rows(
        ax, rows, shown, paper, threads, size=size, alpha=alpha, density=density, text=text, shading=shading,
        marked=marked, far=frame.far,
    )  # fmt: skip
    if title is not None:
        ax.set_title(title, loc="left", fontsize=11, color=paper.ink)
    if ringed is not None:
        _ringed(ax, rows, ringed, paper)
    told = [] if below is None else [f"{counted(rows.n, 'rows')} on a map of {counted(below.n, 'rows')} in grey"]
    for some, what in ((marked, "highlighted"), (ringed, "ringed")):
        told += [] if some is None else [f"{counted(len(some), 'rows')} {what}"]
    add_note(ax, [caption or "", "; ".join(told), frame.note()], paper)
    if scale is not None and legend:
        add_bar(ax, scale, paper)
    if isinstance(shown, Kinds):
        there, palette = np.flatnonzero(shown.counts), shown.colors(paper.missing)
        if legend:
            box = add_legend(ax, shown.names[there], palette[there], paper)
            if own:
                # A map in the middle of its room would push the legend out of the figure.
                ax.set_anchor("W")
                widen(ax.figure, box)
        if text and counts is not None:
            add_names(ax, shown.names, palette, counts.kinds, paper)
    return ax


def draw_rows(
    ax: Any,
    rows: MapRows,
    shown: Kinds | Scale | None,
    paper: Paper,
    threads: Threads,
    *,
    size: float | None = None,
    alpha: float | None = None,
    density: bool | None = None,
    text: bool = False,
    shading: str = "equalized",
    marked: Int64 | None = None,
    far: int = 0,
    width: float = 7,
) -> tuple[Counts | None, Any]:
    """Draw rows on axes whose limits are set, as points or as density.

    The parameters are those of `scatter`; `far` rows are beyond the limits, and the picture is `width` inches wide.

    Returns
    -------
    counts : Counts or None
        The rows in each cell, where they were counted: for density, and for `text`.
    scale : mappable of matplotlib, or None
        The object that a colour bar is drawn from.
    """
    to_rgb = matplotlib().colors.to_rgb
    if density is None:
        density = rows.n > MOST_POINTS
    palette = shown.colors(paper.missing) if isinstance(shown, Kinds) else np.array([to_rgb(paper.points)])
    counts: Counts | None = None
    if density or (text and isinstance(shown, Kinds)):
        counts = count(rows, shown, palette, _bounds(ax), threads)
    scale = shown.mappable() if isinstance(shown, Scale) else None
    if density and counts is not None:
        image = image_of(counts, shown, paper.density, shading)
        if marked is not None:
            image[:, :, :3] = to_rgb(paper.missing)
        draw_density(ax, image)
        _specks(ax, counts, image)
        if far:
            _ring_the_rim(ax, counts, paper)
    else:
        size = _point_size(rows.n, width) if size is None else number("size", size, least=0)
        alpha = _opacity(rows.n) if alpha is None else number("alpha", alpha, least=0, most=1)
        drawn = _points(ax, rows, shown, palette, size, alpha, paper, grey=marked is not None)
        scale = drawn if scale is not None and marked is None else scale
    if marked is not None:
        _highlighted(ax, rows, shown, palette, marked, paper)
    return counts, scale


def chosen(rows: ArrayLike, n: int, name: str = "highlight") -> Int64:
    """The numbers of rows, ascending and each once, from such numbers or from a mask of all rows.

    Raises
    ------
    ValueError
        For a mask of another length, and for numbers that no row has.
    TypeError
        For an array that is neither.
    """
    array = np.atleast_1d(np.asarray(rows))
    if array.dtype.kind == "b":
        if array.shape != (n,):
            raise ValueError(f"{name} has shape {array.shape}, and Y has {counted(n, 'rows')}")
        return np.flatnonzero(array)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"{name} holds {array.dtype}, neither numbers of rows nor a mask of all")
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; give a list of numbers of rows")
    wrong = array[(array < 0) | (array >= n)]
    if len(wrong):
        raise ValueError(f"{name} names row {int(wrong[0])}, and Y has {counted(n, 'rows')}, from 0 on")
    return np.unique(array.astype(np.int64))


def below_of(behind: ArrayLike | None, rows: MapRows) -> MapRows | None:
    """The rows that are drawn behind others; None where there are none."""
    if behind is None:
        return None
    found = MapRows(behind, "behind")
    if found.dimensions != rows.dimensions:
        raise ValueError(f"behind has {counted(found.dimensions, 'columns')}, and Y {rows.dimensions}")
    return found


def new_figure(width: float, height: float, dpi: int, paper: Paper) -> Any:
    """A figure of so many inches, which does not belong to pyplot."""
    dots = whole("dpi", dpi, least=1)
    from tsne_ooc.plot.figure import Picture

    return Picture(figsize=(width, height), dpi=dots, layout="constrained", facecolor=paper.ground)


def paper_of(dark: bool) -> Paper:
    """The light or the dark paper."""
    return DARK if truth("dark", dark) else LIGHT


def _bounds(ax: Any) -> tuple[Float64, Float64]:
    (left, right), (bottom, top) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    return np.array([left, bottom]), np.array([right, top])


def _points(
    ax: Any, rows: MapRows, shown: Kinds | Scale | None, palette: Float64, size: float, alpha: float, paper: Paper,
    *, grey: bool,
) -> Any:  # fmt: skip
    """Draw all rows that have a place."""
    Y = rows.all()
    # The order is random, so that no label is on top only because its rows came last in the file.
    order = np.random.default_rng(0).permutation(rows.n)
    order = order[np.isfinite(Y[order]).all(axis=1)]
    places, beyond = at_the_rim(Y[order], ax)
    options: dict[str, Any] = {"s": size, "alpha": alpha, "linewidths": 0, "rasterized": True}
    colors = _colors_of(shown, palette, rows.n)
    if grey or colors is None:
        options["color"] = paper.missing if grey else paper.points
    elif isinstance(shown, Scale):
        drawn = shown.mappable()
        options.update(c=colors[order][~beyond], plotnonfinite=True, cmap=drawn.cmap, norm=drawn.norm)
    else:
        options["c"] = colors[order][~beyond]
    points = ax.scatter(places[~beyond, 0], places[~beyond, 1], **options)
    if beyond.any():
        edges = paper.ink if grey or colors is None else _as_rgb(shown, colors[order][beyond])
        ax.scatter(*places[beyond].T, s=max(size, 18), facecolors="none", edgecolors=edges, linewidths=0.9, zorder=3)
    return points


def _behind(ax: Any, rows: MapRows, paper: Paper, threads: Threads, size: float | None, shading: str) -> None:
    """Draw rows in grey, below all that is drawn later: in matplotlib images have 0, and points 1."""
    if rows.n > MOST_POINTS:
        counts = count(rows, None, np.zeros((1, 3)), _bounds(ax), threads)
        draw_density(ax, in_grey(counts, paper.missing, shading), zorder=-1)
        return
    Y = rows.all()
    places, _ = at_the_rim(Y[np.isfinite(Y).all(axis=1)], ax)
    size = _point_size(rows.n, 7) if size is None else number("size", size, least=0)
    ax.scatter(*places.T, s=size, color=paper.missing, linewidths=0, rasterized=True, zorder=-1)


def _ringed(ax: Any, rows: MapRows, ringed: Int64, paper: Paper) -> None:
    """Draw rings around some rows."""
    Y = rows.of(ringed)
    places, _ = at_the_rim(Y[np.isfinite(Y).all(axis=1)], ax)
    size = float(np.clip(20_000 / max(1, len(ringed)), 12, 60))
    ax.scatter(
        *places.T, s=size, facecolors="none", edgecolors=paper.ink, linewidths=0.8, rasterized=len(ringed) > 2000,
        zorder=4,
    )  # fmt: skip


def _highlighted(
    ax: Any, rows: MapRows, shown: Kinds | Scale | None, palette: Float64, marked: Int64, paper: Paper
) -> None:
    """Draw some rows large on top of the others, with a rim of the paper's ink."""
    Y = rows.of(marked)
    there = np.isfinite(Y).all(axis=1)
    places, _ = at_the_rim(Y[there], ax)
    colors = _colors_of(shown, palette, rows.n, marked)
    faces = paper.points if colors is None else _as_rgb(shown, colors[there])
    size = float(np.clip(20_000 / max(1, len(marked)), 3, 42))
    ax.scatter(
        *places.T, s=size, c=[faces] if isinstance(faces, str) else faces, edgecolors=paper.ink,
        linewidths=0.5 if size > 8 else 0, rasterized=len(marked) > 2000, zorder=3,
    )  # fmt: skip


def _colors_of(shown: Kinds | Scale | None, palette: Float64, n: int, rows: Int64 | None = None) -> Array | None:
    """The colours of all rows, or of some; on a scale they are numbers, and without labels None."""
    if shown is None:
        return None
    if rows is not None:
        shown, n = shown.of(rows), len(rows)
    return palette[shown.codes(0, n)] if isinstance(shown, Kinds) else shown.values(0, n)


def _as_rgb(shown: Kinds | Scale | None, colors: Array) -> Array:
    return shown.mappable().to_rgba(np.ma.masked_invalid(colors)) if isinstance(shown, Scale) else colors


def _ring_the_rim(ax: Any, counts: Counts, paper: Paper) -> None:
    """Draw a ring for each cell at the rim that has rows; these are far ones, since there is room around all others."""
    rim = np.ones(counts.rows.shape, bool)
    rim[1:-1, 1:-1] = False
    low, high = _bounds(ax)
    cells = np.argwhere(rim & (counts.rows > 0))[:, ::-1]
    places = low + (cells + 0.5) / len(rim) * (high - low)
    room = 0.01 * (high - low)
    ax.scatter(
        *np.clip(places, low + room, high - room).T, s=18, facecolors="none", edgecolors=paper.ink, linewidths=0.9
    )


def _specks(ax: Any, counts: Counts, image: Float32) -> None:
    """Draw rows that are alone as points, since the shade of a cell with one row can hardly be seen without others."""
    alone = lone(counts)
    cells = np.argwhere(alone > 0)
    low, high = _bounds(ax)
    places = low + (cells[:, ::-1] + 0.5) / len(alone) * (high - low)
    colors = image[tuple(cells.T)]
    colors[:, 3] = alone[tuple(cells.T)] * _LONE_OPACITY
    ax.scatter(*places.T, s=_LONE_SIZE, c=colors, linewidths=0, rasterized=True, label="_lone rows")


def _point_size(n: int, width: float) -> float:
    # For any n the points cover about the same share of the picture, within what the eye can see: half a square point
    # is two dots.
    return float(np.clip(40_000 / n * (width / 7) ** 2, 0.5, 30))


def _opacity(n: int) -> float:
    return float(np.clip(1.8 - 0.22 * np.log10(n), 0.4, 0.9))
