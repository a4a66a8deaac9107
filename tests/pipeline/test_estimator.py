"""The estimator as its users meet it: repeatable, streaming, forgiving of odd data, clear about bad data."""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
import textwrap
from functools import partial

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KNeighborsClassifier

from tsne_ooc import TSNE, FixedSigma, Multiscale, Phase, Placement, Schedule, Uniform
from tsne_ooc.io import iterate
from tsne_ooc.neighbors import IVF

QUICK = {"early_exaggeration_iter": 30, "n_iter": 40, "random_state": 0}


def blobs(n=400, p=8, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 6, (5, p))
    return (centres[np.arange(n) % 5] + rng.normal(size=(n, p))).astype(np.float32)


@pytest.fixture(scope="module")
def fitted(digits):
    """A fit of 1,200 digits: more rows than the exact sum takes, so the field is at work."""
    X, _ = digits
    return TSNE(perplexity=20, random_state=0).fit(X[:1200])


# ------------------------------------------------------------------------------------------------ the same, always


@pytest.mark.parametrize("neighbors", ["exact", "faiss"])
def test_fit_is_the_same_on_any_number_of_threads(digits, neighbors):
    X, _ = digits
    fits = [TSNE(neighbors=neighbors, n_jobs=n, **QUICK).fit(X) for n in (1, 2, 3, 2)]
    assert len({(f.embedding_.tobytes(), f.kl_divergence_) for f in fits}) == 1
    placed = {f.transform(X[::7] + 0.5).tobytes() for f in fits}
    assert len(placed) == 1


def test_other_seeds_are_other_maps():
    X = blobs()
    one, two = (TSNE(**{**QUICK, "random_state": seed}).fit_transform(X) for seed in (0, 1))
    assert not np.array_equal(one, two)


def test_generators_old_and_new_are_seeds():
    X = blobs(100)
    for make in (np.random.default_rng, np.random.RandomState):
        one, two = (TSNE(**{**QUICK, "perplexity": 5, "random_state": make(3)}).fit_transform(X) for _ in range(2))
        np.testing.assert_array_equal(one, two)


def test_the_rows_of_the_fit_come_back_to_their_seats(fitted, digits):
    X, _ = digits
    np.testing.assert_array_equal(fitted.transform(X[:1200]), fitted.embedding_)
    np.testing.assert_array_equal(fitted.transform(X[5:6]), fitted.embedding_[5:6])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 596), max_size=5), st.sampled_from([1, 2, 3]))
def test_any_chunks_give_the_same_bits(fitted, digits, cuts, n_jobs):
    X = digits[0][1200:]
    whole = fitted.transform(X)
    edges = [0, *sorted(set(cuts)), len(X)]
    model = pickle.loads(pickle.dumps(fitted)).set_params(n_jobs=n_jobs)
    parts = [model.transform(X[a:b]) for a, b in itertools.pairwise(edges)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


@pytest.mark.parametrize("chunks", [(7, 64), (100, 5), None])
def test_a_dataset_on_disk_is_placed_as_its_rows_are(fitted, digits, tmp_path, chunks):
    X = digits[0][1200:]
    with h5py.File(tmp_path / "rows.h5", "w") as f:
        f.create_dataset("X", data=X, chunks=chunks)
    with h5py.File(tmp_path / "rows.h5") as f:
        np.testing.assert_array_equal(fitted.transform(f["X"]), fitted.transform(X))


def test_anything_with_a_shape_and_slices_is_placed(fitted, digits):
    X = digits[0][1200:]

    class Rows:
        shape = X.shape
        dtype = X.dtype

        def __getitem__(self, rows):
            return X[rows]

    np.testing.assert_array_equal(fitted.transform(Rows()), fitted.transform(X))


def test_a_fit_from_disk_is_that_from_memory(tmp_path):
    X = blobs()
    with h5py.File(tmp_path / "rows.h5", "w") as f:
        f["X"] = X
        from_disk = TSNE(**QUICK).fit(f["X"])
    np.testing.assert_array_equal(from_disk.embedding_, TSNE(**QUICK).fit(X).embedding_)


def test_types_of_numbers_do_not_matter():
    X = np.round(blobs() * 8).astype(np.int16)
    wanted = TSNE(**QUICK).fit(X.astype(np.float32))
    for other in (X, X.astype(np.float64), X.tolist(), np.asfortranarray(X), pd.DataFrame(X)):
        np.testing.assert_array_equal(TSNE(**QUICK).fit(other).embedding_, wanted.embedding_)


def test_pickled_models_place_alike(fitted, digits):
    X = digits[0][1200:1300]
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.transform(X), fitted.transform(X))


