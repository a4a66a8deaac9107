"""Fits of ours beside other libraries with threads of their own, in one process: does anything hang, or slow down?

LightGBM, XGBoost, scikit-learn's KMeans and PyTorch bring OpenMP, some of them another copy of it. Each library is
loaded before us and after us, in a process of its own, and fits of both follow one another. What they take is compared
with processes in which there is only one of the two:

    python benchmarks/beside_others.py [--rows 5000] [--rounds 3] [--only lightgbm,torch]

It takes some three minutes on two idle cores. A process that does not end within `--patience` seconds counts as hung.
Libraries that are not installed are left out: ``pip install lightgbm xgboost torch``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from typing import Any

import numpy as np

MODULES = {"lightgbm": "lightgbm", "xgboost": "xgboost", "kmeans": "sklearn.cluster", "torch": "torch"}
US = "ours"


def table(rows: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, rows)
    return (rng.normal(size=(10, 30))[y] * 3 + rng.normal(size=(rows, 30))).astype(np.float32), y


def fit_of(name: str, rows: int) -> Callable[[], object]:
    """A fit of a second or so, once the library is loaded."""
    X, y = table(rows)
    if name == US:
        from tsne_ooc import TSNE

        return lambda: TSNE(random_state=0).fit(X).transform(X[:1000] + 0.01)
    if name == "lightgbm":
        import lightgbm

        return lambda: lightgbm.LGBMClassifier(n_estimators=20, verbose=-1).fit(X, y)
    if name == "xgboost":
        import xgboost

        return lambda: xgboost.XGBClassifier(n_estimators=20).fit(X, y)
    if name == "kmeans":
        from sklearn.cluster import KMeans

        return lambda: KMeans(50, n_init=3, random_state=0).fit(X)
    import torch

    def train() -> None:
        network = torch.nn.Sequential(torch.nn.Linear(30, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
        optimizer = torch.optim.Adam(network.parameters())
        inputs, labels = torch.from_numpy(X), torch.from_numpy(y)
        for _ in range(60):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(inputs), labels).backward()
            optimizer.step()

    return train


def child(names: list[str], rows: int, rounds: int) -> None:
    """Load in this order; then fits in turns, of which the first of each is not counted."""
    fits = {name: fit_of(name, rows) for name in names}
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(rounds + 1):
        for name, fit in fits.items():
            began = time.perf_counter(), time.process_time()
            fit()
            took[name].append((time.perf_counter() - began[0], time.process_time() - began[1]))
    print(
        json.dumps({name: [median(column) for column in zip(*times[1:], strict=True)] for name, times in took.items()})
    )


def run(names: list[str], options: argparse.Namespace) -> dict[str, list[float]] | None:
    """Seconds and processor seconds of each; None where the process hung."""
    words = [sys.executable, __file__, "--child", ",".join(names), "--rows", str(options.rows), "--rounds"]
    try:
        found = subprocess.run(
            [*words, str(options.rounds)], capture_output=True, text=True, timeout=options.patience, check=True
        )
    except subprocess.TimeoutExpired:
        return None
    told: dict[str, list[float]] = json.loads(found.stdout.splitlines()[-1])
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--patience", type=float, default=600)
    parser.add_argument("--only", default=",".join(MODULES))
    parser.add_argument("--child")
    options = parser.parse_args()
    if options.child:
        child(options.child.split(","), options.rows, options.rounds)
        return
    alone = run([US], options)
    print("| library | loaded | ours, s | x alone | theirs, s | x alone |\n|---|---|---|---|---|---|")
    for name in options.only.split(","):
        if find_spec(MODULES[name]) is None:
            print(f"| {name} | not installed | | | | |")
            continue
        theirs = run([name], options)
        for names in ([name, US], [US, name]):
            both = run(names, options)
            order = "before us" if names[0] == name else "after us"
            if both is None or alone is None or theirs is None:
                print(f"| {name} | {order} | hung | | | |", flush=True)
                continue
            cells = [
                f"{both[one][0]:.2f} ({both[one][1]:.2f}) | {both[one][0] / of[one][0]:.2f} "
                f"({both[one][1] / of[one][1]:.2f})"
                for one, of in ((US, alone), (name, theirs))
            ]
            print(f"| {name} | {order} | {' | '.join(cells)} |", flush=True)
    print("\nIn brackets: seconds of the processor, which other work on the machine does not change much.")


if __name__ == "__main__":
    main()
