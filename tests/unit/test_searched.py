"""The neighbours of all rows that a refinement keeps on the disk: they come back as they were, or not at all."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tsne_ooc import Perplexity, Uniform
from tsne_ooc._parallel import Threads
from tsne_ooc.fit import searched
from tsne_ooc.fit.rows import Recipe, joint_of, joint_within
from tsne_ooc.fit.searched import Searched
from tsne_ooc.neighbors import HNSW, IVF, Exact
from tsne_ooc.novelty import Reference
from tsne_ooc.schedule import Schedule
from tsne_ooc.scratch import JointOnDisk, Room
from tsne_ooc.storage.mapped import on_disk
from tsne_ooc.storage.state import Saved, StateError

ONE = Threads(1)
N = 60


@pytest.fixture(scope="module")
def found():
    """Of rows of which some are equal."""
    X = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)
    X[::12] = X[0]
    recipe = Recipe(2, 1.0, Exact(), "euclidean", None, Perplexity(3), "pca", Schedule([]))
    return Searched.among(X, 9, recipe, seed=0, threads=ONE)


def saved(found, **changes):
    content, arrays = found.state()
    return Saved(json.loads(json.dumps(content)), {**arrays, **changes})


def test_it_comes_back_as_it_was(found):
    again = Searched.restore(saved(found), ONE)
    for name in ("neighbors", "distances", "equal"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert len(np.unique(found.equal)) == N - 4
    assert again.index.n == N and (again.reference.own == found.reference.own).all()


@pytest.mark.parametrize("row", [N, 2**32 - 1])
def test_neighbours_that_are_no_rows_do_not_reach_a_kernel(found, row):
    neighbors = found.neighbors.copy()
    neighbors[N - 1, 8] = row
    with pytest.raises(StateError) as caught:
        Searched.restore(saved(found, neighbors=neighbors), ONE)
    assert (str(caught.value), caught.value.array) == (f"names a row that is not one of {N}", "neighbors")


@pytest.mark.parametrize("row", [-1, N])
def test_numbers_of_equal_rows_that_are_no_rows_do_not_reach_a_kernel(found, row):
    equal = found.equal.copy()
    equal[7] = row
    with pytest.raises(StateError) as caught:
        Searched.restore(saved(found, equal=equal), ONE)
    assert (str(caught.value), caught.value.array) == (f"names a row that is not one of {N}", "equal")


def table(kind):
    X = np.random.default_rng(1).normal(size=(N, 4)).astype(np.float32)
    if kind == "copies":
        X[5:45] = X[5]
    if kind == "far":
        X[9] = 1e9
    if kind == "gaps":
        X[::7, 2] = np.nan
    if kind == "yes":
        X = (X > 0).astype(np.float32)
    return X


KINDS = {
    "exact": (Exact(), "euclidean", "plain"), "lists": (IVF(lists=6), "euclidean", "plain"),
    "cosine": (IVF(lists=6, probes=2), "cosine", "plain"), "walks": (HNSW(links=4), "euclidean", "plain"),
    "copies": (IVF(lists=6), "euclidean", "copies"), "far": (IVF(lists=6), "euclidean", "far"),
    "gaps": (IVF(lists=6), "nan_euclidean", "gaps"), "bits": (Exact(), "jaccard", "yes"),
}  # fmt: skip


def among(kind, k=9, affinity=None):
    search, metric, form = KINDS[kind]
    recipe = Recipe(2, 1.0, search, metric, None, affinity or Perplexity(3), "random", Schedule([]))
    return Searched.among(table(form), k, recipe, seed=0, threads=ONE)


@pytest.mark.parametrize("block", [1, 50, 1 << 20])
@pytest.mark.parametrize("kind", KINDS)
def test_in_memory_or_on_the_disk_the_same_is_found(kind, block, tmp_path, monkeypatch):
    """By parts where the search knows an order, at once where it does not; nothing is left in the folder."""
    monkeypatch.setattr("tsne_ooc.fit.searched.BLOCK", block)
    plain = among(kind)
    with on_disk(tmp_path):
        spared = among(kind)
    wanted = plain.index.query_self(9)
    for one in (plain, spared):
        np.testing.assert_array_equal(one.neighbors, wanted[0])
        np.testing.assert_array_equal(one.distances, wanted[1])
        assert one.neighbors.dtype == np.uint32 and one.distances.dtype == np.float32
        assert (one.n, one.k) == (N, 9)
        np.testing.assert_array_equal(one.reference.own, Reference.of_neighbors(*wanted).own)
    if kind == "copies":
        assert len(np.unique(plain.equal)) == N - 39
    elif kind != "bits":
        assert plain.equal is spared.equal is None
    if plain.index.order is not None and kind != "walks":
        assert isinstance(spared.neighbors, np.memmap) or spared.neighbors.base is not None
    del spared, one
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("affinity", [Perplexity(3), Uniform(9)], ids=["perplexity", "uniform"])
@pytest.mark.parametrize("kind", KINDS)
def test_affinities_are_those_of_a_fit_to_the_bit(kind, affinity, tmp_path):
    """In memory, and on the disk where there is no room; what was found stays as it is."""
    found = among(kind, affinity=affinity)
    before = found.neighbors.copy(), found.distances.copy()
    wanted, order, _, _ = joint_of(affinity, found.index, N, 7, ONE)
    assert (order is None) == (found.index.order is None)
    for memory in (64.0, 1e-6):
        P = found.joint(affinity, 2, Room(memory, tmp_path), seed=7, threads=ONE)
        assert isinstance(P, JointOnDisk) == (memory < 1)
        np.testing.assert_array_equal(P.indptr, wanted.indptr)
        first, indices, values = P.part(0, N)
        assert first == 0
        np.testing.assert_array_equal(indices[: P.entries], wanted.indices)
        np.testing.assert_array_equal(values[: P.entries], wanted.values)
        if memory < 1:
            P.close()
    np.testing.assert_array_equal(found.neighbors, before[0])
    np.testing.assert_array_equal(found.distances, before[1])


@pytest.mark.parametrize("kind", ["exact", "lists"])
def test_a_fit_goes_on_however_little_memory_there_is(kind, tmp_path):
    """What is too little is refused before the work begins, and no more when it has: then all is on the disk."""
    index = among(kind).index
    wanted, order, k, reference = joint_of(Perplexity(3), index, N, 7, ONE)
    found = joint_within(Room(1e-6, tmp_path), Perplexity(3), index, N, 2, 7, ONE)
    P = found[0]
    assert isinstance(P, JointOnDisk) and found[2] == k
    np.testing.assert_array_equal(found[1], order)
    np.testing.assert_array_equal(found[3].own, reference.own)
    np.testing.assert_array_equal(P.indptr, wanted.indptr)
    np.testing.assert_array_equal(P.part(0, N)[2][: P.entries], wanted.values)
    P.close()


def test_one_row_has_no_neighbours_and_comes_back():
    recipe = Recipe(2, 1.0, Exact(), "euclidean", None, Perplexity(3), "pca", Schedule([]))
    alone = Searched.among(np.ones((1, 4), np.float32), 0, recipe, seed=0, threads=ONE)
    P = alone.joint(Perplexity(3), 2, Room(), seed=0, threads=ONE)
    assert (alone.n, alone.k, P.n, P.entries, alone.equal) == (1, 0, 1, 0, None)
    again = Searched.restore(saved(alone), ONE)
    assert (again.n, again.k, again.equal) == (1, 0, None)


def test_the_map_of_what_was_found(found):
    Y = np.zeros((N, 2), np.float32)
    model = found.model(Y, 0.7, 1.5)
    assert (model.dof, model.exaggeration, model.index, model.reference, model.seats) == (
        0.7, 1.5, found.index, found.reference, found.seats,
    )  # fmt: skip
    assert model.embedding is Y


@pytest.mark.parametrize(("row", "wrong"), [(N - 1, False), (N, True)])
def test_the_last_row_is_one(found, row, wrong):
    for name, kind in (("neighbors", np.uint32), ("equal", np.int64)):
        new = getattr(found, name).copy()
        new.reshape(-1)[0] = row
        if wrong:
            with pytest.raises(StateError):
                Searched.restore(saved(found, **{name: new}), ONE)
        else:
            assert getattr(Searched.restore(saved(found, **{name: new}), ONE), name).dtype == kind


def test_pages_over_files_are_given_back_between_all_that_fills_them(monkeypatch, tmp_path):
    """After the index is built, twice for each part of its answers, and before rows are placed."""
    told, index_of = [], searched.index_of

    class Told:
        def __init__(self, index):
            self.index = index

        def __getattr__(self, name):
            return getattr(self.index, name)

        def query_part(self, start, stop, k):
            told.append("ask")
            return self.index.query_part(start, stop, k)

    def build(*arguments, **options):
        index = index_of(*arguments, **options)
        told.append("build")
        return Told(index)

    monkeypatch.setattr(searched, "index_of", build)
    monkeypatch.setattr(searched, "forget_given", lambda: told.append("give back"))
    monkeypatch.setattr(searched, "BLOCK", 9 * 20)
    X = table("plain")
    recipe = Recipe(2, 1.0, IVF(lists=4), "euclidean", None, Perplexity(3), "pca", Schedule([]))
    with on_disk(tmp_path):
        Searched.among(X, 9, recipe, seed=0, threads=ONE)
    # The first question is whether it answers in parts.
    assert told == ["build", "give back", "ask", *["ask", "give back", "give back"] * (N // 20), "give back"]
