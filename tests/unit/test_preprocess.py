"""Steps agree with NumPy and scikit-learn in float64, and every bit with itself in any cut and on any threads."""

import pickle
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import FunctionTransformer

from tsne_ooc._kernels.project import project
from tsne_ooc._parallel import Threads
from tsne_ooc.preprocess import (
    PCA,
    Log1p,
    Normalize,
    OneHot,
    Preparation,
    PreparedSource,
    Standardize,
    Transformer,
    preparation_from_options,
)
from tsne_ooc.preprocess import pca as pca_module
from tsne_ooc.preprocess import rows as rows_module
from tsne_ooc.preprocess import statistics as statistics_module

ALL = [Normalize(100), Log1p(), Standardize(), PCA(3)]


class Chunked:
    """A table that is read by slicing, in storage chunks of any number of rows."""

    def __init__(self, data, rows):
        self.data, self.shape, self.dtype, self.chunks = data, data.shape, data.dtype, (rows, data.shape[1])

    def __getitem__(self, rows):
        return self.data[rows]


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles, pieces and blocks of products small enough that small tables have several."""
    monkeypatch.setattr(rows_module, "_TILE", 1 << 8)
    monkeypatch.setattr(rows_module, "_PIECE", 1 << 9)
    monkeypatch.setattr(statistics_module, "_PIECE", 1 << 6)
    monkeypatch.setattr(statistics_module, "_SIDE", 3)


def counts(n, p, seed=0):
    rng = np.random.default_rng(seed)
    return rng.poisson(rng.gamma(0.5, 4, p) * rng.gamma(2, 1, (n, 1))).astype(np.float32)


def off(found, wanted):
    return np.linalg.norm(np.float64(found) - wanted) / np.linalg.norm(wanted)


def signed(axes):
    """Columns with their largest entry positive."""
    return axes * np.sign(axes[np.argmax(np.abs(axes), axis=0), np.arange(axes.shape[1])])


def slow(X, *, total=None, log=False, scale=None, n=None):
    """All steps after one another, in float64, on a table in memory."""
    X = np.asarray(X, np.float64)
    if total is not None:
        sums = X.sum(axis=1, keepdims=True)
        X = X * np.where(sums > 0, total / np.where(sums > 0, sums, 1), 0)
    if log:
        X = np.log1p(X)
    if scale == "standard":
        spread = X.std(axis=0)
        X = (X - X.mean(axis=0)) / np.where(X.min(axis=0) < X.max(axis=0), spread, 1)
    if n is not None:
        X = X - X.mean(axis=0)
        # The decomposition of 10,000 x 1,000 takes seconds, that of its covariance tenths.
        axes = np.linalg.eigh(X.T @ X)[1][:, ::-1][:, :n] if len(X) > 5000 else np.linalg.svd(X)[2][:n].T
        X = X @ signed(axes)
    return X


# What float32 leaves of a result, as a relative norm, and a little for sums.
FLOAT32 = 6e-8


@pytest.mark.parametrize(
    "steps, how, passes",
    [
        ([Log1p()], {"log": True}, 0),
        ([Normalize(100)], {"total": 100}, 0),
        ([Standardize()], {"scale": "standard"}, 1),
        ([PCA(4)], {"n": 4}, 1),
        ([Standardize(), PCA(4)], {"scale": "standard", "n": 4}, 1),
        ([Normalize(100), Log1p(), Standardize(), PCA(4)], {"total": 100, "log": True, "scale": "standard", "n": 4}, 1),
    ],
)
def test_steps_are_the_slow_ones(small_tiles, steps, how, passes):
    X = counts(300, 7)
    X[:, 2] = 5
    preparation = Preparation(steps).fit(X)
    assert preparation.passes == passes
    assert off(preparation.transform(X), slow(X, **how)) < FLOAT32


def test_against_scikit_learn(small_tiles, digits):
    from sklearn.decomposition import PCA as Peer
    from sklearn.preprocessing import RobustScaler, StandardScaler

    X = digits[0].astype(np.float64)
    fitted = Preparation([Standardize(), PCA(10)]).fit(X).fitted
    scaler = StandardScaler().fit(X)
    np.testing.assert_allclose(fitted[0].centre, scaler.mean_, rtol=1e-13)
    np.testing.assert_allclose(fitted[0].scale, scaler.scale_, rtol=1e-13)
    assert fitted[0].n_constant == int((X.min(axis=0) == X.max(axis=0)).sum()) > 0
    peer = Peer(10, svd_solver="full").fit(scaler.transform(X))
    np.testing.assert_allclose(fitted[1].explained_variance, peer.explained_variance_, rtol=1e-11)
    np.testing.assert_allclose(fitted[1].explained_variance_ratio, peer.explained_variance_ratio_, rtol=1e-11)
    np.testing.assert_allclose(fitted[1].axes, signed(peer.components_.T), atol=1e-10)
    Z = np.random.default_rng(0).normal(size=(999, 5)) * [1, 2, 3, 4, 1e6]
    robust = Preparation([Standardize(robust=True)]).fit(Z)
    assert off(robust.transform(Z), RobustScaler(unit_variance=True).fit_transform(Z)) < FLOAT32


def test_real_tables(data_folder):
    with np.load(data_folder / "kddcup99_10pct.npz") as file:
        X = file["X"]
    preparation = Preparation([Standardize()]).fit(X)
    Z = slow(X, scale="standard")
    assert off(preparation.transform(X), Z) < FLOAT32
    assert preparation.fitted[0].n_constant == int((X.min(axis=0) == X.max(axis=0)).sum())
    with np.load(data_folder / "tenx_mousebrain_10k_x_1000genes.npz") as file:
        X = file["X"]
    preparation = Preparation([Log1p(), PCA(5)]).fit(X)
    assert preparation.passes == 1
    # Axes turn by the rounding of the covariance over the gap between eigenvalues.
    assert off(preparation.transform(X), slow(X, log=True, n=5)) < 2 * FLOAT32


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chunk=st.integers(1, 200),
    rows=st.integers(1, 200),
    n_jobs=st.integers(1, 3),
    robust=st.booleans(),
    cut=st.integers(0, 180),
    size=st.integers(1, 180),
)
def test_every_bit_is_the_same_in_any_cut(small_tiles, chunk, rows, n_jobs, robust, cut, size):
    X = counts(181, 9)
    steps = [Normalize(100), Log1p(), Standardize(robust=robust), PCA(5)]
    whole = Preparation(steps).fit(X, n_jobs=1)
    parts = Preparation(steps).fit(Chunked(X, chunk), n_jobs=n_jobs)
    for name, array in whole.state()[1].items():
        np.testing.assert_array_equal(parts.state()[1][name], array, err_msg=name)
    Y = whole.transform(X)
    np.testing.assert_array_equal(whole.transform(X[cut : cut + size], n_jobs=n_jobs), Y[cut : cut + size])
    source = PreparedSource(Chunked(X, chunk), whole, n_jobs=n_jobs)
    np.testing.assert_array_equal(source.read(cut, min(181, cut + size)), Y[cut : cut + size])
    np.testing.assert_array_equal(whole.transform(X[::-1], n_jobs=n_jobs)[::-1], Y)


def test_wide_rows_are_the_same_alone_and_together():
    # At these sizes a product of BLAS gives most single rows other last bits than all together.
    X = np.random.default_rng(0).normal(size=(150, 1000)).astype(np.float32)
    preparation = Preparation([Standardize(), PCA(40)]).fit(X)
    # Before anything is rounded to float32, which would hide most of a change.
    pca, X = preparation.fitted[1], X.astype(np.float64)
    Y = pca.apply(X, 0)
    for m in (1, 2, 3, 63, 64, 65, 149):
        np.testing.assert_array_equal(pca.apply(X[:m], 0), Y[:m])
        np.testing.assert_array_equal(pca.apply(X[-m:], 0), Y[-m:])


@pytest.mark.parametrize("p, k", [(1, 1), (3, 2), (4, 4), (9, 5), (130, 17)])
def test_the_kernel_is_a_product(p, k):
    rng = np.random.default_rng(0)
    X, mean, axes, out = rng.normal(size=(11, p)), rng.normal(size=p), rng.normal(size=(p, k)), np.empty((11, k))
    project(X, mean, axes, out)
    assert off(out, (X - mean) @ axes) < 1e-15 * (1 + p)


def test_a_far_mean_does_not_drown_a_small_spread(small_tiles):
    # Spacing of float64 at 1e6: 1.2e-10, so a spread of 1e-2 is known to 1e-8; about zero, squares would lose it all.
    rng = np.random.default_rng(0)
    X = 1e6 + 1e-2 * rng.normal(size=(2000, 3))
    fitted = Preparation([Standardize()]).fit(X).fitted[0]
    np.testing.assert_allclose(fitted.scale, X.std(axis=0), rtol=1e-13)
    Z = Preparation([Standardize(), PCA(3)]).fit(X).transform(X)
    assert off(Z, slow(X, scale="standard", n=3)) < 1e-6
    # In float32 the file itself holds steps of 0.06: what is left is computed just as well.
    X = (1e6 + rng.normal(size=(2000, 3))).astype(np.float32)
    fitted = Preparation([Standardize()]).fit(X).fitted[0]
    np.testing.assert_allclose(fitted.scale, X.astype(np.float64).std(axis=0), rtol=1e-12)


def test_drifting_columns(small_tiles):
    # Tiles that have nothing in common with the first one.
    X = np.arange(3000.0)[:, None] * [1e4, -1, 1e-3] + np.random.default_rng(0).normal(size=(3000, 3)) + 1e9
    Y = Preparation([Standardize(), PCA(2)]).fit(X)
    np.testing.assert_allclose(Y.fitted[0].scale, X.std(axis=0), rtol=1e-9)
    assert off(Y.transform(X), slow(X, scale="standard", n=2)) < 1e-6


def test_numbers_beyond_float32_are_scaled_first():
    X = np.random.default_rng(0).normal(size=(50, 2)) * [1e100, 1e5] + [0, 1.7e9]
    assert off(Preparation([Standardize()]).fit(X).transform(X), slow(X, scale="standard")) < FLOAT32
    with pytest.raises(ValueError, match=r"column 0 .* beyond the range of float64"):
        Preparation([Standardize()]).fit(X * [1e100, 1])
    with pytest.raises(ValueError, match=r"the prepared table contains infinity .* row 3, column 1"):
        Preparation([]).fit(np.ones((2, 2))).transform(np.array([[1.0, 1e300]]), first_row=3)


@pytest.mark.parametrize("value", [0.1, 7.0, 1e6 + 0.1, -3e-7])
def test_columns_without_variation_are_divided_by_one(small_tiles, value):
    X = counts(1000, 4).astype(np.float64)
    X[:, 1] = value
    for robust in (False, True):
        preparation = Preparation([Standardize(robust=robust)]).fit(X)
        fitted = preparation.fitted[0]
        assert fitted.n_constant == 1 and fitted.scale[1] == 1 and fitted.constant[1]
        assert (preparation.transform(X)[:, 1] == 0).all()


def test_a_variation_whose_square_is_nothing_is_none():
    X = np.random.default_rng(0).normal(size=(100, 3))
    X[:, 1] = 1e-200 * (np.arange(100) % 2)
    with np.errstate(all="raise", under="ignore"):
        for robust in (False, True):
            preparation = Preparation([Standardize(robust=robust)]).fit(X)
            assert np.isfinite(preparation.transform(X)).all()
        assert Preparation([Standardize()]).fit(X).fitted[0].constant.tolist() == [False, True, False]


def test_robust_columns_of_mostly_zeros_keep_a_scale():
    X = np.zeros((1000, 2))
    X[::10] = 1e6
    X[:, 1] += np.arange(1000)
    preparation = Preparation([Standardize(robust=True)]).fit(X)
    fitted = preparation.fitted[0]
    np.testing.assert_allclose(fitted.scale, [X[:, 0].std(), fitted.scale[1]])
    low, middle, high = np.quantile(X[:, 1], (0.25, 0.5, 0.75))
    np.testing.assert_allclose([fitted.centre[1], fitted.scale[1]], [middle, (high - low) / 1.3489795])


def test_quartiles_of_a_sample_are_near_those_of_all(monkeypatch):
    monkeypatch.setattr(rows_module, "_SAMPLE_ROWS", 4000)
    X = np.random.default_rng(0).exponential(size=(50_000, 2))
    fitted = Preparation([Standardize(robust=True)]).fit(X).fitted[0]
    # Rank error of one standard deviation: 0.5 / sqrt(4000).
    below = (fitted.centre > X).mean(axis=0)
    assert (np.abs(below - 0.5) < 4 * 0.5 / np.sqrt(4000)).all() and (below != 0.5).any()
    other = Preparation([Standardize(robust=True)]).fit(X, random_state=1).fitted[0]
    assert (other.centre != fitted.centre).any()


@pytest.mark.parametrize("n, p", [(1, 4), (2, 1), (6, 40)])
def test_few_rows(n, p):
    X = np.random.default_rng(0).normal(size=(n, p))
    k = min(n, p)
    preparation = Preparation([Standardize(), PCA(k)]).fit(X)
    Y = preparation.transform(X)
    assert Y.shape == (n, k) and np.isfinite(Y).all()
    Z = slow(X, scale="standard")
    Z -= Z.mean(axis=0)
    np.testing.assert_allclose(Y @ Y.T, Z @ Z.T, atol=1e-5)
    with pytest.raises(ValueError, match=f"pca={k + 1} is more than a table of {n} rows and {p} columns has"):
        Preparation([PCA(k + 1)]).fit(X)


@pytest.mark.parametrize("most", [4096, 8], ids=["exact", "wide"])
@pytest.mark.parametrize("power", [-150, -100, -78, -30, 0, 30, 78, 100, 140])
def test_the_unit_of_the_columns_is_no_matter(monkeypatch, most, power):
    """Rows are brought to 1 by what comes behind; the axes are there before."""
    monkeypatch.setattr(pca_module, "EXACT_UP_TO", most)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 40)) * np.geomspace(1, 0.01, 40) + rng.normal(size=40)
    preparation = Preparation([PCA(3), Standardize()]).fit(X * 10.0**power)
    u, values, _ = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    wanted, found = u[:, :3] * np.sqrt(300), preparation.transform(X * 10.0**power)
    # The range finder's third axis of so flat a spectrum is nearly that of the rows.
    np.testing.assert_allclose(np.abs(np.diag(found.T @ wanted)) / 300, 1, atol=1e-4)
    share = preparation.fitted[0].explained_variance_ratio
    np.testing.assert_allclose(share, values[:3] ** 2 / (values**2).sum(), rtol=2e-2)


@pytest.mark.parametrize("most", [4096, 8], ids=["exact", "wide"])
def test_squares_beyond_the_range_are_told_by_their_column(monkeypatch, most):
    monkeypatch.setattr(pca_module, "EXACT_UP_TO", most)
    X = np.random.default_rng(0).normal(size=(50, 20))
    X[:, 7] *= 1e200
    for steps in ([PCA(2)], [Standardize()]):
        with pytest.raises(ValueError, match="column 7 of the table has squares beyond the range"):
            Preparation(steps).fit(X)


class TestWideTables:
    """Those whose covariance is not formed."""

    @pytest.fixture(autouse=True)
    def _few(self, monkeypatch, small_tiles):
        monkeypatch.setattr(pca_module, "EXACT_UP_TO", 8)

    def table(self, n=400, p=60, rank=5):
        rng = np.random.default_rng(1)
        X = rng.normal(size=(n, rank)) * 2.0 ** -np.arange(rank) @ rng.normal(size=(rank, p))
        return X + 1e-3 * rng.normal(size=(n, p)) + rng.normal(size=p) * 10

    def test_leading_axes_are_found(self):
        X = self.table()
        preparation = Preparation([PCA(5)]).fit(X)
        assert preparation.passes == 3
        assert off(preparation.transform(X), slow(X, n=5)) < 1e-6
        values = np.linalg.svd(X - X.mean(axis=0), compute_uv=False) ** 2
        np.testing.assert_allclose(preparation.fitted[0].explained_variance, values[:5] / 399, rtol=1e-9)
        np.testing.assert_allclose(preparation.fitted[0].explained_variance_ratio, values[:5] / values.sum(), rtol=1e-9)

    def test_behind_standardize_it_takes_passes_of_its_own(self):
        X = self.table()
        preparation = Preparation([Standardize(), PCA(5)]).fit(X)
        assert preparation.passes == 4
        assert off(preparation.transform(X), slow(X, scale="standard", n=5)) < 1e-5

    def test_cut_and_threads_change_nothing(self):
        X = self.table()
        one, other = (Preparation([PCA(4)]).fit(Chunked(X, c), n_jobs=j) for c, j in ((400, 1), (7, 3)))
        np.testing.assert_array_equal(one.fitted[0].axes, other.fitted[0].axes)

    @pytest.mark.parametrize("X", [np.ones((20, 30)), np.outer(np.arange(20.0), np.ones(30))], ids=["none", "one"])
    def test_data_of_lower_rank(self, X):
        preparation = Preparation([PCA(3)]).fit(X)
        axes, Y = preparation.fitted[0].axes, preparation.transform(X)
        np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-10)
        Z = X - X.mean(axis=0)
        np.testing.assert_allclose(Y @ Y.T, Z @ Z.T, atol=1e-3)


@pytest.mark.parametrize("step", [Log1p(), Normalize(10)])
def test_negative_values_are_named(step):
    X = counts(5000, 3)
    X[4321, 2] = -2
    with pytest.raises(ValueError, match=r"row 4321, column 2 is -2"):
        Preparation([step, Standardize()]).fit(Chunked(X, 100))
    preparation = Preparation([step]).fit(np.abs(X))
    with pytest.raises(ValueError, match=r"row 4321, column 2 is -2"):
        PreparedSource(X, preparation).read(4000, 5000)
    with pytest.raises(ValueError, match=r"row 10021, column 2 is -2"):
        preparation.transform(X[4300:], first_row=10_000)


def test_bad_tables_and_misuse():
    X = counts(20, 3)
    with pytest.raises(ValueError, match="holds nothing"):
        Preparation([Standardize()]).fit(X[:0])
    X[11, 1] = np.nan
    with pytest.raises(ValueError, match="NaN at row 11, column 1"):
        Preparation([Standardize()]).fit(X)
    preparation = Preparation([Standardize()])
    for use in (preparation.transform, lambda X: PreparedSource(X, preparation), lambda X: preparation.state()):
        with pytest.raises(ValueError, match="not fitted"):
            use(X)
    preparation.fit(X[:10])
    with pytest.raises(ValueError, match="NaN at row 11, column 1"):
        PreparedSource(X, preparation).read(5, 20)
    for use in (preparation.transform, lambda X: PreparedSource(X, preparation)):
        with pytest.raises(ValueError, match=r"2 columns.*fitted with 3"):
            use(X[:10, :2])
    with pytest.raises(TypeError, match="wrap it in Transformer"):
        from sklearn.preprocessing import StandardScaler

        Preparation([StandardScaler()])
    with pytest.raises(ValueError, match="first step"):
        Preparation([Log1p(), OneHot(["a"])])
    with pytest.raises(ValueError, match="total=0"):
        Normalize(0)
    with pytest.raises(TypeError, match=r"pca=2\.5"):
        PCA(2.5)
    with pytest.raises(TypeError, match="not a step"):
        Preparation([3])


def test_a_failed_fit_leaves_the_fitted_one():
    X = counts(50, 3)
    preparation = Preparation([Log1p(), Standardize()]).fit(X)
    Y = preparation.transform(X)
    with pytest.raises(ValueError, match="row 0, column 0"):
        preparation.fit(X - 100)
    np.testing.assert_array_equal(preparation.transform(X), Y)


def test_nothing_is_changed(small_tiles):
    X = counts(100, 4)
    X.flags.writeable = False
    Preparation(ALL).fit(X).transform(X)


class TestState:
    @pytest.fixture
    def fitted(self):
        return Preparation([*ALL[:2], Standardize(robust=True), PCA(3)]).fit(counts(60, 5))

    def test_comes_back_the_same(self, fitted, tmp_path):
        import json

        numbers, arrays = fitted.state()
        np.savez(tmp_path / "arrays.npz", **arrays)
        numbers = json.loads(json.dumps(numbers, allow_nan=False))
        with np.load(tmp_path / "arrays.npz", allow_pickle=False) as arrays:
            again = Preparation.from_state(numbers, dict(arrays))
        X = counts(30, 5, seed=1)
        np.testing.assert_array_equal(again.transform(X), fitted.transform(X))
        assert again.steps == fitted.steps and again.state()[0] == fitted.state()[0]
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).transform(X), fitted.transform(X))

    @pytest.mark.parametrize(
        "damage, says",
        [
            (lambda j, a: j["steps"][0].update(kind="eval"), "step of a preparation='eval'"),
            (lambda j, a: j["steps"][0].update(kind="transformer"), "transformer"),
            (lambda j, a: j.pop("steps"), "damaged: KeyError"),
            (lambda j, a: j.update(steps=3), "damaged: TypeError"),
            (lambda j, a: j.update(format_version=2), "upgrade"),
            (lambda j, a: j.update(n_features_in=4), "shape"),
            (lambda j, a: j.update(n_features_out=4), "ends in 3 columns, not 4"),
            (lambda j, a: a.pop("2.scale"), "lacks the array 'scale'"),
            (lambda j, a: a.update({"2.scale": np.zeros(5)}), "not positive"),
            (lambda j, a: a.update({"3.axes": np.full((5, 3), np.nan)}), "NaN or infinity"),
            (lambda j, a: a.update({"3.axes": np.zeros((3, 5))}), "shape"),
            (lambda j, a: a.update({"3.axes": np.zeros((5, 3), "O")}), "type"),
            (lambda j, a: j["steps"][3].update(n=-1), "at least 1"),
            (lambda j, a: j["steps"][2].update(robust=1), "robust=1 is neither True nor False"),
        ],
    )
    def test_damage_is_found(self, fitted, damage, says):
        numbers, arrays = fitted.state()
        damage(numbers, arrays)
        with pytest.raises(ValueError, match=says):
            Preparation.from_state(numbers, arrays)


class TestTransformer:
    def test_fitted_objects_are_used_as_they_are(self):
        from sklearn.decomposition import PCA as Peer

        X = counts(200, 6)
        peer = Peer(2).fit(X.astype(np.float64))
        preparation = Preparation([Transformer(peer)]).fit(X)
        assert preparation.passes == 0 and preparation.n_features_out == 2
        assert off(preparation.transform(X), peer.transform(X.astype(np.float64))) < FLOAT32
        with pytest.raises(TypeError, match="pickle"):
            preparation.state()

    def test_partial_fit_sees_all_rows(self, small_tiles):
        from sklearn.preprocessing import MinMaxScaler

        X = counts(301, 6)
        scaler = MinMaxScaler()
        preparation = Preparation([Log1p(), Transformer(scaler)]).fit(X)
        assert "all 301 rows" in preparation.fitted[1].how and preparation.passes == 1
        wanted = MinMaxScaler().fit_transform(np.log1p(X.astype(np.float64)))
        np.testing.assert_allclose(preparation.transform(X), wanted, atol=1e-6)
        assert not hasattr(scaler, "data_min_")

    def test_others_are_fitted_on_a_sample(self, monkeypatch):
        from sklearn.preprocessing import QuantileTransformer

        monkeypatch.setattr(rows_module, "_SAMPLE_ROWS", 200)
        X = np.random.default_rng(0).exponential(size=(3000, 2))
        preparation = Preparation([Transformer(QuantileTransformer(n_quantiles=100)), PCA(2)]).fit(X)
        assert preparation.fitted[0].how == "on 200 of 3000 rows"
        assert preparation.passes == 2

    @pytest.mark.parametrize("p", [1, 2, 60, 200, 1000, 3000])
    def test_calls_are_few_and_of_one_height(self, p):
        calls = []

        class Notes:
            def transform(self, X):
                calls.append(len(X))
                return X[:, :1]

        X = np.random.default_rng(0).normal(size=(3000, p))
        preparation = Preparation([Transformer(Notes())]).fit(X)
        calls.clear()
        out = preparation.transform(X)
        np.testing.assert_array_equal(out, X[:, :1].astype(np.float32))
        assert len(set(calls)) == 1 and 64 <= calls[0] <= 1024 and calls[0] * p <= max(1 << 17, 64 * p)
        # As long as what a call does outweighs the call.
        assert len(calls) <= 3000 / min(1024, (1 << 16) / p) + 1

    @pytest.mark.parametrize("p", [20, 60, 200, 600])
    def test_rows_do_not_depend_on_their_block(self, p):
        from sklearn.decomposition import PCA as Peer

        X = np.random.default_rng(0).normal(size=(300, p))
        fitted = Preparation([Transformer(Peer(20, random_state=0))]).fit(X).fitted

        def rows(a, b, n_jobs=1):
            # All digits, not those of float32.
            out = np.empty((b - a, 20))
            rows_module.apply(fitted, X[a:b], 0, Threads(n_jobs), out)
            return out

        Y = rows(0, 300)
        for a, b in ((0, 1), (3, 80), (130, 300), (299, 300), (0, 300)):
            np.testing.assert_array_equal(rows(a, b, n_jobs=3), Y[a:b])

    def test_what_is_none(self):
        with pytest.raises(TypeError, match="not a transformer"):
            Transformer("pca")

        class Merges:
            def transform(self, X):
                return X[:1]

        with pytest.raises(ValueError, match="a row for each row"):
            Preparation([Transformer(Merges())]).fit(counts(5, 2))


class TestSource:
    def test_without_steps_rows_pass(self):
        X = counts(40, 3)
        source = PreparedSource(X, Preparation([]).fit(X))
        np.testing.assert_array_equal(source.read(3, 30), X[3:30])
        assert source.shape == (40, 3) and source.dtype == np.float32

    def test_everything_downstream_sees_prepared_rows(self, small_tiles):
        from tsne_ooc.io import Source, as_source, iterate
        from tsne_ooc.sampling import uniform

        X = counts(333, 6)
        preparation = Preparation(ALL).fit(X)
        Y = preparation.transform(X)
        source = PreparedSource(Chunked(X, 50), preparation)
        assert isinstance(source, Source) and as_source(source) is source
        assert source.shape == (333, 3) and source.chunks == (50, 3)
        np.testing.assert_array_equal(np.concatenate([block for _, _, block in iterate(source, rows=37)]), Y)
        rows, sample = uniform(source, 60, np.random.default_rng(0))
        np.testing.assert_array_equal(sample, Y[rows])
        np.testing.assert_array_equal(source.reopen().read(10, 20), Y[10:20])

    def test_a_map_is_that_of_the_prepared_table(self, tmp_path):
        from tsne_ooc import TSNE, embed

        X = counts(400, 6)
        preparation = Preparation(ALL).fit(X)
        tsne = TSNE(perplexity=5, n_iter=20, early_exaggeration_iter=10, random_state=0)
        found = embed(PreparedSource(Chunked(X, 30), preparation), out=tmp_path / "a", sample=150, tsne=tsne)
        wanted = embed(preparation.transform(X), out=tmp_path / "b", sample=150, tsne=tsne)
        np.testing.assert_array_equal(found.embedding, wanted.embedding)

    def test_files_are_reopened_and_closed(self, tmp_path):
        import h5py

        from tsne_ooc.io import open_hdf5

        X = counts(64, 6)
        with h5py.File(tmp_path / "X.h5", "w") as file:
            file["X"] = X
        with PreparedSource(open_hdf5(tmp_path / "X.h5"), Preparation(ALL).fit(X)) as source:
            again = pickle.loads(pickle.dumps(source))
            np.testing.assert_array_equal(again.read(0, 64), source.read(0, 64))
            again.close()
        with pytest.raises(ValueError, match="closed"):
            source.read(0, 1)

    def test_it_is_known_again(self, tmp_path):
        from tsne_ooc.io import differences, identity_of

        X = counts(64, 6)
        np.save(tmp_path / "X.npy", X)

        def identity(rows, steps):
            return identity_of(PreparedSource(tmp_path / "X.npy", Preparation(steps).fit(rows)))

        first = identity(X, ALL)
        assert first["path"].endswith("X.npy") and differences(first, identity(X, ALL)) == []
        assert any("identity it gives itself" in line for line in differences(first, identity(X, [*ALL, PCA(3)])))
        assert differences(first, identity(X[:50], ALL)) == ["contents of the rows looked at have changed"]
        np.save(tmp_path / "X.npy", X + 1)
        assert "contents of the rows looked at have changed" in differences(first, identity(X, ALL))

    def test_wide_tables_are_read_in_blocks(self):
        class Wide(Chunked):
            most = 0

            def __getitem__(self, rows):
                Wide.most = max(Wide.most, rows.stop - rows.start)
                return np.broadcast_to(np.float32(1), (rows.stop - rows.start, self.shape[1]))

        table = Wide(np.broadcast_to(np.float32(1), (20_000, 3000)), 100)
        preparation = Preparation([Transformer(_FirstColumn())]).fit(np.ones((3, 3000)))
        assert PreparedSource(table, preparation).read(0, 20_000).shape == (20_000, 1)
        assert Wide.most * 3000 * 4 <= 32 << 20


class _FirstColumn:
    def transform(self, X):
        return X[:, :1]


def test_options_of_the_command_line():
    assert preparation_from_options() is None
    preparation = preparation_from_options("robust", True, 1e4, 50, ["kind"])
    assert preparation.steps == (OneHot(["kind"]), Normalize(1e4), Log1p(), Standardize(robust=True), PCA(50))
    assert preparation_from_options(standardize="standard").steps == (Standardize(),)
    with pytest.raises(ValueError, match="did you mean 'standard'"):
        preparation_from_options(standardize="standart")
    with pytest.raises(ValueError, match="pca=0"):
        preparation_from_options(pca=0)


def test_progress_counts_rows():
    seen = []
    Preparation([Standardize()]).fit(Chunked(counts(50, 2), 10), lambda *args: seen.append(args))
    assert seen[-1] == ("prepare", 50, 50) and [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


class Named:
    """A source of named columns, as Parquet gives them."""

    chunks = None
    dtype = np.dtype(object)

    def __init__(self, columns):
        self.columns = columns
        self.column_names = list(columns)
        self.shape = (len(columns[self.column_names[0]]), len(columns))

    def read_columns(self, start, stop):
        return {name: column[start:stop] for name, column in self.columns.items()}

    def read(self, start, stop):
        raise AssertionError("text is no table")

    def reopen(self):
        return self


class TestOneHot:
    def table(self, n=200):
        rng = np.random.default_rng(0)
        return {
            "size": rng.normal(size=n) * 100,
            "proto": np.array(["udp", "tcp", "icmp"], object)[rng.integers(0, 3, n)],
            "port": rng.integers(1, 5, n) * 10,
            "time": rng.normal(size=n),
        }

    def slow(self, table):
        columns = []
        for name, values in table.items():
            if name in ("proto", "port"):
                columns += [values == category for category in sorted(set(values.tolist()))]
            else:
                columns.append(values)
        return np.stack(columns, axis=1).astype(np.float64)

    def test_categories_stand_in_place_of_their_column(self):
        table = self.table()
        preparation = Preparation([OneHot(["proto", "port"])]).fit(Named(table))
        assert preparation.passes == 1 and preparation.n_features_in == 4 and preparation.n_features_out == 9
        names = ["size", "proto=icmp", "proto=tcp", "proto=udp", *(f"port={i}0" for i in range(1, 5)), "time"]
        assert preparation.encoding.feature_names == names
        np.testing.assert_array_equal(preparation.transform(table), self.slow(table).astype(np.float32))

    def test_later_steps_see_numbers(self):
        table = self.table()
        preparation = Preparation([OneHot(["proto", "port"]), Standardize(), PCA(3)]).fit(Named(table))
        assert preparation.passes == 2
        source = PreparedSource(Named(table), preparation)
        assert off(source.read(0, 200), slow(self.slow(table), scale="standard", n=3)) < 2 * FLOAT32
        np.testing.assert_array_equal(source.read(20, 50), source.read(0, 200)[20:50])
        again = Preparation.from_state(*preparation.state())
        np.testing.assert_array_equal(PreparedSource(Named(table), again).read(0, 200), source.read(0, 200))

    @pytest.mark.parametrize("kind", ["U", "S", "O"])
    def test_unseen_and_missing_categories_are_zeros(self, kind):
        fit = {"a": np.array(["x", "y", "x"]).astype(kind)}
        later = {"a": np.array(["y", "new", "x", "zz"]).astype(kind)}
        preparation = Preparation([OneHot("a")]).fit(Named(fit))
        with pytest.warns(UserWarning, match="column 'a' has categories"):
            Y = preparation.transform(later)
        np.testing.assert_array_equal(Y, [[0, 1], [0, 0], [1, 0], [0, 0]])
        assert preparation.unseen == {"a": 2}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            preparation.transform({"a": np.array(["y", None, np.nan], object)})
        assert preparation.unseen == {"a": 2}

    def test_tables_whose_columns_have_names(self, tmp_path):
        import h5py
        import pandas as pd

        from tsne_ooc.io import open_source

        table = self.table()
        wanted = Preparation([OneHot(["proto", "port"])]).fit(Named(table)).transform(table)
        frame = pd.DataFrame(table)
        preparation = Preparation([OneHot(["proto", "port"])]).fit(frame)
        np.testing.assert_array_equal(PreparedSource(frame, preparation).read(0, 200), wanted)
        np.testing.assert_array_equal(preparation.transform(frame), wanted)
        kinds = [("size", "f8"), ("proto", h5py.string_dtype()), ("port", "i8"), ("time", "f8")]
        with h5py.File(tmp_path / "table.h5", "w") as file:
            file["rows"] = np.array(list(zip(*table.values(), strict=True)), kinds)
        with open_source(tmp_path / "table.h5", columns="*") as source:
            preparation = Preparation([OneHot(["proto", "port"])]).fit(source)
            np.testing.assert_array_equal(PreparedSource(source, preparation).read(0, 200), wanted)
        pytest.importorskip("pyarrow")
        frame.to_parquet(tmp_path / "table.parquet", row_group_size=60)
        with open_source(tmp_path / "table.parquet", columns="*") as source:
            preparation = Preparation([OneHot(["proto", "port"])]).fit(source)
            np.testing.assert_array_equal(PreparedSource(source, preparation).read(0, 200), wanted)
        with (
            open_source(tmp_path / "table.h5") as source,
            pytest.raises(ValueError, match=r"onehot='proto'.*opened with columns='\*'"),
        ):
            Preparation([OneHot(["proto"])]).fit(source)

    def test_what_cannot_be_coded(self):
        table = self.table()
        with pytest.raises(ValueError, match="did you mean 'proto'"):
            Preparation([OneHot(["prot"])]).fit(Named(table))
        with pytest.raises(TypeError, match="columns with names"):
            Preparation([OneHot(["a"])]).fit(np.ones((3, 2)))
        with pytest.raises(ValueError, match="column 'size' has more than 1000 categories"):
            Preparation([OneHot(["size"])]).fit(Named(self.table(2000)))
        with pytest.raises(ValueError, match="column 'proto' holds no numbers"):
            Preparation([OneHot(["port"]), Standardize()]).fit(Named(table))
        preparation = Preparation([OneHot(["proto"])]).fit(Named(table))
        with pytest.raises(ValueError, match="lacks the column 'time'"):
            preparation.transform({name: table[name] for name in ("size", "proto", "port")})
        table["size"][7] = np.nan
        with pytest.raises(ValueError, match="column 'size' holds nan in row 7"):
            PreparedSource(Named(table), preparation).read(5, 10)
        with pytest.raises(ValueError, match="twice"):
            OneHot(["a", "a"])
        with pytest.raises(TypeError, match="at least one"):
            OneHot([])


# ---------------------------------------------------------------------------------------- and back again


@pytest.mark.parametrize(
    "steps", [[], [Standardize(robust=True)], [Log1p(), Standardize(), PCA(6)], [PCA(6), Standardize()]]
)
def test_steps_are_undone(steps):
    X = np.column_stack([counts(300, 5), np.full(300, 3.5, np.float32)])
    preparation = Preparation(steps).fit(X)
    rows = preparation.transform(X)
    back = preparation.undo(rows)
    assert back.dtype == np.float32 and off(back, X) < 1e-5
    for a, b in [(0, 1), (5, 12), (12, 300)]:
        assert (preparation.undo(rows[a:b]) == back[a:b]).all()


def test_steps_are_undone_in_double_precision():
    """A number near 0 in a column far from it: in single precision it would come back with two digits."""
    X = np.random.default_rng(0).normal(1e4, 1e3, (300, 3))
    X[::7] = np.random.default_rng(1).uniform(0.01, 0.02, (43, 3))
    preparation = Preparation([Standardize()]).fit(X)
    back = preparation.undo((X - X.mean(axis=0)) / X.std(axis=0))
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, X, rtol=1e-6)


def test_what_is_lost_is_the_least_there_is():
    from sklearn.decomposition import PCA as Peer

    X = counts(300, 6)
    preparation = Preparation([PCA(2)]).fit(X)
    peer = Peer(2).fit(X.astype(np.float64))
    wanted = peer.inverse_transform(peer.transform(X.astype(np.float64)))
    assert off(preparation.undo(preparation.transform(X)), wanted) < 1e-5
    found = Preparation([Normalize(10), Log1p()]).fit(X)
    np.testing.assert_allclose(found.undo(found.transform(X)), slow(X, total=10), rtol=1e-5)
    # A logarithm below that of no counts.
    assert not Preparation([Log1p()]).fit(X).undo(np.full((2, 6), -0.3)).any()


def test_what_cannot_be_undone_is_named():
    X = counts(50, 4)
    with pytest.raises(ValueError, match=r"^Transformer.*cannot be undone; ask for prepared rows"):
        Preparation([Transformer(FunctionTransformer(np.sqrt))]).fit(X).undo(X)
    with pytest.raises(ValueError, match=r"^X has 4 columns, and .* gives 2"):
        Preparation([PCA(2)]).fit(X).undo(X)
    with pytest.raises(ValueError, match="is not fitted"):
        Preparation([PCA(2)]).undo(X)
