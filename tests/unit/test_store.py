"""Folders of arrays: whole or absent, and no damage goes unnoticed."""

from __future__ import annotations

import hashlib
import json
import os
import string
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from tsne_ooc.storage import codec, read_folder, seal, write_folder
from tsne_ooc.storage.manifest import ENTRY, TOP
from tsne_ooc.storage.manifest import sum_of as manifest_sum
from tsne_ooc.storage.state import Saved, StateError, within
from tsne_ooc.storage.writing import named_by_content

TYPES = ["bool", "int8", "uint8", "int16", "uint32", "int32", "int64", "uint64", "float32", "float64", ">f4", ">i8"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
ARRAYS = st.dictionaries(
    st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=8),
    st.sampled_from(TYPES).flatmap(
        lambda kind: arrays_of.arrays(kind, arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    ),
    max_size=3,
)
CONTENT = {"name": "käse", "numbers": [1, 2.5, None], "deep": {"flag": True}}


def some_arrays():
    return {"rows": np.arange(12, dtype=np.float32).reshape(4, 3), "part.order": np.arange(4, dtype=np.uint32)}


@pytest.fixture
def folder(tmp_path):
    write_folder(tmp_path / "thing", "thing", CONTENT, some_arrays())
    return tmp_path / "thing"


def base_of(array):
    while array.base is not None and not isinstance(array, np.memmap):
        array = array.base
    return array


# ------------------------------------------------------------------------------------------------- there and back


@settings(max_examples=25, deadline=None)
@given(content=st.dictionaries(st.text(), JSON, max_size=4), arrays=ARRAYS)
def test_what_is_read_is_what_was_written(tmp_path_factory, content, arrays):
    path = tmp_path_factory.mktemp("any") / "folder"
    write_folder(path, "any", content, arrays)
    found = read_folder(path, "any")
    assert found.content == content and list(found.arrays) == list(arrays)
    for name, array in arrays.items():
        back = found.arrays[name]
        assert back.shape == array.shape and back.dtype == array.dtype.newbyteorder("<")
        assert back.tobytes() == array.astype(array.dtype.newbyteorder("<")).tobytes()
        assert np.load(found.files[name], allow_pickle=False).tobytes() == back.tobytes()


def test_arrays_are_mapped_and_read_only(folder):
    found = read_folder(folder, "thing").arrays["rows"]
    assert type(found) is np.ndarray and isinstance(base_of(found), np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0] = 1


def test_arrays_in_any_layout_are_written_in_rows(tmp_path):
    table = np.arange(24.0).reshape(4, 6)
    write_folder(tmp_path / "x", "x", {}, {"columns": np.asfortranarray(table), "part": table[::2, 1::2]})
    found = read_folder(tmp_path / "x", "x").arrays
    np.testing.assert_array_equal(found["columns"], table)
    np.testing.assert_array_equal(found["part"], table[::2, 1::2])


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_numbers_in_either_order_of_bytes_are_written_as_the_format_has_them(tmp_path, kind, order):
    """Of any number of axes, and in any layout; readers take one order alone."""
    table = np.arange(24).reshape(4, 6).astype(order + kind)
    arrays = {"rows": table, "columns": np.asfortranarray(table), "part": table[::-2, 1::2], "one": table[1, 2]}
    arrays |= {"none": table[:0], "deep": table.reshape(2, 2, 6).transpose(2, 0, 1), "flat": table.ravel()[::3]}
    write_folder(tmp_path / "x", "x", {}, arrays)
    found = read_folder(tmp_path / "x", "x").arrays
    for name, array in arrays.items():
        assert found[name].shape == array.shape and found[name].dtype == np.dtype("<" + kind)
        np.testing.assert_array_equal(found[name], array)
        with open(tmp_path / "x" / f"{name}.npy", "rb") as file:
            plain = np.load(file)
        assert plain.dtype == np.dtype("<" + kind) and plain.tobytes() == found[name].tobytes()


def test_the_same_things_are_the_same_bytes(folder, tmp_path):
    write_folder(tmp_path / "again", "thing", CONTENT, some_arrays())
    for file in folder.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_a_folder_that_a_run_filled_is_sealed(tmp_path):
    np.save(tmp_path / "embedding.npy", np.ones((5, 2), np.float32))
    (tmp_path / "map.png").write_bytes(b"picture")
    seal(tmp_path, "run", {"sample": 3}, {"embedding": "embedding.npy"})
    found = read_folder(tmp_path, "run")
    assert found.content == {"sample": 3} and found.arrays["embedding"].tobytes() == np.ones((5, 2), "f4").tobytes()


@pytest.mark.parametrize("name", ["em bedding.npy", "embedding.npz", ".npy", "embedding"])
def test_a_folder_with_a_file_of_another_name_is_not_sealed(tmp_path, name):
    np.save(tmp_path / "x.npy", np.ones(3))
    (tmp_path / "x.npy").rename(tmp_path / name)
    with pytest.raises(ValueError) as caught:
        seal(tmp_path, "run", {}, {"embedding": name})
    assert str(caught.value) == f"{tmp_path / name} is not a plain name of a .npy file"
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "content, arrays, error, says",
    [
        ({"x": float("nan")}, {}, ValueError, "JSON compliant"),
        ({"x": object()}, {}, TypeError, "not JSON serializable"),
        ({"x": "y" * (1 << 24)}, {}, ValueError, "bytes as JSON"),
        ({}, {"x": np.array([None])}, TypeError, "'x' has type object"),
        ({}, {"x": np.array(["a"])}, TypeError, "'x' has type <U1"),
        ({}, {"x": np.zeros(3, np.complex64)}, TypeError, "'x' has type complex64"),
        ({}, {"../x": np.zeros(3)}, ValueError, "'../x' has other characters"),
        ({}, {"": np.zeros(3)}, ValueError, "'' has other characters"),
    ],
)
def test_what_the_format_does_not_take(tmp_path, content, arrays, error, says):
    with pytest.raises(error, match=says):
        write_folder(tmp_path / "x", "x", content, arrays)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------- what is in the way


