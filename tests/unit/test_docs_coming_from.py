"""The page for people who come from another program names every word that the errors know."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tsne_ooc import _elsewhere

PAGE = (Path(__file__).parents[2] / "docs" / "coming-from.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("word", sorted({*_elsewhere.MAP, *_elsewhere.ENCODER}))
def test_every_word_is_named_beside_ours(word):
    lines = [line for line in PAGE.splitlines() if line.startswith("|") and re.search(rf"`[^`]*\b{word}\b", line)]
    assert lines
    # Where an option of ours has its part, the line that names the word names it.
    here = {table[word].ours for table in (_elsewhere.MAP, _elsewhere.ENCODER) if word in table}
    for ours in filter(None, here):
        assert any(ours.partition("=")[0] in line for line in lines), (word, ours)
