"""A saved model places rows as the fitted one did, to the bit, and a damaged one says what is wrong with it."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import tsne_ooc
from tsne_ooc import TSNE, FixedSigma, Multiscale, Perplexity, Phase, Placement, Schedule, Uniform, storage
from tsne_ooc._parallel import Threads
from tsne_ooc.estimator.saving import estimator_state
from tsne_ooc.neighbors import HNSW, IVF, Annoy, Exact, Graph, Neighbors, PyNNDescent
from tsne_ooc.preprocess import PCA, Preparation, Standardize
from tsne_ooc.storage import codec
from tsne_ooc.storage.state import Saved, within

QUICK = {"early_exaggeration_iter": 10, "n_iter": 20, "perplexity": 8, "random_state": 0}

pytestmark = [
    # SWIG's types inside faiss, on import; nothing a caller could change.
    pytest.mark.filterwarnings("ignore:builtin type .* has no __module__ attribute:DeprecationWarning"),
]


def rows(n=200, p=5, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, p)) + 4 * rng.normal(size=(5, p))[np.arange(n) % 5]).astype(np.float32)


def copies(n=200):
    X = rows(n)
    X[::2] = X[0]
    return X


def graph(n=200):
    X = rows(n)
    X[X < 0] = 0
    return sparse.csr_array(X)


Q = np.concatenate([rows(40, seed=1), rows()[:10]])
FITS = {
    "exact": (rows, Q, {}),
    "exact-cosine": (rows, Q, {"metric": "cosine"}),
    "exact-l2": (rows, Q, {"metric": "l2"}),
    "ivf": (rows, Q, {"neighbors": IVF(lists=12, probes=3)}),
    "ivf-cosine": (rows, Q, {"neighbors": IVF(lists=12), "metric": "cosine"}),
    "hnsw": (rows, Q, {"neighbors": HNSW(links=4)}),
    "hnsw-cosine": (rows, Q, {"neighbors": "hnsw", "metric": "cosine"}),
    "annoy": (rows, Q, {"neighbors": Annoy(trees=5)}),
    "copies": (copies, Q, {}),
    "copies-ivf": (copies, Q, {"neighbors": IVF(lists=5)}),
    "manhattan": (rows, Q, {"metric": "manhattan"}),
    "minkowski": (rows, Q, {"metric": "minkowski", "metric_params": {"p": 3, "w": np.arange(5)}}),
    "mahalanobis": (rows, Q, {"metric": "mahalanobis"}),
    "seuclidean": (rows, Q, {"metric": "seuclidean"}),
    "sparse": (graph, sparse.csr_array(np.maximum(Q, 0)), {"metric": "cosine"}),
    "scaled": (lambda: np.ldexp(rows(), -126), np.ldexp(Q, -126), {}),
    "line": (rows, Q, {"n_components": 1}),
    "space": (lambda: rows(60), Q, {"n_components": 3, "n_iter": 2}),
    "dof": (rows, Q, {"dof": 0.7, "exaggeration": 2}),
}


@pytest.fixture(scope="module")
def fitted():
    made = {}

    def get(name):
        if name == "annoy":
            pytest.importorskip("annoy")
        if name not in made:
            make, new, options = FITS[name]
            model = TSNE(**{**QUICK, **options}).fit(make())
            made[name] = model, new, model.transform(new)
        return made[name]

    return get


def sizes(folder):
    return {path.name: path.stat().st_size for path in folder.iterdir()}


def base_of(array):
    while array.base is not None and not isinstance(array, np.memmap):
        array = array.base
    return array


# ------------------------------------------------------------------------------------------------- there and back


@pytest.mark.parametrize("name", FITS)
def test_the_same_bits_after_every_journey(fitted, tmp_path, name):
    model, new, before = fitted(name)
    model.save(tmp_path / "model")
    loaded = tsne_ooc.load(tmp_path / "model")
    loaded.save(tmp_path / "again")
    buffer = io.BytesIO()
    joblib.dump(loaded, buffer)
    buffer.seek(0)
    journeys = {
        "loaded": loaded,
        "saved twice": tsne_ooc.load(tmp_path / "again"),
        "unchecked": tsne_ooc.load(tmp_path / "model", verify=False),
        "pickled": pickle.loads(pickle.dumps(model)),
        "loaded and pickled": pickle.loads(pickle.dumps(loaded)),
        "loaded and through joblib": joblib.load(buffer),
    }
    for journey, one in journeys.items():
        assert one.transform(new).tobytes() == before.tobytes(), journey
        assert one.embedding_.tobytes() == model.embedding_.tobytes()
        for attribute in ("kl_divergence_", "n_iter_", "n_neighbors_", "n_features_in_"):
            assert getattr(one, attribute) == getattr(model, attribute)
            assert type(getattr(one, attribute)) is type(getattr(model, attribute))
        assert one.map_.model.dof == model.map_.model.dof
        assert one.map_.model.exaggeration == model.map_.model.exaggeration
    for file in (tmp_path / "model").glob("*.npy" if name == "minkowski" else "*"):  # its params leave a note, once
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


@pytest.mark.parametrize("name", ["exact", "ivf", "hnsw"])
def test_threads_do_not_matter_to_what_was_loaded(fitted, tmp_path, name):
    model, new, before = fitted(name)
    model.save(tmp_path / "model")
    for threads in (1, 3):
        loaded = tsne_ooc.load(tmp_path / "model").set_params(n_jobs=threads)
        assert loaded.transform(new).tobytes() == before.tobytes()


def test_rows_and_map_are_mapped(fitted, tmp_path):
    for name in ("exact", "ivf", "hnsw"):
        model, _, _ = fitted(name)
        model.save(tmp_path / name)
        loaded = tsne_ooc.load(tmp_path / name)
        index = loaded.map_.model.index
        for array in (loaded.embedding_, index._X if name == "hnsw" else index._blocks.rows):
            assert isinstance(base_of(array), np.memmap) and not array.flags.writeable


def test_in_another_process_of_another_directory(fitted, tmp_path):
    model, new, before = fitted("ivf")
    model.save(tmp_path / "model")
    (tmp_path / "model").rename(tmp_path / "moved")
    np.save(tmp_path / "new.npy", new)
    program = """
        import sys, numpy as np, tsne_ooc
        model = tsne_ooc.load("moved")
        np.save("placed.npy", model.transform(np.load("new.npy")))
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(tsne_ooc.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, cwd=tmp_path, env=environment)
    assert np.load(tmp_path / "placed.npy").tobytes() == before.tobytes()


