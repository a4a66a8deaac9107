"""Every option of every public function does something: the lists come from the signatures, so none is left out.

An option that is taken, and then forgotten on the way, is noticed by no test that only asks whether a call succeeds.
"""

from __future__ import annotations

import inspect
import logging
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

import tsne_ooc
from tsne_ooc import TSNE, Phase, Placement, Schedule
from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import HNSW, IVF, Annoy
from tsne_ooc.preprocess import PCA, Normalize, Preparation, Standardize
from tsne_ooc.sampling import Coverage, Stratified, UniformSample

pytestmark = pytest.mark.filterwarnings(
    "ignore:builtin type .* has no __module__ attribute:DeprecationWarning",
    "ignore:perplexity=:UserWarning",
    # A transformer without a preparation sees other rows.
    "ignore:the neighbour search finds:UserWarning",
)


class Other(NamedTuple):
    """A value that gives another result; `beside` are options without which it could not."""

    value: Any
    beside: dict[str, Any] = {}  # noqa: RUF012


class Same(NamedTuple):
    """A value that gives the same bits."""

    value: Any
    beside: dict[str, Any] = {}  # noqa: RUF012


class Elsewhere(NamedTuple):
    """The file in which the option is tested."""

    file: str


def rows(n=90, p=5, seed=0):
    rng = np.random.default_rng(seed)
    return np.abs(rng.normal(0, 4, (4, p))[rng.integers(0, 4, n)] + rng.normal(size=(n, p))).astype(np.float32)


FEW = {"perplexity": 6, "early_exaggeration_iter": 4, "n_iter": 6, "random_state": 0}


# --------------------------------------------------------------------------------- what comes out, and what changes it


def of_tsne(folder, **options):
    model = TSNE(**{**FEW, **options}).fit(rows())
    return [model.embedding_, model.n_iter_, model.transform(rows(20, seed=1)), getattr(model, "sample_rows_", None)]


TSNE_OPTIONS = {
    "n_components": Other(3), "perplexity": Other(4), "exaggeration": Other(2), "early_exaggeration": Other(4),
    "early_exaggeration_iter": Other(5), "n_iter": Other(7), "learning_rate": Other(5), "dof": Other(0.5),
    "initialization": Other("random"), "metric": Other("cityblock"),
    "metric_params": Other({"p": 1.5}, {"metric": "minkowski", "neighbors": "exact"}),
    "neighbors": Other(IVF(lists=12, probes=1)), "affinity": Other("uniform"), "schedule": Other("classic"),
    "placement": Other(Placement(k=2)), "sample": Other(60), "prepare": Other(Preparation([Standardize()])),
    "n_jobs": Same(1), "random_state": Other(1), "callbacks": Other(lambda i, e, Y: True, {"callbacks_every_iters": 3}),
    "callbacks_every_iters": Other(2, {"callbacks": lambda i, e, Y: True}), "verbose": Same(True),
}  # fmt: skip


def of_placement(folder, **options):
    model = TSNE(**FEW, placement=Placement(**options)).fit(rows())
    return [*model.place(rows(30, seed=1))[:2]]


PLACEMENT = {
    "perplexity": Other(2), "k": Other(4), "exaggeration": Other(3.0), "initialization": Other("mean"),
    "affinity": Other(tsne_ooc.Uniform(3)), "tolerance": Other(0.3), "max_iter": Other(2),
}  # fmt: skip


def of_phase(folder, **options):
    given = {"iterations": 6, "exaggeration": 2.0, **options}
    return [TSNE(**{**FEW, "schedule": [Phase(**given)]}).fit(rows()).embedding_]


PHASE = {
    "iterations": Other(5), "exaggeration": Other((4, 2)), "momentum": Other(0.5), "learning_rate": Other(5.0),
    "name": Same("slow"),
}  # fmt: skip


def of_schedule(folder, **options):
    schedule = Schedule(**{"phases": [Phase(60, momentum=0.0, learning_rate=1e-3)], **options})
    return [TSNE(perplexity=6, schedule=schedule, random_state=0, callbacks_every_iters=5).fit(rows()).n_iter_]


SCHEDULE = {"phases": Other([Phase(3)]), "patience": Other(2)}


