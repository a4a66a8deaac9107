"""A run whose last files cannot be written says so in a line, and goes on; one whose files were changed does not."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from test_said_first import Halves

import tsne_ooc
from tsne_ooc import TSNE, Refinement, embed, merge, open_run, place, storage
from tsne_ooc.neighbors import Exact
from tsne_ooc.pipeline import fitted, merging, neighbors, trust
from tsne_ooc.pipeline.models import digest_of
from tsne_ooc.pipeline.placer import MapPlacer
from tsne_ooc.pipeline.trusting import ScoresRows, _made
from tsne_ooc.preprocess import Missing, Preparation

N = 150
FEW = {"perplexity": 5, "early_exaggeration_iter": 6, "n_iter": 6, "random_state": 0}


def rows(seed=0):
    return np.random.default_rng(seed).normal(size=(N, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    np.save(folder / "X.npy", rows())
    TSNE(**FEW).fit(rows()[:100]).save(folder / "model")
    embed(folder / "X.npy", out=folder / "map", sample=100, tsne=TSNE(**FEW))
    for first, last in ((0, 60), (60, N)):
        place(folder / "model", folder / "X.npy", out=folder / f"part{first}", rows=(first, last))
    return folder


def full(*arguments, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


CALLS = {
    "embed": lambda home, out, **more: embed(home / "X.npy", out=out, sample=100, tsne=TSNE(**FEW), **more),
    "refined": lambda home, out, **more: embed(
        home / "X.npy", out=out, sample=100, tsne=TSNE(**FEW), refine=Refinement(n_iter=6, reference=120), **more
    ),
    "place": lambda home, out, **more: place(home / "model", home / "X.npy", out=out, **more),
    # Its rows are in an order of their own, which is a file too.
    "neighbors": lambda home, out, **more: neighbors(home / "X.npy", out=out, k=10, search="ivf", **more),
    "merge": lambda home, out, resume=False: merge([home / "part0", home / "part60"], out=out),
}


@pytest.mark.parametrize("task", CALLS)
def test_a_manifest_that_cannot_be_written(home, tmp_path, monkeypatch, task):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(storage, "seal", full)
        patch.setattr(merging, "seal", full)
        with pytest.raises(OSError, match="could not be written") as caught:
            CALLS[task](home, out)
    assert str(caught.value) == f"{out} could not be written: No space left on device"
    assert type(caught.value) is OSError and caught.value.__cause__.errno == errno.ENOSPC
    # What a merge made of the parts is gone; all else waits to go on.
    assert not (out / "manifest.json").exists() and out.exists() == (task != "merge")
    CALLS[task](home, out, resume=True)
    CALLS[task](home, tmp_path / "whole")
    for path in sorted((tmp_path / "whole").glob("*.npy")):
        assert (out / path.name).read_bytes() == path.read_bytes(), path.name


def test_scores_whose_manifest_cannot_be_written(home, tmp_path, monkeypatch):
    folder = tmp_path / "map"
    shutil.copytree(home / "map", folder)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "seal", full)
        with pytest.raises(OSError, match="could not be written") as caught:
            trust(folder)
    assert str(caught.value) == f"{folder / 'trust'} could not be written: No space left on device"
    assert open_run(folder).trust is None
    assert set(trust(folder, resume=True).trust) == {"recall", "singularity", "perturbation"}


def test_a_model_that_cannot_be_put_in_its_place(home, tmp_path, monkeypatch):
    replace = os.replace

    def refuse(source, target, **options):
        if os.path.basename(target) == "model":
            full()
        replace(source, target, **options)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(fitted.os, "replace", refuse)
        with pytest.raises(OSError, match="could not be written") as caught:
            CALLS["embed"](home, out)
    assert str(caught.value) == f"{out / 'model'} could not be written: No space left on device"
    assert not (out / "model").exists() and not (out / "manifest.json").exists()
    np.testing.assert_array_equal(CALLS["embed"](home, out, resume=True).embedding, open_run(home / "map").embedding)


@pytest.mark.parametrize("task, name", [
    ("neighbors", "order"), ("neighbors", "indices"), ("neighbors", "distances"), ("refined", "sample_rows"),
    ("embed", "sample_rows"), ("embed", "embedding"), ("place", "novelty"),
])  # fmt: skip
def test_columns_that_were_changed(home, tmp_path, monkeypatch, task, name):
    """Neighbours and places of other rows, or by numbers that mean others, would be wrong without a sign of it."""
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(storage, "seal", full)
        with pytest.raises(OSError, match="could not be written"):
            CALLS[task](home, out)
    np.save(out / f"{name}.npy", np.load(out / f"{name}.npy")[::-1])
    with pytest.raises(ValueError, match=rf"{name}\.npy"):
        CALLS[task](home, out, resume=True)
    assert not (out / "manifest.json").exists()


@pytest.mark.parametrize("task", ["embed", "refined"])
def test_a_model_that_is_another_one(home, tmp_path, monkeypatch, task):
    """A map of other rows places new ones elsewhere, and the manifest would not say so."""
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(storage, "seal", full)
        with pytest.raises(OSError, match="could not be written"):
            CALLS[task](home, out)
    shutil.rmtree(out / "model")
    shutil.copytree(home / "model", out / "model")
    with pytest.raises(ValueError, match="began with") as caught:
        CALLS[task](home, out, resume=True)
    assert str(caught.value) == (
        f"the model in {out / 'model'} is not the one that this run began with; remove {out} to begin again"
    )
    assert not (out / "manifest.json").exists()


class Mine(Exact):
    """A search that no file can hold."""


def test_a_run_whose_model_no_file_holds(home, tmp_path, caplog):
    """It is told why it could not go on, and is a run nevertheless."""
    with caplog.at_level(logging.WARNING):
        run = embed(home / "X.npy", out=tmp_path / "out", sample=100, tsne=TSNE(**FEW, neighbors=Mine()))
    (told,) = [one.getMessage() for one in caplog.records if "resumed" in one.getMessage()]
    assert told == (
        "this run cannot be resumed, since its model cannot be saved: a search of type Mine cannot be saved: only "
        "those of tsne_ooc can"
    )
    np.testing.assert_array_equal(run.embedding, open_run(home / "map").embedding)
    assert sorted(path.name for path in run.folder.iterdir()) == sorted(
        path.name for path in (home / "map").iterdir() if path.name != "model"
    )
    with pytest.raises(ValueError, match=r"has no saved model to go on with; remove the folder to begin again$"):
        fitted.reopened_model(run.folder, None, run.folder)


def test_a_model_that_turns_out_not_to_be_saved(home, tmp_path, monkeypatch, caplog):
    """What is found only when it is written does not cost the map."""

    def refuse(self, path):
        path.mkdir()
        raise ValueError("its index has no state")

    monkeypatch.setattr(MapPlacer, "save", refuse)
    with caplog.at_level(logging.WARNING):
        run = CALLS["embed"](home, tmp_path / "out")
    assert [one.getMessage() for one in caplog.records] == [
        "this run cannot be resumed, since its model cannot be saved: its index has no state"
    ]
    np.testing.assert_array_equal(run.embedding, open_run(home / "map").embedding)
    assert not any(path.is_dir() for path in run.folder.iterdir())


def test_parts_that_are_no_list_or_of_another_version(home, tmp_path):
    for parts in (str(home / "part0"), home / "part0"):
        with pytest.raises(TypeError, match=r"^parts=.*part0'\)? is one folder; give a list of them$"):
            merge(parts, out=tmp_path / "out")
    shutil.copytree(home / "part60", tmp_path / "old")
    content = storage.read_folder(tmp_path / "old", "map").content
    content["job"]["tsne_ooc"] = "0.0.1"
    arrays = [path.name for path in (tmp_path / "old").glob("*.npy")]
    storage.seal(tmp_path / "old", "map", content, {name.removesuffix(".npy"): name for name in arrays})
    with pytest.raises(ValueError, match="does not belong to") as caught:
        merge([home / "part0", tmp_path / "old"], out=tmp_path / "out")
    assert str(caught.value) == (
        f"{tmp_path / 'old'} does not belong to {home / 'part0'}: tsne_ooc was {tsne_ooc.__version__}, is 0.0.1"
    )
    assert not (tmp_path / "out").exists()


def test_an_estimator_that_no_file_holds_places_rows_too(tmp_path):
    """Rows that lack a value get no place, also where a block has no others."""
    X = rows()
    X[30:60, 2] = np.nan
    np.save(tmp_path / "X.npy", X)
    run = embed(
        tmp_path / "X.npy", out=tmp_path / "out", sample=50, tsne=Halves(), prepare=Preparation([Missing("drop")]),
        block_rows=15,
    )  # fmt: skip
    np.testing.assert_array_equal(run.embedding, np.where(np.isnan(X).any(axis=1)[:, None], np.nan, X[:, :2] / 2))
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match=r"^executor= needs a map that can be saved"):
        embed(tmp_path / "X.npy", out=tmp_path / "other", sample=50, tsne=Halves(), executor=pool)
    assert not (tmp_path / "other").exists()


def test_scores_of_another_run_are_not_made(home):
    """A worker that opens the folder later than it was asked finds by its digest that the run is another one."""
    asked = ScoresRows(None, str(home / "map"), "0" * 64, (), ("recall",), 1)
    assert digest_of(home / "map") != "0" * 64
    with pytest.raises(ValueError, match=r"map holds another run than that which is to be scored$"):
        _made(asked)


@pytest.mark.parametrize("change", ["other", "impossible"])
def test_a_graph_of_all_rows_that_was_changed_is_not_gone_on_with(home, tmp_path, change):
    """What is kept of a refinement is known by its digest; one that no search makes is told by the file."""

    class Stop(Exception):
        pass

    def stop(phase, done, total):
        if phase == "refine" and done:
            raise Stop

    out = tmp_path / "out"
    asked = {"out": out, "sample": 100, "tsne": TSNE(**FEW), "refine": Refinement(n_iter=30)}
    with pytest.raises(Stop):
        embed(home / "X.npy", progress=stop, **asked)
    (graph,) = {path.parent for path in out.rglob("manifest.json") if "model" not in path.parts}
    kind = storage.kind_of(graph)
    found = storage.read_folder(graph, kind)
    arrays = {name: np.array(values) for name, values in found.arrays.items()}
    distances = next(name for name, values in arrays.items() if values.dtype.kind == "f" and "distances" in name)
    arrays[distances] = arrays[distances] * 2 if change == "other" else arrays[distances][:-1]
    shutil.rmtree(graph)
    storage.write_folder(graph, kind, found.content, arrays)
    with pytest.raises(ValueError, match="to begin again") as caught:
        embed(home / "X.npy", resume=True, **asked)
    if change == "other":
        assert str(caught.value) == f"{graph} is not what this run began with; remove {out} to begin again"
    else:
        file = storage.read_folder(graph, kind).files[distances]
        assert str(caught.value).startswith(f"{file}: ")
        assert str(caught.value).endswith(f"; remove {out} to begin again") and "\n" not in str(caught.value)
    assert not (out / "manifest.json").exists()
