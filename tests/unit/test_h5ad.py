"""Files of AnnData, read with h5py alone: dense and sparse tables, old and new layouts, what cannot be read."""

import pickle

import h5py
import numpy as np
import pytest
import scipy.sparse as sp

from tsne_ooc import TSNE
from tsne_ooc.io import iterate, named, open_source
from tsne_ooc.io.cuts import BLOCK_BYTES
from tsne_ooc.io.sparse import CsrTable
from tsne_ooc.sampling import uniform


def matrix(n=60, p=9, seed=0):
    rng = np.random.default_rng(seed)
    return sp.csr_array(rng.random((n, p), np.float32) * (rng.permutation(n * p).reshape(n, p) < 0.2 * n * p))


def write(path, X, name="X", **attributes):
    """A sparse matrix in a file with AnnData's layout."""
    with h5py.File(path, "a") as file:
        file.attrs["encoding-type"] = "anndata"
        file.require_group("obs")
        file.require_group("var")
        group = file.create_group(name)
        for part in ("data", "indices", "indptr"):
            group[part] = getattr(X, part)
        group.attrs.update({"encoding-type": f"{X.format}_matrix", "shape": X.shape} | attributes)
    return path


def test_columns_first_is_refused_with_a_way_out(tmp_path):
    path = write(tmp_path / "cells.h5ad", matrix().tocsc())
    with pytest.raises(ValueError, match=r"'/X' of .*cells\.h5ad is stored by columns \(CSC\).*adata\.X\.tocsr\(\)"):
        open_source(path)
    # The file is closed again.
    h5py.File(path, "a").close()


def test_names_of_sparse_tables_are_known(tmp_path):
    path = write(tmp_path / "cells.h5ad", matrix(), "layers/counts")
    with h5py.File(path, "a") as file:
        file["obsm/X_pca"] = np.zeros((60, 2))
    with pytest.raises(ValueError, match=r"has 2 tables, name .*: layers/counts \(60, 9\), obsm/X_pca \(60, 2\)"):
        open_source(path)
    with pytest.raises(ValueError, match=r"no dataset 'layers/count'; did you mean 'layers/counts'\?"):
        open_source(path, dataset="layers/count")
    with pytest.raises(ValueError, match=r"'layers' of .* is a group, .* it holds layers/counts \(60, 9\)$"):
        open_source(path, dataset="layers")


def test_an_open_group_and_file(tmp_path):
    X = matrix()
    write(tmp_path / "cells.h5ad", X)
    with h5py.File(tmp_path / "cells.h5ad") as file:
        for source in (open_source(file), open_source(file, dataset="X"), open_source(file["X"])):
            np.testing.assert_array_equal(source.read(0, 60), X.toarray())
            source.close()
        assert file["X/data"].shape == X.data.shape


@pytest.mark.parametrize(
    "part, change, message",
    [
        ("indices", lambda values: values + 5, "CSR matrix is damaged"),
        ("indptr", lambda values: values[::-1], "row pointers go from 108 to 0, and there are 108 values"),
        ("indptr", lambda values: np.r_[0, values[1:-1][::-1], 108], "CSR matrix is damaged: its row pointers fall"),
        ("indptr", lambda values: np.r_[2, values[1:]], "row pointers go from 2 to 108, and there are 108 values"),
        ("indptr", lambda values: np.minimum(values, 100), "row pointers go from 0 to 100, and there are 108 values"),
        ("indptr", lambda values: values + 2, "row pointers go from 2 to 110"),
        ("indptr", lambda values: values.astype(float), "its row pointers are of type float64"),
        ("indices", lambda values: values + 0.5, "its columns are of type float64"),
        ("indices", lambda values: values.astype("f4"), "its columns are of type float32"),
        ("indices", lambda values: values - 5, "CSR matrix is damaged"),
        ("indptr", lambda values: values[:-1], r"\(60,\) row pointers for 60 rows"),
        ("data", lambda values: values[:-1], r"values in \(108,\) columns"),
        ("data", lambda values: values.astype(complex), "does not hold plain numbers"),
        ("indices", None, "it has no indices"),
    ],
)
def test_damaged_sparse_matrices(tmp_path, part, change, message):
    path = write(tmp_path / "cells.h5ad", matrix())
    with h5py.File(path, "a") as file:
        values = file["X"][part][:]
        del file["X"][part]
        if change is not None:
            file["X"][part] = change(values)
    with pytest.raises(ValueError, match=message), open_source(path) as source:
        list(iterate(source, rows=20))


