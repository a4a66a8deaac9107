"""What an object needs to be made again: plain JSON and arrays, and a reader that trusts neither."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tsne_ooc._options import number
from tsne_ooc._typing import Array, Json, Named
from tsne_ooc.storage.mapped import in_pieces

#: Numbers, strings, lists and dicts, and arrays by name. Names have letters, digits, ``_`` and ``.`` alone.
State = tuple[Json, dict[str, Array]]


class StateError(ValueError):
    """Raised for what a state lacks or has wrong.

    Attributes
    ----------
    array : str or None
        Full name of the array that is wrong; None where the JSON is.
    """

    def __init__(self, message: str, array: str | None = None) -> None:
        super().__init__(message)
        self.array = array


def within(name: str, state: State) -> tuple[Json, dict[str, Array]]:
    """A state as the part `name` of another: its JSON under that key, its arrays under ``name.``."""
    content, arrays = state
    return {name: content}, {f"{name}.{key}": array for key, array in arrays.items()}


@dataclass(frozen=True)
class Saved:
    """A state that comes from outside, read one checked piece at a time.

    Kernels check no bounds: whoever makes an object from a state asks here for types and shapes, checks what the
    numbers mean, and raises `fail` where they are not valid.

    Parameters
    ----------
    content : mapping
    arrays : mapping of str to ndarray
        Arrays under their full names.
    path : tuple of str
        The parts that lead here.
    """

    content: Named
    arrays: Mapping[str, Array]
    path: tuple[str, ...] = ()

    def part(self, name: str) -> Saved:
        """The state within this one that `within` put there."""
        return Saved(self._get(name, dict, "an object"), self.arrays, (*self.path, name))

    def own_arrays(self) -> dict[str, Array]:
        """Arrays of this part, under the names it gave them."""
        prefix = ".".join([*self.path, ""])
        return {name.removeprefix(prefix): array for name, array in self.arrays.items() if name.startswith(prefix)}

    def array(self, name: str, dtype: DTypeLike, shape: tuple[int | None, ...], *, finite: bool = True) -> Array:
        """The array of this type and shape (None: any length); `finite` unless numbers may be missing from it."""
        full = ".".join([*self.path, name])
        if full not in self.arrays:
            raise StateError(f"the array {full!r} is missing")
        array = self.arrays[full]
        if array.dtype != np.dtype(dtype):
            raise StateError(f"holds {array.dtype}, not {np.dtype(dtype)}", full)
        fits = len(shape) == array.ndim and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
        if not fits or not array.flags.c_contiguous:
            wanted = ", ".join("any" if length is None else str(length) for length in shape)
            raise StateError(f"has the shape {array.shape}, where ({wanted}) is needed", full)
        numbers = finite and array.dtype.kind == "f"
        if numbers and not all(np.isfinite(some.min()) and np.isfinite(some.max()) for some in in_pieces(array)):
            raise StateError("holds NaN or infinity", full)
        return array

    def text(self, name: str) -> str:
        return str(self._get(name, str, "a string"))

    def flag(self, name: str) -> bool:
        return bool(self._get(name, bool, "true or false"))

    def whole(self, name: str, least: int, most: int = 2**62) -> int:
        """A whole number between two others."""
        value = self._get(name, int, "a whole number")
        if isinstance(value, bool) or not least <= value <= most:
            raise StateError(f"{self._key(name)}={value!r} is not a whole number from {least} to {most}")
        return int(value)

    def whole_or_none(self, name: str, least: int) -> int | None:
        return None if self.content.get(name, 0) is None else self.whole(name, least)

    def number(self, name: str, above: float) -> float:
        """A finite number greater than `above`."""
        value = self._get(name, (int, float), "a number")
        try:
            return number(self._key(name), value, above=above)
        except (ValueError, TypeError) as error:
            raise StateError(str(error)) from None

    def fail(self, message: str, array: str | None = None) -> StateError:
        """The error to raise where this part, or one of its arrays, holds something that is not valid."""
        if array is None:
            return StateError(f"{'.'.join(self.path)} {message}")
        return StateError(message, ".".join([*self.path, array]))

    def _key(self, name: str) -> str:
        return ".".join([*self.path, name])

    def _get(self, name: str, kind: type | tuple[type, ...], what: str) -> Any:
        if name not in self.content:
            raise StateError(f"{self._key(name)!r} is missing")
        value = self.content[name]
        if not isinstance(value, kind):
            raise StateError(f"{self._key(name)!r} is not {what}")
        return value