def test_workers_of_joblib_take_a_loaded_model(fitted, tmp_path):
    model, new, before = fitted("exact")
    model.save(tmp_path / "model")
    loaded = tsne_ooc.load(tmp_path / "model")
    parts = joblib.Parallel(n_jobs=2)(joblib.delayed(loaded.transform)(new[a : a + 25]) for a in (0, 25))
    assert np.concatenate(parts).tobytes() == before.tobytes()


def test_precomputed_distances(tmp_path):
    X = rows()
    D = np.linalg.norm(X[:, None] - X, axis=2).astype(np.float32)
    new = np.linalg.norm(Q[:, None] - X, axis=2).astype(np.float32)
    model = TSNE(metric="precomputed", **QUICK).fit(D)
    model.save(tmp_path / "model")
    arrays = ("embedding", "reference.own", "reference.novelty", "seats.hashes", "seats.rows")
    assert set(sizes(tmp_path / "model")) == {"manifest.json", *(f"model.{name}.npy" for name in arrays)}
    assert tsne_ooc.load(tmp_path / "model").transform(new).tobytes() == model.transform(new).tobytes()
    with pytest.raises(ValueError, match="has 5 features, but TSNE is expecting 200"):
        tsne_ooc.load(tmp_path / "model").transform(abs(Q))


