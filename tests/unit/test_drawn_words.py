"""Names and words of pictures where many are alike: which come first, where they are, and what keeps its own colour."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tsne_ooc.plot import beside, draw, panels, scatter
from tsne_ooc.plot.animation import Film
from tsne_ooc.plot.colors import LIGHT
from tsne_ooc.plot.picture import KEPT, labels_for
from tsne_ooc.plot.text import add_names, densest

N = 120
Y = np.random.default_rng(0).normal(size=(N, 2)).astype(np.float32)


def notes(ax):
    return "\n".join(text.get_text() for text in ax.texts)


def test_of_places_that_are_equally_full_the_first_comes_first():
    """From below upwards and from left to right, however many they are."""
    counts = np.zeros((100, 100), np.uint32)
    counts[::21, ::21] = 7
    wanted = [(up, across) for up in range(0, 100, 21) for across in range(0, 100, 21)]
    for most in (1, 12, 25):
        assert [tuple(one) for one in densest(counts, most).tolist()] == wanted[:most]


def on_a_map(kinds, names, size=9):
    ax = Figure(figsize=(4, 4), dpi=100).add_axes((0, 0, 1, 1))
    ax.set_xlim(10, 20)
    ax.set_ylim(-5, 5)
    written = add_names(
        ax, np.array(names, object), np.zeros((len(names), 3)), np.asarray(kinds, np.uint32), LIGHT, size
    )
    return ax, written


def test_of_labels_of_equally_many_rows_the_first_is_written_first():
    kinds = np.zeros((40, 10, 10))
    kinds[:, 5, 5] = 3
    ax, written = on_a_map(kinds, [f"name {at:02}" for at in range(40)])
    assert written == [0, 1, 2] and [text.get_text() for text in ax.texts] == ["name 00", "name 01", "name 02"]


def test_labels_come_by_all_their_rows_and_not_by_their_fullest_place():
    kinds = np.zeros((3, 10, 10))
    kinds[0, 5, 5], kinds[1, 5, 5], kinds[2, 5, 5] = 7, 6, 5
    kinds[1, 5, 4], kinds[2, 0, 0] = 5, 90
    ax, _ = on_a_map(kinds, ["a", "b", "c"])
    assert [text.get_text() for text in ax.texts] == ["c", "b", "a"]


def test_the_middle_of_a_name_is_the_middle_of_its_place():
    kinds = np.zeros((2, 10, 10))
    kinds[0, 2, 5], kinds[1, 7, 4] = 1, 2
    ax, _ = on_a_map(kinds, ["a name", "other"])
    renderer = FigureCanvasAgg(ax.figure).get_renderer()
    for text, place in zip(ax.texts, ((14.5, 2.5), (15.5, -2.5)), strict=True):
        box = text.get_window_extent(renderer)
        middle = [(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2]
        np.testing.assert_allclose(middle, ax.transData.transform(place), atol=1)
        # No row, ring or dot is over it.
        assert text.get_zorder() > 4


# ---------------------------------------------------------------------------------------- labels that keep their colour


def drawn_names(labels):
    legend = draw(Y, labels, dpi=30).axes[0].get_legend()
    return None if legend is None else [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("n", [3, 41, 60, 100])
@pytest.mark.parametrize("name", ["all others", "2 others", "zz"])
def test_a_word_that_is_called_others_is_a_word_like_all(n, name, caplog):
    """It does not stand for words that were left out, as long as there are colours for all of them."""
    words = [*(f"kind {at:03}" for at in range(n - 1)), name]
    with caplog.at_level("INFO", "tsne_ooc"):
        found = labels_for(np.array(words, object)[np.arange(N) % n], N, None, None)
    assert set(found.tolist()) == set(words) and not caplog.text


def test_beyond_a_hundred_words_forty_and_the_others_are_left(caplog):
    words = np.array([f"kind {at:03}" for at in range(101)], object)[np.minimum(np.arange(N), 100)]
    with caplog.at_level("INFO", "tsne_ooc"):
        found = labels_for(words, N, None, None)
    assert len(found.categories) == KEPT + 1 and found.categories[-1] == "61 others"
    assert set(found.tolist()) == set(found.categories) and "more words than colours can tell apart" in caplog.text


def test_only_words_that_rows_have_count():
    pandas = pytest.importorskip("pandas")
    names = [f"kind {at:03}" for at in range(150)]
    found = labels_for(pandas.Categorical.from_codes(np.arange(N) % 60, names), N, None, None)
    assert set(found.tolist()) == set(names[:60]) and list(found.categories) == names


@pytest.mark.parametrize("missing", [None, np.nan])
def test_numbers_are_a_scale_also_where_some_are_missing(missing):
    numbers = [missing if at % 7 == 0 else at / 8 for at in range(N)]
    figure = draw(Y, numbers, dpi=30)
    assert figure.axes[0].get_legend() is None and len(figure.axes) == 2
    assert figure.axes[1].get_ylim() == pytest.approx((1 / 8, 118 / 8))
    # Whole ones of few kinds are such, as they are where they are drawn by `scatter`.
    few = [missing if at % 7 == 0 else at % 3 for at in range(N)]
    legend = [text.get_text() for text in scatter(Y, few, dpi=30).get_legend().get_texts()]
    assert drawn_names(few) == legend and legend[-1] == "missing"


# ----------------------------------------------------------------------------------------------- several small pictures


def test_names_of_groups_are_short():
    for n in (29, 30, 31, 60):
        (ax,) = panels(Y, np.full(N, "x" * n), dpi=30).axes
        assert ax.get_title(loc="left") == ("x" * n if n <= 30 else "x" * 29 + "\N{HORIZONTAL ELLIPSIS}") + " (120)"


def test_points_cover_the_same_share_of_pictures_of_each_size():
    places = np.random.default_rng(0).normal(size=(6000, 2))
    whole = scatter(places, dpi=30).collections[0].get_sizes()[0]
    for ax in beside(places, places, dpi=30).axes[:2]:
        assert ax.collections[0].get_sizes()[0] == pytest.approx(whole * (5.2 / 7) ** 2)
    (ax,) = panels(places, np.full(6000, "a"), dpi=30).axes
    assert ax.collections[0].get_sizes()[0] == pytest.approx(whole * (3.2 / 7) ** 2)


def test_rows_that_only_the_first_map_lacks_are_told_and_grey():
    one, other = Y.astype(float), Y.astype(float) + 3
    one[[4, 9]] = np.nan
    one[5] = np.inf
    other[7] = np.inf
    figure = beside(one, other, dpi=30)
    assert notes(figure.axes[0]).endswith("3 rows without coordinates") and notes(figure.axes[1]) == ""
    # Of each map those rows are points that have a place on it.
    for ax, Z in zip(figure.axes, (one, other), strict=False):
        assert len(ax.collections[0].get_offsets()) == np.isfinite(Z).all(axis=1).sum()


def test_labels_of_a_film_may_be_a_list(tmp_path):
    film = Film(rows=[1, 2, 5])
    film(1, 1.0, Y[:6])
    assert film.save(tmp_path / "a.gif", ["a", "b", "c", "d", "e", "f"], pixels=32).exists()