def test_only_the_entries_of_the_rows_asked_for_are_read(tmp_path):
    read = []

    class Watched:
        def __init__(self, values):
            self.values, self.shape, self.dtype = values, values.shape, values.dtype

        def __getitem__(self, rows):
            read.append(rows.stop - rows.start)
            return self.values[rows]

    X = matrix(500)
    table = CsrTable(Watched(X.data), Watched(X.indices), Watched(X.indptr), X.shape, "X")
    read.clear()
    np.testing.assert_array_equal(table[100:110], X[100:110].toarray())
    entries = X[100:110].nnz
    assert sorted(read) == sorted([11, entries, entries])


def test_a_real_file(data_folder):
    path = data_folder / "pbmc68k_reduced.h5ad"
    with h5py.File(path) as file, open_source(path, dataset="obsm/X_pca") as source:
        # It is of the layout before anndata 0.7.
        assert source.shape == (700, 50)
        np.testing.assert_array_equal(source.read(0, 700), file["obsm"]["X_pca"])
        with pickle.loads(pickle.dumps(source)) as other:
            np.testing.assert_array_equal(other.read(10, 20), file["obsm"]["X_pca"][10:20])
    with open_source(path) as X:
        assert (X.name, X.shape) == ("/X", (700, 765))
    with open_source(path, dataset="raw.X") as source, h5py.File(path) as file:
        stored = file["raw.X"]
        raw = sp.csr_array((stored["data"][:], stored["indices"][:], stored["indptr"][:]), shape=(700, 765))
        np.testing.assert_array_equal(source.read(0, 700), raw.toarray())
    with pytest.raises(ValueError, match=r"did you mean 'obsm/X_pca'"):
        open_source(path, dataset="obsm/X_pc")


def test_single_cell_counts_are_never_dense_as_a_whole(data_folder, tmp_path, monkeypatch):
    with np.load(data_folder / "tenx_mousebrain_10k_x_1000genes.npz") as data:
        X = data["X"]
    path = write(tmp_path / "cells.h5ad", sp.csr_array(X))
    blocks = []
    dense = CsrTable.__getitem__

    def watched(self, rows):
        found = dense(self, rows)
        blocks.append(found.shape)
        return found

    monkeypatch.setattr(CsrTable, "__getitem__", watched)
    with open_source(path) as source:
        rows, sample = uniform(source, 400, np.random.default_rng(0))
        np.testing.assert_array_equal(sample, X[rows])
        model = TSNE(n_iter=20, early_exaggeration_iter=10, random_state=0).fit(sample)
        blocks.clear()
        Y = model.transform(source)
    # As float32, 10,000 rows are 40 MB; the counts are stored in two bytes.
    assert sum(n for n, _ in blocks) == 10_000 and len(blocks) == 2
    assert max(n * p * 4 for n, p in blocks) <= BLOCK_BYTES
    np.testing.assert_array_equal(Y, model.transform(X.astype(np.float32)))


def test_fit_takes_a_source(tmp_path):
    X = matrix(300)
    options = {"n_iter": 20, "early_exaggeration_iter": 10, "random_state": 0}
    with open_source(write(tmp_path / "cells.h5ad", X)) as source:
        model = TSNE(**options).fit(source)
        Y = model.transform(source)
    assert model.n_features_in_ == 9
    same = TSNE(**options).fit(X.toarray())
    np.testing.assert_array_equal(model.embedding_, same.embedding_)
    np.testing.assert_array_equal(Y, same.transform(X.toarray()))


def test_names_that_cannot_be_read_are_those_of_a_file(tmp_path, monkeypatch):
    """What the library says of them does not name it."""
    path = tmp_path / "cells.h5ad"
    with h5py.File(path, "w") as file:
        file["X"] = np.ones((9, 3))

    def broken(item):
        raise ValueError("wrong fixed array header signature")

    with open_source(path) as source:
        monkeypatch.setattr(named, "_variables", broken)
        with pytest.raises(OSError) as caught:
            named.names_of(source)
    told = f"{source.path} is damaged or not whole, and cannot be read: wrong fixed array header signature"
    assert str(caught.value) == told
