"""Reading: rows a second from each kind of file, and a uniform sample from one that is larger.

A table of 50 columns of float32 is written in one format after the other, read from top to bottom by
``tsne_ooc.io.iterate`` (blocks of checked float32, nothing done with them), and removed. HDF5 is written in chunks of
several widths: those of 2 columns are what h5py chooses for such tables when it is not told. Then 25,000 rows are drawn
with ``tsne_ooc.sampling.uniform`` from an HDF5 file. Files that were just written are in the disk cache where memory
allows: what is measured is the work of reading, not the disk.
"""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import common
import numpy as np

COLUMNS = 50
PIECE = 50_000
SLOWEST = 2.0


def rows(n: int) -> Iterator[tuple[int, np.ndarray]]:
    """The table in pieces: standard normal numbers, which do not compress."""
    for start in range(0, n, PIECE):
        piece = np.random.default_rng(start).standard_normal((min(PIECE, n - start), COLUMNS), np.float32)
        yield start, piece


def hdf5(chunks: tuple[int, int] | None = None, **options: Any) -> Callable[[Path, int], Path]:
    def write(folder: Path, n: int) -> Path:
        import h5py

        # Written through a cache of whole rows of chunks, or the narrow ones would be unpacked again and again.
        with h5py.File(folder / "X.h5", "w", rdcc_nbytes=64 << 20) as file:
            X = file.create_dataset("X", (n, COLUMNS), "f4", chunks=chunks, **options)
            for start, piece in rows(n):
                X[start : start + len(piece)] = piece
        return folder / "X.h5"

    return write


def npy(folder: Path, n: int) -> Path:
    X = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float32, (n, COLUMNS))
    for start, piece in rows(n):
        X[start : start + len(piece)] = piece
    X.flush()
    return folder / "X.npy"


def zarr(folder: Path, n: int) -> Path:
    import zarr

    X = zarr.create_array(folder / "X.zarr", shape=(n, COLUMNS), dtype="f4", chunks=(5000, COLUMNS))
    for start, piece in rows(n):
        X[start : start + len(piece)] = piece
    return folder / "X.zarr"


def parquet(folder: Path, n: int) -> Path:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    names = [f"c{j}" for j in range(COLUMNS)]
    with ParquetWriter(folder / "X.parquet", pa.schema([(name, pa.float32()) for name in names])) as writer:
        for _, piece in rows(n):
            writer.write_table(pa.table(list(piece.T.copy()), names=names))
    return folder / "X.parquet"


FORMATS: dict[str, Callable[[Path, int], Path]] = {
    "HDF5, contiguous": hdf5(),
    "HDF5, chunks (5000, 50)": hdf5((5000, 50)),
    "HDF5, chunks (5000, 25)": hdf5((5000, 25)),
    "HDF5, chunks (5000, 13)": hdf5((5000, 13)),
    "HDF5, chunks (5000, 7)": hdf5((5000, 7)),
    "HDF5, chunks (6250, 2)": hdf5((6250, 2)),
    "HDF5, chunks (5000, 50), gzip": hdf5((5000, 50), compression="gzip", compression_opts=1),
    "HDF5, chunks (6250, 2), gzip": hdf5((6250, 2), compression="gzip", compression_opts=1),
    "npy": npy,
    "Zarr, chunks (5000, 50)": zarr,
    "Parquet, row groups of 50,000": parquet,
}
GOOD = "HDF5, chunks (5000, 50)"


def read(path: Path) -> float:
    """Seconds to read all rows."""
    from tsne_ooc.io import iterate, open_source

    began = time.perf_counter()
    with open_source(path) as X:
        for _ in iterate(X):
            pass
    return time.perf_counter() - began


def all_formats(args: Any) -> None:
    n = max(PIECE, round(args.gb * 1e9 / (4 * COLUMNS)))
    seconds: dict[str, float] = {}
    told: dict[str, bool] = {}
    sizes: dict[str, float] = {}
    for name, write in FORMATS.items():
        folder = args.work / "reading"
        folder.mkdir()
        try:
            path = write(folder, n)
            sizes[name] = sum(part.stat().st_size for part in folder.rglob("*") if part.is_file()) / 1e9
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                seconds[name] = median(read(path) for _ in range(args.repeats))
            told[name] = bool(caught)
        finally:
            shutil.rmtree(folder)
    table = []
    for name, taken in seconds.items():
        goal = ""
        if name.startswith("HDF5, chunks"):
            good = seconds[GOOD + ", gzip" if "gzip" in name else GOOD]
            slow = taken / good > SLOWEST
            goal = (
                f"≤ {SLOWEST:g} times whole rows, or a warning: {'told' if told[name] else 'missed' if slow else 'met'}"
            )
        table.append((name, sizes[name], taken, round(n / taken), goal))
    common.report(f"Reading {n:,} rows", ("file", "GB", "s", "rows/s", "target"), table, args)


def sample(args: Any) -> None:
    from tsne_ooc.io import open_source
    from tsne_ooc.sampling import uniform

    n = max(PIECE, round(args.sample_gb * 1e9 / (4 * COLUMNS)))
    table = []
    for name in ("HDF5, contiguous", GOOD):
        folder = args.work / "sample"
        folder.mkdir()
        try:
            path = FORMATS[name](folder, n)
            seconds = []
            for repeat in range(args.repeats):
                began = time.perf_counter()
                with open_source(path) as X:
                    uniform(X, args.sample, np.random.default_rng(repeat))
                seconds.append(time.perf_counter() - began)
        finally:
            shutil.rmtree(folder)
        table.append((name, n * COLUMNS * 4 / 1e9, n, median(seconds)))
    common.report(f"Drawing {args.sample:,} uniform rows", ("file", "GB", "rows", "s"), table, args)


def main() -> None:
    parser = common.options(__doc__, data=False)
    parser.add_argument("--gb", type=float, default=1.0, help="size of the table to read (default 1)")
    parser.add_argument("--sample-gb", type=float, default=2.0, help="size of the table to draw from (default 2)")
    parser.add_argument("--sample", type=int, default=25_000, help="rows drawn (default 25,000)")
    args = common.parse(parser)
    if args.quick:
        args.gb = args.sample_gb = 0.02
    all_formats(args)
    sample(args)


if __name__ == "__main__":
    main()
