"""Sources read what is there, in any blocks, and bad files end in one clear line."""

import pickle
import threading
import tracemalloc

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsne_ooc.io import Hdf5Table, NpySink, Source, as_source, iterate, names_of, open_hdf5, open_source, open_zarr
from tsne_ooc.io.columns import choose
from tsne_ooc.io.cuts import block_rows, edges
from tsne_ooc.io.kinds import format_of
from tsne_ooc.io.memory import FrameSource, MemmapSource, SlicedSource
from tsne_ooc.io.parquet import open_parquet


def numbers(n=103, p=7, dtype=np.float32):
    return np.random.default_rng(0).normal(scale=30, size=(n, p)).astype(dtype)


class Own:
    """The ten lines a user writes to read from anywhere."""

    def __init__(self, data, chunks=None):
        self._data, self.shape, self.dtype, self.chunks = data, data.shape, data.dtype, chunks

    def __getitem__(self, rows):
        return self._data[rows]


@pytest.fixture(params=["array", "fortran", "memmap", "hdf5", "chunked", "gzip", "frame", "list", "own", "npy", "h5"])
def any_source(request, tmp_path):
    X = numbers()
    if request.param in ("hdf5", "chunked", "gzip", "h5"):
        more = {"chunked": {"chunks": (10, 3)}, "gzip": {"chunks": (16, 7), "compression": "gzip"}}
        with h5py.File(tmp_path / "X.h5", "w") as file:
            file.create_dataset("X", data=X, **more.get(request.param, {}))
        if request.param == "h5":
            source = as_source(tmp_path / "X.h5")
            yield X, source
            source.close()
            return
        with h5py.File(tmp_path / "X.h5") as file:
            yield X, as_source(file["X"])
        return
    np.save(tmp_path / "X.npy", X)
    yield (
        X,
        as_source(
            {
                "array": X,
                "fortran": np.asfortranarray(X),
                "memmap": np.load(tmp_path / "X.npy", mmap_mode="r"),
                "frame": pd.DataFrame(X),
                "list": X.tolist(),
                "own": Own(X, chunks=(8, 7)),
                "npy": str(tmp_path / "X.npy"),
            }[request.param]
        ),
    )


def test_contract(any_source):
    X, source = any_source
    assert isinstance(source, Source)
    assert source.shape == X.shape
    assert source.dtype in (np.float32, np.float64)
    assert source.chunks is None or len(source.chunks) == 2
    assert as_source(source) is source
    np.testing.assert_array_equal(source.read(5, 9), X[5:9])
    again = source.reopen()
    np.testing.assert_array_equal(again.read(0, len(X)), X)
    if again is not source and hasattr(again, "close"):
        again.close()
    assert "103" in repr(source)


def test_blocks_put_together_are_the_table(any_source):
    X, source = any_source
    blocks = list(iterate(source, bytes=500))
    assert len(blocks) > 2
    assert [start for start, _, _ in blocks[1:]] == [stop for _, stop, _ in blocks[:-1]]
    assert all(block.dtype == np.float32 and block.flags.c_contiguous for _, _, block in blocks)
    np.testing.assert_array_equal(np.concatenate([block for _, _, block in blocks]), X)


