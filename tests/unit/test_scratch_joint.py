"""P that is symmetrised over the disk is the one of memory, to the bit, and the formula's; whatever is read of it."""

from __future__ import annotations

import errno
import os
import warnings

import numpy as np
import pytest
import reference
from faults import fails_from
from scipy.sparse import csr_array

from tsne_ooc._memory import used_bytes
from tsne_ooc._parallel import Threads
from tsne_ooc.affinity import FixedSigma, Mixture, Multiscale, Perplexity, Uniform
from tsne_ooc.fit import out_of_core
from tsne_ooc.fit.out_of_core import blocks_of
from tsne_ooc.gradients import attraction
from tsne_ooc.gradients.attraction import Attraction
from tsne_ooc.joint import symmetrize
from tsne_ooc.neighbors import IVF, Exact
from tsne_ooc.scratch import (
    JointOnDisk,
    NeighborsInMemory,
    NeighborsOnDisk,
    Room,
    ScratchFile,
    joint,
    plan_memory,
    symmetrize_on_disk,
)
from tsne_ooc.scratch import plan as plans
from tsne_ooc.scratch.plan import MemoryPlan, Stage, limit_of

ONE, TWO = Threads(1), Threads(2)


def graph(n=400, k=12, seed=0, hub=False):
    """Neighbours and ascending distances; with a hub, all rows name the first ones."""
    rng = np.random.default_rng(seed)
    indices = np.array([rng.choice(np.delete(np.arange(n), i), k, replace=False) for i in range(n)], np.uint32)
    if hub:
        for i in range(3, n):
            indices[i, :3] = rng.permutation(3)
            indices[i, 3:] = rng.choice(np.delete(np.arange(3, n), i - 3), k - 3, replace=False)
    return indices, np.sort(rng.gamma(5, 1, (n, k)), axis=1).astype(np.float32)


def in_order(indices, p, order):
    """Neighbours and probabilities of the rows of P, as places in P."""
    place_of = np.argsort(order)
    return place_of[indices[order]].astype(np.uint32), None if p is None else p[order]


def on_disk(indices, distances, affinity, folder, order=None, threads=TWO, rows=NeighborsInMemory):
    def conditional(distances):
        return affinity.conditional(distances, threads)

    counts = np.bincount(indices.ravel(), minlength=len(indices))
    return symmetrize_on_disk(rows(indices, distances), conditional, counts, folder, threads, order)


def whole(P):
    """All of P, read in ranges of 7 rows."""
    indices, values = [], []
    for start in range(0, P.n, 7):
        stop = min(P.n, start + 7)
        first, some, p = P.part(start, stop)
        entries = slice(int(P.indptr[start]) - first, int(P.indptr[stop]) - first)
        indices.append(some[entries].copy())
        values.append(p[entries].copy())
    return P.indptr, np.concatenate(indices), np.concatenate(values)


@pytest.fixture
def small(monkeypatch):
    """Many pieces, and ranges of a few rows."""
    monkeypatch.setattr(joint, "EDGES", 700)
    monkeypatch.setattr(attraction, "ENTRIES", 150)


AFFINITIES = [Perplexity(4), Uniform(12), Multiscale((2, 4)), Mixture((2, 4)), FixedSigma(3.0)]


@pytest.mark.parametrize("affinity", AFFINITIES, ids=lambda affinity: type(affinity).__name__)
@pytest.mark.parametrize("hub", [False, True], ids=["even", "hub"])
@pytest.mark.parametrize("ordered", [False, True], ids=["as they came", "in an order"])
def test_the_bits_of_memory(affinity, hub, ordered, small, tmp_path):
    indices, distances = graph(hub=hub)
    order = np.random.default_rng(1).permutation(len(indices)).astype(np.uint32) if ordered else None
    p = affinity.conditional(distances, ONE)
    expected = symmetrize(*(in_order(indices, p, order) if ordered else (indices, p)), ONE)
    for held in (0, 1, 999, 10**9):
        P = on_disk(indices, distances, affinity, tmp_path, order)
        P.hold(held)
        assert (P.n, P.entries) == (expected.n, expected.entries)
        for found, wanted in zip(whole(P), (expected.indptr, expected.indices, expected.values), strict=True):
            np.testing.assert_array_equal(found, wanted, strict=True)
        P.close()
    assert not list(tmp_path.iterdir())


