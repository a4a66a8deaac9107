"""The contract of neighbour search: a configuration builds an index, and an index answers queries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from tsne_ooc._options import unknown
from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Float32, Matrix, Named, UInt32, UInt64
from tsne_ooc.storage.state import Saved, State

Metric: TypeAlias = str | Callable[..., float]
Indices: TypeAlias = UInt32
Distances: TypeAlias = Float32
Answer: TypeAlias = tuple[Indices, Distances]
Float32: TypeAlias = Float32
Keys: TypeAlias = UInt64

# Metrics of the blocked search, under all their names.
BLOCKED = {"euclidean": "euclidean", "l2": "euclidean", "cosine": "cosine"}
# The metric of rows that may lack values; every other one is asked about whole rows alone.
GAPS = "nan_euclidean"

# All kinds of index that a file may name; the words of a file are looked up here, and nowhere else.
KINDS: dict[str, type[Index]] = {}


class Index(ABC):
    """Rows made ready for queries. An index keeps the reference rows as they were given, and never changes them.

    Attributes
    ----------
    n : int
        Number of reference rows.
    metric : str or callable
    sparse : bool
        Whether the reference rows, and so the queries, are sparse.
    unit : float
        What a distance of 1 in its answers is in the metric: 1, except for rows of an extreme scale (see `scaled`).
    """

    n: int
    metric: Metric
    sparse: bool = False
    unit: float = 1.0

    @property
    def rows(self) -> Float32:
        """The reference rows, dense, as they were given; raises NotImplementedError where they are not kept so."""
        raise NotImplementedError

    def __init_subclass__(cls, *, kind: str | None = None, **rest: Any) -> None:
        """Register a subclass that files may hold under the name of its `kind`: ``class Tree(Index, kind="tree")``."""
        super().__init_subclass__(**rest)
        if kind is not None:
            KINDS[kind] = cls

    @abstractmethod
    def query(self, Q: Matrix, k: int) -> Answer:
        """Find the k reference rows that are nearest to each query.

        Parameters
        ----------
        Q : float32 array of shape (q, p), or CSR matrix where the index was built from one
        k : int, 1 to n

        Returns
        -------
        indices : uint32 array of shape (q, k)
        distances : float32 array of shape (q, k)
            True distances in the metric, in units of `unit`, ascending; equal ones are in the order of their row
            numbers.

        Raises
        ------
        ValueError
            Where k is less than 1 or more than n.
        """

    @abstractmethod
    def query_self(self, k: int) -> Answer:
        """Do as `query` does for all reference rows, where each row itself is left out, and its duplicates are not.

        Raises
        ------
        ValueError
            Where k is less than 1 or more than n - 1.
        """

    def query_part(self, start: int, stop: int, k: int) -> Answer | None:
        """Do as `query_self` does, to the bit, for the rows ``order[start:stop]`` only.

        It gives None where the index answers for all its rows at once, or has no order.
        """
        return None

    def from_themselves(self) -> Distances | None:
        """The distance of each row from itself, shape (n,); None where that is 0 for all rows."""
        return None

    def recall(self, k: int) -> float:
        """The share of the k nearest others of a row that is found, measured on some rows; 1 for an exact search."""
        return 1.0

    @property
    def order(self) -> Indices | None:
        """Row numbers, shape (n,), in an order in which near rows are near each other; or None."""
        return None

    def state(self) -> State:
        """JSON and arrays from which `restore` makes an index that answers queries to the bit as this one does.

        It holds the rows once, as they are, and leaves out whatever can be made from them again.

        Raises
        ------
        ValueError
            Where the index has something that no file can hold, such as a callable metric.
        """
        raise ValueError(f"an index of type {type(self).__name__} cannot be saved: it has no state()")

    @classmethod
    def restore(cls, saved: Saved, threads: Threads) -> Index:
        """Make the index that a `state` is of; the state is checked, since kernels trust what they are given.

        Raises
        ------
        StateError
            For impossible types, shapes and numbers.
        """
        raise NotImplementedError


def of_zero_rows(X: Float32, metric: Metric) -> Distances | None:
    """`Index.from_themselves` for dense rows in a blocked metric: by cosine, rows of zeros have no direction."""
    if BLOCKED.get(str(metric)) != "cosine":
        return None
    return np.asarray(~X.any(axis=1), np.float32)


def by_state(index: Any) -> Any:
    """A `__reduce__` for indices that hold something that pickle cannot take, or would keep twice."""
    return _from_state, (type(index), *index.state(), index._threads)


def _from_state(cls: type[Index], content: Any, arrays: Any, threads: Threads) -> Index:
    return cls.restore(Saved(content, arrays), threads)


class Neighbors(ABC):
    """How to search for neighbours; subclasses are frozen dataclasses of options."""

    def check(self, metric: Metric, params: Named | None, *, sparse: bool) -> None:  # noqa: B027
        """Raise ValueError, in one line, where the search does not take such a metric or such rows.

        It is called before the rows are looked at; by default nothing is refused.
        """

    @abstractmethod
    def build(
        self,
        X: Matrix,
        *,
        metric: Metric = "euclidean",
        metric_params: Named | None = None,
        rng: np.random.Generator,
        threads: Threads,
    ) -> Index:
        """Make the rows of X ready for queries.

        Parameters
        ----------
        X : float32 array of shape (n, p), C-contiguous, or CSR matrix
            The rows, which are kept by reference and never changed. The caller must not change them either while the
            index is in use.
        metric : str or callable
        metric_params : mapping or None
            Passed on to the metric.
        rng : numpy.random.Generator
            The only source of randomness: the same state gives the same index.
        threads : Threads
            The shared pool; the number of threads does not change any result.
        """


def check_k(k: int, n: int, *, itself: bool) -> int:
    """`k` as an int; raises the error that says how many neighbours there are, where there are fewer."""
    most = n - 1 if itself else n
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)):
        raise TypeError(f"k={k!r} is not a whole number")
    if k < 1 or k > most:
        others = "other rows" if itself else "rows"
        raise ValueError(f"k={k} neighbours cannot be found among {most} {others}; use k from 1 to {most}")
    return int(k)


def check_width(Q: Matrix, p: int) -> None:
    """Raise ValueError where the queries and the reference do not have the same number of columns."""
    if Q.ndim != 2 or Q.shape[1] != p:
        raise ValueError(f"queries of shape {Q.shape} do not fit a reference of {p} columns")


def blocked_only(
    who: str, metric: Metric, params: Named | None, *, sparse: bool, known: Mapping[str, str] = BLOCKED
) -> str:
    """The metric of a search that knows only euclidean and cosine, or the `known` ones, on dense rows; raises
    ValueError for others."""
    if not isinstance(metric, str) or metric not in known:
        if callable(metric):
            raise ValueError(f"{who} cannot use a callable metric; use neighbors='exact' or 'pynndescent'")
        raise unknown(f"metric of {who}", metric, known)
    if params:
        raise ValueError(f"{who} takes no metric_params, got {sorted(params)}; use neighbors='exact'")
    if sparse:
        raise ValueError(f"{who} takes no sparse rows; use neighbors='exact' or 'pynndescent', or a dense array")
    return known[metric]
