"""What is called at the end of a backward: of the one that runs, or of the outermost one."""

from __future__ import annotations

from typing import Any

import flambeau as fb
from flambeau.core.autograd.policy import callbacks, queue_callback


class Nested(fb.autograd.Function):
    """Calls backward in its backward, in which ``queue`` queues what is to be called."""

    @staticmethod
    def forward(ctx: Any, x: Any, depth: int, queue: Any) -> Any:
        ctx.depth, ctx.queue = depth, queue
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        with fb.enable_grad():
            x = fb.ones(1, requires_grad=True)
            inner = Nested.apply(x, ctx.depth - 1, ctx.queue) if ctx.depth else x * 1
            x.register_hook(lambda g: ctx.queue())
            inner.sum().backward()
        ctx.queue("between")
        return grad, None, None


def order(outermost: bool, depth: int) -> list[str]:
    seen: list[str] = []

    def queue(what: str = "called") -> None:
        if what == "called":
            queue_callback(lambda: seen.append("called"), outermost)
        else:
            seen.append(what)

    Nested.apply(fb.ones(1, requires_grad=True), depth, queue).sum().backward()
    return seen


def test_the_end_of_the_one_that_runs() -> None:
    assert order(False, 0) == ["called", "between"]
    assert order(False, 1) == ["called", "between", "called", "between"]


def test_the_end_of_the_outermost_one() -> None:
    assert order(True, 0) == ["between", "called"]
    assert order(True, 2) == ["between"] * 3 + ["called"] * 3
    assert callbacks.waiting is None and callbacks.outermost is None


def test_without_one_around() -> None:
    x = fb.ones(1, requires_grad=True)
    seen: list[str] = []
    x.register_hook(lambda g: queue_callback(lambda: seen.append("called"), outermost=True))
    x.sum().backward()
    assert seen == ["called"]
