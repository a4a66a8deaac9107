"""What readers of Parquet, AnnData and datasets of pyarrow decide by themselves, and to whom choices are handed on."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest

from tsne_ooc.io import files, source, url_files
from tsne_ooc.io.ahead import ahead
from tsne_ooc.io.missing import of_hdf5_dataset
from tsne_ooc.io.urls import Url

parquet = pytest.importorskip("tsne_ooc.io.parquet")

# Parquet


def test_files_of_a_folder_are_compared_with_the_first():
    types = {"a": (np.dtype("f4"), "float"), "b": (None, "string"), "i": (np.dtype("i8"), "int64")}
    first, part = Path("d/1.parquet"), Path("d/2.parquet")

    def compared(others, names=("a",), more=False, index=()):
        parquet._compare(first, types, part, others, list(names), more=more, index=index)

    compared(types, index={"i"})
    compared(types, names=["a", "b", "i"])
    compared({"a": types["a"], "b": (None, "null")})
    compared({**types, "z": (None, "string")}, index={"i"})
    compared({**types, "z": (np.dtype("f4"), "float")}, more=True)
    for how, words in (
        (({"b": types["b"]},), "d/2.parquet has no column 'a', which 1.parquet has"),
        (
            ({"a": (np.dtype("f8"), "double")},),
            "column 'a' is of type double in d/2.parquet, and of type float in 1.parquet",
        ),
        ((types,), "d/2.parquet has a column of numbers 'i', which 1.parquet does not have; name those to read"),
        (
            ({**types, "z": (np.dtype("f4"), "float")}, ("a",), False, {"i"}),
            "d/2.parquet has a column of numbers 'z', which 1.parquet does not have; name those to read",
        ),
    ):
        with pytest.raises(ValueError) as caught:
            compared(*how)
        assert str(caught.value) == words


@pytest.mark.parametrize(
    "notes, index",
    [
        (None, set()), ({}, set()), ({b"pandas": b""}, set()), ({b"pandas": b"{"}, set()),
        ({b"pandas": b"[]"}, set()),
        ({b"pandas": b'{"index_columns": null}'}, set()), ({b"pandas": b'{"index_columns": {"a": 1}}'}, set()),
        ({b"pandas": b'{"index_columns": ["a", {"kind": "range"}, "b"]}'}, {"a", "b"}), ({b"pandas": b"{}"}, set()),
        ({b"pandas": b'{"index_columns": "ab"}'}, set()), ({b"other": b'{"index_columns": ["a"]}'}, set()),
    ],
)  # fmt: skip
def test_the_index_of_a_frame_is_in_its_notes(notes, index):
    assert parquet._index(SimpleNamespace(schema_arrow=SimpleNamespace(metadata=notes))) == index


@pytest.mark.parametrize(
    "words, told",
    [
        ("list<item: float>", "; where the lists of 'a b' are rows of numbers"),
        ("large_list<item: double>", "; where the lists"),
        ("decimal128(10, 2)", "; tsne-ooc prepare 'x y.parquet' --out FOLDER makes numbers of the decimals in 'a b'"),
        ("string", ""), ("fixed_decimal", ""),
    ],
)  # fmt: skip
def test_what_to_do_with_other_columns(words, told):
    found = parquet._to_numbers(Path("x y.parquet"), "a b", words)
    assert found.startswith(told) and bool(found) == bool(told)


def test_the_order_of_files_is_told_where_there_are_several():
    files = [Path(f"d/{at}.parquet") for at in range(12)]
    assert parquet._order(files[:1]) == []
    assert parquet._order(files[:2]) == ["rows come from 2 files, in the order of their names: 0.parquet, 1.parquet"]
    assert parquet._order(files)[0].endswith(", 9.parquet and 2 more")


def test_rows_and_columns_of_several_files(tmp_path):
    """Columns are those of the first; files without rows, and pieces of storage without rows, are passed over."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    made = [pa.table({"a": pa.array([1.0, 2, None], "f4"), "w": ["x", "y",
    "z"]}), pa.table({"a": pa.array([], "f4"), "w": pa.array([], "string")}),
            pa.table({"a": pa.array([4.0, 5], "f4"), "w": ["u", "v"]})]  # fmt: skip
    for at, table in enumerate(made):
        pq.write_table(table, tmp_path / f"{at}.parquet", row_group_size=2)
    assert parquet.columns_in(tmp_path) == (5, {"a": "float", "w": "string"})
    with parquet.open_parquet(tmp_path) as found:
        assert found.shape == (5, 1) and found.chunks == (2, 1) and found.dtype == np.float32
        assert found.left_out == ["w"] and found.unread == {"w": "of type string"} and len(found.remarks) == 1
        for start, stop in ((0, 5), (1, 4), (2, 3), (3, 5), (5, 5), (0, 0)):
            np.testing.assert_array_equal(found.read_with_gaps(start, stop)[:, 0], [1, 2, np.nan, 4, 5][start:stop])
            cells = found.read_columns(start, stop)["a"]
            assert np.ma.getmaskarray(cells).tolist() == [False, False, True, False, False][start:stop]
            assert cells.dtype == np.float32
            if start <= 2 < stop:
                with pytest.raises(ValueError, match=r"^column 'a' has no value \(null\) in row 2;"):
                    found.read(start, stop)
            else:
                assert found.read(start, stop)[:, 0].tolist() == [1, 2, None, 4, 5][start:stop]
        assert repr(found) == f"{tmp_path.resolve()} of shape (5, 1)" and found.reopen().shape == (5, 1)
    with parquet.open_parquet(tmp_path, columns=(name for name in ["w", "a"])) as found:
        assert found.column_names == ["w", "a"] and found.left_out == [] and found.unread == {}
        assert found.read_columns(1, 4)["w"].tolist() == ["y", "z", "u"] and found.reopen().column_names == ["w", "a"]
        with pytest.raises(
            TypeError, match=r"^column 'w' does not hold numbers; make columns of its words with OneHot"
        ):
            found.read(0, 1)
        with pytest.raises(TypeError, match=r"^column 'w' does not hold numbers"):
            found.read_with_gaps(0, 1)
    for at in (0, 2):
        (tmp_path / f"{at}.parquet").unlink()
    with parquet.open_parquet(tmp_path) as none:
        assert none.shape == (0, 1) and none.chunks is None and none.read(0, 0).shape == (0, 1)
        assert none.read_with_gaps(0, 0).shape == (0, 1) and none.read_columns(0, 0)["a"].shape == (0,)


