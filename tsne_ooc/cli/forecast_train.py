"""What it is going to take to train an encoder, from some rows and some batches."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsne_ooc._options import counted
from tsne_ooc.cli import trials
from tsne_ooc.cli.forecast import Forecast, silent

if TYPE_CHECKING:
    from tsne_ooc._typing import Float32
    from tsne_ooc.estimator import TSNE
    from tsne_ooc.parametric import ParametricTSNE

# Batches that are tried, of the encoder and of its decoder: what the larger number takes more is theirs alone.
_FEW, _MANY = 10, 50


def forecast_train(
    source: Any, out: Path, *, encoder: ParametricTSNE, map: str | None, tsne: TSNE | None, sample: Any, prepare: Any,
    tell: Callable[[], None] = silent, **where: Any,
) -> Forecast:  # fmt: skip
    """What `tsne_ooc.pipeline.train` would take with these options; nothing is written. `tell` is as for `forecast`.

    Raises
    ------
    ValueError, TypeError, OSError
        As `train` raises them before it begins, and for bad rows among those that are read.
    """
    import numpy as np
    from sklearn.base import clone

    from tsne_ooc._memory import available_bytes, used_bytes
    from tsne_ooc.io import names_of
    from tsne_ooc.io.lacking import Lacking
    from tsne_ooc.io.reading import bytes_of_fit
    from tsne_ooc.io.told import account_of
    from tsne_ooc.neighbors import Graph
    from tsne_ooc.parametric.objectives import FEWEST_TUNED
    from tsne_ooc.parametric.teaching import knows_affinities
    from tsne_ooc.pipeline.table import opened
    from tsne_ooc.pipeline.training import asked_for, room_for_training, teacher_of, torch_threads

    free, before = available_bytes(), used_bytes() or 0
    model, tsne, sample, prepare, mapped = asked_for(encoder, map, tsne, sample, prepare)
    with (
        opened(source, of_the_fit=None if mapped is None else mapped.names, **where) as table,
        warnings.catch_warnings(), torch_threads(model.n_jobs),
    ):  # fmt: skip
        # Of few rows, which are not those of the run.
        warnings.simplefilter("ignore")
        teacher, _, sample = teacher_of(mapped, tsne, sample, prepare, model, table)
        (n, p), seed = table.shape, model.random_state
        seconds = {}
        if mapped is not None:
            reading, rows, _ = trials.read_some(mapped.table_of(table), len(teacher.embedding_))
            tell()
            tried, place, fitted = _of_prepared(teacher, rows.shape[1]), trials.seconds_to_place(teacher, rows), 0
            memory = before
        else:
            assert sample is not None
            fitted = min(n, sample.size)
            lacking = prepare is not None and prepare.takes_missing and np.dtype(table.dtype) != object
            reading, rows, copies = trials.read_some(Lacking(table) if lacking else table, fitted)
            tell()
            if prepare is not None:
                fit, row, passes, rows = trials.seconds_to_prepare(rows, prepare, seed, model.n_jobs)
                seconds["prepare"] = fit(n) + passes * n * reading
                reading += row
            tried = clone(teacher)
            if isinstance(tried.neighbors, Graph):
                # It is of all rows, and no part of them can be fitted with it.
                tried.neighbors.check_fit(fitted, 1)
                tried.set_params(neighbors=tried.neighbors.search)
            fit, place, k = trials.seconds_to_map(tried, rows, fitted, copies, seed)
            seconds |= {"sample": trials.rows_read(table, sample, fitted) * reading, "fit": fit(fitted)}
            rows = tried.map_.model.index.rows
            memory = before + bytes_of_fit(fitted, rows.shape[1], k)
        known = knows_affinities(teacher)
        whole = known and (len(teacher.embedding_) if mapped is not None else fitted) == n
        seconds["teach"] = n * (reading + place)
        if whole:
            # The affinities of all rows are made again, for batches to be drawn from.
            seconds["teach"] += n * sum(trials.seconds_to_search(tried, rows, n, tried.n_neighbors_, seed))
            memory = max(memory, before + bytes_of_fit(n, rows.shape[1], tried.n_neighbors_))
        seconds |= _batches(model, tried, rows, tuned=whole and n >= FEWEST_TUNED)
        would = "train a network on all rows"
        if fitted:
            would = f"fit {counted(fitted, 'rows')}, and {would}"
        disk = room_for_training(table, model, teacher, map, sample, prepare)
        return Forecast(
            (n, p), names_of(table), account_of(table), would, seconds, max(memory, used_bytes() or 0),
            None if free is None else free + before, disk, trials.free_at(out),
        )  # fmt: skip


def _of_prepared(teacher: TSNE, width: int) -> TSNE:
    """The same map, of rows that are prepared."""
    from tsne_ooc.intake import Features

    return type(teacher).of_map(replace(teacher.map_, features=Features(width)), **teacher.get_params(deep=False))


def _batches(model: ParametricTSNE, teacher: TSNE, rows: Float32, *, tuned: bool) -> dict[str, float]:
    """Seconds of all batches of the encoder, and of its decoder where there is one."""
    from sklearn.base import clone

    from tsne_ooc.parametric.decoder import resolve as resolve_decoder
    from tsne_ooc.parametric.estimator import STEPS
    from tsne_ooc.parametric.objectives import resolve

    decoder = resolve_decoder(model.decoder)

    def taken(batches: int, decoded: int) -> float:
        again = clone(model).set_params(
            teacher=teacher, n_iter=batches, objective=resolve(model.objective, tuned=tuned), verbose=False,
            batch_size=min(model.batch_size, len(rows)), callbacks=None,
            decoder=False if decoder is None else replace(decoder, n_iter=decoded),
        )  # fmt: skip
        began = trials.clock()
        again.fit(rows)
        return trials.clock() - began

    # Imports and threads.
    taken(2, 2)
    few, more = taken(_FEW, _FEW), taken(_MANY, _FEW)
    steps = STEPS if isinstance(model.n_iter, str) else int(model.n_iter)
    seconds = {"train": steps * max(0.0, more - few) / (_MANY - _FEW) + few}
    if decoder is not None:
        seconds["decoder"] = decoder.n_iter * max(0.0, taken(_MANY, _MANY) - more) / (_MANY - _FEW)
    return seconds
