"""The loop: the divergence falls, phases and callbacks do what they say, the same bits on any number of threads."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import reference

from tsne_ooc import schedule
from tsne_ooc._context import listening
from tsne_ooc._parallel import Threads
from tsne_ooc.affinity import Perplexity
from tsne_ooc.fit import optimize
from tsne_ooc.fit.history import Note
from tsne_ooc.fit.initialization import start
from tsne_ooc.fit.optimize import _leap, minimise
from tsne_ooc.fit.snapshot import Motion, Snapshot
from tsne_ooc.fit.watch import Watch, callbacks_of
from tsne_ooc.gradients.grid import Shape
from tsne_ooc.gradients.repulsion import ExactRepulsion
from tsne_ooc.joint import symmetrize
from tsne_ooc.neighbors import Exact
from tsne_ooc.schedule import Phase, Schedule
from tsne_ooc.storage.state import Saved, StateError

ONE = Threads(1)


@pytest.fixture(scope="module")
def problem(digits):
    """P and a start of all digits."""
    from sklearn.neighbors import NearestNeighbors

    X, _ = digits
    distances, indices = NearestNeighbors(n_neighbors=91).fit(X).kneighbors()
    p = Perplexity(30).conditional(distances[:, :90].astype(np.float32), ONE)
    P = symmetrize(indices[:, :90].astype(np.uint32), p, ONE)
    return P, start("pca", X, P, 2, np.random.default_rng(0), ONE)


def run(problem, *phases, threads=ONE, **kwargs):
    return minimise(*problem, Schedule(phases), threads=threads, **kwargs)


def test_divergence_falls(problem):
    errors = []
    watch = Watch([lambda iteration, error, embedding: errors.append(error)], every=10)
    result = run(problem, Phase(60, 12.0), Phase(100, 1.0), watch=watch)
    assert len(errors) == 16
    late = errors[8:]
    assert all(b < a for a, b in itertools.pairwise(late))
    assert result.kl_divergence < late[0] < errors[0]


def test_divergence_is_that_of_the_formula(problem):
    P, _ = problem
    result = run(problem, Phase(40, 12.0), Phase(40, 1.0))
    wanted = reference.kl(P.tocsr().toarray(), result.embedding)
    assert result.kl_divergence == pytest.approx(wanted, rel=1e-4)


def test_the_default_is_no_worse_than_the_classic(problem):
    P, Y = problem
    classic = minimise(P, Y, schedule.resolve("classic"), threads=ONE)
    default = minimise(P, Y, schedule.resolve(), threads=ONE)
    assert default.iterations < classic.iterations
    assert default.kl_divergence < 1.02 * classic.kl_divergence


def test_a_plain_descent_is_that_of_numpy(problem):
    """Ten iterations without gains' luck: the loop against the update rule written out over dense matrices."""
    P, Y = problem
    P = P.tocsr().toarray()
    wanted, velocity, gains = Y.astype(float) * 1e4, np.zeros(Y.shape), np.ones(Y.shape)
    for _ in range(10):
        delta = reference.differences(wanted)
        w = reference.kernel((delta**2).sum(-1))
        np.fill_diagonal(w, 0)
        gradient = 4 * (((2.0 * P - w / w.sum()) * w)[..., None] * delta).sum(1)
        gains = np.where(np.sign(velocity) != np.sign(gradient), gains + 0.2, np.maximum(gains * 0.8, 0.01))
        velocity = 0.5 * velocity - 20.0 * gains * gradient
        wanted = wanted + velocity
    found = minimise(
        problem[0], (Y * 1e4).astype(np.float32), Schedule([Phase(10, 2.0, 0.5, 20.0)]), threads=ONE
    ).embedding
    assert reference.relative(found, wanted - wanted.mean(0)) < 1e-3


def test_threads_change_nothing(problem):
    results = [run(problem, Phase(30, 12.0), Phase(30), threads=Threads(n)) for n in (1, 2, 3)]
    assert len({(r.embedding.tobytes(), r.kl_divergence) for r in results}) == 1


