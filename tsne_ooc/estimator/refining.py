"""The part of `TSNE` that lets all rows of a table move together, once a sample has decided the large picture."""

from __future__ import annotations

from typing import Any, Self

from sklearn.utils.validation import check_is_fitted

from tsne_ooc import affinity as affinities
from tsne_ooc import schedule as schedules
from tsne_ooc._context import unsaid
from tsne_ooc._random import generator, seed_of
from tsne_ooc._typing import StrPath, TableLike
from tsne_ooc._validate import is_sparse
from tsne_ooc.estimator.fitting import FittingEstimator
from tsne_ooc.fit.rows import Recipe, at_once
from tsne_ooc.intake import Intake
from tsne_ooc.io.lacking import rows_with_values
from tsne_ooc.placement import as_reference
from tsne_ooc.refinement import COURSE, DEVIATION, begin_at, late_iterations, placed_at
from tsne_ooc.refinement import check_options as check_refinement
from tsne_ooc.scratch import Room
from tsne_ooc.scratch.plan import rows_bytes


class RefiningEstimator(FittingEstimator):
    """The part of `TSNE` that makes a map of all rows from a fitted one."""

    def refine(
        self, X: TableLike, *, start: Any = None, deviation: float | None = DEVIATION, memory: float | None = None,
        scratch: StrPath | None = None, **options: Any,
    ) -> Self:  # fmt: skip
        """Let all rows move together: make a new map of all rows of X, which begins where this one places them.

        The sample decides the large picture. Then neighbours of all rows are searched among all rows, and all of them
        are optimised, as in a fit of the whole table, in three quarters of its iterations. All rows have to fit into
        memory; their neighbours and affinities are kept on disk where they would leave too little of it. The map is
        the same to the bit, wherever they are.

        Parameters
        ----------
        X : array-like, DataFrame, sparse matrix or source of shape (m, p)
            The table that this map, or its sample, is of; it may be all that `transform` takes.
        start : Placed or array of shape (m, n_components), optional
            What `place` gave for these rows, or other places of theirs; by default this method places them.
        deviation : float or None, default 2
            Standard deviation that the placed map is brought to before the rows move; None leaves it as wide as it is.
        memory : float, optional
            GB that this process may take while all rows move; by default what it has and half of what is free.
        scratch : path, optional
            A folder on a disk for what memory does not hold; by default the folder of the system's temporary files.
            Nothing stays there.
        **options
            Parameters in which the new map differs from this one, such as ``perplexity=30`` where the sample was fitted
            at a higher one, or ``exaggeration=4``. Its schedule is "refine" by default, whatever that of this one was,
            with more late iterations for more than 100,000 rows: 20 for each doubling.

        Returns
        -------
        TSNE
            A new estimator that is fitted to all rows: it places rows, and is saved and loaded, like any other.
            `placed_` holds where its rows were placed before they moved, and their novelty, seen from the sample. This
            estimator stays as it is.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError, TypeError
            For unusable options or data, as `fit` and `transform` raise them.
        MemoryError
            Where all rows of a table on disk would not fit, or `memory` is too little; before the work.
        OSError
            Where `scratch` is not a folder that can be written, has too little room, or fails on the way.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from tsne_ooc import TSNE
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
            n, columns = rows.shape[0], 0 if is_sparse(rows) else rows.shape[1]
            more, whole = rows_bytes(n, columns), is_sparse(rows) or at_once(recipe, n)
            room.check_scratch(room.plan(n, affinity, before.n_components, more=more, at_once=whole))
        placed = self.place_prepared(rows) if start is None else placed_at(start, rows.shape[0], before.n_components)
        begin = begin_at(placed.embedding, deviation, generator(seed, "refine"))
        names = None if features.names is None else list(features.names)
        taken = Intake(rows, None, features.preparation, names, features.width)
        # The start is wide on purpose.
        with unsaid("the given initialization has a standard deviation"):
            schedule = again.schedule_of_all(rows.shape[0], **options)
            recipe = recipe._replace(d=before.n_components, initialization=begin, schedule=schedule)
            return again._fit_taken(taken, seed, recipe, placed, room)

    def for_all_rows(self, **options: Any) -> tuple[Self, Recipe]:
        """Make an estimator with the parameters of a refinement with these options, and its recipe, without a start.

        Raises
        ------
        ValueError, TypeError
            For unusable options.
        """
        again = type(self)(**self.get_params(deep=False) | options)
        again.check_options()
        if self._pairwise():
            raise ValueError(
                "refine needs rows, and metric='precomputed' has distances; fit all rows with schedule='refine', and "
                "with their places, shrunk to a deviation of 2, as initialization"
            )
        return again, again._recipe()._replace(schedule=again.schedule_of_all(0, **options))

    def schedule_of_all(self, n: int, **options: Any) -> schedules.Schedule:
        """The phases of a refinement of `n` rows with these options."""
        course = {name: options.get(name, value) for name, value in COURSE.items()}
        if course["schedule"] == COURSE["schedule"] and course["n_iter"] == COURSE["n_iter"]:
            course["n_iter"] = late_iterations(n)
        return schedules.resolve(exaggeration=self.exaggeration, **course)