def of_affinity(kind, **few):
    def of(folder, **options):
        return [TSNE(**FEW, affinity=kind(**{**few, **options})).fit(rows()).affinities_.toarray()]

    return of


def of_search(kind, **few):
    def of(folder, **options):
        X = np.random.default_rng(3).normal(size=(600, 12)).astype(np.float32)
        build = {"metric": "euclidean", "rng": np.random.default_rng(0), "threads": Threads(1)}
        index = kind(**{**few, **options}).build(X, **build)
        return [*index.query(X[::9] + np.float32(0.5), 9), index.recall(9)]

    return of


def of_sample(kind, **few):
    def of(folder, **options):
        return [*kind(**{**few, **options}).draw(rows(200), np.random.default_rng(0))]

    return of


LABELS = np.repeat(np.arange(4), [150, 30, 15, 5])


def of_step(kind, **few):
    def of(folder, **options):
        return [Preparation([kind(**{**few, **options})]).fit(rows()).transform(rows(9, seed=1))]

    return of


def of_options(folder, **options):
    from tsne_ooc.preprocess import preparation_from_options

    table = pd.DataFrame(rows(), columns=list("abcde")).assign(w=np.array(["x", "y", "z"])[np.arange(90) % 3])
    if not options.get("onehot"):
        table = table[list("abcde")]
    if options.get("missing"):
        table.iloc[3, 1] = np.nan
    found = preparation_from_options(**options)
    return [table.to_numpy() if found is None else found.fit(table).transform(table)]


OPTIONS = {
    "standardize": Other("robust"), "log1p": Other(True), "normalize": Other(10.0), "pca": Other(2),
    "onehot": Other(["w"]), "missing": Other("median"),
}  # fmt: skip


def of_scatter(folder, **options):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from tsne_ooc.plot import scatter

    # Many different numbers where nothing is said: a scale.
    ax = scatter(**{"Y": rows(60, 2), "labels": rows(60, 1)[:, 0], **options})
    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    points = ax.collections[0] if ax.collections else None
    sizes = [] if points is None else [points.get_sizes(), points.get_alpha(), points.get_facecolors()]
    return [np.asarray(canvas.buffer_rgba()).copy(), *sizes]


def axes(folder=None):
    from matplotlib.figure import Figure

    return Figure(figsize=(3, 3)).subplots(1, 2)[1]


THREE = {"labels": np.arange(60) % 3, "dpi": 40}
SCATTER = {
    "Y": Other(rows(60, 2, seed=1)), "labels": Other(np.arange(60) % 2), "ax": Other(axes), "title": Other("a map"),
    "size": Other(3.0), "alpha": Other(0.2), "colors": Other(["red", "lime", "blue"], THREE),
    "legend": Other(False), "density": Other(True, THREE), "dpi": Other(50),
    "text": Other(True, THREE), "highlight": Other([3, 5]),
    "ring": Other([3, 5]), "behind": Other(rows(60, 2, seed=2)),
    # Cells of several rows, which the two shade otherwise.
    "shading": Other("log", {"Y": rows(60, 2).round(), "labels": THREE["labels"] * 0, "dpi": 40, "density": True}),
    "dark": Other(True), "caption": Other("a caption"), "n_jobs": Same(1, {**THREE, "density": True}),
}  # fmt: skip


def of_embed(folder, **options):
    table = pd.DataFrame(rows(200), columns=list("abcde"))
    path = folder / "table.h5"
    if not path.exists():
        import h5py

        with h5py.File(path, "w") as file:
            file["X"], file["other"] = table.to_numpy(), rows(200, seed=2)
            kind = np.dtype([(name, "f4") for name in "abcde"])
            file["named"] = np.array([tuple(row) for row in table.to_numpy()], kind)
    given = {"source": path, "dataset": "X", "sample": 90, "tsne": TSNE(**{**FEW, "random_state": None}), **options}
    run = tsne_ooc.embed(**given, out=folder / f"map{len(list(folder.iterdir()))}")
    return [np.array(run.embedding), np.array(run.novelty), run.sample_rows, run.manifest["kl_divergence"]]