# -------------------------------------------------------------------------------------------------- what maps are for


def test_new_rows_lie_among_their_like(fitted, digits):
    X, y = digits
    votes = KNeighborsClassifier(10).fit(fitted.embedding_, y[:1200])
    assert votes.score(fitted.transform(X[1200:]), y[1200:]) > 0.9


def test_turned_data_keep_their_neighbours():
    """Distances are all t-SNE sees: turned and moved data make as good a map."""
    X = blobs(600).astype(np.float64)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
    divergences = [TSNE(**QUICK).fit(rows).kl_divergence_ for rows in (X, X @ turn, X + 100)]
    np.testing.assert_allclose(divergences, divergences[0], rtol=0.05)


def test_constant_columns_change_nothing():
    X = blobs()
    wide = np.hstack([X[:, :3], np.full((len(X), 2), 7, np.float32), X[:, 3:], np.zeros((len(X), 1), np.float32)])
    one, two = TSNE(**QUICK).fit(X), TSNE(**QUICK).fit(wide)
    assert one.kl_divergence_ == pytest.approx(two.kl_divergence_, rel=0.05)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_any_number_of_axes(d):
    X = blobs(300)
    model = TSNE(d, **QUICK).fit(X)
    assert model.embedding_.shape == (300, d)
    assert model.transform(X + 0.1).shape == (300, d)
    label = np.arange(300) % 5
    assert KNeighborsClassifier(5).fit(model.embedding_, label).score(model.transform(X + 0.1), label) > 0.95


@pytest.mark.parametrize("dof", [0.6, 3.0])
def test_other_kernels(dof):
    X = blobs(300)
    model = TSNE(dof=dof, **QUICK).fit(X)
    assert np.isfinite(model.transform(X + 0.1)).all()


@pytest.mark.parametrize("affinity", ["uniform", Multiscale((5, 20)), FixedSigma(3.0, neighbors=30), Uniform(10)])
def test_other_affinities(affinity):
    X = blobs(300)
    model = TSNE(affinity=affinity, **QUICK).fit(X)
    label = np.arange(300) % 5
    assert KNeighborsClassifier(5).fit(model.embedding_, label).score(model.transform(X + 0.1), label) > 0.95


@pytest.mark.parametrize("initialization", ["pca", "spectral", "random"])
def test_starts(initialization):
    X = blobs(300)
    model = TSNE(initialization=initialization, **QUICK).fit(X)
    label = np.arange(300) % 5
    assert KNeighborsClassifier(5).fit(model.embedding_, label).score(model.embedding_, label) > 0.9


def test_a_start_of_ones_own():
    X = blobs(300)
    start = np.random.default_rng(0).normal(0, 1e-4, (300, 2))
    before = start.copy()
    model = TSNE(initialization=start, early_exaggeration_iter=0, n_iter=0).fit(X)
    np.testing.assert_array_equal(model.embedding_, start.astype(np.float32))
    np.testing.assert_array_equal(start, before)
    with pytest.warns(UserWarning, match="standard deviation"):
        TSNE(initialization=start * 1e6, **QUICK).fit(X)


@pytest.mark.parametrize("neighbors", ["exact", IVF(lists=4)])
def test_a_map_of_ones_own_stays_where_it_is(neighbors):
    """Rows are placed on the map that was given, not on one beside it; nothing warns that it is wide."""
    X = blobs(300)
    Z = TSNE(**QUICK).fit(X).embedding_ + np.float32(5)
    options = {"neighbors": neighbors, "early_exaggeration_iter": 0, "random_state": 0}
    model = TSNE(initialization=Z, n_iter=0, **options).fit(X)
    np.testing.assert_array_equal(model.embedding_, Z)
    np.testing.assert_array_equal(model.transform(X), Z)
    # Each layout of memory holds the same map.
    np.testing.assert_array_equal(TSNE(initialization=np.asfortranarray(Z), n_iter=0, **options).fit(X).embedding_, Z)
    with pytest.warns(UserWarning, match="a map, and goes through the whole late course of 5 iterations"):
        moved = TSNE(initialization=Z, n_iter=5, **options).fit(X).embedding_
    np.testing.assert_allclose(moved.mean(0), Z.mean(0), atol=1e-3)
    assert 0 < np.abs(moved - Z).max() < 15


