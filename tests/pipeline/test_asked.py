"""A run goes on only with what it began with: whatever gives other bits is another request, and the same in other words
is the same."""

from __future__ import annotations

import functools
import inspect
import json
import logging
import threading
from dataclasses import dataclass

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.preprocessing import StandardScaler

import tsne_ooc
from tsne_ooc import (
    TSNE,
    Mixture,
    Perplexity,
    Phase,
    Placement,
    Refinement,
    Schedule,
    embed,
    neighbors,
    place,
    sampling,
)
from tsne_ooc.pipeline import train
from tsne_ooc.preprocess import PCA, Log1p, Preparation, Standardize, Transformer
from tsne_ooc.stages import RowStage

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
QUICK = {"perplexity": 5, "n_iter": 4, "early_exaggeration_iter": 4}


def graph(shift):
    found = np.exp(-np.linalg.norm(X[:, None] - X, axis=2)) * (1 - np.eye(60))
    return np.roll(found, (shift, shift), (0, 1))


def stopping(at):
    return lambda i, error, Y: error < at


def metric(factor):
    return lambda a, b: factor * np.abs(a - b).sum()


def fitted(rows):
    return Preparation([Transformer(StandardScaler().fit(rows))])


# Two values that give other maps, for each option.
MAP = {
    "n_components": (2, 1),
    "perplexity": (5, 6),
    "exaggeration": (None, 2),
    "early_exaggeration": ("auto", 4),
    "early_exaggeration_iter": (4, 5),
    "n_iter": (4, 5),
    "learning_rate": ("auto", 7),
    "dof": (1, 0.5),
    "initialization": (X[:, :2], X[:, 1:3]),
    "metric": (metric(1), metric(2)),
    "metric_params": ({"V": np.ones(4)}, {"V": np.array([1, 1, 1, 2.0])}),
    "neighbors": (neighbors.HNSW(ef=100), neighbors.HNSW(ef=101)),
    "affinity": (sp.csr_array(graph(0)), sp.csr_array(graph(1))),
    "schedule": ([Phase(4)], [Phase(4, momentum=0.7)]),
    "placement": (Placement(max_iter=3), Placement(max_iter=4)),
    "sample": (np.arange(30), np.arange(1, 31)),
    "prepare": (fitted(X), fitted(X[1:])),
    "random_state": (np.random.default_rng(0), np.random.default_rng(1)),
    "callbacks": (stopping(1), stopping(2)),
    "callbacks_every_iters": (2, 3),
}


@dataclass(frozen=True)
class Counted(RowStage):
    """A stage of the user's."""

    step: int
    name = "counted"


# The same in other words.
SAME_MAP = {
    "perplexity": (5, np.float64(5)),
    "n_iter": (4, np.int32(4)),
    "initialization": (X[:, :2], np.asfortranarray(X[:, :2])),
    "metric_params": ({"V": np.ones(4), "a": 1}, {"a": 1, "V": np.ones(4, ">f8")}),
    "affinity": (sp.csr_array(graph(0)), sp.coo_matrix(graph(0))),
    "schedule": ([Phase(4), Phase(3)], (Phase(4), Phase(3))),
    "sample": (sampling.UniformSample(30), 30),
    "prepare": (fitted(X), fitted(X.copy())),
    "random_state": (np.random.default_rng(3), np.random.default_rng(3)),
    "callbacks": (stopping(1), [stopping(1)]),
}
RUN = {
    "source": (X, X[::-1]),
    "dataset": ("A", "B"),
    "columns": (["a", "b"], ["b", "a"]),
    "sample": (sampling.Stratified(30, np.arange(60) % 2), sampling.Stratified(30, np.arange(60) % 3)),
    "prepare": (Preparation([Log1p(), PCA(3)]), Preparation([Log1p(), PCA(2)])),
    "rounds": (1, 2),
    "refine": (Refinement(perplexity=3), Refinement(perplexity=4)),
    "random_state": (0, 1),
    "then": (Counted(1), [Counted(2)]),
}
ENCODER = {
    "teacher": (TSNE(**QUICK, affinity=graph(0)), TSNE(**QUICK, affinity=graph(1))),
    "objective": ("distillation", "batch_local"),
    "network": ((16, 1), (16, 2)),
    "landmarks": (0, 16),
    "n_iter": (3, 4),
    "batch_size": (16, 17),
    "learning_rate": (1e-3, 2e-3),
    "augmentation": (0, 0.1),
    "shuffle": ("full", "buffer"),
    "validation": (True, False),
    "patience": (None, 1),
    "callbacks": (lambda i, loss, net: loss < 1, lambda i, loss, net: loss < 2),
    "callbacks_every_iters": (1, 2),
    "random_state": (0, 1),
}
# Where things are, how and by whom the work is done and shown, and what is asked for only when all else is done.
# `unknown` stands for all other names, which are refused.
WITHOUT = {
    "out", "block_rows", "resume", "progress", "n_jobs", "executor", "verbose", "allow_missing_chunks", "unknown",
}  # fmt: skip


