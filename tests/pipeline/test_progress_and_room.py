"""What runs tell while they go, each phase from its beginning to its end, and the room that they ask for beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from tsne_ooc import TSNE, Refinement, embed, place
from tsne_ooc.pipeline import neighbors, trust
from tsne_ooc.pipeline.folder import Folder
from tsne_ooc.preprocess import Preparation, Standardize

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
