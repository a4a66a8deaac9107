"""Samples by strata, given samples, shorthands, and labels from files."""

import math
from collections import Counter
from fractions import Fraction

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsne_ooc.sampling import Coverage, Rows, Stratified, UniformSample, labels_of, resolve_sample, uniform
from tsne_ooc.sampling.stratified import balanced, proportional, strata


def table(n):
    return np.arange(n, dtype=np.float32)[:, None]


def slow_proportional(counts, size):
    """Largest remainders in fractions, strata below one row set apart one round after the other."""
    wanted = [None] * len(counts)
    while True:
        rest = size - sum(w is not None for w in wanted)
        free = [i for i, w in enumerate(wanted) if w is None]
        total = sum(counts[i] for i in free)
        small = [i for i in free if Fraction(counts[i] * rest, total) < 1]
        for i in small:
            wanted[i] = 1
        if not small:
            break
        if len(small) == len(free):
            return wanted
    quotas = {i: Fraction(counts[i] * rest, total) for i in free}
    for i in free:
        wanted[i] = math.floor(quotas[i])
    by_remainder = sorted(free, key=lambda i: wanted[i] - quotas[i])
    for i in by_remainder[: rest - sum(wanted[i] for i in free)]:
        wanted[i] += 1
    return wanted


def slow_balanced(counts, size):
    """Deal one row to each stratum in turn, the largest first where a round cannot be finished."""
    wanted = [0] * len(counts)
    while size:
        open_ = [i for i in range(len(counts)) if wanted[i] < counts[i]]
        for i in sorted(open_, key=lambda i: (-counts[i], -i))[:size]:
            wanted[i] += 1
        size -= min(size, len(open_))
    return wanted


@settings(deadline=None, max_examples=200)
@given(counts=st.lists(st.integers(1, 60), min_size=1, max_size=12), data=st.data())
def test_shares_are_exact(counts, data):
    size = data.draw(st.integers(len(counts), sum(counts)))
    for shares, slow in [(proportional, slow_proportional), (balanced, slow_balanced)]:
        found = shares(np.array(counts), size)
        assert found.tolist() == slow(counts, size)
        assert found.sum() == size and (found >= 1).all() and (found <= counts).all()


@settings(deadline=None, max_examples=60)
@given(labels=st.lists(st.sampled_from("aaaaabbc"), min_size=1, max_size=80), data=st.data())
def test_a_stratified_sample_has_its_shares(labels, data):
    size = data.draw(st.integers(len(set(labels)), 90))
    balance = data.draw(st.sampled_from(["proportional", "balanced"]))
    rows, X = Stratified(size, labels, balance).draw(table(len(labels)), np.random.default_rng(0))
    np.testing.assert_array_equal(X[:, 0], rows)
    assert len(rows) == min(size, len(labels)) and (np.diff(rows) > 0).all()
    counts = Counter(labels)
    slow = {"proportional": slow_proportional, "balanced": slow_balanced}[balance]
    first = list(counts)
    assert Counter(labels[row] for row in rows) == dict(
        zip(first, slow([counts[label] for label in first], len(rows)), strict=True)
    )


def test_rows_of_a_stratum_are_equally_likely():
    labels = np.repeat([0, 1], [30, 10])
    rng = np.random.default_rng(0)
    counts = sum(
        np.bincount(Stratified(10, labels, "balanced").draw(table(40), rng).rows, minlength=40) for _ in range(1000)
    )
    # Five of 30 and five of 10 a time; six standard deviations.
    for members, share in [(labels == 0, 5 / 30), (labels == 1, 5 / 10)]:
        assert abs(counts[members] - 1000 * share).max() < 6 * np.sqrt(1000 * share * (1 - share))


@pytest.mark.parametrize(
    "labels, expected",
    [
        (["b", "a", "b"], [0, 1, 0]),
        (np.array(["b", "a", "b"]), [0, 1, 0]),
        ([5, 3, 5], [0, 1, 0]),
        (np.array([5.0, np.nan, 5.0, np.nan]), [0, 1, 0, 1]),
        (["x", None, float("nan"), "None"], [0, 1, 1, 2]),
        ([1, "1", True], [0, 1, 0]),
        (pd.Series(["x", pd.NA, "x"], dtype="string"), [0, 1, 0]),
        (pd.Categorical(["x", None, "y"]), [0, 1, 2]),
        (np.array([True, False]), [0, 1]),
        (np.array(["2020-01-01", "NaT", "NaT"], "M8[D]"), [0, 1, 1]),
        ((["a", "a", "b", "a"], [1, 2, 1, 1]), [0, 1, 2, 0]),
        (np.array([[0, 1], [1, 0], [0, 1]]), [0, 1, 0]),
        (pd.DataFrame({"kind": ["a", "a", "b"], "day": [1, 1, 1]}), [0, 0, 1]),
    ],
)
def test_strata_are_the_combinations_of_labels(labels, expected):
    assert strata(labels).tolist() == expected


