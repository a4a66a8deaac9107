"""Several entries of one cell of a sparse matrix are added up as numbers are, in every form and type, by every door."""

import h5py
import numpy as np
import pytest
import scipy.sparse as sp

from tsne_ooc._validate import as_rows
from tsne_ooc.intake.taking import as_table
from tsne_ooc.io import as_source, iterate, open_source
from tsne_ooc.joint import Joint

TYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]


def entries(dtype, repeats=3, seed=0):
    """Rows, columns and large values, of some cells several, in any order; and their sums in Python's numbers."""
    rng = np.random.default_rng(seed)
    row, column = np.repeat(rng.integers(0, 9, 20), repeats), np.repeat(rng.integers(0, 5, 20), repeats)
    most = 10.0 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    values = (rng.uniform(0.4, 1, len(row)) * most).astype(dtype)
    order = rng.permutation(len(row))
    row, column, values = row[order], column[order], values[order]
    sums = np.zeros((9, 5), object)
    for i, j, value in zip(row.tolist(), column.tolist(), values.tolist(), strict=True):
        sums[i, j] += value
    return row, column, values, sums.astype(np.float64)


def csr(row, column, values):
    order = np.argsort(row, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=9))])
    return sp.csr_array((values[order], column[order], starts), shape=(9, 5))


def csc(row, column, values):
    order = np.argsort(column, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(column, minlength=5))])
    return sp.csc_array((values[order], row[order], starts), shape=(9, 5))


def coo(row, column, values):
    return sp.coo_array((values, (row, column)), shape=(9, 5))


FORMS = {"csr": csr, "coo": coo, "csc": csc}


def near(found, wanted):
    assert np.linalg.norm(np.float64(found) - wanted) <= 1e-6 * np.linalg.norm(wanted)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("form", FORMS)
def test_sums_in_memory(dtype, form):
    row, column, values, wanted = entries(dtype)
    X = FORMS[form](row, column, values)
    kept = X.data.copy()
    near(as_rows(X, accept_sparse=True).toarray(), wanted)
    table = as_source(as_table(X))
    for kind in (np.float32, np.float64):
        near(np.concatenate([block for _, _, block in iterate(table, rows=2, dtype=kind)]), wanted)
    np.testing.assert_array_equal(X.data, kept)


@pytest.mark.parametrize("dtype", TYPES)
def test_sums_in_files(dtype, tmp_path):
    row, column, values, wanted = entries(dtype)
    X = csr(row, column, values)
    with h5py.File(tmp_path / "cells.h5ad", "w") as file:
        group = file.create_group("X")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(X, name)
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": X.shape})
    with open_source(tmp_path / "cells.h5ad", dataset="X") as source:
        near(np.concatenate([block for _, _, block in iterate(source, rows=4)]), wanted)


def test_entries_in_any_order_keep_their_type():
    X = csr(np.array([0, 0, 1]), np.array([3, 1, 2]), np.array([5, 7, 9], np.int8))
    block = as_source(X).read(0, 9)
    assert block.dtype == np.int8
    np.testing.assert_array_equal(block, X.toarray())


def test_sums_of_affinities():
    row, column = np.array([0, 1, 0, 1, 1, 2]), np.array([1, 0, 1, 0, 2, 1])
    P = sp.coo_array((np.array([100, 100, 100, 100, 100, 100], np.int8), (row, column)), shape=(3, 3))
    joint = Joint.from_matrix(P)
    np.testing.assert_allclose(joint.tocsr().toarray(), np.array([[0, 2, 0], [2, 0, 1], [0, 1, 0]]) / 6, rtol=1e-6)
