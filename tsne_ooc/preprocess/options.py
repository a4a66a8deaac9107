"""Preparations from words and numbers, as the command line gives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tsne_ooc._options import unknown
from tsne_ooc.preprocess.missing import HOW, Missing
from tsne_ooc.preprocess.onehot import OneHot
from tsne_ooc.preprocess.pca import PCA
from tsne_ooc.preprocess.preparation import Preparation
from tsne_ooc.preprocess.rowwise import Log1p, Normalize
from tsne_ooc.preprocess.standardize import Standardize


def preparation_from_options(
    standardize: str | None = None,
    log1p: bool = False,
    normalize: float | None = None,
    pca: int | None = None,
    onehot: Sequence[str] = (),
    missing: str | None = None,
) -> Preparation | None:
    """The preparation that options of the command line ask for; None where they ask for none.

    The order is always onehot, missing, normalize, log1p, standardize, pca.

    Parameters
    ----------
    standardize : {None, "standard", "robust"}
    log1p : bool
    normalize : float, optional
        Sum of each row, > 0.
    pca : int, optional
        Number of components.
    onehot : sequence of str
        Names of columns.
    missing : {None, "error", "drop", "keep", "mean", "median", "neighbors", "indicator"}
        What becomes of missing values; None is "error".

    Raises
    ------
    ValueError, TypeError
        Naming the option.
    """
    if standardize not in (None, "standard", "robust"):
        raise unknown("standardize", standardize, ("standard", "robust"))
    if missing not in (None, "error", *HOW):
        raise unknown("missing", missing, ("error", *HOW))
    make: list[tuple[bool, Callable[[], Any]]] = [
        (bool(onehot), lambda: OneHot(onehot)),
        (missing not in (None, "error"), lambda: Missing(str(missing))),
        (normalize is not None, lambda: Normalize(normalize)),  # type: ignore[arg-type]
        (log1p, Log1p),
        (standardize is not None, lambda: Standardize(robust=standardize == "robust")),
        (pca is not None, lambda: PCA(pca)),  # type: ignore[arg-type]
    ]
    steps = [step() for wanted, step in make if wanted]
    return Preparation(steps) if steps else None
