"""Progress on stderr: a bar on a terminal, a line now and then elsewhere, and nothing where it is to be quiet."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, TextIO

from tsne_ooc._context import listening
from tsne_ooc._memory import used_bytes
from tsne_ooc._options import counted

_NAMES = {
    "convert": "reading text",
    "prepare": "preparing",
    "sample": "drawing a sample",
    "fit": "fitting the sample",
    "look": "looking for what the sample missed",
    "place": "placing rows",
    "search": "searching the neighbours of all rows",
    "weigh": "weighing them",
    "refine": "moving all rows together",
    "keep": "keeping the map",
    "read": "reading rows",
    "teach": "finding what there is to learn",
    "train": "training the encoder",
    "trust": "scoring rows",
}
# Phases that tell only their beginning and their end.
_STEPLESS = ("fit", "teach", "search", "weigh", "keep")
# Phases that have a bar of their own on a terminal, which counts iterations.
_OWN_BAR = ("fit", "teach", "train", "refine")
_UNITS = {"train": "batches", "refine": "iterations", "convert": "bytes"}
# Seconds between two lines: a log has to show that the work goes on, and not how smoothly.
EVERY = 15.0


class Report:
    """Tells the phase, how many rows are done, rows per second, the time that is left, and the memory.

    Parameters
    ----------
    quiet : bool
    stream : file, optional
        Where the progress is written, by default stderr.

    Attributes
    ----------
    note : str
        A text that each line begins with.
    """

    def __init__(self, quiet: bool, stream: TextIO | None = None) -> None:
        self._quiet = quiet
        self._stream = stream or sys.stderr
        self._bar: Any = None
        self._phase = self.note = ""
        self._done = self._first = 0
        self._last = self._began = time.monotonic()
        self._fits = ExitStack()

    def __call__(self, phase: str, done: int, total: int) -> None:
        if self._quiet:
            return
        if phase != self._phase or done < self._done:
            self._open(phase, done, total)
        elif self._bar is not None:
            self._bar.set_postfix_str(_memory(), refresh=False)
            self._bar.update(done - self._done)
        elif phase not in _STEPLESS and time.monotonic() - self._last > EVERY and not self._stream.isatty():
            self._line(done, total)
        self._done = done

    def iterations(self, done: int, total: int) -> None:
        """Tell how far a fit has come, where there is no bar."""
        now = time.monotonic()
        if done == 1:
            self._began = now
        elif now - self._last > EVERY and done < total and self._phase in _STEPLESS:
            self._last = now
            left = timedelta(seconds=round((now - self._began) * (total - done) / (done - 1)))
            name = _NAMES.get(self._phase, self._phase)
            self._print(f"{name}: iteration {done:,} of {total:,}, {left} left, {_memory()}")

    def _open(self, phase: str, done: int, total: int) -> None:
        self._close()
        self._phase, self._first = phase, done
        self._last = self._began = time.monotonic()
        name = _NAMES.get(phase, phase)
        if self._stream.isatty() and phase not in _OWN_BAR:
            from tqdm import tqdm

            self._bar = tqdm(
                total=total, initial=done, desc=name, unit=f" {self._unit}", unit_scale=True, dynamic_ncols=True,
                file=self._stream,
            )  # fmt: skip
        else:
            resumed = phase in ("look", "place", "refine", "trust") and 0 < done < total
            before = f", {done:,} of them done before" if resumed else ""
            self._print(f"{name} ({counted(total, self._unit)}{before})")

    def _line(self, done: int, total: int) -> None:
        self._last = time.monotonic()
        rate = (done - self._first) / (self._last - self._began)
        left = timedelta(seconds=round((total - done) / rate)) if rate else "?"
        name = _NAMES.get(self._phase, self._phase)
        # The rate may be less than 1, since an iteration of millions of rows takes seconds.
        speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
        told = f"{done:,} of {total:,} ({done / total:.0%}), {speed} {self._unit}/s, {left} left, {_memory()}"
        self._print(f"{name}: {self.note}{told}")

    @property
    def _unit(self) -> str:
        return _UNITS.get(self._phase, "rows")

    def _print(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Report:
        if not self._quiet and not self._stream.isatty():
            self._fits.enter_context(listening(self.iterations))
        return self

    def __exit__(self, *error: object) -> None:
        self._fits.close()
        self._close()


def _memory() -> str:
    used = used_bytes()
    return "" if used is None else f"{used / 1e9:.1f} GB memory"
