"""A form of table that one door takes, every door takes, with the same answers; or all refuse it alike, in one line."""

import io
import uuid
import warnings

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import tsne_ooc
from tsne_ooc import TSNE
from tsne_ooc.groups import Groups
from tsne_ooc.io import as_source
from tsne_ooc.preprocess import PCA, Preparation, Standardize

QUICK = {"perplexity": 6, "early_exaggeration_iter": 8, "n_iter": 12, "random_state": 0}
FEW = {name: QUICK[name] for name in ("early_exaggeration_iter", "n_iter")}
rng = np.random.default_rng(0)
# Whole numbers up to 40, which every type holds; a third of them 0.
X, Q = (np.maximum(rng.integers(-20, 41, (n, 6)), 0) for n in (120, 30))


def in_memory(table):
    return h5py.File(io.BytesIO(), "w").create_dataset("X", data=table, chunks=(16, 6))


def without_a_file(table):
    # A name is taken as long as there is such a file, in memory too.
    return h5py.File(f"{uuid.uuid4()}.h5", "w", driver="core", backing_store=False).create_dataset("X", data=table)


def read_only(table):
    table = table.astype(np.float32)
    table.setflags(write=False)
    return table


FORMS = {
    "float64": lambda t: t.astype(float),
    "int64": lambda t: t,
    "int8": lambda t: t.astype(np.int8),
    "float16": lambda t: t.astype(np.float16),
    "big-endian": lambda t: t.astype(">f4"),
    "Fortran": lambda t: np.asfortranarray(t, np.float32),
    "strided": lambda t: np.repeat(t.astype(np.float32), 2, axis=1)[:, ::2],
    "read-only": read_only,
    "masked, none of it": lambda t: np.ma.masked_array(t.astype(float), mask=False),
    "list": lambda t: t.tolist(),
    "frame": lambda t: pd.DataFrame(t, columns=list("abcdef")),
    "CSR": lambda t: sparse.csr_array(t.astype(np.float32)),
    "CSR of whole numbers": sparse.csr_matrix,
    "CSC": lambda t: sparse.csc_array(t.astype(float)),
    "COO": lambda t: sparse.coo_array(t.astype(float)),
    "source": lambda t: as_source(t.astype(np.float32)),
    "source of CSR": lambda t: as_source(sparse.csr_array(t.astype(np.float32))),
    "HDF5 in memory": in_memory,
    "HDF5 without a file": without_a_file,
}
OPTIONS = {
    "plain": {},
    "prepared": {"prepare": Preparation([Standardize(), PCA(3)])},
    "by metric": {"metric": "cosine"},
    "with weights": {"metric_params": {"w": np.linspace(0.5, 2, 6)}},
    "sample": {"sample": 80},
}


def doors(model, given, asked, folder, options):
    """Name and answer of each door, where `given` is the table of the fit and `asked` are other rows."""
    yield "fit", lambda: TSNE(**QUICK, **options).fit(given).embedding_
    yield "fit_transform", lambda: TSNE(**QUICK, **options).fit_transform(given)
    yield "transform", lambda: model.transform(asked)
    yield "place", lambda: np.column_stack([model.place(asked).embedding, model.place(asked).novelty])
    yield "score_samples", lambda: model.score_samples(asked)
    yield "refine", lambda: model.refine(given, **FEW).embedding_
    yield "groups", lambda: np.column_stack(Groups(model, 5).score(asked))
    yield "transform_to", lambda: np.load(model.transform_to(asked, folder / "Y.npy"))
    yield "embed", lambda: tsne_ooc.embed(given, out=folder / "map", tsne=TSNE(**QUICK, **options)).embedding
    yield "file", lambda: tsne_ooc.place(folder.parent / "model", asked, out=folder / "places").embedding


# Doors that read a table row by row, which a matrix that is kept by columns or entries does not allow.
BY_ROWS = {"transform_to", "embed", "file"}
NOT_BY_ROWS = r"whose rows cannot be read one by one; pass X.tocsr()"


@pytest.fixture(scope="module", params=OPTIONS)
def fitted(request, tmp_path_factory):
    """The options, and for dense and for sparse tables a model and what every door answers."""
    options, found = OPTIONS[request.param], {}
    for kind, table, rows in (("dense", X, Q), ("sparse", sparse.csr_array(X), sparse.csr_array(Q))):
        home = tmp_path_factory.mktemp(kind)
        table, rows = table.astype(np.float32), rows.astype(np.float32)
        try:
            model = TSNE(**QUICK, **options).fit(table)
        except ValueError as error:
            # Weights of columns that are not stored.
            assert kind == "sparse" and "takes no metric_params for sparse rows" in str(error)
            continue
        model.save(home / "model")
        (home / "first").mkdir()
        answers = {name: door() for name, door in doors(model, table, rows, home / "first", options)}
        found[kind] = model, home, answers
    return options, found


@pytest.mark.parametrize("form", FORMS)
def test_every_door_takes_it_or_none(fitted, form):
    options, found = fitted
    kind = "sparse" if form.startswith("C") else "dense"
    if kind not in found:
        pytest.skip("sparse rows have no such metric")
    model, home, wanted = found[kind]
    folder = home / form
    folder.mkdir()
    refused = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X has feature names")
        for name, door in doors(model, FORMS[form](X), FORMS[form](Q), folder, options):
            try:
                np.testing.assert_array_equal(door(), wanted[name], err_msg=name)
            except (TypeError, ValueError) as error:
                refused[name] = str(error)
    if form in ("CSC", "COO"):
        assert set(refused) == BY_ROWS and all(NOT_BY_ROWS in said for said in refused.values())
    else:
        assert not refused
