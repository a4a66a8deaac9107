"""Words to configurations, precomputed distances, and what importing costs."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse

from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import HNSW, IVF, Annoy, Exact, Precomputed, PyNNDescent, resolve
from tsne_ooc.neighbors.resolve import BITS_FROM, IVF_FROM, OTHERS_FROM


@pytest.mark.parametrize(
    "word, chosen",
    [
        ("exact", Exact()), ("ivf", IVF()), ("faiss", IVF()), ("hnsw", HNSW()), ("faiss-hnsw", HNSW()),
        ("annoy", Annoy()), ("pynndescent", PyNNDescent()), (IVF(probes=3), IVF(probes=3)),
    ],
)  # fmt: skip
def test_words(word, chosen):
    assert resolve(word, metric="euclidean", n=100, p=5) == chosen


def test_auto():
    for metric in ("euclidean", "l2", "cosine"):
        assert resolve("auto", metric=metric, n=IVF_FROM - 1, p=50) == Exact()
        assert resolve("auto", metric=metric, n=IVF_FROM, p=50) == IVF()
    assert resolve("auto", metric="manhattan", n=OTHERS_FROM - 1, p=50) == Exact()
    assert resolve("auto", metric="manhattan", n=OTHERS_FROM, p=50) == PyNNDescent()
    assert resolve("auto", metric="cosine", n=OTHERS_FROM, p=50, sparse=True) == PyNNDescent()
    assert resolve("auto", metric="precomputed", n=50, p=50) == Precomputed()
    # What the approximate searches do not take is searched exactly, at any size.
    assert resolve("auto", metric="euclidean", n=10**6, p=50, metric_params={"w": np.ones(50)}) == Exact()
    assert resolve("auto", metric="minkowski", n=10**6, p=50, metric_params={"p": 3}) == PyNNDescent()
    assert resolve("auto", metric="yule", n=10**6, p=50, sparse=True) == Exact()
    assert resolve("auto", metric="bit_jaccard", n=10**7, p=50) == Exact()
    assert resolve("auto", metric="jaccard", n=BITS_FROM - 1, p=50) == Exact()
    assert resolve("auto", metric="jaccard", n=BITS_FROM, p=50) == PyNNDescent()


def l1(a, b):
    return abs(a - b).sum()


def test_functions_are_searched_exactly_unless_compiled():
    """pynndescent ended in pages of a compiler's words."""
    import numba

    with pytest.warns(
        UserWarning, match=r"calls the metric l1 for each pair of 30,000 rows, 9e\+08 times; .*numba.njit"
    ):
        assert resolve("auto", metric=l1, n=OTHERS_FROM, p=3) == Exact()
    assert resolve("auto", metric=l1, n=OTHERS_FROM - 1, p=3) == Exact()
    assert resolve("auto", metric=numba.njit(l1), n=OTHERS_FROM, p=3) == PyNNDescent()
    X = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    with pytest.raises(ValueError, match=r"needs a metric that Numba has compiled: numba.njit\(l1\)"):
        build(PyNNDescent(), X, l1)
    with pytest.raises(ValueError, match="metric 'sorted_l1' does not compile for two float32 rows") as raised:
        build(PyNNDescent(), X, numba.njit(sorted_l1))
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 400
    assert resolve("annoy", metric="manhattan", n=9, p=3) == Annoy()
    for word in ("annoy", "ivf", "hnsw"):
        with pytest.raises(ValueError, match="cannot use a callable metric; use neighbors='exact' or 'pynndescent'"):
            resolve(word, metric=l1, n=9, p=3)


def sorted_l1(a, b):
    return abs(sorted(a, key=str)[0] - b.nonsense).sum()


def test_a_function_fits_at_any_size(monkeypatch):
    """The size at which the search changes, made small."""
    from tsne_ooc import TSNE
    from tsne_ooc.neighbors import resolve as module

    X = np.random.default_rng(0).normal(size=(150, 3))
    options = {"metric": l1, "perplexity": 5, "random_state": 0, "n_iter": 5, "early_exaggeration_iter": 5}
    few = TSNE(**options).fit(X)
    monkeypatch.setattr(sys.modules[module.__module__], "OTHERS_FROM", 100)
    with pytest.warns(UserWarning, match="for each pair of 150 rows"):
        many = TSNE(**options).fit(X)
    assert many.embedding_.tobytes() == few.embedding_.tobytes()


@pytest.mark.parametrize(
    "neighbors, metric, message",
    [
        ("exakt", "euclidean", "did you mean 'exact'"),
        ("pynn-descent", "euclidean", "did you mean 'pynndescent'"),
        ("auto", "euclidian", "did you mean 'euclidean'"),
        ("exact", "manhatten", "did you mean 'manhattan'"),
        ("ivf", "precomputed", "does not go with"),
        (Precomputed(), "cosine", "does not go with"),
    ],
)
def test_slips_name_the_nearest_word(neighbors, metric, message):
    with pytest.raises(ValueError, match=message):
        resolve(neighbors, metric=metric, n=10, p=3)


def test_other_slips():
    with pytest.raises(TypeError, match="neither a word nor an object"):
        resolve(3, metric="euclidean", n=10, p=3)
    with pytest.raises(ValueError, match="metric of IVF='manhattan'"):
        build(IVF(), np.zeros((3, 2), np.float32), "manhattan")
    with pytest.raises(ValueError, match="probes=0"):
        IVF(probes=0)


