"""Whoever asks for some threads gets these: nothing on the way takes all cores instead."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest

import tsne_ooc
from tsne_ooc import TSNE, metrics
from tsne_ooc._parallel import Threads
from tsne_ooc.groups import Groups
from tsne_ooc.preprocess import PCA, Preparation, PreparedSource, Standardize, Transformer
from tsne_ooc.rounds import Seated, refit

# A number that no machine has by itself.
ASKED = (os.cpu_count() or 1) + 3
QUICK = {"perplexity": 5, "early_exaggeration_iter": 4, "n_iter": 4, "random_state": 0, "n_jobs": ASKED}
SHORT = {"network": (16, 1), "landmarks": 0, "n_iter": 4, "batch_size": 64, "random_state": 0, "n_jobs": ASKED}
X = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
NEW = np.random.default_rng(1).normal(size=(30, 6)).astype(np.float32)
PREPARED = Preparation([Standardize(), PCA(3)])


def steps():
    from sklearn.preprocessing import StandardScaler

    return Preparation([Transformer(StandardScaler()), Standardize(robust=True), PCA(3)])


def fitting(folder):
    model = TSNE(**QUICK, sample=120, prepare=steps()).fit(X)
    return model.transform(NEW), model.score_samples(NEW), model.place(NEW), model.continue_fit(2).affinities_


def moving(folder):
    model = TSNE(**QUICK).fit(X)
    return model.refine(np.concatenate([X, NEW]), early_exaggeration_iter=2, n_iter=2)


def preparing(folder):
    prepared = steps().fit(X, n_jobs=ASKED)
    out = np.empty((30, 3), np.float32)
    prepared.apply(NEW, out, first_row=0, n_jobs=ASKED)
    return prepared.transform(NEW, n_jobs=ASKED), PreparedSource(NEW, prepared, n_jobs=ASKED).read(0, 30)


def running(folder):
    tsne_ooc.embed(X, out=folder / "map", sample=120, rounds=2, tsne=TSNE(**QUICK), prepare=PREPARED)
    tsne_ooc.place(folder / "map", NEW, out=folder / "places", n_jobs=ASKED)
    tsne_ooc.load(folder / "map" / "model", n_jobs=ASKED).transform(NEW)


def measuring(folder):
    Y = X[:, :2]
    P = np.exp(-np.square(X[:, None] - X).sum(axis=2)) - np.eye(200)
    metrics.neighbor_recall(X, Y, n_jobs=ASKED)
    metrics.trustworthiness(X, Y, n_jobs=ASKED)
    metrics.label_accuracy(Y, np.arange(200) % 3, n_jobs=ASKED)
    metrics.kl_divergence(P, Y, n_jobs=ASKED)


def grouping(folder):
    model = TSNE(**QUICK).fit(X)
    Groups(model, 5).score(NEW)
    refit(model, Seated(np.arange(200), X, model.embedding_))


def learning(folder):
    from tsne_ooc.parametric import ParametricTSNE, load

    model = ParametricTSNE(TSNE(**QUICK), prepare=PREPARED, **SHORT).fit(X)
    model.save(folder / "encoder")
    again = load(folder / "encoder", n_jobs=ASKED)
    return again.transform(NEW), again.score_samples(NEW)


CALLS = [fitting, moving, preparing, running, measuring, grouping, learning]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_no_other_threads_than_those_that_were_asked_for(call, tmp_path, monkeypatch):
    """What is done by one thread alone asks for one."""
    if call is learning and importlib.util.find_spec("torch") is None:
        pytest.skip("encoders need the extra 'neural'")
    real, used = Threads.map, set()

    def noted(self, function, pieces):
        used.add(self.n)
        return real(self, function, pieces)

    monkeypatch.setattr(Threads, "map", noted)
    call(tmp_path)
    assert ASKED in used
    assert used <= {1, ASKED}
