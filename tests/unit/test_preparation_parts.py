"""Parts of a preparation by themselves: what they hand on, what they look at, and rare columns by slow twins."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from tsne_ooc._parallel import Threads
from tsne_ooc.io import as_source
from tsne_ooc.io.lacking import Lacking
from tsne_ooc.preprocess import PCA, Log1p, OneHot, Preparation, PreparedSource, Standardize, Transformer
from tsne_ooc.preprocess import missing as missing_module
from tsne_ooc.preprocess import pca as pca_module
from tsne_ooc.preprocess import rows as rows_module
from tsne_ooc.preprocess import shift as shift_module
from tsne_ooc.preprocess import source as source_module
from tsne_ooc.preprocess.missing import NEIGHBORS, Missing
from tsne_ooc.preprocess.rows import Passes
from tsne_ooc.preprocess.shift import Precision, Shift, look_at
from tsne_ooc.preprocess.standardize import _quartiles
from tsne_ooc.preprocess.statistics import Statistics

nan = np.nan


def rows(n=40, p=4, seed=0):
    return np.random.default_rng(seed).gamma(2, 3, (n, p))


# -------------------------------------------------------------------------------------------------------- prepared rows


class Bare:
    """A table that says no more of itself than it must."""

    dtype, chunks = np.dtype(np.float64), None

    def __init__(self, X):
        self.X, self.shape = X, X.shape

    def read(self, start, stop):
        return self.X[start:stop]

    def reopen(self):
        return type(self)(self.X)


class Told(Bare):
    """A table that says all there is to say of itself."""

    chunks, name, column_names = (7, 3), "the table", ("a", "b", "c", "d")
    path, opened_here, stored = Path("elsewhere") / "table", True, ("one file", "another")
    closed = 0

    def identity(self):
        return {"version": 3}

    def close(self):
        self.closed += 1


def test_prepared_rows_tell_of_their_table_what_it_tells_of_itself():
    table = Told(rows())
    prepared = PreparedSource(table, Preparation([Standardize(), PCA(2)]).fit(table), n_jobs=2)
    assert (prepared.shape, prepared.chunks, prepared.row_bytes) == ((40, 2), (7, 2), 32)
    assert (prepared.path, prepared.opened_here, prepared.stored) == (table.path, True, table.stored)
    identity = prepared.identity()
    assert identity.keys() == {"preparation", "table", "columns", "own"}
    assert (identity["table"], identity["columns"]) == ("the table", ["a", "b", "c", "d"])
    assert identity["own"] == {"version": 3}
    with prepared as entered:
        assert entered is prepared and not table.closed
    assert table.closed == 1


def test_prepared_rows_of_a_table_that_tells_nothing():
    table = Bare(rows())
    prepared = PreparedSource(table, Preparation([Log1p()]).fit(table))
    assert prepared.chunks is prepared.path is prepared.stored is None and prepared.opened_here is False
    identity = prepared.identity()
    assert identity["table"] is identity["columns"] is identity["own"] is None
    # There is nothing to close.
    with prepared:
        pass


def test_steps_are_asked_once_who_they_are(monkeypatch):
    """Also for all handles of a table: a user's own transformer may change while it works."""
    asked = []
    monkeypatch.setattr(source_module, "plain", lambda value: asked.append(value) or len(asked))
    table = Bare(rows())
    prepared = PreparedSource(table, Preparation([Log1p()]).fit(table), n_jobs=3)
    first = prepared.identity()
    again = prepared.reopen()
    assert first == prepared.identity() == again.identity() == again.reopen().identity() and len(asked) == 2
    assert again.source is not table and again._n_jobs == 3


def test_prepared_rows_are_read_in_double_precision_and_their_errors_name_the_row_of_the_table():
    X = 1e9 + np.arange(40.0)[:, None] / [8, 16]
    found = PreparedSource(Bare(X), Preparation([Standardize()]).fit(X)).read(5, 39)
    np.testing.assert_allclose(found, ((X - X.mean(axis=0)) / X.std(axis=0))[5:39], rtol=1e-6)
    counts = rows()
    prepared = PreparedSource(Bare(counts), Preparation([Log1p()]).fit(counts))
    counts[33, 1] = -2
    with pytest.raises(ValueError, match=r"row 33, column 1 is -2$"):
        prepared.read(30, 40)


