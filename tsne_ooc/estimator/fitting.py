"""The part of `TSNE` that fits rows: what its parameters say, the fit that they make, and how it goes on."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from tsne_ooc import affinity as affinities
from tsne_ooc import neighbors as searches
from tsne_ooc import schedule as schedules
from tsne_ooc._context import interrupted
from tsne_ooc._elsewhere import answering
from tsne_ooc._options import whole
from tsne_ooc._parallel import Threads
from tsne_ooc._random import seed_of
from tsne_ooc._typing import Float32, TableLike
from tsne_ooc._validate import is_sparse
from tsne_ooc.estimator.fitted import PlacingEstimator
from tsne_ooc.estimator.fitted_map import FittedMap
from tsne_ooc.fit import initialization as starts
from tsne_ooc.fit.optimize import Result
from tsne_ooc.fit.rows import Recipe, fit_rows
from tsne_ooc.fit.watch import Watch, callbacks_of
from tsne_ooc.gradients.grid import check_dof
from tsne_ooc.intake import Intake, check_prepare, take_in, with_gaps_kept
from tsne_ooc.intake.features import Features
from tsne_ooc.neighbors.base import GAPS
from tsne_ooc.placement import Placed
from tsne_ooc.preprocess import Preparation
from tsne_ooc.sampling import resolve_sample
from tsne_ooc.scratch import Room

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class FittingEstimator(PlacingEstimator):
    """The part of `TSNE` that fits rows. `TSNE` itself has the parameters, and says what each of them does."""

    n_components: int
    perplexity: float
    exaggeration: float | None
    early_exaggeration: Any
    early_exaggeration_iter: Any
    n_iter: Any
    learning_rate: Any
    dof: float
    initialization: Any
    metric: Any
    metric_params: dict[str, Any] | None
    neighbors: Any
    affinity: Any
    schedule: Any
    sample: Any
    prepare: Preparation | None
    random_state: Any
    callbacks: Any
    callbacks_every_iters: int
    verbose: bool

    @answering
    def fit(self, X: TableLike, y: object = None) -> Self:
        """Embed the rows of X.

        Parameters
        ----------
        X : array-like, DataFrame, sparse matrix or source of shape (n, p)
            Finite numbers; sparse where the metric allows; distances of shape (n, n) for ``metric="precomputed"``.
        y : ignored

        Returns
        -------
        TSNE
            This estimator.

        Raises
        ------
        ValueError, TypeError
            For unusable options or data; the message names the option, or the row and column.
        FloatingPointError
            If the learning rate drives the map to infinity.
        """
        self._fit(X)
        return self

    @answering
    def fit_transform(self, X: TableLike, y: object = None) -> Float32:
        """Do as `fit` does, and give the places of all rows of X.

        They are a copy of `embedding_`. Where `sample` is given, the rows of the sample have their places in
        `embedding_`, and all others are placed as `transform` places them.

        Returns
        -------
        ndarray of float32, shape (n, n_components)
        """
        self._fit(X)
        if self.sample_rows_ is None:
            return self.embedding_.copy()
        # `transform` would give data frames to those who ask scikit-learn for them.
        places = self.place(X).embedding
        # Each fitted row has a seat of its own, where `place` gives rows that are equal one seat.
        places[self.sample_rows_] = self.embedding_
        return places

    def check_options(self) -> None:
        """Check all options that can be judged without the data, as `fit` does first.

        Raises
        ------
        ValueError, TypeError
            For a wrong option; the message names it.
        """
        if whole("n_components", self.n_components, least=1) > 3:
            raise ValueError(f"n_components={self.n_components} is not possible: a map has 1, 2 or 3 axes")
        check_dof(self.dof)
        affinities.resolve(self.affinity, self.perplexity)
        self._schedule()
        starts.check(self.initialization)
        self._placement()
        Threads(self.n_jobs)
        if self.sample is not None:
            resolve_sample(self.sample)
        check_prepare(self.prepare)
        with_gaps_kept(self.prepare, self.metric)
        callbacks_of(self.callbacks)
        whole("callbacks_every_iters", self.callbacks_every_iters, least=1)
        searches.resolve(self.neighbors, metric=self.metric, n=2, p=1, sparse=False, metric_params=self.metric_params)
        if self._pairwise():
            for name in ("sample", "prepare"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} needs rows, and metric='precomputed' has distances; leave one out")

    def _fit(self, X: TableLike) -> Self:
        self.check_options()
        seed = seed_of(self.random_state)
        if is_sparse(X) and not self._takes_sparse():
            raise TypeError(
                f"X is sparse, and neighbors={self.neighbors!r} with metric={self.metric!r} takes no sparse rows; pass "
                "a dense array, such as X.toarray(), or use neighbors='auto' with the metric euclidean or cosine"
            )
        sample = None if self.sample is None else resolve_sample(self.sample)
        taken = take_in(
            X, prepare=self.prepare, sample=sample, metric=self.metric, seed=seed, n_jobs=self.n_jobs
        )  # fmt: skip
        return self._fit_taken(taken, seed)

    def fit_taken(self, taken: Intake, room: Room | None = None) -> Self:
        """Do as `fit` does, for rows that `tsne_ooc.intake.take_in` gave; `sample` and `prepare` are not looked at.

        With `room`, neighbours and affinities are kept on disk where it leaves them no memory; the bits are the same.
        """
        self.check_options()
        return self._fit_taken(taken, seed_of(self.random_state), room=room)

    def _fit_taken(
        self, taken: Intake, seed: int, recipe: Recipe | None = None, placed: Placed | None = None,
        room: Room | None = None,
    ) -> Self:  # fmt: skip
        """Fit rows by a recipe, by default that of the parameters."""
        threads, recipe = Threads(self.n_jobs), recipe or self._recipe()
        watch = self.watch(recipe.schedule)
        fitted = fit_rows(taken.rows, recipe, seed=seed, threads=threads, watch=watch, room=room)
        _warn_interrupted(fitted.result, recipe.schedule)
        # This is set all at once, and last, so that a fit that fails leaves the one before as it was.
        self._map = FittedMap(
            fitted.model, Features.of(taken, distances=self._pairwise(), sparse=True), threads,
            fitted.result.kl_divergence, fitted.result.iterations, fitted.k, seed, taken.sample_rows, recipe.affinity,
            fitted.pause, placed, fitted.result.history,
        )  # fmt: skip
        return self

    @classmethod
    def of_map(cls, map: FittedMap, **parameters: Any) -> Self:
        """Make an estimator with these parameters that has this map, as if its own fit had left it."""
        made = cls(**parameters)
        made._map = map
        return made

    @answering
    def continue_fit(self, schedule: Any) -> Self:
        """Go on from where the last fit, or the last call of this method, ended: with its places, momentum and gains.

        A fit of 60 iterations that goes on for 40 ends with the same bits as one of 100, as long as all are of one
        phase. Neighbours are searched once more, since a fit does not keep its affinities.

        Parameters
        ----------
        schedule : int, Schedule, Phase or iterable of Phase
            A number is so many more iterations of the last phase that ran. The first of several phases goes on with
            momentum and gains as they are, and each other one begins anew.

        Returns
        -------
        TSNE
            This estimator, with a new `embedding_`, `kl_divergence_` and `n_iter_`. Copies of it, and folders that were
            saved before, stay as they are.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            For a model that was loaded: a folder holds no momentum.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from tsne_ooc import TSNE
        >>> model = TSNE(random_state=0).fit(load_iris().data)
        >>> model.continue_fit(50).n_iter_
        290
        """
        check_is_fitted(self)
        pause = self.map_.pause
        if pause is None:
            raise ValueError(
                "a map that was loaded has no momentum to go on with; fit its rows again from where they are: "
                "TSNE(initialization=model.embedding_, schedule=[Phase(iterations)])"
            )
        last = pause.motion.phase or schedules.Phase(0)
        if isinstance(schedule, int | np.integer) and not isinstance(schedule, bool):
            more = whole("schedule", schedule, least=0)
            end = last.exaggeration_at(max(0, last.iterations - 1))
            phases = schedules.Schedule([replace(last, iterations=more, exaggeration=end)])
        else:
            phases = schedules.resolve(schedule)
        moved, result = self.map_.went_on(phases, self.watch(phases))
        _warn_interrupted(result, phases)
        self._map = moved
        return self

    @property
    def affinities_(self) -> csr_array:
        check_is_fitted(self)
        return self.map_.affinities()

    def watch(self, schedule: schedules.Schedule) -> Watch:
        """The callbacks, the bar and the patience that watch an optimisation by this schedule."""
        every = whole("callbacks_every_iters", self.callbacks_every_iters, least=1)
        return Watch(callbacks_of(self.callbacks), every, schedule.patience, bool(self.verbose))

    def _recipe(self) -> Recipe:
        affinity = affinities.resolve(self.affinity, self.perplexity)
        if isinstance(self.neighbors, searches.Graph) and isinstance(self.affinity, str):
            affinity = affinities.at_most(affinity, self.neighbors.k)
        return Recipe(
            int(self.n_components), float(self.dof), self.neighbors, self.metric, deepcopy(self.metric_params),
            affinity, self.initialization, self._schedule(),
        )  # fmt: skip

    def _schedule(self) -> schedules.Schedule:
        return schedules.resolve(
            self.schedule,
            exaggeration=self.exaggeration,
            early_exaggeration=self.early_exaggeration,
            early_exaggeration_iter=self.early_exaggeration_iter,
            n_iter=self.n_iter,
            learning_rate=self.learning_rate,
        )

    def _pairwise(self) -> bool:
        return isinstance(self.metric, str) and self.metric == "precomputed"

    def _takes_sparse(self) -> bool:
        """Whether rows may be sparse; those that are sampled or prepared are dense by the time they are searched."""
        if isinstance(self.metric, str) and self.metric == GAPS:
            # It is about what is missing, and nothing is missing from sparse rows.
            return False
        if self.sample is not None or self.prepare is not None:
            return True
        try:
            search = searches.resolve(self.neighbors, metric=self.metric, n=2, p=1, sparse=True)
        except (ValueError, TypeError):
            return False
        return not isinstance(search, searches.IVF | searches.HNSW | searches.Annoy) and not callable(self.metric)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self._takes_sparse()
        tags.input_tags.allow_nan = isinstance(self.metric, str) and self.metric == GAPS
        tags.input_tags.pairwise = tags.input_tags.positive_only = self._pairwise()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _warn_interrupted(result: Result, schedule: schedules.Schedule) -> None:
    if result.stopped == "interrupted":
        interrupted(
            f"interrupted after {result.iterations} of {schedule.iterations} iterations; the map is as it then was",
        )
