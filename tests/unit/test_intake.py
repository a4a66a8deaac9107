"""What a fit takes from a table: options that are given twice, samples of one's own, names, and columns far from 0."""

from __future__ import annotations

import inspect
import logging
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from tsne_ooc import TSNE
from tsne_ooc.intake import (
    Features,
    Prepared,
    check_no_row_dropped,
    check_prepare,
    drawn,
    prepared,
    take_in,
    taken_over,
    with_gaps_kept,
)
from tsne_ooc.intake.taking import SHIFT_FREE, _warn_of, as_table, check_gaps, offset_of, shift_of, unchangeable
from tsne_ooc.io import open_source
from tsne_ooc.preprocess import Log1p, Missing, Preparation, PreparedSource, Standardize
from tsne_ooc.preprocess.shift import Precision
from tsne_ooc.sampling import UniformSample
from tsne_ooc.sampling.base import Sample
from tsne_ooc.storage.state import Saved, StateError

FAR = 1.7e9


class Model:
    """An estimator of these parameters."""

    def __init__(self, **parameters):
        self.parameters = parameters

    def get_params(self, deep=True):
        return dict(self.parameters)

    def set_params(self, **parameters):
        self.parameters.update(parameters)


@pytest.mark.parametrize(
    "name, one, same, other",
    [
        ("sample", 100, UniformSample(100), 101),
        ("sample", UniformSample(100), 100, UniformSample(99)),
        ("prepare", Preparation([Log1p()]), Preparation([Log1p()]), Preparation([Standardize()])),
    ],
)
def test_an_option_is_given_in_one_place_or_alike_in_both(name, one, same, other):
    """The estimator has none of it afterwards, so that it is not done twice."""
    for own, given, wanted in (
        (None, None, None),
        (None, one, one),
        (one, None, one),
        (one, one, one),
        (one, same, one),
    ):
        model = Model(**{name: own, "k": 1})
        assert taken_over(model, name, given) is wanted
        assert model.parameters == {name: None, "k": 1}
    assert taken_over(Model(), name, one) is one
    for whose in ("tsne", "teacher"):
        with pytest.raises(ValueError) as caught:
            taken_over(Model(**{name: one}), name, other, *([whose] if whose != "tsne" else []))
        assert str(caught.value) == (f"{name}={other!r} is given here, and {name}={one!r} to {whose}; pass one of them")


def test_a_preparation_is_one():
    check_prepare(None)
    check_prepare(Preparation([]))
    for wrong in ([Log1p()], Log1p(), "log1p", 0, False):
        with pytest.raises(TypeError) as caught:
            check_prepare(wrong)
        assert str(caught.value) == f"prepare={wrong!r} is not a tsne_ooc.preprocess.Preparation"


# Samples of one's own


@dataclass(frozen=True)
class Own(Sample):
    numbers: object

    def draw(self, source, rng, *, progress=None):
        return self.numbers, np.zeros((3, 2), np.float32)


@pytest.mark.parametrize(
    "numbers, words",
    [
        ([0, 4, 9], None),
        (np.array([0, 1, 2], np.uint8), None),
        ((7, 8, 9), None),
        ([0, 4], "drew 3 rows, and numbers of shape (2,), int64"),
        ([[0, 4, 9]], "drew 3 rows, and numbers of shape (1, 3), int64"),
        ([0.0, 4.0, 9.0], "drew 3 rows, and numbers of shape (3,), float64"),
        ([True, False, True], "drew 3 rows, and numbers of shape (3,), bool"),
        ([0, 4, 4], "drew row 4 after row 4; the rows of a sample ascend, each once"),
        ([0, 9, 4], "drew row 4 after row 9; the rows of a sample ascend, each once"),
        ([9, 0, 4], "drew row 0 after row 9; the rows of a sample ascend, each once"),
        ([0, 4, 10], "drew rows 0 to 10 of a table of 10"),
        ([-1, 4, 9], "drew rows -1 to 9 of a table of 10"),
    ],
)
def test_the_rows_of_a_sample_ascend_and_are_rows_of_the_table(numbers, words):
    ready, sample = Prepared(np.zeros((10, 2)), None, None, 2), Own(numbers)
    if words is None:
        found = drawn(ready, sample, seed=0).sample_rows
        assert found.tolist() == list(numbers) and found.dtype == np.int64
        return
    with pytest.raises(ValueError) as caught:
        drawn(ready, sample, seed=0)
    assert str(caught.value) == f"{sample!r} {words}"


