"""A thread, an array or an open file that is refused once is missed once: of public calls, drawn and named.

`python tests/refusals.py` draws as many more as one likes.
"""

import importlib.util

import public_calls
import pytest
import refusals
from public_calls import CALLS, NEURAL, digest

CASES = (
    ("transform", "thread", 1),
    ("batches", "thread", 1),
    ("fit, inverted file", "memory", 9),
    ("embed", "memory", 25),
    ("embed", "descriptor", 3),
    ("transform_to", "descriptor", 1),
    ("save_and_load", "descriptor", 2),
    ("encoder_saved", "descriptor", 4),
)
neural = importlib.util.find_spec("torch") is not None
pytestmark = [
    pytest.mark.filterwarnings("ignore:builtin type .* has no __module__ attribute:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:X has feature names:UserWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def loaded():
    public_calls.load_everything(neural)


@pytest.mark.parametrize("name, kind, at", CASES)
def test_what_is_refused_once(tmp_path, name, kind, at):
    if name in NEURAL and not neural:
        pytest.skip("encoders need the extra 'neural'")
    (tmp_path / "wanted").mkdir()
    wanted = digest(CALLS[name](tmp_path / "wanted"))
    assert not refusals.case(name, kind, at, tmp_path, wanted)
    for manifest in (tmp_path / "first").rglob("manifest.json"):
        # What has a manifest is whole.
        assert list(manifest.parent.glob("*.npy"))
