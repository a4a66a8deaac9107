"""Neighbour search: seconds and recall of each backend.

Two searches: the 90 nearest others of all rows, as a fit asks for them (build included), and the 15 nearest of new
rows among 25,000, as placing does (build apart). Recall is against the exact search, at a sample of the rows.
"""

from __future__ import annotations

from collections.abc import Callable

import common
import data_sets
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


def main() -> None:
    parser = common.options(__doc__)
    parser.add_argument("--dataset", choices=list(data_sets.SOURCES), default="mnist")
    parser.add_argument("--moses", help=f"moses_lingo256.h5 ({data_sets.MOSES_PUBLIC}): searched instead of --dataset")
    parser.add_argument("--rows", type=int, help="search so many rows only")
    parser.add_argument("--backends", nargs="+", choices=list(BACKENDS), default=list(BACKENDS))
    args = common.parse(parser)
    if args.quick:
        # Importing pynndescent takes longer than a smoke test may.
        args.backends = [name for name in args.backends if name != "pynndescent"]
    if args.moses:
        data = data_sets.load_moses(args.moses, 2000 if args.quick else args.rows or 100_000, args)
    else:
        data = data_sets.load(args.dataset, args, rows=args.rows)
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
