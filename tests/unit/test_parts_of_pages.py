"""What the page of a map holds, part by part: cells of columns, places, names, and the rows that stand for all."""

from __future__ import annotations

import base64
import gzip
import io
import json
import math
import re
import struct
import zlib

import numpy as np
import pytest
from scipy.optimize import brentq

from tsne_ooc._parallel import Threads
from tsne_ooc.plot.density import count, depth_of
from tsne_ooc.plot.frame import Frame
from tsne_ooc.plot.rows import MapRows, Together
from tsne_ooc.report.classes import classes_of
from tsne_ooc.view import page as pages
from tsne_ooc.view import view
from tsne_ooc.view.payload import (
    column_for,
    gaps,
    json_in_html,
    numbers_of,
    packed,
    places,
    plain,
    png,
    short,
    texts_of,
)
from tsne_ooc.view.stratified import stratified

ALL = np.arange(60)
FRAME = Frame(np.array([-1.0, 2.0]), np.array([3.0, 3.0]), 0, 0)


def square(frame=FRAME):
    low, high = frame.square()
    return low, (high - low)[0]


# -------------------------------------------------------------------------------------------------------------- columns


def read(told, cells):
    """The cells of a column as the page reads them."""
    if told["kind"] == "texts":
        return cells.decode().split("\n")
    if told["kind"] == "numbers":
        return np.frombuffer(cells, "<f4").tolist()
    codes = np.frombuffer(cells, np.uint8 if told["bytes"] == 1 else "<u2").tolist()
    names = [*told["names"], None]
    return [names[code] for code in codes]


@pytest.mark.parametrize("kinds", [1, 2, 40, 41, 59])
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float64, np.float32])
def test_whole_numbers_of_forty_kinds_are_numbered_and_more_are_numbers(kinds, dtype):
    given = ((ALL * 7) % kinds).astype(dtype)
    told, cells = column_for("x", given, ALL)
    assert told["name"] == "x" and told["kind"] == ("kinds" if kinds <= 40 else "numbers")
    if kinds <= 40:
        assert [float(one) for one in read(told, cells)] == given.tolist() and told["bytes"] == 1
        assert told["counts"] == np.bincount(given.astype(int)).tolist() and told["missing"] == 0
        assert [float(name) for name in told["names"]] == list(range(kinds))
    else:
        assert read(told, cells) == given.tolist() and (told["low"], told["high"]) == (0, kinds - 1)


@pytest.mark.parametrize("given, kind", [
    ([0.5, 1.5, np.nan], "numbers"), ([1.0, 2.0, np.nan], "kinds"), ([True, False, True], "kinds"),
    ([-2, -1, 0], "kinds"), ([np.nan] * 3, "kinds"), (["1", "2", None], "kinds"), ([True, None, False], "kinds"),
])  # fmt: skip
def test_what_is_a_kind_and_what_a_number(given, kind):
    array = np.array(given, object if None in given else None)
    told, cells = column_for("x", array, np.arange(3))
    assert told["kind"] == kind
    found = read(told, cells)
    for one, wanted in zip(found, array.tolist(), strict=True):
        missing = wanted is None or wanted != wanted
        assert (one is None or one != one) if missing else str(wanted) == str(one)


@pytest.mark.parametrize("made", [
    lambda numbers, there: [one if known else None for one, known in zip(numbers.tolist(), there, strict=True)],
    lambda numbers, there: np.where(there, numbers.astype(object), None),
    lambda numbers, there: np.ma.masked_array(numbers, ~there),
], ids=["list", "objects", "mask"])  # fmt: skip
@pytest.mark.parametrize("numbers", [np.linspace(-1, 1, 60), ALL, ALL % 7], ids=["fractions", "many", "few"])
def test_numbers_of_which_some_are_missing_are_numbers(made, numbers):
    """As they are where a picture is drawn, however they were kept."""
    there = ALL % 4 > 0
    plain = np.where(there, numbers, np.nan)
    told, cells = column_for("x", made(numbers, there), ALL)
    wanted, wanted_cells = column_for("x", plain, ALL)
    if "names" in told:
        # Whole numbers stay whole; an array with NaN holds none.
        assert [float(name) for name in told["names"]] == [float(name) for name in wanted.pop("names")]
        assert told.pop("names") == [str(kind) for kind in range(7)]
    assert (told, cells) == (wanted, wanted_cells)
    assert told["kind"] == ("kinds" if numbers.max() == 6 else "numbers")
    one, other = (classes_of(labels, "x") for labels in (made(numbers, there), plain))
    assert one[1] == other[1] and (one[0] is None) == (other[0] is None) == (numbers.max() != 6)
    if one[0] is not None:
        assert one[0].names.tolist() == other[0].names.tolist() and one[0].codes.tolist() == other[0].codes.tolist()


