"""Distances and neighbours that the user has: every form, through every door."""

import h5py
import numpy as np
import pandas
import pytest
import reference_neighbors as reference
from scipy import sparse
from scipy.spatial.distance import cdist

import tsne_ooc
from tsne_ooc import TSNE
from tsne_ooc.groups import Groups

QUICK = {"metric": "precomputed", "perplexity": 6, "random_state": 0, "n_iter": 20, "early_exaggeration_iter": 20}
STORED = 25
rng = np.random.default_rng(0)
centres = 8 * rng.normal(size=(4, 6))
GROUP, ASKED = rng.integers(0, 4, 150), rng.integers(0, 4, 30)
X = rng.normal(size=(150, 6)) + centres[GROUP]
# Copies, whose zeros are stored.
X[5] = X[17]
Q = np.vstack([rng.normal(size=(29, 6)) + centres[ASKED[:29]], X[40:41]])
ASKED[29] = GROUP[40]
D = np.ascontiguousarray(cdist(X, X).astype(np.float32))
TO = np.ascontiguousarray(cdist(Q, X).astype(np.float32))


def graph_of(distances, *, own=True):
    """The nearest STORED of each row, itself among them or not, as CSR with the zeros of copies."""
    n = len(distances)
    indices, values = reference.nearest(distances, STORED, itself=not own and distances is D)
    return sparse.csr_array(
        (values.ravel(), indices.ravel().astype(np.int32), np.arange(n + 1) * STORED), shape=distances.shape
    )


def unsorted(graph):
    other = graph.copy()
    for a, b in zip(graph.indptr[:-1], graph.indptr[1:], strict=True):
        order = rng.permutation(b - a)
        other.indices[a:b], other.data[a:b] = graph.indices[a:b][order], graph.data[a:b][order]
    other.has_sorted_indices = other.has_canonical_format = False
    return other


def wide(graph):
    other = graph.astype(np.float64)
    other.indices, other.indptr = other.indices.astype(np.int64), other.indptr.astype(np.int64)
    return other


def unconnected(distances):
    """Infinite beyond the nearest STORED, as distances along a graph are between its parts."""
    far = np.full(distances.shape, np.inf)
    indices, values = reference.nearest(distances, STORED)
    np.put_along_axis(far, indices.astype(np.int64), values, axis=1)
    return far


def pair(distances, *, missing=False):
    indices, values = reference.nearest(distances, STORED)
    indices = indices.astype(np.int64)
    if missing:
        indices, values = np.pad(indices, ((0, 0), (0, 2)), constant_values=-1), np.pad(values, ((0, 0), (0, 2)))
        indices, values = np.pad(indices, ((0, 0), (0, 1))), np.pad(values, ((0, 0), (0, 1)), constant_values=np.inf)
        indices[:, -1] = (indices[:, 0] + 75) % distances.shape[1]
        taken = (indices[:, :-1] == indices[:, -1:]).any(axis=1)
        indices[taken, -1] = -1
    return indices, values


def complete(distances):
    """A graph that stores all distances, zeros included."""
    n, width = distances.shape
    parts = distances.ravel(), np.tile(np.arange(width), n), np.arange(n + 1) * width
    return sparse.csr_array(parts, shape=distances.shape)


FORMS = {
    "array": lambda d: d,
    "float64": lambda d: d.astype(float),
    "Fortran": np.asfortranarray,
    "list": lambda d: d.tolist(),
    "DataFrame": pandas.DataFrame,
    "infinite": unconnected,
    "infinite DataFrame": lambda d: pandas.DataFrame(unconnected(d)),
    "graph": graph_of,
    "without itself": lambda d: graph_of(d, own=False),
    "unsorted": lambda d: unsorted(graph_of(d)),
    "int64": lambda d: wide(graph_of(d)),
    "matrix": lambda d: sparse.csr_matrix(graph_of(d)),
    "csc": lambda d: graph_of(d).tocsc(),
    "coo": lambda d: graph_of(d).tocoo(),
    "all stored": complete,
    "pair": pair,
    "pair with none": lambda d: pair(d, missing=True),
    "pair in a list": lambda d: list(pair(d)),
}


