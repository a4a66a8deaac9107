"""A collection of annbatch is the table of its datasets, one after the other."""

from __future__ import annotations

import json
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from tsne_ooc import open_run
from tsne_ooc.cli import main
from tsne_ooc.io import identity_of, names_of, open_source
from tsne_ooc.io.collection import ENCODING, datasets_of
from tsne_ooc.sampling import labels_of

ad = pytest.importorskip("anndata")
zarr = pytest.importorskip("zarr")

P, SIZES = 6, (70, 60, 60, 5, 5, 5, 5, 5, 5, 5, 9)


def tables():
    rng = np.random.default_rng(0)
    return [rng.poisson(0.7, (n, P)).astype(np.float32) for n in SIZES]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Groups of datasets, dense and sparse: to write one takes two seconds."""
    kept = {}

    def of(sparse):
        if sparse not in kept:
            kept[sparse] = write(tmp_path_factory.mktemp("written") / "datasets.zarr", sparse=sparse)
        return kept[sparse]

    return of


@pytest.fixture
def collection(written):
    """The layout of annbatch 0.3: AnnData in Zarr 3, sharded, and a mark on the group around them."""

    def made(folder, *, sparse=True, consolidated=True):
        path = folder / "collection.zarr"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(written(sparse), path)
        if consolidated:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                zarr.consolidate_metadata(zarr.open_group(path).store)
        zarr.open_group(path).update_attributes({"encoding-type": ENCODING, "encoding-version": "0.1.0"})
        return path

    return made


def write(path, *, sparse):
    group = zarr.open_group(path, mode="w", zarr_format=3)
    words = np.array(["x", "y", "z"])
    for number, X in enumerate(tables()):
        made = ad.AnnData(
            sp.csr_matrix(X) if sparse else X,
            obs=pd.DataFrame({"kind": pd.Categorical(words[np.arange(len(X)) % 3])}).rename(f"{number}-{{}}".format),
            var=pd.DataFrame(index=[f"g{j}" for j in range(P)]),
            obsm={"X_pca": X[:, :2] + 1},
        )  # fmt: skip

        def sharded(write, store, name, elem, dataset_kwargs, *, iospec):
            if iospec.encoding_type in ("array", "csr_matrix") and (name == "X" or "obsm" in store.name):
                n = elem.nnz if iospec.encoding_type == "csr_matrix" else len(elem)
                wide = () if iospec.encoding_type == "csr_matrix" else elem.shape[1:]
                chunk = max(1, n // 4)
                dataset_kwargs = {**dataset_kwargs, "shards": (2 * chunk, *wide), "chunks": (chunk, *wide)}
            write(store, name, elem, dataset_kwargs=dataset_kwargs)

        with (
            warnings.catch_warnings(),
            ad.settings.override(zarr_write_format=3),
            zarr.config.set({"array.write_empty_chunks": True}),
        ):
            warnings.simplefilter("ignore")
            ad.experimental.write_dispatched(group, f"dataset_{number}", made, callback=sharded)
    return path


@pytest.mark.parametrize("consolidated", [True, False])
@pytest.mark.parametrize("sparse", [True, False])
def test_rows_follow_each_other_by_the_numbers_of_the_datasets(collection, sparse, consolidated, tmp_path):
    path = collection(tmp_path, sparse=sparse, consolidated=consolidated)
    X = np.concatenate(tables())
    with open_source(path) as source:
        assert source.read(0, len(X)).tobytes() == X.tobytes() and source.read(65, 75).tobytes() == X[65:75].tobytes()
        assert names_of(source) == [f"g{j}" for j in range(P)] and len(identity_of(source)["probes"]) == 64
        # dataset_10 comes behind dataset_9.
        assert [file["stop"] - file["start"] for file in source.rows_of_files()] == list(SIZES)
    with open_source(path, dataset="obsm/X_pca") as source:
        assert source.read(0, len(X)).tobytes() == (X[:, :2] + 1).tobytes()
    with open_source(path / "dataset_1") as source:
        assert source.read(0, 60).tobytes() == tables()[1].tobytes()
    np.testing.assert_array_equal(
        labels_of(path, "kind"), np.concatenate([np.array(["x", "y", "z"])[np.arange(n) % 3] for n in SIZES])
    )


def test_a_run_tells_its_datasets_and_is_coloured(collection, tmp_path):
    path = collection(tmp_path)
    line = f"embed {path} --log1p --sample 60 --perplexity 5 --seed 1 --out {tmp_path}/map --quiet --plot --color kind"
    assert main(line.split()) == 0
    run = open_run(tmp_path / "map")
    assert [file["path"] for file in run.manifest["files"]] == [str(path / f"dataset_{i}") for i in range(len(SIZES))]
    names = " ".join(file["path"] for file in run.manifest["files"])
    line = f"embed {names} --log1p --sample 60 --perplexity 5 --seed 1 --out {tmp_path}/same --quiet"
    assert main(line.split()) == 0
    np.testing.assert_array_equal(open_run(tmp_path / "same").embedding, run.embedding)


def test_a_dataset_that_is_missing_is_an_error(collection, tmp_path):
    path = collection(tmp_path, consolidated=False)
    shutil.rmtree(path / "dataset_3")
    with pytest.raises(OSError, match=r"lacks some of its datasets; it has dataset_0, .*copy it again"):
        open_source(path)
    path = collection(tmp_path)
    shutil.rmtree(path / "dataset_3")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*dataset_3"):
        open_source(path)
    empty = zarr.open_group(tmp_path / "empty.zarr", mode="w", zarr_format=3)
    empty.update_attributes({"encoding-type": ENCODING})
    with pytest.raises(OSError, match="it has none"):
        open_source(tmp_path / "empty.zarr")


def test_other_folders_are_no_collections(tmp_path):
    plain = zarr.open_group(tmp_path / "plain.zarr", mode="w", zarr_format=3)
    plain.create_array("dataset_0", data=np.ones((5, 3)))
    assert datasets_of(tmp_path / "plain.zarr") is None and datasets_of(tmp_path / "none.zarr") is None
    with open_source(tmp_path / "plain.zarr") as source:
        assert source.shape == (5, 3)
    (tmp_path / "plain.zarr" / "zarr.json").write_text("{")
    assert datasets_of(tmp_path / "plain.zarr") is None
    (tmp_path / "plain.zarr" / "zarr.json").write_text(json.dumps([1]))
    assert datasets_of(tmp_path / "plain.zarr") is None


def test_what_annbatch_itself_writes(tmp_path):
    annbatch = pytest.importorskip("annbatch", reason="it needs Python 3.12")
    X = tables()[0]
    made = ad.AnnData(sp.csr_matrix(X), var=pd.DataFrame(index=[f"g{j}" for j in range(P)]))
    made.write_h5ad(tmp_path / "cells.h5ad")
    whole = annbatch.DatasetCollection(str(tmp_path / "c.zarr"), mode="w")
    whole.add_adatas([str(tmp_path / "cells.h5ad")], dataset_size=40, shuffle_chunk_size=10)
    with open_source(tmp_path / "c.zarr") as source:
        found = source.read(0, len(X))
        assert len(source.files) > 1
    # They are in an order of chance.
    assert sorted(found.tolist()) == sorted(X.tolist())