def test_only_folders_of_the_same_kind_are_replaced(folder, tmp_path):
    with pytest.raises(FileExistsError, match="holds a thing already; pass overwrite=True"):
        write_folder(folder, "thing", {}, {})
    with pytest.raises(FileExistsError, match="other files than those of a model"):
        write_folder(folder, "model", {}, {}, overwrite=True)
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(FileExistsError, match="is not a folder"):
        write_folder(file, "thing", {}, {}, overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="name another folder, or remove it"):
        write_folder(tmp_path / "mine", "thing", {}, {}, overwrite=True)
    with pytest.raises(FileNotFoundError, match=r"no folder .* to write deep in"):
        write_folder(tmp_path / "not" / "deep", "thing", {}, {})
    assert read_folder(folder, "thing").content == CONTENT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "mine", "thing"]


def test_an_empty_folder_is_room(tmp_path):
    (tmp_path / "x").mkdir()
    write_folder(tmp_path / "x", "x", CONTENT, some_arrays())
    assert read_folder(tmp_path / "x", "x").content == CONTENT


def test_written_over_and_over_nothing_old_stays_but_what_others_put_there(folder):
    (folder / "notes.npy").write_bytes(b"mine")
    (folder / "rows.7.npy").write_bytes(b"left by a save that was killed")
    for generation in (2, 3):
        old = read_folder(folder, "thing").arrays["rows"]
        before = old.copy()
        write_folder(folder, "thing", {"generation": generation}, {"rows": before + 1}, overwrite=True)
        np.testing.assert_array_equal(old, before)  # who has it open keeps it
        found = read_folder(folder, "thing")
        assert found.content == {"generation": generation}
        np.testing.assert_array_equal(found.arrays["rows"], before + 1)
        names = {path.name for path in folder.iterdir()}
        assert names == {"manifest.json", "notes.npy", f"rows.{generation}.npy"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_room_is_looked_at_before_anything_is_written(tmp_path, monkeypatch, overwrite):
    """All arrays with their headers and the manifest must fit beside what is there, to the byte."""
    import shutil

    target, arrays = tmp_path / "s", {"a": np.zeros((1000, 100)), "b": np.zeros(7, np.int8)}
    if overwrite:
        write_folder(target, "test", {}, {"a": np.ones(3)})
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    usage = shutil.disk_usage(tmp_path)
    needed = 800_000 + 7 + 2 * 128 + 65_536
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=needed - 1))
    with pytest.raises(OSError, match=r"s needs 0\.00 GB more, and .* has 0\.00 GB left"):
        write_folder(target, "test", {}, arrays, overwrite=overwrite)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=needed))
    write_folder(target, "test", {}, arrays, overwrite=overwrite)
    written = sum(file.stat().st_size for file in target.iterdir())
    assert 800_000 < written < needed


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_error_in_the_middle_leaves_what_was_there(tmp_path, monkeypatch, overwrite):
    target = tmp_path / "x"
    if overwrite:
        write_folder(target, "x", CONTENT, some_arrays())
    before = {path.name: path.read_bytes() for path in target.iterdir()} if overwrite else None

    def full(*_):
        raise OSError(28, "No space left on device")

    for step in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, full)
            with pytest.raises(OSError, match=f"{target} could not be written: No space left on device"):
                write_folder(target, "x", {}, {"rows": np.zeros(3)}, overwrite=overwrite)
        if overwrite:
            left = {path.name: path.read_bytes() for path in target.iterdir() if path.suffix != ".part"}
            assert left == before
        else:
            assert not list(tmp_path.iterdir())


