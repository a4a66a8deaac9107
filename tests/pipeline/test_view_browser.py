"""The page of a map in a real browser: it draws, answers mouse and keyboard, and says nothing to console or network."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from browser import Browser, found
from matplotlib.image import imread
from test_view import HOSTILE

from tsne_ooc.view import view

pytestmark = pytest.mark.skipif(found() is None, reason="no Chromium is installed")

N = 900
KINDS = np.array(["apple", "pear", *HOSTILE], object)[np.r_[np.arange(N - 200) % 2, np.arange(200) % 14]]


def islands():
    rng = np.random.default_rng(0)
    return (12 * np.c_[np.arange(N) % 2, np.arange(N) // 300] + rng.normal(size=(N, 2))).astype(np.float32)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    numbers = np.arange(N) / 10
    np.save(folder / "score.npy", numbers)
    view(islands(), KINDS, columns=[str(folder / "score.npy")], out=folder / "map.html", title=HOSTILE[0])
    with Browser() as browser:
        browser.open(folder / "map.html")
        yield browser
        assert browser.said == [] and browser.asked == []


@pytest.fixture
def fresh(page):
    page.run("document.getElementById('all').click(); tsneMap.plot.deselect(); tsneMap.plot.reset()")
    page.run("new Promise((done) => setTimeout(done, 300))")
    return page


def until(page, condition, seconds=20):
    end = time.monotonic() + seconds
    while not page.run(f"Boolean({condition})"):
        assert time.monotonic() < end, f"{condition} does not come; {page.run('document.body.innerText')[:500]}"
        time.sleep(0.05)


def colours(page, folder):
    """Colours on the stage, as whole numbers."""
    page.screenshot(folder / "page.png")
    image = imread(folder / "page.png")[50:, :600, :3]
    return np.unique((image * 255).astype(int).reshape(-1, 3), axis=0)


def near(colours, wanted):
    return (np.abs(colours - wanted).sum(axis=1) < 40).any()


def test_it_draws_with_its_colours_and_names(fresh, tmp_path):
    assert fresh.run("tsneMap.withoutWebGL === undefined && document.getElementById('preview').hidden")
    shown = colours(fresh, tmp_path)
    assert near(shown, (0x44, 0x77, 0xAA)) and near(shown, (0xEE, 0x66, 0x77))
    names = fresh.run("[...document.querySelectorAll('#names span')].map((one) => one.textContent)")
    assert {"apple", "pear"} <= set(names)


def test_words_are_words(fresh):
    assert fresh.run("document.title") == " ".join(HOSTILE[0].split())
    listed = fresh.run("[...document.querySelectorAll('#list span')].map((one) => one.textContent)")
    assert {" ".join(word.encode("utf-8", "replace").decode().split()) for word in HOSTILE} <= set(listed)
    assert fresh.run("document.querySelectorAll('#list b, #list script, #title *').length") == 0


def test_the_mouse_tells_what_a_row_is(fresh):
    fresh.run("tsneMap.plot.zoomToLocation([0, 0], 1)")
    x, y = fresh.run("tsneMap.plot.getScreenPosition(7)")
    fresh.mouse("mouseMoved", x - 60, y)
    fresh.mouse("mouseMoved", x, y)
    until(fresh, "!document.getElementById('tip').hidden")
    told = fresh.run("document.getElementById('tip').innerText")
    row = int(told.split()[1])
    # Several rows may lie under it.
    assert np.linalg.norm(islands()[row] - islands()[7]) < 1 and KINDS[row] in told and f"{row / 10:g}" in told


def test_labels_are_filtered(fresh):
    fresh.run("document.querySelector('#list input').click()")
    counts = {word: int((word == KINDS).sum()) for word in ("apple", "pear")}
    first = fresh.run("document.querySelector('#list span').textContent")
    gone = int((first == KINDS).sum()) or None
    kept = fresh.run("tsneMap.kept")
    assert kept < N and (gone is None or kept == N - gone), counts
    fresh.run("document.getElementById('none').click()")
    assert fresh.run("tsneMap.kept") == 0
    fresh.run("document.getElementById('all').click()")
    assert fresh.run("tsneMap.kept") == N


def search(page, text):
    page.run(f"(() => {{ const box = document.getElementById('search'); box.value = {text!r};"
             "box.dispatchEvent(new Event('input')); })()")  # fmt: skip
    page.run("new Promise((done) => setTimeout(done, 400))")


def test_search_and_saving(fresh):
    search(fresh, "pear")
    until(fresh, "!document.getElementById('selection').hidden")
    pears = np.flatnonzero(KINDS == "pear")
    assert fresh.run("document.getElementById('selected').textContent") == f"{len(pears)} rows selected"
    lines = fresh.run("tsneMap.csv()").split("\n")
    assert lines[0] == "row,label,score" and lines[1] == f"{pears[0]},pear,{pears[0] / 10:g}"
    assert [int(line.split(",")[0]) for line in lines[1:-1]] == pears.tolist()
    search(fresh, "642")
    until(fresh, "document.getElementById('selected').textContent.startsWith('1 row ')")
    search(fresh, "calc")
    until(fresh, "document.getElementById('found').textContent.includes('found')")
    # What begins like a formula does not in the file.
    assert ",'=cmd|'/c calc'!A0," in fresh.run("tsneMap.csv()")
    search(fresh, "nowhere at all")
    until(fresh, "document.getElementById('found').textContent === 'nothing found'")
    search(fresh, "")


def test_a_lasso_selects_what_is_within(fresh):
    fresh.run("document.getElementById('lasso').click()")
    places = np.array(fresh.run(f"Array.from({{length: {N}}}, (_, i) => tsneMap.plot.getScreenPosition(i))"))
    island = np.flatnonzero(islands()[:, 1] > 18)
    low, high = places[island].min(axis=0) - 8, places[island].max(axis=0) + 8
    low[1] = max(low[1], 2)
    path = [(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1]), (low[0], low[1] + 4)]
    fresh.mouse("mousePressed", *path[0], button="left", buttons=1, clickCount=1)
    for (x0, y0), (x1, y1) in itertools.pairwise(path):
        for share in np.linspace(0, 1, 12):
            fresh.mouse("mouseMoved", x0 + share * (x1 - x0), y0 + share * (y1 - y0), button="left", buttons=1)
            time.sleep(0.01)
    fresh.mouse("mouseReleased", *path[-1], button="left", clickCount=1)
    until(fresh, "!document.getElementById('selection').hidden")
    within = ((places >= low) & (places <= high)).all(axis=1)
    chosen = [int(line.split(",")[0]) for line in fresh.run("tsneMap.csv()").split("\n")[1:-1]]
    within = np.flatnonzero(within)
    assert np.isin(within, chosen).mean() > 0.95 and np.isin(chosen, within).mean() > 0.95
    fresh.run("document.getElementById('lasso').click()")


def test_the_keyboard_moves_the_map(fresh):
    fresh.run("document.getElementById('map').focus()")
    before = fresh.run("Array.from(tsneMap.plot.get('cameraView'))")
    for key in ("ArrowLeft", "+", "ArrowDown"):
        fresh.key(key)
    until(fresh, f"tsneMap.plot.get('cameraView')[0] > {before[0]}")
    assert fresh.run("tsneMap.plot.get('cameraView')[12]") != before[12]
    fresh.key("0")
    until(fresh, f"Math.abs(tsneMap.plot.get('cameraView')[0] - {before[0]}) < 1e-6")


def middles(page, folder):
    """Where the rows of the two islands at the left and at the right are on the screen, and how many dots they take."""
    page.screenshot(folder / "page.png")
    image = imread(folder / "page.png")[..., :3] * 255
    found = []
    for color in ((0x44, 0x77, 0xAA), (0xEE, 0x66, 0x77)):
        there = np.argwhere(np.abs(image[60:, :800] - color).sum(axis=2) < 30)
        found.append([*there.mean(axis=0), np.sqrt(len(there))])
    return np.array(found)


@pytest.mark.parametrize(
    "move", ["tsneMap.pan(0.08, -0.05)", "tsneMap.zoom(0.7)", "tsneMap.zoom(0.6); tsneMap.pan(-0.1, 0.1)"]
)
def test_where_drawing_is_slow_the_picture_is_moved_and_then_drawn_anew(fresh, tmp_path, move):
    """The moved picture has the rows where the drawn one has them, for the eye, and exactly by its matrix."""
    forced = "Object.defineProperty(tsneMap.moves, {!r}, {{ get: () => {}, set: () => {{}}, configurable: true }}), 0"
    let_go = "Object.defineProperty(tsneMap.moves, {!r}, {{ value: {}, writable: true, configurable: true }}), 0"
    frames = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))).then(() => 0)"
    places = f"Array.from({{length: {N}}}, (_, i) => tsneMap.plot.getScreenPosition(i))"
    before, first = middles(fresh, tmp_path), np.array(fresh.run(places))
    try:
        fresh.run(forced.format("slow", "true"))
        fresh.run(forced.format("last", "Infinity"))
        fresh.run(f"{move}, 0")
        fresh.run(frames)
        until(fresh, "tsneMap.moves.picture !== null")
        moved, second = middles(fresh, tmp_path), np.array(fresh.run(places))
        taken = fresh.run("""(() => { const m = tsneMap.moves, view = Array.from(tsneMap.plot.get('cameraView')),
            by = m.between(m.view, view); return [by.a, by.b, by.c, by.d, by.e, by.f]; })()""")
        assert np.abs(moved - before).max() > 15
        fresh.run(let_go.format("last", "0"))
        until(fresh, "tsneMap.moves.picture === null")
        fresh.run(frames)
        drawn = middles(fresh, tmp_path)
    finally:
        fresh.run(let_go.format("last", "0"))
        fresh.run(let_go.format("slow", "false"))
    a, b, c, d, e, f = taken
    np.testing.assert_allclose(first @ [[a, b], [c, d]] + [e, f], second, atol=0.05)
    # Of rows that are cut into other dots, other dots have the very colour.
    np.testing.assert_allclose(moved[:, :2], drawn[:, :2], atol=5)


def test_everything_is_reached_by_tab_and_has_a_name(page):
    nameless = page.run("""[...document.querySelectorAll('button, input, select')].filter((one) => one.offsetParent
        && !(one.textContent.trim() || one.ariaLabel || one.labels?.[0]?.textContent.trim())).map((one) => one.id)""")
    assert nameless == []
    assert page.run("document.getElementById('map').tabIndex") == 0
    assert f"A map of {N} rows" in page.run("document.getElementById('summary').textContent")


def test_words_are_read_on_their_ground(page):
    """The contrast of WCAG 2, at least 4.5 for words of this size."""
    pairs = page.run("""['body', '#caption', '#note', '#found', '#list small', '#names-on', 'summary'].map((one) => {
        const find = (node) => { const color = getComputedStyle(node).backgroundColor;
            return color === 'rgba(0, 0, 0, 0)' && node.parentElement ? find(node.parentElement) : color; };
        const node = document.querySelector(one); return [one, getComputedStyle(node).color, find(node)]; })""")

    def light(color):
        parts = np.array([int(part) for part in color[color.index("(") + 1 : -1].split(",")[:3]]) / 255
        return np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    for name, ink, ground in pairs:
        low, high = sorted((light(ink), light(ground)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (name, ink, ground)


def test_numbers_colour_and_filter(fresh):
    fresh.run("""(() => { const by = document.getElementById('by'); by.value = '1';
        by.dispatchEvent(new Event('change')); })()""")
    until(fresh, "!document.getElementById('numbers').hidden")
    fresh.run("""(() => { const from = document.getElementById('from'); from.value = '80';
        from.dispatchEvent(new Event('change')); })()""")
    assert fresh.run("tsneMap.kept") == (np.arange(N) / 10 >= 80).sum()
    fresh.run("""(() => { const by = document.getElementById('by'); by.value = '0';
        by.dispatchEvent(new Event('change')); })()""")
    until(fresh, "!document.getElementById('kinds').hidden")


def test_without_webgl_there_is_a_still_picture(tmp_path):
    view(islands(), KINDS, out=tmp_path / "map.html")
    with Browser(words=("--disable-3d-apis",)) as browser:
        browser.open(tmp_path / "map.html", ready="window.tsneMap && window.tsneMap.withoutWebGL")
        assert "no WebGL" in browser.run("document.getElementById('note').textContent")
        assert near(colours(browser, tmp_path), (0x44, 0x77, 0xAA))
        assert browser.run("document.querySelectorAll('#list li').length") == len(set(KINDS))
        # Nothing can be chosen there, and the list of columns is empty.
        assert browser.run("document.getElementById('by-row').hidden")


def test_more_rows_than_are_shown_one_by_one(tmp_path):
    rng = np.random.default_rng(0)
    view(rng.normal(size=(50_000, 2)), np.arange(50_000) % 3, most=2000, out=tmp_path / "map.html")
    with Browser(dark=True) as browser:
        browser.open(tmp_path / "map.html")
        assert "of 50,000 rows are shown one by one" in browser.run("document.getElementById('note').textContent")
        assert browser.run("tsneMap.plot.get('backgroundImage') !== null")
        # Grey, between the shown rows.
        assert len(colours(browser, tmp_path)) > 100 and browser.said == [] and browser.asked == []
