"""What stages take on some rows, from which a forecast draws out what they take on all of them.

The stages are tried on some thousand rows from all over the table, at two sizes, and their time for a row is
extrapolated to the whole table. The time of the search for neighbours grows in another way, so it is tried among as
many rows as will be fitted.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tsne_ooc._typing import Array, Bool, Float32, Int64
    from tsne_ooc.estimator import TSNE
    from tsne_ooc.io import Source
    from tsne_ooc.preprocess import Preparation
    from tsne_ooc.sampling import Sample

# Rows that the stages are tried on; 2,000 are too few, since so small a map does not use the field of forces.
_ROWS = 5_000
# Rows whose neighbours are searched, and the most that they are searched among, since more take seconds to be indexed.
_QUERIES, _SEARCHED = 5_000, 50_000
# Batches that are timed grow until one takes so many seconds, or has so many rows: of few rows, each takes up to five
# times as long as of half a million, as a run's blocks have them.
_LONG, _BATCH = 0.25, 40_000
# Rows are read at up to three places, until so many seconds have passed.
_PLACES, _READING = 3, 1.5
# Blocks that are in memory while rows are placed, each of them once as it is stored and once as float32.
BLOCKS = 4

clock = time.perf_counter


def read_some(table: Source, fitted: int) -> tuple[float, Any, float]:
    """The seconds to read a row; rows from all over the table; and the share of rows that have copies in a fit."""
    import numpy as np

    from tsne_ooc.io.blocks import read_checked
    from tsne_ooc.io.cuts import block_rows

    n = table.shape[0]
    size = block_rows(table)
    chunk = table.chunks[0] if table.chunks is not None else 1
    named = np.dtype(table.dtype) == object
    took, parts = [], []
    stop = 0
    for place in range(_PLACES):
        start = int((n - size) * place / (_PLACES - 1)) // chunk * chunk if place else 0
        # What is read already would count as copies of itself.
        start, stop = max(start, stop), min(start + size, n)
        if start >= stop:
            break
        began = clock()
        part: Any = table.read_columns(start, stop) if named else read_checked(table, start, stop)  # type: ignore[attr-defined]
        # A chunk that is larger than a block is read whole for its first rows.
        took.append((clock() - began) / max(stop - start, min(chunk, n)))
        parts.append(part)
        if size == n or (place and sum(took) * size > _READING):
            break
    step = max(1, size * len(parts) // _ROWS)
    if named:
        words = {name: np.concatenate([part[name][::step] for part in parts]) for name in parts[0]}
        return median(took), _Words(words), 0.0
    return median(took), np.concatenate([part[::step] for part in parts]), _copied(np.concatenate(parts), fitted)


def _copied(rows: Array, fitted: int) -> float:
    """The share of rows that are copies of one of the `fitted` rows of a sample."""
    import numpy as np

    if len(rows) < 2:
        return 0.0
    sample = np.unique(np.linspace(0, len(rows) - 1, min(fitted, len(rows) // 2)).astype(np.int64))
    others = np.setdiff1d(np.arange(len(rows)), sample)
    others = others[:: max(1, len(others) // _ROWS)]
    return float((_among(rows[sample], rows[others]) >= 0).mean())


def _among(rows: Array, others: Array) -> Int64:
    """For each of `others`, the number of a row that it is equal to, or -1."""
    import numpy as np

    from tsne_ooc._parallel import Threads
    from tsne_ooc.equal_rows import EqualRows

    threads = Threads(1)
    return EqualRows.of(rows.astype(np.float32), threads).find(others.astype(np.float32), threads)


class _Words:
    """A table of some rows, not all of whose columns hold numbers."""

    chunks = None

    def __init__(self, columns: dict[str, Array]) -> None:
        import numpy as np

        self._columns = columns
        self.column_names = list(columns)
        self.shape = (len(next(iter(columns.values()))), len(columns))
        self.dtype = np.dtype(object)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> _Words:
        return _Words({name: column[rows] for name, column in self._columns.items()})

    def read(self, start: int, stop: int) -> Array:
        raise TypeError("not all of these columns hold numbers")

    def read_columns(self, start: int, stop: int) -> dict[str, Array]:
        return {name: column[start:stop] for name, column in self._columns.items()}

    def reopen(self) -> _Words:
        return self


def half_of(rows: Any) -> Any:
    """Half of some rows, but no fewer than 200, since a preparation may need so many."""
    return rows[: max(len(rows) // 2, min(len(rows), 200))]


def line_through(small: float, few: int, large: float, many: int) -> Callable[[float], float]:
    """The seconds by the number of rows, on a line through those of few and of many rows, which always rises."""
    slope = max(0.0, (large - small) / (many - few)) if many > few else large / many
    if not slope:
        slope = large / many
    return lambda rows: max(large + slope * (rows - many), 0.0)


def seconds_to_prepare(
    rows: Any, prepare: Preparation, seed: int, n_jobs: int | None
) -> tuple[Callable[[float], float], float, int, Float32]:
    """The seconds to fit a preparation, by the number of rows; those to prepare a row; passes; prepared rows."""
    from tsne_ooc.preprocess import Preparation

    def fitted(few: Any) -> tuple[Preparation, float]:
        began = clock()
        found = Preparation(prepare.steps).fit(few, random_state=seed, n_jobs=n_jobs)
        return found, clock() - began

    half = half_of(rows)
    fitted(half)
    _, small = fitted(half)
    found, large = fitted(rows)
    began = clock()
    out = found.transform(rows, n_jobs=n_jobs)
    if found.drops:
        from tsne_ooc.io.lacking import rows_with_values

        out = out[rows_with_values(out)]
    return line_through(small, len(half), large, len(rows)), (clock() - began) / len(rows), found.passes, out


def rows_read(table: Source, sample: Sample, fitted: int) -> float:
    """How many rows are read to draw a sample: all of each chunk that it touches; without chunks only its own."""
    from tsne_ooc.sampling import Coverage

    n = table.shape[0]
    if isinstance(sample, Coverage):
        return 2.0 * n
    chunk = 1 if table.chunks is None else table.chunks[0]
    return n * (1 - math.exp(-fitted * chunk / max(1, n)))


def seconds_to_map(
    model: TSNE, rows: Float32, fitted: int, copies: float, seed: int
) -> tuple[Callable[[float], float], float, int]:
    """The seconds of a fit, by the number of rows; those to place a row; and how many neighbours a fitted row has.

    `copies` is the share of the rows to be placed that are equal to a fitted one.
    """
    model.set_params(sample=None, prepare=None, verbose=False, callbacks=None)
    half, others = _parted(rows)
    rows, half = (part[:: max(1, len(part) // fitted)][:fitted] for part in (rows, half))
    # Imports, and the compilation of kernels, are not to be timed.
    _fit(model, rows[:300])
    model.place_prepared(rows[:100])
    times = []
    for some in (rows, half):
        began = clock()
        _fit(model, some)
        times.append(clock() - began)
    large, small = times
    again = seconds_to_place(model, half)
    new = others[_among(half, others) < 0]
    place = seconds_to_place(model, new) if len(new) else again
    k = model.n_neighbors_
    if len(rows) == fitted:
        return line_through(small, len(half), large, len(rows)), copies * again + (1 - copies) * place, k
    own = [sum(seconds_to_search(model, some, len(some), k, seed)) * len(some) for some in (half, rows)]
    rest = line_through(max(small - own[0], 0), len(half), max(large - own[1], 0), len(rows))
    among = sum(seconds_to_search(model, rows, fitted, k, seed))
    k_place = max(1, min(len(half), model._placement().neighbors(len(half))))
    _, near = seconds_to_search(model, rows, len(half), k_place, seed)
    _, far = seconds_to_search(model, rows, fitted, k_place, seed)
    place = max(0.0, place + far - near)
    return lambda n: rest(n) + n * among, copies * again + (1 - copies) * place, k


def _parted(rows: Float32) -> tuple[Float32, Float32]:
    """Every other row, and those between; of very few rows, since steps may need so many, all and others close by."""
    import numpy as np

    if len(rows) < 400:
        return rows, rows + np.float32(1e-3) * np.nanstd(rows, axis=0)
    return rows[::2], rows[1::2]


def _fit(model: TSNE, rows: Float32) -> None:
    """Fit prepared rows, of which a few may lack a column that all together have."""
    from tsne_ooc.intake import Intake

    model.fit_taken(Intake(rows, None, None, None, rows.shape[1]))


def seconds_to_place(model: TSNE, others: Float32) -> float:
    """The seconds to place a row, measured on these, which may be copies of fitted ones or not."""
    # The field of the map is planned once, with the first rows.
    model.place_prepared(others[:100])
    return seconds_of_a_row(model.place_prepared, others)


def seconds_of_a_row(work: Callable[[Float32], object], rows: Float32) -> float:
    """The seconds that each of these rows takes in a batch of them, or of many times these."""
    import numpy as np

    while True:
        began = clock()
        work(rows)
        took = clock() - began
        if took >= _LONG or not 0 < len(rows) < _BATCH:
            return took / max(1, len(rows))
        rows = rows[np.arange(min(4 * len(rows), _BATCH)) % len(rows)]


def seconds_to_search(model: TSNE, rows: Float32, n: int, k: int, seed: int) -> tuple[float, float]:
    """The seconds that n rows like these take to be indexed, for each row; and those to find the neighbours of one."""
    import numpy as np

    from tsne_ooc import neighbors
    from tsne_ooc._parallel import Threads

    search = neighbors.resolve(
        model.neighbors, metric=model.metric, n=n, p=rows.shape[1], metric_params=model.metric_params
    )
    rng = np.random.default_rng(seed)
    among = min(n, max(_SEARCHED, len(rows)))
    many = rows[:among]
    if among > len(rows):
        drawn = rng.integers(0, len(rows), among)
        many = rows[drawn]
        # A row that has copies here has more of them among many rows, as most of half a million of KDD Cup 99 have.
        alone = _alone(rows)[drawn]
        spread = 0.3 * np.nanstd(rows, axis=0)
        many[alone] += (spread * rng.normal(size=(np.count_nonzero(alone), rows.shape[1]))).astype(np.float32)
    began = clock()
    index = neighbors.build(
        search, many, metric=model.metric, metric_params=model.metric_params, rng=rng, threads=Threads(model.n_jobs)
    )
    built = (clock() - began) / among
    took = seconds_of_a_row(lambda queries: index.query(queries, min(k, among)), many[:_QUERIES])
    # An exact search takes time in proportion to the rows; one of lists or graphs grows far more slowly.
    further = n / among if isinstance(search, neighbors.Exact) else math.sqrt(n / among)
    return built, took * further


def _alone(rows: Float32) -> Bool:
    """Which rows do not have a copy among the others."""
    import numpy as np

    _, which, copies = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    alone: Bool = copies[which.reshape(-1)] == 1
    return alone


def free_at(out: Path) -> int | None:
    folder = next((parent for parent in (out, *out.absolute().parents) if parent.is_dir()), None)
    return None if folder is None else shutil.disk_usage(folder).free