# Parts of AnnData, and datasets of pyarrow


def anndata(**parts):
    made = {
        "X": 1,
        "layers": {"a": 2, None: 9},
        "obsm": {"p": 3},
        "raw": SimpleNamespace(X=4),
        "obs_names": [],
        "var_names": [],
    }
    return SimpleNamespace(**{**made, **parts})


@pytest.mark.parametrize(
    "name, found",
    [
        ("X", 1), ("/X/", 1), ("layers/a", 2), ("obsm/p", 3), ("raw/X", 4), ("raw", SimpleNamespace(X=4)),
        ("X/a", None),
        ("layers", None), ("layers/b", None), ("obsm", None), ("raw/Y", None), ("obs", None), ("", None),
        ("obsm/a", None),
    ],
)  # fmt: skip
def test_parts_of_an_anndata_by_name(name, found):
    if found is not None:
        assert source._part(anndata(), name) == found
        return
    with pytest.raises(ValueError) as caught:
        source._part(anndata(), name)
    assert str(caught.value) == f"this AnnData has no table {name!r}; it has X, layers/a, obsm/p"
    with pytest.raises(ValueError, match=r"; it has none at all$"):
        source._part(SimpleNamespace(X=None), name)
    with pytest.raises(ValueError, match=r"; it has obsm/p$"):
        source._part(anndata(X=None, layers={}), "layers/b")
    with pytest.raises(ValueError, match="has no table 'raw/X'"):
        source._part(anndata(raw=None), "raw/X")


def test_variables_are_those_of_the_part_that_is_read():
    X = np.arange(6.0).reshape(3, 2)
    data = anndata(
        X=X, layers={"a": X + 10}, obsm={"p": X + 20}, raw=SimpleNamespace(X=X + 30, var_names=["r",
        "s"]), var_names=["a", 1]
    )  # fmt: skip
    for part, plus, names in (
        ("X", 0, ["a", "1"]),
        ("layers/a", 10, ["a", "1"]),
        ("raw/X", 30, ["r", "s"]),
        ("/raw/X", 30, ["r", "s"]),
    ):
        found = source.open_source(data, dataset=part)
        assert found.column_names == names
        np.testing.assert_array_equal(found.read(0, 3), X + plus)
        some = source.open_source(data, dataset=part, columns=[names[1]])
        np.testing.assert_array_equal(some.read(0, 3), X[:, 1:] + plus)
        with pytest.raises(ValueError, match=f"^{part} of this AnnData has no such column"):
            source.open_source(data, dataset=part, columns=["q"])
    assert source.open_source(data).column_names == ["a", "1"]
    found = source.open_source(data, dataset="obsm/p")
    assert not hasattr(found, "column_names") and found.read(0, 1).tolist() == [[20, 21]]


