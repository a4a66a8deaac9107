"""What placing and training are foretold to take: seconds by a clock that only work moves, memory, and disk."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tsne_ooc import TSNE
from tsne_ooc.cli import forecast_refine, trials
from tsne_ooc.cli.forecast_place import forecast_place
from tsne_ooc.io import as_source
from tsne_ooc.pipeline.placer import MapPlacer
from tsne_ooc.sampling import UniformSample

FEW = {"perplexity": 5, "n_iter": 5, "early_exaggeration_iter": 5, "random_state": 0}
# Seconds to read a row.
READ = 0.01


class Clock:
    """A clock that goes on by what is done, and by nothing else."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(trials, "clock", clock)
    return clock


class Slow:
    """A table whose rows take their time, one by one, and which may be in chunks."""

    def __init__(self, clock, n=1200, p=3, chunk=None, dtype="f4", scales=1.0):
        self.shape, self.clock, self.dtype = (n, p), clock, np.dtype(dtype)
        self.chunks = None if chunk is None else (chunk, p)
        self.rows = (np.random.default_rng(0).normal(size=(n, p)) * scales).astype(dtype)

    def __getitem__(self, rows):
        start, stop, _ = rows.indices(self.shape[0])
        self.clock.now += READ * (stop - start)
        return self.rows[start:stop]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A map of 300 rows of three columns, of very different scales."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    X = np.random.default_rng(1).normal(size=(300, 3)) * [1.0, 1e3, 1e-3]
    TSNE(**FEW).fit(X).save(folder)
    return folder


def of_placing(saved, source, out, **options):
    given = {"rows": None, "novelty": None, "n_jobs": 1, "dataset": None, "columns": None, **options}
    return forecast_place(saved, source, Path(out), **given)


@pytest.fixture
def placing(monkeypatch, clock):
    """Rows that are placed take 2 ms each, and the first of them a minute more; and the rows that were placed."""
    tried = []

    def place(self, rows, *, novelty):
        # Of few rows, which are not those of the run: nobody is told.
        warnings.warn("there are few rows", UserWarning, stacklevel=1)
        clock.now += 2e-3 * len(rows) + (0 if tried else 60)
        tried.append((np.array(rows), novelty))
        return {}

    monkeypatch.setattr(MapPlacer, "place", place)
    return tried


@pytest.mark.parametrize("rows, n", [(None, 1200), ("100:300", 200)])
def test_placing_reads_and_places_each_row_once(saved, clock, placing, tmp_path, rows, n):
    found = of_placing(saved, Slow(clock), tmp_path, rows=rows)
    # What is compiled with the first rows is not paid for by each of them.
    assert found.seconds == {"place": pytest.approx(n * (READ + 2e-3))} and found.shape == (n, 3)
    wide = np.empty((n, 2), np.float32).nbytes + np.empty(n, np.float32).nbytes
    assert found.disk == wide and all(novelty is True for _, novelty in placing)


def test_rows_on_trial_are_near_those_of_the_table_and_take_no_seat(saved, clock, placing, tmp_path):
    table = Slow(clock, scales=[1.0, 1e3, 1e-3])
    table.rows[7, 1] = 0
    of_placing(saved, table, tmp_path)
    first, all_rows = placing[0][0], placing[1][0]
    assert len(first) < len(all_rows) == 1200 and all_rows.dtype == np.float32
    np.testing.assert_array_equal(first, all_rows[: len(first)])
    apart = np.abs(all_rows - table.rows) / table.rows.std(axis=0)
    assert apart.max() < 0.01 and (apart.max(axis=1) > 0).all() and (apart.min(axis=0) > 0).all()


@pytest.mark.parametrize("dtype, bytes", [("f2", 4), ("f4", 4), ("f8", 8)])
def test_a_chunk_of_the_table_is_held_twice_while_rows_are_placed(
    saved, clock, placing, tmp_path, monkeypatch, dtype, bytes
):
    """Once as it is stored and once as it is read, where no number takes less than one of float32."""
    monkeypatch.setattr("tsne_ooc._memory.used_bytes", lambda: 10**9)
    plain, few, many = (
        of_placing(saved, Slow(clock, dtype=dtype, chunk=chunk), tmp_path).memory for chunk in (None, 100, 300)
    )
    assert few - plain == 2 * 100 * 3 * bytes and many - plain == 2 * 300 * 3 * bytes


