"""Whatever the class promises of a fitted map, the loaded one has: the list is that of its documentation."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import RobustScaler

import tsne_ooc
from tsne_ooc import TSNE
from tsne_ooc.estimator.saving import fingerprint
from tsne_ooc.neighbors import IVF
from tsne_ooc.preprocess import Preparation, Standardize, Transformer

QUICK = {"early_exaggeration_iter": 10, "n_iter": 20, "perplexity": 8, "random_state": 0}
X = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
NAMED = pd.DataFrame(X, columns=list("abcd"))
FITS = {
    "plain": (X, {}),
    "named": (NAMED, {}),
    "sampled": (X, {"sample": 120}),
    "sampled-prepared": (NAMED, {"sample": 120, "prepare": Preparation([Standardize()])}),
    "listed": (X, {"neighbors": IVF(lists=9, probes=6), "random_state": None}),
}


def promised(of):
    listed = re.search(r"    Attributes\n    -+\n(.*?)\n\n", of.__doc__, re.DOTALL)[1]
    return re.findall(r"^    (\w+_) : ", listed, re.MULTILINE)


@pytest.mark.parametrize("name", FITS)
def test_a_loaded_map_has_every_attribute_of_the_fitted_one(tmp_path, name):
    table, options = FITS[name]
    model = TSNE(**QUICK | options).fit(table)
    model.save(tmp_path / "model")
    loaded = tsne_ooc.load(tmp_path / "model")
    names = promised(TSNE)
    assert len(names) > 10
    for attribute in names:
        assert hasattr(model, attribute) == hasattr(loaded, attribute), attribute
        if not hasattr(model, attribute):
            continue
        before, after = getattr(model, attribute), getattr(loaded, attribute)
        if attribute == "affinities_":
            assert (before != after).nnz == 0
        elif attribute in ("preparation_", "map_"):
            assert (before is None) == (after is None)
        else:
            np.testing.assert_array_equal(before, after, err_msg=attribute)
            assert type(before) is type(after) or isinstance(before, np.ndarray), attribute
    assert (model.sample_rows_ is None) == ("sample" not in options)


def test_which_rows_were_drawn_does_not_tell_maps_apart():
    """A map of the same rows, given by hand, places alike: an encoder knows it again as its teacher."""
    drawn = TSNE(**QUICK, sample=120).fit(X)
    given = TSNE(**QUICK).fit(X[drawn.sample_rows_])
    assert fingerprint(drawn) == fingerprint(given)


@pytest.mark.parametrize("wrong", [[3, 2], [2, 2], [-1, 2], [0, 1, 2]])
def test_row_numbers_that_cannot_be_are_refused(wrong):
    from tsne_ooc.estimator.saving import estimator_state, restore_estimator
    from tsne_ooc.storage.state import Saved, StateError

    content, arrays = estimator_state(TSNE(**QUICK, sample=120).fit(X))
    arrays["sample.rows"] = np.array(wrong, np.int64)
    with pytest.raises(StateError, match=r"row numbers that do not ascend|names 3 rows of 120|names 2 rows of 120"):
        restore_estimator(TSNE, Saved(content, arrays))


def test_what_a_transformer_does_tells_maps_apart():
    """No file holds such a map, and still it is known again: by its rows, and by what the transformer is told to do."""

    def fitted(**options):
        return TSNE(**QUICK, prepare=Preparation([Transformer(RobustScaler(**options))])).fit(X)

    found = fitted()
    assert fingerprint(found) == fingerprint(fitted())
    # With the very same rows and places: only what is done to new ones differs.
    features = fitted(unit_variance=True).map_.features
    assert replace(found.map_, features=features).fingerprint(None) != found.map_.fingerprint(None)
