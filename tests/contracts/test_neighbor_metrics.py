"""All metrics on rows that are hard for them, dense and sparse, against SciPy or a definition written down again."""

import warnings

import numpy as np
import pytest
import reference_neighbors as reference
from scipy import sparse
from scipy.spatial.distance import cdist

from tsne_ooc import TSNE
from tsne_ooc._parallel import Threads
from tsne_ooc._validate import RowsError
from tsne_ooc.neighbors import HNSW, IVF, Annoy, Exact, PyNNDescent, named_state, restore_index
from tsne_ooc.neighbors.exact import PairwiseIndex
from tsne_ooc.neighbors.metrics import BOOLEAN, DENSE, PACKED, PARAMS, SPARSE
from tsne_ooc.neighbors.pairwise import Pairwise
from tsne_ooc.neighbors.pynndescent_index import NAMES, UNKNOWN, takes
from tsne_ooc.storage.state import Saved

THREADS = Threads(2)
P = 8
rng = np.random.default_rng(0)


def haversine(a, b):
    # The angle between two points in space.
    def point(row):
        return np.array([np.cos(row[0]) * np.cos(row[1]), np.cos(row[0]) * np.sin(row[1]), np.sin(row[0])])

    u, v = point(a), point(b)
    return np.arctan2(np.linalg.norm(np.cross(u, v)), u @ v)


def hellinger(a, b):
    if not a.any() or not b.any():
        return float(a.any() != b.any())
    return np.sqrt(((np.sqrt(a / a.sum()) - np.sqrt(b / b.sum())) ** 2).sum() / 2)


def correlation(a, b):
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 1.0
    u, v = a - a.mean(), b - b.mean()
    return ((u / np.linalg.norm(u) - v / np.linalg.norm(v)) ** 2).sum() / 2


def jensenshannon(a, b):
    if not a.any() or not b.any():
        return np.sqrt(np.log(2)) * (a.any() != b.any())
    p, q = a / a.sum(), b / b.sum()
    m = (p + q) / 2
    terms = [x * np.log(x / y) for side in (p, q) for x, y in zip(side, m, strict=True) if x > 0]
    return np.sqrt(max(0.0, sum(terms) / 2))


def nan_euclidean(a, b):
    both = ~np.isnan(a) & ~np.isnan(b)
    return np.sqrt(len(a) / both.sum() * np.square(a[both] - b[both]).sum())


def or_zero(name):
    def distance(a, b):
        return 0.0 if not a.any() and not b.any() else cdist([a], [b], name)[0, 0]

    return distance


SLOW = {
    "haversine": haversine, "hellinger": hellinger, "correlation": correlation, "jensenshannon": jensenshannon,
    "nan_euclidean": nan_euclidean,
    "braycurtis": or_zero("braycurtis"), "dice": or_zero("dice"), "sokalsneath": or_zero("sokalsneath"),
}  # fmt: skip


def twin(Q, X, name, **params):
    """Distances by definition, pair by pair where SciPy has none or NaN."""
    Q, X = (rows.toarray() if sparse.issparse(rows) else rows for rows in (Q, X))
    if name == "cosine":
        return reference.distances(Q, X, "cosine")
    if name in PACKED:
        Q, X = (np.unpackbits(rows.astype(np.uint8), axis=1).astype(bool) for rows in (Q, X))
        name = PACKED[name]
    kind = bool if name in BOOLEAN else np.float64
    Q, X = Q.astype(kind), X.astype(kind)
    if name in SLOW:
        return np.array([[SLOW[name](a, b) for b in X] for a in Q])
    if name == "seuclidean":
        V = X.var(axis=0, ddof=1)
        params["V"] = np.where(V > 0, V, 1)
    if name == "mahalanobis":
        params["VI"] = reference.inverse_covariance(X)
    return cdist(Q, X, name, **params)


def tables():
    """Rows of zeros, constants, copies, columns that do not vary, bits, and sizes from one row and one column on."""
    few = rng.integers(0, 4, size=(60, P)).astype(float)
    few[10] = few[30] = 0
    few[20], few[21] = 2, 0.1
    few[40:46] = few[5]
    few[50] = -few[51]
    narrow = few.copy()
    narrow[:, 3], narrow[:, 4] = 1, narrow[:, 5]
    return {
        "few values": few, "constant and equal columns": narrow, "normal": rng.normal(size=(50, P)),
        "bits": rng.random((70, P)) < 0.3, "whole numbers": rng.integers(-3, 200, size=(40, P)),
        "zeros": np.zeros((20, P)), "one row": few[:1], "two rows": few[:2], "one column": few[:, :1],
        "large": rng.normal(size=(30, P)) * 1e30, "small": rng.normal(size=(30, P)) * 1e-30,
    }  # fmt: skip


