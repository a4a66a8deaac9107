"""Many files are one table: the rows of all, one after the other, with columns that go by name."""

from __future__ import annotations

import pickle
from itertools import pairwise

import h5py
import numpy as np
import pandas as pd
import pytest

from tsne_ooc import TSNE, embed, place
from tsne_ooc.cli import main
from tsne_ooc.export import export, export_per_file
from tsne_ooc.io import identity_of, names_of, open_source
from tsne_ooc.io.files import FilesSource
from tsne_ooc.io.identity import changes
from tsne_ooc.preprocess import Missing, OneHot, Preparation
from tsne_ooc.sampling import labels_of

QUICK = {"perplexity": 6, "early_exaggeration_iter": 6, "n_iter": 8, "random_state": 0}
NAMES = ["a", "b", "c", "d"]
SIZES = (50, 1, 70, 37)
EDGES = np.concatenate([[0], np.cumsum(SIZES)])
RANGES = list(pairwise(EDGES.tolist()))


def rows(seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 4, (3, 4))[rng.integers(0, 3, EDGES[-1])] + rng.normal(size=(EDGES[-1], 4))).astype("f4")


X = rows()
KINDS = ["h5", "npy", "zarr", "parquet", "h5ad"]


def write(path, X, names=NAMES):
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("X", data=X, chunks=(min(7, len(X)), 4))
    elif path.suffix == ".npy":
        np.save(path, X)
    elif path.suffix == ".zarr":
        zarr = pytest.importorskip("zarr")
        shape = (min(8, len(X)), X.shape[1])
        array = zarr.create_array(str(path), shape=X.shape, dtype=X.dtype, chunks=shape, shards=shape)
        array[:] = X
    elif path.suffix == ".parquet":
        pytest.importorskip("pyarrow")
        pd.DataFrame(X, columns=names).to_parquet(path, row_group_size=20)
    else:
        anndata = pytest.importorskip("anndata")
        anndata.AnnData(X, var=pd.DataFrame(index=names)).write_h5ad(path)
    return path


def parts(folder, suffix, X=X):
    return [write(folder / f"part-{k}.{suffix}", X[a:b]) for k, (a, b) in enumerate(RANGES, start=8)]


@pytest.mark.parametrize("suffix", KINDS)
def test_rows_follow_each_other(suffix, tmp_path):
    files = parts(tmp_path, suffix)
    for given in (files, [str(file) for file in files], tmp_path / f"part-*.{suffix}", f"{tmp_path}/*.{suffix}"):
        with open_source(given) as source:
            assert isinstance(source, FilesSource) and source.shape == X.shape and source.dtype == np.float32
            assert [path.name for path in source.files] == [file.name for file in files]
            for start, stop in [(0, 158), (0, 0), (49, 52), (50, 51), (120, 158), (51, 121), (157, 158)]:
                np.testing.assert_array_equal(source.read(start, stop), X[start:stop])
            again = pickle.loads(pickle.dumps(source))
            np.testing.assert_array_equal(again.read(0, 158), X)
            again.close()
    with open_source(files[::-1]) as source:
        np.testing.assert_array_equal(source.read(0, 37), X[EDGES[3] :])


@pytest.mark.parametrize("suffix", ["parquet", "h5ad"])
def test_columns_go_by_name(suffix, tmp_path):
    files = parts(tmp_path, suffix)
    turned = [2, 0, 3, 1]
    write(files[2], X[EDGES[2] : EDGES[3]][:, turned], [NAMES[j] for j in turned])
    with open_source(files) as source:
        assert names_of(source) == NAMES
        np.testing.assert_array_equal(source.read(0, 158), X)
    write(files[2], X[EDGES[2] : EDGES[3]], ["a", "b", "c", "x"])
    with pytest.raises(ValueError, match=r"part-10.* has columns that part-8.* has not: x, and lacks d; name those"):
        open_source(files)
    wider = np.column_stack([X[EDGES[2] : EDGES[3]], np.zeros(EDGES[3] - EDGES[2])])
    write(files[2], wider, [*NAMES, "x"])
    with pytest.raises(ValueError, match=r"part-10.* has columns that part-8.* has not: x; name those"):
        open_source(files)
    write(files[2], X[EDGES[2] : EDGES[3], :3], ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"part-10.* lacks columns that part-8.* has: d; name those"):
        open_source(files)
    if suffix == "parquet":
        with open_source(files, columns=["a", "c"]) as source:
            np.testing.assert_array_equal(source.read(0, 158), X[:, [0, 2]])
            np.testing.assert_array_equal(source.read_columns(40, 60)["c"], X[40:60, 2])


def test_few_are_open_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("tsne_ooc.io.files.MOST_OPEN", 2)
    source = open_source(parts(tmp_path, "h5"))
    for start in range(0, 158, 10):
        np.testing.assert_array_equal(source.read(start, min(158, start + 10)), X[start : start + 10])
        assert len(source._open) <= 2
    source.close()
    assert not source._open


