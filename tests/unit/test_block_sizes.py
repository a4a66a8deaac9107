"""Blocks of 7 rows give what blocks of thousands give, for each constant that cuts the work; and no other is left out.

Small tables fit into one block, so most tests meet each loop over blocks once, and a wrong offset in it never. The same
computations are done once more with memory from NumPy that holds something, and leave what they are given as it is.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from block_sizes import BLOCKS, CROSSED, OTHERS
from scipy.spatial.distance import cdist

import tsne_ooc
from tsne_ooc import TSNE
from tsne_ooc._parallel import Threads

PACKAGE = Path(tsne_ooc.__file__).parent
TWO = Threads(2)
QUICK = {"perplexity": 8, "early_exaggeration_iter": 6, "n_iter": 8, "random_state": 0}

pytestmark = pytest.mark.filterwarnings(
    "ignore:builtin type .* has no __module__ attribute:DeprecationWarning",
    "ignore::numba.NumbaPendingDeprecationWarning",
)


def rows(n=150, p=6, seed=0, copies=True):
    """Groups, and some rows that are there many times."""
    rng = np.random.default_rng(seed)
    X = rng.normal(0, 6, (5, p))[rng.integers(0, 5, n)] + rng.normal(size=(n, p))
    if copies:
        X[rng.integers(0, n, n // 4)] = X[0]
    found = X.astype(np.float32)
    # Whoever writes to what it is given fails.
    found.setflags(write=False)
    return found


def searched(search, X, metric="euclidean", k=12):
    index = search.build(X, metric=metric, rng=np.random.default_rng(0), threads=TWO)
    Q = X[::2] + np.float32(0.125) if isinstance(X, np.ndarray) else X[::2]
    found = [*index.query_self(k), *index.query(Q, k)]
    return [*found, *([] if index.order is None else [index.order])]


# ------------------------------------------------------------------------------------------------------ scenarios


def validation(folder):
    from tsne_ooc import _validate

    found = []
    for row in (0, 6, 7, 77, 149):
        X = rows().copy()
        X[row, 3] = np.nan
        with pytest.raises(ValueError, match=f"row {row}, column 3"):
            _validate.as_rows(X)
        found.append(_validate._first_bad(X, False))
    return [np.array(found), _validate.as_rows(rows())]


def affinities(folder):
    from tsne_ooc import joint
    from tsne_ooc.affinity import gaussian, mixture

    rng = np.random.default_rng(0)
    near = np.argsort(cdist(rows(), rows()) + np.diag(np.full(150, np.inf)), axis=1)[:, :12].astype(np.uint32)
    distances = np.sort(rng.gamma(5, 1, near.shape).astype(np.float32), axis=1)
    p = gaussian(distances, [4.0, 2.0], TWO)
    found = [p, mixture(distances, [4.0, 2.0], TWO)]
    # Where rows are few, there are fewer blocks than there may be.
    with set_to(("joint", "LEAST"), type(joint.LEAST)(2), joint.LEAST):
        for P in (joint.symmetrize(near, p, TWO), joint.symmetrize(near, None, TWO)):
            found += [P.indptr, P.indices, P.values]
    return found


def equality(folder):
    from tsne_ooc.equal_rows import EqualRows

    X = rows()
    found = [EqualRows.of(table, TWO) for table in (X, sp.csr_array(X))]
    return [found[0].hashes, found[0].rows, found[1].hashes, *(one.find(X[::-1].copy(), TWO) for one in found)]


def exports(folder):
    import h5py

    from tsne_ooc import storage
    from tsne_ooc.export import export

    run = folder / "run"
    run.mkdir()
    np.save(run / "embedding.npy", rows(100, 2))
    np.save(run / "sample_rows.npy", np.arange(0, 100, 9))
    storage.seal(run, "map", {"source": "x", "n_samples": 100}, {n: f"{n}.npy" for n in ("embedding", "sample_rows")})
    with h5py.File(export(run, folder / "a.h5")) as file:
        found = [file["embedding"][:], file["sampled"][:]]
    # Its header names the command; the rows follow.
    text = export(run, folder / "a.csv").read_bytes()
    return [*found, np.frombuffer(text, np.uint8)]


def placing(folder):
    from tsne_ooc.placement import Placement

    X, Q = rows(), rows(80, seed=1)
    found = []
    for initialization in ("median", "mean"):
        model = TSNE(**QUICK, placement=Placement(k=5, initialization=initialization)).fit(X)
        placed = model.place(Q)
        found += [*placed, *model.place(Q, start=placed.embedding[::-1].copy()), model.score_samples(Q)]
        # Seats among them, in any block.
        found.append(model.transform(np.concatenate([Q[:30], X[:30], Q[30:]])))
    return found


def trust(folder):
    from tsne_ooc.trust import scores

    model = TSNE(**QUICK).fit(rows())
    return [*scores(model, np.concatenate([rows()[:40], rows(40, seed=1)]), k=5)]


def fit(folder):
    from tsne_ooc.neighbors import IVF

    model = TSNE(**QUICK, neighbors=IVF(lists=6, probes=6)).fit(rows())
    P = model.affinities_
    return [model.embedding_, P.data, P.indices, P.indptr, model.novelty_]


def repulsion(folder):
    from tsne_ooc.gradients.repulsion import ExactRepulsion

    found = []
    for d in (1, 2, 3):
        slope = np.empty((150, d), np.float32)
        found += [np.float64(ExactRepulsion(1.0, TWO)(rows(150, d), slope)), slope]
    return found


def crowd(folder):
    from tsne_ooc.gradients.crowd import Crowd

    found = []
    for d in (1, 2, 3):
        Y = rows(150, d)
        for dof in (1.0, 4.0):
            found += Crowd.around(Y, dof, 2.0).at(rows(100, d, seed=1), TWO)
    return found


def groups(folder):
    from tsne_ooc.groups import Groups

    found = Groups(TSNE(**QUICK).fit(rows()), 5)
    return [*found.fitted, *found.score(rows(60, seed=1))]


def open_of_small_caches(patch, path):
    from tsne_ooc.io import hdf5, open_source

    patch.setattr(hdf5, "_default_cache", lambda item: 100)
    return open_source(path)


def large_chunks(folder):
    import h5py

    from tsne_ooc.io import iterate

    path = folder / "x.h5"
    if not path.exists():
        with h5py.File(path, "w") as file:
            file.create_dataset("X", data=rows(200), chunks=(90, 3))
    with pytest.MonkeyPatch.context() as patch, open_of_small_caches(patch, path) as source:
        blocks = [block for _, _, block in iterate(source, rows=13)]
        return [np.concatenate(blocks), source.read(85, 95)]


def blocks(folder):
    import h5py

    from tsne_ooc.groups import Groups
    from tsne_ooc.io import iterate, open_source
    from tsne_ooc.sampling.take import take

    found = [np.concatenate([block for _, _, block in iterate(rows())]), take(rows(), np.arange(3, 140, 5))]
    model, Q = TSNE(**QUICK).fit(rows()), rows(40, seed=1)
    with h5py.File(folder / "q.h5", "w") as file:
        file["X"] = Q
    with open_source(folder / "q.h5") as source:
        placed = [*model.place(source), model.transform(source), model.score_samples(source)]
        placed += [*Groups(model, 5).score(source)]
    # Whatever goes over a table block by block does to it what it does to its rows.
    in_memory = [*model.place(Q), model.transform(Q), model.score_samples(Q), *Groups(model, 5).score(Q)]
    for one, other in zip(placed, in_memory, strict=True):
        np.testing.assert_array_equal(one, other)
    return [*found, *placed]


def columns(folder):
    from tsne_ooc.io import open_source

    pd.DataFrame(rows(), columns=list("abcdef")).to_parquet(folder / "x.parquet")
    with open_source(folder / "x.parquet", columns=["c", "a", "f"]) as source:
        return [source.read(0, 150), source.read(31, 77)]


def sink(folder):
    from tsne_ooc.io import NpySink

    Y = rows(50, 2)
    one = NpySink(folder / "y.npy", Y.shape)
    one.write(Y[:30])
    one.sync()
    one.leave()
    assert one.done == ((0, 30, zlib.crc32(Y[:30])),)
    with NpySink(folder / "y.npy", Y.shape, done=one.done) as other:
        other.write(Y[30:])
    return [np.load(folder / "y.npy")]


def searches(folder):
    from tsne_ooc.neighbors import IVF, Annoy, Exact

    X = rows(copies=False)
    found = []
    for search in (Exact(), IVF(lists=9, probes=3), IVF(lists=9, probes=9), IVF(lists=9)):
        found += searched(search, X)
    found += searched(Exact(), X, "cosine") + searched(IVF(lists=9, probes=3), X, "cosine")
    pytest.importorskip("annoy")
    return [*found, *searched(Annoy(), X), *searched(Annoy(trees=1), X, k=90)]


def gaps(folder):
    from tsne_ooc.neighbors import IVF, Exact

    X = rows(300)
    lacking = np.where(np.random.default_rng(5).random(X.shape) < 0.2, np.float32(np.nan), X)
    # A row without any value is refused.
    lacking[:, 0] = X[:, 0]
    return [
        array for search in (Exact(), IVF(lists=12, probes=3)) for array in searched(search, lacking, "nan_euclidean")
    ]


def graph_folders(folder):
    from tsne_ooc.neighbors import Exact, Graph
    from tsne_ooc.neighbors.folder import GraphFacts, write_graph

    X = rows(copies=False)
    near, apart = Exact().build(X, rng=np.random.default_rng(0), threads=TWO).query_self(5)
    order = np.random.default_rng(3).permutation(len(X)).astype(np.uint32)
    write_graph(folder / "g", np.argsort(order).astype("u4")[near][order], apart[order], order, GraphFacts(),
                overwrite=False)  # fmt: skip
    graph = Graph.open(folder / "g")
    np.testing.assert_array_equal(graph.indices, near)
    # From arrays, and by a search whose index lies on the disk.
    from tsne_ooc.neighbors import IVF
    from tsne_ooc.storage.mapped import on_disk

    given = Graph((near, apart))
    X = X.copy()
    X[40:80] = X[3]
    with on_disk(folder):
        found = searched(IVF(lists=9, probes=3), X)
    return [graph.indices, graph.distances, given.indices, given.distances, *found]


def graph(folder):
    import pickle

    from tsne_ooc.neighbors import HNSW

    X = rows(copies=False)
    index = HNSW(links=6).build(X, metric="euclidean", rng=np.random.default_rng(0), threads=TWO)
    Q = rows(90, seed=1, copies=False)
    indices, distances = index.query(Q, 5)
    D = cdist(Q, X)
    np.testing.assert_allclose(distances, np.take_along_axis(D, indices.astype(int), axis=1), rtol=1e-5)
    assert (distances <= np.sort(D, axis=1)[:, 4:5] * (1 + 1e-6)).mean() > 0.9
    for one, other in zip(pickle.loads(pickle.dumps(index)).query(Q, 5), (indices, distances), strict=True):
        np.testing.assert_array_equal(one, other)
    return []


def few_copies(folder):
    from tsne_ooc.neighbors import Exact

    # Twenty of one row: searched as it is, or once for all of them.
    X = rows(150, copies=False).copy()
    X[::8] = X[0]
    return [*searched(Exact(), X), *searched(Exact(), X, "cosine"), *searched(Exact(), X, "cityblock")]


def quality(folder):
    from tsne_ooc.metrics import kl_divergence, label_accuracy, neighbor_recall, trustworthiness

    X, Y = rows(copies=False), rows(150, 2, copies=False)
    P = np.exp(-cdist(X, X) / 3)
    np.fill_diagonal(P, 0)
    labels = (np.arange(150) // 3) % 4
    found = [kl_divergence(sp.csr_array(P), Y, dof) for dof in (1.0, 2.0)]
    w = 1 / (1 + cdist(Y.astype(float), Y) ** 2)
    np.fill_diagonal(w, 0)
    P, Q = P / P.sum(), w / w.sum()
    assert found[0] == pytest.approx((P[P > 0] * np.log(P[P > 0] / Q[P > 0])).sum(), rel=1e-6)
    counted = [trustworthiness(X, Y, 5), label_accuracy(Y, labels, 5), *neighbor_recall(X, Y, 5).values()]
    return [np.array(found + counted)]


def ranks(folder):
    from tsne_ooc.metrics._space import Space

    X, drawn = rows(), np.array([0, 3, 77, 149])
    space = Space(X, Threads(1))
    return [*space.nearest(drawn, 5), space.nearer(drawn, np.array([[5, 80, 11], [1, 2, 9], [0, 1, 2], [60, 3, 8]]))]


def held_out(folder):
    pytest.importorskip("torch", reason="encoders need the extra 'neural'")
    import torch

    from tsne_ooc.parametric.validation import Validation

    torch.manual_seed(0)
    encoder = torch.nn.Linear(6, 2)
    held, reference = rows(40, seed=1, copies=False), rows(90, copies=False)
    options = {"metric": "euclidean", "metric_params": None, "dof": 1.0, "threads": TWO}
    look = Validation(held, reference, np.zeros((40, 2), np.float32), 1.0, **options)
    return [np.array(look(encoder))]


def bits(folder):
    from tsne_ooc.neighbors import Exact

    X = (np.random.default_rng(0).random((150, 70)) < 0.3).astype(np.float32)
    return [found for metric in ("jaccard", "dice") for found in searched(Exact(), X, metric)]


def copies(folder):
    from tsne_ooc.neighbors import IVF, Exact

    return [*searched(Exact(), rows(200)), *searched(IVF(lists=5), rows(200)), *searched(Exact(), rows(200), "cosine")]


def pairs(folder):
    from tsne_ooc.neighbors import Exact, Precomputed

    X = np.abs(rows())
    D = cdist(X, X).astype(np.float32)
    found = [each for metric in ("cityblock", "canberra") for each in searched(Exact(), X, metric)]
    found += searched(Exact(), sp.csr_array(np.where(X > 4, X, 0)), "manhattan")
    index = Precomputed().build(D, threads=TWO)
    return [*found, *index.query_self(9), *index.query(D[::3], 9)]


def targets(folder):
    pytest.importorskip("torch", reason="encoders need the extra 'neural'")
    import torch

    from tsne_ooc.joint import Joint
    from tsne_ooc.parametric.objectives import FieldTuning
    from tsne_ooc.parametric.problem import Graph, Problem

    P = np.exp(-cdist(rows(90), rows(90)) / 3)
    np.fill_diagonal(P, 0)
    places = rows(90, 2)
    graph = Graph(rows(90), Joint.from_matrix(P), np.arange(90))
    problem = Problem(90, 2.0, 1.0, 1.0, places, graph, 0, TWO, torch.device("cpu"))
    loss = FieldTuning().of(problem)
    loss.put(places)
    return [loss.gradient(np.arange(5, 80), places[5:80] + np.float32(0.25))]


def rounds(folder):
    X = np.concatenate([rows(600), rows(40, seed=5) + 40])
    run = tsne_ooc.embed(X, out=folder / "map", sample=300, rounds=2, tsne=TSNE(**QUICK), random_state=0)
    return [np.array(run.embedding), np.array(run.novelty), run.sample_rows]


def parts(folder):
    TSNE(**QUICK).fit(rows(60)).save(folder / "map")
    made = [(0, 20), (20, 90)]
    for i, some in enumerate(made):
        tsne_ooc.place(folder / "map", rows(90), out=folder / f"part{i}", rows=some)
    run = tsne_ooc.merge([folder / f"part{i}" for i in range(len(made))], out=folder / "out")
    told = run.manifest["novelty"]
    return [np.array(run.embedding), np.array(run.novelty), np.array(list(told["quantiles"].values()))]


def distribution(folder):
    from tsne_ooc.pipeline.placing import distribution, pieces

    values = np.random.default_rng(0).exponential(size=90).astype(np.float32)
    np.save(folder / "novelty.npy", values)
    found = distribution(folder / "novelty.npy", 1.5)
    assert found["beyond"] == (values > 1.5).sum() and found["rows"] == 90
    return [np.concatenate(list(pieces(folder / "novelty.npy"))), np.array(list(found["quantiles"].values()))]


def shading(folder):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from tsne_ooc.plot import scatter

    found = []
    for labels in (None, np.arange(150) % 3):
        ax = scatter(rows(150, 2), labels, density=True, dpi=40)
        canvas = FigureCanvasAgg(ax.figure)
        canvas.draw()
        found.append(np.asarray(canvas.buffer_rgba()).copy())
    return found


def categories(folder):
    from tsne_ooc.preprocess import OneHot, Preparation

    words = np.array(["a", "b", "c", "d"])[np.arange(90) % 4].astype(object)
    table = pd.DataFrame({"x": np.arange(90.0), "w": words})
    found = Preparation([OneHot(["w"])]).fit(table)
    return [found.transform(table), found.transform(table[::-1])]


def preparation(folder):
    from tsne_ooc.preprocess import PCA, Log1p, Normalize, Preparation, Standardize

    X = np.abs(rows(300))
    found = Preparation([Normalize(10), Log1p(), Standardize(), PCA(3)]).fit(X)
    return [found.transform(X), found.transform(X[41:223])]


def statistics(folder):
    from tsne_ooc.preprocess import PCA, Preparation, Standardize

    X = rows(300, 17) * np.arange(1, 18)
    found = Preparation([Standardize(), PCA(3)]).fit(X)
    robust = Preparation([Standardize(robust=True)]).fit(X)
    wanted = (X - X.mean(axis=0)) / X.std(axis=0)
    values, axes = np.linalg.eigh(np.cov(wanted.T.astype(np.float64)))
    np.testing.assert_allclose(found.fitted[1].explained_variance, values[::-1][:3], rtol=1e-4)
    np.testing.assert_allclose(np.abs(found.fitted[1].axes), np.abs(axes[:, ::-1][:, :3]), atol=1e-4)
    return [found.fitted[1].mean, found.fitted[1].explained_variance, np.float64(robust.transform(X))]


def sketch(folder):
    from tsne_ooc.preprocess import PCA, Preparation, pca

    X = rows(300, 17)
    with set_to(("preprocess.pca", "EXACT_UP_TO"), 7, pca.EXACT_UP_TO):
        found = Preparation([PCA(3)]).fit(X)
    exact = Preparation([PCA(3)]).fit(X)
    np.testing.assert_allclose(found.fitted[0].explained_variance, exact.fitted[0].explained_variance, rtol=1e-3)
    return [found.fitted[0].mean, found.fitted[0].explained_variance, found.fitted[0].axes]


def transformer(folder):
    from sklearn.decomposition import PCA as Peer

    from tsne_ooc.preprocess import Preparation, Transformer

    X = rows(300)
    peer = Peer(3, svd_solver="full").fit(X.astype(np.float64))
    found = Preparation([Transformer(peer)]).fit(X).transform(X)
    np.testing.assert_allclose(found, peer.transform(X.astype(np.float64)), rtol=1e-5, atol=1e-5)
    return [np.float64(found)]


def taking(folder):
    from tsne_ooc.sampling.take import take

    wanted = np.array([0, 1, 6, 7, 8, 50, 51, 149])
    found = take(rows(), wanted)
    np.testing.assert_array_equal(found, rows()[wanted])
    return [found]


def storing(folder):
    from tsne_ooc import storage

    arrays = {"a": rows(), "b": np.arange(100), "c": np.zeros(0)}
    storage.write_folder(folder / "s", "test", {}, arrays)
    found = storage.read_folder(folder / "s", "test", verify=True)
    manifest = (folder / "s" / "manifest.json").read_bytes()
    return [np.frombuffer(manifest, np.uint8), *map(np.array, found.arrays.values())]


def streaming(folder):
    from tsne_ooc.streaming import rows_at_once

    model = TSNE(**QUICK).fit(rows())
    model.transform_to(rows(80, seed=1), folder / "placed.npy")
    assert rows_at_once(tsne_ooc.io.as_source(rows())) in (7, 150)
    return [np.load(folder / "placed.npy")]


def attraction(folder):
    from tsne_ooc.gradients.attraction import Attraction
    from tsne_ooc.joint import Joint

    P = np.exp(-cdist(rows(), rows()) / 3)
    np.fill_diagonal(P, 0)
    Y = rows(150, 2, copies=False)
    found = Attraction(Joint.from_matrix(P), 2, 1.0, TWO)
    out, velocity, gains = np.empty_like(Y), np.zeros_like(Y), np.ones_like(Y)
    mean, norm = found.step(
        Y, np.zeros_like(Y), 5.0, 4.0, 10.0, np.inf, 0.5, 5.0, np.zeros(2, np.float32), velocity, gains, out
    )
    return [found.forces(Y), np.array(found.halves(Y, 5.0)), mean, np.float64(norm), out, velocity]


def searched_on_disk(folder):
    from tsne_ooc import Perplexity
    from tsne_ooc.fit.rows import Recipe
    from tsne_ooc.fit.searched import Searched
    from tsne_ooc.neighbors import IVF
    from tsne_ooc.schedule import Schedule
    from tsne_ooc.storage.mapped import on_disk
    from tsne_ooc.storage.state import Saved

    recipe = Recipe(2, 1.0, IVF(lists=12, probes=1), "euclidean", None, Perplexity(3), "pca", Schedule([]))
    with on_disk(folder):
        found = Searched.among(rows(), 9, recipe, seed=0, threads=TWO)
        recall = np.float64(found.index.recall(9))
        again = Searched.restore(Saved(*found.state()), TWO)
    assert recall == again.index.recall(9) < 1
    return [again.neighbors, again.distances, again.reference.novelty, again.index.order, recall]


def kept_on_disk(folder):
    from tsne_ooc.affinity import Perplexity
    from tsne_ooc.fit.out_of_core import joint_on_disk, reference_of
    from tsne_ooc.neighbors import IVF
    from tsne_ooc.scratch import NeighborsOnDisk, joint

    X = rows()
    index = IVF(lists=6, probes=6).build(X, rng=np.random.default_rng(0), threads=TWO)
    graph = NeighborsOnDisk.among(index, 9, folder)
    found = [reference_of(graph).novelty]
    # Few pieces are cut into no more of them, and many into no fewer.
    with set_to(("scratch.joint", "EDGES"), type(joint.EDGES)(60), joint.EDGES):
        P = joint_on_disk(Perplexity(3), graph, 1.0, index.order, seed=0, threads=TWO, folder=folder)
    for start in range(0, P.n, 50):
        first, indices, values = P.part(start, min(P.n, start + 50))
        some = slice(int(P.indptr[start]) - first, int(P.indptr[min(P.n, start + 50)]) - first)
        found += [indices[some].copy(), values[some].copy()]
    graph.close()
    P.close()
    return [*found, P.indptr]


def field(folder):
    from tsne_ooc.gradients.field import FieldPlanner

    found = []
    for d in (1, 2):
        Y = rows(150, d, copies=False)
        planned = FieldPlanner(1.0, TWO, margin=2.0).plan(Y)
        slope = np.empty_like(Y)
        found += [np.float64(planned.at_sources(Y, slope, TWO)), slope, *planned.at(Y + np.float32(0.5), TWO)]
    return found


def convolution(folder):
    from tsne_ooc.gradients.convolve import Convolution
    from tsne_ooc.gradients.grid import Shape
    from tsne_ooc.gradients.kernel import kernel_for

    found = []
    for lengths in ((48,), (24, 30), (12, 10, 16)):
        kernel = kernel_for(Shape(0.5, lengths), 1.0, TWO)
        density = np.random.default_rng(0).random(kernel.shape.nodes).astype(np.float32)
        found.append(Convolution(kernel, TWO)(density))
    return found


def start(folder):
    from tsne_ooc.fit import initialization

    return [initialization.pca(rows(150, 9), 2, np.random.default_rng(0), TWO)]


def scales(folder):
    pytest.importorskip("torch", reason="encoders need the extra 'neural'")
    from tsne_ooc.parametric.decoder import scales_of
    from tsne_ooc.parametric.network import leading_axes, standardisation

    X = rows(150, 6, copies=False)
    wide = rows(40, 60, copies=False)
    return [*scales_of(X), *standardisation(X), leading_axes(X, 2), leading_axes(wide, 2)]


# ----------------------------------------------------------------------------------------------------------- tests


class Looked(int):
    """A number that knows whether somebody reckoned with it."""

    looked = False


def _watched(name):
    plain = getattr(int, name)

    def asked(self, *others):
        Looked.looked = True
        return plain(self, *others)

    return asked


for _name in ("add", "radd", "sub", "rsub", "mul", "floordiv", "rfloordiv", "mod", "rmod", "lt", "le", "gt", "ge"):
    setattr(Looked, f"__{_name}__", _watched(f"__{_name}__"))


def trees():
    """Every module of the package with its tree, by its name within the package."""
    for file in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        yield name, ast.parse(file.read_text())


TREES = dict(trees())


def _home(module, node):
    """The module that an import is from, by its name within the package; None for others'."""
    if node.level:
        package = module if (PACKAGE / module.replace(".", "/") / "__init__.py").exists() else module.rpartition(".")[0]
        for _ in range(node.level - 1):
            package = package.rpartition(".")[0]
        return ".".join(filter(None, [package, node.module or ""]))
    if (node.module or "").split(".")[0] == "tsne_ooc":
        return node.module.partition(".")[2]
    return None


