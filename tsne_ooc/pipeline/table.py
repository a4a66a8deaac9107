"""The table of a run, which is closed at the end of the run where it was opened here."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tsne_ooc._typing import TableLike
from tsne_ooc.io import Source, names_of, open_source
from tsne_ooc.io.ahead import hanging
from tsne_ooc.io.files import are_files
from tsne_ooc.io.told import account_of, in_words

log = logging.getLogger(__name__)


@contextmanager
def opened(
    source: TableLike,
    dataset: str | None,
    columns: list[str] | None,
    allow_missing_chunks: bool = False,
    of_the_fit: Sequence[str] | None = None,
) -> Iterator[Source]:
    """Open `source` as a table; a file that was given as a path is closed afterwards, and one that was open stays open.

    Some columns, such as those of words, are read only if they are named. Where no columns are named, and one of these
    is among those `of_the_fit`, the columns `of_the_fit` are read.
    """
    named = isinstance(source, str | os.PathLike) or are_files(source)
    table = open_source(source, dataset=dataset, columns=columns, allow_missing_chunks=allow_missing_chunks)
    if columns is None and named and of_the_fit is not None:
        lacking = set(of_the_fit) - set(names_of(table) or of_the_fit)
        if lacking and lacking <= set(account_of(table)["left_out"]):
            if hasattr(table, "close"):
                table.close()
            table = open_source(source, dataset=dataset, columns=of_the_fit, allow_missing_chunks=allow_missing_chunks)
    for line in in_words(account_of(table)):
        log.info("%s", line)
    try:
        yield table
    finally:
        # While a read hangs, closing would hang, too.
        if named and hasattr(table, "close") and not hanging():
            table.close()
