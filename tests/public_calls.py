"""Every public call on something small, what comes out of it as bytes, and the state of the process around it.

`python tests/public_calls.py [rounds]` does for all of them what the suite does for some, each from six threads at
once, for so many rounds (a round takes two minutes of two cores).
"""

from __future__ import annotations

import faulthandler
import gc
import hashlib
import importlib
import locale
import logging
import os
import random
import resource
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist
from sklearn.preprocessing import StandardScaler

import tsne_ooc
from tsne_ooc import TSNE
from tsne_ooc._blas import libraries

QUICK: dict[str, Any] = {"perplexity": 8, "early_exaggeration_iter": 10, "n_iter": 20, "random_state": 0, "n_jobs": 2}
SHORT: dict[str, Any] = {"network": (16, 1), "landmarks": 16, "n_iter": 12, "random_state": 0, "batch_size": 64}
CALLS: dict[str, Callable[[Path], Any]] = {}
Call = Callable[[Path], Any]


def call(function: Call) -> Call:
    CALLS[function.__name__] = function
    return function


def rows(n: int = 300, p: int = 11, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    centres = 8 * np.random.default_rng(7).normal(size=(5, p))
    return (rng.normal(size=(n, p)) + centres[rng.integers(0, 5, n)]).astype(np.float32)


def sparse() -> Any:
    return csr_array(np.maximum(rows(), 0))


def fit(X: Any = None, **options: Any) -> Any:
    return TSNE(**{**QUICK, **options}).fit(rows() if X is None else X)


@cache
def model() -> Any:
    return fit()


@cache
def encoder() -> Any:
    from tsne_ooc.parametric import Decoder, ParametricTSNE

    return ParametricTSNE(TSNE(**QUICK), decoder=Decoder((16, 1), n_iter=5), **SHORT).fit(rows())


def answers(fitted: Any) -> Any:
    return fitted.embedding_, fitted.kl_divergence_, fitted.novelty_


FITS: dict[str, Callable[[], Any]] = {
    "pca": lambda: fit(),
    "spectral": lambda: fit(initialization="spectral"),
    "spectral, dense": lambda: fit(rows(150), initialization="spectral"),
    "random": lambda: fit(initialization="random"),
    "wide": lambda: fit(rows(100, 400)),
    "sparse": lambda: fit(sparse()),
    "three axes": lambda: fit(n_components=3),
    "heavy tails": lambda: fit(dof=0.6),
    "inverted file": lambda: fit(neighbors="ivf"),
    "hnsw": lambda: fit(neighbors="hnsw"),
    "cosine": lambda: fit(metric="cosine"),
    "mahalanobis": lambda: fit(rows(300, 150), metric="mahalanobis"),
    "manhattan": lambda: fit(metric="manhattan"),
    "precomputed": lambda: fit(cdist(rows(), rows()), metric="precomputed"),
    "multiscale": lambda: fit(affinity="multiscale"),
    "mixture": lambda: fit(affinity="mixture"),
    "copies": lambda: fit(np.repeat(rows(100), 3, axis=0)),
    "sample": lambda: fit(sample=150),
    "prepared": lambda: fit(prepare=preparation()),
}


def preparation() -> Any:
    from tsne_ooc.preprocess import PCA, Preparation, Standardize, Transformer

    return Preparation([Transformer(StandardScaler()), Standardize(robust=True), PCA(6)])


for _name, _fit in FITS.items():
    CALLS[f"fit, {_name}"] = lambda folder, fit=_fit: answers(fit())


@call
def fit_transform(folder: Path) -> Any:
    return TSNE(**QUICK, sample=150).fit_transform(rows())


@call
def continue_fit(folder: Path) -> Any:
    return answers(fit().continue_fit(5))


@call
def refine(folder: Path) -> Any:
    refined = model().refine(rows(400, seed=3), early_exaggeration_iter=10, n_iter=20)
    return *answers(refined), *refined.placed_


@call
def affinities(folder: Path) -> Any:
    P = model().affinities_
    return P.data, P.indices, P.indptr, model().recall_


@call
def transform(folder: Path) -> Any:
    return model().transform(rows(40, seed=1)), model().score_samples(rows(40, seed=1)), *model().place(rows(9, seed=2))


@call
def transform_to(folder: Path) -> Any:
    return model().transform_to(rows(40, seed=1), folder / "Y.npy")


@call
def save_and_load(folder: Path) -> Any:
    model().save(folder / "model")
    return tsne_ooc.load(folder / "model").transform(rows(40, seed=1))


@call
def embed(folder: Path) -> Any:
    run = tsne_ooc.embed(rows(), out=folder / "map", sample=150, rounds=2, tsne=TSNE(**QUICK))
    return run.embedding, run.novelty, tsne_ooc.open_run(folder / "map").sample_rows


@call
def place(folder: Path) -> Any:
    model().save(folder / "model")
    return tsne_ooc.place(folder / "model", rows(40, seed=1), out=folder / "places").embedding


@call
def look(folder: Path) -> Any:
    np.save(folder / "x.npy", rows())
    return str(tsne_ooc.look(folder / "x.npy")).replace(str(folder), "")


@call
def groups(folder: Path) -> Any:
    from tsne_ooc.groups import Groups

    return *Groups(model(), 5).fitted, *Groups(model(), 5).score(rows(40, seed=1))


@call
def refit(folder: Path) -> Any:
    from tsne_ooc.rounds import Seated, enlarge
    from tsne_ooc.rounds import refit as again

    start = Seated(np.arange(300), rows(), model().embedding_)
    more = Seated(np.arange(300, 340), rows(40, seed=1), model().transform(rows(40, seed=1)))
    return answers(again(model(), enlarge(start, more)))


@call
def measures(folder: Path) -> Any:
    from tsne_ooc import metrics

    X, Y = rows(), model().embedding_
    return (
        metrics.neighbor_recall(X, Y, sample=50),
        metrics.trustworthiness(X, Y, sample=50),
        metrics.label_accuracy(Y, np.arange(300) % 3),
        metrics.kl_divergence(model().affinities_, Y),
        metrics.distance_correlation(X, Y, sample=100),
    )


@call
def prepare(folder: Path) -> Any:
    return preparation().fit(rows()).transform(rows())


@call
def prepare_wide(folder: Path) -> Any:
    from tsne_ooc.preprocess import PCA, Preparation

    return Preparation([PCA(3)]).fit(rows(40, 4200)).transform(rows(40, 4200))


@call
def batches(folder: Path) -> Any:
    from tsne_ooc.batches import Batches

    with Batches(rows(), batch_size=64, seed=1) as found:
        return [array for batch in found for array in batch]


@call
def sample(folder: Path) -> Any:
    from tsne_ooc import sampling

    return sampling.Coverage(50).draw(rows(), np.random.default_rng(0))


@call
def export(folder: Path) -> Any:
    from tsne_ooc.export import export as to

    tsne_ooc.embed(rows(), out=folder / "map", tsne=TSNE(**QUICK))
    to(folder / "map", folder / "map.csv")
    to(folder / "map", folder / "map.h5")
    return (folder / "map.csv").read_bytes()


@call
def scatter(folder: Path) -> Any:
    from matplotlib.figure import Figure

    from tsne_ooc.plot import scatter as draw

    draw(model().embedding_, np.arange(300) % 3, ax=Figure().subplots())


@call
def encoder_fit(folder: Path) -> Any:
    from tsne_ooc.parametric import ParametricTSNE

    return ParametricTSNE(TSNE(**QUICK), **SHORT).fit(rows()).transform(rows())


@call
def encoder_with_dropout(folder: Path) -> Any:
    import torch

    from tsne_ooc.parametric import ParametricTSNE
    from tsne_ooc.parametric.shared import borrowed_generator

    class Loose(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(11, 2)
            with torch.no_grad():
                self.layer.weight.copy_(torch.linspace(-1, 1, 22).reshape(2, 11))
                self.layer.bias.zero_()

        def forward(self, x: Any) -> Any:
            return self.layer(torch.nn.functional.dropout(x, 0.5, self.training))

    with borrowed_generator():
        network = Loose()
    options = {**SHORT, "network": network, "landmarks": 0}
    return ParametricTSNE(TSNE(**QUICK), **options).fit(rows()).transform(rows())


@call
def encoder_answers(folder: Path) -> Any:
    found = encoder()
    Y = found.transform(rows(40, seed=1))
    return Y, found.score_samples(rows(40, seed=1)), found.inverse_transform(Y), found.reconstruction_error(rows(9))


@call
def encoder_saved(folder: Path) -> Any:
    from tsne_ooc.parametric import load

    encoder().save(folder / "encoder")
    return load(folder / "encoder").transform(rows(40, seed=1))


@call
def train(folder: Path) -> Any:
    from tsne_ooc.parametric import ParametricTSNE
    from tsne_ooc.pipeline import train as learn

    short = ParametricTSNE(**SHORT)
    return learn(rows(), out=folder / "encoder", encoder=short, tsne=TSNE(**QUICK)).transform(rows())


@call
def command_line(folder: Path) -> Any:
    from tsne_ooc.cli import main

    np.save(folder / "x.npy", rows())
    assert main(["embed", str(folder / "x.npy"), "--out", str(folder / "map"), "--perplexity", "8"]) == 0
    return np.load(folder / "map" / "embedding.npy")


# A program and not a part of one: how warnings are shown is its own affair.
ALONE = {"command_line"}
NEURAL = {"encoder_fit", "encoder_with_dropout", "encoder_answers", "encoder_saved", "train"}


def digest(value: Any) -> str:
    """One number for whatever came out."""
    found = hashlib.sha256()

    def add(part: Any) -> None:
        if isinstance(part, Path):
            part = part.read_bytes()
        if isinstance(part, list | tuple):
            for inner in part:
                add(inner)
        elif isinstance(part, np.ndarray):
            found.update(f"{part.dtype} {part.shape}".encode() + np.ascontiguousarray(part).tobytes())
        elif hasattr(part, "__dict__") and not isinstance(part, type):
            add(sorted(vars(part).items()))
        else:
            found.update(part if isinstance(part, bytes) else repr(part).encode())

    add(value)
    return found.hexdigest()


def state() -> dict[str, Any]:
    """What the whole process shares and a call must leave as it was, in words that can be compared."""
    import numba

    numbers = np.random.get_state()  # noqa: NPY002
    found = {
        "BLAS": {library.path: library.get() for library in libraries()},
        "NumPy's generator": hashlib.sha256(repr(numbers).encode()).hexdigest(),
        "Python's generator": hashlib.sha256(repr(random.getstate()).encode()).hexdigest(),
        "threads of Numba": numba.get_num_threads(),
        "filters of warnings": [tuple(map(str, rule)) for rule in warnings.filters],
        "how warnings are shown": warnings.showwarning,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "NumPy's errors": np.geterr(),
        "NumPy's printing": repr(np.get_printoptions()),
        "signals": {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)},
        "locale": locale.setlocale(locale.LC_ALL),
        "mask of new files": _mask(),
        "limits": [resource.getrlimit(kind) for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS)],
        "logging": {name: (logging.getLogger(name).level, list(logging.getLogger(name).handlers)) for name in LOGGERS},
        "garbage": (gc.isenabled(), gc.get_threshold()),
        "recursion": sys.getrecursionlimit(),
        "switch interval": sys.getswitchinterval(),
        "hooks": (sys.excepthook, threading.excepthook, sys.unraisablehook),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "faults": faulthandler.is_enabled(),
        "files": _open_files(),
    }
    if "faiss" in sys.modules:
        found["threads of faiss"] = sys.modules["faiss"].omp_get_max_threads()
    if "matplotlib" in sys.modules:
        found["matplotlib"] = {**sys.modules["matplotlib"].rcParams}
    if (torch := sys.modules.get("torch")) is not None:
        found["torch's generator"] = torch.get_rng_state().numpy().tobytes().hex()[:10_000]
        found["threads of torch"] = torch.get_num_threads()
        found["torch"] = (
            torch.get_default_dtype(), torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
            torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision(),
        )  # fmt: skip
    return found


