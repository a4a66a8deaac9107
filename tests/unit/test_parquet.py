"""Parquet beyond the contract: columns, missing values, folders, what is read when."""

import pickle
import shlex
from decimal import Decimal

import numpy as np
import pytest

from tsne_ooc.io import iterate, open_source
from tsne_ooc.io.parquet import open_parquet

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def mixed(n=50):
    rng = np.random.default_rng(0)
    return {
        "name": [f"n{i}" for i in range(n)],
        "x1": rng.normal(size=n).astype("f4"),
        "kind": pa.array([["a", "b", None][i % 3] for i in range(n)]).dictionary_encode(),
        "x2": rng.normal(size=n).astype("f4"),
        "flag": rng.random(n) < 0.5,
        "pair": [[i, i] for i in range(n)],
        "day": np.datetime64("2020-01-01") + np.arange(n),
    }


@pytest.fixture
def path(tmp_path):
    pq.write_table(pa.table(mixed()), tmp_path / "mixed.parquet", row_group_size=12)
    return tmp_path / "mixed.parquet"


def test_numbers_by_default(path):
    source = open_source(path)
    assert source.column_names == ["x1", "x2", "flag"]
    assert source.left_out == ["name", "kind", "pair", "day"]
    assert source.shape == (50, 3) and source.dtype == np.float32 and source.chunks == (12, 3)
    whole = mixed()
    np.testing.assert_array_equal(source.read(5, 40), np.stack([whole["x1"], whole["x2"], whole["flag"]], axis=1)[5:40])


@pytest.mark.parametrize("wanted, names", [("x*", ["x1", "x2"]), (["x2", "x1"], ["x2", "x1"]), ("flag", ["flag"])])
def test_columns_by_name(path, wanted, names):
    source = pickle.loads(pickle.dumps(open_source(path, columns=wanted)))
    assert source.column_names == names and source.left_out == []
    whole = mixed()
    np.testing.assert_array_equal(source.read(0, 50), np.stack([whole[name] for name in names], axis=1))


def test_columns_that_hold_no_numbers(path):
    source = open_source(path, columns="*")
    whole = mixed()
    assert source.shape == (50, 7)
    columns = source.read_columns(10, 30)
    assert list(columns) == list(whole)
    assert columns["name"].tolist() == whole["name"][10:30] and columns["name"].dtype == object
    assert columns["kind"].tolist() == whole["kind"].to_pylist()[10:30]
    np.testing.assert_array_equal(columns["x1"], whole["x1"][10:30])
    np.testing.assert_array_equal(columns["day"], whole["day"][10:30])
    assert [list(pair) for pair in columns["pair"]] == whole["pair"][10:30]
    assert {name: len(column) for name, column in source.read_columns(7, 7).items()} == dict.fromkeys(whole, 0)
    with pytest.raises(TypeError, match=r"rows 0 to 49 of .* could not be read: column 'name' does not hold numbers"):
        next(iterate(source))


def test_choices_that_fail(path, tmp_path):
    with pytest.raises(ValueError, match=r"mixed\.parquet has no such column: columns='nam' .* did you mean 'name'\?"):
        open_source(path, columns="nam")
    with pytest.raises(ValueError, match="holds a single table, so dataset='X' cannot choose one"):
        open_source(path, dataset="X")
    pq.write_table(pa.table({"a": ["x"], "b": ["y"]}), tmp_path / "words.parquet")
    with pytest.raises(ValueError, match="has no column of numbers; it has a, b"):
        open_source(tmp_path / "words.parquet")
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), tmp_path / "twice.parquet")
    with pytest.raises(ValueError, match="has several columns 'a'"):
        open_source(tmp_path / "twice.parquet")


@pytest.mark.parametrize("kind", ["int64", "float32", "bool"])
def test_missing_values_are_named(tmp_path, kind):
    values = pa.array([None if i == 33 else i % 2 for i in range(50)]).cast(kind)
    pq.write_table(pa.table({"a": np.zeros(50), "b": values}), tmp_path / "X.parquet", row_group_size=20)
    source = open_source(tmp_path / "X.parquet")
    assert source.read(0, 33).shape == (33, 2)
    # Whole rows of the same row group can be read.
    assert source.read(34, 50)[:, 1].tolist() == [i % 2 for i in range(34, 50)]
    with pytest.raises(ValueError, match=r"^column 'b' has no value \(null\) in row 33"):
        source.read(25, 45)
    # One by one, columns come with what is missing in them, as those of other tables do.
    column = source.read_columns(25, 45)["b"]
    assert column.dtype == kind and np.flatnonzero(np.ma.getmaskarray(column)).tolist() == [8]
    assert column.tolist() == [None if i == 33 else i % 2 for i in range(25, 45)]


