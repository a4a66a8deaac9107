"""Labels of any type: every door finds the same classes, and rows without a label are told from all others."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pytest

from tsne_ooc._labels import Categorical, categories_of, classes, column, is_missing, ordered, text
from tsne_ooc.metrics import label_accuracy
from tsne_ooc.plot import scatter
from tsne_ooc.sampling import labels_of
from tsne_ooc.sampling.stratified import strata

NAN = float("nan")
# Labels of any type, and what they are in words of ours: a list in which None is no label.
KINDS = {
    "words": (np.array(["b", "a", "b", "c"]), ["b", "a", "b", "c"]),
    "words and None": (np.array(["b", None, "b", "c"], object), ["b", None, "b", "c"]),
    "words and NaN": (np.array(["b", NAN, "b", "c"], object), ["b", None, "b", "c"]),
    "a list of words and NaN": (["b", NAN, "b", "c"], ["b", None, "b", "c"]),
    "the word nan": (["b", "nan", NAN, "None"], ["b", "nan", None, "None"]),
    "words and numbers": (["b", 1, 1.0, 2], ["b", 1, 1, 2]),
    "numbers": ([3, 1, 3, 2], [3, 1, 3, 2]),
    "numbers and NaN": (np.array([3, NAN, 3, NAN]), [3, None, 3, None]),
    "float32": (np.array([3, NAN, 1, 3], np.float32), [3, None, 1, 3]),
    "numbers and None": ([3, None, 10, 3], [3, None, 10, 3]),
    "whole numbers far apart": (np.array([10**15, -7, 10**15, 2]), [10**15, -7, 10**15, 2]),
    "whole numbers beyond int64": (np.array([2**63 + 5, 1, 2**63 + 5, 9], np.uint64), [2**63 + 5, 1, 2**63 + 5, 9]),
    "whole numbers beyond int64, listed": ([2**63 + 5, 1, 2**63 + 5, 2**63 + 6], [2**63 + 5, 1, 2**63 + 5, 2**63 + 6]),
    "booleans": ([True, False, True, True], [True, False, True, True]),
    "bytes": (np.array([b"b", b"a", b"b", b"c"]), ["b", "a", "b", "c"]),
    "bytes of UTF-8": (np.array(["ü".encode(), b"a", b"b", "ü".encode()]), ["ü", "a", "b", "ü"]),
    "bytes of Latin-1": (np.array(["ü".encode("latin-1"), b"a", b"b", b"a"]), ["ü", "a", "b", "a"]),
    "bytes as objects": (np.array([b"b", None, b"b", b"c"], object), ["b", None, "b", "c"]),
    "days": (np.array(["2020-01-02", "NaT", "2020-01-01", "2020-01-02"], "M8[D]"), [2, None, 1, 2]),
    "pandas' categories": (pd.Categorical(["b", "a", None, "b"]), ["b", "a", None, "b"]),
    "pandas' Int64": (pd.array([5, 1, None, 5], "Int64"), [5, 1, None, 5]),
    "pandas' words": (pd.Series(["b", pd.NA, "a", "b"], dtype="string"), ["b", None, "a", "b"]),
    "a masked array": (np.ma.masked_equal([4, 7, 4, 9], 7), [4, None, 4, 9]),
    "nothing at all": ([None, None, None, None], [None] * 4),
}  # fmt: skip
some_kinds = pytest.mark.parametrize("labels, meant", KINDS.values(), ids=KINDS)


def partition(numbers):
    """Which rows belong together, whatever their group is called."""
    return {frozenset(np.flatnonzero(np.asarray(numbers) == number).tolist()) for number in numbers}


@some_kinds
def test_strata(labels, meant):
    codes = strata(labels)
    first = list(dict.fromkeys(meant))
    assert codes.tolist() == [first.index(label) for label in meant]


@some_kinds
def test_pictures(labels, meant):
    Y = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32)
    ax = scatter(Y, labels)
    colors = {tuple(at): tuple(color[:3]) for at, color in zip(
        ax.collections[0].get_offsets().data.tolist(), ax.collections[0].get_facecolors().tolist(), strict=True
    )}  # fmt: skip
    drawn = [colors[tuple(at)] for at in Y.tolist()]
    assert partition([list(dict.fromkeys(drawn)).index(color) for color in drawn]) == partition(
        [list(dict.fromkeys(meant)).index(label) for label in meant]
    )
    grey = (0.8, 0.8, 0.8)
    assert [color == pytest.approx(grey) for color in drawn] == [label is None for label in meant]
    told = [text.get_text() for text in ax.get_legend().get_texts()]
    assert len(told) == len(set(meant)) and told.count("missing") == (None in meant)


def slow_accuracy(Y, meant, k, Y_query=None, wanted=None):
    """Each row with a label by the votes of its nearest others with a label; the first in sorted order wins."""
    right = []
    for i, label in enumerate(meant if wanted is None else wanted):
        if label is None:
            continue
        at = Y[i] if Y_query is None else Y_query[i]
        others = [j for j in range(len(meant)) if meant[j] is not None and not (Y_query is None and j == i)]
        nearest = sorted(others, key=lambda j: np.linalg.norm(Y[j] - at))[:k]
        votes = [meant[j] for j in nearest]
        # Numbers stand before words.
        chosen = max(sorted(set(votes), key=lambda v: (isinstance(v, str), v)), key=votes.count)
        right.append(chosen == label)
    return np.mean(right)


@some_kinds
def test_accuracy(labels, meant):
    rng = np.random.default_rng(0)
    # The same four labels 15 times.
    Y = rng.normal(size=(60, 2))
    many = np.asarray(labels, object) if not isinstance(labels, np.ma.MaskedArray) else labels
    many = np.ma.concatenate([many] * 15) if isinstance(many, np.ma.MaskedArray) else np.tile(many, 15)
    if set(meant) == {None}:
        with pytest.raises(ValueError, match="labels has no label at all"):
            label_accuracy(Y, many, 3)
        return
    assert label_accuracy(Y, many, 3) == pytest.approx(slow_accuracy(Y, meant * 15, 3))
    placed = rng.normal(size=(4, 2))
    assert label_accuracy(Y, many, 3, placed, labels) == pytest.approx(slow_accuracy(Y, meant * 15, 3, placed, meant))


def test_a_label_that_the_map_does_not_have_is_never_right():
    Y = np.arange(8.0)[:, None]
    assert label_accuracy(Y, ["a"] * 8, 3, Y[:4], ["a", "b", None, "a"]) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="labels_query has no label at all"):
        label_accuracy(Y, ["a"] * 8, 3, Y[:1], [None])


@pytest.mark.parametrize(
    "labels, message",
    [
        ({0: "a", 1: "b"}, "labels is a dict; pass one label for each row, in the order of the rows"),
        (["a", {"b": 1}, "a"], "labels has a dict in row 1; labels are words, numbers or dates"),
    ],
)
def test_what_is_not_a_label_is_named(labels, message):
    Y = np.zeros((3, 2)) + np.arange(3)[:, None]
    for door in (lambda: scatter(Y, labels), lambda: label_accuracy(Y, labels, 1), lambda: strata(labels)):
        with pytest.raises(TypeError) as error:
            door()
        assert message in str(error.value)


def test_numbers_with_gaps_have_a_scale():
    labels = np.arange(100.0)
    labels[7] = np.nan
    ax = scatter(np.random.default_rng(0).normal(size=(100, 2)), labels)
    # As matplotlib does before it draws.
    ax.collections[0].update_scalarmappable()
    colors = ax.collections[0].get_facecolors()[:, :3]
    assert len(colors) == 100 and np.isclose(colors, 0.8).all(axis=1).sum() == 1


@pytest.mark.parametrize(
    "labels, names",
    [
        ([2, "b", 10, "a", None], [2, 10, "a", "b"]),
        (["b", "a", "b"], ["a", "b"]),
        ([2.5, 1, True, None], [1, 2.5]),
        ([None, None], []),
    ],
)
def test_labels_of_any_kind_keep_what_they_are(labels, names):
    """Numbers that come with words are not made words of."""
    given = np.empty(len(labels), object)
    given[:] = labels
    found = classes(given)
    assert found.names.tolist() == names
    assert [type(name) for name in found.names.tolist() if isinstance(name, str)] == [
        str for name in names if isinstance(name, str)
    ]
    for label, code in zip(labels, found.codes.tolist(), strict=True):
        assert code == -1 if label is None else found.names[code] == label


def test_legends_say_what_labels_say():
    names = ["$5 to $10", "_hidden", "$x", "100%", "a\\b", "plain"]
    ax = scatter(np.random.default_rng(0).normal(size=(6, 2)), names)
    ax.figure.canvas.draw()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == sorted(names)
    assert not any(text.get_parse_math() for text in ax.get_legend().get_texts())


def test_a_second_map_on_the_same_axes_cuts_nothing_off():
    Y = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    ax = scatter(Y * 30 + 100)
    scatter(Y, ax=ax)
    scatter(Y - 50, ax=ax)
    for drawn in ax.collections:
        points = drawn.get_offsets()
        assert (points[:, 0] > ax.get_xlim()[0]).all() and (points[:, 0] < ax.get_xlim()[1]).all()
        assert (points[:, 1] > ax.get_ylim()[0]).all() and (points[:, 1] < ax.get_ylim()[1]).all()


def test_labels_in_hdf5_are_text_whatever_their_bytes(tmp_path):
    latin = np.array(["Zürich".encode("latin-1"), b"Bern"])
    with h5py.File(tmp_path / "l.h5", "w") as file:
        file["latin"] = latin
        file["utf8"] = np.array(["Zürich".encode(), b"Bern"])
        file["words"] = np.array(["Zürich", "Bern"], object)
        records = np.zeros(2, [("city", "S8")])
        records["city"] = latin
        file["obs"] = records
        h5py.h5d.create(file.id, b"when", h5py.h5t.UNIX_D32LE, h5py.h5s.create_simple((2,)))
    for name in ("latin", "utf8", "words", "obs/city"):
        assert labels_of(tmp_path / "l.h5", name).tolist() == ["Zürich", "Bern"]
    with pytest.raises(ValueError, match="no labels 'qqq'; it has latin, obs/city, utf8, when, words"):
        labels_of(tmp_path / "l.h5", "qqq")


@pytest.mark.parametrize("name", ["group", "obs", "obs/frame", "frame"])
def test_a_group_that_is_no_column_is_no_label(tmp_path, name):
    """Those that are there are listed, by which a group of something else is not one."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["obs/kind"] = np.array(["a", "b"], "S")
        file["obs/frame/x"], file["group/x"] = np.arange(2), np.arange(2)
    with pytest.raises(ValueError, match=rf"{name}.*obs/kind|obs/kind.*{name}"):
        labels_of(tmp_path / "x.h5", name)
    assert labels_of(tmp_path / "x.h5", "kind").tolist() == ["a", "b"]


