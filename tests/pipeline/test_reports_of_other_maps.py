"""Reports of maps whose rows are not to be had, or can be compared in part only: the page says what it is, and why."""

from __future__ import annotations

import shutil
import tracemalloc

import numpy as np
import pytest
from test_report import FEW, KINDS, N, P, Page, kept, rows, sealed

import tsne_ooc
from tsne_ooc import TSNE
from tsne_ooc.preprocess import PCA, Preparation, Standardize
from tsne_ooc.report import faithfulness, report, several
from tsne_ooc.report.choices import _phases, _step
from tsne_ooc.schedule import Phase


def measured(found):
    return any(name.startswith("Neighbour recall, 10") for name in found.rows)


@pytest.fixture
def page(tmp_path):
    def of(*given, **options):
        return Page(report(*given, out=tmp_path / "report.html", overwrite=True, **options))

    return of


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A table and one of fewer columns; maps of rows, of prepared rows and of some rows that were placed."""
    folder = tmp_path_factory.mktemp("home")
    np.save(folder / "X.npy", rows())
    np.save(folder / "narrow.npy", rows()[:150, :2])
    np.save(folder / "other.npy", rows(seed=5))
    TSNE(**FEW).fit(rows()[:150]).save(folder / "model")
    tsne_ooc.embed(folder / "X.npy", out=folder / "map", sample=150, tsne=TSNE(**FEW))
    tsne_ooc.place(folder / "model", folder / "X.npy", out=folder / "part", rows=(20, 100))
    steps = Preparation([Standardize(), PCA(3)])
    tsne_ooc.embed(folder / "X.npy", out=folder / "prepared", sample=150, tsne=TSNE(**FEW), prepare=steps)
    return folder


def test_a_part_of_the_rows(home, page):
    found = page(home / "part")
    assert (
        "the map has 80 rows and the table 240, so the map is of a part of it; merge the parts first (tsne-ooc merge)"
    ) in found.words
    assert "This could not be measured" in found.words and not measured(found)


def test_a_table_of_other_columns(home, page):
    found = page(home / "model", table=home / "narrow.npy")
    assert "the table does not fit the map: " in found.words
    assert "2 columns, and the map was made of 5" in found.words
    # What the model holds of its own rows is there to compare.
    assert measured(found) and "All 150 rows were looked at." in found.words


def test_a_map_by_phases_of_ones_own(home, tmp_path, page):
    """They are in the table of parameters, which has all of them; no words are made up for them."""
    phases = [Phase(10, exaggeration=12.0), Phase(10)]
    tsne = TSNE(perplexity=6, random_state=0, schedule=phases)
    own = page(tsne_ooc.embed(home / "X.npy", out=tmp_path / "own", sample=150, tsne=tsne).folder)
    assert "schedule of the fit" not in own.rows and "Phase" in own.row("schedule")[0]
    assert "10 iterations at exaggeration" not in own.words and "schedule of the fit" in page(home / "map").rows


def test_rows_that_were_prepared_by_a_model_that_is_gone(home, tmp_path, page):
    """As their table holds them they are other rows than those that were embedded."""
    shutil.copytree(home / "prepared", tmp_path / "map", ignore=shutil.ignore_patterns("model"))
    found = page(tmp_path / "map")
    assert "its rows were prepared by what went with the model, so they cannot be compared" in found.words
    assert not measured(found)
    whole = page(home / "prepared")
    assert "prepared by what" not in whole.words and measured(whole)
    # Rows that nobody prepared are compared without the model, too.
    shutil.copytree(home / "map", tmp_path / "plain", ignore=shutil.ignore_patterns("model"))
    share = float(page(tmp_path / "plain").row("Neighbour recall, 10")[0])
    assert share == pytest.approx(kept(rows(), tsne_ooc.open_run(home / "map").embedding), abs=1e-3)


def test_a_map_of_distances(tmp_path, page):
    from scipy.spatial.distance import cdist

    np.save(tmp_path / "D.npy", cdist(rows(), rows()).astype(np.float32))
    tsne = TSNE(**FEW, metric="precomputed")
    run = tsne_ooc.embed(tmp_path / "D.npy", out=tmp_path / "map", sample=N, tsne=tsne)
    found = page(run.folder)
    assert "the map was made of distances, and not of rows" in found.words
    assert "the model holds no rows that could be compared" in found.words
    assert "This could not be measured" in found.words


@pytest.mark.parametrize("metric", ["euclidean", "manhattan"])
def test_sparse_rows_of_a_model(tmp_path, page, metric):
    """The model keeps them, but not as a table of numbers; as a table they are compared."""
    from scipy.sparse import csr_array

    X = np.where(rows() > 1, rows(), 0)
    model = TSNE(**FEW, metric=metric, neighbors="exact").fit(csr_array(X))
    model.save(tmp_path / "model")
    found = page(tmp_path / "model")
    assert "the model holds no rows that could be compared" in found.words
    assert "This could not be measured" in found.words
    TSNE(**FEW, metric=metric, neighbors="exact").fit(X).save(tmp_path / "dense")
    assert "the model holds no rows" not in page(tmp_path / "dense").words


def test_what_a_metric_took_from_the_fitted_rows_is_that_of_the_report(tmp_path, page):
    """The spread of columns is that of the rows that were fitted, and not of all."""
    X = rows()
    X[150:, 0] *= 50
    np.save(tmp_path / "X.npy", X)
    tsne = TSNE(**FEW, metric="seuclidean")
    run = tsne_ooc.embed(tmp_path / "X.npy", out=tmp_path / "map", sample=np.arange(150), tsne=tsne)
    shares = [kept(X / X[:n].std(axis=0), run.embedding) for n in (150, N)]
    assert abs(shares[0] - shares[1]) > 0.01
    assert float(page(run.folder).row("Neighbour recall, 10")[0]) == pytest.approx(shares[0], abs=1e-3)


def test_packed_bits_have_no_principal_components(tmp_path, page):
    np.save(tmp_path / "bits.npy", np.random.default_rng(0).integers(0, 256, (N, 4)).astype(np.uint8))
    tsne = TSNE(**FEW, metric="bit_jaccard")
    run = tsne_ooc.embed(tmp_path / "bits.npy", out=tmp_path / "map", sample=150, tsne=tsne)
    found = page(run.folder)
    assert "columns compared by bit_jaccard have no principal components" in found.words
    assert found.row("Neighbour recall, 10")[1] == "\N{EN DASH}"


def test_two_runs_of_other_tables_and_options(home, tmp_path, page):
    other = tsne_ooc.embed(home / "other.npy", out=tmp_path / "other", sample=150, tsne=TSNE(**FEW))
    found = page(home / "map", others=[other.folder])
    assert "they are of other tables" in found.words
    same = tsne_ooc.embed(home / "X.npy", out=tmp_path / "same", sample=120, tsne=TSNE(**FEW))
    assert "they are of other tables" not in page(home / "map", others=[same.folder]).words


def test_scores_without_a_number_are_not_shown(tmp_path, page):
    scored = {"novelty": np.linspace(0, 1, N).astype(np.float32)}
    with_scores = page(sealed(tmp_path / "scored", {"embedding": rows()[:, :2], **scored}))
    none = {"novelty": np.full(N, np.nan, np.float32)}
    without = page(sealed(tmp_path / "none", {"embedding": rows()[:, :2], **none}))
    assert len(without.alts) < len(with_scores.alts)


def test_what_cannot_be_compared_of_few_columns_and_many_labels(tmp_path, page, monkeypatch):
    np.save(tmp_path / "Y.npy", rows()[:, :2])
    np.save(tmp_path / "one.npy", rows()[:, :1])
    found = page(tmp_path / "Y.npy", table=tmp_path / "one.npy")
    assert "a table of 1 column has no 2 principal components" in found.words
    assert found.row("Neighbour recall, 10")[1] == "\N{EN DASH}"
    np.save(tmp_path / "X.npy", rows())
    assert "principal components" in page(tmp_path / "Y.npy", table=tmp_path / "X.npy").words
    monkeypatch.setattr(faithfulness, "_NUMBERS", 6 * P - 1)
    found = page(tmp_path / "Y.npy", KINDS, table=tmp_path / "X.npy")
    assert f"means of 6 labels of {P} columns were too much to hold" in found.words
    assert not any(name.startswith("Nearest class means") for name in found.rows)
    monkeypatch.setattr(faithfulness, "_NUMBERS", 6 * P)
    found = page(tmp_path / "Y.npy", KINDS, table=tmp_path / "X.npy")
    assert "too much to hold" not in found.words
    assert any(name.startswith("Nearest class means") for name in found.rows)


def test_some_rows_stand_for_all_where_a_percent_of_them_is_asked_for(tmp_path, page, monkeypatch):
    np.save(tmp_path / "Y.npy", rows()[:, :2])
    np.save(tmp_path / "X.npy", rows())
    words = "For 1 % of the rows, 120 rows that were drawn stand for all."
    assert words not in page(tmp_path / "Y.npy", table=tmp_path / "X.npy").words
    monkeypatch.setattr(faithfulness, "OTHERS", 120)
    assert words in page(tmp_path / "Y.npy", table=tmp_path / "X.npy").words


def test_what_another_version_wrote_is_told_as_it_stands():
    """A schedule or a step that this version does not know is neither an error nor explained."""
    assert _phases({"schedule": "of another version"}) is None and _phases({"n_iter": -1}) is None
    assert _phases({"schedule": "object of type Mine [1234]"}) is None
    assert _phases({"n_iter": 5, "early_exaggeration_iter": 5}).startswith("5 iterations at exaggeration 12")
    assert _step("a step of another version") == "a step of another version"
    assert _step({"class": "PCA", "n": 5}) == "PCA(n=5)"


def test_how_far_rows_moved_takes_no_more_memory_than_their_places():
    """On a line and on a plane; rows times rows of the 25,000 that are compared would be 5 GB."""
    line, plane = np.arange(3_000.0)[:, None], np.hstack([np.arange(3_000.0)[:, None], np.zeros((3_000, 1))])
    tracemalloc.start()
    try:
        for one, other in ((line, plane), (plane, line), (plane, plane)):
            # The second lies along one of its axes, as the first does.
            assert np.abs(several._moved(one, other)).max() < 1e-6
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()
