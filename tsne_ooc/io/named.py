"""Names of columns: which tables have them, and a source of some of its columns, in an order of their own."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tsne_ooc._options import counted
from tsne_ooc._typing import DType, Stored, TableLike
from tsne_ooc.io.base import Closing
from tsne_ooc.io.columns import Columns, choose
from tsne_ooc.io.cuts import block_rows, edges
from tsne_ooc.io.failures import Unreached, opening
from tsne_ooc.io.frames import text_of, values_of
from tsne_ooc.io.masks import stacked, with_mask
from tsne_ooc.io.meant import Turned
from tsne_ooc.io.memory import FrameSource
from tsne_ooc.io.sparse import is_tenx

if TYPE_CHECKING:
    from tsne_ooc.io.source import Source

_LOOM = ("row_attrs/Accession", "row_attrs/Gene")


def names_of(X: TableLike) -> list[str] | None:
    """Names of the columns of a table of any kind: a data frame, AnnData, a source; None where they have none.

    For the tables ``X``, ``raw/X`` and ``layers/NAME`` in AnnData's layout (HDF5, Zarr) they are the names of its
    variables; for Loom and 10x Genomics those of the genes: their identifiers, where there are any, because symbols are
    not unique.

    Raises
    ------
    TypeError
        Where only some names are strings.
    """
    if isinstance(X, FrameSource):
        X = X._data
    if hasattr(X, "columns") and hasattr(X, "dtypes"):
        return _labels(list(X.columns))
    if hasattr(X, "var_names") and hasattr(X, "obs_names"):
        return [str(name) for name in X.var_names]
    names = getattr(X, "column_names", None)
    if names is not None and not callable(names):
        return [str(name) for name in names]
    item = getattr(X, "_item", X)
    if type(item).__module__.partition(".")[0] in ("h5py", "zarr"):
        turned = isinstance(getattr(X, "_table", None), Turned)
        with opening(getattr(X, "path", None) or ""):
            found = _genes(item) if turned or is_tenx(item) else _variables(item)
        return found if found is not None and len(found) == X.shape[1] else None
    return None


def order_of(own: Sequence[str], names: Sequence[str], what: str) -> NDArray[np.intp]:
    """Where in `own` each of `names` is; raises as `line_up` does."""
    if list(own) == list(names):
        return np.arange(len(own))
    have, wanted = Counter(own), set(names)
    if missing := [name for name in names if name not in have]:
        near = difflib.get_close_matches(missing[0], [name for name in own if name not in wanted], n=1, cutoff=0.5)
        others = f"is {missing[0]!r} now {near[0]!r}?" if near else f"it has {names_listed(own)}"
        raise ValueError(
            f"{what} lacks {len(missing)} of the {len(names)} feature names of the fit: {names_listed(missing)}; "
            f"{others}"
        )
    for where, counts in ((what, have), ("the fit", Counter(names))):
        if doubled := [name for name in dict.fromkeys(names) if counts[name] > 1]:
            raise ValueError(
                f"{where} has several columns of one name ({names_listed(doubled)}), so columns in another order than "
                "those of the fit cannot be told apart; rename them"
            )
    at = {name: i for i, name in enumerate(own)}
    return np.array([at[name] for name in names], np.intp)


def chosen(source: Source, columns: Columns, where: str) -> LinedUp:
    """Some columns of a source by name, in the order in which they are asked for.

    Parameters
    ----------
    source : Source
    columns : str or iterable of str
        As `tsne_ooc.io.open_source` takes them.
    where : str
        What error messages call the source.

    Raises
    ------
    ValueError
        Where its columns have no names, or not these.
    """
    names = names_of(source)
    if names is None:
        raise ValueError(f"{where} has no names for its columns, so columns={columns!r} cannot choose some")
    picked = choose(names, columns, where)
    return LinedUp(source, order_of(names, picked, where), picked)


def by_name(source: Source) -> Source:
    """A source that gives its columns by name, with `read_columns`; unchanged where they have no names."""
    if hasattr(source, "read_columns") or (names := names_of(source)) is None:
        return source
    return LinedUp(source, np.arange(len(names)), names)


class LinedUp(Closing):
    """A source whose columns are some of another's, in an order of their own."""

    def __init__(self, source: Source, order: NDArray[np.intp], names: list[str]) -> None:
        self.source, self._order, self.column_names = source, order, names
        self.shape = (source.shape[0], len(order))
        self.dtype: DType = np.dtype(source.dtype)
        self.chunks = None if source.chunks is None else (source.chunks[0], len(order))
        self.kind = str(getattr(source, "kind", type(source).__name__))
        #: Bytes that are read for a row, of which those of some columns come out.
        self.row_bytes = int(getattr(source, "row_bytes", source.shape[1] * self.dtype.itemsize))

    def read(self, start: int, stop: int) -> Any:
        # Where a source takes some columns by itself, it need not make an array of all others.
        some = getattr(self.source, "read_some", None)
        if some is not None:
            return self._pieces(lambda a, b: some(a, b, self._order), start, stop)
        return self._pieces(lambda a, b: self._picked(self.source.read(a, b)), start, stop)

    def _pieces(self, read: Callable[[int, int], Any], start: int, stop: int) -> Any:
        """Rows by a block of the source after the other: whoever asks for them does not know how wide its rows are."""
        cuts = edges(self.source, block_rows(self.source), start, stop) or [(start, stop)]
        parts = [read(a, b) for a, b in cuts]
        if len(parts) == 1:
            return parts[0]
        # Data frames are there only where pandas is.
        return import_module("pandas").concat(parts) if hasattr(parts[0], "iloc") else stacked(parts)

    def _picked(self, rows: Any) -> Any:
        return rows.iloc[:, self._order] if hasattr(rows, "iloc") else with_mask(rows)[:, self._order]

    def __getattr__(self, attribute: str) -> Any:
        # Not every source has these: its file, its identity, columns that are not numbers.
        if attribute.startswith("__") or attribute == "source":
            raise AttributeError(attribute)
        if attribute == "read_columns" and not hasattr(self.source, "read_columns"):
            return self._numbers_by_name
        found = getattr(self.source, attribute)
        if attribute == "read_some":
            # Of these columns, not of those of the source.
            return lambda start, stop, some: self._pieces(lambda a, b: found(a, b, self._order[some]), start, stop)
        if attribute == "read_with_gaps":
            return lambda start, stop: self._pieces(lambda a, b: self._picked(found(a, b)), start, stop)
        if attribute != "read_columns":
            return found

        def picked(start: int, stop: int) -> dict[str, Any]:
            columns = found(start, stop)
            return {name: columns[name] for name in self.column_names}

        return picked

    def _numbers_by_name(self, start: int, stop: int) -> dict[str, Any]:
        rows = self.read(start, stop)
        return {name: rows[:, j] for j, name in enumerate(self.column_names)}

    def reopen(self) -> LinedUp:
        return LinedUp(self.source.reopen(), self._order, self.column_names)

    def close(self) -> None:
        """Close the table."""
        if hasattr(self.source, "close"):
            self.source.close()

    def __repr__(self) -> str:
        some = "" if len(self._order) == self.source.shape[1] else f"{counted(len(self._order), 'columns')} of "
        return f"{some}{self.source!r}"