def test_blocks_are_held_as_they_are_stored_and_as_they_are_read(saved, clock, placing, tmp_path, monkeypatch):
    monkeypatch.setattr("tsne_ooc._memory.used_bytes", lambda: None)
    monkeypatch.setattr(trials, "BLOCKS", 7)
    monkeypatch.setattr("tsne_ooc.io.cuts.BLOCK_BYTES", 1000)
    assert of_placing(saved, Slow(clock), tmp_path).memory == 7 * (1000 + 1000)


@pytest.mark.parametrize("before, then, held", [(2, 3, 3), (3, 2, 3), (None, None, 0), (None, 2, 2)])
@pytest.mark.parametrize("free", [None, 5])
def test_memory_that_a_dry_run_takes_itself_counts(
    saved, clock, placing, tmp_path, monkeypatch, before, then, held, free
):
    told = [before, *(5 * [then])]
    monkeypatch.setattr(
        "tsne_ooc._memory.used_bytes", lambda: told.pop(0) and int(1e9 * (before if len(told) == 5 else then))
    )
    monkeypatch.setattr("tsne_ooc._memory.available_bytes", lambda: free and free * 10**9)
    monkeypatch.setattr("tsne_ooc.io.cuts.BLOCK_BYTES", 0)
    found = of_placing(saved, Slow(clock), tmp_path)
    assert found.memory == held * 10**9
    assert found.memory_free == (None if free is None else (free + (before or 0)) * 10**9)


def test_an_encoder_places_without_novelty_unless_it_is_asked_for(clock, tmp_path, monkeypatch):
    tried = []
    placer = SimpleNamespace(
        names=None, embedding=np.zeros((300, 2), np.float32), drops=False, check_table=lambda table: None,
        table_of=lambda table: table, place=lambda rows, novelty: tried.append(novelty),
    )  # fmt: skip
    told = []
    monkeypatch.setattr(
        "tsne_ooc.pipeline.placing.placer_of",
        lambda model, n_jobs, novelty: told.append((model, n_jobs, novelty)) or (None, placer, bool(novelty)),
    )
    monkeypatch.setattr(trials, "seconds_of_a_row", lambda work, rows: work(rows) or 0.5)
    found = of_placing("encoder", as_source(Slow(clock)), tmp_path)
    assert set(tried) == {False} and found.disk == np.empty((1200, 2), np.float32).nbytes
    assert found.seconds["place"] == pytest.approx(1200 * (READ + 0.5))
    tried.clear()
    found = of_placing("encoder", as_source(Slow(clock)), tmp_path, novelty=True, n_jobs=3)
    assert set(tried) == {True} and found.disk == np.empty((1200, 3), np.float32).nbytes
    assert told == [("encoder", 1, None), ("encoder", 3, True)]


def test_room_is_looked_for_where_the_folder_will_be(saved, clock, placing, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free={tmp_path: 11}[Path(folder)]))
    assert of_placing(saved, Slow(clock), tmp_path / "more").disk_free == 11


# -------------------------------------------------------------------------------------------------------------- trials


