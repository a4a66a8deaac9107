"""What is missing of files is counted, piece by piece."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tsne_ooc.io.missing import check_whole, of_hdf5_dataset, of_zarr_array


def test_missing_pieces_are_counted_and_refused_unless_it_is_allowed():
    check_whole("x", 0, 5, 0, allowed=False)
    check_whole("x", 5, 5, 0, allowed=True)
    for what in ({}, {"what": "sources"}):
        with pytest.raises(
            OSError, match=r"^1,234 of 5,678 (chunks|sources) of x are missing and would be read as -1: its"
        ) as told:
            check_whole("x", 1234, 5678, -1, allowed=False, **what)
        assert what.get("what", "chunks") in str(told.value)


def zarr_array(shape, chunks, store, path="", shards=None):
    return SimpleNamespace(shape=shape, chunks=chunks, shards=shards, store=store, path=path)


@pytest.mark.parametrize("path", ["", "a", "/a/b/"])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "names, missing",
    [
        ([], 6),
        (["0.0", "2.1"], 4),
        (["0/0", "1/1", "2/0"], 3),
        (["c/0/0", "c/2/1"], 4),
        (["c.0.1"], 5),
        # Beyond the grid, of other axes, and other files.
        (["0.2", "3.0", "0", "0.0.0", "zarr.json", ".zarray", "x/0/0", "c/c/0/0", "0.0.part"], 6),
        ([f"{i}.{j}" for i in range(3) for j in range(2)], 0),
        ([f"{i}.{j}" for i in range(3) for j in range(2)] + ["c/0/0"], 0),
    ],
)
def test_chunks_of_zarr_are_counted_by_their_names(tmp_path, path, zipped, names, missing):
    """Five rows in chunks of two, and three columns in chunks of two, or in shards of them."""
    inner = f"{path.strip('/')}/" if path else ""
    if zipped:
        store = SimpleNamespace(
            _zf=SimpleNamespace(namelist=lambda: [*(inner + name for name in names), "other/0.0", "b/0.0"])
        )
    else:
        folder = tmp_path / inner
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        store = SimpleNamespace(root=str(tmp_path))
    assert of_zarr_array(zarr_array((5, 3), (2, 2), store, path)) == (missing, 6)
    assert of_zarr_array(zarr_array((5, 3), (1, 1), store, path, shards=(2, 2))) == (missing, 6)


def test_chunks_of_other_stores_are_not_counted(tmp_path):
    assert of_zarr_array(zarr_array((5, 3), (2, 2), SimpleNamespace())) == (0, 6)
    assert of_zarr_array(zarr_array((4, 4), (2, 2), SimpleNamespace(root=str(tmp_path / "none")))) == (0, 4)
    assert of_zarr_array(zarr_array((0, 4), (2, 2), SimpleNamespace())) == (0, 0)


def hdf5_dataset(shape=(10, 3), chunks=None, there=0, bytes_=0, external=None, virtual=None):
    return SimpleNamespace(
        shape=shape, chunks=chunks, external=external, is_virtual=virtual is not None,
        virtual_sources=lambda: [SimpleNamespace(file_name=name, dset_name=part) for name, part in virtual],
        id=SimpleNamespace(get_num_chunks=lambda: there, get_storage_size=lambda: bytes_),
        file={"a": 1, "b": 2},
    )  # fmt: skip


@pytest.mark.parametrize(
    "dataset, found",
    [
        (hdf5_dataset(None), (0, 0, "chunks")),
        (hdf5_dataset((0, 3)), (0, 0, "chunks")),
        (hdf5_dataset((1, 3), chunks=(1, 3)), (1, 1, "chunks")),
        (hdf5_dataset(chunks=(4, 2)), (6, 6, "chunks")),
        (hdf5_dataset(chunks=(4, 2), there=4), (2, 6, "chunks")),
        (hdf5_dataset(chunks=(4, 2), there=6), (0, 6, "chunks")),
        (hdf5_dataset(chunks=(4, 2), there=7), (0, 6, "chunks")),
        (hdf5_dataset(), (1, 1, "pieces")),
        (hdf5_dataset(bytes_=1), (0, 1, "pieces")),
        (hdf5_dataset(external=["x"]), (0, 1, "pieces")),
        (hdf5_dataset(bytes_=1, external=["x"]), (0, 1, "pieces")),
        (hdf5_dataset(virtual=[(".", "a"), (".", "c"), (".", "b")]), (1, 3, "sources")),
        (hdf5_dataset(virtual=[("x%b.h5", "c")]), (0, 1, "sources")),
    ],
)
def test_pieces_of_hdf5_are_counted(dataset, found):
    assert of_hdf5_dataset(dataset) == found