def test_a_sample_tells_how_far_it_is():
    told = []

    class Telling(Own):
        def draw(self, source, rng, *, progress=None):
            progress("sample", 1, 2)
            return super().draw(source, rng)

    ready = Prepared(np.zeros((10, 2)), None, None, 2)
    drawn(ready, Telling([0, 4, 9]), seed=0, progress=lambda *of: told.append(of))
    assert told == [("sample", 1, 2)]
    drawn(ready, Telling([0, 4, 9]), seed=0)
    assert len(told) == 1


def test_a_sample_is_the_same_for_the_same_seed():
    ready = Prepared(np.arange(200.0).reshape(100, 2), None, ["a", "b"], 2)
    first, again, other = (drawn(ready, UniformSample(10), seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.sample_rows, again.sample_rows)
    assert first.sample_rows.tolist() != other.sample_rows.tolist()
    np.testing.assert_array_equal(first.rows, ready.table[first.sample_rows])
    assert (first.names, first.width, first.preparation) == (["a", "b"], 2, None)


# Values that may be missing


def test_values_stay_missing_for_one_metric_alone():
    keeping = Preparation([Missing("keep")])
    for metric in ("nan_euclidean", "euclidean", abs):
        if metric == "nan_euclidean":
            assert with_gaps_kept(None, metric).leaves_gaps and with_gaps_kept(keeping, metric).leaves_gaps
            assert with_gaps_kept(Preparation([Standardize()]), metric).leaves_gaps
            continue
        plain = Preparation([Missing("median")])
        assert with_gaps_kept(None, metric) is None and with_gaps_kept(plain, metric) is plain
        with pytest.raises(ValueError) as caught:
            with_gaps_kept(keeping, metric)
        assert str(caught.value) == (
            f"missing='keep' is for metric='nan_euclidean' alone, and metric={metric!r} needs all values; fill them in "
            "by Missing('median') (--missing median)"
        )


def test_a_row_without_any_value_is_named():
    X = np.array([[1.0, 2], [np.nan, 3], [np.nan, np.nan], [4, 5], [np.nan, np.nan]])
    ready = prepared(X, Preparation([Missing("keep")]), "nan_euclidean", seed=0, n_jobs=1)
    assert ready.table.shape == (3, 2) and ready.width == 2
    with pytest.raises(ValueError) as caught:
        check_no_row_dropped(ready, "rows are counted")
    assert str(caught.value) == (
        "row 2 has no value in any column, and rows are counted; leave such rows out of the table"
    )
    check_no_row_dropped(prepared(X[:2], None, "nan_euclidean", seed=0, n_jobs=1), "rows are counted")
    # A sample of what is left has the numbers of the whole table.
    found = drawn(ready, UniformSample(3), seed=0)
    assert found.sample_rows.tolist() == [0, 1, 3]
    np.testing.assert_array_equal(found.rows, X[[0, 1, 3]].astype(np.float32))


def test_a_sparse_graph_of_distances_is_not_streamed(tmp_path):
    """What it does not store would be read as 0."""
    graph = sp.csr_array(np.eye(4))
    check_gaps(graph)
    check_gaps(np.eye(4))
    with pytest.raises(ValueError, match=r"^a sparse graph of distances cannot be streamed, .* pass the CSR matrix to"):
        check_gaps(open_source(graph))
    with pytest.raises(ValueError, match="a sparse graph of distances cannot be streamed"):
        prepared(open_source(graph), None, "precomputed", seed=0, n_jobs=1)


# Tables in memory


def test_tables_in_memory_can_be_sliced():
    frame = pd.DataFrame({"a": [1.0, 2.0]})
    assert as_table(frame) is frame and sp.issparse(as_table(sp.coo_array(np.eye(3))))
    assert as_table(sp.csc_array(np.eye(3))).format == "csr"
    found = as_table([[1, 2], [3, 4]])
    assert type(found) is np.ndarray and found.tolist() == [[1, 2], [3, 4]]
    gaps = np.ma.masked_equal(np.array([[1.0, 2], [3, 4]]), 3)
    assert np.isnan(as_table(gaps, missing=True)).tolist() == [[False, False], [True, False]]
    for wrong in ([1.0, 2.0], np.zeros((2, 2, 2)), pd.DataFrame(index=[0, 1])):
        with pytest.raises(ValueError):
            as_table(wrong)


# Columns far from 0


def far(columns, n=60):
    """A column around 0, and others of sixty times a quarter of a second apart, long after 1970."""
    rng = np.random.default_rng(0)
    times = [FAR + rng.permutation(n) / 4 for _ in range(columns)]
    return np.column_stack([rng.normal(size=n), *times])


@pytest.mark.parametrize("columns, also", [
    (1, ""), (2, " (and too few of {2})"), (10, " (and too few of {2-10})"), (11, " (and too few of {2-10}, ...)"),
])  # fmt: skip
@pytest.mark.parametrize("names", [False, True])
def test_columns_that_float32_merges_are_named(columns, also, names):
    """Ten of them at most, where the metric does not allow a shift."""
    X = far(columns)
    called = [f"x{j}" for j in range(columns + 1)] if names else None
    words = [repr(called[j]) if names else str(j) for j in range(columns + 1)]
    also = also.replace("{2}", ", ".join(words[2:3])).replace("{2-10}", ", ".join(words[2:11]))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert offset_of(X, "cosine", called) is None
    (one,) = told
    values = len(np.unique(X[:, 1]))
    kept = len(np.unique(X[:, 1].astype(np.float32)))
    assert one.category is UserWarning and str(one.message) == (
        f"float32, which maps are computed in, keeps {kept} of {values} values of column {words[1]} apart{also}; "
        "subtract what its values have in common, such as their median, or use prepare=Preparation([Standardize()]) "
        "(--standardize)"
    )


def test_a_shift_moves_the_columns_that_it_helps_and_no_others(caplog):
    X = far(2)
    before = X.copy()
    with caplog.at_level(logging.INFO, logger="tsne_ooc.intake.taking"):
        offset = offset_of(X, "euclidean", None)
    assert offset[0] == 0 and (np.abs(offset[1:] - FAR) < 10).all()
    assert f"1 by {-offset[1]:g}, 2 by {-offset[2]:g}" in caplog.text and "2 columns are so far" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="tsne_ooc.intake.taking"):
        shift = shift_of(pd.DataFrame(X, columns=["a", "b", "c"]), "euclidean", ["a", "b", "c"])
    assert f"'b' by {-offset[1]:g}, 'c' by {-offset[2]:g}" in caplog.text
    np.testing.assert_array_equal(X, before)
    found = shift.transform(X)
    np.testing.assert_allclose(found, X - offset, rtol=1e-6, atol=1e-6)
    # Nobody can change it from outside.
    (step,) = shift.fitted
    for part in vars(step).values():
        assert not isinstance(part, np.ndarray) or not part.flags.writeable
    assert unchangeable(shift) is shift
    for table, metric in ((sp.csr_array(np.eye(4)), "euclidean"), (X, "precomputed"), (X[:, :1], "euclidean")):
        assert shift_of(table, metric) is None


