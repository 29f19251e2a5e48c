"""How calls go: what is counted, kept, refused and freed; copies, threads, nesting."""

from __future__ import annotations

import copy
import functools
import gc
import threading
import warnings
import weakref
from collections.abc import Callable

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn
from flambeau.core import events
from flambeau.core.capture.captured import Captured, CaptureError
from tests.core.capture.harness import PLACE, Program, numbers, program, rows, seed, twins


def same(a: fb.Tensor, b: fb.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()


def noisy(x: fb.Tensor) -> fb.Tensor:
    print("here")
    return x * 2


def test_first_call_is_eager_two_are_recorded_the_rest_replays() -> None:
    f = Captured(lambda x: x * 2)
    went = []
    for i in range(6):
        assert same(f(rows(i)), rows(i) * 2)
        went.append((f.counts.eager, f.counts.recorded, f.counts.replayed))
    assert went == [(1, 0, 0), (1, 1, 0), (1, 2, 0), (1, 2, 1), (1, 2, 2), (1, 2, 3)]
    assert len(f.graphs) == 1 and f.reasons == []


def test_what_cannot_be_captured_warns_once_and_says_where() -> None:
    f = Captured(noisy)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for i in range(6):
            assert same(f(rows(i)), rows(i) * 2)
    assert len(warned) == 1
    for text in (str(warned[0].message), f.reasons[0]):
        assert "print" in text and "test_cases_calls.py:" in text
    assert f.counts.replayed == 0


def test_fullgraph_raises_what_is_warned_of_else() -> None:
    f = Captured(noisy, fullgraph=True)
    with pytest.raises(CaptureError, match="print") as raised:
        for i in range(4):
            f(rows(i))
    assert PLACE.search(str(raised.value)) and isinstance(raised.value, RuntimeError)


def test_fullgraph_is_no_hindrance_to_what_can_be_captured() -> None:
    report = twins(lambda: lambda x: x * 2 + 1, fullgraph=True)
    assert not report.differences and report.counts.replayed == 4


def test_at_most_limit_graphs_are_kept_and_the_oldest_goes() -> None:
    f = Captured(lambda x: x * 2 + len(x), limit=2)
    for _ in range(5):
        for n in (1, 2, 3):
            x = numbers(n, n, 2)
            assert same(f(x), x * 2 + n)
            assert len(f.graphs) <= 2
    for _ in range(5):
        f(numbers(1, 1, 2))
    replayed = f.counts.replayed
    f(numbers(1, 1, 2))
    assert f.counts.replayed == replayed + 1


def test_reset_begins_anew() -> None:
    f = Captured(lambda x: x * 2)
    for i in range(5):
        f(rows(i))
    f.reset()
    assert f.graphs == [] and f.reasons == []
    replayed = f.counts.replayed
    for i in range(3):
        assert same(f(rows(i)), rows(i) * 2)
    assert f.counts.replayed == replayed
    f(rows(3))
    assert f.counts.replayed == replayed + 1


class Machine:
    def __init__(self) -> None:
        self.total = fb.zeros(6)

    def add(self, x: fb.Tensor) -> fb.Tensor:
        self.total.add_(x.sum(0))
        return self.total * 2


def test_bound_methods_write_to_their_own_object() -> None:
    a, b = Machine(), Machine()
    f, g = Captured(a.add), Captured(b.add)
    for i in range(6):
        f(rows(i))
        g(rows(i + 1))
    c = Machine()
    expected = [c.add(rows(i)) for i in range(6)]
    assert same(a.total, c.total) and same(a.total * 2, expected[-1]) and not same(a.total, b.total)


def test_one_captured_for_two_models_keeps_them_apart() -> None:
    f = Captured(lambda m, x: m(x).detach())
    a, b = nn.Linear(6, 6), nn.Linear(6, 6)
    for i in range(12):
        m = (a, b)[i % 2]
        assert same(f(m, rows(i)), m(rows(i)).detach())


def test_a_copied_model_is_not_the_model_that_was_recorded() -> None:
    model = nn.Linear(6, 6)
    f = Captured(model)
    with fb.no_grad():
        for i in range(5):
            f(rows(i))
        try:
            g = copy.deepcopy(f)
        except (TypeError, RuntimeError, CaptureError):
            return  # refused, and said so
        model.weight.zero_()
        for i in range(5):
            assert not same(g(rows(i)), model(rows(i)))
            assert same(f(rows(i)), model(rows(i)))


def test_captured_in_captured() -> None:
    def make(wrap: type | None) -> Program:
        model = nn.Linear(6, 6)
        forward = model if wrap is None else wrap(model)

        def step(x: fb.Tensor) -> fb.Tensor:
            model.zero_grad()
            loss = forward(x).square().mean()
            loss.backward()
            with fb.no_grad():
                model.weight.sub_(model.weight.grad, alpha=0.1)
            return loss.detach()

        return program(step, model)

    seed()
    plain = make(None)
    expected = [plain.step(rows(i)) for i in range(8)]
    seed()
    inner = make(Captured)
    outer = Captured(inner.step)
    for i in range(8):
        assert same(outer(rows(i)), expected[i])
    assert same(inner.state[0].weight.detach(), plain.state[0].weight.detach())


def test_recursion_through_captured() -> None:
    def down(x: fb.Tensor, n: int) -> fb.Tensor:
        return x if n == 0 else f(x * 2, n - 1) + n

    f = Captured(down)
    for i in range(8):
        expected = rows(i)
        for _ in range(3):
            expected = expected * 2
        for n in (1, 2, 3):
            expected = expected + n
        assert same(f(rows(i), 3), expected)


def test_recursion_without_end_is_a_recursion_error() -> None:
    def step(x: fb.Tensor) -> fb.Tensor:
        return step(x + 1)

    f = Captured(step)
    for _ in range(4):
        with pytest.raises(RecursionError):
            f(rows(0))
    assert events.recorder() is None


def test_threads_share_one_captured() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh())
    f = Captured(lambda x: model(x).detach())
    expected = [model(rows(i)).detach() for i in range(40)]
    wrong: list[int] = []
    start = threading.Barrier(4)

    def work(first: int) -> None:
        start.wait()
        for i in range(first, 40, 4):
            if not same(f(rows(i)), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


def test_modes_of_one_thread_are_not_those_of_another() -> None:
    model = nn.Linear(6, 6)
    f = Captured(model)
    with fb.no_grad():
        for i in range(5):
            assert not f(rows(i)).requires_grad
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(f(rows(0)).requires_grad))
    thread.start()
    thread.join()
    assert found == [True]


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_an_error_leaves_no_recorder_behind(at: int) -> None:
    broken = [False]

    def step(x: fb.Tensor) -> fb.Tensor:
        if broken[0]:
            raise KeyboardInterrupt
        return x.reshape(4, 6) * 2

    f = Captured(step)
    for i in range(1, 8):
        broken[0] = i == at <= 3
        if i == at:
            with pytest.raises(KeyboardInterrupt if broken[0] else RuntimeError):
                f(rows(i) if broken[0] else numbers(i, 5))
        else:
            assert same(f(rows(i)), rows(i) * 2)
        assert events.recorder() is None


