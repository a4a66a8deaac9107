"""``tsne-ooc embed``: a table in a file becomes a folder with its map."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsne_ooc.cli.elsewhere import add_workers, workers_of
from tsne_ooc.cli.fitting import add_map, add_preparation, preparation_of, tsne_of
from tsne_ooc.cli.forecast import WORTH, Forecast, silent
from tsne_ooc.cli.probe import check_readable
from tsne_ooc.cli.progress import Report
from tsne_ooc.cli.shared import (
    Commands,
    Group,
    add_blocks,
    add_command,
    add_dry_run,
    add_input,
    add_running,
    check_free,
    check_plots,
    data_of,
    is_taken,
    probing,
    say,
    summary_of,
)

if TYPE_CHECKING:
    from tsne_ooc._typing import Json
    from tsne_ooc.io import Source

_AFTER = """\
what is written to the folder:
  embedding.npy     float32, one row of coordinates for every row of the table
  novelty.npy       float32, how strange each row is to the sample; 1 is usual
  sample_rows.npy   int64, numbers of the rows that were fitted
  placed.npy        with --refine: where the rows were placed, before all moved together
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
        help="make a map of a table in a file",
        description="Fit a sample of the rows with t-SNE, then stream and place all the others.",
        after=_AFTER,
        examples="""
            cells.h5ad --out map
            cells.h5ad --log1p --pca 50 --exaggeration 4 --plot --out map --dry-run
            cells.h5ad --log1p --pca 50 --exaggeration 4 --color cell_type --out map
            cells.h5ad --log1p --pca 50 --exaggeration 4 --plot --out map --resume
            cells.h5ad --dataset obsm/X_pca --sample 50000 --out map
            cells.h5ad --dataset obsm/X_pca --sample-by stratified --labels cell_type --out map
            table.parquet --columns 'PC*' --sample-by coverage --rounds 2 --out map
            cells.h5ad --dataset obsm/X_pca --refine --out map --dry-run
            cells.h5ad --dataset obsm/X_pca --refine --out map
            cells.h5ad --recipe large --exaggeration 4 --out map
        """,
    )
    parser.set_defaults(run=run)
    add_input(parser)
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder to write; must be new or empty")
    _add_sample(parser.add_argument_group("the sample"))
    add_preparation(parser.add_argument_group("what is done to the rows first, in this order"))
    fit = parser.add_argument_group("the map")
    add_map(fit)
    _add_refinement(parser.add_argument_group("all rows together"))
    fit.add_argument("--seed", type=int, default=0, help="seed of sample and fit (default: 0)")
    running = parser.add_argument_group("running")
    add_dry_run(running)
    add_running(running)
    add_blocks(running)
    add_workers(running)
    picture = parser.add_argument_group("the picture")
    picture.add_argument("--plot", action="store_true", help="also draw embedding.png (needs matplotlib)")
    picture.add_argument(
        "--color",
        metavar="NAME",
        help="draw it coloured by a column of the table's file, also of obs; novelty; or a file of labels",
    )


def _add_sample(group: Group) -> None:
    group.add_argument("--sample", type=int, default=25_000, metavar="N", help="rows to fit (default: %(default)s)")
    group.add_argument(
        "--sample-by",
        choices=("uniform", "stratified", "balanced", "coverage"),
        default="uniform",
        help="uniform: each row is equally likely; stratified, balanced: by --labels, in proportion or equally many of "
        "each; coverage: evenly over the data's own space, so that rare groups are kept (default: uniform)",
    )
    group.add_argument("--labels", metavar="NAME", help="where the labels are: obs/NAME, a dataset or a column")
    group.add_argument(
        "--rounds",
        type=int,
        default=1,
        metavar="N",
        help="2: look at all rows first and add to the sample what it missed",
    )


