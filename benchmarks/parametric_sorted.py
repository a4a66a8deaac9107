"""Encoders of files that are sorted: how near they end to their teacher, by the order of their batches.

Three tables in HDF5: KDD Cup 1999 as its file has it, nearly sorted by class; shuttle and MNIST sorted by class. Blocks
and buffers are made smaller, so that a table is as many of them as a file of 400 MiB is: "batch" reads a 50th of it at
a time, and a buffer mixes 64 blocks, each a 200th. The same network learns from the same teacher (of a sample), by
distillation: with all rows mixed ("full"); with "batch", which mixes blocks in a buffer where they differ; and with one
block after another, which is what "batch" warns of. Told are the distances of all rows to where the teacher has them,
in widths of its map, and how many of them are beyond its box and the margin that encoders have.

About 4 minutes on one core. With --full, KDD Cup 1999 in its full length: all 494,021 rows, numbers standardised and
categories one-hot, 118 columns, with the sizes, the network and the teacher that are the default, 1,000 batches, each
order in a process of its own; about half an hour on two busy cores.
"""

from __future__ import annotations

import json
import time
import warnings
from pathlib import Path
from typing import Any

import common
import data_sets
import h5py
import numpy as np
import torch

from tsne_ooc import TSNE
from tsne_ooc.batches import sizes
from tsne_ooc.parametric import ParametricTSNE, outset
from tsne_ooc.parametric.bounds import MARGIN

BLOCKS = 200
TOGETHER = 64
ORDERS = {"full": ("full", outset.UNEVEN), "batch": ("batch", outset.UNEVEN), "one block at a time": ("batch", 2.0)}


def tables(args: Any, rows: int) -> dict[str, np.ndarray]:
    """So many rows of each, in the order of a file that is sorted."""
    found = {}
    with np.load(args.data / data_sets.SOURCES["kddcup99"].file) as z:
        kept = np.sort(np.random.default_rng(0).permutation(len(z["X"]))[:rows])
        found["KDD Cup 1999"] = data_sets.standardised(z["X"][kept])
    for name in ("shuttle", "mnist"):
        data = data_sets.load(name, args, rows)
        found[name] = data.X[np.argsort(data.y, kind="stable")]
    return found


def away(model: Any, X: np.ndarray, wanted: np.ndarray, map_: np.ndarray) -> tuple[float, float, float, int]:
    """Mean distance, its 99th percentile, the largest, and the number of rows that are off the map."""
    Y = model.transform(X)
    found = np.linalg.norm(Y - wanted, axis=1) / map_.std(axis=0).max()
    margin = 2.001 * MARGIN * np.ptp(map_, axis=0).max()
    off = ((map_.min(axis=0) - margin > Y) | (map_.max(axis=0) + margin < Y)).any(axis=1)
    return float(found.mean()), float(np.quantile(found, 0.99)), float(found.max()), int(off.sum())


# ------------------------------------------------------------------------------------------------ the full length


def full_table(args: Any) -> Path:
    """All rows of KDD Cup 1999 in the order of their file, as HDF5 in the work folder."""
    path = Path(args.work) / "kddcup99-full.h5"
    if not path.exists():
        with np.load(args.data / data_sets.SOURCES["kddcup99"].file) as z:
            numbers = data_sets.standardised(z["X"])
            words = [np.eye(column.max() + 1, dtype=np.float32)[column] for column in z["cat"].T]
        half = path.with_suffix(".half")
        with h5py.File(half, "w") as f:
            f["data"] = np.concatenate([numbers, *words], axis=1)[:: 50 if args.quick else 1]
        half.rename(path)
    return path


