"""The forward pass of an encoder over tiles, as fast as its products: `Encoder` in fewer passes over memory.

PyTorch goes through memory seven times for each hidden layer, into tensors whose pages the system hands out anew: 15.0
ms for a tile of 1,024 rows of 256 x 4, of which the products take 7.7. Here buffers are kept, layer normalisation and
SiLU are one kernel, the last such kernel goes on to the places, and each product is added to the sum in place: 8.5 ms.
Biases are added in the next normalisation. (Medians of the thread's own time, both measured in turn on a busy machine.)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from tsne_ooc._kernels.activation import normalised_silu, places, standardised
from tsne_ooc._typing import Float32, Network, Tensor
from tsne_ooc.parametric.network import Encoder, ResidualNetwork


class Layer(NamedTuple):
    """A product of activations: the normalisation before it, and its weights, transposed in all but the last."""

    bias: Float32
    gain: Float32
    shift: Float32
    weight: Any


class Buffers(NamedTuple):
    """What one tile needs: rows, sums and activations, as arrays and as tensors of the same memory, and nearness."""

    x: Float32
    h: Float32
    a: Float32
    tensors: tuple[Tensor, Tensor, Tensor]
    near: Any


class Forward:
    """An encoder with a `ResidualNetwork` on the processor, taken apart.

    Parameters
    ----------
    encoder : Encoder
    size : int
        Rows of a tile.
    """

    def __init__(self, encoder: Encoder, size: int) -> None:
        body = encoder.body
        self.size, self.p, self.width = size, body.p, body.width
        self.center, self.scale = _array(encoder.center), _array(encoder.scale)
        self.stem = _transposed(body.stem)
        self.landmarks = body.landmarks
        if body.nearness is not None:
            self.logits, self.heights = _transposed(body.nearness.logits), body.nearness.logits.bias.detach()
            self.values = _transposed(body.nearness.values) * body.nearness.gain
        bias = _array(body.stem.bias)
        self.layers = []
        for block in body.blocks:
            norm, linear = block.norm, block.linear
            self.layers.append(Layer(bias, _array(norm.weight), _array(norm.bias), _transposed(linear)))
            bias = bias + _array(linear.bias)
        # From here on all is in map units.
        unit = np.float32(encoder.width)
        # Weights from a file may overflow here; places that are not finite are refused at the end.
        with np.errstate(over="ignore", invalid="ignore"):
            head = unit * _array(body.head.weight)
            self.last = Layer(bias, _array(body.norm.weight), _array(body.norm.bias), head)
            reach = np.float32(np.inf) if body.reach is None else unit * np.float32(body.reach)
            self.line = unit * _array(body.skip.weight), unit * _array(body.skip.bias), reach
            self.origin = _array(encoder.origin) + unit * (_array(body.head.bias) + _array(body.skip.bias))
        nowhere = np.full_like(self.origin, np.inf)
        self.farthest, self.bounds = np.float32(np.inf), (-nowhere, nowhere, np.float32(1))
        if encoder.bounded:
            self.farthest = np.float32(encoder.farthest)
            self.bounds = _array(encoder.low), _array(encoder.high), np.float32(encoder.margin)
        self._free: list[Buffers] = []

    @staticmethod
    def takes(encoder: Network) -> bool:
        """Whether this is an encoder that can be taken apart."""
        return (
            isinstance(encoder, Encoder)
            and isinstance(encoder.body, ResidualNetwork)
            and encoder.center.device.type == "cpu"
        )

    def __call__(self, rows: Float32, out: Float32) -> None:
        """Places of at most a tile of rows, written to `out`."""
        m, p = rows.shape
        # One thread at a time takes buffers from the list, and puts them back for the next.
        try:
            buffers = self._free.pop()
        except IndexError:
            buffers = self._buffers()
        x, h, a = buffers.tensors
        standardised(rows, self.center, self.farthest, self.scale, buffers.x[:m, :p])
        buffers.x[m:] = 0
        with torch.inference_mode():
            torch.mm(x, self.stem, out=h)
            if self.landmarks:
                torch.addmm(self.heights, x, self.logits, out=buffers.near)
                torch.softmax(buffers.near, dim=1, out=buffers.near)
                h.addmm_(buffers.near, self.values)
            for bias, gain, shift, weight in self.layers:
                normalised_silu(buffers.h, bias, gain, shift, buffers.a)
                h.addmm_(a, weight)
        places(buffers.h[:m], *self.last, buffers.x[:m], *self.line, self.origin, *self.bounds, buffers.a[0], out)
        self._free.append(buffers)

    def _buffers(self) -> Buffers:
        # Tensors that torch makes begin where cache lines do, and the padding stays zero.
        x = torch.zeros((self.size, self.p), dtype=torch.float32)
        h, a, near = (
            torch.empty((self.size, width), dtype=torch.float32) for width in (self.width, self.width, self.landmarks)
        )
        return Buffers(x.numpy(), h.numpy(), a.numpy(), (x, h, a), near)


def _array(tensor: Tensor) -> Float32:
    return np.ascontiguousarray(tensor.detach().numpy())


def _transposed(layer: torch.nn.Linear) -> Any:
    return layer.weight.detach().t().contiguous()
