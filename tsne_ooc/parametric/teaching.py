"""The map that an encoder learns from: it is fitted where it is not fitted yet, and all rows are placed on it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from tsne_ooc import affinity as affinities
from tsne_ooc._context import uninterrupted, unsaid
from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Float32
from tsne_ooc.estimator import TSNE
from tsne_ooc.fit.rows import joint_of
from tsne_ooc.intake import check_prepare, taken_over
from tsne_ooc.io import Source, iterate
from tsne_ooc.io.reading import check_memory
from tsne_ooc.parametric.objectives import Stage
from tsne_ooc.parametric.problem import Graph
from tsne_ooc.preprocess import Preparation
from tsne_ooc.sampling import resolve_sample

log = logging.getLogger(__name__)

#: Tables of up to so many rows are fitted as a whole by default: MNIST (70,000) takes 6 s. Of larger ones a sample is
#: fitted.
MOST_FITTED = 100_000
SAMPLE = 25_000


class Taught(NamedTuple):
    """What an encoder learns from.

    Parameters
    ----------
    teacher : TSNE
        Fitted.
    targets : ndarray of float32, shape (n, d)
        Where each row of the table lies on the teacher's map.
    graph : Graph or None
        The affinities of all rows, where the map is made of all rows.
    """

    teacher: TSNE
    targets: Float32
    graph: Graph | None


def given_teacher(teacher: Any, prepare: Preparation | None, seed: int) -> tuple[TSNE | None, bool, Preparation | None]:
    """The user's teacher, or a copy of it where it is not fitted; whether it is fitted; its preparation.

    A copy without a seed takes this one, because a training that goes on must find the same teacher. It has no
    preparation.

    Raises
    ------
    TypeError, ValueError
        For what is not a teacher or not a preparation, and for two preparations.
    """
    check_prepare(prepare)
    teacher = unfrozen(teacher)
    if teacher is None:
        return None, False, prepare
    if not isinstance(teacher, TSNE):
        raise TypeError(f"teacher={teacher!r} is not a TSNE")
    if isinstance(teacher.metric, str) and teacher.metric == "precomputed":
        raise ValueError("a teacher of metric='precomputed' knows distances only; an encoder needs rows")
    if is_fitted(teacher):
        if prepare is not None:
            raise ValueError("prepare and a fitted teacher, which has its own: pass one of them")
        return teacher, True, None
    teacher.check_options()
    copy = clone(teacher)
    prepare = taken_over(copy, "prepare", prepare, "the teacher")
    return copy if copy.random_state is not None else copy.set_params(random_state=seed), False, prepare


def is_fitted(teacher: Any) -> bool:
    """Whether a teacher has a map already; False for what is not a teacher."""
    teacher = unfrozen(teacher)
    return isinstance(teacher, TSNE) and teacher.__sklearn_is_fitted__()


def unfrozen(teacher: Any) -> Any:
    """The estimator within scikit-learn's FrozenEstimator; anything else as it is."""
    return teacher.estimator if isinstance(teacher, FrozenEstimator) else teacher


def own_teacher(teacher: TSNE) -> TSNE:
    """The same map in an estimator of our own: another fit of the user's must not change what was learnt."""
    return type(teacher).of_map(teacher.map_, **teacher.get_params(deep=False))


def default_teacher(n: int, stages: Sequence[Stage], seed: int, n_jobs: int | None) -> TSNE:
    """The default teacher for a table of n rows, without iterations where no stage looks at its map."""
    looked_at = any(stage.objective.needs == "targets" for stage in stages)
    still: dict[str, Any] = {} if looked_at else {"early_exaggeration_iter": 0, "n_iter": 0}
    return TSNE(sample=None if n <= MOST_FITTED else SAMPLE, random_state=seed, n_jobs=n_jobs, **still)


