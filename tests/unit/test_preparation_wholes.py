"""Preparations as a whole: transformers of one's own, blocks of categories, threads, and what is looked at."""

from __future__ import annotations

import json
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from edges_of_preparations import Wide, nan, rows, silent

from tsne_ooc._parallel import Threads
from tsne_ooc.io import as_source
from tsne_ooc.preprocess import PCA, Log1p, Missing, OneHot, Preparation, PreparedSource, Standardize, Transformer
from tsne_ooc.preprocess import onehot as onehot_module
from tsne_ooc.preprocess import rows as rows_module
from tsne_ooc.preprocess.onehot import EncodedSource, columns_of
from tsne_ooc.preprocess.preparation import _needs
from tsne_ooc.preprocess.rows import Passes
from tsne_ooc.preprocess.shift import Shift, look_at
from tsne_ooc.preprocess.statistics import Statistics
from tsne_ooc.preprocess.transformer import FittedTransformer, height_of

# --------------------------------------------------------------------------------------------------------- transformers


class Parts:
    """A pipeline of one's own: it names what is within it in another order each time, and only where it is asked to."""

    def __init__(self, turned, plain=False):
        self.turned, self.plain = turned, plain
        self.seeds = {
            "b__random_state": None,
            "a__random_state": None,
            "c__random_state": 4,
            "a__b__random_state": None,
        }

    def get_params(self, deep=False):
        names = sorted(self.seeds, reverse=self.turned)
        own = {"turned": self.turned, "not_random_state": None, "random_state_of": None}
        return own | ({name: self.seeds[name] for name in names} if deep else {})

    def set_params(self, **parameters):
        self.seeds.update(parameters)
        return self

    def __sklearn_clone__(self):
        return Parts(self.turned)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "seen")

    def __sklearn_tags__(self):
        from sklearn.base import BaseEstimator

        return BaseEstimator().__sklearn_tags__()

    def fit(self, X):
        self.seen = len(X)
        return self

    def transform(self, X):
        return X


def test_seeds_within_a_transformer_do_not_depend_on_the_order_in_which_it_names_them():
    X = rows(30, 3)

    def seeds(turned, seed):
        (step,) = Preparation([Transformer(Parts(turned))]).fit(X, random_state=seed).fitted
        assert step.transformer.seen == 30
        return step.transformer.seeds

    one = seeds(False, 1)
    assert one == seeds(True, 1) and one != seeds(True, 2)
    assert one.pop("c__random_state") == 4 and set(one) == {"a__random_state", "b__random_state", "a__b__random_state"}
    assert len(set(one.values())) == 3 and all(type(value) is int and 0 <= value < 2**31 for value in one.values())


def test_a_sample_is_told_by_its_rows_and_those_of_the_table(monkeypatch):
    monkeypatch.setattr(rows_module, "_SAMPLE_ROWS", 1000)
    monkeypatch.setattr(rows_module, "_SAMPLE", 1)
    X = rows(1200, 3)
    (step,) = Preparation([Transformer(Parts(False))]).fit(X).fitted
    assert step.how == "on 1000 of 1200 rows" and step.transformer.seen == 1000


# ------------------------------------------------------------------------------------------------------------ the whole


def test_steps_that_fill_nothing_in_tell_of_nothing_that_was_missing():
    X = rows(30, 3)
    for steps in ([], [Log1p()], [Standardize(), PCA(2)]):
        preparation = Preparation(steps)
        for _ in range(2):
            assert preparation.filled is None and preparation.dropped.tolist() == []
            assert preparation.dropped.dtype == np.int64
            assert not (
                preparation.drops or preparation.to_drop or preparation.leaves_gaps or preparation.takes_missing
            )
            preparation.fit(X)
    np.testing.assert_array_equal(Preparation([]).fit(X).transform(X), X.astype(np.float32))
    for how in ("mean", "indicator"):
        preparation = Preparation([Missing(how)])
        assert preparation.filled is None and preparation.takes_missing
        # Nothing is missing, and nothing was filled in.
        assert preparation.fit(X).filled == {"how": how, "cells": 0, "columns": 0}
        assert preparation.n_features_out == 3
        # Only a search by the nearest keeps rows.
        assert preparation.fitted[0].donors.shape == (0, 3) and preparation.fitted[0].dropped is None
    assert Preparation([Missing("drop")]).fit(X).fitted[0].donors is None


