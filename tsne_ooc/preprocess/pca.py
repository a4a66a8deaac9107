"""Principal components of a table that is streamed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tsne_ooc._options import whole
from tsne_ooc._typing import Float64, Json
from tsne_ooc.preprocess.base import checked_array
from tsne_ooc.storage.state import State

if TYPE_CHECKING:
    from tsne_ooc.preprocess.rows import Passes
    from tsne_ooc.preprocess.statistics import Statistics

# At this width the covariance takes 134 MB and its decomposition 7 s on one core (1,000 columns: 0.1 s). 6,000 rows of
# 4,000 columns took 2.4 s of processor time for the covariance and 1.4 s for the three passes of the range finder
# (1,000 columns: 0.42 and 0.36). Up to here exactness costs little, and reads the file once.
EXACT_UP_TO = 4096


@dataclass(frozen=True)
class PCA:
    """Replace the columns by the first principal components, without whitening.

    They are exact, from one covariance in float64, up to 4,096 columns. Those of wider tables come from a randomised
    range finder in three passes (Halko, Martinsson and Tropp, SIAM Review 53, 2011) and Nyström's approximation (Tropp,
    Yurtsever, Udell and Cevher, NeurIPS 2017). The largest entry of each axis, by magnitude, is positive.

    Parameters
    ----------
    n : int
        Components, at least 1 and at most the number of columns and of rows.
    """

    n: int
    kind: ClassVar[str] = "pca"
    affine: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", whole("pca", self.n, least=1))

    def needs(self, width: int) -> frozenset[str]:
        return frozenset({"moments", "covariance"} if width <= EXACT_UP_TO else ())

    def fit(self, rows: Passes, statistics: Statistics | None) -> FittedPCA:
        if self.n > min(rows.n, rows.width):
            raise ValueError(f"pca={self.n} is more than a table of {rows.n} rows and {rows.width} columns has")
        if statistics is None:
            from tsne_ooc.preprocess.sketch import leading

            with rows.threads.one_blas_thread():
                mean, total, values, axes = leading(rows, self.n)
            return _fitted(self, rows.n, mean, total, values, axes)
        from scipy.linalg import eigh

        assert statistics.covariance is not None
        p = rows.width
        with rows.threads.one_blas_thread():
            values, axes = eigh(statistics.covariance, subset_by_index=[p - self.n, p - 1], check_finite=False)
        return _fitted(self, rows.n, statistics.mean, float(statistics.variance.sum()), values[::-1], axes[:, ::-1])


def _fitted(step: PCA, n: int, mean: Float64, total: float, values: Float64, axes: Float64) -> FittedPCA:
    """The step fitted from eigenvalues, descending, and eigenvectors as columns, of the covariance divided by n."""
    largest = axes[np.argmax(np.abs(axes), axis=0), np.arange(step.n)]
    axes = np.ascontiguousarray(axes * np.where(largest < 0, -1.0, 1.0))
    # Rounding leaves values such as -1e-16.
    values = np.maximum(values, 0.0)
    ratio = values / total if total > 0 else np.zeros_like(values)
    return FittedPCA(step, mean, axes, values * (n / max(1, n - 1)), ratio)


@dataclass(frozen=True)
class FittedPCA:
    """The axes, and how much of the data they hold.

    Attributes
    ----------
    mean : float64 (p,)
    axes : float64 (p, n)
        One component a column.
    explained_variance : float64 (n,)
        Variance of each component, with n_samples - 1 in the denominator.
    explained_variance_ratio : float64 (n,)
        Its share in the variance of all columns.
    """

    step: PCA
    mean: Float64
    axes: Float64
    explained_variance: Float64
    explained_variance_ratio: Float64

    @property
    def width_in(self) -> int:
        return len(self.mean)

    @property
    def width_out(self) -> int:
        return self.step.n

    def apply(self, rows: Float64, first_row: int) -> Float64:
        from tsne_ooc._kernels.project import project

        out = np.empty((len(rows), self.step.n))
        project(rows, self.mean, self.axes, out)
        return out

    def undo(self, rows: Float64) -> Float64:
        from tsne_ooc._kernels.project import project

        # What was orthogonal to the axes is lost.
        out = np.empty((len(rows), self.width_in))
        project(rows, np.zeros(self.step.n), np.ascontiguousarray(self.axes.T), out)
        return out + self.mean

    def forward(self, statistics: Statistics) -> Statistics | None:
        return None

    def state(self) -> State:
        arrays = {
            "mean": self.mean,
            "axes": self.axes,
            "explained_variance": self.explained_variance,
            "explained_variance_ratio": self.explained_variance_ratio,
        }
        return {"n": self.step.n}, arrays

    @classmethod
    def from_state(cls, json: Json, arrays: Json, width: int) -> FittedPCA:
        step = PCA(json["n"])
        return cls(
            step,
            checked_array(arrays, "mean", (width,)),
            checked_array(arrays, "axes", (width, step.n)),
            checked_array(arrays, "explained_variance", (step.n,)),
            checked_array(arrays, "explained_variance_ratio", (step.n,)),
        )
