"""From how many rows on does field tuning pay? Encoders of small tables, with it and without.

The same batches of each: distillation alone; distillation for the first half, field tuning at 0.3 of the rate for the
second; and tuning for seven tenths, at a rate of 1e-2 instead of 6e-3. A tenth of the rows, at most 2,000, is kept
from teacher and encoder. Of these: the share of the 10 nearest rows that are among the 10 and the 50 nearest on the
map, the label accuracy, and the divergence of the map of all other rows.

Whatever tuning does, the encoder of a training is the best one of its last stage by held-out rows, the one that the
stage began with among them; "kept" says how many of the tuned batches are in it.
"""

from __future__ import annotations

from typing import Any

import common
import data_sets
import numpy as np
import torch
from parametric import recalls
from sklearn.datasets import load_digits

from tsne_ooc import TSNE
from tsne_ooc._parallel import Threads
from tsne_ooc.io import as_source
from tsne_ooc.metrics import label_accuracy
from tsne_ooc.neighbors import Exact
from tsne_ooc.parametric import ParametricTSNE
from tsne_ooc.parametric.objectives import Distillation, FieldTuning, Stage
from tsne_ooc.parametric.objectives.field import FieldLoss
from tsne_ooc.parametric.problem import Problem
from tsne_ooc.parametric.teaching import teach

SETS: tuple[tuple[str, int | None], ...] = (
    ("digits", None),
    ("pbmc3k", None),
    ("mnist", 5_000),
    ("mouse_brain", None),
    ("mnist", 10_000),
    ("mnist", 20_000),
    ("mnist", 40_000),
)
TRAININGS: dict[str, dict[str, Any]] = {
    "distillation": {"objective": "distillation"},
    "then field": {"objective": [Stage(Distillation(), 0.5), Stage(FieldTuning(), 0.5, 0.3)]},
    "longer, at larger steps": {
        "objective": [Stage(Distillation(), 0.3), Stage(FieldTuning(), 0.7)],
        "learning_rate": 1e-2,
    },
}


def load(name: str, rows: int | None, args: Any) -> data_sets.Data:
    """A data set, or so many rows of it."""
    if name == "digits":
        digits = load_digits()
        return data_sets.Data(name, digits.data.astype(np.float32), digits.target)
    return data_sets.load(name, args, rows)


def divergence(teacher: TSNE, X: np.ndarray, model: ParametricTSNE, args: Any) -> float:
    """Of the map of the rows of the fit, as field tuning judges it."""
    threads = Threads(args.jobs)
    taught = teach(teacher, as_source(X), fitted=True, graph=True, seed=0, threads=threads)
    problem = Problem(len(X), 1.0, 1.0, 1.0, taught.targets, taught.graph, 0, threads, torch.device("cpu"))
    loss = FieldLoss(FieldTuning(), problem)
    loss.begin(model.encoder_)
    return loss.divergence


def main() -> None:
    parser = common.options(__doc__, repeats=False)
    parser.add_argument("--batches", type=int, default=3000, help="of each training (default 3000)")
    common.add_landmarks(parser)
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each, whose medians are told (default 1)")
    args = common.parse(parser)
    if args.quick:
        args.batches = 20
    torch.set_num_threads(args.jobs)
    lines = []
    for table, count in SETS[:1] if args.quick else SETS:
        data = load(table, count, args)
        mixed = np.random.default_rng(3).permutation(len(data.X))
        cut = min(2000, len(mixed) // 10)
        kept, new = np.sort(mixed[cut:]), np.sort(mixed[:cut])
        X, Q = np.ascontiguousarray(data.X[kept]), np.ascontiguousarray(data.X[new])
        near = Exact().build(X, rng=np.random.default_rng(0), threads=Threads(args.jobs)).query(Q, 10)[0]
        teacher = TSNE(random_state=0, n_jobs=args.jobs).fit(X)
        for name, options in TRAININGS.items():
            found = []
            for seed in range(args.seeds):
                model = ParametricTSNE(
                    teacher, **options, landmarks=args.landmarks, n_iter=args.batches, random_state=seed,
                    n_jobs=args.jobs,
                ).fit(X)  # fmt: skip
                Y, placed = model.transform(X), model.transform(Q)
                looks, steps = model.history_["validation"], model.history_["batches"]
                first = steps["step"][steps["stage"] == steps["stage"].max()][0]
                tuned = looks["step"] >= first
                best = looks["step"][tuned][looks["kl_divergence"][tuned].argmin()] - first
                labels = np.nan if data.y is None else label_accuracy(Y, data.y[kept], 10, placed, data.y[new])
                kept_steps = best if first else np.nan
                found.append((*recalls(near, Y, placed), labels, divergence(teacher, X, model, args), kept_steps))
                common.note(f"{data.name}, {name}, seed {seed}: {found[-1]}")
            medians = np.median(found, axis=0)
            cells = [f"{value:.4f}" for value in medians[:4]]
            lines.append((data.name, len(X), name, *cells, "" if np.isnan(medians[4]) else f"{medians[4]:,.0f}"))
    header = ("data", "rows", "objective", "r10 of new rows", "r50", "labels", "KL of the others", "kept")
    common.report(f"Encoders of small tables, landmarks: {args.landmarks}", header, lines, args)


if __name__ == "__main__":
    main()
