"""Zarr 3 in shards of 1 GB, as anndata 0.13 writes it: rows a second, a sample, and peak memory.

AnnData puts a dense table of 50 columns (its `obsm`), or a sparse one of 2,000 columns and 150 entries a row (its `X`),
into shards of 1 GB, by the option that is the default from 0.13 on. A process of its own reads all rows, and then draws
25,000 of them. For comparison the dense table is written in chunks of whole rows, too.
"""

from __future__ import annotations

import json
import shutil
import time
import warnings
from pathlib import Path
from typing import Any

import common
import numpy as np

DENSE, SPARSE, ENTRIES, PIECE = 50, 2000, 150, 100_000
MEMORY = 400.0


def dense(folder: Path, n: int, shards: bool) -> str:
    """Write standard normal numbers; what the storage is like."""
    import zarr

    X = np.empty((n, DENSE), np.float32)
    for at in range(0, n, PIECE):
        X[at : at + PIECE] = np.random.default_rng(at).standard_normal(X[at : at + PIECE].shape, np.float32)
    group = zarr.open_group(folder / "X.zarr", mode="w", zarr_format=3)
    if shards:
        element(group, X)
    else:
        group.create_array("X", data=X, chunks=(5000, DENSE))
    return f"chunks {group['X'].chunks}" + (f", shards {group['X'].shards}" if shards else "")


def sparse(folder: Path, n: int, _: bool) -> str:
    """Write counts, whose columns are in order; what the storage is like."""
    import scipy.sparse as sp
    import zarr

    rng = np.random.default_rng(0)
    indices = np.empty(n * ENTRIES, np.int32)
    for at in range(0, n, PIECE):
        m = min(PIECE, n - at)
        steps = np.arange(ENTRIES, dtype=np.int32) * (SPARSE // ENTRIES)
        found = steps + rng.integers(0, SPARSE // ENTRIES, (m, ENTRIES), np.int32)
        indices[at * ENTRIES : (at + m) * ENTRIES] = found.ravel()
    data = rng.integers(1, 9, n * ENTRIES, np.int8).astype(np.float32)
    X = sp.csr_matrix((data, indices, np.arange(n + 1, dtype=np.int64) * ENTRIES), shape=(n, SPARSE))
    group = zarr.open_group(folder / "X.zarr", mode="w", zarr_format=3)
    element(group, X)
    return f"chunks {group['X/data'].chunks}, shards {group['X/data'].shards}"


def element(group: Any, X: Any) -> None:
    import anndata

    with warnings.catch_warnings(), anndata.settings.override(zarr_write_format=3, auto_shard_zarr_v3=True):
        # Zarr says that the choice of shards may change.
        warnings.simplefilter("ignore")
        anndata.io.write_elem(group, "X", X)


def child(path: str, sample: int) -> None:
    """Read all rows and draw a sample in this process; print seconds and peaks as JSON."""
    from tsne_ooc.io import iterate, open_source
    from tsne_ooc.sampling import uniform

    with open_source(path, dataset="X") as X:
        before, began = common.start_peak(), time.perf_counter()
        for _ in iterate(X):
            pass
        read, peak = time.perf_counter() - began, common.peak_bytes() - before
        began = time.perf_counter()
        uniform(X, sample, np.random.default_rng(0))
        print(json.dumps({"read": read, "peak": peak, "sample": time.perf_counter() - began}))


def main() -> None:
    parser = common.options(__doc__, data=False, repeats=False)
    parser.add_argument("--rows", type=int, default=12_000_000, help="of 50 columns; a sixth of them is sparse")
    parser.add_argument("--sample", type=int, default=25_000, help="rows drawn (default 25,000)")
    parser.add_argument("--child", help="for the script itself: read this store")
    args = common.parse(parser)
    if args.child:
        child(args.child, args.sample)
        return
    n = 60_000 if args.quick else args.rows
    table = []
    for name, write, rows, shards in (
        ("dense, whole rows", dense, n, False), ("dense, as anndata writes it", dense, n, True),
        ("sparse, as anndata writes it", sparse, n // 6, True),
    ):  # fmt: skip
        folder = args.work / "shards"
        folder.mkdir()
        try:
            stored = write(folder, rows, shards)
            size = sum(part.stat().st_size for part in folder.rglob("*") if part.is_file()) / 1e9
            took = common.in_child(__file__, "--child", folder / "X.zarr", "--sample", args.sample)
        finally:
            shutil.rmtree(folder)
        peak = took["peak"] / 1e6
        table.append((name, stored, size, rows, round(rows / took["read"]), round(peak),
                      common.judged(peak, MEMORY, least=False), took["sample"]))  # fmt: skip
    header = ("table", "stored in", "GB", "rows", "rows/s", "peak MB", "target", f"{args.sample:,} rows, s")
    common.report("Zarr in shards of 1 GB", header, table, args)


if __name__ == "__main__":
    main()