@pytest.mark.parametrize(
    "sample, message",
    [
        (lambda: Stratified(5, [1, 2]), "there are 2 labels, but the table has 6 rows"),
        (lambda: Stratified(5, [1, 2]).without(np.array([0]), 6), "there are 2 labels, but the table has 6 rows"),
        (lambda: Stratified(5, ([1, 2], [1, 2, 3])), "different lengths: 2, 3"),
        (lambda: Stratified(2, [1, 2, 3, 4, 5, 5]), "2 rows cannot hold one of each of the 5 strata"),
        (lambda: Stratified(0, [1]), "size=0 must be at least 1"),
        (lambda: Stratified(1, 7), r"labels have shape \(\)"),
        (lambda: Stratified(1, np.zeros((6, 0))), r"shape \(6, 0\) have no columns"),
        (lambda: Stratified(1, [1], balance="balance"), "did you mean 'balanced'"),
        (lambda: Rows([3, 9]), r"rows\[1\] is 9, but the table has rows 0 to 5"),
        (lambda: Rows([-1]), r"rows\[0\] is -1"),
        (lambda: Rows([3, 1, 3]), "row 3 is named more than once"),
        (lambda: Rows([]), "float64; give row numbers"),
        (lambda: Rows(np.zeros(6, bool)), "name no row at all"),
        (lambda: Rows([True, False]), "mask of rows has 2 entries, the table has 6 rows"),
        (lambda: Rows([[1]]), r"shape \(1, 1\)"),
        (lambda: resolve_sample("covrage"), "did you mean 'coverage'"),
        (lambda: resolve_sample("coverage:many"), "'many' is not a number of rows"),
        (lambda: resolve_sample("stratified"), "needs labels"),
        (lambda: resolve_sample(2.5), "neither a number of rows, a word"),
        (lambda: resolve_sample(0), "sample=0 must be at least 1"),
    ],
)
def test_errors_name_what_is_wrong(sample, message):
    with pytest.raises((ValueError, TypeError), match=message):
        sample().draw(table(6), np.random.default_rng(0))


def test_labels_of_rows_that_are_dropped_go_with_them():
    labels = np.array(list("aabbbc"))
    found = Stratified(3, labels, "balanced").without(np.array([0, 5]), 6)
    assert (found.size, found.balance) == (3, "balanced")
    assert strata(found.labels).tolist() == strata(labels[1:5]).tolist()


def test_given_rows_come_sorted_or_by_mask():
    for rows in ([4, 1], np.array([False, True, False, False, True, False])):
        found, X = Rows(rows).draw(table(6), np.random.default_rng(0))
        assert found.tolist() == [1, 4] and X[:, 0].tolist() == [1, 4]
        assert repr(Rows(rows)) == "Rows(<2 rows>)"


def test_shorthands():
    assert resolve_sample(7) == resolve_sample(np.int64(7)) == resolve_sample("uniform", 7) == UniformSample(7)
    assert resolve_sample("coverage") == Coverage(25_000)
    assert resolve_sample("coverage:5_000") == resolve_sample("coverage:5,000", 7) == Coverage(5000)
    sample = Stratified(3, list("aab"))
    assert resolve_sample(sample) is sample
    assert isinstance(resolve_sample([1, 2]), Rows)
    assert repr(sample) == "Stratified(size=3, balance='proportional')"


def test_uniform_is_the_function_and_tells_its_progress():
    told = []
    rows, _ = UniformSample(5).draw(table(50), np.random.default_rng(1), progress=lambda *at: told.append(at))
    np.testing.assert_array_equal(rows, uniform(table(50), 5, np.random.default_rng(1))[0])
    assert told[-1] == ("sample", 5, 5)
    Coverage(5).draw(table(50), np.random.default_rng(1), progress=lambda *at: told.append(at))
    assert told[-1] == ("sample", 50, 50)


