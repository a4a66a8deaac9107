"""Placing new rows on a fitted map: 45,000 rows of MNIST on a fit of 25,000 others.

Ours, openTSNE's ``embedding.transform`` and UMAP's ``transform``, each on its own fit, neighbours included. Rows per
second, and how many placed rows have the label of most of the ten nearest fitted rows.
"""

from __future__ import annotations

import warnings

import common
import data_sets
import numpy as np

from tsne_ooc import TSNE
from tsne_ooc.metrics import label_accuracy

FASTER = {"openTSNE": 15.0, "UMAP": 100.0}
WORSE = 0.0


def main() -> None:
    parser = common.options(__doc__)
    parser.add_argument("--dataset", choices=("mnist", "fashion_mnist"), default="mnist")
    parser.add_argument("--fitted", type=int, default=25_000, help="rows of the fit (default 25,000)")
    parser.add_argument("--programs", nargs="+", choices=("openTSNE", "UMAP"), default=["openTSNE", "UMAP"])
    args = common.parse(parser)
    warnings.filterwarnings("ignore", module="umap|sklearn")
    if args.quick:
        args.fitted, args.programs = 1200, ["openTSNE"]
    data = data_sets.load(args.dataset, args)
    mixed = np.random.default_rng(3).permutation(len(data.X))
    old, new = mixed[: args.fitted], mixed[args.fitted :]
    X, Q = data.X[old], data.X[new]
    common.note(f"fitting {len(X):,} rows")
    model = TSNE(random_state=0, n_jobs=args.jobs).fit(X)
    maps, programs = {"tsne_ooc": model.embedding_}, {"tsne_ooc": lambda: model.transform(Q)}
    if "openTSNE" in args.programs:
        import openTSNE

        few = {"early_exaggeration_iter": 20, "n_iter": 20} if args.quick else {}
        embedding = openTSNE.TSNE(n_jobs=args.jobs, random_state=0, **few).fit(X)
        maps["openTSNE"], programs["openTSNE"] = embedding, lambda: embedding.transform(Q)
    if "UMAP" in args.programs:
        from umap import UMAP

        common.limit_numba(args.jobs)
        other = UMAP(n_jobs=args.jobs).fit(X)
        maps["UMAP"], programs["UMAP"] = other.embedding_, lambda: other.transform(Q)
    # Frozen fields, grids of interpolation and kernels are made at the first call.
    model.transform(Q[:500])
    if "openTSNE" in maps:
        embedding.transform(Q[:500])
    if "UMAP" in maps:
        other.transform(Q[:500])
    runs = common.alternate(programs, args.repeats)
    accuracy = {
        # openTSNE shifts its map when it transforms, so maps are read now and not before.
        name: label_accuracy(np.asarray(maps[name]), data.y[old], 10, np.asarray(run.result), data.y[new], sample=None)
        for name, run in runs.items()
    }
    ours, rows = runs["tsne_ooc"].median, []
    for name, run in runs.items():
        goal = ""
        if name != "tsne_ooc":
            worse = common.judged(accuracy["tsne_ooc"] - accuracy[name], -WORSE)
            goal = f"{common.judged(run.median / ours, FASTER[name])}; labels above its {worse}"
        rate = round(len(Q) / run.median)
        rows.append((name, run.median, rate, run.median / ours, f"{accuracy[name]:.4f}", goal))
    header = ("program", "s", "rows/s", "its time / ours", "label accuracy", "target")
    title = f"Placing {len(Q):,} rows on a fit of {len(X):,}, {data.name}, {X.shape[1]} columns"
    common.report(title, header, rows, args)


if __name__ == "__main__":
    main()
