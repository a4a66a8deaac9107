"""One iteration at 1.3 million rows and some 200 million affinities, and the peak memory of such a fit.

MOSES molecules (1.3 million rows, 50 components), 90 neighbours by our inverted file, perplexity 30. Both programs go
on from the same late map, made by our default schedule, with the same affinities and rows in the same order: that of
the neighbour buckets, into which a fit of ours puts them, and again that of the file, in which a fit of openTSNE's
leaves them. openTSNE's seconds are those of its ``optimize`` divided by the evaluations of its gradient (one more than
its iterations, for the divergence at the end: this favours openTSNE).

Peak memory is that of a whole ``TSNE.fit`` in a process of its own, above what it holds when it has read its input
(the input, the interpreter and the libraries). openTSNE's, with --peer-memory, is that of a fit of 10 + 10 iterations,
which by then has all it ever allocates but a larger grid.
"""

from __future__ import annotations

import json
import time

import common
import data_sets
import numpy as np
import problems
from common import Program

from tsne_ooc._parallel import Threads
from tsne_ooc.fit.initialization import start as start_of
from tsne_ooc.fit.optimize import minimise
from tsne_ooc.fit.watch import Watch
from tsne_ooc.joint import Joint
from tsne_ooc.neighbors import IVF

FASTER = 20.0
MOST_GIB = 3.5 * 1e9 / 2**30


def affinities(data: data_sets.Data, args) -> tuple[Joint, np.ndarray]:
    """P of the rows in bucket order, and that order; kept in the work folder, for the search takes minutes."""
    n = len(data.X)
    names = [args.work / f"{data.name}-{n}-{part}.npy" for part in ("indptr", "indices", "values", "order")]
    if not all(name.exists() for name in names):
        threads = Threads(args.jobs)
        began = time.perf_counter()
        index = IVF().build(data.X, rng=np.random.default_rng(0), threads=threads)
        indices, distances = index.query_self(min(problems.NEIGHBORS, n - 1))
        searched = time.perf_counter()
        P = problems.joint(indices, distances, np.asarray(index.order), threads)
        common.note(f"neighbours {searched - began:.1f} s, affinities {time.perf_counter() - searched:.1f} s")
        for name, part in zip(names, (P.indptr, P.indices, P.values, np.asarray(index.order)), strict=True):
            np.save(name, part)
    indptr, indices, values, order = map(np.load, names)
    return Joint(indptr, indices, values), order


def of_the_file(P: Joint, order: np.ndarray) -> Joint:
    """The affinities of rows in the order of the data."""
    from scipy.sparse import csr_array

    parts = (P.values, P.indices.astype(np.int32), P.indptr.astype(np.int32))
    moved = csr_array(parts, shape=(P.n, P.n))[np.argsort(order)]
    parts = (moved.data, order[moved.indices].astype(np.int32), moved.indptr)
    moved = csr_array(parts, shape=(P.n, P.n))
    moved.sort_indices()
    return Joint(moved.indptr.astype(np.uint64), moved.indices.astype(np.uint32), moved.data)


