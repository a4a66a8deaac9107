"""What anywhere.md shows in Python is run; Spark and Ray are stood in for by what they hand to the functions."""

import re
from pathlib import Path
from types import SimpleNamespace

import anndata
import numpy as np
import pytest

from tsne_ooc import TSNE, load, open_run

PAGE = Path(__file__).parents[2] / "docs" / "anywhere.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
X = np.random.default_rng(0).normal(size=(90, 5)).astype(np.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = TSNE(perplexity=5, early_exaggeration_iter=5, n_iter=5, random_state=0).fit(X[:60])
    (tmp_path / "map").mkdir()
    model.save("map/model")
    anndata.AnnData(X).write_h5ad("tomorrow.h5ad")
    return tmp_path


def test_the_page_shows_four_ways():
    assert [re.search(r"LocalWorkers|from_zarr|mapInArrow|map_batches", block)[0] for block in BLOCKS] == [
        "LocalWorkers", "from_zarr", "mapInArrow", "map_batches",
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore:X has feature names:UserWarning")
def test_processes(folder):
    exec(compile(BLOCKS[0], "anywhere.md", "exec"), {"__name__": "__main__"})
    np.testing.assert_array_equal(open_run("more").embedding, load("map/model").transform(X))


def test_dask(folder):
    da = pytest.importorskip("dask.array")
    pytest.importorskip("zarr")
    da.from_array(X, chunks=(40, 2)).to_zarr("cells.zarr")
    exec(compile(BLOCKS[1], "anywhere.md", "exec"), {})
    np.testing.assert_array_equal(da.from_zarr("places.zarr").compute(), load("map/model").transform(X))


def test_spark_and_ray(folder):
    pa = pytest.importorskip("pyarrow")
    model, ids = load("map/model"), np.arange(len(X))
    found, names = {}, {}

    def in_arrow(places, schema):
        batch = pa.record_batch([ids, *X.T.copy()], names=["id", *names["NAMES"]])
        found["spark"] = pa.Table.from_batches(list(places(batch.slice(at, 25) for at in range(0, len(X), 25))))
        assert schema == "id long, x float, y float, novelty float"

    def batches(kind, fn_constructor_args, **how):
        batch = {"id": ids, **dict(zip(names["NAMES"], X.T, strict=True))}
        found["ray"] = kind(*fn_constructor_args)(batch)

    names |= {"table": SimpleNamespace(mapInArrow=in_arrow), "rows": SimpleNamespace(map_batches=batches)}
    for block in BLOCKS[2:]:
        exec(compile(block.replace("/shared/map", "map/model"), "anywhere.md", "exec"), names)
    for table in found.values():
        np.testing.assert_array_equal(np.asarray(table["id"]), ids)
        np.testing.assert_array_equal(np.column_stack([table["x"], table["y"]]), model.transform(X))
        np.testing.assert_array_equal(np.asarray(table["novelty"]), model.score_samples(X))
