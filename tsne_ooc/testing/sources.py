"""The contract of sources, compared with the array that a table stands for."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tsne_ooc._typing import Array, Float64
from tsne_ooc.io import Source, as_source, differences, identity_of, iterate, open_source
from tsne_ooc.testing.bits import assert_same_bits

N, P = 103, 7


def table(seed: int = 0) -> Float64:
    """Multiples of 1/8, which are exact in single precision; half of them zero, one row all zero."""
    rng = np.random.default_rng(seed)
    X = rng.integers(-400, 400, (N, P)) / 8 * (rng.random((N, P)) < 0.5)
    X[11] = 0
    # This removes -0, which sparse forms do not tell from 0.
    return X + 0.0


def rows_of(source: Source, start: int, stop: int) -> Array:
    return np.asarray(source.read(start, stop))


class SourceContract:
    """What each `Source` promises, and each reader with a shape and slices once `open_source` has made a source of it.

    Attributes
    ----------
    dtype : str, default "f4"
        The type of the numbers that it stores.
    dataset : str, optional
        The `dataset` of `open_source`.
    on_disk : bool, default True
        Whether it leads to files; a pickle then names these and does not hold their contents.
    """

    dtype: str = "f4"
    dataset: str | None = None
    on_disk: bool = True

    def make(self, X: Array, folder: Path) -> Any:
        """An object that `open_source` takes and that holds the rows X; its files go into `folder`."""
        raise NotImplementedError

    @pytest.fixture
    def case(self) -> Any:
        """The object with the attributes of this class: itself, unless a subclass has several sources."""
        return self

    @pytest.fixture
    def opened(self, case: Any, tmp_path: Path) -> Iterator[tuple[Array, Any]]:
        """A table and its source."""
        X = table().astype(case.dtype)
        with open_source(case.make(X, tmp_path), dataset=case.dataset) as source:  # type: ignore[attr-defined]
            yield X, source

    def test_attributes(self, opened: Any) -> None:
        X, source = opened
        assert isinstance(source, Source)
        assert as_source(source) is source
        assert source.shape == X.shape
        assert isinstance(source.dtype, np.dtype)
        assert source.chunks is None or (len(source.chunks) == 2 and min(source.chunks) >= 1)
        assert str(N) in repr(source)

    def test_any_rows(self, opened: Any) -> None:
        X, source = opened
        for start, stop in [(0, N), (5, 9), (9, 31), (0, 1), (N - 1, N), (11, 12), (30, 30), (0, 0), (N, N)]:
            found = rows_of(source, start, stop)
            assert found.shape == (stop - start, P)
            np.testing.assert_array_equal(found, X[start:stop])

    def test_what_was_read_is_the_callers_own(self, opened: Any, case: Any) -> None:
        """A caller who changes the rows of one read does not change what later reads give."""
        X, source = opened
        if not case.on_disk:
            pytest.skip("rows of a table in memory are views of it")
        found = rows_of(source, 5, 20)
        if found.flags.writeable:
            found[...] = 7
        np.testing.assert_array_equal(rows_of(source, 5, 20), X[5:20])
        np.testing.assert_array_equal(rows_of(source, 0, 30), X[:30])

    def test_threads_each_with_their_own(self, opened: Any) -> None:
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

    def test_pickles(self, opened: Any, case: Any) -> None:
        X, source = opened
        text = pickle.dumps(source)
        with pickle.loads(text) as other:
            assert other.shape == source.shape and other.dtype == source.dtype and other.chunks == source.chunks
            np.testing.assert_array_equal(rows_of(other, 0, N), X)
            assert not differences(identity_of(source), identity_of(other))
        if case.on_disk:
            # The pickle holds a path, not the rows.
            assert len(text) < 1000 < X.nbytes

    def test_blocks_of_any_size_are_the_table(self, opened: Any) -> None:
        X, source = opened
        rng = np.random.default_rng(0)
        cases: list[tuple[int | None, int, list[int]]] = [(None, 28, [0, N]), (1, 5000, [0, N]), (N + 5, 28, [N, N])]
        for _ in range(9):
            most = int(rng.integers(1, N + 6)) if rng.random() < 0.7 else None
            cases.append((most, int(rng.integers(28, 5001)), np.sort(rng.integers(0, N + 1, 2)).tolist()))
        for rows, limit, (start, stop) in cases:
            blocks = list(iterate(source, bytes=limit, rows=rows, start=start, stop=stop))
            assert all(block.dtype == np.float32 and block.flags.c_contiguous for _, _, block in blocks)
            joined = np.concatenate([np.empty((0, P), np.float32), *(block for _, _, block in blocks)])
            assert_same_bits(joined, X[start:stop].astype(np.float32))

    def test_a_bad_cell_is_named(self, case: Any, tmp_path: Path) -> None:
        X = table().astype(case.dtype)
        if X.dtype.kind != "f":
            pytest.skip("whole numbers have no NaN")
        X[76, 4] = np.nan
        with (
            open_source(case.make(X, tmp_path), dataset=case.dataset) as source,  # type: ignore[attr-defined]
            pytest.raises(ValueError, match="NaN at row 76, column 4"),
        ):
            for _ in iterate(source, rows=10):
                pass

    def test_an_error_amid_a_read_names_the_rows(self, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        _, source = opened
        read = type(source).read

        def torn(self: Any, start: int, stop: int) -> Any:
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

    def test_identity_is_stable(self, opened: Any) -> None:
        _, source = opened
        first = identity_of(source)
        assert json.loads(json.dumps(first)) == first
        with source.reopen() as again:
            assert differences(json.loads(json.dumps(first)), identity_of(again)) == []
        assert identity_of(source) == first

    def test_identity_tells_changes(self, case: Any, tmp_path: Path) -> None:
        X = table().astype(case.dtype)

        def remade(name: str, rows: Array) -> dict[str, Any]:
            (tmp_path / name).mkdir()
            made = case.make(rows, tmp_path / name)
            with open_source(made, dataset=case.dataset) as source:  # type: ignore[attr-defined]
                return identity_of(source)

        first = remade("first", X)
        assert differences(first, remade("copy", X)) == []
        for row in (0, N - 1):
            other = X.copy()
            other[row, np.flatnonzero(X[row])[0]] += 1
            assert "contents of the rows looked at have changed" in differences(first, remade(f"row {row}", other))
        shorter = differences(first, remade("shorter", X[:-1]))
        assert f"shape was [{N}, {P}], is [{N - 1}, {P}]" in shorter
        retyped = differences(first, remade("other type", X.astype("f4" if X.itemsize == 8 else "f8")))
        assert any(line.startswith("type of numbers was") for line in retyped)

    def test_a_touched_file_is_the_same_table(self, case: Any, tmp_path: Path) -> None:
        if not case.on_disk:
            pytest.skip("there is no file")
        made = case.make(table().astype(case.dtype), tmp_path)
        with open_source(made, dataset=case.dataset) as source:  # type: ignore[attr-defined]
            first = identity_of(source)
            for path in [tmp_path, *tmp_path.rglob("*")]:
                os.utime(path, ns=(1, 1))
            second = identity_of(source)
        assert second["mtime_ns"] != first["mtime_ns"]
        assert differences(first, second) == []