@settings(deadline=None, max_examples=200)
@given(
    n=st.integers(1, 60),
    chunk=st.none() | st.integers(1, 80),
    rows=st.none() | st.integers(1, 70),
    limit=st.integers(1, 2000),
    cut=st.tuples(st.integers(0, 60), st.integers(0, 60)),
)
def test_any_blocks_read_the_same(n, chunk, rows, limit, cut):
    X = numbers(n, 3)
    start, stop = sorted(min(edge, n) for edge in cut)
    source = as_source(Own(X, chunks=None if chunk is None else (chunk, 3)))
    blocks = list(iterate(source, bytes=limit, rows=rows, start=start, stop=stop))
    joined = np.concatenate([np.empty((0, 3), np.float32), *(block for _, _, block in blocks)])
    np.testing.assert_array_equal(joined, X[start:stop])
    for a, b, block in blocks:
        assert len(block) == b - a >= 1
        assert len(block) <= (rows or max(1, limit // 12))


@settings(deadline=None, max_examples=200)
@given(n=st.integers(1, 500), chunk=st.integers(1, 100), limit=st.integers(12, 3000))
def test_no_chunk_is_read_twice_where_one_fits(n, chunk, limit):
    source = as_source(Own(numbers(n, 3), chunks=(chunk, 3)))
    rows = block_rows(source, limit)
    cuts = {start for start, _ in edges(source, rows, 0, n)}
    if chunk * 12 <= limit:
        assert all(cut % chunk == 0 for cut in cuts)
    else:
        assert set(range(0, n, chunk)) <= cuts


@pytest.mark.parametrize("bad, word", [(np.nan, "NaN"), (np.inf, "infinity")])
def test_a_bad_cell_deep_in_a_file_is_named(tmp_path, bad, word):
    X = numbers(5000, 4)
    X[4321, 2] = bad
    with h5py.File(tmp_path / "X.h5", "w") as file:
        file.create_dataset("X", data=X, chunks=(100, 4))
    with (
        open_hdf5(tmp_path / "X.h5") as source,
        pytest.raises(ValueError, match=f"{word}.* at row 4321, column 2"),
    ):
        for _ in iterate(source, bytes=3000):
            pass


def test_an_error_while_reading_names_the_rows():
    class Torn(Own):
        def __getitem__(self, rows):
            if rows.start >= 40:
                raise OSError("wrong checksum")
            return super().__getitem__(rows)

    seen = 0
    with pytest.raises(OSError, match=r"rows 40 to 49 of Torn of shape .* could not be read: wrong checksum"):
        for _, stop, _ in iterate(Torn(numbers()), rows=10):
            seen = stop
    assert seen == 40


def test_a_table_that_shrinks_is_noticed():
    class Shrunk(Own):
        def __getitem__(self, rows):
            return super().__getitem__(rows)[:3]

    with pytest.raises(ValueError, match=r"rows 0 to 9 of Shrunk .* came back as 3 rows"):
        next(iterate(Shrunk(numbers()), rows=10))


def test_the_next_block_is_read_meanwhile_and_no_more():
    reads = []
    two = threading.Event()

    class Watched(Own):
        def __getitem__(self, rows):
            reads.append(rows.start)
            if len(reads) >= 2:
                two.set()
            return super().__getitem__(rows)

    before = set(threading.enumerate())
    blocks = iterate(Watched(numbers()), rows=10)
    next(blocks)
    assert two.wait(10)
    blocks.close()
    assert reads == [0, 10]
    left = set(threading.enumerate()) - before
    assert not [thread for thread in left if thread.name.startswith("tsne_ooc_read")]


def test_memory_does_not_grow_with_the_file():
    class Endless:
        shape, dtype, chunks = (1_500_000, 64), np.dtype("f8"), (1000, 64)

        def __getitem__(self, rows):
            return np.zeros((rows.stop - rows.start, 64))

    tracemalloc.start()
    try:
        assert sum(len(block) for _, _, block in iterate(Endless())) == 1_500_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # A block as it is stored (float64) and two of float32, against 768 MB in all.
    assert 32e6 < peak < 100e6


def test_wrong_number_of_columns_is_said_before_reading():
    with pytest.raises(ValueError, match="X has 7 features, but TSNE is expecting 5 features"):
        iterate(numbers(), columns=5)


def test_bad_ranges_and_rows():
    with pytest.raises(ValueError, match="rows 0 to 200 are not within the 103 rows"):
        iterate(numbers(), stop=200)
    with pytest.raises(ValueError, match="rows=0 must be at least 1"):
        iterate(numbers(), rows=0)


def test_no_rows_at_all_give_no_blocks():
    assert list(iterate(numbers(0, 3))) == []


def test_a_row_larger_than_the_bound_is_a_block():
    assert [stop - start for start, stop, _ in iterate(numbers(3, 500), bytes=100)] == [1, 1, 1]


def test_frames_name_their_columns_when_streamed():
    frame = pd.DataFrame(numbers(20, 2, np.float64), columns=["length", "width"])
    frame.loc[13, "width"] = np.nan
    assert isinstance(as_source(frame), FrameSource)
    with pytest.raises(ValueError, match=r"NaN at row 13, column 1 \('width'\)"):
        list(iterate(frame, rows=4))


@pytest.mark.parametrize(
    "data, error, message",
    [
        (np.ones(3), ValueError, "Expected 2D array, got 1D array instead"),
        (Own(np.ones((2, 2, 2))), ValueError, "Expected 2D array, got 3D array instead: the Own has shape"),
        (5, TypeError, "a int is not a table"),
        (pd.DataFrame({"a": [1.0]}).to_dict(), TypeError, "a dict is not a table"),
        ("nowhere.h5", FileNotFoundError, "there is no file nowhere.h5"),
        ("nowhere.npy", FileNotFoundError, "there is no file nowhere.npy"),
    ],
)
def test_what_is_no_source(data, error, message):
    with pytest.raises(error, match=message):
        as_source(data)


@pytest.mark.parametrize("kind", ["csc", "coo", "lil"])
def test_sparse_must_be_csr(kind):
    import scipy.sparse as sp

    with pytest.raises(TypeError, match=rf"sparse {kind}_array, whose rows .*; pass X\.tocsr\(\)"):
        as_source(sp.csr_array(np.eye(3)).asformat(kind))


def test_damaged_npy(tmp_path):
    (tmp_path / "X.npy").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"X\.npy is not a whole \.npy file"):
        as_source(tmp_path / "X.npy")


def test_chunks_of_dask_are_regular_enough():
    assert SlicedSource(Own(numbers(), chunks=((50, 50, 3), (7,)))).chunks == (50, 7)
    assert SlicedSource(Own(numbers(), chunks="auto")).chunks is None


def test_memory_maps_pickle_by_name(tmp_path):
    X = numbers(20_000, 5)
    np.save(tmp_path / "X.npy", X)
    source = as_source(np.load(tmp_path / "X.npy", mmap_mode="r")[100:])
    assert isinstance(source, MemmapSource)
    text = pickle.dumps(source)
    assert len(text) < 1000
    for other in (pickle.loads(text), source.reopen()):
        assert other.shape == (19_900, 5)
        np.testing.assert_array_equal(other.read(0, 10), X[100:110])


# One way in


def test_kinds_are_told_by_what_files_hold(tmp_path):
    X = numbers()
    np.save(tmp_path / "X.npy", X)
    (tmp_path / "X.npy").rename(tmp_path / "X.h5")
    with open_source(tmp_path / "X.h5") as source:
        assert isinstance(source, MemmapSource)
    with h5py.File(tmp_path / "late", "w", userblock_size=1024) as file:
        file["X"] = X
    with open_source(tmp_path / "late") as source:
        np.testing.assert_array_equal(source.read(0, 103), X)


@pytest.mark.parametrize(
    "name, content, message",
    [
        (
            "X.csv",
            b"a,b\n1,2\n",
            r"X\.csv is not a table that can be read by rows: .* first: tsne-ooc prepare",
        ),
        ("X.npz", b"PK\x03\x04", r"X\.npz is not .*: .*numpy\.save\('table\.npy', numpy\.load\(path\)\[name\]\)"),
        ("X.pkl", b"\x80", r"X\.pkl is not .*: a pickle may run any program"),
        ("X.zip", b"PK\x03\x04", r"X\.zip is a zip archive that holds no Zarr table"),
        ("X.what", b"?", r"X\.what is not a table that can be read; HDF5 \(also \.h5ad\), \.npy, Zarr and Parquet are"),
        ("X", b"", r"X is not a table that can be read"),
        ("X.h5", b"", r"X\.h5 is not an HDF5 file"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OSError, match=message) as caught:
        open_source(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_folders_that_cannot_be_read(tmp_path):
    with pytest.raises(IsADirectoryError, match=r"neither a Zarr table nor holds \.parquet files; it is empty"):
        open_source(tmp_path)
    (tmp_path / "notes").touch()
    with pytest.raises(IsADirectoryError, match=r"it has notes$"):
        open_source(tmp_path)


def test_choices_that_do_not_fit(tmp_path, zoo):
    np.save(tmp_path / "X.npy", numbers())
    for path, choice in ((tmp_path / "X.npy", "dataset"), (tmp_path / "X.npy", "columns"), (zoo, "columns")):
        more = {"dataset": "counts"} if path == zoo else {}
        with pytest.raises(ValueError, match=f"{choice}='a' cannot choose"):
            open_source(path, **{choice: "a"}, **more)
    for choice in ("dataset", "columns"):
        with pytest.raises(TypeError, match=f"{choice}='a'"):
            open_source(numbers(), **{choice: "a"})


def test_columns_of_frames():
    frame = pd.DataFrame(numbers(20, 3), columns=["length", "width", 7])
    source = open_source(frame, columns=["7", "l*"])
    assert source.column_names == ["7", "length"]
    np.testing.assert_array_equal(source.read(3, 9), frame[[7, "length"]][3:9])
    np.testing.assert_array_equal(source.read_columns(3, 9)["length"], frame["length"][3:9])


@pytest.mark.parametrize(
    "wanted, chosen",
    [
        ("a", ["a"]),
        (["b1", "a"], ["b1", "a"]),
        ("b*", ["b2", "b1", "b*"[:1]]),
        (["b1", "b*"], ["b1", "b2", "b"]),
        ("*", ["a", "b2", "b1", "x*", "b", "[b]"]),
        ("x*", ["x*"]),
        ("[*", ["[b]"]),
    ],
)
def test_choosing_columns(wanted, chosen):
    assert choose(["a", "b2", "b1", "x*", "b", "[b]"], wanted, "X") == chosen


@pytest.mark.parametrize(
    "wanted, message",
    [
        ("lenght", r"X has no such column: columns='lenght' is not known; did you mean 'length'\?"),
        ("q*", r"X has no column that fits columns='q\*'; it has length, width, width"),
        ("width", "X has several columns 'width'"),
        ([], r"columns=\[\] chooses no column of X"),
    ],
)
def test_columns_that_cannot_be_chosen(wanted, message):
    with pytest.raises(ValueError, match=message):
        choose(["length", "width", "width"], wanted, "X")


def test_copy_on_write_maps_are_arrays(tmp_path):
    """What was changed in memory alone is not in the file that a pickle would point at."""
    np.save(tmp_path / "X.npy", numbers())
    data = np.load(tmp_path / "X.npy", mmap_mode="c")
    data[5] = 0
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(as_source(data))).read(0, 103), data)


# HDF5


@pytest.fixture
def zoo(tmp_path):
    path = tmp_path / "zoo.h5"
    with h5py.File(path, "w") as file:
        file["counts"] = numbers()
        file["obsm/X_pca"] = numbers(103, 3)
        file["y"] = np.arange(103)
        file["cube"] = np.ones((2, 3, 4))
        file["title"] = "hello"
        file["number"] = 3.0
        file["names"] = [["a", "b"]]
        file["waves"] = np.ones((3, 3), complex)
        file["records"] = np.zeros((2, 2), [("a", "f4"), ("b", "i4")])
        file["words"] = np.zeros(3, [("a", "S3"), ("b", "S1")])
        file["nothing"] = h5py.Empty("f4")
        file.create_group("void")
    return path


@pytest.mark.parametrize(
    "dataset, message",
    [
        (None, r"has 2 tables, name the one to read: counts \(103, 7\), obsm/X_pca \(103, 3\)"),
        ("count", r"has no dataset 'count'; did you mean 'counts'\? it has counts \(103, 7\), cube"),
        ("X_pca", r"did you mean 'obsm/X_pca'\?"),
        ("Y", r"has no dataset 'Y'; did you mean 'y'\?"),
        ("qqq", r"has no dataset 'qqq'; it has counts"),
        ("obsm", r"'obsm' of .* is a group, not a dataset; it holds obsm/X_pca \(103, 3\)"),
        ("void", "is a group, not a dataset; it holds no datasets"),
        ("y", r"is 1-D, shape \(103,\)"),
        ("cube", r"is 3-D, shape \(2, 3, 4\)"),
        ("title", "holds strings or objects, not numbers"),
        ("names", "holds strings or objects, not numbers"),
        ("number", r"is a scalar, shape \(\)"),
        ("waves", "Complex data not supported"),
        ("records", "is a compound table with fields a, b"),
        ("words", "has no field of numbers; it has a, b"),
        ("nothing", "is empty"),
    ],
)
def test_what_is_no_table_in_a_file(zoo, dataset, message):
    with pytest.raises(ValueError, match=message) as caught:
        open_hdf5(zoo, dataset)
    assert "\n" not in str(caught.value)
    # The file is closed again.
    h5py.File(zoo, "a").close()


def test_the_only_table_is_taken(tmp_path):
    with h5py.File(tmp_path / "X.h5", "w") as file:
        file["deep/er/table"] = numbers()
        file["y"] = np.arange(103)
    with open_hdf5(tmp_path / "X.h5") as source:
        assert source.name == "/deep/er/table"
        np.testing.assert_array_equal(source.read(0, 103), numbers())


def test_a_file_without_tables(tmp_path):
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["y"] = np.arange(103)
    with pytest.raises(ValueError, match=r"no two-dimensional numeric dataset; it has y \(103,\)"):
        open_hdf5(tmp_path / "y.h5")
    h5py.File(tmp_path / "z.h5", "w").close()
    with pytest.raises(ValueError, match="it has no datasets at all"):
        open_hdf5(tmp_path / "z.h5")


def test_files_that_are_none(tmp_path, zoo):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nowhere"):
        open_hdf5(tmp_path / "nowhere.h5")
    with pytest.raises(IsADirectoryError, match="is a folder, not an HDF5 file"):
        open_hdf5(tmp_path)
    (tmp_path / "text.h5").write_text("length,width\n1,2\n")
    with pytest.raises(OSError, match=r"text\.h5 is not an HDF5 file"):
        open_hdf5(tmp_path / "text.h5")
    (tmp_path / "empty.h5").write_bytes(b"")
    with pytest.raises(OSError, match=r"empty\.h5 is not an HDF5 file"):
        open_hdf5(tmp_path / "empty.h5")
    whole = zoo.read_bytes()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OSError, match=r"half\.h5 is cut short"):
        open_hdf5(tmp_path / "half.h5")
    (tmp_path / "start.h5").write_bytes(whole[:20])
    with pytest.raises(OSError, match=r"start\.h5 cannot be opened as HDF5 \(damaged or cut short"):
        open_hdf5(tmp_path / "start.h5")


def test_closed_files(zoo):
    with open_hdf5(zoo, "counts") as source:
        source.read(0, 1)
    with pytest.raises(ValueError, match=r"zoo\.h5 is closed"):
        source.read(0, 1)
    with h5py.File(zoo) as file:
        dataset = file["counts"]
    with pytest.raises(ValueError, match="the HDF5 file of this dataset is closed"):
        as_source(dataset)


def test_an_open_dataset_stays_open(zoo):
    with h5py.File(zoo) as file:
        as_source(file["counts"]).close()
        assert file["counts"].shape == (103, 7)


def test_hdf5_pickles_by_path(zoo):
    with open_hdf5(zoo, "counts") as source:
        text = pickle.dumps(source)
    assert len(text) < 1000
    with pickle.loads(text) as other:
        np.testing.assert_array_equal(other.read(0, 103), numbers())


def test_a_forked_process_opens_the_file_anew(zoo):
    with open_hdf5(zoo, "counts") as source:
        parents = source._file
        # As if this process were the child of the one that opened the file.
        source._process = -1
        np.testing.assert_array_equal(source.read(3, 50), numbers()[3:50])
        assert source._file is not parents and parents
        parents.close()
        np.testing.assert_array_equal(source.read(0, 103), numbers())


def test_narrow_chunks_are_warned_of(tmp_path):
    with h5py.File(tmp_path / "X.h5", "w") as file:
        # Nothing is written: unwritten chunks take no room.
        file.create_dataset("narrow", (400_000, 50), "f4", chunks=(6250, 2))
        file.create_dataset("wide", (400_000, 50), "f4", chunks=(1000, 50))
        file.create_dataset("small", (400, 50), "f4", chunks=(10, 2))
    with pytest.warns(UserWarning, match=r"chunks of \(6250, 2\): 25 side by side .* chunks=\(5242, 50\)"):
        open_hdf5(tmp_path / "X.h5", "narrow", allow_missing_chunks=True).close()
    with h5py.File(tmp_path / "X.h5") as file, pytest.warns(UserWarning, match="25 side by side"):
        open_source(file["narrow"], allow_missing_chunks=True)
    for name in ("wide", "small"):
        open_hdf5(tmp_path / "X.h5", name, allow_missing_chunks=True).close()


def test_the_cache_holds_a_row_of_chunks(tmp_path):
    with h5py.File(tmp_path / "X.h5", "w") as file:
        file.create_dataset("X", (100_000, 50), "f4", chunks=(100_000, 50))
    with open_hdf5(tmp_path / "X.h5", allow_missing_chunks=True) as source:
        assert source._item.id.get_access_plist().get_chunk_cache()[1] >= 20_000_000


def test_fields_are_columns(tmp_path):
    kind = [("label", h5py.string_dtype()), ("x", "f4"), ("code", "S2"), ("n", "i2"), ("pair", "f4", (2,))]
    rows = np.array([(f"r{i}é", i / 2, b"ab", -i, (i, i)) for i in range(30)], kind)
    with h5py.File(tmp_path / "X.h5", "w") as file:
        file.create_dataset("rows", data=rows, chunks=(8,))
    with open_source(tmp_path / "X.h5") as source:
        assert isinstance(source, Hdf5Table)
        assert source.column_names == ["x", "n"] and source.left_out == ["label", "code", "pair"]
        assert source.shape == (30, 2) and source.dtype == np.float32 and source.chunks == (8, 2)
        np.testing.assert_array_equal(source.read(3, 9), np.stack([rows["x"], rows["n"]], axis=1)[3:9])
    with open_source(tmp_path / "X.h5", dataset="rows", columns=["n", "label", "code"]) as source:
        assert source.left_out == []
        columns = pickle.loads(pickle.dumps(source)).read_columns(3, 5)
        assert list(columns) == ["n", "label", "code"]
        assert columns["label"].tolist() == ["r3é", "r4é"] and columns["code"].tolist() == ["ab", "ab"]
        with pytest.raises(
            TypeError,
            match=r"could not be read: column 'label' does not hold numbers; make columns of its words with OneHot",
        ):
            next(iterate(source))


# Sinks


def test_sink_writes_what_numpy_writes(tmp_path):
    Y = numbers(100, 2)
    with NpySink(tmp_path / "Y.npy", Y.shape) as sink:
        for start in range(0, 100, 30):
            assert not (tmp_path / "Y.npy").exists()
            sink.write(Y[start : start + 30])
    loaded = np.load(tmp_path / "Y.npy")
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, Y)
    np.save(tmp_path / "same.npy", Y)
    assert (tmp_path / "Y.npy").stat().st_mode == (tmp_path / "same.npy").stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Y.npy", "same.npy"]


