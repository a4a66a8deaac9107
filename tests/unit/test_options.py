"""Words and numbers that options may be, exactly at every bound; what is said of the others, in one line."""

from __future__ import annotations

import threading
import warnings
from fractions import Fraction

import numpy as np
import pytest

from tsne_ooc import _context, _memory
from tsne_ooc._options import counted, keep, number, pick, scalar, shown, truth, unknown, whole
from tsne_ooc._random import generator, seed_of

INF = float("inf")


@pytest.mark.parametrize("value", [-1.0, 0, 1e-9, 1, 2.5, 3, 3.0000001, 1e300, 10**400, INF, float("nan")])
@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({}, ""),
        ({"above": 0}, " greater than 0"),
        ({"least": 1}, " of at least 1"),
        ({"most": 3}, " of at most 3"),
        ({"least": 1, "most": 3}, " from 1 to 3"),
        ({"above": 0, "most": 3}, " of at most 3"),
        ({"above": 0, "least": 1, "most": 3}, " from 1 to 3"),
    ],
    ids=str,
)
def test_numbers_are_taken_within_their_bounds_and_both_ends(value, bounds, words):
    try:
        plain = float(value)
    except OverflowError:
        plain = INF
    fits = np.isfinite(plain) and plain > bounds.get("above", -INF)
    fits = fits and bounds.get("least", -INF) <= plain <= bounds.get("most", INF)
    if fits:
        found = number("share", value, **bounds)
        assert found == plain and type(found) is float
        return
    if "above" in bounds and not plain > 0:
        words = " greater than 0"
    with pytest.raises(ValueError) as told:
        number("share", value, **bounds)
    if plain == plain:
        assert str(told.value) == f"share={shown(value)} must be a finite number{words}"


@pytest.mark.parametrize("least", [None, 0, 2])
@pytest.mark.parametrize("most", [5, 2**62, INF])
def test_whole_numbers_are_taken_within_their_bounds_and_both_ends(least, most):
    for value in (-3, -1, 0, 1, 2, 3, 5, 6, 2**62, 2**62 + 1):
        options = {"least": least} if most == 2**62 else {"least": least, "most": most}
        if (least is None or value >= least) and value <= most:
            for form in (value, np.array(value), *([np.int8(value)] if abs(value) < 99 else [])):
                assert whole("size", form, **options) == value and type(whole("size", form, **options)) is int
            continue
        below = least is not None and value < least
        with pytest.raises(ValueError) as told:
            whole("size", value, **options)
        assert str(told.value) == f"size={value} must be at {'least' if below else 'most'} {least if below else most}"


@pytest.mark.parametrize("value", [True, np.False_, "3", None, [3], 1j, np.array([3])], ids=repr)
def test_what_is_no_number_is_told_as_it_was_given(value):
    with pytest.raises(TypeError) as told:
        number("share", value)
    assert str(told.value) == f"share={value!r} is not a number"
    for other in (value, 2.0, np.float32(2), Fraction(2)):
        with pytest.raises(TypeError) as told:
            whole("size", other, least=None)
        assert str(told.value) == f"size={other!r} is not a whole number"
    assert number("share", Fraction(1, 2)) == 0.5


def test_flags_are_true_or_false():
    for value in (True, False):
        for form in (value, np.bool_(value), np.array(value)):
            assert truth("deep", form) is value
    for wrong in (0, 1, "yes", None):
        with pytest.raises(TypeError) as told:
            truth("deep", wrong)
        assert str(told.value) == f"deep={wrong!r} is neither True nor False"


def test_numbers_of_numpy_are_those_of_python_and_all_else_stays():
    assert type(scalar(np.float32(0.5))) is float and type(scalar(np.array(3))) is int
    for other in (np.array([3]), "3", None, [3]):
        assert scalar(other) is other


@pytest.mark.parametrize("length", [57, 58, 59, 60, 61, 62, 100])
def test_long_values_are_cut_at_sixty_letters(length):
    value = type("Value", (), {"__repr__": lambda self: "x" * length})()
    assert shown(value) == ("x" * length if length <= 60 else "x" * 57 + "...")
    assert shown(np.array([[1, 2], [3, 4]])) == "array([[1, 2], [3, 4]])"
    assert shown(10**5000) == "a number of thousands of digits"


def test_things_are_counted_in_words():
    assert [counted(n, "rows") for n in (0, 1, 2, 1200)] == ["0 rows", "1 row", "2 rows", "1,200 rows"]
    assert [counted(1, things) for things in ("batches", "copies", "columns")] == ["1 batch", "1 copy", "1 column"]
    assert [counted(2, things) for things in ("batches", "copies")] == ["2 batches", "2 copies"]


