"""The picture of a finished run, whose colours are columns that are found by their names."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tsne_ooc._labels import categories_of
from tsne_ooc._options import counted, pick
from tsne_ooc._typing import Int64, StrPath
from tsne_ooc.pipeline import Run
from tsne_ooc.plot.beside import beside as draw_beside
from tsne_ooc.plot.column import column_of
from tsne_ooc.plot.coordinates import MapToDraw, map_behind, map_of
from tsne_ooc.plot.labels import MOST_WORDS, frequent
from tsne_ooc.plot.panels import panels
from tsne_ooc.plot.scatter import scatter

log = logging.getLogger(__name__)

#: How many labels keep their own colour where a column has more words than colours can tell apart.
KEPT = 40


def draw(
    source: Run | StrPath | ArrayLike,
    color: str | ArrayLike | None = None,
    *,
    by: str | ArrayLike | None = None,
    other: Run | StrPath | ArrayLike | None = None,
    behind: Run | StrPath | ArrayLike | None = None,
    data: StrPath | None = None,
    axes: Sequence[int] | None = None,
    highlight: ArrayLike | None = None,
    ring: str | ArrayLike | None = None,
    colors: Sequence[Any] | Mapping[Any, Any] | str | None = None,
    title: str | None = None,
    legend: bool = True,
    text: bool = True,
    shading: str = "equalized",
    dark: bool = False,
    dpi: int = 200,
    n_jobs: int | None = None,
) -> Any:
    """Draw a finished run, coloured by a column that is found by its name.

    Parameters
    ----------
    source : Run, path or array_like
        A run, its folder, that of a saved model, a ``.npy`` file of coordinates, or coordinates. Rows that were placed
        on a map (`tsne_ooc.pipeline.place`) are drawn over it, whose own rows are grey; draw their coordinates to see
        them alone.
    color : str or array_like, optional
        What to colour by: ``"novelty"`` or ``"sampled"``; ``"recall"``, ``"singularity"`` or ``"perturbation"`` of a
        run whose rows are scored; a column of the table that the map was made from (of ``obs``, a dataset, a gene), or
        of `data`; a file with one column; or the labels themselves. Of more than 100 words the 40 most frequent have a
        colour each, and all others have one together.
    by : str or array_like, optional
        Groups of rows, found in the same way; each gets a small picture of its own.
    other : Run, path or array_like, optional
        Another map of the same rows, which is drawn beside the first, with how far rows moved.
    behind : Run, path or array_like, optional
        The map that is drawn in grey behind the rows, by default the one that the rows of the run were placed on: where
        it is now, or other rows on the same map.
    data : path, optional
        The file that has the columns.
    axes : two ints, optional
        The two axes of a map of three that are drawn, counted from 1.
    highlight : array_like of int or bool, optional
        Rows that are drawn large, while the others are grey.
    ring : array_like of int or bool, or "novel", optional
        Rows that get a ring; "novel" are those of the run that are beyond its threshold of novelty.
    colors, legend, text, shading, dark, title, dpi, n_jobs
        As in `scatter`.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ImportError
        Where matplotlib is not installed.
    OSError
        Where a folder or a file does not exist or is not what it should be.
    ValueError
        For columns that do not exist or have another length, for maps that cannot be drawn, and for rows that do not
        lie on the map behind them.

    Examples
    --------
    >>> draw("map", "cell_type").savefig("map.png")  # doctest: +SKIP
    >>> draw("more", "novelty", ring="novel").savefig("more.png")  # doctest: +SKIP
    """
    found = map_of(source, axes)
    n = len(found.Y)
    labels = None if color is None else labels_for(color, n, found.run, data)
    common: dict[str, Any] = {
        "colors": colors, "legend": legend, "shading": shading, "dark": dark, "dpi": dpi, "n_jobs": n_jobs,
        "caption": found.caption,
    }  # fmt: skip
    if by is not None and other is not None:
        raise ValueError("by and other are two pictures; ask for one of them")
    for name, given in (("highlight", highlight), ("ring", ring)):
        if given is not None and (by is not None or other is not None):
            raise ValueError(f"{name} is for a picture of one map; leave out by and other")
    if other is not None:
        if behind is not None:
            raise ValueError("other is drawn beside the map, and behind within it; leave out one of them")
        second = map_of(other, axes)
        return draw_beside(found.Y, second.Y, labels, titles=(found.name, second.name), **common)
    below = map_behind(found, behind, axes)
    if below is not None:
        common |= {"behind": below.Y, "caption": f"on {below.name}: {below.caption}" if below.caption else ""}
    if by is not None:
        groups = column_of(by, n, found.run, data) if isinstance(by, str) else by
        return panels(found.Y, groups, labels, **common)
    if isinstance(ring, str):
        ring, beyond = pick("ring", ring, {"novel": novel_rows})(found)
        common["caption"] = "\n".join(filter(None, [common["caption"], f"rings: novelty beyond {beyond:.2f}"]))
    ax = scatter(found.Y, labels, title=title, text=text, highlight=highlight, ring=ring, **common)
    return ax.figure


def novel_rows(found: MapToDraw) -> tuple[Int64, float]:
    """The rows of a run that are beyond its threshold of novelty, and the threshold."""
    if found.run is None or found.run.novelty is None:
        raise ValueError(f"{found.name} has no novelty, by which rows could get a ring; runs of maps have it")
    threshold = float(found.run.manifest["novelty"]["threshold"])
    return np.flatnonzero(np.asarray(found.run.novelty) > threshold), threshold


def labels_for(color: str | ArrayLike, n: int, run: Run | None, data: StrPath | None) -> Any:
    """Labels that are named or given; of too many words only the most frequent ones are kept."""
    labels: Any = column_of(color, n, run, data) if isinstance(color, str) else color
    words = np.asarray(labels).dtype.kind in "OUS" or categories_of(labels) is not None
    if not words:
        return labels
    few = frequent(labels, MOST_WORDS)
    if few.numbers:
        # Some of them are missing, so that they came as objects.
        return labels
    if few.others:
        few = frequent(labels, KEPT)
        told = counted(KEPT, "labels")
        log.info("more words than colours can tell apart: the %s of most rows keep their own", told)
    return few.labels
