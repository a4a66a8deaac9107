"""A graph that is there already makes the map that a search would make; one of other rows is refused."""

from __future__ import annotations

import copy
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.metrics.pairwise import nan_euclidean_distances

import tsne_ooc
from tsne_ooc import TSNE, Uniform
from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import IVF, Exact, Graph
from tsne_ooc.neighbors.folder import GraphFacts
from tsne_ooc.neighbors.graph import GraphIndex
from tsne_ooc.neighbors.ivf import IVFIndex
from tsne_ooc.preprocess import Preparation, Standardize
from tsne_ooc.storage.state import Saved, StateError
from tsne_ooc.testing import IndexContract

QUICK = {"perplexity": 5, "early_exaggeration_iter": 10, "n_iter": 20, "random_state": 0, "n_jobs": 2}


def rows(n=300, p=6, seed=0):
    rng = np.random.default_rng(seed)
    return (8 * np.random.default_rng(7).normal(size=(5, p))[rng.integers(0, 5, n)] + rng.normal(size=(n, p))).astype(
        "f4"
    )


X = rows()


def nearest(k, X=X, metric="euclidean"):
    """Indices and distances of the k nearest others, by all distances."""
    D = cdist(X.astype(float), X.astype(float), metric)
    np.fill_diagonal(D, np.inf)
    near = np.argsort(D, axis=1, kind="stable")[:, :k]
    return near, np.take_along_axis(D, near, axis=1)


class Whole(Exact):
    """A graph of all neighbours, by exact search."""

    def build(self, X, **options):
        if len(X) < 2:
            return super().build(X, **options)
        return Graph.of(super().build(X, **options), len(X) - 1, Exact()).build(X, **options)


class TestContract(IndexContract):
    @pytest.fixture
    def case(self):
        return SimpleNamespace(search=Whole(), recall=1.0, metrics=self.metrics)


@pytest.mark.parametrize("search", [Exact(), IVF(lists=12, probes=4)], ids=["exact", "ivf"])
def test_the_map_is_that_of_the_search(search):
    wanted = TSNE(**QUICK, neighbors=search).fit(X)
    graph = wanted.graph()
    assert (graph.n, graph.k) == (300, 15)
    found = TSNE(**QUICK, neighbors=Graph.of(wanted.map_.model.index, 15, search)).fit(X)
    np.testing.assert_array_equal(found.embedding_, wanted.embedding_)
    np.testing.assert_array_equal(found.transform(rows(9, seed=1)), wanted.transform(rows(9, seed=1)))
    assert found.recall_ == pytest.approx(wanted.recall_, abs=0.1)
    # A smaller perplexity takes the nearest of them.
    few = TSNE(**QUICK | {"perplexity": 3}, neighbors=graph).fit(X)
    assert few.n_neighbors_ == 9
    more = TSNE(**QUICK | {"perplexity": 3}, neighbors=search).fit(X)
    assert abs(few.affinities_ - more.affinities_).max() < (1e-9 if search == Exact() else 1)


@pytest.mark.parametrize("perplexity, held", [(30, 15), (15, 15), (7, 7)])
def test_equal_affinities_are_of_the_neighbours_that_there_are(perplexity, held):
    """The default perplexity asks for 30, and a graph of scanpy's has 15; who names a number gets it or an error."""
    graph = Graph(TSNE(**QUICK).fit(X).graph().matrix())
    found = TSNE(**QUICK | {"perplexity": perplexity}, neighbors=graph, affinity="uniform").fit(X)
    assert found.n_neighbors_ == held
    wanted = TSNE(**QUICK, neighbors=graph, affinity=Uniform(held)).fit(X)
    np.testing.assert_array_equal(found.embedding_, wanted.embedding_)
    with pytest.raises(ValueError, match="30"):
        TSNE(**QUICK, neighbors=graph, affinity=Uniform(30)).fit(X)


def test_graphs_of_other_programs():
    """scikit-learn's and scanpy's matrices, with the row itself and without, and pairs of arrays."""
    near, distances = nearest(15)
    starts = np.arange(301) * 15
    order = np.argsort(near, axis=1)
    by_column = csr_array(
        (np.take_along_axis(distances, order, 1).ravel(), np.take_along_axis(near, order, 1).ravel(), starts),
        (300, 300),
    )
    pair = np.hstack([np.arange(300)[:, None], near]), np.hstack([np.zeros((300, 1)), distances])
    wanted = TSNE(**QUICK, affinity=Uniform(15)).fit(X)
    for given in (by_column, by_column.tocoo(), pair, wanted.graph().matrix()):
        graph = Graph(given)
        np.testing.assert_array_equal(graph.indices, near)
        np.testing.assert_allclose(graph.distances, distances, rtol=1e-5)
        found = TSNE(**QUICK, neighbors=graph, affinity=Uniform(15)).fit(X)
        np.testing.assert_array_equal(found.embedding_, wanted.embedding_)
        assert found.recall_ == 1


