"""Every option of every command on every kind of file: a table whose rows and columns the parser gives.

A cell is a line that runs, or one that is refused in a sentence. An option that is new, or a kind of file, has no cell
at first, and the test says which.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from tsne_ooc.cli import main
from tsne_ooc.cli.command import parser

READERS = {
    "npy": "table.npy", "hdf5": "table.h5", "records": "records.h5", "h5ad": "table.h5ad", "zarr": "table.zarr",
    "parquet": "table.parquet", "folder": "parts", "url": "memory://table.h5",
}  # fmt: skip
# Commands in an order in which each goes on with what the ones before it made.
COMMANDS = ("look", "neighbors", "embed", "place", "trust", "train")
# Readers whose columns have names, and those that have one of words among them.
NAMED = ("records", "parquet", "folder", "h5ad")
WORDS = ("records", "parquet", "folder")

PREPARED = "--standardize robust --pca 3"
COUNTS = "--normalize 100 --log1p"
MAP = (
    "--perplexity 5 --exaggeration 2 --n-components 1 --dof 0.8 --metric cosine --neighbors exact --affinity uniform "
    "--schedule auto"
)
ENCODER = (
    "--network 16x2 --landmarks 16 --objective distillation:1:0.5 --learning-rate 0.01 --patience 2 --batch-size 30 "
    "--shuffle full --augmentation 0 --decoder --device cpu --seed 1"
)
# A worker is a process, which takes seconds to start: one kind of file is read by them, one of a path and a name.
BY_WORKERS = "hdf5"


def lines(command, reader):
    """Lines of a command on a kind of file, one after the other, and behind a bar what an error has to say."""
    file = READERS[reader]
    # Behind a URL is what the column "hdf5" has on the disk.
    gaps = f"memory://gaps/{file.removeprefix('memory://')}" if reader == "url" else f"gaps/{file}"
    word = {"h5ad": "X", "hdf5": "X", "records": "X", "zarr": "X", "url": "X"}.get(reader)
    dataset = f"--dataset {word}" if word else ""
    names = "--columns a,b,c,d"
    alone = [f"{file} --dataset Y | single table"] if word is None else []
    unnamed = [] if reader in NAMED else [f"{file} {dataset} {names} | column"]
    unknown = "is not known" if reader in NAMED else "needs columns with names"
    workers = "--workers 1" if reader == BY_WORKERS else ""
    some = f"{names},word --onehot word" if reader in WORDS else f"{dataset} --columns d,a"
    lacking = f"{gaps} {dataset} --missing mean"
    if command == "look":
        yield f"{file} {dataset} --allow-missing-chunks --verbose"
        if reader in NAMED:
            yield f"{file} {names}"
        yield from (line for line in (*alone, *unnamed))
    elif command == "neighbors":
        filled = f"{lacking} --out filled --k 15 --seed 1 --block-rows 40 --allow-missing-chunks"
        yield f"{filled} --jobs 1 --quiet"
        yield f"{filled} --verbose --resume"
        yield f"{file} {dataset} --out prepared --k 15 {COUNTS} {PREPARED} --metric cosine --search exact --quiet"
        if reader in NAMED:
            yield f"{file} {some} --out coded --k 15 --quiet"
        if reader not in WORDS:
            yield f"{file} {dataset} --out none --k 15 --onehot word --quiet | {unknown}"
        yield from (line.replace(" | ", " --out none --k 15 | ", 1) for line in (*alone, *unnamed))
    elif command == "embed":
        labels = {"h5ad": "obs/kind", "hdf5": "kind", "records": "kind", "zarr": "kind", "npy": "", "url": "kind"}.get(
            reader, "word"
        )
        yield (
            f"{file} {dataset} --out one --sample 60 {PREPARED} {MAP} --seed 3 --jobs 1 --block-rows 40 --quiet "
            "--allow-missing-chunks --rounds 2"
        )
        yield f"{file} {dataset} --out two --sample 60 {COUNTS} --perplexity 5 --dry-run"
        color = f" --color {labels}" if labels else " --color kind.npy"
        yield f"{file} {dataset} --out two --sample 60 {COUNTS} --perplexity 5 --verbose --plot{color}"
        yield f"{file} {dataset} --out two --sample 60 {COUNTS} --perplexity 5 --verbose --plot{color} --resume"
        if not labels:
            # A file of one array holds none beside it.
            yield f"{file} {dataset} --out none --sample-by stratified --labels kind | labels are"
        else:
            yield (
                f"{file} {dataset} --out three --sample 60 --sample-by stratified --labels {labels} --perplexity 5 "
                f"--quiet {workers}"
            )
        together = f"{lacking} --sample 60 --perplexity 5 --sample-perplexity 8 --quiet"
        yield f"{together} --out all --refine --graph filled --memory 16 --scratch . --reference 40"
        yield f"{together} --out large --recipe large --dry-run"
        yield f"{together} --out large --recipe large"
        yield f"{gaps} {dataset} --out none --missing error --quiet | row 0"
        if reader in NAMED:
            yield f"{file} {dataset} --out four {some} --perplexity 5 --quiet"
        if reader not in WORDS:
            yield f"{file} {dataset} --out none --onehot word --quiet | {unknown}"
        yield from (line.replace(" | ", " --out none | ", 1) for line in (*alone, *unnamed))
    elif command == "place":
        yield f"one {file} {dataset} --out placed --dry-run"
        yield (f"one {file} {dataset} --out placed --novelty --jobs 1 --quiet --block-rows 30 --allow-missing-chunks")
        yield f"one {file} {dataset} --out placed --novelty --verbose --resume"
        yield f"one {file} {dataset} --out part --rows 20:50 --quiet {workers}"
        if reader in NAMED:
            yield f"one {file} {names} --out named --quiet"
        yield from (f"one {line}".replace(" | ", " --out none | ", 1) for line in (*alone, *unnamed))
    elif command == "trust":
        yield "placed --jobs 1 --quiet --block-rows 30"
        if reader in NAMED:
            yield f"four {file} {some.partition(' --onehot')[0]} --quiet"
        if workers:
            yield f"three --quiet {workers}"
        yield f"two {file} {dataset} --k 5 --length 0.5 --directions 2 --verbose --allow-missing-chunks"
        yield f"two {file} {dataset} --k 5 --length 0.5 --directions 2 --resume"
        # A run that is scored is refused for that.
        yield from (f"one {line}" for line in (*alone, *unnamed))
    elif command == "train":
        short = "--iterations 4"
        yield (
            f"{file} {dataset} --out enc --sample 60 {COUNTS} {PREPARED} {MAP} {ENCODER} {short} --jobs 1 --quiet "
            "--allow-missing-chunks"
        )
        yield f"{file} {dataset} --out enc2 --map one {short} --network 16x1 --landmarks 0 --dry-run"
        yield f"{file} {dataset} --out enc2 --map one {short} --network 16x1 --landmarks 0 --verbose"
        yield f"{file} {dataset} --out enc2 --map one {short} --network 16x1 --landmarks 0 --verbose --resume"
        yield f"{lacking} --out enc4 --graph filled --perplexity 5 {short} --network 16x1 --landmarks 0 --quiet"
        if reader in NAMED:
            yield f"{file} {some} --out enc3 --perplexity 5 {short} --quiet"
        if reader not in WORDS:
            yield f"{file} {dataset} --out none --onehot word --quiet | {unknown}"
        yield from (line.replace(" | ", " --out none | ", 1) for line in (*alone, *unnamed))


def behind_urls(folder):
    """Put the tables of a folder into the store in memory, which fsspec keeps for this process."""
    store = pytest.importorskip("fsspec").filesystem("memory")
    for name in ("table.h5", "gaps/table.h5"):
        store.pipe(f"/{name}", (folder / name).read_bytes())
    return store


def options_of(command):
    (commands,) = (one for one in parser()._actions if isinstance(one, argparse._SubParsersAction))
    return {tuple(one.option_strings) for one in commands.choices[command]._actions if one.option_strings}


def write(X, kind, words):
    """A table as a file of each kind, in the folder where we are."""
    import anndata
    import zarr

    np.save("table.npy", X)
    np.save("kind.npy", words)
    with h5py.File("table.h5", "w") as file:
        file["X"], file["kind"] = X, kind
    records = np.zeros(90, [(name, "f4") for name in "abcd"] + [("word", "S1")])
    for j, name in enumerate("abcd"):
        records[name] = X[:, j]
    records["word"] = words.astype("S1")
    with h5py.File("records.h5", "w") as file:
        file["X"], file["kind"] = records, kind
    kinds = pd.DataFrame({"kind": pd.Categorical(words)}, index=[str(i) for i in range(90)])
    cells = anndata.AnnData(X, obs=kinds, var=pd.DataFrame(index=list("abcd")))
    cells.write_h5ad("table.h5ad")
    group = zarr.open_group("table.zarr", mode="w")
    group.create_array("X", data=X, chunks=(30, 4))
    group.create_array("kind", data=kind)
    table = pd.DataFrame(X, columns=list("abcd")).assign(word=words)
    table.to_parquet("table.parquet")
    Path("parts").mkdir()
    for i in range(3):
        table[30 * i : 30 * i + 30].to_parquet(f"parts/{i}.parquet")


@pytest.fixture
def files(tmp_path, monkeypatch):
    for package in ("pyarrow", "zarr", "anndata"):
        pytest.importorskip(package)
    rng = np.random.default_rng(0)
    X = np.abs(rng.normal(0, 4, (3, 4))[rng.integers(0, 3, 90)] + rng.normal(size=(90, 4))).astype(np.float32)
    kind = np.arange(90) % 3
    words = np.array(["x", "y", "z"])[kind]
    monkeypatch.chdir(tmp_path)
    write(X, kind, words)
    X[::9, 1] = np.nan
    (tmp_path / "gaps").mkdir()
    with monkeypatch.context() as there:
        there.chdir("gaps")
        write(X, kind, words)
    store = behind_urls(tmp_path)
    yield tmp_path
    store.rm("/", recursive=True)


def run(line, capsys):
    typed, _, refused = line.partition(" | ")
    try:
        code = main(typed.split())
    except SystemExit as end:
        code = end.code
    told = capsys.readouterr().err
    if refused:
        assert code == 2 and refused in told.splitlines()[-1], (line, told)
    else:
        assert code == 0, (line, told)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.filterwarnings("ignore::FutureWarning:anndata", "ignore:The behavior of DataFrame:FutureWarning")
def test_every_line_runs_or_is_refused(files, capsys, reader):
    for command in COMMANDS[:-1]:
        for line in lines(command, reader):
            run(f"{command} {line}", capsys)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.filterwarnings("ignore::FutureWarning:anndata")
def test_every_line_of_train_runs_or_is_refused(files, capsys, monkeypatch, reader):
    pytest.importorskip("torch", reason="encoders need the extra 'neural'")
    from tsne_ooc.parametric import Decoder

    # Of its 2,000 batches, for which the command line has no option, the lines need some.
    _, variational, _, rate = Decoder.__init__.__defaults__
    monkeypatch.setattr(Decoder.__init__, "__defaults__", ((16, 1), variational, 20, rate))
    for command in ("neighbors", "embed"):
        run(f"{command} {next(lines(command, reader))}", capsys)
    for line in lines("train", reader):
        run(f"train {line}", capsys)


# `--onnx` writes a file of another kind, whatever was read (test_train.py); without words there is nothing to encode. A
# scheduler has to run: `place` asks one in test_dask_cluster.py, and `embed` and `trust` take it by the same functions.
ELSEWHERE = {("train", "--onnx"), ("embed", "--scheduler"), ("place", "--scheduler"), ("trust", "--scheduler")}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_cell_of_the_table_is_empty(command, reader):
    typed = {word.partition("=")[0] for line in lines(command, reader) for word in line.split()}
    if reader != BY_WORKERS:
        typed.add("--workers")
    missing = [
        names[0]
        for names in sorted(options_of(command))
        if not typed & set(names) and names[0] not in {"-h"} and (command, names[0]) not in ELSEWHERE
    ]
    assert not missing


# `prepare` reads text. `plot` and `view` read a map, and of a table one column at a time, as `embed --color` does here.
# `report` reads the table of a run as that run did.
NOT_OF_TABLES = {"prepare", "plot", "view", "report"}


def test_commands_that_read_tables_are_all_here():
    (commands,) = (one for one in parser()._actions if isinstance(one, argparse._SubParsersAction))
    reading = {
        name for name, command in commands.choices.items() if any(one.dest == "data" for one in command._actions)
    }
    assert reading - NOT_OF_TABLES == set(COMMANDS) and reading >= NOT_OF_TABLES
