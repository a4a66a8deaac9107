"""Whatever is opened is closed again: after reading, and where a file turns out to be damaged."""

from __future__ import annotations

import gc
import os
import warnings
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from containers import ADAPTERS

from tsne_ooc.io import open_source

HERE = Path("/proc/self/fd")
pytestmark = pytest.mark.skipif(not HERE.is_dir(), reason="open files are listed by Linux")
# Those that a file on the disk makes, by its path.
FILES = [name for name, adapter in ADAPTERS.items() if adapter.on_disk]
X = np.random.default_rng(0).integers(1, 9, (103, 7))


def held(folder):
    found = []
    for link in HERE.iterdir():
        # The one that lists them is gone by now.
        if link.is_symlink() and str(folder) in os.readlink(link):
            found.append(os.readlink(link))
    return found


@contextmanager
def no_collection():
    """Files are closed, and not left to whoever collects what nobody knows any more."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def made(name, folder):
    adapter = ADAPTERS[name]
    if adapter.needs is not None:
        pytest.importorskip(adapter.needs)
    source = adapter.make(X.astype(adapter.dtype), folder)
    if not isinstance(source, Path):
        pytest.skip("open already, and its owner's to close")
    return source, adapter.dataset


@pytest.mark.parametrize("name", FILES)
def test_after_reading(name, tmp_path):
    path, dataset = made(name, tmp_path)
    with no_collection():
        before = held(tmp_path)
        with open_source(path, dataset=dataset) as source:
            source.read(3, 50)
            with source.reopen() as again:
                again.read(0, 9)
        assert held(tmp_path) == before == []


@pytest.mark.parametrize("name", FILES)
def test_of_a_dataset_that_is_not_there(name, tmp_path):
    path, _ = made(name, tmp_path)
    with no_collection():
        with pytest.raises((ValueError, OSError, TypeError)):
            open_source(path, dataset="nothing/of/this/name")
        assert held(tmp_path) == []


@pytest.mark.parametrize("name", FILES)
def test_of_a_damaged_file(name, tmp_path):
    """Cut short, it is refused, or read as far as it goes."""
    path, dataset = made(name, tmp_path)
    share = (0.3, 0.9, 0.0)[FILES.index(name) % 3]
    files = sorted(file for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    for file in files:
        os.truncate(file, int(share * file.stat().st_size))
    with warnings.catch_warnings(), no_collection():
        warnings.simplefilter("ignore")
        try:
            with open_source(path, dataset=dataset) as source:
                source.read(0, source.shape[0])
        except (ValueError, OSError, TypeError, MemoryError) as error:
            assert str(error)
        assert held(tmp_path) == []


def test_of_a_zip_file_that_holds_something_else(tmp_path):
    pytest.importorskip("zarr")
    with zipfile.ZipFile(tmp_path / "x.zarr.zip", "w") as file:
        file.writestr("notes.txt", "no table")
    with no_collection():
        with pytest.raises((ValueError, OSError)):
            open_source(tmp_path / "x.zarr.zip")
        assert held(tmp_path) == []


@pytest.mark.parametrize(
    "metadata", ["{}", "no JSON", '{"zarr_format": 3, "node_type": "array"}', '{"zarr_format": 9}']
)
@pytest.mark.parametrize("name", ["zarr.json", ".zarray", ".zgroup"])
def test_of_a_zip_file_whose_metadata_is_damaged(name, metadata, tmp_path):
    pytest.importorskip("zarr")
    with zipfile.ZipFile(tmp_path / "x.zarr.zip", "w") as file:
        file.writestr(name, metadata)
    with no_collection():
        with pytest.raises((ValueError, OSError)) as caught:
            open_source(tmp_path / "x.zarr.zip")
        # What the error holds is not let go by itself.
        assert caught.value and held(tmp_path) == []
