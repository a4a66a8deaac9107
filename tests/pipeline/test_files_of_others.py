"""What lies beside the files of a run and is not of it stays, byte for byte, whatever its name."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from forking import Forking

from tsne_ooc import TSNE, load
from tsne_ooc.cli import main
from tsne_ooc.io import NpySink
from tsne_ooc.pipeline import embed, place
from tsne_ooc.storage.ledger import Ledger
from tsne_ooc.storage.lock import Lock

X = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
# Names near those of a run: its own with more or less behind them, rounds that it has not, temporary files.
NAMES = (
    "round-1", "round-2", "round-3", "round-table", "round-robin.txt", "round-", ".model.abcdefgh.part", ".model.mine",
    "model.part", "model.old", "ledger.json.old", "ledger", ".manifest.json.old", ".manifest.txt", "manifest.json.bak",
    "embedding.npy.old", "embedding.npz", "novelty.npy.bak", "sample_rows.npy.1", "training", "notes.part", ".locked",
    "x.lock", "saving",
)  # fmt: skip


def put_strangers(folder, names=NAMES):
    """Files of these names, and every third one a folder with a file."""
    for number, name in enumerate(names):
        path = folder / name
        if number % 3:
            path.write_text(f"mine: {name}")
        else:
            path.mkdir()
            (path / "thesis.tex").write_text("years of work")


def strangers(folder, names=NAMES):
    return {name: (folder / name / "thesis.tex" if number % 3 == 0 else folder / name).read_bytes()
            for number, name in enumerate(names)}  # fmt: skip


def options(out, **more):
    tsne = TSNE(perplexity=5, n_iter=5, early_exaggeration_iter=5, random_state=0)
    return {"out": out, "sample": 100, "tsne": tsne, "block_rows": 50, **more}


class Stop(Exception):
    pass


def at(phase, deed):
    done = []

    def progress(now, rows, total):
        if now == phase and not done:
            done.append(True)
            deed()

    return progress


def test_in_the_folder_of_a_finished_run(tmp_path):
    out = tmp_path / "o"
    embed(X, **options(out))
    put_strangers(out)
    before = strangers(out)
    embed(X, **options(out, resume=True))
    # As after a kill between the manifest and the end.
    Ledger(out / "ledger.json", {"makes": ["model", "embedding.npy"]}).write()
    embed(X, **options(out, resume=True))
    assert strangers(out) == before and not (out / "ledger.json").exists()


@pytest.mark.parametrize("rounds", [1, 2])
@pytest.mark.parametrize(
    "end, phase", [("error", "sample"), ("error", "fit"), ("resume", "place"), ("finish", "place")]
)
def test_put_there_while_it_runs(tmp_path, rounds, end, phase):
    out = tmp_path / "o"
    names = [name for name in NAMES if not (rounds == 2 and name == "round-1")]

    def deed():
        put_strangers(out, names)
        if end != "finish":
            raise Stop

    progress = at(phase, deed)
    if end == "finish":
        embed(X, **options(out, rounds=rounds, progress=progress))
    else:
        with pytest.raises(Stop):
            embed(X, **options(out, rounds=rounds, progress=progress))
    if end == "resume":
        embed(X, **options(out, rounds=rounds, resume=True))
    left = {path.name for path in out.iterdir()} - set(names)
    if end != "error":
        assert left == {"manifest.json", "model", "embedding.npy", "novelty.npy", "sample_rows.npy"}
    else:
        assert left == set()
    assert all(content.startswith((b"mine", b"years")) for content in strangers(out, names).values())


@pytest.mark.parametrize("name", [".lock", "ledger.json.part", "ledger.json"])
def test_a_file_of_the_very_name_is_not_written_over(tmp_path, name):
    embed(X, **options(tmp_path / "map"))
    out = tmp_path / "o"
    for resume in (False, True):
        for run in (
            lambda resume: embed(X, **options(out, resume=resume)),
            lambda resume: place(tmp_path / "map", X, out=out, resume=resume),
        ):
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            (out / name).write_text("mine")
            with pytest.raises((OSError, ValueError)) as caught:
                run(resume)
            assert "\n" not in str(caught.value)
            assert {path.name: path.read_text() for path in out.iterdir()} == {name: "mine"}


@pytest.mark.parametrize("name", ["Y.npy.lock", "Y.npy.part", "Y.npy.ledger", "Y.npy.ledger.part"])
def test_neighbours_of_a_file_that_is_placed(tmp_path, name):
    model = TSNE(perplexity=5, n_iter=5, early_exaggeration_iter=5, random_state=0).fit(X[:100])
    (tmp_path / name).write_text("mine")
    for resume in (False, True):
        with pytest.raises((OSError, ValueError), match=r"Y\.npy"):
            model.transform_to(X, tmp_path / "Y.npy", resume=resume)
        assert (tmp_path / name).read_text() == "mine"
        assert {path.name for path in tmp_path.iterdir()} - {"Y.npy.ledger"} <= {name}
        (tmp_path / "Y.npy.ledger").unlink(missing_ok=name != "Y.npy.ledger")
        if name == "Y.npy.ledger":
            (tmp_path / name).write_text("mine")


def test_what_killed_runs_leave_is_no_hindrance(tmp_path):
    """A lock with a number, an empty one, a ledger that was cut off in its first write."""
    for number, (name, text) in enumerate(
        [(".lock", "4711"), (".lock", ""), ("ledger.json.part", ""), ("ledger.json.part", '{\n "version": 1,\n "jo')]
    ):
        out = tmp_path / str(number)
        out.mkdir()
        (out / name).write_text(text)
        embed(X, **options(out))
        assert sorted(path.name for path in out.iterdir()) == sorted(
            ["embedding.npy", "manifest.json", "model", "novelty.npy", "sample_rows.npy"]
        )


def test_a_lock_is_not_taken_from_a_pipe_or_a_text(tmp_path):
    (tmp_path / "x").write_text("12 monkeys")
    with pytest.raises(FileExistsError, match="is not a lock but a file of somebody else"), Lock(tmp_path / "x", "it"):
        pass
    assert (tmp_path / "x").read_text() == "12 monkeys"


# ---------------------------------------------------------------------------------------------- pipes and devices


@pytest.fixture(scope="module")
def processes():
    """Each with the package loaded, which takes two seconds."""
    found = Forking("import tsne_ooc.cli, tsne_ooc.pipeline; from tsne_ooc import TSNE")
    yield found
    found.close()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
@pytest.mark.parametrize("name", ["x.npy", "x.h5", "x.parquet", "x", "x.zip", "x.zarr/zarr.json", "x.zarr/.zgroup",
                                  "x.zarr/X/zarr.json", "x.zarr/X/c/1/0"])  # fmt: skip
def test_a_pipe_in_place_of_a_file(processes, tmp_path, name):
    """Nobody writes into it: to open it would wait for ever."""
    path = tmp_path / name
    table = tmp_path / name.split("/")[0]
    if "zarr" in name:
        zarr = pytest.importorskip("zarr")
        group = zarr.open_group(str(table), mode="w", zarr_format=2 if ".zgroup" in name else 3)
        group.create_array("X", data=X, chunks=(100, 4))
        path.unlink()
    os.mkfifo(path)
    program = (
        f"from tsne_ooc.cli import main; raise SystemExit(main(['embed', {str(table)!r}, '--out', '{tmp_path}/o']))"
    )
    done = processes.run(f"import signal; signal.alarm(60); {program}", dict(os.environ))
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert f"{path} is a pipe, not a file" in done.stderr and not (tmp_path / "o").exists()


def test_a_device(capsys, tmp_path):
    assert main(["embed", os.devnull, "--out", str(tmp_path / "o")]) == 2
    assert "is a device, not a file" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_a_pipe_among_the_files_of_a_run(tmp_path):
    out = tmp_path / "o"
    with pytest.raises(Stop):
        embed(X, **options(out, progress=at("place", lambda: (_ for _ in ()).throw(Stop()))))
    (out / "ledger.json").unlink()
    os.mkfifo(out / "ledger.json")
    with pytest.raises(OSError, match=r"ledger\.json is a pipe"):
        embed(X, **options(out, resume=True))
    os.mkfifo(tmp_path / "Y.npy.part")
    with pytest.raises(OSError, match=r"Y\.npy\.part is a pipe"):
        NpySink(tmp_path / "Y.npy", (3, 2))


# ----------------------------------------------------------------------------------- a finished folder, a terminal

READ_ONLY = """
import os, sys
from tsne_ooc.cli import main
assert not os.access(sys.argv[2], os.W_OK)
sys.exit(main(["embed", sys.argv[1], "--out", sys.argv[2], "--sample", "100", "--perplexity", "5", "--resume"]))
"""


@pytest.mark.skipif(os.name == "nt", reason="rights are others there")
def test_a_finished_run_that_nobody_may_write(tmp_path):
    np.save(tmp_path / "x.npy", X)
    out = tmp_path / "map"
    words = ["embed", str(tmp_path / "x.npy"), "--out", str(out), "--sample", "100", "--perplexity", "5"]
    assert main([*words, "--quiet"]) == 0
    out.chmod(0o555)
    # root without the right to write everywhere is as good as a user.
    user = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write everything, and there is no setpriv here")
        user = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    program = [*user, sys.executable, "-c", READ_ONLY, str(tmp_path / "x.npy"), str(out)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "wrote" in done.stdout
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before


@pytest.mark.parametrize("name", ["größe", "地図", os.fsdecode(b"caf\xe9")])
def test_a_terminal_that_does_not_know_the_letters(tmp_path, name):
    np.save(tmp_path / "x.npy", X)
    words = ["embed", str(tmp_path / "x.npy"), "--out", str(tmp_path / name), "--sample", "100", "--perplexity", "5"]
    done = subprocess.run(
        [sys.executable, "-m", "tsne_ooc.cli", *words], capture_output=True, timeout=100,
        env={**os.environ, "PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0", "LC_ALL": "C"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"embedding.npy" in done.stdout
    assert load(tmp_path / name / "model").embedding_.shape == (100, 2)
