"""Groups that begin with a product or a convolution: the bits of the kernel and the steps one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.backends.base import Kernel
from flambeau.backends.group import Group, Head, Input, Output, Step
from flambeau.backends.llvm.target import runnable
from flambeau.core import config, keys
from flambeau.core import dtype as dt
from flambeau.core.record import OPS

KEY = keys.key_for(fb.device("cpu"), dt.float32)


@pytest.fixture(autouse=True)
def machine_code() -> Iterator[None]:
    with config.override(cpu_code="host"):
        yield


def numbers(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def told(x: Any) -> Input:
    strides = [0 if n == 1 else s // x.itemsize for n, s in zip(x.shape, x.strides, strict=True)]
    return Input(dt.float32, x.shape, tuple(strides))


class Headed:
    """A head and the elementwise ops behind it, each of the number of a value before: inputs, the result, then ops."""

    def __init__(self, name: str, operands: Sequence[Any], others: Sequence[Any], **params: Any):
        self.given = [x for x in operands if x is not None]
        self.arrays = [*self.given, *others]
        places = iter(range(len(self.given)))
        self.head = Head(
            name, tuple([None if x is None else next(places) for x in operands]), tuple(params.items()), False
        )
        self.result = np.asarray(getattr(KEY, name)(*operands, **params))
        self.values = [*self.arrays, self.result]
        self.known, self.steps = len(self.values), list[Step]()

    def op(self, name: str, *operands: int) -> int:
        self.steps.append(Step(name, keys.expression(OPS[name], dt.float32), operands, dt.float32))
        self.values.append(np.asarray(getattr(KEY, name)(*[self.values[i] for i in operands])))
        return len(self.values) - 1

    def group(self, stored: Sequence[int], kept: bool = False, into: tuple[int, int] | None = None) -> Group:
        dense = told(self.result).strides
        outputs = [Output(i - self.known, dense) for i in stored]
        if into is not None:
            outputs.append(Output(into[0] - self.known, None, into[1]))
        inputs = tuple([told(x) for x in (*self.arrays, self.result)])
        head = self.head._replace(kept=kept)
        return Group(self.result.shape, inputs, tuple(self.steps), tuple(outputs), head)

    def made(self, group: Group) -> Kernel:
        found = KEY.backend.compile(group)
        assert found is not None
        return found

    def check(self, stored: Sequence[int], kept: bool = False) -> None:
        found = self.made(self.group(stored, kept))(*self.arrays)
        expected = [self.result] * kept + [self.values[i] for i in stored]
        assert [x.tobytes() for x in found] == [x.tobytes() for x in expected]


def linear(rows: int = 200, columns: int = 130, terms: int = 96, bias: bool = True) -> Headed:
    operands = [numbers(1, rows, terms), numbers(2, columns, terms), numbers(3, columns) if bias else None]
    return Headed("linear", operands, [numbers(4, rows, columns), numbers(5, columns)])


@pytest.mark.parametrize("kept", [False, True])
def test_a_product_goes_through_the_steps(kept: bool) -> None:
    headed = linear()
    headed.check([headed.op("relu", headed.op("mul", headed.op("add", 5, 3), 4))], kept)


def test_a_product_of_every_target() -> None:
    for target in runnable():
        with config.override(cpu_code=target.name):
            headed = linear(bias=False)
            headed.check([headed.op("add", headed.op("relu", 4), 2)])


def test_a_batch_of_rows_and_a_turned_factor() -> None:
    x, y = numbers(1, 6, 80, 64), numbers(2, 64, 80)
    batch = Headed("matmul", [x, y], [])
    batch.check([batch.op("square", 2)], kept=True)
    turned = Headed("matmul", [numbers(1, 64, 450).T, y], [numbers(3, 450, 80)])
    turned.check([turned.op("add", 3, 2)])


def test_a_product_is_added_to_what_is_there() -> None:
    headed = linear()
    total = headed.op("add", 5, 3)
    made, arrays = headed.made(headed.group([], into=(total, 3))), [x.copy() for x in headed.arrays]
    assert made(*arrays) == ()
    assert arrays[3].tobytes() == headed.values[total].tobytes()


@pytest.mark.parametrize(
    ("size", "channels", "kernel", "options"),
    [
        ((18, 20), (24, 32), 3, dict(padding=(1, 1))),
        ((18, 20), (24, 32), 3, dict(stride=(2, 2))),
        ((9, 9), (5, 40), 2, dict(padding=(1, 0), dilation=(2, 1))),
        ((12, 12), (8, 40), 3, dict(groups=2)),
    ],
)
def test_convolutions(size: tuple[int, int], channels: tuple[int, int], kernel: int, options: dict[str, Any]) -> None:
    params = dict(stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1) | options
    x = numbers(1, 5, channels[0], *size)
    weight = numbers(2, channels[1], channels[0] // params["groups"], kernel, kernel)
    shape = KEY.conv(x, weight, None, **params).shape
    headed = Headed("conv", [x, weight, numbers(3, channels[1])], [numbers(4, *shape)], **params)
    headed.check([headed.op("relu", headed.op("add", 4, 3))], kept=True)


def test_the_gradient_of_an_input() -> None:
    params = dict(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1)
    for channels in (4, 20):
        shape = (5, channels, 15, 15)
        grad, weight = numbers(1, 5, 24, 15, 15), numbers(2, 24, channels, 3, 3)
        headed = Headed("conv_grad_input", [grad, weight], [numbers(3, *shape)], shape=shape, **params)
        headed.check([headed.op("relu_grad", 3, 2)])


def test_a_convolution_whose_fast_way_fails_is_computed_and_activated_once() -> None:
    params = dict(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1)
    x = numbers(1, 4, 32, 16, 16)
    x[1, 3, 4, 5] = np.inf
    headed = Headed("conv", [x, numbers(2, 32, 32, 3, 3), None], [], **params)
    headed.check([headed.op("sub", headed.op("relu", 2), headed.op("square", 2))])


def test_arrays_that_lie_in_another_way_go_through_the_kernel() -> None:
    headed = linear()
    last = headed.op("relu", headed.op("add", 5, 3))
    made = headed.made(headed.group([last], kept=True))
    arrays = [np.asfortranarray(x) for x in headed.arrays]
    for found, expected in zip(made(*arrays), (headed.result, headed.values[last]), strict=True):
        np.testing.assert_allclose(found, expected, 1e-5, 1e-5)


def test_what_is_not_served_is_refused() -> None:
    backend, result = KEY.backend, Input(dt.float32, (4, 4), (4, 1)).operand
    small = Head("matmul", (0, 1), (), False)
    assert not backend.fuses_head(small, [result, result], result)
    headed = linear()
    headed.arrays[3] = headed.values[3] = numbers(4, 130, 200).T
    headed.op("add", 5, 3)
    assert KEY.backend.compile(headed.group([6])) is None
