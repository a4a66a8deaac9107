"""Seconds and memory from 10,000 rows to millions, and the exponents: ours, and the peers as far as they fit.

    python -m benchmarks scaling --out results --rows 10000 100000 1000000 --peers opentsne umap --peer-to 50000

Rows are drawn from a tree of Gaussians with groups of very different sizes, in 50 columns; a fifth of them lie close to
others. `tsne_ooc` fits all rows (`--fit-to`), `embed` fits a sample and places the others. Each run is a process of its
own, in turn. Written are `scaling.json`, `scaling.md` and `scaling.png`, with logarithms on both axes. The exponent is
the slope of the line of least squares through the logarithms, from 100,000 rows on where there are two sizes of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
import comparison
import numpy as np
import programs

TITLE = "Growth"
COLUMNS = 50
BLOCK = 100_000
# A fifth of the rows are close to another one.
NEAR = 0.2


def rows_of(n: int) -> np.ndarray:
    """Rows of a tree of Gaussians: ten groups of ten, of sizes that fall as 1 / rank."""
    rng = np.random.default_rng(n)
    centres = np.repeat(8 * rng.normal(size=(10, COLUMNS)), 10, axis=0) + 3 * rng.normal(size=(100, COLUMNS))
    share = rng.permutation(1 / np.arange(1, 101))
    X = np.empty((n, COLUMNS), np.float32)
    for first in range(0, n, BLOCK):
        part = X[first : first + BLOCK]
        part[:] = centres[rng.choice(100, len(part), p=share / share.sum())] + rng.normal(size=part.shape)
        near = int(NEAR * len(part))
        part[:near] = part[rng.integers(near, len(part), near)] + 1e-3 * rng.normal(size=(near, COLUMNS))
    return X[rng.permutation(n)]


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Slope of the line of least squares through logarithms, of large sizes where there are two of them."""
    pairs = [(n, value) for n, value in zip(sizes, values, strict=True) if value > 0]
    large = [pair for pair in pairs if pair[0] >= 100_000]
    pairs = large if len(large) > 1 else pairs
    if len(pairs) < 2:
        return float("nan")
    return float(np.polyfit(*np.log(np.array(pairs, float)).T, 1)[0])


def picture(found: dict[str, dict[int, list[Any]]], path: Path) -> None:
    """Seconds and memory against rows, a line for each program."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for name, by_size in found.items():
        seconds = [np.median([run["seconds"]["fit"] for run in runs]) for runs in by_size.values()]
        memory = [np.median([run["peak"] for run in runs]) / 2**30 for runs in by_size.values()]
        for at, values in zip(axes, (seconds, memory), strict=True):
            at.plot(list(by_size), values, "o-", label=f"{name} (n^{exponent(list(by_size), values):.2f})")
    for at, label in zip(axes, ("seconds", "peak memory, GiB"), strict=True):
        at.set(xscale="log", yscale="log", xlabel="rows", ylabel=label)
        at.grid(alpha=0.3)
        at.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = common.options(__doc__, data=False)
    parser.add_argument(
        "--rows", nargs="+", type=int, default=[10_000, 30_000, 100_000, 300_000, 1_000_000, 10_000_000]
    )
    parser.add_argument("--peers", nargs="*", default=[], choices=["opentsne", "umap", "pacmap", "sklearn"])
    parser.add_argument("--peer-to", type=int, default=50_000, help="most rows of the peers (default 50,000)")
    parser.add_argument("--fit-to", type=int, default=1_000_000, help="most rows of a fit of all (default a million)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    args = common.parse(parser)
    if args.quick:
        args.rows = [500, 1000]
    args.out.mkdir(parents=True, exist_ok=True)
    here = ["embed", "tsne_ooc", *(name for name in args.peers if programs.present(name))]
    limits = {"embed": max(args.rows), "tsne_ooc": args.fit_to}
    found: dict[str, dict[int, list[Any]]] = {name: {} for name in here}
    for n in sorted(args.rows):
        names = [name for name in here if n <= limits.get(name, args.peer_to)]
        for name, runs in comparison.in_turns(names, rows_of(n), None, args.repeats, args)[0].items():
            found[name][n] = runs
    rows = []
    for name, by_size in found.items():
        seconds = [float(np.median([run["seconds"]["fit"] for run in runs])) for runs in by_size.values()]
        memory = [float(np.median([run["peak"] for run in runs])) / 2**30 for runs in by_size.values()]
        rows += [(name, n, s, m, "", "") for n, s, m in zip(by_size, seconds, memory, strict=True)]
        rows.append((name, "exponent", "", "", exponent(list(by_size), seconds), exponent(list(by_size), memory)))
    rows += [(name, "not installed", "", "", "", "") for name in args.peers if name not in here]
    header = ("program", "rows", "s", "peak, GiB", "exponent of s", "exponent of memory")
    text = common.table(TITLE, header, rows, args)
    (args.out / "scaling.json").write_text(
        json.dumps({**comparison.about(), "quick": args.quick, "found": found}, indent=1), encoding="utf-8"
    )
    (args.out / "scaling.md").write_text(text, encoding="utf-8")
    picture({name: by_size for name, by_size in found.items() if by_size}, args.out / "scaling.png")
    common.report(TITLE, header, rows, args)


if __name__ == "__main__":
    main()