@pytest.mark.parametrize("kinds", [253, 254, 255, 256, 257, 300])
def test_cells_take_two_bytes_where_one_cannot_number_them(kinds):
    """The number behind the last label is for a missing one."""
    words = np.array([f"w{at:03}" for at in range(kinds)] + [None] * 2, object)
    rows = np.arange(len(words))[::-1]
    told, cells = column_for("x", words, rows)
    assert told["bytes"] == (1 if kinds < 255 else 2) and len(cells) == told["bytes"] * len(words)
    assert read(told, cells) == words[::-1].tolist()
    assert (told["counts"], told["missing"]) == ([1] * kinds, 2)


@pytest.mark.parametrize("kinds, kind", [(98, "kinds"), (99, "kinds"), (100, "texts"), (101, "texts")])
def test_words_that_two_bytes_cannot_number_are_texts(kinds, kind, monkeypatch):
    monkeypatch.setattr("tsne_ooc.view.payload.MOST_KINDS", 100)
    words = np.array([f"w {at}" for at in range(kinds)] + [None, "a\nb\tc" if kinds > 100 else None], object)
    told, cells = column_for("x", words, np.arange(len(words)))
    assert told["kind"] == kind
    if kind == "texts":
        assert read(told, cells) == [*words[:kinds], "", "a b c" if kinds > 100 else ""] and set(told) == {
            "name",
            "kind",
        }


def test_columns_are_of_the_rows_that_are_shown_and_keep_the_order_of_categories():
    pandas = pytest.importorskip("pandas")
    rows = np.array([1, 3, 4, 59])
    labels = pandas.Categorical.from_codes(np.where(ALL % 5, ALL % 3, -1), ["z", "a", "m"])
    told, cells = column_for("x", labels, rows)
    assert told["names"] == ["z", "a", "m"] and read(told, cells) == ["a", "z", "a", "m"]
    assert told["counts"] == [1, 2, 1] and told["missing"] == 0
    assert column_for("x", labels, np.array([0, 5]))[0]["missing"] == 2
    # Categories that are numbers are kinds whatever they are.
    numbers = pandas.Categorical(np.array([0.5, 30, 4])[ALL % 3], categories=[30, 4, 0.5])
    told, cells = column_for("x", numbers, rows)
    assert told["kind"] == "kinds" and [float(one) for one in read(told, cells)] == [30, 0.5, 30, 4]
    assert read(*column_for("x", np.linspace(0, 1, 60), rows)) == np.linspace(0, 1, 60)[rows].astype("f4").tolist()


@pytest.mark.parametrize("given, low, high", [
    ([1.5, -2.5, np.nan, np.inf, -np.inf], -2.5, 1.5), ([np.nan, np.inf], 0.0, 1.0), ([], 0.0, 1.0), ([7], 7.0, 7.0),
])  # fmt: skip
def test_numbers_have_the_ends_of_their_scale(given, low, high):
    told, cells = numbers_of("x", np.array(given))
    assert told == {"name": "x", "kind": "numbers", "low": low, "high": high}
    np.testing.assert_array_equal(np.frombuffer(cells, "<f4"), np.array(given, np.float32))
    json.dumps(told, allow_nan=False)


def test_texts_are_lines():
    words = ["a\nb", None, b"\xc3\xa9t\xc3\xa9", float("nan"), "\ud800", "x" * 300, 7]
    told, cells = texts_of("x", np.array(words, object))
    assert told == {"name": "x", "kind": "texts"}
    assert cells.decode().split("\n") == ["a b", "", "été", "", "?", "x" * 199 + "…", "7"]


@pytest.mark.parametrize("n", [0, 1, 199, 200, 201, 500])
def test_names_on_a_page_have_two_hundred_letters_at_most(n):
    assert short("x" * n) == ("x" * n if n <= 200 else "x" * 199 + "…")
    assert short(b"y" * n) == short("y" * n) and len(short("x" * n)) <= 200


