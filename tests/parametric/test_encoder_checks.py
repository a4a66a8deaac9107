"""scikit-learn's own checks of encoders, in settings that take other ways, and options that are judged alone."""

from __future__ import annotations

import inspect

import pytest

pytest.importorskip("torch", reason="encoders need the extra 'neural'")
from sklearn.utils.estimator_checks import check_estimator

from tsne_ooc import TSNE
from tsne_ooc.parametric import Decoder, ParametricTSNE
from tsne_ooc.preprocess import Preparation, Standardize

# The checks' tables have some 20 rows, fewer than three times any usual perplexity: that is the warning's own test.
pytestmark = [
    pytest.mark.filterwarnings("ignore:perplexity=:UserWarning"),
    # Of rows that lie in two groups one after the other.
    pytest.mark.filterwarnings("ignore:rows are in an order:UserWarning"),
    pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning"),
]

# Many checks fit another estimator, so each setting takes some ten seconds.
SETTINGS = {
    "plain": {},
    "decoder": {"decoder": Decoder((16, 1), n_iter=5)},
    "blocks": {"prepare": Preparation([Standardize()]), "shuffle": "batch", "augmentation": 0.0},
    "pairs": {"objective": "batch_local", "landmarks": 16, "validation": False, "shuffle": "buffer"},
    "sample": {"teacher": TSNE(sample=12, perplexity=3, early_exaggeration_iter=5, n_iter=5), "batch_size": 7},
    "field": {"objective": "field", "patience": 1, "n_jobs": 2},
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_scikit_learn(setting):
    teacher = TSNE(perplexity=5, early_exaggeration_iter=10, n_iter=10, random_state=0)
    options = {"teacher": teacher, "network": (16, 1), "n_iter": 5, "random_state": 0, "landmarks": 0}
    found = check_estimator(ParametricTSNE(**{**options, **SETTINGS[setting]}), on_skip=None, on_fail=None)
    assert len(found) >= 40
    assert not [(check["check_name"], check["exception"]) for check in found if check["status"] == "failed"]


def test_what_needs_a_decoder_is_there_where_one_is():
    assert not hasattr(ParametricTSNE(), "inverse_transform")
    assert not hasattr(ParametricTSNE(), "reconstruction_error")
    assert hasattr(ParametricTSNE(decoder=True), "inverse_transform")
    assert "Rows that would lie" in ParametricTSNE.inverse_transform.__doc__


# A wrong value of each option that can be judged without a table, and the words that name it.
WRONG_ALONE = {
    "teacher": (3, "teacher"), "objective": ("distilation", "objective='distilation'"), "network": ((20, 2), "width"),
    "landmarks": (100, "landmarks=100"), "decoder": (3, "decoder"), "n_iter": (0, "n_iter=0"),
    "batch_size": (1, "batch_size=1"), "learning_rate": (0, "learning_rate=0"), "prepare": ("pca", "prepare='pca'"),
    "augmentation": (-1, "augmentation=-1"), "shuffle": ("ful", "shuffle='ful'"), "patience": (0, "patience=0"),
    "validation": ("yes", "validation='yes'"), "callbacks": (5, "callbacks"),
    "callbacks_every_iters": (0, "callbacks_every_iters=0"), "device": ("gpu", "device='gpu'"),
    "n_jobs": (0, "n_jobs=0"),
}  # fmt: skip
# A seed is judged where it is drawn from, and anything is true or false.
NOT_ALONE = {"random_state", "verbose"}


def test_every_option_of_an_encoder_can_be_judged_alone():
    assert {*WRONG_ALONE, *NOT_ALONE} == {*inspect.signature(ParametricTSNE).parameters}
    ParametricTSNE().check_options()


@pytest.mark.parametrize("name", WRONG_ALONE)
def test_options_of_an_encoder_are_judged_without_a_table(name):
    value, words = WRONG_ALONE[name]
    with pytest.raises((ValueError, TypeError), match=words) as caught:
        ParametricTSNE(**{name: value}).check_options()
    assert "\n" not in str(caught.value)
