"""A fitted map: what placing new rows needs of it, and nothing that moves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._parallel import Threads
from .gradients.field import Field, FieldPlanner

# Room around the map in which rows may be placed: they are pushed out of it, but not far from their neighbours.
MARGIN = 20.0


@dataclass(frozen=True, eq=False)
class Model:
    """A fitted map. Immutable: the embedding is read-only.

    Parameters
    ----------
    embedding : ndarray of float32, shape (n, d)
        Where the reference rows lie.
    index : neighbour index
        Finds the reference rows nearest to new ones.
    dof : float
    exaggeration : float
        Of the fit's last iteration.
    """

    embedding: NDArray[np.float32]
    index: Any
    dof: float
    exaggeration: float

    def __post_init__(self) -> None:
        self.embedding.setflags(write=False)

    @property
    def n(self) -> int:
        return len(self.embedding)

    @cached_property
    def field(self) -> Field:
        """The frozen field of the reference rows, planned on first use."""
        extent = float(np.ptp(self.embedding, axis=0).max())
        # The plan is the same for any number of threads; one is enough for a grid that is planned once.
        planner = FieldPlanner(self.dof, Threads(1), margin=min(MARGIN, 0.5 * extent + 1.0))
        return planner.plan(self.embedding)
