"""Rounds: rows that the sample missed are added to it, and the map is fitted anew from where it stood.

One pass over the table places all rows and keeps some of the strangest (`NovelRows`), evenly over the kinds that there
are. They join the sample (`enlarge`), and the fit goes on from the places that all of them have (`refit`)::

    sample = Seated(rows, X, model.embedding_)
    novel = NovelRows(model, sample, capacity=20_000, rng=rng)
    for start, stop, block in iterate(table):
        placed = model.place_prepared(block)
        novel.add(np.arange(start, stop), block, placed)
    model = refit(model, enlarge(sample, novel.choose(2_500)))
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tsne_ooc._context import unsaid
from tsne_ooc._options import number, whole
from tsne_ooc._typing import Float32, Int64
from tsne_ooc._validate import as_rows
from tsne_ooc.estimator import TSNE
from tsne_ooc.intake import Intake
from tsne_ooc.placement import Placed
from tsne_ooc.sampling.boxes import Boxes, Grid
from tsne_ooc.schedule import Phase, Schedule
from tsne_ooc.scratch import Room

DIRECTIONS = 16
# Perplexity 30 asks for 90 neighbours, of which the nearest thirty weigh most; fewer rows make no island of their own.
ROWS_PER_BOX = 30
# A quantile of the sample's own novelty: rows of a kind that is thin in the sample are seldom beyond the threshold.
CANDIDATES = 0.99


class Seated(NamedTuple):
    """Rows that have places.

    Parameters
    ----------
    rows : ndarray of int64, shape (m,)
        Row numbers, ascending.
    X : ndarray of float32, shape (m, p)
        The rows as they are embedded: prepared, where the model prepares.
    embedding : ndarray of float32, shape (m, d)
    """

    rows: Int64
    X: Float32
    embedding: Float32


class NovelRows:
    """The strange rows of a stream, kept evenly over their kinds in bounded memory.

    Thousands of rows may be strange, most of them copies of the same few; the strangest alone would be one kind. So
    all rows with a novelty beyond `beyond` count, and boxes over space keep up to 30 rows each of them, as
    `tsne_ooc.sampling.Coverage` does. What is kept is the same for any blocks and any order.

    Memory holds ``2 * capacity`` rows with their coordinates and places, and a block.

    Parameters
    ----------
    model : TSNE
        The fitted model that places the rows.
    sample : Seated
        Its sample, whose rows do not count again.
    capacity : int
        Most rows kept.
    rng : numpy.random.Generator
        Draws the directions of the boxes.
    beyond : float, optional
        Rows of a higher novelty count; by default the .99 quantile of the sample's own. (The model's threshold tells
        strangers, and is higher: of a kind that has some rows in the sample, few rows are beyond it.)
    rows_per_box : int, default 30
        Most rows of a box, and so of a kind that has many. An island takes some 10 to 30.
    """

    def __init__(
        self,
        model: TSNE,
        sample: Seated,
        capacity: int,
        rng: np.random.Generator,
        *,
        beyond: float | None = None,
        rows_per_box: int = ROWS_PER_BOX,
    ) -> None:
        whole("capacity", capacity, least=1)
        whole("rows_per_box", rows_per_box, least=1)
        self.beyond = float(np.quantile(model.novelty_, CANDIDATES)) if beyond is None else number("beyond", beyond)
        self.seen = 0
        self._sample = sample
        self._boxes = Boxes(Grid.over(sample.X, DIRECTIONS, rng), capacity, rows_per_box)

    def add(self, rows: Int64, X: Float32, placed: Placed) -> None:
        """Let rows pass by: their numbers, their values, and where they were placed, with their novelty."""
        if placed.novelty is None:
            raise ValueError("rows were placed without their novelty; fit the model again")
        strange = np.flatnonzero((placed.novelty > self.beyond) & ~np.isin(rows, self._sample.rows))
        self.seen += len(strange)
        if len(strange):
            block = np.ascontiguousarray(X[strange])
            self._boxes.add(rows[strange], block, block, placed.embedding[strange])

    def choose(self, size: int) -> Seated:
        """At most `size` of the rows kept, evenly over boxes; some of each kind, if there is room."""
        drawn = self._boxes.draw(whole("size", size, least=1))
        if len(drawn) == 1:
            return Seated(drawn[0], self._sample.X[:0], self._sample.embedding[:0])
        return Seated(*drawn)


def enlarge(sample: Seated, more: Seated) -> Seated:
    """The rows of both, ascending; those that both have come from the first."""
    new = ~np.isin(more.rows, sample.rows)
    rows = np.concatenate([sample.rows, more.rows[new]])
    order = np.argsort(rows)
    return Seated(
        rows[order],
        np.concatenate([sample.X, more.X[new]])[order],
        np.concatenate([sample.embedding, more.embedding[new]])[order],
    )


def schedule_of(exaggeration: float) -> Schedule:
    """The schedule of `refit`, for a map whose fit ended at `exaggeration`: the default without its early phase.

    KDD Cup 99, 5,000 rows and 1,000 that they missed: KL 1.424; without the release 1.450, with 30 iterations at 12
    before it 1.424, fitted from scratch 1.400 (in 240 iterations). Rare classes are as pure in all four.
    """
    return Schedule(
        [
            Phase(30, (4 * exaggeration, exaggeration), 0.9, name="release"),
            Phase(110, exaggeration, 0.93, name="late"),
            Phase(25, exaggeration, 0.5, name="settle"),
        ]
    )


def refit(model: TSNE, sample: Seated, *, schedule: Schedule | None = None, room: Room | None = None) -> TSNE:
    """Fit a sample from where its rows stand.

    Parameters
    ----------
    model : TSNE
        Fitted; it stays as it is.
    sample : Seated
        The rows to fit, and where they start: those of the model's own fit at their seats, new ones where the model
        placed them.
    schedule : Schedule, optional
        By default 165 iterations: what the default does after its early phase.
    room : Room, optional
        What the fit may take of memory and disk.

    Returns
    -------
    TSNE
        Fitted with the same parameters.

    Raises
    ------
    ValueError
        Where places and rows do not match.
    """
    from sklearn.base import clone

    again: TSNE = clone(model)
    features = model.map_.features
    kept = again.get_params(deep=False)
    schedule = schedule or schedule_of(model.map_.model.exaggeration)
    # In a run that goes on, a generator may have given its number already, or not yet.
    seed = again.random_state if model.seed_ is None else model.seed_
    again.set_params(
        initialization=sample.embedding, schedule=schedule, sample=None, prepare=None, random_state=seed
    )  # fmt: skip
    rows = as_rows(sample.X, accept_sparse=True, own=True, missing=features.gaps)
    names = None if features.names is None else list(features.names)
    taken = Intake(rows, sample.rows, features.preparation, names, features.width)
    # The start is wide, and meant to be.
    with unsaid("the given initialization has a standard deviation"):
        again.fit_taken(taken, room)
    again.set_params(**kept)
    return again
