"""Runs on tables behind URLs: the bytes of the same run on the disk, also after the server was gone for a while."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from servers import FileServer

from tsne_ooc import embed, open_run, place
from tsne_ooc.cli import main
from tsne_ooc.io import url_files
from tsne_ooc.workers import LocalWorkers

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")

N, P = 400, 5
FEW = "--sample 80 --perplexity 5 --block-rows 50 --seed 1 --quiet --jobs 1"
KINDS = ("npy", "h5", "h5ad", "zarr", "parquet")


def write(folder):
    """One table in each kind of file, with labels beside it."""
    import anndata
    import pandas as pd
    import zarr

    rng = np.random.default_rng(0)
    X = (rng.normal(0, 4, (6, P))[rng.integers(0, 6, N)] + rng.normal(size=(N, P))).astype(np.float32)
    kind = np.array(["x", "y", "z"])[np.arange(N) % 3]
    np.save(folder / "table.npy", X)
    with h5py.File(folder / "table.h5", "w") as file:
        # HDF5 would keep its few chunks.
        file["X"] = X
        file["kind"] = kind.astype("S")
    obs = pd.DataFrame({"kind": pd.Categorical(kind)}, index=[str(i) for i in range(N)])
    anndata.AnnData(X, obs=obs).write_h5ad(folder / "table.h5ad")
    group = zarr.open_group(folder / "table.zarr", mode="w")
    group.create_array("X", data=X, chunks=(40, P))
    group.create_array("kind", data=np.arange(N) % 3)
    pd.DataFrame(X, columns=list("abcde")).assign(kind=kind).to_parquet(folder / "table.parquet", row_group_size=60)
    return X


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    write(folder)
    return folder


@pytest.fixture
def server(home, monkeypatch):
    monkeypatch.setattr(url_files, "BLOCK", 600)
    with FileServer(home) as found:
        yield found


def dataset(kind):
    return " --dataset X" if kind in ("h5", "zarr") else ""


def bytes_of(folder):
    return {name: (folder / f"{name}.npy").read_bytes() for name in ("embedding", "novelty", "sample_rows")}


@pytest.fixture(scope="module")
def wanted(home):
    """The files of the same run on the disk, for each kind of file: the columns of Parquet have names."""
    found = {}
    for kind in KINDS:
        assert main(f"embed {home}/table.{kind}{dataset(kind)} --out {home}/map-{kind} {FEW}".split()) == 0
        found[kind] = bytes_of(home / f"map-{kind}")
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_url_gives_the_bytes_of_the_file(kind, server, wanted, tmp_path, capsys):
    url = f"{server.url}/table.{kind}"
    assert main(f"embed {url}{dataset(kind)} --out {tmp_path}/map {FEW}".split()) == 0, capsys.readouterr().err
    assert bytes_of(tmp_path / "map") == wanted[kind]
    assert open_run(tmp_path / "map").manifest["job"]["source"]["path"] == url
    # The table is found again by its URL: its rows are scored, and a column of it colours the map.
    assert main(f"trust {tmp_path}/map --quiet".split()) == 0, capsys.readouterr().err
    if kind != "npy":
        assert main(f"plot {tmp_path}/map --color kind --out {tmp_path}/map.png --quiet".split()) == 0
    assert main(f"place {tmp_path}/map {url}{dataset(kind)} --out {tmp_path}/placed --quiet --jobs 1".split()) == 0
    placed = np.load(tmp_path / "placed" / "embedding.npy")
    np.testing.assert_array_equal(placed, np.load(tmp_path / "map" / "embedding.npy"))


@pytest.mark.parametrize("fault", ["closes", "silent", 404, 503])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_goes_on_once_the_server_is_back(kind, fault, server, wanted, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(url_files, "SILENCE", 1.0)
    url, out = f"{server.url}/table.{kind}", tmp_path / "map"
    line = f"embed {url}{dataset(kind)} --out {out} {FEW}".split()
    # The server is gone once so many blocks are placed.
    from tsne_ooc.storage.sink import NpySink

    write, blocks = NpySink.write, []

    def counted(self, *given, **named):
        blocks.append(self)
        if len(blocks) == 5:
            server.fault = lambda asked: fault
        return write(self, *given, **named)

    monkeypatch.setattr(NpySink, "write", counted)
    assert main(line) != 0
    told = capsys.readouterr().err.strip().splitlines()
    assert sum("could not be read" in one for one in told) == 1
    (said,) = (one for one in told if "could not be read" in one)
    assert url in said and "rows " in said and len(told) <= 2
    server.fault = lambda asked: None
    assert main([*line, "--resume"]) == 0
    assert bytes_of(out) == wanted[kind]


def test_a_run_goes_on_wherever_the_file_is(server, wanted, tmp_path, home):
    """Begun behind a URL, and ended on the disk."""
    line = f"--out {tmp_path}/map {FEW}"
    server.fault = lambda asked: 503 if asked.start > 4000 and len(server.asked) > 60 else None
    assert main(f"embed {server.url}/table.npy {line}".split()) != 0
    assert main(f"embed {home}/table.npy {line} --resume".split()) == 0
    assert bytes_of(tmp_path / "map") == wanted["npy"]


def test_a_file_that_is_replaced_is_noticed(server, tmp_path, capsys):
    X = np.random.default_rng(1).normal(size=(N, P)).astype(np.float32)
    np.save(server.folder / "new.npy", X)
    asked = server.asked

    def replaced(this):
        if len(asked) == 40:
            # The rows looked at stay as they were.
            Y = X.copy()
            Y[7] += 1
            np.save(server.folder / "new.npy", Y)

    server.fault = replaced
    assert main(f"embed {server.url}/new.npy --out {tmp_path}/map {FEW}".split()) != 0
    assert "changed" in capsys.readouterr().err


def test_workers_open_the_url_themselves(server, home, wanted, tmp_path):
    with LocalWorkers(1, n_jobs=1) as executor:
        run = place(home / "map-h5" / "model", f"{server.url}/table.h5", dataset="X", out=tmp_path / "placed",
                    executor=executor, block_rows=50)  # fmt: skip
    np.testing.assert_array_equal(run.embedding, np.load(home / "map-h5" / "embedding.npy"))


def test_labels_of_a_sample_behind_a_url(server, home, tmp_path):
    from tsne_ooc import TSNE
    from tsne_ooc.sampling import Stratified, labels_of

    how = {"tsne": TSNE(perplexity=5), "block_rows": 50}
    for name, where in (("here", str(home / "table.h5ad")), ("there", f"{server.url}/table.h5ad")):
        how["sample"] = Stratified(80, labels_of(where, "kind"))
        embed(where, out=tmp_path / name, **how)
    assert bytes_of(tmp_path / "here") == bytes_of(tmp_path / "there")
