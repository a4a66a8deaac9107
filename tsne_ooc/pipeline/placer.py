"""What a run fits and places with, under one protocol: our own maps, encoders, and estimators of other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from tsne_ooc._typing import Array, Configurable, Float32, Int64, Json
from tsne_ooc.estimator import TSNE
from tsne_ooc.estimator.saving import check_saved
from tsne_ooc.fit.history import to_json
from tsne_ooc.intake import Intake
from tsne_ooc.intake.features import Features
from tsne_ooc.io import Source
from tsne_ooc.io.lacking import for_kept
from tsne_ooc.placement import Placement
from tsne_ooc.preprocess import Preparation
from tsne_ooc.rounds import Seated, refit
from tsne_ooc.scratch import Room

if TYPE_CHECKING:
    from tsne_ooc.parametric import ParametricTSNE


class Seats(NamedTuple):
    """Rows of a table that already have a place, since they were fitted.

    Parameters
    ----------
    rows : ndarray of int64, shape (m,)
        The numbers of these rows, ascending.
    embedding : ndarray of float32, shape (m, d)
    novelty : ndarray of float32, shape (m,), or None
    """

    rows: Int64
    embedding: Float32
    novelty: Float32 | None


class Placer(Protocol):
    """A fitted thing that gives rows a place."""

    #: Whether novelty comes with the places, and costs nothing more.
    novelty_is_free: bool

    @property
    def embedding(self) -> Float32:
        """Places of the rows of the fit."""

    @property
    def novelty(self) -> Float32 | None:
        """Novelty of the rows of the fit; None where it is not known."""

    @property
    def threshold(self) -> float | None:
        """The novelty from which on rows are strangers; None where no novelty is known."""

    @property
    def drops(self) -> bool:
        """Whether rows that lack a value, or every value, are left without a place."""

    @property
    def preparation(self) -> Preparation | None:
        """The fitted preparation of the rows."""

    @property
    def facts(self) -> Json:
        """What a manifest says of the fit."""

    def check_table(self, table: Source) -> None:
        """Raise ValueError for a table whose columns are not those of the fit."""

    def table_of(self, table: Source) -> Source:
        """The rows of a table as they are placed: prepared, and with columns in the order of the fit."""

    def place(self, rows: Float32, *, novelty: bool) -> dict[str, Float32]:
        """Place rows of `table_of`: the columns "embedding" and, where it is asked for, "novelty"."""

    def told(self) -> str | None:
        """A line of the log on how rows are placed, or None."""

    def save(self, path: Path) -> None:
        """Write what was fitted to a folder; raises ValueError or TypeError where no folder can hold it."""


class _OurPlacer:
    """What a fitted `TSNE` and a fitted `ParametricTSNE` have in common; the map of the latter is its teacher's."""

    def __init__(self, estimator: TSNE | ParametricTSNE) -> None:
        self._ours = estimator

    @property
    def embedding(self) -> Float32:
        return self._ours.map_.embedding

    @property
    def novelty(self) -> Float32 | None:
        reference = self._ours.map_.model.reference
        return None if reference is None else reference.novelty

    @property
    def threshold(self) -> float | None:
        reference = self._ours.map_.model.reference
        return None if reference is None else reference.threshold

    @property
    def drops(self) -> bool:
        return self._ours.features_.drops

    @property
    def preparation(self) -> Preparation | None:
        return self._ours.features_.preparation

    @property
    def names(self) -> tuple[str, ...] | None:
        """Names of the columns of the fit, where they are known."""
        return self._ours.features_.names

    def check_table(self, table: Source) -> None:
        self._ours.check_table(table)

    def table_of(self, table: Source) -> Source:
        return self._ours.table_of(table)

    def save(self, path: Path) -> None:
        self._ours.save(path)


class Mapped(NamedTuple):
    """What places the rows of a table, and the rows that already have a place.

    Parameters
    ----------
    placer : Placer
    seats : Seats or None
        A row of the sample takes its own seat, even where it has a twin in the sample, whose seat `transform` would
        give it.
    folder : Path or None
        The folder in which the placer is saved, for workers; None where it is not saved.
    """

    placer: Placer
    seats: Seats | None
    folder: Path | None = None


