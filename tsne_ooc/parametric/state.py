"""The state of a training: all that changes from batch to batch, except for what the objective keeps for itself."""

from __future__ import annotations

import math

from tsne_ooc._typing import Arrays, Network
from tsne_ooc.parametric.checkpoint import Checkpoint, put_weights, weights_of
from tsne_ooc.parametric.history import History
from tsne_ooc.parametric.objectives import Loss, Stage
from tsne_ooc.parametric.optimizer import Optimizer
from tsne_ooc.parametric.validation import Look


class Best:
    """The best weights of a stage so far, including those that it began with."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget the best weights: values of one objective mean nothing to another."""
        self.value, self.since, self.step, self.weights = math.inf, 0, 0, Arrays()

    def see(self, value: float, step: int, network: Network) -> None:
        self.since += 1
        if value < self.value:
            self.value, self.since, self.step, self.weights = value, 0, step, weights_of(network)


class Training:
    """A network in training.

    Parameters
    ----------
    network : torch.nn.Module
    rate : float
        Full rate of its optimisers.
    look : tuple of str
        Names of the numbers of a look at held-out rows.
    """

    def __init__(self, network: Network, rate: float, look: tuple[str, ...]) -> None:
        self.network, self.optimizer = network, Optimizer(network, rate)
        self.history, self.best = History(look), Best()

    @property
    def step(self) -> int:
        """Batches so far."""
        return len(self.history.steps)

    def look(self, stage: Stage, loss: Loss, validation: Look | None) -> None:
        """Measure how good the network is now: with held-out rows, or else as the objective judges all rows."""
        if validation is None:
            value = loss.judge(self.network)
        else:
            looks = self.history.looks
            # The end of one stage is the beginning of the next, and is looked at once.
            if not looks or looks[-1][0] != self.step:
                looks.append((self.step, *validation(self.network)))
            value = validation.measures(*looks[-1][1:]).judged(stage.objective.needs, loss.exaggeration)
        if value is not None:
            self.best.see(value, self.step, self.network)

    def save(self, checkpoint: Checkpoint, own: Arrays) -> None:
        """Keep the state, and what the objective has of its `own`."""
        best = self.best
        content = {
            "step": self.step,
            "since": best.since,
            "kept": best.step,
            "best": best.value if math.isfinite(best.value) else None,
        }
        groups = {
            "weights": weights_of(self.network),
            "optimizer": self.optimizer.state(),
            "best": best.weights,
            "history": self.history.tables(),
            "objective": own,
        }
        checkpoint.write(content, groups)

    def restore(self, checkpoint: Checkpoint) -> Arrays:
        """Go on from what `save` kept; return what the objective had of its own."""
        content, groups = checkpoint.read()
        best, history = self.best, groups["history"]
        best.since, best.step, best.weights = int(content["since"]), int(content["kept"]), groups.get("best", {})
        best.value = math.inf if content["best"] is None else float(content["best"])
        put_weights(self.network, groups["weights"])
        self.optimizer.restore(groups.get("optimizer", {}))
        self.history = History.of(history["steps"], history["looks"], self.history.look)
        return groups.get("objective", {})

    def end(self) -> int:
        """Give the network the best weights; return after how many batches it had them."""
        if not self.best.weights:
            return self.step
        put_weights(self.network, self.best.weights)
        return self.best.step
