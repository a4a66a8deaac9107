"""The neighbours of all rows, kept in a folder: those that a fit finds, whatever the memory, and whoever stops it."""

from __future__ import annotations

import errno
import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from children import forked, status_of
from scipy.spatial.distance import cdist

from tsne_ooc import TSNE, Uniform
from tsne_ooc._parallel import Threads
from tsne_ooc._random import generator
from tsne_ooc.neighbors import IVF, Exact, Graph, build
from tsne_ooc.pipeline import neighbors
from tsne_ooc.preprocess import PCA, Preparation, Standardize


def rows(n=700, p=6, seed=0):
    rng = np.random.default_rng(seed)
    middles = 8 * np.random.default_rng(7).normal(size=(5, p))
    return (middles[rng.integers(0, 5, n)] + rng.normal(size=(n, p))).astype("f4")


def copied():
    X = rows()
    X[300:360] = X[7]
    X[500:540:2] = X[3]
    return X


def far_out():
    X = rows()
    X[[5, 99, 650]] *= np.float32([[1e9], [2e9], [-1e9]])
    return X


def both():
    X = copied()
    X[650] *= np.float32(1e9)
    return X


def in_part(X):
    X = X.copy()
    X[::50] = 0
    return X


TABLES = {"plain": rows(), "copies": copied(), "far": far_out(), "both": both(), "zeros": in_part(copied())}
LISTS = IVF(lists=20, probes=4)


def searched(X, k, metric="euclidean", search=LISTS):
    return build(search, X, metric=metric, metric_params=None, rng=generator(0, "neighbors"), threads=Threads(2))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("table", TABLES)
def test_parts_of_the_answer_are_the_answer(table, metric):
    index = searched(TABLES[table], 9, metric)
    indices, distances = index.query_self(9)
    for a, b in [(0, 700), (0, 1), (330, 361), (699, 700), (100, 697), (540, 700)]:
        found = index.query_part(a, b, 9)
        np.testing.assert_array_equal(found[0], indices[index.order[a:b]])
        np.testing.assert_array_equal(found[1], distances[index.order[a:b]])


@pytest.mark.parametrize("block_rows", [None, 64])
@pytest.mark.parametrize("scale", [1, 1e25])
@pytest.mark.parametrize("table", TABLES)
def test_the_folder_has_what_a_fit_finds(tmp_path, table, scale, block_rows):
    X = TABLES[table] * np.float32(scale)
    if table in ("far", "both"):
        X = np.clip(X, -1e30, 1e30)
    index = searched(X, 9)
    graph = neighbors(X, out=tmp_path / "graph", k=9, search=LISTS, block_rows=block_rows, n_jobs=2)
    np.testing.assert_array_equal(graph.indices, index.query_self(9)[0])
    np.testing.assert_array_equal(graph.distances, index.query_self(9)[1])
    np.testing.assert_array_equal(graph.order, index.order)
    assert graph.facts.unit == index.unit and graph.facts.recall == index.recall(9)
    assert sorted(file.name for file in (tmp_path / "graph").iterdir()) == [
        "distances.npy", "indices.npy", "manifest.json", "order.npy",
    ]  # fmt: skip
    # A fit of the same rows takes it, and finds the map that it finds by itself.
    quick = {"affinity": Uniform(9), "early_exaggeration_iter": 5, "n_iter": 5, "random_state": 0}
    wanted = TSNE(**quick, neighbors=LISTS).fit(X)
    np.testing.assert_array_equal(TSNE(**quick, neighbors=graph).fit(X).embedding_, wanted.embedding_)


@pytest.mark.parametrize("search, metric", [("exact", "euclidean"), ("exact", "manhattan"), ("hnsw", "cosine")])
def test_other_searches(tmp_path, search, metric):
    X = rows(200)
    graph = neighbors(X, out=tmp_path / "graph", k=7, search=search, metric=metric)
    name = {"manhattan": "cityblock"}.get(metric, metric)
    D = cdist(X.astype(float), X.astype(float), name)
    np.fill_diagonal(D, np.inf)
    near = np.sort(D, axis=1)[:, :7]
    np.testing.assert_allclose(graph.distances[:, 0], near[:, 0], rtol=1e-4, atol=1e-6)
    assert graph.order is None and graph.facts.metric == metric


