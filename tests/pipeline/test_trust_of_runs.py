"""Scores of the rows of runs: those of the slow way, the same bytes whoever makes them, told wherever rows are told."""

from __future__ import annotations

import os
import re
import shlex
import signal
import warnings
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pandas as pd
import pytest
from children import forked, status_of
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

import tsne_ooc
from tsne_ooc import TSNE, Refinement, embed, merge, open_run, place
from tsne_ooc.cli import main
from tsne_ooc.cli.command import parser
from tsne_ooc.export import export
from tsne_ooc.io import open_source
from tsne_ooc.pipeline import trust
from tsne_ooc.plot.column import column_of
from tsne_ooc.preprocess import PCA, Missing, Preparation, Standardize
from tsne_ooc.trust import scores
from tsne_ooc.workers import LocalWorkers

N, P = 500, 5
FEW = {"perplexity": 8, "early_exaggeration_iter": 30, "n_iter": 60, "random_state": 0, "n_jobs": 1}
NAMES = ("recall", "singularity", "perturbation")


def rows(n=N, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 4, (6, P))[rng.integers(0, 6, n)] + rng.normal(size=(n, P))).astype(np.float32)


def bytes_of(run):
    folder = run.folder / "trust"
    return {name: (folder / f"{name}.npy").read_bytes() for name in NAMES if (folder / f"{name}.npy").exists()}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A table, and runs of every kind over its rows, none of them scored."""
    folder = tmp_path_factory.mktemp("home")
    np.save(folder / "X.npy", rows())
    tsne, prepare = TSNE(**FEW), Preparation([Standardize(), PCA(4)])
    embed(folder / "X.npy", out=folder / "embedded", sample=200, tsne=tsne, prepare=prepare)
    place(folder / "embedded", folder / "X.npy", out=folder / "placed")
    for part in ("0:170", "170:500"):
        place(folder / "embedded", folder / "X.npy", rows=part, out=folder / f"part-{part[0]}")
    merge([folder / "part-0", folder / "part-1"], out=folder / "merged")
    for name, reference in (("refined", None), ("refined-some", 300)):
        refine = Refinement(n_iter=40, reference=reference)
        embed(folder / "X.npy", out=folder / name, sample=200, tsne=tsne, refine=refine)
    return folder


def copied(home, name, folder):
    """A run of one's own to score."""
    import shutil

    shutil.copytree(home / name, folder / name, ignore=shutil.ignore_patterns("trust"))
    return folder / name


KINDS = ("embedded", "placed", "merged", "refined", "refined-some")


@pytest.mark.parametrize("name", KINDS)
def test_they_are_those_of_the_places_of_the_run(home, tmp_path, name):
    run = trust(copied(home, name, tmp_path), block_rows=90)
    model = tsne_ooc.load(home / ("embedded" if name in ("placed", "merged") else name) / "model")
    wanted = scores(model, rows(), places=np.array(run.embedding))
    assert set(run.trust) == set(NAMES)
    for one in NAMES:
        np.testing.assert_array_equal(run.trust[one], getattr(wanted, one))
        assert run.trust[one].dtype == np.float32 and not np.isnan(run.trust[one]).any()


@pytest.mark.parametrize("name", KINDS)
def test_recall_is_counted_by_hand(home, tmp_path, name):
    run = trust(copied(home, name, tmp_path), k=7)
    fitted = open_run(home / name).sample_rows
    fitted = np.arange(N) if name == "refined" else fitted
    model = tsne_ooc.load(home / ("embedded" if name in ("placed", "merged") else name) / "model")
    if name == "refined-some":
        fitted = model.sample_rows_
    elif fitted is None:
        fitted = open_run(home / "embedded").sample_rows
    X = rows() if model.preparation_ is None else model.preparation_.transform(rows())
    apart, on_map = (cdist(A.astype(float), A[fitted].astype(float)) for A in (X, np.array(run.embedding)))
    for at, row in enumerate(fitted):
        apart[row, at] = on_map[row, at] = np.inf
    near, there = np.argsort(apart, axis=1)[:, :7], np.argsort(on_map, axis=1)[:, :7]
    recall = [np.isin(a, b).mean() for a, b in zip(near, there, strict=True)]
    np.testing.assert_allclose(run.trust["recall"], recall, atol=1e-6)


@pytest.fixture(scope="module")
def wanted(home, tmp_path_factory):
    return bytes_of(trust(copied(home, "embedded", tmp_path_factory.mktemp("wanted"))))