TABLES = tables()


def fit_for(X, metric):
    """The rows as the metric takes them: no signs where it compares shares, angles, bytes."""
    name = DENSE[metric]
    X = np.asarray(X, np.float64)
    if name in ("hellinger", "jensenshannon"):
        X = np.abs(X)
    if name == "haversine":
        X = np.column_stack([np.arctan(X[:, 0]), 3 * np.arctan(X[:, -1])])
    if name in PACKED:
        X = np.floor(np.abs(X)) % 256
    if name == "braycurtis":
        # Opposite rows are at infinity, which is an error.
        X = np.abs(X)
    return np.ascontiguousarray(X, np.float32)


def check(index, Q, X, metric):
    n = X.shape[0]
    others, own = twin(Q, X, DENSE[metric]), twin(X, X, DENSE[metric])
    asked = [(index.query(Q, k), others, k, False) for k in {1, min(7, n), n}]
    asked += [(index.query_self(k), own, k, True) for k in {1, min(7, n - 1), n - 1} if 0 < k < n]
    for (indices, distances), D, k, itself in asked:
        D = np.minimum(D, np.finfo("f4").max)
        _, want = reference.nearest(D, k, itself=itself)
        scale = np.abs(want).max(initial=0) if np.isfinite(want).all() else 1
        # Formulas written down twice part by rounding, and ties with them: distances are compared, and whose they are.
        np.testing.assert_allclose(distances, want, rtol=2e-6, atol=3e-7 * max(scale, 1e-30))
        named = np.take_along_axis(D, indices.astype(np.int64), axis=1)
        np.testing.assert_allclose(distances, named.astype("f4"), rtol=2e-6, atol=3e-7 * max(scale, 1e-30))
        assert all(len(set(row)) == k for row in indices.tolist())
        gaps = np.diff(distances, axis=1)
        assert (gaps >= 0).all() and (np.diff(indices.astype(np.int64), axis=1)[gaps == 0] > 0).all()
        if itself:
            assert (indices != np.arange(n)[:, None]).all()


CASES = [(metric, name, False) for metric in DENSE for name in TABLES]
CASES += [(metric, name, True) for metric in SPARSE for name in TABLES]


