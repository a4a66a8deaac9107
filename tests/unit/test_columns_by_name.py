"""Columns of an array are chosen by the names beside it, from every file and object that has such names."""

from __future__ import annotations

import pickle
import tracemalloc
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import scipy.sparse as sp

from tsne_ooc.convert import convert
from tsne_ooc.io import differences, identity_of, line_up, named, names_of, open_hdf5, open_source, open_zarr
from tsne_ooc.io.blocks import iterate
from tsne_ooc.io.failures import Unreached
from tsne_ooc.preprocess import OneHot, Preparation
from tsne_ooc.sampling import take

N = 60
NAMES = ["Actb", "Cd3e", "Cd8a", "Gapdh", "Ms4a1"]
# As Parquet takes them: in this order, a star for any characters, each once.
CHOICES = {
    "order": (["Gapdh", "Actb"], [3, 0]),
    "star": (["Ms4a1", "Cd*"], [4, 1, 2]),
    "one": ("Cd8a", [2]),
    "again": (["Cd8a", "*"], [2, 0, 1, 3, 4]),
}


def cells():
    """Counts, half of them 0."""
    return np.random.default_rng(0).poisson(0.7, (N, len(NAMES))).astype(np.float32)


def write(root, X, place="X", *, sparse=False):
    """AnnData's layout in a group of HDF5 or Zarr."""
    home = f"{place.rpartition('/')[0]}/" if place.startswith("raw") else ""
    make = root.create_array if hasattr(root, "create_array") else root.create_dataset
    root.attrs["encoding-type"] = "anndata"
    root.create_group("obs")
    var = root.create_group(f"{home}var")
    var.attrs["_index"] = "gene"
    kind = {"dtype": h5py.string_dtype()} if make.__name__ == "create_dataset" else {}
    make(f"{home}var/gene", data=NAMES if kind else np.array(NAMES), **kind)
    if not sparse:
        make(place, data=X, chunks=(16, 2))
        return
    group, rows = root.create_group(place), sp.csr_array(X)
    group.attrs.update({"encoding-type": "csr_matrix", "shape": list(X.shape)})
    for name in ("data", "indices", "indptr"):
        make(f"{place}/{name}", data=getattr(rows, name), chunks=(20,))


def h5ad(**options):
    def made(X, folder):
        with h5py.File(folder / "cells.h5ad", "w") as file:
            write(file, X, **options)
        return folder / "cells.h5ad", options.get("place")

    return made


def in_zarr(**options):
    def made(X, folder):
        zarr = pytest.importorskip("zarr")
        write(zarr.open_group(folder / "cells.zarr", mode="w", zarr_format=2), X, **options)
        return folder / "cells.zarr", options.get("place")

    return made


def records(X, folder):
    """AnnData's first layout: the names are a field of records."""
    with h5py.File(folder / "cells.h5ad", "w") as file:
        file.create_group("obs")
        file["var"] = np.array([(name.encode(),) for name in NAMES], [("index", "S8")])
        file["X"] = X
    return folder / "cells.h5ad", None


def loom(X, folder):
    with h5py.File(folder / "cells.loom", "w") as file:
        file.attrs["LOOM_SPEC_VERSION"] = "2.0.1"
        file.create_dataset("matrix", data=X.T, chunks=(2, 16))
        file["row_attrs/Gene"] = [name.encode() for name in NAMES]
        file.create_group("col_attrs")
        file.create_group("layers")
    return folder / "cells.loom", None


def tenx(X, folder):
    by_columns = sp.csc_array(X.T)
    with h5py.File(folder / "filtered.h5", "w") as file:
        group = file.create_group("matrix")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(by_columns, name)
        group["shape"], group["barcodes"] = np.array(X.T.shape), [b"cell"] * N
        group["features/id"] = [name.encode() for name in NAMES]
        group["features/feature_type"] = [b"Gene Expression"] * len(NAMES)
    return folder / "filtered.h5", None


def prepared(format):
    def made(X, folder):
        pytest.importorskip("pyarrow")
        pytest.importorskip(format.replace("h5", "h5py"))
        np.savetxt(folder / "x.csv", X, delimiter=",", header=",".join(NAMES), comments="")
        convert(folder / "x.csv", folder / "out", format=format)
        return folder / "out" / f"table.{format}", None

    return made


