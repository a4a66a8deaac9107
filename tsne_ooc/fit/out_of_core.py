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
from tsne_ooc.scratch import JointOnDisk, NeighborBlock, NeighborRows, symmetrize_on_disk
from tsne_ooc.scratch.neighbors import BLOCK


def blocks_of(graph: NeighborRows) -> Iterator[NeighborBlock]:
    """The neighbours of all rows, block by block."""
    n, k = graph.shape
    for start, stop in ranges(n, max(1, BLOCK // k)):
        yield graph.read(start, stop)


def reference_of(graph: NeighborRows) -> Reference:
    """How far the rows are from each other, as `Reference.of_neighbors` says."""
    return Reference.of_blocks(lambda: blocks_of(graph), graph.shape)


class _Spreading:
    """A graph whose copies name other copies."""

    def __init__(self, graph: NeighborRows, spread: Spread) -> None:
        self.shape, self._graph, self._spread = graph.shape, graph, spread

    def read(self, start: int, stop: int) -> NeighborBlock:
        found = self._graph.read(start, stop)
        self._spread.put(found.indices, found.rows)
        return found


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
    copies, nearest = [], []
    for rows, indices, distances in blocks_of(graph):
        some = np.flatnonzero(distances[:, -1] == 0)
        copies.append(rows[some].astype(np.int64))
        nearest.append(indices[some, 0])
    numbers = np.concatenate(copies)
    by_number = np.argsort(numbers)
    first = np.concatenate(nearest)[by_number]
    spread = Spread(numbers[by_number], first, k, generator(seed, "copies"))
    spreading = _Spreading(graph, spread)
    counts = np.zeros(n, np.int64)
    for block in blocks_of(spreading):
        count_incoming(block.indices, counts)

    def conditional(distances: Float32) -> Float32 | None:
        return affinities.conditional(affinity, distances, unit, threads)

    return symmetrize_on_disk(spreading, conditional, counts, folder, threads, order)
