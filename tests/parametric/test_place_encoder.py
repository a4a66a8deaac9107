"""New rows in a file through an encoder to a folder: the bits of `transform`, in any blocks, and on after a stop."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from scipy.sparse import csr_matrix

torch = pytest.importorskip("torch", reason="encoders need the extra 'neural'")

import tsne_ooc  # noqa: E402
from tsne_ooc import TSNE  # noqa: E402
from tsne_ooc.cli import main  # noqa: E402
from tsne_ooc.parametric import ParametricTSNE, load  # noqa: E402
from tsne_ooc.pipeline import open_run, place  # noqa: E402
from tsne_ooc.pipeline.models import opened_model  # noqa: E402
from tsne_ooc.preprocess import PCA, Preparation, Standardize  # noqa: E402

ROWS = 3000


@pytest.fixture(scope="module")
def home(islands, tmp_path_factory):
    """An encoder, and a file of rows that are new to it."""
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("home")
    few = TSNE(n_iter=20, early_exaggeration_iter=10, neighbors="exact", random_state=0, perplexity=10)
    prepare = Preparation([Standardize(), PCA(4)])
    model = ParametricTSNE(few, network=(32, 2), n_iter=20, batch_size=64, random_state=0, prepare=prepare)
    model.fit(islands).save(home / "encoder")
    rng = np.random.default_rng(5)
    new = islands[rng.integers(0, 200, ROWS)] + rng.normal(size=(ROWS, 5)).astype(np.float32)
    with h5py.File(home / "new.h5", "w") as file:
        file.create_dataset("X", data=new, chunks=(700, 5))
    return home


@pytest.fixture(scope="module")
def wanted(home):
    with h5py.File(home / "new.h5") as file:
        return load(home / "encoder").transform(file["X"][:])


@pytest.mark.parametrize("rows", [None, 1, 333, 1024])
def test_places_are_those_of_transform(home, wanted, tmp_path, rows):
    words = [] if rows is None else ["--block-rows", str(rows if rows > 1 else 97)]
    arguments = ["place", str(home / "encoder"), str(home / "new.h5"), "--out", str(tmp_path / "map"), *words]
    assert main([*arguments, "--jobs", "2", "--quiet"]) == 0
    run = open_run(tmp_path / "map")
    assert run.embedding.dtype == np.float32 and (run.embedding == wanted).all()
    # Novelty costs a search, which nobody asked for.
    assert run.novelty is None and "novelty" not in run.manifest
    assert sorted(path.name for path in (tmp_path / "map").iterdir()) == ["embedding.npy", "manifest.json"]


def test_nothing_is_searched_for_unless_novelty_is_asked_for(home, wanted, tmp_path, monkeypatch):
    asked = (home / "encoder", home / "new.h5")
    run = place(*asked, out=tmp_path / "asked", novelty=True, block_rows=512)
    assert (run.embedding == wanted).all()
    with h5py.File(home / "new.h5") as file:
        assert (run.novelty == load(home / "encoder").score_samples(file["X"][:])).all()
    assert run.manifest["novelty"]["threshold"] == pytest.approx(load(home / "encoder").novelty_threshold_)
    monkeypatch.setattr("tsne_ooc.estimator.fitted_map.nearest_rows", None)
    place(*asked, out=tmp_path / "map")
    with pytest.raises(TypeError):
        place(*asked, out=tmp_path / "other", novelty=True)


class Stop(Exception):
    pass


def test_a_run_that_stopped_goes_on(home, wanted, tmp_path, monkeypatch):
    def progress(phase, done, total):
        if done >= 1400:
            raise Stop

    asked = {"out": tmp_path / "map", "block_rows": 700}
    with pytest.raises(Stop) as stopped:
        place(home / "encoder", home / "new.h5", **asked, progress=progress)
    assert "--resume" in stopped.value.__notes__[0] and not (tmp_path / "map" / "manifest.json").exists()
    with pytest.raises(FileExistsError, match=r"not finished \(1,400 rows are done\).*--resume"):
        place(home / "encoder", home / "new.h5", **asked)
    with pytest.raises(ValueError, match="novelty was False, is True"):
        place(home / "encoder", home / "new.h5", **asked, resume=True, novelty=True)
    seen = []
    run = place(
        home / "encoder", home / "new.h5", out=tmp_path / "map", block_rows=100, n_jobs=2, resume=True,
        progress=lambda *event: seen.append(event[1]),
    )  # fmt: skip
    assert seen[0] == 1400 and (run.embedding == wanted).all()


def test_other_columns_are_refused(home, islands, tmp_path, capsys):
    with h5py.File(tmp_path / "narrow.h5", "w") as file:
        file.create_dataset("X", data=islands[:, :4])
    assert main(["place", str(home / "encoder"), str(tmp_path / "narrow.h5"), "--out", str(tmp_path / "map")]) == 2
    assert "has 4 columns, and the map was made of 5" in capsys.readouterr().err and not (tmp_path / "map").exists()


def test_a_map_tells_novelty_unless_it_is_not_wanted(home, islands, tmp_path):
    load(home / "encoder").teacher_.save(tmp_path / "model")
    rows = np.asarray(load(home / "encoder").teacher_.map_.model.index.state()[1]["rows"])
    assert place(tmp_path / "model", rows, out=tmp_path / "map").novelty is not None
    assert place(tmp_path / "model", rows, out=tmp_path / "less", novelty=False).novelty is None


def test_the_folder_of_an_encoder_says_who_reads_it(home):
    with pytest.raises(ValueError, match=r"holds an encoder; load it with tsne_ooc\.parametric\.load"):
        tsne_ooc.load(home / "encoder")


def test_saved_and_loaded_it_refuses_the_tables_that_it_refused(home, islands, tmp_path):
    """Sparse tables, and values that are missing, whichever call they are handed to."""
    few = TSNE(n_iter=9, early_exaggeration_iter=9, neighbors="exact", random_state=0, perplexity=10)
    model = ParametricTSNE(few, network=(16, 1), n_iter=3, batch_size=64, random_state=0).fit(islands[:200])
    model.save(tmp_path / "encoder")
    lacking = islands[:9].copy()
    lacking[4, 2] = np.nan
    for asked in (model, load(tmp_path / "encoder")):
        for call in (asked.transform, asked.score_samples):
            with pytest.raises(TypeError, match="X is a sparse csr_matrix, which is not supported here"):
                call(csr_matrix(islands[:9]))
            with pytest.raises(ValueError, match=r"NaN .*row 4, column 2"):
                call(lacking)
    with pytest.raises(ValueError, match=r"NaN .*row 4, column 2"):
        ParametricTSNE(few, network=(16, 1), n_iter=3).fit(np.concatenate([lacking, islands[:200]]))


def test_an_encoder_whose_training_was_stopped_at_once_is_read_back(islands, tmp_path):
    few = TSNE(n_iter=9, early_exaggeration_iter=9, neighbors="exact", random_state=0, perplexity=10)
    model = ParametricTSNE(few, network=(16, 1), n_iter=3, batch_size=64, random_state=0).fit(islands[:200])
    at_once = replace(model.fitted_, n_iter=0, best_iter=0)
    ParametricTSNE.of_fitted(at_once, **model.get_params(deep=False)).save(tmp_path / "encoder")
    found = load(tmp_path / "encoder")
    assert (found.n_iter_, found.best_iter_) == (0, 0)
    assert (found.transform(islands[:9]) == model.transform(islands[:9])).all()


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_an_encoder_is_opened_with_the_threads_that_are_asked_for(home, n_jobs):
    assert opened_model(home / "encoder", n_jobs).estimator.n_jobs == n_jobs
