"""Text becomes a table by the standard library's reading of it, and no line is lost without a word."""

from __future__ import annotations

import csv
import gzip
import json
import os
import warnings

import h5py
import numpy as np
import pandas as pd
import pytest

from tsne_ooc import TSNE, embed
from tsne_ooc.cli import main
from tsne_ooc.convert import convert
from tsne_ooc.io import names_of, open_source
from tsne_ooc.sampling import labels_of

pytest.importorskip("pyarrow")

N = 500


def frame(n=N, seed=0):
    rng = np.random.default_rng(seed)
    days = pd.date_range("2020-01-30", periods=n, freq="53min").strftime("%Y-%m-%d %H:%M")
    made = pd.DataFrame(rng.normal(size=(n, 3)).round(4), columns=["a", "b", "c"])
    made["word"] = np.array(["x", "y, z", 'say "w"'])[rng.integers(0, 3, n)]
    made["day"] = days
    return made.assign(k=np.arange(n) % 7)


def write(path, table):
    if path.suffix == ".gz":
        with gzip.open(path, "wt", newline="") as file:
            table.to_csv(file, index=False)
    elif path.suffix == ".parquet":
        table.to_parquet(path, row_group_size=90)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_dict("records")))
    else:
        table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr("tsne_ooc.convert.pieces.BYTES", 1000)
    monkeypatch.setattr("tsne_ooc.convert.pieces.ROWS", 37)
    monkeypatch.setattr("tsne_ooc.convert.writing.CHUNK", 700)


def read(path, name="X"):
    with h5py.File(path) as file:
        return file[name][:]


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("pieces", ["one", "many"])
def test_numbers_and_where_they_are_from(suffix, pieces, tmp_path, request):
    if pieces == "many":
        request.getfixturevalue("small")
    tables = [frame(), frame(1, 1), frame(120, 2)[["k", "c", "b", "a", "day", "word"]]]
    files = [write(tmp_path / f"part-{k}.{suffix}", table) for k, table in enumerate(tables, start=9)]
    told = convert(files, tmp_path / "out")
    whole = pd.concat(tables)[["a", "b", "c", "k"]].to_numpy()
    np.testing.assert_array_equal(read(tmp_path / "out" / "table.h5"), whole.astype(np.float32))
    np.testing.assert_array_equal(read(tmp_path / "out" / "table.h5", "rows/file"), np.repeat([0, 1, 2], [500, 1, 120]))
    # A line of names comes first in CSV, and rows of Parquet count from 0.
    first = {"parquet": 0, "jsonl": 1}.get(suffix, 2)
    lines = np.concatenate([first + np.arange(len(table)) for table in tables])
    np.testing.assert_array_equal(read(tmp_path / "out" / "table.h5", "rows/line"), lines)
    assert (
        told["written"] == told["read"] == 621 and told["rejected"] == {} and set(told["left_out"]) == {"word", "day"}
    )
    assert told == json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [file["written"] for file in told["inputs"]] == [500, 1, 120]
    with open_source(tmp_path / "out" / "table.h5") as source:
        assert names_of(source) == ["a", "b", "c", "k"]
        assert source.chunks[1] == 4
    np.testing.assert_array_equal(labels_of(tmp_path / "out" / "table.h5", "rows/line"), lines)


@pytest.mark.parametrize("format", ["h5", "zarr"])
def test_rows_of_zeros_are_there(tmp_path, small, format):
    """What is written can be read, also where a chunk holds nothing but zeros; and all of it by the same names."""
    if format == "zarr":
        pytest.importorskip("zarr")
    table = pd.DataFrame({"a": np.zeros(N), "b": np.zeros(N), "w": ["x"] * N})
    convert(write(tmp_path / "x.csv", table), tmp_path / "out", format=format, labels=["w"])
    path = tmp_path / "out" / f"table.{format}"
    with open_source(path, dataset="X") as source:
        assert source.shape == (N, 2) and not source.read(0, N).any() and names_of(source) == ["a", "b"]
    for name, wanted in (("rows/file", np.zeros(N)), ("rows/line", 2 + np.arange(N)), ("w", ["x"] * N)):
        np.testing.assert_array_equal(labels_of(path, name), wanted)


