"""One program, in a process of its own: a fit of rows, others placed on it; seconds, peak memory, and the map.

    python benchmarks/programs.py umap --rows X.npy --new Q.npy --out FOLDER

The last line printed is JSON. Programs run at their defaults, with `--jobs` threads where they take a number and for
`--share` of their iterations (scikit-learn takes 250 at least), and once on 5,000 of the rows before they are timed:
compiling is no part of a fit (UMAP takes another path, of other kernels, below 4,096 rows).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np

WARM = 5000


class Fit(NamedTuple):
    """A map, and what places rows on it, where the program has something for that."""

    embedding: np.ndarray
    place: Callable[[np.ndarray], np.ndarray] | None = None


class Peer(NamedTuple):
    """A program: the module that it is looked for by, the name of its package, and a fit."""

    module: str
    package: str
    fit: Callable[[np.ndarray, int, float], Fit]


def iterations(name: str, share: float, n: int) -> tuple[int, ...]:
    """A share of the iterations that a program takes of n rows by default, of each of its phases."""
    by_default = {
        "tsne_ooc": (75, 165), "opentsne": (250, 500), "umap": (500 if n <= 10_000 else 200,),
        "pacmap": (100, 100, 250), "sklearn": (1000,),
    }[name]  # fmt: skip
    return tuple(round(share * count) for count in by_default)


def ours(X: np.ndarray, jobs: int, share: float) -> Fit:
    from tsne_ooc import TSNE

    early, late = iterations("tsne_ooc", share, len(X))
    model = TSNE(early_exaggeration_iter=early, n_iter=late, random_state=0, n_jobs=jobs).fit(X)
    return Fit(model.embedding_, model.transform)


def sampled(X: np.ndarray, jobs: int, share: float) -> Fit:
    """A sample fitted, all other rows placed: what `tsne_ooc.embed` does with a large table."""
    import tempfile

    from tsne_ooc import TSNE, embed

    early, late = iterations("tsne_ooc", share, len(X))
    with tempfile.TemporaryDirectory() as folder:
        tsne = TSNE(early_exaggeration_iter=early, n_iter=late, random_state=0, n_jobs=jobs)
        run = embed(X, out=Path(folder) / "map", tsne=tsne)
        return Fit(np.array(run.embedding))


def opentsne(X: np.ndarray, jobs: int, share: float) -> Fit:
    import openTSNE

    early, late = iterations("opentsne", share, len(X))
    found = openTSNE.TSNE(early_exaggeration_iter=early, n_iter=late, n_jobs=jobs, random_state=0).fit(X)
    return Fit(np.asarray(found), found.transform)


def umap(X: np.ndarray, jobs: int, share: float) -> Fit:
    # Without a seed: with one, UMAP runs on one thread.
    from umap import UMAP

    common.limit_numba(jobs)
    (epochs,) = iterations("umap", share, len(X))
    model = UMAP(n_epochs=epochs, n_jobs=jobs)
    return Fit(np.asarray(model.fit_transform(X)), model.transform)


def pacmap(X: np.ndarray, jobs: int, share: float) -> Fit:
    from pacmap import PaCMAP

    common.limit_numba(jobs)
    return Fit(np.asarray(PaCMAP(num_iters=iterations("pacmap", share, len(X))).fit_transform(X)))


def sklearn(X: np.ndarray, jobs: int, share: float) -> Fit:
    from sklearn.manifold import TSNE

    (most,) = iterations("sklearn", share, len(X))
    return Fit(TSNE(max_iter=max(250, most), n_jobs=jobs, random_state=0).fit_transform(X))


PROGRAMS = {
    "tsne_ooc": Peer("tsne_ooc", "tsne_ooc", ours),
    "embed": Peer("tsne_ooc", "tsne_ooc", sampled),
    "opentsne": Peer("openTSNE", "openTSNE", opentsne),
    "umap": Peer("umap", "umap-learn", umap),
    "pacmap": Peer("pacmap", "pacmap", pacmap),
    "sklearn": Peer("sklearn", "scikit-learn", sklearn),
}
#: Programs whose divergence can be compared.
OF_TSNE = ("tsne_ooc", "embed", "opentsne", "sklearn")


def present(name: str) -> bool:
    """Whether a program can be run here."""
    return find_spec(PROGRAMS[name].module) is not None


def measure(
    name: str, X: np.ndarray, Q: np.ndarray | None, jobs: int, warm: int, share: float
) -> tuple[dict[str, Any], np.ndarray]:
    """What a fit and placing took, and the map."""
    peer = PROGRAMS[name]
    if warm and warm < len(X):
        first = peer.fit(np.ascontiguousarray(X[:: len(X) // warm][:warm]), jobs, share)
        if first.place is not None and Q is not None:
            first.place(Q[:200])
    before = common.start_peak()
    began = time.perf_counter()
    found = peer.fit(X, jobs, share)
    seconds = {"fit": time.perf_counter() - began}
    embedding = np.array(found.embedding, np.float32)
    if found.place is not None and Q is not None and len(Q):
        found.place(Q[:200])
        began = time.perf_counter()
        found.place(Q)
        seconds["place"] = time.perf_counter() - began
    told = {
        "seconds": seconds,
        "placed": 0 if "place" not in seconds else len(Q),
        "peak": max(0, common.peak_bytes() - before),
        "version": importlib.metadata.version(peer.package),
    }
    return told, embedding


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", choices=list(PROGRAMS))
    parser.add_argument("--rows", type=Path, required=True, help=".npy of the rows to fit")
    parser.add_argument("--new", type=Path, help=".npy of rows to place")
    parser.add_argument("--out", type=Path, required=True, help="where map.npy goes")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--warm", type=int, default=WARM, help="rows of a fit before (default 5,000); 0: none")
    parser.add_argument("--share", type=float, default=1.0, help="of the iterations that it takes by default")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", module="umap|pacmap|sklearn|openTSNE")
    new = None if args.new is None else np.load(args.new)
    told, embedding = measure(args.program, np.load(args.rows), new, args.jobs, args.warm, args.share)
    np.save(args.out / "map.npy", embedding)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
