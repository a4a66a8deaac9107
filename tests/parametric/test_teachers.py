"""Teachers that were saved, interrupted or frozen, networks of one's own, and trainings without a seed."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")
from sklearn.frozen import FrozenEstimator  # noqa: E402

import tsne_ooc  # noqa: E402
from tsne_ooc import TSNE  # noqa: E402
from tsne_ooc.parametric import ParametricTSNE  # noqa: E402
from tsne_ooc.pipeline import train  # noqa: E402

SMALL = {"network": (16, 1), "landmarks": 0, "n_iter": 12, "n_jobs": 1}
SHORT = {"early_exaggeration_iter": 20, "n_iter": 30, "random_state": 0, "n_jobs": 1}


def weights(model):
    return [value.numpy().copy() for value in model.encoder_.state_dict().values()]


def same(a, b):
    return all((x == y).all() for x, y in zip(weights(a), weights(b), strict=True))


def matrix(X):
    W = np.exp(-np.square(X[:, None] - X[None]).sum(-1) / 20)
    np.fill_diagonal(W, 0)
    return W


@pytest.mark.parametrize("metric, params", [("seuclidean", True), ("mahalanobis", None), ("minkowski", True)])
def test_a_saved_map_teaches_in_its_own_metric(islands, tmp_path, metric, params):
    own = {"seuclidean": {"V": islands.var(axis=0)}, "minkowski": {"p": 3}}.get(metric) if params else None
    teacher = TSNE(metric=metric, metric_params=own, **SHORT).fit(islands)
    wanted = ParametricTSNE(teacher, random_state=0, **SMALL).fit(islands)
    teacher.save(tmp_path / "map")
    found = ParametricTSNE(tsne_ooc.load(tmp_path / "map"), random_state=0, **SMALL).fit(islands)
    assert same(found, wanted)
    # Looks at held-out rows too: they are in the same metric.
    looks = (model.history_["validation"]["recall"] for model in (found, wanted))
    np.testing.assert_array_equal(*looks)


def test_a_saved_map_of_a_matrix_teaches_its_places(islands, tmp_path):
    teacher = TSNE(affinity=matrix(islands), **SHORT).fit(islands)
    teacher.save(tmp_path / "map")
    saved = tsne_ooc.load(tmp_path / "map")
    with pytest.warns(UserWarning, match="affinities of the teacher are not in its folder"):
        found = ParametricTSNE(saved, random_state=0, **SMALL).fit(islands)
    wanted = ParametricTSNE(teacher, random_state=0, augmentation=0, objective="distillation", **SMALL).fit(islands)
    assert same(found, wanted)
    with pytest.raises(ValueError, match="no file holds; use objective='distillation'"):
        ParametricTSNE(saved, objective="batch_local", **SMALL).fit(islands)


def test_a_teacher_of_a_matrix_is_kept_as_it_was_asked_for(islands, tmp_path):
    """Its folder has only a few words of the matrix; the run has the matrix."""
    teacher, options = TSNE(affinity=matrix(islands), **SHORT), {"objective": "field", "random_state": 0, **SMALL}
    found = train(islands, out=tmp_path / "run", encoder=ParametricTSNE(**options), tsne=teacher)
    wanted = ParametricTSNE(TSNE(affinity=matrix(islands), **SHORT), **options).fit(islands)
    np.testing.assert_array_equal(found.transform(islands), wanted.transform(islands))


def test_an_interrupt_of_the_teacher_ends_the_training(islands):
    def stop(iteration, error, embedding):
        raise KeyboardInterrupt

    for sample in (None, 100):
        teacher = TSNE(callbacks=stop, callbacks_every_iters=10, sample=sample, **SHORT)
        model = ParametricTSNE(teacher, random_state=0, **SMALL)
        with pytest.raises(KeyboardInterrupt):
            model.fit(islands)
        assert not hasattr(model, "encoder_")


def test_a_frozen_teacher_teaches(islands):
    teacher = TSNE(perplexity=10, **SHORT).fit(islands)
    wanted = ParametricTSNE(teacher, random_state=0, **SMALL).fit(islands)
    assert same(ParametricTSNE(FrozenEstimator(teacher), random_state=0, **SMALL).fit(islands), wanted)


class Own(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.all = torch.nn.Sequential(torch.nn.Linear(5, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))

    def forward(self, x):
        return self.all(x)


def test_a_network_of_ones_own_comes_out_of_a_run(islands, tmp_path):
    torch.manual_seed(0)
    own = ParametricTSNE(network=Own(), n_iter=6, random_state=0, n_jobs=1)
    first = train(islands, out=tmp_path / "run", encoder=own, tsne=TSNE(**SHORT))
    again = train(islands, out=tmp_path / "run", encoder=own, tsne=TSNE(**SHORT), resume=True)
    np.testing.assert_array_equal(first.transform(islands), again.transform(islands))
    assert isinstance(first.encoder_.body, Own)


def test_the_same_call_without_a_seed_goes_on(islands, tmp_path, monkeypatch):
    monkeypatch.setattr(ParametricTSNE, "LOOK_EVERY", 4)

    class Stop(BaseException):
        pass

    at, went_on = [9], []

    def stop(step, loss, network):
        went_on.append(step)
        if step in at:
            raise Stop

    state = tmp_path / "state"
    same_call = {"callbacks": stop, "callbacks_every_iters": 1, **SMALL}
    with pytest.raises(Stop):
        ParametricTSNE(TSNE(perplexity=10, **SHORT), **same_call).fit(islands, checkpoint=state)
    at.clear()
    went_on.clear()
    model = ParametricTSNE(TSNE(perplexity=10, **SHORT), **same_call).fit(islands, checkpoint=state)
    assert went_on[0] == 9 and model.n_iter_ == 12
    # Another seed that is asked for is another training.
    with pytest.raises(ValueError, match=r"a training with another .*random_state"):
        ParametricTSNE(TSNE(perplexity=10, **SHORT), random_state=5, **same_call).fit(islands, checkpoint=state)


@pytest.mark.parametrize("copies", [0, 40, 150])
def test_a_fitted_teacher_knows_its_rows_again_however_many_are_copies(islands, tmp_path, copies):
    X = islands.copy()
    rng = np.random.default_rng(3)
    X[rng.permutation(200)[:copies]] = X[rng.integers(0, 200, copies)]
    teacher = TSNE(perplexity=10, **SHORT)
    wanted = ParametricTSNE(teacher, random_state=0, objective="field", **SMALL).fit(X)
    teacher.fit(X)
    assert same(ParametricTSNE(teacher, random_state=0, objective="field", **SMALL).fit(X), wanted)
    teacher.save(tmp_path / "map")
    assert same(
        ParametricTSNE(tsne_ooc.load(tmp_path / "map"), random_state=0, objective="field", **SMALL).fit(X), wanted
    )
    # Other rows, or the same in another order, are not those of the fit.
    for other in (X[::-1].copy(), np.concatenate([X[:199], X[:1] + 1])):
        told = ParametricTSNE(teacher, random_state=0, **SMALL).fit(other)
        places = teacher.transform(other)
        assert np.abs(told.transform(other) - places).mean() < 2 * places.std()
        with pytest.raises(ValueError, match="affinities of all rows"):
            ParametricTSNE(teacher, objective="field", **SMALL).fit(other)
