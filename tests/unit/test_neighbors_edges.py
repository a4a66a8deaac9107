"""Neighbours at each limit: what looks like something else, rows far out, copies, scales, and what is shared."""

from __future__ import annotations

import sys
import warnings
from itertools import pairwise
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import coo_array, csc_array, csr_array
from scipy.spatial.distance import cdist

from tsne_ooc._parallel import Threads
from tsne_ooc._validate import RowsError
from tsne_ooc.neighbors import HNSW, IVF, Exact, Graph, kmeans
from tsne_ooc.neighbors.distinct import Copies, DistinctIndex, find_copies
from tsne_ooc.neighbors.folder import GraphFacts, fingerprint_of
from tsne_ooc.neighbors.plausible import tell_unlikely
from tsne_ooc.neighbors.precomputed import distances_of
from tsne_ooc.neighbors.reach import ReachIndex, split, within_reach
from tsne_ooc.neighbors.scaled import ScaledIndex, as_searched, exponent_for, scaled
from tsne_ooc.neighbors.scaled import build as build_scaled
from tsne_ooc.storage.state import Saved, StateError

ONE = Threads(1)


def told(rows, metric):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        tell_unlikely(rows, metric)
    assert len(said) <= 1
    return str(said[0].message) if said else None


# ------------------------------------------------------------------------------------- what looks like something else


def numbers(*counts):
    """Rows of 25 columns with so many of each value, zeros for the rest."""
    values = np.concatenate([np.full(count, value) for value, count in counts])
    return np.pad(values, (0, -len(values) % 25)).reshape(-1, 25).astype(np.float32)


BYTES = "asks of each number only whether it is 0, and these look like bytes of eight bits each, such as "


@pytest.mark.parametrize(
    ("rows", "doubted"),
    [
        # A quarter of what is not 0 has an upper half, and one of them the highest bit.
        (numbers((200, 25), (1, 75)), True),
        (numbers((200, 24), (1, 76)), False),
        (numbers((128, 1), (16, 24), (1, 75)), True),
        (numbers((127, 1), (16, 24), (1, 75)), False),
        (numbers((128, 1), (15, 24), (1, 75)), False),
        (numbers((255, 25), (1, 75)), True),
        (numbers((256, 25), (1, 75)), False),
        (numbers((200.5, 1), (200, 24), (1, 75)), False),
        (numbers((-1, 1), (200, 24), (1, 75)), False),
        (numbers((0, 100)), False),
    ],
)
@pytest.mark.parametrize("form", [np.asarray, csr_array])
def test_when_numbers_look_like_bytes(rows, doubted, form):
    for metric, instead in (("jaccard", "there is bit_jaccard,"), ("dice", "there is bit_hamming or bit_jaccard,")):
        said = told(form(rows), metric)
        assert (said is not None) == doubted
        if doubted:
            assert f"metric={metric!r} {BYTES}" in said and instead in said


@pytest.mark.parametrize(
    ("rows", "doubted"),
    [
        (np.eye(9), True), (np.eye(9)[:, :8], False), (np.eye(9) * 2, False), (np.zeros((9, 9)), False),
        (np.eye(9) + np.eye(9)[::-1], False),
    ],
)  # fmt: skip
def test_when_bytes_look_like_yes_and_no(rows, doubted):
    for metric, instead in (("bit_jaccard", "jaccard"), ("bit_tanimoto", "jaccard"), ("bit_hamming", "hamming")):
        said = told(rows.astype(np.float32), metric)
        wanted = f"all rows hold 0 and 1, and metric={metric!r} takes eight of them in a byte; use metric={instead!r}"
        assert said == (wanted if doubted else None)


def pairs(n, apart=1.0, own=0.0):
    D = np.full((n, n), float(apart))
    np.fill_diagonal(D, own)
    return D


def changed(D, *changes):
    for i, j, value in changes:
        D[i, j] = value
    return D


UNEVEN = cdist(np.arange(4.0)[:, None], np.arange(4.0)[:, None])


@pytest.mark.parametrize(
    ("distances", "says"),
    [
        (pairs(3, 0.2, 0.9), "each row's largest precomputed distance is that to itself, 0.9: these look like"),
        (pairs(3, 0.9, 0.9), "each row's largest precomputed distance is that to itself, 0.9"),
        # They differ from row to row, and others see a row as more alike than it sees itself.
        (changed(pairs(3, 0.2, 0.9), (1, 1, 0.5)), "each row's largest precomputed distance is that to itself, 0.9"),
        (changed(pairs(3, 0.2, 0.9), (1, 1, 0.5), (0, 1, 0.6)), "each row's largest precomputed distance is that to"),
        (pairs(2, 0.2, 0.9), None),
        (changed(pairs(3, 0.5, 0.9), (1, 1, 0.4)), None),
        (changed(pairs(3, 0.5, 0.9), (1, 2, 0.95), (2, 1, 0.95)), None),
        (pairs(3, 1.0), "all precomputed distances are 1: nothing is nearer than anything else"),
        (pairs(2, 1.0), None),
        (pairs(3, 0.0), None),
        (changed(pairs(3, 1.0), (0, 0, 1e-9)), None),
        (changed(pairs(4, 1.0), (2, 3, 2.0), (3, 2, 2.0)), None),
        # To a thousandth of the larger one the two distances of a pair are the same.
        (changed(UNEVEN.copy(), (1, 3, 2.0019)), None),
        (
            changed(UNEVEN.copy(), (1, 3, 2.0021)),
            "not symmetric: from row 1 to row 3 it is 2.002, and back 2; each row's",
        ),
        (changed(UNEVEN.copy(), (3, 1, 1.9979)), "not symmetric: from row 1 to row 3 it is 2, and back 1.998;"),
        (changed(UNEVEN.copy(), (3, 1, np.inf)), None),
        (UNEVEN[:3], None),
        ((np.zeros((4, 1), int), np.zeros((4, 1))), None),
        ([[0, 1, 1], [1, 0, 1], [1, 1, 0]], None),
    ],
)
def test_when_distances_look_like_something_else(distances, says):
    said = told(distances, "precomputed")
    assert (said is None) == (says is None)
    assert said is None or says in said


