"""The words, numbers and drawings of a report, one part at a time, each against what it is said to be."""

from __future__ import annotations

import html
import itertools
import math
import re
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

from tsne_ooc._parallel import Threads
from tsne_ooc.refinement import LATE_ROWS, late_iterations
from tsne_ooc.report import figures
from tsne_ooc.report import subject as subjects
from tsne_ooc.report.choices import _course, _phases, choices, parameters_of
from tsne_ooc.report.classes import classes_of
from tsne_ooc.report.estimates import Estimate, correlation, jackknife, mean_of, rank_correlation
from tsne_ooc.report.faithfulness import Faithfulness, Measure
from tsne_ooc.report.figures import COMPONENTS, INK, MAP, Line, bars, histogram, lines, share
from tsne_ooc.report.made import made
from tsne_ooc.report.measured import measured, summary
from tsne_ooc.report.rows import of_rows
from tsne_ooc.report.scores import KINDS, QUANTILES, Score, scores_of
from tsne_ooc.report.several import Agreement, Pair, agreement
from tsne_ooc.report.stays import stays
from tsne_ooc.report.subject import Subject
from tsne_ooc.report.writing import code, estimated, listed, pairs, paragraph, picture, rounded, table, text, write

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 210, 58, 12, 14, 38
LOW, HIGH = HEIGHT - BOTTOM, TOP


def drawing(page):
    (svg,) = re.findall("<svg.*</svg>", page)
    return ElementTree.fromstring(svg)


def across(value, low, high):
    return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)


def up(value, low, high):
    return LOW + (value - low) / (high - low) * (HIGH - LOW)


