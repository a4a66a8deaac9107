"""Randomness: one generator for each purpose, from one seed."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from tsne_ooc._options import scalar


def seed_of(random_state: Any) -> int:
    """A whole number from what users pass as `random_state`: None, a number, or a generator old or new.

    Raises
    ------
    TypeError, ValueError
        If it is none of these, or a negative number.
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**63))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    seed = scalar(random_state)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"random_state={random_state!r} is neither None, a whole number nor a NumPy generator")
    if seed < 0:
        raise ValueError(f"random_state={random_state!r} must not be negative")
    return seed


def generator(seed: int, purpose: str) -> np.random.Generator:
    """The generator of one purpose: what one part draws never changes what another gets."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])
