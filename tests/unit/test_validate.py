"""Every bad table ends in one line that says what is wrong, and a good one is neither changed nor copied."""

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from tsne_ooc._validate import (
    RowsError,
    as_array,
    as_rows,
    check_shape,
    computed,
    counted_from,
    numbered,
    to_csr,
    unmasked,
)
from tsne_ooc.io.lacking import for_kept, rows_with_values, whole_rows


def table(value=None, at=(2, 1), dtype=np.float64):
    X = np.arange(12, dtype=dtype).reshape(4, 3)
    if value is not None:
        X[at] = value
    return X


@pytest.mark.parametrize("writeable", [True, False])
def test_float32_comes_back_as_it_is(writeable):
    X = table(dtype=np.float32)
    X.flags.writeable = writeable
    assert as_rows(X) is X


@pytest.mark.parametrize("dtype, bits, pattern", [("f8", "u8", 0x7FF0000000000001), ("f4", "u4", 0x7F800001)])
@pytest.mark.parametrize("wanted", ["f4", "f8"])
def test_a_nan_that_signals_is_told_as_others_are(dtype, bits, pattern, wanted):
    """Such as a tape of old data may hold: the processor objects where it is cast, and nobody is warned besides."""
    X = table(dtype=dtype)
    X.view(bits)[2, 1] = pattern
    with pytest.raises(ValueError, match=r"NaN.*row 2, column 1"):
        as_rows(X, dtype=np.dtype(wanted))
    assert np.isnan(as_rows(X, dtype=np.dtype(wanted), missing=True)[2, 1])


def test_memory_map_is_not_copied(tmp_path):
    np.save(tmp_path / "X.npy", table(dtype=np.float32))
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert np.shares_memory(as_rows(X), X)


@pytest.mark.parametrize(
    "X",
    [
        table(),
        table().tolist(),
        np.asfortranarray(table(dtype=np.float32)),
        table(dtype=np.float32).astype(">f4"),
        table(dtype=np.uint8),
        table(dtype=np.int64),
        table(dtype=np.float16),
        table().astype(object),
        pd.DataFrame(table()),
        pd.DataFrame(table(), dtype="Float64"),
        pd.DataFrame(table()).astype({0: "int8", 1: "Int32"}),
        np.ma.masked_array(table()),
        np.frombuffer(b"\0" + table(dtype=np.float32).tobytes(), dtype=np.float32, offset=1).reshape(4, 3),
    ],
    ids=lambda X: f"{type(X).__name__}-{getattr(X, 'dtype', '')}",
)
def test_what_can_be_float32_becomes_so(X):
    before = X.copy()
    rows = as_rows(X)
    assert rows.dtype == np.float32 and rows.flags.c_contiguous and rows.flags.aligned
    np.testing.assert_array_equal(rows, table())
    np.testing.assert_array_equal(np.asarray(X), np.asarray(before))


def test_float64_may_be_asked_for():
    X = table(1e300)
    assert as_rows(X, dtype=np.float64) is X


@pytest.mark.parametrize(
    "value, message",
    [
        (np.nan, "X contains NaN at row 1002, column 1; "),
        (np.inf, r"X contains infinity \(inf\) at row 1002, column 1; "),
        (-np.inf, r"X contains infinity \(-inf\) at row 1002, column 1; "),
        (1e39, r"X contains 1e\+39 at row 1002, column 1, beyond the range of float32 \(about 3.4e\+38\)"),
        (-1e200, r"X contains -1e\+200 at row 1002, column 1, beyond the range"),
    ],
)
@pytest.mark.parametrize("wrap", [np.asarray, np.asfortranarray, pd.DataFrame, list, sp.csr_matrix, sp.coo_array])
def test_a_bad_cell_is_named(value, message, wrap):
    if wrap is pd.DataFrame:
        message = message.replace("column 1", r"column 1 \(1\)")
    with pytest.raises(ValueError, match=message) as caught:
        as_rows(wrap(table(value)), first_row=1000, accept_sparse=True)
    assert "\n" not in str(caught.value)


def test_the_first_bad_cell_is_found_wherever_it_is():
    X = np.ones((9001, 97), np.float32)
    X[8999, 96] = np.nan
    with pytest.raises(ValueError, match="row 8999, column 96;"):
        as_rows(X)
    X[4000, 3] = np.inf
    with pytest.raises(ValueError, match=r"infinity.*row 4000, column 3;"):
        as_rows(X)


