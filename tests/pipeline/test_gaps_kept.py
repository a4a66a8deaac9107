"""Maps of rows that lack values, by what two rows both have: every way in and out, and what is refused."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics.pairwise import nan_euclidean_distances
from sklearn.preprocessing import RobustScaler, StandardScaler

import tsne_ooc
from tsne_ooc import TSNE, embed, place, trust
from tsne_ooc.cli import main
from tsne_ooc.fit import initialization as starts
from tsne_ooc.io import open_source
from tsne_ooc.neighbors import IVF
from tsne_ooc.pipeline import neighbors
from tsne_ooc.preprocess import PCA, Log1p, Missing, Normalize, OneHot, Preparation, Standardize, Transformer
from tsne_ooc.sampling import Coverage

QUICK = {"metric": "nan_euclidean", "perplexity": 8, "early_exaggeration_iter": 8, "n_iter": 12, "random_state": 0}
P = 6
EMPTY = [4, 333]


def table(n=500, seed=0, share=0.2):
    rng = np.random.default_rng(seed)
    X = (rng.normal(0, 4, (4, P))[rng.integers(0, 4, n)] + rng.normal(size=(n, P))).astype(np.float32)
    X[rng.random(X.shape) < share] = np.nan
    X[:, 1] = np.nan_to_num(X[:, 1], nan=0.5)
    return X


X, Q = table(), table(60, seed=1)
WITH_EMPTY = X.copy()
WITH_EMPTY[EMPTY] = np.nan
KEPT = np.delete(np.arange(len(X)), EMPTY)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("gaps") / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("X", data=X, chunks=(37, P))
        file.create_dataset("empty", data=WITH_EMPTY, chunks=(37, P))
    return path


@pytest.fixture(scope="module")
def model():
    return TSNE(**QUICK).fit(X)


def test_the_search_behind_a_map_is_scikit_learns(model):
    _, distances = model.map_.model.index.query_self(9)
    D = nan_euclidean_distances(X.astype(float))
    np.fill_diagonal(D, np.inf)
    np.testing.assert_allclose(distances, np.sort(D, axis=1)[:, :9], rtol=1e-5)
    assert np.isfinite(model.embedding_).all() and model.recall_ == 1
    np.testing.assert_array_equal(model.transform(X), model.embedding_)


@pytest.mark.parametrize("kind", ["double", "masked", "frame", "nullable", "hdf5", "parquet", "npy"])
def test_every_kind_of_table(kind, model, stored, tmp_path):
    frame = pd.DataFrame(X, columns=list("abcdef"))
    source = None
    if kind == "double":
        given = X.astype(np.float64)
    elif kind == "masked":
        given = np.ma.array(np.nan_to_num(X, nan=9e9), mask=np.isnan(X))
    elif kind == "frame":
        given = frame
    elif kind == "nullable":
        given = frame.astype("Float32")
    else:
        path = {"hdf5": stored, "parquet": tmp_path / "x.parquet", "npy": tmp_path / "x.npy"}[kind]
        if kind == "parquet":
            frame.astype("Float32").to_parquet(path, row_group_size=70)
        if kind == "npy":
            np.save(path, X)
        given = source = open_source(path, dataset="X" if kind == "hdf5" else None)
    found = TSNE(**QUICK).fit(given)
    np.testing.assert_array_equal(found.embedding_, model.embedding_)
    np.testing.assert_array_equal(found.transform(given), model.embedding_)
    if source is not None:
        source.close()


def test_a_table_without_gaps_gives_the_euclidean_map():
    whole = np.nan_to_num(X, nan=0.25)
    one, other = TSNE(**QUICK).fit(whole), TSNE(**{**QUICK, "metric": "euclidean"}).fit(whole)
    np.testing.assert_array_equal(one.embedding_, other.embedding_)
    lacking, filled = one.place(Q), other.place(np.nan_to_num(Q, nan=0.25))
    assert np.isfinite(lacking.embedding).all()
    rows = ~np.isnan(Q).any(axis=1)
    np.testing.assert_array_equal(lacking.embedding[rows], filled.embedding[rows])
    np.testing.assert_array_equal(lacking.novelty[rows], filled.novelty[rows])


def test_placed_saved_and_loaded(model, tmp_path):
    wanted = model.place(Q)
    assert np.isfinite(wanted.embedding).all() and np.isfinite(wanted.novelty).all()
    model.save(tmp_path / "model")
    for one in (model, tsne_ooc.load(tmp_path / "model", n_jobs=1)):
        np.testing.assert_array_equal(one.place(Q).embedding, wanted.embedding)
        np.testing.assert_array_equal(one.score_samples(Q), wanted.novelty)
        np.testing.assert_array_equal(
            np.concatenate([one.transform(Q[i : i + 1]) for i in range(60)]), wanted.embedding
        )
        start = np.tile(np.float32([3, 4]), (len(Q), 1))
        assert np.isfinite(one.place(Q, start=start).embedding).all()
    # What has the nearest rows there is placed among them.
    index = model.map_.model.index
    near = np.median(model.embedding_[index.query(Q, 15)[0]], axis=1)
    assert np.median(np.linalg.norm(wanted.embedding - near, axis=1)) < 0.2 * np.ptp(model.embedding_)


def test_rows_are_equal_where_they_lack_the_same_whatever_their_nan_is(model):
    """There are millions of NaN, and 0 / 0 makes another than numpy.nan is."""
    other = X[:50].copy()
    words = other.view(np.uint32)
    words[np.isnan(other)] = np.random.default_rng(0).choice(
        [0x7FC00000, 0xFFC00000, 0x7FC12345], np.isnan(other).sum()
    )
    np.testing.assert_array_equal(model.transform(other), model.embedding_[:50])
    assert model.preparation_.transform(other).tobytes() == model.preparation_.transform(X[:50]).tobytes()
    found = TSNE(**QUICK).fit(np.concatenate([other, X[50:]]))
    np.testing.assert_array_equal(found.embedding_, model.embedding_)


@pytest.mark.parametrize("sample", [None, 150])
def test_rows_without_any_value_are_left_out(sample, stored, tmp_path):
    wanted = TSNE(**QUICK, sample=sample).fit(X[KEPT])
    found = TSNE(**QUICK, sample=sample)
    places = found.fit_transform(WITH_EMPTY)
    np.testing.assert_array_equal(found.embedding_, wanted.embedding_)
    np.testing.assert_array_equal(found.sample_rows_, KEPT if sample is None else KEPT[wanted.sample_rows_])
    np.testing.assert_array_equal(places[KEPT], wanted.transform(X[KEPT]))
    assert np.isnan(places[EMPTY]).all()
    again = found.place(WITH_EMPTY)
    assert np.isnan(again.embedding[EMPTY]).all() and np.isnan(again.novelty[EMPTY]).all()
    np.testing.assert_array_equal(found.score_samples(WITH_EMPTY), again.novelty)
    run = embed(stored, dataset="empty", out=tmp_path / "map", sample=120, tsne=TSNE(**QUICK), block_rows=31)
    np.testing.assert_array_equal(run.dropped_rows, EMPTY)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(run.embedding).any(axis=1)), EMPTY)
    assert run.manifest["dropped"] == 2
    with pytest.raises(ValueError, match="X has no value in row 4, and refine moves all rows"):
        found.refine(WITH_EMPTY)
    with pytest.raises(ValueError, match="row 4 has no value in any column, and refine moves all rows"):
        embed(stored, dataset="empty", out=tmp_path / "refined", sample=120, tsne=TSNE(**QUICK), refine=True)
    with pytest.raises(ValueError, match="row 4 has no value in any column, and each row has neighbours"):
        neighbors(stored, k=5, dataset="empty", out=tmp_path / "graph", metric="nan_euclidean")
    assert not (tmp_path / "refined").exists() and not (tmp_path / "graph").exists()


@pytest.mark.parametrize("rounds, sample", [(1, 120), (2, 120), (1, Coverage(120))], ids=["one", "two", "coverage"])
def test_a_run_in_any_blocks_is_that_of_the_table_in_memory(rounds, sample, stored, tmp_path):
    wanted = embed(X, out=tmp_path / "whole", sample=sample, tsne=TSNE(**QUICK), rounds=rounds)
    run = embed(
        stored, dataset="X", out=tmp_path / "map", sample=sample, tsne=TSNE(**QUICK, n_jobs=1), rounds=rounds,
        block_rows=31,
    )  # fmt: skip
    np.testing.assert_array_equal(run.embedding, wanted.embedding)
    np.testing.assert_array_equal(run.novelty, wanted.novelty)
    assert np.isfinite(run.embedding).all()
    placed = place(run.folder, Q, out=tmp_path / "placed", block_rows=7)
    np.testing.assert_array_equal(placed.embedding, run.model().transform(Q) if callable(getattr(run, "model", None))
                                  else tsne_ooc.load(run.folder / "model").transform(Q))  # fmt: skip


def test_a_killed_run_goes_on_to_the_same_bytes(stored, tmp_path):
    options = {"dataset": "X", "sample": 120, "tsne": TSNE(**QUICK), "block_rows": 31}
    wanted = embed(stored, out=tmp_path / "whole", **options)

    def killed(phase, done, total):
        if phase == "place" and done > 150:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(stored, out=tmp_path / "map", progress=killed, **options)
    run = embed(stored, out=tmp_path / "map", resume=True, **options)
    for name in ("embedding.npy", "novelty.npy", "sample_rows.npy"):
        assert (run.folder / name).read_bytes() == (wanted.folder / name).read_bytes()


def test_on_the_command_line(stored, tmp_path, capsys):
    words = ["embed", str(stored), "--dataset", "X", "--sample", "120", "--perplexity", "8", "--standardize"]
    assert main([*words, "--metric", "nan_euclidean", "--out", str(tmp_path / "map")]) == 0
    tsne = TSNE(metric="nan_euclidean", perplexity=8, random_state=0)
    wanted = embed(
        stored, dataset="X", out=tmp_path / "python", sample=120, prepare=Preparation([Standardize()]), tsne=tsne
    )
    np.testing.assert_array_equal(np.load(tmp_path / "map" / "embedding.npy"), wanted.embedding)
    assert main(["place", str(tmp_path / "map"), str(stored), "--dataset", "X", "--out", str(tmp_path / "placed")]) == 0
    assert np.isfinite(np.load(tmp_path / "placed" / "embedding.npy")).all()
    capsys.readouterr()
    for more, message in (
        (["--metric", "nan_euclidean", "--pca", "3"], "PCA(n=3) needs all values, and what is missing is kept"),
        (["--metric", "nan_euclidean", "--normalize", "1"], "Normalize(total=1.0) needs all values"),
        (["--missing", "keep"], "--missing='keep' is for --metric='nan_euclidean' alone"),
        (["--metric", "nan_euclidean", "--neighbors", "hnsw"], "nan_euclidean"),
    ):
        out = tmp_path / "refused"
        assert main([*words, *more, "--out", str(out)]) != 0
        told = capsys.readouterr().err
        assert message in told and told.count("\n") == 1 and not out.exists()


def test_all_rows_together(stored, tmp_path):
    model = TSNE(**QUICK, sample=150).fit(X)
    refined = model.refine(X)
    assert refined.embedding_.shape == (500, 2) and np.isfinite(refined.embedding_).all()
    run = embed(stored, dataset="X", out=tmp_path / "map", sample=150, tsne=TSNE(**QUICK), refine=True, block_rows=40)
    assert np.isfinite(run.embedding).all()
    graph = neighbors(stored, k=24, dataset="X", out=tmp_path / "graph", metric="nan_euclidean")
    among = TSNE(**QUICK, neighbors=graph).fit(X)
    np.testing.assert_array_equal(among.embedding_, TSNE(**QUICK).fit(X).embedding_)


@pytest.mark.parametrize("robust", [False, True])
def test_columns_are_scaled_by_the_values_that_they_have(robust, monkeypatch):
    """As scikit-learn's scalers do it, which leave NaN; in any tiles and threads the same bits."""
    Z = table(700).astype(np.float64) * np.geomspace(1e-3, 1e3, P) + 1e6 * np.arange(P)
    found = Preparation([Missing("keep"), Standardize(robust=robust)]).fit(Z)
    theirs = RobustScaler(unit_variance=True) if robust else StandardScaler()
    np.testing.assert_allclose(found.transform(Z), theirs.fit_transform(Z), rtol=2e-6, atol=1e-6)
    again = Preparation.from_state(*found.state())
    np.testing.assert_array_equal(again.transform(Z), found.transform(Z))
    monkeypatch.setattr("tsne_ooc.io.blocks.BLOCK_BYTES", 1000)
    cut = Preparation([Missing("keep"), Standardize(robust=robust)]).fit(Z, n_jobs=1)
    np.testing.assert_array_equal(cut.transform(Z), found.transform(Z))
    model = TSNE(**QUICK, prepare=Preparation([Standardize(robust=robust)])).fit(Z)
    np.testing.assert_array_equal(model.map_.model.index.rows, found.transform(Z))
    np.testing.assert_array_equal(model.transform(Z), model.embedding_)


