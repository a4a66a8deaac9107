"""``tsne-ooc report``: how far to trust a map, as a page."""

from __future__ import annotations

import argparse
from pathlib import Path

from tsne_ooc.cli.plot import beside, numbers
from tsne_ooc.cli.shared import Commands, add_command, add_talking, say


def add(commands: Commands) -> None:
    """Add the command to those there are."""
    parser = add_command(
        commands,
        "report",
        help="write how far to trust a map",
        description="Write a page of HTML that says how a map was made and how faithful it is: which neighbours it "
        "keeps, beside principal components and chance. Of several maps of the same rows it also says what they have "
        "in common, and which rows change.",
        examples="""
            map --color cell_type
            map --table /new/place/cells.h5ad --out report.html
            map another-seed a-third --color cell_type --out three.html
        """,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "map", nargs="+", help="folder of a finished run or of a saved model, or a .npy file of coordinates"
    )
    parser.add_argument(
        "--color", metavar="NAME", help="column of labels, or a file of one column (.npy, .csv, .tsv, .txt)"
    )
    parser.add_argument("--data", metavar="FILE", help="file that has the labels (default: the map's own table)")
    parser.add_argument("--table", metavar="FILE", help="where the rows of the map are now (default: where they were)")
    parser.add_argument("--axes", metavar="A,B", help="the two axes to draw of a map of three, such as 1,3")
    parser.add_argument("--sample", type=int, metavar="N", help="rows to compare with all others (default: by size)")
    parser.add_argument("--seed", type=int, default=0, help="seed of what is drawn (default: 0)")
    parser.add_argument("--title", metavar="TEXT", help="title of the page (default: the name of the folder)")
    parser.add_argument(
        "--out", metavar="FILE", help="the page (default: beside the first map, with its name and .report.html)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a page that is there")
    parser.add_argument("--jobs", type=int, metavar="N", help="threads (default: all cores)")
    add_talking(parser)


def run(options: argparse.Namespace) -> int:
    from tsne_ooc.report import report

    first, *others = options.map
    out = report(
        first,
        options.color,
        out=Path(options.out) if options.out else beside(first, ".report.html"),
        others=others,
        table=options.table,
        data=options.data,
        axes=None if options.axes is None else numbers("--axes", options.axes),
        title=options.title,
        sample=options.sample,
        random_state=options.seed,
        overwrite=options.overwrite,
        n_jobs=options.jobs,
    )
    say(options, f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB): open it in a browser")
    return 0
