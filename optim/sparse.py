"""Adam for gradients that have few rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from flambeau.core.creation import zeros_like
from flambeau.core.dtype import COMPLEX
from flambeau.core.events import host
from flambeau.core.tensor import Tensor
from flambeau.optim.numbers import advanced
from flambeau.optim.optimizer import Group, Optimizer, State
from flambeau.optim.options import AtLeast0, Betas, Params, Rate, number, options


def is_sparse(t: object) -> bool:
    """Whether a gradient is a sparse tensor."""
    return bool(getattr(t, "is_sparse", False))


def rows_of(grad: Any) -> tuple[Tensor, Tensor, int]:  # Any: a sparse tensor
    """The places of a sparse gradient in the flattened first axes, its values there, and how many axes these are."""
    grad = grad.coalesce()
    indices, values = grad._indices(), grad._values()
    flat = indices[0]
    for i in range(1, indices.shape[0]):
        flat = flat * grad.shape[i] + indices[i]
    return flat, values, indices.shape[0]


def by_rows(t: Tensor, axes: int) -> Tensor:
    """A tensor, its first axes made one: a view."""
    return t.view(math.prod(t.shape[:axes]), *t.shape[axes:])


class SparseAdam(Optimizer):
    """Adam that changes means and parameters only where a sparse gradient has values. Kingma and Ba, arXiv:1412.6980.

    Gradients are sparse tensors, such as those of ``nn.Embedding(sparse=True)``; parameters are not.
    """

    def __init__(
        self, params: Params, lr: Rate = 1e-3, betas: Betas = (0.9, 0.999), eps: AtLeast0 = 1e-8,
        maximize: bool = False,
    ):  # fmt: skip
        if number(lr) <= 0 or eps <= 0:
            raise ValueError(f"SparseAdam: lr and eps must be greater than 0, got {lr} and {eps}")
        super().__init__(params, options(locals()))
        if any(p.dtype.category == COMPLEX for p in self._all()):
            raise ValueError("SparseAdam does not support complex parameters")
        sparse = [i for i, p in enumerate(self._all()) if is_sparse(p)]
        if sparse:
            raise ValueError(f"Sparse params at indices {sparse}: SparseAdam requires dense parameter tensors")

    def _expected(self, p: Tensor, values: Mapping[Any, Any], group: Group) -> State:
        return {"step": 0, "exp_avg": zeros_like(p), "exp_avg_sq": zeros_like(p)}

    def update(self, group: Group) -> None:
        """One step of a group."""
        given = [p for p in group["params"] if p.grad is not None]
        for p in given:
            if not is_sparse(p.grad):
                raise RuntimeError("SparseAdam does not support dense gradients, please consider Adam instead")
            state = self.state[p]
            if not state:
                state |= {"step": 0, "exp_avg": zeros_like(p), "exp_avg_sq": zeros_like(p)}
        for numbers, places in advanced(self, given, group):
            for i in places:
                self._one(given[i], self.state[given[i]], numbers["step"], group)

    def _one(self, p: Tensor, state: State, t: float, group: Group) -> None:
        where, g, axes = rows_of(p.grad)
        g = -g if group["maximize"] else g
        beta1, beta2 = (number(b) for b in group["betas"])
        first, second = (by_rows(state[name], axes) for name in ("exp_avg", "exp_avg_sq"))
        old_first, old_second = first.index_select(0, where), second.index_select(0, where)
        to_first, to_second = (g - old_first) * (1 - beta1), (g * g - old_second) * (1 - beta2)
        first.index_add_(0, where, to_first)
        second.index_add_(0, where, to_second)
        size = number(group["lr"]) * host(math.sqrt, 1 - beta2**t) / (1 - beta1**t)
        step = (old_first + to_first) / ((old_second + to_second).sqrt() + group["eps"])
        by_rows(p, axes).index_add_(0, where, step, alpha=-size)
