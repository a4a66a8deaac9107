"""What becomes of each column of text: kept with the table, so that the rows of later files become columns like it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tsne_ooc._typing import Json, StrPath
from tsne_ooc.io.prepared import how_prepared
from tsne_ooc.io.source import open_source
from tsne_ooc.storage.manifest import MANIFEST, read_manifest

FORMAT = "tsne_ooc table"


@dataclass(frozen=True)
class Recipe:
    """What becomes of each column.

    Parameters
    ----------
    numbers, coded, onehot, labels : tuple of str
        Columns of numbers; those of words that become a number, or a column for each word; those that are kept beside.
    categories : dict of str to list of str
        The sorted words of the columns that are `coded` or `onehot`.
    centre, scale : tuple of float, optional
        What is subtracted from each column of numbers, and what it is divided by after that.
    """

    numbers: tuple[str, ...]
    coded: tuple[str, ...]
    onehot: tuple[str, ...]
    labels: tuple[str, ...]
    categories: Mapping[str, Sequence[str]]
    centre: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None

    @classmethod
    def of(cls, told: Any, where: str) -> Recipe:
        """The recipe that a file holds, which may be anything; raises ValueError."""
        named = ("numbers", "coded", "onehot", "labels")
        parts: list[Any] = [told.get(name) for name in named] if isinstance(told, dict) else []
        words = told.get("categories") if parts else None
        if not (parts and all(map(_names, parts)) and isinstance(words, dict) and all(map(_names, words.values()))):
            raise ValueError(f"{where} is damaged: what it says of its columns is not what tsne-ooc prepare writes")
        numbers, coded, onehot, labels = (tuple(part) for part in parts)
        scaling = [told.get(name) for name in ("centre", "scale")]
        if scaling != [None, None]:
            if not all(_finite(part, len(numbers)) for part in scaling) or 0 in scaling[1]:
                raise ValueError(f"{where} is damaged: it has no finite number to scale a column by")
            scaling = [tuple(map(float, part)) for part in scaling]
        found = cls(numbers, coded, onehot, labels, words, *scaling)
        if set(words) != {*found.coded, *found.onehot}:
            raise ValueError(f"{where} is damaged: it has no words for a column, or words for another one")
        return found

    @property
    def used(self) -> list[str]:
        """Columns that have to be there."""
        return [*self.numbers, *self.coded, *self.onehot]

    def text(self) -> str:
        """The recipe as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)


def recipe_of(path: StrPath) -> Recipe:
    """The recipe of a folder or a table that `convert` wrote, or of a map that was made from such a table.

    Raises
    ------
    OSError
        Where there is no such file or folder, or it cannot be read.
    ValueError
        Where it says nothing of this kind, or is damaged.
    """
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"there is no file or folder {place}")
    told = _in_folder(place) if (place / MANIFEST).is_file() else _in_table(place)
    if told is None:
        raise ValueError(
            f"{place} does not say how text became its columns: it is neither what tsne-ooc prepare wrote, nor made "
            "from that; name one of these"
        )
    return Recipe.of(told, str(place))


def _in_folder(folder: Path) -> Any:
    try:
        found: Json = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if found.get("format") == FORMAT:
            return found.get("recipe")
    except (ValueError, AttributeError):
        pass
    # Of a run or an encoder.
    return read_manifest(folder)["content"].get("read", {}).get("prepared")


def _in_table(path: Path) -> Any:
    with open_source(path) as table:  # type: ignore[attr-defined]
        return how_prepared(table)


def _names(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(name, str) for name in found) and len(set(found)) == len(found)


def _finite(found: Any, count: int) -> bool:
    numbers = isinstance(found, list) and all(type(one) in (int, float) for one in found)
    return numbers and len(found) == count and all(map(math.isfinite, found))