class MapPlacer(_OurPlacer):
    """A fitted `TSNE`."""

    novelty_is_free = True

    def __init__(self, estimator: TSNE) -> None:
        super().__init__(estimator)
        self.estimator = estimator

    @property
    def facts(self) -> Json:
        fitted = self.estimator.map_
        return {"kl_divergence": fitted.kl_divergence, "n_iter": fitted.n_iter, "history": to_json(fitted.history)}

    def place(self, rows: Float32, *, novelty: bool) -> dict[str, Float32]:
        placed = self.estimator.place_prepared(rows)
        found = {"embedding": placed.embedding}
        return {**found, "novelty": placed.novelty} if novelty and placed.novelty is not None else found

    def told(self) -> str | None:
        model = self.estimator.map_.model
        neighbors = (self.estimator.placement or Placement()).neighbors(model.n)
        return f"each row has {neighbors} neighbours; the field of the map {model.field}"

    def refit(self, sample: Seated, room: Room | None = None) -> MapPlacer:
        """The placer of another fit, to the rows of `sample`, from where they are."""
        return MapPlacer(refit(self.estimator, sample, room=room))


class EncoderPlacer(_OurPlacer):
    """A fitted `ParametricTSNE`: a place is a forward pass, and novelty is a search among its teacher's rows."""

    novelty_is_free = False

    def __init__(self, estimator: ParametricTSNE) -> None:
        super().__init__(estimator)
        self.estimator = estimator

    @property
    def facts(self) -> Json:
        return {"kl_divergence": None, "n_iter": self.estimator.n_iter_}

    def place(self, rows: Float32, *, novelty: bool) -> dict[str, Float32]:
        if not novelty:
            return {"embedding": self.estimator.encode_prepared(rows)}
        placed = self.estimator.place_prepared(rows)
        assert placed.novelty is not None
        return {"embedding": placed.embedding, "novelty": placed.novelty}

    def told(self) -> str | None:
        return None


class StrangerPlacer:
    """A fitted estimator that is not ours: it has `transform` and `embedding_`."""

    novelty_is_free = False
    novelty: Float32 | None = None
    threshold: float | None = None

    def __init__(self, estimator: Any, features: Features) -> None:
        self.estimator, self.features = estimator, features

    @property
    def drops(self) -> bool:
        return self.features.drops

    @property
    def preparation(self) -> Preparation | None:
        return self.features.preparation

    @property
    def embedding(self) -> Float32:
        return np.asarray(self.estimator.embedding_, np.float32)

    @property
    def facts(self) -> Json:
        return {name: getattr(self.estimator, f"{name}_", None) for name in ("kl_divergence", "n_iter")}

    def check_table(self, table: Source) -> None:
        self.features.check(table)

    def table_of(self, table: Source) -> Source:
        return self.features.table_of(table, type(self.estimator).__name__, threads_of(self.estimator))

    def place(self, rows: Float32, *, novelty: bool) -> dict[str, Float32]:
        def placed(rows: Array, _: None = None) -> list[Array]:
            if not len(rows):
                return [self.embedding[:0]]
            return [np.array(self.estimator.transform(rows), dtype=np.float32)]

        return {"embedding": (for_kept(rows, placed) if self.drops else placed(rows))[0]}

    def told(self) -> str | None:
        return None

    def save(self, path: Path) -> None:
        raise TypeError(f"a {type(self.estimator).__name__} is not ours to save")


def fitted_to(estimator: Any, taken: Intake, room: Room | None = None) -> MapPlacer | StrangerPlacer:
    """Fit an estimator, ours or another library's, to rows of a table; ours within `room`."""
    if isinstance(estimator, TSNE):
        return MapPlacer(estimator.fit_taken(taken, room))
    estimator.fit(taken.rows)
    return StrangerPlacer(estimator, Features.of(taken))


def check_before(estimator: object) -> None:
    """Raise for unusable options of an estimator of ours before it is fitted; others raise when they are fitted."""
    if isinstance(estimator, TSNE):
        estimator.check_options()


def check_savable(estimator: object, prepare: Preparation | None) -> None:
    """Raise ValueError or TypeError where what an estimator fits could not be saved."""
    if not isinstance(estimator, TSNE):
        raise TypeError(f"a {type(estimator).__name__} is not ours to save")
    check_saved(estimator, prepare)


def threads_of(estimator: Configurable) -> int | None:
    """The `n_jobs` of an estimator; None for one that does not have this option."""
    found: int | None = estimator.get_params(deep=False).get("n_jobs")
    return found