@pytest.mark.parametrize("tile", [1, 3, 8])
def test_the_pair_whose_distances_differ_is_named_wherever_it_stands(tile, monkeypatch):
    monkeypatch.setattr("tsne_ooc.neighbors.plausible._TILE", tile)
    line = cdist(np.arange(8.0)[:, None], np.arange(8.0)[:, None])
    assert told(line, "precomputed") is None
    for i, j in np.ndindex(8, 8):
        if i == j:
            continue
        first, second, there, back = (i, j, 50, j - i) if i < j else (j, i, i - j, 50)
        said = told(changed(line.copy(), (i, j, 50.0)), "precomputed")
        assert f"from row {first} to row {second} it is {there}, and back {back}; each row's own are used" in said


def chained(n, largest, rest=0.5, empty=0):
    """A graph in which so many rows have a 1, and the others less; some have no neighbour at all."""
    dense = np.zeros((n + empty, n + empty))
    for row in range(n):
        dense[row, (row + 1) % n] = dense[(row + 1) % n, row] = rest
    for row in range(largest):
        dense[row, (row + 2) % n] = dense[(row + 2) % n, row] = 1
    return csr_array(dense)


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (csr_array(pairs(3, 2.5)), "all precomputed distances are 2.5, as in a graph of which rows are neighbours"),
        (csr_array(changed(np.zeros((3, 3)), (0, 1, 1), (1, 0, 1))), None),
        (
            csr_array(changed(np.zeros((3, 3)), (0, 1, 1), (1, 2, 1), (2, 0, 1), (1, 1, 9))),
            "all precomputed distances are 1,",
        ),
        # Nine rows of ten: the largest of their distances is exactly 1, and none is more.
        (chained(10, 7), "the largest precomputed distance of nearly every row is exactly 1"),
        (chained(10, 6), None),
        (chained(10, 7, empty=5), "the largest precomputed distance of nearly every row is exactly 1"),
        (chained(10, 7, rest=1.5), None),
        (
            csr_array(changed(UNEVEN.copy(), (3, 1, 1.9979))),
            "not symmetric: from row 1 to row 3 it is 2, and back 1.998",
        ),
        (csr_array(changed(UNEVEN.copy(), (3, 1, 1.9985))), None),
        # Not each row has the other as a neighbour.
        (csr_array(changed(UNEVEN.copy(), (3, 1, 0))), None),
    ],
)
def test_when_a_graph_looks_like_something_else(graph, says):
    said = told(graph, "precomputed")
    assert (said is None) == (says is None)
    assert said is None or says in said


def test_other_metrics_are_not_doubted():
    for metric in ("euclidean", "hamming", "nan_euclidean", np.dot):
        assert told(numbers((200, 50), (1, 50)), metric) is None


def test_latitudes_of_both_halves_of_the_earth_have_a_limit():
    for latitude in (np.pi / 2, -np.pi / 2):
        Exact().build(np.float32([[latitude, 9], [0, -300]]), metric="haversine", threads=ONE)
        with pytest.raises(RowsError, match=r"numpy.radians turns degrees into them\); row 1, column 0 is -?1\.5718"):
            Exact().build(np.float32([[0, 9], [latitude * 1.00064, 0]]), metric="haversine", threads=ONE)


# --------------------------------------------------------------------------------------------------- what is shared


D = np.round(cdist(np.random.default_rng(0).normal(size=(9, 3)), np.random.default_rng(0).normal(size=(9, 3))), 3)
FAR = np.where(D > 2.5, np.inf, D)
NEAR = np.argsort(D, axis=1)[:, 1:5]


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize(
    "form",
    [
        lambda kind: D.astype(kind), lambda kind: FAR.astype(kind), lambda kind: np.asfortranarray(D.astype(kind)),
        lambda kind: pd.DataFrame(D.astype(kind)), lambda kind: pd.DataFrame(FAR.astype(kind)),
        lambda kind: csr_array(D.astype(kind)), lambda kind: csc_array(D.astype(kind)),
        lambda kind: coo_array(D.astype(kind)),
        lambda kind: (NEAR, np.take_along_axis(D, NEAR, 1).astype(kind)),
    ],
)  # fmt: skip
def test_distances_are_neither_changed_nor_shared(form, kind):
    def parts(one):
        if isinstance(one, tuple):
            return [*one]
        if hasattr(one, "tocoo"):
            return [one.tocoo().data, one.data]
        return [np.asarray(one)]

    given = form(kind)
    before = [part.copy() for part in parts(given)]
    made = distances_of(given)
    assert made.dtype == np.float32 and made.shape == (9, 9)
    dense = made if isinstance(made, np.ndarray) else made.toarray()
    if isinstance(given, tuple):
        wanted = np.zeros((9, 9))
        np.put_along_axis(wanted, NEAR, np.take_along_axis(D, NEAR, 1), 1)
    else:
        wanted = FAR if np.isinf(before[0]).any() else D
    np.testing.assert_allclose(dense, wanted, rtol=1e-6)
    values = made if isinstance(made, np.ndarray) else made.data
    values[...] = -7
    for part, old in zip(parts(given), before, strict=True):
        np.testing.assert_array_equal(part, old)


