"""Text as tables, part by part: cells, lines, names of files, recipes and plans, each against all that may come."""

from __future__ import annotations

import json
import math
import warnings
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from tsne_ooc._cells import cells_of
from tsne_ooc.convert import frames, plan, rows, writing
from tsne_ooc.convert.converting import _check_columns, _files, _name, _names, _told
from tsne_ooc.convert.frames import _folder_beside, _is_frame, _try
from tsne_ooc.convert.pieces import Dialect, Piece, _decimal, delimiter_of, is_tabbed, kind_of, pieces_of
from tsne_ooc.convert.plan import Known, Plan, _part
from tsne_ooc.convert.recipe import Recipe
from tsne_ooc.convert.rows import Rejected, Rows, _number, _rows_as_they_are, _word, mixed, types_of
from tsne_ooc.convert.spans import Span, Spans

pa = pytest.importorskip("pyarrow")

# Cells


@pytest.mark.parametrize(
    "cell, decimal, number",
    [
        ("1.5", ".", 1.5), (" 2 ", ".", 2), ("-1e3", ".", -1000), ("True", ".", 1), ("FALSE", ".", 0),
        ("true", ",", 1),
        ("1,5", ",", 1.5), ("15", ",", 15), ("1,5", ".", None), ("1.5", ",", None), ("1.5,2", ",", None),
        ("x", ".", None),
        (True, ".", 1), (False, ",", 0), (7, ".", 7), (7, ",", 7), (2.5, ",", 2.5), (10**400, ".", None),
        ([1], ".", None),
        ({"a": 1}, ".", None), (None, ".", math.nan), ("", ".", math.nan), ("NA", ",", math.nan),
        ("nan", ".", math.nan),
        ("NaN", ".", math.nan), ("null", ",", math.nan), ("1.#QNAN", ".", math.nan), ("NAN", ".", math.nan),
        ("inf", ".", math.inf),
        ("1 2", ".", None), ("N/A ", ".", None),
    ],
)  # fmt: skip
def test_a_cell_is_a_number_a_gap_or_an_error(cell, decimal, number):
    if number is None:
        with pytest.raises(ValueError) as caught:
            _number(cell, "c", decimal)
        assert str(caught.value) == f"column 'c' holds {str(cell)[:40]!r}, which is not a number"
    else:
        found = _number(cell, "c", decimal)
        assert type(found) is float and (found == number or (math.isnan(found) and math.isnan(number)))


def test_a_word_is_text_whatever_the_cell_is():
    for cell, word in (
        ("a", "a"),
        ("", None),
        ("NULL", None),
        (None, None),
        (1, "1"),
        (True, "true"),
        ([1, "a"], '[1, "a"]'),
        ("none", "none"),
    ):
        assert _word(cell) == word


def csv_piece(data, names=("a", "b"), first=2, spans=()):
    return Piece(0, first, data, list(names), Dialect(), Spans(tuple(Span(*span) for span in spans)))


@pytest.mark.parametrize(
    "cells, first, found",
    [
        (["1", "2", "x", "y"], 1000, None), (["1", "2", "x"], 1000, "x"), (["1", "", "NA"], 1000, ""),
        (["x", "1"], 1000, None),
        (["1", "2", "3", "x", "y", "z", "u"], 3, "x"), (["x", "y", "1", "2", "3", "4", "5"], 3, None),
        (["", ""], 1000, None),
        (["1", "2", "3"], 1000, ""), (["x", "1", "2"], 2, None),
    ],
)  # fmt: skip
def test_a_column_of_words_most_of_which_are_numbers_is_told_by_one_that_is_none(cells, first, found, monkeypatch):
    """Of the first cells, those that are there; one that is no number may come later."""
    monkeypatch.setattr(rows, "_FIRST", first)
    piece = csv_piece("".join(f"0,{cell}\n" for cell in cells).encode())
    assert mixed(piece, "csv", ["b"]) == ({} if found is None else {"b": found}) and mixed(piece, "csv", []) == {}


# Lines


