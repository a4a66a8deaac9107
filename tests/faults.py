"""Runs that die when they are told to.

`Runs` is a process that has everything loaded, and forks one run after the other: starting Python and its libraries
takes two seconds, a fork some milliseconds. A run kills itself (SIGKILL: no handler, no clean-up, no last flush) at a
chosen call that concerns the disk, at a block, in the middle of a write, or is killed from outside after a time. In
place of dying, a call can fail with an error of the system.
"""

from __future__ import annotations

import errno
import faulthandler
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KILLED = -signal.SIGKILL
# A run takes a second or so. One that hangs says where, and ends.
SECONDS = 200


class Runs:
    """The process that forks runs; a context manager."""

    def __init__(self):
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **one},
        )  # fmt: skip

    def run(self, task, die=None, **options):
        """Run `task` ("embed", "place" or "transform_to") and return how it ended.

        Parameters
        ----------
        die : dict, optional
            ``at``: "fsync", "replace", "rename" or "call" (any of them); "block", "torn" (half a block is written),
            "fit", "search", "weigh", "refine" or "keep" (of all rows together), or "seconds". ``count``: which of them.
            ``error``: number of the error to fail with, instead.
        options
            ``data`` (an HDF5 file), ``out``, ``model``, ``sample``, ``rounds``, ``block_rows``, ``n_jobs``,
            ``refine``, ``resume``, ``log``.

        Returns
        -------
        dict
            ``status`` (0, or minus the signal), ``said`` (the error), ``calls`` (those that concerned the disk).
        """
        options = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
        self._process.stdin.write(json.dumps({"task": task, "die": die or {}, "options": options}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


def sums(folder):
    """SHA-256 of each array in a folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(folder).glob("*.npy")}


def fails_from(at, real, number=errno.ENOSPC):
    """A call of the system that fails the `at`-th time, and from then on."""
    calls = 0

    def call(*arguments):
        nonlocal calls
        calls += 1
        if calls >= at:
            raise OSError(number, os.strerror(number))
        return real(*arguments)

    return call


# ------------------------------------------------------------------------------------------- in the process of runs


class Plan:
    """Counts what happens, and ends the process when it is time."""

    def __init__(self):
        self.calls = 0
        self.die = {}
        self._counts = {}

    def happens(self, *names):
        for name in names:
            self._counts[name] = self._counts.get(name, 0) + 1
            if self.die.get("at") == name and self.die["count"] == self._counts[name]:
                if "error" in self.die:
                    raise OSError(self.die["error"], os.strerror(self.die["error"]))
                os.kill(os.getpid(), signal.SIGKILL)


PLAN = Plan()


def watch(name):
    real = getattr(os, name)

    def watched(*arguments, **options):
        PLAN.calls += 1
        PLAN.happens(name, "call")
        # What a killed process has written, the system keeps; only a loss of power would tell the difference, and
        # 10,000 waits for a busy disk took ten minutes.
        return None if name == "fsync" else real(*arguments, **options)

    setattr(os, name, watched)


def serve():
    # Before the package binds names of its own to them.
    for name in ("fsync", "replace", "rename"):
        watch(name)
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    prepare()
    faulthandler.cancel_dump_traceback_later()
    for line in sys.stdin:
        order = json.loads(line)
        ear, mouth = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(ear)
            end(mouth, order)
        os.close(mouth)
        if order["die"].get("at") == "seconds":
            time.sleep(order["die"]["count"])
            os.kill(child, signal.SIGKILL)
        with os.fdopen(ear) as said:
            told = json.loads(said.read() or "{}")
        _, status = os.waitpid(child, 0)
        print(json.dumps({"said": "", **told, "status": os.waitstatus_to_exitcode(status)}), flush=True)


def prepare():
    """Load all that a run needs, and the kernels, by doing each task once."""
    import h5py
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        with h5py.File(f"{folder}/data.h5", "w") as file:
            X = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
            X[480:] += 40
            file["X"] = X
        common = {"data": f"{folder}/data.h5", "n_jobs": 1, "block_rows": 200}
        perform("embed", {**common, "out": f"{folder}/map"})
        # A kernel that a run compiles is written to a cache, by calls that would be counted as the run's own.
        perform("embed", {**common, "out": f"{folder}/rounds", "sample": [*range(0, 480, 4)], "rounds": 2})
        perform("embed", {**common, "out": f"{folder}/refined", "refine": True})
        perform("place", {**common, "out": f"{folder}/more", "model": f"{folder}/map"})
        perform("transform_to", {**common, "out": f"{folder}/Y.npy", "model": f"{folder}/map"})


def end(mouth, order):
    """The life of a fork, from its birth to its end."""
    # Else whoever waits for it would wait for ever, and not know what for.
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    PLAN.__init__()
    PLAN.die = order["die"]
    told, status = {}, 0
    try:
        perform(order["task"], order["options"])
    except BaseException as error:
        told["said"], status = "; ".join([str(error), *getattr(error, "__notes__", ())]), 1
    os.write(mouth, json.dumps({**told, "calls": PLAN.calls}).encode())
    os._exit(status)


def perform(task, options):
    import numpy as np

    from tsne_ooc import TSNE, Refinement, load
    from tsne_ooc.pipeline import embed, place
    from tsne_ooc.storage import sink

    def progress(phase, done, total):
        if phase in ("fit", "search", "weigh", "refine", "keep") or (phase == "place" and done):
            PLAN.happens("block" if phase == "place" else phase)

    class Torn(sink.NpySink):
        def write(self, rows, at):
            if PLAN.die.get("at") == "torn":
                self._file.seek(self._ahead + at * self._row)
                self._file.write(rows.tobytes()[: rows.nbytes // 2 + 1])
                self._file.flush()
                PLAN.happens("torn")
            super().write(rows, at)

    import tsne_ooc.streaming

    tsne_ooc.streaming.NpySink = Torn
    common = {"resume": options.get("resume", False), "progress": progress}
    with Logged(options["data"], options.get("log")) as table:
        if task == "embed":
            tsne = TSNE(
                perplexity=5, n_iter=10, early_exaggeration_iter=5, random_state=0, n_jobs=options["n_jobs"],
            )  # fmt: skip
            sample = options.get("sample", 60)
            if isinstance(sample, list):
                sample = np.array(sample)
            embed(
                table, out=options["out"], tsne=tsne, sample=sample, rounds=options.get("rounds", 1),
                block_rows=options["block_rows"],
                refine=Refinement(n_iter=12, snapshot_every=3) if options.get("refine") else False, **common,
            )  # fmt: skip
        elif task == "place":
            place(
                options["model"], table, out=options["out"], n_jobs=options["n_jobs"],
                block_rows=options["block_rows"], **common,
            )  # fmt: skip
        else:
            model = load(Path(options["model"]) / "model")
            # A file is written in blocks that follow the table's bytes; small ones are wanted here.
            tsne_ooc.streaming.rows_at_once = lambda table: options["block_rows"]
            model.transform_to(table, options["out"], **common)


class Logged:
    """A dataset "X" of HDF5 that writes down which rows are read of it."""

    def __init__(self, path, log):
        from tsne_ooc.io import open_hdf5

        self._table, self._log = open_hdf5(path, "X"), log
        self.path, self.shape, self.dtype, self.chunks = (
            Path(path),
            *(getattr(self._table, name) for name in ("shape", "dtype", "chunks")),
        )

    def read(self, start, stop):
        if self._log:
            with open(self._log, "a") as file:
                file.write(f"{start} {stop}\n")
        return self._table.read(start, stop)

    def reopen(self):
        return Logged(self.path, self._log)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._table.close()


if __name__ == "__main__":
    serve()