def test_row_numbers_name_rows_that_do_not_follow_one_another():
    with pytest.raises(ValueError, match="row 70, column 1;"):
        as_rows(table(np.nan), row_numbers=np.array([3, 5, 70, 71]))


def test_huge_but_finite_values_pass():
    # Their sum is not finite in float32.
    X = np.full((100, 10), 3e38, np.float32)
    assert as_rows(X) is X


def test_columns_of_a_frame_are_named():
    with pytest.raises(ValueError, match=r"NaN at row 1, column 1 \('b'\)"):
        as_rows(pd.DataFrame({"a": [1, 2], "b": pd.array([1, None], dtype="Int64")}))
    with pytest.raises(ValueError, match=r"column 'b' of type .* does not hold numbers"):
        as_rows(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}))
    with pytest.raises(ValueError, match=r"column 'b' of type category that does not hold numbers"):
        as_rows(pd.DataFrame({"a": [1, 2], "b": pd.Categorical(["x", "y"])}))


def test_objects_that_do_not_convert():
    X = table().astype(object)
    X[0, 0] = {"foo": "bar"}
    with pytest.raises(TypeError, match=r"argument must be .* string.* number"):
        as_rows(X)
    X[0, 0] = "cat"
    with pytest.raises(ValueError, match="not numbers: could not convert string to float: 'cat'"):
        as_rows(X)
    X[0, 0] = 1j
    with pytest.raises(ValueError, match="Complex data not supported"):
        as_rows(X)
    X[0, 0] = None
    with pytest.raises(ValueError, match="NaN at row 0, column 0"):
        as_rows(X)


@pytest.mark.parametrize(
    "X, error, message",
    [
        (table().astype(complex), ValueError, "Complex data not supported"),
        (sp.csr_array(table().astype(complex)), ValueError, "Complex data not supported"),
        (np.array([["a", "b"]]), ValueError, r"X holds strings \(type <U1\), not numbers"),
        ([["a", "b"]], ValueError, "X holds strings"),
        ([[1, 2], [3]], ValueError, "X does not form a table of numbers"),
        (np.zeros((2, 2), "M8[D]"), TypeError, r"type datetime64\[D\]"),
        (
            np.ones(3),
            ValueError,
            r"Expected 2D array, got 1D array instead: X has shape \(3,\). Reshape your data",
        ),
        (5.0, ValueError, "Expected 2D array, got a scalar instead"),
        (np.ones((2, 2, 2)), ValueError, "Expected 2D array, got 3D array instead"),
        (
            np.empty((0, 3)),
            ValueError,
            r"Found array with 0 sample\(s\) \(shape=\(0, 3\)\) while a minimum of 1 is required.",
        ),
        (
            np.empty((12, 0)),
            ValueError,
            r"0 feature\(s\) \(shape=\(12, 0\)\) while a minimum of 1 is required.",
        ),
        (np.ma.masked_array([[1, 2]], [[False, True]]), ValueError, "X has masked cells"),
    ],
)
def test_what_is_no_table_of_numbers(X, error, message):
    with pytest.raises(error, match=message) as caught:
        as_rows(X, accept_sparse=True)
    assert "\n" not in str(caught.value)


def test_a_name_of_its_own():
    with pytest.raises(ValueError, match=r"^weights contains NaN"):
        as_rows(table(np.nan), name="weights")


def test_number_of_rows_and_columns():
    with pytest.raises(ValueError, match=r"Found array with 1 sample\(s\) .* minimum of 2 is required"):
        as_rows([[1, 2]], minimum_rows=2)
    with pytest.raises(ValueError, match="X has 3 features, but TSNE is expecting 5 features as input"):
        as_rows(table(), columns=5)


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csc_array, sp.coo_matrix, sp.lil_array])
def test_sparse(kind):
    with pytest.raises(TypeError, match="sparse"):
        as_rows(kind(table()))
    rows = as_rows(kind(table()), accept_sparse=True)
    assert isinstance(rows, sp.csr_array) and rows.dtype == np.float32
    np.testing.assert_array_equal(rows.toarray(), table())


