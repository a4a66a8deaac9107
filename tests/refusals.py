"""Something is refused once, in the midst of a public call: the call ends, with its result or one line, and leaves
nothing that looks whole; the next one answers as ever.

`python tests/refusals.py [first] [last]` draws so many cases; ten take about a minute on two cores.
"""

from __future__ import annotations

import builtins
import os
import random
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from public_calls import ALONE, CALLS, at_once, changed, digest, load_everything, state

# Refusals are drawn among so many; later ones never come in some calls.
KINDS = {"thread": 3, "memory": 40, "descriptor": 12}


class Refusal:
    """Counts what is asked for, and refuses it once."""

    def __init__(self, at: int, error: Exception) -> None:
        self.left, self.error, self.came = at, error, False
        self.lock = threading.Lock()

    def __call__(self) -> None:
        with self.lock:
            self.left -= 1
            if self.left != 0:
                return
            self.came = True
        raise self.error


def _ours() -> bool:
    return str(sys._getframe(2).f_globals.get("__name__", "")).startswith("tsne_ooc")


@contextmanager
def refused(kind: str, at: int, folder: Path) -> Iterator[Refusal]:
    """Refuse the `at`-th thread that is to start, array of ours, or file of the folder that is to be opened."""
    errors = {
        "thread": RuntimeError("can't start new thread"),
        "memory": MemoryError("Unable to allocate"),
        "descriptor": OSError(24, "Too many open files"),
    }
    refuse = Refusal(at, errors[kind])
    start, empty, opened, low = threading.Thread.start, np.empty, builtins.open, os.open

    def started(self: threading.Thread) -> None:
        refuse()
        start(self)

    def allocated(*arguments: Any, **more: Any) -> Any:
        if _ours():
            refuse()
        return empty(*arguments, **more)

    def asked(real: Any) -> Any:
        def function(path: Any, *arguments: Any, **more: Any) -> Any:
            if isinstance(path, str | Path) and str(path).startswith(str(folder)):
                refuse()
            return real(path, *arguments, **more)

        return function

    patches = {
        "thread": [patch.object(threading.Thread, "start", started)],
        "memory": [patch.object(np, "empty", allocated)],
        "descriptor": [patch.object(builtins, "open", asked(opened)), patch.object(os, "open", asked(low))],
    }[kind]
    if kind == "thread":
        # Those that wait for work from earlier calls are not there yet.
        patches.append(patch("tsne_ooc._parallel._helpers", []))
    for each in patches:
        each.start()
    try:
        yield refuse
    finally:
        for each in reversed(patches):
            each.stop()


def case(name: str, kind: str, at: int, folder: Path, wanted: str) -> list[str]:
    """What is wrong after one refusal."""
    found: list[str] = []
    for place in ("first", "second"):
        (folder / place).mkdir()
    before = state()
    with refused(kind, at, folder) as refuse:
        try:
            answer = digest(CALLS[name](folder / "first"))
        except (MemoryError, OSError, RuntimeError) as error:
            if not refuse.came:
                raise
            if "\n" in str(error) or not str(error):
                found.append(f"says {error!r}")
        else:
            if answer != wanted:
                found.append("answers something else")
    if left := changed(before, state()):
        found.append(f"leaves {left}")
    if digest(CALLS[name](folder / "second")) != wanted:
        found.append("the next call answers something else")
    return found


def main(first: int, last: int) -> None:
    import torch

    warnings.simplefilter("ignore")
    load_everything(neural=True)
    torch.set_num_threads(1)
    wanted: dict[str, str] = {}
    wrong = 0
    for number in range(first, last):
        rng = random.Random(number)
        name, kind = rng.choice(sorted(CALLS.keys() - ALONE)), rng.choice(sorted(KINDS))
        at = rng.randint(1, KINDS[kind])
        with tempfile.TemporaryDirectory() as folder:
            if name not in wanted:
                (Path(folder) / "0").mkdir()
                wanted[name] = at_once(CALLS[name], [Path(folder) / "0"])[0]
            if found := case(name, kind, at, Path(folder), wanted[name]):
                wrong += 1
                print(f"case {number}: {kind} {at} of {name}: {'; '.join(found)}", flush=True)
    print(f"{last - first} cases, {wrong} wrong")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main(*(int(word) for word in (sys.argv[1:] or ["0", "100"])))