# What a map knows about the columns of its table


def test_names_and_width_are_read_as_they_were_written():
    for names in (None, ("a", "b", "c")):
        features = Features(3, names)
        again = Features.restore(Saved({}, {}), Saved(features.facts(), {}, ("fitted",)), sparse=True)
        assert again == Features(3, names, None, False, True) and again.embedded == 3
        assert not again.drops and not again.gaps and features.state() == ({}, {})
    for facts, words in (
        ({"n_features_in": 3, "feature_names_in": ["a", "b"]}, "fitted names other columns than there are"),
        ({"n_features_in": 1, "feature_names_in": "a"}, "fitted names other columns than there are"),
        ({"n_features_in": 2, "feature_names_in": ["a", 1]}, "fitted has a column whose name is not a string"),
        ({"n_features_in": 0, "feature_names_in": None}, "fitted.n_features_in=0 is not a whole number from 1"),
    ):
        with pytest.raises(StateError) as caught:
            Features.restore(Saved({}, {}), Saved(facts, {}, ("fitted",)))
        assert str(caught.value).startswith(words)


def test_a_preparation_comes_back_with_the_columns():
    X = np.random.default_rng(0).normal(5, 3, (40, 3))
    frame = pd.DataFrame(X, columns=list("abc"))
    taken = prepared(frame, Preparation([Standardize()]), "euclidean", seed=0, n_jobs=1)
    features = Features.of(taken, sparse=True)
    assert (features.width, features.names, features.sparse, features.distances) == (3, ("a", "b", "c"), True, False)
    content, arrays = features.state()
    again = Features.restore(Saved(content, arrays), Saved(features.facts(), {}))
    np.testing.assert_array_equal(again.rows(frame, "TSNE", 1), features.rows(frame, "TSNE", 1))


