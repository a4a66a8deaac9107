"""What is known of rows before they have places, kept so that another process can go on with it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Float32, Int64, Matrix, UInt32
from tsne_ooc.affinity import Affinity
from tsne_ooc.equal_rows import EqualRows
from tsne_ooc.fit.model import Model
from tsne_ooc.fit.out_of_core import joint_on_disk, reference_of
from tsne_ooc.fit.rows import Recipe, alone, equal_rows, in_order, index_of, probabilities
from tsne_ooc.joint import Joint, symmetrize
from tsne_ooc.neighbors import Index, named_state, restore_index
from tsne_ooc.novelty import Reference
from tsne_ooc.scratch import JointOnDisk, NeighborsInMemory, Room
from tsne_ooc.storage.mapped import empty, forget, forget_given, in_pieces, spared
from tsne_ooc.storage.state import Saved, State, within

log = logging.getLogger(__name__)

# Neighbours that are searched together where they are written to files: 8 MB. They go to rows all over these files,
# whose pages stay in memory until that is done.
BLOCK = 1 << 20


@dataclass(frozen=True, eq=False)
class Searched:
    """Rows that were searched among each other: all that a descent, and the map it ends with, need to know of them.

    Parameters
    ----------
    index : Index
    neighbors, distances : ndarray of shape (n, k)
        Of each row the nearest others, ascending; none where there is a single row.
    reference : Reference
        How far the rows are from each other.
    seats : EqualRows
    equal : ndarray of int64, shape (n,), or None
        One number for all rows that are equal; None where no two are.
    """

    index: Index
    neighbors: UInt32
    distances: Float32
    reference: Reference
    seats: EqualRows
    equal: Int64 | None

    @classmethod
    def among(cls, rows: Matrix, k: int, recipe: Recipe, *, seed: int, threads: Threads) -> Searched:
        """The `k` nearest others of all rows, clean float32 of shape (n, p).

        Within `tsne_ooc.storage.mapped.on_disk`, they and what the search makes of the rows lie on the disk; they as
        far as the search finds some at a time.
        """
        index = index_of(rows, recipe, seed=seed, threads=threads)
        forget_given()
        if k and spared() and index.query_part(0, 1, k) is not None:
            neighbors, distances = _in_parts(index, k)
        elif k:
            neighbors, distances = index.query_self(k)
        else:
            neighbors, distances = np.empty((index.n, 0), np.uint32), np.empty((index.n, 0), np.float32)
        seats = EqualRows.of(rows, threads)
        reference = reference_of(NeighborsInMemory(neighbors, distances)) if k else Reference.of(index)
        equal = equal_rows(rows, seats, threads)
        forget_given()
        return cls(index, neighbors, distances, reference, seats, equal)

    @property
    def n(self) -> int:
        return self.index.n

    @property
    def k(self) -> int:
        return int(self.neighbors.shape[1])

    def joint(self, affinity: Affinity, d: int, room: Room, *, seed: int, threads: Threads) -> Joint | JointOnDisk:
        """P of the rows in the order of the index, for a map of `d` axes; on disk where `room` asks for it."""
        if not self.k:
            return alone()
        plan = room.plan(self.n, affinity, d, begun=True)
        log.info("%s", plan)
        if plan.on_disk:
            graph = NeighborsInMemory(self.neighbors, self.distances)
            P = joint_on_disk(
                affinity, graph, self.index.unit, self.index.order, seed=seed, threads=threads, folder=room.folder()
            )
            P.hold(plan.held)
            return P
        neighbors = np.array(self.neighbors)
        p = probabilities(affinity, neighbors, np.array(self.distances), self.index.unit, seed, threads)
        order = self.index.order
        if order is not None:
            neighbors = in_order(neighbors, order)
            p = None if p is None else p[order]
        return symmetrize(neighbors, p, threads)

    def model(self, embedding: Float32, dof: float, exaggeration: float) -> Model:
        """The map of the rows at these places."""
        return Model(embedding, self.index, dof, exaggeration, self.reference, self.seats)

    def state(self) -> State:
        """JSON and arrays for `restore`.

        Raises
        ------
        ValueError
            Where the search cannot be saved.
        """
        content, arrays = within("index", named_state(self.index))
        for name, part in (("reference", self.reference), ("seats", self.seats)):
            more, own = within(name, part.state())
            content, arrays = content | more, arrays | own
        arrays |= {"neighbors": self.neighbors, "distances": self.distances}
        return content, arrays if self.equal is None else {**arrays, "equal": self.equal}

    @classmethod
    def restore(cls, saved: Saved, threads: Threads) -> Searched:
        """What a `state` holds.

        Raises
        ------
        StateError
            For a state that cannot be.
        """
        index = restore_index(saved.part("index"), threads)
        n = index.n
        neighbors = saved.array("neighbors", np.uint32, (n, None))
        distances = saved.array("distances", np.float32, neighbors.shape)
        if any(some.max() >= n for some in in_pieces(neighbors)):
            raise saved.fail(f"names a row that is not one of {n}", "neighbors")
        equal = saved.array("equal", np.int64, (n,)) if "equal" in saved.arrays else None
        if equal is not None and not 0 <= equal.min() <= equal.max() < n:
            raise saved.fail(f"names a row that is not one of {n}", "equal")
        # All has been looked at, and waits for its use on the disk.
        forget(*saved.arrays.values())
        forget_given()
        return cls(
            index, neighbors, distances, Reference.restore(saved.part("reference"), n),
            EqualRows.restore(saved.part("seats"), n), equal,
        )  # fmt: skip


def _in_parts(index: Index, k: int) -> tuple[UInt32, Float32]:
    """`Index.query_self`, written to mapped files some rows at a time."""
    order = index.order
    assert order is not None
    neighbors, distances = empty((index.n, k), np.uint32), empty((index.n, k), np.float32)
    for start, stop in ranges(index.n, max(1, BLOCK // k)):
        found = index.query_part(start, stop, k)
        assert found is not None
        # Each row of both files is on a page of its own: 70,000 rows of 10 million touch 0.6 GB.
        forget_given()
        neighbors[order[start:stop]], distances[order[start:stop]] = found
        forget_given()
    return neighbors, distances
