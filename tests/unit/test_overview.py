"""A look at a table: what it holds and what would be read is the truth, and nothing is guessed of nothing."""

import re
import subprocess
import sys
from itertools import pairwise

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import tsne_ooc
from tsne_ooc import look
from tsne_ooc.cli import main
from tsne_ooc.io import open_source, overview
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


def test_where_the_gaps_are_is_said_of_gaps_alone():
    """An infinite cell is no gap, so no column is named for it."""
    X = np.ones((10, 2))
    X[3, 1] = np.inf
    refused = "fill them in (--missing), or leave out rows or columns"
    assert look(X).advice == [f"cells without a finite number are refused: {refused}"] and look(X).prepare == {}
    X[4, 0] = np.nan
    assert look(X).advice == [f"cells without a finite number are refused in column 0 (10.0%): {refused}"]


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


# Each bound of the guesses, from both sides


def with_spreads(*spreads, n=40):
    """Columns of two values each, so that their deviation is known to the last digit."""
    signs = np.where(np.arange(n) % 2, 1.0, -1.0)
    return signs[:, None] * np.array(spreads)


def mostly_zero(zeros, p=10, n=40, value=2.0):
    """A table of one value, and of 0 in this many of its cells."""
    X = np.full(n * p, value)
    X[:zeros] = 0
    return np.random.default_rng(0).permutation(X).reshape(n, p)


@pytest.mark.parametrize(
    "X, word, told",
    [
        # Spreads that differ ten times, and a little less: nineteen columns of twenty decide, not the widest alone.
        (with_spreads(*[1.0] * 20, *[9.7] * 20), "fold in spread", False),
        (with_spreads(*[1.0] * 20, *[10.3] * 20), "10-fold in spread", True),
        (with_spreads(*[1.0] * 20, *[1234.0] * 20), "1,234-fold in spread", True),
        (with_spreads(*[1.0] * 40, 500.0), "fold in spread", False),
        (with_spreads(500.0, 1.0), "fold in spread", True),
        (with_spreads(0.5, 500.0, 0.5), "fold in spread", True),
        # Columns that are all the same have no spread to be compared.
        (with_spreads(500.0, 0.0), "fold in spread", False),
        (with_spreads(500.0, 400.0, 0.0, 0.0), "fold in spread", False),
        (with_spreads(500.0), "fold in spread", False),
        # At 2^23 the numbers of float32 are 1 apart.
        (2.0**23 + 60 + with_spreads(60.0), "float32 keeps few digits of column 0", True),
        (2.0**23 + 150 + with_spreads(150.0), "float32 keeps few digits", False),
        (2.0**33 + with_spreads(0.5, 1e8), "float32 keeps few digits of column 0:", True),
        (2.0**33 + with_spreads(0.0, 1e9), "float32 keeps few digits", False),
        (-(2.0**33) + with_spreads(0.5), "float32 keeps few digits", True),
        # Beyond float32, nothing is left of them, and nobody is warned of it in other words.
        (np.array([[1e100, 1.0], [-1e100, 2.0], [0.0, 4.0]]), "float32 keeps few digits of column 0:", True),
        # More than half of the cells, and of whole numbers a count above 1; fewer than eight columns are no genes.
        (mostly_zero(200), "counts", False),
        (mostly_zero(201), "counts", True),
        (mostly_zero(201, value=1.0), "counts", False),
        (mostly_zero(201, value=-2.0), "counts", False),
        (mostly_zero(201, value=2.5), "counts", False),
        (mostly_zero(250, p=8), "counts", True),
        (mostly_zero(250, p=7), "counts", False),
        (mostly_zero(201, value=1.0), "logarithms already", True),
        (mostly_zero(201, value=0.5), "logarithms already", True),
        (mostly_zero(200, value=0.5), "logarithms already", False),
        (mostly_zero(201, value=-0.5), "logarithms already", False),
        (mostly_zero(201, value=19.5), "logarithms already", True),
        (mostly_zero(201, value=20.5), "logarithms already", False),
        (mostly_zero(250, p=7, value=0.5), "logarithms already", False),
        (mostly_zero(201).astype("u1"), "such as pixels", True),
        (mostly_zero(201).astype("u1"), "counts", False),
        (mostly_zero(201).astype("u2"), "such as pixels", False),
        (np.random.default_rng(0).normal(size=(30, 100)), "principal components", False),
        (np.random.default_rng(0).normal(size=(30, 101)), "101 columns: principal components", True),
        # Two rows in a row are no count yet; three are, wherever they begin, and gaps or steps of 2 are none.
        (np.array([[5.0], [6.0]]), "counts the rows", False),
        (np.array([[5.0], [6.0], [7.0]]), "column 0 counts the rows", True),
        (np.array([[5.0], [7.0], [9.0]]), "counts the rows", False),
        (np.array([[7.0], [6.0], [5.0]]), "counts the rows", False),
        (np.array([[1.0, 0], [2.5, 1], [1.0, 2]]), "column 1 counts the rows", True),
        (np.stack([np.ones(5000), np.arange(5000)], axis=1), "column 1 counts the rows", True),
    ],
)
def test_each_bound_of_the_guesses(X, word, told):
    said = look(X).advice
    assert any(word in line for line in said) == told, said


