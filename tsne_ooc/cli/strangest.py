"""``tsne-ooc strangest``: the rows of a finished run that are least like the others."""

from __future__ import annotations

import argparse
from typing import Any

from tsne_ooc.cli.shared import add_command, split_names


def add(commands: Any) -> None:
    """Add the command to those there are."""
    parser = add_command(
        commands,
        "strangest",
        help="list the rows that are least like the others",
        description="List the rows of a finished run that have the highest novelty: their numbers in the table, "
        "counted from 0; how many times as far from the sample they are as its rows are from each other; and "
        "where they are on the map. With --columns also what the table says of them, read from its file.",
        examples="""
            map
            map --top 100
            map --columns 'bytes,proto'
        """,
    )
    parser.set_defaults(run=run)
    parser.add_argument("map", help="folder of a finished run")
    parser.add_argument("--top", type=int, default=20, metavar="N", help="rows that are listed (default: %(default)s)")
    parser.add_argument(
        "--columns", type=split_names, metavar="A,B,...", help="columns of the table to show; * stands for anything"
    )
    parser.add_argument("--verbose", action="store_true", help="say more of errors")


def run(options: argparse.Namespace) -> int:
    import numpy as np

    from tsne_ooc._options import whole
    from tsne_ooc.novelty import strangest
    from tsne_ooc.pipeline import open_run

    top = whole("--top", options.top, least=1)
    found = open_run(options.map)
    if found.novelty is None:
        raise ValueError(f"{options.map} has no novelty; an encoder's rows have it with tsne-ooc place --novelty")
    rows = strangest(found.novelty, top)
    axes = [f"tsne{j + 1}" for j in range(found.embedding.shape[1])]
    lines = [["row", "novelty", "fitted", *axes]]
    fitted = np.empty(0, np.int64) if found.sample_rows is None else found.sample_rows
    for row, own in zip(rows.tolist(), np.isin(rows, fitted).tolist(), strict=True):
        places = [f"{place:.2f}" for place in found.embedding[row].tolist()]
        lines.append([str(row), f"{found.novelty[row]:.2f}", "yes" if own else "no", *places])
    if options.columns is not None:
        for line, more in zip(lines, _cells(found, options.columns, rows.tolist()), strict=True):
            line.extend(more)
    widths = [max(len(line[j]) for line in lines) for j in range(len(lines[0]))]
    for line in lines:
        print("  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)))
    return 0


def _cells(found: Any, columns: list[str], rows: list[int]) -> list[list[str]]:
    """The names of columns, and then their cells in each row, as the table has them."""
    from tsne_ooc.pipeline.table import opened

    source = found.manifest["job"]["source"]
    if source.get("path") is None:
        raise ValueError(
            f"{found.folder} was not made from a file, so its columns cannot be shown; leave --columns out"
        )
    files = [file["path"] for file in found.manifest.get("files", [])]
    with opened(files or source["path"], source.get("dataset"), columns) as table:
        if table.shape[0] != len(found.embedding):
            raise ValueError(
                f"{source['path']} has {table.shape[0]:,} rows now, and the map has {len(found.embedding):,}"
            )
        read: Any = table
        cells = [[str(name) for name in read.column_names]]
        for row in rows:
            cells.append([_shown(column[0]) for column in read.read_columns(row, row + 1).values()])
    return cells


def _shown(cell: Any) -> str:
    cell = cell.decode() if isinstance(cell, bytes) else cell
    return f"{cell:.6g}" if hasattr(cell, "dtype") and cell.dtype.kind == "f" else str(cell)