@pytest.mark.parametrize(
    "spans, found",
    [
        ([], [(5, b"a"), (6, b"b"), (7, b"c"), (8, b"d"), (9, b"e"), (10, b"")]),
        ([(1, 2)], [(5, b"a"), (6, b"b\nc"), (8, b"d"), (9, b"e"), (10, b"")]),
        ([(0, 2), (3, 2)], [(5, b"a\nb"), (7, b"c"), (8, b"d\ne"), (10, b"")]),
        ([(0, 3), (3, 3)], [(5, b"a\nb\nc"), (8, b"d\ne\n")]),
    ],
)
def test_rows_over_several_lines_have_the_number_of_their_first(spans, found):
    piece = csv_piece(b"a\nb\nc\nd\ne\n", first=5, spans=spans)
    assert list(_rows_as_they_are(piece)) == found


@pytest.mark.parametrize(
    "data",
    [
        b"1,2\n3,4\n",
        b"1,2\n3,4",
        b"1,2\r\n3,4\r\n",
        b"\n1,2\n\n3,4\n",
        b"1,2\n\n\n3,4\n\n",
        b"\r\n1,2\n",
        b"1,2\n\r\n3,4",
        b"1,2\n3,4\n\n",
        b"1,2\n3\n4,5\n",
        b"1\n2\n",
    ],
)
def test_each_row_has_the_number_of_its_line(data):
    """Empty lines are none; lines of another number of cells are told by theirs."""
    found = rows.rows_of(csv_piece(data, first=7), "csv", ["a", "b"], [])
    lines = [(at, line.rstrip(b"\r").decode()) for at, line in enumerate(data.split(b"\n"), start=7)]
    whole = [(at, cells_of(line, ",")) for at, line in lines if line]
    assert found.lines.tolist() == [at for at, cells in whole if len(cells) == 2] and found.lines.dtype == np.int64
    assert found.numbers.tolist() == [[float(cell) for cell in cells] for _, cells in whole if len(cells) == 2]
    assert found.rejected == [
        Rejected(at, f"{len(cells)} cells, and 2 columns", ",".join(cells)) for at, cells in whole if len(cells) != 2
    ]


def test_rows_that_are_rejected_go_with_their_line_and_text():
    words = {"w": np.array(list("abcd"), object)}
    found = Rows(np.arange(8.0).reshape(4, 2), words, np.array([3, 5, 6, 9]), [Rejected(1, "r", "t")])
    found.reject(np.array([False, True, False, True]), lambda i: f"reason {i}", lambda i: f"text {i}")
    assert found.rejected == [
        Rejected(1, "r", "t"),
        Rejected(5, "reason 1", "text 1"),
        Rejected(9, "reason 3", "text 3"),
    ]
    assert found.numbers.tolist() == [[0, 1], [4, 5]] and found.lines.tolist() == [3, 6]
    assert found.words["w"].tolist() == ["a", "c"]


def test_types_of_lines_that_are_not_alike():
    lines = [
        '{"a": 1, "b": "x", "c": null, "d": 1}',
        "no json",
        "[1]",
        '{"a": 2.5, "b": 3, "d": true, "e": {"f": 1}}',
        "",
    ]
    piece = Piece(0, 1, "\n".join(lines).encode(), [])
    assert {name: str(kind) for name, kind in types_of(piece, "json").items()} == {
        "a": "double", "b": "string", "d": "double", "e": "string",
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"^the first lines are not objects of JSON, one in each line; with pandas: "):
        types_of(Piece(0, 1, b"[1]\n{\n", []), "json")


def test_numbers_beyond_float32_are_rejected_by_the_first_of_them():
    found = rows.rows_of(csv_piece(b"1,1e30\n1e39,-1e40\n3,-1e39\n4,1e38\n"), "csv", ["a", "b"], [])
    assert found.lines.tolist() == [2, 5] and [(one.line, one.reason, one.text) for one in found.rejected] == [
        (3, "column 'a' holds 1e+39, beyond the range of float32", "1e39,-1e40"),
        (4, "column 'b' holds -1e+39, beyond the range of float32", "3,-1e39"),
    ]


# How a file is written


