"""Ctrl-C where work follows: it ends the work, and not the fit alone that it came in."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Turn the warning of an interrupted fit into the interrupt that it was.

    A fit keeps its map, for people at a prompt; here hours of work would follow.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="interrupted after", category=RuntimeWarning)
        try:
            yield
        except RuntimeWarning as warning:
            if str(warning).startswith("interrupted after"):
                raise KeyboardInterrupt(str(warning)) from None
            raise