@pytest.mark.parametrize("rows", [[0], [5], [0, 1, 2], [7, 9, 100, 2**31, 2**32 - 1], []])
def test_row_numbers_are_the_sums_of_their_steps(rows):
    data = gaps(np.array(rows, np.int64))
    assert np.cumsum(np.frombuffer(data, "<u4"), dtype=np.int64).tolist() == rows and len(data) == 4 * len(rows)


def test_bytes_are_text_and_the_same_each_time():
    data = bytes(range(256)) * 50
    assert base64.b64decode(plain(data)) == data and gzip.decompress(base64.b64decode(packed(data))) == data
    # No time of day is in it.
    assert base64.b64decode(packed(data))[4:8] == bytes(4) and len(packed(data)) < len(plain(data)) / 10


def test_json_within_a_page_ends_no_element():
    value = {"a</script>": ["<!--", "&amp;", "\u2028\u2029", "é\U0001f9ec", 1.5, None, True]}
    text = json_in_html(value)
    assert json.loads(text) == value and not set(text) & set("<>&\u2028\u2029")
    assert "é\U0001f9ec" in text and ": " not in text and ", " not in text
    with pytest.raises(ValueError):
        json_in_html({"x": math.nan})


def test_places_are_shares_of_the_square():
    rng = np.random.default_rng(0)
    low, width = square()
    Y = (low + width * rng.uniform(0, 1, (50, 2))).astype(np.float32)
    Y[:4] = [low - 1, low + width + 1, low, low + width]
    x, y = np.frombuffer(places(Y, FRAME), "<u2").reshape(2, 50).tolist()
    wanted = [[min(max((at - a) / width, 0), 1) * 65_535 for at, a in zip(row, low, strict=True)] for row in Y.tolist()]
    assert np.abs(np.c_[x, y] - wanted).max() <= 0.51
    assert (x[0], y[0], x[1], y[1]) == (0, 0, 65_535, 65_535)


def test_images_are_cut_at_black_and_white():
    matplotlib = pytest.importorskip("matplotlib.image")
    image = np.zeros((2, 3, 4))
    image[0, 0], image[1, 2] = [-5, 0.5, 9, 1], [1, 0, 0.25, 0.5]
    found = matplotlib.imread(io.BytesIO(png(image)))
    assert found.shape == (2, 3, 4)
    np.testing.assert_allclose(found[::-1], np.clip(image, 0, 1), atol=0.5 / 255 + 1e-6)


# ------------------------------------------------------------------------------------------- rows that stand for others


def tickets(n):
    """SplitMix64 in plain whole numbers."""
    found = []
    for at in range(1, n + 1):
        state = at * 0x9E3779B97F4A7C15 % 2**64
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ state >> 27) * 0x94D049BB133111EB % 2**64
        found.append((state ^ state >> 31 >> 0) >> 11)
    return [one / 2**53 for one in found]


def drawn(Y, frame, codes, most):
    """The rows that are drawn, row by row."""
    low, width = square(frame)
    across = int(min(max(math.sqrt(most / 64), 1), 64))
    kinds = [0] * len(Y) if codes is None else codes.tolist()
    strata = {}
    for row, (place, kind) in enumerate(zip(Y.astype(float).tolist(), kinds, strict=True)):
        if all(map(math.isfinite, place)):
            cell = tuple(
                int(min(max((at - a) / width * across, 0), across - 1)) for at, a in zip(place, low, strict=True)
            )
            strata[row] = (("cell", *cell), ("kind", kind))
    sizes = {}
    for row in strata:
        for one in strata[row]:
            sizes[one] = sizes.get(one, 0) + 1
    least = {}
    for what in ("cell", "kind"):
        some = [one for one in sizes if one[0] == what]
        each = min(8, most / 8 / max(1, len(some)))
        least |= {one: min(1.0, each / sizes[one]) for one in some}
    more = lambda share: sum(max(least[one] - share, 0) * sizes[one] for one in sizes)  # noqa: E731
    excess = lambda share: share * len(strata) + more(share) - most  # noqa: E731
    share = 1.0 if excess(1.0) <= 0 else brentq(excess, 0, 1, xtol=1e-14) if excess(0.0) < 0 else 0.0
    ticket = tickets(len(Y))
    chance = {row: max(share, *(least[one] for one in strata[row])) for row in strata}
    taken = [row for row in strata if ticket[row] < chance[row]]
    return sorted(sorted(taken, key=lambda row: ticket[row] / chance[row])[:most])