@pytest.mark.parametrize("initialization", ["pca", "spectral", "random", "given"])
def test_every_start_is_in_the_order_of_the_rows(initialization):
    """The inverted file has an order of its own, which no start, callback or attribute may show."""
    X = blobs(600)
    given = np.random.default_rng(0).normal(0, 1e-4, (600, 2)).astype(np.float32)
    seen = {}

    def fit(neighbors, n_iter):
        maps = seen.setdefault(str(neighbors), [])
        return TSNE(
            initialization=given if initialization == "given" else initialization, neighbors=neighbors, random_state=0,
            early_exaggeration_iter=0, n_iter=n_iter, callbacks=lambda i, e, Y: maps.append(Y), callbacks_every_iters=4,
        ).fit(X)  # fmt: skip

    ordered = IVF(lists=8, probes=8)
    # Eigenvectors are found to four digits.
    tolerance = 3e-6 if initialization == "spectral" else 0
    np.testing.assert_allclose(fit(ordered, 0).embedding_, fit("exact", 0).embedding_, rtol=0, atol=tolerance)
    model = fit(ordered, 4)
    np.testing.assert_allclose(seen[str(ordered)][0], model.embedding_, atol=1e-6)
    assert np.abs(model.embedding_ - np.random.default_rng(1).permutation(model.embedding_)).max() > 1e-5


def test_an_affinity_matrix():
    X = blobs(120)
    square = ((X[:, None] - X[None]) ** 2).sum(-1)
    model = TSNE(affinity=np.exp(-square / 20), **QUICK).fit(X)
    assert model.transform(X[:5] + 0.1).shape == (5, 2)
    with pytest.raises(ValueError, match="affinity matrix has 120 rows, X has 100"):
        TSNE(affinity=np.exp(-square / 20), **QUICK).fit(X[:100])


def test_distances_given():
    X = blobs(200)
    distances = np.sqrt(((X[:, None].astype(float) - X[None]) ** 2).sum(-1))
    model = TSNE(metric="precomputed", **QUICK).fit(distances)
    assert model.transform(distances[:7]).tobytes() == model.embedding_[:7].tobytes()


@pytest.mark.parametrize("metric", ["cosine", "manhattan"])
def test_other_metrics(metric):
    X = np.abs(blobs(300)) + 1
    model = TSNE(metric=metric, **QUICK).fit(X)
    np.testing.assert_array_equal(model.transform(X[:9]), model.embedding_[:9])


def test_schedules_as_data():
    X = blobs(200)
    phases = [Phase(20, 12.0), Phase(30, (12.0, 2.0)), Phase(5, 2.0, momentum=0.5)]
    assert TSNE(schedule=Schedule(phases), random_state=0).fit(X).n_iter_ == 55
    assert TSNE(schedule=phases, random_state=0).fit(X).n_iter_ == 55
    assert TSNE(schedule="classic", n_iter=10, early_exaggeration_iter=5).fit(X).n_iter_ == 15


def test_callbacks_may_stop():
    calls = []
    model = TSNE(callbacks=lambda *args: calls.append(args) or len(calls) == 2, callbacks_every_iters=10, **QUICK)
    assert model.fit(blobs()).n_iter_ == 20
    assert calls[0][0] == 10
    assert calls[0][2].shape == (400, 2)


def test_an_interrupt_keeps_the_map():
    def interrupt(iteration, error, embedding):
        raise KeyboardInterrupt

    with pytest.warns(RuntimeWarning, match="interrupted after 10 of 70 iterations"):
        model = TSNE(callbacks=interrupt, callbacks_every_iters=10, **QUICK).fit(blobs())
    assert model.n_iter_ == 10
    assert model.transform(blobs()[:3]).shape == (3, 2)


# ------------------------------------------------------------------------------------------------------- odd data


def test_duplicates(data_folder):
    """Connections of which most are copies: the map is finite, and copies part."""
    raw = np.load(data_folder / "kddcup99_10pct.npz")["X"][200_000:213_000].astype(np.float64)
    X = (raw - raw.mean(0)) / np.where(raw.std(0) > 0, raw.std(0), 1)
    distinct = np.unique(X.astype(np.float32), axis=0)
    assert len(distinct) < 0.2 * len(X)
    model = TSNE(**QUICK).fit(X)
    assert np.isfinite(model.embedding_).all()
    assert len(np.unique(model.embedding_, axis=0)) > 0.99 * len(X)
    np.testing.assert_array_equal(model.transform(X[:50]), model.transform(X[:50]))


