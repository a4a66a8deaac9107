"""Distances and graphs that look like something else, what is shared of them, and parameters of metrics."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from edges_of_searches import ONE, D, told
from scipy.sparse import coo_array, csc_array, csr_array
from scipy.spatial.distance import cdist

from tsne_ooc._validate import RowsError
from tsne_ooc.neighbors import IVF, Exact, Graph
from tsne_ooc.neighbors.folder import GraphFacts, fingerprint_of
from tsne_ooc.neighbors.precomputed import distances_of
from tsne_ooc.storage.state import Saved, StateError

# --------------------------------------------------------------------------------------- what looks like something else


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


# ------------------------------------------------------------------------------------------------------- what is shared


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


# ------------------------------------------------------------------------------------------------ parameters of metrics


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
