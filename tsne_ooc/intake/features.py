"""What a fitted map knows about the tables that it takes: their columns by name, and the preparation of their rows."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from tsne_ooc._context import warn
from tsne_ooc._options import counted
from tsne_ooc._typing import TableLike
from tsne_ooc._validate import as_rows, check_shape, is_sparse
from tsne_ooc.intake.taking import Intake, Prepared, as_table, check_gaps
from tsne_ooc.io import Source, as_source, iterate, line_up, names_of, order_of
from tsne_ooc.io.reading import in_memory, streamed
from tsne_ooc.neighbors import distances_of
from tsne_ooc.preprocess import Preparation, PreparedSource
from tsne_ooc.storage.state import Saved, State, within


@dataclass(frozen=True)
class Features:
    """The columns of the table of a fit. Whoever takes a table asks here for its rows, so that no column is mistaken.

    Parameters
    ----------
    width : int
        Columns of the table.
    names : tuple of str or None
        Their names, in their order.
    preparation : Preparation or None
        The fitted preparation, which makes the rows that are embedded from those of the table.
    distances : bool
        Whether rows hold distances to the rows of the fit.
    sparse : bool
        Whether rows may be sparse.
    """

    width: int
    names: tuple[str, ...] | None = None
    preparation: Preparation | None = None
    distances: bool = False
    sparse: bool = False

    @classmethod
    def of(cls, taken: Intake | Prepared, *, distances: bool = False, sparse: bool = False) -> Features:
        """The columns of the table that a fit took."""
        names = None if taken.names is None else tuple(map(str, taken.names))
        return cls(int(taken.width), names, taken.preparation, distances, sparse)

    @property
    def embedded(self) -> int:
        """How many columns the embedded rows have; with a preparation it may differ from the table's."""
        return int(self.width if self.preparation is None else self.preparation.n_features_out)

    @property
    def drops(self) -> bool:
        """Whether rows that lack a value, or every value, have no place: prepared, they are NaN throughout."""
        return self.preparation is not None and self.preparation.drops

    @property
    def gaps(self) -> bool:
        """Whether embedded rows may lack values."""
        return self.preparation is not None and self.preparation.leaves_gaps

    def lined_up(self, X: TableLike, asker: str) -> Any:
        """A table with its columns in the order of the fit, where both have names for them; else unchanged.

        A warning is given where only one of them has names.

        Parameters
        ----------
        X : table
        asker : str
            The class that the warning says was fitted with or without names.

        Raises
        ------
        ValueError
            For columns that are missing or occur twice, by name. Surplus columns are left out with a warning.
        """
        named, own = self.names is not None, names_of(X) is not None
        if named != own:
            # These are scikit-learn's words, which people know and filter.
            what = "does not have valid feature names" if named else "has feature names"
            with_or_not = "with" if named else "without"
            message = f"X {what}, but {asker} was fitted {with_or_not} feature names"
            warn(message)
        return line_up(X, None if self.names is None else list(self.names))

    def table_of(self, X: TableLike, asker: str, n_jobs: int | None) -> Source:
        """The rows of a table as they are embedded: a source of prepared rows, columns in the order of the fit.

        Raises
        ------
        ValueError
            As `lined_up` raises it, and for another number of columns.
        """
        table = as_source(as_table(X) if is_sparse(X) else self.lined_up(X, asker))
        if self.distances:
            check_gaps(table)
        return table if self.preparation is None else PreparedSource(table, self.preparation, n_jobs=n_jobs)

    def check(self, X: TableLike) -> None:
        """Raise ValueError for a source that has other columns than the fit had, before anything is done."""
        own, table = names_of(X), as_source(X)
        if self.distances:
            check_gaps(table)
        if own is not None and self.names is not None:
            order_of(own, list(self.names), repr(table))
        elif table.shape[1] != self.width:
            raise ValueError(
                f"{table!r} has {counted(table.shape[1], 'columns')}, and the map was made of {self.width}"
            )

    def blocks(self, X: TableLike, asker: str, n_jobs: int | None) -> tuple[int, Generator[tuple[int, int, Any]]]:
        """The number of rows of X, and prepared and checked blocks of them, each with its first row and its end.

        Who reads them closes them: `ahead` says why.
        """
        if self.distances and not streamed(X):
            return _one_block(distances_of(self.lined_up(X, asker), self.width))
        if streamed(X) or (is_sparse(X) and self.preparation is not None):
            table = self.table_of(X, asker, n_jobs)
            return table.shape[0], iterate(table, columns=self.embedded)
        X = self.lined_up(X, asker)
        if self.preparation is None:
            return _one_block(as_rows(X, accept_sparse=self.sparse, columns=self.width))
        X = as_table(X, missing=self.preparation.takes_missing)
        check_shape(X.shape, columns=self.width)
        return _one_block(as_rows(self.preparation.transform(X, n_jobs=n_jobs), missing=self.drops))

    def rows(self, X: TableLike, asker: str, n_jobs: int | None) -> Any:
        """All rows of a table as they are embedded, checked, in memory of their own, and sparse where they may be.

        The rows alone have to fit there; whoever wants more of memory plans it.

        Raises
        ------
        MemoryError
            Where a table that is not in memory, or its fit, would take more than there is.
        ValueError, TypeError, OSError
            As `table_of` raises them, for unusable data, and where reading fails.
        """
        if not streamed(X):
            X = as_table(X, missing=self.preparation is not None and self.preparation.takes_missing)
            if self.preparation is None:
                return as_rows(self.lined_up(X, asker), accept_sparse=self.sparse, columns=self.width, own=True)
        self.check(X)
        return in_memory(self.table_of(X, asker, n_jobs), own=True, neighbors=0)

    def state(self) -> State:
        """The preparation as JSON and arrays; width and names are in `facts`."""
        return ({}, {}) if self.preparation is None else within("preparation", self.preparation.state())

    @classmethod
    def restore(cls, saved: Saved, fitted: Saved, *, distances: bool = False, sparse: bool = False) -> Features:
        """The columns of a `state` within `saved`, with width and names from the entries of `fitted`.

        Raises
        ------
        StateError, ValueError, TypeError
            For a state that is not valid.
        """
        preparation = None
        if "preparation" in saved.content:
            part = saved.part("preparation")
            preparation = Preparation.from_state(dict(part.content), part.own_arrays())
        width, names = fitted.whole("n_features_in", 1), fitted.content.get("feature_names_in")
        if names is not None:
            if not isinstance(names, list) or len(names) != width:
                raise fitted.fail("names other columns than there are")
            if not all(isinstance(name, str) for name in names):
                raise fitted.fail("has a column whose name is not a string")
        return cls(width, None if names is None else tuple(names), preparation, distances, sparse)

    def facts(self) -> dict[str, Any]:
        """Width and names, as `restore` reads them."""
        return {"n_features_in": self.width, "feature_names_in": None if self.names is None else list(self.names)}


def _one_block(rows: Any) -> tuple[int, Generator[tuple[int, int, Any]]]:
    return rows.shape[0], (block for block in [(0, rows.shape[0], rows)])
