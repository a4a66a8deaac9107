"""A worker of a real Dask cluster is killed at random moments of a run: what comes out is the same.

    python tests/killed_workers.py 20

One moment takes some five seconds: the run, and a new worker. `tests/pipeline/test_dask_embed.py` tries three.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

import numpy as np
from clusters import Cluster

from tsne_ooc import TSNE, embed
from tsne_ooc.workers import on_cluster

N, P, BLOCK = 3000, 5, 50
FEW = {"perplexity": 5, "early_exaggeration_iter": 10, "n_iter": 10, "random_state": 0, "n_jobs": 1}


def rows():
    rng = np.random.default_rng(0)
    return (rng.normal(0, 4, (6, P))[rng.integers(0, 6, N)] + rng.normal(size=(N, P))).astype(np.float32)


def bytes_of(folder):
    return {name: (folder / f"{name}.npy").read_bytes() for name in ("embedding", "novelty", "sample_rows")}


def killed_at(cluster, table, out, moment):
    """The bytes of a run on a cluster of which a worker is killed when so many blocks are placed; another one comes."""
    killed = []

    def hit(phase, done, total):
        if phase == "place" and done >= moment * BLOCK and not killed:
            killed.append(cluster.workers.pop(0))
            killed[0].kill()

    try:
        with on_cluster(cluster.address) as executor:
            run = embed(
                table, out=out, sample=300, tsne=TSNE(**FEW), block_rows=BLOCK, executor=executor, progress=hit
            )  # fmt: skip
    finally:
        # Else the next moment finds a worker less, and a cluster without any is waited for.
        for process in killed:
            process.wait()
            cluster.add()
    assert killed
    return bytes_of(run.folder)


def main():
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        np.save(home / "X.npy", rows())
        wanted = bytes_of(embed(home / "X.npy", out=home / "wanted", sample=300, tsne=TSNE(**FEW)).folder)
        cluster = Cluster(home)
        try:
            cluster.add()
            cluster.add()
            for draw in range(times):
                moment = random.Random(draw).randrange(1, N // BLOCK - 1)
                found = killed_at(cluster, home / "X.npy", home / f"map{draw}", moment)
                print(
                    f"{draw}: killed at block {moment}: {'the same' if found == wanted else 'OTHER BYTES'}", flush=True
                )
                assert found == wanted
        finally:
            cluster.close()


if __name__ == "__main__":
    main()
