"""`merge`, which joins parts of a table that several jobs placed to what one job would have made."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tsne_ooc._typing import Json, StrPath
from tsne_ooc.io.identity import differences
from tsne_ooc.novelty import NoveltyHistogram
from tsne_ooc.pipeline.fitted import write_array
from tsne_ooc.pipeline.folder import Folder
from tsne_ooc.pipeline.run import KIND, Run, open_run
from tsne_ooc.storage import seal
from tsne_ooc.storage.sink import NpySink

# Rows that are copied at a time.
_PIECE = 1 << 20


class Part(NamedTuple):
    """A finished run over some rows of a table."""

    start: int
    stop: int
    run: Run


def merge(parts: Sequence[StrPath], *, out: StrPath) -> Run:
    """Join what ``place(rows=...)`` wrote, in any order, to the run of the whole table, with the same bytes.

    Parameters
    ----------
    parts : sequence of paths
        Folders of finished runs over rows of one table; together they have all of its rows, each of them once.
    out : path
        Folder to write; it must not exist yet, or must be empty.

    Returns
    -------
    Run

    Raises
    ------
    OSError
        Where a part is not finished, or `out` cannot be written or holds something else.
    ValueError
        Where parts are damaged, are of other tables, models or options, overlap, or leave rows out; the message names
        them.
    """
    if isinstance(parts, str | os.PathLike):
        raise TypeError(f"parts={parts!r} is one folder; give a list of them")
    found = sorted((_part(Path(folder)) for folder in parts), key=lambda part: part[:2])
    if not found:
        raise ValueError("there are no parts to merge; give the folders that place(rows=...) wrote")
    n = int(found[0].run.manifest["job"]["source"]["shape"][0])
    _check_alike(found)
    _check_rows(found, n)
    # This array lists the numbers of rows without a place; all others have an entry for each row of the table.
    dropped = "dropped_rows" in found[0].run.arrays
    names = sorted(found[0].run.arrays.keys() - {"dropped_rows"})
    makes = [*names, *(["dropped_rows"] if dropped else [])]
    with Folder(Path(out), resume=False, makes=[f"{name}.npy" for name in makes]) as home:
        home.check_room(sum(part.run.arrays[name].nbytes for part in found for name in names))
        for name in names:
            with NpySink(home.path / f"{name}.npy", (n, *found[0].run.arrays[name].shape[1:])) as sink:
                for part in found:
                    for rows in _pieces(part.run.arrays[name]):
                        sink.write(rows)
        content = _content(found, n)
        if dropped:
            rows = np.concatenate([part.run.arrays["dropped_rows"] for part in found])
            write_array(home.path / "dropped_rows.npy", rows)
            content["dropped"] = len(rows)
        try:
            seal(home.path, KIND, content, {name: f"{name}.npy" for name in makes})
        except OSError as error:
            raise type(error)(f"{home.path} could not be written: {error.strerror or error}") from error
    return open_run(home.path)


def _part(folder: Path) -> Part:
    run = open_run(folder, verify=True)
    rows = run.manifest.get("job", {}).get("request", {}).get("rows")
    if run.manifest.get("task") != "place" or rows is None:
        raise ValueError(f"{folder} is not a part of a table: it was not placed with rows=... (--rows)")
    return Part(int(rows[0]), int(rows[1]), run)


def _check_alike(parts: list[Part]) -> None:
    """Raise ValueError where parts are of other tables, models, options or versions."""
    first = parts[0].run
    old = first.manifest["job"]
    for part in parts[1:]:
        new = part.run.manifest["job"]
        why = [f"the source: {words}" for words in differences(old["source"], new["source"])]
        asked, wanted = ({**job["request"], "rows": None} for job in (new, old))
        why += [f"{name} is another" for name in sorted({*asked, *wanted}) if asked.get(name) != wanted.get(name)]
        if old["tsne_ooc"] != new["tsne_ooc"]:
            why.append(f"tsne_ooc was {old['tsne_ooc']}, is {new['tsne_ooc']}")
        if why:
            raise ValueError(f"{part.run.folder} does not belong to {first.folder}: {'; '.join(why)}")


def _check_rows(parts: list[Part], n: int) -> None:
    """Raise ValueError where rows are there twice, or not at all."""
    at, before = 0, parts[0]
    for part in parts:
        if part.start < at:
            raise ValueError(
                f"rows {part.start} to {min(at, part.stop) - 1} are in {before.run.folder} and in {part.run.folder}"
            )
        if part.start > at:
            raise ValueError(f"rows {at} to {part.start - 1} are in none of the parts; place them, and merge again")
        at, before = part.stop, part
    if at < n:
        raise ValueError(f"rows {at} to {n - 1} are in none of the parts; place them, and merge again")


def _pieces(array: Any) -> Iterator[Any]:
    for start in range(0, len(array), _PIECE):
        yield np.asarray(array[start : start + _PIECE])


def _content(parts: list[Part], n: int) -> Json:
    """The manifest of the whole: what that of one run would have said, and which parts it was made of."""
    first = parts[0].run.manifest
    content = {name: value for name, value in first.items() if name != "novelty"}
    content["n_samples"] = n
    if "novelty" in first:
        histogram = NoveltyHistogram(first["novelty"]["threshold"])
        for part in parts:
            for rows in _pieces(part.run.arrays["novelty"]):
                histogram.add(rows)
        content["novelty"] = histogram.summary()
    seconds: dict[str, float] = {}
    memory: dict[str, float] = {}
    for part in parts:
        for phase, took in part.run.manifest["seconds"].items():
            seconds[phase] = round(seconds.get(phase, 0.0) + took, 3)
        for phase, held in part.run.manifest.get("memory_gb", {}).items():
            memory[phase] = max(memory.get(phase, 0.0), held)
    request = {name: value for name, value in first["job"]["request"].items() if name != "rows"}
    return {
        **content,
        "seconds": seconds,
        "memory_gb": memory,
        "job": {**first["job"], "request": request},
        "parts": [{"folder": str(part.run.folder), "rows": [part.start, part.stop]} for part in parts],
    }
