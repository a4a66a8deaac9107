"""A file in, a folder with its map out: draw a sample, embed it, place every other row, write as it goes."""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_ooc._options import whole
from tsne_ooc._random import generator
from tsne_ooc.io import NpySink, Source, as_source, iterate, open_hdf5
from tsne_ooc.io.blocks import BLOCK_BYTES, block_rows
from tsne_ooc.io.sink import publish
from tsne_ooc.sampling import uniform

#: Version of the folder's layout; raised when older readers would misread it.
FORMAT_VERSION = 1
# Rows placed at once: a table of few columns would otherwise bring millions of rows, whose neighbours (some
# 200 bytes a row) outweigh the rows.
_MOST_ROWS = 1 << 17

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Run:
    """A finished run: the folder and what its manifest says.

    Attributes
    ----------
    folder : Path
        Holds ``embedding.npy``, ``sample_rows.npy`` and ``manifest.json``.
    manifest : dict
        Format version, source, shape, parameters, library versions, seconds per phase, the sample's
        divergence.
    """

    folder: Path
    manifest: dict[str, Any]

    @property
    def embedding(self) -> NDArray[np.float32]:
        """The map, shape (n_samples, n_components), memory-mapped."""
        return _map_file(self.folder / "embedding.npy")

    @property
    def sample_rows(self) -> NDArray[np.int64]:
        """Numbers of the rows that were fitted, ascending."""
        return _map_file(self.folder / "sample_rows.npy")


def embed(
    source: Any,
    *,
    out: str | os.PathLike[str],
    sample: int = 25_000,
    tsne: Any = None,
    dataset: str | None = None,
    random_state: int = 0,
    progress: Progress | None = None,
) -> Run:
    """Map a table of any length: fit a sample of its rows, then stream and place all others.

    Parameters
    ----------
    source : path, h5py.Dataset, ndarray, Source, or what else `tsne_ooc.io.as_source` accepts
        Table of shape (n_samples, n_features).
    out : path
        Folder to write; it must not exist yet, or be empty. Its ``manifest.json`` is written last, so a
        folder that has one is whole. An error or an interrupt leaves no files behind.
    sample : int
        Rows to fit, drawn uniformly. If there are no more, all are fitted and none is placed.
    tsne : TSNE, optional
        How to fit and place; a copy of it is fitted. By default ``TSNE()``.
    dataset : str, optional
        Name of the dataset, where `source` is the path of an HDF5 file.
    random_state : int
        Seed of the sample. (The fit has its own, in `tsne`.)
    progress : callable, optional
        Called as ``progress(phase, done, total)`` in rows, with the phases "sample", "fit" and "place".

    Returns
    -------
    Run

    Raises
    ------
    OSError
        Where `out` exists and is not empty, or cannot be written (before any long work), or where reading
        fails.
    ValueError, TypeError
        For bad tables and parameters.

    Examples
    --------
    >>> run = embed("cells.h5", dataset="X", out="map", tsne=TSNE(exaggeration=4))  # doctest: +SKIP
    >>> run.embedding.shape  # doctest: +SKIP
    (1300000, 2)
    """
    size = whole("sample", sample, least=1)
    model = _fresh(tsne)
    if hasattr(model, "check_options"):
        # Before the file is opened: drawing a sample of a large one takes its time.
        model.check_options()
    seed = whole("random_state", random_state, least=0)
    is_path = isinstance(source, str | os.PathLike)
    if dataset is not None and not is_path:
        raise TypeError("dataset names a table within a file; give the path of the file as source")
    table = open_hdf5(source, dataset) if is_path and dataset is not None else as_source(source)
    try:
        return _embed(table, Path(out), size, model, seed, progress or _silent)
    finally:
        if is_path and hasattr(table, "close"):
            table.close()