def test_words_that_are_not_known_are_told_with_the_nearest_or_all():
    assert pick("kind", "one", {"one": 1, "two": 2}) == 1
    for word in ("ohne", "ONE", "on"):
        assert str(unknown("kind", word, ["two", "one"])) == (
            f"kind={word!r} is not known; did you mean 'one'? known: one, two"
        )
    assert str(unknown("kind", "zzz", ["b", "a"])) == "kind='zzz' is not known; known: a, b"
    assert str(unknown("kind", 7, {"b": 1, "a": 2})) == "kind=7 is not known; known: a, b"
    # A capital letter of ours is no matter either, and is told as it is.
    assert "did you mean 'HNSW'?" in str(unknown("kind", "hnws", ["HNSW", "IVF"]))
    for wrong in ("three", ["one"], None):
        with pytest.raises(ValueError, match=r"^kind=.* is not known"):
            pick("kind", wrong, {"one": 1})


@pytest.mark.parametrize("count", [8, 9, 12, 13, 20, 21, 30])
def test_long_lists_of_words_do_not_bury_the_one_that_was_meant(count):
    names = [f"name{i:02}" for i in range(count)]
    near = str(unknown("kind", "nam07", names))
    listed = f" known: {', '.join(names)}"
    assert near == "kind='nam07' is not known; did you mean 'name07'?" + (listed if count <= 8 else "")
    far = str(unknown("kind", "zzz", names[::-1]))
    rest = f"{', '.join(names[:12])} and {count - 12} more" if count > 20 else ", ".join(names)
    assert far == f"kind='zzz' is not known; known: {rest}"


def test_fields_are_set_where_they_are_frozen():
    class Options:
        size = 1

        def __setattr__(self, name, value):
            raise AttributeError(name)

    options = Options()
    keep(options, size=2, other=3)
    assert (options.size, options.other) == (2, 3)


# ------------------------------------------------------------------------------------------------------------ seeds


def test_seeds_from_whatever_chance_is_asked_of():
    assert seed_of(7) == seed_of(np.int8(7)) == seed_of(np.array(7)) == 7 and seed_of(0) == 0
    assert type(seed_of(np.int64(7))) is int and seed_of(2**100) == 2**100
    assert seed_of(None) != seed_of(None)
    for make in (np.random.default_rng, np.random.RandomState):
        one, same, other = seed_of(make(1)), seed_of(make(1)), seed_of(make(2))
        assert one == same != other and one >= 0
        drawn = make(1)
        assert seed_of(drawn) != seed_of(drawn)
    for wrong in (True, 1.5, "seed", [1], np.True_):
        with pytest.raises(TypeError) as told:
            seed_of(wrong)
        assert str(told.value) == f"random_state={wrong!r} is neither None, a whole number nor a NumPy generator"
    with pytest.raises(ValueError, match=r"^random_state=-1 must not be negative$"):
        seed_of(-1)


def test_each_purpose_has_a_stream_of_its_own():
    def first(seed, purpose):
        return generator(seed, purpose).random()

    assert first(1, "a") == first(1, "a") != first(1, "b")
    assert first(1, "a") != first(2, "a") and 0 <= first(2**80, "a") < 1


# ---------------------------------------------------------------------------------------------------------- warnings


def said(call):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        call()
    return told


def test_only_what_begins_as_was_said_is_left_unsaid_and_only_within():
    def talk():
        for words in ("a start that is wide", "a starting point", "another thing"):
            _context.warn(words)

    assert len(said(talk)) == 3
    with _context.unsaid("a start "):
        assert [str(one.message) for one in said(talk)] == ["a starting point", "another thing"]
        with _context.unsaid("another"):
            assert [str(one.message) for one in said(talk)] == ["a starting point"]
        assert len(said(talk)) == 2
    with pytest.raises(KeyError), _context.unsaid("a"):
        raise KeyError
    told = said(talk)
    assert len(told) == 3 and {one.category for one in told} == {UserWarning}


def of(name, *calls, within=None):
    """A function of a module of that name, which calls others one by one."""
    module = {"__name__": name, "calls": calls, "within": within}
    exec("def call():\n    for call in calls:\n        call()", module)
    return module["call"]


@pytest.mark.parametrize(
    "way",
    [
        [],
        ["tsne_ooc.fit"],
        ["tsne_ooc._context", "tsne_ooc.fit.rows", "tsne_ooc"],
        # What lies between: a context manager, a callback, a class of scikit-learn, its pipeline.
        ["tsne_ooc.io", "contextlib", "tsne_ooc.io"],
        ["tsne_ooc.io", "somebody", "tsne_ooc.io"],
        ["tsne_ooc", "sklearn.utils._set_output"],
        ["tsne_ooc", "sklearn.base", "sklearn.pipeline"],
        # Names that begin alike.
        ["tsne_ooc.io", "tsne", "tsne_ooc.io"],
    ],
    ids=lambda way: ", ".join(way) or "nothing",
)
def test_a_warning_names_the_line_that_asked(way):
    def asks():
        call = lambda: _context.warn("a doubt", RuntimeWarning)  # noqa: E731
        for name in way:
            call = of(name, call)
        call()

    [told] = said(asks)
    line = asks.__code__.co_firstlineno
    assert told.category is RuntimeWarning and told.filename == __file__
    assert told.lineno == line + (4 if way else 1)


