"""What each option of `export` promises, in every format: the lists are its signature and its formats.

What is read back, by each format's own library, is compared with the arrays that the run wrote.
"""

from __future__ import annotations

import inspect
import json

import h5py
import numpy as np
import pytest
from test_export import read

import tsne_ooc
from tsne_ooc import TSNE
from tsne_ooc.export import FORMATS, export
from tsne_ooc.export import content as content_module

N = 90
FEW = {"perplexity": 6, "early_exaggeration_iter": 4, "n_iter": 6, "random_state": 0}
PACKAGES = {".zarr": "zarr", ".parquet": "pyarrow"}


def rows(seed):
    return np.random.default_rng(seed).normal(size=(N, 4)).astype(np.float32)


def cells(path, n=N, **more):
    """An AnnData file of today's layout, with an array of one's own in obsm."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        obs = file.create_group("obs")
        obs.attrs.update({"_index": "_index", "encoding-type": "dataframe", "encoding-version": "0.2.0"})
        obs.attrs["column-order"] = np.array([], h5py.string_dtype())
        obs["_index"] = [f"cell{i}" for i in range(n)]
        file["obsm/X_own"] = np.arange(2.0 * n).reshape(n, 2)
        for name, value in more.items():
            file[name] = value
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """By name: a map with novelty of a sample; one of three axes and all rows; one of an estimator that tells none."""
    home = tmp_path_factory.mktemp("runs")
    before, content_module.ROWS = content_module.ROWS, 16
    tsne_ooc.embed(rows(0), out=home / "sampled", sample=60, tsne=TSNE(**FEW))
    tsne_ooc.embed(rows(1), out=home / "space", tsne=TSNE(**FEW, n_components=3))
    tsne_ooc.place(home / "sampled", rows(2), out=home / "placed", novelty=False)
    yield home
    content_module.ROWS = before


def told(folder):
    """What a run wrote, as its files have it."""
    arrays = {file.stem: np.load(file) for file in folder.glob("*.npy")}
    fitted = arrays.get("sample_rows", np.empty(0, int))
    manifest = json.loads((folder / "manifest.json").read_text())["content"]
    return arrays["embedding"], arrays.get("novelty"), np.isin(np.arange(N), fitted), manifest


def exported(folder, path, **options):
    if package := PACKAGES.get(path.suffix):
        pytest.importorskip(package)
    if path.suffix == ".h5ad":
        if not path.exists() and "like" not in options:
            cells(path)
        with pytest.warns(UserWarning, match="its rows are taken to be those of"):
            return export(folder, path, **options)
    return export(folder, path, **options)


def found(path, dataset="X_tsne"):
    """Embedding, novelty, sampled and manifest; None for what the format does not hold."""
    if path.suffix != ".h5ad":
        return read(path)
    with h5py.File(path) as file:
        novelty = file["obs"].get(f"{dataset.removeprefix('X_')}_novelty")
        return file["obsm"][dataset][:], None if novelty is None else novelty[:], None, None


def compare(path, folder, **options):
    for one, two in zip(found(path, **options), told(folder), strict=True):
        if isinstance(two, dict):
            assert one is None or one == two
        elif two is None:
            assert one is None
        elif one is not None:
            np.testing.assert_array_equal(one, two)


def of_folder(runs, home, suffix):
    for name in ("sampled", "space", "placed"):
        compare(exported(runs / name, home / f"{name}{suffix}"), runs / name)
    # These differ in all that is compared.
    assert told(runs / "placed")[1] is None and told(runs / "space")[0].shape[1] == 3
    assert 0 == told(runs / "placed")[2].sum() < told(runs / "sampled")[2].sum() == 60 < told(runs / "space")[2].sum()


def of_to(runs, home, suffix):
    (home / "inner").mkdir()
    path = home / "inner" / f"a name{suffix}"
    assert exported(runs / "sampled", path) == path and path.exists()
    assert [file.name for file in (home / "inner").iterdir()] == [path.name]
    compare(path, runs / "sampled")


def of_like(runs, home, suffix):
    path = home / f"map{suffix}"
    if suffix != ".h5ad":
        with pytest.raises(TypeError, match=r"like and dataset are for \.h5ad files"):
            export(runs / "sampled", path, like=home / "cells.h5ad")
        return
    base = cells(home / "cells.h5ad", own=[1, 2, 3])
    before = base.read_bytes()
    exported(runs / "sampled", path, like=base)
    compare(path, runs / "sampled")
    with h5py.File(path) as file:
        assert file["own"][:].tolist() == [1, 2, 3] and list(file["obsm"]) == ["X_own", "X_tsne"]
    assert base.read_bytes() == before


def of_dataset(runs, home, suffix):
    path = home / f"map{suffix}"
    if suffix != ".h5ad":
        with pytest.raises(TypeError, match=r"like and dataset are for \.h5ad files"):
            export(runs / "sampled", path, dataset="X_mine")
        return
    exported(runs / "sampled", path, dataset="X_mine")
    exported(runs / "space", path, dataset="other")
    compare(path, runs / "sampled", dataset="X_mine")
    compare(path, runs / "space", dataset="other")
    with h5py.File(path) as file:
        assert sorted(file["obsm"]) == ["X_mine", "X_own", "other"]
        assert list(file["obs"].attrs["column-order"]) == ["mine_novelty", "other_novelty"]


def of_overwrite(runs, home, suffix):
    path = exported(runs / "sampled", home / f"map{suffix}")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export(runs / "space", path)
    compare(path, runs / "sampled")
    exported(runs / "space", path, overwrite=True)
    compare(path, runs / "space")
    # Of the one before nothing is left, a novelty that this run does not have neither.
    exported(runs / "placed", path, overwrite=True)
    compare(path, runs / "placed")


RULES = {"folder": of_folder, "to": of_to, "like": of_like, "dataset": of_dataset, "overwrite": of_overwrite}


def test_no_option_is_left_out():
    assert set(RULES) == set(inspect.signature(export).parameters)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("option", RULES)
def test_each_option_in_each_format(runs, tmp_path, option, suffix):
    RULES[option](runs, tmp_path, suffix)
