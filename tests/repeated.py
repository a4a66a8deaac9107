"""Calls as the documentation has them, killed and made once more, unchanged.

`python tests/repeated.py MODE FOLDER PAD` makes each call of `CALLS` in a process of its own that is forked from one
that has everything loaded (some 12 seconds): with MODE "kill" it dies at a certain mark, with "again" it is left alone,
and says by what it went on. PAD shifts all addresses, so that nothing may hang on them.
"""

from __future__ import annotations

import faulthandler
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np

ROWS = 400
RNG = np.random.default_rng(0)
X = ((RNG.normal(size=(5, 6)) * 5)[RNG.integers(0, 5, ROWS)] + RNG.normal(size=(ROWS, 6))).astype(np.float32)
X[-8:] += 60
SHORT = {"n_iter": 10, "early_exaggeration_iter": 10}


class Half:
    """A transformer of one's own."""

    def transform(self, rows):
        return rows / 2


def stopping(at):
    frames = []
    return lambda i, error, Y: frames.append(i) or error < at


def npy(folder):
    return folder / "X.npy"


def zarr(folder):
    return folder / "X.zarr"


def parquet(folder):
    return folder / "parts"


def make_tables(folder):
    import pandas as pd
    import zarr as library

    from tsne_ooc import TSNE

    np.save(npy(folder), X)
    library.open_group(zarr(folder), mode="w")["X"] = X
    parquet(folder).mkdir()
    for part in range(2):
        frame = pd.DataFrame(X[part::2], columns=list("abcdef"))
        frame.to_parquet(parquet(folder) / f"{part}.parquet")
    TSNE(**SHORT, random_state=0).fit(X).save(folder / "model")


def embed(folder, source, out, **options):
    import tsne_ooc

    tsne_ooc.embed(source, out=out, block_rows=90, resume=True, **options)
    return sorted(out.glob("*.npy"))


def prepared_by_an_own_transformer(folder):
    from tsne_ooc.preprocess import Preparation, PreparedSource, Transformer

    source = PreparedSource(X, Preparation([Transformer(Half())]).fit(X))
    return embed(folder, source, folder / "own transformer")


def behind_steps(folder):
    from tsne_ooc.preprocess import PCA, Preparation, Standardize

    return embed(folder, npy(folder), folder / "steps", prepare=Preparation([Standardize(), PCA(4)]), sample=200)


def with_objects(folder):
    """Two rounds, with options that no file holds."""
    from tsne_ooc import TSNE, Perplexity

    class Mine(Perplexity):
        pass

    tsne = TSNE(
        **SHORT, random_state=np.random.default_rng(5), affinity=Mine(10), metric="seuclidean",
        metric_params={"V": X.var(axis=0)}, callbacks=stopping(0.1), callbacks_every_iters=2,
    )  # fmt: skip
    return embed(folder, npy(folder), folder / "objects", tsne=tsne, sample=np.arange(200), rounds=2)


def place(folder, source, out):
    from tsne_ooc.pipeline import place

    place(folder / "model", source, out=out, block_rows=90, resume=True)
    return sorted(out.glob("*.npy"))


def transform_to(folder, source, path):
    import tsne_ooc
    from tsne_ooc.io import open_source

    tsne_ooc.load(folder / "model").transform_to(open_source(source), path, resume=True)
    return [path]


def encoder(**options):
    from tsne_ooc.parametric import ParametricTSNE

    return ParametricTSNE(
        **{"network": (16, 1), "n_iter": 12, "batch_size": 50, "objective": "distillation", **options}
    )


def fit(folder, source, checkpoint, **options):
    from tsne_ooc.io import open_source

    model = encoder(**options).fit(open_source(source), checkpoint=checkpoint)
    # Without a seed that was asked for, an unbroken one is that of the same seed.
    whole = encoder(**options, random_state=model.seed_).fit(open_source(source))
    np.testing.assert_array_equal(model.transform(X), whole.transform(X))
    return [checkpoint / "manifest.json"]


def decoded(folder):
    from tsne_ooc.parametric import Decoder

    return fit(folder, npy(folder), folder / "decoded", decoder=Decoder((16, 1), n_iter=12))


def with_a_network(folder):
    import torch

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    return fit(folder, npy(folder), folder / "own network", network=network)


def train(folder, source, out, **options):
    from tsne_ooc.pipeline import train

    train(source, out=out, encoder=encoder(), resume=True, **options)
    return sorted(out.glob("*.safetensors"))


