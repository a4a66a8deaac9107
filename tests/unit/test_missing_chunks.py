"""Parts of a stored table that are not there are counted, and never read as zeros without a word."""

import os
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from tsne_ooc import TSNE
from tsne_ooc.cli import main
from tsne_ooc.io import open_source
from tsne_ooc.pipeline import embed, place, train

X = np.random.default_rng(0).normal(5, 1, size=(100, 6)).astype(np.float32)


def zarr_of(path, **options):
    zarr = pytest.importorskip("zarr")
    return zarr.create_array(str(path), data=X, **{"chunks": (10, 6), **options})


def files_of(path):
    """The files of a Zarr array that are none of metadata, in the order of their names."""
    return sorted(
        file for file in path.rglob("*") if file.is_file() and file.name not in ("zarr.json", ".zarray", ".zattrs")
    )


def refused(path, text, **options):
    with pytest.raises(OSError, match=text) as caught:
        open_source(path, **options)
    assert "\n" not in str(caught.value) and "--allow-missing-chunks" in str(caught.value)
    return open_source(path, allow_missing_chunks=True, **options)


LAYOUTS = {
    "format 2": {"zarr_format": 2},
    "format 2, nested": {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}},
    "format 3": {"zarr_format": 3},
    "format 3, dots": {"zarr_format": 3, "chunk_key_encoding": {"name": "default", "separator": "."}},
    "format 3, as 2": {"zarr_format": 3, "chunk_key_encoding": {"name": "v2", "separator": "."}},
    "narrow": {"chunks": (10, 4)},
    "sharded": {"chunks": (5, 6), "shards": (10, 6)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("lost", [0, 1, 3, "all"])
def test_chunks_of_zarr(tmp_path, layout, lost):
    zarr_of(tmp_path / "x.zarr", **LAYOUTS[layout])
    files = files_of(tmp_path / "x.zarr")
    assert len(files) == (20 if layout == "narrow" else 10)
    # What else may lie there counts for nothing.
    (tmp_path / "x.zarr" / "notes.txt").write_text("mine")
    (tmp_path / "x.zarr" / "99.99").write_text("of a larger table")
    if not lost:
        np.testing.assert_array_equal(open_source(tmp_path / "x.zarr").read(0, 100), X)
        return
    lost = len(files) if lost == "all" else lost
    for file in files[:lost]:
        file.unlink()
    table = refused(tmp_path / "x.zarr", rf"{lost} of {len(files)} chunks of .*x\.zarr are missing .* read as 0\.0")
    again = pickle.loads(pickle.dumps(table)).read(0, 100)
    assert (again == 0).sum() == (table.reopen().read(0, 100) == 0).sum() >= 20 * lost


def test_chunks_of_a_zip_file(tmp_path):
    zarr_of(tmp_path / "x.zarr")
    files = sorted(file for file in (tmp_path / "x.zarr").rglob("*") if file.is_file())
    for name, some in (("whole.zip", files), ("half.zip", [file for file in files if file.parent.name != "7"])):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for file in some:
                archive.write(file, file.relative_to(tmp_path / "x.zarr"))
    np.testing.assert_array_equal(open_source(tmp_path / "whole.zip").read(0, 100), X)
    refused(tmp_path / "half.zip", "1 of 10 chunks").close()


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
def test_the_arrays_of_a_sparse_matrix(tmp_path):
    pytest.importorskip("zarr")
    anndata, sparse = pytest.importorskip("anndata"), pytest.importorskip("scipy.sparse")
    anndata.AnnData(sparse.csr_matrix(X * (X > 5))).write_zarr(tmp_path / "cells.zarr")
    open_source(tmp_path / "cells.zarr")
    (chunk, *_) = files_of(tmp_path / "cells.zarr" / "X" / "indices")
    chunk.unlink()
    refused(tmp_path / "cells.zarr", "1 of 1 chunks of array 'X/indices'")


def test_an_open_array(tmp_path):
    zarr = pytest.importorskip("zarr")
    zarr_of(tmp_path / "x.zarr")
    files_of(tmp_path / "x.zarr")[0].unlink()
    refused(zarr.open(str(tmp_path / "x.zarr"), mode="r"), "1 of 10 chunks")


@pytest.mark.parametrize("kind", ["f4", [("a", "f4"), ("b", "i2")]], ids=["table", "records"])
def test_a_file_of_hdf5_whose_writer_stopped(tmp_path, kind):
    shape = (100, 6) if kind == "f4" else (100,)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("half", shape, kind, chunks=(10, *shape[1:]))[:55] = np.ones((), kind)
        file.create_dataset("none", shape, kind)
        file.create_dataset("whole", data=np.ones(shape, kind), chunks=True)
    assert open_source(tmp_path / "x.h5", dataset="whole").shape[0] == 100
    refused(tmp_path / "x.h5", "4 of 10 chunks of dataset '/half' of .*x.h5 are missing", dataset="half").close()
    refused(tmp_path / "x.h5", "1 of 1 pieces of dataset '/none'", dataset="none").close()
    with h5py.File(tmp_path / "x.h5") as file:
        refused(file["half"], "4 of 10 chunks")


@pytest.mark.parametrize("lost", ["file", "dataset", None])
@pytest.mark.parametrize("how", ["relative", "absolute", "moved", "prefix", "link"])
def test_a_virtual_dataset_whose_sources_are_gone(tmp_path, monkeypatch, lost, how):
    home = tmp_path / "home"
    home.mkdir()
    layout = h5py.VirtualLayout((100, 6), "f4")
    for i in range(4):
        with h5py.File(home / f"part{i}.h5", "w") as file:
            file["X"] = X[25 * i : 25 * i + 25]
        name = f"part{i}.h5" if how in ("relative", "prefix", "link") else str(home / f"part{i}.h5")
        layout[25 * i : 25 * i + 25] = h5py.VirtualSource(name, "X", (25, 6))
    with h5py.File(home / "all.h5", "w") as file:
        file.create_virtual_dataset("V", layout, fillvalue=-1)
    if how == "moved":
        home = home.rename(tmp_path / "moved")
    if how == "prefix":
        (tmp_path / "else").mkdir()
        (home / "all.h5").rename(tmp_path / "else" / "all.h5")
        monkeypatch.setenv("HDF5_VDS_PREFIX", str(home))
    if how == "link":
        # HDF5 looks beside the file that a link leads to.
        (tmp_path / "else").mkdir()
        (tmp_path / "else" / "all.h5").symlink_to(home / "all.h5")
    table = tmp_path / "else" / "all.h5" if how in ("prefix", "link") else home / "all.h5"
    if lost == "file":
        (home / "part2.h5").unlink()
    elif lost == "dataset":
        with h5py.File(home / "part2.h5", "a") as file:
            del file["X"]
    if lost is None:
        with open_source(table) as source:
            np.testing.assert_array_equal(source.read(0, 100), X)
    else:
        with refused(table, "1 of 4 sources of dataset '/V' of .*all.h5 are missing and would be read as -1") as source:
            assert (source.read(50, 75) == -1).all() and (source.read(0, 50) == X[:50]).all()


def test_every_way_in(tmp_path, capsys):
    """Refused before anything is written, from Python and from the command line; and read where that is asked for."""
    zarr_of(tmp_path / "x.zarr")
    files_of(tmp_path / "x.zarr")[0].unlink()
    tsne = TSNE(perplexity=5, n_iter=5, early_exaggeration_iter=5, random_state=0)
    data, out = tmp_path / "x.zarr", tmp_path / "map"
    with pytest.raises(OSError, match="1 of 10 chunks"):
        embed(data, out=out, sample=50, tsne=tsne)
    assert main(["embed", str(data), "--out", str(out)]) == 2
    assert "--allow-missing-chunks" in capsys.readouterr().err and not out.exists()
    embed(data, out=out, sample=50, tsne=tsne, allow_missing_chunks=True)
    with pytest.raises(OSError, match="1 of 10 chunks"):
        place(out, data, out=tmp_path / "more")
    more = ["place", str(out), str(data), "--out", str(tmp_path / "more"), "--quiet"]
    assert main(more) == 2 and main([*more, "--allow-missing-chunks"]) == 0
    capsys.readouterr()
    if pytest.importorskip("torch"):
        with pytest.raises(OSError, match="1 of 10 chunks"):
            train(data, out=tmp_path / "encoder", tsne=tsne)
    assert not Path(tmp_path / "encoder").exists()


@pytest.mark.parametrize("what", ["array", "group"])
def test_a_zip_file_of_the_folder_itself(tmp_path, what):
    """And not of what is in it: x.zarr/zarr.json, as most programs pack a folder."""
    zarr = pytest.importorskip("zarr")
    if what == "array":
        zarr_of(tmp_path / "x.zarr")
    else:
        zarr.open_group(str(tmp_path / "x.zarr"), mode="w").create_array("deep/X", data=X, chunks=(10, 6))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("__MACOSX/x.zarr/._zarr.json", "")
        for file in sorted(file for file in tmp_path.rglob("*") if file.is_file() and file.suffix != ".zip"):
            archive.write(file, file.relative_to(tmp_path))
    for dataset in (None, *(["deep/X"] if what == "group" else [])):
        with open_source(tmp_path / "x.zip", dataset=dataset) as table:
            assert table.name == (None if what == "array" else "deep/X")
            for again in (table, table.reopen(), pickle.loads(pickle.dumps(table))):
                np.testing.assert_array_equal(again.read(0, 100), X)
                again.close()


@pytest.mark.parametrize("lost", [False, True])
def test_a_virtual_dataset_of_parts_in_its_own_file(tmp_path, lost):
    with h5py.File(tmp_path / "all.h5", "w") as file:
        layout = h5py.VirtualLayout((100, 6), "f4")
        for i, rows in enumerate((slice(0, 40), slice(40, 100))):
            file[f"parts/{i}"] = X[rows]
            layout[rows] = h5py.VirtualSource(file[f"parts/{i}"])
        file.create_virtual_dataset("V", layout, fillvalue=-1)
        if lost:
            del file["parts/1"]
    if lost:
        with refused(
            tmp_path / "all.h5", "1 of 2 sources of dataset '/V' of .*all.h5 are missing", dataset="V"
        ) as source:
            assert (source.read(40, 100) == -1).all() and (source.read(0, 40) == X[:40]).all()
    else:
        with open_source(tmp_path / "all.h5", dataset="V") as source:
            np.testing.assert_array_equal(source.read(0, 100), X)


def test_a_virtual_dataset_of_as_many_files_as_there_are(tmp_path):
    """Nothing says how many there should be, so that none is missing."""
    for i in range(3):
        with h5py.File(tmp_path / f"part{i}.h5", "w") as file:
            file["X"] = X[25 * i : 25 * i + 25]
    with h5py.File(tmp_path / "all.h5", "w") as file:
        space = h5py.h5s.create_simple((100, 6), (h5py.h5s.UNLIMITED, 6))
        space.select_hyperslab((0, 0), (h5py.h5s.UNLIMITED, 1), (25, 6), (25, 6))
        options = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        options.set_virtual(space, b"part%b.h5", b"X", h5py.h5s.create_simple((25, 6)))
        space = h5py.h5s.create_simple((100, 6), (h5py.h5s.UNLIMITED, 6))
        h5py.h5d.create(file.id, b"V", h5py.h5t.IEEE_F32LE, space, dcpl=options)
    with open_source(tmp_path / "all.h5", dataset="V") as source:
        np.testing.assert_array_equal(source.read(0, 75), X[:75])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have names on Unix")
def test_a_pipe_in_the_place_of_a_chunk_is_refused_before_anybody_waits_for_it(tmp_path):
    zarr_of(tmp_path / "x.zarr")
    chunk = files_of(tmp_path / "x.zarr")[4]
    chunk.unlink()
    os.mkfifo(chunk)
    for options in ({}, {"allow_missing_chunks": True}):
        with pytest.raises(OSError) as caught:
            open_source(tmp_path / "x.zarr", **options)
        assert str(caught.value) == f"{chunk} is a pipe, not a file; write what comes out of it to a file first"
