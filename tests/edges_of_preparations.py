"""Rows and tables that tests of preparations at their edges share."""

from __future__ import annotations

import numpy as np

nan = np.nan


def rows(n=40, p=4, seed=0):
    return np.random.default_rng(seed).gamma(2, 3, (n, p))


def silent():
    return lambda *told: None


class Wide:
    """A transformer that gives more columns, or fewer."""

    def __init__(self, columns):
        self.columns = columns

    def transform(self, X):
        return np.resize(X, (len(X), self.columns))
