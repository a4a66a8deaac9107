"""All rows together: a sample is fitted, the rest placed, and all are refined; against a fit of all rows.

Starts are the placed map brought to several standard deviations, or left as wide as it is, with and without a short
early phase; once at exaggeration 1 and once at 4, as the published recipe for large data has it. No single figure says
which is best: divergence and recalls are of neighbourhoods; labels, the class means that stay near each other (of the
four nearest, or half of them where classes are few) and the rank correlation of distances of the large picture. "kept"
says how much of the placed map is found again in the refined one: the share of its variance that remains when the
first is laid on it. Affinities are the same for all, so divergences can be compared; recalls are of all rows.
"""

from __future__ import annotations

import time

import common
import data_sets
import iteration
import numpy as np
import problems

from tsne_ooc import TSNE
from tsne_ooc._parallel import Threads
from tsne_ooc.fit.initialization import start as start_of
from tsne_ooc.metrics import displacement, distance_correlation
from tsne_ooc.refinement import begin_at
from tsne_ooc.schedule import resolve

# Of a fit of all rows: its divergence and a little, its recall, and a share of its iterations.
HIGHER, FEWER, ITERATIONS = 0.005, 0.0, 0.8
NEIGHBORS = 4
ALL = "fit of all rows"
MOST_EXACT = 100_000


def means_kept(data: data_sets.Data, Y: np.ndarray) -> float:
    """Share of the nearest class means in the data that are the nearest in the map (Kobak and Berens, 2019)."""
    if data.y is None:
        return float("nan")
    classes = np.unique(data.y)
    k = min(NEIGHBORS, max(1, len(classes) // 2))
    near = []
    for table in (data.X, Y):
        means = np.array([table[data.y == one].mean(axis=0) for one in classes])
        apart = np.linalg.norm(means[:, None] - means, axis=2)
        np.fill_diagonal(apart, np.inf)
        near.append(np.argsort(apart, axis=1)[:, :k])
    return float(np.mean([len(np.intersect1d(*pair)) / k for pair in zip(*near, strict=True)]))


def kept(placed: np.ndarray, Y: np.ndarray) -> float:
    """Share of the variance of a map that the placed one explains, laid on it."""
    return 1 - float(np.square(displacement(placed, Y)).mean() / Y.var(axis=0).sum())


def main() -> None:
    parser = common.options(__doc__)
    parser.add_argument("--datasets", nargs="+", choices=list(data_sets.SOURCES), default=["mnist"])
    parser.add_argument("--moses", help=f"moses_lingo256.h5 ({data_sets.MOSES_PUBLIC}): takes its rows instead")
    parser.add_argument("--rows", type=int, default=1_300_000, help="of --moses")
    parser.add_argument("--sample", type=int, default=25_000)
    parser.add_argument("--perplexity", type=float, default=30, help="of the sample's fit (default 30)")
    parser.add_argument("--exaggerations", nargs="+", type=float, default=[1, 4])
    parser.add_argument(
        "--deviations", nargs="+", default=["0.0001", "1", "2", "5", "20", "placed"], help="numbers, or placed"
    )
    parser.add_argument("--early", nargs="+", type=int, default=[0, 20], help="iterations at exaggeration 12")
    parser.add_argument("--initialization", default="pca", help="of the sample's fit (default pca)")
    parser.add_argument("--no-fit", action="store_true", help="do not fit all rows, which takes the longest")
    args = common.parse(parser)
    if args.quick:
        args.datasets, args.rows, args.sample = ["pbmc3k"], 3000, 800
        args.deviations, args.early = ["1", "placed"], [20]
    if args.moses:
        sets = [data_sets.load_moses(args.moses, args.rows, args)]
    else:
        sets = [data_sets.load(name, args) for name in args.datasets]
    rows = [line for data in sets for rho in args.exaggerations for line in compared(data, rho, args)]
    header = (
        "data", "exaggeration", "map", "iterations", "s", "KL", "r10", "r50", "label accuracy", "class means",
        "distances", "kept", "width", "target",
    )  # fmt: skip
    common.report(f"All rows together, from a sample of {args.sample:,}", header, rows, args)


def problem(data: data_sets.Data, args) -> problems.Problem:
    """Affinities and the start of a fit of all rows; of many rows from the neighbours that an inverted file finds."""
    if len(data.X) <= MOST_EXACT:
        return problems.problem(data, args)
    P, order = iteration.affinities(data, args)
    start = start_of("pca", data.X, P, 2, np.random.default_rng(0), Threads(args.jobs))
    return problems.Problem(P, np.ascontiguousarray(start[order]), order)


def compared(data: data_sets.Data, rho: float, args) -> list[tuple]:
    """The lines of one data set at one exaggeration."""
    task = problem(data, args)
    problems.optimise(task, resolve("classic", early_exaggeration_iter=1, n_iter=1), args)
    model = TSNE(
        sample=min(args.sample, len(data.X)), perplexity=args.perplexity, exaggeration=rho, n_jobs=args.jobs,
        initialization=args.initialization, random_state=0,
    )  # fmt: skip
    began = time.perf_counter()
    model.fit(data.X)
    common.note(f"{data.name}: sample fitted in {time.perf_counter() - began:.1f} s")
    began = time.perf_counter()
    placed = model.transform(data.X)
    common.note(f"{len(placed):,} rows placed in {time.perf_counter() - began:.1f} s")
    lines, reach = [], None

    def line(name: str, Y: np.ndarray, iterations: int, seconds: float) -> None:
        nonlocal reach
        quality = problems.quality(data, Y, args)
        KL = problems.divergence(task.P, Y[task.order], args)
        goal = ""
        if name == ALL:
            reach = (KL, quality["r10"], iterations)
        elif iterations and reach is not None:
            goal = "; ".join(
                (
                    f"KL {common.judged(KL - reach[0], HIGHER, least=False)}",
                    f"r10 {common.judged(quality['r10'] - reach[1], FEWER)}",
                    f"iterations {common.judged(iterations / reach[2], ITERATIONS, least=False)}",
                )
            )
        lines.append(
            (
                data.name, f"{rho:g}", name, iterations, seconds, f"{KL:.4f}", f"{quality['r10']:.4f}",
                f"{quality['r50']:.4f}", "-" if data.y is None else f"{quality['labels']:.4f}",
                f"{means_kept(data, Y):.3f}", f"{distance_correlation(data.X, Y, sample=2000):.3f}",
                f"{kept(placed, Y):.3f}", round(quality["width"]), goal,
            )
        )  # fmt: skip
        common.note(" | ".join(map(str, lines[-1])))

    def optimised(start: np.ndarray, schedule) -> tuple[np.ndarray, int, float]:
        began = time.perf_counter()
        task_of = problems.Problem(task.P, np.ascontiguousarray(start[task.order]), task.order)
        result = problems.optimise(task_of, schedule, args)
        return task.unordered(result.embedding), result.iterations, time.perf_counter() - began

    if not args.no_fit:
        line(ALL, *optimised(task.unordered(task.start), resolve("auto", exaggeration=rho)))
    line("placed", placed, 0, float("nan"))
    for deviation in args.deviations:
        start = begin_at(placed, None if deviation == "placed" else float(deviation), np.random.default_rng(0))
        for early in args.early:
            name = f"{'as placed' if deviation == 'placed' else f'deviation {deviation}'}, {early} at 12"
            schedule = resolve("refine", exaggeration=rho, early_exaggeration_iter=early)
            line(name, *optimised(start, schedule))
    return lines


if __name__ == "__main__":
    main()