def test_sink_leaves_nothing_after_an_error(tmp_path):
    with pytest.raises(KeyboardInterrupt), NpySink(tmp_path / "Y.npy", (10, 2)) as sink:
        sink.write(np.zeros((10, 2)))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_sink_refuses_a_short_or_a_long_file(tmp_path):
    with (
        pytest.raises(ValueError, match="short of rows: 4 of 10 were written"),
        NpySink(tmp_path / "Y.npy", (10, 2)) as sink,
    ):
        sink.write(np.zeros((4, 2)))
    with (
        pytest.raises(ValueError, match=r"takes rows of shape \(10, 2\); 4 are written, and \(7, 2\) more do not fit"),
        NpySink(tmp_path / "Y.npy", (10, 2)) as sink,
    ):
        sink.write(np.zeros((4, 2)))
        sink.write(np.zeros((7, 2)))
    assert list(tmp_path.iterdir()) == []


def test_sink_keeps_the_older_file_until_the_end(tmp_path):
    np.save(tmp_path / "Y.npy", np.ones((1, 1)))
    with pytest.raises(ValueError, match="short of rows"):
        NpySink(tmp_path / "Y.npy", (10, 2)).close()
    np.testing.assert_array_equal(np.load(tmp_path / "Y.npy"), [[1]])


