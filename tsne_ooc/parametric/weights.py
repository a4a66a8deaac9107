"""The weights of a saved encoder: what the file says it holds is checked before anything is made from it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from tsne_ooc._options import shown
from tsne_ooc._typing import Arrays
from tsne_ooc.io import optional
from tsne_ooc.storage.manifest import one_line, open_file
from tsne_ooc.storage.state import Saved

Shapes = dict[str, tuple[int, ...]]


class WeightsError(ValueError):
    """Raised for what is wrong with a file of weights; the message names the file."""


class Weights:
    """A file of weights that is not trusted yet.

    Parameters
    ----------
    saved : Saved
        "file" and "sha256".
    folder : Path

    Attributes
    ----------
    shapes : dict of str to tuple of int
        The shapes in the header of the file, which is in memory as a whole.
    """

    def __init__(self, saved: Saved, folder: Path) -> None:
        name = saved.text("file")
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise saved.fail("are not in the folder")
        self.file = folder / name
        with open_file(folder, name) as file:
            self._data = file.read()
        if hashlib.sha256(self._data).hexdigest() != saved.text("sha256"):
            raise WeightsError(f"{self.file} is damaged: its sum is not the one that the manifest names")
        self.shapes = self._header()

    def _header(self) -> Shapes:
        """Names and shapes, from the JSON behind the first eight bytes, which hold its length."""
        length = int.from_bytes(self._data[:8], "little")
        try:
            found = json.loads(self._data[8 : 8 + length].decode("utf-8"))
            return {key: tuple(map(int, item["shape"])) for key, item in found.items() if key != "__metadata__"}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise WeightsError(f"{self.file} is damaged: it has no header ({one_line(str(error), 80)})") from None

    def read(self, wanted: dict[str, Any]) -> Arrays:
        """The weights, which must be those of `wanted`, a network's tensors by name, and finite.

        Raises
        ------
        ValueError
            Naming the file.
        """
        for key in sorted({*self.shapes, *wanted}):
            here, there = self.shapes.get(key), tuple(wanted[key].shape) if key in wanted else None
            if here != there:
                has = "none" if here is None else f"one of shape {here}"
                needs = "no" if there is None else f"shape {there} of"
                raise WeightsError(
                    f"{self.file} holds other weights than the network has: {has} of the name {shown(key)}, where the "
                    f"network has {needs} it"
                )
        library = optional.load("safetensors.numpy", "neural", "a saved encoder")
        try:
            found: Arrays = library.load(self._data)
        except Exception as error:
            # This may be an error of the library's own kind, or one for types that NumPy does not have.
            raise WeightsError(f"{self.file} is damaged: {one_line(str(error), 120)}") from None
        for key, value in found.items():
            if (value.dtype.kind == "f") != wanted[key].is_floating_point() or value.dtype.kind not in "fiub":
                raise WeightsError(
                    f"{self.file} holds {value.dtype} for {shown(key)}, of another kind than the network"
                )
            if not np.isfinite(value).all():
                raise WeightsError(f"{self.file} holds NaN or infinity in {shown(key)}")
        return found
