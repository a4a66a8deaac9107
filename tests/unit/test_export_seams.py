"""Exports beside each other, onto the table itself, and the order in which they come to the disk."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest

from tsne_ooc import TSNE, storage
from tsne_ooc.export import export, h5ad
from tsne_ooc.export.content import Content
from tsne_ooc.pipeline import embed
from tsne_ooc.storage.atomic import exchange, whole_file, whole_folder

X = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)


def write_hdf5(path):
    with h5py.File(path, "w") as file:
        file["X"] = X


def write_zarr(path):
    zarr = pytest.importorskip("zarr")
    zarr.open_group(str(path), mode="w").create_array("X", data=X)


def write_parquet(path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({f"c{j}": X[:, j] for j in range(4)}), path)


TABLES = {"x.h5": write_hdf5, "x.zarr": write_zarr, "x.parquet": write_parquet}


def contents(path):
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {str(file): file.read_bytes() for file in files if file.is_file()}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("way", ["straight", "link", "read by a link", "dots"])
def test_the_table_of_the_map_is_not_replaced_by_it(tmp_path, name, way):
    table = tmp_path / name
    TABLES[name](table)
    tsne = TSNE(perplexity=5, n_iter=2, early_exaggeration_iter=2, random_state=0)
    read = table
    if way == "read by a link":
        read = tmp_path / f"read{table.suffix}"
        read.symlink_to(table)
    embed(read, out=tmp_path / "map", sample=100, tsne=tsne)
    before = contents(table)
    to = table
    if way == "link":
        to = tmp_path / f"link{table.suffix}"
        to.symlink_to(table)
    elif way == "dots":
        to = tmp_path / "map" / ".." / name
    with pytest.raises(FileExistsError, match="is the table that the map was made from"):
        export(tmp_path / "map", to, overwrite=True)
    assert contents(table) == before
    # Another file of that kind is replaced as ever.
    other = tmp_path / f"other{table.suffix}"
    shutil.copytree(table, other) if table.is_dir() else shutil.copyfile(table, other)
    export(tmp_path / "map", other, overwrite=True)
    assert contents(other) != before and sorted(path.name for path in tmp_path.iterdir()) == sorted(
        {"map", name, other.name, to.name if way == "link" else name, read.name}
    )


TWO = """
    import os, sys, time
    from pathlib import Path
    from tsne_ooc.export import export

    real, home, key = os.fsync, Path(sys.argv[1]), sys.argv[2]

    def slow(handle):
        # A file of some GB on a slow disk: the other has all the time it needs.
        (home / "waits").touch()
        while not (home / "go").exists():
            time.sleep(0.01)
        real(handle)

    if key == "X_a":
        os.fsync = slow
    export(home / "map", home / "c.h5ad", dataset=key)
