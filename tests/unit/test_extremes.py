"""Options at the ends of the range of numbers never bring the interpreter down, nor end in another program's words."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tsne_ooc import TSNE, Phase, Placement
from tsne_ooc._parallel import Threads
from tsne_ooc.gradients.field import FieldPlanner
from tsne_ooc.neighbors import HNSW

ONE = Threads(1)
PROGRAM = Path(__file__).parent.parent / "extremes.py"


@pytest.mark.parametrize(("kind", "every"), [("map", 7), ("line", 23)])
def test_numbers_at_the_ends_of_their_range(kind, every):
    """One case in so many; the program tries them all."""
    run = subprocess.run([sys.executable, PROGRAM, kind, str(every)], capture_output=True, text=True)
    faults = [line for line in run.stdout.splitlines() if not line.endswith((" taken", " refused", " diverged"))]
    assert run.returncode == 0 and not faults, (run.returncode, faults, run.stderr[-1000:])
    assert len(run.stdout.splitlines()) > 15


@pytest.mark.parametrize("dof", [5e-324, 1e-300, 0.0099, 10_001, 1e300])
def test_degrees_of_freedom_that_no_field_holds_are_refused(dof):
    with pytest.raises(ValueError, match=re.escape(f"dof={dof!r} must be a finite number from 0.01 to 10000")):
        TSNE(dof=dof).fit(np.zeros((5, 2)))


def exact(Y, dof):
    """The field's gradient at its sources, the plain sum in double precision."""
    Y = Y.astype(float)
    difference = Y[:, None] - Y
    square = (difference**2).sum(axis=2) / dof
    force = np.exp(-(dof + 1) * np.log1p(square))
    return -2 * (force[:, :, None] * difference).sum(axis=1)


@pytest.mark.parametrize("dof", [0.01, 1e4])
@pytest.mark.parametrize("width", [1, 10, 40])
def test_the_field_holds_what_is_not_refused(dof, width):
    Y = (width * np.random.default_rng(0).normal(size=(800, 2))).astype(np.float32)
    found, wanted = np.empty_like(Y), exact(Y, dof)
    FieldPlanner(dof, ONE).plan(Y).at_sources(Y, found, ONE)
    assert np.linalg.norm(found - wanted) < 0.02 * np.linalg.norm(wanted)


@pytest.mark.parametrize("at", [0, 1e6, 1e14])
@pytest.mark.parametrize("width", [0, 1e-45, 1e-30, 1e-4, 1, 1e4])
@pytest.mark.parametrize("margin", [0, 20])
def test_no_place_lies_beyond_the_grid(at, width, margin):
    """As the kernels compute cells, in single precision; also at the corners, where new rows may be put."""
    Y = (at + width * np.random.default_rng(0).uniform(-1, 1, size=(64, 1))).astype(np.float32)
    field = FieldPlanner(1.0, ONE, margin).plan(Y)
    corners = np.concatenate([field.low[None], field.high[None], Y])
    cells = (corners - field.origin) * field.per_cell
    assert cells.min() >= 0 and np.floor(cells.max()) + 3 < field.shape.nodes[0]
    value, gradient = field.at(corners, ONE)
    assert np.isfinite(value).all() and np.isfinite(gradient).all()


def test_a_map_too_wide_for_any_field_is_said_to_be():
    Y = np.array([[-1e20], [1e20]], np.float32)
    with pytest.raises(FloatingPointError, match="2e\\+20 units wide"):
        FieldPlanner(1.0, ONE).plan(Y)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Phase(3, exaggeration=[1.0]), "one number or two"),
        (lambda: Phase(3, exaggeration=1e300), "exaggeration=1e\\+300 must be a finite number from 1e-06 to 1e\\+06"),
        (lambda: Placement(exaggeration=1e-300), "placement exaggeration=1e-300 must be"),
        (lambda: Placement(perplexity=10**5000), "a number of thousands of digits must be a finite number"),
        (lambda: HNSW(ef=2**31), "ef=2147483648 must be at most 2147483647"),
        (lambda: Threads(10**6), "n_jobs=1000000 is more than 4096"),
    ],
)
def test_numbers_that_cannot_be(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_more_candidates_than_rows_are_the_rows():
    X = np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32)
    fits = [
        TSNE(neighbors=HNSW(ef=ef), perplexity=4, n_iter=2, early_exaggeration_iter=2, random_state=0).fit(X)
        for ef in (80, 2**31 - 1)
    ]
    assert (fits[0].embedding_ == fits[1].embedding_).all()