def test_sparse_input_stays_as_it_was():
    X = sp.csr_matrix((np.ones(3), [2, 0, 0], [0, 3]), shape=(1, 3))
    rows = as_rows(X, accept_sparse=True)
    np.testing.assert_array_equal(rows.toarray(), [[2, 0, 1]])
    np.testing.assert_array_equal(X.indices, [2, 0, 0])


def test_import_is_light():
    code = "import sys, tsne_ooc._validate; print({'sklearn', 'scipy', 'pandas'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_an_error_of_pandas_about_no_column_stays_as_it_is():
    """Each column holds numbers; what the whole frame has no room for is not blamed on one of them."""

    class Frame(pd.DataFrame):
        def to_numpy(self, *arguments, **options):
            raise ValueError("no room for all of them")

    with pytest.raises(ValueError, match=r"^no room for all of them$"):
        as_rows(Frame({"a": [1.0, 2.0], "b": [3.0, 4.0]}))


def test_errors_about_rows_count_from_where_the_rows_are():
    error = RowsError("row {row} is odd, and {row} it stays", 3)
    assert str(error) == "row 3 is odd, and 3 it stays"
    # As it comes from another process: what is known of the row is still there.
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is RowsError and (str(again), again.row) == (str(error), 3)
    with pytest.raises(RowsError, match=r"^row 103 is odd, and 103 it stays$") as caught, counted_from(100):
        raise again
    assert caught.value.row == 103
    with (
        pytest.raises(RowsError, match=r"^row 40 is odd, and 40 it stays$") as caught,
        numbered(np.array([7, 8, 9, 40])),
    ):
        raise again
    # A number of Python, which JSON and other processes take.
    assert type(caught.value.row) is int


def test_rows_that_were_dropped_do_not_move_the_numbers_of_the_others():
    rows = np.full((5, 2), np.nan, np.float32)
    rows[[1, 4]] = 1

    def work(some, beside):
        raise RowsError("row {row}", len(some) - 1)

    with pytest.raises(RowsError, match=r"^row 4$"):
        for_kept(rows, work)


def test_quantised_tensors_are_the_numbers_that_they_stand_for():
    torch = pytest.importorskip("torch")
    numbers = torch.tensor([[0.5, 1.0], [-1.5, 2.0]])
    with warnings.catch_warnings():
        # That they move to another package.
        warnings.simplefilter("ignore")
        stored = torch.quantize_per_tensor(numbers, scale=0.5, zero_point=0, dtype=torch.qint8)
    np.testing.assert_array_equal(as_rows(stored), numbers.numpy())


def test_rows_that_lack_something_are_those_with_nan():
    """Huge numbers of both signs, whose sum is not a number, are values."""
    most = np.finfo(np.float32).max
    rows = np.array(
        [[1, 2, 3], [np.nan, 2, 3], [np.nan] * 3, [most, most, -most], [-most, -most, most], [np.inf, -np.inf, 0],
         [most, most, np.nan], [np.inf, -np.inf, np.nan], [0, 0, 0]], np.float32,
    )  # fmt: skip
    for some in (rows, rows[:1], rows[1:2], rows[3:4], rows[:0], rows.astype(np.float64)):
        before = some.copy()
        np.testing.assert_array_equal(whole_rows(some), ~np.isnan(some).any(axis=1))
        np.testing.assert_array_equal(rows_with_values(some), ~np.isnan(some).all(axis=1))
        np.testing.assert_array_equal(some, before)


def test_what_is_found_of_the_rows_that_are_kept():
    """A number or several for each, of any kind, or nothing at all; those that were dropped have none."""
    rows = np.array([[1, 2], [np.nan, np.nan], [np.nan, 3], [4, 5]], np.float32)
    beside = np.array([10, 11, 12, 13])

    def work(some, lines):
        assert lines is None or lines.tolist() == [10, 12, 13][: len(some)] or len(some) == 1
        return some[:, 1], None, np.arange(len(some), dtype=np.uint32), np.ones((len(some), 2))

    numbers, none, codes, places = for_kept(rows, work, beside)
    np.testing.assert_array_equal(numbers, np.array([2, np.nan, 3, 5], np.float32))
    assert none is None and codes.tolist() == [0, 0, 1, 2] and codes.dtype == np.uint32
    np.testing.assert_array_equal(places, [[1, 1], [np.nan] * 2, [1, 1], [1, 1]])
    assert [part is None for part in for_kept(rows, work)] == [False, True, False, False]
    whole = for_kept(rows[3:], work, beside[3:])
    assert whole[0].tolist() == [5] and whole[1] is None


