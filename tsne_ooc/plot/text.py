"""Names of labels on the map: each is where most of its rows are, and no name is over another."""

from __future__ import annotations

from typing import Any

import numpy as np

from tsne_ooc._typing import Array, Float64
from tsne_ooc.plot.colors import Paper
from tsne_ooc.plot.legend import plain, shortened

# The most letters of a name on the map.
_LETTERS = 24
# Width of the blur, in coarse cells, of which there are a hundred across: a cell that is full by chance is not where
# most rows are. At 1.2 the digits of MNIST were written at the edges of their islands.
_BLUR = 2.5
# Places that are tried for a name: the densest cells, and for each a place a little higher and lower, by so many times
# the height of the name: names whose boxes touch are over each other.
_PLACES, _HIGHER = 12, 1.05


def densest(counts: Array, places: int = 1) -> Array:
    """The numbers (up, across) of the cells that have the most rows, shape (places or fewer, 2), best first.

    The median of a label's rows may be in the hole of a ring, or between two islands; such a cell is not. Of cells that
    are next to each other only the best one is listed.
    """
    from scipy.ndimage import gaussian_filter, maximum_filter

    smooth = gaussian_filter(counts.astype(np.float32), _BLUR, mode="constant")
    # A cell without a row would be beside the label, however full its neighbours are.
    smooth[counts == 0] = 0
    peaks = np.argwhere((smooth > 0) & (smooth == maximum_filter(smooth, 5)))
    order = np.argsort(-smooth[tuple(peaks.T)], kind="stable")
    return peaks[order[:places]]


def add_names(ax: Any, names: Array, colors: Float64, kinds: Array, paper: Paper, size: float = 9) -> list[int]:
    """Write the names on the map; those for which there is no place are left to the legend.

    Parameters
    ----------
    ax : matplotlib Axes
        Axes whose limits do not change any more.
    names : ndarray
    colors : float64 (len(names), 3)
    kinds : uint32 (len(names), cells, cells)
        How many rows of each label are in each of the coarse cells, which fill the axes.
    paper : Paper
    size : float
        Size of the letters, in points.

    Returns
    -------
    list of int
        Numbers of the names that were written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.patheffects import withStroke

    from tsne_ooc.plot.figure import lay_out

    figure = ax.figure
    if figure.get_layout_engine() is not None:
        lay_out(figure)
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    (left, right), (bottom, top) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    cells = kinds.shape[1]
    taken: list[Any] = []
    written = []
    inside = ax.get_window_extent(renderer)
    # The label with the most rows comes first: it is the most important, and has the most places to choose from.
    for at in np.argsort(-kinds.sum(axis=(1, 2), dtype=np.int64), kind="stable").tolist():
        if not kinds[at].any():
            continue
        color = 0.72 * colors[at] if paper.ground == "#FFFFFF" else 0.55 + 0.45 * colors[at]
        text = ax.text(
            0, 0, "", ha="center", va="center", fontsize=size, fontweight="bold", color=tuple(color), zorder=5,
            path_effects=[withStroke(linewidth=2.2, foreground=paper.ground, alpha=0.85)],
        )  # fmt: skip
        plain(text, shortened(names[at], _LETTERS))
        height = text.get_window_extent(renderer).height / ax.bbox.height * (top - bottom)
        for up, across in densest(kinds[at], _PLACES).tolist():
            x = left + (across + 0.5) / cells * (right - left)
            y = bottom + (up + 0.5) / cells * (top - bottom)
            box = next((box for shift in (0, _HIGHER, -_HIGHER) if (box := _free(text, x, y + shift * height, taken,
                        inside, renderer)) is not None), None)  # fmt: skip
            if box is not None:
                taken.append(box)
                written.append(at)
                break
        else:
            text.remove()
    return sorted(written)


def _free(text: Any, x: float, y: float, taken: list[Any], inside: Any, renderer: Any) -> Any:
    """The box of the text at a place, pushed into the axes; None where it is over another text."""
    text.set_position((x, y))
    box = text.get_window_extent(renderer)
    push = np.clip(0, inside.x0 - box.x0, None) + np.clip(inside.x1 - box.x1, None, 0)
    if push and box.width < inside.width:
        x += push / text.axes.bbox.width * float(np.ptp(text.axes.get_xlim()))
        text.set_position((x, y))
        box = text.get_window_extent(renderer)
    return None if any(box.overlaps(other) for other in taken) else box
