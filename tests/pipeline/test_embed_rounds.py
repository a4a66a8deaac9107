"""Rounds: what a sample missed joins it, whatever happens on the way."""

import h5py
import numpy as np
import pytest

from tsne_ooc import TSNE
from tsne_ooc.pipeline import embed
from tsne_ooc.preprocess import Preparation, Standardize

RARE = 40
# With it the sample has none of them, or one.
SEED = 0


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """40,000 rows in four groups, 40 of them in one of their own, far away, which a sample of 1,000 has one row of."""
    rng = np.random.default_rng(3)
    X = rng.uniform(-2, 2, (40_000, 6)) + 12 * rng.normal(size=(4, 6))[rng.integers(0, 4, 40_000)]
    rare = np.sort(rng.choice(40_000, RARE, replace=False))
    X[rare] = rng.normal(size=(RARE, 6)) * 0.5 + 60
    path = tmp_path_factory.mktemp("data") / "data.h5"
    with h5py.File(path, "w") as target:
        target.create_dataset("X", data=X.astype(np.float32), chunks=(500, 6))
    return path, rare


def run(file, out, rounds=2, **more):
    tsne = TSNE(perplexity=10, early_exaggeration_iter=40, n_iter=60, random_state=0)
    return embed(
        file[0],
        out=out,
        sample=1000,
        rounds=rounds,
        tsne=tsne,
        prepare=Preparation([Standardize()]),
        random_state=SEED,
        **more,
    )


@pytest.fixture(scope="module")
def two_rounds(file, tmp_path_factory):
    return run(file, tmp_path_factory.mktemp("runs") / "two")


def neighbours_of_their_own(Y, rare):
    """Share of the ten nearest rows on the map that are of the rare group, over its rows."""
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=11).fit(Y).kneighbors(Y[rare], return_distance=False)[:, 1:]
    return np.isin(near, rare).mean()


def test_a_group_that_the_sample_lost_is_an_island(file, two_rounds, tmp_path):
    rare = file[1]
    one = run(file, tmp_path / "one", rounds=1)
    assert np.isin(one.sample_rows, rare).sum() <= 2
    joined = np.isin(two_rounds.sample_rows, rare).sum()
    assert joined >= 10 and len(two_rounds.sample_rows) <= 1100
    assert set(one.sample_rows) <= set(two_rounds.sample_rows)
    assert neighbours_of_their_own(two_rounds.embedding, rare) > 0.95
    # The strangers of the first round are known in the second.
    assert two_rounds.novelty[rare].mean() < 0.5 * one.novelty[rare].mean()
    assert not [entry for entry in two_rounds.folder.iterdir() if entry.name.startswith("round")]


@pytest.mark.parametrize("phase, done", [("look", 0), ("look", 14_000), ("fit", 1000), ("fit", 0), ("place", 20_000)])
def test_stopped_and_resumed(file, two_rounds, tmp_path, phase, done):
    heard = []

    def stop(now, rows, total):
        heard.append((now, rows))
        # Of the two fits, the second.
        if now == phase and rows >= done and (phase != "fit" or ("look", 40_000) in heard):
            raise KeyboardInterrupt

    out = tmp_path / "map"
    with pytest.raises(KeyboardInterrupt):
        run(file, out, block_rows=3000, progress=stop)
    again = []
    found = run(file, out, block_rows=5000, resume=True, progress=lambda *event: again.append(event))
    for name in ("embedding.npy", "novelty.npy", "sample_rows.npy"):
        assert (found.folder / name).read_bytes() == (two_rounds.folder / name).read_bytes(), name
    # What was done is not done again.
    assert ("sample", 1000, 1000) not in again
    if phase == "look" and done:
        assert again[0][0] == "look" and again[0][1] >= 13_000


def test_nothing_new_changes_nothing(tmp_path):
    X = np.random.default_rng(0).normal(size=(2000, 3)).astype(np.float32)
    X[300:] = X[:300][np.arange(1700) % 300]
    tsne = TSNE(perplexity=10, early_exaggeration_iter=20, n_iter=20, random_state=0)
    rows = np.arange(300)
    one, two = (embed(X, out=tmp_path / str(r), sample=rows, rounds=r, tsne=tsne) for r in (1, 2))
    np.testing.assert_array_equal(one.embedding, two.embedding)
    np.testing.assert_array_equal(two.sample_rows, rows)


VARIANCES = np.linspace(0.5, 2, 6)
# Parameters of which a saved model has a few words, or nothing.
NOT_SAVED = {
    "metric_params": lambda seen: TSNE(metric="seuclidean", metric_params={"V": VARIANCES}, random_state=0),
    "random_state": lambda seen: TSNE(random_state=np.random.RandomState(3)),
    "callbacks": lambda seen: TSNE(random_state=0, callbacks=lambda i, error, Y: seen.append((i, len(Y)))),
}


@pytest.mark.parametrize("name", NOT_SAVED)
def test_rounds_have_all_parameters_as_they_were_asked_for(tmp_path, name):
    X = np.random.default_rng(0).normal(size=(1500, 6)).astype(np.float32)
    X[700:712] += np.linspace(20, 60, 12)[:, None].astype(np.float32)

    def go(out, resume=False, progress=None):
        seen = []
        tsne = NOT_SAVED[name](seen).set_params(perplexity=8, early_exaggeration_iter=20, n_iter=30)
        found = embed(X, out=tmp_path / out, sample=150, rounds=2, tsne=tsne, resume=resume, progress=progress)
        return found, seen

    def stop(phase, done, total):
        if phase == "look" and done:
            raise KeyboardInterrupt

    whole, seen = go("whole")
    assert whole.manifest["sample"] > 150
    with pytest.raises(KeyboardInterrupt):
        go("broken", progress=stop)
    again, later = go("broken", resume=True)
    for array in ("embedding.npy", "novelty.npy", "sample_rows.npy"):
        assert (again.folder / array).read_bytes() == (whole.folder / array).read_bytes(), array
    if name == "callbacks":
        sizes = [n for _, n in seen]
        assert sizes == sorted(sizes) and set(sizes) == {150, whole.manifest["sample"]}
        assert later == [event for event in seen if event[1] != 150]
