"""The layout of ``DataFrame.to_hdf(format="table")``: blocks of columns side by side in records, names beside them."""

from __future__ import annotations

import pickletools
from typing import Any

from tsne_ooc._typing import Array, DType, TableLike
from tsne_ooc.io.named_columns import Types

# What a pickled list of names consists of. Nothing is unpickled: its parts are read one by one, as text.
_ORDINARY = {
    "PROTO", "FRAME", "MARK", "LIST", "EMPTY_LIST", "APPEND", "APPENDS", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
    "EMPTY_TUPLE", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "STOP",
}  # fmt: skip
_NAMES = {
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING", "INT",
    "BININT", "BININT1", "BININT2", "LONG", "LONG1",
}  # fmt: skip


class PandasTable:
    """The columns of a dataset in this layout, as the frame had them.

    Attributes
    ----------
    types : dict
        All columns, in the order of the frame where it is known, as `NamedColumns` takes them.
    index : set of str
        Columns that were the frame's index.
    """

    def __init__(self, dataset: TableLike) -> None:
        self._dataset = dataset
        # The field that holds each column, and its place within a field of several.
        self._places: dict[str, tuple[str, int | None]] = {}
        types: dict[str, tuple[DType | None, str]] = {}
        for field, (kind, *_) in dataset.dtype.fields.items():
            found = kind.base if kind.base.kind in "fiub" and len(kind.shape) < 2 else None
            words = "text" if kind.base.kind in "SUO" else str(kind.base)
            names = names_in(dataset.attrs.get(f"{field}_kind"))
            if len(kind.shape) != 1:
                of_frame = field if not field.startswith("values_block_") or len(names) != 1 else names[0]
                self._places[of_frame], types[of_frame] = (field, None), (found, words)
                continue
            width = kind.shape[0]
            if len(set(names)) != width or set(names) & types.keys():
                names = [f"{field}_{at}" for at in range(width)]
            for at, name in enumerate(names):
                self._places[name], types[name] = (field, at), (found, words)
        order = names_in(dataset.parent.attrs.get("non_index_axes"))[1:]
        known = [name for name in order if name in types]
        self.types: Types = {name: types[name] for name in [*known, *(name for name in types if name not in order)]}
        self.index = {"index", *names_in(dataset.parent.attrs.get("levels"))} & types.keys()

    @staticmethod
    def takes(dataset: TableLike) -> bool:
        """Whether pandas wrote this dataset of records."""
        word = dataset.parent.attrs.get("pandas_type", b"")
        word = word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word)
        return word.endswith("_table") and "index" in dataset.dtype.names

    def fetch(self, names: list[str], start: int, stop: int) -> dict[str, Array]:
        """Rows of some columns."""
        fields = list(dict.fromkeys(self._places[name][0] for name in names))
        rows = self._dataset.fields(fields)[start:stop]
        return {
            name: rows[field] if at is None else rows[field][:, at]
            for name, (field, at) in ((name, self._places[name]) for name in names)
        }


def names_in(pickled: Any) -> list[str]:
    """The texts and numbers of a pickled list; none where the list holds anything else. Nothing is unpickled."""
    if not isinstance(pickled, bytes):
        return []
    found = []
    try:
        for opcode, value, _ in pickletools.genops(pickled):
            if opcode.name in _NAMES:
                found.append(str(value))
            elif opcode.name not in _ORDINARY:
                return []
    except (ValueError, KeyError, IndexError, UnicodeDecodeError):
        return []
    return found
