"""``tsne-ooc view``: a finished run becomes one page of HTML."""

from __future__ import annotations

import argparse
from pathlib import Path

from tsne_ooc.cli.plot import beside, numbers
from tsne_ooc.cli.shared import Commands, add_command, add_talking, say, split_names


def add(commands: Commands) -> None:
    """Add the command to those there are."""
    parser = add_command(
        commands,
        "view",
        help="write a map as a page to hand over",
        description="Write the map of a finished run as one page of HTML, which any browser opens without a network: "
        "to zoom, to see what a row is, to filter, search and select, and to save the selected rows. Columns are found "
        "by name, as by tsne-ooc plot. Rows that tsne-ooc place put on a map are shown over a grey picture of it.",
        examples="""
            map --color cell_type
            map --color cell_type --columns n_genes,CD3D,novelty --out cells.html
            map --color labels.csv --title 'Cells of March' --out march.html
        """,
    )
    parser.set_defaults(run=run)
    parser.add_argument("map", help="folder of a finished run or of a saved model, or a .npy file of coordinates")
    parser.add_argument(
        "--color", metavar="NAME", help="column to colour by at first, or a file of one column (.npy, .csv, .tsv, .txt)"
    )
    parser.add_argument(
        "--columns", type=split_names, default=[], metavar="A,B,...", help="further columns to show and to colour by"
    )
    parser.add_argument(
        "--behind",
        metavar="MAP",
        help="map of the grey picture (default: for rows of tsne-ooc place, the one they were placed on)",
    )
    parser.add_argument("--data", metavar="FILE", help="file that has the columns (default: the map's own table)")
    parser.add_argument("--axes", metavar="A,B", help="the two axes to show of a map of three, such as 1,3")
    parser.add_argument("--out", metavar="FILE", help="the page (default: beside the map, with its name and .html)")
    parser.add_argument("--overwrite", action="store_true", help="replace a page that is there")
    parser.add_argument("--title", metavar="TEXT", help="title of the page (default: the name of the folder)")
    parser.add_argument(
        "--most", type=int, default=1_000_000, metavar="N", help="most rows shown one by one (default: %(default)s)"
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="threads (default: all cores)")
    add_talking(parser)


def run(options: argparse.Namespace) -> int:
    from tsne_ooc.view import view

    out = view(
        options.map,
        options.color,
        out=Path(options.out) if options.out else beside(options.map, ".html"),
        columns=options.columns,
        behind=options.behind,
        data=options.data,
        axes=None if options.axes is None else numbers("--axes", options.axes),
        title=options.title,
        most=options.most,
        overwrite=options.overwrite,
        n_jobs=options.jobs,
    )
    say(options, f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB): open it in a browser")
    return 0
