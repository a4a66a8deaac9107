"""Many lists, whose centres are in groups: which centres are met, what is found, and what is saved."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest
import reference_neighbors as reference

from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import IVF, Exact, centres, ivf, kmeans, named_state, restore_index
from tsne_ooc.neighbors.centres import GroupedCentres, by_list, train_groups
from tsne_ooc.neighbors.ivf import lists_of, sampled_of
from tsne_ooc.neighbors.kmeans import centre_blocks
from tsne_ooc.storage.state import Saved, StateError

TWO = Threads(2)
N = 4000


def tables():
    rng = np.random.default_rng(0)
    clumps = rng.normal(size=(N, 8)) + 9 * rng.normal(size=(40, 8))[rng.integers(40, size=N)]
    uneven = clumps * (10.0 ** -rng.integers(0, 4, N))[:, None]
    far = clumps.copy()
    far[::20] *= 300
    found = {
        "clumps": clumps,
        "clumps of many sizes": uneven,
        "rows far out": far,
        "normal, 10 columns": rng.normal(size=(N, 10)),
        "normal, 30 columns": rng.normal(size=(N, 30)),
        "cauchy": rng.standard_cauchy(size=(N, 6)),
        "a line": np.column_stack([np.linspace(0, 1, N), *0.01 * rng.normal(size=(3, N))]),
        "whole numbers": rng.integers(9, size=(N, 5)),
        "one column": rng.normal(size=(N, 1)),
        "copies of thirty rows": clumps[rng.integers(30, size=N)] + (rng.random((N, 8)) < 0.06),
    }
    return {name: np.ascontiguousarray(X[rng.permutation(N)], np.float32) for name, X in found.items()}


TABLES = tables()


@pytest.fixture
def small(monkeypatch):
    """Lists of ten rows, and groups from 50 lists on."""
    monkeypatch.setattr(ivf, "ROWS", 10)
    monkeypatch.setattr(ivf, "GROUPED", 50)


def build(X, search=IVF(), metric="euclidean", threads=2):  # noqa: B008
    return search.build(X, metric=metric, rng=np.random.default_rng(0), threads=Threads(threads))


def core(index):
    """The inverted file within an index of distinct rows that are within reach of each other."""
    while not isinstance(index, ivf.IVFIndex):
        index = index._inner
    return index


def grouped(X, lists=400, threads=TWO, seed=0):
    return GroupedCentres.of(*train_groups(X, lists, 3, rng=np.random.default_rng(seed), threads=threads), threads)


def same(one, other):
    for a, b in zip(one, other, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


# --------------------------------------------------------------------------------------------------------- centres


@pytest.mark.parametrize("name", TABLES)
def test_where_all_groups_are_met_it_is_the_search_of_all_centres(name, monkeypatch):
    monkeypatch.setattr(centres, "MET", 10**6)
    X = TABLES[name]
    found = grouped(X)
    flat = centre_blocks(found.rows, TWO)
    for k in (1, 3, 40, len(found.rows)):
        same(found.search(X, np.arange(0, N, 13), k), flat.search(X, np.arange(0, N, 13), k))
    with TWO.one_blas_thread():
        answer = found.search(X, np.arange(0, N, 13), 25)
    indices, distances = reference.nearest(reference.distances(X[::13], found.rows), 25)
    np.testing.assert_array_equal(answer[0], indices)
    np.testing.assert_allclose(answer[1], distances, rtol=2e-7, atol=1e-12)


@pytest.mark.parametrize("met_each", [1, 3])
@pytest.mark.parametrize("k", [1, 2, 7, 30, 60])
def test_those_of_the_nearest_groups_are_met(k, met_each, monkeypatch):
    """By the slow way: the nearest groups are taken, and twice as many where they have too few centres."""
    monkeypatch.setattr(centres, "MET", met_each)
    monkeypatch.setattr(centres, "LEAST", 2)
    X = TABLES["clumps"][:300]
    found = grouped(TABLES["clumps"])
    edges, rows = found.blocks.edges, found.rows
    groups = len(edges) - 1
    near = np.argsort(reference.distances(X, found.tops.rows), axis=1, kind="stable")
    apart = reference.distances(X, rows)
    indices, distances = found.search(X, np.arange(300), k)
    again = 0
    for query in range(300):
        looked = max(2, int(np.ceil(met_each * k * groups / len(rows))))
        met = np.concatenate([np.arange(edges[g], edges[g + 1]) for g in near[query, :looked]])
        while len(met) < k:
            looked, again = 2 * looked, again + 1
            met = np.concatenate([np.arange(edges[g], edges[g + 1]) for g in near[query, :looked]])
        met.sort()
        nearest = met[np.argsort(apart[query, met], kind="stable")[:k]]
        np.testing.assert_array_equal(indices[query], nearest)
        np.testing.assert_allclose(distances[query], apart[query, nearest], rtol=2e-7)
    assert (again > 10) == (met_each == 1 and k >= 30)


def test_groups_may_be_empty_and_of_one():
    rng = np.random.default_rng(0)
    rows, tops = rng.normal(size=(9, 3)).astype("f4"), rng.normal(size=(7, 3)).astype("f4")
    found = GroupedCentres.of(rows, np.array([0, 0, 1, 1, 1, 8, 9, 9]), tops, TWO)
    Q = rng.normal(size=(50, 3)).astype("f4")
    for k in (1, 5, 9):
        indices, distances = found.search(Q, np.arange(50), k)
        true = np.take_along_axis(reference.distances(Q, rows), indices.astype(int), axis=1)
        np.testing.assert_allclose(distances, true, rtol=2e-7)
        assert all(len(set(row)) == k for row in indices.tolist())
    np.testing.assert_array_equal(np.sort(indices, axis=1), np.tile(np.arange(9), (50, 1)))


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("lists", [51, 400, 3999, 4000])
def test_there_are_as_many_lists_as_were_asked_for(name, lists):
    rows, edges, tops = train_groups(TABLES[name], lists, 2, rng=np.random.default_rng(0), threads=TWO)
    assert rows.shape == (lists, TABLES[name].shape[1]) and rows.dtype == tops.dtype == np.float32
    assert edges[0] == 0 and edges[-1] == lists and (np.diff(edges) > 0).all() and len(tops) == len(edges) - 1
    assert np.isfinite(rows).all() and len(tops) <= round(lists**0.5)


def test_the_groups_of_a_small_sample_are_made_of_all_its_rows(monkeypatch):
    X, trained, plain = TABLES["normal, 10 columns"][:400], [], kmeans.train
    monkeypatch.setattr(
        kmeans, "train", lambda rows, *args, **kwargs: trained.append(rows) or plain(rows, *args, **kwargs)
    )
    train_groups(X, 400, 3, rng=np.random.default_rng(5), threads=TWO)
    np.testing.assert_array_equal(trained[0], X)
    # Each row is in one group.
    assert sum(map(len, trained[1:])) == 400
    np.testing.assert_array_equal(np.sort(np.concatenate(trained[1:]), axis=0), np.sort(X, axis=0))


@pytest.mark.parametrize("seed", range(5))
def test_queries_are_sorted_by_their_lists(seed):
    rng = np.random.default_rng(seed)
    lists = int(rng.integers(3, 60))
    probed = np.array([rng.permutation(lists)[: max(1, lists // 2)] for _ in range(40)], np.uint32)
    met = by_list(probed, lists)
    pairs = {(int(one), int(query)) for query, row in enumerate(probed) for one in row}
    assert len(met.members) == len(pairs) and len(set(met.lists.tolist())) == len(met.lists)
    ends = list(pairwise(met.starts))
    assert pairs == {
        (int(one), int(query)) for one, (a, b) in zip(met.lists, ends, strict=True) for query in met.members[a:b]
    }
    # A list that is some query's nearest comes before those that are nobody's, and so on.
    best = [min(int(np.flatnonzero(row == one)[0]) for row in probed if one in row) for one in met.lists]
    assert best == sorted(best)


# ---------------------------------------------------------------------------------------------------------- search


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("name", TABLES)
def test_what_is_found_is_enough_and_told(name, metric, small):
    if metric == "cosine" and name == "one column":
        pytest.skip("all rows have one of two directions")
    X = TABLES[name]
    index = build(X, metric=metric)
    true = build(X, Exact(), metric).query_self(15)[1]
    found = float((index.query_self(15)[1] <= true[:, -1:] * (1 + 1e-6)).mean())
    assert found > 0.93 and abs(index.recall(15) - found) < 0.04


def test_the_lists_are_in_groups(small):
    index = core(build(TABLES["clumps"]))
    assert len(index._sizes) == 400 and isinstance(index._coarse, GroupedCentres)
    assert index.probes(15) < 100
    assert isinstance(core(build(TABLES["clumps"], IVF(lists=50)))._coarse, type(centre_blocks(TABLES["clumps"], TWO)))
    lacking = TABLES["clumps"].copy()
    lacking[::3, 0] = np.nan
    # Centres of rows with gaps are met all, and there are as many lists as before.
    assert len(build(lacking, metric="nan_euclidean")._sizes) == round(3 * N**0.5)
    assert len(build(lacking, IVF(lists=70), metric="nan_euclidean")._sizes) == 70


def test_lists_by_the_number_of_rows():
    assert [lists_of(n) for n in (1, 4, 100, 10_000, 90_000, 1_300_000)] == [1, 4, 30, 300, 900, 13_000]
    assert lists_of(10**7) == lists_of(2**24) == 2**16
    # So many rows that 3 sqrt(n) is more.
    assert lists_of(10**9) == round(3 * 10**4.5)
    assert [sampled_of(n, lists_of(n)) for n in (1, 100, 10_000, 1_300_000, 10**7)] == [1, 100, 9600, 416_000, 524_288]
    assert sampled_of(10**6, 600_000) == 600_000


@pytest.mark.parametrize("lists", [60, 399, 1000])
def test_all_lists_are_an_exact_search(lists, small):
    X = TABLES["clumps"][:1000]
    for metric in ("euclidean", "cosine"):
        indices, _ = reference.nearest(reference.distances(X[:200], X, metric), 12)
        found = build(X, IVF(lists=lists, probes=lists), metric)
        assert len(found._sizes) == lists
        np.testing.assert_array_equal(found.query(X[:200], 12)[0], indices)
    # Where the nearest lists hold too few, all lists are looked into in the end.
    everything = build(X, IVF(lists=lists, probes=1)).query(X[:200], 1000)[0]
    np.testing.assert_array_equal(everything, reference.nearest(reference.distances(X[:200], X), 1000)[0])

    # Some find enough in half of the lists, and the others look into all.
    index = build(X, IVF(lists=60, probes=1))
    found, true = index.query_self(600), reference.distances(X, X)
    assert not (found[0] == np.arange(1000)[:, None]).any() and all(len(set(row)) == 600 for row in found[0].tolist())
    np.testing.assert_allclose(found[1], np.take_along_axis(true, found[0].astype(int), axis=1), rtol=2e-7)
    nearest = reference.nearest(true, 600, itself=True)[0]
    assert 20 < (found[0] == nearest).all(axis=1).sum() < 980


def test_more_lists_than_the_sample_has_rows(small, monkeypatch):
    monkeypatch.setattr(ivf, "MOST_SAMPLED", 30)
    for lists, metric in ((300, "euclidean"), (40, "euclidean"), (60, "nan_euclidean")):
        assert len(build(TABLES["clumps"], IVF(lists=lists), metric)._sizes) == lists


def test_any_batch_thread_and_order_of_queries(small):
    X = TABLES["normal, 10 columns"]
    Q = X[:300] + np.float32(0.01)
    index = build(X, threads=1)
    whole, among = index.query(Q, 15), index.query_self(15)
    other = build(X, threads=3)
    same(other.query(Q, 15), whole)
    same(other.query_self(15), among)
    alone = [index.query(Q[i : i + 1], 15) for i in range(40)]
    same([np.concatenate(part) for part in zip(*alone, strict=True)], [part[:40] for part in whole])
    mixed = np.random.default_rng(1).permutation(300)
    same(index.query(Q[mixed], 15), [part[mixed] for part in whole])
    for size in (1, 700, 2049):
        parts = [index.query_part(a, min(a + size, 2100), 15) for a in range(0, 2100, size)]
        same([np.concatenate(part) for part in zip(*parts, strict=True)], [part[index.order[:2100]] for part in among])


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
def test_any_scale_has_the_same_neighbours(scale, small):
    X = TABLES["clumps"]
    power = np.float32(2.0 ** round(np.log2(scale)))
    same([build(X * power).query(X[:200] * power, 15)[0]], [build(X).query(X[:200], 15)[0]])


def test_rows_beyond_what_a_product_can_hold_find_their_neighbours(small):
    index, far = build(TABLES["normal, 10 columns"]), np.full((3, 10), 1e30, np.float32)
    indices, distances = index.query(far, 5)
    assert np.isfinite(distances).all() and all(len(set(row)) == 5 for row in indices.tolist())


@pytest.mark.parametrize("k, probes", [(5, 3), (200, 1), (15, 100)])
def test_memory_of_the_lists_that_queries_look_into_is_bounded(k, probes, small, monkeypatch):
    """Also where lists hold too few rows, so that a query looks into twice as many, and again."""
    X = TABLES["clumps of many sizes"]
    index = core(build(X, IVF(probes=probes)))
    wanted = index.query_self(k)
    monkeypatch.setattr(ivf, "PROBES", 4000)
    monkeypatch.setattr(ivf, "TOGETHER", 300)
    slabs, together = [], []
    plain = ivf._probe, ivf.by_list, ivf.IVFIndex._fill

    def probe(frame, coarse, Q, numbers, probes):
        together.append(len(numbers) * probes)
        return plain[0](frame, coarse, Q, numbers, probes)

    def sort(probed, lists):
        together.append(probed.size)
        return plain[1](probed, lists)

    def fill(self, Q, numbers, places, k, itself, probes, answer):
        slabs.append(len(places) * probes)
        return plain[2](self, Q, numbers, places, k, itself, probes, answer)

    monkeypatch.setattr(ivf, "_probe", probe)
    monkeypatch.setattr(ivf, "by_list", sort)
    monkeypatch.setattr(ivf.IVFIndex, "_fill", fill)
    same(index.query_self(k), wanted)
    assert max(slabs) <= 4000 and max(together) <= 300 and sum(slabs) >= N * probes


# ----------------------------------------------------------------------------------------------------------- saved


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("name", ["clumps", "normal, 10 columns", "rows far out", "copies of thirty rows"])
def test_saved_and_pickled_it_answers_the_same(name, metric, small):
    X = TABLES[name]
    index = build(X, metric=metric)
    assert isinstance(core(index)._coarse, GroupedCentres)
    content, arrays = named_state(index)
    for other in (pickle.loads(pickle.dumps(index)), restore_index(Saved(content, arrays), Threads(1))):
        same(other.query(X[:300], 15), index.query(X[:300], 15))
        same(other.query_self(15), index.query_self(15))
        assert other.recall(15) == index.recall(15)
        same(named_state(other)[1].values(), arrays.values())


def test_models_of_before_have_no_groups(small):
    """They look into the lists whose centres are nearest of all, which here is done by hand."""
    X = TABLES["clumps"]
    content, arrays = named_state(build(X, IVF(lists=400, probes=5)))
    order, edges = arrays["order"], arrays["edges"]
    del arrays["groups"], arrays["tops"]
    index = restore_index(Saved(content, arrays), TWO)
    assert not {"groups", "tops"} & named_state(index)[1].keys()
    frame = index._blocks.frame
    points = frame.points(X, np.arange(200))
    ranked, apart = np.argsort(reference.distances(points, arrays["centres"]), axis=1), reference.distances(X[:200], X)
    indices, _ = index.query(X[:200], 4)
    for query in range(200):
        looked, rows = 5, np.zeros(0, int)
        while len(rows) < 4:
            rows = np.sort(np.concatenate([order[edges[i] : edges[i + 1]] for i in ranked[query, :looked]]))
            looked *= 2
        np.testing.assert_array_equal(indices[query], rows[np.argsort(apart[query, rows], kind="stable")[:4]])


def put(value, at):
    def change(array):
        array.reshape(-1)[at] = value
        return array

    return change


@pytest.mark.parametrize(
    "name, change, says",
    [
        ("groups", put(1, 0), "does not cut 400 centres into groups"),
        ("groups", put(401, -1), "does not cut 400 centres into groups"),
        ("groups", put(399, -1), "does not cut 400 centres into groups"),
        ("groups", put(2**40, 3), "does not cut 400 centres into groups"),
        ("groups", put(-1, 3), "does not cut 400 centres into groups"),
        ("groups", lambda a: a[:1], "does not cut 400 centres into groups"),
        ("groups", lambda a: a.astype("i4"), "holds int32, not int64"),
        ("groups", lambda a: a[None], "shape"),
        ("groups", lambda a: None, "the array 'groups' is missing"),
        ("tops", lambda a: a[1:], "shape"),
        ("tops", lambda a: a[:, 1:].copy(), "shape"),
        ("tops", lambda a: a.astype("f8"), "holds float64, not float32"),
        ("tops", put(np.nan, 5), "NaN or infinity"),
        ("tops", put(np.inf, 5), "NaN or infinity"),
        ("tops", lambda a: None, "the array 'tops' is missing"),
        ("centres", put(np.nan, 5), "NaN or infinity"),
        ("centres", lambda a: a[1:], "shape"),
    ],
)
def test_groups_that_cannot_be_do_not_reach_a_kernel(name, change, says, small):
    content, arrays = named_state(build(TABLES["clumps"]))
    arrays[name] = change(arrays[name].copy())
    with pytest.raises(StateError, match=says) as error:
        restore_index(Saved(content, {key: array for key, array in arrays.items() if array is not None}), TWO)
    assert "\n" not in str(error.value)
    assert error.value.array == (name if arrays[name] is not None else None)


def test_rows_with_gaps_have_no_groups_whatever_a_file_says():
    lacking = TABLES["clumps"].copy()
    lacking[::3, 0] = np.nan
    index = build(lacking, IVF(lists=60), metric="nan_euclidean")
    content, arrays = named_state(index)
    arrays["groups"], arrays["tops"] = np.array([0, 60]), arrays["centres"][:1].copy()
    same(restore_index(Saved(content, arrays), TWO).query(lacking[:90], 9), index.query(lacking[:90], 9))


def test_nobody_asks_nothing(small):
    index = build(TABLES["clumps"])
    none = index.query(np.zeros((0, 8), np.float32), 5)
    assert none[0].shape == none[1].shape == (0, 5)


@pytest.mark.parametrize("lists", [2**16 - 1, 2**16, 2**16 + 1, 2**16 + 70])
def test_more_lists_than_sixteen_bits_can_tell_are_sorted_too(lists):
    probed = np.arange(lists, dtype=np.uint32)[::-1].reshape(-1, 1)
    met = by_list(probed, lists)
    np.testing.assert_array_equal(met.lists, np.arange(lists))
    np.testing.assert_array_equal(met.starts, np.arange(lists + 1))
    np.testing.assert_array_equal(met.members, np.arange(lists)[::-1])
