"""What each option of `train` promises, each by a rule of its own, and each number of its manifest computed again.

The options are those of its signature, the numbers those of its manifest's keys. An encoder's centre is the mean of the
rows that it learnt from, and its teacher's rows are among them: so the table that was taken is known.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import time

import h5py
import numpy as np
import pytest
import reference
from reported import divergence, leaves, novelty_of, own_of
from scipy.spatial.distance import cdist

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")

from tsne_ooc import TSNE  # noqa: E402
from tsne_ooc.parametric import Decoder, ParametricTSNE, load  # noqa: E402
from tsne_ooc.pipeline import embed, train  # noqa: E402
from tsne_ooc.preprocess import PCA, Preparation  # noqa: E402

N, P = 200, 5
FEW = {"n_iter": 20, "early_exaggeration_iter": 10, "neighbors": "exact", "random_state": 0, "perplexity": 10}
NETWORK = {
    "network": (16, 1), "n_iter": 12, "batch_size": 64, "random_state": 0, "n_jobs": 1, "callbacks_every_iters": 1,
}  # fmt: skip


@pytest.fixture
def looks(monkeypatch):
    """One every four batches."""
    monkeypatch.setattr(ParametricTSNE, "LOOK_EVERY", 4)


@pytest.fixture
def trained(islands, tmp_path):
    """`train`, of the islands where nothing else is said."""
    taken = []

    def call(source=None, **options):
        taken.append(None)
        given = {"out": tmp_path / f"out{len(taken)}", "encoder": ParametricTSNE(**NETWORK), **options}
        if "map" not in given:
            given.setdefault("tsne", TSNE(**FEW))
        return train(islands if source is None else source, **given)

    return call


def learnt_from(model, X):
    """Whether the encoder has the scales of these rows, and its teacher's rows are among them."""
    centre = model.encoder_.center.numpy()
    if len(centre) != X.shape[1] or not np.allclose(centre, X.mean(axis=0, dtype=float), atol=1e-5):
        return False
    rows = model.teacher_.sample_rows_
    if rows is None:
        rows = np.arange(len(X))
    # Of copies all take the seat of the first.
    first = [int((X[rows] == row).all(axis=1).argmax()) for row in X[rows]]
    return np.array_equal(model.teacher_.transform(X[rows]), model.teacher_.embedding_[first])


def of_source(trained, islands, folder):
    assert learnt_from(trained(), islands)
    assert learnt_from(trained(islands[:90, 1:] + 3), islands[:90, 1:] + 3)


def of_out(trained, islands, folder):
    model = trained(out=folder / "a" / "encoder")
    np.testing.assert_array_equal(load(folder / "a" / "encoder").transform(islands), model.transform(islands))


def of_encoder(trained, islands, folder):
    model = trained(encoder=ParametricTSNE(**{**NETWORK, "network": (32, 2), "n_iter": 9, "random_state": 7}))
    body = model.encoder_.body
    assert (body.width, body.depth, model.n_iter_, model.seed_) == (32, 2, 9, 7)
    asked = ParametricTSNE()
    model = trained(encoder=asked.set_params(**{**NETWORK, "n_iter": 2}))
    # A copy is trained.
    assert model.n_iter_ == 2 and asked._fitted is None and asked.teacher is None


def of_map(trained, islands, folder):
    teacher = TSNE(**{**FEW, "n_components": 1}).fit(islands[::2])
    teacher.save(folder / "map")
    model = trained(map=folder / "map")
    np.testing.assert_array_equal(model.teacher_.embedding_, teacher.embedding_)
    assert model.transform(islands).shape == (N, 1)
    run = embed(islands, out=folder / "run", sample=50, tsne=TSNE(**FEW))
    found = trained(map=folder / "run").teacher_
    np.testing.assert_array_equal(found.embedding_, run.embedding[run.sample_rows])


def of_tsne(trained, islands, folder):
    model = trained(tsne=TSNE(**{**FEW, "n_components": 3, "perplexity": 6, "n_iter": 3}))
    assert model.teacher_.embedding_.shape == (N, 3) and model.teacher_.n_iter_ == 13
    assert model.teacher_.n_neighbors_ == 18 and trained().teacher_.n_neighbors_ == 30
    usual = trained(islands[:93], tsne=None).teacher_
    assert usual.perplexity == 30 and usual.embedding_.shape == (93, 2)


