"""Groups beside the kernels that they stand for, on any backend that launches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from flambeau.backends.group import Group, Input, Output, Step
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau.core import keys
from flambeau.core.dtype import DType
from flambeau.core.expr import parse
from flambeau.core.record import OPS
from tests.backends.launched.conftest import Bench

#: One name of each form, and of those whose kernels call functions.
NAMES = (
    "add", "sub", "mul", "div", "maximum", "neg", "sqrt", "exp", "tanh", "relu", "gelu",
    "floor", "where", "lt", "isnan",
)  # fmt: skip


class Builder:
    """A group on some arrays of a bench, and beside it what the kernels give."""

    def __init__(self, bench: Bench, *arrays: StridedArray):
        self.bench, self.arrays, self.steps = bench, list(arrays), list[Step]()
        self.found = [bench.backend.copied(x) for x in arrays]
        self.shape = np.broadcast_shapes(*[x.shape for x in arrays])

    def op(self, name: str, *operands: int) -> int:
        dtypes = tuple([self.found[i].dtype for i in operands])
        dtype = next((d for d in dtypes if d is not dt.bool_), dt.bool_)
        op = OPS[name]
        expr, out = keys.expression(op, dtype), op.dtype.out(0, dtype, {})
        kernel = self.bench.backend.elementwise(name, expr, dtypes, out)
        assert kernel is not None
        return self._add(Step(name, expr, operands, out), kernel(*[self.found[i] for i in operands]))

    def cast(self, operand: int, dtype: DType) -> int:
        made = self.bench.op("cast", dtype)(self.found[operand], dtype=dtype)
        return self._add(Step("cast", parse("x", ("x",)), (operand,), dtype), made)

    def constant(self, number: float, dtype: DType) -> int:
        made = self.bench.backend.constant(number, dtype)
        return self._add(Step("constant", parse(repr(number), ()), (), dtype), made)

    def _add(self, step: Step, made: StridedArray) -> int:
        self.steps.append(step)
        self.found.append(made)
        return len(self.found) - 1

    def group(self, fresh: Sequence[int], into: dict[int, int] | None = None) -> Group:
        inputs = tuple([Input(x.dtype, x.shape, x.strides) for x in self.arrays])
        dense = tuple(np.empty(self.shape, np.int8).strides)
        outputs = [Output(i - len(inputs), dense) for i in fresh]
        outputs += [Output(i - len(inputs), None, k) for i, k in (into or {}).items()]
        return Group(self.shape, inputs, tuple(self.steps), tuple(outputs))

    def check(self, fresh: Sequence[int], into: dict[int, int] | None = None) -> None:
        """Run the group, and compare what it made and what it wrote to."""
        group = self.group(fresh, into)
        run = self.bench.backend.compile(group)
        assert run is not None, str(group)
        made = run(*self.arrays)
        assert len(made) == len(fresh)
        for x, number in zip(made, fresh, strict=True):
            assert x.dtype is self.found[number].dtype
            same(self.bench.get(x), self.bench.get(self.found[number]))
        for number, k in (into or {}).items():
            same(self.bench.get(self.arrays[k]), self.bench.get(self.found[number]))


def same(found: Any, expected: Any) -> None:
    """The same bits, but for those of nan."""
    expected = np.broadcast_to(expected, found.shape)
    bits = f"u{found.dtype.itemsize}"
    unequal = np.ascontiguousarray(found).view(bits) != np.ascontiguousarray(expected).view(bits)
    with np.errstate(invalid="ignore"):
        unequal &= ~((found != found) & (expected != expected))
    assert not unequal.any(), (found[unequal][:5], expected[unequal][:5])


def values(shape: tuple[int, ...], dtype: DType, seed: int) -> Any:
    """Values with infinities, nan, zeros of both signs, and the limits of the dtype among them."""
    x = np.random.default_rng([seed, *shape]).normal(scale=3, size=shape)
    if dtype is dt.bool_:
        return x > 0
    if dtype.category == dt.INTEGER:
        return (np.abs(x) if not dtype.is_signed else x).astype(dtype.numpy)
    edges = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, 1e-45, 3e38, 2.5, -2.5])
    x.reshape(-1)[: min(x.size, len(edges))] = np.roll(edges, seed)[: x.size]
    with np.errstate(over="ignore"):
        return x.astype(dtype.numpy)


def views(bench: Bench, x: Any) -> list[StridedArray]:
    """An array in several layouts: in order, turned, backwards with gaps, and inside of a larger one."""
    put, dtype = bench.put, dt.from_numpy(x.dtype)
    axes = tuple(reversed(range(x.ndim)))
    turned = bench.op("permute", dtype)(put(np.ascontiguousarray(x.transpose(axes))), axes=axes)
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::-2] = x
    back = bench.op("basic_index", dtype)(put(wide), index=(*[slice(None)] * (x.ndim - 1), slice(None, None, -2)))
    inside = np.zeros((x.shape[0] + 2, *x.shape[1:]), x.dtype)
    inside[1:-1] = x
    return [
        put(x),
        turned,
        back,
        bench.op("basic_index", dtype)(put(inside), index=(slice(1, -1), *[slice(None)] * (x.ndim - 1))),
    ]


def check_any_group(bench: Bench, data: st.DataObject) -> None:
    """A group of up to nine steps on arrays of any layout."""
    draw = data.draw
    dtype = draw(st.sampled_from([dt.float32, dt.float16, dt.bfloat16]))
    shape = draw(st.sampled_from([(37,), (3, 1), (5, 33), (2, 3, 17)]))
    shapes = [shape, *[tuple(1 if draw(st.booleans()) else n for n in shape) for _ in range(2)]]
    arrays = [
        draw(st.sampled_from(views(bench, values(s, dtype, i)))) for i, s in enumerate(shapes)
    ]  # fmt: skip
    builder = Builder(bench, *arrays)
    numbers, tests = [0, 1, 2], list[int]()
    for _ in range(draw(st.integers(2, 9))):
        name = draw(st.sampled_from([n for n in NAMES if n != "where" or tests]))
        count = len(OPS[name].schema.operands)
        operands = [draw(st.sampled_from(numbers)) for _ in range(count)]
        if name == "where":
            operands[0] = draw(st.sampled_from(tests))
        made = builder.op(name, *operands)
        (tests if builder.found[made].dtype is dt.bool_ else numbers).append(made)
    whole = list(range(3, len(builder.found)))
    fresh = draw(st.lists(st.sampled_from(whole), min_size=1, max_size=4, unique=True))
    written = [i for i in numbers[3:] if builder.found[i].shape == shape]
    into = {draw(st.sampled_from(written)): 0} if written and draw(st.booleans()) else {}
    builder.check(fresh, into)
