"""A table of any kind, brought into the order of the columns of a fit."""

from __future__ import annotations

from collections.abc import Sequence

from tsne_ooc._context import warn
from tsne_ooc._typing import TableLike
from tsne_ooc.io.named import LinedUp, names_listed, names_of, order_of
from tsne_ooc.io.source import as_source


def line_up(X: TableLike, names: Sequence[str] | None, what: str = "X") -> TableLike:
    """A table with its columns in the order of `names`; unchanged where one of the two has no names.

    A warning names columns that are left out.

    Parameters
    ----------
    X : table of any kind
    names : sequence of str, or None
        Names of the columns of a fit.
    what : str
        What messages call the table.

    Raises
    ------
    ValueError
        For columns that are missing or occur more than once, by name.
    """
    own = None if names is None else names_of(X)
    if names is None or own is None or own == list(names):
        return X
    order = order_of(own, names, what)
    wanted = set(names)
    if surplus := [name for name in own if name not in wanted]:
        said = f"{what} has columns that the fit did not have, which are left out: {names_listed(surplus)}"
        warn(said)
    if hasattr(X, "iloc"):
        return X.iloc[:, order]
    if hasattr(X, "columns") and hasattr(X, "dtypes"):
        return X[:, order.tolist()]
    return LinedUp(as_source(X), order, list(names))
