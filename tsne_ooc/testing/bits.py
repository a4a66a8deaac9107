"""Comparison of arrays bit by bit, told in one line."""

from __future__ import annotations

from typing import Any

import numpy as np


def assert_same_bits(found: Any, wanted: Any) -> None:
    """Raise unless two arrays have the same shape, type and bits: NaN is equal to itself, and -0.0 is not 0.0.

    A plain ``assert`` of their bytes would have pytest compare all lines of these with each other where it tells
    everything (with ``-vv``, or where the variable ``CI`` is set): of half a megabyte for hours.

    Parameters
    ----------
    found, wanted : array_like

    Raises
    ------
    AssertionError
        With how many values differ and the first that does, in the order of rows.
    """
    found, wanted = np.asarray(found), np.asarray(wanted)
    if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
        raise AssertionError(f"{found.dtype} of shape {found.shape}, not {wanted.dtype} of shape {wanted.shape}")
    bits = [np.frombuffer(each.tobytes(), np.uint8).reshape(each.size, each.itemsize) for each in (found, wanted)]
    different = np.flatnonzero((bits[0] != bits[1]).any(axis=1))
    if len(different):
        at = tuple(int(i) for i in np.unravel_index(different[0], found.shape))
        raise AssertionError(
            f"{len(different):,} of {found.size:,} values differ, the first at {at}: {found[at]!r}, not {wanted[at]!r}"
        )