def several(X, folder):
    for number, rows in enumerate(np.split(X, 3)):
        with h5py.File(folder / f"{number}.h5ad", "w") as file:
            write(file, rows)
    return f"{folder}/*.h5ad", None


def anndata(*, sparse=False, part=None, backed=False):
    def made(X, folder):
        found = pytest.importorskip("anndata").AnnData(sp.csr_matrix(X) if sparse else X.copy())
        found.var_names = NAMES
        if part == "raw/X":
            found.raw = found.copy()
            found.X = found.X * 0
        elif part:
            found.layers["counts"] = found.X.copy()
            found.X = found.X * 0
        if backed:
            found.write_h5ad(folder / "cells.h5ad")
            found = pytest.importorskip("anndata").read_h5ad(folder / "cells.h5ad", backed="r")
        return found, part

    return made


class Own:
    """A source of one's own that knows the names of its columns."""

    chunks, dtype, column_names = None, np.dtype("f4"), NAMES

    def __init__(self, X):
        self.X, self.shape = X, X.shape

    def read(self, start, stop):
        return self.X[start:stop]

    def reopen(self):
        return self


KINDS = {
    "h5ad": h5ad(),
    "h5ad sparse": h5ad(sparse=True),
    "h5ad layer": h5ad(sparse=True, place="layers/counts"),
    "h5ad raw": h5ad(sparse=True, place="raw/X"),
    "h5ad records": records,
    "loom": loom,
    "10x": tenx,
    "zarr": in_zarr(),
    "zarr sparse": in_zarr(sparse=True),
    "prepared h5": prepared("h5"),
    "prepared zarr": prepared("zarr"),
    "files": several,
    "AnnData": anndata(),
    "AnnData sparse": anndata(sparse=True),
    "AnnData layer": anndata(sparse=True, part="layers/counts"),
    "AnnData raw": anndata(part="raw/X"),
    "AnnData backed": anndata(backed=True),
    "AnnData backed sparse": anndata(sparse=True, backed=True),
    "own": lambda X, folder: (Own(X), None),
}


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::FutureWarning:anndata")
def test_columns_are_those_that_are_named(tmp_path, kind, choice):
    X = cells()
    data, dataset = KINDS[kind](X, tmp_path)
    wanted, at = CHOICES[choice]
    with (
        open_source(data, dataset=dataset)
        if hasattr(data, "suffix")
        else _same(open_source(data, dataset=dataset)) as all
    ):
        assert names_of(all) == NAMES
        before = identity_of(all)
    source = open_source(data, dataset=dataset, columns=iter([wanted]) if isinstance(wanted, str) else wanted)
    assert source.shape == (N, len(at)) and names_of(source) == [NAMES[j] for j in at]
    np.testing.assert_array_equal(source.read(0, N), X[:, at])
    np.testing.assert_array_equal(source.read(7, 7), X[7:7, at])
    np.testing.assert_array_equal(np.concatenate([block for *_, block in iterate(source, rows=11)]), X[:, at])
    np.testing.assert_array_equal(take(source, np.array([1, 5, 41])), X[[1, 5, 41]][:, at])
    np.testing.assert_array_equal(source.reopen().read(3, 9), X[3:9, at])
    # Lined up with a fit that had them the other way round.
    turned = line_up(source, [NAMES[j] for j in reversed(at)])
    np.testing.assert_array_equal(turned.read(2, 50), X[2:50, at[::-1]])
    by_name = source.read_columns(4, 9)
    assert list(by_name) == [NAMES[j] for j in at]
    np.testing.assert_array_equal(np.stack(list(by_name.values()), axis=1), X[4:9, at])
    now = identity_of(source)
    assert now["columns"] == names_of(source)
    assert any(line.startswith("columns was") for line in differences(before, now)) == (
        before["columns"] != now["columns"]
    )
    if getattr(source, "opened_here", False):
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(source)).read(0, N), X[:, at])
    for wrong, told in ((["Cd8b"], "did you mean 'Cd8a'"), (["B*"], "has no column that fits")):
        with pytest.raises(ValueError, match=told):
            open_source(data, dataset=dataset, columns=wrong)


def _same(source):
    from contextlib import nullcontext

    return nullcontext(source)


