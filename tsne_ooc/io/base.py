"""What all sources have in common: ``with``, and the shape and the type that a table must have."""

from __future__ import annotations

from typing import Any, Self


class Closing:
    """A source that closes with its ``with`` statement; one that holds a file overrides `close`."""

    def close(self) -> None:
        """Let go of the file, where there is one."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def table_shape(shape: Any, name: str) -> tuple[int, int]:
    """`shape` as two whole numbers, or an error that says what was given."""
    sizes = tuple(shape)
    if len(sizes) != 2:
        given = {0: "a scalar", 1: "1D array"}.get(len(sizes), f"{len(sizes)}D array")
        raise ValueError(
            f"Expected 2D array, got {given} instead: {name} has shape {sizes}. "
            "Reshape your data to (n_samples, n_features)"
        )
    return int(sizes[0]), int(sizes[1])


def type_of(array: Any) -> Any:
    """The type of a stored array; None for those of HDF5 that NumPy does not have, such as times."""
    try:
        return array.dtype
    except TypeError:
        return None


def check_table(array: Any, name: str) -> None:
    """Raise one clear line where a stored array (HDF5, Zarr) is not a two-dimensional table of real numbers."""
    kind = type_of(array)
    if kind is None:
        raise ValueError(f"{name} is of a type that NumPy does not have, such as times; it does not hold plain numbers")
    names = getattr(kind, "names", None)
    if names is not None:
        if set(names) == {"r", "i"}:
            raise ValueError(f"Complex data not supported: {name} has type {kind}")
        raise ValueError(
            f"{name} is a compound table with fields {', '.join(names)}; write its numbers as one 2-D array"
        )
    if kind.kind == "c":
        raise ValueError(f"Complex data not supported: {name} has type {kind}")
    if kind.kind in "OSUT":
        raise ValueError(f"{name} holds strings or objects, not numbers")
    if kind.kind not in "fiub":
        raise ValueError(f"{name} has type {kind}, which does not hold plain numbers")
    if array.shape is None:
        raise ValueError(f"{name} is empty")
    if len(array.shape) != 2:
        what = {0: "a scalar", 1: "1-D"}.get(len(array.shape), f"{len(array.shape)}-D")
        raise ValueError(f"{name} is {what}, shape {array.shape}; a table of (n_samples, n_features) is needed")
