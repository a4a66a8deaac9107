"""Texts that may be missing, as AnnData 0.13 writes all texts of pandas 3: a group of values and a mask.

Written here by hand, so that every installed version of anndata and pandas comes to it.
"""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from tsne_ooc import TSNE, embed
from tsne_ooc.export import export
from tsne_ooc.io import names_of, open_source
from tsne_ooc.sampling import labels_of

N = 12
TEXT = h5py.string_dtype()


def texts(group, name, values, mask=None):
    """A column of texts, some of them missing."""
    made = group.create_group(name)
    made.attrs.update({"encoding-type": "nullable-string-array", "encoding-version": "0.1.0", "na-value": "NaN"})
    made["values"] = np.array(values, TEXT)
    made["mask"] = np.zeros(len(values), bool) if mask is None else mask


def frame(group, name, n):
    made = group.create_group(name)
    made.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index"})
    made.attrs["column-order"] = np.array([], TEXT)
    texts(made, "_index", [f"{name.rpartition('/')[2]}{i}" for i in range(n)])
    return made


@pytest.fixture
def path(tmp_path):
    """Two columns of numbers in `X` and in a data frame; words and categories in `obs`."""
    X = np.random.default_rng(0).normal(size=(N, 2)).astype("f4")
    with h5py.File(tmp_path / "cells.h5ad", "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        file["X"] = X
        obs = frame(file, "obs", N)
        frame(file, "var", 2)
        held = frame(file, "obsm/held", N)
        held["a"], held["b"] = X[:, 0], X[:, 1]
        held.attrs["column-order"] = np.array(["a", "b"], TEXT)
        texts(obs, "word", ["x"] * (N - 1) + [""], np.arange(N) == N - 1)
        kind = obs.create_group("kind")
        kind.attrs.update({"encoding-type": "categorical", "encoding-version": "0.2.0", "ordered": False})
        kind["codes"] = np.r_[-1, np.arange(N - 1) % 2].astype("i1")
        texts(kind, "categories", ["odd", "even"])
        obs.attrs["column-order"] = np.array(["word", "kind"], TEXT)
    return tmp_path / "cells.h5ad"


def test_a_frame_is_read_and_its_rows_are_counted(path):
    with open_source(path, dataset="obsm/held") as source, h5py.File(path) as file:
        assert source.shape == (N, 2)
        np.testing.assert_array_equal(source.read(0, N), file["X"][:])
    with pytest.raises(ValueError, match=rf"obsm/held \({N}, 2\)"):
        open_source(path, dataset="obsm/helm")


def test_variables_keep_their_names(path):
    with open_source(path) as source:
        assert names_of(source) == ["var0", "var1"]


def test_labels_are_read(path):
    words, kinds = labels_of(path, "word"), labels_of(path, "kind")
    assert words.tolist() == ["x"] * (N - 1) + [None]
    assert kinds.tolist() == [None, *(["odd", "even"] * N)[: N - 1]]


def test_categories_within_a_frame(path):
    with h5py.File(path, "a") as file:
        file.copy("obs/kind", file["obsm/held"], "kind")
        file["obsm/held"].attrs["column-order"] = np.array(["a", "b", "kind"], TEXT)
    with open_source(path, dataset="obsm/held", columns=["kind"]) as source:
        assert source.read_columns(0, 3)["kind"].tolist() == [None, "odd", "even"]


def test_a_map_goes_into_the_file(path, tmp_path):
    tsne = TSNE(perplexity=2, n_iter=3, early_exaggeration_iter=3, random_state=0)
    run = embed(path, out=tmp_path / "map", tsne=tsne, sample=8)
    export(tmp_path / "map", path)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["obsm/X_tsne"][:], run.embedding)
