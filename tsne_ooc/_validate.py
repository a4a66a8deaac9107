"""The gate for numbers from outside: a table of finite float32, or one line that says what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tsne_ooc._typing import Array, DType, Int64, TableLike

# Cells looked at together: 100 MB of float32 take 8 ms, as fast as they can be read (a sum, which needs no
# booleans, takes 8 ms too), and the booleans stay in the cache instead of adding a quarter to the memory.
_PIECE = 1 << 18


def as_rows(
    X: TableLike,
    *,
    name: str = "X",
    dtype: DTypeLike = np.float32,
    first_row: int = 0,
    row_numbers: Int64 | None = None,
    columns: int | None = None,
    accept_sparse: bool = False,
    minimum_rows: int = 1,
    own: bool = False,
    missing: bool = False,
) -> Any:
    """Check a table from outside and return it as C-contiguous floats.

    Parameters
    ----------
    X : array_like, DataFrame or sparse array of shape (n_samples, n_features)
        Never changed, and copied only where its type, order or alignment asks for it: a C-contiguous array
        that is `dtype` already comes back as it is, also when it is read-only.
    name : str
        What error messages call it.
    dtype : numpy floating-point type
        Type of the result.
    first_row : int
        Number of the first row of `X` in the file it was read from, for messages that name a row.
    row_numbers : ndarray of shape (n_samples,), optional
        Numbers of all rows in their file, where they do not follow one another; `first_row` is then ignored.
    columns : int, optional
        Number of columns that `X` must have.
    accept_sparse : bool
        Let SciPy's sparse arrays and matrices through, as a `scipy.sparse.csr_array`.
    minimum_rows : int
        Fewest rows that will do.
    own : bool
        Share no memory with `X`, unless it is a read-only array that holds its own memory.
    missing : bool
        Let missing values through: NaN, and masked cells as NaN. Whoever asks for this handles them.

    Returns
    -------
    ndarray or csr_array of shape (n_samples, n_features)

    Raises
    ------
    ValueError
        For NaN and infinity (with row and column), values too large for `dtype`, complex numbers, strings,
        masked cells, a shape that is not two-dimensional, too few rows, no columns, or another number of
        columns.
    TypeError
        For sparse tables where they are not accepted, and for objects that are not numbers.
    """
    wanted = np.dtype(dtype)
    if is_sparse(X):
        if not accept_sparse:
            raise TypeError(
                f"{name} is a sparse {type(X).__name__}, which is not supported here; "
                "pass a dense array, such as X.toarray()"
            )
        found = _sparse_rows(X, wanted, name, first_row, row_numbers, columns, minimum_rows, missing)
        return found.copy() if own else found
    labels: list[Any] | None = None
    if is_frame(X):
        labels = list(X.columns)
        values = _frame_values(X, name)
    elif missing:
        values = as_array(unmasked(X), name)
    else:
        _check_mask(X, name, first_row, row_numbers)
        values = as_array(X, name)
    check_shape(values.shape, name, columns, minimum_rows)
    result = _cast(values, wanted)
    bad = _first_bad(result, missing)
    if bad >= 0:
        i, j = divmod(bad, result.shape[1])
        _raise_cell(values[i, j], i, j, wanted, name, first_row, row_numbers, labels)
    if own and np.may_share_memory(result, values) and (result.flags.writeable or result.base is not None):
        return result.copy()
    return result


def is_sparse(X: TableLike) -> bool:
    """Whether X is a sparse array or matrix of SciPy."""
    # This asks what X can do: an import of scipy.sparse takes 0.27 s, which no dense table should pay for.
    return hasattr(X, "tocsr") and hasattr(X, "nnz")


def to_csr(X: TableLike) -> Any:
    """A sparse matrix in CSR form.

    Several entries of one cell are added up on the way from COO, where small whole numbers would wrap round: 100 and
    100 in int8 are -56.
    """
    return (X.astype(_wide(X.dtype)) if X.format == "coo" and not X.has_canonical_format else X).tocsr()


def _wide(dtype: DType) -> DType:
    """A type that holds sums of some numbers of this one; large whole numbers are rounded later in any case."""
    if dtype.kind not in "iu":
        return dtype
    return np.dtype(np.int64 if dtype.itemsize < 8 else np.float64)


def is_frame(X: TableLike) -> bool:
    """Whether X is a data frame."""
    return hasattr(X, "columns") and hasattr(X, "dtypes") and hasattr(X, "to_numpy")


def _frame_values(X: TableLike, name: str) -> Array:
    dtypes = list(X.dtypes)
    for label, kind in zip(X.columns, dtypes, strict=True):
        # pandas would make them numbers of nanoseconds, which is not what a date means.
        if getattr(kind, "kind", "") in "mM":
            raise TypeError(
                f"{name} has a column {label!r} of dates or durations ({kind}); leave it out, or make it numbers in a "
                "unit that suits the other columns"
            )
    try:
        if all(isinstance(kind, np.dtype) for kind in dtypes):
            return _numeric(np.asarray(X.to_numpy()), name)
        # pandas' own types (Float64, Int64, boolean) mark missing cells in a mask. They become NaN, for the message.
        return np.asarray(X.to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError, OverflowError) as error:
        for label, column in zip(X.columns, X.dtypes, strict=True):
            try:
                np.asarray(X[label].to_numpy(), dtype=np.float64)
            except (TypeError, ValueError, OverflowError):
                kind = TypeError if isinstance(error, TypeError) else ValueError
                raise kind(
                    f"{name} has a column {label!r} of type {column} that does not hold numbers; "
                    f"leave it out or encode it ({_first_line(error)})"
                ) from None
        raise


def _check_mask(X: TableLike, name: str, first_row: int = 0, row_numbers: Int64 | None = None) -> None:
    if not isinstance(X, np.ma.MaskedArray) or not np.ma.is_masked(X):
        return
    at = np.unravel_index(int(np.argmax(np.ma.getmaskarray(X))), X.shape)
    where = ""
    if len(at) == 2:
        row = first_row + int(at[0]) if row_numbers is None else int(row_numbers[at[0]])
        where = f", the first at row {row}, column {int(at[1])}"
    raise ValueError(
        f"{name} has masked cells (missing values){where}; fill in or leave out such rows first, or "
        "use prepare=Preparation([Missing('median')]) (--missing median)"
    )


def unmasked(X: TableLike) -> Any:
    """X with NaN in its masked cells, in a type that has NaN; as it is where none are masked."""
    if not np.ma.is_masked(X):
        return X
    values = np.ma.getdata(X)
    kind = values.dtype if values.dtype.kind == "f" else np.float64
    return np.where(np.ma.getmaskarray(X), np.nan, values.astype(kind))


def as_array(X: TableLike, name: str = "X") -> Array:
    """The numbers of whatever NumPy takes, in its own type; raises as `as_rows` does where there are none."""
    _check_mask(X, name)
    try:
        values = np.asarray(computed(X, name))
    except ValueError as error:
        raise ValueError(f"{name} does not form a table of numbers: {_first_line(error)}") from None
    return _numeric(values, name)


# The method that computes a lazy table, by the package that the table comes from.
_LAZY = {"polars": "collect", "pyspark": "toPandas", "ibis": "to_pandas", "duckdb": "df"}


def computed(X: TableLike, name: str) -> Any:
    """X, or the numbers of a tensor of PyTorch in a form that NumPy takes.

    Raises
    ------
    TypeError
        For what is not computed yet, and for what has no form in NumPy.
    """
    package = type(X).__module__.partition(".")[0]
    if package in _LAZY and not hasattr(X, "shape") and hasattr(X, _LAZY[package]):
        raise TypeError(f"{name} is a {type(X).__name__}, which is not computed yet; pass {name}.{_LAZY[package]}()")
    if package != "torch" or not hasattr(X, "detach"):
        return X
    if X.is_meta:
        raise TypeError(f"{name} is a tensor on the device 'meta', which has a shape and no numbers")
    if X.is_quantized:
        return X.detach().dequantize().cpu().numpy()
    if "strided" not in str(X.layout):
        raise TypeError(f"{name} is a sparse tensor ({X.layout}); pass {name}.to_dense()")
    plain = X.detach().resolve_conj().resolve_neg().cpu()
    # NumPy has none of the short floats but one.
    return (plain.float() if plain.is_floating_point() and plain.element_size() < 4 else plain).numpy()


def _first_not_a_number(values: Array) -> str:
    """Where the first cell is that cannot be read as a number, for the end of a message."""
    for at, cell in np.ndenumerate(values):
        try:
            float(cell)
        except (TypeError, ValueError, OverflowError) as error:
            where = f"row {at[0]}, column {at[1]}" if len(at) == 2 else f"position {', '.join(map(str, at))}"
            # Python does not write out whole numbers of thousands of digits.
            what = "" if isinstance(error, OverflowError) else f" {str(cell)[:40]!r}"
            return f", the first is{what} at {where}"
    return ""


def _numeric(values: Array, name: str) -> Array:
    kind = values.dtype.kind
    if kind in "fiub":
        return values
    if kind == "c":
        raise ValueError(f"Complex data not supported: {name} has type {values.dtype}")
    if kind in "USTa":
        raise ValueError(f"{name} holds strings (type {values.dtype}), not numbers{_first_not_a_number(values)}")
    if kind == "O":
        if any(isinstance(cell, complex | np.complexfloating) for cell in values.flat):
            raise ValueError(f"Complex data not supported: {name} has complex cells")
        try:
            return values.astype(np.float64)
        except TypeError as error:
            # NumPy's own sentence ("argument must be a string or a real number, not 'dict'") is the clearest
            # one, and scikit-learn's checks look for it.
            raise TypeError(f"{name} holds objects that are not numbers: {_first_line(error)}") from None
        except (ValueError, OverflowError) as error:
            where = _first_not_a_number(values)
            raise ValueError(f"{name} holds objects that are not numbers: {_first_line(error)}{where}") from None
    raise TypeError(f"{name} has type {values.dtype}, which does not hold plain numbers")


def check_shape(shape: tuple[int, ...], name: str = "X", columns: int | None = None, minimum_rows: int = 1) -> None:
    """Raise ValueError for what is not a table, or one of too few rows or another number of columns."""
    # The phrases in capitals and brackets are scikit-learn's own, which its estimator checks look for.
    if len(shape) != 2:
        given = {0: "a scalar", 1: "1D array"}.get(len(shape), f"{len(shape)}D array")
        raise ValueError(
            f"Expected 2D array, got {given} instead: {name} has shape {shape}. Reshape your data: "
            "X.reshape(-1, 1) if it is one feature, X.reshape(1, -1) if it is one row"
        )
    if shape[0] < minimum_rows:
        raise ValueError(
            f"Found array with {shape[0]} sample(s) (shape={shape}) while a minimum of {minimum_rows} is required."
        )
    if shape[1] < 1:
        raise ValueError(f"Found array with 0 feature(s) (shape={shape}) while a minimum of 1 is required.")
    if columns is not None and shape[1] != columns:
        raise ValueError(f"{name} has {shape[1]} features, but TSNE is expecting {columns} features as input")


def _cast(values: Array, wanted: DType) -> Array:
    # What is too large for float32 becomes infinity here, and is reported further down.
    with np.errstate(over="ignore", invalid="ignore"):
        return np.require(values, dtype=wanted, requirements=["C", "A"])


def _first_bad(values: Array, missing: bool) -> int:
    """Position (in C order) of the first infinity, or NaN unless that may be `missing`; or -1."""
    flat = values.reshape(-1)
    for start in range(0, len(flat), _PIECE):
        piece = flat[start : start + _PIECE]
        good = np.isfinite(piece)
        if not good.all():
            if missing:
                good |= np.isnan(piece)
            if not good.all():
                return start + int(good.argmin())
    return -1


def _raise_cell(
    cell: Any,
    i: int,
    column: int,
    wanted: DType,
    name: str,
    first_row: int,
    row_numbers: Int64 | None,
    labels: list[Any] | None = None,
) -> None:
    row = first_row + i if row_numbers is None else int(row_numbers[i])
    where = f"row {row}, column {column}" + ("" if labels is None else f" ({labels[column]!r})")
    if np.isnan(cell):
        raise ValueError(
            f"{name} contains NaN at {where}; leave out or fill in such rows first, or "
            "use prepare=Preparation([Missing('median')]) (--missing median)"
        )
    if np.isinf(cell):
        raise ValueError(f"{name} contains infinity ({cell}) at {where}; correct or leave out such rows")
    raise ValueError(
        f"{name} contains {cell:g} at {where}, beyond the range of {wanted} "
        f"(about {np.finfo(wanted).max:.1e}); scale the columns first"
    )


def _sparse_rows(
    X: TableLike,
    wanted: DType,
    name: str,
    first_row: int,
    row_numbers: Int64 | None,
    columns: int | None,
    minimum_rows: int,
    missing: bool,
) -> Any:
    from scipy.sparse import csr_array

    check_shape(X.shape, name, columns, minimum_rows)
    _numeric(np.empty(0, X.dtype), name)
    rows = csr_array(to_csr(X))
    if not rows.has_canonical_format:
        rows = rows.astype(_wide(rows.dtype), copy=True)
        rows.sum_duplicates()
    data = _cast(rows.data, wanted)
    entry = _first_bad(data, missing)
    if entry >= 0:
        i = int(np.searchsorted(rows.indptr, entry, side="right")) - 1
        _raise_cell(rows.data[entry], i, int(rows.indices[entry]), wanted, name, first_row, row_numbers)
    return csr_array((data, rows.indices, rows.indptr), shape=rows.shape)


def _first_line(error: BaseException) -> str:
    return str(error).split("\n")[0]


class RowsError(ValueError):
    """An error about a row, by its number among those that were given together.

    Parameters
    ----------
    message : str
        ``{row}`` in it stands for the number.
    row : int
    """

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message.replace("{row}", str(row)))
        self.message, self.row = message, row

    def __reduce__(self) -> Any:
        return RowsError, (self.message, self.row)


@contextmanager
def counted_from(first: int) -> Iterator[None]:
    """Let a `RowsError` name rows by their numbers in the table of which they are a piece that begins at `first`."""
    try:
        yield
    except RowsError as error:
        raise RowsError(error.message, error.row + first) from None


@contextmanager
def numbered(numbers: Int64) -> Iterator[None]:
    """Let a `RowsError` name rows by their numbers in the table that they were picked from."""
    try:
        yield
    except RowsError as error:
        raise RowsError(error.message, int(numbers[error.row])) from None
