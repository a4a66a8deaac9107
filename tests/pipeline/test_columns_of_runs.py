"""Runs of some columns of an array whose names are in its file: they are chosen, known again, and lined up by name."""

from __future__ import annotations

import json
import shlex

import h5py
import numpy as np
import pandas as pd
import pytest

from tsne_ooc import open_run
from tsne_ooc.cli import main
from tsne_ooc.report.again import again

pytest.importorskip("pyarrow")

N = 120
NAMES = list("abcde")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same rows as a table that `prepare` wrote, as sparse cells, and as Parquet, with a map of columns d and a."""
    folder = tmp_path_factory.mktemp("columns")
    rng = np.random.default_rng(0)
    X = np.abs(rng.normal(size=(3, 5))[np.arange(N) % 3] * 6 + rng.normal(size=(N, 5))).astype("f4").round(3)
    table = pd.DataFrame(X, columns=NAMES)
    table.to_parquet(folder / "table.parquet")
    table.to_csv(folder / "table.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["prepare", "table.csv", "--out", "text", "--quiet"]) == 0
        with h5py.File("cells.h5ad", "w") as file:
            var, group = file.create_group("var"), file.create_group("X")
            file.create_group("obs")
            var.attrs["_index"] = "gene"
            var["gene"] = [name.encode() for name in NAMES]
            group.attrs.update({"encoding-type": "csr_matrix", "shape": [N, 5]})
            group["data"], group["indices"] = X.ravel(), np.tile(np.arange(5), N)
            group["indptr"] = np.arange(0, 5 * N + 1, 5)
        run("table.parquet", "parquet", "--columns d,a")
    return folder


def run(data, out, more):
    assert (
        main(["embed", data, "--out", out, "--sample", "80", "--perplexity", "5", "--quiet", *shlex.split(more)]) == 0
    )


@pytest.mark.parametrize("data", ["text/table.h5", "cells.h5ad"])
def test_some_columns_make_the_map_that_they_make_from_parquet(folder, tmp_path, monkeypatch, capsys, data):
    monkeypatch.chdir(folder)
    out = str(tmp_path / "map")
    # A star stands for the rest of a name, and the order is that of the words.
    run(data, out, "--columns d,a*")
    found, wanted = open_run(out), open_run("parquet")
    np.testing.assert_array_equal(found.embedding, wanted.embedding)
    np.testing.assert_array_equal(found.novelty, wanted.novelty)
    source = found.manifest["job"]["source"]
    assert source["columns"] == ["d", "a"] and source["dataset"] == "/X"
    assert found.manifest["source"].startswith("2 columns of dataset '/X' of ")
    # The same run is finished; one of other columns is another run.
    run(data, out, "--columns d,a --resume")
    for more, told in (
        ("--columns a,d", "columns was ['d', 'a'], is ['a', 'd']"),
        ("", "columns was ['d', 'a'], is None"),
    ):
        words = ["embed", data, "--out", out, "--sample", "80", "--perplexity", "5", "--resume", *shlex.split(more)]
        assert main(words) == 2
        assert told in capsys.readouterr().err
    # Made again by the line that the report has, and seen in the words of other commands.
    line = again(json.loads(json.dumps(found.manifest))).text
    assert " --dataset X --columns d,a " in line
    assert main(["strangest", out, "--top", "1", "--columns", "b,a"]) == 0
    assert capsys.readouterr().out.split("\n")[0].split()[-2:] == ["b", "a"]
    assert main(["look", data, "--columns", "d,a*"]) == 0
    told = capsys.readouterr().out
    assert f"{N} rows of 2 columns" in told and "columns: d, a\n" in told
    assert main(["trust", out, "--quiet"]) == 0
    assert main(["embed", data, "--columns", "z", "--out", str(tmp_path / "none")]) == 2
    assert "has no such column: --columns='z' is not known" in capsys.readouterr().err


@pytest.mark.parametrize("data", ["text/table.h5", "cells.h5ad"])
@pytest.mark.filterwarnings("always:X has columns that the fit:UserWarning")
def test_rows_are_placed_by_the_names_of_their_columns(folder, tmp_path, monkeypatch, capsys, data):
    monkeypatch.chdir(folder)
    wanted = open_run("parquet").embedding
    for number, more in enumerate(([], ["--columns", "a,d"])):
        out = str(tmp_path / str(number))
        assert main(["place", "parquet", data, "--out", out, *more]) == 0
        told = capsys.readouterr().err
        assert ("which are left out: 'b', 'c', 'e'" in told) == (not more)
        # Rows of the sample have their seats; the others are placed as in the run.
        np.testing.assert_array_equal(open_run(out).embedding, wanted)
    assert main(["place", "parquet", data, "--columns", "a,b", "--out", str(tmp_path / "none")]) == 2
    assert "lacks 1 of the 2 feature names of the fit: 'd'" in capsys.readouterr().err


def test_workers_read_the_same_columns(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    run("cells.h5ad", str(tmp_path / "map"), "--columns d,a --workers 1 --block-rows 30")
    np.testing.assert_array_equal(open_run(tmp_path / "map").embedding, open_run("parquet").embedding)


def test_many_files_by_the_names_of_their_columns(folder, tmp_path, monkeypatch):
    """The first file has its columns in another order, and one more."""
    monkeypatch.chdir(tmp_path)
    table = pd.read_parquet(folder / "table.parquet")
    (tmp_path / "parts").mkdir()
    table[:50].assign(more=1.0)[["more", "e", "d", "c", "b", "a"]].to_csv("parts/1.csv", index=False)
    table[50:].to_csv("parts/2.csv", index=False)
    for part in (1, 2):
        assert main(["prepare", f"parts/{part}.csv", "--out", f"out{part}", "--quiet"]) == 0
    run("out*/table.h5", "map", "--columns d,a")
    np.testing.assert_array_equal(open_run("map").embedding, open_run(folder / "parquet").embedding)


def test_categories_are_made_of_a_column_of_numbers(folder, tmp_path, monkeypatch):
    """As of the same column of Parquet."""
    monkeypatch.chdir(tmp_path)
    table = pd.read_parquet(folder / "table.parquet").assign(k=np.arange(N, dtype="f4") % 3)
    table.to_csv("table.csv", index=False)
    table.to_parquet("table.parquet")
    assert main(["prepare", "table.csv", "--out", "text", "--quiet"]) == 0
    run("text/table.h5", "text-map", "--onehot k")
    run("table.parquet", "parquet-map", "--onehot k")
    np.testing.assert_array_equal(open_run("text-map").embedding, open_run("parquet-map").embedding)
