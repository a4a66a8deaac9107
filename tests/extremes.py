"""Every numeric option at the ends of the range of numbers: a map, or one line that names the option. Never a crash.

Run as a program in a process of its own, for what it looks for is a crash of the interpreter:
``python extremes.py KIND [EVERY]``, with KIND one of "map", "encoder" and "line"; with EVERY, one case in so many. It
prints each case before it tries it. All of them: "map" some 6 minutes, "encoder" 5, "line" 4 (one busy core).
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import signal
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

import tsne_ooc.gradients.repulsion
from tsne_ooc import TSNE, FixedSigma, Multiscale, Perplexity, Phase, Placement, Schedule, Uniform, schedule
from tsne_ooc import neighbors as searches
from tsne_ooc.preprocess import PCA, Normalize, Preparation

LARGEST = sys.float_info.max
FLOATS = [
    0.0, -0.0, 5e-324, 1e-310, 1e-300, 1e-150, 1e-45, 1e-38, 1e-20, 1e-7, 0.009, 0.5, 1.0, 10.0, 1e4, 1.1e4, 1e7,
    2.0**31, 2.0**32, 2.0**53, 2.0**63, 1e20, 1e38, 3.5e38, 1e150, 1e300, LARGEST, float("inf"), float("-inf"),
    float("nan"), -5e-324, -1e-300, -1.0, -1e300, 10**400, True, "1", None, 1j, [1.0],
]  # fmt: skip
WHOLES = [0, 1, 2, 3, 17, 2**15, 2**31 - 1, 2**31, 2**32, 2**53, 2**64, 10**400, -1, -(2**63), 1.5, True, "3", [1]]
# Iterations and batches take as long as they are many; these are refused, or few.
FEW = [0, 1, 2, -1, -(2**63), 1.5, float("nan"), True, [1]]
SECONDS = 300


def table(n=70, p=5, seed=0):
    return np.random.default_rng(seed).normal(size=(n, p)).astype(np.float32)


def replaced(kind, name, **rest):
    """An option within an object."""
    return lambda value: kind(**{**rest, name: value})


class Constant:
    """An affinity of the user's own that has one opinion of all neighbours."""

    def __init__(self, value):
        self.value = np.float32(float(value))

    def k(self, n):
        return 4

    def conditional(self, distances, threads):
        return np.full(distances.shape, self.value)


def of_map():
    """Pairs of a name, and what it gives for a value: parameters of `TSNE`; with the values to try."""
    plain = {
        "dof": FLOATS, "perplexity": FLOATS, "exaggeration": FLOATS, "early_exaggeration": FLOATS,
        "learning_rate": FLOATS, "n_components": WHOLES, "n_iter": FEW, "early_exaggeration_iter": FEW,
        "callbacks_every_iters": WHOLES, "random_state": WHOLES, "n_jobs": WHOLES, "sample": WHOLES,
    }  # fmt: skip
    for name, values in plain.items():
        yield name, values, lambda value, name=name: {name: value}
    inside = [
        ("affinity", Perplexity, "perplexity", FLOATS, {}),
        ("affinity", FixedSigma, "sigma", FLOATS, {}),
        ("affinity", FixedSigma, "neighbors", WHOLES, {"sigma": 1.0}),
        ("affinity", Uniform, "neighbors", WHOLES, {}),
        ("placement", Placement, "perplexity", FLOATS, {}),
        ("placement", Placement, "exaggeration", FLOATS, {}),
        ("placement", Placement, "tolerance", FLOATS, {}),
        ("placement", Placement, "k", WHOLES, {}),
        ("placement", Placement, "max_iter", WHOLES, {}),
        ("neighbors", searches.IVF, "lists", WHOLES, {}),
        ("neighbors", searches.IVF, "probes", WHOLES, {}),
        ("neighbors", searches.HNSW, "links", WHOLES, {}),
        ("neighbors", searches.HNSW, "ef_build", WHOLES, {}),
        ("neighbors", searches.HNSW, "ef", WHOLES, {}),
    ]
    for option, kind, name, values, rest in inside:
        make = replaced(kind, name, **rest)
        yield f"{kind.__name__}.{name}", values, lambda value, option=option, make=make: {option: make(value)}
    yield "perplexities", FLOATS, lambda value: {"affinity": Multiscale((3, value))}
    for name in ("exaggeration", "momentum", "learning_rate"):
        phase = replaced(Phase, name, iterations=3)
        yield f"Phase.{name}", FLOATS, lambda value, phase=phase: {"schedule": Schedule([phase(value)])}
    yield "total", FLOATS, lambda value: {"prepare": Preparation([Normalize(total=value)]), "rows": np.abs(table())}
    yield "pca", WHOLES, lambda value: {"prepare": Preparation([PCA(value)])}
    floats = [value for value in FLOATS if type(value) is float and not 3e38 < abs(value) < np.inf]
    yield "placed by an affinity", floats, lambda value: {
        "placement": Placement(initialization="mean", affinity=Constant(value)),
    }  # fmt: skip
    # Those between make grids of 2 GB, which are right and take their time.
    widths = [value for value in FLOATS if type(value) is float and not 1e3 < abs(value) < 1e16]
    widths.remove(LARGEST)
    yield "initialization", widths, lambda value: {"initialization": value * table(70, 2).astype(float), "d": 2}