@pytest.mark.parametrize("ordered", [False, True])
def test_what_a_graph_gives_is_the_callers_own(ordered):
    X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    index = (IVF(lists=4, probes=4) if ordered else Exact()).build(X, rng=np.random.default_rng(0), threads=ONE)
    near, apart = index.query_self(5)
    order = index.order if ordered else np.arange(40, dtype=np.uint32)
    place = np.argsort(order).astype(np.uint32)
    graph = Graph._made(place[near[order]], apart[order], index.order, GraphFacts(), Exact())
    made = graph.build(X, rng=np.random.default_rng(0), threads=ONE)

    def answers():
        matrix = graph.matrix()
        parts = [*graph.read(3, 9), *made.query_self(4), matrix.data, matrix.indices]
        return [*parts, *(made.query_part(2, 7, 3) if ordered else ())]

    before = [part.copy() for part in answers()]
    np.testing.assert_array_equal(before[2], near[:, :4])
    np.testing.assert_array_equal(before[3], apart[:, :4])
    if ordered:
        np.testing.assert_array_equal(before[6], near[order[2:7], :3])
        np.testing.assert_array_equal(before[7], apart[order[2:7], :3])
    for part in answers():
        part[...] = 0
    for part, old in zip(answers(), before, strict=True):
        np.testing.assert_array_equal(part, old)
    for part in (graph.indices, graph.distances):
        with pytest.raises(ValueError, match="read-only"):
            part[0] = 0
    np.testing.assert_array_equal(graph.indices, near)
    dense = np.zeros((40, 40), np.float32)
    np.put_along_axis(dense, near.astype(int), apart, 1)
    np.testing.assert_array_equal(graph.matrix().toarray(), dense)


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({}, None),
        ({"rows": []}, None),
        ({"rows": "ab"}, "facts has rows that are not a list of sums"),
        ({"rows": ["ab", 3]}, "facts has rows that are not a list of sums"),
        ({"rows": None}, "facts has rows that are not a list of sums"),
        ({"source": {"path": "x"}}, None),
        ({"source": []}, "facts has a source that is not an object"),
        ({"source": "x"}, "facts has a source that is not an object"),
        ({"metric": "cosine"}, None),
        ({"metric": 3}, "'facts.metric' is not a string"),
        ({"recall": 0.5}, None),
        ({"recall": 1.7}, None),
        ({"recall": "x"}, "'facts.recall' is not a number"),
        ({"recall": -1}, "facts.recall=-1 must be a finite number greater than -1"),
        ({"unit": 0.5}, None),
        ({"unit": 0}, "facts.unit=0 must be a finite number greater than 0"),
        ({"unit": None}, "'facts.unit' is not a number"),
    ],
)
def test_what_a_graph_knows_of_its_rows_comes_back_or_is_refused(facts, says):
    plain = GraphFacts("euclidean", 2.0, None, ("ab", "cd"), None)
    saved = Saved({"facts": {**plain.json(), **facts}}, {}).part("facts")
    if says is None:
        wanted = plain._replace(**{key: tuple(value) if key == "rows" else value for key, value in facts.items()})
        assert GraphFacts.restore(saved) == wanted._replace(recall=wanted.recall and min(1.0, wanted.recall))
        return
    with pytest.raises(StateError) as caught:
        GraphFacts.restore(saved)
    assert str(caught.value) == says


def test_a_fingerprint_has_an_entry_for_each_run_of_rows(monkeypatch):
    monkeypatch.setattr("tsne_ooc.neighbors.folder.TOLD", 4)
    hashes = np.arange(9, dtype=np.uint64)
    found = fingerprint_of(hashes)
    assert len(found) == 3 and all(len(one) == 16 for one in found)
    for row in range(9):
        other = hashes.copy()
        other[row] += 1
        assert [a == b for a, b in zip(fingerprint_of(other), found, strict=True)] == [
            at != row // 4 for at in range(3)
        ]
    assert fingerprint_of(hashes[:8]) == found[:2] and fingerprint_of(hashes[:0]) == ()
    assert fingerprint_of(hashes[::-1][::-1]) == found


# ---------------------------------------------------------------------------------------- rows far out, copies, scales


def around(n, far, times):
    """Rows whose largest difference from the middle is 1, or so many times that."""
    X = np.zeros((n, 3), np.float32)
    X[::2, 0], X[1::2, 0] = 1, -1
    if far:
        X[:far, 1] = times
    return X


