"""`TSNE`: the whole of it as a scikit-learn transformer."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from . import affinity as affinities
from . import initialization as starts
from . import neighbors as searches
from . import schedule as schedules
from ._options import number, whole
from ._parallel import Threads
from ._random import generator, seed_of
from ._validate import as_rows
from .model import Model
from .neighbors.copies import spread_copies
from .optimize import Watch, callbacks_of, minimise
from .placement import Placement, place
from .saving import KIND, estimator_state
from .store import write_folder

Float32 = NDArray[np.float32]

# Rows placed at a time: enough to keep all threads busy, few enough that their neighbours take no memory to speak of.
BLOCK = 32_768


def _streamed(X: Any) -> bool:
    """Whether X is on disk, or elsewhere, and read by slicing."""
    if isinstance(X, np.memmap):
        return True
    # Tables of pandas and scipy slice too, but are in memory and have better ways.
    if isinstance(X, str | os.PathLike):
        raise TypeError(f"X is the path {str(X)!r}; open the file and pass the table: tsne_ooc.io.open_source(path)")
    if isinstance(X, Mapping) and not hasattr(X, "iloc"):
        raise TypeError(
            f"X is a {type(X).__name__} of {', '.join(map(repr, list(X)[:5])) or 'nothing'}; pass one table"
        )
    if type(X).__module__.startswith("h5py.") and not X:
        raise ValueError("X is a dataset of a file that has been closed; keep the file open while it is read")
    in_memory = isinstance(X, np.ndarray) or hasattr(X, "iloc") or hasattr(X, "tocsr") or hasattr(X, "__dataframe__")
    return hasattr(X, "shape") and (hasattr(X, "__getitem__") or hasattr(X, "read")) and not in_memory


class TSNE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """t-SNE whose map takes new rows: fit a sample, place all others beside it.

    Parameters
    ----------
    n_components : {1, 2, 3}, default 2
        Axes of the map.
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
        > 0; "auto" is the number of rows divided by the exaggeration, at least 50.
    dof : float, default 1
        Degrees of freedom of the kernel ``(1 + r^2 / dof)^-dof`` of the map, > 0; below 1 its tails are heavier and
        islands fall into finer ones (Kobak et al., ECML PKDD 2019).
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
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only where X had names for its columns.
    n_neighbors_ : int
        Neighbours of each row that the affinities were made from.

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
        number("dof", self.dof, above=0)
        affinities.resolve(self.affinity, self.perplexity)
        self._schedule()
        starts.check(self.initialization)
        self._placement()
        Threads(self.n_jobs)
        callbacks_of(self.callbacks)
        whole("callbacks_every_iters", self.callbacks_every_iters, least=1)
        searches.resolve(self.neighbors, metric=self.metric, n=2, p=1, sparse=False)

    def _fit(self, X: Any) -> TSNE:
        self.check_options()
        d, dof = int(self.n_components), float(self.dof)
        affinity = affinities.resolve(self.affinity, self.perplexity)
        plan = self._schedule()
        threads = Threads(self.n_jobs)
        watch = Watch(
            callbacks_of(self.callbacks), whole("callbacks_every_iters", self.callbacks_every_iters, least=1),
            plan.patience, bool(self.verbose),
        )  # fmt: skip
        seed = seed_of(self.random_state)
        rows = self._rows(X, reset=True)
        sparse = hasattr(rows, "tocsr")
        n, p = rows.shape
        search = searches.resolve(self.neighbors, metric=self.metric, n=n, p=p, sparse=sparse)
        index = search.build(
            rows,
            metric=self.metric,
            metric_params=self.metric_params,
            rng=generator(seed, "neighbors"),
            threads=threads,
        )
        P, order, k = self._affinities(affinity, index, n, seed, threads)
        features = None if self.metric == "precomputed" else rows
        start = starts.start(self.initialization, features, P, d, generator(seed, "initialization"), threads)
        if order is not None and (features is not None or not isinstance(self.initialization, str)):
            start = start[order]
        result = minimise(P, start, plan, dof=dof, threads=threads, watch=watch)
        embedding = result.embedding
        if order is not None:
            embedding = np.empty_like(result.embedding)
            embedding[order] = result.embedding
        if result.stopped == "interrupted":
            warnings.warn(
                f"interrupted after {result.iterations} of {plan.iterations} iterations; the map is as it then was",
                RuntimeWarning,
                stacklevel=3,
            )
        last = [phase for phase in plan if phase.iterations]
        exaggeration = last[-1].exaggeration_at(last[-1].iterations - 1) if last else 1.0
        self.embedding_ = embedding
        self.kl_divergence_ = result.kl_divergence
        self.n_iter_ = result.iterations
        self.n_neighbors_ = k
        self._model = Model(embedding.copy(), index, dof, exaggeration)
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

    def _placement(self) -> Placement:
        if self.placement is not None and not isinstance(self.placement, Placement):
            raise TypeError(f"placement={self.placement!r} is not a tsne_ooc.Placement")
        return self.placement or Placement()

    @staticmethod
    def _affinities(
        affinity: Any, index: Any, n: int, seed: int, threads: Threads
    ) -> tuple[affinities.Joint, NDArray[np.uint32] | None, int]:
        """P, the order of its rows (None: as they came) and the number of neighbours it was made from."""
        if isinstance(affinity, affinities.Precomputed):
            P = affinity.joint()
            if n != P.n:
                raise ValueError(f"affinity matrix has {P.n} rows, X has {n}; they must be the same rows")
            return P, None, 0
        if n < 2:
            return affinities.Joint(np.zeros(2, np.uint64), np.empty(0, np.uint32), np.empty(0, np.float32)), None, 0
        k = affinity.k(n)
        neighbors, distances = index.query_self(k)
        spread_copies(neighbors, distances, generator(seed, "copies"))
        p = affinity.conditional(distances, threads)
        del distances
        order = index.order
        if order is not None:
            # Rows near each other in space are then near each other in memory: for 1.3 million rows an iteration
            # takes a third of the time.
            place_of = np.empty(n, np.uint32)
            place_of[order] = np.arange(n, dtype=np.uint32)
            neighbors = neighbors[order]
            for start in range(0, n, BLOCK):
                neighbors[start : start + BLOCK] = place_of[neighbors[start : start + BLOCK]]
            p = None if p is None else p[order]
        return affinities.symmetrize(neighbors, p, threads), order, k

    def transform(self, X: Any) -> Float32:
        """Place rows on the fitted map; the map does not move.

        Each row is placed by itself: the result is the same to the bit for any chunking. A row equal to a row of the
        fit takes its seat, so the rows of the fit come back as `embedding_`.

        Parameters
        ----------
        X : array-like, DataFrame, sparse matrix, h5py.Dataset or other source of shape (m, p)
            What is no array in memory is streamed in blocks.

        Returns
        -------
        ndarray of float32, shape (m, n_components)

        Raises
        ------
        ValueError, TypeError
            For unusable data, naming the row and column; nothing is returned of a broken stream.
        sklearn.exceptions.NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        placement, threads = self._placement(), Threads(self.n_jobs)
        if _streamed(X):
            from .io.blocks import iterate

            n, blocks = X.shape[0], iterate(X, columns=self.n_features_in_)
        else:
            rows = self._rows(X, reset=False)
            n, blocks = rows.shape[0], iter([(0, rows.shape[0], rows)])
        out = np.empty((n, self.embedding_.shape[1]), np.float32)
        for start, stop, rows in blocks:
            for first in range(start, stop, BLOCK):
                last = min(first + BLOCK, stop)
                block = rows[first - start : last - start]
                out[first:last] = place(self._model, block, placement, threads).embedding
        return out

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the fitted map to a folder that `tsne_ooc.load` reads, on any machine.

        It holds the rows of the fit once, their places, the search index and the parameters, and appears whole or not
        at all (docs/saved-models.md).

        Parameters
        ----------
        path : path
            A folder that does not exist, or is empty.
        overwrite : bool, default False
            Replace a saved model there.

        Raises
        ------
        OSError
            Where something else is in the way, or the disk is full.
        ValueError
            For a callable metric or a search of the user's own, which no file can hold.
        sklearn.exceptions.NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        write_folder(path, KIND, *estimator_state(self), overwrite=overwrite)

    def _rows(self, X: Any, *, reset: bool) -> Any:
        """X as checked float32 rows in memory, its number and names of columns noted or compared."""
        if _streamed(X):
            from .io.blocks import iterate
            from .io.source import as_source

            # Its shape is asked of the source: what was passed in may not know it, and its source says so.
            table = as_source(X)
            rows = np.empty(table.shape, np.float32)
            for start, stop, block in iterate(table):
                rows[start:stop] = block
        else:
            rows = as_rows(X, accept_sparse=True)
        validate_data(self, X if hasattr(X, "shape") else rows, reset=reset, skip_check_array=True)
        return rows

    @property
    def _n_features_out(self) -> int:
        return int(self.embedding_.shape[1])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.pairwise = self.metric == "precomputed"
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
