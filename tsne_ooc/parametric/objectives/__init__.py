"""What an encoder is trained for: each objective is an object with options that makes a loss for a problem."""

from __future__ import annotations

from typing import Any

from tsne_ooc._options import number, pick
from tsne_ooc.parametric.objectives.base import Loss, Objective, Stage
from tsne_ooc.parametric.objectives.batch_local import BatchLocal
from tsne_ooc.parametric.objectives.distillation import Distillation
from tsne_ooc.parametric.objectives.field import FieldTuning
from tsne_ooc.parametric.objectives.infonc import InfoNC
from tsne_ooc.parametric.objectives.negative import NegativeSampling

__all__ = ["BatchLocal", "Distillation", "FieldTuning", "InfoNC", "Loss", "NegativeSampling", "Objective", "Stage"]

WORDS: dict[str, Any] = {
    "distillation": Distillation,
    "field": FieldTuning,
    "batch_local": BatchLocal,
    "negative_sampling": NegativeSampling,
    "infonc": InfoNC,
}


# Fewer rows than these are learnt so well from their map that tuning has little left to mend: 4,500 digits lost a
# percent of their neighbours by it, and 9,000 gained as much; with landmarks 4,500 neither lose nor gain.
FEWEST_TUNED = 8_000


def resolve(objective: Any, *, tuned: bool) -> list[Stage]:
    """The stages that a word, an objective or a sequence of stages stands for.

    "auto" is distillation. Where it is `tuned`, distillation takes half of the steps, and field tuning, at 0.3 of the
    rate, the other half.

    Raises
    ------
    ValueError, TypeError
        For an unknown word, for what is not an objective, and for a stage whose share or rate is not above 0.
    """
    if isinstance(objective, str):
        if objective == "auto":
            if not tuned:
                return [Stage(Distillation())]
            return [Stage(Distillation(), 0.5), Stage(FieldTuning(), 0.5, 0.3)]
        return [Stage(pick("objective", objective, {**WORDS, "auto": None})())]
    # A class has the methods of its objects, too, but is not an objective.
    if isinstance(objective, Objective) and not isinstance(objective, type):
        return [Stage(objective)]
    if isinstance(objective, Stage) and not isinstance(objective.objective, list | tuple):
        (stage,) = resolve(objective.objective, tuned=False)
        share = number("the share of a stage", objective.share, above=0)
        rate = number("the rate of a stage", objective.rate, above=0, most=100)
        return [Stage(stage.objective, share, rate)]
    if isinstance(objective, list | tuple) and objective and not isinstance(objective, Stage):
        stages = [resolve(stage, tuned=False) for stage in objective if isinstance(stage, Stage | str | Objective)]
        if len(stages) == len(objective):
            return [stage for (stage,) in stages]
    raise TypeError(f"objective={objective!r} is neither a word ({', '.join(WORDS)}), an objective nor stages of them")
