"""``tsne-ooc look``: what is in a file, what would be read of it, and a guess of what to do first."""

from __future__ import annotations

import argparse
from typing import Any

from tsne_ooc.cli.probe import check_table
from tsne_ooc.cli.shared import add_input


def add(commands: Any) -> None:
    """Add the command to those there are."""
    parser = commands.add_parser(
        "look",
        help="see what is in a file before a run",
        description="Say what a file holds, which columns and files would be read and which left out and why, show the "
        "first rows, the share of zeros and of missing values, and guess what to prepare. Some hundred rows are read "
        "from all over the file, and nothing is written.",
    )
    parser.set_defaults(run=run)
    add_input(parser)
    parser.add_argument("--verbose", action="store_true", help="tell more of errors")


def run(options: argparse.Namespace) -> int:
    check_table(options)
    from tsne_ooc.overview import look

    found = look(
        options.data,
        dataset=options.dataset,
        columns=options.columns,
        allow_missing_chunks=options.allow_missing_chunks,
    )
    print(found)
    # What a run of the same words would end with.
    return 0 if found.problem is None else 2
