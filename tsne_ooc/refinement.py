"""All rows together: where a refinement starts, and what it takes over from the map that it refines."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tsne_ooc._options import keep, number, whole
from tsne_ooc._typing import Float32, Named, StrPath
from tsne_ooc.fit.initialization import given
from tsne_ooc.placement import Placed
from tsne_ooc.schedule import PLANS
from tsne_ooc.scratch import scratch_folder

# Standard deviation that the placed map is brought to. See docs/experiments.md, "All rows together".
DEVIATION = 2.0
# Share of it by which each row is moved at random, so that equal rows, which took one seat, part.
JITTER = 0.01

#: Options that the map which is refined has decided for good.
DECIDED = ("n_components", "metric", "metric_params", "initialization", "sample", "prepare")
#: Options that said how the fit of the sample went; a refinement begins from these values instead.
COURSE = {
    "schedule": "refine", "early_exaggeration": "auto", "early_exaggeration_iter": "auto", "n_iter": "auto",
    "learning_rate": "auto",
}  # fmt: skip


# Beyond so many rows, each doubling takes so many more late iterations: a larger map needs longer to reach its width.
# See docs/experiments.md, "All rows together".
LATE_ROWS, LATE_MORE = 100_000, 20

# The most rows of a refined map that are kept for new ones to be placed beside, unless another number is asked for.
REFERENCE = 2_000_000
# Iterations between two snapshots.
EVERY = 25


@dataclass(frozen=True, init=False)
class Refinement:
    """How a run moves all rows together, once they are placed.

    Parameters
    ----------
    deviation : float or None, default 2
        As for `TSNE.refine`.
    reference : int, optional
        Number of rows, drawn uniformly, that the finished map keeps for new ones to be placed beside. By default it
        keeps all of them, up to two million.
    snapshot_every : int, default 25
        Iterations between two snapshots, from which a run that was killed goes on. The result does not depend on it.
    memory, scratch
        As for `TSNE.refine`, but that rows are kept on disk, too, and that the fit of the sample keeps to `memory`; by
        default what does not fit is kept in the folder of the run. The result does not depend on them.
    **options
        Parameters of `TSNE` in which the map of all rows differs from the sample's map, as for `TSNE.refine`.

    Examples
    --------
    >>> Refinement(perplexity=30, exaggeration=4).options
    {'perplexity': 30, 'exaggeration': 4}
    """

    deviation: float | None
    reference: int | None
    snapshot_every: int = field(compare=False)
    memory: float | None = field(compare=False)
    scratch: StrPath | None = field(compare=False)
    options: dict[str, Any]

    def __init__(
        self,
        *,
        deviation: float | None = DEVIATION,
        reference: int | None = None,
        snapshot_every: int = EVERY,
        memory: float | None = None,
        scratch: StrPath | None = None,
        **options: Any,
    ) -> None:
        check_options(options, deviation)
        memory = None if memory is None else number("memory", memory, above=0)
        keep(self, memory=memory, scratch=None if scratch is None else scratch_folder(scratch))
        reference = None if reference is None else whole("reference", reference, least=1)
        keep(self, deviation=deviation, reference=reference)
        keep(self, snapshot_every=whole("snapshot_every", snapshot_every, least=1))
        object.__setattr__(self, "options", dict(options))

    def asked(self) -> Named:
        """What decides the result."""
        return {"deviation": self.deviation, "reference": self.reference, **self.options}


def late_iterations(n: int) -> int:
    """How many late iterations a refinement of `n` rows takes, unless it is given a number."""
    return PLANS["refine"].late + round(LATE_MORE * math.log2(max(1.0, n / LATE_ROWS)))


def resolve(refine: object) -> Refinement | None:
    """The refinement that True, or an object, stands for; None for False."""
    if isinstance(refine, bool | np.bool_):
        return Refinement() if refine else None
    if refine is None or isinstance(refine, Refinement):
        return refine
    raise TypeError(f"refine={refine!r} is neither True, False nor a tsne_ooc.Refinement object")


def check_options(options: Named, deviation: object) -> None:
    """Raise TypeError or ValueError for options that a refinement cannot have."""
    if deviation is not None:
        number("deviation", deviation, above=0)
    for name in options:
        if name in DECIDED:
            raise TypeError(f"{name}= is not an option of refine: the map that is refined has decided it")


def placed_at(start: Any, n: int, d: int) -> Placed:
    """Check and copy what `place` gave, or an array of places: `n` rows on a map of `d` axes.

    Raises
    ------
    ValueError
        For another shape, and for a place that is not finite; the message names its row and column.
    """
    if not isinstance(start, Placed):
        return Placed(given(start, n, d, "start"), np.zeros(n, np.int32))
    novelty = None if start.novelty is None else np.array(start.novelty, np.float32)
    return Placed(given(start.embedding, n, d, "start"), np.array(start.iterations, np.int32), novelty)


def begin_at(places: Float32, deviation: float | None, rng: np.random.Generator) -> Float32:
    """Where rows start: the placed map, centred at 0 and brought to a standard deviation of `deviation` on each axis.

    In a wide map, rows that were placed between two islands, or on the wrong side of one, cannot pass the others. In a
    small map repulsion is weak, and they can; the islands keep their order, unless the map is shrunk to a point.

    Parameters
    ----------
    places : ndarray of float32, shape (n, d)
    deviation : float or None
        None leaves the map as it is.
    rng : numpy.random.Generator
    """
    if deviation is None:
        return places.copy()
    deviation = float(deviation)
    centred = places - places.mean(axis=0, dtype=np.float64)
    width = float(np.sqrt(np.square(centred).mean()))
    if width > 0:
        centred *= deviation / width
    return np.asarray(centred + rng.normal(0, JITTER * deviation, centred.shape), np.float32)
