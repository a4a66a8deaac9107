"""`TSNE`: the whole of it as a scikit-learn transformer."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from tsne_ooc import affinity as affinities
from tsne_ooc import neighbors as searches
from tsne_ooc import schedule as schedules
from tsne_ooc._context import interrupted, unsaid
from tsne_ooc._elsewhere import METHODS, answering
from tsne_ooc._options import whole
from tsne_ooc._parallel import Threads
from tsne_ooc._random import generator, seed_of
from tsne_ooc._typing import Float32, StrPath, TableLike
from tsne_ooc._validate import is_sparse
from tsne_ooc.estimator.fitted import PlacingEstimator
from tsne_ooc.estimator.fitted_map import FittedMap
from tsne_ooc.fit import initialization as starts
from tsne_ooc.fit.optimize import Result, Watch, callbacks_of
from tsne_ooc.fit.rows import Recipe, fit_rows
from tsne_ooc.gradients.grid import check_dof
from tsne_ooc.intake import Intake, check_prepare, take_in, with_gaps_kept
from tsne_ooc.intake.features import Features
from tsne_ooc.io.lacking import rows_with_values
from tsne_ooc.neighbors.base import GAPS
from tsne_ooc.placement import Placed, Placement, as_reference
from tsne_ooc.preprocess import Preparation
from tsne_ooc.refinement import COURSE, DEVIATION, begin_at, late_iterations, placed_at
from tsne_ooc.refinement import check_options as check_refinement
from tsne_ooc.sampling import resolve_sample
from tsne_ooc.scratch import Room

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class TSNE(PlacingEstimator):
    """t-SNE whose map takes new rows: fit a sample, place all others beside it.

    Parameters
    ----------
    n_components : {1, 2, 3}, default 2
        Axes of the map. Repulsion is less exact on maps wider than some 2,000 units on a plane or 110 in space: the
        grid that it is computed on then gets coarser cells instead of more memory.
    perplexity : float, default 30
        Effective number of neighbours of a row, > 0; at most a third of the rows is used.
    exaggeration : float or None, default None
        Factor on the attraction in the late phase, > 0; None is 1. Values of 2 to 4 give large samples the tighter
        islands that small ones show (Kobak and Berens, Nature Communications 10, 2019).
    early_exaggeration : float or "auto", default "auto"
        The same for the early phase; "auto" is 12, or `exaggeration` if that is more.
    early_exaggeration_iter, n_iter : int or "auto", default "auto"
        Iterations at the early exaggeration, and after it, at least 0; "auto" is 75 and 165. The first 30 of those
        after it lead from 4 times `exaggeration` down to it, unless there was no early phase.
    learning_rate : float or "auto", default "auto"
        > 0, at most 1e12; "auto" is the number of rows divided by the exaggeration. Rows with large affinities go
        more slowly, so that copies stay together.
    dof : float, default 1
        Degrees of freedom of the kernel ``(1 + r^2 / dof)^-dof`` of the map, from 0.01 to 10,000; below 1 its tails are
        heavier and islands fall into finer ones (Kobak et al., ECML PKDD 2019). Beyond 2, new rows are placed inexactly
        on maps of three axes of 30,000 rows and more.
    initialization : {"pca", "spectral", "random"} or array of shape (n, n_components), default "pca"
        An array is used as it is, wherever it lies: a map to go on with is best given with
        ``schedule=[Phase(iterations)]``, for ``early_exaggeration_iter=0`` runs the whole late course. A fitted map
        goes on by `continue_fit`.
    metric : str or callable, default "euclidean"
        "euclidean", "cosine", "precomputed" (X then holds distances), or another that the neighbour search knows.
    metric_params : dict or None, default None
        Passed on to the metric.
    neighbors : str or object, default "auto"
        The neighbour search: "auto", "exact", "faiss", "hnsw", "pynndescent", "annoy", or one of the objects of
        `tsne_ooc.neighbors`.
    affinity : str, object or matrix, default "perplexity"
        "perplexity", "multiscale", "mixture", "uniform", one of the objects of `tsne_ooc.affinity`, or a symmetric
        matrix. "uniform" is over the nearest `perplexity` rows, or all that a `Graph` has where these are fewer.
    schedule : str, Schedule or sequence of Phase, default None
        "auto" (None is the same), "classic" (250 iterations at 12, 500 at 1, momentum 0.8), "refine" (175
        iterations without an early phase, for a start that is a map), or phases, which go before all options of
        exaggeration, iterations and learning rate.
    placement : Placement or None, default None
        How `transform` places rows.
    sample : int or object of `tsne_ooc.sampling`, default None
        Fit a sample of the rows that `fit` is given, such as 25,000 of a table on disk; a number draws so many
        uniformly. None fits all. `fit_transform` gives the places of all rows: those of the sample, and all others
        placed beside them.
    prepare : Preparation or None, default None
        What is done to rows first, here and in `transform`: fitted on all rows that `fit` is given, in passes of its
        own.
    n_jobs : int or None, default None
        Threads; None is all cores, -1 too. The result is the same for any number of them.
    random_state : int, generator or None, default None
        The same whole number gives the same map, to the bit.
    callbacks : callable or sequence of callable, default None
        Called with (iteration, error, embedding) every `callbacks_every_iters` iterations; a true return value ends
        the optimisation.
    callbacks_every_iters : int, default 50
    verbose : bool, default False
        Show a bar with the phase, the divergence and the rate.

    Attributes
    ----------
    embedding_ : ndarray of float32, shape (n, n_components)
        Places of the rows that were fitted; read-only, as all arrays of a fitted map.
    affinities_ : scipy.sparse.csr_array of float64, shape (n, n)
        The joint probabilities P that the map was fitted to: symmetric, without a diagonal, their sum is 1. They are
        made once more when asked for, by a search of all neighbours: for large fits they are larger than all else.
    kl_divergence_ : float
        Kullback-Leibler divergence of the map's similarities from the affinities, without exaggeration.
    n_iter_ : int
        Iterations that were run.
    sample_rows_ : ndarray of int64 or None
        Numbers of the rows that were fitted, ascending, where `sample` drew them.
    preparation_ : Preparation or None
        The fitted `prepare`. Without one, of columns of float64 or whole numbers that lie so far from 0 that float32
        would merge their rows (times in seconds, numbers of cases), the shift that brings them there; only for metrics
        that a shift does not change, such as "euclidean". Other metrics warn, and name the columns.
    seed_ : int
        As `random_state` it makes this map again; it is drawn where that is None.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only where X had names for its columns. Tables with names are then taken by name: columns in another order are
        put right, those that are missing or there twice are refused, and others are left out with a warning.
    n_neighbors_ : int
        Neighbours of each row that the affinities were made from.
    recall_ : float
        Which share of these are the nearest ones, measured on 256 rows; 1 where the search is exact.
    novelty_ : ndarray of float32, shape (n,)
        Novelty of each fitted row, seen from the others; see `score_samples`.
    placed_ : Placed
        Only of maps that `refine` made: where the rows were placed on the map before, and how novel they were there.
    map_ : FittedMap
        All that the fit left behind in one value that never changes, a `tsne_ooc.estimator.FittedMap`; another fit
        makes another.
    novelty_threshold_ : float
        Rows whose novelty is beyond it are strangers: at most 0.2 % of rows like the fitted ones are.

    References
    ----------
    van der Maaten and Hinton, Journal of Machine Learning Research 9, 2008; Linderman et al., Nature Methods 16, 2019;
    Poličar, Stražar and Zupan, Machine Learning 112, 2023 (placing new rows).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from tsne_ooc import TSNE
    >>> X = load_digits().data
    >>> model = TSNE(random_state=0).fit(X[:1000])
    >>> model.transform(X[1000:]).shape
    (797, 2)
    """

    @answering
    def __init__(
        self,
        n_components: int = 2,
        *,
        perplexity: float = 30,
        exaggeration: float | None = None,
        early_exaggeration: Any = "auto",
        early_exaggeration_iter: Any = "auto",
        n_iter: Any = "auto",
        learning_rate: Any = "auto",
        dof: float = 1,
        initialization: Any = "pca",
        metric: Any = "euclidean",
        metric_params: dict[str, Any] | None = None,
        neighbors: Any = "auto",
        affinity: Any = "perplexity",
        schedule: Any = None,
        placement: Placement | None = None,
        sample: Any = None,
        prepare: Preparation | None = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        callbacks: Any = None,
        callbacks_every_iters: int = 50,
        verbose: bool = False,
    ) -> None:
        self.n_components = n_components
        self.perplexity = perplexity
        self.exaggeration = exaggeration
        self.early_exaggeration = early_exaggeration
        self.early_exaggeration_iter = early_exaggeration_iter
        self.n_iter = n_iter
        self.learning_rate = learning_rate
        self.dof = dof
        self.initialization = initialization
        self.metric = metric
        self.metric_params = metric_params
        self.neighbors = neighbors
        self.affinity = affinity
        self.schedule = schedule
        self.placement = placement
        self.sample = sample
        self.prepare = prepare
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.callbacks = callbacks
        self.callbacks_every_iters = callbacks_every_iters
        self.verbose = verbose

    def fit(self, X: TableLike, y: object = None) -> TSNE:
        """Embed the rows of X.

        Parameters
        ----------
        X : array-like, DataFrame, sparse matrix or source of shape (n, p)
            Finite numbers; sparse where the metric allows; distances of shape (n, n) for ``metric="precomputed"``.
        y : ignored

        Returns
        -------
        TSNE
            Itself.

        Raises
        ------
        ValueError, TypeError
            For unusable options or data, naming the option, or the row and column.
        FloatingPointError
            If the learning rate drives the map to infinity.
        """
        self._fit(X)
        return self

    def fit_transform(self, X: TableLike, y: object = None) -> Float32:
        """`fit`, then the places of all rows of X.

        They are `embedding_`, in an array of their own; where `sample` is given, the rows of the sample have their
        places in `embedding_`, and all others are placed as `transform` does.

        Returns
        -------
        ndarray of float32, shape (n, n_components)
        """
        self._fit(X)
        if self.sample_rows_ is None:
            return self.embedding_.copy()
        # Not `transform`, which gives data frames to those who ask for them.
        places = self.place(X).embedding
        # Of rows that are equal, each that was fitted has a seat of its own.
        places[self.sample_rows_] = self.embedding_
        return places

    def check_options(self) -> None:
        """Raise if an option is wrong that can be judged without the data, as `fit` does first.

        Raises
        ------
        ValueError, TypeError
            Naming the option.
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
                    raise ValueError(f"{name} needs rows, metric='precomputed' has distances; leave one out")

    def _fit(self, X: TableLike) -> TSNE:
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

    def fit_taken(self, taken: Intake) -> TSNE:
        """Do as `fit` does, for rows that `tsne_ooc.intake.take_in` gave, whatever `sample` and `prepare` are here."""
        self.check_options()
        return self._fit_taken(taken, seed_of(self.random_state))

    def _fit_taken(
        self, taken: Intake, seed: int, recipe: Recipe | None = None, placed: Placed | None = None,
        room: Room | None = None,
    ) -> TSNE:  # fmt: skip
        """Fit rows by a recipe, by default that of the parameters."""
        threads, recipe = Threads(self.n_jobs), recipe or self._recipe()
        watch = self.watch(recipe.schedule)
        fitted = fit_rows(taken.rows, recipe, seed=seed, threads=threads, watch=watch, room=room)
        _warn_interrupted(fitted.result, recipe.schedule)
        # All at once, and last: a fit that fails leaves the one before as it was.
        self._map = FittedMap(
            fitted.model, Features.of(taken, distances=self._pairwise(), sparse=True), threads,
            fitted.result.kl_divergence, fitted.result.iterations, fitted.k, seed, taken.sample_rows, recipe.affinity,
            fitted.pause, placed,
        )  # fmt: skip
        return self

    @classmethod
    def of_map(cls, map: FittedMap, **parameters: Any) -> Self:
        """An estimator of these parameters whose fit left this map."""
        made = cls(**parameters)
        made._map = map
        return made

    def continue_fit(self, schedule: Any) -> TSNE:
        """Go on from where the last fit, or the last call of this, ended: with its places, momentum and gains.

        A fit of 60 iterations that goes on for 40 ends with the same bits as one of 100, as long as all are of one
        phase. Neighbours are searched once more, since a fit does not keep its affinities.

        Parameters
        ----------
        schedule : int, Schedule, Phase or iterable of Phase
            A number is so many more iterations of the phase that was at work last. The first of several phases goes on
            with momentum and gains as they are, each other begins anew.

        Returns
        -------
        TSNE
            Itself, with a new `embedding_`, `kl_divergence_` and `n_iter_`. Copies and folders that were saved before
            do not move.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            For a model that was loaded: a folder holds no momentum.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
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

    def refine(
        self, X: TableLike, *, start: Any = None, deviation: float | None = DEVIATION, memory: float | None = None,
        scratch: StrPath | None = None, **options: Any,
    ) -> TSNE:  # fmt: skip
        """Let all rows move together: a new map of every row of X, begun where this one places them.

        The sample decides the large picture. Then neighbours of all rows are searched among all rows, and all of them
        are optimised, as in a fit of the whole table, in three quarters of its iterations. All rows have to fit into
        memory; their neighbours and affinities are kept on disk where they would leave too little of it. The map is
        the same to the bit, wherever they are.

        Parameters
        ----------
        X : array-like, DataFrame, sparse matrix or source of shape (m, p)
            The table that this map was fitted to, or to a sample of; as for `transform`.
        start : Placed or array of shape (m, n_components), optional
            What `place` gave for these rows, or other places of theirs; by default they are placed here.
        deviation : float or None, default 2
            Standard deviation that the placed map is brought to before the rows move; None leaves it as wide as it is.
        memory : float, optional
            GB that this process may have while all rows move; by default what it has and half of what is free.
        scratch : path, optional
            A folder on a disk for what memory does not hold; by default that of the system's temporary files. Nothing
            stays there.
        **options
            Parameters of the new map that are to be others than those of this one, such as ``perplexity=30`` where
            the sample was fitted at a higher one, or ``exaggeration=4``. Its schedule is "refine", whatever it was
            here, with more late iterations for more than 100,000 rows: 20 for each doubling.

        Returns
        -------
        TSNE
            Fitted to all rows: it places, is saved and loaded like any other. `placed_` holds where its rows were
            placed before they moved, and their novelty, seen from the sample. This one stays as it is.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError, TypeError
            For unusable options or data, as `fit` and `transform` raise them.
        MemoryError
            Where all rows of a table on disk would not fit, or `memory` is too little, before the work.
        OSError
            Where `scratch` is not a folder that can be written, has too little room, or fails on the way.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> X = load_digits().data
        >>> refined = TSNE(sample=500, random_state=0).fit(X).refine(X)
        >>> refined.embedding_.shape
        (1797, 2)
        """
        check_is_fitted(self)
        check_refinement(options, deviation)
        room = Room(memory, scratch)
        if scratch is not None:
            room.folder()
        again, recipe = self.for_all_rows(**options)
        before, features = self.map_, self.features_
        seed = before.seed if "random_state" not in options else None
        seed = seed_of(again.random_state) if seed is None else seed
        rows = as_reference(before.model, features.rows(X, type(self).__name__, self.n_jobs))
        if features.drops and not (kept := rows_with_values(rows)).all():
            lacks = "has no value" if features.gaps else "lacks a value"
            raise ValueError(
                f"X {lacks} in row {int(kept.argmin())}, and refine moves all rows; leave such rows out, or let "
                "Missing fill values in"
            )
        affinity = recipe.affinity
        affinities.check_matrix(affinity, rows.shape[0])
        if not isinstance(affinity, affinities.GivenAffinities):
            columns = 0 if is_sparse(rows) else rows.shape[1]
            room.plan(rows.shape[0], affinity, before.n_components, columns=columns)
        placed = self.place_prepared(rows) if start is None else placed_at(start, rows.shape[0], before.n_components)
        begin = begin_at(placed.embedding, deviation, generator(seed, "refine"))
        names = None if features.names is None else list(features.names)
        taken = Intake(rows, None, features.preparation, names, features.width)
        # The start is wide, and meant to be.
        with unsaid("the given initialization has a standard deviation"):
            schedule = again.schedule_of_all(rows.shape[0], **options)
            recipe = recipe._replace(d=before.n_components, initialization=begin, schedule=schedule)
            return again._fit_taken(taken, seed, recipe, placed, room)

    def for_all_rows(self, **options: Any) -> tuple[Self, Recipe]:
        """An estimator whose parameters are those of a refinement with these options, and its recipe, without a start.

        Raises
        ------
        ValueError, TypeError
            For unusable options.
        """
        again = type(self)(**self.get_params(deep=False) | options)
        again.check_options()
        if self._pairwise():
            raise ValueError(
                "refine needs rows, metric='precomputed' has distances; fit all of them with schedule='refine' and, as "
                "initialization, their places, shrunk to a deviation of 2"
            )
        return again, again._recipe()._replace(schedule=again.schedule_of_all(0, **options))

    def schedule_of_all(self, n: int, **options: Any) -> schedules.Schedule:
        """The phases of a refinement of `n` rows with these options."""
        course = {name: options.get(name, value) for name, value in COURSE.items()}
        if course["schedule"] == COURSE["schedule"] and course["n_iter"] == COURSE["n_iter"]:
            course["n_iter"] = late_iterations(n)
        return schedules.resolve(exaggeration=self.exaggeration, **course)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in METHODS:
                raise AttributeError(f"{type(self).__name__} has no {name!r}; it is {METHODS[name]}")
            # As it would be without this: a property says what is missing itself.
            return super().__getattribute__(name)

    @property
    def affinities_(self) -> csr_array:
        check_is_fitted(self)
        return self.map_.affinities()

    def watch(self, schedule: schedules.Schedule) -> Watch:
        """Who looks on while a map is optimised."""
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
        """Whether rows may be sparse: of a sample, and behind a preparation, they are dense when they are searched."""
        if isinstance(self.metric, str) and self.metric == GAPS:
            # It is about what is missing, and nothing is missing from them.
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
            stacklevel=5,
        )