@pytest.mark.parametrize("kind", ["blocks", "processes", "processes elsewhere", "threads", "array", "dataset", "jobs"])
def test_the_same_bytes(home, wanted, tmp_path, monkeypatch, kind):
    run, source, options = copied(home, "embedded", tmp_path), None, {"block_rows": 70}
    if kind == "array":
        source = rows()
    elif kind == "dataset":
        with h5py.File(tmp_path / "X.h5", "w") as file:
            file["X"], file["other"] = rows(), rows(seed=3)
        source, options = tmp_path / "X.h5", {"dataset": "X"}
    elif kind == "jobs":
        options = {"n_jobs": 3}
    if kind == "processes":
        with LocalWorkers(2, n_jobs=2) as workers:
            found = trust(run, executor=workers, **options)
    elif kind == "processes elsewhere":
        with LocalWorkers(1, n_jobs=1) as workers:
            assert workers.submit(os.getcwd).result() != str(tmp_path)
            monkeypatch.chdir(tmp_path)
            found = trust("embedded", executor=workers, **options)
    elif kind == "threads":
        with ThreadPoolExecutor(3) as workers:
            found = trust(run, executor=workers, **options)
    else:
        found = trust(run, source, **options)
    assert bytes_of(found) == wanted


@pytest.mark.parametrize("moment", [0, 100, 300, 500])
def test_killed_it_goes_on_to_the_same_bytes(home, wanted, tmp_path, moment):
    """SIGKILL in a process of its own, when so many rows are done."""
    run = copied(home, "embedded", tmp_path)

    def kill(phase, done, total):
        if done >= moment:
            os.kill(os.getpid(), signal.SIGKILL)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = forked(lambda: trust(run, progress=kill, block_rows=100))
    assert status_of(child) == -signal.SIGKILL
    assert open_run(run).trust is None
    with pytest.raises(FileExistsError, match=r"not finished.*resume=True"):
        trust(run)
    with pytest.raises(ValueError, match="k was 10, is 5"):
        trust(run, k=5, resume=True)
    done = []
    found = trust(run, resume=True, progress=lambda phase, done_now, total: done.append(done_now))
    assert bytes_of(found) == wanted and done[0] == min(moment, 500)
    assert sorted(file.name for file in (run / "trust").iterdir() if file.name != ".lock") == sorted(
        [*(f"{name}.npy" for name in NAMES), "manifest.json"]
    )
    # Once more there is nothing to do; with other options it is refused, and nothing is lost.
    assert bytes_of(trust(run, resume=True)) == wanted
    with pytest.raises(ValueError, match=r"holds other scores: k was 10, is 5; remove it"):
        trust(run, k=5, resume=True)
    with pytest.raises(FileExistsError, match=r"are scored already; remove .*trust to score them again"):
        trust(run)
    assert bytes_of(open_run(run)) == wanted


def test_the_run_itself_stays_as_it_was(home, tmp_path):
    run = copied(home, "embedded", tmp_path)
    before = {file: file.read_bytes() for file in sorted(run.rglob("*")) if file.is_file()}
    trust(run)
    assert {file: file.read_bytes() for file in before} == before
    assert open_run(run, verify=True).trust is not None
    # Another run in its place is not the one that was scored.
    import shutil

    shutil.copytree(run / "trust", copied(home, "placed", tmp_path) / "trust")
    with pytest.raises(ValueError, match="are of another run"):
        open_run(tmp_path / "placed").trust  # noqa: B018


# ------------------------------------------------------------------------------------------------ what cannot be scored


def test_options_that_cannot_be_leave_nothing_behind(home, tmp_path):
    run = copied(home, "embedded", tmp_path)
    for options, words in [
        ({"k": 200}, "k=200 is more than the 199 others"),
        ({"k": 0}, "k=0"),
        ({"length": -1}, "length=-1"),
        ({"directions": 0}, "directions=0"),
        ({"block_rows": 0}, "block_rows=0"),
        ({"executor": 3}, "executor=3 is not"),
    ]:
        with pytest.raises((ValueError, TypeError), match=re.escape(words)):
            trust(run, **options)
        assert not (run / "trust").exists()


def test_another_table_is_refused(home, tmp_path):
    run = copied(home, "embedded", tmp_path)
    for source, words in [
        (rows(300), r"has 300 rows, and the map 500; name the table that it was made from"),
        (rows(seed=1), "is not the table .* was made from: contents of the rows looked at are others"),
        (rows()[:, :4], "4 columns"),
        (tmp_path / "none.npy", "none.npy"),
    ]:
        with pytest.raises((ValueError, OSError), match=words):
            trust(run, source)
    assert not (run / "trust").exists()


