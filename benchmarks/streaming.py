"""From file to file: rows a second of a whole run, its peak memory, and whether it slows down.

An HDF5 file of 50 columns of float32 (blobs of Gaussians; 10 million rows, 2 GB, by default) is written, and
``tsne_ooc.embed`` makes its map in a process of its own: draw 25,000 rows, fit them, place all. Told are the rows a
second of placing, those of the first and of the last tenth, the peak memory of the whole process, and what the reader
alone delivers, with a placement that does nothing. ``--rows 100000000`` needs 20 GB of disk.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import common
from memory import COLUMNS, write

LEAST_RATE, MOST_GB, STEADY, READER = 60_000, 1.5, 0.95, 5.0


def child(args) -> None:
    """Make the map in this process; print what was seen as JSON."""
    import resource

    from tsne_ooc import TSNE, embed

    marks: list[tuple[int, float]] = []

    def progress(phase: str, done: int, total: int) -> None:
        if phase == "place":
            marks.append((done, time.perf_counter()))

    folder = Path(args.child).with_suffix(".map")
    shutil.rmtree(folder, ignore_errors=True)
    tsne = TSNE(random_state=0, n_jobs=args.jobs)
    began = time.perf_counter()
    run = embed(args.child, out=folder, sample=args.sample, tsne=tsne, progress=progress)
    total = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    n = marks[-1][0]

    def rate(first: float, last: float) -> float:
        """Rows a second between two shares of the table, from the marks that are nearest."""
        a = min(marks, key=lambda mark: abs(mark[0] - first * n))
        b = min(marks, key=lambda mark: abs(mark[0] - last * n))
        return (b[0] - a[0]) / (b[1] - a[1])

    found = {
        "rate": rate(0, 1), "first": rate(0, 0.1), "last": rate(0.9, 1), "peak": peak, "total": total,
        "seconds": run.manifest["seconds"],
    }  # fmt: skip
    print(json.dumps(found))


def read_alone(path: Path) -> float:
    """Rows a second of the reader, with nothing done to them."""
    from tsne_ooc.io import iterate, open_source
    from tsne_ooc.streaming import rows_at_once

    with open_source(path) as table:
        n = min(table.shape[0], 20_000_000)
        began = time.perf_counter()
        for _ in iterate(table, rows=rows_at_once(table), stop=n):
            pass
        return n / (time.perf_counter() - began)


def main() -> None:
    parser = common.options(__doc__, data=False, repeats=False)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--sample", type=int, default=25_000, help="rows of the fit (default 25,000)")
    parser.add_argument("--keep", action="store_true", help="leave the file where it was written")
    parser.add_argument("--child", help="for the script itself: make the map of this file")
    args = common.parse(parser)
    if args.child:
        child(args)
        return
    if args.quick:
        args.rows, args.sample = 50_000, 2_000
    path = args.work / f"streaming_{args.rows}.h5"
    if not path.exists():
        write(path.with_suffix(".part"), args.rows)
        path.with_suffix(".part").rename(path)
    found = common.in_child(__file__, "--child", path, "--sample", args.sample, "--jobs", args.jobs)
    reader = read_alone(path)
    if not args.keep:
        path.unlink()
        shutil.rmtree(path.with_suffix(".map"), ignore_errors=True)
    rows = (
        ("placed, rows/s", round(found["rate"]), common.judged(found["rate"], LEAST_RATE)),
        (
            "last tenth / first tenth",
            found["last"] / found["first"],
            common.judged(found["last"] / found["first"], STEADY),
        ),
        ("peak of the process, GB", found["peak"] / 1e9, common.judged(found["peak"] / 1e9, MOST_GB, least=False)),
        ("reader alone / placed", reader / found["rate"], common.judged(reader / found["rate"], READER)),
        ("seconds in all", round(found["total"]), ""),
    )
    title = f"From file to file, {args.rows:,} x {COLUMNS}, fit of {args.sample:,} rows"
    common.report(title, ("", "reached", "target"), rows, args)


if __name__ == "__main__":
    main()
