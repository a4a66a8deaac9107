"""Runs with little memory: rows, search and all that moves lie on the disk, to the bits of memory, from end to end."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from faults import fails_from

import tsne_ooc
from tsne_ooc import TSNE, Refinement, _memory
from tsne_ooc.fit import optimize, searched
from tsne_ooc.neighbors import HNSW, IVF
from tsne_ooc.pipeline import refining
from tsne_ooc.preprocess import Preparation, Standardize
from tsne_ooc.scratch import JointOnDisk, joint, plan
from tsne_ooc.storage import mapped

N, P, K = 900, 6, 24
FEW = {"perplexity": 8, "early_exaggeration_iter": 5, "n_iter": 10, "n_jobs": 2}
SHORT = {"n_iter": 15, "snapshot_every": 4, "neighbors": IVF(lists=12, probes=6)}


def rows(n=N):
    rng = np.random.default_rng(0)
    X = (rng.normal(0, 6, (5, P))[rng.integers(0, 5, n)] + rng.normal(size=(n, P))).astype(np.float32)
    X[rng.integers(0, n, n // 10)] = X[1]
    # There so often that they are searched once, for all.
    X[-80:] = X[0]
    return X


X = rows()


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Pieces and ranges of a few rows."""
    monkeypatch.setattr(joint, "EDGES", 2_000)
    monkeypatch.setattr("tsne_ooc.gradients.attraction.ENTRIES", 500)
    monkeypatch.setattr("tsne_ooc.fit.searched.BLOCK", 900)


def embedded(out, table=X, *, memory=None, scratch=None, held=None, **options):
    """A run; with `scratch` as if no memory held the affinities, but for so many of their entries."""
    refine = {**SHORT, **options.pop("refine", {}), "memory": memory, "scratch": scratch}
    options = {"sample": 150, "tsne": TSNE(**FEW), "refine": Refinement(**refine), **options}
    with pytest.MonkeyPatch.context() as patch:
        if scratch is not None:
            patch.setattr(plan, "MUTUAL", 20_000)
            hold = JointOnDisk.hold
            patch.setattr(JointOnDisk, "hold", lambda P, entries: hold(P, entries if held is None else held))
        return tsne_ooc.embed(table, out=out, **options)


def little():
    """The least that is enough, and a bit more."""
    return max(plan.PROGRAM, _memory.used_bytes()) / 1e9 + 0.2


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in [*folder.glob("*.npy"), *folder.glob("model/*.npy")]}


def all_that_is_made(monkeypatch, out, **options):
    """What lies in a run's folder at the end, its graph, and the bytes of P."""
    found = {}

    def told(affinity, k, P):
        if k == K:
            parts = [P.part(i, i + 1) for i in range(P.n)]
            entries = [slice(int(P.indptr[i]) - part.first, int(P.indptr[i + 1]) - part.first)
                       for i, part in enumerate(parts)]  # fmt: skip
            found["P"] = P.indptr.tobytes() + b"".join(
                P.part(i, i + 1).indices[some].tobytes() + P.part(i, i + 1).values[some].tobytes()
                for i, some in enumerate(entries)
            )

    def look(phase, done, total):
        if (phase, done) == ("weigh", 0):
            graph = out / refining.SCRATCH / "graph"
            found.update({f"graph/{path.name}": path.read_bytes() for path in graph.glob("*.npy")})

    with monkeypatch.context() as patch:
        patch.setattr(refining, "tell_affinities", told)
        run = embedded(out, progress=look, **options)
    return found | bytes_of(out), run


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_graph_affinities_and_places_are_the_same_for_every_memory(metric, tmp_path, monkeypatch):
    tsne = {"tsne": TSNE(**FEW, metric=metric)}
    wanted, run = all_that_is_made(monkeypatch, tmp_path / "huge", memory=1000, **tsne)
    assert {"P", "graph/neighbors.npy", "graph/distances.npy", "embedding.npy"} <= set(wanted)
    (tmp_path / "scratch").mkdir()
    for number, held in enumerate((None, 5_000, 0)):
        found, other = all_that_is_made(
            monkeypatch, tmp_path / str(number), memory=little(), scratch=tmp_path / "scratch", held=held, **tsne
        )
        assert found.keys() == wanted.keys()
        assert not [name for name, content in found.items() if content != wanted[name]]
        assert other.manifest["refined"] == run.manifest["refined"]
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("case", ["prepared", "reference", "rounds", "hnsw", "threads"])
def test_other_runs(case, tmp_path):
    """Rows that are prepared, a model of some rows, a sample that grows, a search that finds all at once."""
    options = {
        "prepared": {"prepare": Preparation([Standardize()])},
        "reference": {"refine": {"reference": 300}},
        "rounds": {"rounds": 2},
        "hnsw": {"refine": {"neighbors": HNSW(links=6)}},
        "threads": {},
    }[case]
    embedded(tmp_path / "wanted", **options)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    more = {"tsne": TSNE(**{**FEW, "n_jobs": 1}), "block_rows": 77} if case == "threads" else {}
    embedded(tmp_path / "found", memory=little(), scratch=scratch, **options, **more)
    assert bytes_of(tmp_path / "found") == bytes_of(tmp_path / "wanted")


def shapes_of(monkeypatch, out, **options):
    """Shapes of all arrays that a run has in files."""
    found, real = [], mapped.empty

    def empty(shape, dtype):
        if mapped.spared():
            found.append(tuple(shape))
        return real(shape, dtype)

    with monkeypatch.context() as patch:
        for module in (optimize, searched, "tsne_ooc.io.reading", "tsne_ooc.neighbors._blocks", mapped):
            patch.setattr(f"{module}.empty" if isinstance(module, str) else f"{module.__name__}.empty", empty)
        embedded(out, **options)
    return found


