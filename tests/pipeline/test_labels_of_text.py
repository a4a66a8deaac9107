"""A file of labels in text, with a line of its name and without one: each row gets its own label, or it is said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsne_ooc.cli import main
from tsne_ooc.plot.column import column_in, column_of

N = 60
WORDS = np.array(["tcp", "udp", "icmp"])[np.arange(N) % 3].tolist()


def write(path, lines):
    path.write_text("\n".join(map(str, lines)) + "\n")
    return str(path)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "txt"])
@pytest.mark.parametrize("name", ["kind", "0", "", "label of the row"], ids=["word", "number", "none", "words"])
def test_a_first_line_too_many_is_the_name(tmp_path, name, suffix):
    """pandas writes a 0 above a column that has no name."""
    path = write(tmp_path / f"labels.{suffix}", [name or '""', *WORDS])
    with pytest.warns(UserWarning, match="the first line of .*, .*, is taken for the name of the column"):
        assert column_of(path, N).tolist() == WORDS


def test_labels_without_a_name_are_all_labels(tmp_path):
    path = write(tmp_path / "labels.csv", WORDS)
    assert column_of(path, N).tolist() == WORDS
    # Of another map nothing is guessed.
    with pytest.raises(ValueError, match="has 60 rows, and the map 40"):
        column_of(path, 40)


@pytest.mark.parametrize(
    "lines",
    [["tcp", *WORDS], [0, *np.arange(N) % 4], [7.5, *np.arange(N) / 2]],
    ids=["a word among them", "a number among them", "another number"],
)
def test_a_first_line_that_may_be_a_label_is_not_guessed(tmp_path, lines):
    path = write(tmp_path / "labels.csv", lines)
    with pytest.raises(
        ValueError, match=rf"has 61 lines, one more than there are rows; if the first, '{lines[0]}', is"
    ):
        column_of(path, N)


def test_what_pandas_writes(tmp_path):
    pd.Series(WORDS).to_csv(tmp_path / "a.csv", index=False)
    pd.Series(WORDS, name="kind").to_csv(tmp_path / "b.csv", index=False)
    pd.Series(np.arange(N) / 7, name="age").to_csv(tmp_path / "c.csv", index=False)
    for name in "ab":
        with pytest.warns(UserWarning, match="is taken for the name"):
            assert column_of(str(tmp_path / f"{name}.csv"), N).tolist() == WORDS
    np.testing.assert_allclose(column_of(str(tmp_path / "c.csv"), N), np.arange(N) / 7)
    # With its index, a file has two columns, which have names.
    pd.Series(WORDS, name="kind").to_csv(tmp_path / "d.csv", sep=";")
    assert column_in(tmp_path / "d.csv", "kind").tolist() == WORDS


@pytest.mark.filterwarnings("always:the first line of:UserWarning")
def test_by_command(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    np.save("X.npy", np.random.default_rng(0).normal(size=(N, 4)).astype("f4"))
    write(tmp_path / "labels.csv", ["kind", *WORDS])
    write(tmp_path / "odd.csv", ["tcp", *WORDS])
    few = ["--perplexity", "5", "--quiet"]
    assert main(["embed", "X.npy", "--out", "none", "--color", "odd.csv", *few]) == 2
    said = capsys.readouterr().err
    assert "if the first, 'tcp', is a name, remove it" in said and said.count("\n") == 1
    assert not (tmp_path / "none").exists()
    assert main(["embed", "X.npy", "--out", "map", "--color", "labels.csv", *few]) == 0
    assert "the first line of labels.csv, 'kind', is taken for the name" in capsys.readouterr().err
    for command in ("plot", "view", "report"):
        assert (
            main(
                [
                    command,
                    "map",
                    "--color",
                    "labels.csv",
                    "--out",
                    f"{command}.{'png' if command == 'plot' else 'html'}",
                ]
            )
            == 0
        )
        assert "is taken for the name of the column" in capsys.readouterr().err