def test_all_rows_equal():
    X = np.ones((60, 4))
    with pytest.warns(UserWarning, match="perplexity"):
        model = TSNE(**QUICK).fit(X)
    assert np.isfinite(model.embedding_).all()
    np.testing.assert_array_equal(model.transform(X[:2]), model.embedding_[[0, 0]])


@pytest.mark.parametrize("n", [1, 2, 3, 7])
@pytest.mark.filterwarnings("ignore:perplexity=:UserWarning")
def test_few_rows(n):
    X = blobs(n)
    model = TSNE(**QUICK).fit(X)
    assert model.embedding_.shape == (n, 2)
    assert np.isfinite(model.embedding_).all()
    assert np.isfinite(model.transform(X + 1)).all()


def test_fewer_rows_than_neighbours_is_said():
    with pytest.warns(UserWarning, match=r"perplexity=30 is too large for 50 rows; 16\.\d+ is used"):
        model = TSNE(**QUICK).fit(blobs(50))
    assert model.n_neighbors_ == 49


def test_one_column():
    X = np.linspace(0, 1, 200)[:, None]
    model = TSNE(**QUICK).fit(X)
    assert np.isfinite(model.embedding_).all()


def test_inputs_are_not_changed():
    X = blobs()
    before = X.copy()
    X.setflags(write=False)
    model = TSNE(**QUICK).fit(X)
    model.transform(X)
    np.testing.assert_array_equal(X, before)


def test_a_fitted_model_does_not_move(fitted, digits):
    before = fitted.embedding_.copy()
    one = fitted.transform(digits[0][1200:])
    fitted.transform(digits[0][:300] * 1.5)
    np.testing.assert_array_equal(fitted.embedding_, before)
    np.testing.assert_array_equal(fitted.transform(digits[0][1200:]), one)


def test_clone_and_parameters():
    model = TSNE(perplexity=12, schedule="classic", placement=Placement(k=7))
    assert clone(model).get_params() == model.get_params()


def test_names_of_columns():
    frame = pd.DataFrame(blobs(120), columns=list("abcdefgh"))
    model = TSNE(**QUICK).fit(frame)
    assert model.feature_names_in_.tolist() == list("abcdefgh")
    # What is written into a copy would be lost without a word.
    with pytest.raises(ValueError, match="read-only"):
        model.feature_names_in_[0] = "z"
    assert model.get_feature_names_out().tolist() == ["tsne0", "tsne1"]
    with pytest.raises(ValueError, match="feature names"):
        model.transform(frame.rename(columns={"a": "z"}))


@pytest.mark.skipif(np.__version__ < "2", reason="NumPy 1 makes floats of unsigned and signed whole numbers")
def test_plain_python(tmp_path):
    """Kernels are ordinary functions too: without compilation they make the same map within rounding."""
    program = textwrap.dedent("""
        import sys
        import numpy as np
        from tsne_ooc import TSNE
        from tsne_ooc.gradients.field import FieldPlanner
        from tsne_ooc._parallel import Threads
        rng = np.random.default_rng(0)
        X = np.concatenate([rng.normal(size=(20, 3)), rng.normal(size=(20, 3)) + 9]).astype(np.float32)
        model = TSNE(perplexity=5, early_exaggeration_iter=3, n_iter=3, n_jobs=1, random_state=0).fit(X)
        Y = rng.normal(size=(30, 2)).astype(np.float32) * 9
        field = FieldPlanner(1.0, Threads(1)).plan(Y)
        gradient = np.empty_like(Y)
        Z = field.at_sources(Y, gradient, Threads(1))
        np.savez(sys.argv[1], model.embedding_, model.transform(X + 0.5), gradient, Z)
    """)
    found = []
    for disable in ("0", "1"):
        path = tmp_path / f"{disable}.npz"
        import os

        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program, str(path)], check=True,
            env={**os.environ, "NUMBA_DISABLE_JIT": disable},
        )  # fmt: skip
        found.append(np.load(path))
    for name in found[0].files:
        np.testing.assert_allclose(found[1][name], found[0][name], rtol=2e-2, atol=1e-5)


