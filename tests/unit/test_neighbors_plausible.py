"""What can be told from the values is told: packed bits, graphs of neighbours, similarities, distances of one way."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist
from sklearn.neighbors import kneighbors_graph

from tsne_ooc import TSNE
from tsne_ooc.neighbors.plausible import tell_unlikely

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 5)).astype(np.float32)
QUICK = {"perplexity": 5, "n_iter": 2, "early_exaggeration_iter": 2, "random_state": 0}
BITS = (RNG.random((120, 168)) < 0.1).astype(np.uint8)
BITS[:, 0] = 1
PACKED = np.packbits(BITS, axis=1)
D = cdist(X, X)
SIMILAR = np.exp(-(D**2))


def one_way():
    skew = D.copy()
    skew[3, 7] *= 1.5
    return skew


def one_way_graph():
    graph = kneighbors_graph(X, 20, mode="distance").tolil()
    i, j = next((i, j) for i in range(120) for j in graph.rows[i] if i in graph.rows[j])
    graph[i, j] *= 2
    return graph.tocsr()


def connectivities():
    """As UMAP's: the nearest neighbour of a row has 1, the others less, and the union of both ways is symmetric."""
    graph = kneighbors_graph(X, 20, mode="distance").toarray()
    graph[graph == 0] = np.inf
    near = np.exp(-(graph - graph.min(axis=1, keepdims=True)))
    return csr_array(near + near.T - near * near.T)


DOUBTFUL = {
    "packed bits": ("jaccard", lambda: PACKED, "for those there is bit_jaccard"),
    "packed bits of another metric": ("dice", lambda: PACKED, "asks of each number only whether it is 0"),
    "packed bits, sparse": ("tanimoto", lambda: csr_array(PACKED), "for those there is bit_jaccard"),
    "bits that are not packed": ("bit_jaccard", lambda: BITS, "use metric='jaccard'"),
    "a graph of neighbours": ("precomputed", lambda: kneighbors_graph(X, 20), "all precomputed distances are 1, as in"),
    "connectivities": ("precomputed", connectivities, "such as adata.obsp['connectivities']"),
    "similarities": ("precomputed", lambda: SIMILAR, "these look like similarities"),
    "ones": ("precomputed", lambda: 1 - np.eye(120), "all precomputed distances are 1: nothing is nearer"),
    "one way": ("precomputed", one_way, "not symmetric: from row 3 to row 7 it is"),
    "one way of a graph": ("precomputed", one_way_graph, "not symmetric: from row"),
}


@pytest.mark.parametrize("metric, made, told", DOUBTFUL.values(), ids=DOUBTFUL)
def test_doubt_is_told_in_one_line(metric, made, told):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        TSNE(metric=metric, **QUICK).fit(made())
    found = [str(one.message) for one in caught if told in str(one.message)]
    assert len(found) == 1 and "\n" not in found[0], [str(one.message) for one in caught]


GOOD = {
    "bits": ("jaccard", lambda: BITS),
    "counts": ("jaccard", lambda: RNG.poisson(2, (120, 30)).astype(float)),
    "numbers": ("dice", lambda: np.abs(X)),
    "bytes": ("bit_jaccard", lambda: PACKED),
    "bytes of few bits": ("bit_jaccard", lambda: BITS[:, :7]),
    "distances": ("precomputed", lambda: D),
    "distances in single precision": ("precomputed", lambda: D.astype(np.float32)),
    "distances that are not all there": ("precomputed", lambda: np.where(D < 4, D, np.inf)),
    "a graph of distances": ("precomputed", lambda: kneighbors_graph(X, 20, mode="distance")),
    "shares that differ": (
        "precomputed",
        lambda: cdist(X > 0, X < 0.5, "hamming") * 0 + cdist(X > 0, X > 0, "hamming"),
    ),
}


@pytest.mark.parametrize("metric, made", GOOD.values(), ids=GOOD)
def test_what_is_as_it_should_be_is_not_told_anything(metric, made):
    # Warnings are errors.
    TSNE(metric=metric, **QUICK).fit(made())


def test_rows_from_all_over_a_table_are_looked_at():
    """Some thousand of them, however many rows and columns there are."""
    some = np.zeros((6, 12_000), np.uint8)
    some[1:] = RNG.integers(0, 256, (5, 12_000))
    with pytest.warns(UserWarning, match="these look like bytes"):
        tell_unlikely(some, "jaccard")
    with pytest.warns(UserWarning, match="use metric='jaccard'"):
        tell_unlikely(some > 100, "bit_jaccard")
    # Every tenth row is looked at.
    many = np.zeros((10_240, 16), np.uint8)
    many[::10] = RNG.integers(0, 256, (1024, 16))
    with pytest.warns(UserWarning, match="these look like bytes"):
        tell_unlikely(many, "jaccard")
    many[::10], many[1::10] = 0, RNG.integers(0, 256, (1024, 16))
    tell_unlikely(many, "jaccard")


def test_one_distance_is_not_all_distances_alike():
    tell_unlikely(np.float64([[0, 1], [1, 0]]), "precomputed")
    tell_unlikely(csr_array(np.float64([[0, 1], [1, 0]])), "precomputed")
    tell_unlikely(np.zeros((1, 1)), "precomputed")
    with pytest.warns(UserWarning, match="all precomputed distances are 1"):
        tell_unlikely(1 - np.eye(3), "precomputed")


def test_tiles_are_all_looked_at(monkeypatch):
    monkeypatch.setattr("tsne_ooc.neighbors.plausible._TILE", 7)
    with pytest.warns(UserWarning, match="from row 3 to row 7 it is"):
        TSNE(metric="precomputed", **QUICK).fit(one_way())
    TSNE(metric="precomputed", **QUICK).fit(D)
