"""The shape a table must have."""

from __future__ import annotations

from typing import Any


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
