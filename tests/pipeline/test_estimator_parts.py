"""What an estimator tells, refuses and takes, call by call, on a map that is made in a moment."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags

from tsne_ooc import TSNE, FixedSigma, Phase, Placement, Uniform, load
from tsne_ooc.estimator import fitted_map
from tsne_ooc.estimator.lazily import is_lazy
from tsne_ooc.estimator.saving import estimator_state, fingerprint
from tsne_ooc.neighbors import Graph
from tsne_ooc.preprocess import Missing, Normalize, Preparation, Standardize, Transformer

QUICK = {"perplexity": 5, "n_iter": 6, "early_exaggeration_iter": 4, "random_state": 0, "neighbors": "exact"}


def rows(n=80, p=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, p)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return TSNE(**QUICK).fit(rows())


# -------------------------------------------------------------------------------------------------------- what it tells


@pytest.mark.parametrize(("d", "axes"), [(1, "a line"), (2, "a plane"), (3, "space")])
def test_a_map_is_shown_by_what_it_is(d, axes):
    model = TSNE(**QUICK, n_components=d).fit(rows())
    assert re.fullmatch(
        rf"<FittedMap of 80 rows on {axes}, KL \d\.\d\d\d, 10 iterations>", repr(model.map_)
    ) and f"KL {model.kl_divergence_:.3f}," in repr(model.map_)
    assert model.map_.n_components == d and model.transform(rows(3)).shape == (3, d)
    assert model.get_feature_names_out().tolist() == [f"tsne{i}" for i in range(d)]


def test_what_a_fit_leaves(model):
    assert (model.n_iter_, model.n_neighbors_, model.seed_, model.sample_rows_) == (10, 15, 0, None)
    assert (model.n_features_in_, model.recall_, model.preparation_) == (4, 1.0, None)
    assert model.graph().k == 15 and model.graph(3).k == 3
    for name, told in (
        ("feature_names_in_", "this TSNE was fitted without feature names"),
        ("placed_", "this map was not refined, so its rows were not placed before"),
    ):
        with pytest.raises(AttributeError) as caught:
            getattr(model, name)
        assert str(caught.value) == told
    for array in (model.embedding_, model.novelty_):
        assert not array.flags.writeable
    refined = model.refine(rows(), schedule=[Phase(2)])
    assert refined.placed_.embedding.shape == (80, 2) and not refined.placed_.embedding.flags.writeable
    assert refined.placed_.novelty is not None and not refined.placed_.iterations.flags.writeable


def test_names_of_columns_are_kept_and_cannot_be_changed():
    import pandas as pd

    model = TSNE(**QUICK).fit(pd.DataFrame(rows(), columns=list("abcd")))
    assert model.feature_names_in_.tolist() == list("abcd") and model.feature_names_in_.dtype == object
    with pytest.raises(ValueError, match="read-only"):
        model.feature_names_in_[0] = "x"


@pytest.mark.parametrize(
    "call",
    [
        lambda model: model.transform(rows()),
        lambda model: model.place(rows()),
        lambda model: model.score_samples(rows()),
        lambda model: model.blocks(rows()),
        lambda model: model.graph(),
        lambda model: model.recall_,
        lambda model: model.novelty_,
        lambda model: model.novelty_threshold_,
        lambda model: model.affinities_,
        lambda model: model.transform_to(rows(), "places.npy"),
        lambda model: model.save("folder"),
        lambda model: model.continue_fit(3),
        lambda model: model.refine(rows()),
    ],
)
def test_nothing_is_answered_before_a_fit(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFittedError, match="This TSNE instance is not fitted yet"):
        call(TSNE())
    assert os.listdir(tmp_path) == []
    for name in ("embedding_", "map_", "n_iter_", "features_"):
        with pytest.raises(AttributeError, match=r"^this TSNE is not fitted$"):
            getattr(TSNE(), name)


def test_rows_that_were_fitted_come_back_with_the_others_placed():
    X = rows(60)
    model = TSNE(**QUICK, sample=np.arange(0, 60, 2))
    places = model.fit_transform(X)
    np.testing.assert_array_equal(places[::2], model.embedding_)
    np.testing.assert_array_equal(places[1::2], model.transform(X[1::2]))
    whole = TSNE(**QUICK)
    mine = whole.fit_transform(X)
    mine[...] = 0
    assert whole.embedding_.any() and not model.sample_rows_.flags.writeable


# ------------------------------------------------------------------------------------------------- rows through blocks


@pytest.mark.parametrize("gaps", [False, True])
def test_rows_in_blocks_of_any_size_are_placed_and_scored_as_together(gaps, monkeypatch):
    X, Q = rows(80), rows(33, seed=1)
    options = {**QUICK, "prepare": Preparation([Missing("drop")])} if gaps else QUICK
    model = TSNE(**options).fit(X)
    if gaps:
        Q[4:8, 1] = np.nan
    start = 10 * rows(33, 2, seed=2)
    prepared = np.concatenate([block for _, _, block in model.blocks(Q)[1]])
    wanted = model.place(Q, start=start), model.map_.place(prepared, Placement()), model.score_samples(Q)
    monkeypatch.setattr(fitted_map, "BLOCK", 5)
    found = model.place(Q, start=start), model.map_.place(prepared, Placement()), model.score_samples(Q)
    for one, other in zip(wanted[:2], found[:2], strict=True):
        for mine, theirs in zip(one, other, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(wanted[2], found[2])
    assert (wanted[0].embedding[np.arange(33) % 4 == 0] != wanted[1].embedding[np.arange(33) % 4 == 0]).any()
    assert np.isnan(found[2]).sum() == (4 if gaps else 0)
    np.testing.assert_array_equal(model.place(Q).novelty, found[2])


def test_of_rows_that_all_lack_a_value_nothing_is_placed():
    model = TSNE(**QUICK, prepare=Preparation([Missing("drop")])).fit(rows())
    placed = model.place(np.full((3, 4), np.nan, np.float32))
    assert np.isnan(placed.embedding).all() and np.isnan(placed.novelty).all() and placed.embedding.shape == (3, 2)
    assert np.isnan(model.score_samples(np.full((3, 4), np.nan))).all()


def test_a_start_has_a_place_for_each_row(model):
    for start, message in (
        (np.zeros((4, 2)), "start has shape (4, 2); (5, 2) is needed, a row for each row of X"),
        (np.full((5, 2), np.nan), "start: row 0, column 0 is nan; it must be finite"),
    ):
        with pytest.raises(ValueError) as told:
            model.place(rows(5, seed=1), start=start)
        assert str(told.value) == message


def test_places_go_into_a_file_and_nothing_else_is_left(model, tmp_path):
    X, path = rows(50, seed=3), tmp_path / "places.npy"
    told = []
    assert model.transform_to(X, str(path), progress=lambda *at: told.append(at)) == path
    np.testing.assert_array_equal(np.load(path), model.transform(X))
    assert os.listdir(tmp_path) == ["places.npy"] and told[-1] == ("place", 50, 50)
    with pytest.raises(IsADirectoryError) as caught:
        model.transform_to(X, tmp_path)
    assert str(caught.value) == f"{tmp_path} is a folder; name a file"
    other = tmp_path / "other.npy"
    part = tmp_path / "other.npy.part"
    part.write_bytes(b"mine")
    with pytest.raises(FileExistsError) as caught:
        model.transform_to(X, other)
    assert str(caught.value) == f"{part} is not from a run that stopped, and would be overwritten; move it away"
    assert part.read_bytes() == b"mine" and not other.exists()
    with pytest.raises(ValueError, match="has 3 columns, and the map was made of 4"):
        model.transform_to(X[:, :3], tmp_path / "third.npy")


def test_places_in_a_file_go_on_for_the_same_model_only(model, tmp_path):
    X, path = rows(50, seed=3), tmp_path / "places.npy"

    def stop(phase, done, n):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.transform_to(X, path, progress=stop)
    with pytest.raises(FileExistsError, match="is of a run that is not finished"):
        model.transform_to(X, path)
    other = TSNE.of_map(model.map_, **{**model.get_params(), "placement": Placement(k=2)})
    with pytest.raises(ValueError, match="something else is asked for now: it is another model;"):
        other.transform_to(X, path, resume=True)
    with pytest.raises(ValueError, match="the source: contents of the rows looked at have changed"):
        model.transform_to(X + 1, path, resume=True)
    model.transform_to(X, path, resume=True)
    np.testing.assert_array_equal(np.load(path), model.transform(X))


# ------------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"n_components": 4}, ValueError, "n_components=4 is not possible: a map has 1, 2 or 3 axes"),
        ({"n_components": 0}, ValueError, "n_components=0 must be at least 1"),
        ({"dof": 0}, ValueError, "dof=0 must be"),
        ({"perplexity": 0}, ValueError, "perplexity=0 must be"),
        ({"affinity": "gauss"}, ValueError, "affinity='gauss' is not known"),
        ({"schedule": 3}, TypeError, "schedule=3 is neither"),
        ({"initialization": "middle"}, ValueError, "initialization='middle' is not known"),
        ({"placement": 3}, TypeError, "placement=3 is not a tsne_ooc.Placement"),
        ({"n_jobs": 0}, ValueError, "n_jobs=0 names no thread at all"),
        ({"sample": 0}, ValueError, "sample=0 must be at least 1"),
        ({"prepare": 3}, TypeError, "prepare=3"),
        ({"callbacks": 3}, TypeError, ""),
        ({"callbacks_every_iters": 0}, ValueError, "callbacks_every_iters=0 must be at least 1"),
        ({"neighbors": "trees"}, ValueError, "neighbors='trees' is not known"),
        ({"metric": "far"}, ValueError, "metric='far' is not known"),
        (
            {"metric": "precomputed", "sample": 5},
            ValueError,
            "sample needs rows, and metric='precomputed' has distances; leave one out",
        ),
        (
            {"metric": "precomputed", "prepare": Preparation([])},
            ValueError,
            "prepare needs rows, and metric='precomputed' has distances; leave one out",
        ),
        (
            {"metric": "nan_euclidean", "prepare": Preparation([Normalize()])},
            ValueError,
            "Normalize(total=10000.0) needs all values",
        ),
    ],
)
def test_each_wrong_option_is_told_before_any_work(options, kind, message):
    for call in (TSNE(**options).check_options, lambda: TSNE(**options).fit("no table at all")):
        with pytest.raises(kind) as told:
            call()
        assert str(told.value).startswith(message)
    TSNE(n_components=3, callbacks_every_iters=1, n_jobs=-1, sample=1).check_options()


def test_options_are_set_by_their_names(model):
    found = TSNE().set_params(perplexity=7, n_jobs=1)
    assert isinstance(found, TSNE) and (found.perplexity, found.n_jobs) == (7, 1)
    for name in ("perplexty", "perplexty__deep"):
        with pytest.raises(ValueError, match="TSNE has no option 'perplexty'; did you mean 'perplexity'"):
            found.set_params(**{name: 3})


@pytest.mark.parametrize(
    ("options", "sparse"),
    [
        ({}, True),
        ({"neighbors": "exact"}, True),
        ({"neighbors": "ivf"}, False),
        ({"neighbors": "hnsw"}, False),
        ({"neighbors": "annoy"}, False),
        ({"metric": "cosine"}, True),
        ({"metric": lambda a, b: 0.0}, False),
        ({"metric": "nan_euclidean"}, False),
        ({"metric": "nan_euclidean", "sample": 9}, False),
        ({"neighbors": "hnsw", "sample": 9}, True),
        ({"neighbors": "hnsw", "prepare": Preparation([Standardize()])}, True),
    ],
)
def test_what_tables_an_estimator_says_to_take(options, sparse):
    model = TSNE(**{**QUICK, **options})
    tags = get_tags(model)
    metric = options.get("metric")
    assert tags.input_tags.sparse is sparse
    assert tags.input_tags.allow_nan is (metric == "nan_euclidean")
    assert tags.input_tags.pairwise is tags.input_tags.positive_only is False
    assert tags.transformer_tags.preserves_dtype == ["float32"]
    precomputed = get_tags(TSNE(metric="precomputed")).input_tags
    assert precomputed.pairwise is precomputed.positive_only is True
    if not sparse:
        with pytest.raises(TypeError) as told:
            model.fit(csr_array(rows()))
        assert str(told.value).startswith(
            f"X is sparse, and neighbors={model.neighbors!r} with metric={model.metric!r} "
        )


# --------------------------------------------------------------------------------------------------------- and going on


def test_a_fit_goes_on_for_so_many_iterations_or_by_phases():
    model = TSNE(**QUICK).fit(rows())
    before = model.embedding_.copy()
    assert model.continue_fit(0) is model and model.n_iter_ == 10
    np.testing.assert_array_equal(model.embedding_, before)
    for more, total in ((np.int64(3), 13), (2, 15), ([Phase(4)], 19), (Phase(1), 20)):
        assert model.continue_fit(more).n_iter_ == total
    for wrong, kind, message in (
        (-1, ValueError, "schedule=-1 must be at least 0"),
        (True, TypeError, "schedule=True is neither a word nor made of Phase objects"),
        (2.5, TypeError, "schedule=2.5 is neither a word nor made of Phase objects"),
    ):
        with pytest.raises(kind) as told:
            model.continue_fit(wrong)
        assert str(told.value) == message
    assert model.n_iter_ == 20


def test_what_a_loaded_map_cannot_do(model, tmp_path):
    model.save(tmp_path / "map")
    loaded = load(tmp_path / "map")
    with pytest.raises(ValueError, match=r"^a map that was loaded has no momentum to go on with; fit its rows again"):
        loaded.continue_fit(3)
    assert (loaded.affinities_ != model.affinities_).nnz == 0
    own = TSNE(**{**QUICK, "affinity": Own()}).fit(rows())
    own.save(tmp_path / "own")
    with pytest.raises(AttributeError) as told:
        load(tmp_path / "own").affinities_  # noqa: B018
    assert str(told.value) == "the affinities of this map cannot be made again: its folder does not say how"


class Own:
    """An affinity that no folder can hold."""

    def k(self, n):
        return 5

    def conditional(self, distances, threads):
        return None


@pytest.mark.parametrize("n_jobs", ["saved", None, 2])
def test_threads_of_a_loaded_map(n_jobs, tmp_path):
    TSNE(**QUICK, n_jobs=1).fit(rows()).save(tmp_path / "map")
    found = load(tmp_path / "map", n_jobs=n_jobs) if n_jobs != "saved" else load(tmp_path / "map")
    wanted = 1 if n_jobs == "saved" else n_jobs
    assert found.n_jobs == found.map_.threads.n_jobs == wanted
    with pytest.raises(ValueError, match="n_jobs=0 names no thread at all"):
        load(tmp_path / "none", n_jobs=0)


def test_what_tells_models_apart_and_what_does_not(model):
    def again(**options):
        return TSNE.of_map(model.map_, **{**model.get_params(), **options})

    first = fingerprint(model)
    assert fingerprint(again(n_jobs=1, perplexity=9, verbose=True)) == first
    assert fingerprint(again(placement=Placement(k=3))) != first != fingerprint(again(placement=Placement()))
    assert fingerprint(TSNE(**QUICK).fit(rows())) == first
    other = TSNE(**QUICK).fit(rows() * np.float32(1.0001))
    assert fingerprint(other) != first
    content, arrays = estimator_state(model)
    assert {"parameters", "not_saved", "fitted", "model"} <= set(content) and "model.embedding" in arrays
    for options, message in (
        ({"metric": lambda a, b: 0.0}, "metric holds a "),
        ({"placement": Placement(affinity=Own())}, "placement holds a "),
    ):
        with pytest.raises(ValueError) as told:
            fingerprint(again(**options))
        assert str(told.value).startswith(message)
        assert str(told.value).endswith(", which cannot be saved; use names and options of tsne_ooc, or pickle")


def test_equal_affinities_of_a_graph_are_of_as_many_as_it_has():
    X = rows()
    index = TSNE(**QUICK).fit(X)
    few = TSNE(**{**QUICK, "neighbors": index.graph(4), "affinity": "uniform", "perplexity": 9}).fit(X)
    assert few.map_.affinity == Uniform(4) and few.n_neighbors_ == 4
    assert isinstance(index.graph(4), Graph)
    own = TSNE(**{**QUICK, "affinity": FixedSigma(1.0, 6)}).fit(X)
    assert own.map_.affinity == FixedSigma(1.0, 6)


def test_only_tables_of_dask_are_lazy():
    da = pytest.importorskip("dask.array")
    assert is_lazy(da.zeros((4, 2))) and not is_lazy(np.zeros((4, 2))) and not is_lazy(da)


def test_lazy_tables_of_other_widths_are_refused_at_once(model):
    da = pytest.importorskip("dask.array")
    for table, message in (
        (da.zeros((5, 3)), "X has 3 features, but TSNE is expecting 4 features as input"),
        (da.zeros(5), "X has 1 axes, but TSNE is expecting 4 features as input"),
    ):
        for call in (model.transform, model.score_samples):
            with pytest.raises(ValueError) as told:
                call(table)
            assert str(told.value) == message
    Q = rows(9, seed=4)
    lazy = da.from_array(Q, chunks=(4, 3))
    np.testing.assert_array_equal(model.transform(lazy).compute(scheduler="sync"), model.transform(Q))
    found = model.score_samples(lazy)
    assert found.shape == (9,) and found.dtype == np.float32 and found.chunks == ((4, 4, 1),)
    np.testing.assert_array_equal(found.compute(scheduler="sync"), model.score_samples(Q))
    Q[7, 2] = np.nan
    with pytest.raises(ValueError, match=r"NaN at row 3, column 2.*counted from row 4 of the Dask array"):
        model.transform(da.from_array(Q, chunks=(4, 4))).compute(scheduler="sync")
    Q[7, 2], Q[1, 2] = 0, np.inf
    with pytest.raises(ValueError, match=r"row 1, column 2; [^(]*$"):
        model.transform(da.from_array(Q, chunks=(4, 4))).compute(scheduler="sync")


@pytest.mark.parametrize("kind", ["drop", "nan_euclidean"])
def test_rows_that_lack_values_are_not_refined(kind):
    X = rows()
    options = {"metric": "nan_euclidean"} if kind != "drop" else {"prepare": Preparation([Missing("drop")])}
    model = TSNE(**{**QUICK, **options}).fit(X)
    X[7] = np.nan
    X[9] = np.nan
    lacks = "lacks a value" if kind == "drop" else "has no value"
    with pytest.raises(
        ValueError, match=rf"^X {lacks} in row 7, and refine moves all rows; leave such rows out, or let"
    ):
        model.refine(X)


def test_distances_are_not_refined():
    X = rows(30)
    D = np.linalg.norm(X[:, None] - X[None], axis=2)
    model = TSNE(**{**QUICK, "metric": "precomputed", "neighbors": "auto", "initialization": "random"}).fit(D)
    with pytest.raises(ValueError, match=r"^refine needs rows, and metric='precomputed' has distances; fit all rows"):
        model.refine(D)


def test_models_that_cannot_be_saved_are_told_before_they_are_fitted(tmp_path):
    class Nothing:
        def transform(self, X):
            return X

    model = TSNE(**QUICK, prepare=Preparation([Transformer(Nothing())])).fit(rows())
    with pytest.raises(TypeError, match="cannot be saved: that would take pickle"):
        model.save(tmp_path / "map")
    assert os.listdir(tmp_path) == []
