"""Distances that are known: the same neighbours in every form, and all that is refused by its row and column."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import coo_array, csc_array, csr_array, lil_array
from scipy.spatial.distance import cdist

from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import Precomputed, precomputed
from tsne_ooc.neighbors.precomputed import PrecomputedIndex, distances_of, stored_nearest
from tsne_ooc.storage.state import Saved, StateError

ONE = Threads(1)
N = 12


def table():
    """Distances of which some are zero, some infinite, and many the same; each row has its own number of others."""
    rng = np.random.default_rng(0)
    D = rng.integers(0, 5, (N, N)).astype(float) / 4
    D[rng.random((N, N)) < 0.25] = np.inf
    np.fill_diagonal(D, 0)
    return D


D = table()
LEAST = int(np.isfinite(D).sum(axis=1).min()) - 1


def entries(D):
    rows, columns = np.nonzero(np.isfinite(D))
    order = np.random.default_rng(1).permutation(len(rows))
    return D[rows, columns][order], (rows[order], columns[order])


def pair(D, itself):
    """As many neighbours as the row with the most has; -1 or an infinite distance where there is none."""
    near = np.argsort(D + (0 if itself else 10 * np.eye(len(D))), axis=1, kind="stable")
    apart = np.take_along_axis(D, near, axis=1)
    near[::2][~np.isfinite(apart[::2])] = -1
    if not itself:
        near, apart = near[:, :-1], apart[:, :-1]
    return near, np.where(near < 0, 7.0, apart)


FORMS = {
    "double": D, "single": D.astype(np.float32), "by columns": np.asfortranarray(D), "lists": D.tolist(),
    "frame": pd.DataFrame(D), "csr": csr_array(coo_array(entries(D), shape=(N, N))),
    "csc": csc_array(coo_array(entries(D), shape=(N, N))), "coo": coo_array(entries(D), shape=(N, N)),
    "pair with itself": pair(D, True), "pair": pair(D, False), "a list of two": list(pair(D, True)),
}  # fmt: skip


def wanted(D, k, itself):
    found = []
    for row in range(len(D)):
        others = [at for at in range(D.shape[1]) if np.isfinite(D[row, at]) and (not itself or at != row)]
        found.append(sorted(others, key=lambda at, row=row: (D[row, at], at))[:k])
    return np.array(found), np.array([D[row, near] for row, near in enumerate(found)])


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_the_same_neighbours(form, monkeypatch):
    monkeypatch.setattr("tsne_ooc.neighbors.precomputed.ENTRIES", 5 * N)
    index = Precomputed().build(FORMS[form], threads=ONE)
    assert index.n == N
    for k in (1, LEAST):
        near, apart = wanted(D, k, True)
        found = index.query_self(k)
        np.testing.assert_array_equal(found[0], near)
        np.testing.assert_array_equal(found[1], apart.astype(np.float32))
        assert (found[0].dtype, found[1].dtype) == (np.uint32, np.float32)
    short = int(np.argmax(np.isfinite(D).sum(axis=1) - 1 < LEAST + 1))
    with pytest.raises(ValueError) as caught:
        index.query_self(LEAST + 1)
    remedy = f"or lower the perplexity to {LEAST // 3} (k is three times as many)"
    assert str(caught.value) == (
        f"row {short} has {LEAST} precomputed neighbours at a finite distance, fewer than k={LEAST + 1}; give more of "
        f"them, {remedy}"
    )
    # Queries are distances to the rows, in the same forms.
    if form in ("double", "single", "csr", "coo", "pair with itself"):
        given = FORMS["csr"] if form == "coo" else FORMS[form]
        part = tuple(one[:5] for one in given) if isinstance(given, tuple) else given[:5]
        near, apart = wanted(D[:5], LEAST, False)
        found = index.query(np.float32(part) if form in ("double", "single") else part, LEAST)
        np.testing.assert_array_equal(found[0], near)
        np.testing.assert_array_equal(found[1], apart.astype(np.float32))


@pytest.mark.parametrize(
    ("count", "remedy"), [(2, "or ask for fewer"), (3, "or lower the perplexity to 1 (k is three times as many)")]
)
def test_what_may_be_done_where_there_are_too_few(count, remedy):
    few = np.full((6, 6), np.inf)
    few[:, :4] = 1
    few[4, count:4] = np.inf
    for form in (few, csr_array(coo_array(entries(few), shape=(6, 6)))):
        with pytest.raises(ValueError) as caught:
            Precomputed().build(form, threads=ONE).query(few[:].astype(np.float32), 4)
        assert str(caught.value) == (
            f"row 4 has {count} precomputed neighbours at a finite distance, fewer than k=4; give more of "
            f"them, {remedy}"
        )
    with pytest.raises(ValueError, match=rf"^row 4 has {count} precomputed neighbours"):
        stored_nearest(csr_array(coo_array(entries(few), shape=(6, 6))), 4, None)


def entry(value, row=1, column=2, kind=float):
    return coo_array((np.array([0.5, value], kind), ([0, row], [1, column])), shape=(4, 4))


def matrix(value, row=1, column=2):
    D = np.ones((4, 4))
    D[row, column] = value
    return D


HALF = np.full((4, 2), 0.5)


@pytest.mark.parametrize(
    ("made", "kind", "says"),
    [
        ((np.zeros((4, 2)), HALF), TypeError,
         "precomputed neighbours are a pair (indices, distances) of whole numbers and numbers, not of float64 and "
         "float64"),
        ((np.zeros((4, 2), int), HALF.astype("U3")), TypeError,
         "precomputed neighbours are a pair (indices, distances) of whole numbers and numbers, not of int64 and <U3"),
        ((np.zeros((4, 3), int), HALF), ValueError,
         "indices of shape (4, 3) and distances of shape (4, 2) are not a pair"),
        ((np.array([[1, 2], [0, 4], [0, 1], [0, 1]]), HALF), ValueError,
         "precomputed indices must be row numbers from 0 to 3, or -1 for none; row 1, column 1 is 4"),
        ((np.array([[1, 2], [0, 3], [-2, 1], [0, 1]]), HALF), ValueError,
         "precomputed indices must be row numbers from 0 to 3, or -1 for none; row 2, column 0 is -2"),
        ((np.array([[1, 2], [0, 3], [0, 1], [0, 7]], np.uint8), HALF), ValueError,
         "precomputed indices must be row numbers from 0 to 3, or -1 for none; row 3, column 1 is 7"),
        ((np.array([[1, 2], [2, 2], [0, 1], [0, 1]]), HALF), ValueError,
         "precomputed distances have row 1, column 2 more than once"),
        ((np.array([[1, 2], [2, -1], [0, 1], [-1, -1]]), HALF), None, None),
        (entry(1, kind=complex), ValueError,
         "precomputed distances have type complex128, which does not hold plain numbers"),
        (lil_array(matrix(1)), TypeError,
         "precomputed distances are a sparse lil matrix, which may not keep its zeros; pass CSR or COO"),
        (entry(0.5, 0, 1), ValueError, "precomputed distances have row 0, column 1 more than once"),
        (entry(np.nan), ValueError, "precomputed distance nan at row 1, column 2 is not a distance"),
        (entry(-np.inf), ValueError, "precomputed distance -inf at row 1, column 2 is not a distance"),
        (entry(1e39), ValueError, "precomputed distance 1e+39 at row 1, column 2 is not a distance"),
        (entry(np.inf), None, None),
        (entry(0.0), None, None),
        (entry(True, kind=bool), None, None),
        (entry(-0.25), ValueError,
         "Negative values in data: precomputed distance -0.25 at row 1, column 2 is not at least 0"),
        (matrix(-0.25), ValueError,
         "Negative values in data: precomputed distance -0.25 at row 1, column 2 is not at least 0"),
        (matrix(0.0), None, None),
        (matrix(np.inf), None, None),
        (np.ones((4, 3)), ValueError,
         "precomputed distances of shape (4, 3) are not square; there is one for each two rows, infinite where they "
         "are not connected"),
    ],
)  # fmt: skip
def test_what_are_no_distances(made, kind, says):
    if kind is None:
        assert distances_of(made).shape == (4, 4)
        return
    with pytest.raises(kind) as caught:
        distances_of(made)
    assert str(caught.value) == says


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (
            (np.array([[1, 9]]), HALF[:1]),
            "precomputed indices must be row numbers from 0 to 3, or -1 for none; row 100, column 1 is 9",
        ),
        ((np.array([[1, 1]]), HALF[:1]), "precomputed distances have row 100, column 1 more than once"),
        (csr_array(np.float64([[0, 0, np.nan, 1]])), "precomputed distance nan at row 100, column 2 is not a distance"),
        (
            csr_array(np.float64([[0, 0, 0, -1]])),
            "Negative values in data: precomputed distance -1.0 at row 100, column 3 is",
        ),
    ],
)
def test_rows_of_a_graph_in_pieces_have_their_own_numbers(made, says):
    with pytest.raises(ValueError) as caught:
        distances_of(made, 4, 100)
    assert str(caught.value).startswith(says)


def test_distances_lead_to_the_rows_of_the_fit():
    assert distances_of(np.ones((2, 4)), 4).shape == (2, 4)
    assert distances_of((np.array([[3]]), np.array([[0.5]])), 4).shape == (1, 4)
    for wrong in (np.ones((2, 3)), csr_array(np.ones((2, 3)))):
        with pytest.raises(ValueError) as caught:
            distances_of(wrong, 4)
        assert str(caught.value) == (
            "X has 3 features, but TSNE is expecting 4 features as input: distances to each row of the fit, infinite "
            "where there is none"
        )
    with pytest.raises(ValueError, match=r"^neighbors=Precomputed\(\) needs metric='precomputed', not 'cosine'$"):
        Precomputed().build(np.ones((2, 2)), metric="cosine", threads=ONE)


def test_rows_of_distances_are_sorted_some_at_a_time(monkeypatch):
    """As many as have so many distances together: sorting takes a copy, and the whole matrix may fill the memory."""
    sizes, real = [], precomputed.nearest
    monkeypatch.setattr(precomputed, "nearest", lambda block, *more: (sizes.append(len(block)), real(block, *more))[1])
    monkeypatch.setattr(precomputed, "ENTRIES", 7 * 40)
    rows = np.random.default_rng(0).normal(size=(40, 2))
    Precomputed().build(cdist(rows, rows), threads=ONE).query_self(3)
    assert sum(sizes) == 40 and max(sizes) == 7


def test_a_saved_search_has_the_number_of_rows_alone():
    """Queries bring their distances along; those among the rows are gone."""
    index = Precomputed().build(D, threads=ONE)
    content, arrays = index.state()
    assert content == {"n": N} and arrays == {}
    again = PrecomputedIndex.restore(Saved(content, arrays), ONE)
    for one, other in zip(
        again.query(D[:4].astype(np.float32), LEAST), index.query(D[:4].tolist(), LEAST), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError) as caught:
        again.query_self(1)
    assert str(caught.value) == (
        "a saved model of precomputed distances does not hold those among the rows of the fit, which this needs; ask "
        "the model that was fitted, before it is saved"
    )
    for n in (1, 2**32 - 2):
        assert PrecomputedIndex.restore(Saved({"n": n}, {}), ONE).n == n
    for n in (0, 2**32 - 1):
        with pytest.raises(StateError, match=f"^n={n} is not a whole number from 1 to {2**32 - 2}$"):
            PrecomputedIndex.restore(Saved({"n": n}, {}), ONE)
    for k, n in ((N + 1, N), (0, N)):
        with pytest.raises(ValueError, match=f"^k={k} neighbours cannot be found among {n} rows; use k from 1 to {n}$"):
            index.query(np.zeros((1, N), np.float32), k)
    with pytest.raises(ValueError, match=rf"^queries of shape \(2, {N - 1}\) do not fit a reference of {N} columns$"):
        index.query(np.zeros((2, N - 1), np.float32), 1)
