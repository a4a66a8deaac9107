"""``tsne-ooc look``: what is in a file, what would be read from it, and a guess what to do first."""

from __future__ import annotations

import argparse

from tsne_ooc.cli.probe import check_readable
from tsne_ooc.cli.shared import Commands, add_command, add_input


def add(commands: Commands) -> None:
    """Add the command to those there are."""
    parser = add_command(
        commands,
        "look",
        help="see what is in a file before a run",
        description="Say what a file holds, which columns and files would be read and which left out and why, show the "
        "first rows, the share of zeros and of missing values, and guess what to prepare. Some hundred rows are read "
        "from all over the file, and nothing is written.",
        examples="""
            cells.h5ad
            mnist.h5 --dataset X
            table.parquet --columns 'PC*'
        """,
    )
    parser.set_defaults(run=run)
    add_input(parser, several=False)
    parser.add_argument("--verbose", action="store_true", help="say more of errors")


def run(options: argparse.Namespace) -> int:
    check_readable(options)
    from tsne_ooc.io.overview import look

    found = look(
        options.data,
        dataset=options.dataset,
        columns=options.columns,
        allow_missing_chunks=options.allow_missing_chunks,
    )
    if found.problem is None:
        print(found)
        return 0
    # What the file holds is printed first, and then the error that a run with the same words would end with.
    print("\n".join(str(found).splitlines()[:-1]), flush=True)
    raise ValueError(found.problem)
