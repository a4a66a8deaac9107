"""Rounds: all rows are looked at, and some that the sample did not know join it before anything is placed."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from tsne_ooc._random import generator
from tsne_ooc.pipeline.fitting import Fit, fitting
from tsne_ooc.pipeline.placer import Mapped, MapPlacer, Seats
from tsne_ooc.pipeline.placing import Place
from tsne_ooc.placement import Placed
from tsne_ooc.rounds import NovelRows, Seated, enlarge
from tsne_ooc.sampling import take
from tsne_ooc.stages import Facts, Work

log = logging.getLogger(__name__)

# The most rows that may join the sample in a round, as a share of it; and how many times as many they are chosen from.
ADDED, CHOICE = 0.1, 8
_ROWS = 1 << 17


class Look(Place):
    """Places all rows on the map of a round, and fits the next map to its sample and some of the strangest rows.

    Parameters
    ----------
    number : int
        The number of the round, in whose folder places and novelty are written.
    next : Fit
        The stage that keeps the next map.
    """

    def __init__(self, number: int, next: Fit) -> None:
        super().__init__()
        self.name, self.next = f"look {number}", next
        self.folder = round_folder(number)
        self.makes = next.makes

    @property
    def phase(self) -> str:
        return "look"

    def where(self, work: Work) -> Path:
        return work.folder / self.folder

    def run(self, work: Work) -> Facts:
        self.fill(work)
        mapped = work.get(Mapped)
        assert isinstance(mapped.placer, MapPlacer) and mapped.seats is not None
        again, rows = self._next(work, mapped.placer, mapped.seats)
        return self.next.keep(work, again, rows.rows)

    def _next(self, work: Work, placer: MapPlacer, seats: Seats) -> tuple[MapPlacer, Seated]:
        """The map of the next round and the rows that it was fitted to; the same map where there is nothing new."""
        rows, prepared = seats.rows, placer.table_of(work.table)
        sample = Seated(rows, take(prepared, rows), seats.embedding)
        most = max(1, round(ADDED * len(rows)))
        novel = NovelRows(placer.estimator, sample, CHOICE * most, generator(work.seed, "rounds"))
        embedding = np.load(self.where(work) / "embedding.npy", mmap_mode="r", allow_pickle=False)
        novelty = np.load(self.where(work) / "novelty.npy", mmap_mode="r", allow_pickle=False)
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
        with fitting(work, len(both.rows)):
            return placer.refit(both, self.next.room_in(work.folder)), both

    def reopen(self, work: Work, facts: Facts) -> None:
        self.next.reopen(work, facts)

    def worth_keeping(self, facts: Facts) -> bool:
        return self.next.worth_keeping(facts)


def round_folder(number: int) -> str:
    """The folder, within that of the run, in which a round is kept that is not the last one."""
    return f"round-{number}"
