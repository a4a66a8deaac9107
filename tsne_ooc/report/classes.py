"""Labels as classes whose means can be compared."""

from __future__ import annotations

from typing import Any

import numpy as np

from tsne_ooc._labels import Classes, categories_of, ordered
from tsne_ooc._options import counted
from tsne_ooc.plot.labels import MOST_LABELS

#: Classes that are compared, at most: those of most rows.
MOST_CLASSES = 1000


def classes_of(labels: Any, name: str) -> tuple[Classes | None, str]:
    """Those of most rows, without others; None where they are numbers on a scale. And what is to be told of it."""
    found = ordered(labels, name)
    # Objects may be numbers, too, such as some with None among them, or what a mask leaves.
    if categories_of(labels) is None and found.names.dtype.kind in "fiu":
        whole = len(found.names) and (found.names == np.floor(found.names)).all()
        if not whole or len(found.names) > MOST_LABELS:
            return None, f"{name} holds numbers on a scale, which have no classes"
    counts = np.bincount(found.codes[found.codes >= 0], minlength=len(found.names))
    there = np.flatnonzero(counts)
    kept, told = there, ""
    if len(there) > MOST_CLASSES:
        kept = np.sort(np.argsort(-counts, kind="stable")[:MOST_CLASSES])
        told = f"of {counted(len(there), 'labels')} the {MOST_CLASSES:,} of most rows are compared by their means"
    number = np.full(len(found.names) + 1, -1, np.int64)
    number[kept] = np.arange(len(kept))
    return Classes(found.names[kept], number[found.codes]), told
