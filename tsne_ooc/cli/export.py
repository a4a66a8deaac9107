"""``tsne-ooc export``: the coordinates are written in the formats of other tools."""

from __future__ import annotations

import argparse

from tsne_ooc.cli.probe import check_anndata
from tsne_ooc.cli.shared import Commands, add_command, add_talking, say


def add(commands: Commands) -> None:
    """Add the command to those there are."""
    parser = add_command(
        commands,
        "export",
        help="write the coordinates for other tools",
        description="Write the coordinates of a finished run to a file of HDF5, Zarr, Parquet or CSV, or into an h5ad "
        "file that exists, which is otherwise left as it is.",
        examples="""
            map --to map.parquet
            map --to cells.h5ad
            map --to map.parquet --per-file
            map --to cells-with-map.h5ad --like cells.h5ad --dataset X_map
        """,
    )
    parser.set_defaults(run=run)
    parser.add_argument("map", help="folder of a finished run")
    parser.add_argument("--to", required=True, metavar="FILE", help="such as map.h5, map.zarr, map.parquet, cells.h5ad")
    parser.add_argument("--like", metavar="FILE", help="with .h5ad: the AnnData file to copy, and put the map in")
    parser.add_argument(
        "--dataset", default="X_tsne", metavar="NAME", help="with .h5ad: name within obsm (default: %(default)s)"
    )
    parser.add_argument(
        "--per-file",
        action="store_true",
        help="for a map of many files: write one file for each of them, named after it",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is there under this name")
    add_talking(parser)


def run(options: argparse.Namespace) -> int:
    check_anndata(options.like or options.to)
    from tsne_ooc.export import export, export_per_file

    if options.per_file:
        if options.like is not None or options.dataset != "X_tsne":
            raise ValueError("--per-file takes neither --like nor --dataset: it makes copies of the files themselves")
        for path in export_per_file(options.map, options.to, overwrite=options.overwrite):
            say(options, f"wrote {path}")
        return 0

    wrote = export(options.map, options.to, like=options.like, dataset=options.dataset, overwrite=options.overwrite)
    say(options, f"wrote {wrote}")
    return 0
