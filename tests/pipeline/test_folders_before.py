"""Folders that an earlier version of this package wrote are still read, and answer what they answered.

Those in `tests/folders` were written in November, before the code of folders moved; X.npy is the table, and beside each
folder lies what it answered then.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tsne_ooc import Multiscale, Placement, embed, load, open_run, place
from tsne_ooc.neighbors import Exact
from tsne_ooc.preprocess import PCA, Standardize

FOLDERS = Path(__file__).parents[1] / "folders"
X = np.load(FOLDERS / "X.npy")


def told(name):
    return np.load(FOLDERS / f"{name}.npy")


def test_a_model():
    model = load(FOLDERS / "model")
    np.testing.assert_allclose(model.transform(X), told("model"), atol=1e-3)
    assert repr(model.affinity) == repr(Multiscale([3, 6])) and model.neighbors == Exact()
    assert [phase.iterations for phase in model.schedule.phases] == [20, 30] and isinstance(model.placement, Placement)
    assert [type(step) for step in model.preparation_.steps] == [Standardize, PCA]


def test_what_is_saved_again_is_read_again(tmp_path):
    load(FOLDERS / "model").save(tmp_path / "again")
    np.testing.assert_array_equal(load(tmp_path / "again").transform(X), load(FOLDERS / "model").transform(X))
    old, new = (json.loads((home / "manifest.json").read_text()) for home in (FOLDERS / "model", tmp_path / "again"))
    assert old["content"]["parameters"] == new["content"]["parameters"]


def test_a_run(tmp_path):
    run = open_run(FOLDERS / "run")
    np.testing.assert_array_equal(run.embedding, told("run"))
    assert run.novelty.shape == (40,) and len(run.sample_rows) == 30
    placed = place(FOLDERS / "run", X, out=tmp_path / "placed")
    np.testing.assert_allclose(placed.embedding, told("run"), atol=1e-3)


def test_a_run_of_something_else_is_not_gone_on_with(tmp_path):
    home = shutil.copytree(FOLDERS / "run", tmp_path / "run")
    before = {path.name: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"holds the result of another run: .*; name a new folder"):
        embed(X, out=home, sample=20, resume=True)
    assert {path.name: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


def test_an_encoder():
    pytest.importorskip("torch", reason="encoders need the extra 'neural'").set_num_threads(1)
    from tsne_ooc.parametric import load as load_encoder

    encoder = load_encoder(FOLDERS / "encoder")
    np.testing.assert_allclose(encoder.transform(X), told("encoder"), atol=1e-3)
    assert encoder.teacher_.embedding_.shape == (40, 2)
