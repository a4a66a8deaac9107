"""What can be known of an option before the work is said before it: no callback is called before these errors."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest

import tsne_ooc
from tsne_ooc import TSNE, Phase, Placement, neighbors, sampling
from tsne_ooc._parallel import Threads

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)

# Options as a function, for some objects refuse what they are given at once.
WRONG = {
    "a course of one": lambda: {"schedule": [Phase(5, (4,))]},
    "a course of three": lambda: {"schedule": [Phase(5, [4, 2, 1])]},
    "a number as schedule": lambda: {"schedule": 5},
    "words as phases": lambda: {"schedule": ["auto"]},
    "a word as placement": lambda: {"placement": "median"},
    "a word as affinity of a placement": lambda: {"placement": Placement(affinity="uniform")},
    "a matrix as affinity of a placement": lambda: {"placement": Placement(affinity=np.eye(60))},
    "no exaggeration at all": lambda: {"placement": Placement(exaggeration=())},
    "a start for a placement": lambda: {"placement": Placement(initialization="nearest")},
    "parameters of another metric": lambda: {"metric_params": {"q": 3}},
    "parameters that are not": lambda: {"metric_params": "p"},
    "a power below 0": lambda: {"metric": "minkowski", "metric_params": {"p": -1}},
    "a start of few rows": lambda: {"initialization": np.zeros((5, 2))},
    "a start with NaN": lambda: {"initialization": np.full((60, 2), np.nan)},
    "a start of three axes": lambda: {"initialization": np.zeros((60, 3))},
    "a start of words": lambda: {"initialization": np.array([["a", "b"]] * 60)},
    "an unknown start": lambda: {"initialization": "pcs"},
    "affinities of other rows": lambda: {"affinity": np.eye(3)},
    "negative affinities": lambda: {"affinity": -np.ones((60, 60))},
    "an affinity of another kind": lambda: {"affinity": object()},
    "a class as search": lambda: {"neighbors": neighbors.IVF},
    "a search that does not fit": lambda: {"neighbors": neighbors.Precomputed()},
    "a metric that the search does not know": lambda: {"neighbors": "hnsw", "metric": "manhattan"},
    "strata without labels": lambda: {"sample": "stratified"},
    "too few labels": lambda: {"sample": sampling.Stratified(10, [1, 2])},
    "fewer rows than strata": lambda: {"sample": sampling.Stratified(10, np.arange(60))},
    "rows beyond the table": lambda: {"sample": np.array([70])},
    "rows twice": lambda: {"sample": np.array([3, 3, 2])},
    "rows between rows": lambda: {"sample": np.array([1.5, 2])},
    "a word as preparation": lambda: {"prepare": "log1p"},
    "a word as seed": lambda: {"random_state": "x"},
    "no thread": lambda: {"n_jobs": 0},
    "four axes": lambda: {"n_components": 4},
}


# A wrong value of each option that can be judged without a table, and the words that name it.
WRONG_ALONE = {
    "n_components": (4, "n_components=4"), "perplexity": (0, "perplexity=0"), "exaggeration": (0, "exaggeration=0"),
    "early_exaggeration": (-1, "early_exaggeration=-1"), "n_iter": (-1, "n_iter=-1"),
    "early_exaggeration_iter": (-1, "early_exaggeration_iter=-1"), "learning_rate": (0, "learning_rate=0"),
    "dof": (0, "dof=0"), "initialization": ("pcs", "initialization='pcs'"), "metric": ("euklid", "metric='euklid'"),
    "metric_params": ({"q": 3}, "q='?3|'q'|q="), "neighbors": ("exakt", "neighbors='exakt'"),
    "affinity": ("perplex", "affinity='perplex'"), "schedule": (5, "schedule=5"), "sample": (0, "sample=0"),
    "placement": ("median", "placement='median'"), "prepare": ("log1p", "prepare='log1p'"), "n_jobs": (0, "n_jobs=0"),
    "callbacks": (5, "callbacks=5|callbacks"), "callbacks_every_iters": (0, "callbacks_every_iters=0"),
}  # fmt: skip
# A seed is judged where it is drawn from, and anything is true or false.
NOT_ALONE = {"random_state", "verbose"}


def test_every_option_of_a_fit_can_be_judged_alone():
    assert {*WRONG_ALONE, *NOT_ALONE} == {*inspect.signature(TSNE).parameters}
    TSNE().check_options()


@pytest.mark.parametrize("name", WRONG_ALONE)
def test_options_are_judged_without_a_table(name):
    value, words = WRONG_ALONE[name]
    with pytest.raises((ValueError, TypeError), match=words) as caught:
        TSNE(**{name: value}).check_options()
    assert "\n" not in str(caught.value)


def test_a_search_among_distances_takes_no_rows():
    search = neighbors.Precomputed()
    with pytest.raises(ValueError, match=r"^neighbors=Precomputed\(\) does not go with metric='euclidean'"):
        TSNE(neighbors=search).fit(X)
    for metric in ("euclidean", max):
        with pytest.raises(ValueError, match=r"^neighbors=Precomputed\(\) needs metric='precomputed', not "):
            search.build(X[:, :1] @ X[:, :1].T, metric=metric, threads=Threads(1))


@pytest.mark.parametrize("options", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("door", ["fit", "embed"])
def test_wrong_options_are_told_first(tmp_path, door, options):
    called = []
    with warnings.catch_warnings(), pytest.raises((ValueError, TypeError)):
        warnings.simplefilter("ignore")
        model = TSNE(
            **{"n_iter": 4, "early_exaggeration_iter": 4, "perplexity": 5, "random_state": 0, "n_jobs": 1, **options()},
            callbacks=lambda *told: called.append(told), callbacks_every_iters=1,
        )  # fmt: skip
        if door == "fit":
            model.fit(X)
        else:
            tsne_ooc.embed(X, out=tmp_path / "map", tsne=model, **({} if model.sample is not None else {"sample": 60}))
    assert not called and not (tmp_path / "map").exists()
