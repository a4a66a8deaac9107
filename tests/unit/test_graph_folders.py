"""A graph in a folder is the graph that was saved; what is damaged, shorter, or of other rows is refused by name."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import tsne_ooc
from tsne_ooc import TSNE, Uniform
from tsne_ooc._parallel import Threads
from tsne_ooc.equal_rows import hashes_of
from tsne_ooc.neighbors import Graph
from tsne_ooc.neighbors.folder import GraphFacts, arrays_of, fingerprint_of, in_rows_order, write_graph
from tsne_ooc.storage.state import Saved, StateError

QUICK = {"perplexity": 5, "early_exaggeration_iter": 10, "n_iter": 20, "random_state": 0, "n_jobs": 2}
X = np.random.default_rng(0).normal(size=(200, 5)).astype("f4")
ORDER = np.random.default_rng(1).permutation(200).astype(np.uint32)


def nearest(k, X=X):
    D = cdist(X.astype(float), X.astype(float))
    np.fill_diagonal(D, np.inf)
    near = np.argsort(D, axis=1, kind="stable")[:, :k]
    return near.astype(np.uint32), np.take_along_axis(D, near, axis=1).astype(np.float32)


def in_order(path, k=15, **facts):
    """A folder as a search of buckets writes it: rows in an order of their own."""
    near, apart = nearest(k)
    place_of = np.argsort(ORDER).astype(np.uint32)
    write_graph(path, place_of[near][ORDER], apart[ORDER], ORDER, GraphFacts(**facts), overwrite=False)


def test_what_is_saved_is_opened(tmp_path):
    graph = TSNE(**QUICK).fit(X).graph()
    graph.save(tmp_path / "graph")
    again = Graph.open(tmp_path / "graph")
    np.testing.assert_array_equal(again.indices, graph.indices)
    np.testing.assert_array_equal(again.distances, graph.distances)
    assert (again.shape, again.order, again.facts) == ((200, 15), None, graph.facts)
    with pytest.raises(FileExistsError, match="holds a graph already"):
        graph.save(tmp_path / "graph")
    graph.save(tmp_path / "graph", overwrite=True)
    assert (Graph.open(tmp_path / "graph").matrix() != graph.matrix()).nnz == 0


def test_an_order_of_its_own_is_not_seen_from_outside(tmp_path):
    in_order(tmp_path / "graph")
    graph, (near, apart) = Graph.open(tmp_path / "graph"), nearest(15)
    np.testing.assert_array_equal(graph.indices, near)
    np.testing.assert_array_equal(graph.distances, apart)
    places, distances = graph.read(20, 30)
    np.testing.assert_array_equal(ORDER[places], near[ORDER[20:30]])
    np.testing.assert_array_equal(distances, apart[ORDER[20:30]])
    places[:] = 0
    index = graph.build(X, rng=np.random.default_rng(0), threads=Threads(1))
    np.testing.assert_array_equal(index.query_self(7)[0], near[:, :7])
    np.testing.assert_array_equal(index.query_self(7)[1], apart[:, :7])
    np.testing.assert_array_equal(index.order, ORDER)
    np.testing.assert_array_equal(index.query_part(30, 90, 7)[0], near[ORDER[30:90], :7])
    np.testing.assert_array_equal(index.query_part(30, 90, 7)[1], apart[ORDER[30:90], :7])
    plain = Graph((near, apart), "ivf").build(X, rng=np.random.default_rng(0), threads=Threads(1))
    np.testing.assert_array_equal(plain.query_part(30, 90, 7)[0], near[plain.order[30:90], :7])
    # The map is that of the search but for the order of additions.
    found, wanted = (TSNE(**QUICK, neighbors=way).fit(X) for way in (graph, "exact"))
    assert abs(found.affinities_ - wanted.affinities_).max() < 1e-8
    found.save(tmp_path / "model")
    loaded = tsne_ooc.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.graph().indices, near)
    assert (loaded.affinities_ != found.affinities_).nnz == 0


def test_the_fingerprint_tells_one_row_from_another(tmp_path, monkeypatch):
    monkeypatch.setattr("tsne_ooc.neighbors.folder.TOLD", 64)
    monkeypatch.setattr("tsne_ooc.neighbors.graph.TOLD", 64)
    rows = fingerprint_of(hashes_of(X, Threads(1))[:, 0])
    assert len(rows) == 4
    in_order(tmp_path / "graph", rows=rows, metric="euclidean", source={"path": "cells.h5", "dataset": "X"})
    graph = Graph.open(tmp_path / "graph")
    TSNE(**QUICK, neighbors=graph).fit(X)
    other = X.copy()
    other[70, 3] = np.nextafter(other[70, 3], np.float32(9))
    with pytest.raises(ValueError, match=r"is of other rows, those of cells\.h5 X: among rows 64 to 127") as caught:
        TSNE(**QUICK, neighbors=graph).fit(other)
    assert "\n" not in str(caught.value) and str(tmp_path / "graph") in str(caught.value)
    with pytest.raises(ValueError, match="is one of metric='euclidean', and the fit has metric='cosine'"):
        TSNE(**QUICK, neighbors=graph, metric="cosine").fit(X)
    with pytest.raises(ValueError, match="the graph has 15 neighbours of each row, and 90 are needed"):
        TSNE(neighbors=graph).fit(np.vstack([X, X + 1])[:200])


def cut_short(folder):
    file = folder / "indices.npy"
    file.write_bytes(file.read_bytes()[:-8])


def flipped(folder):
    file = folder / "distances.npy"
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)


def without(name):
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    "damage, says",
    [
        (cut_short, "indices.npy is damaged: it has"),
        (flipped, "distances.npy is damaged: its sum"),
        (without("order.npy"), "order.npy is missing"),
        (without("manifest.json"), "manifest.json is missing"),
        (shutil.rmtree, "there is no folder"),
    ],
)
def test_damaged_folders(tmp_path, damage, says):
    in_order(tmp_path / "graph")
    damage(tmp_path / "graph")
    with pytest.raises((ValueError, FileNotFoundError), match=says) as caught:
        Graph.open(tmp_path / "graph")
    assert "\n" not in str(caught.value)


def test_sums_are_compared_unless_asked_not_to_and_new_rows_are_searched_as_is_said(tmp_path):
    in_order(tmp_path / "graph")
    flipped(tmp_path / "graph")
    graph = Graph.open(tmp_path / "graph", "exact", verify=False)
    assert (graph.distances != nearest(15)[1]).sum() == 1
    assert graph.build(X, rng=np.random.default_rng(0), threads=Threads(1))._inner.metric == "euclidean"
    with pytest.raises(ValueError, match="did you mean 'exact'"):
        TSNE(**QUICK, neighbors=Graph.open(tmp_path / "graph", search="exat", verify=False)).fit(X)


@pytest.mark.parametrize(
    "array, values, says",
    [
        ("indices", np.full((200, 15), 200, np.uint32), "names a row that is not one of 200"),
        ("indices", np.zeros((200, 15), np.int64), "holds int64, not uint32"),
        ("distances", -np.ones((200, 15), np.float32), "does not ascend from 0 within a row"),
        ("distances", np.full((200, 15), np.nan, np.float32), "holds NaN"),
        ("indices", np.zeros((200, 14), np.uint32), "has the shape"),
        ("order", np.zeros(200, np.uint32), "is not a permutation of 200 rows"),
    ],
)
def test_forged_folders(tmp_path, array, values, says):
    """Sums are right, and what they are of cannot be: kernels check no bounds."""
    near, apart = nearest(15)
    arrays = {"indices": near, "distances": apart, "order": ORDER} | {array: values}
    tsne_ooc.storage.write_folder(tmp_path / "graph", "graph", {"facts": GraphFacts().json()}, arrays)
    with pytest.raises(ValueError, match=says) as caught:
        Graph.open(tmp_path / "graph")
    assert f"{array}.npy" in str(caught.value)


def test_facts_are_read_with_suspicion(tmp_path):
    near, apart = nearest(15)
    for facts in ({}, {"rows": 3}, {"rows": [], "unit": -1.0}, {"rows": [], "unit": 1.0, "source": []}):
        tsne_ooc.storage.write_folder(
            tmp_path / "graph", "graph", {"facts": facts}, {"indices": near, "distances": apart}, overwrite=True
        )  # fmt: skip
        with pytest.raises(ValueError, match=r"manifest\.json"):
            Graph.open(tmp_path / "graph")
    assert json.loads((tmp_path / "graph" / "manifest.json").read_text())["kind"] == "graph"
    (tmp_path / "other").mkdir()
    tsne_ooc.storage.write_folder(tmp_path / "other", "model", {}, {})
    with pytest.raises(ValueError, match="is that of a 'model', not of a 'graph'"):
        Graph.open(tmp_path / "other")


def test_uniform_needs_no_more_than_there_are(tmp_path):
    in_order(tmp_path / "graph", 6)
    assert TSNE(**QUICK, affinity=Uniform(6), neighbors=Graph.open(tmp_path / "graph")).fit(X).n_neighbors_ == 6


@pytest.mark.parametrize(
    ("row", "told"), [(0, "0 to 63"), (63, "0 to 63"), (64, "64 to 127"), (191, "128 to 191"), (199, "192 to 199")]
)
@pytest.mark.parametrize(
    ("source", "named"),
    [
        (None, ""), ({}, ""), ({"path": "cells.h5"}, ", those of cells.h5"), ({"dataset": "X"}, ", those of X"),
        ({"dataset": "X", "path": "cells.h5", "size": 7}, ", those of cells.h5 X"), ({"path": "", "dataset": None}, ""),
    ],
)  # fmt: skip
def test_other_rows_are_told_by_their_run_and_the_source_of_the_graph(row, told, source, named, monkeypatch):
    for module in ("folder", "graph"):
        monkeypatch.setattr(f"tsne_ooc.neighbors.{module}.TOLD", 64)
    facts = GraphFacts(rows=fingerprint_of(hashes_of(X, Threads(1))[:, 0]), source=source)
    graph = Graph._made(*nearest(3), None, facts, "exact")
    graph._compare(X, "euclidean", Threads(1))
    other = X.copy()
    # The first run that differs is told.
    other[[row, 199], 2] += 1
    with pytest.raises(ValueError) as caught:
        graph._compare(other, "euclidean", Threads(1))
    assert str(caught.value) == (
        f"the graph is of other rows{named}: among rows {told} there are others here; search the neighbours of this "
        "table, prepared as it is for the fit"
    )


@pytest.mark.parametrize("rows", [1, 7, 20, 21])
def test_a_graph_is_checked_and_put_in_order_some_rows_at_a_time(rows, monkeypatch):
    monkeypatch.setattr("tsne_ooc.neighbors.folder.ROWS", rows)
    order = np.random.default_rng(0).permutation(20).astype(np.uint32)
    near, apart = nearest(3, X[:20])
    kept = near.copy()
    by_number, places = in_rows_order(near, order, named=True), in_rows_order(apart, order)
    for line in range(20):
        assert by_number[order[line]].tolist() == order[near[line]].tolist()
        assert places[order[line]].tolist() == apart[line].tolist()
    assert (by_number.dtype, places.dtype) == (np.uint32, np.float32) and not np.shares_memory(places, apart)
    np.testing.assert_array_equal(in_rows_order(near, order)[order], near)
    np.testing.assert_array_equal(near, kept)
    whole = arrays_of(Saved({}, {"indices": near, "distances": apart, "order": order}))
    for one, other in zip(whole, (near, apart, order), strict=True):
        np.testing.assert_array_equal(one, other)
    # Copies are at nothing from each other, and others may be equally far.
    for level in (0, 3):
        found = arrays_of(Saved({}, {"indices": near, "distances": np.full((20, 3), level, np.float32)}))
        assert (found[1] == level).all() and found[2] is None
    for row in range(20):
        wrong, far, down = near.copy(), apart.copy(), apart.copy()
        wrong[row, row % 3], far[row, 0], down[row, 1 + row % 2] = 20, -1e-6, 0
        for arrays, says in (
            ({"indices": wrong}, "names a row that is not one of 20"),
            ({"distances": far}, "does not ascend from 0 within a row"),
            ({"distances": down}, "does not ascend from 0 within a row"),
            ({"order": np.where(np.arange(20) == row, order[row - 1], order)}, "is not a permutation of 20 rows"),
            ({"order": np.where(np.arange(20) == row, np.uint32(20), order)}, "is not a permutation of 20 rows"),
        ):
            with pytest.raises(StateError, match=f"^{says}$") as caught:
                arrays_of(Saved({}, {"indices": near, "distances": apart, "order": order} | arrays))
            assert {caught.value.array} == set(arrays)
