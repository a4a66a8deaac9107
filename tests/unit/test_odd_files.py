"""Files that are whole and yet odd: types and filters that are not to be had, data frames, zips of folders."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr

from tsne_ooc import look
from tsne_ooc.io import names_of, open_source
from tsne_ooc.io.failures import opening
from tsne_ooc.io.frames import StoredFrame
from tsne_ooc.io.prepared import how_prepared

anndata = pytest.importorskip("anndata")

X = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)


def read(*arguments, **options):
    with open_source(*arguments, **options) as table:
        return np.asarray(table.read(0, table.shape[0]))


@pytest.mark.parametrize("size", [(40,), (40, 3)])
@pytest.mark.parametrize("kind", ["time", "opaque", "bitfield", "vlen", "array", "reference"])
def test_a_dataset_of_an_odd_type_is_not_in_the_way(tmp_path, kind, size):
    kinds = {
        "time": h5py.h5t.UNIX_D32LE,
        "opaque": h5py.h5t.create(h5py.h5t.OPAQUE, 3),
        "bitfield": h5py.h5t.STD_B8LE,
        "vlen": h5py.h5t.vlen_create(h5py.h5t.IEEE_F32LE),
        "array": h5py.h5t.array_create(h5py.h5t.IEEE_F32LE, (2,)),
        "reference": h5py.h5t.STD_REF_OBJ,
    }
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file["X"] = X
        h5py.h5d.create(file.id, b"odd", kinds[kind], h5py.h5s.create_simple(size))
    assert np.array_equal(read(path, dataset="X"), X)
    assert [(held.name, held.shape) for held in look(path).holds] == [("X", (40, 4)), ("odd", size)]
    with pytest.raises(ValueError, match=r"has no dataset 'x'; did you mean 'X'\?"):
        open_source(path, dataset="x")
    if kind != "bitfield" or len(size) == 1:
        assert np.array_equal(read(path), X)
        with pytest.raises((ValueError, OSError), match="odd"):
            read(path, dataset="odd")


def packed(path, code):
    """A dataset whose chunks are packed by a filter of this number."""
    with h5py.File(path, "w") as file:
        options = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        options.set_chunk((20, 4))
        options.set_filter(code, h5py.h5z.FLAG_OPTIONAL, (2, 2, 4, 800))
        made = h5py.h5d.create(
            file.id, b"X", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((40, 4)), dcpl=options
        )  # fmt: skip
        for i in range(2):
            made.write_direct_chunk((20 * i, 0), X[20 * i : 20 * i + 20].tobytes(), 0)


def test_a_filter_that_is_missing_is_named_before_anything_is_read(tmp_path):
    packed(tmp_path / "b.h5", 31999)
    with pytest.raises(OSError, match=r"'/X' of .*b\.h5 is packed by filter 31999, .* pip install hdf5plugin"):
        open_source(tmp_path / "b.h5")


def test_a_codec_that_is_missing_is_named(tmp_path):
    path = tmp_path / "x.zarr"
    zarr.create_array(path, data=X, chunks=(20, 4))
    content = json.loads((path / "zarr.json").read_text())
    content["codecs"][-1]["name"] = "jpegxl"
    (path / "zarr.json").write_text(json.dumps(content))
    with pytest.raises(OSError, match=r"x\.zarr is packed by a codec that is not installed \(.*jpegxl"):
        open_source(path)


def test_a_zip_of_the_folder_is_what_is_in_the_folder(tmp_path):
    zarr.create_array(tmp_path / "x.zarr", data=X, chunks=(20, 4))
    files = [file for file in sorted((tmp_path / "x.zarr").rglob("*")) if file.is_file()]
    for name, home in (("within.zip", tmp_path / "x.zarr"), ("around.zip", tmp_path)):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for file in files:
                archive.write(file, file.relative_to(home))
    for name in ("within.zip", "around.zip"):
        assert np.array_equal(read(tmp_path / name), X)


@pytest.fixture
def cells(tmp_path):
    names = [f"c{i}" for i in range(40)]
    frame = pd.DataFrame(
        {
            "u": X[:, 0],
            "word": ["a", "b"] * 20,
            "count": pd.array([None, *range(39)], "Int64"),
            "kind": pd.Categorical(["x", "y"] * 20),
            "whole": np.arange(40),
        },
        index=names,
    )
    made = anndata.AnnData(X.copy(), obs=pd.DataFrame({"depth": X[:, 1].astype(float)}, index=names))
    made.obsm["frame"] = frame
    made.obsm["words"] = frame[["word", "kind"]]
    with warnings.catch_warnings():
        # That the default format of Zarr is going to change.
        warnings.simplefilter("ignore")
        made.write_h5ad(tmp_path / "a.h5ad")
        made.write_zarr(tmp_path / "a.zarr")
    return tmp_path


@pytest.mark.parametrize("name", ["a.h5ad", "a.zarr"])
def test_data_frames_in_obsm(cells, name):
    with open_source(cells / name, dataset="obsm/frame") as table:
        assert table.column_names == ["u", "count", "whole"] and table.left_out == ["word", "kind"]
        with table.reopen() as again:
            for start, stop in ((0, 40), (7, 8), (39, 40), (5, 5)):
                wanted = np.stack([X[:, 0], np.append(np.nan, np.arange(39)), np.arange(40)], axis=1)[start:stop]
                np.testing.assert_array_equal(again.read(start, stop), wanted)
    assert np.array_equal(read(cells / name, dataset="obs")[:, 0], X[:, 1].astype(float))
    with pytest.raises(ValueError, match=r"obsm/words.*has no column of numbers; it has word, kind"):
        open_source(cells / name, dataset="obsm/words")


def test_an_anndata_without_x_does_not_offer_it(tmp_path):
    names = [f"c{i}" for i in range(40)]
    made = anndata.AnnData(obs=pd.DataFrame(index=names), obsm={"X_pca": X[:, :2]})
    with pytest.raises(ValueError, match=r"has no table 'X'; it has obsm/X_pca$"):
        open_source(made)


def test_a_part_that_is_a_link_to_itself(tmp_path):
    pd.DataFrame({"a": [1.0, 2], "b": [3.0, 4]}).to_parquet(tmp_path / "part-0.parquet")
    (tmp_path / "part-1.parquet").symlink_to("part-1.parquet")
    with pytest.raises(OSError, match=r"part-1\.parquet"):
        open_source(tmp_path)


@pytest.mark.parametrize("name", ["../X", "a/../X", "nothing/..", "a//b", "..", "X/more"])
@pytest.mark.parametrize("kind", ["zarr", "h5"])
def test_a_name_that_nothing_can_have_is_not_in_the_file(tmp_path, kind, name):
    """Some of them make Zarr raise an error of its own: the file is not damaged for all that."""
    path = tmp_path / f"x.{kind}"
    if kind == "zarr":
        zarr.open_group(path, mode="w").create_array("a/X", data=X)
    else:
        with h5py.File(path, "w") as file:
            file["a/X"] = X
    with pytest.raises(ValueError, match=rf"x\.{kind} has no dataset '{name}'.* it has a/X \(40, 4\)$"):
        open_source(path, dataset=name)


@pytest.mark.parametrize("kind", ["zarr", "h5", "h5 of whole numbers"])
def test_pairs_of_a_real_and_an_imaginary_part_are_complex_numbers(tmp_path, kind):
    """HDF5 and Zarr have records for them; such records are no compound table with columns r and i."""
    pairs = np.zeros((40, 4), [(part, "i4" if "whole" in kind else "f4") for part in "ri"])
    path = tmp_path / f"x.{kind[:4].strip()}"
    with warnings.catch_warnings():
        # That there is no standard of Zarr for records yet.
        warnings.simplefilter("ignore")
        if kind == "zarr":
            zarr.create_array(path, data=pairs)
        else:
            with h5py.File(path, "w") as file:
                file["w"] = pairs
        with pytest.raises(ValueError, match=rf"^Complex data not supported: .*x\.{path.suffix[1:]} has type"):
            open_source(path, dataset=None if kind == "zarr" else "w")


@pytest.mark.parametrize("mark", ["not base64!", "abc", [[1], [1, 2]], ["a", "b"], {"a": 1}, None, []], ids=repr)
@pytest.mark.parametrize("name", ["_FillValue", "missing_value"])
def test_what_cannot_mark_a_missing_cell_marks_none(tmp_path, name, mark):
    made = zarr.create_array(tmp_path / "x.zarr", data=X, chunks=(20, 4))
    made.attrs[name] = mark
    with open_source(tmp_path / "x.zarr") as table:
        assert table.remarks == []
    np.testing.assert_array_equal(read(tmp_path / "x.zarr"), X)


def a_column(frame, name, **parts):
    made = frame.create_group(name)
    for part, values in parts.items():
        made[part] = values
    return made


@pytest.fixture
def words(tmp_path):
    """A data frame with words of which some are missing, and a column of a kind that nobody knows yet."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        frame = file.create_group("frame")
        frame.attrs.update({"encoding-type": "dataframe", "_index": "_index", "column-order": ["a", "word", "odd"]})
        frame["a"], frame["_index"] = X[:, 0], np.arange(40)
        words = np.array(["", "one", "two", "three"], object)[np.arange(40) % 4]
        a_column(frame, "word", values=words.astype("S"), mask=np.arange(40) % 4 == 0)
        odd = a_column(frame, "odd", starts=np.arange(40), values=np.arange(40))
        odd.attrs["encoding-type"] = "runs-of-lengths"
    return tmp_path / "x.h5"