KILLED = """
    import itertools, json, os, signal, sys
    from pathlib import Path
    import numpy as np
    from tsne_ooc import storage
    from tsne_ooc.storage import writing

    root, overwrite = Path(sys.argv[1]), sys.argv[2] == "over"

    def die_before(step, number):
        real, seen = getattr(*step), itertools.count(1)
        def counted(*args, **options):
            if next(seen) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **options)
        setattr(*step, counted)

    def write(value):
        storage.write_folder(root / "x", "x", {"value": value}, {"a": np.full(9, value), "b": np.full(3, value)},
                           overwrite=overwrite)

    steps = [(os, "fsync"), (os, "replace"), (os, "rename"), (writing._Summed, "write"), (writing, "sync_folder")]
    steps.append((Path, "unlink"))
    for step in steps:
        for number in itertools.count(1):
            if overwrite:
                write(0)
            child = os.fork()
            if not child:
                die_before(step, number)
                write(1)
                os._exit(0)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            killed = code == -signal.SIGKILL
            assert killed or code == 0
            found = None
            if (root / "x").exists():
                read = storage.read_folder(root / "x", "x")
                found = [read.content["value"], *{int(v) for a in read.arrays.values() for v in a}]
            visible = [path.name for path in root.iterdir() if not path.name.startswith(".")]
            print(json.dumps([step[1], killed, found, visible]))
            if overwrite:
                write(2)  # what was left is no hindrance
                named = {path.name for path in storage.read_folder(root / "x", "x").files.values()}
                assert {path.name for path in (root / "x").iterdir()} == {"manifest.json", *named}
            else:
                os.system(f"rm -rf {root}/x {root}/.x*")
            if not killed:
                break
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the writer is forked, to be killed at each of its steps")
@pytest.mark.parametrize("how", ["new", "over"])
def test_a_killed_write_leaves_what_was_there_or_what_was_to_be(tmp_path, how):
    program = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), how]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    kills = {step for step, killed, _, _ in outcomes if killed}
    assert kills == {"fsync", "replace", "sync_folder", "write", "unlink", *(["rename"] if how == "new" else [])}
    assert len(outcomes) > 15
    before = None if how == "new" else [0, 0]
    found = [found for _, _, found, _ in outcomes]
    assert all(one in (before, [1, 1]) for one in found)
    assert before in found and [1, 1] in found
    assert all(visible == ([] if one is None else ["x"]) for _, _, one, visible in outcomes)


# ------------------------------------------------------------------------------------------------------- damage


def says_one_line(error, folder, *words):
    text = str(error.value)
    assert "\n" not in text and str(folder) in text
    for word in words:
        assert word in text


def change(folder, edit, *, sum_too=True):
    """Edit the manifest as JSON, by default with the sum that then belongs to it."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest = edit(manifest) or manifest
    if sum_too:
        manifest["sha256"] = manifest_sum(manifest)
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("cut", [0, 1, 50, 128, 130, -1])
def test_a_file_cut_short_or_grown(folder, cut, verify):
    file = folder / "rows.npy"
    data = file.read_bytes()
    file.write_bytes(data[:cut] if cut >= 0 else data + b"x")
    with pytest.raises(ValueError) as error:
        read_folder(folder, "thing", verify=verify)
    says_one_line(error, file, "bytes")


