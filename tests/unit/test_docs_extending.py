"""The page on parts of one's own: its blocks run as they stand, and its parts keep the contracts that it names."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import tsne_ooc
from tsne_ooc.report import report

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
FIT = "model.save("
MAP = "fit_transform("
STAGE = "then=Nearest()"

# Definitions become those of this module: pytest collects the classes of tests, and pickle finds the others.
for block in BLOCKS:
    if FIT not in block and STAGE not in block:
        exec(compile(block.partition("\n\nY = ")[0], str(PAGE), "exec"), globals())


def run(words: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, object]:
    monkeypatch.chdir(folder)
    names = dict(globals(), tsne_ooc=tsne_ooc, X=np.random.default_rng(0).normal(size=(300, 4)).astype("f4"))
    (block,) = [block for block in BLOCKS if words in block]
    exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_a_model_with_a_search_of_ones_own_is_saved(monkeypatch, tmp_path):
    names = run(FIT, monkeypatch, tmp_path)
    exact = tsne_ooc.TSNE(neighbors="exact", random_state=0).fit(names["X"])
    # Without ties the nearest rows are the same, and the map with them.
    np.testing.assert_array_equal(names["model"].embedding_, exact.embedding_)
    assert names["again"].neighbors == "object of type Tree (not saved)"


def test_the_report_of_a_model_names_a_search_of_ones_own(monkeypatch, tmp_path):
    """The model does not hold the search itself: the page has the words for that, and is always the same."""
    run(FIT, monkeypatch, tmp_path)
    pages = [report(tmp_path / "model", out=tmp_path / f"{at}.html").read_text("utf-8") for at in range(2)]
    (row,) = re.findall(r"<tr><t[hd][^>]*>neighbour search</t[hd]>(.*?)</tr>", pages[0])
    words = re.sub("<[^>]+>", "|", row)
    assert "object of type Tree (not saved)" in words and "asked for" in words
    assert pages[0] == pages[1] and "object at 0x" not in pages[0]


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_a_search_of_ones_own_is_asked_for_rows_of_any_scale(scale, tmp_path):
    X = (np.random.default_rng(0).normal(size=(200, 4)) * scale).astype("f4")
    model = tsne_ooc.TSNE(neighbors=globals()["Tree"](), random_state=0, n_iter=5, early_exaggeration_iter=5).fit(X)
    model.save(tmp_path / "model")
    again = tsne_ooc.load(tmp_path / "model")
    np.testing.assert_array_equal(again.transform(X * 2), model.transform(X * 2))


def test_an_affinity_of_ones_own(monkeypatch, tmp_path):
    Y = run(MAP, monkeypatch, tmp_path)["Y"]
    assert Y.shape == (300, 2) and np.isfinite(Y).all()


def test_a_stage_of_ones_own(monkeypatch, tmp_path):
    names = run(STAGE, monkeypatch, tmp_path)
    X, found = names["X"], names["run"]
    expected = cdist(X, X[found.sample_rows]).min(axis=1)
    np.testing.assert_allclose(found.arrays["nearest"], expected, atol=1e-3)
    assert "nearest" in found.manifest["seconds"]


def test_blocks_on_workers(tmp_path):
    X = np.random.default_rng(0).normal(size=(300, 4)).astype("f4")
    model = tsne_ooc.TSNE(random_state=0, n_iter=5, early_exaggeration_iter=5).fit(X[:200])
    model.save(tmp_path / "model")
    found = globals()["places"](tmp_path / "model", 200, X[200:])
    np.testing.assert_array_equal(found["embedding"], model.transform(X[200:]))
    with ThreadPoolExecutor(2) as pool:
        globals()["place_all"](tmp_path / "model", X, tmp_path / "Y.npy", pool)
    np.testing.assert_array_equal(np.load(tmp_path / "Y.npy"), model.transform(X))
    assert not (tmp_path / "Y.ledger").exists()


def test_all_blocks_are_run():
    assert len(BLOCKS) == 11
