"""Whoever stops in the midst of a table leaves no thread that reads, also while the error is kept, as in a notebook.

An error keeps its frames, and they keep what they have names for.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from tsne_ooc import TSNE
from tsne_ooc.groups import Groups
from tsne_ooc.io import as_source, iterate
from tsne_ooc.preprocess import Log1p, Preparation, PreparedSource
from tsne_ooc.streaming import Stream, begin, silent
from tsne_ooc.trust import scores

X = np.abs(np.random.default_rng(0).normal(size=(90, 4))).astype(np.float32)
QUICK = {"perplexity": 5, "early_exaggeration_iter": 3, "n_iter": 3, "random_state": 0, "n_jobs": 1}


class Table:
    """Rows that are read block by block."""

    shape, dtype, chunks = X.shape, X.dtype, None

    def read(self, start, stop):
        return X[start:stop]

    def reopen(self):
        return self


@pytest.fixture
def small_blocks(monkeypatch):
    for module in ("intake.features", "preprocess.source"):
        monkeypatch.setattr(f"tsne_ooc.{module}.iterate", partial(iterate, rows=10))


def stop(*arguments, **options):
    raise KeyboardInterrupt


def left_by(call):
    """Threads that read when a call was stopped, while what it raised is kept."""
    before = set(threading.enumerate())
    with pytest.raises((KeyboardInterrupt, ConnectionError)) as kept:
        call()
    left = [thread.name for thread in set(threading.enumerate()) - before if thread.name == "tsne_ooc_read"]
    assert kept.value.__traceback__ is not None
    return left


CALLS = {
    "place": ("estimator.fitted.PlacingEstimator.place_prepared", lambda model: model.place(Table())),
    "score": ("estimator.fitted.counted_from", lambda model: model.score_samples(Table())),
    "groups": ("groups.Groups._compared", lambda model: model.score(Table())),
    "trust": ("trust.scoring.counted_from", lambda model: scores(model, Table(), k=5)),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_fitted_map_that_is_asked(small_blocks, monkeypatch, name):
    asked, call = CALLS[name]
    model = TSNE(**QUICK).fit(X)
    if name == "groups":
        model = Groups(model, 5)
    monkeypatch.setattr(f"tsne_ooc.{asked}", stop)
    assert not left_by(lambda: call(model))


@pytest.mark.parametrize("method, asked", [("transform", "encode"), ("score_samples", "novelty")])
def test_an_encoder_that_is_asked(small_blocks, monkeypatch, method, asked):
    pytest.importorskip("torch", reason="encoders need the extra 'neural'")
    from tsne_ooc.parametric import ParametricTSNE

    model = ParametricTSNE(TSNE(**QUICK), network=(16, 1), n_iter=2, landmarks=0).fit(X)
    monkeypatch.setattr(type(model.fitted_), asked, stop)
    assert not left_by(lambda: getattr(model, method)(Table()))


def test_a_training_that_is_stopped():
    pytest.importorskip("torch", reason="encoders need the extra 'neural'")
    from tsne_ooc.parametric import ParametricTSNE

    def gone(*step):
        raise ConnectionError

    options = {"network": (16, 1), "n_iter": 5, "batch_size": 10, "landmarks": 0, "callbacks": gone}
    model = ParametricTSNE(TSNE(**QUICK), **options, callbacks_every_iters=1)
    assert not left_by(lambda: model.fit(Table()))


def test_prepared_rows(small_blocks, monkeypatch):
    source = PreparedSource(Table(), Preparation([Log1p()]).fit(X))
    monkeypatch.setattr(Preparation, "apply", stop)
    assert not left_by(lambda: source.read(0, 90))


@pytest.mark.parametrize("who", ["the function", "the progress", "workers that take no more"])
def test_a_stream(tmp_path, who):
    pool = ThreadPoolExecutor(1)
    pool.shutdown()

    def run():
        ledger = begin(tmp_path / "ledger.json", {}, resume=False)
        with Stream({"sums": (tmp_path / "sums.npy", (90,))}, ledger, "sums") as stream:
            stream.run(
                as_source(Table()),
                stop if who == "the function" else lambda first, block: {"sums": block.sum(axis=1)},
                rows=10, phase="sums",
                progress=(lambda phase, done, n: done and stop()) if who == "the progress" else silent,
                executor=pool if who.startswith("workers") else None,
            )  # fmt: skip

    assert not left_by(run)
