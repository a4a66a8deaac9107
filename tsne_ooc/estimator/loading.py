"""`load`, which makes the folder of a saved model an estimator that places rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tsne_ooc._parallel import resolve_n_jobs
from tsne_ooc._typing import StrPath
from tsne_ooc.estimator import TSNE
from tsne_ooc.estimator.saving import KIND, restore_estimator
from tsne_ooc.storage import MANIFEST, kind_of, read_folder
from tsne_ooc.storage.state import Saved, StateError
from tsne_ooc.workers import SavedModel

# What else a folder of this package may hold, and who reads that: this module knows nothing of PyTorch.
_OTHERS = {
    "encoder": "an encoder; load it with tsne_ooc.parametric.load",
    "map": "a finished run; its map is in the folder 'model' within, if it was fitted there",
}


def load(path: StrPath, *, verify: bool = True, n_jobs: Any = "saved") -> TSNE:
    """Load the estimator that `TSNE.save` wrote.

    Its map and rows are memory-mapped: processes that load the same folder share one copy of them.

    Parameters
    ----------
    path : path
    verify : bool, default True
        Compare the SHA-256 sum of each file, too, which reads it once. Types, shapes and ranges are always checked.
    n_jobs : int, None or "saved"
        Threads of the estimator and its search; "saved" is the number that it was saved with.

    Returns
    -------
    TSNE
        A fitted estimator; its `transform` gives the bits that it gave before.

    Raises
    ------
    FileNotFoundError
        Where there is no such folder, or a file in it is missing.
    ValueError
        Where a file is damaged, or of a later version; the message is one line that names the file. Also where the
        folder holds something else, such as an encoder, which `tsne_ooc.parametric.load` reads.

    Examples
    --------
    >>> TSNE().fit(X).save("cells")  # doctest: +SKIP
    >>> tsne_ooc.load("cells").transform(new)  # doctest: +SKIP
    """
    resolve_n_jobs(None if n_jobs == "saved" else n_jobs)
    if (kind := kind_of(path)) in _OTHERS:
        raise ValueError(f"{path} holds {_OTHERS[kind]}")
    folder = read_folder(path, KIND, verify=verify)
    try:
        found = restore_estimator(TSNE, Saved(folder.content, folder.arrays), n_jobs)
        where = SavedModel.of(Path(path), opened, (type(found.map_.model.index),))
        found._loaded = (found.map_, found.placement, where)
        return found
    except StateError as error:
        raise ValueError(f"{folder.files.get(error.array or '', Path(path) / MANIFEST)}: {error}") from None
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise ValueError(f"{Path(path) / MANIFEST}: {' '.join(str(error).split())[:200]}") from None


def opened(folder: Path, n_jobs: int | None) -> TSNE:
    """Do as `load` does, in the way that `SavedModel` calls it."""
    return load(folder, n_jobs=n_jobs)