def test_the_formula(small, tmp_path):
    indices, distances = graph()
    P = on_disk(indices, distances, Perplexity(4), tmp_path)
    assert len(P.indptr) == 401
    starts, others, values = whole(P)
    found = csr_array((values.astype(float), others, starts.astype(int)), shape=(400, 400)).toarray()
    p = [reference.conditional(row.astype(float), 4) for row in distances]
    np.testing.assert_allclose(found, reference.joint(indices, p), rtol=1e-4, atol=1e-9)
    np.testing.assert_array_equal(found, found.T)
    P.close()


@pytest.mark.parametrize("edges", [1, 50, 3_000, 10**6])
@pytest.mark.parametrize("jobs", [1, 3])
def test_the_cut_and_the_threads_change_nothing(edges, jobs, monkeypatch, tmp_path):
    indices, distances = graph(hub=True)
    expected = symmetrize(indices, Perplexity(4).conditional(distances, ONE), ONE)
    monkeypatch.setattr(joint, "EDGES", edges)
    P = on_disk(indices, distances, Perplexity(4), tmp_path, threads=Threads(jobs))
    for found, wanted in zip(whole(P), (expected.indptr, expected.indices, expected.values), strict=True):
        np.testing.assert_array_equal(found, wanted)
    P.close()


def test_a_graph_on_disk_is_the_one_in_memory(tmp_path):
    indices, distances = graph()
    kept = NeighborsOnDisk(indices.shape, tmp_path)
    kept.put(0, indices[:50], distances[:50])
    kept.put(50, indices[50:], distances[50:])
    assert kept.shape == indices.shape
    for start, stop in ((0, 400), (17, 18), (399, 400), (3, 3)):
        for found, wanted in zip(kept.read(start, stop), (np.arange(400), indices, distances), strict=True):
            np.testing.assert_array_equal(found, wanted[start:stop])
    kept.close()


@pytest.mark.parametrize("search", [IVF(lists=12, probes=6), Exact()], ids=["part by part", "at once"])
@pytest.mark.parametrize("block", [97, 10**6])
def test_what_is_searched_to_the_disk_is_what_is_searched_in_memory(search, block, tmp_path, monkeypatch):
    X = np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32)
    X[7:60] = X[7]
    index = search.build(X, rng=np.random.default_rng(0), threads=TWO)
    wanted = index.query_self(9)
    monkeypatch.setattr("tsne_ooc.scratch.neighbors.BLOCK", block)
    kept = NeighborsOnDisk.among(index, 9, tmp_path)
    seen = []
    for start in range(0, 400, 70):
        rows, indices, distances = kept.read(start, min(400, start + 70))
        seen.append(rows)
        np.testing.assert_array_equal(indices, wanted[0][rows])
        np.testing.assert_array_equal(distances, wanted[1][rows])
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(400))
    kept.close()


def test_reading_a_mapped_graph_leaves_its_pages_to_the_system(tmp_path):
    """64 MB that are read piece by piece are never all in memory."""
    np.save(tmp_path / "graph.npy", np.zeros((1 << 18, 64), np.uint32))
    mapped = np.asarray(np.load(tmp_path / "graph.npy", mmap_mode="r"))
    kept = NeighborsInMemory(mapped, mapped.view(np.float32))
    before = used_bytes()
    for start in range(0, 1 << 18, 1 << 14):
        kept.read(start, start + (1 << 14))
    assert used_bytes() - before < 32e6
    assert int(mapped.max()) == 0
    np.testing.assert_array_equal(kept.read(5, 9).indices, np.zeros((4, 64)))


