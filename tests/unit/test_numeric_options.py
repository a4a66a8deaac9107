"""Every option that is a number takes NumPy's numbers and arrays of no axes, and refuses all else by its name."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest

import tsne_ooc
from tsne_ooc import (
    TSNE,
    FixedSigma,
    Multiscale,
    Perplexity,
    Phase,
    Placement,
    Schedule,
    affinity,
    metrics,
    neighbors,
    preprocess,
    sampling,
)
from tsne_ooc._options import number
from tsne_ooc.batches import Batches
from tsne_ooc.pipeline import embed

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
LABELS = np.arange(60) % 3

# A right value for every option of objects that hold options; whole numbers are int, others float.
HOLDERS = {
    Placement: {"perplexity": 4.5, "k": 9, "exaggeration": 1.5, "tolerance": 0.5, "max_iter": 7},
    Phase: {"iterations": 5, "exaggeration": 2.5, "momentum": 0.5, "learning_rate": 2.5},
    Schedule: {"patience": 3},
    Perplexity: {"perplexity": 4.5},
    affinity.Uniform: {"neighbors": 7},
    FixedSigma: {"sigma": 1.5, "neighbors": 7},
    neighbors.IVF: {"lists": 5, "probes": 3, "recall": 0.5},
    neighbors.HNSW: {"links": 5, "ef_build": 9, "ef": 11, "recall": 0.5},
    neighbors.PyNNDescent: {"graph_neighbors": 5, "epsilon": 0.5},
    neighbors.Annoy: {"trees": 5, "search_k": 7, "recall": 0.5},
    sampling.UniformSample: {"size": 7},
    sampling.Coverage: {"size": 7, "rows_per_box": 3, "directions": 5},
    preprocess.PCA: {"n": 3},
    preprocess.Normalize: {"total": 2.5},
}
# What some of them cannot do without.
NEEDED = {
    Phase: {"iterations": 3},
    Schedule: {"phases": [Phase(3)]},
    FixedSigma: {"sigma": 0.5},
    sampling.Coverage: {"size": 9},
}
ESTIMATOR = {
    "n_components": 1, "perplexity": 4.5, "exaggeration": 1.5, "early_exaggeration": 4.5, "early_exaggeration_iter": 3,
    "n_iter": 4, "learning_rate": 50.5, "dof": 1.5, "sample": 40, "n_jobs": 1, "random_state": 3,
    "callbacks_every_iters": 2,
}  # fmt: skip
WORDS = {
    "metric", "metric_params", "neighbors", "affinity", "initialization", "schedule", "placement", "prepare",
    "callbacks", "verbose",
}  # fmt: skip


def alike(value):
    """`value` in the forms in which NumPy has it."""
    kinds = (np.int64, np.int32, np.uint8) if isinstance(value, int) else (np.float64, np.float32, np.float16)
    found = [*(kind(value) for kind in kinds), np.array(value), np.array(kinds[1](value))]
    return [form for form in found if form == value]


def unlike(value):
    """What is not a number, or not one of this kind."""
    wrong = [True, np.True_, np.array(False), "7", b"7", np.array([value]), [value], 1j, np.datetime64(1, "s")]
    return [*wrong, object(), *([2.5, np.float64(2.0), np.array(2.0)] if isinstance(value, int) else [])]


cases = [
    pytest.param(kind, name, value, id=f"{kind.__name__}-{name}")
    for kind, options in HOLDERS.items()
    for name, value in options.items()
]


@pytest.mark.parametrize("kind, name, value", cases)
def test_objects_hold_numbers_of_their_own(kind, name, value):
    plain = kind(**{**NEEDED.get(kind, {}), name: value})
    for form in alike(value):
        made = kind(**{**NEEDED.get(kind, {}), name: form})
        assert repr(made) == repr(plain) and made == plain
        assert type(getattr(made, name)) in (int, float)


@pytest.mark.parametrize("kind, name, value", cases)
def test_objects_refuse_the_rest_by_name(kind, name, value):
    for wrong in unlike(value):
        if name == "exaggeration" and isinstance(wrong, list):
            # From and to; one after the other.
            continue
        with pytest.raises((TypeError, ValueError)) as error:
            kind(**{**NEEDED.get(kind, {}), name: wrong})
        told = {"n": "pca"}.get(name, name)
        assert f"{told}=" in str(error.value), error.value


def test_no_option_of_these_objects_is_forgotten():
    for kind, options in HOLDERS.items():
        numbers = {
            field.name
            for field in dataclasses.fields(kind)
            if any(word in str(field.type).split(" | ") for word in ("int", "float"))
        }
        assert numbers == set(options)


def fitted(**more):
    options = {"n_iter": 4, "early_exaggeration_iter": 3, "perplexity": 5, "random_state": 0, "n_jobs": 2, **more}
    return TSNE(**options).fit(X)


def test_no_option_of_the_estimator_is_forgotten():
    assert set(inspect.signature(TSNE).parameters) == set(ESTIMATOR) | WORDS


@pytest.mark.parametrize("name", ESTIMATOR)
def test_the_estimator(tmp_path, name):
    value = ESTIMATOR[name]
    plain = fitted(**{name: value})
    for form in alike(value):
        model = fitted(**{name: form})
        assert np.array_equal(model.embedding_, plain.embedding_)
        # What is saved of it reads as a number.
        model.save(tmp_path / "model", overwrite=True)
        again = tsne_ooc.load(tmp_path / "model")
        assert again.get_params()[name] == value and type(again.get_params()[name]) in (int, float)
        assert np.array_equal(again.transform(X[:5] + 1), plain.transform(X[:5] + 1))
    for wrong in unlike(value):
        if name in ("random_state", "sample") and isinstance(wrong, np.ndarray | list) and np.ndim(wrong) == 1:
            continue
        if name == "sample" and isinstance(wrong, str):
            continue
        with pytest.raises((TypeError, ValueError)) as error:
            fitted(**{name: wrong})
        assert f"{name}=" in str(error.value), (wrong, error.value)


@pytest.mark.parametrize("name", ["sample", "rounds", "random_state", "block_rows"])
def test_embed(tmp_path, name):
    tsne = TSNE(n_iter=2, early_exaggeration_iter=2, perplexity=5, n_jobs=2, random_state=0)
    options = {"sample": 40, "random_state": 3, "block_rows": 20, "rounds": 1}
    plain = embed(X, out=tmp_path / "plain", tsne=tsne, **options)
    for i, form in enumerate(alike(options[name])):
        # One that goes on with it has nothing to do: the same was asked for.
        run = embed(X, out=tmp_path / str(i), tsne=tsne, **{**options, name: form})
        assert np.array_equal(run.embedding, plain.embedding)
        embed(X, out=tmp_path / str(i), tsne=tsne, **options, resume=True)
    for wrong in unlike(options[name]):
        if name == "sample" and isinstance(wrong, str | list | np.ndarray) and np.ndim(wrong) <= 1:
            continue
        with pytest.raises((TypeError, ValueError)) as error:
            embed(X, out=tmp_path / "wrong", tsne=tsne, **{**options, name: wrong})
        assert f"{name}=" in str(error.value), (wrong, error.value)
        assert not (tmp_path / "wrong").exists()


def batches(**more):
    return [block.sum() for _, block in Batches(X, shuffle="full", **{"batch_size": 7, "seed": 0, **more})]


@pytest.mark.parametrize(
    "call, options",
    [
        (lambda **more: metrics.neighbor_recall(X, X[:, :2], within=(5,), **more), {"k": 5, "sample": 30, "n_jobs": 2}),
        (lambda **more: metrics.trustworthiness(X, X[:, :2], **more), {"k": 5, "sample": 30, "n_jobs": 2}),
        (lambda **more: metrics.label_accuracy(X[:, :2], LABELS, **more), {"k": 5, "sample": 30, "n_jobs": 2}),
        (lambda **more: metrics.distance_correlation(X, X[:, :2], **more), {"sample": 30}),
        (lambda **more: batches(**more), {"batch_size": 9, "seed": 3, "prefetch": 2}),
        (lambda **more: sampling.Stratified(labels=LABELS, **more).draw(X, np.random.default_rng(0)).rows.tolist(),
         {"size": 9}),
    ],
)  # fmt: skip
def test_functions(call, options):
    plain = call(**options)
    for name, value in options.items():
        for form in alike(value):
            assert call(**{**options, name: form}) == plain
        for wrong in unlike(value):
            with pytest.raises((TypeError, ValueError)) as error:
                call(**{**options, name: wrong})
            assert f"{name}=" in str(error.value), (wrong, error.value)


def test_encoders():
    pytest.importorskip("torch")
    from tsne_ooc.parametric import Decoder, ParametricTSNE, objectives

    numbers = {"n_iter": 20, "batch_size": 30, "learning_rate": 0.5, "augmentation": 0.5, "patience": 3}
    numbers |= {"landmarks": 32, "callbacks_every_iters": 3, "n_jobs": 2}
    for name, value in numbers.items():
        for form in alike(value):
            ParametricTSNE(**{name: form}).check_options()
        for wrong in unlike(value):
            if name == "landmarks" and isinstance(wrong, str):
                continue
            with pytest.raises((TypeError, ValueError), match=name):
                ParametricTSNE(**{name: wrong}).check_options()
    ParametricTSNE(validation=np.True_).check_options()
    for make, options in (
        (Decoder, {"n_iter": 20, "learning_rate": 0.5}),
        (objectives.FieldTuning, {"every": 5, "exaggeration": 1.5}),
        (objectives.Distillation, {"delta": 0.5}),
        (objectives.NegativeSampling, {"negatives": 5, "normalization": 2.5}),
        (objectives.InfoNC, {"negatives": 5}),
        (objectives.BatchLocal, {"memory": 0.5}),
    ):
        for name, value in options.items():
            for form in alike(value):
                assert repr(make(**{name: form})) == repr(make(**{name: value}))
            for wrong in unlike(value):
                with pytest.raises((TypeError, ValueError), match=name):
                    make(**{name: wrong})


def test_several_perplexities():
    assert repr(Multiscale(np.array([3, 9]))) == repr(Multiscale((3.0, 9.0)))
    assert repr(Multiscale([np.int64(3), np.array(9)])) == repr(Multiscale((3.0, 9.0)))


@pytest.mark.parametrize(
    "made, says",
    [
        (lambda: Phase(5, momentum=-0.1), "momentum=-0.1 must be a finite number of at least 0"),
        (lambda: Phase(5, momentum=1.0), "momentum=1.0 must be less than 1"),
        (lambda: FixedSigma(1.5e60), "sigma=1.5e+60 must be a finite number from 1e-60 to 1e+60"),
        (lambda: preprocess.Normalize(float("nan")), "must be a finite number"),
        (lambda: Schedule(5), "schedule=5 is neither a word nor made of Phase objects"),
        (lambda: Schedule("auto"), "schedule='auto' is neither a word nor made of Phase objects"),
        (lambda: TSNE(initialization=5).fit(X), "initialization=5 is neither a word"),
    ],
)
def test_bounds_are_told(made, says):
    with pytest.raises((TypeError, ValueError)) as error:
        made()
    assert says in str(error.value)


def test_a_number_without_bounds_is_told_without():
    with pytest.raises(ValueError) as error:
        number("x", float("inf"))
    assert str(error.value) == "x=inf must be a finite number"
