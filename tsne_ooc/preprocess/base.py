"""What a step is before and after its fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from tsne_ooc._typing import Array, Float64
from tsne_ooc.preprocess.statistics import Statistics
from tsne_ooc.storage.state import State

if TYPE_CHECKING:
    from tsne_ooc.preprocess.rows import Passes


class Step(Protocol):
    """What a step does: options, without data."""

    kind: ClassVar[str]
    #: Whether its output's statistics follow from its input's, so that the next step needs no pass of its own.
    affine: ClassVar[bool]

    def needs(self, width: int) -> frozenset[str]:
        """Which of "moments", "covariance" and "sample" its fit takes from a pass, for rows of `width` columns."""
        ...

    def fit(self, rows: Passes, statistics: Statistics | None) -> Fitted:
        """The fitted step. `statistics` holds what `needs` named; a step may stream `rows` itself instead."""
        ...


class Fitted(Protocol):
    """A step with what it took from the data."""

    @property
    def step(self) -> Step: ...
    @property
    def width_in(self) -> int: ...
    @property
    def width_out(self) -> int: ...

    def apply(self, rows: Float64, first_row: int) -> Float64:
        """Prepared rows of shape (m, width_out), each the same bits in any block. `rows` may be overwritten."""
        ...

    def undo(self, rows: Float64) -> Float64:
        """Rows that `apply` would turn into these, as far as they can be known, each the same bits in any block.

        Raises
        ------
        NotImplementedError
            Where they cannot be known.
        """
        ...

    def forward(self, statistics: Statistics) -> Statistics | None:
        """Statistics of the prepared rows; None where they need a pass."""
        ...

    def state(self) -> State:
        """Numbers for JSON, and arrays, from which `from_state` of the same class makes it again."""
        ...


def checked_array(arrays: dict[str, Array], name: str, shape: tuple[int, ...], dtype: Any = np.float64) -> Any:
    """``arrays[name]``, after a check that it is there, finite, and of this shape and type."""
    if name not in arrays:
        raise ValueError(f"the state of a preparation lacks the array {name!r}")
    found = np.asarray(arrays[name])
    if found.shape != shape or found.dtype != np.dtype(dtype):
        raise ValueError(
            f"the state of a preparation has {name!r} of shape {found.shape} and type {found.dtype}; "
            f"shape {shape} and type {np.dtype(dtype)} are needed"
        )
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise ValueError(f"the state of a preparation has NaN or infinity in {name!r}")
    return np.ascontiguousarray(found)