@pytest.fixture
def cells(tmp_path):
    """A file with every way in which AnnData has stored columns."""
    path = tmp_path / "cells.h5ad"
    with h5py.File(path, "w") as file:
        file["X"] = np.zeros((3, 2))
        file["batch"] = np.array([2, 1, 2])
        obs = file.create_group("obs")
        obs["donor"] = np.array(["ann", "bob", "ann"], dtype=h5py.string_dtype())
        kind = obs.create_group("cell_type")
        kind["codes"] = np.array([1, -1, 0], np.int8)
        kind["categories"] = np.array(["B", "T"], dtype=h5py.string_dtype())
        age = obs.create_group("age")
        age["values"], age["mask"] = np.array([30, 0, 40]), np.array([False, True, False])
        obs["__categories/old"] = np.array(["x", "y"], dtype=h5py.string_dtype())
        obs["old"] = np.array([1, 0, 1], np.int8)
        obs["old"].attrs["categories"] = obs["__categories/old"].ref
        file["uns/y_categories"] = np.array(["p", "q", "r"], dtype=h5py.string_dtype())
        file["table"] = np.array([(7.0, 2), (8.0, 0), (9.0, -1)], dtype=[("x", "f4"), ("y", "i1")])
    return path


@pytest.mark.parametrize(
    "name, expected",
    [
        ("batch", [2, 1, 2]),
        ("donor", ["ann", "bob", "ann"]),
        ("obs/donor", ["ann", "bob", "ann"]),
        ("cell_type", ["T", None, "B"]),
        ("age", [30, None, 40]),
        ("old", ["y", "x", "y"]),
        ("table/x", [7, 8, 9]),
        ("table/y", ["r", "p", None]),
    ],
)
def test_labels_of_hdf5(cells, name, expected):
    assert labels_of(cells, name).tolist() == expected


@pytest.mark.parametrize(
    "name, message",
    [
        ("cell_typ", r"no labels 'cell_typ'; did you mean 'cell_type'\? it has .*obs/cell_type"),
        (None, "name the labels to read; it has batch"),
        ("X", r"'X' of .* has shape \(3, 2\); labels are one for each row"),
    ],
)
def test_labels_that_are_not_there(cells, name, message):
    with pytest.raises(ValueError, match=message):
        labels_of(cells, name)


def test_labels_of_npy_and_of_nothing(tmp_path):
    np.save(tmp_path / "y.npy", np.array(["a", "b"]))
    assert labels_of(tmp_path / "y.npy").tolist() == ["a", "b"]
    with pytest.raises(FileNotFoundError, match="there is no file"):
        labels_of(tmp_path / "none.h5", "y")


def test_labels_of_parquet(tmp_path):
    pytest.importorskip("pyarrow", reason="reading Parquet needs pyarrow")
    path = tmp_path / "cells.parquet"
    frame = pd.DataFrame({"kind": pd.Categorical(["a", None, "b"]), "day": [3, 1, 2]})
    frame.to_parquet(path)
    assert labels_of(path, "kind").tolist() == ["a", None, "b"]
    assert labels_of(path, "day").dtype == np.int64
    with pytest.raises(ValueError, match="did you mean 'kind'"):
        labels_of(path, "kinds")


def test_labels_of_a_real_h5ad(data_folder):
    path = data_folder / "pbmc68k_reduced.h5ad"
    if not path.exists():
        pytest.skip(f"no {path.name} in {data_folder}")
    labels = labels_of(path, "bulk_labels")
    assert len(labels) == 700 and len(set(labels)) == 10 and "CD56+ NK" in labels


@pytest.mark.parametrize("size", [5, 6, 7, 50])
@pytest.mark.parametrize("balance", ["proportional", "balanced"])
def test_as_many_rows_as_there_are_strata_are_one_of_each(size, balance):
    labels = list("abcdeabcdaba")
    rows, X = Stratified(size, labels, balance).draw(table(12), np.random.default_rng(0))
    found = [labels[row] for row in rows]
    assert set(found) == set("abcde") and len(rows) == min(size, 12) and (np.diff(rows) > 0).all()
    assert X[:, 0].tolist() == rows.tolist()
    with pytest.raises(ValueError, match=r"^a sample of 4 rows cannot hold one of each of the 5 strata; use a larger"):
        Stratified(4, labels, balance).draw(table(12), np.random.default_rng(0))