@pytest.mark.parametrize("n, standardize", [(0, False), (1, False), (2, True), (3, True)])
def test_a_guess_takes_two_rows(n, standardize):
    """Of a single row nothing is known about the spread of columns."""
    found = look(with_spreads(1.0, 500.0, n=n))
    assert found.prepare == ({"standardize": "standard"} if standardize else {})
    assert found.rows_looked_at == n and bool(found.advice) == standardize


@pytest.mark.parametrize("finite, told", [(1, False), (2, True)])
def test_a_column_takes_two_finite_numbers_to_have_a_spread(finite, told):
    X = with_spreads(1.0, 500.0, 1.0, n=30)
    X[finite:, 1] = np.nan
    assert any("fold in spread" in line for line in look(X).advice) == told


def test_columns_are_named_by_their_place_though_others_are_left_out_of_the_guess():
    """A column of gaps before the one that is told of does not shift its name."""
    made = pd.DataFrame({"gaps": np.full(40, np.nan), "time": 2.0**33 + with_spreads(0.5)[:, 0], "n": np.arange(40)})
    said = " ".join(look(made).advice)
    assert "few digits of time:" in said and "n counts the rows" in said and "gaps (100.0%)" in said


def test_words_are_texts_of_all_kinds_and_nothing_else(tmp_path):
    pytest.importorskip("pyarrow")
    made = normal(text="w", kind=pd.Categorical(["u"] * 300), when=pd.Timestamp("2020"))
    found = look(saved(tmp_path, made))
    assert set(found.left_out) == {"text", "kind", "when"}
    assert "columns of words are left out: text, kind; where" in found.advice[0]


# The rows that are looked at


@pytest.mark.parametrize("chunk_rows", [None, 1, 100, 200_000])
@pytest.mark.parametrize("p", [0, 1, 39, 4000, 4001, 400_000, 5_000_000])
@pytest.mark.parametrize("n", [0, 1, 9, 10, 11, 999, 1000, 1001, 1009, 10_000_019])
def test_places_reach_from_the_first_row_to_the_last(n, p, chunk_rows):
    from tsne_ooc.io.overview import _places

    class Table:
        shape, dtype, chunks = (n, p), np.dtype("f4"), chunk_rows and (chunk_rows, p)

    places = _places(Table)
    if not n or not p:
        assert places == []
        return
    assert places[0][0] == 0 and places[-1][1] == n
    assert all(type(at) is int for place in places for at in place)
    assert all(start < stop for start, stop in places)
    assert all(before[1] <= after[0] for before, after in pairwise(places))
    assert len({stop - start for start, stop in places}) == 1
    # A place where a chunk of more than 64 MB must be read costs much.
    few = chunk_rows is not None and chunk_rows * p * 4 > 64 << 20
    assert len(places) in (1, 3 if few else 10)
    seen = sum(stop - start for start, stop in places)
    rows = places[0][1]
    # A place more or less of rows would be too many or too few: a hundred rows, or four million cells in all.
    assert len(places) == 1 or rows == 1 or (rows <= 100 and seen * p <= 4_000_000)
    assert len(places) == 1 or rows == 100 or (seen + len(places)) * p > 4_000_000
    assert len(places) > 1 or seen <= max(1000, 10)


# What is counted


