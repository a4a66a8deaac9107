"""Arrays over files without a name: plain arrays, whose memory can be given back while their numbers stay."""

from __future__ import annotations

import errno
import os
import re

import numpy as np
import pytest

from tsne_ooc import _memory
from tsne_ooc._memory import used_bytes
from tsne_ooc._parallel import Threads, ranges
from tsne_ooc.storage import mapped
from tsne_ooc.storage.mapped import empty, forget, forget_given, in_pieces, on_disk, picked, spared

MANY = 8_000_000


def test_in_memory_unless_a_folder_is_named(tmp_path):
    assert not spared() and type(empty((3, 2), np.float32)) is np.ndarray
    with on_disk(tmp_path):
        assert spared()
        found = empty((3, 2), np.float32)
        with on_disk(None):
            assert not spared()
        none = empty((0, 2), np.float32)
    # Numba knows plain arrays only; the file has no name.
    assert type(found) is np.ndarray and found.flags.writeable and none.size == 0
    assert not list(tmp_path.iterdir()) and not spared()
    found[:] = [[1, 2], [3, 4], [5, 6]]
    forget(found)
    np.testing.assert_array_equal(found, [[1, 2], [3, 4], [5, 6]])


def test_memory_is_given_back_and_numbers_stay(tmp_path):
    # What other tests hold is theirs.
    others = set(mapped._given)
    with on_disk(tmp_path):
        array = empty((MANY,), np.float32)
    assert set(mapped._given) - others
    before = used_bytes()
    # Piece by piece: the C library may keep the memory of 32 MB that are let go.
    for a in range(0, MANY, 1 << 14):
        array[a : a + (1 << 14)] = np.arange(a, min(a + (1 << 14), MANY), dtype=np.float32)
    held = used_bytes() - before
    assert held > 0.9 * array.nbytes
    # A part, from and to the middle of a page.
    forget(array[1001 : MANY // 2 + 77])
    assert 0.4 * array.nbytes < used_bytes() - before < 0.6 * array.nbytes
    forget_given()
    assert used_bytes() - before < 0.1 * array.nbytes
    np.testing.assert_array_equal(array[::997], np.arange(MANY)[::997])
    del array
    assert not set(mapped._given) - others


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("spare", [0, 1 << 40], ids=["near the limit", "far from it"])
def test_near_the_limit_pieces_of_work_give_pages_back(jobs, spare, tmp_path):
    """Numbers stay as they are, and what was not asked for is left alone."""
    size = MANY // 32
    with on_disk(tmp_path, used_bytes() + spare):
        array = empty((MANY,), np.float32)
        before = used_bytes()
        held = []

        def fill(a, b):
            array[a:b] = np.arange(a, b, dtype=np.float32)
            held.append(used_bytes() - before)

        Threads(jobs).map(fill, ranges(MANY, size))
    if spare:
        assert max(held) > 0.9 * array.nbytes
    else:
        # What two threads fill at a time, and little else.
        assert max(held) < 0.3 * array.nbytes
    # Nobody bounds it any more.
    Threads(1).map(lambda a, b: float(array[a:b].sum()), ranges(MANY, size))
    assert used_bytes() - before > 0.9 * array.nbytes
    np.testing.assert_array_equal(array[::997], np.arange(MANY)[::997])


def test_pages_are_given_back_from_three_fifths_of_the_limit_on(monkeypatch):
    given = []
    monkeypatch.setattr(_memory, "used_bytes", lambda: 601)
    with _memory.bounded(None, lambda: given.append("none")):
        _memory.relieve()
    with _memory.bounded(1000, lambda: given.append("near")), _memory.bounded(1002, lambda: given.append("far")):
        _memory.relieve()
    _memory.relieve()
    assert given == ["near"]
    # Where the system does not tell, nothing is given back.
    monkeypatch.setattr(_memory, "used_bytes", lambda: None)
    with _memory.bounded(1, lambda: given.append("untold")):
        _memory.relieve()
    assert given == ["near"]


def test_a_limit_in_memory_is_none(tmp_path, monkeypatch):
    """Nothing lies over files then."""
    monkeypatch.setattr(_memory, "used_bytes", lambda: 2)
    given = []
    monkeypatch.setattr(mapped, "forget_given", lambda: given.append(1))
    for folder, times in ((None, 0), (tmp_path, 1)):
        with on_disk(folder, 1):
            _memory.relieve()
        assert len(given) == times


def test_looked_at_in_pieces_it_is_never_all_in_memory(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(MANY, dtype=np.float32).reshape(-1, 4))
    array = np.asarray(np.load(tmp_path / "x.npy", mmap_mode="r"))
    before = used_bytes()
    most, total = 0, 0.0
    for some in in_pieces(array):
        total += float(some.sum(dtype=np.float64))
        most = max(most, used_bytes() - before)
    assert total == MANY * (MANY - 1) / 2 and most < 0.5 * array.nbytes
    whole = np.arange(10.0)
    assert sum(len(some) for some in in_pieces(whole)) == 10


def test_what_is_written_to_a_private_map_is_not_lost(tmp_path):
    """Pages of other maps that are given back are read anew; these have what no file has."""
    np.save(tmp_path / "x.npy", np.zeros(5000, np.float32))
    private = np.load(tmp_path / "x.npy", mmap_mode="c")
    private[:] = 7
    forget(private, private[10:20], np.asarray(private))
    assert (private == 7).all()
    # Strided views, arrays in memory, and a raw map.
    strided = np.arange(100.0)[::3]
    forget(strided, np.empty((0, 3)), np.frombuffer(b"12345678", np.uint8))
    np.testing.assert_array_equal(strided, np.arange(100.0)[::3])


def test_picked_rows(tmp_path):
    X = np.arange(40.0).reshape(10, 4)
    with on_disk(tmp_path):
        np.testing.assert_array_equal(picked(X, X[:, 0] > 12), X[4:])
        np.testing.assert_array_equal(picked(X, np.array([7, 1])), X[[7, 1]])


@pytest.mark.parametrize(
    "number, says",
    [(errno.ENOSPC, "has no room for 0.00 GB: No space left on device; make room there"),
     (errno.EIO, "cannot hold 0.00 GB: Input/output error; name another folder")],
)  # fmt: skip
def test_a_disk_that_refuses_is_named(number, says, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    with on_disk(tmp_path), pytest.raises(OSError, match=f"^{re.escape(f'{tmp_path} {says}')}$"):
        empty((10,), np.float32)
    with (
        on_disk(tmp_path / "gone"),
        pytest.raises(FileNotFoundError, match=r"^there is no folder .*gone any more; make it, or"),
    ):
        empty((10,), np.float32)


def test_more_entries_than_32_bits_count(tmp_path):
    """A file with a hole, of 2^33 numbers; its last ones are written, forgotten and read."""
    with open(tmp_path / "sparse", "w+b") as file:
        file.truncate(1 << 33)
        array = np.asarray(np.memmap(file, np.uint8, "r+", 0, (1 << 31, 4)))
    rows = array[(1 << 31) - 3 :]
    rows[:] = 5
    forget(rows)
    assert int(array[-1, 3]) == 5 and int(array[-4, 3]) == 0


def test_arrays_in_memory_do_not_keep_others_from_being_forgotten(tmp_path):
    """Of several arrays each is looked at, wherever it comes among them."""
    with on_disk(tmp_path):
        array = empty((MANY,), np.uint8)
    for others in ((np.ones(3),), (np.arange(9.0)[::2], np.empty((0, 3)))):
        array[:] = 1
        before = used_bytes()
        forget(*others, array)
        assert before - used_bytes() > 0.8 * array.nbytes
    assert (array == 1).all()


@pytest.mark.parametrize("n", [0, 1, (1 << 15) - 1, 1 << 15, (1 << 15) + 1, 100_000])
def test_any_number_of_rows_is_picked(n, tmp_path):
    X = np.arange(2 * 100_000, dtype=np.int32).reshape(-1, 2)
    which = np.random.default_rng(n).permutation(100_000)[:n]
    mask = np.zeros(100_000, bool)
    mask[which] = True
    for folder in (None, tmp_path):
        with on_disk(folder):
            np.testing.assert_array_equal(picked(X, which), X[which])
            np.testing.assert_array_equal(picked(X, mask), X[mask])
            np.testing.assert_array_equal(picked(X[:, 0], which), X[which, 0])


def test_a_system_that_cannot_set_room_aside_makes_the_file_as_long(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with on_disk(tmp_path):
        found = empty((1000, 3), np.float64)
    assert not found.any()
    found[:] = 7
    forget(found)
    assert (found == 7).all() and found.shape == (1000, 3)
