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
WIDTH, LINES, FRAMES = 220, 4, 7

HANG = re.compile(r"Timeout \([\d:.]+\)!|hung: |Fatal Python error")
FRAME = re.compile(r'  File "(?P<file>[^"]*)", line (?P<line>\d+) in (?P<function>.*)')
# What runs the tests is in every stack.
RUNNERS = re.compile(r"/(_pytest|pluggy|xdist|execnet)/|^<string>$")
TOLD = re.compile(r"(FAILED|ERROR) |.*(error:|maximum crashed workers)|=+ .*(passed|failed|error).* in ", re.IGNORECASE)


def stacks(lines: list[str]) -> Iterator[list[str]]:
    """Of each process that hung, each thread in one line: the innermost function first, the first thread last."""
    threads: list[str] = []
    frames: list[tuple[str, bool]] = []
    within = False
    for line in [*lines, ""]:
        found = FRAME.match(line)
        if found and within:
            if not RUNNERS.search(found["file"]):
                place = f"{'/'.join(Path(found['file']).parts[-2:])}:{found['line']} {found['function']}"
                frames.append((place, "/tests/" in found["file"]))
            continue
        if frames:
            # The test may be far out, and is what is looked for first.
            tests = [place for place, ours in frames if ours]
            near = " < ".join(place for place, _ in frames[:FRAMES])
            threads.append(f"hung: {tests[-1]}: {near}" if tests else f"hung: {near}")
            frames = []
        # Only what hung tells of several threads, each after a line of its own.
        goes_on = within and ("most recent call first" in line or not line.strip())
        if threads and not goes_on:
            yield threads
            threads = []
        within = bool(HANG.search(line)) or goes_on
    if threads:
        yield threads


def excerpt(text: str) -> list[str]:
    """What hung and where, summaries and errors; the last lines where there are none."""
    lines = text.splitlines()
    hung = [line for line in lines if line.startswith("hung: ")]
    processes = list(stacks(lines))
    # The thread in which a process began is the one that tests run in.
    first, others = [threads[-1] for threads in processes], [line for threads in processes for line in threads[:-1]]
    told = [line for line in lines if TOLD.match(line)]
    kinds = (hung[:LINES], [*first, *others][:LINES], told[:LINES], told[LINES:][-1:])
    found = list(dict.fromkeys(line for kind in kinds for line in kind))
    return [line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..." for line in found or lines[-LINES:]]


if __name__ == "__main__":
    print("\n".join(excerpt(Path(sys.argv[1]).read_text(encoding="utf-8", errors="replace"))))