@pytest.mark.parametrize("iterations", [None, 0])
def test_an_iteration_is_a_part_of_all_that_are_tried(clock, monkeypatch, iterations):
    from tsne_ooc.fit.searched import Searched
    from tsne_ooc.pipeline.embedding import course_of
    from tsne_ooc.refinement import Refinement

    def descend(P, order, start, recipe, **options):
        clock.now += 0.25 * max(1, recipe.schedule.iterations)
        assert options["given"] is True and start.shape == (150, 2) and recipe.schedule.iterations == phases.iterations

    joint = Searched.joint

    def weighed(self, *given, **options):
        clock.now += 4.0
        return joint(self, *given, **options)

    monkeypatch.setattr("tsne_ooc.fit.rows.descend", descend)
    monkeypatch.setattr(Searched, "joint", weighed)
    course = course_of(Refinement(), TSNE(perplexity=5, random_state=0, n_jobs=1), None)
    phases = course.schedule(150)
    if iterations is not None:
        phases = SimpleNamespace(iterations=0, patience=None)
        monkeypatch.setattr(type(course), "schedule", lambda self, n: phases)
    rng = np.random.default_rng(0)
    rows, places = (rng.normal(size=(150, d)).astype(np.float32) for d in (3, 2))
    assert forecast_refine._tried(course, course.recipe, rows, places) == (4.0, 0.25)


def test_a_byte_takes_its_share_of_the_time_that_many_take(clock, monkeypatch):
    def hashed(data):
        clock.now += 3e-9 * len(data)

    monkeypatch.setattr(forecast_refine, "hashlib", SimpleNamespace(sha256=hashed))
    assert forecast_refine._seconds_a_byte() == pytest.approx(3e-9)


@pytest.mark.parametrize("drops", [False, True])
def test_a_preparation_is_tried_on_half_of_the_rows_and_on_all(clock, monkeypatch, drops):
    seen = []

    class Prepared:
        passes = 3

        def __init__(self, steps):
            assert steps == "steps"
            self.drops = drops

        def fit(self, rows, *, random_state, n_jobs):
            # What is imported for the first time is not paid for by each row.
            clock.now += (0 if seen else 60) + 2 + 1e-3 * len(rows)
            seen.append((len(rows), random_state, n_jobs))
            return self

        def transform(self, rows, *, n_jobs):
            clock.now += 5e-3 * len(rows)
            return rows * 2

    monkeypatch.setattr("tsne_ooc.preprocess.Preparation", Prepared)
    rows = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32)
    rows[7] = np.nan
    fit, row, passes, out = trials.seconds_to_prepare(rows, SimpleNamespace(steps="steps"), 4, 2)
    assert seen == [(500, 4, 2), (500, 4, 2), (1000, 4, 2)]
    assert fit(10_000) == pytest.approx(12) and row == pytest.approx(5e-3) and passes == 3
    np.testing.assert_array_equal(out, np.delete(rows * 2, 7, axis=0) if drops else rows * 2)


def test_a_search_is_tried_among_many_rows_like_some(clock, monkeypatch):
    """Rows alone are moved a little, each column by its own scale; those that have copies keep them."""
    built, asked = [], []

    def build(search, rows, **options):
        built.append(rows)
        clock.now += 0.25 * len(rows)
        return SimpleNamespace(query=lambda queries, k: asked.append((len(queries), k)))

    monkeypatch.setattr("tsne_ooc.neighbors.build", build)
    monkeypatch.setattr(trials, "seconds_of_a_row", lambda work, rows: work(rows) or 0.5)
    monkeypatch.setattr(trials, "_SEARCHED", 600)
    monkeypatch.setattr(trials, "_QUERIES", 70)
    scales = np.float32([1, 1e3, 1e-3])
    rows = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32) * scales
    rows[200:] = rows[200]
    model = TSNE(neighbors="exact")
    assert trials.seconds_to_search(model, rows, 600, 15, 0) == (0.25, 0.5)
    (many,) = built
    assert many.shape == (600, 3) and many.dtype == np.float32 and asked == [(70, 15)]
    copies = (many == rows[200]).all(axis=1)
    assert 150 < copies.sum() < 250
    near = np.array([np.abs((rows[:200] - one) / scales).max(axis=1).min() for one in many[~copies]])
    assert (near > 0).all() and 0.01 < np.median(near) < 0.5
    for column, scale in zip((many - rows.mean(axis=0)).T, scales, strict=True):
        assert 0.5 < column[~copies].std() / scale < 1.6
    # Among as many rows as there are, or fewer, they are taken as they are.
    for n in (300, 120):
        built.clear(), asked.clear()
        assert trials.seconds_to_search(model, rows, n, 1000, 0) == (0.25, 0.5)
        np.testing.assert_array_equal(built[0], rows[:n])
        assert asked == [(70, n)]
    # More rows than are usually searched among are all there, where so many were read.
    built.clear()
    monkeypatch.setattr(trials, "_SEARCHED", 200)
    trials.seconds_to_search(model, rows, 1000, 15, 0)
    assert len(built[0]) == 300


