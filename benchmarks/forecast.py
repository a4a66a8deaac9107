"""What `tsne-ooc embed --dry-run` foretells, against what the run then takes: seconds of each stage.

Tables of the shared data folder, written to files first: single cells (2,638 rows; 10,000 with counts of 1,000 genes),
shuttle (58,000), MNIST with 50 principal components (70,000), KDD Cup 1999 (494,021), with `--moses` molecules
(1,300,000), and clusters made here (`--rows`, by default ten million rows of 16 columns). On two idle cores all of it
takes a quarter of an hour.

Where the machine has other work to do, `--processor` compares seconds of the processor, of all threads together.

    python benchmarks/forecast.py --tables shuttle,mnist --sample 10000 --processor
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from pathlib import Path

import h5py
import numpy as np
from common import judged, options, parse, report

from tsne_ooc import TSNE, embed
from tsne_ooc.cli import forecast as module
from tsne_ooc.cli import trials
from tsne_ooc.io import open_source
from tsne_ooc.preprocess import PCA, Log1p, Normalize, Preparation, Standardize
from tsne_ooc.sampling import UniformSample

# How far an estimate may be from what a run takes.
APART = 1.5
PREPARE = {
    "mousebrain": Preparation([Normalize(10_000), Log1p(), PCA(50)]),
    "mnist": Preparation([PCA(50)]),
    "kddcup": Preparation([Standardize()]),
}


def rows_of(name: str, data: Path, moses: Path | None, rows: int) -> np.ndarray:
    if name == "moses":
        with h5py.File(moses) as file:
            return file["X"][:]
    rng = np.random.default_rng(0)
    if name == "clusters":
        centres = 6 * rng.normal(size=(300, 16)).astype(np.float32)
        return centres[rng.integers(0, 300, rows)] + rng.normal(size=(rows, 16)).astype(np.float32)
    file = {"pbmc3k": "pbmc3k_pca", "mousebrain": "tenx_mousebrain_10k_x_1000genes", "kddcup": "kddcup99_10pct"}.get(
        name, name
    )
    found = np.load(data / f"{file}.npz", allow_pickle=False)
    X = next(found[key] for key in found.files if found[key].ndim >= 2 and found[key].dtype.kind in "fiu")
    return X.reshape(len(X), -1)


def main() -> None:
    parser = options(__doc__, repeats=False)
    parser.add_argument("--tables", default="pbmc3k,mousebrain,shuttle,mnist,kddcup,clusters")
    parser.add_argument("--moses", type=Path, help="HDF5 of molecules, its dataset X: the table moses")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--sample", type=int, default=25_000)
    parser.add_argument(
        "--processor", action="store_true", help="seconds of the processor, not of the clock on the wall"
    )
    args = parse(parser)
    if args.moses:
        args.tables += ",moses"
    clock = time.process_time if args.processor else time.perf_counter
    trials.clock = clock
    lines: list[tuple] = []
    for name in args.tables.split(","):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"{name}.npy")
            np.save(path, rows_of(name, args.data, args.moses, 20_000 if args.quick else args.rows))
            model = TSNE(n_jobs=args.jobs, random_state=0)
            chosen = {"sample": UniformSample(args.sample), "prepare": PREPARE.get(name)}
            began = clock()
            with open_source(path) as table:
                told = module.forecast(table, Path(folder, "map"), model=model, rounds=1, seed=0, **chosen)
            probe = clock() - began
            taken: dict[str, float] = defaultdict(float)
            last = [clock(), "sample"]

            def stamp(phase: str, done: int, total: int, taken: dict[str, float] = taken, last: list = last) -> None:
                now = clock()
                taken[last[1]] += now - last[0]
                last[:] = now, phase

            embed(path, out=Path(folder, "map"), tsne=model, random_state=0, progress=stamp, **chosen)
            stamp("end", 0, 0)
            pairs = {stage: (seconds, taken[stage]) for stage, seconds in told.seconds.items()}
            pairs["in all"] = (sum(told.seconds.values()), sum(taken.values()))
            for stage, (foretold, took) in pairs.items():
                asked = judged(max(foretold / took, took / foretold), APART, least=False) if stage == "in all" else ""
                lines.append((
                    name, told.shape[0], stage, f"{foretold:.1f}", f"{took:.1f}", f"{foretold / took:.2f}", asked
                ))  # fmt: skip
            lines.append((name, told.shape[0], "the probe", "", f"{probe:.1f}", "", ""))
    header = ("table", "rows", "stage", "foretold, s", "taken, s", "ratio", "either way")
    report("What a dry run foretells, and what the run takes", header, lines, args)


if __name__ == "__main__":
    main()
