"""Columns go by their names, wherever a table has them: whatever their order, a row lands where its twin does."""

from __future__ import annotations

import json
import warnings

import h5py
import numpy as np
import pandas as pd
import pytest

from tsne_ooc import TSNE, embed, load
from tsne_ooc.groups import Groups
from tsne_ooc.io import names_of, open_source
from tsne_ooc.pipeline import place
from tsne_ooc.preprocess import Preparation, Standardize

QUICK = {"perplexity": 8, "early_exaggeration_iter": 20, "n_iter": 30, "random_state": 0}
NAMES = ["Actb", "Cd3e", "Cd8a", "Gapdh", "Ms4a1"]
ORDER = [3, 0, 4, 2, 1]


def cells(n=150, seed=0):
    rng = np.random.default_rng(seed)
    groups = 8 * rng.normal(size=(4, 5))
    values = groups[rng.integers(0, 4, n)] + rng.normal(size=(n, 5)) * [1, 5, 2, 1, 3]
    return pd.DataFrame(np.abs(values).astype(np.float32), columns=NAMES)


def frame(table, folder):
    return table


def polars(table, folder):
    return pytest.importorskip("polars").DataFrame({name: table[name].to_numpy() for name in table})


def arrow(table, folder):
    return pytest.importorskip("pyarrow").table({name: table[name].to_numpy() for name in table})


def anndata(table, folder):
    found = pytest.importorskip("anndata").AnnData(table.to_numpy())
    found.var_names = list(table)
    return found


def sparse_anndata(table, folder):
    found = anndata(table, folder)
    found.X = pytest.importorskip("scipy.sparse").csr_matrix(found.X)
    return found


def h5ad(table, folder):
    path = folder / "cells.h5ad"
    with h5py.File(path, "w") as file:
        file.attrs["encoding-type"] = "anndata"
        file.require_group("obs")
        var = file.require_group("var")
        var.attrs["_index"] = "gene"
        var["gene"] = list(table)
        file["X"] = table.to_numpy()
    return path


def old_h5ad(table, folder):
    """As before anndata 0.7: names are a field of records."""
    path = folder / "cells.h5ad"
    with h5py.File(path, "w") as file:
        file.require_group("obs")
        file["var"] = np.array([(name.encode(),) for name in table], dtype=[("index", "S8")])
        file["X"] = table.to_numpy()
    return path


def zarr(table, folder):
    path = folder / "cells.zarr"
    root = pytest.importorskip("zarr").open_group(path, mode="w", zarr_format=2)
    root.attrs["encoding-type"] = "anndata"
    root.create_group("obs")
    var = root.create_group("var")
    var.attrs["_index"] = "gene"
    var.create_array("gene", data=np.array(list(table), dtype="U8"))
    root.create_array("X", data=table.to_numpy(), chunks=(50, 2))
    return path


def parquet(table, folder):
    pytest.importorskip("pyarrow")
    table.to_parquet(folder / "cells.parquet", index=False)
    return folder / "cells.parquet"


def records(table, folder):
    with h5py.File(folder / "cells.h5", "w") as file:
        file["cells"] = table.to_records(index=False)
    return folder / "cells.h5"


KINDS = [frame, polars, arrow, anndata, sparse_anndata, h5ad, old_h5ad, zarr, parquet, records]


@pytest.fixture(scope="module")
def model():
    return TSNE(**QUICK).fit(cells())


