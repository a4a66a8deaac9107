"""A run goes on with what it began with, alone, and from undamaged files; anything else is refused by name."""

import shutil
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest
from faults import sums

from tsne_ooc import TSNE
from tsne_ooc.cli import main
from tsne_ooc.pipeline import embed, open_run, place
from tsne_ooc.preprocess import PCA, Preparation, Standardize
from tsne_ooc.storage.ledger import Ledger

ROWS = 900


class Stop(Exception):
    pass


def stop_at(rows):
    def progress(phase, done, total):
        if phase == "place" and done >= rows:
            raise Stop

    return progress


def estimator(**options):
    return TSNE(**{"perplexity": 5, "n_iter": 10, "early_exaggeration_iter": 5, "random_state": 0, **options})


def arguments(data, out, **options):
    """Of a run; `options` replace some."""
    prepare = Preparation([Standardize(), PCA(4)])
    given = {"source": data, "out": out, "dataset": "X", "sample": 60, "tsne": estimator(), "prepare": prepare}
    return {**given, "block_rows": 150, **options}


def write(path, X):
    with h5py.File(path, "w") as file:
        file.create_dataset("X", data=X, chunks=(100, X.shape[1]))
    return path


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return ((rng.normal(size=(4, 6)) * 5)[rng.integers(0, 4, ROWS)] + rng.normal(size=(ROWS, 6))).astype(np.float32)


@pytest.fixture(scope="module")
def kept(X, tmp_path_factory):
    """``data.h5``, a ``whole`` run, one ``half`` done, and ``more``: half of the rows placed on that map."""
    home = tmp_path_factory.mktemp("kept")
    data = write(home / "data.h5", X)
    embed(**arguments(data, home / "whole"))
    with pytest.raises(Stop):
        embed(**arguments(data, home / "half"), progress=stop_at(450))
    with pytest.raises(Stop):
        place(home / "whole", data, out=home / "more", dataset="X", block_rows=100, progress=stop_at(450))
    return home


@pytest.fixture
def home(kept, tmp_path):
    shutil.copytree(kept, tmp_path / "home")
    return tmp_path / "home"


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(error, message, function, folder):
    """The call fails in one line, and nothing in the folder is touched."""
    before = contents(folder)
    with pytest.raises(error, match=message) as caught:
        function()
    assert "\n" not in str(caught.value) and not hasattr(caught.value, "__notes__")
    assert contents(folder) == before


# ---------------------------------------------------------------------------------------------- something else


@pytest.mark.parametrize(
    "change, message",
    [
        ({"tsne": {"perplexity": 6}}, r"now: perplexity was 5, is 6;"),
        ({"tsne": {"random_state": 1}}, r"now: random_state was 0, is 1;"),
        ({"tsne": {"schedule": "classic"}}, r"now: schedule was None, is 'classic';"),
        ({"sample": 61}, r"now: sample\.\w+ was 60, is 61;"),
        ({"sample": np.arange(60)}, r"now: sample\.class was 'UniformSample', is 'Rows'"),
        ({"random_state": 1}, r"now: random_state was 0, is 1;"),
        ({"rounds": 2}, r"now: rounds was 1, is 2;"),
        ({"prepare": Preparation([Standardize(), PCA(3)])}, r"now: prepare was .*, is .*;"),
        ({"prepare": None}, r"now: prepare was .*, is None;"),
        ({"tsne": {"perplexity": 6}, "sample": 61}, r"now: perplexity was 5, is 6; sample\.\w+ was 60, is 61;"),
    ],
)
@pytest.mark.parametrize("folder", ["half", "whole"])
def test_other_parameters(home, folder, change, message):
    if "tsne" in change:
        change = {**change, "tsne": estimator(**change["tsne"])}
    if folder == "whole":
        message = message.replace("now: ", "another run: ")
    again = arguments(home / "data.h5", home / folder, **change)
    refused(ValueError, message, lambda: embed(**again, resume=True), home)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda X: X[:-1], r"the source: .*shape was \[900, 6\], is \[899, 6\]"),
        (lambda X: np.vstack([X[:1] + 1, X[1:]]), "the source: contents of the rows looked at have changed"),
        (lambda X: X.astype(np.float64), "the source: type of numbers was <f4, is <f8"),
    ],
)
@pytest.mark.parametrize("task", ["half", "more"])
def test_another_table(home, X, task, change, message):
    data = write(home / "data.h5", change(X))
    if task == "half":
        again = arguments(data, home / task)
        refused(ValueError, message, lambda: embed(**again, resume=True), home)
    else:
        refused(
            ValueError, message,
            lambda: place(home / "whole", data, out=home / task, dataset="X", resume=True), home,
        )  # fmt: skip


