"""What pynndescent is asked for, and what becomes of its answers: with a library in its place that writes both down.

Its own is half a minute of compilation; the slow tests here and in `contracts/test_neighbors.py` use it.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import scipy.sparse
from scipy.spatial.distance import cdist
from threadpoolctl import ThreadpoolController

from tsne_ooc._blas import openmp_kept
from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import PyNNDescent, pynndescent_index

N, P, K = 90, 4, 5
X = np.random.default_rng(0).normal(size=(N, P)).astype(np.float32)
Q = np.random.default_rng(1).normal(size=(30, P)).astype(np.float32)


def pools():
    """Libraries of OpenMP that this process has."""
    return ThreadpoolController().select(user_api="openmp").lib_controllers


@pytest.fixture
def openmp():
    """Each of them with three threads, also where there is one core."""
    import sklearn.cluster  # noqa: F401  # scikit-learn brings one.

    found = pools()
    before = [pool.num_threads for pool in found]
    for pool in found:
        pool.set_num_threads(3)
    assert found
    yield lambda: [pool.num_threads for pool in found]
    for pool, n in zip(found, before, strict=True):
        pool.set_num_threads(n)


class Library:
    """In the place of pynndescent: exact, or as short in its answers as `spoil` makes them."""

    def __init__(self, spoil=lambda found: found, threads=None):
        self.spoil, self.threads, self.graphs, self.asked = spoil, threads, [], []

    def NNDescent(self, rows, **options):
        self.graphs.append({"rows": rows, **options})
        if self.threads is not None:
            # As Numba does when its own begin.
            for pool in pools():
                pool.set_num_threads(self.threads)
        return Graph(self, rows, options["n_neighbors"])


class Graph:
    def __init__(self, library, rows, neighbors):
        self.library, self.rows, self.neighbors = library, rows, neighbors

    def nearest(self, queries, k):
        return self.library.spoil(np.argsort(cdist(queries, self.rows), axis=1, kind="stable")[:, :k])

    def query(self, rows, k, epsilon):
        self.library.asked.append({"k": k, "epsilon": epsilon, "neighbors": self.neighbors})
        return self.nearest(rows, k), None

    @property
    def neighbor_graph(self):
        return self.nearest(self.rows, self.neighbors), None


@pytest.fixture
def library(monkeypatch):
    def put(**options):
        made = Library(**options)
        monkeypatch.setattr(pynndescent_index, "_library", lambda: made)
        return made

    return put


def index_of(threads=1, seed=0, **options):
    return PyNNDescent(**options).build(X, rng=np.random.default_rng(seed), threads=Threads(threads))


def truth(queries, k, itself=False):
    D = cdist(queries, X)
    if itself:
        np.fill_diagonal(D, np.inf)
    near = np.argsort(D, axis=1, kind="stable")[:, :k]
    return near, np.take_along_axis(D, near, axis=1)


def same(answer, wanted):
    np.testing.assert_array_equal(answer[0], wanted[0])
    np.testing.assert_allclose(answer[1], wanted[1], rtol=1e-6)


# ------------------------------------------------------------------------------------------------------- the options


def of_graph_neighbors(library):
    for neighbors in (7, 12):
        made = library()
        index = index_of(graph_neighbors=neighbors)
        same(index.query(Q, K), truth(Q, K))
        assert [graph["n_neighbors"] for graph in made.graphs] == [neighbors]
        # One more than is asked for, and the row itself.
        same(index.query_self(20), truth(X, 20, itself=True))
        assert [graph["n_neighbors"] for graph in made.graphs] == [neighbors, 21]
    # Fewer than four times as many rows are searched exactly.
    made = library()
    index_of(graph_neighbors=N // 4).query(Q, K)
    same(index_of(graph_neighbors=N // 4 + 1).query(Q, K), truth(Q, K))
    assert len(made.graphs) == 1


def of_epsilon(library):
    made = library()
    for epsilon in (0.05, 0.3):
        index_of(graph_neighbors=7, epsilon=epsilon).query(Q, K)
    assert [asked["epsilon"] for asked in made.asked] == [0.05, 0.3]


OPTIONS = {"graph_neighbors": of_graph_neighbors, "epsilon": of_epsilon}


def test_no_option_is_left_out():
    assert set(OPTIONS) == set(inspect.signature(PyNNDescent).parameters)


@pytest.mark.parametrize("option", OPTIONS)
def test_each_option(library, option):
    OPTIONS[option](library)


def test_what_else_it_is_told(library):
    """The seed, the metric and the threads, of which it takes no more than Numba has."""
    import numba

    made = library()
    for threads, seed in ((1, 0), (1000, 1)):
        PyNNDescent(7).build(X, metric="cityblock", rng=np.random.default_rng(seed), threads=Threads(threads)).query(
            Q, K
        )
    assert [graph["n_jobs"] for graph in made.graphs] == [1, numba.get_num_threads()]
    assert {graph["metric"] for graph in made.graphs} == {"manhattan"}
    seeds = [graph["random_state"] for graph in made.graphs]
    assert seeds == [int(np.random.default_rng(seed).integers(2**31 - 1)) for seed in (0, 1)]


# ------------------------------------------------------------------------------------------------- short and full


def holes(found):
    found = found.copy()
    found[::3, [0, 2]] = -1
    return found


SPOILT = {
    "full": lambda found: found,
    "in another order": lambda found: found[:, ::-1],
    "narrow": lambda found: found[:, :3],
    "holes": holes,
    "nothing": lambda found: np.full_like(found, -1),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_short_and_full_answers(library, kind):
    """What it does not find is found all the same, and in its true order."""
    library(spoil=SPOILT[kind])
    index = index_of(graph_neighbors=12)
    same(index.query(Q, K), truth(Q, K))
    # All of a graph of 13, but for the row itself.
    same(index.query_self(12), truth(X, 12, itself=True))
    same(index.query(Q[:0], K), (np.empty((0, K)), np.empty((0, K))))


@pytest.mark.parametrize("kind", ["full", "wrong"])
def test_the_share_that_it_finds_is_told(library, kind):
    """By looking, not by what the library says of itself."""
    far = {"full": lambda found: found, "wrong": lambda found: (found + 1) % N}
    library(spoil=far[kind])
    index = index_of(graph_neighbors=12)
    D = index.query_self(K)[1]
    share = (truth(X, K, itself=True)[1][:, -1:] * (1 + 1e-6) >= D).mean()
    assert index.recall(K) == pytest.approx(share, abs=1e-6)
    assert (share == 1) == (kind == "full")


# --------------------------------------------------------------------------------------- threads of other libraries


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_threads_of_openmp_are_given_back(openmp, error):
    assert set(openmp()) == {3}
    try:
        with openmp_kept():
            for pool in pools():
                pool.set_num_threads(1)
            assert set(openmp()) == {1}
            if error is not None:
                raise error
    except KeyboardInterrupt:
        pass
    assert set(openmp()) == {3}


@pytest.mark.parametrize("ask", ["query", "query_self", "recall"])
def test_a_search_takes_no_threads_from_others(openmp, library, ask):
    library(threads=1)
    index = index_of(graph_neighbors=7)
    {"query": lambda: index.query(Q, K), "query_self": lambda: index.query_self(K), "recall": lambda: index.recall(K)}[
        ask
    ]()
    assert set(openmp()) == {3}


# -------------------------------------------------------------------------------------------------- the true library


@pytest.mark.slow  # half a minute of compilation inside the library
@pytest.mark.filterwarnings("ignore::numba.NumbaPendingDeprecationWarning")
def test_more_of_each_option_finds_more():
    rows = np.random.default_rng(3).normal(size=(2000, 20)).astype(np.float32)
    queries = np.random.default_rng(4).normal(size=(200, 20)).astype(np.float32)
    true = np.sort(cdist(queries, rows), axis=1)[:, K - 1 : K] * (1 + 1e-6)

    def found(**options):
        index = PyNNDescent(**options).build(rows, rng=np.random.default_rng(0), threads=Threads(1))
        graph = index._graph(options["graph_neighbors"])
        ours = graph.query(queries, K, epsilon=options["epsilon"])[0]
        D, near = index.query(queries, K)[::-1]
        # Distances are measured again, in true order.
        np.testing.assert_allclose(D, np.linalg.norm(queries[:, None] - rows[near], axis=2), rtol=1e-5)
        assert {tuple(sorted(row)) for row in ours} == {tuple(sorted(row)) for row in near}
        return (true >= D).mean()

    least = found(graph_neighbors=4, epsilon=0.0)
    assert least + 0.02 < min(found(graph_neighbors=4, epsilon=0.4), found(graph_neighbors=20, epsilon=0.0))


def test_a_metric_that_fails_without_a_word_is_told():
    def wordless(a, b):
        raise ValueError

    # What Numba has compiled knows what it was made of.
    wordless.py_func = wordless
    with pytest.raises(ValueError, match=r"'wordless' does not compile for two float32 rows \(ValueError: \); "):
        pynndescent_index._try(wordless, {}, np.zeros((3, 2), np.float32))


@pytest.mark.parametrize(
    ("metric", "params", "name", "told"),
    [
        ("euclidean", None, "euclidean", {}), ("l1", None, "manhattan", {}),
        ("minkowski", {"p": 3.0}, "minkowski", {"p": 3.0}),
        # The base of a logarithm does not change the order, and the library does not know it.
        ("jensenshannon", {"base": 2.0}, "jensen_shannon", {}), ("jensenshannon", None, "jensen_shannon", {}),
        ("seuclidean", {"V": np.arange(1.0, P + 1)}, "seuclidean", {"V": np.arange(1.0, P + 1)}),
    ],
)  # fmt: skip
def test_metrics_have_their_names_and_parameters_there(library, metric, params, name, told):
    made, rows = library(), np.abs(X)
    index = PyNNDescent(7).build(
        rows, metric=metric, metric_params=params, rng=np.random.default_rng(0), threads=Threads(1)
    )
    index.query_self(K)
    (graph,) = made.graphs
    assert graph["metric"] == name and graph["metric_kwds"].keys() == told.keys()
    for key, value in told.items():
        np.testing.assert_array_equal(graph["metric_kwds"][key], value)


def test_which_metrics_and_parameters_it_takes():
    """All that it has by name and all that it compiles; weights of columns it does not have."""
    from tsne_ooc.neighbors.metrics import DENSE, PARAMS, SPARSE

    takes = pynndescent_index.takes
    lacks = {"bit_jaccard", "bit_tanimoto", "bit_hamming", "nan_euclidean"}
    having = {
        ("minkowski", "p"),
        ("seuclidean", "V"),
        ("mahalanobis", "V"),
        ("mahalanobis", "VI"),
        ("jensenshannon", "base"),
    }
    assert {metric for metric in DENSE if not takes(metric, None, sparse=False)} == lacks
    assert {metric for metric in SPARSE if not takes(metric, {}, sparse=True)} == {"yule"}
    assert {
        (name, key) for name, keys in PARAMS.items() for key in keys if takes(name, {key: 1}, sparse=False)
    } == having
    assert not takes("minkowski", {"p": 3, "w": np.ones(P)}, sparse=False)
    compiled = type("Compiled", (), {"py_func": None, "__call__": lambda self, one, other: 0.0})()
    assert takes(compiled, None, sparse=False) and not takes(lambda one, other: 0.0, None, sparse=False)


@pytest.mark.parametrize("form", ["own", "read-only", "sparse"])
def test_rows_that_must_not_change_are_handed_over_as_copies(library, form):
    """The library sorts sparse rows in place, and those of queries; for read-only rows it is compiled once more."""

    def changed(graph, queries, k):
        for rows in (graph.rows, queries):
            if scipy.sparse.issparse(rows):
                assert not any(np.shares_memory(rows.data, one.data) for one in (given, asked))
                rows.data[:] = 0
        return np.tile(np.arange(k), (queries.shape[0], 1))

    made = library()
    rows, queries = np.abs(X) + 1, np.abs(Q) + 1
    given, asked = (scipy.sparse.csr_array(one) if form == "sparse" else one for one in (rows.copy(), queries.copy()))
    if form == "read-only":
        given.flags.writeable = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Graph, "nearest", changed)
        index = PyNNDescent(7).build(given, rng=np.random.default_rng(0), threads=Threads(1))
        index.query_self(K)
        index.query(asked, K)
    held = made.graphs[0]["rows"]
    assert (held is given) == (form == "own")
    if form != "sparse":
        assert held.flags.writeable
    for one, other in ((given, rows), (asked, queries)):
        np.testing.assert_array_equal(one.toarray() if form == "sparse" else one, other)


@pytest.mark.parametrize("n", [27, 28, 29])
def test_a_function_has_to_be_compiled_from_as_many_rows_on_as_a_graph_has(library, n):
    """Four times the neighbours of its graph; fewer rows are searched exactly."""

    def apart(one, other):
        return np.abs(one - other).sum()

    def search():
        return PyNNDescent(7).build(X[:n], metric=apart, rng=np.random.default_rng(0), threads=Threads(1))

    made = library()
    PyNNDescent(7).build(X[:n], rng=np.random.default_rng(0), threads=Threads(1)).query(Q, K)
    assert len(made.graphs) == (n >= 28)
    if n < 28:
        np.testing.assert_allclose(
            search().query(Q, K)[1], np.sort(cdist(Q, X[:n], "cityblock"), axis=1)[:, :K], rtol=1e-6
        )
        return
    with pytest.raises(ValueError) as caught:
        search()
    assert str(caught.value) == (
        "PyNNDescent needs a metric that Numba has compiled: numba.njit(apart); neighbors='exact' takes any function"
    )
