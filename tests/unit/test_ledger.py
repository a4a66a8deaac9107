"""A ledger says what is on the disk: replaced in one step, believed only when whole."""

import errno
import json
import os

import numpy as np
import pytest

from tsne_ooc.io.ledger import LEDGER_VERSION, Ledger

JOB = {"source": {"shape": [7, 2]}, "request": {"perplexity": 30.0, "name": "cheese"}}


@pytest.fixture
def path(tmp_path):
    Ledger(tmp_path / "ledger.json", JOB).mark(5, {"embedding.npy": 123, "novelty.npy": 2**32 - 1}, 1.25)
    return tmp_path / "ledger.json"


def test_what_is_marked_is_read(path):
    ledger = Ledger.read(path)
    assert ledger == Ledger(path, JOB, 5, {"embedding.npy": 123, "novelty.npy": 2**32 - 1}, 1.25)
    assert (
        ledger.mark(7, {"embedding.npy": 4}, 2.5)
        == Ledger.read(path)
        == Ledger(path, JOB, 7, {"embedding.npy": 4}, 2.5)
    )
    assert os.listdir(path.parent) == ["ledger.json"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_mark_that_fails_leaves_the_one_before(path, monkeypatch, call):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = Ledger.read(path)
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match=r"ledger\.json could not be written: No space left on device$"):
        before.mark(7, {})
    assert Ledger.read(path) == before


def test_it_is_on_the_disk_before_it_has_its_name(path, monkeypatch):
    """A file that is renamed before it is synchronised may be an empty one after a loss of power."""
    order = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, name=name, real=real: (order.append(name), real(*given))[1])
    Ledger.read(path).mark(6, {})
    assert order == ["fsync", "replace", "fsync"]


def test_flipped_bits_are_noticed(path):
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.choice(len(whole), 150, replace=False):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"ledger\.json (is damaged|has version)") as caught:
            Ledger.read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("length", [0, 1, 40, -1])
def test_a_ledger_that_was_cut_off(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"ledger\.json is damaged \(.*remove it to begin again"):
        Ledger.read(path)


@pytest.mark.parametrize(
    "entries, message",
    [
        ({"rows": -1}, "entries are of other types"),
        ({"rows": True}, "entries are of other types"),
        ({"rows": 2.5}, "entries are of other types"),
        ({"job": []}, "entries are of other types"),
        ({"sums": None}, "entries are of other types"),
        ({"seconds": -1}, "entries are of other types"),
        ({"version": LEDGER_VERSION + 1}, f"has version {LEDGER_VERSION + 1}"),
    ],
)
def test_ledgers_with_a_right_sum_and_wrong_entries(path, entries, message):
    from tsne_ooc.io.ledger import _sum

    content = {**json.loads(path.read_text()), **entries}
    del content["sha256"]
    path.write_text(json.dumps({**content, "sha256": _sum(content)}))
    with pytest.raises(ValueError, match=message):
        Ledger.read(path)


def test_there_is_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        Ledger.read(tmp_path / "ledger.json")
