"""The pages of the documents, and the blocks of code that they have."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
TUTORIALS = DOCS / "tutorials"
#: A block between fences of backticks: its language or directive, and what is in it.
FENCE = re.compile(r"^```(\w*|\{[\w-]+\})\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def pages_of_docs() -> list[Path]:
    """All that is written by hand; what the build makes is elsewhere."""
    return sorted([*DOCS.glob("*.md"), *TUTORIALS.glob("*.md")])


def cells(page: Path) -> list[str]:
    """The cells of a notebook, without their options."""
    found = [code for kind, code in FENCE.findall(page.read_text(encoding="utf-8")) if kind == "{code-cell}"]
    return [re.sub(r"\A(:\w+:.*\n)+\n?", "", code) for code in found]


def python_of(page: Path) -> list[str]:
    """Blocks of Python that a page shows or runs."""
    shown = [code for kind, code in FENCE.findall(page.read_text(encoding="utf-8")) if kind == "python"]
    return [*shown, *cells(page)]
