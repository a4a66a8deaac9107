"""Categories through every door: a table of words, dates and gaps is fitted, placed, resumed and opened again."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pytest

from tsne_ooc import TSNE, embed, load
from tsne_ooc.io import open_source
from tsne_ooc.pipeline import place
from tsne_ooc.preprocess import OneHot, Preparation, Standardize

QUICK = {"perplexity": 8, "early_exaggeration_iter": 5, "n_iter": 8, "random_state": 0}
N = 150


def table(seed=0):
    rng = np.random.default_rng(seed)
    at = rng.integers(0, 3, N)
    return pd.DataFrame(
        {
            "x": rng.normal(size=N),
            "word": np.array(["tcp", "udp", None], object)[at],
            "day": pd.to_datetime(np.array(["2020-01-01", None, "2021-01-01"], object)[rng.integers(0, 3, N)]),
            "flag": pd.array(np.array([True, False, None], object)[at], dtype="boolean"),
            "y": rng.normal(size=N),
        }
    )


def numbers(frame):
    """What the preparation is to make of it before it scales, by hand."""
    columns = [frame["x"]]
    for name, categories in (("word", ["tcp", "udp"]), ("day", ["2020-01-01", "2021-01-01"]), ("flag", [False, True])):
        cells = frame[name].astype(str if name == "day" else object)
        columns += [[float(not pd.isna(cell) and cell == category) for cell in cells] for category in categories]
    return np.column_stack([*columns, frame["y"]])


def preparation():
    return Preparation([OneHot(["word", "day", "flag"]), Standardize()])


def as_parquet(frame, folder):
    pytest.importorskip("pyarrow")
    frame.to_parquet(folder / "table.parquet", index=False, row_group_size=40)
    return open_source(folder / "table.parquet", columns="*")


def as_records(frame, folder):
    # No gaps in these; words alone.
    kinds = [("x", "f8"), ("word", h5py.string_dtype()), ("day", "S10"), ("flag", "?"), ("y", "f8")]
    rows = np.empty(N, kinds)
    for name in frame:
        rows[name] = frame[name]
    with h5py.File(folder / "table.h5", "w") as file:
        file["rows"] = rows
    return open_source(folder / "table.h5", columns="*")


def whole(frame):
    return frame.assign(
        word=frame["word"].fillna("udp"), flag=frame["flag"].fillna(True).astype(bool),
        day=frame["day"].fillna(pd.Timestamp("2021-01-01")).dt.strftime("%Y-%m-%d"),
    )  # fmt: skip


def as_frame(frame, folder):
    return frame


@pytest.mark.parametrize("make", [as_frame, as_parquet, as_records])
def test_every_door(make, tmp_path):
    first, second = table(0), table(1)
    if make is as_records:
        first, second = whole(first), whole(second)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = make(first, tmp_path / "a"), make(second, tmp_path / "b")
    wanted = TSNE(**QUICK, prepare=Preparation([Standardize()])).fit(numbers(first))
    model = TSNE(**QUICK, prepare=preparation()).fit(one)
    np.testing.assert_array_equal(model.embedding_, wanted.embedding_)
    places, scores = wanted.transform(numbers(second)), wanted.score_samples(numbers(second))
    model.save(tmp_path / "model")
    # Columns in another order, too: they go by name.
    turned = second[list(second.columns[::-1])]
    for fitted in (model, load(tmp_path / "model")):
        for X in (other, second, turned):
            np.testing.assert_array_equal(fitted.transform(X), places)
        np.testing.assert_array_equal(fitted.score_samples(other), scores)
    run = embed(one, out=tmp_path / "run", sample=100, tsne=TSNE(**QUICK), prepare=preparation(), random_state=0)
    plain = embed(
        numbers(first), out=tmp_path / "plain", sample=100, tsne=TSNE(**QUICK), random_state=0,
        prepare=Preparation([Standardize()]),
    )  # fmt: skip
    np.testing.assert_array_equal(run.embedding, plain.embedding)
    placed = place(tmp_path / "run", other, out=tmp_path / "placed")
    np.testing.assert_array_equal(placed.embedding, load(tmp_path / "plain" / "model").transform(numbers(second)))
    # A run that has ended is known again by its table, and not by another one.
    options = {"sample": 100, "tsne": TSNE(**QUICK), "prepare": preparation(), "random_state": 0, "resume": True}
    again = embed(one, out=tmp_path / "run", **options)
    np.testing.assert_array_equal(again.embedding, plain.embedding)
    with pytest.raises(ValueError, match="run"):
        embed(other, out=tmp_path / "run", **options)
