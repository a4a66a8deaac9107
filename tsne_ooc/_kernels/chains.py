"""Four sums of squared differences side by side, as one vector of four numbers.

The order of additions is that of four scalar sums, so the bits are those of a plain loop. LLVM makes vectors of such
sums by itself only where it may reorder them, or by a pass that Numba leaves out: as a loop, 91 pairs of 50 columns, in
rows all over a table of 1.3 million, took 11.5 us, and this way they take 6.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, config, errors, types
from numba.extending import intrinsic

WIDE = ir.VectorType(ir.DoubleType(), 4)
LONG = ir.IntType(64)


@intrinsic
def four_sums(typing: Any, x: Any, y: Any, start: Any) -> Any:
    """The sums of ``(x[i] - y[start + i]) ** 2`` over i = 0, 4, ..., over i = 1, 5, ..., and so on, in whole fours.

    x and y are vectors of float32 or float64 without gaps, y is as long as ``start + len(x)`` at least, and `start` is
    a uint64. The sums are in double precision.
    """
    if not all(_fits(kind) for kind in (x, y)):
        raise errors.TypingError(f"four_sums takes vectors of float32 or float64 without gaps, not {x} and {y}")
    return types.UniTuple(types.float64, 4)(x, y, types.uint64), _build


def _fits(kind: Any) -> bool:
    plain = isinstance(kind, types.Array) and kind.layout == "C" and kind.ndim == 1
    return plain and kind.dtype in (types.float32, types.float64)


def _build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    *kinds, _ = signature.args
    *given, start = args
    x, y = (context.make_array(kind)(context, builder, arg) for kind, arg in zip(kinds, given, strict=True))
    sums = cgutils.alloca_once_value(builder, ir.Constant(WIDE, [0.0] * 4))
    count = builder.lshr(builder.extract_value(x.shape, 0), LONG(2))
    with cgutils.for_range(builder, count) as loop:
        first = builder.shl(loop.index, LONG(2))
        fours = [
            _four(context, builder, vector.data, kind.dtype, builder.add(first, begin))
            for vector, kind, begin in zip((x, y), kinds, (LONG(0), start), strict=True)
        ]
        difference = builder.fsub(*fours)
        builder.store(builder.fadd(builder.load(sums), builder.fmul(difference, difference)), sums)
    total = builder.load(sums)
    parts = [builder.extract_element(total, ir.IntType(32)(part)) for part in range(4)]
    return context.make_tuple(builder, signature.return_type, parts)


def _four(context: Any, builder: Any, data: Any, dtype: Any, first: Any) -> Any:
    """Four numbers from `first` on, as double precision."""
    number = context.get_value_type(dtype)
    place = builder.bitcast(builder.gep(data, [first]), ir.VectorType(number, 4).as_pointer())
    # Rows begin anywhere.
    values = builder.load(place, align=dtype.bitwidth // 8)
    return values if dtype == types.float64 else builder.fpext(values, WIDE)


def _in_python(x: Any, y: Any, start: Any) -> Any:
    """The same sums where kernels are run as plain Python (NUMBA_DISABLE_JIT)."""
    whole, first = len(x) - len(x) % 4, int(start)
    sums = np.zeros(4)
    for i in range(0, whole, 4):
        difference = x[i : i + 4].astype(np.float64) - y[first + i : first + i + 4]
        sums += difference * difference
    return tuple(sums.tolist())


# Numba sets it up by name, so that no reader of types knows it.
if getattr(config, "DISABLE_JIT", False):
    four_sums = _in_python
