"""Write the tables of docs/benchmarks.md from what was recorded.

    python benchmarks/whole_fit.py --record whole-fit-mnist
    python -m benchmarks page

A script that is given ``--record NAME`` keeps its table as `benchmarks/records/NAME.json`. Where the page says
``<!-- table: NAME -->``, the table below is written from it; what the page says around it is written by hand. With
`--check` nothing is written, and the exit code is 1 where the page says something else than its records.
"""

from __future__ import annotations

import argparse
import sys

import records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; say whether the page is as its records")
    args = parser.parse_args()
    page = records.PAGE.read_text(encoding="utf-8")
    found = records.written(page)
    if args.check and found != page:
        sys.exit(f"{records.PAGE} says something else than its records; run python -m benchmarks page")
    if found != page:
        records.PAGE.write_text(found, encoding="utf-8")
