"""The command that makes a map again: of the command line where that can say all of it, else of Python."""

from __future__ import annotations

import inspect
import shlex
from typing import Any, NamedTuple

from tsne_ooc._typing import Json, Named
from tsne_ooc.estimator import TSNE
from tsne_ooc.recipes import WIDE, perplexity_of_sample
from tsne_ooc.refinement import DEVIATION
from tsne_ooc.sampling import Coverage, UniformSample
from tsne_ooc.storage.asked import plain

# Parameters of TSNE that the command line has, by their names there.
_OPTIONS = ("perplexity", "exaggeration", "n_components", "dof", "metric", "neighbors", "affinity", "schedule")
# The job itself has them, or they have no effect.
_ELSEWHERE = ("sample", "prepare", "n_jobs", "verbose", "callbacks_every_iters")
# More names than this would hide the rest.
_NAMES = 30


class Again(NamedTuple):
    """How to make a map again.

    Parameters
    ----------
    text : str
    language : str
        "sh" or "python".
    note : str
        What it does not say.
    """

    text: str
    language: str
    note: str


class _Unsaid(Exception):
    """Raised for what the command line has no words for."""


def again(content: Json) -> Again | None:
    """The command of a run, from its manifest; None where that does not tell."""
    job = content.get("job")
    if not job or content.get("task") not in ("embed", "place"):
        return None
    if content["task"] == "embed" and "parameters" not in job["request"]:
        return None
    source = job["source"]
    paths = [one["path"] for one in content.get("files", [])] or [source.get("path") or "FILE"]
    notes = [] if source.get("path") else ["FILE stands for the array in memory that the map was made from"]
    if len(source.get("columns") or []) > _NAMES:
        notes.append(
            f"it was made of {len(source['columns']):,} columns, which the manifest has under job, source; where the "
            "table has others, they are to be named in columns (--columns)"
        )
    note = "; ".join(notes)
    if content["task"] == "place":
        words = ["tsne-ooc", "place", str(content.get("model", "MODEL")), *paths, *_dataset(source)]
        if rows := job["request"].get("rows"):
            words += ["--rows", f"{rows[0]}:{rows[1]}"]
        return Again(_line([*words, "--out", "again"]), "sh", note)
    try:
        return Again(
            _line(["tsne-ooc", "embed", *paths, *_dataset(source), *_words(job["request"], source["shape"])]),
            "sh",
            note,
        )
    except _Unsaid:
        text = _in_python(paths, source, job["request"])
        why = "what stands in quotes with brackets was an object that no file holds" if " [" in text else ""
        return Again(text, "python", "; ".join(one for one in (note, why) if one))


def _line(words: list[str]) -> str:
    return " ".join(shlex.quote(word) for word in words)


def _dataset(source: Named) -> list[str]:
    found = ["--dataset", str(source["dataset"]).strip("/")] if source.get("dataset") else []
    names = source.get("columns")
    if names and len(names) <= _NAMES:
        found += ["--columns", ",".join(map(_quoted, names))]
    return found


def _quoted(name: str) -> str:
    """A name within a list of names; in quotes where it has a sign that would end it."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"' if any(sign in name for sign in ',"\n\r') else name


def _words(request: Named, shape: list[int]) -> list[str]:
    """The options of ``tsne-ooc embed`` for a table of this shape; raises `_Unsaid`."""
    parameters, usual = dict(request["parameters"]), _defaults()
    refine = request.get("refine")
    seed = request["random_state"]
    if parameters.pop("random_state", seed) != seed or request.get("then"):
        raise _Unsaid
    found = [*_sample(request["sample"]), *_preparation(request.get("prepare"))]
    if refine is not None:
        if set(refine) - {"deviation", "reference", "perplexity", "affinity"} or refine.get("deviation") != DEVIATION:
            raise _Unsaid
        if "affinity" in refine:
            if not _by_recipe(request, *shape):
                raise _Unsaid
            found += ["--recipe", "large"]
            parameters |= {"affinity": refine["affinity"], "perplexity": refine["perplexity"]}
        else:
            found.append("--refine")
        if refine.get("reference") is not None:
            found += ["--reference", str(refine["reference"])]
        sample = parameters["perplexity"]
        parameters["perplexity"] = refine.get("perplexity", sample)
        if parameters["perplexity"] != sample:
            found += ["--sample-perplexity", _number(sample)]
    for name, value in parameters.items():
        if not _decides(name, value, usual) or name == "random_state":
            continue
        if name not in _OPTIONS or isinstance(value, dict | list) or value is None or " [" in str(value):
            raise _Unsaid
        found += [f"--{name.replace('_', '-')}", _number(value)]
    if request.get("rounds", 1) != 1:
        found += ["--rounds", str(request["rounds"])]
    return [*found, "--seed", str(seed), "--out", "again"]


def _by_recipe(request: Named, n: int, p: int) -> bool:
    """Whether `recipes.large` chooses the sample's affinities, and the preparation, of a table of n rows so."""
    parameters, refine = request["parameters"], request["refine"]
    alone = request.get("prepare") is None and p > WIDE and parameters["metric"] == "euclidean"
    if alone or parameters["affinity"] != "uniform" or refine.get("perplexity") is None:
        return False
    rows = min(n, int(request["sample"]["size"]))
    return bool(parameters["perplexity"] == perplexity_of_sample(rows, refine["perplexity"], equal=True))


