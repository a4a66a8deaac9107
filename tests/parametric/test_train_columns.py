"""An encoder that learns from a finished map reads the columns that the map was made of, without being told them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsne_ooc import TSNE, embed
from tsne_ooc.pipeline import train
from tsne_ooc.preprocess import OneHot, Preparation

pytest.importorskip("torch", reason="encoders need the extra 'neural'")
pytest.importorskip("pyarrow")


def test_words_among_the_columns(tmp_path):
    from tsne_ooc.parametric import ParametricTSNE

    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(120, 3)), columns=list("abc"))
    table = table.assign(proto=np.array(["tcp", "udp", "icmp"])[np.arange(120) % 3], note="not of the map")
    table.to_parquet(tmp_path / "flows.parquet")
    quick = TSNE(perplexity=8, early_exaggeration_iter=10, n_iter=10, random_state=0, n_jobs=1)
    prepare = Preparation([OneHot(["proto"])])
    flows, columns = tmp_path / "flows.parquet", ["proto", "c", "a"]
    embed(flows, columns=columns, out=tmp_path / "map", tsne=quick, prepare=prepare)
    few = {"n_iter": 5, "network": (16, 1), "landmarks": 0, "random_state": 0, "n_jobs": 1}
    found = train(flows, out=tmp_path / "encoder", encoder=ParametricTSNE(**few), map=tmp_path / "map")
    assert found.feature_names_in_.tolist() == columns
    said = train(flows, columns=columns, out=tmp_path / "said", encoder=ParametricTSNE(**few), map=tmp_path / "map")
    rows = table[columns]
    np.testing.assert_array_equal(found.transform(rows), said.transform(rows))
    assert np.ptp(found.transform(rows), axis=0).all()


def test_cells_that_are_filled_in_are_counted(tmp_path, capsys, monkeypatch):
    """And text that an encoder was trained on leads to its columns, as that of a map does."""
    from tsne_ooc.cli import main

    monkeypatch.chdir(tmp_path)
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(120, 3)), columns=list("abc"))
    table.loc[[4, 9], "a"] = None
    table.assign(proto=np.array(["tcp", "udp"])[np.arange(120) % 2]).to_csv("x.csv", index=False)
    table[["c", "b", "a"]].assign(proto="udp").to_csv("new.csv", index=False)
    assert main(["prepare", "x.csv", "--onehot", "proto", "--out", "x", "--quiet"]) == 0
    few = "--missing median --iterations 5 --network 16x1 --landmarks 0 --perplexity 5"
    assert main(f"train x/table.h5 --out encoder {few}".split()) == 0
    assert "filled in 2 cells of 1 column that had no value (--missing median)" in capsys.readouterr().out
    assert main(["prepare", "new.csv", "--like", "encoder", "--out", "new"]) == 0
    line = capsys.readouterr().out.rpartition("next: tsne-ooc ")[2].split()
    assert line == ["place", "encoder", "new/table.h5", "--out", "placed"]
    assert main([*line, "--quiet"]) == 0
