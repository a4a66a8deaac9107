"""Tables in HDF5 at their bounds: chunks that are narrow, caches that hold them, and handles that others own."""

from __future__ import annotations

import pickle
import warnings
from io import BytesIO

import h5py
import numpy as np
import pytest

from tsne_ooc.io import open_hdf5, open_source

MB = 1 << 20


def stored(path, shape, chunks=None, kind="f4", **attributes):
    """A dataset of which nothing was written, so that its size costs nothing."""
    with h5py.File(path, "w") as file:
        file.create_dataset("X", shape, kind, chunks=chunks).attrs.update(attributes)
    return path


@pytest.mark.parametrize(
    "shape, chunks, across",
    [
        # 64 MB, in eight chunks side by side, in nine, and in nine of which the last is cut.
        ((1 << 18, 64), (1024, 8), None),
        ((1 << 18, 64), (1024, 7), 10),
        ((1 << 18, 65), (1024, 8), 9),
        ((1 << 18, 72), (1024, 9), None),
        # A row less than 64 MB is read in a moment.
        (((1 << 18) - 1, 64), (1024, 7), None),
        ((1 << 12, 1 << 12), (64, 400), 11),
        # A row alone may be larger than a megabyte.
        ((64, 1 << 19), (1, 1 << 12), 128),
    ],
)
def test_narrow_chunks_are_told_from_64_megabytes_on(tmp_path, shape, chunks, across):
    path = stored(tmp_path / "x.h5", shape, chunks)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        open_hdf5(path, allow_missing_chunks=True).close()
    if across is None:
        assert not told
        return
    (one,) = told
    # The way out is given: chunks as wide as the table, of a megabyte or of one row.
    rows = max(1, MB // (4 * shape[1]))
    assert str(one.message) == (
        f"'/X' of x.h5 is stored in chunks of {chunks}: {across} side by side make up a row, so reading rows is slow; "
        f"write it again with chunks=({rows}, {shape[1]})"
    )
    assert one.category is UserWarning


def cache_of(source):
    return source._item.id.get_access_plist().get_chunk_cache()


@pytest.mark.filterwarnings("ignore:.*side by side make up a row")
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("chunks", [(10, 10), (1000, 16), (1000, 300), (2500, 1500), (6000, 4000)])
def test_the_cache_holds_a_row_of_chunks_and_64_megabytes_at_most(tmp_path, chunks, turned):
    """Rows that are read from top to bottom come back to each chunk of a row of chunks."""
    shape = (6000, 4000)
    path = stored(tmp_path / "x.h5", shape, chunks, **({"MATLAB_class": np.bytes_(b"single")} if turned else {}))
    with open_hdf5(path, allow_missing_chunks=True) as source:
        # Of a table that is stored transposed, rows are columns of the dataset.
        width, across = (shape[0], chunks[0]) if turned else (shape[1], chunks[1])
        needed = chunks[0] * chunks[1] * 4 * -(-width // across)
        _, size, _ = cache_of(source)
        assert source.shape == (shape[::-1] if turned else shape)
        assert source.chunks == (chunks[::-1] if turned else chunks)
        assert size >= min(needed, 64 * MB) and size <= max(64 * MB, needed if needed <= 64 * MB else 0)
        # A row of chunks that does not fit is read band by band, and not chunk by chunk for every block.
        assert (source._banded is not None) == (needed > size)


def test_the_cache_holds_a_chunk_of_each_array_of_a_sparse_matrix(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "shape": (3, 5_000_000)})
        n = 1_500_000
        group.create_dataset("data", data=np.ones(n, "f4"), chunks=(n,))
        group.create_dataset("indices", data=np.arange(n, dtype="i8"), chunks=(n,))
        group.create_dataset("indptr", data=np.array([0, n, n, n]))
    with open_hdf5(tmp_path / "x.h5") as source:
        sizes = [source._item[part].id.get_access_plist().get_chunk_cache()[1] for part in ("data", "indices")]
        assert min(sizes) >= 8 * n
        assert source.read_some(0, 3, np.array([0, n - 1, n])).tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_missing_chunks_are_refused_unless_they_are_allowed(tmp_path):
    """That is so for each way to open a table, where nothing is said."""
    path = stored(tmp_path / "x.h5", (40, 3), (10, 3))
    for opened in (open_hdf5, open_source):
        with pytest.raises(OSError, match=r"4 of 4 chunks of dataset '/X'"):
            opened(path)
        with opened(path, allow_missing_chunks=True) as source:
            assert not source.read(0, 40).any()
    with h5py.File(path) as file:
        for item in (file, file["X"]):
            with pytest.raises(OSError, match=r"4 of 4 chunks of dataset '/X'"):
                open_source(item)
            assert open_source(item, allow_missing_chunks=True).shape == (40, 3)


@pytest.mark.parametrize("kind", ["core", "fileobj"])
def test_a_table_that_is_not_on_the_disk_cannot_be_opened_by_others(kind):
    held = BytesIO()
    how = {"driver": "core", "backing_store": False} if kind == "core" else {}
    with h5py.File("in memory" if kind == "core" else held, "w", **how) as file:
        file["X"] = np.arange(12.0).reshape(4, 3)
        source = open_source(file["X"])
        assert source.path is None and not source.opened_here and source.reopen() is source
        with pytest.raises(TypeError) as caught:
            pickle.dumps(source)
        assert str(caught.value) == (
            f"{source!r} is not on the disk, and another process cannot open it; write it to a file"
        )
        # Its owner's file stays open.
        source.close()
        assert file["X"][0, 0] == 0 and source.read(1, 2).tolist() == [[3, 4, 5]]
    with pytest.raises(ValueError, match=r"is closed; read from it within its `with` statement"):
        source.read(0, 1)
    with pytest.raises(ValueError, match="the HDF5 file of this dataset is closed"):
        open_source(file["X"] if file else source._item)


def test_a_source_says_where_it_is(tmp_path, monkeypatch):
    """Its path is that of the disk, whatever the program's folder is by then."""
    monkeypatch.chdir(tmp_path)
    with h5py.File("x.h5", "w") as file:
        file["deep/X"] = np.arange(12.0).reshape(4, 3)
    with h5py.File("x.h5") as file:
        given = open_source(file["deep/X"])
        assert given.path == (tmp_path / "x.h5").resolve() and not given.opened_here
        assert repr(given) == f"dataset '/deep/X' of {given.path}, shape (4, 3)" and given.name == "/deep/X"
        with open_source("x.h5") as opened:
            assert repr(opened) == repr(given) and opened.opened_here
            (tmp_path / "elsewhere").mkdir()
            monkeypatch.chdir(tmp_path / "elsewhere")
            with opened.reopen() as again, pickle.loads(pickle.dumps(opened)) as third:
                assert again is not opened and again.opened_here
                for one in (again, third):
                    np.testing.assert_array_equal(one.read(0, 4), opened.read(0, 4))


def test_fields_are_told_by_their_types(tmp_path):
    """What is not a column of numbers is left out, and why."""
    kind = [("a", "i2"), ("b", "?"), ("s", "S3"), ("t", h5py.string_dtype()), ("v", "V4"), ("c", "c8"), ("w", "f4", 2)]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        rows = np.zeros(5, kind)
        rows["t"] = "u"
        file["X"] = rows
    with open_source(tmp_path / "x.h5") as source:
        assert source.column_names == ["a", "b"] and source.shape == (5, 2) and source.dtype == np.int16
        assert source.left_out == ["s", "t", "v", "c", "w"] and set(source.unread) == {*"stvcw"}
        assert all("text" in source.unread[name] for name in "st")
        assert "complex64" in source.unread["c"] and "void32" in source.unread["v"].replace("|V4", "void32")
        assert source.chunks is None
    with open_source(tmp_path / "x.h5", columns=["b", "s"]) as source:
        assert source.column_names == ["b", "s"] and source.left_out == []
        assert source.read_columns(1, 3)["s"].tolist() == ["", ""]


def test_bytes_that_are_no_text_stay_apart(tmp_path):
    """Two words that differ in such a byte are two words."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["X"] = np.array([(1, b"a\xff"), (2, b"a\xfe"), (3, "ä".encode())], [("n", "i4"), ("s", "S3")])
    with open_source(tmp_path / "x.h5", columns=["n", "s"]) as source:
        found = source.read_columns(0, 3)
    assert found["s"].tolist() == ["a\\xff", "a\\xfe", "ä"] and found["s"].dtype == object
    assert found["n"].tolist() == [1, 2, 3] and found["n"].dtype == np.int32


def test_chunks_of_records_are_rows_of_all_columns(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("X", data=np.zeros(50, "f4,f4,f4"), chunks=(20,))
    with open_source(tmp_path / "x.h5") as source:
        assert source.chunks == (20, 3)
    with open_source(tmp_path / "x.h5", columns=["f1"]) as source:
        assert source.chunks == (20, 1)
