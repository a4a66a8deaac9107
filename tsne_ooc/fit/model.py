"""A fitted map: all of it that placing new rows needs, and nothing that changes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tsne_ooc import neighbors
from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Float32
from tsne_ooc.equal_rows import EqualRows
from tsne_ooc.gradients.crowd import Crowd
from tsne_ooc.gradients.field import Field, FieldPlanner
from tsne_ooc.gradients.grid import check_dof
from tsne_ooc.gradients.repulsion import summed_below
from tsne_ooc.novelty import Reference
from tsne_ooc.schedule import check_exaggeration
from tsne_ooc.storage.state import Saved, State, within

# Room around the map in which rows may be placed: they are pushed out of it, but not far from their neighbours.
MARGIN = 20.0
# Rows of a map of so many axes below which second derivatives are sums over them (2,000 rows take 2 us a row, 25,000
# take 21), and how many times as fine as usual the grid is from there on. Of 4,000 rows in two axes, with Hessians of
# .18 (median), it leaves an error of .0015, and of .009 at the quantile of .99; cells of the usual width leave .008 and
# .041, for they hold the row itself, which is taken away, too coarsely. In three axes no finer grid fits into memory.
CURVED, FINER = {1: 2_000, 2: 2_000, 3: 30_000}, {1: 4.0, 2: 2.0, 3: 1.0}
# No map comes near this: those of millions of rows are some hundreds of units wide. The field of a map that is much
# wider, which only a damaged file can hold, would not fit into memory.
WIDEST = 1e6


@dataclass(frozen=True, eq=False)
class Model:
    """A fitted map. It is immutable: the embedding is read-only.

    Parameters
    ----------
    embedding : ndarray of float32, shape (n, d)
        Where the reference rows lie.
    index : neighbour index
        Finds the reference rows nearest to new ones.
    dof : float
    exaggeration : float
        That of the fit's last iteration.
    reference : Reference or None
        How far the reference rows are from each other, for the novelty of new ones.
    seats : EqualRows or None
        Finds the reference row that a new one is equal to, whose seat it takes; None for maps that were saved by
        versions in which distances decided.
    """

    embedding: Float32
    index: Any
    dof: float
    exaggeration: float
    reference: Reference | None = None
    seats: EqualRows | None = None

    def __post_init__(self) -> None:
        self.embedding.setflags(write=False)

    def __reduce__(self) -> Any:
        # The field is left out, and planned again on first use.
        return Model, (self.embedding, self.index, self.dof, self.exaggeration, self.reference, self.seats)

    def state(self) -> State:
        """JSON and arrays for `restore`.

        Raises
        ------
        ValueError
            Where the neighbour search cannot be saved, or the map has no place in a file.
        """
        if not np.abs(self.embedding).max(initial=0.0) <= WIDEST:
            raise ValueError(f"the map is wider than {WIDEST:g} units or not finite, and cannot be saved")
        content, arrays = within("index", neighbors.named_state(self.index))
        content.update(dof=float(self.dof), exaggeration=float(self.exaggeration))
        arrays = {"embedding": self.embedding, **arrays}
        for name in ("reference", "seats"):
            part = getattr(self, name)
            if part is not None:
                more, own = within(name, part.state())
                content, arrays = content | more, arrays | own
        return content, arrays

    @classmethod
    def restore(cls, saved: Saved, threads: Threads) -> Model:
        """The model of a `state`.

        Raises
        ------
        StateError
            For a state that is not valid.
        """
        embedding = saved.array("embedding", np.float32, (None, None))
        n, d = embedding.shape
        if not n or not 1 <= d <= 3:
            raise saved.fail(f"has the shape {(n, d)}, which is not a map", "embedding")
        if not np.abs(embedding).max() <= WIDEST:
            raise saved.fail(f"is wider than {WIDEST:g} units", "embedding")
        index = neighbors.restore_index(saved.part("index"), threads)
        if index.n != n:
            raise saved.fail(f"holds {n} places, the index {index.n} rows", "embedding")
        reference = Reference.restore(saved.part("reference"), n) if "reference" in saved.content else None
        seats = EqualRows.restore(saved.part("seats"), n) if "seats" in saved.content else None
        try:
            dof = check_dof(saved.number("dof", above=0))
            exaggeration = check_exaggeration(saved.number("exaggeration", above=0))
        except ValueError as error:
            raise saved.fail(f"is not valid: {error}") from None
        return cls(embedding, index, dof, exaggeration, reference, seats)

    @property
    def n(self) -> int:
        return len(self.embedding)

    @cached_property
    def field(self) -> Field | Crowd:
        """The frozen field of the reference rows, planned on first use."""
        return self._planned(summed_below(self.embedding.shape[1], self.dof))

    @cached_property
    def curved_field(self) -> Field | Crowd:
        """The same, planned so that its second derivatives are those of the sum over all rows, or nearly."""
        d = self.embedding.shape[1]
        return self._planned(CURVED[d], FINER[d])

    def _planned(self, fewest: int, finer: float = 1.0) -> Field | Crowd:
        extent = float(np.ptp(self.embedding, axis=0).max())
        margin = min(MARGIN, 0.5 * extent + 1.0)
        if self.n < fewest:
            return Crowd.around(self.embedding, self.dof, margin)
        # The plan is the same for any number of threads; one is enough for a grid that is planned once.
        return FieldPlanner(self.dof, Threads(1), margin, finer).plan(self.embedding)