class Caught(Exception):
    pass


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """The request of a call, as the folder of its run would have it; no work is done."""

    def catch(path, job, **options):
        raise Caught(json.loads(json.dumps(job)))

    monkeypatch.setattr("tsne_ooc.pipeline.beginning.begin", catch)

    def call(door, *arguments, **options):
        with pytest.raises(Caught) as caught:
            door(*arguments, out=tmp_path / "out", **options)
        (job,) = caught.value.args
        return job

    return call


def tables(folder):
    with h5py.File(folder / "X.h5", "w") as file:
        file["A"], file["B"] = X, X + 1
    pd.DataFrame(X, columns=list("abcd")).to_parquet(folder / "X.parquet")
    return {"dataset": folder / "X.h5", "columns": folder / "X.parquet"}


def differ(one, other):
    from tsne_ooc.pipeline.request import differences

    return differences(one, other)


def options_of(kind):
    return {name for name in inspect.signature(kind).parameters if name != "self"}


def test_all_options_are_looked_at():
    assert set(MAP) == options_of(TSNE) - WITHOUT and set(SAME_MAP) < set(MAP)
    assert set(RUN) == options_of(embed) - WITHOUT - {"tsne"}
    assert options_of(place) - WITHOUT == {"model", "source", "dataset", "columns", "rows", "novelty", "then"}
    assert options_of(train) - WITHOUT - set(RUN) == {"encoder", "map", "tsne"}
    parametric = pytest.importorskip("tsne_ooc.parametric")
    assert set(ENCODER) == options_of(parametric.ParametricTSNE) - WITHOUT - {"prepare", "device", "decoder"}


@pytest.mark.parametrize("name", MAP)
def test_options_of_a_map(asked, name):
    def job(value):
        options = {**QUICK, name: value}
        if name == "metric_params":
            options["metric"] = "seuclidean"
        if name == "callbacks_every_iters":
            options["callbacks"] = stopping(1)
        return asked(embed, X, tsne=TSNE(**options))

    one, other = MAP[name]
    assert differ(job(one), job(one)) == []
    lines = differ(job(one), job(other))
    assert lines and all("\n" not in line and " at 0x" not in line and len(line) < 200 for line in lines)
    if name in SAME_MAP:
        one, other = SAME_MAP[name]
        # The job is that of another metric parameter, which no metric takes: only the words of a request are compared.
        if name == "metric_params":
            from tsne_ooc.storage.asked import plain, unequal

            assert unequal("", plain(one), plain(other)) == []
        else:
            assert differ(job(one), job(other)) == []


@pytest.mark.parametrize("name", RUN)
def test_options_of_a_run(asked, tmp_path, name):
    one, other = RUN[name]
    source = tables(tmp_path).get(name, X)
    for door in (embed, train) if name not in ("sample", "rounds", "refine", "random_state", "then") else (embed,):
        first = asked(door, one) if name == "source" else asked(door, source, **{name: one})
        second = asked(door, other) if name == "source" else asked(door, source, **{name: other})
        assert differ(first, second), door