@contextmanager
def set_to(constant, value, plain):
    """The constant in the module that has it, in those that imported it, and in the defaults that were made of it."""
    module, name = constant
    changes = []

    def change(owner, attribute, new):
        changes.append((owner, attribute, getattr(owner, attribute)))
        setattr(owner, attribute, new)

    owner = importlib.import_module(f"tsne_ooc.{module}")
    *within, last = name.split(".")
    for part in within:
        owner = getattr(owner, part)
    change(owner, last, value)
    for other, tree in TREES.items():
        loaded = sys.modules.get(f"tsne_ooc.{other}")
        imported = other != module and any(
            isinstance(node, ast.ImportFrom) and _home(other, node) == module
            and any(alias.name == name for alias in node.names)
            for node in tree.body
        )  # fmt: skip
        if loaded is None or not (imported or other == module):
            continue
        if imported:
            change(loaded, name, value)
        for node in tree.body:
            defaults = [*node.args.defaults, *node.args.kw_defaults] if isinstance(node, ast.FunctionDef) else []
            if any(isinstance(default, ast.Name) and default.id == name for default in defaults):
                function = inspect.unwrap(getattr(loaded, node.name))
                given = tuple(value if one == plain else one for one in function.__defaults__ or ()) or None
                named = {key: value if one == plain else one for key, one in (function.__kwdefaults__ or {}).items()}
                change(function, "__defaults__", given)
                change(function, "__kwdefaults__", named or None)
    try:
        yield
    finally:
        for owner, attribute, old in reversed(changes):
            setattr(owner, attribute, old)