def test_names_of_columns(tmp_path):
    X = pd.DataFrame(rows(), columns=list("abcde"))
    model = TSNE(**QUICK).fit(X)
    model.save(tmp_path / "model")
    loaded = tsne_ooc.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.feature_names_in_, model.feature_names_in_)
    with pytest.raises(ValueError, match="feature names"):
        loaded.transform(X.rename(columns={"a": "z"}))
    assert list(loaded.get_feature_names_out()) == ["tsne0", "tsne1"]


@pytest.mark.slow  # half a minute of compilation inside the library
@pytest.mark.filterwarnings("ignore::numba.NumbaPendingDeprecationWarning")
def test_pynndescent_builds_the_same_graph_again(tmp_path):
    model = TSNE(neighbors=PyNNDescent(), metric="manhattan", **QUICK).fit(rows(600))
    before = model.transform(Q)
    model.save(tmp_path / "model")
    assert tsne_ooc.load(tmp_path / "model").transform(Q).tobytes() == before.tobytes()
    assert pickle.loads(pickle.dumps(model)).transform(Q).tobytes() == before.tobytes()


def test_few_rows_of_pynndescent(tmp_path):
    model = TSNE(neighbors=PyNNDescent(), **QUICK).fit(rows(60))
    model.save(tmp_path / "model")
    assert tsne_ooc.load(tmp_path / "model").transform(Q).tobytes() == model.transform(Q).tobytes()


def test_a_level_beyond_those_of_the_library(fitted, tmp_path):
    """All else agrees with it: the links are there in number, and the row is the one that searches begin at."""
    fitted("hnsw")[0].save(tmp_path / "model")
    read = storage.read_folder(tmp_path / "model", "model")
    arrays = {key: np.array(value) for key, value in read.arrays.items()}
    part = read.content["model"]["index"]
    entry, width = part["entry"], part["links"]
    levels = arrays["model.index.levels"]
    more = 200 - int(levels[entry])
    edges = np.concatenate([[0], np.cumsum(width * (levels.astype(int) + 1))])
    levels[entry] = 200
    links = np.insert(arrays["model.index.links"], edges[entry + 1], np.full(more * width, -1, np.int32))
    forge(tmp_path / "model", "model.index.links", links)
    forge(tmp_path / "model", "model.index.levels", levels)
    with pytest.raises(ValueError, match="names a level that graphs of so many links do not have"):
        tsne_ooc.load(tmp_path / "model")


def test_other_parts_find_room_in_a_folder(fitted, tmp_path):
    """A fitted preparation of rows beside the model, as parts to come will be."""
    preparation = Preparation([Standardize(), PCA(3)]).fit(rows(), n_jobs=1)
    content, arrays = estimator_state(fitted("exact")[0])
    inner, own = within("preparation", preparation.state())
    storage.write_folder(tmp_path / "model", "model", {**content, **inner}, {**arrays, **own})
    folder = storage.read_folder(tmp_path / "model", "model")
    part = Saved(folder.content, folder.arrays).part("preparation")
    back = Preparation.from_state(dict(part.content), part.own_arrays())
    assert back.transform(Q).tobytes() == preparation.transform(Q).tobytes()


# --------------------------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    "name, index",
    [
        # What the search needs besides the rows: nothing; numbers of rows, of lists and their centres; links.
        ("exact", 0),
        ("ivf", 4 * 2000 + 8 * 41 + 4 * 40 * 30 + 8 * 30),
        ("hnsw", 2000 + 4 * 2000 * 32 * 1.1 + 8 * 30),
    ],
)
def test_no_larger_than_rows_places_and_index(tmp_path, name, index):
    X = rows(2000, 30)
    search = {"exact": Exact(), "ivf": IVF(lists=40), "hnsw": HNSW(links=16)}[name]
    model = TSNE(neighbors=search, **QUICK).fit(X)
    model.save(tmp_path / "model")
    files = sizes(tmp_path / "model")
    headers = 128 * (len(files) - 1) + 8192
    # Own distances and novelty of the rows, and what tells them again.
    index += 8 * 2000 + 20 * 2000
    assert sum(files.values()) <= X.nbytes + model.embedding_.nbytes + index + headers
    assert files["model.index.rows.npy"] == X.nbytes + 128
    # A pickle also has what a fit goes on from: places, momentum and gains.
    assert len(pickle.dumps(model)) <= X.nbytes + (2 + 3) * model.embedding_.nbytes + index + headers


