"""Files whose layout means another table than their arrays show: what is read of them, and what is said of it."""

import base64
import pickle

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from tsne_ooc.io import iterate, line_up, names_of, open_source
from tsne_ooc.io.pandas_table import names_in

N, P = 40, 6


def numbers(n=N, p=P):
    return np.random.default_rng(0).normal(size=(n, p))


# Turned round: .loom and MATLAB


def loom(path, X, **attributes):
    with h5py.File(path, "w") as file:
        file["matrix"] = X.T
        file["layers/spliced"] = X.T + 1
        for group in ("row_attrs", "col_attrs"):
            file.create_group(group)
        file["col_attrs/X_pca"] = X[:, :2]
        file.attrs.update(attributes)
    return path


@pytest.mark.parametrize("attributes", [{}, {"LOOM_SPEC_VERSION": "3.0.0"}])
def test_rows_of_loom_are_cells(tmp_path, attributes):
    X = numbers()
    path = loom(tmp_path / "a.loom", X, **attributes)
    for dataset, wanted in ((None, X), ("/matrix", X), ("layers/spliced", X + 1), ("col_attrs/X_pca", X[:, :2])):
        with open_source(path, dataset=dataset) as source:
            np.testing.assert_array_equal(source.read(3, 21), wanted[3:21])
            turned = wanted.shape[1] == P
            assert source.remarks == ["rows are the cells, which .loom files store as columns"] * turned
    with pytest.raises(ValueError, match=r"no dataset 'spliced'; .*layers/spliced \(40, 6\), matrix \(40, 6\)"):
        open_source(path, dataset="spliced")


@pytest.mark.parametrize("lost", ["row_attrs", "col_attrs", "matrix"])
def test_half_a_loom_file_is_not_turned_round(tmp_path, lost):
    """A matrix beside a group of one of its names is anybody's."""
    X = numbers()
    path = loom(tmp_path / "a.h5", X)
    with h5py.File(path, "a") as file:
        del file[lost]
    with open_source(path, dataset="layers/spliced") as source:
        assert source.shape == (P, N)
        np.testing.assert_array_equal(source.read(0, P), (X + 1).T)


def test_an_open_dataset_is_as_its_owner_sees_it(tmp_path):
    X = numbers()
    path = loom(tmp_path / "a.loom", X)
    with h5py.File(path) as file:
        with open_source(file["matrix"]) as source:
            assert source.shape == (P, N)
            for again in (source, source.reopen(), pickle.loads(pickle.dumps(source))):
                np.testing.assert_array_equal(again.read(0, P), X.T)
            assert "would be turned round" in source.remarks[0]
        # Of a file the rows are those that it means.
        for source in (open_source(file), open_source(file, dataset="layers/spliced")):
            assert source.shape == (N, P)
            assert pickle.loads(pickle.dumps(source)).shape == (N, P)


def matlab(path, **arrays):
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, (values, kind) in arrays.items():
            file[name] = np.asarray(values).T
            file[name].attrs["MATLAB_class"] = np.bytes_(kind)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(116))
    return path


def test_rows_of_matlab_are_rows(tmp_path):
    X = numbers()
    path = matlab(tmp_path / "a.mat", X=(X, "double"), name=(np.array([[72, 105]], "u2"), "char"))
    with open_source(path) as source:
        np.testing.assert_array_equal(source.read(0, N), X)
        assert source.remarks == ["rows are the rows that MATLAB has, which HDF5 shows as columns"]
    path = matlab(tmp_path / "b.mat", X=(X, "double"), mask=(X > 0, "logical"))
    with pytest.raises(ValueError, match=r"has 2 tables, name the one to read: X \(40, 6\), mask \(40, 6\)"):
        open_source(path)


def test_sparse_matrices_of_matlab_and_its_older_files_are_refused(tmp_path):
    A = sp.random(N, P, 0.3, format="csc", random_state=0)
    path = matlab(tmp_path / "a.mat")
    with h5py.File(path, "r+") as file:
        for name, values in (("data", A.data), ("ir", A.indices), ("jc", A.indptr)):
            file[f"A/{name}"] = values
        file["A"].attrs["MATLAB_sparse"] = N
    for dataset in (None, "A"):
        with pytest.raises(ValueError, match=r"'/A' of .* is stored by columns \(CSC\), and rows cannot be read"):
            open_source(path, dataset=dataset)
    from scipy.io import savemat

    savemat(tmp_path / "old.mat", {"X": numbers()})
    with pytest.raises(OSError, match=r"old\.mat is not .*: save it from MATLAB in its newer format"):
        open_source(tmp_path / "old.mat")