def test_a_damaged_file_has_no_labels(tmp_path):
    (tmp_path / "x.h5").write_bytes(b"\x89HDF\r\n\x1a\nno more")
    with pytest.raises(OSError, match=rf"^{tmp_path / 'x.h5'} cannot be opened as HDF5: "):
        labels_of(tmp_path / "x.h5", "kind")


@pytest.mark.parametrize(
    "labels, names",
    [
        (["b10", "b9", "a", "b9"], ["a", "b9", "b10"]),
        (["x", 10, 9, "1.10", "1.9"], [9, 10, "1.9", "1.10", "x"]),
        (["day 2", "Day 10", "day 10", None], ["Day 10", "day 2", "day 10"]),
        (["a", "a1", "a01", "a1b"], ["a", "a01", "a1", "a1b"]),
        ([10, 9, 10.5], [9, 10, 10.5]),
        ([3, None, 1], [1, 3]),
        ([None, None], []),
        (["9" * 40, "1"], ["1", "9" * 40]),
    ],
)
def test_names_are_in_the_order_in_which_one_counts(labels, names):
    given = np.empty(len(labels), object)
    given[:] = labels
    before = given.copy()
    found = ordered(given)
    assert found.names.tolist() == names and found.codes.dtype == np.int64
    assert [None if code < 0 else names[code] for code in found.codes] == labels
    assert given.tolist() == before.tolist()


