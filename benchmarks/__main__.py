"""Benchmarks at a command: ``python -m benchmarks COMMAND``.

    run      programs in turn on the same rows, each in a process of its own: seconds, memory, quality
    scaling  the same from 10,000 rows to millions, with the exponents of growth
    history  a dozen quick timings, written down with the commit, against those written before
    list     all scripts: what each measures, its command, and when it was last recorded
    page     write the tables of docs/benchmarks.md from what was recorded

Each has its own ``--help``.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

# Scripts import each other by name, as they do where one of them is run by itself.
sys.path.insert(0, str(Path(__file__).parent))

COMMANDS = {"run": "comparison", "scaling": "growth", "history": "history", "list": "catalogue", "page": "page"}


def main() -> None:
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print(__doc__)
        return
    if words[0] not in COMMANDS:
        sys.exit(f"there is no command {words[0]!r}; there are {', '.join(COMMANDS)}")
    sys.argv = [f"python -m benchmarks {words[0]}", *words[1:]]
    importlib.import_module(COMMANDS[words[0]]).main()


if __name__ == "__main__":
    main()