def open_run(folder: str | os.PathLike[str]) -> Run:
    """Open what `embed` wrote.

    Raises
    ------
    OSError
        Where there is no manifest, as after a run that did not end.
    ValueError
        Where the manifest is damaged or of a later format.
    """
    folder = Path(folder)
    path = folder / "manifest.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no manifest.json: it is not the folder of a finished run")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = int(manifest["format_version"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if version > FORMAT_VERSION:
        raise ValueError(f"{path} has format {version}; this version reads up to {FORMAT_VERSION}, upgrade tsne_ooc")
    return Run(folder, manifest)


def _embed(table: Source, out: Path, size: int, model: Any, seed: int, progress: Progress) -> Run:
    n = table.shape[0]
    seconds: dict[str, float] = {}
    components = whole("n_components", model.get_params(deep=False).get("n_components", 2), least=1)
    created = _claim(out)
    try:
        with NpySink(out / "embedding.npy", (n, components)) as sink:
            with _Clock(seconds, "sample"):
                progress("sample", 0, min(size, n))
                rows, X = uniform(table, size, generator(seed, "sample"))
                progress("sample", len(rows), len(rows))
            with _Clock(seconds, "fit"):
                progress("fit", 0, len(rows))
                _fit(model, X)
                seats = np.asarray(model.embedding_, dtype=np.float32)
                progress("fit", len(rows), len(rows))
            # The estimator keeps of the sample what it needs.
            del X
            with _Clock(seconds, "place"):
                if len(rows) == n:
                    sink.write(seats)
                else:
                    _place_all(table, model, rows, seats, sink, progress)
        _save(out / "sample_rows.npy", rows)
        manifest = _manifest(table, model, rows, (n, components), seed, seconds)
        _write_json(out / "manifest.json", manifest)
    except BaseException:
        _clear(out, created)
        raise
    return Run(out, manifest)


def _fit(model: Any, X: NDArray[np.float32]) -> None:
    # An interrupted fit warns and keeps its map, for people at a prompt; here hours of placing would follow.
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="interrupted after", category=RuntimeWarning)
        try:
            model.fit(X)
        except RuntimeWarning as warning:
            if str(warning).startswith("interrupted after"):
                raise KeyboardInterrupt(str(warning)) from None
            raise


def _place_all(
    table: Source,
    model: Any,
    rows: NDArray[np.int64],
    seats: NDArray[np.float32],
    sink: NpySink,
    progress: Progress,
) -> None:
    n, n_features = table.shape
    row_bytes = n_features * max(4, table.dtype.itemsize)
    height = block_rows(table, min(BLOCK_BYTES, _MOST_ROWS * row_bytes))
    progress("place", 0, n)
    for start, stop, block in iterate(table, rows=height):
        placed = np.array(model.transform(block), dtype=np.float32)
        # A sampled row takes its seat anyway, except where it has a twin in the sample with a seat of its
        # own.
        first, last = np.searchsorted(rows, [start, stop])
        placed[rows[first:last] - start] = seats[first:last]
        sink.write(placed)
        progress("place", stop, n)


def _fresh(tsne: Any) -> Any:
    if tsne is None:
        from tsne_ooc.estimator import TSNE

        return TSNE()
    if isinstance(tsne, type) or not (hasattr(tsne, "fit") and hasattr(tsne, "transform")):
        raise TypeError(f"tsne={tsne!r} is no TSNE object")
    from sklearn.base import clone

    return clone(tsne)


def _silent(phase: str, done: int, total: int) -> None:
    return None


def _claim(out: Path) -> bool:
    """Make sure that `out` is an empty folder; True if it was made now."""
    if out.exists():
        if not out.is_dir():
            raise FileExistsError(f"{out} is a file; name a folder that does not exist yet")
        if any(out.iterdir()):
            done = " the result of a finished run" if (out / "manifest.json").exists() else " files"
            raise FileExistsError(f"{out} holds{done} already; name a new folder, or remove it first")
        return False
    try:
        out.mkdir(parents=True)
    except OSError as error:
        raise type(error)(f"{out} cannot be made: {error.strerror or error}") from None
    return True


def _clear(out: Path, created: bool) -> None:
    for name in ("manifest.json", "embedding.npy", "sample_rows.npy"):
        (out / name).unlink(missing_ok=True)
    if created and not any(out.iterdir()):
        out.rmdir()


class _Clock:
    def __init__(self, seconds: dict[str, float], phase: str) -> None:
        self._seconds, self._phase = seconds, phase

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self._seconds[self._phase] = round(time.perf_counter() - self._start, 3)


def _manifest(
    table: Source,
    model: Any,
    rows: NDArray[np.int64],
    shape: tuple[int, int],
    seed: int,
    seconds: dict[str, float],
) -> dict[str, Any]:
    parameters = model.get_params(deep=False)
    return {
        "format": "tsne_ooc embedding",
        "format_version": FORMAT_VERSION,
        "source": repr(table),
        "n_samples": shape[0],
        "n_features": table.shape[1],
        "n_components": shape[1],
        "sample": len(rows),
        "random_state": seed,
        "parameters": {name: _plain(value) for name, value in sorted(parameters.items())},
        "kl_divergence": _plain(getattr(model, "kl_divergence_", None)),
        "n_iter": _plain(getattr(model, "n_iter_", None)),
        "seconds": seconds,
        "versions": _versions(),
    }


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it; objects as the text that shows them."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return f"array of shape {value.shape}"
    return repr(value)


def _versions() -> dict[str, str]:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import tsne_ooc

    found = {"tsne_ooc": tsne_ooc.__version__, "python": platform.python_version()}
    for package in ("numpy", "scipy", "numba", "scikit-learn", "h5py"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _save(path: Path, array: NDArray[Any]) -> None:
    np.save(path, array, allow_pickle=False)


def _map_file(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _write_json(path: Path, content: dict[str, Any]) -> None:
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        publish(Path(temporary), path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
