"""Affinities: how strongly rows belong together, for the fit (joint) and for rows placed later (conditional)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeAlias

import numpy as np

from tsne_ooc._context import warn
from tsne_ooc._options import counted, keep, number, shown, unknown, whole
from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Float32, UInt32, UInt64
from tsne_ooc._validate import is_sparse, to_csr
from tsne_ooc.storage.codec import stored

if TYPE_CHECKING:
    from scipy.sparse import csr_array


ROWS = 4096
# Each block of rows scans all edges for those that come in, so blocks are few; each holds a share of the transpose,
# so they are not too few. At 1.3 million rows and 90 neighbours: 60 MB a thread.
BLOCKS = 16


class Part(NamedTuple):
    """The entries of some rows of P.

    Parameters
    ----------
    first : int
        Which entry of P the arrays begin with.
    indices : ndarray of uint32
    values : ndarray of float32
    """

    first: int
    indices: UInt32
    values: Float32


class JointRows(Protocol):
    """Joint probabilities P of n rows, wherever they are kept; they are read some rows at a time."""

    @property
    def indptr(self) -> UInt64:
        """Where the entries of each row begin, and where the last ones end."""

    @property
    def n(self) -> int:
        """How many rows there are."""

    @property
    def entries(self) -> int:
        """How many entries there are."""

    @property
    def folder(self) -> Path | None:
        """Where what goes with them lies, too; None for memory."""

    def part(self, start: int, stop: int) -> Part:
        """The entries of rows `start` to `stop`, and perhaps more; good until this thread asks for others."""


@dataclass(frozen=True)
class Joint:
    """The joint probabilities P of a fit in compressed rows: symmetric, no diagonal, their sum is 1.

    Parameters
    ----------
    indptr : ndarray of uint64, shape (n + 1,)
    indices : ndarray of uint32
    values : ndarray of float32
        Of the length of `indices`; for equal affinities a view that repeats one number.
    """

    indptr: UInt64
    indices: UInt32
    values: Float32

    folder: ClassVar[None] = None

    @property
    def n(self) -> int:
        return len(self.indptr) - 1

    @property
    def entries(self) -> int:
        return len(self.indices)

    def part(self, start: int, stop: int) -> Part:
        """All of it: what is in memory is not cut."""
        return Part(0, self.indices, self.values)

    def tocsr(self) -> csr_array:
        """A copy as a scipy matrix in float64."""
        from scipy.sparse import csr_array

        parts = (self.values.astype(np.float64), self.indices.astype(np.int64), self.indptr.astype(np.int64))
        return csr_array(parts, shape=(self.n, self.n))

    @classmethod
    def from_matrix(cls, P: Any) -> Joint:
        """Check and take over a matrix of affinities, sparse or dense, shape (n, n); it is scaled to sum to 1.

        Raises
        ------
        ValueError
            If it is not square, not symmetric, negative, not finite, or zero everywhere.
        """
        from scipy.sparse import csr_array

        try:
            matrix = csr_array(P if not is_sparse(P) else to_csr(P), dtype=np.float64, copy=True)
        except (TypeError, ValueError) as error:
            raise TypeError(f"affinity matrix: {type(P).__name__} is not a numeric matrix ({error})") from None
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"affinity matrix has shape {matrix.shape}; it must be square, a row for each row of X")
        matrix.sum_duplicates()
        if not np.isfinite(matrix.data).all() or (matrix.data < 0).any():
            entry = int(np.argmin(np.isfinite(matrix.data) & (matrix.data >= 0)))
            row = int(np.searchsorted(matrix.indptr, entry, "right")) - 1
            place = f"row {row}, column {matrix.indices[entry]}"
            raise ValueError(f"affinity matrix: {place} is {matrix.data[entry]}; they are finite and >= 0")
        matrix.setdiag(0)
        matrix.eliminate_zeros()
        total = matrix.sum()
        if matrix.shape[0] > 1 and not total > 0:
            raise ValueError("affinity matrix: all affinities between different rows are zero")
        difference = abs(matrix - matrix.T)
        if difference.nnz and difference.max() > 1e-6 * matrix.max():
            row, column = (int(x[0]) for x in (difference > 1e-6 * matrix.max()).nonzero())
            raise ValueError(f"affinity matrix is not symmetric at row {row}, column {column}; pass (P + P.T) / 2")
        matrix /= total if total > 0 else 1.0
        return cls(matrix.indptr.astype(np.uint64), matrix.indices.astype(np.uint32), matrix.data.astype(np.float32))


# Rows are numbered in 32 bits, and the last number stands for none.
MOST_ROWS = 2**32 - 1


def check_count(n: int) -> None:
    """Raise ValueError where there are more rows than have numbers."""
    if n > MOST_ROWS:
        raise ValueError(
            f"{n:,} rows are more than the {MOST_ROWS:,} that can be numbered; take a sample of them, such as "
            "TSNE(sample=25000), and place the others"
        )


def symmetrize(neighbors: UInt32, p: Float32 | None, threads: Threads) -> Joint:
    """The joint ``(p_ij + p_ji) / 2n`` of conditional probabilities; equal ones over all edges for ``p=None``.

    Parameters
    ----------
    neighbors : ndarray of uint32, shape (n, k)
    p : ndarray of float32, shape (n, k), or None
    threads : Threads
    """
    from tsne_ooc._kernels import symmetrize as kernels

    n = len(neighbors)
    check_count(n)
    conditional = np.empty((0, 0), np.float32) if p is None else p
    scale = np.float32(1 / (2 * max(1, n)))
    counts = np.zeros(n, np.int64)
    kernels.count_incoming(neighbors, counts)
    indptr = np.zeros(n + 1, np.uint64)
    blocks = ranges(n, max(ROWS, -(-n // BLOCKS)))

    def block(first: int, last: int, indices: UInt32, values: Float32) -> None:
        offsets = np.zeros(last - first + 1, np.uint64)
        np.cumsum(counts[first:last], out=offsets[1:], dtype=np.uint64)
        sources = np.empty(int(offsets[-1]), np.uint32)
        incoming = np.empty(0 if p is None else len(sources), np.float32)
        kernels.gather_incoming(neighbors, conditional, first, last, offsets[:-1].copy(), sources, incoming)
        place = np.zeros(n, np.uint32)
        own, of_own, ends = neighbors[first:last], conditional[first:last], indptr[first : last + 1]
        kernels.merge(own, of_own, offsets, sources, incoming, scale, place, ends, indices, values)

    nothing = np.empty(0, np.uint32), np.empty(0, np.float32)
    threads.map(lambda first, last: block(first, last, *nothing), blocks)
    np.cumsum(indptr, out=indptr)
    indices = np.empty(int(indptr[-1]), np.uint32)
    values = np.empty(0 if p is None else len(indices), np.float32)
    if len(indices):
        threads.map(lambda first, last: block(first, last, indices, values), blocks)
    if p is None:
        values = np.broadcast_to(np.float32(1 / max(1, len(indices))), indices.shape)
    return Joint(indptr, indices, values)


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
