"""Who looks on while a map is made, and when it has been long enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tsne_ooc._context import listener
from tsne_ooc._typing import Float32
from tsne_ooc.fit.snapshot import Snapshot

Callback = Callable[[int, float, Float32], Any]


class Watch:
    """Who is told, how often, and when it has been long enough.

    Parameters
    ----------
    callbacks : callables of (iteration, error, embedding)
        A true return value stops the loop. The embedding is a copy.
    every : int
        Iterations between calls, at least 1.
    patience : int or None
        End a phase once what it minimises has not fallen by a thousandth of itself over this many calls, and the loop
        where that was the last one.
    verbose : bool
        Show a bar with the phase, the divergence and the rate.
    keep : callable, optional
        Called with a `Snapshot` every `keep_every` iterations. Its arrays are those of the loop: they are written down
        or copied before it returns.
    keep_every : int
    progress : callable, optional
        Called as ``progress(done, iterations)`` after each iteration, which costs no look at the divergence.
    """

    def __init__(
        self,
        callbacks: Iterable[Callback] = (),
        every: int = 50,
        patience: int | None = None,
        verbose: bool = False,
        *,
        keep: Callable[[Snapshot], None] | None = None,
        keep_every: int = 25,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.callbacks, self.every, self.patience, self.verbose = list(callbacks), every, patience, verbose
        self.keep, self.keep_every, self.progress = keep, keep_every, progress

    def through(self, view: Callable[[Float32], Float32]) -> Watch:
        """The same, for callbacks that are shown what `view` makes of the map."""

        def seeing(callback: Callback) -> Callback:
            return lambda iteration, error, Y: callback(iteration, error, view(Y))

        return Watch(
            map(seeing, self.callbacks), self.every, self.patience, self.verbose,
            keep=self.keep, keep_every=self.keep_every, progress=self.progress,
        )  # fmt: skip

    def needs_error(self) -> bool:
        return bool(self.callbacks) or self.patience is not None or self.verbose

    def keeps(self, done: int) -> bool:
        """Whether a snapshot is due after so many iterations."""
        return self.keep is not None and done > 0 and done % self.keep_every == 0


class Stalled:
    """Whether a falling number has stopped falling: not by a thousandth of itself over so many looks."""

    def __init__(self, patience: int | None, best: float | None = None, since: int = 0) -> None:
        self.patience, self.best, self.since = patience, best, since

    def __call__(self, error: float) -> bool:
        if self.best is None or error < self.best - 1e-3 * abs(self.best):
            self.best, self.since = error, 0
        else:
            self.since += 1
        return self.patience is not None and self.since >= self.patience


class Bar:
    """A progress bar where one is asked for, and word for who listens."""

    def __init__(self, total: int, shown: bool, done: int = 0) -> None:
        self._bar: Any = None
        self._listener, self._done, self._total = listener(), 0, total
        if shown:
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=done, unit="it", dynamic_ncols=True)
        self._started = time.perf_counter()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def phase(self, name: str) -> None:
        if self._bar is not None:
            self._bar.set_description(name)

    def advance(self) -> None:
        if self._bar is not None:
            self._bar.update()
        if self._listener is not None:
            self._done += 1
            self._listener(self._done, self._total)

    def error(self, error: float) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(f"KL {error:.4f}")


def callbacks_of(callbacks: Callback | Sequence[Callback] | None) -> list[Callback]:
    """One callback, several or none as a list.

    Raises
    ------
    TypeError
        If one of them cannot be called.
    """
    if callbacks is not None and not callable(callbacks) and not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks={callbacks!r} is neither a function nor several")
    found = [] if callbacks is None else [callbacks] if callable(callbacks) else list(callbacks)
    for callback in found:
        if not callable(callback):
            raise TypeError(f"callbacks: {callback!r} cannot be called")
    return found
