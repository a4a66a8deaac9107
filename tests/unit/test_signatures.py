"""What people call is called as before: names, arguments and defaults are those of `tests/signatures.txt`.

After a change that is meant ``python tests/unit/test_signatures.py`` writes the file anew, and the change is read
there.
"""

from __future__ import annotations

import argparse
import difflib
import inspect
from pathlib import Path
from typing import get_origin

import pytest
from test_docs_api import ENTRIES, found

from tsne_ooc.cli.command import parser

FILE = Path(__file__).parents[1] / "signatures.txt"


def shown(default):
    return f"<class {default.__name__}>" if isinstance(default, type) else repr(default)


def arguments(function, *, bound=False):
    """As they are written, without types."""
    words, last = [], None
    for at, one in enumerate(inspect.signature(function).parameters.values()):
        if bound and at == 0:
            continue
        if one.kind is one.KEYWORD_ONLY and last not in (one.KEYWORD_ONLY, one.VAR_POSITIONAL):
            words.append("*")
        stars = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
        words.append(stars + one.name + ("" if one.default is one.empty else f"={shown(one.default)}"))
        last = one.kind
    return f"({', '.join(words)})"


def members(name, kind):
    """Public methods and properties of our own, from wherever they are inherited."""
    for member, value in inspect.getmembers(kind):
        if member.startswith("_"):
            continue
        plain = inspect.getattr_static(kind, member)
        if isinstance(plain, property):
            if plain.fget.__module__.startswith("tsne_ooc"):
                yield f"{name}.{member}"
        elif inspect.isfunction(value) and value.__module__.startswith("tsne_ooc"):
            yield f"{name}.{member}{arguments(value, bound=not isinstance(plain, staticmethod))}"
        elif inspect.ismethod(value) and value.__module__.startswith("tsne_ooc"):
            yield f"{name}.{member}{arguments(value)}"


def public():
    for home, name in ENTRIES:
        thing = found(home, name)
        full = f"{home}.{name}"
        if get_origin(thing) is not None:
            yield full
        elif inspect.isclass(thing):
            fields = getattr(thing, "_fields", None)
            yield full + (f"({', '.join(fields)})" if fields else arguments(thing))
            yield from members(full, thing)
        elif callable(thing):
            yield full + arguments(thing)


def options():
    """Of each command, with their defaults."""
    (commands,) = (one for one in parser()._actions if isinstance(one, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        for action in command._actions:
            words = " ".join(action.option_strings) or action.dest.upper()
            default = "" if action.default in (None, argparse.SUPPRESS) else f" [{action.default}]"
            yield f"tsne-ooc {name} {words}{default}"


def lines():
    return sorted({*public(), *options()})


def test_nothing_is_called_otherwise():
    pytest.importorskip("torch", reason="encoders need the extra 'neural'")
    wanted, now = FILE.read_text(encoding="utf-8").splitlines(), lines()
    changed = difflib.unified_diff(wanted, now, "tests/signatures.txt", "what there is", lineterm="", n=0)
    assert wanted == now, "\n".join(changed)
    assert len(now) > 300


if __name__ == "__main__":
    FILE.write_text("\n".join(lines()) + "\n", encoding="utf-8")