def test_prepared_rows_of_a_file(tmp_path):
    import h5py

    X = rows(400) * np.float32([1, 10, 100, 1, 1, 1])
    with h5py.File(tmp_path / "table.h5", "w") as file:
        file["X"] = X
    prepare = Preparation([Standardize(), PCA(3)])
    graph = neighbors(tmp_path / "table.h5", out=tmp_path / "graph", k=15, prepare=prepare)
    quick = {"perplexity": 5, "early_exaggeration_iter": 5, "n_iter": 5, "random_state": 0}
    wanted = TSNE(**quick, prepare=prepare, neighbors=Exact()).fit(X)
    found = TSNE(**quick, prepare=prepare, neighbors=Graph.open(tmp_path / "graph")).fit(X)
    np.testing.assert_array_equal(found.embedding_, wanted.embedding_)
    with pytest.raises(ValueError, match=r"is of other rows, those of .*table\.h5"):
        TSNE(**quick, neighbors=graph).fit(X)


def test_what_is_read_and_how_it_is_searched(tmp_path):
    """Which table of a file, which metric, which seed; holes are refused unless they are meant."""
    import h5py

    X = rows(300)
    fields = np.array([tuple(row) for row in X], np.dtype([(name, "f4") for name in "abcdef"]))
    with h5py.File(tmp_path / "table.h5", "w") as file:
        file["X"] = X[:100]
        file["named"] = fields
        file.create_dataset("holes", (300, 6), "f4", chunks=(50, 6))[:200] = X[:200]
    named = {"dataset": "named", "columns": ["f", "b"], "metric": "minkowski", "metric_params": {"p": 3}}
    graph = neighbors(tmp_path / "table.h5", out=tmp_path / "named", k=5, search="exact", **named)
    D = cdist(X[:, [5, 1]].astype(float), X[:, [5, 1]].astype(float), "minkowski", p=3)
    np.fill_diagonal(D, np.inf)
    np.testing.assert_allclose(graph.distances, np.sort(D, axis=1)[:, :5], rtol=1e-4, atol=1e-6)
    with pytest.raises(OSError, match="allow-missing-chunks"):
        neighbors(tmp_path / "table.h5", out=tmp_path / "holes", dataset="holes", k=5)
    whole = neighbors(tmp_path / "table.h5", out=tmp_path / "holes", dataset="holes", k=5, allow_missing_chunks=True)
    assert whole.n == 300
    few = IVF(lists=20, probes=9)
    orders = [
        neighbors(X, out=tmp_path / f"{seed}{n_jobs}", k=5, search=few, random_state=seed, n_jobs=n_jobs).order
        for seed, n_jobs in ((0, 1), (0, 3), (1, 1))
    ]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).any()