def test_a_sample_of_strata_tells_its_progress_and_follows_its_seed():
    told, labels = [], np.arange(50) % 3
    sample = Stratified(9, labels)
    rows, _ = sample.draw(table(50), np.random.default_rng(1), progress=lambda *at: told.append(at))
    assert told[-1] == ("sample", 9, 9)
    assert sample.draw(table(50), np.random.default_rng(1)).rows.tolist() == rows.tolist()
    assert sample.draw(table(50), np.random.default_rng(2)).rows.tolist() != rows.tolist()
    told.clear()
    Rows([4, 1]).draw(table(6), np.random.default_rng(0), progress=lambda *at: told.append(at))
    assert told[-1] == ("sample", 2, 2)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(-3, 3), st.booleans()), min_size=1, max_size=30))
def test_combinations_of_labels_are_numbered_by_their_first_row(rows):
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    seen = list(dict.fromkeys(rows))
    assert strata(columns).tolist() == strata(tuple(columns)).tolist() == [seen.index(row) for row in rows]
    assert strata(np.array(rows)).tolist() == strata(columns).tolist()


@pytest.mark.parametrize(
    "labels, message",
    [
        (np.zeros((2, 2, 2)), "labels have shape (2, 2, 2); one for each row is needed, or several such arrays"),
        (
            [np.zeros((2, 2)), np.zeros(2)],
            "labels have shape (2, 2); one for each row is needed, or several such arrays",
        ),
        (([1], [1, 2], [1, 2, 3]), "arrays of labels have different lengths: 1, 2, 3"),
        (np.zeros((3, 0)), "labels of shape (3, 0) have no columns"),
    ],
)
def test_labels_of_wrong_shapes(labels, message):
    with pytest.raises(ValueError) as told:
        strata(labels)
    assert str(told.value) == message


def test_words_are_labels_of_one_column_and_not_columns_of_letters():
    assert strata(["ab", "ab", "cd"]).tolist() == [0, 0, 1]
    assert strata([b"ab", b"cd"]).tolist() == [0, 1]
    assert strata([]).tolist() == []


@pytest.mark.parametrize("mask", [True, False])
def test_rows_that_are_dropped_move_the_numbers_of_those_behind_them(mask):
    rng = np.random.default_rng(0)
    for _ in range(20):
        n = 30
        dropped = np.sort(rng.choice(n, 9, replace=False))
        kept = np.setdiff1d(np.arange(n), dropped)
        rows = rng.choice(kept, 6, replace=False)
        given = np.isin(np.arange(n), rows) if mask else rows
        was = given.copy()
        found = Rows(given).without(dropped, n).draw(table(len(kept)), rng).rows
        assert kept[found].tolist() == sorted(rows)
        np.testing.assert_array_equal(given, was)
        wrong = np.sort(np.append(rows, dropped[3]))
        given = np.isin(np.arange(n), wrong) if mask else wrong
        with pytest.raises(
            ValueError, match=f"^row {dropped[3]} of the sample lacks a value, and missing='drop' leaves"
        ):
            Rows(given).without(dropped, n)
    # A mask of another length is told when it is drawn from.
    assert len(Rows(np.ones(4, bool)).without(np.array([1]), 5).rows) == 4
    assert Rows([2, 0]).without(np.array([], np.int64), 5).rows.tolist() == [2, 0]


def test_rows_at_the_ends_of_the_table():
    found = Rows(np.array([5, 0], np.uint8)).draw(table(6), np.random.default_rng(0))
    assert found.rows.tolist() == [0, 5] and found.rows.dtype == np.int64 and Rows([3, 4, 9]).size == 3
    assert Rows(np.array([False, True, True])).size == 2
    for rows, message in (
        ([0, 6], "rows[1] is 6, but the table has rows 0 to 5"),
        ([0, -1, 9], "rows[1] is -1, but the table has rows 0 to 5"),
        ([2, 5, 1, 5, 1], "row 1 is named more than once"),
        (np.ones(7, bool), "the mask of rows has 7 entries, the table has 6 rows"),
    ):
        with pytest.raises(ValueError) as told:
            Rows(rows).draw(table(6), np.random.default_rng(0))
        assert str(told.value) == message
    for rows in (np.zeros((2, 2), int), np.array([1.0])):
        with pytest.raises(TypeError, match=r"^rows are an array of shape .*; give row numbers, or a mask, in one dim"):
            Rows(rows)
    with pytest.raises(ValueError, match=r"^rows name no row at all; a sample has at least one$"):
        Rows(np.array([], int))


