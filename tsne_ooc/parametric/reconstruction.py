"""Train a decoder on the places that a finished encoder gives."""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from tsne_ooc._parallel import Threads
from tsne_ooc._random import generator
from tsne_ooc._typing import Float32, Network, Tensor
from tsne_ooc.batches import Batches
from tsne_ooc.io import Source
from tsne_ooc.parametric.checkpoint import Checkpoint, weights_of
from tsne_ooc.parametric.decoder import LEAST_SPREAD, Decoder, DecoderNetwork, scales_of
from tsne_ooc.parametric.network import Encoder
from tsne_ooc.parametric.objectives import Loss, Stage
from tsne_ooc.parametric.outset import glance
from tsne_ooc.parametric.problem import Batch, Problem
from tsne_ooc.parametric.tiles import encode, tile_for
from tsne_ooc.parametric.training import Options, Trained, learn
from tsne_ooc.sampling import take

# Added to the mean square of a column within the logarithm of the evidence bound: that of constant columns is 0.
_LEAST_SQUARE = 1e-4


class Reconstruction:
    """Learns rows from the places of their encoder, which stays as it is.

    The loss is the mean square of residuals of standardised columns. For a variational decoder it is the negative
    evidence lower bound for each column: half the logarithm of each column's mean square over the batch (a Gaussian of
    the best variance; Rybkin et al., ICML 2021), and the divergence of the noise from the prior, a normal distribution
    as wide as the map, up to a constant.

    Parameters
    ----------
    encoder : Encoder
    variational : bool
    """

    needs: ClassVar[str] = "targets"

    def __init__(self, encoder: Network, variational: bool) -> None:
        self.encoder, self.variational = encoder, variational

    def of(self, problem: Problem) -> Loss:
        return _Reconstructed(self, problem.seed)


class _Reconstructed(Loss):
    def __init__(self, options: Reconstruction, seed: int) -> None:
        self.encoder, self.variational, self.seed = options.encoder, options.variational, seed

    def loss(self, encoder: Network, batch: Batch) -> Tensor:
        decoder = encoder
        with torch.no_grad():
            places = decoder.relative(self.encoder(batch.X))
            wanted = (batch.X - decoder.center) * decoder.scale
        if not self.variational:
            return (decoder.standardised(places) - wanted).square().mean()
        noise = generator(self.seed, f"noise, step {batch.step}").normal(size=tuple(places.shape)).astype(np.float32)
        radius = decoder.radius
        away = decoder.standardised(places + radius * torch.from_numpy(noise).to(places.device)) - wanted
        fit = 0.5 * (away.square().mean(dim=0) + _LEAST_SQUARE).log().sum()
        divergence = decoder.d * (0.5 * radius.square() - radius.log())
        return (fit + divergence) / decoder.p


class Reconstructed(NamedTuple):
    """What a look at held-out rows finds.

    Parameters
    ----------
    error : float
        Mean square of residuals of standardised columns; 1 is as good as the mean row.
    """

    error: float

    def judged(self, needs: str, exaggeration: float) -> float:
        return self.error


class HeldRows:
    """Rows that no decoder has seen, and their places."""

    measures: ClassVar[type[Any]] = Reconstructed

    def __init__(self, rows: Float32, places: Float32, threads: Threads) -> None:
        self.rows, self.places, self.threads = rows, places, threads

    def __call__(self, decoder: Network) -> Reconstructed:
        found = encode(decoder, self.places, decoder.p, self.threads)
        scale = decoder.scale.cpu().numpy()
        away = (found.astype(np.float64) - self.rows) * scale
        return Reconstructed(float(np.square(away).mean() * len(scale) / max(1, int((scale > 0).sum()))))


class Decoded(NamedTuple):
    """A trained decoder.

    Parameters
    ----------
    network : DecoderNetwork
    done : Trained
    """

    network: DecoderNetwork
    done: Trained


def train_decoder(
    options: Decoder,
    encoder: Encoder,
    table: Source,
    batches: Batches,
    problem: Problem,
    loop: Options,
    *,
    checkpoint: Checkpoint | None,
) -> Decoded:
    """Train a decoder behind an encoder, which stays as it is.

    Parameters
    ----------
    options : Decoder
    encoder : Encoder
        Trained, on the device of `problem`.
    table : Source
        Prepared rows.
    batches : Batches
        Batches of the table.
    problem : Problem
        Its held-out rows, where there are any, say which weights are the best.
    loop : Options
        How the encoder was trained: looks, patience and the bar are the same.
    checkpoint : Checkpoint or None
        That of the decoder.
    """
    n, p = table.shape
    width = float(encoder.width)
    d = len(encoder.origin)
    rng = generator(problem.seed, "decoder")
    origin, rows = encoder.origin.cpu().numpy(), glance(table, problem.seed).X
    network = DecoderNetwork(p, d, *options.network).begin(origin, width, *scales_of(rows), rng).to(problem.device)
    del rows
    held = np.zeros(n, np.bool_)
    held[problem.held] = True
    size = tile_for(encoder, p)
    look = None
    if held.any():
        rows = take(table, problem.held)
        look = HeldRows(rows, encode(encoder, rows, d, problem.threads, size), problem.threads)
    stages = [Stage(Reconstruction(encoder, options.variational))]
    own = loop._replace(
        stages=stages, steps=options.n_iter, learning_rate=options.learning_rate, callbacks=[], title="decoder",
        patience=None if look is None else loop.patience,
    )  # fmt: skip
    done = learn(network, problem, batches, held, own, validation=look, checkpoint=checkpoint)
    rows = glance(table, problem.seed).X
    found = encode(network, encode(encoder, rows, d, problem.threads, size), p, problem.threads)
    found -= rows
    found *= network.scale.cpu().numpy()
    spread = np.maximum(np.sqrt(np.square(found).mean(axis=0, dtype=np.float64)), LEAST_SPREAD)
    network.spread.copy_(torch.from_numpy(spread.astype(np.float32)))
    return Decoded(network.cpu(), done)


def sum_of_weights(encoder: Network) -> str:
    """A sum over the weights, so that a decoder of one encoder does not go on behind another."""
    found = hashlib.sha256()
    for name, value in sorted(weights_of(encoder).items()):
        found.update(name.encode() + value.tobytes())
    return found.hexdigest()
