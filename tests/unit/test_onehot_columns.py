"""Categories of every type that tables hold, from every reader of named columns: those of a slow twin, or one line."""

import datetime
import decimal
import json
import re
import tracemalloc
import uuid
import warnings

import h5py
import numpy as np
import pandas as pd
import pytest

from tsne_ooc import TSNE, load
from tsne_ooc.io import as_source, open_source
from tsne_ooc.preprocess import OneHot, Preparation, PreparedSource, Standardize
from tsne_ooc.preprocess import onehot as onehot_module
from tsne_ooc.storage.manifest import canonical

N = 60
LONG = "x" * 2000


def objects(cells):
    found = np.empty(len(cells), object)
    found[:] = cells
    return pd.Series(found)


def stamps(cells, kind):
    return pd.Series(pd.to_datetime(objects(cells), format="ISO8601")).astype(kind)


def zoned(cells):
    return stamps(cells, "datetime64[ns]").dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")


def dates(cells):
    return objects([None if cell is None else datetime.date.fromisoformat(cell) for cell in cells])


def decimals(cells):
    return objects([None if cell is None else decimal.Decimal(str(cell)) for cell in cells])


def times(cells):
    return objects([None if cell is None else datetime.time.fromisoformat(cell) for cell in cells])


#: For each type the categories as they are to be, and the column that holds them; the types that hold nothing missing.
TYPES = {
    "objects of text": (["a", "b", "ü", LONG], objects),
    "text": (["a", "b", "ü"], lambda cells: pd.Series(pd.array(cells, dtype="string"))),
    "text of arrow": (["a", "b"], lambda cells: pd.Series(pd.array(cells, dtype="string[pyarrow]"))),
    "bytes": (["a", "b"], lambda cells: objects([None if cell is None else cell.encode() for cell in cells])),
    "categories of text": (["b", "a"], lambda cells: pd.Series(pd.Categorical(cells))),
    "categories of numbers": ([3, 1], lambda cells: pd.Series(pd.Categorical(cells))),
    "int8": ([-3, 5], lambda cells: pd.Series(pd.array(cells, dtype="int8"))),
    "Int64": ([1, 2, 30], lambda cells: pd.Series(pd.array(cells, dtype="Int64"))),
    "large numbers": ([2**53, 2**53 + 1, 2**62], lambda cells: pd.Series(pd.array(cells, dtype="Int64"))),
    "large objects": ([2**53, 2**53 + 1, 2**62], objects),
    "float32": ([0.5, -1.5], lambda cells: pd.Series(cells, dtype="float32")),
    "Float64": ([0.5, 1e300], lambda cells: pd.Series(pd.array(cells, dtype="Float64"))),
    "bool": ([True, False], lambda cells: pd.Series(cells, dtype="bool")),
    "boolean": ([True, False], lambda cells: pd.Series(pd.array(cells, dtype="boolean"))),
    "objects of yes and no": ([True, False], objects),
    "time stamps": (["2020-01-01", "2020-01-02T03:04:05", "1850-06-01T00:00:00.000001"],
                    lambda cells: stamps(cells, "datetime64[ns]")),
    "time stamps in seconds": (["2020-01-01", "2020-01-02T03:04:05"], lambda cells: stamps(cells, "datetime64[s]")),
    "time stamps with a zone": (["2020-01-01", "2020-01-02T03:04:05"], zoned),
    "dates": (["2020-01-01", "2020-01-02"], dates),
    "times": (["01:02:03", "23:00:00"], times),
    "decimals": ([0.25, 3, 2**60 + 1], decimals),
}  # fmt: skip
SOLID = {"int8", "bool"}
#: What AnnData writes, and what records of HDF5 hold.
FRAMES = {"objects of text", "categories of text", "categories of numbers", "int8", "Int64", "large numbers", "float32",
          "bool", "boolean"}  # fmt: skip
RECORDS = {"objects of text": h5py.string_dtype(), "bytes": "S3", "int8": "i1", "large objects": "i8", "float32": "f4",
           "bool": "?"}  # fmt: skip


def cells_of(kind, missing):
    categories = TYPES[kind][0]
    cells = [categories[i % len(categories)] for i in range(N)]
    if missing:
        cells[4::7] = [None] * len(cells[4::7])
    return cells


