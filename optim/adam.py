"""Adam and its relatives."""

from __future__ import annotations

from typing import Any

from flambeau.core.creation import zeros_like
from flambeau.core.dtype import COMPLEX
from flambeau.core.ops.nn import step
from flambeau.core.ops.storage import view_as_real_p as view_as_real
from flambeau.core.tensor import Tensor
from flambeau.optim.optimizer import Group, Optimizer, check_options, number

Betas = tuple[float, float]


class Adam(Optimizer):
    """Steps of the running mean of gradients over the root of the running mean of their squares.

    Both means are divided by what they have seen so far. ``weight_decay`` adds weight_decay * p to the gradient,
    or shrinks p by lr * weight_decay with ``decoupled_weight_decay``; ``amsgrad`` keeps the greatest mean square.
    Kingma and Ba, arXiv:1412.6980; Reddi et al., arXiv:1904.09237.

    >>> w = fb.tensor([1.0], requires_grad=True)
    >>> optimizer = fb.optim.Adam([w])
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> bool((w < 1).all())
    True
    """

    def __init__(
        self, params: Any, lr: float | Tensor = 1e-3, betas: Betas = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, amsgrad: bool = False, *, foreach: bool | None = None, maximize: bool = False,
        capturable: bool = False, differentiable: bool = False, fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ):  # fmt: skip
        check_options(type(self).__name__, lr=lr, eps=eps, beta1=betas[0], beta2=betas[1], weight_decay=weight_decay)
        defaults = dict(
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad, maximize=maximize,
            foreach=foreach, capturable=capturable, differentiable=differentiable, fused=fused,
            decoupled_weight_decay=decoupled_weight_decay,
        )  # fmt: skip
        super().__init__(params, defaults)

    def update(self, group: Group) -> None:
        """One step of a group; parameters that have seen equally many steps go together."""
        beta1, beta2 = (number(b) for b in group["betas"])
        lr, eps, decay = number(group["lr"]), group["eps"], group["weight_decay"]
        for params, grads in step.by_key(group["params"]):
            for t, rows in self._by_step(params, grads, group["amsgrad"]).items():
                ps, gs, first, second, greatest = (list(column) for column in zip(*rows, strict=True))
                lists = (ps, gs, first, second, greatest if group["amsgrad"] else [])
                options = dict(decoupled=group["decoupled_weight_decay"], maximize=group["maximize"])
                step.run(step.adam_step_p, lists, lr, beta1, beta2, eps, decay, t, **options)

    def _by_step(self, params: list[Tensor], grads: list[Tensor], amsgrad: bool) -> dict[float, list[tuple[Any, ...]]]:
        """(parameter, gradient, moments) by the number of this step."""
        rows: dict[float, list[tuple[Any, ...]]] = {}
        for p, g in zip(params, grads, strict=True):
            state = self.state[p]
            if not state:
                state["step"] = 0.0
                for name in ("exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if amsgrad else ())):
                    state[name] = zeros_like(p)
            t = state["step"] = state["step"] + 1
            row: tuple[Any, ...] = (
                p,
                g,
                state["exp_avg"],
                state["exp_avg_sq"],
                state["max_exp_avg_sq"] if amsgrad else None,
            )
            if p.dtype.category == COMPLEX:  # its parts are parameters by themselves
                row = tuple(None if v is None else view_as_real(v) for v in row)
            rows.setdefault(t, []).append(row)
        return rows


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameters by lr * weight_decay. Loshchilov and Hutter, arXiv:1711.05101.

    >>> w = fb.tensor([1.0], requires_grad=True)
    >>> optimizer = fb.optim.AdamW([w])
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> bool((w < 1).all())
    True
    """

    def __init__(
        self, params: Any, lr: float | Tensor = 1e-3, betas: Betas = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False, foreach: bool | None = None,
        capturable: bool = False, differentiable: bool = False, fused: bool | None = None,
    ):  # fmt: skip
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize, capturable=capturable,
            differentiable=differentiable, fused=fused, decoupled_weight_decay=True,
        )  # fmt: skip
