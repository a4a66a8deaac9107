"""``tsne-ooc embed``: a table in a file to a folder with its map."""

from __future__ import annotations

import argparse
from typing import Any

from tsne_ooc.cli.elsewhere import add_workers, workers_of
from tsne_ooc.cli.fitting import add_map, add_preparation, preparation_of, tsne_of
from tsne_ooc.cli.probe import check_readable
from tsne_ooc.cli.report import Report
from tsne_ooc.cli.shared import (
    Commands,
    Group,
    add_blocks,
    add_command,
    add_input,
    add_running,
    check_plots,
    say,
    summary_of,
)

_AFTER = """\
what is written to the folder:
  embedding.npy     float32, one row of coordinates for every row of the table
  novelty.npy       float32, how strange each row was to the sample; 1 is usual
  sample_rows.npy   int64, numbers of the rows that were fitted
  model/            the fitted map; tsne-ooc place puts new rows on it
  manifest.json     parameters, checksums, times and the fit's divergence; written last, so a
                    folder that has one is whole

read it with:
  numpy.load("map/embedding.npy", mmap_mode="r")
"""


def add(commands: Commands) -> None:
    """Add the command to those there are."""
    parser = add_command(
        commands,
        "embed",
        help="map a table in a file",
        description="Fit a sample of the rows with t-SNE, then stream and place all the others.",
        after=_AFTER,
        examples="""
            cells.h5ad --out map
            cells.h5ad --log1p --pca 50 --exaggeration 4 --plot --out map
            cells.h5ad --log1p --pca 50 --exaggeration 4 --plot --out map --resume
            cells.h5ad --dataset obsm/X_pca --sample 50000 --out map
            cells.h5ad --dataset obsm/X_pca --sample-by stratified --labels cell_type --out map
            table.parquet --columns 'PC*' --sample-by coverage --rounds 2 --out map
        """,
    )
    parser.set_defaults(run=run)
    add_input(parser)
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder to write; must be new or empty")
    _add_sample(parser.add_argument_group("the sample"))
    add_preparation(parser.add_argument_group("what is done to the rows first, in this order"))
    fit = parser.add_argument_group("the map")
    add_map(fit)
    fit.add_argument("--seed", type=int, default=0, help="seed of sample and fit (default: 0)")
    running = parser.add_argument_group("running")
    add_running(running)
    add_blocks(running)
    add_workers(running)
    parser.add_argument("--plot", action="store_true", help="also draw embedding.png (needs matplotlib)")


def _add_sample(group: Group) -> None:
    group.add_argument("--sample", type=int, default=25_000, metavar="N", help="rows to fit (default: %(default)s)")
    group.add_argument(
        "--sample-by",
        choices=("uniform", "stratified", "balanced", "coverage"),
        default="uniform",
        help="uniform: every row equally likely; stratified, balanced: by --labels, in proportion or equally many of "
        "each; coverage: even over the data's own space, so that rare groups are kept (default: uniform)",
    )
    group.add_argument("--labels", metavar="NAME", help="where the labels are: obs/NAME, a dataset or a column")
    group.add_argument(
        "--rounds",
        type=int,
        default=1,
        metavar="N",
        help="2: look at all rows first and add to the sample what it missed",
    )


def run(options: argparse.Namespace) -> int:
    from tsne_ooc._options import whole

    whole("--seed", options.seed, least=0)
    whole("--sample", options.sample, least=1)
    whole("--rounds", options.rounds, least=1)
    if options.plot:
        check_plots()
        if (options.n_components or 2) > 2:
            raise ValueError("--plot draws maps of one or two dimensions; leave it out with --n-components 3")
    check_readable(options)
    from tsne_ooc.pipeline import embed

    with Report(options.quiet) as report, workers_of(options) as executor:
        found = embed(
            options.data,
            dataset=options.dataset,
            columns=options.columns,
            allow_missing_chunks=options.allow_missing_chunks,
            out=options.out,
            sample=_sample(options),
            prepare=preparation_of(options),
            rounds=options.rounds,
            tsne=tsne_of(options),
            random_state=options.seed,
            executor=executor,
            block_rows=options.block_rows,
            resume=options.resume,
            progress=report,
        )
    say(options, summary_of(found))
    if options.plot:
        from tsne_ooc.plot import scatter

        picture = found.folder / "embedding.png"
        scatter(found.embedding).figure.savefig(picture)
        say(options, f"wrote {picture}")
    return 0


def _sample(options: argparse.Namespace) -> Any:
    from tsne_ooc import sampling

    by_labels = options.sample_by in ("stratified", "balanced")
    if by_labels and options.labels is None:
        raise ValueError(
            f"--sample-by {options.sample_by} needs --labels, which says where the labels are: obs/NAME, a dataset or "
            "a column"
        )
    if options.labels is not None and not by_labels:
        raise ValueError(
            f"--sample-by {options.sample_by} looks at no labels; say --sample-by stratified or balanced, or leave "
            "--labels out"
        )
    if by_labels:
        labels = sampling.labels_of(options.data, options.labels)
        balance = "balanced" if options.sample_by == "balanced" else "proportional"
        return sampling.Stratified(options.sample, labels, balance=balance)
    return (
        sampling.Coverage(options.sample) if options.sample_by == "coverage" else sampling.UniformSample(options.sample)
    )