# ------------------------------------------------------------------------------------------------------- rows and tiles


@pytest.mark.parametrize(("n", "p"), [(500, 7), (10**6, 1), (10**6, 335), (10**6, 336), (10**6, 1000), (10**6, 10**6)])
def test_a_sample_is_of_a_hundred_thousand_rows_or_256_mib(n, p):
    passes = Passes(SimpleNamespace(shape=(n, p)), (), 3, Threads(1), None)
    drawn = passes.sample_rows()
    assert len(drawn) == min(n, 100_000, max(1000, (256 << 20) // (8 * p)))
    assert (np.diff(drawn) > 0).all() and drawn[0] >= 0 and drawn[-1] < n


def test_a_tile_takes_no_more_room_than_its_rows(monkeypatch):
    monkeypatch.setattr(rows_module, "_TILE", 1 << 7)
    for n, most in ((5, 5), (1000, 32)):
        tiles = Passes(Bare(rows(n)), (), 0, Threads(1), lambda: lambda *at: None).tiles()
        assert {len(tile.base) for _, tile in tiles} == {most}


class First:
    """A transformer that needs no fit."""

    def transform(self, X):
        return X[:, :1]


@pytest.mark.parametrize("last", [Standardize(), Transformer(First())], ids=["all", "the first"])
def test_rows_behind_dropped_ones_keep_their_numbers_in_a_fit(last):
    """Whether it takes all rows or looks at the first ones only."""
    X = rows()
    X[:3, 2] = nan
    X[9, 1] = -1
    steps = Preparation([Missing("drop"), Log1p(), last])
    with pytest.raises(ValueError, match=r"row 9, column 1 is -1$"):
        steps.fit(X)
    X[9, 1] = 1
    steps.fit(X)
    X[9, 1] = -1
    with pytest.raises(ValueError, match=r"row 1009, column 1 is -1$"):
        steps.transform(X, first_row=1000)


def test_a_transformer_is_tried_on_the_first_rows_that_are_kept(monkeypatch):
    """Of however many blocks, and named by their numbers in the table where they cannot be."""
    monkeypatch.setattr(rows_module, "iterate", partial(rows_module.iterate, rows=100))
    seen = []

    class Notes(First):
        def transform(self, X):
            seen.append(X.copy())
            return X[:, :1]

        def __deepcopy__(self, memo):
            return self

    X = rows(1100)
    X[:50, 2] = X[500, 1] = nan
    Preparation([Missing("drop"), Transformer(Notes())]).fit(X)
    (tried,) = seen
    np.testing.assert_array_equal(tried, X[~np.isnan(X).any(axis=1)][: len(tried)])
    assert len(tried) == 1024
    X = rows(1100)
    X[700, 1] = -1
    with pytest.raises(ValueError, match=r"row 700, column 1 is -1$"):
        Preparation([Log1p(), Transformer(First())]).fit(X)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_nothing_is_fitted_on_nothing(shape):
    with pytest.raises(ValueError, match=r"holds nothing to fit a preparation on$"):
        Preparation([Log1p()]).fit(Bare(np.empty(shape)))


def test_numbers_beyond_single_precision_are_told_on_the_way_back_too():
    X = rows(30, 3) * [1, 1e30, 1]
    preparation = Preparation([Standardize()]).fit(X)
    Z = np.zeros((5, 3))
    Z[2, 1] = 1e12
    with pytest.raises(ValueError, match=r"^the table of undone rows contains infinity .*row 2, column 1"):
        preparation.undo(Z)


# ------------------------------------------------------------------------------------------------------ missing values


def test_what_is_missing_has_the_same_bits_in_every_cell():
    X = rows().astype(np.float64)
    X.view(np.uint64)[[1, 2, 3], [0, 1, 2]] = [0x7FF8000000000000, 0xFFF8000000000000, 0x7FFC000000000000]
    assert np.isnan(X).sum() == 3
    found = Preparation([Missing("keep")]).fit(X).transform(X)
    assert set(found[np.isnan(found)].view(np.uint32).tolist()) == {int(np.float32(nan).view(np.uint32))}


@pytest.mark.parametrize("most", [1000, 15])
def test_nearest_rows_are_near_in_deviations_of_each_column(most, monkeypatch):
    """Columns of any unit, of one value, and one far from 0; also where the rows that are kept are not like all."""
    monkeypatch.setattr(missing_module, "DONORS", most)
    rng = np.random.default_rng(3)
    X = rng.normal(size=(60, 5)) * [1, 1e6, 1e-3, 0, 2] + [0, 3e6, 5, 7, -40]
    X[::7, :2] *= 5
    gaps = rng.random(X.shape) < 0.2
    # By a column of one value alone all rows would be equally near.
    gaps[:, 4] = False
    X[gaps] = nan
    preparation = Preparation([Missing("neighbors")]).fit(X)
    found, donors = preparation.transform(X), preparation.fitted[0].donors
    assert len(donors) == min(60, most)
    scale = np.nanstd(donors, axis=0)
    scale[scale == 0] = 1
    for i, j in zip(*np.nonzero(gaps), strict=True):
        both = ~np.isnan(donors) & ~gaps[i]
        distance = np.square(np.where(both, (donors - X[i]) / scale, 0)).sum(axis=1) / both.sum(axis=1)
        distance[np.isnan(donors[:, j])] = nan
        near = np.argsort(distance)[:NEIGHBORS]
        assert found[i, j] == pytest.approx(donors[near, j].mean(), rel=1e-6), (i, j)


def test_what_is_missing_behind_categories_is_filled_in_as_it_is_read():
    frame = pd.DataFrame({"kind": ["a", "b"] * 20, "size": rows()[:, 0]})
    frame.loc[3, "size"] = nan
    preparation = Preparation([OneHot("kind"), Missing("mean")]).fit(frame)
    prepared = PreparedSource(frame, preparation)
    for found in (prepared.read(0, 40), prepared.reopen().read(0, 40), preparation.transform(frame)):
        np.testing.assert_array_equal(found[:, :2], [[1, 0], [0, 1]] * 20)
        np.testing.assert_array_equal(found[:, 2], frame["size"].fillna(frame["size"].mean()).astype("f4"))


def test_a_state_of_one_column_and_one_of_other_columns():
    X = rows(30, 1)
    for steps in ([Standardize()], [PCA(1)], [Missing("mean")], [Log1p()], []):
        fitted = Preparation(steps).fit(X)
        again = Preparation.from_state(*fitted.state())
        np.testing.assert_array_equal(again.transform(X), fitted.transform(X))
    numbers, arrays = Preparation([OneHot("kind")]).fit(pd.DataFrame({"kind": ["a", "b"], "x": [1.0, 2]})).state()
    with pytest.raises(ValueError, match=r"^the state of a preparation names 2 columns, not 3$"):
        Preparation.from_state(numbers | {"n_features_in": 3}, arrays)


# ---------------------------------------------------------------------------------------------------- scales, variances


def test_quartiles_are_of_the_values_that_a_column_has():
    sample = rows(50, 4)
    np.testing.assert_allclose(_quartiles(sample), np.quantile(sample, [0.25, 0.5, 0.75], axis=0))
    sample[np.random.default_rng(1).random(sample.shape) < 0.3] = nan
    sample[:, 2] = nan
    found = _quartiles(sample)
    for j in (0, 1, 3):
        there = sample[~np.isnan(sample[:, j]), j]
        np.testing.assert_allclose(found[:, j], np.quantile(there, [0.25, 0.5, 0.75]))
    assert np.isnan(found[:, 2]).all()


def test_what_a_robust_scale_falls_back_on():
    """Of an ordinary column, one whose quartiles coincide, one whose sample has no value, and two without variation."""
    sample = np.stack([np.arange(101.0), np.repeat([2.0, 9.0], [100, 1]), *np.full((3, 101), nan)], axis=1)
    sample[:, 3], sample[:, 4] = 5, 1e-200 * np.arange(101)
    mean, variance = np.array([1.0, 2, 3, 5, 0]), np.array([4.0, 9, 16, 0, 0])
    statistics = Statistics(500, mean, variance, np.array([0, 0, 0, 1, 0], bool), None, sample)
    fitted = Standardize(robust=True).fit(None, statistics)
    np.testing.assert_allclose(fitted.centre[:4], [50, 2, 3, 5])
    np.testing.assert_allclose(fitted.scale[:4], [50 / 1.3489795, 3, 4, 1], rtol=1e-6)
    assert fitted.constant.tolist()[:4] == [False, False, False, True]
    plain = Standardize().fit(None, statistics)
    assert plain.centre.tolist() == mean.tolist() and plain.scale.tolist() == [2, 3, 4, 1, 1]
    assert plain.constant.tolist() == [False, False, False, True, True]


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 12])
def test_the_variance_of_components_is_that_of_a_sample(n, wide, monkeypatch):
    monkeypatch.setattr(pca_module, "EXACT_UP_TO", 4 - wide)
    X = rows(n, 4)
    preparation = Preparation([PCA(min(n, 3))]).fit(X)
    # Exactly at the limit the covariance is formed yet.
    assert preparation.passes == (3 if wide else 1)
    scores = (X - X.mean(axis=0)) @ preparation.fitted[0].axes
    found = preparation.fitted[0]
    np.testing.assert_allclose(found.explained_variance, scores.var(axis=0) * n / max(1, n - 1), rtol=1e-6, atol=1e-9)
    whole = X.var(axis=0).sum()
    wanted = scores.var(axis=0) / whole if n > 1 else np.zeros(1)
    np.testing.assert_allclose(found.explained_variance_ratio, wanted, rtol=1e-6, atol=1e-9)


