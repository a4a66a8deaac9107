"""Novelty is a ratio of mean distances, the same in any cut; its threshold is kept, and its histogram true."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tsne_ooc
from tsne_ooc import TSNE, Placement, load
from tsne_ooc._parallel import Threads
from tsne_ooc.neighbors import Exact
from tsne_ooc.novelty import NoveltyHistogram, Reference, limit_of, novelty, strangest, summary
from tsne_ooc.storage.state import Saved, StateError


def slow_novelty(X, Q, k=15):
    """Of queries and of the rows of X themselves, with all distances at hand, in float64."""
    D = np.linalg.norm(X[:, None] - X[None], axis=2)
    np.fill_diagonal(D, np.inf)
    near = np.argsort(D, axis=1, kind="stable")[:, :k]
    mean = np.take_along_axis(D, near, 1).mean(axis=1)
    own = np.maximum(mean, 0.3 * np.median(mean[mean > 0])) if mean.any() else np.ones(len(X))
    A = np.linalg.norm(Q[:, None] - X[None], axis=2)
    found = np.argsort(A, axis=1, kind="stable")[:, :k]
    away = np.take_along_axis(A, found, 1).mean(axis=1)
    return own, mean / own[near].mean(axis=1), away / own[found].mean(axis=1)


def quick(**options):
    return TSNE(**{"n_iter": 0, "early_exaggeration_iter": 0, "random_state": 0, "neighbors": "exact"} | options)


@pytest.mark.parametrize("n", [2, 3, 20])
def test_the_fewest_rows_have_distances_of_their_own(n):
    """Two rows have a neighbour each: that 1 stands for what nobody knows is for a single one."""
    rng = np.random.default_rng(0)
    X, Q = rng.normal(size=(n, 4)).astype(np.float32), rng.normal(size=(9, 4)).astype(np.float32)
    k = min(15, n - 1)
    own, of_sample, of_new = slow_novelty(X, Q, k)
    index = Exact().build(X, rng=rng, threads=Threads(1))
    reference = Reference.of(index)
    assert reference.k == k
    np.testing.assert_allclose(reference.own, own, rtol=1e-5)
    np.testing.assert_allclose(reference.novelty, of_sample, rtol=1e-5)
    np.testing.assert_allclose(reference.score(*index.query(Q, k)), of_new, rtol=1e-5)


@pytest.mark.parametrize("perplexity", [2, 30])
def test_novelty_is_what_it_says(perplexity):
    rng = np.random.default_rng(0)
    X, Q = rng.normal(size=(300, 4)).astype(np.float32), 2 * rng.normal(size=(200, 4)).astype(np.float32)
    # As many neighbours as the affinities have: 6 for perplexity 2.
    own, of_sample, of_new = slow_novelty(X, Q, min(15, 3 * perplexity))
    model = quick(perplexity=perplexity).fit(X)
    np.testing.assert_allclose(model.map_.model.reference.own, own, rtol=1e-5)
    np.testing.assert_allclose(model.novelty_, of_sample, rtol=1e-5)
    np.testing.assert_allclose(model.score_samples(Q), of_new, rtol=1e-5)
    assert model.novelty_threshold_ == pytest.approx(1.1 * max(1, np.quantile(of_sample, 0.999)), rel=1e-5)


def test_copies_are_not_infinitely_novel():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 3)).astype(np.float32)
    X[:60] = X[0]
    Q = np.concatenate([X[:1], X[:1] + 1e-3, X[70:71]])
    model = quick().fit(X)
    expected = slow_novelty(X, Q)
    np.testing.assert_allclose(model.novelty_, expected[1], rtol=1e-4, atol=1e-6)
    scores = model.score_samples(Q)
    np.testing.assert_allclose(scores, expected[2], rtol=1e-3, atol=1e-6)
    assert scores[0] == 0 and 0 < scores[1] < 1


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_or_equal_rows_have_finite_novelty(n):
    for X in (np.arange(3.0 * n).reshape(n, 3), np.ones((n, 3))):
        model = quick(perplexity=1 / 3).fit(X) if n == 2 else quick(perplexity=1).fit(X)
        scores = model.score_samples(np.array([[0.0, 1, 2], [1, 1, 1], [1e30, 0, 0]]))
        assert np.isfinite(scores).all() and scores[2] > model.novelty_threshold_ >= 1.1
        assert model.novelty_.shape == (n,) and np.isfinite(model.novelty_).all()


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_any_cut_gives_the_same_bits(data):
    rng = np.random.default_rng(0)
    own = rng.uniform(0.5, 2, 40).astype(np.float32)
    indices = rng.integers(0, 40, (60, 15)).astype(np.uint32)
    distances = np.sort(rng.exponential(size=(60, 15)), axis=1).astype(np.float32)
    rows = np.array(data.draw(st.lists(st.integers(0, 59), min_size=1)))
    np.testing.assert_array_equal(novelty(indices[rows], distances[rows], own), novelty(indices, distances, own)[rows])


def test_place_gives_both_with_one_search(digits):
    X, _ = digits
    for placement in (None, Placement(k=4), Placement(k=40)):
        model = TSNE(n_iter=20, early_exaggeration_iter=5, random_state=0, placement=placement).fit(X[:900])
        asked = []
        search = model.map_.model.index.query
        model.map_.model.index.query = lambda Q, k, search=search, asked=asked: asked.append(k) or search(Q, k)
        placed = model.place(X[900:])
        assert asked == [max(15, placement.k) if placement else 15]
        del model.map_.model.index.query
        np.testing.assert_array_equal(placed.embedding, model.transform(X[900:]))
        np.testing.assert_array_equal(placed.novelty, model.score_samples(X[900:]))
        np.testing.assert_array_equal(model.score_samples(X[950:960]), placed.novelty[50:60])
        assert placed.iterations.shape == (897,) and placed.novelty.dtype == np.float32


def test_placing_beside_few_does_not_look_at_more(digits):
    X, _ = digits
    few, exact = Placement(k=4), TSNE(n_iter=5, early_exaggeration_iter=5, random_state=0, neighbors="exact")
    model = exact.set_params(placement=few).fit(X[:400])
    expected = model.transform(X[400:500])
    object.__setattr__(model.map_.model, "reference", None)
    np.testing.assert_array_equal(model.transform(X[400:500]), expected)
    assert model.place(X[400:500]).novelty is None
    with pytest.raises(AttributeError, match="saved without what novelty needs"):
        model.score_samples(X)


def test_a_folder_without_novelty_places_without_it(digits, tmp_path):
    """As folders of before have it: who asks for novelty is told, and all others get places."""
    X, _ = digits
    model = TSNE(n_iter=5, early_exaggeration_iter=5, random_state=0).fit(X[:300])
    expected = model.transform(X[300:340])
    object.__setattr__(model.map_.model, "reference", None)
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match="was saved without what novelty needs; fit it again, or leave novelty out"):
        tsne_ooc.place(tmp_path / "model", X[300:340], out=tmp_path / "places", novelty=True)
    assert not (tmp_path / "places").exists()
    run = tsne_ooc.place(tmp_path / "model", X[300:340], out=tmp_path / "places")
    np.testing.assert_array_equal(run.embedding, expected)
    assert run.novelty is None and "novelty" not in run.manifest


def test_novelty_of_strangers_and_of_kin(digits):
    X, y = digits
    known, new = X[y != 0], X[y == 0]
    model = quick().fit(known[:1200])
    assert (model.score_samples(known[1200:]) > model.novelty_threshold_).mean() < 0.01
    assert np.median(model.score_samples(known[1200:])) == pytest.approx(1, abs=0.15)
    assert np.median(model.score_samples(new)) > 1.3


@pytest.mark.parametrize("name, size, columns", [("kddcup99_10pct", 25_000, 38), ("mnist", 10_000, 784)])
def test_at_most_two_in_a_thousand_of_the_same_rows_are_beyond_the_threshold(data_folder, name, size, columns):
    path = data_folder / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"no {path.name} in {data_folder}")
    X = np.load(path)["X"].astype(np.float32)
    if columns < 50:
        X = (X - X.mean(axis=0)) / np.where(X.std(axis=0) > 0, X.std(axis=0), 1)
    else:
        X = X[:, 100:700:12]
    rows = np.random.default_rng(1).permutation(len(X))[: size + 20_000]
    model = TSNE(n_iter=0, early_exaggeration_iter=0, random_state=0).fit(X[rows[:size]])
    beyond = (model.score_samples(X[rows[size:]]) > model.novelty_threshold_).mean()
    # A share of 0.002 of 20,000 rows is 40, and by chance up to 20 more.
    assert 0 < beyond <= 0.003


def test_saved_models_keep_it(tmp_path, digits):
    X, _ = digits
    model = quick().fit(X[:500])
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(again.score_samples(X), model.score_samples(X))
    assert again.novelty_threshold_ == model.novelty_threshold_
    np.testing.assert_array_equal(again.novelty_, model.novelty_)


def test_precomputed_affinities_and_distances_have_novelty(digits):
    from scipy.sparse import csr_array

    X = digits[0][:60]
    P = np.ones((60, 60)) - np.eye(60)
    model = quick(affinity=csr_array(P / P.sum())).fit(X)
    np.testing.assert_allclose(model.score_samples(X[:5] + 1), slow_novelty(X, X[:5] + 1)[2], rtol=1e-4)
    D = np.linalg.norm(X[:, None] - X[None], axis=2)
    of_distances = quick(metric="precomputed", perplexity=19, initialization="random", neighbors="auto").fit(D)
    np.testing.assert_allclose(of_distances.novelty_, slow_novelty(X, X)[1], rtol=1e-4)


@settings(deadline=None, max_examples=60)
@given(
    values=st.lists(st.floats(0, 2.0**127, width=32, allow_subnormal=False), min_size=1, max_size=50),
    threshold=st.floats(0.5, 100, width=32),
    q=st.sampled_from([0.01, 0.5, 0.99]),
)
def test_histograms_know_quantiles_to_two_percent(values, threshold, q):
    novelty_ = np.array(values, np.float32)
    whole, parts = NoveltyHistogram(threshold), NoveltyHistogram(threshold)
    whole.add(novelty_)
    for value in values:
        part = NoveltyHistogram(threshold)
        part.add(np.array([value], np.float32))
        parts.merge(part)
    assert whole.summary() == parts.summary() == summary(novelty_, threshold)
    assert whole.rows == len(values) and whole.beyond == (novelty_ > np.float32(threshold)).sum()
    exact = float(np.quantile(novelty_, q, method="inverted_cdf"))
    assert whole.quantile(q) == pytest.approx(exact, rel=0.02)
    assert whole.summary()["largest"] == novelty_.max()


@pytest.mark.parametrize("parts", [1, 3])
def test_a_summary_is_counted(parts):
    values = np.random.default_rng(0).gamma(2, 0.7, 400).astype(np.float32)
    histogram = NoveltyHistogram(1.5)
    for part in np.array_split(values, parts):
        other = NoveltyHistogram(1.5)
        other.add(part)
        histogram.merge(other)
    found = histogram.summary()
    beyond = int((values > 1.5).sum())
    assert 100 < beyond < 300
    quantiles = found.pop("quantiles")
    assert found == {
        "rows": 400, "threshold": 1.5, "beyond": beyond, "beyond_share": beyond / 400, "largest": float(values.max()),
    }  # fmt: skip
    for q, quantile in quantiles.items():
        assert quantile == pytest.approx(np.quantile(values, float(q), method="inverted_cdf"), rel=0.02)
    assert NoveltyHistogram(1.5).summary()["beyond_share"] == 0


def test_a_histogram_has_a_fixed_size_and_says_what_is_wrong():
    histogram = NoveltyHistogram(2.0)
    assert histogram.summary()["rows"] == 0 and histogram.quantile(0.5) == 0
    histogram.add(np.array([-0.0, 0.0], np.float32))
    assert histogram.quantile(0.5) == 0 and histogram.counts.nbytes < 1 << 17
    # Rows that were dropped have none, and do not count.
    histogram.add(np.array([np.nan, 1, np.nan], np.float32))
    histogram.add(np.array([np.nan], np.float32))
    assert histogram.summary()["rows"] == 3
    with pytest.raises(ValueError, match=r"novelty is -1\.0; it cannot be less than 0"):
        histogram.add(np.array([1, -1, np.nan], np.float32))
    with pytest.raises(ValueError, match="different thresholds, 2 and 3"):
        histogram.merge(NoveltyHistogram(3.0))


@pytest.mark.parametrize(
    "content, arrays, says",
    [
        ({"k": 16}, {}, "k=16 is not a whole number from 0 to 15"),
        ({}, {"own": np.array([1, 0, 1], np.float32)}, "not greater than 0"),
        ({}, {"novelty": np.array([1, -1, 1], np.float32)}, "less than 0"),
        ({}, {"own": np.ones(2, np.float32)}, r"has the shape \(2,\)"),
    ],
)
def test_states_that_cannot_be_are_not_believed(content, arrays, says):
    good, ones = Reference(np.ones(3, np.float32), np.ones(3, np.float32), 2).state()
    assert Reference.restore(Saved(good, ones), 3).k == 2
    with pytest.raises(StateError, match=says):
        Reference.restore(Saved(good | content, ones | arrays), 3)


def test_reference_cannot_be_changed():
    reference = Reference.of_neighbors(np.array([[1], [0]], np.uint32), np.ones((2, 1), np.float32))
    for array in (reference.own, reference.novelty):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 2


def row_by_row(distances, indices, own, k):
    return [distances[i, :k].mean() / own[indices[i, :k]].mean() for i in range(len(indices))]


@pytest.mark.parametrize("cut", [None, 1, 3, 6])
def test_a_row_is_scored_by_its_nearest_alone(cut):
    rng = np.random.default_rng(0)
    own = rng.uniform(0.5, 2, 30).astype(np.float32)
    indices = rng.integers(0, 30, (9, 6)).astype(np.uint32)
    distances = np.sort(rng.gamma(3, 1, (9, 6)), axis=1).astype(np.float32)
    before = own.copy(), indices.copy(), distances.copy()
    found = novelty(indices, distances, own) if cut is None else novelty(indices, distances, own, cut)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, row_by_row(distances, indices, own, cut or 6), rtol=1e-5)
    for array, was in zip((own, indices, distances), before, strict=True):
        np.testing.assert_array_equal(array, was)
    # A reference of fewer neighbours than a row brings counts so many; one of more, what there is.
    for k, used in ((4, 4), (15, 6), (0, 1)):
        found = Reference(own.copy(), np.ones(30, np.float32), k).score(indices, distances)
        np.testing.assert_allclose(found, row_by_row(distances, indices, own, used), rtol=1e-5)


@pytest.mark.parametrize("columns", [0, 1, 15, 20])
def test_blocks_in_any_order_make_the_reference_of_all(columns):
    rng = np.random.default_rng(0)
    indices = rng.integers(0, 50, (50, columns)).astype(np.uint32)
    distances = np.sort(rng.gamma(3, 1, (50, columns)), axis=1).astype(np.float32)
    distances[7:9] = 0
    whole = Reference.of_neighbors(indices, distances)
    assert whole.k == min(15, columns)
    order, reads = rng.permutation(50), []

    def blocks():
        reads.append(True)
        return ((order[i : i + 7], indices[order[i : i + 7]], distances[order[i : i + 7]]) for i in range(0, 50, 7))

    parts = Reference.of_blocks(blocks, (50, columns))
    np.testing.assert_array_equal(parts.own, whole.own)
    np.testing.assert_array_equal(parts.novelty, whole.novelty)
    assert parts.k == whole.k and len(reads) == (2 if columns else 0)
    if columns:
        mean = distances[:, :15].astype(np.float64).mean(axis=1)
        np.testing.assert_allclose(whole.own[7:9], 0.3 * np.median(np.delete(mean, [7, 8])), rtol=1e-5)
    else:
        assert (whole.own == 1).all() and (whole.novelty == 1).all()


def test_among_the_smallest_distances_there_are_none_is_divided_by_zero():
    """Distances of 1e-45, half of the rows: three tenths of the median would round to nothing."""
    distances = np.full((4, 1), 1e-45, np.float32)
    found = Reference.of_neighbors(np.array([[1], [0], [3], [2]], np.uint32), distances)
    assert (found.own > 0).all() and np.isfinite(found.novelty).all()
    assert np.isfinite(found.score(np.zeros((1, 1), np.uint32), np.ones((1, 1), np.float32)))


def test_the_threshold_of_a_dense_sample_is_a_tenth_more_than_one():
    ones = np.ones(2000, np.float32)
    assert Reference(ones.copy(), 0.5 * ones, 15).threshold == pytest.approx(1.1)
    high = ones.copy()
    high[-100:] = 3
    assert Reference(ones.copy(), high, 15).threshold == pytest.approx(3.3)
    # One row in a thousand may be as strange as it likes.
    high = 2 * ones
    high[0] = 50
    assert Reference(ones.copy(), high, 15).threshold == pytest.approx(2.2)


def test_a_state_is_taken_exactly_at_its_limits():
    def state(own, novelty_, k):
        return Saved({"k": k}, {"own": np.array(own, np.float32), "novelty": np.array(novelty_, np.float32)})

    for k in (0, 15):
        assert Reference.restore(state([1e-45, 1], [0, 2], k), 2).k == k
    for wrong in (state([1, np.nan], [1, 1], 1), state([1, 1], [1, np.nan], 1), state([1, 1], [1, 1], -1)):
        with pytest.raises(StateError):
            Reference.restore(wrong, 2)
    both = Reference.restore(state([1, 2], [0, 3], 1), 2)
    assert both.own.tolist() == [1, 2] and both.novelty.tolist() == [0, 3]
    assert both.state()[0] == {"k": 1} and set(both.state()[1]) == {"own", "novelty"}


def test_what_a_histogram_takes_and_keeps():
    """Numbers of any type and layout; sizes at the ends of single precision; a threshold exactly met is not beyond."""
    histogram = NoveltyHistogram(2)
    assert histogram.largest == 0 and histogram.rows == 0
    values = np.array([[0.5, 2.0, 2.0000002, 3.4e38], [1e-45, 7.0, 0.0, np.inf]])
    histogram.add(values[0, ::2])
    histogram.add(values[:, 1].astype(np.float64))
    assert (histogram.rows, histogram.beyond, histogram.largest) == (4, 2, 7.0)
    kept = values.copy()
    histogram.add(values[:, 3])
    np.testing.assert_array_equal(values, kept)
    assert histogram.largest == np.inf and histogram.rows == 6 and histogram.beyond == 4
    assert histogram.quantile(0) == pytest.approx(0.5, rel=0.02)
    assert histogram.quantile(4 / 6) == pytest.approx(7, rel=0.02)
    other = NoveltyHistogram(2.0)
    other.add(np.array([0.0, 1e-45], np.float32))
    assert other.quantile(1) == 0 and other.largest == pytest.approx(1e-45)
    other.merge(histogram)
    assert (other.rows, other.beyond, other.largest) == (8, 4, np.inf)


def test_a_quantile_is_never_beyond_the_largest():
    for value in (1.0, 1.01, 3.0, 1e-3):
        histogram = NoveltyHistogram(1)
        histogram.add(np.full(3, value, np.float32))
        assert histogram.quantile(1) <= histogram.largest == np.float32(value)
        assert histogram.quantile(0.5) == pytest.approx(value, rel=0.02)
    assert set(summary(np.ones(4, np.float32), 1)["quantiles"]) == {"0.01", "0.25", "0.5", "0.75", "0.99", "0.999"}


def test_the_limit_of_rows_of_which_some_were_dropped():
    values = np.array([np.nan, 1, 2, np.nan, 3, 4, 5, np.nan], np.float32)
    assert limit_of(values) == limit_of(values[~np.isnan(values)]) == pytest.approx(3 * (4 / 3) ** (5 / 0.6745))
    assert limit_of(np.full(3, np.nan, np.float32)) == limit_of(np.empty(0, np.float32)) == np.inf
    # It has the unit of the values, however small.
    assert limit_of(values / 100) == pytest.approx(limit_of(values) / 100, rel=1e-5)
    # Where more than half are copies there is no ratio: the upper quartile itself.
    assert limit_of(np.array([0, 0, 0, 0, 6, 8, 9], np.float32)) == 7


def test_the_strangest_of_rows_of_which_some_were_dropped():
    values = np.array([3, np.nan, 7, np.nan, 7, np.inf, 2], np.float32)
    assert strangest(values, 3).tolist() == [5, 2, 4]
    assert strangest(values, 9).tolist() == [5, 2, 4, 0, 6]
    assert strangest(values, 0).tolist() == [] == strangest(np.empty(0, np.float32), 2).tolist()
    assert strangest(values, 1).dtype == np.int64


def test_among_rows_that_are_all_copies_a_distance_counts_as_it_is():
    same = Reference.of_neighbors(np.array([[1], [0]], np.uint32), np.zeros((2, 1), np.float32))
    assert same.own.tolist() == [1, 1] and same.novelty.tolist() == [0, 0]
    assert same.score(np.array([[0]], np.uint32), np.array([[2.5]], np.float32)).tolist() == [2.5]
    one = NoveltyHistogram(1)
    one.add(np.array([2], np.float32))
    assert one.summary()["beyond_share"] == 1.0


@pytest.mark.parametrize("n", [9, 10, 11, 19, 20, 21, 35])
def test_the_limit_is_taken_of_rows_from_all_over_where_there_are_many(n, monkeypatch):
    """Of each second one where there are more than ten, of each third from more than twenty on."""
    monkeypatch.setattr("tsne_ooc.novelty._LOOKED_AT", 10)
    values = np.random.default_rng(n).gamma(2, 1, n).astype(np.float32)
    values[1::4] = np.nan
    looked = values[:: -(-n // 10)].astype(float)
    middle, upper = np.quantile(looked[~np.isnan(looked)], [0.5, 0.75])
    assert limit_of(values) == pytest.approx(middle * (upper / middle) ** (5 / 0.6745), rel=1e-12)


def test_a_histogram_is_small_and_rounds_what_it_tells():
    """In 64 kB; the bins are of two bytes of a number and a bit, 32 to each doubling."""
    histogram = NoveltyHistogram(1)
    assert 64_000 < histogram.counts.nbytes < 66_000 and histogram.counts.dtype == np.int64
    assert histogram.threshold == 1.0 and type(histogram.threshold) is float
    for at in range(32):
        histogram.add(np.float32([1 + (at + 0.5) / 32]))
    assert np.count_nonzero(histogram.counts) == 32 and histogram.counts.max() == 1
    quantiles = histogram.summary()["quantiles"]
    for q, quantile in quantiles.items():
        assert quantile == round(histogram.quantile(float(q)), 4) and len(str(quantile)) <= 6
    assert (histogram.rows, histogram.beyond, histogram.summary()["beyond_share"]) == (32, 32, 1.0)
    assert histogram.quantile(0.5) == pytest.approx(1.5, rel=0.02) and list(quantiles) == [
        "0.01", "0.25", "0.5", "0.75", "0.99", "0.999",
    ]  # fmt: skip
    # The least rows that are no fewer than this share.
    four = NoveltyHistogram(1)
    four.add(np.float32([1, 2, 4, 8]))
    for q, value in ((0, 1), (0.25, 1), (0.26, 2), (0.5, 2), (0.51, 4), (0.75, 4), (0.76, 8), (1, 8)):
        assert four.quantile(q) == pytest.approx(value, rel=0.02)


@pytest.mark.parametrize("block", [1, 3, 10, 11])
def test_the_strangest_are_found_in_any_block(block, monkeypatch):
    monkeypatch.setattr("tsne_ooc.novelty._BLOCK", block)
    values = np.float32([3, np.nan, 7, 1, 7, np.inf, 2, np.nan, 7, 0.5])
    for n in (1, 3, 5, 9):
        wanted = sorted(np.flatnonzero(~np.isnan(values)), key=lambda row: (-values[row], row))[:n]
        assert strangest(values, n).tolist() == wanted
