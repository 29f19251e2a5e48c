"""Optimizers for matrices: Adafactor and Muon."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from flambeau.core import dtype as dt
from flambeau.core.creation import zeros_like
from flambeau.core.events import host
from flambeau.core.ops.storage import cast_p
from flambeau.core.tensor import Tensor
from flambeau.optim.elementwise import ElementwiseOptimizer
from flambeau.optim.numbers import is_on
from flambeau.optim.optimizer import Group, State
from flambeau.optim.options import AtLeast0, Params, Rate, number, options


def _root_mean_square(t: Tensor) -> float:
    size: float = t.norm(2).item() / math.sqrt(max(t.numel(), 1))
    return size


class Adafactor(ElementwiseOptimizer):
    """Adam whose mean squares are kept by row and by column. Shazeer and Stern, arXiv:1804.04235.

    Steps are relative to the parameters' own size, at least ``eps[1]``; ``lr`` bounds them, and scales the weight
    decay. ``eps[0]`` is the least mean square, None: that of the dtype's epsilon. ``d`` cuts long steps.

    >>> w = fb.ones(2, 2, requires_grad=True)
    >>> (w * w).sum().backward()
    >>> Adafactor([w], lr=0.5).step()
    >>> w[0, 0].item()
    0.5
    """

    _takes_complex = False

    def __init__(
        self, params: Params, lr: Rate = 1e-2, beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3), d: float = 1.0, weight_decay: AtLeast0 = 0.0, *,
        foreach: bool | None = None, maximize: bool = False,
    ):  # fmt: skip
        if isinstance(lr, Tensor) and foreach:
            raise ValueError("Adafactor: lr as a Tensor is not supported with foreach=True")
        if beta2_decay > 0:
            raise ValueError(f"Adafactor: beta2_decay must be at most 0, got {beta2_decay}")
        if eps[0] is not None and eps[0] < 0 or eps[1] < 0 or d < 1:
            raise ValueError(f"Adafactor: eps must be at least 0 and d at least 1, got {eps} and {d}")
        super().__init__(params, options(locals()))

    def initial(self, p: Tensor, group: Group) -> State:
        if p.ndim < 2:
            return {"variance": zeros_like(p)}
        rows, columns = (*p.shape[:-1], 1), (*p.shape[:-2], 1, p.shape[-1])
        return {"row_var": p.new_zeros(*rows), "col_var": p.new_zeros(*columns)}

    def _directed(self, p: Any, g: Any, group: Group) -> Any:
        return super()._directed(p, g, {**group, "weight_decay": 0})  # it comes after the size was measured

    def one(self, p: Tensor, g: Tensor, state: State, group: Group) -> None:
        lr, t, (least, smallest) = number(group["lr"]), state["step"], group["eps"]
        least = dt.finfo(p.dtype).eps if least is None else least
        size = host(_step_size, smallest, _root_mean_square(p), lr, t)
        if is_on(group, "weight_decay"):
            p.mul_(1 - lr * group["weight_decay"])
        share = t ** group["beta2_decay"]
        if p.ndim > 1:
            rows = state["row_var"].lerp_((g * g).mean(-1, keepdim=True), share)
            columns = state["col_var"].lerp_((g * g).mean(-2, keepdim=True), share)
            mean = rows @ columns / rows.mean(-2, keepdim=True).clamp(min=least)
        else:
            mean = state["variance"].lerp_(g * g, share)
        step = g * mean.clamp(min=least * least).rsqrt()
        p.add_(step, alpha=-size / host(max, 1.0, _root_mean_square(step) / group["d"]))


def _step_size(smallest: float, own: float, lr: float, t: float) -> float:
    return max(smallest, own) * min(lr, 1 / math.sqrt(t))


class Muon(ElementwiseOptimizer):
    """Momentum made orthogonal by Newton and Schulz's iteration, in bfloat16, for matrices. Jordan et al., 2024.

    ``adjust_lr_fn``: "original", steps of rows > columns are longer by the root of their ratio, or "match_rms_adamw",
    steps as long as Adam's (Liu et al., arXiv:2502.16982).

    >>> w = fb.ones(2, 2, requires_grad=True)
    >>> (w * w).sum().backward()
    >>> Muon([w]).step()
    >>> bool((w < 1).all())
    True
    """

    _takes_complex = False
    numbers = ()  # torch counts no steps here

    def __init__(
        self, params: Params, lr: Rate = 1e-3, weight_decay: AtLeast0 = 0.1, momentum: AtLeast0 = 0.95,
        nesterov: bool = True, ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: AtLeast0 = 1e-7, ns_steps: int = 5, adjust_lr_fn: Literal["original", "match_rms_adamw"] | None = None,
    ):  # fmt: skip
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Muon: adjust_lr_fn must be 'original', 'match_rms_adamw' or None, got {adjust_lr_fn!r}")
        super().__init__(params, options(locals()))
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ValueError(f"Muon only supports 2D parameters, got one of shape {tuple(p.shape)}")

    def _directed(self, p: Any, g: Any, group: Group) -> Any:
        return super()._directed(p, g, {**group, "decoupled_weight_decay": True, "weight_decay": 0})

    def advance(self, state: State, group: Group) -> tuple[float, ...]:
        return ()

    def initial(self, p: Tensor, group: Group) -> State:
        return {"momentum_buffer": zeros_like(p)}

    def _expected(self, p: Tensor, values: Mapping[Any, Any], group: Group) -> State:
        return {"momentum_buffer": p}

    def one(self, p: Tensor, g: Tensor, state: State, group: Group) -> None:
        momentum, lr = group["momentum"], number(group["lr"])
        mean = state["momentum_buffer"].lerp_(g, 1 - momentum)
        step = g.lerp(mean, momentum) if group["nesterov"] else mean
        step = _orthogonal(step, group["ns_coefficients"], group["ns_steps"], group["eps"])
        rows, columns = p.shape
        if group["adjust_lr_fn"] == "match_rms_adamw":
            ratio = 0.2 * math.sqrt(max(rows, columns))
        else:
            ratio = math.sqrt(max(1, rows / columns))
        p.mul_(1 - lr * group["weight_decay"])
        p.add_(cast_p(step, dtype=p.dtype), alpha=-lr * ratio)


def _orthogonal(g: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """The nearest matrix with orthogonal rows (or columns), about: singular values come near 1."""
    if steps >= 100:
        raise ValueError(f"Muon: ns_steps must be less than 100, got {steps}")
    a, b, c = coefficients
    tall = g.shape[0] > g.shape[1]
    x = cast_p(g.t() if tall else g, dtype=dt.bfloat16)
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        square = x @ x.t()
        x = x * a + (square * b + (square @ square) * c) @ x
    return x.t() if tall else x