def test_shares_of_small_variances_are_shares_all_the_same():
    X = rows(30, 4) * 1e-3
    found = Preparation([PCA(4)]).fit(X).fitted[0]
    assert found.explained_variance_ratio.sum() == pytest.approx(1) and (found.explained_variance_ratio > 0).all()


# --------------------------------------------------------------------------------------------------- columns far from 0


@pytest.mark.parametrize(
    ("known", "kept", "saved", "helped", "lost", "lost_still"),
    [
        (100, 95, 100, False, False, False),
        (100, 89, 100, True, False, False),
        (100, 80, 89, False, False, False),
        (100, 80, 95, True, False, False),
        (100, 50, 50, False, False, False),
        (100, 49, 49, False, True, True),
        (100, 10, 95, True, True, False),
        (100, 10, 45, True, True, True),
        (100, 10, 15, False, True, True),
    ],
)
def test_columns_that_a_shift_helps_and_those_that_lose_most_of_their_values(
    known, kept, saved, helped, lost, lost_still
):
    """A tenth has to be lost, and a tenth won back; more than a half is said."""
    look = Precision(np.array([known, 1]), np.array([kept, 1]), np.array([saved, 1]), np.zeros(2))
    assert look.helped.tolist() == [helped, False]
    assert look.lost(False).tolist() == [0] * lost and look.lost(True).tolist() == [0] * lost_still