@pytest.mark.parametrize(
    "head, row, sign",
    [
        ("a,b", "1,2", ","), ("a;b", "1;2", ";"), ("a\tb", "1\t2", "\t"), ("a|b", "1|2", "|"), ("a", "1", ","),
        ("", "", ","),
        # Decimals with a comma make as many cells of the second line as there are names, or not.
        ("a;b", "1,5;2,5", ";"), ("a,b;c", "1;2", ";"), ("a;b,c", "1;2,3", ","), ("a;b", "", ";"),
        ("a;b|c", "1|2|3", ";"),
        ('"a,b";c', "1;2", ";"), ("a,b", "1;2", ","), ("a b", "1 2", ","), ("a;b", "1,2", ";"), ('a"', "1", ","),
    ],
)  # fmt: skip
def test_the_sign_between_cells_makes_as_many_of_both_lines(tmp_path, head, row, sign):
    assert delimiter_of(tmp_path / "x.csv", head, row) == sign
    assert delimiter_of(tmp_path / "x.tsv.gz", head, row) == "\t"


@pytest.mark.parametrize(
    "data, delimiter, sign",
    [
        (b"1,5;2\n", ";", ","), (b"1.5;2\n", ";", "."), (b"1,5;2.5\n", ";", "."), (b"a,b;c\n", ";", "."),
        (b"x;1,5", ";", ","),
        (b"x\t-1,5e3\t2\n", "\t", ","), (b'"1,5";2\n', ";", ","), (b"1;2\n", ";", "."), (b"1,5\n", ",", "."),
        (b"a;1,5 x\n", ";", "."),
        (b"1;2\n3;,5\r\n", ";", ","), (b"1,2,3;4\n", ";", "."), (b"+1,5|2", "|", ","), (b"", ";", "."),
        (b"1,;2\n", ";", "."),
    ],
)  # fmt: skip
def test_decimals_have_a_comma_where_numbers_have_and_none_has_a_point(data, delimiter, sign):
    assert _decimal(data, delimiter) == sign


def test_the_kind_of_a_file_is_its_ending_without_gz(tmp_path):
    for name, kind in (
        ("a.csv", "csv"), ("a.TSV", "csv"), ("a.txt.gz", "csv"), ("a.b.jsonl", "json"), ("a.ndjson.GZ", "json"),
        ("a.json", "json"),
        ("a.parquet", "parquet"), ("a.pq", "parquet"), ("a.gz", None), ("a", None), ("a.h5", None),
        ("a.csv.zip", None), (".csv", None),
    ):  # fmt: skip
        assert kind_of(tmp_path / name) == kind
    assert is_tabbed(tmp_path / "a.TSV.gz") and not is_tabbed(tmp_path / "tsv.csv")


@pytest.mark.parametrize("size", [1, 4, 7, 1 << 20])
def test_pieces_of_a_file_are_all_of_its_lines(tmp_path, size, monkeypatch):
    monkeypatch.setattr("tsne_ooc.convert.pieces.BYTES", size)
    lines = [f"{at},{at * at}" for at in range(12)]
    (tmp_path / "x.csv").write_text("\ufeff a , b\r\n" + "\n".join(lines), encoding="utf-8")
    found = list(pieces_of(tmp_path / "x.csv", 3))
    assert b"".join(piece.data for piece in found).decode() == "\n".join(lines)
    assert all(piece.names == ["a", "b"] and piece.file == 3 and piece.dialect == Dialect() for piece in found)
    at = 2
    for piece in found:
        assert piece.first == at and (piece.data.endswith(b"\n") or piece is found[-1])
        at += piece.data.count(b"\n")
    # A line without an end is a piece of its own.
    assert len(found) == 2 or size < 1 << 20


@pytest.mark.parametrize(
    "text, words",
    [
        ("a,b,a,b\n", "several columns 'a'; give each a name of its own"),
        ("a,,\n", "several columns without a name; give each"),
        ("1.5,2\n", "begins with a line of numbers"), ("1,nan\n", "begins with a line of numbers"),
        ("", "is empty; a table begins"),
        ("a\rb\n", "has carriage returns in its line of names"), ("a\nb\xff", None), ("1,2\n3,4\n", None),
        ("1.5,x\n", None),
        ("\n1,2\n", "has no line of names"),
    ],
)  # fmt: skip
def test_a_first_line_that_names_no_columns_is_told(tmp_path, text, words):
    (tmp_path / "x.csv").write_bytes(text.encode("latin1"))
    if words is None:
        assert all(piece.names for piece in pieces_of(tmp_path / "x.csv", 0))
        return
    with pytest.raises(ValueError, match=words):
        list(pieces_of(tmp_path / "x.csv", 0))
    (tmp_path / "y.csv").write_bytes(b"\xff\n")
    with pytest.raises(ValueError, match=r"y\.csv is not text in UTF-8; save it as CSV in UTF-8$"):
        list(pieces_of(tmp_path / "y.csv", 0))


