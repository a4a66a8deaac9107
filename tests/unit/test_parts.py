"""Which columns and files of Parquet are the table: index columns, folders, their order, what is beside."""

import os
import re
import socket
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsne_ooc.io import open_source
from tsne_ooc.io.columns import choose, common_type
from tsne_ooc.io.parts import natural
from tsne_ooc.sampling import labels_of

pytest.importorskip("pyarrow")


def frame(n=20, **more):
    return pd.DataFrame({"a": np.arange(n, dtype="f4"), "b": np.arange(n, dtype="f4") + 0.5, **more})


# Index columns


@pytest.mark.parametrize(
    "index",
    [
        None,
        np.random.default_rng(0).permutation(20),
        pd.Index(np.arange(20) * 1000, name="cell"),
        pd.Index([f"c{i}" for i in range(20)]),
        pd.date_range("2020", periods=20, name="day"),
        pd.MultiIndex.from_product([range(4), range(5)], names=["plate", "well"]),
    ],
    ids=["counting", "shuffled", "named", "text", "dates", "several"],
)
def test_the_index_of_a_frame_is_not_a_column(tmp_path, index):
    made = frame() if index is None else frame().set_index(index)
    made.to_parquet(tmp_path / "x.parquet")
    for columns in (None, "*"):
        source = open_source(tmp_path / "x.parquet", columns=columns)
        assert source.column_names == ["a", "b"]
        np.testing.assert_array_equal(source.read(0, 20), made.to_numpy())
        stored = [] if index is None else [name or "__index_level_0__" for name in made.index.names]
        assert list(source.unread) == stored and set(source.unread.values()) <= {"an index of pandas"}


def test_an_index_that_is_named_is_read(tmp_path):
    frame().set_index(pd.Index(np.arange(20) * 3, name="cell")).to_parquet(tmp_path / "x.parquet")
    source = open_source(tmp_path / "x.parquet", columns=["cell", "a"])
    np.testing.assert_array_equal(source.read(0, 20)[:, 0], np.arange(20) * 3)
    assert source.unread == {}


def test_an_index_in_some_files_of_a_folder_alone(tmp_path):
    frame().to_parquet(tmp_path / "1.parquet")
    frame().iloc[::-1].to_parquet(tmp_path / "2.parquet")
    np.testing.assert_array_equal(open_source(tmp_path).read(15, 25)[:, 0], [15, 16, 17, 18, 19, 19, 18, 17, 16, 15])


@pytest.mark.parametrize("note", [b"{", b"[]", b"{}", b'{"index_columns": 3}', b'{"index_columns": [["a"]]}'])
def test_notes_of_pandas_that_make_no_sense(tmp_path, note):
    import pyarrow as pa
    from pyarrow.parquet import write_table

    write_table(pa.table({"a": [1.0]}).replace_schema_metadata({b"pandas": note}), tmp_path / "x.parquet")
    assert open_source(tmp_path / "x.parquet").column_names == ["a"]


# What a folder holds


def write(folder, names):
    """A file for each name, whose rows and labels are its place in the list."""
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        pd.DataFrame({"x": np.full(3, float(i)), "k": [f"g{i}"] * 3}).to_parquet(folder / name, index=False)
    return folder


def order(folder):
    """The places in the list, as rows and as labels have them, which must agree."""
    source = open_source(folder)
    rows = source.read(0, source.shape[0])[:, 0].astype(int)
    assert labels_of(folder, "k").tolist() == [f"g{i}" for i in rows]
    return rows[::3].tolist()


@pytest.mark.parametrize(
    "names",
    [
        [f"part.{i}.parquet" for i in range(12)],
        [f"part-{i:05}-b5.c000.snappy.parquet" for i in range(12)],
        ["1.parquet", "2.PQ", "3.parquet", "10.parquet", "x1.parquet", "x1a.parquet", "x01b.parquet", "x.parquet"],
        ["B.parquet", "a 2.parquet", "a 10.parquet", "a.2.parquet", "b.parquet"],
        ["2020-1-9.parquet", "2020-1-10.parquet", "2020-12-1.parquet", "2021-1-1.parquet"],
    ],
)
def test_numbers_in_names_count(tmp_path, names):
    folder = write(tmp_path / "d", names)
    assert order(folder) == list(range(len(names)))
    (remark,) = open_source(folder).remarks
    told = f"rows come from {len(names)} files, in the order of their names: {', '.join(names[:10])}"
    assert remark.startswith(told)


