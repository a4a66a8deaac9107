"""Small multiples: a picture for each group, with its rows on the grey map of all rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tsne_ooc._labels import column, ordered
from tsne_ooc._options import counted, whole
from tsne_ooc._parallel import Threads
from tsne_ooc.plot.colors import matplotlib
from tsne_ooc.plot.density import count, draw_density, in_grey
from tsne_ooc.plot.frame import Frame, fit_axes
from tsne_ooc.plot.labels import Kinds, coloring
from tsne_ooc.plot.legend import add_bar, add_legend, add_note, plain, shortened
from tsne_ooc.plot.rows import MapRows, Together
from tsne_ooc.plot.scatter import below_of, draw_rows, new_figure, paper_of

# Panels beside each other.
_ACROSS = 4


def panels(
    Y: ArrayLike,
    by: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    most: int = 12,
    behind: ArrayLike | None = None,
    colors: Sequence[Any] | Mapping[Any, Any] | str | None = None,
    legend: bool = True,
    shading: str = "equalized",
    dark: bool = False,
    caption: str | None = None,
    dpi: int = 200,
    n_jobs: int | None = None,
) -> Any:
    """Draw a map once for each group of rows, with the whole map in grey behind it.

    Parameters
    ----------
    Y : array_like of shape (n_samples, 1) or (n_samples, 2)
    by : array_like of shape (n_samples,)
        The group of each row: a batch, a day, a patient. Rows without a group are in the grey map only.
    labels : array_like of shape (n_samples,), optional
        What the rows of a group are coloured by, in the same way in all panels.
    most : int
        The most panels. The groups with the most rows are drawn, in the order of all groups, and a note says how many
        are not.
    behind : array_like of shape (n_others, 1) or (n_others, 2), optional
        The map that is grey behind the groups: that which the rows were placed on, instead of the rows themselves.
    colors, legend, shading, dark, caption, dpi, n_jobs
        As in `scatter`.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ImportError, ValueError
        As `scatter` raises them; also where no row has a group.

    Examples
    --------
    >>> panels(model.embedding_, by=batch).savefig("batches.png")  # doctest: +SKIP
    """
    matplotlib()
    rows, threads, paper = MapRows(Y), Threads(n_jobs), paper_of(dark)
    shape = np.shape(column(by, "by"))
    if shape != (rows.n,):
        raise ValueError(f"by has shape {shape}, and Y has {counted(rows.n, 'rows')}")
    names, codes = ordered(by, "by")
    sizes = np.bincount(codes[codes >= 0], minlength=len(names))
    most = whole("most", most, least=1)
    kept = np.sort(np.argsort(-sizes, kind="stable")[:most])
    kept = kept[sizes[kept] > 0]
    if not len(kept):
        raise ValueError("by names no group: it is missing in all rows")
    shown = None if labels is None else coloring(labels, rows.n, colors, paper)
    below = below_of(behind, rows)
    frame = Frame.around(rows if below is None else Together(below, rows), threads)
    across = min(_ACROSS, len(kept))
    down = -(-len(kept) // across)
    figure = new_figure(3.2 * across, 3.4 * down + 0.3, dpi, paper)
    grid = figure.subplots(down, across, squeeze=False).ravel().tolist()
    grey = None
    for ax, group in zip(grid, kept.tolist(), strict=False):
        ax.set_facecolor(paper.ground)
        fit_axes(ax, frame)
        if grey is None:
            counts = count(below or rows, None, np.zeros((1, 3)), frame.square(), threads)
            grey = in_grey(counts, paper.missing, shading)
        draw_density(ax, grey)
        members = np.flatnonzero(codes == group)
        own = None if shown is None else shown.of(members)
        _, scale = draw_rows(ax, MapRows(rows.of(members)), own, paper, threads, shading=shading, width=3.2)
        title = ax.set_title(" ", loc="left", fontsize=9, color=paper.ink)
        plain(title, f"{shortened(names[group], 30)} ({sizes[group]:,})")
    for ax in grid[len(kept) :]:
        ax.set_axis_off()
    left_out = int((sizes > 0).sum()) - len(kept)
    told = [] if below is None else [f"{counted(rows.n, 'rows')} on a map of {counted(below.n, 'rows')} in grey"]
    told += [f"{counted(left_out, 'groups')} more are not drawn"] if left_out else []
    add_note(grid[across * (down - 1)], [caption or "", "; ".join(told), frame.note()], paper)
    last = grid[min(across, len(kept)) - 1]
    if legend and isinstance(shown, Kinds):
        there = np.flatnonzero(shown.counts)
        add_legend(last, shown.names[there], shown.colors(paper.missing)[there], paper)
    elif legend and scale is not None:
        add_bar(last, scale, paper)
    return figure
