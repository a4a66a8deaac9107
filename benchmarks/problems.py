"""What optimisers are compared on: affinities and a start, our course and openTSNE's, and how good a map is."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from data_sets import Data, exact_neighbors

from tsne_ooc._parallel import Threads
from tsne_ooc.affinity import Perplexity
from tsne_ooc.fit.copies import spread_copies
from tsne_ooc.fit.initialization import start as start_of
from tsne_ooc.fit.optimize import LONGEST_STEP, Result, minimise
from tsne_ooc.fit.watch import Watch
from tsne_ooc.gradients.attraction import Attraction
from tsne_ooc.gradients.repulsion import ExactRepulsion, FieldRepulsion, repulsion_for
from tsne_ooc.joint import Joint, symmetrize
from tsne_ooc.neighbors import IVF
from tsne_ooc.schedule import Phase, Schedule, resolve

PERPLEXITY = 30.0
NEIGHBORS = 90


@dataclass(frozen=True)
class Problem:
    """What an optimiser starts from: affinities, first places, and the rows' numbers in the data."""

    P: Joint
    start: np.ndarray
    order: np.ndarray

    def unordered(self, Y: np.ndarray) -> np.ndarray:
        """A map of the problem's rows in the order of the data."""
        out = np.empty_like(Y)
        out[self.order] = Y
        return out


def problem(data: Data, args: argparse.Namespace, *, reorder: bool = True) -> Problem:
    """Exact neighbours (k = 90), perplexity 30 and the start from principal components.

    Rows stand in the order of neighbour buckets, as `TSNE` puts them, for every program: near rows are then near in
    memory, and none gains by it alone.
    """
    threads, n = Threads(args.jobs), len(data.X)
    indices, distances = exact_neighbors(data, NEIGHBORS, args)
    order = np.arange(n)
    if reorder:
        index = IVF().build(data.X, rng=np.random.default_rng(0), threads=threads)
        order = np.asarray(index.order)
    P = joint(indices, distances, order, threads)
    start = start_of("pca", data.X, P, 2, np.random.default_rng(0), threads)
    return Problem(P, np.ascontiguousarray(start[order]), order)


def joint(indices: np.ndarray, distances: np.ndarray, order: np.ndarray, threads: Threads) -> Joint:
    """Symmetric affinities of rows put in this order, as `TSNE` makes them; changes the neighbours of copies."""
    spread_copies(indices, distances, np.random.default_rng(0))
    place = np.empty(len(order), np.uint32)
    place[order] = np.arange(len(order), dtype=np.uint32)
    moved = np.empty_like(indices)
    # In blocks: at 1.3 million rows a copy of the neighbours for each step would take gigabytes.
    for first in range(0, len(order), 65_536):
        moved[first : first + 65_536] = place[indices[order[first : first + 65_536]]]
    p = Perplexity(PERPLEXITY).conditional(distances, threads)
    return symmetrize(moved, p[order], threads)


def divergence(P: Joint, Y: np.ndarray, args: argparse.Namespace) -> float:
    """KL(P || Q) of a map, by the same code for every program: Z from all pairs up to 100,000 rows, else the field."""
    threads = Threads(args.jobs)
    Y = np.ascontiguousarray(Y, np.float32)
    repulsion = ExactRepulsion(1.0, threads) if len(Y) <= 100_000 else FieldRepulsion(1.0, threads)
    return Attraction(P, Y.shape[1], 1.0, threads).divergence(Y, repulsion(Y, np.empty_like(Y)))


def quality(data: Data, Y: np.ndarray, args: argparse.Namespace) -> dict[str, float]:
    """Recall of the ten nearest rows among the map's 10 and 50 nearest, label accuracy, and the map's width."""
    from tsne_ooc.metrics import label_accuracy, neighbor_recall

    sample = 500 if args.quick else 5000
    recall = neighbor_recall(data.X, Y, 10, (10, 50), sample=sample, n_jobs=args.jobs)
    accuracy = float("nan")
    if data.y is not None:
        accuracy = label_accuracy(Y, data.y, 10, sample=10 * sample, n_jobs=args.jobs)
    return {"r10": recall[10], "r50": recall[50], "labels": accuracy, "width": float(np.ptp(Y, axis=0).max())}


