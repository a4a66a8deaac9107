"""What was measured, kept: one file of JSON for each table of docs/benchmarks.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import common

FOLDER = Path(__file__).with_name("records")
PAGE = common.ROOT / "docs" / "benchmarks.md"
# The table of this name follows.
MARK = re.compile(r"<!-- table: ([\w-]+) -->\n+((?:\|.*\n)*)\n*")


def keep(name: str, title: str, header: Sequence[str], rows: Iterable[Sequence[Any]], **more: Any) -> None:
    """Write a record: the table's cells as they are shown, and when and by what they came about."""
    import comparison

    if not re.fullmatch(r"[\w-]+", name):
        raise ValueError(f"--record {name}: a name is made of letters, digits, _ and -")
    cells = [[common.cell(value) for value in line] for line in rows]
    record = {**comparison.about(), "title": title, "header": list(header), "rows": cells, **more}
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(name: str) -> dict[str, Any]:
    """A record by its name."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def shown(record: dict[str, Any]) -> str:
    """A record as a table of Markdown."""
    header = record["header"]
    return "\n".join([common.row(header), f"|{'---|' * len(header)}", *map(common.row, record["rows"]), ""])


def written(page: str) -> str:
    """A page with the table behind each mark written anew from its record.

    An empty line ends a table: a paragraph right behind it would be shown as one more of its rows.
    """
    whole = MARK.sub(lambda found: f"<!-- table: {found[1]} -->\n\n{shown(read(found[1]))}\n", page)
    return whole.rstrip("\n") + "\n"
