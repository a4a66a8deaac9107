"""A column or a map that cannot be drawn: one line names the file and what to do, and no picture is there."""

from __future__ import annotations

import numpy as np
import pytest

from tsne_ooc import open_run, storage
from tsne_ooc.cli import main
from tsne_ooc.plot import beside, column, scatter
from tsne_ooc.plot.column import column_in, column_of
from tsne_ooc.plot.coordinates import map_of

N = 30


@pytest.fixture
def home(tmp_path):
    """Folders of runs of a table, of an array and of rows that were placed, and files that are no column."""
    Y = np.random.default_rng(0).normal(size=(N, 2)).astype(np.float32)
    table = tmp_path / "table.csv"
    table.write_text("kind,size\n" + "".join(f"{'ab'[row % 2]},{row}\n" for row in range(N)))
    for name, path, more in (
        ("run", str(table), {"sample_rows": np.array([1, 4, 20])}),
        ("array", None, {"sample_rows": np.arange(N)}),
        ("gone", str(tmp_path / "away.csv"), {}),
    ):
        folder = tmp_path / name
        folder.mkdir()
        arrays = {"embedding": Y, **more}
        for one, values in arrays.items():
            np.save(folder / f"{one}.npy", values)
        content = {"n_samples": N, "job": {"source": {"path": path}}}
        storage.seal(folder, "map", content, {one: f"{one}.npy" for one in arrays})
    np.save(tmp_path / "square.npy", np.zeros((N, 2)))
    np.save(tmp_path / "cube.npy", np.zeros((N, 2, 2)))
    (tmp_path / "text.npy").write_text("not numbers")
    (tmp_path / "zero.npy").touch()
    (tmp_path / "empty.csv").write_text("\n\n")
    (tmp_path / "ragged.csv").write_text("kind,size,age\na,1,2\nb,2\n")
    return tmp_path


@pytest.mark.parametrize(
    "words, message",
    [
        ("array --color kind", "array was not made from a file, where 'kind' could be; say in which with --data"),
        (
            "gone --color kind",
            "the table {home}/away.csv, which the map was made from and which may have 'kind', is not there any more; "
            "say where it is with --data",
        ),
        ("gone --color sampled", "gone did not fit any rows: all were placed on a saved map"),
        ("gone --color novelty", "gone has no novelty; an encoder's rows have it with tsne-ooc place --novelty"),
        ("run --color text.npy", "text.npy cannot be read as .npy: "),
        ("run --color square.npy", "square.npy has shape (30, 2); labels are one for each row"),
        ("run --color nowhere.npy", "there is no file nowhere.npy"),
        ("run --color nowhere.csv", "there is no file nowhere.csv"),
        ("run --color empty.csv", "empty.csv is empty"),
        ("run --data empty.csv --color kind", "empty.csv is empty"),
        ("run --color kid", "table.csv has no column 'kid'; did you mean 'kind'? it has kind, size"),
        ("run --color weight", "table.csv has no column 'weight'; it has kind, size"),
        ("run --data ragged.csv --color age", "ragged.csv has 2 cells in row 1, and column 'age' is number 3"),
        ("nowhere.npy", "there is no file nowhere.npy"),
        ("text.npy", "text.npy cannot be read as .npy: "),
        ("cube.npy", "cube.npy has shape (30, 2, 2); a map has a row for each row and a column for each axis"),
        ("run --highlight nowhere.npy", "there is no file nowhere.npy"),
        ("run --highlight square.npy", "highlight holds float64, neither numbers of rows nor a mask of all"),
        ("run --highlight text.npy", "text.npy cannot be read as .npy: "),
        ("run --ring zero.npy", "zero.npy cannot be read as .npy: "),
        ("run --color zero.npy", "zero.npy cannot be read as .npy: "),
        ("zero.npy", "zero.npy cannot be read as .npy: "),
    ],
)
def test_one_line_and_no_picture(home, capsys, monkeypatch, words, message):
    monkeypatch.chdir(home)
    before = sorted(home.rglob("*"))
    assert main(["plot", *words.split()]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
    assert message.format(home=home) in told.err
    assert sorted(home.rglob("*")) == before


def test_rows_that_were_fitted_are_told_from_those_placed(home):
    found = column_of("sampled", N, open_run(home / "run"))
    assert found.tolist() == ["fitted" if row in (1, 4, 20) else "placed" for row in range(N)]


def test_rows_of_a_file_are_those_that_are_named(home, monkeypatch, capsys):
    """The same picture as where they are typed, by their numbers or by a mask of all rows."""
    monkeypatch.chdir(home)
    np.save("numbers.npy", np.array([3, 5]))
    np.save("mask.npy", np.isin(np.arange(N), [3, 5]))
    for name, rows in (("typed", "3,5"), ("numbers", "numbers.npy"), ("mask", "mask.npy"), ("other", "3,6")):
        assert main(["plot", "run", "--highlight", rows, "--dpi", "40", "--out", f"{name}.png"]) == 0
    typed, numbers, mask, other = ((home / f"{one}.png").read_bytes() for one in ("typed", "numbers", "mask", "other"))
    assert typed == numbers == mask != other


def test_what_is_no_list_of_rows_and_no_map(home):
    Y = np.random.default_rng(0).normal(size=(N, 2))
    with pytest.raises(ValueError, match=r"^highlight has shape \(2, 2\); give a list of numbers of rows$"):
        scatter(Y, highlight=[[0, 1], [2, 3]])
    for given in (np.zeros(3), np.zeros((3, 2, 1))):
        with pytest.raises(ValueError, match=r"^the map has shape \(3,.*\); a map has a row for each row and a column"):
            map_of(given)
    half = Y.copy()
    half[::2] = np.nan
    other = Y.copy()
    other[1::2] = np.nan
    with pytest.raises(ValueError, match=r"^no row has a place on both maps$"):
        beside(half, other)


def test_a_column_of_text_has_the_numbers_of_its_lines(home):
    assert column_in(home / "table.csv", "size").tolist() == list(range(N))


@pytest.mark.parametrize("n", [0, 1, 1023, 1024, 1025, 3000])
def test_a_gene_is_read_by_blocks_within_the_table(monkeypatch, n):
    """Of 32 MB at most, which are 1,024 rows of so many columns."""
    p, asked = 8192, []

    class Wide:
        shape = n, p

        def read(self, start, stop):
            asked.append((start, stop))
            block = np.broadcast_to(np.float32(0), (stop - start, p)).copy()
            block[:, 7] = np.arange(start, stop)
            return block

    monkeypatch.setattr(column, "_names_of", lambda path, dataset: [f"gene {j}" for j in range(p)])
    monkeypatch.setattr(column, "open_source", lambda path, dataset: Wide())
    np.testing.assert_array_equal(column._of_a_table("x.h5", "gene 7", ValueError()), np.arange(n))
    assert asked == [(start, min(start + 1024, n)) for start in range(0, n, 1024)]