@pytest.mark.parametrize(
    "fitted, given, words",
    [
        (None, None, None), (("a", "b"), ["a", "b"], None),
        (("a", "b"), None, "X does not have valid feature names, but TSNE was fitted with feature names"),
        (None, ["a", "b"], "X has feature names, but TSNE was fitted without feature names"),
    ],
)  # fmt: skip
def test_one_that_has_names_and_one_that_has_none_are_told(fitted, given, words):
    X = np.arange(6.0).reshape(3, 2)
    table = X if given is None else pd.DataFrame(X, columns=given)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = Features(2, fitted).lined_up(table, "TSNE")
    np.testing.assert_array_equal(found, X)
    assert [str(one.message) for one in told] == ([] if words is None else [words])


def test_columns_go_by_name_and_others_are_refused():
    X = np.arange(6.0).reshape(2, 3)
    features = Features(2, ("b", "a"))
    frame = pd.DataFrame(X[:, :2], columns=["a", "b"])
    np.testing.assert_array_equal(features.rows(frame, "TSNE", 1), X[:, [1, 0]].astype(np.float32))
    features.check(frame)
    n, blocks = features.blocks(frame, "TSNE", 1)
    ((start, stop, block),) = list(blocks)
    assert (n, start, stop) == (2, 0, 2)
    np.testing.assert_array_equal(block, X[:, [1, 0]])
    with pytest.raises(ValueError, match=r" lacks 1 of the 2 feature names of the fit: 'a'; is 'a' now 'aa'\?$"):
        features.check(pd.DataFrame(X[:, :2], columns=["aa", "b"]))
    for wide in (X, open_source(X)):
        with pytest.raises(ValueError) as caught:
            features.check(wide)
        assert str(caught.value) == f"{open_source(X)!r} has 3 columns, and the map was made of 2"


def test_rows_of_a_map_are_memory_of_its_own():
    X = np.arange(6, dtype=np.float32).reshape(3, 2)
    rows = Features(2).rows(X, "TSNE", 1)
    assert not np.shares_memory(rows, X) and rows.tolist() == X.tolist()
    matrix = sp.csr_array(X)
    assert sp.issparse(Features(2, sparse=True).rows(matrix, "TSNE", 1))
    with pytest.raises((TypeError, ValueError)):
        Features(2).rows(matrix, "TSNE", 1)


def test_a_table_holds_rows_unless_it_is_said():
    features = Features.of(Prepared(np.zeros((3, 2)), None, ["a", "b"], np.int64(2)))
    assert features == Features(2, ("a", "b"), None, False, False) and type(features.width) is int


# What is handed on


@pytest.fixture
def handed(monkeypatch):
    """What a preparation is fitted with, and what a source of prepared rows is made with."""
    told = {"fit": [], "source": []}
    fit, make = Preparation.fit, PreparedSource.__init__
    monkeypatch.setattr(
        Preparation,
        "fit",
        lambda self, X, *given, **how: told["fit"].append((given, how)) or fit(self, X, *given, **how),
    )
    monkeypatch.setattr(
        PreparedSource,
        "__init__",
        lambda self, X, preparation, **how: told["source"].append(how) or make(self, X, preparation, **how),
    )
    return told


