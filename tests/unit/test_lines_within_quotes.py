"""Rows of CSV that go on in the next line: those of the standard library's reader, wherever a file is cut."""

from __future__ import annotations

import csv
import io

import h5py
import numpy as np
import pytest

from tsne_ooc.cli import main
from tsne_ooc.convert import convert, pieces, spans
from tsne_ooc.convert.pieces import pieces_of
from tsne_ooc.convert.rows import rows_of
from tsne_ooc.convert.spans import Span, Spans, spans_of

SIGNS = ["a", "b", "é", " ", "\n", "\n", "\r\n", '"', ",", ";", "1", "\n\n"]


def drawn(rng, n):
    """Rows of two numbers and two texts."""
    words = [["w" + "".join(rng.choice(SIGNS, rng.integers(0, 9))) for _ in range(2)] for _ in range(n)]
    return [
        [f"{x:.3f}", one, str(k), two] for x, k, (one, two) in zip(rng.normal(size=n), range(n), words, strict=True)
    ]


def written(rows, path, **how):
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, **how)
        out.writerow(["x", "one", "k", "two"])
        out.writerows(rows)


def read(path):
    """Numbers, words, lines and what is rejected, of all pieces."""
    found = [rows_of(piece, "csv", ["x", "k"], ["one", "two"]) for piece in pieces_of(path, 0)]
    return (
        np.concatenate([part.numbers for part in found]),
        [word for part in found for word in zip(part.words["one"], part.words["two"], strict=True)],
        [line for part in found for line in part.lines.tolist()],
        [one for part in found for one in part.rejected],
    )


@pytest.mark.parametrize("how", [
    {"lineterminator": "\n"}, {"lineterminator": "\r\n"}, {"lineterminator": "\n", "quoting": csv.QUOTE_ALL},
    {"lineterminator": "\n", "delimiter": ";"},
], ids=["newline", "carriage return", "all in quotes", "semicolons"])  # fmt: skip
@pytest.mark.parametrize("bytes_", [1, 7, 100, 1 << 24])
def test_rows_are_those_of_the_standard_library(how, bytes_, tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "BYTES", bytes_)
    rng = np.random.default_rng(0)
    for n in (1, 2, 30):
        rows = drawn(rng, n)
        written(rows, path := tmp_path / "x.csv", **how)
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.reader(file, delimiter=how.get("delimiter", ","))
            before = [reader.line_num for _ in reader]
        numbers, words, lines, rejected = read(path)
        np.testing.assert_array_equal(numbers, [[float(x), float(k)] for x, _, k, _ in rows])
        assert words == [(one, two) for _, one, _, two in rows]
        # A row is told by its first line, and the standard library tells the last one.
        assert lines == [line + 1 for line in before[:-1]] and not rejected


def test_a_table_has_them_and_the_numbers_of_their_lines(tmp_path):
    text = 'a,b,text\n1,2,"first\nsecond"\n3,4,plain\n\n5,6,"one\n\nmore, with ""quotes"""\n7,8,"end\n"'
    (tmp_path / "x.csv").write_text(text)
    found = convert(tmp_path / "x.csv", tmp_path / "out", labels=["text"])
    assert (found["read"], found["written"], found["rejected"]) == (4, 4, {})
    with h5py.File(tmp_path / "out" / "table.h5") as file:
        np.testing.assert_array_equal(file["rows/line"][:], [2, 4, 6, 9])
        words = [word.decode() for word in file["obs/text"][:]]
    assert words == ["first\nsecond", "plain", 'one\n\nmore, with "quotes"', "end\n"]


# The lines of a file of three columns, those that are rows, and those that are not.
SLIPS = {
    "one that never ends": ('1,2,"x\n3,4,y\n5,6,z\n', [3, 4], [2]),
    "the last line": ('1,2,x\n3,4,"y\n', [2], [3]),
    "two, far apart": ('1,2,"x\n3,4,y\n5,6,z\n7,8,"u\n9,10,v\n', [3, 4, 6], [2, 5]),
    "one before a row over several lines": ('1,2,"x\n3,4,y\n5,6,"one\ntwo"\n7,8,v\n', [3, 4, 6], [2]),
    "one behind it": ('5,6,"one\ntwo"\n1,2,"x\n3,4,y\n', [2, 5], [4]),
    "within a cell": ('1,2,3.5" disk\n3,4,5" disk\n5,6,z\n', [2, 3, 4], []),
    "within a cell and over several lines": ('1,2,3.5" disk\n5,6,"one\ntwo"\n3,4,5" disk\n', [2, 3, 5], []),
    "a row of several lines with a cell too many": ('1,2,"one\ntwo",3\n3,4,y\n', [4], [2, 3]),
    "letters of another encoding": ('1,2,"caf\udce9\ntwo"\n3,4,y\n', [4], [2, 3]),
}  # fmt: skip


