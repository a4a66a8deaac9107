"""Snapshots of the loop: gone on from any of them, it ends with the bits of a loop that nothing ended."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tsne_ooc._parallel import Threads
from tsne_ooc.affinity import Perplexity
from tsne_ooc.fit.optimize import minimise
from tsne_ooc.fit.snapshot import Snapshot
from tsne_ooc.fit.watch import Watch
from tsne_ooc.gradients.repulsion import FieldRepulsion
from tsne_ooc.joint import symmetrize
from tsne_ooc.neighbors import Exact
from tsne_ooc.schedule import Phase, Schedule
from tsne_ooc.storage.state import Saved, StateError

ONE = Threads(1)
N = 160


@pytest.fixture(scope="module")
def problem():
    """Affinities of groups of rows, a start, and the numbers of equal rows, of which some are far from each other."""
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(N, 4)) + 5 * rng.normal(size=(4, 4))[rng.integers(0, 4, N)]).astype(np.float32)
    X[::20] = X[0]
    indices, distances = Exact().build(X, rng=rng, threads=ONE).query_self(18)
    P = symmetrize(indices, Perplexity(6).conditional(distances, ONE), ONE)
    equal = np.arange(N)
    equal[::20] = 0
    return P, (2 * rng.normal(size=(N, 2))).astype(np.float32), equal


COURSES = {
    "phases": Schedule([Phase(7, 12.0, 0.8), Phase(5, (4.0, 1.0), 0.9), Phase(11, 1.0, 0.9), Phase(3, 1.0, 0.5)]),
    "one": Schedule([Phase(13, 1.0, 0.8)]),
    # So slow that each phase ends by patience, after two looks.
    "patience": Schedule([Phase(40, 2.0, 0.0, 1e-3), Phase(30, 1.0, 0.0, 1e-3)], patience=2),
    # So fast that the map bursts, which is warned of once.
    "leaping": Schedule([Phase(6, 1.0, 0.9, 1e9), Phase(6, 1.0, 0.9)]),
}
FIELDS = ("exact", "field")


def run(problem, schedule, field, snapshot=None, keep=None, told=None, every=3):
    P, start, equal = problem
    looks = [] if told is None else told
    watch = Watch(
        [lambda i, error, Y: looks.append((i, error, Y.tobytes()))], every, schedule.patience,
        keep=keep, keep_every=1,
    )  # fmt: skip
    # Without it few rows have no grid, whose shape is of the past, too.
    repulsion = FieldRepulsion(1.0, ONE) if field == "field" else None
    return minimise(P, start, schedule, threads=ONE, watch=watch, repulsion=repulsion, equal=equal, snapshot=snapshot)


def kept(snapshot):
    """As another process reads it: through JSON, and with arrays of its own."""
    content, arrays = snapshot.state()
    return Saved(json.loads(json.dumps(content)), {name: array.copy() for name, array in arrays.items()})


def same(one, other):
    assert one.embedding.tobytes() == other.embedding.tobytes()
    assert (one.kl_divergence, one.iterations, one.stopped) == (other.kl_divergence, other.iterations, other.stopped)
    for a, b in zip(one.motion[:4], other.motion[:4], strict=True):
        assert a.tobytes() == b.tobytes()
    assert one.motion[4:] == other.motion[4:]


@pytest.mark.filterwarnings("ignore:most rows still took the longest step")
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("course", sorted(COURSES))
def test_from_every_snapshot_it_ends_with_the_same_bits(problem, course, field):
    schedule, found, looks = COURSES[course], [], []
    whole = run(problem, schedule, field, keep=lambda snapshot: found.append(kept(snapshot)), told=looks)
    # One before each iteration but the first.
    assert [saved.content["done"] for saved in found] == list(range(1, whole.iterations))
    if course == "patience":
        assert whole.iterations < schedule.iterations and whole.stopped == "converged"
    for saved in found:
        rest = []
        again = run(problem, schedule, field, Snapshot.restore(saved, N, 2), told=rest)
        same(again, whole)
        # Whoever watches is told of the rest, as before.
        assert rest == [look for look in looks if look[0] > saved.content["done"]]


def test_the_same_without_snapshots_and_with_other_looks(problem):
    """To keep a snapshot, or to look at the divergence, moves nothing."""
    schedule = COURSES["phases"]
    whole = run(problem, schedule, "field", keep=kept)
    same(run(problem, schedule, "field", every=1000), whole)
    found = []
    run(problem, schedule, "field", keep=lambda snapshot: found.append(kept(snapshot)), every=1000)
    same(run(problem, schedule, "field", Snapshot.restore(found[10], N, 2)), whole)


def test_what_bursts_is_warned_of_after_a_snapshot_too(problem):
    found, schedule = [], COURSES["leaping"]
    with pytest.warns(RuntimeWarning, match="iteration 6 of 12"):
        run(problem, schedule, "exact", keep=lambda snapshot: found.append(kept(snapshot)))
    with pytest.warns(RuntimeWarning, match="iteration 6 of 12"):
        run(problem, schedule, "exact", Snapshot.restore(found[8], N, 2))


def test_progress_counts_all_iterations(problem):
    P, start, _ = problem
    found, told = [], []
    watch = Watch(
        keep=lambda snapshot: found.append(kept(snapshot)), keep_every=4, progress=lambda *at: told.append(at)
    )
    minimise(P, start, COURSES["one"], threads=ONE, watch=watch)
    assert [saved.content["done"] for saved in found] == [4, 8, 12]
    assert told == [(i, 13) for i in range(1, 14)]
    told.clear()
    minimise(P, start, COURSES["one"], threads=ONE, watch=watch, snapshot=Snapshot.restore(found[1], N, 2))
    # None is kept right where it began.
    assert told == [(i, 13) for i in range(9, 14)] and len(found) == 4


def test_an_interrupt_leaves_the_snapshots_before_it(problem):
    schedule, found = COURSES["phases"], []

    def keep(snapshot):
        if snapshot.done == 12:
            raise KeyboardInterrupt
        found.append(kept(snapshot))

    broken = run(problem, schedule, "field", keep=keep)
    assert (broken.stopped, broken.iterations) == ("interrupted", 12)
    same(run(problem, schedule, "field", Snapshot.restore(found[-1], N, 2)), run(problem, schedule, "field"))


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("done", -1),
        ("phase", "0"),
        ("best", "x"),
        ("grid", [1.0]),
        ("grid", [0, 8, 8]),
        ("leaping", 3),
        ("since", None),
    ],
)
def test_what_cannot_be_is_refused(problem, name, value, field):
    found = []
    run(problem, COURSES["one"], field, keep=lambda snapshot: found.append(kept(snapshot)))
    saved = found[0]
    Snapshot.restore(saved, N, 2)
    with pytest.raises(StateError):
        Snapshot.restore(Saved({**saved.content, name: value}, saved.arrays), N, 2)
    with pytest.raises(StateError):
        Snapshot.restore(saved, N + 1, 2)
    with pytest.raises(StateError):
        Snapshot.restore(Saved(saved.content, {**saved.arrays, "gains": saved.arrays["gains"] * np.nan}), N, 2)


@pytest.mark.parametrize(
    ("history", "says"),
    [
        ([], "has a history of other columns"),
        ({"iteration": [1]}, "has a history of other columns"),
        ("shorter", "has a history whose columns differ in length"),
        ("words", "has a history that holds other things than numbers"),
    ],
)
def test_a_history_that_cannot_be_is_refused(problem, history, says):
    found = []
    run(problem, COURSES["one"], "exact", keep=lambda snapshot: found.append(kept(snapshot)))
    content = dict(found[-1].content)
    columns = content["history"]
    if isinstance(history, str):
        first, *others = columns
        history = {first: [1], **{name: [] if history == "shorter" else ["x"] for name in others}}
    with pytest.raises(StateError, match=f"{says}$"):
        Snapshot.restore(Saved({**content, "history": history}, found[-1].arrays), N, 2)
    assert Snapshot.restore(Saved({**content, "history": None}, found[-1].arrays), N, 2).history == ()