@pytest.mark.parametrize("sample", [None, UniformSample(5)])
def test_seed_threads_and_progress_are_handed_on(handed, sample):
    X = np.random.default_rng(0).normal(size=(40, 3))

    def progress(*told):
        pass

    ready = prepared(X, Preparation([Standardize()]), "euclidean", seed=7, n_jobs=1, progress=progress)
    assert handed == {"fit": [((progress,), {"random_state": 7, "n_jobs": 1})], "source": [{"n_jobs": 1}]}
    assert ready.table.shape == (40, 3) and ready.width == 3
    for told in handed.values():
        told.clear()
    taken = take_in(X, prepare=Preparation([Standardize()]), sample=sample, metric="euclidean", seed=7, n_jobs=1)
    assert [how for _, how in handed["fit"]] == [{"random_state": 7, "n_jobs": 1}] and handed["source"] == [
        {"n_jobs": 1}
    ]
    assert taken.rows.shape == (40 if sample is None else 5, 3)
    whole = standardised(X)
    np.testing.assert_allclose(taken.rows, whole if sample is None else whole[taken.sample_rows], rtol=1e-5, atol=1e-6)
    again = drawn(ready, sample, seed=7) if sample else taken
    assert (again.sample_rows is None) == (sample is None)
    assert sample is None or again.sample_rows.tolist() == taken.sample_rows.tolist()
    features = Features.of(taken)
    handed["source"].clear()
    assert features.table_of(X, "TSNE", 1).shape == (40, 3) and handed["source"] == [{"n_jobs": 1}]


def standardised(X):
    return (X - X.mean(0)) / X.std(0)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array, pd.DataFrame])
def test_rows_that_no_sample_takes_are_looked_at_too_where_they_are_in_memory(kind):
    """They will be placed."""
    X = np.ones((50, 2))
    taken = UniformSample(5)
    rows = take_in(kind(X), prepare=None, sample=taken, metric="euclidean", seed=0, n_jobs=1).sample_rows
    bad = next(row for row in range(50) if row not in rows)
    X[bad, 1] = np.nan
    with pytest.raises(ValueError, match=rf"row {bad}"):
        take_in(kind(X), prepare=None, sample=taken, metric="euclidean", seed=0, n_jobs=1)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_rows_of_a_fit_are_memory_of_its_own(metric):
    X = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    for table in (X, pd.DataFrame(X), sp.csr_array(X)):
        taken = take_in(table, prepare=None, sample=None, metric=metric, seed=0, n_jobs=1)
        rows = taken.rows.data if sp.issparse(taken.rows) else taken.rows
        assert not np.shares_memory(rows, table.data if sp.issparse(table) else X)
        assert taken.sample_rows is None and taken.preparation is None and taken.width == 2


def test_distances_are_named_as_their_frame_is():
    D = np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0)))
    for table, names in ((D, None), (pd.DataFrame(D, columns=list("abcd")), list("abcd")), (sp.csr_array(D), None)):
        taken = take_in(table, prepare=None, sample=None, metric="precomputed", seed=0, n_jobs=1)
        assert (taken.names, taken.width, taken.sample_rows, taken.preparation) == (names, 4, None, None)
    named = type("Named", (np.ndarray,), {"column_names": list("wxyz")})
    assert take_in(D.view(named), prepare=None, sample=None, metric="precomputed", seed=0, n_jobs=1).names is None
    # Rows of distances that are drawn are no distances among themselves.
    drawn_rows = take_in(D, prepare=None, sample=UniformSample(2), metric="precomputed", seed=0, n_jobs=1)
    assert drawn_rows.rows.shape == (2, 4)


def test_what_a_preparation_took_is_logged(caplog):
    X = np.random.default_rng(0).normal(size=(40, 3))
    prepare = Preparation([Standardize()])
    with caplog.at_level(logging.INFO, logger="tsne_ooc.intake.taking"):
        ready = prepared(X, prepare, "euclidean", seed=0, n_jobs=1)
    assert [record.getMessage() for record in caplog.records] == [
        f"{prepare!r} took {ready.preparation.passes} pass(es): 3 columns"
    ]
    assert ready.preparation.passes == 1 and not prepare.fitted


