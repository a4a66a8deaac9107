"""Steps that need nothing from the data but the row itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tsne_ooc._options import number
from tsne_ooc._typing import Float64, Json
from tsne_ooc._validate import RowsError
from tsne_ooc.storage.state import State

if TYPE_CHECKING:
    from tsne_ooc.preprocess.rows import Passes
    from tsne_ooc.preprocess.statistics import Statistics


def _refuse_negative(rows: Float64, first_row: int, what: str) -> None:
    # Missing values are no more negative than any other.
    if rows.size and not rows.min() >= 0 and (rows < 0).any():
        i, j = (int(x) for x in np.argwhere(rows < 0)[0])
        raise RowsError(
            f"{what} takes counts and other values of at least 0; row {{row}}, column {j} is {rows[i, j]:g}",
            first_row + i,
        )


@dataclass(frozen=True)
class Log1p:
    """Replace x by log(1 + x), as is usual for counts.

    Raises
    ------
    ValueError
        For a negative value, while rows are read, naming its row and column.
    """

    kind: ClassVar[str] = "log1p"
    affine: ClassVar[bool] = False

    def needs(self, width: int) -> frozenset[str]:
        return frozenset()

    def fit(self, rows: Passes, statistics: Statistics | None) -> FittedLog1p:
        return FittedLog1p(self, rows.width)


@dataclass(frozen=True)
class FittedLog1p:
    step: Log1p
    width_in: int

    @property
    def width_out(self) -> int:
        return self.width_in

    def apply(self, rows: Float64, first_row: int) -> Float64:
        _refuse_negative(rows, first_row, "log1p")
        return np.log1p(rows, out=rows)

    def undo(self, rows: Float64) -> Float64:
        # Values below 0 do not come from counts.
        return np.expm1(np.maximum(rows, 0.0))

    def forward(self, statistics: Statistics) -> Statistics | None:
        return None

    def state(self) -> State:
        return {}, {}

    @classmethod
    def from_state(cls, json: Json, arrays: Json, width: int) -> FittedLog1p:
        return cls(Log1p(), width)


@dataclass(frozen=True)
class Normalize:
    """Scale each row to one sum: counts of a cell to one library size. Rows of zeros stay zeros.

    Parameters
    ----------
    total : float, default 10,000
        The sum, from 1e-30 to 1e30.

    Raises
    ------
    ValueError, TypeError
        For a `total` that is not a positive number; while rows are read, for a negative value, naming its row and
        column.
    """

    total: float = 1e4
    kind: ClassVar[str] = "normalize"
    affine: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", number("total", self.total, above=0, least=1e-30, most=1e30))

    def needs(self, width: int) -> frozenset[str]:
        return frozenset()

    def fit(self, rows: Passes, statistics: Statistics | None) -> FittedNormalize:
        return FittedNormalize(self, rows.width)


@dataclass(frozen=True)
class FittedNormalize:
    step: Normalize
    width_in: int

    @property
    def width_out(self) -> int:
        return self.width_in

    def apply(self, rows: Float64, first_row: int) -> Float64:
        _refuse_negative(rows, first_row, "normalize")
        sums = rows.sum(axis=1, keepdims=True)
        rows *= np.divide(self.step.total, sums, out=np.zeros_like(sums), where=sums > 0)
        return rows

    def undo(self, rows: Float64) -> Float64:
        # The row's own sum is not known; it keeps this one.
        return rows

    def forward(self, statistics: Statistics) -> Statistics | None:
        return None

    def state(self) -> State:
        return {"total": self.step.total}, {}

    @classmethod
    def from_state(cls, json: Json, arrays: Json, width: int) -> FittedNormalize:
        return cls(Normalize(json["total"]), width)
