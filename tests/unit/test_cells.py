"""Rows counted in the cells of a picture, and the frame around a map, row by row."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tsne_ooc._parallel import Threads
from tsne_ooc.plot import density
from tsne_ooc.plot.colors import linear
from tsne_ooc.plot.frame import Frame
from tsne_ooc.plot.labels import Scale

STEPS = 1 << 20
COLORS = np.array([[1.0, 0.2, 0.0], [0.1, 0.9, 0.3], [0.0, 0.4, 0.8]])


def on_a_map(n, seed=0):
    """Rows within the frame and beyond it on each side, exactly on its edges, and some without a place."""
    rng = np.random.default_rng(seed)
    Y = rng.uniform(-2.4, 4.4, (n, 2)).astype(np.float32)
    Y[:4] = [[-2, -1], [4, 5], [-2, 5], [4, -1]]
    Y[4:8] = [[np.nan, 0], [0, np.inf], [-np.inf, 1], [1, np.nan]]
    Y[8:12] = [[-1e9, 0], [1e9, 0], [0, -1e9], [0, 1e9]]
    return Y


def in_blocks(Y, size):
    return SimpleNamespace(
        n=len(Y), blocks=lambda: ((at, min(at + size, len(Y)), Y[at : at + size]) for at in range(0, len(Y), size)),
        some=lambda most: Y[:most],
    )  # fmt: skip


def cell_of(place, low, high, cells):
    return [min(max(int(cells * (at - a) / (b - a)), 0), cells - 1) for at, a, b in zip(place, low, high, strict=True)]


@pytest.fixture(params=[(8, 4), (7, 3), (5, 5), (1, 1)])
def cells(request, monkeypatch):
    monkeypatch.setattr(density, "CELLS", request.param[0])
    monkeypatch.setattr(density, "COARSE", request.param[1])
    return request.param


LOW, HIGH = np.array([-2.0, -1.0]), np.array([4.0, 5.0])


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("size", [13, 1000])
@pytest.mark.parametrize("labelled", [False, True])
def test_rows_are_counted_with_their_light_and_their_kind(cells, labelled, size, jobs):
    Y = on_a_map(300)
    codes = np.random.default_rng(1).integers(0, 3, 300)
    shown = SimpleNamespace(codes=lambda start, stop: codes[start:stop]) if labelled else None
    colors = COLORS if labelled else COLORS[:1]
    found = density.count(in_blocks(Y, size), shown, colors, (LOW, HIGH), Threads(jobs))
    fine, coarse = cells
    rows, light = np.zeros((fine, fine), int), np.zeros((fine, fine, 3))
    kinds = np.zeros((len(colors), coarse, coarse), int)
    for place, code in zip(Y, codes if labelled else np.zeros(300, int), strict=True):
        if np.isfinite(place).all():
            across, up = cell_of(place, LOW, HIGH, fine)
            rows[up, across] += 1
            light[up, across] += linear(colors[code])
            # Coarse cells divide the same square; at its upper rim the last fine cell counts.
            across, up = (
                min(max(fine * (at - a) / (b - a), 0), fine - 1) for at, a, b in zip(place, LOW, HIGH, strict=True)
            )
            kinds[code, int(up * coarse / fine), int(across * coarse / fine)] += 1
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_array_equal(found.kinds, kinds)
    filled = rows > 0
    np.testing.assert_allclose(found.light[filled], light[filled] / rows[filled][:, None], atol=2 / STEPS)
    assert np.isnan(found.light[~filled]).all() and found.values is None
    assert rows.sum() == kinds.sum() == 296


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("numbers", ["many", "one", "beyond"])
def test_rows_are_counted_with_their_numbers(cells, numbers, jobs):
    """A missing one counts for no mean; of one number alone the mean is that number."""
    Y, fine = on_a_map(300), cells[0]
    values = np.random.default_rng(1).normal(5, 2, 300)
    low, high = values.min(), values.max()
    if numbers == "one":
        values[:] = low = high = 3.25
    if numbers == "beyond":
        # What is beyond the scale counts as its ends.
        low, high = 4.0, 6.0
    values[::5] = np.nan
    values[1::50] = np.inf
    found = density.count(in_blocks(Y, 77), Scale(low, high, None, values), COLORS[:1], (LOW, HIGH), Threads(jobs))
    rows, sums, counts = (np.zeros((fine, fine)) for _ in range(3))
    for place, value in zip(Y, values, strict=True):
        if np.isfinite(place).all():
            across, up = cell_of(place, LOW, HIGH, fine)
            rows[up, across] += 1
            if np.isfinite(value):
                counts[up, across] += 1
                sums[up, across] += min(max(value, low), high)
    np.testing.assert_array_equal(found.rows, rows)
    there = counts > 0
    np.testing.assert_allclose(found.values[there], sums[there] / counts[there], atol=2 * max(high - low, 1) / STEPS)
    assert np.isnan(found.values[~there]).all() and found.light is None


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("size", [17, 1000])
@pytest.mark.parametrize(("far", "shown"), [(0, 0), (1, 1), (2, 2), (3, 0)])
def test_the_frame_is_around_all_rows_but_a_few_far_ones(far, shown, size, jobs):
    """One in five hundred may be far, or a single one; more are a part of the map. Those without a place are told."""
    rng = np.random.default_rng(far)
    Y = rng.normal(0, 1, (1000, 2)).astype(np.float32)
    Y[100 : 100 + far] = np.float32([[90, 0.5], [-80, 0.25], [0.125, 70]])[:far]
    Y[[5, 50, 995]] = np.float32([[np.nan, 0], [0, np.inf], [-np.inf, np.nan]])
    frame = Frame.around(in_blocks(Y, size), Threads(jobs))
    kept = np.isfinite(Y).all(axis=1)
    assert (frame.far, frame.lost) == (shown, 3)
    if shown:
        kept[100 : 100 + far] = False
    np.testing.assert_array_equal(frame.low, Y[kept].min(axis=0))
    np.testing.assert_array_equal(frame.high, Y[kept].max(axis=0))
    low, high = frame.square()
    assert np.ptp(high - low) < 1e-9 and (high - low)[0] == pytest.approx(1.04 * (frame.high - frame.low).max())
    np.testing.assert_allclose((low + high) / 2, (frame.low + frame.high) / 2)
    with pytest.raises(ValueError, match=r"^Y has no row with a place: all coordinates are NaN or infinite$"):
        Frame.around(in_blocks(np.full((9, 2), np.nan, np.float32), size), Threads(jobs))
