"""Tables straight into the estimator: it draws the sample, prepares the rows, and streams to a file."""

import h5py
import numpy as np
import pytest

from tsne_ooc import TSNE, load, streaming
from tsne_ooc.io import open_source
from tsne_ooc.preprocess import PCA, Preparation, PreparedSource, Standardize
from tsne_ooc.sampling import Rows, take

FAST = {"perplexity": 10, "early_exaggeration_iter": 20, "n_iter": 30, "random_state": 0}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    X = np.random.default_rng(0).normal(size=(3000, 8)).astype(np.float32)
    X[1500:, 0] += 20
    X[:, 3] *= 1000
    path = tmp_path_factory.mktemp("data") / "data.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("X", data=X, chunks=(128, 8))
    with h5py.File(path) as file:
        yield file["X"]


def test_a_sample_is_drawn_and_everything_placed(table):
    model = TSNE(sample=400, **FAST).fit(table)
    assert model.sample_rows_.shape == (400,) and model.embedding_.shape == (400, 2)
    twin = TSNE(**FAST).fit(take(table, model.sample_rows_))
    np.testing.assert_array_equal(model.embedding_, twin.embedding_)
    np.testing.assert_array_equal(model.transform(table), twin.transform(table[:]))
    np.testing.assert_array_equal(model.transform(table)[model.sample_rows_], model.embedding_)


def test_a_sample_of_rows_in_memory(table):
    rows = np.arange(0, 3000, 9)
    model = TSNE(sample=Rows(rows), **FAST).fit(table[:])
    np.testing.assert_array_equal(model.embedding_, TSNE(sample=rows, **FAST).fit(table).embedding_)
    np.testing.assert_array_equal(model.sample_rows_, rows)


def test_rows_are_prepared_alike_in_fit_and_transform(table, tmp_path):
    steps = [Standardize(), PCA(4)]
    model = TSNE(sample=400, prepare=Preparation(steps), **FAST).fit(table)
    assert model.n_features_in_ == 8 and model.preparation_.n_features_out == 4
    fitted = Preparation(steps).fit(table)
    prepared = PreparedSource(table, fitted).read(0, 3000)
    twin = TSNE(**FAST).fit(prepared[model.sample_rows_])
    np.testing.assert_array_equal(model.embedding_, twin.embedding_)
    expected = twin.transform(prepared)
    np.testing.assert_array_equal(model.transform(table), expected)
    np.testing.assert_array_equal(model.transform(table[:]), expected)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(again.transform(table[5:50]), expected[5:50])
    with pytest.raises(ValueError, match=r"4 features.*8 features"):
        again.transform(np.zeros((3, 4), np.float32))


def test_to_a_file(table, tmp_path):
    model = TSNE(sample=400, **FAST).fit(table)
    heard = []
    path = model.transform_to(table, tmp_path / "Y.npy", progress=lambda *event: heard.append(event))
    np.testing.assert_array_equal(np.load(path), model.transform(table))
    assert [entry.name for entry in tmp_path.iterdir()] == ["Y.npy"]
    assert heard[0] == ("place", 0, 3000) and heard[-1] == ("place", 3000, 3000)
    with pytest.raises(ValueError, match="has 3 columns, and the map was made of 8"):
        model.transform_to(np.zeros((5, 3), np.float32), tmp_path / "Z.npy")


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"sample": "unifrom"}, ValueError, "uniform"),
        ({"sample": 0}, ValueError, "at least 1"),
        ({"prepare": "pca"}, TypeError, "is not a tsne_ooc.preprocess.Preparation"),
    ],
)
def test_bad_options(table, options, error, message):
    with pytest.raises(error, match=message):
        TSNE(**options).fit(table)


@pytest.mark.parametrize("fit, neighbors", [("sparse", "exact"), ("dense", "exact"), ("dense", "ivf")])
def test_sparse_rows_on_a_dense_map_and_the_other_way(fit, neighbors):
    from scipy.sparse import random_array

    sparse = random_array((400, 30), density=0.3, format="csr", rng=np.random.default_rng(0), dtype=np.float32)
    forms = {"sparse": sparse, "dense": sparse.toarray()}
    model = TSNE(neighbors=neighbors, **FAST).fit(forms[fit][:300])
    expected = model.transform(forms[fit])
    for rows in forms.values():
        np.testing.assert_array_equal(model.transform(rows), expected)
    np.testing.assert_array_equal(expected[:300], model.embedding_)


def test_a_file_within_the_table_is_no_part_of_it(tmp_path, monkeypatch):
    """A Zarr array is a folder: what is written there while it is read makes no other table of it, and it goes on."""
    zarr = pytest.importorskip("zarr")
    X = np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32)
    zarr.create_array(tmp_path / "X.zarr", data=X, chunks=(50, 5))
    model = TSNE(sample=np.arange(100), **FAST).fit(X)
    monkeypatch.setattr(streaming, "rows_at_once", lambda table: 100)

    def stops(phase, done, total):
        if done == 200:
            raise RuntimeError("the lamp went out")

    with open_source(tmp_path / "X.zarr") as source:
        out = tmp_path / "X.zarr" / "Y.npy"
        with pytest.raises(RuntimeError, match="lamp"):
            model.transform_to(source, out, progress=stops)
        heard = []
        model.transform_to(source, out, resume=True, progress=lambda *event: heard.append(event[1]))
        np.testing.assert_array_equal(np.load(out), model.transform(X))
    # It went on, and did not begin anew.
    assert heard[0] == 200
