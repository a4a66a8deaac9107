"""The page of a map, read as a file: it holds what the map has, and no word of a label gets out of its place."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html.parser
import json
import re
from importlib import resources

import h5py
import numpy as np
import pandas as pd
import pytest

from tsne_ooc import storage
from tsne_ooc._parallel import Threads
from tsne_ooc.cli import main
from tsne_ooc.plot.frame import Frame
from tsne_ooc.plot.rows import MapRows
from tsne_ooc.view import view
from tsne_ooc.view.page import anchors
from tsne_ooc.view.payload import column_for, packed, png
from tsne_ooc.view.stratified import stratified

N = 300
HOSTILE = (
    "</script><script>alert(1)</script>", "<!--<script>", "'\"`${1}", "\u202eright to left\u202c", "\U0001f9ec gene",
    "a\u2028b\u2029c", "&lt;b&gt;", "{{META}}", "\\u003c", "new\nline\ttab", "=cmd|'/c calc'!A0", "\ud800 half",
)  # fmt: skip


class Page(html.parser.HTMLParser):
    """The scripts of a page by their ids, and the names of all elements and attributes."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.scripts, self.tags, self.links, self.text = {}, [], [], ""
        self._open = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "action", "data")]
        assert not any(name.startswith("on") for name in given)
        self._open = given.get("id", f"script {len(self.tags)}") if tag == "script" else None
        if self._open:
            self.scripts[self._open] = ""

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open:
            self.scripts[self._open] += data
        else:
            self.text += data

    def meta(self):
        return json.loads(self.scripts["meta"])

    def part(self, name, kind):
        data = base64.b64decode(self.scripts[f"part-{name}"])
        return np.frombuffer(data if name in ("places", "density") else gzip.decompress(data), kind)


def places(n=N):
    return np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32)


def page_of(tmp_path, *given, **options):
    return Page(view(*given, out=tmp_path / "map.html", overwrite=True, **options).read_text(encoding="utf-8"))


def test_places_and_labels_are_those_of_the_map(tmp_path):
    Y = places()
    kinds = pd.Categorical.from_codes(np.where(np.arange(N) % 7, np.arange(N) % 3, -1), ["z", "b", "a"])
    page = page_of(tmp_path, Y, kinds)
    meta = page.meta()
    assert (meta["n"], meta["shown"], meta["all"], meta["density"]) == (N, N, True, False)
    x, y = page.part("places", "<u2").reshape(2, N).astype(float)
    width = 1.04 * np.ptp(Y, axis=0).max()
    middle = (Y.min(axis=0) + Y.max(axis=0)) / 2
    back = np.c_[x, y] / 65_535 * width + middle - width / 2
    np.testing.assert_allclose(back, Y, atol=0.6 * width / 65_535)
    column = meta["columns"][0]
    assert (column["names"], column["missing"]) == (["z", "b", "a"], len(range(0, N, 7)))
    codes = page.part("column0", np.uint8)
    named = [[*column["names"], None][code] for code in codes]
    assert named == [None if label != label else label for label in kinds]
    assert column["counts"] == [named.count(name) for name in "zba"]
    for label, row in column["anchors"]:
        assert codes[row] == label


def test_a_label_none_of_whose_rows_is_shown_has_no_name(tmp_path):
    """Names stand where most of the rows that are shown are; a label has rows among all, and perhaps none of these."""
    Y = places(40)
    codes = np.where(np.arange(40) % 2, 2, 0)
    found = anchors(Y, codes, np.array([3, 50, 20]), Frame.around(MapRows(Y), Threads(1)))
    assert [label for label, _ in found] == [2, 0]
    assert all(codes[row] == label for label, row in found)


def test_numbers_texts_and_many_kinds(tmp_path):
    table = tmp_path / "data.h5"
    numbers = np.random.default_rng(1).normal(size=N)
    numbers[3] = np.nan
    with h5py.File(table, "w") as file:
        file["number"], file["wide"] = numbers, [f"kind {i}".encode() for i in range(N)]
    page = page_of(tmp_path, places(), np.arange(N) % 2, columns=["number", "wide"], data=table)
    label, number, wide = page.meta()["columns"]
    assert label["names"] == ["0", "1"] and label["name"] == "label"
    np.testing.assert_array_equal(page.part("column1", "<f4"), numbers.astype(np.float32))
    assert (number["low"], number["high"]) == (np.float32(np.nanmin(numbers)), np.float32(np.nanmax(numbers)))
    assert [wide["names"][code] for code in page.part("column2", "<u2")] == [f"kind {i}" for i in range(N)]


@pytest.mark.parametrize("labels, names, codes", [
    ([1, 2, None, 2], ["1", "2"], [0, 1, 2, 1]), (np.ma.masked_equal([4, 7, 4, 9], 7), ["4", "9"], [0, 2, 0, 1]),
    ([True, None, False, True], ["False", "True"], [1, 2, 0, 1]),
    ([2**60, 2**60 + 1, None, 1], ["1", str(2**60), str(2**60 + 1)], [1, 2, 3, 0]),
])  # fmt: skip
def test_kinds_that_are_numbers_keep_their_digits_beside_missing_ones(labels, names, codes):
    told, cells = column_for("x", labels, np.arange(4))
    assert told["kind"] == "kinds" and told["names"] == names and list(cells) == codes and told["missing"] == 1


