"""The encoder: rows are standardised, go through a network, and come out in map units."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import torch
from scipy.linalg import eigh
from torch import nn

from tsne_ooc._blas import one_thread
from tsne_ooc._typing import Float32, Tensor
from tsne_ooc.parametric.bounds import FARTHEST, Bounds, eased
from tsne_ooc.parametric.shared import borrowed_generator

STEP = 16

# The type is always named: other code in the process may have changed torch's default type.
FLOAT: dict[str, Any] = {"dtype": torch.float32}

# Rows that are turned to float64 at a time: all 100,000 that are looked at took 0.4 GB at 256 columns.
_PIECE = 4096


class Residual(nn.Module):  # type: ignore[misc]
    """``h + linear(silu(norm(h)))``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, **FLOAT)
        self.linear = nn.Linear(width, width, **FLOAT)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.linear(nn.functional.silu(self.norm(h)))


class Nearness(nn.Module):  # type: ignore[misc]
    """``values(softmax(logits(x)))``: which landmarks a row is near, as hidden units.

    Landmarks begin as rows like any other, and are learnt: the logits of a landmark c begin as ``sharpness (2 x.c -
    |c|^2)``, which is minus the squared distance except for a term that all landmarks share.

    Parameters
    ----------
    p, width, landmarks : int
        Columns in, units out, and landmarks between, all multiples of 16.
    """

    def __init__(self, p: int, width: int, landmarks: int) -> None:
        super().__init__()
        self.logits = nn.Linear(p, landmarks, **FLOAT)
        self.values = nn.Linear(landmarks, width, bias=False, **FLOAT)
        # Values are drawn within 1 / sqrt(landmarks) of zero; with this gain the nearest landmark says as much as all
        # columns.
        self.gain = 0.5 * landmarks**0.5

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * self.values(torch.softmax(self.logits(x), dim=1))

    def place(self, centres: Float32, sharpness: float) -> None:
        """Begin with landmarks at `centres`, shape (landmarks, p)."""
        with torch.no_grad():
            self.logits.weight.copy_(torch.from_numpy(np.float32(2 * sharpness) * centres))
            self.logits.bias.copy_(torch.from_numpy(np.float32(-sharpness) * np.square(centres).sum(axis=1)))


class ResidualNetwork(nn.Module):  # type: ignore[misc]
    """Residual blocks beside a linear map of the input.

    Parameters
    ----------
    p, d : int
        Columns in, a multiple of 16 (see `padded`), and axes out.
    width : int
        Units of a hidden layer, a multiple of 16.
    depth : int
        Hidden layers, each a residual block with layer normalisation and SiLU.
    landmarks : int, default 0
        Rows that a row is compared with before the first block, a multiple of 16; see `Nearness`.
    reach : float or None, default None
        Where the linear map begins to level off. The blocks are bounded, because they begin with a normalisation. The
        linear map is not, and a row far from all others, met too rarely to be learnt, would follow it off the map. None
        is a linear map without end.
    """

    def __init__(
        self, p: int, d: int, width: int = 128, depth: int = 4, landmarks: int = 0, reach: float | None = None
    ) -> None:
        super().__init__()
        self.p, self.d, self.width, self.depth, self.landmarks = p, d, width, depth, landmarks
        self.reach = reach
        # Layers draw their first numbers from torch's own generator, which belongs to the caller.
        with borrowed_generator():
            self.skip = nn.Linear(p, d, **FLOAT)
            self.stem = nn.Linear(p, width, **FLOAT)
            self.nearness = Nearness(p, width, landmarks) if landmarks else None
            self.blocks = nn.Sequential(*[Residual(width) for _ in range(depth)])
            self.norm = nn.LayerNorm(width, **FLOAT)
            self.head = nn.Linear(width, d, **FLOAT)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        if self.nearness is not None:
            h = h + self.nearness(x)
        h = self.blocks(h)
        straight = self.skip(x)
        if self.reach is not None:
            reach = straight.new_tensor(self.reach)
            straight = eased(straight, -reach, reach, reach)
        return straight + self.head(nn.functional.silu(self.norm(h)))

    def initialise(self, axes: Float32, rng: np.random.Generator) -> None:
        """Begin as the projection onto `axes`, shape (d, p): the head is zero, and all else is drawn from `rng`."""
        with torch.no_grad():
            for layer in self.modules():
                if isinstance(layer, nn.Linear):
                    bound = layer.in_features**-0.5
                    drawn = rng.uniform(-bound, bound, size=tuple(layer.weight.shape))
                    layer.weight.copy_(torch.from_numpy(drawn.astype(np.float32)))
                    if layer.bias is not None:
                        layer.bias.zero_()
            self.head.weight.zero_()
            self.skip.weight.copy_(torch.from_numpy(axes))


