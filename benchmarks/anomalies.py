"""Anomalies without labels: time stamps that are unlike the rest, and attacks among connections.

`--task stamps`: 10,000 rows of 50 time stamps within a year, 25 of them unlike the rest. Either these are bunched
within four hours, at a centre uniform over the year, and the rest are scattered over it, or the other way round. Stamps
stand as they are drawn, or in order of time; columns are standardised, or with `--raw` seconds since 1970. The table
says how many of the 25 are among the 25 highest scores. A published experiment of these sizes found 19.1 of 25
(standard deviation 3.5) with a tuned variational autoencoder.

`--task kddcup99`: rows of KDD Cup 99, its 38 numbers standardised and its three categories as standardised columns of
zeros and ones: drawn uniformly, of which 80 % are attacks, and with 5 and 1 % of attacks. ROC-AUC and average precision
of attacks against normal connections.

Scores: novelty (15 neighbours, a row not its own), score_samples of the same rows (each finds itself, at distance 0),
groups (`tsne_ooc.groups.Groups`: the stranger of far and dense, and far alone), the decoder's error with `--decoder`,
which trains an encoder for each table, and IsolationForest of scikit-learn.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import common
import data_sets
import numpy as np

from tsne_ooc import TSNE
from tsne_ooc.groups import Groups

STAMPS, STRANGE = 50, 25
HOUR, YEAR = 3600.0, 365 * 24 * 3600.0
BUNCH = 4 * HOUR
BEGIN = 1_577_836_800.0
TARGET = 23


class Table(NamedTuple):
    """Rows and which of them are strange."""

    name: str
    X: np.ndarray
    strange: np.ndarray


def stamps(rows: int, rare: str, ordered: bool, standard: bool, seed: int) -> Table:
    rng = np.random.default_rng(seed)

    def scattered(count: int) -> np.ndarray:
        return rng.uniform(0, YEAR, (count, STAMPS))

    def bunched(count: int) -> np.ndarray:
        return rng.uniform(0, YEAR - BUNCH, (count, 1)) + rng.uniform(0, BUNCH, (count, STAMPS))

    few, most = (bunched, scattered) if rare == "bunched" else (scattered, bunched)
    X = BEGIN + np.concatenate([few(STRANGE), most(rows - STRANGE)])
    order = rng.permutation(rows)
    X = np.sort(X[order], axis=1) if ordered else X[order]
    name = f"{rare}{', in order' if ordered else ''}{'' if standard else ', seconds'}"
    return Table(name, data_sets.standardised(X) if standard else X.astype(np.float32), order < STRANGE)


def connections(args: Any, share: float | None, rows: int, seed: int) -> Table:
    file = args.data / data_sets.SOURCES["kddcup99"].file
    if not file.exists():
        sys.exit(f"{file} is missing; the public source is: {data_sets.SOURCES['kddcup99'].public}")
    with np.load(file) as z:
        X, categories, y = z["X"], z["cat"], z["y"]
        attack = np.array([str(name).strip(".") != "normal" for name in z["y_names"]])[y]
    rng = np.random.default_rng(seed)
    if share is None:
        chosen = rng.permutation(len(X))[:rows]
    else:
        count = round(share * rows)
        of = [rng.permutation(np.flatnonzero(attack == kind))[:n] for kind, n in ((True, count), (False, rows - count))]
        chosen = rng.permutation(np.concatenate(of))
    zeros = [(categories[chosen, [j]] == np.unique(categories[:, j])[:, None]).T for j in range(categories.shape[1])]
    table = np.concatenate([X[chosen], *zeros], axis=1)
    name = "as in the file" if share is None else f"{share:.0%} attacks"
    return Table(name, data_sets.standardised(table), attack[chosen])


def scores(X: np.ndarray, group: int, args: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Name and score of each row, the higher the stranger."""
    from sklearn.ensemble import IsolationForest

    # Novelty looks at the rows, not at where the map has them: only an encoder needs it optimised.
    still = {} if args.decoder else {"n_iter": 0, "early_exaggeration_iter": 0}
    model = TSNE(random_state=0, n_jobs=args.jobs, **still).fit(X)
    yield "novelty", model.novelty_
    yield "score_samples", model.score_samples(X)
    if args.sample:
        few = TSNE(random_state=0, n_jobs=args.jobs, sample=args.sample, n_iter=0, early_exaggeration_iter=0).fit(X)
        placed = few.score_samples(X)
        # These are beside themselves.
        placed[few.sample_rows_] = few.novelty_
        yield f"beside {args.sample:,}", placed
    found = Groups(model, group).fitted
    yield f"groups({group})", found.strangest
    yield "far", found.far
    if args.decoder:
        import torch

        from tsne_ooc.parametric import Decoder, ParametricTSNE

        torch.set_num_threads(args.jobs)
        encoder = ParametricTSNE(
            model, objective="distillation", n_iter=args.batches, random_state=0, n_jobs=args.jobs,
            decoder=Decoder(n_iter=args.batches, variational=args.variational),
        ).fit(X)  # fmt: skip
        yield "decoder", encoder.reconstruction_error(X)
        yield "held-out error", np.full(len(X), encoder.history_["decoder"]["validation"]["error"].min())
    yield "IsolationForest", -IsolationForest(random_state=0, n_jobs=args.jobs).fit(X).score_samples(X)


