"""One fit, however it is asked for: the same bytes; one seed, told; and an estimator that is old or new, never half."""

from __future__ import annotations

from functools import partialmethod

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer, StandardScaler
from sklearn.random_projection import GaussianRandomProjection as RandomProjection

from tsne_ooc import TSNE, embed, load
from tsne_ooc.groups import Groups
from tsne_ooc.preprocess import PCA, Preparation, Standardize, Transformer
from tsne_ooc.sampling import Coverage, Rows, UniformSample, take

QUICK = {"perplexity": 8, "early_exaggeration_iter": 15, "n_iter": 20, "random_state": 3}
UNSEEDED = {**QUICK, "random_state": None}


def rows(n=400, seed=0):
    rng = np.random.default_rng(seed)
    groups = 6 * np.random.default_rng(9).normal(size=(4, 6))
    return ((groups[rng.integers(0, 4, n)] + rng.normal(size=(n, 6))) * [1, 1, 300, 1, 1, 1]).astype(np.float32)


def steps():
    return Preparation([Standardize(), PCA(4)])


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*.npy")}


# ------------------------------------------------------------------------------------------------------- one fit


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("prepare", [None, steps()])
@pytest.mark.parametrize("sample", [120, Coverage(90), Rows(np.arange(0, 400, 3)), "uniform:80"])
def test_every_way_of_saying_it_gives_the_same_bytes(tmp_path, stored, prepare, sample):
    X = rows()
    with h5py.File(tmp_path / "X.h5", "w") as file:
        file.create_dataset("X", data=X, chunks=(64, 6))
        table = file["X"] if stored else X
        model = TSNE(sample=sample, prepare=prepare, **QUICK)
        wanted = model.fit_transform(table)
        ways = {
            "here": {"sample": sample, "prepare": prepare, "tsne": TSNE(**QUICK)},
            "there": {"tsne": TSNE(sample=sample, prepare=prepare, **QUICK)},
            "both": {"sample": sample, "prepare": prepare, "tsne": model},
        }
        ways = {name: embed(table, out=tmp_path / name, random_state=3, **way) for name, way in ways.items()}
    for name, run in ways.items():
        np.testing.assert_array_equal(run.embedding, wanted, err_msg=name)
        np.testing.assert_array_equal(run.sample_rows, model.sample_rows_)
        assert bytes_of(run.folder) == bytes_of(ways["here"].folder)
        assert run.manifest["job"] == ways["here"].manifest["job"]
        np.testing.assert_array_equal(load(run.folder / "model").transform(X), model.transform(X))
    # By hand: prepared, drawn and fitted one after the other.
    prepared = X if prepare is None else Preparation(prepare.steps).fit(X, random_state=3).transform(X)
    plain = TSNE(**QUICK).fit(take(prepared, model.sample_rows_))
    np.testing.assert_array_equal(model.embedding_, plain.embedding_)
    by_hand = plain.transform(prepared)
    by_hand[model.sample_rows_] = plain.embedding_
    np.testing.assert_array_equal(wanted, by_hand)


@pytest.mark.parametrize(
    "here, there, message",
    [
        ({"sample": 80}, {"sample": 50}, "sample=80 is given here, and sample=50 to tsne; pass one of them"),
        ({"sample": Coverage(50)}, {"sample": 50}, "sample=Coverage.* is given here, and sample=50 to tsne"),
        ({"prepare": steps()}, {"prepare": Preparation([PCA(2)])}, "prepare=.* is given here, and prepare=.* to tsne"),
    ],
)
def test_two_values_are_refused_by_name_before_anything_is_done(tmp_path, here, there, message):
    told = []
    with pytest.raises(ValueError, match=message):
        tsne = TSNE(**there, **QUICK)
        embed(rows(), out=tmp_path / "map", tsne=tsne, progress=lambda *event: told.append(event), **here)
    assert not told and not (tmp_path / "map").exists()
    same = embed(rows(60), out=tmp_path / "same", sample=UniformSample(50), tsne=TSNE(sample=50, **QUICK))
    assert len(same.sample_rows) == 50