def test_rows_keep_as_many_as_the_one_that_has_fewest():
    near, distances = nearest(15)
    near[7, 12:] = -1
    assert Graph((near, distances)).k == 12


def test_all_rows_move_by_a_graph():
    model = TSNE(**QUICK, sample=120, prepare=Preparation([Standardize()])).fit(X)
    wanted = model.refine(X)
    graph = wanted.graph()
    np.testing.assert_array_equal(model.refine(X, neighbors=graph).embedding_, wanted.embedding_)
    # It is of the prepared rows, and those it does not fit are told.
    with pytest.raises(ValueError, match="the graph is not of these rows, or of another metric or preparation"):
        TSNE(**QUICK, neighbors=graph).fit(X)


@pytest.mark.parametrize("metric", ["cosine", "manhattan", "seuclidean", "hellinger"])
def test_other_metrics(metric):
    table = np.abs(X)
    wanted = TSNE(**QUICK, metric=metric).fit(table)
    found = TSNE(**QUICK, metric=metric, neighbors=wanted.graph()).fit(table)
    np.testing.assert_array_equal(found.embedding_, wanted.embedding_)


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e25])
def test_rows_of_any_scale_sparse_rows_and_copies(scale):
    table = np.repeat(np.maximum(X[:60], 0), 5, axis=0) * np.float32(scale)
    for given in (table, csr_array(table)):
        wanted = TSNE(**QUICK).fit(given)
        found = TSNE(**QUICK, neighbors=wanted.graph()).fit(given)
        np.testing.assert_array_equal(found.embedding_, wanted.embedding_)


def test_it_is_saved_with_its_map(tmp_path):
    graph = TSNE(**QUICK).fit(X).graph()
    model = TSNE(**QUICK, neighbors=graph).fit(X)
    model.save(tmp_path / "model")
    loaded = tsne_ooc.load(tmp_path / "model")
    assert (loaded.affinities_ != model.affinities_).nnz == 0 and loaded.recall_ == model.recall_
    np.testing.assert_array_equal(loaded.transform(rows(9, seed=1)), model.transform(rows(9, seed=1)))
    np.testing.assert_array_equal(loaded.graph().distances, graph.distances)
    assert model.continue_fit(3).n_iter_ == 33


def test_a_saved_graph_is_read_with_suspicion():
    from tsne_ooc.estimator.saving import estimator_state, restore_estimator
    from tsne_ooc.storage.state import Saved, StateError

    content, arrays = estimator_state(TSNE(**QUICK, neighbors=TSNE(**QUICK).fit(X).graph()).fit(X))
    for name, wrong in (
        ("neighbors", np.full((300, 15), 300, np.uint32)),
        ("distances", -np.ones((300, 15), np.float32)),
        ("distances", np.zeros((300, 14), np.float32)),
    ):
        with pytest.raises(StateError):
            restore_estimator(TSNE, Saved(content, {**arrays, f"model.index.{name}": wrong}))


def test_nothing_is_shared_or_copied_for_nothing():
    near, distances = nearest(15)
    graph = Graph((near, distances))
    near[:], distances[:] = 0, 0
    assert graph.distances.min() > 0 and not graph.indices.flags.writeable
    assert copy.deepcopy(graph) is graph and clone(TSNE(neighbors=graph)).neighbors is graph
    before = graph.indices.copy(), graph.distances.copy()
    # Copies have their neighbours drawn anew, in place.
    table = np.repeat(X[:60], 5, axis=0)
    of_copies = TSNE(**QUICK).fit(table).graph()
    kept = of_copies.indices.copy()
    TSNE(**QUICK, neighbors=of_copies).fit(table)
    np.testing.assert_array_equal(of_copies.indices, kept)
    TSNE(**QUICK, neighbors=graph).fit(X)
    np.testing.assert_array_equal(graph.indices, before[0])
    assert repr(graph) == "<Graph of 300 rows, 15 neighbours each>"