# Files, and what is told of them


@pytest.mark.parametrize(
    "key, number, taken, name",
    [
        ("", None, (), "table.h5"), ("", 0, (), "table-00000.h5"), ("a b/c", None, (), "a_b_c.h5"),
        ("../x", None, (), "x.h5"),
        ("a", 12, (), "a-00012.h5"), ("a", None, ("a.h5",), "a~2.h5"), ("a", None, ("a.h5", "a~2.h5"), "a~3.h5"),
        ("...", None, (), "table.h5"),
        ("x" * 150, None, (), "x" * 100 + ".h5"), ("é.1-2", None, (), "é.1-2.h5"), ("_a_", None, (), "a.h5"),
        ("a", 1, ("a-00001.h5",), "a-00001~2.h5"),
    ],
)  # fmt: skip
def test_files_are_called_after_what_they_are_split_by(key, number, taken, name):
    assert _name(key, number, set(taken), "h5") == name


def test_how_a_file_is_written_is_told_where_its_name_does_not_say_it(tmp_path):
    csv, tsv = tmp_path / "x.csv", tmp_path / "x.tsv"
    for path, dialect, told in (
        (csv, None, {}), (csv, Dialect(), {}), (tsv, Dialect("\t"), {}), (tsv, Dialect(), {}),
        (csv, Dialect("\t"), {"delimiter": "\t", "decimal": "."}),
        (csv, Dialect(";", ","), {"delimiter": ";", "decimal": ","}),
        (tsv, Dialect("\t", ","), {"delimiter": "\t", "decimal": ","}),
    ):  # fmt: skip
        assert _told(path, dialect) == told


def test_columns_that_a_file_lacks_are_named(tmp_path):
    first = tmp_path / "1.csv"
    _check_columns(tmp_path / "2.csv", first, csv_piece(b"", ["a", "b", "c"]), "csv", ["c", "a"])
    _check_columns(tmp_path / "2.jsonl", first, csv_piece(b"", []), "json", ["c", "a"])
    table = Piece(0, 0, pa.table({"a": [1]}), [])
    _check_columns(tmp_path / "2.pq", first, table, "parquet", ["a"])
    for piece, kind in ((csv_piece(b"", ["a"]), "csv"), (table, "parquet")):
        with pytest.raises(ValueError) as caught:
            _check_columns(tmp_path / "2", first, piece, kind, ["a", "c", "d"])
        assert str(caught.value) == f"{tmp_path / '2'} lacks columns that 1.csv has: c, d; leave it out, or name others"


@pytest.mark.parametrize(
    "name, hint",
    [
        ("x.xlsx", ": save its sheet as CSV"), ("x.XLS", ": save its sheet as CSV"),
        ("x.ods", ": save its sheet as CSV"),
        ("x.zip", ": unpack it first"), ("x.tar", ": unpack it first"), ("x.7z", ": unpack it first"),
        *((f"x{end}", ": this one is read as it is, such as by tsne-ooc embed") for end in (".h5", ".h5ad", ".npy")),
        ("x.doc", ""), ("x", ""),
    ],
)  # fmt: skip
def test_what_is_no_text_says_what_to_do(tmp_path, name, hint):
    (tmp_path / name).touch()
    with pytest.raises(OSError) as caught:
        _files([tmp_path / name])
    assert str(caught.value) == f"{tmp_path / name} is not called .csv, .tsv, .jsonl or .parquet; these are read{hint}"


def test_files_of_folders_come_in_the_order_of_their_numbers(tmp_path):
    for name in ("d/x10.csv", "d/x2.csv", "d/notes.doc", "e/a.jsonl", "b.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = _files([tmp_path / "b.csv", tmp_path / "d", tmp_path / "e"])
    assert [str(path.relative_to(tmp_path)) for path in found] == ["b.csv", "d/x2.csv", "d/x10.csv", "e/a.jsonl"]
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match=r"none holds no files of CSV, JSON lines or Parquet$"):
        _files([tmp_path / "none"])
    with pytest.raises(FileNotFoundError, match=r"^there is no file "):
        _files([tmp_path / "gone.csv"])