def test_a_table_that_has_gone_is_named(tmp_path):
    np.save(tmp_path / "X.npy", rows())
    embed(tmp_path / "X.npy", out=tmp_path / "map", sample=100, tsne=TSNE(**FEW))
    np.save(tmp_path / "X.npy", rows(seed=1))
    with pytest.raises(ValueError, match=r"is not the table that .* was made from: contents of the rows"):
        trust(tmp_path / "map")
    (tmp_path / "X.npy").unlink()
    with pytest.raises(FileNotFoundError, match="which the map was made from, is not there any more; name the place"):
        trust(tmp_path / "map")
    assert trust(tmp_path / "map", rows()).trust is not None


def test_what_the_run_left_out_is_left_out(told, tmp_path):
    """Columns of the run are read, in whatever order the file has them, and others are not."""
    run = copied(told, "a map", tmp_path)
    wanted = {name: np.array(values) for name, values in open_run(told / "a map").trust.items()}
    table = pd.read_parquet(told / "cells.parquet")[["c4", "word", "c2", "c0", "c3", "c1"]]
    table.to_parquet(tmp_path / "moved.parquet")
    found = trust(run, tmp_path / "moved.parquet", columns=["c2", "c0", "c1"]).trust
    for name in NAMES:
        np.testing.assert_array_equal(found[name], wanted[name])


def test_missing_chunks_are_asked_about_again(tmp_path):
    with h5py.File(tmp_path / "X.h5", "w") as file:
        file.create_dataset("X", (N, P), np.float32, chunks=(100, P))[100:] = rows()[100:]
    options = {"sample": 150, "tsne": TSNE(**FEW), "allow_missing_chunks": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        embed(tmp_path / "X.h5", out=tmp_path / "map", **options)
    with pytest.raises((ValueError, OSError), match="allow_missing_chunks"):
        trust(tmp_path / "map")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(trust(tmp_path / "map", allow_missing_chunks=True).trust["recall"]) == N


def test_runs_without_a_map_to_ask(home, tmp_path):
    with pytest.raises(ValueError, match="is a part of a table; merge all parts first"):
        trust(home / "part-0")
    embed(rows(), out=tmp_path / "memory", sample=100, tsne=TSNE(**FEW))
    with pytest.raises(ValueError, match="was not made from a file; name the table"):
        trust(tmp_path / "memory")
    run = copied(home, "placed", tmp_path)
    manifest = (run / "manifest.json").read_text()
    assert str(home / "embedded" / "model") in manifest
    with pytest.raises(FileNotFoundError, match=r"holds no manifest\.json"):
        trust(home)


def test_an_encoder_has_no_energy(home, tmp_path):
    pytest.importorskip("torch")
    from tsne_ooc.parametric import ParametricTSNE

    encoder = ParametricTSNE(network=(16, 1), landmarks=16, n_iter=12, random_state=0, batch_size=64).fit(rows())
    encoder.save(tmp_path / "encoder")
    place(tmp_path / "encoder", home / "X.npy", out=tmp_path / "more")
    with pytest.raises(ValueError, match="where an encoder puts them"):
        trust(tmp_path / "more")


def test_rows_without_a_place_have_no_scores(tmp_path):
    X = rows()
    X[[3, 77, 400], 2] = np.nan
    np.save(tmp_path / "X.npy", X)
    prepare = Preparation([Missing("drop"), Standardize()])
    run = embed(tmp_path / "X.npy", out=tmp_path / "map", sample=200, tsne=TSNE(**FEW), prepare=prepare)
    found = trust(tmp_path / "map", block_rows=60)
    for values in found.trust.values():
        np.testing.assert_array_equal(np.flatnonzero(np.isnan(values)), [3, 77, 400])
    assert found.trusted.content["facts"]["scored"] == 497 == sum(found.trusted.content["facts"]["kept"])
    assert run.dropped_rows.tolist() == [3, 77, 400]


@pytest.mark.parametrize("metric", ["precomputed", "nan_euclidean"])
def test_rows_that_cannot_be_moved_have_two_scores(tmp_path, capsys, metric):
    """Distances have no columns to add a little to, nor have rows that lack values."""
    X = rows(150)
    if metric == "precomputed":
        X = cdist(X, X).astype(np.float32)
    else:
        X[::7, 2] = np.nan
    np.save(tmp_path / "X.npy", X)
    embed(tmp_path / "X.npy", out=tmp_path / "map", sample=150, tsne=TSNE(**FEW, metric=metric))
    found = trust(tmp_path / "map")
    assert set(found.trust) == {"recall", "singularity"}
    assert sorted(path.name for path in (tmp_path / "map" / "trust").glob("*.npy")) == ["recall.npy", "singularity.npy"]
    facts = found.trusted.content["facts"]
    assert set(facts) == {"k", "scored", "kept"} and facts["scored"] == sum(facts["kept"]) == 150
    message = (
        f"{tmp_path / 'map'} has no perturbation: its rows are sparse, lack values or are distances, and cannot be"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)} moved$"):
        column_of("perturbation", 150, found)
    assert column_of("recall", 150, found).shape == (150,)
    assert main(["plot", str(tmp_path / "map"), "--color", "perturbation"]) == 2
    assert "cannot be moved" in capsys.readouterr().err and not (tmp_path / "map.png").exists()


