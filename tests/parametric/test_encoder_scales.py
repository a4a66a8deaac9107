"""Encoders and decoders of rows of any scale that float32 holds."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="encoders need the extra 'neural'")

from tsne_ooc import TSNE
from tsne_ooc.parametric import Decoder, ParametricTSNE, load


@pytest.mark.parametrize("exponent", [-132, -126, -60, 60, 120])
def test_the_scale_of_the_rows_is_no_matter(islands, tmp_path, exponent):
    def answers(exponent):
        X = np.ldexp(np.round(64 * islands) / 64, exponent).astype(np.float32)
        teacher = TSNE(perplexity=10, n_iter=20, early_exaggeration_iter=20, random_state=0, neighbors="exact")
        model = ParametricTSNE(
            teacher, network=(16, 1), landmarks=16, n_iter=150, batch_size=64, random_state=0,
            decoder=Decoder(network=(16, 1), n_iter=100),
        ).fit(X)  # fmt: skip
        model.save(tmp_path / f"{exponent}")
        model = load(tmp_path / f"{exponent}")
        places = model.transform(X)
        rows = np.ldexp(model.inverse_transform(places).astype(float), -exponent)
        off = np.linalg.norm(places - model.embedding_) / np.linalg.norm(model.embedding_)
        lost = np.square(rows - islands).sum() / np.square(islands - islands.mean(axis=0)).sum()
        return off, lost, model.reconstruction_error(X).mean()

    off, lost, error = answers(exponent)
    wanted = answers(0)
    # Trainings differ by rounding; what they reach does not.
    assert off < 1.3 * wanted[0] + 0.02 and lost < 1.3 * wanted[1] + 0.02 and error == pytest.approx(wanted[2], rel=0.5)