def try_map(parameters, d, least):
    """Fit and place; `least` rows are few enough for the exact sums."""
    tsne_ooc.gradients.repulsion.exact_below = lambda d, dof: least
    X, d = parameters.pop("rows", table()), parameters.pop("d", d)
    options = {
        "perplexity": 5, "early_exaggeration_iter": 3, "n_iter": 3, "n_components": d, "n_jobs": 2, "random_state": 0,
        **parameters,
    }  # fmt: skip
    model = TSNE(**options).fit(X)
    for found in (model.embedding_, model.transform(X[:3] + np.float32(0.25)), model.score_samples(X[:3])):
        assert np.isfinite(found).all(), "not finite"


def of_encoder():
    from tsne_ooc.parametric import Decoder
    from tsne_ooc.parametric import objectives as o

    plain = {
        "learning_rate": FLOATS, "augmentation": FLOATS, "n_iter": FEW, "batch_size": WHOLES, "landmarks": WHOLES,
        "callbacks_every_iters": WHOLES, "random_state": WHOLES, "patience": WHOLES, "n_jobs": WHOLES,
    }  # fmt: skip
    for name, values in plain.items():
        yield name, values, lambda value, name=name: {name: value}
    yield "network", WHOLES, lambda value: {"network": (value, 1)}
    yield "network", [*FEW, 2**31, 10**400], lambda value: {"network": (16, value)}
    yield "learning_rate", FLOATS, lambda value: {"decoder": Decoder(learning_rate=value, n_iter=2, network=(16, 1))}
    for kind, name, values in (
        (o.Distillation, "delta", FLOATS), (o.FieldTuning, "every", WHOLES), (o.FieldTuning, "exaggeration", FLOATS),
        (o.BatchLocal, "memory", FLOATS), (o.NegativeSampling, "normalization", FLOATS),
        (o.NegativeSampling, "negatives", WHOLES), (o.InfoNC, "negatives", WHOLES),
    ):  # fmt: skip
        make = replaced(kind, name)
        yield f"{kind.__name__}.{name}", values, lambda value, make=make: {"objective": make(value)}
    for name in ("share", "rate"):
        stage = replaced(o.Stage, name, objective=o.Distillation())
        yield f"Stage.{name}", FLOATS, lambda value, stage=stage: {"objective": [stage(value)]}


def try_encoder(parameters, d, least):
    from tsne_ooc.parametric import ParametricTSNE

    tsne_ooc.gradients.repulsion.exact_below = lambda d, dof: least
    X = table()
    teacher = TSNE(
        perplexity=5, early_exaggeration_iter=3, n_iter=3, n_components=d, n_jobs=2, random_state=0, neighbors="exact"
    )
    options = {
        "teacher": teacher, "network": (16, 1), "landmarks": 16, "n_iter": 2, "batch_size": 32, "n_jobs": 2,
        "random_state": 0, **parameters,
    }  # fmt: skip
    model = ParametricTSNE(**options).fit(X)
    assert np.isfinite(model.transform(X[:3])).all(), "not finite"
    if options.get("decoder"):
        assert np.isfinite(model.inverse_transform(model.transform(X[:3]))).all(), "not finite"