@pytest.mark.parametrize("metric, name, is_sparse", CASES, ids=lambda value: str(value).replace(" ", "_"))
def test_every_metric_on_every_table(metric, name, is_sparse):
    X = fit_for(TABLES[name], metric)
    if len(X) == 1 and DENSE[metric] in ("seuclidean", "mahalanobis"):
        with pytest.raises(ValueError, match=f"metric '{metric}' takes .* from the rows, and one row has none; give"):
            Exact().build(X, metric=metric, threads=THREADS)
        return
    Q = np.concatenate([X[:5], fit_for(np.abs(TABLES["few values"])[:25, : TABLES[name].shape[1]], metric)])
    if is_sparse:
        Q, X = sparse.csr_array(Q), sparse.csr_array(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(Exact().build(X, metric=metric, threads=THREADS), Q, X, metric)


@pytest.mark.parametrize("metric", sorted(set(DENSE) - {"nan_euclidean"}))
def test_pairs_are_compared_as_rows_of_bits_are(metric):
    """Rows of yes and no have a search of their own; models of before it, and answers of others, compare by pairs."""
    for name in ("few values", "bits"):
        X = fit_for(TABLES[name], metric)
        D = twin(X, X, DENSE[metric])
        found = Pairwise(metric, None, X).block(X[:9], X)
        np.testing.assert_allclose(found, D[:9], rtol=1e-6, atol=1e-7)
        answer = PairwiseIndex(X, metric, None, THREADS).query(X[:9], 5)
        np.testing.assert_allclose(answer[1], reference.nearest(D[:9], 5)[1], rtol=2e-6, atol=3e-7)


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("metric", DENSE)
def test_a_row_is_at_zero_from_itself(metric, is_sparse):
    """To the bit, or its own seat would not be found; but for rows without a direction, and russellrao."""
    if (is_sparse and metric not in SPARSE) or DENSE[metric] == "russellrao":
        return
    for name in ("few values", "normal", "large", "small"):
        X = fit_for(TABLES[name], metric)
        X = X[np.ptp(X, axis=1) > 0]
        if not len(X):
            continue
        index = Exact().build(sparse.csr_array(X) if is_sparse else X, metric=metric, threads=THREADS)
        assert (index.query(sparse.csr_array(X) if is_sparse else X, 1)[1] == 0).all()


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("metric", DENSE)
def test_saved_batched_and_threaded_the_bits_are_the_same(metric, is_sparse):
    if is_sparse and metric not in SPARSE:
        return
    X = fit_for(rng.integers(0, 4, size=(90, P)), metric)
    X = sparse.csr_array(X) if is_sparse else X
    index = Exact().build(X, metric=metric, threads=THREADS)
    content, arrays = named_state(index)
    again = restore_index(Saved(content, arrays), Threads(1))
    whole = index.query(X[:30], 9)
    for parts in ([again.query(X[:30], 9)], [index.query(X[a : a + 7], 9) for a in range(0, 28, 7)] + [
        index.query(X[28:30], 9)
    ]):  # fmt: skip
        for one, many in zip(whole, zip(*parts, strict=True), strict=True):
            assert one.tobytes() == np.concatenate(many).tobytes()
    assert all(a.tobytes() == b.tobytes() for a, b in zip(index.query_self(9), again.query_self(9), strict=True))


@pytest.mark.parametrize("metric", sorted(BOOLEAN | set(PACKED)))
@pytest.mark.parametrize("columns", [1, 7, 8, 64, 65, 300])
def test_bits_are_compared_as_scipy_compares_them(metric, columns):
    """To the bit of the distance, at every width of words, sparse products too."""
    few = rng.random((200, columns)) < rng.uniform(0, 1, size=(200, 1))
    few[::20], few[1::20] = False, True
    X = np.packbits(few, axis=1).astype(np.float32) if metric in PACKED else few.astype(np.float32)
    D = twin(X, X, metric)
    forms = [X] if metric in PACKED else [X, sparse.csr_array(X)]
    for form in forms:
        index = Exact().build(form, metric=metric, threads=THREADS)
        for k in (1, 20, 199):
            for got, want in zip(index.query_self(k), reference.nearest(D, k, itself=True), strict=True):
                np.testing.assert_array_equal(got, want)
        for got, want in zip(index.query(form[:50], 30), reference.nearest(D[:50], 30), strict=True):
            np.testing.assert_array_equal(got, want)


PARAMETERS = {
    "w": np.arange(P) / 4, "p": 3, "base": 2, "V": np.arange(1, P + 1) / 3,
    "VI": np.linalg.inv(np.cov(rng.normal(size=(50, P)), rowvar=False)),
}  # fmt: skip


@pytest.mark.parametrize("metric, key", [(metric, key) for metric in sorted(PARAMS) for key in sorted(PARAMS[metric])])
def test_every_parameter_has_its_effect_and_its_errors(metric, key):
    X = fit_for(TABLES["few values" if metric == "hamming" else "normal"], metric)
    value = PARAMETERS[key]
    if (metric, key) == ("mahalanobis", "V"):
        value = np.linalg.inv(PARAMETERS["VI"])
    index = Exact().build(X, metric=metric, metric_params={key: value}, threads=THREADS)
    kind = bool if metric in BOOLEAN else np.float64
    given = {"VI": np.linalg.inv(value)} if (metric, key) == ("mahalanobis", "V") else {key: value}
    if metric == "jensenshannon":
        D = twin(X, X, metric) / np.sqrt(np.log(value))
    else:
        D = cdist(X.astype(kind), X.astype(kind), metric, **given)
    # 0 / 0 of rows whose weighted columns are all zeros, and 1e-16 for a row and itself, below 0 too.
    D = np.abs(np.where(np.isnan(D), 0, D))
    np.testing.assert_allclose(index.query(X, 5)[1], reference.nearest(D, 5)[1], rtol=1e-5, atol=1e-6)
    if metric not in BOOLEAN:
        plain = Exact().build(X, metric=metric, threads=THREADS).query(X, 5)[1]
        assert not np.allclose(plain, index.query(X, 5)[1], rtol=1e-4)
    content, arrays = named_state(index)
    again = restore_index(Saved(content, arrays), THREADS)
    assert again.query(X, 5)[1].tobytes() == index.query(X, 5)[1].tobytes()
    wrong = ["words", -1, np.nan] if np.ndim(value) == 0 else ["words", value[1:], value * np.nan, -value]
    for bad in wrong:
        with pytest.raises((ValueError, TypeError), match=rf"metric_params\['{key}'\]") as raised:
            Exact().build(X, metric=metric, metric_params={key: bad}, threads=THREADS)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "metric, params, message",
    [
        ("mahalanobis", {"v": 1}, "metric_params of 'mahalanobis': the name='v' is not known; did you mean 'V'"),
        ("euclidean", {"p": 3}, "the name='p' is not known; known: w"),
        ("haversine", {"p": 3}, "'haversine' takes no metric_params"),
        ("mahalanobis", {"V": np.eye(P), "VI": np.eye(P)}, "both 'V' and 'VI'"),
        ("seuclidean", {"V": np.zeros(P)}, "variances, which must be greater than 0"),
        ("minkowski", 3, "metric_params=3 is not a mapping"),
        (7, None, "metric=7 is neither a word nor a function"),
        ("haversin", None, "did you mean 'haversine'"),
    ],
)
@pytest.mark.parametrize("neighbors", ["auto", "exact", "pynndescent"])
def test_slips_are_one_line_before_the_fit(metric, params, message, neighbors):
    with pytest.raises((ValueError, TypeError), match=message) as raised:
        TSNE(metric=metric, metric_params=params, neighbors=neighbors).fit(TABLES["normal"])
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 220


