"""Tables that are damaged, empty, of another kind or oddly named, and what the command line says of each.

Every case is a process of its own, forked from one that has everything loaded: some damage could crash or hang the
interpreter. Run as a program for as many as one likes, some four in a second:
``python tests/damage.py FIRST LAST`` prints each that does not end as it should.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mutations import mutate_json

# A run of 60 rows takes half a second, and a file with which HDF5 does not come to an end 20 of the processor; a busy
# machine is given its time.
SECONDS = 150


class Case(NamedTuple):
    """One table and how it was damaged."""

    path: Path
    damage: str
    words: list[str]


class End(NamedTuple):
    """How a command ended: its exit code (minus the signal, None where it hung), and what it wrote to stderr."""

    code: int | None
    error: str


# ------------------------------------------------------------------------------------------------------------- tables


def rows():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(3, 4)) * 9)[np.arange(60) % 3].astype(np.float32) + rng.normal(size=(60, 4)).astype("f4")


def write_npy(path):
    np.save(path.with_suffix(".npy"), rows())
    return path.with_suffix(".npy"), []


def write_hdf5(path):
    import h5py

    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file.create_dataset("X", data=rows(), chunks=(20, 4), compression="gzip")
        file["labels"] = np.array([b"a", b"b", b"c"] * 20)
    return path.with_suffix(".h5"), ["--dataset", "X"]


def write_compound(path):
    import h5py

    X = rows()
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        records = np.zeros(60, [("a", "f4"), ("b", "f8"), ("name", "S4")])
        records["a"], records["b"] = X[:, 0], X[:, 1]
        file["table"] = records
    return path.with_suffix(".h5"), []


def write_h5ad(path):
    cells().write_h5ad(path.with_suffix(".h5ad"))
    return path.with_suffix(".h5ad"), ["--sample-by", "stratified", "--labels", "kind"]


def write_anndata_zarr(path):
    with warnings.catch_warnings():
        # That its default format is going to change.
        warnings.simplefilter("ignore")
        cells().write_zarr(path.with_suffix(".zarr"))
    return path.with_suffix(".zarr"), []


def cells():
    import anndata
    import pandas as pd
    from scipy.sparse import csr_matrix

    names = [f"c{i}" for i in range(60)]
    obs = pd.DataFrame({"kind": pd.Categorical(["x", "y", "z"] * 20)}, index=names)
    return anndata.AnnData(csr_matrix(np.abs(rows())), obs=obs)


def write_zarr(path, zarr_format=3):
    import zarr

    zarr.create_array(path.with_suffix(".zarr"), data=rows(), chunks=(20, 4), zarr_format=zarr_format)
    return path.with_suffix(".zarr"), []


def write_zarr2(path):
    return write_zarr(path, 2)


def write_zarr_zip(path):
    import zarr

    with zarr.storage.ZipStore(path.with_suffix(".zip"), mode="w") as store:
        zarr.create_array(store, data=rows(), chunks=(20, 4))
    return path.with_suffix(".zip"), []


def write_parquet(path):
    import pandas as pd

    frame = pd.DataFrame(rows(), columns=list("abcd"))
    frame["name"] = ["x", "y", "z"] * 20
    frame.to_parquet(path.with_suffix(".parquet"), row_group_size=25)
    return path.with_suffix(".parquet"), []


def write_parts(path):
    import pandas as pd

    path.mkdir()
    frame = pd.DataFrame(rows(), columns=list("abcd"))
    frame[:30].to_parquet(path / "part-0.parquet")
    frame[30:].to_parquet(path / "part-1.parquet")
    return path, []


TABLES = [
    write_npy, write_hdf5, write_compound, write_h5ad, write_zarr, write_zarr2, write_zarr_zip, write_anndata_zarr,
    write_parquet, write_parts,
]  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- damage


def files(path):
    """All files of a table that is a file or a folder."""
    return sorted(part for part in path.rglob("*") if part.is_file()) if path.is_dir() else [path]


def emptied(path, rng):
    """A file of no bytes."""
    found = files(path)
    found[rng.integers(len(found))].write_bytes(b"")


def cut(path, rng):
    """A copy that did not end."""
    found = files(path)
    file = found[rng.integers(len(found))]
    data = file.read_bytes()
    # Near an edge as often as anywhere: signatures, headers and footers lie there.
    near = int(rng.integers(0, 64)) % max(1, len(data))
    file.write_bytes(data[: [near, len(data) - 1 - near, int(rng.integers(0, max(1, len(data))))][rng.integers(3)]])


def flipped(path, rng):
    """A few bits, most of them in what comes first or last."""
    found = files(path)
    file = found[rng.integers(len(found))]
    data = bytearray(file.read_bytes())
    for _ in range(int(rng.integers(1, 5))):
        if data:
            reach = min(len(data), [96, 2048, len(data)][rng.integers(3)])
            at = int(rng.integers(reach))
            data[at if rng.integers(2) else len(data) - 1 - at] ^= 1 << int(rng.integers(8))
    file.write_bytes(bytes(data))


def overwritten(path, rng):
    """A word of eight bytes as a program that went wrong leaves it."""
    found = files(path)
    file = found[rng.integers(len(found))]
    data = bytearray(file.read_bytes())
    at = int(rng.integers(max(1, len(data))))
    data[at : at + 8] = [b"\xff" * 8, b"\0" * 8, b"\x7f" + b"\xff" * 7, rng.bytes(8)][rng.integers(4)]
    file.write_bytes(bytes(data))


def zeroed(path, rng):
    """A stretch of zeros, as a file system leaves it after a loss of power."""
    found = files(path)
    file = found[rng.integers(len(found))]
    data = bytearray(file.read_bytes())
    start, stop = sorted(int(at) for at in rng.integers(0, len(data) + 1, 2))
    data[start:stop] = bytes(stop - start)
    file.write_bytes(bytes(data))


def changed_json(path, rng):
    """Metadata with one thing changed, or of another shape altogether."""
    found = [file for file in files(path) if file.suffix == ".json" or file.name.startswith(".z")]
    if not found:
        return flipped(path, rng)
    file = found[rng.integers(len(found))]
    content = json.loads(file.read_text())
    if not content or rng.integers(4) == 0:
        content = [[], {}, None, "x", 7, [{}], {"zarr_format": 3}][rng.integers(7)]
    else:
        mutate_json(content, rng)
    file.write_text(json.dumps(content))


def lost(path, rng):
    """One of the files is missing; of a table of one file, that one."""
    found = files(path)
    found[rng.integers(len(found))].unlink()


def swapped(path, rng):
    """The bytes of a file of another kind, under this name."""
    found = files(path)
    others = [b"a,b\n1,2\n", b"\x89HDF\r\n\x1a\n", b"\x93NUMPY", b"PAR1", b"PK\x03\x04", b"<html>", b"\0" * 4096, b"{}"]
    found[rng.integers(len(found))].write_bytes(others[rng.integers(len(others))])


def linked(path, rng):
    """A link to itself, to nothing, or to a folder."""
    found = files(path)
    file = found[rng.integers(len(found))]
    file.unlink()
    file.symlink_to([file.name, "nowhere", "/", os.devnull][rng.integers(4)])


def foldered(path, rng):
    """A folder under the name of a file."""
    found = files(path)
    file = found[rng.integers(len(found))]
    file.unlink()
    file.mkdir()
    if rng.integers(2):
        (file / "notes.txt").write_text("x")


def crowded(path, rng):
    """Files that have come along: what a Mac leaves, notes, locks."""
    home = path if path.is_dir() else path.parent
    for name in ("._x.parquet", "notes.txt", ".DS_Store", "_SUCCESS", "Thumbs.db", ".x.parquet.crc", "x.npy~"):
        if rng.integers(2):
            (home / name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        ")
    if rng.integers(2):
        (home / "sub.parquet").mkdir(exist_ok=True)


DAMAGES = [
    emptied, cut, flipped, flipped, overwritten, zeroed, changed_json, lost, swapped, linked, foldered, crowded,
]  # fmt: skip
NAMES = (
    "table", "a b", "ä ü", "-x", "a,b", "100%s", "{x}", "*", "a\nb", "x=1", "$HOME", "a" * 200, "'quoted\"",
    os.fsdecode(b"latin-\xfc"), ".hidden", "n_iter=0",
)  # fmt: skip


class Tables:
    """Whole tables, each written once, to copy."""

    def __init__(self, folder):
        self._made = []
        for write in TABLES:
            home = folder / write.__name__
            home.mkdir(parents=True)
            path, words = write(home / "table")
            self._made.append((path, words))

    def case(self, number, folder):
        """The case of this number, written to `folder`."""
        rng = np.random.default_rng(number)
        whole, words = self._made[number % len(self._made)]
        name = NAMES[rng.integers(len(NAMES))] if rng.integers(3) == 0 else "table"
        path = folder / (name + whole.suffix)
        with contextlib.suppress(OSError):
            shutil.copytree(whole, path) if whole.is_dir() else shutil.copy(whole, path)
        damage = DAMAGES[(number // len(self._made)) % len(DAMAGES)]
        damage(path, rng)
        return Case(path, damage.__name__, words if rng.integers(2) else [])


# ---------------------------------------------------------------------------------------------------------- processes


def prepare(folder):
    """Load what commands need and compile the kernels, so that forks begin at once; return a map to place rows on."""
    import anndata
    import h5py
    import pandas
    import pyarrow.dataset
    import pyarrow.parquet
    import zarr

    import tsne_ooc.cli.embed
    from tsne_ooc import TSNE
    from tsne_ooc.cli import main

    # The map itself is of no interest here.
    tsne_ooc.cli.embed.tsne_of = lambda options: TSNE(
        perplexity=5, n_iter=2, early_exaggeration_iter=2, n_jobs=1, random_state=0
    )
    np.save(folder / "rows.npy", rows())
    words = ["embed", str(folder / "rows.npy"), "--sample", "30", "--out", str(folder / "map"), "--quiet"]
    assert main(words) == 0
    return folder / "map", (anndata, h5py, pandas, pyarrow, zarr)


def command(words, folder, seconds=SECONDS):
    """Run a command in a fork, in `folder`."""
    from tsne_ooc.cli import main

    said = folder / "said"
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.chdir(folder)
            to = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(to, 2)
            # Not those of pytest, which look elsewhere.
            sys.stdout = os.fdopen(1, "w", closefd=False, errors="backslashreplace")
            sys.stderr = os.fdopen(2, "w", closefd=False, errors="backslashreplace")
            try:
                code = main(words)
            except SystemExit as end:
                code = end.code
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            import traceback

            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    until = time.monotonic() + seconds
    status = None
    while status is None and time.monotonic() < until:
        done, found = os.waitpid(child, os.WNOHANG)
        status = os.waitstatus_to_exitcode(found) if done else None
        if status is None:
            time.sleep(0.005)
    if status is None:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return End(status, said.read_text(errors="replace"))


def wrong(end, path, out, *, looking=False):
    """What is not as it should be at this end of a command, or None."""
    lines = [line for line in end.error.splitlines() if not line.startswith("tsne-ooc: warning: ")]
    if end.code not in (0, 2):
        return f"exit code {end.code}"
    if "Traceback" in end.error or "fault of the program" in end.error:
        return "not foreseen"
    if looking and not lines:
        # What is wrong with the table is part of what it tells.
        return None
    if len(lines) != (end.code == 2):
        return f"{len(lines)} lines"
    if end.code == 2:
        if not lines[0].startswith("tsne-ooc: error: "):
            return "not an error"
        name = " ".join(str(path).split()).encode(errors="backslashreplace").decode()
        # Of a link, what it leads to does as well.
        names = (name, repr(str(path))[1:-1], os.path.realpath(path))
        if not any(word in lines[0] for word in names):
            return "the file is not named"
        if out.exists() and f"what is done is kept in {out}" not in end.error:
            return "something is left"
    return None


def check(number, tables, model, folder):
    """Do one case; return a line where it does not end as it should."""
    folder.mkdir()
    try:
        case = tables.case(number, folder)
        out = folder / "out"
        if number % 3 == 2 and not case.words:
            words = ["place", str(model), str(case.path), "--out", str(out), "--quiet", "--jobs", "1"]
        elif number % 7 == 1 and not case.words:
            words = ["look", str(case.path)]
        elif case.path.suffix == ".h5ad" and not case.words:
            words = ["export", str(model), "--to", str(case.path)]
        else:
            words = ["embed", str(case.path), *case.words, "--sample", "30", "--out", str(out), "--quiet"]
        before = contents(case.path)
        end = command(words, folder)
        fault = wrong(end, case.path, out, looking=words[0] == "look")
        if fault is None and contents(case.path) != before and not (words[0] == "export" and end.code == 0):
            fault = "the table is another one"
        return None if fault is None else f"{number} {case.damage}: {fault}: {end.error.strip()[-1500:]}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def contents(path):
    """Names and bytes of all files of a table."""
    return {} if path.is_symlink() else {str(file): file.read_bytes() for file in files(path) if file.is_file()}


@contextlib.contextmanager
def ready(folder):
    """Tables and a map."""
    yield Tables(folder / "whole"), prepare(folder)[0]


def main(first, last):
    found = 0
    with tempfile.TemporaryDirectory() as place, ready(Path(place)) as (tables, model):
        for number in range(first, last):
            fault = check(number, tables, model, Path(place) / str(number))
            if fault:
                found += 1
                print(fault, flush=True)
    print(f"{last - first} cases, {found} faults")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
