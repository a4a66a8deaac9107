"""How long the report of a map takes, and how much memory: of 1.3 million rows of 50 columns, or as many as you say.

``python benchmarks/report.py`` makes a table (0.26 GB) and a map of it, and writes their report in a process of its
own, some two minutes in all; with ``--rows 200000`` some seconds. With ``--digits`` it compares maps of scikit-learn's
digits, of other seeds, starts and samples, instead: which share of a row's 10 neighbours stays (a minute).
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROWS = 1 << 18


def make(folder: Path, n: int, p: int) -> None:
    """A table of clusters of many sizes, a map in which most of their rows stay together, and their names."""
    rng = np.random.default_rng(0)
    clusters = 200
    middles, widths = rng.normal(0, 2.5, (clusters, p)), rng.gamma(3, 0.4, clusters)
    places = rng.normal(0, 60, (clusters, 2))
    X = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float32, (n, p))
    Y = np.lib.format.open_memmap(folder / "Y.npy", "w+", np.float32, (n, 2))
    y = np.lib.format.open_memmap(folder / "y.npy", "w+", np.uint8, (n,))
    for start in range(0, n, ROWS):
        stop = min(n, start + ROWS)
        of = rng.integers(0, clusters, stop - start)
        noise = rng.normal(size=(stop - start, p)).astype(np.float32)
        X[start:stop] = middles[of] + widths[of, None] * noise
        Y[start:stop] = places[of] + 2 * noise[:, :2] + 0.5 * rng.normal(size=(stop - start, 2))
        y[start:stop] = of % 20


def one(folder: Path) -> None:
    """Write the report in this process, and print seconds and memory."""
    from tsne_ooc._memory import used_bytes
    from tsne_ooc.report import report

    before, start = (used_bytes() or 0) / 1e9, time.perf_counter()
    report(folder / "Y.npy", str(folder / "y.npy"), table=folder / "X.npy", out=folder / "page.html", overwrite=True)
    print(json.dumps({
        "seconds": round(time.perf_counter() - start, 1), "processor": round(time.process_time(), 1),
        "GB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2), "GB before": round(before, 2),
        "MB": round((folder / "page.html").stat().st_size / 1e6, 2),
    }))  # fmt: skip


def digits() -> None:
    """Shares that stay between maps of digits."""
    from sklearn.datasets import load_digits

    from tsne_ooc import TSNE
    from tsne_ooc._parallel import Threads
    from tsne_ooc.report.several import agreement
    from tsne_ooc.report.subject import subject_of

    X = load_digits().data.astype(np.float32)

    def of_start(seed: int) -> np.ndarray:
        return TSNE(random_state=seed, initialization="random").fit(X).embedding_

    def of_half(seed: int) -> np.ndarray:
        half = np.sort(np.random.default_rng(seed).choice(len(X), len(X) // 2, replace=False))
        model = TSNE(random_state=seed).fit(X[half])
        return model.transform(X)

    kinds = {
        "another seed": lambda seed: TSNE(random_state=seed).fit(X).embedding_,
        "a start at random": of_start,
        "half of them fitted": of_half,
    }
    for name, made in kinds.items():
        maps = [made(seed) for seed in range(3)]
        found = [agreement([subject_of(a, None), subject_of(b, None)], Threads()) for a, b in
                 itertools.combinations(maps, 2)]  # fmt: skip
        kept = [one.pairs[0].kept.value for one in found]
        print(f"{name}: {np.median(kept):.3f} ({min(kept):.3f} to {max(kept):.3f}); at random {found[0].chance:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_300_000)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--digits", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.digits:
        digits()
    elif options.one:
        one(Path(options.one))
    else:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), options.rows, options.columns)
            subprocess.run([sys.executable, __file__, "--one", folder], check=True)


if __name__ == "__main__":
    main()
