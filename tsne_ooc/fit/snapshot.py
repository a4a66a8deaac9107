"""What the loop can be gone on from: in memory, and written down."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tsne_ooc._typing import Float32
from tsne_ooc.fit.history import History, from_json, to_json
from tsne_ooc.gradients.grid import Shape
from tsne_ooc.schedule import Phase
from tsne_ooc.storage.codec import decode, encode
from tsne_ooc.storage.state import Saved, State


class Motion(NamedTuple):
    """What the loop can be gone on from, as if it had not ended.

    Parameters
    ----------
    places, velocity, gains : ndarray of float32, shape (n, d)
    shift : ndarray of float32, shape (d,)
        What the next step takes off all places.
    grid : Shape or None
        Of the field.
    phase : Phase or None
        The one that was at work last; None where there was no iteration.
    exaggeration : float
        Of the last iteration, 1 where there was none.
    """

    places: Float32
    velocity: Float32
    gains: Float32
    shift: Float32
    grid: Shape | None
    phase: Phase | None
    exaggeration: float


class Snapshot(NamedTuple):
    """Where the loop is between two iterations. With it, and all else as it was, another call ends with the same bits.

    Parameters
    ----------
    motion : Motion
    phase, iteration : int
        The number of the phase, among those that have iterations, and that of its next iteration.
    done : int
        Iterations so far, in all phases.
    best : float or None
        The least that the phase has had of what it minimises, where that is watched.
    since : int
        Looks since then.
    leaping : str
        What is to be warned of at the end; empty for nothing.
    history : tuple of Note
    """

    motion: Motion
    phase: int
    iteration: int
    done: int
    best: float | None = None
    since: int = 0
    leaping: str = ""
    history: History = ()

    def state(self) -> State:
        """JSON and arrays for `restore`."""
        places, velocity, gains, shift, grid, *_ = self.motion
        content = {
            "phase": self.phase, "iteration": self.iteration, "done": self.done, "since": self.since,
            "best": encode(self.best), "leaping": self.leaping, "history": to_json(self.history),
            "grid": None if grid is None else [grid.spacing, *grid.lengths],
        }  # fmt: skip
        return content, {"places": places, "velocity": velocity, "gains": gains, "shift": shift}

    @classmethod
    def restore(cls, saved: Saved, n: int, d: int) -> Snapshot:
        """The snapshot of a `state`, of `n` rows on `d` axes.

        Raises
        ------
        StateError
            For a state that cannot be.
        """
        places, velocity, gains = (saved.array(name, np.float32, (n, d)) for name in ("places", "velocity", "gains"))
        best, grid = decode(saved.content.get("best")), saved.content.get("grid")
        if not (best is None or isinstance(best, float)):
            raise saved.fail("has a divergence that is not a number")
        shape = None
        if grid is not None:
            if not (isinstance(grid, list) and len(grid) == 1 + d and all(number > 0 for number in grid)):
                raise saved.fail("has a grid of another shape")
            shape = Shape(float(grid[0]), tuple(map(int, grid[1:])))
        try:
            history = from_json(saved.content.get("history"))
        except ValueError as error:
            raise saved.fail(str(error)) from None
        return cls(
            Motion(places, velocity, gains, saved.array("shift", np.float32, (d,)), shape, None, 1.0),
            saved.whole("phase", 0), saved.whole("iteration", 0), saved.whole("done", 0), best, saved.whole("since", 0),
            saved.text("leaping"), history,
        )  # fmt: skip