def test_each_column_is_looked_at_by_itself():
    """However odd the columns beside it are, and whatever their signs."""
    k = np.arange(128)
    columns = {
        "small numbers": (np.random.default_rng(0).normal(size=128), 128, False),
        "few negative fractions": (-0.1 * (k % 3 + 1), 3, False),
        "whole numbers": (2.0**40 + k % 7, 7, True),
        # Here a step of rounding errors would be as long as many whole ones.
        "large whole numbers": (2.0**50 + k % 7, 7, True),
        "negative whole numbers": (-(2.0**40) - k % 7, 7, True),
        "fractions far away": (1e9 + k / 8, 128, True),
        "negative fractions far away": (-1e9 - k / 8, 128, True),
        "far away on both sides": (np.where(k % 2, 1e12, -1e12) + k / 8, 128, False),
        "one value in two ways": (np.where(k % 2, 0.1 + 0.2, 0.3), 1, False),
        "with gaps": (np.where(k % 4, 1e9 + k / 8, nan), 96, True),
        "without a value": (np.full(128, nan), 1, False),
        "whole numbers of single precision": (k % 11, 1, False),
    }
    X = np.stack([column for column, _, _ in columns.values()], axis=1)
    look = look_at(Lacking(as_source(X)))
    assert dict(zip(columns, look.known.tolist(), strict=True)) == {
        name: known for name, (_, known, _) in columns.items()
    }
    assert dict(zip(columns, look.helped.tolist(), strict=True)) == {name: far for name, (_, _, far) in columns.items()}
    for j, (name, (column, known, helped)) in enumerate(columns.items()):
        alone = look_at(Lacking(as_source(column[:, None].astype(np.float64))))
        if alone is not None:
            assert (alone.known[0], alone.kept[0], alone.saved[0]) == (look.known[j], look.kept[j], look.saved[j]), name
            assert alone.centre[0] == look.centre[j]
        merged = look.kept[j] < 0.9 * known
        # What is subtracted is a number of single precision, from the midst of a column that would lose values.
        assert look.centre[j] == (np.float32(np.nanmedian(column)) if merged else 0), name
        assert look.saved[j] == known if helped else True


