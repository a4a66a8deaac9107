"""What runs are made of, one part at a time: files that are read in pieces, rows that join, parts, folders, jobs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tsne_ooc import storage
from tsne_ooc.novelty import NoveltyHistogram
from tsne_ooc.pipeline import merging, placing, rows, trusting
from tsne_ooc.pipeline.folder import Folder
from tsne_ooc.pipeline.models import bytes_fitted, digest_under, folder_of, model_under
from tsne_ooc.pipeline.placing import Place, _Known, distribution, pieces, unplaced
from tsne_ooc.pipeline.request import check_known, differences
from tsne_ooc.pipeline.trusting import Score
from tsne_ooc.storage.disk import check_room

# ------------------------------------------------------------------------------------------------ columns that are read


@pytest.fixture(params=[1, 7, 1 << 20])
def piece(request, monkeypatch):
    monkeypatch.setattr(placing, "_PIECE", request.param)
    monkeypatch.setattr(merging, "_PIECE", request.param)
    return request.param


@pytest.mark.parametrize("n", [0, 1, 6, 7, 8, 30])
def test_a_column_is_read_piece_by_piece(piece, tmp_path, n):
    values = np.random.default_rng(0).gamma(2, size=n).astype(np.float32)
    np.save(tmp_path / "novelty.npy", values)
    found = list(pieces(tmp_path / "novelty.npy"))
    np.testing.assert_array_equal(np.concatenate([*found, np.empty(0, np.float32)]), values)
    assert all(0 < len(part) <= piece for part in found) and len(found) == -(-n // piece)
    whole = NoveltyHistogram(1.5)
    whole.add(values)
    assert distribution(tmp_path / "novelty.npy", 1.5) == whole.summary()
    assert whole.summary()["beyond"] == int((values > 1.5).sum())
    np.testing.assert_array_equal(np.concatenate([*merging._pieces(values), np.empty(0, np.float32)]), values)
    assert all(len(part) <= piece for part in merging._pieces(values))


@pytest.mark.parametrize("lost", [[], [0], [6], [7], [0, 13, 29], list(range(30))])
def test_rows_without_a_place_are_found_by_their_numbers(piece, tmp_path, lost):
    places = np.zeros((30, 2), np.float32)
    places[lost] = np.nan
    np.save(tmp_path / "embedding.npy", places)
    found = unplaced(tmp_path / "embedding.npy")
    assert found.tolist() == lost and found.dtype == np.int64


def test_no_rows_have_none_without_a_place(tmp_path):
    np.save(tmp_path / "embedding.npy", np.zeros((0, 2), np.float32))
    assert unplaced(tmp_path / "embedding.npy").tolist() == []


def test_rows_that_have_a_seat_keep_it_in_an_array_that_may_be_written():
    """What comes from another process is read-only, and stays as it is."""
    for writeable in (True, False):
        placed = {"embedding": np.zeros((4, 2), np.float32), "novelty": np.zeros(4, np.float32)}
        given = dict(placed)
        for values in given.values():
            values.flags.writeable = writeable
        seats = _Known(np.array([1, 3]), {"embedding": np.array([[1, 2], [3, 4]]), "novelty": np.array([5, 6])})
        found = seats.put(dict(given))
        assert found["embedding"].tolist() == [[0, 0], [1, 2], [0, 0], [3, 4]] and found["novelty"].tolist() == [
            0,
            5,
            0,
            6,
        ]
        assert (found["embedding"] is given["embedding"]) == writeable
        assert writeable or not given["embedding"].any()
    none = _Known(np.empty(0, np.int64), {"embedding": np.empty((0, 2))})
    assert none.put(dict(given)) == given


def work_of(n, rows, seats_novelty=None, threshold=1.0, d=3):
    """A run of n rows, of which some have a seat."""
    placer = SimpleNamespace(embedding=np.zeros((5, d), np.float32), threshold=threshold)
    seats = None
    if rows is not None:
        numbers = np.array(rows)
        seats = SimpleNamespace(rows=numbers, embedding=np.repeat(numbers[:, None], d, axis=1), novelty=seats_novelty)
    mapped = SimpleNamespace(placer=placer, seats=seats)
    return SimpleNamespace(table=SimpleNamespace(shape=(n, 9)), get=lambda kind: mapped)


@pytest.mark.parametrize("novelty, threshold, knows", [
    (None, 1.0, True), (True, 1.0, True), (False, 1.0, False), (None, None, False), (True, None, False),
])  # fmt: skip
@pytest.mark.parametrize("part", [None, (10, 25)])
def test_what_a_run_writes_of_its_rows(novelty, threshold, knows, part):
    stage, work = Place(novelty=novelty, into="placed", rows=part), work_of(60, None, threshold=threshold)
    n = 60 if part is None else 15
    assert stage.knows(work) is knows and stage.first(work) == (0 if part is None else 10)
    assert stage.shapes(work) == {"placed": (n, 3), **({"novelty": (n,)} if knows else {})}
    assert stage.makes == ("placed.npy", "novelty.npy", "dropped_rows.npy")


@pytest.mark.parametrize("known", [True, False])
def test_rows_of_a_block_that_have_a_seat(known):
    novelty = np.array([0.1, 0.2, 0.3, 0.4]) if known else None
    seated = Place()._seated(work_of(60, [3, 10, 11, 59], novelty))
    for start, size, wanted in ((0, 3, []), (0, 4, [3]), (3, 1, [0]), (4, 6, []), (4, 7, [6]), (10, 2, [0, 1]),
                                (11, 49, [0, 48]), (12, 47, []), (59, 1, [0]), (0, 60, [3, 10, 11, 59])):  # fmt: skip
        found = seated(start, size)
        assert found.rows.tolist() == wanted
        assert found.columns["embedding"][:, 0].tolist() == [start + row for row in wanted]
        assert ("novelty" in found.columns) == known
        if known:
            of_each = dict(zip([3, 10, 11, 59], novelty.tolist(), strict=True))
            assert found.columns["novelty"].tolist() == [of_each[start + row] for row in wanted]
    none = Place()._seated(work_of(60, None))(0, 9)
    assert not len(none.rows) and none.columns == {}


# ----------------------------------------------------------------------------------------------------- parts of a table


def part_of(start, stop, folder="p", **content):
    manifest = {
        "task": "place", "n_samples": stop - start, "seconds": {"place": 1.23456}, "memory_gb": {"place": 2.0},
        "job": {"source": {"shape": [20, 3]}, "request": {"model": "m", "rows": [start, stop]}, "tsne_ooc": "1"},
        **content,
    }  # fmt: skip
    novelty = np.arange(start, stop, dtype=np.float32)
    return merging.Part(
        start, stop, SimpleNamespace(folder=Path(folder), manifest=manifest, arrays={"novelty": novelty})
    )


@pytest.mark.parametrize("cuts, message", [
    ([(0, 20)], None), ([(0, 9), (9, 20)], None), ([(0, 1), (1, 19), (19, 20)], None),
    ([(1, 20)], "rows 0 to 0 are in none of the parts; place them, and merge again"),
    ([(0, 19)], "rows 19 to 19 are in none of the parts; place them, and merge again"),
    ([(0, 9), (11, 20)], "rows 9 to 10 are in none of the parts; place them, and merge again"),
    ([(0, 10), (9, 20)], "rows 9 to 9 are in p0 and in p1"), ([(0, 20), (5, 9)], "rows 5 to 8 are in p0 and in p1"),
    ([(0, 9), (9, 12), (9, 20)], "rows 9 to 11 are in p1 and in p2"),
])  # fmt: skip
def test_parts_have_each_row_once(cuts, message):
    parts = [part_of(*cut, f"p{at}") for at, cut in enumerate(cuts)]
    if message is None:
        merging._check_rows(parts, 20)
        return
    with pytest.raises(ValueError) as error:
        merging._check_rows(parts, 20)
    assert str(error.value) == message


def test_parts_belong_to_one_job_of_one_version():
    first = part_of(0, 9, "one")
    merging._check_alike([first, part_of(9, 20, "two")])
    other = part_of(9, 20, "two")
    job = other.run.manifest["job"]
    job["request"] |= {"model": "n", "then": 1}
    job["tsne_ooc"] = "2"
    with pytest.raises(ValueError) as error:
        merging._check_alike([first, part_of(9, 12), other])
    assert str(error.value) == ("two does not belong to one: model is another; then is another; tsne_ooc was 1, is 2")


def test_parts_are_told_as_one_run(piece):
    novelty = {"threshold": 6.5, "beyond": 99}
    parts = [
        part_of(0, 9, "one", novelty=novelty, memory_gb={"place": 2.0, "seal": 0.25}, model="m", then={"x": 1}),
        part_of(9, 20, "two", seconds={"place": 2.0, "seal": 0.5}, memory_gb={"place": 3.5}),
    ]
    found = merging._content(parts, 20)
    whole = NoveltyHistogram(6.5)
    whole.add(np.arange(20, dtype=np.float32))
    assert found["novelty"] == whole.summary() and found["novelty"]["beyond"] == 13
    assert found["n_samples"] == 20 and (found["model"], found["then"]) == ("m", {"x": 1})
    assert found["seconds"] == {"place": 3.235, "seal": 0.5}
    assert found["memory_gb"] == {"place": 3.5, "seal": 0.25}
    assert found["job"] == {**parts[0].run.manifest["job"], "request": {"model": "m"}}
    assert found["parts"] == [{"folder": "one", "rows": [0, 9]}, {"folder": "two", "rows": [9, 20]}]
    # What the parts themselves say stays as it is.
    assert parts[0].run.manifest["novelty"] == novelty and parts[0].run.manifest["job"]["request"]["rows"] == [0, 9]
    assert "novelty" not in merging._content([part_of(0, 20)], 20)


@pytest.mark.parametrize("given, wanted", [
    ("0:20", (0, 20)), (" 3 : 4 ", (3, 4)), ((None, None), (0, 20)), ((None, 1), (0, 1)), ((19, None), (19, 20)),
    ([0, np.uint8(20)], (0, 20)), (slice(3, 9, 1), (3, 9)), (range(3, 9), (3, 9)),
])  # fmt: skip
def test_ranges_of_rows(given, wanted):
    found = rows.rows_of(given, 20, "it")
    assert found == wanted and all(type(one) is int for one in found)


@pytest.mark.parametrize("given, kind, message", [
    ("0:21", ValueError, "rows=0:21 is not a range of its rows: it has 20 rows, numbered from 0, so 0:20 is all of"),
    ("5:5", ValueError, "rows=5:5 is not a range of its rows"), ((-1, 5), ValueError, "rows=-1:5 is not a range of"),
    ((9, 3), ValueError, "rows=9:3 is not a range"), ("5", ValueError, "rows=5 is not a range of rows such as 1000:"),
    ("a:b", ValueError, "rows=a:b is not a range of rows"), ("-1:5", ValueError, "rows=-1:5 is not a range of rows"),
    (range(0, 9, 2), ValueError, "leaves out rows between"), (slice(0, 9, 2), ValueError, "leaves out rows between"),
    ((1, 2, 3), TypeError, "rows=(1, 2, 3) is not a first row"), ((1.0, 2), TypeError, "is not a first row"),
    ((True, 2), TypeError, "is not a first row"), (5, TypeError, "rows=5 is not a first row and the one behind the"),
])  # fmt: skip
def test_what_is_no_range_of_rows(given, kind, message):
    with pytest.raises(kind) as error:
        rows.rows_of(given, 20, "it")
    assert message in str(error.value)


# -------------------------------------------------------------------------------------------------------------- folders


def filled(path, *names):
    path.mkdir(parents=True, exist_ok=True)
    for name in names:
        if name.endswith("/"):
            (path / name).mkdir(parents=True)
            (path / name / "inside").write_text("x")
        else:
            (path / name).write_text("x")
    return path


MADE = ["embedding.npy", "model", "saving.part", "round-1", "notes.txt"]
#: What a run that did not end may have left of these, and what it may not take away.
LEFT = ["embedding.npy", "embedding.npy.part", "model/", "saving.part/", "round-1/", "notes.txt", "ledger.json.part",
        "ledger.json", ".manifest.json.part"]  # fmt: skip
OF_OTHERS = ["mine.txt", "model.npy", "other.part", "round-2/", "embedding.npy.part.old"]


def test_a_run_that_fails_clears_what_is_its_own_and_nothing_else(tmp_path):
    path = tmp_path / "out"
    with pytest.raises(RuntimeError), Folder(path, resume=False, makes=MADE) as home:
        assert not home.finished and not home.keep
        filled(path, *LEFT, *OF_OTHERS)
        raise RuntimeError
    assert sorted(os.listdir(path)) == sorted(name.rstrip("/") for name in OF_OTHERS)
    # A folder that it made itself goes, too.
    with pytest.raises(RuntimeError), Folder(tmp_path / "a" / "b", resume=False, makes=MADE):
        filled(tmp_path / "a" / "b", *LEFT)
        raise RuntimeError
    assert (tmp_path / "a").is_dir() and not (tmp_path / "a" / "b").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(RuntimeError), Folder(tmp_path / "empty", resume=False, makes=MADE):
        raise RuntimeError
    assert (tmp_path / "empty").is_dir() and not list((tmp_path / "empty").iterdir())


@pytest.mark.parametrize("resumable", [True, False])
def test_what_is_worth_keeping_is_kept_and_how_to_go_on_is_said(tmp_path, resumable):
    path = tmp_path / "out"
    with pytest.raises(RuntimeError) as caught, Folder(path, resume=False, makes=MADE) as home:
        filled(path, *LEFT)
        home.keep, home.resumable = True, resumable
        raise RuntimeError
    notes = getattr(caught.value, "__notes__", [])
    assert notes == [f"what is done is kept in {path}; go on with resume=True (--resume)"] * resumable
    assert {name.rstrip("/") for name in LEFT} <= set(os.listdir(path))
    # Whoever goes on finds it so.
    with Folder(path, resume=True, makes=MADE) as home:
        assert home.keep and not home.finished


def test_a_link_within_a_folder_is_removed_and_what_it_leads_to_stays(tmp_path):
    far = filled(tmp_path / "far", "data")
    path = tmp_path / "out"
    with pytest.raises(RuntimeError), Folder(path, resume=False, makes=["model"]):
        (path / "model").symlink_to(far)
        raise RuntimeError
    assert (far / "data").exists() and not path.exists()


def test_folders_that_hold_something_are_refused(tmp_path):
    full, file, done = filled(tmp_path / "full", "x"), tmp_path / "file", filled(tmp_path / "done", "manifest.json")
    file.touch()
    for path, resume, message in (
        (full, False, f"{full} holds files already; name a new folder, or remove it first"),
        (full, True, f"{full} holds files already; name a new folder, or remove it first"),
        (file, False, f"{file} is a file; name a folder that does not exist yet"),
        (done, False, f"{done} holds the result of a finished run already; name a new folder, or remove it first"),
    ):
        before = sorted(path.iterdir()) if path.is_dir() else None
        with pytest.raises(FileExistsError) as error, Folder(path, resume=resume, makes=[]):
            pass
        assert str(error.value) == message
        assert before is None or {one.name for one in path.iterdir()} - {".lock"} == {one.name for one in before}
    with Folder(done, resume=True, makes=[]) as home:
        assert home.finished and home.keep


def test_room_is_asked_for_beside_what_is_there(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("tsne_ooc.pipeline.folder.check_room", lambda *given: seen.append(given))
    path = tmp_path / "out"
    with Folder(path, resume=False, makes=MADE) as home:
        there = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        (path / "model").mkdir()
        (path / "model" / "rows.npy").write_bytes(b"x" * 100)
        (path / "embedding.npy").write_bytes(b"x" * 50)
        for needed, wanted in ((1000, 850 - there), (150 + there, 0), (151 + there, 1), (10, 0)):
            home.check_room(needed)
            assert seen.pop() == (path / "manifest.json", wanted, str(path))
        home.finished = True
        home.check_room(10**18)
    assert not seen
    with pytest.raises(OSError, match="there"):
        check_room(tmp_path / "x", 10**18, "there")


# --------------------------------------------------------------------------------------------------------------- models


def model_in(folder, word="one"):
    folder.mkdir(parents=True)
    np.save(folder / "places.npy", np.zeros(3))
    storage.seal(folder, "model", {"word": word}, {"places": "places.npy"})
    return folder


def test_the_model_that_rows_lie_on_is_found_and_known(tmp_path, monkeypatch):
    own, placed = tmp_path / "own", tmp_path / "placed"
    model_in(own / "model")
    run = SimpleNamespace(folder=own, manifest={})
    assert model_under(run) == own / "model" and digest_under(run) == storage.digest_of(own / "model")
    request = {"model": storage.digest_of(own / "model")}
    told = {"model": str(own / "model"), "job": {"request": request}}
    on_it = SimpleNamespace(folder=placed, manifest=told)
    assert model_under(on_it) == own / "model" and digest_under(on_it) == request["model"]
    # As it was typed where the rows were placed, which is where the command runs now, or else beside the run.
    told["model"] = "own/model"
    monkeypatch.chdir(tmp_path)
    assert model_under(on_it) == Path("own/model")
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path / "away")
    assert model_under(on_it) == own / "model"
    request["model"] = "another"
    with pytest.raises(ValueError, match=r"is not the one that the rows of .*placed were placed on$"):
        model_under(on_it)
    told["model"] = str(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError) as error:
        model_under(on_it)
    assert str(error.value) == (
        f"there is no model in {tmp_path / 'nowhere'}, on which the rows of {placed} lie; put it back"
    )
    assert digest_under(SimpleNamespace(folder=tmp_path / "none", manifest={})) is None
    assert folder_of(own) == folder_of(str(own)) == own / "model" and folder_of(own / "model") == own / "model"
    assert folder_of(tmp_path) == tmp_path and folder_of("no/where") == Path("no/where")


def test_the_bytes_of_a_map_grow_with_rows_columns_and_axes():
    assert bytes_fitted(0, 5, 2) == 0 and bytes_fitted(10, 0, 0) == 10 * 36
    assert bytes_fitted(10, 5, 2) - bytes_fitted(10, 4, 2) == bytes_fitted(10, 5, 3) - bytes_fitted(10, 5, 2) == 40


# ----------------------------------------------------------------------------------------------------------------- jobs


def job(**more):
    return {"task": "embed", "source": {"shape": [20, 3]}, "request": {"rounds": 1}, "tsne_ooc": "1", **more}


@pytest.mark.parametrize("new, told", [
    (job(), []), (job(task="place", tsne_ooc="2"), ["it was a run of 'embed', and is one of 'place'"]),
    (job(tsne_ooc="2"), ["tsne_ooc was 1, is 2"]), (job(request={"rounds": 2}), ["rounds was 1, is 2"]),
])  # fmt: skip
def test_what_differs_between_two_jobs(new, told):
    assert differences(job(), json.loads(json.dumps(new))) == told
    assert differences({}, new) == [f"it was a run of None, and is one of {new['task']!r}"]
    assert any(line.startswith("the source: ") for line in differences(job(), job(source={"shape": [21, 3]})))


def test_an_option_that_a_run_does_not_have_is_told_where_it_belongs():
    from tsne_ooc import embed, place

    check_known(embed, {})
    for run, fits, told in (
        (embed, "tsne=TSNE({})", "tsne=TSNE(perplexity=...)"),
        (place, "tsne_ooc.embed(..., tsne=TSNE({}))", "tsne_ooc.embed(..., tsne=TSNE(perplexity=...))"),
    ):
        with pytest.raises(TypeError) as error:
            check_known(run, {"perplexity": 5}, fits=fits)
        assert told in str(error.value) and run.__name__ in str(error.value)


# ------------------------------------------------------------------------------------------------------- scores of rows


def judge_of(k, embedding, length=0.5):
    moves = None if length is None else SimpleNamespace(length=length)
    return SimpleNamespace(k=k, moves=moves, model=SimpleNamespace(embedding=embedding))


@pytest.mark.parametrize("movable", [True, False])
def test_scores_are_summed_up_row_by_row(piece, tmp_path, movable):
    """How many rows keep how many neighbours, and how many a small move takes a quarter of the map away."""
    rng = np.random.default_rng(0)
    k, n = 4, 60
    kept = rng.integers(0, k + 1, n)
    recall = (kept / k).astype(np.float32)
    recall[[3, 9]] = np.nan
    # Of a map that is 20 wide without its hundredth at each end, however far some rows are.
    embedding = np.stack([np.linspace(0, 20, 1001), np.linspace(-3, 3, 1001)], axis=1).astype(np.float32)
    low, high = (np.quantile(embedding[:, 0], at) for at in (0.01, 0.99))
    far = 0.25 * (high - low)
    embedding[[0, 1000]] = [[-1e6, 0], [1e6, 0]]
    moved = rng.uniform(0, 2 * far, n).astype(np.float32)
    moved[3], moved[4] = np.nan, np.inf
    np.save(tmp_path / "recall.npy", recall)
    np.save(tmp_path / "perturbation.npy", moved)
    judge = judge_of(k, embedding, 0.5 if movable else None)
    stage = Score(SimpleNamespace(folder=tmp_path), judge, {}, None)
    found = stage.summary(SimpleNamespace(folder=tmp_path))
    counts = [sum(kept[row] == number for row in range(n) if row not in (3, 9)) for number in range(k + 1)]
    assert found["kept"] == counts and found["scored"] == n - 2 == sum(counts) and found["k"] == k
    if not movable:
        assert set(found) == {"k", "scored", "kept"}
        return
    assert found["far"] == pytest.approx(far, rel=1e-3) and found["length"] == 0.5
    assert found["doubtful"] == sum(one > found["far"] for one in moved.tolist())
    work = SimpleNamespace(table=SimpleNamespace(shape=(n, 9)))
    assert stage.shapes(work) == dict.fromkeys(("recall", "singularity", "perturbation"), (n,))
    assert list(Score(None, judge_of(k, embedding, None), {}, None).shapes(work)) == ["recall", "singularity"]


def test_scores_are_of_the_places_that_rows_have(tmp_path):
    places = np.arange(40, dtype=np.float32).reshape(20, 2)
    np.save(tmp_path / "embedding.npy", places)
    seen = []
    judge = SimpleNamespace(
        of_rows=lambda rows, at: seen.append((rows, at)) or {"recall": at[:, 0], "singularity": 2, "x": 3}
    )
    rows = np.zeros((5, 7), np.float32)
    found = trusting._Scores(judge, tmp_path).of(10, rows, ("recall", "x"))
    assert found["recall"].tolist() == places[10:15, 0].tolist() and found["x"] == 3 and set(found) == {"recall", "x"}
    assert seen[0][0] is rows and seen[0][1].tolist() == places[10:15].tolist() and seen[0][1].flags.owndata


def test_rows_of_a_run_are_those_of_its_table(monkeypatch):
    told = {"dtype": "<f4", "columns": ["a", "b"], "shape": [20, 2], "probes": "one", "path": "x.npy"}
    run = SimpleNamespace(folder=Path("map"), embedding=np.zeros((20, 2)), manifest={"job": {"source": told}})

    class Table:
        shape = (20, 2)

        def __repr__(self):
            return "the table"

    now = dict(told)
    monkeypatch.setattr(trusting, "identity_of", lambda table, without: now)
    monkeypatch.setattr(trusting, "other_table", lambda old, new: ["it is another"] * (old != new))
    trusting._check_rows(run, Table(), given=False)
    trusting._check_rows(run, Table(), given=True)
    # The same rows in another kind of file, or other rows.
    for given, change, told_of in (
        (False, {"path": "y.npy"}, "it is another"), (True, {"path": "y.npy"}, None),
        (True, {"probes": "two"}, "contents of the rows looked at are others"),
        (True, {"probes": "two", "dtype": "<f8"}, None), (True, {"probes": "two", "columns": ["b", "a"]}, None),
        (True, {"probes": "two", "shape": [20, 3]}, None),
    ):  # fmt: skip
        now.clear()
        now.update(told | change)
        if told_of is None:
            trusting._check_rows(run, Table(), given=given)
            continue
        with pytest.raises(ValueError) as error:
            trusting._check_rows(run, Table(), given=given)
        assert str(error.value) == f"the table is not the table that map was made from: {told_of}"
    run.embedding = np.zeros((1001, 2))
    with pytest.raises(ValueError) as error:
        trusting._check_rows(run, Table(), given=True)
    assert str(error.value) == "the table has 20 rows, and the map 1,001; name the table that it was made from"
