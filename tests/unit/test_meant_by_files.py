"""What files mean by their groups and attributes: data frames, marks of missing cells, packed numbers, odd chunks."""

from __future__ import annotations

import base64
import weakref

import numpy as np
import pandas as pd
import pytest
from stored import Group, Stored, Timed

from tsne_ooc.io import bands, columns
from tsne_ooc.io.bands import BandedVector, LastBand
from tsne_ooc.io.base import check_table, table_shape
from tsne_ooc.io.columns import choose, common_type, fill, listed
from tsne_ooc.io.conventions import decoded
from tsne_ooc.io.frames import StoredFrame, is_stored_frame, text_of, values_of
from tsne_ooc.io.meant import Turned, is_loom, turned_because, wide_fields
from tsne_ooc.io.memory import FrameSource, OwnSource, SlicedSource, _cells, _regular_chunks
from tsne_ooc.io.named_columns import NamedColumns

# Data frames


@pytest.mark.parametrize(
    "item, frame",
    [
        (Group(encoding_type="dataframe"), True),
        (Group(encoding_type=b"dataframe"), True),
        (Group(encoding_type="dict"), False),
        (Group(), False),
        (Stored([1.0], **{"encoding-type": "dataframe"}), False),
    ],
)
def test_a_frame_is_a_group_that_says_so(item, frame):
    assert is_stored_frame(item) is frame


def test_values_are_those_within_a_group_or_the_array_itself():
    inner, plain = Stored([1.0]), Stored([2.0])
    assert values_of(Group({"values": inner})) is inner and values_of(plain) is plain
    without = Group({"codes": inner})
    assert values_of(without) is without
    records = Stored(np.zeros(2, [("values", "f4")]))
    records.__contains__ = lambda name: True
    assert values_of(records) is records


STRING = np.dtypes.StringDType()


def columns_of_all_kinds():
    """Columns of five rows: what is stored; NumPy's type and the type in words; what is read."""
    none = [True, False, False, True, False]
    codes = Stored([1, -1, 0, 2, 0], "i1")
    return {
        "f": (Stored(np.arange(5.0, dtype=">f4")), ("f4", ">f4"), np.arange(5, dtype="f4")),
        "i": (Stored([1, 2, 3, 4, 5], "i2"), ("i2", "int16"), [1, 2, 3, 4, 5]),
        "u": (Stored([1, 2, 3, 4, 5], "u8"), ("u8", "uint64"), [1, 2, 3, 4, 5]),
        "b": (Stored(none), ("?", "bool"), none),
        "c": (Stored(np.zeros(5, "c8")), (None, "complex64"), [0] * 5),
        "table": (Stored(np.zeros((5, 2), "i4")), (None, "int32"), [[0, 0]] * 5),
        "when": (Stored(np.arange(5).astype("M8[s]")), (None, "datetime64[s]"), np.arange(5).astype("M8[s]")),
        "O": (Stored(np.array([b"u", "v", None, 3, b"\xff"], object)), (None, "text"), ["u", "v", None, 3, "\ufffd"]),
        "S": (Stored([b"u", b"v", b"", b"w", b"\xc3\xa9"]), (None, "text"), ["u", "v", "", "w", "é"]),
        "U": (Stored(["u", "v", "", "w", "é"]), (None, "text"), ["u", "v", "", "w", "é"]),
        "T": (Stored(["u", "v", "", "w", "é"], STRING), (None, "text"), ["u", "v", "", "w", "é"]),
        "whole with gaps": (
            Group(
                {"values": Stored([7, 2, 3, 9, 5], "i8"), "mask": Stored(none, "u1")}, encoding_type="nullable-integer"
            ),
            ("f8", "int64"),
            np.ma.array([7, 2, 3, 9, 5], mask=none),
        ),
        **{
            f"{kind} with gaps": (
                Group(
                    {"values": Stored(values, kind), "mask": Stored(none, "u1")},
                    encoding_type="nullable-string-array",
                ),
                (None, "nullable-string-array"),
                [None, "b", "cc", None, "e"],
            )
            for kind, values in (
                ("S2", [b"x", b"b", b"cc", b"y", b"e"]),
                ("U2", ["x", "b", "cc", "y", "e"]),
                (STRING, ["x", "b", "cc", "y", "e"]),
            )
        },
        **{
            f"{kind} codes": (
                Group({"codes": codes, "categories": Stored(values, kind)}, encoding_type="categorical"),
                (None, "categorical"),
                [None if at < 0 else text_of(values[at]) if kind == "S1" else values[at] for at in (1, -1, 0, 2, 0)],
            )
            for kind, values in (
                ("U1", ["a", "b", "c"]),
                ("S1", [b"a", b"b", b"c"]),
                (STRING, ["a", "b", "c"]),
                ("i8", [10, 20, 30]),
            )
        },
        "codes of gaps": (
            Group(
                {"codes": codes, "categories": Group({"values": Stored(["a", "b", "c"]), "mask": Stored([0, 0, 0])})}
            ),
            (None, "unknown"),
            ["b", None, "a", "c", "a"],
        ),
    }  # fmt: skip


