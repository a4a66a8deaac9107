"""Any partition, the same bits: rows in any pieces and order, twice, by a copy of the model; tables in any chunks."""

import pickle

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tsne_ooc import TSNE
from tsne_ooc.io import open_source
from tsne_ooc.neighbors import IVF, Graph
from tsne_ooc.pipeline import neighbors
from tsne_ooc.preprocess import PCA, Log1p, Normalize, Preparation, Standardize

N, P = 160, 6
FEW = {"perplexity": 5, "early_exaggeration_iter": 10, "n_iter": 10, "random_state": 0, "n_jobs": 2}
QUICK = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rows(seed=0, n=N):
    rng = np.random.default_rng(seed)
    return np.abs(rng.normal(0, 4, (6, P))[rng.integers(0, 6, n)] + rng.normal(size=(n, P))).astype(np.float32)


def encoder():
    pytest.importorskip("torch")
    from tsne_ooc.parametric import ParametricTSNE

    return ParametricTSNE(teacher=TSNE(**FEW), n_iter=5, random_state=0, n_jobs=2)


def models():
    prepare = Preparation([Normalize(100), Log1p(), Standardize(), PCA(4)])
    return {
        "map": lambda: TSNE(**FEW),
        "prepared": lambda: TSNE(**FEW, prepare=prepare),
        "inverted file": lambda: TSNE(**FEW, neighbors=IVF(probes=3)),
        "cosine": lambda: TSNE(**FEW, metric="cosine"),
        "encoder": encoder,
    }


@pytest.fixture(scope="module", params=list(models()))
def fitted(request):
    model = models()[request.param]().fit(rows()[:90])
    return model, pickle.loads(pickle.dumps(model)), {
        name: getattr(model, name)(rows()) for name in ("transform", "score_samples")
    }  # fmt: skip


@QUICK
@given(cuts=st.sets(st.integers(1, N - 1), max_size=7), data=st.data())
def test_pieces_of_any_size_in_any_order_twice_by_a_copy(fitted, cuts, data):
    model, copy, wanted = fitted
    edges = [0, *sorted(cuts), N]
    order = data.draw(st.permutations([*range(len(edges) - 1)] * 2))
    for name, known in wanted.items():
        for i in order:
            who = data.draw(st.sampled_from([model, copy]))
            piece = slice(edges[i], edges[i + 1])
            np.testing.assert_array_equal(getattr(who, name)(rows()[piece]), known[piece])


@QUICK
@given(chunks=st.tuples(st.integers(1, N), st.integers(1, P)), n_jobs=st.sampled_from([1, 2, 3, 7]))
def test_a_preparation_of_a_table_in_any_chunks(tmp_path_factory, chunks, n_jobs):
    """Means, variances, covariances and the sketches of quantiles."""
    path = tmp_path_factory.mktemp("chunks") / "table.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("X", data=rows(), chunks=chunks)
    for steps in ([Standardize(), PCA(3)], [Normalize(50), Log1p(), PCA(2)], [Standardize(robust=True)]):
        wanted = Preparation(steps).fit(rows(), n_jobs=1)
        with open_source(path) as table:
            found = Preparation(steps).fit(table, n_jobs=n_jobs)
        for (_, one), (_, other) in zip(*(sorted(made.state()[1].items()) for made in (wanted, found)), strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(found.transform(rows()), wanted.transform(rows()))


@pytest.mark.parametrize("n_jobs", [1, 2, 3, 7])
def test_a_graph_of_neighbours_by_any_number_of_threads(n_jobs):
    one, other = (TSNE(**{**FEW, "n_jobs": jobs}).fit(rows()).graph(9) for jobs in (1, n_jobs))
    assert isinstance(one, Graph)
    for name in ("indices", "distances"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@QUICK
@given(
    chunks=st.tuples(st.integers(1, N), st.integers(1, P)), block_rows=st.integers(1, N),
    n_jobs=st.sampled_from([1, 2, 3, 7]), search=st.sampled_from(["exact", IVF(lists=8, probes=3)]),
)  # fmt: skip
def test_a_graph_of_all_rows_in_any_blocks_of_a_table_in_any_chunks(
    tmp_path_factory, chunks, block_rows, n_jobs, search
):
    folder = tmp_path_factory.mktemp("graph")
    with h5py.File(folder / "table.h5", "w") as file:
        file.create_dataset("X", data=rows(), chunks=chunks)
    wanted = neighbors(rows(), out=folder / "wanted", k=9, search=search, n_jobs=2)
    found = neighbors(
        folder / "table.h5", out=folder / "found", k=9, search=search, block_rows=block_rows, n_jobs=n_jobs
    )
    for name in ("indices", "distances"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