def affinity_of(teacher: TSNE) -> Any:
    """What makes a teacher's affinities: what made those of its map, or its option where a folder could not hold that.

    Raises
    ------
    ValueError, TypeError
        Where the option is a few words from a folder.
    """
    made = teacher.map_.affinity if is_fitted(teacher) else None
    return affinities.resolve(teacher.affinity, teacher.perplexity) if made is None else made


def knows_affinities(teacher: TSNE) -> bool:
    """Whether a teacher can say which rows belong together: a saved map has only a few words of a matrix."""
    try:
        affinity_of(teacher)
    except (ValueError, TypeError):
        return False
    return True


def rows_mapped(teacher: TSNE, n: int) -> int:
    """How many of n rows the teacher's map is made of, or will be."""
    if is_fitted(teacher):
        return teacher.map_.model.n
    return n if teacher.sample is None else min(n, resolve_sample(teacher.sample).size)


def check_affinities(stages: Sequence[Stage], n: int, mapped: int, known: bool = True) -> None:
    """Raise ValueError where a stage follows the affinities of n rows, and the teacher's map is made of fewer, or does
    not know them."""
    for stage in stages:
        if not known and stage.objective.needs == "graph":
            raise ValueError(
                f"objective {stage.objective!r} needs the affinities of all rows, and those of the teacher are a "
                "matrix or an object that no file holds; use objective='distillation', or the teacher as it was fitted"
            )
        if mapped < n and stage.objective.needs == "graph":
            raise ValueError(
                f"objective {stage.objective!r} needs the affinities of all {n:,} rows, and the teacher has {mapped:,} "
                "of them; use objective='distillation', or a teacher of all rows (sample=None) if they fit in memory"
            )


def teach(teacher: TSNE, table: Source, *, fitted: bool, graph: bool, seed: int, threads: Threads) -> Taught:
    """Fit the teacher on prepared rows where it is not `fitted`, and find where all of them lie on its map.

    Parameters
    ----------
    teacher : TSNE
        A teacher without a preparation of its own, or fitted behind the same one.
    table : Source
        Prepared rows.
    fitted : bool
    graph : bool
        Whether affinities are needed.
    seed : int
    threads : Threads
    """
    n = table.shape[0]
    rows = None
    if not fitted:
        if teacher.sample is None:
            rows = _all(table)
            with uninterrupted():
                teacher.fit(rows)
            return Taught(teacher, teacher.embedding_, _graph(teacher, rows, seed, threads) if graph else None)
        with uninterrupted():
            teacher.fit(table)
    targets, first = np.empty((n, teacher.embedding_.shape[1]), np.float32), np.empty(n, np.int64)
    model = teacher.map_.model
    seats = model.seats if n == model.n else None
    for start, stop, block in iterate(table):
        targets[start:stop] = teacher.place_prepared(block).embedding
        first[start:stop] = -1 if seats is None else seats.find(block, threads)
    # The rows of the fit are in order where each is first met where the fit met it first; copies take its seat.
    found_first, met = np.unique(first, return_index=True)
    whole = seats is not None and bool((found_first == met).all())
    if whole:
        # Here rows with twins have the seat of the first of these.
        targets = teacher.embedding_
    log.info("%s rows lie on the teacher's map of %s", f"{n:,}", f"{len(teacher.embedding_):,}")
    found = _graph(teacher, _all(table), seed, threads) if graph and whole else None
    return Taught(teacher, targets, found)


def _all(table: Source) -> Float32:
    check_memory(table)
    rows = np.empty(table.shape, np.float32)
    for start, stop, block in iterate(table):
        rows[start:stop] = block
    return rows


def _graph(teacher: TSNE, rows: Float32, seed: int, threads: Threads) -> Graph:
    fitted = teacher.map_
    # The teacher's own fit has given this warning.
    with unsaid("perplexity="):
        P, order, _, _ = joint_of(affinity_of(teacher), fitted.model.index, len(rows), seed, threads)
    return Graph(rows, P, np.arange(len(rows)) if order is None else np.asarray(order, np.int64))
