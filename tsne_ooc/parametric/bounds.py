"""Within what places an encoder stays: the map and a margin, whatever the row is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from tsne_ooc._typing import Float32, Tensor

# Of the map's longer side. So far beyond the map places are what the network says; as much again is the farthest that
# any row gets. Of 14,000 digits, 4,000 of them new, none was beyond the first half of it.
MARGIN = 0.1
# Widths of the map up to which the linear path beside the blocks is linear; it ends at twice as many. Digits were
# within 3 throughout their training. Of KDD Cup 1999 one row of 30,000 is 350 times as long as the median one: met 7
# times, it lay at 98 widths, where all others were within 3.
REACH = 4.0
# Standard deviations of a column up to which a row is told from one farther out: their squares fit into float32.
FARTHEST = 1e9


class Bounds(NamedTuple):
    """A box around a map.

    Parameters
    ----------
    low, high : ndarray of float32, shape (d,)
        Between them places are what the network says.
    margin : float
        Beyond them places come nearer and nearer to a line so far away.
    """

    low: Float32
    high: Float32
    margin: float


def bounds_of(*maps: Float32) -> Bounds:
    """Around the places of all these maps."""
    low, high = (np.array([getattr(places, side)(axis=0) for places in maps]) for side in ("min", "max"))
    low, high = low.min(axis=0), high.max(axis=0)
    margin = MARGIN * (float((high - low).max()) or 1.0)
    return Bounds(np.asarray(low - margin, np.float32), np.asarray(high + margin, np.float32), margin)


def together(places: Float32) -> Float32:
    """The places of a map without the few that were thrown off it: none is farther from the median than three times
    what 95 of 100 rows are, in any axis."""
    places = places[np.isfinite(places).all(axis=1)]
    away = np.abs(places - np.median(places, axis=0))
    return places[(away <= 3 * np.quantile(away, 0.95, axis=0)).all(axis=1)]


def eased(value: Tensor, low: Tensor, high: Tensor, margin: Tensor) -> Tensor:
    """A tensor as it is between `low` and `high`; beyond, ever more slowly towards `margin` beyond. Slopes have no
    step."""
    inside = torch.minimum(torch.maximum(value, low), high)
    return inside + margin * torch.tanh((value - inside) / margin)
