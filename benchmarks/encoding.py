"""Rows through an encoder from file to file: rows a second, and where the time goes.

An HDF5 file of 50 columns of float32 (blobs of Gaussians; 5 million rows, 1 GB, by default) is written, an encoder made
whose training does not matter, and ``tsne_ooc.pipeline.place`` runs in a process of its own. Told are the rows a second
of the whole run and its processor seconds, by which a busy machine is told from a slow program; what the forward pass
alone delivers of rows in memory, what its matrix products alone, and what the reader alone.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import common
import numpy as np
from memory import COLUMNS, write
from streaming import read_alone

LEAST_RATE = 250_000
# Rows that the network alone is timed with.
ALONE = 1 << 18


def make_encoder(args, path: Path) -> None:
    """An encoder of the right size, trained for a moment."""
    import h5py

    from tsne_ooc import TSNE
    from tsne_ooc.parametric import ParametricTSNE

    with h5py.File(args.work / f"streaming_{args.rows}.h5") as f:
        rows = f["X"][:2000]
    teacher = TSNE(random_state=0, n_iter=10, early_exaggeration_iter=5, n_jobs=args.jobs)
    size = {"network": (args.width, args.depth), "landmarks": args.landmarks}
    model = ParametricTSNE(teacher, **size, objective="distillation", n_iter=4, random_state=0)
    model.fit(rows).save(path)


def child(args) -> None:
    """Place the rows in this process; print what was seen as JSON."""
    from tsne_ooc.parametric import load
    from tsne_ooc.pipeline import place

    encoder = args.work / "encoder"
    # Kernels are compiled or loaded once, whatever the length of the file.
    load(encoder).transform(np.zeros((2048, COLUMNS), np.float32))
    marks: list[tuple[int, float, float]] = []

    def progress(phase: str, done: int, total: int) -> None:
        marks.append((done, time.perf_counter(), time.process_time()))

    out = args.work / "encoded"
    shutil.rmtree(out, ignore_errors=True)
    place(encoder, args.child, out=out, n_jobs=args.jobs, progress=progress)
    shutil.rmtree(out)
    rows, seconds, processor = (last - first for first, last in zip(marks[0], marks[-1], strict=True))
    print(json.dumps({"rate": rows / seconds, "processor": processor / rows * 1e6, "peak": common.peak_bytes()}))


def alone(args) -> tuple[float, float]:
    """Rows a second of the forward pass, of rows in memory; and of its products, on as many threads."""
    import torch

    from tsne_ooc._parallel import Threads
    from tsne_ooc.parametric import load

    model = load(args.work / "encoder").set_params(n_jobs=args.jobs)
    X = np.random.default_rng(0).normal(size=(ALONE if not args.quick else 4096, COLUMNS)).astype(np.float32)
    model.transform(X[:4096])
    best = min(_seconds(lambda: model.transform(X)) for _ in range(3))
    torch.set_num_threads(1)
    shapes = [(64, args.width), *[(args.width, args.width)] * args.depth]
    if args.landmarks:
        shapes += [(64, args.landmarks), (args.landmarks, args.width)]
    products = [(torch.rand(1024, a), torch.rand(a, b), torch.rand(1024, b)) for a, b in shapes]

    def tile(start: int) -> None:
        with torch.inference_mode():
            for x, weight, out in products:
                torch.mm(x, weight, out=out)

    pieces = [(start,) for start in range(0, len(X), 1024)]
    bare = min(_seconds(lambda: Threads(args.jobs).map(tile, pieces)) for _ in range(3))
    return len(X) / best, len(X) / bare


def _seconds(function) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def main() -> None:
    parser = common.options(__doc__, data=False)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--width", type=int, default=256, help="units of a hidden layer (default 256)")
    parser.add_argument("--depth", type=int, default=4, help="hidden layers (default 4)")
    parser.add_argument("--landmarks", type=int, default=0, help="of the network (default 0)")
    parser.add_argument("--keep", action="store_true", help="leave the file where it was written")
    parser.add_argument("--child", help="for the script itself: place the rows of this file")
    args = common.parse(parser)
    if args.child:
        child(args)
        return
    if args.quick:
        args.rows, args.width, args.depth = 20_000, 32, 1
    path = args.work / f"streaming_{args.rows}.h5"
    if not path.exists():
        write(path.with_suffix(".part"), args.rows)
        path.with_suffix(".part").rename(path)
    shutil.rmtree(args.work / "encoder", ignore_errors=True)
    make_encoder(args, args.work / "encoder")
    words = ("--child", path, "--work", args.work, "--jobs", args.jobs)
    runs = [common.in_child(__file__, *words) for _ in range(args.repeats)]
    for run in runs:
        common.note(f"{run['rate']:,.0f} rows/s, {run['processor']:.1f} processor seconds a million rows")
    forward, products = alone(args)
    reader = read_alone(path)
    if not args.keep:
        path.unlink()
    rate = float(np.median([run["rate"] for run in runs]))
    best = max(run["rate"] for run in runs)
    rows = (
        ("file to file, rows/s (median)", round(rate), common.judged(rate, LEAST_RATE)),
        ("file to file, rows/s (best run)", round(best), ""),
        ("processor seconds a million rows", float(np.median([run["processor"] for run in runs])), ""),
        ("peak of the process, GB", max(run["peak"] for run in runs) / 1e9, ""),
        ("forward pass alone, rows/s", round(forward), ""),
        ("its products alone, rows/s", round(products), ""),
        ("reader alone, rows/s", round(reader), ""),
    )
    size = f"{args.width} x {args.depth}, {args.landmarks:,} landmarks"
    title = f"Encoder of {size}, file to file, {args.rows:,} x {COLUMNS}, {args.jobs} threads"
    common.report(title, ("", "reached", "target"), rows, args)


if __name__ == "__main__":
    main()
