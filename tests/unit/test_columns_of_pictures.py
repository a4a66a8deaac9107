"""Columns that a map is coloured by, which are found in the table that the map was made from, block by block."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from tsne_ooc.plot import column as module
from tsne_ooc.plot.column import column_in, given_for

NAMES = ["a", "geneB", "c"]


class Table:
    """A table of numbers with names, of any width, that says what was read of it."""

    def __init__(self, n, p, names=NAMES, sparse=True, dtype=np.float32):
        self.shape, self.names, self.sparse, self.dtype = (n, p), names, sparse, dtype
        self.reads, self.closed = [], 0

    def read(self, start, stop):
        self.reads.append((start, stop))
        rows = stop - start
        found = sp.csr_array(
            (np.arange(start, stop) + 0.5, (np.arange(rows), np.full(rows, 1))), shape=(rows, self.shape[1])
        ).astype(self.dtype)
        return found if self.sparse else found.toarray()

    def close(self):
        self.closed += 1


@pytest.fixture
def tables(monkeypatch):
    """What is opened by each name of a dataset: tables, or errors; and all that were opened."""
    known, opened = {}, []

    def no_label(path, name):
        raise ValueError("there is no such label")

    def open_source(path, *, dataset):
        if isinstance(known.get(dataset), Exception):
            raise known[dataset]
        opened.append(known[dataset])
        return known[dataset]

    monkeypatch.setattr(module, "labels_of", no_label)
    monkeypatch.setattr(module, "open_source", open_source)
    monkeypatch.setattr(module, "names_of", lambda table: table.names)
    return known, opened


@pytest.mark.parametrize("n, p, sparse", [
    (1000, 3, True), (1000, 3, False), (5, 1 << 21, True), (5, 1 << 22, True), (5, 1 << 23, True), (5, 1 << 24, True),
    (4, 1 << 22, True), (0, 3, False),
])  # fmt: skip
def test_a_column_of_a_wide_table_is_read_in_blocks_of_some_rows(tables, n, p, sparse):
    """A block of rows is no more than 32 MB as numbers of float32, but has a row at least."""
    known, opened = tables
    known["X"] = table = Table(n, p, sparse=sparse)
    found = column_in("cells.h5ad", "geneB")
    np.testing.assert_array_equal(found, np.arange(n) + 0.5)
    assert found.dtype == np.float32 and found.shape == (n,)
    most = max(1, (1 << 25) // (4 * p))
    assert table.reads == [(at, min(at + most, n)) for at in range(0, n, most)]
    # Whatever was opened is closed.
    assert table.closed == len(opened) == 2


def test_numbers_of_another_type_are_read_as_float32(tables):
    known, _ = tables
    for dtype in (np.float64, np.int64):
        known["X"] = Table(4, 3, sparse=False, dtype=dtype)
        found = column_in("cells.h5ad", "geneB")
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, (np.arange(4) + 0.5).astype(dtype))


@pytest.mark.parametrize("first", [
    ValueError("no X"), TypeError("no X"), OSError("no X"), ImportError("no X"), Table(4, 3, names=None),
    Table(4, 3, names=["x", "y", "z"]),
], ids=lambda one: type(one).__name__)  # fmt: skip
def test_a_table_that_is_not_called_x_is_looked_at_too(tables, first):
    known, opened = tables
    known["X"], known[None] = first, Table(4, 3)
    np.testing.assert_array_equal(column_in("table.parquet", "geneB"), np.arange(4) + 0.5)
    assert all(table.closed for table in opened) and known[None].closed == 2


def test_what_is_nowhere_is_told_as_it_was_for_labels(tables):
    known, opened = tables
    known["X"], known[None] = Table(4, 3), Table(4, 3, names=["x", "y", "z"])
    with pytest.raises(ValueError, match=r"^there is no such label$"):
        column_in("cells.h5ad", "q")
    assert len(opened) == 2 and all(table.closed == 1 for table in opened)
    for near in ("geneC", "gene"):
        with pytest.raises(ValueError) as caught:
            column_in("cells.h5ad", near)
        assert str(caught.value) == "there is no such label; of the columns of its table 'geneB' is nearest"
    known["X"] = known[None] = Table(4, 3, names=None)
    with pytest.raises(ValueError, match=r"^there is no such label$"):
        column_in("cells.h5ad", "geneB")


def test_a_table_whose_read_fails_is_closed(tables, monkeypatch):
    known, _ = tables
    known["X"] = table = Table(4, 3)
    monkeypatch.setattr(table, "read", lambda start, stop: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        column_in("cells.h5ad", "geneB")
    assert table.closed == 2

    def broken(table):
        raise RuntimeError("no names")

    monkeypatch.setattr(module, "names_of", broken)
    with pytest.raises(RuntimeError, match="no names"):
        column_in("cells.h5ad", "geneB")
    assert table.closed == 3


def test_a_table_that_need_not_be_closed_is_not(tables, monkeypatch):
    known, _ = tables
    known["X"] = Table(4, 3)
    monkeypatch.delattr(Table, "close")
    np.testing.assert_array_equal(column_in("cells.h5ad", "geneB"), np.arange(4) + 0.5)


def test_a_name_like_that_of_a_file_may_be_that_of_a_column(tmp_path, monkeypatch):
    """It is a file where there is one, and where there is nothing else to look in."""
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(module, "column_in", lambda data, name: asked.append((data, name)) or np.arange(3))
    np.save("there.npy", np.arange(3) * 2)
    (tmp_path / "folder.csv").mkdir()
    assert given_for("there.npy", 3, "cells.h5ad").tolist() == given_for("there.npy", 3, None).tolist() == [0, 2, 4]
    for name in ("gone.csv", "kind", "folder.csv", "cells.h5ad"):
        assert given_for(name, 3, "cells.h5ad").tolist() == [0, 1, 2]
    assert asked == [("cells.h5ad", name) for name in ("gone.csv", "kind", "folder.csv", "cells.h5ad")]
    with pytest.raises(FileNotFoundError, match=r"there is no file gone\.csv"):
        given_for("gone.csv", 3, None)
    # What is of another length is called by where it is from.
    with pytest.raises(ValueError, match=r"^there\.npy has 3 rows, and the map 4$"):
        given_for("there.npy", 4, None)
    with pytest.raises(ValueError, match=r"^'kind' of cells\.h5ad has 3 rows, and the map 4$"):
        given_for("kind", 4, "cells.h5ad")


@pytest.mark.parametrize("text, wanted", [
    ("a\n", ["a"]), ("1\n\n2\n", [1.0, 2.0]), ("x\n1\n\n2\n", [1.0, 2.0]), ("1\n \n", [1.0, np.nan]),
    ("a\n\n\nb\n", ["a", "b"]), ("inf\n-1e3\n", [np.inf, -1000.0]), ("nan\n1\n", [np.nan, 1.0]),
    (" \n1\n", [np.nan, 1.0]), ("NaN\nnan\n2\n", [np.nan, np.nan, 2.0]),
])  # fmt: skip
@pytest.mark.parametrize("known", [False, True])
def test_a_file_of_one_column_has_a_label_in_each_line_that_is_not_empty(tmp_path, text, wanted, known):
    """A first number that is missing is not the name of the others."""
    path = tmp_path / "labels.txt"
    path.write_text(text)
    found = module.column_of_file(path, len(wanted) if known else None)
    if isinstance(wanted[0], str):
        assert found.tolist() == wanted and found.dtype == object
    else:
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("known", [None, 5])
def test_a_column_in_a_file_of_numpy_is_read_where_it_is_used(tmp_path, known):
    """Those of a billion rows need not be in memory to be counted."""
    np.save(tmp_path / "labels.npy", np.arange(5))
    found = module.column_of_file(tmp_path / "labels.npy", known)
    assert isinstance(found, np.memmap) and found.mode == "r"