# 10x Genomics


def tenx(path, A, **more):
    by_columns = sp.csc_matrix(A.T)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(by_columns, name)
        group["shape"], group["barcodes"] = np.array(by_columns.shape), [b"c"] * by_columns.shape[1]
        for name, values in more.items():
            group[f"features/{name}"] = values
    return path


@pytest.mark.parametrize("fill", [None, -99], ids=["whole", "missing"])
@pytest.mark.parametrize("scale, offset", [(1.0, 0.0), (0.01, 0.0), (1.0, 300.0), (0.5, -7.0)])
def test_what_is_done_to_packed_numbers_is_told(tmp_path, fill, scale, offset):
    stored = np.random.default_rng(0).integers(-90, 90, (N, P)).astype("i2")
    with h5py.File(tmp_path / "a.nc", "w") as file:
        file.attrs["_NCProperties"] = "version=2,netcdf=4.9"
        file["X"] = stored
        if fill is not None:
            file["X"][3, 1] = fill
            file["X"].attrs["_FillValue"] = np.int16(fill)
        file["X"].attrs["scale_factor"], file["X"].attrs["add_offset"] = scale, offset
    packed = (scale, offset) != (1.0, 0.0)
    told = [f"cells of {fill} are missing"] * (fill is not None)
    told += [f"numbers are unpacked: {scale:g} times what is stored, plus {offset:g}"] * packed
    with open_source(tmp_path / "a.nc", dataset="X") as source:
        assert source.remarks == told
        np.testing.assert_allclose(source.read(4, N), stored[4:] * scale + offset, rtol=1e-6)
        if fill is not None:
            with pytest.raises(ValueError, match="row 3, column 1"):
                list(iterate(source))


def test_rows_of_10x_are_cells(tmp_path):
    A = sp.random(N, P, 0.4, format="csr", random_state=0)
    kinds = [b"Gene Expression"] * 4 + [b"Antibody Capture"] * 2
    with open_source(tenx(tmp_path / "a.h5", A, id=[b"g"] * P, feature_type=kinds)) as source:
        np.testing.assert_array_equal(source.read(0, N), A.toarray())
        assert source.remarks == [
            "rows are the cells (barcodes) and columns the genes of a 10x matrix",
            "columns are of several kinds: 2 of Antibody Capture, 4 of Gene Expression",
        ]
    # Without a list of genes it may be anything.
    with pytest.raises(ValueError, match="has no two-dimensional numeric dataset; it has matrix/barcodes"):
        open_source(tenx(tmp_path / "b.h5", A))


def test_10x_whose_shape_is_not_turned_is_damaged(tmp_path):
    A = sp.random(N, P, 0.4, format="csr", random_state=0)
    path = tenx(tmp_path / "a.h5", A, id=[b"g"] * P)
    with h5py.File(path, "a") as file:
        file["matrix/shape"][:] = [N, P]
    with pytest.raises(ValueError, match=r"damaged CSR matrix: \(41,\) row pointers for 6 rows"):
        open_source(path)


# Names of genes


def named_loom(folder, X, name):
    path = loom(folder / "a.loom", X)
    with h5py.File(path, "a") as file:
        file[f"row_attrs/{name}"] = [f"g{j}".encode() for j in range(X.shape[1])]
    return path


def tenx_2(folder, X):
    path = tenx(folder / "a.h5", sp.csr_matrix(X))
    with h5py.File(path, "a") as file:
        file["matrix/genes"] = [f"g{j}".encode() for j in range(X.shape[1])]
    return path


