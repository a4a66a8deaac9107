"""Arrays are compared bit by bit, and what differs is told in one line."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from tsne_ooc.testing.bits import assert_same_bits


@settings(deadline=None)
@given(
    data=st.data(),
    dtype=st.sampled_from(["f4", ">f8", "u4", "i1", "?"]),
    shape=arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
)
def test_it_says_what_a_loop_over_all_values_finds(data, dtype, shape):
    array = arrays_of.arrays(dtype, shape, elements={"allow_nan": False} if np.dtype(dtype).kind == "f" else None)
    found, wanted = data.draw(array), data.draw(array)
    different = [at for at in np.ndindex(shape) if found[at].tobytes() != wanted[at].tobytes()]
    if not different:
        assert_same_bits(found, wanted)
        return
    first = different[0]
    with pytest.raises(AssertionError) as raised:
        assert_same_bits(found, wanted)
    assert str(raised.value) == (
        f"{len(different):,} of {found.size:,} values differ, the first at {first}: "
        f"{found[first]!r}, not {wanted[first]!r}"
    )


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_nan_is_itself_and_zero_has_a_sign(dtype):
    X = np.array([[np.nan, 0.0], [1.0, np.inf]], dtype)
    assert_same_bits(X, X.copy())
    assert_same_bits(X, np.asfortranarray(X))
    assert_same_bits(X[:, ::-1][:, ::-1], X)
    with pytest.raises(AssertionError, match=r"^1 of 4 values differ, the first at \(0, 1\): np\.float\d\d\(-0\.0\), "):
        assert_same_bits(np.where(X == 0, -X, X), X)


@pytest.mark.parametrize(
    "other, words",
    [
        (np.zeros((2, 3), "f8"), r"^float64 of shape \(2, 3\), not float32 of shape \(2, 3\)$"),
        (np.zeros((3, 2), "f4"), r"^float32 of shape \(3, 2\), not float32 of shape \(2, 3\)$"),
        (np.zeros(6, "f4"), r"^float32 of shape \(6,\), not float32 of shape \(2, 3\)$"),
        (np.zeros((0, 3), "f4"), r"^float32 of shape \(0, 3\), not float32 of shape \(2, 3\)$"),
    ],
)
def test_another_type_or_shape_is_another_array(other, words):
    with pytest.raises(AssertionError, match=words):
        assert_same_bits(other, np.zeros((2, 3), "f4"))