def _add_refinement(group: Group) -> None:
    group.add_argument(
        "--refine",
        action="store_true",
        help="let all rows move together once they are placed: neighbourhoods become those of a fit of all rows",
    )
    group.add_argument(
        "--memory",
        type=float,
        metavar="GB",
        help="memory of the process; rows, neighbours and affinities beyond it are kept on disk, and the map is the "
        "same (default: half of what is free)",
    )
    group.add_argument(
        "--scratch", metavar="DIR", help="folder on a disk for what memory does not hold (default: the run's own)"
    )
    group.add_argument(
        "--sample-perplexity",
        type=float,
        metavar="N",
        help="neighbourhood size of the sample's fit, which decides the large picture (default: that of all rows; "
        "with --recipe large equal affinities to the nearest 1/150 of the sample)",
    )
    group.add_argument(
        "--reference",
        type=int,
        metavar="N",
        help="rows that the refined map keeps, for new ones to be placed beside (default: all, up to 2 million)",
    )
    group.add_argument(
        "--graph",
        metavar="FOLDER",
        help="neighbours of all rows that tsne-ooc neighbors has searched, prepared as here (default: search them)",
    )
    group.add_argument(
        "--recipe",
        choices=("large",),
        help="large: the published recipe for large data; --refine, the sample at a high perplexity, and 50 principal "
        "components of more than 100 columns",
    )


def run(options: argparse.Namespace) -> int:
    from tsne_ooc._options import whole

    whole("--seed", options.seed, least=0)
    whole("--sample", options.sample, least=1)
    whole("--rounds", options.rounds, least=1)
    plot = options.plot or options.color is not None
    if plot:
        check_plots("leave --plot and --color out")
        if (options.n_components or 2) > 2:
            raise ValueError("--plot draws maps of one or two dimensions; leave it out with --n-components 3")
    refined = options.refine or options.recipe is not None
    for name in ("sample_perplexity", "reference", "memory", "scratch", "graph"):
        if getattr(options, name) is not None and not refined:
            raise ValueError(f"--{name.replace('_', '-')} is for maps of all rows together; add --refine")
    check_readable(options)
    color = _color(options)
    if options.dry_run:
        check_free(options)
        print(_forecast(options, least=0))
        return 0
    with Report(options.quiet) as report, workers_of(options) as executor:
        # Where the folder is taken, the run itself says so, and whether one can go on with it.
        if not (options.quiet or options.resume or is_taken(Path(options.out))):
            # An estimate that fails does not stop the run, which itself says what is wrong.
            with suppress(ValueError, TypeError, OSError, ArithmeticError, MemoryError):
                if (foretold := _forecast(options, least=WORTH)) is not None:
                    print(foretold.brief(), file=sys.stderr, flush=True)
        from tsne_ooc.pipeline import embed

        common = {
            "dataset": options.dataset, "columns": options.columns,
            "allow_missing_chunks": options.allow_missing_chunks, "out": options.out,
            "rounds": options.rounds, "random_state": options.seed, "block_rows": options.block_rows,
            "resume": options.resume, "progress": report, "executor": executor,
        }  # fmt: skip
        found = embed(data_of(options), **_settings(options), **common)
    say(options, summary_of(found))
    if plot:
        from tsne_ooc.plot import draw
        from tsne_ooc.plot.saving import save

        picture = found.folder / "embedding.png"
        save(draw(found, color, n_jobs=options.jobs), picture, overwrite=True)
        say(options, f"wrote {picture}")
    return 0


