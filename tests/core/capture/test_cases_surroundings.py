"""What reaches a step by other ways than its arguments: threads, files, iterators, replaced functions and kernels."""

from __future__ import annotations

import enum
import functools
import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import flambeau as fb
from flambeau import nn
from flambeau.core import registry
from tests.core.capture.harness import Call, Case, Cases, Program, numbers, program, train

cases = Cases()


@cases(why="a thread started inside: what it computes is recorded or refused")
def computes_in_a_thread() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        results: list[fb.Tensor] = []
        thread = threading.Thread(target=lambda: results.append(x * 2))
        thread.start()
        thread.join()
        return results[0] + 1

    return program(step)


@cases(why="a pool of threads that writes to state")
def writes_in_a_pool() -> Program:
    state, pool = fb.zeros(4, 6), ThreadPoolExecutor(2)

    def step(x: fb.Tensor) -> fb.Tensor:
        list(pool.map(lambda n: state[n].add_(x[n]), range(4)))
        return state.clone()

    return program(step, state)


@cases(eager="Executor.map")
def writes_in_a_pool_that_runs_already() -> Program:
    state, pool = fb.zeros(4, 6), ThreadPoolExecutor(1)
    list(pool.map(abs, range(4)))

    def step(x: fb.Tensor) -> fb.Tensor:
        list(pool.map(lambda n: state[n].add_(x[n]), range(4)))
        return state.clone()

    return program(step, state)


@cases(eager="queue.Queue")
def batches_of_a_queue() -> Program:
    batches: queue.Queue[fb.Tensor] = queue.Queue()
    for i in range(9):
        batches.put(numbers(i, 4, 6))
    return program(lambda: batches.get() * 2, inputs=lambda i: ())


@cases(why="another batch from an iterator in each call")
def batches_of_an_iterator() -> Program:
    batches = iter([numbers(i, 4, 6) for i in range(9)])
    model = nn.Linear(6, 6)
    step = train(model).step
    return program(lambda: step(next(batches)), model, inputs=lambda i: ())