@pytest.mark.parametrize("most", [1, 7, 64, 200, 256, 900, 999, 1000, 5000])
@pytest.mark.parametrize("labels", ["none", "few", "rare", "rather rare", "many"])
def test_the_rows_that_stand_for_all_are_drawn_by_their_numbers(most, labels, monkeypatch):
    rng = np.random.default_rng(0)
    Y = rng.normal(size=(1001, 2)).astype(np.float32)
    Y[:5] += 6
    Y[17] = np.nan
    Y[30, 1] = np.inf
    there = Y[np.isfinite(Y).all(axis=1)]
    frame = Frame(there.min(axis=0).astype(float), there.max(axis=0).astype(float), 0, 2)
    codes = {"none": None, "few": ALL[np.arange(1001) % 60] % 4, "rare": (np.arange(1001) % 250 == 3).astype(int),
             "rather rare": (np.arange(1001) % 33 == 3).astype(int),
             "many": rng.integers(0, 300, 1001)}[labels]  # fmt: skip
    wanted = drawn(Y, frame, codes, most)
    for block in (1 << 21, 97):
        monkeypatch.setattr("tsne_ooc.plot.rows.SHADED", block)
        found = stratified(MapRows(Y), frame, None if codes is None else codes.astype(np.uint16), most)
        assert found.tolist() == wanted and len(found) <= most
    if most >= 1000:
        assert len(wanted) == 999


# -------------------------------------------------------------------------------------------------------- page itself


def test_names_are_written_where_most_rows_of_a_label_are():
    """On a row of the label, in its fullest part; labels of most rows come first, and forty have a name at most."""
    rng = np.random.default_rng(0)
    low, width = square()
    Y = (low + width * rng.uniform(0.05, 0.95, (600, 2))).astype(np.float32)
    codes = np.arange(600) % 50
    for label in range(50):
        own = np.flatnonzero(codes == label)[:8]
        Y[own] = Y[own[0]] + 0.002 * rng.normal(size=(8, 2))
    # What lies at the rim, or beyond it, is in the last cells.
    Y[codes == 3] = low + width * 1.2
    Y[codes == 4] = low - width
    counts = np.arange(50)[::-1] + 10
    counts[[7, 8]] = 500
    found = pages.anchors(Y, codes, counts, FRAME)
    order = sorted(range(50), key=lambda label: -counts[label])[:40]
    assert [label for label, _ in found] == order
    for label, row in found:
        assert codes[row] == label
        if label not in (3, 4):
            assert np.linalg.norm(Y[row] - Y[np.flatnonzero(codes == label)[:8]].mean(axis=0)) < 0.02 * width


@pytest.mark.parametrize("shown, behind, frame, note", [
    (9, "", FRAME, ""),
    (5, "", FRAME, "5 of 10 rows are shown one by one, drawn evenly over the map and its labels; the grey picture "
     "behind them is of all rows"),
    (9, "the map", FRAME, "the grey picture behind them is of the map"),
    (5, "the map", Frame(FRAME.low, FRAME.high, 0, 1), "5 of 10 rows are shown one by one, drawn evenly over the map "
     "and its labels; the grey picture behind them is of all rows and the map; 1 row without coordinates"),
])  # fmt: skip
def test_what_a_reader_of_the_page_has_to_know(shown, behind, frame, note):
    assert pages._note(10, 9, shown, frame, behind) == note