def write(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, columns in files.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return folder


def test_a_folder_goes_by_name(tmp_path):
    folder = write(tmp_path / "X", b={"a": [2.0, 3.0]}, c={"a": [4.0]}, a={"a": [0.0, 1.0]})
    (folder / "_SUCCESS").touch()
    assert open_source(folder).read(0, 5).ravel().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "other, message",
    [
        ({"a": [1.0]}, r"b\.parquet has no column 'x', which a\.parquet has"),
        (
            {"a": [1.0], "x": [1]},
            r"column 'x' is of type int64 in .*b\.parquet, and of type double in a\.parquet",
        ),
        (
            {"a": [1.0], "x": [1.0], "z": [1]},
            r"b\.parquet has a column of numbers 'z', which a\.parquet does not have; name those to read",
        ),
    ],
)
def test_files_that_differ(tmp_path, other, message):
    folder = write(tmp_path / "X", a={"a": [0.0], "x": [0.0], "word": ["w"]}, b=other)
    with pytest.raises(ValueError, match=message):
        open_source(folder)
    assert open_source(folder, columns="a").read(0, 2).ravel().tolist() == [0, 1]


def test_damaged_files(tmp_path, path):
    (tmp_path / "half.parquet").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(OSError, match=r"half\.parquet is not a whole Parquet file"):
        open_source(tmp_path / "half.parquet")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        open_parquet(tmp_path / "nowhere.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no \.parquet files"):
        open_parquet(tmp_path / "empty")


def test_each_row_group_is_read_once_and_none_before_it_is_needed(path, monkeypatch):
    read = []
    original = pq.ParquetFile.read_row_group

    def watched(self, group, **options):
        read.append(group)
        return original(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", watched)
    source = open_source(path)
    assert read == []
    # Blocks that do not fit the row groups of 12 rows.
    for start in range(0, 50, 7):
        source.read(start, min(start + 7, 50))
    assert read == [0, 1, 2, 3, 4]
    source.read(13, 14)
    assert read[5:] == [1]


@pytest.mark.parametrize("rows, size, chunk", [(5, 100, 5), (5, 5, 5), (5, 4, 4), (1, 1, 1), (0, 5, None)])
def test_row_groups_are_the_pieces_that_are_read_whole(tmp_path, rows, size, chunk):
    table = pa.table({"a": np.arange(rows, dtype="f4"), "b": np.arange(rows, dtype="i2")})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=size)
    with open_parquet(tmp_path / "x.parquet") as source:
        assert source.chunks == (None if chunk is None else (chunk, 2)) and source.shape == (rows, 2)
        found = source.read(0, rows)
        assert found.tolist() == [[row, row] for row in range(rows)] and found.dtype == np.float32
        columns = source.read_columns(0, rows)
        assert {name: column.tolist() for name, column in columns.items()} == {name: [*range(rows)] for name in "ab"}
        assert source.read_with_gaps(0, rows).shape == (rows, 2) and source.read(rows, rows).shape == (0, 2)
        assert columns["b"].dtype == (np.int16 if rows else columns["b"].dtype)


@pytest.mark.parametrize("before", [{}, {"word": ["a", "b"]}])
def test_what_to_do_about_decimals_is_a_command_that_can_be_run(tmp_path, before):
    """Whatever the file is called, and wherever the column is among others that hold no numbers."""
    path = tmp_path / "my 'own' table.parquet"
    pq.write_table(pa.table(before | {"price": [Decimal("1.5"), Decimal("2.5")]}), path)
    for columns in (None, ["price"]):
        with pytest.raises((TypeError, ValueError)) as caught:
            open_source(path, columns=columns).read(0, 2)
        told = str(caught.value)
        command, end = told[told.index("tsne-ooc prepare") :].split(" makes numbers")
        assert shlex.split(command) == ["tsne-ooc", "prepare", str(path), "--out", "FOLDER"]
        assert end == " of the decimals in 'price'"
