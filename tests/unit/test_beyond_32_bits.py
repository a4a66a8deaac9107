"""More than 2^31 entries, rows or numbers: files with holes, of which only the far end is there, are read as they are.

Each test compares the far end of an array of many GB, which takes some kB of the disk, with the same numbers at its
beginning.
"""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest

import tsne_ooc
from tsne_ooc import TSNE, Refinement
from tsne_ooc._kernels import symmetrize as symmetric
from tsne_ooc._kernels.attraction import KERNELS
from tsne_ooc._parallel import Threads
from tsne_ooc.affinity import Perplexity
from tsne_ooc.joint import symmetrize
from tsne_ooc.neighbors._blocks import Blocks, Frame, Probes
from tsne_ooc.scratch import JointOnDisk, NeighborsOnDisk, ScratchFile, joint

ONE = Threads(1)
FAR = (1 << 31) + 5

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="files with holes are those of Linux's disks")


def sparse(folder, shape, dtype, at=0, values=None):
    """An array of this shape over a file with a hole; `values` are at row `at` and after it."""
    with open(folder / f"sparse-{len(list(folder.iterdir()))}", "w+b") as file:
        file.truncate(int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize)
        array = np.asarray(np.memmap(file, dtype, "r+", 0, shape))
    if values is not None:
        array[at : at + len(values)] = values
    return array


def graph(n=60, k=5, seed=0):
    rng = np.random.default_rng(seed)
    indices = np.array([rng.choice(np.delete(np.arange(n), i), k, replace=False) for i in range(n)], np.uint32)
    return indices, np.sort(rng.gamma(5, 1, (n, k)), axis=1).astype(np.float32)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("before", [FAR, (1 << 33) + 5])
def test_forces_and_energy_of_entries(d, before, tmp_path):
    """P begins with a row of so many entries, which nobody asks for."""
    indices, distances = graph()
    P = symmetrize(indices, Perplexity(1.5).conditional(distances, ONE), ONE)
    files = [ScratchFile(tmp_path, dtype, "affinities") for dtype in (np.uint32, np.float32)]
    for file, values in zip(files, (P.indices, P.values), strict=True):
        file.write(before, values)
    far = JointOnDisk(np.concatenate([[np.uint64(0)], P.indptr + np.uint64(before)]), *files)
    Y = np.random.default_rng(1).normal(size=(60, d)).astype(np.float32)
    forces, energy, _ = KERNELS[d]
    wanted, found = np.zeros((60, d), np.float32), np.zeros((61, d), np.float32)
    forces(P.indptr, *P.part(0, 60), Y, np.float32(1), 0, 60, wanted)
    # Rows are one further on there, and their numbers are not.
    moved = np.concatenate([np.zeros((1, d), np.float32), Y])
    up = far.part(1, 61)
    forces(far.indptr, up.first, up.indices + np.uint32(1), up.values, moved, np.float32(1), 1, 61, found)
    np.testing.assert_array_equal(found[1:], wanted)
    assert energy(far.indptr, up.first, up.indices + np.uint32(1), up.values, moved, 1.0, 1, 61) == energy(
        P.indptr, *P.part(0, 60), Y, 1.0, 0, 60
    )
    far.close()


@pytest.mark.parametrize("d", [1, 2, 3])
def test_steps_of_rows(d, tmp_path):
    rng = np.random.default_rng(2)
    few = [rng.normal(size=(40, d)).astype(np.float32) for _ in range(5)]
    advance = KERNELS[d][2]
    shift, slack = np.zeros(d, np.float32), np.full(40, 3, np.float32)

    def step(at, arrays, slack):
        Y, slope, velocity, gains, out = arrays
        return advance(
            Y, np.float32(2), slope, np.float32(0.1), np.float32(20), np.float32(5), slack, np.float32(0.8),
            np.float32(5), shift, velocity, gains, at, at + 40, out,
        )  # fmt: skip

    far = [sparse(tmp_path, (FAR + 40, d), np.float32, FAR, array) for array in few]
    sums = step(FAR, far, sparse(tmp_path, (FAR + 40,), np.float32, FAR, slack))
    assert step(0, few, slack) == sums
    for one, other in zip(far, few, strict=True):
        np.testing.assert_array_equal(one[FAR:], other)