def test_of_copies_one_is_kept(fitted, tmp_path):
    model, _, _ = fitted("copies")
    model.save(tmp_path / "model")
    assert sizes(tmp_path / "model")["model.index.inner.rows.npy"] == 101 * 5 * 4 + 128


# ---------------------------------------------------------------------------------------------------- parameters

VALUES = [
    None, True, 3, 2.5, float("inf"), "word", [1, "a"], (1, (2.0, None)), {"p": 3, "deep": {"x": (1,)}},
    Placement(), Placement(perplexity=3, exaggeration=(4.0, 2.0), affinity=Uniform(7)), Perplexity(12.5),
    Multiscale((5, 50)), FixedSigma(2.0, 9), Phase(5, (4.0, 1.0), 0.9, "auto", "x"),
    Schedule([Phase(3), Phase(4, 2.0)], patience=2), Exact(), IVF(3, 2), HNSW(5), PyNNDescent(9), Annoy(3, 4),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_parameters_come_back_as_they_were(value):
    text = json.dumps(codec.encode(value), allow_nan=False)
    back = codec.decode(json.loads(text))
    assert back == value and type(back) is type(value)


def test_parameters_of_numpy_are_plain_numbers():
    for value in (np.float32(0.5), np.int64(3), np.bool_(True)):
        back = codec.decode(json.loads(json.dumps(codec.encode(value))))
        assert back == value and type(back) in (float, int, bool)


@pytest.mark.parametrize(
    "text",
    [
        '{"os.system": {"command": "true"}}',
        '{"IVF": {"lists": 0}}',
        '{"IVF": {"wrong": 1}}',
        '{"Placement": []}',
        '{"Schedule": {"phases": [1]}}',
        '{"tuple": 3}',
        '{"float": "1"}',
        '{"dict": 1, "tuple": []}',
        "{}",
    ],
)
def test_a_file_makes_only_what_is_known(text):
    with pytest.raises((ValueError, TypeError)):
        codec.decode(json.loads(text))


def test_every_object_that_an_option_takes_is_known():
    # Other tests have searches of their own.
    options = {kind.__name__ for kind in Neighbors.__subclasses__() if kind.__module__.startswith("tsne_ooc.neighbors")}
    assert len(options) > 4
    # A graph is arrays: as the search of its map it is kept, as an option it is told in words.
    assert options - {"Graph"} <= set(codec.KINDS)


def test_parameters_and_refit(fitted, tmp_path):
    model = TSNE(placement=Placement(k=4), neighbors=IVF(lists=6), affinity=Uniform(9), **QUICK).fit(rows())
    model.save(tmp_path / "model")
    loaded = tsne_ooc.load(tmp_path / "model")
    assert loaded.get_params() == model.get_params()
    assert clone(loaded).fit(rows()).embedding_.tobytes() == model.embedding_.tobytes()
    assert loaded.fit(rows(seed=3)).transform(Q).shape == (len(Q), 2)


def test_what_is_left_out_is_noted_and_missed_by_a_fit(tmp_path):
    seen = []
    start = np.random.default_rng(0).normal(0, 1e-4, (200, 2))
    options = {
        **QUICK, "initialization": start, "random_state": np.random.RandomState(0), "callbacks": seen.append,
        "callbacks_every_iters": 100,
    }  # fmt: skip
    model = TSNE(**options).fit(rows())
    before = model.transform(Q)
    model.save(tmp_path / "model")
    noted = json.loads((tmp_path / "model" / "manifest.json").read_text())["content"]["not_saved"]
    assert noted == {
        "initialization": "ndarray of shape (200, 2)",
        "random_state": "object of type RandomState",
        "callbacks": "function list.append",
    }
    loaded = tsne_ooc.load(tmp_path / "model")
    assert loaded.callbacks is None and loaded.transform(Q).tobytes() == before.tobytes()
    with pytest.raises(ValueError, match=r"initialization='ndarray of shape \(200, 2\) \(not saved\)'"):
        clone(loaded).fit(rows())
    with pytest.raises(TypeError, match="random_state='object of type RandomState"):
        clone(loaded).set_params(initialization="pca").fit(rows())


def far_apart(x, y):
    return float(np.abs(x - y).max())


class Own:
    """An affinity of the user's."""

    def k(self, n):
        return 5

    def conditional(self, distances, threads):
        return None


@pytest.mark.parametrize(
    "options, says",
    [
        ({"metric": far_apart}, "metric holds a function far_apart, which cannot be saved"),
        ({"placement": Placement(affinity=Own())}, "placement holds a object of type Placement"),
    ],
)
def test_what_cannot_be_saved(tmp_path, options, says):
    model = TSNE(**{**QUICK, **options}).fit(rows(60))
    with pytest.raises(ValueError, match=says):
        model.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())
    assert pickle.loads(pickle.dumps(model)).transform(Q).tobytes() == model.transform(Q).tobytes()