@pytest.mark.parametrize("search", [Exact(), IVF(), HNSW(), Annoy(), PyNNDescent()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("metric", [*DENSE, "callable", "nonsense"])
def test_every_search_takes_a_metric_or_says_so_in_one_line(search, metric, is_sparse):
    """Few rows: pynndescent is not compiled for them."""
    if isinstance(search, Annoy):
        pytest.importorskip("annoy")
    X = fit_for(TABLES["few values"][:40], metric) if metric in DENSE else fit_for(TABLES["normal"], "euclidean")
    X = sparse.csr_array(X) if is_sparse else X
    given = (lambda a, b: np.abs(a - b).sum()) if metric == "callable" else metric
    try:
        index = search.build(X, metric=given, rng=np.random.default_rng(0), threads=THREADS)
    except ValueError as error:
        assert "\n" not in str(error) and len(str(error)) < 250
        assert "exact" in str(error) or "known" in str(error) or "did you mean" in str(error) or "sparse" in str(error)
        allowed = {"IVF", "HNSW", "Annoy"} if not is_sparse else {"IVF", "HNSW", "Annoy", "Exact", "PyNNDescent"}
        assert (
            type(search).__name__ in allowed
            or metric in UNKNOWN
            or (metric, is_sparse) == ("yule", True)
            or metric == "nonsense"
            or metric == "bit_tanimoto"
        )
        return
    D = (cdist(X, X, "cityblock") if metric == "callable" else twin(X, X, DENSE[metric])).astype("f4")
    answer = index.query_self(9)
    np.testing.assert_allclose(answer[1], reference.nearest(D, 9, itself=True)[1], rtol=2e-6, atol=3e-7)


def test_rows_that_a_metric_says_nothing_about_are_named():
    X = fit_for(TABLES["few values"], "euclidean")
    for metric, message in (
        ("hellinger", r"takes no negative numbers; row 50, column \d is -\d"),
        ("jensenshannon", r"takes no negative numbers; row 50, column \d is -\d"),
        ("bit_jaccard", r"whole numbers from 0 to 255.*; row 21, column 0 is 0\.1"),
    ):
        with pytest.raises(ValueError, match=message):
            Exact().build(X, metric=metric, threads=THREADS)
    # The first one of a sparse table, whose row follows from where its entry stands.
    few = sparse.csr_array(np.float32([[1, 0, 2], [0, 0, 0], [0, 3, 0], [4, -5, -6], [7, 0, -8]]))
    for metric in ("hellinger", "jensenshannon"):
        if metric in SPARSE:
            with pytest.raises(ValueError, match=r"takes no negative numbers; row 3, column 1 is -5"):
                Exact().build(few, metric=metric, threads=THREADS)
    with pytest.raises(ValueError, match=r"two columns, latitude and longitude in radians; there are 8"):
        Exact().build(X, metric="haversine", threads=THREADS)
    places = np.float32([[0.9, 0.2], [52.5, 13.4]])
    with pytest.raises(ValueError, match=r"numpy.radians turns degrees into them\); row 1, column 0 is 52\.5"):
        Exact().build(places, metric="haversine", threads=THREADS)
    with pytest.raises(RowsError, match="gives inf for row 50 and row 51 of the fit"):
        Exact().build(X, metric="braycurtis", threads=THREADS).query_self(3)


def test_names_of_pynndescent_are_names_that_it_has():
    """The library's own table, without the library, whose import takes half a minute of compilation."""
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec("pynndescent")
    folder = Path(spec.submodule_search_locations[0])
    for names, file, table in (
        (DENSE, "distances.py", "named_distances = {"),
        (SPARSE, "sparse.py", "sparse_named_distances = {"),
    ):
        text = (folder / file).read_text().split(f"\n{table}")[1].split("\n}")[0]
        for name in sorted(set(names.values())):
            if not takes(name, None, sparse=names is SPARSE):
                continue
            assert f'"{NAMES.get(name, name)}"' in text, name
