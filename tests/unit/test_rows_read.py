"""A sample reads the same rows of a table whether a preparation lies before it or not."""

import numpy as np
import pandas as pd
import pytest

from tsne_ooc.io.memory import FrameSource
from tsne_ooc.preprocess import PCA, Log1p, Preparation, PreparedSource, Standardize
from tsne_ooc.sampling import UniformSample

N, P = 60_000, 500


class Watched:
    """A table of any size that counts the rows that are read."""

    shape, dtype = (N, P), np.dtype("f4")

    def __init__(self, chunks):
        self.chunks, self.read = chunks, 0

    def __getitem__(self, rows):
        self.read += rows.stop - rows.start
        return np.broadcast_to(np.arange(rows.start, rows.stop, dtype="f4")[:, None] % 100, (rows.stop - rows.start, P))


@pytest.mark.parametrize("chunks", [None, (200, P)], ids=["any rows", "chunks"])
@pytest.mark.parametrize("steps", [[PCA(2)], [Log1p(), Standardize(), PCA(10)], []], ids=len)
def test_a_sample_behind_a_preparation_reads_no_more(steps, chunks):
    preparation = Preparation(steps).fit(np.random.default_rng(0).gamma(1.0, 1.0, (50, P)).astype("f4"))
    bare, behind = Watched(chunks), Watched(chunks)
    numbers = UniformSample(600).draw(bare, np.random.default_rng(1)).rows
    found, rows = UniformSample(600).draw(PreparedSource(behind, preparation), np.random.default_rng(1))
    np.testing.assert_array_equal(found, numbers)
    wanted = preparation.transform(np.broadcast_to(numbers[:, None] % 100, (600, P)).astype("f4"))
    np.testing.assert_array_equal(rows, wanted)
    assert behind.read == bare.read < N / (1 if chunks else 3)


def test_columns_of_a_frame_are_chosen_by_one_look_at_their_names():
    class Name(str):
        compared = 0

        def __eq__(self, other):
            Name.compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    names = [f"c{i}" for i in range(3000)]
    frame = pd.DataFrame(np.zeros((2, 3000)), columns=names)
    chosen = FrameSource(frame, [Name(name) for name in reversed(names)])
    assert chosen.column_names == names[::-1]
    # One by one along all names they were 4.5 million.
    assert Name.compared < 100_000