@pytest.mark.parametrize(
    ("n", "far", "times", "apart"),
    [
        (100, 1, 1025, True), (100, 1, 1024, False), (100, 1, 1023, False), (100, 2, 1025, True), (100, 3, 1025, False),
        (148, 2, 1025, True), (150, 3, 1025, True), (10, 1, 1025, True), (10, 2, 1025, False), (100, 0, 0, False),
        (100, 1, -1025, True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("piece", [7, 1 << 14])
def test_which_rows_are_out_of_reach(n, far, times, apart, piece, monkeypatch):
    """Those a thousand times as far out as a typical one, where they are at most one in fifty, or a single one."""
    monkeypatch.setattr("tsne_ooc.neighbors.reach.PIECE", piece)
    X = np.roll(around(n, far, times), 4, axis=0)
    before = X.copy()
    index = within_reach(X, lambda rows: Exact().build(rows, threads=ONE), ONE)
    assert isinstance(index, ReachIndex) == apart == (split(X, ONE) is not None)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(index.rows, X)
    if apart:
        assert index._numbers.tolist() == list(range(4, 4 + far)) and index._inner.n == n - far
        middle, radius = split(X, ONE)
        np.testing.assert_array_equal(middle, np.median(X, axis=0))
        assert radius == 1024
    D = cdist(X.astype(float), X.astype(float))
    np.testing.assert_allclose(index.query(X, 3)[1], np.sort(D, axis=1)[:, :3], rtol=1e-6)


def test_the_nearest_of_the_rows_beyond_tells_which_queries_meet_them():
    """One that is still within reach may be nearer to a row beyond than to any other, however far out others are."""
    X = around(100, 2, 1100.0)
    X[1, 1] = -1e7
    index = within_reach(X, lambda rows: Exact().build(rows, threads=ONE), ONE)
    assert isinstance(index, ReachIndex) and index._numbers.tolist() == [0, 1]
    Q = np.float32([[0, 900, 0], [0, 700, 0], [0, -900, 0], [0, 1, 0]])
    indices, distances = index.query(Q, 3)
    np.testing.assert_allclose(distances, np.sort(cdist(Q, X), axis=1)[:, :3], rtol=1e-6)
    assert indices[:2, 0].tolist() == [0, 0] and (indices[2:] > 1).all()


def test_rows_that_are_all_in_the_middle_have_no_reach():
    X = np.ones((50, 2), np.float32)
    X[0] = 1e9
    assert split(X, ONE) is None


@pytest.mark.parametrize(
    ("search", "copies", "distinct"),
    [
        (Exact(), 32, False),
        (Exact(), 33, True),
        (IVF(), 32, False),
        (IVF(), 33, True),
        (HNSW(), 4, False),
        (HNSW(), 5, True),
    ],
)
def test_from_how_many_copies_on_the_distinct_rows_are_searched(search, copies, distinct):
    X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    X[10 : 10 + copies] = X[10]
    index = search.build(X, rng=np.random.default_rng(0), threads=ONE)
    assert isinstance(index, DistinctIndex) == distinct
    if distinct:
        assert index._inner.n == 61 - copies
    D = cdist(X, X)
    np.testing.assert_allclose(index.query(X, 5)[1], np.sort(D, axis=1)[:, :5], atol=1e-5)


@pytest.mark.parametrize("form", [np.asarray, csr_array])
@pytest.mark.parametrize("few", [1, 2, 3, 7])
def test_copies_are_numbered_as_they_first_appear(form, few):
    rng = np.random.default_rng(few)
    kinds = rng.integers(0, 12, 40)
    X = np.round(rng.normal(size=(12, 4)), 1).astype(np.float32)[kinds]
    most = np.bincount(kinds).max()
    found = find_copies(form(X), ONE, few)
    assert (found is None) == (most <= few)
    if found is not None:
        seen = {}
        wanted = [seen.setdefault(tuple(row), len(seen)) for row in X.tolist()]
        assert found.of.tolist() == wanted
        for number in range(len(seen)):
            mine = found.members[found.starts[number] : found.starts[number + 1]]
            assert mine.tolist() == [row for row in range(40) if wanted[row] == number]
        assert found.first.tolist() == [wanted.index(number) for number in range(len(seen))]
    assert find_copies(form(X), ONE, int(most)) is None and find_copies(form(X), ONE, int(most) - 1) is not None


def test_among_distinct_rows_a_search_is_asked_for_no_more_than_there_are():
    """The share that is found of more is that of all; a single row has nothing to miss."""
    asked = []
    inner = SimpleNamespace(n=4, metric="euclidean", sparse=False, recall=lambda k: asked.append(k) or 0.5)
    index = DistinctIndex(Copies.from_numbers(np.array([0, 1, 1, 2, 3, 3, 3])), inner, ONE)
    assert [index.recall(k) for k in (1, 3, 4, 6)] == [0.5] * 4 and asked == [1, 3, 3, 3]
    inner.n = 1
    assert DistinctIndex(Copies.from_numbers(np.zeros(5, np.int64)), inner, ONE).recall(2) == 1.0 and len(asked) == 4


@pytest.mark.parametrize(
    ("largest", "exponent"),
    [
        (0.0, 0), (1.0, 0), (2.0**-31, 0), (np.nextafter(np.float32(2.0**-31), np.float32(0)), 1), (2.0**-32, 1),
        (2.0**-100, 69), (np.nextafter(np.float32(2.0**50), np.float32(0)), 0), (2.0**50, -1), (2.0**127, -78),
    ],
)  # fmt: skip
def test_which_scales_are_extreme(largest, exponent):
    """Those of numbers below 2^-31, and from 2^50 up; they are brought just within these."""
    for sign in (1, -1):
        X = np.float32([[0, 0], [0, sign * largest], [0, 0]])
        for rows in (X, csr_array(X)):
            assert exponent_for(rows) == exponent
            before = rows.copy()
            made = scaled(rows, exponent)
            assert abs(made - before * np.float64(2.0) ** exponent).max() == 0
            assert abs(rows - before).max() == 0
            if exponent == 0:
                values = made if isinstance(made, np.ndarray) else made.data
                values[...] = 9
                assert abs(rows - before).max() == 0


def test_what_grows_too_large_is_the_largest_number():
    most = np.finfo(np.float32).max
    made = scaled(np.float32([[1e38, -1e38, 3, np.inf]]), 10)
    np.testing.assert_array_equal(made, np.float32([[most, -most, 3 * 1024, most]]))


# ------------------------------------------------------------------------------------------------------------- k-means


@pytest.mark.parametrize("gaps", [False, True])
def test_each_round_moves_centres_to_the_mean_of_their_rows(gaps):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(90, 3)) + 9 * rng.normal(size=(5, 3))[rng.integers(0, 5, 90)]).astype(np.float32)
    if gaps:
        X[::9, 1] = np.nan
    from tsne_ooc.neighbors.gaps import gap_blocks

    ready = gap_blocks if gaps else kmeans.centre_blocks
    made = [kmeans.train(X, 6, rounds, rng=np.random.default_rng(3), threads=ONE, ready=ready) for rounds in range(4)]
    filled = np.nan_to_num(X)
    # They start from rows, no row twice.
    assert len({tuple(row) for row in made[0].tolist()}) == 6
    assert all((filled == row).all(axis=1).any() for row in made[0])
    for before, after in pairwise(made):
        there = ~np.isnan(X)[:, None]
        squares = np.where(there, (X[:, None] - before) ** 2, 0).sum(2) / there.sum(2)
        label = squares.argmin(1)
        for number in range(6):
            mine = X[label == number]
            assert len(mine)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                np.testing.assert_allclose(after[number], np.nan_to_num(np.nanmean(mine, axis=0)), rtol=1e-5, atol=1e-5)


def test_a_centre_without_rows_is_moved_to_a_row():
    """Of ten places most centres start on the same one: all but one of these have no rows."""
    X = np.repeat(np.random.default_rng(0).normal(size=(10, 2)), 30, axis=0).astype(np.float32)
    places = {tuple(row) for row in X.tolist()}
    for rounds in (1, 3):
        centres = kmeans.train(X, 40, rounds, rng=np.random.default_rng(1), threads=ONE)
        near = cdist(centres, np.array(list(places))).min(1)
        assert near.max() < 1e-6
    assert len(np.unique(np.round(centres, 5), axis=0)) >= 8


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 16, 33])
def test_centres_in_a_row_are_in_the_order_of_a_line(n):
    along = np.random.default_rng(n).permutation(n).astype(np.float32)
    centres = along[:, None] * np.float32([[3, 1]]) + 100
    order = kmeans.seriate(centres)
    assert sorted(order.tolist()) == list(range(n))
    found = along[order]
    if n > 2:
        # Each half is on one side of the middle, and so is each half of a half.
        first, second = found[: n // 2], found[n // 2 :]
        assert max(first) < min(second) or min(first) > max(second)
    assert kmeans.seriate(np.ones((n, 2), np.float32)).tolist() == list(range(n))


@pytest.mark.parametrize("rows", [1, 6, 7, 8, 20])
def test_rows_are_scaled_in_pieces(rows, monkeypatch):
    monkeypatch.setattr("tsne_ooc.neighbors.scaled.PIECE", 7)
    X = np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)
    np.testing.assert_array_equal(scaled(X, 5), X * 32)
    np.testing.assert_array_equal(scaled(X, -5), X / 32)


