"""What people pass as a table that is nearly one: each is taken, or refused by one line that says what to do."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from tsne_ooc import TSNE
from tsne_ooc.io import open_source
from tsne_ooc.preprocess import Preparation, PreparedSource, Standardize

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)


def fit(table):
    return TSNE(perplexity=5, n_iter=3, early_exaggeration_iter=3, random_state=0, n_jobs=2).fit(table)


def read(table):
    source = open_source(table)
    return np.asarray(source.read(0, source.shape[0]))


@pytest.fixture(scope="module")
def expected():
    return fit(X).embedding_


def tensors():
    torch = pytest.importorskip("torch")
    T = torch.from_numpy(X.copy())
    return torch, T


@pytest.mark.parametrize("form", ["plain", "with gradients", "a parameter", "negated", "strided", "float64"])
def test_tensors_are_taken_as_their_numbers(expected, form):
    torch, T = tensors()
    made = {
        "plain": T,
        "with gradients": T.clone().requires_grad_() * 1,
        "a parameter": torch.nn.Parameter(T),
        "negated": torch._neg_view(-T),
        "strided": torch.stack([T, T], dim=2)[..., 0],
        "float64": T.double(),
    }[form]
    assert np.array_equal(fit(made).embedding_, expected)
    assert np.array_equal(read(made), X)


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_short_floats_of_tensors_keep_their_value(kind):
    torch, T = tensors()
    short = T.to(getattr(torch, kind))
    assert np.array_equal(read(short), short.float().numpy())


@pytest.mark.parametrize(
    "form, message",
    [
        ("sparse", r"X is a sparse tensor \(torch.sparse_coo\); pass X.to_dense\(\)"),
        ("csr", r"X is a sparse tensor \(torch.sparse_csr\); pass X.to_dense\(\)"),
        ("meta", "X is a tensor on the device 'meta', which has a shape and no numbers"),
        ("complex", "Complex data not supported"),
    ],
)
def test_other_tensors_are_refused(form, message):
    torch, T = tensors()
    with warnings.catch_warnings():
        # That sparse rows are in beta.
        warnings.simplefilter("ignore")
        made = {
            "sparse": T.to_sparse,
            "csr": T.to_sparse_csr,
            "meta": lambda: T.to("meta"),
            "complex": lambda: torch.complex(T, T).conj(),
        }[form]()
    for door in (fit, read):
        with pytest.raises((TypeError, ValueError), match=message):
            door(made)


@pytest.mark.parametrize("kind", [sp.dok_matrix, sp.dok_array, sp.lil_matrix, sp.coo_array, sp.csc_array, sp.bsr_array])
def test_every_sparse_form_fits_as_csr_does(kind):
    few = np.where(np.abs(X) > 0.5, X, 0)
    assert np.array_equal(fit(kind(few)).embedding_, fit(sp.csr_array(few)).embedding_)


def lazy(package, method):
    kind = type("LazyTable", (), {"columns": ["a"], method: lambda self: None, "__module__": f"{package}.frame"})
    return kind()


@pytest.mark.parametrize(
    "package, method", [("polars", "collect"), ("pyspark", "toPandas"), ("ibis", "to_pandas"), ("duckdb", "df")]
)
def test_tables_that_are_not_computed_say_how_they_are(package, method):
    for door in (fit, read):
        with pytest.raises(TypeError, match=rf"X is a LazyTable, which is not computed yet; pass X\.{method}\(\)"):
            door(lazy(package, method))


@pytest.mark.parametrize(
    "table, message",
    [
        (np.array([["1", "2"], ["3", "x"]]), r"strings \(type <U1\), not numbers, the first is 'x' at row 1, column 1"),
        ([[1, 2], [3, "x"]], r"X holds strings .*, the first is 'x' at row 1, column 1"),
        (np.array([[1, 2], ["long ago", 4]], object), "string to float: 'long ago', .* row 1, column 0"),
        (np.array([["1", "2"], ["3", "4"]]), r"X holds strings \(type <U1\), not numbers$"),
        (pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), "column 'b' of type .* does not hold numbers"),
        (pd.DataFrame({"a": [1.0, 2], "kind": pd.Categorical(["x", "y"])}), "'kind'"),
        (pd.DataFrame({"a": [1.0, 2], "cell": [[1], [2]]}), "'cell'"),
    ],
)  # fmt: skip
def test_columns_that_are_not_numbers_are_named(table, message):
    with pytest.raises((TypeError, ValueError), match=message):
        fit(table)


PRECISE = {
    "list": lambda X: X.tolist(),
    "tuple": lambda X: tuple(map(tuple, X.tolist())),
    "list of arrays": list,
    "objects": lambda X: X.astype(object),
    "frame": pd.DataFrame,
    "nullable frame": lambda X: pd.DataFrame(X).astype("Float64"),
    "tensor": lambda X: pytest.importorskip("torch").from_numpy(X.copy()),
    "tensor with gradients": lambda X: pytest.importorskip("torch").from_numpy(X.copy()).requires_grad_(),
    "masked": np.ma.array,
    "matrix": lambda X: sp.csr_matrix(X),
    "long double": lambda X: X.astype(np.longdouble),
}


@pytest.mark.parametrize("form", PRECISE)
def test_a_preparation_sees_double_precision(form):
    """Seconds since 1970 that differ by hundredths: float32 would merge all rows."""
    X = 1.7e9 + np.random.default_rng(0).normal(size=(60, 3)) * [0.01, 1, 100]
    table = PRECISE[form](X)
    wanted = Preparation([Standardize()]).fit(X)
    found = Preparation([Standardize()]).fit(table)
    np.testing.assert_array_equal(found.fitted[0].centre, wanted.fitted[0].centre)
    rows = wanted.transform(X)
    assert len(np.unique(rows[:, 0])) == 60
    np.testing.assert_array_equal(PreparedSource(table, found).read(0, 60), rows)
    if form != "matrix":
        np.testing.assert_array_equal(found.transform(table), rows)
    options = {"perplexity": 5, "n_iter": 3, "random_state": 0, "prepare": Preparation([Standardize()])}
    model = TSNE(**options).fit(table)
    np.testing.assert_array_equal(model.embedding_, TSNE(**options).fit(X).embedding_)
    np.testing.assert_array_equal(model.transform(table), model.transform(X))
