"""What is typed is what the library is asked for: an option is one argument, and all others are as by default."""

from __future__ import annotations

import contextlib
import importlib
import inspect
from inspect import Parameter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tsne_ooc import TSNE
from tsne_ooc.cli.command import parser
from tsne_ooc.cli.progress import Report
from tsne_ooc.preprocess import PCA, Log1p, Missing, Normalize, OneHot, Preparation, Standardize
from tsne_ooc.refinement import Refinement
from tsne_ooc.sampling import Coverage, UniformSample


class Handed(Exception):
    """Raised in the place of the work, with what it was asked for."""


def plain(value):
    """A value that can be compared: of an estimator the parameters that are not the usual ones."""
    if hasattr(value, "get_params"):
        usual = type(value)().get_params(deep=False)
        found = value.get_params(deep=False)
        return type(value).__name__, {name: plain(one) for name, one in found.items() if one != usual[name]}
    if isinstance(value, str | int | float | type(None) | Path):
        return value
    return [plain(one) for one in value] if isinstance(value, list | tuple) else repr(value)


def asked(monkeypatch, where, words):
    """The arguments of the function at `where`, as the command hands them on, and how it names those by default."""
    module, _, name = where.rpartition(".")
    function = getattr(importlib.import_module(module), name)
    signature = inspect.signature(function)

    def instead(*given, **named):
        raise Handed(signature.bind(*given, **named))

    monkeypatch.setattr(importlib.import_module(module), name, instead)
    options = parser().parse_args(words)
    with pytest.raises(Handed) as caught:
        options.run(options)
    bound = caught.value.args[0]
    bound.apply_defaults()
    usual = {one.name: one.default for one in signature.parameters.values()}
    return dict(bound.arguments), usual


# A refinement that keeps things in the folder of the test.
SCRATCH = object()


def fitted(**parameters):
    return TSNE(random_state=0, **parameters)


def steps(*those):
    return Preparation(list(those))


