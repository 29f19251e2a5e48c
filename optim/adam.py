"""Adam and its relatives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flambeau.core.creation import zeros_like
from flambeau.core.dtype import COMPLEX
from flambeau.core.ops.nn import step
from flambeau.core.ops.storage import view_as_real_p
from flambeau.core.tensor import Tensor
from flambeau.optim.numbers import advanced
from flambeau.optim.optimizer import Group, Optimizer, State, runner
from flambeau.optim.options import AtLeast0, Betas, Params, Rate, number, options


class Adam(Optimizer):
    """Steps of the running mean of gradients over the root of the running mean of their squares.

    Both means are divided by what they have seen so far. ``weight_decay`` adds weight_decay * p to the gradient,
    or shrinks p by lr * weight_decay with ``decoupled_weight_decay``; ``amsgrad`` keeps the greatest mean square.
    Kingma and Ba, arXiv:1412.6980; Reddi et al., arXiv:1904.09237.

    >>> w = fb.ones(1, requires_grad=True)
    >>> (w * w).sum().backward()
    >>> Adam([w]).step()
    >>> w
    tensor([0.9990], requires_grad=True)
    """

    def __init__(
        self, params: Params, lr: Rate = 1e-3, betas: Betas = (0.9, 0.999), eps: AtLeast0 = 1e-8,
        weight_decay: AtLeast0 = 0, amsgrad: bool = False, *, foreach: bool | None = None, maximize: bool = False,
        capturable: bool = False, differentiable: bool = False, fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ):  # fmt: skip
        _check_tensor_options(lr, betas, bool(foreach), capturable)
        super().__init__(params, options(locals()))

    def update(self, group: Group) -> None:
        """One step of a group; parameters that have seen equally many steps go together."""
        beta1, beta2 = (number(b) for b in group["betas"])
        lr, eps, decay, amsgrad = number(group["lr"]), group["eps"], group["weight_decay"], group["amsgrad"]
        for params, grads in step.by_key(group["params"], self._refuse_sparse):
            rows = [self._row(p, g, amsgrad) for p, g in zip(params, grads, strict=True)]
            for numbers, places in advanced(self, params, group):
                columns = zip(*[rows[i] for i in places], strict=True)
                lists = [*map(list, columns), *([] if amsgrad else [[]])]
                flags = dict(decoupled=group["decoupled_weight_decay"], maximize=group["maximize"])
                runner(group)(step.adam_step_p, lists, lr, beta1, beta2, eps, decay, numbers["step"], **flags)

    def _expected(self, p: Tensor, values: Mapping[Any, Any], group: Group) -> State:
        return _initial(p, group["amsgrad"])

    def _row(self, p: Tensor, g: Tensor, amsgrad: bool) -> list[Tensor]:
        """A parameter, its gradient and its moments."""
        state = self.state[p]
        if not state:
            state |= _initial(p, amsgrad)
        row = [p, g, state["exp_avg"], state["exp_avg_sq"]]
        if amsgrad:
            row.append(state["max_exp_avg_sq"])
        if p.dtype.category == COMPLEX:  # its parts are parameters by themselves
            row = [view_as_real_p(v) for v in row]
        return row


def _check_tensor_options(lr: Any, betas: Any, foreach: bool, capturable: bool) -> None:
    """torch's rules for options that are tensors."""
    tensors = [isinstance(b, Tensor) for b in betas]
    if tensors[0] is not tensors[1]:
        raise ValueError("Adam: betas must be either both floats or both Tensors")
    if foreach and not capturable and (isinstance(lr, Tensor) or any(tensors)):
        raise ValueError("Adam: lr or betas as a Tensor is not supported for capturable=False and foreach=True")


def _initial(p: Tensor, amsgrad: bool) -> State:
    found: State = {"step": 0.0, "exp_avg": zeros_like(p), "exp_avg_sq": zeros_like(p)}
    return found | {"max_exp_avg_sq": zeros_like(p)} if amsgrad else found


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameters by lr * weight_decay. Loshchilov and Hutter, arXiv:1711.05101.

    >>> w = fb.ones(1, requires_grad=True)
    >>> (w * w).sum().backward()
    >>> AdamW([w]).step()
    >>> w
    tensor([0.9990], requires_grad=True)
    """

    def __init__(
        self, params: Params, lr: Rate = 1e-3, betas: Betas = (0.9, 0.999), eps: AtLeast0 = 1e-8,
        weight_decay: AtLeast0 = 1e-2, amsgrad: bool = False, *, maximize: bool = False, foreach: bool | None = None,
        capturable: bool = False, differentiable: bool = False, fused: bool | None = None,
    ):  # fmt: skip
        _check_tensor_options(lr, betas, bool(foreach), capturable)
        super(Adam, self).__init__(params, options(locals()) | {"decoupled_weight_decay": True})
