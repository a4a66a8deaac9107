"""What an index of one's own has without a word of it, what it must say itself, and indexes around such ones."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist

from tsne_ooc import TSNE
from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import HNSW, Exact, Graph, Index, PyNNDescent, named_state
from tsne_ooc.neighbors._recall import share_found
from tsne_ooc.neighbors._sparse import all_distances
from tsne_ooc.neighbors.base import KINDS
from tsne_ooc.neighbors.distinct import Copies, DistinctIndex
from tsne_ooc.neighbors.exact import BitsIndex, stack
from tsne_ooc.neighbors.hnsw import MOST_LINKS
from tsne_ooc.neighbors.reach import ReachIndex
from tsne_ooc.storage.state import Saved

ONE = Threads(1)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4)).astype(np.float32)


def build(search, rows, metric="euclidean", **options):
    return search.build(rows, metric=metric, rng=np.random.default_rng(0), threads=ONE, **options)


class Least(Index):
    """The two methods that an index cannot do without."""

    metric = "euclidean"

    def __init__(self, rows):
        self._exact, self.n = build(Exact(), rows), len(rows)

    def query(self, Q, k):
        return self._exact.query(Q, k)

    def query_self(self, k):
        return self._exact.query_self(k)


class Kept(Least):
    """One that keeps its rows, in no order."""

    @property
    def rows(self):
        return self._exact.rows


class Ordered(Kept):
    """One that has an order, and answers for all its rows at once."""

    @property
    def order(self):
        return np.arange(self.n, dtype=np.uint32)[::-1].copy()


class Single(Ordered):
    """One row in an order, which has no neighbours that anybody could ask for."""

    def query_part(self, start, stop, k):
        raise AssertionError("it was asked")


class Unnamed(Least):
    """One with a state, whose class files cannot name."""

    def state(self):
        return {}, {}


def test_what_the_least_index_has_and_lacks():
    index = Least(X)
    assert (index.recall(5), index.unit, index.sparse) == (1.0, 1.0, False)
    assert index.order is None and index.query_part(0, 5, 3) is None and index.from_themselves() is None
    for ask in (lambda: index.rows, lambda: Least.restore(Saved({}, {}), ONE)):
        with pytest.raises(NotImplementedError):
            ask()


@pytest.mark.parametrize(
    "made, says",
    [
        (lambda: Least(X), "an index of type Least cannot be saved: it has no state()"),
        (lambda: Unnamed(X), "an index of type Unnamed cannot be saved: its class has no kind="),
    ],
)
def test_an_index_that_no_file_can_hold_says_what_it_lacks(made, says):
    with pytest.raises(ValueError) as caught:
        named_state(made())
    assert str(caught.value) == says


def test_the_name_of_its_kind_goes_into_the_file(monkeypatch):
    monkeypatch.setitem(KINDS, "mine", Unnamed)
    assert named_state(Unnamed(X)) == ({"kind": "mine"}, {})


def widest(x, y):
    return float(np.abs(x - y).max())


def test_a_function_as_metric_is_in_no_file():
    with pytest.raises(ValueError) as caught:
        named_state(build(Exact(), X, widest))
    assert str(caught.value) == (
        f"metric={widest!r} is a function, which no file can hold; use the name of a metric, or pickle"
    )
    again = pickle.loads(pickle.dumps(build(Exact(), X, widest)))
    np.testing.assert_allclose(again.query_self(1)[1][:, 0], np.sort(cdist(X, X, "chebyshev"))[:, 1], rtol=1e-6)


@pytest.mark.parametrize(
    "search, metric", [(Exact(), "cityblock"), (PyNNDescent(), "cityblock")], ids=["exact", "pynndescent"]
)
def test_rows_are_given_as_they_were_where_they_are_dense(search, metric):
    np.testing.assert_array_equal(build(search, X, metric).rows, X)
    with pytest.raises(NotImplementedError):
        _ = build(search, sparse.csr_array(np.maximum(X, 0)), metric).rows


def test_an_index_of_bits_is_pickled_with_its_answers():
    bits = RNG.random((70, 90)) < 0.3
    index = build(Exact(), bits.astype(np.float32), "jaccard")
    assert type(index) is BitsIndex
    again = pickle.loads(pickle.dumps(index))
    for found, wanted in zip(again.query_self(5), index.query_self(5), strict=True):
        np.testing.assert_array_equal(found, wanted)
    asked = (RNG.random((9, 90)) < 0.3).astype(np.float32)
    np.testing.assert_allclose(again.query(asked, 1)[1][:, 0], cdist(asked > 0, bits, "jaccard").min(1), rtol=1e-6)


def test_no_queries_have_answers_of_the_right_width():
    indices, distances = stack([], 4)
    assert (indices.shape, indices.dtype, distances.shape, distances.dtype) == ((0, 4), np.uint32, (0, 4), np.float32)


def test_links_have_a_bound():
    assert HNSW(links=MOST_LINKS).links == MOST_LINKS
    with pytest.raises(ValueError) as caught:
        HNSW(links=MOST_LINKS + 1)
    assert str(caught.value) == f"links={MOST_LINKS + 1} must be at most {MOST_LINKS}"


@pytest.mark.parametrize("search", ["ivf", "hnsw"])
def test_searches_by_products_take_no_parameters(search):
    name = search.upper()
    with pytest.raises(ValueError) as caught:
        TSNE(neighbors=search, metric_params={"w": np.ones(4)}, perplexity=5).fit(X)
    assert str(caught.value) == f"{name} takes no metric_params, got ['w']; use neighbors='exact'"


# ------------------------------------------------------------------------------------------------- one in another


def of_a_graph(inner):
    graph = Graph(build(Exact(), X[: inner.n]).query_self(min(9, inner.n - 1)))
    index = graph.build(X[: inner.n], rng=np.random.default_rng(0), threads=ONE)
    index._inner = inner
    return index, X[: inner.n]


def with_copies(inner):
    of = np.repeat(np.arange(inner.n), 3)
    return DistinctIndex(Copies.from_numbers(of), inner, ONE), X[of]


def with_rows_far_out(inner):
    far = np.float32(1e4) * (1 + np.arange(12, dtype=np.float32).reshape(3, 4))
    numbers = np.arange(inner.n, inner.n + 3, dtype=np.uint32)
    return ReachIndex(inner, far, numbers, np.zeros(4), 1e3, ONE), np.concatenate([X[: inner.n], far])


AROUND = [of_a_graph, with_copies, with_rows_far_out]


@pytest.mark.parametrize(
    "around, inner",
    [
        # The inner one has no order, and no part of it can be named.
        *((around, lambda: Kept(X)) for around in AROUND),
        # It has one, and answers for all at once. A graph knows its answers without asking.
        *((around, lambda: Ordered(X)) for around in AROUND[1:]),
        # A single row has no neighbours of its own.
        *((around, lambda: Single(X[:1])) for around in AROUND[1:]),
    ],
)
def test_where_the_inner_index_gives_no_parts_all_is_answered_at_once(around, inner):
    index, rows = around(inner())
    assert index.query_part(0, 1, 2) is None
    if index.order is None:
        # Not even of rows that the inner one does not have.
        assert index.query_part(index.n - 1, index.n, 2) is None
    found = index.query_self(2)
    D = cdist(rows.astype(float), rows.astype(float))
    np.fill_diagonal(D, np.inf)
    np.testing.assert_allclose(found[1], np.sort(D, axis=1)[:, :2], rtol=1e-5, atol=1e-5)


def test_a_graph_answers_in_the_order_of_its_search():
    index, _ = of_a_graph(Ordered(X))
    near, apart = index.query_self(4)
    part = index.query_part(5, 11, 4)
    np.testing.assert_array_equal(part[0], near[::-1][5:11])
    np.testing.assert_array_equal(part[1], apart[::-1][5:11])


def test_rows_of_zeros_are_as_far_from_themselves_in_a_graph_as_in_its_search():
    """By cosine they have no direction."""
    rows = X.copy()
    rows[[3, 8]] = 0
    graph = Graph(build(Exact(), rows, "cosine").query_self(9))
    index = graph.build(rows, metric="cosine", rng=np.random.default_rng(0), threads=ONE)
    own = index.from_themselves()
    np.testing.assert_array_equal(own, build(Exact(), rows, "cosine").from_themselves())
    np.testing.assert_array_equal(np.flatnonzero(own), [3, 8])
    assert of_a_graph(Least(X))[0].from_themselves() is None


@pytest.mark.parametrize(
    "metric", ["jaccard", "dice", "yule", "rogerstanimoto", "russellrao", "sokalsneath", "hamming"]
)
def test_all_distances_of_sparse_rows_of_yes_and_no(metric):
    bits, asked = RNG.random((20, 30)) < 0.3, RNG.random((7, 30)) < 0.3
    found = all_distances(sparse.csr_array(asked.astype("f4")), sparse.csr_array(bits.astype("f4")), metric)
    np.testing.assert_allclose(found, cdist(asked, bits, metric), atol=1e-6)


@pytest.mark.parametrize("k", [0, 1])
def test_of_no_neighbours_all_are_found(k):
    """One row is the row itself; of more, this counts the others."""
    true = np.sort(RNG.random((5, k + 1)), axis=1).astype(np.float32)
    assert share_found(true, true) == 1.0
    assert share_found(true + 1, true) == (1.0 if k < 1 else 0.0)


def test_a_slip_in_the_line_of_a_class_is_told():
    with pytest.raises(TypeError):

        class Tree(Index, kinds="tree"):
            pass
