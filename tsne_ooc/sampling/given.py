"""A sample that is already chosen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tsne_ooc._typing import Int64, Progress, TableLike
from tsne_ooc.io.source import as_source
from tsne_ooc.sampling.base import Drawn, Sample
from tsne_ooc.sampling.take import take


@dataclass(frozen=True, eq=False)
class Rows(Sample):
    """A sample of rows that are given.

    Parameters
    ----------
    rows : array-like of int or bool
        Row numbers in any order, each once; or a mask, one truth value for each row of the table.
    """

    rows: Any = field(repr=False)
    size: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rows = np.asarray(self.rows)
        if rows.ndim != 1 or rows.dtype.kind not in "iub":
            raise TypeError(
                f"rows are an array of shape {rows.shape} and type {rows.dtype}; give row numbers, or a mask, in one "
                "dimension"
            )
        if not (rows.any() if rows.dtype.kind == "b" else len(rows)):
            raise ValueError("rows name no row at all; a sample has at least one")
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "size", int(rows.sum()) if rows.dtype.kind == "b" else len(rows))

    def __repr__(self) -> str:
        return f"Rows(<{self.size} rows>)"

    def draw(self, source: TableLike, rng: np.random.Generator, *, progress: Progress | None = None) -> Drawn:
        table = as_source(source)
        n = table.shape[0]
        if self.rows.dtype.kind == "b":
            if len(self.rows) != n:
                raise ValueError(f"the mask of rows has {len(self.rows)} entries, the table has {n} rows")
            rows = np.flatnonzero(self.rows)
        else:
            outside = (self.rows < 0) | (self.rows >= n)
            if outside.any():
                at = int(np.argmax(outside))
                raise ValueError(f"rows[{at}] is {self.rows[at]}, but the table has rows 0 to {n - 1}")
            rows = np.sort(self.rows.astype(np.int64))
            twice = rows[1:] == rows[:-1]
            if twice.any():
                raise ValueError(f"row {rows[1:][twice][0]} is named more than once")
        return Drawn(rows, take(table, rows, progress=progress))

    def without(self, dropped: Int64, n: int) -> Rows:
        if self.rows.dtype.kind == "b":
            lost = dropped[self.rows[dropped]] if len(self.rows) == n else dropped[:0]
            kept = np.delete(self.rows, dropped) if len(self.rows) == n else self.rows
        else:
            lost = np.intersect1d(self.rows, dropped)
            kept = self.rows - np.searchsorted(dropped, self.rows)
        if len(lost):
            raise ValueError(
                f"row {lost[0]} of the sample lacks a value, and missing='drop' leaves it out; name another"
            )
        return Rows(kept)
