"""The page of a map in Firefox: the same rows and words as in Chromium, and nothing said to console or network."""

from __future__ import annotations

import numpy as np
import pytest
from firefox import Firefox, found
from matplotlib.image import imread
from test_view import HOSTILE

from tsne_ooc.view import view

pytestmark = pytest.mark.skipif(found() is None, reason="no Firefox is installed")

N = 900
KINDS = np.array(["apple", "pear", *HOSTILE], object)[np.r_[np.arange(N - 200) % 2, np.arange(200) % 14]]
# What Firefox says of itself: that there is no driver for WebGL, and that it tells a page another size of the screen.
OF_THE_BROWSER = ("Failed to create WebGL context", "Fingerprinting Protection")
# Without WebGL the page shows a picture that stands still.
READY = "window.tsneMap && (window.tsneMap.ready || window.tsneMap.withoutWebGL)"


def islands():
    rng = np.random.default_rng(0)
    return (12 * np.c_[np.arange(N) % 2, np.arange(N) // 300] + rng.normal(size=(N, 2))).astype(np.float32)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    old = 4 * np.random.default_rng(1).normal(size=(500, 2)) + 10
    view(islands(), KINDS, out=folder / "map.html", title=HOSTILE[0], behind=old)
    with Firefox() as browser:
        browser.open(folder / "map.html", READY)
        yield browser
        assert [line for line in browser.said() if not any(words in line for words in OF_THE_BROWSER)] == []
        assert browser.run("performance.getEntriesByType('resource').map((one) => one.name)") == []


def colours(page, folder):
    """Colours on the stage, as whole numbers, and how many dots have each."""
    page.screenshot(folder / "page.png")
    image = imread(folder / "page.png")[50:, :600, :3]
    return np.unique((image * 255).astype(int).reshape(-1, 3), axis=0, return_counts=True)


@pytest.mark.parametrize("wanted", [(0x44, 0x77, 0xAA), (0xEE, 0x66, 0x77)], ids=["apple", "pear"])
def test_it_draws_with_its_colours(page, tmp_path, wanted):
    shown, times = colours(page, tmp_path)
    assert times[np.abs(shown - wanted).sum(axis=1) < 40].sum() > 100


def test_the_map_behind_is_grey(page, tmp_path):
    shown, times = colours(page, tmp_path)
    grey = (np.ptp(shown, axis=1) < 6) & (shown[:, 0] > 120) & (shown[:, 0] < 240)
    assert times[grey].sum() > 1000


def test_words_are_words(page):
    assert page.run("document.title") == " ".join(HOSTILE[0].split())
    listed = page.run("[...document.querySelectorAll('#list span')].map((one) => one.textContent)")
    assert {" ".join(word.encode("utf-8", "replace").decode().split()) for word in HOSTILE} <= set(listed)
    assert page.run("document.querySelectorAll('#list b, #list script, #title *').length") == 0
    assert "the 500 rows of map" in page.run("document.getElementById('note').textContent")


def test_it_can_be_moved_or_says_why_not(page):
    if page.run("tsneMap.withoutWebGL ?? null") is not None:
        assert "this browser has no WebGL" in page.run("document.getElementById('note').textContent")
        assert page.run("document.getElementById('map').hidden")
        return
    before = page.run("Array.from(tsneMap.plot.get('cameraView'))")
    page.run("tsneMap.pan(0.1, 0.1)")
    assert page.run("Array.from(tsneMap.plot.get('cameraView'))") != before
