"""A finished run: its folder, and what its manifest says."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_ooc import storage

KIND = "map"
#: Scores of its rows: a folder within that of the run.
TRUST = "trust"


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes
    ----------
    folder : Path
        Holds ``embedding.npy``, ``novelty.npy``, ``sample_rows.npy``, the saved model in ``model`` and
        ``manifest.json``.
    manifest : dict
        The source, its shape, parameters, seconds per phase, the fit's divergence, and the distribution of novelty;
        for a table of many files, "files" says which rows came from which.
    arrays : dict of str to ndarray
        The arrays of the folder, memory-mapped.
    """

    folder: Path
    manifest: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    def __repr__(self) -> str:
        # A manifest and its arrays would fill the page of a notebook.
        n, d = self.embedding.shape
        return f"Run({str(self.folder)!r}: {n:,} x {d}; {', '.join(sorted(self.arrays))})"

    @property
    def embedding(self) -> NDArray[np.float32]:
        """The map, shape (n_samples, n_components), memory-mapped."""
        return self.arrays["embedding"]

    @property
    def novelty(self) -> NDArray[np.float32] | None:
        """How strange each row was to the sample, shape (n_samples,), memory-mapped; None where it is not known."""
        return self.arrays.get("novelty")

    @property
    def placed(self) -> NDArray[np.float32] | None:
        """Where each row was placed before all moved together, memory-mapped; None where they did not."""
        return self.arrays.get("placed")

    @property
    def trust(self) -> dict[str, NDArray[np.float32]] | None:
        """How far to trust the place of each row: "recall", "singularity" and "perturbation", memory-mapped.

        None where `tsne_ooc.pipeline.trust` has not scored them.
        """
        found = self.trusted
        return None if found is None else found.arrays

    @property
    def trusted(self) -> storage.FolderContent | None:
        """The same with what is told of it.

        Raises
        ------
        ValueError
            Where it is damaged, or of another run.
        """
        folder = self.folder / TRUST
        if not (folder / storage.MANIFEST).exists():
            return None
        found = storage.read_folder(folder, TRUST, verify=False)
        if found.content["job"]["request"]["run"] != storage.digest_of(self.folder):
            raise ValueError(f"the scores in {folder} are of another run; remove them, and score this one")
        return found

    @property
    def sample_rows(self) -> NDArray[np.int64] | None:
        """Numbers of the rows that were fitted, ascending; None where all rows were placed on a saved map."""
        return self.arrays.get("sample_rows")

    @property
    def dropped_rows(self) -> NDArray[np.int64] | None:
        """Numbers of the rows that lack a value and have no place, ascending; None where such rows are not dropped."""
        return self.arrays.get("dropped_rows")


def open_run(folder: str | os.PathLike[str], *, verify: bool = False) -> Run:
    """Open what `embed` or `place` wrote.

    Parameters
    ----------
    folder : path
    verify : bool, default False
        Compare the checksums of the arrays, too, which reads them once. Names, sizes and shapes are always compared.

    Raises
    ------
    OSError
        Where there is no manifest, as after a run that did not end.
    ValueError
        Where something is damaged or of a later format; the message names the file.
    """
    folder = Path(folder)
    if folder.is_dir() and not (folder / storage.MANIFEST).exists():
        unfinished = (folder / LEDGER).exists()
        why = "its run is not finished; go on with --resume" if unfinished else "it is not the folder of a run"
        raise FileNotFoundError(f"{folder} holds no {storage.MANIFEST}: {why}")
    found = storage.read_folder(folder, KIND, verify=verify)
    return Run(folder, found.content, found.arrays)


#: The file that says how far a run has come.
LEDGER = "ledger.json"