@pytest.mark.parametrize("categories", [["c", "a", "b"], ["c", "unused", "a"], [b"c", b"a"], []])
def test_categories_are_in_their_own_order_and_what_they_lack_comes_behind(categories):
    labels = Categorical.of(np.array(["a", "c", None, "b", "a"], object), categories)
    words = [one.decode() if isinstance(one, bytes) else one for one in categories]
    wanted = words + [one for one in ("a", "b", "c") if one not in words]
    found = ordered(labels)
    assert found.names.tolist() == wanted
    assert [None if code < 0 else wanted[code] for code in found.codes] == ["a", "c", None, "b", "a"]
    # Pieces and copies of labels know it, too.
    assert categories_of(labels[1:3]) == list(categories) == categories_of(labels.copy())


def test_numbers_that_are_categories_stay_numbers():
    found = ordered(pd.Categorical([3, 1, 3, None], categories=[3, 2, 1]))
    assert found.names.dtype.kind == "i" and found.names.tolist() == [3, 2, 1]
    assert found.codes.tolist() == [0, 2, 0, -1]
    found = ordered(np.array([2.5, np.nan, -1]))
    assert found.names.tolist() == [-1, 2.5] and found.codes.tolist() == [1, -1, 0]


def test_categories_of_other_libraries():
    pa = pytest.importorskip("pyarrow")
    words = pd.Series(pd.Categorical(["b", "a", "b"], categories=["b", "z", "a"]))
    for labels in (words, words.cat, words.array, words.dtype):
        if labels is not words.cat:
            assert categories_of(labels) == ["b", "z", "a"]
    coded = pa.array(["b", "a", "b"]).dictionary_encode()
    assert categories_of(coded) == ["b", "a"]
    chunks = pa.chunked_array([coded, pa.array(["c", "b"]).dictionary_encode()])
    assert categories_of(chunks) == ["b", "a", "c"]
    assert categories_of(pa.chunked_array([], coded.type)) == []
    for plain in (["a"], np.array(["a"]), pd.Series(["a"]), pa.chunked_array([["a"]]), pa.array(["a"]), None):
        assert categories_of(plain) is None


