"""Errors of the repulsive force and of Z against the exact sum, ours and those of openTSNE's default grid.

Maps of 2,000 to 1,000,000 rows, 0.001 to 500 wide, uniform and clustered, and a real one of MNIST. The exact sum runs
over all rows in float64, at a sample of the rows. The error of the force is relative, root mean square, of the sum of
the kernel's gradients before it is divided by Z. The exact Z is the sum over all pairs up to 20,000 rows; beyond, it is
estimated: the sum of our field over all rows, and what the exact field of the sample differs from ours there, which
varies so little between rows that the estimate is far nearer to Z than both programs.
"""

from __future__ import annotations

import common
import data_sets
import numpy as np
import problems

from tsne_ooc._parallel import Threads
from tsne_ooc.gradients.field import FieldPlanner

# What openTSNE's default grid has on a map 150 wide. (On the tiny maps of the first iterations its float64 is exact to
# rounding; float32 is not, and need not be.)
FORCE, Z_ERROR = 1e-2, 1e-4
ALL_PAIRS = 20_000
BLOCK = 4_000_000


def exact(Y: np.ndarray, rows: np.ndarray, threads: Threads) -> tuple[np.ndarray, np.ndarray]:
    """The field of all other rows at some rows, and its gradient over -2, in float64, block by block."""
    points = Y.astype(np.float64)
    S, force = np.empty(len(rows)), np.empty((len(rows), Y.shape[1]))
    step = max(1, BLOCK // len(Y))

    def block(first: int, last: int) -> None:
        delta = points[rows[first:last], None, :] - points[None, :, :]
        w = 1 / (1 + np.einsum("ijk,ijk->ij", delta, delta))
        S[first:last] = w.sum(axis=1) - 1
        force[first:last] = np.einsum("ij,ijk->ik", w * w, delta)

    threads.map(block, [(a, min(a + step, len(rows))) for a in range(0, len(rows), step)])
    return S, force


def exact_z(Y: np.ndarray, rows: np.ndarray, S: np.ndarray, threads: Threads) -> float:
    """Z, from the exact field `S` of other rows at a sample of the rows."""
    n = len(Y)
    if n <= ALL_PAIRS:
        return float(exact(Y, np.arange(n), threads)[0].sum())
    value = FieldPlanner(1.0, threads).plan(Y).at(Y, threads)[0].astype(np.float64) - 1
    return float(value.sum() + n * (S - value[rows]).mean())


def ours(Y: np.ndarray, threads: Threads) -> tuple[np.ndarray, float]:
    """Our force (before Z) at all rows, and Z."""
    gradient = np.empty_like(Y)
    Z = FieldPlanner(1.0, threads).plan(Y).at_sources(Y, gradient, threads)
    return -0.5 * gradient.astype(np.float64), float(Z)


def opentsne(Y: np.ndarray) -> tuple[np.ndarray, float]:
    """openTSNE's force, which it returns divided by -Z, and Z: three points in each of at least 50 intervals."""
    from openTSNE import _tsne

    gradient = np.zeros(Y.shape)
    Z = _tsne.estimate_negative_gradient_fft_2d(Y.astype(np.float64), gradient, 3, 50, 1.0, dof=1)
    return -gradient * Z, float(Z)


def relative(found: np.ndarray, true: np.ndarray) -> float:
    """Relative root mean square error."""
    return float(np.sqrt(((found - true) ** 2).sum() / (true**2).sum()))


def synthetic(kind: str, n: int, width: float, rng: np.random.Generator) -> np.ndarray:
    """Rows drawn uniformly, or in 40 blobs of different size with a few rows in between."""
    if kind == "uniform":
        Y = rng.uniform(0, 1, (n, 2))
    else:
        centres, scale = rng.uniform(0.1, 0.9, (40, 2)), rng.uniform(0.005, 0.04, (40, 1))
        blob = rng.integers(40, size=n)
        inside = centres[blob] + rng.normal(size=(n, 2)) * scale[blob]
        Y = np.where(rng.random((n, 1)) < 0.02, rng.uniform(0, 1, (n, 2)), inside)
    return ((Y - Y.min(axis=0)) / np.ptp(Y, axis=0).max() * width).astype(np.float32)


def real(args) -> np.ndarray:
    """The map of MNIST that our default schedule ends with."""
    task = problems.problem(data_sets.load("mnist", args), args)
    return problems.optimise(task, problems.SCHEDULES["default"], args).embedding


def errors(Y: np.ndarray, peer: bool, threads: Threads, sample: int) -> list[float]:
    """Errors of force and Z: ours, then openTSNE's (not measured: NaN)."""
    rows = np.sort(np.random.default_rng(0).permutation(len(Y))[:sample])
    S, force = exact(Y, rows, threads)
    true = exact_z(Y, rows, S, threads)
    found = []
    for program in (lambda: ours(Y, threads), lambda: opentsne(Y)) if peer else (lambda: ours(Y, threads),):
        F, Z = program()
        found += [relative(F[rows], force), abs(Z / true - 1)]
    return found if peer else [*found, float("nan"), float("nan")]


def main() -> None:
    parser = common.options(__doc__, repeats=False)
    parser.add_argument("--sizes", nargs="+", type=int, default=[2000, 20_000, 200_000, 1_000_000])
    parser.add_argument("--widths", nargs="+", type=float, default=[1e-3, 1.0, 30.0, 150.0, 500.0])
    parser.add_argument("--peer-to", type=int, default=200_000, help="most rows for openTSNE (default 200,000)")
    parser.add_argument("--sample", type=int, default=1000, help="rows at which the force is compared (default 1,000)")
    args = common.parse(parser)
    if args.quick:
        args.sizes, args.widths, args.sample = [2000, 60_000], [1e-3, 30.0], 200
    threads = Threads(args.jobs)
    maps = [(f"{kind}", n, width) for n in args.sizes for kind in ("uniform", "clustered") for width in args.widths]
    rows = []

    def judge(name: str, Y: np.ndarray) -> None:
        force, z, peer_force, peer_z = errors(Y, len(Y) <= args.peer_to, threads, args.sample)
        goal = f"force {common.judged(force, FORCE, least=False)}; Z {common.judged(z, Z_ERROR, least=False)}"
        width = f"{np.ptp(Y, axis=0).max():g}" if name != "MNIST" else f"{np.ptp(Y, axis=0).max():.0f}"
        cells = (f"{x:.1e}" if np.isfinite(x) else "-" for x in (force, peer_force, z, peer_z))
        rows.append((name, len(Y), width, *cells, goal))
        common.note(" ".join(map(str, rows[-1])))

    for kind, n, width in maps:
        judge(kind, synthetic(kind, n, width, np.random.default_rng(n)))
    judge("MNIST", real(args))
    header = ("map", "rows", "width", "force: ours", "force: openTSNE", "Z: ours", "Z: openTSNE", "target")
    common.report("Errors against the exact sum, relative", header, rows, args)


if __name__ == "__main__":
    main()
