"""Rare classes on the map of KDD Cup 99, 494,021 connections: what a sample loses, and what brings it back.

Uniform samples, one that covers space, and a uniform one to which rounds add rows that it missed. For each: rows of
every class of 12 to 499 rows that are in the sample, and the purity of the class on the map of all rows: the share of a
row's ten nearest on the map that are of its class; the last line has the same in the data. Then the purity of rows
drawn uniformly, and the share of rows beyond the novelty threshold.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import common
import data_sets
import numpy as np

from tsne_ooc import TSNE
from tsne_ooc.rounds import NovelRows, Seated, enlarge, refit
from tsne_ooc.sampling import Coverage, Sample, UniformSample

RARE = (12, 500)
NEAREST = 10


class Table(NamedTuple):
    X: np.ndarray
    y: np.ndarray
    names: list[str]
    rare: list[int]


class Pass(NamedTuple):
    """All rows placed on a map."""

    name: str
    sample: Seated
    Y: np.ndarray
    beyond: float
    seconds: float


def load(args: Any) -> Table:
    """All rows, copies too: they are what a stream brings."""
    file = args.data / data_sets.SOURCES["kddcup99"].file
    if not file.exists():
        sys.exit(f"{file} is missing; the public source is: {data_sets.SOURCES['kddcup99'].public}")
    with np.load(file) as z:
        X, y, names = data_sets.standardised(z["X"]), z["y"].astype(np.int64), list(map(str, z["y_names"]))
    if args.quick:
        few = np.sort(np.random.default_rng(0).permutation(len(X))[:20_000])
        X, y = X[few], y[few]
    counts = np.bincount(y)
    most = len(y) if args.quick else RARE[1]
    rare = [int(k) for k in np.argsort(counts, kind="stable") if RARE[0] <= counts[k] < most]
    return Table(X, y, names, rare)


def place_all(name: str, model: TSNE, sample: Seated, X: np.ndarray, novel: NovelRows, began: float) -> Pass:
    Y, beyond = np.empty((len(X), 2), np.float32), 0
    for start in range(0, len(X), 65_536):
        rows = np.arange(start, min(start + 65_536, len(X)))
        placed = model.place_prepared(X[rows])
        Y[rows] = placed.embedding
        beyond += int((placed.novelty > model.novelty_threshold_).sum())
        novel.add(rows, X[rows], placed)
    return Pass(name, sample, Y, beyond / len(X), time.perf_counter() - began)


def passes(name: str, kind: Sample, rounds: int, added: int, X: np.ndarray, jobs: int) -> Iterator[Pass]:
    """The map of a sample, and those after each round."""
    began = time.perf_counter()
    rows, S = kind.draw(X, np.random.default_rng(0))
    model = TSNE(random_state=0, n_jobs=jobs).fit(S)
    sample = Seated(rows, S, model.embedding_)
    for done in range(rounds + 1):
        novel = NovelRows(model, sample, 20_000, np.random.default_rng(done))
        title = f"{name}, rounds={done + 1}" if done else name
        yield place_all(title, model, sample, X, novel, began)
        if done < rounds:
            sample = enlarge(sample, novel.choose(added))
            model = refit(model, sample)
            sample = sample._replace(embedding=model.embedding_)


def purity(Y: np.ndarray, y: np.ndarray, rows: np.ndarray, jobs: int) -> np.ndarray:
    """For each of `rows`, the share of its nearest others on the map that have its label."""
    from scipy.spatial import cKDTree

    # Copies share a place, and which of them are nearest must not follow from their order in the file.
    Y = Y + np.random.default_rng(0).normal(0, 1e-4, Y.shape)
    found = cKDTree(Y).query(Y[rows], NEAREST + 1, workers=jobs)[1]
    others = found[found != rows[:, None]].reshape(len(rows), NEAREST)
    return (y[others] == y[rows, None]).mean(axis=1)


def purity_in_data(X: np.ndarray, y: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The same among the nearest in the data: what a map can at best show."""
    squares = (X**2).sum(axis=1)
    found = []
    for few in np.array_split(rows, max(1, len(rows) // 32)):
        distances = squares - 2 * X[few] @ X.T
        distances[np.arange(len(few)), few] = np.inf
        nearest = np.argpartition(distances, NEAREST, axis=1)[:, :NEAREST]
        found.append((y[nearest] == y[few, None]).mean(axis=1))
    return np.concatenate(found)


def draw(path: str, before: Pass, after: Pass, table: Table) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(14, 7.2))
    back = np.random.default_rng(0).permutation(len(table.y))[:60_000]
    for axis, run in zip(axes, (before, after), strict=True):
        axis.scatter(*run.Y[back].T, s=0.5, c="0.8", linewidths=0)
        for number, label in enumerate(table.rare):
            of = table.y == label
            name = f"{table.names[label]} ({of.sum()})"
            axis.scatter(*run.Y[of].T, s=14, color=plt.cm.tab10(number), label=name, linewidths=0.3, edgecolors="k")
        axis.set_title(f"{run.name}: {len(run.sample.rows):,} rows fitted")
        axis.set_axis_off()
        axis.set_aspect("equal")
    axes[1].legend(loc="lower right", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = common.options(__doc__, repeats=False)
    parser.add_argument("--size", type=int, default=5000, help="rows of the sample (default 5,000)")
    parser.add_argument("--added", type=int, default=1000, help="most rows that a round adds (default 1,000)")
    parser.add_argument("--rounds", type=int, default=2, help="looks at all rows, each with a fit after it (default 2)")
    parser.add_argument("--picture", help="file of a picture before and after the rounds")
    args = common.parse(parser)
    if args.quick:
        args.size, args.added = 500, 100
    table = load(args)
    whole = args.size + args.rounds * args.added
    programs = [
        ("uniform", UniformSample(whole), 0),
        ("coverage", Coverage(args.size), 0),
        ("coverage", Coverage(whole), 0),
        ("uniform", UniformSample(args.size), args.rounds),
    ]
    runs = []
    rng = np.random.default_rng(1)
    common_rows = np.sort(rng.permutation(len(table.y))[:5000])
    rows = []
    for name, kind, rounds in programs:
        for run in passes(name, kind, rounds, args.added, table.X, args.jobs):
            common.note(f"{run.name}, {len(run.sample.rows):,} rows: {run.seconds:.0f} s")
            inside = np.bincount(table.y[run.sample.rows], minlength=len(table.names))
            cells = []
            for label in table.rare:
                share = purity(run.Y, table.y, np.flatnonzero(table.y == label), args.jobs).mean()
                cells.append(f"{inside[label]}: {share:.2f}")
            accuracy = purity(run.Y, table.y, common_rows, args.jobs).mean()
            rows.append([run.name, len(run.sample.rows), *cells, f"{accuracy:.3f}", f"{run.beyond:.3%}", run.seconds])
            runs.append(run)
    shares = [purity_in_data(table.X, table.y, np.flatnonzero(table.y == label)[:500]).mean() for label in table.rare]
    rows.append(["in the data", len(table.y), *(f"{share:.2f}" for share in shares), "-", "-", "-"])
    header = [f"{table.names[label]}, {int((table.y == label).sum())}" for label in table.rare]
    common.report(
        "Rare classes: rows in the sample, and purity on the map",
        ["sample", "rows", *header, "all classes", "beyond", "s"], rows, args,
    )  # fmt: skip
    if args.picture:
        draw(args.picture, runs[-1 - args.rounds], runs[-1], table)


if __name__ == "__main__":
    main()
