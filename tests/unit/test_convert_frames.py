"""A data frame of Dask becomes the table of the same rows in files."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pytest

from tsne_ooc.convert import convert

dd = pytest.importorskip("dask.dataframe")
pytest.importorskip("pyarrow")

N = 300


def frame():
    rng = np.random.default_rng(0)
    made = pd.DataFrame(rng.normal(size=(N, 3)).astype("f4"), columns=["a", "b", "c"])
    made["word"] = np.array(["x", "y", "z"])[rng.integers(0, 3, N)]
    made["kind"] = pd.Categorical(made["word"])
    made["day"] = pd.Timestamp("2020-01-30") + pd.to_timedelta(np.arange(N), "h")
    made.loc[7, "b"] = np.nan
    return made


def read(path, name="X"):
    with h5py.File(path) as file:
        return file[name][:]


@pytest.fixture
def lazy():
    """Partitions of unequal length, one of which has no rows."""
    return dd.concat([dd.from_pandas(part, npartitions=1) for part in (frame()[:90], frame()[90:90], frame()[90:])])


def test_rows_words_and_where_they_are_from(lazy, tmp_path):
    told = convert(lazy, tmp_path / "out", onehot=["word"], coded=["kind"])
    X = read(tmp_path / "out" / "table.h5")
    known = frame()
    wanted = np.column_stack([known[["a", "b", "c"]], known["kind"].cat.codes, pd.get_dummies(known["word"])])
    np.testing.assert_array_equal(X, wanted.astype(np.float32))
    assert told["columns"] == ["a", "b", "c", "kind", "word=x", "word=y", "word=z"] and told["written"] == N
    sizes = [file["written"] for file in told["inputs"]]
    names = [str(file["path"]).rpartition("/")[2] for file in told["inputs"]]
    assert [size for size in sizes if size] == [90, 210] and names == [f"part.{i}.parquet" for i in range(len(sizes))]
    lines = read(tmp_path / "out" / "table.h5", "rows/line")
    np.testing.assert_array_equal(lines, np.concatenate([np.arange(90), np.arange(210)]))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("part, length", [("month", 7), ("day", 10)])
def test_split_by_its_time_stamps(lazy, part, length, tmp_path):
    told = convert(lazy, tmp_path / "out", split_by=f"day:{part}", format="h5")
    keys = frame()["day"].astype(str).str[:length]
    assert {one["key"]: one["rows"] for one in told["outputs"]} == keys.value_counts().to_dict()
    for one in told["outputs"]:
        wanted = frame()[keys == one["key"]][["a", "b", "c"]]
        np.testing.assert_array_equal(read(tmp_path / "out" / one["file"]), wanted.to_numpy(np.float32))


def test_what_is_wrong_is_said_before_it_is_computed(lazy, tmp_path):
    computed = []

    def count(part):
        computed.append(len(part))
        return part

    counted = lazy.map_partitions(count, meta=lazy._meta)
    for options, says in (
        ({"onehot": ["wrd"]}, "onehot='wrd' is not known; did you mean 'word'"),
        ({"format": "h6"}, "format='h6' is not known"),
        ({"split_by": "day:week"}, "part of a time stamp"),
    ):
        with pytest.raises(ValueError, match=says):
            convert(counted, out=tmp_path / "out", **options)
        assert not list(tmp_path.iterdir())
    # The first partition, to try the options on.
    assert set(computed) <= {0, 90} and sum(computed) <= 3 * 90
    (tmp_path / "out.partitions").mkdir()
    with pytest.raises(FileExistsError, match=r"out\.partitions is where partitions are kept meanwhile"):
        convert(counted, tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="out exists already"):
        convert(counted, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        convert(counted, tmp_path / "none" / "out")


def test_first_rows_that_are_all_rejected_do_not_end_it(tmp_path):
    known = frame()
    known.loc[:149, "day"] = pd.NaT
    told = convert(dd.from_pandas(known, npartitions=2), tmp_path / "out", split_by="day:month")
    assert told["written"] == 150 and sum(told["rejected"].values()) == 150


@pytest.mark.parametrize("name", [None, "id"])
def test_the_labels_of_rows_are_no_column(tmp_path, name):
    made = frame().set_index(pd.Index(np.arange(N) * 10, name=name))
    told = convert(dd.from_pandas(made, npartitions=2), tmp_path / "out")
    assert told["columns"] == ["a", "b", "c"] and set(told["left_out"]) == {"word", "kind", "day"}
