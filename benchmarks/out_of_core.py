"""All rows together with little memory: the same bits? at what time, and what peak?

A table of many groups of heavy-tailed sizes, a fifth of whose rows are near copies of others (50 columns of float32),
or one of yours: a sample of it is fitted, all rows are placed, and then they move together, as
`tsne_ooc.recipes.large` does it. That is done in memory, and with smaller and smaller budgets, each in a process of its
own, whose peak in each stage is its whole resident set. The last table is of one pass over P, as an iteration does: in
memory, from the pages that the system keeps, and from the disk itself.

With 200,000 rows it takes some six minutes on two cores. Rows from files, with equal affinities of 15 neighbours and
never without a budget; `--made` draws the tables that are not there from the tree of Gaussians of `growth.py`, and of
several tables the exponent of the growth of each stage is told:

    python benchmarks/out_of_core.py --made 100000 1000000 10000000 --equal 15 --bounded --budgets 12 --sample 25000
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from pathlib import Path

import common
import growth
import numpy as np

COLUMNS = 50
MOST_TIMES = 3.0
STEEPEST = 1.15
# GB beyond the budget that the peak may reach.
MORE = 0.5


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


def laid_down(args) -> list[Path]:
    """The files of the tables."""
    if args.table:
        return [args.table]
    name, draw = ("growth", growth.rows_of) if args.made else ("out-of-core", table)
    paths = [args.work / f"{name}-{n}.npy" for n in args.made or [args.rows]]
    for n, path in zip(args.made or [args.rows], paths, strict=True):
        if not path.exists():
            np.save(path, draw(n))
    return paths


def child(args) -> None:
    """The whole run in this process; print bits, and seconds and peak of each stage, as JSON."""
    from tsne_ooc import TSNE
    from tsne_ooc.affinity import Uniform
    from tsne_ooc.recipes import large

    held, peaks, now = common.start_peak(), {}, [""]

    def progress(phase: str, done: int, total: int) -> None:
        peaks[now[0]] = common.peak_bytes()
        if phase != now[0]:
            now[0] = phase
            common.start_peak()

    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        tsne = TSNE(n_jobs=args.jobs, **({"affinity": Uniform(args.equal)} if args.equal else {}))
        began, processor = time.perf_counter(), time.process_time()
        run = large(
            args.child, dataset=args.dataset, out=Path(folder) / "map", sample=args.sample, tsne=tsne,
            memory=args.memory, scratch=args.scratch, progress=progress,
        )  # fmt: skip
        seconds, processor = time.perf_counter() - began, time.process_time() - processor
        peaks[now[0]] = max(peaks[now[0]], common.peak_bytes())
        found = {
            "bits": hashlib.sha256(np.array(run.embedding).tobytes()).hexdigest()[:16], "seconds": seconds,
            "processor": processor, "held": held, "peaks": {name: peak for name, peak in peaks.items() if name},
            "stages": run.manifest["seconds"], "kl": run.manifest["refined"]["kl_divergence"],
            "width": float(np.ptp(run.embedding, axis=0).max()),
        }  # fmt: skip
    print(json.dumps(found))


def passes(args, path: Path) -> list[list]:
    """One pass over P, wherever it lies."""
    from tsne_ooc._parallel import Threads
    from tsne_ooc.affinity import Perplexity
    from tsne_ooc.fit.out_of_core import joint_on_disk
    from tsne_ooc.gradients.attraction import Attraction
    from tsne_ooc.joint import symmetrize
    from tsne_ooc.neighbors import IVF
    from tsne_ooc.scratch import NeighborsInMemory

    threads, X = Threads(args.jobs), np.load(path)
    index = IVF().build(X, rng=np.random.default_rng(0), threads=threads)
    affinity = Perplexity(30)
    graph = NeighborsInMemory(*index.query_self(affinity.k(len(X))))
    began = time.perf_counter()
    P = joint_on_disk(affinity, graph, 1.0, None, seed=0, threads=threads, folder=args.scratch_folder)
    on_disk = time.perf_counter() - began
    began = time.perf_counter()
    memory = symmetrize(graph.indices, affinity.conditional(graph.distances, threads), threads)
    in_memory = time.perf_counter() - began
    # Near rows are near each other, as they are in a map.
    Y = np.ascontiguousarray(X[:, :2])
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
    parser.add_argument("--table", type=Path, help="a table of yours (.h5, .npy) instead; no passes are timed then")
    parser.add_argument("--dataset", help="its name in the file")
    parser.add_argument("--made", type=int, nargs="+", help="tables of so many rows instead, kept in the work folder")
    parser.add_argument("--sample", type=int, default=10_000)
    parser.add_argument("--budgets", type=float, nargs="+", default=[1.0, 0.65], help="GB")
    parser.add_argument("--equal", type=int, help="equal affinities of so many neighbours, instead of a perplexity")
    parser.add_argument("--bounded", action="store_true", help="no run without a budget; the first one is the measure")
    parser.add_argument("--scratch", default=None, help="folder of scratch files (default: that of the work folder)")
    parser.add_argument("--memory", type=float, default=1000.0, help="for the script itself")
    parser.add_argument("--child", type=Path, help="for the script itself: the table")
    args = common.parse(parser)
    if args.child:
        return child(args)
    if args.quick:
        args.rows, args.sample, args.budgets = 3_000, 500, [0.9]
    with tempfile.TemporaryDirectory(dir=args.scratch or args.work) as scratch:
        args.scratch_folder = Path(scratch)
        paths = laid_down(args)
        firsts = [compared(path, scratch, args) for path in paths]
        if len(paths) > 1:
            sizes = [int(path.stem.rpartition("-")[2]) for path in paths]
            rows = grown(sizes, [first["stages"] for first in firsts])
            header = ["stage", *(f"{n:,} rows, s" for n in sizes), "exponent", "target"]
            common.report("growth of each stage", header, rows, args)
        if args.table or args.made:
            return
        header = ["", "in memory, s", "pages kept, s", "from the disk, s", "same bits"]
        common.report(f"{args.rows:,} rows, one pass over P", header, passes(args, paths[0]), args)


def grown(sizes: list[int], stages: list[dict[str, float]]) -> list[list]:
    """Seconds of each stage at each size, and the exponent; of a stage of less than a second it is noise."""
    names = [*stages[0], "all"]
    found = {name: [stage.get(name, sum(stage.values())) for stage in stages] for name in names}
    rows = []
    for name, seconds in found.items():
        slope = growth.exponent(sizes, seconds)
        judged = seconds[-1] >= 1 and name != "sample"
        rows.append([name, *seconds, slope, common.judged(slope, STEEPEST, least=False) if judged else ""])
    return rows


def compared(path: Path, scratch: str, args) -> dict:
    """Run a table with each budget, and report; the first run is returned."""
    rows, first = [], None
    named = ["--dataset", args.dataset] if args.dataset else []
    named += ["--equal", args.equal] if args.equal else []
    for memory in args.budgets if args.bounded else [1000.0, *args.budgets]:
        found = common.in_child(
            __file__, "--child", path, *named, "--memory", memory, "--scratch", scratch, "--jobs", args.jobs,
            "--sample", args.sample,
        )  # fmt: skip
        first = first or found
        times, peak = found["seconds"] / first["seconds"], max(found["peaks"].values()) / 1e9
        goals = ["", ""] if memory == 1000 else [
            common.judged(times, MOST_TIMES, least=False), common.judged(peak, memory + MORE, least=False),
        ]  # fmt: skip
        told = ", ".join(
            f"{name} {found['stages'].get(name, 0):.0f} ({bytes_ / 1e9:.2f})" for name, bytes_ in found["peaks"].items()
        )
        rows.append(
            ["-" if memory == 1000 else memory, found["seconds"], found["processor"], times, told,
             found["held"] / 1e9, peak, found["bits"] == first["bits"], *goals]
        )  # fmt: skip
        common.note(" | ".join(map(str, [*rows[-1], found["kl"], found["width"]])))
    header = [
        "memory, GB", "s", "of the processor, s", "times", "of each stage: s (peak, GB)", "held before, GB", "peak, GB",
        "same bits", "reach: times", "reach: peak",
    ]  # fmt: skip
    common.report(f"{path.stem}: a sample, all placed, all moved, by memory", header, rows, args)
    assert first is not None
    return first


if __name__ == "__main__":
    main()
