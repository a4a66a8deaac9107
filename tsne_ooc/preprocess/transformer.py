"""A transformer of scikit-learn as a step."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tsne_ooc._random import generator
from tsne_ooc._typing import Float64
from tsne_ooc._validate import RowsError
from tsne_ooc.storage.state import State

if TYPE_CHECKING:
    from tsne_ooc.preprocess.rows import Passes
    from tsne_ooc.preprocess.statistics import Statistics

# Every call gets the same number of rows, and the last call is filled up: the last bits of a product change with the
# number of its rows, but not with the place of a row among 64 to 1,024 (OpenBLAS for four kinds of processors, p from 3
# to 1,000). A call takes 60 to 100 us whatever it does. In tiles of 64 rows a scaler took 9 times as long as in one
# call for 41,000 rows of 50 columns, and PCA 5 times. In tiles of this height they took as long as in one call, and a
# row alone .2 ms instead of .1.
_NUMBERS = 1 << 17
_LEAST, _MOST = 64, 1024


def height_of(width: int) -> int:
    """The rows of a call, for rows of so many columns: a power of two, so that each divides the largest."""
    return int(min(_MOST, max(_LEAST, 1 << max(1, _NUMBERS // width).bit_length() - 1)))


@dataclass(frozen=True)
class Transformer:
    """Apply any object that has scikit-learn's `transform`.

    A fitted object is used in a copy, as it is. Of one that is not fitted, a copy is fitted: on all rows, streamed,
    where it has `partial_fit`; else on a uniform sample of at most 100,000 rows or 256 MiB. Where its `random_state` is
    None, the copy takes the seed of the preparation. It must map each row by itself.

    Parameters
    ----------
    transformer : object with `transform`
        Its result cannot be saved with a map: that would take pickle, which runs whatever code a file holds.
    """

    transformer: Any
    kind: ClassVar[str] = "transformer"
    affine: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if isinstance(self.transformer, type) or not hasattr(self.transformer, "transform"):
            raise TypeError(f"{self.transformer!r} is not a transformer: an object with `transform` is needed")

    def check_saved(self) -> None:
        """Raise TypeError, because this step cannot be saved once it is fitted."""
        raise _unsaved(self.transformer)

    def needs(self, width: int) -> frozenset[str]:
        return frozenset()

    def fit(self, rows: Passes, statistics: Statistics | None) -> FittedTransformer:
        with rows.threads.one_blas_thread():
            fitted, how = self._fit(rows)
            height = height_of(rows.width)
            probe = _dense(fitted.transform(rows.first(height)), height, fitted)
        return FittedTransformer(self, fitted, how, rows.width, probe.shape[1])

    def _fit(self, rows: Passes) -> tuple[Any, str]:
        if _is_fitted(self.transformer):
            return _copied(self.transformer), "as it was given"
        from sklearn.base import clone

        fresh = clone(self.transformer)
        _seed(fresh, rows.seed)
        if not hasattr(fresh, "partial_fit"):
            sample = rows.sample()
            return fresh.fit(sample), f"on {len(sample)} of {rows.n} rows"
        held: Float64 | None = None
        for _, tile in rows.tiles():
            if held is not None and len(tile) < len(held):
                # The last tile may hold fewer rows than an incremental fit takes.
                held = np.concatenate([held, tile])
                break
            if held is not None:
                fresh.partial_fit(held)
            held = tile.copy()
        return fresh.partial_fit(held), f"on all {rows.n} rows"


@dataclass(frozen=True)
class FittedTransformer:
    """The fitted object, and on which rows it was fitted, in words."""

    step: Transformer
    transformer: Any
    how: str
    width_in: int
    width_out: int

    def apply(self, rows: Float64, first_row: int) -> Float64:
        # The caller keeps BLAS to one thread.
        out = np.empty((len(rows), self.width_out))
        height = height_of(self.width_in)
        for start in range(0, len(rows), height):
            tile = rows[start : start + height]
            m = len(tile)
            if m < height:
                tile = np.concatenate([tile, np.repeat(tile[-1:], height - m, axis=0)])
            out[start : start + m] = _dense(self.transformer.transform(tile), height, self.transformer)[:m]
        if not np.isfinite(out).all():
            row = first_row + int(np.argwhere(~np.isfinite(out))[0, 0])
            raise RowsError(f"{self.transformer!r} gives NaN or infinity for row {{row}}", row)
        return out

    def undo(self, rows: Float64) -> Float64:
        raise NotImplementedError(f"{self.transformer!r} cannot be undone")

    def forward(self, statistics: Statistics) -> Statistics | None:
        return None

    def state(self) -> State:
        raise _unsaved(self.transformer)


def _unsaved(transformer: Any) -> TypeError:
    return TypeError(
        f"{transformer!r} cannot be saved: that would take pickle, which runs whatever code a file holds; "
        "use the steps of tsne_ooc.preprocess, or keep the object yourself"
    )


def _copied(transformer: Any) -> Any:
    """A copy that a later fit of the original does not change; the original itself where it cannot be copied."""
    try:
        return deepcopy(transformer)
    except (TypeError, NotImplementedError):
        return transformer


def _seed(transformer: Any, seed: int) -> None:
    """Give a seed to all objects that would draw one, also within a pipeline."""
    if not hasattr(transformer, "get_params"):
        return
    drawn = generator(seed, "transformer")
    for name, value in sorted(transformer.get_params(deep=True).items()):
        if name.rpartition("__")[2] == "random_state" and value is None:
            transformer.set_params(**{name: int(drawn.integers(2**31 - 1))})


def _is_fitted(transformer: Any) -> bool:
    if not hasattr(transformer, "fit"):
        return True
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(transformer)
    except NotFittedError:
        return False
    except AttributeError:
        # Newer versions of scikit-learn ask only what inherits from its classes; this is what others meant by fitted.
        return any(name.endswith("_") and not name.startswith("__") for name in getattr(transformer, "__dict__", ()))
    return True


def _dense(result: Any, rows: int, transformer: Any) -> Float64:
    values = np.asarray(result.toarray() if hasattr(result, "toarray") else result, dtype=np.float64)
    if values.ndim != 2 or len(values) != rows:
        raise ValueError(f"{transformer!r} gives shape {values.shape} for {rows} rows; a row for each row is needed")
    return values