def test_only_a_fitted_model_is_saved(tmp_path):
    with pytest.raises(NotFittedError):
        TSNE().save(tmp_path / "model")


def test_saved_over(fitted, tmp_path):
    one, two = fitted("exact")[0], fitted("ivf")[0]
    one.save(tmp_path / "model")
    with pytest.raises(FileExistsError, match="holds a model already; pass overwrite=True"):
        two.save(tmp_path / "model")
    loaded = tsne_ooc.load(tmp_path / "model")
    two.save(tmp_path / "model", overwrite=True)
    assert tsne_ooc.load(tmp_path / "model").transform(Q).tobytes() == fitted("ivf")[2].tobytes()
    assert loaded.transform(Q).tobytes() == fitted("exact")[2].tobytes()


def test_a_map_that_ran_away_is_not_saved(fitted, tmp_path):
    model = pickle.loads(pickle.dumps(fitted("exact")[0]))
    object.__setattr__(model.map_.model, "embedding", model.map_.model.embedding * np.float32(1e6))
    with pytest.raises(ValueError, match="wider than 1e"):
        model.save(tmp_path / "model")


# -------------------------------------------------------------------------------------------------------- damage


def forge(folder, name=None, array=None, edit=None):
    """Change an array or the content of a saved model, and make its sums agree."""
    read = storage.read_folder(folder, "model")
    content, arrays = read.content, {key: np.array(value) for key, value in read.arrays.items()}
    if name:
        arrays[name] = array(arrays[name]) if callable(array) else array
    if edit:
        edit(content)
    storage.write_folder(folder, "model", content, arrays, overwrite=True)


def swapped(array):
    array[[0, 1]] = array[[1, 0]]
    return array


def put(value, at=0):
    def change(array):
        array.reshape(-1)[at] = value
        return array

    return change