def test_zarr(tmp_path, small):
    pytest.importorskip("zarr")
    table = frame()
    convert(write(tmp_path / "x.csv", table), tmp_path / "out", format="zarr", columns=["a", "c"])
    with open_source(tmp_path / "out" / "table.zarr", dataset="X") as source:
        np.testing.assert_array_equal(source.read(0, N), table[["a", "c"]].to_numpy(np.float32))
        assert names_of(source) == ["a", "c"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_lines_that_are_no_rows_are_kept_apart(suffix, tmp_path, small):
    """Each is told by its line, wherever it stands; missing values stay, as NaN."""
    path = write(tmp_path / f"x.{suffix}", frame())
    lines = path.read_text().splitlines()
    bad = {
        60: ("1,2", "2 cells, and 6 columns") if suffix == "csv" else ("{'a'", "Expecting"),
        61: ("", None),
        200: ("1,oops,3,x,y,1" if suffix == "csv" else '{"a": "oops"}', "'oops', which is not a number"),
        333: ("1,2,3,x,y,1e50" if suffix == "csv" else '{"k": 1e50}', "beyond the range of float32"),
        401: ("1,,3,x,y,1" if suffix == "csv" else '{"a": 1, "c": 3, "k": 1}', None),
        480: ("é,,3,x,y,1,7,8" if suffix == "csv" else "[1]", "8 cells" if suffix == "csv" else "not an object"),
    }
    for at, (text, _) in bad.items():
        lines[at - 1] = text
    path.write_text("\n".join(lines))
    told = convert(path, tmp_path / "out")
    with open(tmp_path / "out" / "rejected.csv", newline="") as file:
        found = {int(row["line"]): row for row in csv.DictReader(file)}
    wrong = {at: reason for at, (_, reason) in bad.items() if reason is not None}
    assert set(found) == set(wrong) and sum(told["rejected"].values()) == len(wrong)
    for at, reason in wrong.items():
        assert reason in found[at]["reason"] and found[at]["text"] == bad[at][0] and found[at]["file"] == str(path)
    first = 2 if suffix == "csv" else 1
    kept = [at for at in range(first, len(lines) + 1) if at not in wrong and at != 61]
    np.testing.assert_array_equal(read(tmp_path / "out" / "table.h5", "rows/line"), kept)
    X = read(tmp_path / "out" / "table.h5")
    np.testing.assert_array_equal(X[kept.index(401)], [1, np.nan, 3, 1])
    wanted = frame()[["a", "b", "c", "k"]].to_numpy(np.float32)
    for at in (first, 59, 62, 199, 201, 400, 402, len(lines)):
        np.testing.assert_array_equal(X[kept.index(at)], wanted[at - first])


def test_words(tmp_path, small):
    table = frame()
    table.loc[[3, 300], "word"] = None
    told = convert(write(tmp_path / "x.csv", table), tmp_path / "out", columns=["a"], onehot=["word"], coded=["k"])
    assert told["columns"] == ["a", "k", 'word=say "w"', "word=x", "word=y, z"]
    X = read(tmp_path / "out" / "table.h5")
    dummies = pd.get_dummies(table["word"])[['say "w"', "x", "y, z"]]
    np.testing.assert_array_equal(X[:, 2:], dummies)
    np.testing.assert_array_equal(X[:, 1], table["k"])


@pytest.mark.parametrize("split", ["day:month", "day:day", "word", "k"])
def test_a_file_for_each(split, tmp_path, small):
    table = frame()
    if ":" in split:
        table.loc[70, "day"] = "yesterday"
    told = convert(write(tmp_path / "x.csv", table), tmp_path / "out", split_by=split)
    name, _, part = split.partition(":")
    keys = table[name].astype(str).str[: {"month": 7, "day": 10}.get(part, 99)]
    known = keys[~keys.str.startswith("yest")]
    assert {one["key"]: one["rows"] for one in told["outputs"]} == known.value_counts().to_dict()
    numbers = [one for one in ("a", "b", "c", "k") if one != name]
    for one in told["outputs"]:
        wanted = table[keys == one["key"]][numbers].to_numpy(np.float32)
        np.testing.assert_array_equal(read(tmp_path / "out" / one["file"]), wanted)
    assert told["rejected"] == ({"column ... has no time stamp such as ...-...-... ...:...": 1} if part else {})


def test_a_file_for_so_many_rows(tmp_path, small):
    table = frame()
    told = convert(write(tmp_path / "x.csv", table), tmp_path / "out", split_rows=120)
    assert [one["rows"] for one in told["outputs"]] == [120, 120, 120, 120, 20]
    with open_source(tmp_path / "out" / "*.h5") as source:
        np.testing.assert_array_equal(source.read(0, N), table[["a", "b", "c", "k"]].to_numpy(np.float32))


def test_what_cannot_be_is_said_and_nothing_stays(tmp_path):
    path = write(tmp_path / "x.csv", frame())
    other = write(tmp_path / "y.csv", frame()[["a", "b"]])
    for given, options, told in (
        ([path, other], {}, r"y.csv lacks columns that x.csv has: c, k"),
        ([path], {"columns": "word"}, "column 'word' of .* is of type string, not numbers; name it in onehot"),
        ([path], {"onehot": ["wrd"]}, "no such column: onehot='wrd' is not known; did you mean 'word'"),
        ([path], {"split_by": "day:week"}, "part of a time stamp"),
        ([path], {"onehot": "word", "coded": "word"}, "named in onehot and in coded"),
        ([path], {"split_rows": 0}, "split_rows"),
        ([path], {"format": "h6"}, "format='h6' is not known"),
        ([path], {"split_by": "dya"}, "no such column: split_by='dya' is not known; did you mean 'day'"),
        ([path], {"split_by": ":day"}, "no such column: split_by=':day' is not known"),
        ([path], {"onehot": ["word", "k", "word"]}, "^onehot names a column twice: word, k, word$"),
        ([path], {"coded": ["word", "word"]}, "^coded names a column twice: word, word$"),
        ([path], {"labels": ["day", "day"]}, "^labels names a column twice: day, day$"),
        (
            ["https://example.org/x.csv"],
            {},
            "^https://example.org/x.csv is a URL, and text is read from a disk; download it first$",
        ),
        (
            [write(tmp_path / "w.csv", frame()[["word", "day"]])],
            {},
            "w.csv has no column of numbers; it has word, day$",
        ),
        ([tmp_path / "none.csv"], {}, "there is no file"),
        ([write(tmp_path / "e.csv", frame()[:0])], {}, "holds no rows"),
    ):
        with pytest.raises((ValueError, OSError), match=told):
            convert(given, tmp_path / "out", **options)
        assert sorted(one.name for one in tmp_path.iterdir() if one.suffix != ".csv") == []
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="exists already"):
        convert(path, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=f"^there is no folder {tmp_path / 'none'} to write new in$"):
        convert(path, tmp_path / "none" / "new")
    (tmp_path / "out" / "notes.md").write_text("not a table")
    with pytest.raises(FileNotFoundError, match=f"^{tmp_path / 'out'} holds no files of CSV, JSON lines or Parquet$"):
        convert(tmp_path / "out", tmp_path / "new")
    assert not os.path.lexists(tmp_path / "none") and not os.path.lexists(tmp_path / "new")


