"""A look at a table: what it holds and what would be read is the truth, and nothing is guessed of nothing."""

import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import tsne_ooc
from tsne_ooc import look
from tsne_ooc.cli import main
from tsne_ooc.io import open_source
from tsne_ooc.preprocess import Preparation, preparation_from_options


def normal(n=300, p=4, **more):
    return pd.DataFrame(np.random.default_rng(0).normal(size=(n, p)), columns=list("abcdefgh")[:p]).assign(**more)


def saved(tmp_path, made):
    path = tmp_path / "x.parquet"
    made.to_parquet(path)
    return path


# What is there


def test_a_table_of_named_columns(tmp_path):
    pytest.importorskip("pyarrow")
    made = normal(word="w", cell=np.arange(300)).set_index("cell")
    found = look(saved(tmp_path, made))
    assert [(held.name, held.shape, held.type) for held in found.holds] == [
        *((name, (300,), "double") for name in "abcd"), ("word", (300,), "string"), ("cell", (300,), "int64"),
    ]  # fmt: skip
    assert found.shape == (300, 4) and found.columns == list("abcd") and found.problem is None
    assert found.left_out == {"word": "of type string", "cell": "an index of pandas"}
    np.testing.assert_array_equal(found.first, made.iloc[:5, :4])
    assert found.rows_looked_at == 300 and (found.zeros, found.missing, found.infinite, found.whole) == (0, 0, 0, False)
    numbers = made[list("abcd")].to_numpy()
    assert (found.smallest, found.largest) == (numbers.min(), numbers.max())
    assert found.prepare == {} and "columns of words are left out: word" in found.advice[0]


@pytest.mark.parametrize("columns", ["a", ["b", "a"], "*b*"])
def test_a_choice_of_columns_is_looked_at_and_passed_on(tmp_path, columns):
    pytest.importorskip("pyarrow")
    path = saved(tmp_path, normal())
    found = look(path, columns=columns)
    assert found.columns == ([columns.strip("*")] if isinstance(columns, str) else columns)
    assert found.asked == ["--columns", columns if isinstance(columns, str) else "b,a"]
    with pytest.raises(ValueError, match="no such column"):
        look(path, columns="z")


