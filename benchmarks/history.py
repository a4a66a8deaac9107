"""A dozen quick timings, written down with the commit, against those that were written down before.

    python -m benchmarks history [--log benchmarks/history.jsonl]

Each is the median of `--repeats` in one process, after a first time that compiles and is not counted; all take some two
minutes. What took 1.25 times as long as the median of earlier records of the same machine is named, and the exit
code is 1. A line of the log is one record.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import comparison
import numpy as np

SLOWER = 1.25
START = "from tsne_ooc import TSNE"


def timings(folder: Path, quick: bool, jobs: int) -> dict[str, Callable[[], Any]]:
    """What is timed, by name."""
    import subprocess

    import h5py

    from tsne_ooc import TSNE, embed, load, neighbors
    from tsne_ooc._parallel import Threads
    from tsne_ooc.affinity import Perplexity
    from tsne_ooc.gradients.repulsion import ExactRepulsion, FieldRepulsion
    from tsne_ooc.io import open_source
    from tsne_ooc.joint import symmetrize
    from tsne_ooc.preprocess import PCA, Preparation

    size = 20 if quick else 1
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 50))[rng.integers(0, 200, 60_000 // size)] * 4 + rng.normal(size=(60_000 // size, 50))
    X = X.astype(np.float32)
    threads, n = Threads(jobs), len(X)
    table = folder / "rows.h5"
    with h5py.File(table, "w") as file:
        file.create_dataset("X", data=X, chunks=(min(n, 2000), 50))
    fit = {"random_state": 0, "n_jobs": jobs}
    model = TSNE(**fit).fit(X[: n // 6])
    model.save(folder / "model")
    few = X[: n // 3]
    found = neighbors.build(
        neighbors.Exact(), few, metric="euclidean", metric_params=None, rng=rng, threads=threads
    ).query_self(30)
    P = Perplexity(10).conditional(found[1], threads)
    Y = rng.normal(size=(n, 2)).astype(np.float32) * 50

    def search(kind: Any, k: int) -> Callable[[], Any]:
        def run() -> Any:
            seeded = np.random.default_rng(0)
            return neighbors.build(
                kind, few, metric="euclidean", metric_params=None, rng=seeded, threads=threads
            ).query_self(k)

        return run

    def stream() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            embed(table, out=Path(out) / "map", sample=n // 12, tsne=TSNE(n_iter=50, **fit))

    def read() -> None:
        with open_source(table) as source:
            for first in range(0, n, 5000):
                source.read(first, min(n, first + 5000))

    return {
        "start": lambda: subprocess.run([sys.executable, "-c", START], check=True),
        "fit 1,000 rows": lambda: TSNE(**fit).fit(X[:1000]),
        "fit 20,000 rows": lambda: TSNE(**fit).fit(few),
        "fit 2,000 rows, 3 axes": lambda: TSNE(n_components=3, **fit).fit(X[:2000]),
        "place 50,000 rows": lambda: model.transform(X[n // 6 :]),
        "search 20,000 rows, exactly": search(neighbors.Exact(), 90),
        "search 20,000 rows in lists": search(neighbors.IVF(), 90),
        "affinities of 20,000 rows": lambda: Perplexity(10).conditional(found[1], threads),
        "symmetrise 600,000 entries": lambda: symmetrize(found[0].copy(), P.copy(), threads),
        "field of 60,000 rows": lambda: FieldRepulsion(1.0, threads)(Y, np.empty_like(Y)),
        "exact sum of 10,000 rows": lambda: ExactRepulsion(1.0, threads)(
            Y[: n // 6].copy(), np.empty_like(Y[: n // 6])
        ),
        "components of 60,000 rows": lambda: Preparation([PCA(20)]).fit(X, random_state=0, n_jobs=jobs).transform(X),
        "read 60,000 rows": read,
        "stream 60,000 rows": stream,
        "load a model": lambda: load(folder / "model"),
    }


def before(log: Path, machine: str) -> dict[str, float]:
    """Medians of what this machine took before."""
    found: dict[str, list[float]] = {}
    if log.exists():
        for line in log.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if record["machine"].partition(";")[0] == machine.partition(";")[0]:
                for name, seconds in record["seconds"].items():
                    found.setdefault(name, []).append(seconds)
    return {name: float(np.median(values)) for name, values in found.items()}


def main() -> None:
    parser = common.options(__doc__, data=False)
    parser.add_argument("--log", type=Path, default=Path(__file__).with_name("history.jsonl"))
    args = common.parse(parser)
    earlier = before(args.log, common.machine())
    programs = timings(args.work, args.quick, args.jobs)
    for run in programs.values():
        run()
    medians = {name: runs.median for name, runs in common.alternate(programs, args.repeats).items()}
    if not args.quick:
        with args.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**comparison.about(), "seconds": medians}) + "\n")
    rows = [
        (name, s, earlier.get(name, float("nan")), s / earlier.get(name, float("nan"))) for name, s in medians.items()
    ]
    print(common.table("Quick timings", ("what", "s", "before, s", "x before"), rows, args))
    slower = [name for name, _, _, times in rows if times > SLOWER]
    if slower and not args.quick:
        sys.exit(f"slower than before: {', '.join(slower)}")


if __name__ == "__main__":
    main()
