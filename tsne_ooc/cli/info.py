"""``tsne-ooc info``: what a folder is, how it was made, from what, and what can be done next."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from tsne_ooc.cli.shared import add_command


def add(commands: Any) -> None:
    """Add the command to those there are."""
    parser = add_command(
        commands,
        "info",
        help="tell what a folder is, how it was made, and what to do next",
        description="Say what a folder is, a finished run, a saved model or an encoder; from which table and with "
        "which options it was made; and which commands go on from there.",
        examples="""
            map
            encoder
        """,
    )
    parser.set_defaults(run=run)
    parser.add_argument("folder", help="folder of a run, a saved model or an encoder")
    parser.add_argument("--verbose", action="store_true", help="say more of errors")


def run(options: argparse.Namespace) -> int:
    folder = Path(options.folder)
    print("\n".join(_lines(folder)))
    return 0


def _lines(folder: Path) -> list[str]:
    from tsne_ooc import storage
    from tsne_ooc.estimator.saving import KIND as MODEL
    from tsne_ooc.neighbors.folder import KIND as GRAPH
    from tsne_ooc.pipeline.models import ENCODER
    from tsne_ooc.pipeline.run import KIND, LEDGER

    name = shlex.quote(str(folder))
    if folder.is_dir() and not (folder / storage.MANIFEST).exists() and (folder / LEDGER).exists():
        return [f"{folder}: a run that did not end; repeat its command with --resume behind it"]
    kind = storage.kind_of(folder)
    if kind not in (KIND, MODEL, ENCODER, GRAPH):
        raise ValueError(f"{folder} is not a run, a model, an encoder or a graph, but of the kind {kind!r}")
    found = storage.read_folder(folder, kind, verify=False)
    if kind == GRAPH:
        return _of_graph(folder, found.content, found.arrays["indices"].shape)
    if kind == KIND:
        return [*_of_run(folder, found.content), *_next_of_run(folder, name, found.content)]
    if kind == ENCODER:
        what = f"{folder}: an encoder, a network that places rows"
        return [what, *_made(found.content), "next:", *_placing(name, found.content)]
    what = f"{folder}: a fitted map, without the places of other rows"
    return [what, *_made(found.content), "next:", f"  tsne-ooc report {name}", *_placing(name, found.content)]


def _of_run(folder: Path, content: dict[str, Any]) -> list[str]:
    from tsne_ooc._options import counted
    from tsne_ooc.io.told import in_words

    n, d, task = content["n_samples"], content["n_components"], content["task"]
    axes = {1: "on a line", 2: "on a plane", 3: "in space"}[d]
    lines = [f"{folder}: {counted(n, 'rows')} {axes}, by tsne-ooc {task} (version {content['job']['tsne_ooc']})"]
    lines += [f"from {content['source']}{_now(content['job']['source'])}", *in_words(content.get("read", {}))]
    if "model" in content:
        lines.append(f"placed by {content['model']}")
    if "sample" in content:
        fitted = f"fitted {counted(content['sample'], 'rows')}, seed {content['random_state']}"
        kl = content.get("kl_divergence")
        lines.append(fitted + (f", KL {kl:.3f} after {content['n_iter']} iterations" if kl is not None else ""))
    if refined := content.get("refined"):
        kept = (
            "" if refined["reference"] == n else f"; {counted(refined['reference'], 'rows')} of them are in the model"
        )
        found = f"{refined['neighbors']} neighbours of each, KL {refined['kl_divergence']:.3f}"
        lines.append(f"then moved all rows together: {found} after {refined['n_iter']} iterations{kept}")
    return [*lines, *_made(content), *_seconds(content), *_trusted(folder)]


def _trusted(folder: Path) -> list[str]:
    """What the scores of its rows say, where it has any."""
    from tsne_ooc.cli.trust import lines_of
    from tsne_ooc.pipeline import open_run

    found = open_run(folder).trusted
    return [] if found is None else [f"scored: {', '.join(found.arrays)}", *lines_of(found.content["facts"])]


def _of_graph(folder: Path, content: dict[str, Any], shape: tuple[int, ...]) -> list[str]:
    from tsne_ooc._options import counted

    facts = content["facts"]
    metric = "" if facts["metric"] is None else f" by {facts['metric']} distance"
    lines = [f"{folder}: the {counted(shape[1], 'nearest neighbours')} of each of {counted(shape[0], 'rows')}{metric}"]
    if facts["source"] is not None:
        lines.append(f"from {content['source']}{_now(facts['source'])}")
    if facts["recall"] is not None:
        lines.append(f"{facts['recall']:.3f} of the nearest rows are among them")
    use = f"  tsne_ooc.TSNE(neighbors=tsne_ooc.neighbors.Graph.open({str(folder)!r})).fit(rows)"
    return [*lines, *_made(content), *_seconds(content), "next:", use]


def _now(source: dict[str, Any]) -> str:
    """What has become of the table since."""
    if source.get("path") is None:
        return ""
    path = Path(source["path"])
    if not path.exists():
        return ", which is not there any more"
    if path.is_file() and source.get("size") is not None and path.stat().st_size != source["size"]:
        return ", which has changed since"
    return ""


def _made(content: dict[str, Any]) -> list[str]:
    """The preparation, and the options that are not the default ones."""
    asked = content.get("job", {}).get("request", {})
    lines = []
    if asked.get("prepare"):
        lines.append(f"prepared by {', '.join(_step(step) for step in asked['prepare'])}")
    usual = _usual()
    given = {
        name: value
        for name, value in (content.get("parameters") or {}).items()
        if name in usual and value != usual[name] and name != "random_state"
    }
    if refine := asked.get("refine"):
        given["refine"] = {name: value for name, value in refine.items() if value is not None}
    if given:
        lines.append(f"options: {', '.join(f'{name}={value!r}' for name, value in sorted(given.items()))}")
    return lines


def _usual() -> dict[str, Any]:
    import inspect

    from tsne_ooc.estimator import TSNE

    return {name: one.default for name, one in inspect.signature(TSNE).parameters.items()}


def _step(step: dict[str, Any]) -> str:
    inside = ", ".join(f"{name}={value!r}" for name, value in step.items() if name != "class")
    return f"{step.get('class', 'a step')}({inside})"


def _seconds(content: dict[str, Any]) -> list[str]:
    took = [f"{name} {seconds:.1f} s" for name, seconds in content.get("seconds", {}).items()]
    return [f"took: {', '.join(took)}"] if took else []


def _next_of_run(folder: Path, name: str, content: dict[str, Any]) -> list[str]:
    from tsne_ooc.pipeline.run import TRUST

    color = "".join(f" --color {shlex.quote(label)}" for label in _labels(content)[:1])
    axes = " --axes 1,2" if content["n_components"] > 2 else ""
    lines = ["next:", *(f"  tsne-ooc {command} {name}{color}{axes}" for command in ("plot", "view"))]
    lines += [f"  tsne-ooc report {name}{color}", f"  tsne-ooc export {name} --to map.parquet"]
    if "novelty" in content:
        lines.append(f"  tsne-ooc strangest {name}")
    if (folder / "model").is_dir():
        if not (folder / TRUST).exists():
            lines.append(f"  tsne-ooc trust {name}")
        lines += _placing(name, content)
        source = content["job"]["source"].get("path")
        if source is not None:
            dataset = content["job"]["source"].get("dataset")
            named = "" if dataset is None else f" --dataset {shlex.quote(dataset.strip('/'))}"
            lines.append(f"  tsne-ooc train {shlex.quote(source)}{named} --map {name} --out encoder")
    return [*lines, f"  numpy.load({str(folder / 'embedding.npy')!r}, mmap_mode='r')"]


def _labels(content: dict[str, Any]) -> tuple[str, ...]:
    """The labels that were kept beside a table of text; a file may say anything of them."""
    from tsne_ooc.convert.recipe import Recipe

    try:
        return Recipe.of(content.get("read", {}).get("prepared"), "the table").labels
    except ValueError:
        return ()


def _placing(name: str, content: dict[str, Any]) -> list[str]:
    """The commands that place new rows, which were text where the rows of the map were text."""
    if content.get("read", {}).get("prepared") is None:
        return [f"  tsne-ooc place {name} FILE --out more"]
    return [f"  tsne-ooc prepare FILE --like {name} --out new", f"  tsne-ooc place {name} new/table.h5 --out more"]
