"""Each promise of the page names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")


def test_every_promise_has_a_test():
    rows = [row for row in re.findall(r"^\| (.*) \|$", PAGE, re.MULTILINE) if "---" not in row]
    promises = [row for row in rows if not row.startswith("promise |")]
    assert len(promises) > 25
    for row in promises:
        files = re.findall(r"`(tests/[\w/]+\.py)`", row)
        assert files, row
        for file in files:
            # Tests of its own, or those of a contract that it keeps.
            assert re.search(r"def test_|class Test\w*\(\w+Contract\)", (ROOT / file).read_text(encoding="utf-8")), file
