"""Bring columns to one location and one scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tsne_ooc._typing import Bool, Float64, Json
from tsne_ooc.preprocess.base import checked_array
from tsne_ooc.storage.state import State

if TYPE_CHECKING:
    from tsne_ooc.preprocess.rows import Passes
    from tsne_ooc.preprocess.statistics import Statistics

# The quartiles of a normal distribution lie this many standard deviations apart.
_IQR_OF_NORMAL = 1.3489795003921634


@dataclass(frozen=True)
class Standardize:
    """Subtract each column's mean and divide by its standard deviation.

    Columns without variation are divided by 1; the fitted step counts them.

    Parameters
    ----------
    robust : bool
        Take the median, and the distance between the quartiles divided by 1.349, which is one standard deviation for
        normal data. They are taken from a uniform sample of the rows, drawn by row number (all rows of short tables). A
        column whose quartiles coincide although it varies, such as one with mostly zeros, is divided by its standard
        deviation.
    """

    robust: bool = False
    kind: ClassVar[str] = "standardize"
    affine: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.robust, bool):
            raise TypeError(f"robust={self.robust!r} is neither True nor False")

    def needs(self, width: int) -> frozenset[str]:
        return frozenset({"moments", "sample"} if self.robust else {"moments"})

    def fit(self, rows: Passes, statistics: Statistics | None) -> FittedStandardize:
        assert statistics is not None
        constant = statistics.constant
        centre, scale = statistics.mean, np.sqrt(statistics.variance)
        if self.robust:
            assert statistics.sample is not None
            low, middle, high = _quartiles(statistics.sample)
            # A column may have all of its few values beyond the sample.
            centre = np.where(np.isnan(middle), centre, middle)
            scale = np.where(high > low, (high - low) / _IQR_OF_NORMAL, scale)
        # The square of a variation near the smallest numbers is 0.
        constant = constant | ~(scale > 0)
        return FittedStandardize(self, centre, np.where(constant, 1.0, scale), constant)


def _quartiles(sample: Float64) -> Float64:
    """Three for each column, of the values that it has; NaN where it has none."""
    if not np.isnan(sample).any():
        return np.asarray(np.quantile(sample, (0.25, 0.5, 0.75), axis=0))
    without = np.isnan(sample).all(axis=0)
    found = np.asarray(np.nanquantile(np.where(without, 0.0, sample), (0.25, 0.5, 0.75), axis=0))
    found[:, without] = np.nan
    return found


@dataclass(frozen=True)
class FittedStandardize:
    """A step with what it subtracts and divides by, each of shape (p,), and which columns did not vary."""

    step: Standardize
    centre: Float64
    scale: Float64
    constant: Bool

    @property
    def width_in(self) -> int:
        return len(self.centre)

    @property
    def width_out(self) -> int:
        return len(self.centre)

    @property
    def n_constant(self) -> int:
        """Number of columns without variation."""
        return int(self.constant.sum())

    def apply(self, rows: Float64, first_row: int) -> Float64:
        rows -= self.centre
        rows /= self.scale
        return rows

    def undo(self, rows: Float64) -> Float64:
        return rows * self.scale + self.centre

    def forward(self, statistics: Statistics) -> Statistics | None:
        return statistics.affine(self.centre, self.scale)

    def state(self) -> State:
        arrays = {"centre": self.centre, "scale": self.scale, "constant": self.constant}
        return {"robust": self.step.robust, "n_constant": self.n_constant}, arrays

    @classmethod
    def from_state(cls, json: Json, arrays: Json, width: int) -> FittedStandardize:
        scale = checked_array(arrays, "scale", (width,))
        if (scale <= 0).any():
            raise ValueError("the state of a preparation has a scale that is not positive")
        centre, constant = (
            checked_array(arrays, "centre", (width,)),
            checked_array(arrays, "constant", (width,), np.bool_),
        )
        return cls(Standardize(json["robust"]), centre, scale, constant)
