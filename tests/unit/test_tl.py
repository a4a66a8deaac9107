"""Maps of AnnData under scanpy's names are those of the tables that scanpy would take."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.neighbors import kneighbors_graph

import tsne_ooc
from tsne_ooc import TSNE, tl
from tsne_ooc.neighbors import Graph
from tsne_ooc.preprocess import PCA, Preparation

anndata = pytest.importorskip("anndata")
QUICK = {"early_exaggeration_iter": 8, "n_iter": 10}
N, P = 200, 60


def cells(n=N, p=P, seed=0):
    rng = np.random.default_rng(seed)
    X = (rng.normal(0, 3, (4, p))[rng.integers(0, 4, n)] + rng.normal(size=(n, p))).astype(np.float32)
    names = [f"gene {j}" for j in range(p)]
    return anndata.AnnData(X, var=pd.DataFrame(index=names), obs=pd.DataFrame(index=[f"cell {i}" for i in range(n)]))


def fitted(X, **options):
    return TSNE(**{"perplexity": 30, "random_state": 0, **QUICK, **options}).fit_transform(X)


def with_pca(adata, k=50):
    adata.obsm["X_pca"] = np.linalg.svd(adata.X - adata.X.mean(0), full_matrices=False)[0][:, :k].astype("f4") * 9
    return adata


CHOSEN = {
    "few variables": (lambda: cells(p=40), {}, lambda a: (a.X, {})),
    "components on the way": (cells, {}, lambda a: (a.X, {"prepare": Preparation([PCA(50)])})),
    "components, as many": (cells, {"n_pcs": 7}, lambda a: (a.X, {"prepare": Preparation([PCA(7)])})),
    "components that are there": (lambda: with_pca(cells()), {}, lambda a: (a.obsm["X_pca"], {})),
    "fewer of them": (lambda: with_pca(cells()), {"n_pcs": 9}, lambda a: (a.obsm["X_pca"][:, :9], {})),
    "fewer than fifty there": (lambda: with_pca(cells(), 20), {}, lambda a: (a.obsm["X_pca"], {})),
    "X as it is": (lambda: with_pca(cells()), {"n_pcs": 0}, lambda a: (a.X, {})),
    "X by name": (lambda: with_pca(cells()), {"use_rep": "X"}, lambda a: (a.X, {})),
    "a table by name": (lambda: with_pca(cells()), {"use_rep": "X_pca", "n_pcs": 5},
                        lambda a: (a.obsm["X_pca"][:, :5], {})),
    "a table by name, all of it": (lambda: with_pca(cells(), 55), {"use_rep": "X_pca"},
                                   lambda a: (a.obsm["X_pca"], {})),
    "options": (lambda: cells(p=40), {"perplexity": 9, "metric": "cosine", "sample": 120, "exaggeration": 2,
                                      "random_state": 4},
                lambda a: (a.X, {"perplexity": 9, "metric": "cosine", "sample": 120, "exaggeration": 2,
                                 "random_state": 4})),
    "rng": (lambda: cells(p=40), {"rng": 7, "n_jobs": 1}, lambda a: (a.X, {"random_state": 7})),
}  # fmt: skip


@pytest.mark.parametrize("name", CHOSEN)
def test_the_table_that_scanpy_takes(name):
    made, options, wanted = CHOSEN[name]
    adata = made()
    X, more = wanted(adata)
    before = adata.copy()
    assert tsne_ooc.tl.tsne(adata, **QUICK, **options) is None
    np.testing.assert_array_equal(adata.obsm["X_tsne"], fitted(X, **more))
    params = adata.uns["tsne"]["params"]
    assert params["perplexity"] == options.get("perplexity", 30) and params["metric"] == options.get(
        "metric", "euclidean"
    )
    np.testing.assert_array_equal(adata.X, before.X)


def test_a_copy_and_another_name(tmp_path):
    adata = cells(p=40)
    found = tsne_ooc.tl.tsne(adata, key_added="map", copy=True, **QUICK)
    assert "map" not in adata.obsm and "map" not in adata.uns and found.uns["map"]["params"]["use_rep"] == "X"
    np.testing.assert_array_equal(found.obsm["map"], fitted(adata.X))
    # What is written can be kept in a file.
    found.write_h5ad(tmp_path / "cells.h5ad")
    np.testing.assert_array_equal(anndata.read_h5ad(tmp_path / "cells.h5ad").obsm["map"], found.obsm["map"])


def with_neighbors(adata, k=14, key="neighbors", **params):
    X = adata.obsm.get("X_pca", adata.X)
    distances = kneighbors_graph(X, k, mode="distance")
    adata.obsp[f"{key}_distances"] = csr_matrix(distances)
    adata.uns[key] = {
        "distances_key": f"{key}_distances", "connectivities_key": "none",
        "params": {"n_neighbors": k + 1, "metric": "euclidean", "method": "umap", **params},
    }  # fmt: skip
    return adata


def test_the_neighbours_that_scanpy_found():
    adata = with_neighbors(with_pca(cells()), n_pcs=50)
    tsne_ooc.tl.tsne(adata, neighbors_key="neighbors", **QUICK)
    X = adata.obsm["X_pca"]
    # By a search of all neighbours, and so many of them; scikit-learn's distances have other last digits.
    np.testing.assert_allclose(adata.obsm["X_tsne"], fitted(X, perplexity=14 / 3, neighbors="exact"), atol=0.02)
    assert adata.uns["tsne"]["params"]["neighbors_key"] == "neighbors"
    with pytest.raises(ValueError, match=r"uns has no neighbours 'mine'; it has 'neighbors'"):
        tsne_ooc.tl.tsne(adata, neighbors_key="mine")
    with pytest.raises(ValueError, match="neighbors_key and neighbors both"):
        tsne_ooc.tl.tsne(adata, neighbors_key="neighbors", neighbors="exact")


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("how", ["backed", "lazy", "dask"])
def test_what_is_on_disk_is_streamed(kind, how, tmp_path):
    adata = cells()
    adata.X = np.where(adata.X > 0, adata.X, 0)
    wanted = fitted(adata.X, sample=100, prepare=Preparation([PCA(50)]))
    adata.X = csr_matrix(adata.X) if kind == "sparse" else adata.X
    adata.write_h5ad(tmp_path / "cells.h5ad")
    if how == "backed":
        stored = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    elif how == "lazy":
        pytest.importorskip("xarray")
        stored = anndata.experimental.read_lazy(tmp_path / "cells.h5ad")
    else:
        dask = pytest.importorskip("dask.array")
        stored = adata.copy()
        stored.X = dask.from_array(adata.X, chunks=(33, P), asarray=False)
    tsne_ooc.tl.tsne(stored, sample=100, **QUICK)
    np.testing.assert_array_equal(np.asarray(stored.obsm["X_tsne"]), wanted)
    if how == "backed":
        stored.file.close()


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("how", ["backed", "lazy"])
def test_cells_on_disk_are_placed(kind, how, tmp_path):
    """What is written is in the object, and its file stays as it was."""
    adata, query = cells(), cells(50, seed=1)
    tsne_ooc.tl.tsne(adata, use_rep="X", save=tmp_path / "map", **QUICK)
    wanted = tsne_ooc.load(tmp_path / "map").place(tsne_ooc.io.open_source(query))
    query.X = csr_matrix(query.X) if kind == "sparse" else query.X
    query.write_h5ad(tmp_path / "query.h5ad")
    before = (tmp_path / "query.h5ad").read_bytes()
    if how == "lazy":
        pytest.importorskip("xarray")
        stored = anndata.experimental.read_lazy(tmp_path / "query.h5ad")
        there = tsne_ooc.tl.place(stored, tmp_path / "map", copy=True)
        np.testing.assert_array_equal(np.asarray(there.obsm["X_tsne"]), wanted.embedding)
        assert "X_tsne" not in stored.obsm
    else:
        stored = anndata.read_h5ad(tmp_path / "query.h5ad", backed="r")
    tsne_ooc.tl.place(stored, tmp_path / "map")
    np.testing.assert_array_equal(np.asarray(stored.obsm["X_tsne"]), wanted.embedding)
    np.testing.assert_array_equal(np.asarray(stored.obs["tsne_novelty"]), wanted.novelty)
    if how == "backed":
        stored.file.close()
    assert (tmp_path / "query.h5ad").read_bytes() == before


def test_what_cannot_be_written_to_is_said_before_the_work(tmp_path, monkeypatch):
    """AnnData refuses a copy of an object on disk, and a map in a part of one, which was behind the fit."""
    cells().write_h5ad(tmp_path / "cells.h5ad")
    TSNE(random_state=0, **QUICK).fit(cells().X).save(tmp_path / "map")
    monkeypatch.setattr(TSNE, "fit_transform", None)
    monkeypatch.setattr(TSNE, "place", None)
    stored = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    for call in (tsne_ooc.tl.tsne, lambda adata, **how: tsne_ooc.tl.place(adata, tmp_path / "map", **how)):
        with pytest.raises(ValueError, match="copy=True needs another file, since adata is backed by one"):
            call(stored, copy=True)
        with pytest.raises(ValueError, match="adata is a part of an object that is backed by a file"):
            call(stored[20:120])
    stored.file.close()


def test_cells_of_another_day(tmp_path):
    adata, query = cells(), cells(50, seed=1)
    tsne_ooc.tl.tsne(adata, save=tmp_path / "map", **QUICK)
    model = tsne_ooc.load(tmp_path / "map")
    wanted = model.place(query.X) if model.features_.names is None else model.place(tsne_ooc.io.open_source(query))
    turned = query[:, ::-1].copy()
    for one, given in ((query, tmp_path / "map"), (turned, model)):
        assert tsne_ooc.tl.place(one, given) is None
        np.testing.assert_array_equal(one.obsm["X_tsne"], wanted.embedding)
        np.testing.assert_array_equal(one.obs["tsne_novelty"], wanted.novelty)
        assert one.uns["tsne"]["params"]["novelty_threshold"] == model.novelty_threshold_
    found = tsne_ooc.tl.place(cells(50, seed=1), model, key_added="there", n_jobs=1, copy=True)
    np.testing.assert_array_equal(found.obsm["there"], wanted.embedding)
    assert "there_novelty" in found.obs
    found.write_h5ad(tmp_path / "query.h5ad")
    # The fitted cells have the places that they had.
    tsne_ooc.tl.place(adata, model, key_added="again")
    np.testing.assert_array_equal(adata.obsm["again"], adata.obsm["X_tsne"])


def test_threads_of_a_place_are_those_asked_for(monkeypatch):
    """By what the fitted map that places has been told; the one that is handed over keeps its own."""
    model = TSNE(random_state=0, n_jobs=2, **QUICK).fit(tsne_ooc.io.open_source(cells()))
    used, plain = [], TSNE.place
    monkeypatch.setattr(
        TSNE, "place", lambda self, *args, **kwargs: used.append(self.n_jobs) or plain(self, *args, **kwargs)
    )
    for asked in (None, 1, 3):
        tsne_ooc.tl.place(cells(20, seed=1), model, n_jobs=asked)
    assert used == [2, 1, 3] and model.n_jobs == 2


def test_what_is_not_there_is_said():
    adata = with_pca(cells())
    with pytest.raises(TypeError, match="a ndarray is not an AnnData object"):
        tsne_ooc.tl.tsne(adata.X)
    with pytest.raises(ValueError, match="obsm has no table 'X_scvi'; it has 'X_pca', and there is X"):
        tsne_ooc.tl.tsne(adata, use_rep="X_scvi")
    with pytest.raises(ValueError, match="n_pcs=51 is more than the 50 of obsm"):
        tsne_ooc.tl.tsne(adata, use_rep="X_pca", n_pcs=51)
    model = TSNE(random_state=0, **QUICK).fit(adata.obsm["X_pca"])
    with pytest.raises(ValueError, match="X has 60 columns, and the map was made of 50; 'X_pca' of obsm has as many"):
        tsne_ooc.tl.place(adata, model)
    tsne_ooc.tl.place(adata, model, use_rep="X_pca")
    with pytest.raises(TypeError, match="neither a folder nor a fitted TSNE"):
        tsne_ooc.tl.place(adata, 3)
    lacking = cells()[:, :59].copy()
    of_names = TSNE(random_state=0, **QUICK).fit(tsne_ooc.io.open_source(cells()))
    with pytest.raises(ValueError, match="lacks 1 of the 60 feature names of the fit: 'gene 59'"):
        tsne_ooc.tl.place(lacking, of_names)


# It calls what newer versions of other libraries warn of.
@pytest.mark.filterwarnings("ignore")
def test_pictures_of_scanpy():
    sc = pytest.importorskip("scanpy")
    adata = cells()
    adata.obs["kind"] = pd.Categorical(np.array(["a", "b"])[np.arange(N) % 2])
    sc.pp.pca(adata, n_comps=20)
    sc.pp.neighbors(adata)
    tsne_ooc.tl.tsne(adata, neighbors_key="neighbors", **QUICK)
    import matplotlib

    matplotlib.use("agg")
    sc.pl.tsne(adata, color="kind", show=False)
    sc.pl.embedding(adata, "X_tsne", color="gene 3", show=False)


def test_components_and_a_preparation_exclude_each_other():
    adata = cells()
    with pytest.raises(ValueError) as caught:
        tsne_ooc.tl.tsne(adata, prepare=Preparation([PCA(3)]), **QUICK)
    assert str(caught.value) == ("prepare says what is done to X, and n_pcs too; pass n_pcs=0, or leave prepare out")
    assert not adata.obsm.keys() and "tsne" not in adata.uns
    # As it says.
    tsne_ooc.tl.tsne(adata, prepare=Preparation([PCA(3)]), n_pcs=0, **QUICK)
    np.testing.assert_array_equal(adata.obsm["X_tsne"], fitted(adata.X, prepare=Preparation([PCA(3)])))


def test_a_graph_that_is_not_computed_yet():
    adata = with_neighbors(with_pca(cells()))
    stored = adata.obsp["neighbors_distances"]

    class Lazy:
        def compute(self):
            return stored

    graph, known = tl._graph(SimpleNamespace(uns=adata.uns, obsp={"neighbors_distances": Lazy()}), "neighbors")
    np.testing.assert_array_equal(graph.matrix().toarray(), Graph(stored).matrix().toarray())
    assert known == {"metric": "euclidean"}


class Noted:
    """In place of TSNE: what it was made with, and the table that it was given."""

    def __init__(self, **options):
        Noted.made = options

    def fit_transform(self, table):
        Noted.table = table
        return np.zeros((table.shape[0], 2), np.float32)

    def save(self, path):
        Noted.saved = path


@pytest.fixture
def noted(monkeypatch):
    monkeypatch.setattr(tl, "TSNE", Noted)
    Noted.made, Noted.table, Noted.saved = {}, None, None
    return Noted


USUAL = {"perplexity": 30, "metric": "euclidean", "sample": None, "n_jobs": None, "random_state": 0}


@pytest.mark.parametrize(
    ("made", "options", "asked", "written"),
    [
        (lambda: cells(p=50), {}, {}, {"use_rep": "X"}),
        (lambda: cells(p=51), {}, {"prepare": Preparation([PCA(50)])}, {"use_rep": "X", "n_pcs": 50}),
        (lambda: cells(p=50), {"n_pcs": 5}, {}, {"use_rep": "X"}),
        (lambda: cells(p=51), {"n_pcs": 5}, {"prepare": Preparation([PCA(5)])}, {"use_rep": "X", "n_pcs": 5}),
        (
            lambda: cells(p=50),
            {"n_pcs": 5, "use_rep": "X"},
            {"prepare": Preparation([PCA(5)])},
            {"use_rep": "X", "n_pcs": 5},
        ),
        (lambda: with_pca(cells(p=40), 20), {}, {}, {"use_rep": "X"}),
        (lambda: with_pca(cells(), 20), {}, {}, {"use_rep": "X_pca"}),
        (lambda: with_pca(cells(), 20), {"n_pcs": 0}, {}, {"use_rep": "X"}),
        (lambda: cells(p=40), {"rng": 7, "random_state": 3}, {"random_state": 7}, {"use_rep": "X", "random_state": 7}),
        (
            lambda: cells(p=40),
            {"perplexity": 9, "metric": "cosine", "sample": 5, "n_jobs": 2, "dof": 0.5},
            {"perplexity": 9, "metric": "cosine", "sample": 5, "n_jobs": 2, "dof": 0.5},
            {"use_rep": "X", "perplexity": 9.0, "metric": "cosine"},
        ),
        (
            lambda: with_neighbors(with_pca(cells(), 30), 9, "mine", n_pcs=12, use_rep="X_pca", metric="cosine"),
            {"neighbors_key": "mine"},
            {"perplexity": 3.0, "metric": "cosine"},
            {"use_rep": "X_pca", "neighbors_key": "mine", "perplexity": 3.0, "metric": "cosine"},
        ),
        (
            lambda: with_neighbors(with_pca(cells(), 30), 9, n_pcs=12),
            {"neighbors_key": "neighbors", "n_pcs": 4, "use_rep": "X_pca", "perplexity": 2},
            {"perplexity": 2},
            {"use_rep": "X_pca", "neighbors_key": "neighbors", "perplexity": 2.0},
        ),
    ],
)
def test_what_is_asked_of_the_map_and_what_is_written_of_it(noted, made, options, asked, written):
    adata = made()
    tsne_ooc.tl.tsne(adata, **options)
    found = dict(noted.made)
    graph = found.pop("neighbors", None)
    assert isinstance(graph, Graph) == ("neighbors_key" in options) and found.get("sample") == asked.get("sample")
    steps, wanted = found.pop("prepare", None), dict(asked)
    prepare = wanted.pop("prepare", None)
    assert (steps and steps.steps) == (prepare and prepare.steps)
    assert found == USUAL | wanted
    usual = {"perplexity": 30.0, "metric": "euclidean", "random_state": 0, "tsne_ooc": tsne_ooc.__version__}
    assert adata.uns["tsne"] == {"params": usual | written}
    assert type(adata.uns["tsne"]["params"]["perplexity"]) is float and noted.saved is None


@pytest.mark.parametrize("frame", [False, True])
@pytest.mark.parametrize(("n_pcs", "columns"), [(None, 30), (0, 30), (1, 1), (12, 12), (30, 30)])
def test_of_a_table_by_name_as_many_columns_as_are_asked_for(noted, frame, n_pcs, columns):
    adata = with_pca(cells(), 30)
    if frame:
        adata.obsm["X_pca"] = pd.DataFrame(adata.obsm["X_pca"], index=adata.obs_names)
    tsne_ooc.tl.tsne(adata, n_pcs, use_rep="X_pca", save="there", key_added="k")
    np.testing.assert_array_equal(np.asarray(noted.table), np.asarray(adata.obsm["X_pca"])[:, :columns])
    assert noted.saved == "there" and adata.obsm["k"].shape == (N, 2) and set(adata.uns) == {"k"}
    with pytest.raises(ValueError, match="n_pcs=-1 must be at least 0"):
        tsne_ooc.tl.tsne(adata, -1)
    with pytest.raises(ValueError, match="n_pcs=31 is more than the 30 of obsm"):
        tsne_ooc.tl.tsne(adata, 31)


def test_what_is_lacking_is_told_with_what_there_is(noted):
    adata = cells(p=40)
    adata.uns["other"] = {"params": {}}
    adata.uns["word"] = "neighbors"
    for key in ("neighbors", "other", "word"):
        with pytest.raises(ValueError) as told:
            tsne_ooc.tl.tsne(adata, neighbors_key=key)
        assert str(told.value) == f"uns has no neighbours {key!r}; it has none: scanpy.pp.neighbors finds them"
    with pytest.raises(ValueError, match="obsm has no table 'X_pca'; it has none, and there is X"):
        tsne_ooc.tl.tsne(adata, use_rep="X_pca")
    for lacking in ("obsm", "uns", "n_vars"):
        given = SimpleNamespace(**{name: {} for name in ("obsm", "uns", "n_vars") if name != lacking})
        with pytest.raises(TypeError, match="a SimpleNamespace is not an AnnData object; TSNE takes tables of other"):
            tsne_ooc.tl.tsne(given)


# The map knows no names of genes, and says so.
@pytest.mark.filterwarnings("ignore:X has feature names")
def test_what_is_written_of_cells_that_were_placed(tmp_path):
    X = cells(p=40).X
    model = TSNE(perplexity=5, random_state=0, **QUICK).fit(X)
    model.save(tmp_path / "map")
    usual = {"use_rep": "X", "tsne_ooc": tsne_ooc.__version__, "novelty_threshold": model.novelty_threshold_}
    for given, named in ((model, {}), (tmp_path / "map", {"model": str(tmp_path / "map")})):
        adata = cells(30, p=40, seed=2)
        tsne_ooc.tl.place(adata, given, key_added="k", n_jobs=1)
        assert adata.uns["k"] == {"params": usual | named}
        np.testing.assert_array_equal(adata.obsm["k"], model.transform(adata.X))
        np.testing.assert_array_equal(adata.obs["k_novelty"], model.score_samples(adata.X))
    assert model.n_jobs is None
    narrow = cells(30, p=12)
    narrow.obsm["some"] = np.zeros((30, 40), np.float32)
    narrow.obsm["others"] = np.zeros((30, 40), np.float32)
    with pytest.raises(ValueError) as told:
        tsne_ooc.tl.place(narrow, model)
    assert str(told.value) == (
        "X has 12 columns, and the map was made of 40; 'some', 'others' of obsm has as many: pass use_rep, if its "
        "columns are those of the map"
    )
    with pytest.raises(ValueError, match=r"^X has 1 column, and the map was made of 40$"):
        tsne_ooc.tl.place(cells(30, p=1), model)


def test_places_are_an_array_also_for_those_who_ask_scikit_learn_for_frames(noted, monkeypatch):
    """A frame of other row names would not fit into `obsm`."""
    plain = Noted.fit_transform
    monkeypatch.setattr(
        Noted, "fit_transform", lambda self, table: pd.DataFrame(plain(self, table), columns=["a", "b"])
    )
    adata = cells(p=40)
    tsne_ooc.tl.tsne(adata)
    assert type(adata.obsm["X_tsne"]) is np.ndarray and adata.obsm["X_tsne"].shape == (N, 2)


def test_an_object_that_does_not_say_where_it_lies_is_in_memory(monkeypatch):
    """Such as that of an older version; one on the disk that does not say that it is a part is a whole one."""
    needed = {"obsm": {}, "uns": {}, "n_vars": 3}
    for copy in (False, True):
        assert tl._check(SimpleNamespace(**needed), copy) is None
    assert tl._check(SimpleNamespace(**needed, isbacked=True), False) is None
    with pytest.raises(ValueError, match="copy=True needs another file"):
        tl._check(SimpleNamespace(**needed, isbacked=True), True)
