"""Seconds per iteration from 20,000 to 2,000,000 rows, and the exponent of the number of rows.

Synthetic, so that only the size changes: blobs of 1,000 rows at constant density, so the map's area grows with the
rows as that of real maps does (MNIST: 70,000 rows on a map 220 wide), and a graph of 100 neighbours a row within some
2,000 rows in memory, as bucket order leaves real neighbours.
"""

from __future__ import annotations

import time

import common
import numpy as np
import problems

from tsne_ooc.joint import Joint

EXPONENT = 1.05
# Map units squared for each row, as on the map of MNIST.
AREA = 220.0**2 / 70_000
BLOB = 1000
DEGREE = 100
REACH = 2000


def blobs(n: int, rng: np.random.Generator) -> np.ndarray:
    """A map of `n` rows in blobs at jittered places of a square lattice, blob after blob, neighbours near in memory."""
    count = -(-n // BLOB)
    side = int(np.ceil(np.sqrt(count)))
    spacing = np.sqrt(BLOB * AREA)
    number = np.arange(count)
    row, column = number // side, number % side
    # Back and forth: blobs that follow each other in memory are neighbours on the map.
    column = np.where(row % 2 == 0, column, side - 1 - column)
    centres = (np.stack([column, row], axis=1) + rng.uniform(-0.2, 0.2, (count, 2))) * spacing
    Y = np.repeat(centres, BLOB, axis=0)[:n] + rng.normal(0, spacing / 4, (n, 2))
    return (Y - Y.mean(axis=0)).astype(np.float32)


def graph(n: int, rng: np.random.Generator) -> Joint:
    """Equal affinities of each row to 100 others at the same distances in memory, before and behind: symmetric."""
    offsets = rng.choice(np.arange(1, min(REACH, n // 2)), DEGREE // 2, replace=False)
    offsets = np.sort(np.concatenate([offsets, -offsets]))
    indices = np.empty((n, DEGREE), np.uint32)
    for first in range(0, n, 65_536):
        last = min(first + 65_536, n)
        indices[first:last] = (np.arange(first, last)[:, None] + offsets) % n
    indptr = np.arange(n + 1, dtype=np.uint64) * np.uint64(DEGREE)
    return Joint(indptr, indices.reshape(-1), np.full(n * DEGREE, 1 / (n * DEGREE), np.float32))


def peer_seconds(P: Joint, Y: np.ndarray, iterations: int, args) -> float:
    """openTSNE's seconds per evaluation of its gradient, one more than its iterations."""
    embedding = problems.peer_embedding(P, Y, args)
    began = time.perf_counter()
    embedding.optimize(iterations, exaggeration=1, momentum=0.8, inplace=True)
    return (time.perf_counter() - began) / (iterations + 1)


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """Slope of the line of least squares through logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def main() -> None:
    parser = common.options(__doc__, data=False)
    default = [20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000]
    parser.add_argument("--sizes", nargs="+", type=int, default=default)
    parser.add_argument("--iterations", type=int, default=10, help="of each size in a repeat (default 10)")
    parser.add_argument("--peer-to", type=int, default=0, help="measure openTSNE too, up to so many rows (default 0)")
    args = common.parse(parser)
    if args.quick:
        args.sizes, args.iterations, args.peer_to = [5000, 10_000, 20_000], 2, 5000
    sizes = sorted(args.sizes)
    ours: dict[int, list] = {n: [] for n in sizes}
    peer: dict[int, list[float]] = {n: [] for n in sizes if n <= args.peer_to}
    for repeat in range(args.repeats):
        for n in sizes:
            rng = np.random.default_rng(n)
            P, Y = graph(n, rng), blobs(n, rng)
            ours[n].append(problems.time_iterations(P, Y, args.iterations, args))
            if n in peer:
                peer[n].append(peer_seconds(P, Y, min(3, args.iterations), args))
            common.note(f"{n:,} rows, run {repeat + 1} of {args.repeats}: {ours[n][-1].total * 1e3:.1f} ms")
    rows, totals = [], []
    for n in sizes:
        total, field, step = np.median(ours[n], axis=0).tolist()
        totals.append(total)
        theirs = float(np.median(peer[n])) if n in peer else float("nan")
        width = round(float(np.ptp(blobs(n, np.random.default_rng(n)), axis=0).max()))
        rows.append((n, width, 1e3 * total, 1e3 * field, 1e3 * step, 1e9 * total / n, 1e3 * theirs, theirs / total, ""))
    slope = exponent(sizes, totals)
    goal = common.judged(slope, EXPONENT, least=False)
    rows.append(("exponent", "", f"{slope:.3f}", "", "", "", "", "", goal))
    header = ("rows", "width", "ms/iteration", "field", "step", "ns/row", "openTSNE ms", "openTSNE's / ours", "target")
    common.report("Seconds per iteration by the number of rows, 100 affinities a row", header, rows, args)


if __name__ == "__main__":
    main()
