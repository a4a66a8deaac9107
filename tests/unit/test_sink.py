"""A file goes on where it was only if its rows are those that were marked, in whatever order they were written."""

import errno
import itertools
import os
import random
import shutil
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsne_ooc.io import NpySink
from tsne_ooc.storage.disk import sync_folder

SHAPES = [(50, 2), (50,), (50, 1), (50, 3)]


def rows_of(shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def begun(path, Y, done):
    """Write the first rows and stop; returns what is done."""
    sink = NpySink(path, Y.shape)
    sink.write(Y[:done])
    sink.sync()
    sink.leave()
    return sink.done


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("behind", [b"", b"\x07", bytes(1000)])
def test_going_on_gives_the_file_of_one_piece(tmp_path, shape, behind):
    Y = rows_of(shape)
    np.save(tmp_path / "whole.npy", Y)
    for done in (1, 20, 50):
        path = tmp_path / f"{done}.npy"
        there = begun(path, Y, done)
        with open(f"{path}.part", "ab") as file:
            file.write(behind)
        with NpySink(path, shape, done=there) as sink:
            sink.write(Y[done:])
        assert path.read_bytes() == (tmp_path / "whole.npy").read_bytes()
        assert not (tmp_path / f"{done}.npy.part").exists()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 49), max_size=8), st.integers(0, 1000), st.sampled_from(SHAPES))
def test_rows_in_any_order_give_the_file_of_one_piece(tmp_path_factory, cuts, seed, shape):
    """Some attempts, each of which writes some pieces and leaves; what is done is told by sums of its bytes."""
    folder, Y, rng = tmp_path_factory.mktemp("sink"), rows_of(shape), random.Random(seed)
    np.save(folder / "whole.npy", Y)
    edges = [0, *sorted(set(cuts)), 50]
    pieces = list(itertools.pairwise(edges))
    rng.shuffle(pieces)
    there = None
    while pieces:
        sink = NpySink(folder / "Y.npy", shape, done=there)
        for _ in range(rng.randint(1, len(pieces))):
            start, stop = pieces.pop()
            sink.write(Y[start:stop], start)
        sink.sync()
        there = sink.done
        assert [part.crc for part in there] == [zlib.crc32(Y[part.start : part.stop].tobytes()) for part in there]
        assert all(one.stop < other.start for one, other in itertools.pairwise(there))
        sink.leave()
    with NpySink(folder / "Y.npy", shape, done=there):
        pass
    assert (folder / "Y.npy").read_bytes() == (folder / "whole.npy").read_bytes()


def test_rows_that_have_no_place(tmp_path):
    Y = rows_of((50, 2))
    with pytest.raises(KeyboardInterrupt), NpySink(tmp_path / "Y.npy", Y.shape) as sink:
        sink.write(Y[10:20], 10)
        for start, stop in [(0, 11), (10, 20), (12, 13), (19, 30)]:
            with pytest.raises(ValueError, match=r"Y\.npy: rows \d+ to \d+ are done already"):
                sink.write(Y[start:stop], start)
        for start, size in [(-1, 3), (48, 3), (50, 1), (1000, 1)]:
            with pytest.raises(ValueError, match=r"Y\.npy takes rows of shape \(50, 2\)"):
                sink.write(Y[:size], start)
        assert sink.done == ((10, 20, zlib.crc32(Y[10:20].tobytes())),)
        raise KeyboardInterrupt


def test_flipped_bits_in_a_range_are_noticed_and_between_ranges_they_are_not(tmp_path):
    Y = rows_of((50, 2))
    sink = NpySink(tmp_path / "Y.npy", Y.shape)
    for start, stop in [(30, 40), (5, 10)]:
        sink.write(Y[start:stop], start)
    sink.sync()
    sink.leave()
    part = tmp_path / "Y.npy.part"
    whole = part.read_bytes()
    for row in range(40):
        damaged = bytearray(whole)
        damaged[128 + 8 * row + row % 8] ^= 16
        part.write_bytes(damaged)
        if 5 <= row < 10 or row >= 30:
            with pytest.raises(ValueError, match=rf"rows {5 if row < 10 else 30} to {9 if row < 10 else 39} are not"):
                NpySink(tmp_path / "Y.npy", Y.shape, done=sink.done)
        else:
            NpySink(tmp_path / "Y.npy", Y.shape, done=sink.done).leave()