@pytest.mark.parametrize("options, limit, words, enough", [
    ({"onehot": ["word"]}, "MOST_CATEGORIES", "column 'word' has more than {} different words; leave it out", 3),
    ({"coded": ["k"]}, "MOST_CATEGORIES", "column 'k' has more than {} different words; leave it out", 7),
    ({"split_by": "k"}, "MOST_FILES", "column 'k' has more than {} values to split by; take a coarser one", 7),
])  # fmt: skip
def test_limits_of_words_and_of_files(options, limit, words, enough, tmp_path, small, monkeypatch):
    """As many as the limit are taken; of one more nothing stays, and no file that was begun stays open."""
    path = write(tmp_path / "x.csv", frame())
    monkeypatch.setattr(f"tsne_ooc.convert.converting.{limit}", enough)
    assert convert(path, tmp_path / "enough", **options)["written"] == N
    monkeypatch.setattr(f"tsne_ooc.convert.converting.{limit}", enough - 1)
    before = h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE)
    with pytest.raises(ValueError) as caught:
        convert(path, tmp_path / "out", **options)
    # While the error is held, so is all that it went through.
    assert str(caught.value) == words.format(enough - 1)
    assert h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE) == before
    assert sorted(one.name for one in tmp_path.iterdir()) == ["enough", "x.csv"]


def test_values_that_would_be_files_of_one_name(tmp_path, small):
    """What a name of a file cannot hold becomes "_", by which two values may fall together: each has its own file."""
    keys = np.array(["a b", "a/b", "a?b", "a_b"])[np.arange(40) % 4]
    table = pd.DataFrame({"a": np.arange(40.0), "key": keys})
    told = convert(write(tmp_path / "x.csv", table), tmp_path / "out", split_by="key")
    assert {one["key"]: one["file"] for one in told["outputs"]} == {
        "a b": "a_b.h5", "a/b": "a_b~2.h5", "a?b": "a_b~3.h5", "a_b": "a_b~4.h5",
    }  # fmt: skip
    for one in told["outputs"]:
        np.testing.assert_array_equal(read(tmp_path / "out" / one["file"])[:, 0], table["a"][keys == one["key"]])