@pytest.mark.parametrize(
    "make",
    [
        lambda folder, X: named_loom(folder, X, "Gene"),
        lambda folder, X: named_loom(folder, X, "Accession"),
        lambda folder, X: tenx(folder / "a.h5", sp.csr_matrix(X), id=[f"g{j}".encode() for j in range(X.shape[1])]),
        tenx_2,
    ],
    ids=["loom", "loom with accessions", "10x", "10x of version 2"],
)
@pytest.mark.parametrize("shape", [(N, P), (P, P)])
def test_genes_have_names_and_are_put_in_order(tmp_path, make, shape):
    X = numbers(*shape)
    with open_source(make(tmp_path, X)) as source:
        assert names_of(source) == [f"g{j}" for j in range(P)]
        wanted = [4, 0, 2, 5, 1, 3]
        lined_up = line_up(source, [f"g{j}" for j in wanted])
        np.testing.assert_array_equal(lined_up.read(0, len(X)), X[:, wanted])
    with h5py.File(tmp_path / next(tmp_path.iterdir()).name) as file:
        # Whose rows are not turned round, its columns are no genes.
        if "row_attrs" in file:
            assert names_of(open_source(file["matrix"])) is None


# pandas


def pandas_table(path, columns, *, notes=True, pandas_type="frame_table", levels=()):
    """`columns` are (field, names, array of type (n,) or (n, p))."""
    kind = [(field, values.dtype, values.shape[1:]) for field, _, values in columns]
    rows = np.zeros(len(columns[0][2]), kind)
    for field, _, values in columns:
        rows[field] = values
    with h5py.File(path, "w") as file:
        group = file.create_group("df")
        group.attrs["pandas_type"] = np.bytes_(pandas_type)
        if levels:
            group.attrs["levels"] = np.bytes_(pickle.dumps(list(levels), 0))
        table = group.create_dataset("table", data=rows)
        for field, names, _ in columns if notes else ():
            table.attrs[f"{field}_kind"] = np.bytes_(pickle.dumps(names, 0) if names else b"integer")
    return path


def blocks(X, texts):
    return [
        ("index", None, np.arange(N)[::-1] * 1000),
        ("values_block_0", ["a", "b", "c", "d"], X[:, :4]),
        ("values_block_1", ["e", "f"], X[:, 4:].astype("f4")),
        ("values_block_2", ["word"], texts[:, None]),
    ]


def test_blocks_of_a_pandas_table_are_columns(tmp_path):
    X, texts = numbers(), np.array([f"w{i}".encode() for i in range(N)])
    with open_source(pandas_table(tmp_path / "x.h5", blocks(X, texts))) as source:
        assert source.column_names == list("abcdef")
        np.testing.assert_allclose(source.read(0, N), X, rtol=1e-6)
        assert source.unread == {"index": "an index", "word": "of type text"}
        assert source.left_out == ["index", "word"]
    with open_source(tmp_path / "x.h5", columns=["f", "a", "word"]) as source:
        columns = source.read_columns(5, 8)
        assert columns["word"].tolist() == ["w5", "w6", "w7"]
        np.testing.assert_array_equal(columns["a"], X[5:8, 0])
        np.testing.assert_array_equal(columns["f"], X[5:8, 5].astype("f4"))
    with open_source(tmp_path / "x.h5", columns="*") as source:
        assert source.column_names == [*"abcdef", "word"] and source.unread == {"index": "an index"}
        assert source.left_out == []
    with open_source(tmp_path / "x.h5", columns=["index", "a"]) as source:
        assert source.read(0, 2)[:, 0].tolist() == [39000, 38000]


def test_a_pandas_table_whose_notes_are_lost_or_forged(tmp_path):
    X, texts = numbers(), np.array([b"w"] * N)
    path = pandas_table(tmp_path / "x.h5", blocks(X, texts), notes=False)
    with open_source(path) as source:
        assert source.column_names == [
            *(f"values_block_0_{i}" for i in range(4)),
            "values_block_1_0",
            "values_block_1_1",
        ]
        np.testing.assert_allclose(source.read(0, N), X, rtol=1e-6)
    for forged in (
        b"",
        b"(lp0\nVa\n",
        b"cos\nsystem\n(S'true'\ntR.",
        pickle.dumps(["a", "a", "b", "c"], 0),
        b"\x80\xff",
    ):
        with h5py.File(path, "a") as file:
            file["df/table"].attrs["values_block_0_kind"] = np.bytes_(forged)
        with open_source(path) as source:
            assert source.column_names[0] == "values_block_0_0" and source.shape == (N, P)


