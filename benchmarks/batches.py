"""Mini-batches: rows a second of each way of shuffling, against a plain sequential read and reads of single rows.

A table of 50 columns of float32 is written as HDF5: contiguous, in chunks of whole rows, and with gzip. One epoch of
each way of ``tsne_ooc.batches.Batches`` is read with nothing done to the batches; next to it ``tsne_ooc.io.iterate``
reads the table from top to bottom, and h5py reads single rows at random, as a data set with ``__getitem__`` does under
a data loader. Of "full" the last quarter of the epoch is read, and of single rows what a few seconds give. Files that
were just written are in the disk cache where memory allows: what is measured is the work of reading, not the disk.
"""

from __future__ import annotations

import math
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import common
import h5py
import numpy as np
from reading import COLUMNS, PIECE, hdf5

from tsne_ooc.batches import Batches
from tsne_ooc.io import iterate, open_source

FORMATS = {
    "contiguous": hdf5(),
    "chunks (5000, 50)": hdf5((5000, COLUMNS)),
    "chunks (5000, 50), gzip": hdf5((5000, COLUMNS), compression="gzip", compression_opts=1),
}
SHUFFLES = ("full", "buffer", "batch", None)
LEAST = 0.5
SINGLE = "h5py, row by row"


def rates(rows: Callable[[], Iterator[int]], seconds: float) -> tuple[float, float]:
    """Rows of a loop for each second, and for each second of processor time (that of all threads)."""
    began, used = time.perf_counter(), time.process_time()
    read = 0
    for count in rows():
        read += count
        if time.perf_counter() - began > seconds:
            break
    return read / (time.perf_counter() - began), read / (time.process_time() - used)


def sequential(path: Path) -> Iterator[int]:
    with open_source(path) as X:
        for start, stop, _ in iterate(X):
            yield stop - start


def batches(path: Path, shuffle: str | None, args: Any) -> Iterator[int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Batches(path, batch_size=args.batch_size, shuffle=shuffle, prefetch=args.prefetch) as found:
            # Each group of rows of "full" costs the same, so the last quarter of the epoch tells.
            start = len(found) * 3 // 4 if shuffle == "full" else 0
            for rows, _ in found.epoch(0, start_batch=start):
                yield len(rows)


def single_rows(path: Path) -> Iterator[int]:
    with h5py.File(path) as file:
        X = file["X"]
        rng = np.random.default_rng(0)
        while True:
            X[rng.integers(len(X))]
            yield 1


def measure(args: Any) -> None:
    n = max(PIECE, round(args.gb * 1e9 / (4 * COLUMNS)))
    table = []
    for name in args.formats:
        write = FORMATS[name]
        folder = args.work / "batches"
        folder.mkdir()
        try:
            path = write(folder, n)
            loops: dict[str, Callable[[], Iterator[int]]] = {"sequential": lambda path=path: sequential(path)}
            for shuffle in SHUFFLES:
                loops[f"shuffle={shuffle!r}"] = lambda path=path, shuffle=shuffle: batches(path, shuffle, args)
            loops[SINGLE] = lambda path=path: single_rows(path)
            found: dict[str, list[tuple[float, float]]] = {loop: [] for loop in loops}
            for _ in range(args.repeats):
                for loop, rows in loops.items():
                    found[loop].append(rates(rows, args.seconds if loop == SINGLE else math.inf))
        finally:
            shutil.rmtree(folder)
        plain, plain_used = np.median(found["sequential"], axis=0)
        for loop, measured in found.items():
            reached, used = np.median(measured, axis=0)
            goal = common.judged(reached / plain, LEAST) if "'b" in loop else ""
            table.append((name, loop, round(reached), f"{reached / plain:.2g}", f"{used / plain_used:.2g}", goal))
    title = f"{n:,} rows, batches of {args.batch_size}"
    common.report(title, ("HDF5", "read", "rows/s", "of sequential", "by processor time", "target"), table, args)


def main() -> None:
    parser = common.options(__doc__, data=False)
    parser.add_argument("--gb", type=float, default=1.0, help="size of the table (default 1)")
    parser.add_argument("--batch-size", type=int, default=256, help="rows of a batch (default 256)")
    parser.add_argument("--prefetch", type=int, default=2, help="pieces read ahead (default 2)")
    parser.add_argument("--seconds", type=float, default=5.0, help="time to read single rows (default 5)")
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=list(FORMATS), help="(default: all)")
    args = common.parse(parser)
    if args.quick:
        args.gb, args.seconds = 0.02, 0.2
    measure(args)


if __name__ == "__main__":
    main()