def test_names_that_all_differ_are_text(tmp_path, monkeypatch):
    monkeypatch.setattr("tsne_ooc.view.payload.MOST_KINDS", 100)
    words = [f"cell {i}" if i != 5 else None for i in range(N)]
    page = page_of(tmp_path, places(), words)
    assert page.meta()["columns"][0]["kind"] == "texts"
    lines = page.part("column0", np.uint8).tobytes().decode().split("\n")
    assert lines == [word or "" for word in words]


@pytest.mark.parametrize("word", HOSTILE, ids=range(len(HOSTILE)))
def test_no_word_gets_out_of_its_place(tmp_path, word):
    plain = page_of(tmp_path, places(), np.array(["a", "b"])[np.arange(N) % 2], title="plain")
    page = page_of(tmp_path, places(), np.array([word, "b"], object)[np.arange(N) % 2], title=word)
    assert page.tags == plain.tags and list(page.scripts) == list(plain.scripts)
    shown = " ".join(word.encode("utf-8", "replace").decode().split())
    assert shown in page.meta()["columns"][0]["names"]
    raw = (tmp_path / "map.html").read_bytes()
    assert raw.count(b"<script") == len(page.scripts)


def test_the_page_asks_for_nothing_else(tmp_path):
    page = page_of(tmp_path, places())
    text = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert page.links == [] and "connect-src" not in text
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'") and "http" not in policy and "*" not in policy


