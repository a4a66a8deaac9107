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
# A row meets so many centres for each that it asks for, and those of so many groups at least. In 13,000 lists of 1.3
# million rows of MOSES, the 82 nearest hold .95 of the 90 nearest rows, where all centres are met. Where 28 times as
# many are met as are asked for, 84 lists hold them; where 8 times as many, more than 365.
MET, LEAST = 32, 5


@dataclass(frozen=True)
class GroupedCentres:
    """Centres in groups around centres of their own.

    A row meets the centres of the groups that are nearest to it, and among those the answer is exact. How many groups
    these are depends on how many centres are asked for, and on the sizes of the groups near the row.

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

    @property
    def arrays(self) -> dict[str, Array]:
        """What a state keeps besides the centres."""
        return {"groups": self.blocks.edges, "tops": self.tops.rows}

    @property
    def rows(self) -> Float32:
        return self.blocks.rows

    def search(self, Q: Float32, numbers: Array, k: int) -> Answer:
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


def restored_centres(saved: Saved, centres: Float32, threads: Threads) -> Blocks | GroupedCentres:
    """The centres of a state, in the groups that it has; models from before there were groups do not have any."""
    if saved.own_arrays().keys().isdisjoint(("groups", "tops")):
        return kmeans.centre_blocks(centres, threads)
    edges = saved_edges(saved, "groups", len(centres), "centres into groups")
    tops = saved.array("tops", np.float32, (len(edges) - 1, centres.shape[1]))
    return GroupedCentres.of(centres, edges, tops, threads)


def train_groups(
    sample: Float32, lists: int, rounds: int, *, rng: np.random.Generator, threads: Threads
) -> tuple[Float32, Int64, Float32]:
    """The centres of `lists` lists, group by group; the edges of the groups; and the centres of the groups.

    k-means makes as many groups as the square root of `lists`, and then lists within each, in proportion to its rows.
    """
    groups = round(lists**0.5)
    few = np.sort(rng.choice(len(sample), min(len(sample), groups * SAMPLE), replace=False))
    tops = kmeans.train(sample[few], groups, rounds, rng=rng, threads=threads)
    tops = np.ascontiguousarray(tops[kmeans.seriate(tops)])
    label = kmeans.nearest(kmeans.centre_blocks(tops, threads), sample, threads)
    by_group = np.argsort(label, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(label, minlength=groups))])
    # Rounded down at each start, so that they are `lists` in all, and never more than the rows of a group.
    edges = starts * lists // len(sample)
    seeds = rng.integers(2**62, size=groups)

    def within(group: int) -> Float32:
        rows = sample[by_group[starts[group] : starts[group + 1]]]
        own = np.random.default_rng(int(seeds[group]))
        centres = kmeans.train(rows, int(edges[group + 1] - edges[group]), rounds, rng=own, threads=threads)
        return centres[kmeans.seriate(centres)]

    # A group of fewer rows than a list has may be left without one, and is left out.
    kept = np.flatnonzero(np.diff(edges))
    with threads.one_blas_thread():
        parts = threads.map(within, [(int(group),) for group in kept])
    return np.concatenate(parts), np.unique(edges), np.ascontiguousarray(tops[kept])


def by_list(probed: Indices, lists: int) -> Probes:
    """Queries by the lists that they probe; lists come first that are near to some query: they set high bars."""
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


def saved_edges(saved: Saved, name: str, n: int, what: str) -> Int64:
    """Edges that cut n of something; `what` says that, for the error."""
    # A copy, for kernels are compiled for arrays that can be written.
    edges: Int64 = np.array(saved.array(name, np.int64, (None,)))
    if len(edges) < 2 or edges[0] != 0 or edges[-1] != n or (np.diff(edges) < 0).any():
        raise saved.fail(f"does not cut {n} {what}", name)
    return edges
