"""The page of the interface names what there is, and all of it can be had by that name."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tsne_ooc

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\{eval-rst\}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def entries():
    """Homes and names, as the page's tables have them."""
    for block in BLOCKS:
        (home,) = re.findall(r"^\.\. currentmodule:: (\S+)$", block, re.MULTILINE)
        for name in re.findall(r"^   ([A-Za-z]\w*)$", block, re.MULTILINE):
            yield home, name


ENTRIES = list(entries())


def found(home, name):
    """`home.name` as users write it."""
    thing = tsne_ooc
    for part in [*home.split(".")[1:], name]:
        thing = getattr(thing, part)
    return thing


@pytest.mark.parametrize("home, name", ENTRIES)
def test_each_name_exists_and_its_line_is_a_sentence(home, name):
    if "parametric" in home or name == "train":
        pytest.importorskip("torch")
    thing = found(home, name)
    # The docstring's first line is the table's; an alias of a type has none of its own.
    if thing is not found("tsne_ooc.extend", "State"):
        line = " ".join(thing.__doc__.strip().partition("\n\n")[0].split())
        assert re.match(r"\S.{5,}?[.?:]( |$)", line), line


def test_no_name_is_there_twice():
    assert len(ENTRIES) == len(set(ENTRIES)) > 120


def test_nothing_of_the_package_is_left_out():
    told = {name for home, name in ENTRIES if home == "tsne_ooc"}
    assert set(tsne_ooc.__all__) == told | {"__version__"}


def test_each_module_is_there_from_the_start():
    for home in {home for home, _ in ENTRIES}:
        name = home.partition(".")[2]
        if name and not name.startswith("parametric"):
            # Not `getattr`, which finds what an import elsewhere has left.
            assert tsne_ooc.__getattr__(name) is importlib.import_module(home) and name in dir(tsne_ooc)
    code = "import tsne_ooc; print(tsne_ooc.novelty.Reference.__name__, tsne_ooc.groups.Groups.__name__)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stdout == "Reference Groups\n", ended.stderr


def test_place_is_the_twin_of_embed():
    from tsne_ooc import pipeline

    assert tsne_ooc.place is pipeline.place and tsne_ooc.embed is pipeline.embed