FIT = [
    ("--perplexity 7", {"tsne": fitted(perplexity=7.0)}),
    ("--exaggeration 4", {"tsne": fitted(exaggeration=4.0)}),
    ("--n-components 3", {"tsne": fitted(n_components=3)}),
    ("--dof 0.5", {"tsne": fitted(dof=0.5)}),
    ("--metric cosine", {"tsne": fitted(metric="cosine")}),
    ("--neighbors exact", {"tsne": fitted(neighbors="exact")}),
    ("--affinity mixture", {"tsne": fitted(affinity="mixture")}),
    ("--schedule classic", {"tsne": fitted(schedule="classic")}),
]
FIRST = [
    ("--onehot a,b", {"prepare": steps(OneHot(["a", "b"]))}),
    ("--missing mean", {"prepare": steps(Missing("mean"))}),
    ("--normalize 100", {"prepare": steps(Normalize(100.0))}),
    ("--log1p", {"prepare": steps(Log1p())}),
    ("--standardize", {"prepare": steps(Standardize())}),
    ("--standardize robust", {"prepare": steps(Standardize(robust=True))}),
    ("--pca 3", {"prepare": steps(PCA(3))}),
]
READ = [
    ("--dataset obs/x", {"dataset": "obs/x"}),
    ('--columns "a,b",c*', {"columns": ["a,b", "c*"]}),
    ("--allow-missing-chunks", {"allow_missing_chunks": True}),
]
GOING = [("--resume", {"resume": True}), ("--jobs 3", {"n_jobs": 3}), ("--block-rows 9", {"block_rows": 9})]
#: The function behind a command, the words that it needs, what they are, and each option with what it stands for.
COMMANDS = {
    "trust": ("tsne_ooc.pipeline.trust", "map", {"run": "map"}, [
        *READ, *GOING, ("--k 4", {"k": 4}), ("--length 0.5", {"length": 0.5}), ("--directions 2", {"directions": 2}),
        ("{x}", {"source": "{x}"}), ("{x} {y}", {"source": ["{x}", "{y}"]}),
    ]),
    "place": ("tsne_ooc.pipeline.place", "map {x} --out o", {"model": "map", "source": "{x}", "out": "o"}, [
        *READ, *GOING, ("--rows 1:2", {"rows": "1:2"}), ("--novelty", {"novelty": True}),
        ("{y}", {"source": ["{x}", "{y}"]}),
    ]),
    "merge": ("tsne_ooc.pipeline.merge", "a b --out o", {"parts": ["a", "b"], "out": "o"}, []),
    "neighbors": ("tsne_ooc.pipeline.neighbors", "{x} --out o", {"source": "{x}", "out": "o"}, [
        *READ, *GOING, *FIRST, ("--k 4", {"k": 4}), ("--metric cosine", {"metric": "cosine"}),
        ("--search ivf", {"search": "ivf"}), ("--seed 5", {"random_state": 5}),
    ]),
    "embed": ("tsne_ooc.pipeline.embed", "{x} --out o --quiet", {
        "source": "{x}", "out": "o", "tsne": fitted(), "sample": UniformSample(25_000)}, [
        *READ, *[one for one in GOING if "jobs" not in one[0]], *FIRST, *FIT,
        ("--jobs 3", {"tsne": fitted(n_jobs=3)}), ("--rounds 2", {"rounds": 2}),
        ("--seed 5", {"random_state": 5, "tsne": TSNE(random_state=5)}), ("--sample 40", {"sample": UniformSample(40)}),
        ("--sample-by coverage --sample 40", {"sample": Coverage(40)}),
        ("--refine", {"refine": Refinement(perplexity=30)}),
        ("--refine --perplexity 7", {"refine": Refinement(perplexity=7.0), "tsne": fitted(perplexity=7.0)}),
        ("--refine --sample-perplexity 9", {"refine": Refinement(perplexity=30), "tsne": fitted(perplexity=9.0)}),
        ("--refine --reference 60", {"refine": Refinement(perplexity=30, reference=60)}),
        ("--refine --memory 5", {"refine": Refinement(perplexity=30, memory=5)}),
        ("--refine --scratch {tmp}", {"refine": SCRATCH}),
    ]),
    "view": ("tsne_ooc.view.view", "a/map", {"source": "a/map", "out": Path("{cwd}/a/map.html"), "columns": []}, [
        ("--color kind", {"color": "kind"}), ("--columns a,b", {"columns": ["a", "b"]}),
        ("--behind m", {"behind": "m"}), ("--data d", {"data": "d"}), ("--axes 1,3", {"axes": [1, 3]}),
        ("--title t", {"title": "t"}), ("--most 9", {"most": 9}), ("--overwrite", {"overwrite": True}),
        ("--jobs 3", {"n_jobs": 3}), ("--out p.html", {"out": Path("p.html")}),
    ]),
    "report": ("tsne_ooc.report.report", "a/map", {
        "source": "a/map", "out": Path("{cwd}/a/map.report.html"), "others": []}, [
        ("b c", {"others": ["b", "c"]}), ("--color kind", {"color": "kind"}), ("--data d", {"data": "d"}),
        ("--table t", {"table": "t"}), ("--axes 1,3", {"axes": [1, 3]}), ("--title t", {"title": "t"}),
        ("--sample 9", {"sample": 9}), ("--seed 5", {"random_state": 5}), ("--overwrite", {"overwrite": True}),
        ("--jobs 3", {"n_jobs": 3}), ("--out p.html", {"out": Path("p.html")}),
    ]),
    "plot": ("tsne_ooc.plot.draw", "map", {"source": "map"}, [
        ("--color kind", {"color": "kind"}), ("--by b", {"by": "b"}), ("--other m", {"other": "m"}),
        ("--behind m", {"behind": "m"}), ("--data d", {"data": "d"}), ("--axes 1,3", {"axes": [1, 3]}),
        ("--highlight 3,17", {"highlight": [3, 17]}), ("--ring novel", {"ring": "novel"}), ("--ring 5", {"ring": [5]}),
        ("--colors magma", {"colors": "magma"}), ("--title t", {"title": "t"}), ("--no-legend", {"legend": False}),
        ("--no-text", {"text": False}), ("--shading log", {"shading": "log"}), ("--dark", {"dark": True}),
        ("--dpi 50", {"dpi": 50}), ("--jobs 3", {"n_jobs": 3}), ("--out p.pdf", {}), ("--overwrite", {}),
    ]),
    "prepare": ("tsne_ooc.convert.convert", "a b --out o", {
        "inputs": ["a", "b"], "out": "o", "onehot": [], "coded": [], "labels": []}, [
        ("--columns a,b", {"columns": ["a", "b"]}), ("--onehot a,b", {"onehot": ["a", "b"]}),
        ("--coded a,b", {"coded": ["a", "b"]}), ("--labels a,b", {"labels": ["a", "b"]}),
        ("--standardize", {"standardize": True}), ("--like m", {"like": "m"}),
        ("--unseen reject", {"unseen": "reject"}), ("--split-by c:day", {"split_by": "c:day"}),
        ("--split-rows 9", {"split_rows": 9}), ("--format zarr", {"format": "zarr"}),
    ]),
    "look": ("tsne_ooc.io.overview.look", "{x}", {"source": "{x}"}, READ),
    "train": ("tsne_ooc.pipeline.train", "{x} --out o --quiet", {"source": "{x}", "out": "o", "encoder": {}}, [
        *READ, *FIRST, *[(words, {"tsne": one["tsne"]}) for words, one in FIT], ("--map m", {"map": "m"}),
        ("--sample 40", {"sample": 40}), ("--resume", {"resume": True}), ("--jobs 3", {"encoder": {"n_jobs": 3}}),
        ("--jobs 3 --dof 0.5", {"encoder": {"n_jobs": 3}, "tsne": fitted(dof=0.5, n_jobs=3)}),
        ("--seed 5", {"encoder": {"random_state": 5}}), ("--network 16x2", {"encoder": {"network": (16, 2)}}),
        ("--landmarks 60", {"encoder": {"landmarks": 60}}), ("--objective field", {"encoder": {"objective": "field"}}),
        ("--learning-rate 0.5", {"encoder": {"learning_rate": 0.5}}), ("--iterations 9", {"encoder": {"n_iter": 9}}),
        ("--batches 9", {"encoder": {"n_iter": 9}}), ("--patience 9", {"encoder": {"patience": 9}}),
        ("--batch-size 9", {"encoder": {"batch_size": 9}}), ("--device cpu", {"encoder": {"device": "cpu"}}),
        ("--augmentation 0.5", {"encoder": {"augmentation": 0.5}}), ("--decoder", {"encoder": {"decoder": True}}),
    ]),
    "export": ("tsne_ooc.export.export", "map --to t.csv", {"folder": "map", "to": "t.csv"}, [
        ("--like l", {"like": "l"}), ("--dataset d", {"dataset": "d"}), ("--overwrite", {"overwrite": True}),
    ]),
}  # fmt: skip
CASES = [
    (command, words, told) for command, (_, _, _, options) in COMMANDS.items() for words, told in [("", {}), *options]
]