def test_words_that_are_missing_are_none(words):
    with open_source(words, dataset="frame", columns=["a"]) as table:
        assert table.read(0, 40).tobytes() == X[:, :1].tobytes()
    with h5py.File(words) as file:
        found = StoredFrame(file["frame"], "here").fetch(["word"], 3, 9)["word"]
    assert found.tolist() == ["three", None, "one", "two", "three", None]


def test_a_column_of_a_kind_that_is_not_known_is_named(words):
    """It is left out of the table; where it is asked for by its name, the name and the kind are told."""
    with open_source(words, dataset="frame") as table:
        assert table.left_out == ["word", "odd"] and table.column_names == ["a"]
    with (
        h5py.File(words) as file,
        pytest.raises(ValueError, match=r"^column '/frame/odd' is of a kind that is not known: 'runs-of-lengths'$"),
    ):
        StoredFrame(file["frame"], "here").fetch(["odd"], 3, 9)


@pytest.mark.parametrize("helps", [True, False])
def test_a_package_of_filters_is_loaded_where_it_is_installed(tmp_path, monkeypatch, helps):
    """To import it registers its filters; a filter that it lacks is named as before."""
    packed(tmp_path / "b.h5", 31999)
    (tmp_path / "hdf5plugin.py").write_text(f"import h5py\nh5py.h5z.filter_avail = lambda code: {helps}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "hdf5plugin", raising=False)
    # What the package changes is put back at the end.
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: False)
    if helps:
        with open_source(tmp_path / "b.h5") as table:
            assert table.shape == X.shape
    else:
        with pytest.raises(OSError, match=r"packed by filter 31999, .* pip install hdf5plugin"):
            open_source(tmp_path / "b.h5")
    assert "hdf5plugin" in sys.modules
    monkeypatch.delitem(sys.modules, "hdf5plugin")