def of_sample(trained, islands, folder):
    model = trained(sample=70)
    rows = model.teacher_.sample_rows_
    assert len(rows) == len(set(rows)) == 70 and learnt_from(model, islands)
    assert len(trained(sample=None).teacher_.embedding_) == N
    # The seed of the encoder draws it, as that of a map does.
    for seed in (0, 7):
        model = trained(sample=70, encoder=ParametricTSNE(**{**NETWORK, "n_iter": 2, "random_state": seed}))
        run = embed(islands, out=folder / f"seed {seed}", sample=70, random_state=seed, tsne=TSNE(**FEW))
        np.testing.assert_array_equal(model.teacher_.sample_rows_, run.sample_rows)
        assert (seed == 0) == np.array_equal(model.teacher_.sample_rows_, rows)


def of_prepare(trained, islands, folder):
    model = trained(prepare=Preparation([PCA(2)]))
    centred = islands - islands.mean(axis=0, dtype=float)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    found = model.preparation_.transform(islands)
    for axis in range(2):
        assert abs(np.corrcoef(found[:, axis], centred @ axes[axis])[0, 1]) > 0.9999
    # The network has two columns, whose rows are the prepared ones, and rows as they were come in.
    assert model.encoder_.center.shape == (2,) and model.n_features_in_ == P
    np.testing.assert_allclose(model.encoder_.center.numpy(), found.mean(axis=0, dtype=float), atol=1e-4)
    np.testing.assert_array_equal(model.encode_prepared(found), model.transform(islands))
    assert trained().preparation_ is None


def of_dataset(trained, islands, folder):
    with h5py.File(folder / "table.h5", "w") as file:
        file["first"], file["second"] = islands, islands[:80, :3] - 9
    assert learnt_from(trained(folder / "table.h5", dataset="second"), islands[:80, :3] - 9)
    assert learnt_from(trained(folder / "table.h5", dataset="first"), islands)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")
def of_columns(trained, islands, folder):
    kind = np.dtype([(name, "f4") for name in "abcde"])
    with h5py.File(folder / "table.h5", "w") as file:
        file["X"] = np.array([tuple(row) for row in islands], kind)
    model = trained(folder / "table.h5", columns=["d", "a", "e"])
    assert list(model.feature_names_in_) == ["d", "a", "e"]
    assert learnt_from(model, np.ascontiguousarray(islands[:, [3, 0, 4]]))


def of_allow_missing_chunks(trained, islands, folder):
    with h5py.File(folder / "table.h5", "w") as file:
        table = file.create_dataset("X", (N, P), "f4", chunks=(20, P))
        table[:180] = islands[:180]
    with pytest.raises(OSError, match="--allow-missing-chunks"):
        trained(folder / "table.h5")
    model = trained(folder / "table.h5", allow_missing_chunks=True)
    assert learnt_from(model, np.concatenate([islands[:180], np.zeros((20, P), np.float32)]))


class Stop(Exception):
    pass


def of_resume(trained, islands, folder):
    def stopped(phase, done, total):
        if (phase, done) == ("train", 6):
            raise Stop

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(ParametricTSNE, "LOOK_EVERY", 4)
        trained(out=folder / "encoder", progress=stopped)
    with pytest.raises(FileExistsError, match="resume=True"):
        trained(out=folder / "encoder")
    seen = []
    model = trained(out=folder / "encoder", resume=True, progress=lambda *event: seen.append(event))
    # On from the look after four batches, with the teacher as it was.
    assert [done for phase, done, _ in seen if phase == "train"] == [*range(5, 13)]
    assert not {phase for phase, *_ in seen} & {"prepare", "sample", "fit"}
    np.testing.assert_array_equal(model.history_["batches"]["step"], np.arange(12))


def of_progress(trained, islands, folder):
    seen = []
    trained(prepare=Preparation([PCA(2)]), sample=50, progress=lambda *event: seen.append(event))
    phases = [phase for phase, *_ in seen]
    assert list(dict.fromkeys(phases)) == ["prepare", "sample", "fit", "teach", "train"]
    totals = {phase: {total for name, _, total in seen if name == phase} for phase in phases}
    assert totals["prepare"] == totals["teach"] == {N} and totals["fit"] == {50} and totals["train"] == {12}
    assert [done for phase, done, _ in seen if phase == "train"] == [*range(1, 13)]


RULES = {
    "source": of_source, "out": of_out, "encoder": of_encoder, "map": of_map, "tsne": of_tsne, "sample": of_sample,
    "prepare": of_prepare, "dataset": of_dataset, "columns": of_columns,
    "allow_missing_chunks": of_allow_missing_chunks, "resume": of_resume, "progress": of_progress,
}  # fmt: skip


def test_no_option_is_left_out():
    # What is not known is refused, which `test_words_elsewhere.py` looks at.
    assert set(RULES) == set(inspect.signature(train).parameters) - {"unknown"}


@pytest.mark.parametrize("option", RULES)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")
def test_each_option(trained, islands, tmp_path, option):
    RULES[option](trained, islands, tmp_path)


# ----------------------------------------------------------------------------------------------------- the manifest