@pytest.mark.parametrize(
    "label, missing",
    [
        (None, True), (NAN, True), (np.float32("nan"), True), (pd.NA, True), (pd.NaT, True),
        (np.datetime64("NaT"), True), (0, False), ("", False), (False, False), ("nan", False),
        (np.array([1, 2]), False), (np.int64(0), False),
    ],
)  # fmt: skip
def test_what_is_no_label(label, missing):
    assert is_missing(label) is missing


@pytest.mark.parametrize("kind", ["S", "O"])
def test_bytes_are_text_in_one_of_two_alphabets(kind):
    utf, latin = "Zürich".encode(), "Zürich".encode("latin-1")
    for cells, words in (([utf, b"Bern"], ["Zürich", "Bern"]), ([latin, b"Bern"], ["Zürich", "Bern"])):
        assert text(np.array(cells, kind)).tolist() == words
    # One that is not UTF-8 makes all of them the other.
    assert text(np.array([utf, latin], kind)).tolist() == [utf.decode("latin-1"), "Zürich"]
    assert text(np.array([b"a", 3, None], object)).tolist() == ["a", 3, None]


def test_columns_of_labels_are_arrays_that_keep_what_they_hold():
    assert column(["a", 1, None]).tolist() == ["a", 1, None] and column([1, 2]).dtype.kind == "i"
    words = np.array(["a", "b"])
    assert column(words) is words
    masked = np.ma.masked_array([4, 7, 9], [False, True, False])
    assert column(masked).tolist() == [4, None, 9] and masked.data.tolist() == [4, 7, 9]
    assert column(np.ma.masked_array([4, 7])).dtype.kind == "i"
    with pytest.raises(TypeError, match=r"^kinds is a dict; pass one label for each row, in the order of the rows$"):
        column({0: "a"}, "kinds")