@pytest.mark.parametrize("name, when", [
    ("x.npy", "first"), ("x.h5", "first"), ("x.parquet", "first"), ("x.zip", "first"), ("x.csv", "first"),
    ("x.h5", "later"),
])  # fmt: skip
def test_a_file_that_may_not_be_read_is_named(name, when, tmp_path, monkeypatch):
    """The first look at a file tells its kind; rights may also be taken away between that and the reading."""
    np.save(tmp_path / "x.npy", X)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["X"] = X
    pd.DataFrame(X, columns=list("abcd")).to_parquet(tmp_path / "x.parquet")
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a", "b")
    real, looks = Path.open, []

    def refused(self, *arguments, **more):
        if self.name == name:
            looks.append(self)
            if when == "first" or len(looks) > 1:
                raise PermissionError(13, "Permission denied", str(self))
        return real(self, *arguments, **more)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(PermissionError) as caught:
        open_source(tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name} may not be read (permission denied)"


def test_a_file_that_asks_for_more_memory_than_there_is():
    """Damaged sizes do: the file is named, and the error stays one of memory."""
    with pytest.raises(MemoryError) as caught, opening(Path("x.h5")):
        raise MemoryError("Unable to allocate 3.00 EiB\nfor an array")
    assert str(caught.value) == "x.h5 asks for more memory than there is: Unable to allocate 3.00 EiB"


