"""Maps in other formats hold what the run holds, and a file is whole, absent, or what it was."""

import builtins
import json
import os
import shutil
import signal
import subprocess
import sys
import warnings

import h5py
import numpy as np
import pytest

from tsne_ooc import pipeline, storage
from tsne_ooc.export import content as content_module
from tsne_ooc.export import export, h5ad
from tsne_ooc.export import target as target_module
from tsne_ooc.storage import disk

N = 500


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(content_module, "ROWS", 64)


def write_run(folder, n=N, axes=2, source="nothing"):
    """The folder of a finished run."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    embedding = rng.normal(size=(n, axes)).astype(np.float32)
    rows = np.sort(rng.choice(n, n // 5, replace=False))
    np.save(folder / "embedding.npy", embedding)
    np.save(folder / "sample_rows.npy", rows)
    files = {"embedding": "embedding.npy", "sample_rows": "sample_rows.npy"}
    storage.seal(folder, "map", {"source": source, "n_samples": n}, files)
    return embedding, np.isin(np.arange(n), rows)


@pytest.fixture
def novelty(monkeypatch):
    """Runs that know how new each row is."""
    values = np.random.default_rng(1).exponential(size=N).astype(np.float32)
    monkeypatch.setattr(pipeline.Run, "novelty", property(lambda run: values), raising=False)
    return values


def read(path):
    """Embedding, novelty or None, sampled, and the manifest, by each format's own library."""
    if path.suffix in (".h5", ".hdf5"):
        with h5py.File(path) as file:
            novelty = file["novelty"][:] if "novelty" in file else None
            return file["embedding"][:], novelty, file["sampled"][:], json.loads(file.attrs["manifest"])
    if path.suffix == ".zarr":
        zarr = pytest.importorskip("zarr")
        group = zarr.open_group(path, mode="r")
        novelty = group["novelty"][:] if "novelty" in group else None
        return group["embedding"][:], novelty, group["sampled"][:], json.loads(group.attrs["manifest"])
    import pandas as pd

    if path.suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        table = parquet.read_table(path)
        manifest = json.loads(table.schema.metadata[b"manifest"])
        frame = table.to_pandas()
    else:
        frame, manifest = pd.read_csv(path, dtype=np.float32), None
    axes = [name for name in frame.columns if name.startswith("tsne")]
    novelty = frame["novelty"].to_numpy() if "novelty" in frame else None
    return frame[axes].to_numpy(), novelty, frame["sampled"].to_numpy().astype(bool), manifest


@pytest.mark.parametrize("suffix", [".h5", ".hdf5", ".zarr", ".parquet", ".csv", ".CSV"])
@pytest.mark.parametrize("axes", [1, 3])
def test_tables_hold_the_map(tmp_path, suffix, axes, novelty):
    embedding, sampled = write_run(tmp_path / "run", axes=axes)
    to = export(tmp_path / "run", tmp_path / f"map{suffix}")
    assert to == tmp_path / f"map{suffix}"
    found = read(to.rename(to.with_suffix(suffix.lower())))
    np.testing.assert_array_equal(found[0], embedding)
    np.testing.assert_array_equal(found[1], novelty)
    np.testing.assert_array_equal(found[2], sampled)
    assert suffix.lower() == ".csv" or found[3]["n_samples"] == N
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"map{suffix.lower()}", "run"]


@pytest.mark.parametrize("suffix", ["h5", "zarr", "parquet", "csv"])
def test_a_map_of_no_rows_has_its_columns(tmp_path, suffix):
    write_run(tmp_path / "map", n=0)
    export(tmp_path / "map", path := tmp_path / f"map.{suffix}")
    if suffix == "csv":
        assert path.read_text() == "tsne1,tsne2,sampled\n"
    else:
        embedding, found, sampled, _ = read(path)
        assert embedding.shape == (0, 2) and found is None and len(sampled) == 0


def test_runs_without_novelty(tmp_path):
    embedding, _ = write_run(tmp_path / "run")
    for suffix in (".h5", ".zarr", ".parquet", ".csv"):
        found = read(export(tmp_path / "run", tmp_path / f"map{suffix}"))
        np.testing.assert_array_equal(found[0], embedding)
        assert found[1] is None


