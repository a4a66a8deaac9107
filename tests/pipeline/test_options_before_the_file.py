"""Options are judged before the file is opened: a wrong one is told where there is no file, and one at its limit is not
told at all, but the file that is not there."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.decomposition import PCA as Components
from sklearn.frozen import FrozenEstimator

from tsne_ooc import TSNE, Refinement, embed, place, storage
from tsne_ooc.pipeline import merge, neighbors, train
from tsne_ooc.preprocess import Log1p, Missing, Preparation
from tsne_ooc.recipes import large
from tsne_ooc.sampling import UniformSample
from tsne_ooc.stages import RunStage

KEPT, DROPPED, LOGGED = (Preparation([step]) for step in (Missing("keep"), Missing("drop"), Log1p()))
neural = importlib.util.find_spec("torch") is not None


class Stranger(Components):
    """An estimator of another library, which has places and gives no novelty."""


class Later(RunStage):
    """A stage of one's own."""

    name = "later"

    def __init__(self, *makes):
        self.makes = makes

    def run(self, work):
        pass


#: What each function takes, up to its limits.
TAKEN = {
    "embed": [
        {}, {"random_state": 0}, {"random_state": 2**70}, {"random_state": np.uint8(3)}, {"rounds": 1}, {"rounds": 100},
        {"block_rows": 1}, {"block_rows": None}, {"sample": 1}, {"sample": UniformSample(9)}, {"prepare": LOGGED},
        {"tsne": TSNE(metric="nan_euclidean"), "prepare": KEPT}, {"tsne": Stranger(2)}, {"then": Later("later.npy")},
        {"tsne": TSNE(sample=9, prepare=LOGGED)}, {"refine": True}, {"refine": Refinement(perplexity=5)},
        {"then": [Later("a.npy"), Later()]}, {"then": ()}, {"executor": "pool"}, {"prepare": DROPPED},
        {"tsne": TSNE(random_state=np.random.default_rng(0))}, {"refine": False, "rounds": 2},
    ],
    "neighbors": [
        {}, {"random_state": 2**70}, {"random_state": 0}, {"k": 1}, {"block_rows": 1}, {"n_jobs": 1},
        {"metric": "nan_euclidean", "prepare": KEPT}, {"prepare": LOGGED}, {"search": "ivf"},
        {"metric": "minkowski", "metric_params": {"p": 3}}, {"metric": lambda a, b: 0.0}, {"search": "exact"},
    ],
    "place": [
        {}, {"block_rows": 1}, {"n_jobs": 1}, {"novelty": True}, {"novelty": False}, {"rows": (0, 1)},
        {"then": Later("later.npy")}, {"executor": "pool"},
    ],
    "large": [{}, {"perplexity": 1e-9}, {"sample_perplexity": 1e-9, "prepare": None}, {"exaggeration": 4}],
}  # fmt: skip
#: What each function refuses, just beyond them, and what it says.
REFUSED = {
    "embed": [
        ({"random_state": -1}, ValueError, "random_state=-1 must be at least 0"),
        ({"random_state": 1.5}, TypeError, "random_state=1.5 is not a whole number"),
        ({"rounds": 0}, ValueError, "rounds=0 must be at least 1"),
        ({"rounds": 101}, ValueError, "rounds=101 must be at most 100"),
        ({"block_rows": 0}, ValueError, "block_rows=0 must be at least 1"),
        ({"sample": 0}, ValueError, "=0 must be at least 1"),
        ({"rounds": 2, "tsne": Stranger(2)}, TypeError,
         "rounds=2 needs an estimator that gives novelty, and Stranger does not"),
        ({"prepare": KEPT}, ValueError, "missing='keep' is for metric='nan_euclidean' alone"),
        ({"tsne": TSNE(prepare=KEPT)}, ValueError, "missing='keep' is for metric='nan_euclidean' alone"),
        ({"prepare": [Log1p()]}, TypeError, "is not a tsne_ooc.preprocess.Preparation"),
        ({"tsne": TSNE(perplexity=0)}, ValueError, "perplexity=0"),
        ({"tsne": TSNE}, TypeError, "is not a TSNE object"),
        ({"tsne": SimpleNamespace(fit=1)}, TypeError, "is not a TSNE object"),
        ({"tsne": SimpleNamespace(transform=1)}, TypeError, "is not a TSNE object"),
        ({"tsne": FrozenEstimator(TSNE())}, TypeError, "tsne is frozen, a map that is fitted already"),
        ({"executor": 3}, TypeError, "executor=3 is not a concurrent.futures.Executor"),
        ({"executor": "pool", "tsne": Stranger(2)}, ValueError, "executor= needs a map that can be saved"),
        ({"then": 3}, TypeError, "then=3 is not a tsne_ooc.stages.RunStage object"),
        ({"then": [Later(), 3]}, TypeError, "then=3 is not a tsne_ooc.stages.RunStage object"),
        ({"then": Later("embedding.npy")}, ValueError, "stage 'later' makes embedding.npy, and so does 'place'"),
        ({"then": Later("ledger.json")}, ValueError, "makes ledger.json, and so does 'the driver'"),
        ({"then": Later("manifest.json")}, ValueError, "makes manifest.json, and so does 'seal'"),
        ({"then": Later("a.npy", "a/b.npy")}, ValueError, "makes 'a/b.npy', which is not the plain name of a file"),
        ({"then": Later("a.npy", ".b")}, ValueError, "stage 'later' makes '.b', which is not the plain name of a file"),
        ({"refine": 3}, TypeError, "refine=3"),
        ({"refine": True, "tsne": Stranger(2)}, TypeError, "refine needs a TSNE object, and tsne is a Stranger"),
        ({"refine": True, "prepare": DROPPED}, ValueError, "refine moves all rows, and missing='drop' leaves some out"),
        ({"refine": True, "tsne": TSNE(metric=lambda a, b: 0.0)}, ValueError, "metric"),
        ({"perplexity": 5}, TypeError, "perplexity"),
        ({"sample": 5, "tsne": TSNE(sample=6)}, ValueError, "sample"),
    ],
    "neighbors": [
        ({"random_state": -1}, ValueError, "random_state=-1 must be at least 0"),
        ({"k": 0}, ValueError, "k=0 must be at least 1"), ({"k": 1.5}, TypeError, "k=1.5 is not a whole number"),
        ({"block_rows": 0}, ValueError, "block_rows=0 must be at least 1"), ({"n_jobs": 0}, ValueError, "n_jobs=0"),
        ({"metric": "precomputed"}, ValueError, "metric='precomputed' has distances, and neighbours are"),
        ({"metric": "euclid"}, ValueError, "metric='euclid' is not known"),
        ({"search": "annoy", "metric": "canberra"}, ValueError, "canberra"),
        ({"metric": "minkowski", "metric_params": {"q": 3}}, ValueError, "q"),
        ({"prepare": KEPT}, ValueError, "missing='keep' is for metric='nan_euclidean' alone"),
        ({"prepare": DROPPED}, ValueError, "each row has neighbours, and missing='drop' leaves some out"),
        ({"prepare": Log1p()}, TypeError, "is not a tsne_ooc.preprocess.Preparation"),
    ],
    "place": [
        ({"block_rows": 0}, ValueError, "block_rows=0 must be at least 1"), ({"n_jobs": 0}, ValueError, "n_jobs=0"),
        ({"executor": 3}, TypeError, "executor=3 is not a concurrent.futures.Executor"),
        ({"then": 3}, TypeError, "then=3 is not a tsne_ooc.stages.RunStage object"),
        ({"rows": (0, 1), "then": Later("a.npy")}, ValueError, "rows= places some rows only, and stages of your own"),
        ({"perplexity": 5}, TypeError, "tsne_ooc.embed(..., tsne=TSNE(perplexity=...))"),
    ],
    "large": [
        ({"perplexity": 0}, ValueError, "perplexity=0 must be a finite number greater than 0"),
        ({"sample": 0}, ValueError, "=0 must be at least 1"),
        ({"sample_perplexity": 0, "prepare": None}, ValueError, "sample_perplexity=0 must be a finite number"),
        ({"exaggeration": -1, "sample_perplexity": 5, "prepare": None}, ValueError, "exaggeration"),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home") / "model"
    rows = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    TSNE(perplexity=5, n_iter=0, early_exaggeration_iter=0, random_state=0, n_jobs=1).fit(rows).save(folder)
    return folder


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(1) as pool:
        yield pool


def asked(kind, options, model, pool, folder):
    """A run over a file that is not there."""
    run = {"embed": embed, "neighbors": neighbors, "place": place, "large": large}[kind]
    given = {name: pool if value == "pool" else value for name, value in options.items()}
    return run(*([model] if kind == "place" else []), folder / "nowhere.npy", out=folder / "out", **given)


@pytest.mark.parametrize("kind", TAKEN)
def test_what_is_within_the_limits_is_taken(kind, model, pool, tmp_path):
    for options in TAKEN[kind]:
        with pytest.raises(FileNotFoundError) as told:
            asked(kind, options, model, pool, tmp_path)
        assert "nowhere.npy" in str(told.value), options
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_beyond_them_is_told_first(kind, model, pool, tmp_path):
    for options, error, words in REFUSED[kind]:
        with pytest.raises(error) as told:
            asked(kind, options, model, pool, tmp_path)
        assert words in str(told.value), options
        assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not neural, reason="needs PyTorch")
def test_the_same_of_a_training(model, tmp_path):
    from tsne_ooc.parametric import ParametricTSNE

    for options in (
        {}, {"encoder": ParametricTSNE(random_state=2**70)}, {"map": model}, {"sample": 1}, {"prepare": LOGGED},
        {"tsne": TSNE(sample=9, prepare=LOGGED)}, {"encoder": ParametricTSNE(), "tsne": TSNE(), "sample": 7},
    ):  # fmt: skip
        with pytest.raises(FileNotFoundError, match=r"nowhere\.npy"):
            train(tmp_path / "nowhere.npy", out=tmp_path / "out", **options)
        assert not list(tmp_path.iterdir())
    decided = "map is a teacher that is fitted already; leave out tsne, sample and prepare"
    own = "encoder has a teacher or a preparation of its own; pass these as map, tsne and prepare"
    for options, error, words in (
        ({"encoder": 3}, TypeError, "encoder=3 is not a ParametricTSNE"),
        ({"encoder": ParametricTSNE(teacher=TSNE())}, ValueError, own),
        ({"encoder": ParametricTSNE(prepare=LOGGED)}, ValueError, own),
        ({"encoder": ParametricTSNE(batch_size=0)}, ValueError, "batch_size=0"),
        ({"map": model, "sample": 5}, ValueError, decided), ({"map": model, "tsne": TSNE()}, ValueError, decided),
        ({"map": model, "prepare": LOGGED}, ValueError, decided),
        ({"prepare": Log1p()}, TypeError, "is not a tsne_ooc.preprocess.Preparation"),
        ({"prepare": DROPPED}, ValueError, "missing='drop' is for maps alone"),
        ({"tsne": TSNE(prepare=DROPPED)}, ValueError, "missing='drop' is for maps alone"),
        ({"tsne": TSNE(metric="nan_euclidean")}, ValueError, "metric='nan_euclidean' is for maps alone"),
        ({"tsne": 3}, TypeError, "tsne=3 is not a TSNE to be fitted; pass the folder of a fitted one as map"),
        ({"tsne": TSNE(perplexity=0)}, ValueError, "perplexity=0"), ({"sample": 0}, ValueError, "=0 must be at least"),
        ({"network": (1, 1)}, TypeError, "encoder=ParametricTSNE(network=...)"),
    ):  # fmt: skip
        with pytest.raises(error) as told:
            train(tmp_path / "nowhere.npy", out=tmp_path / "out", **options)
        assert words in str(told.value), options
        assert not list(tmp_path.iterdir())


def test_parts_that_are_none_are_told(tmp_path):
    """One folder is no list of them; a run that was not placed by its rows is no part."""
    for parts in ("a", tmp_path):
        with pytest.raises(TypeError) as told:
            merge(parts, out=tmp_path / "out")
        assert str(told.value) == f"parts={parts!r} is one folder; give a list of them"
    with pytest.raises(
        ValueError, match=r"^there are no parts to merge; give the folders that place\(rows=...\) wrote"
    ):
        merge([], out=tmp_path / "out")
    np.save(tmp_path / "embedding.npy", np.zeros((3, 2), np.float32))
    for task, rows in (("place", None), ("embed", [0, 3]), ("embed", None)):
        job = {"request": {} if rows is None else {"rows": rows}}
        storage.seal(tmp_path, "map", {"task": task, "job": job}, {"embedding": "embedding.npy"})
        with pytest.raises(ValueError) as told:
            merge([tmp_path], out=tmp_path / "out")
        assert str(told.value) == f"{tmp_path} is not a part of a table: it was not placed with rows=... (--rows)"
        (tmp_path / "manifest.json").unlink()
    # A part that is damaged is no part of a whole.
    storage.seal(
        tmp_path, "map", {"task": "place", "job": {"request": {"rows": [0, 3]}}}, {"embedding": "embedding.npy"}
    )
    with open(tmp_path / "embedding.npy", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    with pytest.raises(ValueError, match=r"embedding\.npy"):
        merge([tmp_path], out=tmp_path / "out")