def test_the_map_is_centred(problem):
    embedding = run(problem, Phase(50, 12.0)).embedding
    np.testing.assert_allclose(embedding.mean(0, dtype=np.float64), 0, atol=1e-4)


def test_a_true_callback_stops(problem):
    seen = []

    def callback(iteration, error, embedding):
        seen.append((iteration, error, embedding.shape, embedding.dtype))
        return iteration >= 20

    result = run(problem, Phase(100, 12.0), watch=Watch([callback], every=10))
    assert [iteration for iteration, *_ in seen] == [10, 20]
    assert seen[0][2:] == (problem[1].shape, np.float32)
    assert (result.iterations, result.stopped) == (20, "callback")


def test_callbacks_cannot_move_the_map(problem):
    def callback(iteration, error, embedding):
        embedding[:] = 0

    plain = run(problem, Phase(20, 12.0))
    watched = run(problem, Phase(20, 12.0), watch=Watch([callback], every=5))
    np.testing.assert_array_equal(watched.embedding, plain.embedding)


def test_an_interrupt_returns_the_map_so_far(problem):
    def callback(iteration, error, embedding):
        if iteration == 20:
            raise KeyboardInterrupt

    result = run(problem, Phase(100, 12.0), watch=Watch([callback], every=10))
    assert (result.iterations, result.stopped) == (20, "interrupted")
    np.testing.assert_array_equal(result.embedding, run(problem, Phase(20, 12.0)).embedding)


def stops_at(errors, patience):
    """The look at which it has been long enough: so many after one from which no later one falls by a thousandth."""
    mark = 0
    while mark + patience < len(errors):
        lower = [
            look
            for look in range(mark + 1, mark + 1 + patience)
            if errors[mark] - errors[look] > abs(errors[mark]) / 1e3
        ]
        if not lower:
            return mark + patience
        mark = lower[0]
    return None


@pytest.mark.parametrize(
    "errors",
    [
        [5, 4, 3, 2, 1, 1, 1, 1],
        [5, 5, 5, 5],
        [-100, -120, -120.05, -120.05, -120.05, -120.05],
        [3, 2, 2.5, 2.5, 1, 1, 1, 1],
        [9, 8, 7, 6, 5, 4, 3, 2],
        [2, 1.9985, 1.997, 1.9955, 1.994],
        [0, 0, 0, 0],
    ],
)
@pytest.mark.parametrize("patience", [1, 2, 3])
def test_patience_counts_looks_without_a_fall(errors, patience):
    from tsne_ooc.fit.watch import Stalled

    stalled = Stalled(patience)
    found = next((look for look, error in enumerate(errors) if stalled(error)), None)
    assert found == stops_at(errors, patience)


def test_stops_when_the_divergence_no_longer_falls(problem):
    looks = []
    watch = Watch([lambda iteration, error, embedding: looks.append((iteration, error))], every=10, patience=3)
    # Two looks at the early phase are too few to end it.
    result = run(problem, Phase(20, 12.0), Phase(5000), watch=watch)
    assert result.stopped == "converged"
    assert 100 < result.iterations < 4000
    late = [error for iteration, error in looks if iteration > 20]
    assert stops_at(late, 3) == len(late) - 1


def test_a_phase_that_goes_no_further_leads_to_the_next(problem):
    seen = []
    watch = Watch([lambda iteration, error, embedding: seen.append(iteration)], every=10, patience=2)
    result = run(problem, Phase(3000, 12.0, name="early"), Phase(50, (4.0, 1.0)), Phase(30, 1.0), watch=watch)
    assert result.stopped == "finished"
    # The early phase ended by itself, the two others in full: at 30 iterations there are too few looks.
    assert 80 < result.iterations < 2500
    assert (result.motion.phase, result.motion.exaggeration) == (Phase(30, 1.0), 1.0)
    assert seen == list(range(10, result.iterations + 1, 10))


