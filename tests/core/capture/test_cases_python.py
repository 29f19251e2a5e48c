"""Python around the tensors: attributes, closures, globals, exceptions, prints, clocks."""

from __future__ import annotations

import pytest

import flambeau as fb
from flambeau import nn
from tests.core.capture.harness import Case, Cases, Program, program, train

cases = Cases()
FACTOR = 2.0
COUNT = 0
TABLE: dict[str, float] = {"factor": 2.0}


@cases(eager="differ|count")
def counter() -> Program:
    count = [0]

    def loss(m: nn.Module, x: fb.Tensor) -> fb.Tensor:
        count[0] += 1
        return m(x).square().mean() * count[0]

    return train(nn.Linear(6, 6), None, loss, count)


@cases(why="a count that no tensor ever meets")
def counter_beside_the_tensors() -> Program:
    count = [0]

    def step(x: fb.Tensor) -> fb.Tensor:
        count[0] += 1
        return x * 2

    return program(step, count)


@cases(why="a count as an attribute of the module")
def counter_of_a_module() -> Program:
    class Counting(nn.Linear):
        calls = 0

        def forward(self, x: fb.Tensor) -> fb.Tensor:
            self.calls += 1
            return super().forward(x)

    model = Counting(6, 6)
    return train(model, None, lambda m, x: m(x).square().mean(), lambda: model.calls)


@cases(why="a count by a global statement")
def counter_of_a_global() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        global COUNT
        COUNT += 1
        return x + 1

    start = COUNT
    return program(step, lambda: COUNT - start)


@cases(why="nonlocal")
def counter_of_a_closure() -> Program:
    count = 0

    def step(x: fb.Tensor) -> fb.Tensor:
        nonlocal count
        count += 1
        return x + 1

    return program(step, lambda: count)


@cases(why="the count acts only from the sixth call on, when two recordings agreed long ago", calls=9)
def warm_up_by_a_counter() -> Program:
    count = [0]

    def step(x: fb.Tensor) -> fb.Tensor:
        count[0] += 1
        return x * 0.5 if count[0] <= 5 else x * 2

    return program(step)


@cases(why="state kept by assignment")
def hidden_state_assigned() -> Program:
    hidden = [fb.zeros(4, 6)]

    def loss(m: nn.Module, x: fb.Tensor) -> fb.Tensor:
        hidden[0] = m(x + hidden[0].detach()).tanh()
        return hidden[0].square().mean()

    return train(nn.Linear(6, 6), None, loss, lambda: hidden[0].detach())


@cases(why="state kept by assignment to an attribute")
def hidden_state_of_a_module() -> Program:
    class Cell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.f, self.h = nn.Linear(6, 6), None

        def forward(self, x: fb.Tensor) -> fb.Tensor:
            self.h = self.f(x if self.h is None else x + self.h).tanh().detach()
            return self.h

    model = Cell()
    return program(model, model, lambda: model.h)


@cases(why="a buffer assigned anew in forward")
def buffer_assigned() -> Program:
    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", fb.zeros(6))

        def forward(self, x: fb.Tensor) -> fb.Tensor:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
            return x - self.mean

    model = Mean()
    return program(model, model)


@cases(replays=4)
def hidden_state_written() -> Program:
    model, hidden = nn.Linear(6, 6), fb.zeros(4, 6)

    def loss(m: nn.Module, x: fb.Tensor) -> fb.Tensor:
        y = m(x + hidden).tanh()
        hidden.copy_(y.detach())
        return y.square().mean()

    return train(model, None, loss, hidden)


@cases(why="tensors kept by append")
def appended_to_a_list() -> Program:
    kept: list[fb.Tensor] = []

    def step(x: fb.Tensor) -> fb.Tensor:
        kept.append(x * 2)
        return x + 1

    return program(step, kept)


@cases(why="numbers kept by append")
def numbers_appended() -> Program:
    losses: list[float] = []

    def step(x: fb.Tensor) -> None:
        losses.append(x.sum().item())

    return program(step, losses)


@cases(why="tensors kept in a dict")
def kept_in_a_dict() -> Program:
    kept: dict[str, fb.Tensor] = {}

    def step(x: fb.Tensor) -> fb.Tensor:
        kept["last"] = kept.get("last", x * 0) + x
        kept["first"] = kept.setdefault("first", x)
        return kept["last"] * 2

    return program(step, kept)


@cases(why="a global is changed before the sixth call")
def global_changed_between() -> Program:
    def before(i: int) -> None:
        globals()["FACTOR"] = 2.0 if i < 5 else 3.0

    return program(lambda x: x * FACTOR, before=before)


@cases(why="an entry of a global dict is changed before the sixth call")
def global_dict_changed_between() -> Program:
    return program(lambda x: x * TABLE["factor"], before=lambda i: TABLE.update(factor=2.0 if i < 5 else 3.0))


@cases(why="a closure's number is changed before the sixth call")
def closure_changed_between() -> Program:
    factor = 2.0

    def before(i: int) -> None:
        nonlocal factor
        factor = 2.0 if i < 5 else 3.0

    return program(lambda x: x * factor, before=before)


@cases(why="an attribute's number is changed before the sixth call")
def attribute_changed_between() -> Program:
    class Scaled(nn.Module):
        scale = 2.0

        def forward(self, x: fb.Tensor) -> fb.Tensor:
            return x * self.scale

    model = Scaled()
    return program(model, before=lambda i: setattr(model, "scale", 2.0 if i < 5 else 3.0))


@cases(why="an option of a layer is changed before the sixth call")
def layer_option_changed_between() -> Program:
    model = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5), nn.LeakyReLU(0.1))

    def before(i: int) -> None:
        model[1].p = 0.5 if i < 5 else 0.0
        model[2].negative_slope = 0.1 if i < 6 else 0.3

    return train(model, before=before)


@cases(why="an attribute of an object that is no module")
def attribute_of_an_object_changed_between() -> Program:
    class Options:
        scale, parts = 2.0, [1.0, 2.0]

    options = Options()

    def before(i: int) -> None:
        options.scale = 2.0 if i < 5 else 3.0
        options.parts = [1.0, 2.0] if i < 6 else [4.0]

    return program(lambda x: x * options.scale + sum(options.parts), before=before)


@cases(why="the function that a closure calls is another from the sixth call on")
def function_changed_between() -> Program:
    table = {"f": fb.sin}
    return program(lambda x: table["f"](x), before=lambda i: table.update(f=fb.sin if i < 5 else fb.cos))


@cases(why="a closed-over tensor is another one from the sixth call on")
def closed_over_tensor_replaced() -> Program:
    held = {"t": fb.ones(6)}
    return program(lambda x: x * held["t"], before=lambda i: held.update(t=fb.full((6,), 1.0 + i // 5)))


@cases(replays=4)
def closed_over_tensor_written() -> Program:
    held = fb.ones(6)
    return program(lambda x: x * held, held, before=lambda i: held.fill_(i))


@pytest.mark.parametrize("case", cases, ids=lambda case: case.name)
def test_equal_to_eager(case: Case) -> None:
    case.check()
