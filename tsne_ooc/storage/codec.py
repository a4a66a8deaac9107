"""Parameters as JSON: numbers, words, and the options that are objects, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from tsne_ooc._options import scalar
from tsne_ooc._typing import Json, Named

# The classes of which a file may make objects. Names are looked up here: nothing is ever imported by a name in a file.
KINDS: dict[str, type[Any]] = {}

T = TypeVar("T")


def stored(kind: type[T]) -> type[T]:
    """Let files hold objects of a class, by its name and fields; this decorates options that are objects."""
    if KINDS.setdefault(kind.__name__, kind) is not kind:
        raise TypeError(f"two kinds of options are called {kind.__name__}")
    return kind


def encode_all(parameters: Named, kinds: Mapping[str, type[Any]] = KINDS) -> tuple[Any, dict[str, str]]:
    """The parameters of an estimator, for `decode_all`, and a few words by name for those that no file can hold.

    The words also stand in the place of the parameter, so that another fit refuses them.
    """
    found, not_saved = {}, {}
    for name, value in sorted(parameters.items()):
        try:
            found[name] = encode(value, kinds)
        except TypeError:
            not_saved[name] = describe(value)
            found[name] = None if name == "callbacks" else f"{not_saved[name]} (not saved)"
    return found, not_saved


def decode_all(found: Named, kinds: Mapping[str, type[Any]] = KINDS) -> Json:
    """The parameters that `encode_all` was given; raises as `decode` does."""
    return {name: decode(value, kinds) for name, value in found.items()}


def encode(value: Any, kinds: Mapping[str, type[Any]] = KINDS) -> Any:
    """A value in a form that JSON can hold, for `decode`; objects of these kinds by their names and fields.

    Raises
    ------
    TypeError
        For arrays, functions and objects of other classes.
    """
    value = scalar(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, list):
        return [encode(item, kinds) for item in value]
    if kinds.get(type(value).__name__) is type(value):
        names = getattr(value, "_fields", None) or [field.name for field in fields(value)]
        return {type(value).__name__: {name: encode(getattr(value, name), kinds) for name in names}}
    if isinstance(value, tuple):
        return {"tuple": [encode(item, kinds) for item in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: encode(item, kinds) for key, item in value.items()}}
    raise TypeError(f"{describe(value)} cannot be saved")


def decode(value: Any, kinds: Mapping[str, type[Any]] = KINDS) -> Any:
    """The value that `encode` was given.

    Raises
    ------
    ValueError, TypeError
        For anything that `encode` does not write, and for values that the objects refuse.
    """
    if isinstance(value, list):
        return [decode(item, kinds) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        raise ValueError(f"an object of {len(value)} keys is not a parameter")
    ((kind, inside),) = value.items()
    if kind == "float" and inside in ("nan", "inf", "-inf"):
        return float(inside)
    if kind == "tuple" and isinstance(inside, list):
        return tuple(decode(item, kinds) for item in inside)
    if kind == "dict" and isinstance(inside, dict):
        return {key: decode(item, kinds) for key, item in inside.items()}
    if kind in kinds and isinstance(inside, dict):
        return kinds[kind](**{name: decode(item, kinds) for name, item in inside.items()})
    raise ValueError(f"{kind[:40]!r} is not a kind of parameter")


def describe(value: Any) -> str:
    """A few words for a value that is not saved."""
    if hasattr(value, "shape"):
        return f"{type(value).__name__} of shape {tuple(value.shape)}"
    if callable(value) and hasattr(value, "__qualname__"):
        return f"function {value.__qualname__}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__} of {len(value)}"
    return f"object of type {type(value).__name__}"
