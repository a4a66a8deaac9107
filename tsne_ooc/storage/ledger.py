"""The ledger of a job: which stages are done, and which rows are safely on the disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tsne_ooc.storage.atomic import whole_file
from tsne_ooc.storage.disk import check_regular

#: Version of the ledger's layout, and of what is compared in it. Version 2 knew one stage, and its first rows; what is
#: left to do of version 3 would have other lists of neighbours and other last bits than what is done, and of version 4
#: neighbours that are searched less far.
LEDGER_VERSION = 5
# How every ledger that `write` wrote begins.
_START = b'{\n "version": '


class Rows(NamedTuple):
    """Rows ``start`` up to ``stop``, and their CRC-32 in each file, by the file's name."""

    start: int
    stop: int
    sums: dict[str, int]


@dataclass(frozen=True)
class Entry:
    """What one stage of a job has done.

    Parameters
    ----------
    facts : dict or None
        What a stage says about its work, as values that JSON can hold; None while it is not done.
    seconds : float
        How long it took, over all attempts.
    rows : tuple of Rows
        Rows of its files that are done, ascending and disjoint.
    """

    facts: dict[str, Any] | None = None
    seconds: float = 0.0
    rows: tuple[Rows, ...] = ()

    @property
    def n_rows(self) -> int:
        """How many rows are done."""
        return sum(stop - start for start, stop, _ in self.rows)


@dataclass
class Ledger:
    """What a job has done: its stages, and the rows on the disk of files of a stage that is not done yet.

    Rows are written, then synchronised, then marked; so what the ledger says is there after any accident, and rows
    that it does not name may be anything.

    Parameters
    ----------
    path : path
        The file, which is replaced in one step at every mark.
    job : dict
        Plain values that say what is done; a job that goes on compares it with its own.
    stages : dict of str to Entry
        Entries by the stages' names, in the order in which these began.
    """

    path: Path
    job: dict[str, Any]
    stages: dict[str, Entry] = field(default_factory=dict)

    def entry(self, stage: str) -> Entry:
        """What a stage has done; nothing, where it has not begun."""
        return self.stages.get(stage, Entry())

    @property
    def n_rows(self) -> int:
        """Rows done in the last stage that has done any."""
        return next((entry.n_rows for entry in reversed(self.stages.values()) if entry.rows), 0)

    def mark(self, stage: str, entry: Entry) -> None:
        """Write down what a stage has done so far.

        Raises
        ------
        OSError
            Where that fails; the mark before stays.
        """
        before = self.stages
        self.stages = {**before, stage: entry}
        try:
            self.write()
        except BaseException:
            self.stages = before
            raise

    def write(self) -> None:
        """Write all of it."""
        stages = {name: {**asdict(entry), "seconds": round(entry.seconds, 3)} for name, entry in self.stages.items()}
        content = {"version": LEDGER_VERSION, "job": self.job, "stages": stages}
        text = json.dumps({**content, "sha256": _sum(content)}, indent=1, allow_nan=False)
        try:
            self._replace(text)
        except OSError as error:
            raise type(error)(f"{self.path} could not be written: {error.strerror or error}") from error

    def _replace(self, text: str) -> None:
        # All attempts share one name: the next one writes over what a killed one left.
        temporary = self.path.with_name(self.path.name + ".part")
        if not left_over(temporary):
            raise FileExistsError("a file of that name with .part behind it does not belong to a run")
        with whole_file(self.path, part=temporary):
            temporary.write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Ledger:
        """The ledger in a file.

        Raises
        ------
        FileNotFoundError
            Where there is none.
        ValueError
            Where it is damaged or of another version, naming the file.
        """
        path = Path(path)
        check_regular(path)
        with _damage(path):
            content = json.loads(path.read_text(encoding="utf-8"))
            found, version = content.pop("sha256"), content["version"]
            if found != _sum(content):
                raise ValueError("its checksum is wrong")
        if version != LEDGER_VERSION:
            raise ValueError(
                f"{path} has version {version}, and this version of tsne_ooc goes on from {LEDGER_VERSION}; go on with "
                "the one that began it, or remove what the run left to begin again"
            )
        with _damage(path):
            job, stages = content["job"], {name: _entry(of) for name, of in content["stages"].items()}
            if not isinstance(job, dict):
                raise ValueError(_TYPES)
        return cls(path, job, stages)


_TYPES = "its entries are of other types"


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error or type(error).__name__}); remove it to begin again") from None


def _entry(content: dict[str, Any]) -> Entry:
    facts, seconds, rows = content["facts"], content["seconds"], [Rows(*part) for part in content["rows"]]
    entry = Entry(facts, float(seconds), tuple(rows))
    last = 0
    for start, stop, sums in rows:
        whole = all(type(number) is int for number in (start, stop, *sums.values()))
        if not (whole and last <= start < stop and isinstance(sums, dict)):
            raise ValueError(_TYPES)
        last = stop
    if type(seconds) not in (int, float) or seconds < 0 or not (facts is None or isinstance(facts, dict)):
        raise ValueError(_TYPES)
    return entry


def left_over(path: Path) -> bool:
    """Whether there is nothing at `path`, or what a mark that was cut off left there."""
    if not os.path.lexists(path):
        return True
    check_regular(path)
    start = path.read_bytes()[: len(_START)]
    return _START.startswith(start)


def _sum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
