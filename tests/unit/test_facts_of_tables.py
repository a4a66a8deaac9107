"""Whether a table is the one that it was: facts, rows that are looked at, words."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from stored import Rows

from tsne_ooc.io import identity
from tsne_ooc.io.identity import _begins, _probes, differences

FACTS = {
    "kind": "array", "dataset": "X", "columns": ["a"], "shape": [5, 2], "dtype": "<f4", "size": 7, "files": "f",
    "probes": "p", "own": {"version": 1}, "path": "/x", "mtime_ns": 5,
}  # fmt: skip
WORDS = {
    "kind": "kind of source was array, is 0", "dataset": "dataset was X, is 0", "columns": "columns was ['a'], is 0",
    "shape": "shape was [5, 2], is 0", "dtype": "type of numbers was <f4, is 0",
    "size": "size of the file in bytes was 7, is 0",
    "files": "names or sizes of the files have changed", "probes": "contents of the rows looked at have changed",
    "own": "identity it gives itself was {'version': 1}, is 0", "path": None, "mtime_ns": None,
}  # fmt: skip


@pytest.mark.parametrize("key", FACTS)
@pytest.mark.parametrize("other", FACTS)
def test_each_fact_that_differs_is_told(key, other):
    changed = {**FACTS, key: 0, other: 0}
    wanted = [words for name, words in WORDS.items() if name in (key, other) and words]
    # What a table says of itself is long, and follows from the others where these differ.
    wanted = wanted[:1] if WORDS["own"] in wanted else wanted
    assert sorted(differences(FACTS, changed)) == sorted(wanted)
    without = {name: value for name, value in FACTS.items() if name != other}
    alone = [words for name, words in WORDS.items() if name == key and words and name != other]
    assert differences(without, {**FACTS, key: 0}) == alone
    assert differences({**FACTS, key: 0}, without) == [
        words.replace("was " + words.partition("was ")[2], f"was 0, is {FACTS[name]}") if " was " in words else words
        for name, words in WORDS.items()
        if name == key and words and name != other
    ]


@pytest.mark.parametrize(
    "name, own, begins",
    [
        ("map", "map", True), ("map.ledger", "map", True), (".map.x.part", "map", True), ("map2", "map", False),
        (".map", "map", False), ("..map.x", "map", False), ("other.map", "map", False), ("map.", "map", True),
    ],
)  # fmt: skip
def test_what_is_kept_beside_a_run_begins_with_its_name(name, own, begins):
    assert _begins(name, own) is begins


@pytest.mark.parametrize("n", [0, 1, 2, 9, 10, 11, 20, 1000])
@pytest.mark.parametrize("kind", ["f4", ">f4", "u1"])
def test_ten_rows_of_a_table_are_its_digest(n, kind):
    """The first, the last and eight between, each once and in order, in the order of bytes of this machine's files."""
    X = np.arange(3 * n).reshape(n, 3).astype(kind)
    rows = [n - 1 if i == 9 else (n - 1) * i // 9 for i in range(10)] if n else []
    rows = sorted(set(rows))
    digest = hashlib.sha256(
        b"".join(X[row : row + 1].astype(np.dtype(kind).newbyteorder("<")).tobytes() for row in rows)
    )
    for table in (Rows(X), Rows(np.asfortranarray(X)), Rows(X.repeat(2, 1)[:, ::2])):
        assert _probes(table) == digest.hexdigest()
        assert table.asked == [(row, row + 1) for row in rows]


def test_rows_that_lack_values_are_looked_at_as_they_are():
    class Gaps(Rows):
        def read(self, start, stop):
            raise ValueError("no value")

    class Filled(Gaps):
        def read_with_gaps(self, start, stop):
            return Rows.read(self, start, stop)

    X = np.arange(12.0).reshape(6, 2)
    X[3, 1] = np.nan
    assert _probes(Filled(X)) == _probes(Rows(X))
    with pytest.raises(ValueError, match=r"^rows 0 to 0 of .* could not be read: no value$"):
        _probes(Gaps(X))


def test_words_are_looked_at_column_by_column():
    class Words(Rows):
        def read_columns(self, start, stop):
            self.asked.append((start, stop))
            return {"a": self.X[start:stop, 0], "b": self.X[start:stop, 1].astype(float)}

    X = np.array([["x", 1], ["y", 2], [None, 3]], object)
    table = Words(X)
    first = _probes(table)
    assert table.asked == [(0, 1), (1, 2), (2, 3)]
    digest = hashlib.sha256()
    for word, number in X.tolist():
        digest.update(repr([[word], [float(number)]]).encode())
    assert first == digest.hexdigest()
    X[1, 0] = "z"
    assert _probes(Words(X)) != first
    # Numbers are read as rows, though they have names, too; objects without names are rows of objects.
    numbers = Words(np.arange(6.0).reshape(3, 2))
    assert _probes(numbers) == _probes(Rows(numbers.X))
    assert _probes(Rows(X)) == hashlib.sha256("".join(repr([row]) for row in X.tolist()).encode()).hexdigest()


@pytest.mark.parametrize("opened", [True, False])
@pytest.mark.parametrize("closes", [True, False])
def test_a_table_is_looked_at_through_a_handle_of_its_own(opened, closes, monkeypatch):
    """Where it was opened here; it is closed again, and one that belongs to somebody else is not."""
    told, closed = [], []

    class Table(Rows):
        opened_here, chunks = opened, None

        def reopen(self):
            told.append("reopened")
            again = Table(self.X)
            again.first = False
            return again

    if closes:
        Table.close = lambda self: closed.append(getattr(self, "first", True))
    X = np.arange(6.0).reshape(3, 2)
    table = Table(X)
    before = identity.identity_of(table)
    asked = []
    real = identity.identity_of
    monkeypatch.setattr(identity, "identity_of", lambda t, **how: asked.append(how) or real(t, **how))
    assert identity.changes(table, before, without="out") == []
    assert asked == [{"without": "out"}]
    assert told == (["reopened"] if opened else []) and closed == ([False] if opened and closes else [])
    X[0] = 9
    assert identity.changes(table, before) == ["contents of the rows looked at have changed"]
    touched = {**real(table), "mtime_ns": 1}
    assert identity.changes(table, touched) == (
        ["its files were written to, though the rows looked at are the same"] if opened else []
    )
    # Sizes of a file that its owner may write to say nothing.
    assert bool(identity.changes(table, {**real(table), "size": 5})) == opened
    assert bool(identity.changes(table, {**real(table), "files": "f"})) == opened
    if not opened:
        del Table.opened_here
        assert identity.changes(table, real(table)) == [] and told == []
