"""What is asked of a run, and how that differs from what was asked when the run in its folder began."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tsne_ooc._elsewhere import BEFORE, STEPS, refuse_options
from tsne_ooc._typing import Named
from tsne_ooc.estimator import TSNE
from tsne_ooc.io import identity
from tsne_ooc.storage.asked import parameters_of, plain, unequal, untold

__all__ = ["check_known", "copied", "differences", "parameters_of", "plain", "warn_untold"]

E = TypeVar("E")

log = logging.getLogger(__name__)


def check_known(run: Callable[..., Any], unknown: Mapping[str, Any], *, fits: str = "tsne=TSNE({})") -> None:
    """Raise TypeError for an option that a run does not have; the message says where the option belongs.

    Parameters
    ----------
    run : callable
        `embed`, `place` or `train`.
    unknown : mapping
        The options that it was given besides its own.
    fits : str
        How the options of a map are given to it.
    """
    if not unknown:
        return
    others = {f"an option of the map: {fits}": TSNE._get_param_names(), BEFORE: STEPS}
    if run.__name__ == "train":
        from tsne_ooc.parametric import ParametricTSNE

        others = {"an option of the encoder: encoder=ParametricTSNE({})": ParametricTSNE._get_param_names()} | others
    own = set(inspect.signature(run).parameters) - {"unknown"}
    refuse_options(run.__name__, unknown, own, others)


def differences(old: Named, new: Named) -> list[str]:
    """What differs between two jobs, in words: the source, the parameters, or this package."""
    if old.get("task") != new["task"]:
        # Then all else differs, too, and does not say anything more.
        return [f"it was a run of {old.get('task')!r}, and is one of {new['task']!r}"]
    found = [f"the source: {words}" for words in identity.differences(old.get("source", {}), new["source"])]
    found += unequal("", old.get("request", {}), new["request"])
    if old.get("tsne_ooc") != new["tsne_ooc"]:
        found.append(f"tsne_ooc was {old.get('tsne_ooc')}, is {new['tsne_ooc']}")
    return found


def copied(estimator: E, name: str) -> E:
    """A copy of an estimator that is not fitted, with copies of its options.

    Raises
    ------
    TypeError
        Where an option cannot be copied; the message begins with `name`.
    """
    from sklearn.base import clone

    try:
        copy: E = clone(estimator)
    except TypeError as error:
        what = f"{name}={type(estimator).__name__}(...)"
        raise TypeError(f"{what} has an option that cannot be copied: {error}") from None
    return copy


def warn_untold(job: Named) -> None:
    """Warn at the beginning of a run that could not go on if it were killed, and say why."""
    for line in untold({"source": job["source"].get("own"), **job["request"]}):
        log.warning("this run cannot be resumed: %s", line)
