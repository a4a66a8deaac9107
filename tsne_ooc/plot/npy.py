"""Files of NumPy's that a user names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def reading_npy(path: Path) -> Iterator[None]:
    """Have errors of `numpy.load` name the file, one that is not there and one that is not whole.

    Raises
    ------
    FileNotFoundError, ValueError
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        yield
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as .npy: {error}") from None
