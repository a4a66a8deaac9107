"""scikit-learn's own checks, every one of them."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from tsne_ooc import TSNE

# The checks' tables have some 20 rows, fewer than three times any usual perplexity: that is the warning's own test.
pytestmark = pytest.mark.filterwarnings("ignore:perplexity=:UserWarning")


@parametrize_with_checks([TSNE(perplexity=5, early_exaggeration_iter=20, n_iter=30, random_state=0)])
def test_scikit_learn(estimator, check):
    check(estimator)
