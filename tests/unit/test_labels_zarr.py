"""Labels that lie in Zarr: the same that lie in HDF5, and in a frame of pandas."""

from __future__ import annotations

import shutil
import warnings

import numpy as np
import pandas as pd
import pytest

from tsne_ooc.sampling import labels_of

zarr = pytest.importorskip("zarr")

COLUMNS = {
    "kind": pd.Categorical(["b", None, "a", "b"], categories=["b", "c", "a"]),
    "word": ["x", "y", "w", "z"],
    "number": [3, 1, 3, 2],
    "gap": pd.array([3, None, 3, 2], "Int64"),
    "text": pd.array(["x", None, "y", "z"], "string"),
}
MEANT = {
    "kind": ["b", None, "a", "b"], "word": ["x", "y", "w", "z"], "number": [3, 1, 3, 2], "gap": [3, None, 3, 2],
    "text": ["x", None, "y", "z"],
}  # fmt: skip


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    anndata = pytest.importorskip("anndata")
    path = tmp_path_factory.mktemp("cells") / "cells.zarr"
    with warnings.catch_warnings():
        # anndata tells of a change of its default format, and Zarr of its own strings.
        warnings.simplefilter("ignore")
        anndata.settings.allow_write_nullable_strings = True
        anndata.AnnData(np.zeros((4, 2)), obs=pd.DataFrame(COLUMNS, index=list("abcd"))).write_zarr(path)
    return path


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("place", ["", "obs/"])
@pytest.mark.parametrize("zipped", [False, True])
def test_columns_of_anndata(cells, tmp_path, name, place, zipped):
    path = cells
    if zipped:
        path = tmp_path / "cells.zarr.zip"
        shutil.make_archive(str(path.with_suffix("")), "zip", cells)
    found = labels_of(path, f"{place}{name}")
    assert found.tolist() == MEANT[name]
    if name == "kind":
        assert found.categories == ["b", "c", "a"]


@pytest.mark.parametrize("name, message", [
    ("kimd", r"no labels 'kimd'; did you mean 'kind'\? it has .*obs/kind"),
    (None, "name the labels to read; it has .*obs/gap"),
    ("X", r"'X' of .* has shape \(4, 2\); labels are one for each row"),
])  # fmt: skip
def test_labels_that_are_not_there(cells, name, message):
    with pytest.raises(ValueError, match=message):
        labels_of(cells, name)


@pytest.mark.parametrize("version", [2, 3])
def test_arrays(tmp_path, version):
    warnings.simplefilter("ignore")  # of what its third format has no words for yet
    group = zarr.open_group(tmp_path / "y.zarr", mode="w", zarr_format=version)
    group.create_array("inner/y", data=np.array([2, 1, 2]))
    group.create_array("words", data=np.array(["ü", "a", "ü"]))
    assert labels_of(tmp_path / "y.zarr", "inner/y").tolist() == [2, 1, 2]
    assert labels_of(tmp_path / "y.zarr", "/words").tolist() == ["ü", "a", "ü"]
    zarr.create_array(tmp_path / "alone.zarr", data=np.array([5, 6]), zarr_format=version)
    assert labels_of(tmp_path / "alone.zarr").tolist() == [5, 6]
    with pytest.raises(ValueError, match="holds a single array, so 'y' cannot choose one"):
        labels_of(tmp_path / "alone.zarr", "y")


def test_words_come_in_the_same_type_from_either_kind_of_file(cells, tmp_path):
    """Zarr's own type of strings is one that other code does not know."""
    import h5py

    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["word"] = np.array(COLUMNS["word"], dtype=h5py.string_dtype())
        file["number"] = np.array(COLUMNS["number"])
    for name in ("word", "number"):
        assert labels_of(cells, name).dtype == labels_of(tmp_path / "y.h5", name).dtype
    assert {type(word) for word in labels_of(cells, "word")} == {str}