def test_another_model(home, X):
    """A valid one, in the folder of the run, and as that on which rows are placed."""
    other = embed(**arguments(home / "data.h5", home / "other", tsne=estimator(random_state=1)))
    shutil.rmtree(home / "half" / "model")
    shutil.copytree(other.folder / "model", home / "half" / "model")
    again = arguments(home / "data.h5", home / "half")
    refused(
        ValueError, r"the model in .*half/model is not the one that this run began with",
        lambda: embed(**again, resume=True), home,
    )  # fmt: skip
    refused(
        ValueError, "something else is asked for now: model was '.*, is '.*;",
        lambda: place(other.folder, home / "data.h5", out=home / "more", dataset="X", resume=True), home,
    )  # fmt: skip


def test_another_file_or_model_for_transform_to(home, X):
    model, path = estimator().fit(X[:60]), home / "Y.npy"
    with pytest.raises(Stop):
        model.transform_to(X, path, progress=stop_at(0))
    for other, table, message in [
        (estimator(random_state=1).fit(X[:60]), X, "now: it is another model;"),
        (model, X[1:], r"now: the source: shape was \[900, 6\], is \[899, 6\]"),
    ]:
        refused(
            ValueError, message, lambda other=other, table=table: other.transform_to(table, path, resume=True), home
        )
    refused(FileExistsError, r"Y\.npy\.ledger is of a run.*resume=True", lambda: model.transform_to(X, path), home)


def test_another_number_of_columns_is_told_before_anything_is_written(home, X):
    narrow = write(home / "narrow.h5", X[:, :5])
    refused(
        ValueError, "has 5 columns, and the map was made of 6",
        lambda: place(home / "whole", narrow, out=home / "new", dataset="X"), home,
    )  # fmt: skip
    assert not (home / "new").exists()


def test_what_may_change(home):
    """Threads, blocks, what is shown, and where the file is."""
    moved = (home / "data.h5").rename(home / "moved.h5")
    tsne = estimator(n_jobs=1, verbose=True, callbacks_every_iters=3)
    again = arguments(moved, home / "half", tsne=tsne, block_rows=77)
    run = embed(**again, resume=True, progress=lambda *event: None)
    assert sums(run.folder) == sums(home / "whole")
    assert embed(**again, resume=True).folder == run.folder
    more = place(run.folder, moved, out=home / "more", dataset="X", n_jobs=1, block_rows=33, resume=True)
    assert sums(more.folder) == sums(place(run.folder, moved, out=home / "new", dataset="X").folder)


def test_threads_of_this_attempt_are_used(home, monkeypatch):
    """A saved model brings the number of threads it was fitted with."""
    seen = []
    real = TSNE.place_prepared
    monkeypatch.setattr(TSNE, "place_prepared", lambda self, rows: (seen.append(self.n_jobs), real(self, rows))[1])
    embed(**arguments(home / "data.h5", home / "half", tsne=estimator(n_jobs=1)), resume=True)
    assert set(seen) == {1}


def test_rows_on_the_saved_map_come_as_they_are_in_the_table(home, X):
    """The model of a run prepares them; in memory, too."""
    from tsne_ooc import load

    model = load(home / "whole" / "model")
    placed = np.setdiff1d(np.arange(ROWS), open_run(home / "whole").sample_rows)
    np.testing.assert_array_equal(model.transform(X[placed]), open_run(home / "whole").embedding[placed])


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", ["model", "embedding.npy", "sample_rows.npy"])
def test_files_of_others_are_not_taken_for_ours(home, X, name, resume):
    """Somebody saved a model, or an array, in a folder of their own, under the name that a run would use."""
    mine = home / "mine"
    mine.mkdir()
    if name == "model":
        estimator().fit(X[:60]).save(mine / name)
    else:
        np.save(mine / name, X)
    again = arguments(home / "data.h5", mine)
    refused(FileExistsError, "mine holds files already; name a new folder", lambda: embed(**again, resume=resume), home)


