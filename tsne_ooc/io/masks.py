"""Masks of missing cells: a mask travels with its rows to `as_rows`, which refuses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tsne_ooc._typing import Array


def with_mask(values: Any) -> Array:
    """`values` as an array: a masked one where a cell is masked, not what lies beneath the mask."""
    return values if np.ma.is_masked(values) else np.asarray(values)


def stacked(parts: Sequence[Array]) -> Array:
    """Rows one after the other, as a new array, with their masks."""
    if any(isinstance(part, np.ma.MaskedArray) for part in parts):
        found: Array = np.ma.concatenate(parts)  # type: ignore[no-untyped-call]
        return found
    return np.concatenate(parts)