LOGGERS = ("", "tsne_ooc", "torch.onnx", "numba", "h5py")


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _open_files() -> list[str]:
    """What is open, but for what threads and libraries keep; mapped arrays of a folder go with the objects."""
    gc.collect()
    found = []
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue
    return sorted(path for path in found if path.startswith("/") and not path.startswith(("/dev", "/proc")))


def load_everything(neural: bool) -> None:
    """Libraries set up the process as they are loaded; that is their own affair."""
    import anndata  # noqa: F401
    import faiss  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import numba
    import pandas  # noqa: F401
    import sklearn.decomposition  # noqa: F401

    for name in (*tsne_ooc.__all__, *sorted(tsne_ooc._MODULES - {"parametric"})):
        getattr(tsne_ooc, name)
    if neural:
        importlib.import_module("tsne_ooc.parametric")
    # Numba sets what OpenMP goes by when its threads begin, and `state` asks it for them.
    numba.get_num_threads()
    for fixture in (model, *([encoder] if neural else [])):
        fixture()


def changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


def at_once(function: Call, folders: list[Path]) -> list[str]:
    """What comes out where so many threads begin together."""
    meeting, found = threading.Barrier(len(folders)), ["no answer"] * len(folders)

    def one(number: int) -> None:
        meeting.wait(60)
        try:
            found[number] = digest(function(folders[number]))
        except BaseException as error:
            found[number] = repr(error)
            raise

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(folders))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def main(rounds: int) -> None:
    """Every call, from the main thread and from six others, whatever the limit on BLAS is."""
    import tempfile

    import torch

    load_everything(neural=True)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    wrong = 0
    for number in range(rounds):
        for name, function in CALLS.items():
            others = 0 if name in ALONE else 6
            with tempfile.TemporaryDirectory() as folder:
                for library in libraries():
                    library.set(1 + number % 3)
                folders = [Path(folder) / str(place) for place in range(1 + others)]
                for path in folders:
                    path.mkdir()
                before = state()
                found = {digest(function(folders[0])), *at_once(function, folders[1:])}
                left = changed(before, state())
                if len(found) > 1 or left:
                    wrong += 1
                    print(f"round {number}: {name}: {len(found)} answers; left otherwise: {left}", flush=True)
    print(f"{rounds} rounds of {len(CALLS)} calls, {wrong} wrong")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