def late_map(data: data_sets.Data, P: Joint, order: np.ndarray, args) -> np.ndarray:
    """The map of our default schedule two thirds of its way; kept in the work folder."""
    cache = args.work / f"{data.name}-{len(data.X)}-map.npy"
    if not cache.exists():
        threads = Threads(args.jobs)
        start = start_of("pca", data.X, P, 2, np.random.default_rng(0), threads)[order]
        schedule = problems.SCHEDULES["default"]
        middle = Watch([lambda *_: True], every=schedule.iterations * 2 // 3)
        common.note(f"{middle.every} iterations to a late map")
        start = np.ascontiguousarray(start)
        np.save(cache, minimise(P, start, schedule, threads=threads, watch=middle).embedding)
    return np.load(cache)


def child(args) -> None:
    """Fit in this process and print its peak as JSON."""
    with np.load(args.child) as z:
        X = z["X"]
    if args.program == "openTSNE":
        import openTSNE

        held, began = common.start_peak(), time.perf_counter()
        openTSNE.TSNE(n_jobs=args.jobs, random_state=0, early_exaggeration_iter=10, n_iter=10).fit(X)
    else:
        from tsne_ooc import TSNE

        # Compiled kernels are no memory that grows with the rows.
        TSNE(random_state=0, n_jobs=args.jobs, n_iter=5, neighbors="ivf").fit(X[:2000])
        held, began = common.start_peak(), time.perf_counter()
        TSNE(random_state=0, n_jobs=args.jobs, **({"neighbors": "ivf"} if args.quick else {})).fit(X)
    seconds = time.perf_counter() - began
    print(json.dumps({"held": held, "peak": common.peak_bytes(), "input": X.nbytes, "seconds": seconds}))


def memory(data: data_sets.Data, programs: list[str], args) -> None:
    """Fit in fresh processes, which hold nothing but their input."""
    file = args.work / f"{data.name}-input.npz"
    np.savez(file, X=data.X)
    rows = []
    for program in programs:
        more = ["--quick"] if args.quick else []
        answer = common.in_child(__file__, "--child", file, "--program", program, "--jobs", args.jobs, *more)
        gib = {key: answer[key] / 2**30 for key in ("input", "held", "peak")}
        above = gib["peak"] - gib["held"]
        goal = common.judged(above, MOST_GIB, least=False) if program == "tsne_ooc" else ""
        rows.append((program, len(data.X), answer["seconds"], gib["input"], gib["held"], gib["peak"], above, goal))
    header = ("program", "rows", "s", "input GiB", "held at the start", "peak", "peak above the start", "target")
    common.report("Peak memory of a whole fit, k = 90", header, rows, args)


def main() -> None:
    parser = common.options(__doc__)
    parser.add_argument("--moses", help=f"moses_lingo256.h5 ({data_sets.MOSES_PUBLIC}); without it MNIST is used")
    parser.add_argument("--rows", type=int, default=1_300_000)
    parser.add_argument("--iterations", type=int, default=5, help="of each program in a repeat (default 5)")
    parser.add_argument("--orders", nargs="+", choices=("buckets", "file"), default=["buckets", "file"])
    parser.add_argument("--no-memory", action="store_true", help="do not measure the memory of a whole fit")
    parser.add_argument("--peer-memory", action="store_true", help="measure that of openTSNE too (an hour or more)")
    parser.add_argument("--child", help="for the script itself: fit this file and print the peak")
    parser.add_argument("--program", default="tsne_ooc", help="for the script itself")
    args = common.parse(parser)
    if args.child:
        child(args)
        return
    if args.quick:
        args.iterations = 2
    data = data_sets.load_moses(args.moses, 3000 if args.quick else args.rows, args) if args.moses else None
    data = data or data_sets.load("mnist", args, rows=args.rows)
    if not args.no_memory:
        # Before this process holds gigabytes itself.
        memory(data, ["tsne_ooc", *(["openTSNE"] if args.peer_memory else [])], args)
    P, order = affinities(data, args)
    Y = late_map(data, P, order, args)
    tasks = {"buckets": (P, Y)}
    if "file" in args.orders:
        unordered = np.empty_like(Y)
        unordered[order] = Y
        tasks["file"] = (of_the_file(P, order), unordered)
    rows = [line for name in args.orders for line in compared(name, *tasks.pop(name), args)]
    header = ("order of rows", "program", "rows", "affinities", "s/iteration", "field", "step", "its / ours", "target")
    common.report(f"One late iteration, {data.name}", header, rows, args)


def compared(name: str, P: Joint, Y: np.ndarray, args) -> list[tuple]:
    """Both programs' lines of the table."""
    problems.time_iterations(P, Y, 1, args)

    def peer(embedding) -> float:
        began = time.perf_counter()
        embedding.optimize(args.iterations, exaggeration=1, momentum=0.8, inplace=True)
        return (time.perf_counter() - began) / (args.iterations + 1)

    found: dict[str, list] = {"openTSNE": [], "tsne_ooc": []}
    programs = {
        "openTSNE": Program(lambda e: found["openTSNE"].append(peer(e)), lambda: problems.peer_embedding(P, Y, args)),
        "tsne_ooc": lambda: found["tsne_ooc"].append(problems.time_iterations(P, Y, 2 * args.iterations, args)),
    }
    common.alternate(programs, args.repeats)
    theirs = float(np.median(found["openTSNE"]))
    total, field, step = np.median(found["tsne_ooc"], axis=0).tolist()
    ratio, size = theirs / total, (len(Y), len(P.indices))
    return [
        (name, "openTSNE", *size, theirs, "", "", ratio, common.judged(ratio, FASTER)),
        (name, "tsne_ooc", *size, total, field, step, 1, ""),
    ]


if __name__ == "__main__":
    main()