@pytest.fixture(scope="module")
def plain():
    """Fitted and placed from all distances, as an array."""
    model = TSNE(**QUICK).fit(D)
    return model, model.place(TO)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_bits_at_every_door(plain, form):
    model, placed = plain
    given, asked = FORMS[form](D), FORMS[form](TO)
    fitted = TSNE(**QUICK).fit(given)
    assert fitted.embedding_.tobytes() == model.embedding_.tobytes()
    assert fitted.n_features_in_ == 150
    for one in (fitted, model):
        assert one.transform(asked).tobytes() == placed.embedding.tobytes()
        assert one.place(asked).novelty.tobytes() == placed.novelty.tobytes()
        assert one.score_samples(asked).tobytes() == placed.novelty.tobytes()
    assert TSNE(**QUICK).fit_transform(given).tobytes() == model.embedding_.tobytes()
    if form != "without itself":
        # A row of the fit is at 0 from itself, where that is said.
        assert model.transform(given).tobytes() == model.transform(D).tobytes()


def test_rows_are_placed_in_their_groups(plain):
    model, placed = plain
    assert (GROUP[cdist(placed.embedding, model.embedding_).argmin(axis=1)] == ASKED).mean() == 1
    assert (placed.embedding[29] == model.embedding_[40]).all() and placed.novelty[:29].min() > 0.5


def test_inputs_stay_as_they_are(plain):
    for form in ("array", "graph", "unsorted", "infinite", "pair"):
        given = FORMS[form](D.copy())
        parts = given if isinstance(given, tuple) else [given] if isinstance(given, np.ndarray) else [
            given.data, given.indices, given.indptr
        ]  # fmt: skip
        before = [part.copy() for part in parts]
        fitted = TSNE(**QUICK).fit(given)
        for part, was in zip(parts, before, strict=True):
            np.testing.assert_array_equal(part, was)
            part[...] = 0
        own, wanted = (one.map_.model.index.query_self(9)[1] for one in (fitted, plain[0]))
        assert own.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("mode", ["with itself", "without itself"])
def test_graphs_of_scikit_learn(plain, mode):
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=STORED).fit(X)
    given = search.kneighbors_graph(X if mode == "with itself" else None, mode="distance")
    fitted = TSNE(**QUICK).fit(given)
    found, wanted = fitted.map_.model.index.query_self(18)[1], plain[0].map_.model.index.query_self(18)[1]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    places = fitted.transform(search.kneighbors_graph(Q, mode="distance"))
    assert (GROUP[cdist(places, fitted.embedding_).argmin(axis=1)] == ASKED).all()


def streamed(tmp_path, what):
    """A table of distances on disk: an array, a graph as AnnData writes it."""
    path = tmp_path / "distances.h5"
    with h5py.File(path, "w") as file:
        if what == "array":
            file["d"] = TO
        else:
            graph = graph_of(TO)
            group = file.create_group("d")
            group.attrs.update({"encoding-type": "csr_matrix", "shape": graph.shape})
            for part in ("data", "indices", "indptr"):
                group[part] = getattr(graph, part)
    return path


def test_all_distances_can_be_streamed(plain, tmp_path):
    model, placed = plain
    with h5py.File(streamed(tmp_path, "array")) as file:
        assert model.transform(file["d"]).tobytes() == placed.embedding.tobytes()
        path = model.transform_to(file["d"], tmp_path / "places.npy")
    assert np.load(path).tobytes() == placed.embedding.tobytes()


def test_a_graph_cannot_be_streamed_and_says_so(plain, tmp_path):
    model, _ = plain
    message = "a sparse graph of distances cannot be streamed, because distances that it does not store are not 0"
    with pytest.raises(ValueError, match=message):
        model.transform_to(graph_of(TO), tmp_path / "places.npy")
    with tsne_ooc.io.open_source(streamed(tmp_path, "graph"), dataset="d") as table:
        for door in (model.transform, model.score_samples, lambda t: model.transform_to(t, tmp_path / "places.npy")):
            with pytest.raises(ValueError, match=message):
                door(table)
        with pytest.raises(ValueError, match=message):
            TSNE(**QUICK).fit(table)
    for form in ("graph", "unsorted"):
        with pytest.raises(ValueError, match=message):
            tsne_ooc.embed(FORMS[form](D), out=tmp_path / "map", tsne=TSNE(**QUICK))
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        tsne_ooc.pipeline.place(tmp_path / "model", graph_of(TO), out=tmp_path / "placed")
    assert not (tmp_path / "map").exists() and not (tmp_path / "placed").exists()
    assert not list(tmp_path.glob("places.npy*"))