def test_options_of_placing(asked, tmp_path):
    for seed in range(2):
        TSNE(**QUICK, random_state=seed).fit(X).save(tmp_path / f"{seed}")
    first = asked(place, tmp_path / "0", X)
    assert differ(first, asked(place, tmp_path / "0", X, novelty=True)) == []
    assert differ(first, asked(place, tmp_path / "1", X))
    assert differ(first, asked(place, tmp_path / "0", X, novelty=False))
    assert differ(first, asked(place, tmp_path / "0", X[::-1]))
    assert differ(first, asked(place, tmp_path / "0", X, then=Counted(1)))
    part = asked(place, tmp_path / "0", X, rows=(10, 20))
    assert differ(first, part) and differ(part, asked(place, tmp_path / "0", X, rows=(10, 21)))
    assert differ(part, asked(place, tmp_path / "0", X, rows="10:20")) == []


@pytest.mark.parametrize("name", [*ENCODER, "prepare", "weights of a network", "map"])
def test_options_of_an_encoder(asked, monkeypatch, tmp_path, name):
    torch = pytest.importorskip("torch")
    parametric = pytest.importorskip("tsne_ooc.parametric")
    from tsne_ooc.parametric import lesson
    from tsne_ooc.parametric.checkpoint import Checkpoint

    class Watched(Checkpoint):
        def __init__(self, path, job):
            raise Caught(json.loads(json.dumps(job)))

    def network(change):
        torch.manual_seed(0)
        net = torch.nn.Linear(4, 2)
        with torch.no_grad():
            net.bias += change
        return net

    def options(value):
        base = {"objective": "distillation", "network": (16, 1), "n_iter": 3, "batch_size": 16, "random_state": 0}
        if name == "patience":
            base["validation"] = True
        if name == "callbacks_every_iters":
            base["callbacks"] = stopping(1)
        what = {"weights of a network": "network"}.get(name, name)
        return {**base, what: value}

    pairs = {
        **ENCODER, "prepare": (fitted(X), fitted(X[1:])), "weights of a network": (network(0), network(1e-3)),
    }  # fmt: skip
    monkeypatch.setattr(lesson, "Checkpoint", Watched)

    def job(value):
        with pytest.raises(Caught) as caught:
            teacher = {} if name == "teacher" else {"teacher": TSNE(**QUICK)}
            parametric.ParametricTSNE(**{**teacher, **options(value)}).fit(X, checkpoint=tmp_path / "state")
        (found,) = caught.value.args
        return found

    if name == "map":
        for seed in range(2):
            TSNE(**QUICK, random_state=seed).fit(X).save(tmp_path / f"{seed}")
        first, second, again = (asked(train, X, map=tmp_path / folder) for folder in "010")
        assert differ(first, second) and not differ(first, again)
        return
    one, other = pairs[name]
    first, second, again = job(one), job(other), job(one)
    assert first == again and first != second
    if name in ("teacher", "prepare"):
        return
    encoders = [parametric.ParametricTSNE(**options(value)) for value in (one, other, one)]
    first, second, again = (asked(train, X, encoder=encoder) for encoder in encoders)
    assert differ(first, second) and not differ(first, again)


# --------------------------------------------------------------------------------------------------- runs go on, or not


class Stop(Exception):
    pass


def stopped(phase, done, total):
    if phase == "place" and done:
        raise Stop


