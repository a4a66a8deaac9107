"""Rows from a table through a function to files, block by block, going on from where an earlier attempt stopped."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Executor
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tsne_ooc._options import counted
from tsne_ooc._typing import Progress, TableLike
from tsne_ooc._validate import counted_from
from tsne_ooc.io.blocks import Block, iterate
from tsne_ooc.io.cuts import BLOCK_BYTES, block_rows, edges
from tsne_ooc.io.identity import changes, differences
from tsne_ooc.io.source import Source, as_source
from tsne_ooc.storage.ledger import Entry, Ledger, Rows
from tsne_ooc.storage.ranges import missing
from tsne_ooc.storage.sink import NpySink
from tsne_ooc.workers.asking import Answer, Piece, Results, answers

log = logging.getLogger(__name__)

Compute = Callable[[int, NDArray[np.float32]], Results]
# What a worker calls that reads rows by itself: with their first, and the one behind the last.
Reads = Callable[[int, int], Results]
Finish = Callable[[int, Results], Results]

# Rows worked on at once: a table of few columns would otherwise bring millions of rows, whose neighbours (some
# 200 bytes a row) outweigh the rows.
MOST_ROWS = 1 << 17
# At most this often the table is checked for changes, and never for more than 1 % of the time.
CHECK_SECONDS = 10.0
# Blocks at an executor: of rows that are sent to it, each with the 32 MB of its rows; of rows that workers read by
# themselves, as many as have results of so many bytes, and no more than one thousand workers have use for.
SENT, RESULT_BYTES, MOST_READ = 8, 1 << 28, 1024


def rows_at_once(table: Source) -> int:
    """Rows of a block that is read, worked on and marked as done in one piece."""
    row_bytes = table.shape[1] * max(4, np.dtype(table.dtype).itemsize)
    return block_rows(table, min(BLOCK_BYTES, MOST_ROWS * max(1, row_bytes)))


class Stream:
    """Files of one row for each row of a table, filled block by block in any order, whatever happens in between.

    Parameters
    ----------
    files : mapping of str to (path, shape)
        What the function computes, by name: the ``.npy`` file and its shape, whose first number is that of the rows.
    ledger : Ledger
        Says which rows are done. With none done the files are begun anew.
    stage : str
        The name under which it says so.
    types : mapping of str to numpy type, optional
        Of files that do not hold float32.
    first : int
        The row of the table that is the first of the files.

    Raises
    ------
    OSError
        Where a file cannot be written, or there is too little room.
    ValueError
        Where rows that are marked as done are missing or damaged, naming the file.
    """

    def __init__(
        self,
        files: Mapping[str, tuple[Path, tuple[int, ...]]],
        ledger: Ledger,
        stage: str,
        types: Mapping[str, DTypeLike] | None = None,
        *,
        first: int = 0,
    ) -> None:
        self.ledger, self.stage, self.first = ledger, stage, first
        self.sinks: dict[str, NpySink] = {}
        rows = ledger.entry(stage).rows
        with ExitStack() as opened:
            for name, (path, shape) in files.items():
                if any(path.name not in part.sums for part in rows):
                    raise ValueError(f"{ledger.path} does not know {path.name}; remove both to begin again")
                done = [(start, stop, sums[path.name]) for start, stop, sums in rows] or None
                sink = self.sinks[name] = NpySink(path, shape, done=done, dtype=(types or {}).get(name, np.float32))
                opened.callback(sink.leave)
            opened.pop_all()

    def run(
        self,
        table: TableLike,
        compute: Compute,
        *,
        rows: int | None = None,
        progress: Progress,
        phase: str,
        check: Callable[[], None] | None = None,
        executor: Executor | None = None,
        in_flight: int = SENT,
        finish: Finish | None = None,
    ) -> None:
        """Read the rows not yet done, compute, write, and mark each block when it is on the disk.

        Parameters
        ----------
        table : Source or what `as_source` accepts
        compute : callable
            Called as ``compute(first_row, block)``; returns the rows of each file by name.
        rows : int, optional
            Rows of a block.
        progress : callable
            Called as ``progress(phase, rows done, rows)``.
        check : callable, optional
            Raises where the table is not what it was. It is called now and then, and at the end; where it raises, what
            was done since it last passed counts as not done.
        executor : concurrent.futures.Executor, optional
            Calls `compute` for several blocks at once; they are written as they are finished. By default it is called
            here, for one block after the other.
        in_flight : int
            How many blocks an executor has at most.
        finish : callable, optional
            ``finish(first_row, results)`` gives what is written instead of what an executor computed.
        """
        table = as_source(table)
        rows = self._told(table, rows, phase)
        # Closed, or an error, which holds all that its frames know, would keep the thread that reads.
        with closing(self._blocks(table, rows)) as blocks:
            results = _here(blocks, compute) if executor is None else answers(
                (Piece(start, stop, _call, (compute, start, block)) for start, stop, block in blocks),
                executor, in_flight,
            )  # fmt: skip
            self._write(results, progress, phase, check, finish)

    def gather(
        self,
        table: TableLike,
        reads: Reads,
        executor: Executor,
        *,
        rows: int | None = None,
        progress: Progress,
        phase: str,
        check: Callable[[], None] | None = None,
        finish: Finish | None = None,
    ) -> None:
        """Have the rows not yet done read and computed by workers; write them as they come, and mark them.

        Parameters
        ----------
        table : Source or what `as_source` accepts
            Not read here; it says how many rows there are, and where chunks of storage begin.
        reads : callable
            Called by workers as ``reads(first_row, row_behind_the_last)``; returns the rows of each file by name.
        executor : concurrent.futures.Executor
        rows, progress, phase, check, finish
            As for `run`.
        """
        table = as_source(table)
        rows = self._told(table, rows, phase)
        pieces = (
            Piece(*piece, reads, piece) for start, stop in self._missing()
            for piece in edges(table, rows, start, stop)
        )  # fmt: skip
        size = rows * sum(4 * int(np.prod(sink.shape[1:], dtype=np.int64)) for sink in self.sinks.values())
        in_flight = min(max(SENT, RESULT_BYTES // max(1, size)), MOST_READ)
        self._write(answers(pieces, executor, in_flight), progress, phase, check, finish)

    def _told(self, table: Source, rows: int | None, phase: str) -> int:
        """Rows of a block, which are told."""
        rows = rows or rows_at_once(table)
        log.info("%s: %s rows at a time (%.0f MB), storage in %s", phase, f"{rows:,}", rows * table.shape[1] * 4e-6,
                 f"chunks of {table.chunks}" if table.chunks else "rows")  # fmt: skip
        return rows

    @property
    def _n(self) -> int:
        """Rows of the files."""
        return next((sink.shape[0] for sink in self.sinks.values()), 0)

    def _blocks(self, table: Source, rows: int) -> Generator[Block]:
        """Blocks of the rows that are not done, read ahead."""
        for start, stop in self._missing():
            yield from iterate(table, rows=rows, start=start, stop=stop)

    def _missing(self) -> list[tuple[int, int]]:
        """Ranges of the table's rows that are not done."""
        done = [(start, stop) for start, stop, _ in self.ledger.entry(self.stage).rows]
        return [(self.first + start, self.first + stop) for start, stop in missing(done, self._n)]

    def _write(
        self,
        results: Generator[list[Answer]],
        progress: Progress,
        phase: str,
        check: Callable[[], None] | None,
        finish: Finish | None,
    ) -> None:
        """Write what comes, bring it to the disk, and mark it."""
        sure, began = self.ledger.entry(self.stage), time.perf_counter()
        before, due, done, n = sure.seconds, began + CHECK_SECONDS, sure.n_rows, self._n
        progress(phase, done, n)
        with closing(results):
            for some in results:
                for start, size, found in some:
                    computed = found if finish is None else finish(start, found)
                    if computed.keys() != self.sinks.keys():
                        given, wanted = ", ".join(sorted(computed)), ", ".join(sorted(self.sinks))
                        raise ValueError(
                            f"stage {self.stage!r} computed {given or 'nothing'}, and its files are {wanted}"
                        )
                    for name, values in computed.items():
                        self.sinks[name].write(values, start - self.first)
                    done += size
                # Once for all that were finished at a time: a thousand workers finish more than a disk can sync.
                for sink in self.sinks.values():
                    sink.sync()
                self._mark(before + time.perf_counter() - began)
                progress(phase, done, n)
                if time.perf_counter() > due and done < n:
                    sure, due = self._checked(check, sure)
        self._checked(check, sure)

    def _mark(self, seconds: float) -> None:
        """Mark all that is written, which is the same rows in each file."""
        names = [sink.path.name for sink in self.sinks.values()]
        parts = zip(*(sink.done for sink in self.sinks.values()), strict=True)
        rows = [Rows(of[0].start, of[0].stop, dict(zip(names, (part.crc for part in of), strict=True))) for of in parts]
        self.ledger.mark(self.stage, Entry(None, seconds, tuple(rows)))

    def _checked(self, check: Callable[[], None] | None, sure: Entry) -> tuple[Entry, float]:
        """Check the table; return what is done, and when the next check is due. If it fails, `sure` stays."""
        done = self.ledger.entry(self.stage)
        if check is None:
            return done, float("inf")
        began = time.perf_counter()
        try:
            check()
        except BaseException:
            if sure.rows != done.rows:
                self.ledger.mark(self.stage, sure)
            raise
        now = time.perf_counter()
        return done, now + max(CHECK_SECONDS, 100 * (now - began))

    def close(self) -> None:
        """Put the files in place, once all rows are done."""
        for sink in self.sinks.values():
            sink.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
            return
        for sink in self.sinks.values():
            sink.leave()


