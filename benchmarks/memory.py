"""Peak memory of streaming rows from a file: does it grow with the file?

HDF5 files of growing length (50 columns of float32, blobs of Gaussians). In a process of its own for each length,
``TSNE`` is fitted on a sample of 25,000 rows, and then ``transform`` streams the whole file. The peak is counted above
what the process holds once the model is fitted, and again without the result itself, which grows by 8 bytes a row.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import common
import numpy as np

COLUMNS = 50
# Three blocks of 32 MiB, the neighbours of the rows in work, and what the allocator keeps.
MOST_MIB = 300.0
CHUNK = 2048


def write(path: Path, n: int) -> None:
    """A file of `n` rows, block by block; a shorter file is the head of a longer one."""
    import h5py

    centres = np.random.default_rng(0).normal(0, 3, (100, COLUMNS)).astype(np.float32)
    with h5py.File(path, "w") as f:
        X = f.create_dataset("X", (n, COLUMNS), "f4", chunks=(min(CHUNK, n), COLUMNS))
        for first in range(0, n, 65_536):
            rng = np.random.default_rng(first + 1)
            rows = centres[rng.integers(100, size=65_536)] + rng.standard_normal((65_536, COLUMNS), np.float32)
            X[first : first + 65_536] = rows[: n - first]


def child(args) -> None:
    """Fit and stream in this process; print the peak as JSON."""
    import h5py

    from tsne_ooc import TSNE
    from tsne_ooc.sampling import uniform

    with h5py.File(args.child) as f:
        X = f["X"]
        sample = uniform(X, args.sample, np.random.default_rng(0))[1]
        model = TSNE(random_state=0, n_jobs=args.jobs).fit(sample)
        # Kernels and the frozen field belong to the model, not to the length of the file.
        model.transform(sample[:500] + np.float32(0.01))
        held, began = common.start_peak(), time.perf_counter()
        Y = model.transform(X)
        seconds = time.perf_counter() - began
    print(json.dumps({"held": held, "peak": common.peak_bytes(), "result": Y.nbytes, "seconds": seconds}))


def main() -> None:
    parser = common.options(__doc__, data=False, repeats=False)
    parser.add_argument("--sizes", nargs="+", type=int, default=[100_000, 400_000, 1_600_000, 6_400_000])
    parser.add_argument("--sample", type=int, default=25_000, help="rows of the fit (default 25,000)")
    parser.add_argument("--child", help="for the script itself: fit and stream this file")
    args = common.parse(parser)
    if args.child:
        child(args)
        return
    if args.quick:
        args.sizes, args.sample = [5000, 40_000], 1500
    rows = []
    for n in sorted(args.sizes):
        file = args.work / "stream.h5"
        write(file, n)
        answer = common.in_child(__file__, "--child", file, "--sample", args.sample, "--jobs", args.jobs)
        mib = {key: answer[key] / 2**20 for key in ("held", "peak", "result")}
        above = mib["peak"] - mib["held"]
        net = above - mib["result"]
        size, rate = file.stat().st_size / 2**20, round(n / answer["seconds"])
        goal = common.judged(net, MOST_MIB, least=False, unit=" MiB")
        rows.append((n, size, rate, mib["held"], above, net, goal))
        file.unlink()
    header = ("rows", "file MiB", "rows/s", "model MiB", "peak above it", "without the result", "target")
    common.report(f"Peak memory of streaming, fit of {args.sample:,} rows", header, rows, args)


if __name__ == "__main__":
    main()