@pytest.mark.parametrize(
    "name, which, change, says",
    [
        ("exact", "embedding", put(np.nan), "NaN or infinity"),
        ("exact", "embedding", put(1e7), "wider than 1e\\+06"),
        ("exact", "embedding", lambda a: a[:-1], "199 places, the index 200 rows"),
        ("exact", "embedding", lambda a: np.ones((200, 4), "f4"), "not a map"),
        ("exact", "embedding", lambda a: a.astype("f8"), "holds float64, not float32"),
        ("exact", "index.rows", put(np.inf), "NaN or infinity"),
        ("exact", "index.rows", lambda a: a[:0], r"shape \(0, 5\)"),
        ("exact", "index.rows", lambda a: a[:, 0], "shape"),
        ("ivf", "index.order", put(200), "not a permutation"),
        ("ivf", "index.order", put(2**32 - 1), "not a permutation"),
        ("ivf", "index.order", lambda a: np.concatenate([a[:1], a[:-1]]), "not a permutation"),
        ("ivf", "index.order", lambda a: np.where(a == 199, 0, a).astype(a.dtype), "not a permutation"),
        ("ivf", "index.order", lambda a: a[1:], "shape"),
        ("ivf", "index.edges", put(1), "does not cut"),
        ("ivf", "index.edges", put(201, -1), "does not cut"),
        ("ivf", "index.edges", put(2**40, 3), "does not cut"),
        ("ivf", "index.edges", put(-1, 3), "does not cut"),
        ("ivf", "index.edges", lambda a: a[:1], "does not cut"),
        ("ivf", "index.centres", lambda a: a[1:], "shape"),
        ("ivf", "index.centres", put(np.nan), "NaN"),
        ("ivf", "index.centre", put(1e30), "outside the rows"),
        ("hnsw", "index.links", put(200), "names a row"),
        ("hnsw", "index.links", put(-2), "names a row"),
        ("hnsw", "index.links", lambda a: a.astype("i8"), "not int32"),
        ("hnsw", "index.levels", put(255), "do not fit the links"),
        ("hnsw", "index.levels", lambda a: np.roll(a, 1), "below the highest"),
        ("copies", "index.of", put(101), "each of 101 distinct rows"),
        ("copies", "index.of", lambda a: a * 0, "each of 101 distinct rows"),
        ("copies", "index.of", lambda a: a[:50], "each of 101 distinct rows"),
        ("copies", "index.of", swapped, "first appearance"),
        ("mahalanobis", "index.param.VI", lambda a: a[:2, :2], r"\(5, 5\) is needed"),
        ("mahalanobis", "index.param.VI", lambda a: a.astype("i4"), "is needed"),
        ("seuclidean", "index.param.V", lambda a: a[:2], r"\(5,\) is needed"),
        ("sparse", "index.indptr", put(1), "does not cut"),
        ("sparse", "index.indptr", put(10**6, 7), "does not cut"),
        ("sparse", "index.indices", put(5, -1), "names a column"),
        ("sparse", "index.indices", put(-1), "names a column"),
        ("sparse", "index.indices", put(4), "does not ascend"),
        ("sparse", "index.columns", put(0), "is not a number of columns"),
    ],
)
def test_numbers_that_cannot_be_do_not_reach_a_kernel(fitted, tmp_path, name, which, change, says):
    fitted(name)[0].save(tmp_path / "model")
    forge(tmp_path / "model", f"model.{which}", change)
    with pytest.raises(ValueError, match=says) as error:
        tsne_ooc.load(tmp_path / "model")
    file = tmp_path / "model" / f"model.{which}.2.npy"
    assert str(error.value).startswith(f"{file}: ") and "\n" not in str(error.value)


def test_links_stay_on_their_level(fitted, tmp_path):
    fitted("hnsw")[0].save(tmp_path / "model")
    levels = np.load(tmp_path / "model" / "model.index.levels.npy").astype(int)
    high, low = int(np.argmax(levels > 1)), int(np.argmin(levels))
    first = 4 * int((levels[:high] + 1).sum()) + 8
    forge(tmp_path / "model", "model.index.links", put(low, first))
    with pytest.raises(ValueError, match=r"links.2.npy: leads to a row that is not on level 1"):
        tsne_ooc.load(tmp_path / "model")


def drop(*path):
    def edit(content):
        for key in path[:-1]:
            content = content[key]
        del content[path[-1]]

    return edit


def give(value, *path):
    def edit(content):
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return edit


@pytest.mark.parametrize(
    "edit, says",
    [
        (drop("model"), "'model' is missing"),
        (drop("model", "index"), "'model.index' is missing"),
        (drop("fitted", "n_iter"), "'fitted.n_iter' is missing"),
        (give("blob", "model", "index", "kind"), "unknown kind 'blob'"),
        (give("os.system", "model", "index", "metric"), "unknown metric 'os.system'"),
        (give(0, "model", "dof"), "dof"),
        (give(True, "model", "exaggeration"), "not a number"),
        (give("7", "fitted", "n_features_in"), "not a whole number"),
        (give(["a"], "fitted", "feature_names_in"), "other columns than there are"),
        (give([1] * 5, "fitted", "feature_names_in"), "not a string"),
        (give("x", "fitted", "kl_divergence"), "not a number"),
        (give(1, "parameters", "learn_rate"), "has no option 'learn_rate'"),
        (give({"Exit": {}}, "parameters", "neighbors"), "not a kind of parameter"),
        (give("many", "parameters", "n_jobs"), "n_jobs='many'"),
        (give({}, "preprocess"), "the part 'preprocess', which this version does not know; upgrade tsne_ooc"),
    ],
)
def test_content_that_cannot_be(fitted, tmp_path, edit, says):
    fitted("exact")[0].save(tmp_path / "model")
    forge(tmp_path / "model", edit=edit)
    with pytest.raises(ValueError, match=says) as error:
        tsne_ooc.load(tmp_path / "model")
    assert str(error.value).startswith(f"{tmp_path / 'model' / 'manifest.json'}") and "\n" not in str(error.value)


