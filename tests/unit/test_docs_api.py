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
TARGETS = dict(re.findall(r"^\[([a-z0-9]+)\]: \.\./(.+)$", PAGE, re.MULTILINE))


def entries():
    """Homes, names and the files that they link to, as the page's tables have them."""
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        title, _, text = section.partition("\n")
        homes = re.findall(r"`(tsne_ooc[.\w]*)`", title)
        for row in re.findall(r"^\| (\[.*?) \|", text, re.MULTILINE):
            for name, target in re.findall(r"\[`([.\w]+)`\]\[(\w+)\]", row):
                yield homes, name, TARGETS[target]


ENTRIES = list(entries())


def found(home, name):
    """`home.name` as users write it, or the same within the whole package."""
    for start in (home, "tsne_ooc"):
        thing = tsne_ooc
        try:
            for part in [*start.split(".")[1:], *name.split(".")]:
                thing = getattr(thing, part)
        except AttributeError:
            continue
        return thing
    return None


@pytest.mark.parametrize("homes, name, target", ENTRIES, ids=lambda value: value if isinstance(value, str) else None)
def test_each_name_exists(homes, name, target):
    if "parametric" in target or name == "train":
        pytest.importorskip("torch")
    things = [thing for home in homes if (thing := found(home, name)) is not None]
    assert things, f"{' and '.join(homes)} has no {name}"
    # The link leads to where it is, or to the room that shows it.
    module = importlib.import_module(target.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    thing = module
    for part in name.split("."):
        thing = getattr(thing, part, None)
    assert {id(thing), id(module), id(getattr(module, name.split(".")[-1], None))} & {id(known) for known in things}


def test_nothing_of_the_package_is_left_out():
    told = {name for homes, name, _ in ENTRIES if "tsne_ooc" in homes or name == "open_run"}
    assert set(tsne_ooc.__all__) == told | {"__version__"}


def test_each_module_is_there_from_the_start():
    for home in {home for homes, _, _ in ENTRIES for home in homes} | {"tsne_ooc.groups"}:
        name = home.partition(".")[2]
        if name and name != "parametric":
            # Not `getattr`, which finds what an import elsewhere has left.
            assert tsne_ooc.__getattr__(name) is importlib.import_module(home) and name in dir(tsne_ooc)
    code = "import tsne_ooc; print(tsne_ooc.novelty.Reference.__name__, tsne_ooc.groups.Groups.__name__)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stdout == "Reference Groups\n", ended.stderr


def test_place_is_the_twin_of_embed():
    from tsne_ooc import pipeline

    assert tsne_ooc.place is pipeline.place and tsne_ooc.embed is pipeline.embed
