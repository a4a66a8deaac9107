"""Labels of rows, of any type: which there are, and which row has which."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from tsne_ooc._typing import Array, Int64


class Classes(NamedTuple):
    """The labels there are, in sorted order, and for each row the number of its own; -1 where it has none."""

    names: Array
    codes: Int64


class Categorical(np.ndarray[Any, Any]):
    """An array of labels that came with an order; `categories` lists all of them in that order."""

    categories: Sequence[Any] | None = None

    @classmethod
    def of(cls, labels: Array, categories: Sequence[Any]) -> Categorical:
        """An array of labels with the order of their categories."""
        found = labels.view(cls)
        found.categories = list(categories)
        return found

    def __array_finalize__(self, made_of: Any) -> None:
        # A part of the rows keeps the order of the whole.
        self.categories = getattr(made_of, "categories", None)


def categories_of(labels: Any) -> list[Any] | None:
    """The categories of labels in their own order; None where they have none.

    Labels have them that are a Categorical of pandas (in a Series or an index, too), an Enum of Polars, dictionaries of
    Arrow, or what `labels_of` read.
    """
    # A Series has them behind `.cat`, which raises AttributeError where the Series is not categorical. An Enum of
    # Polars has them in its type, where a Categorical of Polars has something else of that name.
    kind = getattr(labels, "dtype", None)
    for holder in (labels, getattr(labels, "cat", None), kind if type(kind).__name__ == "Enum" else None):
        found = getattr(holder, "categories", None)
        if found is not None and not callable(found):
            return list(found)
    if hasattr(labels, "unify_dictionaries"):
        return arrow_categories(labels)
    if hasattr(labels, "dictionary"):
        return list(labels.dictionary.to_pylist())
    return None


def arrow_categories(column: Any) -> list[Any] | None:
    """The dictionary of a chunked array of Arrow; None where it has none."""
    if not hasattr(column.type, "index_type"):
        return None
    chunks = column.unify_dictionaries().chunks
    return list(chunks[0].dictionary.to_pylist()) if chunks else []


def ordered(labels: Any, name: str = "labels") -> Classes:
    """The classes of a column, in the order that people expect in a legend.

    Categories keep their own order, and those that no row has are among them; other words are sorted naturally, "2"
    before "10".
    """
    categories = categories_of(labels)
    found = classes(column(labels, name), name)
    if categories is not None:
        names = [label.decode() if isinstance(label, bytes) else label for label in categories]
        place = {label: at for at, label in enumerate(names)}
        # Labels that are not among the categories come behind them; pandas and Arrow have none.
        for label in found.names.tolist():
            place.setdefault(label, len(place))
        rank = [place[label] for label in found.names.tolist()]
        names = list(place)
    elif found.names.dtype.kind in "OU":
        order = sorted(range(len(found.names)), key=lambda at: _natural(found.names[at]))
        names = [found.names[at] for at in order]
        rank = np.argsort(order).tolist()
    else:
        return found
    return Classes(_listed(names), np.array([*rank, -1], np.int64)[found.codes])


def _listed(names: list[Any]) -> Array:
    """Labels as an array: of numbers, where all are numbers and keep their digits, or of objects."""
    if names and all(isinstance(label, Real) for label in names):
        numbers = np.asarray(names)
        # NumPy makes floats of whole numbers of which some are beyond int64.
        if numbers.tolist() == names:
            return numbers
    listed = np.empty(len(names), object)
    listed[:] = names
    return listed


def _natural(label: Any) -> tuple[int, float, list[tuple[str, int]], str]:
    """A key that sorts words letter by letter, and numbers in them as numbers, where their first digit would be."""
    kind, number, text = _sort_key(label)
    parts = re.findall(r"[0-9]{1,18}|[^0-9]", text)
    return kind, number, [("0", int(part)) if part.isdecimal() else (part, 0) for part in parts], text


def column(labels: Any, name: str = "labels") -> Array:
    """Labels as an array, in which missing ones can be told from words.

    Raises
    ------
    TypeError
        For a dictionary, which has no order of rows.
    """
    if isinstance(labels, Mapping) and not hasattr(labels, "iloc"):
        raise TypeError(f"{name} is a {type(labels).__name__}; pass one label for each row, in the order of the rows")
    if isinstance(labels, np.ma.MaskedArray):
        words: Array = labels.data
        if np.ma.is_masked(labels):
            words = words.astype(object)
            words[np.ma.getmaskarray(labels)] = None
        return words
    array = np.asarray(labels)
    # NumPy would turn the None, or the numbers, of a list into words: "None" is a label, None is not.
    # Of whole numbers of which some are beyond int64 it makes floats, and one label of several.
    whole = array.size > 0 and array.dtype.kind == "f" and isinstance(labels, list | tuple)
    whole = whole and all(isinstance(one, int) for one in labels)
    if (whole or array.dtype.kind in "USO") and not isinstance(labels, np.ndarray):
        array = np.asarray(labels, dtype=object)
    return array


def classes(labels: Array, name: str = "labels") -> Classes:
    """The classes of a one-dimensional array of labels.

    None, NaN, NaT and pandas' NA are not labels. Bytes are text.

    Raises
    ------
    TypeError
        For a label that cannot be compared, such as a list, naming its row.
    """
    if labels.dtype.kind == "S":
        labels = text(labels)
    if labels.dtype.kind == "O":
        return _of_objects(labels, name)
    names, codes = np.unique(labels, return_inverse=True)
    codes = codes.reshape(-1).astype(np.int64)
    if labels.dtype.kind in "fcmM":
        # NaN and NaT sort last.
        known = int(np.count_nonzero(names == names))
        names, codes = names[:known], np.where(codes < known, codes, -1)
    return Classes(names, codes)


def text(labels: Array) -> Array:
    """Bytes as text: UTF-8, or Latin-1 where one of them is not UTF-8; files do not say which."""
    cells = labels.tolist()
    try:
        found = [cell.decode() if isinstance(cell, bytes) else cell for cell in cells]
    except UnicodeDecodeError:
        found = [cell.decode("latin-1") if isinstance(cell, bytes) else cell for cell in cells]
    result = np.empty(len(found), object)
    result[:] = found
    return result


def _of_objects(labels: Array, name: str) -> Classes:
    if any(isinstance(label, bytes) for label in labels):
        labels = text(labels)
    seen: dict[Any, int] = {}
    codes = np.empty(len(labels), np.int64)
    for row, label in enumerate(labels):
        if is_missing(label):
            codes[row] = -1
            continue
        try:
            codes[row] = seen.setdefault(label, len(seen))
        except TypeError:
            raise TypeError(
                f"{name} has a {type(label).__name__} in row {row}; labels are words, numbers or dates"
            ) from None
    found = list(seen)
    try:
        order = sorted(range(len(found)), key=found.__getitem__)
    except TypeError:
        # Numbers come before words, and these before all else.
        order = sorted(range(len(found)), key=lambda at: _sort_key(found[at]))
    rank = np.empty(len(found) + 1, np.int64)
    rank[order], rank[-1] = np.arange(len(found)), -1
    return Classes(_listed([found[at] for at in order]), rank[codes])


def _sort_key(label: Any) -> tuple[int, float, str]:
    if isinstance(label, Real):
        return 0, float(label), ""
    return (1 if isinstance(label, str) else 2), 0.0, str(label)


def is_missing(label: Any) -> bool:
    """Whether a cell of any type is missing: None, NaN, NaT, pandas' NA."""
    # NaN and NaT differ from themselves; pandas' NA says what it is only by its name.
    if label is None or type(label).__name__ == "NAType":
        return True
    own = label != label
    return isinstance(own, bool | np.bool_) and bool(own)
