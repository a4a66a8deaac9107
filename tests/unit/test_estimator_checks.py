"""scikit-learn's own checks, every one of them, in the settings that change what comes in or goes out."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from tsne_ooc import TSNE
from tsne_ooc.preprocess import PCA, Preparation, Standardize

# The checks' tables have some 20 rows, fewer than three times any usual perplexity: that is the warning's own test.
pytestmark = [
    pytest.mark.filterwarnings("ignore:perplexity=:UserWarning"),
    # For distances the checks have tables of any numbers, and kernels.
    pytest.mark.filterwarnings("ignore:precomputed distances are not symmetric:UserWarning"),
    pytest.mark.filterwarnings("ignore:each row's largest precomputed distance:UserWarning"),
    pytest.mark.filterwarnings("ignore:all precomputed distances are:UserWarning"),
    pytest.mark.filterwarnings("ignore:the given initialization:UserWarning"),
]

QUICK = {"perplexity": 5, "early_exaggeration_iter": 5, "n_iter": 5, "random_state": 0}


class Apart:
    """A metric of one's own, whose name is the same in each process that runs tests."""

    def __call__(self, one, other):
        return float(abs(one - other).sum())

    def __repr__(self):
        return "apart"


# Metrics that are not defined for rows of one number, such as correlation, are not among them.
SETTINGS = [
    {"early_exaggeration_iter": 20, "n_iter": 30},
    {"sample": 5},
    {"sample": "coverage:8"},
    {"prepare": Preparation([Standardize()])},
    {"prepare": Preparation([Standardize(), PCA(1)]), "sample": 7},
    {"neighbors": "ivf"},
    {"neighbors": "hnsw"},
    {"neighbors": "ivf", "sample": 9},
    {"neighbors": "hnsw", "prepare": Preparation([Standardize()])},
    {"metric": "chebyshev"},
    {"metric": "manhattan"},
    {"metric": Apart()},
    {"metric": "precomputed"},
    {"n_components": 3, "affinity": "multiscale", "initialization": "spectral", "dof": 0.7},
    {"n_components": 1, "affinity": "uniform", "initialization": "random", "schedule": "classic", "n_jobs": 2},
]


@parametrize_with_checks([TSNE(**{**QUICK, **setting}) for setting in SETTINGS])
def test_scikit_learn(estimator, check):
    check(estimator)


@parametrize_with_checks([TSNE(**QUICK, neighbors="annoy")])
def test_scikit_learn_with_annoy(estimator, check):
    pytest.importorskip("annoy")
    check(estimator)


# Some 90 seconds: its library is compiled for each kind of table.
@pytest.mark.slow
@parametrize_with_checks([TSNE(**QUICK, neighbors="pynndescent")])
def test_scikit_learn_with_pynndescent(estimator, check):
    check(estimator)