def rows_on_trial(n, size, chunk, most=3):
    """The rows that are read at each place, one by one: from the beginning of a chunk on, and none of them twice."""
    found, seen = [], set()
    for place in range(most):
        start = int((n - size) * place / 2) // chunk * chunk
        new = sorted({*range(start, min(start + size, n))} - seen)
        if not new:
            break
        seen |= {*new}
        found.append((new[0], new[-1] + 1))
        assert new == [*range(*found[-1])]
        if size == n:
            break
    return found


@pytest.mark.parametrize("n, size, chunk", [
    (1000, 1000, None), (1000, 1000, 100), (1000, 999, None), (1000, 400, None), (1000, 10, None), (1000, 10, 100),
    (1000, 334, 100), (100, 30, 7), (12, 5, 8), (3, 1, 1), (3, 1, 5), (7, 3, 2), (2, 1, None), (1, 1, None),
])  # fmt: skip
def test_rows_on_trial_are_from_three_places_and_none_is_read_twice(clock, monkeypatch, n, size, chunk):
    """A chunk is read whole for its first rows, so that they do not take more than the others."""
    table, reads, costs = Slow(clock, n, chunk=chunk), [], []

    def read(table, start, stop):
        reads.append((start, stop))
        costs.append((len(reads) ** 2) * 1e-6)
        clock.now += costs[-1]
        return table.rows[start:stop]

    monkeypatch.setattr("tsne_ooc.io.blocks.read_checked", read)
    monkeypatch.setattr("tsne_ooc.io.cuts.block_rows", lambda table: size)
    asked = []
    monkeypatch.setattr(trials, "_copied", lambda rows, fitted: asked.append((len(rows), fitted)) or 0.25)
    for most in (5000, 20):
        reads.clear(), costs.clear(), asked.clear()
        monkeypatch.setattr(trials, "_ROWS", most)
        took, rows, copies = trials.read_some(table, 7)
        assert reads == rows_on_trial(n, size, chunk or 1)
        each = [cost / max(stop - start, min(chunk or 1, n)) for cost, (start, stop) in zip(costs, reads, strict=True)]
        assert took == pytest.approx(np.median(each), rel=1e-6) and copies == 0.25
        step = max(1, size * len(reads) // most)
        np.testing.assert_array_equal(rows, np.concatenate([table.rows[a:b][::step] for a, b in reads]))
        # Copies are looked for among all rows that were read.
        assert asked == [(sum(b - a for a, b in reads), 7)]


@pytest.mark.parametrize("a_row, places", [(0.007, 3), (0.009, 2), (0.03, 2)])
def test_where_reading_is_slow_two_places_are_enough(clock, monkeypatch, a_row, places):
    """They tell what they have in common; a third one would take too long where two have."""
    monkeypatch.setattr(trials, "_READING", 1.6)
    monkeypatch.setattr("tsne_ooc.io.cuts.block_rows", lambda table: 100)
    reads = []

    def read(table, start, stop):
        reads.append(start)
        clock.now += a_row * (stop - start)
        return table.rows[start:stop]

    monkeypatch.setattr("tsne_ooc.io.blocks.read_checked", read)
    assert trials.read_some(Slow(clock), 7)[0] == pytest.approx(a_row) and len(reads) == places


def test_words_on_trial_are_read_by_their_columns(clock, monkeypatch):
    monkeypatch.setattr("tsne_ooc.io.cuts.block_rows", lambda table: 10)
    monkeypatch.setattr(trials, "_ROWS", 15)
    kinds = np.array([f"kind {at}" for at in range(100)], object)
    table = trials._Words({"a": np.arange(100.0), "kind": kinds})
    took, found, copies = trials.read_some(table, 7)
    wanted = [at for start in (0, 45, 90) for at in range(start, start + 10, 2)]
    assert (took, copies, found.column_names, found.shape) == (0, 0, ["a", "kind"], (15, 2))
    columns = found.read_columns(0, 15)
    assert columns["a"].tolist() == wanted and columns["kind"].tolist() == kinds[wanted].tolist()


@pytest.mark.parametrize("n, fitted, most, sample, others", [
    (100, 10, 5000, 10, 90), (100, 50, 5000, 50, 50), (100, 51, 5000, 50, 50), (101, 80, 5000, 50, 51),
    (100, 10, 90, 10, 90), (100, 10, 45, 10, 45), (100, 10, 44, 10, 45), (100, 10, 20, 10, 23), (2, 9, 5000, 1, 1),
])  # fmt: skip
def test_copies_are_looked_for_among_rows_that_are_not_the_sample(monkeypatch, n, fitted, most, sample, others):
    """Half of the rows stand for the sample at most, and only so many of the others are looked at."""
    monkeypatch.setattr(trials, "_ROWS", most)
    seen = []
    monkeypatch.setattr(trials, "_among", lambda one, two: seen.append((one, two)) or np.arange(len(two)) % 4 - 1)
    rows = np.arange(2.0 * n).reshape(n, 2)
    share = trials._copied(rows, fitted)
    ((one, two),) = seen
    assert (len(one), len(two)) == (sample, others)
    # The first three of four are found, of which one has the number 0.
    assert share == pytest.approx(np.mean(np.arange(others) % 4 > 0))
    assert not {*map(tuple, one.tolist())} & {*map(tuple, two.tolist())}
    assert one[0].tolist() == rows[0].tolist() and (sample == 1 or one[-1].tolist() == rows[-1].tolist())


# ------------------------------------------------------------------------------------------------------------ networks


@pytest.fixture
def network(monkeypatch, clock):
    """An encoder whose batches take 20 ms, and its decoder's 30 ms; each fit takes a second more, and the first 60."""
    pytest.importorskip("torch")
    from tsne_ooc.parametric import ParametricTSNE

    fits = []

    def fit(self, rows):
        decoded = self.decoder.n_iter if self.decoder else 0
        clock.now += 1 + 0.02 * self.n_iter + 0.03 * decoded + (0 if fits else 60)
        fits.append((self, rows))
        return self

    monkeypatch.setattr(ParametricTSNE, "fit", fit)
    return fits


@pytest.mark.parametrize("decoder", [False, True])
@pytest.mark.parametrize("n_iter", ["auto", 1000])
def test_batches_of_a_network_and_of_its_decoder(network, decoder, n_iter):
    from tsne_ooc.cli import forecast_train as tried
    from tsne_ooc.parametric import Decoder, ParametricTSNE
    from tsne_ooc.parametric.estimator import STEPS

    rows, teacher = np.zeros((300, 3), np.float32), TSNE(**FEW)
    options = {"decoder": Decoder(n_iter=700) if decoder else False, "n_iter": n_iter, "batch_size": 64}
    model = ParametricTSNE(**options, verbose=True, callbacks=print)
    found = tried._batches(model, teacher, rows, tuned=False)
    steps = STEPS if n_iter == "auto" else n_iter
    # A training has its batches and what it takes to begin.
    began = 1 + (0.02 + (0.03 if decoder else 0)) * tried._FEW
    assert 0.02 * steps + 1 <= found["train"] <= 0.02 * steps + began + 1e-9
    assert list(found) == ["train", "decoder"] if decoder else list(found) == ["train"]
    if decoder:
        assert found["decoder"] == pytest.approx(0.03 * 700)
    for fitted, some in network:
        assert fitted is not model and some is rows and fitted.verbose is False and fitted.callbacks is None
        assert fitted.batch_size == 64 and fitted.get_params(deep=False)["teacher"].perplexity == 5
    assert model.verbose and model.n_iter == n_iter and model.decoder == options["decoder"]
    few = tried._batches(ParametricTSNE(batch_size=512), teacher, rows, tuned=False)
    assert "decoder" not in few and network[-1][0].batch_size == 300


def test_a_clock_that_jumps_gives_no_time_below_nothing(network, clock, monkeypatch):
    from tsne_ooc.cli import forecast_train as tried
    from tsne_ooc.parametric import Decoder, ParametricTSNE

    def fit(self, rows):
        clock.now += max(0, 5 - 0.05 * self.n_iter - 0.05 * (self.decoder.n_iter if self.decoder else 0))

    monkeypatch.setattr(ParametricTSNE, "fit", fit)
    found = tried._batches(
        ParametricTSNE(decoder=Decoder(n_iter=700)), TSNE(**FEW), np.zeros((9, 3), np.float32), tuned=False
    )
    assert found["decoder"] == 0 and found["train"] == pytest.approx(5 - 0.1 * tried._FEW)


@pytest.mark.parametrize("tuned", [False, True])
def test_batches_are_of_the_objective_that_the_training_will_have(network, tuned):
    from tsne_ooc.cli import forecast_train as tried
    from tsne_ooc.parametric import ParametricTSNE
    from tsne_ooc.parametric.objectives import resolve

    tried._batches(ParametricTSNE(), TSNE(**FEW), np.zeros((300, 3), np.float32), tuned=tuned)
    assert all(fitted.objective == resolve("auto", tuned=tuned) for fitted, _ in network)


@pytest.fixture
def taught(monkeypatch, clock):
    """Trials of a training with answers that are known, and what they are asked."""
    pytest.importorskip("torch")
    from tsne_ooc.cli import forecast_train as tried

    asked = {"search": [], "batches": [], "memory": []}

    def search(model, rows, n, k, seed):
        asked["search"].append((n, k))
        return 1e-3, 4e-3

    def batches(model, teacher, rows, *, tuned):
        warnings.warn("there are few rows", UserWarning, stacklevel=1)
        asked["batches"].append((len(rows), rows.shape[1], tuned))
        return {"train": 11.0}

    monkeypatch.setattr(trials, "seconds_to_search", search)
    monkeypatch.setattr(trials, "seconds_to_place", lambda model, rows: 3e-3)
    monkeypatch.setattr(tried, "_batches", batches)
    monkeypatch.setattr("tsne_ooc._memory.used_bytes", lambda: 10**6)
    monkeypatch.setattr("tsne_ooc._memory.available_bytes", lambda: 10**7)
    monkeypatch.setattr(
        "tsne_ooc.io.reading.bytes_of_fit", lambda n, p, k: asked["memory"].append((n, p, k)) or 10**6 * n
    )
    return asked


def of_a_training(clock, out, table=None, **options):
    from tsne_ooc.cli.forecast_train import forecast_train
    from tsne_ooc.parametric import ParametricTSNE

    given = {
        "encoder": ParametricTSNE(batch_size=64, random_state=0), "map": None, "tsne": None, "sample": None,
        "prepare": None, "dataset": None, "columns": None, **options,
    }  # fmt: skip
    return forecast_train(as_source(Slow(clock)) if table is None else table, Path(out), **given)


@pytest.mark.parametrize("sample", [200, 1200])
@pytest.mark.parametrize("least", [1200, 1201])
def test_a_training_fits_a_sample_and_learns_from_all_rows(clock, taught, tmp_path, monkeypatch, sample, least):
    """Where all rows are fitted, their affinities are made again for the batches; of many, some are tuned."""
    monkeypatch.setattr("tsne_ooc.parametric.objectives.FEWEST_TUNED", least)
    real = trials.seconds_to_map

    def to_map(model, rows, fitted, copies, seed):
        real(model, rows, 200, copies, seed)
        return lambda n: 7e-3 * n, 3e-3, 15

    monkeypatch.setattr(trials, "seconds_to_map", to_map)
    found = of_a_training(clock, tmp_path, tsne=TSNE(**FEW), sample=sample)
    n, whole = 1200, sample == 1200
    taught["search"] = [one for one in taught["search"] if one[0] == n]
    wanted = {
        "sample": trials.rows_read(as_source(Slow(clock)), UniformSample(sample), sample) * READ,
        "fit": 7e-3 * sample, "teach": n * (READ + 3e-3) + (n * (1e-3 + 4e-3) if whole else 0), "train": 11.0,
    }  # fmt: skip
    assert found.seconds == {name: pytest.approx(value) for name, value in wanted.items()}
    assert taught["batches"][0][1:] == (3, whole and least == 1200)
    assert found.would == f"fit {sample:,} rows, and train a network on all rows"
    assert {one[:2] for one in taught["memory"]} == {(sample, 3)} and found.memory == 10**6 + 10**6 * sample
    assert found.memory_free == 10**7 + 10**6 and found.shape == (1200, 3)


@pytest.mark.parametrize("n", [300, 1200])
@pytest.mark.parametrize("known", [True, False])
def test_a_training_on_a_map_that_is_there(clock, taught, saved, tmp_path, monkeypatch, n, known):
    monkeypatch.setattr("tsne_ooc.parametric.teaching.knows_affinities", lambda teacher: known)
    monkeypatch.setattr("tsne_ooc.parametric.objectives.FEWEST_TUNED", 300)
    found = of_a_training(clock, tmp_path, as_source(Slow(clock, n=n)), map=str(saved))
    whole = known and n == 300
    teach = n * (READ + 3e-3) + (n * (1e-3 + 4e-3) if whole else 0)
    assert found.seconds == {"teach": pytest.approx(teach), "train": 11.0}
    assert found.would == "train a network on all rows" and taught["batches"] == [(n, 3, whole)]
    assert found.memory == (10**6 + 10**6 * 300 if whole else 10**6)
    assert len(taught["memory"]) == len(taught["search"]) == int(whole)


def test_a_prepared_training_reads_all_rows_in_each_pass(clock, taught, tmp_path, monkeypatch):
    from tsne_ooc.preprocess import PCA, Preparation

    monkeypatch.setattr(
        trials, "seconds_to_prepare",
        lambda rows, prepare, seed, n_jobs: (lambda n: 5 + 1e-3 * n, 5e-3, 2, rows[:, :2]),
    )  # fmt: skip
    found = of_a_training(clock, tmp_path, tsne=TSNE(**FEW), sample=200, prepare=Preparation([PCA(2)]))
    assert found.seconds["prepare"] == pytest.approx(5 + 1e-3 * 1200 + 2 * 1200 * READ)
    drawn = trials.rows_read(as_source(Slow(clock)), UniformSample(200), 200)
    assert found.seconds["sample"] == pytest.approx(drawn * (READ + 5e-3))
    assert found.seconds["teach"] >= 1200 * (READ + 5e-3)
    assert taught["batches"][0][1:] == (2, False) and {one[:2] for one in taught["memory"]} == {(200, 2)}


def test_more_rows_like_these_differ_from_them_by_a_part_of_each_columns_spread():
    rng = np.random.default_rng(0)
    rows = np.where(rng.random((40, 2)) < 0.5, -1, 1) * np.array([0.01, 100]) + np.array([5, -7])
    gaps = np.where(np.arange(40) % 2, np.nan, 3)[:, None]
    rows, places = np.hstack([rows, gaps]).astype(np.float32), np.arange(80.0).reshape(-1, 2)
    more, theirs = forecast_refine._many(rows, places, 4_000, 3)
    of = (theirs[:, 0] / 2).astype(int)
    assert more.shape == (4_000, 3) and more.dtype == np.float32
    np.testing.assert_array_equal(more[:, 2], rows[of, 2])
    np.testing.assert_allclose((more - rows[of])[:, :2].std(axis=0), 0.3 * rows[:, :2].std(axis=0), rtol=0.05)
