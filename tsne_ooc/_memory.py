"""How much memory there is, and how much this process has."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Pages over files are given back from this share of the limit on: threads touch more of them until they look again.
_SHARE = 0.6

_bounds: list[tuple[int, Callable[[], None]]] = []


@contextmanager
def bounded(most: int | None, relief: Callable[[], None]) -> Iterator[None]:
    """Let `relieve` call `relief` where this process comes near `most` bytes; None changes nothing."""
    if most is None:
        yield
        return
    bound = most, relief
    # Each is one step for the interpreter. A lock would stay locked in a child that is forked meanwhile.
    _bounds.append(bound)
    try:
        yield
    finally:
        _bounds.remove(bound)


def relieve() -> None:
    """Give back what can be read again, where somebody bounds the memory and it is nearly used up."""
    bounds = list(_bounds)
    if not bounds:
        return
    used = used_bytes() or 0
    for most, relief in bounds:
        if used > _SHARE * most:
            relief()


def used_bytes() -> int | None:
    """Memory that this process holds now (its resident set); None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        pass
    # What it holds now is not told.
    return _most_held()


def peak_bytes() -> int | None:
    """The most memory that this process has held since it began; None where the system does not tell."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            # Unlike the number of `getrusage` it is not that of the process which started this one.
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return _most_held()


def _most_held() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    # In bytes on macOS, elsewhere in kilobytes.
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most) if sys.platform == "darwin" else int(most) * 1024


def available_bytes() -> int | None:
    """Memory that a process could still take without swapping; None where the system does not tell.

    Within a container this is at most what its limit leaves.
    """
    found = [size for size in (_free(), _left_in_group()) if size is not None]
    return min(found) if found else None


def _free() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def _left_in_group() -> int | None:
    for folder, most, now, cache in (
        ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            limit = Path(f"{folder}/{most}").read_text().strip()
            if limit != "max":
                used = int(Path(f"{folder}/{now}").read_text()) - _cached(Path(f"{folder}/memory.stat"), cache)
                return max(0, int(limit) - used)
        except (OSError, ValueError):
            continue
    return None


def _cached(path: Path, name: str) -> int:
    """Bytes of files that were read, which the kernel counts as used and gives back as soon as they are needed."""
    try:
        found = dict(line.split() for line in path.read_text().splitlines())
        return int(found.get(name, 0))
    except (OSError, ValueError):
        return 0
