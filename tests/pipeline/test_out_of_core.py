"""A refinement whose neighbours and affinities lie on disk ends with the bits of one in memory, and leaves nothing."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest

import tsne_ooc
from tsne_ooc import TSNE, FixedSigma, Multiscale, Refinement, Uniform, _memory
from tsne_ooc import cli as command
from tsne_ooc.neighbors import IVF
from tsne_ooc.scratch import JointOnDisk, joint, plan, plan_memory
from tsne_ooc.storage import mapped

QUICK = {"perplexity": 8, "early_exaggeration_iter": 10, "n_iter": 20, "random_state": 0, "n_jobs": 2}
FEW = {"n_iter": 15}


def rows(n=600, p=6, seed=0):
    """Groups, a quarter of which are copies of one row, and some more that are there twice."""
    rng = np.random.default_rng(seed)
    X = rng.normal(0, 6, (5, p))[rng.integers(0, 5, n)] + rng.normal(size=(n, p))
    X[rng.integers(0, n, n // 4)] = X[0]
    X[rng.integers(0, n, n // 10)] = X[1]
    return X.astype(np.float32)


X = rows()


@pytest.fixture(scope="module")
def model():
    return TSNE(**QUICK, sample=150).fit(X)


@pytest.fixture
def out_of_core(monkeypatch):
    """Nothing fits into memory, and pieces and ranges are of a few rows."""
    monkeypatch.setattr(plan, "MUTUAL", 20_000)
    monkeypatch.setattr(joint, "EDGES", 2_000)
    monkeypatch.setattr("tsne_ooc.gradients.attraction.ENTRIES", 500)
    monkeypatch.setattr("tsne_ooc.fit.out_of_core.BLOCK", 700)
    monkeypatch.setattr("tsne_ooc.scratch.neighbors.BLOCK", 900)
    monkeypatch.setattr("tsne_ooc.fit.searched.BLOCK", 900)
    made = []
    real = JointOnDisk.hold

    def hold(self, entries):
        made.append(self)
        return real(self, entries)

    monkeypatch.setattr(JointOnDisk, "hold", hold)
    return made


def gigabytes(more):
    return _memory.used_bytes() / 1e9 + more


OPTIONS = [
    {}, {"affinity": Uniform(10)}, {"affinity": Multiscale((3, 8))}, {"affinity": FixedSigma(2.0, 20)},
    {"neighbors": IVF(lists=12, probes=6)},
]  # fmt: skip


def everything(refined):
    return [refined.embedding_, refined.novelty_, refined.kl_divergence_, refined.novelty_threshold_]


@pytest.mark.parametrize("options", OPTIONS, ids=["default", "uniform", "multiscale", "sigma", "ivf"])
def test_the_bits_of_memory(options, model, out_of_core, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "MUTUAL", 2)
    monkeypatch.setattr("tsne_ooc.gradients.attraction.ENTRIES", 500)
    expected = everything(model.refine(X, **FEW, **options))
    assert not out_of_core
    monkeypatch.setattr(plan, "MUTUAL", 20_000)
    for held, jobs in ((0, 1), (3_000, 2), (None, 3)):
        if held is not None:
            real = JointOnDisk.hold
            monkeypatch.setattr(JointOnDisk, "hold", lambda self, entries, real=real, held=held: real(self, held))
        found = model.refine(X, memory=gigabytes(0.3), scratch=tmp_path, n_jobs=jobs, **FEW, **options)
        for one, other in zip(everything(found), expected, strict=True):
            np.testing.assert_array_equal(one, other)
    assert len(out_of_core) == 3
    assert not list(tmp_path.iterdir())


def test_copies_name_the_copies_that_they_name_in_memory(out_of_core, tmp_path, monkeypatch):
    """Half of the rows are equal, so that many more copies than neighbours are there."""
    Y = X.copy()
    Y[::2] = Y[0]
    model = TSNE(**QUICK, sample=150).fit(Y)
    found = model.refine(Y, memory=gigabytes(0.3), scratch=tmp_path, **FEW)
    monkeypatch.setattr(plan, "MUTUAL", 2)
    np.testing.assert_array_equal(found.embedding_, model.refine(Y, **FEW).embedding_)
    assert len(out_of_core) == 1


def test_a_fit_that_goes_on_may_go_on_out_of_core(model, out_of_core, monkeypatch):
    monkeypatch.setattr(plan, "MUTUAL", 2)
    refined = model.refine(X, **FEW)
    expected = model.refine(X, **FEW).continue_fit(5).embedding_
    monkeypatch.setattr(plan, "MUTUAL", 20_000)
    monkeypatch.setattr(plan, "available_bytes", lambda: 10**9)
    np.testing.assert_array_equal(refined.continue_fit(5).embedding_, expected)
    assert len(out_of_core) == 1


def test_all_rows_equal(out_of_core, tmp_path):
    Y = np.ones((300, 4), np.float32)
    model = TSNE(**QUICK, sample=100).fit(Y)
    found = model.refine(Y, memory=gigabytes(0.3), scratch=tmp_path, **FEW)
    assert np.isfinite(found.embedding_).all()


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_perplexity_that_is_too_large_is_said_once(on_disk, model, out_of_core, tmp_path, monkeypatch):
    if not on_disk:
        monkeypatch.setattr(plan, "MUTUAL", 2)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model.refine(X[:100], memory=gigabytes(0.3), scratch=tmp_path, perplexity=50, **FEW)
    assert len(out_of_core) == on_disk
    assert sum(str(one.message).startswith("perplexity=50 is too large") for one in said) == 1


def test_scratch_that_cannot_be_is_refused_before_the_work(model, tmp_path, monkeypatch):
    monkeypatch.setattr(type(model), "place_prepared", None)
    with pytest.raises(FileNotFoundError, match=r"scratch='.*nowhere' is not a folder; make it, or name another one"):
        model.refine(X, scratch=tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        model.refine(X, scratch=tmp_path / "file")
    real = open

    def mounts(path, *arguments, **options):
        if str(path) != "/proc/self/mounts":
            return real(path, *arguments, **options)
        (tmp_path / "mounts").write_text(f"/dev/vda / ext4 rw 0 0\ntmpfs {tmp_path} tmpfs rw 0 0\n")
        return real(tmp_path / "mounts", *arguments, **options)

    monkeypatch.setattr("io.open", mounts)
    with pytest.raises(OSError, match=r"is kept in memory \(tmpfs\), and scratch is there to spare it; name a folder"):
        model.refine(X, scratch=tmp_path)


@pytest.mark.parametrize("memory", [0, -1, "four", float("nan"), True])
def test_memory_is_a_number_of_gigabytes(model, memory):
    with pytest.raises((ValueError, TypeError), match="memory="):
        model.refine(X, memory=memory)


# ------------------------------------------------------------------------------------------------------------- runs


def files_of(folder):
    return {path.name: path.read_bytes() for path in [*folder.glob("*.npy"), *folder.glob("model/*.npy")]}


def embedded(out, resume=False, **refine):
    refine = {"neighbors": IVF(lists=12, probes=6), **refine}
    tsne, refine = TSNE(**{**QUICK, "random_state": None}), Refinement(snapshot_every=4, **FEW, **refine)
    return tsne_ooc.embed(X, out=out, sample=150, tsne=tsne, refine=refine, resume=resume)


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "map"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tsne_ooc.gradients.attraction.ENTRIES", 500)
        embedded(folder)
    return files_of(folder)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["in the run's folder", "elsewhere"])
def test_a_run_out_of_core_leaves_the_files_of_one_in_memory(elsewhere, in_memory, out_of_core, tmp_path):
    scratch = {"scratch": tmp_path} if elsewhere else {}
    embedded(tmp_path / "map", memory=gigabytes(0.3), **scratch)
    assert files_of(tmp_path / "map") == in_memory
    # The affinities of the sample, and of all rows.
    assert len(out_of_core) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["map"]


def test_pages_that_are_given_back_all_the_time_change_nothing(in_memory, out_of_core, tmp_path, monkeypatch):
    """As where the process holds all that it may, throughout the search."""
    memory, given, forget = gigabytes(0.3), [], mapped.forget_given
    limits, bounded = [], mapped.bounded
    monkeypatch.setattr(mapped, "forget_given", lambda: given.append(1) or forget())
    monkeypatch.setattr(mapped, "bounded", lambda most, relief: limits.append(most) or bounded(most, relief))
    monkeypatch.setattr(_memory, "used_bytes", lambda: 1 << 60)
    embedded(tmp_path / "map", memory=memory)
    assert files_of(tmp_path / "map") == in_memory
    assert len(given) > 20 and {*limits} == {None, int(1e9 * memory)}


def test_a_run_that_began_in_memory_goes_on_out_of_core(in_memory, out_of_core, tmp_path, monkeypatch):
    """The budget is not what a run is asked for: it may be another one when it is called again."""
    real, kept = tsne_ooc.storage.write_folder, []

    def write(path, kind, *arguments, **options):
        real(path, kind, *arguments, **options)
        kept.extend([kind] * (kind == "snapshot"))
        if len(kept) == 2:
            raise OSError("the plug was pulled")

    monkeypatch.setattr(plan, "MUTUAL", 2)
    monkeypatch.setattr("tsne_ooc.storage.write_folder", write)
    with pytest.raises(OSError, match="the plug"):
        embedded(tmp_path / "map")
    monkeypatch.setattr("tsne_ooc.storage.write_folder", real)
    monkeypatch.setattr(plan, "MUTUAL", 20_000)
    assert not out_of_core
    embedded(tmp_path / "map", resume=True, memory=gigabytes(0.3))
    assert len(out_of_core) == 1
    assert files_of(tmp_path / "map") == in_memory


def test_too_little_memory_for_a_run_is_refused_before_the_table_is_read(tmp_path):
    with pytest.raises(MemoryError, match=r"^0\.10 GB of memory are too little for 600 rows with 24 neighbours each"):
        embedded(tmp_path / "map", memory=0.1)
    assert not (tmp_path / "map" / "embedding.npy").exists()


def test_the_command_has_both(in_memory, out_of_core, tmp_path):
    np.save(tmp_path / "X.npy", X)
    (tmp_path / "scratch").mkdir()
    told = ["--refine", "--memory", str(gigabytes(0.3)), "--scratch", str(tmp_path / "scratch")]
    out = tmp_path / "map"
    assert command.main(["embed", str(tmp_path / "X.npy"), "--out", str(out), "--sample", "150", "--quiet", *told]) == 0
    assert len(out_of_core) == 2
    assert not list((tmp_path / "scratch").iterdir())


def test_memory_is_of_refinements(tmp_path, capsys):
    np.save(tmp_path / "X.npy", X)
    assert command.main(["embed", str(tmp_path / "X.npy"), "--out", str(tmp_path / "map"), "--memory", "3"]) != 0
    assert "--memory is for maps of all rows together; add --refine" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------ kills


KILLED = """
import os, sys, signal, numpy as np
from tsne_ooc import TSNE, _memory
from tsne_ooc.scratch import plan, joint
plan.MUTUAL, joint.EDGES = 20_000, 2000
X, calls, at = np.load(sys.argv[1]), [0], int(sys.argv[3])
model = TSNE(perplexity=8, early_exaggeration_iter=2, n_iter=2, random_state=0, sample=150).fit(X)
real = os.pwrite
def pwrite(*arguments):
    calls[0] += 1
    if calls[0] == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