METRICS = [
    "euclidean",
    "l2",
    "manhattan",
    "l1",
    "cityblock",
    "chebyshev",
    "linf",
    "minkowski",
    "nan_euclidean",
    "sqeuclidean",
]


@pytest.mark.parametrize("exponent", [-90, 70])
@pytest.mark.parametrize("metric", METRICS)
def test_distances_of_an_extreme_scale_are_told_with_their_unit(metric, exponent):
    """Rows are brought to another scale by a power of two, and distances by that or, of squares, by its square."""
    X = (np.random.default_rng(0).normal(size=(30, 4)) * 2.0**exponent).astype(np.float32)
    for params in (
        None,
        {"w": np.arange(1.0, 5)} if metric in ("cityblock", "minkowski", "euclidean", "sqeuclidean") else None,
    ):
        options = {"metric": metric, "metric_params": params, "rng": np.random.default_rng(0), "threads": ONE}
        index = build_scaled(Exact(), X, **options)
        assert isinstance(index, ScaledIndex)
        name = {
            "l2": "euclidean",
            "nan_euclidean": "euclidean",
            "manhattan": "cityblock",
            "l1": "cityblock",
            "linf": "chebyshev",
        }
        D = cdist(X.astype(float), X.astype(float), name.get(metric, metric), **(params or {}))
        for k, (_, found) in ((30, index.query(X, 30)), (29, index.query_self(29))):
            wanted = np.sort(D, axis=1)[:, 30 - k :]
            np.testing.assert_allclose(found * np.float64(index.unit), wanted, rtol=1e-5)
        assert 2.0**-62 < found.max() < 2.0**110
        np.testing.assert_array_equal(index.rows, X)


def test_metrics_without_a_scale_are_searched_as_they_are():
    X = (np.random.default_rng(0).random((30, 4)) * 2.0**-90).astype(np.float32)
    for metric, params in (
        ("cosine", None),
        ("correlation", None),
        ("canberra", None),
        ("seuclidean", {"V": np.ones(4)}),
    ):
        index = build_scaled(
            Exact(), X, metric=metric, metric_params=params, rng=np.random.default_rng(0), threads=ONE
        )  # fmt: skip
        assert not isinstance(index, ScaledIndex) and index.unit == 1


# ------------------------------------------------------------------------------------ the last row and the last column


def test_what_the_last_row_or_column_does_not_hold_is_no_smaller_table(tmp_path):
    """The largest number that is named somewhere is not how many there are."""
    from tsne_ooc.neighbors.given_graphs import nearest_of, of_scanpy
    from tsne_ooc.neighbors.precomputed import Precomputed
    from tsne_ooc.neighbors.saved import named_state, restore_index

    n, k = 9, 2
    near = np.array([[(row + 1) % 7, (row + 2) % 7] for row in range(n)])
    apart = np.tile(np.float64([0.5, 1.5]), (n, 1))
    for graph in (Graph((near, apart)), Graph(Graph((near, apart)).matrix())):
        assert (graph.n, graph.k, graph.matrix().shape) == (n, k, (n, n))
    # As anndata writes it.
    with h5py.File(tmp_path / "cells.h5ad", "w") as file:
        group = file.create_group("obsp/distances")
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": (n, n)})
        group["data"], group["indices"], group["indptr"] = apart.ravel(), near.ravel(), np.arange(n + 1) * k
    assert of_scanpy(tmp_path / "cells.h5ad").shape == (n, n) and Graph(tmp_path / "cells.h5ad").n == n
    # A last row without a neighbour is one that has none.
    short = csr_array((apart.ravel()[:-k], near.ravel()[:-k], [*range(0, n * k, k), (n - 1) * k]), shape=(n, n))
    with pytest.raises(ValueError, match=f"^row {n - 1} has no neighbour in the graph; each row needs one$"):
        nearest_of(short)
    made = distances_of(short)
    assert made.shape == (n, n) and np.diff(made.indptr).tolist() == [k] * (n - 1) + [0]
    with pytest.raises(ValueError, match=f"^row {n - 1} has 0 precomputed neighbours at a finite distance"):
        Precomputed().build(short, threads=ONE).query_self(1)
    found = Precomputed().build(Graph((near, apart)).matrix(), threads=ONE)
    np.testing.assert_array_equal(found.query(short[: n - 1], k)[0], found.query_self(k)[0][: n - 1])
    # Sparse rows of which none has the last column come back with it.
    X = np.random.default_rng(0).random((n, 5)).astype(np.float32)
    X[:, 4] = 0
    index = Exact().build(csr_array(X), metric="euclidean", threads=ONE)
    again = restore_index(Saved(*named_state(index)), ONE)
    np.testing.assert_array_equal(again.query(csr_array(X), 3)[1], index.query(csr_array(X), 3)[1])