def test_sparse_rows(tmp_path):
    X = csr_array(np.maximum(rows(), 0))
    embed(X, out=tmp_path / "map", sample=150, tsne=TSNE(**FEW))
    assert set(trust(tmp_path / "map", X).trust) == set(NAMES)


# With `--jobs -7` it is all cores but six.
WRONG = [
    (f"--{name}", value)
    for name in ("k", "length", "directions", "block-rows", "workers")
    for value in ("0", "-7", "nan")
]


@pytest.mark.parametrize("option, value", [*WRONG, ("--jobs", "0"), ("--jobs", "nan")])
def test_wrong_numbers_are_told_by_the_option_that_was_typed(home, tmp_path, capsys, option, value):
    run = copied(home, "embedded", tmp_path)
    try:
        code = main(["trust", str(run), f"{option}={value}"])
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr().err
    assert code == 2 and said.count("\n") == 1 and said.startswith("tsne-ooc: error: ") and option in said, said
    assert not (run / "trust").exists()


# ------------------------------------------------------------------------------------------------ where they are told


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A run of named columns, which is scored."""
    pytest.importorskip("pyarrow")
    folder = tmp_path_factory.mktemp("told")
    table = pd.DataFrame(rows(), columns=[f"c{j}" for j in range(P)]).assign(word=["a", "b"] * (N // 2))
    table.to_parquet(folder / "cells.parquet")
    words = ["embed", str(folder / "cells.parquet"), "--sample", "200", "--perplexity", "8", "--columns", "c0,c1,c2"]
    assert main([*words, "--out", str(folder / "a map"), "--quiet"]) == 0
    trust(folder / "a map")
    return folder


def test_the_command_says_what_to_make_of_it(told, tmp_path, capsys):
    folder = copied(told, "a map", tmp_path)
    assert main(["info", str(folder)]) == 0
    before = capsys.readouterr().out
    assert f"  tsne-ooc trust {shlex.quote(str(folder))}" in before and "scored" not in before
    assert main(["trust", str(folder), "--k", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    run = open_run(folder)
    found, facts = run.trust, run.trusted.content["facts"]
    assert lines[0].startswith("scored 500 rows in ")
    kept = np.rint(found["recall"] * 5).astype(int)
    assert facts["kept"] == np.bincount(kept, minlength=6).tolist()
    half = int(np.sort(kept)[::-1][(N - 1) // 2])
    assert f"half of the rows have at least {half} of their 5 nearest rows" in lines[1]
    fitted = np.array(run.embedding)[run.sample_rows]
    width = np.ptp(np.quantile(fitted, [0.01, 0.99], axis=0), axis=0)
    assert facts["far"] == pytest.approx(width.max() / 4)
    assert facts["doubtful"] == (found["perturbation"] > facts["far"]).sum()
    assert f"{facts['doubtful']:,} (" in lines[2] and "in doubt" in lines[2]
    command = lines[3].removeprefix("see them: ")
    assert parser().parse_args(shlex.split(command)[1:]).color == "perturbation"
    assert main(["info", str(folder)]) == 0
    after = capsys.readouterr().out
    assert "tsne-ooc trust" not in after and "scored: " in after and lines[1] in after and lines[2] in after
    assert main(["trust", str(folder)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_columns_of_pictures_and_pages(told, tmp_path):
    run = open_run(told / "a map")
    for name in NAMES:
        found = column_of(name, N, run)
        wanted = np.array(run.trust[name])
        if name == "singularity":
            wanted = np.minimum(wanted, np.sort(wanted)[int(0.99 * (N - 1))])
            assert np.isfinite(found).all()
        np.testing.assert_array_equal(found, wanted)
    out = tsne_ooc.view.view(told / "a map", "recall", columns=("word", "perturbation"), out=tmp_path / "page.html")
    page = out.read_text()
    assert '"name":"recall"' in page and '"name":"perturbation"' in page
    pytest.importorskip("matplotlib")
    words = ["plot", str(told / "a map"), "--color", "singularity", "--out", str(tmp_path / "a.png")]
    assert main([*words, "--quiet"]) == 0


def test_a_column_of_that_name_and_a_run_that_is_not_scored(told, tmp_path):
    pd.DataFrame(rows(), columns=[f"c{j}" for j in range(P)]).assign(recall=np.arange(N) / 7).to_parquet(
        tmp_path / "cells.parquet"
    )
    embed(tmp_path / "cells.parquet", out=tmp_path / "map", columns=["c0", "c1"], sample=100, tsne=TSNE(**FEW))
    run = open_run(tmp_path / "map")
    np.testing.assert_allclose(column_of("recall", N, run), np.arange(N) / 7, rtol=1e-6)
    with pytest.raises(ValueError, match=r"'perturbation'.*after tsne-ooc trust"):
        column_of("perturbation", N, run)
    assert trust(tmp_path / "map").trust is not None
    assert column_of("recall", N, run).max() <= 1


@pytest.mark.parametrize("ending", [".h5", ".csv", ".parquet", ".zarr"])
def test_exports_have_them(told, tmp_path, ending):
    if ending == ".zarr":
        pytest.importorskip("zarr")
    run = open_run(told / "a map")
    path = export(told / "a map", tmp_path / f"map{ending}")
    if ending == ".h5":
        with h5py.File(path) as file:
            found = {name: file[name][:] for name in (*NAMES, "novelty")}
    elif ending == ".zarr":
        import zarr

        found = {name: zarr.open_group(path, mode="r")[name][:] for name in (*NAMES, "novelty")}
    else:
        found = pd.read_csv(path) if ending == ".csv" else pd.read_parquet(path)
        assert list(found.columns) == ["tsne1", "tsne2", "novelty", *NAMES, "sampled"]
    for name in NAMES:
        np.testing.assert_allclose(np.asarray(found[name], np.float32), run.trust[name], rtol=1e-7)
    np.testing.assert_allclose(np.asarray(found["novelty"], np.float32), run.novelty, rtol=1e-7)


def test_anndata_has_them_as_columns_of_obs_and_loses_those_of_an_older_map(home, tmp_path):
    with h5py.File(tmp_path / "cells.h5ad", "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        obs = file.create_group("obs")
        obs.attrs.update({"_index": "_index", "encoding-type": "dataframe", "encoding-version": "0.2.0"})
        obs.attrs["column-order"] = np.array([], h5py.string_dtype())
        obs["_index"] = [f"cell{i}" for i in range(N)]
    run = trust(copied(home, "embedded", tmp_path))
    with pytest.warns(UserWarning, match="its rows are taken to be those of"):
        export(run.folder, tmp_path / "cells.h5ad")
    with h5py.File(tmp_path / "cells.h5ad") as file:
        order = [one if isinstance(one, str) else one.decode() for one in file["obs"].attrs["column-order"]]
        assert sorted(order) == sorted(["tsne_novelty", *(f"tsne_{name}" for name in NAMES)])
        for name in NAMES:
            np.testing.assert_array_equal(file["obs"][f"tsne_{name}"][:], run.trust[name])
    with (
        pytest.raises(FileExistsError, match="obs\\['tsne_recall'\\]"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        export(run.folder, tmp_path / "cells.h5ad")
    with pytest.warns(UserWarning, match="its rows are taken to be those of"):
        export(home / "placed", tmp_path / "cells.h5ad", overwrite=True)
    with h5py.File(tmp_path / "cells.h5ad") as file:
        assert not any(f"tsne_{name}" in file["obs"] for name in NAMES) and "tsne_novelty" in file["obs"]
        order = [one if isinstance(one, str) else one.decode() for one in file["obs"].attrs["column-order"]]
        assert order == ["tsne_novelty"]


def test_rows_of_a_source_are_streamed(home, tmp_path, wanted):
    found = trust(copied(home, "embedded", tmp_path), open_source(home / "X.npy"), block_rows=7)
    assert bytes_of(found) == wanted
