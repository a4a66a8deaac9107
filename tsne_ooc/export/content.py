"""What is exported from a run: its rows, block by block."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tsne_ooc._typing import Array, Float32, Int64, Json

# Rows of a few MB; a chunk or row group has as many, where a format has these.
ROWS = 1 << 16


@dataclass(frozen=True)
class Content:
    """A map of n rows and d axes.

    Attributes
    ----------
    embedding : float32 (n, d)
        The map, memory-mapped.
    numbers : dict of str to float32 (n,)
        What the run has of these: "novelty", how far each row is from the fitted rows, and the scores of its place,
        "recall", "singularity" and "perturbation".
    sample_rows : int64 (s,)
        Numbers of the rows that were fitted, ascending.
    manifest : dict
    """

    embedding: Float32
    numbers: dict[str, Float32]
    sample_rows: Int64
    manifest: Json

    @classmethod
    def of(cls, run: Any) -> Content:
        # Rows that were placed on a saved map were not fitted.
        sampled = np.empty(0, np.int64) if run.sample_rows is None else run.sample_rows
        numbers = {} if run.novelty is None else {"novelty": run.novelty}
        return cls(run.embedding, numbers | (run.trust or {}), sampled, run.manifest)

    def part(self, start: int, stop: int) -> Content:
        """Rows `start` up to `stop` of it, numbered anew."""
        first, last = np.searchsorted(self.sample_rows, [start, stop])
        numbers = {name: values[start:stop] for name, values in self.numbers.items()}
        return Content(self.embedding[start:stop], numbers, self.sample_rows[first:last] - start, self.manifest)

    @property
    def n(self) -> int:
        return len(self.embedding)

    @property
    def axes(self) -> int:
        return int(self.embedding.shape[1])

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in a binary format."""
        return 4 * self.axes + 1 + 4 * len(self.numbers)

    def blocks(self) -> Iterator[tuple[int, int, dict[str, Array]]]:
        """Yield rows `start` to `stop` of "embedding", of the numbers that there are, and of "sampled"."""
        for start in range(0, self.n, ROWS):
            stop = min(start + ROWS, self.n)
            block: dict[str, Array] = {"embedding": np.asarray(self.embedding[start:stop])}
            block |= {name: np.asarray(values[start:stop]) for name, values in self.numbers.items()}
            sampled = np.zeros(stop - start, bool)
            first, last = np.searchsorted(self.sample_rows, [start, stop])
            sampled[self.sample_rows[first:last] - start] = True
            yield start, stop, block | {"sampled": sampled}

    def shapes(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and type of each array that `blocks` gives pieces of."""
        numbers = dict.fromkeys(self.numbers, ((self.n,), np.float32))
        return {"embedding": ((self.n, self.axes), np.float32), **numbers, "sampled": ((self.n,), bool)}

    @property
    def names(self) -> list[str]:
        """Names of the columns, also for a map without rows."""
        return [f"tsne{axis + 1}" for axis in range(self.axes)] + list(self.shapes())[1:]

    def columns(self, block: dict[str, Array]) -> dict[str, Array]:
        """A block as named columns: tsne1, tsne2, ..., the numbers, sampled."""
        axes = [block["embedding"][:, axis] for axis in range(self.axes)]
        others = [values for name, values in block.items() if name != "embedding"]
        return dict(zip(self.names, [*axes, *others], strict=True))

    def attributes(self) -> dict[str, str]:
        """The manifest as one text, for the attributes of a file."""
        return {"format": "tsne_ooc embedding", "manifest": json.dumps(self.manifest)}
