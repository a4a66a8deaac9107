"""What a worker does: it places rows that are sent to it, or that it reads, on a map that it opens by its path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from tsne_ooc._typing import Float32
from tsne_ooc._validate import counted_from
from tsne_ooc.io.blocks import read_checked
from tsne_ooc.workers import SavedModel, SharedTable


@dataclass(frozen=True)
class PlacesRows:
    """Places rows that are prepared, as the optimiser saw those of the fit.

    Parameters
    ----------
    model : SavedModel
    novelty : bool
        Whether novelty is given, too.
    n_jobs : int
        Threads of this worker.
    """

    model: SavedModel
    novelty: bool
    n_jobs: int

    def __call__(self, first: int, rows: Float32) -> dict[str, Float32]:
        found: dict[str, Float32] = self.placer().place(rows, novelty=self.novelty)
        return found

    def placer(self) -> Any:
        """The saved model, which is opened once in each process."""
        return self.model.opened(self.n_jobs)


class OfRows(Protocol):
    """What is computed of rows by a model."""

    def __call__(self, first: int, rows: Float32) -> dict[str, Float32]: ...

    def placer(self) -> Any:
        """The saved model, opened."""


@dataclass(frozen=True)
class ReadsAndPlaces:
    """Reads rows of a table, prepares and places them, so that only places, or what else is computed, are sent."""

    table: SharedTable
    places: OfRows

    def __call__(self, start: int, stop: int) -> dict[str, Float32]:
        rows = read_checked(self.places.placer().table_of(self.table.opened()), start, stop)
        with counted_from(start):
            return self.places(start, rows)


def parts_of(placer: Any) -> tuple[type, ...]:
    """The class of a placer's search, which may be one of the user's own."""
    return (type(placer.estimator.map_.model.index),)
