"""Columns far from 0: times in seconds, numbers of cases. What float32 cannot tell apart there, the fit still does."""

from __future__ import annotations

import warnings

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from sklearn.neighbors import KNeighborsClassifier

from tsne_ooc import TSNE, embed, load
from tsne_ooc.groups import Groups
from tsne_ooc.pipeline import place
from tsne_ooc.preprocess import Preparation, Standardize
from tsne_ooc.preprocess.shift import look_at

QUICK = {"perplexity": 10, "early_exaggeration_iter": 50, "n_iter": 60, "random_state": 0}
LABEL = np.repeat(np.arange(4), 75)
FAR = 1.7e9


def islands(scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return scale * (np.eye(4)[LABEL][:, :3] + 0.05 * rng.normal(size=(300, 3)))


def accuracy(embedding):
    return KNeighborsClassifier(5).fit(embedding[::2], LABEL[::2]).score(embedding[1::2], LABEL[1::2])


@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "chebyshev", "seuclidean", "mahalanobis"])
@pytest.mark.parametrize("offset", [1e6, FAR, -1e11, [1e5, 0.0, FAR]])
def test_islands_far_from_0_are_islands(metric, offset):
    # Rows that are not round: what float64 itself cannot hold so far out is not asked for.
    X = islands(1000.0) + offset
    model = TSNE(metric=metric, **QUICK).fit(X)
    assert accuracy(model.embedding_) > 0.97
    np.testing.assert_array_equal(model.transform(X), model.embedding_)
    np.testing.assert_array_equal(model.transform(X[7:9].tolist()), model.embedding_[7:9])
    new = islands(1000.0, seed=1) + offset
    assert KNeighborsClassifier(5).fit(model.embedding_, LABEL).score(model.transform(new), LABEL) > 0.97
    # Novelty by its definition, in float64.
    scale = {"seuclidean": X.std(axis=0, ddof=1)}.get(metric, 1.0)
    if metric not in ("euclidean", "seuclidean"):
        return
    D, Q = cdist(X / scale, X / scale), cdist(new / scale, X / scale)
    own = np.sort(D, axis=1)[:, 1:16].mean(axis=1)
    own = np.maximum(own, 0.3 * np.median(own))
    near = np.argsort(Q, axis=1)[:, :15]
    wanted = np.take_along_axis(Q, near, axis=1).mean(axis=1) / own[near].mean(axis=1)
    # A neighbour may be another where two are as far as rounding errors tell.
    assert (np.abs(model.score_samples(new) / wanted - 1) < 1e-2).mean() > 0.99


CONTAINERS = {
    "array": lambda X, folder: X,
    "fortran": lambda X, folder: np.asfortranarray(X),
    "list": lambda X, folder: X.tolist(),
    "frame": lambda X, folder: pd.DataFrame(X, columns=["time", "number", "x"]),
    "whole numbers": lambda X, folder: np.round(X).astype(np.int64),
    "objects": lambda X, folder: X.astype(object),
    "tensor": lambda X, folder: pytest.importorskip("torch").from_numpy(X),
    "dask": lambda X, folder: pytest.importorskip("dask.array").from_array(X, chunks=(70, 3)),
    "memory map": lambda X, folder: _mapped(X, folder),
    "hdf5": lambda X, folder: _stored(X, folder),
}


def _mapped(X, folder):
    np.save(folder / "X.npy", X)
    return np.load(folder / "X.npy", mmap_mode="r")


def _stored(X, folder):
    with h5py.File(folder / "X.h5", "w") as file:
        file["X"] = X
    return h5py.File(folder / "X.h5")["X"]


@pytest.mark.parametrize("container", CONTAINERS)
def test_in_every_container(container, tmp_path):
    X = islands(1e3) + FAR
    wanted = TSNE(**QUICK).fit(np.round(X) if container == "whole numbers" else X)
    table = CONTAINERS[container](X, tmp_path)
    model = TSNE(**QUICK).fit(table)
    np.testing.assert_array_equal(model.embedding_, wanted.embedding_)
    np.testing.assert_array_equal(model.transform(table), wanted.embedding_)
    assert accuracy(model.embedding_) > 0.97


