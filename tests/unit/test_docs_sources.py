"""The page on sources: its blocks of code run as they stand, one after the other."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest

from tsne_ooc import TSNE
from tsne_ooc.io import as_source, iterate

PAGE = Path(__file__).parents[2] / "docs" / "sources.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the block that holds these words, in a folder of its own; gives back its names."""
    monkeypatch.chdir(tmp_path)

    def run(words, **names):
        (block,) = [block for block in BLOCKS if words in block]
        exec(compile(block, str(PAGE), "exec"), names)
        return names, block

    return run


def fitted(X):
    return TSNE(perplexity=5, n_iter=5, early_exaggeration_iter=5, random_state=0).fit(X)


def test_all_blocks_are_run():
    assert len(BLOCKS) == 6


def test_the_first_example(run, tmp_path):
    X = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    with h5py.File(tmp_path / "cells.h5ad", "w") as file:
        file["X"] = X[:, :2]
        file["obsm/X_pca"] = X
    names, _ = run("uniform(X, 25_000")
    np.testing.assert_array_equal(names["Y"], names["model"].transform(X))
    np.testing.assert_array_equal(names["sample"], X)


def test_many_files(run, tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rng = np.random.default_rng(0)
    (tmp_path / "plates").mkdir()
    for number, rows in ((2, 70), (10, 60)):
        with h5py.File(tmp_path / "plates" / f"plate{number}.h5ad", "w") as file:
            file["X"] = rng.normal(size=(rows, 4)).astype(np.float32)
    for day, rows in (("monday", 50), ("tuesday", 80)):
        pq.write_table(pa.table(dict(zip("abc", rng.normal(size=(3, rows)), strict=True))), tmp_path / f"{day}.parquet")
    names, _ = run("plates/*.h5ad")
    made = (
        (names["run"], [("plate2.h5ad", 0, 70), ("plate10.h5ad", 70, 130)]),
        (names["week"], [("monday.parquet", 0, 50), ("tuesday.parquet", 50, 130)]),
    )
    for run_of_files, expected in made:
        assert run_of_files.embedding.shape == (130, 2) and np.isfinite(run_of_files.embedding).all()
        files = run_of_files.manifest["files"]
        assert [(Path(one["path"]).name, one["start"], one["stop"]) for one in files] == expected


def test_identity(run, tmp_path, capsys):
    with h5py.File(tmp_path / "cells.h5ad", "w") as file:
        file["X"] = np.eye(5)
    names, _ = run("identity_of(X)")
    assert capsys.readouterr().out == "[]\n" and names["before"]["shape"] == [5, 5]


def lines_of_class(block):
    """Lines of the class and the imports, all that a reader types."""
    text = block[: block.index("\nY = ")]
    return [line for line in text.splitlines() if line.strip()]


def test_a_database(run, tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    with closing(sqlite3.connect(tmp_path / "points.db")) as database, database:
        database.execute("create table points (number integer primary key, a real, b real, c real)")
        database.executemany(
            "insert into points values (?, ?, ?, ?)", [(i, *map(float, row)) for i, row in enumerate(X)]
        )
    model = fitted(X)
    names, block = run("sqlite3", model=model)
    np.testing.assert_array_equal(names["Y"], model.transform(X))
    source = as_source(names["Points"]("points.db"))
    np.testing.assert_array_equal(np.concatenate([rows for _, _, rows in iterate(source, rows=7)]), X)
    assert source.read(5, 5).shape == (0, 3)
    assert len(lines_of_class(block)) <= 15


def test_a_folder_of_pictures(run, tmp_path):
    from matplotlib.image import imread, imsave

    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for i in range(30):
        imsave(tmp_path / "pictures" / f"{i:02}.png", rng.random((4, 5, 3)))
    X = np.array([imread(path).ravel() for path in sorted((tmp_path / "pictures").iterdir())])
    model = fitted(X)
    names, block = run("imread", model=model)
    np.testing.assert_array_equal(names["Y"], model.transform(X))
    source = as_source(names["Pictures"]("pictures"))
    assert source.shape == X.shape
    np.testing.assert_array_equal(np.concatenate([rows for _, _, rows in iterate(source, rows=7)]), X)
    assert len(lines_of_class(block)) <= 15


def test_rechunking(run, tmp_path):
    X = np.random.default_rng(0).normal(size=(70_000, 6)).astype(np.float32)
    with h5py.File(tmp_path / "narrow.h5", "w") as file:
        file.create_dataset("X", data=X, chunks=(1000, 1))
    run("narrow.h5")
    with h5py.File(tmp_path / "wide.h5") as file:
        assert file["X"].chunks == (43690, 6)
        np.testing.assert_array_equal(file["X"][:], X)