def plain(parameters):
    """Those of an object, as a manifest has them."""
    return {
        name: {"tuple": list(value)} if isinstance(value, tuple) else value
        for name, value in parameters.items()
        if not isinstance(value, Decoder | TSNE)
    }


SAMPLE = 120


def test_each_number_of_the_manifest(looks, trained, islands):
    encoder = ParametricTSNE(**NETWORK, decoder=Decoder(network=(32, 2), n_iter=5))
    tsne, began = TSNE(**FEW), time.perf_counter()
    model = trained(encoder=encoder, tsne=tsne, sample=SAMPLE)
    took = time.perf_counter() - began
    folder = max(model_folder(trained), key=lambda path: path.stat().st_mtime)
    manifest = json.loads((folder / "manifest.json").read_text())
    content, arrays = manifest["content"], manifest["arrays"]
    rows = np.load(folder / "teacher.sample.rows.npy")
    assert len(set(rows)) == SAMPLE
    S, places = islands[rows], np.load(folder / arrays["teacher.model.embedding"]["file"])
    (weights,) = folder.glob("*.safetensors")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    look = np.load(folder / arrays["history.validation"]["file"])
    # "auto" is distillation here, which is judged by the last number of a look: the distance to the teacher.
    best = int(look[np.argmin(look[:, 4]), 0])
    wanted = {
        "source": f"array of shape ({N}, {P})", "read.left_out": {}, "read.remarks": [],
        "weights.file": weights.name, "weights.sha256": digest,
        "network.residual": [16, 2, 16, 1, 0], "network.kind": "ResidualNetwork", "network.bounded": True,
        "network.reach": model.encoder_.body.reach, "decoder.shape": [P, 2, 32, 2],
        "fitted.n_iter": 12, "fitted.best_iter": best, "fitted.seed": 0, "fitted.columns": P,
        "fitted.n_features_in": P, "fitted.feature_names_in": None,
        **{f"parameters.{name}": value for name, value in leaves(plain(encoder.get_params(deep=False)))},
        **{f"parameters.decoder.Decoder.{name}": value for name, value in leaves(plain(vars(encoder.decoder)))},
        "parameters.teacher": "object of type TSNE (not saved)", "not_saved.teacher": "object of type TSNE",
        **{f"teacher.parameters.{name}": value for name, value in tsne.get_params(deep=False).items()},
        "teacher.parameters.n_jobs": 1, "teacher.not_saved": {}, "teacher.sample": {}, "teacher.model.seats": {},
        "teacher.fitted.kl_divergence": pytest.approx(divergence(S, places, 10), rel=1e-3),
        "teacher.fitted.n_iter": 30, "teacher.fitted.n_neighbors": 30, "teacher.fitted.seed": 0,
        "teacher.fitted.n_features_in": P, "teacher.fitted.feature_names_in": None,
        "teacher.model.index.kind": "blocked", "teacher.model.index.metric": "euclidean",
        "teacher.model.dof": 1.0, "teacher.model.exaggeration": 1.0, "teacher.model.reference.k": 15,
    }  # fmt: skip
    found = dict(leaves(content))
    # Parameters that are not in `plain` are looked at by name.
    for name, value in wanted.items():
        assert found.pop(name) == value, name
    seconds = {name: found.pop(name) for name in list(found) if name.startswith("seconds.")}
    batches = np.load(folder / arrays["history.batches"]["file"])
    assert set(seconds) == {f"seconds.{phase}" for phase in ("sample", "fit", "teach", "train", "decoder")}
    assert seconds["seconds.train"] == pytest.approx(batches[:, 5].sum(), abs=1e-3)
    assert all(value >= 0 for value in seconds.values()) and 0 < sum(seconds.values()) <= took
    # Of 30 iterations one is noted; what notes say is looked at where maps are.
    course = {name: found.pop(name) for name in list(found) if name.startswith("teacher.fitted.history.")}
    assert course.pop("teacher.fitted.history.iteration") == [25]
    assert {name.rpartition(".")[2] for name in course} == {"exaggeration", "kl_divergence", "step"}
    assert all(len(values) == 1 and values[0] > 0 for values in course.values())
    # What the run is known again by.
    assert [name for name in found if not name.startswith("job.")] == []
    assert content["job"]["request"]["teacher"]["sample"] == SAMPLE


def model_folder(trained):
    """Folders of encoders beside which the next one would be written."""
    home = inspect.getclosurevars(trained).nonlocals["tmp_path"]
    return [path for path in home.iterdir() if (path / "manifest.json").exists()]


