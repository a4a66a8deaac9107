"""`Preparation`: steps that are fitted on a table in as few passes as they need, and then applied to every row."""

from __future__ import annotations

import itertools
import json
import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from tsne_ooc._context import warn
from tsne_ooc._options import unknown, whole
from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Array, Float32, Float64, Int64, Json, Progress, TableLike
from tsne_ooc._validate import as_rows
from tsne_ooc.io import Source, as_source, line_up, names_of
from tsne_ooc.io.arrow import is_arrow
from tsne_ooc.io.lacking import Lacking
from tsne_ooc.preprocess.base import Fitted, Step
from tsne_ooc.preprocess.missing import FittedMissing, Missing
from tsne_ooc.preprocess.onehot import EncodedSource, Encoding, OneHot, checked_by_name, columns_of
from tsne_ooc.preprocess.pca import PCA, FittedPCA
from tsne_ooc.preprocess.rows import Passes, apply, dropping, working_type
from tsne_ooc.preprocess.rowwise import FittedLog1p, FittedNormalize, Log1p, Normalize
from tsne_ooc.preprocess.shift import FittedShift, Shift
from tsne_ooc.preprocess.standardize import FittedStandardize, Standardize
from tsne_ooc.preprocess.transformer import Transformer

FORMAT_VERSION = 1
# The steps that a saved preparation may hold. Nothing else is made from a file.
_KNOWN: Json = {
    "log1p": FittedLog1p,
    "normalize": FittedNormalize,
    "standardize": FittedStandardize,
    "pca": FittedPCA,
    "shift": FittedShift,
    "missing": FittedMissing,
}


