"""What pictures.md says of other programs: each line is run where the program is installed."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "pictures.md"
LINES = dict(re.findall(r"^\| ([\w-]+)[^|]*\| `([^`]+\))` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
MODULES = {"scanpy": "scanpy", "datamapplot": "datamapplot", "jupyter-scatter": "jscatter", "datashader": "datashader"}


def test_the_page_has_the_lines():
    assert set(LINES) == set(MODULES)


@pytest.mark.parametrize("program", MODULES)
@pytest.mark.filterwarnings("ignore")
def test_each_line_runs(program):
    module = MODULES[program]
    pytest.importorskip(module, reason=f"{program} is not installed")
    if program != "jupyter-scatter":
        import matplotlib

        matplotlib.use("Agg")
    import anndata

    Y = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    labels = np.array(["B", "T", "NK"])[np.arange(300) % 3]
    obs = pd.DataFrame({"cell_type": pd.Categorical(labels)}, index=[f"cell{i}" for i in range(300)])
    adata = anndata.AnnData(np.zeros((300, 2), np.float32), obs=obs, obsm={"X_tsne": Y})
    names = {module: importlib.import_module(module), "pandas": pd, "Y": Y, "labels": labels, "adata": adata}
    exec(LINES[program], names)
