"""Random projection trees, by Annoy (an optional dependency)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tsne_ooc._options import keep, pick, whole
from tsne_ooc._parallel import Threads, ranges
from tsne_ooc._typing import Float32, Named
from tsne_ooc.neighbors._found import FoundIndex
from tsne_ooc.neighbors._recall import WANTED, Wanted, check_wanted
from tsne_ooc.neighbors.base import Answer, Index, Metric, Neighbors
from tsne_ooc.neighbors.distinct import DistinctIndex, find_copies
from tsne_ooc.neighbors.saved import recall_state, saved_recall, saved_rows
from tsne_ooc.storage.codec import stored
from tsne_ooc.storage.state import Saved, State

GROUP = 1024
METRICS = {
    "euclidean": "euclidean", "l2": "euclidean", "cosine": "angular",
    "manhattan": "manhattan", "l1": "manhattan", "cityblock": "manhattan",
}  # fmt: skip


@stored
@dataclass(frozen=True)
class Annoy(Neighbors):
    """Approximate neighbours, euclidean, cosine or manhattan, by a forest of random projection trees.

    It was slower than `IVF` in all our measurements (docs/neighbors.md), and is there for comparisons. It needs
    ``pip install annoy``.

    Parameters
    ----------
    trees : int
    search_k : int or None
        Candidates for each query; None is ``trees * max(k, 20)``, doubled up to five times until `recall` is reached.
    recall : float or None
        Share of the k nearest rows to be found, and of more than 15 as for `IVF`, measured on 256 of the rows. None
        leaves `search_k` as it is.
    """

    trees: int = 50
    search_k: int | None = None
    recall: float | None = WANTED

    def __post_init__(self) -> None:
        keep(self, trees=whole("trees", self.trees, least=1))
        if self.search_k is not None:
            keep(self, search_k=whole("search_k", self.search_k, least=1))
        keep(self, recall=check_wanted(self.recall))

    def check(self, metric: Metric, params: Named | None, *, sparse: bool) -> None:
        if callable(metric):
            raise ValueError("Annoy cannot use a callable metric; use neighbors='exact' or 'pynndescent'")
        pick("metric of Annoy", metric, METRICS)
        if sparse or params:
            raise ValueError("Annoy takes dense rows and no metric_params; use neighbors='exact' or 'pynndescent'")

    def build(
        self,
        X: Float32,
        *,
        metric: Metric = "euclidean",
        metric_params: Named | None = None,
        rng: np.random.Generator,
        threads: Threads,
    ) -> Index:
        self.check(metric, metric_params, sparse=not isinstance(X, np.ndarray))
        seed = int(rng.integers(2**31 - 1))

        def planted(rows: Float32) -> AnnoyIndex:
            index = AnnoyIndex(rows, self, seed, metric, threads, Wanted.of(self.recall))
            index.forest()
            return index

        copies = find_copies(X, threads)
        return planted(X) if copies is None else DistinctIndex.build(X, copies, planted, threads)


class AnnoyIndex(FoundIndex, kind="annoy"):
    """The index of `Annoy`. The forest grows from rows and a seed; a saved index has these, and grows it on first use.

    Annoy's own file would hold the rows a second time, and would be read without any check.
    """

    def __init__(
        self, X: Float32, options: Annoy, seed: int, metric: Metric, threads: Threads, wanted: Wanted | None
    ) -> None:
        super().__init__(X, metric, threads, None if options.search_k else wanted)
        self._options, self._asked = options, wanted
        self._seed = seed
        self._forest: Any = None

    def state(self) -> State:
        own = self._options
        options = {"trees": own.trees, "search_k": own.search_k, **recall_state(self._asked)}
        return {"metric": self.metric, "seed": self._seed, **options}, {"rows": self._X}

    @classmethod
    def restore(cls, saved: Saved, threads: Threads) -> AnnoyIndex:
        metric = saved.text("metric")
        if metric not in METRICS:
            raise saved.fail(f"has the unknown metric {metric[:40]!r}")
        wanted = saved_recall(saved)
        share = None if wanted is None else wanted.share
        options = Annoy(saved.whole("trees", 1, 2**31 - 1), saved.whole_or_none("search_k", 1), share)
        return cls(saved_rows(saved), options, saved.whole("seed", 0, 2**31 - 1), metric, threads, wanted)

    def forest(self) -> Any:
        """Annoy's trees, which grow when they are first asked for."""
        if self._forest is None:
            try:
                from annoy import AnnoyIndex as Forest
            except ImportError:
                raise ImportError("neighbors='annoy' needs Annoy: pip install annoy") from None
            forest = Forest(self._X.shape[1], METRICS[self.metric])  # type: ignore[index, arg-type]
            forest.set_seed(self._seed)
            for number, row in enumerate(self._X):
                forest.add_item(number, row)
            # More threads would give the trees other seeds.
            forest.build(self._options.trees, n_jobs=1)
            self._forest = forest
        return self._forest

    def _first(self, k: int) -> int:
        return self._options.search_k or self._options.trees * max(k, 20)

    def _answer(self, Q: Float32, k: int, effort: int, *, itself: bool) -> Answer:
        forest = self.forest()
        found = np.full((len(Q), k + itself), -1, np.int64)

        def search(a: int, b: int) -> None:
            for i in range(a, b):
                near = forest.get_nns_by_vector(Q[i], k + itself, effort)
                found[i, : len(near)] = near

        self._threads.map(search, ranges(len(Q), GROUP))
        return self._completer.answer(Q, found, k, np.arange(len(Q), dtype=np.uint32) if itself else None)