def test_sink_needs_a_folder_and_room(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        NpySink(tmp_path / "nowhere" / "Y.npy", (10, 2))
    with pytest.raises(OSError, match=r"Y\.npy needs 8000000000\.00 GB more, and .* GB left"):
        NpySink(tmp_path / "Y.npy", (10**18, 2))


KINDS = {
    "hdf5": lambda path, X: h5py.File(path, "w").create_dataset("X", data=X).file.close(),
    "npy": lambda path, X: np.save(path.with_suffix(".npy"), X),
    "parquet": lambda path, X: pytest.importorskip("pandas").DataFrame(X, columns=["a", "b"]).to_parquet(path),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["x", "x.bin", "x.csv", "x.npz", "x.h5", "x.npy", "x.parquet", "x.zarr"])
def test_a_name_that_says_something_else_is_not_in_the_way(tmp_path, kind, name):
    X = np.arange(6.0).reshape(3, 2)
    (tmp_path / "made").mkdir()
    KINDS[kind](tmp_path / "made" / "x", X)
    next((tmp_path / "made").iterdir()).rename(tmp_path / name)
    with open_source(tmp_path / name) as source:
        np.testing.assert_array_equal(source.read(0, 3), X)


@pytest.mark.parametrize("count", [2, 9, 10, 11, 30])
def test_ten_tables_are_listed_and_how_many_more_there_are(tmp_path, count):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for number in range(count):
            file.create_dataset(f"x{number:04}", (number + 1, 2), "f4")
    shown = ", ".join(f"x{number:04} ({number + 1}, 2)" for number in range(min(10, count)))
    more = f" and {count - 10} more" if count > 10 else ""
    with pytest.raises(ValueError) as caught:
        open_source(tmp_path / "x.h5")
    assert str(caught.value) == f"{tmp_path / 'x.h5'} has {count} tables, name the one to read: {shown}{more}"
    with pytest.raises(ValueError) as caught:
        open_source(tmp_path / "x.h5", dataset="q")
    assert str(caught.value) == f"{tmp_path / 'x.h5'} has no dataset 'q'; it has {shown}{more}"


@pytest.mark.parametrize(
    "columns, kind",
    [
        ({}, "f8"),
        ({"a": np.float32}, "f4"),
        ({"a": np.int16}, "i2"),
        ({"a": np.int16, "b": np.float32}, "f4"),
        ({"a": "Int16"}, "f8"),
        ({"a": np.float32, "b": "Float32"}, "f8"),
        ({"a": "datetime64[ns]"}, "f8"),
        ({"a": np.float32, "b": "datetime64[ns]"}, "f8"),
    ],
)
def test_the_type_of_a_frame_holds_all_its_columns(columns, kind):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({name: pd.Series([], dtype=one) for name, one in columns.items()})
    source = open_source(frame)
    assert source.dtype == np.dtype(kind) and source.column_names == list(columns)
    assert repr(source) == f"DataFrame of shape (0, {len(columns)})" and source.reopen() is source


@pytest.mark.parametrize(
    "wanted, chosen",
    [
        (["a", "b", "c"], ["a,b", "c"]),
        (["a", "b", "d", "e", "c"], ["a,b", "d,e,c"]),
        (["c", "a", "b"], ["c", "a,b"]),
        (["d", "e", "c", "a", "b"], ["d,e,c", "a,b"]),
        (["d*", "c"], ["d,e,c", "c"]),
    ],
)
def test_names_that_a_list_cut_at_their_commas_are_put_together(wanted, chosen):
    assert choose(["a,b", "c", "d,e,c"], wanted, "X") == chosen
    with pytest.raises(ValueError, match=r"^X has no such column: .*'b'"):
        choose(["a,b", "c", "d,e,c"], ["c", "b"], "X")


def test_parts_of_an_anndata_called_x(tmp_path):
    """A layer may have the name of the table itself, and so may a part of obsm; `raw` has one of its own."""
    X = np.arange(12.0, dtype="f4").reshape(4, 3)
    data = pytest.importorskip("anndata").AnnData(X)
    data.raw = data.copy()
    data.X = X + 1
    data.layers["X"], data.obsm["X"] = X + 2, X[:, :2] + 3
    for dataset, wanted in {"X": X + 1, "raw/X": X, "layers/X": X + 2, "obsm/X": X[:, :2] + 3, "/X/": X + 1}.items():
        np.testing.assert_array_equal(open_source(data, dataset=dataset).read(0, 4), wanted)
    np.testing.assert_array_equal(open_source(data, dataset="raw").read(0, 4), X)
    for dataset in ("layers", "obsm", "raw/Y", "X/Y", "layers/Y", "obsm/Y", "var", "obs/X"):
        with pytest.raises(ValueError) as caught:
            open_source(data, dataset=dataset)
        assert str(caught.value) == f"this AnnData has no table {dataset!r}; it has X, layers/X, obsm/X"
    # What is kept as raw has neither layers nor obsm.
    with pytest.raises(ValueError, match=r"^this AnnData has no table 'layers/X'; it has X$"):
        open_source(data.raw, dataset="layers/X")


def test_columns_of_a_frame_come_as_they_are():
    """Whole numbers stay whole beside a gap, words that are missing are None, and each column keeps its own type."""
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {
            "int": pd.array([1, None, 2**62 + 1], "Int64"),
            "whole": pd.array([1, 2, 3], "Int8"),
            "float": pd.array([0.5, None, 2.0], "Float32"),
            "bool": pd.array([True, None, False], "boolean"),
            "word": pd.Categorical(["b", None, "a"], ["a", "b", "c"]),
            "none": pd.Categorical([None, None, None], ["a"]),
            "text": ["x", None, "z"],
            "plain": np.array([1, 2, 3], "u1"),
            "when": pd.to_datetime(["2020-01-01", None, "2021-01-01"]),
        }
    )
    source = open_source(frame)
    found = source.read_columns(0, 3)
    assert list(found) == list(frame.columns)
    for name, kind, values in (
        ("int", "i8", [1, None, 2**62 + 1]), ("whole", "i1", [1, 2, 3]), ("float", "f4", [0.5, None, 2.0]),
        ("bool", "?", [True, None, False]), ("plain", "u1", [1, 2, 3]),
    ):  # fmt: skip
        assert found[name].dtype == np.dtype(kind) and found[name].tolist() == values
        assert isinstance(found[name], np.ma.MaskedArray) == (None in values)
    assert found["word"].tolist() == ["b", None, "a"] and found["none"].tolist() == [None] * 3
    assert found["word"].dtype == object and found["when"].dtype.kind == "M" and np.isnat(found["when"][1])
    # Some rows of it: a column has a mask where a cell of these rows has none.
    some = source.read_columns(2, 3)
    assert {name: column.shape for name, column in some.items()} == dict.fromkeys(frame.columns, (1,))
    assert not isinstance(some["int"], np.ma.MaskedArray) and some["word"].tolist() == ["a"]
    with pytest.raises(ValueError, match=r"^the DataFrame has several columns 'a'; rename them$"):
        open_source(pd.DataFrame(np.ones((2, 3)), columns=["a", "b", "a"])).read_columns(0, 1)