@pytest.mark.parametrize("suffix", [".h5", ".zarr", ".parquet", ".csv"])
def test_what_is_there_stays_or_is_replaced_whole(tmp_path, suffix, monkeypatch):
    write_run(tmp_path / "old", n=100)
    embedding, _ = write_run(tmp_path / "new", n=300, axes=3)
    to = export(tmp_path / "old", tmp_path / f"map{suffix}")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export(tmp_path / "new", to)
    assert len(read(to)[0]) == 100

    def break_off(self):
        yield from list(blocks(self))[:2]
        raise KeyboardInterrupt

    blocks = content_module.Content.blocks
    monkeypatch.setattr(content_module.Content, "blocks", break_off)
    with pytest.raises(KeyboardInterrupt):
        export(tmp_path / "new", to, overwrite=True)
    with pytest.raises(KeyboardInterrupt):
        export(tmp_path / "new", tmp_path / f"other{suffix}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"map{suffix}", "new", "old"]
    assert len(read(to)[0]) == 100
    monkeypatch.setattr(content_module.Content, "blocks", blocks)
    os.chmod(to, 0o750 if to.is_dir() else 0o640)
    export(tmp_path / "new", to, overwrite=True)
    np.testing.assert_array_equal(read(to)[0], embedding)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"map{suffix}", "new", "old"]
    if to.is_file():
        assert to.stat().st_mode & 0o777 == 0o640


