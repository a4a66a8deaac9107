"""Scratch in small: on which file system a folder is, how work is cut into pieces, and what a plan is made of."""

from __future__ import annotations

import math
import os
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from tsne_ooc._parallel import Threads
from tsne_ooc.affinity import Perplexity, Uniform
from tsne_ooc.neighbors.ivf import lists_of, sampled_of
from tsne_ooc.scratch import NeighborsInMemory, NeighborsOnDisk, Room, ScratchFile, joint, plan_memory
from tsne_ooc.scratch import neighbors as neighbors_module
from tsne_ooc.scratch import plan as plans
from tsne_ooc.scratch.files import _kind_of, scratch_folder

ONE = Threads(1)

# ------------------------------------------------------------------------------------------------------------- folders


@pytest.fixture
def mounted(tmp_path, monkeypatch):
    """Tell the system that these file systems are mounted, (folder below `tmp_path`, kind) in their order."""
    home, real = tmp_path.resolve(), Path.read_text

    def tell(*mounts):
        lines = [f"device{i} {home / point} {kind} rw,tmpfs 0 0" for i, (point, kind) in enumerate(mounts)]
        text = "".join(f"{line}\n" for line in lines)
        monkeypatch.setattr(Path, "read_text", lambda self: text if str(self) == "/proc/self/mounts" else real(self))
        return home

    return tell


@pytest.mark.parametrize(
    ("mounts", "folder", "kind"),
    [
        ([], "a", ""),
        ([("b", "xfs")], "a", ""),
        ([("a", "xfs")], "a", "xfs"),
        ([("a", "xfs")], "a/b/c", "xfs"),
        # A name that begins alike is another folder.
        ([(".", "ext4"), ("a", "tmpfs")], "ab", "ext4"),
        ([(".", "ext4"), ("a/b", "tmpfs")], "a", "ext4"),
        # The innermost one counts, wherever it stands in the list and whatever it is called.
        ([(".", "xfs"), ("a", "tmpfs"), ("a/b", "ext4")], "a/b/c", "ext4"),
        ([("a/b", "ext4"), ("a", "tmpfs"), (".", "xfs")], "a/b/c", "ext4"),
        ([("a/b", "ext4"), ("a", "tmpfs"), (".", "xfs")], "a/c", "tmpfs"),
        # Of two at one point the last one is what is seen.
        ([("a", "tmpfs"), ("a", "ext4")], "a", "ext4"),
        ([("a", "ext4"), ("a", "tmpfs")], "a/b", "tmpfs"),
        ([("a", "xfs"), ("a", "ext4"), (".", "zfs")], "a/b", "ext4"),
    ],
)
def test_a_folder_is_on_the_innermost_file_system_that_was_mounted_last(mounts, folder, kind, mounted):
    home = mounted(*mounts)
    (home / folder).mkdir(parents=True)
    assert _kind_of(home / folder) == kind
    assert _kind_of(Path(os.path.relpath(home / folder))) == kind


@pytest.mark.parametrize(("kind", "taken"), [("tmpfs", False), ("ramfs", False), ("ext4", True), ("tmpfs2", True)])
def test_a_link_is_judged_by_where_it_leads_to(kind, taken, mounted):
    home = mounted((".", "xfs"), ("memory", kind))
    (home / "memory" / "inner").mkdir(parents=True)
    (home / "link").symlink_to(home / "memory" / "inner")
    if taken:
        assert scratch_folder(str(home / "link")) == home / "link"
        return
    with pytest.raises(OSError) as told:
        scratch_folder(home / "link")
    assert str(told.value) == (
        f"scratch={str(home / 'link')!r} is kept in memory ({kind}), and scratch is there to spare it; name a folder "
        "on a disk"
    )


def test_scratch_is_tried_in_the_folder_that_is_asked_for_and_else_in_that_of_temporary_files(mounted, monkeypatch):
    home = mounted((".", "ext4"))
    (home / "usual").mkdir()
    (home / "own").mkdir()
    tried, real = [], tempfile.TemporaryFile

    def make(*given, **options):
        file = real(*given, **options)
        tried.append((options.get("dir"), file))
        return file

    monkeypatch.setattr(tempfile, "tempdir", str(home / "usual"))
    monkeypatch.setattr(tempfile, "TemporaryFile", make)
    assert scratch_folder() == scratch_folder(None) == home / "usual"
    assert scratch_folder(home / "own") == home / "own"
    assert [Path(folder) for folder, _ in tried] == [home / "usual", home / "usual", home / "own"]
    assert all(file.closed for _, file in tried) and not [*(home / "usual").iterdir(), *(home / "own").iterdir()]
    file = ScratchFile(home / "own", "f8", "numbers")
    assert (file.folder, file.dtype, file.what) == (home / "own", np.dtype(np.float64), "numbers")
    assert Path(tried[-1][0]) == home / "own" and not tried[-1][1].closed
    file.close()
    assert tried[-1][1].closed