@pytest.mark.parametrize("affinity", [Perplexity(4), Uniform(12)], ids=["values", "equal"])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_step_is_the_same_to_the_bit_wherever_p_is(affinity, d, small, tmp_path):
    indices, distances = graph(hub=True)
    memory = symmetrize(indices, affinity.conditional(distances, ONE), ONE)
    disk = on_disk(indices, distances, affinity, tmp_path)
    Y = np.random.default_rng(1).normal(size=(400, d)).astype(np.float32)
    results = []
    for P, held, threads in ((memory, 0, ONE), (disk, 0, ONE), (disk, 0, TWO), (disk, 1234, TWO), (disk, 10**9, TWO)):
        if P is disk:
            disk.hold(held)
        pulls = Attraction(P, d, 1.0, threads)
        velocity, gains, out = np.zeros_like(Y), np.ones_like(Y), np.empty_like(Y)
        moved = pulls.step(
            Y, np.zeros_like(Y), 5.0, 4.0, 10.0, 0.5, 0.5, 5.0, np.zeros(d, np.float32), velocity, gains, out
        )
        results.append((pulls.forces(Y).tobytes(), out.tobytes(), moved[0].tobytes(), moved[1], pulls.halves(Y, 5.0)))
        assert len(pulls.ranges) > 10
    assert all(result == results[0] for result in results)
    disk.close()


def test_entries_beyond_what_32_bits_count(tmp_path):
    """A file with a hole: 2^33 entries, of which those of three rows are there."""
    before = 2**33 + 5
    indices, values = (ScratchFile(tmp_path, dtype, "affinities") for dtype in (np.uint32, np.float32))
    others, p = np.array([2, 0, 1, 2, 0], np.uint32), np.array([0.1, 0.2, 0.3, 0.4, 0.5], np.float32)
    indices.write(before, others)
    values.write(before, p)
    # Row 0 has all that is not there, and is not asked for.
    P = JointOnDisk(np.array([0, before, before + 2, before + 5], np.uint64), indices, values)
    assert P.entries == before + 5
    first, found, weights = P.part(1, 3)
    assert first == before
    np.testing.assert_array_equal(found[:5], others)
    np.testing.assert_array_equal(weights[:5], p)
    from tsne_ooc._kernels.attraction import KERNELS

    Y, out = np.array([[0, 0], [1, 0], [0, 2]], np.float32), np.zeros((3, 2), np.float32)
    KERNELS[2][0](P.indptr, *P.part(1, 3), Y, np.float32(1), 1, 3, out)
    for row, entries in ((1, (0, 1)), (2, (2, 3, 4))):
        away = Y[row] - Y[others[list(entries)]]
        force = p[list(entries), None] * away / (1 + np.square(away).sum(axis=1, keepdims=True))
        np.testing.assert_allclose(out[row], force.sum(axis=0), rtol=1e-6)
    P.close()


def test_a_range_of_entries_is_cut_where_64_bits_count_them():
    class Fake:
        """As many rows as 2^12, of 2^22 entries each."""

        n, entries = 1 << 12, 1 << 34
        indptr = np.arange((1 << 12) + 1, dtype=np.uint64) << np.uint64(22)

    bounds = attraction.ranges_of(Fake)
    assert [a for a, _ in bounds] == list(range(1 << 12))
    assert [b for _, b in bounds] == list(range(1, (1 << 12) + 1))


@pytest.mark.parametrize("call", [1, 2, 5, 40, 200])
def test_a_full_disk_is_said_in_one_line_and_leaves_nothing(call, small, tmp_path, monkeypatch):
    indices, distances = graph()
    monkeypatch.setattr(os, "pwrite", fails_from(call, os.pwrite))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(OSError, match=r"cannot be written to .* the disk is full; .* scratch=") as caught:
            on_disk(indices, distances, Perplexity(4), tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    P = on_disk(indices, distances, Perplexity(4), tmp_path)
    expected = symmetrize(indices, Perplexity(4).conditional(distances, ONE), ONE)
    np.testing.assert_array_equal(whole(P)[2], expected.values)
    P.close()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="Linux")