def test_the_command(tmp_path, capsys):
    from tsne_ooc.cli import main

    np.save(tmp_path / "X.npy", rows(300))
    assert main(["neighbors", str(tmp_path / "X.npy"), "--k", "7", "--standardize", "--out", str(tmp_path / "g")]) == 0
    assert "7 neighbours of each of 300 rows" in capsys.readouterr().out
    graph = neighbors(rows(300), out=tmp_path / "other", k=7, prepare=Preparation([Standardize()]))
    np.testing.assert_array_equal(Graph.open(tmp_path / "g").indices, graph.indices)
    assert main(["info", str(tmp_path / "g")]) == 0
    told = capsys.readouterr().out
    assert "the 7 nearest neighbours of each of 300 rows by euclidean distance" in told and "X.npy" in told
    assert main(["neighbors", str(tmp_path / "X.npy"), "--k", "300", "--out", str(tmp_path / "h")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "299 other rows" in error and not (tmp_path / "h").exists()


@pytest.mark.parametrize("stage", ["read", "search"])
@pytest.mark.parametrize("table", ["plain", "both"])
def test_what_stops_in_the_middle_goes_on_to_the_same_bytes(tmp_path, table, stage):
    X = TABLES[table]
    options = {"k": 9, "search": LISTS, "block_rows": 90}
    neighbors(X, out=tmp_path / "whole", **options)

    def stop(phase, done, total):
        if phase == stage and total > done > 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        neighbors(X, out=tmp_path / "graph", progress=stop, **options)
    done = {}
    if stage == "search":
        neighbors(X, out=tmp_path / "graph", resume=True, progress=lambda phase, at, n: done.setdefault(phase, at),
                  **options)  # fmt: skip
        assert done["search"] > 200 and "read" not in done
        for name in ("indices.npy", "distances.npy", "order.npy"):
            assert (tmp_path / "graph" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        assert not (tmp_path / "graph" / "search.part").exists()
        again = neighbors(X, out=tmp_path / "graph", resume=True, **options)
        assert again.shape == (700, 9)
        with pytest.raises(ValueError, match="holds the result of another run"):
            neighbors(X, out=tmp_path / "graph", resume=True, **options | {"k": 8})
    else:
        # Of what was read nothing is worth keeping.
        assert not (tmp_path / "graph").exists()


@pytest.mark.parametrize("moment", [("read", 90), ("read", 700), ("search", 0), ("search", 450), ("search", 700)])
def test_killed_it_goes_on_to_the_same_bytes(tmp_path, moment):
    """SIGKILL in a process of its own, when so many rows are done: nothing is tidied up, and nothing of it is lost."""
    X, options = TABLES["both"], {"k": 9, "search": LISTS, "block_rows": 90, "n_jobs": 1}
    neighbors(X, out=tmp_path / "whole", **options)

    def kill(phase, done, total):
        if (phase, done) >= moment and phase == moment[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    child = forked(lambda: neighbors(X, out=tmp_path / "graph", progress=kill, **options))
    assert status_of(child) == -signal.SIGKILL
    neighbors(X, out=tmp_path / "graph", resume=True, **options)
    names = sorted(file.name for file in (tmp_path / "graph").iterdir())
    assert names == ["distances.npy", "indices.npy", "manifest.json", "order.npy"]
    for name in names:
        if name != "manifest.json":
            assert (tmp_path / "graph" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_full_disk(tmp_path, monkeypatch):
    X, options = TABLES["copies"], {"k": 9, "search": LISTS, "block_rows": 90}
    whole = neighbors(X, out=tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1000))
        with pytest.raises(OSError, match=r"needs 0\.00 GB more"):
            neighbors(X, out=tmp_path / "graph", **options)
        assert not (tmp_path / "graph").exists()

    def full(handle, offset, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        # Where a map of a file has no room, to write to it would end the process.
        patch.setattr("os.posix_fallocate", full)
        with pytest.raises(OSError, match=r"search\.part has no room for 0\.00 GB: No space left") as caught:
            neighbors(X, out=tmp_path / "graph", **options)
        assert "resume" in caught.value.__notes__[0]
    again = neighbors(X, out=tmp_path / "graph", resume=True, **options)
    np.testing.assert_array_equal(again.indices, whole.indices)


def islands():
    """Two groups that are nowhere near each other, and a row alone."""
    X = rows(300)
    X[:150] += 1e4
    X[77] = -3e4
    return X


@pytest.mark.parametrize("search", ["auto", LISTS], ids=["auto", "ivf"])
@pytest.mark.parametrize("table", ["equal", "half", "islands"])
def test_unlikely_tables(tmp_path, table, search):
    X = {"equal": np.ones((300, 4), "f4"), "half": np.repeat(rows(150), 2, axis=0), "islands": islands()}[table]
    graph = neighbors(X, out=tmp_path / "graph", k=9, search=search)
    D = cdist(X.astype(float), X.astype(float))
    np.fill_diagonal(D, np.inf)
    near = np.sort(D, axis=1)[:, :9]
    assert (graph.distances <= near * (1 + 1e-5) + 1e-6).mean() > (0.6 if search is LISTS else 0.999)
    assert (graph.indices != np.arange(300)[:, None]).all()
    model = TSNE(affinity="uniform", neighbors=graph, early_exaggeration_iter=5, n_iter=5, random_state=0).fit(X)
    assert np.isfinite(model.embedding_).all()


@pytest.mark.parametrize(
    "change, says",
    [
        ({"k": 700}, "k=700 neighbours cannot be found among 699 other rows"),
        ({"k": 0}, "k=0"),
        ({"metric": "precomputed"}, "metric='precomputed' has distances"),
        ({"search": "exat"}, "did you mean 'exact'"),
        ({"prepare": 3}, "prepare=3 is not a"),
    ],
)
def test_wrong_options_leave_nothing(tmp_path, change, says):
    with pytest.raises((ValueError, TypeError), match=says) as caught:
        neighbors(rows(), out=tmp_path / "graph", **{"k": 9} | change)
    assert "\n" not in str(caught.value) and not (tmp_path / "graph").exists()


def test_a_number_that_is_none_in_the_middle_leaves_nothing(tmp_path):
    X = rows()
    X[433, 2] = np.nan
    with pytest.raises(ValueError, match="row 433, column 2"):
        neighbors(X, out=tmp_path / "graph", k=9, block_rows=64)
    assert not (tmp_path / "graph").exists()