def test_what_is_wrong_is_named(tmp_path):
    files = parts(tmp_path, "npy")
    with pytest.raises(FileNotFoundError, match=r"no file fits the pattern .*none-\*.npy"):
        open_source(tmp_path / "none-*.npy")
    with pytest.raises(ValueError, match=r"part-9.npy is named twice"):
        open_source([*files, str(files[1])])
    with pytest.raises(FileNotFoundError, match=r"there is no file .*gone.npy"):
        open_source([*files, tmp_path / "gone.npy"])
    np.save(files[1], X[:1, :3])
    with pytest.raises(ValueError, match=r"part-9.npy has 3 columns, and part-8.npy has 4"):
        open_source(files)
    named = write(tmp_path / "named.parquet", X[:5])
    with pytest.raises(ValueError, match=r"named.parquet has names for its columns, and part-8.npy has none"):
        open_source([files[0], named])
    with pytest.raises(ValueError, match=r"part-8.npy has no names for its columns, as named.parquet has"):
        open_source([named, files[0]])


def test_a_file_that_changes_is_noticed(tmp_path):
    files = parts(tmp_path, "npy")
    source = open_source(files)
    before = identity_of(source)
    assert not changes(source, before)
    np.save(files[2], X[: SIZES[2] - 1])
    assert changes(source, before)
    with pytest.raises(OSError, match=r"part-10.npy has shape \(69, 4\) now, and had \(70, 4\)"):
        source.close()
        source.read(60, 70)


@pytest.mark.parametrize("suffix", ["h5", "parquet"])
def test_a_run_of_many_files_is_that_of_one(suffix, tmp_path):
    files = parts(tmp_path, suffix)
    options = {"sample": 80, "tsne": TSNE(**QUICK), "block_rows": 33}
    wanted = embed(X, out=tmp_path / "one", **options)
    run = embed(files, out=tmp_path / "map", **options)
    np.testing.assert_array_equal(run.embedding, wanted.embedding)
    told = [(file["path"], file["start"], file["stop"]) for file in run.manifest["files"]]
    assert told == [(str(f.resolve()), a, b) for f, (a, b) in zip(files, RANGES, strict=True)]
    more = place(tmp_path / "map", files[1:3], out=tmp_path / "more")
    np.testing.assert_array_equal(more.embedding, place(tmp_path / "one", X[50:121], out=tmp_path / "two").embedding)

    for to, read in (("csv", pd.read_csv), ("parquet", pd.read_parquet)):
        wrote = export_per_file(tmp_path / "map", tmp_path / f"places.{to}")
        assert [path.name for path in wrote] == [f"places-part-{k}.{to}" for k in range(8, 12)]
        for path, (a, b) in zip(wrote, RANGES, strict=True):
            frame = read(path)
            np.testing.assert_allclose(frame[["tsne1", "tsne2"]], run.embedding[a:b], rtol=1e-6)
            np.testing.assert_array_equal(
                np.flatnonzero(frame["sampled"]) + a, np.intersect1d(run.sample_rows, range(a, b))
            )
    with pytest.raises(ValueError, match="was made from a single table, not from many files"):
        export_per_file(tmp_path / "one", tmp_path / "places.csv")


def test_a_map_replaces_none_of_its_files(tmp_path):
    files = parts(tmp_path, "parquet")
    embed(files, out=tmp_path / "map", sample=80, tsne=TSNE(**QUICK))
    export_per_file(tmp_path / "map", tmp_path / "places.csv")
    with pytest.raises(FileExistsError, match="exists already"):
        export_per_file(tmp_path / "map", tmp_path / "places.csv")
    assert len(export_per_file(tmp_path / "map", tmp_path / "places.csv", overwrite=True)) == 4
    before = files[1].read_bytes()
    with pytest.raises(FileExistsError, match="is the table that the map was made from"):
        export(tmp_path / "map", files[1], overwrite=True)
    assert files[1].read_bytes() == before


def test_files_of_one_name_and_copies_of_anndata(tmp_path):
    anndata = pytest.importorskip("anndata")
    for k in (1, 2):
        (tmp_path / f"plate{k}").mkdir()
        write(tmp_path / f"plate{k}" / "x.h5ad", X[60 * k : 60 * k + 60])
    run = embed(tmp_path / "plate*" / "x.h5ad", out=tmp_path / "map", sample=60, tsne=TSNE(**QUICK))
    wrote = export_per_file(tmp_path / "map", tmp_path / "cells.h5ad")
    assert [path.name for path in wrote] == ["cells-0-x.h5ad", "cells-1-x.h5ad"]
    for k, path in enumerate(wrote):
        np.testing.assert_array_equal(anndata.read_h5ad(path).obsm["X_tsne"], run.embedding[60 * k : 60 * k + 60])