def frame_of(parts, **attrs):
    return Group({"label": Stored(np.arange(5)), **parts}, encoding_type="dataframe", _index="label", **attrs)


@pytest.mark.parametrize("name", columns_of_all_kinds())
@pytest.mark.parametrize("start, stop", [(0, 5), (1, 4), (3, 5), (2, 2)])
def test_columns_of_a_frame_are_what_is_stored(name, start, stop):
    item, (kind, words), whole = columns_of_all_kinds()[name]
    frame = StoredFrame(frame_of({name: item, "z": Stored(np.ones(5))}, column_order=["z", name]), "here")
    assert list(frame.types) == ["z", name] and frame.n_rows == 5 and type(frame.n_rows) is int
    assert frame.types[name] == (None if kind is None else np.dtype(kind), words)
    assert kind is None or frame.types[name][0].isnative
    found = frame.fetch([name], start, stop)
    assert list(found) == [name]
    assert found[name].tolist() == np.asanyarray(whole)[start:stop].tolist()
    if isinstance(whole, np.ma.MaskedArray):
        np.testing.assert_array_equal(found[name].mask, whole.mask[start:stop])
    # Words that may be missing are Python's own, for a cell that holds none is None.
    assert found[name].dtype == object if None in np.asarray(whole).tolist() else True


@pytest.mark.parametrize(
    "order, names",
    [
        (["b", "a"], ["b", "a"]),
        (np.array([b"a", b"b"]), ["a", "b"]),
        (np.array([["ab"]], object), ["ab"]),
        ("ab", ["ab"]),
        (b"ab", ["ab"]),
        (None, []),
    ],
)
def test_names_of_a_frame_come_as_files_hold_them(order, names):
    parts = {name: Stored(np.ones(5)) for name in ("a", "b", "ab")}
    made = frame_of(parts) if order is None else frame_of(parts, column_order=order)
    assert list(StoredFrame(made, "here").types) == names


@pytest.mark.parametrize(
    "parts, change, words",
    [
        ({}, {"column_order": ["a"]}, "it has no a"),
        ({}, {"_index": "gone", "column_order": []}, "it has no index"),
        ({"a": Stored(np.ones(5))}, {"_index": "gone", "column_order": ["a"]}, "it has no index"),
        ({"a": Stored(np.ones(5))}, {"column_order": ["a", "b", "c"]}, "it has no b"),
        ({"a": Stored(np.ones(4))}, {"column_order": ["a"]}, "column 'a' has 4 of 5 rows"),
        ({"a": Stored(np.float64(1))}, {"column_order": ["a"]}, "column 'a' has 0 of 5 rows"),
        ({"a": Stored(np.ones((4, 5)))}, {"column_order": ["a"]}, "column 'a' has 4 of 5 rows"),
        ({"a": Group()}, {"column_order": ["a"]}, "column 'a' has 0 of 5 rows"),
        ({"a": Group({"codes": Stored([1])})}, {"column_order": ["a"]}, "column 'a' has 1 of 5 rows"),
        (
            {"a": Stored(np.ones(5)), "b": Group({"values": Stored([1, 2]), "codes": Stored(np.ones(5))})},
            {"column_order": ["a", "b"]},
            "column 'b' has 2 of 5 rows",
        ),
    ],
)
def test_a_damaged_frame_says_what_it_lacks(parts, change, words):
    with pytest.raises(ValueError) as caught:
        StoredFrame(frame_of(parts, **change) if "_index" not in change else Group(
            {"label": Stored(np.arange(5)), **parts}, encoding_type="dataframe", **change), "here")  # fmt: skip
    assert str(caught.value) == f"here is a damaged data frame: {words}"


