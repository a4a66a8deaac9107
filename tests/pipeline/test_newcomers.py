"""One file of each kind that people come with, to a map in colours, by the words of the README."""

from __future__ import annotations

import subprocess
import sys
import warnings

import h5py
import matplotlib.image as plt
import numpy as np
import pandas as pd
import pytest

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


@pytest.mark.parametrize(
    "line",
    [
        "cells.h5ad --dataset obsm/X_pca --color kind", "flows.parquet --color kind", "digits.h5 --color target",
        "vectors.npy --color topics.npy",
    ],
)  # fmt: skip
def test_a_map_in_colours(files, tmp_path, capsys, line):
    assert main(["embed", *line.split(), "--perplexity", "8", "--out", "map"]) == 0
    # Without colours there are greys alone, or one colour and its shades.
    picture = plt.imread(tmp_path / "map" / "embedding.png")[..., :3]
    strong = picture[np.ptp(picture, axis=2) > 0.3]
    assert len(np.unique(np.argmax(strong, axis=1))) == 3
    assert "wrote map/embedding.png" in capsys.readouterr().out
    # The next steps that are told are of the same table.
    assert main(["info", "map"]) == 0
    assert ("--dataset obsm/X_pca --map map" in capsys.readouterr().out) == ("obsm" in line)


@pytest.mark.parametrize(
    "line, answer",
    [
        ("gaps.parquet --color kind", "column 'a' has no value (null) in row 3; fill in or leave out such rows"),
        ("table.csv --color kind", "from pyarrow import csv, parquet; parquet.write_table(csv.read_csv(path), "),
        ("vectors.npy --color topics", "vectors.npy has shape (160, 6); labels are one for each row"),
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
    assert "few.npy has 9 rows, and the map 160" in capsys.readouterr().err


def test_the_line_for_text_makes_a_table_that_is_read(files, capsys):
    assert main(["look", "table.csv"]) == 2
    line = capsys.readouterr().err.rpartition("such as with pyarrow: ")[2].strip().replace("(path)", "('table.csv')")
    subprocess.run([sys.executable, "-c", line], check=True)
    assert main(["look", "table.parquet"]) == 0
    assert f"would be read: {N} rows of 6 columns" in capsys.readouterr().out