@pytest.mark.parametrize("command, words, told", CASES, ids=[f"{command} {words}" for command, words, _ in CASES])
def test_an_option_is_one_argument_and_all_others_are_those_by_default(command, words, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, module in (("plot", "matplotlib"), ("train", "torch")):
        if command == name:
            pytest.importorskip(module)
    x, y = (str(tmp_path / f"{name}.npy") for name in "xy")
    for path in (x, y):
        np.save(path, np.eye(4, dtype=np.float32))
    here = {"x": x, "y": y, "tmp": str(tmp_path), "cwd": str(tmp_path)}

    def filled(value):
        if isinstance(value, str | Path):
            return type(value)(str(value).format(**here))
        if isinstance(value, list):
            return [filled(one) for one in value]
        if isinstance(value, dict):
            # The parameters of an encoder, which needs PyTorch.
            from tsne_ooc.parametric import ParametricTSNE

            return ParametricTSNE(**{"random_state": 0, **value})
        return Refinement(perplexity=30, scratch=str(tmp_path)) if value is SCRATCH else value

    where, needed, base, _ = COMMANDS[command]
    typed = [command, *[filled(word) for word in needed.split()]]
    # What is read comes before the options, as it is written most often.
    first = [
        filled(word) for word in words.split() if word in ("{x}", "{y}") or (command == "report" and words == "b c")
    ]
    others = [] if first else [filled(word) for word in words.replace('"', "").split()]
    if '"' in words:
        others = ["--columns", '"a,b",c*']
    at = next((at for at, word in enumerate(typed) if word.startswith("--")), len(typed))
    found, usual = asked(monkeypatch, where, [*typed[:at], *first, *typed[at:], *others])
    wanted = {**usual, **{name: filled(value) for name, value in {**base, **told}.items()}}
    progress = found.pop("progress", None)
    assert progress is None or isinstance(progress, Report)
    assert ("progress" in usual) == (progress is not None)
    # What is not known of a command is taken by its function only to say where it belongs.
    assert not found.pop("unknown", None) and Parameter.empty not in [wanted[name] for name in found]
    assert {name: plain(value) for name, value in found.items()} == {name: plain(wanted[name]) for name in found}


@pytest.mark.parametrize("command", ["trust", "place", "embed"])
def test_workers_share_the_threads_of_a_command(command, tmp_path, monkeypatch):
    made = []

    @contextlib.contextmanager
    def workers(*given, **named):
        made.append((given, named))
        yield SimpleNamespace(name="workers")

    monkeypatch.setattr("tsne_ooc.workers.LocalWorkers", workers)
    monkeypatch.setattr("tsne_ooc.workers.on_cluster", workers)
    x = str(tmp_path / "x.npy")
    np.save(x, np.eye(4, dtype=np.float32))
    where, needed, _, _ = COMMANDS[command]
    words = [command, *(word.format(x=x) for word in needed.split()), "--jobs", "3"]
    for more in (["--workers", "2"], ["--scheduler", "tcp://a:1"]):
        with monkeypatch.context() as patch:
            found, _ = asked(patch, where, [*words, *more])
        assert found["executor"].name == "workers" and found.get("n_jobs") is None
        if command == "embed":
            # The fit is done here.
            assert found["tsne"].n_jobs == 3
    assert made == [((2,), {"n_jobs": 3}), (("tcp://a:1",), {})]
