"""What is beside and below a map: a legend that stays readable, a colour bar, a caption, a note."""

from __future__ import annotations

from typing import Any

from tsne_ooc._typing import Array, Float64
from tsne_ooc.plot.colors import Paper, matplotlib

# Entries in a column of the legend.
_COLUMN = 20
# The most letters of a name that are shown, since long names would not leave room for the map.
_LETTERS = 40


def shortened(name: Any, letters: int = _LETTERS) -> str:
    """A name as a text of one line, with so many letters at most."""
    text = " ".join(str(name).split())
    return text if len(text) <= letters else text[: letters - 1] + "\N{HORIZONTAL ELLIPSIS}"


def plain(text: Any, words: str) -> None:
    """Set words as they are, where matplotlib would leave out what begins with "_", and take a "$" for a formula."""
    text.set_parse_math(False)
    # No font knows halves of letters beyond 65,535.
    text.set_text(words.encode("utf-8", "replace").decode())


def add_legend(ax: Any, names: Array, colors: Float64, paper: Paper) -> Any:
    """Add a legend to the right of the axes, in as many columns as it needs."""
    line = matplotlib().lines.Line2D
    handles = [
        line([], [], linestyle="", marker="o", markersize=6, color=tuple(color), markeredgewidth=0) for color in colors
    ]
    legend = ax.legend(
        handles,
        ["x"] * len(names),
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
        ncols=-(-len(names) // _COLUMN),
        fontsize=9 if len(names) <= 2 * _COLUMN else 7,
        handletextpad=0.2,
        columnspacing=1.0,
        borderaxespad=0.3,
        labelcolor=paper.ink,
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        plain(text, shortened(name))
    return legend


def add_bar(ax: Any, mappable: Any, paper: Paper) -> None:
    """Add a colour bar to the right of the axes."""
    bar = ax.figure.colorbar(mappable, ax=ax, shrink=0.5, pad=0.02)
    bar.outline.set_visible(False)
    bar.solids.set_alpha(1)
    bar.ax.tick_params(colors=paper.faint, labelcolor=paper.ink)


def add_note(ax: Any, lines: list[str], paper: Paper) -> None:
    """Write small words below the axes, where they do not cover any row."""
    lines = [line for line in lines if line]
    if lines:
        note = ax.annotate(
            "", (0, 0), (2, -4), "axes fraction", "offset points", va="top", ha="left", fontsize=7.5, color=paper.faint
        )
        plain(note, "\n".join(lines))


def widen(figure: Any, legend: Any) -> None:
    """Make a figure as much wider as its legend is, so that the map keeps its size."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    width = legend.get_window_extent(renderer).width / figure.dpi
    figure.set_size_inches(figure.get_figwidth() + width + 0.1, figure.get_figheight())
