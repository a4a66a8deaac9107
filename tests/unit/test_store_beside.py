"""A folder that is saved and read at the same time, and by two writers: whoever reads gets one save, whole."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from tsne_ooc.storage import read_folder, write_folder

WRITER = """
    import sys, time
    import numpy as np
    from tsne_ooc.storage import write_folder

    value, end, saved = float(sys.argv[2]), time.time() + float(sys.argv[3]), 0
    while time.time() < end:
        try:
            arrays = {f"a{i}": np.full(2000, value) for i in range(6)}
            write_folder(sys.argv[1], "x", {"v": value}, arrays, overwrite=True)
            saved += 1
        except BlockingIOError:
            time.sleep(0.001)
        value += 2
    print(saved)
"""


def writer(folder, value, seconds):
    program = [sys.executable, "-c", textwrap.dedent(WRITER), str(folder), str(value), str(seconds)]
    return subprocess.Popen(program, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("writers", [1, 2])
def test_reading_beside_writers(tmp_path, writers):
    folder = tmp_path / "x"
    write_folder(folder, "x", {"v": 0.0}, {f"a{i}": np.zeros(2000) for i in range(6)})
    processes = [writer(folder, number + 1, 3) for number in range(writers)]
    seen = set()
    while any(process.poll() is None for process in processes):
        found = read_folder(folder, "x")
        values = {float(value) for array in found.arrays.values() for value in array[::500]}
        assert values == {found.content["v"]}
        seen |= values
    saved = [int(process.communicate()[0]) for process in processes]
    assert min(saved) > 0 and len(seen) > 3
    # Nothing is left of the generations before.
    assert len(list(folder.iterdir())) == 7


def test_a_damaged_folder_is_not_read_for_ever(tmp_path):
    write_folder(tmp_path / "x", "x", {}, {"a": np.zeros(3)})
    (tmp_path / "x" / "a.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.npy is missing"):
        read_folder(tmp_path / "x", "x")


@pytest.mark.parametrize(
    "first, second", [(("a", "a.2"), ("a",)), (("a", "a.2", "a.3"), ("a", "b")), (("a.2",), ("a",))]
)
def test_a_save_takes_no_file_of_the_one_before(tmp_path, monkeypatch, first, second):
    """Names of arrays may hold dots: a.2.npy is of the array "a.2", or of "a" in its second generation."""
    old = {name: np.full(4, i + 1.0) for i, name in enumerate(first)}
    write_folder(tmp_path / "x", "x", {}, old)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            write_folder(tmp_path / "x", "x", {}, {name: np.zeros(7) for name in second}, overwrite=True)
    found = read_folder(tmp_path / "x", "x").arrays
    assert {name: array.tolist() for name, array in found.items()} == {name: a.tolist() for name, a in old.items()}
    write_folder(tmp_path / "x", "x", {}, {name: np.zeros(7) for name in second}, overwrite=True)
    found = read_folder(tmp_path / "x", "x").arrays
    assert {name: array.tolist() for name, array in found.items()} == {name: [0.0] * 7 for name in second}


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="nobody can be stopped here")
def test_a_second_writer_is_told_who_the_first_is(tmp_path):
    write_folder(tmp_path / "x", "x", {}, {"a": np.zeros(3)})
    process = writer(tmp_path / "x", 1, 60)
    try:
        # Stopped at a moment when it holds the folder.
        while True:
            process.send_signal(signal.SIGSTOP)
            if (tmp_path / "x" / ".lock").exists() and (tmp_path / "x" / ".lock").read_text():
                break
            process.send_signal(signal.SIGCONT)
            time.sleep(0.003)
        with pytest.raises(BlockingIOError, match=rf"is being written by another run \(process {process.pid}\)"):
            write_folder(tmp_path / "x", "x", {}, {"a": np.ones(3)}, overwrite=True)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    # Killed, it locks nobody out.
    write_folder(tmp_path / "x", "x", {}, {"a": np.ones(3)}, overwrite=True)
    assert read_folder(tmp_path / "x", "x").arrays["a"].tolist() == [1.0] * 3
    assert ".lock" not in os.listdir(tmp_path / "x")
