"""A table that is written to while it is read: the run says what changed and keeps what was done before."""

import os
import shutil
import time
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from faults import sums

from tsne_ooc import TSNE, load, streaming
from tsne_ooc.io import open_source
from tsne_ooc.pipeline import embed, place
from tsne_ooc.storage.ledger import Ledger

ROWS = 900


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return ((rng.normal(size=(4, 6)) * 5)[rng.integers(0, 4, ROWS)] + rng.normal(size=(ROWS, 6))).astype(np.float32)


def write_npy(path, X):
    np.save(path, X)


def write_hdf5(path, X):
    with h5py.File(path, "w") as file:
        file.create_dataset("X", data=X, chunks=(100, 6))


def write_zarr(path, X):
    zarr = pytest.importorskip("zarr")
    shutil.rmtree(path, ignore_errors=True)
    zarr.create_array(str(path), data=X, chunks=(100, 6))


def write_parquet(path, X):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({f"c{j}": X[:, j] for j in range(6)}), path, row_group_size=100)


WRITERS = {"x.npy": write_npy, "x.h5": write_hdf5, "x.zarr": write_zarr, "x.parquet": write_parquet}


def put(path, write, X):
    """Another table takes its place, as a download does that is renamed when it is whole."""
    new = path.with_name(f"new{path.suffix}")
    write(new, X)
    gone(path)
    os.replace(new, path)


def another(path, write, X):
    put(path, write, X[::-1].copy())


def one_number(path, write, X):
    """One number is written over, in a row that nobody looks at."""
    new, Z = path.with_name(f"new{path.suffix}"), X.copy()
    Z[550, 3] += 1
    write(new, Z)
    shutil.copytree(new, path, dirs_exist_ok=True) if path.is_dir() else shutil.copyfile(new, path)


def shorter(path, write, X):
    put(path, write, X[:-100])


def gone(path, *_):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


CHANGES = {
    another: "contents of the rows looked at have changed",
    one_number: "its files were written to, though the rows looked at are the same|have changed|size of the file",
    shorter: r"shape was \[900, 6\], is \[800, 6\]|size of the file",
    gone: "cannot be read any more",
}


def when_placing(change, *arguments):
    """A progress that changes the table when the first rows are placed."""
    done = []

    def progress(phase, rows, total):
        if phase == "place" and rows and not done:
            done.append(True)
            time.sleep(0.02)
            change(*arguments)

    return progress


def options(path, out, X):
    tsne = TSNE(perplexity=5, n_iter=5, early_exaggeration_iter=5, random_state=0)
    return {"source": path, "out": out, "sample": 60, "tsne": tsne, "block_rows": 100}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_table_that_changes_while_it_is_placed(tmp_path, X, name, change):
    path, out, write = tmp_path / name, tmp_path / "map", WRITERS[name]
    write(path, X)
    with pytest.raises(OSError, match=f"changed while it was read: .*({CHANGES[change]})|could not be read") as caught:
        embed(**options(path, out, X), progress=when_placing(change, path, write, X))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.__notes__ == [f"what is done is kept in {out}; go on with resume=True (--resume)"]
    assert (out / "ledger.json").exists() and not (out / "manifest.json").exists()
    if change is not one_number:
        with pytest.raises((ValueError, OSError)):
            embed(**options(path, out, X), resume=True)
    put(path, write, X) if path.exists() else write(path, X)
    run = embed(**options(path, out, X), resume=True)
    assert sums(run.folder) == sums(embed(**options(path, tmp_path / "whole", X)).folder)


@pytest.mark.parametrize("name", WRITERS)
def test_it_is_noticed_in_every_stream(tmp_path, X, name):
    path, write = tmp_path / name, WRITERS[name]
    write(path, X)
    embed(**options(path, tmp_path / "map", X))
    with pytest.raises(OSError, match="changed while it was read"):
        place(
            tmp_path / "map", path, out=tmp_path / "more", block_rows=100,
            progress=when_placing(one_number, path, write, X),
        )  # fmt: skip
    put(path, write, X)
    model = load(tmp_path / "map" / "model")
    with open_source(path) as table, pytest.raises(OSError, match="changed while it was read"):
        model.transform_to(table, tmp_path / "Y.npy", progress=when_placing(one_number, path, write, X))
    assert (tmp_path / "Y.npy.ledger").exists() and not (tmp_path / "Y.npy").exists()