def test_a_fit_that_was_stopped_has_the_exaggeration_that_it_had(problem):
    watch = Watch([lambda iteration, error, embedding: iteration >= 10], every=10)
    result = run(problem, Phase(11, (12.0, 2.0)), Phase(50, 1.0), watch=watch)
    assert result.stopped == "callback"
    assert result.motion.exaggeration == 3.0
    assert run(problem).motion[-2:] == (None, 1.0)


@pytest.mark.parametrize(("rate", "remedy"), [(9.0, "a smaller learning_rate or"), ("auto", "a larger exaggeration=")])
def test_a_map_that_is_lost_is_named(problem, rate, remedy):
    calls = []

    def repulsion(Y, slope):
        calls.append(0)
        slope[:] = np.nan if len(calls) == 8 else 0
        return 1.0

    with pytest.raises(FloatingPointError, match=f"iteration 8 of 50: .*use {remedy}"):
        run(problem, Phase(50, 12.0, learning_rate=rate), repulsion=repulsion)


@pytest.mark.parametrize("rate", [1e4, 1e12])
def test_a_map_that_diverges_is_told_once(problem, rate):
    message = r"still took the longest step in iteration 75 of 240: .*learning_rate=.auto"
    with pytest.warns(RuntimeWarning, match=message) as told:
        result = minimise(*problem, schedule.resolve(learning_rate=rate), threads=ONE)
    assert len(told) == 1
    # It is worth telling: with a rate that suits them these data end at 0.74.
    assert result.kl_divergence > 1.5


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_mirror_image_of_a_start_ends_as_the_mirror_image(problem, d):
    """To the bit, through every phase: no step knows left from right."""
    P = problem[0]
    start = np.random.default_rng(1).normal(size=(P.n, d)).astype(np.float32)
    start -= start.mean(axis=0)
    plan = schedule.resolve(early_exaggeration_iter=10, n_iter=40)
    there, mirrored = (
        minimise(P, side * start, plan, threads=ONE, repulsion=ExactRepulsion(1.0, ONE)).embedding
        for side in (np.float32(1), np.float32(-1))
    )
    np.testing.assert_array_equal(there, -mirrored)


def test_a_map_that_nothing_holds_together_is_told_by_its_exaggeration(problem):
    """No rate was given, so none can be lowered; on the command line there is no such option at all."""
    with pytest.warns(RuntimeWarning, match=r"exaggeration of 0\.001 hardly.*use a larger exaggeration= \(1") as told:
        minimise(*problem, schedule.resolve(exaggeration=1e-3), threads=ONE)
    assert "rate" not in str(told[0].message)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("n", [3, 50, 300])
@pytest.mark.parametrize("plan", ["auto", "classic"])
def test_ordinary_maps_do_not_diverge(n, d, plan):
    """Warnings are errors: rows of which nothing is known, where a map can do least."""
    X = np.random.default_rng(n).normal(size=(n, 5)).astype(np.float32)
    k = min(90, n - 1)
    indices, distances = Exact().build(X, threads=ONE).query_self(k)
    P = symmetrize(indices, Perplexity(k / 3).conditional(distances, ONE), ONE)
    first = start("random", X, P, d, np.random.default_rng(0), ONE)
    for exaggeration in (None, 4.0):
        minimise(P, first, schedule.resolve(plan, exaggeration=exaggeration), threads=ONE)


def test_no_iterations_leave_the_start(problem):
    result = run(problem, Phase(0))
    wanted = problem[1] - problem[1].mean(0)
    np.testing.assert_allclose(result.embedding, wanted, atol=1e-10)


def test_bar_shows_phase_divergence_and_rate(problem, capfd):
    run(problem, Phase(20, 12.0, name="early"), watch=Watch(every=10, verbose=True))
    shown = capfd.readouterr().err
    assert "early" in shown
    assert "KL " in shown
    assert "it/s" in shown