@pytest.mark.parametrize("outer", ["somebody", "tsne_ooc_of_mine", "sklearnish"])
def test_a_warning_names_whoever_asked_whatever_the_name(outer):
    ours = of("tsne_ooc.io", lambda: _context.warn("a doubt"))
    [told] = said(of(outer, ours))
    assert (told.filename, told.lineno) == ("<string>", 3)


def test_where_nobody_asked_the_outermost_line_is_named():
    """A thread that begins in a function of ours, say."""
    ours = of("tsne_ooc.io", lambda: _context.warn("a doubt"))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        thread = threading.Thread(target=ours)
        thread.start()
        thread.join()
    assert [str(one.message) for one in told] == ["a doubt"]


def test_an_interrupt_is_a_warning_unless_work_follows():
    def call():
        _context.interrupted("stopped early")

    [told] = said(call)
    assert (told.category, str(told.message), told.filename) == (RuntimeWarning, "stopped early", __file__)
    with _context.uninterrupted():
        with pytest.raises(KeyboardInterrupt, match=r"^stopped early$"):
            call()
        with _context.uninterrupted():
            pass
        with pytest.raises(KeyboardInterrupt):
            call()
    with pytest.raises(KeyError), _context.uninterrupted():
        raise KeyError
    assert len(said(call)) == 1


def test_a_listener_hears_until_the_end_of_its_block():
    assert _context.listener() is None
    with _context.listening(print):
        with _context.listening(max):
            assert _context.listener() is max
        assert _context.listener() is print
    with pytest.raises(KeyError), _context.listening(print):
        raise KeyError
    assert _context.listener() is None


# ------------------------------------------------------------------------------------------------------------- memory

PLACES = {
    "/proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:  4000 kB\nSwapFree: 1 kB\n",
    "/proc/self/status": "Name: python\nVmPeak: 900 kB\nVmHWM:  700 kB\nVmRSS: 600 kB\n",
    "/proc/self/statm": "1000 30 20 1 0 99 0\n",
}
NEW, OLD = "/sys/fs/cgroup", "/sys/fs/cgroup/memory"


@pytest.fixture
def system(monkeypatch):
    """A machine whose files say what the test says, and which has no others."""
    files = dict(PLACES)

    class Place:
        def __init__(self, path):
            self.path = path

        def read_text(self):
            if self.path not in files:
                raise FileNotFoundError(self.path)
            return files[self.path]

    monkeypatch.setattr(_memory, "Path", Place)
    return files


def test_what_the_system_says_of_this_process(system):
    import os

    assert _memory.used_bytes() == 30 * os.sysconf("SC_PAGE_SIZE")
    assert _memory.peak_bytes() == 700 * 1024
    assert _memory.available_bytes() == 4000 * 1024
    for name, damaged in (("/proc/self/statm", "no"), ("/proc/self/status", "VmHWM: much"), ("/proc/meminfo", "")):
        system[name] = damaged
    # Then what the process has held at most stands for both; it is more than a test needs at the least.
    most = _memory.peak_bytes()
    assert most == _memory.used_bytes() and 10_000_000 < most < 1 << 40
    assert _memory.available_bytes() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("home", [NEW, OLD])
def test_a_group_that_has_less_is_what_counts(system, home):
    names = ("memory.max", "memory.current", "inactive_file", "active_file")
    if home == OLD:
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "inactive_file")
    most, now, cache, other = names
    system |= {f"{home}/{most}": "3000000\n", f"{home}/{now}": "900000\n"}
    assert _memory.available_bytes() == 2_100_000
    # What is only a copy of files can be given back.
    system[f"{home}/memory.stat"] = f"anon 5\n{other} 7\n{cache} 400000\n"
    assert _memory.available_bytes() == 2_500_000
    system[f"{home}/memory.stat"] = "damaged"
    assert _memory.available_bytes() == 2_100_000
    system[f"{home}/{now}"] = "4000000"
    assert _memory.available_bytes() == 0
    system[f"{home}/{most}"] = str(2**62)
    assert _memory.available_bytes() == 4000 * 1024
    system[f"{home}/{most}"] = "max"
    assert _memory.available_bytes() == 4000 * 1024


def test_the_newer_group_is_asked_first_and_the_older_one_where_it_has_no_limit(system):
    system |= {f"{NEW}/memory.max": "500", f"{NEW}/memory.current": "100"}
    system |= {f"{OLD}/memory.limit_in_bytes": "50", f"{OLD}/memory.usage_in_bytes": "10"}
    assert _memory.available_bytes() == 400
    system[f"{NEW}/memory.max"] = "max"
    assert _memory.available_bytes() == 40
    del system[f"{NEW}/memory.max"]
    assert _memory.available_bytes() == 40