def test_logarithms_and_categories_beside_gaps():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"kind": rng.choice(list("ab"), 90), "size": rng.exponential(size=90), "age": rng.random(90)})
    frame.loc[::3, "size"] = np.nan
    model = TSNE(**QUICK, prepare=Preparation([OneHot(["kind"]), Log1p(), Standardize()])).fit(frame)
    assert np.isnan(model.map_.model.index.rows[::3]).sum() == 30
    np.testing.assert_array_equal(model.transform(frame), model.embedding_)
    frame.loc[1, "age"] = -3
    with pytest.raises(ValueError, match=r"log1p takes counts .* row 1"):
        TSNE(**QUICK, prepare=Preparation([OneHot(["kind"]), Log1p()])).fit(frame)


def test_columns_far_from_0_are_shifted_here_too():
    """Times in seconds, which single precision would merge."""
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(300, 3)) * [1, 1, 20] + [0, 0, 1.7e9]
    Z[rng.random(Z.shape) < 0.2] = np.nan
    Z[:, 0] = np.nan_to_num(Z[:, 0])
    found = TSNE(**QUICK).fit(Z).map_.model.index.query_self(5)[1]
    D = nan_euclidean_distances(Z - [0, 0, 1.7e9])
    np.fill_diagonal(D, np.inf)
    np.testing.assert_allclose(found, np.sort(D, axis=1)[:, :5], rtol=1e-4, atol=1e-5)


