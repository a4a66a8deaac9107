"""Rows that nobody has measured, from which the network learns the map between measured ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tsne_ooc._random import generator
from tsne_ooc._typing import Bool, Float32, Int64
from tsne_ooc.parametric.problem import Graph


@dataclass(frozen=True)
class Augmentation:
    """Moves some rows of each batch by a part of the difference of two of their neighbours.

    Row i becomes ``x_i + u (x_j - x_k)``, with j and k drawn in proportion to their affinity to i, and u uniform from 0
    to 1: about as far from i as another row like it, in directions in which such rows differ. It keeps its seat and its
    attraction.

    Parameters
    ----------
    graph : Graph
    share : float
        Share of the rows of a batch, from 0 to 1.
    seed : int
    held : ndarray of bool, shape (n,)
        Rows that must leave no trace; row i takes their place.
    """

    graph: Graph
    share: float
    seed: int
    held: Bool

    def __call__(self, step: int, rows: Int64, X: Float32) -> tuple[Float32, int]:
        """The batch with its first rows moved, and how many these are."""
        moved = round(self.share * len(rows))
        if not moved:
            return X, 0
        rng = generator(self.seed, f"augmentation, step {step}")
        drawn = (self.graph.partners(rows[:moved], rng)[0] for _ in range(2))
        first, second = (np.where(self.held[partners], rows[:moved], partners) for partners in drawn)
        reach = rng.random((moved, 1), dtype=np.float32)
        X = np.array(X)
        X[:moved] += reach * (self.graph.X[first] - self.graph.X[second])
        return X, moved
