"""The section on how a map was made: from what, by which choices, in what time, on which course, and how again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from tsne_ooc._typing import Json
from tsne_ooc.fit.history import History, from_json
from tsne_ooc.io.told import in_words
from tsne_ooc.pipeline.placer import MapPlacer
from tsne_ooc.report import figures
from tsne_ooc.report.again import again
from tsne_ooc.report.choices import choices, parameters_of
from tsne_ooc.report.subject import Subject
from tsne_ooc.report.writing import code, pairs, paragraph, table, text
from tsne_ooc.storage.manifest import read_manifest

_PHASES = {
    "prepare": "preparing", "sample": "drawing the sample", "fit": "fitting", "look": "looking for strangers",
    "place": "placing", "search": "searching neighbours", "weigh": "affinities", "refine": "all rows together",
    "keep": "keeping the map",
}  # fmt: skip


def made(subject: Subject) -> str:
    """All that is known of it."""
    content = subject.content
    if not content:
        return paragraph("Coordinates alone do not tell how they were made; the folder of a run does.")
    facts = [(text(name), text(value)) for name, value in _facts(subject)]
    parts = [pairs(facts)]
    if chosen := choices(subject):
        rows = [tuple(map(text, one)) for one in chosen]
        parts.append("<h3>Choices, and why</h3>" + table(("about", "chosen", "why"), rows))
    if parameters := parameters_of(content):
        others = [row for row in parameters if row[1] != row[2]]
        usual = [f"<code>{text(name)}={text(value)}</code>" for name, value, default in parameters if value == default]
        parts.append("<h3>Parameters</h3>")
        if others:
            rows = [tuple(f"<code>{text(cell)}</code>" for cell in row) for row in others]
            parts.append(table(("name", "value", "default"), rows))
        parts.append(f"<p>As by default: {', '.join(usual)}.</p>")
    parts += [_time(content), _course(subject)]
    if (command := again(content)) is not None:
        parts.append("<h3>The command that makes it again</h3>" + code(command.text))
        note = "with the versions above it gives the same bits on this kind of machine"
        parts.append(paragraph(_sentence("; ".join(one for one in (command.note, note) if one))))
    return "".join(parts)


def _facts(subject: Subject) -> Iterator[tuple[str, Any]]:
    content = subject.content
    job = content.get("job", {})
    source = job.get("source", {})
    task = {"embed": "tsne-ooc embed", "place": "tsne-ooc place", "fit": "TSNE.fit"}
    yield "made by", task.get(content.get("task", ""), content.get("task", "unknown"))
    if source:
        dataset = f", {source['dataset']}" if source.get("dataset") else ""
        yield "table", f"{source.get('path') or content.get('source', 'an array in memory')}{dataset}"
        n, p = source["shape"]
        yield "its shape and type", f"{n:,} x {p:,}, {source['dtype']}"
        yield "its digest", f"{source['probes']} (SHA-256 of ten rows all over it)"
    if "model" in content:
        yield "placed by", content["model"]
    for line in in_words(content.get("read", {})):
        yield "when it was read", line
    if "random_state" in content:
        yield "seed", content["random_state"]
    if (kl := content.get("kl_divergence")) is not None:
        yield "divergence of the fit", f"{kl:.4f} after {content['n_iter']} iterations"
    if refined := content.get("refined"):
        yield "divergence of all rows", f"{refined['kl_divergence']:.4f} after {refined['n_iter']} more iterations"
    if content.get("dropped"):
        yield "rows without a place", f"{content['dropped']:,}, for want of a value"
    if subject.run is not None:
        manifest = read_manifest(subject.run.folder)
        yield "digest of the map", f"{manifest['arrays']['embedding']['sha256']} (SHA-256 of embedding.npy)"
    yield "versions", ", ".join(f"{name} {version}" for name, version in subject.versions.items())


def _time(content: Json) -> str:
    """Seconds and memory of each stage."""
    seconds, memory = content.get("seconds", {}), content.get("memory_gb", {})
    if not seconds:
        return ""
    drawn = [
        (
            _PHASES.get(name, name),
            float(took),
            f"{took:,.1f} s" + (f", {memory[name]:.2f} GB" if name in memory else ""),
        )
        for name, took in seconds.items()
    ]
    words = "Time of each stage: " + "; ".join(f"{name} {told}" for name, _, told in drawn)
    caption = "Seconds of each stage" + ("; the most GB that the process had held by its end." if memory else ".")
    return "<h3>Time and memory</h3>" + figures.bars(caption, words, drawn)


def _course(subject: Subject) -> str:
    """How the optimisation went."""
    parts = []
    content, refined = subject.content, subject.content.get("refined", {})
    history = from_json(content.get("history"))
    if not history and not content.get("job") and isinstance(subject.placer, MapPlacer):
        history = subject.placer.estimator.map_.history
    for name, found, end, divergence in (
        ("of the fit", history, content.get("n_iter"), content.get("kl_divergence")),
        (
            "of all rows together",
            from_json(refined.get("history")),
            refined.get("n_iter"),
            refined.get("kl_divergence"),
        ),
    ):
        if found and end is not None and divergence is not None:
            parts.append(_charts(name, found, int(end), float(divergence)))
    if not parts:
        if content.get("task") == "place":
            return ""
        return paragraph(
            "The folder does not hold how the optimisation went: it was too short, or of an earlier version."
        )
    return f"<h3>The course of the optimisation</h3>{''.join(parts)}"


def _charts(name: str, history: History, end: int, divergence: float) -> str:
    marks = [
        (float(after.iteration), f"exaggeration {after.exaggeration:g}")
        for before, after in pairwise(history)
        if after.exaggeration != before.exaggeration and after.exaggeration == history[-1].exaggeration
    ]
    x = [float(note.iteration) for note in history]
    kl = figures.Line("divergence", [*x, float(end)], [*(note.kl_divergence for note in history), divergence])
    step = figures.Line("step", x, [note.step for note in history])
    words = (
        f"The divergence {name} goes from {history[0].kl_divergence:.3f} after {history[0].iteration:,} iterations to "
        f"{divergence:.3f} after {end:,}."
    )
    steps = (
        f"The steps {name} are {history[0].step:.3g} map units long after {history[0].iteration:,} iterations, and "
        f"{history[-1].step:.3g} after {history[-1].iteration:,}."
    )
    return (
        '<div class="pair">'
        + figures.lines(f"Divergence {name}, without exaggeration.", words, [kl], x="iteration", y="KL", marks=marks)
        + figures.lines(
            f"Root mean square step of the rows {name}, in map units.", steps, [step], x="iteration", y="step",
            marks=marks, logarithmic=True,
        )
        + "</div>"
    )  # fmt: skip


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + "."