def cells(page):
    """The cells of a table, row by row, as words."""
    return [
        [html.unescape(re.sub("<[^>]*>", "", cell)) for cell in re.findall("<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in re.findall("<tr>(.*?)</tr>", page)
    ]


# ------------------------------------------------------------------------------------------------------------ numbers


@pytest.mark.parametrize(
    "value, words",
    [
        (0, "0"), (-0.0, "-0"), (math.inf, "inf"), (math.nan, "nan"), (1, "1"), (0.5, "0.5"), (1 / 3, "0.333"),
        (999, "999"), (999.4, "999"), (1000, "1,000"), (1234567.8, "1,234,568"), (-1000, "-1,000"), (-999, "-999"),
        (0.00012345, "0.000123"),
    ],
)  # fmt: skip
def test_numbers_of_ticks(value, words):
    assert figures.number(value) == words


@pytest.mark.parametrize(
    "value, words",
    [
        (0.0, "0.000"), (0.01, "0.010"), (-0.01, "-0.010"), (0.0099, "0.0099"), (0.00012345, "0.00012"),
        (0.5, "0.500"), (1.0, "1.000"), (-0.25, "-0.250"), (-0.001234, "-0.0012"), (math.nan, "not defined"),
        (math.inf, "not defined"),
    ],
)  # fmt: skip
def test_shares_and_correlations_have_the_digits_that_they_need(value, words):
    assert rounded(value) == words
    assert estimated(Estimate(value, 0.0)) == estimated(Estimate(value, math.nan)) == words
    assert estimated(Estimate(value, 0.0012)) == f"{words} ± 0.001"
    # No error is so small that it would be shown as none.
    assert estimated(Estimate(value, 1e-9)) == f"{words} ± 0.001"


@pytest.mark.parametrize("q, n", [(1, 1), (1, 9), (2, 2), (2, 9), (30, 30), (30, 31), (30, 10**9), (5, 3)])
def test_the_error_of_a_mean_of_rows_that_were_drawn(q, n):
    values = np.random.default_rng(0).normal(size=q)
    found = mean_of(values, n)
    assert found.value == pytest.approx(sum(values) / q)
    if q >= n:
        assert found.error == 0
    elif q == 1:
        assert math.isnan(found.error)
    else:
        variance = sum((one - found.value) ** 2 for one in values) / (q - 1)
        assert found.error == pytest.approx(math.sqrt(variance / q * (1 - q / n)))


@pytest.mark.parametrize("q, n", [(5, 5), (19, 100), (20, 100), (20, 20), (37, 100), (37, 37), (40, 10**9)])
def test_the_error_of_what_leaves_out_a_tenth_of_the_rows_at_a_time(q, n):
    values = np.random.default_rng(1).normal(size=q)
    found = jackknife(lambda kept: float(values[kept].mean()), q, n)
    assert found.value == pytest.approx(values.mean())
    if q >= n:
        assert found.error == 0
    elif q < 20:
        assert math.isnan(found.error)
    else:
        without = [np.mean([one for at, one in enumerate(values) if at % 10 != group]) for group in range(10)]
        middle = sum(without) / 10
        spread = 0.9 * sum((one - middle) ** 2 for one in without)
        assert found.error == pytest.approx(math.sqrt(spread * (1 - q / n)))


def test_correlations():
    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    y = x + rng.normal(size=60)
    assert correlation(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert correlation(x + 1e3, -y) == pytest.approx(-np.corrcoef(x, y)[0, 1])
    assert correlation(x, x) == pytest.approx(1) and rank_correlation(x, np.exp(3 * x)) == pytest.approx(1)
    ranks = [np.argsort(np.argsort(one)) for one in (x, y)]
    assert rank_correlation(x, y) == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert correlation(np.array([1.0, 2, 4]), np.array([3.0, 5, 9])) == pytest.approx(1)
    for n in (0, 1, 2):
        assert math.isnan(correlation(x[:n], y[:n]))
    # Equal numbers have no correlation, also where their mean is rounded; what varies a little has one.
    assert math.isnan(correlation(np.full(60, 0.1), x)) and math.isnan(rank_correlation(x, np.full(60, 3)))
    assert correlation(1e-3 * x, 1e-3 * y) == pytest.approx(np.corrcoef(x, y)[0, 1])


# -------------------------------------------------------------------------------------------------------------- charts


def multiples(low, high):
    """All multiples of the least of 1, 2, 5 times a power of ten that is a quarter of the axis or more."""
    steps = sorted(one * 10.0**power for power in range(-12, 12) for one in (1, 2, 5))
    step = next(step for step in steps if step >= (high - low) / 4 * (1 - 1e-12))
    return [at * step for at in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


@pytest.mark.parametrize(
    "low, high",
    [(0, 1), (0, 4), (0, 100), (0, 0.03), (-1, 1), (0.5, 0.7), (-7, -3), (3, 1000), (0, 8.0001), (0, 7.9999), (0, 20)],
)
def test_ticks_are_round_numbers_along_the_axis(low, high):
    svg = drawing(lines("t", "w", [Line("a", [0.0, 1.0], [low, high])], x="x", y="y"))
    there = [one for one in svg.iter("text") if one.get("text-anchor") == "end"]
    wanted = multiples(low, high)
    assert 2 <= len(wanted) <= 5
    assert [one.text for one in there] == [figures.number(value) for value in wanted]
    assert [float(one.get("y")) for one in there] == pytest.approx([up(at, low, high) + 4 for at in wanted], abs=0.06)
    grid = [float(one.get("y1")) for one in svg.iter("line") if one.get("x2") == str(WIDTH - RIGHT)]
    assert grid == pytest.approx([up(at, low, high) for at in wanted], abs=0.06)


@pytest.mark.parametrize(
    "low, high, ticks",
    [(1, 1000, [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]), (1, 100_000, [1, 10, 100, 1000, 10_000, 100_000]),
     (0.03, 0.4, [0.05, 0.1, 0.2]), (2, 4, [2]), (0.002, 3000, [0.01, 0.1, 1, 10, 100, 1000])],
)  # fmt: skip
def test_ticks_of_a_logarithmic_axis(low, high, ticks):
    svg = drawing(lines("t", "w", [Line("a", [0.0, 1.0], [low, high])], x="x", y="y", logarithmic=True))
    there = [one for one in svg.iter("text") if one.get("text-anchor") == "end"]
    assert [one.text for one in there] == [figures.number(value) for value in ticks]
    places = [up(math.log(at), math.log(low), math.log(high)) + 4 for at in ticks]
    assert [float(one.get("y")) for one in there] == pytest.approx(places, abs=0.06)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_lines_go_through_their_points(logarithmic):
    x, y = [10.0, 20, 40, 80], [8.0, 2, 0, 0.5]
    svg = drawing(lines("T & t", "w < w", [Line("a", x, y, "#123456")], x="it", y="KL", marks=[(90.0, "end")],
                        logarithmic=logarithmic))  # fmt: skip
    shown = [(a, b) for a, b in zip(x, y, strict=True) if b > 0 or not logarithmic]
    ends = (math.log(0.5), math.log(8)) if logarithmic else (0, 8)
    # The axis begins at nought and has room for the mark.
    wanted = [(across(a, 0, 90), up(math.log(b) if logarithmic else b, *ends)) for a, b in shown]
    (line,) = svg.iter("polyline")
    found = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
    dots = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in svg.iter("circle")]
    assert np.array(found) == pytest.approx(np.array(wanted), abs=0.06) and dots == found
    assert {line.get("stroke"), *(dot.get("fill") for dot in svg.iter("circle"))} == {"#123456"}
    (mark,) = [one for one in svg.iter("line") if one.get("stroke-dasharray")]
    assert mark.get("x1") == mark.get("x2") == str(float(WIDTH - RIGHT))
    words = {one.text: one for one in svg.iter("text")}
    assert {"it", "KL", "end"} <= set(words) and words["end"].get("text-anchor") == "start"
    # Words of marks are where lines are seldom: at the top, or at the bottom where these fall.
    assert (float(words["end"].get("y")) > 150) == logarithmic
    assert svg.get("aria-label") == "w < w" and svg.get("viewBox") == f"0 0 {WIDTH} {HEIGHT}"


def test_bars_of_a_histogram_are_as_high_as_their_numbers():
    """A hundredth at most is beyond the axis, and in the last bar."""
    rng = np.random.default_rng(0)
    values = np.r_[rng.gamma(2, size=2000), 900.0, np.nan, np.inf]
    there = values[np.isfinite(values)]
    high = np.quantile(there, 0.995)
    counts = np.histogram(np.minimum(there, high), 60, (0, high))[0]
    svg = drawing(histogram("t", "w", values, x="x"))
    found = {round((float(bar.get("x")) - LEFT) / (WIDTH - LEFT - RIGHT) * 60): bar for bar in svg.iter("rect")}
    assert sorted(found) == np.flatnonzero(counts).tolist()
    for at, bar in found.items():
        height = counts[at] / counts.max() * (LOW - HIGH)
        assert float(bar.get("height")) == pytest.approx(height, abs=0.11)
        assert float(bar.get("y")) + float(bar.get("height")) == pytest.approx(LOW, abs=0.11)
    assert "rows" in {one.text for one in svg.iter("text")}


def test_bars_are_as_long_as_their_numbers():
    svg = drawing(bars("t", "w", [("one", 2.0, "2 s"), ("two", 8.0, "8 s"), ("none", 0.0, "0 s")]))
    found = list(svg.iter("rect"))
    long = [float(bar.get("width")) for bar in found]
    assert long[1] == pytest.approx(4 * long[0], abs=0.2) and long[2] == 1 and long[1] < WIDTH
    tops = [float(bar.get("y")) for bar in found]
    assert all(a + float(bar.get("height")) < b for bar, (a, b) in zip(found, itertools.pairwise(tops), strict=False))
    words = [(one.text, float(one.get("x")), float(one.get("y"))) for one in svg.iter("text")]
    assert [word for word, _, _ in words] == ["one", "2 s", "two", "8 s", "none", "0 s"]
    # Each is written from its bar away.
    assert [one.get("text-anchor") for one in svg.iter("text")] == ["end", "start"] * 3
    for at, bar in enumerate(found):
        left, end = float(bar.get("x")), float(bar.get("x")) + long[at]
        (_, before, y), (_, after, same) = words[2 * at : 2 * at + 2]
        assert before < left and end < after < end + 20 and y == same
        assert tops[at] < y < tops[at] + float(bar.get("height"))
    # All of them are within the drawing.
    assert tops[0] >= 0 and tops[-1] + float(found[-1].get("height")) <= float(svg.get("viewBox").split()[3])


@pytest.mark.parametrize("value, place", [(0.0, 2), (0.25, 38.5), (1.0, 148), (-0.5, 2), (1.5, 148)])
def test_a_share_is_a_bar_with_ticks_and_an_error(value, place):
    svg = drawing(share(value, 0.05, 0.5, 0.1, "a & b"))
    back, front = svg.iter("rect")
    assert float(front.get("x")) + float(front.get("width")) == pytest.approx(place, abs=0.06)
    assert back.get("width") == "146" and front.get("fill") == MAP and svg.get("aria-label") == "a & b"
    error, other, chance = svg.iter("line")
    ends = [min(max(value + shift, 0), 1) * 146 + 2 for shift in (-0.1, 0.1)]
    assert [float(error.get(end)) for end in ("x1", "x2")] == pytest.approx(ends, abs=0.06)
    assert error.get("stroke") == INK and other.get("stroke") == COMPONENTS
    assert (other.get("x1"), other.get("x2")) == ("75.0", "75.0") and chance.get("x1") == "16.6"


def test_a_share_has_only_what_is_known():
    for error, other in itertools.product((0.0, math.nan), (None, math.nan)):
        assert len(list(drawing(share(0.5, error, other, math.nan, "w")).iter("line"))) == 0
        assert len(list(drawing(share(0.5, error, other, 0.0, "w")).iter("line"))) == 1
    assert share(math.nan, 0.1, 0.5, 0.1, "w") == ""


# --------------------------------------------------------------------------------------------------------------- words


def test_words_are_words_on_one_line_and_not_without_end():
    assert text('a <b> & "c"\n d\t') == "a &lt;b&gt; &amp; &quot;c&quot; d"
    assert (
        text(b"\xc3\xa9t\xc3\xa9 \xff") == "été \N{REPLACEMENT CHARACTER}" and text(7) == "7" and text("\ud800") == "?"
    )
    assert text("x" * 400) == "x" * 400 and text("x" * 401) == "x" * 399 + "…" and text("x" * 399) == "x" * 399
    assert paragraph("a  <") == "<p>a &lt;</p>" and code("a\n <\ud800") == "<pre>a\n &lt;?</pre>"
    assert listed([]) == "" and listed(["<b>", "c"]) == "<ul><li><b></li><li>c</li></ul>"


def test_tables_name_their_rows_and_columns():
    found = table(("a", "b<", "c"), [("<i>x</i>", "1", "2"), ("y", "3", "4")], caption="it's", numbers=(2,))
    assert "<caption>it&#x27;s</caption>" in found
    assert found.count('<th scope="row">') == 2 and found.count('<th scope="col"') == 3
    assert '<th scope="col">a</th><th scope="col">b&lt;</th><th scope="col" class="n">c</th>' in found
    assert '<th scope="row"><i>x</i></th><td>1</td><td class="n">2</td>' in found
    assert "caption" not in table(("a",), []) and 'class="n"' not in table(("a", "b"), [("x", "y")])
    assert cells(pairs([("a", "b"), ("c", "d")])) == [["a", "b"], ["c", "d"]]
    assert '<th scope="row">a</th><td>b</td>' in pairs([("a", "b")])


def test_pictures_are_within_the_page_and_say_what_they_show():
    found = picture(b"\x89PNG", 'a "b"', "c <d>")
    assert 'src="data:image/png;base64,iVBORw=="' in found and 'alt="a &quot;b&quot;"' in found
    assert "<figcaption>c &lt;d&gt;</figcaption>" in found and "figcaption" not in picture(b"", "a")


def test_a_page_is_written_whole(tmp_path):
    write(tmp_path / "page.html", "a <title>", "{{BODY}} été\n")
    found = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<title>a &lt;title&gt;</title>" in found and "{{BODY}} été\n" in found and found.endswith("</html>\n")
    assert "font" in found.split("<style>")[1].split("</style>")[0] and "\r" not in found
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


# ------------------------------------------------------------------------------------------------------------ measured


def measure(name, value, other=0.25, chance=0.04, error=0.0):
    components = None if other is None else Estimate(other, 0.0)
    return Measure(name, Estimate(value, error), components, chance, f"tells of {name}")


def subject(n=100, **content):
    return Subject("map", np.zeros((n, 2), np.float32), None, content, {}, None, [])


def faithful(*measures, rows=100, drawn=100, others=100):
    return Faithfulness(rows, drawn, others, list(measures), [])


@pytest.mark.parametrize(
    "value, how, more",
    [
        (0.9, "keeps the large picture", False), (0.7, "keeps the large picture", False),
        (0.699, "keeps the large picture in part", True), (0.4, "keeps the large picture in part", True),
        (0.399, "hardly keeps the large picture", True), (-0.2, "hardly keeps the large picture", True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("other", [0.333, None, math.nan])
def test_how_well_far_rows_are_far_in_words(value, how, more, other):
    found = faithful(measure("neighbour recall, 10", 0.5), measure("rank correlation of distances", value, other))
    beside = "; on principal components, 0.33" if other == 0.333 else ""
    warned = " Do not read distances between islands off it." if more else ""
    assert summary(subject(), found, [], None)[1] == (
        f"The map {how}: the rank correlation of its distances with those of the data is {value:.2f}{beside}.{warned}"
    )


@pytest.mark.parametrize("density, told", [(0.5, False), (0.7, False), (0.499, True), (math.nan, True)])
def test_a_density_that_says_little_is_told(density, told):
    lines = summary(subject(), faithful(measure("neighbour recall, 10", 0.5), measure("density", density)), [], None)
    assert lines[1:] == (["How dense a place looks says little of how dense the data are there."] if told else [])


@pytest.mark.parametrize("error, other, chance, words", [
    (0.0, 0.25, 0.04, "50.0% are among its 10 nearest on the map; principal components keep 25.0%, places at random "
     "would keep 4.0%."),
    (0.012, None, 0.001, "50.0% ± 1.2% are among its 10 nearest on the map; places at random would keep 0.1%."),
    (0.0, None, 0.0016, "50.0% are among its 10 nearest on the map; places at random would keep 0.2%."),
    (0.0, None, 0.00099, "50.0% are among its 10 nearest on the map; places at random would keep 0.099%."),
    (0.0, None, 0.0000123, "50.0% are among its 10 nearest on the map; places at random would keep 0.0012%."),
])  # fmt: skip
def test_how_many_neighbours_stay_in_words(error, other, chance, words):
    found = faithful(measure("neighbour recall, 10", 0.5, other, chance, error))
    assert summary(subject(), found, [], None) == ["Of the 10 rows nearest to a row in the data, " + words]


def test_what_could_not_be_measured_is_said():
    (line,) = summary(subject(), None, [], None)
    assert line == "How faithful the map is could not be measured; below is why."
    assert summary(subject(), faithful(), [], None) == [line]
    correlated = faithful(measure("neighbour recall, 10", 0.5), measure("rank correlation of distances", math.nan))
    assert len(summary(subject(), correlated, [], None)) == 1
    assert measured(None, ["a < b"]) == "<p>This could not be measured:</p><ul><li>a &lt; b</li></ul>"
    assert measured(faithful(), []) == "<p>This could not be measured:</p>"


def one_score(name):
    quantiles = np.array([0.5, 0.75, 1.25, 2.0, 9.0])
    return Score(name, KINDS[name], np.ones(3), quantiles, np.array([1]), np.ones(3))


@pytest.mark.parametrize("beyond, rows, words", [
    (1, 100, "1 row (1.00%) lies beyond"), (3, 400, "3 rows (0.75%) lie beyond"), (0, 0, "0 rows (0.00%) lie beyond"),
    (1, 1, "1 row (100.00%) lies beyond"), (2, 3, "2 rows (66.67%) lie beyond"),
])  # fmt: skip
def test_rows_beyond_the_sample_are_counted(beyond, rows, words):
    told = {"novelty": {"beyond": beyond, "rows": rows, "threshold": 1.625}}
    line = summary(subject(**told), faithful(), [one_score("recall"), one_score("novelty")], None)[1]
    assert line.replace(" lies ", " lie ") == (
        f"{words.replace(' lies ', ' lie ')} what the sample knows (novelty above 1.62): their places say little."
    )
    lines = summary(subject(), faithful(), [one_score("novelty")], None)
    assert lines[1:] == ["The novelty of rows is 1.25 in the middle."]
    assert len(summary(subject(), faithful(), [one_score("recall")], None)) == 1


@pytest.mark.parametrize("content, told", [
    ({"sample": 99}, True), ({"sample": 100}, False), ({"sample": None}, False), ({}, False),
    ({"sample": 99, "refined": {}}, False),
])  # fmt: skip
def test_rows_that_were_placed_one_by_one_are_counted(content, told):
    lines = summary(subject(**content), faithful(), [], None)[1:]
    assert (
        lines
        == ["1 of 100 rows were placed one by one beside the 99 that were fitted; with --refine all move together."]
        * told
    )


def test_what_maps_share_is_the_mean_of_their_pairs():
    pairs = [Pair(0, 1, Estimate(0.5, 0.1), 0.1, []), Pair(0, 2, Estimate(0.25, 0.1), 0.1, [])]
    compared = Agreement(7, np.arange(3), 100, np.ones(3), np.ones(3), pairs, 0.07)
    assert summary(subject(), faithful(), [], compared)[1:] == [
        "Two of the maps share 38% of each row&#x27;s 7 neighbours; two maps at random would share 7.0%."
    ]


@pytest.mark.parametrize("drawn, others", [(100, 100), (99, 100), (100, 99), (40, 30)])
def test_the_table_of_what_was_measured(drawn, others):
    found = faithful(
        measure("neighbour recall, 10", 0.5, error=0.02),
        measure("density", -0.005, None, 0.0),
        drawn=drawn,
        others=others,
    )
    page = measured(found, ["one < note"])
    assert ("All 100 rows were looked at." in page) == (drawn == 100)
    assert (f"{drawn} rows were drawn and compared with all 100; behind ± is the standard error" in page) == (
        drawn < 100
    )
    assert (f" For 1 % of the rows, {others} rows that were drawn stand for all." in page) == (others < 100)
    assert page.endswith("<h3>What to know of these numbers</h3><ul><li>one &lt; note</li></ul>")
    assert "What to know" not in measured(found, [])
    assert cells(page) == [
        ["measure", "this map", "principal components", "at random"],
        ["Neighbour recall, 10tells of neighbour recall, 10", "0.500 ± 0.020", "0.250", "0.040"],
        ["Densitytells of density", "-0.005", "–", "0.000"],
    ]
    assert 'aria-label="neighbour recall, 10: 0.500 ± 0.020 on the map"' in page
    # All but the names are numbers, below each other.
    assert page.count(' class="n"') == 9 and page.count("<td>") == 0


def test_each_measure_has_a_bar_of_its_own_numbers():
    """The map's, with twice its error to either side, and ticks for components and for chance, where they are known."""
    found = faithful(measure("neighbour recall, 10", 0.5, 0.75, 0.125, 0.0625), measure("density", 0.25, None, 0.375))
    both, alone = (ElementTree.fromstring(one) for one in re.findall("<svg.*?</svg>", measured(found, [])))
    place = [2 + 146 * at for at in (0.5, 0.375, 0.625, 0.75, 0.125, 0.25, 0.375)]
    for svg, value, ticks in ((both, place[0], [place[1], place[3], place[4]]), (alone, place[5], [place[6]])):
        _, front = svg.iter("rect")
        assert float(front.get("x")) + float(front.get("width")) == pytest.approx(value, abs=0.06)
        assert [float(one.get("x1")) for one in svg.iter("line")] == pytest.approx(ticks, abs=0.06)
    assert float(next(both.iter("line")).get("x2")) == pytest.approx(place[2], abs=0.06)


# ------------------------------------------------------------------------------------------------ rows, classes, scores


def run_with(**columns):
    return SimpleNamespace(arrays=columns, trust=None)


def test_scores_are_those_that_a_run_has_and_that_have_numbers():
    rng = np.random.default_rng(0)
    column = rng.normal(size=101).astype(np.float32)
    column[[3, 50]] = np.nan
    # A score is left out that is not one number of each row, or has none; those behind it are not.
    run = run_with(novelty=np.zeros((101, 2)), recall=column, other=column, singularity=np.full(101, np.nan),
                   perturbation=column.copy())  # fmt: skip
    found = {one.name: one for one in scores_of(run)}
    assert list(found) == ["recall", "perturbation"] and scores_of(None) == []
    known = np.sort(column[~np.isnan(column)].astype(float))
    order = [at for at in np.argsort(column, kind="stable") if not np.isnan(column[at])]
    for name, one in found.items():
        # Quantiles are numbers that rows have.
        wanted = [known[max(0, math.ceil(q * len(known)) - 1)] for q in QUANTILES]
        np.testing.assert_array_equal(one.quantiles, wanted)
        np.testing.assert_array_equal(np.sort(one.values), known)
        assert one.worst.tolist() == (order[:10] if name == "recall" else order[::-1][:10])
    # What was added later is taken for what is there.
    late = SimpleNamespace(arrays={"recall": column}, trust={"recall": -column, "perturbation": column})
    assert [one.name for one in scores_of(late)] == ["recall", "perturbation"]
    np.testing.assert_array_equal(scores_of(late)[0].column, -column)


def test_scores_of_many_rows_are_looked_at_all_over(monkeypatch):
    monkeypatch.setattr("tsne_ooc.report.scores._LOOKED_AT", 10)
    for n in (9, 10, 11, 20, 21, 95):
        (found,) = scores_of(run_with(novelty=np.arange(n, dtype=np.float32)))
        assert len(found.values) <= 10 and found.values[0] == 0 and len(found.values) >= min(n, 5)
        assert found.values[-1] >= 0.7 * (n - 1) and found.worst[0] == n - 1


@pytest.mark.parametrize("kinds", [40, 41])
def test_whole_numbers_of_forty_kinds_are_classes(kinds):
    for numbers in (np.arange(90) % kinds, (np.arange(90) % kinds).astype(float), (np.arange(90) % kinds).astype("u1")):
        found, told = classes_of(numbers, "x")
        if kinds == 40:
            assert found.names[found.codes].tolist() == numbers.tolist() and told == ""
        else:
            assert (found, told) == (None, "x holds numbers on a scale, which have no classes")
    words = classes_of((np.arange(90) % kinds).astype(str), "x")[0]
    assert len(words.names) == kinds
    assert classes_of(np.full(5, np.nan), "x")[0] is None and classes_of([0.5, 1.0], "x")[0] is None


def test_classes_of_most_rows_are_compared(monkeypatch):
    monkeypatch.setattr("tsne_ooc.report.classes.MOST_CLASSES", 3)
    labels = np.array(["a", "b", None, "c", "b", "d", "d", "e", "e", "e"], object)
    found, told = classes_of(labels, "x")
    assert told == "of 5 labels the 3 of most rows are compared by their means"
    assert found.names.tolist() == ["b", "d", "e"] and found.codes.tolist() == [-1, 0, -1, -1, 0, 1, 1, 2, 2, 2]
    many = classes_of([f"{at:03}" for at in range(200)], "x")[0]
    assert many.names.tolist() == ["000", "001", "002"]
    three, told = classes_of(labels[1:7], "x")
    assert told == "" and three.names.tolist() == ["b", "c", "d"] and three.codes.tolist() == [0, -1, 1, 0, 2, 2]


# -------------------------------------------------------------------------------------------------------- several maps


def maps_of(*places):
    return [Subject(f"map {at}", np.asarray(Y, np.float32), None, {}, {}, None, []) for at, Y in enumerate(places)]


def test_what_several_maps_have_in_common_row_by_row():
    from scipy.spatial.distance import cdist

    from tsne_ooc.metrics import displacement

    rng = np.random.default_rng(0)
    places = [rng.normal(size=(60, 2)).astype(np.float32) for _ in range(2)]
    places.append((places[0] + 0.3 * rng.normal(size=(60, 2))).astype(np.float32))
    for Y in (places[0], places[2]):
        Y[[4, 9]] = np.nan
    there = np.delete(np.arange(60), [4, 9])
    found = agreement(maps_of(*places), Threads(2))
    assert (found.k, found.n, found.chance) == (10, 58, 10 / 57) and found.rows.tolist() == there.tolist()
    near = []
    for Y in places:
        apart = cdist(Y[there], Y[there])
        np.fill_diagonal(apart, np.inf)
        near.append(apart.argsort(axis=1)[:, :10])
    shares, moved = [], []
    for pair, (i, j) in zip(found.pairs, itertools.combinations(range(3), 2), strict=True):
        assert (pair.first, pair.second, pair.differ) == (i, j, [])
        shares.append([len(set(a) & set(b)) / 10 for a, b in zip(near[i], near[j], strict=True)])
        assert pair.kept.value == pytest.approx(np.mean(shares[-1])) and pair.kept.error == 0
        one, other = places[i][there].astype(float), places[j][there].astype(float)
        far = displacement(one, other) / np.ptp(other, axis=0).max()
        assert pair.moved == pytest.approx(np.median(far))
        moved += [far] * (i == 0)
    np.testing.assert_allclose(found.kept, np.mean(shares, axis=0))
    np.testing.assert_allclose(found.moved, np.mean(moved, axis=0))
    order = sorted(range(58), key=lambda at: (found.kept[at], -found.moved[at]))
    assert [(found.kept[at], found.moved[at]) for at in found.changed()] == [
        (found.kept[at], found.moved[at]) for at in order[:15]
    ]


@pytest.mark.parametrize("n, k", [(5, 2), (6, 2), (7, 3), (20, 9), (21, 10), (22, 10), (50, 10)])
def test_fewer_neighbours_are_compared_where_there_are_few_rows(n, k):
    Y = np.random.default_rng(0).normal(size=(n, 2))
    found = agreement(maps_of(Y, Y), Threads(1))
    assert found.k == k and (found.kept == 1).all() and found.chance == k / (n - 1)


def test_four_rows_are_too_few_to_compare():
    Y = np.full((9, 2), np.nan)
    Y[:4] = np.eye(4)[:, :2]
    with pytest.raises(ValueError, match=r"^4 rows have a place on all of the maps, which is too few to compare them$"):
        agreement(maps_of(Y, Y), Threads(1))


def test_rows_that_were_drawn_stand_for_all(monkeypatch):
    monkeypatch.setattr("tsne_ooc.report.several.DRAWN", 40)
    rng = np.random.default_rng(0)
    Y, Z = rng.normal(size=(2, 200, 2))
    Y[::50] = np.nan
    one, again, other = (agreement(maps_of(Y, Z), Threads(1), seed) for seed in (0, 0, 1))
    assert len(one.rows) == 40 and (np.diff(one.rows) > 0).all() and one.pairs[0].kept.error > 0
    assert np.isfinite(Y[one.rows]).all() and (one.rows != other.rows).any()
    np.testing.assert_array_equal(one.rows, again.rows)


@pytest.mark.parametrize("d, e", [(1, 2), (2, 1), (2, 3), (1, 3)])
def test_maps_of_other_numbers_of_axes_are_laid_on_each_other(d, e):
    """On axes that only one has, rows of the other are at nought."""
    from tsne_ooc.metrics import displacement

    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(30, d)), rng.normal(size=(30, e))
    wide = [np.c_[Y, np.zeros((30, max(d, e) - Y.shape[1]))] for Y in (one, other)]
    far = displacement(*(Y.astype(np.float32).astype(float) for Y in wide)) / np.ptp(wide[1], axis=0).max()
    np.testing.assert_allclose(agreement(maps_of(one, other), Threads(1)).moved, far, rtol=1e-5)


def test_a_map_in_one_place_has_no_width_to_measure_by():
    Y = np.random.default_rng(0).normal(size=(30, 2))
    assert np.isfinite(agreement(maps_of(Y, np.ones((30, 2))), Threads(1)).moved).all()


def test_labels_that_keep_the_fewest_neighbours_come_first(monkeypatch):
    monkeypatch.setattr("tsne_ooc.report.stays._LABELS", 3)
    monkeypatch.setattr("tsne_ooc.report.pictures.has_matplotlib", lambda: False)
    kept = np.array([0.5, 0.25, 0.0, 1.0, 0.75, 0.5, 0.125])
    labels = np.array(["a", "b", None, "c", "a", "d", "unseen", "d"], object)
    compared = Agreement(
        4, np.array([0, 1, 2, 3, 4, 5, 7]), 8, kept, np.arange(7) / 100,
        [Pair(0, 1, Estimate(0.5, 0.0), 0.125, []), Pair(0, 2, Estimate(0.25, 0.015), 0.25, ["a < b"])], 0.5,
    )  # fmt: skip
    page = stays(compared, maps_of(*np.zeros((3, 8, 2))), labels, Threads(1))
    assert cells(page) == [
        ["maps", "neighbours kept", "moved", "what was asked for otherwise"],
        ["map 0 and map 1", "0.500", "0.125", "nothing that is known"],
        ["map 0 and map 2", "0.250 ± 0.015", "0.250", "a < b"],
        ["two maps at random", "0.500", "", "the number of neighbours over that of other rows"],
        ["the same run once more", "1.000", "", "the same seed gives the same bits"],
        ["row", "label", "neighbours kept", "moved"],
        ["2", "None", "0.00", "0.020"], ["7", "d", "0.12", "0.060"], ["1", "b", "0.25", "0.010"],
        ["5", "d", "0.50", "0.050"], ["0", "a", "0.50", "0.000"], ["4", "a", "0.75", "0.040"],
        ["3", "c", "1.00", "0.030"],
        ["label", "neighbours kept", "rows looked at"],
        ["b", "0.250", "1"], ["d", "0.312", "2"], ["a", "0.625", "2"],
    ]  # fmt: skip
    assert "Of 7 rows the 4 nearest on each map are compared." in page
    # Columns of numbers are set below each other: two of each table, in each row and above them.
    assert page.count('class="n"') == 2 * len(cells(page)) and all(
        found.count('class="n"') == 2 and '<th scope="col" class="n">neighbours kept</th>' in page
        for found in re.findall("<tr>.*?</tr>", page)
    )
    plain = stays(compared, [one._replace(name="same") for one in maps_of(*np.zeros((3, 8, 2)))], None, Threads(1))
    assert cells(plain)[1][0] == "same (1) and same (2)" and cells(plain)[5] == ["row", "neighbours kept", "moved"]
    assert cells(plain)[6] == ["2", "0.00", "0.020"] and "label" not in "".join(map("".join, cells(plain)))


# ------------------------------------------------------------------------------------------------------ how it was made


def told_of(**content):
    return [(one.what, one.chosen, one.why) for one in choices(subject(**content))]


@pytest.mark.parametrize("asked, how", [
    ({"class": "UniformSample", "size": 9}, "drawn uniformly"),
    ({"class": "Coverage", "size": 9}, "drawn evenly over the space of the data"),
    ({"class": "Mine", "size": 9, "by": "x"}, "drawn by Mine(size=9, by='x')"), (None, "given"), ("<array>", "given"),
])  # fmt: skip
@pytest.mark.parametrize("fitted", [1199, 1200, 1201])
def test_which_rows_were_fitted_and_why(asked, how, fitted):
    found = told_of(n_samples=1200, sample=fitted, job={"request": {"sample": asked}})
    assert found == (
        [("fitted rows", f"1,199 of 1,200, {how}", "the others are placed on their map")]
        if fitted < 1200
        else [("fitted rows", "all 1,200", "the table has no more than the sample was to have")]
    )
    assert told_of(sample=3) == told_of(n_samples=3) == []


def test_choices_in_the_order_of_the_work():
    refined = {"neighbors": 90, "n_iter": 500, "pairs": 12345, "recall": 0.98765}
    prepare = [{"class": "PCA", "n": 5}, {"name": 1}, "by hand"]
    found = told_of(n_samples=5, sample=5, job={"request": {"prepare": prepare}}, refined=refined)
    assert found[0] == ("rows", "PCA(n=5), then a step(name=1), then by hand", "asked for")
    assert found[2][:2] == ("all rows together", "90 neighbours of each, 500 iterations, 12,345 pairs")
    assert f"has {late_iterations(0)} iterations, and more beyond {LATE_ROWS:,} rows" in found[2][2]
    assert found[3] == ("neighbours of all rows", "0.988 of the nearest are found", "measured")
    assert [one[0] for one in found] == ["rows", "fitted rows", "all rows together", "neighbours of all rows"]
    assert told_of() == told_of(job={"request": {"prepare": None}}) == []


@pytest.mark.parametrize("parameters, words", [
    ({"schedule": "auto", "n_iter": 9, "early_exaggeration_iter": 1}, "1 iteration at exaggeration 12, momentum 0.8"),
    ({"n_iter": 9, "early_exaggeration_iter": 5, "early_exaggeration": 4.5}, "5 iterations at exaggeration 4.5, "),
])  # fmt: skip
def test_phases_in_words(parameters, words):
    assert _phases(parameters).split("; ")[0].startswith(words)
    assert _phases({"schedule": "<object> [Phase]"}) is None and _phases({"schedule": [1]}) is None
    assert _phases({"n_iter": -1}) is None and _phases({"n_iter": None}) == _phases({})
    assert _course((12.0, 1.5)) == "12 to 1.5" and _course(4.0) == "4"


def test_parameters_that_are_not_the_usual_ones_come_first():
    given = {"perplexity": 30, "dof": 0.5, "affinity": "mixture", "n_jobs": 7, "unheard of": 1, "exaggeration": None}
    assert parameters_of({"parameters": given}) == [
        ("affinity", "'mixture'", "'perplexity'"), ("dof", "0.5", "1"), ("exaggeration", "None", "None"),
        ("perplexity", "30", "30"),
    ]  # fmt: skip
    # Both in the order of their names.
    given = {"perplexity": 31, "metric": "cosine", "dof": 1, "affinity": "perplexity", "n_components": 3}
    assert [name for name, *_ in parameters_of({"parameters": given})] == [
        "metric", "n_components", "perplexity", "affinity", "dof"
    ]  # fmt: skip
    assert parameters_of({}) == parameters_of({"parameters": None}) == []


def facts(**content):
    page = made(subject(**content))
    return dict(row for row in cells(page) if len(row) == 2)


def test_the_facts_of_a_map():
    source = {"path": "x.h5", "dataset": "/X", "shape": [1200, 3], "dtype": "<f4", "probes": "abc"}
    found = facts(
        task="embed", job={"source": source, "request": {}}, model="the model", random_state=0, kl_divergence=1.23456,
        n_iter=60, dropped=1500,
        refined={"kl_divergence": 2.5, "n_iter": 70, "neighbors": 3, "pairs": 4, "recall": 1.0},
    )  # fmt: skip
    assert found == {
        "made by": "tsne-ooc embed", "table": "x.h5, /X", "its shape and type": "1,200 x 3, <f4",
        "its digest": "abc (SHA-256 of ten rows all over it)", "placed by": "the model", "seed": "0",
        "divergence of the fit": "1.2346 after 60 iterations",
        "divergence of all rows": "2.5000 after 70 more iterations", "versions": "",
        "rows without a place": "1,500, for want of a value",
    }  # fmt: skip
    for task, words in (("place", "tsne-ooc place"), ("fit", "TSNE.fit"), ("other", "other"), (None, "None")):
        assert facts(task=task, x=1)["made by"] == words
    assert facts(x=1) == {"made by": "unknown", "versions": ""}
    memory = {**source, "path": None, "dataset": None}
    assert facts(job={"source": memory}, source="an array")["table"] == "an array"
    assert facts(job={"source": memory})["table"] == "an array in memory"
    assert made(subject()) == ("<p>Coordinates alone do not tell how they were made; the folder of a run does.</p>")
    several = subject(x=1)._replace(versions={"numpy": "2", "numba": "1"})
    assert "numpy 2, numba 1" in made(several)


def test_time_and_memory_of_each_stage():
    page = made(subject(seconds={"fit": 1234.56, "mine": 0.0}, memory_gb={"fit": 1.234}))
    assert "Time of each stage: fitting 1,234.6 s, 1.23 GB; mine 0.0 s" in page
    assert "Seconds of each stage; the most GB that the process had held by its end." in page
    plain = made(subject(seconds={"fit": 1.0}))
    assert "Seconds of each stage.<" in plain and "GB" not in plain
    assert "Time and memory" not in made(subject(x=1))


@pytest.mark.parametrize("ends", [True, False])
def test_the_course_of_the_optimisation(ends):
    """From the first note to the end; marks are where the last exaggeration begins."""
    history = {"iteration": [25, 50, 75, 100], "exaggeration": [12.0, 12.0, 1.5, 1.5],
               "kl_divergence": [4.0, 3.0, 2.5, 2.25], "step": [0.125, 0.25, 0.0625, 0.03125]}  # fmt: skip
    end = {"n_iter": 120, "kl_divergence": 2.125} if ends else {"n_iter": 120}
    page = made(subject(history=history, **end))
    if not ends:
        assert "The folder does not hold how the optimisation went" in page
        return
    assert "The divergence of the fit goes from 4.000 after 25 iterations to 2.125 after 120." in page
    assert "The steps of the fit are 0.125 map units long after 25 iterations, and 0.0312 after 100." in page
    charts = [ElementTree.fromstring(one) for one in re.findall("<svg.*?</svg>", page)]
    kl, steps = charts[-2:]
    for chart, x, y, logarithmic in (
        (kl, [25, 50, 75, 100, 120], [4, 3, 2.5, 2.25, 2.125], False),
        (steps, [25, 50, 75, 100], history["step"], True),
    ):
        (line,) = chart.iter("polyline")
        shown = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        heights = [math.log(one) if logarithmic else one for one in y]
        wanted = [(across(a, 0, x[-1]), up(b, min(heights), max(heights))) for a, b in zip(x, heights, strict=True)]
        assert np.array(shown) == pytest.approx(np.array(wanted), abs=0.06)
        (mark,) = [one for one in chart.iter("line") if one.get("stroke-dasharray")]
        assert float(mark.get("x1")) == pytest.approx(across(75, 0, x[-1]), abs=0.06)
        assert "exaggeration 1.5" in {one.text for one in chart.iter("text")}
    assert "how the optimisation went" not in made(subject(task="place"))


# ----------------------------------------------------------------------------------------------------------- row by row


@pytest.mark.parametrize("labels", [None, [f"kind {at}" for at in range(30)]])
def test_rows_to_look_at_first_are_named_with_their_scores(labels):
    column = np.linspace(0, 2, 30)
    found = scores_of(run_with(novelty=column, recall=column / 2))
    page = of_rows(found, labels)
    table_ = cells(page)
    assert table_[0] == ["score", "what it is", "1%", "25%", "50%", "75%", "99%"]
    assert [row[0] for row in table_[1:3]] == ["novelty", "recall"]
    # Quantiles are numbers below each other, and no other cells are.
    assert page.count(' class="n"') == 5 * 3 and page.count('<th scope="col" class="n">') == 5
    assert '<th scope="col" class="n">1%</th>' in page and '<th scope="col" class="n">99%</th>' in page
    assert table_[1][1].endswith("high: the sample has nothing like it") and "low: its neighbours" in table_[2][1]
    assert table_[1][2:] == [figures.number(float(one)) for one in found[0].quantiles]
    named = "row (its score)" if labels is None else "row (its score, and its label)"
    assert table_[3] == ["score", named]
    for row, order, scale in ((table_[4], range(29, 19, -1), 1), (table_[5], range(10), 0.5)):
        words = [
            f"{at} ({figures.number(column[at] * scale)}{'' if labels is None else f'; kind {at}'})" for at in order
        ]
        assert row[1] == "; ".join(words)
    assert "This run has no singularity, perturbation of its rows; tsne-ooc trust tells them." in page
    # Words of a histogram for those who do not see it.
    middle, most = (figures.number(float(found[0].quantiles[at])) for at in (2, 4))
    assert f"Histogram of novelty: the middle of the rows has {middle}, and 1 % have more than {most}." in page
    assert of_rows([], labels) == ""
    alone = of_rows(scores_of(run_with(recall=column, singularity=column, perturbation=column)), None)
    assert "This run has no novelty of its rows." in alone


# ---------------------------------------------------------------------------------------------- the table that it is of


@pytest.mark.parametrize("columns, shape, names, left_out, others", [
    (None, 3, ["a", "b", "c"], [], False), (None, 4, ["a", "b", "c", "d"], [], False), ([], 4, None, [], False),
    (["a", "b", "c"], 3, ["a", "b", "c"], [], False), (["a", "b", "c"], 3, None, [], False),
    (["a", "b", "c"], 4, ["a", "b", "c", "d"], [], True), (["a", "b", "c"], 2, None, [], True),
    (["a", "b", "c"], 3, ["c", "b", "a"], [], True), (["a", "b", "c"], 3, ["x", "y", "z"], [], False),
    (["a", "b", "c"], 3, ["a", "b", "x"], [], False), (["a", "b", "c"], 3, ["a", "b", "x"], ["c", "d"], True),
    (["a", "b", "c"], 3, ["x", "y", "z"], ["a", "b", "c"], True), (["a", "b", "c"], 3, ["x", "y", "z"], ["a"], False),
])  # fmt: skip
def test_a_table_of_other_columns_is_read_by_those_of_the_map(monkeypatch, columns, shape, names, left_out, others):
    """Where they are there under their names; a copy may have names of its own."""
    monkeypatch.setattr(subjects, "names_of", lambda table: names)
    monkeypatch.setattr(subjects, "account_of", lambda table: {"left_out": dict.fromkeys(left_out, "words")})
    facts = {"shape": [9, 3]} if columns is None else {"shape": [9, 3], "columns": columns}
    assert subjects._has_others(SimpleNamespace(shape=(9, shape)), facts) is others


@pytest.mark.parametrize("facts, name", [
    ({}, None), ({"dataset": None}, None), ({"dataset": "/X"}, "X"), ({"dataset": "/a/b/"}, "a/b"),
    ({"dataset": "/"}, None), ({"dataset": ""}, None), ({"dataset": "X"}, "X"),
])  # fmt: skip
def test_the_name_of_a_table_within_its_file(facts, name):
    assert subjects._dataset(facts) == name


@pytest.mark.parametrize("metric, given, taken", [
    ("euclidean", None, None), ("cosine", None, None), ("precomputed", None, None), ("precomputed", {"a": 1}, {"a": 1}),
    ("minkowski", {"p": 3}, {"p": 3}), ("seuclidean", None, "V"), ("seuclidean", {"V": [1.0, 2.0, 3.0]}, "given"),
])  # fmt: skip
@pytest.mark.parametrize("kept", [True, False])
def test_what_a_metric_took_from_the_rows_is_part_of_it(metric, given, taken, kept):
    """Of a model that does not keep its rows that is not known any more."""
    rows = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32) * np.float32([1, 5, 25])

    class Index:
        @property
        def rows(self):
            if not kept:
                raise NotImplementedError
            return rows

    index = Index()
    index.metric = metric
    model = SimpleNamespace(index=index)
    placer = SimpleNamespace(estimator=SimpleNamespace(map_=SimpleNamespace(model=model), metric_params=given))
    found, params = subjects._metric_of(placer)
    assert found == metric
    if taken == "V" and kept:
        np.testing.assert_allclose(params["V"], rows.astype(float).var(axis=0, ddof=1), rtol=1e-6)
    elif taken == "given":
        np.testing.assert_allclose(params["V"], [1, 2, 3])
    else:
        assert params == (None if taken == "V" else taken)
    # An encoder has no parameters of a metric to tell.
    bare = SimpleNamespace(estimator=SimpleNamespace(map_=SimpleNamespace(model=model)))
    assert metric in ("minkowski", "seuclidean") or subjects._metric_of(bare) == (metric, None)
