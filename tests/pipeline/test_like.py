"""From a file of text to a map, and from tomorrow's file of text to places on it, by the lines that are told."""

from __future__ import annotations

import csv
import json
import shlex

import h5py
import numpy as np
import pandas as pd
import pytest

from tsne_ooc import open_run
from tsne_ooc.cli import main
from tsne_ooc.convert import convert
from tsne_ooc.convert.recipe import Recipe
from tsne_ooc.io import names_of, open_source

pytest.importorskip("pyarrow")

N, M = 150, 40
# Words that become 0, 1, 2 in sorted order; today's file has all of them.
PROTOCOLS, COUNTRIES = ["icmp", "tcp", "udp"], ["at", "de"]


def flows(n=N, seed=0):
    rng = np.random.default_rng(seed)
    found = pd.DataFrame(rng.normal(size=(n, 3)).round(3), columns=["bytes", "packets", "seconds"])
    found["proto"] = np.array(PROTOCOLS)[np.arange(n) % 3]
    found["country"] = np.array(COUNTRIES)[np.arange(n) % 2]
    return found.assign(kind=np.array(["good", "bad"])[rng.integers(0, 2, n)])


def expected(table):
    """The columns that today's words make, one after the other, in an obvious way."""
    columns = [table[name] for name in ("bytes", "packets", "seconds")]
    columns.append(table["country"].map({word: at for at, word in enumerate(COUNTRIES)}))
    columns += [(table["proto"] == word).astype(float) for word in PROTOCOLS]
    return np.stack(columns, axis=1).astype(np.float32)


HOW = ["--onehot", "proto", "--coded", "country", "--labels", "kind"]


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Today's table in `flows`."""
    monkeypatch.chdir(tmp_path)
    flows().to_csv("flows.csv", index=False)
    assert main(["prepare", "flows.csv", *HOW, "--out", "flows", "--quiet"]) == 0
    return tmp_path


def table(path):
    with h5py.File(path) as file:
        return file["X"][:], file["rows/line"][:]


def told(capsys, word):
    """The words of the command that follows `word` in what was printed."""
    text = capsys.readouterr()
    return shlex.split((text.out + text.err).rpartition(word)[2].split("\n")[0].removesuffix(", and then"))


def test_the_lines_that_are_told_lead_from_text_to_places(made, capsys):
    """Tomorrow has fewer words, in other columns' places, and a new word: each line is the one that was told before."""
    assert main(["prepare", "flows.csv", *HOW, "--out", "again"]) == 0
    line = told(capsys, "next: tsne-ooc ")
    assert line == ["embed", "again/table.h5", "--out", "map", "--color", "kind"]
    assert main([*line[:-2], "--perplexity", "5", "--quiet"]) == 0
    tomorrow = flows(M, 1)
    tomorrow["proto"] = "udp"
    tomorrow.loc[7, "proto"] = "quic"
    tomorrow[["kind", "proto", "seconds", "country", "bytes", "packets"]].assign(more=1).to_csv("new.csv", index=False)
    # The table as it is has other columns, and the line that makes the right ones is told.
    assert main(["place", "map", "new.csv", "--out", "placed"]) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    first, second = (shlex.split(part.split("\n")[0]) for part in text.split("tsne-ooc ")[1:])
    first = [word.rstrip(",") for word in first][: first.index("--out") + 2]
    assert first == ["prepare", "new.csv", "--like", "map", "--out", "new-table"]
    assert second == ["place", "map", "new-table/table.h5", "--out", "placed"]
    assert main(first) == 0
    said = capsys.readouterr().out
    assert "column 'proto': 1 row has a word that map does not know, taken as missing" in said
    assert "left out: more\n" in said and f"next: tsne-ooc {shlex.join(second)}" in said
    X, lines = table("new-table/table.h5")
    np.testing.assert_array_equal(X, expected(tomorrow))
    np.testing.assert_array_equal(lines, 2 + np.arange(M))
    assert main([*second, "--quiet"]) == 0
    # By hand: the columns of today's words, placed as an array.
    with open_source("again/table.h5") as today:
        names = names_of(today)
    pd.DataFrame(expected(tomorrow), columns=names).to_parquet("by-hand.parquet")
    assert main(["place", "map", "by-hand.parquet", "--out", "by-hand", "--quiet"]) == 0
    np.testing.assert_array_equal(open_run("placed").embedding, open_run("by-hand").embedding)
    assert main(["info", "map"]) == 0
    said = capsys.readouterr().out
    assert "tsne-ooc prepare FILE --like map --out new\n  tsne-ooc place map new/table.h5 --out more" in said
    assert "tsne-ooc plot map --color kind" in said
    # Rows of today come back to their seats.
    assert main(["prepare", "flows.csv", "--like", "map", "--out", "same", "--quiet"]) == 0
    assert main(["place", "map", "same/table.h5", "--out", "seats", "--quiet"]) == 0
    np.testing.assert_array_equal(open_run("seats").embedding, open_run("map").embedding)


