"""Affinities: how strongly a row belongs to each of its neighbours, in a fit and where it is placed later."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from tsne_ooc._context import warn
from tsne_ooc._options import counted, keep, number, shown, unknown, whole
from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Float32
from tsne_ooc.joint import Joint
from tsne_ooc.storage.codec import stored

ROWS = 4096


def gaussian(distances: Float32, perplexities: Sequence[float], threads: Threads) -> Float32:
    """Row-stochastic Gaussian probabilities of neighbours, the mean of those at each perplexity.

    Parameters
    ----------
    distances : ndarray of float32, shape (m, k), ascending
    perplexities : sequence of float
    threads : Threads
    """
    from tsne_ooc._kernels.calibrate import calibrate

    p = np.zeros(distances.shape, np.float32)
    share = np.float32(1 / len(perplexities))
    for perplexity in perplexities:
        log = math.log(min(perplexity, distances.shape[1]))

        def run(start: int, stop: int, log: float = log) -> None:
            calibrate(distances, log, share, start, stop, p)

        threads.map(run, ranges(len(distances), ROWS))
    return p


def mixture(distances: Float32, perplexities: Sequence[float], threads: Threads) -> Float32:
    """Row-stochastic probabilities of neighbours under a sum of Gaussian densities, one of each perplexity."""
    from tsne_ooc._kernels.calibrate import mix

    p = np.zeros(distances.shape, np.float32)
    logs = np.log(np.minimum(np.array(perplexities, np.float64), distances.shape[1]))
    threads.map(lambda start, stop: mix(distances, logs, start, stop, p), ranges(len(distances), ROWS))
    return p


class Affinity(Protocol):
    """What a fit and a placement ask of affinities."""

    def k(self, n: int) -> int:
        """How many neighbours of each of `n` rows it wants, at most n - 1."""

    def conditional(self, distances: Float32, threads: Threads) -> Float32 | None:
        """Row-stochastic probabilities (m, k) of neighbours at these distances; None where all are equal."""


def conditional(affinity: Affinity, distances: Float32, unit: float, threads: Threads) -> Float32 | None:
    """The probabilities of neighbours at these distances, which are in units of `unit`.

    A perplexity asks for their ratios alone. Whatever else there is may know the metric's own unit.
    """
    if unit != 1 and not isinstance(affinity, Perplexity | Multiscale | Uniform):
        with np.errstate(over="ignore", under="ignore"):
            distances = np.minimum(distances * unit, np.finfo(np.float32).max).astype(np.float32)
    return affinity.conditional(distances, threads)


def _capped(perplexity: float, n: int) -> float:
    """A perplexity that `n` rows can have: a third of the others at most (van der Maaten's rule of 3 neighbours)."""
    most = max(1.0, (n - 1) / 3)
    if perplexity > most:
        warn(
            f"perplexity={perplexity:g} is too large for {counted(n, 'rows')}; {most:g} is used "
            "(a third of the other rows)",
        )
    return min(perplexity, most)


@stored
@dataclass(frozen=True)
class Perplexity:
    """Gaussian affinities of a given perplexity (van der Maaten and Hinton, JMLR 9, 2008).

    Parameters
    ----------
    perplexity : float, default 30
        Effective number of neighbours, > 0. Three times as many are searched for.
    """

    perplexity: float = 30.0

    def __post_init__(self) -> None:
        keep(self, perplexity=number("perplexity", self.perplexity, above=0))

    def k(self, n: int) -> int:
        return min(n - 1, math.ceil(3 * _capped(self.perplexity, n)))

    def conditional(self, distances: Float32, threads: Threads) -> Float32:
        return gaussian(distances, [max(1.0, min(self.perplexity, distances.shape[1] / 3))], threads)


@stored
@dataclass(frozen=True)
class Multiscale:
    """The mean of Gaussian affinities at several perplexities (Lee, Peluffo-Ordóñez and Verleysen, 2015).

    Each perplexity has the same say, in every row. See `Mixture`.

    Parameters
    ----------
    perplexities : sequence of float, default (30, 300)
        Each > 0. Three times the largest as many neighbours are searched for.
    """

    perplexities: tuple[float, ...] = (30.0, 300.0)

    def __post_init__(self) -> None:
        keep(self, perplexities=tuple(number("perplexities", value, above=0) for value in self.perplexities))
        if not self.perplexities:
            raise ValueError("perplexities=() names none; give at least one, such as (30, 300)")

    def k(self, n: int) -> int:
        return min(n - 1, math.ceil(3 * _capped(max(self.perplexities), n)))

    def conditional(self, distances: Float32, threads: Threads) -> Float32:
        return gaussian(distances, self._kept(distances.shape[1]), threads)

    def _kept(self, k: int) -> list[float]:
        """Perplexities that `k` neighbours allow; those beyond would all become the same one."""
        most = max(1.0, k / 3)
        return sorted({min(max(1.0, perplexity), most) for perplexity in self.perplexities})


@stored
@dataclass(frozen=True)
class Mixture(Multiscale):
    """Affinities under one density: a sum of Gaussians, each of the bandwidth that its perplexity asks for.

    Near a row the narrow Gaussians are the higher ones and decide; far from it only the wide ones are left.
    `Multiscale` gives every bandwidth the same share instead. (openTSNE has the two as ``MultiscaleMixture`` and
    ``Multiscale``.)

    Parameters
    ----------
    perplexities : sequence of float, default (30, 300)
        Each > 0. Three times the largest as many neighbours are searched for.
    """

    def conditional(self, distances: Float32, threads: Threads) -> Float32:
        return mixture(distances, self._kept(distances.shape[1]), threads)


@stored
@dataclass(frozen=True)
class Uniform:
    """Equal affinities of the k nearest neighbours; no values are stored.

    On most data the maps are hardly told apart from those of a perplexity of 2 k / 3 (Böhm, Berens and Kobak, JMLR
    23, 2022), at half the memory.

    Parameters
    ----------
    neighbors : int, default 15
        At least 1.
    """

    neighbors: int = 15

    def __post_init__(self) -> None:
        keep(self, neighbors=whole("neighbors", self.neighbors, least=1))

    def k(self, n: int) -> int:
        return min(n - 1, self.neighbors)

    def conditional(self, distances: Float32, threads: Threads) -> None:
        return None


@stored
@dataclass(frozen=True)
class FixedSigma:
    """Gaussian affinities of one bandwidth for all rows.

    Parameters
    ----------
    sigma : float
        Standard deviation, in the units of the distances, from 1e-60 to 1e60.
    neighbors : int, default 90
        How many neighbours are searched for, at least 1.
    """

    sigma: float
    neighbors: int = 90

    def __post_init__(self) -> None:
        sigma = number("sigma", self.sigma, above=0, least=1e-60, most=1e60)
        keep(self, sigma=sigma, neighbors=whole("neighbors", self.neighbors, least=1))

    def k(self, n: int) -> int:
        return min(n - 1, self.neighbors)

    def conditional(self, distances: Float32, threads: Threads) -> Float32:
        square = distances.astype(np.float64) ** 2
        weights = np.exp(-(square - square[:, :1]) / (2 * self.sigma**2))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


@dataclass(frozen=True, eq=False)
class GivenAffinities:
    """Joint affinities given as a matrix.

    Rows placed later use `Perplexity` of the placement, for a matrix says nothing of them.

    Parameters
    ----------
    matrix : sparse or dense matrix, shape (n, n)
        Symmetric, not negative; scaled to sum to 1.
    """

    matrix: Any

    def joint(self) -> Joint:
        return Joint.from_matrix(self.matrix)


AnyAffinity: TypeAlias = Affinity | GivenAffinities


def check_matrix(affinity: AnyAffinity, n: int) -> None:
    """Raise ValueError for a matrix of another number of rows than `n`."""
    shape = np.shape(affinity.matrix) if isinstance(affinity, GivenAffinities) else (n,)
    if shape and shape[0] != n:
        raise ValueError(f"affinity matrix has {shape[0]} rows, X has {n}; they must be the same rows")


def at_most(affinity: AnyAffinity, k: int) -> AnyAffinity:
    """An affinity of a graph of `k` neighbours: equal ones are those of all that there are, where these are fewer."""
    return Uniform(min(affinity.neighbors, k)) if isinstance(affinity, Uniform) else affinity


WORDS = ("perplexity", "multiscale", "mixture", "uniform")


def resolve(affinity: Any, perplexity: float) -> AnyAffinity:
    """The affinity a word, an object or a matrix stands for.

    Words: ``"perplexity"``; ``"multiscale"`` and ``"mixture"``, at `perplexity` and ten times as much; ``"uniform"``,
    over the nearest `perplexity` rows.
    """
    if np.ndim(perplexity):
        raise TypeError(
            f"perplexity={shown(perplexity)} is not one number; affinity='multiscale' joins a perplexity and ten times "
            "as much, and affinity=tsne_ooc.Multiscale(perplexities) any"
        )
    perplexity = number("perplexity", perplexity, above=0)
    if isinstance(affinity, str):
        if affinity == "perplexity":
            return Perplexity(perplexity)
        if affinity == "multiscale":
            return Multiscale((perplexity, 10 * perplexity))
        if affinity == "mixture":
            return Mixture((perplexity, 10 * perplexity))
        if affinity == "uniform":
            return Uniform(max(1, round(perplexity)))
        raise unknown("affinity", affinity, WORDS)
    if isinstance(affinity, Perplexity | Multiscale | Uniform | FixedSigma | GivenAffinities):
        return affinity
    if hasattr(affinity, "shape"):
        return GivenAffinities(affinity)
    if hasattr(affinity, "k") and hasattr(affinity, "conditional"):
        return affinity  # type: ignore[no-any-return]
    raise TypeError(f"affinity={affinity!r} is neither a word, an affinity object nor a matrix")
