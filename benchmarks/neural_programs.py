"""One of the encoders of neural_peers.py, in a process and with an interpreter of its own; not to be run by hand.

It reads the rows to learn from and the new ones, trains for so many seconds, and writes where it puts them all. Nothing
of this repository is needed here but for our own encoder, since the peers need libraries that do not go together.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

#: Exit code where a library is missing.
MISSING = 3


class Trained(NamedTuple):
    """An encoder: what it is, seconds before the training and within, what it did then, and its `transform`."""

    before: float
    seconds: float
    steps: str
    transform: Callable[[np.ndarray], np.ndarray]


def unit(X: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All rows divided by one number, after which the mean square of a cell is 1.

    Peers do not standardise, and rows of up to 255 a pixel would be far from what their networks begin with. Neighbours
    stay what they were.
    """
    size = np.float32(np.sqrt(np.square(X, dtype=np.float64).mean()))
    return X / size, new / size


def parametric_umap(X: np.ndarray, args: argparse.Namespace) -> Trained:
    """Parametric UMAP, its defaults; the rate does not change in the course, so it is stopped when the time is over."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(args.jobs)
    import keras
    from umap.parametric_umap import ParametricUMAP

    layers = keras.layers
    encoder = keras.Sequential([layers.Input((X.shape[1],)), *_dense(keras, args, "relu"), layers.Dense(2, name="z")])
    clock = _deadline(keras.callbacks.Callback, args.seconds)
    # The number of epochs is no bound: the clock is.
    model = ParametricUMAP(encoder=encoder, random_state=None, keras_fit_kwargs={"callbacks": [clock], "verbose": 0})
    model.n_training_epochs = 1000
    began = time.perf_counter()
    model.fit(X)
    steps = f"{clock.told['batches']:,} batches of {model.batch_size:,} edges"
    return Trained(clock.told["began"] - began, clock.told["seconds"], steps, model.transform)


def ivis(X: np.ndarray, args: argparse.Namespace) -> Trained:
    """ivis, its defaults, stopped when the time is over; layers of its own kind (SELU, dropout of a tenth)."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(args.jobs)
    from ivis import Ivis

    keras = tf.keras
    layers: list[Any] = []
    for layer in _dense(keras, args, "selu", kernel_initializer="lecun_normal"):
        layers += [layer, keras.layers.AlphaDropout(0.1)]
    network = keras.Sequential([keras.layers.Input((X.shape[1],)), *layers[:-1]])
    clock = _deadline(keras.callbacks.Callback, args.seconds)
    model = Ivis(model=network, k=min(150, len(X) // 4), batch_size=128, callbacks=[clock], verbose=0)
    began = time.perf_counter()
    model.fit(X)
    steps = f"{clock.told['batches']:,} batches of 128 triplets"
    return Trained(clock.told["began"] - began, clock.told["seconds"], steps, model.transform)


def _dense(keras: Any, args: argparse.Namespace, activation: str, **options: Any) -> list[Any]:
    return [keras.layers.Dense(args.width, activation=activation, **options) for _ in range(args.depth)]


def _deadline(base: type, limit: float) -> Any:
    """A callback of Keras that ends a training so many seconds after its second batch (the first one compiles)."""

    class Clock(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            # Shared by copies, of which ivis makes one.
            self.told: dict[str, Any] = {"batches": 0}

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            now, told = time.perf_counter(), self.told
            told["batches"] += 1
            if told["batches"] <= 2:
                told["began"] = now
            told["seconds"] = now - told["began"]
            if told["batches"] > 2 and told["seconds"] >= limit:
                self.model.stop_training = True

    return Clock()


def cne_neg(X: np.ndarray, args: argparse.Namespace) -> Trained:
    """contrastive-ne with NEG-t-SNE (s = 0)."""
    return _cne(X, args, loss_mode="neg", s=0.0)


def cne_infonce(X: np.ndarray, args: argparse.Namespace) -> Trained:
    """contrastive-ne with its default loss, InfoNC-t-SNE."""
    return _cne(X, args, loss_mode="infonce")


def _cne(X: np.ndarray, args: argparse.Namespace, **loss: Any) -> Trained:
    """Adam, which its authors advise for networks, and batches of 1,024 edges; all else its defaults.

    The rate falls with the epochs, so two epochs say how many there is time for.
    """
    import torch

    torch.set_num_threads(args.jobs)
    from cne import CNE

    def fit(epochs: int, graph: Any) -> tuple[Any, list[float]]:
        torch.manual_seed(0)
        sizes = [X.shape[1], *[args.width] * args.depth]
        layers: list[Any] = []
        for a, b in itertools.pairwise(sizes):
            layers += [torch.nn.Linear(a, b), torch.nn.ReLU()]
        network = torch.nn.Sequential(*layers, torch.nn.Linear(sizes[-1], 2))
        rows = torch.nn.Embedding.from_pretrained(torch.from_numpy(X), freeze=True)
        times: list[float] = []
        model = CNE(
            torch.nn.Sequential(rows, network), parametric=True, n_epochs=epochs, batch_size=1024, optimizer="adam",
            save_freq=1, callback=lambda *_: times.append(time.perf_counter()), print_freq_epoch=None, **loss,
        )  # fmt: skip
        # A start is of no use to a network, but version 0.4.0 asks for its length.
        model.fit(X, init=X, graph=graph)
        model.network = network
        return model, times

    began = time.perf_counter()
    tried, times = fit(2, None)
    before, each = times[0] - began, times[2] - times[1]
    epochs = max(1, round(args.seconds / each))
    model, times = fit(epochs, tried.neighbor_mat)
    steps = f"{epochs:,} epochs of {tried.neighbor_mat.nnz:,} edges"
    return Trained(before, times[-1] - times[0], steps, lambda rows: model.transform(rows))


def ours(X: np.ndarray, args: argparse.Namespace) -> Trained:
    """Our network as it comes, trained as docs/parametric.md advises for new rows of large tables."""
    args.width, args.landmarks = 128, "auto"
    return _ours(X, args)


def ours_alike(X: np.ndarray, args: argparse.Namespace) -> Trained:
    """Our network like those of the others, without landmarks, trained alike."""
    args.landmarks = 0
    return _ours(X, args)


def _ours(X: np.ndarray, args: argparse.Namespace) -> Trained:
    # A few batches say how many there is time for, since the rate falls with their number.
    import torch

    torch.set_num_threads(args.jobs)
    args.batches = None
    from parametric import trained

    from tsne_ooc import TSNE

    TSNE(n_iter=5, random_state=0, n_jobs=args.jobs).fit(X[:1000])
    began = time.perf_counter()
    teacher = TSNE(random_state=0, n_jobs=args.jobs).fit(X)
    before = time.perf_counter() - began
    model, spent = trained("distillation, then field", teacher, X, 0, args)
    return Trained(before, spent, f"{model.n_iter_:,} batches of {model.batch_size:,} rows", model.transform)


PROGRAMS: dict[str, tuple[Callable[[np.ndarray, argparse.Namespace], Trained], tuple[str, ...]]] = {
    "tsne_ooc": (ours, ("tsne_ooc", "torch")),
    "tsne_ooc, no landmarks": (ours_alike, ("tsne_ooc", "torch")),
    "parametric UMAP": (parametric_umap, ("umap-learn", "tensorflow", "tensorflow-cpu", "keras")),
    "ivis": (ivis, ("ivis", "tensorflow", "tensorflow-cpu")),
    "cne, NEG-t-SNE": (cne_neg, ("contrastive-ne", "torch")),
    "cne, InfoNC-t-SNE": (cne_infonce, ("contrastive-ne", "torch")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", choices=list(PROGRAMS), required=True)
    parser.add_argument("--folder", type=Path, required=True, help="holds X.npy and new.npy, gets Y.npy and Y-new.npy")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--depth", type=int, required=True)
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--augmentation", type=float, required=True)
    args = parser.parse_args()
    # Before any of the libraries is loaded.
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
    run, packages = PROGRAMS[args.program]
    X, new = (np.load(args.folder / name) for name in ("X.npy", "new.npy"))
    if run not in (ours, ours_alike):
        X, new = unit(X, new)
    # Libraries print as they like; the last line of stdout is the answer.
    answer, sys.stdout = sys.stdout, sys.stderr
    try:
        found = run(X, args)
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(MISSING)
    found.transform(X[:2000])
    began = time.perf_counter()
    Y = found.transform(X)
    rate = len(X) / (time.perf_counter() - began)
    np.save(args.folder / "Y.npy", np.asarray(Y, np.float32))
    np.save(args.folder / "Y-new.npy", np.asarray(found.transform(new), np.float32))
    told = {"before": found.before, "seconds": found.seconds, "steps": found.steps, "rate": rate}
    print(json.dumps({**told, "versions": _versions(packages)}), file=answer)


def _versions(packages: tuple[str, ...]) -> str:
    found = []
    for package in packages:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


if __name__ == "__main__":
    main()