def test_a_line_that_is_too_short_beside_one_that_holds_no_number(tmp_path, small):
    """Both stand in one piece of the file, which is then read line by line: each is told by its own reason."""
    good = ["1,2,3"] * 400
    (tmp_path / "x.csv").write_text("\n".join(["a,b,c", *good, "1,2", "1,oops,3", "1,2,3,4", "4,5,6"]))
    convert(tmp_path / "x.csv", tmp_path / "out")
    with open(tmp_path / "out" / "rejected.csv", newline="") as file:
        found = {int(row["line"]): row["reason"] for row in csv.DictReader(file)}
    assert set(found) == {402, 403, 404} and "'oops', which is not a number" in found[403]
    assert found[402] == "2 cells, and 3 columns" and found[404] == "4 cells, and 3 columns"
    np.testing.assert_array_equal(read(tmp_path / "out" / "table.h5")[398:], [[1, 2, 3], [1, 2, 3], [4, 5, 6]])


def test_far_columns_are_told(tmp_path):
    table = frame().assign(t=1.7e9 + np.arange(N))
    with pytest.warns(UserWarning, match=r"float32 keeps \d of 500 values of column 't' apart"):
        convert(write(tmp_path / "x.csv", table), tmp_path / "out")


def test_by_command(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "x.csv", frame())
    (tmp_path / "in" / "notes.md").write_text("not a table")
    words = [
        "prepare",
        str(tmp_path / "in"),
        "--out",
        str(tmp_path / "out"),
        "--onehot",
        "word",
        "--split-by",
        "day:month",
    ]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "read 500 rows" in said and "wrote 2020-01.h5, 2020-02.h5" in said
    files = [str(tmp_path / "out" / name) for name in ("2020-01.h5", "2020-02.h5")]
    assert main(["embed", *files, "--sample", "100", "--perplexity", "5", "--out", str(tmp_path / "map")]) == 0
    assert len(np.load(tmp_path / "map" / "embedding.npy")) == N


def test_lines_that_are_no_json_hide_no_columns_of_the_others(tmp_path):
    """Where types are mixed, each line is looked at alone, and so are those behind one that cannot be read."""
    lines = [
        '{"a": 1, "b": "x"}',
        "no line of JSON",
        '{"a": "2", "b": 3}',
        '{"c": 4.5, "a": 7}',
        "",
        '{"c": 5, "a": 1}',
    ]
    (tmp_path / "x.jsonl").write_text("\n".join(lines) + "\n")
    told = convert(tmp_path / "x.jsonl", tmp_path / "out", columns=["c"])
    assert told["columns"] == ["c"] and told["read"] == 5 and told["written"] == 4
    np.testing.assert_array_equal(read(tmp_path / "out" / "table.h5"), [[np.nan], [np.nan], [4.5], [5]])


def test_what_is_written_here_is_not_read_as_text(tmp_path):
    """A folder of tables, a run and a model have manifests of JSON; those of other programs are as good as any."""
    rows = np.random.default_rng(0).normal(size=(40, 3))
    write(tmp_path / "x.csv", pd.DataFrame(rows, columns=list("abc")))
    convert(tmp_path / "x.csv", tmp_path / "tables")
    tsne = TSNE(perplexity=4, n_iter=3, early_exaggeration_iter=3, random_state=0)
    embed(tmp_path / "tables" / "table.h5", out=tmp_path / "map", tsne=tsne)
    for folder, what in (("tables", "is what tsne-ooc prepare wrote"), ("map", "is a run, a model or a graph"),
                         ("map/model", "is a run, a model or a graph")):  # fmt: skip
        with pytest.raises(OSError, match=rf"{folder} {what}.*, and holds no text; tables of HDF5 and Zarr are read"):
            convert(tmp_path / folder, tmp_path / "out")
        assert not (tmp_path / "out").exists()
    (tmp_path / "other").mkdir()
    # One of another program may be of any length.
    (tmp_path / "other" / "manifest.json").write_text('{"format": 3, "a": 1}\n')
    assert convert(tmp_path / "other", tmp_path / "out")["columns"] == ["format", "a"]


@pytest.mark.parametrize("format", ["h5", "zarr"])
def test_the_format_of_a_command(format, tmp_path):
    if format == "zarr":
        pytest.importorskip("zarr")
    write(tmp_path / "x.csv", frame())
    words = ["prepare", str(tmp_path / "x.csv"), "--out", str(tmp_path / "out"), "--columns", "a,b", "--format", format]
    assert main(words) == 0
    assert [path.name for path in (tmp_path / "out").glob("table*")] == [f"table.{format}"]