@pytest.mark.parametrize("parts", ["values", "mask", "codes", "categories", ""])
@pytest.mark.parametrize("kind", ["runs", None])
def test_a_group_that_is_half_of_a_kind_is_of_none(parts, kind):
    made = Group(
        {part: Stored([0, 1, 0]) for part in parts.split()}, "/f/a", **({"encoding_type": kind} if kind else {})
    )
    frame = Group({"a": made, "i": Stored([1, 2, 3])}, _index="i", column_order=[])
    with pytest.raises(ValueError) as caught:
        StoredFrame(frame, "here").fetch(["a"], 0, 3)
    assert str(caught.value) == f"column '/f/a' is of a kind that is not known: {kind or 'unknown'!r}"


def test_a_column_whose_type_numpy_does_not_have_is_unknown():
    frame = StoredFrame(frame_of({"t": Timed(np.zeros(5))}, column_order=["t"]), "here")
    assert frame.types == {"t": (None, "unknown")}


def test_texts_are_decoded_and_all_else_is_written_out():
    assert [text_of(value) for value in (b"\xc3\xa9\xff", "é", None, 3)] == ["é\ufffd", "é", "None", "3"]


# Marks of missing cells, and packed numbers

# The library of netCDF writes these where nobody has written (NC_FILL_* of its netcdf.h).
UNWRITTEN = {
    "f4": 15 * 2.0**119, "f8": 15 * 2.0**119, "i2": 1 - 2**15, "u2": 2**16 - 1, "i4": 1 - 2**31, "u4": 2**32 - 1,
    "i8": 2 - 2**63, "u8": 2**64 - 2,
}  # fmt: skip
BESIDE = {"i2": -(2**15), "u2": 2**16 - 2, "i4": -(2**31), "u4": 2**32 - 2, "i8": -(2**63), "u8": 2**64 - 1}


@pytest.mark.parametrize("kind", [*UNWRITTEN, ">f4", ">i8"])
def test_what_nobody_wrote_is_missing_where_netcdf_chose_it(kind):
    mark = np.dtype(kind).type(UNWRITTEN[kind.strip(">")])
    cells = Stored(np.array([1, mark, 3], kind))
    found = decoded(cells, netcdf=True, unwritten=mark)
    assert np.ma.getmaskarray(found[0:3]).tolist() == [False, True, False] and found.dtype == np.dtype(kind)
    assert found.remarks == [f"cells of {mark.item()} are missing"] and found.shape == (3,)
    other = BESIDE.get(kind.strip(">"), float(mark) / 2)
    for how in ({"netcdf": False, "unwritten": mark}, {"netcdf": True, "unwritten": other}, {"netcdf": True}):
        assert decoded(cells, **how) is None
    # A file that names a mark of its own, needs no other one; what was missing before it was packed is another thing.
    said = decoded(Stored(cells.values, _FillValue=1), netcdf=True, unwritten=mark)
    assert said.remarks == [f"cells of {np.dtype(kind).type(1).item()} are missing"]
    both = decoded(Stored(cells.values, missing_value=3), netcdf=True, unwritten=mark)
    assert np.ma.getmaskarray(both[0:3]).tolist() == [False, True, True]


@pytest.mark.parametrize("kind", ["i1", "u1", "?", "f2"])
def test_bytes_that_nobody_wrote_are_numbers_as_others_are(kind):
    assert decoded(Stored([0, 1], kind), netcdf=True, unwritten=np.dtype(kind).type(1)) is None


def as_text(*numbers, kind):
    return base64.b64encode(np.array(numbers, kind).tobytes()).decode()


