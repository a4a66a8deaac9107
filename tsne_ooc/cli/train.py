"""``tsne-ooc train``: a table in a file becomes a folder with an encoder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsne_ooc._options import counted
from tsne_ooc.cli.fitting import (
    MAP,
    PREPARATION,
    add_map,
    add_preparation,
    given,
    preparation_of,
    shows_bars,
    tsne_of,
)
from tsne_ooc.cli.probe import check_readable
from tsne_ooc.cli.progress import Report
from tsne_ooc.cli.shared import (
    Commands,
    Group,
    add_command,
    add_dry_run,
    add_input,
    add_running,
    check_free,
    data_of,
    filled_in,
    probing,
    say,
)

if TYPE_CHECKING:
    from tsne_ooc.estimator import TSNE
    from tsne_ooc.parametric import ParametricTSNE

_AFTER = """\
what is written to the folder:
  weights.*.safetensors   the network
  teacher.*.npy           the map it learnt from
  manifest.json           parameters, checksums, times; written last, so a folder that has one is whole

use it with:
  tsne-ooc place encoder new.h5 --out map
  tsne_ooc.parametric.load("encoder").transform(rows)
"""


def add(commands: Commands) -> None:
    """Add the command to those there are."""
    parser = add_command(
        commands,
        "train",
        help="train a network that maps rows (needs PyTorch)",
        description="Fit a map with t-SNE, the teacher, and train a network to put rows where the teacher would.",
        after=_AFTER,
        examples="""
            cells.h5ad --log1p --pca 50 --out encoder
            cells.h5ad --log1p --pca 50 --out encoder --dry-run
            cells.h5ad --log1p --pca 50 --out encoder --resume
            mnist.h5 --dataset X --network 512x4 --decoder --out encoder
            cells.h5ad --map map --onnx encoder.onnx --out encoder
        """,
    )
    parser.set_defaults(run=run)
    add_input(parser)
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder to write; must be new or empty")
    add_preparation(parser.add_argument_group("what is done to the rows first, in this order"))
    _add_teacher(parser.add_argument_group("the map it learns from"))
    _add_network(parser.add_argument_group("the network"))
    running = parser.add_argument_group("running")
    add_dry_run(running)
    add_running(running)


def _add_teacher(group: Group) -> None:
    group.add_argument("--map", metavar="FOLDER", help="a map that exists: a saved model, or a finished run")
    group.add_argument(
        "--sample", type=int, metavar="N", help="rows to fit (default: all of up to 100,000, and 25,000 of more)"
    )
    group.add_argument(
        "--graph", metavar="FOLDER",
        help="neighbours of all rows that tsne-ooc neighbors has searched, prepared as here: all rows are fitted",
    )  # fmt: skip
    add_map(group)


def _add_network(group: Group) -> None:
    group.add_argument(
        "--network", metavar="WIDTHxDEPTH", help="units of a hidden layer, and hidden layers (default: 128x4)"
    )
    group.add_argument(
        "--landmarks", type=int, metavar="N",
        help="rows that it compares each row with, a multiple of 16 (default: 1024, fewer for small or wide tables)",
    )  # fmt: skip
    group.add_argument(
        "--objective", metavar="WORD[:SHARE[:RATE]],...",
        help="distillation, field, batch_local, negative_sampling or infonc; or several, one after the other, with "
        "shares of the batches and factors on the rate: distillation:0.3,field:0.7 (default: auto, which is "
        "distillation, and then field:1:0.3 for as long where all rows are fitted and at least 8,000)",
    )  # fmt: skip
    group.add_argument(
        "--learning-rate", type=float, metavar="RATE", help="rate of AdamW, and a tenth of Muon's (default: 0.006)"
    )
    group.add_argument(
        "--iterations", "--batches", type=int, metavar="N", dest="n_iter", help="batches to learn from (default: 3000)"
    )
    group.add_argument(
        "--patience", type=int, metavar="N",
        help="end when N looks at held-out rows, one every 500 batches, find nothing better (default: never)",
    )  # fmt: skip
    group.add_argument("--batch-size", type=int, metavar="N", help="rows of a batch (default: 2048, or all if fewer)")
    group.add_argument(
        "--shuffle",
        choices=("full", "buffer", "batch"),
        help="order of rows (default: full up to 100,000 rows, and for more buffer, which reads fast)",
    )
    group.add_argument(
        "--augmentation", type=float, metavar="SHARE",
        help="share of rows that are moved among their neighbours; 0 for a map of only these rows (default: 0.5)",
    )  # fmt: skip
    group.add_argument("--decoder", action="store_true", help="also learn the way back, from places to rows")
    group.add_argument("--device", help="cpu or cuda (default: the graphics card where PyTorch has one)")
    group.add_argument("--seed", type=int, default=0, help="seed of sample, fit and training (default: 0)")
    group.add_argument("--onnx", metavar="FILE", help="also write the network as ONNX (needs onnx and onnxscript)")


# Options of the encoder, by its names for them.
_ENCODER = (
    "landmarks", "learning_rate", "n_iter", "patience", "batch_size", "shuffle", "augmentation", "decoder", "device",
)  # fmt: skip


def run(options: argparse.Namespace) -> int:
    from tsne_ooc._options import whole

    whole("--seed", options.seed, least=0)
    if options.sample is not None:
        whole("--sample", options.sample, least=1)
    own = given(options, (*PREPARATION, *MAP, "sample", "graph"))
    if options.map is not None and own:
        word = next(iter(own)).replace("_", "-")
        raise ValueError(f"--map is fitted and prepared already; leave out --{word}, or --map to fit another one")
    network = None if options.network is None else _network(options.network)
    check_readable(options)
    from tsne_ooc.parametric import ParametricTSNE
    from tsne_ooc.pipeline import train

    if options.onnx is not None:
        _check_onnx(Path(options.onnx), options.resume)
    asked = {**given(options, _ENCODER), "network": network, "objective": _objective(options.objective)}
    encoder = ParametricTSNE(
        **{name: value for name, value in asked.items() if value is not None},
        n_jobs=options.jobs,
        random_state=options.seed,
        verbose=shows_bars(options),
    )
    what = {
        "dataset": options.dataset, "columns": options.columns, "allow_missing_chunks": options.allow_missing_chunks,
        "encoder": encoder, "map": options.map, "tsne": _teacher(options), "sample": options.sample,
        "prepare": preparation_of(options),
    }  # fmt: skip
    if options.dry_run:
        from tsne_ooc.cli.forecast_train import forecast_train

        check_free(options)
        print(forecast_train(data_of(options), Path(options.out), tell=probing(options), **what))
        return 0
    with Report(options.quiet) as report:
        model = train(data_of(options), **what, out=options.out, resume=options.resume, progress=report)
    prepared = None if options.map is not None else model.preparation_
    filled = filled_in(None if prepared is None else prepared.filled)
    say(options, "\n".join([*_read(options.out), *filled, _summary(model, options.out)]))
    if options.onnx is not None:
        say(options, f"wrote {model.export_onnx(options.onnx)}")
    return 0


def _teacher(options: argparse.Namespace) -> TSNE | None:
    if options.graph is None:
        return tsne_of(options) if given(options, MAP) else None
    from tsne_ooc.neighbors import Graph

    if options.sample is not None:
        raise ValueError("--graph has the neighbours of all rows; leave out --sample")
    return tsne_of(options).set_params(neighbors=Graph.open(options.graph))


def _network(text: str) -> tuple[int, int]:
    width, x, depth = text.lower().partition("x")
    if not (x and width.isdecimal() and depth.isdecimal()):
        raise ValueError(f"--network={text} is not WIDTHxDEPTH, such as 128x4")
    return int(width), int(depth)


def _objective(text: str | None) -> Any:
    """The objective as `ParametricTSNE` takes it: a word, or stages."""
    if text is None or not set(text) & set(",:"):
        return text
    from tsne_ooc.parametric.objectives import Stage, resolve

    stages = []
    for part in text.split(","):
        word, *numbers = part.split(":")
        try:
            if len(numbers) > 2:
                raise ValueError
            share, rate = ([float(number) for number in numbers] + [1.0, 1.0])[:2]
        except ValueError:
            raise ValueError(
                f"--objective={text}: {part!r} is not WORD:SHARE:RATE, such as distillation:0.3,field:0.7"
            ) from None
        if word == "auto":
            raise ValueError(f"--objective={text}: auto stands for stages of its own; name their objectives")
        stages.append(Stage(resolve(word, tuned=True)[0].objective, share, rate))
    return stages


def _check_onnx(path: Path, resume: bool) -> None:
    """Raise where the file could not be written, before the training and not after it."""
    from tsne_ooc.parametric.onnx import check_packages

    check_packages("--onnx")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} in")
    if path.exists() and not resume:
        raise FileExistsError(f"{path} exists already; name another file with --onnx, or remove it first")


def _read(out: str) -> list[str]:
    from tsne_ooc import storage
    from tsne_ooc.io.told import in_words
    from tsne_ooc.pipeline.models import ENCODER

    return in_words(storage.read_folder(Path(out), ENCODER, verify=False).content.get("read", {}))


def _summary(model: ParametricTSNE, out: str) -> str:
    batches, looks = model.history_["batches"], model.history_["validation"]
    seconds = float(batches["seconds"].sum())
    rows = int(batches["rows"].sum())
    lines = [
        f"learnt from {counted(model.n_iter_, 'batches')} in {seconds:.1f} s ({rows / max(seconds, 1e-3):,.0f} "
        f"rows/s), loss {batches['loss'][-1]:.4g}"
    ]
    if model.best_iter_ < model.n_iter_:
        lines.append(f"the encoder is that of batch {model.best_iter_:,}, the best one for held-out rows")
    for at in [at for at, step in enumerate(looks["step"]) if step == model.best_iter_]:
        lines.append(
            f"held-out rows: {looks['distance'][at]:.3f} widths of the map from where the teacher has them, "
            f"{looks['recall'][at]:.1%} of their 10 nearest rows kept"
        )
    lines.append(
        f"wrote {out}: an encoder of {counted(model.n_features_in_, 'columns')}; next, tsne-ooc place {out} FILE "
        "--out map"
    )
    return "\n".join(lines)