# ------------------------------------------------------------------------------------------------------- bad data


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_components": 0}, "n_components=0 must be at least 1"),
        ({"n_components": 4}, "n_components=4 is not possible: a map has 1, 2 or 3 axes"),
        ({"perplexity": 0}, "perplexity=0 must be"),
        ({"perplexity": -3}, "perplexity=-3 must be"),
        ({"perplexity": np.inf}, "perplexity=inf must be"),
        ({"perplexity": np.nan}, "perplexity=nan must be"),
        ({"dof": 0}, "dof=0 must be"),
        ({"dof": -1}, "dof=-1 must be"),
        ({"exaggeration": 0}, "exaggeration=0 must be"),
        ({"early_exaggeration": -1}, "early_exaggeration=-1 must be"),
        ({"n_iter": -1}, "n_iter=-1 must be"),
        ({"early_exaggeration_iter": -1}, "early_exaggeration_iter=-1 must be"),
        ({"learning_rate": np.inf}, "learning_rate=inf must be"),
        ({"learning_rate": "quick"}, "neither 'auto' nor a number"),
        ({"metric": "euclidian"}, "did you mean 'euclidean'"),
        ({"neighbors": "fais"}, "did you mean 'faiss"),
        ({"initialization": "pac"}, "did you mean 'pca'"),
        ({"affinity": "unifrom"}, "did you mean 'uniform'"),
        ({"schedule": "clasic"}, "did you mean 'classic'"),
        ({"initialization": np.zeros((9, 2))}, r"shape \(9, 2\); \(400, 2\) is needed"),
        ({"initialization": np.full((400, 2), np.nan)}, "row 0, column 0 is nan"),
        ({"callbacks_every_iters": 0}, "callbacks_every_iters=0"),
        ({"random_state": -1}, "random_state=-1"),
        ({"n_jobs": 0}, "n_jobs=0"),
    ],
)
def test_options_refused(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        TSNE(**{**QUICK, **options}).fit(blobs())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"n_components": 2.0},
        {"perplexity": "many"},
        {"placement": 5},
        {"schedule": 3},
        {"random_state": "x"},
        {"callbacks": 3},
    ],
)
def test_types_refused(options):
    with pytest.raises(TypeError):
        TSNE(**{**QUICK, **options}).fit(blobs())


def broken(value, row=17, column=3):
    X = blobs()
    X[row, column] = value
    return X


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_cell_that_is_not_finite_is_named(fitted, digits, value):
    with pytest.raises(ValueError, match=r"row 17.*column 3"):
        TSNE(**QUICK).fit(broken(value))
    X = digits[0][1200:].copy()
    X[500, 9] = value
    with pytest.raises(ValueError, match=r"row 500.*column 9"):
        fitted.transform(X)


def test_a_cell_in_the_middle_of_a_stream_is_named(fitted, tmp_path, monkeypatch):
    with h5py.File(tmp_path / "rows.h5", "w") as f:
        # Every chunk is there, or it would be refused for those that are not.
        f.create_dataset("X", data=np.zeros((3000, 64), np.float32), chunks=(1000, 64))
        f["X"][2345, 8] = np.nan
    # In the third block; those of whole size hold 125,000 rows, which take seconds to place.
    monkeypatch.setattr("tsne_ooc.intake.features.iterate", partial(iterate, rows=1000))
    with h5py.File(tmp_path / "rows.h5") as f, pytest.raises(ValueError, match=r"row 2345.*column 8"):
        fitted.transform(f["X"])


def test_before_fit():
    with pytest.raises(NotFittedError):
        TSNE().transform(blobs())


@pytest.mark.parametrize("width", [3, 65])
def test_other_numbers_of_columns(fitted, tmp_path, width):
    X = np.zeros((10, width), np.float32)
    with pytest.raises(ValueError, match=f"{width} features.*64 features"):
        fitted.transform(X)
    with h5py.File(tmp_path / "rows.h5", "w") as f:
        f["X"] = X
        with pytest.raises(ValueError, match=f"{width} features.*64 features"):
            fitted.transform(f["X"])


def test_what_is_no_table_is_named(fitted, tmp_path):
    path = tmp_path / "rows.h5"
    with h5py.File(path, "w") as f:
        dataset = f.create_dataset("X", data=np.zeros((5, 64)))
        f["other"] = np.zeros(3)
        with pytest.raises(TypeError, match="X is a File of 'X', 'other'; pass one table"):
            fitted.transform(f)
    for wrong in (str(path), path):
        with pytest.raises(TypeError, match=r"X is the path .*rows.h5'; open the file"):
            TSNE().fit(wrong)
    with pytest.raises(ValueError, match="has been closed"):
        fitted.transform(dataset)
