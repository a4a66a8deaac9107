"""The ledger of a stream: how many rows are safely on the disk, of which job."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tsne_ooc._atomic import whole_file
from tsne_ooc._disk import check_regular

#: Version of the ledger's layout, and of what is compared in it: jobs of version 1 told objects by their class.
LEDGER_VERSION = 2
# How each of them begins, as `mark` writes it.
_START = b'{\n "version": '


@dataclass(frozen=True)
class Ledger:
    """What a stream has done: the rows ``range(rows)`` of its files are on the disk.

    Rows are written, then synchronised, then marked; so what the ledger says is there after any accident, and rows
    behind its mark may be anything.

    Parameters
    ----------
    path : path
        The file; replaced in one step at every mark.
    job : dict
        Plain values that say what is streamed; a stream that goes on compares it with its own.
    rows : int
        Rows done.
    sums : dict of str to int
        CRC-32 of the rows done in each file, by the file's name.
    seconds : float
        How long the rows done took, over all attempts.
    """

    path: Path
    job: dict[str, Any]
    rows: int = 0
    sums: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def mark(self, rows: int, sums: dict[str, int], seconds: float = 0.0) -> Ledger:
        """Write down that rows up to `rows` are on the disk, and return the ledger that says so.

        Raises
        ------
        OSError
            Where that fails; the mark before stays.
        """
        ledger = replace(self, rows=rows, sums=sums, seconds=round(seconds, 3))
        content = {"version": LEDGER_VERSION, "job": self.job, "rows": rows, "sums": sums, "seconds": ledger.seconds}
        text = json.dumps({**content, "sha256": _sum(content)}, indent=1, allow_nan=False)
        try:
            self._replace(text)
        except OSError as error:
            raise type(error)(f"{self.path} could not be written: {error.strerror or error}") from error
        return ledger

    def _replace(self, text: str) -> None:
        # One name for all attempts: what a killed one leaves is written over by the next.
        temporary = self.path.with_name(self.path.name + ".part")
        if not left_over(temporary):
            raise FileExistsError("a file of that name with .part behind it is not of a run")
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
            Where it is damaged or of a later version, naming the file.
        """
        path = Path(path)
        check_regular(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found = content.pop("sha256")
            version, rows, sums, job = content["version"], content["rows"], content["sums"], content["job"]
            seconds = content["seconds"]
            if found != _sum(content):
                raise ValueError("its checksum is wrong")
            if not (type(rows) is int and rows >= 0 <= seconds and isinstance(job, dict) and isinstance(sums, dict)):
                raise ValueError("its entries are of other types")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{path} is damaged ({error or type(error).__name__}); remove it to begin again") from None
        if version != LEDGER_VERSION:
            raise ValueError(f"{path} has version {version}, this version of tsne_ooc reads {LEDGER_VERSION}")
        return cls(path, job, rows, {str(name): int(value) for name, value in sums.items()}, float(seconds))


def left_over(path: Path) -> bool:
    """Whether there is nothing at `path`, or what a mark left there that was cut off."""
    if not os.path.lexists(path):
        return True
    check_regular(path)
    start = path.read_bytes()[: len(_START)]
    return _START.startswith(start)


def _sum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
