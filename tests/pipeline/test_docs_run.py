"""Every shell line and every block of Python in the README and the docs is run, on small files, or says why not."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import sys
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
from documents import FENCE, TUTORIALS
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.neighbors import kneighbors_graph

from tsne_ooc.cli import main
from tsne_ooc.cli.command import parser
from tsne_ooc.io.collection import ENCODING

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = ast.literal_eval(
    re.search(
        r"^COMMANDS = (\{.*\})$", (ROOT / "benchmarks" / "__main__.py").read_text(encoding="utf-8"), re.MULTILINE
    )[1]
)
# Pages whose blocks of Python have a test of their own, which says that it runs all of them.
OWN_TEST = {
    "tutorial.md": "pipeline/test_docs_tutorial.py",
    "sources.md": "unit/test_docs_sources.py",
    "extending.md": "unit/test_docs_extending.py",
    "README.md": "unit/test_readme.py",
    "anywhere.md": "pipeline/test_docs_anywhere.py",
}
# What a page takes as given; and numbers that a test has no time for.
QUICK = {
    "25_000": "90", "20_000": "30", "2_500": "5", "1_000_000": "10_000", "range(10)": "range(2)",
    "decoder=True": "decoder=Decoder(n_iter=5)",
}  # fmt: skip
# No test reaches other machines: fsspec reads its own memory in the place of a server.
SHORTER = {
    "--network 256x4 --iterations 20000": "--network 16x2 --iterations 6",
    "https://example.org/": "memory://example.org/", "s3://bucket/": "memory://bucket/",
}  # fmt: skip
SHELL = ("bash", "sh", "console", "")
# Lines that no test runs: how they begin, and why.
NOT_RUN = {
    "python3 -m venv": "makes an environment and downloads the libraries: .ci/run runs the one that tests, and a demo "
    "is run by test_cli.py",
    "pip install": "downloads libraries",
    ".venv/bin/": "tools of developers, which .ci/run runs",
    ".ci/run": "runs the whole suite, this test too",
    "python benchmarks/": "minutes to hours, on data that is not here; its options are looked at below",
    "OMP_NUM_THREADS=1 python benchmarks/": "the same",
    "python -m benchmarks": "the same",
    "OMP_WAIT_POLICY=PASSIVE python benchmarks/": "beside a library that is not here, and on a busy machine",
}


def blocks(page, *languages):
    return [code for language, code in FENCE.findall(page.read_text(encoding="utf-8")) if language in languages]


def shell_lines(page):
    """Lines of shell; of blocks that show an output, those behind a dollar."""
    for code in blocks(page, *SHELL):
        lines = code.splitlines()
        shown = [line[2:] for line in lines if line.startswith("$ ")]
        yield from (line for line in (shown or lines) if line.strip() and not line.startswith("#"))


def reason(line):
    return next((why for start, why in NOT_RUN.items() if line.startswith(start)), None)


def scanpy():
    """What the pages call of scanpy; test_tl.py meets its pictures where it is installed."""

    def pca(adata):
        adata.obsm["X_pca"] = PCA(50, random_state=0).fit_transform(adata.X)

    def picture(adata, color):
        assert adata.obsm["X_tsne"].shape == (adata.n_obs, 2) and color in adata.obs

    module = ModuleType("scanpy")
    module.read_h5ad = pytest.importorskip("anndata").read_h5ad
    module.pp, module.pl = SimpleNamespace(pca=pca), SimpleNamespace(tsne=picture)
    return module


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files that the pages name, each of some hundred rows."""
    tmp_path = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(2.0, 2.0, (4, 60))[rng.integers(0, 4, 240)]).astype(np.float32)
    for name in ("cells.h5", "tomorrow.h5", "more-cells.h5", "narrow.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            file.create_dataset("X", data=counts, chunks=(50, 60))
    anndata, zarr = pytest.importorskip("anndata"), pytest.importorskip("zarr")
    kinds = pd.DataFrame({"cell_type": pd.Categorical(np.array(["B", "T", "NK"])[np.arange(240) % 3])})
    kinds = kinds.assign(batch=np.arange(240) // 80, n_genes=(counts > 0).sum(axis=1))
    places = rng.random((240, 5), np.float32)
    for name in ("cells.h5ad", "tomorrow.h5ad", "counts.h5ad", "moved.h5ad"):
        cells = anndata.AnnData(counts, obs=kinds.set_index(kinds.index.astype(str)))
        cells.obsm["X_pca"] = counts[:, :5] + places
        cells.obsp["distances"] = kneighbors_graph(cells.obsm["X_pca"], 15, mode="distance")
        cells.write_h5ad(tmp_path / name)
    (tmp_path / "plates").mkdir()
    for plate in range(3):
        cells[80 * plate : 80 * plate + 80].write_h5ad(tmp_path / "plates" / f"plate{plate + 1}.h5ad")
    group = zarr.open_group(tmp_path / "collection.zarr", mode="w", zarr_format=3)
    group.attrs["encoding-type"] = ENCODING
    for number in range(3):
        with anndata.settings.override(zarr_write_format=3), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            anndata.io.write_elem(group, f"dataset_{number}", cells[80 * number : 80 * number + 80].copy())
    anndata.AnnData(counts).write_h5ad(tmp_path / "atlas.h5ad")
    flows = pd.DataFrame(counts[:, :4], columns=["bytes", "packets", "seconds", "ports"])
    flows.assign(protocol=np.array(["tcp", "udp"])[np.arange(240) % 2]).to_parquet(tmp_path / "flows.parquet")
    np.save(tmp_path / "cells.npy", counts)
    (tmp_path / "logs").mkdir()
    for day in ("monday", "tuesday"):
        lines = flows.where(flows > 1).assign(protocol=np.where(counts[:, 4] > 2, "tcp", "udp"))
        lines["country"] = np.where(counts[:, 5] > 2, "NP", "PE")
        lines.to_csv(tmp_path / "logs" / f"{day}.csv", index=False)
    for day, word in (("monday", "udp"), ("tuesday", "tcp")):
        lines = flows.assign(protocol=np.where(counts[:, 4] > 2, "tcp", word), kind=kinds["cell_type"])
        lines.assign(country=np.where(counts[:, 5] > 2, "NP", "PE")).to_csv(tmp_path / f"{day}.csv", index=False)
    pickup = pd.date_range("2020-01-01", periods=240, freq="9h")
    for half in (slice(120), slice(120, 240)):
        trips = pd.DataFrame(counts[half, :3], columns=["miles", "minutes", "fare"]).assign(pickup=pickup[half])
        trips.to_csv(tmp_path / f"taxi-{half.stop}.csv.gz", index=False)
    return tmp_path


@pytest.fixture
def folder(files, tmp_path, monkeypatch):
    """A folder of one's own with these files, and some of them elsewhere."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    elsewhere = pytest.importorskip("fsspec").filesystem("memory")
    elsewhere.put(str(tmp_path / "cells.h5ad"), "/example.org/cells.h5ad")
    elsewhere.put(str(tmp_path / "plates"), "/bucket/plates", recursive=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def few_steps(monkeypatch):
    """Six steps of training. The room is loaded first: it takes the number over, and would keep this one."""
    for module in ("room", "estimator"):
        monkeypatch.setattr(f"tsne_ooc.parametric.{module}.STEPS", 6)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.filterwarnings("ignore:perplexity=:UserWarning", "ignore::FutureWarning:anndata")
def test_shell_lines_run(page, folder, capsys, monkeypatch):
    lines = [line for line in shell_lines(page) if reason(line) is None]
    if page.name == "tutorial.md":
        # Its own test compares what is printed, too.
        assert all(shlex.split(line, comments=True)[0] == "tsne-ooc" for line in lines)
        return
    if any(" train " in line for line in lines):
        pytest.importorskip("torch", reason="encoders need the extra 'neural'")
        pytest.importorskip("onnxscript", reason="--onnx needs the extra 'onnx'")
        few_steps(monkeypatch)
    if page.name == "exporting.md":
        # The page is about a run that is finished.
        assert main(["embed", "cells.h5ad", "--out", "map", "--quiet"]) == 0
    if page.name == "refine.md":
        # A block of Python above the line writes it.
        np.save("digits.npy", load_digits().data)
    made = set()
    for line in lines:
        for long, short in SHORTER.items():
            line = line.replace(long, short)
        words = shlex.split(line, comments=True)
        assert words[0] == "tsne-ooc", f"{page.name}: {line!r} is neither run nor listed with a reason"
        out = words[words.index("--out") + 1] if "--out" in words else None
        if out is not None and out in made and "--resume" not in words:
            # The page shows several ways to make a folder of this name.
            words[words.index("--out") + 1] = out = f"{out}{len(made)}"
        made.add(out)
        assert main(words[1:]) == 0, (line, capsys.readouterr().err)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in OWN_TEST], ids=lambda page: page.name)
@pytest.mark.filterwarnings("ignore:perplexity=:UserWarning", "ignore::FutureWarning:anndata")
def test_blocks_of_python_run(page, folder, monkeypatch):
    code = blocks(page, "python", "py")
    if not code:
        return
    X = np.load("cells.npy")
    if any("parametric" in block for block in code):
        pytest.importorskip("torch", reason="encoders need the extra 'neural'")
        pytest.importorskip("onnxscript", reason="the export needs the extra 'onnx'")
        few_steps(monkeypatch)
    given = {"X": X, "new": X[:20], "new_rows": X[:20], "sample": X, "rows": X[:20]}
    given["labels"] = np.array(["B", "T", "NK"])[np.arange(len(X)) % 3]
    if page.name == "scanpy.md":
        anndata = pytest.importorskip("anndata")
        given |= {"adata": anndata.read_h5ad("counts.h5ad"), "query": anndata.AnnData(X[:20])}
    monkeypatch.setitem(sys.modules, "scanpy", scanpy())
    if page.name in ("exporting.md", "pictures.md", "report.md"):
        assert main(["embed", "cells.h5ad", "--out", "map", "--quiet"]) == 0
    if page.name == "pictures.md":
        assert main(["place", "map", "tomorrow.h5ad", "--out", "more", "--quiet"]) == 0
    names = dict(given)
    for block in code:
        for many, few in QUICK.items():
            block = block.replace(many, few)
        if page.name == "exporting.md":
            # Each block is another way to do it.
            shutil.copy("tomorrow.h5ad", "cells.h5ad")
        if 'File("cells.h5", "w")' in block:
            # It makes the file that others read.
            block = block.replace("cells.h5", "made.h5")
        exec(compile(block, page.name, "exec"), names)


def test_pages_that_have_a_test_of_their_own():
    for name, test in OWN_TEST.items():
        path = ROOT / "tests" / test
        assert name in path.read_text(encoding="utf-8") and path.exists()
        (page,) = [page for page in PAGES if page.name == name]
        assert blocks(page, "python")


def test_all_blocks_are_of_a_language_that_is_looked_at():
    for page in PAGES:
        for language, code in FENCE.findall(page.read_text(encoding="utf-8")):
            known = (*SHELL, "python", "text", "toml", "yaml", "json", "{eval-rst}")
            assert language in known, (page.name, language, code[:40])


def test_reasons_are_of_lines_that_there_are():
    lines = [line for page in PAGES for line in shell_lines(page)]
    unused = [start for start in NOT_RUN if not any(line.startswith(start) for line in lines)]
    assert not unused


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_benchmarks_take_the_options_that_pages_give_them(page):
    for line in shell_lines(page):
        if "python benchmarks/" not in line and "python -m benchmarks" not in line:
            continue
        words = shlex.split(line)
        script = ROOT / words[words.index("python") + 1]
        if words[1:3] == ["-m", "benchmarks"]:
            script = ROOT / "benchmarks" / f"{COMMANDS[words[3]]}.py"
            del words[1:4]
        known = script.read_text(encoding="utf-8") + (ROOT / "benchmarks" / "common.py").read_text(encoding="utf-8")
        for word in words:
            assert not word.startswith("--") or f'"{word}"' in known, f"{page.name}: {line}"


@pytest.mark.parametrize("page", [*PAGES, *sorted(TUTORIALS.glob("*.md"))], ids=lambda page: page.name)
def test_commands_within_the_text_are_taken(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for code in re.findall(r"`(tsne-ooc [^`]+)`", text):
        words = shlex.split(" ".join(code.split()))[1:]
        if words[0].startswith("-") or "..." in words or words[-1].endswith("..."):
            continue
        command = parser()._subparsers._group_actions[0].choices[words[0]]
        known = command._option_string_actions
        for word in words[1:]:
            assert not word.startswith("--") or word.partition("=")[0] in known, f"{page.name}: {code}"
        if len(words) > 1 and "--out" in words and not words[1].startswith("-"):
            assert parser().parse_args(words).run
