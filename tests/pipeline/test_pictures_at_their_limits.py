"""Pictures at the ends of what they take, and each thing that is drawn: where, above what, and in which colour."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from PIL import Image

from tsne_ooc.plot import animate, beside, draw, panels, scatter
from tsne_ooc.plot.animation import Film
from tsne_ooc.plot.colors import DARK, LIGHT
from tsne_ooc.plot.column import column_in, column_of, given_for
from tsne_ooc.plot.coordinates import caption_of, map_of
from tsne_ooc.plot.figure import lay_out
from tsne_ooc.plot.legend import add_legend
from tsne_ooc.plot.saving import check_target
from tsne_ooc.plot.text import add_names, densest

N = 40
Y = np.random.default_rng(0).normal(size=(N, 2)).astype(np.float32)
KINDS = np.array(["ant", "bee", "cat"])[np.arange(N) % 3]


def notes(ax):
    return "\n".join(text.get_text() for text in ax.texts)


# -------------------------------------------------------------------------------------------------------------- numbers

DOORS = {
    "scatter": lambda **options: scatter(Y, **{"dpi": 30, **options}),
    "panels": lambda **options: panels(Y, KINDS, **{"dpi": 30, **options}),
    "beside": lambda **options: beside(Y, Y, **{"dpi": 30, **options}),
    "behind": lambda **options: scatter(Y, behind=Y, dpi=30, **options),
    "animate": lambda out, **options: animate([Y], out, overwrite=True, **options),
}
LIMITS = [
    ("scatter", "size", [0, 0.5, 7], [(-0.1, "size=-0.1 must be a finite number of at least 0")]),
    ("behind", "size", [0, 0.5, 7], [(-0.1, "size=-0.1 must be a finite number of at least 0")]),
    ("scatter", "alpha", [0, 0.5, 1], [(-0.1, "alpha=-0.1 must be"), (1.1, "alpha=1.1 must be")]),
    ("scatter", "dpi", [1, 30], [(0, "dpi=0 must be at least 1")]),
    ("panels", "most", [1, 3], [(0, "most=0 must be at least 1")]),
    ("panels", "dpi", [1], [(0, "dpi=0 must be at least 1")]),
    ("beside", "dpi", [1], [(0, "dpi=0 must be at least 1")]),
    ("animate", "pixels", [32, 33], [(31, "pixels=31 must be at least 32")]),
    ("animate", "fps", [0.5, 1, 50], [(0, "fps=0 must be"), (51, "fps=51 must be")]),
]


@pytest.mark.parametrize("door, option, taken, refused", LIMITS, ids=[f"{one[0]} {one[1]}" for one in LIMITS])
def test_numbers_are_taken_up_to_their_limits(door, option, taken, refused, tmp_path):
    more = {"out": tmp_path / "a.gif"} if door == "animate" else {}
    for value in taken:
        DOORS[door](**{option: value}, **more)
    for value, message in refused:
        with pytest.raises(ValueError) as error:
            DOORS[door](**{option: value}, **more)
        assert message in str(error.value)


def test_sizes_and_opacities_are_those_that_are_asked_for():
    for size, alpha in ((0, 0), (3.5, 0.25)):
        for ax in (scatter(Y, size=size, alpha=alpha), scatter(Y, KINDS, size=size, alpha=alpha)):
            (points,) = ax.collections
            assert points.get_sizes().tolist() == [size] and points.get_alpha() == alpha
            assert points.get_linewidths().tolist() == [0]


@pytest.mark.parametrize("n, shaded", [(N, False), (N - 1, True)])
def test_so_many_rows_are_points_and_more_are_shaded(n, shaded, monkeypatch):
    monkeypatch.setattr(importlib.import_module("tsne_ooc.plot.scatter"), "MOST_POINTS", n)
    assert len(scatter(Y).images) == shaded
    assert len(scatter(Y[:2], behind=Y).images) == shaded


def test_points_of_fewer_rows_are_larger_and_stronger_within_limits():
    sizes, alphas = [], []
    for n in (1, 100, 1000, 3000, 20_000, 60_000, 200_000):
        (points,) = scatter(np.random.default_rng(0).normal(size=(n, 2)), dpi=30).collections[:1]
        sizes.append(points.get_sizes()[0])
        alphas.append(points.get_alpha())
    assert sizes == sorted(sizes, reverse=True) and alphas == sorted(alphas, reverse=True)
    # Neither a blot nor less than two dots; and none that cannot be seen.
    assert sizes[0] == sizes[2] <= 30 and sizes[-1] >= 0.5 and 0.4 <= alphas[-1] < alphas[0] <= 0.9
    # As many points cover the same share of the paper.
    assert sizes[3] * 3000 == pytest.approx(sizes[4] * 20_000)


# -------------------------------------------------------------------------------------------------- what is drawn where


@pytest.mark.parametrize("dark", [False, True])
def test_rows_without_a_number_are_grey_points(dark):
    numbers = np.linspace(0, 1, N)
    numbers[::4] = np.nan
    paper = DARK if dark else LIGHT
    ax = scatter(Y, numbers, dark=dark, alpha=1, dpi=30)
    FigureCanvasAgg(ax.figure).draw()
    (points,) = ax.collections
    assert not np.ma.getmaskarray(points.get_offsets()).any() and len(points.get_offsets()) == N
    grey = {tuple(row.tolist()) for row in points.get_offsets().data[(
        points.get_facecolors()[:, :3].round(5) == np.round(to_rgb(paper.missing), 5)).all(axis=1)]}  # fmt: skip
    assert grey == {tuple(row) for row in Y[::4].astype(float).tolist()}


def test_the_order_of_what_is_drawn():
    """Rows behind, points, large ones, rings: from below to the top, and each with its own rim."""
    far = np.r_[Y, [[1e6, 0]]]
    ax = scatter(far, np.r_[KINDS, ["ant"]], behind=Y + 1, highlight=[3], ring=[4], dpi=30)
    heights = [one.get_zorder() for one in ax.collections]
    behind, points, rim, large, rings = ax.collections
    assert len(behind.get_offsets()) == N and len(points.get_offsets()) == N and len(rim.get_offsets()) == 1
    assert heights == sorted(heights) and heights[0] < 0 < heights[1] < heights[3] < heights[4]
    np.testing.assert_allclose(large.get_offsets(), Y[[3]])
    np.testing.assert_allclose(rings.get_offsets(), Y[[4]])
    assert len(rim.get_facecolors()) == len(rings.get_facecolors()) == 0
    ink = to_rgb(LIGHT.ink)
    for one in (rim, large, rings):
        assert tuple(one.get_edgecolors()[0][:3]) == ink and one.get_linewidths()[0] > 0
        assert one.get_sizes()[0] > points.get_sizes()[0] / 3
    assert tuple(large.get_facecolors()[0][:3]) == to_rgb("#4477AA") and not behind.get_linewidths()[0]
    # What is ringed or large may lie at the rim, too.
    ax = scatter(far, highlight=[N], ring=[N], dpi=30)
    for one in ax.collections[-2:]:
        x, right = one.get_offsets()[0][0], ax.get_xlim()[1]
        assert right - 0.02 * np.ptp(ax.get_xlim()) < x < right


@pytest.mark.parametrize("kind", ["ring", "highlight"])
def test_rows_that_are_many_are_marked_small_and_few_large(kind):
    """And many are dots within a vector graphic, which would else be slow; rows without a place are left out."""
    places = np.random.default_rng(0).normal(size=(2600, 2))
    places[0] = np.nan
    sizes = []
    for n in (1, 2, 300, 1000, 2000, 2001, 2500):
        marks = scatter(places, **{kind: np.arange(n)}, size=0, dpi=30).collections[-1]
        sizes.append(marks.get_sizes()[0])
        assert bool(marks.get_rasterized()) == (n > 2000) and len(marks.get_offsets()) == n - 1
        # A rim of so small a point would be all of it.
        assert (marks.get_linewidths()[0] > 0) == (kind == "ring" or n < 2500)
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == sizes[2] > sizes[3] > sizes[-1] > 3


def test_a_map_that_is_given_axes_keeps_them_and_others_widen_the_figure():
    ax = Figure(figsize=(4, 3)).subplots()
    assert scatter(Y, KINDS, ax) is ax and ax.get_legend() is not None
    assert (
        ax.get_facecolor()[:3] == (1, 1, 1) and tuple(ax.figure.get_size_inches()) == (4, 3) and ax.get_anchor() == "C"
    )
    assert scatter(Y, ax=Figure().subplots(), dark=True).get_facecolor()[:3] == to_rgb(DARK.ground)
    own = scatter(Y, KINDS)
    assert own.get_anchor() == "W" and own.figure.get_figwidth() > 7 == own.figure.get_figheight()
    assert scatter(Y, KINDS, legend=False).figure.get_figwidth() == 7 and own.figure.get_facecolor()[:3] == (1, 1, 1)
    assert scatter(Y, dark=True).figure.get_facecolor()[:3] == to_rgb(DARK.ground)


def test_titles_and_words_below_a_map_are_in_its_ink():
    for dark, paper in ((False, LIGHT), (True, DARK)):
        ax = scatter(
            Y, KINDS, title="cells", caption="by hand", highlight=[1], ring=[2, 3], behind=Y, dark=dark, dpi=30
        )
        assert ax.get_title(loc="left") == "cells" and not ax.get_title()
        assert ax._left_title.get_color() == paper.ink
        assert notes(ax) == "by hand\n40 rows on a map of 40 rows in grey; 1 row highlighted; 2 rows ringed"
        assert {to_hex(text.get_color()) for text in ax.get_legend().get_texts()} == {paper.ink.lower()}
    bar = scatter(Y, Y[:, 0], dark=True, dpi=30).figure.axes[1]
    assert not bar.spines["outline"].get_visible() and bar.yaxis.get_tick_params()["labelcolor"] == DARK.ink
    assert scatter(Y, Y[:, 0], legend=False).figure.axes[1:] == []


@pytest.mark.parametrize("names, columns", [(1, 1), (20, 1), (21, 2), (40, 2), (41, 3), (100, 5)])
def test_a_legend_has_twenty_names_below_each_other(names, columns):
    ax = Figure().subplots()
    words = np.array([f"{at:02}{'x' * at}" for at in range(names)])
    colors = np.random.default_rng(0).random((names, 3))
    legend = add_legend(ax, words, colors, LIGHT)
    assert legend._ncols == columns and [tuple(one.get_color()) for one in legend.legend_handles] == [
        *map(tuple, colors)
    ]
    texts = [text.get_text() for text in legend.get_texts()]
    assert all(len(text) <= 40 for text in texts) and texts[:5] == words[:5].tolist()
    assert len({text.get_fontsize() for text in legend.get_texts()}) == 1
    few = add_legend(Figure().subplots(), words[:1], colors[:1], LIGHT).get_texts()[0].get_fontsize()
    assert (legend.get_texts()[0].get_fontsize() == few) == (names <= 40)


# ---------------------------------------------------------------------------------------------------------------- names


def test_the_densest_places_come_first_and_neighbours_are_one():
    rng = np.random.default_rng(0)
    counts = np.zeros((60, 60), np.uint32)
    middles = [(5, 7), (30, 50), (52, 20), (20, 20)]
    for times, (up, across) in zip((400, 900, 100, 1600), middles, strict=True):
        cells = np.clip(np.rint(rng.normal([up, across], 1.0, (times, 2))), 0, 59).astype(int)
        np.add.at(counts, tuple(cells.T), 1)
    found = densest(counts, 4)
    wanted = [middles[at] for at in (3, 1, 0, 2)]
    assert np.abs(found - wanted).max() <= 1 and (counts[tuple(found.T)] > 0).all()
    np.testing.assert_array_equal(densest(counts), found[:1])
    np.testing.assert_array_equal(densest(counts, 2), found[:2])
    # At the edge, beyond which there is nothing.
    corner = np.zeros((30, 30), np.uint32)
    corner[0, 0], corner[29, 29] = 5, 9
    assert densest(corner, 5).tolist() == [[29, 29], [0, 0]]
    corner[0, 0], corner[29, 29], corner[12, 12] = 8, 0, 9
    assert densest(corner, 5).tolist() == [[12, 12], [0, 0]]


def named(kinds, names, dark=False, size=9):
    ax = Figure(figsize=(4, 4), dpi=100).add_axes((0, 0, 1, 1))
    ax.set_xlim(10, 20)
    ax.set_ylim(-5, 5)
    paper = DARK if dark else LIGHT
    colors = np.linspace(0, 1, 3 * len(names)).reshape(-1, 3)
    return ax, add_names(ax, np.array(names, object), colors, np.asarray(kinds, np.uint32), paper, size), colors


@pytest.mark.parametrize("dark", [False, True])
def test_a_name_is_in_the_middle_of_its_cell_and_in_its_colour(dark):
    kinds = np.zeros((4, 10, 10))
    kinds[0, 2, 5], kinds[1, 7, 4], kinds[3, 5, 5] = 3, 4, 1
    ax, written, colors = named(kinds, ["one", "two", "nowhere", "three"], dark)
    assert written == [0, 1, 3]
    found = {text.get_text(): text for text in ax.texts}
    assert list(found) == ["two", "one", "three"]
    for at, (name, place) in enumerate((("one", (15.5, -2.5)), ("two", (14.5, 2.5)))):
        assert found[name].get_position() == pytest.approx(place)
        color = np.array(found[name].get_color())
        # Darker on light paper and lighter on dark paper, so that it can be read.
        assert ((color >= colors[at]) if dark else (color <= colors[at])).all()
        assert ((color >= 0) & (color <= 1)).all() and found[name].get_fontsize() == 9


def test_a_name_makes_room_for_that_of_more_rows():
    """A little higher, or lower; where there is no place at all, it is left to the legend."""
    kinds = np.zeros((3, 10, 10))
    kinds[:, 5, 5] = [9, 5, 3]
    ax, written, _ = named(kinds, ["first name", "second name", "third name"])
    renderer = FigureCanvasAgg(ax.figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in ax.texts]
    assert written == [0, 1, 2] and not any(
        one.overlaps(other) for at, one in enumerate(boxes) for other in boxes[:at]
    )  # fmt: skip
    middle, higher, lower = (text.get_position()[1] for text in ax.texts)
    assert (middle, higher - middle) == pytest.approx((0.5, middle - lower)) and higher > middle
    assert [text.get_position()[0] for text in ax.texts] == [15.5] * 3
    # Just above and below it.
    high = boxes[0].height
    assert 0 < boxes[1].y0 - boxes[0].y1 < 0.2 * high and 0 < boxes[0].y0 - boxes[2].y1 < 0.2 * high
    kinds = np.zeros((4, 10, 10))
    kinds[:, 5, 5] = [9, 5, 3, 1]
    ax, written, _ = named(kinds, ["first name", "second name", "third name", "fourth name"])
    assert written == [0, 1, 2] and len(ax.texts) == 3


def test_names_on_a_map_are_not_too_long():
    kinds = np.zeros((1, 10, 10))
    kinds[0, 5, 5] = 1
    for n in (23, 24, 25, 60):
        ax, _, _ = named(kinds, ["x" * n], size=4)
        assert ax.texts[0].get_text() == ("x" * n if n <= 24 else "x" * 23 + "…")


# ----------------------------------------------------------------------------------------------- several, films, files


@pytest.mark.parametrize(
    "groups, most, across, down", [(1, 9, 1, 1), (4, 9, 4, 1), (5, 9, 4, 2), (9, 8, 4, 2), (9, 9, 4, 3)]
)
def test_small_multiples_are_four_beside_each_other(groups, most, across, down):
    by = np.array([f"group {at}" for at in range(groups)])[np.arange(N) % groups]
    figure = panels(Y, by, KINDS, most=most, dpi=30, caption="by hand")
    shown = [ax for ax in figure.axes if ax.get_title(loc="left")]
    assert len(shown) == min(groups, most) and len(figure.axes) == across * down
    assert len([ax for ax in figure.axes if ax.axison]) == len(shown)
    grid = shown[0].get_subplotspec().get_gridspec()
    assert (grid.ncols, grid.nrows) == (across, down)
    width, height = figure.get_size_inches()
    assert width == pytest.approx(3.2 * across) and height > 3 * down
    # The legend is beside the last one of the first line, and words are below the first one of the last line.
    legends = [at for at, ax in enumerate(figure.axes) if ax.get_legend() is not None]
    assert legends == [min(across, len(shown)) - 1]
    told = [at for at, ax in enumerate(figure.axes) if ax.texts]
    assert told == [across * (down - 1)]
    more = f"\n{groups - most} group more are not drawn" if groups > most else ""
    assert notes(figure.axes[told[0]]) == "by hand" + more
    assert all(ax.get_legend() is None for ax in panels(Y, by, KINDS, most=most, dpi=30, legend=False).axes)


def test_the_largest_groups_are_drawn_in_the_order_of_all():
    by = np.array(["d"] * 9 + ["b"] * 12 + ["a"] * 3 + ["c"] * 12 + [None] * 4, object)
    figure = panels(Y, by, most=3, dpi=30)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["b (12)", "c (12)", "d (9)"]
    assert notes(figure.axes[0]) == "1 group more are not drawn"
    # Groups that no row has are not among those that are left out.
    pandas = pytest.importorskip("pandas")
    figure = panels(Y, pandas.Categorical(by, categories=["z", "d", "c", "b", "a", "y"]), most=2, dpi=30)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["c (12)", "b (12)"]
    assert notes(figure.axes[0]) == "2 groups more are not drawn"


def test_how_far_rows_moved_is_told_in_widths_of_the_second_map():
    rng = np.random.default_rng(0)
    one = rng.uniform(0, 100, (2000, 2))
    one[:4] = [[0, 0], [100, 0], [0, 100], [100, 100]]
    other = one.copy()
    # Three of them by more than a tenth of the width, and some by less.
    other[[10, 11, 12], 0] = one[[10, 11, 12], 0] + np.where(one[[10, 11, 12], 0] > 50, -11, 11)
    other[20:40, 1] += np.where(one[20:40, 1] > 50, -9, 9)
    figure = beside(one, other, dpi=30, titles=("before", "after"), caption="by hand")
    first, second, bar = figure.axes
    assert [ax.get_title(loc="left") for ax in (first, second)] == ["before", "after"]
    assert notes(first) == "by hand\n3 rows (0.1%) moved by more than a tenth of the map's width" and not notes(second)
    assert bar.get_ylim() == pytest.approx((0, 0.11), abs=2e-3)
    # Where hardly anything moved, that is not shown as if much had.
    assert beside(one, one, dpi=30).figure.axes[2].get_ylim() == pytest.approx((0, 0.1))
    third = beside(one, other, np.arange(2000) % 2, dpi=30)
    assert third.axes[2].get_title(loc="left") == "how far rows moved, in widths of the map"
    assert [ax.get_legend() is not None for ax in third.axes[:3]] == [False, True, False]
    assert len(third.axes) == 4 and len(beside(one, other, np.arange(2000) % 2, dpi=30, legend=False).axes) == 3
    assert third.get_figwidth() > 5.2 * 3 and figure.get_figwidth() == pytest.approx(11.2)


@pytest.mark.parametrize("pixels, wanted", [(32, 32), (33, 32), (50, 50), (51, 50)])
@pytest.mark.parametrize("frames", [1, 3])
def test_a_film_has_its_pictures_for_so_long(tmp_path, pixels, wanted, frames):
    out = animate([np.roll(Y, at) * [1, at + 1] for at in range(frames)], tmp_path / "a.gif", pixels=pixels, fps=8)
    with Image.open(out) as film:
        assert film.size == (wanted, wanted) and film.n_frames == frames and film.info["loop"] == 0
        pauses = []
        for at in range(frames):
            film.seek(at)
            pauses.append(film.info["duration"])
    # To the hundredth of a second, as a GIF has them; the last one stays for two seconds.
    assert pauses == [120] * (frames - 1) + [2000] and out == tmp_path / "a.gif"


def test_what_a_film_keeps_is_its_own():
    film = Film()
    places = np.arange(60_000, dtype=np.float32).reshape(30_000, 2)
    film(1, 2.0, places)
    film(1234567, 0.12345, places + 1)
    assert film.captions == ["iteration 1 · KL 2.000", "iteration 1,234,567 · KL 0.123"]
    assert len(film.rows) == 20_000 and (np.diff(film.rows) > 0).all()
    np.testing.assert_array_equal(film.frames[0], places[film.rows])
    np.testing.assert_array_equal(film.frames[1], places[film.rows] + 1)
    kept = film.frames[0].copy()
    places[:] = 0
    np.testing.assert_array_equal(film.frames[0], kept)
    # Emptied, it takes the rows of the next fit.
    film.frames.clear(), film.captions.clear()
    film(1, 1.0, places[:9])
    assert film.rows.tolist() == [*range(9)] and len(film.frames) == 1
    few = Film()
    few(1, 1.0, places[:7].astype(np.float64))
    assert few.rows.tolist() == [*range(7)] and few.frames[0].dtype == np.float32


def test_where_pictures_can_be_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "a.PNG", "a.svg", "a.pdf"):
        check_target(name)
    (tmp_path / "there.png").touch()
    check_target("there.png", overwrite=True)
    for name, kind, message in (
        ("there.png", FileExistsError, "there.png exists already; pass overwrite=True (--overwrite) to replace it"),
        ("no/a.png", FileNotFoundError, f"there is no folder {tmp_path / 'no'} to write a.png in"),
        ("a.png.txt", ValueError, "out='a.png.txt' is not known; known: *.pdf, *.png, *.svg"),
        ("png", ValueError, "out='png' is not known"),
    ):
        with pytest.raises(kind) as error:
            check_target(name)
        assert message in str(error.value)


def test_a_layout_settles_without_images_and_leaves_them_as_they_are():
    figure = Figure(layout="constrained")
    ax = figure.subplots()
    seen, hidden = (ax.imshow(np.eye(3)) for _ in range(2))
    hidden.set_visible(False)
    drawn = []
    seen.draw = lambda renderer: drawn.append(seen.get_visible())
    before = ax.get_position().bounds
    lay_out(figure)
    assert not any(drawn) and seen.get_visible() and not hidden.get_visible()
    assert ax.get_position().bounds != before


# ----------------------------------------------------------------------------------------------- what runs tell of maps


@pytest.mark.parametrize("manifest, words", [
    ({}, "1,200 rows"), ({"sample": 1200}, "1,200 rows"), ({"sample": 1199}, "1,200 rows · 1,199 fitted"),
    ({"sample": None, "refined": {"n_iter": 3}}, "1,200 rows · all refined"), ({"refined": {}}, "1,200 rows"),
    ({"parameters": {"perplexity": 7, "affinity": "perplexity"}}, "1,200 rows · perplexity 7"),
    ({"parameters": {"perplexity": 7, "affinity": "multiscale"}}, "1,200 rows · perplexity 7"),
    ({"parameters": {"perplexity": 7, "affinity": "mixture"}}, "1,200 rows · perplexity 7"),
    ({"parameters": {"perplexity": 7, "affinity": "uniform"}}, "1,200 rows"),
    ({"parameters": {"perplexity": 7}}, "1,200 rows"), ({"parameters": {"affinity": "mixture"}}, "1,200 rows"),
    ({"parameters": {"exaggeration": None}}, "1,200 rows · exaggeration 1"), ({"parameters": None}, "1,200 rows"),
    ({"parameters": {"exaggeration": 4}}, "1,200 rows · exaggeration 4"),
])  # fmt: skip
def test_a_line_says_how_a_map_was_made(manifest, words):
    assert caption_of({"n_samples": 1200, **manifest}) == words


@pytest.mark.parametrize("axes, wanted", [
    ((1, 2), [0, 1]), ((2, 1), [1, 0]), ([1, 3], [0, 2]), ((3, 2), [2, 1]), ((3, 1), [2, 0]),
    (np.array([2, 3]), [1, 2]),
])  # fmt: skip
def test_two_axes_are_those_that_are_named(axes, wanted):
    places = np.random.default_rng(0).normal(size=(9, 3))
    np.testing.assert_array_equal(map_of(places, axes).Y, places[:, wanted])
    np.testing.assert_array_equal(map_of(places[:, :2]).Y, places[:, :2])
    np.testing.assert_array_equal(map_of(places[:, :1]).Y, places[:, :1])
    found = map_of(places.tolist(), axes)
    assert (found.run, found.name, found.caption) == (None, "map", "") and found.Y.shape == (9, 2)


@pytest.mark.parametrize("axes, message", [
    ((0, 1), "axes=0 must be at least 1"), ((1, 4), "axes=4 must be at most 3"),
    ((1,), "axes=(1,) must be two different"), ((1, 2, 3), "axes=(1, 2, 3) must be two different"),
    ((2, 2), "axes=(2, 2) must be two different"),
    ((), "axes=() must be two different"), (None, "the map has 3 axes; say which two to draw"),
])  # fmt: skip
def test_axes_that_a_map_does_not_have(axes, message):
    with pytest.raises(ValueError) as error:
        map_of(np.zeros((9, 3)), axes)
    assert message in str(error.value)


@pytest.mark.parametrize("text, n, wanted", [
    ("1\n2\n", 2, [1, 2]), ("1\n2\n", None, [1, 2]), ("x\n1\n2\n", 2, [1, 2]), ("x\n1\n2\n", None, [1, 2]),
    ("x\n1\n2\n", 3, "rows"), ("a\n1\nb\n", 3, ["a", "1", "b"]), ("a\n1\nb\n", None, ["a", "1", "b"]),
    ("1\n\n2\n", 2, [1, 2]), ('1\n" "\n2\n', 3, [1, np.nan, 2]), ('a\n""\nb\n', 3, ["a", None, "b"]),
    ('""\n""\n', 2, [None, None]), ("1e3\n-inf\n", 2, [1000, -np.inf]), ("nan\nnan\n", 2, ["nan", "nan"]),
    ("a;b\nc;d\n", 2, ["a;b", "c;d"]), ('"a\r\nb"\nc\n', 2, ["a\r\nb", "c"]), ("\ufeff1\n2\n", 2, [1, 2]),
    ("1\r\n2\r\n", 2, [1, 2]), ('"a\nb"\nc\n', 2, ["a\nb", "c"]), ("x\n", 1, ["x"]),
    ("7\n", 1, [7]), ("a,b\nc,d\n", 2, "columns"), ("a\nb,c\n", 2, ["a", "b"]), ("\n", 1, "empty"), ("", 1, "empty"),
    ("3\n1\n2\n", 2, "if the first, '3', is a name, remove it"), ("\u00e9t\u00e9\n", 1, ["\u00e9t\u00e9"]),
])  # fmt: skip
def test_a_file_of_one_column_is_read_as_it_is_written(tmp_path, text, n, wanted):
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8", newline="")
    if isinstance(wanted, str):
        with pytest.raises(ValueError, match=wanted):
            given_for(str(path), n, None)
        return
    from tsne_ooc.plot.column import column_of_file

    found = column_of_file(path, n)
    assert len(found) == len(wanted)
    for one, other in zip(found.tolist(), wanted, strict=True):
        assert one == other or (one != one and other != other)


def test_letters_of_another_encoding_are_not_known(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"x,y\na\xff,1\nb,2\n")
    assert column_in(path, "x").tolist() == ["a\N{REPLACEMENT CHARACTER}", "b"]


@pytest.mark.parametrize("name, text, wanted", [
    ("a.csv", "x,y\n1,a\n2,b\n", {"x": [1, 2], "y": ["a", "b"]}), ("a.csv", "x;y\n1;a\n", {"x": [1], "y": ["a"]}),
    ("a.tsv", "x\ty\n1\ta,b\n", {"x": [1], "y": ["a,b"]}), ("a.txt", "x\ty\n1\t2\n", {"y": [2]}),
    ("a.csv", "x\n1\n2\n", {"x": [1, 2]}), ("a.csv", '"x,1",y\n1,2\n', {"x,1": [1], "y": [2]}),
    ("a.csv", "x,y\n1,\n,3\n", {"x": [1, np.nan], "y": [np.nan, 3]}), ("a.csv", "x,y\na,\n", {"y": [None]}),
    ("a.csv", "x,x\n1,2\n", {"x": [1]}), ("a.CSV", "x,y\n1,2\n", {"y": [2]}),
])  # fmt: skip
def test_columns_of_a_file_of_text_are_found_by_their_names(tmp_path, name, text, wanted):
    path = tmp_path / name
    path.write_text(text)
    for column, cells in wanted.items():
        for found in (
            column_in(path, column),
            given_for(column, len(cells), path),
            column_of(column, len(cells), None, path),
        ):
            assert [None if one != one else one for one in found.tolist()] == [
                None if one != one else one for one in cells
            ]
    with pytest.raises(ValueError, match=r"^'.*' of .* has \d rows?, and the map 1,000$"):
        given_for(next(iter(wanted)), 1000, path)


@pytest.mark.parametrize("name, told", [
    ("kindd", "did you mean 'kind'? it has "), ("q", "it has "), ("kind of it all", "it has "),
])  # fmt: skip
def test_a_column_that_is_not_there_is_told_with_the_nearest_one(tmp_path, name, told):
    path = tmp_path / "a.csv"
    columns = ["kind", "sort", *(f"column {at}" for at in range(12))]
    path.write_text(",".join(columns) + "\n" + ",".join("1" * 14) + "\n")
    with pytest.raises(ValueError) as error:
        column_in(path, name)
    assert str(error.value) == f"{path} has no column {name!r}; {told}{', '.join(columns[:10])} and 4 more"


def test_scores_of_a_run_end_where_a_hundredth_is_beyond():
    """One has a colour for itself else, since the largest may be a million times the others."""
    rng = np.random.default_rng(0)
    column = rng.gamma(1, size=1000).astype(np.float32)
    column[3], column[7], column[9] = 1e9, np.inf, np.nan
    run = SimpleNamespace(folder="map", trust={"singularity": column, "recall": column}, embedding=np.zeros((1000, 2)))
    known = np.sort(column[~np.isnan(column)])
    found = column_of("singularity", 1000, run)
    upper = known[int(0.99 * (len(known) - 1))]
    np.testing.assert_array_equal(found, np.minimum(column, upper))
    assert found.dtype == np.float32 and np.isnan(found[9]) and found[3] == found[7] == upper
    np.testing.assert_array_equal(column_of("recall", 1000, run), column)
    run.trust = {"singularity": np.full(5, np.nan, np.float32)}
    assert np.isnan(column_of("singularity", 5, run)).all()
    with pytest.raises(ValueError, match=r"^map has no recall: its rows are sparse, lack values or are distances, and"):
        column_of("recall", 5, run)


def test_rings_are_around_rows_beyond_the_threshold_and_not_at_it():
    novelty = np.array([0.5, 1.5, 1.25, np.nan, 9], np.float32)
    found = SimpleNamespace(run=SimpleNamespace(novelty=novelty, manifest={"novelty": {"threshold": 1.25}}), name="map")
    from tsne_ooc.plot.picture import novel_rows

    rows, threshold = novel_rows(found)
    assert rows.tolist() == [1, 4] and threshold == 1.25
    for run in (None, SimpleNamespace(novelty=None)):
        with pytest.raises(
            ValueError, match=r"^map has no novelty, by which rows could get a ring; runs of maps have it$"
        ):
            novel_rows(SimpleNamespace(run=run, name="map"))


def test_what_is_drawn_beside_cannot_be_drawn_behind():
    for options, message in (
        ({"by": KINDS, "other": Y}, "by and other are two pictures; ask for one of them"),
        ({"by": KINDS, "highlight": [1]}, "highlight is for a picture of one map; leave out by and other"),
        ({"other": Y, "ring": [1]}, "ring is for a picture of one map; leave out by and other"),
        ({"other": Y, "behind": Y}, "other is drawn beside the map, and behind within it; leave out one of them"),
        ({"ring": "novle"}, "ring='novle' is not known; did you mean 'novel'"),
    ):
        with pytest.raises(ValueError) as error:
            draw(Y, **options)
        assert message in str(error.value)
