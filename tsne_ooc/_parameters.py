"""Parameters as JSON: numbers, words, and the options that are objects, by name."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np

from . import neighbors
from .affinity import FixedSigma, Multiscale, Perplexity, Uniform
from .placement import Placement
from .schedule import Phase, Schedule

# What a file may make. Its words are looked up here: nothing is ever imported by a name found in a file.
_CLASSES: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        Placement, Perplexity, Multiscale, Uniform, FixedSigma, Schedule, Phase, neighbors.Exact, neighbors.IVF,
        neighbors.HNSW, neighbors.PyNNDescent, neighbors.Annoy, neighbors.Precomputed,
    )
}  # fmt: skip


def encode(value: Any) -> Any:
    """A value as JSON can hold it, for `decode`.

    Raises
    ------
    TypeError
        For arrays, functions and objects of other classes.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [encode(item) for item in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: encode(item) for key, item in value.items()}}
    if _CLASSES.get(type(value).__name__) is type(value):
        return {type(value).__name__: {field.name: encode(getattr(value, field.name)) for field in fields(value)}}
    raise TypeError(f"{describe(value)} cannot be saved")


def decode(value: Any) -> Any:
    """What `encode` was given.

    Raises
    ------
    ValueError, TypeError
        For anything that `encode` does not write, and for values that the objects refuse.
    """
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        raise ValueError(f"an object of {len(value)} keys is no parameter")
    ((kind, inside),) = value.items()
    if kind == "float" and inside in ("nan", "inf", "-inf"):
        return float(inside)
    if kind == "tuple" and isinstance(inside, list):
        return tuple(decode(item) for item in inside)
    if kind == "dict" and isinstance(inside, dict):
        return {key: decode(item) for key, item in inside.items()}
    if kind in _CLASSES and isinstance(inside, dict):
        return _CLASSES[kind](**{name: decode(item) for name, item in inside.items()})
    raise ValueError(f"{kind[:40]!r} is no kind of parameter")


def describe(value: Any) -> str:
    """A few words for what is not saved."""
    if hasattr(value, "shape"):
        return f"{type(value).__name__} of shape {tuple(value.shape)}"
    if callable(value):
        return f"function {getattr(value, '__qualname__', type(value).__name__)}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__} of {len(value)}"
    return f"object of type {type(value).__name__}"