@pytest.mark.parametrize("opener, made", [(open_hdf5, h5ad()), (open_zarr, in_zarr())], ids=["hdf5", "zarr"])
def test_the_openers_of_one_format_take_names_too(tmp_path, opener, made):
    X = cells()
    with opener(made(X, tmp_path)[0], columns=["Gapdh", "A*"]) as source:
        np.testing.assert_array_equal(source.read(0, N), X[:, [3, 0]])


def test_without_names_it_is_said(tmp_path):
    with h5py.File(tmp_path / "X.h5", "w") as file:
        file["X"] = cells()
    np.save(tmp_path / "X.npy", cells())
    for data, told in (
        (tmp_path / "X.h5", "dataset '/X' of .*X.h5 has no names for its columns, so columns=.'a'. cannot choose some"),
        (tmp_path / "X.npy", "X.npy has no names for its columns"),
        (cells(), "the columns of a ndarray have none"),
    ):
        with pytest.raises((ValueError, TypeError), match=told):
            open_source(data, columns=["a"])
    with h5py.File(tmp_path / "X.h5") as file, pytest.raises(ValueError, match="cannot choose some"):
        open_source(file["X"], columns=["a"])


def test_names_that_are_there_twice_are_refused_by_name(tmp_path):
    data = pytest.importorskip("anndata").AnnData(cells())
    data.var_names = ["a", "b", "a", "c", "d"]
    with pytest.raises(ValueError, match="has several columns 'a'"):
        open_source(data, columns=["c", "a"])
    np.testing.assert_array_equal(open_source(data, columns=["c", "b"]).read(0, N), cells()[:, [3, 1]])


class Counting(Own):
    """A table in chunks, which counts the rows that are read of it."""

    chunks, rows = (16, 5), 0

    def read(self, start, stop):
        assert start % 16 == 0, "a chunk is read in two parts"
        type(self).rows += stop - start
        return self.X[start:stop]


def test_nothing_is_read_twice():
    source = open_source(Counting(cells()), columns=["Cd*"])
    Counting.rows = 0
    for *_, block in iterate(source):
        assert block.shape[1] == 2
    assert Counting.rows == N


@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
def test_memory_is_that_of_the_chosen_columns_and_a_block(tmp_path, sparse):
    """A block of two columns has as many rows as thousands of whole ones take hundreds of megabytes for."""
    n, p = 4000, 20_000
    X = sp.random_array((n, p), density=2e-4, rng=np.random.default_rng(0), dtype=np.float32, format="csr")
    with h5py.File(tmp_path / "wide.h5ad", "w") as file:
        var = file.create_group("var")
        file.create_group("obs")
        var.attrs["_index"] = "gene"
        var["gene"] = [f"g{j}".encode() for j in range(p)]
        if sparse:
            group = file.create_group("X")
            group.attrs.update({"encoding-type": "csr_matrix", "shape": [n, p]})
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(X, name)
        else:
            # Never written, so that it takes no room on the disk; all are zeros.
            file.create_dataset("X", (n, p), np.float32)
    with open_source(tmp_path / "wide.h5ad", columns=["g7", "g19999"], allow_missing_chunks=True) as source:
        tracemalloc.start()
        try:
            rows = source.read(0, n)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    np.testing.assert_array_equal(rows, X[:, [7, 19_999]].toarray() if sparse else np.zeros((n, 2)))
    # All of it is 320 MB, and a block some 32.
    assert peak < 100e6


def test_categories_are_made_of_numbers_by_name(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "x.csv").write_text("a,k\n1.5,2\n2.5,0\n3.5,2\n")
    convert(tmp_path / "x.csv", tmp_path / "out")
    with open_source(tmp_path / "out" / "table.h5") as source:
        made = Preparation([OneHot(["k"])]).fit(source)
        assert [made.encoding.names, made.encoding.categories["k"].tolist()] == [("a", "k"), [0, 2]]
        np.testing.assert_array_equal(made.transform(source), [[1.5, 0, 1], [2.5, 1, 0], [3.5, 0, 1]])