def _here(blocks: Iterable[Block], compute: Compute) -> Generator[list[Answer]]:
    """First row, number of rows and results of each block, in their order, as `answers` has them of an executor."""
    for start, stop, block in blocks:
        yield [(start, stop - start, _call(compute, start, block))]


def _call(compute: Compute, start: int, block: NDArray[np.float32]) -> Results:
    with counted_from(start):
        return compute(start, block)


def different(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two jobs, by the names of their values."""
    return [f"{name} differs" for name in sorted({*old, *new}) if old.get(name) != new.get(name)]


def begin(
    path: str | os.PathLike[str], job: dict[str, Any], *, resume: bool, differ: Callable[..., list[str]] = different
) -> Ledger:
    """The ledger of a job: that of an earlier attempt at the same job, or a new one.

    Parameters
    ----------
    path : path
        The path of the ledger.
    job : dict
        What is to be done, as values that JSON can hold.
    resume : bool
        Go on with an earlier attempt, if there is one.
    differ : callable
        ``differ(old job, new job)`` lists what differs, in words. By default any difference counts.

    Raises
    ------
    FileExistsError
        Where an earlier attempt lies there, and `resume` is false.
    ValueError
        Where the earlier attempt was at another job, naming what differs; or its ledger is damaged.
    """
    path = Path(path)
    # The job as it will be read again: a tuple comes back as a list, and would look like another value.
    job = json.loads(json.dumps(job))
    if not path.exists():
        ledger = Ledger(path, job)
        ledger.write()
        return ledger
    ledger = Ledger.read(path)
    if not resume:
        n = ledger.n_rows
        done = f" ({counted(n, 'rows')} {'is' if n == 1 else 'are'} done)" if n else ""
        raise FileExistsError(
            f"{path} is of a run that is not finished{done}; "
            "go on with it with resume=True (--resume), or remove what it left to begin again"
        )
    found = differ(ledger.job, job)
    if found:
        raise ValueError(
            f"the run of {path} cannot go on, since something else is asked for now: {'; '.join(found)}; "
            "ask for the same, or remove what it left to begin again"
        )
    return ledger


def check_unchanged(table: Source, before: dict[str, Any], out: Path) -> None:
    """Raise where a table is not what it was when a run into `out` began: the results would be made of two tables.

    Raises
    ------
    OSError
        Naming what changed.
    """
    if found := changes(table, before, without=out):
        raise OSError(
            f"{table!r} changed while it was read: {'; '.join(found)}; what was made of it since is not kept, put it "
            "back as it was or begin again"
        )


def silent(phase: str, done: int, total: int) -> None:
    """Tell nobody of progress."""


def unlike(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs between two jobs that consist of a source and a model."""
    found = [f"the source: {words}" for words in differences(old.get("source", {}), new["source"])]
    if old.get("model") != new["model"]:
        found.append("it is another model")
    if old.get("tsne_ooc") != new.get("tsne_ooc"):
        found.append(f"tsne_ooc was {old.get('tsne_ooc')}, is {new.get('tsne_ooc')}")
    return found