def test_data_columns_and_levels_of_a_pandas_table(tmp_path):
    X = numbers()
    made = [
        ("index", None, np.arange(N)),
        ("plate", ["plate"], np.arange(N) // 4),
        ("a", ["a"], X[:, 0]),
        ("values_block_0", [7, 8], X[:, 1:3]),
        ("values_block_1", ["b"], X[:, 3]),
    ]
    with open_source(pandas_table(tmp_path / "x.h5", made, levels=["plate"])) as source:
        assert source.column_names == ["a", "7", "8", "b"]
        np.testing.assert_array_equal(source.read(0, N), X[:, :4])


def test_records_that_pandas_did_not_write_keep_their_index(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["rows"] = np.zeros(5, [("index", "i8"), ("a", "f4")])
    assert open_source(tmp_path / "x.h5").column_names == ["index", "a"]


class Evil:
    def __reduce__(self):
        return print, ("ran",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_names_are_read_without_unpickling(protocol, capsys):
    assert names_in(pickle.dumps(["a", "long" * 100, "ä", 7, 70_000], protocol)) == [
        "a",
        "long" * 100,
        "ä",
        "7",
        "70000",
    ]
    assert names_in(pickle.dumps(["a", Evil()], protocol)) == []
    assert names_in(pickle.dumps(1.5, protocol)) == names_in(None) == names_in(np.bytes_(b"nonsense")) == []
    assert capsys.readouterr().out == ""


# Data frames of AnnData


@pytest.fixture(params=["h5ad", "zarr"])
def stored(request, tmp_path):
    anndata = pytest.importorskip("anndata")
    cells = anndata.AnnData(numbers().astype("f4"))
    cells.obs["depth"] = np.arange(N)
    cells.obs["kind"] = pd.Categorical([["x", "y", None][i % 3] for i in range(N)])
    cells.obs["flag"] = pd.array([[True, None][i % 2] for i in range(N)], dtype="boolean")
    frame = {"u": numbers()[:, 0], "v": np.arange(N, dtype="i4"), "w": [f"w{i}" for i in range(N)]}
    cells.obsm["frame"] = pd.DataFrame(frame, index=cells.obs_names)
    cells.obsm["gaps"] = pd.DataFrame({"a": pd.array([None if i == 33 else i for i in range(N)], dtype="Int64")},
                                      index=cells.obs_names)  # fmt: skip
    path = tmp_path / f"cells.{request.param}"
    import warnings

    with warnings.catch_warnings():
        # anndata tells of a change of its default format.
        warnings.simplefilter("ignore")
        (cells.write_h5ad if request.param == "h5ad" else cells.write_zarr)(path)
    return path


def test_a_stored_frame_is_a_table_with_names(stored):
    with open_source(stored, dataset="obsm/frame") as source:
        assert source.column_names == ["u", "v"] and list(source.unread) == ["w"]
        np.testing.assert_array_equal(source.read(0, N), np.c_[numbers()[:, 0], np.arange(N)])
    with open_source(stored, dataset="obsm/frame", columns=["w", "v"]) as source:
        assert {name: column.tolist() for name, column in source.read_columns(3, 5).items()} == {
            "w": ["w3", "w4"], "v": [3, 4],
        }  # fmt: skip
        with pytest.raises(TypeError, match="column 'w' does not hold numbers"):
            source.read(0, 2)
        assert pickle.loads(pickle.dumps(source)).column_names == ["w", "v"]
    with open_source(stored, dataset="obs", columns=["kind", "depth", "flag"]) as source:
        columns = source.read_columns(0, 4)
        assert columns["kind"].tolist() == ["x", "y", None, "x"] and columns["depth"].tolist() == [0, 1, 2, 3]
        assert columns["flag"].tolist() == [True, None, True, None]
    with pytest.raises(ValueError, match="no such column: columns='z' is not known"):
        open_source(stored, dataset="obsm/frame", columns="z")
    # The columns of `X` have names of their own, and those of an array in `obsm` have none.
    with pytest.raises(ValueError, match="no such column: columns='u' is not known"):
        open_source(stored, columns="u")


def test_missing_numbers_of_a_stored_frame_are_refused(stored):
    with open_source(stored, dataset="obsm/gaps") as source:
        assert source.read(0, 33)[:, 0].tolist() == list(range(33))
        with pytest.raises(ValueError, match="NaN at row 33, column 0"):
            list(iterate(source, rows=8))


def test_a_damaged_frame_is_named(tmp_path):
    anndata = pytest.importorskip("anndata")
    cells = anndata.AnnData(numbers().astype("f4"))
    cells.obsm["frame"] = pd.DataFrame({"u": numbers()[:, 0], "v": 1.0}, index=cells.obs_names)
    cells.write_h5ad(tmp_path / "x.h5ad")
    with h5py.File(tmp_path / "x.h5ad", "a") as file:
        del file["obsm/frame/v"]
        file["obsm/frame/v"] = np.zeros(7)
    with pytest.raises(ValueError, match="is a damaged data frame: column 'v' has 7 of 40 rows"):
        open_source(tmp_path / "x.h5ad", dataset="obsm/frame")
    with h5py.File(tmp_path / "x.h5ad", "a") as file:
        del file["obsm/frame/v"]
    with pytest.raises(ValueError, match="is a damaged data frame: it has no v"):
        open_source(tmp_path / "x.h5ad", dataset="obsm/frame")


# netCDF and xarray


@pytest.mark.parametrize(
    "kind, attributes, fill, missing",
    [
        ("f4", {"_FillValue": np.array([-999], "f4")}, 0, -999),
        ("f4", {"missing_value": -999.0}, 0, -999),
        ("f8", {"missing_value": [-1.0, -2.0]}, 0, -2),
        ("f4", {}, 9.969209968386869e36, 9.969209968386869e36),
        ("i2", {"_FillValue": np.array([-7], "i2")}, 0, -7),
        ("f8", {}, 9.969209968386869e36, 9.969209968386869e36),
        ("i2", {}, -32767, -32767),
        ("u2", {}, 65535, 65535),
        ("i4", {}, -2147483647, -2147483647),
        ("u4", {}, 4294967295, 4294967295),
        ("i8", {}, -9223372036854775806, -9223372036854775806),
        ("u8", {}, 18446744073709551614, 18446744073709551614),
        ("u1", {"_FillValue": np.array([255], "u1")}, 0, 255),
    ],
)
def test_cells_without_a_value_in_netcdf_are_masked(tmp_path, kind, attributes, fill, missing):
    X = np.arange(N * P).reshape(N, P).astype(kind)
    with h5py.File(tmp_path / "x.nc", "w") as file:
        file.attrs["_NCProperties"] = "version=2"
        made = file.create_dataset("x", data=X, fillvalue=np.array(fill, kind))
        made.attrs.update(attributes)
        made[31, 4] = missing
        with open_source(file["x"]) as source:
            assert source.remarks and np.array_equal(source.read(0, 31), X[:31])
            with pytest.raises(ValueError, match=r"masked cells .*, the first at row 31, column 4"):
                list(iterate(source))


@pytest.mark.parametrize("kind, fill, value", [("f4", 0, 0), ("i4", 0, 0), ("u1", 255, 255), ("i1", -127, -127)])
def test_what_may_be_meant_is_a_number(tmp_path, kind, fill, value):
    with h5py.File(tmp_path / "x.nc", "w") as file:
        file.attrs["_NCProperties"] = "version=2"
        made = file.create_dataset("x", (N, P), kind, fillvalue=np.array(fill, kind))
        made[:] = value
        np.testing.assert_array_equal(open_source(made).read(0, N), np.full((N, P), value, kind))


def test_packed_numbers_of_netcdf_are_unpacked_and_no_others(tmp_path):
    X = np.random.default_rng(0).integers(-1000, 1000, (N, P))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        made = file.create_dataset("x", data=X.astype("i2"))
        made.attrs.update({"scale_factor": np.array([0.25]), "add_offset": np.array([10.0]), "_FillValue": -32000})
        made[5, 5] = -32000
        plain = open_source(made)
        assert plain.dtype == np.int16 and np.array_equal(plain.read(0, 5), X[:5])
        file.attrs["_NCProperties"] = "version=2"
        source = open_source(made)
        np.testing.assert_array_equal(source.read(0, 5), X[:5] * 0.25 + 10)
        assert source.dtype == np.float64
        for table in (plain, source):
            with pytest.raises(ValueError, match="the first at row 5, column 5"):
                list(iterate(table))


@pytest.mark.parametrize("mark", [-999.0, base64.b64encode(np.array(-999, "<f4").tobytes()).decode()])
def test_fill_values_of_zarr_as_xarray_writes_them(tmp_path, mark):
    zarr = pytest.importorskip("zarr")
    made = zarr.create_array(tmp_path / "x.zarr", shape=(N, P), chunks=(7, P), dtype="f4")
    made[:] = numbers()
    made.attrs["_FillValue"] = mark
    made[31, 4] = -999
    source = open_source(tmp_path / "x.zarr")
    assert source.remarks == ["cells of -999.0 are missing"]
    for rows in (5, 30, 100):
        with pytest.raises(ValueError, match=r"masked cells .*, the first at row 31, column 4"):
            list(iterate(source, rows=rows))
    np.testing.assert_array_equal(source.read(0, 31), numbers()[:31].astype("f4"))


def test_a_field_of_several_axes_is_no_column(tmp_path):
    """pandas writes none; another program may, into a file of pandas'."""
    rows = np.zeros(5, [("index", "i8"), ("a", "f4"), ("image", "f4", (2, 3))])
    with h5py.File(tmp_path / "x.h5", "w") as file:
        group = file.create_group("df")
        group.attrs["pandas_type"] = np.bytes_(b"frame_table")
        group.create_dataset("table", data=rows)
    with open_source(tmp_path / "x.h5") as source:
        assert source.column_names == ["a"] and source.read(0, 5).shape == (5, 1)
        assert source.left_out == ["index", "image"]


@pytest.mark.parametrize("kind", ["i2", "u1", "f4", "f8"])
def test_numbers_that_are_only_marked_stay_what_they_are(tmp_path, kind):
    """Nothing is packed, so nothing is multiplied: the type is that of the file, with and without a missing cell."""
    X = np.arange(12).reshape(4, 3).astype(kind)
    with h5py.File(tmp_path / "x.nc", "w") as file:
        file.attrs["_NCProperties"] = "version=2"
        file["X"] = X
        file["X"].attrs["missing_value"] = np.array([7, 200.0])
    with open_source(tmp_path / "x.nc") as source:
        assert source.dtype == np.dtype(kind)
        whole, gap = source.read(0, 2), source.read(2, 3)
    assert type(whole) is np.ndarray and whole.dtype == np.dtype(kind) and whole.tolist() == X[:2].tolist()
    assert gap.dtype == np.dtype(kind) and gap.mask.tolist() == [[False, True, False]]


@pytest.mark.parametrize("scale, offset", [(0.5, None), (None, 10.0), (2.0, -1.0)])
def test_packed_numbers_are_told_in_words(tmp_path, scale, offset):
    with h5py.File(tmp_path / "x.nc", "w") as file:
        file.attrs["_NCProperties"] = "version=2"
        file["X"] = np.arange(12, dtype="i2").reshape(4, 3)
        for name, value in (("scale_factor", scale), ("add_offset", offset)):
            if value is not None:
                file["X"].attrs[name] = value
        file["X"].attrs["_FillValue"] = np.int16(5)
    scale, offset = scale or 1.0, offset or 0.0
    with open_source(tmp_path / "x.nc") as source:
        assert source.dtype == np.float64
        assert source.remarks == [
            "cells of 5 are missing", f"numbers are unpacked: {scale:g} times what is stored, plus {offset:g}",
        ]  # fmt: skip
        np.testing.assert_array_equal(source.read(0, 1), [[offset, scale + offset, 2 * scale + offset]])
        # It is what is stored that marks a gap, not what it stands for.
        assert np.ma.getmaskarray(source.read(0, 4)).ravel().tolist() == [at == 5 for at in range(12)]


@pytest.mark.parametrize("kind", ["hdf5", "zarr"])
def test_a_stored_frame_without_columns(tmp_path, kind):
    """It says so, whether its list of columns is empty or is not there."""
    zarr = pytest.importorskip("zarr")
    for at, order in enumerate(([], None)):
        path = tmp_path / f"{at}.{'h5' if kind == 'hdf5' else 'zarr'}"
        root = h5py.File(path, "w") if kind == "hdf5" else zarr.create_group(path)
        frame = root.create_group("frame")
        frame.attrs.update({"encoding-type": "dataframe", "_index": "i"})
        if order is not None:
            frame.attrs["column-order"] = order
        (frame.create_dataset if kind == "hdf5" else frame.create_array)("i", data=np.arange(5))
        if kind == "hdf5":
            root.close()
        with pytest.raises(ValueError, match="no column"):
            open_source(path, dataset="frame")


def test_fields_of_a_pandas_table_that_are_no_numbers_are_told_by_their_types(tmp_path):
    rows = np.zeros(5, [("index", "i8"), ("a", "f4"), ("z", "c8"), ("s", "S3"), ("v", "V2")])
    with h5py.File(tmp_path / "x.h5", "w") as file:
        group = file.create_group("df")
        group.attrs["pandas_type"] = np.bytes_(b"frame_table")
        group.create_dataset("table", data=rows)
    with open_source(tmp_path / "x.h5") as source:
        assert source.column_names == ["a"]
        assert source.unread == {
            "index": "an index", "z": "of type complex64", "s": "of type text", "v": "of type |V2",
        }  # fmt: skip


@pytest.mark.parametrize("chunk", [None, 7])
def test_a_wide_field_of_records_is_a_table(tmp_path, chunk):
    """As AnnData stored obsm before its version 0.7; a piece of storage holds rows of all fields."""
    rows = np.zeros(20, [("index", "S3"), ("X_pca", "f4", (5,)), ("one", "f8")])
    rows["X_pca"] = np.arange(100).reshape(20, 5)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("obsm", data=rows, chunks=None if chunk is None else (chunk,))
    with open_source(tmp_path / "x.h5", dataset="obsm/X_pca") as source:
        assert source.shape == (20, 5) and source.dtype == np.float32 and source.name == "/obsm/X_pca"
        assert source.chunks == (None if chunk is None else (7, 5))
        np.testing.assert_array_equal(source.read(3, 9), rows["X_pca"][3:9])
        with source.reopen() as again:
            np.testing.assert_array_equal(again.read(0, 20), rows["X_pca"])
    for name in ("obsm/one", "obsm/index", "obsm/none"):
        with pytest.raises(ValueError, match=f"has no dataset '{name}'"):
            open_source(tmp_path / "x.h5", dataset=name)


@pytest.mark.parametrize("kinds", [None, [b"Gene Expression"] * P])
def test_genes_of_one_kind_need_no_remark(tmp_path, kinds):
    A = sp.random(N, P, 0.4, format="csr", random_state=0)
    more = {} if kinds is None else {"feature_type": kinds}
    with open_source(tenx(tmp_path / "a.h5", A, id=[b"g"] * P, **more)) as source:
        assert source.remarks == ["rows are the cells (barcodes) and columns the genes of a 10x matrix"]
        assert source.shape == (N, P) and source.dtype == np.float64


@pytest.mark.parametrize("scale, offset", [(0.5, 3.0), (1.0, 3.0), (0.5, 0.0)])
def test_packed_numbers_of_which_none_is_missing(tmp_path, scale, offset):
    with h5py.File(tmp_path / "x.nc", "w") as file:
        file.attrs["_NCProperties"] = "version=2"
        file["X"] = np.arange(12, dtype="i2").reshape(4, 3)
        file["X"].attrs.update({"scale_factor": scale, "add_offset": offset})
    with open_source(tmp_path / "x.nc") as source:
        found = source.read(0, 4)
        assert source.remarks == [f"numbers are unpacked: {scale:g} times what is stored, plus {offset:g}"]
    assert type(found) is np.ndarray and found.dtype == np.float64
    np.testing.assert_array_equal(found, np.arange(12.0).reshape(4, 3) * scale + offset)
