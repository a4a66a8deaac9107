"""scikit-learn's own checks of encoders, in settings that take other ways."""

from __future__ import annotations

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
