"""Rounds: all rows are looked at, and those that the sample did not know join it before anything is placed."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from tsne_ooc._context import uninterrupted
from tsne_ooc._random import generator
from tsne_ooc._typing import Progress
from tsne_ooc.io import Source
from tsne_ooc.pipeline.folder import Folder
from tsne_ooc.pipeline.placer import MapPlacer, Seats
from tsne_ooc.pipeline.placing import stream
from tsne_ooc.pipeline.run import LEDGER
from tsne_ooc.placement import Placed
from tsne_ooc.rounds import NovelRows, Seated, enlarge
from tsne_ooc.sampling import take
from tsne_ooc.streaming import begin

log = logging.getLogger(__name__)

# Share of the sample that may join it in a round, and how many times as many are kept to choose them from.
ADDED, CHOICE = 0.1, 8
_ROWS = 1 << 17


def look_and_refit(
    placer: MapPlacer,
    seats: Seats,
    digest: str | None,
    table: Source,
    home: Folder,
    where: Path,
    seed: int,
    block_rows: int | None,
    progress: Progress,
    origin: dict[str, Any],
) -> tuple[MapPlacer, Seated]:
    """The map of the next round and the rows that it was fitted to; the same one where there is nothing new.

    Parameters
    ----------
    placer, seats
        Of the round before.
    digest : str
        Of its saved model.
    table : Source
        As it was given.
    home, where
        The run's folder, and that of the round before, in which places and novelty are written.
    seed : int
    block_rows, progress
        As for `stream`.
    origin : dict
        The identity of the table when the run began.
    """
    ledger = begin(where / LEDGER, {"model": digest}, resume=True, differ=_another)
    stream(placer, table, home, where, ledger, seats, block_rows, progress, phase="look", source=origin)
    rows, prepared = seats.rows, placer.table_of(table)
    sample = Seated(rows, take(prepared, rows), seats.embedding)
    most = max(1, round(ADDED * len(rows)))
    novel = NovelRows(placer.estimator, sample, CHOICE * most, generator(seed, "rounds"))
    embedding = np.load(where / "embedding.npy", mmap_mode="r", allow_pickle=False)
    novelty = np.load(where / "novelty.npy", mmap_mode="r", allow_pickle=False)
    for start in range(0, len(novelty), _ROWS):
        strange = np.asarray(novelty[start : start + _ROWS])
        at = start + np.flatnonzero(strange > novel.beyond)
        if len(at):
            none = np.zeros(len(at), np.int32)
            placed = Placed(np.asarray(embedding[at]), none, np.asarray(novelty[at]))
            novel.add(at, take(prepared, at), placed)
    both = enlarge(sample, novel.choose(most))
    log.info(
        "%s rows are farther from the sample than .99 of its own (novelty %.2f); %s of them join it",
        f"{novel.seen:,}", novel.beyond, f"{len(both.rows) - len(rows):,}",
    )  # fmt: skip
    if len(both.rows) == len(rows):
        return placer, sample
    progress("fit", 0, len(both.rows))
    with uninterrupted():
        again = placer.refit(both)
    progress("fit", len(both.rows), len(both.rows))
    return again, both


def _another(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [] if old == new else ["the model of this round is another"]