def test_columns_of_a_frame_that_are_no_numbers_are_told_by_their_types(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        frame = file.create_group("frame")
        order = ["a", "pair", "complex", "bytes", "text"]
        frame.attrs.update({"encoding-type": "dataframe", "_index": "i", "column-order": order})
        frame["a"], frame["i"], frame["pair"] = np.ones(5, ">f4"), np.arange(5), np.ones((5, 2))
        frame["complex"], frame["bytes"] = np.ones(5, "c8"), np.full(5, b"w")
        frame["text"] = np.full(5, "w", h5py.string_dtype())
    with open_source(tmp_path / "x.h5", dataset="frame") as table:
        assert table.column_names == ["a"] and table.dtype == np.float32
        assert table.read(0, 5).dtype == np.float32 and (table.read(0, 5) == 1).all()
        assert table.unread == {
            "pair": "of type float64", "complex": "of type complex64", "bytes": "of type text", "text": "of type text",
        }  # fmt: skip


def test_a_zip_of_several_arrays_side_by_side_is_none(tmp_path):
    """Which of them is the table nobody has said, and no group holds them."""
    for name in ("a", "b"):
        zarr.create_array(tmp_path / "all" / name, data=X, chunks=(20, 4))
    shutil.make_archive(str(tmp_path / "x"), "zip", tmp_path / "all")
    with pytest.raises(OSError, match=r"x\.zip is not a whole Zarr table"):
        open_source(tmp_path / "x.zip")
    shutil.rmtree(tmp_path / "all" / "b")
    shutil.make_archive(str(tmp_path / "y"), "zip", tmp_path / "all")
    np.testing.assert_array_equal(read(tmp_path / "y.zip"), X)


@pytest.mark.parametrize("part", ["data", "indices", "indptr"])
def test_a_filter_that_an_array_of_a_sparse_matrix_lacks_is_named(tmp_path, part):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "shape": (2, 2)})
        values = {"data": np.ones(3, "f4"), "indices": np.array([0, 1, 1]), "indptr": np.array([0, 2, 3])}
        for name, array in values.items():
            if name != part:
                group[name] = array
                continue
            options = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            options.set_chunk(array.shape)
            options.set_filter(31999, h5py.h5z.FLAG_OPTIONAL, ())
            kind = h5py.h5t.py_create(array.dtype)
            made = h5py.h5d.create(group.id, name.encode(), kind, h5py.h5s.create_simple(array.shape), dcpl=options)
            made.write_direct_chunk((0,), array.tobytes(), 0)
    with pytest.raises(OSError, match=rf"'/X/{part}' of .*x\.h5 is packed by filter 31999, .* pip install hdf5plugin"):
        open_source(tmp_path / "x.h5")