@pytest.mark.parametrize(
    "kind, mark, words",
    [
        ("f4", 0.1, "cells of 0.10000000149011612 are missing"),
        ("i2", 2.0, "cells of 2 are missing"),
        ("i2", np.array([2, 3, 2]), "cells of 2 and 3 are missing"),
        ("i2", [[2, 3], [4, 2]], "cells of 2 and 3 and 4 are missing"),
        # Attributes know no numbers without sign: -1 is all bits.
        ("u2", -1, "cells of 65535 are missing"),
        ("u1", np.array([-1, 2]), "cells of 255 and 2 are missing"),
        ("?", True, "cells of True are missing"),
        ("f8", [np.nan, 5.0], "cells of 5.0 are missing"),
        ("f8", np.nan, None),
        ("f8", "NaN", None),
        ("f8", as_text(2.5, kind="<f8"), "cells of 2.5 are missing"),
        (">f8", as_text(2.5, kind="<f8"), "cells of 2.5 are missing"),
        (">i4", as_text(7, kind="<i4"), "cells of 7 are missing"),
        ("i4", as_text(7, 8, kind="<i4"), "cells of 7 are missing"),
        ("f8", as_text(2.5, kind="<f4"), None),
        # Text that is none of these bytes, but has some of them between other signs.
        ("i4", as_text(7, kind="<i4").replace("A", "?A", 1), None),
        ("i4", "", None),
        ("i4", np.array(["2"]), None),
        ("i4", np.array([b"2"]), None),
        ("i4", 2j, None),
        ("i4", [], None),
        ("i4", [[2], [2, 3]], None),
        ("i4", None, None),
    ],
)
@pytest.mark.parametrize("name", ["_FillValue", "missing_value"])
@pytest.mark.parametrize("netcdf", [True, False])
def test_marks_are_numbers_of_the_type_of_the_cells(kind, mark, words, name, netcdf):
    found = decoded(Stored([0, 1], kind, **{name: mark}), netcdf=netcdf)
    assert (found and found.remarks) == (words and [words])
    assert found is None or found.dtype == np.dtype(kind)


@pytest.mark.parametrize("scale", [None, 1.0, 2.0, np.array([0.25])])
@pytest.mark.parametrize("offset", [None, 0.0, 0.5, np.array([-3.0])])
@pytest.mark.parametrize("mark", [None, 3])
@pytest.mark.parametrize("netcdf", [True, False])
def test_packed_numbers_are_unpacked_where_netcdf_packed_them(scale, offset, mark, netcdf):
    attrs = {"scale_factor": scale, "add_offset": offset, "_FillValue": mark}
    stored = np.arange(12, dtype="i2").reshape(6, 2)
    found = decoded(
        Stored(stored, chunks=(3, 2), **{name: value for name, value in attrs.items() if value is not None}),
        netcdf=netcdf,
    )
    times, plus = (
        (float(np.ravel(value)[0]) if value is not None and netcdf else usual)
        for value, usual in ((scale, 1), (offset, 0))
    )
    packed = (times, plus) != (1, 0)
    if not packed and mark is None:
        assert found is None
        return
    assert found.dtype == (np.float64 if packed else np.int16) and found.chunks == (3, 2) and found.shape == (6, 2)
    assert found.remarks == [
        *(["cells of 3 are missing"] if mark else []),
        *([f"numbers are unpacked: {times:g} times what is stored, plus {plus:g}"] if packed else []),
    ]
    for rows in (slice(0, 6), slice(1, 2), slice(2, 5), slice(4, 4)):
        part = found[rows]
        np.testing.assert_array_equal(np.ma.getdata(part), stored[rows] * times + plus if packed else stored[rows])
        np.testing.assert_array_equal(np.ma.getmaskarray(part), (stored[rows] == 3) & (mark is not None))
        assert part.dtype == found.dtype
        assert isinstance(part, np.ma.MaskedArray) == bool(mark and (stored[rows] == 3).any())


# Pieces


def test_the_last_piece_is_let_go_of_before_the_next_is_read():
    """Two are never held: each may be as large as memory allows."""

    class Piece:
        pass

    refs = []

    def load(number):
        assert all(ref() is None for ref in refs)
        made = Piece()
        refs.append(weakref.ref(made))
        return made

    held = LastBand(np.array([0, 1, 2, 3]), load)
    for number in (0, 1, 1, 2, 0):
        held[number]
    assert len(refs) == 4


@pytest.mark.parametrize("chunk, kept", [(4, True), (400, True)])
def test_a_vector_keeps_a_chunk_that_must_be_unpacked_whole_however_large_it_is(chunk, kept, monkeypatch):
    monkeypatch.setattr(bands, "LARGEST", 0)
    read = []

    class Vector:
        shape, dtype, chunks = (1000,), np.dtype("i8"), (chunk,)

        def __getitem__(self, rows):
            read.append(rows)
            return np.arange(1000)[rows]

    vector = BandedVector(Vector())
    assert vector[0:2].tolist() == [0, 1] and vector[2:4].tolist() == [2, 3] and len(read) == 1


# Tables of other shapes and types


@pytest.mark.parametrize(
    "shape, what", [((), "a scalar"), ((3,), "1D array"), ((2, 3, 4), "3D array"), ((2,) * 4, "4D array")]
)
def test_a_table_has_two_axes(shape, what):
    with pytest.raises(ValueError) as caught:
        table_shape(shape, "the Reader")
    assert str(caught.value) == (
        f"Expected 2D array, got {what} instead: the Reader has shape {shape}. "
        "Reshape your data to (n_samples, n_features)"
    )
    found = table_shape([np.int64(3), np.float32(2)], "")
    assert found == (3, 2) and all(type(size) is int for size in found)


