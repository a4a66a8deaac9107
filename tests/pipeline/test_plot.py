"""Pictures show every row and label, and are drawn without touching pyplot."""

import subprocess
import sys

import numpy as np
import pytest

from tsne_ooc.plot import scatter


@pytest.fixture
def map_():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 500)
    return (rng.normal(size=(3, 2)) * 20)[labels] + rng.normal(size=(500, 2)), labels


def drawn(ax):
    """The picture as an array of shape (height, width, 4)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def points_of(ax):
    """Rows that are drawn as points, apart from those that are alone where density is drawn."""
    return [one for one in ax.collections if one.get_label() != "_lone rows"]


def test_defaults(map_, tmp_path, caplog):
    Y, labels = map_
    names = np.array(["ant", "bee", "cow"])[labels]
    ax = scatter(Y, names, title="Three kinds")
    ax.figure.savefig(tmp_path / "map.png")
    ax.figure.savefig(tmp_path / "map.pdf")
    assert (tmp_path / "map.png").stat().st_size > 10_000
    assert not caplog.records
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["ant", "bee", "cow"]
    assert ax.get_aspect() == 1 and len(ax.get_xticks()) == len(ax.get_yticks()) == 0
    assert ax.get_title(loc="left") == "Three kinds"
    points = ax.collections[0]
    assert points.get_rasterized()
    np.testing.assert_allclose(np.sort(points.get_offsets()[:, 0]), np.sort(Y[:, 0]), rtol=1e-5)


def test_every_row_has_the_colour_of_its_label(map_):
    Y, labels = map_
    ax = scatter(Y, labels, colors=["red", "lime", "blue"], alpha=1)
    points = ax.collections[0]
    place = {tuple(row): label for row, label in zip(Y.astype(np.float32).tolist(), labels, strict=True)}
    for at, color in zip(points.get_offsets().data, points.get_facecolors(), strict=True):
        assert color[:3].argmax() == place[tuple(np.float32(at).tolist())]


def test_every_row_has_the_number_of_its_label(map_):
    """On a scale, too; and rows of the end of the file do not all lie on top."""
    Y, _ = map_
    numbers = np.random.default_rng(1).normal(size=500)
    numbers[::50] = np.nan
    ax = scatter(Y, numbers)
    points, bar = ax.collections[0], ax.figure.axes[1]
    place = {tuple(row): number for row, number in zip(Y.astype(np.float32).tolist(), numbers, strict=True)}
    offsets = points.get_offsets().data.astype(np.float32)
    wanted = np.array([place[tuple(row)] for row in offsets.tolist()])
    np.testing.assert_array_equal(np.ma.filled(points.get_array(), np.nan), wanted)
    assert sorted(map(tuple, offsets.tolist())) == sorted(place) and (offsets != Y.astype(np.float32)).any()
    # Whoever reads a colour off the bar sees it as it is.
    (solids,) = (solid for solid in bar.collections if solid.get_array() is not None)
    assert solids.get_alpha() == 1 > points.get_alpha()


def test_points_shrink_and_fade_with_their_number():
    rng = np.random.default_rng(0)
    few, many = (scatter(rng.normal(size=(n, 2))).collections[0] for n in (100, 100_000))
    assert few.get_sizes()[0] > 10 * many.get_sizes()[0]
    assert few.get_alpha() > many.get_alpha() >= 0.3


@pytest.mark.parametrize("labelled", [False, True])
def test_density(map_, labelled):
    Y, labels = map_
    ax = scatter(Y, labels if labelled else None, density=True, colors=["red", "lime", "blue"])
    assert not points_of(ax) and len(ax.images) == 1
    image = ax.images[0].get_array()
    assert 100 < np.count_nonzero(image[..., 3]) <= 500
    if labelled:
        assert len(ax.get_legend().get_texts()) == 3
        for label in range(3):
            left, right, bottom, top = ax.images[0].get_extent()
            x, y = Y[labels == label][0]
            cell = image[int((y - bottom) / (top - bottom) * 800), int((x - left) / (right - left) * 800)]
            assert cell[label] > 0.3 and cell[3] > 0
    assert (drawn(ax)[..., :3] < 250).any()


def test_millions_are_shaded():
    Y = np.random.default_rng(0).normal(size=(1_000_001, 2)).astype(np.float32)
    assert len(scatter(Y).images) == 1


def test_numbers_get_a_scale_and_many_labels_columns(map_):
    Y, _ = map_
    assert len(scatter(Y, Y[:, 0]).figure.axes) == 2
    assert scatter(Y, np.arange(500) % 30).get_legend()._ncols == 2
    assert scatter(Y, np.arange(500) % 30, legend=False).get_legend() is None


def test_one_dimension(map_):
    Y, labels = map_
    assert scatter(Y[:, :1], labels).collections[0].get_offsets().shape == (500, 2)


@pytest.mark.parametrize("Y", [np.zeros((1, 2)), np.zeros((10, 2)), np.zeros((5, 1))])
def test_no_extent_at_all(Y):
    assert drawn(scatter(Y)).shape[2] == 4
    assert drawn(scatter(Y, density=True)).shape[2] == 4


def test_axes_of_ones_own(map_):
    from matplotlib.figure import Figure

    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert scatter(*map_, ax=right) is right
    assert not left.collections and right.collections


def test_what_cannot_be_drawn(map_):
    Y, labels = map_
    with pytest.raises(ValueError, match="Y has 3 columns; choose one or two to draw"):
        scatter(np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"labels has shape \(499,\), and Y has 500 rows"):
        scatter(Y, labels[1:])
    with pytest.raises(ValueError, match="colors has 2 colours, and there are 3 labels"):
        scatter(Y, labels, colors=["red", "blue"])
    with pytest.raises(ValueError, match="labels has 500 different words"):
        scatter(Y, [f"row {i}" for i in range(500)])


def test_without_matplotlib_the_remedy_is_named(monkeypatch):
    for module in ("matplotlib", "matplotlib.figure", "matplotlib.colors"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"pip install 'matplotlib>=3.8'"):
        scatter(np.zeros((4, 2)))


def test_pyplot_stays_away():
    code = (
        "import sys, numpy, tsne_ooc.plot; assert 'matplotlib' not in sys.modules;"
        "tsne_ooc.plot.scatter(numpy.eye(2)); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def inside(ax, rows):
    """Whether all rows are within what the axes show."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    low, high = rows.min(axis=0), rows.max(axis=0)
    return min(left, right) <= low[0] <= high[0] <= max(left, right) and bottom <= low[1] <= high[1] <= top


