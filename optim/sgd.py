"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flambeau.core.creation import zeros_like
from flambeau.core.ops.nn import step
from flambeau.core.tensor import Tensor
from flambeau.optim.numbers import is_on
from flambeau.optim.optimizer import Group, Optimizer, State, runner
from flambeau.optim.options import AtLeast0, Params, Rate, number, options
from flambeau.optim.sparse import by_rows, rows_of


class SGD(Optimizer):
    """p -= lr * d for the gradient d, or for its running sum with ``momentum``.

    buffer = momentum * buffer + (1 - dampening) * d, the first time d itself; ``nesterov`` steps along
    d + momentum * buffer. ``weight_decay`` adds weight_decay * p to d. Sutskever et al., ICML 2013.

    >>> p = fb.nn.Parameter(fb.tensor([1.0]))
    >>> p.grad = fb.tensor([0.5])
    >>> SGD([p], lr=0.1).step()
    >>> p
    Parameter containing:
    tensor([0.9500], requires_grad=True)
    """

    def __init__(
        self, params: Params, lr: Rate = 1e-3, momentum: AtLeast0 = 0, dampening: float = 0,
        weight_decay: AtLeast0 = 0, nesterov: bool = False, *, maximize: bool = False, foreach: bool | None = None,
        differentiable: bool = False, fused: bool | None = None,
    ):  # fmt: skip
        super().__init__(params, options(locals()))
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("SGD: Nesterov momentum requires a momentum and zero dampening")

    def update(self, group: Group) -> None:
        """One step of a group."""
        lr, momentum, decay = number(group["lr"]), group["momentum"], group["weight_decay"]
        nesterov, maximize, run = group["nesterov"], group["maximize"], runner(group)
        for params, grads in step.by_key(group["params"], lambda p: self._rows(p, group)):
            if not is_on(group, "momentum"):
                run(step.sgd_step_p, (params, grads, []), lr, decay, 0.0, 0.0, nesterov=False, maximize=maximize)
                continue
            first: list[tuple[Tensor, Tensor]] = []
            later: list[tuple[Tensor, Tensor]] = []
            for pair in zip(params, grads, strict=True):
                (later if self.state[pair[0]].get("momentum_buffer") is not None else first).append(pair)
            for pairs, dampening in ((first, 0.0), (later, group["dampening"])):
                ps, gs = [p for p, _ in pairs], [g for _, g in pairs]
                lists = (ps, gs, [self._buffer(p) for p in ps])
                run(step.sgd_step_p, lists, lr, decay, momentum, dampening, nesterov=nesterov, maximize=maximize)

    def _rows(self, p: Tensor, group: Group) -> None:
        """The step of a parameter whose gradient is sparse: in the rows that it has."""
        if is_on(group, "momentum") or is_on(group, "weight_decay"):
            raise RuntimeError("SGD: sparse gradients go neither with momentum nor with weight_decay")
        where, g, axes = rows_of(p.grad)
        size = number(group["lr"])
        by_rows(p, axes).index_add_(0, where, g, alpha=size if group["maximize"] else -size)

    def _expected(self, p: Tensor, values: Mapping[Any, Any], group: Group) -> State:
        return {"momentum_buffer": p} if values.get("momentum_buffer") is not None else {}

    def _buffer(self, p: Tensor) -> Tensor:
        state = self.state[p]
        found: Tensor | None = state.get("momentum_buffer")
        if found is None:  # from zero, the first step with no dampening makes it the gradient
            found = state["momentum_buffer"] = zeros_like(p)
        return found
