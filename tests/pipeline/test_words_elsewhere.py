"""Words of other programs are answered with ours: by estimators, by `set_params`, and by nothing that looks alike."""

from __future__ import annotations

import inspect
import pickle

import numpy as np
import pytest
from sklearn.base import clone

from tsne_ooc import TSNE, _elsewhere, embed, place
from tsne_ooc.parametric import ParametricTSNE
from tsne_ooc.pipeline import train

# What people bring, of scikit-learn, openTSNE, UMAP and ivis, and what has to be in the answer.
OF_MAPS = {
    "init": "initialization here",
    "max_iter": "n_iter here, iterations after the early phase",
    "square_distances": "leave it out",
    "negative_gradient_method": "leave it out",
    "initial_momentum": "Phase(iterations, exaggeration, momentum)",
    "n_neighbors": "perplexity here, an effective number of neighbours",
    "min_dist": "exaggeration here",
    "embedding_dims": "n_components here, axes",
    "k": "perplexity here",
    "shuffle_mode": "ParametricTSNE(shuffle=...)",
    "batch_size": "ParametricTSNE(batch_size=...)",
    "perplexty": "did you mean 'perplexity'?",
    "zzz": "it has affinity, ",
}
OF_ENCODERS = {
    "max_iter": "n_iter here, batches",
    "embedding_dims": "axes of the map: teacher=TSNE(n_components=...)",
    "k": "teacher=TSNE(perplexity=...)",
    "perplexity": "teacher=TSNE(perplexity=...)",
    "shuffle_mode": "shuffle here, full, buffer or batch",
    "epochs": "n_iter here, batches, not epochs",
    "init": "teacher=TSNE(initialization=...)",
    "model": "network here",
    "angle": "leave it out",
    "netwrk": "did you mean 'network'?",
}


@pytest.mark.parametrize("kind, table", [(TSNE, OF_MAPS), (ParametricTSNE, OF_ENCODERS)])
def test_the_constructor_and_set_params_answer_alike(kind, table):
    for word, answer in table.items():
        with pytest.raises(TypeError) as made:
            kind(**{word: 3})
        with pytest.raises(ValueError) as set_later:
            kind().set_params(**{word: 3})
        said = str(made.value)
        assert answer in said and said.startswith(f"{kind.__name__} has no option {word!r}; "), said
        assert said == str(set_later.value) and "\n" not in said


def test_every_word_of_the_table_leads_to_an_option_that_there_is():
    maps, encoders = set(TSNE._get_param_names()), set(ParametricTSNE._get_param_names())
    for table, names in ((_elsewhere.MAP, maps), (_elsewhere.ENCODER, encoders)):
        for word, here in table.items():
            assert word not in names and here.unit
            assert not here.ours or here.ours.partition("=")[0] in {*names, *_elsewhere.STEPS}, word
    assert set(_elsewhere.ENCODERS_OWN) == encoders - maps
    for ours, answer in _elsewhere.METHODS.values():
        assert answer and any(callable(getattr(kind, ours, None)) for kind in (TSNE, ParametricTSNE))


@pytest.mark.parametrize("run, words", [
    (embed, {
        "perplexity": "that is an option of the map: tsne=TSNE(perplexity=...)",
        "n_jobs": "tsne=TSNE(n_jobs=...)",
        "n_neighbors": "an effective number of neighbours, some two thirds of a number of nearest ones: "
        "tsne=TSNE(perplexity=...)",
        "initial_momentum": "tsne=TSNE(schedule=[Phase(iterations, exaggeration, momentum)])",
        "theta": "leave it out",
        "pca": "that is a step before the map: prepare=tsne_ooc.preprocess.preparation_from_options(pca=...)",
        "seed": "it is random_state here",
        "sampel": "did you mean 'sample'?",
    }),
    (place, {
        "perplexity": "tsne_ooc.embed(..., tsne=TSNE(perplexity=...))",
        "novelti": "did you mean 'novelty'?",
    }),
    (train, {
        "batch_size": "an option of the encoder: encoder=ParametricTSNE(batch_size=...)",
        "epochs": "encoder=ParametricTSNE(n_iter=...)",
        "perplexity": "an option of the map: tsne=TSNE(perplexity=...)",
        "log1p": "prepare=tsne_ooc.preprocess.preparation_from_options(log1p=...)",
    }),
])  # fmt: skip
def test_options_at_the_wrong_door_of_a_run(tmp_path, run, words):
    table = [tmp_path / "map"] * (run is place) + [np.zeros((9, 2))]
    for word, answer in words.items():
        with pytest.raises(TypeError) as error:
            run(*table, out=tmp_path / "out", **{word: 3})
        said = str(error.value)
        assert answer in said and said.startswith(f"{run.__name__} has no option {word!r}; "), said
        assert "\n" not in said and not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [TSNE, ParametricTSNE])
def test_scikit_learn_sees_the_constructor_as_it_is_written(kind):
    shown = inspect.signature(kind)
    assert "kwargs" not in str(shown) and "options" not in shown.parameters
    assert next(iter(shown.parameters)) in ("n_components", "teacher")
    assert {one.kind for one in list(shown.parameters.values())[1:]} == {inspect.Parameter.KEYWORD_ONLY}
    model = kind(random_state=3)
    assert set(model.get_params(deep=False)) == set(shown.parameters)
    for copy in (clone(model), pickle.loads(pickle.dumps(model)), model.set_params(random_state=3)):
        assert copy.get_params() == model.get_params()
    assert kind.__init__.__qualname__ == f"{kind.__name__}.__init__"


def test_parameters_within_parameters_are_set_as_before():
    encoder = ParametricTSNE(TSNE()).set_params(teacher__perplexity=7)
    assert encoder.teacher.perplexity == 7
    with pytest.raises(ValueError, match="TSNE has no option 'n_neighbors'; it is perplexity"):
        encoder.set_params(teacher__n_neighbors=7)


def test_methods_of_others():
    model = TSNE()
    with pytest.raises(AttributeError, match="no 'optimize'; it is continue_fit"):
        model.optimize(n_iter=100)
    assert not hasattr(model, "optimize") and not hasattr(model, "anything")
    with pytest.raises(AttributeError, match="this TSNE is not fitted"):
        _ = model.embedding_


@pytest.mark.parametrize(
    "options, answer",
    [
        ({"perplexity": [30, 300]}, "affinity='multiscale'"),
        ({"perplexity": np.array([30, 300])}, "affinity='multiscale'"),
        ({"dof": np.inf}, "at 10000 the kernel is all but a Gaussian"),
        ({"learning_rate": None}, "neither 'auto' nor a number"),
    ],
)
def test_values_of_others(options, answer):
    with pytest.raises((TypeError, ValueError)) as error:
        TSNE(**options).check_options()
    assert answer in str(error.value) and "\n" not in str(error.value)
    TSNE(metric="tanimoto").check_options()


def test_a_learning_rate_that_encoders_do_not_have():
    pytest.importorskip("torch", reason="encoders need the extra 'neural'")
    with pytest.raises(TypeError, match=r"learning_rate='auto' is not a number; leave it out for 0\.006"):
        ParametricTSNE(learning_rate="auto").check_options()
