"""Gradients at zeros, bounds, infinities and nan; second derivatives that are zero; tensors of inference mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.recorded import Case, collected

INF, NAN = float("inf"), float("nan")
POINTS = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 6.0, INF, -INF, NAN, 1e-30, 20.0, -88.0]
PAIRED = [0.0, 1.0, -1.0, -2.0, INF, -INF, NAN]
CASES: dict[str, Case] = {}
case = collected(CASES)


def _at_points(name: str, fn: Callable[[Any, Any], Any]) -> None:
    def run(T: Any) -> Any:
        x = T.tensor(POINTS, dtype=T.float64, requires_grad=True)
        return T.autograd.grad(fn(T, x).sum(), x)

    CASES[f"at_points_{name}"] = run


for name in (
    "abs", "angle", "asinh", "ceil", "cosh", "erf", "exp", "expm1", "floor", "frac", "lgamma", "log", "log1p", "logit",
    "reciprocal", "relu", "round", "sigmoid", "sign", "sin",
    "sinc", "sinh", "sqrt", "square", "tan", "tanh", "trunc", "nan_to_num", "positive", "deg2rad",
):  # fmt: skip
    _at_points(name, lambda T, x, name=name: getattr(T, name)(x))
for name in (
    "celu", "elu", "gelu", "hardshrink", "hardswish", "hardtanh", "leaky_relu", "logsigmoid", "mish", "relu6", "selu",
     "silu", "softplus", "softshrink", "tanhshrink",
):  # fmt: skip
    _at_points(name, lambda T, x, name=name: getattr(T.nn.functional, name)(x))
_at_points("clamp", lambda T, x: T.clamp(x, -1, 2))
_at_points("threshold", lambda T, x: T.nn.functional.threshold(x, 1.0, 7.0))
_at_points("square_by_pow", lambda T, x: x**2)
_at_points("inverse_by_pow", lambda T, x: x**-1)
_at_points("power_of_zero", lambda T, x: T.pow(0.0, x))
_at_points("power_of_two", lambda T, x: 2**x)


def _at_pairs(name: str) -> None:
    def run(T: Any) -> Any:
        pairs = [(a, b) for a in PAIRED for b in PAIRED]
        x, y = (T.tensor(v, dtype=T.float64, requires_grad=True) for v in map(list, zip(*pairs, strict=True)))
        return T.autograd.grad(getattr(T, name)(x, y).sum(), (x, y))

    CASES[f"at_pairs_{name}"] = run


for name in (
    "add", "atan2", "fmax", "fmin", "hypot", "logaddexp", "logaddexp2", "maximum", "minimum", "mul", "nextafter", "pow",
    "remainder", "xlogy",
):  # fmt: skip
    _at_pairs(name)


def _twice(name: str, fn: Callable[[Any, Any], Any]) -> None:
    def run(T: Any) -> Any:
        x = T.tensor([-0.4, 2.2], dtype=T.float64, requires_grad=True)
        (g,) = T.autograd.grad(fn(T, x).sum(), x, create_graph=True)
        (g * g).sum().backward()
        return [g, x.grad]

    CASES[f"twice_{name}"] = run


_twice("relu", lambda T, x: T.relu(x))
_twice("leaky_relu", lambda T, x: T.nn.functional.leaky_relu(x))
_twice("hardtanh", lambda T, x: T.nn.functional.hardtanh(x))
_twice("relu6", lambda T, x: T.nn.functional.relu6(x))
_twice("threshold", lambda T, x: T.nn.functional.threshold(x, 0.0, 1.0))
_twice("hardshrink", lambda T, x: T.nn.functional.hardshrink(x))
_twice("softshrink", lambda T, x: T.nn.functional.softshrink(x))
_twice("prelu", lambda T, x: T.nn.functional.prelu(x, T.tensor([0.2], dtype=T.float64)))
_twice("max_pool", lambda T, x: T.nn.functional.max_pool1d(x[None], 2))
_twice("elu", lambda T, x: T.nn.functional.elu(x))
_twice("relu_in_a_product", lambda T, x: T.relu(x) * x)
_twice("linear", lambda T, x: 2 * x)  # a gradient that nothing saved is in has no history


def _inference(name: str, fn: Callable[[Any, Any], Any]) -> None:
    def run(T: Any) -> Any:
        with T.inference_mode():
            t = T.ones(3) * 2
        return fn(T, t)

    CASES[f"inference_{name}"] = run


_inference("saved", lambda T, t: (t * T.ones(3, requires_grad=True)).sum())
_inference("not_saved", lambda T, t: (t + T.ones(3, requires_grad=True)).sum())
_inference("of_a_clone", lambda T, t: (t.clone() * T.ones(3, requires_grad=True)).sum())
_inference("written", lambda T, t: t.add_(1))
_inference("view_written", lambda T, t: t[1:].zero_())
_inference("set", lambda T, t: t.__setitem__(0, 1.0))
_inference("requires_grad", lambda T, t: t.requires_grad_())
_inference("version", lambda T, t: t._version)
_inference("read", lambda T, t: [t.sum(), t.tolist(), t[1:], t + 1])
_inference("is_inference", lambda T, t: [v.is_inference() for v in (t, t[1:], t.detach(), t.clone(), t + 1, T.ones(1))])


@case
def inference_writes_inside(T: Any) -> Any:
    x = T.zeros(3)
    with T.inference_mode():
        t = T.ones(3)
        t.add_(1).mul_(t)
        t[1:] = 7
        x.add_(t)
        view = x[1:]
    return [t, x, view.is_inference(), x.add_(1)]


@case
def inference_left_inside(T: Any) -> Any:
    with T.inference_mode(), T.inference_mode(False):
        t = T.ones(2, requires_grad=True)
        y = (t * t).sum()
    return [y.is_inference(), T.autograd.grad(y, t)]
