"""What all samples have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np

from tsne_ooc._typing import Float32, Int64, Progress, TableLike


class Drawn(NamedTuple):
    """A sample that was drawn.

    Parameters
    ----------
    rows : ndarray of int64, shape (size,)
        Row numbers, ascending.
    X : ndarray of float32, shape (size, n_features)
        Those rows.
    """

    rows: Int64
    X: Float32


class Sample(ABC):
    """How rows are chosen; subclasses are frozen dataclasses of options.

    Attributes
    ----------
    size : int
        How many rows are chosen from a table that has as many.
    """

    size: int

    @abstractmethod
    def draw(self, source: TableLike, rng: np.random.Generator, *, progress: Progress | None = None) -> Drawn:
        """Choose rows of a table and read them.

        Parameters
        ----------
        source : Source or what `tsne_ooc.io.as_source` accepts
            Table of shape (n_samples, n_features).
        rng : numpy.random.Generator
            The only source of randomness: the same state draws the same rows, however the table is stored.
        progress : callable, optional
            Called as ``progress("sample", done, total)``, in rows.

        Returns
        -------
        rows : ndarray of int64, ascending
        X : ndarray of float32, those rows

        Raises
        ------
        ValueError, TypeError, OSError
            For bad tables and parameters.
        """

    def without(self, dropped: Int64, n: int) -> Sample:
        """The same for the rest of a table of n rows, numbered anew, from which these rows are left out.

        Raises
        ------
        ValueError
            Where what it knows of the rows cannot be.
        """
        return self