def _decides(name: str, value: Any, usual: Named) -> bool:
    """Whether a parameter is to be told."""
    return name not in _ELSEWHERE and value != usual.get(name) and not (name == "callbacks" and not value)


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _sample(sample: Any) -> list[str]:
    kinds: dict[str, tuple[Any, list[str]]] = {
        "UniformSample": (UniformSample, []), "Coverage": (Coverage, ["--sample-by", "coverage"]),
    }  # fmt: skip
    if not isinstance(sample, dict) or sample.get("class") not in kinds:
        raise _Unsaid
    kind, words = kinds[sample["class"]]
    if plain(kind(sample["size"])) != sample:
        raise _Unsaid
    return ["--sample", str(sample["size"]), *words]


def _preparation(steps: Any) -> list[str]:
    """Options for steps that stand in the order of the command line."""
    words: list[str] = []
    order = -1
    for step in steps or []:
        kind = step.get("class") if isinstance(step, dict) else None
        known = [*_STEPS]
        if kind not in known or known.index(kind) <= order:
            raise _Unsaid
        order = known.index(kind)
        words += _STEPS[kind]({name: value for name, value in step.items() if name != "class"})
    return words


def _only(step: Named, name: str) -> Any:
    if set(step) != {name}:
        raise _Unsaid
    return step[name]


_STEPS: dict[str, Any] = {
    "Missing": lambda step: ["--missing", str(_only(step, "how"))],
    "Normalize": lambda step: ["--normalize", _number(_only(step, "total"))],
    "Log1p": lambda step: ["--log1p"],
    "Standardize": lambda step: ["--standardize", "robust" if _only(step, "robust") else "standard"],
    "PCA": lambda step: ["--pca", str(_only(step, "n"))],
}


def _defaults() -> Json:
    return {name: one.default for name, one in inspect.signature(TSNE).parameters.items()}


def _in_python(paths: list[str], source: Named, request: Named) -> str:
    usual, seed = _defaults(), request["random_state"]
    given = {
        name: value
        for name, value in request["parameters"].items()
        if _decides(name, value, usual) and not (name == "random_state" and value == seed)
    }
    path = repr(paths[0]) if len(paths) == 1 else repr(paths)
    lines = [f"tsne_ooc.embed({path}, out='again',"]
    if source.get("dataset"):
        lines.append(f"    dataset={str(source['dataset']).strip('/')!r},")
    if source.get("columns") and len(source["columns"]) <= _NAMES:
        lines.append(f"    columns={source['columns']!r},")
    lines.append(f"    sample={_shown(request['sample'])}, random_state={seed!r},")
    if given:
        lines.append(f"    tsne=TSNE({', '.join(f'{name}={_shown(value)}' for name, value in given.items())}),")
    if request.get("prepare"):
        lines.append(f"    prepare=Preparation([{', '.join(map(_shown, request['prepare']))}]),")
    if (refine := request.get("refine")) is not None:
        inside = ", ".join(f"{name}={_shown(value)}" for name, value in refine.items() if value is not None)
        lines.append(f"    refine=Refinement({inside}),")
    if request.get("rounds", 1) != 1:
        lines.append(f"    rounds={request['rounds']},")
    if request.get("then"):
        lines.append(f"    then=[{', '.join(map(_shown, request['then']))}],")
    return "\n".join([*lines, ")"])


def _shown(value: Any) -> str:
    """A plain value of a job as it was written."""
    if isinstance(value, dict) and "class" in value:
        inside = ", ".join(f"{name}={_shown(one)}" for name, one in value.items() if name != "class")
        return f"{value['class']}({inside})"
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return repr(value)
