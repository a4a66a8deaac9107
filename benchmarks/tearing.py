"""What schedules tear: copies, and rows from the row nearest to them, on ten small tables and many seeds.

For each table, perplexity and schedule, over all seeds: copies that end farther than a twentieth of the map, and than
the room of a row, from the first row equal to them; rows that end farther than a fifth of it from the nearest other row
(of equally near ones the nearest on the map), at perplexities up to 10, above which nearest rows are not what a map
keeps; the farthest copy, as a share of the map; mean divergence and width. All schedules go from the same affinities
and start. "before" is the default as it was: rates of at least 50, whatever affinities bear, and copies left where
they end.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import common
import numpy as np
from scipy.spatial.distance import cdist
from sklearn import datasets

from tsne_ooc import affinity, schedule
from tsne_ooc._parallel import Threads
from tsne_ooc._random import generator
from tsne_ooc.equal_rows import EqualRows
from tsne_ooc.fit import initialization
from tsne_ooc.fit import rows as fitting
from tsne_ooc.fit.optimize import minimise
from tsne_ooc.neighbors import Exact

TORN_COPY, TORN_NEAREST, NEAREST_UP_TO = 0.05, 0.2, 10
PERPLEXITIES = (2, 3, 5, 10, 30)


def tables(seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Ten tables of 60 to 3,000 rows, with copies and without."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(60, 3))
    yield "60 normal", points
    yield "60 normal + 10 copies", np.vstack([points, points[:10]])
    digits = datasets.load_digits().data[rng.permutation(1797)]
    yield "300 digits", digits[:300]
    yield "1,000 digits", digits[:1000]
    yield "1,000 digits + 200 copies", np.vstack([digits[:1000], digits[:200]])
    yield "150 irises", datasets.load_iris().data[rng.permutation(150)]
    wine = datasets.load_wine().data
    yield "178 wines", ((wine - wine.mean(0)) / wine.std(0))[rng.permutation(178)]
    blobs = datasets.make_blobs(200, 10, centers=5, random_state=seed)[0]
    yield "200 in blobs, three times", np.vstack([blobs, blobs, blobs])
    yield "800 of a roll", datasets.make_swiss_roll(800, random_state=seed)[0]
    yield "3,000 counts, most copies", np.clip(rng.poisson(0.7, size=(3000, 6)), 0, 3)


def problem(X: np.ndarray, perplexity: float, seed: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """P, a start and which rows are equal, as a fit makes them."""
    threads = Threads(1)
    index = Exact().build(X, rng=generator(seed, "neighbors"), threads=threads)
    P = fitting.joint_of(affinity.Perplexity(perplexity), index, len(X), seed, threads)[0]
    start = initialization.start("pca", X, P, 2, generator(seed, "initialization"), threads)
    return P, start, EqualRows.of(X, threads).find(X, threads)


def torn(X: np.ndarray, Y: np.ndarray, equal: np.ndarray, perplexity: float) -> tuple[int, int, float]:
    """Copies and rows that are torn, and the farthest copy as a share of the map."""
    width = float(np.ptp(Y, axis=0).max())
    from_first = np.linalg.norm(Y - Y[equal], axis=1) / width
    copies = int((from_first > max(TORN_COPY, 1 / np.sqrt(len(Y)))).sum())
    if perplexity > NEAREST_UP_TO:
        return copies, 0, float(from_first.max())
    apart = cdist(X, X)
    np.fill_diagonal(apart, np.inf)
    nearest = apart <= apart.min(axis=1, keepdims=True) * (1 + 1e-6)
    away = np.where(nearest, cdist(Y, Y), np.inf).min(axis=1) / width
    return copies, int((away > TORN_NEAREST).sum()), float(from_first.max())


def run(task: tuple[Any, np.ndarray, np.ndarray], plan: schedule.Schedule, *, reunite: bool = True) -> Any:
    P, start, equal = task
    return minimise(P, start, plan, threads=Threads(1), equal=equal if reunite else None)


class Unbounded(schedule.Phase):
    """A phase as it was: automatic rates of at least 50, whatever affinities bear."""

    def rate_at(self, iteration: int, n: int) -> float:
        return max(50.0, n / self.exaggeration_at(iteration))

    def bearable(self, iteration: int) -> float:
        return math.inf


SCHEDULES = {
    "default": schedule.resolve("auto"),
    "classic": schedule.resolve("classic"),
    "before": schedule.Schedule(Unbounded(**vars(phase)) for phase in schedule.resolve("auto")),
}


def one_seed(seed: int, *, names: list[str], quick: bool) -> dict[tuple[str, int, str], tuple[Any, ...]]:
    """Torn copies and rows, farthest copy, divergence and width of every table, perplexity and schedule."""
    found = {}
    for name, table in tables(seed):
        X = np.ascontiguousarray(table, np.float32)
        if quick and len(X) > 200:
            continue
        for perplexity in PERPLEXITIES:
            task = problem(X, min(perplexity, (len(X) - 1) / 3), seed)
            for course in names:
                result = run(task, SCHEDULES[course], reunite=course == "default")
                figures = torn(X, result.embedding, task[2], perplexity)
                width = np.ptp(result.embedding, axis=0).max()
                found[name, perplexity, course] = (*figures, result.kl_divergence, width)
    common.note(f"seed {seed} is done")
    return found


def main() -> None:
    parser = common.options(__doc__, data=False, repeats=False)
    parser.add_argument("--seeds", type=int, default=20, help="seeds, each by a process of its own (default 20)")
    parser.add_argument("--schedules", nargs="+", choices=list(SCHEDULES), default=list(SCHEDULES))
    args: argparse.Namespace = common.parse(parser)
    seeds = range(1 if args.quick else args.seeds)
    with ProcessPoolExecutor(args.jobs) as pool:
        by_seed = list(pool.map(partial(one_seed, names=args.schedules, quick=args.quick), seeds))
    rows = []
    for name, perplexity, course in by_seed[0]:
        results = [found[name, perplexity, course] for found in by_seed]
        copies, nearest, farthest, kl, width = map(np.array, zip(*results, strict=True))
        shown = "-" if perplexity > NEAREST_UP_TO else nearest.sum()
        figures = (copies.sum(), shown, f"{farthest.max():.2f}", f"{kl.mean():.4f}", round(width.mean()))
        goal = common.judged(int(copies.sum()), 0, least=False) if course == "default" else ""
        rows.append((name, perplexity, course, *figures, goal))
    header = ("table", "perplexity", "schedule", "copies torn", "rows torn", "farthest copy", "KL", "width", "target")
    common.report(f"Tearing, {len(seeds)} seeds", header, rows, args)


if __name__ == "__main__":
    main()