def of_line():
    """Options of the command line; what it takes for numbers comes as words."""
    floats = [str(value) for value in FLOATS if isinstance(value, float)] + ["1e400", "-1e400", "0x1p3", "", "1,5", "½"]
    wholes = [str(value) for value in WHOLES if type(value) is int and abs(value) < 10**60] + ["1e3", ""]
    few = ["0", "-1", "1.5", "", "nan", str(-(2**63))]
    for option in ("--dof", "--perplexity", "--exaggeration", "--normalize"):
        yield option, floats, lambda value, option=option: ["embed", f"{option}={value}"]
    for option in ("--n-components", "--sample", "--seed", "--jobs", "--block-rows", "--pca", "--rounds"):
        yield option, wholes, lambda value, option=option: ["embed", f"{option}={value}"]
    for option, values in (
        ("--batch-size", wholes), ("--landmarks", wholes), ("--iterations", few), ("--patience", wholes),
        ("--learning-rate", floats), ("--augmentation", floats), ("--seed", wholes),
    ):  # fmt: skip
        yield option, values, lambda value, option=option: ["train", f"{option}={value}"]


def try_line(arguments, d, least):
    from tsne_ooc.cli import main

    # Few iterations, which the command line has no option for.
    schedule.PLANS["auto"] = dataclasses.replace(schedule.PLANS["auto"], early=3, late=3)
    tsne_ooc.gradients.repulsion.exact_below = lambda d, dof: least
    command, option = arguments
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/x.npy", np.abs(table()))
        line = [command, f"{folder}/x.npy", "--out", f"{folder}/map", "--quiet"]
        line += [f"--n-components={d}", "--sample=60", "--perplexity=5"] if command == "embed" else ["--sample=60"]
        if command == "train" and not option.startswith("--iterations"):
            line.append("--iterations=2")
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
                status = main([*line, option]) or 0
        except SystemExit as end:
            status = end.code or 0
        left = [path.name for path in Path(folder).iterdir()]
        if status:
            lines = [text for text in said.getvalue().splitlines() if text.strip() and not text.startswith("usage:")]
            raise Refused(lines[-1] if lines else "")
        assert "map" in left
        if command == "embed":
            assert np.isfinite(np.load(f"{folder}/map/embedding.npy")).all(), "not finite"


class Refused(ValueError):
    pass


KINDS = {"map": (of_map, try_map), "encoder": (of_encoder, try_encoder), "line": (of_line, try_line)}


def cases(kind, every=1):
    """Name, value, parameters, axes, and rows of the exact sums."""
    generate = KINDS[kind][0]
    number = 0
    for name, values, make in generate():
        for value in values:
            number += 1
            if number % every == 0:
                # Some values of each option meet each number of axes, by the field and by exact sums.
                yield name, value, make, 1 + number // every % 3, (20, 1000)[number // every // 3 % 2]


def judge(name, value, make, attempt, d, least):
    """What came of one case; an AssertionError where it should not have."""
    try:
        attempt(make(value), d, least)
    except FloatingPointError as error:
        assert "\n" not in str(error), repr(error)
        return "diverged"
    except (ValueError, TypeError) as error:
        word = name.split(".")[-1].strip("-").replace("-", "_")
        said = str(error)
        assert "\n" not in said and len(said) < 400, repr(error)
        assert word.casefold() in said.casefold().replace("-", "_"), f"{word} is not named: {error!r}"
        return "refused"
    return "taken"


def slow(*_):
    raise AssertionError(f"takes more than {SECONDS} s")


def main(kind, every=1):
    signal.signal(signal.SIGALRM, slow)
    warnings.simplefilter("ignore")
    # NumPy's own words about overflows are for whoever wrote the code, not for users.
    warnings.filterwarnings("error", ".*encountered in.*", RuntimeWarning)
    faults = 0
    for name, value, make, d, least in cases(kind, every):
        print(name, repr(value)[:40], d, least, end=" ", flush=True)
        signal.alarm(SECONDS)
        try:
            verdict = judge(name, value, make, KINDS[kind][1], d, least)
        except BaseException as error:
            verdict, faults = f"FAULT {type(error).__name__}: {' '.join(str(error).split())[:300]}", faults + 1
        signal.alarm(0)
        print(verdict, flush=True)
    return faults


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1], *map(int, sys.argv[2:]))))
