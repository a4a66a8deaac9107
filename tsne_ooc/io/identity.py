"""Whether it is still the same table: what a resumed run compares with what it began with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tsne_ooc._typing import Array, Json, TableLike
from tsne_ooc.io.ahead import ahead
from tsne_ooc.io.failures import reading
from tsne_ooc.io.source import Source, as_source
from tsne_ooc.io.urls import AnyPath, Url, facts_of
from tsne_ooc.storage.asked import plain, untold

# The first row, the last, and eight between.
_PROBES = 10

_DECIDE = {
    "kind": "kind of source",
    "dataset": "dataset",
    "columns": "columns",
    "shape": "shape",
    "dtype": "type of numbers",
    "size": "size of the file in bytes",
    "files": "names or sizes of the files",
    "probes": "contents of the rows looked at",
    "own": "identity it gives itself",
}


def identity_of(source: TableLike, *, without: Path | None = None) -> Json:
    """What tells a table from others, as plain values that JSON can hold.

    Parameters
    ----------
    source : Source or what `as_source` accepts
        Ten of its rows are read: the first, the last and eight between. A source of your own may have a method
        ``identity()`` that returns a dict of values, such as the version of a database; it is included.
    without : Path, optional
        A file or folder that does not belong to the table, though it may lie among its files, such as that of the run
        itself; files whose names begin with its name do not belong to it either.

    Returns
    -------
    dict
        ``kind``, ``dataset``, ``columns``, ``shape``, ``dtype``; where there is a file, ``size``, or of a folder,
        ``size`` in all and ``files``, a digest of the names and sizes of those it is read from; ``probes``, a SHA-256
        digest of the rows read; ``own``, what the source says about itself. All of these decide whether it is the same
        table (see `differences`). ``path`` and ``mtime_ns`` are for information: files are moved, copied and touched
        without becoming other tables. The digest cannot see a change of rows that it did not read, where all sizes stay
        the same.

    Raises
    ------
    OSError, ValueError, TypeError
        Where the rows cannot be read.
    """
    table = as_source(source)
    columns = getattr(table, "column_names", None)
    path = getattr(table, "path", None)
    own = getattr(table, "identity", None)
    return {
        "kind": _kind(table),
        "path": None if path is None else str(path),
        "dataset": getattr(table, "name", None),
        "columns": None if columns is None else list(columns),
        "shape": [int(size) for size in table.shape],
        "dtype": np.dtype(table.dtype).str,
        **_file_facts(path, getattr(table, "stored", None) or [path], without),
        "probes": _probes(table),
        "own": plain(own()) if callable(own) else None,
    }


def differences(old: Json, new: Json) -> list[str]:
    """What makes `new` another table than `old`, a line for each difference; no line where it is the same.

    Parameters
    ----------
    old, new : dict
        What `identity_of` returned, also after it was written as JSON and read again. Facts that only one of them has,
        as between versions of this package, are not compared.

    Examples
    --------
    >>> old = identity_of(np.zeros((5, 2), np.float32))
    >>> differences(old, identity_of(np.zeros((6, 2), np.float32)))
    ['shape was [5, 2], is [6, 2]', 'contents of the rows looked at have changed']
    """
    found = untold(new.get("own"), _DECIDE["own"])
    for key, words in _DECIDE.items():
        if key not in old or key not in new or old[key] == new[key] or (key == "own" and found):
            continue
        if key in ("probes", "files"):
            found.append(f"{words} have changed")
        else:
            found.append(f"{words} was {old[key]}, is {new[key]}")
    return found


def _kind(table: Source) -> str:
    return str(getattr(table, "kind", type(table).__name__))


def changes(source: Source, before: Json, *, without: Path | None = None) -> list[str]:
    """What has become of a table since `identity_of` gave `before`, in this process: a line for each change.

    A table that was opened here is opened anew, and its files must not have been written to. Where it came in open,
    only the shape and the rows looked at are compared: its owner may well write to the same file.
    """
    again = getattr(source, "opened_here", False)
    try:
        table = source.reopen() if again else source
        try:
            now = identity_of(table, without=without)
        finally:
            if again and hasattr(table, "close"):
                table.close()
    except (OSError, ValueError, TypeError, KeyError) as error:
        return [f"it cannot be read any more ({str(error).splitlines()[0] if str(error) else type(error).__name__})"]
    if before["own"] == now["own"]:
        # Within one process, a value that cannot be told from others by its contents is the same object.
        before, now = {**before, "own": None}, {**now, "own": None}
    if not again:
        return differences(*({**facts, "size": None, "files": None} for facts in (before, now)))
    found = differences(before, now)
    if not found and any(now.get(name) != before.get(name) for name in ("mtime_ns", "version")):
        found = ["its files were written to, though the rows looked at are the same"]
    return found


def _file_facts(path: AnyPath | None, stored: list[Any], without: Path | None) -> Json:
    """Size, names and time of what `stored` names, files or folders at or below `path`."""
    if isinstance(path, Url):
        return facts_of(path, stored)
    if path is None or not path.exists():
        return {"size": None, "files": None, "mtime_ns": None}
    if not path.is_dir():
        facts = path.stat()
        return {"size": facts.st_size, "files": None, "mtime_ns": facts.st_mtime_ns}
    size, latest, lines = 0, 0, []
    for file in _files(stored, None if without is None else without.resolve()):
        facts = os.stat(file)
        size, latest = size + facts.st_size, max(latest, facts.st_mtime_ns)
        lines.append(f"{os.path.relpath(file, path)}\0{facts.st_size}\n")
    return {"size": size, "files": hashlib.sha256("".join(sorted(lines)).encode()).hexdigest(), "mtime_ns": latest}


def _files(stored: list[Path], without: Path | None) -> Iterator[str]:
    for place in stored:
        if not place.is_dir():
            yield str(place)
        for folder, folders, names in os.walk(place):
            if without is not None and Path(folder) == without.parent:
                folders[:] = [name for name in folders if not _begins(name, without.name)]
                names = [name for name in names if not _begins(name, without.name)]
            yield from (os.path.join(folder, name) for name in names)


def _begins(name: str, own: str) -> bool:
    """Whether a file is `own`, or one that is kept beside it while it is written: a ledger, a lock, a part."""
    return name == own or name.removeprefix(".").startswith(f"{own}.")


def _probes(table: Source) -> str:
    digest = hashlib.sha256()
    n = table.shape[0]
    rows = sorted({int(at) for at in np.linspace(0, n - 1, _PROBES)} if n else ())

    columns = getattr(table, "read_columns", None) if np.dtype(table.dtype) == object else None

    def probe(row: int) -> Array:
        with reading(table, row, row + 1):
            if columns is None:
                try:
                    return np.asarray(table.read(row, row + 1))
                except ValueError:
                    # A value may be missing, which is not for this function to judge.
                    if not hasattr(table, "read_with_gaps"):
                        raise
                    return np.asarray(table.read_with_gaps(row, row + 1))
            # These are words and dates beside numbers, of which categories are made.
            return np.array([column.tolist() for column in columns(row, row + 1).values()], object)

    # A thread reads them, as it reads blocks: Ctrl-C need not wait for a read that hangs.
    for values in ahead(probe, rows):
        if values.dtype == object:
            digest.update(repr(values.tolist()).encode())
        else:
            digest.update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()