@pytest.mark.parametrize("known", [0, 1, 2, 5])
def test_a_column_that_few_rows_of_a_list_have_is_at_their_mean(known):
    """Of two lists far from each other; what no row of a list has stands for 0, the middle."""
    from tsne_ooc.neighbors.gaps import gap_blocks

    X = np.zeros((20, 3), np.float32)
    X[:10, 0], X[10:, 0] = -50, 50
    X[:, 1] = np.random.default_rng(known).normal(4, 1, 20)
    X[known:10, 1] = np.nan
    centres = kmeans.train(X, 2, 3, rng=np.random.default_rng(0), threads=ONE, ready=gap_blocks)
    first, second = centres[np.argsort(centres[:, 0])]
    wanted = X[:known, 1].astype(float).mean() if known else 0
    np.testing.assert_allclose(first, [-50, wanted, 0], rtol=1e-6)
    np.testing.assert_allclose(second, [50, X[10:, 1].astype(float).mean(), 0], rtol=1e-6)


def test_a_mean_of_many_rows_has_all_its_digits():
    """The sum of forty thousand single numbers, one after the other, would have lost three of them."""
    X = np.full((40_001, 2), 0.1, np.float32)
    X[-1] = -9
    centres = kmeans.train(X, 2, 2, rng=np.random.default_rng(7), threads=ONE)
    assert abs(centres.max() - np.float32(0.1)) <= 1e-8


def test_a_row_is_as_likely_to_get_a_centre_as_its_list_is_long():
    X = np.repeat(np.float32([[0, 0], [9, 9], [30, 0]]), [2, 10, 28], axis=0)
    asked, plain = [], np.random.default_rng(0)

    def choice(n, size, **more):
        asked.append((n, size, more))
        # All start on the first rows, so that one has none of the rows.
        return np.array([0, 2, 12, 1]) if "p" not in more else plain.choice(n, size, **more)

    kmeans.train(X, 4, 1, rng=SimpleNamespace(choice=choice), threads=ONE)
    (_, first, told), (n, size, more) = asked
    assert first == 4 and told == {"replace": False} and (n, size) == (40, 1)
    wanted = np.repeat([2, 10, 28], [2, 10, 28]).astype(float)
    np.testing.assert_allclose(more["p"], wanted / wanted.sum(), rtol=1e-12)


# --------------------------------------------------------------------------------------------- parameters of metrics


def by_mahalanobis(VI):
    X = np.float32([[0, 0], [1, 2], [3, -1], [-2, 5]])
    found = Exact().build(X, metric="mahalanobis", metric_params={"VI": VI}, threads=ONE).query(X, 4)[1]
    away = X[:, None].astype(float) - X
    squares = np.einsum("ijk,kl,ijl->ij", away, np.array(VI, float), away)
    return found, np.sort(np.sqrt(np.maximum(squares, 0)), axis=1)


def test_an_inverse_covariance_counts_by_its_symmetric_part():
    """What is on one side of its diagonal alone counts half on both; rounding may leave it a little below nothing."""
    for VI in ([[1, -3], [3, 1]], [[1, 0.5], [0, 1]], [[1, 0], [0, 0]], [[4, 0], [0, -3e-6]]):
        np.testing.assert_allclose(*by_mahalanobis(VI), rtol=1e-5, atol=1e-6)
    for VI in ([[1, -4], [0, 1]], [[1, 0], [-4, 1]], [[4, 0], [0, -5e-6]], [[0, 0], [0, -1e-9]]):
        with pytest.raises(ValueError, match=r"metric_params\['VI'\] is not a covariance or its inverse"):
            by_mahalanobis(VI)


@pytest.mark.parametrize("form", [list, tuple, np.float32, np.array])
def test_weights_may_be_any_row_of_numbers_and_are_not_shared(form):
    X = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    w = form([1, 0.5, 4])
    index = Exact().build(X, metric="cityblock", metric_params={"w": w}, threads=ONE)
    if isinstance(w, np.ndarray):
        w[:] = 7
    D = cdist(X.astype(float), X.astype(float), "cityblock", w=np.array([1, 0.5, 4]))
    np.testing.assert_allclose(index.query(X, 12)[1], np.sort(D, axis=1), rtol=1e-6, atol=1e-7)


# ------------------------------------------------------------------------------------------ what is refused, and named


def test_a_part_of_rows_with_gaps_names_a_row_by_its_own_number():
    """A few rows have no column in common with the others, wherever the order of the search puts them."""
    X = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    X[:, 2:] = np.nan
    apart = [7, 21, 30]
    X[apart] = X[apart][:, [2, 3, 0, 1]]
    options = {"metric": "nan_euclidean", "rng": np.random.default_rng(0), "threads": ONE}
    index = IVF(lists=4, probes=4).build(X, **options)
    for start in range(40):
        row = index.order[start]
        if row not in apart:
            assert index.query_part(start, start + 1, 5)[0].shape == (1, 5)
            continue
        with pytest.raises(RowsError, match=f"^row {row} has a column in common with 2 of 40 other rows, and 5 nei"):
            index.query_part(start, start + 1, 5)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_a_graph_has_rows_and_neighbours(shape):
    from tsne_ooc.neighbors.folder import arrays_of

    saved = Saved({}, {"distances": np.zeros(shape, np.float32), "indices": np.zeros(shape, np.uint32)})
    with pytest.raises(StateError, match=r"has the shape \(\d, \d\), which is not a graph$"):
        arrays_of(saved)


@pytest.mark.parametrize(("effort", "k", "itself", "kept"), [(30, 5, False, 30), (7, 5, False, 10), (7, 5, True, 12),
                                                            (500, 5, False, 60), (40, 29, True, 60)])  # fmt: skip
