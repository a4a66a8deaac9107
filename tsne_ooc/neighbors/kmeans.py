"""Centres for the lists of an inverted file: k-means on a sample, the same for any number of threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Float32
from tsne_ooc.neighbors._blocks import Blocks, Frame
from tsne_ooc.neighbors.base import Indices

GROUP = 1024


def centre_blocks(centres: Float32, threads: Threads) -> Blocks:
    """Centres that are ready to be searched."""
    return Blocks.of(centres, Frame.of(centres, cosine=False, threads=threads), threads)


def nearest(centres: Any, sample: Float32, threads: Threads) -> Indices:
    """The number of the centre nearest to each row of the sample; `centres` are ready to be searched."""

    def assign(a: int, b: int) -> Indices:
        return np.asarray(centres.search(sample, np.arange(a, b), 1)[0][:, 0])

    with threads.one_blas_thread():
        return np.concatenate(threads.map(assign, ranges(len(sample), GROUP)))


def train(
    sample: Float32, lists: int, rounds: int, *, rng: np.random.Generator, threads: Threads,
    ready: Callable[[Float32, Threads], Any] = centre_blocks,
) -> Float32:  # fmt: skip
    """Centres of shape (lists, p) after some rounds of Lloyd's k-means, which start from rows of the sample.

    A centre without rows is moved to a row of a well-filled list. What rows of the sample lack counts for no centre,
    and centres lack nothing: 0, the middle of the frame, stands for what no row of theirs has. `ready` makes centres
    ready to be searched.

    References
    ----------
    Lloyd, Least squares quantization in PCM, IEEE Transactions on Information Theory 28, 1982.
    """
    there = ~np.isnan(sample)
    filled_in = sample if there.all() else np.where(there, sample, np.float32(0))
    centres = filled_in[rng.choice(len(sample), lists, replace=False)]
    for _ in range(rounds):
        label = nearest(ready(centres, threads), sample, threads)
        size = np.bincount(label, minlength=lists)
        filled, empty = np.flatnonzero(size), np.flatnonzero(size == 0)
        first = (np.cumsum(size) - size)[filled]
        by_list = np.argsort(label, kind="stable")
        sums = np.add.reduceat(filled_in[by_list], first, axis=0, dtype=np.float64)
        counts = size[filled, None]
        if filled_in is not sample:
            counts = np.maximum(1, np.add.reduceat(there[by_list], first, axis=0, dtype=np.int64))
        centres[filled] = sums / counts
        weight = size[label] / np.sum(size[label])
        centres[empty] = filled_in[rng.choice(len(sample), len(empty), p=weight)]
    return centres


def seriate(centres: Float32) -> NDArray[np.intp]:
    """An order in which near centres are near each other: they are cut in half across the longest direction, and each
    half is cut again."""
    if len(centres) <= 2:
        return np.arange(len(centres))
    centred = centres - centres.mean(axis=0, dtype=np.float64)
    # Three steps of the power method from the farthest row suffice to find a long direction.
    direction = centred[np.argmax(np.einsum("ij,ij->i", centred, centred))]
    for _ in range(3):
        direction = (centred @ direction) @ centred
        direction = direction / max(float(np.linalg.norm(direction)), 1e-300)
    along = np.argsort(centred @ direction, kind="stable")
    left, right = along[: len(along) // 2], along[len(along) // 2 :]
    return np.concatenate([left[seriate(centres[left])], right[seriate(centres[right])]])
