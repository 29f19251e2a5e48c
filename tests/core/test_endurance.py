"""Long graphs, many steps and several threads: nothing overflows, nothing stays behind, nothing mixes up."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import flambeau as fb
from flambeau import autograd, nn
from flambeau.utils.checkpoint import checkpoint

LENGTH = 100_000
STEPS = 1000
WARM = 2500  # steps after which every frequent call has its built-in and its plan


# -- long graphs -------------------------------------------------------------------------------------
class Passed(autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 1

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g


def chain(step: Callable[[Any], Any], length: int = LENGTH) -> tuple[fb.Tensor, Any]:
    x = fb.ones(2, requires_grad=True)
    y = x * 1
    for _ in range(length):
        y = step(y)
    return x, y


@pytest.mark.parametrize("retain", [False, True])
def test_a_long_chain_runs_backward_and_is_deleted(retain: bool) -> None:
    x, y = chain(lambda t: t * 1.0)
    y.sum().backward(retain_graph=retain)
    assert x.grad.tolist() == [1, 1]
    del y


def test_a_long_chain_is_deleted_without_backward() -> None:
    _, y = chain(lambda t: t + 0.0)
    del y


SHORTER: dict[str, Callable[[Any], Any]] = {
    "views": lambda t: t.view(2),
    "in place": lambda t: t.mul_(1.0),
    "custom functions": Passed.apply,
    "several outputs": lambda t: fb.stack(t.unbind(0)),
}


@pytest.mark.parametrize("kind", SHORTER)
def test_long_chains_of_other_nodes(kind: str) -> None:
    x, y = chain(SHORTER[kind], LENGTH // 10)
    y.sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_a_long_chain_is_differentiated_twice() -> None:
    x, y = chain(lambda t: t.sin(), LENGTH // 10)
    (g,) = autograd.grad(y.sum(), x, create_graph=True)
    g.sum().backward()
    assert bool(fb.isfinite(x.grad).all())


def test_a_long_chain_of_views_in_forward_mode() -> None:
    def fn(x: Any) -> Any:
        base = view = fb.zeros(2)
        for _ in range(LENGTH // 10):
            view = view.view(2)
        base.copy_(x * 3)
        return view * 1

    assert fb.func.jvp(fn, (fb.ones(2),), (fb.ones(2),))[1].tolist() == [3, 3]


# -- many steps --------------------------------------------------------------------------------------
class Model(nn.Module):
    """One of each kind of layer that keeps something."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 4, batch_first=True)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.1)
        self.out = nn.Linear(4, 1)

    def forward(self, x: Any) -> Any:
        x, _ = self.lstm(x)
        x, _ = self.attention(x, x, x)
        return self.out(self.drop(self.norm(x[:, -1])))


def _training() -> Callable[[], None]:
    model, x = Model(), fb.randn(3, 2, 4)
    optimizer = fb.optim.Adam(model.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    return step


def _hooks() -> Callable[[], None]:
    model, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1)), fb.randn(3, 4)
    seen: list[float] = [0.0]

    def keep(module: Any, *values: Any) -> None:
        seen[0] = float(values[-1][0].sum())

    for module in model:
        module.register_forward_hook(keep)
        module.register_full_backward_hook(keep)

    def step() -> None:
        y = model(x)
        y.retain_grad()
        y.register_hook(lambda g: g * 2)
        y.grad_fn.register_hook(lambda inputs, outputs: None)
        handle = autograd.graph.register_multi_grad_hook([y, model[0].weight], lambda gs: None)
        y.sum().backward()
        handle.remove()
        model.zero_grad()

    return step


def _saving() -> Callable[[], None]:
    w, x = fb.randn(4, 4, requires_grad=True), fb.randn(3, 4)

    def step() -> None:
        with autograd.graph.save_on_cpu():
            y = checkpoint(lambda t: (t @ w).tanh(), x)
        Passed.apply(y).sum().backward()
        with autograd.forward_ad.dual_level():
            autograd.forward_ad.make_dual(x, x) * w[0]
        fb.func.vmap(fb.func.grad(lambda v: Passed.apply(v).sum()))(x)
        w.grad = None

    return step


def _held() -> int:
    return sum(str(type(o).__module__).startswith("flambeau") for o in gc.get_objects())


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("make", [_training, _hooks, _saving])
def test_steps_leave_nothing_behind_with_the_collector_off(make: Callable[[], Callable[[], None]]) -> None:
    step = make()
    for _ in range(WARM):
        step()
    gc.collect()
    gc.disable()
    try:
        before = _held()
        for _ in range(STEPS):
            step()
        after = _held()
    finally:
        gc.enable()
    assert after - before < STEPS // 10  # some rare call may still get its built-in


# -- threads -----------------------------------------------------------------------------------------
def in_threads(work: Callable[[int], Any], count: int = 4) -> list[Any]:
    """What ``work`` gives for each number, all at once."""
    start = threading.Barrier(count)

    def run(i: int) -> Any:
        start.wait()
        return work(i)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_threads_run_backward_on_one_graph() -> None:
    x = fb.arange(4.0, dtype=fb.float64).requires_grad_()
    y = (x * x).sin().cumsum(0).sum()
    (wanted,) = autograd.grad(y, x, retain_graph=True)

    def work(i: int) -> list[Any]:
        return [autograd.grad(y * (i + 1), x, retain_graph=True)[0] for _ in range(50)]

    for i, found in enumerate(in_threads(work)):
        assert all(g.allclose(wanted * (i + 1)) for g in found)


def test_threads_train_on_shared_weights() -> None:
    """Every thread's gradients reach the weights, and each sees those of its own graph alone."""
    fb.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 1)).double()
    data = [fb.randn(5, 4, dtype=fb.float64) for _ in range(4)]
    parameters = list(model.parameters())
    alone = [autograd.grad(model(x).square().mean(), parameters) for x in data]

    def work(i: int) -> list[Any]:
        found = []
        for _ in range(25):
            loss = model(data[i]).square().mean()
            found.append(autograd.grad(loss, parameters, retain_graph=True))
            loss.backward()
        return found

    for i, several in enumerate(in_threads(work)):
        assert all(g.allclose(w) for found in several for g, w in zip(found, alone[i], strict=True))
    for k, p in enumerate(parameters):
        assert p.grad.allclose(25 * sum(grads[k] for grads in alone))


def test_modes_and_transforms_of_threads_are_their_own() -> None:
    def work(i: int) -> Any:
        x = fb.full((3,), float(i + 1), requires_grad=True)
        with fb.set_grad_enabled(i % 2 == 0):
            tracked = (x * 2).requires_grad
        return tracked, fb.func.vmap(fb.func.grad(lambda v: v * v))(x.detach()).tolist()

    for i, (tracked, gradient) in enumerate(in_threads(work)):
        assert tracked is (i % 2 == 0) and gradient == [2.0 * (i + 1)] * 3
