"""Arguments and results: their structure, dtypes and layouts, and who shares memory with whom."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn
from tests.core.capture.harness import Call, Case, Cases, Program, numbers, program

cases = Cases()
Pair = namedtuple("Pair", "a b")


@dataclass
class Batch:
    x: fb.Tensor
    scale: float


@cases(replays=4)
def nested_arguments_and_results() -> Program:
    def step(d: dict, rest: list) -> dict:
        return {"sum": d["a"] + rest[0], "list": [rest[1][0] * 2, (d["b"],)], "none": None, "text": "t", "one": 1}

    def inputs(i: int) -> tuple:
        return {"a": numbers(i, 3), "b": numbers(i + 9, 2)}, [numbers(i + 1, 3), (numbers(i + 2, 2),)]

    return program(step, inputs=inputs)


@cases(replays=4)
def keywords_and_defaults() -> Program:
    def step(x: fb.Tensor, y: fb.Tensor | None = None, *rest: fb.Tensor, scale: float = 2.0, **more: fb.Tensor) -> list:
        return [x * scale if y is None else x * y, *rest, *more.values()]

    return program(step, inputs=lambda i: Call((numbers(i, 3),), {"scale": 3.0, "z": numbers(i, 2)}))


@cases(replays=2, calls=14, why="None or a tensor: two kinds of calls")
def none_or_a_tensor() -> Program:
    def step(x: fb.Tensor, y: fb.Tensor | None) -> fb.Tensor:
        return x * 2 if y is None else x * y

    return program(step, inputs=lambda i: (numbers(i, 3), numbers(i, 3) if i % 2 else None))


@cases(replays=2, calls=14, why="a text that chooses: two kinds of calls")
def text_as_an_argument() -> Program:
    def step(x: fb.Tensor, mode: str) -> fb.Tensor:
        return x.sin() if mode == "sin" else x.cos()

    return program(step, inputs=lambda i: (numbers(i, 3), "sin" if i % 2 else "cos"))


@cases(why="a number of its own in each call")
def number_as_an_argument() -> Program:
    return program(lambda x, n: x * n, inputs=lambda i: (numbers(i, 3), i * 0.5))


@cases(calls=12, why="True, 1 and 1.0 are equal and not the same")
def numbers_that_are_equal() -> Program:
    kinds = (1, 1.0, True)
    return program(lambda x, n: (x * n, n, x / n), inputs=lambda i: (fb.tensor([1, 2, 3]), kinds[i % 3]))


@cases(calls=10, why="0.0 and -0.0 are equal and not the same")
def zeros_of_both_signs() -> Program:
    return program(lambda x, n: x * n, inputs=lambda i: (numbers(i, 3), -0.0 if i % 2 else 0.0))


@cases(calls=9, why="nan is not equal to itself")
def nan_as_an_argument() -> Program:
    return program(lambda x, n: x * n, inputs=lambda i: (numbers(i, 3), float("nan")))


@cases(why="a namedtuple in and out")
def namedtuples() -> Program:
    return program(lambda p: Pair(p.b * 2, p.a), inputs=lambda i: (Pair(numbers(i, 2), numbers(i + 1, 3)),))


@cases(why="a dataclass in and out")
def dataclasses_() -> Program:
    return program(lambda b: Batch(b.x * b.scale, b.scale), inputs=lambda i: (Batch(numbers(i, 2), 2.0),))


@cases(why="two orders of one dict")
def order_of_a_dict() -> Program:
    def inputs(i: int) -> tuple:
        items = [("a", numbers(i, 2)), ("b", numbers(i + 1, 2))]
        return (OrderedDict(items if i < 5 else items[::-1]),)

    return program(lambda d: {k: v * n for n, (k, v) in enumerate(d.items())}, inputs=inputs)


@cases(why="the step changes the list that it got")
def list_argument_changed() -> Program:
    def step(parts: list) -> int:
        parts.append(parts[0] * 2)
        return len(parts)

    return program(step, inputs=lambda i: ([numbers(i, 2)],))


@cases(why="numpy arrays as arguments")
def numpy_argument() -> Program:
    return program(lambda a: fb.from_numpy(a) * 2, inputs=lambda i: (np.arange(3.0) + i,))


@cases(why="a module as an argument")
def module_argument() -> Program:
    model = nn.Linear(6, 6)
    return program(lambda m, x: m(x).detach(), inputs=lambda i: (model, numbers(i, 4, 6)))


@cases(replays=4)
def no_tensor_in_the_result() -> Program:
    state = fb.zeros(3)

    def step(x: fb.Tensor) -> str:
        state.add_(x)
        return "done"

    return program(step, state, inputs=lambda i: numbers(i, 3))


@cases(replays=4)
def no_argument() -> Program:
    state = fb.zeros(3)
    return program(lambda: state.add_(1).clone(), state, inputs=lambda i: ())


@cases(replays=4)
def results_are_arguments() -> Program:
    return program(lambda x, y: (y, x, x * 2, [x]), inputs=lambda i: (numbers(i, 2), numbers(i + 1, 2)))


@cases(replays=4)
def one_result_twice() -> Program:
    def step(x: fb.Tensor) -> tuple[fb.Tensor, ...]:
        y = x * 2
        return y, y, x

    return program(step, after=lambda i, r, args: r[0].add_(1))


@cases(replays=4)
def results_view_each_other() -> Program:
    def step(x: fb.Tensor) -> tuple[fb.Tensor, ...]:
        y = x * 2
        return y, y[1:], y.t(), y[0, 2:4]

    return program(step, after=lambda i, r, args: r[2][2].zero_())


@cases(replays=4)
def results_view_arguments() -> Program:
    return program(lambda x: (x[1:], x.t(), x.reshape(-1)[3]), after=lambda i, r, args: r[0].zero_())


@cases(replays=4)
def results_view_parameters() -> Program:
    model = nn.Linear(6, 6)

    def step(x: fb.Tensor) -> tuple[fb.Tensor, fb.Tensor]:
        return model.weight.detach()[1:], model.weight.data

    return program(step, model, after=lambda i, r, args: r[0].mul_(0.5))


@cases(replays=4)
def results_are_state() -> Program:
    model, state = nn.BatchNorm1d(6), fb.zeros(6)

    def step(x: fb.Tensor) -> tuple[fb.Tensor, ...]:
        state.add_(x[0])
        return state, model.running_mean, model.weight

    return program(step, model, state, after=lambda i, r, args: r[0].add_(i))


@cases(replays=4)
def results_are_kept_and_written_by_the_caller() -> Program:
    kept: list[fb.Tensor] = []

    def after(i: int, result: fb.Tensor, args: tuple) -> None:
        kept.append(result)
        kept[i // 2].add_(1)

    return program(lambda x: x * 2 + x.sum(), kept, after=after)


@cases(replays=4)
def result_is_the_next_argument() -> Program:
    last = [fb.ones(4, 6)]

    def after(i: int, result: fb.Tensor, args: tuple) -> None:
        last[0] = result

    return program(lambda x: x.sin() + 1, after=after, inputs=lambda i: last[0])


@cases(why="the third call gets one tensor twice, or all calls do, or none")
def one_tensor_as_two_arguments() -> Program:
    def step(x: fb.Tensor, y: fb.Tensor) -> fb.Tensor:
        x.add_(1)
        return x * y

    def inputs(i: int) -> tuple[fb.Tensor, fb.Tensor]:
        x = numbers(i, 3)
        return x, x if i in (5, 6, 8) else numbers(i + 1, 3)

    return program(step, inputs=inputs)


@cases(replays=4)
def one_tensor_always_twice() -> Program:
    def step(x: fb.Tensor, y: fb.Tensor) -> fb.Tensor:
        x.add_(1)
        return x * y

    def inputs(i: int) -> tuple[fb.Tensor, fb.Tensor]:
        x = numbers(i, 3)
        return x, x

    return program(step, inputs=inputs)


@cases(why="views that overlap in some calls, by other places", calls=10)
def overlapping_arguments() -> Program:
    def step(x: fb.Tensor, y: fb.Tensor) -> fb.Tensor:
        x.add_(1)
        return x * y

    def inputs(i: int) -> tuple[fb.Tensor, fb.Tensor]:
        base = numbers(i, 8)
        return base[:4], base[2:6] if i % 2 else base[4:]

    return program(step, inputs=inputs)


@cases(why="an argument that is a parameter in some calls", calls=9)
def parameter_as_an_argument() -> Program:
    model = nn.Linear(3, 3)

    def step(x: fb.Tensor) -> fb.Tensor:
        with fb.no_grad():
            model.weight.add_(1)
            return model.weight * x

    return program(step, model, inputs=lambda i: model.weight if i in (5, 6) else numbers(i, 3, 3))


@cases(why="an argument that is a view of a closed-over tensor in some calls", calls=9)
def view_of_state_as_an_argument() -> Program:
    state = fb.ones(6)

    def step(x: fb.Tensor) -> fb.Tensor:
        state.mul_(2)
        return x + 1

    return program(step, state, inputs=lambda i: state[i % 3 : i % 3 + 3] if i >= 5 else numbers(i, 3))


@cases(replays=4)
def argument_written() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        x.mul_(2)
        x[0] = 5
        x[:, 1:3].add_(1)
        return x.sum()

    return program(step)


@cases(replays=4)
def same_tensor_in_each_call() -> Program:
    x = numbers(0, 4, 6)
    return program(lambda x: x.mul_(0.9) + 1, x, inputs=lambda i: x)


LAYOUTS = {
    "transposed": lambda i: numbers(i, 6, 4).t(),
    "sliced": lambda i: numbers(i, 4, 12)[:, ::2],
    "offset": lambda i: numbers(i, 5, 6)[1:],
    "expanded": lambda i: numbers(i, 1, 6).expand(4, 6),
    "zero_size": lambda i: numbers(i, 0, 6),
    "zero_dimensional": lambda i: numbers(i),
    "channels_last": lambda i: numbers(i, 2, 3, 4, 5).to(memory_format=fb.channels_last),
}


def of_any_layout() -> Program:
    return program(lambda x: (x * 2, x.sum(), x.reshape(-1), x + x.mean(), x.clone(), x.softmax(-1) if x.dim() else x))


for name, make in LAYOUTS.items():
    cases.add(f"layout_{name}", of_any_layout, inputs=make, replays=4)


@cases(replays=4, calls=16, why="three kinds of calls")
def layout_varies() -> Program:
    program = of_any_layout()
    program.inputs = lambda i: list(LAYOUTS.values())[i % 3](i)
    return program


DTYPES = ("bool", "uint8", "int32", "int64", "float16", "bfloat16", "float64", "complex64", "complex128")


def of_dtype(dtype: str) -> Program:
    kind = getattr(fb, dtype)

    def step(x: fb.Tensor) -> tuple[fb.Tensor, ...]:
        y = x if dtype == "bool" else x * 3 + x
        return (
            y,
            y == x,
            y.sum(),
            y[1:],
            y.to(fb.complex64 if kind.is_complex else fb.float32) / 2,
            ~x if y is x else -x,
        )

    return program(step, inputs=lambda i: (numbers(i, 4, 6).abs() * 3).to(kind))


for dtype in DTYPES:
    cases.add(f"dtype_{dtype}", partial(of_dtype, dtype), replays=4)


@cases(calls=14, why="two dtypes, two kinds of calls", replays=4)
def dtype_varies() -> Program:
    return program(lambda x: x * 2 + 1, inputs=lambda i: numbers(i, 3).to(fb.float64 if i % 2 else fb.float32))


@cases(calls=14, why="two shapes, two kinds of calls", replays=4)
def shape_varies() -> Program:
    return program(lambda x: x.sum(0) * len(x), inputs=lambda i: numbers(i, 3 + i % 2, 2))


@cases(calls=9, why="a shape of its own for each call")
def shape_never_the_same() -> Program:
    return program(lambda x: x.sum(0) * len(x), inputs=lambda i: numbers(i, 3 + i, 2))


@cases(replays=4)
def meta_tensors() -> Program:
    return program(lambda x: (x @ x.t() + 1).sum(0), inputs=lambda i: fb.empty(3, 4, device="meta"))


@pytest.mark.parametrize("case", cases, ids=lambda case: case.name)
def test_equal_to_eager(case: Case) -> None:
    case.check()