def twin(cells):
    """Columns of zeros and ones, one cell after the other."""
    categories = sorted({cell for cell in cells if cell is not None})
    return categories, np.array([[cell == category for category in categories] for cell in cells], np.float32)


def table_of(kind, cells):
    return pd.DataFrame({"x": np.arange(N, dtype=np.float32), "k": TYPES[kind][1](cells)})


def frame(table, folder):
    return table


def parquet(table, folder):
    table.to_parquet(folder / "table.parquet", index=False, row_group_size=25)
    return open_source(folder / "table.parquet", columns="*")


def records(table, folder):
    kind = next(name for name in RECORDS if name == table.attrs["kind"])
    rows = np.empty(N, [("x", "f4"), ("k", RECORDS[kind])])
    rows["x"], rows["k"] = table["x"], table["k"].to_numpy()
    with h5py.File(folder / "table.h5", "w") as file:
        file.create_dataset("rows", data=rows, chunks=(25,))
    return open_source(folder / "table.h5", columns="*")


def stored(suffix):
    def make(table, folder):
        anndata = pytest.importorskip("anndata")
        made = anndata.AnnData(np.zeros((N, 1), "f4"), obs=table.set_axis([f"r{i}" for i in range(N)]))
        getattr(made, f"write_{suffix}")(folder / f"cells.{suffix}")
        # (Chunks of zeros alone, such as codes of one category, are not written.)
        return open_source(folder / f"cells.{suffix}", dataset="obs", columns=["x", "k"], allow_missing_chunks=True)

    return make


READERS = {"frame": frame, "parquet": parquet, "records": records, "h5ad": stored("h5ad"), "zarr": stored("zarr")}


def holds(reader, kind, missing):
    if missing and (kind in SOLID or reader == "records"):
        return False
    return {"frame": True, "parquet": True, "records": kind in RECORDS}.get(reader, kind in FRAMES)


CASES = [
    (kind, missing, reader)
    for kind in TYPES
    for missing in (False, True)
    for reader in READERS
    if holds(reader, kind, missing)
]


@pytest.mark.parametrize(("kind", "missing", "reader"), CASES)
@pytest.mark.filterwarnings("ignore:.*(string|StringArray|zarr).*:UserWarning", "ignore::FutureWarning")
def test_every_type_from_every_reader(kind, missing, reader, tmp_path, monkeypatch):
    # Several blocks, which must agree on what a category is.
    monkeypatch.setattr(onehot_module, "BLOCK_BYTES", 8 * 8 * 2 * 16)
    cells = cells_of(kind, missing)
    categories, codes = twin(cells)
    table = table_of(kind, cells)
    table.attrs["kind"] = kind
    source = READERS[reader](table, tmp_path)
    preparation = Preparation([OneHot(["k"])]).fit(source)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = PreparedSource(source, preparation).read(0, N)
        kept, arrays = preparation.state()
        again = Preparation.from_state(json.loads(canonical(kept)), arrays)
        np.testing.assert_array_equal(PreparedSource(source, again).read(7, 30), rows[7:30])
        # Placed from a data frame, whatever they were fitted from.
        np.testing.assert_array_equal(again.transform(table), rows)
    np.testing.assert_array_equal(rows, np.column_stack([np.arange(N), codes]))
    assert preparation.encoding.categories["k"].tolist() == categories
    if kind != "decimals":
        assert preparation.encoding.feature_names == ["x", *(f"k={category}" for category in categories)]
    assert not preparation.unseen and not again.unseen


def test_what_one_reader_fits_another_places(tmp_path):
    """A date is the same category as a date, and as a time stamp of any unit."""
    cells = ["2020-01-01", "2020-01-02", None] * 20
    fitted = Preparation([OneHot(["k"])]).fit(pd.DataFrame({"x": np.arange(60.0), "k": dates(cells)}))
    for column in (stamps(cells, "datetime64[ns]"), stamps(cells, "datetime64[s]"), zoned(cells), dates(cells)):
        source = parquet(pd.DataFrame({"x": np.arange(60.0), "k": column}), tmp_path)
        np.testing.assert_array_equal(PreparedSource(source, fitted).read(0, 60)[:, 1:], twin(cells)[1])
        source.close()
    assert not fitted.unseen


