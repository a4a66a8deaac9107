"""What stands beside and on a map, each by itself: legends, bars, notes, names, films, and rows in odd tables."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.colors import same_color, to_rgb
from matplotlib.figure import Figure

from tsne_ooc._parallel import Threads
from tsne_ooc.plot import animation, beside, panels, scatter
from tsne_ooc.plot.colors import DARK, LIGHT
from tsne_ooc.plot.density import count, draw_density
from tsne_ooc.plot.figure import lay_out
from tsne_ooc.plot.labels import coloring, frequent
from tsne_ooc.plot.legend import add_legend, add_note, widen
from tsne_ooc.plot.rows import MapRows
from tsne_ooc.plot.scatter import MOST_POINTS, _opacity, _point_size
from tsne_ooc.plot.text import add_names

N = 30
Y = np.random.default_rng(0).normal(size=(N, 2)).astype(np.float32)
KINDS = np.array(["ant", "bee", "cat"])[np.arange(N) % 3]
PAPERS = [(False, LIGHT), (True, DARK)]


def box_of(artist, figure):
    return artist.get_window_extent(FigureCanvasAgg(figure).get_renderer())


# --------------------------------------------------------------------------------------------------- beside and below


@pytest.mark.parametrize("names", [1, 5, 25, 45])
@pytest.mark.parametrize("paper", [LIGHT, DARK], ids=["light", "dark"])
def test_a_legend_is_right_of_its_map_half_way_up_and_has_a_dot_for_each_name(names, paper):
    figure = Figure(figsize=(9, 6), dpi=50)
    ax = figure.add_axes((0.1, 0.3, 0.3, 0.5))
    colors = np.random.default_rng(0).random((names, 3))
    legend = add_legend(ax, np.array([f"kind {at}" for at in range(names)]), colors, paper)
    legend_box, room = box_of(legend, figure), box_of(ax, figure)
    # So near that it is the map's, and over none of its rows.
    assert room.x1 < legend_box.x0 < room.x1 + 10
    assert (legend_box.y0 + legend_box.y1) / 2 == pytest.approx((room.y0 + room.y1) / 2, abs=1)
    assert not legend.get_frame_on() and all(same_color(text.get_color(), paper.ink) for text in legend.get_texts())
    for dot, color, text in zip(legend.legend_handles, colors, legend.get_texts(), strict=True):
        assert (dot.get_marker(), dot.get_linestyle(), dot.get_markeredgewidth()) == ("o", "None", 0)
        assert dot.get_color() == tuple(color) and 3 < dot.get_markersize() < text.get_fontsize()


@pytest.mark.parametrize("dpi", [40, 100])
def test_a_figure_is_wider_by_its_legend(dpi):
    figure = Figure(figsize=(7, 5), dpi=dpi)
    ax = figure.subplots()
    legend = add_legend(ax, np.array(["a name of some length", "b"]), np.zeros((2, 3)), LIGHT)
    inches = box_of(legend, figure).width / dpi
    widen(figure, legend)
    # And a little room.
    assert inches > 1 and 7 + inches < figure.get_figwidth() < 7 + inches + 0.3 and figure.get_figheight() == 5


def test_notes_are_small_words_just_below_the_left_corner():
    figure = Figure(figsize=(6, 4), dpi=100)
    ax = figure.add_axes((0.2, 0.3, 0.6, 0.6))
    add_note(ax, ["one line", "", "another"], DARK)
    (note,) = ax.texts
    found, room = box_of(note, figure), box_of(ax, figure)
    assert room.x0 <= found.x0 < room.x0 + 10 and room.y0 - 15 < found.y1 < room.y0
    assert note.get_fontsize() < 9 and note.get_color() == DARK.faint and note.get_text() == "one line\nanother"


@pytest.mark.parametrize("dark, paper", PAPERS)
def test_a_bar_is_lower_than_its_map_and_never_faint(dark, paper):
    figure = scatter(Y, Y[:, 0], alpha=0.25, dark=dark, dpi=30).figure
    lay_out(figure)
    ax, bar = figure.axes
    tall, wide = (box_of(bar, figure).height / box_of(ax, figure).height, box_of(bar, figure).x0)
    assert 0.3 < tall < 0.7 and wide > box_of(ax, figure).x1
    (solids,) = [one for one in bar.collections if isinstance(one, QuadMesh)]
    assert solids.get_alpha() == 1 and bar.get_ylim() == pytest.approx((Y[:, 0].min(), Y[:, 0].max()))
    ticks = bar.yaxis.get_tick_params()
    assert (ticks["color"], ticks["labelcolor"]) == (paper.faint, paper.ink)


# --------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("paper", [LIGHT, DARK], ids=["light", "dark"])
def test_names_are_bold_and_have_an_edge_of_paper(paper):
    """Without it they could not be read among points of their own colour."""
    ax = Figure(figsize=(4, 4), dpi=50).add_axes((0, 0, 1, 1))
    kinds = np.zeros((1, 10, 10), np.uint32)
    kinds[0, 5, 5] = 1
    assert add_names(ax, np.array(["a"]), np.full((1, 3), 0.5), kinds, paper) == [0]
    (text,) = ax.texts
    assert (text.get_fontweight(), text.get_ha(), text.get_va()) == ("bold", "center", "center")
    (stroke,) = text.get_path_effects()
    edge = stroke._gc
    assert edge["foreground"] == paper.ground and edge["linewidth"] > 1 and 0.5 < edge["alpha"] <= 1


def test_a_name_that_is_wider_than_its_map_stays_in_the_middle_of_its_place():
    ax = Figure(figsize=(1, 1), dpi=50).add_axes((0, 0, 1, 1))
    kinds = np.zeros((1, 10, 10), np.uint32)
    kinds[0, 5, 8] = 1
    for name, pushed in (("a", False), ("x" * 24, False), ("cells", True)):
        for text in list(ax.texts):
            text.remove()
        add_names(ax, np.array([name]), np.zeros((1, 3)), kinds, LIGHT)
        (text,) = ax.texts
        found = box_of(text, ax.figure)
        assert (text.get_position()[0] == pytest.approx(0.85)) == (not pushed)
        if pushed:
            assert found.x1 == pytest.approx(50, abs=1) and found.x0 > 0


# --------------------------------------------------------------------------------------------------- points and shades


@pytest.mark.parametrize(
    "dark, paper, labels", [(False, LIGHT, KINDS), (True, DARK, Y[:, 0])], ids=["kinds", "numbers"]
)
def test_shades_behind_rows_that_are_large_are_grey(dark, paper, labels):
    ax = scatter(Y, labels, density=True, highlight=[3], dark=dark, dpi=30)
    shades = np.asarray(ax.images[0].get_array())
    assert np.abs(shades[..., :3] - to_rgb(paper.missing)).max() < 1e-6
    assert np.count_nonzero(shades[..., 3]) == N
    plain = np.asarray(scatter(Y, labels, density=True, dark=dark, dpi=30).images[0].get_array())
    assert np.abs(plain[shades[..., 3] > 0, :3] - to_rgb(paper.missing)).max() > 0.1


@pytest.mark.parametrize("density", [True, False])
def test_numbers_have_their_bar_also_where_rows_are_large(density):
    ax = scatter(Y, Y[:, 0], density=density, highlight=[3, 4], dpi=30)
    bar = ax.figure.axes[1]
    assert bar.get_ylim() == pytest.approx((Y[:, 0].min(), Y[:, 0].max()))
    large = ax.collections[-1]
    norm = (Y[[3, 4], 0] - Y[:, 0].min()) / np.ptp(Y[:, 0])
    from matplotlib import colormaps

    np.testing.assert_allclose(large.get_facecolors(), colormaps["viridis"](norm), atol=0.01)


def test_rows_at_the_rim_are_rings_in_the_colour_of_their_label():
    """As large as points at least, and never so small that they are not seen."""
    far = np.r_[Y, [[1e6, 0]]].astype(np.float32)
    kinds = np.r_[KINDS, ["cat"]]
    ax = scatter(far, kinds, colors=["red", "lime", "blue"], dpi=30)
    points, rim = ax.collections
    assert [tuple(one[:3]) for one in rim.get_edgecolors()] == [to_rgb("blue")] and len(points.get_offsets()) == N
    numbers = np.r_[Y[:, 0], [np.nan]]
    assert tuple(scatter(far, numbers, dpi=30).collections[1].get_edgecolors()[0][:3]) == to_rgb(LIGHT.missing)
    assert tuple(scatter(far, dpi=30).collections[1].get_edgecolors()[0][:3]) == to_rgb(LIGHT.ink)
    grey = scatter(far, kinds, highlight=[0], dpi=30).collections[1]
    assert tuple(grey.get_edgecolors()[0][:3]) == to_rgb(LIGHT.ink)
    sizes = [scatter(far, size=size, dpi=30).collections[1].get_sizes()[0] for size in (0, 1, 40)]
    assert 0 < sizes[0] == sizes[1] < sizes[2] == 40


def test_rows_behind_have_the_size_that_is_asked_for_and_are_all_that_have_a_place():
    behind = np.r_[Y + 1, [[np.nan, 0], [0, np.inf]]]
    drawn = scatter(Y, behind=behind, size=3.5, dpi=30).collections[0]
    assert drawn.get_sizes().tolist() == [3.5] and len(drawn.get_offsets()) == N
    large = scatter(np.r_[Y, [[0, np.nan]]], np.r_[KINDS, ["cat"]], highlight=[1, N], colors=["red", "lime", "blue"],
                    dpi=30).collections[-1]  # fmt: skip
    assert [tuple(one[:3]) for one in large.get_facecolors()] == [to_rgb("lime")] and len(large.get_offsets()) == 1


def test_words_on_a_map_are_names_of_labels_alone():
    for labels in (None, Y[:, 0]):
        assert [text for text in scatter(Y, labels, text=True, dpi=30).texts if text.get_text()] == []
    named = scatter(np.repeat([[0, 0], [9, 9], [0, 9]], 10, axis=0), KINDS[np.arange(N) // 10], text=True, dpi=30)
    assert {text.get_text() for text in named.texts if text.get_text()} == {"ant", "bee", "cat"}
    assert not [text for text in scatter(Y, KINDS, dpi=30).texts if text.get_text()]


@pytest.mark.parametrize("jobs", [1, 3])
def test_rows_in_cells_are_whole_numbers(jobs):
    shown = coloring(KINDS, N, None, LIGHT)
    bounds = np.full(2, -9.0), np.full(2, 9.0)
    scale = coloring(Y[:, 0], N, None, LIGHT)
    for labels, colors in ((shown, shown.palette), (None, np.zeros((1, 3))), (scale, np.zeros((1, 3)))):
        found = count(MapRows(Y), labels, colors, bounds, Threads(jobs))
        assert (found.rows.dtype, found.kinds.dtype, found.rows.sum()) == (np.uint64, np.uint32, N)
        assert found.kinds.shape == (len(colors), 100, 100)
        assert found.kinds.sum() == (N if found.values is None else 0)


def test_small_multiples_of_numbers_have_a_bar_where_one_is_asked_for():
    by = np.array(["ant", "bee"])[np.arange(N) % 2]
    for legend in (True, False):
        figure = panels(Y, by, Y[:, 0], legend=legend, dark=legend, dpi=30)
        assert len(figure.axes) == 2 + legend
        assert figure.get_facecolor()[:3] == to_rgb((DARK if legend else LIGHT).ground)
    assert len(panels(Y, np.full(N, "a"), dpi=30).axes) == 1
    # About as high as wide, with a line of words.
    width, height = panels(Y, np.full(N, "a"), dpi=30).get_size_inches()
    assert width < height < 1.3 * width
    width, height = beside(Y, Y, dpi=30).get_size_inches()
    assert width / 2 - 0.5 < height < width / 2 + 0.5


@pytest.mark.parametrize("limits", [((0, 8), (0, 8)), ((8, 0), (2, -6))])
def test_a_picture_is_put_between_the_limits_without_moving_them(limits):
    ax = Figure(figsize=(3, 3)).subplots()
    ax.set_xlim(limits[0])
    ax.set_ylim(limits[1])
    image = np.random.default_rng(0).random((4, 4, 4)).astype(np.float32)
    draw_density(ax, image)
    assert ax.images[0].get_zorder() == 0 and (ax.get_xlim(), ax.get_ylim()) == limits
    np.testing.assert_array_equal(ax.images[0].get_array(), image)


# ---------------------------------------------------------------------------------------------------------------- films


def test_a_picture_of_a_film_is_points_on_all_of_its_paper(monkeypatch):
    """However many rows there are; in the middle, with room for words below, and without a legend."""
    seen = []
    monkeypatch.setattr(animation, "scatter", lambda *given, **by: seen.append((given, by)) or given[2])
    sizes = {}
    for n in (0, 1, 100, 1000, 2000, 4000, 10**5):
        animation._picture(np.zeros((n, 2)), "labels", "words", "colours", 64, True)
        (places, labels, ax), by = seen.pop()
        sizes[n] = by.pop("size")
        assert (places.shape, labels) == ((n, 2), "labels") and 0 < by.pop("alpha") < 1
        assert by == {"colors": "colours", "legend": False, "dark": True, "caption": "words", "density": False}
    left, low, wide, high = ax.get_position().bounds
    assert 0 < left == pytest.approx(1 - left - wide) and left < low and 0 < 1 - low - high < low and high > 0.9 < wide
    # Points of fewer rows are larger, within limits.
    assert sizes[0] == sizes[1] == sizes[100] > sizes[1000] == pytest.approx(2 * sizes[2000])
    assert sizes[2000] == pytest.approx(2 * sizes[4000]) and 0.5 < sizes[10**5] < sizes[4000]


@pytest.mark.parametrize("dark, paper", PAPERS)
def test_a_film_has_the_colour_of_its_paper_up_to_its_corners(dark, paper):
    image = animation._picture(Y, KINDS, None, None, 48, dark)
    assert image.shape == (48, 48, 3) and image.dtype == np.uint8 and image.flags.writeable
    for corner in (image[0, 0], image[0, -1], image[-1, 0], image[-1, -1]):
        np.testing.assert_allclose(corner / 255, to_rgb(paper.ground), atol=0.51 / 255)


# ------------------------------------------------------------------------------------------------------- rows and words


def test_a_map_may_be_a_frame_or_lack_cells():
    pandas = pytest.importorskip("pandas")
    for dtype in ("float64", "float32", "int8"):
        frame = pandas.DataFrame((9 * Y).astype(dtype), columns=["x", "y"])
        np.testing.assert_array_equal(MapRows(frame).all(), (9 * Y).astype(dtype).astype(np.float32))
    ax = scatter(pandas.DataFrame(Y), behind=pandas.DataFrame(Y + 1), dpi=30)
    np.testing.assert_allclose(ax.collections[0].get_offsets(), Y + 1)


@pytest.mark.parametrize("labels, numbers", [
    (["a", "b", "b"], False), ([1, 2, None], True), (np.array([1.5, 2, 2]), True), ([True, False, None], True),
    (np.array(["2020-01-01"] * 3, "M8[D]"), False),
])  # fmt: skip
def test_what_labels_were_is_told_beside_those_of_most_rows(labels, numbers):
    pandas = pytest.importorskip("pandas")
    given = np.array(labels, object) if isinstance(labels, list) else labels
    assert bool(frequent(given, 9).numbers) == numbers
    # Numbers that are categories are kinds, as words are.
    assert not frequent(pandas.Categorical(given), 9).numbers
    for most in (1, 9):
        found = frequent(given, most)
        there = len({one for one in given.tolist() if one is not None})
        assert found.others == (there - most if there > most else 0)


def test_labels_that_are_left_out_are_counted_with_their_thousands():
    words = np.array([f"{at:05}" for at in range(1203)], object)
    found = frequent(words, 3)
    assert found.others == 1200 and found.labels.categories == ["00000", "00001", "00002", "1,200 others"]
    assert found.labels.tolist() == [*words[:3], *["1,200 others"] * 1200]


# --------------------------------------------------------------------------------- alike, however many rows there are


def lone_rows(ax):
    (found,) = [one for one in ax.collections if one.get_label() == "_lone rows"]
    return found


@pytest.mark.parametrize("dark, paper", PAPERS)
def test_a_row_that_is_alone_among_very_many_is_a_point_of_the_most_that_are_points(dark, paper):
    """As large and as strong as it is where all rows are points, and as flat."""
    drawn = lone_rows(scatter([[0, 0], [9, 9], [0, 9]], density=True, dark=dark, dpi=30))
    assert drawn.get_sizes().tolist() == [_point_size(MOST_POINTS, 7)] and len(drawn.get_offsets()) == 3
    colors = drawn.get_facecolors()
    np.testing.assert_allclose(colors[:, :3], [to_rgb(paper.density)] * 3, atol=1e-6)
    np.testing.assert_allclose(colors[:, 3], _opacity(MOST_POINTS), atol=0.005)
    assert drawn.get_linewidths().tolist() == [0] and drawn.get_rasterized()


def test_rings_at_the_rim_are_alike_for_points_and_shades():
    far = np.r_[Y, [[1e6, 0]]].astype(np.float32)
    for dark in (False, True):
        rings = [scatter(far, size=1, density=density, dark=dark, dpi=30).collections[-1] for density in (False, True)]
        assert [len(one.get_offsets()) for one in rings] == [1, 1] == [len(one.get_edgecolors()) for one in rings]
        for of in ("get_sizes", "get_linewidths", "get_edgecolors", "get_facecolors"):
            np.testing.assert_array_equal(*[np.asarray(getattr(one, of)()) for one in rings], err_msg=of)


@pytest.mark.parametrize("labels", [None, KINDS, Y[:, 0]], ids=["plain", "kinds", "numbers"])
def test_a_row_that_lacks_one_coordinate_is_nowhere(labels):
    """Neither among the points, nor large, nor ringed, nor behind others; dots are dots in vector graphics, too."""
    lost = Y.copy()
    lost[4, 0], lost[7, 1] = np.nan, np.inf
    ax = scatter(lost, labels, behind=lost, highlight=[3, 4, 7], ring=[4, 5, 7], dpi=30)
    behind, points, large, rings = ax.collections
    assert [len(one.get_offsets()) for one in ax.collections] == [N - 2, N - 2, 1, 1]
    np.testing.assert_allclose(large.get_offsets(), Y[[3]])
    np.testing.assert_allclose(rings.get_offsets(), Y[[5]])
    assert behind.get_rasterized() and points.get_rasterized()
    assert not large.get_rasterized() and not rings.get_rasterized()


def test_numbers_keep_their_colours_and_ends_where_the_largest_is_at_the_rim():
    far = np.r_[Y, [[1e6, 0]]].astype(np.float32)
    numbers = np.r_[np.linspace(0, 1, N), [50.0]]
    for colors, dark, name in (("magma", False, "magma"), (None, False, "viridis"), (None, True, "viridis")):
        ax = scatter(far, numbers, colors=colors, dark=dark, dpi=30)
        points, rim = ax.collections
        shown = coloring(numbers, N + 1, colors, DARK if dark else LIGHT)
        assert (points.norm.vmin, points.norm.vmax, points.cmap.name) == (0, 50, name)
        assert points.cmap(0.0) == shown.cmap(0.0) and tuple(rim.get_edgecolors()[0]) == shown.cmap(1.0)
        assert sorted(points.get_array().tolist()) == numbers[:-1].tolist()
        assert ax.figure.axes[1].get_ylim() == (0, 50)


def test_how_far_rows_moved_is_told_of_each_row_in_whatever_piece_it_is_read(monkeypatch):
    """In widths of the second map; rows without a place on both have none."""
    other = 40 * Y[:, ::-1] + np.random.default_rng(1).normal(scale=9, size=(N, 2))
    one = Y.copy()
    one[4, 0] = np.nan
    places = []
    for block in (1 << 21, 7):
        monkeypatch.setattr("tsne_ooc.plot.rows.SHADED", block)
        first, second, _ = beside(one, other, dpi=30).axes
        drawn = [ax.collections[0] for ax in (first, second)]
        there = np.delete(np.arange(N), 4)
        assert [len(one.get_offsets()) for one in drawn] == [N - 1, N]
        values = [np.ma.filled(one.get_array(), np.nan).tolist() for one in drawn]
        at = dict(zip(map(tuple, drawn[1].get_offsets().tolist()), values[1], strict=True))
        far = np.array([at[tuple(row)] for row in other.astype(np.float32).astype(float).tolist()])
        places.append(far)
        laid = dict(zip(values[0], drawn[0].get_offsets().tolist(), strict=True))
        assert far[4] != far[4] and np.isfinite(far[there]).all() and len(laid) == N - 1
        for row in there:
            apart = np.linalg.norm(np.array(laid[far[row]]) - other[row]) / np.ptp(other, axis=0).max()
            assert far[row] == pytest.approx(apart, rel=1e-4)
    np.testing.assert_array_equal(*places)


def test_what_the_pictures_do_not_have_is_no_attribute():
    import tsne_ooc.plot as plot
    from tsne_ooc.plot.picture import draw

    assert plot.draw is draw and not hasattr(plot, "drew")
    with pytest.raises(AttributeError, match=r"^module 'tsne_ooc\.plot' has no attribute 'drew'$"):
        plot.drew  # noqa: B018
    assert {name for name in plot.__all__ if not callable(getattr(plot, name))} == set()


@pytest.mark.parametrize("fps", [1, 7, 12.5, 50])
@pytest.mark.parametrize("pictures", [1, 3])
def test_a_film_for_other_programs_has_each_picture_once_and_the_last_one_for_two_seconds(
    monkeypatch, tmp_path, fps, pictures
):
    """As colours of dots, one after the other, line by line."""
    asked = []

    def run(words, **options):
        asked.append((words, options))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(animation.subprocess, "run", run)
    frames = [np.full((2, 4, 3), at, np.uint8) for at in range(pictures)]
    before = list(frames)
    animation._mp4(frames, tmp_path / "part", fps)
    ((words, options),) = asked
    last = round(2 * fps)
    assert options["input"] == b"".join(bytes([at]) * 24 for at in [*range(pictures), *[pictures - 1] * last])
    assert options["capture_output"] and words[0] == "ffmpeg" and words[-1] == str(tmp_path / "part")
    for option, value in (("-s", "4x2"), ("-r", f"{fps:g}"), ("-f", "rawvideo"), ("-i", "-")):
        assert words[words.index(option) + 1] == value
    assert all(one is other for one, other in zip(frames, before, strict=True)) and len(frames) == pictures


# ------------------------------------------------------------------------------------------- the picture of a whole run


@pytest.fixture
def asked(monkeypatch):
    """What each kind of picture is asked for; nothing is drawn, and columns are words of their own names."""
    from tsne_ooc.plot import picture

    seen = []
    for name in ("scatter", "panels", "draw_beside"):
        drawn = SimpleNamespace(figure="a figure")
        monkeypatch.setattr(
            picture, name, lambda *given, name=name, drawn=drawn, **by: seen.append((name, given, by)) or drawn
        )
    monkeypatch.setattr(picture, "column_of", lambda *given: seen.append(("column", given, {})) or KINDS)
    return seen


COMMON = {"colors": {"ant": "red"}, "legend": False, "shading": "log", "dark": True, "dpi": 7, "n_jobs": 3}


def test_one_map_is_drawn_as_it_is_asked_for(asked):
    from tsne_ooc.plot import draw

    assert draw(Y, KINDS, title="a title", text=False, highlight=[1], ring=[2], **COMMON) == "a figure"
    ((name, given, by),) = asked
    assert name == "scatter" and given[0] is Y and list(given[1]) == list(KINDS)
    assert by == {**COMMON, "caption": "", "title": "a title", "text": False, "highlight": [1], "ring": [2]}
    asked.clear()
    wide = np.c_[Y, Y[:, :1] + 5]
    draw(wide, "kind", axes=(3, 1), data="table.h5", behind=wide + 1)
    (_, column, _), (name, given, by) = asked
    assert column == ("kind", N, None, "table.h5") and name == "scatter" and by["caption"] == ""
    np.testing.assert_array_equal(given[0], wide[:, [2, 0]])
    np.testing.assert_array_equal(by["behind"], wide[:, [2, 0]] + 1)
    asked.clear()
    draw(Y)
    assert asked[0][1][1] is None and asked[0][2]["text"] is True and "behind" not in asked[0][2]


def test_groups_and_two_maps_are_drawn_as_they_are_asked_for(asked):
    from tsne_ooc.plot import draw

    groups = np.arange(N) % 2
    drawn = draw(Y, KINDS, by=groups, behind=Y + 1, **COMMON)
    ((name, given, by),) = asked
    assert drawn.figure == "a figure" and name == "panels" and given[0] is Y and given[1] is groups
    assert list(given[2]) == list(KINDS) and (by.pop("behind") == Y + 1).all() and by == {**COMMON, "caption": ""}
    asked.clear()
    draw(Y, "kind", by="group", data="table.h5")
    assert [one[0] for one in asked] == ["column", "column", "panels"]
    assert [one[1] for one in asked[:2]] == [("kind", N, None, "table.h5"), ("group", N, None, "table.h5")]
    asked.clear()
    wide, other = np.c_[Y, Y[:, :1]], np.c_[Y[:, :1], Y] + 3
    draw(wide, KINDS, other=other, axes=(1, 3), **COMMON)
    ((name, given, by),) = asked
    assert name == "draw_beside" and by == {**COMMON, "caption": "", "titles": ("map", "map")}
    np.testing.assert_array_equal(given[0], wide[:, [0, 2]])
    np.testing.assert_array_equal(given[1], other[:, [0, 2]])
    assert list(given[2]) == list(KINDS)


@pytest.mark.parametrize("caption", ["", "as made"])
@pytest.mark.parametrize("below", [None, "", "as others were"])
def test_the_line_below_a_map_says_what_it_lies_on_and_what_rings_are(asked, monkeypatch, caption, below):
    from tsne_ooc.plot import draw, picture
    from tsne_ooc.plot.coordinates import MapToDraw

    novelty = np.where(np.arange(N) % 10 == 3, 2.0, 1.0)
    run = SimpleNamespace(novelty=novelty, manifest={"novelty": {"threshold": 1.256}})
    monkeypatch.setattr(picture, "map_of", lambda source, axes: MapToDraw(Y, run, "new", caption))
    behind = None if below is None else MapToDraw(Y + 1, None, "old", below)
    monkeypatch.setattr(picture, "map_behind", lambda found, given, axes: behind)
    said = caption if below is None else f"on old: {below}" if below else ""
    for ring, rings in ((None, ""), ([1], ""), ("novel", "rings: novelty beyond 1.26")):
        asked.clear()
        draw("new", ring=ring)
        ((_, _, by),) = asked
        assert by["caption"] == "\n".join(filter(None, [said, rings]))
        assert list(by["ring"] if ring else []) == ([3, 13, 23] if ring == "novel" else ring or [])


def test_labels_are_kinds_or_numbers_and_of_too_many_words_forty_are_kept(caplog):
    from tsne_ooc.plot.picture import labels_for

    numbers = np.arange(500.0)
    assert labels_for(numbers, 500, None, None) is numbers
    some = [None if at % 7 == 0 else at for at in range(500)]
    assert labels_for(some, 500, None, None) is some
    for words in (99, 100, 101):
        given = np.array([f"w{at:03}" for at in range(words)])[np.arange(500) % words]
        for labels in (given, given.tolist(), given.astype("S4"), given.astype(object)):
            with caplog.at_level("INFO", "tsne_ooc"):
                caplog.clear()
                found = labels_for(labels, 500, None, None)
            assert len(found.categories) == (words if words <= 100 else 41) and len(caplog.records) == (words > 100)
            if words > 100:
                assert caplog.records[0].getMessage() == (
                    "more words than colours can tell apart: the 40 labels of most rows keep their own"
                )


def test_a_film_hands_on_what_is_asked_for(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(animation, "_picture", lambda *given: seen.append(given) or np.zeros((32, 32, 3), np.uint8))
    frames = [Y, Y + 1]
    out = tmp_path / "a.gif"
    assert (
        animation.animate(iter(frames), out, KINDS, captions=["one", "two"], colors=["red"], pixels=33, dark=True)
        == out
    )
    for at, (places, labels, caption, colors, pixels, dark) in enumerate(seen):
        assert places is frames[at] and labels is KINDS and caption == ["one", "two"][at]
        assert (colors, pixels, dark) == (["red"], 32, True)
    seen.clear()
    animation.animate(frames, out, overwrite=True)
    assert [one[1:] for one in seen] == [(None, None, None, 480, False)] * 2
    film = animation.Film(rows=[4, 2])
    for at in range(2):
        film(at, 1.5, Y + at)
    seen.clear()
    film.save(out, KINDS.tolist(), overwrite=True, dark=True)
    for at, (places, labels, caption, *_) in enumerate(seen):
        np.testing.assert_array_equal(places, Y[[2, 4]] + at)
        assert labels.tolist() == KINDS[[2, 4]].tolist() and caption == f"iteration {at} · KL 1.500"


# ------------------------------------------------------------------------------------ the map that rows lie on, by name


@pytest.fixture
def where(monkeypatch):
    from tsne_ooc.plot import coordinates

    return coordinates


def raising(error):
    def fails(*given):
        raise error

    return fails


@pytest.mark.parametrize("wanted, there, kind, another", [
    (None, "a", "estimator", False), ("a", None, "estimator", False), (None, None, "estimator", False),
    ("a", "a", "estimator", False), ("a", "b", "estimator", True), ("a", "b", None, False),
    ("a", "b", OSError("gone"), True), ("a", "b", ValueError("damaged"), True),
])  # fmt: skip
def test_a_map_is_another_one_where_both_are_known_and_differ(where, monkeypatch, wanted, there, kind, another):
    """An encoder, which stands here for None, puts rows on the map of its teacher, which it does not name."""
    monkeypatch.setattr(where, "digest_under", lambda run: wanted)
    monkeypatch.setattr(where, "_digest", lambda given: there)
    monkeypatch.setattr(where, "model_under", lambda run: "its model")
    told = raising(kind) if isinstance(kind, Exception) else lambda folder: where.ENCODER if kind is None else kind
    monkeypatch.setattr(where.storage, "kind_of", told)
    assert where._is_another(SimpleNamespace(), "given") is another


@pytest.mark.parametrize("model", [True, False])
def test_what_tells_a_map_from_others_is_that_of_its_model(where, monkeypatch, tmp_path, model):
    (tmp_path / "map").mkdir()
    (tmp_path / "map" / where.storage.MANIFEST).write_text("{}")
    (tmp_path / "bare").mkdir()
    monkeypatch.setattr(where, "folder_of", lambda source: ("folder of", str(source)))
    monkeypatch.setattr(where, "is_model", lambda folder: model)
    monkeypatch.setattr(where, "digest_of", lambda folder: ("model", *folder))
    monkeypatch.setattr(where, "open_run", lambda source: ("run", str(source)))
    monkeypatch.setattr(where, "digest_under", lambda run: ("under", *run))
    path = str(tmp_path / "map")
    for source in (path, tmp_path / "map"):
        assert where._digest(source) == (("model", "folder of", path) if model else ("under", "run", path))
    for source in (tmp_path / "bare", str(tmp_path / "none"), Y, Y.tolist()):
        assert where._digest(source) is None


def test_the_map_behind_is_the_one_that_is_given_or_that_rows_were_placed_on(where, monkeypatch, tmp_path):
    asked = []
    behind = where.MapToDraw(Y, None, "old", "")
    monkeypatch.setattr(where, "map_of", lambda *given: asked.append(given) or behind)
    monkeypatch.setattr(where, "_is_another", lambda run, given: run.another)
    alone = where.MapToDraw(Y, None, "new", "")
    assert where.map_behind(alone, None, (1, 2)) is None and asked == []
    assert where.map_behind(alone, "given", (1, 2)) is behind and asked.pop() == ("given", (1, 2))
    for another in (False, True):
        placed = alone._replace(run=SimpleNamespace(another=another, manifest={"model": "x"}))
        if another:
            with pytest.raises(ValueError, match=r"^the rows of new do not lie on old, but on another map$"):
                where.map_behind(placed, "given", None)
        else:
            assert where.map_behind(placed, "given", None) is behind
    fitted = alone._replace(run=SimpleNamespace(another=True, manifest={}))
    asked.clear()
    assert where.map_behind(fitted, None, None) is None and asked == []
    # Of a run the map of all of its rows, and not only of those that it fitted.
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / where.storage.MANIFEST).write_text("{}")
    (tmp_path / "alone" / "model").mkdir(parents=True)
    (tmp_path / "run" / "other").mkdir()
    for model, folder in (("run/model", "run"), ("alone/model", "alone/model"), ("run/other", "run/other")):
        monkeypatch.setattr(where, "model_under", lambda run, model=model: tmp_path / model)
        assert where.map_behind(placed, None, (3, 1)) is behind and asked.pop() == (tmp_path / folder, (3, 1))
    for error in (OSError("it is gone"), ValueError("it is damaged")):
        monkeypatch.setattr(where, "model_under", raising(error))
        with pytest.warns(UserWarning) as told:
            assert where.map_behind(placed, None, None) is None
        assert [str(one.message) for one in told] == [
            f"the map behind the rows of new is not drawn: {error}; or say where it is with behind= (--behind)"
        ]


@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
def test_a_picture_of_density_leaves_the_axes_as_they_are(turned):
    """Also those of somebody whose axis runs downwards: rows lie where they lay, and both axes keep one scale."""
    ax = Figure(figsize=(4, 2)).add_subplot()
    limits = [(-3.0, 5.0)[::-1] if turned[0] else (-3.0, 5.0), (1.0, 2.5)[::-1] if turned[1] else (1.0, 2.5)]
    ax.set_xlim(limits[0])
    ax.set_ylim(limits[1])
    ax.set_aspect("auto", adjustable="datalim")
    draw_density(ax, np.ones((3, 5, 4), np.float32))
    assert (ax.get_xlim(), ax.get_ylim()) == tuple(limits)
    assert (ax.get_aspect(), ax.get_adjustable()) == (1.0, "box")
    # Its first row of cells is the lowest, its first column the leftmost, whatever the direction of the axes.
    assert ax.images[0].get_extent() == [-3.0, 5.0, 1.0, 2.5] and ax.images[0].origin == "lower"
