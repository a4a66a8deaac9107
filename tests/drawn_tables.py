"""Odd tables through every kind of storage: each is read to the bit, or refused with the row and column that are odd.

A table is drawn by a number: its storage, type, shape, what is odd in it, and how it is read. What should come out is
told from the array itself. Run as a program for as many as one likes, some 20 in a second:
``python tests/drawn_tables.py FIRST LAST`` prints each that does not end as it should.
"""

from __future__ import annotations

import importlib.util
import pickle
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import containers
import h5py
import numpy as np
import pandas as pd

from tsne_ooc.io import as_source, iterate, open_source
from tsne_ooc.sampling import take

TYPES = ["f2", "f4", "f8", ">f4", ">f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]
SHAPES = [(1, 1), (1, 5), (2, 3), (7, 1), (40, 4), (103, 7), (61, 33)]

# Storages that cannot hold some types, and why.
LACKS = {
    "in_memory_csr": ("f2", ">f4", ">f8"),  # SciPy
    "anndata_csr": ("f2", ">f4", ">f8"),
    "anndata_backed_csr": ("f2", ">f4", ">f8"),
    "tenx_2": ("f2", ">f4", ">f8"),
    "tenx_3": ("f2", ">f4", ">f8"),
    "parquet": (">f4", ">f8"),  # Arrow
    "parquet_groups": (">f4", ">f8"),
    "parquet_folder": (">f4", ">f8"),
    "h5ad_frame": (">f4", ">f8"),  # pandas
    "zarr_frame": (">f4", ">f8"),
    "frame": (">f4", ">f8"),
}


# Storages that mark what is missing beside the numbers: made of an array and the mask.


def masked_array(X, mask, folder):
    return np.ma.array(X, mask=mask)


def masked_reader(X, mask, folder):
    return containers.Own(np.ma.array(X, mask=mask))


def masked_dask(X, mask, folder):
    import dask.array as da

    return da.from_array(np.ma.array(X, mask=mask), chunks=(9, max(1, X.shape[1] // 2)), asarray=False)


def nullable_frame(X, mask, folder):
    kind = {"b": "boolean", "f": f"Float{8 * X.itemsize}"}.get(
        X.dtype.kind, f"{'U' * (X.dtype.kind == 'u')}Int{8 * X.itemsize}"
    )
    columns = {}
    for j in range(X.shape[1]):
        column = pd.Series(X[:, j]).astype(kind)
        column[mask[:, j]] = pd.NA
        columns[f"c{j}"] = column
    return pd.DataFrame(columns)


def parquet_nulls(X, mask, folder):
    import pyarrow as pa
    from pyarrow.parquet import write_table

    columns = {f"c{j}": pa.array(X[:, j], mask=mask[:, j]) for j in range(X.shape[1])}
    write_table(pa.table(columns), folder / "X.parquet", row_group_size=16)
    return folder / "X.parquet"


def stored_frame(X, mask, folder):
    import anndata

    made = anndata.AnnData(np.zeros((len(X), 1), "f4"))
    made.obsm["frame"] = nullable_frame(X, mask, folder).set_index(made.obs_names)
    made.write_h5ad(folder / "cells.h5ad")
    return folder / "cells.h5ad"


def netcdf(X, mask, folder):
    mark = np.array(-12345 if X.dtype.kind in "fi" else 60123).astype(X.dtype)
    with h5py.File(folder / "x.nc", "w") as file:
        file.attrs["_NCProperties"] = "version=2"
        file["x"] = np.where(mask, mark, X)
        file["x"].attrs["_FillValue"] = mark.reshape(1)
    return folder / "x.nc"


MASKING: dict[str, tuple[Callable[..., Any], tuple[str, ...], str | None, str | None]] = {
    # How to make one, the types it has, the dataset, the package.
    "masked_array": (masked_array, tuple(TYPES), None, None),
    "masked_reader": (masked_reader, tuple(TYPES), None, None),
    "masked_dask": (masked_dask, ("f4", "f8", "i4", "i8", "u1"), None, "dask"),
    "nullable_frame": (nullable_frame, ("f4", "f8", "i1", "i4", "i8", "u2", "u8", "?"), None, None),
    "parquet_nulls": (parquet_nulls, ("f2", "f4", "f8", "i1", "i4", "i8", "u2", "u8", "?"), None, "pyarrow"),
    "stored_frame": (stored_frame, ("i1", "i4", "i8", "u2", "u8", "?"), "obsm/frame", "anndata"),
    "netcdf": (netcdf, ("f4", "f8", ">f8", "i2", "i4", "i8", "u2", "u4"), None, None),
}
STORAGES = [*containers.ADAPTERS, *MASKING]


class Case(NamedTuple):
    """A table: the numbers, the cells that must be refused, and what it is made into."""

    storage: str
    X: np.ndarray
    mask: np.ndarray
    bad: set[tuple[int, int]]
    odd: str


def draw(number: int) -> Case:
    """The table of this number."""
    rng = np.random.default_rng(number)
    storage = STORAGES[number % len(STORAGES)]
    lacks = LACKS.get(storage, ())
    types = MASKING[storage][1] if storage in MASKING else [kind for kind in TYPES if kind not in lacks]
    kind = np.dtype(str(rng.choice(types)))
    n, p = SHAPES[rng.integers(len(SHAPES))]
    X = ordinary(kind, (n, p), rng)
    odd = str(rng.choice(["nothing", "extremes", "zeros", "copies", "nan", "inf", "huge", "masked"]))
    mask = np.zeros((n, p), bool)
    cells = [(int(rng.integers(n)), int(rng.integers(p))) for _ in range(rng.integers(1, 4))]
    if odd == "extremes":
        for cell in cells:
            X[cell] = extreme(kind, rng)
    elif odd == "zeros":
        X[rng.random((n, p)) < 0.9] = 0
        X[:, rng.integers(p)] = 0
    elif odd == "copies":
        X[:] = X[rng.integers(n)]
    elif odd in ("nan", "inf") and kind.kind == "f":
        for cell in cells:
            X[cell] = np.nan if odd == "nan" else rng.choice([np.inf, -np.inf])
    elif odd == "huge" and kind.itemsize == 8 and kind.kind == "f":
        for cell in cells:
            X[cell] = rng.choice([1e39, -1e300])
    elif odd == "masked" and storage in MASKING:
        for cell in cells:
            mask[cell] = True
    with np.errstate(over="ignore", invalid="ignore"):
        bad = mask | ~np.isfinite(X.astype(np.float32))
    return Case(storage, X, mask, {(int(i), int(j)) for i, j in np.argwhere(bad)}, odd)


def ordinary(kind: np.dtype[Any], shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Numbers that the type can hold, and float16 and float32 exactly."""
    if kind.kind == "b":
        return rng.random(shape) < 0.5
    low, high = (0, 100) if kind.kind == "u" else (-100, 100)
    X = rng.integers(low, high, shape) / (8 if kind.kind == "f" else 1)
    return X.astype(kind)


def extreme(kind: np.dtype[Any], rng: np.random.Generator) -> Any:
    """The largest, the smallest and the least numbers of a type, as far as float32 takes them."""
    if kind.kind == "b":
        return True
    if kind.kind in "iu":
        return [np.iinfo(kind).max, np.iinfo(kind).min][rng.integers(2)]
    facts = np.finfo(kind if kind.itemsize <= 4 else np.float32)
    return [facts.max, facts.min, facts.tiny, facts.smallest_subnormal, -0.0][rng.integers(5)]


def make(case: Case, folder: Path) -> tuple[Any, str | None]:
    """The table in its storage, and the name of its dataset."""
    if case.storage in MASKING:
        build, _, dataset, _ = MASKING[case.storage]
        return build(case.X, case.mask, folder), dataset
    adapter = containers.ADAPTERS[case.storage]
    return adapter.make(case.X, folder), adapter.dataset


def needs(storage: str) -> str | None:
    """The package without which a storage cannot be used here."""
    found = MASKING[storage][3] if storage in MASKING else containers.ADAPTERS[storage].needs
    return None if found is None or importlib.util.find_spec(found.split(".")[0]) else found


def check(number: int) -> str | None:
    """What is wrong with how the table of this number is read; None where nothing is."""
    case = draw(number)
    if needs(case.storage):
        return None
    rng = np.random.default_rng([number, 1])
    folder = Path(tempfile.mkdtemp())
    try:
        with warnings.catch_warnings():
            # anndata tells of formats to come, and of integers it makes floats.
            warnings.simplefilter("ignore")
            try:
                made, dataset = make(case, folder)
            except Exception as error:
                error.add_note(f"{number}: {case.storage}, {case.X.dtype.str}, {case.X.shape}, {case.odd}")
                raise
            with open_source(made, dataset=dataset) as source:
                found = read(case, source, rng)
        return found and f"{number}: {case.storage}, {case.X.dtype.str}, {case.X.shape}, {case.odd}: {found}"
    finally:
        shutil.rmtree(folder)


def read(case: Case, source: Any, rng: np.random.Generator) -> str | None:
    n = len(case.X)
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = case.X.astype(np.float32)
    if source.shape != case.X.shape:
        return f"shape {source.shape}"
    if rng.random() < 0.3:
        source = source.reopen()
    if rng.random() < 0.3 and not case.storage.startswith("masked_reader"):
        source = pickle.loads(pickle.dumps(source))
    start, stop = sorted(rng.integers(0, n + 1, 2).tolist()) if rng.random() < 0.5 else (0, n)
    rows = [None, 1, 3, 8, 1000][rng.integers(5)]
    numbers = np.unique(rng.integers(0, n, 1 + n // 2))
    ways: list[tuple[str, np.ndarray, Callable[[], np.ndarray]]] = [
        ("iterate", np.arange(start, stop), lambda: joined(source, rows, start, stop)),
        ("take", numbers, lambda: take(as_source(source), numbers)),
    ]
    for way, inside, work in ways:
        bad = {cell for cell in case.bad if cell[0] in set(inside.tolist())}
        try:
            found = work()
        except (ValueError, TypeError, OSError) as error:
            said = str(error)
            if not bad:
                # A row group is read whole, and what is not wanted of it does not matter.
                return f"{way} refuses: {said[:200]}"
            if "\n" in said or not any(names(said, row, column) for row, column in bad):
                return f"{way} names another cell than {sorted(bad)}: {said[:200]}"
            continue
        if bad:
            return f"{way} gives cells that are none: {sorted(bad)}"
        if type(found) is not np.ndarray or not np.array_equal(found, wanted[inside]):
            return f"{way} gives other numbers"
    return None


def joined(source: Any, rows: int | None, start: int, stop: int) -> np.ndarray:
    blocks = [block for _, _, block in iterate(source, rows=rows, start=start, stop=stop)]
    return np.concatenate([np.empty((0, source.shape[1]), np.float32), *blocks])


def names(said: str, row: int, column: int) -> bool:
    """Whether an error names this row and column, by number or, of Parquet, by name."""
    ways = (rf"row {row}, column {column}\b", rf"column 'c{column}' has no .* row {row}\b")
    return any(re.search(way, said) for way in ways)


if __name__ == "__main__":
    first, last = map(int, sys.argv[1:3])
    wrong = [found for found in map(check, range(first, last)) if found]
    print(*wrong, f"{len(wrong)} of {last - first} tables are read wrongly", sep="\n")
    sys.exit(bool(wrong))
