"""A run is whole or absent; every row of the file has a seat, sampled rows the one they were fitted to."""

import json

import h5py
import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits

from tsne_ooc._context import interrupted
from tsne_ooc.io import as_source
from tsne_ooc.pipeline import embed, open_run


class Shadow(BaseEstimator):
    """Stands for TSNE where its mathematics does not matter: the map is the first columns."""

    def __init__(self, n_components=2, perplexity=30, error=None, shift=0.0):
        self.n_components, self.perplexity, self.error, self.shift = n_components, perplexity, error, shift

    def fit(self, X, y=None):
        if self.error == "interrupted":
            interrupted("interrupted after 3 of 9 iterations")
        elif self.error == "fit":
            raise ValueError("cannot fit")
        self.embedding_ = X[:, : self.n_components].copy()
        self.kl_divergence_ = np.float32(1.5)
        self.n_iter_ = 3
        return self

    def transform(self, X):
        if self.error == "transform":
            raise KeyboardInterrupt
        return X[:, : self.n_components] + self.shift


@pytest.fixture
def numbers():
    return np.random.default_rng(0).normal(size=(5000, 6)).astype(np.float32)


@pytest.fixture
def file(numbers, tmp_path):
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as target:
        target.create_dataset("X", data=numbers, chunks=(300, 6))
        target.create_dataset("other", data=numbers)
    return path


def test_a_run_writes_a_whole_folder(numbers, file, tmp_path):
    heard = []
    out = tmp_path / "deep" / "map"
    run = embed(file, dataset="X", out=out, sample=400, tsne=Shadow(), progress=lambda *event: heard.append(event))
    assert sorted(path.name for path in out.iterdir()) == [
        "embedding.npy",
        "manifest.json",
        "sample_rows.npy",
    ]
    assert run.embedding.dtype == np.float32
    np.testing.assert_array_equal(run.embedding, numbers[:, :2])
    assert run.sample_rows.shape == (400,) and (np.diff(run.sample_rows) > 0).all()
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["format_version"] == 1 and {"tsne_ooc", "numpy", "numba"} <= set(manifest["versions"])
    assert manifest["content"] == run.manifest == open_run(out, verify=True).manifest
    manifest = run.manifest
    assert (manifest["n_samples"], manifest["n_features"], manifest["n_components"]) == (5000, 6, 2)
    assert manifest["parameters"] == {"error": None, "n_components": 2, "perplexity": 30, "shift": 0.0}
    assert manifest["kl_divergence"] == 1.5 and manifest["sample"] == 400
    assert set(manifest["seconds"]) == {"sample", "fit", "place"}
    assert list(dict.fromkeys(phase for phase, _, _ in heard)) == ["sample", "fit", "place"]
    assert heard[-1] == ("place", 5000, 5000)


def test_sampled_rows_keep_their_fitted_seats(numbers, file, tmp_path):
    run = embed(file, dataset="X", out=tmp_path / "map", sample=400, tsne=Shadow(shift=7))
    placed = np.setdiff1d(np.arange(5000), run.sample_rows)
    np.testing.assert_array_equal(run.embedding[run.sample_rows], numbers[run.sample_rows, :2])
    np.testing.assert_array_equal(run.embedding[placed], numbers[placed, :2] + 7)


def test_blocks_do_not_matter(numbers, tmp_path):
    whole = embed(numbers, out=tmp_path / "a", sample=400, tsne=Shadow(shift=7))
    cut = embed(numbers, out=tmp_path / "b", sample=400, tsne=Shadow(shift=7), block_rows=97)
    np.testing.assert_array_equal(whole.embedding, cut.embedding)


@pytest.mark.parametrize("sample", [5000, 10**9])
def test_a_sample_of_all_rows_places_none(numbers, tmp_path, sample):
    run = embed(numbers, out=tmp_path / "map", sample=sample, tsne=Shadow(error="transform"))
    np.testing.assert_array_equal(run.embedding, numbers[:, :2])
    np.testing.assert_array_equal(run.sample_rows, np.arange(5000))


def test_seeds(numbers, tmp_path):
    rows = [
        embed(numbers, out=tmp_path / str(i), sample=40, tsne=Shadow(), random_state=seed).sample_rows.tolist()
        for i, seed in enumerate((1, 1, 2))
    ]
    assert rows[0] == rows[1] != rows[2]


def test_the_estimator_given_is_not_fitted(numbers, tmp_path):
    given = Shadow()
    embed(numbers, out=tmp_path / "map", sample=40, tsne=given)
    assert not hasattr(given, "embedding_")


