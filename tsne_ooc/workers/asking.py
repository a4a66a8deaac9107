"""Pieces of work that an executor is given, and again where a worker is lost or silent; answers come in any order."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from tsne_ooc.workers.dask import ending

log = logging.getLogger(__name__)

Results = Mapping[str, NDArray[Any]]

# How often a piece is asked for at most: a worker that dies, or a disk behind a network, may do better next time.
TRIES = 3
# After so many seconds without any answer, and ten times the longest silence so far, all open pieces are asked for once
# more, since other workers may have time for them. An answer that comes twice is the same to the bit.
PATIENCE, LONGER = 60.0, 10.0
# Errors that asking again may help against, and among them those that last: a missing file will still be missing.
_PASSING = (OSError, BrokenExecutor, CancelledError)
_LASTING = (FileNotFoundError, PermissionError)


@dataclass(eq=False)
class Piece:
    """Rows `start` up to `stop`, and the function that is called for them, all of which can be sent to a process."""

    start: int
    stop: int
    function: Callable[..., Results]
    arguments: tuple[Any, ...]
    tries: int = 0


Answer = tuple[int, int, Results]


def answers(pieces: Iterable[Piece], executor: Executor, in_flight: int) -> Generator[list[Answer]]:
    """First row, number of rows and results of pieces: some at a time, as an executor finishes them.

    Parameters
    ----------
    pieces : iterable of Piece
        They are drawn as they are needed.
    executor : concurrent.futures.Executor
    in_flight : int
        The most pieces that the executor has at one time.

    Raises
    ------
    ChildProcessError, ConnectionError, TimeoutError
        Where workers die, take no more work, or do not answer.
    Exception
        What a piece raises; an error that may pass is raised only after the piece was asked for `TRIES` times.
    """
    asked = _Asked(ending(executor))
    try:
        for piece in pieces:
            asked.ask(piece)
            if len(asked.open) >= in_flight:
                yield from asked.some()
        while asked.open:
            yield from asked.some()
    finally:
        for future in asked.waiting:
            future.cancel()


class _Asked:
    """The pieces that an executor has been asked for, and those of them that it has not answered."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.waiting: dict[Future[Results], Piece] = {}
        #: Pieces without an answer. A piece that was asked for twice is here once.
        self.open: set[Piece] = set()
        self.longest: float | None = None
        self.heard = time.perf_counter()

    def ask(self, piece: Piece) -> None:
        piece.tries += 1
        try:
            # The number of the try makes the calls differ: Dask would answer an equal call with the failed result.
            future = self.executor.submit(_called, piece.tries, piece.function, *piece.arguments)
        except Exception as error:
            kind = ChildProcessError if isinstance(error, BrokenExecutor) else ConnectionError
            raise kind(f"the workers take no more work ({type(error).__name__}: {_line(error)})") from error
        self.waiting[future] = piece
        self.open.add(piece)

    def some(self) -> Generator[list[Answer]]:
        """The next answers, in one list; then raises the error of a piece that failed for good."""
        limit = PATIENCE if self.longest is None else max(PATIENCE, LONGER * self.longest)
        done = wait(self.waiting, timeout=limit, return_when=FIRST_COMPLETED).done
        if not done:
            self._nothing(limit)
            return
        now = time.perf_counter()
        self.longest, self.heard = max(self.longest or 0.0, now - self.heard), now
        found: list[Answer] = []
        failed: BaseException | None = None
        for future in done:
            piece = self.waiting.pop(future)
            if piece not in self.open:
                continue
            try:
                results = future.result()
            except (Exception, CancelledError) as error:
                if piece.tries < TRIES and isinstance(error, _PASSING) and not isinstance(error, _LASTING):
                    log.info("rows %d to %d are asked for again: %s", piece.start, piece.stop - 1, _line(error))
                    try:
                        self.ask(piece)
                    except (ChildProcessError, ConnectionError) as refused:
                        failed = failed or refused
                else:
                    failed = failed or _told(error, piece)
                continue
            self.open.remove(piece)
            found.append((piece.start, piece.stop - piece.start, results))
        if found:
            yield found
            # The time that the caller took for writing them does not count as silence.
            self.heard = time.perf_counter()
        if failed is not None:
            raise failed

    def _nothing(self, limit: float) -> None:
        """Ask for all open pieces once more, since nobody has answered for `limit` seconds."""
        log.info("no worker has answered for %.0f s; %d blocks are with them", limit, len(self.open))
        if self.longest is None:
            # A cluster may need long to begin.
            return
        for piece in sorted(self.open, key=lambda piece: piece.start):
            if piece.tries >= TRIES:
                raise TimeoutError(
                    f"no worker has answered for {limit:.0f} s, though rows {piece.start} to {piece.stop - 1} were "
                    f"asked for {TRIES} times; find out what the workers wait for, perhaps a disk"
                )
            self.ask(piece)


def _called(_: int, function: Callable[..., Results], *arguments: Any) -> Results:
    return function(*arguments)


def _told(error: BaseException, piece: Piece) -> BaseException:
    """The error of a piece that failed for good, in words that say what it means and what to do."""
    which = f"with rows {piece.start} to {piece.stop - 1}"
    if isinstance(error, BrokenExecutor):
        return ChildProcessError(
            f"a worker ended all of a sudden {which} ({_line(error)}), as happens where memory runs out (take fewer "
            "workers or smaller blocks), and in a script without if __name__ == '__main__'"
        )
    if isinstance(error, CancelledError):
        return ConnectionError(f"the workers were lost {which}: their scheduler has ended, or cancelled the work")
    if type(error).__module__.partition(".")[0] == "distributed":
        return ChildProcessError(f"Dask gave up {which}: {type(error).__name__}: {_line(error)}")
    return error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
