"""The data sets of the benchmarks: where they come from, as 50 components, and their exact neighbours."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import Exact

COMPONENTS = 50


class Source(NamedTuple):
    """Where a data set's file is within the data folder, and where everybody gets the same data."""

    file: str
    public: str


SOURCES = {
    "mnist": Source("mnist.npz", "OpenML mnist_784 (70,000 x 784), in its original order"),
    "fashion_mnist": Source("fashion_mnist.npz", "github.com/zalandoresearch/fashion-mnist, train then test"),
    "shuttle": Source("shuttle.npz", "UCI Statlog (Shuttle), 58,000 x 9"),
    "kddcup99": Source("kddcup99_10pct.npz", "UCI KDD Cup 1999, kddcup.data_10_percent, its 38 numeric columns"),
    "mouse_brain": Source(
        "tenx_mousebrain_10k_x_1000genes.npz", "10x Genomics, 1.3 million mouse brain cells: 10,000 cells, 1,000 genes"
    ),
    "pbmc3k": Source("pbmc3k_pca.npz", "10x Genomics PBMC 3k as scanpy.datasets.pbmc3k_processed, its X_pca"),
}
MOSES_PUBLIC = "SMILES of molsets 0.3.1 on PyPI, counts of hashed 4-grams; make_moses.py of the data folder writes it"


@dataclass(frozen=True)
class Data:
    """A data set ready for neighbours: at most 50 columns; `y` is None where there are no labels."""

    name: str
    X: np.ndarray
    y: np.ndarray | None = None


def components(X: np.ndarray, d: int = COMPONENTS) -> np.ndarray:
    """The leading `d` principal components in float32; exact, so the same everywhere but for rounding."""
    X = X - X.mean(axis=0, dtype=np.float64).astype(np.float32)
    if X.shape[1] <= d:
        return np.ascontiguousarray(X, np.float32)
    moments = sum(X[i : i + 10_000].astype(np.float64).T @ X[i : i + 10_000] for i in range(0, len(X), 10_000))
    return np.ascontiguousarray(X @ _axes(moments, d))


def _axes(moments: np.ndarray, d: int) -> np.ndarray:
    axes = np.linalg.eigh(moments)[1][:, ::-1][:, :d]
    return (axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(d)])).astype(np.float32)


def standardised(X: np.ndarray) -> np.ndarray:
    X = X.astype(np.float64)
    deviation = X.std(axis=0)
    return ((X - X.mean(axis=0)) / np.where(deviation > 0, deviation, 1)).astype(np.float32)


def _distinct(X: np.ndarray, rows: int) -> np.ndarray:
    """Numbers of `rows` distinct rows, ascending: copies would make a test of neighbours a game of chance."""
    first = np.unique(X, axis=0, return_index=True)[1]
    return np.sort(np.random.default_rng(0).permutation(first)[:rows])


def _prepare(name: str, z: Any) -> tuple[np.ndarray, np.ndarray | None]:
    if name == "kddcup99":
        X = z["X"]
        rows = _distinct(X, 40_000)
        return standardised(X[rows]), z["y"][rows]
    if name == "shuttle":
        return standardised(z["X"]), z["y"]
    if name == "mouse_brain":
        X = z["X"].astype(np.float32)
        depth = X.sum(axis=1, keepdims=True)
        return np.log1p(X / np.maximum(depth, 1) * np.median(depth)), None
    return z["X"].astype(np.float32), z["y"]


def load(name: str, args: argparse.Namespace, rows: int | None = None) -> Data:
    """A data set by its name in `SOURCES`, as 50 components; `rows` draws that many of its rows.

    The rows are drawn in random order, for files are often sorted by class.
    """
    cache = args.work / f"{name}-{'tiny' if args.quick else 'full'}.npz"
    if not cache.exists():
        file = args.data / SOURCES[name].file
        if not file.exists():
            sys.exit(f"{file} is missing; the public source is: {SOURCES[name].public} (see benchmarks/README.md)")
        with np.load(file) as z:
            X, y = _prepare(name, z)
        if args.quick:
            few = np.sort(np.random.default_rng(1).permutation(len(X))[:2000])
            X, y = X[few], None if y is None else y[few]
        _save(cache, X=components(X), **({} if y is None else {"y": y}))
    with np.load(cache) as z:
        X, y = z["X"], z["y"].astype(np.int64) if "y" in z else None
    if rows is not None and rows < len(X):
        drawn = np.random.default_rng(2).permutation(len(X))[:rows]
        X, y = X[drawn], None if y is None else y[drawn]
    return Data(name, X, y)


def load_moses(path: Path, rows: int, args: argparse.Namespace) -> Data:
    """`rows` rows of the molecules in their order, as 50 components of the whole file; read block by block."""
    import h5py

    cache = args.work / f"moses-{rows}.npz"
    if not cache.exists():
        with h5py.File(path) as f:
            X, props = f["X"], f["props"]
            n, p = X.shape
            drawn = np.sort(np.random.default_rng(0).permutation(n)[:rows])
            kept = np.empty((len(drawn), p), X.dtype)
            total, moments = np.zeros(p), np.zeros((p, p))
            for first in range(0, n, 65_536):
                block = X[first : first + 65_536]
                a, b = np.searchsorted(drawn, [first, first + len(block)])
                kept[a:b] = block[drawn[a:b] - first]
                full = block.astype(np.float32)
                # Counts of up to 255 in blocks of 65,536 rows: float32 keeps what a principal axis needs.
                moments += full.T @ full
                total += full.sum(axis=0, dtype=np.float64)
            rings = props[:, 1][drawn]
        mean = total / n
        axes = _axes(moments / n - np.outer(mean, mean), COMPONENTS)
        shift = mean.astype(np.float32)
        reduced = np.empty((len(drawn), COMPONENTS), np.float32)
        for first in range(0, len(drawn), 65_536):
            reduced[first : first + 65_536] = (kept[first : first + 65_536].astype(np.float32) - shift) @ axes
        _save(cache, X=reduced, y=rings)
    with np.load(cache) as z:
        return Data("moses", z["X"], z["y"].astype(np.int64))


def _save(path: Path, **arrays: np.ndarray) -> None:
    # A run that is broken off must not leave half a file that the next one trusts.
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".npz", delete=False) as file:
        np.savez(file, **arrays)
    os.replace(file.name, path)


def exact_neighbors(data: Data, k: int, args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Indices and distances of the `k` nearest other rows of each row, exact; kept in the work folder."""
    n = len(data.X)
    k = min(k, n - 1)
    cache = args.work / f"{data.name}-{n}-exact{k}.npz"
    if not cache.exists():
        found = Exact().build(data.X, rng=np.random.default_rng(0), threads=Threads(args.jobs)).query_self(k)
        _save(cache, indices=found[0], distances=found[1])
    with np.load(cache) as z:
        return z["indices"], z["distances"]
