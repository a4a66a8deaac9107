"""The glossary explains words that are in use, each once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
TABLES = [
    re.findall(r"^\| ([a-z][a-z ,]*) \| (.+) \|$", part, re.MULTILINE)
    for part in PAGE.replace("| word | meaning |\n", "").split("\n## ")[1:]
]
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "tsne_ooc").rglob("*.py"))).lower()


def test_words_stand_in_their_order_and_once():
    assert len(TABLES) == 5
    words = [[word for word, _ in table] for table in TABLES]
    assert all(table == sorted(table) for table in words)
    together = [word for table in words for word in table]
    assert len(together) == len(set(together))


@pytest.mark.parametrize("word", [word for table in TABLES for word, _ in table], ids=lambda word: word)
def test_each_word_is_in_use(word):
    for one in word.split(", "):
        assert re.search(rf"(?<![a-z]){one.replace(' ', '[_ ]')}", SOURCE), f"nothing is called {one}"


def test_each_meaning_is_a_sentence():
    assert all(meaning.endswith((".", ")")) and meaning[0].isupper() for table in TABLES for _, meaning in table)