def zarr_csr(path, group="X"):
    """A sparse matrix and its names, as AnnData writes them."""
    rng = np.random.default_rng(0)
    dense = np.where(rng.random((50, 6)) < 0.3, rng.integers(1, 9, (50, 6)), 0).astype(np.float32)
    root = zarr.create_group(path, zarr_format=2)
    root.attrs["encoding-type"] = "anndata"
    root.create_group("obs")
    var = root.create_group("var")
    var.attrs["_index"] = "gene"
    var.create_array("gene", data=np.array(list("abcdef")))
    rows, made = sp.csr_array(dense), root.create_group(group)
    made.attrs.update({"encoding-type": "csr_matrix", "shape": list(dense.shape)})
    for name in ("data", "indices", "indptr"):
        made.create_array(name, data=getattr(rows, name), chunks=(7,))
    return dense


def test_a_sparse_matrix_in_zarr(tmp_path):
    """It is read by rows, some columns of it too, from its path and from an open group, and by another process."""
    dense = zarr_csr(tmp_path / "x.zarr")
    with open_source(tmp_path / "x.zarr") as source:
        assert source.shape == (50, 6) and source.chunks is None and source.dtype == np.float32
        assert source.opened_here and source.name == "X" and source.remarks == []
        assert source.stored == [(tmp_path / "x.zarr" / "X").resolve()]
        for one in (source, source.reopen(), pickle.loads(pickle.dumps(source))):
            np.testing.assert_array_equal(one.read(0, 50), dense)
            np.testing.assert_array_equal(one.read(13, 29), dense[13:29])
            np.testing.assert_array_equal(one.read_some(13, 29, np.array([4, 1])), dense[13:29, [4, 1]])
            assert one.read(5, 5).shape == (0, 6) and one.opened_here
        assert repr(source) == f"Zarr array 'X' of {(tmp_path / 'x.zarr').resolve()}, shape (50, 6)"
    given = open_source(zarr.open(tmp_path / "x.zarr")["X"])
    assert not given.opened_here and given.path == (tmp_path / "x.zarr").resolve()
    np.testing.assert_array_equal(given.read(3, 9), dense[3:9])
    with open_source(tmp_path / "x.zarr", columns=["e", "b"]) as source:
        np.testing.assert_array_equal(source.read(13, 29), dense[13:29, [4, 1]])


def test_a_zarr_array_in_memory_has_no_path():
    array = zarr.create_array(zarr.storage.MemoryStore(), data=X, chunks=(20, 4))
    source = open_source(array)
    assert source.path is None and source.stored is None and not source.opened_here and source.name is None
    assert repr(source) == f"Zarr array '/' of memory, shape {X.shape}"
    np.testing.assert_array_equal(source.reopen().read(0, 40), X)
    assert source.chunks == (20, 4)


@pytest.mark.parametrize("around", [False, True])
def test_a_table_in_a_zip_file_has_the_name_that_it_has_in_the_folder(tmp_path, around):
    root = zarr.create_group(tmp_path / "all" / "x.zarr")
    root.create_array("deep/X", data=X, chunks=(20, 4))
    root.create_array("Y", data=X[:5], chunks=(5, 4))
    zarr.create_array(tmp_path / "one" / "y.zarr", data=X, chunks=(20, 4))
    for folder, name, dataset in (("all/x.zarr", "deep/X", "deep/X"), ("one/y.zarr", None, None)):
        home = tmp_path / folder
        path = shutil.make_archive(str(tmp_path / home.stem), "zip", home.parent if around else home)
        with open_source(path, dataset=dataset) as source:
            assert source.name == name and source.path == Path(path).resolve() and source.stored is None
            assert source.opened_here and repr(source) == f"Zarr array {name or '/'!r} of {source.path}, shape (40, 4)"
            for one in (source, source.reopen(), pickle.loads(pickle.dumps(source))):
                np.testing.assert_array_equal(one.read(0, 40), X)
                assert one.name == name
                one.close()


