"""What it is going to take to place the rows of a table on a saved map, from some of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tsne_ooc._options import counted
from tsne_ooc.cli import trials
from tsne_ooc.cli.forecast import Forecast, silent

# Rows that are placed first, when kernels are compiled and the field of the map is planned.
_FIRST = 100


def forecast_place(
    model: Any, source: Any, out: Path, *, rows: str | None, novelty: bool | None, n_jobs: int | None,
    tell: Callable[[], None] = silent, **where: Any,
) -> Forecast:  # fmt: skip
    """What `tsne_ooc.place` would take with these options; nothing is written. `tell` is as for `forecast`.

    Raises
    ------
    ValueError, TypeError, OSError
        As `place` raises them before it begins, and for bad rows among those that are read.
    """
    import numpy as np

    from tsne_ooc._memory import available_bytes, used_bytes
    from tsne_ooc.io import names_of
    from tsne_ooc.io.cuts import BLOCK_BYTES
    from tsne_ooc.io.lacking import rows_with_values
    from tsne_ooc.io.told import account_of
    from tsne_ooc.pipeline.placing import placer_of
    from tsne_ooc.pipeline.rows import rows_of
    from tsne_ooc.pipeline.table import opened

    free, before = available_bytes(), used_bytes() or 0
    _, placer, knows = placer_of(model, n_jobs, novelty)
    with opened(source, of_the_fit=placer.names, **where) as table, warnings.catch_warnings():
        # Of few rows, which are not those of the run.
        warnings.simplefilter("ignore")
        start, stop = (0, table.shape[0]) if rows is None else rows_of(rows, table.shape[0], repr(table))
        placer.check_table(table)
        reading, some, _ = trials.read_some(placer.table_of(table), len(placer.embedding))
        tell()
        if placer.drops:
            some = some[rows_with_values(some)]
        # A row of the fit takes its seat, which most rows do not.
        some = some + np.float32(1e-3) * np.nanstd(some, axis=0)
        placer.place(some[:_FIRST], novelty=knows)
        placing = trials.seconds_of_a_row(lambda rows: placer.place(rows, novelty=knows), some)
        n, (_, p), fitted = stop - start, table.shape, len(placer.embedding)
        chunk = 0 if table.chunks is None else table.chunks[0] * p * max(4, np.dtype(table.dtype).itemsize)
        # What is mapped of the model counts by now, and each block is there as it is stored, prepared, and placed.
        memory = max(before, used_bytes() or 0) + trials.BLOCKS * 2 * BLOCK_BYTES + 2 * chunk
        told = "those numbered " + f"{start:,} to {stop - 1:,}, " if rows is not None else ""
        would = f"place {told}beside {counted(fitted, 'rows')} of the map"
        return Forecast(
            (n, p), names_of(table), account_of(table), would, {"place": n * (reading + placing)}, memory,
            None if free is None else free + before, 4 * n * (placer.embedding.shape[1] + knows),
            trials.free_at(out),
        )  # fmt: skip