@pytest.mark.parametrize(
    "thing, anndata_like",
    [(anndata(), True), (SimpleNamespace(X=1, obs_names=[]), False), (SimpleNamespace(X=1, var_names=[]), False),
     (SimpleNamespace(obs_names=[], var_names=[]), False)],
)  # fmt: skip
def test_an_anndata_is_told_by_its_three_names(thing, anndata_like):
    assert source._is_anndata(thing) is anndata_like


def test_a_dataset_of_pyarrow_is_its_files_and_nothing_else(tmp_path):
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    for at in range(2):
        pq.write_table(pa.table({"a": [1.0 + at], "b": [2.0]}), tmp_path / f"{at}.parquet")
    whole = ds.dataset(tmp_path, format="parquet")
    assert source._is_dataset(whole) and not source._is_dataset(pa.table({"a": [1]}))
    assert source._files_of_dataset(whole) == list(whole.files) and len(whole.files) == 2
    assert source.open_source(whole).read(0, 2).tolist() == [[1, 2], [2, 2]]
    for made, words in (
        (SimpleNamespace(files=[], schema=whole.schema, format=whole.format), "no Parquet files"),
        (
            SimpleNamespace(files=whole.files, schema=whole.schema, format=SimpleNamespace(default_extname="csv")),
            "no Parquet files",
        ),
        (
            SimpleNamespace(
                files=whole.files, schema=pa.schema([("a", "f8"), ("z", "f8"), ("year", "i4")]), format=whole.format
            ),
            "a column that is none of its files' (year)",
        ),
    ):
        with pytest.raises(ValueError) as caught:
            source._files_of_dataset(made)
        assert str(caught.value).startswith(f"this dataset of pyarrow has {words}; write it as files in one folder: ")


# What is handed on, and to whom


@pytest.fixture
def handed(monkeypatch):
    """What the one way to a table is asked for in turn; the real one, and what it was called with."""
    real, told = source.open_source, []

    def asked(data, **how):
        told.append((data, how))
        return real(np.ones((2, 2)))

    monkeypatch.setattr(source, "open_source", asked)
    return real, told


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("columns", [None, ["a"]])
def test_choices_are_handed_on_to_the_part_of_an_anndata(handed, allowed, columns):
    real, told = handed
    data = anndata(var_names=["a", "b"])
    for part, table in (("obsm/p", 3), ("X", 1), ("layers/a", 2), ("raw/X", 4)):
        told.clear()
        if part == "raw/X":
            data.raw.var_names = ["a", "b"]
        found = source._of_anndata(data, part, columns, allowed)
        assert told == [
            (
                table,
                {"columns": columns, "allow_missing_chunks": allowed}
                if part == "obsm/p"
                else {"allow_missing_chunks": allowed},
            )
        ]
        if part != "obsm/p":
            assert found.shape == (2, 2 if columns is None else 1)
    told.clear()
    backed = type("BackedSparse", (), {"__module__": "anndata._core", "group": "the group"})()
    real(backed, columns=columns, allow_missing_chunks=allowed)
    assert told == [("the group", {"columns": columns, "allow_missing_chunks": allowed})]