def alive(*shape: int) -> int:
    """How many tensors of a shape there are."""
    gc.collect()
    return sum(type(o) is fb.Tensor and tuple(o.shape) == shape for o in gc.get_objects())


def test_intermediate_results_are_freed() -> None:
    model = nn.Linear(6, 23)
    f = Captured(lambda x: model(x).tanh().sum(0)[:2])
    for i in range(6):
        y = f(rows(i).requires_grad_())
        y.sum().backward()
        del y
        assert alive(4, 23) == 0, f"call {i}"


def test_arguments_and_results_are_freed() -> None:
    model = nn.Linear(6, 23)

    def step(x: fb.Tensor) -> fb.Tensor:
        model.zero_grad()
        y = model(x)
        y.sum().backward()
        return y.detach()

    f = Captured(step)
    for i in range(8):
        x = numbers(i, 29, 6)
        refs = [weakref.ref(x), weakref.ref(x.untyped_storage())]
        y = f(x)
        refs.append(weakref.ref(y))
        del x, y
        gc.collect()
        if i > 3:
            assert [ref() for ref in refs] == [None] * 3, f"call {i}"
    assert alive(29, 6) == alive(29, 23) == 0


def test_gradients_given_up_by_the_caller_are_freed() -> None:
    model = nn.Linear(6, 6)

    def step(x: fb.Tensor) -> None:
        model(x).sum().backward()

    f = Captured(step)
    for i in range(6):
        model.zero_grad()
        f(rows(i))
        ref = weakref.ref(model.weight.grad)
        model.zero_grad()
        gc.collect()
        assert ref() is None or i < 4, f"call {i}"


def test_a_captured_and_what_it_closes_over_are_freed() -> None:
    model = nn.Linear(6, 6)
    f = Captured(model)
    with fb.no_grad():
        for i in range(5):
            f(rows(i))
    refs = [weakref.ref(model), weakref.ref(model.weight), weakref.ref(f)]
    del model, f
    gc.collect()
    assert [ref() for ref in refs] == [None] * 3


def test_replays_pile_up_nothing(settled: None) -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5))
    optimizer = fb.optim.Adam(model.parameters())

    def step(x: fb.Tensor) -> fb.Tensor:
        optimizer.zero_grad()
        loss = model(x).sum()
        loss.backward()
        optimizer.step()
        return loss.detach()

    f, x = Captured(step), rows(0)
    for _ in range(30):
        f(x)
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(30):
        f(x)
    gc.collect()
    assert abs(len(gc.get_objects()) - before) < 20


def test_sizes_of_their_own() -> None:
    report = twins(lambda: lambda x: (x.sum(0) * len(x)).softmax(0), lambda i: numbers(i, 3 + i, 2), calls=9)
    assert not report.differences, str(report)


def test_numpy_scalars_and_arrays_in_results() -> None:
    report = twins(lambda: lambda x: (np.float32(2.0), x.shape, x.dtype, x * np.float32(2.0)))
    assert not report.differences, str(report)


class Adder:
    def __init__(self) -> None:
        self.total = fb.zeros(6)

    def __call__(self, x: fb.Tensor) -> fb.Tensor:
        return self.total.add_(x.sum(0)).clone()


@pytest.mark.parametrize(
    "make",
    [lambda: fb.sin, lambda: fb.Tensor.cos, lambda: functools.partial(fb.mul, other=2.0), Adder, lambda: nn.Sigmoid()],
    ids=["op", "method", "partial", "object", "module"],
)
def test_any_callable(make: Callable[[], Callable[[fb.Tensor], fb.Tensor]]) -> None:
    report = twins(make)
    assert not report.differences, str(report)
    assert report.counts.replayed >= 3, str(report)
