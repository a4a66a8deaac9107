"""Files of text as people have them: written by other programs, in other countries, with a sign or a line too many."""

from __future__ import annotations

import csv
import datetime
import gzip
import shlex
import subprocess
from decimal import Decimal

import h5py
import numpy as np
import pytest

from tsne_ooc.cli import main
from tsne_ooc.cli.shared import split_names
from tsne_ooc.convert import convert
from tsne_ooc.io import open_source
from tsne_ooc.plot.column import column_in

pa = pytest.importorskip("pyarrow")

X = [[1.5, -2.25], [3.0, 4.75], [0.125, 1e-3]]
WORDS = ["é;1", "b", "c"]


def text(delimiter=",", decimal=".", newline="\n", quote=False, end="\n"):
    """The table of X and WORDS, where words with the delimiter are in quotes."""
    lines = [delimiter.join(["a", "b b", "word"])]
    for row, word in zip(X, WORDS, strict=True):
        cells = [repr(value).replace(".", decimal) for value in row]
        cells = [f'"{cell}"' for cell in cells] if quote or decimal == delimiter else cells
        lines.append(delimiter.join([*cells, f'"{word}"' if quote or delimiter in word else word]))
    return newline.join(lines) + end


CASES = {
    "semicolons": (text(";"), ";", "."),
    "decimal commas": (text(";", ","), ";", ","),
    "decimal commas between tabs": (text("\t", ","), "\t", ","),
    "decimal commas in quotes": (text(";", ",", quote=True), ";", ","),
    "bars": (text("|"), "|", "."),
    "lines of Windows": (text(newline="\r\n", end="\r\n"), ",", "."),
    "semicolons, lines of Windows": (text(";", ",", newline="\r\n", end="\r\n"), ";", ","),
    "a mark of the order of bytes": ("\ufeff" + text(), ",", "."),
    "the same, semicolons": ("\ufeff" + text(";", ","), ";", ","),
    "quotes": (text(quote=True), ",", "."),
    "an empty last line": (text(end="\n\n"), ",", "."),
    "no end of line": (text(end=""), ",", "."),
}


