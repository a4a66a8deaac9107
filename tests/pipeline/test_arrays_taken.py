"""Every array that is taken means the same in every layout and type of number, and is afterwards what it was."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import tsne_ooc
from tsne_ooc import TSNE
from tsne_ooc.sampling import Rows, Stratified

pytestmark = pytest.mark.filterwarnings("ignore:the given initialization has:UserWarning")

FEW = {"perplexity": 5, "early_exaggeration_iter": 2, "n_iter": 3, "random_state": 0, "neighbors": "exact"}
N = 60


def numbers(*shape, seed=0, most=50):
    """Whole numbers, so that all types hold them."""
    return np.random.default_rng(seed).integers(0, most, shape).astype(np.float32)


def layouts(array):
    """The same array as memory may hold it."""
    yield "by columns", np.asfortranarray(array)
    wide = np.repeat(array, 2, axis=-1)
    yield "every second", wide[..., ::2]
    yield "backwards", np.ascontiguousarray(array[::-1])[::-1]
    frozen = array.copy()
    frozen.setflags(write=False)
    yield "read-only", frozen
    odd = np.empty(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    odd[...] = array
    yield "between words", odd
    yield "a subclass", array.view(type("Own", (np.ndarray,), {}))


def types(array, kinds):
    for kind in kinds:
        yield kind, array.astype(kind)


FLOATS = ("f2", "f8", ">f4", ">f8", "longdouble")
WHOLE = ("u1", "i1", "i2", ">i4", "u4", "i8", "u8")


def fitted(X=None, **options):
    return TSNE(**{**FEW, **options}).fit(numbers(N, 4) if X is None else X)


def of_fit(X):
    model = fitted(X)
    return [model.embedding_, model.novelty_, model.affinities_.data]


def of_new_rows(Q):
    model = fitted()
    return [*model.place(Q), model.transform(Q), model.score_samples(Q)]


def of_where_to_begin(start):
    return [fitted().place(numbers(20, 4, seed=1), start=start).embedding]


def of_start(Y):
    return [fitted(initialization=Y).embedding_]


def of_affinity(P):
    return [fitted(affinity=P).embedding_]


def of_distances(D):
    model = fitted(D, metric="precomputed", neighbors="auto")
    return [model.embedding_, model.transform(D[:9])]


def of_metric(V):
    return [fitted(metric="seuclidean", metric_params={"V": V}).embedding_]


def of_sample(rows):
    return [fitted(sample=Rows(rows)).sample_rows_, fitted(sample=rows).embedding_]


def of_labels(labels):
    from tsne_ooc.batches import Batches
    from tsne_ooc.metrics import label_accuracy

    drawn = Stratified(20, labels).draw(numbers(N, 4), np.random.default_rng(0)).rows
    batches = Batches(numbers(N, 4), balanced=labels, batch_size=16)
    return [drawn, label_accuracy(numbers(N, 2), labels, 5), *(rows for _, rows in batches)]


def of_weights(weights):
    from tsne_ooc.batches import Batches

    return [rows for _, rows in Batches(numbers(N, 4), weights=weights, batch_size=16)]


def of_measures(Y):
    from tsne_ooc import metrics

    X = numbers(N, 4)
    found = [metrics.trustworthiness(X, Y, 5), metrics.neighbor_recall(X, Y, 5)[10]]
    return [*found, metrics.distance_correlation(X, Y), metrics.kl_divergence(cdist(X, X) + 1, Y)]


def of_data_measured(X):
    from tsne_ooc import metrics

    Y = numbers(N, 2)
    return [metrics.trustworthiness(X, Y, 5), *metrics.neighbor_recall(X, Y, 5).values()]


def of_picture(Y):
    from tsne_ooc.plot import scatter

    return [np.asarray(scatter(Y).collections[0].get_offsets())]


def of_preparation(X):
    from tsne_ooc.preprocess import PCA, Log1p, Preparation, Standardize

    found = Preparation([Log1p(), Standardize(), PCA(2)]).fit(X)
    return [found.transform(X)]


def of_source(X):
    from tsne_ooc.io import iterate, open_source

    return [np.concatenate([block for *_, block in iterate(open_source(X), rows=7)])]


def of_groups(Q):
    from tsne_ooc.groups import Groups

    return [*Groups(fitted(), 4).score(Q)]


def square(seed=0):
    D = numbers(N, N, seed=seed) + 1
    D = np.maximum(D, D.T)
    np.fill_diagonal(D, 0)
    return D


CHOSEN = np.flatnonzero(np.arange(N) % 3 != 1)
DOORS = {
    "fit": (of_fit, numbers(N, 4), FLOATS + WHOLE),
    "transform": (of_new_rows, numbers(20, 4, seed=1), FLOATS + WHOLE),
    "place from a start": (of_where_to_begin, numbers(20, 2, seed=2), FLOATS + WHOLE),
    "initialization": (of_start, numbers(N, 2), FLOATS + WHOLE),
    "affinity": (of_affinity, square(), FLOATS + WHOLE),
    "precomputed": (of_distances, square(1), FLOATS + WHOLE),
    "precomputed, some infinite": (of_distances, np.where(square(1) > 40, np.float32(np.inf), square(1)), FLOATS),
    "metric_params": (of_metric, numbers(4) + 1, FLOATS + WHOLE),
    "rows of a sample": (of_sample, CHOSEN, WHOLE),
    "mask of a sample": (of_sample, np.isin(np.arange(N), CHOSEN), ()),
    "labels": (of_labels, numbers(N, most=3), ("f8", ">f4", *WHOLE)),
    "weights": (of_weights, numbers(N) + 1, FLOATS + WHOLE),
    "maps that are measured": (of_measures, numbers(N, 2), FLOATS + WHOLE),
    "data that are measured": (of_data_measured, numbers(N, 4), FLOATS + WHOLE),
    "pictures": (of_picture, numbers(N, 2), FLOATS + WHOLE),
    "preparation": (of_preparation, numbers(N, 4), FLOATS + WHOLE),
    "source": (of_source, numbers(N, 4), FLOATS + WHOLE),
    "groups": (of_groups, numbers(20, 4, seed=1), FLOATS + WHOLE),
}


@pytest.mark.parametrize("door", DOORS)
def test_an_array_is_what_it_holds(door):
    of, array, kinds = DOORS[door]
    wanted = [np.asarray(one).tobytes() for one in of(array.copy())]
    for name, given in (*layouts(array), *types(array, kinds)):
        before = given.tobytes(), given.flags.writeable, given.strides
        found = [np.asarray(one).tobytes() for one in of(given)]
        assert found == wanted, name
        assert (given.tobytes(), given.flags.writeable, given.strides) == before, name


@pytest.mark.parametrize("kind", ["?", *WHOLE, "f4", "f8", ">f8"])
def test_an_array_that_is_saved_is_what_it_holds(tmp_path, kind):
    from tsne_ooc.storage import read_folder, write_folder

    array = numbers(7, 6).astype(kind)
    for at, (name, given) in enumerate([("plain", array), *layouts(array)]):
        write_folder(tmp_path / str(at), "test", {}, {"a": given, "b": given[0], "c": given[0, :1].reshape(())})
        found = read_folder(tmp_path / str(at), "test", verify=True).arrays
        assert found["a"].dtype == array.dtype.newbyteorder("<") and found["a"].flags.c_contiguous, name
        np.testing.assert_array_equal(found["a"], array)
        np.testing.assert_array_equal(found["b"], array[0])
        assert found["c"].shape == () and found["c"] == array[0, 0]


def test_a_model_of_any_array_is_saved_as_it_is(tmp_path):
    Q = numbers(20, 4, seed=1)
    for at, (name, given) in enumerate([*layouts(numbers(N, 4)), *types(numbers(N, 4), FLOATS + WHOLE)]):
        model = fitted(given)
        model.save(tmp_path / str(at))
        np.testing.assert_array_equal(tsne_ooc.load(tmp_path / str(at)).transform(Q), model.transform(Q), name)