@pytest.mark.parametrize("first", [False, True], ids=["points", "density"])
@pytest.mark.parametrize("second", [False, True], ids=["then points", "then density"])
@pytest.mark.parametrize("away", [(300.0, 0.0), (-40.0, 70.0), (0.0, 0.0)], ids=str)
def test_a_second_map_on_the_same_axes_cuts_nothing_off(map_, first, second, away):
    """In either order; the first one alone decides where there is nothing yet."""
    Y, _ = map_
    small = 0.01 * Y[:100] + away
    for one, two in ((Y, small), (small, Y)):
        ax = scatter(one, density=first)
        alone = np.array([ax.get_xlim(), ax.get_ylim()])
        # A square around the map, with some room.
        middle, width = (one.min(axis=0) + one.max(axis=0)) / 2, np.ptp(one, axis=0).max()
        np.testing.assert_allclose(alone.mean(axis=1), middle, atol=1e-3 * width)
        np.testing.assert_allclose(np.ptp(alone, axis=1), 1.04 * width, rtol=1e-3)
        before = drawn(ax).copy()
        assert scatter(two, ax=ax, density=second, colors=["red"]) is ax
        assert inside(ax, one) and inside(ax, two) and (drawn(ax) != before).any()
        other = scatter(two)
        frames = np.array([[each.get_xlim(), each.get_ylim()] for each in (ax, other)])
        # Around both, and no more.
        np.testing.assert_allclose(frames[0, :, 0], np.minimum(alone, frames[1])[:, 0], rtol=1e-6)
        np.testing.assert_allclose(frames[0, :, 1], np.maximum(alone, frames[1])[:, 1], rtol=1e-6)
        # All that was drawn is still there.
        points = [rows for rows, shaded in ((one, first), (two, second)) if not shaded]
        assert len(ax.images) == first + second and len(points_of(ax)) == len(points)
        for collection, rows in zip(points_of(ax), points, strict=True):
            across = np.sort(collection.get_offsets()[:, 0])
            np.testing.assert_allclose(across, np.sort(rows[:, 0]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("turned", [False, True])
def test_axes_with_something_of_others_on_them(map_, turned):
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    ax.plot([-500, 900], [0, 10])
    if turned:
        ax.invert_xaxis()
    scatter(map_[0], ax=ax)
    assert inside(ax, map_[0]) and inside(ax, np.array([[-500, 0], [900, 10]])) and len(ax.lines) == 1
