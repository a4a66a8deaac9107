"""The forward pass in tiles of one size, so that a row has the same result whatever other rows come with it."""

from __future__ import annotations

import numpy as np
import torch

from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Float32, Network
from tsne_ooc.parametric.forward import Forward
from tsne_ooc.parametric.network import Encoder
from tsne_ooc.parametric.shared import threads_kept

# The last bits of a BLAS product change with the number of rows, so every product has so many.
TILE = 1024


@threads_kept()
def tile_for(encoder: Network, p: int) -> int:
    """Rows of a tile for this encoder: `TILE`, or 1 where the result of a row depends on its place in the tile.

    Layers of `ResidualNetwork` have sizes for which it does not; for any other network one row is tried.
    """
    rows = np.random.default_rng(0).normal(size=(TILE, p)).astype(np.float32)
    if isinstance(encoder, Encoder):
        scale = encoder.scale.cpu().numpy()
        rows = rows / np.where(scale == 0, 1, scale) + encoder.center.cpu().numpy()
    rows = rows.astype(np.float32)
    first = encode(encoder, rows[:1], None, Threads(1))
    alike = encode(encoder, np.repeat(rows[:1], TILE, axis=0), None, Threads(1))
    # It must not depend on other rows either: some networks look at a whole batch.
    among = encode(encoder, rows, None, Threads(1))
    return TILE if (alike == first).all() and (among[:1] == first).all() else 1


@threads_kept()
def encode(encoder: Network, rows: Float32, d: int | None, threads: Threads, size: int = TILE) -> Float32:
    """Where an encoder puts rows, shape (m, d), each by itself, whatever the others are.

    Tiles are spread over threads, and each tile is computed by a single thread: with more, libraries cut a product into
    other pieces.

    Parameters
    ----------
    encoder : torch.nn.Module
    rows : ndarray of float32, shape (m, p)
    d : int or None
        Axes of the map; None asks the encoder.
    threads : Threads
    size : int
        Rows of a tile, see `tile_for`.
    """
    device = _device(encoder)
    training = encoder.training
    encoder.eval()
    if d is None:
        with torch.inference_mode():
            d = int(encoder(torch.zeros((1, rows.shape[1]), dtype=torch.float32, device=device)).shape[1])
    out = np.empty((len(rows), d), np.float32)
    forward = Forward(encoder, size) if Forward.takes(encoder) else None

    def tile(start: int, stop: int) -> None:
        if torch.get_num_threads() != 1:
            torch.set_num_threads(1)
        if forward is not None:
            forward(rows[start:stop], out[start:stop])
            return
        # The tensor has memory of its own, which begins where a cache line does.
        block = torch.zeros((size, rows.shape[1]), dtype=torch.float32)
        # Rows may be read-only, about which torch would warn.
        block.numpy()[: stop - start] = rows[start:stop]
        # inference_mode belongs to the thread that enters it.
        with torch.inference_mode():
            found = encoder(block.to(device))
        out[start:stop] = found[: stop - start].cpu().numpy()

    try:
        threads.map(tile, [(a, min(a + size, len(rows))) for a in range(0, len(rows), size)])
    finally:
        encoder.train(training)
    return out


def _device(encoder: Network) -> torch.device:
    return next(iter([*encoder.parameters(), *encoder.buffers()])).device