def test_what_can_be_gone_on_from_is_not_the_map_itself(problem):
    """The map is moved to the middle, and belongs to whoever has it; the places are those of the last step."""
    result = run(problem, Phase(3, 12.0))
    places = result.motion.places.copy()
    assert not np.shares_memory(places, result.embedding)
    np.testing.assert_allclose(places - places.mean(axis=0, dtype=float), result.embedding, atol=1e-9)
    result.embedding[:] = 7
    np.testing.assert_array_equal(result.motion.places, places)


def test_start_is_not_changed(problem):
    before = problem[1].copy()
    run(problem, Phase(10))
    np.testing.assert_array_equal(problem[1], before)


def test_exaggeration_courses():
    phase = Phase(11, (12.0, 2.0))
    assert [phase.exaggeration_at(i) for i in (0, 5, 10)] == [12.0, 7.0, 2.0]
    assert Phase(5, 3.0).exaggeration_at(4) == 3.0
    assert phase.rate_at(10, 10_000) == 5000
    assert phase.rate_at(0, 6) == 0.5
    assert Phase(5, 3.0, learning_rate=7.0).rate_at(0, 10_000) == 7.0


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.8, 0.93])
def test_two_rows_swing_apart_just_beyond_the_bearable_rate(momentum):
    """The bound of `Phase.bearable` is where descent with momentum on ``4 p (y_i - y_j)`` begins to grow."""
    p, exaggeration = 0.3, 2.0
    bound = Phase(10, exaggeration, momentum).bearable(0) / schedule.STEADY / p

    def swing(rate):
        y, v = np.array([1e-9, -1e-9]), np.zeros(2)
        for _ in range(2000):
            v = momentum * v - rate * 4 * exaggeration * p * (y - y[::-1])
            y = y + v
        return abs(y[0] - y[1])

    assert swing(0.99 * bound) < 2e-9 < swing(1.01 * bound)
    assert Phase(10, learning_rate=7.0).bearable(0) == np.inf


def test_classic_is_the_classic():
    early, late = schedule.resolve("classic")
    assert (early.iterations, early.exaggeration, early.momentum) == (250, 12.0, 0.8)
    assert (late.iterations, late.exaggeration, late.momentum) == (500, 1.0, 0.8)


def test_the_default_and_that_of_a_refinement_are_those_of_the_documentation():
    """docs/decisions.md: 75 iterations at exaggeration 12, 30 down from 4, 110 at 1, 25 to settle; 175 in all."""
    told = [(75, 12), (30, (4, 1)), (110, 1), (25, 1)]
    assert [(phase.iterations, phase.exaggeration) for phase in schedule.resolve("auto")] == told
    late = [phase for phase in schedule.resolve("refine") if phase.iterations]
    assert sum(phase.iterations for phase in late) == 175 and late[-1].iterations == 25


def test_options_shape_the_schedule():
    plan = schedule.resolve(
        exaggeration=4, early_exaggeration=20, early_exaggeration_iter=7, n_iter=9, learning_rate=3.0
    )
    assert plan.phases[0].exaggeration_at(0) == 20
    assert plan.phases[0].iterations == 7
    assert plan.iterations == 16
    last = plan.phases[-1]
    assert last.exaggeration_at(last.iterations - 1) == 4
    assert {phase.learning_rate for phase in plan} == {3.0}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Phase(-1), "iterations=-1 must be at least 0"),
        (lambda: Phase(5, exaggeration=0), "exaggeration=0"),
        (lambda: Phase(5, exaggeration=(1, 2, 3)), "one number or two"),
        (lambda: Phase(5, momentum=1.0), "must be less than 1"),
        (lambda: Phase(5, learning_rate=np.inf), "learning_rate=inf"),
        (lambda: Phase(5, learning_rate=np.nan), "learning_rate=nan"),
        (lambda: Phase(5, learning_rate=1e30), r"learning_rate=1e\+30 must be at most 1e\+12"),
        (lambda: Phase(5, learning_rate="fast"), "neither 'auto' nor a number"),
        (lambda: schedule.resolve("clasic"), "did you mean 'classic'"),
        (lambda: schedule.resolve(n_iter=-5), "n_iter=-5"),
        (lambda: schedule.resolve(early_exaggeration_iter=-5), "early_exaggeration_iter=-5"),
    ],
)
def test_schedules_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_types_refused():
    with pytest.raises(TypeError, match="made of Phase objects"):
        Schedule([3])
    with pytest.raises(TypeError, match="not a whole number"):
        Phase(2.5)
    with pytest.raises(TypeError, match="cannot be called"):
        callbacks_of([print, 3])


