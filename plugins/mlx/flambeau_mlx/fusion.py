"""Groups of elementwise steps as one kernel of ``mx.compile``."""

from __future__ import annotations

import shutil
from functools import lru_cache

import mlx.core as mx

from flambeau.backends.group import Group
from flambeau_mlx.elementwise import Pure, body_of


@lru_cache(None)
def is_exact() -> bool:
    """Whether compiled steps have the bits of single ones here: no product and sum are made one rounding.

    On processors MLX calls a C++ compiler, which may be missing.
    """
    if mx.default_device().type == mx.DeviceType.cpu and not any(map(shutil.which, ("g++", "c++", "clang++"))):
        return False

    def steps(x: mx.array, y: mx.array) -> mx.array:
        return mx.exp(x * y + x) / y - x * y

    x, y = (mx.arange(1, 4097, dtype=mx.float32) / n for n in (4099, 4111))
    try:
        return bool(mx.array_equal(mx.compile(steps)(x, y), steps(x, y)).item())
    except RuntimeError:
        return False


def compiled_group(group: Group) -> Pure:
    """A function of the inputs' values that gives those of the outputs, each step rounded to its own dtype."""
    dtypes = [x.dtype for x in group.inputs] + [s.dtype for s in group.steps]
    bodies = [body_of(s.expr, tuple([dtypes[i] for i in s.operands]), s.dtype, False) for s in group.steps]

    def run(*ins: mx.array) -> list[mx.array]:
        values = list(ins)
        for step, body in zip(group.steps, bodies, strict=True):
            values.append(body(*[values[i] for i in step.operands]))
        first = len(group.inputs)
        return [mx.broadcast_to(values[first + o.step], group.shape) for o in group.outputs]

    return mx.compile(run)
