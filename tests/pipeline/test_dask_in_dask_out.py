"""A Dask array in, a Dask array out: nothing is computed, and what comes out is what an array in memory gives."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tsne_ooc import TSNE, Placement, load
from tsne_ooc.preprocess import PCA, Preparation, Standardize

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

N, P = 120, 5
FEW = {"perplexity": 5, "early_exaggeration_iter": 10, "n_iter": 10, "random_state": 0, "n_jobs": 1}


def rows(n=N, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 4, (6, P))[rng.integers(0, 6, n)] + rng.normal(size=(n, P))).astype(np.float32)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A map in memory and one that was loaded, of prepared rows."""
    folder = tmp_path_factory.mktemp("models")
    model = TSNE(**FEW, prepare=Preparation([Standardize(), PCA(3)])).fit(rows()[:80])
    model.save(folder / "map")
    return {"memory": model, "loaded": load(folder / "map")}


def forbidden(*_, **__):
    raise AssertionError("something was computed")


def lazily(method, X):
    with dask.config.set(scheduler=forbidden):
        return method(X)


@pytest.mark.parametrize("which", ["memory", "loaded"])
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.sets(st.integers(1, N - 1), max_size=5), columns=st.sampled_from([(5,), (2, 3), (1, 1, 3)]))
def test_any_chunks(models, which, cuts, columns):
    edges = [0, *sorted(cuts), N]
    chunks = tuple(np.diff(edges).tolist())
    model, X = models[which], da.from_array(rows(), chunks=(chunks, columns))
    for method, wanted in (
        (model.transform, model.transform(rows())),
        (model.score_samples, model.score_samples(rows())),
    ):
        Y = lazily(method, X)
        assert isinstance(Y, da.Array) and Y.shape == wanted.shape and Y.dtype == np.float32
        assert Y.chunks == (chunks, (2,))[: wanted.ndim] and Y._meta.ndim == wanted.ndim
        np.testing.assert_array_equal(Y.compute(scheduler="threads", num_workers=3), wanted)


def test_unknown_chunks_empty_blocks_and_slices(models):
    model, X = models["loaded"], da.from_array(rows(), chunks=(30, 2))
    chosen = X[X[:, 0] > np.float32(rows()[:, 0].min() + 1)]
    wanted = model.transform(rows()[rows()[:, 0] > np.float32(rows()[:, 0].min() + 1)])
    Y = lazily(model.transform, chosen)
    assert np.isnan(Y.shape[0]) and Y.shape[1] == 2
    np.testing.assert_array_equal(Y.compute(), wanted)
    np.testing.assert_array_equal(lazily(model.transform, X[X[:, 0] > 1e9]).compute(), np.empty((0, 2)))
    np.testing.assert_array_equal(lazily(model.transform, X)[17:43, 1].compute(), model.transform(rows())[17:43, 1])


def test_blocks_that_are_sparse(models):
    S = rows() * (rows() > 2)
    model = TSNE(**FEW).fit(sp.csr_array(S[:80]))
    X = da.from_array(S, chunks=(50, P)).map_blocks(sp.csr_array)
    wanted = model.transform(sp.csr_array(S))
    np.testing.assert_array_equal(lazily(model.transform, X).compute(), wanted)
    prepared = models["loaded"]
    np.testing.assert_array_equal(lazily(prepared.transform, X).compute(), prepared.transform(S))


def test_data_frames_go_by_name(tmp_path):
    pd = pytest.importorskip("pandas")
    dd = pytest.importorskip("dask.dataframe")
    frame = pd.DataFrame(rows(), columns=list("abcde"))
    TSNE(**FEW).fit(frame[:80]).save(tmp_path / "map")
    model = load(tmp_path / "map")
    wanted = model.transform(frame)
    other = dd.from_pandas(frame[list("edcba")], npartitions=3)
    for method, known in ((model.transform, wanted), (model.score_samples, model.score_samples(frame))):
        Y = lazily(method, other)
        assert isinstance(Y, da.Array) and Y.dtype == np.float32 and Y.shape[1:] == known.shape[1:]
        np.testing.assert_array_equal(Y.compute(scheduler="threads"), known)
    with pytest.raises(ValueError, match="lacks 1 of the 5 feature names of the fit: 'c'"):
        lazily(model.transform, other.drop(columns="c"))
    with pytest.warns(UserWarning, match="X does not have valid feature names") as said:
        Y = lazily(model.transform, da.from_array(rows(), chunks=(40, P)))
        np.testing.assert_array_equal(Y.compute(), wanted)
    assert len(said) == 1


def test_what_is_wrong_is_said_at_once_or_with_its_row(models):
    model = models["loaded"]
    with pytest.raises(ValueError, match="X has 4 features, but TSNE is expecting 5"):
        lazily(model.transform, da.zeros((9, 4)))
    X = rows()
    X[77, 3] = np.nan
    with pytest.raises(ValueError, match=r"NaN at row 17, column 3.*counted from row 60 of the Dask array"):
        lazily(model.transform, da.from_array(X, chunks=(30, P))).compute()