@pytest.mark.parametrize(
    "text, told",
    [
        ('{"format": "tsne_ooc table"', "is what tsne-ooc prepare wrote"),
        ('{\n "format": "tsne_ooc"', "is a run, a model or a graph of tsne-ooc"),
        ('{"format": "other"', None), ('{"a": 1, "format": "tsne_ooc"', None), ("", None),
    ],
)  # fmt: skip
def test_a_folder_of_ours_is_not_read_as_text(tmp_path, text, told):
    (tmp_path / "manifest.json").write_text(text)
    (tmp_path / "x.csv").touch()
    if told is None:
        assert [path.name for path in _files([tmp_path])] == ["manifest.json", "x.csv"]
        return
    with pytest.raises(OSError, match=rf"{told}, and holds no text"):
        _files([tmp_path])


def test_names_of_columns_are_a_list_of_different_ones():
    assert (
        _names("onehot", "ab") == ["ab"] and _names("onehot", ("a", "b")) == ["a", "b"] and _names("onehot", ()) == []
    )
    with pytest.raises(ValueError, match=r"^labels names a column twice: a, b, a$"):
        _names("labels", ["a", "b", "a"])


# Recipes and plans

TOLD = {
    "numbers": ["a", "b"],
    "coded": ["c"],
    "onehot": ["d"],
    "labels": ["e"],
    "categories": {"c": ["x"], "d": ["y", "z"]},
}


@pytest.mark.parametrize(
    "change, words",
    [
        ({}, None), ({"centre": [1, 2.5], "scale": [1, 0.5]}, None), ({"centre": None, "scale": None}, None),
        ({"numbers": ["a", "a"]}, "columns"), ({"numbers": "ab"}, "columns"), ({"coded": None}, "columns"),
        ({"labels": [1]}, "columns"),
        ({"categories": []}, "columns"), ({"categories": {"c": "x", "d": ["y"]}}, "columns"),
        ({"categories": {"c": ["x", "x"], "d": []}}, "columns"),
        ({"centre": [1, 2]}, "scale"), ({"scale": [1, 2]}, "scale"), ({"centre": [1, 2], "scale": [1, 0]}, "scale"),
        ({"centre": [1], "scale": [1]}, "scale"), ({"centre": [1, math.nan], "scale": [1, 1]}, "scale"),
        ({"centre": [1, 2], "scale": [1, True]}, "scale"),
        ({"centre": [1, 2], "scale": [1, math.inf]}, "scale"), ({"centre": [1, "2"], "scale": [1, 1]}, "scale"),
        ({"centre": [0, 2], "scale": [1, 1]}, None),
        ({"categories": {"c": ["x"]}}, "words"), ({"categories": {"c": ["x"], "d": [], "e": []}}, "words"),
        ({"onehot": []}, "words"),
    ],
)  # fmt: skip
def test_a_recipe_is_read_as_it_was_written_or_damaged(change, words):
    told = {**TOLD, **change}
    if words is None:
        found = Recipe.of(told, "x")
        assert found.used == ["a", "b", "c", "d"] and json.loads(found.text()) == {
            "centre": None,
            "scale": None,
            **told,
        }
        assert Recipe.of(json.loads(found.text()), "x") == found
        return
    with pytest.raises(ValueError) as caught:
        Recipe.of(told, "x")
    assert str(caught.value) == "x is damaged: " + {
        "columns": "what it says of its columns is not what tsne-ooc prepare writes",
        "scale": "it has no finite number to scale a column by",
        "words": "it has no words for a column, or words for another one",
    }[words]  # fmt: skip
    for other in (None, [], "text", {}, 5):
        with pytest.raises(ValueError, match=r"^x is damaged"):
            Recipe.of(other, "x")


@pytest.mark.parametrize(
    "word, length, part",
    [
        ("2020-01-31 12:00", 4, "2020"), ("2020-01-31T12:00", 13, "2020-01-31 12"),
        ("2020-01-31", 10, "2020-01-31"), ("2020-01-31", 13, None),
        ("20-01-31", 4, None), ("x", None, "x"), (None, 4, None), (None, None, None), ("2020-01-31 1", 7, None),
        ("2020-01-31x", 4, None),
        ("2020-01-31T1", None, "2020-01-31T1"),
    ],
)  # fmt: skip
def test_a_part_of_a_time_stamp_is_its_beginning(word, length, part):
    assert _part(word, length) == part


