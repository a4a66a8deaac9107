"""The charts of a report: where lines, marks and bars are, and what there is to see where nothing is drawn."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from tsne_ooc.report.estimates import Estimate
from tsne_ooc.report.figures import Line, bars, histogram, lines
from tsne_ooc.report.measured import estimated

# The paper of a chart, and the room around its axes: left, right, top, bottom.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 210, 58, 12, 14, 38


def drawing(page):
    (svg,) = re.findall("<svg.*</svg>", page)
    return ElementTree.fromstring(svg)


def texts(svg):
    """Words, and where they stand: across, up, and which end of them is there."""
    return {one.text: (float(one.get("x")), float(one.get("y")), one.get("text-anchor")) for one in svg.iter("text")}


def dashed(svg):
    """How far across the lines of marks are."""
    found = [one for one in svg.iter("line") if one.get("stroke-dasharray")]
    assert all((one.get("y1"), one.get("y2")) == (str(TOP), str(HEIGHT - BOTTOM)) for one in found)
    assert all(one.get("x1") == one.get("x2") for one in found)
    return [float(one.get("x1")) for one in found]


@pytest.mark.parametrize(
    "made",
    [
        lambda: lines("t", "w", [], x="x", y="y"),
        lambda: lines("t", "w", [Line("a", [], [])], x="x", y="y", marks=[(1, "end")]),
        # A logarithm of nothing but zeros has no place on paper.
        lambda: lines("t", "w", [Line("a", [0, 1], [0, -1])], x="x", y="y", logarithmic=True),
        lambda: histogram("t", "w", np.empty(0), x="x"),
        lambda: histogram("t", "w", np.array([np.nan, np.inf]), x="x", marks=[(1, "limit")]),
        lambda: bars("t", "w", []),
        lambda: bars("t", "w", [("none", 0.0, "0 s"), ("neither", 0.0, "0 s")]),
    ],
)
def test_where_there_is_nothing_to_see_there_is_no_chart(made):
    assert made() == ""


def test_several_lines_are_named_in_their_colours_one_below_the_other():
    shown = [Line("map", [0, 4], [0, 1], "#ff0000"), Line("empty", [], []), Line("chance", [0, 4], [1, 0], "#0000ff")]
    svg = drawing(lines("t", "w", shown, x="x", y="y"))
    named = {one.text: one for one in svg.iter("text") if one.text in ("map", "empty", "chance")}
    # A line without points is neither drawn nor named.
    assert set(named) == {"map", "chance"} and len(list(svg.iter("polyline"))) == 2
    assert [named[name].get("fill") for name in ("map", "chance")] == ["#ff0000", "#0000ff"]
    (one, low, anchor), (other, lower, _) = (texts(svg)[name] for name in ("map", "chance"))
    assert one == other == WIDTH - RIGHT and anchor == "end"
    assert TOP < low < lower < low + 20
    # A line alone is what the title says.
    assert "map" not in texts(drawing(lines("t", "w", shown[:1], x="x", y="y")))


@pytest.mark.parametrize(
    "values, low, high",
    [
        ([1.0, 2.0, 4.0], 0.0, 10.5),
        ([-2.0, 4.0], -2.0, 10.5),
    ],
)
def test_marks_of_a_histogram_stand_where_their_numbers_are(values, low, high):
    """The axis goes from nought, or the least number, to a twentieth beyond the last mark."""
    svg = drawing(histogram("t", "w", np.array(values), x="x", marks=[(1.0, "near"), (10.0, "far")]))
    wide = WIDTH - LEFT - RIGHT
    wanted = [LEFT + (at - low) / (high - low) * wide for at in (1.0, 10.0)]
    assert dashed(svg) == pytest.approx(wanted, abs=0.06)
    found = texts(svg)
    # Words of marks at the right stand to the left of them, where there is paper.
    assert found["near"] == (pytest.approx(wanted[0] + 4, abs=0.06), TOP + 9, "start")
    assert found["far"] == (pytest.approx(wanted[1] - 4, abs=0.06), TOP + 9, "end")
    # All rows are in bars, which are as high as their numbers.
    rects = list(svg.iter("rect"))
    assert len(rects) == len(values) and all(float(one.get("height")) == HEIGHT - TOP - BOTTOM for one in rects)


@pytest.mark.parametrize("same", [0.0, -3.0])
def test_equal_numbers_make_one_bar_at_the_left(same):
    """Nought, or less than it, is the least and the largest number of the axis, which is one wide then."""
    svg = drawing(histogram("t", "w", np.full(50, same), x="x"))
    (bar,) = svg.iter("rect")
    wide = (WIDTH - LEFT - RIGHT) / 60
    least = same if same < 0 else 0.0
    at = LEFT + (same - least) * 60 * wide
    assert float(bar.get("x")) == pytest.approx(at, abs=0.06)
    assert float(bar.get("width")) == pytest.approx(wide - 0.6, abs=0.11)
    assert {f"{least:g}", f"{least + 1:g}"} <= set(texts(svg))


def test_a_line_that_is_level_has_one_tick_in_the_middle():
    svg = drawing(lines("t", "w", [Line("a", [0, 1, 2], [7, 7, 7])], x="x", y="y"))
    (line,) = svg.iter("polyline")
    middle = (TOP + HEIGHT - BOTTOM) / 2
    assert {float(point.split(",")[1]) for point in line.get("points").split()} == {middle}
    ticks = [word for word, (x, _, anchor) in texts(svg).items() if anchor == "end" and x == LEFT - 6]
    assert ticks == ["7"]


def test_what_was_not_measured_is_a_dash():
    assert [estimated(one) for one in (None, Estimate(0.25, 0.0), Estimate(0.25, 0.02))] == [
        "–",
        "0.250",
        "0.250 ± 0.020",
    ]


def ticks_of(svg, anchor):
    """What ticks say, and where they are along their axis, from the least on."""
    at = 0 if anchor == "middle" else 1
    found = [(texts(svg)[word][at], word) for word in texts(svg) if texts(svg)[word][2] == anchor]
    return sorted(found)


@pytest.mark.parametrize("drawn", ["line", "histogram"])
def test_each_axis_has_its_own_ticks_and_its_word(drawn):
    """Below the axis and left of it, with a short line at each tick across; no word is over another."""
    if drawn == "line":
        svg = drawing(lines("t", "w", [Line("a", [0, 40], [2.0, 3.5])], x="along", y="upwards"))
        wide, across, high, up = 40, [0, 10, 20, 30, 40], (2.0, 3.5), [2, 2.5, 3, 3.5]
    else:
        # The last number is the largest where there are few.
        svg = drawing(histogram("t", "w", np.r_[np.zeros(3), 40.0], x="along", marks=[(40 / 1.05, "")]))
        wide, across, high, up = 40, [0, 10, 20, 30, 40], (0, 3), [0, 1, 2, 3]
    low, room = HEIGHT - BOTTOM, WIDTH - LEFT - RIGHT
    middle = [one for one in svg.iter("text") if one.get("text-anchor") == "middle"]
    below = [one for one in middle if one.text not in ("along", "upwards", "rows")]
    assert [one.text for one in below] == [str(at) for at in across]
    places = [LEFT + at / wide * room for at in across]
    assert [float(one.get("x")) for one in below] == pytest.approx(places, abs=0.06)
    (height,) = {float(one.get("y")) for one in below}
    stubs = [one for one in svg.iter("line") if one.get("y1") == str(low) and not one.get("stroke-dasharray")]
    assert [float(one.get("x1")) for one in stubs] == pytest.approx(places, abs=0.06)
    assert all(one.get("x1") == one.get("x2") and low < float(one.get("y2")) < height - 8 for one in stubs)
    (word,) = [one for one in middle if one.text == "along"]
    assert float(word.get("x")) == pytest.approx(LEFT + room / 2) and height + 10 < float(word.get("y")) <= HEIGHT - 3
    (word,) = [one for one in middle if one.text in ("upwards", "rows")]
    assert word.text == ("upwards" if drawn == "line" else "rows")
    half = (TOP + low) / 2
    assert word.get("transform") == f"rotate(-90 {word.get('x')} {word.get('y')})"
    assert float(word.get("y")) == pytest.approx(half, abs=1) and 8 < float(word.get("x")) < 30
    left = [one for one in svg.iter("text") if one.get("text-anchor") == "end" and one.text]
    assert [float(one.text) for one in left] == up
    heights = [low - (at - high[0]) / (high[1] - high[0]) * (low - TOP) + 4 for at in up]
    assert [float(one.get("y")) for one in left] == pytest.approx(heights, abs=0.06)


@pytest.mark.parametrize("high, ticks", [
    (100, [1, 2, 5, 10, 20, 50, 100]), (1000, [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]),
    (10_000, [1, 10, 100, 1000, 10_000]),
])  # fmt: skip
def test_a_logarithmic_axis_of_four_powers_of_ten_has_three_ticks_in_each(high, ticks):
    svg = drawing(lines("t", "w", [Line("a", [0, 1], [1, high])], x="x", y="y", logarithmic=True))
    found = [one.text.replace(",", "") for one in svg.iter("text") if one.get("text-anchor") == "end"]
    assert [float(one) for one in found] == ticks


def test_words_of_a_chart_are_small_and_in_one_size_and_no_word_is_beyond_it():
    charts = [
        lines("t", "w", [Line("one", [0, 4], [0, 1]), Line("two", [0, 4], [1, 3])], x="x", y="y", marks=[(2, "m")]),
        lines("t", "w", [Line("one", [0, 4], [1, 9])], x="x", y="y", marks=[(2, "m")], logarithmic=True),
        histogram("t", "w", np.arange(9.0), x="x", marks=[(2, "m"), (8, "n")]),
        bars("t", "w", [("one", 2.0, "2 s"), ("two", 8.0, "8 s")]),
    ]
    for chart in charts:
        svg = drawing(chart)
        _, _, width, height = map(float, svg.get("viewBox").split())
        sizes = {one.get("font-size") for one in svg.iter("text")}
        assert all(9 < float(size) < 14 for size in sizes) and len(sizes) <= 2
        for one in svg.iter("text"):
            assert 0 < float(one.get("x")) < width and 8 < float(one.get("y")) < height
        # Words of marks stand beside their lines, from these away, and between the ends of the axis.
        words = [one for one in svg.iter("text") if one.text in ("m", "n")]
        for line in (one for one in svg.iter("line") if one.get("stroke-dasharray")):
            away = [(float(one.get("x")) - float(line.get("x1"))) * (1 if one.get("text-anchor") == "start" else -1)
                    for one in words]  # fmt: skip
            assert any(1 < one < 8 for one in away)
        assert all(TOP + 5 < float(one.get("y")) < HEIGHT - BOTTOM - 1 for one in words)
        assert {one.get("font-size") for one in words} < sizes or not words


@pytest.mark.parametrize("made", [
    lambda title, words: lines(title, words, [Line("a", [0, 1], [0, 1])], x="x", y="y"),
    lambda title, words: histogram(title, words, np.arange(9.0), x="x"),
    lambda title, words: bars(title, words, [("one", 2.0, "2 s")]),
], ids=["lines", "histogram", "bars"])  # fmt: skip
def test_a_chart_has_its_title_below_and_its_words_for_those_who_do_not_see_it(made):
    found = made("a title & more", "words < all")
    assert found.count("<figcaption>a title &amp; more</figcaption></figure>") == 1
    assert found.startswith('<figure><svg role="img" aria-label="words &lt; all" ')
    assert drawing(found).get("aria-label") == "words < all"


@pytest.mark.parametrize("most", [1e-9, 0.5, 1.0, 2.0])
def test_bars_of_small_numbers_are_bars_and_the_largest_is_as_long_as_any(most):
    (one, none) = drawing(bars("t", "w", [("one", most, "so much"), ("none", 0.0, "none")])).iter("rect")
    assert float(one.get("width")) == WIDTH - 150 - 130 and float(none.get("width")) == 1.0


@pytest.mark.parametrize("same", [0.0, -3.0])
def test_the_axis_of_equal_numbers_is_one_wide(same):
    svg = drawing(histogram("t", "w", np.full(5, same), x="x"))
    ends = [float(one.get("x")) for one in svg.iter("text") if one.text == f"{same + 1:g}"]
    assert ends == [WIDTH - RIGHT] and [one for one in svg.iter("text") if one.text == f"{same:g}"]
