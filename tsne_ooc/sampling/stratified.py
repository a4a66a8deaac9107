"""Samples by strata: groups that labels name."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tsne_ooc._labels import classes, column
from tsne_ooc._options import keep, pick, whole
from tsne_ooc._typing import Array, Int64, Progress, TableLike
from tsne_ooc.io.source import as_source
from tsne_ooc.sampling.base import Drawn, Sample
from tsne_ooc.sampling.take import take


@dataclass(frozen=True, eq=False)
class Stratified(Sample):
    """Rows of every stratum, uniformly within each.

    Parameters
    ----------
    size : int
        The exact number of rows in all; all rows of the table where there are no more.
    labels : array-like of shape (n,), or several
        A label for each row of the table, of any type; missing labels (NaN, None) are a stratum of their own. Several
        labels are a sequence of such arrays, a data frame or an array of shape (n, c): then the strata are the
        combinations that occur.
    balance : {"proportional", "balanced"}, default "proportional"
        "proportional" gives each stratum its share of the rows (by largest remainder), but **at least one row**: so the
        rarest have more than their share, at the others' cost. "balanced" gives all the same number; the rows that
        small ones lack are shared among the others.

    Raises
    ------
    ValueError
        If `size` is less than the number of strata, which it names; on `draw`, if there are not as many labels as
        rows.
    """

    size: int
    labels: Any = field(repr=False)
    balance: str = "proportional"

    def __post_init__(self) -> None:
        keep(self, size=whole("size", self.size, least=1))
        pick("balance", self.balance, _SHARES)
        object.__setattr__(self, "labels", strata(self.labels))

    def draw(self, source: TableLike, rng: np.random.Generator, *, progress: Progress | None = None) -> Drawn:
        table = as_source(source)
        n = table.shape[0]
        if len(self.labels) != n:
            raise ValueError(f"there are {len(self.labels)} labels, but the table has {n} rows")
        counts = np.bincount(self.labels)
        size = min(self.size, n)
        if size < len(counts):
            raise ValueError(
                f"a sample of {size} rows cannot hold one of each of the {len(counts)} strata; use a larger size or "
                "coarser labels"
            )
        wanted = _SHARES[self.balance](counts, size)
        # One number drawn for each row puts the rows of a stratum in random order.
        order = np.lexsort((rng.random(n), self.labels))
        starts = np.cumsum(counts) - counts
        rank = np.arange(n) - np.repeat(starts, counts)
        rows = np.sort(order[rank < np.repeat(wanted, counts)])
        return Drawn(rows, take(table, rows, progress=progress))

    def without(self, dropped: Int64, n: int) -> Stratified:
        if len(self.labels) != n:
            raise ValueError(f"there are {len(self.labels)} labels, but the table has {n} rows")
        return replace(self, labels=np.delete(self.labels, dropped))


def strata(labels: Any) -> Int64:
    """The number of each row's stratum, in the order in which strata first appear.

    Parameters
    ----------
    labels : array-like of shape (n,), or several
        As `Stratified` takes them.
    """
    columns = _columns(labels)
    lengths = {len(labelled) for labelled in columns}
    if len(lengths) > 1:
        raise ValueError(f"arrays of labels have different lengths: {', '.join(str(len(c)) for c in columns)}")
    codes = _codes(columns[0])
    for labelled in columns[1:]:
        more = _codes(labelled)
        codes = _codes(codes * (int(more.max(initial=0)) + 1) + more)
    return codes


def _columns(labels: Any) -> list[Array]:
    if hasattr(labels, "columns") and hasattr(labels, "iloc"):
        return [column(labels[name]) for name in labels.columns]
    if isinstance(labels, list | tuple) and labels and all(_is_column(part) for part in labels):
        return [_column(part) for part in labels]
    array = _column(labels, most=2)
    if array.ndim == 2:
        if not array.shape[1]:
            raise ValueError(f"labels of shape {array.shape} have no columns")
        return list(array.T)
    return [array]


def _is_column(part: Any) -> bool:
    return not isinstance(part, str | bytes) and hasattr(part, "__len__")


def _column(labels: Any, most: int = 1) -> Array:
    array = column(labels)
    if not 1 <= array.ndim <= most:
        raise ValueError(f"labels have shape {array.shape}; one for each row is needed, or several such arrays")
    return array


def _codes(labels: Array) -> Int64:
    """Numbers of the labels in the order in which these first appear; missing labels have a number of their own."""
    _, first, codes = np.unique(classes(labels).codes, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[codes]


def proportional(counts: Int64, size: int) -> Int64:
    """Shares of `size` by largest remainder, each at least 1: for ``len(counts) <= size <= counts.sum()``."""
    wanted = np.ones_like(counts)
    free = np.ones(len(counts), bool)
    while free.any():
        # Strata whose share is below one row get one, and the others share the rest, which may bring more below one.
        rest, total = size - int((~free).sum()), int(counts[free].sum())
        small = free & (counts * rest < total)
        if not small.any():
            share, remainder = np.divmod(counts[free] * rest, total)
            left = rest - int(share.sum())
            share[np.argsort(-remainder, kind="stable")[:left]] += 1
            wanted[free] = share
            break
        free &= ~small
    return wanted


def balanced(counts: Int64, size: int) -> Int64:
    """Equal shares of `size` as far as `counts` go; rows left over go to the largest strata, one each."""
    ascending = np.argsort(counts, kind="stable")
    wanted = np.empty_like(counts)
    left = size
    for done, stratum in enumerate(ascending):
        wanted[stratum] = min(int(counts[stratum]), left // (len(counts) - done))
        left -= int(wanted[stratum])
    return wanted


_SHARES = {"proportional": proportional, "balanced": balanced}