def test_a_folder_of_other_things_is_not_replaced(tmp_path):
    write_run(tmp_path / "run")
    for name in ("map.zarr", "map.h5"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("years of work")
        with pytest.raises(OSError, match="name a"):
            export(tmp_path / "run", tmp_path / name, overwrite=True)
        assert (tmp_path / name / "thesis.txt").exists()


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("kind", ["group", "array"])
def test_what_zarr_wrote_is_replaced(tmp_path, version, kind):
    zarr = pytest.importorskip("zarr")
    embedding, _ = write_run(tmp_path / "run")
    if kind == "group":
        zarr.open_group(str(tmp_path / "map.zarr"), mode="w", zarr_format=version)
    else:
        zarr.create_array(str(tmp_path / "map.zarr"), shape=(3,), dtype="f4", zarr_format=version)
    export(tmp_path / "run", tmp_path / "map.zarr", overwrite=True)
    np.testing.assert_array_equal(read(tmp_path / "map.zarr")[0], embedding)


def test_none_of_many_tables_is_replaced_by_their_map(tmp_path):
    write_run(tmp_path / "run")
    files = [tmp_path / f"plate{number}.h5" for number in range(3)]
    for path in files:
        path.write_bytes(b"a table")
    (tmp_path / "run" / "manifest.json").unlink()
    told = [{"path": str(path), "start": 0, "stop": 1} for path in files]
    names = {"embedding": "embedding.npy", "sample_rows": "sample_rows.npy"}
    storage.seal(tmp_path / "run", "map", {"source": "files", "n_samples": N, "files": told}, names)
    for path in files:
        with pytest.raises(FileExistsError, match="is the table that the map was made from, or holds it"):
            export(tmp_path / "run", path, overwrite=True)
        assert path.read_bytes() == b"a table"
    (tmp_path / "other.h5").write_bytes(b"another table")
    export(tmp_path / "run", tmp_path / "other.h5", overwrite=True)


def test_wrong_requests(tmp_path, monkeypatch):
    write_run(tmp_path / "run")
    with pytest.raises(ValueError, match=r"map\.hdf'.*did you mean '\*\.hdf5'.*\*\.zarr"):
        export(tmp_path / "run", tmp_path / "map.hdf")
    with pytest.raises(ValueError, match=r"\*\.h5ad"):
        export(tmp_path / "run", tmp_path / "map")
    with pytest.raises(FileNotFoundError, match="no folder"):
        export(tmp_path / "run", tmp_path / "nowhere" / "map.h5")
    with pytest.raises(FileNotFoundError, match="is not the folder of a run"):
        export(tmp_path, tmp_path / "map.h5")
    with pytest.raises(TypeError, match=r"\.h5ad"):
        export(tmp_path / "run", tmp_path / "map.h5", like=tmp_path / "cells.h5ad")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    for suffix in (".h5", ".zarr", ".parquet", ".csv"):
        with pytest.raises(OSError, match="GB left"):
            export(tmp_path / "run", tmp_path / f"map{suffix}")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("suffix", [".csv", ".h5", ".parquet", ".h5ad"])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_there_is_room_for_what_is_written(tmp_path, monkeypatch, suffix, axes):
    """Asked for beforehand: as much as the file takes that has the longest numbers, and no multiple of it."""
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    n, asked = 30_000, []
    monkeypatch.setattr(content_module, "ROWS", 8192)
    for module in (target_module, h5ad):
        monkeypatch.setattr(module, "check_room", lambda path, size: asked.append(size))
        monkeypatch.setattr(module, "_SLACK", 0)
    longest = -np.random.default_rng(1).uniform(1.1e-5, 9.9e-5, (n, axes + 1)).astype(np.float32)
    monkeypatch.setattr(pipeline.Run, "novelty", property(lambda run: longest[:, axes]))
    write_run(tmp_path / "run", n, axes)
    np.save(tmp_path / "run" / "embedding.npy", longest[:, :axes])
    files = {"embedding": "embedding.npy", "sample_rows": "sample_rows.npy"}
    storage.seal(tmp_path / "run", "map", {"source": "nothing", "n_samples": n}, files)
    before = 0
    if suffix == ".h5ad":
        with h5py.File(tmp_path / f"map{suffix}", "w") as file:
            file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
            for name in ("obs", "var"):
                group = file.create_group(name)
                group.attrs.update({"encoding-type": "dataframe", "_index": "_index", "column-order": []})
                group["_index"] = [str(i) for i in range(n if name == "obs" else 3)]
            file["X"] = np.zeros((n, 3), np.float32)
            file.create_group("obsm")
        before = (tmp_path / f"map{suffix}").stat().st_size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        size = export(tmp_path / "run", tmp_path / f"map{suffix}").stat().st_size
    head = 20_000
    assert size - before > 30_000 * 4 * axes and len(asked) == 1
    assert size - head <= asked[0] <= 1.5 * size


@pytest.mark.parametrize("package, suffix", [("zarr", ".zarr"), ("pyarrow", ".parquet")])
def test_a_missing_package_is_named(tmp_path, monkeypatch, package, suffix):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.split(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)

    import importlib

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(ModuleNotFoundError, match=rf"pip install '{package}>="):
        export("nothing", tmp_path / f"map{suffix}")


def walk(file):
    """All groups and datasets of an HDF5 file, with their attributes and contents."""
    found = {"/": {name: np.asarray(value).tolist() for name, value in file.attrs.items()}}

    def visit(name, item):
        attributes = {key: np.asarray(value).tolist() for key, value in item.attrs.items()}
        if isinstance(item, h5py.Dataset):
            values = np.asarray(item[()])
            contents = values.tolist() if values.dtype == object else values.tobytes()
            found[name] = (attributes, str(item.dtype), item.shape, contents)
        else:
            found[name] = attributes

    file.visititems(visit)
    return found


class TestH5ad:
    @pytest.fixture
    def cells(self, tmp_path):
        """An AnnData file with something of everything."""
        anndata = pytest.importorskip("anndata")
        import pandas as pd
        import scipy.sparse

        rng = np.random.default_rng(0)
        obs = pd.DataFrame(
            {"kind": pd.Categorical(rng.choice(["a", "b"], N)), "depth": rng.integers(0, 9, N)},
            index=[f"cell{i}" for i in rng.permutation(N)],
        )
        data = anndata.AnnData(
            scipy.sparse.random(N, 20, 0.2, "csr", random_state=0, dtype=np.float32),
            obs=obs,
            obsm={"X_pca": rng.normal(size=(N, 3))},
            uns={"about": {"title": "cells"}, "colours": np.array(["red", "blue"])},
            layers={"raw": rng.poisson(1, (N, 20))},
        )
        data.write_h5ad(tmp_path / "cells.h5ad")
        write_run(tmp_path / "run", source=f"dataset '/X' of {(tmp_path / 'cells.h5ad').resolve()}, shape ({N}, 20)")
        return tmp_path / "cells.h5ad"

    def test_the_map_is_added_and_nothing_else_changes(self, cells, tmp_path, novelty):
        import anndata

        with h5py.File(cells) as file:
            before = walk(file)
        os.chmod(cells, 0o640)
        assert export(tmp_path / "run", cells) == cells
        assert sorted(path.name for path in tmp_path.iterdir()) == ["cells.h5ad", "run"]
        assert cells.stat().st_mode & 0o777 == 0o640
        with h5py.File(cells) as file:
            after = walk(file)
        array = {"encoding-type": "array", "encoding-version": "0.2.0"}
        embedding = np.load(tmp_path / "run" / "embedding.npy")
        assert after.pop("obsm/X_tsne") == (array, "float32", (N, 2), embedding.tobytes())
        assert after.pop("obs/tsne_novelty") == (array, "float32", (N,), novelty.tobytes())
        assert after["obs"].pop("column-order") == [*before["obs"].pop("column-order"), "tsne_novelty"]
        assert after == before
        data = anndata.read_h5ad(cells)
        assert list(data.obs.columns) == ["kind", "depth", "tsne_novelty"]
        np.testing.assert_array_equal(data.obs["tsne_novelty"].to_numpy(), novelty)
        np.testing.assert_array_equal(data.obsm["X_tsne"], embedding)

    def test_a_map_that_is_there_needs_overwrite(self, cells, tmp_path, novelty):
        import anndata

        export(tmp_path / "run", cells)
        with pytest.raises(FileExistsError, match=r"obsm\['X_tsne'\] and obs\['tsne_novelty'\].*overwrite=True"):
            export(tmp_path / "run", cells)
        export(tmp_path / "run", cells, dataset="X_other")
        write_run(tmp_path / "new", axes=3, source=str(cells.resolve()))
        export(tmp_path / "new", cells, overwrite=True)
        data = anndata.read_h5ad(cells)
        assert {name: values.shape[1] for name, values in data.obsm.items()} == {"X_pca": 3, "X_tsne": 3, "X_other": 2}
        assert list(data.obs.columns) == ["kind", "depth", "tsne_novelty", "other_novelty"]

    def test_an_older_novelty_does_not_outlive_its_map(self, cells, tmp_path, monkeypatch):
        import anndata

        with monkeypatch.context() as patch:
            patch.setattr(pipeline.Run, "novelty", property(lambda run: np.ones(N, np.float32)), raising=False)
            export(tmp_path / "run", cells)
        export(tmp_path / "run", cells, overwrite=True)
        assert list(anndata.read_h5ad(cells).obs.columns) == ["kind", "depth"]

    def test_a_copy_leaves_the_original_alone(self, cells, tmp_path):
        import anndata

        before = cells.read_bytes()
        export(tmp_path / "run", tmp_path / "copy.h5ad", like=cells)
        assert cells.read_bytes() == before
        data, copy = anndata.read_h5ad(cells), anndata.read_h5ad(tmp_path / "copy.h5ad")
        np.testing.assert_array_equal(copy.obsm.pop("X_tsne"), np.load(tmp_path / "run" / "embedding.npy"))
        assert copy.obs.equals(data.obs) and (copy.X != data.X).nnz == 0 and set(copy.obsm) == set(data.obsm)
        with pytest.raises(FileExistsError, match="overwrite=True"):
            export(tmp_path / "run", tmp_path / "copy.h5ad", like=cells)
        with pytest.raises(FileNotFoundError, match="give like="):
            export(tmp_path / "run", tmp_path / "absent.h5ad")

    def test_links_stay_links(self, cells, tmp_path):
        (tmp_path / "link.h5ad").symlink_to(cells)
        export(tmp_path / "run", tmp_path / "link.h5ad")
        assert (tmp_path / "link.h5ad").is_symlink()
        with h5py.File(cells) as file:
            assert "X_tsne" in file["obsm"]

    def test_a_file_is_the_same_by_any_of_its_names(self, cells, tmp_path):
        """It may be named as what it is to be a copy of, and the map is known to be of its rows: nothing warns."""
        link, around = tmp_path / "link.h5ad", tmp_path / "run" / ".." / "cells.h5ad"
        link.symlink_to(cells)
        pairs = [(to, like) for to in (cells, link, around) for like in (None, cells, link, around)]
        for number, (to, like) in enumerate(pairs):
            assert export(tmp_path / "run", to, like=like, dataset=f"X_{number}") == to
        assert link.is_symlink() and sorted(one.name for one in tmp_path.iterdir()) == [
            "cells.h5ad",
            "link.h5ad",
            "run",
        ]
        with h5py.File(cells) as file:
            assert {f"X_{number}" for number in range(len(pairs))} < set(file["obsm"])
        # As the original of a copy, too.
        export(tmp_path / "run", tmp_path / "copy.h5ad", like=link)

    def test_what_is_no_file_is_not_opened(self, tmp_path):
        write_run(tmp_path / "run")
        (tmp_path / "null.h5ad").symlink_to("/dev/null")
        with pytest.raises(OSError, match=r"null\.h5ad is a device, not a file"):
            export(tmp_path / "run", tmp_path / "null.h5ad")

    def test_files_that_do_not_fit(self, cells, tmp_path, monkeypatch):
        before = cells.read_bytes()
        write_run(tmp_path / "short", n=N - 1)
        with pytest.raises(ValueError, match=f"has {N} rows, the map {N - 1}"):
            export(tmp_path / "short", cells)
        with h5py.File(tmp_path / "other.h5ad", "w") as file:
            file["X"] = np.zeros((N, 2))
        with pytest.raises(ValueError, match="not an AnnData file"):
            export(tmp_path / "run", tmp_path / "other.h5ad")
        with h5py.File(tmp_path / "unnamed.h5ad", "w") as file:
            file["obs/depth"] = np.zeros(N)
        for attribute in ({}, {"_index": "cells"}):
            with h5py.File(tmp_path / "unnamed.h5ad", "a") as file:
                file["obs"].attrs.update(attribute)
            unnamed = (tmp_path / "unnamed.h5ad").read_bytes()
            with pytest.raises(ValueError, match=r"unnamed\.h5ad is not an AnnData file: its obs has no index$"):
                export(tmp_path / "run", tmp_path / "unnamed.h5ad")
            assert (tmp_path / "unnamed.h5ad").read_bytes() == unnamed
        (tmp_path / "text.h5ad").write_text("hello")
        with pytest.raises(OSError, match="cannot be opened as an AnnData file"):
            export(tmp_path / "run", tmp_path / "text.h5ad")
        with pytest.raises(FileNotFoundError, match=r"^there is no file .*nowhere\.h5ad to copy$"):
            export(tmp_path / "run", tmp_path / "copy.h5ad", like=tmp_path / "nowhere.h5ad")
        with pytest.raises(FileNotFoundError, match=r"^there is no file .*copy\.h5ad to add the map to; give like="):
            export(tmp_path / "run", tmp_path / "copy.h5ad")
        with pytest.raises(IsADirectoryError, match="is a folder, not an AnnData file"):
            (tmp_path / "folder.h5ad").mkdir()
            export(tmp_path / "run", tmp_path / "folder.h5ad")
        write_run(tmp_path / "elsewhere", source="other.h5")
        with pytest.warns(UserWarning, match=r"made from other\.h5; its rows are taken"):
            export(tmp_path / "elsewhere", tmp_path / "copy.h5ad", like=cells)
        with pytest.raises(ValueError, match="not a name within obsm"):
            export(tmp_path / "run", cells, dataset="a/b")
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: usage._replace(free=1000))
        with pytest.raises(OSError, match="GB left"):
            export(tmp_path / "run", cells)
        assert cells.read_bytes() == before

    def test_the_old_layout_is_refused(self, data_folder, tmp_path):
        shutil.copyfile(data_folder / "pbmc68k_reduced.h5ad", tmp_path / "old.h5ad")
        write_run(tmp_path / "run", n=700)
        with pytest.raises(ValueError, match=r"before 0\.7.*write_h5ad"):
            export(tmp_path / "run", tmp_path / "old.h5ad")

    def test_real_cells(self, data_folder, tmp_path):
        anndata = pytest.importorskip("anndata")
        with warnings.catch_warnings():
            # The file is of an older layout, as anndata says at length.
            warnings.simplefilter("ignore")
            data = anndata.read_h5ad(data_folder / "pbmc68k_reduced.h5ad")
        data.write_h5ad(tmp_path / "cells.h5ad")
        embedding, _ = write_run(tmp_path / "run", n=700, source=str((tmp_path / "cells.h5ad").resolve()))
        export(tmp_path / "run", tmp_path / "cells.h5ad")
        after = anndata.read_h5ad(tmp_path / "cells.h5ad")
        np.testing.assert_array_equal(after.obsm.pop("X_tsne"), embedding)
        assert after.obs.equals(data.obs) and after.var.equals(data.var) and (after.X == data.X).all()
        assert (
            set(after.uns) == set(data.uns) and set(after.obsm) == set(data.obsm) and set(after.obsp) == set(data.obsp)
        )

    def test_a_change_in_the_meantime_is_seen(self, cells, tmp_path, monkeypatch):
        from tsne_ooc.export import h5ad

        real = h5ad._write

        def meanwhile(*args):
            real(*args)
            with h5py.File(cells, "r+") as file:
                file["uns/late"] = 1

        monkeypatch.setattr(h5ad, "_write", meanwhile)
        with pytest.raises(OSError, match="was changed while it was copied"):
            export(tmp_path / "run", cells)
        with h5py.File(cells) as file:
            assert "late" in file["uns"] and "X_tsne" not in file["obsm"]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["cells.h5ad", "run"]

    @pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
    @pytest.mark.parametrize("moment", ["blocks", "fsync", "replace"])
    def test_a_kill_leaves_the_original(self, cells, tmp_path, moment):
        # Killed after the first block, when all is written but not yet on the disk, and right before the change.
        before = cells.read_bytes()
        program = f"""
import os, signal
from tsne_ooc.export import content, export
content.ROWS = 64
def die(*args):
    os.kill(os.getpid(), signal.SIGKILL)
real = content.Content.blocks
def blocks(self):
    yield next(real(self))
    die()
if {moment!r} == "blocks":
    content.Content.blocks = blocks
else:
    setattr(os, {moment!r}, die)
export({str(tmp_path / "run")!r}, {str(cells)!r})
"""
        done = subprocess.run([sys.executable, "-c", program], check=False)
        assert done.returncode == -signal.SIGKILL
        assert cells.read_bytes() == before
        # And a lock that locks nobody out.
        left = sorted(path.suffix for path in tmp_path.iterdir() if path.name.startswith("."))
        assert left == [".lock", ".part"]
        export(tmp_path / "run", cells)
        with h5py.File(cells) as file:
            np.testing.assert_array_equal(file["obsm/X_tsne"][:], np.load(tmp_path / "run" / "embedding.npy"))


