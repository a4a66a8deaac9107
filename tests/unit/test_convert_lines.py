"""Each line of text, read all at once and one by one, against the standard library; and the names of files."""

from __future__ import annotations

import csv
import io
import json

import h5py
import numpy as np
import pytest

from tsne_ooc.convert import convert
from tsne_ooc.convert.pieces import Dialect, Piece, delimiter_of, kind_of
from tsne_ooc.convert.rows import mixed, rows_of, types_of

pytest.importorskip("pyarrow")

MISSING = [
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "N/A", "NA", "NULL",
    "NaN", "n/a", "nan", "null",
]  # fmt: skip
NUMBERS = ["1.5", "-2", "1e3", "0", "-0.0", "3.25e-2", *MISSING]
WORDS = ["x", "y z", 'say "w"', "a,b", "ä", "true", "12", *MISSING]


def number(cell):
    return float("nan") if cell in MISSING else float(cell)


def word(cell):
    return None if cell in MISSING else cell


def lines_of(n, seed, end):
    """Cells of so many rows, and their text, with an empty line here and there."""
    rng = np.random.default_rng(seed)
    cells = [[NUMBERS[i], WORDS[j], NUMBERS[k]] for i, j, k in rng.integers(0, [len(NUMBERS), len(WORDS), 6], (n, 3))]
    text, at, line = [], [], 2
    for row in cells:
        if rng.random() < 0.2:
            text.append("")
            line += 1
        file = io.StringIO()
        csv.writer(file, lineterminator="").writerow(row)
        text.append(file.getvalue())
        at.append(line)
        line += 1
    return cells, at, end.join(text).encode()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bad", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_lines_of_csv_are_read_alike_all_at_once_and_one_by_one(end, bad, seed):
    """A line that is none makes a piece be read one by one, and must change nothing about the others."""
    cells, at, data = lines_of(25, seed, end)
    if bad:
        data += f"{end}oops,x,1{end}1,2{end}1,2,3,4{end}".encode()
    rows = rows_of(Piece(0, 2, data, ["a", "w", "b"]), "csv", ["a", "b"], ["w"])
    np.testing.assert_array_equal(rows.numbers, [[number(a), number(b)] for a, _, b in cells])
    assert rows.words["w"].tolist() == [word(w) for _, w, _ in cells] and rows.words["w"].dtype == object
    assert rows.lines.tolist() == at and rows.lines.dtype == np.int64 and rows.numbers.dtype == np.float64
    next_line = 2 + data.split(b"oops")[0].count(b"\n")
    assert [(one.line, one.reason, one.text) for one in sorted(rows.rejected)] == (
        [
            (next_line, "column 'a' holds 'oops', which is not a number", "oops,x,1"),
            (next_line + 1, "2 cells, and 3 columns", "1,2"),
            (next_line + 2, "4 cells, and 3 columns", "1,2,3,4"),
        ]
        if bad
        else []
    )


def test_lines_of_too_many_cells_alone_do_not_slow_the_rest_down(monkeypatch):
    """They are told by their number of cells while the others are read all at once."""
    monkeypatch.setattr("tsne_ooc.convert.rows._line_by_line", None)
    rows = rows_of(Piece(0, 7, b"1,2\n1,2,3\n\n4,5\n6\n7,8", ["a", "b"]), "csv", ["a", "b"], [])
    assert rows.numbers.tolist() == [[1, 2], [4, 5], [7, 8]] and rows.lines.tolist() == [7, 10, 12]
    assert [(one.line, one.reason) for one in rows.rejected] == [
        (8, "3 cells, and 2 columns"), (11, "1 cells, and 2 columns"),
    ]  # fmt: skip


@pytest.mark.parametrize("bad", [False, True])
def test_lines_of_json_are_read_alike_all_at_once_and_one_by_one(bad):
    objects = [
        {"a": 1, "w": "x"}, {"a": None, "w": None}, {"w": "y"}, {"a": 2.5}, {}, {"a": -3, "w": "ä", "more": [1]},
    ]  # fmt: skip
    lines = [json.dumps(one) for one in objects]
    wanted = [one.get("a") for one in objects]
    words, at = [one.get("w") for one in objects], [1, 2, 3, 4, 5, 6]
    if bad:
        lines += [
            "",
            "oops",
            "[1]",
            '{"a": "4.5", "w": 7}',
            '{"a": true, "w": {"k": 1}}',
            '{"a": "no"}',
            '{"a": 1' + "0" * 400 + "}",
        ]
        wanted, words, at = [*wanted, 4.5, 1.0], [*words, "7", '{"k": 1}'], [*at, 10, 11]
    rows = rows_of(Piece(0, 1, "\n".join(lines).encode(), []), "json", ["a"], ["w"])
    np.testing.assert_array_equal(rows.numbers[:, 0], np.array(wanted, float))
    assert rows.words["w"].tolist() == words and rows.lines.tolist() == at
    told = {one.line: one.reason for one in rows.rejected}
    assert set(told) == ({8, 9, 12, 13} if bad else set())
    if bad:
        assert told[9] == "not an object of JSON" and told[12] == "column 'a' holds 'no', which is not a number"
        assert told[13] == f"column 'a' holds '1{'0' * 39}', which is not a number"