EMBED = {
    "source": Elsewhere("pipeline/test_pipeline.py"), "out": Elsewhere("pipeline/test_pipeline.py"),
    "sample": Other(60), "tsne": Other(TSNE(**FEW, dof=0.5)), "prepare": Other(Preparation([Standardize()])),
    "rounds": Other(2), "refine": Other(True), "dataset": Other("other"),
    "columns": Other(["a", "c"], {"dataset": "named"}),
    "allow_missing_chunks": Elsewhere("unit/test_missing_chunks.py"), "random_state": Other(1), "block_rows": Same(7),
    "resume": Elsewhere("pipeline/test_faults.py"), "progress": Elsewhere("pipeline/test_pipeline.py"),
    "then": Elsewhere("pipeline/test_stages.py"),
    "executor": Elsewhere("pipeline/test_executors.py"),
}  # fmt: skip


def of_batches(folder, **options):
    from tsne_ooc.batches import Batches

    given = {"source": rows(200), "batch_size": 16, **options}
    if given.setdefault("shuffle", "buffer") == "buffer":
        given = {"block_rows": 20, "buffer_rows": 60, **given}
    batches = Batches(**given)
    return [value for part in (*batches, *batches) for value in part]


BATCHES = {
    "source": Other(rows(150)), "batch_size": Other(8), "shuffle": Other("full"), "block_rows": Other(10),
    "buffer_rows": Other(100), "drop_last": Other(True), "balanced": Other(LABELS, {"shuffle": "full"}),
    "weights": Other(np.arange(1.0, 201.0), {"shuffle": "full"}), "prefetch": Same(1), "seed": Other(1),
}  # fmt: skip


def metric(name, *given, **few):
    def of(folder, **options):
        first = [options.pop(key, value) for key, value in given]
        found = getattr(tsne_ooc.metrics, name)(*first, **{**few, **options})
        return list(found.items()) if isinstance(found, dict) else [found]

    return of


P = np.exp(-cdist(rows(), rows()) / 3) * (1 - np.eye(90))
XY = ("X", rows()), ("Y", rows(90, 2))
MEASURES = {
    "Y": Other(rows(90, 2, seed=3)), "metric": Other("cityblock"), "sample": Other(40),
    "random_state": Other(1, {"sample": 40}),
}  # fmt: skip
THREADS = {"n_jobs": Same(1)}
CLASSES = np.arange(90) % 3