def test_by_command(tmp_path, capsys):
    files = [str(file) for file in parts(tmp_path, "parquet")]
    options = ["--sample", "80", "--perplexity", "6", "--jobs", "1"]
    assert main(["embed", *files, *options, "--out", str(tmp_path / "map")]) == 0
    assert "rows come from 4 files, in this order: part-8.parquet" in capsys.readouterr().out
    wanted = embed(X, out=tmp_path / "one", sample=80, tsne=TSNE(perplexity=6, random_state=0)).embedding
    np.testing.assert_array_equal(np.load(tmp_path / "map" / "embedding.npy"), wanted)
    assert main(["strangest", str(tmp_path / "map"), "--top", "2", "--columns", "a,b"]) == 0
    assert main(["export", str(tmp_path / "map"), "--to", str(tmp_path / "p.csv"), "--per-file"]) == 0
    assert len(list(tmp_path.glob("p-part-*.csv"))) == 4
    assert main(["embed", str(tmp_path / "no*.h5"), "--out", str(tmp_path / "none")]) != 0
    assert "no file fits the pattern" in capsys.readouterr().err and not (tmp_path / "none").exists()
    np.save(tmp_path / "odd.npy", np.full((4, 4), np.nan))
    for given, named in (["odd.npy"], "odd.npy: X contains NaN"), (["odd.npy", "odd2.npy"], "odd.npy and 1 more: X"):
        np.save(tmp_path / "odd2.npy", np.zeros((4, 4)))
        assert main(["embed", *(str(tmp_path / name) for name in given), "--out", str(tmp_path / "none")]) != 0
        assert named in capsys.readouterr().err


