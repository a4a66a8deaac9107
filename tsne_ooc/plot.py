"""Pictures of maps: points whose size follows their number, and shading by density for millions of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tsne_ooc._labels import Classes, categories_of, column, ordered
from tsne_ooc._options import counted, unknown
from tsne_ooc._typing import Array, Float32, Float64, Int64
from tsne_ooc._validate import as_rows
from tsne_ooc.io.optional import how_to_install

log = logging.getLogger(__name__)

# Paul Tol's "bright" set, which the common forms of colour blindness tell apart, and four to make ten;
# ordered so that the first few differ most. (His "muted" wine and olive came out too close to the purple and
# the yellow.)
_TEN = (
    "#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE",
    "#AA3377", "#EE8866", "#44AA99", "#8B5E3C", "#888888",
)  # fmt: skip
# Above this, points hide each other and take a minute to draw; their density is drawn instead, in a second.
_MOST_POINTS = 1_000_000
# Rows that are shaded at a time.
_SHADED = 1 << 20
# Of rows without a label; lighter than the grey above.
_MISSING = "#CCCCCC"
# A legend with more entries than this tells nothing.
_MOST_LABELS = 40
# Colour maps of matplotlib with fewer colours than this are for kinds, with more for scales.
_QUALITATIVE = 100


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
) -> Any:
    """Draw a map of one or two dimensions.

    Parameters
    ----------
    Y : array_like of shape (n_samples, 1) or (n_samples, 2)
        The map. One dimension is drawn as points along a line, spread at random across it.
    labels : array_like of shape (n_samples,), optional
        Labels of any type: words, numbers, dates, bytes. Up to 40 different ones get a colour each and a legend, in the
        order of their categories where they have one (pandas, AnnData, Arrow), else sorted, "2" before "10". Whole
        numbers of few kinds are such labels; others, and more than 40, are drawn on a continuous scale. Rows whose
        label is missing (None, NaN) are light grey.
    ax : matplotlib Axes, optional
        Where to draw, beside what is there; a new figure is made otherwise, which does not touch pyplot or its
        backend.
    title : str, optional
        Title of the axes.
    size, alpha : float, optional
        Area of a point in square points, and its opacity; both follow the number of rows by default.
    colors : sequence of colours, mapping, or str, optional
        One for each label in the order of the legend; with categories one for each of them, also those that no row
        has, as in ``adata.uns["louvain_colors"]``. Or a mapping from labels to colours; or the name of a colour map of
        matplotlib: of one for scales, such as "viridis", numbers are then drawn on a scale.
    legend : bool
        Draw a legend outside of the axes.
    density : bool, optional
        Shade by density instead of drawing points; by default above a million rows. On a scale the colour is that of
        the mean of the numbers in a cell.
    dpi : int
        Resolution of a new figure, and of the points within a vector graphic.

    Returns
    -------
    matplotlib Axes
        Save it with ``ax.figure.savefig("map.png")``.

    Raises
    ------
    ImportError
        Where matplotlib is not installed.
    ValueError
        For maps of three or more dimensions, and labels or colours that do not fit.

    Examples
    --------
    >>> scatter(model.embedding_, labels).figure.savefig("map.png")  # doctest: +SKIP
    """
    points: Float32 = as_rows(Y, name="Y")
    n, dimensions = points.shape
    if dimensions > 2:
        raise ValueError(f"Y has {dimensions} columns; choose one or two to draw, such as Y[:, :2]")
    if dimensions == 1:
        width = 0.05 * float(np.ptp(points)) or 1.0
        across = np.random.default_rng(0).normal(scale=width, size=(n, 1))
        points = np.hstack([points, across.astype(np.float32)])
    matplotlib = _matplotlib()
    cmap = _color_map(matplotlib, colors)
    names, codes = (None, None) if labels is None else _classes(labels, n)
    discrete = names is not None and codes is not None and _is_discrete(labels, names, codes, cmap)
    if ax is None:
        ax = _new_axes(dpi)
    _frame(ax, points)
    palette: Float64 | None = None
    scale: Any = None
    values: Float64 | None = None
    if names is not None and codes is not None and discrete:
        palette = _palette(matplotlib, names, codes, cmap if cmap is not None else colors)
        if (codes < 0).any():
            # Number -1 finds it at the end.
            palette = np.vstack([palette, matplotlib.colors.to_rgb(_MISSING)])
            names = np.append(names.astype(object), "missing")
    elif names is not None and codes is not None:
        if cmap is None and colors is not None:
            raise ValueError(
                f"labels are {counted(len(names), 'numbers')} on a scale, which takes the name of a colour map, such "
                "as colors='viridis'; for a colour of each give words: labels.astype(str)"
            )
        values = np.append(names.astype(float), np.nan)[codes]
        cmap = (cmap or matplotlib.colormaps["viridis"]).with_extremes(bad=_MISSING)
        scale = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(), cmap)
        scale.norm.autoscale(np.ma.masked_invalid(values))
    if density is None:
        density = n > _MOST_POINTS
    if density:
        _shade(ax, points, codes, palette, values, scale)
    else:
        size = _point_size(n) if size is None else size
        alpha = _opacity(n) if alpha is None else alpha
        # In an order of their own, so that no label lies on top only because its rows came last in the file.
        order = np.random.default_rng(0).permutation(n)
        options: dict[str, Any] = {"s": size, "alpha": alpha, "linewidths": 0, "rasterized": True}
        if palette is not None and codes is not None:
            options["c"] = palette[codes[order]]
        elif values is not None:
            options.update(c=values[order], plotnonfinite=True, cmap=scale.cmap, norm=scale.norm)
        else:
            options["color"] = _TEN[0]
        drawn = ax.scatter(points[order, 0], points[order, 1], **options)
        scale = None if scale is None else drawn
    if scale is not None and legend:
        bar = ax.figure.colorbar(scale, ax=ax, shrink=0.5, pad=0.02)
        bar.outline.set_visible(False)
        bar.solids.set_alpha(1)
    if palette is not None and names is not None and codes is not None and legend:
        there = np.unique(codes % len(names))
        _legend(ax, names[there], palette[there])
    if title is not None:
        ax.set_title(title, loc="left", fontsize=11, color="#333333")
    return ax


def _classes(labels: ArrayLike, n: int) -> Classes:
    shape = np.shape(column(labels))
    if shape != (n,):
        raise ValueError(f"labels has shape {shape}, and Y has {counted(n, 'rows')}")
    return ordered(labels)


def _color_map(matplotlib: Any, colors: Any) -> Any:
    """The colour map of this name; None for colours that are given otherwise."""
    if not isinstance(colors, str):
        return None
    if colors not in matplotlib.colormaps:
        if matplotlib.colors.is_color_like(colors):
            raise ValueError(f"colors={colors!r} is one colour; give one for each label, [{colors!r}, ...]")
        raise unknown("colors", colors, matplotlib.colormaps)
    return matplotlib.colormaps[colors]


def _is_discrete(labels: Any, names: Array, codes: Int64, cmap: Any) -> bool:
    """Whether labels are kinds, each with a colour of its own; False for numbers on a scale."""
    there = len(np.unique(codes[codes >= 0]))
    numbers = names.dtype.kind in "fiub"
    if not numbers or categories_of(labels) is not None:
        if there > _MOST_LABELS:
            raise ValueError(f"labels has {there} different words; at most {_MOST_LABELS} can be told apart")
        return True
    if there > _MOST_LABELS or (cmap is not None and cmap.N >= _QUALITATIVE):
        return False
    if names.dtype.kind == "f" and not (names == np.floor(names)).all():
        log.info("labels are %d different numbers, drawn on a scale; labels.astype(str) makes kinds of them", there)
        return False
    if names.dtype.kind != "b":
        log.info("labels are %d different whole numbers, taken for kinds; colors='viridis' makes a scale", there)
    return True


def _matplotlib() -> Any:
    try:
        import matplotlib.cm
        import matplotlib.colors
        import matplotlib.figure
        import matplotlib.lines
    except ImportError:
        raise ImportError(f"plots need matplotlib; install it with: {how_to_install('plot')}") from None
    return matplotlib


def _new_axes(dpi: int) -> Any:
    figure = _matplotlib().figure.Figure(figsize=(7, 7), dpi=dpi, layout="constrained", facecolor="white")
    return figure.add_subplot()


def _frame(ax: Any, Y: Float32) -> None:
    """A square around the map, and around what is drawn already."""
    low, high = Y.min(axis=0).astype(float), Y.max(axis=0).astype(float)
    middle, half = (low + high) / 2, max(float((high - low).max()) * 0.52, 1e-3)
    low, high = middle - half, middle + half
    if ax.has_data():
        (left, right), (bottom, top) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
        low, high = np.minimum(low, (left, bottom)), np.maximum(high, (right, top))
    ax.set_aspect("equal", adjustable="box")
    ax.set_xticks([])
    ax.set_yticks([])
    for side in ax.spines.values():
        side.set_visible(False)
    ax.set_xlim(low[0], high[0])
    ax.set_ylim(low[1], high[1])


def _point_size(n: int) -> float:
    # Points cover a like share of the picture for any n, within what the eye can see.
    return float(np.clip(12_000 / n, 0.25, 30))


def _opacity(n: int) -> float:
    return float(np.clip(1.6 - 0.22 * np.log10(n), 0.3, 0.9))


def _palette(matplotlib: Any, names: Array, codes: Int64, colors: Any) -> Float64:
    """Colours of labels, as an array of shape (n, 3); black where no row has the label and no colour is given."""
    n, there = len(names), np.unique(codes[codes >= 0])
    if isinstance(colors, Mapping):
        listed = names.tolist()
        lacking = [listed[at] for at in there if listed[at] not in colors]
        if lacking:
            raise ValueError(f"colors has no colour for {counted(len(lacking), 'labels')}, such as {lacking[0]!r}")
        chosen = [colors.get(name, "black") for name in listed]
    elif hasattr(colors, "N"):
        qualitative = colors.N < _QUALITATIVE
        if qualitative and n > colors.N:
            raise ValueError(f"colors={colors.name!r} has {colors.N} colours, and there are {counted(n, 'labels')}")
        chosen = [colors(at) if qualitative else colors(at / max(1, n - 1)) for at in range(n)]
    elif colors is not None:
        if len(colors) == len(there) < n:
            # Some categories have no row, and the colours are of the others.
            chosen = ["black"] * n
            for at, color in zip(there.tolist(), colors, strict=True):
                chosen[at] = color
        elif len(colors) < n:
            raise ValueError(f"colors has {counted(len(colors), 'colours')}, and there are {counted(n, 'labels')}")
        else:
            chosen = list(colors)[:n]
    elif n <= len(_TEN):
        chosen = list(_TEN[:n])
    else:
        # Golden-ratio steps of hue, at three brightnesses in turn: neighbours in the legend differ most.
        hues = (0.58 + 0.618034 * np.arange(n)) % 1
        light = np.resize([0.80, 0.60, 0.95], n)
        chosen = [matplotlib.colors.hsv_to_rgb((h, 0.65, v)) for h, v in zip(hues, light, strict=True)]
    return np.asarray([matplotlib.colors.to_rgb(color) for color in chosen], float).reshape(-1, 3)


def _shade(
    ax: Any,
    Y: Float32,
    codes: Int64 | None,
    palette: Float64 | None,
    values: Float64 | None = None,
    scale: Any = None,
) -> None:
    """Draw the density of points on a grid of 800 x 800: depth by number, colour by share of labels or mean value."""
    cells = 800
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    total = np.zeros(cells * cells)
    mixed = np.zeros((cells * cells, 3))
    sums, known = np.zeros((2, cells * cells))
    for start in range(0, len(Y), _SHADED):
        part = Y[start : start + _SHADED]
        column = ((part[:, 0] - left) * (cells / (right - left))).astype(np.intp)
        row = ((part[:, 1] - bottom) * (cells / (top - bottom))).astype(np.intp)
        cell = np.clip(row, 0, cells - 1) * cells + np.clip(column, 0, cells - 1)
        total += np.bincount(cell, minlength=cells * cells)
        if codes is not None and palette is not None:
            color = palette[codes[start : start + _SHADED]]
            for channel in range(3):
                mixed[:, channel] += np.bincount(cell, color[:, channel], minlength=cells * cells)
        if values is not None:
            numbers = values[start : start + _SHADED]
            there = np.isfinite(numbers)
            sums += np.bincount(cell[there], numbers[there], minlength=cells * cells)
            known += np.bincount(cell[there], minlength=cells * cells)
    filled = total > 0
    # The root tames the few cells that hold most points; the brightest are cut off at the 99.5th percentile.
    depth = np.zeros_like(total)
    most = np.percentile(total[filled], 99.5)
    depth[filled] = np.clip(np.sqrt(total[filled] / most), 0.12, 1)
    image = np.zeros((cells * cells, 4))
    if values is not None:
        with np.errstate(invalid="ignore"):
            image[filled] = scale.to_rgba(np.ma.masked_invalid(sums[filled] / known[filled]))
    elif palette is None:
        image[:, :3] = _matplotlib().colors.to_rgb("#1F3A5F")
    else:
        image[filled, :3] = mixed[filled] / total[filled, None]
    image[:, 3] = depth
    ax.imshow(
        image.reshape(cells, cells, 4),
        extent=(left, right, bottom, top),
        origin="lower",
        interpolation="antialiased",
        aspect="equal",
    )
    ax.set_aspect("equal", adjustable="box")


def _legend(ax: Any, names: Array, palette: Float64) -> None:
    line = _matplotlib().lines.Line2D
    handles = [
        line([], [], linestyle="", marker="o", markersize=6, color=tuple(color), markeredgewidth=0) for color in palette
    ]
    legend = ax.legend(
        handles,
        # Their text comes below: matplotlib leaves out what begins with "_" and sets what has a "$" as a formula.
        ["x"] * len(names),
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
        ncols=-(-len(names) // 20),
        fontsize=9,
        handletextpad=0.2,
        borderaxespad=0.3,
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(str(name))
