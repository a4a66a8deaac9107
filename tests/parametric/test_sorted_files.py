"""Files sorted by class teach as well as shuffled ones, whatever is said of the order of batches."""

import contextlib
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")
h5py = pytest.importorskip("h5py")

from tsne_ooc import TSNE  # noqa: E402
from tsne_ooc.batches import UNEVEN, Batches, sizes  # noqa: E402
from tsne_ooc.batches.evenness import between  # noqa: E402
from tsne_ooc.io import as_source  # noqa: E402
from tsne_ooc.parametric import ParametricTSNE  # noqa: E402
from tsne_ooc.parametric.outset import batches_of, glance  # noqa: E402

CLASSES, EACH, COLUMNS, BLOCK = 8, 250, 6, 40


@pytest.fixture(scope="module")
def classes():
    """Eight groups of 250 rows, one after the other."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(CLASSES, 1, COLUMNS)) * 4 + rng.normal(size=(CLASSES, EACH, COLUMNS))
    return X.reshape(-1, COLUMNS).astype(np.float32)


@pytest.fixture
def small(monkeypatch):
    """Blocks of 40 rows and buffers of 16 blocks, as a file of many gigabytes has them."""
    monkeypatch.setattr(sizes, "_BLOCK_BYTES", 4 * COLUMNS * BLOCK)
    monkeypatch.setattr(sizes, "BUFFER_BYTES", 4 * COLUMNS * BLOCK * 16)
    monkeypatch.setattr(sizes, "_BLOCKS_OF_A_BUFFER", 16)


@pytest.fixture(scope="module")
def teacher(classes):
    return TSNE(sample=300, early_exaggeration_iter=50, n_iter=150, random_state=0, n_jobs=1).fit(classes)


def learnt(teacher, X, shuffle):
    options = {"network": (32, 2), "landmarks": 0, "n_iter": 250, "batch_size": 128, "random_state": 0, "n_jobs": 1}
    model = ParametricTSNE(teacher, shuffle=shuffle, objective="distillation", **options)
    model.fit(X)
    away = np.linalg.norm(model.transform(np.asarray(X)) - teacher.transform(np.asarray(X)), axis=1)
    return away.mean() / teacher.embedding_.std(axis=0).max()


def test_a_sorted_file_in_blocks_ends_as_near_to_its_teacher(classes, teacher, small, tmp_path, monkeypatch):
    with h5py.File(tmp_path / "sorted.h5", "w") as f:
        table = f.create_dataset("data", data=classes, chunks=(BLOCK, COLUMNS))
        full = learnt(teacher, table, "full")
        with pytest.warns(UserWarning, match="rows are in an order: 86% of their variance lies between blocks of 40"):
            batch = learnt(teacher, table, "batch")
        assert batch < 1.3 * full
        # One block after the other, as was done before, is what the warning is for.
        monkeypatch.setattr("tsne_ooc.parametric.outset.UNEVEN", 2.0)
        assert learnt(teacher, table, "batch") > 1.5 * full


def test_rows_in_random_order_are_read_block_by_block(classes, teacher, small):
    X = classes[np.random.default_rng(1).permutation(len(classes))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert learnt(teacher, X, "batch") < 0.5


def test_the_share_between_blocks_is_that_of_an_analysis_of_variance():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(600, 3)) + np.repeat(rng.normal(size=(12, 3)), 50, axis=0)
    edges = np.array([(a, a + 50) for a in range(0, 600, 50)])
    groups = X.reshape(12, 50, 3)
    inside = np.square(groups - groups.mean(axis=1, keepdims=True)).sum() / (600 - 12)
    whole = np.square(X - X.mean(axis=0)).sum() / (600 - 1)
    # The same as one minus the ratio of unbiased variances.
    assert between(np.arange(600), X, edges) == pytest.approx(1 - inside / whole, rel=1e-6)
    some = np.sort(rng.permutation(600)[:300])
    assert between(some, X[some], edges) == pytest.approx(1 - inside / whole, abs=0.1)
    # Blocks of which no row was drawn say nothing, and those behind them all the same.
    gaps = np.setdiff1d(np.arange(600), np.r_[0:50, 200:300, 550:600])
    inside = np.square(groups[[1, 2, 3, *range(6, 11)]] - groups[[1, 2, 3, *range(6, 11)]].mean(axis=1, keepdims=True))
    whole = np.square(X[gaps] - X[gaps].mean(axis=0)).sum() / (400 - 1)
    assert between(gaps, X[gaps], edges) == pytest.approx(1 - inside.sum() / (400 - 8) / whole, rel=1e-6)
    assert between(some[:1], X[some[:1]], edges) == 0.0
    assert between(np.arange(600), np.ones((600, 3)), edges) == 0.0
    assert between(np.arange(600), X, np.array([(0, 600)])) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_random_order_is_even_and_a_shift_is_not(seed):
    rng = np.random.default_rng(seed)
    # A few rows far from all others, as real tables have them.
    X = (rng.standard_t(2.5, size=(6000, 4)) * [1, 5, 20, 1]).astype(np.float32)
    edges = np.array([(a, a + 100) for a in range(0, 6000, 100)])
    assert between(np.arange(6000), X, edges) < UNEVEN
    X[:3000] += X.std(axis=0)
    assert between(np.arange(6000), X, edges) > UNEVEN


def test_batches_say_how_even_their_blocks_are(classes, small):
    rows = np.arange(len(classes))
    assert Batches(classes, shuffle="batch").uneven(rows, classes) > 0.8
    assert Batches(classes, shuffle="full").uneven(rows, classes) == 0.0


@pytest.mark.parametrize("shuffle", ["batch", "buffer"])
def test_each_buffer_of_a_sorted_table_has_all_of_its_classes(monkeypatch, shuffle):
    # A buffer holds a quarter of the table, and the rarest class is a run shorter than a 64th of a buffer.
    counts = [20_000, 15_000, 4_900, 100]
    y = np.repeat(np.arange(4), counts)
    X = np.c_[y, np.random.default_rng(0).normal(size=(len(y), 3))].astype(np.float32)
    monkeypatch.setattr(sizes, "BUFFER_BYTES", X.nbytes // 4)
    monkeypatch.setattr(sizes, "_BLOCK_BYTES", X.nbytes // 20)
    table = as_source(X)
    told = pytest.warns(UserWarning, match="mixed in a buffer") if shuffle == "batch" else contextlib.nullcontext()
    with told:
        batches = batches_of(table, 250, shuffle, 0, glance(table, 0))
    assert batches.buffer_rows == 10_000
    shares = np.array([np.bincount(y[rows], minlength=4) for rows in np.split(order_of(batches), 4)]) / 10_000
    # The shares of m blocks drawn at random vary by (1 - 1/4) p (1 - p) / m; so they are within 4 deviations.
    p, m = np.array(counts) / len(y), 10_000 / 9
    assert (np.abs(shares - p) < 4 * np.sqrt(0.75 * p * (1 - p) / m) + 1e-9).all()


def order_of(batches):
    return np.concatenate([rows for rows, _ in batches.epoch(0)])


def test_blocks_of_a_sorted_table_are_small_and_whole_chunks(tmp_path):
    assert sizes.mixed_rows_for(as_source(np.zeros((20_000, 16), np.float32))) == 1024
    # A row of 128 KiB is a block of its own.
    assert sizes.mixed_rows_for(as_source(np.broadcast_to(np.float32(0), (4000, 1 << 15)))) == 1
    with h5py.File(tmp_path / "chunks.h5", "w") as f:
        for chunk, rows in ((100, 1000), (1024, 1024), (5000, 5000)):
            data = np.zeros((20_000, 16), np.float32)
            table = as_source(f.create_dataset(f"of {chunk}", data=data, chunks=(chunk, 16)))
            assert sizes.mixed_rows_for(table) == rows


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_small_blocks_are_so_many_rows_of_every_type(dtype):
    table = as_source(np.zeros((20_000, 16), dtype))
    assert sizes.mixed_rows_for(table) == sizes.buffer_rows_for(table, None) // 1024
