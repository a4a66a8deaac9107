"""Bounds within which an encoder puts every row: the map and a margin."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from tsne_ooc._typing import Float32, Tensor

# A share of the map's longer side. So far beyond the map places are what the network says, and twice as far is the
# farthest that any row gets. Of 14,000 digits, 4,000 of them new, none was more than half of it beyond the map.
MARGIN = 0.1
# Widths of the map up to which the linear path beside the blocks is linear; it levels off at twice as many. Digits
# stayed within 3 throughout their training. One of 30,000 rows of KDD Cup 1999 is 350 times as long as the median row:
# after it was met 7 times it lay at 98 widths, and all others within 3.
REACH = 4.0
# Standard deviations of a column beyond which rows are not told apart: the squares of these fit into float32.
FARTHEST = 1e9


class Bounds(NamedTuple):
    """A box around a map.

    Parameters
    ----------
    low, high : ndarray of float32, shape (d,)
        Bounds between which places are what the network says.
    margin : float
        Beyond these, places approach a line so far away.
    """

    low: Float32
    high: Float32
    margin: float


def bounds_of(*maps: Float32) -> Bounds:
    """Bounds around the places of all these maps."""
    low, high = (np.array([getattr(places, side)(axis=0) for places in maps]) for side in ("min", "max"))
    low, high = low.min(axis=0), high.max(axis=0)
    margin = MARGIN * (float((high - low).max()) or 1.0)
    return Bounds(np.asarray(low - margin, np.float32), np.asarray(high + margin, np.float32), margin)


def together(places: Float32) -> Float32:
    """The places of a map without the few that were thrown off it: in no axis is one farther from the median than three
    times the .95 quantile of these distances."""
    places = places[np.isfinite(places).all(axis=1)]
    away = np.abs(places - np.median(places, axis=0))
    return places[(away <= 3 * np.quantile(away, 0.95, axis=0)).all(axis=1)]


def eased(value: Tensor, low: Tensor, high: Tensor, margin: Tensor) -> Tensor:
    """A tensor as it is between `low` and `high`; outside, it levels off at `margin` beyond them, without a step in the
    slope."""
    inside = torch.minimum(torch.maximum(value, low), high)
    return inside + margin * torch.tanh((value - inside) / margin)
