"""A folder of Parquet files: which of its files are the table, in which order, and what is left out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tsne_ooc.io.urls import AnyPath

SUFFIXES = (".parquet", ".pq")
#: Files that say what a folder of Zarr is.
METADATA = ("zarr.json", ".zarray", ".zgroup")
# In these folders a log says which of the files make the table today.
_LOGS = {"_delta_log": "a Delta", ".hoodie": "a Hudi"}
_PARTITION = re.compile(r"[^=]+=.*")


class Parts(NamedTuple):
    """The files of a table in the order of their rows, and why others are left out, by name."""

    files: list[AnyPath]
    unread: dict[str, str]


def parts_of(folder: AnyPath) -> Parts:
    """The Parquet files that lie directly in a folder.

    They follow each other by name, and numbers within names count as numbers: ``part.10`` comes after ``part.2``. Files
    whose name begins with a dot or an underscore are notes of other programs, by the custom of this format.

    Raises
    ------
    OSError
        Where rows lie in folders of partitions (``year=2020``), whose values are in none of the files, or a log says
        which files count.
    """
    files: list[AnyPath] = []
    entries: list[AnyPath] = [*folder.iterdir()]
    unread: dict[str, str] = {}
    for entry in sorted(entries, key=lambda entry: natural(entry.name)):
        if entry.name in _LOGS:
            raise OSError(
                f"{folder} is {_LOGS[entry.name]} table, whose log says which of the files count; write the rows as "
                "plain Parquet files first"
            )
        if entry.is_dir():
            if _PARTITION.fullmatch(entry.name):
                raise OSError(
                    f"{folder} is cut into partitions ({entry.name} and others), and folders within a folder are not "
                    "read, nor is the value in their names; write it as files in one folder, such as with pyarrow: "
                    "dataset.write_dataset(dataset.dataset(path, partitioning='hive'), 'new', format='parquet')"
                )
            unread[f"{entry.name}/"] = "a folder within the folder"
        elif entry.name.startswith((".", "_")):
            unread[entry.name] = "its name begins with a dot or an underscore"
        elif not is_parquet(entry.name):
            unread[entry.name] = "not a .parquet file"
        else:
            files.append(entry)
    return Parts(files, unread)


def is_parquet(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """A key that sorts names, in which numbers count as numbers."""
    # Text and numbers alternate, text first; where all of that is equal (1 and 01), names are compared as they are.
    pieces = re.split(r"([0-9]+)", name)
    return [(int(piece), "") if i % 2 else (0, piece) for i, piece in enumerate(pieces)], name