# -------------------------------------------------------------------------------------------------------------- pieces


def halves(n):
    """Edges of rows of which the last tenth has nearly all."""
    incoming = np.zeros(n, np.int64)
    incoming[-max(1, n // 10) :] = 97
    return incoming


CUTS = [
    (incoming, k)
    for n in (1, 2, 7, 100)
    for k in (1, 5)
    for incoming in (np.full(n, k), halves(n), halves(n)[::-1].copy(), np.arange(n) % 4)
]


@pytest.mark.parametrize("edges", [1, 13, 100, 10**6])
@pytest.mark.parametrize("most", [1, 3, 50, 512])
def test_pieces_begin_where_so_many_parts_of_all_edges_are_behind(edges, most, monkeypatch):
    """Own edges and incoming ones count, and a row that has many is in one piece all the same."""
    monkeypatch.setattr(joint, "EDGES", edges)
    monkeypatch.setattr(joint, "MOST_PIECES", most)
    for incoming, k in CUTS:
        n, before = len(incoming), [0]
        for count in incoming.tolist():
            before.append(before[-1] + count + k)
        parts = max(1, math.ceil(before[-1] / max(edges, before[-1] // most)))
        first = [next(row for row in range(n + 1) if before[row] >= before[-1] * part / parts) for part in range(parts)]
        wanted = sorted({0, *(row for row in first if row < n)})
        found = joint._cut(incoming, k)
        assert [piece.first for piece in found] == wanted
        assert [piece.last for piece in found] == [*wanted[1:], n]
        assert [piece.edges for piece in found] == [int(incoming[:row].sum()) for row in wanted]
        assert all(type(number) is int for piece in found for number in piece)


def ring(n=60, k=3):
    """Each row's neighbours are those behind it."""
    indices = (np.arange(n)[:, None] + np.arange(1, k + 1)) % n
    return indices.astype(np.uint32), np.sort(np.random.default_rng(0).gamma(5, 1, (n, k)), axis=1).astype(np.float32)


class Counting(Threads):
    """Threads that write down how many pieces they are given at a time."""

    def __init__(self, n):
        super().__init__(n)
        self.given = []

    def map(self, function, pieces):
        self.given.append([piece[0] for piece in pieces])
        return super().map(function, pieces)


class Noting(NeighborsInMemory):
    """Neighbours that write down which rows were read."""

    asked: ClassVar[list[tuple[int, int]]] = []

    def read(self, start, stop):
        self.asked.append((start, stop))
        return super().read(start, stop)


@pytest.mark.parametrize("n_jobs", [1, 2, 3, 9])
@pytest.mark.parametrize("edges", [1, 30, 10**6])
def test_so_many_pieces_are_merged_at_once_as_there_are_threads_and_room(n_jobs, edges, tmp_path, monkeypatch):
    """All neighbours are read once, as many rows at a time as a piece has edges, own and incoming."""
    monkeypatch.setattr(joint, "EDGES", edges)
    monkeypatch.setattr(joint, "AT_ONCE", 5)
    monkeypatch.setattr(Noting, "asked", [])
    indices, distances = ring()
    threads = Counting(n_jobs)
    seen = []

    def conditional(distances):
        seen.append(len(distances))
        return Perplexity(1).conditional(distances, ONE)

    P = joint.symmetrize_on_disk(Noting(indices, distances), conditional, np.full(60, 3), tmp_path, threads)
    pieces = len(joint._cut(np.full(60, 3), 3))
    numbers = list(range(pieces))
    at_once = min(5, n_jobs)
    assert threads.given == [numbers[a : a + at_once] for a in range(0, pieces, at_once)]
    assert Noting.asked[0] == (0, 1)
    read = Noting.asked[1:]
    assert [row for start, stop in read for row in range(start, stop)] == list(range(60))
    assert max(stop - start for start, stop in read) == min(60, max(1, edges // (2 * 3)))
    assert seen == [1, *(stop - start for start, stop in read)]
    assert P.folder == tmp_path
    P.close()


def test_all_files_of_a_matrix_on_disk_are_closed_once_it_is_made(tmp_path, monkeypatch):
    """But for those of the matrix itself, which are open until it is closed; also where something fails on the way."""
    made = []

    class Noted(ScratchFile):
        def __init__(self, *given):
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(joint, "ScratchFile", Noted)
    graph = NeighborsInMemory(*ring())
    for affinity, own in ((Perplexity(1), 2), (Uniform(3), 1)):
        made.clear()
        P = joint.symmetrize_on_disk(graph, lambda d, a=affinity: a.conditional(d, ONE), np.full(60, 3), tmp_path, ONE)
        assert [file.what for file in made if not file._file.closed] == ["affinities"] * own
        assert sorted({(file.what, file.dtype.str) for file in made}) == [
            ("affinities", "<f4"), ("affinities", "<u4"), ("edges", "<f4"), ("edges", "<u4"), ("neighbours", "<u4"),
        ]  # fmt: skip
        P.close()
        assert all(file._file.closed for file in made)
    made.clear()
    with pytest.raises(ZeroDivisionError):
        joint.symmetrize_on_disk(graph, lambda d: None if len(d) == 1 else 1 / 0, np.full(60, 3), tmp_path, ONE)
    assert len(made) == 6 and all(file._file.closed for file in made)


def test_room_of_ones_own_for_a_range_is_used_again_and_grows(tmp_path):
    """What one thread reads of a matrix on disk stays until it reads again; another thread has its own."""
    indices, distances = ring()
    P = joint.symmetrize_on_disk(
        NeighborsInMemory(indices, distances),
        lambda d: Perplexity(1).conditional(d, ONE),
        np.full(60, 3),
        tmp_path,
        ONE,
    )
    one = P.part(0, 10).indices
    assert np.shares_memory(one, P.part(20, 25).indices) and len(P.part(20, 25).indices) == 30
    assert not np.shares_memory(one, P.part(0, 11).indices)
    (other,) = Threads(2).map(lambda row: P.part(row, row + 2), [(3,)])
    elsewhere = []
    thread = threading.Thread(target=lambda: elsewhere.append(P.part(30, 33).indices))
    thread.start()
    thread.join()
    assert not np.shares_memory(elsewhere[0], P.part(0, 1).indices) and other.first == 18
    P.close()


@pytest.mark.parametrize("order", [None, np.arange(20, dtype=np.uint32)[::-1].copy()], ids=["no order", "an order"])
@pytest.mark.parametrize("parts", [False, True], ids=["at once", "part by part"])
@pytest.mark.parametrize("block", [1, 3, 9, 10, 60, 61])
def test_neighbours_of_all_rows_are_asked_for_once_and_as_many_as_memory_is_spent_on(
    order, parts, block, tmp_path, monkeypatch
):
    monkeypatch.setattr(neighbors_module, "BLOCK", block)
    rng = np.random.default_rng(0)
    indices, distances = rng.integers(0, 20, (20, 3)).astype(np.uint32), rng.random((20, 3)).astype(np.float32)
    asked = []

    def query_part(start, stop, k):
        asked.append((start, stop, k))
        if parts:
            return indices[order[start:stop]], distances[order[start:stop]]
        return None

    def query_self(k):
        asked.append(k)
        return indices, distances

    index = SimpleNamespace(n=20, order=order, query_part=query_part, query_self=query_self)
    kept = NeighborsOnDisk.among(index, 3, tmp_path)
    most = max(1, block // 3)
    if parts and order is not None:
        assert [row for start, stop, _ in asked for row in range(start, stop)] == list(range(20))
        assert max(stop - start for start, stop, _ in asked) <= most
        assert len(asked) == math.ceil(20 / most) and {k for _, _, k in asked} == {3}
    else:
        # It is tried with one part, where there is an order.
        assert asked[-1] == 3 and len(asked) == 1 + (order is not None)
    rows, found, far = kept.read(5, 16)
    assert rows.tolist() == (list(range(14, 3, -1)) if parts and order is not None else list(range(5, 16)))
    np.testing.assert_array_equal(found, indices[rows])
    np.testing.assert_array_equal(far, distances[rows])
    assert kept.shape == (20, 3) and (found.dtype, far.dtype) == (np.uint32, np.float32)
    kept.close()
    assert all(file._file.closed for file in kept._files)
    assert [(file.what, file.folder) for file in kept._files] == [("neighbours", tmp_path), ("distances", tmp_path)]


# --------------------------------------------------------------------------------------------------------------- plans


@pytest.fixture
def used(monkeypatch):
    """How much memory the process has, which a test may change."""
    told = [10**9]
    monkeypatch.setattr(plans, "used_bytes", lambda: told[0])
    monkeypatch.setattr(plans, "available_bytes", lambda: 10**11)
    return told


@pytest.mark.parametrize("have", [None, 0, 10**8, 450_000_000, 450_000_001, 10**9])
def test_a_process_has_at_least_its_libraries(have, used):
    """Those that are not loaded yet will be, and what the caller will take comes on top."""
    used[0] = have
    base = max(have or 0, plans.PROGRAM)
    for more in (0, 12345):
        for begun in (False, True):
            plan = Room(100).plan(1000, Uniform(15), 2, more=more, begun=begun)
            assert plan == plan_memory(1000, 15, 2, values=False, memory=100, used=base + more)
            assert plan.stages[0].memory == base + more + 8 * 1000 * 15
    # Nothing but that is taken where nobody says what there is.
    assert plan_memory(1000, 15, memory=100) == plan_memory(1000, 15, memory=100, used=plans.PROGRAM)
    assert Room().plan(1000, Uniform(15), 2).limit == base + 10**11 // 2


@pytest.mark.parametrize("memory", [0.001, 100])
@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("affinity", [Uniform(15), Perplexity(30)], ids=["equal", "values"])
def test_work_that_has_begun_goes_on_with_all_on_the_disk(memory, at_once, affinity, used):
    """Where there is room enough, a plan is the same before and after."""
    k, values = (15, False) if isinstance(affinity, Uniform) else (90, True)
    given = {"columns": 7, "more": 11, "at_once": at_once}
    begun = Room(memory).plan(10_000, affinity, 3, begun=True, **given)
    if memory == 100:
        assert begun == Room(memory).plan(10_000, affinity, 3, **given)
        assert begun == plan_memory(
            10_000, k, 3, columns=7, values=values, memory=100, used=10**9 + 11, at_once=at_once
        )
        assert not begun.on_disk and begun.held == 2 * k * 10_000
        return
    with pytest.raises(MemoryError):
        Room(memory).plan(10_000, affinity, 3, **given)
    assert begun.on_disk and begun.held == 0 and begun.limit == 10**6
    search, affinities, descent = begun.stages
    graph = 8 * k * 10_000
    assert [stage.name for stage in begun.stages] == ["search", "affinities", "descent"]
    assert search.memory == 10**9 + 11 + plans.search_bytes(10_000, 7) + graph * at_once
    assert (search.scratch, affinities.scratch) == (
        graph + 64 * 10_000, graph + joint.scratch_bytes(10_000, k, values),
    )  # fmt: skip
    assert descent.memory == 10**9 + 11 + plans.mapped_descent_bytes(10_000, 3)


def test_few_rows_have_fewer_neighbours_than_a_perplexity_asks_for_and_nobody_is_told_twice(used, recwarn):
    for n in (2, 10, 91):
        assert Room(100).plan(n, Perplexity(30), 2).held == 2 * n * min(n - 1, 90)
    assert Room(100).plan(1, Perplexity(30), 2).held == 0
    assert not recwarn.list


def test_too_little_memory_is_told_with_what_it_would_take():
    for n, k, memory in ((1_000_000, 90, 0.2), (3_000_000, 15, 0.3)):
        plan = plans._planned(n, k, 2, 0, True, memory, 10**7, False)
        worst = max(plan.stages, key=lambda stage: stage.memory)
        assert len({stage.memory for stage in plan.stages}) == 3
        fewer = ", or ask for fewer neighbours, as by affinity=Uniform(15)" if k > 15 else ""
        with pytest.raises(MemoryError) as told:
            plan_memory(n, k, memory=memory, used=10**7)
        assert str(told.value) == (
            f"{memory:.2f} GB of memory are too little for {n:,} rows with {k} neighbours each: {worst.name} takes "
            f"{worst.memory / 1e9:.2f} GB; allow more by memory={fewer}"
        )


@pytest.mark.parametrize("columns", [0, 7, 3000])
@pytest.mark.parametrize("n", [1, 10_000, 3_000_000])
def test_a_search_takes_the_more_of_what_it_takes_at_first_and_later(n, columns):
    """85 bytes for each row, or 30 and the sample with twice the centres; and 100 MB."""
    lists = lists_of(n)
    numbers = columns * (sampled_of(n, lists) + lists + lists)
    assert plans.search_bytes(n, columns) == max(n * 85, n * 30 + numbers * 4) + 100 * 10**6


@pytest.mark.parametrize("on_disk", [False, True])
def test_scratch_is_looked_at_where_a_plan_has_some(on_disk, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(plans, "check_room", lambda path, needed, what: asked.append((Path(path), needed, what)))
    stages = plans.Stage("search", 5, 300), plans.Stage("affinities", 7, 900), plans.Stage("descent", 6, 200)
    Room(scratch=tmp_path).check_scratch(plans.MemoryPlan(10, on_disk, 3, stages))
    assert asked == ([(tmp_path / "scratch", 900, "the scratch of all rows")] if on_disk else [])
    assert plans.MemoryPlan(10, on_disk, 3, stages).memory == 7
    assert plans.Stage("search", 5).scratch == 0 and (Room().memory, Room().scratch) == (None, None)