MATTERS = {
    "a matrix": [{"affinity": graph(shift)} for shift in range(2)],
    "a start": [{"initialization": 1e-4 * part} for part in (X[:, :2], X[:, 1:3])],
    "callbacks": [{"callbacks": stopping(at), "callbacks_every_iters": 1} for at in (0, 100)],
    "parts of functions": [{"callbacks": functools.partial(stopping(at)), "callbacks_every_iters": 1} for at in (0, 9)],
    "parameters of a metric": [{"metric": "seuclidean", "metric_params": {"V": np.full(4, v)}} for v in (1.0, 2.0)],
    "generators": [{"random_state": np.random.default_rng(seed), "initialization": "random"} for seed in range(2)],
}


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("name", MATTERS)
def test_another_request_is_refused(tmp_path, name, finished):
    one, other = MATTERS[name]

    def run(options, out="map", **more):
        return embed(X, out=tmp_path / out, tsne=TSNE(**{**QUICK, **options}), block_rows=20, **more)

    if finished:
        run(one)
    else:
        with pytest.raises(Stop):
            run(one, progress=stopped)
    before = {path.name: path.read_bytes() for path in (tmp_path / "map").glob("*.*")}
    with pytest.raises(ValueError, match=r"something else is asked for now|result of another run") as caught:
        run(other, resume=True)
    assert "\n" not in str(caught.value)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "map").glob("*.*")}
    whole = run(one, out="whole")
    np.testing.assert_array_equal(run(one, resume=True).embedding, whole.embedding)
    # The other is another one, or nothing would be wrong with taking it for the same.
    assert not np.array_equal(run(other, out="other").embedding, whole.embedding)


def test_what_nothing_tells_apart_is_said_first_and_not_gone_on_with(tmp_path, caplog):
    lock = threading.Lock()

    def run(**more):
        tsne = TSNE(**QUICK, callbacks=lambda i, error, Y: lock.locked())
        return embed(X, out=tmp_path / "map", tsne=tsne, block_rows=20, **more)

    with caplog.at_level(logging.WARNING), pytest.raises(Stop):
        run(progress=stopped)
    said = "callbacks.0 holds an object of type _thread.lock, which cannot be told from another"
    assert f"this run cannot be resumed: {said}" in caplog.text
    with pytest.raises(ValueError, match=said):
        run(resume=True)


def test_of_one_version_alone(tmp_path):
    """What is compared is not the same in all versions: without a word of the version nothing goes on."""
    from tsne_ooc.parametric.checkpoint import Checkpoint
    from tsne_ooc.storage.ledger import Ledger

    with pytest.raises(Stop):
        embed(X, out=tmp_path / "map", tsne=TSNE(**QUICK), block_rows=20, progress=stopped)
    model = TSNE(**QUICK).fit(X)
    with pytest.raises(Stop):
        model.transform_to(X, tmp_path / "Y.npy", progress=stopped)
    for path in (tmp_path / "map" / "ledger.json", tmp_path / "Y.npy.ledger"):
        ledger = Ledger.read(path)
        del ledger.job["tsne_ooc"]
        ledger.write()
    with pytest.raises(ValueError, match="tsne_ooc was None, is"):
        embed(X, out=tmp_path / "map", tsne=TSNE(**QUICK), resume=True)
    with pytest.raises(ValueError, match="tsne_ooc was None, is"):
        model.transform_to(X, tmp_path / "Y.npy", resume=True)
    Checkpoint(tmp_path / "state", {"n_iter": 3}).write({}, {})
    with pytest.raises(ValueError, match="another tsne_ooc"):
        Checkpoint(tmp_path / "state", {"n_iter": 3, "tsne_ooc": tsne_ooc.__version__}).read()


def test_named_options_are_told_as_they_are(asked):
    """What a file can hold stands in a request in words that people read."""
    job = asked(embed, X, tsne=TSNE(affinity=Mixture((5, 30)), schedule=Schedule([Phase(5)])), sample=30)
    parameters = job["request"]["parameters"]
    assert parameters["affinity"] == {"class": "Mixture", "perplexities": [5, 30]}
    changed = asked(embed, X, tsne=TSNE(affinity=Perplexity(7), schedule=Schedule([Phase(5)])), sample=30)
    assert any("affinity.class was 'Mixture', is 'Perplexity'" in line for line in differ(job, changed))
    assert differ(job, asked(embed, X, tsne=TSNE(affinity=Mixture((5, 30)), schedule=Schedule([Phase(5)])), sample=31))
    standard = asked(embed, X, prepare=Preparation([Standardize()]))
    assert standard["request"]["prepare"][0]["class"] == "Standardize"
