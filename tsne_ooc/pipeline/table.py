"""The table of a run, closed at its end where it was opened here."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from tsne_ooc._typing import TableLike
from tsne_ooc.io import Source, open_source
from tsne_ooc.io.ahead import hanging
from tsne_ooc.io.told import account_of, in_words

log = logging.getLogger(__name__)


@contextmanager
def opened(
    source: TableLike, dataset: str | None, columns: list[str] | None, allow_missing_chunks: bool = False
) -> Iterator[Source]:
    """`source` as a table; a file that a path leads to is closed afterwards, what came in open stays open."""
    table = open_source(source, dataset=dataset, columns=columns, allow_missing_chunks=allow_missing_chunks)
    for line in in_words(account_of(table)):
        log.info("%s", line)
    try:
        yield table
    finally:
        # Behind a read that hangs, closing would hang too.
        if isinstance(source, str | os.PathLike) and hasattr(table, "close") and not hanging():
            table.close()