@pytest.mark.parametrize(
    "fit, says",
    [
        (lambda g: TSNE(**QUICK, neighbors=g).fit(X[:299]), "the graph is of 300 rows, and there are 299"),
        (lambda g: TSNE(**QUICK, neighbors=g).fit(X[::-1]), "the graph is not of these rows"),
        (lambda g: TSNE(**QUICK, neighbors=g).fit(X * 1.05), r"row \d+ is at .* from row \d+, and the graph has"),
        (lambda g: TSNE(**QUICK, neighbors=g, metric="cosine").fit(X), "or of another metric or preparation"),
        (
            lambda g: TSNE(**QUICK | {"perplexity": 30}, neighbors=g).fit(X),
            r"the graph has 15 neighbours of each row, and 90 are needed; use affinity=Uniform\(15\), or a",
        ),
        (lambda g: TSNE(**QUICK, neighbors=g, metric="precomputed").fit(cdist(X, X)), "does not go with metric"),
        (lambda g: TSNE(**QUICK, neighbors=Graph(g.matrix(), "exat")).fit(X), "did you mean 'exact'"),
        (lambda g: Graph(cdist(X, X)), "a graph is a sparse matrix or a pair"),
        (lambda g: Graph(csr_array((300, 300))), "row 0 has no neighbour in the graph"),
        (lambda g: Graph((g.indices.astype(int) + 290, g.distances)), "row numbers from 0 to 299"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(fit, says):
    graph = Graph(nearest(15))
    with pytest.raises((ValueError, TypeError), match=says) as caught:
        fit(graph)
    assert "\n" not in str(caught.value)


def built(graph, X, metric="euclidean", params=None):
    return graph.build(X, metric=metric, metric_params=params, rng=np.random.default_rng(0), threads=Threads(1))


@pytest.mark.parametrize("n", [9, 64, 65, 300])
@pytest.mark.parametrize(
    ("factor", "fits"), [(1.0, True), (1.0095, True), (0.9905, True), (1.0125, False), (0.9875, False)]
)
def test_a_graph_is_of_rows_that_are_as_far_as_it_says(n, factor, fits):
    """To a hundredth, which is more than single precision and other formulas are off by."""
    Z = X[:n]
    near, apart = nearest(8, Z)
    graph = Graph((near, apart * factor))
    if fits:
        np.testing.assert_array_equal(built(graph, Z).query_self(8)[0], near)
        return
    with pytest.raises(ValueError) as caught:
        built(graph, Z)
    # The first of the rows that are looked at, which is that of number 0, and its last neighbour.
    assert str(caught.value) == (
        "the graph is not of these rows, or of another metric or preparation: row "
        f"{near[0, -1]} is at {apart[0, -1]:.4g} from row 0, and the graph has {np.float32(apart[0, -1] * factor):.4g}"
    )


@pytest.mark.parametrize("n", [64, 65, 128, 300])
def test_sixty_four_rows_from_all_over_are_looked_at(n):
    near, apart = nearest(8, X[:n])
    looked = set(np.unique(np.linspace(0, n - 1, min(n, 64)).astype(int)).tolist())
    seen = 0
    for row in range(0, n, 7):
        wrong = apart.copy()
        wrong[row, -1] *= 3
        if row in looked:
            with pytest.raises(ValueError, match=rf"is at .* from row {row}, and the graph has"):
                built(Graph((near, wrong)), X[:n])
        else:
            built(Graph((near, wrong)), X[:n])
        seen += row in looked
    assert seen


def test_metrics_that_take_something_from_all_rows_are_not_looked_at():
    """A few rows have other variances; with given ones they are looked at."""
    near, apart = nearest(8)
    with pytest.raises(ValueError, match="the graph is not of these rows"):
        built(Graph((near, apart)), X, "seuclidean", {"V": np.full(X.shape[1], 9.0)})
    assert built(Graph((near, 2 * apart)), X, "seuclidean").n == len(X)
    assert built(Graph((near, apart / 3)), X, "seuclidean", {"V": np.full(X.shape[1], 9.0)}).n == len(X)


@pytest.mark.parametrize(("known", "metric", "fits"), [
    ("l2", "euclidean", True), ("euclidean", "l2", True), ("euclidean", "euclidean", True), (None, "cosine", True),
    ("cosine", "cosine", True), ("euclidean", "cosine", False), ("manhattan", "euclidean", False),
])  # fmt: skip
def test_a_graph_of_another_metric_says_so(known, metric, fits):
    near, apart = nearest(8, metric={"l2": "euclidean"}.get(metric, metric))
    graph = Graph._made(near.astype(np.uint32), apart.astype(np.float32), None, GraphFacts(known), "auto")
    if fits:
        assert built(graph, X, metric).metric == {"l2": "euclidean"}.get(metric, metric)
        return
    for path in ("", "here/graph"):
        graph._path = path
        with pytest.raises(ValueError) as caught:
            built(graph, X, metric)
        named = "the graph here/graph" if path else "the graph"
        assert (
            str(caught.value)
            == f"{named} is one of metric={known!r}, and the fit has metric={metric!r}; search another"
        )


@pytest.mark.parametrize("missed", [0, 1, 3, 8])
def test_what_a_graph_of_another_program_found_is_measured(missed):
    near, apart = nearest(16)
    kept = [*range(8 - missed), *range(8, 8 + missed)]
    index = built(Graph((near[:, kept], apart[:, kept])), X)
    assert index.recall(5) == index.recall(8) == pytest.approx((8 - missed) / 8, abs=2e-3)
    parts = near[:, :8].astype(np.uint32), apart[:, :8].astype(np.float32), None
    assert built(Graph._made(*parts, GraphFacts(recall=0.25), "auto"), X).recall(8) == 0.25


def test_a_graph_of_an_index_knows_what_it_is_of():
    graph = Graph.of(Exact().build(X, metric="l2", threads=Threads(1)), 7)
    assert (graph.shape, graph.facts.metric, graph.facts.unit, graph.facts.recall) == (
        (len(X), 7),
        "euclidean",
        1.0,
        1.0,
    )
    own = Graph.of(Exact().build(X, metric=lambda x, y: abs(x - y).sum(), threads=Threads(1)), 7)
    assert own.facts.metric is None
    for k in (0, -1):
        with pytest.raises(ValueError, match=f"^k={k} must be at least 1"):
            Graph.of(Exact().build(X, threads=Threads(1)), k)
    index = built(graph, X)
    for k in (7, 8):
        for ask in (index.query_self, lambda k: index.query_part(0, 3, k)):
            if k == 7:
                ask(k)
                continue
            with pytest.raises(ValueError) as caught:
                ask(k)
            assert str(caught.value) == (
                "the graph has 7 neighbours of each row, and 8 are needed; use affinity=Uniform(7), or a perplexity of "
                "2.33 at most, or a larger graph"
            )


@pytest.mark.parametrize(
    ("metric", "params", "sparse", "says"),
    [
        ("euclidean", None, False, None),
        ("cosine", {}, False, None),
        ("euclidean", {"w": np.ones(6)}, False, "IVF takes no metric_params, got ['w']; use neighbors='exact'"),
        ("euclidean", None, True, "IVF takes no sparse rows; use neighbors='exact' or 'pynndescent', or a dense array"),
        ("jaccard", None, False, "metric of IVF='jaccard' is not known;"),
    ],
)
def test_the_search_for_new_rows_says_what_it_does_not_take_before_the_rows_are_looked_at(
    metric, params, sparse, says, monkeypatch
):
    graph = Graph(nearest(8), "ivf")
    if says is None:
        assert graph.check(metric, params, sparse=sparse) is None
    else:
        with pytest.raises(ValueError) as caught:
            graph.check(metric, params, sparse=sparse)
        assert str(caught.value).startswith(says)
    # A search of its own choice takes all these, and warns of a function where there are many rows.
    usual = Graph(nearest(8))
    usual.check(metric, params, sparse=sparse and params is None)

    def apart(one, other):
        return abs(one - other).sum()

    for limit, warned in ((301, False), (300, True)):
        monkeypatch.setattr(sys.modules["tsne_ooc.neighbors.resolve"], "OTHERS_FROM", limit)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            usual.check(apart, None, sparse=False)
        assert [f"apart for each pair of {graph.n} rows" in str(one.message) for one in told] == [True] * warned


def test_new_rows_are_searched_by_the_metric_and_its_parameters():
    V, Q = np.arange(1.0, 7) ** 3, rows(20, seed=3)
    D = cdist(X, X, "seuclidean", V=V)
    np.fill_diagonal(D, np.inf)
    near = np.argsort(D, axis=1)[:, :8]
    index = built(Graph((near, np.take_along_axis(D, near, 1))), X, "seuclidean", {"V": V})
    wanted = cdist(Q, X, "seuclidean", V=V)
    indices, distances = index.query(Q, 9)
    np.testing.assert_array_equal(indices, np.argsort(wanted, axis=1)[:, :9])
    np.testing.assert_allclose(distances, np.sort(wanted, axis=1)[:, :9], rtol=1e-5)
    assert index.query_self(8)[0].tolist() == near.tolist()


def in_an_order(near, apart, facts):
    order = np.random.default_rng(4).permutation(len(near)).astype(np.uint32)
    place = np.argsort(order).astype(np.uint32)
    return Graph._made(place[near[order]], apart[order].astype(np.float32), order, facts, "exact")


@pytest.mark.parametrize("missed", [0, 1, 3])
def test_a_graph_in_an_order_of_its_own_is_measured_and_looked_at_by_rows(missed):
    near, apart = nearest(16)
    kept = [*range(8 - missed), *range(8, 8 + missed)]
    graph = in_an_order(near[:, kept], apart[:, kept], GraphFacts())
    assert built(graph, X).recall(5) == pytest.approx((8 - missed) / 8, abs=2e-3)
    far = in_an_order(near[:, kept], apart[:, kept] * 1.05, GraphFacts())
    with pytest.raises(ValueError) as caught:
        built(far, X)
    last, told = near[0, kept[-1]], apart[0, kept[-1]]
    assert str(caught.value) == (
        f"the graph is not of these rows, or of another metric or preparation: row {last} is at {told:.4g} from row 0, "
        f"and the graph has {np.float32(told * 1.05):.4g}"
    )


@pytest.mark.parametrize(("apart", "fits"), [(0.0, True), (0.9e-4, True), (1.005e-4, True), (1.05e-4, False)])
def test_copies_may_be_apart_by_a_ten_thousandth_of_what_others_are(apart, fits):
    """Rows two and two, at distance 4 from each other but for the first pair, which the graph takes for copies."""
    places = np.repeat(40.0 * np.arange(12), 2)
    places[1::2] += 4
    places[1] = 4 * apart
    Z = np.column_stack([places, np.zeros(24)]).astype(np.float32)
    told = np.full((24, 1), 4.0)
    told[:2] = 0
    graph = Graph((np.arange(24)[:, None] ^ 1, told))
    if fits:
        assert built(graph, Z).n == 24
        return
    with pytest.raises(ValueError, match=r"row 1 is at 0.00042 from row 0, and the graph has 0$"):
        built(graph, Z)


def test_rows_that_lack_values_are_looked_at_by_what_they_have_in_common():
    """Some rows share no column, and have no distance: nobody asks for one."""
    Z = X[:40].copy()
    Z[:5, 1:] = np.nan
    Z[20:25, 0] = np.nan
    D = nan_euclidean_distances(Z.astype(float))
    assert np.isnan(D).any()
    np.fill_diagonal(D, np.inf)
    D[np.isnan(D)] = np.inf
    near = np.argsort(D, axis=1, kind="stable")[:, :6]
    apart = np.take_along_axis(D, near, 1)
    assert built(Graph((near, apart)), Z, "nan_euclidean").n == 40
    with pytest.raises(ValueError, match=rf"row {near[0, -1]} is at .* from row 0, and the graph has"):
        built(Graph((near, 1.1 * apart)), Z, "nan_euclidean")


def test_a_graph_without_an_order_has_no_parts_and_finds_no_more_than_all():
    index = built(Graph(nearest(8), "exact"), X)
    assert index.order is None and index.query_part(0, 3, 2) is None
    content, arrays = index.state()
    for told, found in ((5, 1.0), (1, 1.0), (0.25, 0.25)):
        again = GraphIndex.restore(Saved(content | {"recall": told}, arrays), Threads(1))
        assert again.recall(3) == found
    with pytest.raises(StateError, match=r"has 299 rows, the search 300"):
        short = {name: arrays[name][:-1] for name in ("neighbors", "distances")}
        short["neighbors"] = np.minimum(short["neighbors"], 298)
        GraphIndex.restore(Saved(content, arrays | short), Threads(1))


@pytest.mark.parametrize("kind", ["weights", "sparse"])
def test_a_graph_of_many_rows_is_searched_by_what_takes_its_metric(kind, monkeypatch):
    """From some number of rows on the usual search is one of lists, which takes neither weights nor sparse rows."""
    monkeypatch.setattr(sys.modules["tsne_ooc.neighbors.resolve"], "IVF_FROM", 100)
    graph = Graph(nearest(8))
    assert isinstance(built(graph, X)._inner, IVFIndex)
    given, params = (X, {"w": np.ones(X.shape[1])}) if kind == "weights" else (csr_array(X), None)
    index = built(graph, given, "euclidean", params)
    np.testing.assert_allclose(index.query(given[:9], 4)[1], np.sort(cdist(X[:9], X), axis=1)[:, :4], rtol=1e-5)
    with pytest.raises(ValueError) as caught:
        built(graph, given[:299], "euclidean", params)
    assert str(caught.value) == "the graph is of 300 rows, and there are 299; pass the one of these rows"