def test_every_format_is_listed():
    assert set(target_module.FORMATS) == {".h5", ".hdf5", ".zarr", ".parquet", ".csv", ".h5ad"}


# ------------------------------------------------------------------------------------- AnnData files of unusual layouts


def bare(path, n=N, index="texts", obsm=True, obs=()):
    """An AnnData file with little in it: an index of texts, or of texts of which some may be missing."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        for name, rows in (("obs", n), ("var", 3)):
            group = file.create_group(name)
            group.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "names"})
            group.attrs["column-order"] = np.array(obs if name == "obs" else (), h5py.string_dtype())
            texts = [f"{name} {at}" for at in range(rows)]
            if name == "obs" and index == "gaps":
                held = group.create_group("names")
                held.attrs.update({"encoding-type": "nullable-string-array", "encoding-version": "0.1.0"})
                held["values"], held["mask"] = texts, np.zeros(rows, bool)
            else:
                group["names"] = texts
        for column in obs:
            file["obs"][column] = np.zeros(n, np.float32)
        if obsm == "table":
            file["obsm"] = np.zeros(n, [("X_pca", "f4", (2,))])
        elif obsm:
            file.create_group("obsm").attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})
    return path


def into(folder, path, **options):
    """Export the run, of which it is not known that it was made from this file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return export(folder, path, **options)


