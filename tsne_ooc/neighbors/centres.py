"""Centres of very many lists, in groups: a row meets those of a few groups instead of all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Array, Float32, Int64
from tsne_ooc.neighbors import kmeans
from tsne_ooc.neighbors._blocks import NOBODY, Blocks, Frame, Probes
from tsne_ooc.neighbors.base import Answer, Indices
from tsne_ooc.storage.state import Saved

# Rows in the sample of k-means for each group.
SAMPLE = 256
# A row meets so many centres for each that it asks for, and those of so many groups at least. Of 1.3 million rows of
# MOSES in 13,000 lists, 82 lists hold .95 of the 90 nearest rows; they are among 8 times as many centres for too few
# rows (365 lists would find .90), and met among 28 times as many 84 lists do.
MET, LEAST = 32, 5


@dataclass(frozen=True)
class GroupedCentres:
    """Centres in groups around centres of their own.

    A row meets the centres of the groups that are nearest to it, and among those the answer is exact. How many groups
    that are depends on the number of centres that it asks for alone.

    Attributes
    ----------
    blocks : Blocks
        The centres, group by group.
    tops : Blocks
        The centres of the groups.
    """

    blocks: Blocks
    tops: Blocks

    @classmethod
    def of(cls, centres: Float32, edges: Int64, tops: Float32, threads: Threads) -> GroupedCentres:
        """Make the centres, those between two `edges` in a group around one of `tops`, ready to be searched."""
        frame = Frame.of(centres, cosine=False, threads=threads)
        return cls(frame.blocks(centres, threads, None, edges), kmeans.centre_blocks(tops, threads))

    @classmethod
    def restore(cls, saved: Saved, centres: Float32, threads: Threads) -> GroupedCentres:
        """Read those that `arrays` are of, and whose centres were read."""
        edges = saved_edges(saved, "groups", len(centres))
        tops = saved.array("tops", np.float32, (len(edges) - 1, centres.shape[1]))
        return cls.of(centres, edges, tops, threads)

    @property
    def arrays(self) -> dict[str, Array]:
        """What a state keeps besides the centres."""
        return {"groups": self.blocks.edges, "tops": self.tops.rows}

    @property
    def rows(self) -> Float32:
        return self.blocks.rows

    def search(
        self, Q: Float32, numbers: Array, k: int, probes: Probes | None = None, itself: Indices | None = None
    ) -> Answer:
        """The k nearest centres to each of ``Q[numbers]`` among those of the groups that are nearest to it."""
        answer = np.empty((len(numbers), k), np.uint32), np.empty((len(numbers), k), np.float32)
        sizes = np.diff(self.blocks.edges)
        groups, left = len(sizes), np.arange(len(numbers))
        looked = max(LEAST, -(-MET * k * groups // len(self.rows)))
        while len(left):
            looked = min(looked, groups)
            probed = self.tops.search(Q, numbers[left], looked)[0]
            enough = sizes[probed].sum(axis=1) >= k
            here = left[enough]
            if len(here):
                met = by_list(probed[enough], groups)
                answer[0][here], answer[1][here] = self.blocks.search(Q, numbers[here], k, met)
            left, looked = left[~enough], 2 * looked
        return answer


def train(
    sample: Float32, lists: int, rounds: int, *, rng: np.random.Generator, threads: Threads
) -> tuple[Float32, Int64, Float32]:
    """Centres of some `lists` in groups: the centres group by group, the edges of the groups, and their centres.

    k-means makes the square root of `lists` groups, and then lists within each, as many as its rows ask for.
    """
    groups = round(lists**0.5)
    few = np.sort(rng.choice(len(sample), min(len(sample), groups * SAMPLE), replace=False))
    tops = kmeans.train(sample[few], groups, rounds, rng=rng, threads=threads)
    tops = np.ascontiguousarray(tops[kmeans.seriate(tops)])
    label = kmeans.nearest(kmeans.centre_blocks(tops, threads), sample, threads)
    held = np.bincount(label, minlength=groups)
    by_group, ends = np.argsort(label, kind="stable"), np.cumsum(held)
    wanted = np.maximum(1, np.round(held * (lists / len(sample)))).astype(np.int64)
    filled = np.flatnonzero(held)
    seeds = rng.integers(2**62, size=groups)

    def within(group: int) -> Float32:
        rows = sample[by_group[ends[group] - held[group] : ends[group]]]
        own = np.random.default_rng(int(seeds[group]))
        centres = kmeans.train(rows, min(int(wanted[group]), len(rows)), rounds, rng=own, threads=threads)
        return centres[kmeans.seriate(centres)]

    with threads.one_blas_thread():
        parts = threads.map(within, [(int(group),) for group in filled])
    edges = np.cumsum([0, *map(len, parts)])
    return np.ascontiguousarray(np.concatenate(parts)), edges, np.ascontiguousarray(tops[filled])


def by_list(probed: Indices, lists: int) -> Probes:
    """Queries by the lists they probe, those first that are near to some query: they set high bars for the rest."""
    rank = np.full(lists, NOBODY, np.uint32)
    for place in reversed(range(probed.shape[1])):
        rank[probed[:, place]] = place
    met = np.flatnonzero(rank != NOBODY)
    met = met[np.argsort(rank[met], kind="stable")]
    # Of 16 bits NumPy sorts by counting, which takes a third of the time.
    rank[met] = np.arange(len(met), dtype=np.uint32)
    key = rank[probed.ravel()]
    by_key = np.argsort(key.astype(np.uint16) if len(met) <= 1 << 16 else key, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(key, minlength=len(met)))])
    return Probes(met, starts, by_key // probed.shape[1])


def saved_edges(saved: Saved, name: str, n: int) -> Int64:
    """Edges that cut n rows into lists."""
    # A copy, for kernels are compiled for arrays that can be written.
    edges: Int64 = np.array(saved.array(name, np.int64, (None,)))
    if len(edges) < 2 or edges[0] != 0 or edges[-1] != n or (np.diff(edges) < 0).any():
        raise saved.fail(f"does not cut {n} rows into lists", name)
    return edges