@pytest.mark.parametrize("other", [[7, 8], ["7", "8"], [7.5, 8.0], [True, 8], [2**53, 2**53 + 1]])
@pytest.mark.parametrize("kind", ["number", "text"])
def test_categories_of_another_table_are_compared_exactly(kind, other):
    known = [7, 2**53 + 1, 1] if kind == "number" else ["7", "b"]
    preparation = Preparation([OneHot(["k"])]).fit(pd.DataFrame({"x": np.zeros(len(known)), "k": known}))
    wanted = [[cell == category for category in sorted(known)] for cell in other]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = preparation.transform({"x": np.zeros(len(other)), "k": np.array(other, object)})[:, 1:]
    np.testing.assert_array_equal(found, wanted)
    assert preparation.unseen.get("k", 0) == int((~np.any(wanted, axis=1)).sum())


class Nameless:
    pass


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (pd.Timedelta("1h"), "a duration"),
        (datetime.timedelta(1), "a duration"),
        ([1, 2], "a list"),
        ({"a": 1}, "a dict"),
        (np.arange(2), "a ndarray"),
        (float("inf"), "infinity"),
        (1j, "a complex"),
        (Nameless(), "a Nameless"),
    ],
)
@pytest.mark.parametrize("reader", ["frame", "parquet"])
def test_what_is_not_a_category_is_named(bad, what, reader, tmp_path):
    cells = objects(["a"] * 40 if not isinstance(bad, float | complex) else [1.0] * 40)
    cells[33] = bad
    table = pd.DataFrame({"x": np.zeros(40), "k": cells})
    if reader == "parquet":
        if not isinstance(bad, list | float | pd.Timedelta):
            pytest.skip("Parquet holds one type in a column, and not this one")
        table["k"] = objects([bad] * 40)
        what, row = {"a list": "a ndarray"}.get(what, what), 0
        source = parquet(table, tmp_path)
    else:
        source, row = table, 33
    with pytest.raises(ValueError, match=rf"column 'k' holds {what} in row {row}, which is not a category; ") as caught:
        Preparation([OneHot(["k"])]).fit(source)
    assert "\n" not in str(caught.value)


def test_other_objects_are_their_text():
    ids = [uuid.UUID(int=i % 2) for i in range(6)]
    cut = pd.cut(np.arange(6.0), 2)
    preparation = Preparation([OneHot(["i", "c"])]).fit(pd.DataFrame({"i": objects(ids), "c": cut}))
    assert preparation.encoding.categories["i"].tolist() == sorted({str(cell) for cell in ids})
    assert preparation.encoding.categories["c"].tolist() == sorted(map(str, cut.categories))
    words = objects([b"caf\xe9", b"caf\xe8", "caf"])
    assert Preparation([OneHot("k")]).fit(pd.DataFrame({"k": words})).n_features_out == 3


def test_names_there_twice_are_named():
    table = pd.DataFrame(np.arange(12).reshape(3, 4), columns=["a", "k", "k", "b"])
    with pytest.raises(ValueError, match="several columns 'k'; rename them"):
        Preparation([OneHot(["a"])]).fit(table)
    with pytest.raises(ValueError, match="several columns 'k'; rename them"):
        Preparation([OneHot(["k"])]).fit(table)
    preparation = Preparation([OneHot(["k"])]).fit(table.iloc[:, [0, 1, 3]])
    with pytest.raises(ValueError, match="several columns 'k'; rename them"):
        preparation.transform(table)
    with pytest.raises(ValueError, match="several columns '1'; rename them"):
        preparation.transform({1: np.zeros(3), "1": np.zeros(3)})
    with pytest.raises(TypeError, match="a data frame or a mapping, not a ndarray"):
        preparation.transform(np.zeros((3, 3)))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": np.zeros(3), "k": np.array(["x", "y"], object)}, "column 'k' has 2 rows, and column 'a' has 3"),
        ({"k": np.array(["x", "y", "x"], object), "a": np.zeros(1)}, "column 'k' has 3 rows, and column 'a' has 1"),
        ({"a": np.zeros((3, 2)), "k": np.array(["x", "y", "x"], object)}, r"column 'a' has shape \(3, 2\)"),
        ({"a": 1.0, "k": np.array(["x"], object)}, r"column 'a' has shape \(\)"),
        ({"a": np.array(["1", "2"], object), "k": np.array(["x", "y"], object)}, "column 'a' holds no numbers"),
        ({"a": np.array(["1", "2"]), "k": np.array(["x", "y"], object)}, "column 'a' holds no numbers"),
        ({"a": objects([1, pd.NA]).to_numpy(), "k": np.array(["x", "y"], object)}, "column 'a' holds nan in row 1;"),
    ],
)
def test_columns_that_are_no_table(columns, message):
    preparation = Preparation([OneHot(["k"])]).fit(pd.DataFrame({"a": np.zeros(3), "k": ["x", "y", "x"]}))
    with pytest.raises(ValueError, match=message):
        preparation.transform(columns)


