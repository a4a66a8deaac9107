"""What other programs call our options, and in which units."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
Others = Mapping[str, Collection[str]]


class Here(NamedTuple):
    """What an option of another program is here.

    `ours` is the option, or how it is written in Python where it is a part of one, or "" where there is nothing to
    set; `unit` says what it counts or takes, in words that the command line can use too.
    """

    ours: str
    unit: str


def _each(words: str, ours: str, unit: str) -> dict[str, Here]:
    """Words that are one thing here."""
    return dict.fromkeys(words.split(), Here(ours, unit))


_NEIGHBORS = "an effective number of neighbours, some two thirds of a number of nearest ones"
_MOMENTUM = Here("schedule=[Phase(iterations, exaggeration, momentum)]", "one Phase for each stretch of iterations")
_PATIENCE = Here("schedule=Schedule(phases, patience=looks)", "looks at the divergence without a fall by a thousandth")
_FOUND = "neighbours that were found before: a graph, or a pair of indices and distances"
_COMPONENTS = "principal components that the columns are brought to first"
_LABELS = "labels do not shape a map; leave it out"

#: Words for options of a map, those of scikit-learn, openTSNE, FIt-SNE, Rtsne, cuML, TorchDR, UMAP, PaCMAP and ivis.
MAP = {
    # The map and its kernel.
    **_each("dims map_dims embedding_dims", "n_components", "axes of the map"),
    **_each("df", "dof", "degrees of freedom of the kernel"),
    **_each("spread a b", "dof", "degrees of freedom of the kernel: below 1 islands fall into finer ones"),
    **_each("output_metric output_metric_kwds metric_out", "", "a map has Euclidean distances; leave it out"),
    **_each("min_dist", "exaggeration", "a factor on the attraction: 2 to 4 draw islands together (nothing sets a "
            "least distance)"),
    **_each("repulsion_strength", "exaggeration", "a factor on the attraction: below 1 the repulsion is the stronger"),
    **_each("densmap dens_lambda dens_frac dens_var_shift output_dens", "", "a map does not keep densities, and its "
            "report says how far it is from that; leave it out"),
    **_each("target_n_neighbors target_metric target_metric_kwds target_weight supervision_metric supervision_weight",
            "", _LABELS),
    # Neighbours and affinities.
    **_each("n_neighbors num_neighbors k K", "perplexity", _NEIGHBORS),
    **_each("perplexity_list perplexities", "affinity", "multiscale is at the perplexity and ten times as much"),
    **_each("sigma", "affinity=FixedSigma(sigma)", "one bandwidth for all rows"),
    **_each("set_op_mix_ratio local_connectivity", "affinity", "a word such as perplexity, or uniform for neighbours "
            "that all weigh the same"),
    **_each("affinities load_affinities", "affinity", "a word, or in Python a matrix"),
    **_each("perplexity_max_iter perplexity_tol tol_affinity max_iter_affinity", "", "a row's bandwidth is always "
            "found to the last digits; leave it out"),
    **_each("sparsity disconnection_distance", "", "a row is drawn to its nearest rows and to no others, however far "
            "they are; leave it out"),
    **_each("unique check_duplicates process_duplicates", "", "equal rows may stay in the table, and stay together on "
            "the map; leave it out"),
    **_each("metric_kwds", "metric_params", "a dictionary"),
    **_each("distance knn_distance_metric metric_in", "metric", "a word"),
    **_each("is_distance precomputed_distances", "metric", "precomputed is the word for a table of distances"),
    **_each("square_distances", "", "distances are squared here whatever the metric; leave it out"),
    **_each("knn_algo knn_kwargs knn_backend backend keops angular_rp_forest force_approximation_algorithm",
            "neighbors", "a search by its word, such as hnsw, or in Python one with its options"),
    **_each("ntrees n_trees", "neighbors=Annoy(trees=number)", "the search that has trees"),
    **_each("search_k", "neighbors=Annoy(search_k=number)", "the search that has it"),
    **_each("precomputed_knn knn_graph neighbour_matrix pair_neighbors", "neighbors=Graph(found)", _FOUND),
    **_each("precompute annoy_index_path build_index_on_disk low_memory", "", "the search is built in memory, "
            "once; leave it out"),
    **_each("MN_ratio FP_ratio pair_MN pair_FP low_dist_thres", "", "a row is drawn to its nearest rows, and pushed "
            "by all; leave it out"),
    # What is done before.
    **_each("ensure_all_finite force_all_finite convert_dtype", "", "rows of any type of numbers are taken, and "
            "all are checked; leave it out"),
    **_each("initial_dims apply_pca", "pca", _COMPONENTS),
    **_each("partial_pca pca_center", "", "principal components are of centred columns, and found block by block; "
            "leave it out"),
    **_each("pca_scale", "standardize", "standard gives each column the same deviation"),
    **_each("init Y_init", "initialization", "pca, spectral, random or an array"),
    **_each("init_scaling", "", "a map starts at a standard deviation of a ten-thousandth, unless an array says where; "
            "leave it out"),
    # The course of the fit.
    **_each("max_iter num_iters", "n_iter", "iterations after the early phase, where most programs count both phases"),
    **_each("n_epochs", "n_iter", "iterations after the early phase"),
    **_each("late_exag_coeff late_exaggeration", "exaggeration", "the factor on the attraction after the early phase"),
    **_each("early_exag_coeff early_exaggeration_coeff exaggeration_factor", "early_exaggeration", "the factor on the "
            "attraction in the early phase"),
    **_each("stop_early_exag_iter exaggeration_iter stop_lying_iter", "early_exaggeration_iter", "iterations of the "
            "early phase"),
    **_each("initial_momentum final_momentum momentum pre_momentum post_momentum mom_switch_iter "
            "no_momentum_during_exag start_late_exag_iter", *_MOMENTUM),
    **_each("lr eta learning_rate_method", "learning_rate", "a number, or auto, which follows the number of rows"),
    **_each("max_grad_norm max_step_norm", "", "it is left to the learning rate, which follows the number of rows; "
            "leave it out"),
    **_each("optimizer optimizer_kwargs scheduler scheduler_kwargs", "schedule", "a word, or in Python phases of a "
            "descent with momentum"),
    **_each("n_iter_without_progress min_grad_norm check_interval tol", *_PATIENCE),
    **_each("method angle theta negative_gradient_method nbody_algo use_fast_tsne n_interpolation_points "
            "min_num_intervals ints_in_interval intervals_per_integer nterms", "", "forces are always interpolated on "
            "a grid, by FFT; leave it out"),
    **_each("negative_sample_rate n_negatives discard_NNs", "", "each row is pushed by all others, on a grid by FFT, "
            "and none are sampled; leave it out"),
    # What is seen of it, and where it runs.
    **_each("return_loss", "", "after a fit the divergence is in kl_divergence_; leave it out"),
    **_each("tqdm_kwds", "verbose", "whether the course is told"),
    **_each("intermediate intermediate_snapshots tolog", "callbacks", "a function that gets the iteration, the "
            "divergence and the places"),
    **_each("nthreads n_threads num_threads", "n_jobs", "threads"),
    **_each("seed", "random_state", "a whole number"),
    **_each("transform_seed transform_queue_size", "", "a new row is placed by itself and without chance; "
            "leave it out"),
    **_each("save_tree save_pairs basis transform_mode", "", "a fitted map keeps its rows, its affinities and "
            "its search; leave it out"),
    **_each("output_type handle compile distributed", "", "a map is fitted by this machine's processor, in arrays of "
            "NumPy; leave it out"),
}  # fmt: skip

#: Words for options of an encoder, those of ivis, UMAP and PaCMAP.
ENCODER = {
    **_each("shuffle_mode", "shuffle", "full, buffer or batch"),
    **_each("epochs n_epochs n_training_epochs num_epochs", "n_iter", "batches, not epochs: rows over batch_size are "
            "one epoch"),
    **_each("max_iter num_iters", "n_iter", "batches"),
    **_each("n_epochs_without_progress", "patience", "looks at held-out rows without a better one, one every 500 "
            "batches"),
    **_each("model encoder", "network", "width and number of hidden layers, or in Python any network"),
    **_each("loss distance global_correlation_loss_weight", "objective", "a word, such as distillation or field"),
    **_each("margin", "", "rows do not come in triplets; leave it out"),
    **_each("learning_rate_init lr optimizer", "learning_rate", "that of AdamW, 0.006 by default"),
    **_each("parametric_reconstruction parametric_reconstruction_loss_fcn parametric_reconstruction_loss_weight "
            "autoencoder_loss", "decoder", "whether to learn the way back from places to rows"),
    **_each("reconstruction_validation", "validation", "whether rows are held out to see when to stop"),
    **_each("negative_sample_rate", "objective", "negative_sampling is the word for it"),
    **_each("loss_report_frequency", "callbacks_every_iters", "batches"),
    **_each("keras_fit_kwargs run_eagerly", "", "networks are PyTorch's here; leave it out"),
    **_each("landmark_loss_fn landmark_loss_weight landmark_positions", "", "an encoder keeps old places "
            "where the map that it learns from has them; leave it out"),
}  # fmt: skip

#: Words for how new rows are placed, where others say it for each call.
PLACING = {
    **_each("k", "k", "neighbours of a row among those of the map"),
    **_each("n_iter", "max_iter", "steps of a row"),
    **_each("learning_rate momentum initial_momentum final_momentum early_exaggeration early_exaggeration_iter", "",
            "a row takes steps of its own, by its curvature, and needs no early phase; leave it out"),
}  # fmt: skip

#: Words for how a map goes on.
GOING_ON = {
    **_each("n_iter", "schedule", "so many iterations more, or a list of Phase"),
    **_each("exaggeration momentum learning_rate", "schedule=[Phase(iterations, exaggeration, momentum)]", "one Phase "
            "for each stretch of iterations"),
    **_each("inplace", "", "this estimator goes on, and its copies stay as they are; leave it out"),
    **_each("propagate_exception", "", "an interrupt keeps the best places so far; leave it out"),
}  # fmt: skip

#: Words of others that are values of options, and what to say.
VALUES = {
    "metric": {
        **dict.fromkeys(("dot", "ip", "inner_product"), "an inner product is not a distance, and 'cosine' is one of "
                        "directions"),
        **dict.fromkeys(("pearson", "pearsonr"), "it is 'correlation' here"),
        **dict.fromkeys(("spearman", "spearmanr"), "it is 'correlation' of ranks, which the table has to hold"),
        "angular": "it is 'euclidean' between rows of length 1, and 'cosine' is nearly that",
    },
    "neighbors": {
        **dict.fromkeys(("brute", "brute_force", "kd_tree", "ball_tree", "vp-tree"), "it is 'exact' here"),
        **dict.fromkeys(("approx", "approximate", "voyager"), "'auto' is an approximate search where rows are many"),
    },
    "initialization": {
        "laplacian": "it is 'spectral' here",
        **dict.fromkeys(("normal", "gaussian"), "it is 'random' here"),
    },
    "affinity": {
        **dict.fromkeys(("gaussian", "entropic"), "it is 'perplexity' here"),
        "knn": "it is 'uniform' here",
    },
}  # fmt: skip

#: Methods of others: ours that has to be there, and what to say.
METHODS = {
    "optimize": ("continue_fit", "it is continue_fit, which takes a number of iterations or phases (a map of openTSNE "
                 "has both)"),
    "prepare_partial": ("place", "it is place, which moves no row that is there"),
    "inverse_transform": ("transform", "an encoder that learns a decoder has it: "
                          "tsne_ooc.parametric.ParametricTSNE(decoder=True)"),
    "update": ("transform", "transform places rows that come later, and moves none that is there"),
    "save_model": ("save", "it is save, which writes a folder"),
    "load_model": ("save", "tsne_ooc.load reads the folder that save wrote"),
    "export_model": ("export_onnx", "it is export_onnx, which writes a file that runs without us"),
}  # fmt: skip

#: Options of our encoders that maps do not have.
ENCODERS_OWN = (
    "teacher", "objective", "network", "landmarks", "decoder", "batch_size", "augmentation", "shuffle", "validation",
    "patience", "device",
)  # fmt: skip
#: Options of `tsne_ooc.Placement`.
PLACEMENT = ("perplexity", "k", "exaggeration", "initialization", "affinity", "tolerance", "max_iter")
#: Options of `tsne_ooc.preprocess.preparation_from_options`.
STEPS = ("standardize", "log1p", "normalize", "pca", "onehot", "missing")
BEFORE = "a step before the map: prepare=tsne_ooc.preprocess.preparation_from_options({})"


def answering(function: Callable[P, R]) -> Callable[P, R]:
    """Make a constructor or a method answer an option that it does not know with the one that was probably meant.

    Its signature stays what it is, for scikit-learn and for readers. An estimator lists the options of its teacher in
    its attribute `TEACHERS`.
    """
    names = frozenset(inspect.signature(function).parameters) - {"self"}
    method = "" if function.__name__ == "__init__" else function.__name__

    @functools.wraps(function)
    def answered(*args: P.args, **options: P.kwargs) -> R:
        for word in options:
            if word not in names:
                raise TypeError(unknown_option(type(args[0]), word, method, names))
        return function(*args, **options)

    return answered


def unknown_option(estimator: type, word: str, method: str = "", names: Collection[str] = ()) -> str:
    """What to say about an option that an estimator, or a method of it, does not have.

    Parameters
    ----------
    estimator : type
        Its class.
    word : str
    method : str
        The method, or "" for the estimator itself.
    names : collection of str
        Options of the method.
    """
    kind = estimator.__name__
    own: Collection[str] = estimator._get_param_names()  # type: ignore[attr-defined]
    teachers: Collection[str] = getattr(estimator, "TEACHERS", ())
    others: dict[str, Collection[str]] = {}
    tables = [ENCODER, MAP] if teachers else [MAP, ENCODER]
    if method == "transform" and not teachers:
        others[f"an option of how rows are placed: {kind}(placement=Placement({{}}))"] = PLACEMENT
        tables.insert(0, PLACING)
    if method == "continue_fit":
        tables.insert(0, GOING_ON)
    if method:
        others[f"an option of the estimator: {kind}({{}})"] = own
    if teachers:
        others["an option of the map that it learns from: teacher=TSNE({})"] = teachers
    else:
        others["an option of encoders: tsne_ooc.parametric.ParametricTSNE({})"] = ENCODERS_OWN
    others[BEFORE] = STEPS
    return _unknown(f"{kind}.{method}" if method else kind, word, names if method else own, others, tables, teachers)


def refuse_options(asker: str, words: Iterable[str], names: Collection[str], others: Others) -> None:
    """Raise TypeError for the first of `words`, options that a function does not have.

    Parameters
    ----------
    asker : str
        The function.
    words : iterable of str
    names : collection of str
        Options that it has.
    others : dict of str to collection of str
        Options of objects that it takes, under what they are and how they are given, with ``{}`` for the option:
        ``{"an option of the map: tsne=TSNE({})": options of TSNE}``.
    """
    for word in words:
        tables = (ENCODER, MAP) if any("ParametricTSNE" in phrase for phrase in others) else (MAP, ENCODER)
        known = [name for options in others.values() for name in options]
        raise TypeError(_unknown(asker, word, names, others, tables, known))


def renamed_method(estimator: type, name: str) -> str | None:
    """What to say about a method that other programs have; None where there is nothing to say."""
    ours, answer = METHODS.get(name, ("", ""))
    # What the class has says itself when it is lacking.
    if not ours or hasattr(estimator, name) or not hasattr(estimator, ours):
        return None
    return f"{estimator.__name__} has no {name!r}; {answer}"


def _unknown(
    asker: str, word: str, names: Collection[str], others: Others, tables: Sequence[Mapping[str, Here]],
    known: Iterable[str],
) -> str:  # fmt: skip
    here = next((table[word] for table in tables if word in table), None)
    ours = word if here is None else here.ours
    name = ours.partition("=")[0]
    unit = "" if here is None else f", {here.unit}"
    phrase = next((phrase for phrase, options in others.items() if name in options), None)
    if here is not None and not here.ours:
        meant = here.unit
    elif here is not None and name in names:
        meant = f"it is {here.ours} here{unit}"
    elif phrase is not None:
        what, _, how = phrase.partition(": ")
        meant = f"that is {what}{unit}: {how.format(ours if '=' in ours else f'{name}=...')}"
    else:
        meant = nearest(word, {*names, *known})
    return f"{asker} has no option {word!r}; {meant}"


def nearest(word: str, names: Iterable[str]) -> str:
    """The name that is most like a word, as a question; all names where none is like it."""
    known = sorted(names)
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}"
