"""Strange rows are kept evenly, join the sample once, and the fit goes on from where the map stood."""

import numpy as np
import pytest

from tsne_ooc import TSNE, load
from tsne_ooc.placement import Placed
from tsne_ooc.rounds import NovelRows, Seated, enlarge, refit
from tsne_ooc.schedule import Phase, Schedule


@pytest.fixture(scope="module")
def blobs():
    """Two common groups, 3,000 copies of a row that the sample missed, and 25 rows of another kind."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=(4000, 5)) + 12 * (np.arange(4000) % 2)[:, None]
    copies = np.tile([40.0, 0, 0, 0, 0], (3000, 1))
    rare = rng.normal(size=(25, 5)) * 0.3 + [0, -30, 0, 0, 0]
    X = np.concatenate([common, copies, rare]).astype(np.float32)
    kind = np.repeat([0, 1, 2], [4000, 3000, 25])
    rows = np.arange(0, 800)
    model = TSNE(random_state=0).fit(X[rows])
    return X, kind, model, Seated(rows, X[rows], model.embedding_)


def collected(blobs, block, order=None, **options):
    X, _, model, sample = blobs
    novel = NovelRows(model, sample, 200, np.random.default_rng(5), **options)
    order = np.arange(len(X)) if order is None else order
    for start in range(0, len(X), block):
        rows = order[start : start + block]
        novel.add(rows, X[rows], model.place_prepared(X[rows]))
        assert novel._boxes.held <= 400
    return novel


def test_all_kinds_are_chosen_however_many_copies_there_are(blobs):
    X, kind, model, sample = blobs
    novel = collected(blobs, 1000)
    assert novel.seen >= 3025
    chosen = novel.choose(90)
    assert len(chosen.rows) <= 90 and (np.diff(chosen.rows) > 0).all()
    counts = np.bincount(kind[chosen.rows], minlength=3)
    # A box has up to 30 rows: all copies are one.
    assert counts[1] == 30 and counts[2] == 25
    np.testing.assert_array_equal(chosen.X, X[chosen.rows])
    np.testing.assert_array_equal(chosen.embedding, model.transform(chosen.X))
    assert not np.isin(chosen.rows, sample.rows).any()


def test_what_is_kept_does_not_follow_the_stream(blobs):
    expected = collected(blobs, 7025).choose(60)
    for block, order in [(333, None), (1000, np.random.default_rng(1).permutation(7025))]:
        found = collected(blobs, block, order).choose(60)
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.embedding, expected.embedding)


def test_rows_below_the_cut_do_not_count(blobs):
    X, _, model, sample = blobs
    novel = NovelRows(model, sample, 10, np.random.default_rng(0), beyond=2.0)
    places = np.zeros((4, 2), np.float32)
    novelty = np.array([1, 2, 3, 9], np.float32)
    novel.add(np.array([0, 900, 901, 902]), X[:4], Placed(places, np.zeros(4, np.int32), novelty))
    # Row 0 is in the sample, row 900 is not beyond 2.
    assert novel.choose(10).rows.tolist() == [901, 902] and novel.seen == 2
    novel.add(np.array([5]), X[:1], Placed(places[:1], np.zeros(1, np.int32), novelty[3:]))
    assert novel.seen == 2
    with pytest.raises(ValueError, match="placed without their novelty"):
        novel.add(np.array([1]), X[:1], Placed(places[:1], np.zeros(1, np.int32)))


def test_nothing_strange_is_nothing_chosen(blobs):
    _, _, model, sample = blobs
    chosen = NovelRows(model, sample, 10, np.random.default_rng(0)).choose(5)
    assert [array.shape for array in chosen] == [(0,), (0, 5), (0, 2)]
    assert enlarge(sample, chosen).rows.tolist() == sample.rows.tolist()


def test_enlarging_merges_by_row_number():
    a, b = np.arange(6, dtype=np.float32).reshape(3, 2), -np.ones((2, 2), np.float32)
    both = enlarge(Seated(np.array([1, 5, 7]), a, a + 10), Seated(np.array([5, 6]), b, b))
    assert both.rows.tolist() == [1, 5, 6, 7]
    np.testing.assert_array_equal(both.X, [a[0], a[1], b[1], a[2]])
    np.testing.assert_array_equal(both.embedding, [a[0] + 10, a[1] + 10, b[1], a[2] + 10])


def test_a_refit_starts_where_the_map_stood_and_gives_the_missed_an_island(blobs, tmp_path):
    X, kind, model, sample = blobs
    larger = enlarge(sample, collected(blobs, 2000).choose(90))
    still = refit(model, larger, schedule=Schedule([Phase(0)]))
    np.testing.assert_array_equal(still.embedding_, larger.embedding)
    before = model.embedding_.copy()
    again = refit(model, larger)
    np.testing.assert_array_equal(model.embedding_, before)
    np.testing.assert_array_equal(refit(model, larger).embedding_, again.embedding_)
    np.testing.assert_array_equal(again.sample_rows_, larger.rows)
    assert {key: str(value) for key, value in again.get_params().items()} == {
        key: str(value) for key, value in model.get_params().items()
    }
    # Rare rows sat among others; now nothing foreign is as near to them as they are to each other.
    Y, rare = again.embedding_, kind[larger.rows] == 2
    within = np.linalg.norm(Y[rare][:, None] - Y[rare], axis=2).max()
    away = np.linalg.norm(Y[rare][:, None] - Y[~rare], axis=2).min()
    assert away > within
    assert (again.score_samples(X[kind > 0]) > again.novelty_threshold_).mean() < 0.01
    again.save(tmp_path / "again")
    np.testing.assert_array_equal(load(tmp_path / "again").transform(X[-30:]), again.transform(X[-30:]))


def test_a_refit_takes_what_the_first_fit_took():
    """A preparation that leaves fewer columns, of a table with names: the refit sees prepared rows, without them."""
    import pandas as pd

    from tsne_ooc.preprocess import PCA, Preparation, Standardize

    raw = pd.DataFrame(np.random.default_rng(0).normal(size=(120, 5)), columns=list("abcde"))
    few = {"random_state": 0, "perplexity": 8, "n_iter": 5, "early_exaggeration_iter": 0}
    for steps, p in (([Standardize(), PCA(2)], 2), ([Standardize()], 5)):
        model = TSNE(**few, prepare=Preparation(steps)).fit(raw)
        X = model.preparation_.transform(raw)
        assert X.shape[1] == p
        again = refit(model, Seated(np.arange(120), X, model.embedding_))
        assert again.n_features_in_ == 5 and again.feature_names_in_.tolist() == list("abcde")
        wanted = again.place_prepared(X).embedding
        np.testing.assert_array_equal(again.transform(raw), wanted)
        np.testing.assert_array_equal(again.transform(raw[list("ebdca")]), wanted)
        with pytest.warns(UserWarning, match="feature names"), pytest.raises(ValueError, match="4 features"):
            again.transform(raw.to_numpy()[:, :4])
    # Without names there are none.
    plain = TSNE(**few).fit(X)
    assert not hasattr(refit(plain, Seated(np.arange(120), X, plain.embedding_)), "feature_names_in_")


def test_a_refit_keeps_the_preparation():
    from tsne_ooc.preprocess import Preparation, Standardize

    raw = np.random.default_rng(0).normal(size=(300, 4)) * [1, 10, 100, 1000]
    model = TSNE(random_state=0, perplexity=10, n_iter=20, prepare=Preparation([Standardize()])).fit(raw)
    X = model.preparation_.transform(raw)
    again = refit(model, Seated(np.arange(300), X, model.embedding_))
    assert str(again.prepare) == str(model.prepare)
    np.testing.assert_array_equal(again.transform(raw), again.place_prepared(X).embedding)
    assert again.n_features_in_ == 4


def test_options_at_their_limits_and_what_is_strange_unless_it_is_said(blobs):
    _, _, model, sample = blobs
    rng = np.random.default_rng(0)
    assert NovelRows(model, sample, 1, rng, rows_per_box=1).beyond == np.quantile(model.novelty_, 0.99)
    assert NovelRows(model, sample, 1, rng, beyond=np.float32(0.5)).beyond == 0.5
    for options, message in (
        ({"capacity": 0}, "capacity=0 must be at least 1"),
        ({"capacity": 5, "rows_per_box": 0}, "rows_per_box=0 must be at least 1"),
        ({"capacity": 5, "beyond": np.nan}, "beyond=nan must be a finite number"),
    ):
        with pytest.raises(ValueError, match=message):
            NovelRows(model, sample, rng=rng, **options)
    with pytest.raises(ValueError, match="size=0 must be at least 1"):
        NovelRows(model, sample, 1, rng).choose(0)


def test_rows_that_were_kept_do_not_follow_a_block_that_is_written_over(blobs):
    X, _, model, sample = blobs
    novel = NovelRows(model, sample, 10, np.random.default_rng(0), beyond=2.0)
    block, places = X[1000:1003].copy(), np.arange(6, dtype=np.float32).reshape(3, 2)
    rows = np.array([1000, 1001, 1002])
    novel.add(rows, block, Placed(places, np.zeros(3, np.int32), np.array([3, 1, 4], np.float32)))
    block[...], places[...], rows[...] = 0, 0, 0
    chosen = novel.choose(5)
    assert chosen.rows.tolist() == [1000, 1002]
    np.testing.assert_array_equal(chosen.X, X[[1000, 1002]])
    assert chosen.embedding.tolist() == [[0, 1], [4, 5]]


def test_a_row_that_is_in_the_sample_keeps_the_seat_it_has():
    def seated(rows, value):
        rows = np.array(rows)
        return Seated(rows, np.full((len(rows), 2), value, np.float32), np.full((len(rows), 1), value, np.float32))

    sample, more = seated([2, 5, 9], 1), seated([0, 5, 7, 11], 8)
    found = enlarge(sample, more)
    assert found.rows.tolist() == [0, 2, 5, 7, 9, 11]
    for part in (found.X[:, 0], found.X[:, 1], found.embedding[:, 0]):
        assert part.tolist() == [8, 1, 1, 8, 1, 8]
    assert enlarge(sample, seated([], 8)).rows.tolist() == [2, 5, 9]
    assert sample.rows.tolist() == [2, 5, 9] and more.rows.tolist() == [0, 5, 7, 11]