@pytest.mark.parametrize(
    "like", ["flows", "flows/table.h5", "zarr", "zarr/table.zarr", "parts", "parts/table-00000.h5"]
)
@pytest.mark.parametrize("suffix", ["csv", "tsv", "csv.gz", "jsonl", "parquet"])
def test_like_whatever_an_earlier_call_wrote(made, like, suffix):
    if "zarr" in like:
        pytest.importorskip("zarr")
        convert("flows.csv", "zarr", onehot=["proto"], coded=["country"], labels=["kind"], format="zarr")
    if "parts" in like:
        convert("flows.csv", "parts", onehot=["proto"], coded=["country"], labels=["kind"], split_rows=70)
    new = flows(M, 2)[["proto", "country", "kind", "seconds", "packets", "bytes"]]
    new = new[new["proto"] != "tcp"]
    if suffix == "parquet":
        new.to_parquet("new.parquet")
    elif suffix == "jsonl":
        new.to_json("new.jsonl", orient="records", lines=True)
    else:
        new.to_csv(f"new.{suffix}", index=False, sep="\t" if suffix == "tsv" else ",")
    found = convert(f"new.{suffix}", "new", like=like)
    np.testing.assert_array_equal(table("new/table.h5")[0], expected(new))
    assert found["columns"] == json.loads((made / "flows" / "manifest.json").read_text())["columns"]
    assert found["recipe"]["labels"] == ["kind"] and found["unseen"] == {}
    # What was written is like what it is like, too.
    convert(f"new.{suffix}", "newer", like="new")
    np.testing.assert_array_equal(table("newer/table.h5")[0], expected(new))


@pytest.mark.parametrize("unseen", ["missing", "reject"])
def test_words_that_are_not_known(made, unseen, monkeypatch):
    """Pieces of a few lines, so that rows are rejected in several."""
    monkeypatch.setattr("tsne_ooc.convert.pieces.BYTES", 700)
    new = flows(M, 3)
    new.loc[[3, 30], "proto"] = ["quic", "sctp"]
    new.loc[[30, 31], "country"] = ["fr", None]
    new.to_csv("new.csv", index=False)
    found = convert("new.csv", "new", like="flows", unseen=unseen)
    X, lines = table("new/table.h5")
    kept = [row for row in range(M) if unseen == "missing" or row not in (3, 30)]
    np.testing.assert_array_equal(X, expected(new)[kept])
    np.testing.assert_array_equal(lines, 2 + np.array(kept))
    with open("new/rejected.csv", newline="") as file:
        rejected = [(int(row["line"]), row["reason"]) for row in csv.DictReader(file)]
    if unseen == "missing":
        # A missing word of today is one of tomorrow, too, and is not a new one.
        assert rejected == [] and found["unseen"] == {"proto": 2, "country": 1} and found["missing"] == {"country": 2}
        np.testing.assert_array_equal(X[[3, 30], 4:], 0)
    else:
        assert [line for line, _ in rejected] == [5, 32] and found["missing"] == {"country": 1}
        assert all("holds " in reason and "which was not among its words before" in reason for _, reason in rejected)
        assert found["written"] == M - 2


def test_a_cell_that_is_not_a_number_is_told_by_its_line(made):
    new = flows(9, 4).astype({"bytes": object})
    new.loc[[0, 4], "bytes"] = ["much", "few"]
    new.to_csv("new.csv", index=False)
    found = convert("new.csv", "new", like="flows")
    assert (found["written"], sum(found["rejected"].values())) == (7, 2)
    assert "'few', which is not a number" in (made / "new" / "rejected.csv").read_text()