@pytest.fixture(scope="module")
def searches():
    """Models of searches that journeys above do not make, each by a word."""
    X = rows()
    gaps = X.copy()
    gaps[::7, 1] = np.nan
    indices, distances = Exact().build(X, threads=Threads(1)).query_self(24)
    made = {
        "bits": (X > 0, {"metric": "jaccard"}),
        "gaps": (gaps, {"metric": "nan_euclidean", "neighbors": IVF(lists=5)}),
        "graph": (X, {"neighbors": Graph((indices, distances))}),
        # For so many neighbours 200 rows are too few, and the library itself is not asked.
        "pynndescent": (X, {"metric": "manhattan", "neighbors": PyNNDescent(graph_neighbors=60)}),
        "scaled": (np.ldexp(X, -126), {"metric": "manhattan"}),
    }
    fitted = {}

    def get(name):
        if name not in fitted:
            table, options = made[name]
            fitted[name] = TSNE(**{**QUICK, **options}).fit(table)
        return fitted[name]

    return get


@pytest.mark.parametrize(
    "name, which, change, says",
    [
        ("bits", "index.words", lambda a: a[:0], "has the shape (0, 1)"),
        ("gaps", "index.centre", put(1e30), "lies outside the rows"),
        ("graph", "index.distances", lambda a: a[:, :0], "has the shape (200, 0), which is not a graph"),
        ("graph", "index.distances", lambda a: a[:0], "has the shape (0, 24), which is not a graph"),
    ],
)
def test_arrays_of_other_searches(searches, tmp_path, name, which, change, says):
    searches(name).save(tmp_path / "model")
    forge(tmp_path / "model", f"model.{which}", change)
    if name == "graph":
        forge(tmp_path / "model", "model.index.neighbors", change)
    with pytest.raises(ValueError) as error:
        tsne_ooc.load(tmp_path / "model")
    version = 3 if name == "graph" else 2
    assert str(error.value) == f"{tmp_path / 'model' / f'model.{which}.{version}.npy'}: {says}"


def test_a_graph_of_fewer_rows_than_its_search(searches, tmp_path):
    """The rows that are named are all there, and the graph as such can be."""
    folder = tmp_path / "model"
    searches("graph").save(folder)
    for name in ("neighbors", "distances"):
        forge(folder, f"model.index.{name}", lambda array: np.minimum(array[:150], 149).astype(array.dtype))
    if "model.index.order" in storage.read_folder(folder, "model").arrays:
        forge(folder, "model.index.order", lambda array: np.arange(150, dtype=array.dtype))
    with pytest.raises(ValueError, match=r"neighbors\.\d\.npy: has 150 rows, the search 200$"):
        tsne_ooc.load(folder)