def test_rows_that_were_prepared_for_the_fit_are_prepared_to_be_placed(tmp_path):
    """Unequal columns: without the preparation most rows would be strangers."""
    run = embed(rows(1000), out=tmp_path / "map", sample=300, tsne=TSNE(prepare=Preparation([Standardize()]), **QUICK))
    assert np.median(run.novelty) < 1.2 and (run.novelty > load(run.folder / "model").novelty_threshold_).mean() < 0.02


def test_an_encoder_is_no_map_to_embed_with(tmp_path):
    pytest.importorskip("torch", reason="encoders need the extra 'neural'")
    from tsne_ooc.parametric import ParametricTSNE

    with pytest.raises(TypeError, match="tsne is a ParametricTSNE, an encoder; train one"):
        embed(rows(), out=tmp_path / "map", tsne=ParametricTSNE())
    assert not (tmp_path / "map").exists()


# --------------------------------------------------------------------------------------------------------- seeds


def _train(X, folder):
    pytest.importorskip("torch", reason="encoders need the extra 'neural'").set_num_threads(1)
    from tsne_ooc.parametric import ParametricTSNE
    from tsne_ooc.pipeline import train

    encoder = ParametricTSNE(n_iter=5, network=(16, 1), landmarks=16, n_jobs=1)
    return train(X, out=folder, encoder=encoder, tsne=TSNE(**UNSEEDED)).transform(X)


def _parametric(X, folder):
    pytest.importorskip("torch", reason="encoders need the extra 'neural'").set_num_threads(1)
    from tsne_ooc.parametric import ParametricTSNE

    options = {"n_iter": 5, "network": (16, 1), "landmarks": 16, "n_jobs": 1, "random_state": 2}
    return ParametricTSNE(TSNE(**UNSEEDED), **options).fit_transform(X)


def _unseeded():
    """Two that draw, one of them within a pipeline."""
    drawing = make_pipeline(RandomProjection(4), QuantileTransformer(n_quantiles=20, subsample=50))
    return Preparation([Transformer(drawing)])


SEEDED = {
    "fit": lambda X, folder: TSNE(**QUICK).fit(X).embedding_,
    "fit_transform of a sample": lambda X, folder: TSNE(sample=90, **QUICK).fit_transform(X),
    "robust preparation": lambda X, folder: TSNE(prepare=Preparation([Standardize(True)]), **QUICK).fit(X).embedding_,
    "transformers without a seed": lambda X, folder: TSNE(prepare=_unseeded(), **QUICK).fit(X).embedding_,
    "embed": lambda X, folder: embed(X, out=folder, sample=90, random_state=0).embedding,
    "embed of everything": lambda X, folder: embed(X, out=folder, random_state=0).embedding,
    "embed without a seed": lambda X, folder: embed(X, out=folder, sample=90, tsne=TSNE(**UNSEEDED)).embedding,
    "embed of one's own": lambda X, folder: (
        embed(X, out=folder, sample="coverage:90", tsne=TSNE(**UNSEEDED), random_state=8).embedding
    ),
    "embed in rounds": lambda X, folder: embed(X, out=folder, sample=90, tsne=TSNE(**UNSEEDED), rounds=2).embedding,
    "train": _train,
    "an encoder": _parametric,
}


@pytest.mark.parametrize("entry", SEEDED)
@pytest.mark.filterwarnings("ignore:perplexity=:UserWarning")
def test_what_has_a_seed_is_the_same_twice(tmp_path, entry):
    one, two = (SEEDED[entry](rows(), tmp_path / name) for name in "ab")
    np.testing.assert_array_equal(one, two)


def test_a_seed_that_was_drawn_is_written_down(tmp_path):
    for seed in (None, np.random.default_rng(5), np.random.RandomState(5), 2**80 + 1):
        model = TSNE(**{**QUICK, "random_state": seed}, sample=100).fit(rows())
        again = TSNE(**{**QUICK, "random_state": model.seed_}, sample=100).fit(rows())
        np.testing.assert_array_equal(again.embedding_, model.embedding_)
        model.save(tmp_path / "model", overwrite=True)
        assert load(tmp_path / "model").seed_ == model.seed_
    run = embed(rows(), out=tmp_path / "map", sample=100, random_state=11)
    assert run.manifest["random_state"] == 11 and run.manifest["parameters"]["random_state"] == 11
    assert load(tmp_path / "map" / "model").seed_ == 11


