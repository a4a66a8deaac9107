"""The report of a map: what the page says, what it is made of, and what becomes of bad input."""

from __future__ import annotations

import html.parser
import json
import shlex
import shutil

import h5py
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from test_view import HOSTILE

import tsne_ooc
from tsne_ooc import TSNE, storage
from tsne_ooc._parallel import Threads
from tsne_ooc.cli import main
from tsne_ooc.report import pictures, report
from tsne_ooc.report.again import again

N, P = 240, 5
FEW = {"perplexity": 6, "early_exaggeration_iter": 30, "n_iter": 30, "random_state": 0}


class Page(html.parser.HTMLParser):
    """The words of a page, its elements, its cells by the name of their row, and what its pictures say."""

    VOID = ("meta", "img", "br")

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.raw = path.read_text(encoding="utf-8")
        self.tags, self.alts, self.levels, self.open, self.rows, self.links, self.ids = [], [], [], [], {}, [], set()
        self.words = ""
        self._row = None
        self.feed(self.raw)
        assert not self.open, self.open
        self.words = " ".join(self.words.split())

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        assert not any(name.startswith("on") for name in given)
        self.tags.append(tag)
        if tag not in self.VOID and not tag.startswith(("rect", "line", "circle", "poly")):
            self.open.append(tag)
        if tag in ("img", "svg"):
            self.alts.append(given.get("alt") or given.get("aria-label"))
        if tag in ("h1", "h2", "h3"):
            self.levels.append(int(tag[1]))
        if tag == "tr":
            self._row = []
        if tag in ("th", "td") and self._row is not None:
            self._row.append("")
        self.links += [given[name] for name in ("src", "href", "action", "data", "srcset") if name in given]
        if "id" in given:
            self.ids.add(given["id"])

    def handle_endtag(self, tag):
        if tag in ("rect", "line", "circle", "polyline"):
            return
        assert self.open.pop() == tag
        if tag == "tr" and self._row is not None:
            self.rows[" ".join(self._row[0].split())] = [" ".join(cell.split()) for cell in self._row[1:]]
            self._row = None

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style",):
            self.words += data
            if self._row:
                self._row[-1] += data

    def row(self, begins):
        return next(cells for name, cells in self.rows.items() if name.startswith(begins))


def rows(n=N, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 4, (6, P))[np.arange(n) % 6] + rng.normal(size=(n, P))).astype(np.float32)