@pytest.mark.parametrize("n", [1, 2, 127, 128, 129, 5000])
def test_few_rows_are_looked_at_evenly_from_the_first_to_the_last(n, monkeypatch):
    looked = []
    take = shift_module.take
    monkeypatch.setattr(shift_module, "take", lambda table, at, **more: looked.append(at) or take(table, at, **more))
    look_at(rows(n))
    (at,) = looked
    assert len(at) == min(n, 128) and at[0] == 0 and at[-1] == n - 1
    assert n < 3 or np.ptp(np.diff(at)) <= 1


def test_a_shift_tells_how_many_columns_it_moves_and_not_by_how_much():
    shift = Shift(np.array([0.0, 1e9, -3e9]))
    assert repr(shift) == "Shift()"
    X = rows(50, 3) + shift.offset
    preparation = Preparation([shift, Standardize(), PCA(2)]).fit(X)
    # Nothing behind it needs a pass of its own.
    assert preparation.passes == 1
    numbers, arrays = preparation.fitted[0].state()
    assert numbers == {"columns": 2} and arrays["offset"].tolist() == shift.offset.tolist()
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    np.testing.assert_allclose(
        preparation.transform(X).std(axis=0), np.sqrt(np.linalg.eigvalsh(Z.T @ Z / 50)[:0:-1]), rtol=1e-5
    )
    behind = Preparation([Standardize(), Shift(np.array([1.0, 0, 2])), PCA(2)]).fit(X)
    assert behind.passes == 1
    np.testing.assert_allclose(behind.transform(X), preparation.transform(X), rtol=1e-4, atol=1e-5)


# --------------------------------------------------------------------------------------------------------- transformers


class Learns:
    """Keeps what it learns from; it looks like an estimator, and is of none of scikit-learn's classes."""

    def __init__(self, plain=1):
        self.plain = plain

    def get_params(self, deep=True):
        return {"plain": self.plain}

    def set_params(self, **parameters):
        self.__dict__.update(parameters)
        return self

    def fit(self, X):
        self.seen_ = [X.copy()]
        return self

    def transform(self, X):
        return X[:, :1]


class LearnsByParts(Learns):
    def partial_fit(self, X):
        self.seen_ = [*getattr(self, "seen_", []), X.copy()]
        return self


