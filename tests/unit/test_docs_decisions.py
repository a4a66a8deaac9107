"""Each decision is one line with a status, and each has its section in the log of experiments."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "decisions.md").read_text(encoding="utf-8")
TITLES = re.findall(r"^## (.+)$", (DOCS / "experiments.md").read_text(encoding="utf-8"), re.MULTILINE)
STATUS = r"in force|open|(refined|replaced) by \[[^\]]+\]\(experiments\.md#[\w-]+\)"


def records():
    """Title, status, choice and reason of each line of the table, without its heads."""
    for line in re.findall(r"^\| (\[.+) \|$", PAGE, re.MULTILINE):
        yield line.split(" | ")


def test_each_record_is_whole():
    found = list(records())
    assert len(found) > 50
    for record in found:
        name, status, choice, reason = record
        assert re.fullmatch(STATUS, status), record
        assert choice.endswith(".") and reason.endswith(".") and len(choice) < 120 and len(reason) < 120, record
        title, target = re.fullmatch(r"\[(.+)\]\(experiments\.md#([\w-]+)\)", name).groups()
        # The same words on both pages; that the link leads there is for the test of all links.
        assert title in TITLES and target


def test_the_log_and_the_records_have_the_same_titles():
    named = [re.match(r"\[(.+)\]\(", record[0]).group(1) for record in records()]
    assert len(named) == len(set(named)) and set(named) == set(TITLES)