@pytest.mark.parametrize("writeable", [True, False])
@pytest.mark.parametrize("view", [True, False])
def test_rows_of_ones_own_follow_nobody(writeable, view):
    """Only an array that nobody can change needs no copy."""
    base = table(dtype=np.float32).copy()
    X = base[:] if view else base
    X.flags.writeable = writeable
    kept = as_rows(X, own=True)
    np.testing.assert_array_equal(kept, base)
    assert (kept is X) == (not writeable and not view)
    assert np.shares_memory(kept, base) == (not writeable and not view)
    for other in (table(), sp.csr_array(table(dtype=np.float32))):
        mine = as_rows(other, own=True, accept_sparse=True)
        (mine.data if sp.issparse(mine) else mine)[...] = 0
        assert other.sum() == 66


@pytest.mark.parametrize("form", [np.asarray, np.asfortranarray, sp.csr_array, sp.csc_array, sp.coo_array])
@pytest.mark.parametrize("numbers", [None, np.array([50, 30, 20, 10])])
def test_missing_cells_may_be_allowed_and_infinite_ones_not(form, numbers):
    X = table(np.nan)
    options = {"missing": True, "accept_sparse": True, "row_numbers": numbers, "first_row": 7}
    found = as_rows(form(X), **options)
    np.testing.assert_array_equal(found.toarray() if sp.issparse(found) else found, X)
    for value in (np.inf, -np.inf, 1e39):
        X[3, 2] = value
        with pytest.raises(ValueError, match="at row 10, column 2"):
            as_rows(form(X), **options)


@pytest.mark.parametrize("numbers", [None, np.array([5, 900, 7, 8])])
def test_the_first_masked_cell_is_named_by_its_row(numbers):
    X = np.ma.masked_array(table(), np.zeros((4, 3), bool))
    X.mask[1, 2] = X.mask[3, 0] = True
    row = 101 if numbers is None else 900
    with pytest.raises(ValueError) as told:
        as_rows(X, first_row=100, row_numbers=numbers)
    assert str(told.value) == (
        f"X has masked cells (missing values), the first at row {row}, column 2; fill in or leave out such rows first, "
        "or use prepare=Preparation([Missing('median')]) (--missing median)"
    )
    found = as_rows(X, missing=True)
    assert np.argwhere(np.isnan(found)).tolist() == [[1, 2], [3, 0]]
    with pytest.raises(ValueError, match=r"^weights has masked cells \(missing values\); fill in"):
        as_array(np.ma.masked_array([1.0, 2], [False, True]), "weights")
    X.mask[...] = False
    np.testing.assert_array_equal(as_rows(X), table())


@pytest.mark.parametrize("dtype", ["i2", "f4", "f8", "?"])
def test_masked_cells_are_nan_in_a_type_that_has_it(dtype):
    X = np.ma.masked_array(np.ones((2, 2), dtype), [[True, False], [False, False]])
    found = unmasked(X)
    assert found.dtype == (dtype if dtype[0] == "f" else np.float64) and np.isnan(found[0, 0]) and found[1, 1] == 1
    plain = np.ones(3)
    assert unmasked(plain) is plain