def test_several_tables_and_none(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a"], file["b"], file["y"] = np.ones((5, 2)), np.ones((7, 3), "i4"), np.array([b"u", b"v"])
        file["deep/c"] = np.zeros((2, 2, 2))
    found = look(tmp_path / "x.h5")
    assert "has 2 tables, name the one to read" in found.problem and found.shape is None
    assert [tuple(held) for held in found.holds] == [
        ("a", (5, 2), "float64"), ("b", (7, 3), "int32"), ("deep/c", (2, 2, 2), "float64"), ("y", (2,), "text"),
    ]  # fmt: skip
    assert look(tmp_path / "x.h5", dataset="b").shape == (7, 3)
    with pytest.raises(ValueError, match="no dataset 'z'"):
        look(tmp_path / "x.h5", dataset="z")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        look(tmp_path / "nowhere.h5")
    with h5py.File(tmp_path / "none.h5", "w"):
        pass
    assert "it has no datasets at all" in look(tmp_path / "none.h5").problem


@pytest.mark.parametrize("count", [29, 30, 31, 1234])
def test_a_file_of_many_tables_shows_some_and_says_how_many_more_there_are(tmp_path, count):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for number in range(count):
            file.create_dataset(f"x{number}", (2, 2), "f4")
    lines = str(look(tmp_path / "x.h5")).splitlines()
    assert len(look(tmp_path / "x.h5").holds) == count
    assert sum(line.endswith("  2 x 2, float32") for line in lines) == min(30, count)
    assert [line for line in lines if line.startswith("  and ")] == {
        31: ["  and 1 more"],
        1234: ["  and 1,204 more"],
    }.get(count, [])


def test_frames_and_tables_within_records(tmp_path):
    """What is no plain array is called by what it is."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        frame = file.create_group("frame")
        frame.attrs.update({"encoding-type": "dataframe", "_index": "i", "column-order": ["a"]})
        frame["i"], frame["a"] = np.arange(5), np.ones(5)
        file["records"] = np.zeros(5, [("wide", "f4", (3,)), ("narrow", "f8")])
    held = {found.name: (found.shape, found.type) for found in look(tmp_path / "x.h5").holds}
    assert held["frame"] == ((5, 1), "data frame")
    assert held["records"] == ((5,), "records of wide, narrow")
    assert held["records/wide"] == ((5, 3), "field")


def test_chunks_that_are_missing(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("X", (40, 3), "f4", chunks=(10, 3))[:20] = 1
    found = look(tmp_path / "x.h5")
    assert "2 of 4 chunks of dataset '/X'" in found.problem and [held.name for held in found.holds] == ["X"]
    found = look(tmp_path / "x.h5", allow_missing_chunks=True)
    assert found.problem is None and found.zeros == 0.5 and found.asked == ["--allow-missing-chunks"]


def test_every_kind_of_file(tmp_path):
    X = np.random.default_rng(0).normal(size=(30, 3))
    np.save(tmp_path / "x.npy", X)
    assert [tuple(held) for held in look(tmp_path / "x.npy").holds] == [("", (30, 3), "float64")]
    zarr = pytest.importorskip("zarr")
    root = zarr.create_group(tmp_path / "x.zarr")
    root.create_array("a/b", data=X)
    found = look(tmp_path / "x.zarr")
    assert [tuple(held) for held in found.holds] == [("a/b", (30, 3), "float64")] and found.shape == (30, 3)
    zarr.create_array(tmp_path / "y.zarr", data=X)
    assert [tuple(held) for held in look(tmp_path / "y.zarr").holds] == [("", (30, 3), "float64")]
    assert look(tmp_path / "y.zarr").shape == (30, 3)


@pytest.mark.parametrize("n", [0, 1, 2, 999, 1000, 1001, 5000])
def test_any_number_of_rows(n):
    X = np.random.default_rng(0).normal(size=(n, 3))
    found = look(X)
    assert found.rows_looked_at == (n if n <= 1000 else 1000) and found.shape == (n, 3)
    np.testing.assert_array_equal(found.first, X[:5])


def test_rows_come_from_all_over_the_table():
    # Whatever is in a tenth of the rows is seen, wherever it is.
    for at in range(0, 100_000, 10_000):
        X = np.ones((100_000, 2), "f4")
        X[at : at + 11_200] = np.nan
        assert look(X).missing > 0


def test_a_wide_table_takes_few_rows_and_large_chunks_few_places():
    read = []

    class Reader:
        shape, dtype, chunks = (100_000, 20_000), np.dtype("f4"), None

        def __getitem__(self, rows):
            read.append(rows.stop - rows.start)
            return np.ones((rows.stop - rows.start, 20_000), "f4")

    look(Reader())
    assert len(read) == 11 and max(read) == 20
    read.clear()
    Reader.chunks = (50_000, 20_000)
    look(Reader())
    assert len(read) == 4


def test_nothing_is_written_and_files_are_let_go(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["X"] = np.ones((50, 3))
    before = (tmp_path / "x.h5").read_bytes()
    look(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["x.h5"] and (tmp_path / "x.h5").read_bytes() == before


# Missing values, in all the ways in which they are stored


def gaps(values):
    made = normal()
    made["b"] = values
    made.loc[range(10, 40), "b"] = None
    return made


@pytest.mark.parametrize(
    "make",
    [
        lambda tmp_path: saved(tmp_path, gaps(pd.array([1] * 300, "Int64"))),
        lambda tmp_path: saved(tmp_path, gaps(1.5)),
        lambda tmp_path: gaps(pd.array([1] * 300, "Int64")),
        lambda tmp_path: gaps(pd.array([True] * 300, "boolean")),
        lambda tmp_path: gaps(1.5).to_numpy(),
        lambda tmp_path: np.ma.masked_invalid(gaps(1.5).to_numpy()),
    ],
    ids=["parquet nulls", "parquet NaN", "frame", "boolean", "array", "masked"],
)
def test_missing_values_are_counted(tmp_path, make):
    pytest.importorskip("pyarrow")
    found = look(make(tmp_path))
    assert found.missing == pytest.approx(30 / 1200) and list(found.missing_columns.values()) == [pytest.approx(0.1)]
    assert next(iter(found.missing_columns)) in ("b", "column 1")
    assert "cells without a finite number are refused in" in found.advice[0] and "(10.0%)" in found.advice[0]
    # The guess is a line that runs.
    assert found.options[:2] == ["--missing", "neighbors"] and str(found).count("--missing") >= 1


def test_infinities_and_zeros_are_counted():
    X = np.ones((200, 5))
    X[:100] = 0
    X[7, 3] = np.inf
    found = look(X)
    assert (found.zeros, found.infinite) == (0.5 - 1 / 1000, 1 / 1000) and found.missing_columns == {}
    assert (found.smallest, found.largest, found.whole) == (0, 1, True)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_table_of_nothing_finite(value):
    found = look(np.full((50, 3), value))
    assert found.smallest is None and found.prepare == {} and "cells without a finite number" in str(found)


def test_columns_of_one_number_each_say_nothing_of_their_scale():
    """Of a single number there is no spread; what is missing is still told."""
    X = np.full((3, 3), np.nan)
    np.fill_diagonal(X, [1e9, 1, 1e-9])
    found = look(X)
    assert found.prepare == {"missing": "neighbors"} and "cells without a finite number" in str(found)
    assert "standardize" not in str(found)


def test_words_that_were_asked_for(tmp_path):
    pytest.importorskip("pyarrow")
    path = saved(tmp_path, normal(word="w"))
    assert "column 'word' does not hold numbers" in look(path, columns="*").problem
    assert "'word'" in look(normal(word="w")).problem
    assert "column 'when' of dates" in look(normal(when=pd.Timestamp("2020"))).problem


# Guesses


def counts(n=400, p=30):
    return np.random.default_rng(0).poisson(0.3, size=(n, p))


def far(n=300):
    return normal(time=1.7e9 + np.random.default_rng(1).normal(size=n))


@pytest.mark.parametrize(
    "X, wanted, why",
    [
        (normal().to_numpy(), {}, None),
        (counts(), {"normalize": 10_000, "log1p": True}, "counts"),
        (sp.csr_matrix(counts(p=200)), {"normalize": 10_000, "log1p": True, "pca": 50}, "counts"),
        (np.log1p(counts() * 1.3), {}, "logarithms already"),
        ((counts() > 0).astype(float), {}, "logarithms already"),
        (counts().astype("u1"), {}, "such as pixels"),
        (normal() * [1, 1, 1, 1000], {"standardize": "standard"}, "fold in spread"),
        (normal(p=1), {}, None),
        (far(), {"standardize": "standard"}, "float32 keeps few digits of time"),
        (np.random.default_rng(0).normal(size=(300, 101)), {"pca": 50}, "101 columns"),
        (normal(number=np.arange(300) + 5), {}, "number counts the rows"),
        (np.ones((50, 3)), {}, None),
    ],
)
def test_guesses(X, wanted, why):
    found = look(X)
    prepare = {name: value for name, value in found.prepare.items() if name != "standardize" or wanted.get(name)}
    assert prepare == wanted
    assert not found.advice if why is None else any(why in line for line in found.advice)
    # Each is something that can be done.
    assert found.prepare == {} or isinstance(preparation_from_options(**found.prepare), Preparation)


def test_a_guess_is_a_command_that_can_be_run(tmp_path, capsys):
    path = tmp_path / "two words.npy"
    np.save(path, counts())
    assert main(["look", str(path)]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == f"a guess: tsne-ooc embed '{path}' --normalize 10000 --log1p --out map"
    assert main(["embed", str(path), *look(path).options, "--out", str(tmp_path / "map"), "--quiet"]) == 0


def test_what_the_command_says(tmp_path, capsys):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["X"] = np.arange(60.0).reshape(6, 10)
        file["y"] = np.arange(6)
    assert main(["look", str(path), "--dataset", "X"]) == 0
    assert capsys.readouterr().out.splitlines()[:7] == [
        f"{path} holds",
        "  X  6 x 10, float64",
        "  y  6, int64",
        "would be read: /X: 6 rows of 10 columns, float64",
        "first rows:",
        "   0   1   2   3   4   5   6   7  ...",
        "  10  11  12  13  14  15  16  17  ...",
    ]
    with h5py.File(path, "a") as file:
        file["Z"] = np.zeros((2, 2))
    assert main(["look", str(path)]) == 2
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "  y  6, int64"
    assert (
        said.err.startswith(f"tsne-ooc: error: {path} has 2 tables, name the one to read: ")
        and said.err.count("\n") == 1
    )
    assert main(["look", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_look_loads_no_kernels(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((5, 2)))
    program = f"import sys; from tsne_ooc import look; look({str(tmp_path / 'x.npy')!r}); print('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"
    assert "look" in tsne_ooc.__all__


def test_what_is_looked_at_is_what_is_read(tmp_path):
    # Columns, shape and remarks are those of the source itself.
    with h5py.File(tmp_path / "a.loom", "w") as file:
        file["matrix"] = np.arange(12.0).reshape(3, 4)
        file.create_group("row_attrs")
        file.create_group("col_attrs")
    found = look(tmp_path / "a.loom")
    with open_source(tmp_path / "a.loom") as source:
        assert (found.shape, found.remarks) == (source.shape, source.remarks)
        np.testing.assert_array_equal(found.first, source.read(0, 4))
    assert found.remarks[0] in str(found)
