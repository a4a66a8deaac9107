"""What other programs call our options, and in which units."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, ParamSpec

P = ParamSpec("P")
Others = Mapping[str, Collection[str]]


class Here(NamedTuple):
    """What an option of another program is here.

    `ours` is the option, or how it is written in Python where it is a part of one, or "" where there is nothing to
    set; `unit` says what it counts or takes, in words that the command line can use too.
    """

    ours: str
    unit: str


_FFT = Here("", "forces are always interpolated on a grid, by FFT; leave it out")
_NEIGHBORS = "an effective number of neighbours, some two thirds of a number of nearest ones"
_MOMENTUM = Here("schedule=[Phase(iterations, exaggeration, momentum)]", "one Phase for each stretch of iterations")
_PATIENCE = Here("schedule=Schedule(phases, patience=looks)", "looks at the divergence without a fall by a thousandth")
_STEPS = "it is left to the learning rate, which follows the number of rows; leave it out"

#: Words for options of a map.
MAP = {
    # scikit-learn
    "init": Here("initialization", "pca, spectral, random or an array"),
    "max_iter": Here("n_iter", "iterations after the early phase, where scikit-learn counts both phases"),
    "n_iter_without_progress": _PATIENCE,
    "min_grad_norm": _PATIENCE,
    "method": _FFT,
    "angle": _FFT,
    "square_distances": Here("", "distances are squared here whatever the metric; leave it out"),
    # openTSNE
    "negative_gradient_method": _FFT,
    "theta": _FFT,
    "n_interpolation_points": _FFT,
    "min_num_intervals": _FFT,
    "ints_in_interval": _FFT,
    "initial_momentum": _MOMENTUM,
    "final_momentum": _MOMENTUM,
    "max_grad_norm": Here("", _STEPS),
    "max_step_norm": Here("", _STEPS),
    # FIt-SNE, Rtsne
    "df": Here("dof", "degrees of freedom of the kernel"),
    "dims": Here("n_components", "axes of the map"),
    "late_exag_coeff": Here("exaggeration", "the factor on the attraction after the early phase"),
    "early_exag_coeff": Here("early_exaggeration", "the factor on the attraction in the early phase"),
    "stop_early_exag_iter": Here("early_exaggeration_iter", "iterations of the early phase"),
    "perplexity_list": Here("affinity", "multiscale is at the perplexity and ten times as much"),
    "perplexities": Here("affinity", "multiscale is at the perplexity and ten times as much"),
    "nthreads": Here("n_jobs", "threads"),
    "n_threads": Here("n_jobs", "threads"),
    "num_threads": Here("n_jobs", "threads"),
    "seed": Here("random_state", "a whole number"),
    # UMAP
    "n_neighbors": Here("perplexity", _NEIGHBORS),
    "min_dist": Here("exaggeration", "a factor on the attraction: 2 to 4 draw islands together (nothing sets a least "
                     "distance)"),
    "spread": Here("dof", "degrees of freedom of the kernel: below 1 islands fall into finer ones"),
    "n_epochs": Here("n_iter", "iterations after the early phase"),
    "metric_kwds": Here("metric_params", "a dictionary"),
    # ivis
    "embedding_dims": Here("n_components", "axes of the map"),
    "k": Here("perplexity", _NEIGHBORS),
    "ntrees": Here("neighbors=Annoy(trees=number)", "the search that has trees"),
    "search_k": Here("neighbors=Annoy(search_k=number)", "the search that has it"),
    "knn_distance_metric": Here("metric", "a word"),
}  # fmt: skip

#: Words for options of an encoder.
ENCODER = {
    "shuffle_mode": Here("shuffle", "full, buffer or batch"),
    "epochs": Here("n_iter", "batches, not epochs: rows over batch_size are one epoch"),
    "n_epochs": Here("n_iter", "batches, not epochs: rows over batch_size are one epoch"),
    "max_iter": Here("n_iter", "batches"),
    "n_epochs_without_progress": Here("patience", "looks at held-out rows without a better one, one every 500 batches"),
    "model": Here("network", "width and number of hidden layers, or in Python any network"),
    "encoder": Here("network", "width and number of hidden layers, or in Python any network"),
    "loss": Here("objective", "a word, such as distillation or field"),
    "learning_rate_init": Here("learning_rate", "that of AdamW, 0.006 by default"),
    "parametric_reconstruction": Here("decoder", "whether to learn the way back from places to rows"),
    "negative_sample_rate": Here("objective", "negative_sampling is the word for it"),
}

#: Methods of fitted maps.
METHODS = {
    "optimize": "continue_fit, which takes a number of iterations or phases (a map of openTSNE has both)",
}

#: Options of our encoders that maps do not have.
ENCODERS_OWN = (
    "teacher", "objective", "network", "landmarks", "decoder", "batch_size", "augmentation", "shuffle", "validation",
    "patience", "device",
)  # fmt: skip


def answering(init: Callable[P, None]) -> Callable[P, None]:
    """Make a constructor answer an option that it does not know with the one that was probably meant.

    Its signature stays what it is, for scikit-learn and for readers. An estimator lists the options of its teacher in
    its attribute `TEACHERS`.
    """
    names = frozenset(inspect.signature(init).parameters)

    @functools.wraps(init)
    def answered(*args: P.args, **options: P.kwargs) -> None:
        for word in options:
            if word not in names:
                kind = type(args[0])
                message = unknown_option(kind.__name__, word, names - {"self"}, getattr(kind, "TEACHERS", ()))
                raise TypeError(message)
        init(*args, **options)

    return answered


def unknown_option(asker: str, word: str, names: Collection[str], teachers: Collection[str] = ()) -> str:
    """What to say about an option that an estimator does not have.

    Parameters
    ----------
    asker : str
        Class of the estimator.
    word : str
    names : collection of str
        Options that it has.
    teachers : collection of str
        Options of its teacher.
    """
    if teachers:
        others = {"an option of the map that it learns from: teacher=TSNE({})": teachers}
    else:
        others = {"an option of encoders: tsne_ooc.parametric.ParametricTSNE({})": ENCODERS_OWN}
    return _unknown(asker, word, names, others, (ENCODER, MAP) if teachers else (MAP, ENCODER), teachers)


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
