"""All rows together: where a refinement starts, and what it takes over from the map that it refines."""

from __future__ import annotations

from typing import Any

import numpy as np

from tsne_ooc._options import number
from tsne_ooc._typing import Float32, Named
from tsne_ooc.fit.initialization import given
from tsne_ooc.placement import Placed

# Standard deviation that the placed map is brought to. See docs/experiments.md, "All rows together".
DEVIATION = 2.0
# Of that, what each row is moved at random: rows that are equal, and took one seat, part.
JITTER = 0.01

#: What the map that is refined has decided for good.
DECIDED = ("n_components", "metric", "metric_params", "initialization", "sample", "prepare")
#: What says how another fit went, and nothing of this one.
COURSE = {
    "schedule": "refine", "early_exaggeration": "auto", "early_exaggeration_iter": "auto", "n_iter": "auto",
    "learning_rate": "auto",
}  # fmt: skip


def check_options(options: Named, deviation: object) -> None:
    """Raise TypeError or ValueError for what a refinement cannot have."""
    if deviation is not None:
        number("deviation", deviation, above=0)
    for name in options:
        if name in DECIDED:
            raise TypeError(f"{name}= is not an option of refine: the map that is refined has decided it")


def placed_at(start: Any, n: int, d: int) -> Placed:
    """What `place` gave, or an array of places, checked and copied: `n` rows on a map of `d` axes.

    Raises
    ------
    ValueError
        For another shape, and what is not finite, by row and column.
    """
    if not isinstance(start, Placed):
        return Placed(given(start, n, d, "start"), np.zeros(n, np.int32))
    novelty = None if start.novelty is None else np.array(start.novelty, np.float32)
    return Placed(given(start.embedding, n, d, "start"), np.array(start.iterations, np.int32), novelty)


def begin_at(places: Float32, deviation: float | None, rng: np.random.Generator) -> Float32:
    """Where rows start: the placed map about 0, brought to a standard deviation of `deviation` an axis.

    Rows that were placed between two islands, or on the wrong side of one, do not come past the others in a wide map.
    In a small one repulsion is weak, and they do; the islands keep their order, unless the map is shrunk to a point.

    Parameters
    ----------
    places : ndarray of float32, shape (n, d)
    deviation : float or None
        None leaves the map as it is.
    rng : numpy.random.Generator
    """
    if deviation is None:
        return places.copy()
    deviation = float(deviation)
    centred = places - places.mean(axis=0, dtype=np.float64)
    width = float(np.sqrt(np.square(centred).mean()))
    if width > 0:
        centred *= deviation / width
    return np.asarray(centred + rng.normal(0, JITTER * deviation, centred.shape), np.float32)
