"""Rows placed by processes, which share nothing but the saved map, are the rows that one process places."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import pytest
from placing_in_a_process import places

from tsne_ooc import TSNE, load
from tsne_ooc.io import as_source
from tsne_ooc.storage.ledger import Ledger
from tsne_ooc.streaming import Stream, begin, silent

X = np.random.default_rng(0).normal(size=(1000, 6)).astype(np.float32)


def stream(folder, compute, executor=None, model="m"):
    ledger = begin(folder / "ledger.json", {"model": model}, resume=True)
    with Stream({"embedding": (folder / "embedding.npy", (len(X), 2))}, ledger, "place") as work:
        work.run(as_source(X), compute, rows=90, progress=silent, phase="place", executor=executor)
    return np.load(folder / "embedding.npy")


def test_a_process_pool_places_the_same_bytes_and_goes_on_where_it_stopped(tmp_path):
    TSNE(perplexity=5, early_exaggeration_iter=20, n_iter=20, random_state=0, n_jobs=1).fit(X[:300]).save(
        tmp_path / "m"
    )
    compute = partial(places, tmp_path / "m")
    (tmp_path / "half").mkdir()

    def stops(first, rows):
        if first >= 450:
            raise KeyboardInterrupt
        return compute(first, rows)

    with pytest.raises(KeyboardInterrupt):
        stream(tmp_path / "half", stops)
    with pytest.raises(ValueError, match="something else is asked for now: model differs"):
        stream(tmp_path / "half", compute, model="n")
    assert 0 < Ledger.read(tmp_path / "half" / "ledger.json").n_rows < len(X)
    (tmp_path / "whole").mkdir()
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = [stream(tmp_path / name, compute, pool) for name in ("whole", "half")]
    wanted = load(tmp_path / "m").transform(X)
    for Y in found:
        np.testing.assert_array_equal(Y, wanted)