@pytest.mark.filterwarnings("default:interrupted")
@pytest.mark.parametrize("error", ["fit", "transform", "interrupted"])
@pytest.mark.parametrize("made", [True, False])
def test_a_broken_run_leaves_nothing(numbers, tmp_path, error, made):
    out = tmp_path / "map"
    if not made:
        out.mkdir()
    with pytest.raises(ValueError if error == "fit" else KeyboardInterrupt):
        embed(numbers, out=out, sample=40, tsne=Shadow(error=error))
    assert out.exists() is not made
    assert not made or list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError, match=r"is not the folder of a run|there is no folder"):
        open_run(out)


def test_a_bad_cell_is_named_by_its_row_in_the_file(numbers, tmp_path):
    numbers[4321, 2] = np.nan
    with pytest.raises(ValueError, match="X contains NaN at row 4321, column 2"):
        embed(numbers, out=tmp_path / "map", sample=10, tsne=Shadow())
    assert list(tmp_path.iterdir()) == []


def test_folders_that_are_taken(numbers, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("keep")
    embed(numbers, out=tmp_path / "done", sample=40, tsne=Shadow())
    # The estimator would raise, too: it is never reached.
    for name, message in [
        ("file", "is a file; name a folder that does not exist yet"),
        ("full", "holds files already"),
        ("done", "holds the result of a finished run already"),
        ("file/deeper", "cannot be made: Not a directory"),
    ]:
        with pytest.raises(OSError, match=message):
            embed(numbers, out=tmp_path / name, sample=40, tsne=Shadow(error="fit"))
    assert (tmp_path / "full" / "notes.txt").read_text() == "keep"


def test_a_folder_that_cannot_be_written(numbers, tmp_path, monkeypatch):
    """As the system refuses it; a folder's own mode would not stop the superuser, who runs tests in containers."""

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "closed").mkdir()
    monkeypatch.setattr("tsne_ooc.storage.lock.open", refuse, raising=False)
    with pytest.raises(OSError, match=r"closed cannot be written: Permission denied"):
        embed(numbers, out=tmp_path / "closed", sample=40, tsne=Shadow(error="fit"))


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"sample": 0}, ValueError, "must be at least 1"),
        ({"sample": 0.5}, TypeError, r"0\.5 is neither a number of rows"),
        ({"random_state": -1}, ValueError, "random_state=-1 must be at least 0"),
        ({"tsne": "fast"}, TypeError, "tsne='fast' is not a TSNE object"),
        ({"tsne": Shadow}, TypeError, "is not a TSNE object"),
        ({"dataset": "X"}, TypeError, "an ndarray is not a file|a ndarray is not a file"),
    ],
)
def test_bad_options(numbers, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        embed(numbers, **{"out": tmp_path / "map", "tsne": Shadow(), **options})
    assert not (tmp_path / "map").exists()


def test_several_tables_in_a_file(file, tmp_path):
    with pytest.raises(ValueError, match=r"has 2 tables, name the one to read: X \(5000, 6\), other"):
        embed(file, out=tmp_path / "map", tsne=Shadow())


def test_damaged_manifests(tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match=r"manifest\.json is damaged"):
        open_run(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format_version": 99}')
    with pytest.raises(ValueError, match=r"manifest\.json is not that of a folder of tsne_ooc"):
        open_run(tmp_path)


def test_digits_with_the_estimator(tmp_path):
    from tsne_ooc import TSNE
    from tsne_ooc.metrics import label_accuracy

    X, y = load_digits(return_X_y=True)
    X = X.astype(np.float32)
    # Twins of each other in the sample: each keeps its own seat.
    X[1::300] = X[::300][: len(X[1::300])]
    tsne = TSNE(random_state=0)
    run = embed(as_source(X), out=tmp_path / "map", sample=700, tsne=tsne)
    model = TSNE(random_state=0).fit(X[run.sample_rows])
    np.testing.assert_array_equal(run.embedding[run.sample_rows], model.embedding_)
    placed = np.setdiff1d(np.arange(len(X)), run.sample_rows)
    np.testing.assert_array_equal(run.embedding[placed], model.transform(X[placed]))
    sampled = run.sample_rows
    accuracy = label_accuracy(run.embedding[sampled], y[sampled], 10, run.embedding[placed], y[placed])
    assert accuracy > 0.9
    assert run.manifest["kl_divergence"] == pytest.approx(model.kl_divergence_)