@pytest.mark.parametrize("pieces", ["one piece", "many"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("case", CASES)
def test_numbers_and_words_are_what_was_meant(tmp_path, monkeypatch, case, packed, pieces):
    if pieces == "many":
        monkeypatch.setattr("tsne_ooc.convert.pieces.BYTES", 30)
    given, delimiter, decimal = CASES[case]
    path = tmp_path / ("x.csv.gz" if packed else "x.csv")
    with gzip.open(path, "wb") if packed else open(path, "wb") as file:
        file.write(given.encode())
    found = convert(path, tmp_path / "out", labels=["word"])
    assert found["columns"] == ["a", "b b"] and found["rejected"] == {}
    with h5py.File(tmp_path / "out" / "table.h5") as file:
        np.testing.assert_array_equal(file["X"][:], np.float32(X))
        assert [word.decode() for word in file["obs/word"][:]] == WORDS
        np.testing.assert_array_equal(file["rows/line"][:], [2, 3, 4])
    (told,) = found["inputs"]
    assert (told.get("delimiter", ","), told.get("decimal", ".")) == (delimiter, decimal)


def test_a_cell_that_does_not_fit_is_rejected_in_its_own_dialect(tmp_path):
    (tmp_path / "x.csv").write_text("a;b\n1,5;2\n1.5;3\n;4\n1.234,5;6\n-2,5e1;7\n")
    found = convert(tmp_path / "x.csv", tmp_path / "out")
    # With points and commas among the numbers, a point is before the decimals.
    assert found["inputs"][0]["decimal"] == "." and found["columns"] == ["b"] and found["written"] == 5
    (tmp_path / "y.csv").write_text("a;b\n1,5;2\noh;3\n;4\n1.234,5;6\n-2,5e1;7\n3;8\n")
    found = convert(tmp_path / "y.csv", tmp_path / "more", columns=["a", "b"])
    assert found["inputs"][0]["decimal"] == ","
    with h5py.File(tmp_path / "more" / "table.h5") as file:
        np.testing.assert_array_equal(file["rows/line"][:], [2, 4, 6, 7])
        np.testing.assert_array_equal(file["X"][:], [[1.5, 2], [np.nan, 4], [-25, 7], [3, 8]])


def test_a_column_of_numbers_with_a_word_is_taken_by_its_name(tmp_path, monkeypatch, capsys):
    """By default it is left out with a word; where it is named, the rows of its other cells are rejected."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_text("a,b,c\n1.5,2,x\n?,3,y\n2.5,4,1\n,5,z\n3,6,2\n")
    assert main(["prepare", "x.csv", "--out", "out"]) == 0
    said = capsys.readouterr().out
    assert "column 'a' is of type string, though most cells are numbers: '?' is not one; with its name in --col" in said
    assert "column 'c'" not in said and "left out: a, c (" in said
    found = convert("x.csv", "more", columns=["a", "b"])
    assert (found["written"], sum(found["rejected"].values()), found["missing"]) == (4, 1, {"a": 1})
    assert "'?', which is not a number" in (tmp_path / "more" / "rejected.csv").read_text()
    with pytest.raises(ValueError, match=r"column 'c' of .* is of type string, not numbers; name it in onehot"):
        convert("x.csv", "none", columns=["c"])


@pytest.mark.parametrize(
    "data, columns",
    [
        ("a,b;c,d\n1,2,3\n", ["a", "b;c", "d"]),
        # As many semicolons as commas in the names alone, or more.
        ("a,b;c;d\n1,2\n", ["a", "b;c;d"]),
        ("a,b;c;d\n1,5;2,5;3\n", ["a,b", "c", "d"]),
        ("a, b,c \n1, 2,3\n", ["a", "b", "c"]),
        ("a\n1\n", ["a"]),
    ],
)
def test_the_sign_is_one_that_names_and_cells_have_in_common(tmp_path, data, columns):
    (tmp_path / "x.csv").write_text(data)
    assert convert(tmp_path / "x.csv", tmp_path / "out")["columns"] == columns


def test_lines_of_json_of_several_types(tmp_path):
    """A word in a column of numbers, and a line that is not JSON, in the first lines of all."""
    (tmp_path / "x.jsonl").write_text('{"a": 1.5, "w": "x"}\n{"a": "?", "w": "y"}\nno\n{"a": null}\n{"a": 3, "w": 4}\n')
    found = convert(tmp_path / "x.jsonl", tmp_path / "out", columns=["a"], labels=["w"])
    assert (found["written"], sum(found["rejected"].values()), found["missing"]) == (3, 2, {"a": 1})
    with h5py.File(tmp_path / "out" / "table.h5") as file:
        np.testing.assert_array_equal(file["rows/line"][:], [1, 4, 5])
        np.testing.assert_array_equal(file["X"][:], [[1.5], [np.nan], [3]])
    (tmp_path / "y.json").write_text('[{"a": 1}, {"a": 2}]')
    with pytest.raises(ValueError, match=r"y.json cannot be read: the first lines are not objects of JSON, one in"):
        convert(tmp_path / "y.json", tmp_path / "more")


@pytest.mark.parametrize(
    "name, told", [("x.xlsx", "save its sheet as CSV"), ("x.csv.zip", "unpack it first"), ("x.npy", "is read as it is")]
)
def test_files_of_other_kinds_are_told_what_to_do(tmp_path, name, told):
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(OSError, match=rf"{name} is not called .csv, .tsv, .jsonl or .parquet; .*{told}"):
        convert(tmp_path / name, tmp_path / "out")


def test_where_no_line_can_be_read_the_first_reason_is_told(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2,3\n4,5,6\n")
    with pytest.raises(ValueError, match=r"none of 2 rows could be read; line 2 of .*x.csv: 3 cells, and 2 columns"):
        convert(tmp_path / "x.csv", tmp_path / "out")


def test_what_is_found_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_text(text(";", ","))
    (tmp_path / "x.tsv").write_text(text("\t"))
    assert main(["prepare", "x.csv", "--out", "out"]) == 0
    assert "x.csv: cells are between ';', and commas before decimals\n" in capsys.readouterr().out
    assert main(["prepare", "x.tsv", "--out", "more"]) == 0
    assert "between" not in capsys.readouterr().out
    assert column_in("x.csv", "word").tolist() == WORDS


@pytest.mark.parametrize(
    "data, told",
    [
        ("a,b,a\n1,2,3\n", "has several columns 'a'; give each a name of its own"),
        ("a,,\n1,2,3\n", "has several columns without a name"),
        ("1.5,2.5\n1,2\n", "begins with a line of numbers, and a table with a line of names"),
        ("\n1,2\n", "has no line of names"),
        ("", "is empty; a table begins with a line of names"),
        ("größe,b\n1,2\n".encode("latin-1"), "is not text in UTF-8; save it as CSV in UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "is not text in UTF-8"),
    ],
    ids=str,
)
def test_a_first_line_that_is_not_one_of_names_is_refused(tmp_path, capsys, data, told):
    (tmp_path / "x.csv").write_bytes(data if isinstance(data, bytes) else data.encode())
    assert main(["prepare", str(tmp_path / "x.csv"), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1 and not (tmp_path / "out").exists()


def test_an_index_without_a_name_is_left_out(tmp_path, monkeypatch, capsys):
    import pandas as pd

    monkeypatch.chdir(tmp_path)
    pd.DataFrame(X, columns=["a", "b"]).to_csv("x.csv")
    assert main(["prepare", "x.csv", "--out", "out"]) == 0
    assert "left out: a column without a name (" in capsys.readouterr().out
    with open_source("out/table.h5") as source:
        np.testing.assert_array_equal(source.read(0, 3), np.float32(X))
    # Whole numbers are names that pandas gives.
    pd.DataFrame(X).to_csv("y.csv", index=False)
    assert convert("y.csv", "more")["columns"] == ["0", "1"]


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """A table of Parquet with a column of each odd type."""
    from pyarrow.parquet import write_table

    monkeypatch.chdir(tmp_path)
    days = [datetime.datetime(2020, 1, day, tzinfo=datetime.UTC) for day in (1, 2, 3)]
    columns = {
        "price": pa.array([Decimal("1.50"), None, Decimal("-2.25")], pa.decimal128(10, 2)),
        "word": pa.array(["x", "y", "x"]).dictionary_encode(),
        "when": pa.array(days, pa.timestamp("us", "Europe/Vienna")),
        "vector": pa.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], pa.list_(pa.float32())),
        "a": pa.array([1.0, 2.0, 3.0]),
    }
    write_table(pa.table(columns), "odd.parquet")
    write_table(pa.table({"id": ["a", "b", "c"], "vector": columns["vector"]}), "vectors.parquet")
    return columns


def test_decimals_become_numbers(odd):
    with open_source("odd.parquet") as source:
        assert source.column_names == ["a"] and set(source.unread) == {"price", "word", "when", "vector"}
    with open_source("odd.parquet", columns=["price", "a"]) as source, pytest.raises(TypeError) as error:
        source.read(0, 3)
    told = shlex.split(str(error.value).rpartition("; tsne-ooc ")[2])[:4]
    assert told[:3] == ["prepare", told[1], "--out"]
    assert main([*told[:3], "out", "--labels", "word", "--quiet"]) == 0
    with open_source("out/table.h5") as source:
        np.testing.assert_array_equal(source.read(0, 3), [[1.5, 1], [np.nan, 2], [-2.25, 3]])


def test_lists_are_told_to_be_written_as_an_array(odd):
    for columns in (None, ["vector"]):
        with pytest.raises((ValueError, TypeError), match=r"numpy\.save") as error:
            open_source("vectors.parquet", columns=columns).read(0, 1)
        line = str(error.value).rpartition("first: ")[2]
        scope = {}
        exec(f"import numpy, pyarrow.parquet\n{line}", scope)
        np.testing.assert_array_equal(np.load("rows.npy"), [[1, 2], [3, 4], [5, 6]])


@pytest.mark.parametrize("quote", ["", '"'], ids=["plain", "quoted"])
@pytest.mark.parametrize("bad", [False, True], ids=["numbers", "a cell that is none"])
@pytest.mark.parametrize("length", [1 << 16, 131_072, 131_073, 400_000])
def test_texts_of_any_length_stand_beside_numbers(tmp_path, length, bad, quote):
    """Documents beside their embeddings: the standard library reads no cells of more than 131,072 letters by itself."""
    long = quote + "é" * length + quote
    rows = ["1.5,2," + long, "2.5,3,short", f"{'oh' if bad else 4},5,{long}", f"6,7,{long}"]
    (tmp_path / "x.csv").write_text("a,b,text\n" + "\n".join(rows) + "\n", encoding="utf-8")
    before = csv.field_size_limit()
    found = convert(tmp_path / "x.csv", tmp_path / "out", columns=["a", "b"])
    assert csv.field_size_limit() == before
    assert found["left_out"] == {"text": "of type string"} and found["written"] == 4 - bad
    with open_source(tmp_path / "out" / "table.h5") as table:
        kept = [[1.5, 2], [2.5, 3], [4, 5], [6, 7]]
        np.testing.assert_array_equal(table.read(0, table.shape[0]), kept[:2] + kept[2 + bad :])
    kinds = column_in(tmp_path / "x.csv", "b")
    np.testing.assert_array_equal(kinds, [2, 3, 5, 7])


def test_a_name_may_be_long(tmp_path):
    name = "n" * 150_000
    (tmp_path / "x.csv").write_text(f"{name};b\n1;2\n3;4\n")
    assert convert(tmp_path / "x.csv", tmp_path / "out")["columns"] == [name, "b"]


@pytest.mark.parametrize("end", ["", "\r", "\r\n"])
def test_lines_that_end_in_carriage_returns_alone_are_told(tmp_path, capsys, monkeypatch, end):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_bytes(("a,b\r1,2\r3,4" + end).encode())
    assert main(["prepare", "x.csv", "--out", "out"]) == 2
    told = capsys.readouterr().err
    assert "x.csv has carriage returns in its line of names" in told and told.count("\n") == 1
    assert not (tmp_path / "out").exists()
    # What is advised helps.
    ran = told[told.index("tr ") :].strip()
    assert ran == r"tr '\r' '\n' < x.csv > x-lines.csv"
    subprocess.run(ran, shell=True, check=True)
    assert main(["prepare", "x-lines.csv", "--out", "out"]) == 0
    with open_source(tmp_path / "out" / "table.h5") as table:
        np.testing.assert_array_equal(table.read(0, 2), [[1, 2], [3, 4]])


def test_a_carriage_return_in_the_first_row_ends_no_line(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\r3,4\n5,6\n7,8\n", newline="")
    found = convert(tmp_path / "x.csv", tmp_path / "out")
    assert found["written"] == 2 and sum(found["rejected"].values()) == 1
    with open_source(tmp_path / "out" / "table.h5") as table:
        np.testing.assert_array_equal(table.read(0, 2), [[5, 6], [7, 8]])


@pytest.mark.parametrize("names, wanted", [
    ("a,b", ["a", "b"]), ("a\nb\n", ["a", "b"]), ("a\r\nb", ["a", "b"]), ('"a,b",c', ["a,b", "c"]), ("", []),
    ("a\n\nb,c", ["a", "b", "c"]), ('"of two\nlines",c', ["of two\nlines", "c"]),
])  # fmt: skip
def test_names_of_columns_are_parted_by_commas_or_lines(names, wanted):
    """A list in a file comes in as it is: --columns "$(cat names.txt)"."""
    assert split_names(names) == wanted


def test_rows_that_are_no_text_are_told_and_nothing_else_is_said(tmp_path, capfd):
    """A row that has a cell too many, and letters of another encoding."""
    (tmp_path / "x.csv").write_bytes("a,b\n1,2\ncaf\xe9,3,4\n5,6\n\xfcber,7\n".encode("latin-1"))
    found = convert(tmp_path / "x.csv", tmp_path / "out", columns=["a", "b"])
    assert found["read"] == 4 and found["written"] == 2
    told = (tmp_path / "out" / "rejected.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in told[1:]] == ["3", "5"]
    assert "not text in UTF-8; save the file in it" in told[1]
    assert capfd.readouterr() == ("", "")


def test_of_long_names_messages_have_the_beginning(tmp_path):
    (tmp_path / "x.csv").write_text("n" * 500 + ",b\n1,2\n")
    with pytest.raises(ValueError, match=r"has no column 'z'; it has n{57}\.\.\., b$"):
        column_in(tmp_path / "x.csv", "z")
    (tmp_path / "y.csv").write_text("b,c\n1,2\n")
    with pytest.raises(ValueError, match=r"y\.csv lacks columns that x\.csv has: n{57}\.\.\.;"):
        convert([tmp_path / "x.csv", tmp_path / "y.csv"], tmp_path / "out")
