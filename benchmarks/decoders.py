"""Back from places to rows: decoders of an encoder of MNIST, plain and variational, next to what needs no network.

28 x 28 pixels are brought to 50 components by the encoder's own preparation. A tenth of the rows is kept from teacher,
encoder and decoder. Told is the share of their variance (of components) that is left when their places are decoded: by
the decoders; by the mean of the fitted rows whose places are nearest; and, for scale, what two principal components
leave. With --picture: digits decoded all over the map.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import common
import data_sets
import numpy as np
import torch

from tsne_ooc import TSNE
from tsne_ooc.parametric import Decoder, ParametricTSNE
from tsne_ooc.preprocess import PCA, Preparation

ACROSS = 26
SIDE = 28


def pixels(args) -> tuple[np.ndarray, np.ndarray]:
    """Images as rows, and their digits."""
    file = args.data / data_sets.SOURCES["mnist"].file
    if not file.exists():
        sys.exit(f"{file} is missing; the public source is: {data_sets.SOURCES['mnist'].public}")
    with np.load(file) as z:
        drawn = np.sort(np.random.default_rng(2).permutation(len(z["X"]))[: args.rows])
        return z["X"][drawn].astype(np.float32), z["y"][drawn].astype(int)


def left(wanted: np.ndarray, found: np.ndarray) -> float:
    """Share of the variance of rows that is left beside what was found."""
    return float(np.square(wanted - found).mean() / np.square(wanted - wanted.mean(axis=0)).mean())


def draw(model: ParametricTSNE, Y: np.ndarray, labels: np.ndarray, path: Path) -> None:
    """The map, and beside it what the decoder sees at the places where rows lie."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from scipy.spatial import cKDTree

    low, high = Y.min(axis=0), Y.max(axis=0)
    step = (high - low) / ACROSS
    cells = np.stack(np.meshgrid(np.arange(ACROSS), np.arange(ACROSS), indexing="ij"), axis=-1).reshape(-1, 2)
    places = (low + (cells + 0.5) * step).astype(np.float32)
    # Where there is no row, what is decoded is made up.
    some = cKDTree(Y).query(places)[0] < 0.5 * step.min()
    images = model.inverse_transform(places[some]).reshape(-1, SIDE, SIDE)
    canvas = np.zeros((ACROSS * SIDE, ACROSS * SIDE), np.float32)
    for (i, j), image in zip(cells[some], images, strict=True):
        top = (ACROSS - 1 - j) * SIDE
        canvas[top : top + SIDE, i * SIDE : (i + 1) * SIDE] = image
    figure, axes = plt.subplots(1, 2, figsize=(14, 7), layout="constrained")
    order = np.random.default_rng(0).permutation(len(Y))
    axes[0].scatter(*Y[order].T, c=labels[order], cmap="tab10", s=0.6, linewidths=0, rasterized=True)
    axes[0].set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), title="rows, where the encoder puts them")
    axes[1].imshow(canvas, cmap="gray_r", vmin=0, vmax=255)
    axes[1].set(title="what the decoder sees there")
    for axis in axes:
        axis.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=100)


def main() -> None:
    from scipy.spatial import cKDTree

    parser = common.options(__doc__, repeats=False)
    parser.add_argument("--rows", type=int, default=70_000, help="of the data set (default: all 70,000)")
    parser.add_argument("--batches", type=int, default=1000, help="of the encoder (default 1000)")
    parser.add_argument("--decoder-batches", type=int, default=2000, help="of each decoder (default 2000)")
    parser.add_argument("--picture", type=Path, help="draw the plain decoder's digits to this file")
    args = common.parse(parser)
    if args.quick:
        args.rows, args.batches, args.decoder_batches = 2000, 20, 20
    torch.set_num_threads(args.jobs)
    X, y = pixels(args)
    new = np.zeros(len(X), bool)
    new[np.random.default_rng(3).permutation(len(X))[: len(X) // 10]] = True
    teacher = TSNE(prepare=Preparation([PCA(50)]), random_state=0, n_jobs=args.jobs).fit(X[~new])
    lines = []
    for name, variational in (("plain", False), ("variational", True)):
        decoder = Decoder(variational=variational, n_iter=args.decoder_batches)
        model = ParametricTSNE(teacher, decoder=decoder, n_iter=args.batches, random_state=0, n_jobs=args.jobs)
        began = time.perf_counter()
        model.fit(X[~new])
        seconds = time.perf_counter() - began
        Z, rows = (model.preparation_.transform(part) for part in (X[new], X[~new]))
        Q, Y = model.transform(X[new]), model.transform(X[~new])
        if not lines:
            near = cKDTree(Y).query(Q, k=10, workers=-1)[1]
            lines.append(("two principal components", "", left(Z, np.pad(Z[:, :2], ((0, 0), (0, Z.shape[1] - 2)))), ""))
            lines.append(("the nearest row on the map", "", left(Z, rows[near[:, 0]]), ""))
            lines.append(("the mean of the ten nearest", "", left(Z, rows[near].mean(axis=1)), ""))
            if args.picture:
                draw(model, Y, y[~new], args.picture)
        radius = model.decoder_.radius.item() if variational else ""
        lines.append((f"decoder, {name}", seconds, left(Z, model.inverse_transform(Q, prepared=True)), radius))
    cells = [(name, s, f"{share:.3f}", r if r == "" else f"{r:.4f}") for name, s, share, r in lines]
    header = ("rows come from", "s, with the encoder", "variance left", "radius")
    common.report(f"Decoders of MNIST, {int(new.sum()):,} new rows", header, cells, args)


if __name__ == "__main__":
    main()