class Lists:
    """A reader whose rows are not arrays of NumPy."""

    shape, dtype = (4, 2), np.dtype("f8")

    def __init__(self, answer):
        self.answer = answer

    def __getitem__(self, rows):
        return self.answer(np.arange(8.0).reshape(4, 2)[rows])


@pytest.mark.parametrize("answer", [np.ndarray.tolist, np.ma.asarray, np.asarray], ids=["lists", "masked", "arrays"])
def test_what_a_reader_gives_becomes_an_array(answer):
    """Also where nothing is under a mask."""
    found = open_source(Lists(answer)).read(1, 3)
    assert type(found) is np.ndarray and found.tolist() == [[2, 3], [4, 5]]


def test_a_gap_of_a_reader_stays_one():
    found = open_source(Lists(lambda rows: np.ma.masked_equal(rows, 3))).read(1, 3)
    assert found.tolist() == [[2, None], [4, 5]]


@pytest.mark.parametrize(
    "chunks, told",
    [
        (None, None), ((2, 2), (2, 2)), (((3, 1), (1, 1)), (3, 1)), (((1, 3), (2,)), (3, 2)), ((0, 2), None),
        ((2, 0), None), ((1, 1), (1, 1)), ("no", None), ((2,), None), ((1, 2, 3), None), ((), None), (5, None),
        (((), (2,)), None), ((np.int64(2), 2), (2, 2)), ((None, 2), None),
    ],
)  # fmt: skip
def test_chunks_of_a_reader_are_the_largest_where_they_are_known(chunks, told):
    reader = Lists(np.asarray)
    reader.chunks = chunks
    found = open_source(reader).chunks
    assert found == told and (told is None or all(type(size) is int for size in found))