def planned(tmp_path, text, *, columns=None, onehot=(), coded=(), labels=(), split_by=None, known=None, scaled=False):
    (tmp_path / "x.csv").write_text(text)
    return Plan([tmp_path / "x.csv"], columns, list(onehot), list(coded), list(labels), split_by, known, scaled)


TEXT = "n,,w,m,k,t\n1,0,u,1,a,2020-01-31\n2,1,v,2,b,2020-02-01\n3,2,,x,a,\n"


def test_columns_are_written_left_out_or_kept_beside(tmp_path):
    found = planned(tmp_path, TEXT, onehot=["w"], coded=["k"], labels=["m"], split_by="t:month")
    assert (found.numbers, found.words, found.words_to_find, found.labels) == (
        ["n"],
        ["w", "k", "m", "t"],
        ["w", "k"],
        ["m"],
    )
    assert found.key == "t" and found.part == "month"
    assert found.left_out == {"": "without a name", "t": "what the files are split by"}
    found.categories = {"w": ["u", "v"], "k": ["a", "b"]}
    assert found.names == ["n", "k", "w=u", "w=v"]
    some = Rows(np.array([[1.0], [2], [3]]), {
        "w": np.array(["u", "z", None], object), "k": np.array(["b", None, "a"], object),
        "m": np.array(["1", None, "x"], object), "t": np.array(["2020-01-31", "2020-02-01 05", None], object),
    }, np.array([2, 3, 4]))  # fmt: skip
    np.testing.assert_array_equal(found.table(some), [[1, 1, 1, 0], [2, np.nan, 0, 0], [3, 0, 0, 0]])
    found.scaling = np.array([1.0]), np.array([2.0])
    np.testing.assert_array_equal(found.table(some)[:, 0], [0, 0.5, 1])
    assert found.recipe.centre == (1.0,) and found.recipe.scale == (2.0,) and found.recipe.labels == ("m",)
    assert [label.tolist() for label in found.labels_of(some, np.array([2, 1]))] == [["x", ""]]
    assert found.keys(some).tolist() == ["2020-01", "2020-02"] and some.lines.tolist() == [2, 3]
    assert some.rejected == [Rejected(4, "column 't' has no time stamp such as 2020-01-31 12:00", "None")]


