"""A fitted map: all that a fit leaves behind, in one value that places rows, scores them, and can be kept in a file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tsne_ooc._parallel import Threads
from tsne_ooc._typing import Float32, Int64, Matrix
from tsne_ooc._validate import counted_from
from tsne_ooc.fit.history import History, from_json, later, to_json
from tsne_ooc.fit.model import Model
from tsne_ooc.fit.optimize import Result
from tsne_ooc.fit.rows import Fit, Pause, affinities_of, continue_rows
from tsne_ooc.fit.watch import Watch
from tsne_ooc.intake.features import Features
from tsne_ooc.io.lacking import for_kept
from tsne_ooc.novelty import NEIGHBORS, Reference
from tsne_ooc.placement import Placed, Placement, nearest_rows, place_rows
from tsne_ooc.schedule import Schedule
from tsne_ooc.storage.asked import plain
from tsne_ooc.storage.codec import decode, encode
from tsne_ooc.storage.state import Saved, State, within

if TYPE_CHECKING:
    from scipy.sparse import csr_array


# Rows placed at a time: enough to keep all threads busy, few enough that their neighbours take no memory to speak of.
BLOCK = 32_768


@dataclass(frozen=True, eq=False)
class FittedMap:
    """What a fit leaves behind. It never changes: a fit that goes on makes another one.

    Parameters
    ----------
    model : Model
        The fitted rows, their places, and the search among them.
    features : Features
        The columns of their table, and its preparation.
    threads : Threads
        The threads of the search, and of all that is asked of the map. (Their number does not change any result.)
    kl_divergence : float
    n_iter, n_neighbors : int
    seed : int or None
        None for maps that were saved without one.
    sample_rows : ndarray of int64 or None
        Numbers of the fitted rows in their table, ascending, where a sample was drawn.
    affinity : object or None
        What made the affinities; None where a file could not hold it.
    pause : Pause or None
        Where the optimiser stopped; None for a map that was loaded.
    placed : Placed or None
        Where the rows of a map that was refined were placed before they moved, and how novel they were there; None for
        other maps.
    history : tuple of Note
        How the optimisation went; empty for maps that were saved without it.
    """

    model: Model
    features: Features
    threads: Threads
    kl_divergence: float
    n_iter: int
    n_neighbors: int
    seed: int | None
    sample_rows: Int64 | None = None
    affinity: Any = None
    pause: Pause | None = None
    placed: Placed | None = None
    history: History = ()

    def __repr__(self) -> str:
        # All that it holds is some 250 letters for each row.
        axes = {1: "a line", 2: "a plane", 3: "space"}.get(self.n_components, f"{self.n_components} axes")
        return f"<FittedMap of {self.model.n:,} rows on {axes}, KL {self.kl_divergence:.3f}, {self.n_iter} iterations>"

    def __post_init__(self) -> None:
        for array in (self.sample_rows, *(self.placed or ())):
            if array is not None:
                array.setflags(write=False)

    def __reduce__(self) -> Any:
        # Copies are made by the constructor, too, which makes their arrays read-only.
        return FittedMap, tuple(getattr(self, part.name) for part in fields(self))

    @property
    def embedding(self) -> Float32:
        """Places of the fitted rows, shape (n, d), read-only."""
        return self.model.embedding

    @property
    def n_components(self) -> int:
        return int(self.model.embedding.shape[1])

    @property
    def reference(self) -> Reference:
        """What novelty is measured by.

        Raises
        ------
        AttributeError
            For maps that were saved without it.
        """
        if self.model.reference is None:
            raise AttributeError("this model was saved without what novelty needs; fit it again")
        return self.model.reference

    @property
    def recall(self) -> float:
        """The share of the nearest rows that the search finds, as it was measured."""
        return float(self.model.index.recall(self.n_neighbors or NEIGHBORS))

    def place(self, rows: Matrix, placement: Placement, start: Float32 | None = None) -> Placed:
        """Place rows and score them; they are as the optimiser saw those of the fit: prepared, and checked float32.

        Rows that are dropped, for they lack a value or every value, have NaN for both.
        """
        if not self.features.drops:
            return self._place(rows, placement, start)

        def placed(rows: Float32, begin: Float32 | None) -> Placed:
            if not len(rows):
                return Placed(np.empty((0, self.n_components), np.float32), np.empty(0, np.int32),
                              None if self.model.reference is None else np.empty(0, np.float32))  # fmt: skip
            return self._place(rows, placement, begin)

        return Placed(*for_kept(rows, placed, start))

    def _place(self, rows: Matrix, placement: Placement, start: Float32 | None) -> Placed:
        pieces = []
        for a in range(0, rows.shape[0], BLOCK):
            with counted_from(a):
                begin = None if start is None else start[a : a + BLOCK]
                pieces.append(place_rows(self.model, rows[a : a + BLOCK], placement, self.threads, begin))
        return Placed.joined(pieces)

    def score(self, rows: Matrix, placement: Placement) -> Float32:
        """Novelty of rows as `place` takes them; raises AttributeError as `reference` does."""
        if self.features.drops:
            (found,) = for_kept(rows, lambda rows, _: [self._score(rows, placement)])
            return np.asarray(found)
        return self._score(rows, placement)

    def _score(self, rows: Matrix, placement: Placement) -> Float32:
        reference = self.reference
        out = np.empty(rows.shape[0], np.float32)
        for a in range(0, len(out), BLOCK):
            with counted_from(a):
                out[a : a + BLOCK] = reference.score(*nearest_rows(self.model, rows[a : a + BLOCK], placement))
        return out

    def affinities(self) -> csr_array:
        """Make the joint probabilities that the map was fitted to once more, in the order of its rows.

        Raises
        ------
        AttributeError
            Where the folder of the map does not say how they are made.
        """
        if self.seed is None or self.affinity is None:
            raise AttributeError("the affinities of this map cannot be made again: its folder does not say how")
        return affinities_of(self.model, self.affinity, seed=self.seed, threads=self.threads)

    def went_on(self, schedule: Schedule, watch: Watch) -> tuple[FittedMap, Result]:
        """The map after more iterations, which go on with the momentum and gains of `pause`."""
        assert self.pause is not None and self.seed is not None
        fit = continue_rows(
            self.model, self.affinity, schedule, self.pause,
            seed=self.seed, threads=self.threads, watch=watch,
        )  # fmt: skip
        return self.after(fit), fit.result

    def after(self, fit: Fit) -> FittedMap:
        """A map of the same rows where a fit that went on left them."""
        result = fit.result
        return replace(
            self, model=fit.model, kl_divergence=result.kl_divergence, n_iter=self.n_iter + result.iterations,
            pause=fit.pause, history=(*self.history, *later(result.history, self.n_iter)),
        )  # fmt: skip

    def state(self) -> State:
        """JSON and arrays for `restore`.

        Raises
        ------
        ValueError
            Where the neighbour search cannot be saved, or no file can hold the map.
        """
        facts = {
            "kl_divergence": encode(self.kl_divergence),
            "n_iter": int(self.n_iter),
            "n_neighbors": int(self.n_neighbors),
            "seed": self.seed,
            "history": to_json(self.history),
            **self.features.facts(),
        }
        content, arrays = within("model", self.model.state())
        more, own = self.features.state()
        if self.sample_rows is not None:
            own = {**own, "sample.rows": np.asarray(self.sample_rows, np.int64)}
            more = {**more, "sample": {}}
        if self.placed is not None:
            before, places = within("placed", self.placed.state())
            more, own = more | before, own | places
        return {"fitted": facts, **content, **more}, {**arrays, **own}

    @classmethod
    def restore(cls, saved: Saved, threads: Threads, affinity: Any) -> FittedMap:
        """Make the map that a `state` is of.

        Parameters
        ----------
        saved : Saved
        threads : Threads
        affinity : object or None
            What made its affinities, as far as the parameters beside the map tell.

        Raises
        ------
        StateError, ValueError, TypeError
            For a state that is not possible.
        """
        model, fitted = Model.restore(saved.part("model"), threads), saved.part("fitted")
        kl_divergence = decode(fitted.content.get("kl_divergence"))
        if not isinstance(kl_divergence, int | float):
            raise fitted.fail("has a kl_divergence that is not a number")
        try:
            history = from_json(fitted.content.get("history"))
        except ValueError as error:
            raise fitted.fail(str(error)) from None
        features = Features.restore(saved, fitted, distances=model.index.metric == "precomputed", sparse=True)
        placed = Placed.restore(saved.part("placed"), model.embedding.shape) if "placed" in saved.content else None
        return cls(
            model, features, threads, float(kl_divergence), fitted.whole("n_iter", 0), fitted.whole("n_neighbors", 0),
            seed_in(fitted), _sample_rows(saved, model.n), affinity, placed=placed, history=history,
        )  # fmt: skip

    def fingerprint(self, placement: Placement | None) -> str:
        """What tells this map from another one: a digest of all that decides where rows are placed.

        The numbers of the fitted rows in their table do not count.

        Raises
        ------
        ValueError
            As `state` raises it.
        """
        content, arrays = within("model", self.model.state())
        try:
            more, own = self.features.state()
        except TypeError:
            # A preparation with a transformer can be told from another one, though no file can hold it.
            assert self.features.preparation is not None
            more, own = {"preparation": plain(self.features.preparation.contents)}, {}
        deciding = {**content, **more, "placement": encode(placement)}
        digest = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode())
        for name, array in sorted({**arrays, **own}.items()):
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
        return digest.hexdigest()


def _sample_rows(saved: Saved, n: int) -> Int64 | None:
    if "sample" not in saved.content:
        return None
    part = saved.part("sample")
    rows: Int64 = part.array("rows", np.int64, (None,))
    if not (np.diff(rows, prepend=-1) > 0).all():
        raise part.fail("holds row numbers that do not ascend", "rows")
    if len(rows) != n:
        raise part.fail(f"names {len(rows)} rows of {n}", "rows")
    return rows


def seed_in(fitted: Saved) -> int | None:
    """The seed of a fit; None where it was not written down.

    Raises
    ------
    StateError
        For a value that is not a seed.
    """
    seed = fitted.content.get("seed")
    # A seed may have any number of digits.
    if seed is not None and (type(seed) is not int or seed < 0):
        raise fitted.fail("has a seed that is not a whole number")
    return seed
