"""From a file to the folder of an encoder: whole or absent, and on after any accident to the same weights."""

import os
import re
import shutil
import signal
import subprocess
import sys
from functools import partial
from types import ModuleType

import h5py
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")

import tsne_ooc  # noqa: E402
from tsne_ooc import TSNE  # noqa: E402
from tsne_ooc.cli import main  # noqa: E402
from tsne_ooc.parametric import Decoder, ParametricTSNE, load  # noqa: E402
from tsne_ooc.parametric.objectives import Distillation, FieldTuning, Stage  # noqa: E402
from tsne_ooc.pipeline import embed, train  # noqa: E402
from tsne_ooc.preprocess import PCA, Preparation, Standardize  # noqa: E402
from tsne_ooc.sampling import UniformSample  # noqa: E402


def teacher(**options):
    few = {"n_iter": 30, "early_exaggeration_iter": 10, "neighbors": "exact", "random_state": 0, "perplexity": 10}
    return TSNE(**few | options)


def encoder(**options):
    few = {"network": (16, 1), "n_iter": 40, "batch_size": 64, "random_state": 0, "n_jobs": 1}
    return ParametricTSNE(**few | options)


def prepare():
    return Preparation([Standardize(), PCA(4)])


@pytest.fixture(autouse=True)
def looks(monkeypatch):
    monkeypatch.setattr(ParametricTSNE, "LOOK_EVERY", 10)


