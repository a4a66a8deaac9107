"""Layer normalisation and SiLU against their formulas, in float64."""

import numpy as np
import pytest

from tsne_ooc._kernels.activation import EPSILON, normalised_silu, places, silu, standardised


def wanted_silu(x):
    x = np.asarray(x, np.float64)
    return x / (1 + np.exp(-x))


def test_silu_is_within_its_budget():
    x = np.concatenate([np.linspace(-40, 40, 4001), np.geomspace(1e-20, 1e4, 300), -np.geomspace(1e-20, 700, 300)])
    x = x.astype(np.float32)
    found = np.array([silu(value) for value in x], np.float64)
    assert (np.abs(found - wanted_silu(x)) <= 4e-7 * np.maximum(1, np.abs(x))).all()


def test_rows_are_standardised_and_kept_within_what_can_be_squared():
    rng = np.random.default_rng(3)
    rows = (rng.normal(size=(50, 21)) * 10.0 ** rng.integers(-5, 38, size=(50, 1))).astype(np.float32)
    rows[7, 3], rows[8] = np.nan, np.finfo(np.float32).max
    center, scale = rng.normal(size=21).astype(np.float32), np.where(np.arange(21) == 4, 0, 0.5).astype(np.float32)
    center[:5] = -1e38
    wide = np.zeros((50, 32), np.float32)
    standardised(rows, center, np.float32(2e9), scale, wide[:, :21])
    with np.errstate(over="ignore"):
        wanted = np.clip(rows - center, np.float32(-2e9), np.float32(2e9)) * scale
    np.testing.assert_array_equal(wide[:, :21], wanted)
    assert np.isnan(wide).sum() == 1 and np.nanmax(np.abs(wide)) == 1e9 and not wide[:, 21:].any()


@pytest.mark.parametrize("m, w", [(1, 16), (37, 48), (5, 256)])
def test_rows_are_normalised(m, w):
    rng = np.random.default_rng(0)
    h = (3 + 2 * rng.normal(size=(m, w))).astype(np.float32)
    bias, gain, shift = rng.normal(size=(3, w)).astype(np.float32)
    before, out = h.copy(), np.empty_like(h)
    normalised_silu(h, bias, gain, shift, out)
    z = h.astype(np.float64) + bias
    z = (z - z.mean(axis=1, keepdims=True)) / np.sqrt(z.var(axis=1, keepdims=True) + EPSILON)
    np.testing.assert_allclose(out, wanted_silu(z * gain + shift), atol=5e-6)
    assert (h == before).all()
    # A row without variance has no direction: what is left is the shift.
    normalised_silu(np.ones((1, w), np.float32), np.zeros(w, np.float32), gain, shift, out[:1])
    np.testing.assert_allclose(out[0], wanted_silu(shift), atol=1e-6)
    # One that is not finite is seen to be.
    h[0, 3] = np.nan
    normalised_silu(h, bias, gain, shift, out)
    assert np.isnan(out[0]).all() and np.isfinite(out[1:]).all()


@pytest.mark.parametrize("m, w, p, d", [(1, 16, 16, 1), (37, 48, 32, 2), (5, 256, 64, 3)])
def test_places_are_the_products_of_the_last_layer(m, w, p, d):
    rng = np.random.default_rng(1)
    h, x = (rng.normal(size=(m, k)).astype(np.float32) for k in (w, p))
    bias, gain, shift = rng.normal(size=(3, w)).astype(np.float32)
    head, skip = (rng.normal(size=(d, k)).astype(np.float32) for k in (w, p))
    origin = rng.normal(size=d).astype(np.float32)
    activated, out = np.empty_like(h), np.empty((m, d), np.float32)
    normalised_silu(h, bias, gain, shift, activated)
    straight, reach, margin = rng.normal(size=d).astype(np.float32), np.float32(3), np.float32(2)
    low, high = origin - np.float32(5), origin + np.float32(4)
    y = np.empty(w, np.float32)
    places(h, bias, gain, shift, head, x, skip, straight, reach, origin, low, high, margin, y, out)
    line = wanted_eased(straight + x.astype(np.float64) @ skip.T, -3, 3, 3) - straight
    wanted = wanted_eased(origin + activated.astype(np.float64) @ head.T + line, low, high, 2)
    np.testing.assert_allclose(out, wanted, atol=5e-5)


def wanted_eased(x, low, high, margin):
    inside = np.clip(x, low, high)
    return inside + margin * np.tanh((x - inside) / margin)


@pytest.mark.parametrize("w", [16, 32, 48, 64, 128])
def test_what_lies_beside_a_row_in_memory_changes_no_bit(w):
    # A loop that adds and writes is cut into vectors only where its arrays are far enough from each other.
    rng = np.random.default_rng(2)
    h, x = rng.normal(size=(5, w)).astype(np.float32), rng.normal(size=(5, 16)).astype(np.float32)
    layer = rng.normal(size=(3, w)).astype(np.float32)
    head, skip = rng.normal(size=(2, w)).astype(np.float32), rng.normal(size=(2, 16)).astype(np.float32)
    found, zero, one = set(), np.zeros(2, np.float32), np.float32(1)
    for which in range(3):
        for gap in (w, w + 4, w + 16, w + 48, 2048):
            for side in (-gap, gap):
                room = np.zeros(8192, np.float32)
                own = [room[4096 + side :][:w] if i == which else np.empty(w, np.float32) for i in range(3)]
                for array, values in zip(own, layer, strict=True):
                    array[:] = values
                out = np.empty((5, 2), np.float32)
                places(
                    h, *own, head, x, skip, zero, np.float32(9), zero, zero - 99, zero + 99, one, room[4096:][:w], out
                )
                found.add(out.tobytes())
    assert len(found) == 1
