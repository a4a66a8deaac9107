"""Columns of tables by their names: found, refused, put in order; names of genes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from stored import Group, Rows, Stored

from tsne_ooc.io import line_up
from tsne_ooc.io.named import LinedUp, _genes, _labels, _variables, by_name, names_listed, order_of
from tsne_ooc.io.sparse import CsrTable


@pytest.mark.parametrize(
    "labels, found",
    [
        ([], None), ([1, 2], None), (["a"], ["a"]), (["a", "b"], ["a", "b"]), ([("a", "b")], None),
        (["a", 1], "('a', 1)"), ([1, "a"], "('a', 1)"), ([1, "a", 2, "b"], "('a', 1)"),
        (["a", "b", None], "('a', None)"),
    ],
)  # fmt: skip
def test_labels_are_names_where_all_are_texts(labels, found):
    if isinstance(found, str):
        with pytest.raises(TypeError) as caught:
            _labels(labels)
        assert str(caught.value) == (
            f"X has columns whose names are strings and others {found}; make all of them strings: "
            "X.columns = X.columns.astype(str)"
        )
    else:
        assert _labels(labels) == found


def test_names_in_messages_are_ten_at_most():
    names = [f"n{at}" for at in range(12)]
    assert names_listed(names[:10]) == ", ".join(map(repr, names[:10])) and names_listed([]) == ""
    assert names_listed(names[:11]) == f"{names_listed(names[:10])} and 1 more"
    assert names_listed(names) == f"{names_listed(names[:10])} and 2 more"


@pytest.mark.parametrize(
    "own, names, found",
    [
        (["a", "b"], ["a", "b"], [0, 1]),
        (["a", "a"], ["a", "a"], [0, 1]),
        (["c", "a", "b"], ["a", "b"], [1, 2]),
        (["a", "b", "b"], ["a"], [0]),
        ([], [], []),
        (["a"], [], []),
        (["x", "b"], ["a", "b"], "X lacks 1 of the 2 feature names of the fit: 'a'; it has 'x', 'b'"),
        (["aa", "b"], ["a", "b"], "X lacks 1 of the 2 feature names of the fit: 'a'; is 'a' now 'aa'?"),
        # Names that the fit has, too, are none that a column has now.
        (["ab", "x"], ["ac", "ab", "x"], "X lacks 1 of the 3 feature names of the fit: 'ac'; it has 'ab', 'x'"),
        (["a", "b", "a"], ["a", "b"], "X has several columns of one name ('a'), so"),
        (["b", "a"], ["a", "b", "a"], "the fit has several columns of one name ('a'), so"),
        (["b", "a", "b", "a"], ["a", "b"], "X has several columns of one name ('a', 'b'), so"),
    ],
)
def test_columns_are_found_by_name_or_refused(own, names, found):
    if isinstance(found, str):
        with pytest.raises(ValueError) as caught:
            order_of(own, names, "X")
        assert str(caught.value).startswith(found)
        return
    got = order_of(own, names, "X")
    assert got.tolist() == found and got.dtype == np.intp
    assert order_of(tuple(own), tuple(names), "X").tolist() == found


@pytest.mark.parametrize("more", [False, True])
def test_some_columns_of_a_source_in_another_order(more):
    """What a source has beside its rows is asked for of the columns that were chosen."""
    X = np.ma.array(np.arange(15.0).reshape(5, 3), mask=np.arange(15).reshape(5, 3) == 7)

    class Named(Rows):
        chunks, kind, row_bytes, column_names = (2, 3), "a kind", 99, ["a", "b", "c"]

        def reopen(self):
            return type(self)(self.X)

        def __repr__(self):
            return "table"

    class Much(Named):
        def read_some(self, start, stop, columns):
            return self.X[start:stop][:, columns]

        def read_with_gaps(self, start, stop):
            return self.X[start:stop].filled(np.nan)

        def read_columns(self, start, stop):
            return {name: self.X[start:stop, j] for j, name in enumerate("abc")}

    table = LinedUp((Much if more else Named)(X), np.array([2, 0]), ["c", "a"])
    assert (table.shape, table.chunks, table.kind, table.row_bytes) == ((5, 2), (2, 2), "a kind", 99)
    assert (
        repr(table) == "2 columns of table" and repr(LinedUp(table.source, np.array([2, 0, 1]), list("cab"))) == "table"
    )
    for one in (table, table.reopen()):
        for start, stop in ((0, 5), (1, 4), (2, 2)):
            np.testing.assert_array_equal(one.read(start, stop), X[start:stop][:, [2, 0]])
            found = one.read_columns(start, stop)
            assert list(found) == ["c", "a"]
            np.testing.assert_array_equal(found["a"], X[start:stop, 0])
            if more:
                np.testing.assert_array_equal(one.read_some(start, stop, np.array([1])), X[start:stop][:, [0]])
                np.testing.assert_array_equal(one.read_with_gaps(start, stop), X.filled(np.nan)[start:stop][:, [2, 0]])
    if not more:
        assert not hasattr(table, "read_some") and not hasattr(table, "read_with_gaps")
    assert not hasattr(table, "__secret__") and table.X is X
    plain = type("Plain", (Rows,), {"chunks": None})(X)
    assert LinedUp(plain, np.array([0]), ["a"]).row_bytes == 24 and LinedUp(plain, np.array([0]), ["a"]).chunks is None
    assert LinedUp(plain, np.array([0]), ["a"]).kind == "Plain"
    LinedUp(plain, np.array([0]), ["a"]).close()
    assert by_name(plain) is plain
    named = by_name(Named(X))
    assert isinstance(named, LinedUp) and named.column_names == ["a", "b", "c"] and named.shape == (5, 3)
    much = Much(X)
    assert by_name(much) is much


def test_a_table_of_chosen_columns_is_closed_with_its_source():
    closed = []
    source = Rows(np.zeros((2, 2)))
    source.chunks, source.close = None, lambda: closed.append(1)
    with LinedUp(source, np.array([0]), ["a"]):
        pass
    assert closed == [1]


def test_rows_wider_than_a_block_come_in_several(monkeypatch):
    monkeypatch.setattr("tsne_ooc.io.named.block_rows", lambda source: 2)
    X = np.arange(15.0).reshape(5, 3)
    source = Rows(X)
    source.chunks = None
    table = LinedUp(source, np.array([2, 1]), ["c", "b"])
    np.testing.assert_array_equal(table.read(0, 5), X[:, [2, 1]])
    assert source.asked == [(0, 2), (2, 4), (4, 5)]
    source.X = pd.DataFrame(X)
    found = table.read(1, 5)
    assert isinstance(found, pd.DataFrame) and found.to_numpy().tolist() == X[1:5][:, [2, 1]].tolist()


def item_of(root, name, shape=(4, 2)):
    made = Stored(np.zeros(shape), name=name)
    made.file = root
    return made


def variables(names=("u", "v"), **how):
    return Group({"_index": Stored(list(names))}, **{"_index": "_index", **how})


@pytest.mark.parametrize(
    "name, found",
    [
        ("/X", ["u", "v"]), ("X", ["u", "v"]), ("/raw/X", ["r", "s"]), ("/layers/counts", ["u", "v"]),
        ("/mod/layers/c", ["m", "n"]),
        ("/mod/X", ["m", "n"]), ("/layers", None), ("/Y", None), ("/obsm/X_pca", None), ("/gone/X", None),
        ("", None), (None, None),
        ("/layers/deep/c", None), ("/X/layers", None),
    ],
)  # fmt: skip
def test_variables_lie_beside_the_tables_of_anndata(name, found):
    root = Group({"var": variables(), "raw/var": variables("rs"), "mod/var": variables("mn")})
    assert _variables(item_of(root, name)) == found


class AsText(Stored):
    """Bytes, as h5py has them, which may be asked for as text."""

    def asstr(self):
        return Stored([cell.decode() + "!" for cell in self.values.tolist()])


@pytest.mark.parametrize(
    "var, found",
    [
        (variables(), ["u", "v"]), (Group({"i": Stored([b"\xc3\xa9", b"b"])}, _index="i"), ["é", "b"]),
        (Group({"i": AsText([b"a", b"b"])}, _index="i"), ["a!", "b!"]),
        (Group({"i": AsText(np.array([1, 2]))}, _index="i"), ["1", "2"]),
        (Group({"i": Group({"values": Stored(["a", "b"]), "mask": Stored([0, 0])})}, _index="i"), ["a", "b"]),
        (Stored(np.array([(b"a", 1), (b"b", 2)], [("index", "S1"), ("n", "i4")])), ["a", "b"]),
        (Stored(np.array([(b"a", 1)], [("other", "S1"), ("n", "i4")])), None), (Stored(np.zeros(3)), None),
        (Group({}, _index="i"), None),
        (Group({"i": Stored(["a"])}), None), (Group({"i": Group()}, _index="i"), None),
    ],
)  # fmt: skip
def test_names_of_variables_in_all_their_layouts(var, found):
    assert _variables(item_of(Group({"var": var}), "/X")) == found


@pytest.mark.parametrize(
    "parts, tenx, found",
    [
        ({"features/id": Stored(["a", "b"]), "genes": Stored(["x", "y"])}, True, ["a", "b"]),
        ({"genes": Stored([b"x", b"y"])}, True, ["x", "y"]),
        ({"features/id": Stored([["a"], ["b"]]), "genes": Stored(["x", "y"])}, True, ["x", "y"]),
        ({"features": Group()}, True, None),
        ({"row_attrs/Accession": Stored(["a", "b"]), "row_attrs/Gene": Stored(["x", "y"])}, False, ["a", "b"]),
        ({"row_attrs/Gene": Stored(["x", "y"])}, False, ["x", "y"]),
        ({"row_attrs/Accession": Stored("a"), "row_attrs/Gene": Stored(["x"])}, False, ["x"]),
        ({"genes": Stored(["x", "y"])}, False, None), ({}, False, None),
    ],
)  # fmt: skip
def test_genes_have_identifiers_or_symbols(parts, tenx, found):
    """Symbols are not unique, and taken only where nothing else is there."""
    ten = {part: Stored([1]) for part in ("data", "indices", "indptr", "shape", "barcodes")}
    if tenx:
        assert _genes(Group({**ten, "features": Group(), **parts})) == found
    else:
        assert _genes(item_of(Group(parts), "/matrix")) == found


@pytest.mark.parametrize("stop", [0, 2, 3])
@pytest.mark.parametrize("kind", ["f4", "f2", "i2", ">f8", "?"])
def test_sparse_rows_have_one_type_be_there_any_or_none(kind, stop):
    matrix = sp.csr_array(np.array([[0, 1, 0], [1, 0, 1], [0, 0, 0]], np.float64))
    table = CsrTable(matrix.data.astype(kind), matrix.indices, matrix.indptr, (3, 3), "X")
    wanted = np.float32 if kind == "f2" else np.dtype(kind).newbyteorder("=")
    assert table.dtype == wanted
    for found in (table[:stop], table[3:stop], table.some(0, stop, np.array([1, 0]))):
        assert found.dtype == wanted and type(found) is np.ndarray
    assert table.some(2, 2, np.array([1, 0])).shape == (0, 2) and table[3:1].shape == (0, 3)


def test_a_table_of_polars_is_put_in_order_by_numbers():
    """What has columns and types, but no rows by number, takes a list of numbers of columns."""

    class Polars:
        columns, dtypes, shape = ["a", "b", "c"], [1, 1, 1], (2, 3)

        def __getitem__(self, at):
            return at

    with pytest.warns(UserWarning, match=r"^this has columns that the fit did not have, which are left out: 'c'$"):
        rows, order = line_up(Polars(), ["b", "a"], "this")
    assert rows == slice(None) and order == [1, 0] and type(order) is list