def _labels(labels: list[Any]) -> list[str] | None:
    words = [label for label in labels if isinstance(label, str)]
    if 0 < len(words) < len(labels):
        other = next(label for label in labels if not isinstance(label, str))
        raise TypeError(
            f"X has columns whose names are strings and others ({words[0]!r}, {other!r}); "
            "make all of them strings: X.columns = X.columns.astype(str)"
        )
    return words or None


def names_listed(names: Sequence[str]) -> str:
    """The first of the names, for a message."""
    return ", ".join(map(repr, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _genes(item: Stored) -> list[str] | None:
    """Names of the genes of a matrix of 10x Genomics or of Loom."""
    home, names = (item, ("features/id", "genes")) if is_tenx(item) else (item.file, _LOOM)
    for name in names:
        if name in home and len(home[name].shape or ()) == 1:
            return [text_of(found) for found in home[name][:].tolist()]
    return None


def _variables(item: Stored) -> list[str] | None:
    """Names of AnnData's variables, for one of its tables in a file of HDF5 or Zarr."""
    parts = str(item.name or "").strip("/").split("/")
    if parts[-1] == "X":
        home = parts[:-1]
    elif len(parts) > 1 and parts[-2] == "layers":
        home = parts[:-2]
    else:
        return None
    root = item.file if hasattr(item, "file") else _zarr_root(item)
    try:
        var = root["/".join([*home, "var"])]
        if getattr(var.dtype, "names", None) if hasattr(var, "dtype") else False:
            column = var["index"]
        else:
            column = values_of(var[str(var.attrs["_index"])])
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
    if not hasattr(column, "shape"):
        return None
    # What `asstr` gives has no shape in h5py 3.10.
    column = column.asstr() if hasattr(column, "asstr") and column.dtype.kind in "OS" else column
    return [text_of(name) for name in column[:].tolist()]


def _zarr_root(item: Stored) -> Stored:
    import zarr

    try:
        return zarr.open_group(item.store, mode="r")
    except Unreached:
        raise
    except (OSError, ValueError, KeyError, TypeError):
        return {}
