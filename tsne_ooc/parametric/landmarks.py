"""Where the landmarks of a network begin."""

from __future__ import annotations

import numpy as np

from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Float32
from tsne_ooc.neighbors import kmeans
from tsne_ooc.parametric.network import STEP

# "auto" takes at most so many, one for so many rows, and so many coordinates in all.
MOST = 1024
ROWS_EACH = 16
MOST_COORDINATES = 1 << 19
# Rounds of k-means, on at most so many rows for each landmark.
ROUNDS = 5
LOOKED_AT_EACH = 32
# So many rows say how far apart landmarks are.
_SHARPENED = 4096
# Below this share of the squared distances of random rows, which are about 1 for each column, gaps are rounding.
_ALIKE = 1e-5
# For the median row, the nearest landmark is e^0.5 times as likely as the second nearest.
CONTRAST = 0.5


def count_of(landmarks: int | str, m: int, p: int) -> int:
    """How many landmarks a network has that begins with m rows of p columns: a multiple of 16, at most m."""
    wanted = min(MOST, m // ROWS_EACH, MOST_COORDINATES // p) if isinstance(landmarks, str) else min(landmarks, m)
    return wanted // STEP * STEP


def first_landmarks(Z: Float32, count: int, rng: np.random.Generator, threads: Threads) -> tuple[Float32, float]:
    """Centres of k-means, shape (count, p), and the sharpness with which rows tell them apart.

    Parameters
    ----------
    Z : ndarray of float32, shape (m, p)
        Standardised rows, at least as many as landmarks.
    count : int
    rng : numpy.random.Generator
    threads : Threads
    """
    order = rng.permutation(len(Z))
    centres = kmeans.train(Z[order[: LOOKED_AT_EACH * count]], count, ROUNDS, rng=rng, threads=threads)
    some = Z[order[-_SHARPENED:]]
    with threads.one_blas_thread():
        away = np.square(centres).sum(axis=1) - 2 * (some @ centres.T)
    nearest = np.partition(away, 1, axis=1)[:, :2]
    gaps = nearest[:, 1] - nearest[:, 0]
    # Equal rows, of which some tables have thousands, have several centres at one place.
    gaps = gaps[gaps > _ALIKE * Z.shape[1]]
    return centres, CONTRAST / float(np.median(gaps)) if len(gaps) else 0.0
