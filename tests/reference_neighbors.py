"""Neighbours by definition, as they are shipped with the contracts, and what a metric takes from rows."""

import numpy as np

from tsne_ooc.testing.brute_force import distances
from tsne_ooc.testing.brute_force import smallest as nearest

__all__ = ["distances", "inverse_covariance", "nearest"]


def inverse_covariance(X):
    """Of the rows, by their singular values in units of the columns' deviations; what does not vary does not count."""
    centred = X.astype(float) - X.astype(float).mean(axis=0)
    units = centred.std(axis=0, ddof=1)
    units[units == 0] = 1
    _, values, directions = np.linalg.svd(centred / units, full_matrices=False)
    directions = directions[values > 1e-6 * values[0]] / units
    values = values[values > 1e-6 * values[0]]
    return (directions.T * (len(X) - 1) / values**2) @ directions