@pytest.mark.parametrize("extra", [[], [Log1p()]])
def test_rows_that_lack_values_are_shifted_where_nothing_else_is_done(extra):
    X = far(1)
    X[3, 0] = np.nan
    X = np.abs(X)
    ready = prepared(X, Preparation([Missing("keep"), *extra]), "nan_euclidean", seed=0, n_jobs=1)
    kinds = [type(step).__name__ for step in ready.preparation.steps]
    assert kinds == ["Missing", "Shift"] if not extra else "Shift" not in kinds
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = prepared(np.abs(far(1)), Preparation([Standardize()]), "euclidean", seed=0, n_jobs=1)
    assert [type(step).__name__ for step in plain.preparation.steps] == ["Standardize"]


def test_masked_cells_are_refused_unless_values_may_be_missing():
    gaps = np.ma.masked_equal(np.array([[1.0, 2], [3, 4], [5, 6]]), 3)
    with pytest.raises(ValueError, match="masked"):
        as_table(gaps)
    filling = Preparation([Missing("median")])
    for prepare in (None, Preparation([Standardize()])):
        with pytest.raises(ValueError, match="masked"):
            prepared(gaps, prepare, "euclidean", seed=0, n_jobs=1)
    taken = take_in(gaps, prepare=filling, sample=None, metric="euclidean", seed=0, n_jobs=1)
    assert taken.rows.tolist() == [[1, 2], [3, 4], [5, 6]]
    features = Features.of(taken)
    assert features.rows(gaps, "TSNE", 1).tolist() == [[1, 2], [3, 4], [5, 6]]
    n, blocks = features.blocks(gaps, "TSNE", 1)
    assert n == 3 and next(blocks)[2].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert next(features.blocks(gaps.tolist(fill_value=np.nan), "TSNE", 1)[1])[2].shape == (3, 2)


def test_parameters_of_parts_are_not_asked_for():
    """An estimator within one may have an option of the same name."""
    asked = []

    class Asked(Model):
        def get_params(self, deep=True):
            asked.append(deep)
            return super().get_params(deep)

    assert taken_over(Asked(sample=None), "sample", 5) == 5 and asked == [False]


# Tables that come later


def as_later(kind, X, names):
    """The same rows as each kind of table that a map takes."""
    if kind == "frame":
        return pd.DataFrame(X, columns=names)
    if kind == "sparse":
        return sp.coo_array(X)
    if kind == "source":
        return open_source(pd.DataFrame(X, columns=names))
    if kind == "reader":
        return Reader(X)
    return X.tolist() if kind == "list" else X


class Reader:
    def __init__(self, X):
        self.X, self.shape, self.dtype = X, X.shape, X.dtype

    def __getitem__(self, rows):
        return self.X[rows]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("step", [None, Standardize(), Missing("median"), Missing("drop")])
@pytest.mark.parametrize("kind", ["array", "list", "frame", "sparse", "source", "reader"])
@pytest.mark.parametrize("fitted", [None, ("b", "a", "c")])
def test_later_rows_are_those_of_the_fit_in_every_kind_of_table(step, kind, fitted):
    """Columns go by name where both have names; where one has none it is told, but not of rows of sparse tables."""
    X = np.random.default_rng(0).normal(3, 2, size=(7, 3))
    own = ["a", "b", "c"] if kind in ("frame", "source") else None
    turned = X[:, [1, 0, 2]] if fitted and own else X
    preparation = None if step is None else Preparation([step]).fit(turned)
    features = Features(3, fitted, preparation, sparse=True)
    wanted = turned.astype(np.float32) if step is None else preparation.transform(turned)
    told = (fitted is None) != (own is None)
    table = as_later(kind, X, own)

    def called(work, sliced=step is not None):
        if not told or (sliced and kind == "sparse"):
            return work()
        with pytest.warns(UserWarning, match="valid feature names|has feature names"):
            return work()

    def dense(rows):
        return rows.toarray() if sp.issparse(rows) else np.asarray(rows)

    n, blocks = called(lambda: features.blocks(table, "TSNE", 1))
    found = list(blocks)
    assert n == 7 and [(start, stop) for start, stop, _ in found] == [(0, 7)]
    np.testing.assert_allclose(dense(found[0][2]), wanted, rtol=1e-6)
    assert sp.issparse(found[0][2]) == (kind == "sparse" and step is None)
    np.testing.assert_allclose(dense(called(lambda: features.rows(table, "TSNE", 1))), wanted, rtol=1e-6)
    if kind != "list":
        source = called(lambda: features.table_of(table, "TSNE", 1), sliced=True)
        np.testing.assert_allclose(dense(source.read(2, 5)), wanted[2:5], rtol=1e-6)
    # One column more or less, without names: in the words of scikit-learn, or those of a run.
    for wide in (X[:, :2], np.hstack([X, X])):
        other = as_later(kind, wide, list("abcdef")[: wide.shape[1]])
        if own is None or fitted is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with pytest.raises(ValueError, match=rf"{wide.shape[1]} (features|columns)"):
                    list(features.blocks(other, "TSNE", 1)[1])
                with pytest.raises(ValueError, match=rf"{wide.shape[1]} (features|columns)"):
                    features.rows(other, "TSNE", 1)
            if kind not in ("list", "sparse"):
                with pytest.raises(ValueError, match=rf"has {wide.shape[1]} columns, and the map was made of 3$"):
                    features.check(other)
    if kind not in ("list", "sparse"):
        features.check(table)


