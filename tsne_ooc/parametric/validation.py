"""How well the network puts rows that it has not seen among those that it has."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from tsne_ooc._kernels.pairs import PAIRS
from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Float32, Named, Network
from tsne_ooc.affinity import Perplexity
from tsne_ooc.neighbors import Exact, build
from tsne_ooc.parametric.tiles import encode

# The most rows that are held out, at most a tenth of the table, and rows of the training that they are compared with.
# 1,000 rows give a recall of a tenth to within one percent of the rows (one standard deviation of the mean).
HELD_OUT = 1000
REFERENCE = 5000
RECALL = 10
# Rows that one thread compares with those of the training at a time.
_GROUP = 64


class Measured(NamedTuple):
    """What a look at held-out rows finds.

    Parameters
    ----------
    kl_divergence : float
        Mean over held-out rows of the divergence of their similarities to reference rows from their affinities.
    attraction : float
        The part of the divergence that exaggeration multiplies: mean over held-out rows of minus the sum of p log w.
    recall : float
        Share of a row's 10 nearest reference rows that are among its 10 nearest on the map.
    distance : float
        Mean distance of held-out rows from their places on the teacher's map, in widths of the map.
    """

    kl_divergence: float
    attraction: float
    recall: float
    distance: float

    def judged(self, needs: str, exaggeration: float) -> float:
        """A number that is better where it is lower: the distance to the teacher where that is imitated, else the
        divergence with its attraction exaggerated, which is minimised."""
        return self.distance if needs == "targets" else self.kl_divergence + (exaggeration - 1) * self.attraction


class Look(Protocol):
    """A look at held-out rows: the numbers of a named tuple, of which `judged` makes one."""

    measures: ClassVar[type[Any]]

    def __call__(self, network: Network, /) -> Any: ...


class Validation:
    """Rows that are held out, and those that they are compared with.

    Parameters
    ----------
    held, reference : ndarray of float32, shape (v, p), (r, p)
    targets : ndarray of float32, shape (v, d)
        Places of the held-out rows on the teacher's map.
    width : float
    metric : str
    metric_params : dict or None
    dof : float
    threads : Threads
    """

    measures: ClassVar[type[Any]] = Measured

    def __init__(
        self,
        held: Float32,
        reference: Float32,
        targets: Float32,
        width: float,
        *,
        metric: str,
        metric_params: Named | None,
        dof: float,
        threads: Threads,
    ) -> None:
        self.targets, self.width = targets, width
        self.held, self.reference, self.dof, self.threads = held, reference, dof, threads
        affinity = Perplexity(min(30.0, max(1.0, (len(reference) - 1) / 3)))
        index = build(
            Exact(), reference, metric=metric, metric_params=metric_params, rng=np.random.default_rng(0),
            threads=threads,
        )  # fmt: skip
        self.near, distances = index.query(held, max(1, min(len(reference), affinity.k(len(reference) + 1))))
        self.p = affinity.conditional(distances, threads)
        self.k = min(RECALL, self.near.shape[1])

    def __call__(self, encoder: Network) -> Measured:
        """Look at the encoder as it is now."""
        from scipy.spatial import cKDTree

        Y = encode(encoder, self.held, None, self.threads)
        around = encode(encoder, self.reference, None, self.threads)
        if not (np.isfinite(Y).all() and np.isfinite(around).all()):
            return Measured(float("inf"), 0.0, 0.0, float("inf"))
        value, slope = np.empty(len(Y)), np.empty_like(Y)
        kernel = PAIRS[Y.shape[1]]
        self.threads.map(
            lambda a, b: kernel(Y, around, float(self.dof), False, a, b, value, slope), ranges(len(Y), _GROUP)
        )
        square = np.square(Y[:, None] - around[self.near]).sum(axis=2)
        log_w = -self.dof * np.log1p(square / self.dof)
        p = self.p.astype(np.float64)
        entropy = (p * np.log(np.where(p > 0, p, 1))).sum(axis=1)
        attraction = -(p * log_w).sum(axis=1)
        found = np.atleast_2d(cKDTree(around).query(Y, k=list(range(1, self.k + 1)))[1])
        hits = (found[:, :, None] == self.near[:, None, : self.k]).any(axis=2)
        distance = np.linalg.norm(Y - self.targets, axis=1).mean() / self.width
        divergence = entropy + attraction + np.log(value)
        return Measured(float(divergence.mean()), float(attraction.mean()), float(hits.mean()), float(distance))