@given(st.lists(st.text("01a.-", max_size=5), max_size=8, unique=True))
def test_the_order_of_names_is_one_order(names):
    # Total, and that of the plain text where no numbers differ in length.
    assert sorted(names, key=natural) == sorted(sorted(names, reverse=True), key=natural)
    same = [name for name in names if not re.search("[01]", name)]
    assert sorted(same, key=natural) == sorted(same)


def test_what_lies_beside_is_left_out_and_told(tmp_path):
    folder = write(tmp_path / "d", ["0.parquet", "1.parquet", "sub/2.parquet", "._0.parquet", "_old/3.parquet"])
    (folder / "notes.txt").write_text("hello")
    for name in ("_SUCCESS", "_metadata", ".0.parquet.crc"):
        (folder / name).touch()
    assert order(folder) == [0, 1]
    assert open_source(folder).unread == {
        "k": "of type string",
        "notes.txt": "not a .parquet file",
        "sub/": "a folder within the folder",
        "_old/": "a folder within the folder",
        **dict.fromkeys(
            ["._0.parquet", "_SUCCESS", "_metadata", ".0.parquet.crc"], "its name begins with a dot or an underscore"
        ),
    }


@pytest.mark.parametrize("beside", [[], ["stray.parquet"]])
@pytest.mark.parametrize(
    "inside, message",
    [
        ("year=2020/0.parquet", r"d is cut into partitions \(year=2020 and others\)"),
        ("_delta_log/0.parquet", "d is a Delta table, whose log says which of the files count"),
        (".hoodie/0.parquet", "d is a Hudi table"),
    ],
)
def test_folders_whose_files_are_not_the_table(tmp_path, inside, message, beside):
    folder = write(tmp_path / "d", [inside, *beside])
    for read in (open_source, lambda path: labels_of(path, "k")):
        with pytest.raises(OSError, match=message) as caught:
            read(folder)
        assert "\n" not in str(caught.value)


def test_a_folder_without_a_file_that_counts(tmp_path):
    folder = write(tmp_path / "d", ["_0.parquet", "sub/1.parquet"])
    for read in (open_source, lambda path: labels_of(path, "k")):
        with pytest.raises(IsADirectoryError, match=r"neither a Zarr table nor holds \.parquet files; it has _0"):
            read(folder)


def test_names_are_looked_up_and_not_searched_for():
    # Searched for, 20,000 names take 15 s.
    names = [f"ENSG{i:011d}" for i in range(20_000)]
    began = time.process_time()
    assert choose(names, names, "x") == names
    assert time.process_time() - began < 1


@pytest.mark.parametrize("kind", ["folder", "link to a folder", "pipe", "socket", "link to nothing", "link to itself"])
def test_what_is_named_like_a_part_and_is_none_is_told(tmp_path, kind):
    frame().to_parquet(tmp_path / "a.parquet")
    odd = tmp_path / "x.parquet"
    if kind == "folder":
        odd.mkdir()
    elif kind == "pipe":
        os.mkfifo(odd)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(odd))
    else:
        odd.symlink_to({"link to a folder": "/", "link to nothing": tmp_path / "nothing"}.get(kind, odd))
    if "folder" in kind:
        assert open_source(tmp_path).unread == {"x.parquet/": "a folder within the folder"}
    else:
        with pytest.raises(OSError, match=r"x\.parquet|Symlink loop"):
            open_source(tmp_path)


@pytest.mark.parametrize(
    "types, common",
    [
        (["f4"], "f4"), (["i2", "f4"], "f4"), (["i8", "f4"], "f8"), (["u1", "i1"], "i2"), ([], "O"), ([None], "O"),
        (["f4", None], "O"), ([None, "f4"], "O"), (["?", "i1"], "i1"),
    ],
)  # fmt: skip
def test_the_type_of_all_columns(types, common):
    """Objects, where one of them does not hold numbers."""
    assert common_type(kind and np.dtype(kind) for kind in types) == np.dtype(common)
