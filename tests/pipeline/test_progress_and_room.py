"""What runs tell while they go, each phase from its beginning to its end, and the room that they ask for beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tsne_ooc import TSNE, Refinement, embed, place
from tsne_ooc.fit.rows import at_once
from tsne_ooc.io import as_source
from tsne_ooc.pipeline import neighbors, trust
from tsne_ooc.pipeline.folder import Folder
from tsne_ooc.pipeline.models import bytes_fitted
from tsne_ooc.pipeline.refining import Course, Keep, Move, Search
from tsne_ooc.preprocess import Preparation, Standardize
from tsne_ooc.scratch import Room

N, SAMPLE = 120, 50
QUICK = {"perplexity": 5, "early_exaggeration_iter": 6, "n_iter": 6, "random_state": 0}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A table and a map of it."""
    folder = tmp_path_factory.mktemp("home")
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32))
    embed(folder / "x.npy", out=folder / "map", sample=SAMPLE, tsne=TSNE(**QUICK))
    return folder


def embedded(home, out, **options):
    return embed(home / "x.npy", out=out, sample=SAMPLE, tsne=TSNE(**QUICK), **options)


def scored(home, out, **options):
    embedded(home, out)
    return trust(out, **options)


ALL = {"sample": [SAMPLE], "fit": [SAMPLE], "place": [N]}
#: What is done, and the totals of its phases in their order.
RUNS = {
    "embed": (embedded, ALL),
    "prepared": (
        lambda home, out, **options: embedded(home, out, prepare=Preparation([Standardize()]), **options),
        {"prepare": [N], **ALL},
    ),
    "rounds": (
        lambda home, out, **options: embedded(home, out, rounds=2, **options),
        # A row that the sample did not know joins it.
        {"sample": [SAMPLE], "fit": [SAMPLE, SAMPLE + 1], "look": [N], "place": [N]},
    ),
    "refined": (
        lambda home, out, **options: embedded(home, out, refine=Refinement(n_iter=7), **options),
        {**ALL, "search": [N], "weigh": [N], "refine": [7], "keep": [N]},
    ),
    "place": (
        lambda home, out, **options: place(home / "map", home / "x.npy", out=out, **options), {"place": [N]},
    ),
    "some rows": (
        lambda home, out, **options: place(home / "map", home / "x.npy", rows=(10, 65), out=out, **options),
        {"place": [55]},
    ),
    "trust": (scored, {"trust": [N]}),
    "neighbors": (
        lambda home, out, **options: neighbors(home / "x.npy", k=7, out=out, **options), {"read": [N], "search": [N]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_each_phase_is_told_from_its_beginning_to_its_end(home, tmp_path, name):
    """In the order of the work; a phase that has a beginning begins with nothing done, and ends with all."""
    run, wanted = RUNS[name]
    events = []
    run(home, tmp_path / "out", progress=lambda *event: events.append(event), block_rows=40)
    assert list(dict.fromkeys(phase for phase, _, _ in events)) == list(wanted)
    for phase, totals in wanted.items():
        found = [(done, total) for one, done, total in events if one == phase]
        parts = [[done for done, whole in found if whole == total] for total in totals]
        assert [total for _, total in found] == sorted(total for _, total in found) and len(found) == sum(
            map(len, parts)
        )
        for dones, total in zip(parts, totals, strict=True):
            assert dones == sorted(dones) and dones[-1] == total
            if phase in ("place", "look", "trust", "read") or (name, phase) == ("neighbors", "search"):
                # A block at a time, as blocks of the whole table are.
                assert dones == ([0, 30, 55] if name == "some rows" else [*range(0, total, 40), total])
            elif phase == "refine":
                assert dones == [*range(8)]
            elif phase not in ("sample", "prepare"):
                assert dones == [0, total]


@pytest.mark.parametrize("name", ["embed", "place", "some rows", "trust"])
def test_the_room_that_is_asked_for_is_that_of_the_files(home, tmp_path, name, monkeypatch):
    """But for heads of files, manifests and what a search keeps, for which there is some slack."""
    monkeypatch.setattr("tsne_ooc.pipeline.embedding.SLACK", 0)
    asked = []
    monkeypatch.setattr(Folder, "check_room", lambda self, needed: asked.append((self.path, needed)))
    RUNS[name][0](home, tmp_path / "out")
    folder, needed = asked[-1]
    assert needed == sum(np.load(file, mmap_mode="r").nbytes for file in folder.rglob("*.npy"))


def payload(folder):
    """Bytes of all arrays that are in a folder now."""
    return sum(np.load(file, mmap_mode="r").nbytes for file in folder.rglob("*.npy"))


@pytest.mark.parametrize("reference", [None, 70])
def test_all_rows_together_never_take_more_room_than_is_asked_for(home, tmp_path, reference, monkeypatch):
    """Neighbours, two snapshots and two maps, each while it is there; and what is asked for is not far from that."""
    monkeypatch.setattr("tsne_ooc.pipeline.embedding.SLACK", 0)
    asked, most = [], {}
    monkeypatch.setattr(Folder, "check_room", lambda self, needed: asked.append(needed))
    out = tmp_path / "out"

    def look(phase, done, total):
        there = payload(out)
        most[phase] = max(most.get(phase, 0), there)
        if (phase, done) == ("search", total):
            graph = payload(out / "refine.part")
            room = Search(Course.of(refine, TSNE(**QUICK), prepared=False)).room(as_source(np.zeros((N, 4))))
            # Other searches keep the place of each row as well.
            assert graph <= room <= graph + 12 * N

    refine = Refinement(n_iter=6, snapshot_every=1, reference=reference)
    embedded(home, out, refine=refine, progress=look)
    peak = max(most.values())
    assert peak <= asked[0] <= 1.3 * peak and set(most) == {
        "sample",
        "fit",
        "place",
        "search",
        "weigh",
        "refine",
        "keep",
    }


@pytest.mark.filterwarnings("ignore:perplexity=5 is too large")
@pytest.mark.parametrize("reference", [None, 50, 120, 500])
@pytest.mark.parametrize("n", [1, 2, 60, 120, 4000])
def test_how_many_rows_are_kept_and_how_many_neighbours_searched(n, reference):
    course = Course.of(Refinement(reference=reference), TSNE(perplexity=5), prepared=False)
    assert course.kept(n) == min(n, reference or 2_000_000)
    assert course.neighbors(n) == min(15, n - 1)
    table = as_source(np.zeros((n, 7), np.float32))
    assert course.width(table) == 7
    assert Course.of(Refinement(), TSNE(), prepared=True).width(table) == 0
    # The map that is kept: rows, places and what recognises them, and where they were placed, how soon, how strange.
    m = min(n, reference or 2_000_000)
    assert Keep(course).room(table) == bytes_fitted(m, 7, 2) + m * (4 * 2 + 4 + 4)
    # Both maps are there at once; snapshots, of which each holds three numbers of each coordinate, go before the end.
    assert Move(course).room(table) == 8 * n + max(0, 2 * 3 * 8 * n - Keep(course).room(table))


def test_memory_is_planned_for_the_rows_that_are_searched(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(Room, "plan", lambda self, *given, **named: seen.append((given, named)))
    course = Course.of(Refinement(), TSNE(perplexity=5, n_components=3), prepared=False)
    course.plan(tmp_path, 900, 7)
    course.plan(tmp_path, 900, 7, begun=True)
    for (given, named), begun in zip(seen, (False, True), strict=True):
        assert given == (900, course.affinity, 3)
        assert named == {"columns": 7, "at_once": at_once(course.recipe, 900), "begun": begun}
    # What does not fit goes where it is said, and else to the folder of the run.
    assert course.space(tmp_path).folder() == tmp_path
    (tmp_path / "other").mkdir()
    named = Course.of(Refinement(scratch=tmp_path / "other"), TSNE(), prepared=False)
    assert Path(named.space(tmp_path).folder()) == tmp_path / "other"


def test_rows_that_would_be_left_out_cannot_move_together(tmp_path):
    X = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)
    X[5] = np.nan
    options = {"tsne": TSNE(metric="nan_euclidean", **QUICK), "sample": SAMPLE}
    with pytest.raises(
        ValueError, match=r"^row 5 has no value in any column, and refine moves all rows; leave such rows"
    ):
        embed(X, out=tmp_path / "out", refine=True, **options)
    assert not (tmp_path / "out").exists()
    run = embed(X, out=tmp_path / "out", **options)
    assert run.dropped_rows.tolist() == [5] and np.isnan(run.embedding[5]).all()
