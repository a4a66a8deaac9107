"""Data frames within HDF5 and Zarr, as AnnData writes them: a group with an array or a group for each column."""

from __future__ import annotations

from typing import Any

import numpy as np

from tsne_ooc._typing import Array, DType, Stored
from tsne_ooc.io.base import type_of
from tsne_ooc.io.named_columns import Types


def is_stored_frame(item: Stored) -> bool:
    """Whether a group holds a data frame in the `layout of AnnData \
<https://anndata.readthedocs.io/en/latest/fileformat-prose.html>`_."""
    return hasattr(item, "keys") and text_of(item.attrs.get("encoding-type")) == "dataframe"


def values_of(item: Stored) -> Any:
    """The array of a column's values: the item itself, or the one within a group where cells may be missing.

    From 0.13 with pandas 3 on, AnnData keeps texts in such groups, also those that name rows, columns and categories.
    """
    return item["values"] if hasattr(item, "keys") and "values" in item else item


class StoredFrame:
    """The columns of a group that holds a data frame.

    Attributes
    ----------
    types : dict
        All columns, as `NamedColumns` takes them.
    index : set of str
        The labels of the rows.
    n_rows : int
    """

    def __init__(self, group: Stored, where: str) -> None:
        self._group = group
        index = text_of(group.attrs.get("_index"))
        order = [text_of(name) for name in np.asarray(group.attrs.get("column-order", ()), object).ravel().tolist()]
        missing = [name for name in order if name not in group]
        if missing or index not in group:
            raise ValueError(f"{where} is a damaged data frame: it has no {missing[0] if missing else 'index'}")
        self.types: Types = {name: _type(group[name]) for name in order}
        self.n_rows = _rows(group[index])
        for name in order:
            rows = _rows(group[name])
            if rows != self.n_rows:
                raise ValueError(f"{where} is a damaged data frame: column {name!r} has {rows} of {self.n_rows} rows")

    def fetch(self, names: list[str], start: int, stop: int) -> dict[str, Array]:
        """Rows of some columns; missing numbers are masked, and missing words None."""
        return {name: _column(self._group[name], start, stop) for name in names}


def _type(item: Stored) -> tuple[DType | None, str]:
    if not hasattr(item, "keys"):
        kind = type_of(item)
        if kind is not None and kind.kind in "fiub" and len(item.shape) == 1:
            return kind.newbyteorder("="), str(kind)
        return None, "text" if kind is not None and kind.kind in "OSUT" else str(kind or "unknown")
    if _is_nullable(item):
        # This is what pandas makes of it: missing cells are NaN.
        return np.dtype(np.float64), str(item["values"].dtype)
    return None, text_of(item.attrs.get("encoding-type", "unknown"))


def _is_nullable(item: Stored) -> bool:
    return "values" in item and "mask" in item and np.dtype(item["values"].dtype).kind in "fiub"


def _rows(item: Stored) -> int:
    parts = [item] if not hasattr(item, "keys") else [item[part] for part in ("values", "codes") if part in item]
    return int(parts[0].shape[0]) if parts and getattr(parts[0], "shape", None) else 0


def _column(item: Stored, start: int, stop: int) -> Array:
    if not hasattr(item, "keys"):
        return _words(np.asarray(item[start:stop]))
    if "values" in item and "mask" in item:
        values, mask = np.asarray(item["values"][start:stop]), np.asarray(item["mask"][start:stop]).astype(bool)
        if _is_nullable(item):
            return np.ma.array(values, mask=mask)
        found = _words(values).astype(object)
        found[mask] = None
        return found
    if "codes" in item and "categories" in item:
        codes, categories = np.asarray(item["codes"][start:stop]), _words(np.asarray(values_of(item["categories"])[:]))
        found = np.full(len(codes), None, object)
        found[codes >= 0] = categories.astype(object)[codes[codes >= 0]]
        return found
    raise ValueError(
        f"column {item.name!r} is of a kind that is not known: {text_of(item.attrs.get('encoding-type', 'unknown'))!r}"
    )


def _words(values: Array) -> Array:
    if values.dtype.kind not in "OS":
        return values
    found = np.empty(values.shape, object)
    found[...] = [text_of(cell) if isinstance(cell, bytes) else cell for cell in values.tolist()]
    return found


def text_of(value: Any) -> str:
    """An attribute or a name, which files hold as bytes or as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
