"""A file goes on where it was only if its rows are those that were marked; whatever lies behind them is cut off."""

import errno
import os
import shutil

import numpy as np
import pytest

from tsne_ooc._disk import sync_folder
from tsne_ooc.io import NpySink

SHAPES = [(50, 2), (50,), (50, 1), (50, 3)]


def rows_of(shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def begun(path, Y, done):
    """Write the first rows and stop; returns the sum."""
    sink = NpySink(path, Y.shape)
    sink.write(Y[:done])
    crc = sink.sync()
    sink.leave()
    return crc


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("behind", [b"", b"\x07", bytes(1000)])
def test_going_on_gives_the_file_of_one_piece(tmp_path, shape, behind):
    Y = rows_of(shape)
    np.save(tmp_path / "whole.npy", Y)
    for done in (1, 20, 50):
        path = tmp_path / f"{done}.npy"
        crc = begun(path, Y, done)
        with open(f"{path}.part", "ab") as file:
            file.write(behind)
        with NpySink(path, shape, done=done, crc=crc) as sink:
            sink.write(Y[done:])
        assert path.read_bytes() == (tmp_path / "whole.npy").read_bytes()
        assert not (tmp_path / f"{done}.npy.part").exists()


def test_a_file_in_place_is_taken_back(tmp_path):
    """Two files belong together: the first was put in place, the second was not."""
    Y = rows_of((50, 2))
    with NpySink(tmp_path / "Y.npy", Y.shape) as sink:
        sink.write(Y)
        crc = sink.sync()
    before = (tmp_path / "Y.npy").read_bytes()
    with NpySink(tmp_path / "Y.npy", Y.shape, done=50, crc=crc):
        assert not (tmp_path / "Y.npy").exists()
    assert (tmp_path / "Y.npy").read_bytes() == before


def test_flipped_bits_in_the_rows_done_are_noticed(tmp_path):
    Y = rows_of((50, 2))
    path, part = tmp_path / "Y.npy", tmp_path / "Y.npy.part"
    crc = begun(path, Y, 40)
    whole = part.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.choice(len(whole), 100, replace=False):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(rng.integers(8))
        part.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"Y\.npy\.part (is damaged|was begun for a table of another shape)"):
            NpySink(path, Y.shape, done=40, crc=crc)
        assert part.read_bytes() == bytes(damaged)


def test_rows_that_are_missing(tmp_path):
    Y = rows_of((50, 2))
    path, part = tmp_path / "Y.npy", tmp_path / "Y.npy.part"
    crc = begun(path, Y, 40)
    with open(part, "r+b") as file:
        file.truncate(part.stat().st_size - 1)
    with pytest.raises(ValueError, match=r"Y\.npy\.part is shorter than the 40 rows that are marked as done"):
        NpySink(path, Y.shape, done=40, crc=crc)
    part.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"Y\.npy\.part, which holds 40 rows that are marked as done, is missing"
    ):
        NpySink(path, Y.shape, done=40, crc=crc)


def test_another_shape(tmp_path):
    crc = begun(tmp_path / "Y.npy", rows_of((50, 2)), 40)
    with pytest.raises(ValueError, match="begun for a table of another shape"):
        NpySink(tmp_path / "Y.npy", (51, 2), done=40, crc=crc)


def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path):
    (tmp_path / "Y.npy").write_bytes(b"old")
    Y = rows_of((50, 2))
    crc = begun(tmp_path / "Y.npy", Y, 50)
    assert (tmp_path / "Y.npy").read_bytes() == b"old"
    with NpySink(tmp_path / "Y.npy", Y.shape, done=50, crc=crc):
        assert (tmp_path / "Y.npy").read_bytes() == b"old"
    np.testing.assert_array_equal(np.load(tmp_path / "Y.npy"), Y)


def test_room_is_asked_for_the_rows_that_are_not_there(tmp_path, monkeypatch):
    Y = rows_of((1000, 2))
    crc = begun(tmp_path / "Y.npy", Y, 900)
    usage = shutil.disk_usage(tmp_path)._replace(free=900)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with NpySink(tmp_path / "Y.npy", Y.shape, done=900, crc=crc) as sink:
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
