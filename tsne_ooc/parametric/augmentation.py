"""Rows that nobody has measured, so that the network learns the map between those that somebody has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tsne_ooc._random import generator
from tsne_ooc._typing import Bool, Float32, Int64
from tsne_ooc.parametric.problem import Graph


@dataclass(frozen=True)
class Augmentation:
    """Some rows of each batch are moved by a part of the difference of two of their neighbours.

    ``x_i + u (x_j - x_k)``, j and k drawn in proportion to their affinity to i, u uniform from 0 to 1: about as far
    from i as another row like it, in directions in which rows like it differ. It keeps its seat, and its attraction.

    Parameters
    ----------
    graph : Graph
    share : float
        Of the rows of a batch, from 0 to 1.
    seed : int
    held : ndarray of bool, shape (n,)
        Rows that must leave no trace: row i stands in for them.
    """

    graph: Graph
    share: float
    seed: int
    held: Bool

    def __call__(self, step: int, rows: Int64, X: Float32) -> tuple[Float32, int]:
        """The batch with its first rows moved, and how many they are."""
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
