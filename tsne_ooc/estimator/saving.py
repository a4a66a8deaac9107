"""A fitted estimator as JSON and arrays, and back: its parameters, and beside them its map."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from tsne_ooc import affinity as affinities
from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Named
from tsne_ooc.estimator.fitted_map import FittedMap
from tsne_ooc.neighbors import Graph
from tsne_ooc.preprocess import Preparation, Transformer
from tsne_ooc.storage.codec import KINDS, decode_all, encode_all
from tsne_ooc.storage.state import Saved, State, StateError

#: What the folder of a saved model says that it holds.
KIND = "model"
# The parameters that new rows are placed with; all others matter for another fit only.
_ESSENTIAL = ("metric", "placement")
# A reader refuses parts that it does not know.
_PARTS = {"parameters", "not_saved", "fitted", "model", "preparation", "sample", "placed"}


class Estimator(Protocol):
    """An estimator that holds a fitted map."""

    @property
    def map_(self) -> FittedMap: ...

    def get_params(self, deep: bool = True) -> dict[str, Any]: ...


E = TypeVar("E", covariant=True)


class OfMap(Protocol[E]):
    """The class of estimators that hold a fitted map."""

    def of_map(self, map: FittedMap, **parameters: Any) -> E: ...


def fingerprint(estimator: Estimator) -> str:
    """What tells a fitted map from another one: a digest of all that decides where it places rows.

    Raises
    ------
    ValueError
        As `estimator_state` raises it.
    """
    _parameters(estimator)
    return estimator.map_.fingerprint(estimator.get_params(deep=False)["placement"])


def estimator_state(estimator: Estimator) -> State:
    """The parameters and the map of a fitted estimator.

    Parameters that no file can hold are replaced by a few words, which another fit refuses; "not_saved" lists them.

    Raises
    ------
    ValueError
        Where such a parameter decides how rows are placed: a callable metric, or a placement or search of the user's
        own.
    """
    parameters, not_saved = _parameters(estimator)
    content, arrays = estimator.map_.state()
    return {"parameters": parameters, "not_saved": not_saved, **content}, arrays


def _parameters(estimator: Any) -> tuple[dict[str, Any], dict[str, str]]:
    parameters, not_saved = encode_all(estimator.get_params(deep=False))
    for name in _ESSENTIAL:
        if name in not_saved:
            what = not_saved[name]
            raise ValueError(
                f"{name} holds a {what}, which cannot be saved; use names and options of tsne_ooc, or pickle"
            )
    return parameters, not_saved


def check_saved(estimator: Any, prepare: Preparation | None = None) -> None:
    """Raise where what is fitted with these options could not be saved, as far as that is known before the fit.

    Raises
    ------
    ValueError
        As `estimator_state` raises it.
    TypeError
        For a `Transformer` among the steps of the preparation.
    """
    _parameters(estimator)
    search = estimator.neighbors
    # A graph is saved with its map, and not as an option.
    if not isinstance(search, str | Graph) and type(search).__name__ not in KINDS:
        raise ValueError(f"a search of type {type(search).__name__} cannot be saved: only those of tsne_ooc can")
    for step in () if prepare is None else prepare.steps:
        if isinstance(step, Transformer):
            step.check_saved()


def restore_estimator(kind: OfMap[E], saved: Saved, n_jobs: Any = "saved") -> E:
    """Make the estimator that an `estimator_state` is of, with so many threads.

    Raises
    ------
    StateError, ValueError, TypeError
        For a state that is not possible.
    """
    if unknown := sorted(set(saved.content) - _PARTS):
        raise StateError(f"has the part {unknown[0][:40]!r}, which this version does not know; upgrade tsne_ooc")
    parameters = decode_all(saved.part("parameters").content)
    if n_jobs != "saved":
        parameters["n_jobs"] = n_jobs
    affinity = _affinity(parameters)
    if affinity is not None:
        # The map may be of a graph that had fewer neighbours than the affinity asks for.
        affinity = affinities.at_most(affinity, saved.part("fitted").whole("n_neighbors", 0) or 1)
    map = FittedMap.restore(saved, Threads(parameters.get("n_jobs")), affinity)
    return kind.of_map(map, **parameters)


def _affinity(parameters: Named) -> Any:
    """What made the affinities of a saved map; None where a file could not hold it."""
    try:
        return affinities.resolve(parameters["affinity"], parameters["perplexity"])
    except (KeyError, ValueError, TypeError):
        return None