@pytest.mark.parametrize("dtype", ["u1", "i1", "i4", "u8", "f4", "?"])
def test_cells_that_are_there_twice_are_summed_in_a_type_that_holds_the_sum(dtype):
    """Two hundred and a hundred are three hundred, which bytes are not."""
    values = np.array([100, 100, 100], dtype) if dtype != "?" else np.array([True, True, True])
    made = sp.coo_array((values, ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    wanted = np.array([[0, 200], [100, 0]]) if dtype != "?" else np.array([[0, 1], [1, 0]])
    for X in (made, sp.csr_array((values, [1, 1, 0], [0, 2, 3]), shape=(2, 2))):
        found = as_rows(X, accept_sparse=True)
        assert found.has_canonical_format and found.dtype == np.float32
        if dtype != "?":
            np.testing.assert_array_equal(found.toarray(), wanted)
    np.testing.assert_array_equal(values, [100] * 3 if dtype != "?" else [True] * 3)
    assert to_csr(sp.csc_array(np.eye(2))).format == "csr"


@pytest.mark.parametrize("unit", ["M8[ns]", "m8[s]"])
def test_columns_of_dates_are_named(unit):
    frame = pd.DataFrame({"a": [1.0, 2.0], "day": np.array([1, 2], unit)})
    with pytest.raises(TypeError) as told:
        as_rows(frame)
    assert str(told.value) == (
        f"X has a column 'day' of dates or durations ({frame.dtypes['day']}); leave it out, or make it numbers in a "
        "unit that suits the other columns"
    )


def test_words_among_numbers_are_told_by_where_the_first_one_is():
    for X, message in (
        ([["1", "2"], ["3", "x"]], "X holds strings (type <U1), not numbers, the first is 'x' at row 1, column 1"),
        ([["1", "2"]], "X holds strings (type <U1), not numbers"),
        (
            np.array([[1, 2], ["y" * 50, 3]], object),
            "X holds objects that are not numbers: could not convert string to float: "
            f"{'y' * 50!r}, the first is {'y' * 40!r} at row 1, column 0",
        ),
    ):
        with pytest.raises(ValueError) as told:
            as_rows(X)
        assert str(told.value) == message
    with pytest.raises(ValueError, match=r"the first is 'x' at position 1$"):
        as_array(np.array(["1", "x"]), "labels")
    with pytest.raises(ValueError, match=r"the first is 'x' at position 0, 1, 0$"):
        as_array(np.array([[["1"], ["x"]]]), "labels")


def test_shapes_exactly_at_their_limits():
    check_shape((1, 1))
    check_shape((2, 3), columns=3, minimum_rows=2)
    check_shape((0, 1), minimum_rows=0)
    for shape, options, message in (
        ((1, 3), {"minimum_rows": 2}, "Found array with 1 sample(s) (shape=(1, 3)) while a minimum of 2 is required."),
        ((3, 0), {}, "Found array with 0 feature(s) (shape=(3, 0)) while a minimum of 1 is required."),
        ((3, 2), {"columns": 3}, "X has 2 features, but TSNE is expecting 3 features as input"),
        (
            (),
            {},
            "Expected 2D array, got a scalar instead: X has shape (). Reshape your data: X.reshape(-1, 1) if it is one "
            "feature, X.reshape(1, -1) if it is one row",
        ),
    ):
        with pytest.raises(ValueError) as told:
            check_shape(shape, **options)
        assert str(told.value) == message


@pytest.mark.parametrize("at", [0, 2**18 - 1, 2**18, 2**18 + 1, 2**19 + 5])
def test_a_bad_cell_at_the_ends_of_pieces_is_found(at):
    X = np.ones((2**19 + 6, 1), np.float32)
    X[at] = np.nan
    with pytest.raises(ValueError, match=f"NaN at row {at}, column 0;"):
        as_rows(X)
    if at:
        X[0] = np.nan
        X[at] = np.inf
        with pytest.raises(ValueError, match=f"infinity .inf. at row {at}, column 0;"):
            as_rows(X, missing=True)


@pytest.mark.parametrize(
    "package, method",
    [("polars", "collect"), ("pyspark.sql", "toPandas"), ("ibis.expr", "to_pandas"), ("duckdb", "df")],
)
def test_tables_that_are_not_computed_yet_say_what_to_call(package, method):
    kind = type("Lazy", (), {"__module__": package, method: lambda self: None})
    with pytest.raises(TypeError) as told:
        computed(kind(), "X")
    assert str(told.value) == f"X is a Lazy, which is not computed yet; pass X.{method}()"
    # What has a shape is a table, and other packages' methods mean other things.
    for other in (type("Frame", (kind,), {"__module__": package, "shape": (2, 2)})(), type("Own", (kind,), {})()):
        assert computed(other, "X") is other


def test_tensors_of_any_kind_are_the_numbers_that_they_hold():
    torch = pytest.importorskip("torch")
    base = torch.tensor([[1.0, 2.5], [3.0, -4.0]])
    for tensor in (
        base, base.clone().requires_grad_(), base.half(), base.bfloat16(), base.double(), base.t(), base.to(torch.int8),
        torch.complex(base, base).conj().imag,
    ):  # fmt: skip
        found = computed(tensor, "X")
        assert isinstance(found, np.ndarray)
        assert found.tolist() == tensor.detach().tolist()
        assert found.dtype == (np.float32 if tensor.is_floating_point() and tensor.element_size() < 4 else found.dtype)
    for tensor, message in (
        (base.to("meta"), "X is a tensor on the device 'meta', which has a shape and no numbers"),
        (base.to_sparse(), "X is a sparse tensor (torch.sparse_coo); pass X.to_dense()"),
    ):
        with pytest.raises(TypeError) as told:
            computed(tensor, "X")
        assert str(told.value) == message


def test_what_is_left_out_is_the_strictest_and_cheapest():
    one = np.ones((1, 2), np.float32)
    assert as_rows(one) is one
    with pytest.raises(TypeError, match=r"^X is a sparse csr_array, which is not supported here; pass a dense array"):
        as_rows(sp.csr_array(one))
    with pytest.raises(ValueError, match=r"^X contains NaN at row 0, column 0;"):
        as_rows(np.full((1, 1), np.nan))


@pytest.mark.parametrize("name", ["rows", "more"])
@pytest.mark.parametrize("at", [(0, 0), (0, 2), (3, 0), (3, 1), (5, 3), (6, 1)])
def test_a_bad_entry_of_sparse_rows_is_named_wherever_its_row_begins(at, name):
    """The first of its row or not, with rows before it and behind it that hold nothing."""
    X = np.zeros((8, 4))
    X[0, [0, 2]] = X[3, [0, 1]] = X[5, 3] = X[6, [0, 1]] = 1
    X[at] = np.inf
    message = rf"^{name} contains infinity \(inf\) at row {{}}, column {at[1]}; correct or leave out such rows$"
    with pytest.raises(ValueError, match=message.format(at[0])):
        as_rows(sp.csr_array(X), name=name, accept_sparse=True)
    with pytest.raises(ValueError, match=message.format(at[0] + 100)):
        as_rows(sp.csr_array(X), name=name, accept_sparse=True, first_row=100)
    with pytest.raises(ValueError, match=message.format(7 * at[0])):
        as_rows(sp.csr_array(X), name=name, accept_sparse=True, row_numbers=7 * np.arange(8))


def test_sparse_rows_keep_columns_and_rows_that_hold_nothing():
    X = np.zeros((5, 4))
    X[1, 1] = 2
    for made in (sp.csr_array(X), sp.coo_array(X), sp.csc_matrix(X), sp.csr_array((5, 4))):
        found = as_rows(made, accept_sparse=True, columns=4)
        assert found.shape == (5, 4)
        np.testing.assert_array_equal(found.toarray(), made.toarray())


@pytest.mark.parametrize("has", [("tocsr",), ("nnz",), ("columns",), ("dtypes", "to_numpy"), ("columns", "dtypes")])
def test_an_array_with_one_word_of_another_kind_of_table_is_an_array(has):
    """Subclasses of arrays have attributes of their own; a sparse matrix and a frame have all of theirs."""
    made = type("Odd", (np.ndarray,), dict.fromkeys(has, "its own"))
    X = table(dtype=np.float32).view(made)
    found = as_rows(X, columns=3)
    assert type(found) is not sp.csr_array
    np.testing.assert_array_equal(np.asarray(found), table())


@pytest.mark.parametrize("dtype", ["i8", "u8", "i4", "u4", "i1"])
def test_the_largest_whole_numbers_of_a_type_do_not_wrap_round(dtype):
    """Each may be there twice, and two of 64 bits are beyond 64 bits."""
    most = np.iinfo(dtype).max
    values = np.array([most, most, 1], dtype)
    for X in (
        sp.coo_array((values, ([0, 0, 1], [1, 1, 0])), shape=(2, 2)),
        sp.csr_array((values, [1, 1, 0], [0, 2, 3]), shape=(2, 2)),
    ):
        np.testing.assert_allclose(as_rows(X, accept_sparse=True).toarray(), [[0, 2.0 * most], [1, 0]], rtol=1e-6)
    assert values.tolist() == [most, most, 1]


def test_the_column_of_a_frame_that_holds_no_numbers_is_named_with_what_is_wrong_with_it():
    """By the kind of error that its cells make, whether the other columns are NumPy's or pandas' own."""
    for first in (np.array([1.0, 2.0]), pd.array([1, None], dtype="Int64")):
        for cells, kind, says in (
            (["x", "2"], ValueError, "could not convert string to float: 'x'"),
            ([{"a": 1}, 2], TypeError, "float() argument must be a string or a real number, not 'dict'"),
        ):
            frame = pd.DataFrame({"a": first, "b": np.array(cells, object)})
            with pytest.raises(kind) as told:
                as_rows(frame, name="rows")
            assert type(told.value) is kind
            start = "rows has a column 'b' of type object that does not hold numbers; leave it out or encode it ("
            assert str(told.value).startswith(start) and str(told.value).endswith(")") and "\n" not in str(told.value)
            assert says in str(told.value)


@pytest.mark.parametrize("digits", [400, 9000])
def test_whole_numbers_that_no_float_can_hold_are_told_by_where_they_are(digits):
    X = table().astype(object)
    X[3, 1] = 10**digits
    with pytest.raises(ValueError) as told:
        as_rows(X)
    assert str(told.value) == (
        "X holds objects that are not numbers: int too large to convert to float, the first is at row 3, column 1"
    )
    for other in (np.arange(4.0), pd.array([1, None, 2, 3], dtype="Int64")):
        with pytest.raises(ValueError) as told:
            as_rows(pd.DataFrame({"a": other, "b": X[:, 1]}))
        assert str(told.value).startswith(
            "X has a column 'b' of type object that does not hold numbers; leave it out or encode it ("
        )
        assert "int too large to convert to float" in str(told.value)


def test_bytes_and_records_are_no_numbers():
    for cells, message in (
        (np.array([[b"1", b"x"]]), "X holds strings (type |S1), not numbers, the first is \"b'x'\" at row 0, column 1"),
        (np.array([["1", "x"]], "T"), "X holds strings (type StringDType()), not numbers, the first is 'x' at row 0, "),
    ):
        with pytest.raises(ValueError) as told:
            as_rows(cells)
        assert str(told.value).startswith(message)
    with pytest.raises(TypeError, match=r"^X has type .*, which does not hold plain numbers$"):
        as_rows(np.zeros((2, 2), [("a", "f4")]))
    with pytest.raises(ValueError, match=r"^X has masked cells \(missing values\); fill in"):
        as_array(np.ma.masked_array([1.0, 2], [False, True]))
    with pytest.raises(ValueError) as told:
        as_rows(table(7e4), dtype=np.float16)
    assert str(told.value) == (
        "X contains 70000 at row 2, column 1, beyond the range of float16 (about 6.6e+04); scale the columns first"
    )


def test_what_a_package_of_tensors_has_besides_them_is_left_alone():
    other = type("Size", (tuple,), {"__module__": "torch"})((2, 3))
    assert computed(other, "X") is other
    torch = pytest.importorskip("torch")
    base = torch.tensor([[1.0, 2.5]])
    # The conjugate of a tensor is a view that NumPy cannot have.
    with pytest.raises(ValueError, match=r"^Complex data not supported: X has type complex64$"):
        as_rows(torch.complex(base, base).conj())
    with (
        pytest.raises(TypeError, match=r"^y is a sparse tensor \(torch.sparse_csr\); pass y.to_dense\(\)$"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        computed(base.to_sparse_csr(), "y")


def test_lazy_tables_are_told_by_package_and_method():
    """A method of that name elsewhere, or a package of that name with another method, is somebody's own."""
    for package, method in (
        ("polars", "toPandas"),
        ("duckdb", "collect"),
        ("mypolars", "collect"),
        ("x.polars", "collect"),
    ):
        own = type("Own", (), {"__module__": package, method: lambda self: None})()
        assert computed(own, "X") is own


def test_sparse_rows_are_copied_only_where_that_is_asked_for():
    X = sp.csr_array(table(dtype=np.float32))
    found = as_rows(X, accept_sparse=True)
    for name in ("data", "indices", "indptr"):
        assert np.shares_memory(getattr(found, name), getattr(X, name))
    own = as_rows(X, accept_sparse=True, own=True)
    assert not np.shares_memory(own.data, X.data) and not np.shares_memory(own.indices, X.indices)