def test_later_distances_are_dense_or_in_memory():
    features = Features(4, None, None, distances=True)
    graph = sp.csr_array(np.ones((2, 4)))
    assert features.distances and not Features(4).distances and not Features(4).sparse
    for work in (
        lambda X: features.check(X),
        lambda X: features.table_of(X, "TSNE", 1),
        lambda X: features.rows(X, "TSNE", 1),
        lambda X: features.blocks(X, "TSNE", 1),
    ):
        with pytest.raises(ValueError, match=r"^a sparse graph of distances cannot be streamed"):
            work(open_source(graph))
    plain = Features(4)
    plain.check(open_source(graph))
    assert plain.table_of(open_source(graph), "TSNE", 1).shape == (2, 4)
    # In memory they are one block, and checked as distances are: none is below 0.
    n, blocks = features.blocks(np.ones((2, 4)), "TSNE", 1)
    assert n == 2 and next(blocks)[2].shape == (2, 4)
    assert sp.issparse(next(features.blocks(graph, "TSNE", 1)[1])[2])
    with pytest.raises(ValueError):
        features.blocks(-np.ones((2, 4)), "TSNE", 1)
    assert next(plain.blocks(-np.ones((2, 4)), "TSNE", 1)[1])[2].shape == (2, 4)
    n, blocks = features.blocks(Reader(np.ones((2, 4))), "TSNE", 1)
    assert n == 2 and next(blocks)[2].shape == (2, 4)
    blocks.close()
    with pytest.raises(ValueError, match="3"):
        features.blocks(np.ones((2, 3)), "TSNE", 1)


def test_rows_alone_have_to_fit_into_memory(monkeypatch):
    """Nothing is fitted, so what a fit takes beside them does not count."""
    monkeypatch.setattr("tsne_ooc.io.reading.available_bytes", lambda: 1000)
    X = np.ones((100, 2), np.float32)
    assert Features(2).rows(Reader(X), "TSNE", 1).shape == (100, 2)
    assert Features(2).rows(Reader(np.ones((125, 2), np.float32)), "TSNE", 1).shape == (125, 2)
    with pytest.raises(MemoryError, match=r"^to hold all 126 rows of 2 columns"):
        Features(2).rows(Reader(np.ones((126, 2), np.float32)), "TSNE", 1)
    with pytest.raises(MemoryError, match=r"^to fit all 100 rows"):
        take_in(Reader(X), prepare=None, sample=None, metric="euclidean", seed=0, n_jobs=1)


@pytest.mark.parametrize("door", ["transform", "place", "score_samples"])
def test_a_warning_of_names_points_at_whoever_placed_the_rows(door):
    """However many calls of ours, and of scikit-learn about `transform`, lie between."""
    X = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    options = {"perplexity": 3, "n_iter": 1, "early_exaggeration_iter": 0, "random_state": 0, "n_jobs": 1}
    model = TSNE(**options).fit(pd.DataFrame(X, columns=["a", "b"]))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        getattr(model, door)(X[:2])
        here = inspect.currentframe().f_lineno - 1
    assert [(one.filename, one.lineno) for one in told] == [(__file__, here)]


