"""The domain of training: gradients and steps of optimizers as ops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import flambeau as fb
from flambeau import Tensor
from flambeau.onnx.errors import OnnxError
from flambeau.onnx.ops.conversion import like
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import TRAINING, op
from flambeau.onnx.values import Value, described


@op("Gradient", domain=TRAINING, raw=True)
def gradient(call: Call, *inputs: Value) -> tuple[Value, ...]:
    """The derivatives of the name ``y`` in the graph around this node by the inputs ``xs``."""
    count = len(call["xs"])
    points: list[Value] = [like(v, call.device) for v in inputs]
    for i, value in enumerate(points[:count]):
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise OnnxError(f"no derivative is taken by {described(value)}")
        points[i] = value if value.requires_grad else value.detach().requires_grad_()
    higher = fb.is_grad_enabled()
    with fb.enable_grad():
        (out,) = call.graph("graph", *points)
        if not isinstance(out, Tensor):
            raise OnnxError(f"no derivative is taken of {described(out)}")
        by = cast("list[Tensor]", points[:count])
        found = fb.autograd.grad(out.sum(), by, create_graph=higher, allow_unused=True)
    return tuple(fb.zeros_like(x) if g is None else g for g, x in zip(found, by, strict=True))


def _groups(values: tuple[Tensor, ...], kinds: int) -> list[tuple[Tensor, ...]]:
    """For each optimised tensor the tensor, its gradient and its states, which the inputs have kind by kind."""
    if len(values) % kinds:
        raise OnnxError(f"{len(values)} tensors are not {kinds} for each that is optimised")
    each = len(values) // kinds
    return list(zip(*(values[i * each : (i + 1) * each] for i in range(kinds)), strict=True))


def _by_kind(groups: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(value for kind in zip(*groups, strict=True) for value in kind)


@op("Adagrad", domain=TRAINING)
def adagrad(call: Call, rate: Tensor, count: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
    step = rate / (1 + count * call["decay_factor"])
    made = []
    for x, g, h in _groups(values, 3):
        g = g + call["norm_coefficient"] * x
        h = h + g * g
        made.append((x - step * g / (fb.sqrt(h) + call["epsilon"]), h))
    return _by_kind(made)


@op("Adam", domain=TRAINING)
def adam(call: Call, rate: Tensor, count: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
    alpha, beta, t = call["alpha"], call["beta"], int(count.item())
    step = rate * ((1 - beta**t) ** 0.5 / (1 - alpha**t)) if t > 0 else rate
    made = []
    for x, g, v, h in _groups(values, 4):
        g = g + call["norm_coefficient"] * x
        v = alpha * v + (1 - alpha) * g
        h = beta * h + (1 - beta) * g * g
        x = x - step * v / (fb.sqrt(h) + call["epsilon"])
        made.append(((1 - call["norm_coefficient_post"]) * x, v, h))
    return _by_kind(made)


@op("Momentum", domain=TRAINING)
def momentum(call: Call, rate: Tensor, count: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
    alpha = call["alpha"]
    beta = call["beta"] if int(count.item()) > 0 else 1.0
    made = []
    for x, g, v in _groups(values, 3):
        g = g + call["norm_coefficient"] * x
        v = alpha * v + beta * g
        made.append((x - rate * (g + alpha * v if call["mode"] == "nesterov" else v), v))
    return _by_kind(made)