@pytest.mark.parametrize("dtype", ["i1", "u8", "f4", "c8", "?", "U2", "S2", "M8[s]", "m8[s]", "O"])
@pytest.mark.parametrize("n", [0, 1, 30])
def test_codes_are_places_among_the_sorted_names(dtype, n):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 9, n).astype(dtype)
    if dtype in ("f4", "c8", "M8[s]", "m8[s]"):
        labels[::4] = "NaT" if dtype[0] in "Mm" else np.nan
    found = classes(labels)
    assert len(set(found.names.tolist())) == len(found.names)
    for label, code in zip(labels, found.codes.tolist(), strict=True):
        if code < 0:
            assert label != label
        else:
            assert found.names[code] == (label.decode() if isinstance(label, bytes) else label)
    assert {*found.codes.tolist()} - {-1} == {*range(len(found.names))}
    if dtype != "c8":
        assert sorted(found.names.tolist()) == found.names.tolist()


def test_bytes_among_words_are_text_and_a_whole_number_among_others_is_one_of_them():
    found = classes(np.array([b"a", "b", None, "a", b"\xfc"], object))
    assert found.names.tolist() == ["a", "b", "ü"] and found.codes.tolist() == [0, 1, -1, 0, 2]
    assert column([1.5, 2]).dtype == column([2, 1.5]).dtype == np.float64
    assert column([2**64, 2**64 + 1]).tolist() == [2**64, 2**64 + 1]


@pytest.mark.parametrize("labels, names", [
    (["z", 3, ("a",), 2.5, ("a",), None], [2.5, 3, "z", ("a",)]), ([("b",), "b", 1], [1, "b", ("b",)]),
    ([-1, 2**63 + 5, 2**63 + 6, None], [-1, 2**63 + 5, 2**63 + 6]), (["b", "a"], ["a", "b"]), ([None], []),
    ([1, "a", 10, "9"], [1, 10, "9", "a"]),
])  # fmt: skip
def test_labels_of_several_kinds_are_objects_numbers_before_words_and_these_before_all_else(labels, names):
    given = np.empty(len(labels), object)
    given[:] = labels
    for found in (classes(given), ordered(given)):
        assert found.names.tolist() == names and found.names.dtype == object
        assert [None if code < 0 else names[code] for code in found.codes.tolist()] == labels


@pytest.mark.parametrize("dtype", ["i1", "u8", "f4", "f8", "c8", "?", "M8[D]", "M8[s]", "m8[s]", "U3"])
def test_names_of_an_array_have_its_type(dtype):
    """Words that are put in order become objects; numbers and dates stay what they are."""
    labels = np.array([1, 0, 1]).astype(dtype)
    assert classes(labels).names.dtype == labels.dtype
    assert ordered(labels).names.dtype == (object if dtype == "U3" else labels.dtype)
    assert ordered(labels).codes.tolist() == [1, 0, 1] and ordered(labels[:0]).names.tolist() == []


def test_a_single_piece_of_arrow_has_its_dictionary():
    pa = pytest.importorskip("pyarrow")
    assert categories_of(pa.chunked_array([pa.array(["b", "a", "b"]).dictionary_encode()])) == ["b", "a"]


def test_of_types_only_an_enum_has_the_order_of_its_labels():
    """A type of another name may have something else that is called categories."""
    types = {name: type(name, (), {"categories": ["b", "a"]}) for name in ("Enum", "Categorical", "Other")}
    for name, kind in types.items():
        labels = type("Series", (), {"dtype": kind()})()
        assert categories_of(labels) == (["b", "a"] if name == "Enum" else None)
        # What the labels have themselves comes first, unless it is a method.
        labels.categories = ["c"]
        assert categories_of(labels) == ["c"]
        labels.categories = lambda: ["c"]
        assert categories_of(labels) == (["b", "a"] if name == "Enum" else None)
    polars = pytest.importorskip("polars")
    assert categories_of(polars.Series(["b", "a", "b"], dtype=polars.Categorical)) is None
    assert categories_of(polars.Series(["b", "a", "b"], dtype=polars.Enum(["b", "z", "a"]))) == ["b", "z", "a"]
