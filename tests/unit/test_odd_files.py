"""Files that are whole and yet odd: types and filters that are not to be had, data frames, zips of folders."""

from __future__ import annotations

import json
import warnings
import zipfile

import h5py
import numpy as np
import pandas as pd
import pytest
import zarr

from tsne_ooc.io import open_source

anndata = pytest.importorskip("anndata")

X = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)


def read(*arguments, **options):
    with open_source(*arguments, **options) as table:
        return np.asarray(table.read(0, table.shape[0]))


@pytest.mark.parametrize("size", [(40,), (40, 3)])
@pytest.mark.parametrize("kind", ["time", "opaque", "bitfield", "vlen", "array", "reference"])
def test_a_dataset_of_an_odd_type_is_not_in_the_way(tmp_path, kind, size):
    kinds = {
        "time": h5py.h5t.UNIX_D32LE,
        "opaque": h5py.h5t.create(h5py.h5t.OPAQUE, 3),
        "bitfield": h5py.h5t.STD_B8LE,
        "vlen": h5py.h5t.vlen_create(h5py.h5t.IEEE_F32LE),
        "array": h5py.h5t.array_create(h5py.h5t.IEEE_F32LE, (2,)),
        "reference": h5py.h5t.STD_REF_OBJ,
    }
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file["X"] = X
        h5py.h5d.create(file.id, b"odd", kinds[kind], h5py.h5s.create_simple(size))
    assert np.array_equal(read(path, dataset="X"), X)
    with pytest.raises(ValueError, match=r"has no dataset 'x'; did you mean 'X'\?"):
        open_source(path, dataset="x")
    if kind != "bitfield" or len(size) == 1:
        assert np.array_equal(read(path), X)
        with pytest.raises((ValueError, OSError), match="odd"):
            read(path, dataset="odd")


def packed(path, code):
    """A dataset whose chunks are packed by a filter of this number."""
    with h5py.File(path, "w") as file:
        options = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        options.set_chunk((20, 4))
        options.set_filter(code, h5py.h5z.FLAG_OPTIONAL, (2, 2, 4, 800))
        made = h5py.h5d.create(
            file.id, b"X", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((40, 4)), dcpl=options
        )  # fmt: skip
        for i in range(2):
            made.write_direct_chunk((20 * i, 0), X[20 * i : 20 * i + 20].tobytes(), 0)


def test_a_filter_that_is_missing_is_named_before_anything_is_read(tmp_path):
    packed(tmp_path / "b.h5", 31999)
    with pytest.raises(OSError, match=r"'/X' of .*b\.h5 is packed by filter 31999, .* pip install hdf5plugin"):
        open_source(tmp_path / "b.h5")


def test_a_codec_that_is_missing_is_named(tmp_path):
    path = tmp_path / "x.zarr"
    zarr.create_array(path, data=X, chunks=(20, 4))
    content = json.loads((path / "zarr.json").read_text())
    content["codecs"][-1]["name"] = "jpegxl"
    (path / "zarr.json").write_text(json.dumps(content))
    with pytest.raises(OSError, match=r"x\.zarr is packed by a codec that is not installed \(.*jpegxl"):
        open_source(path)


def test_a_zip_of_the_folder_is_what_is_in_the_folder(tmp_path):
    zarr.create_array(tmp_path / "x.zarr", data=X, chunks=(20, 4))
    files = [file for file in sorted((tmp_path / "x.zarr").rglob("*")) if file.is_file()]
    for name, home in (("within.zip", tmp_path / "x.zarr"), ("around.zip", tmp_path)):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for file in files:
                archive.write(file, file.relative_to(home))
    for name in ("within.zip", "around.zip"):
        assert np.array_equal(read(tmp_path / name), X)


@pytest.fixture
def cells(tmp_path):
    names = [f"c{i}" for i in range(40)]
    frame = pd.DataFrame(
        {
            "u": X[:, 0],
            "word": ["a", "b"] * 20,
            "count": pd.array([None, *range(39)], "Int64"),
            "kind": pd.Categorical(["x", "y"] * 20),
            "whole": np.arange(40),
        },
        index=names,
    )
    made = anndata.AnnData(X.copy(), obs=pd.DataFrame({"depth": X[:, 1].astype(float)}, index=names))
    made.obsm["frame"] = frame
    made.obsm["words"] = frame[["word", "kind"]]
    with warnings.catch_warnings():
        # That the default format of Zarr is going to change.
        warnings.simplefilter("ignore")
        made.write_h5ad(tmp_path / "a.h5ad")
        made.write_zarr(tmp_path / "a.zarr")
    return tmp_path


@pytest.mark.parametrize("name", ["a.h5ad", "a.zarr"])
def test_data_frames_in_obsm(cells, name):
    with open_source(cells / name, dataset="obsm/frame") as table:
        assert table.column_names == ["u", "count", "whole"] and table.left_out == ["word", "kind"]
        with table.reopen() as again:
            for start, stop in ((0, 40), (7, 8), (39, 40), (5, 5)):
                wanted = np.stack([X[:, 0], np.append(np.nan, np.arange(39)), np.arange(40)], axis=1)[start:stop]
                np.testing.assert_array_equal(again.read(start, stop), wanted)
    assert np.array_equal(read(cells / name, dataset="obs")[:, 0], X[:, 1].astype(float))
    with pytest.raises(ValueError, match=r"obsm/words.*has no column of numbers; it has word, kind"):
        open_source(cells / name, dataset="obsm/words")


def test_an_anndata_without_x_does_not_offer_it(tmp_path):
    names = [f"c{i}" for i in range(40)]
    made = anndata.AnnData(obs=pd.DataFrame(index=names), obsm={"X_pca": X[:, :2]})
    with pytest.raises(ValueError, match=r"has no table 'X'; it has obsm/X_pca$"):
        open_source(made)


def test_a_part_that_is_a_link_to_itself(tmp_path):
    pd.DataFrame({"a": [1.0, 2], "b": [3.0, 4]}).to_parquet(tmp_path / "part-0.parquet")
    (tmp_path / "part-1.parquet").symlink_to("part-1.parquet")
    with pytest.raises(OSError, match=r"part-1\.parquet"):
        open_source(tmp_path)
