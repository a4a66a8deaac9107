"""Saved models: how large their folders are, and how long they take to write and to read.

A fit of MNIST with each neighbour search, of few iterations, for these change no size and no time. Reading is timed
with and without comparing the sums of the files, which are in the system's cache.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import common
import data_sets

import tsne_ooc
from tsne_ooc import TSNE


def main() -> None:
    parser = common.options(__doc__)
    parser.add_argument("--dataset", choices=("mnist", "fashion_mnist"), default="mnist")
    parser.add_argument("--fitted", type=int, default=25_000, help="rows of the fit (default 25,000)")
    parser.add_argument("--searches", nargs="+", default=["exact", "ivf", "hnsw"])
    args = common.parse(parser)
    if args.quick:
        args.fitted = 1200
    X = data_sets.load(args.dataset, args).X[: args.fitted]
    rows = []
    for search in args.searches:
        model = TSNE(neighbors=search, perplexity=5, early_exaggeration_iter=5, n_iter=5, n_jobs=args.jobs).fit(X)
        with tempfile.TemporaryDirectory() as home:
            folder = Path(home) / "model"
            model.save(folder)
            runs = common.alternate(
                {
                    "save": lambda model=model, folder=folder: model.save(folder, overwrite=True),
                    "load": lambda folder=folder: tsne_ooc.load(folder),
                    "unchecked": lambda folder=folder: tsne_ooc.load(folder, verify=False),
                },
                args.repeats,
            )
            size = sum(file.stat().st_size for file in folder.iterdir())
        seconds = [runs[name].median for name in ("save", "load", "unchecked")]
        rows.append((search, f"{size / 1e6:.2f}", f"{size / X.nbytes:.2f}", *seconds))
    header = ("search", "folder, MB", "folder / rows", "save, s", "load, s", "load without sums, s")
    common.report(f"Saved models of {len(X):,} rows, {args.dataset}, {X.shape[1]} columns", header, rows, args)


if __name__ == "__main__":
    main()