@pytest.mark.parametrize("content", [b"PK\x03\x04", b"PK\x03\x04" + bytes(100)])
@pytest.mark.parametrize("name", ["x.zip", "x", "x.zarr", "x.h5"])
def test_a_zip_archive_of_something_else_is_told(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OSError) as caught:
        open_source(tmp_path / name)
    assert str(caught.value) == (
        f"{tmp_path / name} is a zip archive that holds no Zarr table; HDF5 (also .h5ad), .npy, Zarr and Parquet are "
        "read"
    )


@pytest.mark.parametrize("opener", [open_hdf5, open_zarr, open_parquet, MemmapSource.of_npy, open_source, format_of])
def test_a_file_that_is_not_there_is_named(tmp_path, opener):
    with pytest.raises(FileNotFoundError) as caught:
        opener(tmp_path / "none.h5")
    assert str(caught.value) == f"there is no file {tmp_path / 'none.h5'}"


@pytest.mark.parametrize("kind", ["u1", "i2", "f4", "f8", "c16"])
@pytest.mark.parametrize("p", [1, 3, 1000])
@pytest.mark.parametrize("chunk", [None, 1, 7, 90, 100, 101])
def test_a_block_is_within_the_bound_as_it_is_stored_and_as_float32(kind, p, chunk):
    """Whichever is wider; it holds whole chunks, or equal parts of one, and as many as there is room for."""

    class Table:
        shape, dtype, chunks = (100, p), np.dtype(kind), chunk and (chunk, p)

    row = p * max(4, Table.dtype.itemsize)
    for bound in (1, row - 1, row, row + 1, 6 * row, 13 * row, 50 * row, 1000 * row):
        rows = block_rows(Table, bound)
        most = max(1, bound // row)
        assert 1 <= rows <= 100 and rows <= most
        if chunk is None or chunk > 100:
            assert rows == min(most, 100)
        elif chunk <= most:
            assert rows == min(most // chunk * chunk, 100)
        else:
            # As few parts as can be, and no row more in one than they need.
            parts = -(-chunk // most)
            assert rows == -(-chunk // parts)


def test_names_of_a_frame_are_texts_or_none():
    pd = pytest.importorskip("pandas")
    for labels, names in ((["a", "b"], ["a", "b"]), ([0, 1], None), ([], None), ([("a", 1), ("a", 2)], None)):
        assert names_of(pd.DataFrame(np.ones((2, len(labels))), columns=pd.Index(labels, tupleize_cols=False))) == names
    for labels, first, other in ((["a", 1], "a", 1), ([None, "b", 2.5], "b", None)):
        with pytest.raises(TypeError) as caught:
            names_of(pd.DataFrame(np.ones((2, len(labels))), columns=pd.Index(labels, dtype=object)))
        assert str(caught.value) == (
            f"X has columns whose names are strings and others ({first!r}, {other!r}); make all of them strings: "
            "X.columns = X.columns.astype(str)"
        )