@pytest.mark.parametrize("values", [True, False])
def test_merged_entries_are_written_far_out(values, tmp_path):
    """What is merged of a block of rows, where 2^32 entries and more of other rows come before."""
    indices, distances = graph()
    p = Perplexity(1.5).conditional(distances, ONE) if values else None
    P = symmetrize(indices, p, ONE)
    p = np.empty((0, 0), np.float32) if p is None else p
    before = (1 << 32) + 9
    counts = np.bincount(indices.ravel(), minlength=60)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint64)
    cursor = offsets[:-1].copy() + np.uint64(before)
    sources = sparse(tmp_path, (before + indices.size,), np.uint32)
    incoming = sparse(tmp_path, (before + indices.size if values else 0,), np.float32) if values else p.reshape(-1)
    symmetric.gather_incoming(indices, p, 0, 60, cursor, sources, incoming)
    into = sparse(tmp_path, (before + P.entries,), np.uint32)
    weights = sparse(tmp_path, (before + P.entries,), np.float32) if values else p.reshape(-1)
    symmetric.merge(
        indices, p, offsets + np.uint64(before), sources, incoming, np.float32(1 / 120), np.zeros(60, np.uint32),
        P.indptr + np.uint64(before), into, weights,
    )  # fmt: skip
    np.testing.assert_array_equal(into[before:], P.indices)
    if values:
        np.testing.assert_array_equal(weights[before:], P.values)


def test_edges_are_scattered_far_out(tmp_path):
    indices, distances = graph()
    p = Perplexity(1.5).conditional(distances, ONE)
    block_of = np.repeat(np.arange(3, dtype=np.uint16), 20)
    inside = np.bincount(block_of[indices.ravel()], minlength=3)
    starts = np.concatenate([[0], np.cumsum(inside)])[:3]
    found = []
    for at in (0, (1 << 33) + 3):
        with joint._Edges(tmp_path) as edges:
            cursors = starts + at
            edges.scatter(indices, p, 0, block_of, cursors)
            pieces = [joint._Piece(20 * i, 20 * i + 20, int(starts[i]) + at) for i in range(3)]
            found.append([edges.read(piece, int(cursors[i]), True) for i, piece in enumerate(pieces)])
    for near, far in zip(*found, strict=True):
        for one, other in zip(near, far, strict=True):
            np.testing.assert_array_equal(one, other)
    assert sorted(found[0][2][0]) == sorted(indices[indices >= 40])


def test_pieces_of_more_edges_than_32_bits_count():
    """Rows that are the neighbours of 2^25 others each."""
    incoming = np.full(1000, 1 << 25)
    pieces = joint._cut(incoming, 15)
    assert pieces[0].first == 0 and pieces[-1].last == 1000 and 1 < len(pieces) <= joint.MOST_PIECES + 1
    for one, other in itertools.pairwise(pieces):
        assert one.last == other.first and other.edges == (other.first << 25)


def test_neighbours_of_rows_far_down(tmp_path):
    """2^31 rows of three neighbours each; the last ones are there."""
    indices, distances = graph(k=3)
    kept = NeighborsOnDisk((FAR + 60, 3), tmp_path)
    kept.put(FAR, indices, distances)
    rows, near, apart = kept.read(FAR + 1, FAR + 60)
    assert rows[0] == FAR + 1
    np.testing.assert_array_equal(near, indices[1:])
    np.testing.assert_array_equal(apart, distances[1:])
    kept.close()


@pytest.mark.parametrize("cosine", [False, True])
def test_a_search_among_numbers_far_out(cosine, tmp_path):
    """2^26 rows of 50 columns, in lists: that of the last 100 of them is searched."""
    n, p, m, k = 1 << 26, 50, 100, 7
    few = np.random.default_rng(3).normal(size=(m, p)).astype(np.float32)
    frame = Frame.of(few, cosine=cosine, threads=ONE)
    near = Blocks.of(few, frame, ONE)
    wanted = near.search(few, np.arange(m), k)
    at = n - m
    far = Blocks(
        sparse(tmp_path, (n, p), np.float32, at, few), frame, sparse(tmp_path, (n, p + 1), np.float32, at, near.lifted),
        sparse(tmp_path, (n,), np.uint32, at, np.arange(at, n, dtype=np.uint32)), np.array([0, at, n]),
    )  # fmt: skip
    found = far.search(far.rows, np.arange(at, n), k, Probes(np.array([1]), np.array([0, m]), np.arange(m)))
    np.testing.assert_array_equal(found[0] - np.uint32(at), wanted[0])
    np.testing.assert_array_equal(found[1], wanted[1])


def test_more_rows_than_have_numbers_are_refused_before_the_work(tmp_path, monkeypatch):
    class Unread:
        shape, dtype = (1 << 32, 2), np.dtype("f4")

        def __getitem__(self, rows):
            raise AssertionError("was read")

    monkeypatch.setattr("shutil.disk_usage", lambda path: type("", (), {"free": 10**15}))
    with pytest.raises(ValueError, match=r"^4,294,967,296 rows are more than the 4,294,967,295 .* numbered") as caught:
        tsne_ooc.embed(Unread(), out=tmp_path / "map", tsne=TSNE(), refine=Refinement(memory=1e6))
    assert "\n" not in str(caught.value) and not (tmp_path / "map").exists()
