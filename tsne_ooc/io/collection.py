"""Collections that annbatch wrote: a folder of Zarr with AnnData in ``dataset_0``, ``dataset_1`` and so on."""

from __future__ import annotations

import json
import re

from tsne_ooc.io.failures import opening
from tsne_ooc.io.urls import AnyPath, Url

#: By this its datasets are one collection, as annbatch marks it (https://annbatch.readthedocs.io).
ENCODING = "annbatch-preshuffled"
_NAME = re.compile(r"dataset_(\d+)")


def datasets_of(path: AnyPath) -> list[AnyPath] | None:
    """The datasets of a collection, in the order of their numbers; None for whatever else is there.

    Raises
    ------
    OSError
        Where one of the datasets is missing: all are written from 0 on.
    """
    note = path / "zarr.json"
    # A server is asked only where the name promises something.
    if (isinstance(path, Url) and path.suffix.lower() != ".zarr") or not note.is_file():
        return None
    try:
        with opening(path), note.open("rb") as file:
            text = file.read()
        told = json.loads(text)
        if told["attributes"]["encoding-type"] != ENCODING:
            return None
    except (ValueError, KeyError, TypeError):
        # Whoever opens it says what is wrong.
        return None
    # A server may list nothing; then the names of all that is in the group are here.
    listed = (told.get("consolidated_metadata") or {}).get("metadata") or [entry.name for entry in path.iterdir()]
    numbers = sorted({int(found[1]) for name in listed if (found := _NAME.fullmatch(name))})
    if numbers != list(range(len(numbers))) or not numbers:
        have = ", ".join(f"dataset_{number}" for number in numbers) or "none"
        raise OSError(
            f"{path} is a collection of annbatch that lacks some of its datasets; it has {have}: copy it again"
        )
    return [path / f"dataset_{number}" for number in numbers]