KINDS = np.array(["ant", "bee", "cat", "dog", "eel", "fox"])[np.arange(N) % 6]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A table with labels, and the folders of two runs of it."""
    folder = tmp_path_factory.mktemp("home")
    with h5py.File(folder / "data.h5", "w") as file:
        file["X"], file["kind"] = rows(), [word.encode() for word in KINDS]
        file["number"] = np.linspace(0, 1, N)
    for name, seed in (("map", 0), ("second", 1)):
        tsne_ooc.embed(
            folder / "data.h5", dataset="X", out=folder / name, sample=150, tsne=TSNE(**{**FEW, "random_state": seed}),
            random_state=seed,
        )  # fmt: skip
    return folder


@pytest.fixture
def page(tmp_path):
    def of(*given, **options):
        return Page(report(*given, out=tmp_path / "report.html", overwrite=True, **options))

    return of


def kept(X, Y, k=10):
    near = []
    for A in (X, Y):
        D = cdist(A.astype(float), A.astype(float))
        np.fill_diagonal(D, np.inf)
        near.append(np.argsort(D, axis=1, kind="stable")[:, :k])
    return np.mean([len(set(a) & set(b)) / k for a, b in zip(*near, strict=True)])


# ------------------------------------------------------------------------------------------------------- what it says


def test_it_says_how_faithful_the_map_is(home, page):
    run = tsne_ooc.open_run(home / "map")
    found = page(home / "map", "kind")
    told = found.row("Neighbour recall, 10")
    assert float(told[0]) == pytest.approx(kept(rows(), run.embedding), abs=1e-3)
    assert float(told[2]) == pytest.approx(10 / (N - 1), abs=1e-3) and float(told[1]) > float(told[2])
    names = ("Neighbour recall, 50", "Neighbour recall, 1 %", "Trustworthiness", "Continuity", "Rank correlation",
             "Density", "Nearest class means, 1 of 5")  # fmt: skip
    assert all(len(found.row(name)) == 3 for name in names)
    assert f"Of the 10 rows nearest to a row in the data, {kept(rows(), run.embedding):.1%} are among" in found.words
    assert "All 240 rows were looked at." in found.words
    assert "90 of 240 rows were placed one by one beside the 150 that were fitted" in found.words


def test_it_says_how_the_map_was_made(home, page):
    run = tsne_ooc.open_run(home / "map")
    manifest = json.loads((home / "map" / "manifest.json").read_text())
    found = page(home / "map")
    assert found.row("table") == [f"{home / 'data.h5'}, /X"] and found.row("its shape and type") == ["240 x 5, <f4"]
    assert found.row("its digest")[0].startswith(run.manifest["job"]["source"]["probes"])
    assert found.row("digest of the map")[0].startswith(manifest["arrays"]["embedding"]["sha256"])
    assert found.row("seed") == ["0"]
    assert found.row("divergence of the fit") == [f"{run.manifest['kl_divergence']:.4f} after 60 iterations"]
    for name, version in manifest["versions"].items():
        assert f"{name} {version}" in found.row("versions")[0]
    assert found.row("perplexity") == ["6", "30"] and "dof=1," in found.words and "dof" not in found.rows
    assert found.row("fitted rows")[0].startswith("150 of 240") and found.row("neighbour search")[0].startswith("Exact")
    assert "30 iterations at exaggeration 12, momentum 0.8 (early)" in found.words
    assert "they are placed beside the fitted ones, which stay" in found.words and found.row("rows that were placed")
    stages = {"drawing the sample": "sample", "fitting": "fit", "placing": "place"}
    told = [
        f"{name} {run.manifest['seconds'][phase]:,.1f} s, {run.manifest['memory_gb'][phase]:.2f} GB"
        for name, phase in stages.items()
    ]
    assert f"Time of each stage: {'; '.join(told)}" in found.alts
    history = run.manifest["history"]
    assert history["iteration"] == [25, 50]
    assert any(f"from {history['kl_divergence'][0]:.3f} after 25 iterations" in alt for alt in found.alts)


@pytest.mark.parametrize("words", [
    ["--sample", "150", "--seed", "3", "--perplexity", "7.5"],
    ["--sample", "150", "--sample-by", "coverage", "--exaggeration", "4", "--dof", "0.8", "--standardize", "robust"],
    ["--sample", "150", "--log1p", "--normalize", "100", "--pca", "3", "--metric", "cosine", "--neighbors", "ivf"],
    ["--sample", "150", "--refine", "--perplexity", "5", "--sample-perplexity", "9", "--reference", "200"],
    ["--rounds", "2", "--sample", "100", "--schedule", "classic", "--n-components", "1", "--affinity", "uniform"],
    ["--sample", "150", "--recipe", "large", "--perplexity", "5", "--pca", "4"],
    ["--sample", "150", "--recipe", "large", "--perplexity", "5", "--affinity", "uniform", "--reference", "90"],
    ["--sample", "150", "--recipe", "large", "--perplexity", "5", "--sample-perplexity", "11"],
], ids=["plain", "coverage", "prepared", "refined", "rounds", "recipe", "equal", "recipe, told"])  # fmt: skip
@pytest.mark.filterwarnings("ignore:the neighbour search finds")
def test_the_command_makes_the_map_again(home, tmp_path, words, monkeypatch):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["X"] = np.abs(rows())
    assert main(["embed", str(tmp_path / "data.h5"), "--out", str(tmp_path / "one"), "--quiet", *words]) == 0
    run = tsne_ooc.open_run(tmp_path / "one")
    found = again(run.manifest)
    assert found.language == "sh" and found.note == ""
    program, *typed = shlex.split(found.text)
    assert program == "tsne-ooc" and typed[-2:] == ["--out", "again"]
    monkeypatch.chdir(tmp_path)
    assert main([*typed, "--quiet"]) == 0
    np.testing.assert_array_equal(tsne_ooc.open_run(tmp_path / "again").embedding, run.embedding)


def test_the_command_of_a_placed_map_and_of_one_made_in_python(home, tmp_path, page):
    placed = tsne_ooc.place(home / "map", home / "data.h5", dataset="X", out=tmp_path / "placed")
    assert again(placed.manifest).text == shlex.join([
        "tsne-ooc", "place", str(home / "map" / "model"), str(home / "data.h5"), "--dataset", "X", "--out", "again"
    ])  # fmt: skip
    assert "tsne-ooc place" in page(placed.folder).words
    text = again(tsne_ooc.open_run(home / "map").manifest)
    # No option of the command line says `n_iter`.
    assert text.language == "python" and "sample=UniformSample(size=150)" in text.text
    assert "tsne=TSNE(early_exaggeration_iter=30, n_iter=30, perplexity=6)" in text.text
    run = tsne_ooc.embed(rows(), out=tmp_path / "array", sample=np.arange(100), tsne=TSNE(**FEW))
    found = again(run.manifest)
    assert "FILE stands for the array" in found.note and "object that no file holds" in found.note
    assert again({}) is None


def test_rows_and_their_scores(home, page):
    run = tsne_ooc.open_run(home / "map")
    found = page(home / "map", "kind")
    strangest = int(np.argmax(run.novelty))
    assert found.row("novelty")[0].startswith(f"{strangest} (") and KINDS[strangest] in found.row("novelty")[0]
    assert "This run has no recall, singularity, perturbation of its rows; tsne-ooc trust tells them." in found.words
    assert f"({run.manifest['novelty']['beyond_share']:.2%}) lie beyond what the sample knows" in found.words


def test_other_scores_come_in_by_their_names(tmp_path, page):
    columns = {"embedding": rows()[:, :2], "recall": np.linspace(0, 1, N, dtype=np.float32)}
    found = page(sealed(tmp_path / "map", columns))
    # Of this one low numbers are those to look at.
    assert found.row("recall")[0].startswith("0 (0); 1 (0.00418)")


def test_scores_of_places_are_shown(home, tmp_path, page):
    shutil.copytree(home / "map", tmp_path / "map")
    run = tsne_ooc.pipeline.trust(tmp_path / "map")
    found = page(run.folder)
    assert "This run has no" not in found.words
    for name, column in run.trust.items():
        worst = int(np.argmin(column) if name == "recall" else np.argmax(column))
        assert found.row(name)[0].startswith(f"{worst} ("), name


def sealed(folder, columns, **content):
    folder.mkdir()
    for name, values in columns.items():
        np.save(folder / f"{name}.npy", values)
    n, d = columns["embedding"].shape
    told = {"task": "embed", "n_samples": n, "n_components": d, "job": {"source": {}, "request": {}, "tsne_ooc": "0"}}
    storage.seal(folder, "map", {**told, **content}, {name: f"{name}.npy" for name in columns})
    return folder


# ------------------------------------------------------------------------------------------------------- several maps


def test_several_maps(home, page):
    one, other = (tsne_ooc.open_run(home / name) for name in ("map", "second"))
    found = page(home / "map", "kind", others=[home / "second", home / "map"])
    share = kept(np.array(one.embedding), np.array(other.embedding))
    told = found.row("map (1) and second (2)")
    assert float(told[0]) == pytest.approx(share, abs=1e-3) and "random_state was 0, is 1" in told[2]
    assert found.row("map (1) and map (3)")[:2] == ["1.000", "0.000"]
    assert float(found.row("two maps at random")[0]) == pytest.approx(10 / (N - 1), abs=1e-3)
    assert f"Two of the maps share {np.mean([share, share, 1]):.0%} of each row's 10 neighbours" in found.words
    assert sum("laid on" in (alt or "") for alt in found.alts) == 2
    assert {"ant", "bee", "cat", "dog", "eel", "fox"} <= set(found.rows)


def test_turned_mirrored_and_scaled_a_map_is_the_same(tmp_path, page):
    Y = rows()[:, :2]
    turned = -3 * Y[:, ::-1] + 7
    np.save(tmp_path / "a.npy", Y)
    np.save(tmp_path / "b.npy", turned)
    assert page(tmp_path / "a.npy", others=[tmp_path / "b.npy"]).row("a and b")[:2] == ["1.000", "0.000"]


def test_rows_that_change_are_named(tmp_path, page):
    Y = rows()[:, :2]
    other = Y.copy()
    for row in (7, 70):
        # Among those that are farthest from it.
        other[row] = Y[np.linalg.norm(Y - Y[row], axis=1).argmax()] + 0.01
    np.save(tmp_path / "a.npy", Y)
    np.save(tmp_path / "b.npy", other)
    found = page(tmp_path / "a.npy", others=[tmp_path / "b.npy"])
    assert float(found.rows["7"][0]) <= 0.1 and float(found.rows["70"][0]) <= 0.1
    # Of 240 rows, the 15 that change the most.
    named = [name for name in found.rows if name.isdigit()]
    assert len(named) == 15 and {"7", "70"} <= set(named)


def test_maps_of_other_rows_are_refused(home, tmp_path):
    with pytest.raises(ValueError, match=r"map has 240 rows, and map 9; several maps are compared row by row"):
        report(home / "map", others=[rows(9)[:, :2]], out=tmp_path / "report.html")
    with pytest.raises(ValueError, match="0 rows have a place on all of the maps"):
        report(np.full((9, 2), np.nan), others=[rows(9)[:, :2]], out=tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


# ----------------------------------------------------------------------------------------------- what it is made of


def test_it_is_one_page_that_asks_for_nothing_and_is_read_without_eyes(home, page):
    found = page(home / "map", "kind", others=[home / "second"])
    assert "script" not in found.tags and "default-src 'none'" in found.raw and "<html lang=" in found.raw
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in found.links)
    assert all(link[1:] in found.ids for link in found.links if link.startswith("#"))
    assert len(found.alts) > 8 and all(found.alts)
    assert found.levels[0] == 1 and found.levels.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(found.levels, found.levels[1:], strict=False))


def test_the_same_map_is_the_same_page(home, tmp_path):
    one = report(home / "map", "kind", out=tmp_path / "one.html", n_jobs=1, sample=50).read_bytes()
    assert one == report(home / "map", "kind", out=tmp_path / "two.html", n_jobs=3, sample=50).read_bytes()
    assert one != report(home / "map", "kind", out=tmp_path / "three.html", sample=50, random_state=1).read_bytes()


@pytest.mark.parametrize("word", HOSTILE, ids=range(len(HOSTILE)))
def test_no_word_gets_out_of_its_place(tmp_path, word, page):
    said = word.encode("utf-8", "replace").decode()
    source = {"path": said, "shape": [N, P], "dtype": said, "probes": said}
    folder = sealed(
        tmp_path / "map", {"embedding": rows()[:, :2], "novelty": np.ones(N, np.float32)}, source=said, model=said,
        parameters={"perplexity": 5, "metric": said}, job={"source": source, "request": {}, "tsne_ooc": "0"},
    )  # fmt: skip
    labels = np.array([word, "b"], object)[np.arange(N) % 2]
    found = page(folder, labels, title=word)
    tame = page(folder, np.array(["a", "b"], object)[np.arange(N) % 2], title="tame")
    assert found.tags == tame.tags and "script" not in found.tags
    assert " ".join(word.encode("utf-8", "replace").decode().split()) in found.words


# -------------------------------------------------------------------------------------------------------- bad input


def test_a_table_that_moved_or_changed(home, tmp_path, page):
    table, folder = tmp_path / "data.h5", tmp_path / "map"
    shutil.copy(home / "data.h5", table)
    tsne_ooc.embed(table, dataset="X", out=folder, sample=150, tsne=TSNE(**FEW))
    whole = page(folder)
    table.rename(tmp_path / "elsewhere.h5")
    moved = page(folder)
    assert "cannot be read" in moved.words and "--table says where it is now" in moved.words
    assert "what follows is of the 150 rows that the model holds" in moved.words
    run, rows_fitted = tsne_ooc.open_run(folder), np.load(folder / "sample_rows.npy")
    share = kept(rows()[rows_fitted], np.array(run.embedding)[rows_fitted])
    assert float(moved.row("Neighbour recall, 10")[0]) == pytest.approx(share, abs=1e-3)
    # Named, it is found.
    again = page(folder, table=tmp_path / "elsewhere.h5")
    assert again.row("Neighbour recall, 10") == whole.row("Neighbour recall, 10")
    with h5py.File(table, "w") as file:
        file["X"] = rows(seed=1)
    changed = page(folder)
    assert "the table is not what it was when the map was made: " in changed.words
    assert "contents of the rows looked at have changed" in changed.words
    assert changed.row("Neighbour recall, 10") == moved.row("Neighbour recall, 10")
    # Without its model nothing is left to compare with.
    shutil.rmtree(folder / "model")
    alone = page(folder)
    assert "cannot be opened" in alone.words and "This could not be measured" in alone.words


def test_tables_of_other_kinds(tmp_path, page):
    """Columns of Parquet by their names, and a table in many files, are read as the run read them."""
    import pandas as pd

    pytest.importorskip("pyarrow")
    X = rows()
    pd.DataFrame(X, columns=["a", "b,c", "d", "e", "f"]).assign(word="x").to_parquet(tmp_path / "t.parquet")
    for at in range(3):
        np.save(tmp_path / f"part{at}.npy", X[80 * at : 80 * at + 80])
    tsne = TSNE(**FEW)
    few = tsne_ooc.embed(tmp_path / "t.parquet", columns=["f", "b,c"], out=tmp_path / "few", sample=150, tsne=tsne)
    many = tsne_ooc.embed([tmp_path / f"part{at}.npy" for at in range(3)], out=tmp_path / "many", sample=150, tsne=tsne)
    for run, embedded in ((few, X[:, [4, 1]]), (many, X)):
        found = page(run.folder)
        assert "All 240 rows were looked at." in found.words
        assert float(found.row("Neighbour recall, 10")[0]) == pytest.approx(kept(embedded, run.embedding), abs=1e-3)


def test_as_many_columns_as_are_read_by_themselves(tmp_path, page):
    """In another order, or with one of words: they are read as the run read them, by their names."""
    import pandas as pd

    from tsne_ooc.preprocess import OneHot, Preparation

    pytest.importorskip("pyarrow")
    X, path = rows(), tmp_path / "t.parquet"
    frame = pd.DataFrame(X, columns=list("abcde")).assign(word=np.array(["x", "y"])[np.arange(len(X)) % 2])
    frame.to_parquet(path)
    tsne = TSNE(**FEW)
    turned = tsne_ooc.embed(path, columns=list("edcba"), out=tmp_path / "turned", sample=150, tsne=tsne)
    words = tsne_ooc.embed(
        path, columns=[*"abcd", "word"], out=tmp_path / "words", sample=150, tsne=tsne,
        prepare=Preparation([OneHot(["word"])]),
    )  # fmt: skip
    both = np.concatenate([X[:, :4], np.eye(2)[np.arange(len(X)) % 2]], axis=1)
    for run, embedded in ((turned, X), (words, both)):
        found = page(run.folder)
        assert "All 240 rows were looked at." in found.words and "is not what it was" not in found.words
        assert float(found.row("Neighbour recall, 10")[0]) == pytest.approx(kept(embedded, run.embedding), abs=1e-3)
    shutil.copy(path, tmp_path / "copy.parquet")
    assert "All 240 rows were looked at." in page(turned.folder, table=tmp_path / "copy.parquet").words
    frame.rename(columns={"c": "gone"}).to_parquet(path)
    assert "the table is not what it was when the map was made: columns was" in page(turned.folder).words


def test_of_an_array_in_memory(tmp_path, page):
    run = tsne_ooc.embed(rows(), out=tmp_path / "map", sample=150, tsne=TSNE(**FEW))
    found = page(run.folder)
    assert "made from an array in memory" in found.words and "of the 150 rows that the model holds" in found.words
    np.save(tmp_path / "X.npy", rows())
    assert "All 240 rows were looked at." in page(run.folder, table=tmp_path / "X.npy").words


def test_prepared_and_refined_runs_and_other_metrics(tmp_path, page):
    from tsne_ooc.preprocess import PCA, Preparation, Standardize

    X = rows() * np.float32([1, 100, 1, 1, 1])
    np.save(tmp_path / "X.npy", X)
    run = tsne_ooc.embed(
        tmp_path / "X.npy", out=tmp_path / "prepared", sample=120, tsne=TSNE(**FEW), refine=True,
        prepare=Preparation([Standardize(), PCA(4)]),
    )  # fmt: skip
    found = page(run.folder)
    Z = run_rows = (X - X.mean(axis=0)) / X.std(axis=0)
    Z = run_rows @ np.linalg.svd(run_rows, full_matrices=False)[2][:4].T
    assert float(found.row("Neighbour recall, 10")[0]) == pytest.approx(kept(Z, run.embedding), abs=2e-3)
    assert found.row("rows")[0] == "Standardize(robust=False), then PCA(n=4)"
    assert "divergence of all rows" in found.rows and "all rows together" in found.rows
    assert sum("Root mean square step" in part for part in found.raw.split("<figcaption>")) == 2
    cosine = tsne_ooc.embed(tmp_path / "X.npy", out=tmp_path / "cosine", sample=120, tsne=TSNE(**FEW, metric="cosine"))
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    assert float(page(cosine.folder).row("Neighbour recall, 10")[0]) == pytest.approx(
        kept(unit, cosine.embedding), abs=2e-3
    )


def test_rows_that_were_dropped(tmp_path, page):
    from tsne_ooc.preprocess import Missing, Preparation

    X = rows()
    X[[3, 50, 51, 200], [0, 1, 2, 3]] = np.nan
    np.save(tmp_path / "X.npy", X)
    run = tsne_ooc.embed(
        tmp_path / "X.npy", out=tmp_path / "map", sample=120, tsne=TSNE(**FEW), prepare=Preparation([Missing("drop")])
    )
    found = page(run.folder, KINDS)
    there = ~np.isnan(X).any(axis=1)
    assert "4 rows without coordinates are left out" in found.words
    share = kept(X[there], np.array(run.embedding)[there])
    assert float(found.row("Neighbour recall, 10")[0]) == pytest.approx(share, abs=1e-3)
    assert "Nearest class means, 1 of 5" in " ".join(found.rows)


def test_a_saved_model(tmp_path, page):
    model = TSNE(**FEW).fit(rows())
    model.save(tmp_path / "model")
    found = page(tmp_path / "model", KINDS)
    assert float(found.row("Neighbour recall, 10")[0]) == pytest.approx(kept(rows(), model.embedding_), abs=1e-3)
    assert found.row("made by") == ["TSNE.fit"] and found.row("perplexity") == ["6", "30"]
    assert any("Divergence" in part for part in found.raw.split("<figcaption>"))


def test_coordinates_alone(tmp_path, page):
    np.save(tmp_path / "Y.npy", rows()[:, :2])
    np.save(tmp_path / "X.npy", rows())
    found = page(tmp_path / "Y.npy")
    assert "This could not be measured" in found.words and "Coordinates alone do not tell" in found.words
    found = page(tmp_path / "Y.npy", table=tmp_path / "X.npy")
    assert float(found.row("Neighbour recall, 10")[0]) == pytest.approx(kept(rows(), rows()[:, :2]), abs=1e-3)


@pytest.mark.parametrize(
    "Y, pictures",
    [
        (np.zeros((N, 2), np.float32), 1),
        (np.r_[rows()[:-1, :2], [[1e6, 1e6]]].astype(np.float32), 1),
        (rows()[:, :1], 1),
        (rows()[:, :3], 3),
        (np.full((N, 2), np.nan, np.float32), 0),
        (rows(1)[:, :2], 1),
    ],
    ids=["one place", "one far", "1-D", "3-D", "no place", "one row"],
)
def test_odd_maps(tmp_path, page, Y, pictures):
    np.save(tmp_path / "Y.npy", Y)
    np.save(tmp_path / "X.npy", rows(len(Y)))
    found = page(tmp_path / "Y.npy", table=tmp_path / "X.npy")
    assert found.tags.count("img") == pictures
    if pictures == 3:
        assert page(tmp_path / "Y.npy", axes=(1, 3)).tags.count("img") == 1
    if pictures == 0:
        assert "No row has a place" in found.words


@pytest.mark.parametrize(
    "labels, words",
    [
        (np.full(N, "only"), "1 label: it takes three"),
        (np.full(N, None), "0 labels: it takes three"),
        (np.linspace(0, 1, N), "color holds numbers on a scale"),
        (np.array([f"w{i}" for i in range(N)]), "Nearest class means, 10 of 239"),
    ],
    ids=["one", "none", "numbers", "all differ"],
)
def test_odd_labels(tmp_path, page, labels, words):
    np.save(tmp_path / "Y.npy", rows()[:, :2])
    np.save(tmp_path / "X.npy", rows())
    assert words in page(tmp_path / "Y.npy", labels, table=tmp_path / "X.npy").words


def test_kinds_are_named_on_the_map(monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures, "_as_png", lambda figure: drawn.append(figure) or b"")
    Y = np.random.default_rng(0).normal(size=(90, 2)) + 20 * (np.arange(90) % 3)[:, None]
    pictures.of_map(Y, np.array(["ape", "bee", "cow"])[np.arange(90) % 3], "", (1, 2), Threads(1))
    told = [text.get_text() for text in drawn[0].axes[0].texts]
    assert {"ape", "bee", "cow"} <= set(told), told


def test_ten_thousand_labels(tmp_path, page):
    n = 12_000
    labels = np.array([f"word {i % 10_000}" for i in range(n)])
    np.save(tmp_path / "Y.npy", rows(n)[:, :2])
    np.save(tmp_path / "X.npy", rows(n))
    found = page(tmp_path / "Y.npy", labels, table=tmp_path / "X.npy", sample=50)
    assert "of 10,000 labels the 1,000 of most rows are compared" in found.words
    assert "50 rows were drawn and compared with all 12,000" in found.words


def test_what_is_refused_in_one_line_and_leaves_nothing(home, tmp_path, monkeypatch):
    out = tmp_path / "report.html"
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "ledger.json").write_text("{}")
    lost = tmp_path / "lost"
    lost.mkdir()
    np.save(lost / "embedding.npy", rows()[:, :2])
    cases = [
        ((home / "map", np.arange(7)), {}, "color has 7 labels, and the map 240 rows"),
        ((home / "map", "kidn"), {}, "'kind'"),
        ((home / "nowhere",), {}, "there is no folder or file"),
        ((unfinished,), {}, "its run is not finished"),
        ((lost,), {}, "holds no manifest.json"),
        ((np.zeros((4, 4)),), {}, "has shape (4, 4)"),
        ((rows()[:, :3],), {"axes": (1, 4)}, "axes"),
        ((home / "map",), {"sample": 1}, "sample=1 must be at least 2"),
        ((home / "map",), {"random_state": -1}, "random_state=-1 must be at least 0"),
        ((rows()[:, :2],), {"table": home / "nowhere.npy"}, "nowhere.npy"),
    ]
    for given, options, words in cases:
        with pytest.raises((ValueError, OSError)) as error:
            report(*given, out=out, **options)
        assert words in str(error.value) and "\n" not in str(error.value), words
        assert not out.exists() and not list(tmp_path.glob(".*"))
    out.write_text("mine")
    with pytest.raises(FileExistsError, match="exists already"):
        report(home / "map", out=out)
    assert out.read_text() == "mine"
    with pytest.raises(ValueError, match=r"\*\.html"):
        report(home / "map", out=tmp_path / "report.pdf")


def test_without_matplotlib_there_is_a_plain_picture(home, page, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    found = page(home / "map", "number", others=[home / "second"])
    assert found.tags.count("img") == 1 and "With matplotlib the map has its labels" in found.words
    assert len(found.row("Neighbour recall, 10")) == 3


def test_from_the_command_line(home, tmp_path, capsys):
    folder = tmp_path / "map"
    shutil.copytree(home / "map", folder)
    assert main(["report", str(folder), "--color", "kind"]) == 0
    out = tmp_path / "map.report.html"
    told = capsys.readouterr().out
    assert told == f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB): open it in a browser\n"
    assert "ant" in Page(out).words or "Nearest class means" in " ".join(Page(out).rows)
    data = str(home / "data.h5")
    more = ["--out", str(tmp_path / "three.html"), "--sample", "60", "--seed", "4", "--title", "Two", "--jobs", "1",
            "--table", data, "--data", data, "--color", "kind", "--quiet"]  # fmt: skip
    assert main(["report", str(folder), str(home / "second"), *more]) == 0
    assert capsys.readouterr().out == ""
    found = Page(tmp_path / "three.html")
    assert "60 rows were drawn" in found.words and "Drawn with seed 4" in found.words and "map and second" in found.rows
    for words, message in (
        ([], "exists already"), (["--overwrite", "--color", "kidn"], "'kind'"), (["--axes", "1;2"], "--axes"),
        (["--out", "a.htm"], "*.html"), (["--overwrite", "--sample", "0"], "--sample=0 must be at least 2"),
        (["--overwrite", "--seed", "-1"], "--seed=-1 must be at least 0"),
    ):  # fmt: skip
        before = out.read_bytes()
        assert main(["report", str(folder), *words]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
        assert out.read_bytes() == before