class Preparation:
    """Steps from the rows of a file to the rows that are embedded.

    A pass over the table fits all steps whose statistics follow from one another: `Log1p`, `Normalize` and
    `Standardize` with `PCA` behind them take one. `OneHot` and `Missing` take one of their own, `PCA` of more than
    4,096 columns three, a `Transformer` that is not fitted one; steps behind these begin a pass of their own. All is
    computed in float64 and rounded to float32 at the end.

    Parameters
    ----------
    steps : sequence of steps
        Steps of this package, applied in this order; `OneHot` can only be the first, and `Missing` the first behind it.

    Attributes
    ----------
    fitted : tuple
        The fitted steps behind `OneHot`, with what they took from the data.
    encoding : Encoding or None
        The fitted `OneHot`.
    names : list of str or None
        Names of the columns before the steps, where the table had names. Later tables with names are taken by name.
    n_features_in, n_features_out : int
        Columns before and after.
    n_samples : int
        Rows it was fitted on.
    passes : int
        Passes over the table that the fit took.
    unseen : dict of str to int
        Rows met so far, since the fit or since it was opened, with a category that the fit had not seen, by column.
        A row that is read twice counts twice.

    Raises
    ------
    TypeError, ValueError
        For what is not a step, and for a `OneHot` that is not the first.

    Examples
    --------
    >>> preparation = Preparation([Log1p(), Standardize(), PCA(50)]).fit(counts)  # doctest: +SKIP
    >>> run = embed(PreparedSource(counts, preparation), out="map")  # doctest: +SKIP
    """

    def __init__(self, steps: Sequence[Any]) -> None:
        self.steps = tuple(steps)
        for i, step in enumerate(self.steps):
            if not isinstance(step, OneHot | Missing | Log1p | Normalize | Standardize | PCA | Transformer | Shift):
                hint = "; wrap it in Transformer" if hasattr(step, "transform") else ""
                raise TypeError(f"{step!r} is not a step of a preparation{hint}")
            if isinstance(step, OneHot) and i:
                raise ValueError("onehot must be the first step: those behind it see columns without names")
            if isinstance(step, Missing) and i > isinstance(self.steps[0], OneHot):
                raise ValueError("missing must be the first step, or the first behind onehot: others need all values")
        for step in self.steps if self.leaves_gaps else ():
            if not isinstance(step, OneHot | Missing | Log1p | Standardize | Shift):
                raise ValueError(
                    f"{step!r} needs all values, and what is missing is kept (missing='keep', which "
                    "metric='nan_euclidean' implies); fill values in by Missing('median') (--missing median), or leave "
                    "this step out"
                )
        self.encoding: Encoding | None = None
        self.fitted: tuple[Fitted, ...] = ()
        self.names: list[str] | None = None
        self.n_features_in = self.n_features_out = self.n_samples = self.passes = 0
        self.unseen: dict[str, int] = {}
        self._seed = 0
        self._lock = threading.Lock()

    def fit(
        self, source: TableLike, progress: Progress | None = None, *, random_state: int = 0, n_jobs: int | None = None
    ) -> Preparation:
        """Fit all steps on a table.

        The result is the same to the bit for any chunks, blocks and threads.

        Parameters
        ----------
        source : Source or what `tsne_ooc.io.as_source` accepts
            Table of shape (n_samples, n_features).
        progress : callable, optional
            Called as ``progress("prepare", rows done, rows in all)``, anew for each pass.
        random_state : int
            Seed of the samples that robust scaling and some transformers take.
        n_jobs : int or None
            Threads.

        Returns
        -------
        Preparation
            The preparation itself.

        Raises
        ------
        ValueError, TypeError, OSError
            For bad rows, naming row and column, where a step cannot work on this table, and where rows cannot be read.
            The preparation stays as it was.
        """
        seed = whole("random_state", random_state, least=0, most=math.inf)
        threads = Threads(n_jobs)
        passes = 0

        def begin() -> Progress:
            nonlocal passes
            passes += 1
            return progress or _silent

        steps: list[Any] = list(self.steps)
        encoding = None
        names: list[str] | None
        table = as_source(source)
        if steps and isinstance(steps[0], OneHot):
            table = checked_by_name(table)
            encoding = steps.pop(0).fit(table, begin(), self.takes_missing)
            names = list(encoding.names)
            table = EncodedSource(table, encoding, self._count_unseen, lacks_values=self.takes_missing)
        else:
            names = names_of(table)
            table = Lacking(table) if self.takes_missing else table
        n, columns = table.shape
        if n < 1 or columns < 1:
            raise ValueError(f"{table!r} holds nothing to fit a preparation on")
        rows = Passes(table, (), seed, threads, begin)
        statistics = None
        for i, step in enumerate(steps):
            if statistics is None and (needs := _needs(steps[i:], rows.width)):
                statistics = rows.statistics(needs)
            fitted = step.fit(rows, statistics if step.needs(rows.width) else None)
            statistics = None if statistics is None else fitted.forward(statistics)
            rows = rows.then(fitted)
        self.encoding, self.fitted, self.passes, self._seed = encoding, rows.steps, passes, seed
        self.names = names
        self.n_samples, self.n_features_out = n, rows.width
        self.n_features_in = columns if encoding is None else encoding.width_in
        self.unseen = {}
        return self

    def transform(self, block: Any, *, first_row: int = 0, n_jobs: int | None = None) -> Float32:
        """Prepared rows; each is the same bits in any block.

        Parameters
        ----------
        block : array-like or DataFrame of shape (m, n_features_in), or mapping of columns
            A mapping (or DataFrame) where the first step is `OneHot`. Columns with names are taken by name, where those
            of the fit had names.
        first_row : int
            Number of the first row in its file, for messages.
        n_jobs : int or None
            Threads.

        Returns
        -------
        ndarray of float32, shape (m, n_features_out)

        Raises
        ------
        ValueError, TypeError
            For bad rows, naming row and column, for other names or another number of columns than the fit had, and
            before `fit`.
        """
        self._check_fitted()
        if self.encoding is not None:
            rows = self.encoding.encode(columns_of(block), first_row, self._count_unseen, self.takes_missing)
        else:
            if not hasattr(block, "dtype") and not hasattr(block, "dtypes") and not is_arrow(block):
                block = np.asarray(block)
            block = line_up(block, self.names)
            if is_arrow(block) or isinstance(block, Source):
                table = Lacking(block) if self.takes_missing else as_source(block)
                block = table.read(0, block.shape[0])
            dtype = working_type(block.dtype) if hasattr(block, "dtype") else np.float64
            rows = as_rows(block, dtype=dtype, first_row=first_row, missing=self.takes_missing)
            self._check_columns(rows.shape[1], "X")
        out = np.empty((len(rows), self.n_features_out), np.float32)
        self.apply(rows, out, first_row=first_row, n_jobs=n_jobs)
        return out

    def apply(self, rows: Array, out: Float32, *, first_row: int, n_jobs: int | None = None) -> None:
        """Write prepared rows to `out`, from numbers that are checked already, with their categories coded."""
        apply(self.fitted, rows, first_row, Threads(n_jobs), out)
        as_rows(out, name="the prepared table", first_row=first_row, missing=self.drops)

    @property
    def takes_missing(self) -> bool:
        """Whether a step says what becomes of missing values."""
        return any(isinstance(step, Missing) for step in self.steps)

    @property
    def to_drop(self) -> bool:
        """Whether a step, fitted or not, leaves out rows that lack some value."""
        return any(isinstance(step, Missing) and step.how == "drop" for step in self.steps)

    @property
    def drops(self) -> bool:
        """Whether rows that lack a value, or every value, are left out: prepared, they are NaN throughout."""
        return dropping(self.fitted) is not None

    @property
    def leaves_gaps(self) -> bool:
        """Whether prepared rows may lack values, for a metric that takes such rows."""
        return any(isinstance(step, Missing) and step.how == "keep" for step in self.steps)

    def keeping_gaps(self) -> Preparation:
        """A preparation of the same steps that leaves what is missing, unless a step says something else of it.

        Raises
        ------
        ValueError
            For a step that needs all values, naming it.
        """
        if self.takes_missing:
            return Preparation(self.steps)
        first = int(bool(self.steps) and isinstance(self.steps[0], OneHot))
        return Preparation([*self.steps[:first], Missing("keep"), *self.steps[first:]])

    @property
    def dropped(self) -> Int64:
        """Numbers of the rows of the fit that lack a value and were left out; they are not saved."""
        first = self.fitted[0] if self.fitted else None
        known = first.dropped if isinstance(first, FittedMissing) else None
        return np.empty(0, np.int64) if known is None else known

    @property
    def filled(self) -> Json | None:
        """What was filled in for missing values in the table of the fit: how, and how many cells of how many columns.

        None where no step fills them in.
        """
        first = self.fitted[0] if self.fitted else None
        if not isinstance(first, FittedMissing) or first.drops:
            return None
        columns = int(np.count_nonzero(first.lacking))
        return {"how": first.step.how, "cells": int(first.lacking.sum()), "columns": columns}

    @property
    def contents(self) -> tuple[Any, ...]:
        """All that decides how a row is prepared, for a digest."""
        self._check_fitted()
        return self.encoding, self.fitted, self.n_features_in

    def check_undo(self) -> None:
        """Raise ValueError where a step cannot be undone, naming it."""
        self._check_fitted()
        for step in [*([] if self.encoding is None else [self.encoding.step]), *(step.step for step in self.fitted)]:
            if isinstance(step, OneHot | Transformer):
                raise ValueError(f"{step!r} cannot be undone; ask for prepared rows (prepared=True)")

    def undo(self, rows: Any) -> Float32:
        """Rows in the table's own units from prepared ones, as far as these tell, each the same bits in any block.

        `PCA` gives the nearest row that has these components, `Log1p` nothing below 0, and after `Normalize` the rows
        keep the sum that it gave them.

        Parameters
        ----------
        rows : array-like of shape (m, n_features_out)

        Returns
        -------
        ndarray of float32, shape (m, n_features_in)

        Raises
        ------
        ValueError
            For a `OneHot` or a `Transformer`, which cannot be undone; for bad rows, and before `fit`.
        """
        self.check_undo()
        found: Float64 = as_rows(rows, dtype=np.float64)
        if found.shape[1] != self.n_features_out:
            raise ValueError(f"X has {found.shape[1]} columns, and {self!r} gives {self.n_features_out}")
        for fitted in reversed(self.fitted):
            found = fitted.undo(found)
        with np.errstate(over="ignore"):
            rounded = found.astype(np.float32)
        as_rows(rounded, name="the table of undone rows")
        return rounded

    def numbers(self, source: TableLike) -> Source:
        """The table that the steps behind `OneHot` read; raises ValueError for other columns than those of the fit."""
        self._check_fitted()
        table = as_source(source)
        if self.encoding is not None:
            named = checked_by_name(table)
            return EncodedSource(named, self.encoding, self._count_unseen, lacks_values=self.takes_missing)
        lined_up: Source = line_up(table, self.names, repr(table))
        self._check_columns(lined_up.shape[1], repr(table))
        return Lacking(lined_up) if self.takes_missing else lined_up

    def state(self) -> tuple[Json, dict[str, Array]]:
        """All that `from_state` needs: numbers and words for JSON, and arrays that can be saved without pickle.

        Raises
        ------
        TypeError
            For a `Transformer`, whose object only pickle could save.
        ValueError
            Before `fit`.
        """
        self._check_fitted()
        steps: list[Json] = []
        arrays: dict[str, Array] = {}
        if self.encoding is not None:
            steps.append({"kind": OneHot.kind, **self.encoding.state()})
        for fitted in self.fitted:
            numbers, found = fitted.state()
            arrays |= {f"{len(steps)}.{name}": array for name, array in found.items()}
            steps.append({"kind": fitted.step.kind, **numbers})
        if self.names is not None and self.encoding is None:
            # They go into an array, because a manifest should not hold millions of names.
            arrays["names"] = np.frombuffer(json.dumps(self.names).encode(), np.uint8)
        return {
            "format": "tsne_ooc preparation",
            "format_version": FORMAT_VERSION,
            "n_samples": self.n_samples,
            "n_features_in": self.n_features_in,
            "n_features_out": self.n_features_out,
            "passes": self.passes,
            "random_state": self._seed,
            "steps": steps,
        }, arrays

    @classmethod
    def from_state(cls, json: Json, arrays: dict[str, Array]) -> Preparation:
        """The fitted preparation that `state` described.

        Raises
        ------
        ValueError
            For a later format, unknown steps, and arrays that are missing, not finite or of the wrong shape.
        """
        try:
            return cls._from_state(json, arrays)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the state of a preparation is damaged: {type(error).__name__} {error}") from None

    @classmethod
    def _from_state(cls, json: Json, arrays: dict[str, Array]) -> Preparation:
        if int(json["format_version"]) > FORMAT_VERSION:
            raise ValueError(
                f"the preparation has format {json['format_version']}; this version reads up to {FORMAT_VERSION}, "
                "upgrade tsne_ooc"
            )
        width = whole("n_features_in", json["n_features_in"], least=1)
        encoding: Encoding | None = None
        fitted: list[Any] = []
        for i, numbers in enumerate(json["steps"]):
            kind = numbers["kind"]
            if kind == OneHot.kind and i == 0:
                encoding = Encoding.from_state(numbers)
                if encoding.width_in != width:
                    raise ValueError(f"the state of a preparation names {encoding.width_in} columns, not {width}")
                width = encoding.width_out
                continue
            if kind not in _KNOWN:
                raise unknown("step of a preparation", kind, _KNOWN)
            prefix = f"{i}."
            own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
            fitted.append(_KNOWN[kind].from_state(numbers, own, width))
            width = fitted[-1].width_out
        if width != json["n_features_out"]:
            raise ValueError(f"the state of a preparation ends in {width} columns, not {json['n_features_out']}")
        steps = [*([] if encoding is None else [encoding.step]), *(step.step for step in fitted)]
        preparation = cls(steps)
        preparation.encoding, preparation.fitted = encoding, tuple(fitted)
        preparation.n_features_in, preparation.n_features_out = int(json["n_features_in"]), width
        preparation.n_samples, preparation.passes = int(json["n_samples"]), int(json["passes"])
        preparation._seed = int(json["random_state"])
        preparation.names = _names_in(arrays, preparation.n_features_in) if encoding is None else list(encoding.names)
        return preparation

    def _check_fitted(self) -> None:
        if not self.n_features_in:
            raise ValueError(f"{self!r} is not fitted; call its `fit` first")

    def _check_columns(self, columns: int, name: str) -> None:
        if columns != self.n_features_in:
            raise ValueError(f"{name} has {columns} columns, and {self!r} was fitted with {self.n_features_in}")

    def _count_unseen(self, column: str, rows: int) -> None:
        with self._lock:
            first = column not in self.unseen
            self.unseen[column] = self.unseen.get(column, 0) + rows
        if first:
            warn(
                f"column {column!r} has categories that the preparation was not fitted with; they become zeros",
            )

    def __getstate__(self) -> Json:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: Json) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Preparation([{', '.join(map(repr, self.steps))}])"


def _needs(steps: Sequence[Step], width: int) -> frozenset[str]:
    """What one pass must gather for the first step, and for those behind it as far as one pass reaches."""
    needs = steps[0].needs(width)
    if needs:
        for before, step in itertools.pairwise(steps):
            if not before.affine:
                break
            needs |= step.needs(width)
    return needs


def _names_in(arrays: dict[str, Array], width: int) -> list[str] | None:
    """Names of columns, from a state that may hold anything."""
    if "names" not in arrays:
        return None
    try:
        names = json.loads(np.ascontiguousarray(arrays["names"]).tobytes())
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or len(names) != width or not all(isinstance(name, str) for name in names):
        raise ValueError(f"the state of a preparation has no {width} names of columns in 'names'")
    return names


def _silent(phase: str, done: int, total: int) -> None:
    return None