@pytest.mark.parametrize("bytes_", [1, 5, 12, 1 << 24])
@pytest.mark.parametrize("name", SLIPS)
def test_a_quote_too_many_costs_its_line_and_no_other(name, bytes_, tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "BYTES", bytes_)
    text, rows, lost = SLIPS[name]
    (tmp_path / "x.csv").write_bytes(("x,k,one\n" + text).encode("utf-8", "surrogateescape"))
    found = [rows_of(piece, "csv", ["x", "k"], ["one"]) for piece in pieces_of(tmp_path / "x.csv", 0)]
    assert [line for part in found for line in part.lines.tolist()] == rows
    assert sorted(one.line for part in found for one in part.rejected) == lost
    all_lines = ("x,k,one\n" + text).split("\n")
    for part in found:
        for line, x in zip(part.lines.tolist(), part.numbers[:, 0], strict=True):
            assert all_lines[line - 1].startswith(f"{x:g},")


@pytest.mark.parametrize("bytes_", [1, 9, 1 << 24])
def test_a_row_longer_than_what_is_held_is_none(bytes_, tmp_path, monkeypatch):
    """A quote that never ends must not take in the rest of the file: so much is looked through, however it is cut."""
    monkeypatch.setattr(pieces, "BYTES", bytes_)
    row = '1,2,"' + 5 * "abc\n" + '"\n'
    (tmp_path / "x.csv").write_text("x,k,one\n" + row + "3,4,y\n")
    for longest, rows in ((len(row), [2, 8]), (len(row) - 1, [8])):
        monkeypatch.setattr(spans, "LONGEST", longest)
        found = [rows_of(piece, "csv", ["x", "k"], ["one"]) for piece in pieces_of(tmp_path / "x.csv", 0)]
        assert [line for part in found for line in part.lines.tolist()] == rows


def test_no_more_than_that_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "BYTES", 100)
    monkeypatch.setattr(spans, "LONGEST", 300)
    (tmp_path / "x.csv").write_text('x,k,one\n1,2,"y\n' + 500 * "3,4,z\n")
    found = [piece.data for piece in pieces_of(tmp_path / "x.csv", 0)]
    assert max(map(len, found)) <= 300 + 100 + len("3,4,z\n") and len(b"".join(found)) == len('1,2,"y\n') + 3000


def test_rows_over_several_lines_are_found():
    assert spans_of(b"1,2\n", ",", 2, last=False) == (Spans(), 4)
    assert spans_of(b"", ",", 2, last=True) == (Spans(), 0)
    assert spans_of(b'"a","b"\n', ",", 2, last=False) == (Spans(), 8)
    assert spans_of(b'1,"a\nb"\n2,"c\n\n\nd"', ",", 2, last=True) == (Spans((Span(0, 2), Span(2, 4))), 17)
    # The end of the second one is not there yet, and may come.
    assert spans_of(b'1,"a\nb"\n2,"c\n', ",", 2, last=False) == (Spans((Span(0, 2),)), 8)
    assert spans_of(b'1,"a\nb"\n2,"c\n', ",", 2, last=True) == (Spans((Span(0, 2),), torn=True), 13)
    assert spans_of(b'1;"a\nb"\n', ";", 2, last=True)[0].found == (Span(0, 2),)
    assert spans_of(b'1;"a\nb"\n', ";", 3, last=True)[0] == Spans((), torn=True)
    # A quote within a cell that has none around it begins nothing.
    assert spans_of(b'3.5" disk,1\n', ",", 2, last=False) == (Spans(), 12)


def test_what_is_before_a_row_does_not_count_for_its_length(monkeypatch):
    monkeypatch.setattr(spans, "LONGEST", 10)
    assert spans_of(3 * b"0,0\n" + b'1,"a\nb"\n', ",", 2, last=True) == (Spans((Span(3, 2),)), 20)
    assert spans_of(3 * b"0,0\n" + b'1,"a\n', ",", 2, last=False) == (Spans(), 12)
    assert spans_of(3 * b"0,0\n" + b'1,"abcdefg\n', ",", 2, last=False) == (Spans((), torn=True), 23)


def test_rejected_rows_have_all_their_lines(tmp_path):
    """A number beyond float32, and one cell that is none, in rows over several lines."""
    text = 'a,b,text\n1e60,2,"first\nsecond"\nword,4,"one\ntwo"\n' + 3 * "5,6,x\n"
    (tmp_path / "x.csv").write_text(text)
    convert(tmp_path / "x.csv", tmp_path / "out", columns=["a", "b"])
    told = list(csv.reader(io.StringIO((tmp_path / "out" / "rejected.csv").read_text())))[1:]
    assert [(line, raw) for _, line, _, raw in told] == [
        ("2", '1e60,2,"first\nsecond"'), ("4", 'word,4,"one\ntwo"'),
    ]  # fmt: skip


def test_a_quote_that_does_not_end_is_told_with_its_line(tmp_path, capsys):
    (tmp_path / "x.csv").write_text('a,b,text\n1,2,"first\n3,4,plain\n')
    assert main(["prepare", str(tmp_path / "x.csv"), "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "quotes begin in it and do not end" in told and "wrote 1" in told
    assert (tmp_path / "out" / "rejected.csv").read_text().splitlines()[1].split(",")[1] == "2"