@pytest.mark.parametrize("word, kind", [("uniform", UniformSample), ("coverage", Coverage)])
def test_words_with_and_without_a_number_of_rows(word, kind):
    assert resolve_sample(word) == kind(25_000) and resolve_sample(word, 9) == resolve_sample(f"{word}:", 9) == kind(9)
    assert resolve_sample(f"{word}:1") == resolve_sample(f"{word}:1", 9) == kind(1)
    assert resolve_sample(f"{word}:1,200_000") == kind(1_200_000)
    with pytest.raises(ValueError, match="size=0 must be at least 1"):
        resolve_sample(f"{word}:0")
    for number in ("-5", "5.0", "1e3", " 5", "five"):
        with pytest.raises(ValueError) as told:
            resolve_sample(f"{word}:{number}")
        assert str(told.value) == f"sample='{word}:{number}': {number!r} is not a number of rows"


@pytest.mark.parametrize("sample", [True, np.True_, b"uniform", np.array(2.5), None, 3.0])
def test_what_is_no_sample(sample):
    with pytest.raises(TypeError) as told:
        resolve_sample(sample)
    assert str(told.value) == (
        f"sample={sample!r} is neither a number of rows, a word nor an object of tsne_ooc.sampling"
    )


def test_arrays_and_lists_are_row_numbers_and_arrays_without_axes_a_number_of_rows():
    assert resolve_sample(np.array(7)) == UniformSample(7) == resolve_sample(np.uint8(7))
    for rows in ([1, 2], (1, 2), np.array([1, 2]), pd.Series([1, 2])):
        assert resolve_sample(rows).rows.tolist() == [1, 2]


def test_of_many_columns_the_first_ten_are_listed(tmp_path):
    pytest.importorskip("pyarrow", reason="reading Parquet needs pyarrow")
    for count, rest in ((10, ""), (11, " and 1 more")):
        path = tmp_path / f"{count}.parquet"
        pd.DataFrame({f"column{j}": [1] for j in range(count)}).to_parquet(path)
        listed = "it has " + ", ".join(f"column{j}" for j in range(10)) + rest
        for name, message in (
            (None, f"{path}: name the labels to read; {listed}"),
            ("kind", f"{path} has no labels 'kind'; {listed}"),
            ("clumn9", f"{path} has no labels 'clumn9'; did you mean 'column9'? {listed}"),
        ):
            with pytest.raises(ValueError) as told:
                labels_of(path, name)
            assert str(told.value) == message


def test_a_file_without_any_labels_says_so(tmp_path):
    path = tmp_path / "X.h5"
    with h5py.File(path, "w") as file:
        file["X"] = np.zeros((3, 2))
        file.create_group("empty")
        file["scalar"] = 3
    with pytest.raises(ValueError) as told:
        labels_of(path, "kind")
    assert str(told.value) == f"{path} has no labels 'kind'; it has nothing that could be labels"
    with pytest.raises(OSError, match=r"none.h5"):
        labels_of(tmp_path / "none.h5", "kind")
    broken = tmp_path / "broken.h5"
    broken.write_bytes(b"no HDF5 at all" * 9)
    with pytest.raises(OSError, match="cannot be opened as HDF5"):
        labels_of(broken, "kind")


def test_groups_that_are_no_column_are_no_labels(tmp_path):
    path = tmp_path / "X.h5"
    with h5py.File(path, "w") as file:
        half = file.create_group("half")
        half["codes"] = np.array([0, 1])
        other = file.create_group("other")
        other["values"] = np.array([0, 1])
        file["other2/mask"] = np.array([True])
    for name in ("half", "other", "other2"):
        with pytest.raises(ValueError, match=f"has no labels '{name}'"):
            labels_of(path, name)
    assert labels_of(path, "half/codes").tolist() == [0, 1]


def test_labels_of_several_files_follow_one_another(tmp_path):
    for name, labels in (("a", ["x", "y"]), ("b", ["y", "z", "x"])):
        np.save(tmp_path / f"{name}.npy", np.array(labels))
    assert labels_of([tmp_path / "b.npy", tmp_path / "a.npy"]).tolist() == ["y", "z", "x", "x", "y"]
    np.save(tmp_path / "two.npy", np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"two.npy has shape \(2, 3\); labels are one for each row"):
        labels_of(tmp_path / "two.npy")


def test_labels_of_files_of_other_types_stay_what_they_are(tmp_path):
    """Joined as one type of NumPy, numbers would become words."""
    np.save(tmp_path / "a.npy", np.array([3, 1]))
    np.save(tmp_path / "b.npy", np.array(["x", "3"]))
    found = labels_of([tmp_path / "a.npy", tmp_path / "b.npy"])
    assert found.tolist() == [3, 1, "x", "3"] and len(np.unique(strata(found))) == 4


