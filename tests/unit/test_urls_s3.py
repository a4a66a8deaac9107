"""Tables in a store of S3, which moto plays: what is read, found by patterns, and named where it is not there."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from containers import ADAPTERS

from tsne_ooc.cli import main
from tsne_ooc.io import differences, identity_of, names_of, open_source, url_files
from tsne_ooc.io.files import files_of

pytest.importorskip("s3fs", reason="stores of S3 need s3fs")
server = pytest.importorskip("moto.server", reason="moto plays the store of S3")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
KINDS = (
    "npy", "hdf5_chunked", "h5ad_csr", "zarr_3", "zarr_sharded", "zarr_group", "zarr_csr", "parquet_groups",
    "parquet_folder",
)  # fmt: skip


@pytest.fixture(scope="module")
def store():
    import fsspec

    with pytest.MonkeyPatch.context() as patch:
        found = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
        found.start()
        for name, value in {
            "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": "http://{}:{}".format(*found.get_host_and_port()),
        }.items():  # fmt: skip
            patch.setenv(name, value)
        fs = fsspec.filesystem("s3", skip_instance_cache=True)
        fs.mkdir("bucket")
        # This store is in the process that reads from it: see `FileServer`.
        gc.disable()
        yield fs
        gc.enable()
        found.stop()


def rows(n=103):
    return np.random.default_rng(0).normal(size=(n, 7))


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_in_a_bucket_is_the_one_on_the_disk(kind, store, tmp_path, monkeypatch):
    monkeypatch.setattr(url_files, "BLOCK", 700)
    found = ADAPTERS[kind]
    path = found.make(rows().astype(found.dtype), tmp_path)
    store.put(str(path), f"bucket/{kind}/{path.name}", recursive=True)
    with open_source(f"s3://bucket/{kind}/{path.name}") as there, open_source(path) as here:
        assert there.read(3, 90).tobytes() == here.read(3, 90).tobytes() and names_of(there) == names_of(here)
        if "zarr" not in kind:
            assert differences(identity_of(here), identity_of(there)) == []
            assert identity_of(there)["version"]


def test_patterns_and_what_is_not_there(store, tmp_path):
    np.save(tmp_path / "X.npy", rows())
    for number in (2, 10):
        store.put(str(tmp_path / "X.npy"), f"bucket/plates/plate{number}.npy")
    found = [f"s3://bucket/plates/plate{number}.npy" for number in (2, 10)]
    assert [str(file) for file in files_of("s3://bucket/plates/*.npy")] == found
    for url in ("s3://bucket/none.npy", "s3://nobucket/x.npy"):
        with pytest.raises(FileNotFoundError, match=f"there is no file {url}"):
            open_source(url)


def test_a_run(store, tmp_path):
    np.save(tmp_path / "X.npy", rows(300))
    store.put(str(tmp_path / "X.npy"), "bucket/X.npy")
    for where, out in (("s3://bucket/X.npy", "there"), (f"{tmp_path}/X.npy", "here")):
        how = "--sample 80 --perplexity 5 --block-rows 50 --seed 1 --quiet --jobs 1"
        assert main(f"embed {where} {how} --out {tmp_path}/{out}".split()) == 0
    assert (tmp_path / "there/embedding.npy").read_bytes() == (tmp_path / "here/embedding.npy").read_bytes()
