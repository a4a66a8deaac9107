"""Colours of labels, of numbers, and of paper and ink."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tsne_ooc._options import counted, unknown
from tsne_ooc._typing import Array, Float64, Int64

# Paul Tol's "bright" set, which the common forms of colour blindness tell apart, and four to make ten; ordered so that
# the first few differ most. (His "muted" wine and olive came out too close to the purple and the yellow.) The others
# were chosen by benchmarks/palette.py: each is as far as possible from all before it, for the kind of colour blindness
# that sees them worst. For it the least distance of two of the hundred is 0.026 of OKLab, as it is of the first ten.
PALETTE = (
    "#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#EE8866", "#44AA99", "#8B5E3C", "#888888",
    "#781E0F", "#2D3CB4", "#C378F0", "#5A2D69", "#785AD2", "#873C4B", "#96E187", "#96A5D2", "#69A500", "#A5C396",
    "#006978", "#E1D200", "#962D00", "#6987C3", "#781E96", "#C35A0F", "#C396FF", "#784BA5", "#B4695A", "#87E1F0",
    "#4BC3B4", "#692D4B", "#966987", "#5A4BC3", "#A569E1", "#C3B4D2", "#3C5A5A", "#F0A578", "#A54B96", "#96B400",
    "#964B00", "#A5874B", "#5A4B2D", "#8769C3", "#7896D2", "#FFC369", "#69695A", "#D28796", "#8796B4", "#7887A5",
    "#00E1B4", "#5A96FF", "#693C87", "#E1B4FF", "#4BB4B4", "#690F87", "#009669", "#C3A587", "#00F0A5", "#D2872D",
    "#5A6996", "#962D69", "#B44BB4", "#A50F3C", "#96B4F0", "#5AB44B", "#F0B469", "#787800", "#C36978", "#A5693C",
    "#005A3C", "#871E78", "#4B3C5A", "#969678", "#694B0F", "#96D2E1", "#FF87B4", "#B44B5A", "#0087E1", "#8778F0",
    "#4B5A87", "#A5D296", "#783C96", "#96872D", "#D278E1", "#F087E1", "#7869D2", "#E14B69", "#4B5AB4", "#965A00",
    "#E1964B", "#3C69E1", "#780F78", "#C369A5", "#693CA5", "#5A3C2D", "#2DD278", "#3C4BB4", "#963C87", "#7878D2",
)  # fmt: skip
# The colour of rows without a label, which is lighter than any grey above.
MISSING = "#CCCCCC"
# Colour maps of matplotlib with fewer colours than this are for kinds, and others are for scales.
_QUALITATIVE = 100


class Paper(NamedTuple):
    """The colours of the ground, of words, and of rows without labels."""

    ground: str
    ink: str
    faint: str
    points: str
    density: str
    missing: str


LIGHT = Paper("#FFFFFF", "#333333", "#767676", PALETTE[0], "#1F3A5F", MISSING)
DARK = Paper("#16181D", "#E6E6E6", "#9AA0A8", "#66AADD", "#9CCBF0", "#5A5E66")


def matplotlib() -> Any:
    """Import matplotlib with the parts that are used here; pyplot, which may open a window, is not imported."""
    try:
        import matplotlib as found
        import matplotlib.cm
        import matplotlib.colors
        import matplotlib.figure
        import matplotlib.lines
    except ImportError:
        from tsne_ooc.io.optional import how_to_install

        raise ImportError(f"plots need matplotlib; install it with: {how_to_install('plot')}") from None
    return found


def color_map(colors: Any) -> Any:
    """The colour map of this name; None for colours that are not a name."""
    if not isinstance(colors, str):
        return None
    known = matplotlib()
    if colors not in known.colormaps:
        if known.colors.is_color_like(colors):
            raise ValueError(f"colors={colors!r} is one colour; give one for each label, [{colors!r}, ...]")
        raise unknown("colors", colors, known.colormaps)
    return known.colormaps[colors]


def is_for_scales(cmap: Any) -> bool:
    """Whether a colour map is for numbers on a scale."""
    return cmap is not None and bool(cmap.N >= _QUALITATIVE)


def scale_on(paper: Paper) -> Any:
    """The colour map of numbers: viridis, which is without its darkest quarter on dark paper."""
    known = matplotlib()
    viridis = known.colormaps["viridis"]
    if paper.ground == LIGHT.ground:
        return viridis
    return known.colors.ListedColormap(viridis(np.linspace(0.25, 1, 256)), "viridis")


def palette(names: Array, there: Int64, colors: Any) -> Float64:
    """Colours of labels, shape (n, 3); black where no row has the label and no colour is given.

    Parameters
    ----------
    names : ndarray
        All labels, in the order of the legend.
    there : int64
        The numbers of the labels that rows have.
    colors : sequence, mapping or colour map of matplotlib, optional
    """
    n = len(names)
    if isinstance(colors, Mapping):
        listed = names.tolist()
        lacking = [listed[at] for at in there if listed[at] not in colors]
        if lacking:
            raise ValueError(f"colors has no colour for {counted(len(lacking), 'labels')}, such as {lacking[0]!r}")
        chosen = [colors.get(name, "black") for name in listed]
    elif hasattr(colors, "N"):
        qualitative = not is_for_scales(colors)
        if qualitative and n > colors.N:
            raise ValueError(f"colors={colors.name!r} has {colors.N} colours, and there are {counted(n, 'labels')}")
        chosen = [colors(at) if qualitative else colors(at / max(1, n - 1)) for at in range(n)]
    elif colors is not None:
        if len(colors) == len(there) < n:
            # Some categories have no row, and the colours are for the others.
            chosen = ["black"] * n
            for at, color in zip(there.tolist(), colors, strict=True):
                chosen[at] = color
        elif len(colors) < n:
            raise ValueError(f"colors has {counted(len(colors), 'colours')}, and there are {counted(n, 'labels')}")
        else:
            chosen = list(colors)[:n]
    elif n <= len(PALETTE):
        chosen = list(PALETTE[:n])
    else:
        # Categories that no row has do not take any of the hundred colours.
        chosen = ["black"] * n
        for at, label in enumerate(there.tolist()):
            chosen[label] = PALETTE[at]
    to_rgb = matplotlib().colors.to_rgb
    return np.asarray([to_rgb(color) for color in chosen], float).reshape(-1, 3)


def linear(rgb: Float64) -> Float64:
    """The light of screen values from 0 to 1; light can be averaged, as the eye does with points from afar."""
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def screen(light: Float64) -> Float64:
    """The screen values of light."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055)