@pytest.mark.parametrize(
    "array, words",
    [
        (Timed(np.zeros(5)), "is of a type that NumPy does not have, such as times; it does not hold plain numbers"),
        (Stored(np.zeros(5, [("r", "f4"), ("i", "f4")])), None),
        (
            Stored(np.zeros(5, [("r", "f4"), ("j", "i2")])),
            "is a compound table with fields r, j; write its numbers as one 2-D array",
        ),
        (Stored(np.zeros((5, 2), "c16")), None),
        (Stored([["a"]]), "holds strings or objects, not numbers"),
        (Stored([[b"a"]]), "holds strings or objects, not numbers"),
        (Stored([[None]], object), "holds strings or objects, not numbers"),
        (Stored([["a"]], STRING), "holds strings or objects, not numbers"),
        (Stored([[0]], "M8[s]"), "has type datetime64[s], which does not hold plain numbers"),
        (Stored(np.zeros((1, 1), "V3")), "has type |V3, which does not hold plain numbers"),
        (Stored(np.float64(1)), "is a scalar, shape (); a table of (n_samples, n_features) is needed"),
        (Stored(np.ones(3)), "is 1-D, shape (3,); a table of (n_samples, n_features) is needed"),
        (Stored(np.ones((3, 2, 1))), "is 3-D, shape (3, 2, 1); a table of (n_samples, n_features) is needed"),
        *((Stored(np.ones((3, 2), kind)), "") for kind in ("f2", "i1", "u8", "?")),
    ],
)
def test_what_is_no_table_of_numbers_says_why(array, words):
    if words == "":
        check_table(array, "X")
        return
    with pytest.raises(ValueError) as caught:
        check_table(array, "X")
    assert str(caught.value) == (
        f"Complex data not supported: X has type {array.dtype}" if words is None else f"X {words}"
    )


def test_an_array_without_a_shape_is_empty():
    array = Stored(np.ones((2, 2)))
    array.shape = None
    with pytest.raises(ValueError, match=r"^X is empty$"):
        check_table(array, "X")


@pytest.mark.parametrize(
    "names, attrs, loom",
    [
        ("matrix row_attrs col_attrs", (), True),
        ("matrix row_attrs", (), False),
        ("matrix col_attrs", (), False),
        ("row_attrs col_attrs", ("LOOM_SPEC_VERSION",), False),
        ("matrix", ("LOOM_SPEC_VERSION",), True),
        ("matrix attrs/LOOM_SPEC_VERSION", (), True),
        ("matrix", (), False),
    ],
)
def test_a_loom_file_is_told_by_its_parts(names, attrs, loom):
    root = Group(dict.fromkeys(names.split()))
    root.attrs = dict.fromkeys(attrs)
    assert is_loom(root) is loom
    for name, turned in (("/matrix", loom), ("/layers/a", loom), ("/layers", False), ("/row_attrs/x", False)):
        item = Stored(np.arange(12).reshape(3, 4), chunks=(3, 2), name=name)
        assert turned_because(item) is None
        item.file = root
        assert (turned_because(item) or "").startswith("rows are the cells, which .loom") is turned
        item.attrs = {"MATLAB_class": "double"}
        assert turned_because(item).startswith("rows are the rows that MATLAB has")
        for shape in ((12,), (), None, (3, 2, 2)):
            item.shape = shape
            assert turned_because(item) is None


def test_a_turned_table_is_its_transpose():
    for chunks in ((3, 2), None):
        item = Stored(np.arange(12).reshape(3, 4), chunks=chunks, name="/matrix", a=1)
        item.file, item.id = object(), object()
        turned = Turned(item)
        assert turned.shape == (4, 3) and turned.chunks == (chunks and (2, 3)) and turned.dtype == item.dtype
        assert (turned.attrs, turned.name) == ({"a": 1}, "/matrix")
        assert turned.file is item.file and turned.id is item.id and bool(turned)
        np.testing.assert_array_equal(turned[1:3], item.values.T[1:3])


