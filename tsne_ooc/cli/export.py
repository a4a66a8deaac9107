"""``tsne-ooc export``: the coordinates in the formats of other tools."""

from __future__ import annotations

import argparse
from typing import Any

from tsne_ooc.cli.probe import check_anndata
from tsne_ooc.cli.shared import add_talking, say


def add(commands: Any) -> None:
    """Add the command to those there are."""
    parser = commands.add_parser(
        "export",
        help="write the coordinates for other tools",
        description="Write the coordinates of a finished run to a file of HDF5, Zarr, Parquet or CSV, or into an h5ad "
        "file that exists, which is otherwise left as it is.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("map", help="folder of a finished run")
    parser.add_argument("--to", required=True, metavar="FILE", help="such as map.h5, map.zarr, map.parquet, cells.h5ad")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there under this name")
    add_talking(parser)


def run(options: argparse.Namespace) -> int:
    check_anndata(options.to)
    from tsne_ooc.export import export

    say(options, f"wrote {export(options.map, options.to, overwrite=options.overwrite)}")
    return 0
