"""The decoder: a network from places on the map back to rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from tsne_ooc._options import keep, number, truth, whole
from tsne_ooc._typing import Float32, Tensor
from tsne_ooc.parametric.network import ResidualNetwork, padded
from tsne_ooc.parametric.optimizer import MOST_RATE
from tsne_ooc.parametric.outset import check_network

# Waves over the map that describe a place, and the fewest and most of them in one width of the map. Two coordinates
# alone make a smooth function of a map that is not smooth: of 1,200 held-out digits (of 12,000, 1,000 batches) 0.64 of
# the variance was left with the coordinates, 0.56 with twice as many layers, 0.49 with waves, and 0.45 with the five
# nearest rows.
WAVES = 47
LONG, SHORT = 0.25, 4.0
# Where a learnt radius begins, in widths of the map, and how much faster it moves than a weight.
RADIUS, HASTE = 0.1, 10.0
# A smaller residual of a column counts as this share of its deviation: beside copies of a row all other rows would be
# infinitely strange.
LEAST_SPREAD = 0.03
# The smallest float32 with all its digits: its inverse is still finite.
SMALLEST = float(np.finfo(np.float32).tiny)
# Rows that are turned to float64 at a time.
_PIECE = 4096


@dataclass(frozen=True)
class Decoder:
    """How a decoder is made and trained.

    Parameters
    ----------
    network : (int, int), default (128, 2)
        Width of hidden layers, a multiple of 16, and their number.
    variational : bool, default False
        Decode from around a place instead of from the place itself. The encoder's answer is then the mean of a normal
        distribution, whose radius is learnt, one for the whole map, by the evidence lower bound (Kingma and Welling,
        ICLR 2014). Columns have learnt variances, and the prior of places is a normal distribution as wide as the map.
    n_iter : int, default 2000
        Batches.
    learning_rate : float, default 2e-3
    """

    network: tuple[int, int] = (128, 2)
    variational: bool = False
    n_iter: int = 2000
    learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        if isinstance(self.network, nn.Module):
            raise TypeError("a decoder has a network of its own; network is (width, depth)")
        check_network(self.network)
        keep(
            self,
            network=tuple(int(size) for size in self.network),
            variational=truth("variational", self.variational),
            n_iter=whole("n_iter", self.n_iter, least=1),
            learning_rate=number("learning_rate", self.learning_rate, above=0, most=MOST_RATE),
        )


def resolve(decoder: Any) -> Decoder | None:
    """The options that True or an object stands for; None for False.

    Raises
    ------
    TypeError
        For anything else.
    """
    if isinstance(decoder, bool):
        return Decoder() if decoder else None
    if isinstance(decoder, Decoder):
        return decoder
    raise TypeError(f"decoder={decoder!r} is neither True, False nor a tsne_ooc.parametric.Decoder")


class DecoderNetwork(nn.Module):  # type: ignore[misc]
    """From places to prepared rows: coordinates and waves go through residual blocks to standardised columns.

    Parameters
    ----------
    p, d : int
        Columns out and axes in.
    width, depth : int
        Those of `ResidualNetwork`.
    """

    def __init__(self, p: int, d: int, width: int, depth: int) -> None:
        super().__init__()
        self.p, self.d = p, d
        self.body = ResidualNetwork(padded(d + 2 * WAVES), padded(p), width, depth)
        self.register_buffer("waves", torch.zeros((d, WAVES), dtype=torch.float32))
        self.register_buffer("origin", torch.zeros(d, dtype=torch.float32))
        self.register_buffer("width", torch.ones((), dtype=torch.float32))
        self.register_buffer("center", torch.zeros(p, dtype=torch.float32))
        self.register_buffer("scale", torch.ones(p, dtype=torch.float32))
        self.register_buffer("spread", torch.ones(p, dtype=torch.float32))
        self.log_radius = nn.Parameter(torch.zeros((), dtype=torch.float32))

    def begin(
        self, origin: Float32, width: float, center: Float32, scale: Float32, rng: np.random.Generator
    ) -> DecoderNetwork:
        """Begin as the mean row everywhere, in the units of rows and of the map."""
        long = np.exp(rng.uniform(np.log(LONG), np.log(SHORT), WAVES))
        directions = rng.normal(size=(self.d, WAVES))
        directions /= np.maximum(np.linalg.norm(directions, axis=0), 1e-12)
        with torch.no_grad():
            self.waves.copy_(torch.from_numpy((2 * np.pi * directions * long).astype(np.float32)))
            for buffer, value in ((self.origin, origin), (self.center, center), (self.scale, scale)):
                buffer.copy_(torch.from_numpy(np.asarray(value, np.float32)))
            self.width.fill_(width)
        self.body.initialise(np.zeros((self.body.d, self.body.p), np.float32), rng)
        return self

    @property
    def radius(self) -> Tensor:
        """The radius of the learnt noise, in widths of the map."""
        return RADIUS * (HASTE * self.log_radius).exp()

    def relative(self, places: Tensor) -> Tensor:
        """Places in widths of the map, from its origin."""
        return (places - self.origin) / self.width

    def standardised(self, places: Tensor) -> Tensor:
        """Columns of mean 0 and variance 1, from places in widths of the map."""
        phase = places @ self.waves
        seen = torch.cat([places, phase.sin(), phase.cos()], dim=1)
        return self.body(nn.functional.pad(seen, (0, self.body.p - seen.shape[1])))[:, : self.p]

    def forward(self, places: Tensor) -> Tensor:
        # A column without variance has the scale 0 and is its mean.
        deviation = torch.where(self.scale > 0, 1 / self.scale.clamp(min=SMALLEST), torch.zeros_like(self.scale))
        return self.center + self.standardised(self.relative(places)) * deviation


def scales_of(rows: Float32) -> tuple[Float32, Float32]:
    """Centre and scale that give each column mean 0 and variance 1; columns without variance get the scale 0.

    The encoder has one scale for all columns, because distances depend on it. Here each column is to be told by itself,
    whatever its unit.
    """
    center = rows.mean(axis=0, dtype=np.float64)
    pieces = range(0, len(rows), _PIECE)
    squares = sum((np.square(rows[a : a + _PIECE] - center).sum(axis=0) for a in pieces), np.zeros(len(center)))
    deviation = np.sqrt(squares / len(rows))
    # A deviation below the rounding of float32 counts as constant.
    varying = deviation > 1e-6 * np.abs(center)
    scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=varying)
    return center.astype(np.float32), np.minimum(scale, np.finfo(np.float32).max).astype(np.float32)


def errors(decoder: DecoderNetwork, rows: Float32, decoded: Float32) -> Float32:
    """How far rows are from what was decoded for them: mean squares of residuals, in spreads of each column.

    Each row is measured by itself, to the bit.
    """
    scale, spread = decoder.scale.numpy().astype(np.float64), decoder.spread.numpy().astype(np.float64)
    varying = scale > 0
    away = (rows[:, varying].astype(np.float64) - decoded[:, varying]) * (scale[varying] / spread[varying])
    # Columns are added one after the other: how NumPy sums a row may depend on the number of rows.
    total = np.zeros(len(rows))
    for column in away.T:
        total += column * column
    # A row is so far away that its place cannot be decoded.
    total[np.isnan(total)] = np.inf
    return (total / max(1, int(varying.sum()))).astype(np.float32)