def test_what_is_filled_in_first_is_euclidean():
    prepare = Preparation([Missing("median")])
    one, other = (
        TSNE(**{**QUICK, "metric": metric}, prepare=prepare).fit(X) for metric in ("nan_euclidean", "euclidean")
    )
    np.testing.assert_array_equal(one.embedding_, other.embedding_)


@pytest.mark.parametrize(
    "prepare, message",
    [
        ([PCA(3)], "PCA.* needs all values, and what is missing is kept"),
        ([Standardize(), Normalize()], "Normalize.* needs all values"),
        ([Transformer(StandardScaler())], "Transformer.* needs all values"),
    ],
)
def test_steps_that_need_all_values_are_refused_by_name(prepare, message):
    for steps in (prepare, [Missing("keep"), *prepare]):
        with pytest.raises(ValueError, match=message) as told:
            TSNE(**QUICK, prepare=Preparation(steps)).fit(X)
        assert "\n" not in str(told.value)


def test_what_else_is_refused(tmp_path):
    from scipy.sparse import csr_array

    bad = X.copy()
    bad[7, 2] = np.inf
    with pytest.raises(ValueError, match=r"contains infinity .* at row 7, column 2"):
        TSNE(**QUICK).fit(bad)
    model = TSNE(**QUICK).fit(X)
    with pytest.raises(ValueError, match=r"contains infinity .* at row 7, column 2"):
        model.transform(bad)
    with pytest.raises(TypeError, match="metric='nan_euclidean' takes no sparse rows"):
        TSNE(**QUICK, sample=50).fit(csr_array(np.nan_to_num(X)))
    for metric in ("euclidean", "cosine", "manhattan"):
        with pytest.raises(ValueError, match=f"is for metric='nan_euclidean' alone, and metric='{metric}' needs all"):
            TSNE(metric=metric, prepare=Preparation([Missing("keep")])).fit(X)
        with pytest.raises(ValueError, match="contains NaN at row"):
            TSNE(metric=metric).fit(X)
    never = X.copy()
    never[:, 3] = np.nan
    with pytest.raises(ValueError, match="column 3 has no value in any of 500 rows; leave it out"):
        TSNE(**QUICK).fit(never)
    with pytest.raises(ValueError, match="none of 9 rows has a value in any column"):
        TSNE(**QUICK).fit(np.full((9, 2), np.nan))
    odd = X.copy()
    odd[:, 4] = np.nan
    odd[[3, 8], 4] = 1
    odd[8, :4] = odd[8, 5:] = np.nan
    with pytest.raises(ValueError, match="row 8 has a column in common with 1 of 500 other rows, and 24 neighbours"):
        TSNE(**QUICK).fit(odd)


