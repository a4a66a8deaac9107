"""Pieces of storage that are larger than blocks are unpacked once where rows are read in order."""

import gc
import threading
import time
import warnings

import h5py
import numpy as np
import pytest

from tsne_ooc.io import bands, hdf5, iterate, open_source, shared_parts
from tsne_ooc.io.bands import BandedRows

N, P = 400, 10


def numbers():
    return np.random.default_rng(0).normal(size=(N, P)).astype("f4")


@pytest.fixture
def small(monkeypatch):
    """As if little memory were to be used: no chunk fits a cache, none is kept but for being a chunk."""
    monkeypatch.setattr(bands, "LARGEST", 100)
    monkeypatch.setattr(hdf5, "_default_cache", lambda item: 100)


def in_blocks(source):
    blocks = [block for _, _, block in iterate(source, rows=30)]
    np.testing.assert_array_equal(np.concatenate(blocks), numbers())
    # And in no order.
    for start, stop in [(390, 400), (0, 3), (95, 205), (199, 200), (50, 50), (0, N)]:
        np.testing.assert_array_equal(source.read(start, stop), numbers()[start:stop])


@pytest.mark.parametrize("chunks, once", [((100, P), True), ((100, P // 2), True), ((100, 1), False), ((N, P), True)])
def test_hdf5(tmp_path, monkeypatch, small, chunks, once):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("X", data=numbers(), chunks=chunks, compression="gzip")
    read = []
    original = hdf5.Hdf5Source._read
    monkeypatch.setattr(hdf5.Hdf5Source, "_read", lambda self, *at: read.append(at) or original(self, *at))
    with open_source(tmp_path / "x.h5") as source:
        list(iterate(source, rows=30))
        whole = [(start, start + chunks[0]) for start in range(0, N, chunks[0])]
        # Where a row of chunks is much more than a chunk, keeping it would take memory that reading it does not.
        assert (read == whole) is once
        in_blocks(source)
        with source.reopen() as again:
            in_blocks(again)
    with h5py.File(tmp_path / "x.h5") as file:
        read.clear()
        list(iterate(open_source(file["X"]), rows=30))
        assert (read == whole) is once


def test_tables_without_rows(tmp_path, small):
    zarr = pytest.importorskip("zarr")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("X", shape=(0, P), maxshape=(None, P), chunks=(100, P), dtype="f4")
    zarr.create_array(tmp_path / "x.zarr", shape=(0, P), chunks=(100, P), dtype="f4")
    for name in ("x.h5", "x.zarr"):
        with open_source(tmp_path / name) as source:
            assert source.shape == (0, P) and source.read(0, 0).shape == (0, P)
            assert [block.shape for _, _, block in iterate(source, rows=30) if len(block)] == []


@pytest.mark.parametrize("chunks, once", [((100, P), True), ((100, 1), False)])
def test_zarr(tmp_path, monkeypatch, small, chunks, once):
    zarr = pytest.importorskip("zarr")
    zarr.create_array(tmp_path / "x.zarr", data=numbers(), chunks=chunks)
    read = []
    original = zarr.Array.__getitem__
    monkeypatch.setattr(zarr.Array, "__getitem__", lambda self, at: read.append(at) or original(self, at))
    with open_source(tmp_path / "x.zarr") as source:
        list(iterate(source, rows=30))
        assert (len(read) == N // 100) is once
        in_blocks(source)


def test_dask(small):
    da = pytest.importorskip("dask.array")
    read = []

    def made(block_info=None):
        start, stop = block_info[None]["array-location"][0]
        read.append(start)
        return numbers()[start:stop]

    X = da.map_blocks(made, chunks=((100,) * 4, (P,)), dtype="f4", meta=np.empty((0, 0), "f4"))
    source = open_source(X)
    list(iterate(source, rows=30))
    assert read == [0, 100, 200, 300]
    in_blocks(source)


def test_edges_are_looked_up_and_not_walked_along():
    # 200 reads among five million edges took 4 s.
    edges = np.arange(5_000_001, dtype=np.int64)
    rows = BandedRows(edges, lambda start, stop: np.zeros((stop - start, 1), "f4"), 4)
    began = time.process_time()
    for start in range(0, 200_000, 1000):
        assert rows.read(start, start + 10).shape == (10, 1)
    assert time.process_time() - began < 1


def counted(da):
    """The table as a lazy array, and how often each of its 40 chunks was computed."""
    lock, times = threading.Lock(), np.zeros(40, int)

    def made(block_info=None):
        at = block_info[None]["chunk-location"][0]
        with lock:
            times[at] += 1
        return numbers()[10 * at : 10 * at + 10]

    return da.map_blocks(made, chunks=((10,) * 40, (P,)), dtype="f4", meta=np.empty((0, 0), "f4")), times


def scaled(da, X):
    return (X - X.mean(axis=0)) / X.std(axis=0)


def components(da, X):
    centred = X - X.mean(axis=0)
    return centred @ da.linalg.svd_compressed(centred, 2, seed=0)[2].T


#: What is made of a table; how often its chunks are computed at the most; whether its parts are too many to be kept.
LAZY = {
    "plain": (lambda da, X: X, 1, False),
    "centred": (lambda da, X: X - X.mean(axis=0), 2, False),
    "centred by a value": (lambda da, X: X - X.mean(axis=0).compute(), 2, False),
    "scaled": (scaled, 3, False),
    "components": (components, 12, False),
    "in other chunks": (lambda da, X: (X * 2).rechunk((37, 10)), 2, False),
    "in columns": (lambda da, X: (X - X.mean(axis=0)).rechunk((10, 4)), 2, False),
    "with neighbours": (lambda da, X: da.overlap.overlap(X - X.max(axis=0), {0: 2}, {0: "none"}), 4, False),
    "summed up": (lambda da, X: da.cumsum(X, axis=0), 5, True),
    "in another order": (lambda da, X: X[np.random.default_rng(0).permutation(N)], 2, True),
}


@pytest.mark.parametrize("kind", LAZY)
def test_parts_that_blocks_of_dask_share_are_computed_once(kind):
    da = pytest.importorskip("dask.array")
    make, most, _ = LAZY[kind]
    table, times = counted(da)
    X = make(da, table)
    wanted = X.compute()
    times[:] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = open_source(X)
        assert times.sum() == 0, "a look at a table computes nothing"
        # As a fit has it: looked at anew, and by others.
        found = np.concatenate([block for _, _, block in iterate(source, rows=10)])
        assert times.max() <= most
        again = times.copy()
        for other in (source.reopen(), open_source(X)):
            np.testing.assert_array_equal(other.read(5, 25), found[5:25])
    assert (times - again).max() <= 2 * 3, "the parts are not computed again"
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", LAZY)
def test_workers_get_what_was_computed(kind):
    da = pytest.importorskip("dask.array")
    pickle = pytest.importorskip("cloudpickle")
    X = LAZY[kind][0](da, da.from_array(numbers(), chunks=(10, P)))
    source = open_source(X)
    copies = [pickle.dumps(source)]
    wanted = source.read(5, 25)
    copies.append(pickle.dumps(source))
    for copy in copies:
        np.testing.assert_array_equal(pickle.loads(copy).read(5, 25), wanted)


@pytest.mark.parametrize("kind", LAZY)
def test_parts_too_many_to_be_kept_are_told(kind, monkeypatch):
    da = pytest.importorskip("dask.array")
    monkeypatch.setattr(shared_parts, "LARGEST", 400)
    make, _, many = LAZY[kind]
    X = make(da, counted(da)[0])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        source = open_source(X)
        source.reopen()
        open_source(X)
    assert len(told) <= 1 and all(str(warning.message).startswith("each of the ") for warning in told)
    assert all("compute those first, or write" in str(warning.message) for warning in told)
    assert bool(told) <= many and (kind != "summed up" or told)
    np.testing.assert_allclose(source.read(5, 25), X[5:25].compute(), rtol=1e-5, atol=1e-6)


def test_arrays_of_older_versions_of_dask_share_parts_by_their_name():
    """They have no weak references; nothing is kept longer than a source lives."""

    class Old:
        __slots__ = ("name",)
        ndim, numblocks = 1, ()

        def __init__(self, name):
            self.name = name

        def __dask_graph__(self):
            return {}

    one, same, other = Old("a"), Old("a"), Old("b")
    before = dict(shared_parts._of_arrays)
    parts = shared_parts.shared_parts(one)
    assert shared_parts.shared_parts(same) is parts is shared_parts.shared_parts(one)
    assert shared_parts.shared_parts(other) is not parts and shared_parts._of_arrays == before
    del parts
    gc.collect()
    assert not {"a", "b"} & set(shared_parts._of_names)


class Steps:
    """A lazy array in two dimensions as far as its steps go; `parts` of them are taken by every block of rows.

    Parameters
    ----------
    blocks : int
    parts : int
    of_one, of_all : int
        How many steps the middle block takes, and how many there are.
    """

    ndim, dtype, name = 2, np.dtype("f8"), "x"

    def __init__(self, blocks, parts, of_one, of_all, rows=10, columns=(4, 2)):
        self.numblocks, self.chunks = (blocks, len(columns)), ((rows,) * blocks, columns)
        self.parts, self.of_one, self.of_all, self.asked = parts, of_one, of_all, []

    def __dask_graph__(self):
        return self

    def __len__(self):
        return self.of_all

    def __dask_keys__(self):
        return [[(at, j) for j in range(self.numblocks[1])] for at in range(self.numblocks[0])]

    def cull(self, keys):
        self.asked += keys
        return range(self.of_one)

    def get_all_dependencies(self):
        parts = [f"part{at}" for at in range(self.parts)]
        return {key: set(parts) for row in self.__dask_keys__() for key in row} | {part: set() for part in parts}


def made(warned=False, **options):
    """The shared parts, and whether it is told that they are too many."""
    data = Steps(**options)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = shared_parts.SharedParts(data)
    assert bool(told) == warned
    return sorted(found.keys)


@pytest.mark.parametrize("blocks, shared", [(0, False), (1, False), (4, False), (5, True), (9, True)])
def test_parts_of_a_few_blocks_are_those_of_neighbours(blocks, shared):
    assert made(blocks=blocks, parts=1, of_one=100, of_all=100) == ["part0"] * shared


@pytest.mark.parametrize("of_one, shared", [(12, False), (13, True)])
def test_a_fifth_of_the_work_may_be_done_more_than_once(of_one, shared):
    """Ten blocks of twelve steps each take 120 of 100."""
    assert made(blocks=10, parts=1, of_one=of_one, of_all=100) == ["part0"] * shared


def test_the_middle_block_is_looked_at():
    for blocks, middle in ((9, 4), (10, 5)):
        data = Steps(blocks, 1, 1, 1000)
        shared_parts.SharedParts(data)
        assert data.asked == [(middle, 0), (middle, 1)]


@pytest.mark.parametrize("largest, parts, kept", [
    # A chunk is at most 10 rows of 4 columns of 8 bytes: 320. Four of any size are few enough.
    (0, 4, True), (0, 5, False), (1599, 5, False), (1600, 5, True), (1600, 6, False),
])  # fmt: skip
def test_parts_are_kept_where_they_are_few_or_small(largest, parts, kept, monkeypatch):
    monkeypatch.setattr(shared_parts, "LARGEST", largest)
    found = made(blocks=7, parts=parts, of_one=100, of_all=100)
    assert found == [f"part{at}" for at in range(parts)] * kept


@pytest.mark.parametrize("blocks, of_one, told", [(7, 1000, False), (8, 100, False), (8, 101, True), (10, 80, False),
                                                  (10, 81, True)])  # fmt: skip
def test_work_that_is_done_eight_times_is_told(blocks, of_one, told, monkeypatch):
    """Where it cannot be spared: too many parts to be kept. Fewer blocks than eight cannot do it eight times."""
    monkeypatch.setattr(shared_parts, "LARGEST", 0)
    assert made(blocks=blocks, parts=5, of_one=of_one, of_all=100, warned=told) == []
    # Where all fits, nothing is told.
    assert len(made(blocks=blocks, parts=4, of_one=of_one, of_all=100)) == 4


def test_a_table_of_one_axis_shares_nothing():
    data = Steps(9, 1, 100, 100)
    data.ndim = 1
    assert shared_parts.SharedParts(data).keys == [] and not data.asked


def test_a_graph_that_cannot_be_culled_is_left_alone():
    data = Steps(9, 1, 100, 100)
    data.__dask_graph__ = dict
    assert shared_parts.SharedParts(data).keys == []


def slow_shared(depends, blocks):
    """Steps that more than four blocks take, themselves or by steps that are not shared."""
    takers = {step: [other for other, parts in depends.items() if step in parts] for step in depends}
    found = {}

    def needed(step):
        if step not in found:
            found[step] = {blocks[step]} if step in blocks else set()
            for other in takers[step]:
                if len(needed(other)) <= 4:
                    found[step] |= needed(other)
        return found[step]

    return sorted(step for step in depends if len(needed(step)) > 4)


@pytest.mark.parametrize("seed", range(12))
def test_shared_is_what_more_than_four_blocks_take(seed):
    """Two columns of blocks, whose steps stand on those before them; a block may itself be a step of others."""
    rng = np.random.default_rng(seed)
    data = Steps(9, 0, 1, 1)
    steps = [f"step{at:02}" for at in range(25)]
    depends = {name: set(rng.choice(steps[:at], min(at, rng.integers(0, 3)), replace=False).tolist())
               for at, name in enumerate(steps)}  # fmt: skip
    blocks = {key: number for number, row in enumerate(data.__dask_keys__()) for key in row}
    for key in blocks:
        depends[key] = set(rng.choice(steps, rng.integers(1, 4), replace=False).tolist())
    depends[(7, 1)].add((3, 0))
    data.get_all_dependencies = lambda: depends
    assert sorted(shared_parts._shared(data), key=str) == sorted(slow_shared(depends, blocks), key=str)
    assert len(set(shared_parts._shared(data))) == len(shared_parts._shared(data))


@pytest.mark.parametrize("short", [0, 1])
def test_values_are_kept_where_all_of_them_are_small(short, monkeypatch):
    """They are put in their place to the byte that is allowed, and with a byte less each block has its own again."""
    da = pytest.importorskip("dask.array")
    from dask.sizeof import sizeof

    X = da.from_array(numbers(), chunks=(10, P))
    X = X - X.mean(axis=0)
    parts = shared_parts.SharedParts(X)
    assert parts.keys and parts.kept(X) is not X
    size = sum(map(sizeof, parts._values.values()))
    again = shared_parts.SharedParts(X)
    monkeypatch.setattr(shared_parts, "LARGEST", size - short)
    found = again.kept(X)
    assert (found is X) == bool(short)
    values = again._values
    assert again.kept(X) is not None and again._values is values
    assert found.dtype == X.dtype and found.chunks == X.chunks and type(found._meta) is type(X._meta)
    np.testing.assert_allclose(found[7:33].compute(), X[7:33].compute(), atol=1e-6)