def _settings(options: argparse.Namespace) -> Json:
    """The options of the fits, as `embed` takes them."""
    from tsne_ooc.refinement import Refinement

    tsne, sample, prepare, refine = tsne_of(options), _sample(options), preparation_of(options), None
    if options.recipe:
        from tsne_ooc.recipes import settings_of_large

        where = {
            "dataset": options.dataset, "columns": options.columns,
            "allow_missing_chunks": options.allow_missing_chunks,
        }  # fmt: skip
        return settings_of_large(
            data_of(options), tsne, perplexity=tsne.perplexity, sample=sample,
            sample_perplexity=options.sample_perplexity, reference=options.reference, memory=options.memory,
            scratch=options.scratch, graph=_graph(options), prepare=prepare or "auto", where=where,
        )  # fmt: skip
    if options.refine:
        refine = Refinement(
            perplexity=tsne.perplexity, reference=options.reference, memory=options.memory, scratch=options.scratch,
            **({} if options.graph is None else {"neighbors": _graph(options)}),
        )  # fmt: skip
        if options.sample_perplexity is not None:
            tsne.set_params(perplexity=options.sample_perplexity)
    return {"sample": sample, "tsne": tsne, "prepare": prepare, "refine": refine or False}


def _graph(options: argparse.Namespace) -> Any:
    from tsne_ooc.neighbors import Graph

    return None if options.graph is None else Graph.open(options.graph)


def _color(options: argparse.Namespace) -> Any:
    """What the picture is coloured by; it is read before the work, so that a wrong name is an error at once."""
    if options.color is None or options.color == "novelty" or options.color == "sampled":
        return options.color
    from tsne_ooc.pipeline.table import opened
    from tsne_ooc.plot.column import ALONE, column_in, column_of_file

    color, data = options.color, data_of(options)
    path = Path(color)
    of_file = path.suffix.lower() in ALONE
    alone = of_file and path.is_file()
    if of_file and not alone and str(data).endswith(".npy"):
        near = difflib.get_close_matches(path.name, os.listdir(path.parent) if path.parent.is_dir() else [], 1)
        raise FileNotFoundError(f"--color: there is no file {color}" + (f"; did you mean {near[0]!r}?" if near else ""))
    if not alone and str(data).endswith(".npy"):
        raise ValueError(f"--color {color}: {data} holds only rows; give a .npy file of their labels")
    with opened(data, options.dataset, options.columns, options.allow_missing_chunks) as table:
        n = table.shape[0]
    labels = column_of_file(Path(color), n) if alone else column_in(data, color)
    if len(labels) != n:
        raise ValueError(f"--color {color} has {len(labels):,} labels, and the table has {n:,} rows")
    return labels


def _forecast(options: argparse.Namespace, *, least: int) -> Forecast | None:
    """What the run would take; None for fewer rows than `least`, where a run is hardly longer than the probe."""
    from tsne_ooc.io import open_source
    from tsne_ooc.io.ahead import hanging

    where = {"dataset": options.dataset, "columns": options.columns}
    table: Any = open_source(data_of(options), **where, allow_missing_chunks=options.allow_missing_chunks)
    try:
        if table.shape[0] < least:
            return None
        tell = probing(options)
        if least:
            # What is imported from here on takes a second or two, and what is wrong is told by the run itself.
            tell()
            tell = silent
        return _tried(options, table, tell)
    finally:
        if not hanging():
            table.close()


def _tried(options: argparse.Namespace, table: Source, tell: Callable[[], None]) -> Forecast:
    from tsne_ooc.cli.forecast import forecast
    from tsne_ooc.pipeline.embedding import course_of

    settings = _settings(options)
    model, prepare, refine = settings["tsne"], settings["prepare"], settings["refine"]
    model.check_options()
    course = course_of(refine, model, prepare) if refine else None
    return forecast(
        table, Path(options.out), model=model, sample=settings["sample"], prepare=prepare, rounds=options.rounds,
        seed=options.seed, course=course, tell=tell,
    )  # fmt: skip


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
            f"--sample-by {options.sample_by} does not look at labels; say --sample-by stratified or balanced, or "
            "leave --labels out"
        )
    if by_labels:
        labels = sampling.labels_of(data_of(options), options.labels)
        balance = "balanced" if options.sample_by == "balanced" else "proportional"
        return sampling.Stratified(options.sample, labels, balance=balance)
    return (
        sampling.Coverage(options.sample) if options.sample_by == "coverage" else sampling.UniformSample(options.sample)
    )