@pytest.mark.parametrize("reader", ["frame", "parquet"])
def test_missing_numbers_beside_categories_are_named(reader, tmp_path):
    table = pd.DataFrame({"x": pd.array([1, None, 3], dtype="Int64"), "k": ["a", "b", "a"]})
    with pytest.raises(ValueError, match="column 'x' holds nan in row 1; fill in or leave out such rows"):
        Preparation([OneHot(["k"]), Standardize()]).fit(READERS[reader](table, tmp_path))


def test_other_columns_are_looked_at_before_the_pass(monkeypatch):
    monkeypatch.setattr(onehot_module, "BLOCK_BYTES", 8 * 8 * 2 * 16)
    done = []
    with pytest.raises(ValueError, match="column 'x' holds no numbers"):
        table = pd.DataFrame({"x": ["a"] * N, "k": ["b"] * N})
        Preparation([OneHot(["k"])]).fit(table, progress=lambda *at: done.append(at))
    assert not done


def test_one_long_cell_takes_no_memory_of_all():
    def peak(cells):
        table = pd.DataFrame({"a": np.zeros(len(cells), "f4"), "k": cells})
        tracemalloc.start()
        preparation = Preparation([OneHot(["k"])]).fit(table)
        preparation.transform(table)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    cells = np.array(["tcp", "udp"], object)[np.arange(20_000) % 2]
    short = peak(cells)
    cells[5] = LONG * 5
    assert peak(cells) < 2 * short


@pytest.mark.parametrize("categories", [["b", "a"], ["a"] * 2, [1, "a"], [None], [[1]], "ab", [float("nan")], {"a": 1}])
def test_forged_categories_are_refused(categories):
    kept, arrays = Preparation([OneHot("k")]).fit(pd.DataFrame({"k": ["a", "b"]})).state()
    kept["steps"][0]["categories"]["k"] = categories
    with pytest.raises(ValueError, match=re.escape("the state of a preparation") + "|both text and numbers"):
        Preparation.from_state(kept, arrays)


def test_a_map_of_dates_is_saved_and_opened_again(tmp_path):
    rng = np.random.default_rng(0)
    made = pd.DataFrame({"x": rng.normal(size=60), "k": pd.to_datetime(["2020-01-01", None, "2021-01-01"] * 20)})
    model = TSNE(perplexity=5, n_iter=5, random_state=0, prepare=Preparation([OneHot(["k"]), Standardize()])).fit(made)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").transform(made[:9]), model.transform(made[:9]))


def test_categories_of_a_file_are_words_or_numbers():
    for values in ("ab", [["a"]], [None], [b"a"], {"a": 1}):
        with pytest.raises(ValueError, match="categories of column 'c' that are not words or numbers"):
            onehot_module._read(values, "c")
    for values in ([1.0, float("nan")], [float("inf")], ["a", -float("inf")]):
        with pytest.raises(ValueError, match="NaN or infinity among the categories of column 'c'"):
            onehot_module._read(values, "c")
    assert onehot_module._read(["a", "b"], "c") == ["a", "b"]


def test_rows_that_cannot_be_read_are_named(monkeypatch):
    """All categories are read before a table is fitted; 20 rows at a time here."""

    table = as_source(pd.DataFrame({"a": np.arange(60.0), "word": ["x", "y", "z"] * 20}))
    plain = table.read_columns

    def breaking(start, stop):
        if start >= 40:
            raise OSError("no more")
        return plain(start, stop)

    monkeypatch.setattr(table, "read_columns", breaking)
    monkeypatch.setattr(onehot_module, "BLOCK_BYTES", 20 * 2 * onehot_module._TEXT)
    with pytest.raises(OSError, match=r"rows (\d+) to (\d+) of .* could not be read: no more") as caught:
        OneHot(["word"]).fit(table, lambda *told: None)
    first, last = map(int, re.search(r"rows (\d+) to (\d+)", str(caught.value)).groups())
    assert 40 <= first < last < 60
