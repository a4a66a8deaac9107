"""Which repulsion is used for how many rows, and that the exact one is the plain sum."""

from __future__ import annotations

import numpy as np
import pytest
import reference

from tsne_ooc._parallel import Threads
from tsne_ooc.gradients.repulsion import ExactRepulsion, FieldRepulsion, repulsion_for

ONE = Threads(1)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("dof", [0.3, 1.0, 20.0])
@pytest.mark.parametrize("n", [1, 7, 65, 200])
def test_exact_sums_are_the_plain_sums(d, dof, n):
    """Also where rows do not fill the compiler's vectors, and ranges of rows are cut."""
    Y = (5 * np.random.default_rng(n).normal(size=(n, d))).astype(np.float32)
    slope = np.empty_like(Y)
    Z = ExactRepulsion(dof, ONE)(Y, slope)
    S, gradient = reference.others_field(Y, dof)
    assert pytest.approx(S.sum(), rel=1e-6, abs=1e-9) == Z
    np.testing.assert_allclose(slope, gradient, rtol=1e-5, atol=1e-5 * max(1e-3, np.abs(gradient).max()))


@pytest.mark.parametrize(
    ("n", "d", "dof", "kind"),
    [
        (499, 1, 1.0, ExactRepulsion), (500, 1, 1.0, FieldRepulsion),
        (1_999, 2, 1.0, ExactRepulsion), (2_000, 2, 1.0, FieldRepulsion),
        (499, 2, 0.7, ExactRepulsion), (500, 2, 0.7, FieldRepulsion),
        # In three axes the field of a few hundred rows took a thousand times as long.
        (29_999, 3, 1.0, ExactRepulsion), (30_000, 3, 1.0, FieldRepulsion), (29_999, 3, 0.7, ExactRepulsion),
    ],
)  # fmt: skip
def test_the_quicker_one_is_used(n, d, dof, kind):
    assert type(repulsion_for(n, d, dof, ONE)) is kind