def test_a_file_in_place_is_taken_back(tmp_path):
    """Two files belong together: the first was put in place, the second was not."""
    Y = rows_of((50, 2))
    with NpySink(tmp_path / "Y.npy", Y.shape) as sink:
        sink.write(Y)
    there = sink.done
    before = (tmp_path / "Y.npy").read_bytes()
    with NpySink(tmp_path / "Y.npy", Y.shape, done=there):
        assert not (tmp_path / "Y.npy").exists()
    assert (tmp_path / "Y.npy").read_bytes() == before


def test_flipped_bits_in_the_rows_done_are_noticed(tmp_path):
    Y = rows_of((50, 2))
    path, part = tmp_path / "Y.npy", tmp_path / "Y.npy.part"
    there = begun(path, Y, 40)
    whole = part.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.choice(len(whole), 100, replace=False):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(rng.integers(8))
        part.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"Y\.npy\.part (is damaged|was begun for a table of another shape)"):
            NpySink(path, Y.shape, done=there)
        assert part.read_bytes() == bytes(damaged)


def test_rows_that_are_missing(tmp_path):
    Y = rows_of((50, 2))
    path, part = tmp_path / "Y.npy", tmp_path / "Y.npy.part"
    there = begun(path, Y, 40)
    with open(part, "r+b") as file:
        file.truncate(part.stat().st_size - 1)
    with pytest.raises(ValueError, match=r"Y\.npy\.part is shorter than the 40 rows that are marked as done"):
        NpySink(path, Y.shape, done=there)
    part.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"Y\.npy\.part, which holds 40 rows that are marked as done, is missing"
    ):
        NpySink(path, Y.shape, done=there)


def test_another_shape(tmp_path):
    there = begun(tmp_path / "Y.npy", rows_of((50, 2)), 40)
    with pytest.raises(ValueError, match="begun for a table of another shape"):
        NpySink(tmp_path / "Y.npy", (51, 2), done=there)


def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path):
    (tmp_path / "Y.npy").write_bytes(b"old")
    Y = rows_of((50, 2))
    there = begun(tmp_path / "Y.npy", Y, 50)
    assert (tmp_path / "Y.npy").read_bytes() == b"old"
    with NpySink(tmp_path / "Y.npy", Y.shape, done=there):
        assert (tmp_path / "Y.npy").read_bytes() == b"old"
    np.testing.assert_array_equal(np.load(tmp_path / "Y.npy"), Y)


def test_room_is_asked_for_the_rows_that_are_not_there(tmp_path, monkeypatch):
    Y = rows_of((1000, 2))
    there = begun(tmp_path / "Y.npy", Y, 900)
    usage = shutil.disk_usage(tmp_path)._replace(free=900)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with NpySink(tmp_path / "Y.npy", Y.shape, done=there) as sink:
        sink.write(Y[900:])
    with pytest.raises(OSError, match=r"Z\.npy needs 0\.00 GB more, and .* has 0\.00 GB left"):
        NpySink(tmp_path / "Z.npy", Y.shape)
    assert not (tmp_path / "Z.npy.part").exists()


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_refuses_is_named_with_its_reason(tmp_path, monkeypatch, call):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    Y = rows_of((50, 2))
    sink = NpySink(tmp_path / "Y.npy", Y.shape)
    sink.write(Y)
    monkeypatch.setattr(f"os.{call}", full)
    with pytest.raises(OSError, match=r"Y\.npy could not be written: No space left on device$"):
        sink.close()
    sink.leave()
    assert not (tmp_path / "Y.npy").exists() and (tmp_path / "Y.npy.part").exists()