@pytest.mark.parametrize("names", [None, ["u", "v", "w"]])
@pytest.mark.parametrize("seed", range(6))
def test_what_is_counted_is_what_is_there(seed, names):
    rng = np.random.default_rng(seed)
    values = [0.0, np.nan, np.inf, -np.inf, 1.0, -2.0, *([0.5] if seed % 2 else [])]
    X = rng.choice(values, size=(rng.integers(1, 9), 3))
    found = look(X if names is None else pd.DataFrame(X, columns=names))
    cells = [cell for row in X.tolist() for cell in row]
    finite = [cell for cell in cells if np.isfinite(cell)]
    assert found.zeros == pytest.approx(sum(cell == 0 for cell in cells) / len(cells))
    assert found.missing == pytest.approx(sum(cell != cell for cell in cells) / len(cells))
    assert found.infinite == pytest.approx(sum(abs(cell) == np.inf for cell in cells) / len(cells))
    assert (found.smallest, found.largest) == ((min(finite), max(finite)) if finite else (None, None))
    assert found.whole is (bool(finite) and all(cell == int(cell) for cell in finite))
    gaps = {name: float(np.isnan(X[:, j]).mean()) for j, name in enumerate(names or [f"column {j}" for j in range(3)])}
    assert found.missing_columns == {name: share for name, share in gaps.items() if share}
    np.testing.assert_array_equal(found.first, X[:5])


# The text


def held_text(tmp_path, **datasets):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name, value in datasets.items():
            file[name] = value
    return str(look(tmp_path / "x.h5")).splitlines()


def test_names_stand_in_a_column_and_a_single_number_is_one(tmp_path):
    lines = held_text(tmp_path, a=np.float32(1), longer_name=np.zeros((1234, 2), "i2"))
    assert lines[1:3] == ["  a            one, float32", "  longer_name  1,234 x 2, int16"]


def test_the_width_of_names_is_that_of_those_shown(tmp_path):
    """The thirty-first name is not shown, however long it is."""
    lines = held_text(tmp_path, **{f"x{at:02}": np.zeros(3) for at in range(30)}, zzzzzzzzzzzz=np.zeros(3))
    assert lines[1] == "  x00  3, float64" and lines[31] == "  and 1 more"


def test_a_file_of_nothing_is_a_heading_and_a_problem(tmp_path):
    lines = held_text(tmp_path)
    assert lines[0] == f"{tmp_path / 'x.h5'} holds" and len(lines) == 2
    assert lines[1].startswith("cannot be read as it was asked for: ")


def test_an_array_without_a_name_says_so(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((4, 2)))
    assert str(look(tmp_path / "x.npy")).splitlines()[1:3] == [
        "  (no name)  4 x 2, float64",
        "would be read: 4 rows of 2 columns, float64",
    ]


@pytest.mark.parametrize("p", [7, 8, 9])
def test_eight_columns_are_shown_and_dots_where_there_are_more(p):
    X = np.arange(6.0 * p).reshape(6, p)
    lines = str(look(X)).splitlines()
    at = lines.index("first rows:")
    rows = [line.split() for line in lines[at + 1 : at + 6]]
    assert rows == [[f"{cell:g}" for cell in row[:8]] + (["..."] if p > 8 else []) for row in X[:5]]
    assert lines[at + 6].startswith("of 6 rows looked at")
    assert len({len(line) for line in lines[at + 1 : at + 6]}) == 1


def test_long_names_are_cut_and_gaps_are_words():
    names = ["a" * 12, "b" * 13, "c", *"defgh", "not shown"]
    X = np.arange(27.0).reshape(3, 9)
    X[1, 2] = np.nan
    lines = str(look(pd.DataFrame(X, columns=names))).splitlines()
    at = lines.index("first rows:")
    assert lines[at + 1].split() == ["a" * 12, "b" * 9 + "...", *"cdefgh", "..."]
    assert lines[at + 3].split()[:4] == ["9", "10", "missing", "12"]
    assert f"columns: {', '.join(names)}" in lines


@pytest.mark.parametrize(
    "missing, words", [(0, "none"), (1, "fewer than 0.1%"), (2, "0.1%"), (3, "0.1%"), (1000, "50.0%"), (2000, "100.0%")]
)
def test_shares_are_told_in_words(missing, words):
    X = np.ones(2000)
    X[:missing] = np.nan
    lines = str(look(X.reshape(1000, 2))).splitlines()
    assert f"of 1,000 rows looked at: zeros none, missing {words}, infinite none" in lines
    assert ("whole numbers from 1 to 1" in lines) == (missing < 2000)


def test_the_numbers_are_told_with_six_digits():
    assert "numbers from -1.23457 to 1.5" in str(look(np.array([[-1.2345678], [1.5]])))
    assert "whole numbers from 1e+06 to 1.5e+07" in str(look(np.array([[1e6], [1.5e7]])))
    # A table without rows has no numbers, and no first rows.
    assert str(look(np.empty((0, 2)))) == "would be read: 0 rows of 2 columns, float64"


