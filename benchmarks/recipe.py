"""The recipe for large data, from a file to coordinates: seconds of each stage, peak memory, and how good the map is.

Rows of MOSES as 50 components, in HDF5: a sample of 25,000, all others placed, then all together; both programs as
published. openTSNE's ("Embedding large data sets") is a sample at perplexity 500, each other row at its nearest sampled
one, all of them shrunk to a deviation of 1e-4, 500 iterations at an exaggeration of 12 and 750 at 4. Ours is
`tsne_ooc.recipes.large`. Both end at the same exaggeration, and with one perplexity of all rows. Each runs in a
process of its own, whose peak is that above what it holds before it reads the table. Divergences are from the same
affinities for both, and recalls of all rows.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import common
import data_sets
import h5py
import iteration
import numpy as np
import problems
import refine

from tsne_ooc import metrics

FASTER = 25.0


def main() -> None:
    parser = common.options(__doc__, repeats=False)
    parser.add_argument("--moses", help=f"moses_lingo256.h5 ({data_sets.MOSES_PUBLIC}); without it MNIST is used")
    parser.add_argument("--rows", nargs="+", type=int, default=[200_000])
    parser.add_argument("--exaggerations", nargs="+", type=float, default=[4])
    parser.add_argument(
        "--samples", nargs="+", default=["auto"],
        help="affinities of our sample, such as perplexity:333 or uniform:167, in turn; auto are those of the recipe",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--peer", action="store_true", help="openTSNE too, which takes the longest")
    parser.add_argument("--child", type=Path, help="for the script itself: the table")
    parser.add_argument("--program", default="tsne_ooc", help="for the script itself")
    parser.add_argument("--seed", type=int, default=0, help="for the script itself")
    args = common.parse(parser)
    if args.quick:
        args.rows = [3000]
    if args.child:
        print(json.dumps(theirs(args) if args.program == "openTSNE" else ours(args)))
        return
    lines = [line for n in args.rows for rho in args.exaggerations for line in compared(n, rho, args)]
    header = (
        "data", "rows", "exaggeration", "program", "s", "stages", "peak GiB", "KL", "r10", "r50", "label accuracy",
        "class means", "distances", "target",
    )  # fmt: skip
    common.report("The recipe for large data, from HDF5 to coordinates", header, lines, args)


def compared(n: int, rho: float, args) -> list[tuple]:
    """The lines of one table at one exaggeration."""
    data = data_sets.load_moses(args.moses, n, args) if args.moses else data_sets.load("mnist", args, rows=n)
    table = args.work / f"{data.name}-{len(data.X)}.h5"
    with h5py.File(table, "w") as file:
        file.create_dataset("X", data=data.X, chunks=(min(len(data.X), 5000), data.X.shape[1]))
    P, order = iteration.affinities(data, args)
    lines, first = [], None
    runs = [("tsne_ooc", one, seed) for seed in range(args.seeds) for one in args.samples]
    for program, sample, seed in [*runs, *([("openTSNE", "auto", 0)] if args.peer else [])]:
        more = ["--quick"] if args.quick else []
        answer = common.in_child(
            __file__, "--child", table, "--program", program, "--exaggerations", rho, "--jobs", args.jobs,
            "--samples", sample, "--seed", seed, *more,
        )  # fmt: skip
        Y = np.load(answer["places"])
        quality = problems.quality(data, Y, args)
        first = first or answer["seconds"]
        goal = common.judged(answer["seconds"] / first, FASTER) if program != "tsne_ooc" else ""
        stages = ", ".join(f"{name} {seconds:.0f}" for name, seconds in answer["stages"].items())
        lines.append(
            (
                data.name, len(data.X), f"{rho:g}", program if sample == "auto" else f"{program}, {sample}",
                answer["seconds"], stages, answer["peak"] / 2**30,
                f"{problems.divergence(P, Y[order], args):.4f}", f"{quality['r10']:.4f}", f"{quality['r50']:.4f}",
                "-" if data.y is None else f"{quality['labels']:.4f}", f"{refine.means_kept(data, Y):.3f}",
                f"{metrics.distance_correlation(data.X, Y, sample=3000):.3f}", goal,
            )
        )  # fmt: skip
        common.note(" | ".join(map(str, lines[-1])))
    return lines


def sizes(args) -> tuple[int, float, float]:
    """Rows of the sample, its perplexity in openTSNE's recipe, and that of all rows."""
    return (500, 20.0, 10.0) if args.quick else (25_000, 500.0, problems.PERPLEXITY)


