"""What rows are coloured by: kinds, which have a colour each, or numbers on a scale; they are read block by block."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tsne_ooc._labels import categories_of, column, ordered
from tsne_ooc._options import counted
from tsne_ooc._typing import Array, Float64, Int64
from tsne_ooc.plot.colors import Paper, color_map, is_for_scales, matplotlib, palette, scale_on
from tsne_ooc.plot.rows import cuts, give_back

log = logging.getLogger(__name__)

# Where there are more different whole numbers than this, they are drawn on a scale.
MOST_LABELS = 40
# Where there are more different words than this, no palette can tell them apart.
MOST_WORDS = 100
# Whole numbers within so wide a range are looked up in a table.
_NARROW = 1 << 16


@dataclass(frozen=True)
class Kinds:
    """Labels that have a colour each.

    Attributes
    ----------
    names : ndarray
        The labels in the order of the legend, with "missing" at the end where a row has no label.
    counts : int64
        The number of rows of each label.
    palette : float64 (len(names), 3)
        The colour of each label; that of "missing" is NaN, since it depends on the paper.
    """

    names: Array
    counts: Int64
    palette: Float64
    _labels: Array
    _numbers: Array | None

    def codes(self, start: int, stop: int) -> Array:
        """The numbers of the labels of rows `start` up to `stop`, in int32; the last number is for a missing label."""
        part = self._labels[start:stop]
        if self._numbers is None:
            found = part.astype(np.int32)
            found[found < 0] = len(self.names) - 1
        else:
            found = _places(self._numbers, part, len(self.names) - 1)
            give_back(self._labels)
        return found

    def of(self, rows: Int64) -> Kinds:
        """The same labels and colours for some rows."""
        codes = _placed(self, rows)
        counts = np.bincount(codes, minlength=len(self.names))
        return replace(self, counts=counts, _labels=codes, _numbers=None)

    def colors(self, missing: str) -> Float64:
        """The palette, where a missing label has this colour."""
        found = self.palette.copy()
        found[np.isnan(found[:, 0])] = matplotlib().colors.to_rgb(missing)
        return found


@dataclass(frozen=True)
class Scale:
    """Numbers that are drawn on a scale.

    Attributes
    ----------
    low, high : float
        The least and the largest number.
    cmap : colour map of matplotlib
    """

    low: float
    high: float
    cmap: Any
    _numbers: Array

    def values(self, start: int, stop: int) -> Float64:
        """The numbers of rows `start` up to `stop`; a missing one is NaN."""
        found = self._numbers[start:stop].astype(np.float64)
        give_back(self._numbers)
        return found

    def of(self, rows: Int64) -> Scale:
        """The same scale for some rows."""
        return replace(self, _numbers=self._numbers[rows])

    def mappable(self) -> Any:
        """The object that matplotlib draws a colour bar from."""
        known = matplotlib()
        norm = known.colors.Normalize(self.low, self.high)
        return known.cm.ScalarMappable(norm, self.cmap)


def coloring(labels: ArrayLike, n: int, colors: Any, paper: Paper) -> Kinds | Scale:
    """Decide what the labels of `n` rows are drawn as.

    Raises
    ------
    ValueError
        For labels of another length or of too many kinds, and for colours that do not fit.
    """
    array = column(labels)
    if array.shape != (n,):
        raise ValueError(f"labels has shape {array.shape}, and Y has {counted(n, 'rows')}")
    cmap = color_map(colors)
    if categories_of(labels) is None and array.dtype.kind in "fiub":
        return _of_numbers(array, colors, cmap, paper)
    names, codes = ordered(labels)
    counts = np.bincount(codes + 1, minlength=len(names) + 1)
    there = np.flatnonzero(counts[1:])
    if categories_of(labels) is None and names.dtype.kind in "fiub":
        # Objects may be numbers, too, such as some with None among them.
        return _of_numbers(np.append(names.astype(float), np.nan)[codes], colors, cmap, paper)
    if len(there) > MOST_WORDS:
        raise ValueError(
            f"labels has {len(there)} different words; at most {MOST_WORDS} can be told apart; "
            "tsne_ooc.plot.most_frequent(labels, 40) keeps some"
        )
    small = codes.astype(np.int8 if len(names) < 127 else np.int32)
    return _kinds(names, counts[1:], int(counts[0]), small, None, there, cmap if cmap is not None else colors)


def most_frequent(labels: ArrayLike, most: int) -> Array:
    """Keep only the labels that the most rows have; all others become one label, which says how many there are.

    Parameters
    ----------
    labels : array_like of shape (n,)
    most : int
        How many labels are kept, at least one.

    Returns
    -------
    ndarray of object, shape (n,)
        The labels as they are, where there are no more of them than that.

    Examples
    --------
    >>> most_frequent(["a", "a", "b", "c"], 1).tolist()
    ['a', 'a', '2 others', '2 others']
    """
    return frequent(labels, most).labels


class Frequent(NamedTuple):
    """What `frequent` found.

    Parameters
    ----------
    labels : Categorical
        One for each row.
    others : int
        How many labels became one.
    numbers : bool
        Whether they are numbers that are no categories.
    """

    labels: Array
    others: int
    numbers: bool


def frequent(labels: ArrayLike, most: int) -> Frequent:
    """The labels as `most_frequent` has them, and what they were."""
    from tsne_ooc._labels import Categorical

    names, codes = ordered(labels)
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    words = np.empty(len(names) + 1, object)
    words[:-1], words[-1] = names, None
    there = np.flatnonzero(counts)
    left = 0
    if len(there) > most:
        kept = np.sort(np.argsort(-counts, kind="stable")[:most])
        others = np.setdiff1d(there, kept)
        left = len(others)
        words[others] = f"{left:,} others"
        order = [*names[kept].tolist(), f"{left:,} others"]
    else:
        order = names.tolist()
    are_numbers = categories_of(labels) is None and names.dtype.kind in "fiub"
    return Frequent(Categorical.of(words[codes], order), left, are_numbers)


def _of_numbers(array: Array, colors: Any, cmap: Any, paper: Paper) -> Kinds | Scale:
    few = _few(array)
    for_scales = is_for_scales(cmap)
    if few is not None and not for_scales and array.dtype.kind == "f" and not (few == np.floor(few)).all():
        log.info("labels are %d different numbers, drawn on a scale; labels.astype(str) makes kinds of them", len(few))
        few = None
    if few is None or for_scales:
        if cmap is None and colors is not None:
            raise ValueError(
                f"labels are {_how_many(array)} on a scale, which takes the name of a colour map, such "
                "as colors='viridis'; for a colour of each give words: labels.astype(str)"
            )
        low, high = _bounds(array)
        chosen = (cmap or scale_on(paper)).with_extremes(bad=paper.missing)
        return Scale(low, high, chosen, array)
    if array.dtype.kind != "b":
        log.info("labels are %d different whole numbers, taken for kinds; colors='viridis' makes a scale", len(few))
    counts = np.zeros(len(few) + 1, np.int64)
    for start, stop in cuts(len(array)):
        counts += np.bincount(_places(few, array[start:stop], len(few)), minlength=len(few) + 1)
        give_back(array)
    there = np.arange(len(few))
    return _kinds(few, counts[:-1], int(counts[-1]), array, few, there, cmap if cmap is not None else colors)


def _kinds(
    names: Array, counts: Int64, missing: int, labels: Array, numbers: Array | None, there: Int64, colors: Any
) -> Kinds:
    chosen = palette(names, there, colors)
    if missing:
        names = np.append(names.astype(object), "missing")
        counts, chosen = np.append(counts, missing), np.vstack([chosen, np.full(3, np.nan)])
    return Kinds(names, counts, chosen, labels, numbers)


def _places(numbers: Array, part: Array, missing: int) -> Array:
    """The place of each number of the part among a few sorted numbers."""
    if _is_whole(part) and len(numbers) and int(numbers[-1]) - int(numbers[0]) < _NARROW:
        # A table is ten times as fast as a search.
        first = int(numbers[0])
        table = np.zeros(int(numbers[-1]) - first + 1, np.int32)
        table[numbers.astype(np.int64) - first] = np.arange(len(numbers))
        return np.take(table, part.astype(np.int64) - first)
    found = np.searchsorted(numbers, part).astype(np.int32)
    if part.dtype.kind == "f":
        found[np.isnan(part)] = missing
    return found


def _different(part: Array) -> Array:
    """The different numbers of a block, sorted."""
    if _is_whole(part) and len(part):
        low, high = int(part.min()), int(part.max())
        if high - low < _NARROW:
            there = np.flatnonzero(np.bincount(part.astype(np.int64) - low))
            return (there + low).astype(part.dtype)
    return np.unique(part)


def _is_whole(part: Array) -> bool:
    """Whether these are whole numbers that int64 can hold."""
    return part.dtype.kind in "iu" and part.dtype != np.uint64


def _placed(kinds: Kinds, rows: Int64) -> Array:
    """The codes of some rows, whose numbers ascend, read block by block."""
    found = [kinds.codes(start, stop)[rows[slice(*np.searchsorted(rows, (start, stop)))] - start]
             for start, stop in cuts(len(kinds._labels))]  # fmt: skip
    return np.concatenate(found)


def _few(array: Array) -> Array | None:
    """The different numbers, sorted, without NaN; None where there are more of them than kinds may be."""
    few: Array = np.empty(0, array.dtype)
    for start, stop in cuts(len(array)):
        part = _different(array[start:stop])
        few = np.union1d(few, part[part == part])
        give_back(array)
        if len(few) > MOST_LABELS:
            return None
    return few


def _bounds(array: Array) -> tuple[float, float]:
    """The least and the largest finite number; 0 and 1 where there is none."""
    low, high = np.inf, -np.inf
    for start, stop in cuts(len(array)):
        part = array[start:stop]
        part = part[np.isfinite(part)]
        if len(part):
            low, high = min(low, float(part.min())), max(high, float(part.max()))
        give_back(array)
    return (low, high) if low <= high else (0.0, 1.0)


def _how_many(array: Array) -> str:
    return counted(len(np.unique(array[array == array])), "numbers")
