"""Maps of three axes: scikit-learn's Barnes-Hut and ours at default settings, 300 to 5,000 rows.

Up to 1,797 rows they are digits, beyond MNIST's, 50 components. Seconds of the clock and of the processor, neighbours
included; processor seconds count all threads, and nothing else that the machine does (on a busy one use `--jobs 1`:
threads that wait for others spin). Both divergences are from the same affinities (perplexity 30, 90 exact neighbours),
summed over all pairs in float64. From 5,000 rows up each program runs once: scikit-learn's takes two minutes there. All
sizes take some five minutes on an idle core.
"""

from __future__ import annotations

import common
import data_sets
import numpy as np
import problems

from tsne_ooc import TSNE
from tsne_ooc._parallel import Threads

FASTER = 10.0
ONCE = 5000


def rows_of(n: int, args) -> tuple[str, np.ndarray]:
    """The name of a data set, and `n` of its rows."""
    from sklearn.datasets import load_digits

    digits = load_digits().data.astype(np.float32)
    if n <= len(digits):
        return "digits", digits[np.random.default_rng(0).permutation(len(digits))[:n]]
    return "mnist", data_sets.load("mnist", args).X[:n]


def divergence(P: np.ndarray, Y: np.ndarray) -> float:
    """KL(P || Q) of a map over all pairs, in float64; P is a dense matrix."""
    Y = np.asarray(Y, np.float64)
    q = np.empty_like(P)
    for first in range(0, len(Y), 500):
        square = ((Y[first : first + 500, None] - Y[None]) ** 2).sum(axis=-1)
        q[first : first + 500] = 1 / (1 + square)
    np.fill_diagonal(q, 0)
    q /= q.sum()
    held = P > 0
    return float((P[held] * np.log(P[held] / q[held])).sum())


def main() -> None:
    from sklearn.manifold import TSNE as Peer
    from sklearn.neighbors import NearestNeighbors
    from threadpoolctl import threadpool_limits

    parser = common.options(__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=[300, 1000, 2000, 5000])
    args = common.parse(parser)
    if args.quick:
        args.sizes = [300]

    def peer(X: np.ndarray) -> np.ndarray:
        # Its threads are OpenMP's, which `n_jobs` does not hold.
        with threadpool_limits(args.jobs):
            return Peer(3, random_state=0, n_jobs=args.jobs).fit_transform(X)

    # Kernels are compiled, or read from their cache, before anything is timed.
    TSNE(n_components=3, n_iter=1, random_state=0, n_jobs=args.jobs).fit(rows_of(300, args)[1])
    table = []
    for n in args.sizes:
        name, X = rows_of(n, args)
        distances, indices = NearestNeighbors(n_neighbors=problems.NEIGHBORS, algorithm="brute").fit(X).kneighbors()
        P = problems.joint(
            indices.astype(np.uint32), distances.astype(np.float32), np.arange(n), Threads(args.jobs)
        ).tocsr().toarray()  # fmt: skip
        runs = common.alternate(
            {
                "scikit-learn": lambda X=X: peer(X),
                "tsne_ooc": lambda X=X: TSNE(3, random_state=0, n_jobs=args.jobs).fit_transform(X),
            },
            1 if n >= ONCE else args.repeats,
        )
        theirs, ours = runs["scikit-learn"], runs["tsne_ooc"]
        ratio = theirs.processor_median / ours.processor_median
        for program, found in runs.items():
            last = (theirs.median / ours.median, ratio, common.judged(ratio, FASTER)) if found is ours else ("", "", "")
            table.append(
                (name, n, program, found.median, found.processor_median, f"{divergence(P, found.result):.4f}", *last)
            )
    common.report(
        "Three axes, default settings",
        ("data", "rows", "program", "s", "processor s", "KL", "its time / ours", "its processor time / ours", "target"),
        table,
        args,
    )


if __name__ == "__main__":
    main()
