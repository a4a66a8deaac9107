"""The record of a training."""

from __future__ import annotations

import numpy as np

from tsne_ooc._typing import Array, Float64

#: Numbers of each step.
STEP = ("step", "epoch", "stage", "rows", "loss", "seconds", "gradient_norm", "rate")
#: Numbers of each look at held-out rows.
LOOK = ("step", "kl_divergence", "attraction", "recall", "distance")


class History:
    """Tables of numbers, one row for each step and for each look at held-out rows.

    Parameters
    ----------
    look : tuple of str
        Names of the numbers of a look.
    """

    def __init__(self, look: tuple[str, ...] = LOOK) -> None:
        self.look = look
        self.steps: list[tuple[float, ...]] = []
        self.looks: list[tuple[float, ...]] = []

    def tables(self) -> dict[str, Float64]:
        """The history as arrays, with a row for each step and each look."""
        return {
            "steps": np.array(self.steps, np.float64).reshape(-1, len(STEP)),
            "looks": np.array(self.looks, np.float64).reshape(-1, len(self.look)),
        }

    @classmethod
    def of(cls, steps: Float64, looks: Float64, look: tuple[str, ...] = LOOK) -> History:
        found = cls(look)
        found.steps, found.looks = [tuple(row) for row in steps.tolist()], [tuple(row) for row in looks.tolist()]
        return found

    def columns(self) -> dict[str, dict[str, Array]]:
        """The history for users: columns by name, under "batches", "epochs" and "validation".

        Loss and gradient norm of an epoch are means over its batches, "seconds" is a sum and "rate" the last one.
        """
        tables = self.tables()
        batches = dict(zip(STEP, tables["steps"].T.copy(), strict=True))
        epochs: dict[str, list[float]] = {name: [] for name in ("epoch", "loss", "seconds", "gradient_norm", "rate")}
        for epoch in np.unique(batches["epoch"]):
            inside = batches["epoch"] == epoch
            epochs["epoch"].append(epoch)
            epochs["loss"].append(_mean(batches["loss"][inside]))
            epochs["seconds"].append(batches["seconds"][inside].sum())
            epochs["gradient_norm"].append(_mean(batches["gradient_norm"][inside]))
            epochs["rate"].append(batches["rate"][inside][-1])
        return {
            "batches": batches,
            "epochs": {name: np.array(values) for name, values in epochs.items()},
            "validation": dict(zip(self.look, tables["looks"].T.copy(), strict=True)),
        }


def _mean(values: Float64) -> float:
    """The mean of the batches that had rows to learn from."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
