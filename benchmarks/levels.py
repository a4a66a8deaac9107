"""From the sample to all rows in one step, or by way of a larger sample: is a second level worth its time?

A sample is fitted as the recipe for large data does it, with equal affinities to its nearest 1/150. With two levels all
rows of a larger sample are placed on it and move together, before all others are placed. The last level is run for
several numbers of iterations, so that maps can be compared at equal time. Seconds are of the processor, of all levels
but without the neighbours and affinities of all rows, which are the same for all. Affinities of the last level are the
same, so divergences can be compared; recalls are of all rows.

    python benchmarks/levels.py --levels 5000,25000 25000
    python benchmarks/levels.py --moses moses_lingo256.h5 --rows 300000 --levels 25000,100000 25000
"""

from __future__ import annotations

import time

import common
import data_sets
import numpy as np
import problems
import refine

from tsne_ooc import TSNE
from tsne_ooc.affinity import Uniform
from tsne_ooc.metrics import distance_correlation
from tsne_ooc.recipes import ROWS_PER_NEIGHBOR
from tsne_ooc.refinement import Refinement, begin_at
from tsne_ooc.schedule import resolve


def main() -> None:
    parser = common.options(__doc__)
    parser.add_argument("--dataset", choices=list(data_sets.SOURCES), default="mnist")
    parser.add_argument("--moses", help=f"moses_lingo256.h5 ({data_sets.MOSES_PUBLIC}): takes its rows instead")
    parser.add_argument("--rows", type=int, default=300_000, help="of --moses")
    parser.add_argument("--levels", nargs="+", default=["25000", "5000,25000"], help="sizes of the samples")
    parser.add_argument("--between", type=int, default=60, help="iterations of a level between (default 60)")
    parser.add_argument("--last", nargs="+", type=int, default=[80, 120, 165], help="iterations of the last level")
    parser.add_argument("--seeds", type=int, default=1)
    args = common.parse(parser)
    if args.quick:
        args.dataset, args.levels, args.last = "pbmc3k", ["800", "300,800"], [20]
    data = data_sets.load_moses(args.moses, args.rows, args) if args.moses else data_sets.load(args.dataset, args)
    task = refine.problem(data, args)
    # Kernels are compiled before anything is timed.
    problems.optimise(task, resolve("classic", early_exaggeration_iter=1, n_iter=1), args)
    lines = []
    for seed in range(args.seeds):
        for levels in args.levels:
            sizes = [int(size) for size in levels.split(",")]
            began = time.process_time()
            placed = through(data.X, sizes, seed, args)
            before = time.process_time() - began
            for n_iter in args.last:
                start = begin_at(placed, Refinement().deviation, np.random.default_rng(seed))
                mine = problems.Problem(task.P, np.ascontiguousarray(start[task.order]), task.order)
                began = time.process_time()
                result = problems.optimise(mine, resolve("refine", n_iter=n_iter), args)
                seconds = before + time.process_time() - began
                Y = task.unordered(result.embedding)
                quality, KL = problems.quality(data, Y, args), problems.divergence(task.P, Y[task.order], args)
                lines.append((
                    data.name, len(Y), " > ".join(f"{size:,}" for size in sizes) + " > all", seed, result.iterations,
                    f"{seconds:.0f}", f"{KL:.4f}", f"{quality['r10']:.4f}",
                    f"{quality['r50']:.4f}", "-" if data.y is None else f"{quality['labels']:.4f}",
                    f"{refine.means_kept(data, Y):.3f}", f"{distance_correlation(data.X, Y, sample=2000):.3f}",
                ))  # fmt: skip
                common.note(" | ".join(map(str, lines[-1])))
    header = (
        "data", "rows", "levels", "seed", "iterations", "processor, s", "KL", "r10", "r50", "label accuracy",
        "class means", "distances",
    )  # fmt: skip
    common.report("One level or two", header, lines, args)


def through(X: np.ndarray, sizes: list[int], seed: int, args) -> np.ndarray:
    """All rows placed on the map of the last sample, each of which is among the next."""
    chosen = np.random.default_rng(seed).permutation(len(X))
    model = TSNE(
        affinity=Uniform(max(15, sizes[0] // ROWS_PER_NEIGHBOR)), n_jobs=args.jobs, random_state=seed
    ).fit(X[np.sort(chosen[: sizes[0]])])  # fmt: skip
    for size in sizes[1:]:
        more = X[np.sort(chosen[:size])]
        model = model.refine(more, affinity=Uniform(max(15, size // ROWS_PER_NEIGHBOR)), n_iter=args.between)
    return model.transform(X)


if __name__ == "__main__":
    main()