def test_what_cannot_be_is_said_and_nothing_stays(made, capsys):
    flows(5).drop(columns=["proto", "packets"]).to_csv("few.csv", index=False)
    flows(5).to_csv("new.csv", index=False)
    np.save("X.npy", np.random.default_rng(0).normal(size=(60, 4)).astype("f4"))
    assert main(["embed", "X.npy", "--out", "plain", "--perplexity", "5", "--quiet"]) == 0
    for words, answer in (
        ("few.csv --like flows", "few.csv lacks columns that flows was made of: packets, proto; it has bytes, seconds"),
        ("new.csv --like nowhere", "there is no file or folder nowhere"),
        ("new.csv --like X.npy", "X.npy does not say how text became its columns"),
        ("new.csv --like plain", "plain does not say how text became its columns"),
        ("new.csv --like flows --columns bytes", "--like=flows says what becomes of each column; leave"),
        ("new.csv --like flows --onehot proto", "--like=flows says what becomes of each column; leave"),
        ("new.csv --unseen reject", "--unseen='reject' is about words that a table does not have; say which with"),
        ("new.csv --like flows/rejected.csv", "rejected.csv"),
    ):
        assert main(["prepare", *words.split(), "--out", "new"]) == 2
        said = capsys.readouterr().err
        assert answer in said and said.count("\n") == 1 and not (made / "new").exists(), said
    # A map of an array knows no text, and the line says so much.
    assert main(["place", "plain", "new.csv", "--out", "placed"]) == 2
    assert "tsne-ooc prepare new.csv --out new-table, and then" in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage",
    [
        {"numbers": "a"}, {"numbers": [1]}, {"categories": {"proto": "tcp"}}, {"categories": {}}, {"onehot": None},
        {"coded": ["country", "country"]}, [], "text",
    ],
    ids=str,
)  # fmt: skip
def test_a_recipe_may_hold_anything(made, damage, capsys):
    path = made / "flows" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["recipe"] = manifest["recipe"] | damage if isinstance(damage, dict) else damage
    path.write_text(json.dumps(manifest))
    assert main(["prepare", "flows.csv", "--like", "flows", "--out", "new"]) == 2
    said = capsys.readouterr().err
    assert "flows is damaged" in said and said.count("\n") == 1 and not (made / "new").exists()


@pytest.mark.parametrize(
    "held",
    [np.zeros(3), "no JSON", "[1]", "[" * 100_000, b"\xff\xfe", '{"labels": 7}', 5.0, '{"numbers": ["a"]}'],
    ids=["numbers", "words", "list", "deep", "bytes", "labels", "number", "part"],
)
def test_an_array_of_the_same_name_may_be_anything(tmp_path, monkeypatch, capsys, held):
    monkeypatch.chdir(tmp_path)
    with h5py.File("x.h5", "w") as file:
        file["X"], file["prepared"] = np.random.default_rng(0).normal(size=(60, 3)).astype("f4"), held
    assert main(["embed", "x.h5", "--dataset", "X", "--perplexity", "5", "--out", "map", "--quiet"]) == 0
    assert main(["info", "map"]) == 0
    assert "tsne-ooc plot map\n" in capsys.readouterr().out
    flows(5).to_csv("new.csv", index=False)
    assert main(["prepare", "new.csv", "--like", "x.h5", "--out", "new"]) == 2
    said = capsys.readouterr().err
    assert ("x.h5 is damaged" in said or "x.h5 does not say how text" in said) and said.count("\n") == 1


def test_a_table_that_was_moved_still_knows(made):
    (made / "flows" / "table.h5").rename(made / "alone.h5")
    flows(M, 5).to_csv("new.csv", index=False)
    convert("new.csv", "new", like="alone.h5")
    np.testing.assert_array_equal(table("new/table.h5")[0], expected(flows(M, 5)))


def test_gaps_are_counted_and_the_next_line_fills_them(made, capsys):
    gaps = flows()
    gaps.loc[[3, 5, 9], "bytes"] = np.nan
    gaps.loc[5, "country"] = None
    gaps.assign(never=np.nan).to_csv("gaps.csv", index=False)
    assert main(["prepare", "gaps.csv", *HOW, "--out", "gaps"]) == 0
    said = capsys.readouterr().out
    assert f"missing: {N + 4} of {N * 8:,} cells have no value, in bytes (3), never ({N}), country (1)" in said
    assert "no value at all: never; name the others in --columns" in said
    assert main(["prepare", "gaps.csv", *HOW, "--columns", "bytes,packets", "--out", "some"]) == 0
    said = capsys.readouterr().out
    assert f"missing: 4 of {N * 6} cells have no value, in bytes (3), country (1)" in said
    line = said.rpartition("next: tsne-ooc ")[2].split()
    assert line == ["embed", "some/table.h5", "--missing", "neighbors", "--out", "map", "--color", "kind"]
    assert main([*line[:-2], "--perplexity", "5"]) == 0
    assert "filled in 4 cells of 2 columns that had no value (--missing neighbors)" in capsys.readouterr().out
    assert open_run("map").manifest["filled"] == {"how": "neighbors", "cells": 4, "columns": 2}


@pytest.mark.parametrize("bad", [["b", "b"], [1], "b", None])
def test_each_list_of_words_of_a_recipe_is_looked_at(bad):
    """One that is as it should be does not speak for the others."""
    told = {"numbers": ["x"], "coded": ["k"], "onehot": ["m"], "labels": [], "categories": {"k": ["a"], "m": ["c"]}}
    assert Recipe.of(told, "here").used == ["x", "k", "m"]
    for name in ("k", "m"):
        with pytest.raises(ValueError, match=r"^here is damaged: what it says of its columns is not what tsne-ooc"):
            Recipe.of({**told, "categories": {**told["categories"], name: bad}}, "here")
