"""Draw the picture of the README: a map of cells by their types, and by how far to trust their places.

    python tools/readme_picture.py DATA

DATA holds pbmc3k_pca.npz (10x, CC BY 4.0): 50 components of 2,638 blood cells, and the type of each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tsne_ooc import TSNE
from tsne_ooc.plot import scatter
from tsne_ooc.trust import scores

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "cells.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of the file")
    cells = np.load(parser.parse_args().data / "pbmc3k_pca.npz")
    types = pd.Categorical.from_codes(cells["y"], cells["y_names"].astype(str))
    model = TSNE(random_state=0).fit(cells["X"])
    moved = scores(model, cells["X"]).perturbation
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    scatter(model.embedding_, types, ax=left, title="what they are", text=True, legend=False)
    # The last hundredth would take all the colours.
    shown = np.minimum(moved, np.quantile(moved, 0.99))
    scatter(model.embedding_, shown, ax=right, title="how far their places may move, in units of the map")
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
