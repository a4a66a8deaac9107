"""Affinities of neighbours that memory does not hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tsne_ooc import affinity as affinities
from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._random import generator
from tsne_ooc._typing import Float32, UInt32
from tsne_ooc.fit.copies import Spread
from tsne_ooc.novelty import Reference
from tsne_ooc.scratch import JointOnDisk, NeighborRows, symmetrize_on_disk

# Neighbours that are looked at together: 32 MB.
BLOCK = 1 << 22


def blocks_of(graph: NeighborRows) -> Iterator[tuple[int, UInt32, Float32]]:
    """The neighbours of all rows, block by block, with the first row of each."""
    n, k = graph.shape
    for start, stop in ranges(n, max(1, BLOCK // k)):
        yield (start, *graph.read(start, stop))


def reference_of(graph: NeighborRows) -> Reference:
    """How far the rows are from each other, as `Reference.of_neighbors` says."""
    return Reference.of_blocks(lambda: blocks_of(graph), graph.shape)


class _Spreading:
    """A graph whose copies name other copies."""

    def __init__(self, graph: NeighborRows, spread: Spread) -> None:
        self.shape, self._graph, self._spread = graph.shape, graph, spread

    def read(self, start: int, stop: int) -> tuple[UInt32, Float32]:
        indices, distances = self._graph.read(start, stop)
        self._spread.put(indices, start)
        return indices, distances


def joint_on_disk(
    affinity: affinities.Affinity,
    graph: NeighborRows,
    unit: float,
    order: UInt32 | None,
    *,
    seed: int,
    threads: Threads,
    folder: Path,
) -> JointOnDisk:
    """P of a graph as `tsne_ooc.fit.rows.joint_of` makes it, to the bit, with scratch files in `folder`."""
    from tsne_ooc._kernels.symmetrize import count_incoming

    n, k = graph.shape
    rows, nearest = [], []
    for start, indices, distances in blocks_of(graph):
        copies = np.flatnonzero(distances[:, -1] == 0)
        rows.append(start + copies)
        nearest.append(indices[copies, 0])
    spread = Spread(np.concatenate(rows), np.concatenate(nearest), k, generator(seed, "copies"))
    spreading = _Spreading(graph, spread)
    counts = np.zeros(n, np.int64)
    for _, indices, _ in blocks_of(spreading):
        count_incoming(indices, counts)

    def conditional(distances: Float32) -> Float32 | None:
        return affinities.conditional(affinity, distances, unit, threads)

    return symmetrize_on_disk(spreading, conditional, counts, folder, threads, order)
