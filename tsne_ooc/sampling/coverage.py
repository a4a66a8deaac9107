"""Samples that are spread evenly over the space that the data fill, not over the rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tsne_ooc._options import keep, whole
from tsne_ooc._typing import Int64, Progress, TableLike
from tsne_ooc.io.blocks import iterate
from tsne_ooc.io.source import Source, as_source
from tsne_ooc.sampling.base import Drawn, Sample
from tsne_ooc.sampling.boxes import Boxes, Grid
from tsne_ooc.sampling.take import take
from tsne_ooc.sampling.uniform import draw

# So many rows tell the scale of the data; whatever it is, the boxes end as fine as all rows together allow.
_LOOK = 1000


@dataclass(frozen=True)
class Coverage(Sample):
    """Rows spread evenly over space, so that rare groups that lie apart are kept and dense ones are thinned out.

    Space is covered with boxes of one size, each of which gives its `rows_per_box` rows, or all that it has; boxes are
    as small as the number of rows allows. These are the geometric sketches of Hie et al. (Cell Systems 8, 2019), for a
    table that is streamed once; the same rows are kept for any size of blocks. (The chosen rows are then read again.)
    Sides of boxes are distances in the data's own units, so columns must be comparable: standardise them, or use
    principal components.

    Boxes do not tell groups apart that differ only in many columns together, as handwritten digits do; these gain
    nothing. The sample's densities are not those of the data: do not read shares of groups off its map.

    Memory: at most ``4 * size`` rows' numbers and coordinates at a time (8 bytes x (directions + 2) each), the block
    that is read, and the sample.

    Parameters
    ----------
    size : int
        The exact number of rows; all where there are no more. Where the table has too few distinct rows, the others are
        drawn uniformly.
    rows_per_box : int, default 20
        The most rows that a box gives before boxes are made smaller. A single row of a kind does not make an island. Of
        groups of 20, 21, 30, 53, 231 and 264 of 494,021 connections (KDD Cup 99), a sample of 5,000 had 4, 12, 17, 12,
        17 and 44 rows at 1 row a box, 18, 21, 24, 33, 71 and 147 at 20; a uniform one has 0 to 3.
    directions : int, default 16
        Boxes are cut along the columns, or along so many random directions where these are fewer. 8 directions, 16,
        all 38 columns, and leading principal components (which need a pass of their own) kept the rare groups of KDD
        Cup 99 about equally well.
    """

    size: int
    rows_per_box: int = 20
    directions: int = 16

    def __post_init__(self) -> None:
        for name in ("size", "rows_per_box", "directions"):
            keep(self, **{name: whole(name, getattr(self, name), least=1)})

    def draw(self, source: TableLike, rng: np.random.Generator, *, progress: Progress | None = None) -> Drawn:
        table = as_source(source)
        rows = self.choose(table, rng, progress)
        return Drawn(rows, take(table, rows))

    def choose(self, table: Source, rng: np.random.Generator, progress: Progress | None = None) -> Int64:
        """The numbers of the rows alone, ascending."""
        n = table.shape[0]
        if self.size >= n:
            return np.arange(n)
        grid = Grid.over(take(table, draw(n, _LOOK, rng)), self.directions, rng)
        # Twice as many as wanted: sides double along one axis at a time, which at worst halves what is kept.
        boxes = Boxes(grid, 2 * self.size, self.rows_per_box)
        for start, stop, block in iterate(table):
            boxes.add(np.arange(start, stop), block)
            if progress is not None:
                progress("sample", stop, n)
        rows = boxes.draw(self.size)[0]
        missing = self.size - len(rows)
        if missing:
            others = np.setdiff1d(draw(n, self.size, rng), rows, assume_unique=True)
            rows = np.sort(np.concatenate([rows, rng.choice(others, missing, replace=False)]))
        return rows