@pytest.mark.parametrize(
    "module, names, kind",
    [
        ("x", ("iloc", "to_numpy", "shape", "__getitem__"), "FrameSource"),
        ("x", ("iloc", "shape", "__getitem__"), "SlicedSource"),
        ("x", ("to_numpy", "shape", "__getitem__"), "SlicedSource"),
        ("x", ("iloc", "to_numpy", "compute", "shape", "__getitem__"), "SlicedSource"),
        ("x", ("tocsr", "shape", "__getitem__"), "SlicedSource"),
        ("x", ("nnz", "shape", "__getitem__"), "SlicedSource"),
        ("x", ("tocsr", "nnz", "shape", "__getitem__"), "pass X.tocsr()"),
        ("x", ("to_dask_array", "shape", "__getitem__"), "Dask DataFrame"),
        ("x", ("compute", "shape", "__getitem__"), "SlicedSource"),
        ("dask.bag", ("shape", "__getitem__"), "SlicedSource"),
        ("x", ("shape",), "is not a table"), ("x", ("__getitem__",), "is not a table"),
        ("x.dask", ("compute", "shape", "__getitem__"), "SlicedSource"),
        ("x", ("group", "shape", "__getitem__"), "SlicedSource"),
        ("x", ("files", "schema", "shape", "__getitem__"), "SlicedSource"),
        ("pyarrow.x", ("files", "shape", "__getitem__"), "SlicedSource"),
        ("pyarrow.x", ("schema", "shape", "__getitem__"), "SlicedSource"),
    ],
)  # fmt: skip
def test_a_table_is_told_by_all_that_it_has(module, names, kind):
    """By one name alone it may be anything."""
    frame = pd.DataFrame(np.ones((2, 2)))
    has = {
        "shape": (2, 2),
        "iloc": frame.iloc,
        "dtypes": frame.dtypes,
        "columns": frame.columns,
        "__getitem__": lambda self, rows: np.ones((2, 2))[rows],
    }
    parts = {name: has.get(name, lambda self, *_, **__: None) for name in names}
    if kind == "FrameSource":
        parts |= {"dtypes": frame.dtypes, "columns": frame.columns}
    made = type("Thing", (), {"__module__": module, **parts})()
    if " " in kind or "." in kind:
        with pytest.raises(TypeError) as caught:
            source.open_source(made)
        assert kind in str(caught.value)
    else:
        assert type(source.open_source(made)).__name__ == kind


@pytest.mark.parametrize(
    "shape, chunks, told",
    [((7, 3), ((3, 4), (2, 1)), (4, 2)), ((2, 2), ((1, 1), (1, 1)), (1, 1)), ((3, 0), ((3,), (0,)), None), ((0, 3),
    ((0,), (3,)), None)],
)  # fmt: skip
def test_chunks_of_dask_are_the_largest(shape, chunks, told, monkeypatch):
    da = pytest.importorskip("dask.array")
    monkeypatch.setattr("tsne_ooc.io.bands.LARGEST", 0)
    X = np.arange(np.prod(shape), dtype="f4").reshape(shape)
    table = source.open_source(da.from_array(X, chunks=chunks))
    assert table.chunks == told and table.shape == shape and table.dtype == np.float32
    for start in range(shape[0] + 1):
        np.testing.assert_array_equal(table.read(start, shape[0]), X[start:])
    # A row of chunks is kept where it is at most twice as large as one of them, which must be computed whole.
    row, one = max(chunks[0]) * shape[1], max(chunks[0]) * max(chunks[1])
    assert table._banded._keeps == (row <= 2 * one)


def test_the_thread_that_reads_ahead_does_not_keep_python_from_ending():
    work = ahead(lambda item: item, range(3))
    next(work)
    (reader,) = [thread for thread in threading.enumerate() if thread.name == "tsne_ooc_read" and thread.is_alive()][
        -1:
    ]
    assert reader.daemon
    work.close()
    assert not reader.is_alive()


def test_open_files_of_a_table_behind_urls_keep_half_a_gigabyte():
    """As many as are open together, each with its parts."""
    assert files.MOST_OPEN * url_files.BLOCK * url_files.BLOCKS == 1 << 29


class AsyncStore:
    """A store of fsspec that is asked in a loop, and says what it was asked for."""

    def __init__(self, data):
        self.data, self.told = data, []

    async def set_session(self):
        self.told.append("session")
        return self

    async def close(self):
        self.told.append("closed")

    async def _cat_file(self, path, start, end):
        self.told.append((path, start, end))
        return self.data[start:end]


def test_a_store_that_is_asked_in_a_loop_gets_one_session_for_a_file(monkeypatch):
    store, asked = AsyncStore(bytes(range(50))), []
    monkeypatch.setattr(Url, "filesystem", lambda self, **how: asked.append(how) or (store, "b/x"))
    parts = url_files._Parts(Url("s3://b/x"), 50)
    assert asked == [{}, {"asynchronous": True, "skip_instance_cache": True}]
    assert parts(3, 7) == bytes([3, 4, 5, 6]) and parts(48, 99) == bytes([48, 49])
    assert store.told == ["session", ("b/x", 3, 7), ("b/x", 48, 50)]
    here = os.getpid()
    monkeypatch.setattr(url_files.os, "getpid", lambda: here + 1)
    parts.close()
    assert not parts._loop.is_closed()
    monkeypatch.setattr(url_files.os, "getpid", lambda: here)
    parts.close()
    parts.close()
    assert store.told[3:] == ["closed"] and parts._loop.is_closed()
    # One that was never asked has nothing to close but its loop.
    unasked = url_files._Parts(Url("s3://b/x"), 50)
    unasked.close()
    assert unasked._loop.is_closed() and store.told[3:] == ["closed"]