os.pwrite = pwrite
model.refine(X, memory=_memory.used_bytes() / 1e9 + .3, scratch=sys.argv[2], n_iter=2)
print(calls[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="files without a name from the first moment on are of Linux")
@pytest.mark.parametrize("at", [1, 3, 60, 200])
def test_a_kill_leaves_no_scratch(at, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    np.save(tmp_path / "X.npy", X)
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "X.npy", scratch, str(at)], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert not list(scratch.iterdir())


# --------------------------------------------------------------------------------------------------------- the plan


def test_the_plan_adds_up():
    """By hand: 450 MB of program; neighbours of 8 bytes; entries, two for each neighbour, of 8 bytes or of 4."""
    n, k = 1_000_000, 90
    whole = plan_memory(n, k, memory=100)
    assert not whole.on_disk and whole.scratch == 0
    assert whole.stages[-1].memory == 450e6 + n * (12 + 88 + 100) + 50e6 + 2 * n * k * 8
    # The search has the neighbours alone; affinities have them, their order, the edges of blocks, and what is made.
    assert whole.stages[0] == plan.Stage("search", 450e6 + 8 * n * k)
    assert whole.stages[1] == plan.Stage("affinities", 450e6 + (8 + 4 + 2) * n * k + 2 * n * k * 8 + 16 * n)
    # Rows and their search three times as they are read.
    assert plan_memory(n, k, columns=50, memory=100).memory == whole.memory + 3 * 4 * n * 50
    # In files, what moves them is in memory only where it begins and ends, in double precision.
    descent = 450e6 + n * (24 + 56) + 50e6
    for memory in (0.7, 2.0, 3.0):
        some = plan_memory(n, k, memory=memory, columns=50)
        assert some.on_disk and some.memory <= memory * 1e9
        assert some.stages[-1].memory == descent + some.held * 8
        assert some.held == min(2 * n * k, int((memory * 1e9 - descent) // 8))
        assert some.scratch == 8 * n * k + 4 * n + 36 * n * k
        # k-means takes 32 rows of 50 columns for each of 10,000 lists. Rows, and once more with a column and a length;
        # places, steps, gains, slopes and the places that follow.
        search = 450e6 + 30 * n + 4 * 50 * (320_000 + 2 * 10_000) + 1e8
        assert some.stages[0] == plan.Stage("search", search, 8 * n * k + 4 * n * (50 + 51 + 1))
        assert some.stages[-1].scratch == 2 * n * k * 8 + 5 * 8 * n
    with pytest.raises(MemoryError, match=r"search takes 1\.35 GB; allow more by memory=, or ask for fewer"):
        plan_memory(n, k, memory=1.1, at_once=True)
    # The more columns, the more the sample takes, which has 2^19 rows at most; with few it is the hashes of all rows.
    assert plan.search_bytes(n, 20) == plan.search_bytes(n, 0) == 85 * n + 1e8
    assert plan.search_bytes(10 * n, 2000) == 300 * n + 8000 * (2**19 + 2 * 2**16) + 1e8
    # With ten times as many rows it is the search that takes the most, whatever the number of neighbours.
    with pytest.raises(MemoryError, match=r"search takes 1\.40 GB; allow more by memory=$"):
        plan_memory(10 * n, 15, memory=0.6)
    equal = plan_memory(n, 15, memory=1.2, values=False)
    assert equal.stages[-1].memory <= 1.2e9
    assert "on disk" in str(some) and "in memory" in str(whole)


@pytest.mark.parametrize("n", [1_000, 10**6, 10**8])
def test_a_budget_too_small_says_how_much_is_needed_and_that_is_enough(n):
    with pytest.raises(
        MemoryError, match=r"^0\.01 GB of memory are too little for .* rows with 90 neighbours"
    ) as caught:
        plan_memory(n, 90, memory=0.01)
    needed = float(str(caught.value).split(" takes ")[1].split(" GB")[0])
    assert plan_memory(n, 90, memory=needed + 0.01).memory <= (needed + 0.01) * 1e9


def test_more_memory_never_takes_more_scratch():
    plans = [plan_memory(10**6, 90, memory=memory) for memory in np.arange(0.75, 8, 0.25)]
    assert all(a.scratch >= b.scratch and a.held <= b.held for a, b in itertools.pairwise(plans))


def test_rows_that_have_no_numbers_are_refused():
    with pytest.raises(ValueError, match="can be numbered"):
        plan_memory(2**32, 15, memory=1e6)
