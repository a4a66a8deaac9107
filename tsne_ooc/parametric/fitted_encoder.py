"""A fitted encoder: all that a training leaves behind, in one value that puts rows on the map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Float32, Json
from tsne_ooc.estimator import TSNE
from tsne_ooc.estimator.fitted_map import FittedMap
from tsne_ooc.intake.features import Features
from tsne_ooc.parametric.decoder import DecoderNetwork, errors
from tsne_ooc.parametric.network import Encoder
from tsne_ooc.parametric.tiles import encode
from tsne_ooc.placement import Placement


@dataclass(frozen=True, eq=False)
class FittedEncoder:
    """What a training leaves behind.

    Parameters
    ----------
    encoder : Encoder
        The network, in eval mode.
    decoder : DecoderNetwork or None
    features : Features
        The columns of its table, and their preparation.
    teacher : TSNE
        Fitted.
    tile : int
        Rows of one product, see `tsne_ooc.parametric.tiles`.
    history : dict
    n_iter, best_iter : int
    seed : int or None
        None for encoders that were saved without one.
    """

    encoder: Encoder
    decoder: DecoderNetwork | None
    features: Features
    teacher: TSNE
    tile: int
    history: Json
    n_iter: int
    best_iter: int
    seed: int | None

    @property
    def map(self) -> FittedMap:
        """The map of the teacher."""
        return self.teacher.map_

    def encode(self, rows: Float32, n_jobs: int | None) -> Float32:
        """Places of prepared and checked rows, the same to the bit for any chunking and number of threads.

        Raises
        ------
        ValueError
            Where the network overflows.
        """
        places = encode(self.encoder, rows, self.map.n_components, Threads(n_jobs), self.tile)
        # Weights from a file may be finite and overflow all the same.
        if not np.isfinite(places).all():
            row = rows[int(np.isfinite(places).all(axis=1).argmin())]
            raise ValueError(f"the network has no place for a row that begins with {row[:5].tolist()}: it overflows")
        return places

    def decode(self, places: Float32, n_jobs: int | None) -> Float32:
        """Prepared rows that would lie at these places; there must be a decoder."""
        assert self.decoder is not None
        return encode(self.decoder, places, self.decoder.p, Threads(n_jobs))

    def lost(self, rows: Float32, n_jobs: int | None) -> Float32:
        """How much of each prepared row its place does not tell, see `ParametricTSNE.reconstruction_error`."""
        assert self.decoder is not None
        return errors(self.decoder, rows, self.decode(self.encode(rows, n_jobs), n_jobs))

    def novelty(self, rows: Float32, n_jobs: int | None) -> Float32:
        """Novelty of prepared rows, as the teacher sees it."""
        map = self.map
        # The number of threads is the encoder's, whatever its teacher was fitted with.
        map.threads.resize(n_jobs)
        return map.score(rows, Placement())