def test_each_array_of_the_manifest(looks, trained, islands, tmp_path):
    trained(out=tmp_path / "encoder", encoder=ParametricTSNE(**NETWORK, decoder=Decoder(network=(16, 1), n_iter=5)))
    folder = tmp_path / "encoder"
    told = json.loads((folder / "manifest.json").read_text())["arrays"]
    assert {entry["file"] for entry in told.values()} == {file.name for file in folder.glob("*.npy")}
    read = {}
    for name, entry in told.items():
        data = (folder / entry["file"]).read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        read[name] = np.load(folder / entry["file"])
        assert entry["shape"] == list(read[name].shape) and np.dtype(entry["dtype"]) == read[name].dtype
    D, own = own_of(islands)
    np.testing.assert_array_equal(read.pop("teacher.sample.rows"), np.arange(N))
    np.testing.assert_array_equal(read.pop("teacher.model.index.rows"), islands)
    np.testing.assert_allclose(read.pop("teacher.model.reference.own"), own, rtol=1e-4)
    np.testing.assert_allclose(read.pop("teacher.model.reference.novelty"), novelty_of(D, own), rtol=1e-4)
    assert read.pop("teacher.model.embedding").shape == (N, 2)
    assert sorted(read.pop("teacher.model.seats.rows")) == list(range(N))
    assert len(np.unique(read.pop("teacher.model.seats.hashes"), axis=0)) == N
    steps, looks = read.pop("history.batches"), read.pop("history.validation")
    # 200 rows in four batches of 50, a tenth of them held out.
    np.testing.assert_array_equal(steps[:, 0], np.arange(12))
    np.testing.assert_array_equal(steps[:, 1], np.repeat([0, 1, 2], 4))
    np.testing.assert_array_equal(np.add.reduceat(steps[:, 3], [0, 4, 8]), [180] * 3)
    assert (steps[:, 2] == 0).all() and (steps[:, 5] > 0).all() and np.isfinite(steps).all()
    # Up over one batch, which has the full rate at once, and down over the last 40 of 100 of the rest.
    rates = [6e-3 * min(1.0, (12 - step) / (0.4 * 11)) for step in range(12)]
    np.testing.assert_allclose(steps[:, 7], rates, rtol=1e-6)
    np.testing.assert_array_equal(looks[:, 0], [0, 4, 8, 12])
    own_steps, own_looks = read.pop("decoder.history.batches"), read.pop("decoder.history.validation")
    assert len(own_steps) == 5 and own_looks.shape == (3, 2) and not read


def test_each_look_of_the_history(looks, islands):
    """Divergence, attraction, recall and distance of the held-out rows, from all pairs."""
    teacher = TSNE(**FEW).fit(islands)
    held = {}
    from tsne_ooc.parametric import validation

    class Seen(validation.Validation):
        def __init__(self, rows, around, targets, width, **options):
            super().__init__(rows, around, targets, width, **options)
            held.update(rows=rows, around=around, targets=targets, width=width)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tsne_ooc.parametric.outset.Validation", Seen)
        model = ParametricTSNE(teacher, **NETWORK).fit(islands)
    looks = model.history_["validation"]
    # The weights are those of the nearest look.
    last = int(np.argmin(looks["distance"]))
    assert model.best_iter_ == looks["step"][last] > 0
    rows, around = held["rows"], held["around"]
    assert len(rows) == N // 10 and len(around) == N - N // 10
    both = {row.tobytes() for row in rows} | {row.tobytes() for row in around}
    assert both == {row.tobytes() for row in islands}
    np.testing.assert_array_equal(held["targets"], teacher.transform(rows))
    assert held["width"] == pytest.approx(teacher.embedding_.std(axis=0).max(), rel=1e-5)
    Y, near = model.transform(rows).astype(float), model.transform(around).astype(float)
    D = cdist(rows, around)
    order = np.argsort(D, axis=1, kind="stable")[:, :90]
    p = np.zeros_like(D)
    for i in range(len(rows)):
        p[i, order[i]] = reference.conditional(D[i, order[i]], 30)
    w = 1 / (1 + cdist(Y, near) ** 2)
    q = w / w.sum(axis=1, keepdims=True)
    divergence = np.where(p > 0, p * np.log(np.where(p > 0, p, 1) / q), 0).sum(axis=1).mean()
    attraction = -(p * np.log(w)).sum(axis=1).mean()
    hits = [len(set(order[i, :10]) & set(np.argsort(cdist(Y, near)[i])[:10])) / 10 for i in range(len(rows))]
    distance = np.linalg.norm(Y - held["targets"], axis=1).mean() / held["width"]
    assert looks["kl_divergence"][last] == pytest.approx(divergence, rel=2e-3)
    assert looks["attraction"][last] == pytest.approx(attraction, rel=2e-3)
    assert looks["recall"][last] == pytest.approx(np.mean(hits), abs=0.011)
    assert looks["distance"][last] == pytest.approx(distance, rel=1e-4)
