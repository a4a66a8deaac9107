"""``tsne-ooc trust``: how far to trust the place of each row of a finished run."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from tsne_ooc.cli.elsewhere import add_workers, workers_of
from tsne_ooc.cli.probe import check_readable
from tsne_ooc.cli.progress import Report
from tsne_ooc.cli.shared import Commands, add_blocks, add_command, add_input, add_running, data_of, say


def add(commands: Commands) -> None:
    """Add the command to those there are."""
    parser = add_command(
        commands,
        "trust",
        help="tell how far to trust the place of each row",
        description="Score the place of each row of a finished run, and keep the scores beside its map: which share of "
        "its neighbours it keeps (recall), how firmly it is held (singularity, high where it can slide), and how far "
        "it moves when it is moved a little in the data (perturbation, high between groups). The table of the run is "
        "read once more, from where it was or from where you say.",
        examples="""
            map
            map --resume
            map cells.h5ad --k 30
            map --workers 4
        """,
    )
    parser.set_defaults(run=run)
    parser.add_argument("map", help="folder of a finished run of embed or place")
    add_input(parser, needed=False)
    parser.add_argument(
        "--k", type=int, default=10, metavar="N", help="neighbours that the recall is about (default: %(default)s)"
    )
    parser.add_argument(
        "--length", type=float, metavar="X", help="how far rows are moved (default: as far as near rows are apart)"
    )
    parser.add_argument(
        "--directions", type=int, default=3, metavar="N",
        help="principal directions along which they are moved (default: %(default)s)",
    )  # fmt: skip
    add_running(parser)
    add_blocks(parser)
    add_workers(parser)


def run(options: argparse.Namespace) -> int:
    if options.data:
        check_readable(options)
    from tsne_ooc.pipeline import trust

    with Report(options.quiet) as report, workers_of(options) as executor:
        found = trust(
            options.map,
            data_of(options) if options.data else None,
            dataset=options.dataset,
            columns=options.columns,
            allow_missing_chunks=options.allow_missing_chunks,
            k=options.k,
            length=options.length,
            directions=options.directions,
            # Workers share them.
            n_jobs=None if executor is not None else options.jobs,
            executor=executor,
            block_rows=options.block_rows,
            resume=options.resume,
            progress=report,
        )
    assert found.trusted is not None
    content = found.trusted.content
    took, rows = max(content["seconds"]["trust"], 1e-3), content["facts"]["scored"]
    say(options, f"scored {rows:,} rows in {took:.1f} s ({rows / took:,.0f} rows/s)")
    say(options, "\n".join(lines_of(content["facts"])))
    say(options, f"see them: {next_of(options.map, found.trusted.arrays)}")
    return 0


def lines_of(facts: dict[str, Any]) -> list[str]:
    """What the scores say, in words."""
    k, kept, n = facts["k"], facts["kept"], max(1, facts["scored"])
    below, median = 0, 0
    while 2 * (below := below + kept[median]) < n and median < k:
        median += 1
    lines = [f"recall: half of the rows have at least {median} of their {k} nearest rows near them on the map"]
    if kept[0]:
        lines[0] += f", {kept[0]:,} ({kept[0] / n:.1%}) have none"
    if "doubtful" in facts:
        many = facts["doubtful"]
        are = "is" if many == 1 else "are"
        lines.append(
            f"perturbation: {many:,} ({many / n:.1%}) {are} in doubt: moved by {facts['length']:.3g} in the data, they "
            f"land more than {facts['far']:.3g} away on the map, in another part of it"
        )
    return lines


def next_of(folder: str, names: Any) -> str:
    """The command that shows them."""
    color = "perturbation" if "perturbation" in names else "recall"
    return f"tsne-ooc plot {shlex.quote(str(folder))} --color {color}"