def test_every_bit_of_every_array_counts(folder):
    for name in ("rows.npy", "part.order.npy"):
        data = (folder / name).read_bytes()
        for bit in range(8 * len(data)):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            (folder / name).write_bytes(flipped)
            with pytest.raises(ValueError) as error:
                read_folder(folder, "thing")
            says_one_line(error, folder / name)
        (folder / name).write_bytes(data)
    read_folder(folder, "thing")


def test_bits_of_the_manifest_count(folder):
    path = folder / "manifest.json"
    data = path.read_bytes()
    whole = read_folder(folder, "thing")
    for bit in range(0, 8 * len(data), 7):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            found = read_folder(folder, "thing")
        except (ValueError, OSError) as error:
            assert "\n" not in str(error) and str(folder) in str(error)
        else:
            # One bit turns a line's end into nothing that matters, such as another blank.
            assert found.content == whole.content and found.files == whole.files


@pytest.mark.parametrize("name", ["rows.npy", "manifest.json"])
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError) as error:
        read_folder(folder, "thing")
    says_one_line(error, folder / name, "is missing; the folder is not whole")


def test_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        read_folder(tmp_path / "nowhere", "thing")


def test_a_folder_in_place_of_a_file(folder):
    (folder / "rows.npy").unlink()
    (folder / "rows.npy").mkdir()
    with pytest.raises(ValueError, match=r"rows\.npy is not a file"):
        read_folder(folder, "thing")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_in_place_of_a_file_is_not_waited_for(folder):
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")
    with pytest.raises(ValueError, match=r"manifest\.json is not a file"):
        read_folder(folder, "thing")


def test_what_the_manifest_does_not_name_is_not_read(folder):
    (folder / "extra.npy").write_bytes(b"anything")
    (folder / "extra.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert set(read_folder(folder, "thing").arrays) == {"rows", "part.order"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "7",
        "\xff\xfe",
        "{" * 100_000,
        "[" * 100_000,
        '{"format": NaN}',
        '{"format": 1, "format": 2}',
        "9" * 10_000,
    ],
)
def test_a_manifest_that_is_none(folder, text):
    (folder / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError) as error:
        read_folder(folder, "thing")
    says_one_line(error, folder / "manifest.json")
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("old, new, says", [
    ('"kind": "thing"', '"kind": "other", "kind": "thing"', "a key stands twice in one object"),
    ('"content": {', '"content": {"two": {"a": 1, "a": 1}, ', "a key stands twice in one object"),
    ('"content": {', '"content": {"x": NaN, ', "NaN is not a number"),
    ('"content": {', '"content": {"x": [-Infinity], ', "-Infinity is not a number"),
])  # fmt: skip
def test_a_manifest_that_could_be_read_in_two_ways(folder, old, new, says):
    """Other readers take the first of two, or no such number."""
    text = (folder / "manifest.json").read_text()
    assert text.count(old) == 1
    (folder / "manifest.json").write_text(text.replace(old, new))
    with pytest.raises(ValueError) as error:
        read_folder(folder, "thing")
    says_one_line(error, folder / "manifest.json", says)