@pytest.mark.parametrize("empty", ["\n", "\n\n", "\n\n\n"])
def test_two_objects_of_a_line_are_no_two_lines(empty):
    """Even where an empty line makes up for it, so that there are as many of one as of the other."""
    data = f'{{"a": 1}}{empty}{{"a": 2}} {{"a": 3}}'
    rows = rows_of(Piece(0, 5, data.encode(), []), "json", ["a"], [])
    assert rows.numbers.tolist() == [[1.0]] and rows.lines.tolist() == [5]
    assert [one.line for one in rows.rejected] == [5 + len(empty)]


@pytest.mark.parametrize("decimal", [".", ","])
def test_cells_in_their_own_dialect(decimal):
    """A truth, a gap, and a number with the other sign before its decimals, which is none."""
    cells = ["1D5", "-2D25e1", "3", "true", "FALSE", "", "NA", "1O5"]
    data = "\n".join(f"{cell};x" for cell in cells).replace("D", decimal).replace("O", ",."[decimal == ","])
    rows = rows_of(Piece(0, 2, data.encode(), ["a", "w"], Dialect(";", decimal)), "csv", ["a"], ["w"])
    np.testing.assert_array_equal(rows.numbers[:, 0], [1.5, -22.5, 3, 1, 0, np.nan, np.nan])
    assert [one.line for one in rows.rejected] == [9]


@pytest.mark.parametrize(
    "cells, told",
    [
        (["1", "2", "x"], {"a": "x"}),
        (["1", "x"], {}),
        (["1", "x", "2", "y"], {}),
        (["1", "x", "2"], {"a": "x"}),
        (["x", "y"], {}),
        (["", "1", "NA", "x", "2"], {"a": "x"}),
        # A thousand cells decide.
        (["x"] * 500 + ["1"] * 2000, {}),
        (["x"] * 499 + ["1"] * 2000, {"a": "x"}),
        (["1"] * 1000 + ["x"] * 5000, {"a": "x"}),
    ],
)
def test_a_column_of_numbers_with_some_words_is_told_by_its_first_cells(cells, told):
    """Most of them must be numbers."""
    piece = Piece(0, 2, "\n".join(f"{cell},1" for cell in cells).encode(), ["a", "b"])
    assert mixed(piece, "csv", ["a"]) == told and mixed(piece, "csv", []) == {}
    assert {name: str(kind) for name, kind in types_of(piece, "csv").items()} == {"a": "string", "b": "int64"}


@pytest.mark.parametrize(
    "name, kind",
    [
        ("x.csv", "csv"), ("x.TSV", "csv"), ("x.txt.gz", "csv"), ("x.jsonl", "json"), ("x.ndjson.GZ", "json"),
        ("x.json", "json"), ("x.parquet", "parquet"), ("x.pq", "parquet"), ("x", None), ("x.gz", None), ("x.h5", None),
        ("a.csv.h5", None), ("csv", None),
    ],
)  # fmt: skip
def test_the_kind_of_a_file_is_in_its_name(tmp_path, name, kind):
    assert kind_of(tmp_path / name) == kind


@pytest.mark.parametrize(
    "name, head, row, sign",
    [
        ("x.csv", "a,b", "1,2", ","),
        ("x.csv", "a;b", "1;2", ";"),
        ("x.csv", "a\tb", "1\t2", "\t"),
        ("x.csv", "a|b", "1|2", "|"),
        ("x.tsv", "a,b", "1,2", "\t"),
        ("x.tsv.gz", "a,b", "1,2", "\t"),
        ("x.csv", "a", "1", ","),
        ("x.csv", "", "", ","),
        # As many commas as semicolons: a comma comes first. One that fits both lines comes before all.
        ("x.csv", "a,b;c", "1,2;3", ","),
        ("x.csv", "a;b,c", "1;2", ";"),
        ("x.csv", "a;b", "", ";"),
        ("x.csv", "a;b|c", "", ";"),
        ("x.csv", '"a;b",c', "1,2", ","),
        ("x.csv", '"a,b";c', '"1,5";2', ";"),
    ],
)
def test_the_sign_between_cells(tmp_path, name, head, row, sign):
    assert delimiter_of(tmp_path / name, head, row) == sign