@pytest.mark.parametrize("index", ["texts", "gaps"])
def test_rows_of_a_file_are_those_of_its_index_however_it_is_kept(tmp_path, index):
    embedding, _ = write_run(tmp_path / "run")
    into(tmp_path / "run", bare(tmp_path / "a.h5ad", index=index))
    with h5py.File(tmp_path / "a.h5ad") as file:
        np.testing.assert_array_equal(file["obsm/X_tsne"][:], embedding)
    for n in (2, N - 1, N + 1):
        with pytest.raises(ValueError, match=f"has {n} rows, the map {N}; the map must be of this file's rows$"):
            into(tmp_path / "run", bare(tmp_path / "b.h5ad", n, index=index))


def test_a_file_without_any_places_gets_the_group_that_holds_them(tmp_path):
    embedding, _ = write_run(tmp_path / "run")
    into(tmp_path / "run", bare(tmp_path / "a.h5ad", obsm=False))
    bare(tmp_path / "b.h5ad")
    with h5py.File(tmp_path / "a.h5ad") as file, h5py.File(tmp_path / "b.h5ad") as usual:
        np.testing.assert_array_equal(file["obsm/X_tsne"][:], embedding)
        assert dict(file["obsm"].attrs) == dict(usual["obsm"].attrs) and list(file["obsm"]) == ["X_tsne"]


