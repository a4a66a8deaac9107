"""Strange rows that come in small groups: they are not strange to each other, but to what is around them.

`TSNE.novelty_` and `score_samples` look at 15 neighbours. A row that has 24 others of its kind in the sample sees only
these, and is as far from them as they are from each other.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from tsne_ooc._options import whole
from tsne_ooc._typing import Float32, TableLike
from tsne_ooc.novelty import FLOOR
from tsne_ooc.placement import ask

# Neighbours that tell how dense it is right beside a row. Of 25 rows on a line among 10,000 in 50 columns all were
# found with 1 and with 5, and 21 with 15 (benchmarks/anomalies.py).
BESIDE = 5


class Grouped(NamedTuple):
    """How strange rows are, where strangers may come in groups; 1 is like the surroundings.

    Parameters
    ----------
    far : ndarray of float32, shape (m,)
        How much farther the surroundings are from the row than from each other: above 1 for rows and groups that lie
        apart.
    dense : ndarray of float32, shape (m,)
        How much closer the nearest rows are than in the surroundings: above 1 within groups that are denser than what
        is around them, copies above all.
    """

    far: Float32
    dense: Float32

    @property
    def strangest(self) -> Float32:
        """The greater of both: **the higher, the stranger**."""
        return np.maximum(self.far, self.dense)


class Groups:
    """Groups of up to `group` strange rows among the fitted ones, and rows that are like them.

    The surroundings of a row are the ``2 group`` fitted rows nearest to it: most of them do not belong to a group of
    fewer than `group` rows. `far` is the row's mean distance to all of them, divided by the median of their own such
    distances; `dense` is the median over them of their mean distance to their 5 nearest others, divided by the row's
    own. Distances among copies count as 0.3 of the median of those that are not 0.

    Parameters
    ----------
    model : TSNE or ParametricTSNE
        Fitted. Of an encoder, the teacher's rows count.
    group : int, default 30
        At least 3. Time and memory of the search are in proportion to it.

    Attributes
    ----------
    fitted : Grouped
        The fitted rows, each seen from the others.

    Raises
    ------
    ValueError, TypeError
        For a group that is not such a number, or larger than a third of the fitted rows.

    References
    ----------
    Breunig et al., SIGMOD 2000, for the local ratio; they also say that it needs more neighbours than a group has rows.
    """

    def __init__(self, model: Any, group: int = 30) -> None:
        check_is_fitted(model)
        # These belong to this fit: another fit of the same model makes another map, and leaves this one as it is.
        self._asker, self._map, self._features = model, model.map_, model.features_
        inner = self._map.model
        k = 2 * whole("group", group, least=3)
        if group > inner.n // 3:
            raise ValueError(f"group={group} is more than a third of the {inner.n} fitted rows")
        indices, distances = inner.index.query_self(k)
        self._k = k
        self._around, self._beside = self._floored(distances, k), self._floored(distances, BESIDE)
        self.fitted = self._compared(indices, self._around, self._beside)

    def score(self, X: TableLike) -> Grouped:
        """How strange other rows are; a row of the fit finds itself among its neighbours, and is in `fitted`.

        Parameters
        ----------
        X : as for `TSNE.transform`

        Raises
        ------
        ValueError, TypeError
            For unusable data, naming the row and column.
        """
        n_jobs = self._asker.n_jobs
        self._map.threads.resize(n_jobs)
        n, blocks = self._features.blocks(X, type(self._asker).__name__, n_jobs)
        out = Grouped(np.empty(n, np.float32), np.empty(n, np.float32))
        with closing(blocks):
            for start, stop, block in blocks:
                for first in range(0, stop - start, _BLOCK):
                    last = min(first + _BLOCK, stop - start)
                    indices, distances = ask(self._map.model, block[first:last], self._k)
                    found = self._compared(indices, _mean(distances, self._k), _mean(distances, BESIDE))
                    out.far[start + first : start + last], out.dense[start + first : start + last] = found
        return out

    def _floored(self, distances: Float32, k: int) -> Float32:
        own = _mean(distances, k)
        apart = own[own > 0]
        return np.maximum(own, np.float32(FLOOR * np.median(apart)) if len(apart) else np.float32(1))

    def _compared(self, indices: Any, around: Float32, beside: Float32) -> Grouped:
        far = around / np.median(self._around[indices], axis=1)
        least = self._beside.min()
        dense = np.median(self._beside[indices], axis=1) / np.maximum(beside, least)
        return Grouped(far.astype(np.float32), dense.astype(np.float32))


# Rows whose surroundings are looked at together.
_BLOCK = 8192


def _mean(distances: Float32, k: int) -> Float32:
    from tsne_ooc._kernels.novelty import mean_distances

    out = np.empty(len(distances), np.float32)
    mean_distances(distances, k, out)
    return out
