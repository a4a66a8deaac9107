"""How `tsne-ooc prepare` made a table, as the table itself tells: what the rows of later files need to be like it."""

from __future__ import annotations

import json
from typing import Any

from tsne_ooc._typing import Json, TableLike

#: What it is called in the file: an array of one text in HDF5, where attributes hold 64 kB, and an attribute in Zarr.
NAME = "prepared"


def how_prepared(source: TableLike) -> Json | None:
    """What `tsne_ooc.convert` wrote into the file of a table about itself, of many files the first; else None."""
    first = getattr(source, "first_file", None)
    if callable(first):
        return how_prepared(first())
    item: Any = getattr(source, "_item", None)
    package = type(item).__module__.partition(".")[0]
    try:
        if package == "h5py" and getattr(item.file.get(NAME), "shape", None) == ():
            text = item.file[NAME][()]
        elif package == "zarr" and item.path:
            # An array that is the whole store is none that was prepared, and older Zarr fails on it.
            import zarr

            text = zarr.open_group(item.store, mode="r").attrs.get(NAME)
        else:
            return None
        found = json.loads(text)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        # What has this name may be anything.
        return None
    return found if isinstance(found, dict) else None
