"""The few lines of a check's output that say why it failed: `python excerpt.py LOG`.

Who reads of a failure elsewhere may see the last two thousand letters of all that was printed, and the tests come long
before the end.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

# Letters of a line, lines of each kind, and frames of a thread.
WIDTH, LINES, FRAMES = 220, 6, 12

HANG = re.compile(r"Timeout \([\d:.]+\)!")
FRAME = re.compile(r'  File "(?P<file>[^"]*)", line (?P<line>\d+) in (?P<function>.*)')
# What runs the tests is in every stack.
RUNNERS = re.compile(r"/(_pytest|pluggy|xdist|execnet)/|^<string>$")
TOLD = re.compile(r"(FAILED|ERROR) |.*(error:|maximum crashed workers)|=+ .*(passed|failed|error).* in ", re.IGNORECASE)


def stacks(lines: list[str]) -> Iterator[str]:
    """Each thread of each process that hung, in one line: the innermost function first."""
    frames: list[str] = []
    within = False
    for line in [*lines, ""]:
        found = FRAME.match(line)
        if found and within:
            if not RUNNERS.search(found["file"]):
                frames.append(f"{'/'.join(Path(found['file']).parts[-2:])}:{found['line']} {found['function']}")
            continue
        if frames:
            yield "hung: " + " < ".join(frames[:FRAMES])
            frames = []
        within = bool(HANG.search(line)) or (within and ("most recent call first" in line or not line.strip()))


def excerpt(text: str) -> list[str]:
    """Stacks of what hung, summaries and errors; the last lines where there are none."""
    lines = text.splitlines()
    told = [line for line in lines if TOLD.match(line)]
    found = [*list(stacks(lines))[:LINES], *told[:LINES], *told[LINES:][-1:]]
    return [line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..." for line in found or lines[-LINES:]]


if __name__ == "__main__":
    print("\n".join(excerpt(Path(sys.argv[1]).read_text(encoding="utf-8", errors="replace"))))