def test_wide_fields_are_those_of_one_axis_of_numbers():
    kind = [
        ("a", "f4", (3,)),
        ("b", "f4"),
        ("c", "i2", (2, 2)),
        ("d", "S3", (2,)),
        ("e", "?", (1,)),
        ("f", "u1", (4,)),
        ("g", "c8", (2,)),
    ]
    found = wide_fields(Stored(np.zeros(5, kind)))
    assert found == {"a": (5, 3), "e": (5, 1), "f": (5, 4)}
    assert all(type(size) is int for shape in found.values() for size in shape)


# Columns by name


def named(columns=None, index=("id",), **more):
    types = {
        "id": (np.dtype("i8"), "int64"),
        "a": (np.dtype("f4"), "float"),
        "word": (None, "string"),
        "b": (np.dtype("i2"), "short"),
        "no": (None, "index"),
        **more,
    }
    return NamedColumns(
        types, lambda names, start, stop: {name: np.full(stop - start, 2.0) for name in names}, columns, "x.h5", index
    )


@pytest.mark.parametrize(
    "columns, names, unread, left_out",
    [
        (None, ["a", "b"], {"id": "an index", "word": "of type string", "no": "of type index"}, ["id", "word", "no"]),
        (["b"], ["b"], {"id": "an index"}, []),
        ("*", ["a", "word", "b", "no"], {"id": "an index"}, []),
        (["id", "b"], ["id", "b"], {}, []),
    ],
)
def test_columns_that_are_not_read_have_a_reason(columns, names, unread, left_out):
    found = named(columns)
    assert (found.names, found.unread, found.left_out) == (names, unread, left_out)
    assert found.dtype == (
        object
        if "word" in names
        else np.result_type("f4", "i2")
        if len(names) == 2 and "a" in names
        else np.int64
        if "id" in names
        else np.int16
    )
    assert list(found.columns(1, 4)) == names
    if "word" in names:
        with pytest.raises(
            TypeError, match=r"^column 'word' does not hold numbers; make columns of its words with OneHot"
        ):
            found.rows(0, 2)
    else:
        assert found.rows(1, 4).tolist() == [[2.0] * len(names)] * 3 and found.rows(2, 2).shape == (0, len(names))


def test_a_table_without_columns_of_numbers_lists_what_it_has():
    types = {"id": (np.dtype("i8"), "int64"), "w": (None, "string")}
    with pytest.raises(ValueError, match=r"^x has no array of numbers; it has id, w$"):
        NamedColumns(types, None, None, "x", {"id"}, "array")
    with pytest.raises(ValueError, match=r"^x has no column of numbers; it has id, w$"):
        NamedColumns(types, None, None, "x", {"id"})
    assert NamedColumns(types, None, ["id"], "x", {"id"}).names == ["id"]
    assert NamedColumns(types, None, None, "x").names == ["id"]


def test_masked_cells_of_named_columns_are_nan():
    types = {"a": (np.dtype("f8"), "int8"), "b": (np.dtype("f4"), "float")}
    parts = {"a": np.ma.array([1, 2, 3], "i1", mask=[0, 1, 0]), "b": np.ones(3, "f4")}
    table = NamedColumns(types, lambda names, start, stop: {n: parts[n][start:stop] for n in names}, None, "x").rows(
        0, 3
    )
    np.testing.assert_array_equal(table, [[1, 1], [np.nan, 1], [3, 1]])
    assert table.dtype == np.float64


@pytest.mark.parametrize("piece", [1, 2, 3, 4, 5, 100])
@pytest.mark.parametrize("n", [0, 1, 4, 9])
def test_columns_are_filled_in_pieces(piece, n, monkeypatch):
    monkeypatch.setattr(columns, "_PIECE", piece)
    X = np.arange(3.0 * n).reshape(n, 3)
    table = np.full((n, 3), np.nan)
    fill(table, [X[:, 0], list(X[:, 1]) if n else X[:, 1], X[:, 2].astype("i4")])
    np.testing.assert_array_equal(table, X)


def test_names_are_listed_up_to_ten_and_of_long_ones_the_beginning():
    names = [f"n{at}" for at in range(12)]
    assert listed([]) == "" and listed(names[:1]) == "n0"
    assert listed(names[:10]) == "n0, n1, n2, n3, n4, n5, n6, n7, n8, n9"
    assert listed(names[:11]).endswith(", n9 and 1 more") and listed(names).endswith(", n9 and 2 more")
    assert listed(["a" * 60, "b" * 61]) == f"{'a' * 60}, {'b' * 57}..."


