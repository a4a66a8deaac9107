"""Graphs that scanpy and others made: from an AnnData, its file, in pieces, and what is wrong with them."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

import tsne_ooc
from tsne_ooc import TSNE, Uniform
from tsne_ooc.neighbors import Graph

QUICK = {"early_exaggeration_iter": 5, "n_iter": 5, "random_state": 0}
X = np.random.default_rng(0).normal(size=(200, 5)).astype("f4")


def scanpys(k=15):
    """``obsp["distances"]`` as `scanpy.pp.neighbors` writes it: k - 1 others of each row, columns ascending."""
    D = cdist(X.astype(float), X.astype(float))
    np.fill_diagonal(D, np.inf)
    near = np.sort(np.argsort(D, axis=1)[:, : k - 1], axis=1)
    starts = np.arange(len(X) + 1, dtype=np.int32) * (k - 1)
    return csr_array((np.take_along_axis(D, near, 1).ravel(), near.ravel().astype("i4"), starts), shape=D.shape)


def in_file(path, matrix, key="distances", encoding="csr_matrix"):
    """As anndata writes it."""
    with h5py.File(path, "w") as file:
        group = file.create_group(f"obsp/{key}")
        group.attrs.update({"encoding-type": encoding, "encoding-version": "0.1.0", "shape": matrix.shape})
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(matrix, name)
    return path


def test_scanpys_graph_and_equal_affinities_in_one_call(tmp_path, monkeypatch):
    matrix = scanpys()
    wanted = TSNE(**QUICK, neighbors="exact", affinity=Uniform(14)).fit(X)
    file = in_file(tmp_path / "cells.h5ad", matrix)
    for given in (file, str(file), SimpleNamespace(obsp={"distances": matrix}), matrix):
        model = TSNE(**QUICK, neighbors=Graph(given), affinity="uniform").fit(X)
        np.testing.assert_array_equal(model.embedding_, wanted.embedding_)
        assert model.n_neighbors_ == 14
    model.save(tmp_path / "model")
    assert (tsne_ooc.load(tmp_path / "model").affinities_ != wanted.affinities_).nnz == 0
    # A larger one gives as many as are asked for, and no more.
    graph = TSNE(**QUICK, neighbors="exact").fit(X).graph(60)
    assert TSNE(**QUICK, neighbors=graph, affinity="uniform").fit(X).n_neighbors_ == 30
    # And back: what is handed on is what came.
    back = Graph(given).matrix()
    back.sort_indices()
    np.testing.assert_array_equal(back.indices, matrix.indices)
    np.testing.assert_allclose(back.data, matrix.data, rtol=1e-6)


def test_connectivities_are_affinities():
    distances = scanpys()
    weights = distances.copy()
    weights.data = np.exp(-weights.data)
    weights = csr_array(weights + weights.T - weights * weights.T)
    model = TSNE(**QUICK, affinity=weights).fit(X)
    np.testing.assert_allclose(model.affinities_.toarray(), weights.toarray() / weights.sum(), rtol=1e-5)
    assert abs(TSNE(**QUICK, affinity=model.affinities_).fit(X).affinities_ - model.affinities_).max() < 1e-9


@pytest.mark.parametrize("form", ["pair", "csr", "csc"])
def test_pieces_are_put_together(form, monkeypatch):
    near = TSNE(**QUICK, neighbors="exact").fit(X).graph(20)
    indices, distances = near.indices.astype(np.int64), near.distances.copy()
    indices[7, 15:] = -1
    given = {"pair": (indices, distances), "csr": scanpys(), "csc": scanpys().tocsc()}[form]
    whole = Graph(given)
    for pairs in (1, 7, 500):
        monkeypatch.setattr("tsne_ooc.neighbors.given_graphs.PAIRS", pairs)
        found = Graph(given)
        np.testing.assert_array_equal(found.indices, whole.indices)
        np.testing.assert_array_equal(found.distances, whole.distances)
    if form == "pair":
        assert whole.k == 15
        np.testing.assert_array_equal(whole.indices, near.indices[:, :15])
        # Rows are named by their own numbers, whichever piece they are in.
        for other, says in ((900, "row 150, column 3 is 900"), (indices[150, 2], "row 150, column .* more than once")):
            wrong = indices.copy()
            wrong[150, 3] = other
            with pytest.raises(ValueError, match=says):
                Graph((wrong, distances))
        far = distances.copy()
        far[150, 3] = -1
        with pytest.raises(ValueError, match="row 150"):
            Graph((indices, far))
        far[150] = np.inf
        with pytest.raises(ValueError, match="row 150 has no neighbour in the graph"):
            Graph((indices, far))


def test_many_pairs_take_little_more_than_themselves():
    """Ten million pairs took two gigabytes."""
    n, k = 50_000, 40
    indices = (np.arange(n)[:, None] + 1 + np.arange(k)) % n
    distances = np.broadcast_to(np.arange(1, k + 1, dtype=np.float32), (n, k)).copy()
    tracemalloc.start()
    graph = Graph((indices, distances))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(graph.distances, distances)
    # The answer has 16 MB; pieces of a million pairs are what comes on top.
    assert peak < 200e6


@pytest.mark.parametrize(
    "write, says",
    [
        (lambda path: in_file(path, scanpys(), "connectivities"), "known: connectivities|did you mean"),
        (lambda path: in_file(path, scanpys(), encoding="csc_matrix"), "is not a sparse matrix stored by rows"),
        (lambda path: h5py.File(path, "w").close(), "holds no graph of neighbours; scanpy"),
        (lambda path: path.write_bytes(b"no file of HDF5"), "cells"),
        (lambda path: None, "cells"),
    ],
)
def test_files_without_one(tmp_path, write, says):
    path = tmp_path / "cells.h5ad"
    write(path)
    with pytest.raises((ValueError, OSError), match=says) as caught:
        Graph(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="this AnnData holds no graph"):
        Graph(SimpleNamespace(obsp={}))


NEAR, APART = np.argsort(cdist(X, X), axis=1)[:, 1:6], np.sort(cdist(X, X), axis=1)[:, 1:6]


@pytest.mark.parametrize(
    "given, error, says",
    [
        ((NEAR, APART[:, :4]), ValueError, "indices of shape (200, 5) and distances of shape (200, 4) are not a pair"),
        ((NEAR[:9], APART), ValueError, "indices of shape (9, 5) and distances of shape (200, 5) are not a pair"),
        (
            (NEAR.astype(str), APART),
            TypeError,
            "precomputed neighbours are a pair (indices, distances) of whole numbers and numbers, not of <U21 and "
            "float64",
        ),
        (
            (NEAR, APART.astype(complex)),
            TypeError,
            "precomputed neighbours are a pair (indices, distances) of whole numbers and numbers, not of int64 and "
            "complex128",
        ),
        (
            scanpys()[:, :90],
            ValueError,
            "precomputed distances of shape (200, 90) are not square; there is one for each two rows, infinite where "
            "they are not connected",
        ),
        (
            scanpys().astype(complex),
            ValueError,
            "precomputed distances have type complex128, which does not hold plain numbers",
        ),
        # The first words are scikit-learn's, of a table without rows.
        (csr_array((0, 0)), ValueError,
         "Found array with 0 sample(s) (shape=(0, 0)) while a minimum of 1 is required."),
        ((NEAR[:0], APART[:0]), ValueError,
         "Found array with 0 sample(s) (shape=(0, 5)) while a minimum of 1 is required."),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_graph_as_a_whole(given, error, says):
    with pytest.raises(error) as caught:
        Graph(given)
    assert str(caught.value) == says


@pytest.mark.parametrize("pair", [
    ([[1, 2], [0, 2], [0, 1]], [1.0, 2.0]), ([1, 2], [[1.0, 2.0]]), ([[1, 2]], 3.0), ([1, 2], [3.0, 4.0]),
])  # fmt: skip
def test_of_a_pair_both_have_rows(pair):
    given = tuple(np.array(part) for part in pair)
    with pytest.raises((TypeError, ValueError), match=r"a graph is a sparse matrix or a pair \(indices, distances\)"):
        Graph(given)


def test_a_graph_of_a_file_is_sparse_and_may_have_another_name(tmp_path):
    from tsne_ooc.neighbors.given_graphs import of_scanpy

    path = in_file(tmp_path / "cells.h5ad", scanpys(), "mine")
    assert (of_scanpy(path, "mine") != scanpys()).nnz == 0
    assert of_scanpy(SimpleNamespace(obsp={"mine": 7}), "mine") == 7
    with pytest.raises(ValueError, match=rf"^graph of {path}='distances' is not known;"):
        of_scanpy(path)
    with pytest.raises(ValueError) as caught:
        of_scanpy(SimpleNamespace(obsp={}), "mine")
    assert str(caught.value) == "this AnnData holds no graph of neighbours; scanpy.pp.neighbors makes obsp['mine']"
    # As an array it may be there, too.
    with h5py.File(tmp_path / "dense.h5ad", "w") as file:
        file["obsp/distances"] = np.zeros((3, 3))
    with pytest.raises(ValueError) as caught:
        of_scanpy(tmp_path / "dense.h5ad")
    assert str(caught.value) == (
        f"{tmp_path / 'dense.h5ad'}: obsp/distances is not a sparse matrix stored by rows (CSR), as scanpy writes it"
    )
    # Whoever has read a file may delete it, or write it anew.
    with h5py.File(path, "a") as file:
        assert list(file["obsp"]) == ["mine"]
