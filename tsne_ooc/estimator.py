"""`TSNE`: the whole of it as a scikit-learn transformer."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import validate_data

from . import affinity as affinities
from . import initialization as starts
from . import neighbors as searches
from . import schedule as schedules
from ._options import whole
from ._parallel import Threads
from ._random import generator, seed_of
from .fitted import FittedMap
from .fitting import Recipe, fit_rows
from .gradients.grid import check_dof
from .optimize import Watch, callbacks_of
from .placement import Placement
from .preprocess import Preparation, PreparedSource
from .reading import in_memory
from .sampling import resolve_sample

Float32 = NDArray[np.float32]


class TSNE(FittedMap):
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
        Iterations at the early exaggeration, and after it, at least 0; "auto" is 75 and 165.
    learning_rate : float or "auto", default "auto"
        > 0, at most 1e12; "auto" is the number of rows divided by the exaggeration, at least 50.
    dof : float, default 1
        Degrees of freedom of the kernel ``(1 + r^2 / dof)^-dof`` of the map, from 0.01 to 10,000; below 1 its tails are
        heavier and islands fall into finer ones (Kobak et al., ECML PKDD 2019).
    initialization : {"pca", "spectral", "random"} or array of shape (n, n_components), default "pca"
        An array is used as it is.
    metric : str or callable, default "euclidean"
        "euclidean", "cosine", "precomputed" (X then holds distances), or another that the neighbour search knows.
    metric_params : dict or None, default None
        Passed on to the metric.
    neighbors : str or object, default "auto"
        The neighbour search: "auto", "exact", "faiss", "hnsw", "pynndescent", "annoy", or one of the objects of
        `tsne_ooc.neighbors`.
    affinity : str, object or matrix, default "perplexity"
        "perplexity", "multiscale", "uniform", one of the objects of `tsne_ooc.affinity`, or a symmetric matrix.
    schedule : str, Schedule or sequence of Phase, default None
        "auto" (None is the same), "classic" (250 iterations at 12, 500 at 1, momentum 0.8), or phases, which go before
        all options of exaggeration, iterations and learning rate.
    placement : Placement or None, default None
        How `transform` places rows.
    sample : int or object of `tsne_ooc.sampling`, default None
        Fit a sample of the rows that `fit` is given, such as 25,000 of a table on disk; a number draws so many
        uniformly. None fits all.
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
    kl_divergence_ : float
        Kullback-Leibler divergence of the map's similarities from the affinities, without exaggeration.
    n_iter_ : int
        Iterations that were run.
    sample_rows_ : ndarray of int64 or None
        Numbers of the rows that were fitted, ascending, where `sample` drew them.
    preparation_ : Preparation or None
        The fitted `prepare`.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only where X had names for its columns.
    n_neighbors_ : int
        Neighbours of each row that the affinities were made from.
    novelty_ : ndarray of float32, shape (n,)
        Novelty of each fitted row, seen from the others; see `score_samples`.
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

    def fit(self, X: Any, y: Any = None) -> TSNE:
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

    def fit_transform(self, X: Any, y: Any = None) -> Float32:
        """`fit`, then the map of the rows: `embedding_`."""
        return self._fit(X).embedding_

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
        if self.prepare is not None and not isinstance(self.prepare, Preparation):
            raise TypeError(f"prepare={self.prepare!r} is not a tsne_ooc.preprocess.Preparation")
        callbacks_of(self.callbacks)
        whole("callbacks_every_iters", self.callbacks_every_iters, least=1)
        searches.resolve(self.neighbors, metric=self.metric, n=2, p=1, sparse=False)

    def _fit(self, X: Any) -> TSNE:
        self.check_options()
        threads = Threads(self.n_jobs)
        recipe = Recipe(
            int(self.n_components), float(self.dof), self.neighbors, self.metric, self.metric_params,
            affinities.resolve(self.affinity, self.perplexity), self.initialization, self._schedule(),
        )  # fmt: skip
        watch = Watch(
            callbacks_of(self.callbacks), whole("callbacks_every_iters", self.callbacks_every_iters, least=1),
            recipe.schedule.patience, bool(self.verbose),
        )  # fmt: skip
        seed = seed_of(self.random_state)
        preparation, table = None, X
        if self.prepare is not None:
            preparation = Preparation(self.prepare.steps).fit(X, random_state=seed, n_jobs=self.n_jobs)
            table = PreparedSource(X, preparation, n_jobs=self.n_jobs)
        sample_rows = None
        if self.sample is not None:
            sample_rows, rows = resolve_sample(self.sample).draw(table, generator(seed, "sample"))
        else:
            rows = in_memory(table)
        validate_data(self, X if hasattr(X, "shape") else rows, reset=True, skip_check_array=True)
        model, result, k = fit_rows(rows, recipe, seed=seed, threads=threads, watch=watch)
        if result.stopped == "interrupted":
            warnings.warn(
                f"interrupted after {result.iterations} of {recipe.schedule.iterations} iterations; the map is as it "
                "then was",
                RuntimeWarning,
                stacklevel=3,
            )
        self.embedding_ = result.embedding
        self.kl_divergence_ = result.kl_divergence
        self.n_iter_ = result.iterations
        self.n_neighbors_ = k
        self.sample_rows_ = sample_rows
        self.preparation_ = preparation
        self._model = model
        return self

    def _schedule(self) -> schedules.Schedule:
        return schedules.resolve(
            self.schedule,
            exaggeration=self.exaggeration,
            early_exaggeration=self.early_exaggeration,
            early_exaggeration_iter=self.early_exaggeration_iter,
            n_iter=self.n_iter,
            learning_rate=self.learning_rate,
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.pairwise = self.metric == "precomputed"
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
