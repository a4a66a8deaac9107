"""``tsne-ooc merge``: parts of a table that several jobs placed become one."""

from __future__ import annotations

import argparse

from tsne_ooc.cli.shared import Commands, add_command, add_talking, say, summary_of


def add(commands: Commands) -> None:
    """Add the command to those there are."""
    parser = add_command(
        commands,
        "merge",
        help="join parts of a table that were placed with --rows",
        description="Join the folders that tsne-ooc place --rows wrote for one table, in any order, to what one run "
        "over the whole table would have written. Parts that overlap, leave rows out, or are of another table or map "
        "are refused by name.",
        examples="""
            part-0 part-1 part-2 --out whole
            part-* --out whole
        """,
    )
    parser.set_defaults(run=run)
    parser.add_argument("parts", nargs="+", help="folders of the parts")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder to write; must be new or empty")
    add_talking(parser)


def run(options: argparse.Namespace) -> int:
    from tsne_ooc.pipeline import merge

    say(options, summary_of(merge(options.parts, out=options.out)))
    return 0
