"""What was asked for, as plain values: told in the manifest, and compared when a run goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from tsne_ooc._options import scalar
from tsne_ooc.io import identity

# They change how the work is done or shown, not what comes out.
_WITHOUT_EFFECT = {"n_jobs", "verbose", "callbacks", "callbacks_every_iters"}


def parameters_of(model: Any) -> dict[str, Any]:
    """The parameters of an estimator that decide its result."""
    found = model.get_params(deep=False)
    return {name: plain(value) for name, value in sorted(found.items()) if name not in _WITHOUT_EFFECT}


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: arrays as the digest of their contents, objects as their class and fields."""
    value = scalar(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, os.PathLike):
        return str(value)
    if isinstance(value, np.ndarray):
        shape = "x".join(map(str, value.shape))
        content = repr(value.tolist()).encode() if value.dtype == object else np.ascontiguousarray(value).tobytes()
        return f"{value.dtype} array {shape} {hashlib.sha256(content).hexdigest()[:16]}"
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
        return {"class": type(value).__name__, **fields}
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    if hasattr(value, "get_params"):
        return {"class": type(value).__name__, **plain(value.get_params(deep=False))}
    # An address within the text would be another one in the next process.
    text = repr(value)
    return type(value).__name__ if " at 0x" in text else text


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two jobs, in words: the source, the parameters, or this package."""
    if old.get("task") != new["task"]:
        # All else differs then, too, and says nothing.
        return [f"it was a run of {old.get('task')!r}, and is one of {new['task']!r}"]
    found = [f"the source: {words}" for words in identity.differences(old.get("source", {}), new["source"])]
    found += _unequal("", old.get("request", {}), new["request"])
    if old.get("tsne_ooc") != new["tsne_ooc"]:
        found.append(f"tsne_ooc was {old.get('tsne_ooc')}, is {new['tsne_ooc']}")
    return found


def _unequal(name: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [line for key in keys for line in _unequal(f"{name}.{key}".strip("."), old.get(key), new.get(key))]
    return [] if old == new else [f"{name.removeprefix('parameters.')} was {_short(old)}, is {_short(new)}"]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