def test_what_was_done_before_the_last_look_is_kept(tmp_path, X, monkeypatch):
    """Blocks of 100 rows, a look after each, and the fourth fails."""
    monkeypatch.setattr(streaming, "CHECK_SECONDS", 0)
    # By a clock of its own: on a slow disk a look takes more than a hundredth of the time of a block.
    looks, clock = [], [0.0]
    monkeypatch.setattr(streaming, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def computed(start, rows):
        clock[0] += 1
        return {"Y": rows}

    def check():
        looks.append(True)
        if len(looks) == 4:
            raise OSError("it changed")

    ledger = Ledger(tmp_path / "ledger.json", {})
    with (
        pytest.raises(OSError, match="it changed"),
        streaming.Stream({"Y": (tmp_path / "Y.npy", (ROWS, 6))}, ledger, "place") as work,
    ):
        work.run(
            open_source(X), computed, rows=100, progress=streaming.silent, phase="place", check=check,
        )  # fmt: skip
    ledger = Ledger.read(tmp_path / "ledger.json")
    assert ledger.n_rows == 300
    with streaming.Stream({"Y": (tmp_path / "Y.npy", (ROWS, 6))}, ledger, "place") as work:
        work.run(open_source(X), lambda start, rows: {"Y": rows}, progress=streaming.silent, phase="place")
    np.testing.assert_array_equal(np.load(tmp_path / "Y.npy"), X)


def test_what_does_not_touch_the_table_is_no_change(tmp_path, X):
    """Other arrays of the same store, a file read by somebody, the run's own folder within the table's."""
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(tmp_path / "g"), mode="w")
    group.create_array("X", data=X, chunks=(100, 6))

    def more():
        group.create_array("Y", data=X[:50])
        open_source(tmp_path / "g", dataset="X").read(0, 900)

    given = {**options(tmp_path / "g", tmp_path / "g" / "X" / "map", X), "dataset": "X"}
    embed(**given, progress=when_placing(more))
    assert embed(**given, resume=True).embedding.shape == (ROWS, 2)


def test_a_handle_of_the_caller_may_be_written_to(tmp_path, X):
    """Who passes an open file may go on writing other things to it; the rows themselves are looked at."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("X", data=X, chunks=(100, 6))

        def more():
            file["notes"] = np.zeros(10_000)
            file.flush()

        def other():
            file["X"][...] = X[::-1]

        embed(**options(file["X"], tmp_path / "map", X), progress=when_placing(more))
        with pytest.raises(OSError, match="contents of the rows looked at have changed"):
            embed(**options(file["X"], tmp_path / "other", X), progress=when_placing(other))


def test_an_encoder_is_not_made_of_two_tables(tmp_path, X):
    pytest.importorskip("torch")
    from tsne_ooc.parametric import ParametricTSNE
    from tsne_ooc.pipeline import train

    path = tmp_path / "x.npy"
    write_npy(path, X)
    encoder = ParametricTSNE(n_iter=5, batch_size=100, network=(16, 2), random_state=0, n_jobs=1)
    changed = []

    def progress(phase, done, total):
        if phase == "teach" and not changed:
            changed.append(True)
            time.sleep(0.02)
            one_number(path, write_npy, X)

    tsne = TSNE(perplexity=5, n_iter=5, early_exaggeration_iter=5, random_state=0)
    with pytest.raises(OSError, match="changed while it was read"):
        train(path, out=tmp_path / "encoder", encoder=encoder, tsne=tsne, progress=progress)
    assert not (tmp_path / "encoder" / "manifest.json").exists() and (tmp_path / "encoder" / "ledger.json").exists()


# ------------------------------------------------------------------------------------------- cut short while read


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "i2", "?"])
def test_a_npy_file_gives_the_rows_that_a_map_of_it_gives(tmp_path, order, dtype):
    X = np.random.default_rng(0).integers(0, 2, (57, 5)).astype(dtype, order=order)
    np.save(tmp_path / "x.npy", X)
    table, mapped = open_source(tmp_path / "x.npy"), np.load(tmp_path / "x.npy", mmap_mode="r")
    for start, stop in [(0, 57), (0, 0), (56, 57), (3, 30)]:
        rows = table.read(start, stop)
        assert rows.dtype == mapped.dtype
        np.testing.assert_array_equal(rows, mapped[start:stop])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("mapped", [False, True], ids=["path", "map"])
def test_a_npy_file_that_is_cut_short_while_it_is_read(tmp_path, order, mapped):
    """Touching a map beyond the end of its file ends the process; an error is wanted."""
    X = np.random.default_rng(0).normal(size=(60_000, 4)).astype("f4", order=order)
    np.save(tmp_path / "x.npy", X)
    table = open_source(np.load(tmp_path / "x.npy", mmap_mode="r") if mapped else tmp_path / "x.npy")
    os.truncate(tmp_path / "x.npy", X.nbytes // 2)
    with pytest.raises(OSError, match=r"shorter than when it was opened|x\.npy was cut short since it was mapped"):
        table.read(50_000, 60_000)


def test_a_map_of_a_file_that_was_removed_is_read_on(tmp_path, X):
    np.save(tmp_path / "x.npy", X)
    table = open_source(np.load(tmp_path / "x.npy", mmap_mode="r"))
    (tmp_path / "x.npy").unlink()
    np.testing.assert_array_equal(table.read(0, ROWS), X)