@pytest.mark.parametrize(
    "name, path, value, says",
    [
        ("bits", ["metric"], "euclidean", "model.index has the unknown metric 'euclidean'"),
        ("bits", ["metric"], "x" * 90, f"model.index has the unknown metric {'x' * 40!r}"),
        ("annoy", ["metric"], "haversine", "model.index has the unknown metric 'haversine'"),
        ("annoy", ["metric"], "x" * 90, f"model.index has the unknown metric {'x' * 40!r}"),
        ("manhattan", ["metric"], "os.system", "model.index has the unknown metric 'os.system'"),
        ("manhattan", ["metric"], "x" * 90, f"model.index has the unknown metric {'x' * 40!r}"),
        # What dense rows have and sparse ones do not is unknown too.
        ("sparse", ["metric"], "canberra", "model.index has the unknown metric 'canberra'"),
        # A metric of ours that the library lacks.
        ("pynndescent", ["metric"], "nan_euclidean",
         "model.index has the metric 'nan_euclidean', which pynndescent does not know"),
        ("scaled", ["inner", "metric"], "canberra",
         "model.index has the metric 'canberra', whose distances have no scale"),
    ],
)  # fmt: skip
def test_metrics_that_a_search_cannot_have(fitted, searches, tmp_path, name, path, value, says):
    folder = tmp_path / "model"
    (fitted(name)[0] if name in FITS and name != "scaled" else searches(name)).save(folder)
    forge(folder, edit=give(value, "model", "index", *path))
    with pytest.raises(ValueError) as error:
        tsne_ooc.load(folder)
    assert str(error.value) == f"{folder / 'manifest.json'}: {says}"


@pytest.mark.parametrize(
    "name, parameter, value",
    [("minkowski", "p", -1.0), ("minkowski", "w", np.full(5, -1.0)), ("seuclidean", "V", np.zeros(5))],
)
def test_parameters_of_a_metric_are_refused_in_a_file_as_in_a_call(fitted, tmp_path, name, parameter, value):
    folder = tmp_path / "model"
    given = {"p": 3, "w": np.arange(5)} if name == "minkowski" else {}
    with pytest.raises(ValueError) as asked:
        TSNE(**QUICK, metric=name, metric_params={**given, parameter: value}).fit(rows())
    fitted(name)[0].save(folder)
    forge(folder, f"model.index.param.{parameter}", np.array(value))
    with pytest.raises(ValueError) as error:
        tsne_ooc.load(folder)
    assert str(error.value) == f"{folder / 'manifest.json'}: model.index {asked.value}"


@pytest.mark.parametrize("seed", [-1, True, 2.0, "7", [7]])
def test_seeds_that_are_none(fitted, tmp_path, seed):
    folder = tmp_path / "model"
    fitted("exact")[0].save(folder)
    forge(folder, edit=give(seed, "fitted", "seed"))
    with pytest.raises(ValueError) as error:
        tsne_ooc.load(folder)
    assert str(error.value) == f"{folder / 'manifest.json'}: fitted has a seed that is not a whole number"


@pytest.mark.parametrize("seed", [None, 0, 10**40])
def test_seeds_of_any_length(fitted, tmp_path, seed):
    folder = tmp_path / "model"
    fitted("exact")[0].save(folder)
    forge(folder, edit=give(seed, "fitted", "seed"))
    assert tsne_ooc.load(folder).map_.seed == seed


def test_a_model_of_another_kind_of_folder(tmp_path):
    storage.write_folder(tmp_path / "run", "run", {}, {})
    with pytest.raises(ValueError, match="is that of a 'run', not of a 'model'"):
        tsne_ooc.load(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        tsne_ooc.load(tmp_path / "nowhere")


def test_a_thousand_damaged_models(fitted, tmp_path):
    """In a process of their own: a kernel that reads where nothing is would end this one."""
    for name in ("exact", "ivf", "ivf-cosine", "hnsw", "copies", "mahalanobis", "sparse", "scaled"):
        fitted(name)[0].save(tmp_path / name)
    np.save(tmp_path / "Q.npy", Q)
    script = Path(__file__).parents[1] / "mutations.py"
    environment = {**os.environ, "PYTHONPATH": str(Path(tsne_ooc.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(script), str(tmp_path), "0", "1000"],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"at mutation {lines[-1:]}: {done.stderr[:2000]}"
    outcomes = Counter(line.split(maxsplit=2)[2] for line in lines)
    assert sum(outcomes.values()) == 1000
    # Most are refused; what the sums do not tell, and a forger could have written, is taken.
    assert outcomes["refused"] > 500 and outcomes["taken"] > 50
