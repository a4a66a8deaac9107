"""What pictures are made of, each against a slow and obvious twin: rows, frames, cells, labels, colours, names."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from tsne_ooc._parallel import Threads
from tsne_ooc.plot import most_frequent
from tsne_ooc.plot.beside import laid_on
from tsne_ooc.plot.colors import DARK, LIGHT, PALETTE, color_map, is_for_scales, linear, palette, scale_on, screen
from tsne_ooc.plot.density import CELLS, COARSE, Counts, count, depth_of, draw_density, image_of, in_grey
from tsne_ooc.plot.frame import Frame, at_the_rim, fit_axes
from tsne_ooc.plot.labels import Kinds, Scale, coloring
from tsne_ooc.plot.legend import add_note, shortened
from tsne_ooc.plot.rows import MapRows, Together
from tsne_ooc.plot.scatter import _opacity as opacity
from tsne_ooc.plot.scatter import chosen

RNG = np.random.default_rng(5)
MAP = RNG.normal(size=(300, 2)).astype(np.float32)


@pytest.fixture(params=[7, 64, 1 << 21])
def blocks(request, monkeypatch):
    """Rows are read in pieces of so many, which no answer may depend on."""
    monkeypatch.setattr("tsne_ooc.plot.rows.SHADED", request.param)
    return request.param


# ----------------------------------------------------------------------------------------------------------------- rows


@pytest.mark.parametrize(
    "Y",
    [
        MAP, MAP.astype(np.float64), MAP.astype(np.float16), MAP.astype(">f4"), np.asfortranarray(MAP), MAP[::-1],
        (100 * MAP).astype(np.int8), MAP.tolist(), MAP[:1], MAP[:, :1], (9 * MAP[:, :1]).astype(np.int64),
    ],
    ids=["f4", "f8", "f2", "swapped", "columns", "turned", "int8", "list", "one row", "one axis", "whole, one axis"],
)  # fmt: skip
def test_rows_of_a_map_are_read_as_they_are(blocks, Y):
    """All of them, some by their numbers, and some from all over: as float32 in two columns, each in its place."""
    wanted = np.asarray(Y, np.float64).astype(np.float32)
    before = np.array(Y)
    rows = MapRows(Y)
    n, dimensions = rows.n, rows.dimensions
    assert (n, dimensions) == wanted.shape
    whole = rows.all()
    assert whole.dtype == np.float32 and whole.shape == (n, 2) and whole.flags.c_contiguous
    np.testing.assert_array_equal(whole[:, :dimensions], wanted)
    edges = [(start, stop) for start, stop, _ in rows.blocks()]
    assert [at for at, _ in edges] == [0, *[stop for _, stop in edges[:-1]]] and edges[-1][1] == n
    assert all(stop - start <= blocks for start, stop in edges)
    for start, stop, block in rows.blocks():
        np.testing.assert_array_equal(block, whole[start:stop])
    for numbers in ([], [0], [n - 1], range(0, n, 3), range(n)):
        found = rows.of(np.array(numbers, np.int64))
        assert found.shape == (len(numbers), 2)
        np.testing.assert_array_equal(found, whole[list(numbers)])
    np.testing.assert_array_equal(np.asarray(Y), before)


@pytest.mark.parametrize("most", [299, 300, 301])
def test_all_rows_are_looked_at_where_there_are_no_more_than_that(blocks, most):
    found = MapRows(MAP).some(most)
    if most >= 300:
        np.testing.assert_array_equal(found, MAP)
    else:
        assert len(found) <= most
        np.testing.assert_array_equal(found[0], MAP[0])
        np.testing.assert_array_equal(found[-1], MAP[-1])
        places = {tuple(row): at for at, row in enumerate(MAP.tolist())}
        assert all(tuple(row) in places for row in found.tolist())


def test_a_few_rows_are_from_all_over_a_map():
    """From its first row to its last, and from each tenth between them."""
    Y = np.repeat(np.arange(10_000, dtype=np.float32)[:, None], 2, axis=1)
    for most in (1, 63, 64, 65, 1000, 5000):
        found = MapRows(Y).some(most)[:, 0]
        assert len(found) <= max(64, most) and found[0] == 0 and (np.diff(found) > 0).all()
        if most >= 1000:
            assert found[-1] == 9999 and len(np.unique(found // 1000)) == 10 and len(found) > most - 64


def test_maps_together_are_one_after_the_other(blocks):
    parts = [MAP[:10], MAP[10:11], MAP[11:]]
    both = Together(*[MapRows(part) for part in parts])
    assert both.n == 300
    edges = [(start, stop, block) for start, stop, block in both.blocks()]
    assert edges[0][0] == 0 and edges[-1][1] == 300
    for (_, stop, _), (start, _, _) in itertools.pairwise(edges):
        assert stop == start
    for start, stop, block in edges:
        np.testing.assert_array_equal(block, MAP[start:stop])
    np.testing.assert_array_equal(both.some(10_000), MAP)


def test_of_maps_together_each_is_looked_at_by_its_share():
    long, short = (np.full((n, 2), at, np.float32) for at, n in enumerate((9000, 1000)))
    found = Together(MapRows(long), MapRows(short)).some(2000)[:, 0]
    assert 1600 <= (found == 0).sum() <= 1800 and 128 <= (found == 1).sum() <= 200


def test_a_map_of_one_axis_is_spread_across_it_by_a_twentieth_of_its_width():
    """In the same way each time, whatever is read first; rows without a place have no part in the width."""
    line = np.linspace(-300, 700, 5000, dtype=np.float32)[:, None]
    for given in (line, np.r_[line, [[np.nan]], [[np.inf]]]):
        across = MapRows(given).all()[:5000, 1]
        assert abs(across.mean()) < 3 and across.std() == pytest.approx(50, rel=0.05)
        np.testing.assert_array_equal(MapRows(given).all()[:, 1], MapRows(given).all()[:, 1])
        assert len(np.unique(across)) > 4900
    for nowhere in (np.zeros((9, 1)), np.full((9, 1), np.nan)):
        across = MapRows(nowhere).all()[:, 1]
        assert np.isfinite(across).all() and 0.2 < across.std() < 3


def test_a_place_beyond_float32_is_no_place():
    Y = MAP.astype(np.float64)
    Y[4] = 1e300, 0
    found = MapRows(Y).all()
    assert np.isinf(found[4, 0]) and np.isfinite(np.delete(found, 4, axis=0)).all()


@pytest.mark.parametrize(
    "Y, message",
    [
        (np.zeros((4, 3)), r"^here has 3 columns; choose one or two to draw, such as here\[:, :2\]$"),
        (np.zeros(4), "here"), (np.zeros((2, 2, 2)), "here"), (np.zeros((0, 2)), "0 sample"), ([["a", "b"]], "here"),
    ],
)  # fmt: skip
def test_what_is_no_map(Y, message):
    with pytest.raises((ValueError, TypeError), match=message):
        MapRows(Y, "here")


# ---------------------------------------------------------------------------------------------------------------- frame


def frame_of(Y):
    """Low, high, far and lost, row by row."""
    there = Y[np.isfinite(Y).all(axis=1)].astype(np.float64)
    lost = len(Y) - len(there)
    far = np.zeros(len(there), bool)
    if len(Y) >= 20 and len(there) >= 20:
        out = max(1, len(there) // 50)
        low, high = np.sort(there, axis=0)[out], np.sort(there, axis=0)[-1 - out]
        width = high - low
        if width.any():
            width = np.array([one if one > 0 else width.max() for one in width])
            far = ((there < low - width) | (there > high + width)).any(axis=1)
    if far.sum() > max(1, len(Y) // 500):
        far[:] = False
    near = there[~far]
    return near.min(axis=0), near.max(axis=0), far.sum(), lost


def maps():
    """Maps of several lengths, with a few rows beyond them, by much and by little, and some that are nowhere."""
    rng = np.random.default_rng(0)
    for n in (1, 2, 19, 20, 21, 49, 50, 99, 100, 101, 499, 500, 999, 1000, 1499, 1500):
        for far in (0, 1, 2, 3, 4):
            for lost in (0, 1) if far < 3 else (0,):
                Y = rng.uniform(-1, 1, size=(n, 2)).astype(np.float32)
                Y[: min(far, n)] += rng.choice([-9, 9], size=(min(far, n), 1)) * [[1, 0]]
                if lost and n > 5:
                    Y[n // 2, n % 2] = (np.nan, np.inf)[n % 2]
                yield Y
    for at in (0, 1):
        # A line, which has no width across itself; with rows beside it.
        Y = np.zeros((600, 2), np.float32)
        Y[:, at] = rng.uniform(-1, 1, 600)
        yield Y.copy()
        Y[3, 1 - at] = 1.5
        yield Y.copy()
        Y[3, 1 - at] = 2.5
        yield Y.copy()
        Y[3, at] = 3.5
        yield Y
    yield np.full((100, 2), 3.0, np.float32)


def test_the_frame_of_a_map_leaves_out_a_few_that_are_far_away():
    for Y in maps():
        low, high, far, lost = frame_of(Y)
        for jobs in (1, 2):
            found = Frame.around(MapRows(Y), Threads(jobs))
            assert (found.far, found.lost) == (far, lost), len(Y)
            np.testing.assert_allclose(found.low, low, rtol=1e-6)
            np.testing.assert_allclose(found.high, high, rtol=1e-6)


def test_the_frame_does_not_depend_on_pieces(blocks):
    Y = next(Y for Y in maps() if len(Y) == 1000)
    Y[5] = 99, -99
    Y[900] = np.nan
    found = Frame.around(MapRows(Y), Threads(3))
    low, high, far, lost = frame_of(Y)
    assert (found.far, found.lost) == (far, lost) == (1, 1)
    np.testing.assert_allclose([found.low, found.high], [low, high], rtol=1e-6)


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_a_map_without_any_place_has_no_frame(blocks, jobs):
    Y = np.full((50, 2), np.nan, np.float32)
    with pytest.raises(ValueError, match=r"^Y has no row with a place: all coordinates are NaN or infinite$"):
        Frame.around(MapRows(Y), Threads(jobs))
    Y[49] = 3, 4
    found = Frame.around(MapRows(Y), Threads(jobs))
    assert found.lost == 49 and found.low.tolist() == found.high.tolist() == [3, 4]


@pytest.mark.parametrize("far, lost, note", [
    (0, 0, ""), (1, 0, "1 row far away, drawn at the rim"), (0, 1, "1 row without coordinates"),
    (2, 3, "2 rows far away, drawn at the rim; 3 rows without coordinates"),
])  # fmt: skip
def test_what_a_reader_of_a_frame_has_to_know(far, lost, note):
    found = Frame(np.array([-1.0, 2.0]), np.array([3.0, 3.0]), far, lost)
    assert found.note() == note
    low, high = found.square()
    # A square around the middle, as wide as the wider side and a twenty-fifth more.
    np.testing.assert_allclose(high - low, [4.16, 4.16])
    np.testing.assert_allclose((high + low) / 2, [1, 2.5])


def test_a_single_place_has_a_small_square_of_its_own():
    low, high = Frame(np.array([7.0, 8.0]), np.array([7.0, 8.0]), 0, 0).square()
    assert (low < [7, 8]).all() and (high > [7, 8]).all() and (high - low < 0.1).all()


@pytest.mark.parametrize("turned", [False, True])
def test_rows_beyond_the_rim_are_put_within_it_and_no_others_move(turned):
    ax = Figure().subplots()
    ax.set_xlim(10, 0) if turned else ax.set_xlim(0, 10)
    ax.set_ylim(20, 10) if turned else ax.set_ylim(10, 20)
    rows = np.array([[0, 10], [10, 20], [5, 15], [0.01, 19.99], [-1, 15], [5, 25], [99, -99], [11, 15]], np.float32)
    places, beyond = at_the_rim(rows, ax)
    assert beyond.tolist() == [False] * 4 + [True] * 4 and places.dtype == np.float64
    np.testing.assert_array_equal(places[:4], rows[:4].astype(np.float64))
    np.testing.assert_allclose(places[4:], [[0.1, 15], [5, 19.9], [9.9, 10.1], [9.9, 15]])


def test_axes_show_a_square_without_ticks_and_sides():
    ax = Figure(figsize=(4, 7)).subplots()
    frame = Frame(np.array([-1.0, 2.0]), np.array([3.0, 3.0]), 0, 0)
    fit_axes(ax, frame)
    low, high = frame.square()
    assert ax.get_xlim() == (low[0], high[0]) and ax.get_ylim() == (low[1], high[1])
    assert ax.get_aspect() == 1 and ax.get_adjustable() == "box"
    assert not len(ax.get_xticks()) and not len(ax.get_yticks())
    assert not any(side.get_visible() for side in ax.spines.values())


# ---------------------------------------------------------------------------------------------------------------- cells

BOUNDS = np.array([-4.0, -5.0]), np.array([4.0, 3.0])


def cells_of(Y, cells):
    """The cell (up, across) of each row of a map within the bounds, of so many across and up."""
    across, up = ((Y.astype(np.float64) - BOUNDS[0]) / (BOUNDS[1] - BOUNDS[0]) * cells).astype(int).T
    return list(zip(up.tolist(), across.tolist(), strict=True))


@pytest.fixture(scope="module")
def crowded():
    """Many rows in few places, so that cells have several."""
    Y = np.round(np.random.default_rng(1).normal(size=(500, 2)).clip(-3, 2.5), 1).astype(np.float32) + np.float32(0.003)
    return np.concatenate([Y, Y[:200]])


@pytest.mark.parametrize("jobs", [1, 3])
def test_rows_are_counted_in_their_cells(blocks, crowded, jobs):
    labels = np.arange(700) % 3
    shown = coloring(labels, 700, ["red", "#888888", "blue"], LIGHT)
    colors = np.array([to_rgb(one) for one in ("red", "#888888", "blue")])
    found = count(MapRows(crowded), shown, colors, BOUNDS, Threads(jobs))
    fine = cells_of(crowded, CELLS)
    rows, light, kinds = {}, {}, {}
    for cell, coarse, label in zip(fine, cells_of(crowded, COARSE), labels.tolist(), strict=True):
        rows[cell] = rows.get(cell, 0) + 1
        light[cell] = light.get(cell, 0) + linear(colors[label])
        kinds[label, *coarse] = kinds.get((label, *coarse), 0) + 1
    assert {tuple(at): found.rows[tuple(at)] for at in np.argwhere(found.rows).tolist()} == rows
    assert {tuple(at): found.kinds[tuple(at)] for at in np.argwhere(found.kinds).tolist()} == kinds
    for at, wanted in light.items():
        np.testing.assert_allclose(found.light[at], wanted / rows[at], atol=2e-6)
    assert found.values is None and max(rows.values()) > 2


@pytest.mark.parametrize("jobs", [1, 3])
def test_numbers_are_averaged_in_their_cells(blocks, crowded, jobs):
    numbers = np.random.default_rng(2).uniform(5, 9, 700)
    numbers[::4] = np.nan
    shown = coloring(numbers, 700, None, LIGHT)
    found = count(MapRows(crowded), shown, np.zeros((1, 3)), BOUNDS, Threads(jobs))
    of_each = {}
    for cell, number in zip(cells_of(crowded, CELLS), numbers.tolist(), strict=True):
        of_each.setdefault(cell, []).append(number)
    assert {tuple(at) for at in np.argwhere(found.rows).tolist()} == set(of_each)
    for at, each in of_each.items():
        known = [number for number in each if number == number]
        assert found.rows[at] == len(each)
        assert found.values[at] == pytest.approx(np.mean(known) if known else np.nan, abs=1e-5, nan_ok=True)
    assert found.light is None


def test_numbers_that_are_all_the_same_are_their_own_mean(crowded):
    for value in (3.0, -3.0, 0.0):
        shown = coloring(np.full(700, value), 700, "viridis", LIGHT)
        found = count(MapRows(crowded), shown, np.zeros((1, 3)), BOUNDS, Threads(1))
        assert set(found.values[found.rows > 0].tolist()) == {value}


def depths(rows, shading):
    """How strongly each cell is drawn, one after the other."""
    filled = np.sort(rows[rows > 0]).tolist()
    found = np.zeros(rows.shape)
    for at, number in np.ndenumerate(rows):
        if number == 0:
            continue
        if len(set(filled)) == 1:
            share = 1
        elif shading == "equalized":
            share = sum(one < number for one in filled) / sum(one < filled[-1] for one in filled)
        else:
            most = np.log(np.percentile(filled, 99.9))
            share = min(1, np.log(number) / most) if most > 0 else 1
        found[at] = 0.22 + 0.78 * share
    return found


@pytest.mark.parametrize("shading", ["equalized", "log"])
@pytest.mark.parametrize(
    "rows",
    [[[0, 0], [0, 0]], [[0, 1], [0, 0]], [[0, 9], [9, 0]], [[1, 2], [0, 0]], [[1, 1], [1, 2]], [[1, 2], [3, 50]],
     [[1, 1, 1, 1], [1, 1, 1, 1]], np.arange(400).reshape(20, 20)],
    ids=str,
)  # fmt: skip
def test_depth_is_the_share_of_cells_with_fewer_rows_or_the_logarithm(rows, shading):
    rows = np.array(rows, np.uint64)
    found = depth_of(rows, shading)
    np.testing.assert_allclose(found, depths(rows, shading), atol=1e-12)
    assert found.max() <= 1


def test_a_shading_that_is_not_known_is_named():
    with pytest.raises(ValueError, match=r"^shading='lag' is not known; did you mean 'log'"):
        depth_of(np.ones((2, 2), np.uint64), "lag")


def some_counts(**more):
    rows = np.zeros((CELLS, CELLS), np.uint64)
    rows[3, 4], rows[5, 6] = 1, 9
    return Counts(**{"rows": rows, "light": None, "values": None, "kinds": np.zeros((1, 2, 2), np.uint32), **more})


def test_a_picture_has_the_colour_of_its_rows_and_nothing_where_there_are_none():
    plain = image_of(some_counts(), None, "#102030", "log")
    assert plain.shape == (CELLS, CELLS, 4) and plain.dtype == np.float32
    np.testing.assert_allclose(plain[3, 4, :3], to_rgb("#102030"), atol=1e-6)
    assert np.argwhere(plain[..., 3]).tolist() == [[3, 4], [5, 6]] and plain[5, 6, 3] == 1
    # A mean of light beyond what a screen can show, by rounding, is the brightest one.
    light = np.full((CELLS, CELLS, 3), 1.0 + 1e-6)
    light[5, 6] = linear(np.array(to_rgb("#405060")))
    kinds = coloring(np.arange(2), 2, None, LIGHT)
    mixed = image_of(some_counts(light=light), kinds, "#102030", "log")
    assert mixed[3, 4, :3].tolist() == [1, 1, 1]
    np.testing.assert_allclose(mixed[5, 6, :3], to_rgb("#405060"), atol=1e-6)
    values = np.full((CELLS, CELLS), np.nan)
    values[5, 6] = 10
    scale = coloring(np.array([0.5, 10.0]), 2, "magma", DARK)
    drawn = image_of(some_counts(values=values), scale, "#102030", "log")
    np.testing.assert_allclose(drawn[5, 6, :3], color_map("magma")(1.0)[:3], atol=1e-6)
    np.testing.assert_allclose(drawn[3, 4, :3], to_rgb(DARK.missing), atol=1e-6)


def test_a_map_in_grey_is_grey_and_stronger_where_rows_are_few():
    """Behind others it matters where there are any rows at all."""
    grey, plain = in_grey(some_counts(), "#CCCCCC", "log"), image_of(some_counts(), None, "#CCCCCC", "log")
    np.testing.assert_array_equal(grey[..., :3], plain[..., :3])
    assert grey[5, 6, 3] == 1 and plain[3, 4, 3] < grey[3, 4, 3] < 1 and grey[0, 0, 3] == 0


@pytest.mark.parametrize("turned", [False, True])
def test_a_picture_fills_its_axes_and_leaves_them_as_they_are(turned):
    ax = Figure(figsize=(5, 5)).subplots()
    limits = ((7, 1), (4, -2)) if turned else ((1, 7), (-2, 4))
    ax.set_xlim(limits[0])
    ax.set_ylim(limits[1])
    draw_density(ax, np.zeros((4, 4, 4), np.float32), zorder=-1)
    assert (ax.get_xlim(), ax.get_ylim()) == limits and ax.get_aspect() == 1 and ax.get_adjustable() == "box"
    (image,) = ax.images
    assert image.get_extent() in ([1, 7, -2, 4], (1, 7, -2, 4)) and image.origin == "lower" and image.zorder == -1


# --------------------------------------------------------------------------------------------------------------- labels


def kinds_of(labels):
    """The label of each row, as its code names it."""
    found = coloring(labels, len(labels), None, LIGHT)
    assert isinstance(found, Kinds)
    return found, [found.names[at] for at in found.codes(0, len(labels)).tolist()]


@pytest.mark.parametrize("kinds", [39, 40, 41])
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float64, np.uint64])
def test_whole_numbers_of_forty_kinds_have_a_colour_each_and_more_are_a_scale(blocks, kinds, dtype):
    numbers = (np.arange(200) % kinds).astype(dtype)
    found = coloring(numbers, 200, None, LIGHT)
    assert isinstance(found, Kinds if kinds <= 40 else Scale)
    if kinds <= 40:
        assert kinds_of(numbers)[1] == numbers.tolist() and found.names.tolist() == list(range(kinds))
        np.testing.assert_array_equal(found.counts, np.bincount(numbers.astype(int)))
    else:
        assert (found.low, found.high) == (0, kinds - 1)
        np.testing.assert_array_equal(found.values(3, 9), numbers[3:9].astype(np.float64))
        assert found.values(3, 9).dtype == np.float64


@pytest.mark.parametrize("first", [-(2**63), -70_000, -65_536, -3, 0, 2**31, 2**62, 2**63 - 1 - 65_600])
@pytest.mark.parametrize("apart", [1, 100, 65_535, 65_536])
def test_kinds_that_are_whole_numbers_may_lie_anywhere(blocks, first, apart):
    numbers = np.array([first, first + apart] * 20 + [first], np.int64)
    found, named = kinds_of(numbers)
    assert named == numbers.tolist() and found.counts.tolist() == [21, 20]


@pytest.mark.parametrize("n", [100, 101])
@pytest.mark.parametrize("unused", [0, 40])
def test_a_hundred_words_can_be_told_apart_and_no_more(n, unused):
    """Only those that rows have count."""
    pandas = pytest.importorskip("pandas")
    names = [f"kind {at:03}" for at in range(n + unused)]
    labels = pandas.Categorical.from_codes(np.arange(300) % n, names)
    if n > 100:
        with pytest.raises(ValueError, match=r"^labels has 101 different words; at most 100 can be told apart; tsne_"):
            coloring(labels, 300, None, LIGHT)
        return
    found = coloring(labels, 300, None, LIGHT)
    colors = found.colors("white")[: n + unused][np.unique(found.codes(0, 300))]
    assert [tuple(one) for one in colors.tolist()] == [to_rgb(one) for one in PALETTE]
    assert [found.names[at] for at in found.codes(0, 300)] == list(labels)


@pytest.mark.parametrize("kinds", [126, 127, 128, 129, 140])
def test_codes_of_any_number_of_categories_are_right(kinds):
    pandas = pytest.importorskip("pandas")
    codes = np.array([0, kinds - 1, -1, kinds - 2] * 5)
    names = [f"kind {at}" for at in range(kinds)]
    found = coloring(pandas.Categorical.from_codes(codes, names), 20, None, LIGHT)
    read = found.codes(0, 20)
    assert read.dtype == np.int32
    assert [found.names[at] for at in read] == [names[at] if at >= 0 else "missing" for at in codes]
    assert found.names[-1] == "missing" and found.counts[-1] == 5 and found.counts[0] == 5


@pytest.mark.parametrize(
    "labels",
    [np.arange(60) % 7, np.array(["a", "b", "c"])[np.arange(60) % 3],
     np.where(np.arange(60) % 4, np.arange(60) % 3, np.nan),
     [None if at % 5 == 0 else "xy"[at % 2] for at in range(60)],
     np.arange(60) % 2 == 0],
    ids=["whole", "words", "nan", "none", "bool"],
)  # fmt: skip
def test_labels_of_some_rows_keep_their_names_and_colours(blocks, labels):
    found, named = kinds_of(labels)
    rows = np.array([0, 6, 7, 13, 59])
    some = found.of(rows)
    assert [some.names[at] for at in some.codes(0, 5)] == [named[at] for at in rows]
    assert some.counts.tolist() == [sum(named[at] == name for at in rows) for name in found.names]
    for missing in ("#CCCCCC", "red"):
        np.testing.assert_array_equal(some.colors(missing), found.colors(missing))
    # Another colour for what is missing is not written over the palette.
    np.testing.assert_array_equal(np.isnan(found.palette).any(axis=1), [name == "missing" for name in found.names])


def test_numbers_of_some_rows_keep_the_scale(blocks):
    numbers = np.linspace(-5, 7, 60, dtype=np.float32)
    found = coloring(numbers, 60, None, LIGHT)
    some = found.of(np.array([1, 8, 59]))
    assert (some.low, some.high) == (found.low, found.high) == (-5, 7)
    np.testing.assert_array_equal(some.values(0, 3), numbers[[1, 8, 59]])
    norm = some.mappable().norm
    assert (norm.vmin, norm.vmax) == (-5, 7)


@pytest.mark.parametrize(
    "numbers, low, high",
    [([0.5, np.nan, -2.5, np.inf, -np.inf, 7.5], -2.5, 7.5), ([np.nan, 1.5], 1.5, 1.5), ([np.nan] * 3, 0, 1),
     ([np.inf, np.nan], 0, 1), ([-0.5], -0.5, -0.5)],
)  # fmt: skip
def test_a_scale_goes_from_the_least_to_the_largest_number(blocks, numbers, low, high):
    given = np.array(numbers * 5)
    found = coloring(given, len(given), "viridis", LIGHT)
    assert (found.low, found.high) == (low, high)
    np.testing.assert_array_equal(found.values(0, len(given)), given)


@pytest.mark.parametrize(
    "labels, is_scale",
    [([0.0, 1.0, np.nan], False), ([0.0, 0.5], True), ([-1.0, -2.0], False), ([1.5, 2.5, 3.5], True),
     ([np.inf, 1.0], False), ([True, False], False), ([None, 1, 2], False), ([None, 1.5, 2], True),
     (["1", "2"], False)],
)  # fmt: skip
def test_fractions_are_a_scale_and_whole_numbers_kinds(labels, is_scale):
    assert isinstance(coloring(labels * 3, 3 * len(labels), None, LIGHT), Scale if is_scale else Kinds)
    # Whoever names a colour map for scales has one wherever there are numbers.
    if labels != ["1", "2"]:
        assert isinstance(coloring(labels * 3, 3 * len(labels), "viridis", LIGHT), Scale)
    assert isinstance(coloring(labels * 3, 3 * len(labels), "tab10", LIGHT), Scale if is_scale else Kinds)


@pytest.mark.parametrize("numbers, told", [(np.linspace(0, 1, 41), "41 numbers"), ([0.5] * 9 + [np.nan], "1 number")])
def test_colours_of_each_do_not_fit_a_scale(numbers, told):
    with pytest.raises(ValueError) as error:
        coloring(numbers, len(numbers), ["red", "blue"], LIGHT)
    assert str(error.value).startswith(f"labels are {told} on a scale, which takes the name of a colour map, such as ")


def kept_of(labels, most):
    """The labels that the most rows have, first come first where they are equally many; all others as one."""
    names = sorted({label for label in labels if label is not None})
    if len(names) <= most:
        return list(labels)
    kept = sorted(names, key=lambda name: -labels.count(name))[:most]
    others = f"{len(names) - most:,} others"
    return [label if label is None or label in kept else others for label in labels]


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("missing", [False, True])
def test_the_labels_of_most_rows_are_kept(most, missing):
    labels = ["d"] * 3 + ["b"] * 3 + ["a"] + ["c"] * 5 + ([None] * 7 if missing else [])
    found = most_frequent(labels, most)
    assert found.tolist() == kept_of(labels, most)
    there = [name for name in "abcd" if name in found.tolist()]
    assert list(found.categories) == there + ([f"{4 - most} others"] if most < 4 else [])


def test_of_labels_that_equally_many_rows_have_the_first_are_kept():
    names = [f"{at:03}" for at in range(200)]
    found = most_frequent(names * 2, 90)
    assert found.tolist() == [*names[:90], *["110 others"] * 110] * 2


@pytest.mark.parametrize("labels", [
    [2.0, 1.0, np.nan], [2, 1, 2], np.array([2**63 + 5, 1], np.uint64), [2**40, 1], [True, False], ["a", "b", None],
    [2, 1, None], [7, 7, 7],
], ids=str)  # fmt: skip
def test_codes_are_small_numbers_for_labels_of_each_type(blocks, labels):
    """Of 32 bits, as the kernel that counts them is made for; names and counts are as many."""
    n = len(labels) * 5
    given = np.tile(labels, 5) if isinstance(labels, np.ndarray) or None not in labels else labels * 5
    found, named = kinds_of(given)
    assert found.codes(0, n).dtype == found.codes(2, 3).dtype == np.int32
    assert len(found.names) == len(found.counts) == len(found.palette) and found.counts.sum() == n
    assert list(labels) != [True, False] or found.names.dtype == bool
    wanted = ["missing" if one is None or one != one else one for one in (list(labels) * 5)]
    assert named == wanted and found.of(np.arange(n)).counts.tolist() == found.counts.tolist()


def test_pages_of_labels_in_a_file_are_given_back_after_each_block(monkeypatch):
    """Else a file of labels would stay in memory once it was read."""
    seen = []
    monkeypatch.setattr("tsne_ooc.plot.rows.SHADED", 50)
    monkeypatch.setattr("tsne_ooc.plot.labels.give_back", seen.append)
    few, many = np.arange(190) % 7, np.arange(190.0)
    kinds = coloring(few, 190, None, LIGHT)
    # Four blocks, once to see which there are, and once to count them.
    assert len(seen) == 8 and all(one is few for one in seen)
    kinds.codes(0, 50)
    assert len(seen) == 9
    seen.clear()
    scale = coloring(many, 190, None, LIGHT)
    # One, which has too many, and four for the ends.
    assert len(seen) == 5 and all(one is many for one in seen)
    scale.values(0, 50)
    assert len(seen) == 6
    # Words are read at once.
    coloring(few.astype(str), 190, None, LIGHT).codes(0, 50)
    assert len(seen) == 6


# -------------------------------------------------------------------------------------------------------------- colours


def test_light_is_what_screens_show():
    """The standard of screens (sRGB), value by value; there and back again."""
    for value in np.r_[np.linspace(0, 1, 256), 0.04, 0.0404, 0.0405, 0.041]:
        wanted = value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        assert linear(np.array([value]))[0] == pytest.approx(wanted, rel=1e-12)
        assert screen(np.array([wanted]))[0] == pytest.approx(value, abs=1e-6)
    assert screen(np.array([-1e-9]))[0] == pytest.approx(0, abs=1e-6)


NAMES = np.array(["a", "b", "c", "d"])
ALL, SOME = np.arange(4), np.array([1, 3])
RGB = {"red": (1, 0, 0), "lime": (0, 1, 0), "blue": (0, 0, 1), "black": (0, 0, 0), "white": (1, 1, 1)}


@pytest.mark.parametrize(
    "there, colors, wanted",
    [
        (ALL, ["red", "lime", "blue", "white"], ["red", "lime", "blue", "white"]),
        (ALL, ["red", "lime", "blue", "white", "black"], ["red", "lime", "blue", "white"]),
        (SOME, ["red", "lime", "blue", "white"], ["red", "lime", "blue", "white"]),
        (SOME, ["red", "lime"], ["black", "red", "black", "lime"]),
        (SOME, np.array([[1, 0, 0], [0, 1, 0]]), ["black", "red", "black", "lime"]),
        (SOME, {"b": "red", "d": "lime"}, ["black", "red", "black", "lime"]),
        (SOME, {"a": "blue", "b": "red", "d": "lime", "z": "white"}, ["blue", "red", "black", "lime"]),
        (ALL, None, PALETTE[:4]), (SOME, None, PALETTE[:4]),
    ],
)  # fmt: skip
def test_each_label_has_its_colour(there, colors, wanted):
    found = palette(NAMES, there, colors)
    assert found.shape == (4, 3) and found.dtype == np.float64
    np.testing.assert_allclose(found, [to_rgb(one) for one in wanted])


@pytest.mark.parametrize(
    "there, colors, message",
    [
        (ALL, ["red", "lime", "blue"], "colors has 3 colours, and there are 4 labels"),
        (SOME, ["red"], "colors has 1 colour, and there are 4 labels"),
        (SOME, ["red", "lime", "blue"], "colors has 3 colours, and there are 4 labels"),
        (SOME, {"a": "red", "b": "red"}, "colors has no colour for 1 label, such as 'd'"),
        (ALL, {}, "colors has no colour for 4 labels, such as 'a'"),
    ],
)
def test_colours_that_do_not_fit_are_counted(there, colors, message):
    with pytest.raises(ValueError) as error:
        palette(NAMES, there, colors)
    assert str(error.value) == message


def test_colour_maps_are_for_kinds_or_for_scales():
    """One for kinds has a colour for each, and one for scales is gone through evenly from its first to its last."""
    tab10, viridis = color_map("tab10"), color_map("viridis")
    assert not is_for_scales(tab10) and is_for_scales(viridis) and not is_for_scales(None)
    names = np.array([f"{at:02}" for at in range(11)])
    np.testing.assert_allclose(palette(names[:10], np.arange(10), tab10), [tab10(at)[:3] for at in range(10)])
    with pytest.raises(ValueError, match=r"^colors='tab10' has 10 colours, and there are 11 labels$"):
        palette(names, np.arange(11), tab10)
    for n in (1, 2, 5):
        wanted = [viridis(at)[:3] for at in np.linspace(0, 1, n)]
        np.testing.assert_allclose(palette(names[:n], np.arange(n), viridis), wanted)
    assert color_map(None) is None and color_map(["red"]) is None and color_map({"a": "red"}) is None
    assert palette(names[:0], np.arange(0), None).shape == (0, 3)


def test_numbers_are_lighter_on_dark_paper():
    """Without the darkest quarter, which would not be seen; the lightest is the same."""
    on_light, on_dark = scale_on(LIGHT), scale_on(DARK)
    viridis = color_map("viridis")
    assert on_light(0.0) == viridis(0.0) and on_dark(0.0) == viridis(0.25)
    assert on_light(1.0) == on_dark(1.0) == viridis(1.0) and on_dark(0.5) == viridis(0.625)


# ------------------------------------------------------------------------------------------------ words, rows, two maps


@pytest.mark.parametrize("letters", [1, 2, 5, 24])
def test_names_have_at_most_so_many_letters(letters):
    name = "abcdefghijklmnopqrstuvwxyz"
    for n in (0, 1, letters - 1, letters, letters + 1, 26):
        found = shortened(name[:n], letters)
        assert found == (name[:n] if n <= letters else name[: letters - 1] + "…") and len(found) <= letters
    assert shortened("  a \n b\t", letters) == shortened("a b", letters)


def test_a_note_has_the_lines_that_say_something():
    ax = Figure().subplots()
    add_note(ax, ["", ""], LIGHT)
    assert not ax.texts
    add_note(ax, ["", "$one$", "", "_two"], LIGHT)
    (note,) = ax.texts
    assert note.get_text() == "$one$\n_two" and not note.get_parse_math() and note.get_color() == LIGHT.faint
    # Below the axes, from their left corner on.
    assert note.get_verticalalignment() == "top" and note.xy == (0, 0) and note.get_position()[1] < 0


@pytest.mark.parametrize(
    "rows, wanted",
    [([], []), ([3, 1, 3], [1, 3]), (np.array([4, 0], np.uint8), [0, 4]), (2, [2]), (np.eye(5, dtype=bool)[2], [2]),
     ([True] * 5, [0, 1, 2, 3, 4]), ([False] * 5, [])],
)  # fmt: skip
def test_rows_are_chosen_by_numbers_or_a_mask(rows, wanted):
    found = chosen(rows, 5)
    assert found.tolist() == wanted and found.dtype == np.int64


@pytest.mark.parametrize(
    "rows, error, message",
    [
        ([True] * 4, ValueError, "these has shape (4,), and Y has 5 rows"),
        (True, ValueError, "these has shape (1,), and Y has 5 rows"),
        (np.ones((5, 1), bool), ValueError, "these has shape (5, 1), and Y has 5 rows"),
        ([1.0], TypeError, "these holds float64, neither numbers of rows nor a mask of all"),
        (["1"], TypeError, "these holds <U1, neither numbers of rows nor a mask of all"),
        ([[1, 2]], ValueError, "these has shape (1, 2); give a list of numbers of rows"),
        ([0, 5], ValueError, "these names row 5, and Y has 5 rows, from 0 on"),
        ([9, -1], ValueError, "these names row 9, and Y has 5 rows, from 0 on"),
        ([4, -1], ValueError, "these names row -1, and Y has 5 rows, from 0 on"),
    ],
)
def test_what_chooses_no_rows(rows, error, message):
    with pytest.raises(error) as caught:
        chosen(rows, 5, "these")
    assert str(caught.value) == message


def test_a_map_is_laid_on_another_as_well_as_it_can_be(blocks):
    """Turned, mirrored, scaled and moved back exactly; else no turn and scale that is tried at random is better."""
    rng = np.random.default_rng(3)
    for mirror in (1, -1):
        angle = rng.uniform(0, 6)
        turn = 2.5 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * [1, mirror]
        other = MAP @ turn + [40, -7]
        gaps = MAP.copy()
        # A place may lack one of its coordinates alone.
        gaps[5], gaps[7, 0], other[9, 1] = np.nan, np.nan, np.inf
        found = laid_on(MapRows(gaps), MapRows(other))
        there = np.delete(np.arange(300), [5, 7, 9])
        np.testing.assert_allclose(found[there], other[there], atol=2e-4)
        assert found.dtype == np.float32 and np.isnan(found[5]).all()
    noisy = MAP @ turn + rng.normal(scale=2, size=(300, 2))
    laid = laid_on(MapRows(MAP), MapRows(noisy)).astype(np.float64)
    best = np.square(laid - noisy).sum()
    middle = laid.mean(axis=0)
    for _ in range(200):
        small = np.exp(rng.normal(scale=0.05))
        angle = rng.normal(scale=0.05)
        again = small * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        tried = (laid - middle) @ again + middle + rng.normal(scale=0.05, size=2)
        assert np.square(tried - noisy).sum() >= best


def test_a_map_in_one_place_is_laid_on_the_middle_of_the_other():
    found = laid_on(MapRows(np.full((300, 2), 5.0)), MapRows(MAP))
    np.testing.assert_allclose(found, np.tile(MAP.mean(axis=0), (300, 1)), atol=1e-5)


def test_maps_without_a_common_row_are_not_compared():
    one, other = MAP.copy(), MAP.copy()
    one[:150], other[150:, 0] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"^no row has a place on both maps$"):
        laid_on(MapRows(one), MapRows(other))


def test_the_more_rows_the_lighter_each_is():
    """Down to where a single one is still seen, and never so dark that rows beneath are hidden."""
    strengths = [opacity(10**power) for power in (5, 5.5, 6)]
    assert strengths[0] > strengths[1] > strengths[2]
    assert max(opacity(n) for n in (1, 100, 10_000)) < 1 and min(opacity(n) for n in (10**7, 10**9)) >= 0.4
    assert opacity(10**9) <= strengths[2]