def test_all_that_decides_how_a_row_is_prepared_is_in_the_contents():
    X = pd.DataFrame({"a": ["x", "y", "x"], "b": [1.0, 2, 4]})
    preparation = Preparation([OneHot("a"), Standardize()])
    with pytest.raises(ValueError, match="is not fitted"):
        preparation.contents  # noqa: B018
    preparation.fit(X)
    assert preparation.contents == (preparation.encoding, preparation.fitted, 2)
    assert preparation.n_features_in == 2 and preparation.n_features_out == 3 and preparation.n_samples == 3
    with pytest.raises(ValueError, match=r"^OneHot\(columns=\('a',\)\) cannot be undone; ask for prepared rows"):
        preparation.check_undo()
    other = Preparation([Standardize()]).fit(rows())
    other.check_undo()
    assert other.contents == (None, other.fitted, 4)


def test_names_of_a_table_with_categories_are_in_its_state_once():
    X = pd.DataFrame({"a": ["x", "y", "x"], "b": [1.0, 2, 4]})
    numbers, arrays = Preparation([OneHot("a"), Standardize()]).fit(X).state()
    assert set(arrays) == {"1.centre", "1.scale", "1.constant"}
    assert [step["kind"] for step in numbers["steps"]] == ["onehot", "standardize"]
    numbers, arrays = Preparation([Standardize()]).fit(X[["b"]]).state()
    assert set(arrays) == {"0.centre", "0.scale", "0.constant", "names"}
    assert Preparation.from_state(numbers, arrays).names == ["b"]


def test_a_state_of_more_than_ten_steps_keeps_apart_what_belongs_to_each():
    """Arrays of the eleventh are not those of the second."""
    X = rows(30, 3)
    offsets = [np.arange(3.0) + i for i in range(12)]
    preparation = Preparation([Shift(offset) for offset in offsets]).fit(X)
    again = Preparation.from_state(*preparation.state())
    assert [step.offset.tolist() for step in again.fitted] == [offset.tolist() for offset in offsets]


def test_threads_that_are_asked_for_are_those_that_prepare(monkeypatch):
    """In a fit, for rows in memory, and for rows that are read."""
    from tsne_ooc.preprocess import preparation as preparation_module

    asked = []

    class Noted(Threads):
        def __init__(self, n_jobs=None):
            asked.append(n_jobs)
            super().__init__(n_jobs)

    monkeypatch.setattr(preparation_module, "Threads", Noted)
    X = rows(30, 3)
    preparation = Preparation([Standardize()]).fit(X, n_jobs=3)
    preparation.transform(X, n_jobs=2)
    source = PreparedSource(X, preparation, n_jobs=1)
    source.read(0, 30)
    source.reopen().read(0, 30)
    preparation.transform(X)
    assert asked == [3, 2, 1, 1, None]


def test_rows_of_categories_are_read_as_wide_as_they_come_out():
    table = pd.DataFrame({"a": ["x", "y", "z"] * 5, "b": np.arange(15.0)})
    preparation = Preparation([OneHot("a")]).fit(table)
    source = PreparedSource(table, preparation)
    assert source.shape == (15, 4) and source.row_bytes == 4 * 8 and source.dtype == np.float32

    class Chunked:
        shape, chunks, dtype, column_names = (15, 2), (4, 1), np.dtype(object), ["a", "b"]

        def read_columns(self, start, stop):
            return {name: table[name].to_numpy()[start:stop] for name in ("a", "b")}

        def read(self, start, stop):
            return table.to_numpy()[start:stop]

        def reopen(self):
            return self

        def __repr__(self):
            return "a table in chunks"

    source = PreparedSource(Chunked(), preparation)
    assert source.chunks == (4, 4) and source.reopen().chunks == (4, 4)
    assert repr(preparation.numbers(Chunked())) == "a table in chunks"
    np.testing.assert_array_equal(source.read(2, 9), preparation.transform(table)[2:9])
    assert SimpleNamespace(**vars(source)).lacks_values is False