# ------------------------------------------------------------------------------------------------------ damage


def flipped(path, rng, first=0, last=None):
    data = bytearray(path.read_bytes())
    at = int(rng.integers(first, last or len(data)))
    data[at] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


MODEL = ["model/manifest.json", "model/model.embedding.npy"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["ledger.json", "embedding.npy.part", "novelty.npy.part", "sample_rows.npy", *MODEL])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_damaged_files_of_a_half_done_run(home, name, seed, damage):
    path = home / "half" / name
    assert path.exists(), sorted(contents(home / "half"))
    rng = np.random.default_rng(seed)
    if damage == "flip":
        # Behind the rows that are marked as done anything may stand.
        width = {"embedding.npy.part": 8, "novelty.npy.part": 4}.get(name)
        flipped(path, rng, last=None if width is None else 128 + 450 * width)
    elif damage == "cut":
        data = path.read_bytes()
        path.write_bytes(data[: int(rng.integers(0, len(data) - 1))])
    elif name == "ledger.json":
        return
    else:
        path.unlink()
    again = arguments(home / "data.h5", home / "half")
    refused((ValueError, OSError), path.name.replace(".", r"\."), lambda: embed(**again, resume=True), home)


def test_rows_behind_the_mark_may_be_anything(home):
    for name in ("embedding", "novelty"):
        with open(home / "half" / f"{name}.npy.part", "ab") as file:
            file.write(b"\xff" * 999)
    embed(**arguments(home / "data.h5", home / "half"), resume=True)
    assert sums(home / "half") == sums(home / "whole")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["manifest.json", "embedding.npy", "novelty.npy", "sample_rows.npy"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_damaged_files_of_a_finished_run(home, name, seed, damage):
    path = home / "whole" / name
    rng = np.random.default_rng(seed)
    if damage == "flip":
        flipped(path, rng)
    elif damage == "cut":
        data = path.read_bytes()
        path.write_bytes(data[: int(rng.integers(0, len(data) - 1))])
    else:
        path.unlink()
    message = path.name.replace(".", r"\.")
    # Numbers that changed in an array are found by those who ask for it; all else by everybody.
    verify = damage == "flip" and name != "manifest.json"
    refused((ValueError, OSError), message, lambda: open_run(home / "whole", verify=verify), home)


def test_a_finished_run_is_not_begun_again(home):
    again = arguments(home / "data.h5", home / "whole")
    refused(FileExistsError, "whole holds the result of a finished run already", lambda: embed(**again), home)
    before = contents(home)
    assert embed(**again, resume=True).manifest == open_run(home / "whole").manifest
    assert contents(home) == before


# -------------------------------------------------------------------------------------------- two runs at once


def test_two_runs_into_one_folder(home, capsys):
    """The second is told who the first is; the first, which was stopped meanwhile, ends as if nothing had been."""
    out = home / "both"
    words = ["embed", str(home / "data.h5"), "--sample", "60", "--perplexity", "5", "--out", str(out)]
    first = subprocess.Popen(
        [sys.executable, "-m", "tsne_ooc.cli", *words, "--block-rows", "10"], stderr=subprocess.PIPE, text=True
    )
    try:
        while "placing rows" not in first.stderr.readline():
            assert first.poll() is None
        first.send_signal(signal.SIGSTOP)
        assert Ledger.read(out / "ledger.json").n_rows < ROWS
        for more in ([], ["--resume"]):
            assert main([*words, *more]) == 2
            assert capsys.readouterr().err == (
                f"tsne-ooc: error: {out} is being written by another run (process {first.pid}); "
                "wait for it or stop it\n"
            )
        first.send_signal(signal.SIGCONT)
        first.stderr.read()
        assert first.wait(60) == 0
    finally:
        first.kill()
        first.wait()
        first.stderr.close()
    assert main([*words[:-1], str(home / "alone"), "--quiet"]) == 0
    assert sums(out) == sums(home / "alone")
