"""One file of each kind that people come with, to a map in colours, by the words of the README."""

from __future__ import annotations

import warnings
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from tsne_ooc import plot
from tsne_ooc.cli import main

for package in ("anndata", "pyarrow", "matplotlib"):
    pytest.importorskip(package)

N = 160
GROUP = np.random.default_rng(0).integers(0, 4, N)
X = (np.random.default_rng(1).normal(size=(4, 6))[GROUP] * 4 + np.random.default_rng(2).normal(size=(N, 6))).astype(
    "f4"
)
WORDS = np.array(["tcp", "udp", "icmp", "arp"])[GROUP]
FRAME = pd.DataFrame(X, columns=list("abcdef")).assign(kind=WORDS, when=pd.date_range("2020", periods=N))


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import anndata

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cells = anndata.AnnData(np.abs(X).round(), obs=pd.DataFrame({"kind": pd.Categorical(WORDS)}, index=FRAME.index))
        cells.obs_names = [f"cell{row}" for row in range(N)]
        cells.obsm["X_pca"] = X
        cells.write_h5ad("cells.h5ad")
    FRAME.to_parquet("flows.parquet")
    FRAME.assign(a=np.where(np.arange(N) == 3, np.nan, X[:, 0])).to_parquet("gaps.parquet")
    with h5py.File("digits.h5", "w") as file:
        file["features"], file["target"] = X, WORDS.astype("S6")
    np.save("vectors.npy", X)
    np.save("topics.npy", WORDS)
    FRAME.to_csv("table.csv", index=False)


@pytest.fixture
def drawn(monkeypatch):
    """What pictures are drawn of."""
    seen = []

    def scatter(Y, labels=None, **options):
        seen.append(labels)
        return real(Y, labels, **options)

    real = plot.scatter
    monkeypatch.setattr("tsne_ooc.plot.picture.scatter", scatter)
    return seen


@pytest.mark.parametrize(
    "line",
    [
        "cells.h5ad --dataset obsm/X_pca --color kind", "flows.parquet --color kind", "digits.h5 --color target",
        "vectors.npy --color topics.npy",
    ],
)  # fmt: skip
def test_a_map_in_colours(files, drawn, tmp_path, capsys, line):
    assert main(["embed", *line.split(), "--perplexity", "8", "--out", "map"]) == 0
    (labels,) = drawn
    assert [str(label) for label in labels] == WORDS.tolist()
    assert (tmp_path / "map" / "embedding.png").stat().st_size > 10_000
    assert "wrote map/embedding.png" in capsys.readouterr().out
    # The next steps that are told are of the same table.
    assert main(["info", "map"]) == 0
    assert ("--dataset obsm/X_pca --map map" in capsys.readouterr().out) == ("obsm" in line)


@pytest.mark.parametrize(
    "line, answer",
    [
        ("gaps.parquet --color kind", "column 'a' has no value (null) in row 3; fill in or leave out such rows"),
        ("table.csv --color kind", "write it as a table first: tsne-ooc prepare table.csv --out table-table"),
        ("vectors.npy --color topics", "--color topics: vectors.npy holds only rows; give a .npy file of"),
        ("vectors.npy --color vectrs.npy", "--color: there is no file vectrs.npy; did you mean 'vectors.npy'?"),
        ("flows.parquet --color knd", "did you mean 'kind'?"),
        ("cells.h5ad --color louvain", "it has obs/_index, obs/kind"),
    ],
)  # fmt: skip
def test_what_is_in_the_way_is_said_in_one_line(files, tmp_path, capsys, line, answer):
    assert main(["embed", *line.split(), "--out", "map"]) == 2
    said = capsys.readouterr().err
    assert answer in said and said.count("\n") == 1 and not (tmp_path / "map").exists()


def test_labels_of_other_rows(files, capsys):
    np.save("few.npy", WORDS[:9])
    assert main(["embed", "vectors.npy", "--color", "few.npy", "--out", "map"]) == 2
    assert "--color few.npy has 9 labels, and the table has 160 rows" in capsys.readouterr().err


def test_the_lines_for_text_make_a_map_in_colours(files, capsys):
    """Each line is the one that the command before told, with the names of the labels."""
    assert main(["look", "table.csv"]) == 2
    told = capsys.readouterr().err.rpartition("tsne-ooc prepare ")[2].split()
    assert main(["prepare", *told, "--labels", "kind"]) == 0
    told = capsys.readouterr().out.rpartition("next: tsne-ooc embed ")[2].split()
    assert main(["embed", *told, "--quiet"]) == 0
    assert told == ["table-table/table.h5", "--out", "map", "--color", "kind"]
    assert (Path("map") / "embedding.png").stat().st_size > 1000


def test_a_folder_of_tables_is_told_how_to_name_them(files, capsys):
    assert main(["prepare", "table.csv", "--split-rows", "100", "--out", "made"]) == 0
    told = capsys.readouterr().out.rpartition("next: tsne-ooc embed ")[2].split()
    assert told[0] == "'made/*.h5'"
    assert main(["embed", "made", "--out", "map"]) == 2
    assert "name them as 'made/*.h5'" in capsys.readouterr().err
    assert main(["embed", "made/*.h5", "--out", "map", "--quiet"]) == 0


def test_the_line_after_text_prepares_what_a_look_would_have_prepared(files, capsys):
    """Columns far apart are scaled, one that counts is named; values missing where no look meets them count, too."""
    n = 20_000
    rows = np.arange(n)
    table = pd.DataFrame({"row": rows, "small": np.sin(rows), "large": 1000 * np.cos(rows)})
    table.loc[n // 3 + 1, "small"] = np.nan
    table.to_csv("wide.csv", index=False)
    assert main(["prepare", "wide.csv", "--out", "made"]) == 0
    told = capsys.readouterr().out
    assert "row counts the rows" in told and "columns differ" in told and told.count("no value") == 1
    line = told.rpartition("next: tsne-ooc ")[2].split()
    assert line == ["embed", "made/table.h5", "--missing", "neighbors", "--standardize", "--out", "map"]