def test_all_are_told_also_after_one_that_wants_to_stop(problem):
    told = []
    watch = Watch([lambda *at: told.append("first") or True, lambda *at: told.append("second")], every=4)
    result = run(problem, Phase(9, 12.0), Phase(9), watch=watch)
    assert told == ["first", "second"] and (result.iterations, result.stopped) == (4, "callback")


def test_whoever_is_shown_another_view_of_the_map_is_all_else_as_before():
    keep, progress, seen = print, len, []
    watch = Watch(
        [lambda *at: seen.append(at), lambda i, error, Y: error > 1],
        7,
        3,
        True,
        keep=keep,
        keep_every=4,
        progress=progress,
    )
    other = watch.through(lambda Y: 2 * Y)
    assert (other.every, other.patience, other.verbose) == (7, 3, True)
    assert (other.keep, other.keep_every, other.progress) == (keep, 4, progress)
    assert [callback(5, 1.5, 21) for callback in other.callbacks] == [None, True]
    assert seen == [(5, 1.5, 42)]
    plain = Watch()
    assert (plain.callbacks, plain.every, plain.patience, plain.verbose) == ([], 50, None, False)
    assert (plain.keep, plain.keep_every, plain.progress) == (None, 25, None)


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ({}, False), ({"callbacks": [print]}, True), ({"patience": 1}, True), ({"patience": 0}, True),
        ({"verbose": True}, True), ({"keep": print, "progress": print}, False),
    ],
)  # fmt: skip
def test_who_needs_to_know_the_divergence(options, needed):
    assert Watch(**options).needs_error() is needed


def test_when_a_snapshot_is_due():
    assert [done for done in range(12) if Watch(keep=print, keep_every=4).keeps(done)] == [4, 8]
    assert not any(Watch(keep_every=4).keeps(done) for done in range(12))


@pytest.mark.parametrize(
    ("n", "fast", "leaps"), [(49, 49, False), (50, 25, False), (50, 26, True), (51, 26, True), (200, 100, False)]
)
def test_a_map_leaps_where_more_than_half_of_its_rows_do(n, fast, leaps):
    """Of fifty rows and more; those leap whose step was cut to the longest one, which is five units."""
    for slow, quick in ((4.94, 4.96), (0.0, 5.0)):
        velocity = np.full((n, 2), slow / np.sqrt(2), np.float32)
        velocity[:fast] = np.float32([0.6, -0.8]) * np.float32(quick)
        assert _leap(velocity) is leaps


def test_who_listens_is_told_of_each_iteration(problem):
    told = []
    with listening(lambda *at: told.append(at)):
        run(problem, Phase(3, 12.0), Phase(2))
    assert told == [(i, 5) for i in range(1, 6)]
    run(problem, Phase(3, 12.0))
    assert len(told) == 5


@pytest.mark.parametrize("callbacks", [None, print, [print, len], (), (print,)])
def test_one_callback_several_or_none(callbacks):
    wanted = [] if callbacks is None else [callbacks] if callable(callbacks) else list(callbacks)
    assert callbacks_of(callbacks) == wanted


@pytest.mark.parametrize(
    ("callbacks", "says"),
    [(5, "callbacks=5 is neither a function nor several"), ([print, "x"], "callbacks: 'x' cannot be called")],
)
def test_what_is_no_callback(callbacks, says):
    with pytest.raises(TypeError) as caught:
        callbacks_of(callbacks)
    assert str(caught.value) == says


