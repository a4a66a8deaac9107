"""A teacher's sample and preparation: said here or there, the same bytes; two different values are refused by name."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="encoders need the extra 'neural'")
from tsne_ooc import TSNE
from tsne_ooc.parametric import ParametricTSNE
from tsne_ooc.pipeline import embed, train
from tsne_ooc.preprocess import PCA, Preparation, Standardize
from tsne_ooc.sampling import Coverage, Rows, UniformSample

QUICK = {"perplexity": 8, "early_exaggeration_iter": 10, "n_iter": 15, "random_state": 3, "n_jobs": 1}
SMALL = {"network": (16, 1), "landmarks": 0, "n_iter": 6, "batch_size": 64, "random_state": 0, "n_jobs": 1}


def steps():
    return Preparation([Standardize(robust=True), PCA(4)])


def arrays(folder):
    """What a run left, but how long it took: the manifest, and the history."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".json")
    return {path.name: path.read_bytes() for path in files if not path.name.startswith("history.")}


@pytest.mark.parametrize(
    "sample, prepare", [(None, None), (90, steps()), (Coverage(80), None), (Rows(np.arange(0, 200, 2)), steps())]
)
def test_every_way_of_saying_it_trains_the_same_encoder(islands, tmp_path, sample, prepare):
    ways = {
        "here": {"sample": sample, "prepare": prepare, "tsne": TSNE(**QUICK)},
        "there": {"tsne": TSNE(sample=sample, prepare=prepare, **QUICK)},
        "both": {
            "sample": UniformSample(90) if sample == 90 else sample,
            "prepare": prepare,
            "tsne": TSNE(sample=sample, prepare=prepare, **QUICK),
        },
    }
    made = {name: train(islands, out=tmp_path / name, encoder=ParametricTSNE(**SMALL), **way)
            for name, way in ways.items()}  # fmt: skip
    for name in ways:
        assert arrays(tmp_path / name) == arrays(tmp_path / "here")
    # The finished run is known again, however it is asked for.
    again = train(islands, out=tmp_path / "here", encoder=ParametricTSNE(**SMALL), resume=True, **ways["there"])
    np.testing.assert_array_equal(again.transform(islands), made["there"].transform(islands))


@pytest.mark.parametrize("sample", [None, 90])
def test_every_way_of_saying_it_fits_the_same_encoder(islands, sample):
    ways = [
        ParametricTSNE(TSNE(sample=sample, **QUICK), prepare=steps(), **SMALL),
        ParametricTSNE(TSNE(sample=sample, prepare=steps(), **QUICK), **SMALL),
        ParametricTSNE(TSNE(sample=sample, prepare=steps(), **QUICK), prepare=steps(), **SMALL),
    ]
    wanted, *found = (model.fit(islands).transform(islands) for model in ways)
    for places in found:
        np.testing.assert_array_equal(places, wanted)
    # By hand: prepared, then learnt.
    prepared = steps().fit(islands, random_state=0).transform(islands)
    plain = ParametricTSNE(TSNE(sample=sample, **QUICK), **SMALL).fit(prepared)
    np.testing.assert_array_equal(plain.transform(prepared), wanted)
    with pytest.raises(ValueError, match="read-only"):
        ways[0].preparation_.fitted[0].scale[:] = 1


OTHER = Preparation([PCA(2)])
TWO = {
    "sample": ({"sample": 80}, {"sample": 50}, "sample=.*80.* is given here, and sample=50 to tsne; pass one of them"),
    "kinds": ({"sample": Coverage(50)}, {"sample": 50}, "sample=Coverage.* is given here, and sample=50 to tsne"),
    "prepare": ({"prepare": steps()}, {"prepare": OTHER}, "prepare=.* is given here, and prepare=.* to tsne; pass one"),
}


@pytest.mark.parametrize("case", TWO)
def test_two_values_are_refused_by_name_before_anything_is_done(islands, tmp_path, case):
    here, there, message = TWO[case]
    told = []
    with pytest.raises(ValueError, match=message):
        train(islands, out=tmp_path / "encoder", encoder=ParametricTSNE(**SMALL), tsne=TSNE(**there, **QUICK),
              progress=lambda *event: told.append(event), **here)  # fmt: skip
    assert not told and not (tmp_path / "encoder").exists()
    if "prepare" in here:
        model = ParametricTSNE(TSNE(**there, **QUICK), **here, **SMALL)
        with pytest.raises(ValueError, match=message.replace("tsne", "the teacher")):
            model.check_options()


@pytest.mark.parametrize("prepare", [3, "standardize", [Standardize()]])
def test_what_is_not_a_preparation_is_told_first(islands, tmp_path, prepare):
    doors = (
        lambda: TSNE(prepare=prepare).fit(islands),
        lambda: ParametricTSNE(prepare=prepare).check_options(),
        lambda: embed(islands, out=tmp_path / "out", prepare=prepare),
        lambda: train(islands, out=tmp_path / "out", prepare=prepare),
    )
    for door in doors:
        with pytest.raises(TypeError, match=r"^prepare=.* is not a tsne_ooc.preprocess.Preparation$"):
            door()
    assert not (tmp_path / "out").exists()
