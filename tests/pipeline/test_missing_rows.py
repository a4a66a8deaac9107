"""Rows that lack a value: dropped, they change nothing for the others; filled in, later rows are filled in alike."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import tsne_ooc
from tsne_ooc import TSNE, embed, place
from tsne_ooc.cli import main
from tsne_ooc.io import open_source
from tsne_ooc.preprocess import PCA, Missing, Preparation, Standardize
from tsne_ooc.sampling import Coverage, Rows, Stratified, UniformSample

QUICK = {"perplexity": 8, "early_exaggeration_iter": 8, "n_iter": 12, "random_state": 0}


def table(n=500, p=5, seed=0, share=0.05):
    rng = np.random.default_rng(seed)
    X = (rng.normal(0, 4, (4, p))[rng.integers(0, 4, n)] + rng.normal(size=(n, p))).astype(np.float32)
    X[rng.random(X.shape) < share] = np.nan
    return X


X, Q = table(), table(60, seed=1)
WHOLE, KNOWN = ~np.isnan(X).any(axis=1), ~np.isnan(Q).any(axis=1)


def dropping():
    return Preparation([Missing("drop"), Standardize(), PCA(3)])


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("lacking") / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("X", data=X, chunks=(37, 5))
    return path


@pytest.mark.parametrize("sample", [None, 120])
@pytest.mark.parametrize("kind", ["array", "masked", "stored"])
def test_a_fit_is_that_of_the_whole_rows(sample, kind, stored):
    wanted = TSNE(**QUICK, sample=sample, prepare=Preparation([Standardize(), PCA(3)])).fit(X[WHOLE])
    given = {"array": X, "masked": np.ma.array(np.nan_to_num(X, nan=9e9), mask=np.isnan(X)), "stored": None}[kind]
    model = TSNE(**QUICK, sample=sample, prepare=dropping())
    if given is None:
        with open_source(stored) as source:
            places = model.fit_transform(source)
    else:
        places = model.fit_transform(given)
    np.testing.assert_array_equal(model.embedding_, wanted.embedding_)
    rows = np.flatnonzero(WHOLE) if sample is None else np.flatnonzero(WHOLE)[wanted.sample_rows_]
    np.testing.assert_array_equal(model.sample_rows_, rows)
    np.testing.assert_array_equal(places[WHOLE], wanted.transform(X[WHOLE]))
    assert np.isnan(places[~WHOLE]).all()


def test_later_rows_that_lack_a_value_have_no_place(tmp_path):
    wanted = TSNE(**QUICK, prepare=Preparation([Standardize(), PCA(3)])).fit(X[WHOLE])
    model = TSNE(**QUICK, prepare=dropping()).fit(X)
    model.save(tmp_path / "model")
    for one in (model, tsne_ooc.load(tmp_path / "model")):
        found = one.place(Q)
        np.testing.assert_array_equal(found.embedding[KNOWN], wanted.transform(Q[KNOWN]))
        np.testing.assert_array_equal(found.novelty[KNOWN], wanted.score_samples(Q[KNOWN]))
        assert np.isnan(found.embedding[~KNOWN]).all() and np.isnan(found.novelty[~KNOWN]).all()
        np.testing.assert_array_equal(one.score_samples(Q), found.novelty)
        start = np.tile(np.float32([3, 4]), (len(Q), 1))
        np.testing.assert_array_equal(
            one.place(Q, start=start).embedding[KNOWN], wanted.place(Q[KNOWN], start=start[KNOWN]).embedding
        )
        np.testing.assert_array_equal(np.concatenate([one.transform(Q[i : i + 1]) for i in range(60)]), found.embedding)
        assert np.isnan(one.transform(Q[~KNOWN])).all()
    with pytest.raises(ValueError, match=f"lacks a value in row {int((~WHOLE).argmax())}, and refine moves all rows"):
        model.refine(X)


LABELS = np.arange(len(X)) % 3
SAMPLES = {
    "uniform": (lambda rows: UniformSample(100), lambda rows: UniformSample(100)),
    "coverage": (lambda rows: Coverage(100), lambda rows: Coverage(100)),
    "stratified": (lambda rows: Stratified(100, LABELS), lambda rows: Stratified(100, LABELS[rows])),
    "given": (lambda rows: Rows(rows[40:140]), lambda rows: Rows(np.arange(40, 140))),
    "mask": (lambda rows: Rows(np.isin(np.arange(len(X)), rows[:90])), lambda rows: Rows(np.arange(90))),
}


@pytest.mark.parametrize("name, rounds", [*((name, 1) for name in SAMPLES), ("uniform", 2)])
def test_a_run_is_that_of_the_whole_rows(name, rounds, stored, tmp_path):
    rows = np.flatnonzero(WHOLE)
    with_gaps, without = (sample(rows) for sample in SAMPLES[name])
    steps = [Standardize(), PCA(3)]
    wanted = embed(
        X[WHOLE], out=tmp_path / "whole", sample=without, prepare=Preparation(steps), tsne=TSNE(**QUICK), rounds=rounds
    )
    run = embed(
        stored, out=tmp_path / "map", sample=with_gaps, prepare=dropping(), tsne=TSNE(**QUICK), rounds=rounds,
        block_rows=31,
    )  # fmt: skip
    np.testing.assert_array_equal(run.sample_rows, rows[wanted.sample_rows])
    np.testing.assert_array_equal(run.embedding[WHOLE], wanted.embedding)
    np.testing.assert_array_equal(run.novelty[WHOLE], wanted.novelty)
    np.testing.assert_array_equal(run.dropped_rows, np.flatnonzero(~WHOLE))
    assert np.isnan(run.embedding[~WHOLE]).all() and np.isnan(run.novelty[~WHOLE]).all()
    assert run.manifest["dropped"] == (~WHOLE).sum() and run.manifest["novelty"]["rows"] == WHOLE.sum()


@pytest.mark.parametrize("axes", [1, 3])
def test_rows_without_a_place_are_found_on_any_number_of_axes(axes, stored, tmp_path):
    tsne = TSNE(**QUICK, n_components=axes)
    run = embed(stored, out=tmp_path / "map", sample=100, prepare=dropping(), tsne=tsne)
    assert run.embedding.shape == (len(X), axes)
    np.testing.assert_array_equal(run.dropped_rows, np.flatnonzero(~WHOLE))


def test_nulls_of_parquet(tmp_path):
    """From the first row on, which a run looks at; placed with the columns in another order."""
    import pandas as pd

    names, Z = list("abcde"), X.copy()
    Z[0, 1] = np.nan
    frame = pd.DataFrame(Z, columns=names).astype("Float32")
    frame.to_parquet(tmp_path / "x.parquet", row_group_size=70)
    frame[names[::-1]].to_parquet(tmp_path / "turned.parquet")
    options = {"sample": 100, "tsne": TSNE(**QUICK)}
    for how in ("drop", "median"):
        prepare = Preparation([Missing(how)])
        wanted = embed(Z, out=tmp_path / f"{how} array", prepare=prepare, **options)
        run = embed(tmp_path / "x.parquet", out=tmp_path / how, prepare=prepare, **options)
        np.testing.assert_array_equal(run.embedding, wanted.embedding)
        again = place(tmp_path / how, tmp_path / "turned.parquet", out=tmp_path / f"{how} more")
        model = tsne_ooc.load(tmp_path / how / "model")
        np.testing.assert_array_equal(again.embedding, model.transform(frame))


def test_a_row_of_a_given_sample_must_have_a_place(tmp_path):
    lost = int((~WHOLE).argmax())
    for rows in (Rows([lost]), Rows(np.ones(len(X), bool))):
        with pytest.raises(ValueError, match=f"row {lost} of the sample lacks a value, and missing='drop'"):
            embed(X, out=tmp_path / "map", sample=rows, prepare=dropping(), tsne=TSNE(**QUICK))
        assert not (tmp_path / "map").exists()


def test_parts_are_joined_to_the_whole(stored, tmp_path):
    TSNE(**QUICK, prepare=dropping()).fit(X).save(tmp_path / "map")
    wanted = place(tmp_path / "map", stored, out=tmp_path / "whole")
    parts = [place(tmp_path / "map", stored, out=tmp_path / name, rows=name).folder for name in ("0:150", "150:500")]
    run = tsne_ooc.pipeline.merge(parts, out=tmp_path / "merged")
    assert run.manifest["dropped"] == wanted.manifest["dropped"] == len(wanted.dropped_rows)
    for name, array in wanted.arrays.items():
        np.testing.assert_array_equal(run.arrays[name], array)


def test_who_has_a_place_for_every_row_says_so(tmp_path):
    with pytest.raises(ValueError, match="refine moves all rows, and missing='drop' leaves some out"):
        embed(X, out=tmp_path / "map", sample=100, prepare=dropping(), tsne=TSNE(**QUICK), refine=True)
    with pytest.raises(ValueError, match="each row has neighbours, and missing='drop' leaves some out"):
        tsne_ooc.pipeline.neighbors(X, out=tmp_path / "graph", prepare=dropping())
    pytest.importorskip("torch")
    from tsne_ooc.parametric import ParametricTSNE

    with pytest.raises(ValueError, match="an encoder has a place for every row"):
        ParametricTSNE(prepare=dropping()).fit(X)
    assert not list(tmp_path.iterdir())


def test_a_run_that_stopped_goes_on(stored, tmp_path):
    options = {"sample": 100, "prepare": dropping(), "tsne": TSNE(**QUICK), "block_rows": 60}
    wanted = embed(stored, out=tmp_path / "whole", **options)

    def stop(phase, done, total):
        if phase == "place" and done >= 240:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(stored, out=tmp_path / "map", progress=stop, **options)
    run = embed(stored, out=tmp_path / "map", resume=True, **options)
    for name, array in wanted.arrays.items():
        np.testing.assert_array_equal(run.arrays[name], array)


@pytest.mark.parametrize("how", ["drop", "mean", "median", "neighbors", "indicator"])
def test_by_command(how, stored, tmp_path, capsys):
    options = ["--perplexity", "8", "--sample", "100", "--missing", how, "--standardize", "--jobs", "1"]
    assert main(["embed", str(stored), *options, "--out", str(tmp_path / "map")]) == 0
    lost = int((~WHOLE).sum())
    assert (f"{lost} rows without a place, since a value is missing" in capsys.readouterr().out) == (how == "drop")
    assert main(["embed", str(stored), *options, "--dry-run", "--out", str(tmp_path / "dry")]) == 0
    assert not (tmp_path / "dry").exists()
    np.save(tmp_path / "q.npy", Q)
    assert main(["place", str(tmp_path / "map"), str(tmp_path / "q.npy"), "--out", str(tmp_path / "more")]) == 0
    places = np.load(tmp_path / "more" / "embedding.npy")
    np.testing.assert_array_equal(np.isnan(places).any(axis=1), ~KNOWN & (how == "drop"))
    np.testing.assert_array_equal(places, tsne_ooc.load(tmp_path / "map" / "model").transform(Q))
    if how == "drop":
        rows = place(tmp_path / "map", Q, out=tmp_path / "again").dropped_rows
        np.testing.assert_array_equal(rows, np.flatnonzero(~KNOWN))
        assert main(["strangest", str(tmp_path / "map"), "--top", "600"]) == 0
        assert "nan" not in capsys.readouterr().out


def test_an_error_is_as_before(stored, tmp_path, capsys):
    for options in ([], ["--missing", "error"]):
        assert main(["embed", str(stored), "--sample", "100", *options, "--out", str(tmp_path / "map")]) != 0
        assert "contains NaN at row" in capsys.readouterr().err
        assert not (tmp_path / "map").exists()


def test_estimators_of_others_are_asked_for_whole_rows_alone(tmp_path):
    from sklearn.decomposition import PCA as Theirs

    class Flat(Theirs):
        @property
        def embedding_(self):
            return self.transform(self.rows_)

        def fit(self, X, y=None):
            self.rows_ = X
            return super().fit(X)

    run = embed(X, out=tmp_path / "map", sample=100, prepare=dropping(), tsne=Flat(2))
    np.testing.assert_array_equal(np.isnan(run.embedding).any(axis=1), ~WHOLE)
