"""All rows together with little memory: the same bits? at what time, and what peak?

A table of many groups of heavy-tailed sizes, a fifth of whose rows are near copies of others (50 columns of float32); a
sample of it is fitted and all rows are placed. Then they are refined: in memory, and with smaller and smaller budgets,
each in a process of its own, whose peak is its whole resident set. The last table is of one pass over P, as an
iteration does: in memory, from the pages that the system keeps, and from the disk itself.

With 200,000 rows it takes some ten minutes on two cores.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from pathlib import Path

import common
import numpy as np

COLUMNS = 50
MOST_TIMES = 3.0


def table(n: int) -> np.ndarray:
    """Groups within groups, of sizes that fall like 1 / rank, and near copies."""
    rng = np.random.default_rng(0)
    groups = 200
    share = 1 / np.arange(1, groups + 1)
    centres = rng.normal(0, 4, (20, COLUMNS))[rng.integers(0, 20, groups)] + rng.normal(0, 1.5, (groups, COLUMNS))
    X = centres[rng.choice(groups, n, p=share / share.sum())] + rng.normal(size=(n, COLUMNS))
    copies = rng.choice(n, n // 5, replace=False)
    X[copies] = X[rng.integers(0, n, len(copies))] + rng.normal(0, 0.01, (len(copies), COLUMNS))
    return X.astype(np.float32)


def prepared(args) -> Path:
    """A folder with the table, the map of its sample, and where all rows were placed."""
    from tsne_ooc import TSNE

    folder = args.work / f"out-of-core-{args.rows}-{args.sample}"
    if not (folder / "start.npy").exists():
        folder.mkdir(exist_ok=True)
        X = table(args.rows)
        np.save(folder / "X.npy", X)
        model = TSNE(sample=args.sample, random_state=0, n_jobs=args.jobs).fit(X)
        model.save(folder / "model", overwrite=True)
        np.save(folder / "start.npy", model.place(X).embedding)
    return folder


def child(args) -> None:
    """Refine in this process; print bits, seconds and the peak as JSON."""
    import tsne_ooc

    folder = Path(args.child)
    X, start = np.load(folder / "X.npy"), np.load(folder / "start.npy")
    model = tsne_ooc.load(folder / "model")
    marks = []
    options = {"callbacks": lambda *_: marks.append(time.perf_counter()), "callbacks_every_iters": 10}
    held, began = common.start_peak(), time.perf_counter()
    refined = model.refine(
        X, start=start, memory=args.memory, scratch=args.scratch, n_jobs=args.jobs, n_iter=args.iterations, **options
    )
    ended = time.perf_counter()
    found = {
        "bits": hashlib.sha256(refined.embedding_.tobytes()).hexdigest()[:16], "seconds": ended - began,
        "descent": ended - marks[0] if marks else float("nan"), "held": held, "peak": common.peak_bytes(),
        "kl": refined.kl_divergence_,
    }  # fmt: skip
    print(json.dumps(found))


def passes(args, folder: Path) -> list[list]:
    """One pass over P, wherever it lies."""
    from tsne_ooc._parallel import Threads
    from tsne_ooc.affinity import Perplexity, symmetrize
    from tsne_ooc.fit.out_of_core import joint_on_disk
    from tsne_ooc.gradients.attraction import Attraction
    from tsne_ooc.neighbors import IVF
    from tsne_ooc.scratch import NeighborsInMemory

    threads, X = Threads(args.jobs), np.load(folder / "X.npy")
    index = IVF().build(X, rng=np.random.default_rng(0), threads=threads)
    affinity = Perplexity(30)
    graph = NeighborsInMemory(*index.query_self(affinity.k(len(X))))
    began = time.perf_counter()
    P = joint_on_disk(affinity, graph, 1.0, None, seed=0, threads=threads, folder=args.scratch_folder)
    on_disk = time.perf_counter() - began
    began = time.perf_counter()
    memory = symmetrize(graph.indices, affinity.conditional(graph.distances, threads), threads)
    in_memory = time.perf_counter() - began
    Y = np.load(folder / "start.npy")
    rows = [["affinities made", in_memory, on_disk, on_disk, "-"]]

    def seconds(attraction: Attraction, cold: bool = False) -> tuple[float, bytes]:
        found = []
        for _ in range(args.repeats):
            if cold:
                for file in P._files:
                    os.fsync(file._file.fileno())
                    os.posix_fadvise(file._file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            began = time.perf_counter()
            out = attraction.forces(Y)
            found.append(time.perf_counter() - began)
        return min(found), out.tobytes()

    whole, disk = Attraction(memory, 2, 1.0, threads), Attraction(P, 2, 1.0, threads)
    timed = [seconds(whole), seconds(disk), seconds(disk, cold=True)]
    rows.append(
        [f"a pass over {P.entries:,} entries", *(one for one, _ in timed), len({bits for _, bits in timed}) == 1]
    )
    P.hold(P.entries // 2)
    timed = [timed[0], seconds(disk), seconds(disk, cold=True)]
    rows.append(["the same, half of them held", *(one for one, _ in timed), len({bits for _, bits in timed}) == 1])
    P.close()
    return rows


def main() -> None:
    parser = common.options(__doc__, data=False)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--sample", type=int, default=10_000)
    parser.add_argument("--iterations", type=int, default=145, help="of the refinement (default 145)")
    parser.add_argument("--budgets", type=float, nargs="+", default=[1.5, 1.2, 1.0], help="GB")
    parser.add_argument("--scratch", default=None, help="folder of scratch files (default: that of the work folder)")
    parser.add_argument("--memory", type=float, default=1000.0, help="for the script itself")
    parser.add_argument("--child", help="for the script itself: refine what this folder holds")
    args = common.parse(parser)
    if args.child:
        return child(args)
    if args.quick:
        args.rows, args.sample, args.iterations, args.budgets = 3_000, 500, 20, [0.9]
    with tempfile.TemporaryDirectory(dir=args.scratch or args.work) as scratch:
        args.scratch_folder = Path(scratch)
        folder = prepared(args)
        rows, first = [], None
        for memory in [1000.0, *args.budgets]:
            found = common.in_child(
                __file__, "--child", folder, "--memory", memory, "--scratch", scratch, "--jobs", args.jobs,
                "--iterations", args.iterations,
            )  # fmt: skip
            first = first or found
            times = found["seconds"] / first["seconds"]
            rows.append(
                ["-" if memory == 1000 else memory, found["seconds"], found["descent"], times, found["held"] / 1e9,
                 found["peak"] / 1e9, found["bits"] == first["bits"], common.judged(times, MOST_TIMES, least=False)]
            )  # fmt: skip
        header = ["memory, GB", "s", "of them descent", "times", "held before, GB", "peak, GB", "same bits", "reach"]
        common.report(f"{args.rows:,} rows refined, by memory", header, rows, args)
        header = ["", "in memory, s", "pages kept, s", "from the disk, s", "same bits"]
        common.report(f"{args.rows:,} rows, one pass over P", header, passes(args, folder), args)


if __name__ == "__main__":
    main()
