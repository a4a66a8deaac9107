"""Sources that stand before another one, and say, read, open again and close what is behind them."""

from __future__ import annotations

import os
import zipfile

import h5py
import numpy as np
import pytest

from tsne_ooc.io import as_source, identity_of, line_up, open_source
from tsne_ooc.io.lacking import KeptRows, Lacking
from tsne_ooc.io.meant import Turned
from tsne_ooc.preprocess.onehot import EncodedSource, OneHot

N = 30
X = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
DROPPED = np.array([0, 4, 5, 29])


class Mine:
    """A reader of one's own, which can be opened again but not closed."""

    dtype, chunks, path = np.dtype("f4"), None, None
    column_names = ("a", "b", "word")
    # Numbers of NumPy, for which a source of ours stands before it.
    shape = (np.int64(N), np.int64(3))

    def __init__(self, number=0):
        self.number = number

    def __repr__(self):
        return "my reader"

    def read(self, start, stop):
        return X[start:stop]

    def read_columns(self, start, stop):
        return {"a": X[start:stop, 0], "b": X[start:stop, 1], "word": np.array(["x", "y"])[np.arange(start, stop) % 2]}

    def reopen(self):
        return type(self)(self.number + 1)


class Plain(Mine):
    """One that needs no other before it."""

    shape = (N, 3)


class Closed(Mine):
    """One that can be closed, and says when."""

    def __init__(self, number=0):
        super().__init__(number)
        self.times = 0

    def close(self):
        self.times += 1


def encoded(source):
    return EncodedSource(source, OneHot(["word"]).fit(source, lambda *three: None, False), lambda name, rows: None)


BEFORE = {
    "lacking": (Lacking, X),
    "but for some rows": (lambda source: KeptRows(source, DROPPED, False), np.delete(X, DROPPED, axis=0)),
    "columns in another order": (lambda source: line_up(source, ["word", "a"], "X"), X[:, [2, 0]]),
    "as it is": (as_source, X),
    "words as numbers": (encoded, np.column_stack([X[:, :2], np.arange(N) % 2 == 0, np.arange(N) % 2])),
}


def behind(source):
    """The reader that stands behind all others."""
    while not isinstance(source, Mine):
        source = next(source.__dict__[name] for name in ("source", "_source", "_data") if name in source.__dict__)
    return source


@pytest.mark.filterwarnings("ignore:X has columns that the fit did not have")
@pytest.mark.parametrize("kind", BEFORE)
def test_it_is_opened_again_and_called_as_what_is_behind_it(kind):
    make, wanted = BEFORE[kind]
    source = make(Mine())
    again = source.reopen()
    assert behind(again).number == behind(source).number + 1 and type(again) is type(source)
    for one in (source, again, again.reopen()):
        assert one.shape == wanted.shape
        for start, stop in ((0, len(wanted)), (3, 7), (5, 5)):
            rows = one.read(start, stop)
            assert rows.shape == (stop - start, wanted.shape[1])
            np.testing.assert_array_equal(rows, wanted[start:stop])
    assert repr(again).endswith("my reader")


@pytest.mark.filterwarnings("ignore:X has columns that the fit did not have")
@pytest.mark.parametrize("kind", [kind for kind in BEFORE if kind != "words as numbers"])
def test_it_closes_what_is_behind_it(kind):
    make, _ = BEFORE[kind]
    mine = Closed()
    with make(mine) as source:
        assert mine.times == 0
    assert mine.times == 1 and behind(source) is mine
    # What cannot be closed need not be.
    for mine in (Mine(), Plain()):
        if (source := make(mine)) is not mine:
            source.close()


def test_words_stay_beside_numbers_where_columns_are_in_another_order():
    with pytest.warns(UserWarning, match="which are left out: 'b'"):
        found = line_up(Mine(), ["word", "a"], "X").read_columns(3, 6)
    assert list(found) == ["word", "a"] and found["word"].tolist() == ["y", "x", "y"]
    np.testing.assert_array_equal(found["a"], X[3:6, 0])


def test_rows_that_keep_no_value_are_still_told_where_the_table_is_opened_again():
    assert [KeptRows(Mine(), DROPPED, lacks).reopen().lacks_values for lacks in (True, False)] == [True, False]


def test_rows_that_end_before_they_begin_are_none_as_in_a_slice():
    for start, stop in ((5, 5), (7, 3)):
        rows = KeptRows(Mine(), DROPPED, False).read(start, stop)
        assert rows.shape == X[start:stop].shape == (0, 3) and rows.dtype == X.dtype


def test_a_reader_that_refuses_a_row_says_so_to_whoever_asks_which_table_it_is():
    class Refusing(Mine):
        def read(self, start, stop):
            raise ValueError("a cable is loose")

    with pytest.raises(ValueError, match=r"^rows? 0.* of .*my reader.*: a cable is loose$"):
        identity_of(Refusing())


def test_a_dataset_that_is_turned_round_is_there_while_its_file_is_open(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        turned = Turned(file.create_dataset("x", data=X))
        assert turned and turned.shape == (3, N)
        np.testing.assert_array_equal(turned[1:3], X.T[1:3])
    assert not turned


def zipped(folder):
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            archive.write(file, file.relative_to(folder))
    return folder.with_suffix(".zip")


def test_a_zip_file_is_opened_anew_in_the_child_of_a_fork(tmp_path, monkeypatch):
    """Parent and child would move each other's position in one open file."""
    zarr = pytest.importorskip("zarr")
    zarr.create_array(tmp_path / "x.zarr", data=X, chunks=(7, 3))
    with open_source(zipped(tmp_path / "x.zarr")) as source:
        first = source._store
        assert source.read(3, 9).tobytes() == X[3:9].tobytes() and source._store is first
        real = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: real + 1)
        assert source.read(3, 9).tobytes() == X[3:9].tobytes()
        second = source._store
        assert second is not first
        # Once is enough.
        assert source.read(0, 30).tobytes() == X.tobytes() and source._store is second
        first.close()


@pytest.mark.parametrize("columns", [None, ["b"]])
def test_a_data_frame_of_zarr_in_memory_is_opened_again(columns):
    zarr = pytest.importorskip("zarr")
    frame = zarr.create_group(zarr.storage.MemoryStore()).create_group("frame")
    frame.attrs.update({"encoding-type": "dataframe", "_index": "_index", "column-order": ["a", "b"]})
    frame.create_array("_index", data=np.arange(N))
    frame.create_array("a", data=X[:, 0])
    frame.create_array("b", data=X[:, 1])
    source = open_source(frame, columns=columns)
    again = source.reopen()
    assert again is not source and again.column_names == source.column_names == (columns or ["a", "b"])
    np.testing.assert_array_equal(again.read(3, 9), X[3:9, 1:2] if columns else X[3:9, :2])
    assert repr(again) == repr(source) and " of memory, shape " in repr(source)