@pytest.mark.parametrize(
    "wanted, found",
    [
        ("a", ["a"]),
        ("a,b", ["a,b"]),
        (["a", "b"], ["a,b"]),
        (["x", "y", "z"], ["x,y,z"]),
        (["a", "x", "y", "z", "c"], ["a", "x,y,z", "c"]),
        (["x", "y", "q"], "has no such column: columns='x' is not known"),
        (["c", "a", "c"], ["c", "a"]),
        ("*", ["c", "a,b", "a", "x,y,z", "line\nend", "a.c", "abc"]),
        (["a*", "c"], ["a,b", "a", "a.c", "abc", "c"]),
        (["*c", "a"], ["c", "a.c", "abc", "a"]),
        ("a.*", ["a.c"]),
        ("l*d", ["line\nend"]),
        ("hid*", "has no column that fits columns='hid*'; it has c, a,b"),
        ("hidden", ["hidden"]),
        ([], "columns=[] chooses no column of x"),
        (["twice"], "has several columns 'twice'; rename them"),
        ("tw*", "has several columns 'twice'; rename them"),
    ],
)
def test_columns_are_chosen_by_names_and_patterns(wanted, found):
    names = ["c", "a,b", "a", "hidden", "x,y,z", "line\nend", "a.c", "abc"]
    if "tw" in str(wanted):
        names += ["twice", "twice"]
    if isinstance(wanted, list) and wanted == ["a", "b"]:
        names.remove("a")
    if isinstance(found, str):
        with pytest.raises(ValueError) as caught:
            choose(names, wanted, "x", hidden=["hidden"])
        assert found in str(caught.value)
    else:
        assert choose(names, wanted, "x", hidden=["hidden"]) == found
        if not isinstance(wanted, str):
            assert choose(names, (word for word in wanted), "x", hidden=["hidden"]) == found


def test_the_type_of_all_columns_holds_each():
    assert common_type([]).kind == "O" and common_type([np.dtype("f4"), None]).kind == "O"
    assert common_type(iter([np.dtype("i2"), np.dtype("u2")])) == np.int32
    assert common_type([np.dtype("i4"), np.dtype("f4")]) == np.float64


# Tables in memory


@pytest.mark.parametrize(
    "chunks, found",
    [
        (None, None), ((3, 4), (3, 4)), (((3, 5, 2), (4,)), (5, 4)), (((3,), (4, 6)), (3, 6)), ((1, 1), (1, 1)),
        ((0, 4), None), ((3, 0), None), ((-1, 4), None), (((), (4,)), None), ((3,), None), ((3, 4, 5), None), (7, None),
        (("a", 4), None), ((np.int64(3), 4.0), (3, 4)), (((np.nan,), (4,)), None), ([3, 4], (3, 4)),
    ],
)  # fmt: skip
def test_chunks_of_a_reader_are_two_sizes_or_none(chunks, found):
    got = _regular_chunks(chunks)
    assert got == found and (got is None or all(type(size) is int for size in got))


@pytest.mark.parametrize(
    "column, cells",
    [
        (pd.Series([1, None, 3], dtype="Int8"), np.ma.array([1, 0, 3], "i1", mask=[0, 1, 0])),
        (pd.Series([1, 2, 3], dtype="UInt16"), np.array([1, 2, 3], "u2")),
        (pd.Series([True, None, False], dtype="boolean"), np.ma.array([True, False, False], mask=[0, 1, 0])),
        (pd.Series([0.5, None, 3], dtype="Float32"), np.ma.array([0.5, 0, 3], "f4", mask=[0, 1, 0])),
        (pd.Series([0.5, 1, 3], dtype="Float64"), np.array([0.5, 1, 3])),
        (pd.Series([0.5, np.nan, 3]), np.array([0.5, np.nan, 3])),
        (pd.Series(["a", None, "b"], dtype=object), np.array(["a", None, "b"], object)),
        (pd.Series(pd.Categorical(["b", None, "a", "b"])), np.array(["b", None, "a", "b"], object)),
        (pd.Series(pd.Categorical([7, 5, 7])), np.array([7, 5, 7], object)),
        (pd.Series(pd.Categorical([None, None])), np.array([None, None], object)),
        (pd.Series(pd.to_datetime(["2020-01-01", None])), np.array(["2020-01-01", "NaT"], "M8[s]")),
    ],
)
def test_cells_of_a_frame_keep_their_type(column, cells):
    found = _cells(column)
    assert type(found) is type(cells)
    if cells.dtype.kind == "M":
        assert found.dtype.kind == "M" and found.astype("M8[s]").tolist() == cells.tolist()
        return
    assert found.dtype == cells.dtype
    np.testing.assert_array_equal(np.ma.getmaskarray(found), np.ma.getmaskarray(cells))
    assert [str(cell) for cell in found.tolist()] == [str(cell) for cell in cells.tolist()]