@pytest.mark.parametrize("shape", [(2**32, 2**32), (2**40, 2**24), (2**22, 2**21, 2**21)])
def test_sizes_whose_product_wraps_round_are_those_of_no_file(folder, shape):
    """64 bits of them are zero, as is the length of the numbers."""
    with open(folder / "rows.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    data = (folder / "rows.npy").read_bytes()
    facts = {"shape": list(shape), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    change(folder, lambda manifest: manifest["arrays"]["rows"].update(facts))
    with pytest.raises(ValueError) as error:
        read_folder(folder, "thing")
    says_one_line(error, folder / "rows.npy", "its length is not that of its shape")


def test_a_manifest_longer_than_any_is_not_taken_in(folder):
    with open(folder / "manifest.json", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match=r"manifest.json is damaged: it is longer"):
        read_folder(folder, "thing")


@pytest.mark.parametrize("key", list(TOP))
@pytest.mark.parametrize("value", [None, 1.5, "x", [], {"x": 1}, True, -1])
def test_a_manifest_of_other_types(folder, key, value):
    def edit(manifest):
        manifest[key] = value

    if (key, value) in [("content", {"x": 1}), ("versions", {"x": 1})]:
        return  # as they may be
    change(folder, edit, sum_too=key != "sha256")
    with pytest.raises(ValueError) as error:
        read_folder(folder, "thing")
    says_one_line(error, folder / "manifest.json")


@pytest.mark.parametrize("where, place", [("", "manifest.json"), ("rows", "array 'rows'")])
def test_a_manifest_with_a_key_that_nobody_knows(folder, where, place):
    def edit(manifest):
        (manifest["arrays"][where] if where else manifest)["surprise"] = 1

    change(folder, edit, sum_too=True)
    with pytest.raises(ValueError, match=rf"{place} is damaged: it has the unknown key 'surprise'$") as error:
        read_folder(folder, "thing")
    says_one_line(error, folder / "manifest.json")


@pytest.mark.parametrize("key", list(ENTRY))
@pytest.mark.parametrize("value", [None, 1.5, "x", [], {"x": 1}, True, -1, "missing"])
def test_an_entry_of_other_types(folder, key, value):
    def edit(manifest):
        entry = manifest["arrays"]["rows"]
        entry.pop(key) if value == "missing" else entry.update({key: value})

    change(folder, edit)
    with pytest.raises(ValueError) as error:
        read_folder(folder, "thing")
    says_one_line(error, folder)


@pytest.mark.parametrize(
    "key, value, says",
    [
        ("shape", [3, 4], "the manifest says otherwise"),
        ("shape", [4, -3], "has no shape"),
        ("shape", [2**60, 3], "has no shape"),
        ("shape", [True, 12], "has no shape"),
        ("dtype", "<i4", "the manifest says otherwise"),
        ("dtype", ">f4", "unknown type"),
        ("dtype", "|O", "unknown type"),
        ("sha256", "0" * 64, "its sum"),
        ("bytes", 10**30, "bytes, not"),
        ("file", "part.order.npy", "bytes"),
        ("file", "../other/rows.npy", "a path in a manifest cannot point elsewhere"),
        ("file", "/etc/passwd", "a path in a manifest cannot point elsewhere"),
        ("file", "..", "a path in a manifest cannot point elsewhere"),
        ("file", "rows.npy\n", "a path in a manifest cannot point elsewhere"),
        ("file", "C:\\rows.npy", "a path in a manifest cannot point elsewhere"),
        ("file", ".rows.npy", "a path in a manifest cannot point elsewhere"),
        ("file", "manifest.json", "a path in a manifest cannot point elsewhere"),
    ],
)
def test_an_entry_that_lies(folder, key, value, says):
    (folder.parent / "other").mkdir()
    (folder.parent / "other" / "rows.npy").write_bytes((folder / "rows.npy").read_bytes())
    change(folder, lambda manifest: manifest["arrays"]["rows"].update({key: value}))
    with pytest.raises(ValueError) as error:
        read_folder(folder, "thing")
    says_one_line(error, folder, says)


def test_a_link_may_not_lead_out(folder):
    elsewhere = folder.parent / "elsewhere.npy"
    (folder / "rows.npy").rename(elsewhere)
    (folder / "rows.npy").symlink_to(elsewhere)
    with pytest.raises(ValueError) as error:
        read_folder(folder, "thing")
    says_one_line(error, folder / "rows.npy", "a link that leads out of the folder")
    elsewhere.rename(folder / "within.npy")
    (folder / "rows.npy").unlink()
    (folder / "rows.npy").symlink_to("within.npy")
    read_folder(folder, "thing")


def test_a_link_within_a_folder_is_followed_however_the_folder_is_named(folder, monkeypatch):
    (folder / "rows.npy").rename(folder / "within.npy")
    (folder / "rows.npy").symlink_to("within.npy")
    (folder.parent / "link").symlink_to(folder)
    monkeypatch.chdir(folder.parent)
    for name in (folder, "thing", "link", "./link/../thing", folder.parent / "link"):
        np.testing.assert_array_equal(read_folder(name, "thing").arrays["rows"], some_arrays()["rows"])


def test_a_later_version_asks_for_an_upgrade(folder):
    change(folder, lambda manifest: {"format": "tsne_ooc", "format_version": 2, "new": "things"})
    with pytest.raises(ValueError, match=r"manifest.json has format 2; this version reads up to 1, upgrade tsne_ooc"):
        read_folder(folder, "thing")


def test_another_kind_is_refused(folder):
    with pytest.raises(ValueError, match="is that of a 'thing', not of a 'model'"):
        read_folder(folder, "model")


def test_files_with_pickles_or_columns_are_not_read(folder):
    for array in (np.array([{}], dtype=object), np.asfortranarray(np.ones((4, 3), np.float32))):
        np.save(folder / "rows.npy", array, allow_pickle=True)
        size = (folder / "rows.npy").stat().st_size
        change(folder, lambda manifest, size=size: manifest["arrays"]["rows"].update(bytes=size))
        with pytest.raises(ValueError, match=r"rows.npy .*not read here|rows.npy .*header"):
            read_folder(folder, "thing")


# ------------------------------------------------------------------------------------------------ states of parts


def test_states_within_states():
    inner = ({"k": 3}, {"rows": np.zeros((2, 3))})
    content, arrays = within("model", within("index", inner))
    saved = Saved(content, arrays).part("model").part("index")
    assert saved.whole("k", 1) == 3 and saved.array("rows", float, (2, None)).shape == (2, 3)
    assert set(saved.own_arrays()) == {"rows"}
    with pytest.raises(StateError) as error:
        saved.array("rows", float, (3, None))
    assert error.value.array == "model.index.rows"


@pytest.mark.parametrize(
    "read, says",
    [
        (lambda saved: saved.part("list"), "'list' is not an object"),
        (lambda saved: saved.text("list"), "'list' is not a string"),
        (lambda saved: saved.text("nothing"), "'nothing' is missing"),
        (lambda saved: saved.flag("whole"), "'whole' is not true or false"),
        (lambda saved: saved.whole("flag", 0), "flag=True is not a whole number"),
        (lambda saved: saved.whole("whole", 6), "whole=5 is not a whole number from 6"),
        (lambda saved: saved.whole("whole", 0, 4), "from 0 to 4"),
        (lambda saved: saved.whole("huge", 0), "is not a whole number"),
        (lambda saved: saved.number("huge", above=0), "^huge=1000000.* must be a finite number greater than 0$"),
        (lambda saved: saved.number("flag", above=0), "flag=True is not a number"),
        (lambda saved: saved.number("whole", above=5), "greater than 5"),
        (lambda saved: saved.array("rows", np.float32, (3, 2)), "shape"),
        (lambda saved: saved.array("rows", np.float32, (2,)), "shape"),
        (lambda saved: saved.array("rows", np.float64, (2, 3)), "holds float32, not float64"),
        (lambda saved: saved.array("bad", np.float32, (2,)), "NaN or infinity"),
        (lambda saved: saved.array("none", np.float32, (2,)), "'none' is missing"),
    ],
)
def test_states_are_not_believed(read, says):
    arrays = {"rows": np.zeros((2, 3), np.float32), "bad": np.array([1, np.nan], np.float32)}
    with pytest.raises(StateError, match=says):
        read(Saved({"list": [], "whole": 5, "flag": True, "huge": 10**400}, arrays))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size, at", [(1, 0), (9, 8), ((1 << 20) + 5, (1 << 20) - 1), ((1 << 20) + 5, 1 << 20)])
def test_a_number_that_is_not_finite_is_found_wherever_it_is(size, at, bad):
    numbers = np.zeros(size, np.float32)
    numbers[at] = bad
    saved = Saved({}, {"x": numbers})
    with pytest.raises(StateError, match=r"^holds NaN or infinity$") as caught:
        saved.array("x", np.float32, (None,))
    assert caught.value.array == "x"
    assert saved.array("x", np.float32, (size,), finite=False) is numbers


def test_arrays_of_a_state_lie_in_rows():
    saved = Saved({}, {"x": np.zeros((3, 2)).T, "empty": np.zeros((0, 2)), "n": np.array(3)})
    with pytest.raises(StateError, match=r"^has the shape \(2, 3\), where \(any, 3\) is needed$"):
        saved.array("x", float, (None, 3))
    assert saved.array("empty", float, (None, 2)).shape == (0, 2) and saved.array("n", int, ()) == 3
    for shape in ((None,), (None, 3), (1, 2), (None, 2, None)):
        with pytest.raises(StateError, match=r"^has the shape \(0, 2\), where \("):
            saved.array("empty", float, shape)


def test_bounds_of_whole_numbers_are_within():
    saved = Saved({"a": 5, "none": None}, {}, ("of", "this"))
    assert saved.whole("a", 5, 5) == 5 == saved.whole_or_none("a", 5) and saved.whole_or_none("none", 1) is None
    for least, most in ((6, 9), (1, 4)):
        with pytest.raises(StateError) as caught:
            saved.whole("a", least, most)
        assert str(caught.value) == f"of.this.a=5 is not a whole number from {least} to {most}"
    for missing in (lambda: saved.whole_or_none("b", 1), lambda: saved.text("b")):
        with pytest.raises(StateError, match=r"^'of\.this\.b' is missing$"):
            missing()
    assert str(saved.fail("is odd")) == "of.this is odd" and saved.fail("is odd").array is None
    assert saved.fail("is odd", "x").array == "of.this.x" and str(saved.fail("is odd", "x")) == "is odd"


def test_arrays_of_a_part_are_those_under_its_whole_name():
    """A part whose name begins with that of another is not within it."""
    saved = Saved({"a": {"b": {}}, "ab": {}}, {"a.x": 1, "ab.x": 2, "a.b.y": 3, "x": 4, "ba.x": 5})
    assert saved.part("a").own_arrays() == {"x": 1, "b.y": 3} and saved.part("ab").own_arrays() == {"x": 2}
    assert saved.part("a").part("b").own_arrays() == {"y": 3} and len(saved.own_arrays()) == 5


def test_a_name_of_a_file_means_one_class(monkeypatch):
    """What a file holds under a name must not depend on which class came last."""
    monkeypatch.setattr(codec, "KINDS", {})
    one, other = type("Same", (), {}), type("Same", (), {})
    assert codec.stored(one) is one is codec.stored(one)
    with pytest.raises(TypeError, match=r"^two kinds of options are called Same$"):
        codec.stored(other)
    assert list(codec.KINDS.values()) == [one]


def test_writing_loads_nothing_heavy():
    program = "import sys, tsne_ooc.storage; assert not {'scipy', 'numba', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parent)


def test_a_save_that_comes_between_the_look_and_the_lock_is_seen(folder, monkeypatch):
    """It is written over, too, and none of its files stays."""
    from tsne_ooc.storage import writing

    class Late(writing.Lock):
        def __enter__(self):
            monkeypatch.undo()
            for value in (5, 6):
                write_folder(folder, "thing", {"value": value}, {"rows": np.full(3, value)}, overwrite=True)
            return super().__enter__()

    monkeypatch.setattr(writing, "Lock", Late)
    write_folder(folder, "thing", {"value": 7}, {"rows": np.full(3, 7)}, overwrite=True)
    found = read_folder(folder, "thing")
    assert found.content == {"value": 7} and found.arrays["rows"].tolist() == [7, 7, 7]
    assert {path.name for path in folder.iterdir()} == {"manifest.json", found.files["rows"].name}
    # The fourth of its saves.
    assert json.loads((folder / "manifest.json").read_text())["generation"] == 4


def test_a_folder_says_which_versions_wrote_it(folder):
    """Of Python and the libraries that results depend on, as far as they are installed."""
    from importlib.metadata import version

    told = json.loads((folder / "manifest.json").read_text())["versions"]
    assert told["numpy"] == np.__version__ and told["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"tsne_ooc", "python", "numpy", "scipy", "numba", "scikit-learn"} <= set(told)
    assert all(told[name] == version(name) for name in set(told) - {"tsne_ooc", "python"})


def test_further_files_are_written_over_and_older_ones_go(tmp_path):
    """The content names them; what nobody names any more goes, and what others put there stays."""
    folder = tmp_path / "x"
    old, new = b"old program", b"new program"
    (first, _), (second, _) = named_by_content("net.onnx", old), named_by_content("net.onnx", new)
    other, _ = named_by_content("notes.txt", b"text")
    arrays = {"a": np.zeros(3), "b.c": np.ones(2)}
    write_folder(folder, "x", {"net": first}, arrays, files={first: old, other: b"text"})
    for name in ("mine.onnx", "net.onnx", "d.npy", "net.0123456789abcdef.txt", "a.x.npy"):
        (folder / name).write_bytes(b"mine")
    for name in (
        "net.0123456789abcdef.onnx",
        f"{first}.part",
        "a.9.npy",
        "b.c.12.npy",
        "notes.00112233445566ff.txt.part",
    ):
        (folder / name).write_bytes(b"left by a save that was killed")
    for _ in range(2):
        write_folder(folder, "x", {"net": second}, arrays, files={second: new, other: b"text"}, overwrite=True)
        found = read_folder(folder, "x")
        assert (folder / second).read_bytes() == new and (folder / other).read_bytes() == b"text"
        assert {path.name for path in folder.iterdir()} == {
            "manifest.json", second, other, *(path.name for path in found.files.values()),
            "mine.onnx", "net.onnx", "d.npy", "net.0123456789abcdef.txt", "a.x.npy",
        }  # fmt: skip
    # A file of the same name has the same content, and is written anew all the same: it may be damaged.
    (folder / second).write_bytes(b"damaged")
    write_folder(folder, "x", {"net": second}, arrays, files={second: new, other: b"text"}, overwrite=True)
    assert (folder / second).read_bytes() == new


def test_the_name_of_a_further_file_tells_its_content():
    import hashlib

    name, digest = named_by_content("net.onnx", b"abc")
    assert digest == hashlib.sha256(b"abc").hexdigest() and name == f"net.{digest[:16]}.onnx"
    assert named_by_content("net.onnx", b"abd")[0] != name


@pytest.mark.parametrize("axes", [0, 1, 4, 5, 6])
def test_an_array_has_four_axes_at_most(tmp_path, axes):
    """What cannot be read is not written."""
    array = np.arange(2.0**axes).reshape((2,) * axes)
    if axes <= 4:
        write_folder(tmp_path / "x", "x", {}, {"a": array})
        np.testing.assert_array_equal(read_folder(tmp_path / "x", "x").arrays["a"], array)
        return
    with pytest.raises(ValueError, match=rf"^array 'a' has {axes} axes; 4 are the most$"):
        write_folder(tmp_path / "x", "x", {}, {"a": array})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 * (1 << 20) + 7])
def test_an_array_of_any_size_is_written_whole(tmp_path, size):
    array = np.arange(size, dtype=np.uint32).astype(np.uint8)
    write_folder(tmp_path / "x", "x", {}, {"a": array})
    found = read_folder(tmp_path / "x", "x")
    np.testing.assert_array_equal(found.arrays["a"], array)
    np.save(tmp_path / "y.npy", array)
    assert found.files["a"].read_bytes() == (tmp_path / "y.npy").read_bytes()
