"""An encoder for other programs, as ONNX."""

from __future__ import annotations

import inspect
import logging
import warnings
from pathlib import Path

import torch

from tsne_ooc._typing import Network
from tsne_ooc.io import optional
from tsne_ooc.storage.atomic import whole_file


def check_packages(what: str) -> None:
    """Raise where a package is lacking that `what` needs, or where PyTorch is too old."""
    for package in ("onnx", "onnxscript"):
        optional.load(package, "onnx", what)
    # An encoder may have been made with an older PyTorch than the extra asks for.
    if "dynamic_shapes" not in inspect.signature(torch.onnx.export).parameters:
        raise ModuleNotFoundError(
            f"{what} needs a newer PyTorch than {torch.__version__}: {optional.how_to_install('onnx')}", name="torch"
        )


def export_onnx(encoder: Network, columns: int, path: Path) -> Path:
    """Write an encoder, for any number of rows."""
    check_packages("export_onnx")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file in it, such as {path / 'encoder.onnx'}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} in")
    rows = torch.zeros((2, columns), dtype=torch.float32)
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # The exporter warns about its own inner workings.
            warnings.simplefilter("ignore")
            # Shapes by position: by name PyTorch 2.6 wants that of the input, and later ones that of the argument.
            program = torch.onnx.export(
                encoder, (rows,), input_names=["rows"], output_names=["places"], dynamo=True, verbose=False,
                dynamic_shapes=({0: torch.export.Dim("n_rows", min=1)},),
            )  # fmt: skip
    finally:
        quiet.setLevel(level)
    with whole_file(path) as part:
        program.save(str(part), external_data=False)
    return path
