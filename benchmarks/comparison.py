"""Programs in turn on the same rows, each run in a process of its own: seconds, rows a second, memory, quality.

    python -m benchmarks run --data mnist --peers umap opentsne pacmap sklearn --out results

`--data` takes names of benchmarks/README.md, of scikit-learn's own tables (digits, iris, wine, breast_cancer),
`openml:NAME` where there is a network, and files of any kind that `tsne_ooc` reads. All are brought to 50 principal
components. A tenth of the rows, at most 10,000, are held back and placed by the programs that can. In the folder are
written `results.json` (every run), `results.md` (medians, and from least to most) and `results.png` (quality against
time: with `--shares 0.25 0.5 1` each program is a curve, through fits of so much of the iterations that it takes by
default). Divergences are from the same affinities for all programs that are t-SNE, up to 200,000 rows.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
import data_sets
import numpy as np
import problems
import programs
from data_sets import Data

# scikit-learn brings these.
SMALL = ("digits", "iris", "wine", "breast_cancer")
# Exact neighbours of more take minutes to hours.
MOST_EXACT = 200_000
MOST_NEW = 10_000
QUALITIES = {
    "r10": "recall of 10",
    "r50": "recall of 10 within 50",
    "labels": "label accuracy",
    "distances": "distances",
}
TITLE = "Programs in turn"
HEADER = ("data", "program", "fit, s", "x ours", "placed, rows/s", "peak, GiB", "KL", *QUALITIES.values())


def table_named(name: str, args: argparse.Namespace) -> Data:
    """A data set by name, or a file."""
    if name in data_sets.SOURCES:
        return data_sets.load(name, args)
    if name in SMALL:
        from sklearn import datasets

        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        return Data(name, data_sets.components(X.astype(np.float32)), y)
    if name.startswith("openml:"):
        from sklearn.datasets import fetch_openml

        X, y = fetch_openml(name.partition(":")[2], return_X_y=True, as_frame=False, parser="auto")
        return Data(
            name.partition(":")[2], data_sets.components(X.astype(np.float32)), np.unique(y, return_inverse=True)[1]
        )
    if not Path(name).exists():
        sys.exit(
            f"--data {name}: this is neither a file nor one of {', '.join(data_sets.SOURCES)}, {', '.join(SMALL)}, "
            "openml:NAME"
        )
    from tsne_ooc.io import open_source

    with open_source(name) as source:
        return Data(Path(name).stem, data_sets.components(np.asarray(source.read(0, source.shape[0]), np.float32)))


def parted(data: Data, quick: bool) -> tuple[Data, np.ndarray]:
    """Rows to fit, and rows held back, both in random order: files are often sorted."""
    mixed = np.random.default_rng(0).permutation(len(data.X))[: 600 if quick else None]
    new = min(MOST_NEW, len(mixed) // 10)
    rows = mixed[new:]
    return Data(data.name, data.X[rows], None if data.y is None else data.y[rows]), data.X[mixed[:new]]


def in_turns(
    names: Sequence[str],
    X: np.ndarray,
    new: np.ndarray | None,
    repeats: int,
    args: argparse.Namespace,
    share: float = 1.0,
) -> tuple[dict[str, list[Any]], dict[str, np.ndarray]]:
    """What the runs of each program told, A B A B, and the map of each one's last run."""
    runs: dict[str, list[Any]] = {name: [] for name in names}
    maps = {}
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        np.save(f"{folder}/rows.npy", X)
        words: list[Any] = ["--rows", f"{folder}/rows.npy", "--out", folder, "--jobs", args.jobs, "--share", share]
        if args.quick:
            words += ["--warm", 0]
        if new is not None:
            np.save(f"{folder}/new.npy", new)
            words += ["--new", f"{folder}/new.npy"]
        script = str(Path(__file__).with_name("programs.py"))
        threads = {name: str(args.jobs) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")}
        for repeat in range(repeats):
            for name in names:
                told = common.in_child(script, name, *words, environment=threads)
                runs[name].append(told)
                maps[name] = np.load(f"{folder}/map.npy")
                took = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in told["seconds"].items())
                common.note(f"{name}, run {repeat + 1} of {repeats}: {took}")
    return runs, maps