@pytest.mark.parametrize(
    "kept, saved, shifted, told, remedy",
    [
        # Columns that a shift would save, where the metric forbids it; that it saves in part; and that nothing saves.
        (2, 90, False, 2, "subtract"), (2, 40, True, 40, "subtract"), (2, 40, False, 2, "subtract"),
        (2, 3, True, 2, "subtract"),
        (2, 2, True, 2, "rank"), (2, 2, False, 2, "rank"), (2, 1, False, 2, "rank"), (30, 45, True, 45, "subtract"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("first", [0, 1])
def test_what_is_lost_of_a_column_and_what_to_do_about_it(kept, saved, shifted, told, remedy, first):
    """By the numbers of the first column that loses too many, which need not be the first of all."""
    other = ([50], [50], [50], [0.0])
    own = ([100], [kept], [saved], [7.0])
    parts = zip(*([other, own] if first else [own, other]), strict=True)
    look = Precision(*(np.concatenate(part) for part in parts))
    lost = look.lost(shifted)
    assert lost.tolist() == [first]
    for names, word in ((None, str(first)), (["a", "b"], repr("ab"[first]))):
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            _warn_of(look, lost, shifted, names)
        what = {
            "subtract": "subtract what its values have in common, such as their median",
            "rank": "rank it, or split it in two",
        }
        assert [str(one.message) for one in found] == [
            f"float32, which maps are computed in, keeps {told} of 100 values of column {word} apart; "
            f"{what[remedy]}, or use prepare=Preparation([Standardize()]) (--standardize)"
        ]


@pytest.mark.parametrize("columns", [1, 9, 10, 11, 13])
def test_ten_columns_that_are_shifted_are_logged(columns, caplog):
    X = far(columns)
    with caplog.at_level(logging.INFO, logger="tsne_ooc.intake.taking"):
        offset = offset_of(X, "euclidean", None)
    assert np.flatnonzero(offset).tolist() == list(range(1, columns + 1))
    (message,) = caplog.messages
    assert message.startswith(f"{columns} columns are so far from 0") and message.count(" by -") == min(columns, 10)


@pytest.mark.parametrize("metric", sorted(SHIFT_FREE))
def test_distances_of_these_metrics_stay_the_same_under_a_shift(metric):
    """So says SciPy or scikit-learn of each; of others, such as angles, they do not."""
    from sklearn.metrics import pairwise_distances
    from sklearn.metrics.pairwise import nan_euclidean_distances

    X = np.random.default_rng(0).normal(size=(8, 3))
    there = {"linf": "chebyshev"}.get(metric, metric)

    def distances(X):
        return nan_euclidean_distances(X) if metric == "nan_euclidean" else pairwise_distances(X, metric=there)

    np.testing.assert_allclose(distances(X + np.array([5.0, -3, 8])), distances(X), rtol=1e-6, atol=1e-7)
    assert offset_of(far(1), metric, None) is not None


def test_prepared_rows_of_a_table_in_memory(monkeypatch):
    """With the threads of whoever asks, NaN where a row has no place, and in scikit-learn's words for other columns."""
    X = np.arange(12.0).reshape(4, 3)
    asked, real = [], Preparation.transform
    monkeypatch.setattr(Preparation, "transform", lambda self, X, **how: asked.append(how) or real(self, X, **how))
    features = Features(3, None, Preparation([Missing("drop")]).fit(X))
    assert features.drops and not features.gaps
    gaps = X.copy()
    gaps[1, 2] = np.nan
    n, blocks = features.blocks(gaps, "TSNE", 1)
    found = next(blocks)[2]
    assert n == 4 and np.isnan(found[1]).all() and asked == [{"n_jobs": 1}]
    np.testing.assert_array_equal(found[[0, 2, 3]], X[[0, 2, 3]])
    for wide in (X[:, :2], np.hstack([X, X])):
        with pytest.raises(ValueError) as caught:
            features.blocks(wide, "TSNE", 1)
        assert str(caught.value) == (f"X has {wide.shape[1]} features, but TSNE is expecting 3 features as input")
    assert len(asked) == 1
