"""A run is a list of stages: those of the user's are done, timed, told, resumed and named as ours are."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from faults import sums
from scipy.spatial.distance import cdist

from tsne_ooc import TSNE, embed, place
from tsne_ooc.io import as_source
from tsne_ooc.pipeline import Mapped, open_run
from tsne_ooc.stages import Kept, RowStage, RunStage, Work, drive
from tsne_ooc.storage.ledger import Ledger

X = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
QUICK = {"perplexity": 5, "n_iter": 4, "early_exaggeration_iter": 4, "random_state": 0}


class Stop(Exception):
    pass


def options(out, **more):
    return {"out": out, "sample": 60, "tsne": TSNE(**QUICK), "block_rows": 50, **more}


@dataclass(frozen=True)
class Nearest(RowStage):
    """How far each row is from the nearest row of the sample, times a factor."""

    factor: float = 1.0
    name = "nearest"
    makes = ("extra.npy",)

    def shapes(self, work):
        return {"extra": (work.table.shape[0],)}

    def table(self, work):
        return work.get(Mapped).placer.table_of(work.table)

    def compute(self, work):
        index = work.get(Mapped).placer.estimator.map_.model.index
        return lambda first, rows: {"extra": np.float32(self.factor) * index.query(rows, 1)[1][:, 0]}

    def summary(self, work):
        return {"largest": float(np.load(work.folder / "extra.npy").max())}


@dataclass(frozen=True)
class Digest(RunStage):
    """The sum of a file that an earlier stage wrote, in a file of its own."""

    name = "digest"
    makes = ("digest.txt",)

    def run(self, work):
        (work.folder / "digest.txt").write_text(found := self.of(work))
        return {"sha256": found}

    def reopen(self, work, facts):
        if self.of(work) != facts["sha256"]:
            raise ValueError(f"extra.npy is another one; remove {work.folder}")

    def of(self, work):
        return hashlib.sha256((work.folder / "extra.npy").read_bytes()).hexdigest()


def stopping(phase, at):
    def progress(now, done, total):
        if now == phase and done >= at:
            raise Stop

    return progress


def test_a_stage_that_follows_the_placing(tmp_path):
    told = []
    run = embed(X, **options(tmp_path / "map", then=Nearest(), progress=lambda *given: told.append(given)))
    expected = cdist(X, X[run.sample_rows]).min(axis=1)
    np.testing.assert_allclose(run.arrays["extra"], expected, atol=1e-3)
    assert (run.arrays["extra"] > 0.1).sum() == 240
    assert [given for given in told if given[0] == "nearest"] == [("nearest", done, 300) for done in range(0, 301, 50)]
    assert list(run.manifest["seconds"]) == ["sample", "fit", "place", "nearest"]
    assert run.manifest["then"] == {"nearest": {"largest": run.arrays["extra"].max()}}
    assert open_run(run.folder, verify=True).arrays.keys() == {"embedding", "novelty", "sample_rows", "extra"}
    alone = embed(X, **options(tmp_path / "alone"))
    mine = sums(run.folder)
    assert {name: mine[name] for name in sums(alone.folder)} == sums(alone.folder) and "then" not in alone.manifest
    # A finished run is the one that is asked for, or another.
    assert embed(X, **options(run.folder, then=Nearest(), resume=True)).manifest == run.manifest
    for other in ((), Nearest(2.0), [Nearest(), Digest()]):
        with pytest.raises(ValueError, match="holds the result of another run: then"):
            embed(X, **options(run.folder, then=other, resume=True))


@pytest.mark.parametrize("door", [embed, place])
@pytest.mark.parametrize("phase, at", [("place", 100), ("nearest", 0), ("nearest", 150), ("nearest", 300)])
def test_it_goes_on_where_it_was(tmp_path, door, phase, at):
    first = embed(X, **options(tmp_path / "first"))

    def run(name, **more):
        then = [Nearest(), Digest()]
        if door is embed:
            return embed(X, **options(tmp_path / name, then=then, **more))
        return place(first.folder, X + 1, out=tmp_path / name, block_rows=50, then=then, **more)

    whole = run("whole")
    with pytest.raises(Stop) as caught:
        run("map", progress=stopping(phase, at))
    assert caught.value.__notes__ == [f"what is done is kept in {tmp_path / 'map'}; go on with resume=True (--resume)"]
    ledger = Ledger.read(tmp_path / "map" / "ledger.json")
    assert (ledger.entry("place").facts is None) == (phase == "place")
    assert ledger.entry(phase).n_rows == at and ledger.entry("digest").facts is None
    told = []
    found = run("map", resume=True, progress=lambda *given: told.append(given))
    assert next(given[1] for given in told if given[0] == phase) == at
    if phase == "nearest":
        assert all(given[0] == "nearest" for given in told), "what is done is done"
    assert sums(found.folder) == sums(whole.folder)
    assert sorted(path.name for path in found.folder.iterdir()) == sorted(path.name for path in whole.folder.iterdir())
    varies = ("seconds", "memory_gb", "job")
    assert {name: value for name, value in found.manifest.items() if name not in varies} == {
        name: value for name, value in whole.manifest.items() if name not in varies
    }
    if phase == "nearest" and door is embed:
        assert found.manifest["seconds"]["fit"] == ledger.entry("fit").seconds > 0
        assert found.manifest["seconds"]["sample"] == ledger.entry("sample").seconds + ledger.entry("prepare").seconds


def test_rows_of_it_that_are_damaged_are_refused(tmp_path):
    with pytest.raises(Stop):
        embed(X, **options(tmp_path / "map", then=Nearest(), progress=stopping("nearest", 150)))
    part = tmp_path / "map" / "extra.npy.part"
    whole = bytearray(part.read_bytes())
    whole[200] ^= 4
    part.write_bytes(whole)
    with pytest.raises(ValueError, match=r"extra\.npy\.part is damaged") as caught:
        embed(X, **options(tmp_path / "map", then=Nearest(), resume=True))
    assert not getattr(caught.value, "__notes__", ())


def test_what_it_made_is_removed_with_a_run_that_fails_before_the_fit(tmp_path):
    (tmp_path / "map").mkdir()
    with pytest.raises(Stop):
        embed(X, **options(tmp_path / "map", then=[Nearest(), Digest()], progress=stopping("fit", 0)))
    assert list((tmp_path / "map").iterdir()) == []


def test_what_is_no_stage_is_told_before_the_work(tmp_path):
    with pytest.raises(TypeError, match=r"then='nearest' is not a tsne_ooc\.stages\.RunStage object"):
        embed(X, **options(tmp_path / "map", then=["nearest"]))
    with pytest.raises(ValueError, match=r"each stage has a name of its own, .*nearest, nearest"):
        embed(X, **options(tmp_path / "map", then=[Nearest(), Nearest()], progress=stopping("sample", 0)))
    assert not (tmp_path / "map").exists()


# ------------------------------------------------------------------------------------------------------- the driver


class Step(RunStage):
    """Notes what it is asked for; what it leaves is its name."""

    def __init__(self, name, log, *, keeps, fails=False, phase=None):
        self.name, self.log, self.keeps, self.fails, self.of = name, log, keeps, fails, phase or name

    @property
    def phase(self):
        return self.of

    def check(self, work):
        self.log.append(f"check {self.name}")

    def run(self, work):
        self.log.append(f"run {self.name}")
        if self.fails:
            raise Stop
        return {"by": (self.name,)} if self.keeps else None

    def reopen(self, work, facts):
        assert facts == {"by": [self.name]}
        self.log.append(f"reopen {self.name}")


class Home:
    def __init__(self, path):
        self.path, self.keep, self.resumable = path, False, False


def work_in(folder, table=None, **more):
    path = folder / "ledger.json"
    ledger = Ledger.read(path) if path.exists() else Ledger(path, {})
    from tsne_ooc.io.identity import identity_of

    table = as_source(X if table is None else table)
    return Work(table, kept=Kept(Home(folder), ledger, identity_of(table)), **more)


def attempt(folder, keeps, fails):
    """Stages "0", "1", ... that keep something or not, one of which fails."""
    log = []
    steps = [Step(str(at), log, keeps=kept, fails=at == fails) for at, kept in enumerate(keeps)]
    work = work_in(folder)
    with suppress(Stop):
        drive(steps, work)
    return log[len(keeps) :], work


@pytest.mark.parametrize("keeps", [(0, 0, 1, 1, 0, 1), (1, 0, 0, 0, 1, 0), (0, 0, 0, 0, 0, 0), (1, 1, 1, 1, 1, 1)])
@pytest.mark.parametrize("fails", range(6))
def test_what_is_done_is_taken_up_and_what_was_in_memory_is_done_again(tmp_path, keeps, fails):
    log, work = attempt(tmp_path, keeps, fails)
    assert log == [f"run {at}" for at in range(fails + 1)]
    last = max((at + 1 for at in range(fails) if keeps[at]), default=0)
    assert work.kept.home.keep == work.kept.home.resumable == bool(last)
    log, work = attempt(tmp_path, keeps, None)
    again = [f"reopen {at}" for at in range(last) if keeps[at]]
    assert log == again + [f"run {at}" for at in range(last, 6)]
    assert work.facts == {str(at): {"by": [str(at)]} for at in range(6) if keeps[at]}


def test_all_stages_are_checked_before_the_first_one_runs(tmp_path):
    log = []
    drive([Step(name, log, keeps=False) for name in "abc"], Work(as_source(X)))
    assert log == ["check a", "check b", "check c", "run a", "run b", "run c"]


def test_seconds_are_those_of_all_attempts_and_of_all_stages_of_a_phase(tmp_path):
    log, work = [], work_in(tmp_path)
    drive([Step("a", log, keeps=False), Step("b", log, keeps=True, phase="a")], work)
    ledger = Ledger.read(tmp_path / "ledger.json")
    for name, seconds in (("a", 40.0), ("b", 2.0)):
        entry = ledger.entry(name)
        ledger.mark(name, type(entry)(entry.facts, seconds, entry.rows))
    work = work_in(tmp_path)
    drive([Step("a", log, keeps=False), Step("b", log, keeps=True, phase="a"), Step("c", log, keeps=True)], work)
    assert work.seconds["a"] == 42.0 and list(work.seconds) == ["a", "c"]


def test_without_a_folder_stages_are_timed_and_told_and_nothing_is_kept():
    log, work = [], Work(as_source(X))
    assert (work.seed, work.block_rows, work.executor, work.kept) == (0, None, None, None)
    assert work.check_unchanged() is None and work.progress("phase", 0, 1) is None
    steps = [Step("a", log, keeps=True), Step("b", log, keeps=False, phase="a"), Step("c", log, keeps=True)]
    drive(steps, work)
    assert work.facts == {"a": {"by": ["a"]}, "c": {"by": ["c"]}}
    assert list(work.seconds) == ["a", "c"] and all(0 <= seconds < 5 for seconds in work.seconds.values())
    # In gigabytes.
    assert all(0.01 < peak < 100 for peak in work.memory.values()) and list(work.memory) == ["a", "c"]
    # Again they are done again, and their seconds add up.
    work.seconds["a"] = 40.0
    drive(steps, work)
    assert 40 <= work.seconds["a"] < 45 and log[-3:] == ["run a", "run b", "run c"]
    with pytest.raises(ValueError, match=r"^each stage has a name of its own, and these are a, b, a$"):
        drive([*steps[:2], Step("a", log, keeps=True)], work)


def test_what_is_not_worth_keeping_is_kept_until_the_next_stage_is(tmp_path):
    class Cheap(Step):
        def worth_keeping(self, facts):
            assert facts == {"by": [self.name]}
            return False

    log, work = [], work_in(tmp_path)
    drive([Cheap("a", log, keeps=True)], work)
    assert not work.kept.home.keep and not work.kept.home.resumable
    work = work_in(tmp_path)
    work.kept.home.keep = True
    drive([Cheap("a", log, keeps=True), Step("b", log, keeps=True)], work)
    assert work.kept.home.keep and work.kept.home.resumable and log[-2:] == ["reopen a", "run b"]


def test_a_list_of_ones_own(tmp_path):
    """Without `embed`: one stage that uses all that a work has."""

    class Noisy(RowStage):
        name, makes, sizes = "noisy", ("noisy.npy",), []

        def shapes(self, work):
            return {"noisy": work.table.shape}

        def compute(self, work):
            def noisy(first, rows):
                self.sizes.append(len(rows))
                noise = np.random.default_rng((work.seed, first)).normal(size=rows.shape)
                return {"noisy": rows + noise.astype(np.float32)}

            return noisy

    told = []
    drive([Noisy()], work_in(tmp_path, progress=lambda *given: told.append(given), seed=3, block_rows=100))
    expected = [X[at : at + 100] + np.random.default_rng((3, at)).normal(size=(100, 4)) for at in (0, 100, 200)]
    np.testing.assert_allclose(np.load(tmp_path / "noisy.npy"), np.concatenate(expected), atol=1e-5)
    assert Noisy.sizes == [100] * 3 and told == [("noisy", at, 300) for at in (0, 100, 200, 300)]


def test_a_stage_whose_table_changed_keeps_nothing(tmp_path):
    np.save(tmp_path / "x.npy", X)
    table = np.load(tmp_path / "x.npy", mmap_mode="r+")

    class Changing(Step):
        def run(self, work):
            table[:] = 7
            return super().run(work)

    log, work = [], work_in(tmp_path, table)
    with pytest.raises(OSError, match="changed while it was read"):
        drive([Step("a", log, keeps=True), Changing("b", log, keeps=True)], work)
    assert log[-1] == "run b" and list(Ledger.read(tmp_path / "ledger.json").stages) == ["a"]


def test_what_stages_hand_on_is_found_by_its_type():
    work = Work(as_source(X))
    assert work.find(int) is None
    with pytest.raises(LookupError, match="no stage before this one has made a int"):
        work.get(int)
    work.put(3)
    work.put(4)
    work.put("x")
    assert work.get(int) == work.take(int) == 4 and work.find(int) is None and work.get(str) == "x"


# ---------------------------------------------------------------------------------------- folders of earlier versions


def old_ledger(folder, rows):
    """A ledger as version 2 wrote it, of a run whose sample was fitted."""
    from tsne_ooc.storage.ledger import _sum

    new = Ledger.read(folder / "ledger.json")
    job = {**new.job, **new.entry("fit").facts, "seconds": {"sample": 0.1, "fit": 0.2}}
    content = {"version": 2, "job": job, "rows": rows, "sums": {}, "seconds": 0.5}
    (folder / "ledger.json").write_text(json.dumps({**content, "sha256": _sum(content)}, indent=1))


def test_an_unfinished_run_of_an_earlier_version_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(Stop):
        embed(X, **options(tmp_path / "map", progress=stopping("place", 100)))
    old_ledger(tmp_path / "map", 100)
    before = sums(tmp_path / "map")
    with pytest.raises(ValueError, match=r"ledger\.json has version 2, and .* or remove what the run left") as e:
        embed(X, **options(tmp_path / "map", resume=True))
    assert "\n" not in str(e.value) and not getattr(e.value, "__notes__", ()) and sums(tmp_path / "map") == before
    with pytest.raises(ValueError, match="has version 2"):
        embed(X, **options(tmp_path / "map"))


def test_a_finished_run_of_an_earlier_version_is_read(tmp_path):
    """Its manifest names what it made in another order, and it may have been killed before its ledger was removed."""
    from tsne_ooc import storage
    from tsne_ooc.pipeline.run import KIND

    out = tmp_path / "map"
    with pytest.raises(Stop):
        embed(X, **options(out, progress=stopping("place", 100)))
    ledger = (out / "ledger.json").read_bytes()
    run = embed(X, **options(out, resume=True))
    content = json.loads(json.dumps(run.manifest))
    content["job"]["makes"] = ["model", "saving.part", "embedding.npy", "novelty.npy", "sample_rows.npy"]
    storage.seal(out, KIND, content, {name: f"{name}.npy" for name in ("embedding", "novelty", "sample_rows")})
    (out / "ledger.json").write_bytes(ledger)
    old_ledger(out, 300)
    again = embed(X, **options(out, resume=True))
    assert again.manifest == content and open_run(out, verify=True).manifest == content
    assert not (out / "ledger.json").exists()
    more = place(out, X[:50], out=tmp_path / "more")
    assert more.embedding.shape == (50, 2)


@dataclass(frozen=True)
class Filling(RowStage):
    """Fills files of one number a row, of names and with answers that may be wrong."""

    name: str = "extra"
    makes: tuple[str, ...] = ("extra.npy",)
    file: str = "extra"
    answer: str = "extra"

    def shapes(self, work):
        return {self.file: (work.table.shape[0],)}

    def table(self, work):
        return np.load(work.folder / "embedding.npy", mmap_mode="r")

    def compute(self, work):
        return lambda first, rows: {self.answer: rows.sum(axis=1)}


def test_a_stage_reads_the_map_as_an_array(tmp_path):
    run = embed(X, out=tmp_path / "map", sample=100, tsne=TSNE(**QUICK), then=Filling())
    np.testing.assert_allclose(run.arrays["extra"], np.asarray(run.embedding).sum(axis=1), rtol=1e-6)


@pytest.mark.parametrize(
    "then, says",
    [
        (Filling(makes=("embedding.npy",)), "stage 'extra' makes embedding.npy, and so does 'place'"),
        (Filling(makes=("manifest.json",)), "makes manifest.json, and so does 'seal'"),
        (Filling(makes=("../extra.npy",)), r"makes '\.\./extra\.npy', which is not the plain name of a file"),
        (Filling(makes=(".lock",)), r"makes '\.lock', which is not the plain name of a file"),
        ([Filling(), Filling("other")], "stage 'extra' makes extra.npy, and so does 'other'"),
    ],
)
def test_a_stage_writes_over_nothing_of_another(tmp_path, then, says):
    with pytest.raises(ValueError, match=says):
        embed(X, out=tmp_path / "map", then=then)
    assert not (tmp_path / "map").exists()


@pytest.mark.parametrize(
    "then, says",
    [
        (Filling(file="lost"), "stage 'extra' fills lost.npy, which is not among what it `makes`"),
        (Filling(answer="lost"), "stage 'extra' computed lost, and its files are extra"),
    ],
)
def test_a_stage_fills_what_it_says(tmp_path, then, says):
    with pytest.raises(ValueError, match=says):
        embed(X, out=tmp_path / "map", sample=100, tsne=TSNE(**QUICK), then=then)


@pytest.mark.parametrize("then", [3, "nearest", Filling, [None]])
def test_what_is_not_a_stage_is_told_as_it_was_given(tmp_path, then):
    given = then[0] if isinstance(then, list) else then
    with pytest.raises(TypeError, match=rf"then={re.escape(repr(given))} is not a tsne_ooc\.stages\.RunStage object"):
        embed(X, out=tmp_path / "map", then=then)


def test_what_a_stage_of_ones_own_must_say_and_what_it_may_leave_out():
    class Nothing(RunStage):
        name = "nothing"

    class Files(RowStage):
        name = "files"

    for stage in (Nothing(), Files()):
        assert (stage.phase, stage.makes, stage.room(None), stage.worth_keeping({})) == (stage.name, (), 0, True)
        assert stage.check(None) is None
    assert Nothing().reopen(None, {}) is None
    for call in (Nothing().run, Files().shapes, Files().compute):
        with pytest.raises(NotImplementedError):
            call(None)
    work = SimpleNamespace(table="the table", folder="the folder")
    files = Files()
    # Without more, all is done here: no worker is asked.
    assert files.remote(work) is None and files.types(work) == {} and files.summary(work) == {}
    assert (files.table(work), files.where(work), files.first(work)) == ("the table", "the folder", 0)