@pytest.mark.parametrize(
    "named, there, prefix, missing",
    [
        ("part.h5", "a/part.h5", None, 0), ("sub/part.h5", "a/sub/part.h5", None, 0),
        ("sub/part.h5", "a/part.h5", None, 1),
        ("part.h5", "c/part.h5", "c", 0), ("part.h5", "a/part.h5", "c", 0), ("part.h5", "b/part.h5", None, 1),
        ("part.h5", "a/deep/part.h5", "${ORIGIN}/deep", 0),
        ("/gone/part.h5", "a/part.h5", None, 0), ("/gone/part.h5", "a/other.h5", None, 1),
        ("part.h5", "part.h5", None, 0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dataset", ["d", "e"])
def test_sources_of_a_virtual_dataset_are_looked_for_where_hdf5_does(
    tmp_path, monkeypatch, named, there, prefix, missing, dataset
):
    """Beside the file itself, not beside a link to it; in the folder of the program; and where the user says."""
    for folder in ("a/sub", "a/deep", "b", "c"):
        (tmp_path / folder).mkdir(parents=True)
    with h5py.File(tmp_path / there, "w") as file:
        file["d"] = np.ones((2, 2))
    layout = h5py.VirtualLayout((2, 2), "f8")
    layout[:] = h5py.VirtualSource(named, dataset, (2, 2))
    with h5py.File(tmp_path / "a/x.h5", "w") as file:
        file.create_virtual_dataset("v", layout)
    (tmp_path / "b/x.h5").symlink_to(tmp_path / "a/x.h5")
    monkeypatch.chdir(tmp_path)
    if prefix is not None:
        monkeypatch.setenv("HDF5_VDS_PREFIX", prefix if "$" in prefix else str(tmp_path / prefix))
    for path in ("a/x.h5", "b/x.h5"):
        with h5py.File(tmp_path / path) as file:
            assert of_hdf5_dataset(file["v"]) == (missing if dataset == "d" else 1, 1, "sources")


def test_a_gap_among_other_cells_of_a_piece_is_named(tmp_path, monkeypatch):
    """And a file stays open for all of its pieces."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for at, values in enumerate(([1, None, 3, 4, 5, None], [7, 8])):
        pq.write_table(
            pa.table({"a": pa.array(values, "i4"), "b": pa.array(values, "f8")}),
            tmp_path / f"{at}.parquet",
            row_group_size=3,
        )
    opened, real = [], parquet._opened
    monkeypatch.setattr(parquet, "_opened", lambda path: opened.append(path.name) or real(path))
    with parquet.open_parquet(tmp_path, "a") as table:
        opened.clear()
        assert table.shape == (8, 1) and table.chunks == (3, 1) and table.dtype == np.int32
        for start, stop, row in ((0, 3, 1), (0, 8, 1), (2, 8, 5), (1, 2, 1), (5, 6, 5)):
            with pytest.raises(ValueError, match=rf"^column 'a' has no value \(null\) in row {row};"):
                table.read(start, stop)
        opened.clear()
        assert table.read(2, 5).tolist() == [[3], [4], [5]] and table.read(6, 8).tolist() == [[7], [8]]
        assert (
            table.read(0, 1).tolist() == [[1]]
            and table.read(3, 4).tolist() == [[4]]
            and table.read(0, 1).tolist() == [[1]]
        )
        assert opened == ["1.parquet", "0.parquet"]
    pq.write_table(pa.table({"a": pa.array([9], "i4"), "b": [1.0], "more": [2.0]}), tmp_path / "2.parquet")
    with pytest.raises(ValueError, match=r"2\.parquet has a column of numbers 'more', which 0\.parquet does not have"):
        parquet.open_parquet(tmp_path)
    with parquet.open_parquet(tmp_path, ["a"]) as table:
        assert table.shape == (9, 1) and table.read(8, 9).tolist() == [[9]]
