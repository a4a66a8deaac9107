"""What searches refuse, and name."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from edges_of_searches import ONE, told
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

from tsne_ooc._parallel import Threads
from tsne_ooc._validate import RowsError
from tsne_ooc.neighbors import HNSW, IVF, Exact, Graph
from tsne_ooc.neighbors.distinct import find_copies
from tsne_ooc.neighbors.folder import GraphFacts
from tsne_ooc.neighbors.scaled import as_searched
from tsne_ooc.neighbors.scaled import build as build_scaled
from tsne_ooc.storage.state import Saved, StateError


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
