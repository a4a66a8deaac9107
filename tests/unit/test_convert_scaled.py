"""Tables that are scaled as they are written, and later ones that are scaled by the same numbers."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from tsne_ooc.cli import main
from tsne_ooc.convert import convert, pieces

N = 500


@pytest.fixture
def frame(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "wide": rng.normal(5, 1000, N),
            "gaps": np.where(rng.random(N) < 0.2, np.nan, rng.normal(size=N)),
            "far": 2**40 + rng.normal(size=N),
            "one": 3.25,
            "kind": rng.choice(["a", "b"], N),
        }
    )
    # Small pieces, and more than one file: moments are of all of them.
    monkeypatch.setattr(pieces, "BYTES", 3000)
    table[:300].to_csv("one.csv", index=False)
    table[300:].to_csv("two.csv", index=False)
    return table


def X(folder):
    with h5py.File(f"{folder}/table.h5") as file:
        return file["X"][:]


def scaled(table, by):
    """By the words of NumPy, in double precision; only then single."""
    numbers, reference = table.drop(columns="kind").to_numpy(), by.drop(columns="kind").to_numpy()
    spread = np.nanstd(reference, axis=0)
    numbers = (numbers - np.nanmean(reference, axis=0)) / np.where(spread > 0, spread, 1)
    return np.column_stack([numbers, table["kind"] == "a", table["kind"] == "b"]).astype(np.float32)


def test_columns_of_numbers_have_mean_0_and_variance_1_and_words_stay(frame):
    found = convert(["one.csv", "two.csv"], "made", onehot=["kind"], standardize=True)
    np.testing.assert_allclose(X("made"), scaled(frame, frame), rtol=1e-4, atol=1e-4)
    assert found["missing"] == {"gaps": int(frame["gaps"].isna().sum())}
    np.testing.assert_allclose(np.nanstd(X("made")[:, :3], axis=0), 1, atol=1e-4)


def test_later_rows_are_scaled_by_the_numbers_of_the_first(frame):
    assert main(["prepare", "one.csv", "--onehot", "kind", "--standardize", "--out", "made", "--quiet"]) == 0
    assert main(["prepare", "two.csv", "--like", "made", "--out", "more", "--quiet"]) == 0
    assert main(["prepare", "two.csv", "--like", "more/table.h5", "--out", "again", "--quiet"]) == 0
    np.testing.assert_allclose(X("more"), scaled(frame[300:], frame[:300]), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(X("again"), X("more"))


def test_the_next_line_does_not_scale_them_again(frame, capsys):
    assert main(["prepare", "one.csv", "--columns", "wide,gaps", "--standardize", "--out", "made"]) == 0
    assert "--standardize" not in capsys.readouterr().out.rpartition("next: ")[2]
    assert main(["prepare", "one.csv", "--columns", "wide,gaps", "--out", "plain"]) == 0
    assert "--standardize" in capsys.readouterr().out.rpartition("next: ")[2]


@pytest.mark.parametrize("scale", [[0, 1, 1, 1], [1, 1, 1], [1, 1, 1, "1"], [1, 1, 1, float("nan")], None])
def test_damaged_numbers_are_said(frame, scale):
    convert("one.csv", "made", onehot=["kind"], standardize=True)
    manifest = Path("made/manifest.json")
    told = json.loads(manifest.read_text())
    told["recipe"]["scale"] = scale
    manifest.write_text(json.dumps(told))
    with pytest.raises(ValueError, match="made is damaged: it has no finite number to scale a column by"):
        convert("two.csv", "more", like="made")


def test_what_is_no_yes_or_no(frame):
    with pytest.raises(TypeError, match="standardize='robust' is neither True nor False"):
        convert("one.csv", "made", standardize="robust")
    convert("one.csv", "made", columns=["wide"])
    with pytest.raises(ValueError, match="like=made says what becomes of each column; leave"):
        convert("two.csv", "more", like="made", standardize=True)