def test_options_are_those_of_the_command():
    from tsne_ooc.io.overview import Overview

    given = {"missing": "neighbors", "standardize": "standard", "normalize": 10_000, "log1p": True, "pca": 50}
    found = Overview("x y.npy", ["--dataset", "X"], [], shape=(1, 2), dtype="f4", prepare=given)
    assert " ".join(found.options) == "--missing neighbors --standardize --normalize 10000 --log1p --pca 50"
    assert str(found).splitlines()[-1] == (
        f"a guess: tsne-ooc embed 'x y.npy' --dataset X {' '.join(found.options)} --out map"
    )
    assert "a guess" not in str(look(np.ones((3, 2))))


def test_a_notebook_shows_the_same_text():
    shown = []

    class Printer:
        text = staticmethod(shown.append)

    found = look(np.ones((3, 2)))
    found._repr_pretty_(Printer(), False)
    assert shown == [str(found)]


def test_a_look_that_finds_no_table_has_counted_nothing(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a"], file["b"] = np.ones((5, 2)), np.ones((7, 3))
    found = look(str(tmp_path / "x.h5"))
    assert found.path == str(tmp_path / "x.h5") and found.asked == []
    assert found.first.shape == (0, 0) and not found.whole and found.rows_looked_at == 0
    assert (found.zeros, found.missing, found.infinite, found.smallest) == (0, 0, 0, None)
    assert (found.left_out, found.remarks, found.missing_columns, found.prepare, found.advice) == ({}, [], {}, {}, [])
    assert found.dataset is found.dtype is found.chunks is found.columns is None and "\n" not in found.problem


def test_what_was_opened_here_is_closed_and_what_was_given_is_not(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["X"] = np.ones((50, 3))
    closed = []
    from tsne_ooc.io.hdf5 import Hdf5Source

    plain = Hdf5Source.close
    monkeypatch.setattr(Hdf5Source, "close", lambda self: (closed.append(self), plain(self)))
    look(tmp_path / "x.h5")
    assert len(closed) == 1
    with open_source(tmp_path / "x.h5") as given:
        closed.clear()
        assert look(given).shape == (50, 3) and look(given).path is None and not closed
    # So it is where the rows cannot be read.
    closed.clear()
    monkeypatch.setattr(Hdf5Source, "read", lambda *_: 1 / 0)
    with pytest.raises(OSError, match="division by zero"):
        look(tmp_path / "x.h5")
    assert len(closed) == 1


def test_columns_may_come_one_by_one():
    made = normal()
    found = look(made, columns=(name for name in "ca"))
    assert found.columns == ["c", "a"] and found.asked == ["--columns", "c,a"]
    np.testing.assert_array_equal(found.first, made[["c", "a"]][:5])


@pytest.mark.parametrize("labels", [None, "i", "gone"])
def test_a_damaged_frame_is_listed_all_the_same(tmp_path, labels):
    """A look is there to show what is in the file, be it whole or not."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        frame = file.create_group("frame")
        frame.attrs.update(
            {"encoding-type": "dataframe", "column-order": ["a", "b"], **({"_index": labels} if labels else {})}
        )
        frame["a"], frame["b"], frame["i"] = np.ones(5), np.ones(5), np.arange(5)
        file["X"] = np.zeros((3, 2))
    found = look(tmp_path / "x.h5")
    assert found.problem is None and found.shape == (3, 2)
    held = {name: (shape, kind) for name, shape, kind in found.holds}
    assert held["frame"] == ((5 if labels == "i" else 0, 2), "data frame") and held["X"] == ((3, 2), "float64")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1.0, 1e150, 1e300])
def test_numbers_of_any_size_are_looked_at(scale):
    """Squares of the largest and the smallest are beyond float64; what is advised does not hang on the unit."""
    X = np.random.default_rng(0).normal(size=(60, 4)) * [1, 1, 40, 40]
    told = [one for one in look(X).advice if "fold in spread" in one]
    assert len(told) == 1 and 30 < float(re.search(r"(\d+)-fold", told[0])[1]) < 60
    assert [one for one in look(X * scale).advice if "fold in spread" in one] == told
    X[:, 1] *= 1e200
    assert "e+" in next(one for one in look(X).advice if "fold in spread" in one)


def test_what_sparse_matrices_consist_of_is_not_listed_however_many_there_are(tmp_path):
    A = sp.csr_array(np.eye(4, 3))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in ("X", "layers/counts", "raw/X"):
            group = file.create_group(name)
            group.attrs.update({"encoding-type": "csr_matrix", "shape": A.shape})
            for part in ("data", "indices", "indptr"):
                group[part] = getattr(A, part)
        file["XX/data"] = np.ones((5, 2))
    assert [(held.name, held.shape) for held in look(tmp_path / "x.h5").holds] == [
        ("X", (4, 3)), ("XX/data", (5, 2)), ("layers/counts", (4, 3)), ("raw/X", (4, 3)),
    ]  # fmt: skip


def test_masked_numbers_count_in_double_precision():
    """A million of them, whose sum float32 would round."""

    class Masked:
        shape, dtype, chunks = (3, 1), np.dtype("f4"), None

        def read(self, start, stop):
            return np.ma.masked_array(np.float32([[0.1], [2], [3]]), [[False], [True], [False]])[start:stop]

    found = overview._numbers(Masked(), 0, 3)
    assert found.dtype == np.float64 and np.isnan(found[1, 0])
    np.testing.assert_array_equal(found[[0, 2], 0], [np.float64(np.float32(0.1)), 3])


def test_all_that_was_asked_for_is_in_the_guess(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in ("t", "u"):
            file[name] = np.zeros(5, [("a", "f4"), ("b", "f4"), ("c", "f4")])
    found = look(tmp_path / "x.h5", dataset="t", columns=["c", "a"], allow_missing_chunks=True)
    assert found.asked == ["--dataset", "t", "--columns", "c,a", "--allow-missing-chunks"]
    assert str(found).splitlines()[-1].endswith(f" {' '.join(found.asked)} --out map")
    # What was asked for and is not there is an error, be it one or the other.
    for how in ({"dataset": "z"}, {"columns": ["a"]}, {"dataset": "t", "columns": ["z"]}):
        with pytest.raises(ValueError):
            look(tmp_path / "x.h5", **how)
    assert "name the one to read" in look(tmp_path / "x.h5").problem


@pytest.mark.parametrize("rows, places", [(1 << 18, 10), ((1 << 18) + 1, 3)])
def test_a_chunk_of_64_megabytes_is_read_in_ten_places(rows, places):
    class Table:
        shape, dtype, chunks = (10**7, 32), np.dtype("f8"), (rows, 16)

    assert len(overview._places(Table)) == places


@pytest.mark.parametrize("kind, make", [
    *((kind, make) for kind in ("f4", "i2", "u1", "?", "f8") for make in (np.asarray, pd.DataFrame, np.ma.array)),
    # SciPy has no rows of truths.
    *((kind, sp.csr_array) for kind in ("f4", "i2", "u1", "f8")),
])  # fmt: skip
def test_rows_that_are_shown_are_float64_of_whatever_type_they_are(kind, make):
    X = np.array([[0, 1, 1], [1, 0, 0], [1, 1, 0]], kind)
    found = look(make(X))
    assert found.first.dtype == np.float64 and found.dtype == str(X.dtype)
    np.testing.assert_array_equal(found.first, X)
    assert (found.smallest, found.largest, found.whole, found.zeros) == (0, 1, True, pytest.approx(4 / 9))


def test_a_single_row_is_shown():
    assert str(look(np.array([[1.5, 2]]))).splitlines() == [
        "would be read: 1 row of 2 columns, float64", "first rows:", "  1.5  2",
        "of 1 row looked at: zeros none, missing none, infinite none", "numbers from 1.5 to 2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "spreads, told",
    [
        # Of 21 columns the second widest and the second narrowest are compared: a twentieth lies beyond each.
        ([1.0] * 19 + [10.5] * 2, True), ([1.0] * 20 + [1e3], False), ([1 / 10.5] * 2 + [1.0] * 19, True),
        ([1e-3] + [1.0] * 20, False), ([1 / 3.3] * 2 + [1.0] * 17 + [3.3] * 2, True),
        ([1 / 3] * 2 + [1.0] * 17 + [3.3] * 2, False),
    ],
)  # fmt: skip
def test_the_widest_and_the_narrowest_twentieth_do_not_count(spreads, told):
    assert any("fold in spread" in line for line in look(with_spreads(*spreads)).advice) == told


@pytest.mark.parametrize("ratio, words", [(9.99e8, "999,000,000-fold"), (1.5e9, "2e+09-fold"), (1e12, "1e+12-fold")])
def test_a_ratio_of_more_than_a_billion_is_told_by_its_size(ratio, words):
    said = look(with_spreads(*[1.0] * 10, *[ratio] * 10)).advice
    assert any(words in line for line in said), said
