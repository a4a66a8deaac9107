"""What is left out of a file, and how the rest is read, is told by the command line and written in the manifest."""

import json

import numpy as np
import pandas as pd
import pytest

from tsne_ooc import embed
from tsne_ooc.cli import main
from tsne_ooc.io import open_source
from tsne_ooc.io.told import account_of, in_words

pytest.importorskip("pyarrow")

LEFT_OUT = {"word": "of type string", "when": "of type timestamp[ns]", "cell": "an index of pandas"}


@pytest.fixture
def folder(tmp_path):
    """A folder of two files, with columns of words and dates, an index, and a file of another kind."""
    rng = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for part in (2, 10):
        pd.DataFrame(
            {
                "a": rng.normal(size=60),
                "word": "w",
                "b": rng.normal(size=60),
                "when": pd.Timestamp("2020-01-01").as_unit("ns"),
            },
            index=pd.Index(np.arange(60), name="cell"),
        ).to_parquet(tmp_path / "data" / f"{part}.parquet")
    (tmp_path / "data" / "notes.txt").touch()
    return tmp_path / "data"


def manifest(path):
    return json.loads((path / "manifest.json").read_text())["content"]


FAST = ["--perplexity", "5", "--schedule", "classic"]


def test_embed_and_place_tell_and_write_it(folder, tmp_path, capsys):
    order = "rows come from 2 files, in the order of their names: 2.parquet, 10.parquet"
    wanted = {"left_out": {**LEFT_OUT, "notes.txt": "not a .parquet file"}, "remarks": [order]}
    words = (
        "left out: word (of type string); when (of type timestamp[ns]); cell (an index of pandas); notes.txt (not a "
        ".parquet file)"
    )
    assert main(["embed", str(folder), "--out", str(tmp_path / "map"), *FAST, "--verbose"]) == 0
    said = capsys.readouterr()
    assert said.out.count(words) == 1 and f"tsne-ooc: {words}" in said.err and f"tsne-ooc: {order}" in said.err
    assert manifest(tmp_path / "map")["read"] == wanted
    assert main(["place", str(tmp_path / "map"), str(folder), "--out", str(tmp_path / "more")]) == 0
    said = capsys.readouterr()
    assert said.out.count(words) == 1 and words not in said.err
    assert manifest(tmp_path / "more")["read"] == wanted
    assert main(["place", str(tmp_path / "map"), str(folder), "--out", str(tmp_path / "third"), "--quiet"]) == 0
    assert "left out" not in "".join(capsys.readouterr())


def test_train_tells_and_writes_it(folder, tmp_path, capsys):
    pytest.importorskip("torch")
    arguments = ["--iterations", "2", "--network", "16x1", "--landmarks", "16", *FAST]
    assert main(["train", str(folder), "--out", str(tmp_path / "encoder"), *arguments]) == 0
    assert "left out: word (of type string)" in capsys.readouterr().out
    assert manifest(tmp_path / "encoder")["read"]["left_out"]["cell"] == LEFT_OUT["cell"]


def test_of_an_array_there_is_nothing_to_tell(tmp_path):
    X = np.random.default_rng(0).normal(size=(120, 3))
    assert account_of(open_source(X)) == {"left_out": {}, "remarks": []} and in_words(account_of(X)) == []
    assert embed(X, out=tmp_path / "map").manifest["read"] == {"left_out": {}, "remarks": []}
    # A folder that was written before this was told.
    assert in_words({}) == []


def test_many_names_are_told_by_their_first():
    account = {"left_out": dict.fromkeys(map(str, range(1234)), "of type string"), "remarks": ["so"]}
    assert in_words(account) == ["left out: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 1,224 more (of type string)", "so"]


@pytest.mark.parametrize("count", [1, 9, 10, 11, 1010])
def test_ten_names_are_told_for_each_reason(count):
    names = [f"c{at}" for at in range(count)]
    more = f" and {count - 10:,} more" if count > 10 else ""
    account = {"left_out": dict.fromkeys(names, "of type string") | {"i": "an index"}, "remarks": []}
    assert in_words(account) == [f"left out: {', '.join(names[:10])}{more} (of type string); i (an index)"]