def test_a_loaded_model_is_named_by_its_path_and_another_one_travels(models, tmp_path):
    """A graph over many blocks holds the path, and no rows of the fit."""
    X = da.zeros((1000, P), chunks=(10, P))
    small = len(pickle.dumps(dict(lazily(models["loaded"].transform, X).dask)))
    empty = len(pickle.dumps(dict(X.map_blocks(abs).dask)))
    assert small - empty < 100_000
    map = lazily(models["memory"].transform, X)
    assert sum(type(value).__name__ == "TSNE" for value in map.dask.values()) <= 1
    # What is asked of it is not what the folder says.
    model = load(models["loaded"]._loaded[2].folder)
    assert model._by_path is not None
    assert load(model._by_path.folder).set_params(placement=Placement(exaggeration=3))._by_path is None
    assert pickle.loads(pickle.dumps(model))._by_path == model._by_path
    assert model.set_params(prepare=None).fit(rows())._by_path is None


def test_chunks_of_which_only_some_are_known(models):
    """Parts of known length beside a part that was chosen by its numbers."""
    X, model = rows(), models["loaded"]
    known, others = da.from_array(X[:50], chunks=(25, P)), da.from_array(X[50:], chunks=(40, P))
    both = da.concatenate([known, others[others[:, 0] > -np.inf]], allow_unknown_chunksizes=True)
    assert not np.isnan(both.chunks[0][0]) and np.isnan(both.chunks[0][-1])
    for method in (model.transform, model.score_samples):
        np.testing.assert_array_equal(lazily(method, both).compute(), method(X))


@pytest.mark.parametrize("which", ["memory", "loaded"])
def test_a_worker_has_one_thread_and_the_model_keeps_its_own(models, which, monkeypatch):
    """Dask has threads of its own."""
    from tsne_ooc.estimator import lazily as module

    model = models[which]
    monkeypatch.setattr(model, "n_jobs", 3)
    threads, real = [], module._answers

    def answers(block, asked, *given):
        fitted = asked.opened(1) if hasattr(asked, "opened") else asked
        threads.append((fitted.n_jobs, fitted.map_.threads.n))
        return real(block, asked, *given)

    monkeypatch.setattr(module, "_answers", answers)
    model.transform(rows()[:5])
    lazily(model.transform, da.from_array(rows(), chunks=(60, P))).compute(scheduler="synchronous")
    assert threads and {n for n, _ in threads} == {1} and model.n_jobs == 3


def test_only_what_is_of_dask_is_answered_by_dask(models):
    """Tables of others may be computed, too, and are read as they are."""
    from tsne_ooc.estimator.lazily import is_lazy

    class Computed:
        shape, dtype, chunks = (N, P), np.dtype("f4"), None

        def __getitem__(self, at):
            return rows()[at]

        def compute(self):
            raise AssertionError("it was computed")

    assert not is_lazy(Computed()) and not is_lazy(rows()) and is_lazy(da.zeros(3))
    Y = models["memory"].transform(Computed())
    assert isinstance(Y, np.ndarray)
    np.testing.assert_array_equal(Y, models["memory"].transform(rows()))


def test_arrays_of_other_axes_are_refused(models):
    for X, told in (
        (da.zeros((9, P, 1)), "X has 3 axes"), (da.zeros(P), "X has 1 axes"), (da.zeros((P, 9)), "X has 9 features"),
    ):  # fmt: skip
        for method in (models["memory"].transform, models["loaded"].score_samples):
            with pytest.raises(ValueError, match=f"^{told}, but TSNE is expecting 5 features as input"):
                lazily(method, X)


def test_an_error_of_the_first_block_is_counted_as_it_is(models):
    X = rows()
    X[7, 3] = np.nan
    for chunks in ((30, P), (N, P)):
        with pytest.raises(ValueError) as caught:
            lazily(models["loaded"].transform, da.from_array(X, chunks=chunks)).compute()
        assert "NaN at row 7, column 3" in str(caught.value) and "counted from" not in str(caught.value)
    # Of blocks of unknown length, nobody knows the rows before.
    chosen = da.from_array(X, chunks=(30, P))
    with pytest.raises(ValueError, match="NaN at row 7, column 3"):
        lazily(models["loaded"].transform, chosen[chosen[:, 0] > -np.inf]).compute()


def test_what_is_not_computed_yet_says_what_it_will_be(models):
    frame = pytest.importorskip("dask.dataframe").from_pandas(
        pytest.importorskip("pandas").DataFrame(rows(), columns=list("abcde")), npartitions=3
    )
    named = TSNE(**FEW).fit(frame.compute()[:80])
    for model, X in ((models["memory"], da.from_array(rows(), chunks=(40, (2, 3)))), (named, frame)):
        for method, shape in ((model.transform, (0, 2)), (model.score_samples, (0,))):
            Y = lazily(method, X)
            assert type(Y._meta) is np.ndarray and Y._meta.ndim == Y.ndim == len(shape)
            assert Y._meta.dtype == Y.dtype == np.float32 and Y.shape[1:] == shape[1:]
            found = Y.compute()
            assert found.dtype == np.float32 and found.shape == (N, *shape[1:])
