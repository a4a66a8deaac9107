"""How long the phases of a run take."""

from __future__ import annotations

import time


class Clock:
    """Adds the seconds between `__enter__` and `__exit__` to an entry of `seconds`."""

    def __init__(self, seconds: dict[str, float], phase: str) -> None:
        self._seconds, self._phase = seconds, phase

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        took = time.perf_counter() - self._start
        self._seconds[self._phase] = round(self._seconds.get(self._phase, 0.0) + took, 3)
