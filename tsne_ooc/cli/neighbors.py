"""``tsne-ooc neighbors``: a table in a file becomes a folder with the nearest neighbours of its rows."""

from __future__ import annotations

import argparse

from tsne_ooc.cli.fitting import METRICS, NEIGHBORS, add_preparation, preparation_of
from tsne_ooc.cli.probe import check_readable
from tsne_ooc.cli.progress import Report
from tsne_ooc.cli.shared import Commands, add_command, add_input, add_running, data_of, say

_AFTER = """\
what is written to the folder:
  indices.npy       uint32, the neighbours of each row, nearest first
  distances.npy     float32, how far away they are
  order.npy         uint32, the row of the table that each line of these two, and each number
                    in indices.npy, stands for
  manifest.json     checksums, sums of the rows, metric, recall; written last, so a folder that
                    has one is whole

use it with:
  tsne_ooc.TSNE(neighbors=tsne_ooc.neighbors.Graph.open("graph")).fit(rows)
"""


def add(commands: Commands) -> None:
    """Add the command to those there are."""
    parser = add_command(
        commands,
        "neighbors",
        help="search the nearest neighbours of all rows, and keep them",
        description="Search the nearest neighbours of all rows among each other, with rows, index and answer on the "
        "disk, and keep them for fits of all rows.",
        after=_AFTER,
        examples="""
            cells.h5ad --dataset obsm/X_pca --out graph
            cells.h5ad --log1p --pca 50 --k 15 --out graph
            cells.h5ad --log1p --pca 50 --k 15 --out graph --resume
        """,
    )
    parser.set_defaults(run=run)
    add_input(parser)
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder to write; must be new or empty")
    parser.add_argument(
        "--k", type=int, default=90, metavar="N",
        help="neighbours of each row, three times a perplexity (default: %(default)s)",
    )  # fmt: skip
    add_preparation(parser.add_argument_group("what is done to the rows first, in this order"))
    group = parser.add_argument_group("the search")
    group.add_argument(
        "--metric", metavar="WORD", default="euclidean",
        help=f"distance in the data: {', '.join(METRICS)} (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--search", metavar="WORD", default="auto",
        help=f"neighbour search: {', '.join(NEIGHBORS)} (default: auto, by size and metric)",
    )  # fmt: skip
    group.add_argument("--seed", type=int, default=0, help="seed of the search (default: 0)")
    running = parser.add_argument_group("running")
    add_running(running)
    running.add_argument(
        "--block-rows", type=int, metavar="N", help="rows at a time (default: as many as have 32 MB)"
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    from tsne_ooc._options import counted, whole

    whole("--seed", options.seed, least=0)
    whole("--k", options.k, least=1)
    check_readable(options)
    from tsne_ooc.pipeline import neighbors

    with Report(options.quiet) as report:
        graph = neighbors(
            data_of(options),
            dataset=options.dataset,
            columns=options.columns,
            allow_missing_chunks=options.allow_missing_chunks,
            out=options.out,
            k=options.k,
            metric=options.metric,
            search=options.search,
            prepare=preparation_of(options),
            random_state=options.seed,
            n_jobs=options.jobs,
            block_rows=options.block_rows,
            resume=options.resume,
            progress=report,
        )
    recall = graph.facts.recall
    found = "" if recall is None or recall == 1 else f", {recall:.3f} of the nearest"
    say(options, f"wrote {options.out}: {counted(graph.k, 'neighbours')} of each of {counted(graph.n, 'rows')}{found}")
    return 0
