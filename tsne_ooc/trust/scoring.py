"""The scores of rows, of whatever a fitted map can place."""

from __future__ import annotations

from contextlib import closing
from typing import Any, NamedTuple

import numpy as np

from tsne_ooc._typing import Float32, TableLike
from tsne_ooc._validate import counted_from
from tsne_ooc.estimator.fitted import PlacingEstimator
from tsne_ooc.fit.initialization import given
from tsne_ooc.placement import Placement
from tsne_ooc.trust.judge import Judge


class Scores(NamedTuple):
    """What is known of the places of rows. All are float32 of shape (m,), NaN where they cannot be known.

    Parameters
    ----------
    recall : ndarray
        Share of the k nearest fitted rows in the data that are among the k nearest on the map.
    novelty : ndarray
        As `TSNE.score_samples` gives it; of a fitted row that of `novelty_`, seen from the others.
    singularity : ndarray
        One over the smallest eigenvalue of the Hessian of the row's energy at its place: high where the place is hardly
        held, infinite where it is not.
    perturbation : ndarray
        How far the place moves, in map units, when the row is moved in the data.
    """

    recall: Float32
    novelty: Float32
    singularity: Float32
    perturbation: Float32


def scores(
    model: PlacingEstimator,
    X: TableLike,
    k: int = 10,
    *,
    length: float | None = None,
    directions: int = 3,
    placement: Placement | None = None,
    places: Any = None,
) -> Scores:
    """Four scores of each row's place, with the two of Liu, Ma and Zhong (Nature Communications, 2025).

    A row that the map was fitted to is looked at as if it had been left out: neither its neighbours nor the field
    has it. Each row is scored by itself: the result is the same to the bit for any chunking and number of threads.

    Parameters
    ----------
    model : TSNE
        Fitted. A map on disk is one after `tsne_ooc.load`.
    X : as for `TSNE.transform`
    k : int
        Neighbours that the recall is about.
    length : float, optional
        How far rows are moved, in the units of the embedded columns. By default the median, over a thousand fitted
        rows, of the mean distance to the 15 nearest others.
    directions : int
        Rows are moved to and fro along so many leading principal directions of the fitted rows, fewer where the data
        have fewer.
    placement : Placement, optional
        Whose energy is asked. By default singularity asks that of the fit, its affinities and its last exaggeration,
        and perturbation that by which `TSNE.transform` places rows.
    places : array of shape (m, n_components), optional
        Where the rows lie on the map, such as ``run.embedding``. By default a fitted row lies where the fit has it, and
        another one where it is placed.

    Returns
    -------
    Scores
        Without a perturbation for maps of sparse rows, of rows that may lack values, or of given distances, whose rows
        cannot be moved.

    Raises
    ------
    ValueError, TypeError
        For unusable options and data, naming row and column.
    sklearn.exceptions.NotFittedError
        Before `fit`.
    """
    if not isinstance(model, PlacingEstimator):
        raise TypeError(f"model={type(model).__name__} is not a fitted TSNE; tsne_ooc.load reads one from its folder")
    n_rows, blocks = model.blocks(X)
    if places is not None:
        places = given(places, n_rows, model.embedding_.shape[1], "places")
    judge = Judge.of(model, k, length=length, directions=directions, placement=placement)
    out = Scores(*(np.empty(n_rows, np.float32) for _ in Scores._fields))
    with closing(blocks):
        for first, last, block in blocks:
            with counted_from(first):
                found = judge.of_rows(block, None if places is None else places[first:last])
            for name, column in out._asdict().items():
                column[first:last] = found[name]
    return out