def test_columns_of_words_that_are_mostly_numbers_are_told(tmp_path):
    found = planned(tmp_path, TEXT)
    assert found.numbers == ["n"] and found.key is None and found.keys(None).shape == (0,)
    assert found.left_out == {
        "": "without a name", "w": "of type string",
        "m": "of type string, though most cells are numbers: 'x' is not one",
        "k": "of type string", "t": "of type date32[day]",
    }  # fmt: skip
    assert planned(tmp_path, TEXT, columns=["m", "n"]).numbers == ["m", "n"]
    assert planned(tmp_path, TEXT, split_by="k").left_out["k"] == "what the files are split by"
    assert "k" not in planned(tmp_path, TEXT, split_by="k", labels=["k"]).left_out
    assert planned(tmp_path, TEXT.replace("n,,", "n,i:day,"), split_by="i:day").key == "i:day"
    for how, words in (
        ({"columns": ["w"]}, "column 'w' of .* is of type string, not numbers; name it in onehot"),
        ({"onehot": ["z"]}, "has no such column: onehot='z'"), ({"coded": ["z"]}, "coded='z'"),
        ({"labels": ["z"]}, "labels='z'"),
        ({"split_by": "z"}, "split_by='z'"), ({"split_by": "t:week"}, "week"),
        ({"columns": ["n"], "labels": ["n"]}, "has no column of numbers"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            planned(tmp_path, TEXT, **how)


def test_words_that_a_table_did_not_have_are_counted_or_reject_their_rows(tmp_path):
    recipe = Recipe.of(TOLD, "x")
    text = "a,b,c,d,e\n1,2,x,y,l\n"

    def some():
        return Rows(
            np.zeros((4, 2)),
            {"c": np.array(["x", "q", None, "x"], object), "d": np.array(["y", "z", "r", "r"], object)},
            np.arange(4) + 2,
        )

    found = planned(tmp_path, text, known=Known("t", recipe, False))
    assert found.labels == ["e"] and found.scaling is None and found.names == ["a", "b", "c", "d=y", "d=z"]
    for turn in (1, 2):
        taken = some()
        found.check_words(taken)
        assert dict(found.unseen) == {"c": turn, "d": 2 * turn} and len(taken.lines) == 4
    strict, taken = planned(tmp_path, text, known=Known("t", recipe, True)), some()
    strict.check_words(taken)
    assert taken.lines.tolist() == [2] and dict(strict.unseen) == {"c": 1, "d": 2}
    assert [(one.line, one.reason, one.text) for one in sorted(taken.rejected)] == [
        (3, "column 'c' holds 'q', which was not among its words before", "q"),
        (4, "column 'd' holds 'r', which was not among its words before", "r"),
        (5, "column 'd' holds 'r', which was not among its words before", "r"),
    ]  # fmt: skip
    plain = planned(tmp_path, text, onehot=["d"])
    plain.check_words(some())
    assert not plain.unseen
    other = Recipe.of({**TOLD, "centre": [1, 2], "scale": [3, 4]}, "x")
    scaled = planned(tmp_path, text, known=Known("t", other, False))
    assert [part.tolist() for part in scaled.scaling] == [[1, 2], [3, 4]]
    with pytest.raises(ValueError, match=r"x\.csv lacks columns that t was made of: b, d; it has a, c$"):
        planned(tmp_path, "a,c\n1,x\n", known=Known("t", recipe, False))
    assert planned(tmp_path, "a,b,c,d,l\n1,2,x,y,z\n", known=Known("t", recipe, False), labels=["l"]).labels == ["l"]


@pytest.mark.parametrize("n, told", [(10, False), (11, True)])
def test_columns_are_told_of_where_float32_keeps_fewer_than_nine_tenths(tmp_path, n, told):
    """Ten values and nine of float32 are nine tenths; of eleven values two must be one to be fewer."""
    values = [2.0**24 + 1, *(2.0**24 + 2 * at for at in range(9))]
    values = values if n == 10 else [*values, 2.0**24 + 3, 2.0**24 + 5][: n + 1]
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        planned(tmp_path, "a,b\n" + "".join(f"{value},{at}\n" for at, value in enumerate(values)))
        planned(tmp_path, "a\n" + "".join(f"{value}\n" for value in values), scaled=True)
    kept = len(np.unique(np.float32(values)))
    assert told == (kept < 0.9 * len(values)) and len(found) == told
    words = f"float32 keeps {kept} of {len(values)} values of column 'a' apart; "
    assert not told or str(found[0].message).startswith(words)


# Data frames of Dask


def test_a_folder_for_partitions_is_gone_afterwards(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyError), _folder_beside(out) as folder:
        assert folder == tmp_path / "out.partitions" and folder.is_dir()
        (folder / "x").touch()
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out.partitions").mkdir()
    for place, kind, words in (
        (out, FileExistsError, r"is where partitions are kept meanwhile, and exists; remove it$"),
        (tmp_path / "out.partitions", FileExistsError, r"out\.partitions exists already; name a new folder$"),
        (tmp_path / "none" / "out", FileNotFoundError, r"^there is no folder .*none to write out in$"),
    ):
        with pytest.raises(kind, match=words), _folder_beside(place):
            pass


@pytest.mark.parametrize(
    "error, raised",
    [
        (None, False),
        (ValueError("none of 5 rows could be read; x"), False),
        (ValueError("odd"), True),
        (OSError("could be read"), True),
    ],
)
def test_options_are_tried_on_the_first_rows(tmp_path, error, raised, monkeypatch):
    import pandas as pd

    monkeypatch.setattr(frames, "FIRST", 3)
    asked = []

    def convert(**options):
        warnings.warn("told again later", UserWarning, stacklevel=1)
        asked.append((options, pd.read_parquet(options["inputs"]).to_numpy().tolist()))
        if error is not None:
            raise error

    first = pd.DataFrame({"a": [1, 2, 3, 4]}, index=[9, 8, 7, 6])
    frame = SimpleNamespace(partitions=[SimpleNamespace(compute=lambda: first)])
    options = {"inputs": frame, "out": "out", "progress": print, "onehot": ["w"]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if raised:
            with pytest.raises(type(error), match=str(error)):
                _try(convert, frame, tmp_path, options)
        else:
            _try(convert, frame, tmp_path, options)
    ((given, seen),) = asked
    assert seen == [[1], [2], [3]] and given == {
        "inputs": tmp_path / "first.parquet", "out": tmp_path / "tried", "progress": None, "onehot": ["w"],
    }  # fmt: skip
    first = first[:0]
    _try(convert, frame, tmp_path, options)
    assert len(asked) == 1


def test_a_data_frame_of_dask_is_told_by_what_it_has():
    whole = {"to_parquet": 1, "npartitions": 1, "columns": 1}
    assert _is_frame(SimpleNamespace(**whole)) and not _is_frame("x.csv") and not _is_frame(None)
    for lost in whole:
        assert not _is_frame(SimpleNamespace(**{name: 1 for name in whole if name != lost}))
    assert {part: "2020-01-31 12:00"[:length] for part, length in plan.PARTS.items()} == {
        "year": "2020", "month": "2020-01", "day": "2020-01-31", "hour": "2020-01-31 12",
    }  # fmt: skip


# Tables that grow


@pytest.mark.parametrize("labels", [(), ("w", "z")])
@pytest.mark.parametrize(
    "suffix, chunk, rows_at_once",
    [
        (".h5", 24, 3),
        (".h5", 23, 2),
        (".h5", 8, 1),
        (".h5", 7, 1),
        (".h5", 1 << 20, 1 << 17),
        (".zarr", 24, 3),
        (".zarr", 7, 1),
    ],
)
def test_a_table_grows_by_whole_chunks(tmp_path, monkeypatch, suffix, chunk, rows_at_once, labels):
    """Rows know their file and line; labels stay beside them; what waits is written in the end."""
    if suffix == ".zarr":
        zarr = pytest.importorskip("zarr")
    monkeypatch.setattr(writing, "CHUNK", chunk)
    table = writing.GrowingTable(tmp_path / f"t{suffix}", ["a", "é"], labels, '{"made": 1}')
    assert table.rows == rows_at_once and table.n == 0 and table.path == tmp_path / f"t{suffix}"
    X, at = np.arange(22, dtype=np.float32).reshape(11, 2), 0
    X[4] = 0
    for file, size in enumerate((2, 1, 0, 5, 3)):
        some = slice(at, at + size)
        words = [np.array([f"{name}{row}" for row in range(11)][some], object) for name in labels]
        table.add(X[some], file, np.arange(11)[some] * 10, *words)
        at += size
        assert table.n == at // rows_at_once * rows_at_once and table._held == at - table.n
    table.close()
    assert table.n == 11
    root = h5py.File(table.path) if suffix == ".h5" else zarr.open_group(table.path, mode="r")
    np.testing.assert_array_equal(root["X"][:], X)
    assert root["X"].dtype == np.float32 and root["X"].chunks == (rows_at_once, 2)
    assert root["rows/file"][:].tolist() == [0, 0, 1, 3, 3, 3, 3, 3, 4, 4, 4] and root["rows/file"].dtype == np.uint32
    assert root["rows/line"][:].tolist() == [row * 10 for row in range(11)] and root["rows/line"].dtype == np.int64
    assert root["rows/line"].chunks == (rows_at_once,) and root["var"].attrs["_index"] == "_index"
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in root["var/_index"][:].tolist()]
    assert names == ["a", "é"] and ("obs" in root) == bool(labels)
    for name in labels:
        found = root[f"obs/{name}"][:].tolist()
        found = [word.decode() if isinstance(word, bytes) else word for word in found]
        assert found == [f"{name}{row}" for row in range(11)]
    told = root["prepared"][()].decode() if suffix == ".h5" else root.attrs["prepared"]
    assert told == '{"made": 1}'
    if suffix == ".h5":
        root.close()


def test_what_a_table_was_made_of_is_nothing_where_nobody_says_it(tmp_path):
    table = writing.GrowingTable(tmp_path / "t.h5", ["a"])
    table.close()
    with h5py.File(tmp_path / "t.h5") as file:
        assert json.loads(file["prepared"][()]) == {} and file["X"].shape == (0, 1) and "obs" not in file
