"""How faithful a map is to its rows, beside the first principal components and chance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tsne_ooc._labels import Classes
from tsne_ooc._options import counted, whole
from tsne_ooc._parallel import ranges
from tsne_ooc._random import generator
from tsne_ooc._typing import Array, Float32, Float64, Int64
from tsne_ooc.io import iterate
from tsne_ooc.metrics._common import GROUP
from tsne_ooc.metrics._space import Space
from tsne_ooc.neighbors.metrics import PACKED
from tsne_ooc.preprocess import PCA, Preparation
from tsne_ooc.report.estimates import Estimate, correlation, jackknife, mean_of, rank_correlation
from tsne_ooc.sampling import take

#: Numbers that the drawn rows are compared with, times how many rows these are: a thousand of 50 columns among 1.3
#: million.
COMPARED = 65_000_000_000
#: Rows that are drawn at least and at most.
FEWEST, MOST = 100, 1000
#: Rows that stand for all others where a percent of them is asked for.
OTHERS = 20_000
# Numbers of rows that are held at a time.
_NUMBERS = 25_000_000
#: Rows whose distances to each other are ranked, unless all rows are looked at.
PAIRED = 500
#: Neighbours of the recalls, of trustworthiness and continuity, of local radii.
NEAR, WIDER, AROUND = 10, 50, 30


class Measure(NamedTuple):
    """One number of a map.

    Parameters
    ----------
    name : str
    map : Estimate
    components : Estimate or None
        What the first principal components reach, where they were tried.
    chance : float
        What places at random would reach.
    tells : str
        What it says.
    """

    name: str
    map: Estimate
    components: Estimate | None
    chance: float
    tells: str


class Faithfulness(NamedTuple):
    """All that was measured.

    Parameters
    ----------
    rows : int
        Rows of the map that have a place.
    drawn : int
        Rows that were looked at.
    others : int
        Rows that stood for all where a percent of them was asked for.
    measures : list of Measure
    notes : list of str
        What could not be measured, and why.
    """

    rows: int
    drawn: int
    others: int
    measures: list[Measure]
    notes: list[str]

    def find(self, name: str) -> Measure | None:
        """The measure whose name begins so."""
        return next((one for one in self.measures if one.name.startswith(name)), None)


def faithfulness(
    space: Space, Y: Array, labels: Classes | None = None, *, sample: int | None = None, seed: int = 0
) -> Faithfulness:
    """Measure a map of the rows of a table, all of which have a place.

    Parameters
    ----------
    space : Space
        The rows as the map was given them.
    Y : array of shape (n, d)
    labels : Classes, optional
    sample : int, optional
        Rows to look at; each is compared with all others.
    seed : int
    """
    n, p = space.table.shape
    if n < 5:
        return Faithfulness(n, n, n, [], [f"{counted(n, 'rows')} have hardly any neighbours to speak of"])
    q = _sample(n, p) if sample is None else min(n, whole("sample", sample, least=2))
    rows = np.sort(generator(seed, "report").choice(n, q, replace=False))
    drawn = generator(seed, "others").choice(n, min(n, OTHERS, max(FEWEST, _NUMBERS // p)), replace=False)
    others = np.sort(drawn)
    held = take(space.table, others)
    coordinates, means, notes = _read(space, held, Y.shape[1], labels)
    maps = {"map": Space(Y, space.threads)}
    if coordinates is not None:
        maps["components"] = Space(coordinates, space.threads)
    found: dict[str, dict[str, Estimate]] = {name: {} for name in maps}
    look = _Look(space, maps, rows, n)
    chance: dict[str, float] = {}
    for k in look.depths():
        name = f"neighbour recall, {k}"
        chance[name] = k / (n - 1)
        for map in maps:
            found[map][name] = look.recall(map, k)
    k = max(1, round(len(others) / 100))
    if k >= 2:
        name = "neighbour recall, 1 % of the rows"
        chance[name] = k / (len(others) - 1)
        for map, value in _percent(space, maps, rows, others, held, k, n).items():
            found[map][name] = value
    k = look.near
    for name, values in (("trustworthiness", look.trustworthiness()), ("continuity", look.continuity())):
        chance[name] = 1 - (n - 1 - k) * (n - k) / ((n - 1) * (2 * n - 3 * k - 1))
        for map, value in values.items():
            found[map][name] = value
    chance["rank correlation of distances"] = chance["density"] = 0.0
    for map, value in look.distances().items():
        found[map]["rank correlation of distances"] = value
        found[map]["density"] = look.density(map)
    if means is not None:
        k = _near_classes(len(means))
        name = f"nearest class means, {k} of {len(means) - 1}"
        chance[name] = k / (len(means) - 1)
        assert labels is not None
        for map, one in maps.items():
            found[map][name] = _means_kept(space, means, _class_means(one.table, labels.codes, len(labels.names)), k)
    measures = [
        Measure(name, found["map"][name], found.get("components", {}).get(name), value, _TELLS[name.partition(",")[0]])
        for name, value in chance.items()
    ]
    return Faithfulness(n, q, len(others), measures, notes)


_TELLS = {
    "neighbour recall": "share of a row's nearest rows in the data that are among as many nearest on the map",
    "trustworthiness": "near on the map is near in the data: what intrudes costs its rank; 1 is best",
    "continuity": "near in the data is near on the map: what is torn away costs its rank; 1 is best",
    "rank correlation of distances": "are far rows farther on the map than near ones: the large picture",
    "density": "correlation of the logarithms of local radii (30 nearest rows); t-SNE makes dense and thin alike",
    "nearest class means": "share of each class's nearest other classes that stay nearest, by their means",
}


def _sample(n: int, p: int) -> int:
    """How many rows are looked at: what the rows near them take of memory is a bound for wide tables."""
    return min(n, MOST, max(FEWEST, COMPARED // (n * p)), max(20, _NUMBERS // (NEAR * p)))


class _Look:
    """Rows that were drawn, and their nearest others in the data and on each map."""

    def __init__(self, space: Space, maps: dict[str, Space], rows: Int64, n: int) -> None:
        self.space, self.maps, self.rows, self.n = space, maps, rows, n
        self.near = max(1, min(NEAR, (n - 1) // 2 - 1))
        self.around = min(AROUND, n - 1)
        most = max(self.around, *self.depths())
        self.data = space.nearest(rows, most)
        self.found = {name: one.nearest(rows, most) for name, one in maps.items()}

    def depths(self) -> list[int]:
        """Numbers of neighbours of the recalls: those that are few beside all rows."""
        return [k for k in (NEAR, WIDER) if k < self.n / 2] or [self.near]

    def recall(self, map: str, k: int) -> Estimate:
        true, there = self.data[0][:, :k], self.found[map][0][:, :k]
        hits = [np.isin(true[i], there[i], assume_unique=True).mean() for i in range(len(true))]
        return mean_of(np.array(hits), self.n)

    def trustworthiness(self) -> dict[str, Estimate]:
        """Of each map; all of them are looked at in one pass over the data."""
        k = self.near
        targets = np.concatenate([near[:, :k] for near, _ in self.found.values()], axis=1)
        nearer = self.space.nearer(self.rows, targets)
        return {name: self._ranked(nearer[:, at * k : (at + 1) * k]) for at, name in enumerate(self.maps)}

    def continuity(self) -> dict[str, Estimate]:
        targets = self.data[0][:, : self.near]
        return {name: self._ranked(one.nearer(self.rows, targets)) for name, one in self.maps.items()}

    def _ranked(self, nearer: Int64) -> Estimate:
        n, k = self.n, self.near
        excess = np.maximum(nearer + 1 - k, 0).sum(axis=1, dtype=np.float64)
        return mean_of(1 - excess * 2 / (k * (2 * n - 3 * k - 1)), n)

    def distances(self) -> dict[str, Estimate]:
        """Spearman's correlation of the distances of the rows to each other."""
        # All pairs are sorted ten times over.
        rows = self.rows if len(self.rows) >= self.n else self.rows[:: -(-len(self.rows) // PAIRED)]
        some = take(self.space.table, rows)
        apart = self.space.between(some, some)
        found = {}
        for name, one in self.maps.items():
            places = take(one.table, rows)
            on_map = one.between(places, places)

            def statistic(kept: Int64, on_map: Float64 = on_map) -> float:
                i, j = np.triu_indices(len(kept), 1)
                i, j = kept[i], kept[j]
                return rank_correlation(apart[i, j], on_map[i, j])

            found[name] = jackknife(statistic, len(rows), self.n)
        return found

    def density(self, map: str) -> Estimate:
        radii = [near[:, : self.around].mean(axis=1) for near in (self.data[1], self.found[map][1])]
        # Copies of each other have no radius.
        there = (radii[0] > 0) & (radii[1] > 0)
        x, y = (np.log(radius[there]) for radius in radii)
        return jackknife(lambda kept: correlation(x[kept], y[kept]), len(x), self.n)


def _read(
    space: Space, held: Float32, d: int, labels: Classes | None
) -> tuple[Float32 | None, Float64 | None, list[str]]:
    """Places of all rows on the first components of some, and the means of classes: in one pass over the data."""
    n, p = space.table.shape
    notes = []
    axes = None
    if space.metric in PACKED:
        notes.append(f"columns compared by {space.metric} have no principal components")
    elif p < d or len(held) <= d:
        notes.append(f"a table of {counted(p, 'columns')} has no {d} principal components")
    else:
        axes = Preparation([PCA(d)]).fit(held, n_jobs=space.threads.n_jobs)
    kept, why = _compared(labels, p)
    if why:
        notes.append(why)
    if axes is None and kept is None:
        return None, None, notes
    places = None if axes is None else np.empty((n, d), np.float32)
    sums = None if kept is None or labels is None else np.zeros((len(labels.names), p))
    for start, stop, block in iterate(space.table):
        if axes is not None and places is not None:
            places[start:stop] = axes.transform(block, n_jobs=space.threads.n_jobs)
        if sums is not None and labels is not None:
            _add(sums, labels.codes[start:stop], block)
    means = None
    if sums is not None and labels is not None:
        means = sums / np.maximum(_counts(labels), 1)[:, None]
    return places, means, notes


def _compared(labels: Classes | None, p: int) -> tuple[bool | None, str]:
    """Whether class means can be compared, and if not, why."""
    if labels is None:
        return None, ""
    there = int((_counts(labels) > 0).sum())
    if there < 3:
        return None, f"{counted(there, 'labels')}: it takes three for one class to be nearer than another"
    if len(labels.names) * p > _NUMBERS:
        return None, f"means of {counted(there, 'labels')} of {counted(p, 'columns')} were too much to hold"
    return True, ""


def _counts(labels: Classes) -> Int64:
    return np.bincount(labels.codes[labels.codes >= 0], minlength=len(labels.names))


def _add(sums: Float64, codes: Int64, block: Array) -> None:
    """Add rows to the sums of their classes."""
    from scipy.sparse import csr_array

    known = np.flatnonzero(codes >= 0)
    member = csr_array((np.ones(len(known)), (codes[known], known)), shape=(len(sums), len(codes)))
    sums += member @ block.astype(np.float64)


def _class_means(Y: Array, codes: Int64, classes: int) -> Float64:
    sums = np.zeros((classes, Y.shape[1]))
    for start, stop, block in iterate(Y):
        _add(sums, codes[start:stop], block)
    return sums / np.maximum(np.bincount(codes[codes >= 0], minlength=classes), 1)[:, None]


def _near_classes(classes: int) -> int:
    return max(1, min(NEAR, (classes - 1) // 4))


def _means_kept(space: Space, means: Float64, on_map: Float64, k: int) -> Estimate:
    """Which share of the k nearest means of each class stays among its k nearest; all classes are looked at."""
    near = []
    for apart in (space.between(means, means), _straight(on_map)):
        np.fill_diagonal(apart, np.inf)
        near.append(np.argsort(apart, axis=1, kind="stable")[:, :k])
    return Estimate(float(np.mean([np.isin(near[0][i], near[1][i]).mean() for i in range(len(means))])), 0.0)


def _straight(points: Float64) -> Float64:
    from scipy.spatial.distance import cdist

    found: Float64 = cdist(points, points)
    return found


def _percent(
    space: Space, maps: dict[str, Space], rows: Int64, others: Int64, held: Float32, k: int, n: int
) -> dict[str, Estimate]:
    """Which share of the k nearest of the `others` in the data is among the k nearest on each map."""
    queries = take(space.table, rows)
    there = {name: (take(one.table, rows), take(one.table, others)) for name, one in maps.items()}
    itself = np.searchsorted(others, rows)
    itself[(itself == len(others)) | (others[np.minimum(itself, len(others) - 1)] != rows)] = -1

    def part(a: int, b: int) -> dict[str, Float64]:
        def nearest(apart: Float64) -> Array:
            own = np.flatnonzero(itself[a:b] >= 0)
            apart[own, itself[a:b][own]] = np.inf
            mask = np.zeros(apart.shape, bool)
            np.put_along_axis(mask, np.argpartition(apart, k - 1, axis=1)[:, :k], True, axis=1)
            return mask

        true = nearest(space.between(queries[a:b], held))
        return {
            name: (true & nearest(maps[name].between(left[a:b], right))).sum(axis=1) / k
            for name, (left, right) in there.items()
        }

    parts = space.threads.map(part, ranges(len(rows), GROUP))
    return {name: mean_of(np.concatenate([one[name] for one in parts]), n) for name in maps}