def child(args: Any) -> None:
    """Fit with one order of the batches, as one would who knows no other options, and print what came of it."""
    shuffle, outset.UNEVEN = ORDERS[args.child]
    torch.set_num_threads(args.jobs)
    held = common.start_peak()
    with h5py.File(full_table(args)) as f, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        began = time.perf_counter()
        model = ParametricTSNE(shuffle=shuffle, n_iter=args.batches, random_state=args.seed, n_jobs=args.jobs)
        model.fit(f["data"])
        took, peak = time.perf_counter() - began, common.peak_bytes()
        wanted = model.teacher_.transform(f["data"])
        found = away(model, f["data"], wanted, model.teacher_.embedding_)
    mixed = any("rows are in an order" in str(warning.message) for warning in said)
    loss = model.history_["batches"]["loss"][-len(model.history_["batches"]["loss"]) // 5 :]
    what = f"{loss.min():.3g} to {loss.max():.3g}"
    print(json.dumps(["mixed, with a warning" if mixed else "", *found, what, took, peak / 1e9, held / 1e9]))


def at_full_length(args: Any) -> None:
    with h5py.File(full_table(args)) as f:
        rows = len(f["data"])
    lines = []
    told = ["--work", args.work, "--data", args.data, "--batches", args.batches, "--jobs", args.jobs]
    for seed in range(args.seeds):
        for order in ORDERS:
            found = common.in_child(__file__, "--child", order, "--seed", seed, *told)
            lines.append((order, seed, *found))
            common.note(f"{lines[-1]}")
    header = (
        "shuffle", "seed", "", "mean distance, widths", "99th percentile", "largest", "rows off the map",
        "loss, last fifth", "fit s", "peak GB", "held before",
    )  # fmt: skip
    common.report(f"KDD Cup 1999, {rows:,} rows in order, {args.batches} batches of 2,048", header, lines, args)


def main() -> None:
    parser = common.options(__doc__, repeats=False)
    parser.add_argument("--full", action="store_true", help="KDD Cup 1999 in its full length")
    parser.add_argument("--child", choices=tuple(ORDERS), help="for the script itself: learn in this order")
    parser.add_argument("--seeds", type=int, default=3, help="with --full: trainings of each order (default 3)")
    parser.add_argument("--seed", type=int, default=0, help="for the script itself: the seed of this training")
    parser.add_argument("--rows", type=int, default=20_000, help="of each table (default 20000)")
    parser.add_argument("--batches", type=int, help="of each training (default 400 of 512 rows, with --full 1000)")
    args = common.parse(parser)
    if args.quick:
        args.rows, args.batches = 2_000, 20
    args.batches = args.batches or (1000 if args.full else 400)
    if args.child:
        child(args)
        return
    if args.full:
        at_full_length(args)
        return
    torch.set_num_threads(args.jobs)
    lines = []
    for name, X in tables(args, args.rows).items():
        teacher = TSNE(sample=len(X) // 4, random_state=0, n_jobs=args.jobs).fit(X)
        wanted, block = teacher.transform(X), len(X) // BLOCKS
        row = 4 * X.shape[1]
        sizes._BLOCK_BYTES, sizes.BUFFER_BYTES = 4 * block * row, TOGETHER * block * row
        path = Path(args.work) / f"sorted-{name.split()[0]}.h5"
        with h5py.File(path, "w") as f:
            table = f.create_dataset("data", data=X, chunks=(block, X.shape[1]))
            for told, (shuffle, uneven) in ORDERS.items():
                outset.UNEVEN = uneven
                model = ParametricTSNE(
                    teacher, objective="distillation", network=(64, 3), landmarks=0, n_iter=args.batches,
                    batch_size=512, shuffle=shuffle, random_state=0, n_jobs=args.jobs,
                )  # fmt: skip
                with warnings.catch_warnings(record=True) as said:
                    warnings.simplefilter("always")
                    model.fit(table)
                mixed = any("rows are in an order" in str(warning.message) for warning in said)
                what = "mixed, with a warning" if mixed else ""
                lines.append((name, told, what, *away(model, X, wanted, model.embedding_)))
                common.note(f"{lines[-1]}")
        path.unlink()
    header = ("table", "shuffle", "", "mean distance, widths", "99th percentile", "largest", "rows off the map")
    common.report(f"{args.rows:,} rows in order, {args.batches} batches of 512", header, lines, args)


if __name__ == "__main__":
    main()
