"""Neighbour search: seconds and recall of each backend.

Two searches: the 90 nearest others of all rows, as a fit asks for them (build included), and the 15 nearest of new
rows among 25,000, as placing does (build apart). Recall is against the exact search, at a sample of the rows.

`--grow` has our own search among more and more of the rows instead, and among as many of the tree of Gaussians of
`growth.py`, whose groups fill all of 50 columns: seconds of the processor, and with which power of the rows they grow.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import common
import data_sets
import growth
import numpy as np
import problems

from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import HNSW, IVF, Annoy, Exact, Neighbors, PyNNDescent

BACKENDS: dict[str, Callable[[], Neighbors]] = {
    "exact": Exact,
    "ivf": IVF,
    "hnsw": HNSW,
    "pynndescent": PyNNDescent,
    "annoy": Annoy,
}
RECALL = 0.95
STEEPEST = 1.15
REFERENCE, PLACED, K_PLACED = 25_000, 20_000, 15


def recall(found: np.ndarray, true: np.ndarray, k: int) -> float:
    """Share of the `k` nearest rows among the first `k` found."""
    hits = [np.isin(a[:k], b[:k], assume_unique=True).sum() for a, b in zip(found, true, strict=True)]
    return float(np.sum(hits) / (k * len(true)))


def nearest_others(X: np.ndarray, sample: np.ndarray, k: int, threads: Threads) -> np.ndarray:
    """The k nearest other rows of some, by an exact search: of all rows it would take an hour where there are many."""
    found = Exact().build(X, rng=np.random.default_rng(0), threads=threads).query(X[sample], k + 1)[0]
    # A row that has k + 1 copies of lower numbers is not among its own nearest.
    own = found == sample[:, None]
    own[~own.any(axis=1), -1] = True
    return found[~own].reshape(len(sample), k)


def grown(name: str, rows_of: Callable[[int], np.ndarray], args) -> list[list]:
    """Seconds of the processor to find the nearest of all rows, for each number of them, and the exponent."""
    threads, rows = Threads(args.jobs), []
    # Compilation.
    IVF().build(rows_of(2000), rng=np.random.default_rng(0), threads=threads).query_self(15)
    for k in (15, problems.NEIGHBORS):
        seconds, recalls = [], []
        for n in args.grow:
            X = rows_of(n)
            began = time.process_time()
            index = IVF().build(X, rng=np.random.default_rng(0), threads=threads)
            index.query_self(min(k, n - 1))
            seconds.append(time.process_time() - began)
            recalls.append(index.recall(k))
        slope = growth.exponent(args.grow, seconds)
        told = [f"{share:.3f}" for share in recalls]
        rows.append([name, k, *seconds, ", ".join(told), slope, common.judged(slope, STEEPEST, least=False)])
    return rows


def main() -> None:
    parser = common.options(__doc__)
    parser.add_argument("--grow", type=int, nargs="+", help="our search among so many rows instead")
    parser.add_argument("--dataset", choices=list(data_sets.SOURCES), default="mnist")
    parser.add_argument("--moses", help=f"moses_lingo256.h5 ({data_sets.MOSES_PUBLIC}): searched instead of --dataset")
    parser.add_argument("--rows", type=int, help="search so many rows only")
    parser.add_argument("--backends", nargs="+", choices=list(BACKENDS), default=list(BACKENDS))
    args = common.parse(parser)
    if args.quick:
        # Importing pynndescent takes longer than a smoke test may.
        args.backends = [name for name in args.backends if name != "pynndescent"]
    if args.grow:
        args.rows = max(args.grow)
    if args.moses:
        data = data_sets.load_moses(args.moses, 2000 if args.quick else args.rows or 100_000, args)
    else:
        data = data_sets.load(args.dataset, args, rows=args.rows)
    if args.grow:
        order = np.random.default_rng(0).permutation(len(data.X))
        lines = grown(data.name, lambda n: np.ascontiguousarray(data.X[np.sort(order[:n])]), args)
        lines += grown("tree of Gaussians", growth.rows_of, args)
        header = ("data", "neighbours", *(f"{n:,} rows, s" for n in args.grow), "recall", "exponent", "target")
        common.report("Growth of the search", header, lines, args)
        return
    threads, X = Threads(args.jobs), data.X
    k = min(problems.NEIGHBORS, len(X) - 1)
    rng = np.random.default_rng(4)
    mixed = rng.permutation(len(X))
    few = X[mixed[:2000]]
    old = np.ascontiguousarray(X[mixed[: min(REFERENCE, len(X) // 2)]])
    new = np.ascontiguousarray(X[mixed[len(old) :][:PLACED]])
    sample = np.sort(rng.permutation(len(X))[:2000])

    def build(name: str, rows: np.ndarray):
        return BACKENDS[name]().build(rows, rng=np.random.default_rng(0), threads=threads)

    for name in args.backends:
        # Imports and compilation.
        index = build(name, few)
        index.query_self(k)
        index.query(few[:100], K_PLACED)
    searches = {name: lambda name=name: build(name, X).query_self(k) for name in args.backends}
    runs = common.alternate(searches, args.repeats)
    true = nearest_others(X, sample, k, threads)
    header = ("data", "backend", "s", "recall@10", "recall@15", f"recall@{k}", "target")
    rows = []
    for name, run in runs.items():
        found = run.result[0][sample]
        shares = [recall(found, true, depth) for depth in (10, 15, k)]
        goal = common.judged(shares[1], RECALL) if name == "ivf" else ""
        rows.append((data.name, name, run.median, *(f"{share:.4f}" for share in shares), goal))
    common.report(f"The {k} nearest others of {len(X):,} rows, {X.shape[1]} columns", header, rows, args)

    indices = {name: build(name, old) for name in args.backends}
    queries = {name: lambda index=index: index.query(new, K_PLACED) for name, index in indices.items()}
    runs = common.alternate(queries, args.repeats)
    true = Exact().build(old, rng=rng, threads=threads).query(new, K_PLACED)[0]
    rows = []
    for name, run in runs.items():
        share = recall(run.result[0], true, K_PLACED)
        goal = common.judged(share, RECALL) if name == "ivf" else ""
        rows.append((data.name, name, run.median, round(len(new) / run.median), f"{share:.4f}", goal))
    title = f"The {K_PLACED} nearest of {len(old):,} rows to {len(new):,} new ones"
    common.report(title, ("data", "backend", "s", "rows/s", f"recall@{K_PLACED}", "target"), rows, args)


if __name__ == "__main__":
    main()