CASES = {
    "TSNE": (of_tsne, TSNE, TSNE_OPTIONS),
    "Placement": (of_placement, Placement, PLACEMENT),
    "Phase": (of_phase, Phase, PHASE),
    "Schedule": (of_schedule, Schedule, SCHEDULE),
    "Perplexity": (of_affinity(tsne_ooc.Perplexity), tsne_ooc.Perplexity, {"perplexity": Other(4)}),
    "Mixture": (of_affinity(tsne_ooc.Mixture), tsne_ooc.Mixture, {"perplexities": Other((3, 9))}),
    "Multiscale": (of_affinity(tsne_ooc.Multiscale), tsne_ooc.Multiscale, {"perplexities": Other((3, 9))}),
    "Uniform affinity": (of_affinity(tsne_ooc.Uniform), tsne_ooc.Uniform, {"neighbors": Other(4)}),
    "FixedSigma": (
        of_affinity(tsne_ooc.FixedSigma, sigma=2.0),
        tsne_ooc.FixedSigma,
        {"sigma": Other(1.0), "neighbors": Other(7)},
    ),
    "IVF": (
        of_search(IVF, lists=60, probes=2, recall=None),
        IVF,
        {"lists": Other(30), "probes": Other(3), "recall": Other(1.0, {"probes": None})},
    ),
    "HNSW": (
        of_search(HNSW, links=3, ef_build=3, ef=1, recall=None),
        HNSW,
        {"links": Other(2), "ef_build": Other(40), "ef": Other(60), "recall": Other(1.0)},
    ),
    "Annoy": (
        of_search(Annoy, trees=1, recall=None),
        Annoy,
        {"trees": Other(3), "search_k": Other(300), "recall": Other(1.0)},
    ),
    "UniformSample": (of_sample(UniformSample, size=30), UniformSample, {"size": Other(31)}),
    "Coverage": (
        of_sample(Coverage, size=30),
        Coverage,
        {"size": Other(31), "rows_per_box": Other(2), "directions": Other(2)},
    ),
    "Stratified": (
        of_sample(Stratified, size=30, labels=LABELS),
        Stratified,
        {"size": Other(31), "labels": Other(LABELS[::-1]), "balance": Other("balanced")},
    ),
    "Standardize": (of_step(Standardize), Standardize, {"robust": Other(True)}),
    "Normalize": (of_step(Normalize), Normalize, {"total": Other(7.0)}),
    "PCA": (of_step(PCA, n=2), PCA, {"n": Other(3)}),
    "options": (of_options, tsne_ooc.preprocess.preparation_from_options, OPTIONS),
    "scatter": (of_scatter, tsne_ooc.plot.scatter, SCATTER),
    "embed": (of_embed, tsne_ooc.embed, EMBED),
    "Batches": (of_batches, tsne_ooc.batches.Batches, BATCHES),
    "kl_divergence": (
        metric("kl_divergence", ("P", P), XY[1]),
        tsne_ooc.metrics.kl_divergence,
        {"P": Other(P**2), "dof": Other(2.0), **{k: v for k, v in MEASURES.items() if k != "metric"}, **THREADS},
    ),
    "trustworthiness": (
        metric("trustworthiness", *XY),
        tsne_ooc.metrics.trustworthiness,
        {"X": Other(rows(seed=4)), "k": Other(9), **MEASURES, **THREADS},
    ),
    "neighbor_recall": (
        metric("neighbor_recall", *XY),
        tsne_ooc.metrics.neighbor_recall,
        {"X": Other(rows(seed=4)), "k": Other(4), "within": Other((10, 20)), **MEASURES, **THREADS},
    ),
    "distance_correlation": (
        metric("distance_correlation", *XY),
        tsne_ooc.metrics.distance_correlation,
        {"X": Other(rows(seed=4)), **MEASURES},
    ),
    "label_accuracy": (
        metric("label_accuracy", XY[1], ("labels", CLASSES)),
        tsne_ooc.metrics.label_accuracy,
        {
            "labels": Other(CLASSES[::-1] % 2), "k": Other(3),
            "Y_query": Other(rows(50, 2, 8), {"labels_query": CLASSES[:50]}),
            "labels_query": Other(CLASSES[1:51], {"Y_query": rows(50, 2, 8)}),
            **{k: v for k, v in MEASURES.items() if k != "metric"}, **THREADS,
        },
    ),
}  # fmt: skip
# What an option without which there is no call is, where another is looked at.
WITHOUT = {"labels_query": {"labels_query": CLASSES[:50]}, "Y_query": {"Y_query": rows(50, 2, 9)}}


def plain(value):
    """Something that can be compared."""
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, value.tobytes()
    return repr(value)


@pytest.mark.parametrize("name", CASES)
def test_every_option_does_something(tmp_path, name):
    of, function, options = CASES[name]
    assert set(options) == set(inspect.signature(function).parameters) - {"unknown"}, "an option that nobody looks at"
    usual = {}
    if name == "Annoy":
        pytest.importorskip("annoy")
    for option, case in options.items():
        if isinstance(case, Elsewhere):
            continue
        value = case.value(tmp_path) if case.value is axes else case.value
        without = {**case.beside, **WITHOUT.get(option, {})}
        key = repr(sorted(without))
        if key not in usual:
            usual[key] = [plain(one) for one in of(tmp_path, **without)]
        found = [plain(one) for one in of(tmp_path, **{**case.beside, option: value})]
        assert (found == usual[key]) == isinstance(case, Same), f"{name}({option}=...)"


def test_what_is_said_with_verbose(capsys, caplog):
    caplog.set_level(logging.INFO, "tsne_ooc")
    TSNE(**FEW).fit(rows())
    assert capsys.readouterr().err == ""
    TSNE(**FEW, verbose=True).fit(rows())
    assert "10/10" in capsys.readouterr().err


@pytest.mark.parametrize("search, why", [("auto", ", chosen for 60 rows and the euclidean metric"), ("ivf", "")])
def test_which_search_it_is_is_logged(caplog, search, why):
    with caplog.at_level(logging.INFO, "tsne_ooc"):
        model = TSNE(**{**FEW, "neighbors": search}).fit(rows()[:60])
    said = f"neighbours of 60 rows of {model.n_features_in_} columns by "
    assert [line for line in caplog.messages if line.startswith(said) and line.endswith(why) and "(" in line]