@pytest.mark.parametrize(
    "kinds, dtype",
    [(["f4", "f4"], "f4"), (["i2", "f4"], "f4"), (["i4", "f4"], "f8"), (["?", "?"], "?"), (["f4", "M8[s]"], "f8"),
     (["f4", "m8[s]"], "f8"), (["f4", "Int8"], "f8"), ([], "f8"), (["f4", "O"], "O")],
)  # fmt: skip
def test_the_type_of_a_frame_is_that_of_its_numbers(kinds, dtype):
    made = pd.DataFrame({at: pd.Series([0, 1, 0]).astype(kind) for at, kind in enumerate(kinds)}, index=range(3))
    source = FrameSource(made)
    assert source.dtype == np.dtype(dtype) and source.shape == (3, len(kinds)) and source.reopen() is source
    assert source.column_names == [str(at) for at in range(len(kinds))] and source.chunks is None
    assert repr(source) == f"DataFrame of shape (3, {len(kinds)})"
    assert list(source.read_columns(1, 3)) == source.column_names
    assert all(len(cells) == 2 for cells in source.read_columns(1, 3).values())


def test_columns_of_a_frame_are_found_by_their_names_as_text():
    made = pd.DataFrame(np.arange(8.0).reshape(2, 4), columns=[3, "b", 1, "b"])
    source = FrameSource(made, ["1", "3"])
    assert source.column_names == ["1", "3"] and source.read(0, 2).to_numpy().tolist() == [[2, 0], [6, 4]]
    with pytest.raises(ValueError, match=r"^the DataFrame has several columns 'b'; rename them$"):
        FrameSource(made).read_columns(0, 1)
    with pytest.raises(ValueError, match=r"^the DataFrame has several columns 'b'; rename them$"):
        FrameSource(made, ["b"])


class Own:
    """A source of one's own, with more than a source needs."""

    shape, dtype, chunks, column_names, _secret = (np.int64(4), np.int64(2)), "f4", ((2, 2), (2,)), ["u", "v"], 5

    def __init__(self):
        self.closed = 0

    def read(self, start, stop):
        return np.ones((stop - start, 2), "f4")

    def reopen(self):
        return Own()

    def close(self):
        self.closed += 1


def test_a_source_of_ones_own_is_seen_through():
    own = Own()
    source = OwnSource(own)
    assert source.shape == (4, 2) and source.dtype == np.float32 and source.chunks == (2, 2) and source.kind == "Own"
    assert all(type(size) is int for size in source.shape) and source.column_names == ["u", "v"]
    with pytest.raises(AttributeError, match="_secret"):
        source._secret  # noqa: B018
    assert source.read(1, 4).shape == (3, 2) and repr(source) == repr(own)
    again = source.reopen()
    assert isinstance(again, OwnSource) and again._data is not own
    with source:
        assert own.closed == 0
    assert own.closed == 1
    own.kind = "a kind"
    assert OwnSource(own).kind == "a kind"
    bare = type("Bare", (), {"shape": (1, 1), "dtype": "f8", "chunks": None})()
    OwnSource(bare).close()


def test_a_reader_of_ones_own_may_say_what_it_is():
    X = np.ma.array(np.arange(8).reshape(4, 2), mask=np.arange(8).reshape(4, 2) == 5)

    class Reader:
        shape, chunks = (4, 2), (2, 2)

        def __getitem__(self, rows):
            return X[rows]

    source = SlicedSource(Reader())
    assert (
        source.dtype == np.float64 and source.chunks == (2, 2) and source.kind == "Reader" and source.reopen() is source
    )
    assert repr(source) == "Reader of shape (4, 2)" and source.identity() is None
    # What has no masked cell is a plain array.
    assert type(source.read(0, 2)) is np.ndarray and source.read(2, 4).mask.any()
    Reader.identity, Reader.dtype = "no method", np.dtype("i2")
    assert SlicedSource(Reader()).identity() is None and SlicedSource(Reader()).dtype == np.int16
    Reader.identity = lambda self: {"a": 1}
    assert SlicedSource(Reader()).identity() == {"a": 1}