def test_a_row_that_shares_too_little_is_named_by_its_number_in_the_table(tmp_path):
    Z = X.copy()
    Z[:, 5] = np.nan
    Z[:40, 5] = 1
    Z[411] = np.nan
    Z[411, 5] = 2
    sample = tsne_ooc.sampling.Rows(np.arange(30, 300))
    with pytest.raises(ValueError, match=r"^row 411 has a column in common with 10 of 270 rows"):
        embed(Z, out=tmp_path / "map", sample=sample, tsne=TSNE(**QUICK), block_rows=50)


def test_encoders_refuse_it():
    pytest.importorskip("torch")
    from tsne_ooc.parametric import ParametricTSNE

    with pytest.raises(ValueError, match="an encoder reads every column of a row, so metric='nan_euclidean'"):
        ParametricTSNE(TSNE(**QUICK)).fit(X)
    with pytest.raises(ValueError, match="an encoder reads every column of a row, so metric='nan_euclidean'"):
        ParametricTSNE(TSNE(**QUICK).fit(X)).fit(X)


def test_the_start_is_that_of_rows_filled_with_means():
    from tsne_ooc._parallel import Threads

    filled = np.where(np.isnan(X), np.nanmean(X, axis=0, dtype=np.float64).astype(np.float32), X)
    np.testing.assert_allclose(starts.filled(X), filled, rtol=1e-6)
    begun = TSNE(**{**QUICK, "early_exaggeration_iter": 0, "n_iter": 0}).fit(X).embedding_
    wanted = starts.pca(starts.filled(X), 2, tsne_ooc._random.generator(0, "initialization"), Threads(1))
    # The map lies about 0.
    np.testing.assert_allclose(begun, wanted - wanted.mean(axis=0), atol=1e-9)


def test_trust_of_such_rows():
    scores = trust.scores(TSNE(**QUICK).fit(X), WITH_EMPTY)
    for name, column in zip(scores._fields, scores, strict=True):
        if column is not None and name != "perturbation":
            assert np.isfinite(column[KEPT]).all() and np.isnan(column[EMPTY]).all()


def test_lists_place_as_pairs_do(tmp_path):
    rows, more = table(4000, seed=3), table(200, seed=4)
    model = TSNE(**QUICK, neighbors=IVF()).fit(rows)
    assert model.recall_ >= 0.95
    model.save(tmp_path / "model")
    again = tsne_ooc.load(tmp_path / "model", n_jobs=1)
    np.testing.assert_array_equal(again.transform(more), model.transform(more))
