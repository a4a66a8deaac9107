"""How far to trust places: rows a second of the scores, and whether they know digits that lie in a wrong island.

The map is one of 25,000 digits of MNIST, 50 components of each. Rows of the fit and as many others are scored. A fitted
digit is in a wrong island where at least eight of its ten nearest on the map are of one other digit; the area under the
curve is the probability that such a row has a higher score than another one.
"""

from __future__ import annotations

import common
import data_sets
import numpy as np
from scipy.spatial import cKDTree
from sklearn.metrics import roc_auc_score

from tsne_ooc import TSNE
from tsne_ooc.trust import scores

RATE = 30_000


def wrong_island(Y: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which rows lie among those of another label."""
    near = labels[cKDTree(Y).query(Y, 11)[1][:, 1:]]
    votes = np.stack([(near == label).sum(axis=1) for label in np.unique(labels)], axis=1)
    return (votes.max(axis=1) >= 8) & (np.unique(labels)[votes.argmax(axis=1)] != labels)


def main() -> None:
    parser = common.options(__doc__)
    parser.add_argument("--fitted", type=int, default=25_000, help="rows of the fit (default 25,000)")
    args = common.parse(parser)
    if args.quick:
        args.fitted = 1200
    data = data_sets.load("mnist", args)
    mixed = np.random.default_rng(3).permutation(len(data.X))
    old, new = mixed[: args.fitted], mixed[args.fitted : 2 * args.fitted]
    common.note(f"fitting {len(old):,} rows")
    model = TSNE(random_state=0, n_jobs=args.jobs).fit(data.X[old])
    # Fields, trees and kernels are made at the first call.
    scores(model, data.X[new[:500]])
    programs = {
        "rows of the fit": lambda: scores(model, data.X[old]),
        "others": lambda: scores(model, data.X[new]),
        "others, placed alone": lambda: model.transform(data.X[new]),
    }
    runs = common.alternate(programs, args.repeats)
    rows = []
    for name, run in runs.items():
        rate = len(old) / run.median
        goal = "" if "alone" in name else common.judged(rate, RATE)
        rows.append((name, run.median, round(rate), goal))
    title = f"Scoring {len(old):,} rows on a fit of {len(old):,}, {data.name}, {data.X.shape[1]} columns"
    common.report(title, ("rows", "s", "rows/s", "target"), rows, args)
    found = runs["rows of the fit"].result
    wrong = wrong_island(model.embedding_, data.y[old])
    told = {"1 - recall": 1 - found.recall, **found._asdict()}
    del told["recall"]
    areas = [(name, f"{roc_auc_score(wrong, np.nan_to_num(score, posinf=1e30)):.3f}") for name, score in told.items()]
    common.report(
        f"Area under the curve for the {wrong.sum():,} of them in a wrong island", ("score", "area"), areas, args
    )


if __name__ == "__main__":
    main()