def test_what_lies_on_the_disk(tmp_path, monkeypatch):
    assert not shapes_of(monkeypatch, tmp_path / "memory")
    (tmp_path / "scratch").mkdir()
    found = shapes_of(monkeypatch, tmp_path / "disk", memory=little(), scratch=tmp_path / "scratch")
    distinct = len(np.unique(X, axis=0))
    # Rows as they are read; those that differ, as they are searched; and neighbours.
    assert {(N, P), (distinct, P), (distinct, P + 1), (N, K)} <= set(found)
    # Places before a step and after it, slopes, velocities and gains.
    assert found.count((N, 2)) == 5


def test_a_table_that_no_memory_holds_is_refined(tmp_path, monkeypatch):
    """As if there were a megabyte beyond what the program has: rows need not fit, if what they are told by does."""
    monkeypatch.setattr("tsne_ooc.io.reading.available_bytes", lambda: 1000)
    run = embedded(tmp_path / "map", memory=little(), scratch=tmp_path)
    assert np.isfinite(run.embedding).all()


# ------------------------------------------------------------------------------------------------------------ faults


@pytest.mark.parametrize("at", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite"])
def test_scratch_that_fills_up_in_the_middle(call, at, tmp_path, monkeypatch):
    """One line; and what is done is gone on with once there is room, to the same bytes."""
    embedded(tmp_path / "wanted")
    (tmp_path / "scratch").mkdir()
    options = {"memory": little(), "scratch": tmp_path / "scratch"}

    def later(phase, done, total):
        # The fit of the sample has scratch files, too; a run that fails there has nothing to go on with.
        if phase == "search":
            monkeypatch.setattr(os, call, fails_from(20 * at if call == "pwrite" else at, getattr(os, call)))

    with pytest.raises(OSError, match=r"No space left on device; make room there|disk is full; make room") as caught:
        embedded(tmp_path / "map", progress=later, **options)
    assert "\n" not in str(caught.value) and str(tmp_path / "scratch") in str(caught.value)
    assert any("resume=True" in note for note in caught.value.__notes__)
    assert not list((tmp_path / "scratch").iterdir())
    monkeypatch.undo()
    embedded(tmp_path / "map", resume=True, **options)
    assert bytes_of(tmp_path / "map") == bytes_of(tmp_path / "wanted")


@pytest.mark.parametrize("phase", ["search", "weigh", "refine"])
def test_scratch_that_vanishes_in_the_middle(phase, tmp_path):
    """Files without a name need no folder; where another one is to be made, one line says so."""
    embedded(tmp_path / "wanted")
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def vanish(at, done, total):
        if at == phase and done == 0:
            scratch.rmdir()

    with pytest.raises(FileNotFoundError, match=r"scratch.* (is not a folder|any more); make it, or name") as caught:
        embedded(tmp_path / "map", progress=vanish, memory=little(), scratch=scratch)
    assert any("resume=True" in note for note in caught.value.__notes__)
    other = tmp_path / "other"
    other.mkdir()
    embedded(tmp_path / "map", resume=True, memory=little(), scratch=other)
    assert bytes_of(tmp_path / "map") == bytes_of(tmp_path / "wanted")


@pytest.mark.parametrize("elsewhere", [False, True], ids=["in the run's folder", "elsewhere"])
def test_scratch_that_is_too_small_is_said_before_the_work(elsewhere, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    real, told = shutil.disk_usage, []

    def usage(folder):
        # 36 bytes for each of the neighbours while they are made symmetric, and little more.
        full = scratch if elsewhere else tmp_path
        return type("", (), {"free": 36 * N * K}) if full in (folder, *folder.parents) else real(folder)

    monkeypatch.setattr("shutil.disk_usage", usage)
    monkeypatch.setattr(plan, "MUTUAL", 20_000)
    refine = Refinement(**SHORT, memory=little(), scratch=scratch if elsewhere else None)
    with pytest.raises(OSError, match=r"needs [\d.]+ GB more, and .* has 0\.00 GB left$") as caught:
        tsne_ooc.embed(
            X, out=tmp_path / "map", sample=150, tsne=TSNE(**FEW), refine=refine, progress=lambda *at: told.append(at)
        )  # fmt: skip
    assert not told and "\n" not in str(caught.value) and not (tmp_path / "map").exists()


def test_too_little_memory_says_how_much_is_needed_and_that_is_enough(tmp_path):
    with pytest.raises(MemoryError, match=r"^0\.01 GB of memory are too little for 900 rows with 24") as caught:
        embedded(tmp_path / "map", memory=0.01, scratch=tmp_path)
    assert "\n" not in str(caught.value) and not (tmp_path / "map").exists()
    needed = float(str(caught.value).split(" takes ")[1].split(" GB")[0]) + 0.01
    embedded(tmp_path / "map", memory=needed, scratch=tmp_path)


def test_memory_that_was_enough_at_first_does_not_end_a_run(tmp_path, monkeypatch):
    """What the process has grows on the way, and it is too late to refuse."""
    embedded(tmp_path / "wanted")

    def grown(phase, done, total):
        if phase == "search":
            monkeypatch.setattr(plan, "used_bytes", lambda: 10**11)

    embedded(tmp_path / "map", memory=little(), scratch=tmp_path, progress=grown)
    assert bytes_of(tmp_path / "map") == bytes_of(tmp_path / "wanted")