# Files that a table is split into


KEYS = ["a/b", "a b", "a_b", "..", "", "ä", "x" * 300, "x" * 299, ".hidden.", "a:b", "CON", "0"]


@pytest.mark.parametrize("form", ["h5", "zarr"])
def test_each_value_has_a_file_of_its_own(tmp_path, form):
    """Whatever is in it: names of files are plain, not too long, and none is taken twice."""
    with open(tmp_path / "x.csv", "w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["a", "key"])
        for at, key in enumerate(KEYS * 2):
            lines.writerow([at, key])
    told = convert(tmp_path / "x.csv", tmp_path / "out", split_by="key", format=form)
    # A row without a value has no file to go to.
    given = [key for key in KEYS if key]
    assert sorted(one["key"] for one in told["outputs"]) == sorted(given)
    assert told["rejected"] == {"column ... has no value": 2} and told["left_out"] == {
        "key": "what the files are split by"
    }
    names = [one["file"] for one in told["outputs"]]
    assert len(set(names)) == len(given) and all(one["rows"] == 2 for one in told["outputs"])
    for one in told["outputs"]:
        stem = one["file"].removesuffix(f".{form}")
        assert (
            stem
            and len(stem) <= 103
            and "/" not in stem
            and not stem.startswith(".")
            and (tmp_path / "out" / one["file"]).exists()
        )
        if form == "h5":
            with h5py.File(tmp_path / "out" / one["file"]) as table:
                at = KEYS.index(one["key"])
                assert table["X"][:, 0].tolist() == [at, at + len(KEYS)]
                assert table["rows/line"][:].tolist() == [at + 2, at + len(KEYS) + 2]


@pytest.mark.parametrize("part, keys", [
    ("year", ["2020", "2021"]), ("month", ["2020-01", "2020-02", "2021-01"]),
    ("day", ["2020-01-31", "2020-02-01", "2021-01-31"]),
    ("hour", ["2020-01-31 12", "2020-01-31 13", "2020-02-01 00", "2021-01-31 12"]),
])  # fmt: skip
def test_a_part_of_a_time_stamp_is_as_long_as_it_says(tmp_path, part, keys):
    stamps = ["2020-01-31 12:00", "2020-01-31T12:59:59Z", "2020-01-31 13:00", "2020-02-01 00:00", "2021-01-31 12:30"]
    wrong = ["2020", "31.01.2020 12:00", "2020-1-31 12:00", "x2020-01-31 12:00"]
    (tmp_path / "x.csv").write_text("a,t\n" + "".join(f"{at},{stamp}\n" for at, stamp in enumerate(stamps + wrong)))
    told = convert(tmp_path / "x.csv", tmp_path / "out", split_by=f"t:{part}")
    assert sorted(one["key"] for one in told["outputs"]) == keys
    assert sum(one["rows"] for one in told["outputs"]) == 5 and sum(told["rejected"].values()) == 4
    # A day says nothing of the hour.
    (tmp_path / "y.csv").write_text("a,t\n1,2020-01-31\n2,2020-01-31 07:00\n")
    told = convert(tmp_path / "y.csv", tmp_path / "more", split_by=f"t:{part}")
    assert told["written"] == (1 if part == "hour" else 2)


@pytest.mark.parametrize("words, most, fits", [(5, 5, True), (6, 5, False)])
def test_so_many_words_and_files_and_no_more(tmp_path, monkeypatch, words, most, fits):
    monkeypatch.setattr("tsne_ooc.convert.converting.MOST_CATEGORIES", most)
    monkeypatch.setattr("tsne_ooc.convert.converting.MOST_FILES", most)
    (tmp_path / "x.csv").write_text("a,w\n" + "".join(f"{at},w{at}\n" for at in range(words)))
    for how, message in (
        ({"onehot": ["w"]}, f"column 'w' has more than {most} different words; leave it out"),
        ({"split_by": "w"}, f"column 'w' has more than {most} values to split by; take a coarser one"),
    ):
        out = tmp_path / f"out-{next(iter(how))}"
        if fits:
            assert convert(tmp_path / "x.csv", out, **how)["written"] == words
            continue
        with pytest.raises(ValueError) as caught:
            convert(tmp_path / "x.csv", out, **how)
        assert str(caught.value) == message and not out.exists()


@pytest.mark.parametrize("chunk", [1, 8, 9, 1000])
def test_rows_are_written_in_whole_chunks_and_none_is_lost(tmp_path, monkeypatch, chunk):
    """However many rows wait for a chunk to be full, and wherever a file ends."""
    monkeypatch.setattr("tsne_ooc.convert.writing.CHUNK", chunk)
    monkeypatch.setattr("tsne_ooc.convert.pieces.BYTES", 40)
    for name, n in (("x", 23), ("y", 9)):
        (tmp_path / f"{name}.csv").write_text("a,b,w\n" + "".join(f"{at},{-at},w{at % 3}\n" for at in range(n)))
    told = convert([tmp_path / "x.csv", tmp_path / "y.csv"], tmp_path / "out", labels=["w"])
    wanted = [*range(23), *range(9)]
    with h5py.File(tmp_path / "out" / "table.h5") as file:
        assert file["X"][:].tolist() == [[at, -at] for at in wanted]
        assert file["rows/line"][:].tolist() == [at + 2 for at in wanted]
        assert file["rows/file"][:].tolist() == [0] * 23 + [1] * 9
        assert [one.decode() for one in file["obs/w"][:]] == [f"w{at % 3}" for at in wanted]
        assert file["X"].chunks == (max(1, chunk // 8), 2)
    assert [(one["read"], one["written"]) for one in told["inputs"]] == [(23, 23), (9, 9)]


def test_how_a_file_is_written_is_told_where_it_is_unusual(tmp_path):
    """Commas, tabs in a file that is called so, and other formats go without a word."""
    texts = {"a.csv": "a,b\n1,2\n", "b.tsv": "a\tb\n1\t2\n", "c.jsonl": '{"a": 1, "b": 2}\n', "d.csv": "a;b\n1,5;2\n",
             "e.csv": "a\tb\n1\t2\n", "f.csv": "a;b\n1;2\n"}  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    told = convert([tmp_path / name for name in texts], tmp_path / "out")
    own = {"path", "size", "read", "written", "rejected"}
    found = [{name: value for name, value in one.items() if name not in own} for one in told["inputs"]]
    assert found == [
        {}, {}, {}, {"delimiter": ";", "decimal": ","}, {"delimiter": "\t", "decimal": "."},
        {"delimiter": ";", "decimal": "."},
    ]  # fmt: skip
    assert [one["size"] for one in told["inputs"]] == [len(text) for text in texts.values()]


@pytest.mark.parametrize("broken", ["oops", "[1]", ""])
def test_columns_of_json_are_numbers_where_all_their_cells_are(broken):
    """Told line by line where a line is none, or where a column has cells of several types."""
    lines = ['{"a": 1, "w": "x", "both": 1}', '{"a": null, "w": "7", "both": "1"}', '{"a": 2.5, "w": null, "b": true}']
    types = types_of(Piece(0, 1, "\n".join([*lines, broken]).encode(), []), "json")
    assert {name: str(kind) for name, kind in types.items()} == {
        "a": "double", "w": "string", "both": "string", "b": "double",
    }  # fmt: skip


def test_how_decimals_are_written_is_one_thing_of_a_file(tmp_path, monkeypatch):
    """The lines that are read first tell it; a number that is written otherwise further down is a slip."""
    text = "a;b\n" + 20 * "1,5;2\n" + 3 * "1.5;2\n" + 20 * "2;3\n"
    (tmp_path / "x.csv").write_text(text)
    for size in (100, 30, 7):
        monkeypatch.setattr("tsne_ooc.convert.pieces.BYTES", size)
        told = convert(tmp_path / "x.csv", tmp_path / str(size), columns=["a", "b"])
        assert (told["written"], sum(told["rejected"].values())) == (40, 3)
        with h5py.File(tmp_path / str(size) / "table.h5") as file:
            np.testing.assert_array_equal(file["X"][:], [[1.5, 2]] * 20 + [[2, 3]] * 20)


@pytest.mark.parametrize("names, told", [
    ("1,2,3", None), ("a,1.5,2", None), ("1,b", None), ("0,10", None),
    ("1.5,2,3", "line of numbers"), ("1,2.5,3", "line of numbers"), ("1,-2", "line of numbers"),
    ("1e3,2", "line of numbers"), ("nan,1", "line of numbers"),
    ("a,b,a", "several columns 'a'"), ("a,,b,", "several columns without a name"), ("a,,b", None),
])  # fmt: skip
def test_a_first_line_is_one_of_names(tmp_path, names, told):
    """Whole numbers may be names: pandas counts its columns. Other numbers alone are a row, and names are unlike."""
    (tmp_path / "x.csv").write_text(names + "\n" + ",".join("7" for _ in names.split(",")) + "\n")
    if told is None:
        assert convert(tmp_path / "x.csv", tmp_path / "out")["written"] == 1
        return
    with pytest.raises(ValueError, match=told):
        convert(tmp_path / "x.csv", tmp_path / "out")