def test_how_many_candidates_a_walk_keeps(effort, k, itself, kept, monkeypatch):
    """As many as it is told, twice as many as are asked for at least, and no more than there are rows."""
    import faiss

    X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    index = HNSW().build(X, rng=np.random.default_rng(0), threads=ONE)
    plain, asked = faiss.SearchParametersHNSW, []
    monkeypatch.setattr(faiss, "SearchParametersHNSW", lambda **told: asked.append(told) or plain(**told))
    assert index._answer(X, k, effort, itself=itself)[0].shape == (60, k)
    assert asked == [{"efSearch": kept}]


def test_rows_are_handed_to_a_search_in_its_units():
    X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    for factor, other in ((1.0, False), (2.0**-90, True)):
        rows = X * np.float32(factor)
        index = build_scaled(Exact(), rows, metric="l2", metric_params=None, rng=np.random.default_rng(0), threads=ONE)
        found = as_searched(rows, index)
        assert (found is rows) != other
        np.testing.assert_array_equal(found, index._inner.rows if other else rows)


@pytest.mark.parametrize(("ef_build", "n", "kept"), [(5, 60, 5), (60, 60, 60), (61, 60, 60), (1000, 61, 61)])
def test_a_graph_of_walks_is_built_as_it_is_told(ef_build, n, kept, monkeypatch):
    """By one thread, with a seed of the fit's, and with no more candidates than there are rows."""
    import faiss

    from tsne_ooc.neighbors import hnsw

    X = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
    seeds, threads, generator, openmp = [], [], faiss.RandomGenerator, hnsw._openmp
    monkeypatch.setattr(faiss, "RandomGenerator", lambda seed: seeds.append(seed) or generator(seed))
    monkeypatch.setattr(hnsw, "_openmp", lambda n: threads.append(n) or openmp(n))
    made = [
        HNSW(links=links, ef_build=ef_build, ef=7, recall=None).build(
            X, rng=np.random.default_rng(seed), threads=Threads(3)
        )
        for links, seed in ((5, 0), (9, 1), (5, 0))
    ]
    assert threads == [1] * 3 and seeds == [int(np.random.default_rng(seed).integers(2**31)) for seed in (0, 1, 0)]
    for index, links in zip(made, (5, 9, 5), strict=True):
        graph = index._graph.hnsw
        assert (graph.efConstruction, graph.nb_neighbors(1), graph.nb_neighbors(0)) == (kept, links, 2 * links)
        assert [index._first(k) for k in (1, 3, 4, 20)] == [7, 7, 8, 40]
    threads.clear()
    one, other = made[0].query_self(5), made[2].query_self(5)
    assert threads == [3, 3]
    np.testing.assert_array_equal(one[0], other[0])


@pytest.mark.parametrize(("asked", "child", "had"), [(3, False, 3), (512, False, 512), (513, False, 512), (3, True, 1)])
def test_threads_of_faiss_are_as_many_as_there_may_be_and_given_back(asked, child, had, monkeypatch):
    import faiss

    from tsne_ooc.neighbors import hnsw

    told = []
    monkeypatch.setattr(hnsw, "forked", lambda: child)
    monkeypatch.setattr(faiss, "omp_get_max_threads", lambda: 77)
    monkeypatch.setattr(faiss, "omp_set_num_threads", told.append)
    with hnsw._openmp(asked):
        assert told == [had]
    assert told == [had, 77]
    with pytest.raises(KeyboardInterrupt), hnsw._openmp(asked):
        raise KeyboardInterrupt
    assert told == [had, 77] * 2


@pytest.mark.parametrize(
    ("name", "least", "most"), [("links", 2, 4096), ("ef_build", 1, 2**31 - 1), ("ef", 1, 2**31 - 1)]
)
def test_numbers_of_a_graph_of_walks_have_limits(name, least, most):
    for value in (least, most):
        assert getattr(HNSW(**{name: value}), name) == value
    for value in (least - 1, most + 1):
        with pytest.raises(ValueError, match=f"^{name}={value} must be "):
            HNSW(**{name: value})


@pytest.mark.parametrize(
    ("metric", "params", "says"),
    [
        ("jensenshannon", {"base": 1.0}, "metric_params['base']=1.0 must be a finite number greater than 1"),
        ("jensenshannon", {"base": 0.5}, "metric_params['base']=0.5 must be a finite number greater than 1"),
        ("cityblock", {"w": np.zeros(2)}, "metric_params['w'] must be at least 0 for each column, and more for one of"),
        ("cityblock", {"w": [1, -1e-9]}, "metric_params['w'] must be at least 0 for each column, and more for one of"),
        ("cityblock", {"w": [1, np.nan]}, "metric_params['w'] holds NaN or infinity"),
        ("seuclidean", {"V": [np.inf, 1]}, "metric_params['V'] holds NaN or infinity"),
        ("seuclidean", {"V": [1, 0]}, "metric_params['V'] holds variances, which must be greater than 0"),
        ("seuclidean", {"V": [[1, 1]]}, "metric_params['V'] has the shape (1, 2); rows of 2 columns need (2,)"),
        ("mahalanobis", {"V": np.ones(2)}, "metric_params['V'] has the shape (2,); rows of 2 columns need (2, 2)"),
        ("mahalanobis", {"V": -np.eye(2)}, "metric_params['V'] is not a covariance or its inverse: one eigenvalue is"),
        ("minkowski", {"p": 0}, "metric_params['p']=0 must be a finite number greater than 0"),
        ("cityblock", {"w": "ab"}, "metric_params['w'] is not an array of numbers"),
        ("jensenshannon", {"base": 1.5}, None),
        ("cityblock", {"w": [0, 1e-9]}, None),
        ("seuclidean", {"V": [1e-9, 1]}, None),
        ("minkowski", {"p": 0.5}, None),
        ("minkowski", {"p": 3, "w": [1, 2]}, None),
    ],
)
def test_parameters_at_their_limits(metric, params, says):
    X = np.float32([[0, 1], [2, 3], [4, 1]])
    if says is None:
        assert Exact().build(X, metric=metric, metric_params=params, threads=ONE).query(X, 3)[1].shape == (3, 3)
        return
    with pytest.raises((TypeError, ValueError)) as caught:
        Exact().build(X, metric=metric, metric_params=params, threads=ONE)
    assert str(caught.value).startswith(says)


