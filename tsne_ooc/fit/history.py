"""How an optimisation went: its divergence and its steps, noted now and then."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from tsne_ooc._typing import Float32, Json

#: Iterations between two notes, each of which costs an estimate of the divergence: 5 ms on one core for maps of any
#: size.
EVERY = 25
#: Notes of one optimisation at most, or few more; a long one has them farther apart.
MOST_NOTES = 200


class Note(NamedTuple):
    """One of them.

    Parameters
    ----------
    iteration : int
        Iterations so far.
    exaggeration : float
        Of that iteration.
    kl_divergence : float
        Of the map that it began with, without exaggeration; of more than 2,048 rows it is estimated from so many.
    step : float
        The root mean square of how far it moved the rows, in map units.
    """

    iteration: int
    exaggeration: float
    kl_divergence: float
    step: float


History = tuple[Note, ...]


def spacing(iterations: int) -> int:
    """Iterations between two notes of an optimisation of so many."""
    return max(EVERY, -(-iterations // MOST_NOTES))


def length_of(velocity: Float32) -> float:
    """The root mean square of the steps of all rows."""
    # Range by range NumPy adds in the same order, whatever the number of threads.
    return math.sqrt(float(np.square(velocity).sum(dtype=np.float64)) / max(1, len(velocity)))


def later(history: History, by: int) -> History:
    """The same, of an optimisation that went on after so many iterations."""
    return tuple(note._replace(iteration=note.iteration + by) for note in history)


def to_json(history: History) -> Json:
    """A list of numbers for each field, as files hold it."""
    return {name: [note[at] for note in history] for at, name in enumerate(Note._fields)}


def from_json(found: Any) -> History:
    """The history that `to_json` gave; an empty one for None, as of folders that were written before there was one.

    Raises
    ------
    ValueError
        For what is not one.
    """
    if found is None:
        return ()
    if not isinstance(found, dict) or set(found) != set(Note._fields):
        raise ValueError("has a history of other columns")
    columns = [found[name] for name in Note._fields]
    if not all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
        raise ValueError("has a history whose columns differ in length")
    if not all(type(one) is int for one in columns[0]) or not _numbers(one for column in columns for one in column):
        raise ValueError("has a history that holds other things than numbers")
    return tuple(Note(int(i), float(e), float(kl), float(step)) for i, e, kl, step in zip(*columns, strict=True))


def _numbers(values: Iterable[Any]) -> bool:
    return all(type(value) in (int, float) and math.isfinite(value) for value in values)