def ours(args) -> dict:
    """Our recipe, in this process."""
    from tsne_ooc import TSNE, Refinement, embed
    from tsne_ooc.recipes import large

    sample, _, perplexity = sizes(args)
    with tempfile.TemporaryDirectory(dir=args.child.parent) as folder:
        # Compiled kernels are no memory that grows with the rows.
        few = {"sample": 300, "perplexity": 5, "tsne": TSNE(n_iter=5, neighbors="ivf", n_jobs=args.jobs)}
        large(np.random.default_rng(0).normal(size=(2000, 50)), out=Path(folder) / "few", **few)
        held, began = common.start_peak(), time.perf_counter()
        out, options = Path(folder) / "map", {"n_jobs": args.jobs, "random_state": args.seed}
        if args.samples == ["auto"]:
            model = TSNE(exaggeration=args.exaggerations[0], **options)
            run = large(args.child, out=out, sample=sample, perplexity=perplexity, tsne=model)
        else:
            affinity, near = args.samples[0].split(":")
            model = TSNE(exaggeration=args.exaggerations[0], affinity=affinity, perplexity=float(near), **options)
            together = Refinement(perplexity=perplexity, affinity="perplexity")
            run = embed(args.child, out=out, sample=sample, tsne=model, refine=together)
        seconds = time.perf_counter() - began
        return told(args, np.array(run.embedding), seconds, run.manifest["seconds"], held)


def theirs(args) -> dict:
    """The published recipe, line by line."""
    import openTSNE

    sample, above, perplexity = sizes(args)
    stages, few = {}, 10 if args.quick else 1
    held, began = common.start_peak(), time.perf_counter()

    def lap(name: str) -> None:
        stages[name] = time.perf_counter() - began - sum(stages.values())

    with h5py.File(args.child) as file:
        X = file["X"][:]
    indices = np.random.default_rng(0).permutation(len(X))
    back = np.argsort(indices)
    options = {"n_jobs": args.jobs, "random_state": 0}
    some, rest = X[indices[:sample]], X[indices[sample:]]
    affinities = openTSNE.affinity.PerplexityBasedNN(some, perplexity=above, **options)
    start = openTSNE.initialization.pca(some, random_state=0)
    fitted = openTSNE.TSNE(**options).fit(affinities=affinities, initialization=start)
    lap("fit")
    placed = fitted.prepare_partial(rest, k=1, perplexity=1 / 3)
    start = np.vstack((fitted, placed))[back]
    start = start / (np.std(start[:, 0]) * 10_000)
    lap("place")
    affinities = openTSNE.affinity.PerplexityBasedNN(X, perplexity=perplexity, **options)
    lap("affinities")
    Y = openTSNE.TSNEEmbedding(start, affinities, **options)
    Y = Y.optimize(n_iter=500 // few, exaggeration=12, momentum=0.5)
    Y = Y.optimize(n_iter=750 // few, exaggeration=args.exaggerations[0], momentum=0.8)
    lap("optimize")
    return told(args, np.asarray(Y, np.float32), time.perf_counter() - began, stages, held)


def told(args, Y: np.ndarray, seconds: float, stages: dict[str, float], held: int) -> dict:
    """What the parent is told; the map is in a file beside the table."""
    places = args.child.with_suffix(f".{args.program}.npy")
    np.save(places, Y)
    above = common.peak_bytes() - held
    return {"places": str(places), "seconds": seconds, "stages": stages, "peak": above}


if __name__ == "__main__":
    main()
