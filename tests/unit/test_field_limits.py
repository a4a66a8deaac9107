"""Where the field is less exact: by as much as the documentation says, and no more."""

from __future__ import annotations

import numpy as np
import pytest
import reference

from tsne_ooc._parallel import Threads
from tsne_ooc.gradients.field import FieldPlanner

ONE = Threads(1)


def error(Y, axes=slice(None)):
    """Relative root mean square error of the force along some axes."""
    gradient = np.empty_like(Y)
    FieldPlanner(1.0, ONE).plan(Y).at_sources(Y, gradient, ONE)
    _, wanted = reference.others_field(Y)
    return reference.relative(gradient[:, axes], wanted[:, axes])


@pytest.mark.parametrize(
    ("ratio", "length", "most"),
    [
        (1, 1e-4, 1e-4), (1, 10.0, 1e-2), (30, 1e-4, 1.0), (30, 1.0, 0.26), (30, 10.0, 6e-3),
        (100, 1e-4, 1.7), (100, 1.0, 0.55), (100, 10.0, 0.07),
    ],
)  # fmt: skip
def test_along_the_thin_axis_of_a_long_map(ratio, length, most):
    Y = np.random.default_rng(0).normal(size=(1000, 2)) * [length, length / ratio]
    assert error(Y.astype(np.float32), 1) < most


@pytest.mark.parametrize(
    ("size", "within", "most"),
    [(1, 1e-3, 0.01), (10, 1e-3, 0.2), (10, 0.3, 0.012), (100, 1e-3, 7.0), (100, 0.3, 0.012)],
)
def test_among_rows_that_coincide(size, within, most):
    rng = np.random.default_rng(0)
    Y = np.repeat(rng.normal(size=(2000 // size, 2)) * 60, size, axis=0)
    assert error((Y + within * rng.normal(size=Y.shape)).astype(np.float32)) < most