def test_a_covariance_that_is_given_is_inverted_as_it_is():
    V = np.array([[2.0, 0.7], [0.1, 1.0]])
    X = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    away = X[:, None].astype(float) - X
    D = np.sqrt(np.einsum("ijk,kl,ijl->ij", away, np.linalg.inv(V), away))
    found = Exact().build(X, metric="mahalanobis", metric_params={"V": V}, threads=ONE).query(X, 9)[1]
    np.testing.assert_allclose(found, np.sort(D, axis=1), rtol=1e-5, atol=1e-6)


def test_variances_of_rows_far_from_nothing_have_their_digits():
    X = (np.random.default_rng(0).normal(size=(500, 3)) * [1, 0.1, 10] + 3e4).astype(np.float32)
    D = cdist(X[:9].astype(float), X.astype(float), "seuclidean", V=X.astype(float).var(axis=0, ddof=1))
    found = Exact().build(X, metric="seuclidean", threads=ONE).query(X[:9], 30)[1]
    np.testing.assert_allclose(found, np.sort(D, axis=1)[:, :30], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["exact", "graph"])
def test_what_is_no_metric_is_told_before_the_rows_are_looked_at(name):
    near = np.array([[1], [0]])
    search = Exact() if name == "exact" else Graph((near, np.ones((2, 1))), "exact")
    for metric, params, sparse, says in (
        ("haversin", None, False, "did you mean 'haversine'"),
        ("haversine", None, True, "takes no sparse rows"),
        ("haversine", {"p": 2}, False, "takes no metric_params"),
        ("cityblock", {"w": [1]}, True, "takes no metric_params for sparse rows"),
        ("cityblock", {"v": [1]}, False, "the name='v' is not known"),
        (np.dot, None, True, "a callable metric takes no sparse rows; use a named metric or a dense array"),
        ("mahalanobis", {"V": 1, "VI": 1}, False, "hold both 'V' and 'VI'"),
    ):
        with pytest.raises(ValueError, match=says):
            search.check(metric, params, sparse=sparse)
    search.check(np.dot, {"anything": 1}, sparse=False)
    search.check("cityblock", {"w": [1]}, sparse=False)


@pytest.mark.parametrize("n", [3, 4, 7, 8, 9, 12])
def test_of_many_rows_some_from_all_over_tell_what_they_look_like(n, monkeypatch):
    """Of four and more each nth, so that about as many are looked at; the others may be anything."""
    monkeypatch.setattr("tsne_ooc.neighbors.plausible._ROWS", 4)
    step = max(1, n // 4)
    looked = np.arange(n) % step == 0
    for form in (np.asarray, csr_array):
        X = np.ones((n, 25), np.float32)
        X[looked] = 200
        assert told(form(X), "jaccard") is not None
        X[~looked] = 0.5
        assert told(form(X), "jaccard") is not None
        X[np.flatnonzero(looked)[-1], 3] = 0.5
        assert told(form(X), "jaccard") is None


@pytest.mark.parametrize("form", [np.asarray, csr_array])
@pytest.mark.parametrize("other", [None, 0, 5, 12, 39])
def test_different_rows_of_one_hash_are_searched_as_they_are(form, other, monkeypatch):
    """There are hardly any; here all rows have one. Those of one piece that differ are found among all pieces."""
    monkeypatch.setattr("tsne_ooc.neighbors.distinct.hashes_of", lambda X, threads: np.full((X.shape[0], 2), 7, "u8"))
    monkeypatch.setattr("tsne_ooc.neighbors.distinct.PIECE", 7)
    X = np.tile(np.float32([[1, 0, 2, -3]]), (40, 1))
    if other is not None:
        X[other, 2] = 2.5
    found = find_copies(form(X), ONE, 3)
    assert (found is None) == (other is not None)
    if found is not None:
        assert not found.of.any() and found.members.tolist() == list(range(40)) and found.starts.tolist() == [0, 40]


def test_a_graph_of_another_program_knows_nothing_of_its_rows():
    graph = Graph((np.array([[1], [0]]), np.ones((2, 1))))
    assert graph.facts == GraphFacts() == (None, 1.0, None, (), None) and graph.order is None and graph.search == "auto"


def test_what_annoy_takes_is_told_before_it_is_asked_for(monkeypatch):
    """Without the library, too; a forest grows with its index, so that its absence shows at once."""
    from tsne_ooc.neighbors import Annoy

    for metric, params, sparse, says in (
        (np.dot, None, False, "Annoy cannot use a callable metric; use neighbors='exact' or 'pynndescent'"),
        ("jaccard", None, False, "metric of Annoy='jaccard' is not known;"),
        (
            "l2",
            {"w": [1]},
            False,
            "Annoy takes dense rows and no metric_params; use neighbors='exact' or 'pynndescent'",
        ),
        ("l2", None, True, "Annoy takes dense rows and no metric_params; use neighbors='exact' or 'pynndescent'"),
    ):
        with pytest.raises(ValueError) as caught:
            Annoy().check(metric, params, sparse=sparse)
        assert str(caught.value).startswith(says)
    Annoy().check("l2", {}, sparse=False)
    monkeypatch.setitem(sys.modules, "annoy", None)
    with pytest.raises(ImportError, match=r"^neighbors='annoy' needs Annoy: pip install annoy$"):
        Annoy().build(np.eye(3, dtype=np.float32), rng=np.random.default_rng(0), threads=ONE)
    for name in ("trees", "search_k"):
        assert getattr(Annoy(**{name: 1}), name) == 1
        with pytest.raises(ValueError, match=f"^{name}=0 must be at least 1"):
            Annoy(**{name: 0})
