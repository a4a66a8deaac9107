"""An encoder that learns from a file larger than its memory: MOSES, 1.9 million rows of 256 columns, in batches.

A sample of 25,000 rows is mapped, all others are placed beside it, and the encoder learns all places from the file;
next to it the same network, for as many batches, that learns from the rows of the sample alone. 10,000 rows are taken
out first: neither the map nor an encoder has seen them. Both learn by distillation, and no rows are moved; with
--augmentation those of the sample are, so that its encoder learns from more than them.

r10 is asked of these rows: of the 10 reference rows that are nearest on the map, how many are as near as the 10
nearest in all 256 columns. (Counts have many ties: any row that is no farther than the tenth will do.) The reference is
200,000 rows drawn from the others, all of them with --reference 0. Peak memory is all that the process holds which
fits, places and trains, interpreter and libraries included.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import common
import data_sets
import numpy as np

BETTER = 1.5
MOST_GB = 1.5
# Neighbours that are asked for.
K = 10


def prepare(args) -> tuple[Path, np.ndarray]:
    """A file without the held-out rows, stored as MOSES is, and these rows; both kept in the work folder."""
    import h5py

    name = f"streamed-{'moses' if args.moses else 'mnist'}-{args.rows or 'all'}-{args.held_out}"
    file, rows = args.work / f"{name}.h5", args.work / f"{name}.npy"
    if not (file.exists() and rows.exists()):
        if args.moses:
            with h5py.File(args.moses) as f:
                _split(f["X"], file, rows, args)
        else:
            with np.load(args.data / data_sets.SOURCES["mnist"].file) as z:
                _split(z["X"], file, rows, args)
    return file, np.load(rows)


def _split(X, file: Path, rows: Path, args) -> None:
    import h5py

    n = min(args.rows or len(X), len(X))
    held = np.zeros(n, np.bool_)
    held[np.random.default_rng(5).permutation(n)[: args.held_out]] = True
    kept, at = [], 0
    half = file.with_suffix(".half")
    with h5py.File(half, "w") as f:
        shape = (n - args.held_out, X.shape[1])
        out = f.create_dataset("X", shape, X.dtype, chunks=(min(2048, shape[0]), shape[1]), compression="lzf")
        for first in range(0, n, 65_536):
            block, mask = X[first : min(n, first + 65_536)], held[first : first + 65_536]
            out[at : at + len(block) - mask.sum()] = block[~mask]
            at += len(block) - mask.sum()
            kept.append(block[mask])
    np.save(rows, np.concatenate(kept))
    # Last, so that a run that is broken off leaves no file that the next one trusts.
    half.rename(file)


# ------------------------------------------------------------------------------------- in processes of their own


def learn(X, teacher, args):
    """An encoder after `args.batches` batches, the seconds before its first one, and those from there on."""
    from tsne_ooc.parametric import ParametricTSNE

    times = [time.perf_counter()]
    model = ParametricTSNE(
        teacher, objective="distillation", network=(args.width, args.depth), n_iter=args.batches, shuffle=args.shuffle,
        landmarks=args.landmarks, augmentation=args.augmentation, n_jobs=args.jobs, random_state=0,
        callbacks_every_iters=1, callbacks=lambda *_: times.append(time.perf_counter()),
    ).fit(X)  # fmt: skip
    return model, times[1] - times[0], times[-1] - times[1]


def child(args) -> None:
    """Fit, place and learn from the file, or learn from the sample; save the encoder and print seconds and peak."""
    import h5py
    import torch

    from tsne_ooc import TSNE
    from tsne_ooc.parametric import ParametricTSNE, load
    from tsne_ooc.sampling import take

    torch.set_num_threads(args.jobs)
    held, answer = common.start_peak(), {}
    with h5py.File(args.file) as f:
        X = f["X"]
        if args.child == "file":
            # Compiled kernels belong to no table.
            few = TSNE(sample=500, n_iter=5, random_state=0, n_jobs=args.jobs)
            ParametricTSNE(few, objective="distillation", n_iter=5, n_jobs=args.jobs, random_state=0).fit(X[:1000])
            began = time.perf_counter()
            teacher = TSNE(sample=args.sample, n_jobs=args.jobs, random_state=0).fit(X)
            answer["fit"] = time.perf_counter() - began
            np.save(args.work / "sample.npy", teacher.sample_rows_)
        else:
            teacher, X = load(args.work / "encoder-file").teacher_, take(X, np.load(args.work / "sample.npy"))
        model, answer["placing"], answer["training"] = learn(X, teacher, args)
    # The first batch is over when the clock of the training starts.
    learnt = int(model.history_["batches"]["rows"][1:].sum())
    answer |= {"held": held, "peak": common.peak_bytes(), "batches": model.n_iter_, "rows": len(X), "learnt": learnt}
    model.save(args.work / f"encoder-{args.child}", overwrite=True)
    print(json.dumps(answer))


# ------------------------------------------------------------------------------------------------ in this process


class Judge:
    """Held-out rows, the reference, and how near the tenth nearest of it is to each."""

    def __init__(self, file: Path, held: np.ndarray, args) -> None:
        import h5py

        from tsne_ooc._parallel import Threads
        from tsne_ooc.neighbors import Exact
        from tsne_ooc.sampling import take

        with h5py.File(file) as f:
            n = len(f["X"])
            drawn = np.random.default_rng(6).permutation(n)[: args.reference or n]
            self.reference = take(f["X"], np.sort(drawn))
        self.held = held.astype(np.float32)
        index = Exact().build(self.reference, rng=np.random.default_rng(0), threads=Threads(args.jobs))
        self.farthest = self._squares(index.query(self.held, K)[0]).max(axis=1)

    def _squares(self, near: np.ndarray) -> np.ndarray:
        parts = [
            np.square(self.held[a : a + 1000, None] - self.reference[near[a : a + 1000]]).sum(axis=2)
            for a in range(0, len(near), 1000)
        ]
        return np.concatenate(parts)

    def recall(self, transform) -> tuple[float, float]:
        """r10 on the map of `transform`, and how many rows a second it puts there."""
        from scipy.spatial import cKDTree

        began = time.perf_counter()
        Y = transform(self.reference)
        rate = len(Y) / (time.perf_counter() - began)
        near = cKDTree(Y).query(transform(self.held), k=K, workers=-1)[1]
        return float((self._squares(near) <= self.farthest[:, None]).mean()), rate


def main() -> None:
    parser = common.options(__doc__, repeats=False)
    parser.add_argument("--moses", help=f"moses_lingo256.h5 ({data_sets.MOSES_PUBLIC}); without it MNIST is used")
    parser.add_argument("--rows", type=int, help="the first so many rows of the file only")
    parser.add_argument("--sample", type=int, default=25_000, help="rows that are mapped (default 25,000)")
    parser.add_argument("--held-out", type=int, default=10_000, help="rows that nobody has seen (default 10,000)")
    parser.add_argument("--reference", type=int, default=200_000, help="rows to be near to (default 200,000; 0: all)")
    parser.add_argument("--batches", type=int, default=4000, help="of 2,048 rows, for both encoders (default 4,000)")
    common.add_landmarks(parser)
    parser.add_argument("--augmentation", type=float, default=0.0, help="of the sample's rows (default 0)")
    parser.add_argument("--shuffle", default="buffer", help="of the file, see tsne_ooc.batches (default buffer)")
    parser.add_argument("--width", type=int, default=256, help="units of a hidden layer (default 256)")
    parser.add_argument("--depth", type=int, default=4, help="hidden layers (default 4)")
    parser.add_argument("--child", choices=("file", "sample"), help="for the script itself: learn from this")
    parser.add_argument("--file", type=Path, help="for the script itself")
    args = common.parse(parser)
    if args.child:
        child(args)
        return
    if args.quick:
        args.rows, args.sample, args.held_out, args.reference = 4000, 500, 300, 1000
        args.batches, args.width, args.depth = 40, 16, 1
    file, held = prepare(args)
    names = ("work", "sample", "batches", "shuffle", "width", "depth", "landmarks", "augmentation", "jobs")
    told = [text for name in names for text in (f"--{name}", getattr(args, name))]
    learnt = {part: common.in_child(__file__, "--child", part, "--file", file, *told) for part in ("file", "sample")}

    from tsne_ooc.parametric import load

    judge = Judge(file, held, args)
    models = {part: load(args.work / f"encoder-{part}") for part in learnt}
    for model in models.values():
        model.n_jobs = model.teacher_.n_jobs = args.jobs
    teacher = models["file"].teacher_
    found = {"teacher": judge.recall(teacher.transform)}
    found |= {part: judge.recall(model.transform) for part, model in models.items()}

    whole, cost = learnt["file"]["rows"], learnt["file"]
    ratio = found["file"][0] / found["sample"][0]
    rows: list[tuple] = [
        (f"the teacher: {args.sample:,} rows mapped, new ones placed", "", "", "", f"{found['teacher'][0]:.4f}", "", "")
    ]
    for part, title in (("file", "encoder, all rows of the file"), ("sample", "encoder, the sample alone")):
        own = learnt[part]
        last = (f"{ratio:.2f}", common.judged(ratio, BETTER)) if part == "file" else ("", "")
        rows.append((title, own["rows"], own["batches"], _rate(own), f"{found[part][0]:.4f}", *last))
    header = ("map", "rows", "batches", "rows/s of training", "r10 of new rows", "to the sample's", "target")
    size = f"{args.width} x {args.depth}, landmarks: {args.landmarks}"
    title = f"Encoders of {size}: {len(held):,} new rows among {len(judge.reference):,}"
    common.report(title, header, rows, args)

    peak = cost["peak"] / 1e9
    goal = common.judged(peak, MOST_GB, least=False, unit=" GB")
    header = (
        "rows",
        "fit s",
        "placing s",
        "rows/s",
        "training s",
        "rows/s",
        "rows/s of transform",
        "peak GB",
        "target",
    )
    placing = (cost["placing"], round(whole / cost["placing"]))
    last = (round(found["file"][1]), f"{peak:.2f}", goal)
    costs = (whole, cost["fit"], *placing, cost["training"], _rate(cost), *last)
    common.report("What learning from the file costs", header, [costs], args)


def _rate(own: dict) -> int:
    """Rows a second of a training."""
    return round(own["learnt"] / own["training"])


if __name__ == "__main__":
    main()