SCHEDULES: dict[str, Schedule] = {
    "default": resolve("auto"),
    "classic": resolve("classic"),
    "100@12, 200@1 m.9": Schedule([Phase(100, 12.0, 0.8), Phase(200, 1.0, 0.9)]),
    "100@20, 150@1 m.9": Schedule([Phase(100, 20.0, 0.8), Phase(150, 1.0, 0.9)]),
    "150@12, 150@1 m.9": Schedule([Phase(150, 12.0, 0.8), Phase(150, 1.0, 0.9)]),
    "100@12, 300@1 m.9": Schedule([Phase(100, 12.0, 0.8), Phase(300, 1.0, 0.9)]),
    "75@12, 150@1 m.9": Schedule([Phase(75, 12.0, 0.8), Phase(150, 1.0, 0.9)]),
    "100@12, 150@1 m.93": Schedule([Phase(100, 12.0, 0.8), Phase(150, 1.0, 0.93)]),
    "100@12, 150@1 m.9, 50@1 m.8": Schedule([Phase(100, 12.0, 0.8), Phase(150, 1.0, 0.9), Phase(50, 1.0, 0.8)]),
    "60@12 m.9, 200@1 m.9": Schedule([Phase(60, 12.0, 0.9), Phase(200, 1.0, 0.9)]),
    "75@12, 50@4-1 m.8, 150@1 m.9": Schedule([Phase(75, 12.0, 0.8), Phase(50, (4.0, 1.0), 0.8), Phase(150, 1.0, 0.9)]),
    "75@16 m.85, 200@1 m.9": Schedule([Phase(75, 16.0, 0.85), Phase(200, 1.0, 0.9)]),
}


def optimise(task: Problem, schedule: Schedule, args: argparse.Namespace, watch: Watch | None = None) -> Result:
    """Our loop, nothing else."""
    return minimise(task.P, task.start, schedule, threads=Threads(args.jobs), watch=watch)


def peer_matrix(P: Joint) -> Any:
    """P as openTSNE keeps it: float64, int32 columns; a copy, for openTSNE multiplies it in place."""
    from scipy.sparse import csr_matrix

    parts = (P.values.astype(np.float64), P.indices.astype(np.int32), P.indptr.astype(np.int32))
    return csr_matrix(parts, shape=(P.n, P.n))


def peer_embedding(P: Joint, start: np.ndarray, args: argparse.Namespace) -> Any:
    """openTSNE's embedding of the same affinities and start, by FFT whatever the number of rows."""
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PrecomputedAffinities

    affinities = PrecomputedAffinities(peer_matrix(P), normalize=False)
    return TSNEEmbedding(
        start.astype(np.float64), affinities, negative_gradient_method="fft", n_jobs=args.jobs, random_state=0
    )


def peer_optimise(embedding: Any, early: int = 250, late: int = 500) -> Any:
    """openTSNE's own course: 250 iterations at exaggeration 12, 500 without, momentum 0.8 (those of its `fit`)."""
    embedding.optimize(early, exaggeration=12, momentum=0.8, inplace=True)
    embedding.optimize(late, exaggeration=1, momentum=0.8, inplace=True)
    return embedding


class Iterations(NamedTuple):
    """Medians of seconds per iteration: all, the field's share, the share of attraction and step."""

    total: float
    field: float
    step: float


def time_iterations(P: Joint, Y: np.ndarray, iterations: int, args: argparse.Namespace) -> Iterations:
    """Late iterations (exaggeration 1, momentum 0.8) as `minimise` does them, from the map `Y`.

    Written out here, for `minimise` also sets up and looks at the divergence, which are no part of an iteration. The
    first one, which transforms the kernel for a new grid and fills the caches, is not counted.
    """
    threads, (n, d) = Threads(args.jobs), Y.shape
    attraction, repulsion = Attraction(P, d, 1.0, threads), repulsion_for(n, d, 1.0, threads)
    Y = np.array(Y, np.float32)
    moved, slope, velocity, gains = np.empty_like(Y), np.empty_like(Y), np.zeros_like(Y), np.ones_like(Y)
    shift = np.zeros(d, np.float32)
    seconds = []
    for _ in range(iterations + 1):
        began = time.perf_counter()
        Z = repulsion(Y, slope)
        between = time.perf_counter()
        mean, _ = attraction.step(Y, slope, Z, 1.0, float(n), 0.45, 0.8, LONGEST_STEP, shift, velocity, gains, moved)
        shift = mean.astype(np.float32)
        Y, moved = moved, Y
        ended = time.perf_counter()
        seconds.append((ended - began, between - began, ended - between))
    return Iterations(*np.median(seconds[1:], axis=0).tolist())