def test_embed_takes_all_distances_or_says_what_it_needs(plain, tmp_path):
    run = tsne_ooc.embed(D, out=tmp_path / "map", tsne=TSNE(**QUICK), random_state=0)
    assert run.embedding.shape == (150, 2) and np.isfinite(run.embedding).all()
    with pytest.raises(ValueError, match="distances"):
        tsne_ooc.embed(D, out=tmp_path / "other", sample=50, tsne=TSNE(**QUICK))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("form", ["infinite", "graph", "pair"])
def test_too_few_neighbours_name_the_row_and_the_perplexity(plain, form):
    with pytest.raises(ValueError, match=r"row 0 has 2[45] .*fewer than k=90; .*lower the perplexity to 8"):
        TSNE(**{**QUICK, "perplexity": 30}).fit(FORMS[form](D))
    few = TO.astype(float)
    few[7, 3:] = np.inf
    with pytest.raises(ValueError, match=r"row 7 has 3 precomputed neighbours at a finite distance, fewer than k=15"):
        plain[0].transform(few if form == "infinite" else sparse.csr_array(np.where(np.isinf(few), 0, few)))


def changed(values, row, column, value):
    other = values.astype(float)
    other[row, column] = value
    return other


@pytest.mark.parametrize(
    "given, message",
    [
        (changed(D, 3, 4, -1), "distance -1.0 at row 3, column 4 is not at least 0"),
        (changed(D, 3, 4, np.nan), "NaN at row 3, column 4"),
        (changed(D, 3, 4, -np.inf), "infinity .* at row 3, column 4"),
        (changed(D, 3, 4, 1e39), "row 3, column 4, beyond the range of float32"),
        (D[:5], r"shape \(5, 150\) are not square"),
        (sparse.csr_array(changed(D, 3, 4, -1)), "distance -1.0 at row 3, column 4 is not at least 0"),
        (sparse.csr_array(changed(D, 3, 4, np.nan)), "distance nan at row 3, column 4"),
        (sparse.coo_array(([1.0, 2.0], ([3, 3], [4, 4])), shape=(150, 150)), "row 3, column 4 more than once"),
        (sparse.csr_array(D).tolil(), "lil matrix, which may not keep its zeros; pass CSR or COO"),
        ((np.zeros((150, 3), int), np.zeros((150, 3))), "row 0, column 0 more than once"),
        ((np.full((150, 3), 150), np.zeros((150, 3))), "from 0 to 149, or -1 for none; row 0, column 0 is 150"),
        ((np.zeros((150, 3)), np.zeros((150, 3))), "whole numbers and numbers, not of float64 and float64"),
        ((np.zeros((150, 3), int), np.zeros((150, 4))), "not a pair"),
    ],
    ids=range(13),
)
def test_slips_name_the_row_and_column(given, message):
    with pytest.raises((ValueError, TypeError), match=message) as raised:
        TSNE(**QUICK).fit(given)
    assert "\n" not in str(raised.value)


def test_queries_have_a_column_for_each_row_of_the_fit(plain):
    for asked in (TO[:, :-1], sparse.csr_array(TO)[:, :-1]):
        with pytest.raises(ValueError, match="149"):
            plain[0].transform(asked)
    with pytest.raises(ValueError, match="row 2, column 1 is 150"):
        plain[0].transform((np.array([[0, 1], [3, 4], [5, 150]]), np.ones((3, 2))))


def test_a_saved_model_places_and_says_what_it_no_longer_has(plain, tmp_path):
    model, placed = plain
    model.save(tmp_path / "model")
    again = tsne_ooc.load(tmp_path / "model")
    assert again.transform(graph_of(TO)).tobytes() == placed.embedding.tobytes()
    Groups(model, 4)
    with pytest.raises(ValueError, match="does not hold those among the rows of the fit"):
        Groups(again, 4)


def test_rows_are_numbered_in_the_table_not_in_a_block(plain, monkeypatch):
    monkeypatch.setattr("tsne_ooc.estimator.fitted_map.BLOCK", 7)
    few = TO.astype(float)
    few[23, 3:] = np.inf
    for door in (plain[0].transform, plain[0].score_samples):
        with pytest.raises(ValueError, match="row 23 has 3 precomputed"):
            door(few)
