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