def test_a_seed_of_ones_own_stays(tmp_path):
    run = embed(rows(), out=tmp_path / "map", sample=100, tsne=TSNE(**QUICK), random_state=11)
    wanted = TSNE(**QUICK).fit(rows()[run.sample_rows])
    np.testing.assert_array_equal(run.embedding[run.sample_rows], wanted.embedding_)


# ----------------------------------------------------------------------------------------------------- scikit-learn


def test_all_rows_come_out_of_a_sample():
    frame = pd.DataFrame(rows(), columns=list("abcdef"), index=[f"row {i}" for i in range(400)])
    model = TSNE(sample=90, **QUICK)
    wanted = model.fit_transform(frame)
    assert wanted.shape == (400, 2) and model.embedding_.shape == (90, 2)
    np.testing.assert_array_equal(wanted[model.sample_rows_], model.embedding_)
    rest = np.setdiff1d(np.arange(400), model.sample_rows_)
    np.testing.assert_array_equal(wanted[rest], model.transform(frame.iloc[rest]))
    named = clone(model).set_output(transform="pandas").fit_transform(frame)
    assert list(named.columns) == ["tsne0", "tsne1"] and list(named.index) == list(frame.index)
    np.testing.assert_array_equal(named.to_numpy(), wanted)
    piped = make_pipeline(StandardScaler(), TSNE(sample=90, **QUICK)).fit_transform(rows())
    assert piped.shape == (400, 2)


def test_twins_in_a_sample_keep_their_own_seats():
    X = np.repeat(rows(60), 4, axis=0)
    model = TSNE(sample=100, **QUICK)
    placed = model.fit_transform(X)
    assert len(np.unique(model.embedding_, axis=0)) == 100
    np.testing.assert_array_equal(placed[model.sample_rows_], model.embedding_)


@pytest.mark.parametrize("options", [{}, {"sample": 5}, {"sample": "coverage"}, {"prepare": steps()}])
@pytest.mark.parametrize("X", [np.empty((0, 4)), np.empty((3, 0)), np.empty(5), np.float64(3)])
def test_tables_that_are_none(options, X):
    with pytest.raises(ValueError, match=r"0 sample\(s\)|0 feature\(s\)|Expected 2D array"):
        TSNE(**options, **QUICK).fit_transform(X)


@pytest.mark.parametrize("sample", [5, "coverage:5", Rows([1, 2, 5])])
def test_a_row_in_memory_that_no_sample_takes_is_looked_at(sample):
    X = rows()
    X[398, 2] = np.nan
    with pytest.raises(ValueError, match="NaN at row 398, column 2"):
        TSNE(sample=sample, **QUICK).fit(X)


def test_tags_tell_where_values_may_be_missing():
    X = rows()
    X[3, 1] = np.nan
    for metric, may in (("nan_euclidean", True), ("euclidean", False)):
        model = TSNE(**QUICK, metric=metric)
        assert model.__sklearn_tags__().input_tags.allow_nan == may
        if may:
            model.fit(X)
        else:
            with pytest.raises(ValueError, match="row 3, column 1"):
                model.fit(X)


@pytest.mark.parametrize(
    "options, takes",
    [
        ({}, True),
        ({"metric": "cosine"}, True),
        ({"metric": "canberra"}, False),
        ({"metric": lambda a, b: float(abs(a - b).sum())}, False),
        ({"neighbors": "exact"}, True),
        ({"neighbors": "ivf"}, False),
        ({"neighbors": "hnsw"}, False),
        ({"neighbors": "ivf", "sample": 100}, True),
        ({"neighbors": "hnsw", "prepare": Preparation([Standardize()])}, True),
        ({"metric": "canberra", "sample": 100}, True),
    ],
)
def test_tags_tell_whether_sparse_rows_are_taken(options, takes):
    model = TSNE(**QUICK, **options)
    assert model.__sklearn_tags__().input_tags.sparse == takes
    sparse = csr_array(rows() * (np.random.default_rng(0).random((400, 6)) < 0.5))
    if not takes:
        with pytest.raises(TypeError, match=r"X is sparse, .* takes no sparse rows; pass a dense array"):
            model.fit(sparse)
        return
    for form in ("csr", "csc", "coo"):
        model.fit(sparse.asformat(form))
        np.testing.assert_array_equal(model.transform(sparse.asformat(form)), model.transform(sparse.toarray()))


