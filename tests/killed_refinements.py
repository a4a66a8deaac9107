"""Runs that move all rows with little memory are killed at random moments, and end with the bytes of one in memory.

    python tests/killed_refinements.py 20

So many moments of each of four stretches: while rows are partitioned, searched, their affinities symmetrised over the
disk, and moved. One moment takes some two seconds: the run, and the one that goes on.
`tests/pipeline/test_killed_refinements.py` tries two of each.
"""

from __future__ import annotations

import os
import random
import select
import signal
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from children import SECONDS, forked, status_of

from tsne_ooc import TSNE, Refinement, _memory, embed
from tsne_ooc.fit import searched
from tsne_ooc.neighbors import IVF
from tsne_ooc.pipeline import refining
from tsne_ooc.scratch import joint, plan

N, P = 4000, 8
FEW = {"perplexity": 8, "early_exaggeration_iter": 5, "n_iter": 10, "n_jobs": 2}
# What each stretch begins with.
BEGINS = {
    "partition": (searched, "index_of"),
    "search": (searched, "_in_parts"),
    "symmetrisation": (searched, "joint_on_disk"),
    "optimisation": (refining, "descend"),
}


def rows():
    """Groups, with some rows that are there twice."""
    rng = np.random.default_rng(0)
    X = (rng.normal(0, 4, (9, P))[rng.integers(0, 9, N)] + rng.normal(size=(N, P))).astype(np.float32)
    X[rng.integers(0, N, N // 10)] = X[1]
    return X


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in [*folder.glob("*.npy"), *folder.glob("model/*.npy")]}


@contextmanager
def changed(module, name, value):
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield before
    finally:
        setattr(module, name, before)


def run(table, out, scratch=None, *, resume=False):
    """A run in memory, or with all on the disk where there is a folder for scratch files."""
    refine = {"neighbors": IVF(lists=40, probes=8), "snapshot_every": 5, "n_iter": 60}
    if scratch is None:
        return embed(table, out=out, sample=300, tsne=TSNE(**FEW), refine=Refinement(**refine), resume=resume)
    refine |= {"memory": _memory.used_bytes() / 1e9 + 0.5, "scratch": scratch}
    # As if no memory held the affinities, which are cut into a dozen pieces.
    with changed(plan, "MUTUAL", 20_000), changed(joint, "EDGES", 16_000):
        return embed(table, out=out, sample=300, tsne=TSNE(**FEW), refine=Refinement(**refine), resume=resume)


def lasts(stretch, table, home, scratch):
    """Seconds that a stretch takes."""
    module, name = BEGINS[stretch]
    took = []

    def timed(*arguments, **options):
        began = time.perf_counter()
        found = before(*arguments, **options)
        took.append(time.perf_counter() - began)
        return found

    with changed(module, name, timed) as before:
        run(table, home / f"timed-{stretch}", scratch)
    return took[-1]


def killed(stretch, table, out, scratch, seconds):
    """A run that is killed so many seconds after a stretch began; whether it was still at work."""
    ear, mouth = os.pipe()
    module, name = BEGINS[stretch]

    def task():
        def told(*arguments, **options):
            os.write(mouth, b"b")
            return before(*arguments, **options)

        with changed(module, name, told) as before:
            run(table, out, scratch)

    child = forked(task)
    os.close(mouth)
    assert select.select([ear], [], [], SECONDS)[0], "the child did not come to the stretch"
    os.read(ear, 1)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.close(ear)
    return status_of(child) == -signal.SIGKILL


def tried(stretch, moments, table, home):
    """Kill runs at these shares of a stretch, let each go on, and compare what they leave; moments that were met."""
    wanted, scratch, met = bytes_of(run(table, home / f"wanted-{stretch}").folder), home / f"scratch-{stretch}", 0
    scratch.mkdir()
    length = lasts(stretch, table, home, scratch)
    for number, share in enumerate(moments):
        out = home / f"{stretch}-{number}"
        met += killed(stretch, table, out, scratch, share * length)
        assert not list(scratch.iterdir()), "scratch files outlived their process"
        child = forked(lambda out=out: run(table, out, scratch, resume=True))
        assert status_of(child) == 0, (stretch, share)
        assert bytes_of(out) == wanted, (stretch, share)
        assert not [*home.rglob("*.part"), *scratch.iterdir()]
    return met


def main():
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as name:
        home = Path(name)
        np.save(home / "X.npy", rows())
        for stretch in BEGINS:
            moments = [random.Random(draw).random() for draw in range(times)]
            met = tried(stretch, moments, home / "X.npy", home)
            print(f"{stretch}: {times} kills, {met} of them before the end; the same bytes each time", flush=True)


if __name__ == "__main__":
    main()
