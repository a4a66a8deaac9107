"""The page on all rows together: its code runs, one block after the other, and prints what stands under it."""

from __future__ import annotations

from pathlib import Path

from test_docs_tutorial import follow

from tsne_ooc import open_run

PAGE = Path(__file__).parents[2] / "docs" / "refine.md"


def test_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    assert follow(PAGE.read_text(encoding="utf-8"), names) == 5
    assert open_run("map").manifest["refined"]["neighbors"] == 60
    assert names["refined"].perplexity == 15 and names["refined"].exaggeration == 4
