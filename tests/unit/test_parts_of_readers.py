"""What readers share: sparse rows, words for failures, blocks read ahead, gaps."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from stored import Group, Stored

from tsne_ooc.io import arrow, source
from tsne_ooc.io.ahead import ahead
from tsne_ooc.io.blocks import iterate, read_checked
from tsne_ooc.io.cuts import block_rows
from tsne_ooc.io.failures import Unreached, first_line, opening, reading
from tsne_ooc.io.lacking import Lacking, for_kept
from tsne_ooc.io.masks import stacked, with_mask
from tsne_ooc.io.optional import _packages
from tsne_ooc.io.prepared import how_prepared
from tsne_ooc.io.sparse import is_tenx, remarks_on, sparse_format, sparse_shape, stored_csr
from tsne_ooc.workers.by_path import SharedTable, here

# Sparse matrices


def tenx(*parts, kinds=None):
    made = Group({part: Stored([1]) for part in parts})
    if "shape" in parts:
        made["shape"] = Stored([5, 7])
    if "features" in parts:
        made["features"] = Group({} if kinds is None else {"feature_type": Stored(kinds)})
    return made


ALL = ("data", "indices", "indptr", "shape", "barcodes")


@pytest.mark.parametrize("lost", [None, *ALL])
@pytest.mark.parametrize("genes", ["features", "genes", None])
def test_a_matrix_of_10x_is_told_by_all_its_parts(lost, genes):
    group = tenx(*(part for part in (*ALL, genes) if part and part != lost))
    whole = lost is None and genes is not None
    assert is_tenx(group) is whole and sparse_format(group) == ("csr" if whole else None)
    assert sparse_shape(group) == ((7, 5) if whole else None)
    assert bool(remarks_on(group)) is whole


@pytest.mark.parametrize(
    "kinds, told",
    [
        (None, []), (["Gene"], []),
        (["Gene"] * 1200 + ["Peak"] * 2, ["columns are of several kinds: 1,200 of Gene, 2 of Peak"]),
        ([b"b", b"a"], ["columns are of several kinds: 1 of a, 1 of b"]),
    ],
)  # fmt: skip
def test_columns_of_several_kinds_are_told(kinds, told):
    found = remarks_on(tenx(*ALL, "features", kinds=kinds))
    assert found == ["rows are the cells (barcodes) and columns the genes of a 10x matrix", *told]
    assert remarks_on(tenx(*ALL, "genes")) == found[:1]


@pytest.mark.parametrize(
    "attrs, kind, shape",
    [
        ({"encoding-type": "csr_matrix", "shape": np.array([3, 4])}, "csr", (3, 4)),
        ({"encoding-type": b"csc_matrix", "shape": [3, 4]}, "csc", (3, 4)),
        ({"h5sparse_format": "csr", "h5sparse_shape": (3, 4)}, "csr", (3, 4)),
        ({"h5sparse_format": b"csc"}, "csc", None),
        ({"encoding-type": "csr"}, "csr", None),
        ({"encoding-type": "dict", "h5sparse_format": "csr",
        "shape": [1, 2], "h5sparse_shape": [3, 4]}, "csr", (1, 2)),
        ({"MATLAB_sparse": 9}, "csc", (9, 4)),
        ({"encoding-type": "array"}, None, None),
        ({}, None, None),
    ],
)  # fmt: skip
def test_the_way_of_a_sparse_matrix_is_in_its_notes(attrs, kind, shape):
    group = Group({"jc": Stored([0, 1, 2, 3, 4])})
    group.attrs = attrs
    assert sparse_format(group) == kind
    assert sparse_shape(group) == shape and (shape is None or all(type(size) is int for size in sparse_shape(group)))


@pytest.mark.parametrize(
    "parts, attrs, words",
    [
        ("data indices indptr", {"encoding-type": "csc_matrix", "shape": [2, 2]}, "is stored by columns (CSC)"),
        ("data indices", {"encoding-type": "csr", "shape": [2, 2]}, "is a damaged CSR matrix: it has no indptr"),
        ("", {"encoding-type": "csr", "shape": [2, 2]}, "is a damaged CSR matrix: it has no data, indices, indptr"),
        ("data indices indptr", {"encoding-type": "csr"}, "is a damaged CSR matrix: it has no shape"),
        ("data", {"encoding-type": "csr"}, "is a damaged CSR matrix: it has no indices, indptr"),
    ],
)  # fmt: skip
def test_a_group_that_is_no_csr_matrix_says_why(parts, attrs, words):
    group = Group({part: Stored([1]) for part in parts.split()})
    group.attrs = attrs
    with pytest.raises(ValueError) as caught:
        stored_csr(group, "m")
    assert str(caught.value).startswith(f"m {words}")


def test_each_array_of_a_csr_matrix_is_opened_in_its_own_way():
    X = sp.csr_array(np.array([[1.0, 0], [0, 2], [3, 0]]))
    group = Group(
        {part: Stored(getattr(X, part)) for part in ("data", "indices", "indptr")}, encoding_type="csr", shape=X.shape
    )
    asked = []
    table = stored_csr(group, "m", lambda part: asked.append(part) or part.values)
    assert asked == [group["data"], group["indices"], group["indptr"]]
    np.testing.assert_array_equal(table[0:3], X.toarray())


# Words for what went wrong


@pytest.mark.parametrize(
    "error, line",
    [
        (ValueError("a\nb"), "a"), (ValueError("\n  \n  b  \nc"), "b"), (ValueError(""), "ValueError"),
        (ValueError("\n \n"), "ValueError"),
        (KeyError("k"), "KeyError 'k'"), (IndexError(""), "IndexError"), (IndexError("out"), "IndexError out"),
        (ExceptionGroup("g", [ExceptionGroup("h", [OSError("in"), OSError("other")]), ValueError("x")]), "in"),
    ],
)  # fmt: skip
def test_an_error_is_one_line(error, line):
    assert first_line(error) == line


@pytest.mark.parametrize(
    "error, kind, words",
    [
        (ValueError("no x.h5 here"), ValueError, "no x.h5 here"), (OSError("x.h5 is odd"), OSError, "x.h5 is odd"),
        (ImportError("odd"), ImportError, "odd"),
        (KeyError("x.h5"), OSError, "x.h5 is damaged or not whole, and cannot be read: KeyError 'x.h5'"),
        (ValueError("odd\nmore"), OSError, "x.h5 is damaged or not whole, and cannot be read: odd"),
        (Unreached("away\nmore"), OSError, "x.h5 cannot be read: away\nmore"),
        (MemoryError("much\nmore"), MemoryError, "x.h5 asks for more memory than there is: much"),
        (MemoryError("x.h5 much"), MemoryError, "x.h5 much"), (Unreached("x.h5 away"), Unreached, "x.h5 away"),
        (RuntimeError("x.h5"), OSError, "x.h5 is damaged or not whole, and cannot be read: x.h5"),
    ],
)  # fmt: skip
def test_an_error_of_opening_names_the_file(error, kind, words):
    with pytest.raises(kind) as caught, opening(Path("x.h5")):
        raise error
    assert str(caught.value) == words and (type(caught.value) is kind)


@pytest.mark.parametrize(
    "error, kind", [(ValueError, ValueError), (TypeError, TypeError), (MemoryError, MemoryError), (OSError, OSError),
                    (KeyError, OSError), (UnicodeError, OSError), (Unreached, OSError)],
)  # fmt: skip
def test_an_error_of_reading_names_the_rows(error, kind):
    with pytest.raises(kind) as caught, reading("table", 3, 8):
        raise error("odd\nmore")
    words = "KeyError 'odd\\nmore'" if error is KeyError else "odd"
    assert str(caught.value) == f"rows 3 to 7 of 'table' could not be read: {words}" and type(caught.value) is kind


# Blocks, read ahead


@pytest.mark.parametrize("depth", [0, 1, 2, 5])
@pytest.mark.parametrize("n", [0, 1, 3, 6])
def test_so_many_results_are_made_ahead_and_no_more(depth, n):
    begun, caller = [], threading.get_ident()
    work = ahead(lambda item: begun.append((item, threading.get_ident())) or item * 10, iter(range(n)), depth)
    for at, found in enumerate(work):
        assert found == at * 10
        assert len(begun) <= at + 1 + depth
    assert [item for item, _ in begun] == list(range(n))
    assert all((thread == caller) == (depth == 0) for _, thread in begun)


def test_where_no_thread_can_be_started_the_caller_reads(monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert list(ahead(lambda item: (item, threading.get_ident()), range(3))) == [
        (at, threading.get_ident()) for at in range(3)
    ]


class Reader:
    """Rows that may come short; its dtype and chunks are those of a table of float64 in pieces of three rows."""

    shape, dtype, chunks = (10, 2), np.dtype("f8"), (3, 2)

    def __init__(self, rows=None):
        self.X, self.rows = np.arange(20.0).reshape(10, 2), rows

    def read(self, start, stop):
        return self.X[start : stop if self.rows is None else start + self.rows]

    def reopen(self):
        return self

    def __repr__(self):
        return "table"


def test_blocks_of_any_part_are_checked_rows_of_a_type():
    table = Reader()
    for start, stop in ((0, 10), (4, 9), (10, 10), (0, 0)):
        found = list(iterate(table, rows=3, start=start, stop=stop))
        assert [edge for block in found for edge in block[:2]] == [
            edge for at in range(start, stop) if at == start or at % 3 == 0 for edge in (at, min(stop, at + 3 - at % 3))
        ]
        assert all(block[2].dtype == np.float32 and block[2].flags.c_contiguous for block in found)
        if found:
            np.testing.assert_array_equal(np.concatenate([block for _, _, block in found]), table.X[start:stop])
    assert next(iterate(table, dtype=np.float64))[2].dtype == np.float64
    for start, stop in ((-1, 5), (5, 4), (0, 11), (11, 11)):
        with pytest.raises(ValueError, match=rf"^rows {start} to {stop} are not within the 10 rows of table$"):
            iterate(table, start=start, stop=stop)
    with pytest.raises(ValueError, match=r"^Y has 2 features, but TSNE is expecting 3 features as input$"):
        iterate(table, columns=3, name="Y")
    assert next(iterate(table, columns=2))[:2] == (0, 10)
    with pytest.raises(ValueError, match=r"^rows 2 to 5 of table came back as 3 rows; did it change\?$"):
        read_checked(Reader(rows=3), 2, 6)
    table.X[7, 1] = np.nan
    with pytest.raises(ValueError, match=r"^Y .*row 7"):
        list(iterate(table, name="Y"))


def test_some_rows_of_a_block_are_called_by_their_numbers():
    table = Reader()
    rows = np.array([4, 6, 7])
    for kind in (np.asarray, pd.DataFrame):
        table.read = lambda start, stop, kind=kind: kind(table.X[start:stop])
        np.testing.assert_array_equal(read_checked(table, 4, 8, rows=rows), table.X[rows])
    table.X[7, 0] = np.inf
    with pytest.raises(ValueError, match=r"^Z .*row 7"):
        read_checked(table, 4, 8, rows=rows, name="Z")
    table.X[7, 0], table.X[5, 0] = 1, np.inf
    assert read_checked(table, 4, 8, rows=rows).shape == (3, 2)
    table.X[6, 0] = np.nan
    table.lacks_values = True
    assert np.isnan(read_checked(table, 4, 8, rows=rows)[1, 0])


@pytest.mark.parametrize("n", [1, 5, 12, 1000])
@pytest.mark.parametrize("chunk", [None, 1, 3, 5, 12, 13])
@pytest.mark.parametrize("kind, bytes_", [("u1", 8), ("f4", 23), ("f4", 24), ("f8", 100), ("f8", 1)])
def test_rows_of_a_block_are_whole_chunks_or_equal_parts_of_one(n, chunk, kind, bytes_):
    class Table:
        shape, dtype, chunks = (n, 2), np.dtype(kind), chunk and (chunk, 2)

    rows = block_rows(Table, bytes_)
    most = max(1, bytes_ // (2 * max(4, np.dtype(kind).itemsize)))
    assert 1 <= rows <= max(1, min(most, n))
    if chunk is None or chunk > n:
        assert rows == min(most, n)
    elif chunk <= most:
        assert rows == min(n, most // chunk * chunk)
    else:
        # As few parts as fit, and none larger than another by more than one row.
        parts = -(-chunk // most)
        assert rows == -(-chunk // parts)


# Rows that lack values


def test_work_on_rows_that_are_there_leaves_the_others_empty():
    rows = np.array([[1, 2], [np.nan, np.nan], [3, np.nan], [5, 6]], np.float32)
    beside = np.arange(4)
    asked = []

    def work(rows, beside):
        asked.append((rows.copy(), beside))
        return [rows[:, 0], None, np.arange(len(rows)) + 1, np.ones((len(rows), 3), "f4")]

    first, none, count, wide = for_kept(rows, work, beside)
    assert asked[0][1].tolist() == [0, 2, 3] and asked[0][0][:, 0].tolist() == [1, 3, 5]
    np.testing.assert_array_equal(first, [1, np.nan, 3, 5])
    assert none is None and count.tolist() == [1, 0, 2, 3] and count.dtype.kind == "i" and first.dtype == np.float32
    assert wide.shape == (4, 3) and np.isnan(wide).tolist() == [[False] * 3, [True] * 3, [False] * 3, [False] * 3]
    for_kept(rows, work)
    assert asked[1][1] is None
    # Where all are there, they are handed on as they are.
    whole = rows[[0, 3]]
    assert for_kept(whole, lambda found, other: [found is whole, other is beside], beside) == [True, True]


def test_a_table_that_lacks_values_is_closed_and_reopened_with_its_own(monkeypatch):
    closed = []
    table = Reader()
    table.close = lambda: closed.append(1)
    with Lacking(table) as found:
        assert found.chunks == (3, 2) and found.dtype == np.float64 and isinstance(found.reopen(), Lacking)
        table.read_with_gaps = lambda start, stop: np.full((stop - start, 2), np.nan)
        assert np.isnan(found.read(1, 3)).all()
    assert closed == [1] and repr(found) == "table"
    Lacking(Reader()).close()


def test_masks_go_with_their_rows():
    plain, gaps = np.zeros((2, 2)), np.ma.array(np.ones((2, 2)), mask=[[1, 0], [0, 0]])
    bare = np.ma.array(np.ones((2, 2)))
    assert with_mask(gaps) is gaps and type(with_mask(bare)) is np.ndarray and with_mask([[1]]).tolist() == [[1]]
    assert type(stacked([plain, plain])) is np.ndarray
    assert np.ma.getmaskarray(stacked([plain, gaps])).tolist() == [[False] * 2] * 2 + [[True, False], [False, False]]
    one = stacked([plain])
    assert one is not plain and not np.shares_memory(one, plain)


# What else a file tells


@pytest.mark.parametrize(
    "text, found",
    [
        (json.dumps({"a": 1}), {"a": 1}), ("[1]", None), ("5", None), ("{", None), (b'{"b": 2}', {"b": 2}),
        (b"\xff", None), (None, None),
    ],
)  # fmt: skip
def test_how_a_table_was_made_is_an_object_in_its_file(text, found):
    note = type("Note", (), {"shape": (), "__getitem__": lambda self, at: text})()
    item = type("Dataset", (), {"__module__": "h5py._hl.dataset"})()
    item.file = {"prepared": note}
    assert how_prepared(SimpleNamespace(_item=item)) == found
    note.shape = (1,)
    assert how_prepared(SimpleNamespace(_item=item)) is None
    note.shape = ()
    # Of many files the first tells.
    assert how_prepared(SimpleNamespace(first_file=lambda: SimpleNamespace(_item=item), _item=None)) == found
    item.file = {}
    assert how_prepared(SimpleNamespace(_item=item)) is None and how_prepared(SimpleNamespace()) is None


def test_packages_of_an_extra_are_listed_once():
    required = [
        "a>=1; extra == 'one'", 'b ; extra == "two"', "tsne_ooc[one,two]; extra == 'both'",
        "tsne-ooc[one]; extra == 'both'",
        "c; extra == 'both' and python_version > '3'", "d", "e; python_version > '3'", "a>=1; extra == 'one'",
        "z; extra == 'ones'",
    ]  # fmt: skip
    assert _packages("one", required) == ["a>=1"] and _packages("two", required) == ["b"]
    assert _packages("both", required) == ["a>=1", "b", "c"] and _packages("none", required) == []


def test_numbers_of_arrow_are_told_from_other_types():
    import pyarrow as pa

    for kind, found in (
        (pa.int8(), "i1"), (pa.uint64(), "u8"), (pa.float16(), "f2"), (pa.float32(), "f4"), (pa.bool_(), "?"),
        (pa.string(), None),
        (pa.date32(), None), (pa.decimal128(5), None), (pa.list_(pa.int8()), None),
        (pa.dictionary(pa.int8(), pa.int16()), None),
    ):  # fmt: skip
        assert arrow.number_type(kind) == (None if found is None else np.dtype(found))
    words = arrow.column_of(pa.chunked_array([pa.array(["a", None, "a"]).dictionary_encode()]))
    assert words.values.tolist() == ["a", None, "a"] and words.missing is None
    for values, kind, filled in (
        ([1, None, 3], pa.int16(), 0),
        ([True, None], pa.bool_(), False),
        ([None, 2.5], pa.float32(), 0),
    ):
        found = arrow.column_of(pa.chunked_array([pa.array(values, kind)]))
        assert found.missing.tolist() == [value is None for value in values]
        assert found.values.tolist() == [filled if value is None else value for value in values]
        assert found.values.dtype == arrow.number_type(kind)
        some = arrow.masked(found, 0, 1)
        assert isinstance(some, np.ma.MaskedArray) == (values[0] is None) and len(some) == 1
    codes = arrow.column_of(pa.chunked_array([pa.array([7, None, 7], pa.int32()).dictionary_encode()]))
    assert codes.values.tolist() == [7, 0, 7] and codes.missing.tolist() == [False, True, False]


@pytest.mark.parametrize("module, shape, stream, frame, once", [
    ("pyarrow.lib", True, True, False, False), ("polars.frame", True, True, False, False),
    ("pyarrow.lib", False, True, False, True),
    ("polars", False, True, False, True), ("duckdb", True, True, False, True), ("pandas", True, True, True, False),
    ("x", True, False, False, False),
])  # fmt: skip
def test_what_may_be_another_table_each_time_is_read_once(module, shape, stream, frame, once):
    kind = type("Thing", (), {"__module__": module})
    if stream:
        kind.__arrow_c_stream__ = None
    if shape:
        kind.shape = (1, 1)
    if frame:
        kind.iloc = None
    assert arrow.is_read_once(kind()) is once and arrow.is_arrow(kind()) is (stream and not frame)


@pytest.mark.parametrize("error", [OSError, ValueError, FileNotFoundError])
def test_a_table_that_a_worker_cannot_open_is_told_with_its_name(error, monkeypatch):
    monkeypatch.setattr("tsne_ooc.workers.by_path.pickle.loads", lambda pickled: (_ for _ in ()).throw(error("odd")))
    with pytest.raises(error) as caught:
        SharedTable(b"", {}, None)._open()
    assert str(caught.value) == f"the worker {here()} cannot open the table: odd" and type(caught.value) is error


@pytest.mark.parametrize("shape, own", [((10, 2), False), ((10, np.int64(2)), True), ((np.int32(10), 2), True)])
def test_a_shape_of_numpys_numbers_is_made_one_of_pythons(shape, own):
    """Products of NumPy's own numbers wrap round, be it one of the two."""
    table = Reader()
    table.shape = shape
    found = source.open_source(table)
    assert (found is not table) == own and found.shape == (10, 2)
    assert all(type(size) is int for size in found.shape)
