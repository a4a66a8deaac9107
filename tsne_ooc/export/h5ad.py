"""Put a map into an AnnData file: ``obsm["X_tsne"]``, ``obs["tsne_novelty"]`` and so on; all else stays as it was."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tsne_ooc._context import warn
from tsne_ooc._options import counted
from tsne_ooc._typing import Stored
from tsne_ooc.export.content import Content
from tsne_ooc.io.failures import opening
from tsne_ooc.storage.atomic import whole_file
from tsne_ooc.storage.disk import check_room

# The most bytes that HDF5 itself adds.
_SLACK = 1 << 20
# What a column of obs may hold; those that a map lacks are not left there from an older one.
_NUMBERS = ("novelty", "recall", "singularity", "perturbation")
_ARRAY = {"encoding-type": "array", "encoding-version": "0.2.0"}


def to_h5ad(content: Content, path: Path, base: Path, key: str, *, overwrite: bool) -> None:
    """Write a copy of the AnnData file `base` with the map in it to `path`, which may be `base` itself.

    Raises
    ------
    ValueError
        Where `base` is not an AnnData file of today's layout, has another number of rows, or holds the map already.
    OSError
        Where it cannot be read or written, changed meanwhile, or the disk has no room for a copy.
    """
    columns = {name: f"{key.removeprefix('X_')}_{name}" for name in _NUMBERS}
    before = _stamp(base)
    with opening(base):
        _check(content, base, key, list(columns.values()), overwrite)
    if not any(str(base) in text for text in _texts(content.manifest)):
        warn(
            f"the map was made from {content.manifest.get('source')}; its rows are taken to be those of {base.name}, "
            "in the same order",
        )
    check_room(path, base.stat().st_size + content.n * content.row_bytes + _SLACK)

    def unchanged() -> None:
        if _stamp(base) != before:
            raise OSError(f"{base} was changed while it was copied; nothing was written, try again")

    with whole_file(path, check=unchanged) as temporary:
        _clone(base, temporary)
        _write(content, temporary, key, columns)


def _check(content: Content, base: Path, key: str, columns: list[str], overwrite: bool) -> None:
    import h5py

    try:
        file = h5py.File(base, "r")
    except OSError as error:
        raise OSError(f"{base} cannot be opened as an AnnData file: {error}") from None
    with file:
        if "obs" not in file:
            raise ValueError(f"{base} is not an AnnData file: it has no obs")
        obs, obsm = file["obs"], file.get("obsm")
        if not isinstance(obs, h5py.Group) or isinstance(obsm, h5py.Dataset):
            raise ValueError(
                f"{base} has the layout of anndata before 0.7; write it anew first: "
                "anndata.read_h5ad(path).write_h5ad(path)"
            )
        index = obs.get(obs.attrs.get("_index", "_index"))
        if index is None:
            raise ValueError(f"{base} is not an AnnData file: its obs has no index")
        n = len(index["values"] if isinstance(index, h5py.Group) else index)
        if n != content.n:
            raise ValueError(
                f"{base} has {counted(n, 'rows')}, the map {content.n}; the map must be of this file's rows"
            )
        taken = [f"obsm[{key!r}]"] if obsm is not None and key in obsm else []
        taken += [f"obs[{column!r}]" for column in columns if column in obs]
        if taken and not overwrite:
            raise FileExistsError(f"{base} has {' and '.join(taken)} already; pass overwrite=True (--overwrite)")


def _write(content: Content, path: Path, key: str, columns: dict[str, str]) -> None:
    import h5py

    with h5py.File(path, "r+") as file:
        obsm = file.get("obsm")
        if obsm is None:
            obsm = file.create_group("obsm")
            obsm.attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})
        targets = {"embedding": _fresh(obsm, key, (content.n, content.axes))}
        obs = file["obs"]
        for name, column in columns.items():
            if name in content.numbers:
                targets[name] = _fresh(obs, column, (content.n,))
                order = [str(one) for one in obs.attrs.get("column-order", ())]
                if column not in order:
                    obs.attrs["column-order"] = np.array([*order, column], h5py.string_dtype())
            elif column in obs:
                # It belongs to an older map, or `_check` would have refused; it would be taken for that of this map.
                _remove(obs, column)
        for start, stop, block in content.blocks():
            for name, target in targets.items():
                target[start:stop] = block[name]


def _fresh(group: Stored, name: str, shape: tuple[int, ...]) -> Any:
    """A dataset of float32, in place of what has that name."""
    if name in group:
        del group[name]
    dataset = group.create_dataset(name, shape, np.float32)
    dataset.attrs.update(_ARRAY)
    return dataset


def _remove(obs: Any, column: str) -> None:
    import h5py

    del obs[column]
    order = [str(name) for name in obs.attrs.get("column-order", ()) if str(name) != column]
    obs.attrs["column-order"] = np.array(order, h5py.string_dtype())


def _stamp(path: Path) -> tuple[int, int, int]:
    facts = os.stat(path)
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def _texts(value: Any) -> Iterator[str]:
    """All texts in a manifest."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _clone(source: Path, target: Path) -> None:
    """Copy a file, at no cost where the file system shares blocks between files (Btrfs, XFS)."""
    try:
        import fcntl

        with source.open("rb") as old, target.open("wb") as new:
            fcntl.ioctl(new.fileno(), 0x40049409, old.fileno())  # FICLONE
    except (ImportError, OSError):
        shutil.copyfile(source, target)
