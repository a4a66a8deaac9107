"""Encoders of others and ours: MNIST, 50 components, 60,000 rows to learn from, 10,000 that nobody has seen.

Parametric UMAP, ivis, contrastive-ne (NEG-t-SNE and InfoNC-t-SNE) and `ParametricTSNE`, each trained for the same
seconds by the same number of threads, and the map of `TSNE`, which is no function, with its placement of new rows.
Neighbours, the teacher's fit and all compilation come before the clock starts.

The network is one of 4 hidden layers of 256 units, in the kind of each program: ReLU (UMAP, contrastive-ne), SELU
with dropout (ivis), residual blocks (ours without landmarks); ours as it comes has 128 units and 1,024 landmarks.
Batches are those of each program's defaults, but 1,024 edges for contrastive-ne, whose default of 32,768 would leave
it some hundred steps, and Adam, which its authors advise for networks. Ours are trained as docs/parametric.md advises
for new rows of large tables (longer tuning, a larger rate). All else is each program's default. Peers get rows divided
by one number, since they do not standardise.

Measured by the same code for all: the divergence from the full P with the exact Z, of the map as it is and at the
scale that is best for it (the kernel of UMAP is another one, and ivis has none at all); the share of the 10 nearest
rows that are among the 10 and the 50 nearest on the map; how many rows have the label of most of their ten nearest.
For new rows among the others.

Each program has a process of its own, and an interpreter where --python names one: ivis needs TensorFlow before 2.16,
parametric UMAP one with Keras 3. `pip install "tsne_ooc[bench-neural]"` and `pip install "tsne_ooc[bench-ivis]"`, in
two environments. A program that is not installed is left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import common
import data_sets
import numpy as np
import problems
from neural_programs import MISSING, PROGRAMS
from parametric import recalls

from tsne_ooc import TSNE
from tsne_ooc._parallel import Threads
from tsne_ooc.gradients.attraction import Attraction
from tsne_ooc.gradients.repulsion import FieldRepulsion
from tsne_ooc.joint import Joint
from tsne_ooc.metrics import label_accuracy
from tsne_ooc.neighbors import Exact

NEW = 10_000


class Map(NamedTuple):
    """Where a program puts the rows and the new ones, and what it says of itself."""

    name: str
    Y: np.ndarray
    new: np.ndarray
    told: dict


def encoder(name: str, python: str, folder: Path, args) -> Map | None:
    """Train a program in a process of its own; None where it is not installed."""
    options = ("seconds", "width", "depth", "jobs", "augmentation")
    command = [python, str(Path(__file__).with_name("neural_programs.py")), "--program", name, "--folder", str(folder)]
    command += [text for option in options for text in (f"--{option}", str(getattr(args, option)))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == MISSING:
        common.note(f"{name} is left out: {python} does not have it")
        return None
    if done.returncode:
        sys.exit(f"the child process ended with {done.returncode}: {' '.join(command)}")
    told = json.loads(done.stdout.strip().splitlines()[-1])
    common.note(f"{name}: {told['steps']}, {told['seconds']:.1f} s ({told['versions']})")
    return Map(name, np.load(folder / "Y.npy"), np.load(folder / "Y-new.npy"), told)


def best_scale(P: Joint, Y: np.ndarray, args) -> float:
    """The factor on a map that makes its divergence least, by the approximate field."""
    from scipy.optimize import minimize_scalar

    attraction, repulsion = Attraction(P, 2, 1.0, Threads(args.jobs)), FieldRepulsion(1.0, Threads(args.jobs))

    def divergence(power: float) -> float:
        stretched = np.ascontiguousarray(Y * np.float32(10**power), np.float32)
        return attraction.divergence(stretched, repulsion(stretched, np.empty_like(stretched)))

    # Around the width of a map of t-SNE.
    middle = np.log10(np.sqrt(len(Y)) / max(float(np.ptp(Y, axis=0).max()), 1e-9))
    return float(10 ** minimize_scalar(divergence, bounds=(middle - 1, middle + 1), method="bounded").x)


def draw(maps: list[Map], labels: np.ndarray, path: Path) -> None:
    """All maps side by side, coloured by label."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    across = 4 if len(maps) > 6 else min(3, len(maps))
    down = -(-len(maps) // across)
    figure, axes = plt.subplots(down, across, figsize=(4 * across, 4.2 * down), squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for axis, found in zip(axes.flat, maps, strict=False):
        # Rows of one class must not cover those before.
        order = np.random.default_rng(0).permutation(len(labels))
        axis.scatter(*found.Y[order].T, c=labels[order], cmap="tab10", s=0.5, linewidths=0, rasterized=True)
        # A few rows far out would make a dot of all others.
        low, high = np.percentile(found.Y, [0.1, 99.9], axis=0)
        margin = 0.05 * (high - low)
        axis.set(title=found.name, xlim=(low[0] - margin[0], high[0] + margin[0]))
        axis.set_ylim(low[1] - margin[1], high[1] + margin[1])
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = common.options(__doc__, repeats=False)
    parser.add_argument("--seconds", type=float, default=180.0, help="of each training (default 180)")
    parser.add_argument("--width", type=int, default=256, help="units of a hidden layer (default 256)")
    parser.add_argument("--depth", type=int, default=4, help="hidden layers (default 4)")
    parser.add_argument("--augmentation", type=float, default=0.5, help="share of moved rows, ours (default 0.5)")
    parser.add_argument("--programs", nargs="+", choices=list(PROGRAMS), default=list(PROGRAMS))
    parser.add_argument(
        "--python", nargs="+", default=[], metavar="PROGRAM=PATH", help="interpreters, such as ivis=venv/bin/python"
    )
    parser.add_argument("--picture", type=Path, help="draw the maps of the 60,000 rows to this file")
    args = common.parse(parser)
    if args.quick:
        args.seconds, args.width, args.depth = 1.0, 16, 2
    pythons = dict(text.split("=", 1) for text in args.python)
    if unknown := sorted(pythons.keys() - PROGRAMS.keys()):
        parser.error(f"--python {unknown[0]}=...: no such program; there are {', '.join(PROGRAMS)}")
    whole = data_sets.load("mnist", args)
    mixed = np.random.default_rng(3).permutation(len(whole.X))
    out = min(NEW, len(mixed) // 7)
    kept, new = np.sort(mixed[out:]), np.sort(mixed[:out])
    data, Q, labels = data_sets.Data(f"mnist-{len(kept)}", whole.X[kept], whole.y[kept]), whole.X[new], whole.y[new]

    common.note(f"mapping {len(data.X):,} rows")
    began = time.perf_counter()
    model = TSNE(random_state=0, n_jobs=args.jobs).fit(data.X)
    fitted = time.perf_counter() - began
    model.transform(Q[:500])
    began = time.perf_counter()
    placed = model.transform(Q)
    rate = len(Q) / (time.perf_counter() - began)
    told = {"before": "", "seconds": fitted, "steps": f"{model.n_iter_} iterations", "rate": rate, "versions": ""}
    maps = [Map("TSNE, not a function", model.embedding_, placed, told)]
    folder = args.work / "neural-peers"
    folder.mkdir(exist_ok=True)
    np.save(folder / "X.npy", data.X)
    np.save(folder / "new.npy", Q)
    trained = [encoder(name, pythons.get(name, sys.executable), folder, args) for name in args.programs]
    maps += [found for found in trained if found is not None]
    if args.picture:
        draw(maps, data.y, args.picture)

    P = problems.problem(data, args, reorder=False).P
    neighbors, _ = data_sets.exact_neighbors(data, problems.NEIGHBORS, args)
    index = Exact().build(data.X, rng=np.random.default_rng(0), threads=Threads(args.jobs))
    near = index.query(Q, 10)[0]
    rows = []
    for name, Y, Y_new, told in maps:
        scaled = Y * np.float32(best_scale(P, Y, args))
        found = (
            problems.divergence(P, Y, args), problems.divergence(P, scaled, args), *recalls(neighbors, Y),
            label_accuracy(Y, data.y, 10, sample=None), *recalls(near, Y, Y_new),
            label_accuracy(Y, data.y, 10, Y_new, labels, sample=None),
        )  # fmt: skip
        cells = (told["before"], told["seconds"], told["steps"], *(f"{value:.3f}" for value in found))
        rows.append((name, *cells, round(told["rate"])))
    header = (
        "map", "s before", "s", "course", "KL (exact Z)", "at its best scale", "r10", "r50", "labels", "new r10",
        "new r50", "new labels", "rows/s of transform",
    )  # fmt: skip
    title = (
        f"Encoders of {args.width} x {args.depth}, {args.seconds:g} s, MNIST, {len(kept):,} rows and {out:,} new ones"
    )
    common.report(title, header, rows, args)
    print("; ".join(f"{found.name}: {found.told['versions']}" for found in maps[1:]))


if __name__ == "__main__":
    main()
