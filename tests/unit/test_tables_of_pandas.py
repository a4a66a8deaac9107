"""Data frames as pandas stores them in HDF5."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from stored import Stored

from tsne_ooc.io.pandas_table import PandasTable, names_in


def pandas_dataset(kind, kinds=(), word=b"frame_table", **notes):
    n = 4
    rows = np.zeros(n, kind)
    for at, field in enumerate(rows.dtype.names):
        if rows.dtype[field].base.kind in "fiu":
            rows[field] = np.arange(rows[field].size).reshape(rows[field].shape) + 100 * at
    item = Stored(rows, **{f"{field}_kind": pickle.dumps(names) for field, names in dict(kinds).items()})
    item.parent = SimpleNamespace(
        attrs={"pandas_type": word, **{key: pickle.dumps(value) for key, value in notes.items()}}
    )
    return item


BLOCKS = [("index", "i8"), ("values_block_0", "f8", (2,)), ("values_block_1", "i4", (1,)), ("word", "S3")]


def test_blocks_of_a_frame_are_its_columns_in_its_order():
    item = pandas_dataset(
        BLOCKS,
        {"values_block_0": ["b", "d"], "values_block_1": ["a"]},
        non_index_axes=[(1, ["a", "b", "word", "d", "gone"])],
        levels=["word", "none"],
    )
    table = PandasTable(item)
    assert list(table.types) == ["a", "b", "word", "d", "index"] and table.index == {"index", "word"}
    assert table.types == {
        "a": (np.dtype("i4"), "int32"), "b": (np.dtype("f8"), "float64"), "d": (np.dtype("f8"), "float64"),
        "word": (None, "text"), "index": (np.dtype("i8"), "int64"),
    }  # fmt: skip
    rows = item.values
    found = table.fetch(["d", "index", "a"], 1, 3)
    assert list(found) == ["d", "index", "a"]
    np.testing.assert_array_equal(found["d"], rows["values_block_0"][1:3, 1])
    np.testing.assert_array_equal(found["a"], rows["values_block_1"][1:3, 0])
    np.testing.assert_array_equal(found["index"], rows["index"][1:3])


@pytest.mark.parametrize(
    "names, called",
    [
        (["b", "d"], ["b", "d"]),
        # Of another number, one name twice, or one that another column has.
        (["b"], ["values_block_0_0", "values_block_0_1"]),
        (["b", "d", "e"], ["values_block_0_0", "values_block_0_1"]),
        (["b", "b"], ["values_block_0_0", "values_block_0_1"]),
        (["b", "index"], ["values_block_0_0", "values_block_0_1"]),
        (None, ["values_block_0_0", "values_block_0_1"]),
    ],
)
def test_columns_without_names_of_their_own_are_numbered(names, called):
    kinds = {} if names is None else {"values_block_0": names}
    table = PandasTable(pandas_dataset(BLOCKS[:2], kinds))
    assert list(table.types) == ["index", *called]
    np.testing.assert_array_equal(table.fetch(called, 0, 2)[called[1]], [101, 103])


@pytest.mark.parametrize(
    "field, shape, names, called",
    [
        ("values_block_5", (), ["a"], "a"), ("values_block_5", (), ["a", "b"], "values_block_5"),
        ("values_block_5", (), [], "values_block_5"),
        ("own", (), ["a"], "own"), ("values_block_5", (2, 2), ["a"], "a"),
    ],
)  # fmt: skip
def test_a_field_of_one_column_has_its_name(field, shape, names, called):
    table = PandasTable(pandas_dataset([("index", "i8"), (field, "f4", shape)], {field: names}))
    assert table.types[called] == ((None if shape else np.dtype("f4")), "float32")
    assert table.fetch([called], 0, 3)[called].shape == (3, *shape)


@pytest.mark.parametrize(
    "word, names, taken",
    [
        (b"frame_table", "index", True), ("series_table", "index", True), ("frame", "index", False),
        (b"frame_table", "Index", False), ("", "index", False), (b"\xff_table", "index", True),
    ],
)  # fmt: skip
def test_a_table_of_pandas_is_told_by_its_word_and_its_index(word, names, taken):
    assert PandasTable.takes(pandas_dataset([(names, "i8")], word=word)) is taken
    bare = pandas_dataset([("index", "i8")])
    bare.parent.attrs = {}
    assert not PandasTable.takes(bare)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_names_in_a_list_are_read_and_nothing_else_is(protocol):
    for names in ([], ["a"], ["é", "b" * 300], [(1, ["a", 70000, -1, 2**40])], [("x", "y", "z"), ()]):
        flat = pd.core.common.flatten(names) if names else ()
        assert names_in(pickle.dumps(names, protocol)) == [str(name) for name in flat]
    for other in ([1.5], [print], [{"a": 1}], [None], [True] if protocol > 1 else [None]):
        assert names_in(pickle.dumps(other, protocol)) == []
    whole = pickle.dumps(["abc", "def"], protocol)
    for text in (None, "text", b"", whole[:-3], b"\xff", np.array([1])):
        assert names_in(text) == []