@pytest.mark.parametrize("name, value", [("sample", 50), ("prepare", Preparation([Standardize()]))])
def test_distances_are_not_drawn_from_nor_prepared(name, value):
    with pytest.raises(ValueError, match=f"{name} needs rows, and metric='precomputed' has distances"):
        TSNE(metric="precomputed", **{name: value}).fit(np.zeros((90, 90)))


# -------------------------------------------------------------------------------------------------- failed refits


def _broken(error):
    def stop(*event):
        raise error

    return stop


FAILURES = {
    "NaN": (np.full((50, 3), np.nan), {}),
    "option": (rows(90)[:, :3], {"learning_rate": -1}),
    "callback": (rows(90)[:, :3], {"callbacks": _broken(RuntimeError("stop")), "callbacks_every_iters": 1}),
    "affinity": (rows(90)[:, :3], {"affinity": np.ones((4, 4))}),
    "metric": (rows(90)[:, :3], {"metric": _broken(ZeroDivisionError("by zero"))}),
    "start": (pd.DataFrame(rows(90)[:, :3], columns=list("xyz")), {"initialization": np.zeros((7, 2))}),
    "preparation": (rows(90)[:, :3], {"prepare": Preparation([PCA(5)])}),
    "sample": (rows(90)[:, :3], {"sample": Rows([1000])}),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("before", [{}, {"sample": 90, "prepare": steps()}])
def test_a_fit_that_fails_leaves_the_one_before(failure, before):
    X, options = FAILURES[failure]
    model = TSNE(**QUICK, **before).fit(pd.DataFrame(rows(), columns=list("abcdef")))
    known = {name: value for name, value in vars(model).items() if name.endswith("_") or name.startswith("_")}
    new = pd.DataFrame(rows(30, 1), columns=list("abcdef"))
    places, parameters = model.transform(new), model.get_params()
    model.set_params(**{"sample": None, "prepare": None, **options})
    with pytest.raises((ValueError, TypeError, RuntimeError, ZeroDivisionError, FloatingPointError)):
        model.fit(X)
    model.set_params(**parameters)
    now = {name: value for name, value in vars(model).items() if name.endswith("_") or name.startswith("_")}
    assert now.keys() == known.keys() and all(now[name] is known[name] for name in known)
    np.testing.assert_array_equal(model.transform(new), places)


def test_a_fit_that_fails_first_leaves_nothing():
    model = TSNE(**QUICK)
    with pytest.raises(ValueError):
        model.fit(np.full((50, 3), np.nan))
    assert not [name for name in vars(model) if name.endswith("_")]


def test_a_new_fit_is_new_throughout():
    model = TSNE(**QUICK, sample=90, prepare=steps()).fit(pd.DataFrame(rows(), columns=list("abcdef")))
    model.set_params(sample=None, prepare=None).fit(rows(100)[:, :3])
    fresh = TSNE(**QUICK).fit(rows(100)[:, :3])
    assert vars(model).keys() == vars(fresh).keys()
    np.testing.assert_array_equal(model.transform(rows(20, 1)[:, :3]), fresh.transform(rows(20, 1)[:, :3]))
    assert model.n_features_in_ == 3 and model.sample_rows_ is None and model.preparation_ is None


# ------------------------------------------------------------------------------------------------ threads, clones


def _counted(self, counts, run, *work):
    counts.append(self.n)
    return run(self, *work)


def _groups(model):
    Groups(model, 5)


def _scores(model):
    model.score_samples(rows(2500, 1))


def _affinities(model):
    _ = model.affinities_


def test_threads_asked_for_after_the_fit_reach_the_search(tmp_path, monkeypatch):
    from tsne_ooc._parallel import Threads

    TSNE(**QUICK, n_jobs=1).fit(rows(3000)).save(tmp_path / "model")
    for model in (TSNE(**QUICK, n_jobs=1).fit(rows(3000)), load(tmp_path / "model")):
        wanted = model.transform(rows(2500, 1))
        counts = []
        with monkeypatch.context() as patch:
            patch.setattr(Threads, "map", partialmethod(_counted, counts, Threads.map))
            found = model.set_params(n_jobs=3).transform(rows(2500, 1))
            assert set(counts) == {3}
            groups = Groups(model, 5)
            # Whichever door is the first to be used after it.
            for n, door in enumerate((_groups, _scores, _affinities), 4):
                counts.clear()
                door(model.set_params(n_jobs=n))
                assert set(counts) == {n}
            counts.clear()
            model.set_params(n_jobs=2)
            groups.score(rows(2500, 1))
            assert set(counts) == {2}
        np.testing.assert_array_equal(found, wanted)


def test_threads_of_an_encoder_reach_the_search_of_its_teacher(monkeypatch):
    pytest.importorskip("torch", reason="encoders need the extra 'neural'").set_num_threads(1)
    from tsne_ooc._parallel import Threads
    from tsne_ooc.parametric import ParametricTSNE

    teacher = TSNE(**QUICK, n_jobs=1)
    model = ParametricTSNE(teacher, n_iter=5, network=(16, 1), landmarks=0, random_state=0, n_jobs=1).fit(rows())
    for n, door in enumerate((lambda: model.score_samples(rows()), lambda: Groups(model, 5).score(rows())), 3):
        counts = []
        with monkeypatch.context() as patch:
            patch.setattr(Threads, "map", partialmethod(_counted, counts, Threads.map))
            model.set_params(n_jobs=n)
            door()
        assert set(counts) == {n}


def test_groups_stay_those_of_their_fit():
    model = TSNE(**QUICK).fit(rows())
    groups = Groups(model, 5)
    wanted = groups.score(rows(9))
    model.fit(rows(300))
    for one, other in zip(groups.score(rows(9)), wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_copy_is_not_fitted_and_a_frozen_one_stays_so(tmp_path):
    from sklearn.frozen import FrozenEstimator

    model = TSNE(**QUICK).fit(rows())
    assert not hasattr(clone(model), "embedding_")
    frozen = clone(FrozenEstimator(model))
    np.testing.assert_array_equal(frozen.transform(rows(9, 1)), model.transform(rows(9, 1)))
    # No second fit: what a run would do with it.
    with pytest.raises(TypeError, match="tsne is frozen, a map that is fitted already"):
        embed(rows(), out=tmp_path / "map", tsne=FrozenEstimator(model))


def test_encoders_keep_a_fitted_teacher(tmp_path):
    pytest.importorskip("torch", reason="encoders need the extra 'neural'").set_num_threads(1)
    from sklearn.frozen import FrozenEstimator

    from tsne_ooc.parametric import ParametricTSNE
    from tsne_ooc.parametric import load as load_encoder

    teacher = TSNE(**QUICK, n_jobs=1).fit(rows())
    few = {"n_iter": 5, "network": (16, 1), "landmarks": 16, "random_state": 0, "n_jobs": 1}
    one = ParametricTSNE(teacher, **few)
    wanted = one.fit(rows()).transform(rows())
    copy = clone(one)
    assert copy.teacher is teacher and not hasattr(copy, "encoder_") and copy.get_params() == one.get_params()
    frozen = ParametricTSNE(FrozenEstimator(teacher), **few)
    for model in (copy, frozen, clone(frozen)):
        assert model.fit(rows()).teacher_.map_ is teacher.map_
        np.testing.assert_array_equal(model.transform(rows()), wanted)
    drawn = ParametricTSNE(teacher, **{**few, "random_state": None}).fit(rows())
    again = ParametricTSNE(teacher, **{**few, "random_state": drawn.seed_}).fit(rows())
    np.testing.assert_array_equal(again.transform(rows()), drawn.transform(rows()))
    drawn.save(tmp_path / "drawn")
    assert load_encoder(tmp_path / "drawn").seed_ == drawn.seed_
    unfitted = ParametricTSNE(TSNE(**QUICK), **few)
    assert clone(unfitted).teacher is not unfitted.teacher
