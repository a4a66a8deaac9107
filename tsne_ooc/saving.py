"""A fitted estimator as JSON and arrays, in named parts, and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._asked import plain
from ._parallel import Threads
from ._parameters import KINDS, decode, decode_all, encode, encode_all
from ._state import Saved, State, StateError, within
from .model import Model
from .preprocess import Preparation, Transformer

#: What the folder of a saved model says it is.
KIND = "model"
# What new rows are placed with; all other parameters matter to another fit only.
_ESSENTIAL = ("metric", "placement")


class Part(NamedTuple):
    """A part of a saved estimator.

    Parameters
    ----------
    attribute : str
        Where the estimator has it; it is left out where that is missing or None.
    state, restore : callable
        To a `State`, and from `Saved` and `Threads`.
    """

    attribute: str
    state: Callable[[Any], State]
    restore: Callable[[Saved, Threads], Any]


def _rows(saved: Saved, threads: Threads) -> NDArray[np.int64]:
    rows: NDArray[np.int64] = saved.array("rows", np.int64, (None,))
    if not (np.diff(rows, prepend=-1) > 0).all():
        raise saved.fail("holds row numbers that do not ascend", "rows")
    return rows


#: Parts by the name under which their JSON and arrays are kept. A reader refuses parts it does not know.
PARTS = {
    "model": Part("_model", Model.state, Model.restore),
    "preparation": Part(
        "preparation_",
        Preparation.state,
        lambda saved, threads: Preparation.from_state(dict(saved.content), saved.own_arrays()),
    ),
    "sample": Part("sample_rows_", lambda rows: ({}, {"rows": np.asarray(rows, np.int64)}), _rows),
}
# Parts that decide where a fitted map places rows: not which rows of its table it was fitted to.
_DECIDING = ("model", "preparation")


def fingerprint(estimator: Any) -> str:
    """What tells a fitted map from another: a digest of all that decides where it places rows.

    Raises
    ------
    ValueError
        As `estimator_state`.
    """
    parameters, _ = _encoded(estimator)
    preparation = estimator.preparation_
    try:
        content, arrays = _parts(estimator)
    except TypeError:
        # What is made with a transformer can be told from another, though no file holds it.
        content, arrays = within("model", estimator._model.state())
        content["preparation"] = plain(preparation.contents)
    deciding = {name: content[name] for name in content if name in _DECIDING}
    deciding["placement"] = parameters["placement"]
    digest = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        if name.partition(".")[0] not in _DECIDING:
            continue
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return digest.hexdigest()


def estimator_state(estimator: Any) -> State:
    """Parameters, results and parts of a fitted estimator.

    Parameters that no file can hold are replaced by a few words, which another fit refuses; "not_saved" lists them.

    Raises
    ------
    ValueError
        Where one of them decides how rows are placed: a callable metric, a placement or search of the user's own.
    """
    parameters, not_saved = _encoded(estimator)
    names = getattr(estimator, "feature_names_in_", None)
    content: dict[str, Any] = {
        "parameters": parameters,
        "not_saved": not_saved,
        "fitted": {
            "kl_divergence": encode(estimator.kl_divergence_),
            "n_iter": int(estimator.n_iter_),
            "n_neighbors": int(estimator.n_neighbors_),
            "seed": estimator.seed_,
            "n_features_in": int(estimator.n_features_in_),
            "feature_names_in": None if names is None else [str(name) for name in names],
        },
    }
    parts, arrays = _parts(estimator)
    return {**content, **parts}, arrays


def _encoded(estimator: Any) -> tuple[dict[str, Any], dict[str, str]]:
    parameters, not_saved = encode_all(estimator.get_params(deep=False))
    for name in _ESSENTIAL:
        if name in not_saved:
            what = not_saved[name]
            raise ValueError(f"{name} holds a {what}, which no file can; use names and options of tsne_ooc, or pickle")
    return parameters, not_saved


def _parts(estimator: Any) -> State:
    content: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    for name, part in PARTS.items():
        if (value := getattr(estimator, part.attribute, None)) is not None:
            inner, own = within(name, part.state(value))
            content.update(inner)
            arrays.update(own)
    return content, arrays


def check_saved(estimator: Any, prepare: Preparation | None = None) -> None:
    """Raise where what is fitted with these options could not be saved, as far as that is known before the fit.

    Raises
    ------
    ValueError
        As `estimator_state`.
    TypeError
        For a `Transformer` among the steps of the preparation.
    """
    _encoded(estimator)
    search = estimator.neighbors
    if not isinstance(search, str) and type(search).__name__ not in KINDS:
        raise ValueError(f"a search of type {type(search).__name__} cannot be saved: only those of tsne_ooc can")
    for step in () if prepare is None else prepare.steps:
        if isinstance(step, Transformer):
            step.check_saved()


def seed_in(fitted: Saved) -> int | None:
    """The seed of a fit; None where it was not written down.

    Raises
    ------
    StateError
        For what is not a seed.
    """
    seed = fitted.content.get("seed")
    # A seed may be of any length.
    if seed is not None and (type(seed) is not int or seed < 0):
        raise fitted.fail("has a seed that is not a whole number")
    return seed


def restore_estimator(make: Callable[..., Any], saved: Saved, n_jobs: Any = "saved") -> Any:
    """The estimator of an `estimator_state`, with so many threads; `make` makes one of parameters.

    Raises
    ------
    StateError, ValueError, TypeError
        For a state that cannot be.
    """
    known = {"parameters", "not_saved", "fitted", *PARTS}
    if unknown := sorted(set(saved.content) - known):
        raise StateError(f"has the part {unknown[0][:40]!r}, which this version does not know; upgrade tsne_ooc")
    estimator = make(**decode_all(saved.part("parameters").content))
    if n_jobs != "saved":
        estimator.set_params(n_jobs=n_jobs)
    threads = Threads(estimator.n_jobs)
    for name, part in PARTS.items():
        needed = name in saved.content or name == "model"
        setattr(estimator, part.attribute, part.restore(saved.part(name), threads) if needed else None)
    estimator._threads = threads
    fitted = saved.part("fitted")
    estimator.embedding_ = estimator._model.embedding
    estimator.kl_divergence_ = decode(fitted.content.get("kl_divergence"))
    if not isinstance(estimator.kl_divergence_, int | float):
        raise fitted.fail("has a kl_divergence that is no number")
    if estimator.sample_rows_ is not None and len(estimator.sample_rows_) != estimator._model.n:
        raise saved.part("sample").fail(f"names {len(estimator.sample_rows_)} rows of {estimator._model.n}", "rows")
    estimator.n_iter_ = fitted.whole("n_iter", 0)
    estimator.n_neighbors_ = fitted.whole("n_neighbors", 0)
    estimator.seed_ = seed_in(fitted)
    width, names = fitted.whole("n_features_in", 1), fitted.content.get("feature_names_in")
    if names is not None:
        if not isinstance(names, list) or len(names) != width:
            raise fitted.fail("names other columns than there are")
        if not all(isinstance(name, str) for name in names):
            raise fitted.fail("has a column whose name is no string")
    estimator._remember(names, width)
    return estimator