@pytest.mark.parametrize("kind", ["h5", "zarr"])
@pytest.mark.parametrize("index", ["a group", "nothing", "no text"])
def test_variables_without_names_leave_the_columns_without(kind, index, tmp_path):
    """Some programs write something else where AnnData has the names: the table is there all the same."""
    if kind == "zarr":
        file = pytest.importorskip("zarr").open_group(str(tmp_path / "x.zarr"), mode="w")
    else:
        file = h5py.File(tmp_path / "x.h5", "w")
    make = file.create_array if kind == "zarr" else file.create_dataset
    make("X", data=cells())
    file.attrs["encoding-type"] = "anndata"
    file.create_group("obs")
    file.create_group("var").attrs["_index"] = {"a group": "inner", "nothing": "none", "no text": 3}[index]
    file.create_group("var/inner")
    if kind == "h5":
        file.close()
    with open_source(tmp_path / f"x.{kind}") as source:
        assert names_of(source) is None
        np.testing.assert_array_equal(source.read(0, N), cells())
    with pytest.raises(ValueError, match="has no names for its columns"):
        open_source(tmp_path / f"x.{kind}", columns=["Cd8a"])


def test_a_server_that_does_not_give_the_names_is_not_one_without(monkeypatch):
    zarr = pytest.importorskip("zarr")
    for error, wanted in ((KeyError("x"), {}), (OSError("x"), {}), (Unreached("the server answered 503"), None)):

        def opened(*arguments, error=error, **more):
            raise error

        monkeypatch.setattr(zarr, "open_group", opened)
        item = SimpleNamespace(store=None)
        if wanted is None:
            with pytest.raises(Unreached, match="503"):
                named._zarr_root(item)
        else:
            assert named._zarr_root(item) == wanted


class Wide:
    """A table whose rows are wider than half a block: cell (i, j) is i * 10 + j % 10, made where it is asked for."""

    shape, dtype, chunks, column_names = (7, 5_000_000), np.dtype("f4"), None, [*NAMES]

    def __init__(self):
        self.asked = []

    def read_some(self, start, stop, columns):
        self.asked.append((start, stop))
        return np.add.outer(np.arange(start, stop) * 10, columns % 10).astype(np.float32)

    def read(self, start, stop):
        raise AssertionError("all columns of wide rows are never read")

    read_with_gaps = read_some_with_names = read

    def reopen(self):
        return self


@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize("stop", range(8))
def test_some_columns_of_wide_rows_come_block_by_block(start, stop):
    """However many rows are asked for, those of a block at most are worked on together; none is lost."""
    order = np.array([4_999_999, 3, 3_000_007])
    table = named.LinedUp(Wide(), order, list("xyz"))
    stop = max(start, stop)
    found = table.read(start, stop)
    np.testing.assert_array_equal(found, np.add.outer(np.arange(start, stop) * 10.0, [9.0, 3.0, 7.0]))
    assert found.shape == (stop - start, 3) and table.shape == (7, 3) and table.row_bytes == 20_000_000
    assert [row for a, b in table.source.asked for row in range(a, b)] == list(range(start, stop))
    assert all(b - a <= 1 for a, b in table.source.asked)
    # Of these columns, some once more.
    picked = table.read_some(start, stop, np.array([2, 0]))
    np.testing.assert_array_equal(picked, found[:, [2, 0]])
    columns = table.read_columns(start, stop)
    assert list(columns) == list("xyz")
    np.testing.assert_array_equal(columns["y"], found[:, 1])
    assert repr(table).startswith("3 columns of <") and table.reopen().column_names == list("xyz")


@pytest.mark.parametrize("missing", [1, 10, 11, 30])
def test_names_that_are_missing_are_told_with_the_nearest(missing):
    """The nearest is one that the fit did not have; where there is none like it, the names that there are are told."""
    names = [f"gene{at:02}" for at in range(40)]
    lost = [*(f"zzz{at}" for at in range(missing)), *names[missing:]]
    shown = ", ".join(map(repr, names[: min(missing, 10)])) + (f" and {missing - 10} more" if missing > 10 else "")
    with pytest.raises(ValueError) as caught:
        named.order_of(lost, names, "this table")
    have = ", ".join(map(repr, lost[:10])) + " and 30 more"
    assert str(caught.value) == (
        f"this table lacks {missing} of the 40 feature names of the fit: {shown}; it has {have}"
    )
    with pytest.raises(ValueError, match=r"; is 'gene00' now 'gene_00'\?$"):
        named.order_of(["gene_00", *names[1:]], names, "this table")
    # A name of the fit that is there is no new name of another.
    with pytest.raises(ValueError, match=r"; it has 'gene01', "):
        named.order_of(names[1:], names, "this table")