# What is called, and at which mark it dies: of the ledger's, or of the checkpoints'.
CALLS = {
    "embed": (lambda folder: embed(folder, npy(folder), folder / "embed"), 4),
    "embed into the table's own Zarr folder": (lambda folder: embed(folder, zarr(folder), zarr(folder) / "map"), 4),
    "embed into the table's own folder of parts": (
        lambda folder: embed(folder, parquet(folder), parquet(folder) / "map"), 4,
    ),
    "embed behind a transformer of one's own": (prepared_by_an_own_transformer, 4),
    "embed behind steps": (behind_steps, 4),
    "embed in two rounds, with objects": (with_objects, 4),
    "embed in two rounds, with objects, killed later": (with_objects, 8),
    "place": (lambda folder: place(folder, npy(folder), folder / "place"), 3),
    "place into the table's own folder": (lambda folder: place(folder, zarr(folder), zarr(folder) / "place"), 3),
    "transform_to": (lambda folder: transform_to(folder, npy(folder), folder / "Y.npy"), 2),
    "transform_to the table's own folder": (
        lambda folder: transform_to(folder, zarr(folder), zarr(folder) / "Y.npy"), 2,
    ),
    "fit": (lambda folder: fit(folder, npy(folder), folder / "state"), 2),
    "fit, kept in the table's own folder": (lambda folder: fit(folder, zarr(folder), zarr(folder) / "state"), 2),
    "fit with a decoder": (decoded, 4),
    "fit a network of one's own": (with_a_network, 2),
    "train": (lambda folder: train(folder, npy(folder), folder / "train"), 3),
    "train within the table's own folder": (lambda folder: train(folder, zarr(folder), zarr(folder) / "train"), 4),
    "train on a saved map": (lambda folder: train(folder, npy(folder), folder / "mapped", map=folder / "model"), 3),
}  # fmt: skip


def watch(die_at):
    """Die at a mark, and count what is gone on from."""
    from tsne_ooc.parametric import ParametricTSNE
    from tsne_ooc.parametric.checkpoint import Checkpoint
    from tsne_ooc.storage.ledger import Ledger

    ParametricTSNE.LOOK_EVERY = 4
    marks, went_on = [], []

    def counted(kind, name, count):
        real = getattr(kind, name)

        def watched(*arguments, **options):
            found = real(*arguments, **options)
            count.append(name)
            if count is marks and len(marks) == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        return watched

    Ledger.write, Checkpoint.write = counted(Ledger, "write", marks), counted(Checkpoint, "write", marks)
    read = Ledger.read.__func__
    Ledger.read = classmethod(lambda kind, path: went_on.append("read") or read(kind, path))
    Checkpoint.read = counted(Checkpoint, "read", went_on)
    return went_on


def main(mode, folder, pad):
    import torch

    import tsne_ooc.parametric  # noqa: F401

    torch.set_num_threads(1)
    tables = folder / "tables"
    if not tables.exists():
        tables.mkdir()
        make_tables(tables)
    with tempfile.TemporaryDirectory() as passing:
        # Each child has all loaded then: libraries, and kernels. Nothing is trained here: torch does not bear forks.
        shutil.copytree(tables, Path(passing), dirs_exist_ok=True)
        for warm in ("embed in two rounds, with objects", "transform_to the table's own folder"):
            CALLS[warm][0](Path(passing))
    pads = [object() for _ in range(pad)]
    for name, (call, mark) in CALLS.items():
        ear, mouth = os.pipe()
        child = os.fork()
        if child == 0:
            home = folder / name.replace("/", " ")
            if not home.exists():
                shutil.copytree(tables, home)
            # A child that hangs says where, and ends.
            faulthandler.dump_traceback_later(120, exit=True)
            went_on = watch(mark if mode == "kill" else None)
            try:
                files = [str(file) for file in call(home)]
                told = {"files": files, "went_on": len(went_on), "error": None}
            except BaseException as error:
                told = {"files": [], "went_on": 0, "error": f"{type(error).__name__}: {error}"}
            os.write(mouth, json.dumps(told).encode())
            os._exit(0)
        os.close(mouth)
        with os.fdopen(ear) as said:
            told = json.loads(said.read() or "{}")
        _, status = os.waitpid(child, 0)
        print(json.dumps({"name": name, "status": os.waitstatus_to_exitcode(status), **told}), flush=True)
    del pads


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
