"""A table that was placed in parts and joined is one that was placed at once, byte for byte; else it is refused."""

import itertools
import json
import shutil

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tsne_ooc import TSNE, merge, open_run, place
from tsne_ooc.cli import main
from tsne_ooc.pipeline.rows import rows_of

N, P = 300, 4
FEW = {"perplexity": 5, "early_exaggeration_iter": 10, "n_iter": 10, "random_state": 0, "n_jobs": 1}


def rows(n=N, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 4, (6, P))[rng.integers(0, 6, n)] + rng.normal(size=(n, P))).astype(np.float32)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    TSNE(**FEW).fit(rows()[:150]).save(folder / "map")
    TSNE(**FEW).fit(rows()[50:200]).save(folder / "other")
    for name, X in (("table", rows()), ("another", rows(seed=1))):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file.create_dataset("X", data=X, chunks=(32, P))
    place(folder / "map", folder / "table.h5", out=folder / "whole", n_jobs=1)
    return folder


def part(home, out, a, b, **options):
    options = {"model": home / "map", "source": home / "table.h5", "n_jobs": 1, **options}
    return place(options.pop("model"), options.pop("source"), out=out, rows=(a, b), **options)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.sets(st.integers(1, N - 1), max_size=6), data=st.data())
def test_any_cuts_in_any_order(home, tmp_path_factory, cuts, data):
    folder = tmp_path_factory.mktemp("parts")
    edges = [0, *sorted(cuts), N]
    order = data.draw(st.permutations(range(len(edges) - 1)))
    for i in order:
        part(home, folder / f"part-{i}", edges[i], edges[i + 1], block_rows=data.draw(st.integers(1, 200)))
    run = merge([folder / f"part-{i}" for i in data.draw(st.permutations(order))], out=folder / "out")
    for name in ("embedding.npy", "novelty.npy"):
        assert (folder / "out" / name).read_bytes() == (home / "whole" / name).read_bytes()
    one, other = (dict(open_run(path).manifest) for path in (home / "whole", run.folder))
    assert [part["rows"] for part in other.pop("parts")] == [[a, b] for a, b in itertools.pairwise(edges)]
    for manifest in (one, other):
        manifest.pop("seconds")
        assert set(manifest.pop("memory_gb")) == {"place"}
    assert one == other
    # It counts as that run, too.
    again = place(home / "map", home / "table.h5", out=folder / "out", resume=True)
    assert again.manifest == run.manifest


def test_rows_are_named_by_their_numbers_in_the_table(home, tmp_path):
    X = rows()
    X[230, 1] = np.inf
    np.save(tmp_path / "X.npy", X)
    with pytest.raises(ValueError, match="row 230, column 1"):
        part(home, tmp_path / "p", 200, 260, source=tmp_path / "X.npy")


def test_a_part_that_was_stopped_goes_on_with_the_same_rows(home, tmp_path):
    def stop(phase, done, total):
        assert total == 120
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        part(home, tmp_path / "p", 100, 220, block_rows=50, progress=stop)
    with pytest.raises(ValueError, match=r"rows"):
        part(home, tmp_path / "p", 100, 221, resume=True)
    found = part(home, tmp_path / "p", 100, 220, resume=True)
    np.testing.assert_array_equal(found.embedding, np.load(home / "whole" / "embedding.npy")[100:220])