class Encoder(nn.Module):  # type: ignore[misc]
    """A network between two changes of unit: columns of variance 1 on average go in, map units come out.

    Parameters
    ----------
    body : torch.nn.Module
        A network from (m, p) to (m, d), float32.
    center, scale : ndarray of float32, shape (p,)
        Rows go in as ``(x - center) * scale``.
    origin : ndarray of float32, shape (d,)
        Where a zero of the network lies on the map.
    width : float
        Map units of one unit of the network.
    bounded : bool, default False
        Whether places are kept within bounds, which are infinite at first, and rows within what float32 can square. The
        place of every finite row is then finite.
    """

    def __init__(
        self, body: nn.Module, center: Float32, scale: Float32, origin: Float32, width: float, bounded: bool = False
    ) -> None:
        super().__init__()
        self.body, self.bounded = body, bounded
        self.register_buffer("center", torch.from_numpy(np.array(center, np.float32)))
        self.register_buffer("scale", torch.from_numpy(np.array(scale, np.float32)))
        self.register_buffer("origin", torch.from_numpy(np.array(origin, np.float32)))
        self.register_buffer("width", torch.tensor(width, dtype=torch.float32))
        if bounded:
            nowhere = torch.full_like(self.origin, torch.inf)
            self.register_buffer("low", -nowhere)
            self.register_buffer("high", nowhere)
            self.register_buffer("margin", torch.ones_like(self.width))

    def stay_within(self, bounds: Bounds) -> None:
        """Keep all places within these bounds from now on."""
        with torch.no_grad():
            for name, value in bounds._asdict().items():
                getattr(self, name).copy_(torch.as_tensor(value))

    @property
    def farthest(self) -> Tensor:
        """How far from the centre of a column a row can be told from one farther out."""
        return (FARTHEST / self.scale.max()).clamp(max=torch.finfo(torch.float32).max)

    def forward(self, x: Tensor) -> Tensor:
        away = x - self.center
        if self.bounded:
            farthest = self.farthest
            away = torch.minimum(torch.maximum(away, -farthest), farthest)
        z = away * self.scale
        if isinstance(self.body, ResidualNetwork) and self.body.p > z.shape[1]:
            z = nn.functional.pad(z, (0, self.body.p - z.shape[1]))
        places = self.origin + self.width * self.body(z)
        return eased(places, self.low, self.high, self.margin) if self.bounded else places


def own_copy(network: nn.Module) -> nn.Module:
    """A copy on the processor, whose buffers have memory of their own: an expanded buffer cannot take other weights."""
    copy = deepcopy(network).cpu()
    for buffer in copy.buffers():
        if 0 in buffer.stride():
            buffer.data = buffer.data.contiguous()
    return copy


def padded(p: int) -> int:
    """The columns of a network for p columns, a multiple of 16.

    The last bits of products whose rows have other lengths depend on where in its tile a row is: those of 99 of 300
    layers of random sizes did, and of none where rows were filled up with zeros to a multiple of 16.
    """
    return -(-p // STEP) * STEP


def hidden_matrices(body: nn.Module) -> list[Tensor]:
    """The weights between hidden layers: in a user's own network, all matrices but the first and the last."""
    if isinstance(body, ResidualNetwork):
        return [block.linear.weight for block in body.blocks]
    return [weight for weight in body.parameters() if weight.ndim == 2][1:-1]


def standardisation(X: Float32) -> tuple[Float32, Float32]:
    """Centre and scale that give columns mean 0 and, on average, variance 1: one scale for all.

    A map shows distances, in which a column weighs as much as it varies. Where each column is scaled to variance 1,
    MNIST's fiftieth component is as loud as its first: the encoder then ends at a divergence of 3.62, and with one
    scale at 3.46 (same batches).
    """
    center = X.mean(axis=0, dtype=np.float64)
    squares = sum(np.square(X[a : a + _PIECE] - center).sum(axis=0) for a in range(0, len(X), _PIECE))
    variances = np.asarray(squares) / len(X)
    # A deviation below the rounding of float32 counts as constant.
    constant = np.sqrt(variances) <= 1e-6 * np.abs(center)
    variance = variances[~constant].sum() / X.shape[1]
    scale = np.where(constant, 0, 1 / np.sqrt(variance) if variance > 0 else 0)
    # Rows of some 1e-39 and less need a scale beyond float32; the network then sees less than a variance of 1.
    return center.astype(np.float32), np.minimum(scale, np.finfo(np.float32).max).astype(np.float32)


def leading_axes(Z: Float32, d: int) -> Float32:
    """Directions of the `d` leading principal components of standardised rows, the first scaled to unit variance."""
    with one_thread(1):
        return _leading_axes(Z, d)


def _leading_axes(Z: Float32, d: int) -> Float32:
    m, p = Z.shape
    pieces = [slice(a, a + _PIECE) for a in range(0, m, _PIECE)]
    if m < p:
        # With few rows, the products between rows give the same axes and cost less.
        products: Any = np.concatenate([Z[piece].astype(np.float64) @ Z.T.astype(np.float64) for piece in pieces])
    else:
        products = sum(Z[piece].astype(np.float64).T @ Z[piece].astype(np.float64) for piece in pieces)
    k = len(products)
    values, vectors = eigh(products / m, subset_by_index=(max(0, k - d), k - 1), check_finite=False)
    found = vectors[:, ::-1].T
    if m < p:
        found = found @ Z
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        found = np.divide(found, lengths, out=np.zeros_like(found), where=lengths > 0)
    axes = np.zeros((d, p))
    found *= np.sign(found[np.arange(len(found)), np.abs(found).argmax(axis=1)])[:, None]
    axes[: len(found)] = found / np.sqrt(max(values[-1], 1e-12))
    return axes.astype(np.float32)