@cases(why="a batch that stays the same for four calls, then is another", calls=10)
def batches_by_position() -> Program:
    batches, count = [numbers(i, 4, 6) for i in range(3)], [0]

    def step() -> fb.Tensor:
        batch = batches[count[0] // 4]
        count[0] += 1
        return batch * 2

    return program(step, count, inputs=lambda i: ())


@cases(why="a loader of the framework's own inside")
def data_loader() -> Program:
    data = fb.utils.data.TensorDataset(numbers(0, 8, 6))
    loader = fb.utils.data.DataLoader(data, batch_size=4, shuffle=True)
    return program(lambda x: sum((batch * x).sum() for (batch,) in loader))


@cases(why="a file is read, and written anew before the sixth call")
def file_read() -> Program:
    def before(i: int) -> None:
        fb.save(fb.full((6,), 1.0 + i // 5), "t.pt")

    return program(lambda x: x * fb.load("t.pt"), before=before)


@cases(why="a file is written in each call")
def file_written() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        fb.save(x * 2, "t.pt")
        return x + 1

    return program(step, lambda: fb.load("t.pt"))


@cases(why="the environment is asked, and changed before the sixth call")
def environment() -> Program:
    def before(i: int) -> None:
        os.environ["FACTOR_OF_A_TEST"] = str(2 + i // 5)

    return program(lambda x: x * float(os.environ["FACTOR_OF_A_TEST"]), before=before)


@cases(why="a clock that passes a deadline before the sixth call", calls=9)
def deadline() -> Program:
    now = [0]
    return program(lambda x: x * 2 if now[0] < 5 else x * 3, before=lambda i: now.__setitem__(0, i))


@cases(why="a layer is appended to a plain list before the sixth call", calls=9)
def list_of_layers_grows() -> Program:
    layers = [fb.sin]
    return program(
        lambda x: functools.reduce(lambda y, f: f(y), layers, x),
        before=lambda i: layers.append(fb.cos) if i == 5 else None,
    )


@cases(why="a layer is appended to a ModuleList before the sixth call", calls=9)
def module_list_grows() -> Program:
    layers = nn.ModuleList([nn.Linear(6, 6)])

    def step(x: fb.Tensor) -> fb.Tensor:
        for layer in layers:
            x = layer(x)
        return x.detach()

    def before(i: int) -> None:
        if i == 5:
            layers.append(nn.Tanh())

    return program(step, layers, before=before)


@cases(why="forward is replaced on the object, or on its class, before the sixth call", calls=9)
def forward_replaced() -> Program:
    class Layer(nn.Module):
        def forward(self, x: fb.Tensor) -> fb.Tensor:
            return x * 2

    a, b = Layer(), Layer()

    def before(i: int) -> None:
        if i == 5:
            a.forward = lambda x: x * 3
        if i == 7:
            Layer.forward = lambda self, x: x * 5

    return program(lambda x: b(a(x)), before=before)


@cases(why="the optimizer is another one from the sixth call on", calls=9)
def optimizer_replaced() -> Program:
    model = nn.Linear(6, 6)
    held = [fb.optim.SGD(model.parameters(), lr=0.1)]

    def before(i: int) -> None:
        if i == 5:
            held[0] = fb.optim.Adam(model.parameters(), lr=0.2)

    def step(x: fb.Tensor) -> fb.Tensor:
        held[0].zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        held[0].step()
        return loss.detach()

    return program(step, model, lambda: held[0], before=before)


def _stepping(change: Callable[[fb.optim.Optimizer], Any]) -> Program:
    """A step of training whose optimizer changes before the sixth call; what can be removed goes before the ninth."""
    model = nn.Linear(6, 6)
    optimizer = fb.optim.Adam(model.parameters(), lr=0.1)
    handles: list[Any] = []

    def before(i: int) -> None:
        if i == 5:
            handles.append(change(optimizer))
        if i == 8:
            for handle in handles:
                if hasattr(handle, "remove"):
                    handle.remove()

    def step(x: fb.Tensor) -> fb.Tensor:
        model.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return program(step, model, lambda: optimizer, before=before)


def _doubled(optimizer: fb.optim.Optimizer, *rest: object) -> None:
    for group in optimizer.param_groups:
        for p in group["params"]:
            if p.grad is not None:
                p.grad.mul_(2).add_(0.1)


@cases(why="a hook before the steps of an optimizer in the sixth call to the eighth", calls=12)
def step_hook_between() -> Program:
    return _stepping(lambda optimizer: optimizer.register_step_pre_hook(_doubled))


@cases(why="a hook before the steps of all optimizers in the sixth call to the eighth", calls=12)
def step_hook_on_all_between() -> Program:
    return _stepping(lambda optimizer: fb.optim.optimizer.register_optimizer_step_pre_hook(_doubled))


@cases(why="a flag of an optimizer's group is another one from the sixth call on", calls=9)
def optimizer_flag_between() -> Program:
    return _stepping(lambda optimizer: optimizer.param_groups[0].__setitem__("maximize", True))


@cases(why="load_state_dict replaces the state of an optimizer before the sixth call", calls=9)
def optimizer_state_between() -> Program:
    def change(optimizer: fb.optim.Optimizer) -> None:
        state = optimizer.state_dict()
        for values in state["state"].values():
            values["exp_avg"] = values["exp_avg"] * 0 + 1.0
        optimizer.load_state_dict(state)

    return _stepping(change)


@cases(why="a parameter group is added to an optimizer before the sixth call", calls=9)
def optimizer_group_between() -> Program:
    def change(optimizer: fb.optim.Optimizer) -> None:
        late = fb.ones(2, requires_grad=True)
        late.grad = fb.ones(2)
        optimizer.add_param_group({"params": [late]})

    return _stepping(change)


@cases(why="a kernel is registered over the device's own before the sixth call, and taken away again", calls=11)
def kernel_registered_between() -> Program:
    def make(below: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x, **params: below(below(x, **params), **params)

    def before(i: int) -> None:
        if i == 5:
            fb.library.register_kernel("sin", "cpu", make, source="a test of capture")
        if i == 8:
            registry.unregister_overlays("a test of capture")

    return program(lambda x: x.sin() + 1, before=before)


@cases(why="a mutable default argument")
def mutable_default() -> Program:
    def step(x: fb.Tensor, seen: list = []) -> fb.Tensor:  # noqa: B006
        seen.append(len(seen))
        return x * len(seen)

    return program(step)


@cases(why="a memory of results by argument")
def cached_function() -> Program:
    @functools.lru_cache
    def weights(n: int) -> fb.Tensor:
        return fb.arange(n).float()

    return program(lambda x: weights(6).add_(1) * x)


@cases(why="a result that is an object of a class of its own")
def result_is_an_object() -> Program:
    class Box:
        def __init__(self, x: fb.Tensor) -> None:
            self.x = x

    return program(lambda x: Box(x * 2), after=lambda i, r, args: args[0].add_(r.x.sum()))


@cases(why="a result that is a function which holds a tensor")
def result_is_a_function() -> Program:
    def step(x: fb.Tensor) -> Callable[[], fb.Tensor]:
        y = x * 2
        return lambda: y + 1

    return program(step, after=lambda i, r, args: args[0].add_(r().sum()))


@cases(why="a result that is a generator, which runs after the call")
def result_is_a_generator() -> Program:
    def step(x: fb.Tensor) -> Iterator[fb.Tensor]:
        for row in x:
            yield row * 2

    return program(step, after=lambda i, r, args: args[0].add_(sum(r)))


@cases(why="a set of texts and a tensor as a key")
def odd_containers() -> Program:
    def step(x: fb.Tensor) -> tuple[int, set[str], fb.Tensor]:
        table = {x: 1, x * 2: 2}
        return len(table), {"a"}, max(table, key=lambda t: table[t])

    return program(step)


class Way(enum.Enum):
    UP = 1
    DOWN = 2


@cases(why="slices, ranges, enums, dtypes, devices, sizes, large numbers: several kinds", calls=12)
def other_kinds_of_arguments() -> Program:
    def step(x: fb.Tensor, cut: slice, rounds: range, way: Way, dtype: fb.dtype, device: fb.device, n: int) -> Any:
        y = x[cut].to(device=device, dtype=dtype)
        for _ in rounds:
            y = y + 1 if way is Way.UP else y - 1
        return y, n % 7, cut, way, dtype, device

    def inputs(i: int) -> Call:
        if i % 2:
            rest = slice(1, 3), range(2), Way.UP, fb.float64, fb.device("cpu"), 2**70
        else:
            rest = slice(1, 4), range(3), Way.DOWN, fb.float32, fb.device("cpu"), 2**70 + 1
        return Call((numbers(i, 4, 6), *rest))

    return program(step, inputs=inputs)


@cases(why="an argument of a subclass that sees its ops")
def subclass_as_an_argument() -> Program:
    seen: list[str] = []

    class Watched(fb.Tensor):
        @classmethod
        def __torch_function__(cls, fn: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if getattr(fn, "__name__", "") == "mul":
                seen.append("mul")
            return super().__torch_function__(fn, types, args, kwargs or {})

    return program(lambda x: fb.mul(x, 2), seen, inputs=lambda i: numbers(i, 3).as_subclass(Watched))


@cases(why="a plain tensor or a Parameter as the argument", calls=12)
def parameter_or_tensor() -> Program:
    def inputs(i: int) -> fb.Tensor:
        return nn.Parameter(numbers(i, 3)) if i % 2 else numbers(i, 3)

    return program(lambda x: (type(x).__name__, x.detach() * 2), inputs=inputs)


@cases(why="an inference tensor as the argument in some calls", calls=12)
def inference_tensor_as_an_argument() -> Program:
    def inputs(i: int) -> fb.Tensor:
        with fb.inference_mode(i % 2 == 1):
            return numbers(i, 3) * 1

    return program(lambda x: (x.is_inference(), x * 2), inputs=inputs)


@cases(why="lazily conjugated arguments in some calls", calls=12)
def conjugated_arguments() -> Program:
    def inputs(i: int) -> fb.Tensor:
        x = fb.complex(numbers(i, 3), numbers(i + 1, 3))
        return x.conj() if i % 2 else x

    return program(lambda x: (x.is_conj(), x * 2, x.imag + 1), inputs=inputs)


@cases(why="the gradient of an argument is there already in some calls", calls=12)
def gradient_of_an_argument_is_there() -> Program:
    def inputs(i: int) -> fb.Tensor:
        x = numbers(i, 3).requires_grad_()
        if i % 2:
            x.grad = fb.ones(3)
        return x

    def step(x: fb.Tensor) -> None:
        (x * x).sum().backward()

    return program(step, inputs=inputs)


@cases(why="an argument or a weight is written between forward and backward outside: eager raises")
def written_before_backward_outside() -> Program:
    model, outcomes = nn.Linear(6, 6), []

    def after(i: int, result: fb.Tensor, args: tuple) -> None:
        with fb.no_grad():
            (args[0] if i % 2 else model.weight).add_(1)
        try:
            result.sum().backward()
            outcomes.append("went")
        except RuntimeError:
            outcomes.append("refused")

    return program(lambda x: model(x.sin()).square(), model, outcomes, after=after,
                   inputs=lambda i: numbers(i, 4, 6).requires_grad_(i % 2 == 0))  # fmt: skip


@cases(why="attributes of tensors that Python keeps")
def attributes_of_tensors() -> Program:
    state = fb.zeros(6)

    def step(x: fb.Tensor) -> tuple[fb.Tensor, int]:
        state.uses = getattr(state, "uses", 0) + 1
        y = x * 2
        y.name_of_mine = "double"
        return y, state.uses

    return program(step, after=lambda i, r, args: r[0].name_of_mine)


@cases(replays=4)
def named_ranges() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        with fb.profiler.record_function("a range"):
            return x * 2

    return program(step)


@pytest.fixture(autouse=True)
def left_as_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACTOR_OF_A_TEST", "")


@pytest.mark.parametrize("case", cases, ids=lambda case: case.name)
def test_equal_to_eager(case: Case) -> None:
    case.check()