def test_parts_that_do_not_belong_together(home, tmp_path):
    part(home, tmp_path / "a", 0, 100)
    part(home, tmp_path / "b", 100, N)
    part(home, tmp_path / "late", 120, N)
    part(home, tmp_path / "short", 100, N - 1)
    part(home, tmp_path / "early", 90, N)
    part(home, tmp_path / "model", 100, N, model=home / "other")
    part(home, tmp_path / "source", 100, N, source=home / "another.h5")
    part(home, tmp_path / "novelty", 100, N, novelty=False)
    for second, words in (
        ("late", "rows 100 to 119 are in none of the parts"),
        ("short", "rows 299 to 299 are in none of the parts"),
        ("early", "rows 90 to 99 are in .*a and in .*early"),
        ("a", "rows 0 to 99 are in .*a and in .*a"),
        ("model", "model does not belong to .*a: model is another"),
        ("source", "source does not belong to .*a: the source: contents of the rows looked at have changed"),
        ("novelty", "novelty does not belong to .*a: novelty is another"),
    ):
        with pytest.raises(ValueError, match=words):
            merge([tmp_path / "a", tmp_path / second], out=tmp_path / "out")
        assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="rows 0 to 99 are in none"):
        merge([tmp_path / "b"], out=tmp_path / "out")
    with pytest.raises(ValueError, match="is not a part of a table"):
        merge([tmp_path / "a", home / "whole"], out=tmp_path / "out")
    with pytest.raises(ValueError, match="there are no parts"):
        merge([], out=tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        merge([tmp_path / "a", tmp_path / "nowhere"], out=tmp_path / "out")
    with open(tmp_path / "b" / "embedding.npy", "r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\0\0\1")
    with pytest.raises(ValueError, match=r"embedding\.npy is damaged"):
        merge([tmp_path / "a", tmp_path / "b"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [("3:9", (3, 9)), (":9", (0, 9)), ("4:", (4, 10)), (":", (0, 10)), ((2, 5), (2, 5)), (slice(None, 4), (0, 4)),
     (range(2, 7), (2, 7)), ([np.int64(1), 2], (1, 2))],
)  # fmt: skip
def test_ranges(rows, wanted):
    assert rows_of(rows, 10, "the table") == wanted


@pytest.mark.parametrize(
    ("rows", "words"),
    [("3:11", "the table has 10 rows, numbered from 0, so 0:10 is all"), ("7:3", "not a range of its rows"),
     ((0, 0), "not a range"), ("3", "not a range of rows such as"), ("a:b", "not a range of rows such as"),
     ("-3:5", "such as"), (5, "is not a first row"), ((1, 2, 3), "is not a first row"),
     ((1.5, 3), "is not a first row"), (slice(0, 8, 2), "leaves out rows between"),
     ((-3, 5), "not a range of its rows")],
)  # fmt: skip
def test_what_is_not_a_range(rows, words):
    with pytest.raises((ValueError, TypeError), match=words):
        rows_of(rows, 10, "the table")


def test_the_commands(home, tmp_path, capsys):
    for i, words in enumerate(("0:120", "120:300")):
        out = str(tmp_path / f"part-{i}")
        assert main(["place", str(home / "map"), str(home / "table.h5"), "--rows", words, "--out", out, "--quiet"]) == 0
    parts = [str(tmp_path / f"part-{i}") for i in (1, 0)]
    assert main(["merge", *parts, "--out", str(tmp_path / "out")]) == 0
    assert "wrote" in capsys.readouterr().out
    whole = (home / "whole" / "embedding.npy").read_bytes()
    assert (tmp_path / "out" / "embedding.npy").read_bytes() == whole
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["content"]["n_samples"] == N
    assert main(["merge", parts[0], "--out", str(tmp_path / "no")]) == 2
    assert "rows 0 to 119 are in none of the parts" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "part-0")
    place_ = ["place", str(home / "map"), str(home / "table.h5"), "--out", parts[1]]
    assert main([*place_, "--rows", "0:301"]) == 2
    assert "--rows=0:301 is not a range of its rows" in capsys.readouterr().err
    assert not (tmp_path / "part-0").exists()
    assert main([*place_, "--workers", "0"]) == 2
    assert "workers" in capsys.readouterr().err
    assert main([*place_, "--workers", "1", "--quiet", "--block-rows", "100"]) == 0
    assert (tmp_path / "part-0" / "embedding.npy").read_bytes() == whole