def among_the_highest(score: np.ndarray, strange: np.ndarray) -> float:
    """How many of the strange rows are among as many highest scores."""
    return float(strange[np.argsort(-score, kind="stable")[: strange.sum()]].sum())


def measure(
    title: str, tables: Callable[[int], Iterator[Table]], group: int, judges: dict[str, Any], args: Any
) -> None:
    """Print means over the seeds, and standard deviations, of each score on each table."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for seed in range(args.seeds):
        for table in tables(seed):
            for name, score in scores(table.X, group, args):
                for kind, judge in judges.items():
                    value = float(score[0]) if name == "held-out error" else judge(score, table.strange)
                    found.setdefault((table.name, kind), {}).setdefault(name, []).append(value)
            common.note(f"seed {seed}, {table.name}: " + ", ".join(
                f"{name} {values[-1]:.3g}" for name, values in found[table.name, next(iter(judges))].items()
            ))  # fmt: skip
    names = list(next(iter(found.values())))
    rows = [
        [table, kind, *(f"{np.mean(values):.3g} ± {np.std(values):.2g}" for values in line.values())]
        for (table, kind), line in found.items()
    ]
    common.report(f"{title}, {args.seeds} seeds", ["table", "", *names], rows, args)


def main() -> None:
    parser = common.options(__doc__, repeats=False)
    parser.add_argument("--task", choices=("stamps", "kddcup99"), default="stamps")
    parser.add_argument("--seeds", type=int, default=10, help="tables of each kind (default 10)")
    parser.add_argument("--rows", type=int, default=10_000, help="rows of a table (default 10,000)")
    parser.add_argument("--group", type=int, default=None, help="of Groups (default: 30; 5 %% of the rows of kddcup99)")
    parser.add_argument("--sample", type=int, help="also the novelty of rows placed beside a sample of so many")
    parser.add_argument("--raw", action="store_true", help="time stamps in seconds, not standardised")
    parser.add_argument("--decoder", action="store_true", help="train encoders with decoders too")
    parser.add_argument("--variational", action="store_true", help="variational ones")
    parser.add_argument("--batches", type=int, default=500, help="of the encoder, and of the decoder (default 500)")
    parser.add_argument("--only", default="", help="tables whose name has this in it")
    args = common.parse(parser)
    if args.quick:
        args.seeds, args.rows, args.batches = 1, 500, 20
    if args.task == "stamps":
        cases = [(rare, ordered, not args.raw) for ordered in (False, True) for rare in ("bunched", "scattered")]

        def tables(seed: int) -> Iterator[Table]:
            for case in cases:
                table = stamps(args.rows, *case, seed)
                if args.only in table.name:
                    yield table

        title = f"Of {STRANGE} strange rows among {args.rows:,}, so many have the {STRANGE} highest scores"
        measure(f"{title} (target: {TARGET})", tables, args.group or 30, {"of 25": among_the_highest}, args)
        return
    from sklearn.metrics import average_precision_score, roc_auc_score

    def draws(seed: int) -> Iterator[Table]:
        for share in (None, 0.05, 0.01):
            table = connections(args, share, args.rows, seed)
            if args.only in table.name:
                yield table

    judges = {
        "ROC-AUC": lambda score, strange: roc_auc_score(strange, score),
        "average precision": lambda score, strange: average_precision_score(strange, score),
    }
    measure(f"Attacks in {args.rows:,} rows of KDD Cup 99", draws, args.group or args.rows // 20, judges, args)


if __name__ == "__main__":
    main()
