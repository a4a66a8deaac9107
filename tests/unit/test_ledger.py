"""A ledger says what is on the disk: replaced in one step, believed only when whole."""

import errno
import json
import os

import numpy as np
import pytest

from tsne_ooc.storage.ledger import LEDGER_VERSION, Entry, Ledger, Rows, left_over

JOB = {"source": {"shape": [7, 2]}, "request": {"perplexity": 30.0, "name": "cheese"}}
FITTED = Entry({"model": "1f", "rounds": [1]}, 3.5)
PLACED = Entry(None, 1.25, (Rows(0, 2, {"Y.npy": 123, "n.npy": 2**32 - 1}), Rows(4, 5, {"Y.npy": 7, "n.npy": 0})))


@pytest.fixture
def path(tmp_path):
    ledger = Ledger(tmp_path / "ledger.json", JOB)
    ledger.mark("fit", FITTED)
    ledger.mark("place", PLACED)
    return tmp_path / "ledger.json"


def test_what_is_marked_is_read(path):
    ledger = Ledger.read(path)
    assert ledger == Ledger(path, JOB, {"fit": FITTED, "place": PLACED})
    assert ledger.n_rows == ledger.entry("place").n_rows == 3
    assert ledger.entry("fit").n_rows == 0 and ledger.entry("seal") == Entry()
    done = Entry({"n_samples": 7}, 2.5, (Rows(0, 7, {"Y.npy": 4, "n.npy": 5}),))
    ledger.mark("place", done)
    assert ledger == Ledger.read(path) == Ledger(path, JOB, {"fit": FITTED, "place": done})
    assert os.listdir(path.parent) == ["ledger.json"]


def test_the_order_of_entries_does_not_matter(path):
    """As another program, or another version, may write the same down."""

    def turned(value):
        return {key: turned(value[key]) for key in reversed(value)} if isinstance(value, dict) else value

    before, content = Ledger.read(path), json.loads(path.read_text())
    assert list(turned(content)) == list(content)[::-1]
    path.write_text(json.dumps(turned(content)))
    assert Ledger.read(path) == before
    path.write_text(json.dumps(content, sort_keys=True))
    assert Ledger.read(path) == before


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_mark_that_fails_leaves_the_one_before(path, monkeypatch, call):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    ledger, before = Ledger.read(path), Ledger.read(path)
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match=r"ledger\.json could not be written: No space left on device$"):
        ledger.mark("place", Entry(None, 9.0))
    assert Ledger.read(path) == ledger == before


def test_it_is_on_the_disk_before_it_has_its_name(path, monkeypatch):
    """A file that is renamed before it is synchronised may be an empty one after a loss of power."""
    order = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, name=name, real=real: (order.append(name), real(*given))[1])
    Ledger.read(path).mark("place", Entry())
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


def of(**entries):
    """Stages, one of which says something of another type."""
    return {"stages": {"place": {"facts": None, "seconds": 1.5, "rows": [], **entries}}}


@pytest.mark.parametrize(
    "entries, message",
    [
        ({"job": []}, "entries are of other types"),
        ({"stages": []}, "is damaged"),
        ({"stages": {"place": 3}}, "is damaged"),
        ({"stages": {"place": {"facts": None, "seconds": 0}}}, "is damaged"),
        (of(facts=[]), "entries are of other types"),
        (of(seconds=-1), "entries are of other types"),
        (of(seconds="1"), "entries are of other types"),
        (of(rows=[[0, 2]]), "is damaged"),
        (of(rows=[[0, 2, None]]), "is damaged"),
        (of(rows=[[-1, 2, {}]]), "entries are of other types"),
        (of(rows=[[0, True, {}]]), "entries are of other types"),
        (of(rows=[[0, 2.5, {}]]), "entries are of other types"),
        (of(rows=[[2, 2, {}]]), "entries are of other types"),
        (of(rows=[[0, 3, {}], [2, 4, {}]]), "entries are of other types"),
        (of(rows=[[0, 3, {"Y.npy": "7"}]]), "entries are of other types"),
        ({"version": LEDGER_VERSION + 1}, f"has version {LEDGER_VERSION + 1}"),
    ],
)
def test_ledgers_with_a_right_sum_and_wrong_entries(path, entries, message):
    from tsne_ooc.storage.ledger import _sum

    content = {**json.loads(path.read_text()), **entries}
    del content["sha256"]
    path.write_text(json.dumps({**content, "sha256": _sum(content)}))
    with pytest.raises(ValueError, match=message):
        Ledger.read(path)


def test_one_of_an_earlier_version_is_named_with_what_to_do(path):
    """As version 2 wrote it, which knew of the first rows of one stage."""
    from tsne_ooc.storage.ledger import _sum

    content = {"version": 2, "job": JOB, "rows": 5, "sums": {"embedding.npy": 123}, "seconds": 1.25}
    path.write_text(json.dumps({**content, "sha256": _sum(content)}, indent=1))
    with pytest.raises(ValueError, match=r"ledger\.json has version 2, .* remove what the run left") as caught:
        Ledger.read(path)
    assert "\n" not in str(caught.value)


def test_there_is_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        Ledger.read(tmp_path / "ledger.json")


@pytest.mark.parametrize(
    "content, ours",
    [
        (None, True), (b"", True), (b"{", True), (b'{\n "vers', True), (b'{\n "version": ', True),
        (b'{\n "version": 5, and so on', True), (b'{"version": 5}', False), (b"mine", False), (b'{\n "versiom', False),
        (b"\n", False),
    ],
)  # fmt: skip
def test_what_a_mark_that_was_cut_off_left_is_told_from_files_of_others(tmp_path, content, ours):
    """The name with .part behind it is written over where a mark of ours began so, and by nobody else's file."""
    part = tmp_path / "ledger.json.part"
    if content is not None:
        part.write_bytes(content)
    assert left_over(part) == ours
    ledger = Ledger(tmp_path / "ledger.json", JOB)
    if ours:
        ledger.mark("fit", FITTED)
        assert Ledger.read(ledger.path) == ledger and not part.exists()
        return
    with pytest.raises(FileExistsError, match=r"with \.part behind it does not belong to a run$"):
        ledger.mark("fit", FITTED)
    assert part.read_bytes() == content and ledger.stages == {} and not ledger.path.exists()


def test_rows_are_those_of_the_last_stage_that_has_any(tmp_path):
    rows = tuple(Rows(a, b, {}) for a, b in ((0, 2), (2, 5), (7, 8)))
    ledger = Ledger(tmp_path / "ledger.json", JOB)
    assert ledger.n_rows == 0 and ledger.entry("fit") == Entry() == Entry(None, 0, ())
    for stage, entry, n in (
        ("fit", FITTED, 0), ("place", Entry(None, 1, rows), 6), ("trust", Entry(None, 1, rows[:1]), 2),
        ("seal", Entry({}, 0.0004), 2),
    ):  # fmt: skip
        ledger.mark(stage, entry)
        assert ledger.n_rows == Ledger.read(ledger.path).n_rows == n and ledger.entry(stage).n_rows == entry.n_rows
    # Ranges may adjoin, as files may have been written apart; of seconds, thousandths are kept.
    again = Ledger.read(ledger.path)
    assert again.stages["place"].rows == rows and list(again.stages) == ["fit", "place", "trust", "seal"]
    assert again.stages["seal"].seconds == 0 and again.stages["fit"].seconds == 3.5
