"""What the commands that fit a map have in common: options of the preparation and of the fit."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from tsne_ooc.cli.shared import Group, split_names

if TYPE_CHECKING:
    from tsne_ooc._typing import Json
    from tsne_ooc.estimator import TSNE
    from tsne_ooc.preprocess import Preparation

# The words that the library knows; a test compares them. To show the help, its own tables would have to be imported.
METRICS = (
    "euclidean", "cosine", "cityblock", "chebyshev", "correlation", "braycurtis", "canberra", "sqeuclidean",
    "seuclidean", "mahalanobis", "minkowski", "jensenshannon", "hellinger", "haversine", "hamming", "jaccard", "dice",
    "rogerstanimoto", "russellrao", "sokalsneath", "yule", "bit_jaccard", "bit_hamming", "nan_euclidean",
)  # fmt: skip
NEIGHBORS = ("auto", "exact", "ivf", "hnsw", "pynndescent", "annoy")
AFFINITIES = ("perplexity", "multiscale", "mixture", "uniform")
SCHEDULES = ("auto", "classic")


def add_preparation(group: Group) -> None:
    """Add the options that say what is done to rows first."""
    group.add_argument("--onehot", type=split_names, default=[], metavar="A,B", help="columns of categories")
    group.add_argument(
        "--missing",
        choices=("error", "drop", "keep", "mean", "median", "neighbors", "indicator"),
        help="what becomes of missing values: drop leaves out rows that lack one, and their places are NaN; keep is "
        "for --metric nan_euclidean, which implies it; error stops; the others fill them in (default: error)",
    )
    group.add_argument("--normalize", type=float, metavar="TOTAL", help="scale each row to this sum")
    group.add_argument("--log1p", action="store_true", help="log(1 + x)")
    group.add_argument(
        "--standardize", nargs="?", const="standard", choices=("standard", "robust"), help="mean 0 and variance 1"
    )
    group.add_argument("--pca", type=int, metavar="N", help="principal components")


def preparation_of(options: argparse.Namespace) -> Preparation | None:
    """The preparation that was asked for, or None."""
    from tsne_ooc.preprocess import preparation_from_options

    return preparation_from_options(
        standardize=options.standardize,
        log1p=options.log1p,
        normalize=options.normalize,
        pca=options.pca,
        onehot=options.onehot,
        missing=options.missing,
    )


def add_map(group: Group) -> None:
    """Add the options of the fit; one that is not given is None."""
    group.add_argument("--perplexity", type=float, help="neighbourhood size (default: 30)")
    group.add_argument(
        "--exaggeration",
        type=float,
        metavar="FACTOR",
        help="factor on the attraction; 4 keeps the classes of large data together (default: 1)",
    )
    group.add_argument("--n-components", type=int, metavar="D", help="dimensions of the map (default: 2)")
    group.add_argument("--dof", type=float, help="degrees of freedom of the kernel, .01 to 10,000 (default: 1)")
    group.add_argument(
        "--metric", metavar="WORD", help=f"distance in the data: {', '.join(METRICS)} (default: euclidean)"
    )
    group.add_argument(
        "--neighbors",
        metavar="WORD",
        help=f"neighbour search: {', '.join(NEIGHBORS)} (default: auto, by size and metric)",
    )
    group.add_argument(
        "--affinity", metavar="WORD",
        help=f"how neighbours are weighted: {', '.join(AFFINITIES)}; multiscale and mixture are at --perplexity and "
        "ten times as much (default: perplexity)",
    )  # fmt: skip
    group.add_argument(
        "--schedule", metavar="WORD",
        help=f"phases of the optimisation: {', '.join(SCHEDULES)}; classic has 750 iterations, auto 240 "
        "(default: auto)",
    )  # fmt: skip


#: Names of `add_map`'s options, which are those of `TSNE`.
MAP = ("perplexity", "exaggeration", "n_components", "dof", "metric", "neighbors", "affinity", "schedule")
#: Names of `add_preparation`'s options.
PREPARATION = ("onehot", "missing", "normalize", "log1p", "standardize", "pca")


def given(options: argparse.Namespace, names: tuple[str, ...]) -> Json:
    """The options among `names` that were given, with their values."""
    found = {name: getattr(options, name) for name in names}
    # An option that is 0 counts as given, and the estimator says what is wrong with it.
    return {name: value for name, value in found.items() if not (value is None or value is False or value == [])}


def tsne_of(options: argparse.Namespace) -> TSNE:
    """The estimator that was asked for."""
    from tsne_ooc.estimator import TSNE

    return TSNE(**given(options, MAP), n_jobs=options.jobs, random_state=options.seed, verbose=shows_bars(options))


def shows_bars(options: argparse.Namespace) -> bool:
    """Whether a fit draws a bar of its own."""
    return not options.quiet and sys.stderr.isatty()
