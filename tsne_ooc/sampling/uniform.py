"""Uniform samples: all sets of rows are equally likely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tsne_ooc._options import keep, whole
from tsne_ooc._typing import Float32, Int64, Progress, TableLike
from tsne_ooc.io.source import as_source
from tsne_ooc.sampling.base import Drawn, Sample
from tsne_ooc.sampling.take import take


def draw(n: int, size: int, rng: np.random.Generator) -> Int64:
    """`size` different row numbers out of ``range(n)``, all sets equally likely, in ascending order."""
    size = min(whole("size", size, least=1), n)
    rows = rng.choice(n, size, replace=False, shuffle=False).astype(np.int64, copy=False)
    rows.sort()
    return rows


def uniform(source: TableLike, size: int, rng: np.random.Generator) -> tuple[Int64, Float32]:
    """Draw a uniform sample of rows without replacement: ``UniformSample(size).draw(source, rng)``.

    Row numbers are drawn first and sorted, then every piece of storage that holds one of them is read once.
    Whole chunks at random would be read faster, and be wrong wherever neighbouring rows resemble each other,
    as in files sorted by class, batch or date.

    Parameters
    ----------
    source : Source or what `as_source` accepts
        Table of shape (n_samples, n_features).
    size : int
        Number of rows; all rows come back where there are no more.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    rows : ndarray of shape (size,), int64
        Row numbers, ascending.
    sample : ndarray of shape (size, n_features), float32
        Those rows.

    Raises
    ------
    ValueError, TypeError, OSError
        As `tsne_ooc.io.iterate` raises them; only sampled rows are looked at.
    """
    return UniformSample(size).draw(source, rng)


@dataclass(frozen=True)
class UniformSample(Sample):
    """A uniform sample without replacement; see `uniform`.

    Parameters
    ----------
    size : int
        Number of rows, at least 1; all where there are no more.
    """

    size: int

    def __post_init__(self) -> None:
        keep(self, size=whole("size", self.size, least=1))

    def draw(self, source: TableLike, rng: np.random.Generator, *, progress: Progress | None = None) -> Drawn:
        table = as_source(source)
        rows = draw(table.shape[0], self.size, rng)
        return Drawn(rows, take(table, rows, progress=progress))