@pytest.fixture(scope="session")
def data(islands, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("X", data=islands, chunks=(30, 5))
    return path


@pytest.fixture(scope="session")
def whole(data, tmp_path_factory):
    """A run that nothing stopped."""
    before, ParametricTSNE.LOOK_EVERY = ParametricTSNE.LOOK_EVERY, 10
    out = tmp_path_factory.mktemp("whole") / "encoder"
    train(data, out=out, encoder=encoder(), tsne=teacher(), prepare=prepare())
    ParametricTSNE.LOOK_EVERY = before
    return out


def weights(folder):
    """The file of weights, whose name holds their sum."""
    (file,) = folder.glob("*.safetensors")
    return file.name


def test_a_run_gives_the_folder_of_an_estimator(whole, data, islands, tmp_path):
    model = encoder(teacher=teacher(prepare=prepare())).fit(islands)
    model.save(tmp_path / "saved")
    assert weights(whole) == weights(tmp_path / "saved")
    names = [{file.name for file in folder.iterdir()} for folder in (whole, tmp_path / "saved")]
    # A teacher that is fitted already has its preparation with it.
    assert {name for name in names[0] if not name.startswith(("teacher.preparation", "teacher.sample"))} == names[1]
    found = load(whole)
    assert (found.transform(islands) == model.transform(islands)).all()
    assert found.n_features_in_ == 5 and (found.teacher_.embedding_ == model.teacher_.embedding_).all()


def test_a_sample_teaches_as_it_does_in_memory(data, islands, tmp_path):
    train(data, out=tmp_path / "encoder", encoder=encoder(), tsne=teacher(), sample=80)
    encoder(teacher=teacher(sample=80)).fit(islands).save(tmp_path / "saved")
    assert weights(tmp_path / "encoder") == weights(tmp_path / "saved")


@pytest.mark.parametrize("sample", [0, -3, 1.5, "many"])
def test_samples_that_are_none_are_told_first(data, tmp_path, sample):
    """0 rows are not all of them."""
    with pytest.raises((ValueError, TypeError), match="sample="):
        train(data, out=tmp_path / "encoder", encoder=encoder(), tsne=teacher(), sample=sample)
    assert not (tmp_path / "encoder").exists()


@pytest.mark.parametrize("sample, most, wanted", [(None, 100, 100), (None, 99, 40), (60, 99, 60), (500, 100, 100)])
def test_the_teacher_is_of_so_many_rows(monkeypatch, islands, sample, most, wanted):
    from tsne_ooc.io import as_source
    from tsne_ooc.parametric import teaching
    from tsne_ooc.pipeline import training

    monkeypatch.setattr(teaching, "MOST_FITTED", most)
    monkeypatch.setattr(teaching, "SAMPLE", 40)
    for tsne in (None, teacher()):
        size = None if sample is None else UniformSample(sample)
        found, known, drawn = training.teacher_of(None, tsne, size, None, encoder(), as_source(islands[:100]))
        assert known["sample"] == min(drawn.size, 100) == wanted and found.sample is None


class Stop(Exception):
    pass


def stop_at(phase, done):
    def progress(*event):
        if event[:2] == (phase, done):
            raise Stop

    return progress


@pytest.mark.parametrize("phase, done, kept", [("teach", 0, 0), ("train", 25, 20), ("train", 40, 40)])
def test_a_run_that_stopped_goes_on_to_the_same_weights(whole, data, tmp_path, monkeypatch, phase, done, kept):
    out = tmp_path / "encoder"
    seen = []
    # A callback may collect what it sees; it is told from others by what it was when it was first given.
    watched = encoder(callbacks_every_iters=1, callbacks=lambda step, *rest: seen.append(step))
    asked = {"out": out, "encoder": watched, "tsne": teacher(), "prepare": prepare()}
    with pytest.raises(Stop) as stopped:
        train(data, **asked, progress=stop_at(phase, done))
    assert "go on with resume=True (--resume)" in stopped.value.__notes__[0]
    with pytest.raises(FileNotFoundError, match=r"manifest\.json is missing"):
        load(out)
    # From here on the teacher is not fitted again, nor the table prepared, and threads may be others.
    monkeypatch.setattr(TSNE, "fit", None)
    monkeypatch.setattr(Preparation, "fit", None)
    seen.clear()
    asked["encoder"].set_params(n_jobs=None)
    os.utime(data)
    train(data, **asked, resume=True)
    assert seen == [*range(kept + 1, 41)]
    assert weights(out) == weights(whole)
    assert {file.name for file in out.iterdir()} >= {file.name for file in whole.iterdir()}


def test_a_folder_that_was_cut_short_at_its_end_is_mended(whole, data, tmp_path, monkeypatch):
    out = tmp_path / "encoder"
    asked = {"out": out, "encoder": encoder(), "tsne": teacher(), "prepare": prepare()}

    def full(*arguments):
        raise OSError("no room")

    with monkeypatch.context() as broken, pytest.raises(OSError, match="no room"):
        broken.setattr("tsne_ooc.storage.seal", full)
        train(data, **asked)
    with pytest.raises(FileNotFoundError, match="manifest"):
        load(out)
    train(data, **asked, resume=True)
    assert {file.name: file.stat().st_size for file in out.iterdir() if file.suffix != ".json"} == {
        file.name: file.stat().st_size for file in whole.iterdir() if file.suffix != ".json"
    }


KILLED = """
import os, signal, sys, torch
from tsne_ooc.parametric import ParametricTSNE
from tsne_ooc.parametric.optimizer import Optimizer
from tsne_ooc.cli import main
ParametricTSNE.LOOK_EVERY = 10
learn, steps = Optimizer.step, []
def killed(self, *arguments):
    steps.append(1)
    if len(steps) == 25:
        os.kill(os.getpid(), signal.SIGKILL)
    return learn(self, *arguments)
Optimizer.step = killed
main(sys.argv[1:])
"""


def test_a_killed_command_goes_on(data, tmp_path, capsys):
    words = [
        "--perplexity",
        "10",
        "--network",
        "16x1",
        "--objective",
        "field",
        "--batches",
        "40",
        "--batch-size",
        "64",
        "--pca",
        "4",
        "--jobs",
        "1",
        "--quiet",
    ]
    commands = {name: ["train", str(data), "--out", str(tmp_path / name), *words] for name in ("killed", "whole")}
    done = subprocess.run([sys.executable, "-c", KILLED, *commands["killed"]], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with pytest.raises(FileNotFoundError, match="manifest"):
        load(tmp_path / "killed")
    assert main(commands["killed"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "is of a run that is not finished; go on with it with --resume," in error
    for name in commands:
        assert main([*commands[name], "--resume"]) == 0
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    assert not [
        file.name for file in (tmp_path / "killed").iterdir() if file.suffix not in (".npy", ".json", ".safetensors")
    ]
    # There is nothing left to do.
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "killed").iterdir()}
    assert main([*commands["killed"], "--resume"]) == 0
    assert before == {file.name: file.stat().st_mtime_ns for file in (tmp_path / "killed").iterdir()}


# -------------------------------------------------------------------------------------------- what is refused


@pytest.fixture(scope="session")
def half(data, tmp_path_factory):
    """A run that stopped after 20 of 40 batches."""
    before, ParametricTSNE.LOOK_EVERY = ParametricTSNE.LOOK_EVERY, 10
    out = tmp_path_factory.mktemp("half") / "encoder"
    with pytest.raises(Stop):
        train(
            data, out=out, encoder=encoder(callbacks_every_iters=1), tsne=teacher(), prepare=prepare(),
            progress=stop_at("train", 25),
        )  # fmt: skip
    ParametricTSNE.LOOK_EVERY = before
    return out


def refused(out, message, data, error=ValueError, **change):
    asked = {"encoder": encoder(callbacks_every_iters=1), "tsne": teacher(), "prepare": prepare(), "resume": True}
    asked |= change
    before = {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    with pytest.raises(error, match=message) as caught:
        train(data, out=out, **asked)
    assert "\n" not in str(caught.value)
    assert before == {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    "asked, error, message",
    [
        (
            lambda home: {"encoder": teacher()},
            TypeError, r"^encoder=TSNE\(.*\) is not a ParametricTSNE$",
        ),
        (
            lambda home: {"encoder": encoder(teacher=teacher())},
            ValueError, r"^encoder has a teacher or a preparation of its own; pass these as map, tsne and prepare$",
        ),
        (
            lambda home: {"encoder": encoder(prepare=prepare())},
            ValueError, r"^encoder has a teacher or a preparation of its own; pass these as map, tsne and prepare$",
        ),
        (
            lambda home: {"tsne": encoder()},
            TypeError, r"^tsne=ParametricTSNE\(.*\) is not a TSNE to be fitted; pass the folder of a fitted one as",
        ),
        (
            lambda home: {"tsne": tsne_ooc.load(home)},
            TypeError, r"^tsne=TSNE\(.*\) is not a TSNE to be fitted; pass the folder of a fitted one as",
        ),
        *(
            (
                lambda home, more=more: {"map": home, **more},
                ValueError, r"^map is a teacher that is fitted already; leave out tsne, sample and prepare$",
            )
            for more in ({"tsne": teacher()}, {"sample": 50}, {"prepare": prepare()})
        ),
    ],
)  # fmt: skip
def test_teachers_that_cannot_be(islands, tmp_path, asked, error, message):
    """Before a row is read, and before there is a folder."""
    TSNE(n_iter=0, early_exaggeration_iter=0, perplexity=5, random_state=0).fit(islands).save(tmp_path / "model")
    with pytest.raises(error) as caught:
        train(islands, out=tmp_path / "encoder", **asked(tmp_path / "model"))
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)
    assert not (tmp_path / "encoder").exists()


def test_a_batch_may_be_all_rows(islands, tmp_path):
    few = {"n_iter": 3, "validation": False, "augmentation": 0}
    model = train(islands, out=tmp_path / "encoder", encoder=encoder(batch_size=len(islands), **few), tsne=teacher())
    assert model.history_["batches"]["rows"].tolist() == [len(islands)] * 3
    with pytest.raises(ValueError, match=r"batch_size=201 is more than the 200 rows of "):
        train(islands, out=tmp_path / "more", encoder=encoder(batch_size=len(islands) + 1, **few), tsne=teacher())
    assert not (tmp_path / "more").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_what_onnx_needs_is_named(monkeypatch, tmp_path, package):
    """Both packages, each by its own name, before anything is written."""
    from tsne_ooc.parametric.onnx import export_onnx

    for name in ("onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None if name == package else ModuleType(name))
    with pytest.raises(ModuleNotFoundError, match=f"^export_onnx needs {package}, which is not installed: pip install"):
        export_onnx(torch.nn.Linear(3, 2), 3, tmp_path / "encoder.onnx")
    assert not list(tmp_path.iterdir())


def test_a_pytorch_that_cannot_write_onnx_is_named(monkeypatch, tmp_path):
    """PyTorch 2.2, which encoders may have, writes no ONNX for any number of rows."""
    from tsne_ooc.parametric.onnx import export_onnx

    for name in ("onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(torch.onnx, "export", lambda model, args, f, input_names: None)
    with pytest.raises(ModuleNotFoundError, match=r"^export_onnx needs a newer PyTorch than .*: pip install .*torch>="):
        export_onnx(torch.nn.Linear(3, 2), 3, tmp_path / "encoder.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change, message",
    [
        ({"encoder": encoder(learning_rate=0.1)}, r"learning_rate was 0\.\d+, is 0\.1;"),
        ({"encoder": encoder(n_iter=50)}, "n_iter was 40, is 50;"),
        ({"encoder": encoder(random_state=1)}, "random_state was 0, is 1;"),
        ({"tsne": teacher(perplexity=12)}, r"teacher\.perplexity was 10, is 12;"),
        ({"sample": 100}, r"teacher\.sample was 200, is 100;"),
        ({"prepare": None}, "prepare was .* is None;"),
    ],
)
@pytest.mark.parametrize("state", ["half", "whole"])
def test_another_job_is_refused_by_name(request, data, state, change, message):
    refused(request.getfixturevalue(state), message, data, **change)


@pytest.mark.parametrize("state", ["half", "whole"])
def test_another_table_is_refused(request, islands, tmp_path, state):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.create_dataset("X", data=islands[:-1], chunks=(30, 5))
    refused(request.getfixturevalue(state), r"the source: shape was \[200, 5\]", tmp_path / "data.h5")


def test_without_resume_nothing_is_touched(half, whole, data, tmp_path):
    refused(half, r"is of a run that is not finished; .*\(--resume\)", data, FileExistsError, resume=False)
    refused(whole, "holds the result of a finished run already", data, FileExistsError, resume=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "teacher").write_text("mine")
    refused(tmp_path / "mine", "holds files already", data, FileExistsError)


def test_a_changed_teacher_is_refused(half, data, islands, tmp_path):
    out = tmp_path / "encoder"
    shutil.copytree(half, out)
    shutil.rmtree(out / "training.part" / "model")
    TSNE(n_iter=5, random_state=1, neighbors="exact").fit(islands).save(out / "training.part" / "model")
    refused(out, "is not the one that this run began with; remove", data)


def test_folders_of_one_kind_do_not_take_runs_of_another(half, whole, data):
    with pytest.raises(ValueError, match="was a run of 'train', and is one of 'embed'"):
        embed(data, out=half, resume=True)
    with pytest.raises(ValueError, match="'encoder', not of a 'map'"):
        embed(data, out=whole, resume=True)


def test_an_encoder_that_was_saved_by_hand_is_left_alone(data, whole, tmp_path):
    load(whole).save(tmp_path / "encoder")
    refused(tmp_path / "encoder", "was saved by hand", data)


@pytest.mark.parametrize(
    "words, message",
    [
        ("--objective distilation", "did you mean 'distillation'"),
        ("--objective distillation:1:2:3", "'distillation:1:2:3' is not WORD:SHARE:RATE"),
        ("--objective distillation,field:x", "'field:x' is not WORD:SHARE:RATE"),
        ("--objective distillation:0,field", "share of a stage=0.0 must be a finite number greater than 0"),
        ("--objective distillation,feild", "did you mean 'field'"),
        ("--objective auto,field", "auto stands for stages"),
        ("--learning-rate 0", "--learning-rate=0.0 must be"),
        ("--batch-size 1", "--batch-size=1 must be at least 2"),
        ("--batch-size 2000", "--batch-size=2000 is more than the 200 rows of "),
        ("--network 128", "--network=128 is not WIDTHxDEPTH, such as 128x4"),
        ("--landmarks 100", "--landmarks=100 must be a multiple of 16"),
        ("--network 20x2", "network width 20 must be a multiple of 16"),
        ("--iterations 0", "--iterations=0 must be at least 1"),
        ("--device gpu", "--device='gpu' is not known"),
        ("--sample 0", "--sample=0 must be at least 1"),
        ("--perplexity 0", "--perplexity=0.0 must be"),
        ("--objective field --sample 60", "needs the affinities of all 200 rows, and the teacher has 60 of them"),
        ("--columns a,b", "has no names for its columns"),
        ("--map {whole}", "holds an encoder; the teacher is a saved model"),
        ("--map {whole} --pca 3", "--map is fitted and prepared already; leave out --pca"),
        ("--map nowhere", "there is no folder nowhere"),
        ("--onnx nowhere/encoder.onnx", "onnx"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(data, whole, tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TSNE, "fit", None)
    assert main(["train", str(data), "--out", "encoder", *words.format(whole=whole).split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("tsne-ooc: error: ") and error.count("\n") == 1 and message in error
    assert not list(tmp_path.iterdir())


def test_a_graphics_card_that_is_not_there(data, tmp_path, capsys, monkeypatch):
    def none(*arguments, device=None, **options):
        raise AssertionError("Torch not compiled with CUDA enabled")

    monkeypatch.setattr(torch, "empty", none)
    assert main(["train", str(data), "--out", str(tmp_path / "encoder"), "--device", "cuda"]) == 2
    error = capsys.readouterr().err
    assert "--device='cuda' is not available here (Torch not compiled with CUDA enabled); use 'cpu'" in error


# ------------------------------------------------------------------------------------------- a map that exists


def test_a_finished_run_teaches(data, islands, tmp_path, monkeypatch):
    run = embed(data, out=tmp_path / "map", sample=120, tsne=teacher(), prepare=prepare())
    monkeypatch.setattr(TSNE, "fit", None)
    asked = {"encoder": encoder(callbacks_every_iters=1), "map": tmp_path / "map"}
    with pytest.raises(Stop):
        train(data, out=tmp_path / "encoder", **asked, progress=stop_at("train", 15))
    model = train(data, out=tmp_path / "encoder", **asked, resume=True)
    wanted = encoder(teacher=tsne_ooc.load(tmp_path / "map" / "model")).fit(islands)
    assert (model.transform(islands) == wanted.transform(islands)).all()
    assert len(model.teacher_.embedding_) == 120 and run.embedding.shape == (200, 2)
    with h5py.File(tmp_path / "narrow.h5", "w") as file:
        file.create_dataset("X", data=islands[:, :4])
    with pytest.raises(ValueError, match=r"has 4 columns, and the map was made of 5"):
        train(tmp_path / "narrow.h5", out=tmp_path / "other", **asked)
    # Stopped before the first checkpoint there is nothing to keep.
    with pytest.raises(Stop) as stopped:
        train(data, out=tmp_path / "other", **asked, progress=stop_at("train", 5))
    assert not hasattr(stopped.value, "__notes__") and not (tmp_path / "other").exists()


def test_an_interrupt_is_not_the_end_of_the_training(data, tmp_path, capsys, monkeypatch):
    at = [25]

    def interrupt(step, *rest):
        if step in at:
            raise KeyboardInterrupt

    asked = {"out": tmp_path / "encoder", "tsne": teacher()}
    asked["encoder"] = encoder(callbacks=interrupt, callbacks_every_iters=1)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(data, **asked)
    at.clear()
    assert "--resume" in caught.value.__notes__[0] and not (tmp_path / "encoder" / "manifest.json").exists()
    train(data, **asked, resume=True)
    assert load(tmp_path / "encoder").n_iter_ == 40


def test_the_command_says_what_it_did(data, tmp_path, capsys):
    words = ["--perplexity", "10", "--network", "16x1", "--iterations", "30", "--batch-size", "64"]
    assert main(["train", str(data), "--out", str(tmp_path / "encoder"), *words]) == 0
    said = capsys.readouterr()
    assert "learnt from 30 batches in " in said.out and "rows/s), loss " in said.out
    assert "held-out rows: " in said.out and f"wrote {tmp_path / 'encoder'}: an encoder of 5 columns" in said.out
    for phase in ("fitting the sample (200 rows)", "finding what there is to learn (200 rows)"):
        assert phase in said.err
    assert main(["train", str(data), "--out", str(tmp_path / "quiet"), *words, "--quiet"]) == 0
    said = capsys.readouterr()
    assert said.out == said.err == ""
    assert weights(tmp_path / "quiet") == weights(tmp_path / "encoder")


def test_the_command_takes_stages(data, tmp_path, capsys):
    words = ["--perplexity", "10", "--network", "16x1", "--landmarks", "16", "--iterations", "40", "--jobs", "1"]
    stages = ["--objective", "distillation:0.25,field:0.75:0.5", "--learning-rate", "0.01", "--quiet"]
    assert main(["train", str(data), "--out", str(tmp_path / "encoder"), *words, *stages]) == 0
    objective = [Stage(Distillation(), 0.25), Stage(FieldTuning(), 0.75, 0.5)]
    asked = ParametricTSNE(
        network=(16, 1), landmarks=16, n_iter=40, objective=objective, learning_rate=0.01, random_state=0, n_jobs=1
    )
    train(data, out=tmp_path / "asked", encoder=asked, tsne=TSNE(perplexity=10, random_state=0))
    assert weights(tmp_path / "encoder") == weights(tmp_path / "asked")
    assert load(tmp_path / "encoder").history_["batches"]["stage"].tolist() == [0] * 10 + [1] * 30
    stages[1] = "distillation:0.25,field:0.75"
    assert main(["train", str(data), "--out", str(tmp_path / "encoder"), *words, *stages, "--resume"]) == 2
    assert "objective was " in capsys.readouterr().err


def test_the_command_trains_a_decoder_too(data, islands, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tsne_ooc.parametric.decoder.Decoder", partial(Decoder, n_iter=20))
    embed(data, out=tmp_path / "map", tsne=teacher())
    words = ["--map", str(tmp_path / "map"), "--iterations", "10", "--network", "16x1", "--jobs", "1", "--quiet"]
    assert main(["train", str(data), "--out", str(tmp_path / "one"), *words, "--decoder", "--augmentation", "0"]) == 0
    model = load(tmp_path / "one")
    assert model.inverse_transform(model.transform(islands[:7])).shape == (7, 5)
    assert main(["train", str(data), "--out", str(tmp_path / "two"), *words, "--augmentation", "1"]) == 2
    assert "--augmentation=1.0 must be less than 1" in capsys.readouterr().err and not (tmp_path / "two").exists()


def test_the_command_ends_where_nothing_gets_better(data, tmp_path, capsys):
    words = ["--iterations", "3000", "--network", "16x0", "--objective", "distillation", "--quiet"]
    assert main(["train", str(data), "--out", str(tmp_path / "encoder"), *words, "--patience", "2"]) == 0
    assert load(tmp_path / "encoder").n_iter_ < 3000
    assert main(["train", str(data), "--out", str(tmp_path / "none"), *words, "--patience", "0"]) == 2
    assert "patience" in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_the_network_goes_to_onnx_too(data, tmp_path, capsys):
    pytest.importorskip("onnxscript", reason="--onnx needs onnx and onnxscript")
    words = ["--map", str(tmp_path / "map"), "--iterations", "10", "--network", "16x1", "--quiet"]
    embed(data, out=tmp_path / "map", tsne=teacher())
    file = tmp_path / "encoder.onnx"
    assert main(["train", str(data), "--out", str(tmp_path / "encoder"), *words, "--onnx", str(file)]) == 0
    assert file.stat().st_size > 1000
    assert main(["train", str(data), "--out", str(tmp_path / "other"), *words, "--onnx", str(file)]) == 2
    assert "encoder.onnx exists already" in capsys.readouterr().err and not (tmp_path / "other").exists()


def test_too_few_rows_are_told_before_anything_is_fitted_or_written(tmp_path):
    np.save(tmp_path / "few.npy", np.zeros((2, 4), np.float32))
    with pytest.raises(ValueError, match=r"few.npy.* has 2 rows, and an encoder needs 3$"):
        train(tmp_path / "few.npy", out=tmp_path / "encoder")
    assert [file.name for file in tmp_path.iterdir()] == ["few.npy"]


def test_room_of_a_training_whose_last_stage_is_tuning():
    """It keeps two tables of places of all rows, whichever stage of several it is."""
    from tsne_ooc.parametric.room import bytes_of_training

    n, d = 1_000_000, 2
    plain, both, alone = (
        bytes_of_training(ParametricTSNE(objective=one), 0, n, 20, d, all_mapped=True)
        for one in ("distillation", "auto", FieldTuning())
    )
    assert both == alone >= plain + 8 * d * n


@pytest.mark.parametrize("network", [(256, 3), (384, 1)])
def test_a_state_takes_the_room_that_is_asked_for(data, islands, tmp_path, network):
    """Matrices between hidden layers have one moment, others two; of large networks nothing else counts."""
    from tsne_ooc.parametric.room import bytes_of_training

    out, one = tmp_path / "encoder", encoder(network=network, n_iter=20, landmarks=0)
    with pytest.raises(Stop):
        train(
            data, out=out, encoder=encoder(network=network, n_iter=20, landmarks=0, callbacks_every_iters=1),
            tsne=teacher(), progress=stop_at("train", 15),
        )  # fmt: skip
    n, p = islands.shape
    asked = bytes_of_training(one, 0, n, p, 2, all_mapped=False)
    # One beside the other while it is written.
    written = 2 * sum(file.stat().st_size for file in (out / "training.part" / "checkpoint").iterdir())
    assert 0.85 * asked <= written <= 1.02 * asked


def test_a_table_that_changed_takes_what_was_learnt_with_it():
    from tsne_ooc.parametric.lesson import _check_one_table

    removed = []

    class Changed:
        def check_unchanged(self):
            raise OSError("the table changed")

    class Kept:
        def remove(self):
            removed.append(self)

    kept = Kept()
    with pytest.raises(OSError, match="the table changed"):
        _check_one_table(Changed(), None, kept)
    assert removed == [kept]
