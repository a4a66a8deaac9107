"""``tsne-ooc place``: new rows are placed on a saved map."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from tsne_ooc.cli.elsewhere import add_workers, workers_of
from tsne_ooc.cli.probe import check_readable
from tsne_ooc.cli.progress import Report
from tsne_ooc.cli.shared import (
    Commands,
    add_blocks,
    add_command,
    add_dry_run,
    add_input,
    add_running,
    check_free,
    data_of,
    probing,
    say,
    summary_of,
)


def add(commands: Commands) -> None:
    """Add the command to those there are."""
    parser = add_command(
        commands,
        "place",
        help="place the rows of another file on a map",
        description="Stream the rows of a file and place each beside its nearest neighbours on a saved map, or where "
        "an encoder puts it.",
        examples="""
            map tomorrow.h5ad --out more
            map tomorrow.h5ad --out more --dry-run
            map tomorrow.h5ad --out more --resume
            encoder tomorrow.h5ad --novelty --out more
            map tomorrow.h5ad --workers 4 --out more
            map tomorrow.h5ad --rows 0:1000000 --out part-0
        """,
    )
    parser.set_defaults(run=run)
    parser.add_argument("model", help="folder of a saved model, of a finished run, or of an encoder")
    add_input(parser)
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder to write; must be new or empty")
    parser.add_argument(
        "--rows",
        metavar="A:B",
        help="place only rows A to B, counted from 0, without B itself; tsne-ooc merge joins such parts",
    )
    parser.add_argument(
        "--novelty",
        action="store_true",
        default=None,
        help="with an encoder: also write how strange rows are, which takes many times as long (maps always do)",
    )
    add_dry_run(parser)
    add_running(parser)
    add_blocks(parser)
    add_workers(parser)


def run(options: argparse.Namespace) -> int:
    _check_text(options)
    check_readable(options)
    if options.dry_run:
        from tsne_ooc.cli.forecast_place import forecast_place

        check_free(options)
        told = forecast_place(
            options.model, data_of(options), Path(options.out), rows=options.rows, novelty=options.novelty,
            n_jobs=options.jobs, dataset=options.dataset, columns=options.columns,
            allow_missing_chunks=options.allow_missing_chunks, tell=probing(options),
        )  # fmt: skip
        print(told)
        return 0
    from tsne_ooc.pipeline import place

    with Report(options.quiet) as report, workers_of(options) as executor:
        found = place(
            options.model,
            data_of(options),
            dataset=options.dataset,
            columns=options.columns,
            allow_missing_chunks=options.allow_missing_chunks,
            out=options.out,
            novelty=options.novelty,
            rows=options.rows,
            # The workers share these threads.
            n_jobs=None if executor is not None else options.jobs,
            executor=executor,
            block_rows=options.block_rows,
            resume=options.resume,
            progress=report,
        )
    say(options, summary_of(found))
    return 0


def _check_text(options: argparse.Namespace) -> None:
    """Raise for a file of text, with the lines that make a table of it which the map takes."""
    from tsne_ooc.convert.recipe import recipe_of

    text = next(filter(_is_text, map(Path, options.data)), None)
    if text is None:
        return
    like = f" --like {shlex.quote(options.model)}"
    try:
        recipe_of(options.model)
    except (OSError, ValueError):
        # The map was made of a table that does not know any text.
        like = ""
    new = f"{text.name.partition('.')[0]}-table"
    raise ValueError(
        f"{text} is text, of which a table with the columns of the map is placed: "
        f"tsne-ooc prepare {shlex.join(options.data)}{like} --out {shlex.quote(new)}, and then "
        f"tsne-ooc place {shlex.quote(options.model)} {shlex.quote(new + '/table.h5')} --out {shlex.quote(options.out)}"
    )


def _is_text(path: Path) -> bool:
    from tsne_ooc.convert.pieces import kind_of
    from tsne_ooc.io.kinds import format_of

    if kind_of(path) not in ("csv", "json") or not path.is_file():
        return False
    try:
        format_of(path)
    except OSError:
        return True
    # It is a table, whatever it is called.
    return False
