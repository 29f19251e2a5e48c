"""Random steps of views, writes, draws, reads and gradients, over state that lives from call to call."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

import flambeau as fb
from tests.core.capture.harness import Program, numbers, twins

STEPS, CALLS = (4, 14), 7
Action = Callable[[fb.Tensor, fb.Tensor, int], Any]  # (a tensor, another, a number) -> a new tensor, or None: it wrote


def fits(t: fb.Tensor, u: fb.Tensor) -> fb.Tensor | float:
    return u if t.shape == u.shape else 0.75


def put(t: fb.Tensor, index: Any, value: Any) -> None:
    t[index] = value


VIEWS: dict[str, Action] = {
    "select": lambda t, u, k: t.select(k % t.dim(), 0) if t.dim() > 1 else None,
    "narrow": lambda t, u, k: t[1:] if t.dim() and len(t) > 1 else None,
    "every second": lambda t, u, k: t[::2] if t.dim() else None,
    "transpose": lambda t, u, k: t.t() if t.dim() == 2 else None,
    "reshape": lambda t, u, k: t.reshape(-1),
    "unsqueeze": lambda t, u, k: t.unsqueeze(0),
    "expand": lambda t, u, k: t.unsqueeze(0).expand(2, *t.shape) if t.numel() < 40 else None,
    "diagonal": lambda t, u, k: t.diagonal() if t.dim() == 2 else None,
    "detach": lambda t, u, k: t.detach(),
}
COPIES: dict[str, Action] = {
    "add": lambda t, u, k: t + fits(t, u),
    "mul": lambda t, u, k: t * fits(t, u),
    "tanh": lambda t, u, k: t.tanh(),
    "sum": lambda t, u, k: t.sum(k % t.dim()) if t.dim() else None,
    "softmax": lambda t, u, k: t.softmax(-1) if t.dim() else None,
    "matmul": lambda t, u, k: t @ t.t() if t.dim() == 2 else None,
    "cumsum": lambda t, u, k: t.cumsum(0) if t.dim() else None,
    "sort": lambda t, u, k: t.sort(-1).values if t.dim() else None,
    "cat": lambda t, u, k: fb.cat([t, t * 2]) if t.dim() and t.numel() < 40 else None,
    "where": lambda t, u, k: fb.where(t > 0, t, fits(t, u)),
    "double": lambda t, u, k: t.double().mul(0.5).float(),
    "clone": lambda t, u, k: t.clone(),
    "times a draw": lambda t, u, k: t * fb.rand(t.shape),
    "dropout": lambda t, u, k: fb.nn.functional.dropout(t, 0.5),
    "times a value": lambda t, u, k: t * fb.tanh(u.detach().sum()).item(),
    "branch": lambda t, u, k: t + 1 if u.detach().sum() > 0 else t * 0.5,
    "constant": lambda t, u, k: t + fb.tensor(k % 5),
}
WRITES: dict[str, Action] = {
    "add_": lambda t, u, k: t.add_(fits(t, u)),
    "mul_": lambda t, u, k: t.mul_(0.5),
    "copy_": lambda t, u, k: t.copy_(u) if t.shape == u.shape else None,
    "row": lambda t, u, k: put(t, 0, u.mean()) if t.dim() and len(t) else None,
    "masked": lambda t, u, k: put(t, t > 0.3, 0.25),
    "listed": lambda t, u, k: put(t, fb.tensor([0, -1]), u.mean()) if t.dim() and len(t) > 1 else None,
    "sigmoid_": lambda t, u, k: t.sigmoid_(),
    "draw": lambda t, u, k: t.normal_(0, 0.5),
    "zero_": lambda t, u, k: t.zero_() if k % 3 == 0 else None,
}
TABLE = {**VIEWS, **COPIES, **WRITES}


def step_of(seed: int) -> Program:
    """A step that writes to state, trains a weight in some, and returns all that it made."""
    rng = random.Random(seed)
    rounds = range(rng.randint(*STEPS))
    script = [(rng.choice(list(TABLE)), rng.random(), rng.random(), rng.randrange(999)) for _ in rounds]
    with_gradients, weight, state = rng.random() < 0.6, numbers(seed, 4, 6), numbers(seed + 1, 4, 6)
    weight.requires_grad_(with_gradients)

    def step(x: fb.Tensor) -> list[fb.Tensor]:
        pool = [x, state, weight * 1]
        for name, a, b, k in script:
            t, u = pool[int(a * len(pool))], pool[int(b * len(pool))]
            if name in WRITES:
                with fb.set_grad_enabled(k % 2 == 0):
                    WRITES[name](t, u, k)
            elif (made := TABLE[name](t, u, k)) is not None:
                pool.append(made)
        if with_gradients:
            weight.grad = None if seed % 2 else weight.grad
            sum(p.tanh().sum() for p in pool).backward()
            with fb.no_grad():
                weight.sub_(weight.grad, alpha=0.1)
        state.detach_().clamp_(-2, 2)
        x.detach_()
        return [p.detach() for p in pool]

    return Program(step, (weight, state))


@pytest.mark.parametrize("seed", range(60))
def test_random_steps_equal_eager(seed: int) -> None:
    report = twins(lambda: step_of(seed), calls=CALLS)
    assert not report.differences, str(report)
    if not report.raised:
        assert report.counts.replayed + report.counts.resumed or report.captured.reasons, report