def test_places_in_one_table_are_of_an_older_layout(tmp_path):
    write_run(tmp_path / "run")
    before = bare(tmp_path / "a.h5ad", obsm="table").read_bytes()
    with pytest.raises(ValueError, match=r"a\.h5ad has the layout of anndata before 0\.7; write it anew first"):
        into(tmp_path / "run", tmp_path / "a.h5ad")
    assert (tmp_path / "a.h5ad").read_bytes() == before


def test_the_order_of_columns_holds_texts_when_the_last_one_is_gone(tmp_path):
    write_run(tmp_path / "run")
    for columns, left in ((["tsne_novelty"], []), (["a", "tsne_recall", "b", "tsne_novelty"], ["a", "b"])):
        into(tmp_path / "run", bare(tmp_path / "a.h5ad", obs=columns), overwrite=True)
        with h5py.File(tmp_path / "a.h5ad") as file:
            order = file["obs"].attrs["column-order"]
            assert list(order) == left and sorted(file["obs"]) == sorted([*left, "names"])
            assert h5py.check_string_dtype(file["obs"].attrs.get_id("column-order").dtype) is not None


def test_a_column_that_is_replaced_stays_where_it_is_among_the_others(tmp_path, novelty):
    write_run(tmp_path / "run")
    with pytest.raises(FileExistsError, match=r"has obs\['tsne_novelty'\] already; pass overwrite=True"):
        into(tmp_path / "run", bare(tmp_path / "a.h5ad", obs=["tsne_novelty", "b"]))
    into(tmp_path / "run", tmp_path / "a.h5ad", overwrite=True)
    with h5py.File(tmp_path / "a.h5ad") as file:
        assert list(file["obs"].attrs["column-order"]) == ["tsne_novelty", "b"]
        np.testing.assert_array_equal(file["obs/tsne_novelty"][:], novelty)