def test_order_is_that_of_the_names_asked_for():
    own = ["d", "b", "a", "c"]
    assert named.order_of(own, own, "x").tolist() == [0, 1, 2, 3]
    assert named.order_of(own, ["a", "b"], "x").tolist() == [2, 1]
    assert named.order_of([], [], "x").tolist() == []
    # Where all are in the same order, it does not matter that some are there twice.
    assert named.order_of(["a", "a"], ["a", "a"], "x").tolist() == [0, 1]
    for have, wanted, words in ((["a", "b", "a"], ["b", "a"], "x has"), (["a", "b"], ["b", "a", "a"], "the fit has")):
        with pytest.raises(ValueError, match=rf"^{words} several columns of one name \('a'\), so columns in another"):
            named.order_of(have, wanted, "x")


@pytest.mark.parametrize("place", ["X", "raw/X", "layers/counts"])
def test_names_of_a_table_deep_in_a_file(tmp_path, place):
    """A file may hold several objects of AnnData, each with names of its own."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for home, names in {"": "vwxyz", "mod/rna": NAMES, "mod/atac": "ABCDE"}.items():
            group = file.require_group(home or "/")
            var = group.create_group("raw/var" if place == "raw/X" else "var")
            var.attrs["_index"] = "gene"
            var.create_dataset("gene", data=list(names), dtype=h5py.string_dtype())
            group.create_dataset(place, data=cells())
    for home, names in {"": [*"vwxyz"], "mod/rna": NAMES, "mod/atac": [*"ABCDE"]}.items():
        dataset = f"{home}/{place}".strip("/")
        with open_source(tmp_path / "x.h5", dataset=dataset) as source:
            assert names_of(source) == names
        with open_source(tmp_path / "x.h5", dataset=dataset, columns=names[3:0:-2]) as source:
            np.testing.assert_array_equal(source.read(0, N), cells()[:, [3, 1]])


FRAMES = {
    "pandas": lambda X, names: pytest.importorskip("pandas").DataFrame(X, columns=names),
    "polars": lambda X, names: pytest.importorskip("polars").DataFrame(dict(zip(names, X.T, strict=True))),
    "source": lambda X, names: open_source(pytest.importorskip("pandas").DataFrame(X, columns=names)),
    "array": lambda X, names: X,
}


def rows_of(table):
    rows = table.read(0, table.shape[0]) if hasattr(table, "read") else table
    return np.asarray(rows.to_numpy() if hasattr(rows, "to_numpy") else rows)


@pytest.mark.parametrize("kind", FRAMES)
def test_columns_are_put_in_the_order_of_the_fit(kind, recwarn):
    """Surplus columns are left out with a word, missing ones are an error; what has no names stays as it is."""
    own = ["c", "a", "extra", "b", "more"]
    X = np.arange(15.0).reshape(3, 5)
    table = FRAMES[kind](X, own)
    assert line_up(table, None) is table
    if kind == "array":
        assert line_up(table, ["a", "b", "c"]) is table and not recwarn
        return
    assert line_up(table, own) is table and not recwarn
    np.testing.assert_array_equal(rows_of(line_up(table, own[::-1])), X[:, ::-1])
    assert not recwarn
    found = line_up(table, ["a", "b", "c"], what="this table")
    np.testing.assert_array_equal(rows_of(found), X[:, [1, 3, 0]])
    assert names_of(found) == ["a", "b", "c"]
    (told,) = recwarn
    assert str(told.message) == (
        "this table has columns that the fit did not have, which are left out: 'extra', 'more'"
    )
    with pytest.raises(ValueError, match=r"^X lacks 1 of the 2 feature names of the fit: 'z'; it has 'c', 'a'"):
        line_up(table, ["a", "z"])


@pytest.mark.parametrize(
    "table, names",
    [
        # A reader may have an attribute of one of these names that means something else.
        (SimpleNamespace(shape=(3, 2), columns=["a", "b"]), None),
        (SimpleNamespace(shape=(3, 2), dtypes=["f4", "f4"]), None),
        (SimpleNamespace(shape=(3, 2), var_names=["a", "b"]), None),
        (SimpleNamespace(shape=(3, 2), obs_names=["a", "b"]), None),
        (SimpleNamespace(shape=(3, 2), column_names=lambda: ["a", "b"]), None),
        (SimpleNamespace(shape=(3, 2), column_names=None), None),
        (SimpleNamespace(shape=(3, 2), column_names=("a", 2)), ["a", "2"]),
        (SimpleNamespace(shape=(3, 2), columns=["a", "b"], dtypes=["f4", "f4"]), ["a", "b"]),
        (SimpleNamespace(shape=(3, 2), columns=[0, 1], dtypes=["f4", "f4"]), None),
        (SimpleNamespace(shape=(3, 0), columns=[], dtypes=[]), None),
        (SimpleNamespace(shape=(3, 2), var_names=("a", 7), obs_names=["x", "y", "z"]), ["a", "7"]),
        (np.ones((3, 2)), None),
    ],
)
def test_what_has_names_for_its_columns(table, names):
    assert names_of(table) == names


@pytest.mark.parametrize("columns", [["a", 1, 2], [0, "a", 2], [0, 1, "a"], ["a", "b", 2]])
def test_some_names_alone_are_refused(columns):
    word, other = (next(one for one in columns if isinstance(one, kind)) for kind in (str, int))
    with pytest.raises(TypeError) as caught:
        names_of(SimpleNamespace(columns=columns, dtypes=[None] * 3))
    assert str(caught.value) == (
        f"X has columns whose names are strings and others ({word!r}, {other!r}); make all of them strings: "
        "X.columns = X.columns.astype(str)"
    )


@pytest.mark.parametrize("count", [1, 9, 10, 11, 30])
def test_ten_names_are_told_and_how_many_more_there_are(count):
    names = [f"n{number}" for number in range(count)]
    told = ", ".join(repr(name) for name in names[:10]) + (f" and {count - 10} more" if count > 10 else "")
    assert named.names_listed(names) == told


@pytest.mark.parametrize("own, fit, told", [
    (["a", "b", "a"], ["b", "a"], r"^X has several columns of one name \('a'\), so columns in another order"),
    (["a", "b", "c"], ["b", "a", "b"], r"^the fit has several columns of one name \('b'\), so columns in another"),
    (["a", "a", "b", "b"], ["b", "a"], r"^X has several columns of one name \('b', 'a'\)"),
    (["gene1", "x"], ["gene2", "x"], r"^X lacks 1 of the 2 feature names of the fit: .*; is 'gene2' now 'gene1'\?$"),
    (["zzz", "x"], ["gene2", "x"], r"^X lacks 1 of the 2 feature names of the fit: 'gene2'; it has 'zzz', 'x'$"),
    # A name that the fit has too is not what another one is called now.
    (["gene1", "x"], ["gene2", "gene1"], r"lacks 1 of the 2 .*: 'gene2'; it has 'gene1', 'x'$"),
])  # fmt: skip
def test_names_that_do_not_go_together_are_told(own, fit, told):
    with pytest.raises(ValueError, match=told):
        named.order_of(own, fit, "X")


def test_names_that_occur_twice_are_no_matter_where_the_order_is_the_same():
    assert named.order_of(["a", "b", "a"], ("a", "b", "a"), "X").tolist() == [0, 1, 2]
    found = named.order_of(["c", "c", "a", "b"], ["b", "a"], "X")
    assert found.tolist() == [3, 2] and found.dtype == np.intp


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2"])
def test_a_row_of_some_columns_takes_as_long_to_read_as_a_whole_one(dtype):
    X = np.ones((9, 5), dtype)
    facts = {"shape": (9, 5), "dtype": X.dtype, "chunks": (4, 5), "column_names": list("abcde")}
    mine = SimpleNamespace(**facts, read=lambda start, stop: X[start:stop], reopen=lambda: None)
    source = open_source(mine, columns=["d", "b"])
    assert source.row_bytes == 5 * X.itemsize and source.chunks == (4, 2) and source.shape == (9, 2)
    assert named.LinedUp(source, np.array([1]), ["b"]).row_bytes == 5 * X.itemsize
    assert repr(source).startswith("2 columns of ") and not repr(
        named.LinedUp(source, np.array([1, 0]), ["b", "d"])
    ).startswith("2 columns of 2")
