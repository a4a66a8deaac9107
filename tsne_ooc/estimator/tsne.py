"""`TSNE`, the scikit-learn transformer: its parameters, and what it leaves to the parts that it is made of."""

from __future__ import annotations

from typing import Any

from tsne_ooc._elsewhere import answering
from tsne_ooc.estimator.refining import RefiningEstimator
from tsne_ooc.placement import Placement
from tsne_ooc.preprocess import Preparation


class TSNE(RefiningEstimator):
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
        Iterations of the early phase, and of the late one after it, at least 0; "auto" is 75 and 165. Where there is an
        early phase, the first 30 iterations after it lead from 4 times `exaggeration` down to `exaggeration`.
    learning_rate : float or "auto", default "auto"
        A number > 0 and at most 1e12; "auto" is the number of rows divided by the exaggeration. Rows with large
        affinities move more slowly, so that copies stay together.
    dof : float, default 1
        Degrees of freedom of the kernel ``(1 + r^2 / dof)^-dof`` of the map, from 0.01 to 10,000; below 1 its tails are
        heavier and islands fall into finer ones (Kobak et al., ECML PKDD 2019). Beyond 2, new rows are placed inexactly
        on maps of three axes of 30,000 rows and more.
    initialization : {"pca", "spectral", "random"} or array of shape (n, n_components), default "pca"
        An array is used as it is, wherever its places are. To go on with a map, give it with
        ``schedule=[Phase(iterations)]``, for ``early_exaggeration_iter=0`` runs the whole late course. `continue_fit`
        goes on with a fitted map.
    metric : str or callable, default "euclidean"
        "euclidean", "cosine", "precomputed" (X then holds distances), or another that the neighbour search knows.
    metric_params : dict or None, default None
        Passed on to the metric.
    neighbors : str or object, default "auto"
        The neighbour search: "auto", "exact", "faiss", "hnsw", "pynndescent", "annoy", or one of the objects of
        `tsne_ooc.neighbors`.
    affinity : str, object or matrix, default "perplexity"
        "perplexity", "multiscale", "mixture", "uniform", one of the objects of `tsne_ooc.affinity`, or a symmetric
        matrix. "uniform" is over the nearest `perplexity` rows, or over all that a `Graph` has where these are fewer.
    schedule : str, Schedule or sequence of Phase, default None
        "auto" (None is the same), "classic" (250 iterations at 12, 500 at 1, momentum 0.8), "refine" (175
        iterations without an early phase, for a start that is a map), or phases, which take precedence over all options
        of exaggeration, iterations and learning rate.
    placement : Placement or None, default None
        How `transform` places rows.
    sample : int or object of `tsne_ooc.sampling`, default None
        Fit a sample of the rows that `fit` is given, such as 25,000 of a table on disk; a number draws so many
        uniformly. None fits all. `fit_transform` gives the places of all rows: those of the sample, and all others
        placed beside them.
    prepare : Preparation or None, default None
        What is done to rows first, in `fit` and in `transform`. It is fitted on all rows that `fit` is given, in passes
        of its own.
    n_jobs : int or None, default None
        Threads; None and -1 are all cores. The result is the same for any number of them.
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
        Places of the rows that were fitted; read-only, as all arrays of a fitted map are.
    affinities_ : scipy.sparse.csr_array of float64, shape (n, n)
        The joint probabilities P that the map was fitted to: they are symmetric, have no diagonal, and sum to 1. They
        are made again when they are asked for, by a search of all neighbours: a large fit does not keep them, since
        they take more memory than all else.
    kl_divergence_ : float
        Kullback-Leibler divergence of the map's similarities from the affinities, without exaggeration.
    n_iter_ : int
        Iterations that were run.
    sample_rows_ : ndarray of int64 or None
        Numbers of the rows that were fitted, ascending, where `sample` drew them.
    preparation_ : Preparation or None
        The fitted `prepare`. Where there is none, and columns of float64 or whole numbers lie so far from 0 that
        float32 would merge their rows (times in seconds, numbers of cases), it is the shift that brings them to 0. That
        is done only for metrics that a shift does not change, such as "euclidean"; others warn, and name the columns.
    seed_ : int
        The seed: given as `random_state` it makes this map again. It is drawn where `random_state` is None.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        It is there only where X had names for its columns. Tables with names are then taken by name: columns in another
        order are put right, those that are missing or there twice are refused, and others are left out with a warning.
    n_neighbors_ : int
        Neighbours of each row that the affinities were made from.
    recall_ : float
        The share of these that are truly the nearest ones, measured on 256 rows; 1 where the search is exact.
    novelty_ : ndarray of float32, shape (n,)
        Novelty of each fitted row, seen from the others; see `score_samples`.
    placed_ : Placed
        Only maps that `refine` made have it: where the rows were placed before they moved, and how novel they were.
    map_ : FittedMap
        All that the fit left behind, in one value that never changes, a `tsne_ooc.estimator.FittedMap`; another fit
        makes another one.
    novelty_threshold_ : float
        Rows whose novelty is beyond it are strangers. Of rows like the fitted ones at most 0.2 % are.

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