def test_whoever_exports_is_told_where_that_rows_are_taken_to_be_the_same(tmp_path):
    write_run(tmp_path / "run", source="other.h5")
    with pytest.warns(UserWarning, match=r"^the map was made from other\.h5; its rows are taken to be") as told:
        export(tmp_path / "run", bare(tmp_path / "a.h5ad"))
    assert [one.filename for one in told] == [__file__]


@pytest.mark.parametrize("change", ["longer", "later", "another"])
def test_a_file_is_another_one_by_its_size_its_time_or_its_place_on_the_disk(tmp_path, change):
    path = tmp_path / "a.h5ad"
    path.write_bytes(b"abc")
    os.utime(path, ns=(10**18, 10**18))
    before = h5ad._stamp(path)
    assert h5ad._stamp(path) == before
    other = tmp_path / "b.h5ad"
    other.write_bytes(b"abcd" if change == "longer" else b"abc")
    if change == "another":
        other.rename(path)
    else:
        path.write_bytes(other.read_bytes())
    os.utime(path, ns=(10**18, 10**18 + (change == "later")))
    assert h5ad._stamp(path) != before


@pytest.mark.parametrize("suffix", [".csv", ".h5", ".h5ad"])
def test_some_room_is_left_beside_what_is_written(tmp_path, monkeypatch, suffix):
    asked = []
    write_run(tmp_path / "run")
    for module in (target_module, h5ad):
        monkeypatch.setattr(module, "check_room", lambda path, size: asked.append((path.name, size)))
    for slack in (0, 10**9):
        for module in (target_module, h5ad):
            monkeypatch.setattr(module, "_SLACK", slack)
        path = tmp_path / f"a{suffix}"
        if suffix == ".h5ad":
            bare(path)
        into(tmp_path / "run", path, overwrite=suffix != ".h5ad")
    (one, plain), (other, more) = asked
    assert one == other == f"a{suffix}" and more - plain == 10**9 and plain > 4 * 2 * N


@pytest.mark.parametrize("rows", [64, N, N + 1])
def test_chunks_of_a_group_are_blocks_of_rows(tmp_path, monkeypatch, rows):
    """No longer than the map is, and as wide as it."""
    zarr = pytest.importorskip("zarr")
    monkeypatch.setattr(content_module, "ROWS", rows)
    monkeypatch.setattr("tsne_ooc.export.tables.ROWS", rows)
    write_run(tmp_path / "run", axes=3)
    export(tmp_path / "run", tmp_path / "a.zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert group["embedding"].chunks == (min(rows, N), 3) and group["sampled"].chunks == (min(rows, N),)
