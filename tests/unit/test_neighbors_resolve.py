"""Words to configurations, precomputed distances, and what importing costs."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse

from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import HNSW, IVF, Annoy, Exact, Precomputed, PyNNDescent, resolve
from tsne_ooc.neighbors.resolve import IVF_FROM, OTHERS_FROM


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