@pytest.mark.parametrize("affinity", [Perplexity(4), Uniform(12)], ids=lambda affinity: type(affinity).__name__)
def test_what_is_closed_keeps_no_file_open(affinity, tmp_path):
    def ours():
        links = (os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
        return [link for link in links if os.path.lexists(link) and str(tmp_path) in os.readlink(link)]

    P = on_disk(*graph(), affinity, tmp_path)
    assert ours()
    P.close()
    assert not ours()


@pytest.mark.parametrize(
    ("code", "why"),
    [(code, "the disk is full") for code in (errno.ENOSPC, errno.EDQUOT)]
    + [(code, os.strerror(code)) for code in (errno.EIO, errno.EFBIG)],
)
def test_what_a_disk_refuses_is_said_by_its_reason(code, why, tmp_path, monkeypatch):
    """A quota is a disk that is full for one user."""
    file = ScratchFile(tmp_path, np.float32, "numbers")
    monkeypatch.setattr(os, "pwrite", fails_from(1, os.pwrite, code))
    with pytest.raises(OSError) as told:
        file.write(0, np.zeros(3))
    assert str(told.value) == (
        f"numbers cannot be written to {tmp_path}: {why}; make room there, or name another folder by scratch="
    )
    monkeypatch.setattr(os, "preadv", fails_from(1, os.preadv, errno.EIO))
    with pytest.raises(OSError) as told:
        file.read(0, np.zeros(3, np.float32))
    assert str(told.value) == (
        f"numbers cannot be read from {tmp_path}: {os.strerror(errno.EIO)}; begin again, or name another folder by "
        "scratch="
    )
    file.close()


@pytest.mark.parametrize("most", [1, 5, 16, 10**9])
def test_numbers_go_to_the_disk_in_as_many_goes_as_the_system_likes(most, tmp_path, monkeypatch):
    """Of any type and any layout, to any place, and in any order."""
    put, get, goes = os.pwrite, os.preadv, []
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: goes.append(at) or put(fd, data[:most], at))
    monkeypatch.setattr(os, "preadv", lambda fd, parts, at: goes.append(at) or get(fd, [parts[0][:most]], at))
    file = ScratchFile(tmp_path, np.float32, "numbers")
    file.write(13, [7, 8, 9])
    file.write(3, np.arange(20.0).reshape(2, 10).T[::2])
    file.write(0, np.arange(3, dtype=np.int64))
    file.write(5, np.empty(0))
    out = np.zeros((4, 4), np.float32)
    file.read(0, out)
    np.testing.assert_array_equal(out.reshape(-1), [0, 1, 2, 0, 10, 2, 12, 4, 14, 6, 16, 8, 18, 7, 8, 9])
    last = np.zeros(2, np.float32)
    file.read(14, last)
    assert last.tolist() == [8, 9] and len(goes) == sum(-(-4 * count // most) for count in (3, 10, 3, 16, 2))
    file.close()


def test_too_little_room_is_said_before_anything_is_written(tmp_path, monkeypatch):
    indices, distances = graph()
    monkeypatch.setattr("tsne_ooc.storage.disk.shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    monkeypatch.setattr(os, "pwrite", fails_from(1, os.pwrite, errno.EIO))
    with pytest.raises(OSError, match=r"the scratch of affinities needs 0\.00 GB more"):
        on_disk(indices, distances, Perplexity(4), tmp_path)


def test_what_is_cut_short_is_said(tmp_path):
    indices, distances = graph()
    P = on_disk(indices, distances, Perplexity(4), tmp_path)
    os.ftruncate(P._values._file.fileno(), 100)
    with pytest.raises(OSError, match=r"affinities cannot be read from .*shorter than what was written"):
        Attraction(P, 2, 1.0, TWO)
    P.close()


def test_scratch_that_vanishes_on_the_way_does_no_harm(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    indices, distances = graph()
    P = on_disk(indices, distances, Perplexity(4), folder)
    folder.rmdir()
    expected = symmetrize(indices, Perplexity(4).conditional(distances, ONE), ONE)
    np.testing.assert_array_equal(whole(P)[1], expected.indices)
    P.close()


def test_more_rows_than_have_numbers_are_refused(tmp_path):
    class Fake:
        shape = (2**32, 15)

    with pytest.raises(ValueError, match=r"^4,294,967,296 rows are more than the 4,294,967,295 that can be numbered"):
        symmetrize_on_disk(Fake(), None, np.zeros(1, np.int64), tmp_path, ONE)
    rows = np.broadcast_to(np.zeros(15, np.uint32), (2**32, 15))
    with pytest.raises(ValueError, match="can be numbered"):
        symmetrize(rows, None, ONE)


@pytest.mark.parametrize("kind", [NeighborsInMemory, NeighborsOnDisk])
def test_who_reads_neighbours_may_change_them(kind, tmp_path):
    """What is read is the reader's own, and the next one reads what was found."""
    indices, distances = np.arange(12, dtype=np.uint32).reshape(4, 3), np.arange(12, dtype=np.float32).reshape(4, 3)
    kept = kind(indices, distances) if kind is NeighborsInMemory else kind((4, 3), tmp_path)
    if kind is NeighborsOnDisk:
        kept.put(0, indices, distances)
    assert kept.shape == (4, 3)
    for _ in range(2):
        rows, found, far = kept.read(1, 3)
        assert rows.tolist() == [1, 2]
        np.testing.assert_array_equal(found, np.arange(3, 9).reshape(2, 3))
        np.testing.assert_array_equal(far, np.arange(3, 9).reshape(2, 3))
        found[:], far[:] = 0, -1


@pytest.mark.parametrize("memory", [0.001, 0.5, 1, 100])
def test_any_memory_above_none_may_be_asked_for(memory):
    assert Room(memory).memory == memory
    for wrong in (0, -memory, float("nan")):
        with pytest.raises(ValueError, match="memory"):
            Room(wrong)


@pytest.fixture
def machine(monkeypatch):
    """One whose memory is not that of the tests that ran before."""
    monkeypatch.setattr("tsne_ooc.scratch.plan.used_bytes", lambda: 10**8)
    monkeypatch.setattr("tsne_ooc.scratch.plan.available_bytes", lambda: 10**11)


@pytest.mark.parametrize("memory", [None, 100])
def test_a_plan_counts_the_rows_that_are_yet_to_be_read(memory, machine):
    """Columns, what the process will take besides, and a search that finds all neighbours at once."""
    plain, wide = (Room(memory).plan(20_000, Uniform(15), 2, columns=columns) for columns in (0, 50))
    assert wide.stages[0].memory == plain.stages[0].memory + 12 * 20_000 * 50
    assert wide.stages[2].memory > plain.stages[2].memory
    more = Room(memory).plan(20_000, Uniform(15), 2, columns=50, more=10**8)
    assert all(a.memory == b.memory + 10**8 for a, b in zip(more.stages, wide.stages, strict=True))
    values = Room(memory).plan(20_000, Perplexity(5), 2, columns=50)
    assert values.stages[2].memory > wide.stages[2].memory
    assert Room(memory).plan(20_000, Uniform(15), 3, columns=50).stages[2].memory > wide.stages[2].memory


@pytest.mark.parametrize("memory", [0.8, 1.0, 1.5])
def test_a_plan_on_disk_holds_what_there_is_room_for(memory):
    for values, size in ((True, 8), (False, 4)):
        plan = plan_memory(2_000_000, 90, memory=memory, values=values, used=0)
        assert plan.on_disk and plan.memory <= plan.limit == memory * 1e9
        # An entry more would be one too many: a number of four bytes, and another one where affinities differ.
        assert plan.limit - size < plan.stages[2].memory <= plan.limit
        assert plan.scratch == max(stage.scratch for stage in plan.stages) > 0
        assert not plan_memory(2_000_000, 90, memory=100, values=values, used=0).scratch


@pytest.mark.parametrize(
    "at_once, k, columns, stage, fewer",
    [
        (False, 90, 0, "affinities", True),
        # Fewer neighbours are no help where rows are too wide, or where there are few already.
        (False, 90, 9000, "search", False),
        (False, 15, 9000, "search", False),
        (True, 90, 9000, "search", True),
        (True, 15, 0, "search", False),
        (True, 16, 0, "search", True),
    ],
)
def test_the_stage_that_takes_most_is_named(at_once, k, columns, stage, fewer):
    with pytest.raises(MemoryError) as caught:
        plan_memory(1_000_000, k, memory=0.1, columns=columns, at_once=at_once, used=10**7)
    told = str(caught.value)
    assert told.startswith(
        f"0.10 GB of memory are too little for 1,000,000 rows with {k} neighbours each: {stage} takes"
    )
    assert told.endswith(
        "allow more by memory=" + (", or ask for fewer neighbours, as by affinity=Uniform(15)" if fewer else "")
    )


def test_a_folder_that_refuses_is_named_before_anything_is_searched(tmp_path, monkeypatch):
    def refuses(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.TemporaryFile", refuses)
    with pytest.raises(OSError) as caught:
        Room(scratch=tmp_path).folder()
    assert str(caught.value) == (
        f"scratch={str(tmp_path)!r} cannot be written (Read-only file system); name another folder"
    )
    with pytest.raises(FileNotFoundError, match=r"is not a folder; make it, or name another one$"):
        Room(scratch=tmp_path / "none").folder()


@pytest.mark.parametrize("memory", [1.0, 100])
def test_a_plan_takes_nothing_for_granted(memory, machine):
    """Without a word, no columns are read, nothing else is taken, and each axis counts."""
    plain = Room(memory).plan(2_000_000, Uniform(15), 2)
    assert plain == Room(memory).plan(2_000_000, Uniform(15), 2, columns=0, more=0, at_once=False)
    wide = Room(memory).plan(2_000_000, Uniform(15), 3)
    assert plain.on_disk == wide.on_disk == (memory == 1)
    if plain.on_disk:
        # The arrays that move the rows lie in files: so many numbers of four bytes for each row more.
        more = wide.stages[2].scratch - plain.stages[2].scratch
        assert more > 0 and more % (4 * 2_000_000) == 0


@pytest.mark.parametrize("free, used, limit", [(1000, 7, 507), (1001, 7, 507), (0, 7, 7), (None, 7, 2**62)])
def test_without_a_word_half_of_what_is_free_may_be_taken(free, used, limit, monkeypatch):
    """Beside what the process has already."""
    monkeypatch.setattr("tsne_ooc.scratch.plan.available_bytes", lambda: free)
    assert limit_of(None, used) == limit and limit_of(0.5, used) == 500_000_000


def test_an_entry_of_p_is_a_number_and_one_more_where_affinities_differ(machine):
    entries = plan_memory(2_000_000, 90, memory=100, used=0).held
    differ, equal = (plan_memory(2_000_000, 90, memory=1, used=0, values=values) for values in (True, False))
    assert differ.stages[2].scratch - equal.stages[2].scratch == 4 * entries
    assert plan_memory(2_000_000, 90, memory=100, used=0, values=False).held == entries
    # Two axes, unless it is said.
    assert plan_memory(1000, 15, memory=1) == plan_memory(1000, 15, 2, columns=0, values=True, memory=1, at_once=False)


def ring(n=40, k=3):
    """Each row's neighbours are those behind it, so that no two rows name each other."""
    indices = (np.arange(n)[:, None] + np.arange(1, k + 1)) % n
    return indices.astype(np.uint32), np.sort(np.random.default_rng(0).gamma(5, 1, (n, k)), axis=1).astype(np.float32)


@pytest.mark.parametrize("affinity", [Perplexity(1), Uniform(3)], ids=["values", "equal"])
def test_what_is_said_of_the_disk_is_what_is_written_there(affinity, tmp_path, monkeypatch):
    """To the byte, where no two rows name each other; else P has fewer entries."""
    written, real = [], os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, place: written.append(len(data)) or real(file, data, place))
    for (indices, distances), most in ((ring(), True), (graph(40, 3, hub=True), False)):
        written.clear()
        on_disk(indices, distances, affinity, tmp_path).close()
        said = joint.scratch_bytes(40, 3, isinstance(affinity, Perplexity))
        assert sum(written) == said if most else sum(written) < said


def test_the_room_that_is_asked_for_is_that_of_the_disk(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(joint, "check_room", lambda path, needed, what: asked.append((path.parent, needed, what)))
    on_disk(*ring(), Perplexity(1), tmp_path).close()
    on_disk(*ring(), Uniform(3), tmp_path).close()
    assert [needed for _, needed, _ in asked] == [joint.scratch_bytes(40, 3, True), joint.scratch_bytes(40, 3, False)]
    assert {(folder, what) for folder, _, what in asked} == {(tmp_path, "the scratch of affinities")}


def test_whether_affinities_differ_is_asked_with_one_row(tmp_path):
    indices, distances = ring()
    shapes = []

    def conditional(distances):
        shapes.append(distances.shape)
        return Perplexity(1).conditional(distances, ONE)

    symmetrize_on_disk(
        NeighborsInMemory(indices, distances), conditional, np.bincount(indices.ravel()), tmp_path, ONE
    ).close()
    assert shapes[0] == (1, 3) and sum(rows for rows, _ in shapes[1:]) == 40


@pytest.mark.parametrize("asked, held", [(-5, 0), (0, 0), (1, 1), (239, 239), (240, 240), (241, 240)])
def test_as_many_entries_are_held_as_are_asked_for_and_there(asked, held, tmp_path, monkeypatch):
    """Ranges of what is held come from memory, whole, and what lies behind from the disk."""
    P = on_disk(*ring(), Perplexity(1), tmp_path)
    wanted = whole(P)
    P.hold(asked)
    assert (P.entries, P.held) == (240, held)
    reads, real = [], ScratchFile.read
    monkeypatch.setattr(ScratchFile, "read", lambda self, at, out: reads.append((at, len(out))) or real(self, at, out))
    for row in range(40):
        reads.clear()
        first, indices, values = P.part(row, row + 1)
        entries = slice(6 * row - first, 6 * row + 6 - first)
        np.testing.assert_array_equal(indices[entries], wanted[1][6 * row : 6 * row + 6])
        np.testing.assert_array_equal(values[entries], wanted[2][6 * row : 6 * row + 6])
        assert reads == ([] if 6 * row + 6 <= held else [(6 * row, 6)] * 2)
    P.close()


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="not on this system")
def test_what_comes_behind_a_range_is_read_ahead(tmp_path, monkeypatch):
    P, told = on_disk(*ring(), Perplexity(1), tmp_path), []
    monkeypatch.setattr(joint, "AHEAD", 10)
    monkeypatch.setattr(os, "posix_fadvise", lambda file, at, size, how: told.append((at, size, how)))
    P.part(2, 5)
    # Numbers of four bytes, behind the thirtieth.
    assert told == [(120, 40, os.POSIX_FADV_WILLNEED)] * 2
    P.close()


@pytest.mark.parametrize("values", [True, False])
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("n, k, d, columns", [(1_000_000, 90, 2, 0), (3_000_000, 15, 3, 40), (2_000_000, 30, 1, 7)])
def test_a_plan_is_the_sum_of_its_arrays(n, k, d, columns, values, at_once):
    """Each array by its bytes for a row, as the comments tell them: neighbours and distances are eight for each."""
    options = {"columns": columns, "values": values, "used": 10**7, "at_once": at_once}
    neighbors, P = 8 * n * k, 2 * n * k * (8 if values else 4)
    rows = 10**7 + 3 * 4 * n * columns
    memory = [stage.memory for stage in plan_memory(n, k, d, memory=1e4, **options).stages]
    # Indices in the order of P, a quarter of the graph for the edges of the blocks, and two numbers of a row.
    assert memory[:2] == [rows + neighbors, rows + neighbors + 4 * n * k + 2 * n * k + P + 16 * n]
    assert memory[2] == rows + plans.descent_bytes(n, d) + P
    assert plans.descent_bytes(n, d) == n * (12 + 44 * d + 100) + 5e7
    found = plans._planned(n, k, d, columns, values, (max(memory) - 1) / 1e9, 10**7, at_once)
    search, affinities, descent = found.stages
    assert found.on_disk and search.memory == 10**7 + plans.search_bytes(n, columns) + neighbors * at_once
    # The files of rows and of the copy with a column more, and a length of each.
    assert search.scratch == neighbors + (n * 4 * (columns + columns + 1 + 1) if columns else 0)
    piece = max(1 << 20, 2 * n * k // 512)
    assert affinities.memory == 10**7 + 46 * n + 4 * (36 * piece + 4 * n)
    assert affinities.scratch == neighbors + joint.scratch_bytes(n, k, values)
    assert descent.memory == 10**7 + n * (24 + 28 * d) + 5e7 + found.held * (8 if values else 4)
    assert 0 < found.held <= 2 * n * k
    # Five arrays of places move the rows.
    assert descent.scratch == P + 5 * 4 * n * d


@pytest.mark.parametrize("short", [0, 1])
def test_a_plan_that_just_fits_is_one_in_memory(short, monkeypatch):
    """Within a limit to the byte, and on the disk with a byte less."""
    wanted = plan_memory(1_000_000, 15, memory=100, used=0)
    least = plan_memory(1_000_000, 15, memory=0.4, used=0).stages[1].memory
    monkeypatch.setattr(plans, "limit_of", lambda memory, used: wanted.memory - short)
    assert plan_memory(1_000_000, 15, used=0).on_disk == bool(short)
    # Where there is no room for the places alone, no entry is held.
    monkeypatch.setattr(plans, "limit_of", lambda memory, used: 10**6)
    assert plans._planned(1_000_000, 15, 2, 0, True, None, 0, False).held == 0
    monkeypatch.setattr(plans, "limit_of", lambda memory, used: least - short)
    if short:
        with pytest.raises(MemoryError, match="affinities takes"):
            plan_memory(1_000_000, 15, used=0)
    else:
        assert plan_memory(1_000_000, 15, used=0).memory == least


def test_a_piece_is_no_larger_than_all_edges_and_no_smaller_than_its_share():
    few, many = plans.symmetrize_bytes(1000, 15), plans.symmetrize_bytes(10**9, 90)
    assert few == 46 * 1000 + 4 * (36 * 30_000 + 4 * 1000)
    assert many == 46 * 10**9 + 4 * (36 * (2 * 10**9 * 90 // 512) + 4 * 10**9)


def test_one_row_has_no_neighbours_and_two_have_one(machine):
    """Without columns there are no files of rows; a process that holds nothing will load the libraries."""
    one, two = (Room(100).plan(n, Perplexity(30), 2) for n in (1, 2))
    assert one.held == 0 and two.held == 2 * 2 * 1
    assert plans.mapped_rows_bytes(1000, 0) == 0 and plans.mapped_rows_bytes(1000, 1) == 16_000
    assert one.stages[0].memory == plans.PROGRAM


def test_neighbours_are_read_many_rows_at_a_time(monkeypatch):
    """Each row once, in order: 16 MB of indices a block, and one row where a single one has more."""
    rng = np.random.default_rng(0)
    graph = NeighborsInMemory(rng.integers(0, 100, (100, 7)).astype(np.uint32), np.zeros((100, 7), np.float32))
    assert [len(block.rows) for block in blocks_of(graph)] == [100]
    for entries, blocks in ((70, 10), (76, 10), (7, 100), (3, 100), (693, 2)):
        monkeypatch.setattr(out_of_core, "BLOCK", entries)
        found = list(blocks_of(graph))
        assert len(found) == blocks
        np.testing.assert_array_equal(np.concatenate([block.rows for block in found]), np.arange(100))
        np.testing.assert_array_equal(np.concatenate([block.indices for block in found]), graph.indices)


def test_a_plan_is_told_in_gigabytes_stage_by_stage():
    """Scratch is told of where there is some."""
    stages = Stage("search", 676_000_000, 1_474_000_000), Stage("descent", 1_000_000_000)
    for on_disk, where in ((True, "on disk"), (False, "in memory")):
        assert str(MemoryPlan(2_000_000_000, on_disk, 7, stages)) == (
            f"neighbours and affinities {where}, 2.00 GB at most; search: 0.68 GB of memory, 1.47 GB of scratch; "
            "descent: 1.00 GB of memory"
        )
