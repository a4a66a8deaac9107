"""Maps of another program's reduction: its places are float32, whatever type it answers in."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from tsne_ooc import embed
from tsne_ooc.sampling import UniformSample


class FirstTwo(BaseEstimator):
    """Takes the first two columns for a map, and says them in a way of its own."""

    def __init__(self, answer=None):
        self.answer = answer

    def fit(self, X, y=None):
        self.embedding_ = self.transform(X)
        return self

    def transform(self, X):
        return ANSWERS[self.answer](X[:, :2])


ANSWERS = {
    "float32": lambda Y: np.asarray(Y, np.float32), "float64": lambda Y: np.asarray(Y, np.float64),
    "a list": lambda Y: Y.tolist(), "by columns": np.asfortranarray,
    "a part": lambda Y: np.repeat(Y, 2, axis=1)[:, ::2],
}  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS)
def test_places_are_numbers_of_single_precision(answer, tmp_path):
    X = np.random.default_rng(0).normal(size=(90, 4)).astype(np.float32)
    run = embed(X, out=tmp_path / "map", sample=UniformSample(40), tsne=FirstTwo(answer), random_state=0)
    assert run.embedding.dtype == np.float32 and run.embedding.flags.c_contiguous
    np.testing.assert_array_equal(run.embedding, X[:, :2])