def test_a_file_in_place_that_cannot_be_taken_back_stays(tmp_path, monkeypatch):
    Y = rows_of((50, 2))
    with NpySink(tmp_path / "Y.npy", Y.shape) as sink:
        sink.write(Y)
    before = (tmp_path / "Y.npy").read_bytes()

    def refuse(*arguments):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OSError) as caught:
        NpySink(tmp_path / "Y.npy", Y.shape, done=sink.done)
    assert str(caught.value) == f"{tmp_path / 'Y.npy'} could not be written: Read-only file system"
    assert (tmp_path / "Y.npy").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("end", ["close", "leave", "discard"])
def test_after_its_end_a_file_takes_no_rows_and_ends_again_without_harm(tmp_path, end):
    Y = rows_of((50, 2))
    sink = NpySink(tmp_path / "Y.npy", Y.shape)
    sink.write(Y)
    getattr(sink, end)()
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(left) == {"close": {"Y.npy"}, "leave": {"Y.npy.part"}, "discard": set()}[end]
    with pytest.raises(ValueError) as caught:
        sink.write(Y[:0], at=0)
    assert str(caught.value) == f"{tmp_path / 'Y.npy'} is closed"
    for again in ("close", "leave", "discard"):
        getattr(sink, again)()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == left


@pytest.mark.parametrize("number, matters", [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.ENOSPC, True)])
def test_folders_that_cannot_be_synchronised(tmp_path, monkeypatch, number, matters):
    """Some file systems have no such thing; other errors are errors."""

    def refuse(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    if matters:
        with pytest.raises(OSError, match="No space left"):
            sync_folder(tmp_path)
    else:
        sync_folder(tmp_path)


@pytest.mark.parametrize("dtype", [np.uint32, np.float64, np.int16])
def test_other_numbers_than_float32(tmp_path, dtype):
    """Written in pieces, left, and gone on with; a file of another type is not gone on with."""
    rows = (np.random.default_rng(0).integers(0, 2**15, (50, 3))).astype(dtype)
    sink = NpySink(tmp_path / "rows.npy", rows.shape, dtype=dtype)
    sink.write(rows[20:35], 20)
    sink.write(rows[:20], 0)
    sink.sync()
    done = sink.done
    sink.leave()
    with pytest.raises(ValueError, match=r"of another shape .* or for other numbers"):
        NpySink(tmp_path / "rows.npy", rows.shape, done=done, dtype=np.float32 if dtype != np.uint32 else np.int32)
    with NpySink(tmp_path / "rows.npy", rows.shape, done=done, dtype=dtype) as sink:
        sink.write(rows[35:])
    found = np.load(tmp_path / "rows.npy")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, rows)


def test_an_error_comes_out_though_the_file_is_gone_already(tmp_path):
    """Whoever removed what was written has done what is to be done."""
    with pytest.raises(KeyError, match="why it ended"), NpySink(tmp_path / "x.npy", (4, 2)) as sink:
        sink.write(np.ones((2, 2), "f4"))
        sink.part.unlink()
        raise KeyError("why it ended")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("layout", [
    lambda Y: np.asfortranarray(Y), lambda Y: np.repeat(Y, 2, axis=0)[::2], lambda Y: Y[::-1].copy()[::-1],
    lambda Y: Y.astype("f8"), lambda Y: Y.astype(">f4"), lambda Y: Y.astype("i2"), lambda Y: Y.tolist(),
    lambda Y: np.broadcast_to(Y, (2, *Y.shape))[1],
])  # fmt: skip
@pytest.mark.parametrize("shape", [(6, 2), (6,)])
def test_rows_in_any_layout_and_type_are_those_of_the_file(tmp_path, shape, layout):
    """And what was given stays as it was."""
    Y = np.arange(np.prod(shape)).reshape(shape).astype("f4")
    given = layout(Y)
    before = np.array(given)
    with NpySink(tmp_path / "x.npy", shape) as sink:
        sink.write(given[:4])
        sink.write(given[4:])
    found = np.load(tmp_path / "x.npy")
    assert found.dtype == np.dtype("<f4") and found.flags.c_contiguous
    np.testing.assert_array_equal(found, Y)
    np.testing.assert_array_equal(given, before)