def test_a_table_is_nearer_than_what_is_none(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["matrix"], file["mats"], file["other"] = np.zeros((3, 2)), np.zeros(3), np.zeros((3, 2))
    with pytest.raises(ValueError, match=r"has no dataset 'mat'; did you mean 'matrix'\?"):
        open_source(tmp_path / "x.h5", dataset="mat")


@pytest.mark.parametrize("parts", [("data", "genes"), ("data", "features"), ("barcodes", "shape", "genes"), ("genes",)])
def test_some_names_of_a_10x_matrix_make_none(tmp_path, parts):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in parts:
            file[f"matrix/{name}"] = np.arange(5)
        file["matrix/table"] = X
    with open_source(tmp_path / "x.h5") as source:
        assert source.name == "/matrix/table"
    with pytest.raises(ValueError, match="is a group, not a dataset"):
        open_source(tmp_path / "x.h5", dataset="matrix")


def test_a_look_for_names_and_notes_writes_nothing(tmp_path):
    """Around an array that lies in no group there is nothing to be found, and nothing is made there."""
    zarr.create_array(tmp_path / "all" / "X", data=X, chunks=(20, 4))
    array = zarr.open_array(zarr.storage.LocalStore(tmp_path / "all"), path="X", mode="r+")
    before = sorted(tmp_path.rglob("*"))
    source = open_source(array)
    assert names_of(source) is None and how_prepared(source) is None
    np.testing.assert_array_equal(source.read(0, 40), X)
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(OSError, match=r"empty\.zarr is not a whole Zarr table"):
        open_source(tmp_path / "empty.zarr")
    assert list((tmp_path / "empty.zarr").iterdir()) == []


@pytest.mark.parametrize("count", [1, 4, 5, 6, 9])
def test_a_folder_of_something_else_is_told_by_its_first_names(tmp_path, count):
    names = [f"part-{letter}.txt" for letter in "igfedcbah"[:count]]
    for name in names:
        (tmp_path / name).touch()
    more = ", ..." if count > 5 else ""
    with pytest.raises(IsADirectoryError) as caught:
        open_source(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} is a folder that is neither a Zarr table nor holds .parquet files; it has "
        f"{', '.join(sorted(names)[:5])}{more}"
    )
    (tmp_path / "zz.npy").touch()
    with pytest.raises(IsADirectoryError, match=r"; name them as '.*/\*\.npy'$"):
        open_source(tmp_path)


@pytest.mark.parametrize("around", [False, True])
def test_a_frame_in_a_zip_file_has_the_name_that_it_has_in_the_folder(tmp_path, around):
    frame = zarr.create_group(tmp_path / "all" / "x.zarr").create_group("deep/frame")
    frame.attrs.update({"encoding-type": "dataframe", "_index": "i", "column-order": ["a", "b"]})
    for number, name in enumerate("iab"):
        frame.create_array(name, data=np.arange(1, 41) * (number + 1.0), chunks=(20,))
    home = tmp_path / "all" / "x.zarr"
    path = shutil.make_archive(str(tmp_path / "x"), "zip", home.parent if around else home)
    with open_source(path, dataset="deep/frame", columns=["b", "a"]) as source:
        for one in (source, source.reopen(), pickle.loads(pickle.dumps(source))):
            assert one.name == "deep/frame" and one.column_names == ["b", "a"] and one.opened_here
            np.testing.assert_array_equal(one.read(3, 9), np.arange(4, 10)[:, None] * [3.0, 2.0])
            one.close()


def test_columns_of_a_frame_within_an_object_are_chosen_by_their_names():
    made = anndata.AnnData(X)
    made.obsm["frame"] = pd.DataFrame({"u": X[:, 0], "v": X[:, 1], "w": X[:, 2]}, index=made.obs_names)
    source = open_source(made, dataset="obsm/frame", columns=["w", "u"])
    assert source.column_names == ["w", "u"]
    np.testing.assert_array_equal(source.read(3, 9), X[3:9, [2, 0]])
