"""How a map was made: what was asked for, what the program chose, and why."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

from tsne_ooc import neighbors as searches
from tsne_ooc import schedule as schedules
from tsne_ooc._options import counted
from tsne_ooc._typing import Json, Named
from tsne_ooc.estimator import TSNE
from tsne_ooc.neighbors.resolve import IVF_FROM, OTHERS_FROM
from tsne_ooc.pipeline.placer import MapPlacer
from tsne_ooc.refinement import COURSE, LATE_ROWS, late_iterations
from tsne_ooc.report.subject import Subject

# Measuring what a search finds compares some rows with all of these.
_SOON = 200_000


class Choice(NamedTuple):
    """One of them: what it is about, what was chosen, and why."""

    what: str
    chosen: str
    why: str


def choices(subject: Subject) -> list[Choice]:
    """What decided the map, in the order of the work."""
    return list(_choices(subject))


def _choices(subject: Subject) -> Iterator[Choice]:
    content = subject.content
    request, parameters = content.get("job", {}).get("request", {}), content.get("parameters") or {}
    if prepare := request.get("prepare"):
        yield Choice("rows", ", then ".join(map(_step, prepare)), "asked for")
    if "sample" in content and "n_samples" in content:
        yield _sample(content, request)
    placer = subject.placer
    if isinstance(placer, MapPlacer):
        yield from _of_the_map(placer, parameters, content)
    if refined := content.get("refined"):
        yield Choice(
            "all rows together",
            f"{refined['neighbors']} neighbours of each, {refined['n_iter']} iterations, {refined['pairs']:,} pairs",
            f"the schedule 'refine' has {late_iterations(0)} iterations, and more beyond {LATE_ROWS:,} rows, since a "
            "map of more rows takes longer to its width",
        )  # fmt: skip
        yield Choice("neighbours of all rows", f"{refined['recall']:.3f} of the nearest are found", "measured")
    if placer is not None and content.get("task") in ("embed", "place") and (told := placer.told()):
        what = "new rows" if content.get("refined") else "rows that were placed"
        yield Choice(what, told, "they are placed beside the fitted ones, which stay")


def _sample(content: Json, request: Named) -> Choice:
    n, m = content["n_samples"], content["sample"]
    asked = request.get("sample")
    drawn = {"UniformSample": "drawn uniformly", "Coverage": "drawn evenly over the space of the data"}
    how = drawn.get(asked.get("class", ""), f"drawn by {_step(asked)}") if isinstance(asked, dict) else "given"
    if m >= n:
        return Choice("fitted rows", f"all {n:,}", "the table has no more than the sample was to have")
    return Choice("fitted rows", f"{m:,} of {n:,}, {how}", "the others are placed on their map")


def _of_the_map(placer: MapPlacer, parameters: Named, content: Json) -> Iterator[Choice]:
    fitted, estimator = placer.estimator.map_, placer.estimator
    n, p = fitted.model.n, fitted.features.embedded
    word = parameters.get("neighbors", "auto")
    try:
        search = repr(searches.resolve(
            estimator.neighbors, metric=fitted.model.index.metric, n=n, p=p, sparse=fitted.model.index.sparse,
            metric_params=estimator.metric_params,
        ))  # fmt: skip
    except (ValueError, TypeError):
        # The words for a search that the model does not hold.
        search = str(estimator.neighbors)
    auto = (
        f"auto, for {n:,} rows and the metric {fitted.model.index.metric}: exact search is quicker below {IVF_FROM:,} "
        f"rows, in other metrics than euclidean and cosine below {OTHERS_FROM:,}"
    )
    yield Choice("neighbour search", search, auto if word == "auto" else "asked for")
    if n <= _SOON and fitted.n_neighbors and not content.get("refined"):
        yield Choice("what it finds", f"{fitted.recall:.3f} of the {fitted.n_neighbors} nearest rows", "measured")
    if fitted.affinity is not None:
        why = "the default" if parameters.get("perplexity", 30) == 30 and parameters.get("affinity", "perplexity") == (
            "perplexity"
        ) else "asked for"  # fmt: skip
        yield Choice("affinities", f"{fitted.affinity!r}, from {fitted.n_neighbors} neighbours of each row", why)
    if (phases := _phases(parameters)) is not None:
        usual = all(parameters.get(name) in (None, "auto") for name in COURSE)
        why = "the default: early exaggeration, its release, then momentum" if usual else "asked for"
        yield Choice("schedule of the fit", phases, why)


def _phases(parameters: Named) -> str | None:
    """The phases that words and numbers stand for; None where an object was given."""
    names = ("schedule", "exaggeration", "early_exaggeration", "early_exaggeration_iter", "n_iter", "learning_rate")
    given: dict[str, Any] = {name: parameters[name] for name in names if parameters.get(name) is not None}
    if any(not isinstance(value, str | int | float) or " [" in str(value) for value in given.values()):
        return None
    try:
        found = schedules.resolve(**given)
    except (ValueError, TypeError):
        return None
    return "; ".join(
        f"{counted(phase.iterations, 'iterations')} at exaggeration {_course(phase.exaggeration)}, momentum "
        f"{phase.momentum:g} ({phase.name or 'unnamed'})"
        for phase in found
    )


def _course(exaggeration: float | tuple[float, float]) -> str:
    return f"{exaggeration[0]:g} to {exaggeration[1]:g}" if isinstance(exaggeration, tuple) else f"{exaggeration:g}"


def _step(step: Any) -> str:
    if not isinstance(step, dict):
        return str(step)
    inside = ", ".join(f"{name}={value!r}" for name, value in step.items() if name != "class")
    return f"{step.get('class', 'a step')}({inside})"


def parameters_of(content: Json) -> list[tuple[str, str, str]]:
    """Name, value and default of the parameters that are not the usual ones, and then of the others."""
    usual = {name: one.default for name, one in inspect.signature(TSNE).parameters.items()}
    given = {name: value for name, value in (content.get("parameters") or {}).items() if name in usual}
    rows = [(name, repr(value), repr(usual[name])) for name, value in sorted(given.items()) if name != "n_jobs"]
    return sorted(rows, key=lambda row: row[1] == row[2])
