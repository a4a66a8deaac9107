"""Placing by processes against threads: rates, what the hand-over of a block costs, bytes on the way, and a model.

Two worker processes of a thread each and two threads place the same file in turn. The cost of handing over a block is
that of blocks which compute nothing. Bytes are those of the pickles that travel. The last table is simulated: workers
that read and place blocks at the measured rate of a core, some of them slow, and one process that takes in and writes
one result after the other. Before that the same simulation is held against runs of one worker and of two: it knows the
seconds of a block on one thread, those of its hand-over, and those of a run of a single row.
"""

from __future__ import annotations

import heapq
import pickle
import tempfile
import time
from functools import partial
from pathlib import Path

import common
import numpy as np

from tsne_ooc import TSNE, place
from tsne_ooc.io import identity_of, open_source
from tsne_ooc.pipeline.models import opened_model
from tsne_ooc.pipeline.workers import PlacesRows, ReadsAndPlaces
from tsne_ooc.streaming import MOST_ROWS, Stream, begin, silent
from tsne_ooc.workers import LocalWorkers, SavedModel, SharedTable

RATE, OVERHEAD, COLUMNS, SAMPLE = 0.9, 0.05, 64, 10_000
# How far a run may be from the model.
APART = 1.2
WORKERS = (1, 2, 4, 16, 64, 256, 1000)


def nothing(start: int, stop: int) -> dict[str, np.ndarray]:
    """What a worker gives for a block without looking at it."""
    return {"embedding": np.zeros((stop - start, 2), np.float32), "novelty": np.zeros(stop - start, np.float32)}