def build(search, X, metric="precomputed"):
    return search.build(X, metric=metric, rng=np.random.default_rng(0), threads=Threads(2))


@pytest.fixture
def case():
    X = np.random.default_rng(0).integers(6, size=(80, 3)).astype(np.float32)
    D = np.linalg.norm(X[:, None] - X[None], axis=2).astype(np.float32)
    return X, D, build(Exact(), X, "euclidean").query_self(9)


def test_precomputed_matrix(case):
    X, D, answer = case
    before = D.copy()
    index = build(Precomputed(), D)
    for one, two in zip(index.query_self(9), answer, strict=True):
        np.testing.assert_array_equal(one, two)
    for one, two in zip(index.query(D[:7], 9), build(Exact(), X, "euclidean").query(X[:7], 9), strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(D, before)


def test_precomputed_graph_and_pair(case):
    from sklearn.neighbors import kneighbors_graph

    X, _, answer = case
    graph = kneighbors_graph(X, 12, mode="distance")
    np.testing.assert_allclose(build(Precomputed(), graph).query_self(9)[1], answer[1], rtol=1e-6)
    for one, two in zip(build(Precomputed(), answer).query_self(9), answer, strict=True):
        np.testing.assert_array_equal(one, two)
    with pytest.raises(ValueError, match="row 0 has 9 precomputed neighbours at a finite distance, fewer than k=10"):
        build(Precomputed(), answer).query_self(10)


def test_precomputed_slips(case):
    with pytest.raises(ValueError, match="not square"):
        build(Precomputed(), case[1][:5])
    with pytest.raises(ValueError, match="row 3, column 4"):
        bad = case[1].copy()
        bad[3, 4] = -1
        build(Precomputed(), bad).query_self(3)
    with pytest.raises(ValueError, match="row 0 has 0 precomputed neighbours at a finite distance, fewer than k=3"):
        build(Precomputed(), np.full((9, 9), np.inf, np.float32)).query_self(3)
    with pytest.raises(ValueError, match="at least 0"):
        build(Precomputed(), sparse.csr_array(-case[1])).query_self(3)


def test_import_loads_no_library():
    libraries = "'numba', 'scipy', 'faiss', 'sklearn', 'pynndescent', 'annoy'"
    code = f"import sys, tsne_ooc.neighbors; print(*{{{libraries}}} & {{*sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == ""


def test_which_search_is_chosen_for_which_rows():
    """Each metric on both sides of its limit; weights, functions and sparse rows have limits of their own."""
    from tsne_ooc.neighbors.metrics import BOOLEAN, DENSE, PACKED, PARAMS, SPARSE

    def chosen(metric, n, **more):
        return type(resolve("auto", metric=metric, n=n, p=4, **more)).__name__

    for metric, name in DENSE.items():
        bits = name in BOOLEAN or name in PACKED
        fast = name in ("euclidean", "cosine", "nan_euclidean")
        limit, other = (
            (IVF_FROM, "IVF") if fast else (BITS_FROM, "Exact" if name in PACKED else "PyNNDescent") if bits
            else (OTHERS_FROM, "PyNNDescent")
        )  # fmt: skip
        for params in (None, {}):
            assert [chosen(metric, n, metric_params=params) for n in (1, limit - 1, limit)] == ["Exact", "Exact", other]
        for key in PARAMS.get(name, {}):
            far = "PyNNDescent" if key in ("p", "V", "VI", "base") else "Exact"
            params = {key: 2}
            assert [chosen(metric, n, metric_params=params) for n in (OTHERS_FROM - 1, OTHERS_FROM)] == ["Exact", far]
    for metric, name in SPARSE.items():
        far = "Exact" if name == "yule" else "PyNNDescent"
        assert [chosen(metric, n, sparse=True) for n in (OTHERS_FROM - 1, OTHERS_FROM)] == ["Exact", far]
    for word, kind in (("faiss-ivf", IVF), ("faiss", IVF), ("precomputed", Precomputed)):
        assert resolve(word, metric="precomputed" if kind is Precomputed else "l2", n=9, p=3) == kind()


@pytest.mark.parametrize(("metric", "sparse", "near"), [
    ("haversin", False, "'haversine'"), ("haversin", True, None), ("precomputd", False, "'precomputed'"),
    ("precomputd", True, "'precomputed'"), ("tanimot", True, "'tanimoto'"),
])  # fmt: skip
def test_a_slip_of_a_metric_names_one_that_takes_such_rows(metric, sparse, near):
    with pytest.raises(ValueError, match=f"^metric={metric!r} is not known") as caught:
        resolve("auto", metric=metric, n=9, p=3, sparse=sparse)
    assert ("haversine" in str(caught.value)) == (not sparse and metric == "haversin")
    assert near is None or f"did you mean {near}" in str(caught.value)


def test_other_metrics_on_sparse_rows_are_told_by_the_metrics_that_there_are():
    with pytest.raises(
        ValueError, match=r"^metric='haversine' takes no sparse rows, only euclidean, l2, cosine, .*; use"
    ):
        resolve("auto", metric="haversine", n=9, p=3, sparse=True)
    for neighbors, metric in (
        ("exact", "precomputed"),
        (Exact(), "precomputed"),
        (Precomputed(), "l2"),
        ("precomputed", "l2"),
    ):
        with pytest.raises(ValueError) as caught:
            resolve(neighbors, metric=metric, n=9, p=3)
        assert str(caught.value) == f"neighbors={neighbors!r} does not go with metric={metric!r}"