# ----------------------------------------------------------------------------------------------------------- categories


class Blocks:
    """A table of named columns, which is read in blocks, and may fail to be."""

    chunks, dtype = None, np.dtype(np.float64)

    def __init__(self, columns, fails=None):
        self.columns, self.fails, self.reads = columns, fails, []
        self.column_names = list(columns)
        self.shape = (len(next(iter(columns.values()))), len(columns))

    def read_columns(self, start, stop):
        self.reads.append((start, stop))
        if self.fails is not None and stop > self.fails:
            raise OSError("torn")
        return {name: np.asarray(values)[start:stop] for name, values in self.columns.items()}

    def read(self, start, stop):
        raise AssertionError("not by name")

    def reopen(self):
        return self

    def __repr__(self):
        return "a table in blocks"


def mixed(n=60):
    """Numbers and categories, one after the other, of all lengths."""
    rng = np.random.default_rng(0)
    return {
        "x": rng.normal(size=n), "y": rng.normal(size=n), "word": np.array(list("cab") * (n // 3), object),
        "z": np.arange(n), "whole": np.arange(n) % 2, "last": rng.normal(size=n),
    }  # fmt: skip


def test_each_column_stands_where_it_stood_and_a_category_has_its_own():
    columns = mixed()
    encoding = OneHot(["whole", "word"]).fit(Blocks(columns), silent())
    assert encoding.names == tuple(columns) and encoding.width_in == 6 and encoding.width_out == 9
    assert encoding.feature_names == ["x", "y", "word=a", "word=b", "word=c", "z", "whole=0", "whole=1", "last"]
    given = {name: values.copy() for name, values in columns.items()}
    given["word"][[3, 7, 8]], given["whole"] = ["new", "newer", None], np.where(np.arange(60) == 9, 5, columns["whole"])
    unseen = []
    found = encoding.encode(given, 0, lambda *told: unseen.append(told))
    wanted = np.column_stack([
        given["x"], given["y"], *(given["word"] == letter for letter in "abc"), given["z"],
        *(given["whole"] == number for number in (0, 1)), given["last"],
    ]).astype(float)  # fmt: skip
    np.testing.assert_array_equal(found, wanted)
    assert unseen == [("word", 2), ("whole", 1)]


def test_categories_are_read_in_blocks_of_a_share_of_their_memory_and_all_of_them(monkeypatch):
    """Text takes a multiple of what its pointers take, so fewer rows are read at a time."""
    monkeypatch.setattr(onehot_module, "BLOCK_BYTES", 10 * 6 * 8 * onehot_module._TEXT)
    table, told = Blocks(mixed()), []
    table.columns["word"] = np.array([f"{i:02}" for i in range(60)], object)
    encoding = OneHot("word").fit(table, lambda *given: told.append(given))
    assert table.reads == [(start, start + 10) for start in range(0, 60, 10)]
    assert told == [("prepare", stop, 60) for stop in range(10, 61, 10)]
    assert encoding.categories["word"].tolist() == [f"{i:02}" for i in range(60)]
    for fails, lines in ((9, "rows 0 to 9"), (35, "rows 30 to 39"), (59, "rows 50 to 59")):
        with pytest.raises(OSError) as caught:
            OneHot("word").fit(Blocks(mixed(), fails), silent())
        assert str(caught.value) == f"{lines} of a table in blocks could not be read: torn"


def test_what_is_asked_for_alone_takes_no_missing_number():
    """Where nobody says that a later step fills them in."""
    columns = mixed()
    columns["last"][3] = nan
    for use in (
        lambda: OneHot("word").fit(Blocks(columns), silent()),
        lambda: OneHot("word").fit(Blocks(mixed()), silent()).encode(columns, 0, None),
        lambda: EncodedSource(Blocks(columns), OneHot("word").fit(Blocks(mixed()), silent()), None).read(0, 60),
    ):
        with pytest.raises(ValueError, match=r"^column 'last' holds nan in row 3; "):
            use()
    assert np.isnan(OneHot("word").fit(Blocks(columns), silent(), True).encode(columns, 0, None, True)[3, -1])


def test_columns_are_asked_for_by_their_names_alone():
    for wrong in (["a", 3], [3], [], (), [None, "a"]):
        with pytest.raises(TypeError) as told:
            OneHot(wrong)
        assert str(told.value) == f"onehot={wrong!r} must name at least one column"
    assert OneHot("word").columns == OneHot(["word"]).columns == ("word",) != OneHot(list("word")).columns
    with pytest.raises(ValueError, match=r"^onehot names a column twice: b, a, b$"):
        OneHot(["b", "a", "b"])
    twice = Blocks(mixed())
    twice.column_names = ["x", "word", "z", "word", "z", "word"]
    with pytest.raises(ValueError, match=r"^a table in blocks has several columns 'word'; rename them$"):
        OneHot("word").fit(twice, silent())
    # Whatever has names is read by them, numbers alone as well.
    for frame in (pd.DataFrame(mixed()), pd.DataFrame({"word": [1.0, 2, 1], "b": [3.0, 4, 5]})):
        assert OneHot("word").fit(as_source(frame), silent()).names == tuple(frame.columns)
    with pytest.raises(TypeError, match=r"^onehot needs columns with names, as Parquet and compound HDF5 have; "):
        OneHot("word").fit(as_source(rows()), silent())


@pytest.mark.parametrize("kind", ["mapping", "frame", "nullable", "arrow", "source", "blocks"])
def test_rows_to_encode_come_from_anything_that_names_its_columns(kind):
    columns = mixed()
    frame = pd.DataFrame(columns)
    given = frame
    if kind == "mapping":
        given = columns
    elif kind == "nullable":
        given = frame.astype({"whole": "Int64", "word": "category"})
    elif kind == "arrow":
        given = pytest.importorskip("pyarrow").Table.from_pandas(frame)
    elif kind == "source":
        given = as_source(frame)
    elif kind == "blocks":
        given = Blocks(columns)
    # Also where all of them are numbers, which a source need not give by name.
    numbers = as_source(pd.DataFrame({"word": [1.0, 2, 1], "b": [3.0, 4, 5]}))
    assert {name: values.tolist() for name, values in columns_of(numbers).items()} == {
        "word": [1, 2, 1],
        "b": [3, 4, 5],
    }
    encoding = OneHot(["whole", "word"]).fit(Blocks(columns), silent())
    found = columns_of(given)
    assert list(found) == list(columns)
    np.testing.assert_array_equal(encoding.encode(found, 0, None), encoding.encode(columns, 0, None))


# -------------------------------------------------------------------------------------------------------------- threads


class Watched(Threads):
    """Threads that write down which pieces they are given, and whether BLAS has one thread now."""

    def __init__(self, n_jobs=1):
        super().__init__(n_jobs)
        self.pieces, self.entered, self.within = [], 0, False

    def map(self, function, pieces):
        self.pieces.append(list(pieces))
        return super().map(function, pieces)

    @contextmanager
    def one_blas_thread(self):
        self.entered, self.within = self.entered + 1, True
        with super().one_blas_thread():
            yield
        self.within = False


def transformed(width, columns):
    return FittedTransformer(Transformer(Wide(columns)), Wide(columns), "", width, columns)


@pytest.mark.parametrize("piece", [1, 1000, 1 << 16, 1 << 20])
@pytest.mark.parametrize("width", [1, 100, 3000])
def test_pieces_are_whole_calls_and_no_larger_than_they_have_to_be(piece, width, monkeypatch):
    """A call of a transformer is filled up, so that none should be cut; rows of other steps come by 64 at least."""
    monkeypatch.setattr(rows_module, "_PIECE", piece)
    narrow, wide = transformed(width, 2), transformed(2, 2 * width)
    scale = Standardize().fit(None, Statistics(9, np.zeros(width), np.ones(width), np.zeros(width, bool)))
    for steps, calls in (((), []), ((scale,), []), ((narrow,), [width]), ((scale, narrow, wide), [width, 2])):
        threads = Watched()
        X = np.zeros((5000 if width < 3000 else 300, width))
        widest = max(width, *(step.width_out for step in steps)) if steps else width
        out = np.empty((len(X), steps[-1].width_out if steps else width), np.float32)
        rows_module.apply(steps, X, 0, threads, out)
        (pieces,) = threads.pieces
        assert [a for a, _ in pieces] + [len(X)] == [0] + [b for _, b in pieces]
        call = max([64, *map(height_of, calls)])
        height = pieces[0][1] if len(pieces) > 1 else call
        assert height % call == 0 and (height == call or height * widest <= piece)
        if len(pieces) > 1:
            assert (height + call) * widest > piece and {b - a for a, b in pieces[:-1]} == {height}
        else:
            assert len(X) <= max(call, piece // widest // call * call)
        # Looking for BLAS takes longer than a scaler, which needs none.
        assert threads.entered == bool(calls)


def test_blas_has_one_thread_while_others_work():
    """A product of several is another one in its last bits."""
    seen = []

    class Noting:
        def fit(self, X):
            seen.append(("fit", threads.within))
            self.fitted_ = True
            return self

        def transform(self, X):
            seen.append(("transform", threads.within))
            return X

        def get_params(self, deep=True):
            return {}

        def __sklearn_clone__(self):
            return Noting()

    threads = Watched()
    passes = Passes(as_source(rows()), (), 0, threads, silent)
    fitted = Transformer(Noting()).fit(passes, None)
    assert seen == [("fit", True), ("transform", True)] and not threads.within
    passes.then(fitted).first(3)
    assert seen[-1] == ("transform", True) and threads.entered == 2
    for call in (
        lambda: passes.statistics(frozenset({"moments"})),
        lambda: PCA(2).fit(passes, passes.statistics(frozenset({"moments", "covariance"}))),
        lambda: PCA(2).fit(passes, None),
    ):
        before = threads.entered
        call()
        assert threads.entered > before and not threads.within


def test_prepared_rows_tell_whether_they_may_lack_values():
    X = rows(30, 3)
    X[4, 1] = nan
    for how, lacks in (("drop", True), ("keep", True), ("mean", False), ("neighbors", False)):
        source = PreparedSource(X, Preparation([Missing(how)]).fit(X))
        assert source.lacks_values is lacks is source.reopen().lacks_values
        assert np.isnan(source.read(0, 30)).any() == lacks
        assert source.preparation.numbers(X).shape == (30, 3)
    assert PreparedSource(rows(), Preparation([Log1p()]).fit(rows())).lacks_values is False


@pytest.mark.parametrize("dtype", ["i8", "u8", "i4", "u4", "f8"])
def test_whole_numbers_are_looked_at_as_they_are_stored(dtype):
    """Of eight bytes they are more than double precision tells apart; each is counted once."""
    top = {"i8": 2**62, "u8": 2**63, "i4": 2**30, "u4": 2**31, "f8": 2**40}[dtype]
    X = (np.uint64(top) + np.arange(100, dtype=np.uint64)[:, None]).astype(dtype)
    look = look_at(X)
    exact = 100 if np.finfo(np.longdouble).nmant > 60 or dtype not in ("i8", "u8") else look.known[0]
    assert look.known.tolist() == [exact]
    assert look.kept.tolist() == [len(np.unique(X.astype(np.float32)))]
    centred = (X.astype(np.float64) - look.centre).astype(np.float32)
    assert look.saved.tolist() == [len(np.unique(centred))]


def test_a_look_stops_at_what_single_precision_cannot_hold():
    """Such a column is told later; those beside it are looked at as ever."""
    k = np.arange(50.0)
    X = np.column_stack([1e9 + k / 8, 1e300 * (k + 1), 1e9 + k / 8, np.where(k == 7, 1e39, 1e9 + k / 8)])
    look = look_at(X)
    assert look.known.tolist() == [50, 1, 50, 1] and look.kept.tolist()[1::2] == look.saved.tolist()[1::2] == [1, 1]
    assert look.helped.tolist() == [True, False, True, False] and look.centre.tolist()[1::2] == [0, 0]


@pytest.mark.parametrize(
    ("steps", "needs"),
    [
        ([Standardize()], {"moments"}),
        ([Standardize(True)], {"moments", "sample"}),
        ([PCA(2)], {"moments", "covariance"}),
        ([Log1p()], set()),
        ([Log1p(), PCA(2)], set()),
        ([Standardize(), PCA(2)], {"moments", "covariance"}),
        ([Standardize(), Standardize(True)], {"moments", "sample"}),
        ([Standardize(), Shift(np.zeros(5)), PCA(2)], {"moments", "covariance"}),
        # What lies behind a step that is no sum and no multiple is seen in a pass of its own.
        ([Standardize(), Log1p(), PCA(2)], {"moments"}),
        ([Standardize(), Log1p(), Standardize(True), PCA(2)], {"moments"}),
        ([PCA(2), Standardize(True)], {"moments", "covariance"}),
        ([Standardize(), Log1p(), Standardize(True), Standardize(True)], {"moments"}),
    ],
    ids=lambda value: "" if isinstance(value, set) else " ".join(type(step).__name__ for step in value),
)
def test_a_pass_gathers_what_steps_need_as_far_as_it_reaches(steps, needs):
    assert _needs(steps, 5) == needs


@pytest.mark.parametrize("names", [["a", 2, "c"], ["a", "b"], ["a", "b", None], {"a": 1, "b": 2, "c": 3}, "abc"])
def test_names_of_a_state_are_words_one_for_each_column(names):
    numbers, arrays = Preparation([Log1p()]).fit(pd.DataFrame(rows(9, 3), columns=list("abc"))).state()
    Preparation.from_state(numbers, arrays)
    arrays["names"] = np.frombuffer(json.dumps(names).encode(), np.uint8)
    with pytest.raises(ValueError, match=r"^the state of a preparation has no 3 names of columns in 'names'$"):
        Preparation.from_state(numbers, arrays)


@pytest.mark.parametrize("p", [1, 63, 1000])
def test_a_tile_takes_32_mib_or_so_many_rows(p):
    """Numbers of eight bytes; of narrow tables 65,536 rows."""

    class Zeros:
        dtype, chunks, shape = np.dtype(np.float32), None, (10**6, p)

        def read(self, start, stop):
            return np.zeros((stop - start, p), np.float32)

        def reopen(self):
            return self

    first, tile = next(Passes(as_source(Zeros()), (), 0, Threads(1), silent).tiles())
    assert first == 0 and len(tile) == min(65_536, (32 << 20) // (8 * p))


@pytest.mark.parametrize("how", [None, "drop", "keep"])
@pytest.mark.parametrize("jobs", [1, 3])
def test_a_row_in_any_piece_is_where_it_was_and_has_its_number(how, jobs, monkeypatch):
    """In pieces of 64 rows, also where some rows are left out."""
    monkeypatch.setattr(rows_module, "_PIECE", 1)
    X = rows(500, 3)
    if how is not None:
        X[::9] = nan
    steps = [*([] if how is None else [Missing(how)]), Log1p(), Standardize()]
    preparation = Preparation(steps).fit(X, n_jobs=jobs)
    Z = np.log1p(X)
    wanted = (Z - np.nanmean(Z, axis=0)) / np.nanstd(Z, axis=0)
    np.testing.assert_allclose(preparation.transform(X, n_jobs=jobs), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(PreparedSource(X, preparation, n_jobs=jobs).read(100, 400), wanted[100:400], rtol=1e-5,
                               atol=1e-6)  # fmt: skip
    for row in (1, 65, 400):
        X[row, 1] = -1
        with pytest.raises(ValueError, match=rf"row {row}, column 1 is -1$"):
            preparation.transform(X, n_jobs=jobs)
        with pytest.raises(ValueError, match=rf"row {1000 + row}, column 1 is -1$"):
            preparation.transform(X, first_row=1000, n_jobs=jobs)
        with pytest.raises(ValueError, match=rf"row {row}, column 1 is -1$"):
            PreparedSource(X, preparation).read(0, 500)
        with pytest.raises(ValueError, match=rf"row {row}, column 1 is -1$"):
            Preparation(steps).fit(X, n_jobs=jobs)
        X[row, 1] = 1