def idle(folder: Path, n: int, executor: LocalWorkers) -> float:
    """Seconds of a block that is handed over, written and marked, and of which nothing is computed."""
    table, name = np.broadcast_to(np.float32(0), (n, COLUMNS)), time.time_ns()
    ledger = begin(folder / f"{name}.json", {}, resume=False)
    files = {"embedding": (folder / f"{name}-e.npy", (n, 2)), "novelty": (folder / f"{name}-n.npy", (n,))}
    began = time.perf_counter()
    with Stream(files, ledger, "place") as stream:
        stream.gather(table, nothing, executor, rows=MOST_ROWS, progress=silent, phase="place")
    return (time.perf_counter() - began) / -(-n // MOST_ROWS)


def simulated(workers: int, blocks: int, block: float, write: float, slow: float, seed: int = 0) -> float:
    """Seconds until all blocks are written: `slow` of the workers take five times as long for each of theirs."""
    rng = np.random.default_rng(seed)
    pace = np.where(rng.random(workers) < slow, 5.0, 1.0) * block
    free = [(0.0, worker) for worker in range(workers)]
    ends = []
    for _ in range(blocks):
        at, worker = heapq.heappop(free)
        heapq.heappush(free, (at + pace[worker], worker))
        ends.append(at + pace[worker])
    ends = np.sort(ends)
    now = 0.0
    for end in ends:
        # One process takes all results in, one after the other.
        now = max(now, end) + write
    return now


def main() -> None:
    parser = common.options(__doc__, data=False)
    parser.add_argument("--rows", type=int, default=2_000_000)
    args = common.parse(parser)
    with (
        tempfile.TemporaryDirectory(prefix="anywhere-") as name,
        LocalWorkers(2, n_jobs=2) as executor,
        LocalWorkers(1, n_jobs=1) as alone,
    ):
        folder, rng = Path(name), np.random.default_rng(0)
        centres = rng.normal(0, 4, (50, COLUMNS)).astype(np.float32)
        X = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float32, (args.rows, COLUMNS))
        for start in range(0, args.rows, MOST_ROWS):
            n = len(X[start : start + MOST_ROWS])
            X[start : start + n] = centres[rng.integers(0, 50, n)] + rng.normal(size=(n, COLUMNS))
        TSNE(random_state=0).fit(X[:SAMPLE]).save(folder / "map")
        count = iter(range(1000))

        def run(**how: object) -> None:
            place(folder / "map", folder / "X.npy", out=folder / f"out{next(count)}", **how)

        # Workers and kernels are there before the clock runs.
        run(executor=executor)
        run(executor=alone)
        runs = common.alternate(
            {"2 threads": partial(run, n_jobs=2), "2 processes": partial(run, executor=executor),
             "1 thread": partial(run, n_jobs=1), "1 process": partial(run, executor=alone),
             "1 row": partial(run, executor=alone, rows=(0, 1))}, args.repeats,
        )  # fmt: skip
        rates = {name: args.rows / found.median for name, found in runs.items() if name != "1 row"}
        ratio = rates["2 processes"] / rates["2 threads"]
        common.report(
            "Placing by processes", ["who", "rows/s"],
            [*((name, f"{rate:,.0f}") for name, rate in rates.items()),
             ("2 processes / 2 threads", common.judged(ratio, RATE))], args,
        )  # fmt: skip
        # Of the processor: a busy machine dilates the clock.
        size, block = MOST_ROWS * COLUMNS * 4, MOST_ROWS * runs["1 thread"].processor_median / args.rows
        handed = float(np.median([idle(folder, 64 * MOST_ROWS, executor) for _ in range(args.repeats)]))
        share = handed / (block / 2)
        with open_source(folder / "X.npy") as table:
            shared = SharedTable.of(table, identity_of(table), folder)
            assert shared is not None
            asks = ReadsAndPlaces(shared, PlacesRows(SavedModel.of(folder / "map", opened_model), True, 1))
        there, back = len(pickle.dumps((asks, 0, MOST_ROWS))), len(pickle.dumps(nothing(0, MOST_ROWS)))
        common.report(
            "A block on its way", ["what", "value"],
            [("bytes of its rows, which stay", f"{size:,}"), ("ms of a core to place it", f"{1e3 * block:.0f}"),
             ("ms to hand over, write and mark", f"{1e3 * handed:.1f}"),
             ("share at 2 workers", common.judged(share, OVERHEAD, least=False)),
             ("bytes to the worker", f"{there:,}"), ("bytes back", f"{back:,}"),
             ("bytes back, a row", f"{back / MOST_ROWS:.2f}")], args,
        )  # fmt: skip
        # A run opens, compares and seals, which takes the same for any number of rows.
        beside, few = runs["1 row"].median, args.rows / MOST_ROWS
        placed = (runs["1 thread"].median - beside) / few
        lines = []
        for workers in (1, 2):
            model = beside + simulated(workers, round(few), placed * few / round(few), handed, 0.0)
            took = runs[f"{workers} process{'es' if workers > 1 else ''}"].median
            lines.append((workers, f"{model:.2f}", f"{took:.2f}", f"{took / model:.2f}",
                          common.judged(max(took / model, model / took), APART, least=False)))  # fmt: skip
        common.report(
            "The model against runs",
            ["workers", "model, s", "run, s", "run / model", "either way"],
            lines,
            args,
        )
        blocks = 10_000
        one = blocks * block
        table_rows = []
        for workers in WORKERS:
            even, slow = (one / simulated(workers, blocks, block, handed, part) for part in (0.0, 0.05))
            rate = even * MOST_ROWS / block
            read, given = rate * size / MOST_ROWS / 1e9, rate * back / MOST_ROWS / 1e6
            cells = (f"{rate / 1e6:,.2f}", f"{read:,.2f}", f"{given:,.1f}")
            table_rows.append((f"{workers:,}", f"{even:,.1f}", f"{slow:,.1f}", *cells))
        common.report(
            f"Simulated: {blocks:,} blocks ({blocks * MOST_ROWS:,} rows), times as fast as one worker",
            ["workers", "all alike", "one in twenty five times as slow", "million rows/s", "GB/s read", "MB/s back"],
            table_rows, args,
        )  # fmt: skip


if __name__ == "__main__":
    main()
