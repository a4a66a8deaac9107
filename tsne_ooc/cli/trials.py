"""What stages take on some rows, from which a forecast draws out what they take on all of them.

The stages are tried on some thousand rows from all over the table, at two sizes, and what they take for a row is drawn
out to the whole of it. The search for neighbours, which grows otherwise, is tried among as many rows as will be fitted.
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
    from tsne_ooc._typing import Array, Float32
    from tsne_ooc.estimator import TSNE
    from tsne_ooc.io import Source
    from tsne_ooc.preprocess import Preparation
    from tsne_ooc.sampling import Sample

# Rows that the stages are tried on; of the field of forces, which small maps have no need of, 2,000 are too few.
_ROWS = 5_000
# Rows that are asked for their neighbours, and the most that they are searched among: more take seconds to be indexed.
_QUERIES, _SEARCHED = 1_000, 50_000
# Rows are read at up to three places, until so many seconds have gone.
_PLACES, _READING = 3, 1.5
# Blocks that are alive while rows are placed, each of them once as it is stored and once as float32.
BLOCKS = 4

clock = time.perf_counter


def read_some(table: Source) -> tuple[float, Any]:
    """Seconds that a row takes to be read, and rows from all over the table."""
    import numpy as np

    from tsne_ooc.io.blocks import block_rows, read_checked

    n = table.shape[0]
    size = block_rows(table)
    chunk = table.chunks[0] if table.chunks is not None else 1
    named = np.dtype(table.dtype) == object
    took, parts = [], []
    for place in range(_PLACES):
        start = int((n - size) * place / (_PLACES - 1)) // chunk * chunk if place else 0
        stop = min(start + size, n)
        began = clock()
        part: Any = table.read_columns(start, stop) if named else read_checked(table, start, stop)  # type: ignore[attr-defined]
        # A chunk that is larger than a block is read whole for its first rows.
        took.append((clock() - began) / max(stop - start, min(chunk, n)))
        parts.append(part)
        if size == n or (place and sum(took) * size > _READING):
            break
    step = max(1, size * len(parts) // _ROWS)
    if named:
        return median(took), _Words({name: np.concatenate([part[name][::step] for part in parts]) for name in parts[0]})
    return median(took), np.concatenate([part[::step] for part in parts])


class _Words:
    """Some rows of columns of which not all hold numbers, as a table."""

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
    """Of some rows half, of very few all: steps may ask for so many."""
    return rows[: max(len(rows) // 2, min(len(rows), 200))]


def line_through(small: float, few: int, large: float, many: int) -> Callable[[float], float]:
    """Through what few and many rows took; the more rows, the longer."""
    slope = max(0.0, (large - small) / (many - few)) if many > few else large / many
    if not slope:
        slope = large / many
    return lambda rows: max(large + slope * (rows - many), 0.0)


def seconds_to_prepare(
    rows: Any, prepare: Preparation, seed: int, n_jobs: int | None
) -> tuple[Callable[[float], float], float, int, Float32]:
    """Seconds to fit a preparation by the number of rows, to prepare a row; passes, and the rows prepared."""
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
    """How many rows are read to draw a sample: of the chunks that it touches all, of a file without chunks its own."""
    from tsne_ooc.sampling import Coverage

    n = table.shape[0]
    if isinstance(sample, Coverage):
        return 2.0 * n
    chunk = 1 if table.chunks is None else table.chunks[0]
    return n * (1 - math.exp(-fitted * chunk / max(1, n)))


def seconds_to_map(model: TSNE, rows: Float32, fitted: int, seed: int) -> tuple[Callable[[float], float], float, int]:
    """Seconds of a fit by the number of rows, and of a row to be placed; and the neighbours of each row of the fit."""
    model.set_params(sample=None, prepare=None, verbose=False, callbacks=None)
    rows = rows[:: max(1, len(rows) // fitted)][:fitted]
    half = half_of(rows)
    # Imports and compiled kernels.
    _fit(model, rows[:300])
    model.place_prepared(rows[:100])
    times = []
    for few in (half, rows):
        began = clock()
        _fit(model, few)
        times.append(clock() - began)
    k = model.n_neighbors_
    if len(rows) == fitted:
        times_of_fit = line_through(times[0], len(half), times[1], len(rows))
        return times_of_fit, seconds_to_place(model, rows), k
    own = [seconds_to_search(model, few, len(few), k, seed) * len(few) for few in (half, rows)]
    rest = line_through(max(times[0] - own[0], 0), len(half), max(times[1] - own[1], 0), len(rows))
    among = seconds_to_search(model, rows, fitted, k, seed)
    k_place = max(1, min(len(rows), model._placement().neighbors(len(rows))))
    near, far = (seconds_to_search(model, rows, many, k_place, seed) for many in (len(rows), fitted))
    further = far - near
    return lambda n: rest(n) + n * among, max(0.0, seconds_to_place(model, rows) + further), k


def _fit(model: TSNE, rows: Float32) -> None:
    """Fit prepared rows, of which a few may lack a column that all together have."""
    from tsne_ooc.intake import Intake

    model.fit_taken(Intake(rows, None, None, None, rows.shape[1]))


def seconds_to_place(model: TSNE, rows: Float32) -> float:
    """Seconds of a row that is not one of the map."""
    import numpy as np

    queries = rows + np.float32(1e-3) * np.nanstd(rows, axis=0)
    # The field of the map is planned once, with the first rows.
    model.place_prepared(queries[:100])
    began = clock()
    model.place_prepared(queries)
    return (clock() - began) / len(queries)


def seconds_to_search(model: TSNE, rows: Float32, n: int, k: int, seed: int) -> float:
    """Seconds that a row takes to find its neighbours among n rows like these, its share of the index included."""
    import numpy as np

    from tsne_ooc import neighbors
    from tsne_ooc._parallel import Threads

    search = neighbors.resolve(
        model.neighbors, metric=model.metric, n=n, p=rows.shape[1], metric_params=model.metric_params
    )
    rng = np.random.default_rng(seed)
    among = min(n, max(_SEARCHED, len(rows)))
    many = rows
    if among > len(rows):
        many = rows[rng.integers(0, len(rows), among)]
        many += (0.3 * np.nanstd(rows, axis=0) * rng.normal(size=many.shape)).astype(np.float32)
    began = clock()
    index = neighbors.build(
        search, many, metric=model.metric, metric_params=model.metric_params, rng=rng, threads=Threads(model.n_jobs)
    )
    built = (clock() - began) / among
    queries = many[:_QUERIES]
    began = clock()
    index.query(queries, min(k, among))
    took = (clock() - began) / len(queries)
    # What is searched all through takes the longer the more there are; lists and graphs hardly do.
    further = n / among if isinstance(search, neighbors.Exact) else math.sqrt(n / among)
    return built + took * further


def free_at(out: Path) -> int | None:
    folder = next((parent for parent in (out, *out.absolute().parents) if parent.is_dir()), None)
    return None if folder is None else shutil.disk_usage(folder).free