def judged(data: Data, maps: dict[str, np.ndarray], args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """How good each program's map is."""
    from tsne_ooc.metrics import distance_correlation

    affinities = None
    if len(data.X) <= MOST_EXACT:
        affinities = problems.problem(data, args, reorder=False).P
    found = {}
    for name, Y in maps.items():
        found[name] = problems.quality(data, Y, args)
        found[name]["distances"] = distance_correlation(data.X, Y)
        if affinities is not None and name in programs.OF_TSNE:
            found[name]["kl"] = problems.divergence(affinities, Y, args)
    return found


def about() -> dict[str, Any]:
    """What a record begins with: when, where, of which commit, and by which command."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=common.ROOT, capture_output=True, text=True, check=False
    )
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
        "commit": commit.stdout.strip(),
        "machine": common.machine(),
        "command": _command(sys.argv),
    }


def _command(argv: Sequence[str]) -> str:
    """What was typed: of a command of this package, the first word is all up to its options."""
    typed = argv[0].split() if argv[0].startswith("python ") else ["python", argv[0]]
    return shlex.join(map(_anywhere, [*typed, *argv[1:]]))


def _anywhere(word: str) -> str:
    """A word of a command without the folders of this machine."""
    return Path(word).name if Path(word).is_absolute() else word


def median(values: Sequence[float]) -> str:
    """The median, and from least to most where there are several."""
    if not values:
        return ""
    middle = common.cell(float(np.median(values)))
    return middle if len(values) == 1 else f"{middle} ({common.cell(min(values))} to {common.cell(max(values))})"


def lines(found: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Rows of a table: one for each program, those that are not here at the end."""
    ours = np.median([run["seconds"]["fit"] for run in found["runs"]["tsne_ooc"]])
    out = []
    for name, runs in found["runs"].items():
        fits = [run["seconds"]["fit"] for run in runs]
        rates = [run["placed"] / run["seconds"]["place"] for run in runs if "place" in run["seconds"]]
        quality = found["quality"][name]
        out.append((
            found["data"], f"{name} {runs[0]['version']}", median(fits), float(np.median(fits) / ours), median(rates),
            median([run["peak"] / 2**30 for run in runs]), quality.get("kl", float("nan")),
            *(quality[key] for key in QUALITIES),
        ))  # fmt: skip
    blank = [""] * (len(HEADER) - 3)
    return out + [(found["data"], name, "not installed", *blank) for name in found["absent"]]


def curve(found: dict[str, Any], name: str, key: str) -> list[tuple[list[float], float]]:
    """Seconds of the fits of a program, and their quality, from the fewest iterations to the most."""
    shares = {1.0: found, **{float(share): more for share, more in found["shares"].items()}}
    fits = [(share, [run["seconds"]["fit"] for run in more["runs"][name]], more) for share, more in shares.items()]
    return [(seconds, more["quality"][name][key]) for _, seconds, more in sorted(fits, key=lambda fit: fit[0])]


def picture(tables: Sequence[dict[str, Any]], path: Path) -> None:
    """Quality against time: each program a curve, with a mark from its fastest run to its slowest for each share."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullFormatter

    kinds = list(QUALITIES.items())
    figure, axes = plt.subplots(
        len(tables), len(kinds), figsize=(3.4 * len(kinds), 3.2 * len(tables)), squeeze=False, layout="constrained"
    )
    for found, places in zip(tables, axes, strict=True):
        for (key, title), at in zip(kinds, places, strict=True):
            for name in found["runs"]:
                points = curve(found, name, key)
                middle = [float(np.median(fits)) for fits, _ in points]
                spread = [
                    [median - min(fits) for median, (fits, _) in zip(middle, points, strict=True)],
                    [max(fits) - median for median, (fits, _) in zip(middle, points, strict=True)],
                ]
                at.errorbar(middle, [good for _, good in points], xerr=spread, fmt="o-", capsize=3, label=name)
            at.set(
                xscale="log",
                xlabel="seconds of a fit",
                ylabel=title,
                ylim=(0, 1.03),
                title=f"{found['data']}, {found['n']:,} rows",
            )
            at.xaxis.set_minor_formatter(NullFormatter())
            at.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = common.options(__doc__, data=False)
    parser.add_argument("--data", nargs="+", required=True, help="names or files, see above")
    parser.add_argument(
        "--peers", nargs="*", default=["opentsne", "umap", "pacmap", "sklearn"],
        choices=[name for name in programs.PROGRAMS if name != "tsne_ooc"],
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--shares", type=float, nargs="*", default=[], help="of the iterations by default, for a curve of each program"
    )
    folder = Path(os.environ.get("TSNE_OOC_DATA", common.DATA))
    parser.add_argument(
        "--folder", type=Path, default=folder, help="where the named data lie (default: $TSNE_OOC_DATA)"
    )
    args = common.parse(parser)
    names, args.data = args.data, args.folder
    args.out.mkdir(parents=True, exist_ok=True)
    here = [name for name in ("tsne_ooc", *args.peers) if programs.present(name)]
    absent = [name for name in args.peers if name not in here]
    tables = []
    for name in names:
        data, new = parted(table_named(name, args), args.quick)
        runs, maps = in_turns(here, data.X, new, args.repeats, args)
        n, p = data.X.shape
        shares = {}
        for share in sorted(set(args.shares) - {1.0}):
            fewer, others = in_turns(here, data.X, None, args.repeats, args, share)
            shares[str(share)] = {"runs": fewer, "quality": judged(data, others, args)}
        tables.append({
            "data": data.name, "n": n, "p": p, "runs": runs, "quality": judged(data, maps, args), "absent": absent,
            "shares": shares,
        })  # fmt: skip
    (args.out / "results.json").write_text(
        json.dumps({**about(), "quick": args.quick, "tables": tables}, indent=1), encoding="utf-8"
    )
    rows = [line for found in tables for line in lines(found)]
    (args.out / "results.md").write_text(common.table(TITLE, HEADER, rows, args), encoding="utf-8")
    picture(tables, args.out / "results.png")
    common.report(TITLE, HEADER, rows, args)


if __name__ == "__main__":
    main()
