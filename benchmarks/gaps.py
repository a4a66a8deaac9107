"""Distances over what both rows have: how fast they are searched, and what maps of rows with gaps are worth.

    python benchmarks/gaps.py [--rows 20000] [--jobs 1]

Speed: clusters of normal rows of 16, 50 and 200 columns, a fifth of the cells taken away, k = 90 of each row among all;
exact search and inverted file, euclidean (of the rows before anything was taken away) and nan_euclidean, and the recall
of the latter. scikit-learn's `nan_euclidean_distances` takes the same rows, 256 of them. Processor seconds.

Quality: the 1,797 digits with 20, 40 and 60 % of the cells taken away at random; label accuracy (10 neighbours on the
map) of maps by nan_euclidean, and by euclidean after each way of filling in; five draws. Two minutes in all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from common import options, parse
from sklearn.datasets import load_digits
from sklearn.metrics.pairwise import nan_euclidean_distances

from tsne_ooc import TSNE
from tsne_ooc._parallel import Threads
from tsne_ooc.metrics import label_accuracy
from tsne_ooc.neighbors import IVF, Exact
from tsne_ooc.preprocess import Missing, Preparation

K = 90


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    before = time.process_time()
    result = call()
    return time.process_time() - before, result


def clusters(rows: int, columns: int, rng: np.random.Generator) -> Any:
    centres = 3 * rng.normal(size=(30, columns))
    return (centres[rng.integers(0, 30, rows)] + rng.normal(size=(rows, columns))).astype(np.float32)


def speed(rows: int, jobs: int) -> None:
    print("| columns | search | euclidean, s | nan_euclidean, s | times | recall |\n|---|---|---|---|---|---|")
    for columns in (16, 50, 200):
        rng = np.random.default_rng(0)
        X = clusters(rows, columns, rng)
        lacking = np.where(rng.random(X.shape) < 0.2, np.float32(np.nan), X)
        true = None
        for name, search in (("exact", Exact()), ("inverted file", IVF())):
            taken, answer = [], None
            for metric, table in (("euclidean", X), ("nan_euclidean", lacking)):

                def asked(table: Any = table, metric: str = metric, search: Any = search) -> Any:
                    index = search.build(table, metric=metric, rng=np.random.default_rng(0), threads=Threads(jobs))
                    return index.query_self(K)

                took, answer = seconds(asked)
                taken.append(took)
            assert answer is not None
            true = answer[1][:, -1] if true is None else true
            recall = (answer[1] <= true[:, None] * (1 + 1e-6)).mean()
            print(
                f"| {columns} | {name} | {taken[0]:.1f} | {taken[1]:.1f} | {taken[1] / taken[0]:.1f} | {recall:.3f} |"
            )
        took, _ = seconds(lambda lacking=lacking: nan_euclidean_distances(lacking[:256], lacking))
        print(f"| {columns} | scikit-learn, distances alone | | {took * rows / 256:.1f} | | |", flush=True)


def quality(draws: int, jobs: int) -> None:
    digits = load_digits()
    ways = ("nan_euclidean", "median", "mean", "neighbors")
    print(f"\n| taken away | {' | '.join(ways)} |\n|---|{'---|' * len(ways)}")
    for share in (0.0, 0.2, 0.4, 0.6):
        found: dict[str, list[float]] = {way: [] for way in ways}
        for draw in range(draws):
            rng = np.random.default_rng(draw)
            X = digits.data.astype(np.float32)
            X[rng.random(X.shape) < share] = np.nan
            for way in ways:
                if way == "nan_euclidean":
                    model = TSNE(metric=way, random_state=draw, n_jobs=jobs)
                else:
                    model = TSNE(prepare=Preparation([Missing(way)]), random_state=draw, n_jobs=jobs)
                found[way].append(label_accuracy(model.fit(X).embedding_, digits.target))
        cells = (f"{np.mean(scores):.3f} +- {np.std(scores):.3f}" for scores in found.values())
        print(f"| {share:.0%} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = options(__doc__, data=False, repeats=False)
    parser.add_argument("--rows", type=int, default=20_000)
    args = parse(parser)
    # Kernels are compiled before anything is timed.
    small = clusters(300, 5, np.random.default_rng(0))
    for metric in ("euclidean", "nan_euclidean"):
        for search in (Exact(), IVF(lists=5)):
            search.build(small, metric=metric, rng=np.random.default_rng(0), threads=Threads(1)).query_self(K)
    speed(2000 if args.quick else args.rows, args.jobs)
    quality(1 if args.quick else 5, args.jobs)


if __name__ == "__main__":
    main()