"""


def test_two_exports_into_one_file(tmp_path):
    """The second is told to wait, and no map is lost."""
    anndata = pytest.importorskip("anndata")
    anndata.AnnData(X).write_h5ad(tmp_path / "c.h5ad")
    tsne = TSNE(perplexity=5, n_iter=2, early_exaggeration_iter=2, random_state=0)
    embed(tmp_path / "c.h5ad", out=tmp_path / "map", sample=100, tsne=tsne)
    program = [sys.executable, "-c", textwrap.dedent(TWO), str(tmp_path)]
    first = subprocess.Popen([*program, "X_a"], stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "waits").exists():
        assert first.poll() is None, first.stderr.read()
    second = subprocess.run([*program, "X_b"], capture_output=True, text=True)
    assert second.returncode and f"c.h5ad is being written by another run (process {first.pid})" in second.stderr
    (tmp_path / "go").touch()
    assert first.wait(60) == 0
    first.stderr.close()
    export(tmp_path / "map", tmp_path / "c.h5ad", dataset="X_b")
    with h5py.File(tmp_path / "c.h5ad") as file:
        assert sorted(file["obsm"]) == ["X_a", "X_b"]


def test_a_file_that_changes_while_the_disk_is_waited_for(tmp_path, monkeypatch):
    """By somebody who knows of no lock."""
    anndata = pytest.importorskip("anndata")
    anndata.AnnData(X).write_h5ad(tmp_path / "c.h5ad")
    tsne = TSNE(perplexity=5, n_iter=2, early_exaggeration_iter=2, random_state=0)
    embed(tmp_path / "c.h5ad", out=tmp_path / "map", sample=100, tsne=tsne)
    real = os.fsync

    def fsync(handle):
        with h5py.File(tmp_path / "c.h5ad", "a") as file:
            file.require_group("uns").attrs["mine"] = "new"
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="was changed while it was copied; nothing was written"):
        export(tmp_path / "map", tmp_path / "c.h5ad")
    with h5py.File(tmp_path / "c.h5ad") as file:
        assert file["uns"].attrs["mine"] == "new" and "X_tsne" not in file["obsm"]


class Steps:
    """What is done to the disk, in order: "sync NAME", "name NAME", "remove NAME"."""

    def __init__(self, monkeypatch):
        self.steps = []
        for call in ("fsync", "replace", "rename", "unlink", "rmdir"):
            watched = self.watch(call, getattr(os, call))
            monkeypatch.setattr(os, call, watched)

    def watch(self, call, real):
        def watched(what, *arguments, **options):
            if call == "fsync":
                self.steps.append(("sync", os.path.realpath(f"/proc/self/fd/{what}")))
            elif call in ("replace", "rename"):
                self.steps.append(("name", str(what), str(arguments[0])))
            else:
                self.steps.append(("remove", str(what)))
            return real(what, *arguments, **options)

        return watched


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="names of open files are not told here")
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("writer", ["file", "folder", "model"])
def test_a_name_is_given_when_all_of_it_is_on_the_disk(tmp_path, monkeypatch, writer, there):
    """Every file and folder is synchronised before it has its name, the name after, and only then the old one goes."""
    path = tmp_path / "x"

    def write():
        if writer == "model":
            storage.write_folder(path, "model", {}, {"a": np.ones(3), "b": np.ones(3)}, overwrite=True)
        elif writer == "file":
            with whole_file(path) as temporary:
                temporary.write_text("new")
        else:
            with whole_folder(path, exchange) as temporary:
                (temporary / "c").mkdir()
                for name in ("zarr.json", "c/0", "c/1"):
                    (temporary / name).write_text("new")

    if there:
        write()
    with monkeypatch.context() as patch:
        seen = Steps(patch)
        write()
    steps = seen.steps
    names = [i for i, step in enumerate(steps) if step[0] == "name" and ".old" not in step[2]]
    last = names[-1]
    synced = {step[1] for step in steps[:last] if step[0] == "sync"}
    made = steps[last][1]
    if writer == "folder":
        wanted = {made, *(os.path.join(made, name) for name in ("zarr.json", "c", "c/0", "c/1"))}
        assert wanted <= synced
    elif writer == "file":
        assert made in synced
    else:
        assert len({one for one in synced if one.endswith(".npy")}) == 2
    # The name itself, before anything old is removed.
    parent = str(path if writer == "model" and there else tmp_path)
    after = steps[last + 1 :]
    assert after[0] == ("sync", parent) if writer != "file" or there else ("sync", parent) in after
    removed = [i for i, step in enumerate(after) if step[0] == "remove"]
    assert all(i > after.index(("sync", parent)) for i in removed)


def test_all_texts_of_a_manifest_are_looked_at():
    told = {"a": "one", "b": [{"path": "two"}, "three", 4], "c": {"d": {"e": "five"}}, "f": None}
    assert list(h5ad._texts(told)) == ["one", "two", "three", "five"]


@pytest.mark.parametrize("names", [[], ["novelty"], ["novelty", "recall", "singularity"]])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_the_room_of_a_row_is_that_of_its_numbers(names, axes):
    content = Content(np.zeros((5, axes), "f4"), {name: np.zeros(5, "f4") for name in names}, np.array([1, 3]), {})
    assert content.row_bytes == sum(
        int(np.prod(shape[1:], dtype=int)) * np.dtype(kind).itemsize for shape, kind in content.shapes().values()
    )
    assert content.names == [*(f"tsne{axis + 1}" for axis in range(axes)), *names, "sampled"]


def test_a_part_of_a_map_is_numbered_anew():
    rng = np.random.default_rng(0)
    Y, novelty = rng.normal(size=(20, 2)).astype("f4"), rng.random(20).astype("f4")
    sampled = np.array([0, 3, 7, 8, 19])
    whole = Content(Y, {"novelty": novelty}, sampled, {"a": 1})
    for start in range(0, 21, 3):
        for stop in range(start, 21, 4):
            part = whole.part(start, stop)
            assert part.n == stop - start and part.manifest == {"a": 1}
            blocks = list(part.blocks())
            assert [(a, b) for a, b, _ in blocks] == ([(0, part.n)] if part.n else [])
            for _, _, block in blocks:
                np.testing.assert_array_equal(block["embedding"], Y[start:stop])
                np.testing.assert_array_equal(block["novelty"], novelty[start:stop])
                np.testing.assert_array_equal(block["sampled"], np.isin(np.arange(start, stop), sampled))
                assert list(part.columns(block)) == ["tsne1", "tsne2", "novelty", "sampled"]


def test_the_file_that_a_map_goes_into(tmp_path, monkeypatch):
    """`like` may be the same file, however it is written; any other must not be replaced without a word."""
    from tsne_ooc.export.target import _base

    monkeypatch.chdir(tmp_path)
    for name in ("a.h5ad", "b.h5ad"):
        (tmp_path / name).write_bytes(b"")
    a, b = tmp_path / "a.h5ad", tmp_path / "b.h5ad"
    (tmp_path / "link.h5ad").symlink_to(a)
    for like in (a, Path("a.h5ad"), Path("link.h5ad"), None):
        assert _base(a, like, "X_tsne", False) == a.resolve() == _base(Path("a.h5ad"), like, "X_tsne", False)
    with pytest.raises(FileExistsError, match="exists already; leave out like, or pass overwrite=True"):
        _base(a, b, "X_tsne", False)
    assert _base(a, b, "X_tsne", True) == b.resolve() == _base(tmp_path / "new.h5ad", b, "X_tsne", False)
    for wrong in ("", "a/b", "/"):
        with pytest.raises(ValueError, match="is not a name within obsm, such as 'X_tsne'"):
            _base(a, None, wrong, True)
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.h5ad to copy"):
        _base(a, tmp_path / "none.h5ad", "X_tsne", True)
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.h5ad to add the map to; give like="):
        _base(tmp_path / "none.h5ad", None, "X_tsne", True)
    (tmp_path / "folder.h5ad").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder, not an AnnData file"):
        _base(tmp_path / "folder.h5ad", None, "X_tsne", True)
