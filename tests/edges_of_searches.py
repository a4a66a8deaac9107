"""What tests of searches at their edges share."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.spatial.distance import cdist

from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors.plausible import tell_unlikely

ONE = Threads(1)


def told(rows, metric):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        tell_unlikely(rows, metric)
    assert len(said) <= 1
    return str(said[0].message) if said else None


D = np.round(cdist(np.random.default_rng(0).normal(size=(9, 3)), np.random.default_rng(0).normal(size=(9, 3))), 3)