def value_of(constant):
    owner = importlib.import_module(f"tsne_ooc.{constant[0]}")
    for part in constant[1].split("."):
        owner = getattr(owner, part)
    return owner


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """What each scenario gives with the sizes that there are."""
    kept = {}

    def of(name):
        if name not in kept:
            kept[name] = globals()[name](tmp_path_factory.mktemp(name))
        return kept[name]

    return of


@pytest.mark.parametrize("constant", BLOCKS, ids=".".join)
def test_small_blocks_change_nothing(usual, tmp_path, constant):
    block = BLOCKS[constant]
    wanted = usual(block.scenario)
    plain = value_of(constant)
    assert plain > block.small
    Looked.looked = False
    with set_to(constant, Looked(block.small), plain):
        found = globals()[block.scenario](tmp_path)
    assert value_of(constant) == plain
    assert Looked.looked or not block.watched, f"{block.scenario} does not come by {'.'.join(constant)}"
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        one, other = np.asarray(one), np.asarray(other)
        assert one.dtype == other.dtype and one.shape == other.shape
        if block.digits:
            assert np.abs(one - other).max() <= block.digits * np.abs(other).max()
        else:
            assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("junk", [1, 0.75])
def test_no_result_holds_what_memory_held(usual, tmp_path, monkeypatch, junk):
    """Fresh memory is mostly zeros, and so is much of what is right."""
    plain, plain_like = np.empty, np.empty_like

    def filled(array):
        if array.dtype.kind in "biufc" and array.flags.writeable:
            array.fill(junk)
        return array

    scenarios = dict.fromkeys(block.scenario for block in BLOCKS.values())
    wanted = {name: usual(name) for name in scenarios}
    monkeypatch.setattr(np, "empty", lambda *args, **options: filled(plain(*args, **options)))
    monkeypatch.setattr(np, "empty_like", lambda *args, **options: filled(plain_like(*args, **options)))
    for name in scenarios:
        (tmp_path / name).mkdir()
        for one, other in zip(globals()[name](tmp_path / name), wanted[name], strict=True):
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes(), name