def test_through_files_runs_and_samples(tmp_path):
    X, new = islands() + FAR, islands(seed=1) + FAR
    model = TSNE(**QUICK).fit(X)
    assert model.preparation_.fitted[0].offset.tolist() == pytest.approx([FAR] * 3, rel=1e-7)
    wanted, scores = model.transform(new), model.score_samples(new)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(again.transform(new), wanted)
    np.testing.assert_array_equal(again.score_samples(new), scores)
    np.testing.assert_array_equal(np.load(again.transform_to(new, tmp_path / "Y.npy")), wanted)
    found = place(tmp_path / "model", new, out=tmp_path / "placed")
    np.testing.assert_array_equal(found.embedding, wanted)
    np.testing.assert_array_equal(found.novelty, scores)
    assert np.isfinite(Groups(again, 10).score(new).far).all()

    sampled = TSNE(sample=100, **QUICK).fit(X)
    run = embed(X, out=tmp_path / "map", sample=100, tsne=TSNE(**QUICK), rounds=2)
    assert accuracy(sampled.fit_transform(X)) > 0.97 and accuracy(run.embedding) > 0.97
    one = embed(X, out=tmp_path / "one", sample=100, tsne=TSNE(**QUICK))
    np.testing.assert_array_equal(one.embedding, sampled.fit_transform(X))


def test_an_encoder_sees_the_same_rows(tmp_path):
    torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")
    torch.set_num_threads(1)
    from tsne_ooc.parametric import ParametricTSNE, load

    few = {"n_iter": 200, "network": (16, 1), "landmarks": 16, "random_state": 0, "n_jobs": 1}
    X, new = islands() + FAR, islands(seed=1) + FAR
    model = ParametricTSNE(TSNE(**QUICK), **few).fit(X)
    assert KNeighborsClassifier(5).fit(model.embedding_, LABEL).score(model.transform(new), LABEL) > 0.9
    model.save(tmp_path / "encoder")
    np.testing.assert_array_equal(load(tmp_path / "encoder").transform(new), model.transform(new))