@pytest.mark.parametrize("n", [1, 31, 32, 33, 64, 65, 96, 100])
def test_parts_that_are_learnt_from_are_all_rows_in_order_and_none_is_short(n, monkeypatch):
    """Tiles of 32 rows, of which the last one is joined to the one before where it is shorter."""
    monkeypatch.setattr(rows_module, "_TILE", 1 << 6)
    X = rows(n, 2)
    fitted = Preparation([Transformer(LearnsByParts())]).fit(X).fitted[0]
    assert fitted.how == f"on all {n} rows"
    np.testing.assert_array_equal(np.concatenate(fitted.transformer.seen_), X)
    heights = [len(part) for part in fitted.transformer.seen_]
    assert heights == [n] if n < 64 else heights[:-1] == [32] * (n // 32 - 1) and 32 <= heights[-1] < 64


def test_what_is_fitted_is_told_by_what_it_has_learnt():
    X = rows()
    fresh, done, private = Learns(), Learns().fit(X), Learns()
    private.__dict__["__mine_"] = 1
    for given, how in ((fresh, "on 40 of 40 rows"), (done, "as it was given"), (private, "on 40 of 40 rows")):
        assert Preparation([Transformer(given)]).fit(X).fitted[0].how == how
    assert not hasattr(fresh, "seen_")


@pytest.mark.parametrize("kind", [TypeError, NotImplementedError])
def test_what_cannot_be_copied_is_used_itself(kind):
    class Single(First):
        def __deepcopy__(self, memo):
            raise kind("there is one of these")

    one = Single()
    preparation = Preparation([Transformer(one)]).fit(rows())
    assert preparation.fitted[0].transformer is one


class Gives:
    """A transformer that gives what it is told to."""

    def __init__(self, give):
        self.give = give

    def transform(self, X):
        return self.give(X)

    def __repr__(self):
        return "Gives()"


def test_results_of_any_kind_are_rows():
    X = rows(30, 3)
    for give in (sparse.csr_matrix, lambda X: X.tolist(), np.asfortranarray, lambda X: X.astype(np.float32)):
        found = Preparation([Transformer(Gives(give))]).fit(X).transform(X)
        np.testing.assert_array_equal(found, X.astype(np.float32))
    for give, shape in (
        (lambda X: X[:, 0], "(1024,)"),
        (lambda X: X[:, :, None], "(1024, 3, 1)"),
        (lambda X: X[1:], "(1023, 3)"),
    ):
        with pytest.raises(ValueError) as told:
            Preparation([Transformer(Gives(give))]).fit(X)
        assert str(told.value) == f"Gives() gives shape {shape} for 1024 rows; a row for each row is needed"


@pytest.mark.parametrize("steps", [list(steps) for k in (1, 2, 3) for steps in itertools.permutations("slp", k)])
def test_passes_are_as_few_as_steps_allow_and_each_step_sees_the_rows_before_it(steps):
    """Against each step fitted by itself on what the steps before it give."""
    made = {"s": Standardize(), "l": Log1p(), "p": PCA(2)}
    X = rows(60, 3)
    Z, passes, known = X, 0, False
    for name in steps:
        alone = Preparation([made[name]])
        # Logarithms need values of at least 0.
        if name == "l" and (Z < 0).any():
            with pytest.raises(ValueError, match="log1p takes counts"):
                Preparation([made[step] for step in steps]).fit(X).transform(X)
            return
        alone.fit(Z)
        passes += name != "l" and not known
        # Behind a scale they follow from those before it; behind all else they take a pass.
        known = name == "s"
        Z = rows_of(alone, Z)
    found = Preparation([made[name] for name in steps]).fit(X)
    assert found.passes == passes
    np.testing.assert_allclose(found.transform(X), Z, rtol=1e-4, atol=1e-5)


def rows_of(preparation, X):
    """Prepared rows before they are rounded."""
    out = np.empty((len(X), preparation.n_features_out))
    rows_module.apply(preparation.fitted, X, 0, Threads(1), out)
    return out


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_values_that_differ_by_the_noise_of_a_computation_are_one(size):
    """The last digits of what was computed in double precision mean nothing, however large the numbers are."""
    steps = np.arange(60.0)[:, None]
    noise = size * (1 + steps * 2.0**-52)
    apart = size * (1 + steps * 2.0**-40)
    look = look_at(np.hstack([noise, apart]))
    assert look.known.tolist() == [1, 60]
