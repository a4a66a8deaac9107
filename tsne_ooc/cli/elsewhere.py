"""Which processes place the rows: this one, several of this machine, or the workers of a cluster."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from tsne_ooc.cli.shared import Group

if TYPE_CHECKING:
    from concurrent.futures import Executor


def add_workers(parser: Group) -> None:
    """Add the options that say which processes place the rows."""
    who = parser.add_mutually_exclusive_group()
    who.add_argument(
        "--workers", type=int, metavar="N", help="place rows in N processes, which share the threads of --jobs"
    )
    who.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="place rows on the workers of this Dask scheduler, such as tcp://10.0.0.1:8786; they open the files by "
        "their paths",
    )


def workers_of(options: argparse.Namespace) -> AbstractContextManager[Executor | None]:
    """The executor that was asked for, as a context that lasts until the work is done; None for this process."""
    if options.workers is None and options.scheduler is None:
        return nullcontext()
    from tsne_ooc.workers import LocalWorkers, on_cluster

    if options.scheduler is not None:
        return on_cluster(options.scheduler)
    return LocalWorkers(options.workers, n_jobs=options.jobs)