@pytest.mark.parametrize(
    "column",
    [
        lambda rng: rng.normal(size=400),
        lambda rng: rng.normal(290, 5, 400),
        lambda rng: rng.normal(1013, 10, 400),
        lambda rng: rng.normal(1e4, 1, 400),
        lambda rng: np.exp(20 * rng.normal(size=400)),
        lambda rng: rng.integers(0, 1 << 24, 400),
        lambda rng: rng.integers(0, 1 << 40, 400),
        lambda rng: np.full(400, 0.1),
        lambda rng: 0.1 + 1e-17 * rng.normal(size=400),
        lambda rng: np.repeat(rng.normal(size=200), 2) * (1 + 1e-15 * rng.normal(size=400)),
        lambda rng: np.linspace(0, 1, 400),
        lambda rng: rng.normal(size=400).astype(np.float32) * 1e30,
        lambda rng: rng.integers(0, 2, 400),
        lambda rng: np.where(rng.random(400) < 0.9, 0, rng.normal(size=400)),
        lambda rng: np.arange(1_000_000)[::2500],
        lambda rng: 1.6e9 + 86_400 * np.arange(400),
    ],
)
def test_ordinary_tables_keep_their_bits(column):
    rng = np.random.default_rng(0)
    X = np.stack([column(rng), rng.normal(size=400)], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = TSNE(**QUICK).fit(X)
    assert model.preparation_ is None
    np.testing.assert_array_equal(model.embedding_, TSNE(**QUICK).fit(X.astype(np.float32)).embedding_)


@pytest.mark.parametrize("metric", ["cosine", "canberra", "correlation", "braycurtis"])
def test_a_metric_that_a_shift_would_change_warns_by_name(metric):
    X = islands() + np.array([0.0, FAR, 0.0])
    frame = pd.DataFrame(np.abs(X), columns=["x", "time", "z"])
    told = "keeps 1 of 1.. values of column 'time' apart; subtract what .* their median, or use .*Standardize"
    with pytest.warns(UserWarning, match=told):
        model = TSNE(metric=metric, **QUICK).fit(frame)
    assert model.preparation_ is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TSNE(metric=metric, prepare=Preparation([Standardize()]), **QUICK).fit(frame)


def test_a_metric_of_ones_own_warns_too():
    with pytest.warns(UserWarning, match=r"keeps 1 of 1.. values of column 0 apart \(and too few of 1, 2\)"):
        TSNE(metric=lambda a, b: float(np.abs(a - b).sum()), **QUICK).fit(islands() + FAR)


def test_what_no_shift_saves_is_said():
    """Five days many years apart, told to the millisecond."""
    X = islands(0.1)
    X[:, 1] += np.random.default_rng(1).choice([-2 * FAR, -FAR, 0.7 * FAR, FAR, 2 * FAR], 300)
    with pytest.warns(UserWarning, match=r"keeps .* of 1.. values of column 1 apart; .*Standardize"):
        TSNE(**QUICK).fit(X)


def test_a_value_that_stands_for_what_is_missing_does_not_hide_the_rest():
    X = islands() + FAR
    X[::7] = 0
    model = TSNE(**QUICK).fit(X)
    kept = np.arange(300) % 7 > 0
    votes = KNeighborsClassifier(5).fit(model.embedding_[kept], LABEL[kept])
    assert votes.score(model.embedding_[kept], LABEL[kept]) > 0.97


def test_how_many_values_are_told_apart():
    """Against a count with sets of Python's own numbers."""
    rng = np.random.default_rng(0)
    X = np.stack([FAR + rng.normal(0, s, 128) for s in (1e-2, 1, 100, 1e7)] + [rng.normal(size=128)], axis=1)
    look = look_at(X)
    for j, column in enumerate(X.T):
        assert look.kept[j] == len({float(np.float32(value)) for value in column})
        if look.helped[j]:
            assert look.saved[j] == len({float(np.float32(value - look.centre[j])) for value in column})
    assert look.helped.tolist() == [True, True, True, False, False]
    assert look_at(X.astype(np.float32)) is None and look_at(np.arange(12).reshape(6, 2)) is None


def long_numbers(step, dtype):
    """Whole numbers beyond 2^53 that differ by multiples of `step`."""
    return (2**62 + step * np.random.default_rng(0).permutation(300)[:, None] * [1, 3]).astype(dtype)


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="no type here holds all whole numbers of 8 bytes")
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("dtype", ["i8", "u8"])
@pytest.mark.parametrize(("step", "merged"), [(1, True), (2**6, True), (2**13, False), (2**50, False)])
def test_whole_numbers_that_float64_merges_are_said(step, merged, dtype, named):
    X = long_numbers(step, dtype)
    table = pd.DataFrame(X, columns=["id", "more"]) if named else X
    look = look_at(table)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        TSNE(perplexity=10, n_iter=2, random_state=0).fit(table)
    # (Multiples of 2^50 float32 holds exactly.)
    seen = X[np.unique(np.linspace(0, 299, 128).astype(np.int64))]
    assert look is None or [len({int(cell) for cell in column}) for column in seen.T] == look.known.tolist()
    lost = [str(warning.message) for warning in told if "apart" in str(warning.message)]
    # A step of float64 is 2^10 there.
    assert bool(lost) is merged
    assert not merged or ("values of column 'id'" if named else "values of column 0") in lost[0]


def test_a_column_of_whole_numbers_is_one_beside_any_other():
    """Whole numbers that float32 merges differ; those of rounding errors may not."""
    whole = 2.0**40 + np.arange(400) % 7
    other = np.random.default_rng(0).normal(size=400)
    alone, beside = look_at(whole[:, None]), look_at(np.stack([whole, other], axis=1))
    assert alone.known[0] == beside.known[0] == 7
    assert alone.kept[0] == beside.kept[0] == 1