@pytest.mark.parametrize("wide", [1, 3, 5, 7])
def test_a_row_of_a_small_map_behind_is_a_disc(wide):
    low, width = square()
    Y = np.array([[0.25, 0.25], [0.75, 0.5], [0.75, 0.5]]) * width + low + 1e-3
    found = pages._density(Together(MapRows(Y)), FRAME, wide, Threads(1))
    cells = found[..., 3] > 0
    across = range(-(wide // 2), wide // 2 + 1)
    disc = {(a, b) for a in across for b in across if a * a + b * b <= wide * wide / 4}
    assert cells.sum() == 2 * len(disc)
    (up, left), (_, right) = np.argwhere(cells).min(axis=0), np.argwhere(cells).max(axis=0)
    middle = 200 + int(1e-3 / width * 800), 600
    assert {(a - 200, b - 200) for a, b in np.argwhere(cells[:300, :300]).tolist()} == disc and left == 200 - wide // 2
    assert right == middle[1] + wide // 2 and up == 200 - wide // 2
    # Colours are multiplied by their opacity, and what is fuller is not fainter.
    np.testing.assert_allclose(found[..., :3], 0.55 * found[..., 3:].repeat(3, axis=2))
    assert found[400, 600, 3] >= found[200, 200, 3] > 0.1 and found.max() <= 0.8


@pytest.mark.parametrize("n, wide", [(3, 7), (4, 5), (6, 5), (7, 3), (9, 3), (10, 1)])
def test_rows_of_a_map_behind_are_the_wider_the_fewer_they_are(n, wide, monkeypatch, tmp_path):
    monkeypatch.setattr(pages, "_WIDTHS", ((3, 7), (6, 5), (9, 3)))
    seen = []
    monkeypatch.setattr(pages, "_write", lambda *given: None)
    monkeypatch.setattr(
        pages, "_density", lambda rows, frame, wide, threads: seen.append((rows.n, wide)) or np.zeros((2, 2, 4))
    )
    Y = np.random.default_rng(0).normal(size=(30, 2))
    view(Y[:2], behind=Y[:n], out=tmp_path / "map.html")
    # Where not all rows are shown, the picture has these, too.
    view(Y, most=5, out=tmp_path / "more.html")
    view(Y, most=5, behind=Y[:n], out=tmp_path / "both.html")
    view(Y, most=30, out=tmp_path / "none.html")
    assert seen == [(n, wide), (30, 1), (30 + n, wide)]


def test_columns_are_called_by_their_names_or_their_files(tmp_path):
    for name in ("a.csv", "b.NPY", "c.txt"):
        if name.endswith("NPY"):
            with open(tmp_path / name, "wb") as file:
                np.save(file, np.arange(3))
        else:
            (tmp_path / name).write_text("1\n2\n4\n")
    files = [str(tmp_path / name) for name in ("a.csv", "b.NPY", "c.txt")]
    found = pages._labels(files[0], [*files, files[1]], 3, None, None)
    assert list(found) == ["a", "b", "c"] and [list(one) for one in found.values()] == [[1, 2, 4], [0, 1, 2], [1, 2, 4]]
    assert list(pages._labels([7, 8, 9], files[:1], 3, None, None)) == ["label", "a"]
    assert pages._labels(None, [], 3, None, None) == {}
    # A dot in the name of a gene, or of a file that is no column by itself, is a part of it.
    assert [pages._called(one) for one in ("HLA.1", "a.b/c.h5", "x/y.TSV", "gene", ".csv")] == [
        "HLA.1", "a.b/c.h5", "y", "gene", ".csv"
    ]  # fmt: skip
    # Labels that are given are not lost where a column has the name that they get.
    (tmp_path / "label.csv").write_text("1\n2\n4\n")
    assert list(pages._labels([7, 8, 9], [str(tmp_path / "label.csv")], 3, None, None)["label"]) == [7, 8, 9]
    with pytest.raises(ValueError, match=r"^color has 2 rows, and the map 1,000$"):
        pages._labels([1, 2], [], 1000, None, None)


# ------------------------------------------------------------------------------------------------- whole, but not large


def meta_of(path):
    """What the page at a path is told of its map, and the cells of its columns."""
    text = path.read_text(encoding="utf-8")
    meta = json.loads(re.search('<script[^>]*id="meta"[^>]*>(.*?)</script>', text)[1])
    parts = dict(re.findall('id="part-([a-z0-9]+)">(.*?)</script>', text))
    cells = [gzip.decompress(base64.b64decode(parts[f"column{at}"])) for at in range(len(meta["columns"]))]
    rows = np.arange(meta["n"])
    if "rows" in parts:
        rows = np.cumsum(np.frombuffer(gzip.decompress(base64.b64decode(parts["rows"])), "<u4"))
    return meta, cells, rows, parts


def test_a_page_that_is_there_is_kept_unless_it_is_to_be_replaced(tmp_path):
    out, Y = tmp_path / "map.html", np.random.default_rng(0).normal(size=(9, 2))
    out.write_text("mine")
    with pytest.raises(FileExistsError):
        view(Y, out=out)
    for most, error in (
        (0, ValueError),
        (-1, ValueError),
        (2.5, (TypeError, ValueError)),
        ("all", (TypeError, ValueError)),
    ):
        with pytest.raises(error, match=r"^most="):
            view(Y, out=out, overwrite=True, most=most)
    assert out.read_text() == "mine"
    assert view(Y, out=str(out), overwrite=True) == out and "<html" in out.read_text(encoding="utf-8")


@pytest.mark.parametrize("most, density", [(1, True), (8, True), (9, False), (10, False)])
@pytest.mark.parametrize("block", [4, 1 << 21])
def test_as_many_rows_are_shown_as_are_asked_for_of_those_that_have_a_place(
    tmp_path, monkeypatch, most, density, block
):
    """A row that lacks one of its coordinates has none, in whatever block it is read."""
    monkeypatch.setattr("tsne_ooc.plot.rows.SHADED", block)
    Y = np.random.default_rng(0).normal(size=(11, 2))
    Y[2, 0], Y[7, 1] = np.nan, np.inf
    there = np.delete(np.arange(11), [2, 7])
    meta, cells, rows, parts = meta_of(view(Y, np.arange(11) / 8, out=tmp_path / "map.html", most=most))
    assert (meta["n"], meta["all"], meta["density"], "density" in parts) == (11, False, density, density)
    assert meta["shown"] == len(rows) <= most and set(rows) <= set(there.tolist())
    if most >= 9:
        assert rows.tolist() == there.tolist()
    assert (
        np.frombuffer(cells[0], "<f4").tolist() == (rows / 8).tolist() and "2 rows without coordinates" in meta["note"]
    )
    assert ("one by one" in meta["note"]) == density


@pytest.mark.parametrize("kinds", [3, 254, 255, 300])
def test_names_of_many_labels_are_at_rows_that_have_them(tmp_path, kinds):
    """In one byte and in two; of labels that come in some order, also those that no row has are there."""
    pandas = pytest.importorskip("pandas")
    n = 600
    rng = np.random.default_rng(0)
    codes = np.r_[np.arange(kinds), rng.integers(0, 3, n - kinds)]
    names = [f"w{at:03}" for at in range(kinds)]
    labels = pandas.Categorical.from_codes(codes, names)
    for most in (n, 400):
        meta, cells, rows, _ = meta_of(view(rng.normal(size=(n, 2)), labels, out=tmp_path / f"{most}.html", most=most))
        column = meta["columns"][0]
        shown = np.frombuffer(cells[0], np.uint8 if kinds < 255 else "<u2")
        assert column["names"] == names and shown.tolist() == codes[rows].tolist()
        assert column["bytes"] == (1 if kinds < 255 else 2) and shown.max() < kinds
        assert column["counts"] == np.bincount(shown, minlength=kinds).tolist()
        order = sorted(range(kinds), key=lambda at: -column["counts"][at])[:40]
        assert [label for label, _ in column["anchors"]] == [at for at in order if column["counts"][at]]
        assert all(shown[row] == label for label, row in column["anchors"])


def test_of_drawn_rows_those_of_rare_labels_are_kept_wherever_they_are(tmp_path):
    """By the column to colour by where it has labels; by numbers, and without a column, none is rare."""
    n = 3000
    Y = np.random.default_rng(0).normal(size=(n, 2))
    rare = np.flatnonzero(np.arange(n) % 300 == 7)
    many = np.arange(n) // 10
    many[rare] = 300 + np.arange(len(rare)) % 2
    found = {}
    for name, labels in (
        ("rare", np.isin(np.arange(n), rare)), ("many", many.astype(str)), ("number", np.linspace(0, 1, n)),
        ("none", None),
    ):  # fmt: skip
        meta, _, found[name], _ = meta_of(view(Y, labels, out=tmp_path / f"{name}.html", most=150))
        assert meta["shown"] == len(found[name]) <= 150
        assert ["anchors" in one for one in meta["columns"]] == ([] if labels is None else [name != "number"])
    frame = Frame.around(MapRows(Y), Threads(1))
    for name, codes in (("rare", np.isin(np.arange(n), rare)), ("number", None), ("none", None),
                        ("many", np.unique(many.astype(str), return_inverse=True)[1])):  # fmt: skip
        codes = None if codes is None else codes.astype(np.int64)
        assert found[name].tolist() == stratified(MapRows(Y), frame, codes, 150).tolist()
    assert np.isin(rare, found["rare"]).sum() > 5 > np.isin(rare, found["none"]).sum()


def test_only_the_column_to_colour_by_has_names_on_the_map(tmp_path):
    Y = np.random.default_rng(0).normal(size=(30, 2))
    for name, cells in (("numbers", np.linspace(0, 1, 30)), ("kinds", np.arange(30) % 3)):
        np.save(tmp_path / f"{name}.npy", cells)
    for first, other in (("numbers", "kinds"), ("kinds", "numbers")):
        files = [str(tmp_path / f"{one}.npy") for one in (first, other)]
        meta, *_ = meta_of(view(Y, files[0], columns=files, out=tmp_path / f"{first}.html"))
        assert [one["name"] for one in meta["columns"]] == [first, other]
        assert ["anchors" in one for one in meta["columns"]] == [first == "kinds", False]
    assert meta_of(view(Y, columns=files[:1], out=tmp_path / "further.html"))[0]["columns"][0]["anchors"]
    meta, *_ = meta_of(view(Y, out=tmp_path / "none.html", title="a  <title>"))
    assert meta["columns"] == [] and meta["title"] == "a <title>" and meta["caption"] == ""
    assert "<title>a &lt;title&gt;</title>" in (tmp_path / "none.html").read_text(encoding="utf-8")


def test_a_name_is_on_the_row_nearest_to_the_middle_of_the_fullest_cell():
    """Of a hundred cells across the square, row by row."""
    rng = np.random.default_rng(0)
    low, width = square()
    for at in np.r_[[[0, 0], [99, 99], [0, 50], [99, 3], [1, 98]], rng.integers(0, 100, (15, 2))]:
        inside = low + (at + rng.uniform(0.02, 0.98, (30, 2))) / 100 * width
        Y = np.r_[inside, low + rng.uniform(0, 1, (10, 2)) * width].astype(np.float32)
        order = rng.permutation(40)
        middle = low + (at + 0.5) / 100 * width
        ((label, row),) = pages.anchors(Y[order], np.zeros(40, np.uint8), np.array([40]), FRAME)
        apart = np.linalg.norm(Y[order] - middle, axis=1)
        assert label == 0 and apart[row] == pytest.approx(apart.min(), rel=1e-5)


def test_rows_of_a_map_behind_are_discs_around_their_cells(monkeypatch, tmp_path):
    """An odd number of cells wide, of which one is in the middle, and the narrower the more rows there are."""
    seen = []
    monkeypatch.setattr(pages, "_write", lambda *given: None)
    monkeypatch.setattr(pages, "_density", lambda rows, frame, wide, threads: seen.append(wide) or np.zeros((2, 2, 4)))
    Y = np.zeros((300_001, 2), np.float32)
    Y[0] = 1
    for n in (3, 3_000, 3_001, 30_000, 30_001, 300_000, 300_001):
        view(Y[:2], behind=Y[:n], out=tmp_path / f"{n}.html")
    assert seen[0] == seen[1] > seen[2] == seen[3] > seen[4] == seen[5] > seen[6] == 1
    assert all(wide % 2 == 1 for wide in seen)


def test_a_cell_is_as_strong_as_the_share_of_cells_that_have_fewer_rows():
    """Where a row is a cell wide; wider ones are nearly all as strong, since what matters is where there are any."""
    low, width = square()
    Y = np.repeat(low + np.array([[0.2, 0.2], [0.4, 0.4], [0.6, 0.6], [0.8, 0.8]]) * width, [1, 2, 3, 4], axis=0)
    rows = MapRows(Y.astype(np.float32))
    narrow, wide = (pages._density(Together(rows), FRAME, cells, Threads(1))[..., 3] for cells in (1, 5))
    depth = depth_of(count(rows, None, np.zeros((1, 3)), FRAME.square(), Threads(1)).rows, "equalized")
    one, same = np.unique(narrow), np.unique(depth)
    np.testing.assert_allclose(one / one.max(), same, atol=1e-12)
    assert len(one) == 5 and 0 < one.max() < 1
    strong = np.unique(wide)[1:]
    assert len(strong) == 4 and strong[0] / strong[-1] > same[1] and 0 < strong[-1] < 1


def test_images_are_files_of_png_as_its_standard_has_it():
    image = np.random.default_rng(0).random((3, 5, 4))
    data = png(image)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = [], 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, inside = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + inside)
        chunks.append((kind, inside))
        at += 12 + length
    assert [kind for kind, _ in chunks] == [b"IHDR", b"IDAT", b"IEND"] and chunks[2][1] == b""
    # Width, height, bits of a colour, red green blue and opacity, and the only way to compress, to filter; not woven.
    assert struct.unpack(">IIBBBBB", chunks[0][1]) == (5, 3, 8, 6, 0, 0, 0)
    lines = np.frombuffer(zlib.decompress(chunks[1][1]), np.uint8).reshape(3, 21)
    assert (lines[:, 0] == 0).all()
    np.testing.assert_array_equal(lines[:, 1:].reshape(3, 5, 4), np.rint(image[::-1] * 255))


@pytest.mark.parametrize("kinds, kind", [(65_535, "kinds"), (65_536, "texts")])
def test_two_bytes_number_as_many_labels_and_a_missing_one(kinds, kind):
    pandas = pytest.importorskip("pandas")
    labels = pandas.Categorical.from_codes([0, kinds - 1, -1], [f"{at:05}" for at in range(kinds)])
    told, cells = column_for("x", labels, np.arange(3))
    last = f"{kinds - 1:05}"
    assert told["kind"] == kind and read(told, cells) == ["00000", last, None if kind == "kinds" else ""]


def test_labels_without_a_row_that_is_shown_are_counted_as_none():
    pandas = pytest.importorskip("pandas")
    labels = pandas.Categorical.from_codes(np.arange(60) % 3, ["z", "a", "m", "unseen"])
    assert column_for("x", labels, np.array([0, 3, 7]))[0]["counts"] == [2, 1, 0, 0]
    numbers = np.array([0.1, 1 / 3, 2e-50])
    told, cells = numbers_of("x", numbers)
    # The ends are numbers that cells have.
    assert {told["low"], told["high"]} <= set(np.frombuffer(cells, "<f4").tolist())


def test_a_page_is_of_the_columns_axes_and_threads_that_are_asked_for(monkeypatch, tmp_path):
    asked, counted = [], []
    Y = np.random.default_rng(0).normal(size=(12, 3))
    behind = np.random.default_rng(1).normal(size=(20, 3))
    monkeypatch.setattr(pages, "column_of", lambda *given: asked.append(given) or np.arange(12) % 5)
    density = pages._density
    monkeypatch.setattr(
        pages, "_density", lambda *given: counted.append((given[2], given[3].n_jobs)) or density(*given)
    )
    out = view(Y, "kind", columns=["kind", "other"], behind=behind, data="table.h5", axes=(3, 1), n_jobs=2,
               out=tmp_path / "map.html")  # fmt: skip
    assert asked == [("kind", 12, None, "table.h5"), ("other", 12, None, "table.h5")] and counted == [(7, 2)]
    meta, cells, rows, parts = meta_of(out)
    assert [one["name"] for one in meta["columns"]] == ["kind", "other"] and rows.tolist() == list(range(12))
    assert [np.frombuffer(one, np.uint8).tolist() for one in cells] == [(np.arange(12) % 5).tolist()] * 2
    assert meta["note"] == "the grey picture behind them is of the 20 rows of map"
    both = np.r_[Y, behind][:, [2, 0]]
    width = 1.04 * np.ptp(both, axis=0).max()
    low = (both.min(axis=0) + both.max(axis=0)) / 2 - width / 2
    x, y = np.frombuffer(base64.b64decode(parts["places"]), "<u2").reshape(2, 12) / 65_535 * width
    np.testing.assert_allclose(np.c_[x, y] + low, Y[:, [2, 0]], atol=1e-4)
    assert sorted(parts) == ["column0", "column1", "density", "places"]
    assert (meta["n"], meta["shown"], meta["all"], meta["density"]) == (12, 12, True, True)
    assert len(meta["palette"]) == 100 and len(meta["scale"]) == 9


@pytest.mark.parametrize("kinds", [200, 254, 255, 300])
def test_of_many_labels_the_rare_ones_keep_their_rows(kinds):
    """By the first column alone, whose labels of a single row are drawn before all others."""
    n, most = 3000, 2500
    Y = np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32)
    codes = np.zeros(n, np.int64)
    rare = np.random.default_rng(1).permutation(n)[: kinds - 1]
    codes[rare] = np.arange(1, kinds)
    words = np.array([f"w{at:03}" for at in range(kinds)])[codes]
    rows, frame = MapRows(Y), Frame.around(MapRows(Y), Threads(1))
    found = pages._shown(rows, frame, {"a": words, "b": np.arange(n) % 2}, most)
    assert found.tolist() == stratified(rows, frame, codes, most).tolist()
    assert np.isin(rare, found).mean() > 0.9 and found.tolist() != stratified(rows, frame, None, most).tolist()
    for labels in ({}, {"b": np.linspace(0, 1, n), "a": words}):
        assert pages._shown(rows, frame, labels, most).tolist() == stratified(rows, frame, None, most).tolist()