def snapshot(d=2, **changes):
    """A state of ten rows, as another process reads it."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(10, d)).astype(np.float32) for _ in range(3)]
    motion = Motion(*arrays, np.ones(d, np.float32), Shape(0.35, (60, 80, 40)[:d]), Phase(7), 1.0)
    content, arrays = Snapshot(motion, 1, 4, 30, 2.5, 3, "", (Note(25, 1.0, 2.0, 0.5),)).state()
    content = json.loads(json.dumps(content))
    return Saved({**content, **changes}, arrays)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_snapshot_comes_back(d):
    found = Snapshot.restore(snapshot(d), 10, d)
    assert (found.phase, found.iteration, found.done, found.best, found.since, found.leaping) == (1, 4, 30, 2.5, 3, "")
    assert found.motion.grid == Shape(0.35, (60, 80, 40)[:d]) and found.history == (Note(25, 1.0, 2.0, 0.5),)
    # The phase is that of the schedule, which whoever goes on has.
    assert (found.motion.phase, found.motion.exaggeration) == (None, 1.0)
    for name, array in found.state()[1].items():
        np.testing.assert_array_equal(array, snapshot(d).arrays[name])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"best": None}, None),
        ({"grid": None}, None),
        ({"history": None}, None),
        ({"phase": 0, "iteration": 0, "done": 0, "since": 0}, None),
        ({"best": 3}, " has a divergence that is not a number"),
        ({"best": [2.5]}, " has a divergence that is not a number"),
        ({"grid": [0.35, 60]}, " has a grid of another shape"),
        ({"grid": [0.35, 60, 80, 40]}, " has a grid of another shape"),
        ({"grid": [0.35, 60, 0]}, " has a grid of another shape"),
        ({"grid": [0, 60, 80]}, " has a grid of another shape"),
        ({"grid": "ab"}, " has a grid of another shape"),
        ({"phase": -1}, f"phase=-1 is not a whole number from 0 to {2**62}"),
        ({"iteration": -1}, f"iteration=-1 is not a whole number from 0 to {2**62}"),
        ({"done": -1}, f"done=-1 is not a whole number from 0 to {2**62}"),
        ({"since": -1}, f"since=-1 is not a whole number from 0 to {2**62}"),
        ({"leaping": 0}, "'leaping' is not a string"),
        ({"history": {}}, " has a history of other columns"),
    ],
)
def test_a_snapshot_that_cannot_be_is_refused(change, says):
    if says is None:
        assert Snapshot.restore(snapshot(**change), 10, 2).motion.places.shape == (10, 2)
        return
    with pytest.raises(StateError) as caught:
        Snapshot.restore(snapshot(**change), 10, 2)
    assert str(caught.value) == says


def test_a_bar_and_the_history_go_on_where_a_snapshot_was(problem, monkeypatch):
    """And not from the beginning again."""
    made, kept = [], []
    plain = optimize.Bar
    monkeypatch.setattr(optimize, "Bar", lambda *given: made.append(plain(*given)) or made[-1])
    phases = Phase(20, 12.0, name="early"), Phase(20, 1.0)
    watch = Watch(keep=lambda snapshot: kept.append(snapshot.done), keep_every=15)
    whole = run(problem, *phases, watch=watch)
    assert kept == [15, 30]

    def copied(snapshot):
        places, velocity, gains, *rest = snapshot.motion
        kept.append(snapshot._replace(motion=Motion(places.copy(), velocity.copy(), gains.copy(), *rest)))

    run(problem, *phases, watch=Watch(keep=copied, keep_every=30))
    again = run(problem, *phases, watch=Watch(verbose=True), snapshot=kept[-1])
    bar = made[-1]._bar
    assert (bar.total, bar.n, bar.initial) == (40, 40, 30)
    np.testing.assert_array_equal(again.embedding, whole.embedding)
    assert again.history == whole.history and [note.iteration for note in again.history] == [25]