@pytest.fixture
def made(tmp_path):
    """A table of some kind, open where it is a file."""
    count = iter(range(100))

    def make(kind, table):
        folder = tmp_path / str(next(count))
        folder.mkdir()
        found = kind(table, folder)
        return open_source(found) if hasattr(found, "suffix") else found

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_columns_in_another_order_are_put_right(model, made, tmp_path, kind):
    new = cells(60, seed=1)
    wanted, scores = model.transform(new), model.score_samples(new)
    table = made(kind, new.iloc[:, ORDER])
    assert names_of(table) == list(new.columns[ORDER])
    np.testing.assert_array_equal(model.transform(table), wanted)
    np.testing.assert_array_equal(model.score_samples(table), scores)
    np.testing.assert_array_equal(Groups(model, 5).score(table).far, Groups(model, 5).score(new).far)
    np.testing.assert_array_equal(np.load(model.transform_to(table, tmp_path / "Y.npy")), wanted)
    # The order matters: without names the same numbers lie elsewhere.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.abs(model.transform(new.to_numpy()[:, ORDER]) - wanted).max() > 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_fit_from_something_named_keeps_the_names(made, kind):
    found = TSNE(**QUICK).fit(made(kind, cells()))
    assert found.feature_names_in_.tolist() == NAMES
    assert found.n_features_in_ == 5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("door", ["transform", "place", "score_samples", "transform_to"])
def test_columns_that_do_not_fit_are_named(model, made, tmp_path, kind, door):
    def enter(table):
        return model.transform_to(table, tmp_path / "Y.npy") if door == "transform_to" else getattr(model, door)(table)

    new = cells(20, seed=1)
    with pytest.raises(ValueError, match=r"lacks 1 of the 5 feature names of the fit: 'Cd8a'; is 'Cd8a' now 'CD8A'\?"):
        enter(made(kind, new.rename(columns={"Cd8a": "CD8A"})))
    with pytest.raises(ValueError, match=r"lacks 2 of the 5 feature names of the fit: 'Cd8a', 'Ms4a1'; it has 'Actb'"):
        enter(made(kind, new.drop(columns=["Cd8a", "Ms4a1"])))
    assert not list(tmp_path.glob("Y.npy*"))
    wide = new.assign(Xist=np.float32(1), Tbx21=np.float32(2)).iloc[:, [5, 1, 0, 6, 2, 4, 3]]
    with pytest.warns(UserWarning, match="columns that the fit did not have, which are left out: 'Xist', 'Tbx21'"):
        found = enter(made(kind, wide))
    if door == "transform":
        np.testing.assert_array_equal(found, model.transform(new))


def test_a_table_without_names_is_taken_in_its_order_and_that_is_said(model, made, tmp_path):
    new = cells(60, seed=1)
    np.save(tmp_path / "rows.npy", new.to_numpy())
    for table in (new.to_numpy(), new.to_numpy().tolist(), open_source(tmp_path / "rows.npy")):
        with pytest.warns(UserWarning, match="X does not have valid feature names, but TSNE was fitted with"):
            np.testing.assert_array_equal(model.transform(table), model.transform(new))
    unnamed = TSNE(**QUICK).fit(cells().to_numpy())
    for table in (new, made(h5ad, new)):
        with pytest.warns(UserWarning, match="X has feature names, but TSNE was fitted without"):
            np.testing.assert_array_equal(unnamed.transform(table), model.transform(new))


@pytest.mark.parametrize("kind", [frame, h5ad])
def test_doubled_names(model, made, kind):
    new = cells(20, seed=1)
    twice = pd.concat([new, new[["Cd3e"]]], axis=1)
    with pytest.raises(ValueError, match=r"X has several columns of one name \('Cd3e'\)"):
        model.transform(made(kind, twice))
    # A fit of such a table takes them in the order of the fit, and in no other.
    again = TSNE(**QUICK).fit(made(kind, pd.concat([cells(), cells()[["Cd3e"]]], axis=1)))
    np.testing.assert_array_equal(again.transform(made(kind, twice)), again.transform(twice))
    with pytest.raises(ValueError, match=r"several columns of one name \('Cd3e'\)"):
        again.transform(made(kind, twice.iloc[:, ::-1]))


def test_names_of_which_some_are_strings_are_refused_before_the_fit():
    told = []
    table = cells().rename(columns={"Cd3e": 7})
    with pytest.raises(TypeError, match=r"names are strings and others \('Actb', 7\)"):
        TSNE(**QUICK, callbacks=lambda *event: told.append(event), callbacks_every_iters=1).fit(table)
    assert not told