def test_words_gaps_and_labels(tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(X, columns=NAMES).assign(kind=np.array(["x", "y", "z"])[np.arange(158) % 3])
    frame.loc[[3, 60], "b"] = np.nan
    files = []
    for k, (a, b) in enumerate(RANGES):
        files.append(tmp_path / f"{k}.parquet")
        frame[a:b].astype({"b": "Float32"}).to_parquet(files[-1])
    steps = Preparation([OneHot(["kind"]), Missing("mean")])
    with open_source(files, columns="*") as source:
        found = steps.fit(source)
        assert found.n_features_out == 7 and found.fitted[0].lacking[1] == 2
    with open_source(files) as source:
        assert Preparation([Missing("mean")]).fit(source).fitted[0].lacking.tolist() == [0, 2, 0, 0]
    np.testing.assert_array_equal(labels_of(files, "kind"), frame["kind"])


def test_a_dataset_of_pyarrow(tmp_path):
    dataset = pytest.importorskip("pyarrow.dataset")
    parts(tmp_path, "parquet")
    with open_source(dataset.dataset(sorted(str(f) for f in tmp_path.glob("*.parquet")))) as source:
        assert source.shape == X.shape
    pd.DataFrame(X, columns=NAMES).assign(year=2020).to_parquet(tmp_path / "cut", partition_cols=["year"])
    with pytest.raises(ValueError, match=r"a column that is none of its files' \(year\)"):
        open_source(dataset.dataset(tmp_path / "cut", partitioning="hive"))


def test_a_source_of_files_names_the_first_and_the_last(tmp_path):
    paths = parts(tmp_path, "npy")
    for some, words in ((paths[:1], f"1 file {paths[0]}"), (paths, f"4 files {paths[0]} to {paths[-1].name}")):
        with open_source(some) as source:
            assert repr(source) == f"{words} of shape {(sum(SIZES[: len(some)]), 4)}"
            assert source.rows_of_files() == [
                {"path": str(path.resolve()), "start": a, "stop": b} for path, (a, b) in zip(some, RANGES, strict=False)
            ]
            assert source.remarks == [
                f"rows come from {words.split(' /')[0]}, in this order: {', '.join(path.name for path in some)}"
            ]


def test_a_list_is_of_files_where_all_of_it_are_paths(tmp_path):
    path = parts(tmp_path, "npy")[0]
    for given in ([str(path), 1.0], [1.0, str(path)], [str(path), None]):
        with pytest.raises(ValueError, match=r"^X holds (strings|objects that are not numbers)"):
            open_source(given)
    np.testing.assert_array_equal(open_source([[1.0, 2.0]]).read(0, 1), [[1, 2]])


@pytest.mark.parametrize("suffix", ["h5", "parquet"])
def test_files_without_rows_are_part_of_the_table(suffix, tmp_path):
    """They may be the first, the last, and between two."""
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    sizes = [0, 3, 0, 0, 2, 0]
    edges = np.concatenate([[0], np.cumsum(sizes)])
    paths = []
    for at, (a, b) in enumerate(pairwise(edges.tolist())):
        path = tmp_path / f"x{at}.{suffix}"
        if suffix == "h5":
            with h5py.File(path, "w") as file:
                file["X"] = X[a:b]
        else:
            pd.DataFrame(X[a:b], columns=NAMES).to_parquet(path)
        paths.append(path)
    with open_source(paths) as source:
        assert source.shape == (5, 4) and source.dtype == np.float32
        for start in range(6):
            for stop in range(start, 6):
                np.testing.assert_array_equal(source.read(start, stop), X[start:stop])
                if suffix == "parquet":
                    columns = source.read_columns(start, stop)
                    assert list(columns) == NAMES
                    np.testing.assert_array_equal(columns["b"], X[start:stop, 1])
        empty = source.read(2, 2)
        assert empty.shape == (0, 4) and empty.dtype == np.float32


def test_a_file_is_named_once_however_it_is_written(tmp_path, monkeypatch):
    paths = parts(tmp_path, "npy")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.npy").symlink_to(paths[0])
    for again in ("part-8.npy", tmp_path / ".." / tmp_path.name / "part-8.npy", "link.npy", "part-*.npy"):
        with pytest.raises(ValueError, match=r"is named twice among the files of one table; name it once$"):
            open_source([paths[0], paths[1], again])
    assert open_source([*paths[1:], "link.npy"]).shape == (EDGES[-1], 4)


def test_missing_chunks_of_a_file_are_refused_unless_they_are_allowed(tmp_path):
    paths = parts(tmp_path, "h5")
    with h5py.File(paths[2], "w") as file:
        file.create_dataset("X", (70, 4), "f4", chunks=(7, 4))
    with pytest.raises(OSError, match=r"10 of 10 chunks of dataset '/X' of .*part-10.h5"):
        FilesSource(paths, open_source)
    with FilesSource(paths, open_source, allow_missing_chunks=True) as source:
        for one in (source, source.reopen(), pickle.loads(pickle.dumps(source))):
            assert not one.read(51, 121).any() and one.read(121, 122).any()
            one.close()


def test_a_file_that_is_replaced_by_one_of_other_columns_is_noticed(tmp_path):
    """It has the same shape, and is looked at again when its rows are asked for."""
    paths = parts(tmp_path, "parquet")
    with open_source(paths) as source:
        write(paths[2], X[51:121], ["a", "b", "c", "other"])
        np.testing.assert_array_equal(source.read(0, 51), X[:51])
        with pytest.raises(
            ValueError, match=r"part-10.parquet has columns that part-8.parquet has not: other, and lacks d"
        ):
            source.read(50, 60)


def test_chunks_of_many_files_are_as_high_as_the_highest(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("X", data=X, chunks=(9, 4))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("X", data=X, chunks=(20, 2))
    np.save(tmp_path / "c.npy", X.astype("f8"))
    for names, chunks, kind in (("abc", (20, 4), "f8"), ("ac", (9, 4), "f8"), ("ab", (20, 4), "f4"), ("c", None, "f8")):
        with open_source([next(tmp_path.glob(f"{name}.*")) for name in names]) as source:
            assert source.chunks == chunks and source.dtype == np.dtype(kind)
            assert source.shape == (len(names) * EDGES[-1], 4)


def test_the_first_file_is_that_of_the_first_rows(tmp_path):
    paths = parts(tmp_path, "parquet")
    with open_source(paths[1:]) as source:
        first = source.first_file()
        assert first.path == paths[1].resolve() and first.shape == (1, 4)
        np.testing.assert_array_equal(first.read(0, 1), X[50:51])
        # It is one of those that are open, and goes with them.
        assert source.first_file() is first


def test_a_pattern_may_go_down_into_folders(tmp_path):
    """Two stars stand for any number of folders, in the order of the whole names, in which numbers count as numbers."""
    for at, name in enumerate(["a/c/x.npy", "a/x.npy", "b10/x.npy", "b9/deep/er/x.npy", "x.npy"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / name, np.full((1, 2), at))
    with open_source(tmp_path / "**" / "x.npy") as source:
        assert [path.relative_to(tmp_path).as_posix() for path in source.files] == [
            "a/c/x.npy", "a/x.npy", "b9/deep/er/x.npy", "b10/x.npy", "x.npy",
        ]  # fmt: skip
        assert source.read(0, 5)[:, 0].tolist() == [0, 1, 3, 2, 4] and source.path == tmp_path.resolve()
    with open_source(tmp_path / "a" / "*.npy") as source:
        assert source.shape == (1, 2) and source.path == (tmp_path / "a").resolve()
    with pytest.raises(FileNotFoundError) as caught:
        open_source(tmp_path / "**" / "y.npy")
    assert str(caught.value) == f"no file fits the pattern {tmp_path}/**/y.npy"
