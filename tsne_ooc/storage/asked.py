"""What is asked for, as plain values, which manifests tell and runs that go on compare."""

from __future__ import annotations

import dataclasses
import math
import os
import secrets
import weakref
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import numpy as np

from tsne_ooc._options import scalar, shown
from tsne_ooc._typing import Configurable, Json
from tsne_ooc.storage.digest import Untold, digest

# These options change how the work is done or shown, not what comes out.
_WITHOUT_EFFECT = {"n_jobs", "verbose"}
_UNTOLD = "cannot be told from another"
# Callbacks by their `id`, and what they were when they were first given.
_GIVEN: dict[int, tuple[Any, Any]] = {}
# The `id` of an object means something in this process alone.
_PROCESS = secrets.token_hex(8)


def parameters_of(model: Configurable, *, without: Collection[str] = ()) -> Json:
    """The parameters of an estimator that decide its result, among them callbacks, which may end a fit."""
    found = model.get_params(deep=False)
    names = set(found) - _WITHOUT_EFFECT - set(without)
    if not _listed(found.get("callbacks")):
        names.discard("callbacks_every_iters")
    return {name: _callbacks(found[name]) if name == "callbacks" else plain(found[name]) for name in sorted(names)}


def _listed(callbacks: Any) -> list[Any]:
    return [] if callbacks is None else [callbacks] if callable(callbacks) else list(callbacks)


def _callbacks(given: Any) -> list[Any]:
    return [_as_first_given(callback) for callback in _listed(given)]


def _as_first_given(callback: Any) -> Any:
    """What tells a callback from others: its state before any fit called it, because many collect what they see.

    That is how the next process knows it, too.
    """
    key = id(callback)
    reference, told = _GIVEN.get(key, (None, None))
    if reference is not None and reference() is callback:
        return told
    told = plain(callback)

    def forget(gone: Any) -> None:
        _GIVEN.pop(key, None)

    with suppress(TypeError):
        _GIVEN[key] = weakref.ref(callback, forget), told
    return told


def plain(value: Any) -> Any:
    """`value` in a form that JSON can hold and that tells it from others: its digest, where JSON has no form for it.

    A value that cannot be told from others equals only the same object in the same process.
    """
    try:
        return _plain(value)
    except RecursionError:
        return _by_digest(value)


def _plain(value: Any) -> Any:
    value = scalar(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if type(value) in (list, tuple) or (isinstance(value, tuple) and hasattr(value, "_fields")):
        return [_plain(item) for item in value]
    if type(value) is dict and all(type(key) is str for key in value):
        return {key: _plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and type(value).__module__.startswith("tsne_ooc."):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
        return {"class": type(value).__name__, **fields}
    return _by_digest(value)


def _by_digest(value: Any) -> Any:
    try:
        # Before a word of it: what cannot be looked at raises errors of its own there.
        found = digest(value)
    except Untold as error:
        return {_UNTOLD: str(error), "at": f"{_PROCESS}.{id(value)}"}
    return f"{_in_words(value)} [{found}]"


def unequal(name: str, old: Any, new: Any) -> list[str]:
    """What differs between two values that `plain` gave, a line for each."""
    if lines := untold(new, name):
        return lines
    if isinstance(old, dict) and isinstance(new, dict) and _UNTOLD not in old:
        keys = [*old, *(key for key in new if key not in old)]
        return [line for key in keys for line in unequal(f"{name}.{key}".strip("."), old.get(key), new.get(key))]
    return [] if old == new else [f"{name.removeprefix('parameters.')} was {shown(old)}, is {shown(new)}"]


def untold(value: Any, name: str = "") -> list[str]:
    """Which parts of a value that `plain` gave cannot be told from others, a line for each."""
    if isinstance(value, dict) and _UNTOLD in value:
        return [f"{name.removeprefix('parameters.')} holds {value[_UNTOLD]}, which {_UNTOLD}"]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [line for key, item in items for line in untold(item, f"{name}.{key}".strip("."))]


def _in_words(value: Any) -> str:
    sparse = hasattr(value, "tocsr")
    if sparse or isinstance(value, np.ndarray):
        return f"{value.dtype.name} {'matrix' if sparse else 'array'} {'x'.join(map(str, value.shape))}"
    if callable(value) and hasattr(value, "__qualname__"):
        return str(value.__qualname__)
    if hasattr(value, "get_params") and not isinstance(value, type):
        text = " ".join(repr(value).split())
        # An address in the text would be another one in the next process.
        if len(text) <= 80 and " at 0x" not in text:
            return text
    return type(value).__name__