def test_what_it_is_built_on_is_whole_and_named(tmp_path):
    page = page_of(tmp_path, places())
    vendor = resources.files("tsne_ooc.view") / "web" / "vendor"
    for one in json.loads((vendor / "versions.json").read_text()):
        data = (vendor / one["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == one["sha256"], "run tools/vendor_web.py"
        assert f"{one['name']} {one['version']} ({one['licence']})" in page.text
        assert one["licence"] == "MIT" and f"{one['name']} {one['version']}\n" in page.text
        assert data.decode() in (tmp_path / "map.html").read_text(encoding="utf-8")
    assert page.text.count("Permission is hereby granted") >= 5


def test_the_same_map_is_the_same_page(tmp_path):
    one = view(places(), np.arange(N) % 3, out=tmp_path / "one.html", n_jobs=1).read_bytes()
    assert one == view(places(), np.arange(N) % 3, out=tmp_path / "other.html", n_jobs=2, title="map").read_bytes()


def test_a_page_does_not_know_the_hour(monkeypatch):
    found = set()
    for hour in (1e9, 1.7e9):
        monkeypatch.setattr("time.time", lambda hour=hour: hour)
        found.add(packed(b"a map" * 100))
    assert len(found) == 1


def test_of_more_rows_some_are_shown_over_the_density_of_all(tmp_path):
    Y = places(20_000)
    Y[:40] = np.nan
    labels = np.where(np.arange(20_000) % 4000 == 77, "rare", "common")
    page = page_of(tmp_path, Y, labels, most=1500)
    meta = page.meta()
    assert 1200 <= meta["shown"] <= 1500 and not meta["all"] and meta["density"]
    assert f"{meta['shown']:,} of 20,000 rows are shown one by one" in meta["note"]
    assert "40 rows without coordinates" in meta["note"]
    rows = np.cumsum(page.part("rows", "<u4"))
    assert len(rows) == meta["shown"] and (np.diff(rows) > 0).all() and rows.min() >= 40 and rows.max() < 20_000
    names = meta["columns"][0]["names"]
    assert [names[code] for code in page.part("column0", np.uint8)] == labels[rows].tolist()
    # All of the rare ones, of which a uniform draw of one in 13 would have lost most.
    assert (labels[rows] == "rare").sum() == (labels == "rare").sum() == 5
    import io

    from matplotlib.image import imread

    image = imread(io.BytesIO(page.part("density", np.uint8).tobytes()))
    assert image.shape == (800, 800, 4) and 100 < (image[..., 3] > 0).sum() <= 20_000


def test_rows_without_a_place_are_not_shown(tmp_path):
    Y = places()
    Y[[0, 7]] = np.nan, np.inf
    page = page_of(tmp_path, Y, np.arange(N) % 5)
    assert page.meta()["shown"] == N - 2 and not page.meta()["density"]
    rows = np.cumsum(page.part("rows", "<u4"))
    assert rows.tolist() == [row for row in range(N) if row not in (0, 7)]
    assert [int(page.meta()["columns"][0]["names"][code]) for code in page.part("column0", np.uint8)] == (
        rows % 5
    ).tolist()


@pytest.mark.parametrize("labels", [1, 3, 5000])
def test_a_stratified_draw_keeps_shares_and_small_places(labels, monkeypatch):
    rng = np.random.default_rng(0)
    Y = rng.normal(size=(60_000, 2)).astype(np.float32)
    Y[:6] += 8
    rows = MapRows(Y)
    frame = Frame(Y.min(axis=0), Y.max(axis=0), 0, 0)
    codes = None if labels == 1 else rng.integers(0, labels, len(Y))
    found = stratified(rows, frame, codes, 6000)
    assert 4800 <= len(found) <= 6000 and (np.diff(found) > 0).all()
    # The island of six is there; in the dense middle the share is that of all.
    assert (found < 6).sum() >= 5
    middle = np.linalg.norm(Y, axis=1) < 1
    assert np.isin(np.flatnonzero(middle), found).mean() == pytest.approx(len(found) / len(Y), abs=0.03)
    monkeypatch.setattr("tsne_ooc.plot.rows.SHADED", 977)
    np.testing.assert_array_equal(stratified(rows, frame, codes, 6000), found)


def test_images_are_read_back():
    import io

    from matplotlib.image import imread

    image = np.random.default_rng(0).random((5, 7, 4))
    np.testing.assert_allclose(imread(io.BytesIO(png(image)))[::-1], image, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize(
    "Y, labels, message",
    [
        (places(), np.arange(N - 1), "has 299 rows, and the map 300"),
        (np.zeros((5, 3)), None, "say which two to draw"),
        (np.full((5, 2), np.nan), None, "no row with a place"),
    ],
)
def test_what_cannot_be_shown_is_told_and_nothing_is_written(tmp_path, Y, labels, message):
    with pytest.raises(ValueError, match=message) as error:
        view(Y, labels, out=tmp_path / "map.html")
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "Y", [np.zeros((50, 2)), np.arange(50.0)[:, None], np.zeros((1, 2))], ids=["one place", "1-D", "1"]
)
def test_maps_of_little(tmp_path, Y):
    assert page_of(tmp_path, Y, np.full(len(Y), "only")).meta()["columns"][0]["counts"] == [len(Y)]
    assert page_of(tmp_path, Y, np.full(len(Y), None)).meta()["columns"][0]["missing"] == len(Y)


def test_two_axes_of_three(tmp_path):
    Y = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
    one = page_of(tmp_path, Y, axes=(1, 3), color=None).part("places", "<u2")
    np.testing.assert_array_equal(one, page_of(tmp_path, Y[:, [0, 2]]).part("places", "<u2"))


def test_from_the_command_line(tmp_path, capsys, monkeypatch):
    run = tmp_path / "map"
    run.mkdir()
    np.save(run / "embedding.npy", places())
    np.save(run / "novelty.npy", np.ones(N, np.float32))
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["kind"] = [b"a", b"b", b"c"] * (N // 3)
    content = {"n_samples": N, "job": {"source": {"path": str(tmp_path / "data.h5")}}}
    storage.seal(run, "map", content, {name: f"{name}.npy" for name in ("embedding", "novelty")})
    assert main(["view", str(run), "--color", "kind", "--columns", "novelty"]) == 0
    out = tmp_path / "map.html"
    assert capsys.readouterr().out == f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB): open it in a browser\n"
    meta = Page(out.read_text(encoding="utf-8")).meta()
    assert [column["name"] for column in meta["columns"]] == ["kind", "novelty"] and meta["title"] == "map"
    for words, message in (
        ([], "exists already"), (["--out", "a.htm"], "known: *.html"), (["--overwrite", "--color", "kidn"], "'kind'"),
        (["--overwrite", "--most", "0"], "--most=0 must be at least 1"),
    ):  # fmt: skip
        before = out.read_bytes()
        assert main(["view", str(run), *words]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
        assert out.read_bytes() == before


def test_rows_on_a_map_are_shown_over_a_picture_of_it(tmp_path):
    """The picture has the rows of the map behind, all of them and no other; the page's own rows are the new ones."""
    import io

    from matplotlib.image import imread

    old, new = 3 * places(2000), places(50) + 20
    old[5], new[7] = np.nan, np.nan
    page = page_of(tmp_path, new, np.arange(50) % 3, behind=old)
    meta = page.meta()
    assert (meta["n"], meta["shown"], meta["density"]) == (50, 49, True)
    assert meta["note"] == "the grey picture behind them is of the 2,000 rows of map; 2 rows without coordinates"
    both = np.concatenate([old, new])
    both = both[np.isfinite(both).all(axis=1)]
    width, middle = 1.04 * np.ptp(both, axis=0).max(), (both.min(axis=0) + both.max(axis=0)) / 2
    x, y = page.part("places", "<u2").reshape(2, 49) / 65_535 * width
    np.testing.assert_allclose(np.c_[x, y] + middle - width / 2, np.delete(new, 7, axis=0), atol=width / 65_535)
    image = imread(io.BytesIO(page.part("density", np.uint8).tobytes()))[::-1]
    cells = np.floor((both[:1999].astype(float) - middle + width / 2) / width * 800).astype(int)
    near = np.zeros((800, 800), bool)
    for across, up in cells:
        assert image[up, across, 3] > 0
        near[max(0, up - 4) : up + 5, max(0, across - 4) : across + 5] = True
    assert not (image[..., 3] > 0)[~near].any()
    # A page without a map behind has no picture.
    assert not page_of(tmp_path, new, np.arange(50) % 3).meta()["density"]
