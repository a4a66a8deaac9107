"""What is read into memory, and what is refused because it would not fit."""

import mmap
import os
import sys

import numpy as np
import pytest

from tsne_ooc import TSNE, _memory
from tsne_ooc.io import as_source, reading


class Wide:
    """A table that nobody could hold: reading it would be an error of its own."""

    shape = (10**9, 50)
    dtype = np.dtype("f4")
    chunks = None

    def read(self, start, stop):
        raise AssertionError("it was read")

    def reopen(self):
        return self


def test_a_fit_of_more_than_fits_is_refused_before_it_is_read():
    with pytest.raises(MemoryError, match=r"all 1,000,000,000 rows of 50 columns takes about .* GB .*sample=25000"):
        TSNE().fit(Wide())


@pytest.mark.parametrize(
    "free, fits", [(None, True), (1000 * (4 * 5 + 2200), True), (1000 * (4 * 5 + 2200) - 1, False)]
)
def test_the_limit(monkeypatch, free, fits):
    monkeypatch.setattr(reading, "available_bytes", lambda: free)
    table = as_source(np.zeros((1000, 5), np.float32))
    if fits:
        reading.check_memory(table)
    else:
        with pytest.raises(MemoryError, match="GB are free"):
            reading.check_memory(table)


def test_memory_is_told():
    used, free = _memory.used_bytes(), _memory.available_bytes()
    assert used is not None and used > 10_000_000
    assert free is not None and free > 10_000_000
    # Pages that this process does not hold yet: an array may get what was freed before and is still counted.
    block = mmap.mmap(-1, 1 << 28)
    np.frombuffer(block, np.uint8)[:] = 1
    assert _memory.used_bytes() - used > 0.9 * len(block)


@pytest.mark.parametrize("told", ["MemTotal: 9 kB\nMemFree: 5 kB\nMemAvailable:   70000 kB\n", "x: y\n", ""])
def test_what_the_system_says_is_free_is_read(monkeypatch, tmp_path, told):
    """Memory that could be had, which is more than what nothing is in and less than all; all, where it is not told."""
    (tmp_path / "meminfo").write_text(told)
    monkeypatch.setattr(_memory, "Path", lambda name: tmp_path / name.rpartition("/")[2])
    everything = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert _memory.available_bytes() == (70_000 * 1024 if "Available" in told else everything)


def test_a_system_that_tells_nothing(monkeypatch, tmp_path):
    """Then nothing is refused; what is held is the most that was held, where at least that is told."""
    monkeypatch.setattr(_memory, "Path", lambda name: tmp_path / "nothing")
    monkeypatch.delattr(os, "sysconf")
    assert _memory.available_bytes() is None
    reading.check_memory(as_source(np.zeros((1000, 5), np.float32)))
    assert _memory.used_bytes() > 10_000_000
    monkeypatch.setitem(sys.modules, "resource", None)
    assert _memory.used_bytes() is None


@pytest.mark.parametrize(
    "most, now, cache",
    [
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_the_limit_of_a_group_counts(monkeypatch, tmp_path, most, now, cache):
    real = _memory.Path
    (tmp_path / most).write_text("5000\n")
    (tmp_path / now).write_text("2000\n")
    monkeypatch.setattr(
        _memory, "Path",
        lambda name: tmp_path / real(name).name if real(name).name.startswith("memory.") else real(name),
    )  # fmt: skip
    assert _memory.available_bytes() == 3000
    # What is only kept of files that were read is given back as soon as somebody needs it.
    (tmp_path / "memory.stat").write_text(f"anon 300\nfile 1900\n{cache} 1600\nactive_file 200\n")
    assert _memory.available_bytes() == 4600
    # More may be used than allowed, for a moment.
    (tmp_path / now).write_text("9000\n")
    assert _memory.available_bytes() == 0
    (tmp_path / most).write_text("max\n")
    assert _memory.available_bytes() > 10_000_000
