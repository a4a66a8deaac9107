"""Cells of lines of text: parted by any sign, quoted, of any length; the limit of the standard library stays."""

from __future__ import annotations

import csv

import pytest

from tsne_ooc import _cells
from tsne_ooc._cells import cells_of, cells_of_lines


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_cells_are_what_was_written(delimiter):
    cells = ["a", "", "b c", f"x{delimiter}y", 'say "z"', "1,5;2|3\t4"]
    line = delimiter.join(f'"{cell.replace(chr(34), chr(34) * 2)}"' if cell else "" for cell in cells)
    assert cells_of(line, delimiter) == cells_of(line, delimiter, strict=True) == cells
    assert cells_of_lines([line, "", line], delimiter) == [cells, cells]


def test_by_default_a_comma_parts_them_and_quotes_may_stay_open():
    assert cells_of("a;b,c") == ["a;b", "c"] and cells_of_lines(["a;b,c"]) == [["a;b", "c"]]
    assert cells_of("") == [] and cells_of_lines([]) == cells_of_lines(["", ""]) == []
    assert cells_of('a,"b') == ["a", "b"]
    with pytest.raises(ValueError) as told:
        cells_of('a,"b', strict=True)
    assert str(told.value) == "not a line of CSV: quotes begin in it and do not end, or not as a row of these columns"
    # A cell in quotes goes on in the next line.
    assert cells_of_lines(['a,"b\n', 'c"\n', "d,e\n"]) == [["a", "b\nc"], ["d", "e"]]


@pytest.mark.parametrize("limit", [10, 1 << 17, 1 << 20])
@pytest.mark.parametrize("length", [(1 << 16) - 1, 1 << 16, (1 << 16) + 1, 1 << 18])
def test_cells_of_any_length_are_read_and_the_limit_is_that_of_before(limit, length):
    """It is one of the process: within, it is never lower than it was, for other threads read, too."""
    before = csv.field_size_limit(max(limit, 1 << 17))
    try:
        mine = csv.field_size_limit()
        word = "x" * length
        with _cells._as_long_as(length):
            assert csv.field_size_limit() >= max(mine, length)
        assert cells_of(f"{word},y") == [word, "y"] and cells_of_lines([f"{word},y", "z"]) == [[word, "y"], ["z"]]
        assert csv.field_size_limit() == mine
        with pytest.raises(ValueError, match=r"^not a line of CSV: "):
            cells_of(f"{word}\n{word}")
        assert csv.field_size_limit() == mine
    finally:
        csv.field_size_limit(before)
