"""Encoders on MNIST, 50 components: each objective for so many seconds, from the same teacher.

The divergence on the full P and with the exact Z, the share of the 10 nearest rows that are among the 10 and the 50
nearest on the map, and how many rows have the label of most of their ten nearest. Again on 10,000 rows that neither the
teacher nor the encoder has seen, among all the others (with --held-out).
"""

from __future__ import annotations

import time

import common
import data_sets
import numpy as np
import problems
import torch

from tsne_ooc import TSNE
from tsne_ooc._parallel import Threads
from tsne_ooc.metrics import label_accuracy
from tsne_ooc.neighbors import Exact
from tsne_ooc.parametric import ParametricTSNE

OBJECTIVES = {
    "distillation": "distillation",
    "distillation, then field": "auto",
    "field": "field",
    "batch_local": "batch_local",
    "negative_sampling": "negative_sampling",
    "infonc": "infonc",
}
# Batches whose time says how many there is time for.
TRIED = 60


def recalls(neighbors: np.ndarray, Y: np.ndarray, queries: np.ndarray | None = None) -> tuple[float, float]:
    """Share of the first 10 `neighbors` among the 10 and the 50 nearest rows of Y."""
    from scipy.spatial import cKDTree

    own = queries is None
    near = cKDTree(Y).query(Y if own else queries, k=51 if own else 50, workers=-1)[1]
    if own:
        near = near[:, 1:]
    wanted = neighbors[:, :10].astype(np.int64)
    hits = near[:, :, None] == wanted[:, None, :]
    return float(hits[:, :10].any(axis=1).mean()), float(hits.any(axis=1).mean())


def trained(objective: str, teacher: TSNE, X: np.ndarray, args) -> tuple[ParametricTSNE, float]:
    """An encoder that has been trained for `args.seconds`, and how long it was."""
    options = {"objective": OBJECTIVES[objective], "network": (args.width, args.depth), "random_state": 0}
    tried = ParametricTSNE(teacher, **options, n_iter=TRIED, n_jobs=args.jobs, validation=False).fit(X)
    seconds = tried.history_["batches"]["seconds"]
    # The halves of a training in two stages do not take the same time.
    each = np.median(seconds[5 : TRIED // 2]) / 2 + np.median(seconds[TRIED // 2 + 5 :]) / 2
    steps = max(20, round(args.seconds / each))
    common.note(f"{objective}: {1000 * each:.1f} ms a batch, {steps:,} batches")
    model = ParametricTSNE(teacher, **options, n_iter=steps, n_jobs=args.jobs).fit(X)
    return model, float(model.history_["batches"]["seconds"].sum())


def main() -> None:
    parser = common.options(__doc__, repeats=False)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each training (default 60)")
    parser.add_argument("--width", type=int, default=128, help="units of a hidden layer (default 128)")
    parser.add_argument("--depth", type=int, default=4, help="hidden layers (default 4)")
    parser.add_argument("--objectives", nargs="+", choices=sorted(OBJECTIVES), default=list(OBJECTIVES))
    parser.add_argument("--held-out", type=int, default=0, help="rows kept from teacher and encoder (default 0)")
    args = common.parse(parser)
    if args.quick:
        args.seconds, args.width, args.depth = 0.5, 16, 1
    torch.set_num_threads(args.jobs)
    data = data_sets.load("mnist", args)
    mixed = np.random.default_rng(3).permutation(len(data.X))
    kept, new = np.sort(mixed[args.held_out :]), np.sort(mixed[: args.held_out])
    if args.held_out:
        data, rest = data_sets.Data(f"mnist-{len(kept)}", data.X[kept], data.y[kept]), data
    problem = problems.problem(data, args, reorder=False)
    neighbors, _ = data_sets.exact_neighbors(data, problems.NEIGHBORS, args)
    began = time.perf_counter()
    teacher = TSNE(random_state=0, n_jobs=args.jobs).fit(data.X)
    maps = [("the teacher itself", teacher.embedding_, time.perf_counter() - began, None, None)]
    for objective in args.objectives:
        model, seconds = trained(objective, teacher, data.X, args)
        began = time.perf_counter()
        Y = model.transform(data.X)
        maps.append((objective, Y, seconds, len(Y) / (time.perf_counter() - began), model))
    rows = []
    for name, Y, seconds, rate, model in maps:
        r10, r50 = recalls(neighbors, Y)
        found = (problems.divergence(problem.P, Y, args), r10, r50, label_accuracy(Y, data.y, 10, sample=None))
        rows.append((name, seconds, *(f"{value:.3f}" for value in found), "" if rate is None else round(rate)))
        if args.held_out and model is not None:
            Q = model.transform(rest.X[new])
            index = Exact().build(data.X, rng=np.random.default_rng(0), threads=Threads(args.jobs))
            near = index.query(rest.X[new], 10)[0]
            own = label_accuracy(Y, data.y, 10, Q, rest.y[new], sample=None)
            r10, r50 = recalls(near, Y, Q)
            rows.append((f"{name}: {len(new):,} new rows", "", "", f"{r10:.3f}", f"{r50:.3f}", f"{own:.3f}", ""))
    header = ("map", "s", "KL (exact Z)", "r10", "r50", "label accuracy", "rows/s of transform")
    title = f"Encoders of {args.width} x {args.depth}, {args.seconds:g} s, MNIST, {len(data.X):,} rows"
    common.report(title, header, rows, args)


if __name__ == "__main__":
    main()
