"""What every source promises, held against the array it stands for."""

from __future__ import annotations

import json
import os
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from containers import ADAPTERS, Adapter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tsne_ooc.io import Source, as_source, differences, identity_of, iterate, open_source

N, P = 103, 7


def table(seed: int = 0) -> np.ndarray:
    """Multiples of 1/8, so that they are exact in every type used here; half of them zero, one row all zero."""
    rng = np.random.default_rng(seed)
    X = rng.integers(-400, 400, (N, P)) / 8 * (rng.random((N, P)) < 0.5)
    X[11] = 0
    # No -0: sparse forms do not tell it from 0.
    return X + 0.0


@pytest.fixture(params=ADAPTERS)
def adapter(request: pytest.FixtureRequest) -> Adapter:
    found = ADAPTERS[request.param]
    if found.needs is not None:
        pytest.importorskip(found.needs)
    return found


@pytest.fixture
def opened(adapter: Adapter, tmp_path: Path) -> Any:
    """A table and its source."""
    X = table().astype(adapter.dtype)
    with open_source(adapter.make(X, tmp_path), dataset=adapter.dataset) as source:
        yield X, source


def rows_of(source: Source, start: int, stop: int) -> np.ndarray:
    return np.asarray(source.read(start, stop))


def test_attributes(opened):
    X, source = opened
    assert isinstance(source, Source)
    assert as_source(source) is source
    assert source.shape == X.shape
    assert isinstance(source.dtype, np.dtype)
    assert source.chunks is None or (len(source.chunks) == 2 and min(source.chunks) >= 1)
    assert str(N) in repr(source)


def test_any_rows(opened):
    X, source = opened
    for start, stop in [(0, N), (5, 9), (9, 31), (0, 1), (N - 1, N), (11, 12), (30, 30), (0, 0), (N, N)]:
        found = rows_of(source, start, stop)
        assert found.shape == (stop - start, P)
        np.testing.assert_array_equal(found, X[start:stop])


def test_what_was_read_is_the_callers_own(opened, adapter):
    """Nothing kept between reads may be changed through what they gave."""
    X, source = opened
    if not adapter.on_disk:
        pytest.skip("rows of a table in memory are views of it")
    found = rows_of(source, 5, 20)
    if found.flags.writeable:
        found[...] = 7
    np.testing.assert_array_equal(rows_of(source, 5, 20), X[5:20])
    np.testing.assert_array_equal(rows_of(source, 0, 30), X[:30])


def test_threads_each_with_their_own(opened):
    X, source = opened
    with ThreadPoolExecutor(4) as pool:

        def work(seed: int) -> bool:
            rng = np.random.default_rng(seed)
            with source.reopen() as mine:
                for _ in range(8):
                    start, stop = np.sort(rng.integers(0, N + 1, 2))
                    if not np.array_equal(rows_of(mine, int(start), int(stop)), X[start:stop]):
                        return False
            return True

        assert all(pool.map(work, range(4)))
    np.testing.assert_array_equal(rows_of(source, 3, 50), X[3:50])


def test_pickles(opened, adapter):
    X, source = opened
    text = pickle.dumps(source)
    with pickle.loads(text) as other:
        assert other.shape == source.shape and other.dtype == source.dtype and other.chunks == source.chunks
        np.testing.assert_array_equal(rows_of(other, 0, N), X)
        assert not differences(identity_of(source), identity_of(other))
    if adapter.on_disk:
        # What is pointed at stays where it is.
        assert len(text) < 1000 < X.nbytes


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.none() | st.integers(1, N + 5),
    limit=st.integers(28, 5000),
    cut=st.tuples(st.integers(0, N), st.integers(0, N)),
)
def test_blocks_of_any_size_are_the_table(opened, rows, limit, cut):
    X, source = opened
    start, stop = sorted(cut)
    blocks = list(iterate(source, bytes=limit, rows=rows, start=start, stop=stop))
    assert all(block.dtype == np.float32 and block.flags.c_contiguous for _, _, block in blocks)
    joined = np.concatenate([np.empty((0, P), np.float32), *(block for _, _, block in blocks)])
    assert joined.tobytes() == np.ascontiguousarray(X[start:stop], np.float32).tobytes()


def test_a_bad_cell_is_named(adapter, tmp_path):
    X = table().astype(adapter.dtype)
    if X.dtype.kind != "f":
        pytest.skip("whole numbers have no NaN")
    X[76, 4] = np.nan
    with (
        open_source(adapter.make(X, tmp_path), dataset=adapter.dataset) as source,
        pytest.raises(ValueError, match="NaN at row 76, column 4"),
    ):
        for _ in iterate(source, rows=10):
            pass


def test_an_error_amid_a_read_names_the_rows(opened, monkeypatch):
    _, source = opened

    read = type(source).read

    def torn(self, start, stop):
        if stop > 40:
            raise OSError("wrong checksum\nand more")
        return read(self, start, stop)

    monkeypatch.setattr(type(source), "read", torn)
    seen = 0
    with pytest.raises(OSError, match=r"^rows \d+ to \d+ of .*103.* could not be read: wrong checksum$") as caught:
        for _, stop, _ in iterate(source, rows=10):
            seen = stop
    first, last = map(int, re.findall(r"\d+", str(caught.value))[:2])
    assert first == seen <= 40 <= last < seen + 10


def test_identity_is_stable(opened):
    _, source = opened
    first = identity_of(source)
    assert json.loads(json.dumps(first)) == first
    with source.reopen() as again:
        assert differences(json.loads(json.dumps(first)), identity_of(again)) == []
    assert identity_of(source) == first


def remade(adapter: Adapter, folder: Path, X: np.ndarray) -> dict[str, Any]:
    folder.mkdir()
    with open_source(adapter.make(X, folder), dataset=adapter.dataset) as source:
        return identity_of(source)


def test_identity_tells_changes(adapter, tmp_path):
    X = table().astype(adapter.dtype)
    first = remade(adapter, tmp_path / "first", X)
    assert differences(first, remade(adapter, tmp_path / "copy", X)) == []

    for row in (0, N - 1):
        other = X.copy()
        other[row, np.flatnonzero(X[row])[0]] += 1
        assert "contents of the rows looked at have changed" in differences(
            first, remade(adapter, tmp_path / f"row {row}", other)
        )
    shorter = differences(first, remade(adapter, tmp_path / "shorter", X[:-1]))
    assert f"shape was [{N}, {P}], is [{N - 1}, {P}]" in shorter
    other_type = "f4" if X.itemsize == 8 else "f8"
    retyped = differences(first, remade(adapter, tmp_path / "other type", X.astype(other_type)))
    assert any(line.startswith("type of numbers was") for line in retyped)


def test_a_touched_file_is_the_same_table(adapter, tmp_path):
    if not adapter.on_disk:
        pytest.skip("there is no file")
    made = adapter.make(table().astype(adapter.dtype), tmp_path)
    with open_source(made, dataset=adapter.dataset) as source:
        first = identity_of(source)
        for path in [tmp_path, *tmp_path.rglob("*")]:
            os.utime(path, ns=(1, 1))
        second = identity_of(source)
    assert second["mtime_ns"] != first["mtime_ns"]
    assert differences(first, second) == []
