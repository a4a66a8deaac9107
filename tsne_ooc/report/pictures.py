"""The map itself on a page, as PNG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import Any

import numpy as np

from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Array
from tsne_ooc.plot import beside, scatter
from tsne_ooc.plot.colors import matplotlib
from tsne_ooc.plot.coordinates import map_of
from tsne_ooc.plot.density import count, depth_of
from tsne_ooc.plot.frame import Frame
from tsne_ooc.plot.rows import MapRows
from tsne_ooc.view.payload import png

_DPI = 130
# Red, green and blue of a density without labels, as pictures have it.
_SHADE = (0x1F / 255, 0x3A / 255, 0x5F / 255)


def has_matplotlib() -> bool:
    """Whether pictures can have labels and legends."""
    try:
        matplotlib()
    except ImportError:
        return False
    return True


def planes(d: int, axes: Sequence[int] | None) -> list[tuple[int, ...]]:
    """Axes of the pictures of a map, counted from 1."""
    if axes is not None:
        return [tuple(axes)]
    return [(1,)] if d == 1 else list(combinations(range(1, d + 1), 2))


def of_map(Y: Array, labels: Any, caption: str, axes: tuple[int, ...], threads: Threads) -> bytes:
    """A map, coloured by its labels; in one shade where there is no matplotlib."""
    shown = Y if Y.shape[1] == 1 else map_of(Y, axes).Y
    if not has_matplotlib():
        return _density(shown, threads)
    with _any_letters():
        ax = scatter(shown, labels, text=True, caption=caption, dpi=_DPI, n_jobs=threads.n_jobs)
        return _as_png(ax.figure)


def of_two(first: Array, second: Array, labels: Any, titles: tuple[str, str], threads: Threads) -> bytes:
    """Two maps side by side, and how far rows moved."""
    with _any_letters():
        return _as_png(beside(first, second, labels, titles=titles, dpi=90, n_jobs=threads.n_jobs))


@contextmanager
def _any_letters() -> Iterator[None]:
    """Letters that no font has are boxes on the picture, which says enough."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield


def _as_png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _density(Y: Array, threads: Threads) -> bytes:
    rows = MapRows(Y)
    counts = count(rows, None, np.zeros((1, 3)), Frame.around(rows, threads).square(), threads)
    depth = depth_of(counts.rows, "equalized")
    return png(np.stack([*(np.full(depth.shape, shade) for shade in _SHADE), depth], axis=-1))
