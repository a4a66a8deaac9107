"""An encoder for other programs, as ONNX."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import torch

from tsne_ooc._typing import Network
from tsne_ooc.io import optional
from tsne_ooc.storage.atomic import whole_file


def export_onnx(encoder: Network, columns: int, path: Path) -> Path:
    """Write an encoder, for any number of rows."""
    optional.load("onnx", "onnx", "export_onnx")
    optional.load("onnxscript", "onnx", "export_onnx")
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
            program = torch.onnx.export(
                encoder, (rows,), input_names=["rows"], output_names=["places"], dynamo=True, verbose=False,
                dynamic_shapes={"x": {0: torch.export.Dim("n_rows", min=1)}},
            )  # fmt: skip
    finally:
        quiet.setLevel(level)
    with whole_file(path) as part:
        program.save(str(part), external_data=False)
    return path
