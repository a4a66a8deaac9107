"""Numbers with their standard errors, from rows that were drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tsne_ooc._typing import Float64, Int64

#: Groups of rows, each of which is left out once to see how far a correlation moves.
GROUPS = 10


class Estimate(NamedTuple):
    """A number, and its standard error: 0 where all rows were looked at, NaN where it is not known."""

    value: float
    error: float


def mean_of(values: Float64, n: int) -> Estimate:
    """The mean of a number of each row, of rows drawn from `n` without replacement."""
    q = len(values)
    if q >= n:
        return Estimate(float(values.mean()), 0.0)
    error = float(values.std(ddof=1)) / math.sqrt(q) if q > 1 else math.nan
    return Estimate(float(values.mean()), error * math.sqrt(1 - q / n))


def jackknife(statistic: Callable[[Int64], float], q: int, n: int) -> Estimate:
    """What `statistic` gives of `q` rows drawn from `n`, and its error from leaving out a tenth of them at a time.

    ``statistic(kept)`` is asked about the rows at these places.
    """
    everything = np.arange(q)
    value = statistic(everything)
    if q >= n:
        return Estimate(value, 0.0)
    if q < 2 * GROUPS:
        return Estimate(value, math.nan)
    without = np.array([statistic(everything[everything % GROUPS != group]) for group in range(GROUPS)])
    spread = float(np.square(without - without.mean()).sum()) * (GROUPS - 1) / GROUPS
    return Estimate(value, math.sqrt(spread) * math.sqrt(1 - q / n))


def correlation(x: Float64, y: Float64) -> float:
    """Pearson's correlation; NaN where one of them does not vary."""
    if len(x) < 3:
        return math.nan
    x, y = x - x.mean(), y - y.mean()
    size = math.sqrt(float(x @ x) * float(y @ y))
    # Equal numbers differ from their mean by its rounding.
    return float(x @ y) / size if size > 1e-12 * len(x) else math.nan


def rank_correlation(x: Float64, y: Float64) -> float:
    """Spearman's correlation; NaN where one of them does not vary."""
    from scipy.stats import rankdata

    return correlation(rankdata(x), rankdata(y))