def test_categories_of_several_files_are_those_of_the_first_and_then_the_others(tmp_path):
    for name, codes, words in (("a", [1, 0], ["z", "k"]), ("b", [0, 2], ["b", "z", "a"])):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["kind/codes"] = np.array(codes, np.int8)
            file["kind/categories"] = np.array(words, dtype=h5py.string_dtype())
    found = labels_of([tmp_path / "a.h5", tmp_path / "b.h5"], "kind")
    assert found.tolist() == ["k", "z", "b", "a"] and found.categories == ["z", "k", "b", "a"]
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["kind"] = np.array([5, 7])
    # Where one of them has no categories, there is no order of all.
    found = labels_of([tmp_path / "a.h5", tmp_path / "c.h5"], "kind")
    assert found.tolist() == ["k", "z", 5, 7] and getattr(found, "categories", None) is None


def test_fields_of_records_keep_their_type_and_have_to_be_one_for_each_row(tmp_path):
    kind = [("x", "f4"), ("word", "S3"), ("pair", "i2", (2,)), ("words", "S3", (2,))]
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["table"] = np.array([(0.1, b"a\xfc", (1, 2), (b"a", b"b")), (7.0, b"b", (3, 4), (b"c", b"d"))], dtype=kind)
        file["scalar"] = np.bytes_(b"abc")
        file["words"] = np.array([[b"a", b"b"], [b"c", b"d"]])
    found = labels_of(tmp_path / "t.h5", "table/x")
    assert found.dtype == np.float32 and found.tolist() == [np.float32(0.1), 7.0]
    # Bytes are text, as elsewhere.
    assert labels_of(tmp_path / "t.h5", "table/word").tolist() == ["aü", "b"]
    for name, shape in (("table/pair", "(2, 2)"), ("table/words", "(2, 2)"), ("scalar", "()"), ("words", "(2, 2)")):
        with pytest.raises(ValueError) as told:
            labels_of(tmp_path / "t.h5", name)
        assert str(told.value) == f"{name!r} of {tmp_path / 't.h5'} has shape {shape}; labels are one for each row"


def test_no_rows_have_no_strata_however_many_labels_they_have():
    assert strata([[], []]).tolist() == strata(np.zeros((0, 2))).tolist() == []


@pytest.mark.parametrize("shares, slow", [(proportional, slow_proportional), (balanced, slow_balanced)])
def test_of_many_strata_alike_it_is_told_which_have_a_row_more(shares, slow):
    """The order of equal ones is theirs, in whatever way they are sorted: also of more than a few."""
    counts = np.random.default_rng(0).integers(3, 6, 300)
    for size in (301, 555, 800):
        assert shares(counts, size).tolist() == slow(counts.tolist(), size)


def test_all_that_may_be_labels_is_listed(cells):
    """Columns of one dimension, whichever way they are stored, by the name of the column and not of its parts."""
    with h5py.File(cells, "a") as file:
        # Neither is one for each row: a number alone, and a dataset that has no shape at all.
        file["one"] = 3
        file["nothing"] = h5py.Empty("f4")
        file.create_group("aside")
    names = (
        "batch, obs/__categories/old, obs/age, obs/cell_type, obs/donor, obs/old, table/x, table/y, uns/y_categories"
    )
    for name, message in (
        (None, f"{cells}: name the labels to read; it has {names}"),
        ("", f"{cells} has no labels ''; it has {names}"),
        ("zzz", f"{cells} has no labels 'zzz'; it has {names}"),
        ("dnor", f"{cells} has no labels 'dnor'; did you mean 'donor'? it has {names}"),
        ("qqqq/zz", f"{cells} has no labels 'qqqq/zz'; it has {names}"),
        ("table/z", f"{cells} has no labels 'table/z'; did you mean 'table/x'? it has {names}"),
    ):
        with pytest.raises(ValueError) as told:
            labels_of(cells, name)
        if name == "table/z":
            assert str(told.value).startswith(f"{cells} has no labels 'table/z'; did you mean 'table/")
        else:
            assert str(told.value) == message


def test_the_size_of_given_rows_is_how_many_there_are():
    with pytest.raises(TypeError):
        Rows([1, 2], 3)
    assert Rows([1, 2]).size == 2 and Rows(range(5)).size == 5