def test_progress_is_in_bytes_of_the_files(tmp_path, small):
    (tmp_path / "tables").mkdir()
    for i in range(3):
        write(tmp_path / "tables" / f"{i}.csv", frame(120, seed=i)[["a", "b", "c"]])
    told = []
    convert(tmp_path / "tables", out=tmp_path / "out", progress=lambda *three: told.append(three))
    sizes = [path.stat().st_size for path in sorted((tmp_path / "tables").iterdir())]
    phases, done, total = zip(*told, strict=True)
    assert set(phases) == {"convert"} and set(total) == {sum(sizes)}
    assert list(done) == sorted(done) and {0, sizes[0], sizes[0] + sizes[1]} <= set(done)
    assert done[-1] == sum(sizes)


@pytest.mark.parametrize("format", ["h5", "zarr"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_labels_stay_beside_the_rows(format, suffix, tmp_path, small):
    """In every format, with every split: the words of the file, in its order, and for the rows that they came with."""
    if format == "zarr":
        pytest.importorskip("zarr")
    table = frame()
    write(tmp_path / f"t.{suffix}", table)
    told = convert(tmp_path / f"t.{suffix}", out=tmp_path / "out", labels=["word", "k"], format=format)
    assert set(told["left_out"]) == {"day"} and told["columns"] == ["a", "b", "c"]
    path = tmp_path / "out" / f"table.{format}"
    assert labels_of(path, "obs/word").tolist() == table["word"].tolist()
    assert labels_of(path, "obs/k").tolist() == [str(k) for k in table["k"]]
    with open_source(path) as source:
        np.testing.assert_array_equal(source.read(0, N), table[["a", "b", "c"]].to_numpy(np.float32))
    convert(
        tmp_path / f"t.{suffix}", out=tmp_path / "split", labels=["word"], split_by="k", split_rows=30, format=format
    )
    for k in range(7):
        own = table["word"][table["k"] == k].tolist()
        files = [tmp_path / "split" / f"{k}-{i:05}.{format}" for i in range(-(-len(own) // 30))]
        assert [word for file in files for word in labels_of(file, "obs/word").tolist()] == own
    with pytest.raises(ValueError, match="labels='wrd'"):
        convert(tmp_path / f"t.{suffix}", out=tmp_path / "none", labels=["wrd"])


@pytest.mark.parametrize("text, lines", [
    ("1,2\n3,4\n5,6\n", [2, 3, 4]), ("1,2\n\n3,4\n", [2, 4]), ("1,2\r\n\r\n3,4\r\n5,6", [2, 4, 5]), ("\n1,2\n", [3]),
    ("\n\n\n1,2\n\n", [5]),
    # One row more than its line has, and an empty line: as many rows as lines.
    ("1,2\n\n3,4\r5,6\n7,8\n", [2, 5]),
    # A quote that does not end.
    ("1,2\n\"3,4\n5,6\n", [2, 4]),
])  # fmt: skip
def test_rows_know_their_lines_whatever_ends_them(text, lines, tmp_path):
    (tmp_path / "x.csv").write_bytes(b"a,b\n" + text.encode())
    told = convert(tmp_path / "x.csv", tmp_path / "out")
    raw = text.split("\n")
    np.testing.assert_array_equal(read(tmp_path / "out" / "table.h5", "rows/line"), lines)
    np.testing.assert_array_equal(
        read(tmp_path / "out" / "table.h5"), [[float(cell) for cell in raw[line - 2].split(",")] for line in lines]
    )
    assert sum(told["rejected"].values()) == told["read"] - len(lines)


@pytest.mark.parametrize(
    "suffix, size", [*(("csv", size) for size in (30, 31, 64, 10_000)), *(("jsonl", size) for size in (1, 7, 30, 300))]
)
def test_lines_longer_than_a_piece_are_whole(suffix, size, tmp_path, monkeypatch):
    """However little is read at a time, a line is never cut; the last one may lack its end."""
    monkeypatch.setattr("tsne_ooc.convert.pieces.BYTES", size)
    table = frame(12)
    path = write(tmp_path / f"x.{suffix}", table)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    told = convert(path, tmp_path / "out", coded=["word"])
    assert (told["read"], told["written"], told["rejected"]) == (12, 12, {})
    found = read(tmp_path / "out" / "table.h5")
    np.testing.assert_array_equal(found[:, :4], table[["a", "b", "c", "k"]].to_numpy(np.float32))
    words = sorted(set(table["word"]))
    np.testing.assert_array_equal(found[:, 4], [words.index(word) for word in table["word"]])


def test_files_of_so_many_rows_are_numbered(tmp_path):
    table = frame(50).assign(word=["x"] * 30 + ["y"] * 20)
    path = write(tmp_path / "x.csv", table)
    told = convert(path, tmp_path / "out", split_rows=20)
    assert [one["file"] for one in told["outputs"]] == ["table-00000.h5", "table-00001.h5", "table-00002.h5"]
    told = convert(path, tmp_path / "by", split_by="word", split_rows=20)
    assert [(one["file"], one["key"], one["rows"]) for one in told["outputs"]] == [
        ("x-00000.h5", "x", 20), ("x-00001.h5", "x", 10), ("y-00000.h5", "y", 20),
    ]  # fmt: skip
    told = convert(path, tmp_path / "all", split_by="word")
    assert [one["file"] for one in told["outputs"]] == ["x.h5", "y.h5"]


def test_a_column_that_does_not_vary_is_divided_by_one(tmp_path):
    """So new rows keep their distance from it."""
    table = frame(40).assign(same=7.0)
    convert(write(tmp_path / "x.csv", table), tmp_path / "out", columns=["same", "a"], standardize=True)
    assert not read(tmp_path / "out" / "table.h5")[:, 0].any()
    convert(write(tmp_path / "y.csv", table.assign(same=10.0)), tmp_path / "new", like=tmp_path / "out")
    assert (read(tmp_path / "new" / "table.h5")[:, 0] == 3).all()


def test_whole_numbers_beyond_those_of_float64_are_rounded(tmp_path):
    table = pd.DataFrame({"a": np.array([2**60 + 1, -(2**62) + 3, 5]), "b": [1.0, 2.0, 3.0]})
    told = convert(write(tmp_path / "x.parquet", table), tmp_path / "out")
    assert told["rejected"] == {}
    np.testing.assert_array_equal(read(tmp_path / "out" / "table.h5"), table.to_numpy(np.float64).astype(np.float32))


def test_files_are_told_in_the_order_of_their_names(tmp_path):
    """Numbers in names count as numbers, whatever came first."""
    table = frame(40).assign(word=np.repeat(["b10", "b9", "a", "B"], 10))
    told = convert(write(tmp_path / "x.csv", table), tmp_path / "out", split_by="word")
    names = [one["file"] for one in told["outputs"]]
    assert set(names) == {"b10.h5", "b9.h5", "a.h5", "B.h5"} and names.index("b9.h5") < names.index("b10.h5")
    assert names.index("a.h5") < names.index("b9.h5")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_what_float32_cannot_hold_is_rejected_by_its_line(suffix, tmp_path):
    """The largest number of float32 can be held, and the next one of float64 that rounds to infinity cannot."""
    most = float(np.finfo(np.float32).max)
    values = [1.0, most, -most, 1e39, -1e300, 3.4028236e38, 2.0]
    table = pd.DataFrame({"a": values, "b": np.arange(7.0)})
    paths = [write(tmp_path / f"x.{suffix}", table), write(tmp_path / f"y.{suffix}", table[:3])]
    told = convert(paths, tmp_path / "out")
    np.testing.assert_array_equal(
        read(tmp_path / "out" / "table.h5")[:, 0], np.array([1, most, -most, 2, *values[:3]], "f4")
    )
    assert [(one["read"], one["written"], one["rejected"]) for one in told["inputs"]] == [(7, 4, 3), (3, 3, 0)]
    assert (told["read"], told["written"]) == (10, 7) and sum(told["rejected"].values()) == 3
    lines = list(csv.DictReader((tmp_path / "out" / "rejected.csv").read_text(encoding="utf-8").splitlines()))
    first = {"csv": 2, "jsonl": 1, "parquet": 0}[suffix]
    assert [int(line["line"]) - first for line in lines] == [3, 4, 5]
    assert [line["reason"] for line in lines] == [
        f"column 'a' holds {value:g}, beyond the range of float32" for value in values[3:6]
    ]


def test_truths_are_one_and_zero_whatever_else_is_in_the_file(tmp_path):
    """A line that is none makes the others be read one by one, and they are read alike."""
    lines = ["a,b", "true,1", "false,2", "True,3", "FALSE,4", ",5", "true,6"]
    wanted = [[1, 1], [0, 2], [1, 3], [0, 4], [np.nan, 5], [1, 6]]
    for name, more in (("x", []), ("y", ["false,oops", "7"])):
        (tmp_path / f"{name}.csv").write_text("\n".join([*lines, *more]) + "\n")
        told = convert(tmp_path / f"{name}.csv", tmp_path / name, columns=["a", "b"])
        np.testing.assert_array_equal(read(tmp_path / name / "table.h5"), np.array(wanted, "f4"))
        assert sum(told["rejected"].values()) == len(more) and told["missing"] == {"a": 1}


def test_files_and_folders_may_be_named_together(tmp_path):
    """All of them, in the order in which they are named; within a folder, by name."""
    table = frame(60)
    (tmp_path / "in").mkdir()
    write(tmp_path / "first.csv", table[:10])
    for name, (a, b) in {"x10.csv": (20, 30), "x9.csv": (10, 20)}.items():
        write(tmp_path / "in" / name, table[a:b])
    (tmp_path / "in" / "notes.md").write_text("mine")
    write(tmp_path / "last.csv", table[30:])
    told = convert([tmp_path / "first.csv", tmp_path / "in", tmp_path / "last.csv"], tmp_path / "out")
    assert [one["path"].rpartition("/")[2] for one in told["inputs"]] == ["first.csv", "x9.csv", "x10.csv", "last.csv"]
    np.testing.assert_array_equal(read(tmp_path / "out" / "table.h5"), table[["a", "b", "c", "k"]].to_numpy(np.float32))


@pytest.mark.parametrize(
    "options, words",
    [
        ({"standardize": 1}, "standardize=1 is neither True nor False"),
        ({"standardize": "yes"}, "standardize='yes' is neither True nor False"),
        ({"unseen": "reject"}, "unseen='reject' is about words that a table does not have; say which with like="),
        ({"unseen": "keep"}, "unseen='keep' is not known"),
        (
            {"like": "LIKE", "columns": "a"},
            "like=LIKE says what becomes of each column; leave columns, onehot, coded and",
        ),
        (
            {"like": "LIKE", "onehot": ["word"]},
            "like=LIKE says what becomes of each column; leave columns, onehot, coded",
        ),
        (
            {"like": "LIKE", "coded": ["word"]},
            "like=LIKE says what becomes of each column; leave columns, onehot, coded",
        ),
        (
            {"like": "LIKE", "standardize": True},
            "like=LIKE says what becomes of each column; leave columns, onehot, coded",
        ),
        ({"split_rows": 1.5}, "split_rows"),
        ({"split_by": "a"}, None),
    ],
)
def test_options_that_say_nothing_together(tmp_path, options, words):
    """All of them are looked at before anything is read or written."""
    path = tmp_path / "none.csv"
    if words is None:
        path = write(tmp_path / "x.csv", frame(6).assign(a=[1, 1, 2, 2, 3, 3]))
        assert [one["key"] for one in convert(path, tmp_path / "out", **options)["outputs"]] == ["1", "2", "3"]
        return
    with pytest.raises((ValueError, TypeError)) as caught:
        convert(path, tmp_path / "out", **options)
    assert str(caught.value).startswith(words) and not list(tmp_path.iterdir())


def test_a_folder_without_text_is_told(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "picture.png").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"in holds no files of CSV, JSON lines or Parquet$"):
        convert(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_rejected_lines_are_in_their_order_whatever_is_wrong_with_them(tmp_path):
    """Cells too many are found before numbers beyond float32, and these before words that were not there."""
    (tmp_path / "x.csv").write_text("a,w\n1,x\n2,y\n")
    convert(tmp_path / "x.csv", tmp_path / "first", onehot=["w"])
    text = "a,w\n1,new\n1e60,x\n1,x,3\n2,y\n3,new\n1,2,3\n-1e50,y\n"
    (tmp_path / "y.csv").write_text(text)
    told = convert(tmp_path / "y.csv", tmp_path / "out", like=tmp_path / "first", unseen="reject")
    with open(tmp_path / "out" / "rejected.csv", newline="", encoding="utf-8") as file:
        found = [(int(row["line"]), row["text"]) for row in csv.DictReader(file)]
    assert found == [(2, "new"), (3, "1e60,x"), (4, "1,x,3"), (6, "new"), (7, "1,2,3"), (8, "-1e50,y")]
    assert (told["read"], told["written"], sum(told["rejected"].values())) == (7, 1, 6)
    assert list(told["rejected"]) == sorted(told["rejected"]) and read(tmp_path / "out" / "table.h5").tolist() == [
        [2, 0, 1]
    ]


def test_a_manifest_names_files_by_their_whole_paths(tmp_path, monkeypatch):
    """Whoever reads it may be in another folder."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "x.csv", frame(5))
    assert convert("x.csv", "out")["inputs"][0]["path"] == str((tmp_path / "x.csv").resolve())


@pytest.mark.parametrize("format", ["h5", "zarr"])
def test_values_of_any_length_have_files_of_their_own(tmp_path, format):
    if format == "zarr":
        pytest.importorskip("zarr")
    keys = ["k" * 300 + end for end in "abc"] + ["...", "/", "k"]
    table = pd.DataFrame({"a": np.arange(6.0), "key": keys})
    told = convert(write(tmp_path / "x.csv", table), tmp_path / "out", split_by="key", format=format)
    assert len({one["file"] for one in told["outputs"]}) == 6 and {one["key"] for one in told["outputs"]} == {*keys}
    for one in told["outputs"]:
        with open_source(tmp_path / "out" / one["file"], dataset="X") as source:
            assert source.read(0, 1).tolist() == [[keys.index(one["key"])]] and source.shape == (1, 1)


@pytest.mark.parametrize("split, what", [
    ("day", "column 'day' has no value"), ("day:year", "column 'day' has no time stamp such as 2020-01-31 12:00"),
    ("day:hour", "column 'day' has no time stamp such as 2020-01-31 12:00"),
])  # fmt: skip
def test_a_row_that_belongs_to_no_file_is_told(tmp_path, split, what):
    (tmp_path / "x.csv").write_text("a,day\n1,2020-01-31 12:00\n2,\n3,2020-01-31 12:30\n")
    told = convert(tmp_path / "x.csv", tmp_path / "out", split_by=split)
    with open(tmp_path / "out" / "rejected.csv", newline="", encoding="utf-8") as file:
        assert [(row["line"], row["reason"]) for row in csv.DictReader(file)] == [("3", what)]
    assert told["written"] == 2


@pytest.mark.parametrize("order", [("in", "x.csv"), ("x.csv", "in"), ("in", "more"), ("in", "x.csv", "more")])
def test_all_that_is_named_is_read_in_its_order(tmp_path, order):
    """Whichever of it is a folder."""
    for number, name in enumerate(("in/a.csv", "in/b.csv", "x.csv", "more/a.csv")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"a\n{number}\n")
    convert([tmp_path / name for name in order], tmp_path / "out")
    wanted = [number for name in order for number in {"in": (0, 1), "x.csv": (2,), "more": (3,)}[name]]
    assert read(tmp_path / "out" / "table.h5")[:, 0].tolist() == wanted


@pytest.mark.parametrize("most, format", [*((most, "h5") for most in (1, 6, 7, 8, 40)), (8, "zarr"), (40, "zarr")])
def test_files_are_full_but_for_the_last_however_rows_come_and_are_written(tmp_path, monkeypatch, most, format):
    """Rows come piece by piece, some of a file are written and others wait when it is full."""
    if format == "zarr":
        pytest.importorskip("zarr")
    monkeypatch.setattr("tsne_ooc.convert.pieces.BYTES", 100)
    monkeypatch.setattr("tsne_ooc.convert.writing.CHUNK", 7 * 4)
    (tmp_path / "x.csv").write_text("a\n" + "".join(f"{number}\n" for number in range(100)))
    told = convert(tmp_path / "x.csv", tmp_path / "out", split_rows=most, format=format)
    assert [one["rows"] for one in told["outputs"]] == [min(most, 100 - at) for at in range(0, 100, most)]
    found = []
    for one in told["outputs"]:
        with open_source(tmp_path / "out" / one["file"], dataset="X") as source:
            found += source.read(0, one["rows"])[:, 0].tolist()
    assert found == list(range(100))


def test_columns_that_are_standardised_are_kept_apart(tmp_path):
    """So nobody is warned of them, neither where their scaling is found nor where that of an earlier table is taken."""
    table = pd.DataFrame({"a": 1e9 + np.arange(50.0), "b": np.arange(50.0)})
    write(tmp_path / "x.csv", table)
    with pytest.warns(UserWarning, match=r"^float32 keeps \d+ of 50 values of column 'a' apart"):
        convert(tmp_path / "x.csv", tmp_path / "plain")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(tmp_path / "x.csv", tmp_path / "first", standardize=True)
        convert(tmp_path / "x.csv", tmp_path / "second", like=tmp_path / "first")
    for name in ("first", "second"):
        assert len(np.unique(read(tmp_path / name / "table.h5")[:, 0])) == 50


@pytest.mark.parametrize("name", ["cells.zarr", "cells.h5", "cells.H5AD", "cells.parquet"])
def test_a_folder_is_not_called_as_a_table_is(tmp_path, name):
    """Such a folder was then opened as a table, and refused as one that is not whole."""
    pd.DataFrame({"a": [1.0, 2], "b": [3.0, 4]}).to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(ValueError) as caught:
        convert(tmp_path / "x.csv", tmp_path / name)
    assert str(caught.value) == (
        f"{tmp_path / name} is the name of a table, and what is written is a folder with a table and what is told of "
        f"it; name it {tmp_path / 'cells'}"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]
