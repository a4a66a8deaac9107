"""What is read from each file of text, and the columns that this becomes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tsne_ooc._context import warn
from tsne_ooc._options import pick, unknown
from tsne_ooc._typing import Array, Bool, Float64, Json
from tsne_ooc.convert.pieces import kind_of, pieces_of
from tsne_ooc.convert.recipe import Recipe
from tsne_ooc.convert.rows import Rows, mixed, rows_of, types_of
from tsne_ooc.io.columns import choose, listed

# How many characters of a time stamp such as ``2020-01-31 12:00`` name it up to each part.
PARTS = {"year": 4, "month": 7, "day": 10, "hour": 13}
_STAMP = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d.*)?")


class Known(NamedTuple):
    """The table that new rows are to be like, and what becomes of those that have another word than it had."""

    where: str
    recipe: Recipe
    reject: bool


class Plan:
    """What is read from each file, and the columns that this becomes."""

    def __init__(
        self,
        files: list[Path],
        columns: str | Iterable[str] | None,
        onehot: list[str],
        coded: list[str],
        labels: list[str],
        split_by: str | None,
        known: Known | None,
        standardize: bool,
    ) -> None:
        first = next(pieces_of(files[0], 0), None)
        if first is None:
            raise ValueError(f"{files[0]} holds no rows, so that its columns are not known; leave it out")
        kind = str(kind_of(files[0]))
        try:
            types = types_of(first, kind)
        except ValueError as error:
            raise ValueError(f"{files[0]} cannot be read: {str(error).splitlines()[0]}") from None
        self.known, self.unseen = known, Counter[str]()
        self.categories: dict[str, list[str]] = {}
        #: What is subtracted from the columns of numbers, and what they are divided by; None where they stay.
        self.scaling: tuple[Float64, Float64] | None = None
        if known is not None:
            onehot, coded, self.categories = [*known.recipe.onehot], [*known.recipe.coded], _lists(known.recipe)
            labels = labels or [one for one in known.recipe.labels if one in types]
            if known.recipe.centre is not None:
                self.scaling = np.array(known.recipe.centre), np.array(known.recipe.scale)
            if lacking := [one for one in known.recipe.used if one not in types]:
                raise ValueError(
                    f"{files[0]} lacks columns that {known.where} was made of: {listed(lacking)}; it has "
                    f"{listed(list(types))}"
                )
        name, _, part = (split_by or "").rpartition(":") if split_by not in types else (split_by or "", "", "")
        if split_by is not None and not name:
            name, part = split_by, ""
        if part:
            pick("part of a time stamp", part, PARTS)
        self.key, self.part = name or None, part
        by = [name] if name else []
        for option, names in (("onehot", onehot), ("coded", coded), ("labels", labels), ("split_by", by)):
            for one in names:
                if one not in types:
                    raise ValueError(f"{files[0]} has no such column: {unknown(option, one, types)}")
        used = {*onehot, *coded}
        if known is None:
            # The column that a table is split by is in the names of the files, and labels are not what the map is of.
            beside = {*used, *labels, *([name] if name else [])}
            texts = [one for one, type in types.items() if one not in beside and str(type) == "string"]
            self.mixed = mixed(first, kind, texts) if kind != "parquet" else {}
            numbers = _numbers(types, columns, used, self.mixed, files[0])
            self.numbers = [one for one in numbers if one not in beside]
        else:
            # Whatever the types of these columns are here: a cell that is not a number is told by its line.
            self.numbers, self.mixed = [*known.recipe.numbers], {}
        self.onehot, self.coded = onehot, coded
        self.words_to_find = [*onehot, *coded]
        if not self.numbers and not self.words_to_find:
            raise ValueError(f"{files[0]} has no column of numbers; it has {listed(list(types))}")
        self.labels = labels
        self.words = list(dict.fromkeys([*self.words_to_find, *labels, *([self.key] if self.key else [])]))
        self.mixed = {one: cell for one, cell in self.mixed.items() if one not in self.numbers}
        self.left_out = {
            one: (f"of type {type}" if one else "without a name")
            + (f", though most cells are numbers: {self.mixed[one]!r} is not one" if one in self.mixed else "")
            for one, type in types.items()
            if one not in self.numbers and one not in self.words
        }
        if self.key is not None and self.key not in {*self.numbers, *self.words_to_find, *labels}:
            self.left_out[self.key] = "what the files are split by"
        if not standardize and self.scaling is None:
            self._warn(rows_of(first, kind, self.numbers, []))

    def _warn(self, rows: Rows) -> None:
        """Warn of columns whose numbers float32 does not keep apart."""
        for j, name in enumerate(self.numbers):
            values = np.unique(rows.numbers[:, j])
            kept = len(np.unique(values.astype(np.float32)))
            if kept < 0.9 * len(values):
                warn(
                    f"float32 keeps {kept:,} of {len(values):,} values of column {name!r} apart; subtract what they "
                    "have in common, or leave the column out",
                )

    @property
    def names(self) -> list[str]:
        """The names of the columns that are written."""
        return [
            *self.numbers, *self.coded,
            *(f"{name}={word}" for name in self.onehot for word in self.categories[name]),
        ]  # fmt: skip

    def table(self, rows: Rows) -> Array:
        """The columns that are written, for some rows."""
        out = np.zeros((len(rows.lines), len(self.names)), np.float32)
        numbers = rows.numbers
        if self.scaling is not None:
            centre, scale = self.scaling
            numbers = (numbers - centre) / scale
        out[:, : len(self.numbers)] = numbers
        at = len(self.numbers)
        for name in [*self.coded, *self.onehot]:
            known = {word: number for number, word in enumerate(self.categories[name])}
            # A word that was not there in the first pass is taken as a missing one.
            codes = np.array([known.get(word, -1) for word in rows.words[name].tolist()], np.int64)
            if name in self.coded:
                out[:, at] = np.where(codes < 0, np.nan, codes)
                at += 1
            else:
                there = np.flatnonzero(codes >= 0)
                out[there, at + codes[there]] = 1
                at += len(known)
        return out

    @property
    def recipe(self) -> Recipe:
        """What becomes of each column, for rows that are to be like these."""
        centre, scale = (None, None) if self.scaling is None else (tuple(part.tolist()) for part in self.scaling)
        return Recipe(
            tuple(self.numbers), tuple(self.coded), tuple(self.onehot), tuple(self.labels), self.categories,
            centre, scale,
        )  # fmt: skip

    def check_words(self, rows: Rows) -> None:
        """Count the words that a table did not have which the rows are to be like, or reject the rows that have one."""
        for name in self.words_to_find if self.known is not None else ():
            words, known = rows.words[name].tolist(), {*self.categories[name], None}
            other: Bool = np.array([word not in known for word in words], bool)
            if not other.any():
                continue
            self.unseen[name] += int(other.sum())
            if self.known is not None and self.known.reject:
                _reject_words(rows, name, other)

    def labels_of(self, rows: Rows, which: Array) -> list[Array]:
        """The labels of some rows; a missing label is empty."""
        return [np.array([word or "" for word in rows.words[name][which].tolist()], object) for name in self.labels]

    def keys(self, rows: Rows) -> Array:
        """The value that each row is split by; rows without one are rejected."""
        if self.key is None:
            return np.empty(0, object)
        words = rows.words[self.key].tolist()
        length = PARTS.get(self.part)
        keys = [_part(word, length) for word in words]
        bad: Bool = np.array([key is None for key in keys], bool)
        if bad.any():
            name = self.key
            what = "no value" if not self.part else "no time stamp such as 2020-01-31 12:00"
            rows.reject(bad, lambda i: f"column {name!r} has {what}", lambda i: str(words[i]))
        return np.array([key for key in keys if key is not None], object)


def _numbers(types: Json, columns: str | Iterable[str] | None, used: set[str], mixed: Json, file: Path) -> list[str]:
    """The columns of numbers that are asked for, or all; raises ValueError for one of another type.

    Columns of text most of whose cells are numbers are taken only by their names, since rows are rejected for them.
    """
    numeric = [one for one, type in types.items() if _is_number(type) and one not in used]
    if columns is None:
        # A column without a name is an index, as pandas writes it.
        return [one for one in numeric if one]
    found = choose(list(types), columns, str(file))
    if wrong := [one for one in found if one not in {*numeric, *used, *mixed}]:
        raise ValueError(
            f"column {wrong[0]!r} of {file} is of type {types[wrong[0]]}, not numbers; name it in onehot "
            "(--onehot) or coded (--coded), in labels (--labels) to colour by it, or leave it out"
        )
    return found


def _reject_words(rows: Rows, name: str, which: Bool) -> None:
    words = rows.words[name].tolist()
    rows.reject(
        which, lambda i: f"column {name!r} holds {words[i]!r}, which was not among its words before",
        lambda i: str(words[i]),
    )  # fmt: skip


def _lists(recipe: Recipe) -> dict[str, list[str]]:
    return {name: list(words) for name, words in recipe.categories.items()}


def _part(word: str | None, length: int | None) -> str | None:
    if word is None or length is None:
        return word
    return word[:length].replace("T", " ") if _STAMP.fullmatch(word) and len(word) >= length else None


def _is_number(type: Any) -> bool:
    import pyarrow as pa

    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null, pa.types.is_decimal)
    return any(kind(type) for kind in kinds)
