"""Tables that give a stream of Arrow: columns by name and type, errors that name them, queries that are run once."""

from __future__ import annotations

import datetime

import numpy as np
import pytest

from tsne_ooc import TSNE, embed
from tsne_ooc._labels import ordered
from tsne_ooc.io import as_source, identity_of, names_of, open_source
from tsne_ooc.io.overview import look
from tsne_ooc.preprocess import OneHot, Preparation

pa = pytest.importorskip("pyarrow")

N = 90
QUICK = {"perplexity": 8, "early_exaggeration_iter": 10, "n_iter": 10, "random_state": 0}
X = np.random.default_rng(0).normal(size=(N, 3))
DAYS = [datetime.date(2020, 1, 1) + datetime.timedelta(days=day) for day in range(N)]
WORDS = [("tcp", "udp", "icmp")[row % 3] for row in range(N)]


class Query:
    """As of DuckDB: each stream is computed anew, and the rows come in the order that they happen to have."""

    def __init__(self, table):
        self.table, self.runs = table, 0

    @property
    def shape(self):
        return self.table.num_rows, self.table.num_columns

    def __getitem__(self, name):
        return self.table[name]

    def __arrow_c_stream__(self, requested_schema=None):
        self.runs += 1
        return self.table.__arrow_c_stream__(requested_schema)


def by_arrow(columns):
    return pa.table(columns)


def by_polars(columns):
    return pytest.importorskip("polars").DataFrame(columns)


def by_duckdb(columns):
    duckdb = pytest.importorskip("duckdb")
    rows = pa.table(columns)  # noqa: F841 - DuckDB finds it by its name
    return open_source(duckdb.sql("SELECT * FROM rows"))


KINDS = [by_arrow, by_polars, by_duckdb]


def numbers(**more):
    return {name: X[:, j] for j, name in enumerate("abc")} | more


@pytest.fixture(params=KINDS)
def made(request):
    return request.param


def test_a_fit_is_that_of_the_same_numbers(made):
    table = made(numbers())
    found = TSNE(**QUICK).fit(table)
    np.testing.assert_array_equal(found.embedding_, TSNE(**QUICK).fit(X).embedding_)
    assert found.feature_names_in_.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize(
    "cells", [DAYS, [day - DAYS[0] for day in DAYS], WORDS, [[1]] * N], ids=["date", "duration", "text", "list"]
)
def test_what_is_not_a_number_is_named(made, cells):
    table = made(numbers(when=cells))
    fitted = TSNE(**QUICK).fit(made(numbers(when=np.arange(N))))
    for door in (TSNE(**QUICK).fit, fitted.transform, lambda X: as_source(X).read(0, 9)):
        with pytest.raises(TypeError, match=r"column 'when' of type .* does not hold numbers"):
            door(table)


def test_a_gap_is_named_by_column_and_row(made):
    table = made(numbers(d=[None if row in (70, 71) else row for row in range(N)]))
    with pytest.raises(ValueError, match=r"column 'd' has no value \(null\) in row 70"):
        TSNE(**QUICK).fit(table)
    assert look(table).missing_columns == {"d": 2 / N}


def test_a_cell_that_is_not_finite_is_named(made):
    with pytest.raises(ValueError, match="contains NaN at row 7, column 3"):
        TSNE(**QUICK).fit(made(numbers(d=np.where(np.arange(N) == 7, np.nan, 1.0))))


def test_columns_are_chosen_by_name(made):
    table = made(numbers(when=DAYS, proto=WORDS))
    source = open_source(table, columns=["c", "a"]) if made is not by_duckdb else open_source(table)
    if made is not by_duckdb:
        assert names_of(source) == ["c", "a"]
        np.testing.assert_array_equal(source.read(5, 20), X[5:20, [2, 0]])
        with pytest.raises(ValueError, match="did you mean 'proto'"):
            open_source(table, columns=["protto"])
    assert names_of(open_source(table)) == ["a", "b", "c", "when", "proto"]


def test_a_run_of_columns_of_words(made, tmp_path):
    table = made(numbers(proto=WORDS))
    prepare = Preparation([OneHot(["proto"])])
    by_hand = np.column_stack([X, *(np.array(WORDS) == word for word in ("icmp", "tcp", "udp"))])
    np.testing.assert_allclose(prepare.fit(table).transform(table), by_hand, rtol=1e-6)
    run = embed(table, out=tmp_path / "map", tsne=TSNE(**QUICK), prepare=prepare, sample=60)
    assert run.manifest["job"]["source"]["columns"] == ["a", "b", "c", "proto"]
    assert identity_of(table) == identity_of(made(numbers(proto=WORDS)))


def test_a_query_is_run_once_and_only_where_it_is_read_once():
    query = Query(pa.table(numbers()))
    with pytest.raises(TypeError, match=r"X is a Query, which is not computed yet.*open_source\(X\), which reads it"):
        TSNE(**QUICK).fit(query)
    assert query.runs == 0
    source = open_source(query, columns=["c", "a"])
    found = TSNE(**QUICK).fit(source).embedding_
    assert query.runs == 1
    np.testing.assert_array_equal(found, TSNE(**QUICK).fit(X[:, [2, 0]]).embedding_)


def test_a_run_of_a_query(tmp_path):
    query = Query(pa.table(numbers()))
    run = embed(query, out=tmp_path / "map", tsne=TSNE(**QUICK), sample=60)
    assert query.runs == 1 and run.embedding.shape == (N, 2)


def test_a_reader_of_batches_is_read_once():
    reader = pa.table(numbers()).to_reader(max_chunksize=20)
    with pytest.raises(TypeError, match="RecordBatchReader, which is not computed yet"):
        as_source(reader)
    np.testing.assert_array_equal(open_source(reader).read(0, N), X)


def test_a_column_alone_is_not_a_table():
    # The first before pyarrow 16, whose columns give no stream.
    with pytest.raises(TypeError, match=r"a ChunkedArray (is not a table|cannot be read as a table of Arrow)"):
        open_source(pa.chunked_array([[1, 2], [3]]))


def test_two_columns_of_one_name():
    table = pa.table([X[:, 0], X[:, 1]], names=["a", "a"])
    np.testing.assert_array_equal(as_source(table).read(0, N), X[:, :2])
    with pytest.raises(ValueError, match="the Table has several columns 'a'"):
        as_source(table).read_columns(0, 3)


def test_an_enum_of_polars_has_an_order():
    polars = pytest.importorskip("polars")
    labels = polars.Series(["low", "high", "low"], dtype=polars.Enum(["low", "middle", "high"]))
    assert ordered(labels).names.tolist() == ["low", "middle", "high"]
    assert ordered(labels).codes.tolist() == [0, 2, 0]
    assert ordered(labels.cast(polars.Categorical)).names.tolist() == ["high", "low"]
