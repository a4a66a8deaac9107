"""The start is that of principal components on both sides of every limit, for dense and for sparse rows."""

from __future__ import annotations

import tracemalloc
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse

from tsne_ooc import TSNE, Phase
from tsne_ooc._parallel import Threads
from tsne_ooc.fit import initialization
from tsne_ooc.joint import Joint
from tsne_ooc.schedule import Schedule, resolve


def wanted(X, d):
    """Scores of the centred rows, by their singular values in double precision."""
    centred = X.astype(np.float64) - X.astype(np.float64).mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    return u[:, :d] * s[:d]


def groups(n, p, seed=0):
    """Four groups far from 0: without centring the first axis is the mean."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 3, (4, p))
    return (20 + centres[np.arange(n) % 4] + rng.normal(0, 0.3, (n, p))).astype(np.float32)


def likeness(Y, Z):
    """How alike axes of the same number are, 1 where they are the same; and widths relative to the first axis."""
    alike = [abs(np.corrcoef(Y[:, axis], Z[:, axis])[0, 1]) for axis in range(Z.shape[1])]
    return alike, Y.std(axis=0) / Y[:, 0].std(), Z.std(axis=0) / Z[:, 0].std()


@pytest.mark.parametrize("most", [4096, 20])
@pytest.mark.parametrize("form", ["dense", "sparse"])
@pytest.mark.parametrize("shape", [(300, 40), (60, 200)])
def test_the_start_is_that_of_the_centred_rows(monkeypatch, most, form, shape):
    monkeypatch.setattr(initialization, "MOST_MOMENTS", most)
    X = groups(*shape)
    rows = X if form == "dense" else scipy.sparse.csr_array(X)
    before = rows.copy()
    found = initialization.pca(rows, 2, np.random.default_rng(0), Threads(1))
    alike, widths, right = likeness(found, wanted(X, 2))
    assert min(alike) > 0.999
    np.testing.assert_allclose(widths, right, rtol=0.05)
    # Noise of a hundredth is added.
    assert found[:, 0].std() == pytest.approx(1e-4, rel=0.01)
    assert (abs(rows - before)).sum() == 0


@pytest.mark.parametrize(
    ("shape", "iterated"), [((60, 20), False), ((20, 60), False), ((60, 21), True), ((21, 60), True)]
)
def test_the_smaller_side_tells_whether_axes_are_exact(monkeypatch, shape, iterated):
    asked, plain = [], initialization._iterated
    monkeypatch.setattr(initialization, "MOST_MOMENTS", 20)
    monkeypatch.setattr(initialization, "_iterated", lambda X, rank, seed: asked.append(rank) or plain(X, rank, seed))
    for d in (2, 3):
        initialization.pca(groups(*shape), d, np.random.default_rng(0), Threads(1))
    assert asked == ([2, 3] if iterated else [])


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_the_scale_of_the_rows_is_not_that_of_the_start(form):
    """Fewer rows than columns, and lengths of the axes far below 1."""
    X = groups(60, 200)
    starts = []
    for scale in (1.0, 2.0**-20):
        rows = X * np.float32(scale)
        starts.append(
            initialization.pca(
                rows if form == "dense" else scipy.sparse.csr_array(rows), 2, np.random.default_rng(0), Threads(1)
            )
        )
    np.testing.assert_allclose(starts[1], starts[0], rtol=1e-3, atol=1e-7)


def test_covariances_of_pieces_are_not_all_held(monkeypatch):
    monkeypatch.setattr(initialization, "ROWS", 16)
    X = groups(4000, 150)
    starts = []
    for n_jobs in (1, 2, 3):
        peaks = []
        # What other threads of the process take meanwhile is counted, too, and not each time.
        for _ in range(3):
            tracemalloc.start()
            starts.append(initialization.pca(X, 2, np.random.default_rng(0), Threads(n_jobs)))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        # Of 250 pieces all together 45 MB.
        assert min(peaks) < 15e6
    np.testing.assert_array_equal(starts[0], starts[1])
    np.testing.assert_array_equal(starts[0], starts[2])


def test_one_constant_column_is_no_axis():
    """Uncentred, a column of 1,000 took the first axis, and the second was 2,650 times as wide."""
    X = scipy.sparse.random_array((400, 30), density=0.2, rng=np.random.default_rng(1)).toarray().astype(np.float32)
    plain = scipy.sparse.csr_array(X)
    shifted = scipy.sparse.csr_array(np.column_stack([X, np.full(400, 1000, np.float32)]))
    one, other = (initialization.pca(rows, 2, np.random.default_rng(0), Threads(1)) for rows in (plain, shifted))
    alike, widths, right = likeness(other, one)
    assert min(alike) > 0.999
    np.testing.assert_allclose(widths, right, rtol=0.05)
    assert widths.max() < 1.1


@pytest.mark.parametrize(
    "X", [np.zeros((9, 4)), np.full((9, 4), 7), np.eye(1), np.eye(2), np.ones((5, 1)), np.arange(6.0)[:, None]]
)
@pytest.mark.parametrize("most", [4096, 0])
def test_rows_without_axes_begin_in_noise(monkeypatch, most, X):
    monkeypatch.setattr(initialization, "MOST_MOMENTS", most)
    X = X.astype(np.float32)
    for rows in (X, scipy.sparse.csr_array(X)):
        found = initialization.pca(rows, 2, np.random.default_rng(0), Threads(1))
        assert found.shape == (len(X), 2)
        assert np.isfinite(found).all()
        assert np.abs(found).max() < 1e-3


def test_a_given_map_far_from_zero_is_moved_as_one_about_zero():
    """It is worked on where single precision has the most digits, and stays where it lies."""
    X = np.random.default_rng(0).normal(size=(150, 4)).astype(np.float32)
    options = {"perplexity": 10, "schedule": [Phase(2)], "random_state": 0}
    far = (np.random.default_rng(1).normal(0, 5, (150, 2)) + 3e5).astype(np.float32)
    centre = far.mean(axis=0, dtype=np.float64)
    near = (far - centre).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found, wanted = (TSNE(initialization=start, **options).fit(X).embedding_ for start in (far, near))
    assert np.abs(wanted - near).max() > 0.1
    # Half of what two numbers of single precision are apart there.
    assert np.abs(found - centre - wanted).max() < 0.5 * np.spacing(np.float32(3e5)) + 2e-3


@pytest.mark.parametrize(
    ("word", "rows"), [("spectral", np.ones((5, 2), np.float32)), ("spectral", None), ("pca", None)]
)
def test_a_spectral_start_of_affinities_on_the_disk_is_refused(word, rows):
    """Without rows, as of distances, the start by principal components is the spectral one."""
    on_disk = SimpleNamespace(n=5)
    with pytest.raises(
        ValueError, match=r"^a spectral start needs all affinities in memory; allow more by memory=, or give a start$"
    ):
        initialization.start(word, rows, on_disk, 2, np.random.default_rng(0), Threads(1))


def grid(*lengths, alone=0):
    """Affinities of rows on a grid, each with those beside it, some strong and some weak; the last ones have none."""
    places = np.argwhere(np.ones(lengths))
    dense = (np.abs(places[:, None] - places).sum(-1) == 1) * (1.0 + 0.3 * np.random.default_rng(0).random(len(places)))
    dense = np.pad(dense + dense.T, (0, alone))
    return dense / dense.sum()


def eigenvectors(dense, d):
    """Of the normalised Laplacian: those after the constant one, each as wide as the others, its largest entry > 0."""
    root = np.sqrt(dense.sum(1))
    root[root == 0] = 1
    values, vectors = np.linalg.eigh(dense / np.outer(root, root))
    Y = (vectors / root[:, None])[:, np.argsort(-values)[1 : d + 1]]
    Y = Y * np.sign(Y[np.argmax(np.abs(Y), axis=0), np.arange(d)])
    return Y / Y.std(0)


@pytest.mark.parametrize(
    ("lengths", "alone", "d"),
    [
        ((4,), 0, 2), ((9, 3), 0, 2), ((9, 3), 2, 2), ((9, 4, 2), 0, 3), ((40,), 0, 1), ((199,), 0, 1),
        ((23, 9), 0, 2), ((23, 9), 0, 3),
    ],
)  # fmt: skip
def test_a_spectral_start_is_that_of_the_laplacian(lengths, alone, d):
    """Below 200 rows and from there on; also of affinities whose rows are in another order."""
    dense = grid(*lengths, alone=alone)
    n = len(dense)
    order = np.random.default_rng(1).permutation(n)
    wanted = eigenvectors(dense, d) * 1e-4
    for P, at in ((dense, None), (dense[np.ix_(order, order)], order.astype(np.uint32))):
        joint = Joint.from_matrix(P)
        found = initialization.start("spectral", None, joint, d, np.random.default_rng(0), Threads(1), at)
        assert found.dtype == np.float32 and found.shape == (n, d)
        # Noise of a hundredth, and iterations to some thousandths.
        off = np.abs(found * np.sign((found * wanted).sum(0)) - wanted)
        assert np.sqrt((off**2).mean()) < 2e-6 and off.max() < 8e-6
        if n < 200 or at is None:
            # Of two entries of one size either may be the largest.
            sizes = np.sort(np.abs(wanted), axis=0)
            clear = sizes[-1] > 1.05 * sizes[-2]
            assert ((found * wanted).sum(0)[clear] > 0).all()


@pytest.mark.parametrize("d", [1, 2, 3])
def test_affinities_of_few_rows_have_no_spectral_start(d):
    """Of d + 1 rows no d vectors are left but the constant one: they begin at random."""
    for n in (1, 2, d + 1, d + 2):
        dense = 1 - np.eye(n) + np.diag(np.arange(n - 1), 1) + np.diag(np.arange(n - 1), -1)
        joint = Joint.from_matrix(dense) if n > 1 else SimpleNamespace(n=1)
        found = initialization.spectral(joint, d, np.random.default_rng(7), Threads(1))
        rng = np.random.default_rng(7)
        drawn = rng.normal(size=(n, d))
        wanted = initialization.rescale(drawn, rng)
        assert np.array_equal(found, wanted) == (n <= d + 1)


@pytest.mark.parametrize("widths", [(3.0, 7.0), (1e-9, 2e-9, 0.0), (50.0,), (0.0, 2.0)])
def test_a_start_is_as_wide_as_it_is_to_be(widths):
    """A standard deviation of 1e-4 on the first axis, the others in proportion, and noise of a hundredth of that."""
    Y = np.random.default_rng(0).normal(size=(5000, len(widths)))
    Y = Y / Y.std(0) * widths
    before = Y.copy()
    found = initialization.rescale(Y, np.random.default_rng(1))
    np.testing.assert_array_equal(Y, before)
    assert found.dtype == np.float32
    noise = found - Y * (1e-4 / widths[0] if widths[0] else 0)
    np.testing.assert_allclose(noise.std(0), 1e-6, rtol=0.05)
    assert np.abs(noise.mean(0)).max() < 1e-7


def test_no_rows_have_a_start():
    assert initialization.rescale(np.zeros((0, 2)), np.random.default_rng(0)).shape == (0, 2)


def test_no_random_start_is_like_another():
    joint = Joint.from_matrix(grid(9, 3))
    one, again, other = (
        initialization.start("random", None, joint, 2, np.random.default_rng(seed), Threads(1)) for seed in (0, 0, 1)
    )
    assert one.tobytes() == again.tobytes() != other.tobytes()
    assert one.shape == (27, 2) and abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.5


@pytest.mark.parametrize("rows", [7, 8192])
def test_means_stand_for_what_is_missing(monkeypatch, rows):
    monkeypatch.setattr(initialization, "ROWS", rows)
    rng = np.random.default_rng(0)
    X = rng.normal(3, 1, (50, 6)).astype(np.float32)
    # In single precision a sum of these would lose every other one.
    X[:, 4] = 2.0**24 + 2 * (np.arange(50) % 2)
    X[rng.random(X.shape) < 0.3] = np.nan
    X[:, 2] = np.nan
    X[:-1, 3] = np.nan
    X[-1, 3] = 5
    X.setflags(write=False)
    before = X.copy()
    found = initialization.filled(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        means = np.nan_to_num(np.nanmean(X.astype(float), axis=0)).astype(np.float32)
    np.testing.assert_array_equal(found, np.where(np.isnan(X), means, X))
    assert found.dtype == np.float32 and (found[:, 3] == 5).all() and (found[:, 2] == 0).all()
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("form", ["dense", "sparse"])
@pytest.mark.parametrize("most", [4096, 0])
@pytest.mark.parametrize("shape", [(2, 5), (3, 2), (9, 1), (4, 4), (40, 2)])
def test_axes_that_the_rows_do_not_have_are_noise(monkeypatch, shape, most, form, d):
    """As many axes as are asked for; an iteration finds one less than there are rows or columns."""
    monkeypatch.setattr(initialization, "MOST_MOMENTS", most)
    X = groups(*shape, seed=3)
    rows = X if form == "dense" else scipy.sparse.csr_array(X)
    found = initialization.pca(rows, d, np.random.default_rng(0), Threads(1))
    u = wanted(X, min(shape))
    iterated = form == "sparse" or most == 0
    true = max(0, min(d, u.shape[1] - iterated, int((np.linalg.norm(u, axis=0) > 1e-3).sum())))
    assert found.shape == (shape[0], d)
    if true:
        right = u[:, :true] / u[:, 0].std() * 1e-4
        off = np.abs(np.abs(found[:, :true]) - np.abs(right))
        assert off.max() < 6e-6
    assert np.abs(found[:, true:]).max(initial=0) < 6e-6


def test_each_axis_points_to_its_largest_part():
    """So that the start of one table is the same on all computers."""
    rng = np.random.default_rng(0)
    for p in (1, 2, 5, 9):
        A = rng.normal(size=(p, 20))
        for d in range(1, min(p, 3) + 1):
            axes = initialization._axes(A @ A.T, d)
            assert axes.shape == (p, d)
            values = np.linalg.eigvalsh(A @ A.T)[::-1]
            np.testing.assert_allclose(A @ A.T @ axes, axes * values[:d], atol=1e-9)
            np.testing.assert_allclose(axes.T @ axes, np.eye(d), atol=1e-12)
            assert (axes.max(axis=0) == np.abs(axes).max(axis=0)).all()


GIVEN = np.arange(6.0).reshape(3, 2)


@pytest.mark.parametrize(
    "made", [GIVEN, GIVEN.tolist(), np.asfortranarray(GIVEN), GIVEN.astype(int), GIVEN.astype("f4")]
)
def test_a_given_start_is_taken_as_it_is(made):
    before = np.array(made)
    found = initialization.start(made, None, SimpleNamespace(n=3), 2, None, None)
    np.testing.assert_array_equal(found, GIVEN)
    assert found.dtype == np.float32 and found.flags.c_contiguous
    found[:] = -1
    np.testing.assert_array_equal(made, before)


@pytest.mark.parametrize(
    ("made", "kind", "says"),
    [
        (GIVEN[:2], ValueError, "start has shape (2, 2); (3, 2) is needed, a row for each row of X"),
        (GIVEN.ravel(), ValueError, "start has shape (6,); (3, 2) is needed, a row for each row of X"),
        ([["a", "b"]] * 3, ValueError, "start: the given array is not numeric"),
        ([[1, 2], [3]], ValueError, "start: the given array is not numeric"),
        ([[0, 1], [2, np.nan], [np.inf, 5]], ValueError, "start: row 1, column 1 is nan; it must be finite"),
        ([[0, 1], [2, 3], [-np.inf, 5]], ValueError, "start: row 2, column 0 is -inf; it must be finite"),
        # There is no such number in single precision, and that is no warning.
        ([[0, 1], [2, 3], [4, 1e39]], ValueError, "start: row 2, column 1 is inf; it must be finite"),
    ],
)
def test_a_start_that_cannot_be_is_refused(made, kind, says):
    with pytest.raises(kind) as caught:
        initialization.given(made, 3, 2, "start")
    assert str(caught.value) == says
    with pytest.raises(kind) as caught:
        initialization.start(made, None, SimpleNamespace(n=3), 2, None, None)
    assert str(caught.value) == says.replace("start", "initialization")


@pytest.mark.parametrize(
    ("made", "kind", "says"),
    [
        ("spektral", ValueError, "initialization='spektral' is not known; did you mean 'spectral'?"),
        (3, TypeError, "initialization=3 is neither a word (pca, spectral, random) nor an array"),
        (None, TypeError, "initialization=None is neither a word (pca, spectral, random) nor an array"),
    ],
)
def test_what_is_no_start_is_refused(made, kind, says):
    for call in (initialization.check, lambda it: initialization.start(it, None, None, 2, None, None)):
        with pytest.raises(kind) as caught:
            call(made)
        assert str(caught.value).startswith(says.partition("; did")[0].partition(" is not known")[0])
    for known in ("pca", "spectral", "random", GIVEN, GIVEN.tolist()):
        initialization.check(known)


def wide(std, n=50):
    """A start whose first axis has this standard deviation."""
    Y = np.random.default_rng(0).normal(size=(n, 2))
    return (Y / Y.std(0) * (std, 7)).astype(np.float32)


EARLY, LATER, FOURS = Phase(5, 12.0), Phase(5, 1.0), Phase(5, 4.0)
LATE = resolve(early_exaggeration_iter=0)


@pytest.mark.parametrize(
    ("start", "phases", "says"),
    [
        (
            wide(0.011),
            [EARLY, LATER],
            "has a standard deviation of 0.011 on its first axis; above 0.01 the early phase",
        ),
        (wide(3.0), [EARLY, LATER], "has a standard deviation of 3 on its first axis"),
        (wide(0.0099), [EARLY, LATER], None),
        (wide(3.0), [LATER], None),
        (wide(3.0), [LATER, LATER], None),
        (wide(3.0), [LATER, EARLY], None),
        # What has no iterations is no phase, at either end.
        (wide(3.0), [Phase(0, 12.0), LATER], None),
        (wide(3.0), [Phase(0, 1.0), EARLY, FOURS, Phase(0, 30.0)], "has a standard deviation of 3"),
        (wide(3.0), [EARLY, Phase(0, 1.0)], None),
        # A course down leaves a map in order.
        (wide(3.0), [Phase(5, (4.0, 1.0)), LATER], None),
        (wide(3.0), [], None),
        (wide(3.0), [Phase(0, 12.0)], None),
        (wide(3.0)[:1], [EARLY, LATER], None),
        (wide(3.0)[:2], [EARLY, LATER], "has a standard deviation of"),
        (wide(3.0), list(LATE), f"goes through the whole late course of {LATE.iterations} iterations"),
        (wide(0.011), list(LATE), f"use model.continue_fit({LATE.iterations}), and with places alone"),
        (wide(0.0099), list(LATE), None),
        (wide(3.0)[:1], list(LATE), None),
        # That of a refinement has a course down first.
        (wide(3.0), list(resolve("refine")), None),
    ],
)
def test_a_start_that_is_too_wide_is_warned_of(start, phases, says):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        initialization.warn_wide(start, Schedule(phases))
    assert len(told) == (says is not None)
    if says is not None:
        assert says in str(told[0].message) and told[0].category is UserWarning


@pytest.mark.parametrize("form", ["dense", "sparse"])
@pytest.mark.parametrize("most", [4096, 0])
@pytest.mark.parametrize("shape", [(90, 12), (30, 50)])
def test_a_start_is_that_of_its_seed(monkeypatch, shape, most, form):
    """To the bit, for any number of threads and pieces; that of another seed differs by its noise alone."""
    monkeypatch.setattr(initialization, "MOST_MOMENTS", most)
    X = groups(*shape)
    rows = X if form == "dense" else scipy.sparse.csr_array(X)
    starts = [
        initialization.start("pca", rows, None, 2, np.random.default_rng(seed), Threads(jobs))
        for seed, jobs in ((0, 1), (0, 1), (0, 3), (5, 1))
    ]
    assert len({start.tobytes() for start in starts[:3]}) == 1
    assert 0 < np.abs(starts[3] - starts[0]).max() < 1e-5
    monkeypatch.setattr(initialization, "ROWS", 7)
    pieces = initialization.start("pca", rows, None, 2, np.random.default_rng(0), Threads(2))
    np.testing.assert_allclose(pieces, starts[0], atol=1e-9)
