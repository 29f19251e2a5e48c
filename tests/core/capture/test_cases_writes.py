"""Writes in place, views, out=, sizes changed, memory shared with numpy, tensors made inside."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn
from tests.core.capture.harness import Case, Cases, Program, numbers, program, train

cases = Cases()


@cases(replays=4)
def views_of_an_activation() -> Program:
    def loss(m: nn.Module, x: fb.Tensor) -> fb.Tensor:
        y = m(x)
        y[:, 2:4].mul_(x[:, 2:4])
        y[0] = 1.0
        y[:, 3].add_(y[:, 4])
        y.view(2, 12).relu_()
        return (y * y).mean()

    return train(nn.Linear(6, 6), None, loss)


@cases(replays=4)
def put_at_indices() -> Program:
    def loss(m: nn.Module, x: fb.Tensor) -> fb.Tensor:
        y, i = m(x).clone(), fb.tensor([1, 3])
        y[i] = 0.5
        y[:, i] += 2
        y.index_put_((i, i), x[0, :2], accumulate=True)
        y.index_add_(0, i, x[:2])
        return y.square().mean()

    return train(nn.Linear(6, 6), None, loss)


@cases(replays=4)
def masked_writes() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        x.masked_fill_(x > 1, -1.0)
        x[x < -0.5] = 0.25
        x.masked_scatter_(x > 0.5, fb.arange(24.0))
        return fb.where(x > 0, x, x * 0.1).clamp_(max=3)

    return program(step)


@cases(replays=4)
def writes_to_state_through_views() -> Program:
    state = fb.zeros(4, 6)
    rows, column = state.unbind(0), state[:, 2]

    def step(x: fb.Tensor) -> fb.Tensor:
        rows[1].add_(x[0])
        column.mul_(2).sub_(1)
        state.t()[0] = x[:, 1]
        return state.sum()

    return program(step, state, column)


@cases(replays=4)
def copies_between_dtypes_and_shapes() -> Program:
    state, count = fb.zeros(4, 6, dtype=fb.float64), fb.zeros(6, dtype=fb.int64)

    def step(x: fb.Tensor) -> fb.Tensor:
        state.copy_(x)
        count.copy_(x[0] * 10)
        x.copy_(state[0])
        return x

    return program(step, state, count)


@cases(replays=4)
def out_arguments() -> Program:
    state, double = fb.zeros(4, 6), fb.zeros(4, 6)

    def step(x: fb.Tensor) -> tuple[fb.Tensor, ...]:
        fb.add(x, 1, out=state)
        fb.mm(x, x.t(), out=(small := fb.empty(4, 4)))
        fb.mul(state, state, out=double[:])
        return fb.sum(x, 1, out=fb.empty(4)), small, fb.sin(state, out=state)

    return program(step, state, double)


@cases(why="an out that is given another size")
def out_is_resized() -> Program:
    state = fb.empty(0)

    def step(x: fb.Tensor) -> fb.Tensor:
        state.resize_(0)
        return fb.add(x, 1, out=state)

    return program(step, state)


@cases(why="resize_ of state")
def resized() -> Program:
    state = fb.zeros(4, 6)

    def step(x: fb.Tensor) -> fb.Tensor:
        state.resize_(2, 6).copy_(x[:2])
        state.resize_(4, 6)[2:] = 1
        return state.sum()

    return program(step, state)


@cases(why="set_ gives a tensor other memory")
def set_inside() -> Program:
    state = fb.zeros(4, 6)

    def step(x: fb.Tensor) -> fb.Tensor:
        state.set_(x * 2)
        return state.sum()

    return program(step, state)


@cases(why="set_ and .data between the calls")
def set_between() -> Program:
    state, other = fb.zeros(4, 6), fb.zeros(6)

    def before(i: int) -> None:
        if i >= 5:
            state.set_(numbers(i, 4, 6))
            other.data = numbers(i, 6)

    return program(lambda x: x + state + other, state, other, before=before)


@cases(why="the metadata of state changes: t_, squeeze_, unsqueeze_")
def metadata_in_place() -> Program:
    state = fb.zeros(4, 6)

    def step(x: fb.Tensor) -> fb.Tensor:
        state.add_(x if state.shape == (4, 6) else x.t())
        state.t_()
        return state.unsqueeze(0).squeeze_().clone()

    return program(step, state)


@cases(replays=4)
def swapped_halves() -> Program:
    state = fb.arange(6.0)

    def step(x: fb.Tensor) -> fb.Tensor:
        first = state[:3].clone()
        state[:3] = state[3:]
        state[3:] = first
        state[1:] = state[:-1].clone()
        return state + x

    return program(step, state)


@cases(replays=4)
def value_read_before_a_write_and_returned() -> Program:
    state = fb.zeros(6)

    def step(x: fb.Tensor) -> tuple[fb.Tensor, fb.Tensor]:
        before, view = state.clone(), state[2:]
        state.add_(x[0])
        return before, view

    return program(step, state)


@cases(replays=4)
def split_and_unbind_in_place() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        for n, part in enumerate(x.split(2, dim=1)):
            part.add_(n)
        for row in x.unbind(0):
            row[0] = 7
        x.chunk(2)[1].neg_()
        return x

    return program(step)


@cases(replays=4)
def in_place_chain_of_a_temporary() -> Program:
    return program(lambda x: (x + 1).mul_(2).add_(x).sigmoid_().sub_(0.5).t_())


@cases(replays=4)
def fills() -> Program:
    state = fb.ones(4, 6)

    def step(x: fb.Tensor) -> tuple[fb.Tensor, ...]:
        state.zero_().fill_diagonal_(3).add_(x)
        made = fb.zeros(3), fb.full((2,), 7.0), fb.ones_like(x), fb.eye(3), x.new_zeros(2), fb.arange(4)
        for m in made:
            m.add_(1)
        return state.sum(), *made

    return program(step, state)


@cases(replays=4)
def tensors_from_lists() -> Program:
    def step(x: fb.Tensor) -> tuple[fb.Tensor, fb.Tensor]:
        w = fb.tensor([[1.0, 2.0], [3.0, 4.0]])
        w.mul_(x[0, 0])
        return w, x * fb.as_tensor([1.0, 0.0, 2.0, 1.0, 1.0, 3.0])

    return program(step)


@cases(why="the list is another one from the sixth call on")
def tensor_from_a_list_that_changes() -> Program:
    parts = [1.0, 2.0]
    return program(lambda x: x * fb.tensor(parts).sum(), before=lambda i: parts.__setitem__(0, 1.0 + i // 5))


@cases(why="a numpy array, copied in each call, is changed before the sixth")
def tensor_from_an_array_that_changes() -> Program:
    array = np.ones(6, "f")
    return program(lambda x: x * fb.tensor(array), before=lambda i: array.fill(1 + i // 5))


@cases(why="memory shared with numpy, taken in each call, written by numpy before the sixth")
def from_numpy_inside() -> Program:
    array = np.ones(6, "f")
    return program(lambda x: x * fb.from_numpy(array), before=lambda i: array.fill(1 + i // 5))


@cases(replays=4)
def from_numpy_outside() -> Program:
    array = np.ones(6, "f")
    shared = fb.from_numpy(array)
    return program(lambda x: shared.add_(x[0]).clone(), array, shared, before=lambda i: array.fill(i))


@cases(why="numpy writes to state inside the step")
def numpy_writes_inside() -> Program:
    state = fb.zeros(4, 6)

    def step(x: fb.Tensor) -> fb.Tensor:
        state.numpy()[1] += 1
        return state + x

    return program(step, state)


@cases(why="an array of numpy computed inside from the argument's values")
def numpy_computes_inside() -> Program:
    return program(lambda x: fb.tensor(np.sin(x.numpy())) + x)


@cases(why="an argument comes to require gradients inside")
def version_seen_by_backward() -> Program:
    state = fb.ones(6)

    def step(x: fb.Tensor) -> str:
        w = x.requires_grad_()
        y = (w * state).sum()
        state.add_(1)
        try:
            y.backward()
        except RuntimeError:
            return "refused"
        return "not noticed"

    return program(step, state)


@cases(why="a dlpack and a deepcopy inside")
def copies_of_state() -> Program:
    import copy

    state = fb.zeros(6)

    def step(x: fb.Tensor) -> tuple[fb.Tensor, fb.Tensor]:
        old = copy.deepcopy(state)
        state.add_(x[0])
        return old, fb.from_dlpack(state)

    return program(step, state)


@cases(why="a storage is written")
def storage_written() -> Program:
    state = fb.zeros(6)

    def step(x: fb.Tensor) -> fb.Tensor:
        state.untyped_storage().fill_(0)
        return state.add_(x[0]).clone()

    return program(step, state)


@pytest.mark.parametrize("case", cases, ids=lambda case: case.name)
def test_equal_to_eager(case: Case) -> None:
    case.check()
