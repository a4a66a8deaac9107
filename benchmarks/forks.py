"""Forks beside threads at work: how many there are in some seconds, and the longest wait for one.

    python benchmarks/forks.py place
    python benchmarks/forks.py multiply

Threads that place, score and fit keep BLAS to one thread, and no fork waits for them. Beside threads that multiply
matrices with several threads of BLAS most programs soon wait for ever, since OpenBLAS ends its threads before a fork
and one of them does not hear of it; where all threads stand is then told, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import threading
import time
from collections.abc import Callable

import numpy as np

from tsne_ooc import TSNE
from tsne_ooc.preprocess import PCA, Preparation, Standardize


def places() -> Callable[[], object]:
    options = {"n_iter": 20, "early_exaggeration_iter": 20, "random_state": 0, "n_jobs": 2}
    X = np.random.default_rng(0).normal(size=(6000, 60)).astype(np.float32)
    model = TSNE(**options, prepare=Preparation([Standardize(), PCA(10)])).fit(X[:3000])
    return lambda: (model.transform(X), model.score_samples(X[:100]), TSNE(**options).fit(X[:500]))


def multiplies() -> Callable[[], object]:
    X = np.random.default_rng(0).normal(size=(3000, 30)).astype(np.float32)
    return lambda: X @ X.T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=["place", "multiply"])
    parser.add_argument("--threads", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    work = {"place": places, "multiply": multiplies}[options.work]()
    # Once alone: kernels are compiled, and modules imported.
    work()

    def again() -> None:
        while True:
            work()

    for _ in range(options.threads):
        threading.Thread(target=again, daemon=True).start()
    faulthandler.dump_traceback_later(options.seconds + 20, exit=True)
    forks, longest, end = 0, 0.0, time.monotonic() + options.seconds
    while time.monotonic() < end:
        began = time.monotonic()
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
        forks, longest = forks + 1, max(longest, time.monotonic() - began)
    print(f"{forks} forks beside {options.threads} threads, the longest {longest:.2f} s")
    os._exit(0)


if __name__ == "__main__":
    main()
