"""A whole fit at default settings, neighbours included: ours, openTSNE, UMAP, PaCMAP.

All run once on 5,000 rows first, so that no program is timed while it compiles (UMAP takes another path, of other
kernels, below 4,096 rows). Divergences, only for the t-SNE programs, are those from one P, of exact neighbours.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import common
import data_sets
import numpy as np
import problems

from tsne_ooc import TSNE

# Its time over ours, at least.
FASTER = {"openTSNE": 11.0, "UMAP": 5.5, "PaCMAP": 3.7}


def fits(args) -> dict[str, Callable[..., np.ndarray]]:
    """Each program as a function from rows to a map, at its defaults."""

    def ours(X: np.ndarray, **more: object) -> np.ndarray:
        return TSNE(random_state=0, n_jobs=args.jobs, **more).fit(X).embedding_

    def opentsne(X: np.ndarray) -> np.ndarray:
        import openTSNE

        few = {"early_exaggeration_iter": 10, "n_iter": 10} if args.quick else {}
        return np.asarray(openTSNE.TSNE(n_jobs=args.jobs, random_state=0, **few).fit(X))

    def umap(X: np.ndarray) -> np.ndarray:
        # Without a seed: with one, UMAP runs on one thread.
        from umap import UMAP

        common.limit_numba(args.jobs)
        return np.asarray(UMAP(n_jobs=args.jobs).fit_transform(X))

    def pacmap(X: np.ndarray) -> np.ndarray:
        from pacmap import PaCMAP

        common.limit_numba(args.jobs)
        return np.asarray(PaCMAP().fit_transform(X))

    return {"tsne_ooc": ours, "openTSNE": opentsne, "UMAP": umap, "PaCMAP": pacmap}


def main() -> None:
    parser = common.options(__doc__)
    parser.add_argument("--dataset", choices=list(data_sets.SOURCES), default="mnist")
    parser.add_argument("--programs", nargs="+", choices=list(FASTER), default=list(FASTER))
    args = common.parse(parser)
    warnings.filterwarnings("ignore", module="umap|pacmap|sklearn")
    data = data_sets.load(args.dataset, args)
    if args.quick:
        # The import of UMAP alone takes longer than a smoke test may.
        args.programs = [name for name in args.programs if name == "openTSNE"]
    programs = {name: fit for name, fit in fits(args).items() if name in ("tsne_ooc", *args.programs)}
    few = data.X[np.random.default_rng(0).permutation(len(data.X))[: 500 if args.quick else 5000]]
    for name, fit in programs.items():
        common.note(f"{name}: warming up")
        fit(few)
    # Few rows are searched exactly; the kernels of the search of many must be warm too.
    programs["tsne_ooc"](few, neighbors="ivf", n_iter=10)
    runs = common.alternate({name: lambda fit=fit: fit(data.X) for name, fit in programs.items()}, args.repeats)
    affinities = problems.problem(data, args, reorder=False).P
    rows = []
    ours = runs["tsne_ooc"].median
    for name, run in runs.items():
        kl = "-"
        if name in ("tsne_ooc", "openTSNE"):
            kl = f"{problems.divergence(affinities, run.result, args):.4f}"
        q = problems.quality(data, run.result, args)
        goal = "" if name == "tsne_ooc" else common.judged(run.median / ours, FASTER[name])
        found = (f"{q['r10']:.3f}", f"{q['r50']:.3f}", f"{q['labels']:.4f}")
        rows.append((data.name, name, run.median, run.median / ours, kl, *found, goal))
    header = ("data", "program", "s", "its time / ours", "KL (exact Z)", "r10", "r50", "label accuracy", "target")
    common.report(f"Whole fit, {data.name}, {len(data.X):,} x {data.X.shape[1]}", header, rows, args)


if __name__ == "__main__":
    main()