def is_number(node):
    if isinstance(node, ast.BinOp):
        return is_number(node.left) and is_number(node.right)
    return isinstance(node, ast.Constant) and type(node.value) is int


def constants():
    """Names in capitals that are whole numbers, in modules and classes."""
    for module, tree in TREES.items():
        if module.startswith("testing."):
            # The sizes of tables for tests.
            continue
        for prefix, body in [("", tree.body)] + [
            (f"{node.name}.", node.body) for node in tree.body if isinstance(node, ast.ClassDef)
        ]:
            for node in body:
                if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
                    continue
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                several = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                pairs = zip(target.elts, node.value.elts, strict=True) if several else [(target, node.value)]
                for one, value in pairs:
                    if isinstance(one, ast.Name) and one.id.isupper() and is_number(value):
                        yield module, prefix + one.id


def test_every_number_is_in_the_table():
    found = list(constants())
    assert len(found) == len(set(found)) > 100
    known = [*BLOCKS, *CROSSED, *OTHERS]
    assert len(known) == len(set(known))
    assert not set(found) - set(known), "a line in tests/block_sizes.py is missing"
    assert not set(known) - set(found), "tests/block_sizes.py has what is not there"


def test_limits_are_crossed_where_it_is_said():
    tests = Path(__file__).parents[1]
    for (module, name), where in CROSSED.items():
        text = (tests / where).read_text()
        assert name.rpartition(".")[2] in text, f"{where} does not cross {module}.{name}"


def test_no_piece_is_cut_by_a_bare_number():
    """``range(0, n, 4096)`` would be in no table."""
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or module.startswith("_kernels"):
                continue
            name = getattr(node.func, "id", "")
            step = node.args[2:] if name == "range" else node.args[1:] if name == "ranges" else []
            bare = any(is_number(one) and eval(ast.unparse(one)) > 7 for one in step)
            assert not bare, f"tsne_ooc.{module}, line {node.lineno}"