def test_numbers_are_not_names():
    found = TSNE(**QUICK).fit(pd.DataFrame(cells().to_numpy()))
    assert not hasattr(found, "feature_names_in_")
    # Of a fit before, too.
    assert not hasattr(TSNE(**QUICK).fit(cells()).fit(cells().to_numpy()), "feature_names_in_")


@pytest.mark.parametrize("kind", [frame, h5ad, parquet, records, zarr])
@pytest.mark.parametrize("prepare", [None, Preparation([Standardize()])])
def test_runs_and_saved_maps_go_by_name(made, tmp_path, kind, prepare):
    new = cells(60, seed=1)
    embed(made(kind, cells()), out=tmp_path / "map", sample=120, prepare=prepare, tsne=TSNE(**QUICK))
    manifest = json.loads((tmp_path / "map" / "model" / "manifest.json").read_text())
    assert NAMES in _values(manifest)
    model = load(tmp_path / "map" / "model")
    assert model.feature_names_in_.tolist() == NAMES
    wanted = place(tmp_path / "map", made(kind, new), out=tmp_path / "one").embedding
    np.testing.assert_array_equal(wanted, model.transform(new))
    found = place(tmp_path / "map", made(kind, new.iloc[:, ORDER]), out=tmp_path / "two")
    np.testing.assert_array_equal(found.embedding, wanted)
    with pytest.raises(ValueError, match="lacks 1 of the 5 feature names of the fit: 'Gapdh'"):
        place(tmp_path / "map", made(kind, new.drop(columns="Gapdh")), out=tmp_path / "three")
    assert not (tmp_path / "three").exists()


def _values(content):
    inner = [value for part in content.values() for value in _values(part)] if isinstance(content, dict) else []
    return [content, *inner]


def test_an_encoder_learns_from_a_fitted_teacher_by_name(tmp_path):
    torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")
    torch.set_num_threads(1)
    from tsne_ooc.parametric import ParametricTSNE
    from tsne_ooc.pipeline import train

    few = {"n_iter": 5, "network": (16, 1), "landmarks": 0, "random_state": 0, "n_jobs": 1}
    table, teacher = cells(), TSNE(**QUICK, n_jobs=1).fit(cells())
    one = ParametricTSNE(teacher, **few).fit(table)
    two = ParametricTSNE(teacher, **few).fit(table.iloc[:, ORDER])
    new = cells(30, seed=1)
    assert two.feature_names_in_.tolist() == NAMES
    np.testing.assert_array_equal(two.transform(new.iloc[:, ORDER]), one.transform(new))
    np.testing.assert_array_equal(two.score_samples(new.iloc[:, ORDER]), teacher.score_samples(new))
    with pytest.raises(ValueError, match="lacks 1 of the 5 feature names"):
        ParametricTSNE(teacher, **few).fit(table.drop(columns="Actb"))
    teacher.save(tmp_path / "teacher")
    options = {"encoder": ParametricTSNE(**few), "map": tmp_path / "teacher"}
    trained = train(table.iloc[:, ORDER], out=tmp_path / "encoder", **options)
    np.testing.assert_array_equal(trained.transform(new.iloc[:, ORDER]), one.transform(new))
    with pytest.raises(ValueError, match="lacks 1 of the 5 feature names"):
        train(table.drop(columns="Actb"), out=tmp_path / "other", **options)
    assert not (tmp_path / "other").exists()


def test_columns_in_another_order_are_a_source_like_any_other(tmp_path):
    import h5py

    from tsne_ooc.io import line_up, open_source

    kind = np.dtype([(name, "f4") for name in "abcd"])
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("X", data=np.zeros(40, kind), chunks=(10,))
    with open_source(tmp_path / "x.h5") as source:
        with pytest.warns(UserWarning, match="left out: 'b', 'd'"):
            found = line_up(source, ["c", "a"])
        assert (found.shape, found.dtype, found.column_names) == ((40, 2), np.float32, ["c", "a"])
        assert found.chunks == (10, 2) and found.kind == type(source).__name__
