"""A resource that is refused once: one error of one line, and the next call works."""

import os
import textwrap
import zipfile

import numpy as np
import pytest

from tsne_ooc import TSNE
from tsne_ooc.io import iterate, open_source

resource = pytest.importorskip("resource")
X = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)


@pytest.fixture
def no_descriptors():
    """Functions that leave no number for another open file, and give them back."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []

    def take():
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
        while True:
            try:
                taken.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                return

    def give():
        while taken:
            os.close(taken.pop())
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    yield take, give
    give()


def write(path):
    if path.suffix == ".npy":
        np.save(path, X)
    elif path.suffix == ".h5":
        import h5py

        with h5py.File(path, "w") as file:
            file["X"] = X
    elif path.suffix == ".parquet":
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.table({f"c{j}": X[:, j] for j in range(4)}), path)
    else:
        pytest.importorskip("zarr").create_array(str(path), data=X, chunks=(50, 4))


@pytest.mark.filterwarnings("ignore:X has feature names:UserWarning")
@pytest.mark.parametrize("name", ["x.npy", "x.h5", "x.parquet", "x.zarr"])
def test_descriptors(tmp_path, no_descriptors, name):
    take, give = no_descriptors
    write(tmp_path / name)
    model = TSNE(perplexity=5, n_iter=2, early_exaggeration_iter=2, random_state=0).fit(X[:100])
    model.save(tmp_path / "model")
    with open_source(tmp_path / name) as table:
        expected = model.transform(table)
    deeds = {
        "open": lambda: open_source(tmp_path / name).close(),
        "save": lambda: model.save(tmp_path / "model", overwrite=True),
        "transform_to": lambda: model.transform_to(X, tmp_path / "Y.npy"),
    }
    for deed in deeds.values():
        take()
        with pytest.raises(OSError) as caught:
            deed()
        give()
        assert "\n" not in str(caught.value)
        deed()
    with open_source(tmp_path / name) as table:
        np.testing.assert_array_equal(model.transform(table), expected)
    np.testing.assert_array_equal(np.load(tmp_path / "Y.npy"), model.transform(X))


def test_memory_for_a_block():
    """A reader that lacks memory for one block, once."""

    class Short:
        shape, dtype, chunks = (300, 4), np.dtype("f4"), None
        refused = False

        def read(self, start, stop):
            if start == 100 and not self.refused:
                self.refused = True
                raise MemoryError("Unable to allocate")
            return X[start:stop]

        def reopen(self):
            return self

    table = Short()
    with pytest.raises(MemoryError, match=r"rows 100 to 199 of .* could not be read: Unable to allocate"):
        list(iterate(table, rows=100))
    np.testing.assert_array_equal(np.concatenate([block for *_, block in iterate(table, rows=100)]), X)


FORKED = """
    import os, sys
    import numpy as np
    from tsne_ooc.io import open_source

    table = open_source(sys.argv[1])
    expected = np.load(sys.argv[2])
    children = []
    for child in range(4):
        children.append(os.fork())
        if not children[-1]:
            good = all((table.read(a, a + 10) == expected[a : a + 10]).all() for a in list(range(0, 290, 7)) * 5)
            os._exit(0 if good else 1)
    assert all((table.read(a, a + 10) == expected[a : a + 10]).all() for a in list(range(0, 290, 7)) * 5)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_zip_file_after_a_fork(tmp_path):
    """Parent and children read at once, and none moves the position of another."""
    import subprocess
    import sys

    write(tmp_path / "x.zarr")
    np.save(tmp_path / "x.npy", X)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for file in sorted(file for file in (tmp_path / "x.zarr").rglob("*") if file.is_file()):
            archive.write(file, file.relative_to(tmp_path / "x.zarr"))
    program = [sys.executable, "-c", textwrap.dedent(FORKED), str(tmp_path / "x.zip"), str(tmp_path / "x.npy")]
    done = subprocess.run(program, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
